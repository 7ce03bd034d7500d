#!/bin/sh
# Debian's mosquitto, for the tests and for boxes without a broker elsewhere; openssl makes certificates for it.
set -eu
if ! command -v apt-get >/dev/null; then
    echo "mosquitto is not installed and there is no apt-get: install mosquitto 2.0 or newer by hand." >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "mosquitto is not installed: run 'apt-get install mosquitto' as root." >&2; exit 1; }
    as_root="sudo"
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends mosquitto openssl
