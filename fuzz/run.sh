#!/bin/sh
# Fuzzes each harness for some seconds, after the canary, whose planted bug must
# be found. What is new stays in build/fuzz/found/NAME (make corpus takes it
# from there), crashes in build/fuzz/crashes.
#
# usage: sh fuzz/run.sh libfuzzer|afl SECONDS CANARY_SECONDS NAME...
# shellcheck disable=SC2317 # functions are called by the engine's name
set -u

engine=$1 seconds=$2 canary_seconds=$3
shift 3
crashes=build/fuzz/crashes
mkdir -p "$crashes" build/fuzz/found
failed=0

# A block is freed once a step, so a small quarantine holds thousands of steps;
# and what is allocated is written at once, always in the same place.
export ASAN_OPTIONS=allow_addr2line=1:print_legend=0:quarantine_size_mb=1:max_malloc_fill_size=0
ASAN_OPTIONS=$ASAN_OPTIONS:malloc_context_size=1:allocator_release_to_os_interval_ms=-1
export UBSAN_OPTIONS=print_stacktrace=1
export AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_UI=1 AFL_NO_AFFINITY=1
if [ "$engine" = afl ]; then # it has its own, and refuses others
    unset ASAN_OPTIONS UBSAN_OPTIONS
fi

# A longer script takes the time of many short ones.
most_bytes=1024

# ---- libFuzzer

# What it starts with: one short line of chat.
canary_seed() {
    rm -rf build/fuzz/canary
    mkdir -p build/fuzz/canary
    printf 'mesg\0\0\0\0\0\0\0\037TEXT=hello to you\n\0' >build/fuzz/canary/seed
}

canary_libfuzzer() {
    canary_seed
    timeout $((canary_seconds + 20)) build/fuzz/libfuzzer/canary \
        -seed=1 -max_len=512 -max_total_time="$canary_seconds" -dict=build/fuzz/canary.dict \
        -artifact_prefix=build/fuzz/canary/ build/fuzz/canary >build/fuzz/canary.log 2>&1
    grep -q 'AddressSanitizer: heap-buffer-overflow' build/fuzz/canary.log
}

fuzz_libfuzzer() {
    name=$1 schedule="-entropic=1" bytes=$most_bytes
    # A request is 200 bytes; the limits of a frame are looked at with short ones.
    [ "$name" = fuzz_frame ] && bytes=400
    [ "$name" = fuzz_dns ] && bytes=320
    # That schedule looks at the rarest features after each run, and so do smaller
    # inputs of the same; counts tell hardly more than branches do. A script covers
    # so much that all this takes as long as the run.
    [ "$name" = fuzz_step ] && schedule="-entropic=0 -reduce_inputs=0 -use_counters=0"
    log=build/fuzz/$name.log
    mkdir -p "build/fuzz/found/$name" "corpus/$name"
    : >"$log"
    # shellcheck disable=SC2086 # several options
    timeout $((seconds + 60)) "build/fuzz/libfuzzer/$name" $schedule -reload=0 \
        -max_len="$bytes" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 -verbosity=1 \
        -dict="build/fuzz/$name.dict" -artifact_prefix="$crashes/$name-" \
        "build/fuzz/found/$name" "corpus/$name" >"$log" 2>&1
    status=$?
    # Runs a second of processor time: the machine may be busy with other things.
    awk -v name="$name" -v status="$status" '
        /^stat::number_of_executed_units:/ { runs = $2 }
        /^fuzz: .* s of processor time/ { seconds = $2 }
        /^[0-9]+ runs, / { what = substr($0, index($0, ",") + 2) }
        /^#[0-9]+.* cov: [0-9]+ ft: / {
            for (i = 1; i < NF; i++) {
                if ($i == "cov:") cov = $(i + 1)
                if ($i == "ft:") ft = $(i + 1)
            }
        }
        END {
            if (what) printf "%s: coverage %d, features %d, %s\n", name, cov, ft, what
            printf "%s: %d runs, %d runs/s, %d crashes\n", name, runs, (seconds > 0 ? runs / seconds : 0), (status != 0)
            exit (status != 0 || !runs)
        }' "$log" && return 0
    grep -v '^#' "$log" | tail -n 40
    return 1
}

# ---- AFL++

run_afl() { # NAME SECONDS SEEDS OPTION...
    name=$1 length=$2 seeds=$3
    shift 3
    rm -rf "build/fuzz/afl.$name"
    timeout $((length + 60)) afl-fuzz -i "$seeds" -o "build/fuzz/afl.$name" -V "$length" \
        -x "build/fuzz/$name.dict" -m none -t 2000 "$@" -- "build/fuzz/afl/$name" >"build/fuzz/afl.$name.log" 2>&1
}

afl_figure() { awk -F ' *: *' -v key="$2" '$1 == key { print $2 }' "build/fuzz/afl.$1/default/fuzzer_stats"; }

crashes_of_afl() {
    find "build/fuzz/afl.$1/default/crashes" -name 'id:*' 2>/dev/null | wc -l
}

canary_afl() {
    canary_seed
    AFL_BENCH_UNTIL_CRASH=1 run_afl canary "$canary_seconds" build/fuzz/canary -s 1 # no matter of luck
    [ "$(crashes_of_afl canary)" -gt 0 ]
}

fuzz_afl() {
    name=$1
    run_afl "$name" "$seconds" "corpus/$name"
    if [ ! -s "build/fuzz/afl.$name/default/fuzzer_stats" ]; then
        tail -n 30 "build/fuzz/afl.$name.log"
        return 1
    fi
    mkdir -p "build/fuzz/found/$name"
    for file in "build/fuzz/afl.$name/default/queue"/id:*src:*; do
        [ -e "$file" ] && cp "$file" "build/fuzz/found/$name/afl-$(sha1sum <"$file" | cut -c1-40)"
    done
    found=$(crashes_of_afl "$name")
    for file in "build/fuzz/afl.$name/default/crashes"/id:*; do
        [ -e "$file" ] && cp "$file" "$crashes/$name-afl-$(sha1sum <"$file" | cut -c1-40)"
    done
    runs=$(afl_figure "$name" execs_done)
    echo "$name: coverage $(afl_figure "$name" edges_found) edges, $(afl_figure "$name" corpus_count) inputs"
    echo "$name: $runs runs, $(afl_figure "$name" execs_per_sec) runs/s, $found crashes"
    [ "$found" = 0 ] && [ "${runs:-0}" -gt 0 ]
}

began=$(date +%s)
if "canary_$engine"; then
    echo "canary: found in $(($(date +%s) - began)) s"
else
    echo "canary: NOT FOUND in $canary_seconds s: what is below proves nothing"
    tail -n 20 build/fuzz/*canary.log
    failed=1
fi
for name; do
    "fuzz_$engine" "$name" >"build/fuzz/$name.line" || failed=1
    cat "build/fuzz/$name.line"
done
exit $failed
