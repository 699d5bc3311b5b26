#!/bin/sh
# Proves the readers of what anybody may send, by Frama-C's WP: for every input,
# no access out of bounds, no overflow, no undefined behaviour, an end of each
# loop, and what the contracts (ACSL, in nascar_server.c) promise. Unsigned
# numbers may wrap. What proves nothing is looked for, too: smoke tests try to
# show that a contract or an invariant contradicts itself, so that anything
# would follow from it; and faults are planted in a copy, each of which must
# leave a goal unproved.
#
# usage: sh tests/prove.sh nascar_server.c build/prove
# prints `prove: N functions, N goals, all proved; ...`; fails otherwise
set -u

source=$1
work=$2

# What is proved. The contracts of these call on each other and on the C library's.
functions=load_be32,lower,is_digit,hex_value,read_frame,payload_size,has_lines,find_key,find_tag,read_string,read_number
functions=$functions,read_address,read_flags,dns_name_end,dns_record_end,read_dns_query
functions=$functions,ssc2_init,ssc2_push,ssc2_swap,ssc2_absorb,ssc2_next,ssc2_decode,mask_byte,mask_decode

# A fault for each function that reads: its name, the kind of goal that must
# fail, and a command of sed's, which changes one line. A loop that goes too far
# is caught by its invariant.
faults() {
    cat <<'END'
read_frame rte_mem_access s/i < 4 && i < size; i++/i < 4 \&\& i <= size; i++/
payload_size rte_mem_access s/while (n < size && payload/while (n <= size \&\& payload/
find_key rte_mem_access s/return i < size && payload/return i <= size \&\& payload/
read_string rte_mem_access s/&& at + 1 < size)/\&\& at + 1 <= size)/
read_number rte_mem_access s/bool negative = at < size/bool negative = at <= size/
read_address rte_mem_access s/part > 0 && (at >= size/part > 0 \&\& (at > size/
dns_name_end rte_mem_access s/while (end < size && bytes/while (end <= size \&\& bytes/
read_dns_query rte_mem_access s/if (size < DNS_HEAD ||/if (size < 2 ||/
read_flags rte_shift s/c >= '@' && c <= 'Z'/c >= '@' \&\& c <= 'z'/
ssc2_absorb rte_division_by_zero s/t = 0; size > 0 && t/t = 0; t/
ssc2_decode loop_invariant_preserved s/for (; n < SSC2_CHARS &&/for (; n <= SSC2_CHARS \&\&/
mask_decode loop_invariant_preserved s/low < 0 || n == SSC2_CHARS/low < 0 || n > SSC2_CHARS/
END
}
# And a contract that nobody can keep, for the smoke tests.
contradiction='s/^\/\*@ requires .valid_read(mask + (0 .. mask_size - 1));/\/*@ requires mask_size < 0;/'

mkdir -p "$work"
# The prover that is installed, without a look at the user's own settings.
WHY3CONFIG=$work/why3.conf
export WHY3CONFIG
why3 config detect >"$work/why3.txt" 2>&1 || { cat "$work/why3.txt"; exit 1; }

# prove FILE FUNCTIONS OPTION...: ten seconds a goal. The core alone:
# Frama-C has no word of the system's own headers.
prove() {
    file=$1
    proved_functions=$2
    shift 2
    frama-c -c11 -machdep gcc_x86_64 -cpp-extra-args="-DNASCAR_NO_SHELL -I." "$file" \
        -wp -wp-rte -wp-fct "$proved_functions" \
        -wp-prover cvc4 -wp-timeout 10 -wp-par "$(nproc)" "$@" 2>&1
}
# open_goals FILE: those that are not proved, and failed smoke tests.
open_goals() {
    grep -E '(Goal|Smoke-test) typed_' "$1" | grep -v -e ' : Valid' -e '\[Passed\]'
}
smoke='-wp-smoke-tests -wp-no-smoke-dead-code -wp-smoke-timeout 1'

# plant SED: changes one line of the copy.
plant() {
    cp "$work/faulty.c" "$work/before.c"
    sed "$1" "$work/before.c" >"$work/faulty.c"
    [ "$(diff "$work/before.c" "$work/faulty.c" | grep -c '^>')" = 1 ]
}

# shellcheck disable=SC2086 # a list of words
prove "$source" "$functions" $smoke >"$work/proof.txt"
counts=$(sed -n 's|.*Proved goals: *\([0-9]*\) */ *\([0-9]*\).*|\1 \2|p' "$work/proof.txt")
proved=${counts% *}
all=${counts#* }
smokes=$(grep -c 'Smoke-test ' "$work/proof.txt")
if [ "${proved:-0}" = 0 ] || [ "$smokes" = 0 ]; then
    tail -n 20 "$work/proof.txt"
    proved=0 all=1
fi
open_goals "$work/proof.txt"
# A warning of WP's means that it proved something else than what stands there.
warnings=$(grep -E '^\[(wp|rte)[^]]*\].*Warning' "$work/proof.txt")
[ -z "$warnings" ] || echo "$warnings"
# Each function must have had goals at all.
count=0
for function in $(echo "$functions" | tr ',' ' '); do
    count=$((count + 1))
    grep -q "Goal typed_${function}_" "$work/proof.txt" || { echo "no goal of $function" && warnings=yes; }
done

# Faults are in accesses and loops, so that no more is proved than those.
cp "$source" "$work/faulty.c"
cp "${source%.c}.h" "$work/"
missed=
planted=$(faults | cut -d ' ' -f 1)
for function in $planted; do
    plant "$(faults | sed -n "s/^$function [^ ]* //p")" || missed="$missed $function (not planted)"
done
prove "$work/faulty.c" "$(echo "$planted" | paste -sd ,)" -wp-prop=@assert,@invariant >"$work/faulty.txt"
for function in $planted; do
    goal=$(faults | sed -n "s/^$function \([^ ]*\) .*/\1/p")
    open_goals "$work/faulty.txt" | grep -q "Goal typed_${function}_.*$goal" || missed="$missed $function"
done
cp "$source" "$work/faulty.c"
plant "$contradiction" || missed="$missed mask_byte (not planted)"
# shellcheck disable=SC2086
prove "$work/faulty.c" mask_byte $smoke >"$work/contradiction.txt"
open_goals "$work/contradiction.txt" | grep -q 'Smoke-test typed_mask_byte_' || missed="$missed mask_byte"

[ -z "$missed" ] || echo "prove: planted faults that are not found:$missed"
[ "$proved" = "$all" ] || echo "prove: $proved of $all goals and smoke tests passed"
[ -z "$missed$warnings" ] && [ "$proved" = "$all" ] &&
    echo "prove: $count functions, $((all - smokes)) goals, all proved;" \
        "$smokes smoke tests; $(($(faults | wc -l) + 1)) planted faults found"
