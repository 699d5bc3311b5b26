#!/bin/sh
# Sees to it that what the tests use is there: installs what is missing where
# that is possible without a question, else says what to type and fails.
#
# usage: sh tests/need.sh core     what `make test-core` uses
#        sh tests/need.sh all      what `make test` uses
set -u

# need PACKAGE PROBE...: the package is missing if the probe fails. Probes try
# the thing itself, so it may come from anywhere.
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

# shellcheck disable=SC2317 # called by need
links() { echo 'int main(void) { return 0; }' | "$@" -x c - -o /dev/null; }

look() {
    missing=
    need gcc gcc --version
    need libc6-dev links gcc -include stdio.h
    need libcrypt-dev links gcc -include crypt.h
    need pkg-config pkg-config --version
    need check pkg-config --exists check
    [ "$1" = core ] && return
    need clang clang --version
    need libclang-rt-dev links clang -fsanitize=address,undefined
    need clang-tidy clang-tidy --version
    need valgrind valgrind -q true
}

look "$1"
[ -z "$missing" ] && exit 0

root=
[ "$(id -u)" = 0 ] || root="sudo -n"

if command -v apt-get >/dev/null && $root true 2>/dev/null; then
    echo "Installing$missing (log: build/install.log)"
    mkdir -p build
    # A machine may have no package lists yet, or old ones: then fetch them and
    # try again. That one of several sources fails need not matter.
    # shellcheck disable=SC2086 # a list of packages
    install() { $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; }
    { install || { $root apt-get update; install; }; } >build/install.log 2>&1 </dev/null
    look "$1"
    [ -z "$missing" ] && exit 0
    tail -n 5 build/install.log
fi

echo "The tests need more than is installed here. Type this as root, then make again:" >&2
echo "    apt-get update && apt-get install -y --no-install-recommends$missing" >&2
exit 1
