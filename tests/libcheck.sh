#!/bin/sh
# Builds Check's library for another processor, against the musl that
# contrib/musl.sh made for it and into the same folder. Debian packages it for
# glibc only.
#
# usage: TARGET=mips CC=mips-linux-gnu-gcc sh tests/libcheck.sh
set -eu

build=$PWD/build
work=$build/check-$TARGET.src
log=$build/check-$TARGET.log

# Check's own release, as packaged by Debian 12 and 13 and Ubuntu 24.04.
# shellcheck disable=SC2034 # for source.sh
known='8451b68ac5d6f3157b24f22eceff575bcf566264f6d78f3852f89d4e08cf42e1  check_0.15.2.orig.tar.gz'

# shellcheck source=contrib/source.sh
. contrib/source.sh

# What ./configure would find in musl, of what the sources ask for.
found="DECL_ALARM DECL_LOCALTIME_R DECL_STRDUP DECL_STRSIGNAL FORK GETLINE GETTIMEOFDAY LIBRT MALLOC MKSTEMP
    PTHREAD REALLOC SETITIMER SIGACTION SNPRINTF STDINT_H STDLIB_H SYS_TIME_H SYS_WAIT_H UNISTD_H VSNPRINTF"

compile() {
    rm -rf "$work"
    mkdir "$work"
    tar xzf "$build"/sources/check_*.orig.tar.gz --strip-components=1 -C "$work"
    for name in $found; do echo "#define HAVE_$name 1"; done >"$work/config.h"
    for file in "$work"/src/check*.c "$work/lib/libcompat.c"; do
        $CC -std=gnu99 -O1 -g -D_GNU_SOURCE -DHAVE_CONFIG_H=1 -I"$work" -I"$work/src" \
            "@build/libc-$TARGET.flags" -c -o "${file%.c}.o" "$file"
    done
    "$($CC -dumpmachine)-ar" rcs "$work/libcheck.a" "$work"/src/*.o "$work"/lib/*.o
    cp "$work/src/check.h" "$work/check_stdint.h" "build/musl-$TARGET/include/"
    cp "$work/libcheck.a" "build/musl-$TARGET/lib/" # last: it tells make that all is there
}

echo "Getting and building Check for $TARGET, once (log: build/check-$TARGET.log)" >&2
exec 3>&2 >"$log" 2>&1
trap '[ $? = 0 ] || tail -n 5 "$log" >&3' EXIT
(fetch check)
(verify check)
compile
rm -rf "$work"
