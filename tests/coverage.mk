# Coverage of the core, by everything that drives it in one process. clang's
# counters are told apart by file and function; as the server is compiled from
# the standard input, alone as well as in each program that includes it, all of
# them have the same file name, so that those of its functions add up. The report
# speaks of any program that includes the whole core and has no function that it
# does not use, as llvm-cov would warn of that.
#
# COVER_SUITES are built from tests/NAME.c; a program of another kind has a rule
# of its own for build/cover/NAME, and its run for build/cover/NAME.profraw.

.PHONY: coverage

COVER_SUITES = $(filter-out test_console,$(SUITES))
COVER_FUZZ   = $(basename $(notdir $(wildcard fuzz/fuzz_*.c)))
COVER_RUNS   = $(COVER_SUITES) $(COVER_FUZZ) sim
COVER_REPORTED = test_text
COVER_RULES  = $(TEST_RULES) tests/coverage.mk tests/coverage/assert.h
COUNTED      = clang $(STD) -O1 -g -fprofile-instr-generate -fcoverage-mapping -x c -
COUNT        = LLVM_PROFILE_FILE=$@ timeout --foreground -k 10 300

# What does not include the server is compiled as ever.
build/cover/%: TEST_CC = clang

build/cover/core.o: $(SERVER) $(COVER_RULES)
	$(BUILDING)
	@$(COUNTED) -Itests/coverage -DNASCAR_NO_SHELL -c -o $@ <nascar_server.c

$(INSIDE:%=build/cover/%.o): build/cover/%.o: tests/%.c $(SERVER) $(wildcard tests/*.h) $(COVER_RULES)
	$(BUILDING)
	@cd tests && $(COUNTED) -Icoverage $(CHECK_FLAGS) -c -o ../$@ <$(<F)

$(COVER_FUZZ:%=build/cover/%.o): build/cover/%.o: fuzz/%.c $(SERVER) $(wildcard fuzz/*.h) $(COVER_RULES)
	$(BUILDING)
	@cd fuzz && $(COUNTED) -I../tests/coverage -c -o ../$@ <$(<F)

$(COVER_SUITES:%=build/cover/%) build/cover/sim: %: %.o build/cover/helpers.a
	@clang -fprofile-instr-generate -o $@ $^ $(CHECK_LIBS) -lcrypt

$(COVER_FUZZ:%=build/cover/%): %: %.o build/cover/standalone.o
	@clang -fprofile-instr-generate -o $@ $^ -lcrypt

$(COVER_SUITES:%=build/cover/%.profraw): build/cover/%.profraw: build/cover/%
	@CK_FORK=no TRANSCRIPT=$@.bytes $(COUNT) $< >$<.log 2>&1 </dev/null || { cat $<.log; rm -f $@; exit 1; }
	@echo "Ran $<: $$(tail -n 1 $<.log)"

# Steps, not seconds: the same run each time.
build/cover/sim.profraw: build/cover/sim
	@for seed in 1 2 3 4 5 6; do \
	    LLVM_PROFILE_FILE=$@.$$seed timeout --foreground -k 10 300 $< coverage.$$seed 3000 >$<.log 2>&1 </dev/null || \
	        { cat $<.log; exit 1; }; \
	done
	@llvm-profdata merge -o $@ $@.[1-6]
	@echo "Ran $<: $$(tail -n 1 $<.log)"

# The fuzzers' corpora.
$(COVER_FUZZ:%=build/cover/%.profraw): build/cover/%.profraw: build/cover/%
	@$(COUNT) $< >$<.log 2>&1 </dev/null || { cat $<.log; rm -f $@; exit 1; }
	@echo "Ran $<: $$(tail -n 1 $<.log)"

## make coverage     how much of the core the tests run: all lines, 98 % of branches, or it fails
coverage: deps
	@$(MAKE) --no-print-directory $(JOBS) $(COVER_RUNS:%=build/cover/%.profraw)
	@llvm-profdata merge -o build/cover/all.profdata $(COVER_RUNS:%=build/cover/%.profraw)
	@llvm-cov export -format=lcov -instr-profile build/cover/all.profdata build/cover/$(COVER_REPORTED) \
	    >build/cover/report 2>build/cover/report.log && test ! -s build/cover/report.log || \
	    { cat build/cover/report.log; exit 1; }
	@awk -f tests/coverage.awk nascar_server.c build/cover/report
