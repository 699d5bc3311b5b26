# The tests on three other processors, all of 32 bits: MIPS is big-endian and has a
# signed char, ARM is little-endian and has an unsigned one; both are emulated. i686
# is what x86 was before its 64 bits, and still runs that. An emulator is called by
# its name, as the kernel need not know it. PROCESSORS lists them (tests/tests.mk),
# contrib/cross.mk has their compilers.

.PHONY: cross-checks test-cross

QEMU-mips  = qemu-mips-static
QEMU-armhf = qemu-arm-static
QEMU-i686  = $(if $(filter x86_64 i%86,$(shell uname -m)),,qemu-i386-static)

# The suites need Check for that processor too. It stays with musl.
$(PROCESSORS:%=build/musl-%/lib/libcheck.a): build/musl-%/lib/libcheck.a: tests/libcheck.sh | build/libc-%.flags
	@TARGET=$* CC='$(CC-$*)' sh tests/libcheck.sh

$(call in,$(PROCESSORS),$(addsuffix .o,core $(HELPERS) $(SUITES))): | build/musl-$$(notdir $$(@D))/lib/libcheck.a

build/mips/%:  TEST_CC = $(CC-mips) -fsigned-char @build/libc-mips.flags
build/armhf/%: TEST_CC = $(CC-armhf) -funsigned-char @build/libc-armhf.flags
build/i686/%:  TEST_CC = $(CC-i686) @build/libc-i686.flags
$(call in,$(PROCESSORS),%): CHECK_FLAGS =
$(call in,$(PROCESSORS),%): CHECK_LIBS = -lcheck

# The live test starts a program, not a command.
$(PROCESSORS:%=build/%/nascar_server.qemu): build/%/nascar_server.qemu: build/%/nascar_server
	@printf '#!/bin/sh\nexec %s %s "$$@"\n' $(QEMU-$*) $< >$@
	@chmod +x $@

# Ten times slower, so they have a fourth of the work (tests/suite.h), and i686 has all; but of
# the transcript, which is compared, they have the whole.
EMULATE = env CK_TIMEOUT_MULTIPLIER=30 SUITE_EVERY=$(if $(filter test_transcript,$*),1,4)

build/log/mips.%: build/mips/% FORCE
	$(RUN) $(EMULATE) $(QEMU-mips) $<

build/log/armhf.%: build/armhf/% FORCE
	$(RUN) $(EMULATE) $(QEMU-armhf) $<

build/log/i686.%: build/i686/% FORCE
	$(RUN) env CK_TIMEOUT_MULTIPLIER=30 $(QEMU-i686) $<

build/log/binary.%: build/%/nascar_server FORCE
	$(RUN) sh tests/binary.sh $< $(CROSS_MAX_KIB)

build/log/live.%: build/gcc/live build/%/nascar_server$$(if $$(QEMU-$$*),.qemu) FORCE
	$(RUN) $< build/$*/nascar_server$(if $(QEMU-$*),.qemu)

# The live test's servers leave recordings, made on this machine; they must run
# again on the others to the same checkpoints. So must the one of the attacks.
build/recordings: build/gcc/live nascar_server
	@rm -rf $@ && mkdir $@
	@LIVE_RECORDINGS=$@ build/gcc/live ./nascar_server two_players

build/log/replay.%: build/%/nascar_server build/recordings FORCE
	$(RUN) $(call replay,$(QEMU-$*) $<,build/recordings/*.rec)

# Where the system's own C library could have dates of 32 bits, the file sees to it
# that they have 64. Only to be compiled: there is no libcrypt for that.
build/log/glibc.i686: FORCE
	$(RUN) sh -c 'echo "_Static_assert(sizeof(time_t) == 8 && sizeof(off_t) == 8, \"64 bits\");" | \
	    $(CC-i686) $(STD) $(WARN) -Werror -Os -include ./nascar_server.c -idirafter /usr/include -x c -c -o /dev/null -'

cross-checks: build/log/same.asan build/log/glibc.i686 $(foreach target,$(PROCESSORS),build/log/replay.$(target) \
    $(SUITES:%=build/log/$(target).%) build/log/same.$(target) build/log/binary.$(target))

## make test-cross   the suites and the live test on MIPS (big-endian) and ARM, both emulated, and on i686
test-cross:
	@sh tests/need.sh test-cross $(PROCESSORS)
	$(START)
	@$(MAKE) $(KEEP_GOING) $(JOBS) cross-checks $(BROKEN)
	@$(MAKE) $(KEEP_GOING) $(PROCESSORS:%=build/log/live.%) $(BROKEN)
	@sh tests/total.sh
