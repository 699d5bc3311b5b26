#!/bin/sh
# What `make install` puts where, and that `make uninstall` leaves nothing of it.
#
# usage: sh tests/install.sh FOLDER COMMAND...    COMMAND is make; FOLDER is for this alone
set -u

folder=$1
shift
prefix="/opt/some place \$b 'c' \"d\" #e"
failed=0
# holds WHAT COMMAND...: says so, and fails in the end, if the command fails
holds() {
    what=$1
    shift
    if "$@"; then echo "yes: $what"; else echo "NO:  $what"; failed=1; fi
}
# shellcheck disable=SC2317 # called by holds
has_mode() { [ "$(stat -c %a "$2")" = "$1" ]; }

rm -rf "$folder"
holds "it is installed" "$@" install DESTDIR="$folder" PREFIX="$prefix"
root=$folder$prefix
holds "the binary is the one that was built" cmp nascar_server "$root/bin/nascar_server"
holds "everyone may run it" has_mode 755 "$root/bin/nascar_server"
holds "it runs" "$root/bin/nascar_server" --version
for name in README.md LICENSE; do
    holds "$name lies beside it, to be read" has_mode 644 "$root/share/doc/nascar_server/$name"
done

mkdir -p "$root/share/doc/another"
echo "another program" >"$root/bin/another"
holds "it is removed" "$@" uninstall DESTDIR="$folder" PREFIX="$prefix"
holds "nothing of it is left, and what is not its own is" \
    test "$(find "$folder" -name '*nascar_server*' -o -type f | sort)" = "$root/bin/another"
holds "nor another's folder missing" test -d "$root/share/doc/another"
exit $failed
