# The tests on two other processors, in emulation, both of 32 bits: MIPS is
# big-endian and has a signed char, ARM is little-endian and has an unsigned one.
# The emulator is called by its name, as the kernel need not know it. EMULATED
# lists them (tests/tests.mk), contrib/cross.mk has their compilers.

.PHONY: cross-checks test-cross

QEMU-mips  = qemu-mips-static
QEMU-armhf = qemu-arm-static

# The suites need Check for that processor too. It stays with musl.
$(EMULATED:%=build/musl-%/lib/libcheck.a): build/musl-%/lib/libcheck.a: tests/libcheck.sh | build/libc-%.flags
	@TARGET=$* CC='$(CC-$*)' sh tests/libcheck.sh

$(call in,$(EMULATED),$(addsuffix .o,core $(HELPERS) $(SUITES))): | build/musl-$$(notdir $$(@D))/lib/libcheck.a

build/mips/%:  TEST_CC = $(CC-mips) -fsigned-char @build/libc-mips.flags
build/armhf/%: TEST_CC = $(CC-armhf) -funsigned-char @build/libc-armhf.flags
build/mips/% build/armhf/%: CHECK_FLAGS =
build/mips/% build/armhf/%: CHECK_LIBS = -lcheck

# The live test starts a program, not a command.
$(EMULATED:%=build/%/nascar_server.qemu): build/%/nascar_server.qemu: build/%/nascar_server
	@printf '#!/bin/sh\nexec %s %s "$$@"\n' $(QEMU-$*) $< >$@
	@chmod +x $@

EMULATE = env CK_TIMEOUT_MULTIPLIER=30

build/log/mips.%: build/mips/% FORCE
	$(RUN) $(EMULATE) $(QEMU-mips) $<

build/log/armhf.%: build/armhf/% FORCE
	$(RUN) $(EMULATE) $(QEMU-armhf) $<

build/log/binary.%: build/%/nascar_server FORCE
	$(RUN) sh tests/binary.sh $< $(CROSS_MAX_KIB)

build/log/live.%: build/gcc/live build/%/nascar_server.qemu FORCE
	$(RUN) $< build/$*/nascar_server.qemu

# The live test's servers leave recordings, made on this machine; they must run
# again on the others to the same checkpoints. So must the one of the attacks.
build/recordings: build/gcc/live nascar_server
	@rm -rf $@ && mkdir $@
	@LIVE_RECORDINGS=$@ build/gcc/live ./nascar_server two_players

build/log/replay.%: build/%/nascar_server build/recordings FORCE
	$(RUN) $(call replay,$(QEMU-$*) $<,build/recordings/*.rec)

cross-checks: build/log/same.asan $(EMULATED:%=build/log/replay.%) $(foreach target,$(EMULATED),\
    $(SUITES:%=build/log/$(target).%) build/log/same.$(target) build/log/binary.$(target))

## make test-cross   the suites and the live test on big-endian MIPS and on ARM, emulated
test-cross:
	@sh tests/need.sh test-cross $(EMULATED)
	$(START)
	@$(MAKE) $(KEEP_GOING) $(JOBS) cross-checks $(BROKEN)
	@$(MAKE) $(KEEP_GOING) $(EMULATED:%=build/log/live.%) $(BROKEN)
	@sh tests/total.sh
