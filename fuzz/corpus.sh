#!/bin/sh
# Merges into corpus/NAME what covers something new: seeds, what the fuzzers
# found, and what was there. Files of the corpus whose names begin with
# `regression-` stay as they are.
#
# usage: sh fuzz/corpus.sh NAME...
set -eu

# The corpus stays small, and a replay of it short.
MOST_BYTES=${MOST_BYTES:-800}

export ASAN_OPTIONS=quarantine_size_mb=1
seeded=build/fuzz/seeded
rm -rf "$seeded"
for name; do
    mkdir -p "$seeded/$name" "build/fuzz/found/$name" "corpus/$name"
done
mkdir -p "$seeded/fuzz_frame" "$seeded/fuzz_step" "$seeded/fuzz_journal" "$seeded/fuzz_dns" "$seeded/fuzz_http"
if [ -d build/fuzz/record ]; then
    for suite in build/fuzz/record/test_*; do
        mkdir -p "build/fuzz/recorded/${suite##*/}"
        # One that looks for a chance of its own, and finds none, is a seed all the same.
        FUZZ_SEEDS="build/fuzz/recorded/${suite##*/}" timeout 300 "$suite" >/dev/null 2>&1 || true
        find "build/fuzz/recorded/${suite##*/}" -type f -exec \
            sh -c 'cp "$1" "$2/$(sha1sum <"$1" | cut -c1-40)"' - {} "$seeded/fuzz_step" \;
    done
fi
# shellcheck disable=SC2046 # names without spaces
build/fuzz/seeds "$seeded" tests/data/*.jsonl tests/data/*.rec \
    $(find build/recordings build/fuzz/simulated -name '*.rec' 2>/dev/null)
for name; do
    merged=build/fuzz/merged/$name
    rm -rf "$merged"
    mkdir -p "$merged"
    find "$seeded/$name" "build/fuzz/found/$name" -type f -size "+${MOST_BYTES}c" -delete
    # Scripts: one for each branch is enough, how often it is taken is left out.
    counters=1
    [ "$name" = fuzz_step ] && counters=0
    timeout 1200 "build/fuzz/libfuzzer/$name" -merge=1 -use_counters=$counters -max_len="$MOST_BYTES" \
        "$merged" "corpus/$name" "$seeded/$name" "build/fuzz/found/$name" >"build/fuzz/$name.merge.log" 2>&1 || \
        { tail -n 30 "build/fuzz/$name.merge.log"; exit 1; }
    find "corpus/$name" -type f ! -name 'regression-*' -delete
    find "$merged" -type f -exec cp {} "corpus/$name" \;
    echo "corpus/$name: $(find "corpus/$name" -type f | wc -l) files, $(cat "corpus/$name"/* | wc -c) bytes"
done
