# nascar_server. `make` builds ./nascar_server, `make run` starts it too,
# `make help` lists the rest. Products go to build/, the binary apart. All paths
# in here are from this folder, so that it may have any name.

ifeq ($(wildcard nascar_server.c),)
$(error No nascar_server.c here: type make in the folder that has it; O=FOLDER builds in another one)
endif

# Out of tree, FOLDER gets links to all of the source, and the same make runs there.
ifneq ($(value O),)
export ELSEWHERE := $(value O)
.PHONY: elsewhere $(MAKECMDGOALS)
elsewhere $(firstword $(MAKECMDGOALS)):
	@sh contrib/elsewhere.sh "$$ELSEWHERE"
	@$(MAKE) -C "$$ELSEWHERE" O= $(MAKECMDGOALS)
$(wordlist 2,99,$(MAKECMDGOALS)): $(firstword $(MAKECMDGOALS))
	@:
else

# The compiler and its options: what is said on the command line, else what the
# environment says. STATIC=no: link with the system's own C library, dynamically.
CC      ?= cc
CFLAGS  ?= -Os
STATIC  ?= yes
ARGS     =
PREFIX   = /usr/local
DESTDIR  =

# The language and the warnings. Tests add -Werror; a user's build never stops
# at a warning that only a newer compiler has.
STD  = -std=c11
WARN = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wstrict-prototypes

# Small: every function in a section of its own, so that the linker drops what
# is not called, and no tables for unwinding, which C does not do, or for jumps.
# gcc's saving of registers round calls makes it larger; clang does not do it, and would say so.
# Of an assertion its line is enough. `replay` compares outputs, and does not look for what should hold.
# The code has no pages of its own, which would be empty for the most part.
SMALL = -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-jump-tables \
        -fno-caller-saves -Wno-ignored-optimization-argument \
        -Wl,--gc-sections,--build-id=none,-z,noseparate-code -s -DNASCAR_ASSERT_LINES -DNASCAR_NO_CHECK
# Hardened: checked stack frames, and no writable table of addresses.
HARD  = -fstack-protector-strong -Wl,-z,relro,-z,now

SERVER   = nascar_server.c nascar_server.h
MAX_KIB  = 256

# $(call release,COMPILER,FLAGS): FLAGS is a file of contrib/musl.sh's, which
# says where the C library is.
release  = $1 $(STD) $(WARN) $(SMALL) $(HARD) $(CPPFLAGS) $(CFLAGS) nascar_server.c $(LDFLAGS) @$2
RELEASE  = $(call release,$(CC),build/libc.flags)

.DELETE_ON_ERROR:
.SECONDEXPANSION:
.PHONY: run install uninstall help clean distclean FORCE

## make              build ./nascar_server: static, stripped, from one file. CC, CPPFLAGS, CFLAGS and
##                   LDFLAGS are taken from the environment, too. STATIC=no: with the system's C library
nascar_server: $(SERVER) Makefile build/libc.flags build/settings
	$(RELEASE) -o $@
	@[ '$(STATIC)' = no ] || ! readelf -lW $@ | grep -q INTERP || { \
	    echo "$@ came out dynamic: look for what asks for that in CC, CFLAGS and LDFLAGS, or say STATIC=no" >&2; exit 1; }

build/libc.flags: contrib/musl.sh contrib/source.sh build/settings
	@CC='$(CC)' STATIC='$(STATIC)' sh contrib/musl.sh

# What it was built with, as other settings build it anew. Not so where it is only
# installed: sudo takes the environment away.
build/settings: export SETTINGS = $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(STATIC)
build/settings: $(if $(filter install,$(MAKECMDGOALS)),,FORCE)
	@mkdir -p build
	@echo "$$SETTINGS" | cmp -s - $@ || echo "$$SETTINGS" >$@

## make O=FOLDER     the same in another folder, nothing here is written to; also with what follows
## make run          build and start it; ARGS='--help' passes options
run: nascar_server
	./nascar_server $(ARGS)

# Where it is installed. DESTDIR is put before that, for those who make packages.
# The shell finds it in a variable, as a folder's name may hold anything.
DOCS = README.md LICENSE $(wildcard contrib/*.md)
install uninstall: export PLACE := $(value DESTDIR)$(value PREFIX)

## make install      into PREFIX=/usr/local: bin/nascar_server, and what there is to read in share/doc
install: nascar_server
	install -d "$$PLACE/bin" "$$PLACE/share/doc/nascar_server"
	install -m 755 nascar_server "$$PLACE/bin"
	install -m 644 $(DOCS) "$$PLACE/share/doc/nascar_server"

## make uninstall    remove that
uninstall:
	rm -f "$$PLACE/bin/nascar_server"
	rm -rf "$$PLACE/share/doc/nascar_server"

## make clean        remove what was built, musl apart
clean:
	rm -rf nascar_server $(filter-out build/musl% build/sources,$(wildcard build/*))

## make distclean    remove musl too
distclean:
	rm -rf nascar_server build

# All the rest, by purpose. Paths in there are from here, too.
PARTS = contrib/cross.mk tests/tests.mk tests/coverage.mk tests/processors.mk fuzz/fuzz.mk tests/analyse.mk
include $(PARTS)

## make help         this list
help:
	@for part in Makefile $(PARTS); do sed -n 's/^## //p' $$part; echo; done

FORCE:

endif
