#!/bin/sh
# What an embedder gets: the object of the core alone, the header, and the
# README's example, which is compiled, linked and run.
#
# usage: sh tests/exports.sh CORE.o COMPILER FLAGS...
# The object must be compiled without -fpie: then tables of constant addresses
# are constant data, too, and whatever nm finds in .data or .bss is a variable.
# (With -fpie they are in .data.rel.ro, which the loader fills in once.)
set -u

core=$1
shift
failed=0
# none WHAT LIST: the list is empty, else says what it holds
none() {
    if [ -z "$2" ]; then echo "yes: $1"; else printf 'NO:  %s, but\n%s\n' "$1" "$2"; failed=1; fi
}
# holds WHAT COMMAND...
holds() {
    what=$1
    shift
    if "$@"; then echo "yes: $what"; else echo "NO:  $what"; failed=1; fi
}

exported=$(nm -g --defined-only "$core" | awk '{ print $3 }')
none "only names that begin with nascar_ are exported" "$(echo "$exported" | grep -v '^nascar_')"
for name in $(echo "$exported" | grep '^nascar_'); do
    grep -q "\\b$name(" nascar_server.h || missing="${missing:-} $name"
done
none "the header declares each of them" "${missing:-}"
none "no variable" "$(nm "$core" | grep -i ' [bcdgsv] ')"
none "it calls string functions that keep and allocate nothing, and what ends a broken program" \
    "$(nm -u "$core" | awk '{ print $2 }' |
        grep -Evx -e 'mem(chr|cmp|cpy|move|set)|bcmp|str(chr|cmp|cspn|len|ncmp|pbrk|rchr|spn|str)' \
            -e '__assert_fail|__stack_chk_fail')"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
holds "the header compiles alone, as C" "$@" -fsyntax-only -x c nascar_server.h
# clang needs no C++ library for that, so it is always there; g++ may not be.
for compiler in clang g++; do
    command -v "$compiler" >/dev/null || continue
    for std in c++98 c++11 c++20; do
        holds "the header compiles alone, as C++, with $compiler -std=$std" \
            "$compiler" -std=$std -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ nascar_server.h
    done
done

awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md >"$work/readme.c"
# With some fixed entropy it starts, and is sound.
cat >>"$work/readme.c" <<'END'
int main(void)
{
    static const uint8_t entropy[1024] = {1, 2, 3};
    struct nascar *state = start(entropy);
    return state == NULL || nascar_check(state) != NULL || nascar_entropy_wanted(state) > 512;
}
END
holds "the README's example compiles" "$@" -I. -no-pie -o "$work/readme" "$work/readme.c" "$core"
holds "the README's example starts a server" "$work/readme"

# The keys that the header lists are those that there are, at least.
awk '/^ \* +[a-z][a-z-]*  / { print $2 }' nascar_server.h | grep -v -e accepted -e bytes >"$work/keys"
{
    printf '#include "nascar_server.h"\n#include <string.h>\nint main(void)\n{\n    char why[200];\n'
    while read -r key; do
        echo "    nascar_config_check(\"$key\", \"?\", why, sizeof why);"
        echo "    if (strcmp(why, \"unknown key\") == 0) return 1;"
    done <"$work/keys"
    printf '    return 0;\n}\n'
} >"$work/keys.c"
holds "the header lists keys" test "$(wc -l <"$work/keys")" -ge 21
holds "a program that asks for each of them compiles" "$@" -I. -no-pie -o "$work/keys.program" "$work/keys.c" "$core"
holds "the core knows each of them" "$work/keys.program"
exit $failed
