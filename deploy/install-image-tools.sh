#!/bin/sh
# What `make image`, `make test-boot` and `make test-updates` use of Debian 12 or newer.
set -eu
packages="mmdebstrap debian-archive-keyring fdisk dosfstools mtools e2fsprogs kmod systemd systemd-container qemu-system-arm"
if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get: install by hand what Debian calls $packages." >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Run 'apt-get install $packages' as root." >&2; exit 1; }
    as_root="sudo"
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages
