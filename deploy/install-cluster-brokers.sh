#!/bin/sh
# Debian's nats-server and RabbitMQ, for the tests of a clustered broker, which start their own on loopback.
set -eu
if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get: install nats-server 2.9 and rabbitmq-server 3.10 or newer by hand." >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Run 'apt-get install nats-server rabbitmq-server' as root." >&2; exit 1; }
    as_root="sudo"
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends nats-server rabbitmq-server
# Debian starts what it installs, for all of the network; nobody asked for that.
$as_root systemctl disable --now nats-server rabbitmq-server >/dev/null 2>&1 || true
