#!/bin/sh
# Debian's Chromium, for the tests of the dashboard's pages.
set -eu
if ! command -v apt-get >/dev/null; then
    echo "Chromium is not installed and there is no apt-get: install Chromium 120 or newer by hand." >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Chromium is not installed: run 'apt-get install chromium' as root." >&2; exit 1; }
    as_root="sudo"
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends chromium
