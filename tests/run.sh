#!/bin/sh
# Runs one check with its output in a log, and counts. Always exits 0, so that
# the others run too; tests/total.sh has the last word.
#
# usage: sh tests/run.sh build/log/NAME COMMAND...
# leaves build/log/NAME (output) and build/log/NAME.count ("passed failed")
set -u

log=$1
shift
name=${log##*/}
mkdir -p "${log%/*}"
began=$(date +%s)
# In a process group of its own: a suite that is told to end tells its group, and
# ours is that of make and of all the other checks. So an interruption is passed on.
timeout -k 10 "${CHECK_TIMEOUT_S:-900}" "$@" >"$log" 2>&1 </dev/null &
trap 'kill $!; exit 1' HUP INT TERM
wait $!
status=$?
seconds=$(($(date +%s) - began))

# A suite counts its tests in a line of Check's, or the live test's. Everything
# else is one check. A crash, a sanitizer's report or a suite that ran nothing
# is a failure even if no test failed.
counts=$(awk -v status="$status" -v name="$name" '
    /^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+$/ {
        gsub(/[^0-9 ]/, "")
        passed += $2 - $3 - $4; failed += $3 + $4; summary = 1
    }
    /^live: [0-9]+ passed, [0-9]+ failed$/ { passed += $2; failed += $4; summary = 1 }
    END {
        if (!summary && name !~ /test_|^live/) passed = (status == 0)
        if (!failed && (status != 0 || !passed)) failed = 1
        print passed + 0, failed + 0
    }' "$log")
echo "$counts" >"$log.count"

case $counts in
*" 0") printf '%-28s %4d passed  %3d s\n' "$name" "${counts% *}" "$seconds" ;;
*)
    printf '%-28s %4d passed, %d FAILED (exit status %d)  %d s\n' "$name" "${counts% *}" "${counts#* }" "$status" "$seconds"
    tail -n 60 "$log" | sed 's/^/    /'
    ;;
esac
