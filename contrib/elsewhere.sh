#!/bin/sh
# Makes a folder in which `make` works as in this one, and that has links to all of
# the source in place of it. What is in the way there stays, and is an error.
#
# usage: sh contrib/elsewhere.sh FOLDER     from the project's top folder
set -eu

folder=$1
mkdir -p "$folder"
for name in .ci .clang-format .clang-tidy LICENSE Makefile README.md \
    nascar_server.c nascar_server.h contrib corpus fuzz tests; do
    link=$folder/$name
    if [ ! -h "$link" ] && [ -e "$link" ]; then
        echo "O=$folder: it has a $name of its own: name another folder" >&2
        exit 1
    fi
    ln -sfn "$PWD/$name" "$link"
done
