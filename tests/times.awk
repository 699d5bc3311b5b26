# Compares how long the live test's cases took, without and with a recorder, which must
# not change what a player sees: awk -f tests/times.awk LOG LOG_OF_RECORDED

$1 == "ok" && $NF == "s)" {
    seconds = substr($(NF - 1), 2) + 0
    if (FILENAME == ARGV[1])
        without[$2] = seconds
    else if ($2 in without) {
        compared++
        if (seconds > 2 * without[$2] + 3) {
            print $2 ": " seconds " s with a recorder, and " without[$2] " s without"
            slower++
        }
    }
}

END {
    print compared + 0 " cases compared"
    exit slower > 0 || compared < 50
}
