# Every tests/test_*.c is a suite, a Check program. Most know the server by its
# header alone, and link one core.o; those that look inside include
# nascar_server.c, and are compiled again with every edit of it. A program of
# PROGRAMS may be in parts, tests/NAME_*.c. What is neither a suite nor of a
# program is a helper, which all of them may use. So a new suite or helper needs
# no line here.
#
# All is built in three ways, one folder each, and run in four:
#   gcc       as it is, and under valgrind
#   asan      by clang with the address and undefined-behaviour sanitizers
#   uchar     with char unsigned, as on ARM and MIPS
# There is a fourth, msan, by clang with the memory sanitizer: not for suites, as
# Check is not made for it, but for what drives the server without Check.

.PHONY: deps test test-core test-live core-checks all-checks hostile sim sim-kept sim-long mutants bench recordings

SUITES   = $(basename $(notdir $(wildcard tests/test_*.c)))
PROGRAMS = cost durable embed hostile live load sim
HELPERS  = $(filter-out $(SUITES) $(PROGRAMS) $(PROGRAMS:%=%_%) $(APART),$(basename $(notdir $(wildcard tests/*.c))))

# Not for all: the faked system, which programs include as they include the shell,
# and the real one, in which the words of world.h and clients.h mean something else.
APART = machine server

# Those that include the server.
INSIDE := $(basename $(notdir $(shell grep -l '^.include "../nascar_server.c"' tests/*.c)))

TEST_RULES  = Makefile tests/tests.mk
TEST_FLAGS  = $(STD) $(WARN) -Werror $(OPTIMISE) -fno-omit-frame-pointer
CHECK_FLAGS = $(shell pkg-config --cflags check)
CHECK_LIBS  = $(shell pkg-config --libs check)
build/gcc/%:   TEST_CC = gcc
build/asan/%:  TEST_CC = clang -fsanitize=address,undefined -fno-sanitize-recover=all
build/uchar/%: TEST_CC = gcc -funsigned-char
build/msan/%:  TEST_CC = clang -fsanitize=memory

# and for three other processors (tests/processors.mk).
PROCESSORS = mips armhf i686
WAYS       = gcc asan uchar msan $(PROCESSORS)

BUILDING = @mkdir -p $(@D) && echo "Building $@"

# $(call in,WAYS,NAMES): the products NAMES in each way's folder.
in = $(foreach way,$1,$(addprefix build/$(way)/,$2))

# What each edit of the server compiles again is compiled quickly: a backtrace
# has its lines, a debugger no variables (make build/gcc/test_text OPTIMISE=-g3).
# Some of it takes longer to compile than to run.
BRIEF    = test_corners test_rules test_text
OPTIMISE = -O1 -g
$(call in,$(WAYS),$(addsuffix .o,core $(filter $(SUITES),$(INSIDE)))): OPTIMISE = -Og -g1
$(call in,$(WAYS),$(BRIEF:%=%.o)): OPTIMISE = -O0 -g1
# With sanitizers it takes clang six times as long to make it quick, which few run long enough for.
$(call in,asan msan,$(addsuffix .o,$(filter-out test_limits test_shell_journal,$(INSIDE))) nascar_server): \
    OPTIMISE = -O0 -g1

# The compiler notes down what else an object is made of (-include, below).
OBJECT = $(BUILDING) && $(TEST_CC) $(TEST_FLAGS) $(CHECK_FLAGS) -MMD -MP -MF $@.d -MT $@ -c -o $@ $<

build/%.o: tests/$$(*F).c $(TEST_RULES)
	$(OBJECT)

build/%.o: fuzz/$$(*F).c $(TEST_RULES)
	$(OBJECT)

$(call in,$(WAYS),core.o): nascar_server.c $(TEST_RULES)
	$(OBJECT) -DNASCAR_NO_SHELL

-include $(wildcard build/*/*.o.d)

# An archive, from which each program takes what it needs: one that includes the
# server needs no core.o, and one without the server needs a console alone.
$(call in,$(WAYS) cover,helpers.a): $$(addprefix $$(@D)/,$$(addsuffix .o,core $(HELPERS)))
	@rm -f $@ && ar rcs $@ $^

$(call in,$(WAYS),$(SUITES)): %: %.o $$(@D)/helpers.a
	@$(TEST_CC) -o $@ $^ $(CHECK_LIBS) -lcrypt

$(call in,gcc,durable hostile live load) $(call in,gcc asan msan,sim): %: %.o $$(@D)/helpers.a
	@$(TEST_CC) -o $@ $(filter %.o,$^) $(filter %.a,$^) -lcrypt

build/gcc/durable build/gcc/live: build/gcc/server.o
build/gcc/durable: $(patsubst tests/%.c,build/gcc/%.o,$(wildcard tests/durable_*.c))
build/gcc/live: $(patsubst tests/%.c,build/gcc/%.o,$(wildcard tests/live_*.c))

# The core alone, as an embedder has it (tests/exports.sh says why not -fpie).
EMBED_FLAGS = $(STD) $(WARN) -Werror -Os

build/embed/core.o: $(SERVER) $(TEST_RULES)
	$(BUILDING)
	@gcc $(EMBED_FLAGS) -fno-pie -fstack-protector-strong -DNASCAR_NO_SHELL -c -o $@ nascar_server.c

build/embed/embed: tests/embed.c build/embed/core.o nascar_server.h
	$(BUILDING)
	@gcc $(EMBED_FLAGS) -no-pie -o $@ $< build/embed/core.o

build/gcc/cost: build/gcc/cost.o build/embed/core.o build/gcc/helpers.a
	@gcc -no-pie -o $@ $^

build/msan/nascar_server: $(SERVER) $(TEST_RULES)
	$(BUILDING)
	@$(TEST_CC) $(TEST_FLAGS) -o $@ nascar_server.c -lcrypt

# ---- Checks --------------------------------------------------------------------
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

# It is thirty times slower, so it has a fourth of the work (tests/suite.h): the sanitizers have all.
build/log/valgrind.%: build/gcc/% FORCE
	$(RUN) env CK_FORK=no SUITE_EVERY=4 \
	    valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite $<

build/log/same.%: build/log/gcc.test_transcript build/log/%.test_transcript FORCE
	$(RUN) cmp build/log/gcc.test_transcript.bytes build/log/$*.test_transcript.bytes

# No value is used that nobody wrote: the corpora, a recording, simulations with crashes.
build/log/msan.%: build/msan/% FORCE
	$(RUN) $<

build/log/msan.sim: build/msan/sim FORCE
	$(RUN) sh -c 'for seed in 1 2 3 4 5 6; do $< msan.$$seed 2000 || exit 1; done'

build/log/msan.replay: build/msan/nascar_server FORCE
	$(RUN) $(call replay,$<)

# Neither compiler warns about the file, whole or as the core alone.
build/log/warnings.%: FORCE
	$(RUN) $* $(STD) $(WARN) -Werror -Os -c -o build/warnings.$*.o nascar_server.c

build/log/warnings-core.%: FORCE
	$(RUN) $* $(STD) $(WARN) -Werror -Os -DNASCAR_NO_SHELL -c -o build/warnings-core.$*.o nascar_server.c

# Nor does it in a later C, nor without what C11's <assert.h> has beside assert().
build/log/standards.%: FORCE
	$(RUN) sh -c 'for std in c11 gnu11 c17 c2x gnu2x; do for part in NASCAR_NO_SHELL WHOLE; do \
	    $* -std=$$std $(WARN) -Werror -Itests/coverage -D$$part -fsyntax-only nascar_server.c || exit 1; done; done'

# The release build does not warn with musl's headers either.
build/log/warnings-release: build/libc.flags FORCE
	$(RUN) $(RELEASE) -Werror -o build/warnings-release

build/log/embed: build/embed/embed FORCE
	$(RUN) build/embed/embed

build/log/exports: build/embed/core.o FORCE
	$(RUN) sh tests/exports.sh $< gcc $(EMBED_FLAGS)

build/log/binary: nascar_server FORCE
	$(RUN) sh tests/binary.sh ./nascar_server $(MAX_KIB)

build/log/install: nascar_server FORCE
	$(RUN) sh tests/install.sh build/install-test $(MAKE)

build/log/build: build/libc.flags FORCE
	$(RUN) sh tests/build.sh build/build-test $(MAKE)

# What README says for a VPS. It keeps times, too: a second for the start of the server.
build/log/vps: build/libc.flags FORCE
	$(RUN) sh tests/vps.sh build/vps-test

build/log/live: build/gcc/live nascar_server FORCE
	$(RUN) build/gcc/live ./nascar_server

# The same while each server records, and a look at the times. Other users write there, too.
build/log/live-recorded: build/gcc/live nascar_server FORCE
	@rm -rf build/live-recorded && mkdir -p -m 777 build/live-recorded
	$(RUN) sh -c 'LIVE_RECORDINGS=$$PWD/build/live-recorded build/gcc/live ./nascar_server'

build/log/recorded-times: build/log/live build/log/live-recorded
	$(RUN) awk -f tests/times.awk $^

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

# What takes longest to build and to run is begun first.
LONGEST = test_limits test_shell_journal test_shell test_corners test_text

core-checks: $(addprefix build/log/gcc.,$(LONGEST) $(filter-out $(LONGEST),$(SUITES)))

all-checks: core-checks $(addprefix build/log/,binary build install warnings-release embed exports replay) \
    $(foreach compiler,gcc clang,$(addprefix build/log/,$(addsuffix .$(compiler),warnings warnings-core standards))) \
    $(foreach way,asan uchar valgrind,$(SUITES:%=build/log/$(way).%)) \
    build/log/msan.sim build/log/msan.replay \
    build/log/same.asan build/log/same.uchar

# What does not compile counts as one failure, and the rest still runs. Without
# a -j of the caller's, all cores are used; the live test, which keeps time,
# then has the machine for itself.
JOBS   = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
START  = @rm -rf build/log && mkdir -p build/log
KEEP_GOING = --no-print-directory --keep-going
BROKEN = || { echo "Something does not build: see above"; echo 0 1 >build/log/build.count; }

## make test         everything; installs what it needs where it can; ends in `N passed, N failed`
test: deps
	$(START)
	@$(MAKE) $(KEEP_GOING) $(JOBS) all-checks $(BROKEN)
	@$(MAKE) $(KEEP_GOING) build/log/live $(BROKEN)
	@$(MAKE) $(KEEP_GOING) -o build/log/live build/log/recorded-times $(BROKEN)
	@$(MAKE) $(KEEP_GOING) build/log/live-durable $(BROKEN)
	@$(MAKE) $(KEEP_GOING) build/log/live-hostile $(BROKEN)
	@$(MAKE) $(KEEP_GOING) build/log/vps $(BROKEN)
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

## make deps         installs what `make test` needs; FOR=fuzz, FOR=prove, FOR=analyse: what those need
FOR = all
deps:
	@sh tests/need.sh $(FOR)

# ---- What takes longer -----------------------------------------------------------

## make hostile      attacks on the real binary, while six players talk: what they notice
hostile: build/gcc/hostile nascar_server
	build/gcc/hostile ./nascar_server

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
mutants: deps build/libc.flags
	@CC='$(CC)' HELPERS='$(HELPERS)' SUITES='$(SUITES)' sh tests/mutants.sh $(LINES)

## make bench        what a line of chat, a move, a login cost; a start with 100,000 accounts
bench: nascar_server deps
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
