#!/bin/sh
# What an event costs, as a table: runs tests/cost.c under callgrind. Fails if
# an operation costs more with more players there than its deliveries explain.
#
# usage: sh tests/cost.sh COST [FOLDER for callgrind's files]
# callgrind counts each turn of a repeated string instruction, as memset's.
set -eu

work=${2:-build/cost}
rm -rf "$work"
mkdir -p "$work"
valgrind -q --tool=callgrind --instr-atstart=no --collect-atstart=no \
    --callgrind-out-file="$work/out" "$1"

# The name of each dump is "operation;present;times;deliveries".
cat "$work"/out.* | awk '
    /^desc: Trigger: Client Request: / {
        sub(/^desc: Trigger: Client Request: /, "")
        split($0, row, ";")
    }
    /^totals: / {
        instructions[row[1], row[2]] = $2 / row[3]
        frames[row[1], row[2]] = row[4] / row[3]
    }
    # What each delivery more costs, from the smaller to the larger crowd.
    function more(n, few, many) {
        if (frames[n, many] == frames[n, few]) return 0
        return (instructions[n, many] - instructions[n, few]) / (frames[n, many] - frames[n, few])
    }
    END {
        split("echo of a ping;chat, 10 in the room;chat, all in the room;" \
            "move to another room;login, addr to sele;leave", order, ";")
        printf "%-22s %29s %24s  %18s\n", "", "instructions", "deliveries", "a delivery more"
        printf "%-22s %9s %9s %9s %8s %7s %7s  %9s %8s\n", "players there",
            10, 100, 1000, 10, 100, 1000, "10-100", "100-1000"
        for (i = 1; i <= 6; i++) {
            n = order[i]
            printf "%-22s %9.0f %9.0f %9.0f %8.1f %7.1f %7.1f  %9.0f %8.0f\n", n,
                instructions[n, 10], instructions[n, 100], instructions[n, 1000],
                frames[n, 10], frames[n, 100], frames[n, 1000], more(n, 10, 100), more(n, 100, 1000)
            flat = more(n, 100, 1000) <= 1.05 * more(n, 10, 100)
            if (frames[n, 1000] == frames[n, 10]) flat = instructions[n, 1000] <= 1.05 * instructions[n, 10]
            if (!flat || !instructions[n, 1000]) {
                print "FAILED: it grows with the number of players by more than its deliveries"
                failed = 1
            }
        }
        exit failed
    }'
