#!/bin/sh
# Sees to it that what the tests use is there: installs what is missing where
# that is possible without a question, else says what to type and fails.
#
# usage: sh tests/need.sh core     what `make test-core` uses
#        sh tests/need.sh all      what `make test` uses
#        sh tests/need.sh fuzz     what `make fuzz` and `make afl` use
#        sh tests/need.sh prove    what `make prove` uses
#        sh tests/need.sh analyse  what `make analyse` uses
#        sh tests/need.sh cross mips i686            what `make cross` uses
#        sh tests/need.sh test-cross mips i686       what `make test-cross` uses
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

# shellcheck disable=SC2317
runs() { command -v "$1"; }

# shellcheck disable=SC2317
compiles_fuzzer() {
    echo '#include <stdint.h>
        #include <stddef.h>
        int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) { return !p && !n; }' |
        "$1" -fsanitize=fuzzer -x c - -o /dev/null
}

# need_cross TARGET: its compiler and, for musl, its kernel headers. Debian's
# packages bear Debian's names of processors, or those of its compilers.
need_cross() {
    case $1 in
    armhf) machine=arm-linux-gnueabihf debian=armhf ;;
    aarch64) machine=aarch64-linux-gnu debian=arm64 ;;
    i686) machine=i686-linux-gnu debian=i386 ;;
    *) machine=$1-linux-gnu debian=$1 ;;
    esac
    need "gcc-$machine" "$machine-gcc" --version
    need "linux-libc-dev-$debian-cross" "$machine-gcc" -E -include asm/unistd.h -x c /dev/null
}

look() {
    missing=
    if [ "$1" = cross ]; then
        need binutils readelf --version
        shift
        for target; do need_cross "$target"; done
        return
    fi
    need gcc gcc --version
    if [ "$1" = prove ]; then
        need frama-c-base frama-c -version
        need why3 why3 --version
        need cvc4 cvc4 --version
        return
    fi
    need libc6-dev links gcc -include stdio.h
    need libcrypt-dev links gcc -include crypt.h
    if [ "$1" = analyse ]; then
        need clang-tidy clang-tidy --version
        need clang-format clang-format --version
        need cppcheck cppcheck --version
        need shellcheck shellcheck --version
        return
    fi
    need pkg-config pkg-config --version
    need check pkg-config --exists check
    [ "$1" = core ] && return
    need clang clang --version
    need libclang-rt-dev links clang -fsanitize=address,undefined
    if [ "$1" = test-cross ]; then
        shift
        need qemu-user-static runs qemu-mips-static
        need bind9-dnsutils dig -v
        need libc6-dev-i386-cross i686-linux-gnu-gcc -E -include stdio.h -x c /dev/null
        for target; do need_cross "$target"; done
        return
    fi
    if [ "$1" = fuzz ]; then
        need libclang-rt-dev compiles_fuzzer clang
        need afl++ runs afl-fuzz
        need afl++-clang compiles_fuzzer afl-clang-fast
        return
    fi
    need bind9-dnsutils dig -v
    need valgrind valgrind -q true
    need strace strace -V
    need curl curl --version
    need iproute2 ip -V
    need chromium runs chromium
    need prometheus promtool --version
    need llvm runs llvm-cov
}

look "$@"
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
    look "$@"
    [ -z "$missing" ] && exit 0
    tail -n 5 build/install.log
fi

echo "The tests need more than is installed here. Type this as root, then make again:" >&2
echo "    apt-get update && apt-get install -y --no-install-recommends$missing" >&2
exit 1
