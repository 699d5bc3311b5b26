/* What an event costs: instructions of the core, counted by callgrind, for a
 * line of chat, a move, a login and the echo of a ping, with 10, 100 and 1000
 * players there who follow every list. tests/cost.sh runs it and makes a table.
 *
 * An operation is all that follows from it: steps for its bytes, for verdicts
 * and records, and for what is written out. Its deliveries are the frames that
 * were written, answers and pings included.
 *
 * SPDX-License-Identifier: MIT */
#include "console.h"
#include "../nascar_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

#define PRESENT 1000u
#define NEWCOMERS 10u /* each operation is done so often, and the mean is told */
#define CONNECTIONS (2 * PRESENT)

static struct nascar *state;
static uint64_t mono_ms;
static bool measuring;
static unsigned long deliveries;
static uint8_t answer[CONSOLE_FRAME_BYTES]; /* the last frame of connection `listening` */
static uint32_t listening;

__attribute__((noreturn)) static void give_up(const char *why)
{
    (void)fprintf(stderr, "cost: %s\n", why);
    exit(1);
}

static void step(const struct nascar_event *event)
{
    struct nascar_event timed = *event;
    timed.mono_ms = mono_ms;
    timed.wall_s = 1767225600 + (int64_t)(mono_ms / 1000);
    if (measuring)
        CALLGRIND_TOGGLE_COLLECT;
    bool done = nascar_step(state, &timed);
    if (measuring)
        CALLGRIND_TOGGLE_COLLECT;
    if (!done)
        give_up("a step was refused");
}

/* The same bytes in every run. */
static void top_up_entropy(void)
{
    static uint32_t chance = 1;
    uint8_t bytes[NASCAR_ENTROPY_BYTES];
    struct nascar_event event = {.type = NASCAR_ENTROPY,
                                 .conn = NASCAR_NONE,
                                 .bytes = bytes,
                                 .size = nascar_entropy_wanted(state)};
    if (event.size > NASCAR_ENTROPY_BYTES / 2) {
        for (size_t i = 0; i < event.size; i++) {
            chance = chance * 1664525u + 1013904223u;
            bytes[i] = (uint8_t)(chance >> 24);
        }
        step(&event);
    }
}

/* Counts the frames of an outbox, which is always emptied. */
static void read_out(uint32_t conn, const uint8_t *bytes, uint32_t size)
{
    for (uint32_t at = 0; at < size;) {
        uint32_t length = (uint32_t)bytes[at + 10] << 8 | bytes[at + 11];
        if (conn == listening && bytes[at] != '+' && length <= sizeof answer)
            memcpy(answer, bytes + at, length);
        deliveries++;
        at += length;
    }
}

/* Whatever follows from the last event. */
static void work(void)
{
    struct nascar_log log;
    struct nascar_record record;
    struct nascar_hash_job job;
    uint32_t conn, size = 0;
    for (;;) {
        while (nascar_next_log(state, &log))
            continue;
        top_up_entropy();
        if (nascar_next_record(state, &record)) {
            uint8_t bytes[4096];
            struct nascar_event event = {.type = NASCAR_RECORD,
                                         .conn = record.conn,
                                         .receipt = record.receipt,
                                         .bytes = bytes,
                                         .size = record.size};
            memcpy(bytes, record.bytes, record.size);
            step(&event);
        } else if (nascar_next_hash_job(state, &job)) {
            struct nascar_event event = {.type = NASCAR_VERDICT,
                                         .conn = job.conn,
                                         .receipt = job.receipt,
                                         .accepted = true,
                                         .bytes = (const uint8_t *)"*",
                                         .size = job.fresh[0] != '\0'};
            step(&event);
        } else if ((conn = nascar_next_output(state)) != NASCAR_NONE) {
            do {
                const uint8_t *bytes = nascar_outbox(state, conn, &size);
                read_out(conn, bytes, size);
                step(&(struct nascar_event){.type = NASCAR_DRAINED, .conn = conn, .size = size});
            } while (nascar_outbox(state, conn, &size) != NULL);
            if (nascar_closing(state, conn))
                step(&(struct nascar_event){.type = NASCAR_CLOSED, .conn = conn});
        } else {
            return;
        }
    }
}

static void say(uint32_t conn, const char *kind, const char *tags)
{
    uint8_t frame[CONSOLE_REQUEST_BYTES];
    struct nascar_event event = {.type = NASCAR_BYTES, .conn = conn, .bytes = frame};
    event.size = (uint32_t)console_frame(frame, sizeof frame, kind, 0, tags, strlen(tags) + 1);
    listening = conn;
    memset(answer, 0, sizeof answer);
    step(&event);
    work();
}

/* Says it and must be answered, without an error. */
static void ask(uint32_t conn, const char *kind, const char *tags)
{
    static const uint8_t no_error[4];
    say(conn, kind, tags);
    if (memcmp(answer, kind, 4) != 0 || memcmp(answer + 4, no_error, 4) != 0)
        give_up(kind);
}

static void enter(uint32_t conn, const char *room)
{
    char tags[64];
    (void)snprintf(tags, sizeof tags, "NAME=%s\nPASS=\n", room);
    ask(conn, "move", tags);
}

/* From the connection to the hub. */
static void login(uint32_t conn)
{
    struct nascar_event event = {.type = NASCAR_OPENED, .conn = conn, .peer = 0x0A000001u + conn, .local = 0x0A0A0A0Au};
    struct console_pad pad = {.started = false};
    char tags[256], cipher[CONSOLE_CIPHER_BYTES + 2] = "~";
    uint8_t key[16];
    step(&event);
    ask(conn, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    ask(conn, "skey", "SKEY=$5075626c6963204b6579\n");
    (void)console_read_binary(console_find((const char *)answer + CONSOLE_HEADER_BYTES, "SKEY"), key, sizeof key);
    console_encode(&pad, key, sizeof key, "open wheel", cipher + 1);
    struct console_tags auth = {.size = 0};
    (void)snprintf(tags, sizeof tags, "P%u", (unsigned)conn);
    console_put_text(&auth, "NAME", tags);
    console_put_number(&auth, "TOS", 1);
    console_put_text(&auth, "PASS", cipher);
    ask(conn, "auth", auth.text);
    (void)snprintf(tags, sizeof tags, "PERS=P%u\n", (unsigned)conn);
    ask(conn, "pers", tags);
}

static void subscribe(uint32_t conn)
{
    ask(conn, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1");
    ask(conn, "sele", "RANKS=50\n");
}

/* Everybody who is there moves, and learns of it all at the end: else 1000
 * players would each be told 1000 times. */
static void place(unsigned present, const char *only_room)
{
    char room[16];
    for (uint32_t i = 0; i < present; i++)
        ask(i, "sele", "ROOMS=0 USERS=0 RANKS=0 MESGS=0");
    for (uint32_t i = 0; i < present; i++) {
        (void)snprintf(room, sizeof room, "R%u", (unsigned)i / 50);
        enter(i, only_room != NULL ? only_room : i < 10 ? "Small" : room);
    }
    for (uint32_t i = 0; i < present; i++)
        subscribe(i);
}

static void leave(uint32_t conn)
{
    struct nascar_event event = {.type = NASCAR_CLOSED, .conn = conn};
    step(&event);
    work();
}

/* Rooms R0..R19 for 50 each, and a small and a large one. */
static void start(void)
{
    static const struct nascar_limits limits = {CONNECTIONS, CONNECTIONS, 64, 64, CONNECTIONS, 64, 0};
    static char config[2048];
    size_t bytes = nascar_arena_size(&limits), size;
    int n = snprintf(config, sizeof config, "rate = 0\nroom = Small\nroom = From\nroom = To\nroom = All::65536\n");
    size = (size_t)n;
    for (unsigned i = 0; i < 20; i++) {
        n = snprintf(config + size, sizeof config - size, "room = R%u\n", i);
        size += (size_t)n;
    }
    struct nascar_event event = {.type = NASCAR_CONFIG,
                                 .conn = NASCAR_NONE,
                                 .bytes = (const uint8_t *)config,
                                 .size = (uint32_t)size};
    state = nascar_init(calloc(1, bytes), bytes, &limits);
    top_up_entropy();
    step(&event);
    work();
}

static void begin(void)
{
    deliveries = 0;
    CALLGRIND_ZERO_STATS;
    measuring = true;
}

/* The name of the dump is a row of the table, but for the count. */
static void end(const char *operation, unsigned present)
{
    char row[128];
    measuring = false;
    (void)snprintf(row, sizeof row, "%s;%u;%u;%lu", operation, present, NEWCOMERS, deliveries);
    CALLGRIND_DUMP_STATS_AT(row);
}

static void measure(unsigned present)
{
    static const char line[] = "TEXT=\"See you at the finish line, everybody\"\n";
    const uint32_t mover = present, newcomer = PRESENT + NEWCOMERS;
    mono_ms += 1000;
    begin();
    for (uint32_t i = 0; i < NEWCOMERS; i++)
        say(0, "~png", "TIME=1\n");
    end("echo of a ping", present);

    begin();
    for (uint32_t i = 0; i < NEWCOMERS; i++)
        ask(i, "mesg", line);
    end("chat, 10 in the room", present);

    login(mover);
    subscribe(mover);
    enter(mover, "From");
    begin();
    for (uint32_t i = 0; i < NEWCOMERS; i++)
        enter(mover, i % 2 == 0 ? "To" : "From");
    end("move to another room", present);
    leave(mover);

    for (uint32_t i = 0; i < NEWCOMERS; i++) { /* their accounts */
        login(newcomer + i);
        leave(newcomer + i);
    }
    mono_ms += 1000;
    begin();
    for (uint32_t i = 0; i < NEWCOMERS; i++) {
        login(newcomer + i);
        subscribe(newcomer + i);
    }
    end("login, addr to sele", present);
    begin();
    for (uint32_t i = 0; i < NEWCOMERS; i++)
        leave(newcomer + i);
    end("leave", present);

    CALLGRIND_STOP_INSTRUMENTATION;
    place(present, "All");
    CALLGRIND_START_INSTRUMENTATION;
    begin();
    for (uint32_t i = 0; i < NEWCOMERS; i++)
        ask(i, "mesg", line);
    end("chat, all in the room", present);
    if (nascar_check(state) != NULL)
        give_up(nascar_check(state));
}

int main(void)
{
    uint32_t present = 0;
    start();
    CALLGRIND_STOP_INSTRUMENTATION;
    for (unsigned goal = 10; goal <= PRESENT; goal *= 10) {
        for (; present < goal; present++)
            login(present);
        place(present, NULL);
        CALLGRIND_START_INSTRUMENTATION;
        measure(goal);
        CALLGRIND_STOP_INSTRUMENTATION;
    }
    return 0;
}
