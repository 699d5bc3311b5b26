#!/bin/sh
# Chooses the C library for ./nascar_server and leaves the compiler's options
# for it in build/libc.flags: musl, linked statically, if this machine's apt can
# give us its source; else the system's own, statically; else it fails. With
# STATIC=no it is the system's own, dynamically. Needs no root.
#
# musl is built from Debian's source package because the musl that Debian
# packages has no crypt(), with which passwords are kept.
#
# usage: CC=gcc sh contrib/musl.sh     from the project's top folder
#        TARGET=mips CC=mips-linux-gnu-gcc sh contrib/musl.sh
#                                      for another processor: build/libc-mips.flags
set -eu

build=$PWD/build # may have any name, which others need not understand: they get paths from here
for_target=${TARGET:+-$TARGET}
musl=build/musl$for_target # kept by `make clean`; a path without $PWD, so the tree can move
flags=build/libc$for_target.flags
log=$build/musl$for_target.log
CC=${CC:-cc}

# musl's own release, as packaged by Debian 12, Ubuntu 24.04 and Debian 13.
# Their patches touch iconv and porting to other machines: nothing used here.
known='7d5b0b6062521e4627e099e4c9dc8248d32a30285e959b7eecaa780cf8cfd4a4  musl_1.2.3.orig.tar.gz
7a35eae33d5372a7c0da1188de798726f68825513b7ae3ebe97aaaa52114f039  musl_1.2.4.orig.tar.gz
a9a118bbe84d8764da0ea0d28b3ab3fae8477fc7e4085d90102b8596fc7c75e4  musl_1.2.5.orig.tar.gz'

# shellcheck source=contrib/source.sh
. contrib/source.sh

# ---- Building it -------------------------------------------------------------

compile() {
    rm -rf "$build/musl$for_target.src" "$build/musl$for_target.new"
    mkdir "$build/musl$for_target.src"
    cd "$build/musl$for_target.src"
    tar xzf ../sources/musl_*.orig.tar.gz --strip-components=1
    # The project's own make may have passed its flags down; they are not for this.
    unset MAKEFLAGS MFLAGS MAKEOVERRIDES LDFLAGS CPPFLAGS
    set -- --prefix="../musl$for_target.new" --disable-shared --disable-wrapper
    if [ -n "$for_target" ]; then
        machine=$($CC -dumpmachine)
        export CROSS_COMPILE="$machine-"
        set -- "$@" --target="$machine"
    fi
    CC=$CC CFLAGS=-fPIE ./configure "$@" && make -s -j"$(nproc)" && make -s install && bcrypt_alone
}

# Of the ways to hash a password that crypt() knows, the server uses bcrypt: the others,
# 17 KiB of it, give place to functions that fail.
bcrypt_alone() {
    cd "$build/musl$for_target.new/lib"
    for name in crypt_des crypt_md5 crypt_sha256 crypt_sha512; do
        echo "char *__$name(const char *key, const char *setting, char *out);"
        echo "char *__$name(const char *key, const char *setting, char *out)"
        echo "{ (void)key, (void)setting, (void)out; return 0; }"
    done >bcrypt_alone.c
    $CC -Os -fPIE -c -o bcrypt_alone.o bcrypt_alone.c
    # shellcheck disable=SC2046 # each is a word
    "${CROSS_COMPILE:-}ar" d libc.a $("${CROSS_COMPILE:-}ar" t libc.a | grep -E '^crypt_(des|md5|sha256|sha512)[.]')
    "${CROSS_COMPILE:-}ar" r libc.a bcrypt_alone.o
    rm bcrypt_alone.c bcrypt_alone.o
}

# ---- What the compiler is told -----------------------------------------------

# The kernel's headers, which musl does not bring, in a folder without glibc's.
kernel_headers() {
    mkdir -p "$musl/kernel"
    multiarch=$({ $CC -print-multiarch || gcc -print-multiarch; } 2>/dev/null)
    for name in linux asm asm-generic; do
        for folder in /usr/include "/usr/include/$multiarch" "/usr/$multiarch/include"; do
            if [ -d "$folder/$name" ]; then ln -sfn "$folder/$name" "$musl/kernel/$name"; fi
        done
    done
}

# Nothing of glibc: not its headers, not its start files. rcrt1.o is the start
# file that relocates a static-pie binary; Debian's musl-gcc would take another
# one and quietly make a dynamic binary. So would gcc for MIPS and ARM, which
# names a dynamic linker whatever it is told.
musl_flags() {
    own=$($CC -print-file-name=include) # the compiler's: stddef.h, stdarg.h
    cat <<END
-static-pie -fPIE -Wl,--no-dynamic-linker
-nostdinc -isystem $musl/include -isystem "$own" -idirafter $musl/kernel
-nostartfiles -Wl,$musl/lib/rcrt1.o,$musl/lib/crti.o,$musl/lib/crtn.o -L$musl/lib
END
}

# Whether what is said in $flags is enough for a program that has crypt().
links() {
    echo '#include <crypt.h>
          int main(void) { static struct crypt_data d; return crypt_r("", "", &d) != 0; }' |
        $CC -D_GNU_SOURCE -x c - "@$flags" -o "build/probe$for_target" >>"$log" 2>&1 && rm "build/probe$for_target"
}

musl_links() {
    [ -e "$musl/kernel/linux" ] || kernel_headers
    musl_flags >"$flags"
    links
}

# system_links HOW PACKAGES-OF-DNF: says what to install if it does not, HOW being
# "statically" or "dynamically".
system_links() {
    if links; then return; fi
    rm "$flags"
    echo "The system's C library has no <crypt.h> that works with -lcrypt, $1. Type this, then make again:" >&2
    root=$([ "$(id -u)" = 0 ] || echo "sudo ")
    if command -v apt-get >/dev/null; then echo "    ${root}apt-get install libc6-dev libcrypt-dev"
    elif command -v dnf >/dev/null; then echo "    ${root}dnf install $2"
    elif command -v zypper >/dev/null; then echo "    ${root}zypper install glibc-devel libxcrypt-devel"
    elif command -v apk >/dev/null; then echo "    ${root}apk add musl-dev"
    elif command -v pacman >/dev/null; then echo "    ${root}pacman -S libxcrypt"
    else echo "    (your package manager's install command for libcrypt with its headers)"
    fi >&2
    return 1
}

# ---- Which one ---------------------------------------------------------------

# Each step in a subshell, checked by hand: `set -e` does not hold inside `if`. One
# that is there already may be for another compiler's processor.
make_musl() {
    [ -f "$musl/lib/libc.a" ] && musl_links && return
    why="no apt-get here to fetch its source"
    command -v apt-get >/dev/null || return 1
    echo "Getting and building musl${TARGET:+ for $TARGET}, once (half a minute; log: build/musl$for_target.log)" >&2
    why="its source could not be fetched"
    (fetch musl) >>"$log" 2>&1 || return 1
    why=$(verify musl) || { [ -n "$why" ] || exit 1; return 1; }
    why="its build failed"
    (compile) >>"$log" 2>&1 || return 1
    rm -rf "$musl"
    mv "$build/musl$for_target.new" "$musl"
    rm -rf "$build/musl$for_target.src"
    why="$CC does not link with it"
    musl_links
}

$CC --version >/dev/null || { echo "No C compiler: $CC does not run" >&2; exit 1; }
mkdir -p build
: >"$log"
if [ "${STATIC:-yes}" = no ]; then
    echo "-pie -fPIE -Wl,--no-as-needed -lcrypt" >"$flags"
    system_links "dynamically" "glibc-devel libxcrypt-devel"
elif make_musl; then
    :
elif [ -n "$for_target" ]; then
    echo "No musl for $TARGET ($why, see build/musl$for_target.log)" >&2
    exit 1
else
    echo "-static-pie -fPIE -lcrypt" >"$flags"
    if ! system_links "statically" "glibc-static libxcrypt-static"; then
        echo "No musl ($why, see build/musl.log), so there is nothing to link statically with." \
            "For a dynamic binary, with the system's C library: make STATIC=no" >&2
        exit 1
    fi
    echo "No musl ($why, see build/musl.log): linking with the system's C library instead," \
        "statically. To try again: make clean && make" >&2
fi
