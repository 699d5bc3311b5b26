# Adds up what was run of the core: the part of nascar_server.c above its double
# line. Prints what was not, and last `core: lines 100.0% branches 98.2%`.
#
# usage: awk -f tests/coverage.awk nascar_server.c REPORT   (llvm-cov's lcov form)
#
# Counted out are the branches of assertions and of nascar_check()'s HOLDS(), and
# what is marked with a reason:
#     if (...) /* never: the reason */
# A mark holds for its line and, if that does not end in ; { or }, up to the
# line that does. A mark where everything happens is an error.

FNR == 1 { files++ }

files == 1 && !end {
    if (/^\/\* =====/)
        end = FNR
    text[FNR] = code = $0
    if (code ~ /\/\* never: [^ ]/)
        mark = FNR
    if (code ~ /(^|[^_a-z])assert\(/)
        out = 1
    if (code ~ /^ *HOLDS\(/)
        out = 1
    marked[FNR] = mark
    counted_out[FNR] = out || mark
    sub(/ *\/\*.*$/, "", code)
    if (code ~ /[;{}]$/)
        mark = out = 0
}

/^SF:/ {
    server = /\/nascar_server\.c$/
}

server && /^DA:/ {
    split(substr($0, 4), part, ",")
    line = part[1]
    if (line >= end)
        next
    happens[line] = happens[line] || part[2] > 0
    if (part[2] == 0 && marked[line])
        holds[marked[line]] = 1
    if (counted_out[line])
        next
    lines++
    if (part[2] > 0)
        lines_run++
    else
        missing[line] = " never runs"
}

server && /^BRDA:/ {
    split(substr($0, 6), part, ",")
    line = part[1]
    if (line >= end)
        next
    if (part[4] + 0 == 0 && marked[line])
        holds[marked[line]] = 1
    if (counted_out[line])
        next
    branches++
    if (part[4] + 0 > 0)
        branches_run++
    else if (missing[line] !~ /never runs/)
        missing[line] = missing[line] sprintf(" condition %d is never %s;", part[2] + 1, part[3] % 2 == 0 ? "true" : "false")
}

END {
    for (line = 1; line < end; line++) {
        if (line in missing)
            printf "nascar_server.c:%d:%s%s\n", line, missing[line], text[line]
        if (marked[line] == line && !holds[line] && ++stale)
            printf "nascar_server.c:%d: this is marked as never, and all of it happens:%s\n", line, text[line]
    }
    if (!end || lines < 1000 || branches < 1000) {
        print "the report is empty"
        exit 1
    }
    printf "core: lines %.1f%% branches %.1f%%\n", int(1000 * lines_run / lines) / 10, int(1000 * branches_run / branches) / 10
    exit stale > 0 || lines_run < lines || branches_run < 0.98 * branches
}
