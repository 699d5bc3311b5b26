#!/bin/sh
# The build, where a user's machine is not as ours: folders with strange names, the
# environment's compiler and options, products elsewhere, a source that is not to be
# written to, and no C library that can be linked statically.
#
# usage: sh tests/build.sh FOLDER COMMAND...    COMMAND is make; FOLDER is for this alone
# It uses the musl in build/ that is there already.
set -u

folder=$1
shift
top=$PWD
failed=0
# holds WHAT COMMAND...: says so, and fails in the end, if the command fails
holds() {
    what=$1
    shift
    if "$@"; then echo "yes: $what"; else echo "NO:  $what"; failed=1; fi
}
# shellcheck disable=SC2317 # these are called by holds
fails() { ! "$@"; }
# shellcheck disable=SC2317
is_static() { [ -x "$1" ] && ! readelf -lW "$1" | grep -q INTERP && "$1" --version >/dev/null; }
# shellcheck disable=SC2317
# shellcheck disable=SC2317
is_newer() { [ -n "$(find "$1" -newer "$2")" ]; }
# shellcheck disable=SC2317
is_dynamic() { [ -x "$1" ] && readelf -lW "$1" | grep -q INTERP; }
# shellcheck disable=SC2317
says() { grep -q -e "$1" said; }
# shellcheck disable=SC2317
make_quietly() { "$@" >said 2>&1; }

# A user's shell, not the make that runs this.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL CC CPPFLAGS LDFLAGS
export CFLAGS=-O0

# source_at PLACE: a copy of what a user gets, with our musl.
source_at() {
    [ -d build/sources ] || { echo "NO:  there is a musl to begin with: see build/musl.log"; return 1; }
    mkdir -p "$1/build" && cp -R Makefile README.md LICENSE nascar_server.[ch] contrib tests fuzz "$1" &&
        cp -RP build/musl build/sources "$1/build"
}

# A compiler that notes down how it was called.
rm -rf "$folder"
mkdir -p "$folder/bin"
cd "$folder" || exit 1
folder=$PWD
cat >bin/noting-cc <<END
#!/bin/sh
printf '%s\n' "\$*" >>"$folder/calls"
exec gcc "\$@"
END
# One without a static C library, and one that makes dynamic programs whatever it is told.
cat >bin/dynamic-cc <<END
#!/bin/sh
case " \$* " in *" -static-pie "* | *@*) echo "cannot find -lc" >&2; exit 1 ;; esac
exec gcc "\$@"
END
# One that builds musl at once, from empty objects, but tries for its ./configure what that asks.
echo 'int nothing;' | gcc -x c - -c -o bin/empty.o
cat >bin/hasty-cc <<END
#!/bin/sh
case " \$* " in
*/conf*) ;;
*" -c "*)
    while [ "\$1" != -o ]; do shift; done
    exec cp "$folder/bin/empty.o" "\$2" ;;
esac
exec gcc "\$@"
END
chmod +x bin/*
# A machine without apt.
mkdir bare
ln -s /usr/local/bin/* /usr/bin/* bare 2>/dev/null
[ -L /bin ] || ln -s /bin/* bare 2>/dev/null
rm -f bare/apt-get

# ---- Names

# What a shell, make, a compiler, tar and apt could each take for something else.
# shellcheck disable=SC2016
strange='a $b $(c) '\''d'\'' "e" #f :g %h ü (i) \j; k&l* [m] ~n,o=p @q'
cd "$top" && source_at "$folder/$strange" && cd "$folder/$strange" || exit 1
holds "it builds in a folder with a strange name" make_quietly "$@"
holds "what is built there is static" is_static ./nascar_server
holds "nothing was built anew for that" fails says musl
rm -r build/musl
CC=$folder/bin/hasty-cc sh contrib/musl.sh >said 2>&1
holds "musl is built there, too" test -f build/musl/lib/libc.a -a -f build/musl/include/stdio.h
holds "and leaves no work behind" test "$(cd build && echo *)" = "libc.flags musl musl.log settings sources"

# ---- Elsewhere

# From here on a small program takes the server's place.
cd "$top" && source_at "$folder/source" && cd "$folder/source" || exit 1
cat >nascar_server.c <<END
#include <crypt.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    return argc == 2 ? puts(argv[1]) < 0 : crypt("", "") == NULL;
}
END
elsewhere="../else where \$b 'c' \"d\""
mkdir -p "$elsewhere" && mv build "$elsewhere"
chmod -R a-w .
find . -exec ls -ld {} + >../before
holds "make O=FOLDER builds" "$@" -s O="$elsewhere"
find . -exec ls -ld {} + >../after
chmod -R u+w .
holds "in that folder" is_static "$elsewhere/nascar_server"
holds "and writes nothing to its source" cmp ../before ../after
holds "make goes on there without O=" "$@" -s -C "$elsewhere" CFLAGS=-O0
holds "where all is done" fails is_newer "$elsewhere/nascar_server" ../after
cp Makefile ../Makefile.before
holds "O= is not where the source is" fails make_quietly "$@" O=../source
holds "which is as it was" cmp Makefile ../Makefile.before
holds "make -f from another folder says how" fails make_quietly "$@" -C contrib -f ../Makefile
holds "that is, O=" says "O="

# ---- The environment

cd "$folder/source" && mkdir -p build && cp -RP "$top/build/musl" build || exit 1
CC=$folder/bin/noting-cc CPPFLAGS=-DOF_CPPFLAGS LDFLAGS=-Wl,--trace-symbol=of_ldflags "$@" >said 2>&1
holds "the environment's compiler is taken" grep -q nascar_server.c ../calls
for option in -O0 -DOF_CPPFLAGS -Wl,--trace-symbol=of_ldflags; do
    holds "and its $option" grep -q -e "$option.*nascar_server.c\\|nascar_server.c.*$option" ../calls
done
holds "what make is told goes before it" make_quietly "$@" -n CFLAGS=-O3 CC=another-cc
holds "that is" says "^another-cc .*-O3"
touch ../before
holds "what is installed only" env CFLAGS=-O1 "$@" -s DESTDIR="$folder/installed" install
holds "is what was built, as sudo takes the environment away" fails is_newer nascar_server ../before
holds "other options" env CFLAGS=-O1 "$@" -s
holds "build it anew" is_newer nascar_server ../before

# ---- Static or not

holds "a C library of one's choice is built with" "$@" -s STATIC=no
holds "which makes it dynamic" is_dynamic ./nascar_server
holds "and it is static again without that" "$@" -s
holds "really" is_static ./nascar_server
echo "-pie -fPIE -lcrypt" >build/libc.flags
touch build/libc.flags
holds "what came out dynamic is an error" fails make_quietly "$@"
holds "with a sentence" says "STATIC=no"
holds "and no binary" test ! -e nascar_server

rm -r build
holds "without apt it builds with a static libc of the system's" env PATH="$folder/bare" "$@" -s
holds "static, too" is_static ./nascar_server
rm -r build nascar_server
export PATH="$folder/bare" CC="$folder/bin/dynamic-cc"
holds "where there is no static libc it is an error" fails make_quietly "$@"
holds "which says what to do" says "STATIC=no"
holds "and leaves no binary" test ! -e nascar_server
exit $failed
