# nascar_server. `make` builds ./nascar_server, `make run` starts it too,
# `make help` lists the rest. Products go to build/, the binary apart.

CC     = cc
CFLAGS = -Os
ARGS   =

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
.PHONY: analyse analysis-checks run test test-core test-live test-cross hostile bench coverage recordings core-checks all-checks cross-checks cross help clean distclean FORCE sim sim-kept sim-long fuzz afl corpus fuzzers-libfuzzer fuzzers-afl prove mutants

## make              build ./nascar_server: static, stripped, from one file
nascar_server: $(SERVER) Makefile build/libc.flags
	$(RELEASE) -o $@

build/libc.flags: contrib/musl.sh contrib/source.sh
	@CC='$(CC)' sh contrib/musl.sh

## make run          build and start it; ARGS='--help' passes options
run: nascar_server
	./nascar_server $(ARGS)

# ---- Tests -------------------------------------------------------------------
# Every tests/test_*.c is a Check program that includes nascar_server.c. It is
# built in three ways, one folder each, and run in four:
#   gcc       as it is, and under valgrind
#   asan      by clang with the address and undefined-behaviour sanitizers
#   uchar     with char unsigned, as on ARM and MIPS
# There is a fourth, msan, by clang with the memory sanitizer: not for suites, as
# Check is not made for it, but for what drives the server without Check.
# A suite whose name begins with test_shell gets the server's lower half too,
# with its main() renamed to nascar_main().

SUITES  = $(basename $(notdir $(wildcard tests/test_*.c)))
HELPERS = $(basename $(notdir $(wildcard tests/console.c tests/world.c)))
HEADERS = $(SERVER) $(wildcard tests/*.h) Makefile

TEST_FLAGS  = $(STD) $(WARN) -Werror -O1 -g -fno-omit-frame-pointer
CHECK_FLAGS = $(shell pkg-config --cflags --libs check) -lcrypt
build/gcc/%:   TEST_CC = gcc
build/asan/%:  TEST_CC = clang -fsanitize=address,undefined -fno-sanitize-recover=all
build/uchar/%: TEST_CC = gcc -funsigned-char
build/msan/%:  TEST_CC = clang -fsanitize=memory

# and in emulation, on two other processors (see there).
EMULATED = mips armhf
WAYS     = gcc asan uchar msan $(EMULATED)

BUILDING = @mkdir -p $(@D) && echo "Building $@"

# $(call in,WAYS,NAMES): the products NAMES in each way's folder.
in = $(foreach way,$1,$(addprefix build/$(way)/,$2))

$(call in,$(WAYS),$(HELPERS:=.o)): tests/$$(*F).c $(HEADERS)
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) -c -o $@ $<

# An archive, so that a suite without the server links the console alone.
$(call in,$(WAYS),helpers.a): $(HELPERS:%=$$(@D)/%.o)
	@ar rcs $@ $^

$(call in,$(WAYS),$(SUITES)): tests/$$(@F).c $$(@D)/helpers.a $(HEADERS)
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) $(if $(filter test_shell%,$(@F)),-Dmain=nascar_main,-DNASCAR_NO_SHELL) \
	    -o $@ $< $(filter %.a,$^) $(CHECK_FLAGS)

build/gcc/live build/gcc/durable: tests/$$(@F).c build/gcc/console.o $(HEADERS)
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) -o $@ $< $(filter %.o,$^)

build/gcc/sim build/asan/sim build/msan/sim: tests/sim.c $$(@D)/console.o tests/machine.h $(HEADERS)
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) -Dmain=nascar_main -o $@ $< $(filter %.o,$^) -lcrypt

build/gcc/hostile: tests/hostile.c build/gcc/console.o Makefile
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) -o $@ $< $(filter %.o,$^)

# The core alone, as an embedder has it (tests/exports.sh says why not -fpie).
EMBED_FLAGS = $(STD) $(WARN) -Werror -Os

build/gcc/core.o: $(SERVER) Makefile
	$(BUILDING)
	@gcc $(EMBED_FLAGS) -fno-pie -fstack-protector-strong -DNASCAR_NO_SHELL -c -o $@ nascar_server.c

build/gcc/cost: tests/cost.c build/gcc/console.o build/gcc/core.o nascar_server.h
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) -no-pie -o $@ $< $(filter %.o,$^)

build/gcc/load: tests/load.c $(SERVER) Makefile
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) -o $@ $< -lcrypt

build/gcc/embed: tests/embed.c build/gcc/core.o nascar_server.h
	$(BUILDING)
	@gcc $(EMBED_FLAGS) -no-pie -o $@ $< $(filter %.o,$^)

# Each check leaves its output in build/log/NAME and prints one line. run.sh
# never fails, so that all of them run; tests/total.sh adds up. test_transcript
# leaves all that the server said in a file, which must not depend on the way.
RUN = @CK_DEFAULT_TIMEOUT=60 TRANSCRIPT=$@.bytes sh tests/run.sh $@

build/log/gcc.%: build/gcc/% FORCE
	$(RUN) $<

build/log/uchar.%: build/uchar/% FORCE
	$(RUN) $<

build/log/asan.%: build/asan/% FORCE
	$(RUN) env ASAN_OPTIONS=allow_addr2line=1:print_legend=0 UBSAN_OPTIONS=print_stacktrace=1 CK_TIMEOUT_MULTIPLIER=4 $<

build/log/valgrind.%: build/gcc/% FORCE
	$(RUN) env CK_FORK=no valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite $<

build/log/same.%: build/log/gcc.test_transcript build/log/%.test_transcript FORCE
	$(RUN) cmp build/log/gcc.test_transcript.bytes build/log/$*.test_transcript.bytes

# No value is used that nobody wrote: the corpora, a recording, simulations with crashes.
build/msan/nascar_server: $(SERVER) Makefile
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) -o $@ nascar_server.c -lcrypt

build/log/msan.%: build/msan/% FORCE
	$(RUN) $<

build/log/msan.sim: build/msan/sim FORCE
	$(RUN) sh -c 'for seed in 1 2 3 4 5 6; do $< msan.$$seed 2000 || exit 1; done'

build/log/msan.replay: build/msan/nascar_server FORCE
	$(RUN) $(call replay,$<)

# Neither compiler warns about the file, whole or as the core alone, and the
# release build does not with musl's headers.
build/log/warnings.%: FORCE
	$(RUN) $* $(STD) $(WARN) -Werror -Os -c -o build/warnings.$*.o nascar_server.c

build/log/warnings-core.%: FORCE
	$(RUN) $* $(STD) $(WARN) -Werror -Os -DNASCAR_NO_SHELL -c -o build/warnings-core.$*.o nascar_server.c

build/log/warnings-release: build/libc.flags FORCE
	$(RUN) $(RELEASE) -Werror -o build/warnings-release

build/log/embed: build/gcc/embed FORCE
	$(RUN) build/gcc/embed

build/log/exports: build/gcc/core.o FORCE
	$(RUN) sh tests/exports.sh $< gcc $(EMBED_FLAGS)

build/log/binary: nascar_server FORCE
	$(RUN) sh tests/binary.sh ./nascar_server $(MAX_KIB)

build/log/live: build/gcc/live nascar_server FORCE
	$(RUN) build/gcc/live ./nascar_server

build/log/live-durable: build/gcc/durable nascar_server FORCE
	$(RUN) build/gcc/durable ./nascar_server

build/log/live-hostile: build/gcc/hostile nascar_server FORCE
	$(RUN) build/gcc/hostile ./nascar_server --ms 1200

# Recordings of older runs end as they did then (make recordings). One without
# any checkpoint is none: its format is an older one.
replay = sh -c 'for file in tests/data/*.rec $2; do echo "$$file" && $1 replay "$$file" >$@.said && cat $@.said && \
    grep -q " [1-9][0-9]* checkpoints" $@.said || exit 1; done'

build/log/replay: nascar_server FORCE
	$(RUN) $(call replay,./nascar_server)

core-checks: $(SUITES:%=build/log/gcc.%)

all-checks: core-checks build/log/binary build/log/warnings-release build/log/embed build/log/exports build/log/replay \
    $(foreach compiler,gcc clang,build/log/warnings.$(compiler) build/log/warnings-core.$(compiler)) \
    $(foreach way,asan uchar valgrind,$(SUITES:%=build/log/$(way).%)) \
    $(foreach way,gcc asan msan,$(FUZZERS:%=build/log/$(way).%)) build/log/msan.sim build/log/msan.replay \
    build/log/same.asan build/log/same.uchar

# What does not compile counts as one failure, and the rest still runs. Without
# a -j of the caller's, all cores are used; the live test, which keeps time,
# then has the machine for itself.
JOBS   = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
START  = @rm -rf build/log && mkdir -p build/log
KEEP_GOING = --no-print-directory --keep-going
BROKEN = || { echo "Something does not build: see above"; echo 0 1 >build/log/build.count; }

## make test         everything; installs what it needs where it can; ends in `N passed, N failed`
test:
	@sh tests/need.sh all
	$(START)
	@$(MAKE) $(KEEP_GOING) $(JOBS) all-checks $(BROKEN)
	@$(MAKE) $(KEEP_GOING) build/log/live $(BROKEN)
	@$(MAKE) $(KEEP_GOING) build/log/live-durable $(BROKEN)
	@$(MAKE) $(KEEP_GOING) build/log/live-hostile $(BROKEN)
	@sh tests/total.sh

## make test-core    the suites with gcc only, for the loop of editing
test-core:
	@sh tests/need.sh core
	$(START)
	@$(MAKE) $(KEEP_GOING) $(JOBS) core-checks $(BROKEN)
	@sh tests/total.sh

## make test-live    the real binary over loopback only
test-live:
	$(START)
	@$(MAKE) $(KEEP_GOING) build/log/live $(BROKEN)
	@sh tests/total.sh

## make hostile      attacks on the real binary, while six players talk: what they notice
hostile: build/gcc/hostile nascar_server
	build/gcc/hostile ./nascar_server

# ---- Coverage ------------------------------------------------------------------
# Of the core, by everything that drives it in one process. clang's counters are
# told apart by file and function; as each program is compiled from its standard
# input, all of them have the same file name, so that those of the server's
# functions add up. The report speaks of any program with the whole core and no
# function that it does not use, as llvm-cov would warn of that.
#
# COVER_SUITES are built from tests/NAME.c; a program of another kind has a rule
# of its own for build/cover/NAME, and its run for build/cover/NAME.profraw.

COVER_SUITES = $(filter-out test_console,$(SUITES))
COVER_FUZZ   = $(basename $(notdir $(wildcard fuzz/fuzz_*.c)))
COVER_RUNS   = $(COVER_SUITES) $(COVER_FUZZ) sim
COVER_REPORTED = test_text
COVER        = clang $(STD) -O1 -g
COUNTERS     = -I$(CURDIR)/tests/coverage -fprofile-instr-generate -fcoverage-mapping
COUNT        = LLVM_PROFILE_FILE=$@ timeout --foreground -k 10 300

$(HELPERS:%=build/cover/%.o): tests/$$(*F).c $(HEADERS)
	$(BUILDING)
	@$(COVER) -c -o $@ $<

build/cover/helpers.a: $(HELPERS:%=build/cover/%.o)
	@ar rcs $@ $^

$(COVER_SUITES:%=build/cover/%): tests/$$(@F).c build/cover/helpers.a $(HEADERS) tests/coverage/assert.h
	$(BUILDING)
	@cd tests && $(COVER) $(COUNTERS) $(if $(filter test_shell%,$(@F)),-Dmain=nascar_main,-DNASCAR_NO_SHELL) \
	    -o ../$@ -x c - -x none ../build/cover/helpers.a $(CHECK_FLAGS) <$(<F)

$(COVER_SUITES:%=build/cover/%.profraw): build/cover/%.profraw: build/cover/%
	@CK_FORK=no TRANSCRIPT=$@.bytes $(COUNT) $< >$<.log 2>&1 </dev/null || { cat $<.log; rm -f $@; exit 1; }
	@echo "Ran $<: $$(tail -n 1 $<.log)"

# Steps, not seconds: the same run each time.
build/cover/sim: tests/sim.c build/cover/helpers.a $(HEADERS) tests/coverage/assert.h
	$(BUILDING)
	@cd tests && $(COVER) $(COUNTERS) -Dmain=nascar_main -o ../$@ -x c - -x none ../build/cover/helpers.a -lcrypt <$(<F)

build/cover/sim.profraw: build/cover/sim
	@for seed in 1 2 3 4 5 6; do \
	    LLVM_PROFILE_FILE=$@.$$seed timeout --foreground -k 10 300 $< coverage.$$seed 3000 >$<.log 2>&1 </dev/null || \
	        { cat $<.log; exit 1; }; \
	done
	@llvm-profdata merge -o $@ $@.[1-6]
	@echo "Ran $<: $$(tail -n 1 $<.log)"

# The fuzzers' corpora.
build/cover/standalone.o: fuzz/standalone.c Makefile
	$(BUILDING)
	@$(COVER) -c -o $@ $<

$(COVER_FUZZ:%=build/cover/%): fuzz/$$(@F).c build/cover/standalone.o $(wildcard fuzz/*.h) $(HEADERS) tests/coverage/assert.h
	$(BUILDING)
	@cd fuzz && $(COVER) $(COUNTERS) -o ../$@ -x c - -x none ../build/cover/standalone.o -lcrypt <$(<F)

$(COVER_FUZZ:%=build/cover/%.profraw): build/cover/%.profraw: build/cover/%
	@$(COUNT) $< >$<.log 2>&1 </dev/null || { cat $<.log; rm -f $@; exit 1; }
	@echo "Ran $<: $$(tail -n 1 $<.log)"

## make coverage     how much of the core the tests run: all lines, 98 % of branches, or it fails
coverage:
	@sh tests/need.sh all
	@$(MAKE) --no-print-directory $(JOBS) $(COVER_RUNS:%=build/cover/%.profraw)
	@llvm-profdata merge -o build/cover/all.profdata $(COVER_RUNS:%=build/cover/%.profraw)
	@llvm-cov export -format=lcov -instr-profile build/cover/all.profdata build/cover/$(COVER_REPORTED) \
	    >build/cover/report 2>build/cover/report.log && test ! -s build/cover/report.log || { cat build/cover/report.log; exit 1; }
	@awk -f tests/coverage.awk nascar_server.c build/cover/report

# ---- Simulator -----------------------------------------------------------------
# A text is a seed: a commit's hash, or the one that a failure has printed.
# Without one it is the time, and the seeds that ever failed come first.
SIM_S = 60

## make sim          the simulator: SIM_S=60 seconds of seeds, or SEED=TEXT, or SEED=TEXT STEPS=N alone
sim: build/gcc/sim
	build/gcc/sim $(if $(SEED),,--kept tests/sim.seeds) --seconds $(SIM_S) $(or $(SEED),$(shell date +%s)) $(STEPS)

## make sim-kept     the simulator on the seeds that ever failed
sim-kept: build/gcc/sim
	build/gcc/sim --kept tests/sim.seeds

## make sim-long     one life of 200,000 steps, from SEED=TEXT
sim-long: build/gcc/sim
	build/gcc/sim $(or $(SEED),$(shell date +%s)) 200000

## make mutants      plants faults in the server, one at a time: 95 of 100 must be caught; LINES='3 17' plants some
mutants:
	@sh tests/need.sh all
	@sh tests/mutants.sh $(LINES)

## make bench        what a line of chat, a move, a login cost; a start with 100,000 accounts
bench: nascar_server
	@sh tests/need.sh all
	@$(MAKE) -s --no-print-directory build/gcc/cost build/gcc/load
	@sh tests/cost.sh build/gcc/cost
	@mkdir -p build/load
	@build/gcc/load ./nascar_server build/load

## make recordings   tests/data/hostile.rec anew, when what the core puts out has changed
# A recording holds what came in and a hash of what went out: it is bound to the
# core's present behaviour, to the last byte and log line.
recordings: build/gcc/hostile nascar_server
	@rm -f build/hostile.rec
	build/gcc/hostile ./nascar_server --record build/hostile.rec
	./nascar_server replay build/hostile.rec
	@cp build/hostile.rec tests/data/hostile.rec

# ---- Fuzzing -----------------------------------------------------------------
# Each fuzz/fuzz_*.c is one LLVMFuzzerTestOneInput(). It is built with a driver
# that replays files (in the ways gcc and asan, as a check), by libFuzzer and by
# AFL++. All that the two sanitizers check, they check everywhere; in libFuzzer's
# build what is undefined ends in a trap, which says less and takes less time: a
# replay (build/asan/NAME FILE) tells what it was. What guides libFuzzer is the
# server's branches, not the comparisons in them: the dictionaries have those, and
# tracing them takes half of the time. It is compiled apart from libFuzzer, whose
# own flag would make a call of each memcmp().

FUZZERS  = $(basename $(notdir $(wildcard fuzz/fuzz_*.c)))
FUZZED   = $(FUZZERS) canary
FUZZ_S   = 60
AFL_S    = 60
CANARY_S = 60

FUZZ_FLAGS = $(STD) $(WARN) -Werror -O2 -g -fno-omit-frame-pointer
LIBFUZZER  = clang $(FUZZ_FLAGS) -DFUZZ_STATISTICS -DFUZZ_MUTATOR -fsanitize=address,undefined \
             -fsanitize-trap=undefined -fsanitize-coverage=edge,inline-8bit-counters,pc-table,indirect-calls \
             -fsanitize-coverage-ignorelist=fuzz/uncovered.txt -mllvm -inline-threshold=500
AFL        = AFL_QUIET=1 AFL_USE_ASAN=1 AFL_USE_UBSAN=1 afl-clang-fast $(FUZZ_FLAGS) -fsanitize=fuzzer

FUZZ_HEADERS = $(wildcard fuzz/*.h) $(SERVER) Makefile

$(call in,gcc asan msan,standalone.o): fuzz/standalone.c Makefile
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) -c -o $@ $<

$(call in,gcc asan msan,$(FUZZERS)): fuzz/$$(@F).c $$(@D)/standalone.o $(FUZZ_HEADERS)
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) -o $@ $< $(filter %.o,$^) -lcrypt

$(FUZZED:%=build/fuzz/libfuzzer/%): build/fuzz/libfuzzer/%: fuzz/%.c $(wildcard fuzz/*.txt) $(FUZZ_HEADERS)
	$(BUILDING)
	@$(LIBFUZZER) -c -o $@.o $<
	@clang -fsanitize=fuzzer,address,undefined -o $@ $@.o -lcrypt

$(FUZZED:%=build/fuzz/afl/%): build/fuzz/afl/%: fuzz/%.c $(FUZZ_HEADERS)
	$(BUILDING)
	@$(AFL) -o $@ $< -lcrypt

build/fuzz/dictionary build/fuzz/seeds: build/fuzz/%: fuzz/%.c $(FUZZ_HEADERS)
	$(BUILDING)
	@gcc $(TEST_FLAGS) -Wno-unused-function -o $@ $< -lcrypt

$(FUZZERS:%=build/fuzz/%.dict): build/fuzz/fuzz_%.dict: build/fuzz/dictionary
	@$< $* >$@

build/fuzz/canary.dict: build/fuzz/dictionary
	@$< frame >$@

# Suites that leave their events as scripts.
RECORDED = $(filter-out test_shell% test_console test_transcript,$(SUITES))

$(RECORDED:%=build/fuzz/record/%): build/fuzz/record/%: tests/%.c fuzz/record.c build/gcc/helpers.a $(HEADERS)
	$(BUILDING)
	@gcc $(TEST_FLAGS) -DNASCAR_NO_SHELL -Wl,--wrap=nascar_step,--wrap=nascar_init -o $@ $< fuzz/record.c $(filter %.a,$^) $(CHECK_FLAGS)

# What servers went through in simulations of all sizes.
build/fuzz/simulated: build/gcc/sim
	@rm -rf $@ && mkdir -p $@
	@for seed in 1 2 3 4 5 6 7 8 9 10 11 12; do \
	    $< --recordings $@ corpus.$$seed 200 >$@.log 2>&1 || { cat $@.log; exit 1; }; \
	done

fuzzers-libfuzzer: $(FUZZED:%=build/fuzz/libfuzzer/%) $(FUZZED:%=build/fuzz/%.dict)
fuzzers-afl: $(FUZZED:%=build/fuzz/afl/%) $(FUZZED:%=build/fuzz/%.dict)

## make fuzz         each harness by libFuzzer for FUZZ_S=60 seconds; the planted bug must be found
fuzz:
	@sh tests/need.sh fuzz
	@$(MAKE) -s --no-print-directory $(JOBS) fuzzers-libfuzzer
	@sh fuzz/run.sh libfuzzer $(FUZZ_S) $(CANARY_S) $(FUZZERS)

## make afl          the same by AFL++, for AFL_S=60 seconds
afl:
	@sh tests/need.sh fuzz
	@$(MAKE) -s --no-print-directory $(JOBS) fuzzers-afl
	@sh fuzz/run.sh afl $(AFL_S) $(CANARY_S) $(FUZZERS)

## make corpus       what the fuzzers found, minimised, into corpus/; RECORD=yes: what tests recorded, too
corpus: build/fuzz/seeds $(if $(RECORD),$(RECORDED:%=build/fuzz/record/%) build/recordings build/fuzz/simulated)
	@sh tests/need.sh fuzz
	@$(MAKE) -s --no-print-directory $(JOBS) fuzzers-libfuzzer
	@sh fuzz/corpus.sh $(FUZZERS)

# ---- Other processors --------------------------------------------------------
# Debian's cross compilers, and a musl for each (contrib/musl.sh). Two are tested
# in emulation, both of 32 bits: MIPS is big-endian and has a signed char, ARM is
# little-endian and has an unsigned one. The emulator is called by its name, as
# the kernel need not know it.

TARGETS = mips mipsel armhf aarch64

CC-mips    = mips-linux-gnu-gcc
CC-mipsel  = mipsel-linux-gnu-gcc
CC-armhf   = arm-linux-gnueabihf-gcc
CC-aarch64 = aarch64-linux-gnu-gcc
QEMU-mips  = qemu-mips-static
QEMU-armhf = qemu-arm-static

# MIPS's instructions are long, and its pages and aarch64's may be of 64 KiB.
CROSS_MAX_KIB = 336

$(TARGETS:%=build/libc-%.flags): build/libc-%.flags: contrib/musl.sh contrib/source.sh
	@TARGET=$* CC='$(CC-$*)' sh contrib/musl.sh

$(TARGETS:%=build/%/nascar_server): build/%/nascar_server: $(SERVER) Makefile build/libc-%.flags
	$(BUILDING)
	@$(call release,$(CC-$*),build/libc-$*.flags) -o $@

# The suites need Check for that processor too. It stays with musl.
$(EMULATED:%=build/musl-%/lib/libcheck.a): build/musl-%/lib/libcheck.a: tests/libcheck.sh | build/libc-%.flags
	@TARGET=$* CC='$(CC-$*)' sh tests/libcheck.sh

$(call in,$(EMULATED),$(HELPERS:=.o) $(SUITES)): | build/musl-$$(notdir $$(@D))/lib/libcheck.a

build/mips/%:  TEST_CC = $(CC-mips) -fsigned-char @build/libc-mips.flags
build/armhf/%: TEST_CC = $(CC-armhf) -funsigned-char @build/libc-armhf.flags
build/mips/% build/armhf/%: CHECK_FLAGS = -lcheck -lcrypt

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

## make cross        static binaries for routers: build/{mips,mipsel,armhf,aarch64}/nascar_server
cross:
	@sh tests/need.sh cross $(TARGETS)
	@$(MAKE) --no-print-directory $(JOBS) $(TARGETS:%=build/%/nascar_server)
	@for target in $(TARGETS); do \
	    sh tests/binary.sh build/$$target/nascar_server $(CROSS_MAX_KIB) >build/$$target/binary.txt || \
	        { cat build/$$target/binary.txt; exit 1; }; \
	    echo "build/$$target/nascar_server: $$(wc -c <build/$$target/nascar_server) bytes, static, hardened, stripped"; \
	done

# ---- Proofs and analysis -----------------------------------------------------

## make prove        Frama-C proves the readers of what anybody may send, for every input
prove:
	@sh tests/need.sh prove
	@sh tests/prove.sh nascar_server.c build/prove

build/log/tidy: FORCE
	$(RUN) clang-tidy --quiet nascar_server.c -- $(STD)

# clang's analyzer, apart from .clang-tidy's checks as it takes minutes. Off are
#   DeprecatedOrUnsafeBufferHandling   it wants Annex K's memmove_s, which no C library here has
#   Padding                            an order of members that a reader follows is worth 32 bytes
build/log/clang-analyzer: FORCE
	$(RUN) clang-tidy --quiet nascar_server.c \
	    --checks='-*,clang-analyzer-*,-*.DeprecatedOrUnsafeBufferHandling,-*.performance.Padding' -- $(STD)

# gcc's. With inlining it sees more.
build/log/gcc-analyzer: FORCE
	$(RUN) gcc $(STD) -O1 -fanalyzer -Werror -c -o build/analyzer.o nascar_server.c

build/log/cppcheck: FORCE
	$(RUN) cppcheck --quiet --std=c11 --enable=warning,style,performance,portability --error-exitcode=1 \
	    --suppressions-list=tests/cppcheck.txt nascar_server.c

build/log/shellcheck: FORCE
	$(RUN) shellcheck $(wildcard tests/*.sh fuzz/*.sh contrib/*.sh) .ci/run

analysis-checks: $(addprefix build/log/,clang-analyzer gcc-analyzer tidy cppcheck shellcheck)

## make analyse      clang-tidy, clang's and gcc's analyzers, cppcheck, shellcheck: no finding
analyse:
	@sh tests/need.sh analyse
	$(START)
	@CHECK_TIMEOUT_S=900 $(MAKE) $(KEEP_GOING) $(JOBS) analysis-checks $(BROKEN)
	@sh tests/total.sh

# ---- The rest ----------------------------------------------------------------

## make help         this list
help:
	@sed -n 's/^## //p' Makefile

## make clean        remove what was built, musl apart
clean:
	rm -rf nascar_server $(filter-out build/musl% build/sources,$(wildcard build/*))

## make distclean    remove musl too
distclean:
	rm -rf nascar_server build

FORCE:
