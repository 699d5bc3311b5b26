/* A world in one process: the server's core, driven through nascar_step()
 * alone, with consoles (console.h) and raw clients around it, a virtual clock,
 * and a hasher and a journal that answer at once or when told to.
 *
 * nascar_check() runs after every step; whatever is wrong with the core or the
 * contract of nascar_server.h fails the running Check test, with the seed.
 *
 * SPDX-License-Identifier: MIT */
#ifndef WORLD_H
#define WORLD_H

#include "console.h"
#include "../nascar_server.h"

#define WORLD_SERVER_IP 0xCB00710Au /* 203.0.113.10: what clients connect to */
#define WORLD_FIRST_IP 0xC6336401u  /* 198.51.100.1: the first client's address */
#define WORLD_WALL_S 1767225600     /* 2026-01-01 00:00:00 UTC, when mono_ms is 0 */

enum world_split { WORLD_WHOLE, WORLD_BYTES, WORLD_RANDOM };

struct world_options {
    struct nascar_limits limits; /* all zero: the default, a small server */
    const char *config;          /* lines after the world's own; NULL: none */
    uint64_t seed;               /* 0: 1 */
    enum world_split split;      /* how bytes travel, both ways */
    bool no_check;               /* no nascar_check(), for long runs */
};

/* The configuration that a world starts with; `config` lines come after it:
 *     accounts = open      skey = on     rate = 0     per-address = 10000
 * and the core's own defaults for the rest. */

struct world_record {
    uint32_t size;
    uint8_t *bytes;
};

struct world_connection; /* one open number of the core */

struct world {
    struct world_options options;
    struct nascar *state;
    void *arena;
    size_t arena_bytes;
    uint64_t mono_ms;
    int64_t wall_offset_s; /* wall clock = mono_ms / 1000 + this */
    bool stands_still;     /* ... or this alone */
    uint32_t server_ip;    /* the local address of connections opened from now on */
    uint64_t steps;
    char *config; /* as last given to the core */

    /* a test's hands on the machine */
    bool hold_records;  /* records wait for world_release_records() */
    bool fail_records;  /* every record fails */
    bool hold_verdicts; /* hash jobs wait for world_release_verdicts() */
    bool no_verdicts;   /* nobody finds out about a password */
    bool free_run;      /* a console that is misled does not fail the test at once */

    struct world_record *records; /* everything that became durable */
    size_t record_count, record_room;
    char **log; /* every line since the start */
    size_t log_count, log_room;
    uint32_t hash_jobs;

    /* the inside */
    struct world_connection *connections;
    uint32_t connection_count;
    struct world_console *consoles;
    size_t console_count, console_room;
    struct raw **raws;
    size_t raw_count, raw_room;
    struct held_record *held_records;
    size_t held_record_count, held_record_room;
    struct held_job *held_jobs;
    size_t held_job_count, held_job_room;
    uint32_t next_ip;
    uint64_t chance, entropy;
};

/* A small server (64 clients, 256 accounts, 32 rooms) with NULL options. */
struct world *world_new(const struct world_options *options);
struct world *world_with(const char *config); /* the same, with these lines */
void world_free(struct world *w);             /* with its consoles and raw clients */

/* Moves everything that can move without time passing. */
void world_settle(struct world *w);
/* Lets this much time pass, deadline by deadline. */
void world_run(struct world *w, uint64_t ms);
void world_pass(struct world *w, int64_t seconds); /* the same, by hours and days */
/* One event, at the current time, and what follows from it in the core
 * (records, verdicts). Returns what nascar_step() returned. */
bool world_step(struct world *w, const struct nascar_event *event);
void world_configure(struct world *w, const char *config); /* as world_new()'s config */
/* Loses every connection and the arena, then starts again from the records. */
void world_restart(struct world *w);
void world_release_records(struct world *w, bool kept);
void world_release_verdicts(struct world *w);
bool world_logged(const struct world *w, const char *part);
size_t world_kept(const struct world *w, const char *kind); /* records of a kind */
uint32_t world_fresh_ip(struct world *w);
uint64_t world_random(struct world *w);
uint32_t world_below(struct world *w, uint32_t limit); /* 0..limit-1 */

/* Fails the running test, with the seed and the time. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3), noreturn))
#endif
void world_fail(const struct world *w, const char *format, ...);

/* ---- What is kept (DESIGN 5) --------------------------------------------- */

/* The journal as compaction leaves it: what is kept now, and nothing else. */
void kept_compact(struct world *w);
/* Every link is lost, and the server starts again, twice: from the journal as
 * it is, and from one that has been compacted. */
void kept_restart(struct world *w);
/* How many durable records of this kind hold this text. */
size_t kept_count(const struct world *w, const char *kind, const char *part);

/* ---- Consoles ----------------------------------------------------------- */

/* A console at its main menu; ip 0: an address of its own. */
struct console *world_console(struct world *w, uint32_t ip);
/* One that has logged in (account and persona of this name) and sits in the hub. */
struct console *world_player(struct world *w, const char *name);
/* The link breaks without a word from the console. */
void world_cut(struct world *w, struct console *c, enum console_link link);
/* Its lobby link reads only so many bytes more, until told otherwise (SIZE_MAX:
 * all) or until it connects again. */
void world_window(struct world *w, struct console *c, size_t bytes);
/* Fails the test unless every console is not misled. */
void world_all_well(struct world *w);

/* ---- Raw clients -------------------------------------------------------- */

/* A frame that came; `payload` has one more NUL behind it. */
struct got {
    char kind[5];
    uint32_t code;
    uint32_t size; /* of the payload */
    uint8_t *payload;
    bool read; /* raw_expect() has given it */
};

struct raw {
    struct world *world;
    uint32_t conn, ip; /* conn: NASCAR_NONE once closed */
    bool keeps_pings;  /* ~png and PING are not echoed, but kept as frames */
    char name[32];     /* raw_login()'s */
    uint8_t key[16];   /* from skey */
    struct console_pad pad;
    bool has_key, hangs_up;
    uint8_t *out; /* bytes the core does not take yet */
    size_t out_bytes, out_room;
    struct got **frames; /* all that came and was not forgotten */
    size_t count, room;
    uint64_t bytes_read;
    bool http;  /* it has come to the page: what it gets is text, and no frames */
    char *text; /* that it has got; the bytes, and a NUL behind them */
    size_t text_bytes;
};

/* Connects; ip 0: an address of its own. A refused connection is there, closed. */
struct raw *raw_open(struct world *w, uint32_t ip);
struct raw *raw_operator(struct world *w);             /* NASCAR_CONTROL */
struct raw *raw_browser(struct world *w, uint32_t ip); /* NASCAR_SERVICE_HTTP */
void raw_close(struct raw *r);                         /* hangs up; r stays valid until world_free() */
bool raw_closed(const struct raw *r);                  /* either side hung up */

/* A frame with code 0: the text and its NUL. Does not wait for an answer. */
void raw_send(struct raw *r, const char *kind, const char *payload);
void raw_send_frame(struct raw *r, const char *kind, uint32_t code, const void *payload, size_t size);
void raw_send_bytes(struct raw *r, const void *bytes, size_t size);

/* The first unread frame of that kind; it is then read. Runs the world until
 * it comes, at most 2 s; fails the test if it does not come. */
const struct got *raw_expect(struct raw *r, const char *kind);
/* raw_send(), then raw_expect() of the same kind. */
const struct got *raw_ask(struct raw *r, const char *kind, const char *payload);
/* The same or NULL, without time passing and without failing. */
const struct got *raw_look(struct raw *r, const char *kind);
/* The first unread frame of any kind, or NULL. */
const struct got *raw_next(struct raw *r);
/* How many unread frames of a kind (NULL: any) there are. */
size_t raw_count(struct raw *r, const char *kind);
void raw_forget(struct raw *r); /* drops all frames: pointers to them die */
/* Reads only so many bytes more, until told otherwise (SIZE_MAX: all). */
void raw_window(struct raw *r, size_t bytes);

/* Tags of a frame, as the console finds them. got_text() keeps its last 16
 * results; "" if the tag is not there. */
bool got_has(const struct got *g, const char *key);
const char *got_text(const struct got *g, const char *key);
const char *got_raw(const struct got *g, const char *key); /* its line, as it stands */
int32_t got_number(const struct got *g, const char *key);
uint32_t got_address(const struct got *g, const char *key);
uint32_t got_flags(const struct got *g, const char *key);
const char *got_code(const struct got *g); /* four letters; "" if it is 0 */
int32_t got_status(const struct got *g);   /* STATUS; -1 if it is not there */
const char *got_payload(const struct got *g);

/* A logged-in lobby connection: addr, skey, auth, pers NAME, both sele. In the
 * hub, every list subscribed, nothing unread. */
struct raw *raw_login(struct world *w, const char *name, const char *password);
struct raw *raw_login_from(struct world *w, uint32_t ip, const char *name, const char *password);
/* Only up to the reply to auth, which is returned; for refusals. */
const struct got *raw_auth(struct raw *r, const char *name, const char *password);

#endif
