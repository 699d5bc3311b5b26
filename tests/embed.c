/* How to embed the server: two consoles in one program, which reach it through
 * memory, log in, and hear each other in a room. Nothing but nascar_server.h
 * is used; nascar_server.c is compiled with -DNASCAR_NO_SHELL and linked.
 *
 * A real embedder has sockets in place of `heard`, time that passes, a disk for
 * the records, and a password hash that deserves the name.
 *
 * SPDX-License-Identifier: MIT */
#include "../nascar_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DIRECTORY, ALICE, BOB, CONNECTIONS };

static struct nascar *state;
static char heard[CONNECTIONS][8192]; /* all that came, with line ends for NULs */

/* One event. The time stands still here. */
static void step(enum nascar_event_type type, uint32_t conn, uint32_t receipt, const void *bytes, size_t size)
{
    struct nascar_event event = {.type = type,
                                 .conn = conn,
                                 .receipt = receipt,
                                 .bytes = bytes,
                                 .size = (uint32_t)size,
                                 .mono_ms = 1,
                                 .wall_s = time(NULL),
                                 .peer = 0x7F000001,
                                 .local = 0x7F000001,
                                 .accepted = true};
    if (!nascar_step(state, &event))
        abort(); /* it never runs out of entropy in so short a life */
}

static void hear(uint32_t conn, const uint8_t *bytes, uint32_t size)
{
    size_t end = strlen(heard[conn]);
    for (uint32_t i = 0; i < size && end + 1 < sizeof heard[conn]; i++)
        heard[conn][end++] = (char)(bytes[i] == 0 ? '\n' : bytes[i]);
}

/* Takes what the core has left and answers it, until there is nothing more. */
static void work(void)
{
    struct nascar_record record;
    struct nascar_hash_job job;
    uint32_t conn;
    for (;;) {
        if (nascar_next_record(state, &record)) { /* here it would be written down */
            uint8_t bytes[4096];
            memcpy(bytes, record.bytes, record.size);
            step(NASCAR_RECORD, record.conn, record.receipt, bytes, record.size);
        } else if (nascar_next_hash_job(state, &job)) { /* any password is right, and hashed alike */
            step(NASCAR_VERDICT, job.conn, job.receipt, "*", job.fresh[0] != '\0');
        } else if ((conn = nascar_next_output(state)) != NASCAR_NONE) {
            do { /* what is read makes room for rows of lists */
                uint32_t size = 0;
                const uint8_t *bytes = nascar_outbox(state, conn, &size);
                hear(conn, bytes, size);
                step(NASCAR_DRAINED, conn, 0, NULL, size);
            } while (nascar_outbox(state, conn, &(uint32_t){0}) != NULL);
            if (nascar_closing(state, conn))
                step(NASCAR_CLOSED, conn, 0, NULL, 0);
        } else {
            return;
        }
    }
}

/* A console sends a frame: kind, code, length, all in 12 bytes, and its tags. */
static void say(uint32_t conn, const char *kind, const char *tags)
{
    uint8_t frame[512] = {0};
    size_t size = 12 + strlen(tags) + 1;
    memcpy(frame, kind, 4);
    frame[10] = (uint8_t)(size >> 8);
    frame[11] = (uint8_t)size;
    memcpy(frame + 12, tags, size - 12);
    step(NASCAR_BYTES, conn, 0, frame, size);
    work();
}

/* Logs in with a password of its own, masked by the directory's MASK, and
 * goes to a room. A name that is free becomes an account and a persona. */
static void enter(uint32_t conn, const char *name, const char *password, const char *mask)
{
    char tags[256], hex[64] = "";
    uint8_t last = 0;
    for (size_t i = 0; password[i] != '\0'; i++) {
        unsigned turned = (uint8_t)password[i] ^ last;
        last = (uint8_t)((turned << 3 | turned >> 5) ^ (uint8_t)mask[i]);
        (void)snprintf(hex + 2 * i, 3, "%02x", (unsigned)last);
    }
    step(NASCAR_OPENED, conn, 0, NULL, 0);
    (void)snprintf(tags, sizeof tags, "NAME=%s\nTOS=1\nPASS=$%s\n", name, hex);
    say(conn, "auth", tags);
    (void)snprintf(tags, sizeof tags, "PERS=%s\n", name);
    say(conn, "pers", tags);
    say(conn, "sele", "ROOMS=1 USERS=1 MESGS=1\n");
    say(conn, "move", "NAME=East\n");
}

int main(void)
{
    struct nascar_limits limits = {
        .clients = 2, .accounts = 16, .rooms = 8, .directory_sessions = 4, .roster_edges = 50, .messages = 16, 0};
    const char *config = "accounts = open\nlobby-port = 11000\nbuddy-port = 10899\n";
    uint8_t entropy[NASCAR_ENTROPY_BYTES];
    size_t size = nascar_arena_size(&limits);
    void *arena = calloc(1, size);
    FILE *random = fopen("/dev/urandom", "rb");
    if (random == NULL || fread(entropy, 1, sizeof entropy, random) != sizeof entropy || fclose(random) != 0)
        return 1;
    state = nascar_init(arena, size, &limits);
    step(NASCAR_ENTROPY, NASCAR_NONE, 0, entropy, sizeof entropy);
    step(NASCAR_CONFIG, NASCAR_NONE, 0, config, strlen(config));

    step(NASCAR_OPENED, DIRECTORY, 0, NULL, 0);
    say(DIRECTORY, "@dir", "PROD=NASCAR-PS2-2004\n");
    const char *mask = strstr(heard[DIRECTORY], "MASK=");
    if (mask == NULL)
        return 1;
    enter(ALICE, "Alice", "open wheel", mask + 5);
    enter(BOB, "Bob", "pit stop", mask + 5);
    say(ALICE, "mesg", "TEXT=\"Hello, Bob\"\n");
    say(BOB, "mesg", "TEXT=\"Hello, Alice\"\n");
    for (uint32_t conn = ALICE; conn <= BOB; conn++) {
        if (strstr(heard[conn], "TEXT=\"Hello, Bob\"") == NULL ||
            strstr(heard[conn], "TEXT=\"Hello, Alice\"") == NULL) {
            (void)printf("connection %u has not heard both lines, but:\n%s", (unsigned)conn, heard[conn]);
            return 1;
        }
    }
    const char *broken = nascar_check(state);
    (void)puts(broken != NULL ? broken : "both have heard both lines");
    free(arena);
    return broken != NULL;
}
