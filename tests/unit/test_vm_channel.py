"""The frames between host and guest."""

from __future__ import annotations

import itertools
import marshal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ia2exit.vm.guest import channel
from ia2exit.vm.relay import About
from ia2exit.vm.request import Request

FRAMES = st.lists(st.tuples(st.sampled_from(sorted(channel.KINDS)), st.binary(max_size=300)), max_size=20)


@given(FRAMES, st.lists(st.integers(0, 4000), max_size=30))
def test_frames_arrive_whole_however_they_are_cut(frames: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    data = b"".join(channel.frame(*frame) for frame in frames)
    places = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    reader = channel.Reader()
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == frames


@given(st.binary(min_size=5, max_size=100))
def test_what_begins_no_frame_is_refused(garbage: bytes) -> None:
    kind, length = garbage[:1], int.from_bytes(garbage[1:5], "big")
    reader = channel.Reader()
    if kind in channel.KINDS and length <= channel.LARGEST:
        assert [frame for frame in reader.feed(garbage) if frame[0] not in channel.KINDS] == []
    else:
        with pytest.raises(ValueError, match="frame"):
            list(reader.feed(garbage))


def test_a_request_keeps_every_byte_of_names() -> None:
    name = b"caf\xe9 \xff\n".decode(errors="surrogateescape")
    read = marshal.loads(Request.of([name, "-x"], {name: name}).encode())
    assert read["command"] == [b"caf\xe9 \xff\n", b"-x"]
    assert read["environment"] == {b"caf\xe9 \xff\n": b"caf\xe9 \xff\n"}


def test_what_a_guest_says_of_itself() -> None:
    told = About.parse(b"kernel=6.1.0\ncpu=QEMU = TCG\nkeys=1\nseconds=4.25")
    assert told == About("6.1.0", "QEMU = TCG", True, 4.25)
