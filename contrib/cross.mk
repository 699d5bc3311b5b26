# The server for other processors: Debian's cross compilers, and a musl for each
# (contrib/musl.sh).

.PHONY: cross

TARGETS = mips mipsel armhf aarch64 i686

CC-mips    = mips-linux-gnu-gcc
CC-mipsel  = mipsel-linux-gnu-gcc
CC-armhf   = arm-linux-gnueabihf-gcc
CC-aarch64 = aarch64-linux-gnu-gcc
CC-i686    = i686-linux-gnu-gcc

# MIPS's instructions are long, and its pages and aarch64's may be of 64 KiB.
CROSS_MAX_KIB = 460

$(TARGETS:%=build/libc-%.flags): build/libc-%.flags: contrib/musl.sh contrib/source.sh
	@TARGET=$* CC='$(CC-$*)' sh contrib/musl.sh

$(TARGETS:%=build/%/nascar_server): build/%/nascar_server: $(SERVER) Makefile contrib/cross.mk build/libc-%.flags
	$(BUILDING)
	@$(call release,$(CC-$*),build/libc-$*.flags) -o $@

## make cross        static binaries for routers and old PCs: build/{mips,mipsel,armhf,aarch64,i686}/nascar_server
cross:
	@sh tests/need.sh cross $(TARGETS)
	@$(MAKE) --no-print-directory $(JOBS) $(TARGETS:%=build/%/nascar_server)
	@for target in $(TARGETS); do \
	    sh tests/binary.sh build/$$target/nascar_server $(CROSS_MAX_KIB) >build/$$target/binary.txt || \
	        { cat build/$$target/binary.txt; exit 1; }; \
	    echo "build/$$target/nascar_server: $$(wc -c <build/$$target/nascar_server) bytes, static, hardened, stripped"; \
	done
