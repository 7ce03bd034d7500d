#!/bin/sh
# Debian's AVR compiler and simulator: for building the controller's firmware and for its tests.
set -eu
packages="gcc-avr avr-libc simavr libsimavr-dev libelf-dev"
if ! command -v apt-get >/dev/null; then
    echo "no AVR toolchain and no apt-get: install by hand what Debian calls $packages." >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "no AVR toolchain: run 'apt-get install $packages' as root." >&2; exit 1; }
    as_root="sudo"
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages
