#!/bin/sh
# Debian's libfaketime, for tests/faults/clock_jumps.py.
set -eu
if ! command -v apt-get >/dev/null; then
    echo "libfaketime is not installed and there is no apt-get: install libfaketime 0.9.10 or newer by hand." >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "libfaketime is not installed: run 'apt-get install faketime' as root." >&2; exit 1; }
    as_root="sudo"
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends faketime
