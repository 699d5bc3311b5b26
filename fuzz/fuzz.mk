# Fuzzing. Each fuzz/fuzz_*.c is one LLVMFuzzerTestOneInput(). It is built with
# a driver that replays files (in the ways gcc and asan, as a check), by
# libFuzzer and by AFL++. All that the two sanitizers check, they check
# everywhere; in libFuzzer's build what is undefined ends in a trap, which says
# less and takes less time: a replay (build/asan/NAME FILE) tells what it was.
# What guides libFuzzer is the server's branches, not the comparisons in them:
# the dictionaries have those, and tracing them takes half of the time. It is
# compiled apart from libFuzzer, whose own flag would make a call of each
# memcmp().

.PHONY: fuzzers-libfuzzer fuzzers-afl fuzz afl corpus

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

FUZZ_RULES = $(wildcard fuzz/*.h) $(SERVER) $(TEST_RULES) fuzz/fuzz.mk

# As for the suites that include the server (tests/tests.mk).
$(call in,asan msan,$(FUZZERS:%=%.o)): OPTIMISE = -O0 -g1

$(call in,gcc asan msan,$(FUZZERS)): %: %.o $$(@D)/standalone.o
	@$(TEST_CC) -o $@ $^ -lcrypt

# `make test` builds each harness and replays its corpus. This stands here, and not with
# the other checks, as prerequisites are read at once, and FUZZERS is from above.
all-checks: $(foreach way,gcc asan msan,$(FUZZERS:%=build/log/$(way).%))

$(FUZZED:%=build/fuzz/libfuzzer/%): build/fuzz/libfuzzer/%: fuzz/%.c $(wildcard fuzz/*.txt) $(FUZZ_RULES)
	$(BUILDING)
	@$(LIBFUZZER) -c -o $@.o $<
	@clang -fsanitize=fuzzer,address,undefined -o $@ $@.o -lcrypt

$(FUZZED:%=build/fuzz/afl/%): build/fuzz/afl/%: fuzz/%.c $(FUZZ_RULES)
	$(BUILDING)
	@$(AFL) -o $@ $< -lcrypt

build/fuzz/dictionary build/fuzz/seeds: build/fuzz/%: fuzz/%.c $(FUZZ_RULES)
	$(BUILDING)
	@gcc $(TEST_FLAGS) -Wno-unused-function -o $@ $< -lcrypt

$(FUZZERS:%=build/fuzz/%.dict): build/fuzz/fuzz_%.dict: build/fuzz/dictionary
	@$< $* >$@

build/fuzz/canary.dict: build/fuzz/dictionary
	@$< frame >$@

# Suites that leave their events as scripts.
RECORDED = $(filter-out test_shell% test_console test_transcript,$(SUITES))

$(RECORDED:%=build/fuzz/record/%): build/fuzz/record/%: build/gcc/%.o build/gcc/record.o build/gcc/helpers.a
	@mkdir -p $(@D)
	@gcc -Wl,--wrap=nascar_step,--wrap=nascar_init -o $@ $^ $(CHECK_LIBS)

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
