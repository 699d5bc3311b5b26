#!/bin/sh
# Chooses the C library for ./nascar_server and leaves the compiler's options
# for it in build/libc.flags: musl, linked statically, if this machine's apt can
# give us its source; else what the system has. Needs no root.
#
# musl is built from Debian's source package because the musl that Debian
# packages has no crypt(), with which passwords are kept.
#
# usage: CC=gcc sh contrib/musl.sh     from the project's top folder
set -eu

build=$PWD/build
musl=build/musl # kept by `make clean`; a path without $PWD, so the tree can move
log=$build/musl.log
CC=${CC:-cc}

# musl's own release, as packaged by Debian 12, Ubuntu 24.04 and Debian 13.
# Their patches touch iconv and porting to other machines: nothing used here.
known='7d5b0b6062521e4627e099e4c9dc8248d32a30285e959b7eecaa780cf8cfd4a4  musl_1.2.3.orig.tar.gz
7a35eae33d5372a7c0da1188de798726f68825513b7ae3ebe97aaaa52114f039  musl_1.2.4.orig.tar.gz
a9a118bbe84d8764da0ea0d28b3ab3fae8477fc7e4085d90102b8596fc7c75e4  musl_1.2.5.orig.tar.gz'

# ---- Getting the source ------------------------------------------------------

# The distribution's own line among apt's sources, made a source line: same
# address, same key. Other vendors' repositories name other suites. $1: folder
# to write to.
source_lines() {
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # Which suite and component of a line we want, for both styles.
    # shellcheck disable=SC2016 # awk's own $
    pick='
    function wanted_suite(suite, uri) {
        return suite == codename || (uri ~ /debian/ && suite ~ /^(stable|testing|unstable|sid)$/)
    }
    function wanted_component(component) { return component == "main" || component == "universe" }'

    # One line each: deb [options] URI suite component...
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        awk -v codename="$codename" "$pick"'
        $1 == "deb" {
            options = ""
            sub(/^[ \t]*deb[ \t]+/, "")
            if (match($0, /^\[[^]]*\]/)) {
                options = substr($0, 1, RLENGTH) " "
                $0 = substr($0, RLENGTH + 1)
            }
            sub(/#.*/, "")
            if (wanted_suite($2, $1))
                for (i = 3; i <= NF; i++)
                    if (wanted_component($i))
                        print "deb-src " options $1, $2, $i
        }' >"$1/machine.list"

    # Paragraphs of fields; a value goes on in lines that start with a blank.
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] && sed '/^#/d' "$file" && echo
    done | awk -v codename="$codename" "$pick"'
        function end(   n, i, words, suites, components, field) {
            n = split(value["suites"], words)
            for (i = 1; i <= n; i++)
                if (wanted_suite(words[i], value["uris"])) suites = suites " " words[i]
            n = split(value["components"], words)
            for (i = 1; i <= n; i++)
                if (wanted_component(words[i])) components = components " " words[i]
            if (value["types"] ~ /deb( |$)/ && value["enabled"] !~ /no/ && suites && components) {
                print "Types: deb-src\nSuites:" suites "\nComponents:" components
                print "URIs:" value["uris"]
                if ("signed-by" in value) print "Signed-By:" value["signed-by"]
                print ""
            }
            split("", value)
        }
        /^[ \t]*$/ { end(); next }
        /^[ \t]/ { value[field] = value[field] "\n" $0; next }
        { field = tolower(substr($0, 1, index($0, ":") - 1)); value[field] = substr($0, index($0, ":") + 1) }
        END { end() }' >"$1/machine.sources"
}

# Leaves the tarball in $build/musl-src. apt works in folders of our own, so it
# neither needs root nor changes the machine's lists.
fetch() {
    rm -rf "$build/musl-src"
    mkdir -p "$build/musl-src/sources" "$build/musl-src/lists/partial" "$build/musl-src/cache"
    source_lines "$build/musl-src/sources"
    cd "$build/musl-src"
    # The sandbox user could not write below a private home directory.
    set -- -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$PWD/sources" \
        -o "Dir::State::lists=$PWD/lists" -o "Dir::Cache=$PWD/cache" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20
    apt-get "$@" update || echo "some of apt's sources failed"
    apt-get "$@" source --download-only --tar-only musl && ls musl_*.orig.tar.*
}

# 0: the tarball is one we know. 1: another release. A known name with other
# contents is an alarm, not a reason to go on with something else.
verify() {
    cd "$build/musl-src"
    tarball=$(ls musl_*.orig.tar.*)
    expected=$(echo "$known" | awk -v name="$tarball" '$2 == name { print $1 }')
    found=$(sha256sum "$tarball" | cut -d' ' -f1)
    [ "$found" = "$expected" ] && return
    if [ -n "$expected" ]; then
        printf '%s\n' "musl: $tarball is not what it should be. SHA-256" "  expected $expected" "  found    $found" \
            "Stopping here: do not trust this mirror." >&2
        exit 1
    fi
    echo "$tarball ($found) is not a release this project knows"
    return 1
}

# ---- Building it -------------------------------------------------------------

compile() {
    cd "$build/musl-src"
    tar xzf musl_*.orig.tar.gz
    cd musl-*/
    # The project's own make may have passed its flags down; they are not for this.
    unset MAKEFLAGS MFLAGS MAKEOVERRIDES LDFLAGS CPPFLAGS
    CC=$CC CFLAGS=-fPIE ./configure --prefix="$build/musl.new" --disable-shared --disable-wrapper &&
        make -s -j"$(nproc)" && make -s install
}

# Each step in a subshell, checked by hand: `set -e` does not hold inside `if`.
make_musl() {
    [ -f $musl/lib/libc.a ] && return
    why="no apt-get here to fetch its source"
    command -v apt-get >/dev/null || return 1
    echo "Getting and building musl, once (half a minute; log: build/musl.log)" >&2
    why="its source could not be fetched"
    (fetch) >>"$log" 2>&1 || return 1
    why=$(verify) || { [ -n "$why" ] || exit 1; return 1; }
    why="its build failed"
    rm -rf "$build/musl.new"
    (compile) >>"$log" 2>&1 || return 1
    mv "$build/musl.new" $musl
    rm -rf "$build/musl-src"
}

# ---- What the compiler is told -----------------------------------------------

# The kernel's headers, which musl does not bring, in a folder without glibc's.
kernel_headers() {
    mkdir -p $musl/kernel
    multiarch=$({ $CC -print-multiarch || gcc -print-multiarch; } 2>/dev/null)
    for name in linux asm asm-generic; do
        for folder in /usr/include "/usr/include/$multiarch"; do
            if [ -d "$folder/$name" ]; then ln -sfn "$folder/$name" "$musl/kernel/$name"; fi
        done
    done
}

# Nothing of glibc: not its headers, not its start files. rcrt1.o is the start
# file that relocates a static-pie binary; Debian's musl-gcc would take another
# one and quietly make a dynamic binary.
musl_flags() {
    own=$($CC -print-file-name=include) # the compiler's: stddef.h, stdarg.h
    cat <<END
-static-pie -fPIE
-nostdinc -isystem $musl/include -isystem $own -idirafter $musl/kernel
-nostartfiles $musl/lib/rcrt1.o $musl/lib/crti.o $musl/lib/crtn.o -L$musl/lib
END
}

system_flags() {
    echo "-pie -fPIE -Wl,--no-as-needed -lcrypt"
}

# Without musl the system must have crypt.h and libcrypt.
need_crypt() {
    echo '#include <crypt.h>
          int main(void) { static struct crypt_data d; return crypt_r("", "", &d) != 0; }' |
        $CC -D_GNU_SOURCE -x c - -lcrypt -o build/crypt-probe >>"$log" 2>&1 && rm build/crypt-probe && return
    echo "The system's C library has no <crypt.h> that works with -lcrypt. Type this, then make again:" >&2
    root=$([ "$(id -u)" = 0 ] || echo "sudo ")
    if command -v apt-get >/dev/null; then echo "    ${root}apt-get install libc6-dev libcrypt-dev"
    elif command -v dnf >/dev/null; then echo "    ${root}dnf install glibc-devel libxcrypt-devel"
    elif command -v zypper >/dev/null; then echo "    ${root}zypper install glibc-devel libxcrypt-devel"
    elif command -v apk >/dev/null; then echo "    ${root}apk add musl-dev"
    elif command -v pacman >/dev/null; then echo "    ${root}pacman -S libxcrypt"
    else echo "    (your package manager's install command for libcrypt with its headers)"
    fi >&2
    exit 1
}

$CC --version >/dev/null || { echo "No C compiler: $CC does not run" >&2; exit 1; }
mkdir -p build
: >"$log"
if make_musl; then
    kernel_headers
    musl_flags >build/libc.flags
else
    need_crypt
    echo "No musl ($why, see build/musl.log): linking with the system's C library instead. To try again: make clean && make" >&2
    system_flags >build/libc.flags
fi
