#!/bin/sh
# Debian's PostgreSQL, for the tests of the fleet; the cluster that Debian would make and start is not wanted for them.
set -eu
if ! command -v apt-get >/dev/null; then
    echo "PostgreSQL is not installed and there is no apt-get: install PostgreSQL 15 or newer by hand." >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "PostgreSQL is not installed: run 'apt-get install postgresql' as root." >&2; exit 1; }
    as_root="sudo"
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends postgresql-common
grep -q '^create_main_cluster = false' /etc/postgresql-common/createcluster.conf ||
    echo 'create_main_cluster = false' | $as_root tee -a /etc/postgresql-common/createcluster.conf >/dev/null
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends postgresql
