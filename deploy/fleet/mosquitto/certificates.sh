#!/bin/sh
# The authority of a fleet and what it signs, by openssl alone. Keep the folder off the boxes and off the broker.
#
#   certificates.sh authority FOLDER             authority.crt, its key, authority.crl (nothing revoked), for ten years
#   certificates.sh broker FOLDER NAME...        broker.crt, broker.key: the host names or addresses that boxes connect to
#   certificates.sh client FOLDER NAME           NAME.crt, NAME.key: a box; NAME is its device.id
#
# A certificate that exists is replaced by another with another key; DAYS=90 says for how long (825 if not).
set -eu
umask 077

fail() {
    echo "certificates.sh: $1" >&2
    exit 2
}

new_key() { # FILE
    openssl ecparam -name prime256v1 -genkey -noout -out "$1"
}

sign() { # NAME COMMON-NAME EXTENSIONS: a key and what the authority says of it
    test -f "$folder/authority.key" || fail "no authority in $folder: make one first (certificates.sh authority $folder)"
    new_key "$folder/$1.key.next"
    openssl req -new -key "$folder/$1.key.next" -subj "/CN=$2" -out "$folder/$1.request"
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" "$3" >"$folder/$1.extensions"
    openssl x509 -req -in "$folder/$1.request" -CA "$folder/authority.crt" -CAkey "$folder/authority.key" \
        -set_serial "0x$(openssl rand -hex 16)" -days "${DAYS:-825}" -extfile "$folder/$1.extensions" -out "$folder/$1.crt.next" \
        2>/dev/null
    rm "$folder/$1.request" "$folder/$1.extensions"
    mv "$folder/$1.key.next" "$folder/$1.key"
    mv "$folder/$1.crt.next" "$folder/$1.crt"
}

test $# -ge 2 || fail "what to make, and in which folder: authority, broker or client"
what=$1 folder=$2
shift 2
mkdir -p "$folder"

case $what in
authority)
    test ! -e "$folder/authority.key" || fail "$folder already holds an authority; whatever it signed would be worth nothing"
    new_key "$folder/authority.key"
    openssl req -x509 -new -key "$folder/authority.key" -subj "/CN=Holonode authority" -days 3650 \
        -addext keyUsage=critical,keyCertSign,cRLSign -out "$folder/authority.crt"
    # Nothing is revoked yet; `holonode-fleet enrol` writes the next ones.
    : >"$folder/revoked.index"
    printf '%s\n' "[ca]" "default_ca=this" "[this]" "database=$folder/revoked.index" "default_md=sha256" >"$folder/revoked.settings"
    openssl ca -gencrl -config "$folder/revoked.settings" -cert "$folder/authority.crt" -keyfile "$folder/authority.key" \
        -crldays 3650 -out "$folder/authority.crl" 2>/dev/null
    rm "$folder/revoked.index" "$folder/revoked.settings"
    ;;
broker)
    test $# -ge 1 || fail "the names or addresses that boxes connect to"
    names=""
    for name in "$@"; do
        case $name in
        *[!A-Za-z0-9.:-]*) fail "no host name or address: $name" ;;
        *:*) kind=IP ;;
        *[!0-9.]*) kind=DNS ;;
        *) kind=IP ;;
        esac
        names="$names,$kind:$name"
    done
    # A server's certificate can't be used by a client, nor the other way round: no box can pass for the broker.
    sign broker "$1" "extendedKeyUsage=serverAuth
subjectAltName=${names#,}"
    ;;
client)
    test $# -eq 1 || fail "one name"
    case $1 in
    authority | broker | collector) fail "'$1' means something else at the broker" ;;
    "" | *[!a-z0-9-]*) fail "a name is lower-case letters, digits and hyphens, got '$1'" ;;
    esac
    sign "$1" "$1" "extendedKeyUsage=clientAuth"
    ;;
*)
    fail "authority, broker or client, got '$what'"
    ;;
esac
