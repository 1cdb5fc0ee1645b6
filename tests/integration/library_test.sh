#!/bin/sh
# The library as others find it: installed into a folder, each of its headers by itself, and a program that pkg-config
# tells how to be built.
# usage: library_test.sh BUILD COMPILER
set -eu

build=$1
compiler=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/traintoken-library-XXXXXX")
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/usr" >/dev/null
cd "$work"
PKG_CONFIG_PATH=$(dirname "$(find "$work/usr" -name traintoken.pc)")
export PKG_CONFIG_PATH
library=$(pkg-config --define-variable=prefix="$work/usr" --variable=libdir traintoken)
headers=$(pkg-config --define-variable=prefix="$work/usr" --variable=includedir traintoken)

(cd "$headers" && find . -name '*.h') | while read -r header; do
    echo "#include \"$header\"" >"$(echo "$header" | tr -c 'a-z0-9\n' _).c"
done
set -- -std=gnu11 -Wall -Wextra -Werror
# shellcheck disable=SC2046 # several words
"$compiler" "$@" $(pkg-config --define-variable=prefix="$work/usr" --cflags traintoken) -fsyntax-only ./_*.c
# shellcheck disable=SC2046
"$compiler" "$@" "$here/library_user.c" $(pkg-config --define-variable=prefix="$work/usr" --cflags --libs traintoken) -o user
LD_LIBRARY_PATH=$library DOCKER_HOST=unix:///nowhere HOME=$work ./user
