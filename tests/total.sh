#!/bin/sh
# Adds up what tests/run.sh counted; the last line is `N passed, N failed`.
# Fails if anything did, or if nothing ran.
set -u

cat build/log/*.count 2>/dev/null | awk '
    { passed += $1; failed += $2 }
    END {
        if (!passed && !failed) failed = 1
        printf "%d passed, %d failed\n", passed, failed
        exit failed > 0
    }'
