"""What `ia2exit run` says about an exit: order, owners, times, and what it honestly cannot show."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from running_programs import LIMIT, build, environment, ours, report, run, script

import ia2exit
from ia2exit.model import from_json, to_json
from ia2exit.running import RunResult

MS = 1_000_000


@pytest.fixture(scope="module")
def exits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("exits"), "exits.c")


def ran(result: RunResult) -> list[str]:
    return [row.name or "?" for row in result.destructors if row.kind in ("cxa_atexit", "atexit")]


def test_destructors_are_listed_in_the_order_in_which_they_ran(exits: Path) -> None:
    result = ia2exit.run([str(exits), "slow"])
    assert result.status == 4
    assert ran(result) == ["slow_handler", "first_handler"]
    assert [row.order for row in result.destructors] == list(range(1, len(result.destructors) + 1))
    assert {row.owner_name for row in result.destructors} == {"exits"}
    assert result.notes == []


def test_a_slow_handler_is_reported_with_its_time(exits: Path) -> None:
    result = ia2exit.run([str(exits), "slow"])
    slow, quick = (row for row in result.destructors if row.kind == "cxa_atexit")
    assert slow.ns is not None
    assert quick.ns is not None
    assert 20 * MS <= slow.ns <= result.ns
    assert slow.self_ns == slow.ns
    assert quick.ns < slow.ns
    text = report([exits, "slow"])
    (marked,) = (line for line in text.splitlines() if line.endswith("<- slow"))
    assert "slow_handler" in marked
    assert " ms" in marked
    summary = text.splitlines()[-1]
    assert "destructors of 1 compartment in" in summary
    assert "slowest slow_handler" in summary


def test_a_destructor_that_runs_another_is_charged_for_its_own_time(exits: Path, tmp_path: Path) -> None:
    plugin = build(tmp_path, "plugin.c", "-shared", "-fPIC", name="plugin.so")
    result = ia2exit.run([str(exits), "nested", str(plugin)])
    outer = next(row for row in result.destructors if row.name == "unloading_handler")
    inner = [row for row in result.destructors if row.depth == 1]
    assert {row.dso for row in inner} == {str(plugin)}
    assert max(row.ns or 0 for row in inner) >= 20 * MS
    assert outer.ns is not None
    assert outer.self_ns == outer.ns - sum(row.ns or 0 for row in inner)
    assert outer.self_ns >= 10 * MS
    assert " own" in report([exits, "nested", plugin])


def test_a_policy_gives_the_owners_their_names(exits: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\n[compartments.application]\nobjects = ["@main"]\n')
    result = ia2exit.run([str(exits), "slow"], policy=policy)
    assert {row.owner_name for row in result.destructors} == {"application"}
    assert "application" in report([exits, "slow"], "-p", policy)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("_exit", "ended by _exit, which runs no destructor"),
        ("_exit-in-handler", "ended by _exit"),
        ("quick_exit", "ended by quick_exit"),
        ("killed", "was ended by SIGKILL before its exit began"),
        ("killed-in-handler", "was ended by SIGKILL while its destructors ran"),
        ("exec", "replaced itself by /bin/cat, which was not followed; use --follow"),
    ],
)
def test_an_exit_that_runs_no_destructors_is_told_as_what_it_is(exits: Path, way: str, said: str) -> None:
    (note,) = ia2exit.run([str(exits), way]).notes
    assert said in note
    assert f"ia2exit: note: {note.partition(' ended')[0]}".split(" (")[0] in report([exits, way])


def test_a_handler_that_never_returned_is_shown_so(exits: Path) -> None:
    result = ia2exit.run([str(exits), "killed-in-handler"])
    (row,) = result.destructors
    assert (row.name, row.ns, row.self_ns) == ("dying_handler", None, None)
    assert "no return" in report([exits, "killed-in-handler"])


def test_a_wrapper_is_told_with_follow_as_the_remedy(exits: Path, tmp_path: Path) -> None:
    wrapper = script(tmp_path / "wrapper", f'#!/bin/sh\nexec {exits} "$@"\n')
    done = run([wrapper, "slow"])
    assert done.returncode == 4
    assert f"replaced itself by {exits}, which was not followed; use --follow" in done.stderr.decode()


@pytest.mark.parametrize("way", ["system", "popen"])
def test_a_shell_that_libc_starts_is_named_as_not_followed(exits: Path, way: str) -> None:
    assert "1 child was not followed (sh); use --follow" in report([exits, way])


def test_follow_covers_what_the_program_turns_into(exits: Path, tmp_path: Path) -> None:
    wrapper = script(tmp_path / "wrapper", f'#!/bin/sh\nexec {exits} "$@"\n')
    result = ia2exit.run([str(wrapper), "slow"], follow=True)
    shell, program = result.processes
    assert shell.pid == program.pid
    assert shell.replaced_by == str(exits)
    assert program.program == str(exits)
    assert ran(result) == ["slow_handler", "first_handler"]


def test_follow_covers_children_each_in_a_group_of_its_own(exits: Path) -> None:
    result = ia2exit.run([str(exits), "fork"], follow=True)
    parent, child = result.processes
    assert child.start is not None
    assert (child.start.forked, child.start.ppid) == (True, parent.pid)
    for process in result.processes:
        assert "first_handler" in [row.name for row in process.destructors]
    assert report([exits, "fork"], "--follow").count("ia2exit: destructors of ") == 2


def test_a_long_table_is_cut_but_never_the_slow_ones(exits: Path) -> None:
    text = report([exits, "many", "1000"], "--rows", "10")
    assert "more (--rows 0 shows all)" in text
    assert "slow_handler" in text.replace("slowest slow_handler", "")
    assert len(text.splitlines()) == 1 + 1 + 10 + 1 + 1
    assert len(report([exits, "many", "1000"], "--rows", "0").splitlines()) > 1000


def test_a_report_can_go_to_a_file_or_nowhere(exits: Path, tmp_path: Path) -> None:
    done = run([exits, "slow"], "--report", tmp_path / "report")
    assert done.stderr == b""
    assert "slow_handler" in (tmp_path / "report").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert run([exits, "slow"], "--quiet").stderr == b""


def test_the_record_can_be_written_and_read_back(exits: Path) -> None:
    result = ia2exit.run([str(exits), "slow"])
    assert from_json(to_json(result), RunResult) == result
    with pytest.raises(AttributeError):
        result.status = 0  # type: ignore[misc]


@pytest.mark.parametrize("option", ["--report", "--trace"])
def test_what_is_open_already_is_added_to_and_not_replaced(exits: Path, option: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("w") as stream:
        stream.write("before\n")
        stream.flush()
        command = [*ours([exits, "slow"], option, f"/dev/fd/{stream.fileno()}")]
        subprocess.run(
            command, env=environment(), pass_fds=[stream.fileno()], capture_output=True, timeout=LIMIT, check=False
        )
    assert output.read_text().startswith("before\n")
    assert "slow_handler" in output.read_text() or '"event":"enter"' in output.read_text()
    assert Path("/dev/null").is_char_device()
    assert run([exits, "slow"], option, "/dev/null").returncode == 4
    assert Path("/dev/null").is_char_device()


def test_a_link_to_a_file_stays_a_link(exits: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "report")
    assert run([exits, "slow"], "--report", tmp_path / "link").returncode == 4
    assert (tmp_path / "link").is_symlink()
    assert "slow_handler" in (tmp_path / "report").read_text()


def test_a_report_that_cannot_be_written_is_refused_before_the_start(exits: Path, tmp_path: Path) -> None:
    done = run([exits, "slow"], "--report", tmp_path / "no" / "report")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"is no folder: expected a file for the report" in done.stderr


def test_names_cannot_steer_the_terminal(exits: Path, tmp_path: Path) -> None:
    program = tmp_path / "clear\x1b[2J\nia2exit: forged"
    shutil.copy(exits, program)
    text = report([program, "slow"])
    assert "\x1b" not in text
    assert "\nia2exit: forged" not in text
    assert "clear\\x1b[2J\\nia2exit: forged" in text


@pytest.mark.parametrize("rows", ["-1", "many", "1.5"])
def test_rows_is_a_number(rows: str) -> None:
    done = run(["echo", "started"], "--rows", rows)
    assert (done.returncode, done.stdout) == (2, b"")
