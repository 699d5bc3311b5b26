#!/bin/sh
# Released sources of other projects, from this machine's apt: needs no root and
# leaves the machine's own lists alone. Read in with `.` by contrib/musl.sh and
# tests/libcheck.sh, which set
#   build   the folder of all products; tarballs are kept in its folder sources
#   known   lines "SHA-256 tarball" of the releases that may be used
: "${build:?}" "${known:?}"

# The distribution's own line among apt's sources, made a source line: same
# address, same key. Other vendors' repositories name other suites. $1: folder
# to write to.
source_lines() {
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # Which suite and component of a line we want, for both styles.
    # shellcheck disable=SC2016 # awk's own $
    pick='
    function wanted_suite(suite, uri) {
        return suite == codename || (uri ~ /debian/ && suite ~ /^(stable|testing|unstable|sid)$/)
    }
    function wanted_component(component) { return component == "main" || component == "universe" }'

    # One line each: deb [options] URI suite component...
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        awk -v codename="$codename" "$pick"'
        $1 == "deb" {
            options = ""
            sub(/^[ \t]*deb[ \t]+/, "")
            if (match($0, /^\[[^]]*\]/)) {
                options = substr($0, 1, RLENGTH) " "
                $0 = substr($0, RLENGTH + 1)
            }
            sub(/#.*/, "")
            if (wanted_suite($2, $1))
                for (i = 3; i <= NF; i++)
                    if (wanted_component($i))
                        print "deb-src " options $1, $2, $i
        }' >"$1/machine.list"

    # Paragraphs of fields; a value goes on in lines that start with a blank.
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] && sed '/^#/d' "$file" && echo
    done | awk -v codename="$codename" "$pick"'
        function end(   n, i, words, suites, components, field) {
            n = split(value["suites"], words)
            for (i = 1; i <= n; i++)
                if (wanted_suite(words[i], value["uris"])) suites = suites " " words[i]
            n = split(value["components"], words)
            for (i = 1; i <= n; i++)
                if (wanted_component(words[i])) components = components " " words[i]
            if (value["types"] ~ /deb( |$)/ && value["enabled"] !~ /no/ && suites && components) {
                print "Types: deb-src\nSuites:" suites "\nComponents:" components
                print "URIs:" value["uris"]
                if ("signed-by" in value) print "Signed-By:" value["signed-by"]
                print ""
            }
            split("", value)
        }
        /^[ \t]*$/ { end(); next }
        /^[ \t]/ { value[field] = value[field] "\n" $0; next }
        { field = tolower(substr($0, 1, index($0, ":") - 1)); value[field] = substr($0, index($0, ":") + 1) }
        END { end() }' >"$1/machine.sources"
}

# fetch PACKAGE: its tarball comes to $build/sources, if it is not there. apt
# works in a folder of our own, one for each process, as two may fetch at once, and
# with a plain name, which not each of its options needs. Call it in a subshell.
fetch() {
    mkdir -p "$build/sources"
    cd "$build/sources" || return 1
    ls "$1"_*.orig.tar.* 2>/dev/null && return
    package=$1
    work=$(mktemp -d) || return 1
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/sources" "$work/lists/partial" "$work/cache"
    source_lines "$work/sources"
    cd "$work" || return 1
    # The sandbox user could not write below a private home directory.
    set -- -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/sources" \
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20
    apt-get "$@" update || echo "some of apt's sources failed"
    apt-get "$@" source --download-only --tar-only "$package" && mv "$package"_*.orig.tar.* "$build/sources"
}

# verify PACKAGE. 0: the tarball is one we know. 1: another release. A known name
# with other contents is an alarm, not a reason to go on with something else.
verify() {
    cd "$build/sources" || return 1
    tarball=$(ls "$1"_*.orig.tar.*)
    expected=$(echo "$known" | awk -v name="$tarball" '$2 == name { print $1 }')
    found=$(sha256sum "$tarball" | cut -d' ' -f1)
    [ "$found" = "$expected" ] && return
    rm "$tarball"
    if [ -n "$expected" ]; then
        printf '%s\n' "$1: $tarball is not what it should be. SHA-256" "  expected $expected" "  found    $found" \
            "Stopping here: do not trust this mirror." >&2
        exit 1
    fi
    echo "$tarball ($found) is not a release this project knows"
    return 1
}
