/* What the harnesses share: the whole server, and words to refuse a state.
 *
 * Each harness is one LLVMFuzzerTestOneInput(), built by libFuzzer, by AFL++ in
 * persistent mode, and with standalone.c, which replays files.
 *
 * SPDX-License-Identifier: MIT */
#ifndef FUZZ_H
#define FUZZ_H

/* Tables of the core that are full within a short input; their sizes are no
 * part of nascar_limits. */
#define ADDRESSES_KEPT 1u
#define GUESSES_KEPT 2u
#define CONNECTIONS_SPARE 1u
#define OCCUPANTS_SPARE 10u
#define RACES_PER_CLIENT 3u
#define CHAT_LINES 16u
#define REPORTS 6u
#define REPORT_LINES 48u
#define PING_SLOTS 4u
#define DNS_ASKERS 4u

#define main nascar_main
#include "../nascar_server.c"
#undef main

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of the last input, over all that the core said: it must not depend on what
 * ran before. Only if `fuzz_wants_hash`, as it takes time. */
uint64_t fuzz_hash(void);
extern bool fuzz_wants_hash;

/* At the end: what the runs were like, to standard error. */
void fuzz_statistics(void);

#ifdef FUZZ_STATISTICS /* libFuzzer's build; elsewhere the driver asks */
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void say_statistics(void)
{
    (void)fprintf(stderr, "fuzz: %.2f s of processor time\n", (double)clock() / CLOCKS_PER_SEC);
    fuzz_statistics();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    (void)atexit(say_statistics);
    return 0;
}
#endif

#define DEMAND(condition) \
    do { \
        if (!(condition)) { \
            (void)fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* A block of just this size: one byte more or less is seen by the sanitizer. */
static inline uint8_t *exact_copy(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = calloc(1, size);
    if (size > 0) {
        DEMAND(copy != NULL);
        memcpy(copy, bytes, size);
    }
    return copy;
}

static inline void hash_in(uint64_t *hash, const void *bytes, size_t size)
{
    if (fuzz_wants_hash)
        hash_bytes(hash, bytes, size);
}

#endif
