# Proofs, analysis, and how the code is laid out.

.PHONY: prove analysis-checks analyse format

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

FORMATTED = $(wildcard *.[ch] tests/*.[ch] tests/*/*.[ch] fuzz/*.[ch] contrib/*.[ch])

build/log/format: FORCE
	$(RUN) clang-format --dry-run -Werror $(FORMATTED)

analysis-checks: $(addprefix build/log/,clang-analyzer gcc-analyzer tidy cppcheck shellcheck format)

## make analyse      clang-tidy, clang's and gcc's analyzers, cppcheck, shellcheck, the format: no finding
analyse:
	@sh tests/need.sh analyse
	$(START)
	@$(MAKE) $(KEEP_GOING) $(JOBS) analysis-checks $(BROKEN)
	@sh tests/total.sh

## make format       lays out all C files as .clang-format says
format:
	@sh tests/need.sh analyse
	clang-format -i $(FORMATTED)
