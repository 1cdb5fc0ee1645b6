# shellcheck shell=bash
# What the fixtures share. Sourced by them; they set `here`, their folder.
name=$(basename "$0")

fail() {
    echo "$name: $*" >&2
    exit 1
}

usage() {
    sed -n '3,/^set -/{/^#/!d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

# The first of these files that is there; otherwise fails and names the package to install.
first_file() { # first_file PACKAGE FILE...
    local package=$1 path
    shift
    for path; do
        if [ -e "$path" ]; then
            echo "$path"
            return
        fi
    done
    fail "$(basename "$1") is not here: install the package $package"
}

# Names those that are missing.
need_programs() {
    local program
    for program; do
        command -v "$program" >/dev/null || echo "the program $program"
    done
}

refuse_if_missing() {
    local missing
    missing=$(why_not)
    [ -z "$missing" ] || fail "needs $(echo "$missing" | paste -sd, -)"
}

# The folder of a token that was started, without links and dots.
token_folder() {
    [ -f "$1/label" ] || fail "nothing was started in $1: run '$name start $1 LABEL PIN' first"
    (cd "$1" && pwd)
}

make_key_program() {
    local program=${TT_MAKE_KEY:-$here/make_key}
    [ -x "$program" ] || program=$(command -v make_key) || fail "make_key is not built; name it by TT_MAKE_KEY"
    echo "$program"
}

# Runs a program whose output is for the log, and shown when it fails.
logged() { # logged DIR COMMAND...
    local log=$1/log before
    shift
    before=$(stat -c %s "$log" 2>/dev/null || echo 0)
    "$@" >>"$log" 2>&1 </dev/null || {
        tail -c "+$((before + 1))" "$log" >&2
        fail "$(basename "$1") failed"
    }
}

# A private key in PEM, as PKCS #1 in DER, for make_key.
write_pkcs1() { # write_pkcs1 PEMFILE DERFILE
    (umask 077 && openssl rsa -in "$1" -traditional -outform DER -out "$2" 2>/dev/null) ||
        fail "$1 is not an unencrypted RSA private key in PEM"
}

# Percent-encoded, for a URI.
encoded() {
    local text=$1 i byte
    for ((i = 0; i < ${#text}; i++)); do
        byte=${text:i:1}
        case $byte in
        [A-Za-z0-9._~-]) printf '%s' "$byte" ;;
        *) printf '%s' "$byte" | od -An -v -tx1 | tr -d '\n' | tr ' ' '%' ;;
        esac
    done
}

token_uri() { # token_uri LABEL OBJECT MODULE
    echo "pkcs11:token=$(encoded "$1");object=$(encoded "$2");type=private?module-path=$3"
}

# Ends the process of a pid file that its fixture wrote, unless the number belongs to another program by now.
end_process() { # end_process PIDFILE PROGRAM
    [ -f "$1" ] || return 0
    local pid tries=0
    pid=$(cat "$1")
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]; then
        kill "$pid" 2>/dev/null || true
        while [ -d "/proc/$pid" ] && [ $tries -lt 50 ]; do
            tries=$((tries + 1))
            sleep 0.1
        done
        [ ! -d "/proc/$pid" ] || kill -9 "$pid" 2>/dev/null || true
    fi
    rm -f "$1"
}
