#!/bin/sh
# Proves the readers of what anybody may send, by Frama-C's WP: for every input,
# no access out of bounds, no overflow, no undefined behaviour, an end of each
# loop, and what the contracts (ACSL, in nascar_server.c) promise. Unsigned
# numbers may wrap. Then a fault is planted in each of them, in a copy: a proof
# that goes through all the same proves nothing.
#
# usage: sh tests/prove.sh nascar_server.c build/prove
# prints `prove: N of N goals proved`; fails otherwise
set -u

source=$1
work=$2

# What is proved. The contracts of these call on each other and on the C library's.
functions=load_be32,lower,is_digit,hex_value,read_frame,payload_size,find_tag,read_string,read_number,read_address,read_flags
functions=$functions,ssc2_init,ssc2_push,ssc2_swap,ssc2_absorb,ssc2_next,ssc2_decode,mask_byte,mask_decode

# A fault for each function that reads: its name and a command of sed's, which
# changes one line.
faults() {
    cat <<'END'
read_frame s/if (size < HEADER_BYTES)$/if (size < HEADER_BYTES - 1)/
payload_size s/while (n < size && payload/while (n <= size \&\& payload/
find_tag s/return i < size && payload/return i <= size \&\& payload/
read_string s/&& at + 1 < size)/\&\& at + 1 <= size)/
read_number s/bool negative = at < size/bool negative = at <= size/
read_address s/part > 0 && (at >= size/part > 0 \&\& (at > size/
read_flags s/c >= '@' && c <= 'Z'/c >= '@' \&\& c <= 'z'/
ssc2_absorb s/t = 0; size > 0 && t/t = 0; t/
ssc2_decode s/for (; n < SSC2_CHARS &&/for (; n <= SSC2_CHARS \&\&/
mask_decode s/low < 0 || n == SSC2_CHARS/low < 0 || n > SSC2_CHARS/
END
}

mkdir -p "$work"
# The provers that are installed, without a look at the user's own settings.
WHY3CONFIG=$work/why3.conf
export WHY3CONFIG
why3 config detect >"$work/why3.txt" 2>&1 || { cat "$work/why3.txt"; exit 1; }

# prove FILE FUNCTIONS SECONDS: what a prover may take for one goal. The core
# alone: Frama-C has no word of the system's own headers.
prove() {
    frama-c -c11 -machdep gcc_x86_64 -cpp-extra-args="-DNASCAR_NO_SHELL -I." "$1" \
        -wp -wp-rte -wp-fct "$2" -wp-prover cvc4,z3 -wp-timeout "$3" -wp-par 2 2>&1
}

prove "$source" "$functions" 10 >"$work/proof.txt"
counts=$(sed -n 's|.*Proved goals: *\([0-9]*\) */ *\([0-9]*\).*|\1 \2|p' "$work/proof.txt")
proved=${counts% *}
goals=${counts#* }
if [ "${proved:-0}" = 0 ]; then
    tail -n 20 "$work/proof.txt"
    proved=0 goals=0
fi
grep -E '^\[wp\] \[(Failed|Timeout|Unknown)\]' "$work/proof.txt"
# A warning of WP's means that it proved something else than what stands there.
warnings=$(grep -E '^\[(wp|rte)[^]]*\].*Warning' "$work/proof.txt")
[ -z "$warnings" ] || echo "$warnings"
# Each function must have had goals at all.
for function in $(echo "$functions" | tr ',' ' '); do
    grep -q "Goal typed_${function}_" "$work/proof.txt" || { echo "no goal of $function" && warnings=yes; }
done

cp "$source" "$work/faulty.c"
cp "${source%.c}.h" "$work/"
faulty=$(faults | cut -d ' ' -f 1)
missed=
for function in $faulty; do
    cp "$work/faulty.c" "$work/before.c"
    sed "$(faults | sed -n "s/^$function //p")" "$work/before.c" >"$work/faulty.c"
    [ "$(diff "$work/before.c" "$work/faulty.c" | grep -c '^>')" = 1 ] || missed="$missed $function (not planted)"
done
prove "$work/faulty.c" "$(echo "$faulty" | paste -sd ,)" 1 >"$work/faulty.txt"
for function in $faulty; do
    grep -E '^\[wp\] \[(Failed|Timeout|Unknown)\]' "$work/faulty.txt" | grep -q "Goal typed_${function}_" || missed="$missed $function"
done
if [ -z "$missed" ]; then
    echo "prove: a fault planted in each of $(faults | wc -l) functions is found"
else
    echo "prove: planted faults that are not found:$missed"
fi
echo "prove: $proved of $goals goals proved"
[ -z "$missed$warnings" ] && [ "$goals" -gt 0 ] && [ "$proved" = "$goals" ]
