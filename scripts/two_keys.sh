# What check_two_keys_ldd.sh and check_two_keys_symbols.sh share: finds a built program and its exit map, and checks one
# against the other. Sourced, not run; wants $group (ldd, symbols) and $about (what the script is for).
#
# shellcheck shell=bash disable=SC2154
set -euo pipefail

name=${BASH_SOURCE[1]##*/}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build target='' map='' arguments=()

usage() {
    cat <<END
usage: scripts/$name --target T [--map MAP] [--build DIR] [argument of ia2exit check …]

$about

  --target T    a program or shared object: a path, or the name of a file or a target under the build folder
  --map MAP     its exit map. Without it: T.map.json beside T; else one made from the policy T.toml, beside T or in the
                folder of the sources that T's folder mirrors; else the only *.map.json beside T that lists it
  --build DIR   the build folder (build of this checkout)
  anything else goes to ia2exit check: first the objects that T loads by dlopen, then --allow SYMBOL@OBJECT, --json, -v

Exit status: 0 where T and its metadata agree, 1 where they do not, 2 for input that cannot be used.
END
}

die() {
    echo "ia2exit: scripts/$name: $*" >&2
    exit 2
}

ia2exit() {
    local python=$root/.venv/bin/python
    [ -x "$python" ] || die "$python: no such file: expected the project's environment; run: make setup"
    PYTHONPATH=$root/src "$python" -m ia2exit "$@"
}

# Sets $file to the program or object that $target names.
find_target() {
    local made found
    if [[ $target == */* || -f $target ]]; then
        [ -f "$target" ] || die "--target $target: no such file; build it, or name a target under $build"
        file=$(realpath -s "$target")
        return
    fi
    [ -d "$build" ] || die "$build: no such folder: expected a build; run: cmake -G Ninja -B build && ninja -C build"
    # Ninja knows what a target makes, if that is one file; else whatever file under the build folder bears the name.
    made=$(ninja -C "$build" -t query "$target" 2>/dev/null | sed -n '/^  input:/,/^  outputs:/s/^    \([^|].*\)$/\1/p' || true)
    if [ "$(wc -l <<<"$made")" = 1 ] && [ -f "$build/$made" ] && is_object "$build/$made"; then
        file=$build/$made
        return
    fi
    mapfile -t found < <(objects_called "$target")
    if [ ${#found[@]} = 0 ]; then mapfile -t found < <(objects_called "$target.so" "lib$target.so"); fi
    case ${#found[@]} in
    0) die "--target $target: no program or shared object of that name under $build; run: ninja -C $build $target" ;;
    1) file=${found[0]} ;;
    *) die "--target $target: ${#found[@]} files under $build bear that name (${found[*]}), expected one; give the path" ;;
    esac
}

# The programs and shared objects under the build folder with one of these names.
objects_called() {
    local each one
    for each in "$@"; do
        find "$build" -type f -name "$each" | sort | while read -r one; do if is_object "$one"; then echo "$one"; fi; done
    done
}

is_object() {
    [ "$(head -c 4 "$1" | tail -c 3)" = ELF ]
}

# Sets $map, made in $scratch where there is only a policy.
find_map() {
    local folder=${file%/*} base=${file##*/} policy listing
    map=$file.map.json
    [ -f "$map" ] && return
    policy=$file.toml
    if [ ! -f "$policy" ]; then policy=$root/${folder#"$build"/}/$base.toml; fi
    if [ -f "$policy" ]; then
        scratch=$(mktemp -d)
        trap 'rm -rf "$scratch"' EXIT
        map=$scratch/$base.map.json
        ia2exit map -q -p "$policy" "$file" -o "$map"
        echo "ia2exit: scripts/$name: $base: no map, one is made from $policy" >&2
        return
    fi
    mapfile -t listing < <(grep -ls "\"path\": \"\(.*/\)\?$base\"" "$folder"/*.map.json)
    case ${#listing[@]} in
    1) map=${listing[0]} ;;
    0) die "$file: no map: expected $base.map.json or the policy $base.toml beside it; give --map FILE (ia2exit map $file -o FILE)" ;;
    *) die "$file: ${#listing[@]} maps beside it list it (${listing[*]}), expected one; give --map FILE" ;;
    esac
}

# The value of an option: set_to NAME OPTION VALUE…
set_to() {
    [ $# -ge 3 ] && [ -n "$3" ] || die "$2: no value, expected one; see --help"
    printf -v "$1" %s "$3"
}

while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --target | --map | --build)
        set_to "${1#--}" "$@"
        shift 2
        ;;
    --target=* | --map=* | --build=*)
        value=${1#*=} option=${1%%=*}
        set_to "${option#--}" "$option" "$value"
        shift
        ;;
    *)
        arguments+=("$1")
        shift
        ;;
    esac
done
[ -n "$target" ] || die "no --target: expected a program or shared object; see --help"
build=$(realpath -sm "$build")
find_target
[ -n "$map" ] || find_map
ia2exit check "$file" "${arguments[@]}" --map "$map" --only "$group"
