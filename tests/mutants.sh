#!/bin/sh
# Plants single faults in the server, one at a time, and counts how many the
# suites, the test of the real binary and 10 s of simulation catch: 95 of 100 at
# least, and each of the others has its explanation. tests/mutants.tsv has the
# faults, one a line:
#
#     suite <tab> text <tab> what takes its place [<tab> why nothing shows it]
#
# `suite` is tried first (`live` is tests/live.c and its parts), then the others, the
# quickest first, and the simulator last, up to the first that fails. The text must
# stand in nascar_server.c once; a pilcrow (¶) in it is the end of a line.
#
# usage: CC=COMPILER HELPERS='NAME...' SUITES='NAME...' sh tests/mutants.sh [LINE...]
# With LINEs, only those of the list. The names are of files in tests/; COMPILER is
# the one that build/libc.flags is for.
set -u

list=tests/mutants.tsv
out=build/mutants
root=$PWD
at_once=${MUTANTS_AT_ONCE:-2}

# Compiles from the standard input, as all of a mutant's programs do it.
compile() { clang -std=c11 -w "$@" -x c -; }

# build WHERE PROGRAM: WHERE/PROGRAM with the server WHERE/nascar_server.c. What
# does not include the server is an object in $out already, and takes the core.
build() {
    {
        if [ "$2" = live ]; then # drives a server that runs by itself, static as it is shipped
            $CC -std=c11 -w -O0 -o "$1/nascar_server" "$1/nascar_server.c" @build/libc.flags
            return
        fi
        if [ -f "$out/$2.o" ]; then
            object=$out/$2.o core=$1/core.o
            [ -f "$core" ] || compile -O0 -DNASCAR_NO_SHELL -I"$1" -c -o "$core" <"$1/nascar_server.c" || return 1
        else
            object=$1/$2.o core=
            [ "$2" = sim ] && level=1 || level=0
            (cd "$1/tests" && compile "-O$level" -I"$root/tests" -c -o "../$2.o" <"$root/tests/$2.c") || return 1
        fi
        # shellcheck disable=SC2086 # lists of words
        clang -o "$1/$2" "$object" $core "$out/helpers.a" $libraries
    } >"$1/$2.build" 2>&1
}

# run WHERE PROGRAM SECONDS
run() {
    case $2 in
    sim) timeout -k 5 "$3" "$1/sim" --seconds 10 mutants ;;
    live) timeout -k 5 "$3" "$out/live" "$1/nascar_server" ;;
    *) CK_FORK=no TRANSCRIPT=$1/transcript timeout -k 5 "$3" "$1/$2" ;;
    esac >"$1/$2.log" 2>&1 </dev/null
}

# mutant WHERE LINE: the server, as it was at the start, with that fault.
mutant() {
    mkdir -p "$1/tests" && cp "$out/0/nascar_server.h" "$1" || return 1
    awk -F '\t' -v line="$2" '
        FNR == NR && FNR == line { text = $2; new = $3 }
        FNR == NR { next }
        { file = file $0 "\n" }
        END {
            gsub(/¶/, "\n", text)
            gsub(/¶/, "\n", new)
            at = index(file, text)
            if (text == "" || !at || index(substr(file, at + 1), text))
                exit 1
            printf "%s%s%s", substr(file, 1, at - 1), new, substr(file, at + length(text))
        }' "$list" "$out/0/nascar_server.c" >"$1/nascar_server.c"
}

# one LINE: leaves what became of it in $out/LINE.result
one() {
    where=$out/$1
    rm -rf "$where"
    result="survived"
    if ! mutant "$where" "$1"; then
        result="broken: its text does not stand in nascar_server.c exactly once"
    else
        first=$(awk -F '\t' -v line="$1" 'NR == line { print $1 }' "$list")
        for program in $first $(grep -vx "$first" "$out/order"); do
            if ! build "$where" "$program"; then
                result="broken: it does not compile: $(grep -m 1 error: "$where/$program.build")"
                break
            fi
            limit=$(awk -v program="$program" '$2 == program { print int($1 / 250) + 60 }' "$out/times")
            if ! run "$where" "$program" "$limit"; then
                result="caught by $program"
                break
            fi
            rm -f "$where/$program"
        done
    fi
    echo "$result" >"$out/$1.result"
    awk -F '\t' -v line="$1" -v result="$result" '
        NR == line { printf "%3d %-28s %s  ->  %s\n", line, result, $2, $3 }' "$list"
    rm -rf "$where"
}

libraries="$(pkg-config --libs check) -lcrypt"
if [ "${1-}" = --one ]; then
    one "$2"
    exit 0
fi

rm -rf "$out"
mkdir -p "$out/0/tests"
cp nascar_server.c nascar_server.h "$out/0"
for name in $HELPERS $SUITES; do
    grep -q '^#include "../nascar_server.c"' "tests/$name.c" ||
        clang -std=c11 -w -O1 -c -o "$out/$name.o" "tests/$name.c" || exit 1
done
for name in $HELPERS; do ar rcs "$out/helpers.a" "$out/$name.o"; done
clang -std=c11 -w -O1 -o "$out/live" tests/live.c tests/live_*.c tests/server.c "$out/helpers.a" -lcrypt || exit 1

# Without a fault all must pass, and shows how long it takes.
for program in $SUITES live sim; do
    # It has no server in it.
    [ "$program" = test_console ] && continue
    began=$(date +%s%N)
    if ! build "$out/0" "$program" || ! run "$out/0" "$program" 300; then
        tail -n 40 "$out/0/$program.build" "$out/0/$program.log"
        echo "$program fails without any fault"
        exit 1
    fi
    echo "$((($(date +%s%N) - began) / 1000000)) $program"
done | tee "$out/times"
grep -q ' fails ' "$out/times" && exit 1
sort -n "$out/times" | awk '$2 != "sim" { print $2 } $2 == "sim" { sim = 1 } END { if (sim) print "sim" }' >"$out/order"

# shellcheck disable=SC2046 # a list of numbers
[ $# -gt 0 ] || set -- $(awk -F '\t' 'NF >= 3 && !/^#/ { print NR }' "$list")
printf '%s\n' "$@" | xargs -P "$at_once" -n 1 sh tests/mutants.sh --one

# An explanation of a fault that is caught is out of date.
for line; do
    echo "$(cat "$out/$line.result")	$line	$(sed -n "${line}p" "$list" | cut -f 4)"
done | awk -F '\t' '
    { all++ }
    /^caught/ { caught++ }
    /^caught/ && $3 != "" { bad++; print "line " $2 " is caught, though it says: " $3 }
    /^survived/ && $3 != "" { explained++; print "line " $2 " is not caught: " $3 }
    /^survived/ && $3 == "" { bad++; print "line " $2 " is not caught" }
    /^broken/ { bad++; print "line " $2 " is " $1 }
    END {
        part = all ? 100 * caught / all : 0
        printf "mutants: %d of %d caught (%.1f %%), %d explained\n", caught, all, part, explained
        exit all == 0 || bad > 0 || caught < 0.95 * all
    }'
