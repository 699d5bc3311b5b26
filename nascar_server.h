/* nascar_server: the online service of NASCAR Thunder 2004 (PlayStation 2).
 *
 * This is the interface of the core, a deterministic state machine that makes
 * no system call, reads no clock, draws no randomness and allocates nothing.
 * Compile nascar_server.c with -DNASCAR_NO_SHELL to embed it:
 *
 *   1. give it memory:   nascar_arena_size(), nascar_init()
 *   2. give it entropy and a configuration, as events
 *   3. hand every event to nascar_step()
 *   4. after each step, drain what it left: nascar_next_output() and
 *      nascar_outbox(), nascar_next_record(), nascar_next_hash_job(),
 *      nascar_next_log()
 *   5. call nascar_step() with NASCAR_CLOCK no later than nascar_deadline_ms()
 *
 * SPDX-License-Identifier: MIT */
#ifndef NASCAR_SERVER_H
#define NASCAR_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NASCAR_VERSION "0.1.0"

/* "No connection", "no such thing". */
#define NASCAR_NONE UINT32_MAX

/* ---- Memory ------------------------------------------------------------- */

/* How much the server may hold. A large limit costs address space, not
 * memory: what is not used is not touched. */
struct nascar_limits {
    uint32_t clients;            /* players logged in at once, 1..65536 */
    uint32_t accounts;           /* 1..1048576; four personas each */
    uint32_t rooms;              /* with the hub, 8..4096 */
    uint32_t directory_sessions; /* remembered 30 minutes, 1..65536 */
    uint32_t roster_edges;       /* buddies and ignored players in all, 1..2^26 */
    uint32_t messages;           /* kept for players who are offline, in all, 1..2^20 */
};

/* clang-format off */
#define NASCAR_LIMITS_DEFAULT {1024, 16384, 256, 4096, 409600, 65536}
/* clang-format on */

/* Connections that these limits allow: numbers 0..result-1 may be opened. Two
 * for each client (lobby and buddy), 64 for those who come and go, and the last
 * few, which a caller does well to keep for NASCAR_CONTROL. */
#define NASCAR_CONTROL_CONNECTIONS 4u
uint32_t nascar_connections(const struct nascar_limits *limits);

/* Bytes of arena that these limits need; 0 if a limit is out of its range. */
size_t nascar_arena_size(const struct nascar_limits *limits);

struct nascar;

/* Makes the state in `arena`, which must be all zero, aligned for any type,
 * and at least nascar_arena_size() bytes. The state holds no pointer: copying
 * the arena is a snapshot. Returns it (the same address), or NULL if the arena
 * is too small or a limit is out of its range. */
struct nascar *nascar_init(void *arena, size_t arena_bytes, const struct nascar_limits *limits);

/* ---- Events ------------------------------------------------------------- */

enum nascar_event_type {
    NASCAR_OPENED,        /* conn, peer, local: a connection was accepted */
    NASCAR_CONTROL,       /* conn: the same for an operator's, who may all */
    NASCAR_BYTES,         /* conn, bytes, size: it sent this */
    NASCAR_CLOSED,        /* conn: it is gone, the number is free again */
    NASCAR_DRAINED,       /* conn, size: so much of its outbox was written */
    NASCAR_CLOCK,         /* time passed; deadlines that are due happen now */
    NASCAR_ENTROPY,       /* bytes, size: unpredictable bytes for the pool */
    NASCAR_CONFIG,        /* bytes, size: the whole configuration, as lines */
    NASCAR_RECORD,        /* conn, ticket, bytes, size: a record is durable */
    NASCAR_RECORD_FAILED, /* conn, ticket, bytes, size: it could not be kept */
    NASCAR_VERDICT        /* conn, ticket, accepted, bytes, size: a hash job's
                             answer; bytes are the fresh hash, if one was asked */
};

struct nascar_event {
    enum nascar_event_type type;
    uint32_t conn;        /* which connection, or NASCAR_NONE */
    uint64_t mono_ms;     /* a clock that never jumps, for timeouts; ms */
    int64_t wall_s;       /* seconds since 1970 UTC, for dates */
    const uint8_t *bytes; /* not kept after the call */
    uint32_t size;
    uint32_t peer;   /* OPENED: source address, 192.0.2.1 = 0xC0000201 */
    uint32_t local;  /* OPENED: the address it reached us at */
    uint32_t ticket; /* RECORD*, VERDICT: from the record or job */
    bool accepted;   /* VERDICT: the password was right */
};

/* The only transition. Any event in any state has a defined result: what makes
 * no sense (a number out of range, a stale ticket) changes nothing.
 * Returns false, with nothing changed, only if the entropy pool is too low for
 * a step to start (send NASCAR_ENTROPY, then the event again), or if a verdict
 * or record finds no room behind records and jobs that were never taken. */
bool nascar_step(struct nascar *state, const struct nascar_event *event);

/* Bytes of entropy that the pool takes now; send them when it is over half of
 * NASCAR_ENTROPY_BYTES. */
#define NASCAR_ENTROPY_BYTES 1024u
uint32_t nascar_entropy_wanted(const struct nascar *state);

/* When the next NASCAR_CLOCK is due, on the clock of mono_ms; UINT64_MAX if
 * nothing waits for time. */
uint64_t nascar_deadline_ms(const struct nascar *state);

/* How many bytes of input `conn` takes now. 0 means that it waits (for a
 * verdict, a record, a slow reader, its own rate limit): do not read from it.
 * Bytes over this number close the connection. */
uint32_t nascar_inbox_room(const struct nascar *state, uint32_t conn);

/* ---- What a step leaves ------------------------------------------------- */

/* The next connection that has something to write or is to be closed, each
 * once until its next change; NASCAR_NONE when there is none. Write what
 * nascar_outbox() gives and report it by NASCAR_DRAINED, even if it was empty:
 * the step may fill it again, with rows of lists, so repeat while it is not
 * empty. A report short of the whole outbox marks a slow reader: then go on
 * when it can be written to. If nascar_closing(), close it after its last write
 * and send NASCAR_CLOSED. nascar_outbox() is NULL, with size 0, when it is empty. */
uint32_t nascar_next_output(struct nascar *state);
const uint8_t *nascar_outbox(const struct nascar *state, uint32_t conn, uint32_t *size);
bool nascar_closing(const struct nascar *state, uint32_t conn);

/* A durable change: one frame (PROTOCOL section 1), at most
 * NASCAR_RECORD_BYTES. Keep it, then give the same bytes, conn and ticket back
 * as NASCAR_RECORD, or as NASCAR_RECORD_FAILED if it cannot be kept; at the next
 * start give all that were kept, in that order and with conn NASCAR_NONE, before
 * the first connection. A record that is `lazy` is not worth an effort of its
 * own: keep it with the next one that is, or within a minute.
 * `bytes` is valid until the next step. */
#define NASCAR_RECORD_BYTES 1152u
struct nascar_record {
    uint32_t conn; /* who waits: a connection, or another number of the core's */
    uint32_t ticket;
    uint32_t size;
    bool lazy;
    const uint8_t *bytes;
};
bool nascar_next_record(struct nascar *state, struct nascar_record *record);

/* Does the core make the change of this record although it could not be kept? Then
 * a fresh journal that is being made must hold the record, too: put it behind
 * what that has so far (one that is begun later has it with the state). */
bool nascar_takes_unkept(const uint8_t *bytes, uint32_t size);

/* The durable state as records: what a fresh journal begins with. Start with a
 * zeroed cursor and call until it returns false; steps may be taken in between,
 * if every record that is kept meanwhile goes into that journal, too, between
 * these, in the order of time. `record->bytes` stand in the cursor; a record of
 * size 0 says that what was looked at need not be kept: there may be more. */
struct nascar_cursor {
    uint32_t table, item, part;
    uint8_t bytes[NASCAR_RECORD_BYTES];
};
bool nascar_next_kept(const struct nascar *state, struct nascar_cursor *cursor, struct nascar_record *record);

/* Password work, which is slow. Answer with NASCAR_VERDICT: accepted is true
 * if `stored` is empty or is a hash of `password`; and if it is, and `fresh` is
 * not empty, bytes are the hash of `fresh` with `salt`. Nothing else may keep
 * these strings. */
struct nascar_hash_job {
    uint32_t conn;
    uint32_t ticket;
    char password[32];
    char fresh[32];
    char stored[96];
    uint8_t salt[16];
};
bool nascar_next_hash_job(struct nascar *state, struct nascar_hash_job *job);

enum nascar_log_level { NASCAR_LOG_ERROR, NASCAR_LOG_WARN, NASCAR_LOG_INFO, NASCAR_LOG_DEBUG };

/* One event as key=value text, escaped, without a newline. Lines that found no
 * room are counted in the next one. `text` is valid until the next step. */
struct nascar_log {
    enum nascar_log_level level;
    const char *text;
};
bool nascar_next_log(struct nascar *state, struct nascar_log *log);

/* ---- Configuration ------------------------------------------------------ */

/* Checks one `key = value` of the NASCAR_CONFIG text. Returns true, or false
 * with what was expected in `why` (NUL-terminated, cut to why_bytes). A key
 * that the core does not know is refused as unknown. */
bool nascar_config_check(const char *key, const char *value, char *why, size_t why_bytes);

/* ---- Invariants --------------------------------------------------------- */

/* Verifies everything that must hold between two steps: NULL, or what does
 * not, as text. For tests: it takes time in proportion to the limits in use. */
const char *nascar_check(const struct nascar *state);

#ifdef __cplusplus
}
#endif
#endif
