#!/bin/sh
# Holonode on this machine: installed, or updated. Safe to run again.
#
#   sudo ./install.sh                                 from the unpacked bundle, or the checkout, that this file lies in
#   sudo ./install.sh holonode-0.1.0-aarch64-cp313.tar
#   tar -xOf holonode-0.1.0-aarch64-cp313.tar install.sh | sudo sh -s -- holonode-0.1.0-aarch64-cp313.tar
#   sudo ./install.sh --uninstall                     settings and data stay
#   sudo ./install.sh --uninstall --erase             they go, too: keys, passwords, records, calibration
#
# PYTHON=/path names the interpreter, where it isn't the system's. From a bundle nothing is looked up on a network; from a checkout
# the wheels are fetched, by their hashes.
set -eu

fail() {
    echo "Not installed: nothing was changed. The reason:"
    echo "holonode installer: $*" >&2
    exit 2
}

here=
case "$0" in */*) here=$(cd "$(dirname "$0")" && pwd) ;; esac
action=install
bundle=
erase=
for word in "$@"; do
    case "$word" in
        --uninstall) action=uninstall ;;
        --erase) erase=--erase ;;
        --help | -h) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        -*) fail "there is no option $word; --help lists them." ;;
        *) bundle=$word ;;
    esac
done
[ -z "$erase" ] || [ "$action" = uninstall ] || fail "--erase goes with --uninstall."
[ "$(id -u)" -eq 0 ] || fail "only root may install. Put sudo before the command."

# Isolated: neither the shell's environment nor a user's own packages have a say.
run='import sys; sys.path.insert(0, sys.argv.pop(1)); from device.releases.cli import main; sys.exit(main())'

if [ "$action" = uninstall ]; then
    for packages in /opt/holonode/current/venv/lib/python3*/site-packages /opt/holonode/releases/*/venv/lib/python3*/site-packages; do
        [ -d "$packages/device/releases" ] && exec "${PYTHON:-python3}" -I -B -c "$run" "$packages" uninstall $erase
    done
    fail "Holonode isn't installed here: there is no release in /opt/holonode."
fi

case "$(uname -m)" in
    x86_64 | aarch64) ;;
    armv*) fail "this system is a 32-bit one, for which the wheels don't exist. Install the 64-bit system." ;;
    *) fail "there are no wheels for $(uname -m); there are for x86_64 and aarch64." ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP

# The Python that is wanted, or the first that wheels exist for.
python_for() {
    for candidate in ${PYTHON:+"$PYTHON"} ${1:+"python$1"} python3 python3.13 python3.12 python3.11 python3.14; do
        version=$("$candidate" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        case "$version" in 3.11 | 3.12 | 3.13 | 3.14) ;; *) continue ;; esac
        [ -z "$1" ] || [ "$version" = "$1" ] || continue
        command -v "$candidate"
        return 0
    done
    return 1
}
no_python="Debian 12 and 13 have one: apt-get install python3. On another system (Jetson with Ubuntu 22.04 has 3.10) put one beside the system's and name it, PYTHON=/usr/local/bin/python3.11, or run Holonode in a container."

if [ -z "$bundle" ] && [ -n "$here" ] && [ -f "$here/bundle.json" ]; then
    bundle=$here
elif [ -z "$bundle" ] && [ -n "$here" ] && [ -f "$here/bundle.py" ]; then
    python=$(python_for "") || fail "there is no Python 3.11 to 3.14 here. $no_python"
    "$python" -I -m venv "$scratch/pip" >"$scratch/log" 2>&1 || fail "pip can't be had: apt-get install python3-venv git"
    (cd "$here/.." && "$scratch/pip/bin/python" -m deploy.bundle --out "$scratch/bundles" --cache "$scratch/wheels") || fail "no bundle could be made: see above."
    for bundle in "$scratch"/bundles/*.tar; do :; done
fi
[ -n "$bundle" ] || fail "name the bundle: holonode-...-$(uname -m)-cp3...tar"
[ -e "$bundle" ] || fail "there is no $bundle."

if [ -d "$bundle" ]; then
    wheels=$bundle/wheels
    [ -f "$bundle/bundle.json" ] || fail "this is no bundle of Holonode: $bundle"
    manifest=$(cat "$bundle/bundle.json")
else
    wheels=$scratch/own/wheels
    mkdir "$scratch/own"
    manifest=$(tar -xOf "$bundle" bundle.json 2>/dev/null) || fail "this is no bundle of Holonode, or half of one: $bundle. Copy it again."
    tar -xf "$bundle" -C "$scratch/own" --wildcards 'wheels/holonode-*.whl' 2>/dev/null || fail "the bundle is damaged: Holonode's own wheel isn't in it. Copy it again."
fi
wanted=$(printf '%s\n' "$manifest" | sed -n 's/^ "python": "\([0-9.]*\)".*/\1/p')
[ -n "$wanted" ] || fail "the bundle is damaged: its manifest names no Python. Copy it again."
python=$(python_for "$wanted") || fail "the bundle is for Python $wanted, and there is none here$(python_for "" >/dev/null && echo "; take the bundle for $("$(python_for "")" -I -c 'import sys; print("Python %d.%d" % sys.version_info[:2])')"). $no_python"
for wheel in "$wheels"/holonode-*.whl; do :; done
"$python" -I -c "import sys; sys.path.insert(0, sys.argv[1]); import device.releases.cli" "$wheel" 2>/dev/null \
    || fail "the bundle is damaged: its installer can't be read. Copy it again."
status=0
"$python" -I -B -c "$run" "$wheel" install "$bundle" || status=$?
exit "$status"
