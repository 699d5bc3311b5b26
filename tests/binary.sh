#!/bin/sh
# Is the binary what the README says it is? Compilers and specs files go back to
# a dynamic or unprotected binary without a word, so look at the file itself.
#
# usage: sh tests/binary.sh ./nascar_server MAX_KIB
set -u

failed=0
# holds WHAT COMMAND...: says so, and fails in the end, if the command fails
holds() {
    what=$1
    shift
    if "$@"; then echo "yes: $what"; else echo "NO:  $what"; failed=1; fi
}

headers=$(readelf -hlW "$1")
dynamic=$(readelf -dW "$1")
sections=$(readelf -SW "$1")
# shellcheck disable=SC2317 # called by holds
has() { echo "$1" | grep -Eq -e "$2"; }
# shellcheck disable=SC2317
lacks() { ! has "$@"; }

holds "position independent" has "$headers" 'Type: +DYN'
holds "static: no interpreter" lacks "$headers" INTERP
holds "static: no library needed" lacks "$dynamic" NEEDED
holds "stack not executable" has "$headers" 'GNU_STACK.* RW '
holds "relro" has "$headers" GNU_RELRO
holds "now" has "$dynamic" 'FLAGS_1.*NOW'
holds "no segment both writable and executable" lacks "$headers" 'LOAD.* RWE '
holds "stripped" lacks "$sections" '\.symtab'
holds "at most $2 KiB: $(($(wc -c <"$1") / 1024))" test "$(wc -c <"$1")" -le $(($2 * 1024))
exit $failed
