#!/bin/sh
# README's "On a VPS", typed as it stands, on a machine that is fresh as far as these lines
# can see: with folders, a network and processes of its own, which all go when it ends. Then
# what a console needs that has this VPS as its DNS, and whether the page shows it.
#
# usage: sh tests/vps.sh FOLDER    FOLDER is for this alone, and empty in the end
# Wants root. It uses the musl in build/ that is there already, and no network.
set -u

address=192.0.2.7 # the VPS's
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
resolves() { dig +short +tries=1 "@$address" "$1"; }
# shellcheck disable=SC2317
page_has() { curl -fsS -m 5 "http://$address$1" | grep -q -e "$2"; }
skip() {
    echo "skipped: $*"
    exit 0
}

# ---- On the machine that tests -----------------------------------------------------

# What those lines would change.
machine() {
    cksum /etc/passwd
    ls -ld --time-style=full-iso /usr/local/bin/nascar_server /var/lib/nascar 2>&1
}

outside() {
    [ "$(id -u)" = 0 ] || skip "this is not root, who may make name spaces"
    why=$(unshare --mount --net --pid --fork --kill-child sh -c 'mount -t tmpfs vps /mnt && cd /mnt && mkdir etc work &&
        mount -t overlay -o lowerdir=/etc,upperdir=etc,workdir=work vps /etc' 2>&1) ||
        skip "no name spaces with mounts of their own: $why"
    mkdir -p "$1"
    before=$(machine)
    # Who kills unshare kills all that runs in there.
    timeout --foreground -s KILL 300 \
        unshare --mount --net --pid --fork --kill-child --mount-proc sh tests/vps.sh --inside "$1"
    holds "all that was said there" test $? = 0
    holds "this machine is as before" test "$(machine)" = "$before"
    holds "nothing is left in $1" rmdir "$1"
    exit $failed
}

# ---- On the VPS ----------------------------------------------------------------------

# Makes it, with the source in a folder that no other mount hides, wherever this project is.
furnish() {
    mount -t tmpfs -o mode=755 vps "$1" && mkdir -p "$1/source/build" || return
    cp -RL Makefile README.md LICENSE nascar_server.[ch] contrib tests fuzz "$1/source" || return
    [ ! -d build/musl ] || cp -RP build/musl build/sources "$1/source/build" || return
    mount --bind "$1" /mnt && cd /mnt || return
    mkdir etc etc.work local local.work || return
    mount -t overlay -o lowerdir=/etc,upperdir=etc,workdir=etc.work vps /etc || return
    mount -t overlay -o lowerdir=/usr/local,upperdir=local,workdir=local.work vps /usr/local || return
    for place in /var/lib /var/log /run; do mount -t tmpfs -o mode=755 vps $place || return; done
    mount -t tmpfs -o mode=1777 vps /tmp || return
    if id nascar; then userdel nascar || return; fi >said 2>&1
    rm -f /usr/local/bin/nascar_server /etc/resolv.conf
    ip link set lo up && ip address add $address/24 dev lo || return
    cd source || return
}

# A console's PC asks the VPS for the game's server, as PCSX2 does, and its player looks at the page.
# The probe is on for a second or less: it gets a few tries.
# shellcheck disable=SC2317
sees_himself() {
    echo "nameserver $address" >/etc/resolv.conf
    seen=no
    for try in 1 2 3 4 5; do
        nascar_server probe ps2nascar04.ea.com --full >said 2>&1 &
        while kill -0 $! 2>/dev/null; do
            if page_has / probe- && page_has /api/status '"name":"probe-'; then seen=yes; fi
            sleep 0.02
        done
        if ! wait $!; then cat said; return 1; fi
        if [ "$seen" = yes ]; then return; fi
    done
    echo "not in $try tries"
    return 1
}

inside() {
    trap 'exit 1' HUP INT TERM
    # A user's shell, not the make that runs this.
    unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL CC CPPFLAGS CFLAGS LDFLAGS
    furnish "$1" || { echo "NO:  there is a VPS"; exit 1; }
    awk '/^## / { on = $0 == "## On a VPS" } on && sub(/^    /, "")' README.md >../block
    # Lines that go on are one.
    sed -e :again -e '/\\$/N' -e 's/\\\n *//' -e t\ again ../block >../lines
    holds "README says how in ten lines at most" test "$(wc -l <../block)" -le 10 -a -s ../block
    # On a terminal, which goes away behind the last line.
    SHELL=/bin/sh script -qec "sh tests/vps.sh --type ../lines" /dev/null </dev/null
    holds "these lines, each of them" test $? = 0
    sleep 1

    data=/var/lib/nascar/data
    holds "the server goes on without the terminal" nascar_server ctl --data $data who
    holds "not as root" test "$(stat -c %U "/proc/$(cat $data/pid)")" = nascar
    holds "it has a log" grep -q event=sandbox /var/lib/nascar/log
    holds "it answers who asks for the game's server" test "$(resolves ps2nascar04.ea.com)" = $address
    dnas=gate1.us.dnas.playstation.org
    holds "and for DNAS, as was typed" grep -q -e "--dns-name $dnas=$(resolves $dnas) " ../lines
    holds "and for nothing else" test -z "$(resolves example.com)"
    holds "its page is there" page_has / "<title>"
    holds "and all is well with it" page_has /healthz ""
    holds "nobody is on it" fails page_has / probe-
    holds "who asks it for the game's server gets in, races, and sees himself on the page" sees_himself
    holds "he leaves" fails page_has / probe-
    if [ $failed != 0 ]; then cat /var/lib/nascar/log; fi
    exit $failed
}

# ---- On its terminal -------------------------------------------------------------------

typing() {
    stty -onlcr
    while IFS= read -r line <&3; do holds "$line" eval "$line" 3<&-; done 3<"$1"
    exit $failed
}

case $1 in
--inside) inside "$2" ;;
--type) typing "$2" ;;
*) outside "$1" ;;
esac
