/* Seeds for fuzz_step out of what tests do: linked with a suite (-Wl,--wrap), it
 * writes each server's events as a script to the folder FUZZ_SEEDS. Entropy is
 * left out of the script: the core gets it from here, as it will from fuzz_step.
 *
 * SPDX-License-Identifier: MIT */
#include "../nascar_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool __real_nascar_step(struct nascar *state, const struct nascar_event *event);
struct nascar *__real_nascar_init(void *arena, size_t arena_bytes, const struct nascar_limits *limits);
bool __wrap_nascar_step(struct nascar *state, const struct nascar_event *event);
struct nascar *__wrap_nascar_init(void *arena, size_t arena_bytes, const struct nascar_limits *limits);

enum {
    SEED_BYTES = 6144, /* no seed is longer: what begins later begins another way */
    WORLDS = 4         /* of one test */
};

static FILE *file;
static struct nascar *recorded;
static uint64_t entropy, last_ms;
static int64_t last_s;
static long written;

static void put(const void *bytes, size_t size)
{
    if (size > 0)
        (void)fwrite(bytes, 1, size, file);
    (void)fflush(file); /* a test may die, or be left by _exit() */
    written += (long)size;
}

static void put_varint(uint64_t value)
{
    uint8_t byte;
    for (; value > 127; value >>= 7) {
        byte = (uint8_t)(value | 128);
        put(&byte, 1);
    }
    byte = (uint8_t)value;
    put(&byte, 1);
}

static uint32_t put_be(uint8_t *out, uint64_t value, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> 8 * (size - 1 - i));
    return size;
}

static void write_event(uint8_t type, const struct nascar_event *e, const uint8_t *numbers, uint32_t count,
                        uint32_t size)
{
    put(&type, 1);
    put_varint(e->conn == NASCAR_NONE ? 0 : (uint64_t)e->conn + 1);
    put_varint(e->mono_ms > last_ms ? e->mono_ms - last_ms : 0);
    put_varint((uint64_t)count + size);
    put(numbers, count);
    put(e->bytes, size);
    last_ms = e->mono_ms > last_ms ? e->mono_ms : last_ms;
}

static void write_script(const struct nascar_event *e)
{
    static const struct nascar_event nobody = {.conn = NASCAR_NONE};
    uint8_t numbers[16];
    uint32_t count = 0, size = e->size;
    if (e->wall_s != last_s) {
        struct nascar_event wall = nobody;
        wall.mono_ms = last_ms;
        write_event(11, &wall, numbers, put_be(numbers, (uint64_t)e->wall_s, 8), 0);
        last_s = e->wall_s;
    }
    switch (e->type) {
    case NASCAR_OPENED:
        count = put_be(numbers, e->peer, 4);
        count += put_be(numbers + 4, e->local, 4);
        count += e->service == NASCAR_SERVICE_GAME ? 0 : put_be(numbers + 8, e->service, 1);
        break;
    case NASCAR_DRAINED:
        count = put_be(numbers, e->size, 4);
        size = 0;
        break;
    case NASCAR_VERDICT: /* fuzz_step knows a hash */
        count = put_be(numbers, e->receipt, 4);
        numbers[count++] = e->accepted;
        size = 0;
        break;
    case NASCAR_RECORD: /* ... and which record waits */
    case NASCAR_RECORD_FAILED:
        count = put_be(numbers, e->receipt, 4);
        size = e->conn == NASCAR_NONE ? e->size : 0;
        break;
    default: break;
    }
    write_event((uint8_t)e->type, e, numbers, count, size);
}

struct nascar *__wrap_nascar_init(void *arena, size_t arena_bytes, const struct nascar_limits *limits)
{
    static int number;
    const char *folder = getenv("FUZZ_SEEDS");
    char path[512];
    recorded = __real_nascar_init(arena, arena_bytes, limits);
    if (file)
        (void)fclose(file);
    file = NULL;
    if (folder && recorded && number < WORLDS) {
        (void)snprintf(path, sizeof path, "%s/%ld-%d", folder, (long)getpid(), ++number);
        file = fopen(path, "wb");
    }
    entropy = 1;
    last_ms = 0;
    last_s = 0;
    written = 0;
    if (file)
        put("NSR3\0\0\0\0\0\0\0", 11);
    return recorded;
}

/* As fuzz_step's feed_pool(). */
static void feed_pool(struct nascar *state, const struct nascar_event *e)
{
    uint8_t bytes[NASCAR_ENTROPY_BYTES];
    struct nascar_event fed = {.type = NASCAR_ENTROPY,
                               .conn = NASCAR_NONE,
                               .mono_ms = e->mono_ms,
                               .wall_s = e->wall_s,
                               .bytes = bytes,
                               .size = nascar_entropy_wanted(state)};
    if (fed.size <= NASCAR_ENTROPY_BYTES / 2)
        return;
    for (uint32_t i = 0; i < fed.size; i++) {
        entropy = entropy * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        bytes[i] = (uint8_t)(entropy >> 56);
    }
    (void)__real_nascar_step(state, &fed);
    if (entropy != 1 && fed.size == NASCAR_ENTROPY_BYTES)
        entropy = 2; /* a scene begins with a full pool, and goes on with this */
}

bool __wrap_nascar_step(struct nascar *state, const struct nascar_event *event)
{
    if (!file || state != recorded)
        return __real_nascar_step(state, event);
    feed_pool(state, event);
    if (event->type == NASCAR_ENTROPY)
        return true;
    if (written < SEED_BYTES)
        write_script(event);
    return __real_nascar_step(state, event);
}
