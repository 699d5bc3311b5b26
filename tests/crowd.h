/* A crowd: many clients right at nascar_step(), for the suites of limits and
 * crowds (DESIGN 3, 4), for which world.h is too small.
 *
 * SPDX-License-Identifier: MIT */
#ifndef CROWD_H
#define CROWD_H

#include "suite.h"
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Under valgrind, which runs the suites with CK_FORK=no, the crowds are smaller. */
uint32_t size_of(uint32_t full, uint32_t small);

/* ---- A crowd ------------------------------------------------------------- */

/* Many clients right at nascar_step(), for what world.h is too small for: what
 * they are told is counted, not kept, and all that the core leaves can be left
 * there. Everyone's password is in the first form under an empty key, so that
 * one encoding is good for all (PROTOCOL 4). */

#define IDENTS 1100u     /* more than there are personas */
#define RUNNING_MS 1000u /* when a crowd's clock starts */

static const struct nascar_limits tiny = {4, 16, 8, 16, 64, 64, 0};
static const struct nascar_limits middle = {32, 40, 16, 32, 64, 64, 0};

struct reader {
    bool open;
    bool stalled;  /* its outbox was not read to the end */
    bool held;     /* what is written to it is not even looked at */
    bool named;    /* ... and there is something */
    size_t window; /* bytes that it still reads; SIZE_MAX: all */
    uint64_t bytes_read;
    uint64_t stream; /* hash of all that it read, while the crowd is watched */
    uint32_t lines;  /* of chat */
    uint64_t line_hash;
    uint32_t missed;  /* lines that it was told it missed */
    uint32_t notices; /* ... and how often */
    uint32_t user_rows, room_rows, pings, replies, presences;
    int32_t room, population;
    char reply_kind[5], reply_code[5], reply[512]; /* the last one */
    uint8_t listed[IDENTS];
    uint16_t rows[IDENTS]; /* how many +usr there were of whom */
    uint8_t *in;           /* what the core does not take yet */
    size_t in_bytes;
    uint8_t part[CONSOLE_FRAME_BYTES];
    uint32_t part_bytes;
};

struct crowd_record {
    uint32_t conn, receipt, size;
    bool is_job, accepted, fresh;
    uint8_t bytes[NASCAR_RECORD_BYTES];
};

struct crowd {
    struct nascar *s;
    void *arena;
    size_t arena_bytes;
    struct nascar_limits limits;
    uint64_t now_ms;
    int64_t wall_s; /* at 0 ms */
    uint64_t entropy, chance;
    bool dry;                                  /* gives no entropy */
    bool leave_jobs, leave_records, leave_log; /* takes none of these */
    bool fail_records;                         /* keeps none */
    bool watched, checked;
    uint8_t poison;     /* what the stack is full of when a step starts; 0: as it is */
    size_t stack_bytes; /* steps are taken on a stack of this size; 0: on ours */
    uint32_t apart;     /* steps on this connection are not counted */
    uint64_t steps;
    uint64_t output; /* hash of all that the core left */
    uint32_t log_lines, lines_lost, closes;
    char last_log[512];
    struct crowd_record *answers; /* records and verdicts on their way back */
    uint32_t answer_count;
    uint32_t count;
    struct reader *reader;
    char password[64];
};

/* Runs a call of the core on a stack of its own: who needs more of it crashes. */
void call_on_a_stack_of(size_t bytes, void (*call)(void));
uint32_t crowd_below(struct crowd *c, uint32_t limit);
void crowd_take(struct crowd *c);
void crowd_entropy(struct crowd *c);
/* One event and nothing else. */
bool crowd_step(struct crowd *c, const struct nascar_event *event);
bool crowd_event(struct crowd *c, const struct nascar_event *event);
void crowd_clock(struct crowd *c);
void crowd_configure(struct crowd *c, const char *config);
void *zeroes(size_t count, size_t size);
struct crowd *crowd_new(const struct nascar_limits *limits, const char *config);
/* One that nascar_check() looks at after every step. */
struct crowd *crowd_new_checked(const struct nascar_limits *limits, const char *config);
void crowd_free(struct crowd *c);
/* The same crowd at other addresses; nobody may be in the middle of a word. */
struct crowd *crowd_copy(const struct crowd *c);
void must_hold(const struct crowd *c);

/* ---- What a crowd reads --------------------------------------------------- */

void crowd_close(struct crowd *c, uint32_t conn);
void crowd_drain(struct crowd *c, uint32_t conn);
/* All that can move without time passing. */
void crowd_settle(struct crowd *c);
/* Deadline by deadline. */
void crowd_run(struct crowd *c, uint64_t ms);
void crowd_window(struct crowd *c, uint32_t conn, size_t bytes);
void crowd_hold(struct crowd *c, uint32_t conn, bool held);
uint32_t crowd_open_from(struct crowd *c, uint32_t conn, uint32_t peer);
uint32_t crowd_open(struct crowd *c, uint32_t conn);
/* Queues bytes; they go as the core takes them. */
void crowd_bytes(struct crowd *c, uint32_t conn, const void *bytes, size_t size);
__attribute__((format(printf, 4, 5))) void crowd_say(struct crowd *c, uint32_t conn, const char *kind,
                                                     const char *format, ...);
/* The letters of the reply's code, "" for success; NULL if there is none. */
const char *crowd_ask(struct crowd *c, uint32_t conn, const char *kind, const char *payload);

#define ANSWER(c, conn, kind, payload, code) \
    do { \
        const char *answer_code = crowd_ask(c, conn, kind, payload); \
        ck_assert_ptr_nonnull(answer_code); \
        ck_assert_str_eq(answer_code, code); \
    } while (0)

int32_t reply_number(const struct crowd *c, uint32_t conn, const char *key);
void crowd_auth(struct crowd *c, uint32_t conn, uint32_t who);
/* All the requests of a console that goes straight into a room ("": the hub). */
void crowd_says_login(struct crowd *c, uint32_t conn, uint32_t who, const char *room);
void crowd_login(struct crowd *c, uint32_t conn, uint32_t who, const char *room);
/* So many players, each on the connection of its number, in one room. */
struct crowd *crowd_in_one_room(uint32_t players);
/* The arena as it is now, to compare with. */
void *remember(const struct crowd *c);
bool is_unchanged(const struct crowd *c, const void *copy);
void challenge(struct crowd *c, uint32_t from, uint32_t to, const char *text);
/* Logs in at the buddy service with the ticket of a fresh `pers`. */
void crowd_buddy(struct crowd *c, uint32_t conn, uint32_t lobby, uint32_t who);
const char *crowd_roster(struct crowd *c, uint32_t conn, const char *kind, uint32_t other);

#endif
