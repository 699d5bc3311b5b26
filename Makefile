# nascar_server. `make` builds ./nascar_server, `make run` starts it too,
# `make help` lists the rest. Products go to build/, the binary apart.

CC      = cc
CFLAGS  = -Os
ARGS    =
PREFIX  = /usr/local
DESTDIR =

# The language and the warnings. Tests add -Werror; a user's build never stops
# at a warning that only a newer compiler has.
STD  = -std=c11
WARN = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wstrict-prototypes

# Small: every function in a section of its own, so that the linker drops what
# is not called, and no tables for unwinding, which C does not do.
SMALL = -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
        -Wl,--gc-sections,--build-id=none -s
# Hardened: checked stack frames, and no writable table of addresses.
HARD  = -fstack-protector-strong -Wl,-z,relro,-z,now

SERVER   = nascar_server.c nascar_server.h
MAX_KIB  = 220

# $(call release,COMPILER,FLAGS): FLAGS is a file of contrib/musl.sh's, which
# says where the C library is.
release  = $1 $(STD) $(WARN) $(SMALL) $(HARD) $(CFLAGS) nascar_server.c @$2
RELEASE  = $(call release,$(CC),build/libc.flags)

.DELETE_ON_ERROR:
.SECONDEXPANSION:
.PHONY: run install uninstall help clean distclean FORCE

## make              build ./nascar_server: static, stripped, from one file
nascar_server: $(SERVER) Makefile build/libc.flags
	$(RELEASE) -o $@

build/libc.flags: contrib/musl.sh contrib/source.sh
	@CC='$(CC)' sh contrib/musl.sh

## make run          build and start it; ARGS='--help' passes options
run: nascar_server
	./nascar_server $(ARGS)

# Where it is installed. DESTDIR is put before that, for those who make packages.
BIN  = $(DESTDIR)$(PREFIX)/bin
DOC  = $(DESTDIR)$(PREFIX)/share/doc/nascar_server
DOCS = README.md LICENSE $(wildcard contrib/*.md)

## make install      into PREFIX=/usr/local: bin/nascar_server, and what there is to read in share/doc
install: nascar_server
	install -d "$(BIN)" "$(DOC)"
	install -m 755 nascar_server "$(BIN)"
	install -m 644 $(DOCS) "$(DOC)"

## make uninstall    remove that
uninstall:
	rm -f "$(BIN)/nascar_server"
	rm -rf "$(DOC)"

## make clean        remove what was built, musl apart
clean:
	rm -rf nascar_server $(filter-out build/musl% build/sources,$(wildcard build/*))

## make distclean    remove musl too
distclean:
	rm -rf nascar_server build

# All the rest, by purpose. Paths in there are from here, too.
PARTS = contrib/cross.mk tests/tests.mk tests/coverage.mk tests/emulated.mk fuzz/fuzz.mk tests/analyse.mk
include $(PARTS)

## make help         this list
help:
	@for part in Makefile $(PARTS); do sed -n 's/^## //p' $$part; echo; done

FORCE:
