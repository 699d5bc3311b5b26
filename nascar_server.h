/* nascar_server: the online service of NASCAR Thunder 2004 (PlayStation 2).
 *
 * This is the interface of the core, a deterministic state machine that makes
 * no system call, reads no clock, draws no randomness and allocates nothing.
 * The program around it (below: you) has the sockets, the disk and the clocks,
 * and tells the core what happens, one event at a time. nascar_server.c has such
 * a program in its lower half; compile it with -DNASCAR_NO_SHELL to leave that
 * out, and then:
 *
 *   1. give it memory:     nascar_arena_size(), nascar_init()
 *   2. hand to nascar_step(), in this order, NASCAR_ENTROPY, a NASCAR_RECORD for
 *      each record that was kept before, and NASCAR_CONFIG
 *   3. hand it every event from then on
 *   4. after each step take what it has left: nascar_next_log(),
 *      nascar_next_record(), nascar_next_hash_job(), nascar_wants_reload() if there
 *      is an operator, nascar_next_datagram() if you have handed it a datagram, and
 *      nascar_next_output() with nascar_outbox()
 *   5. hand it NASCAR_CLOCK no later than nascar_deadline_ms(), and NASCAR_ENTROPY
 *      whenever nascar_entropy_wanted() is over half of NASCAR_ENTROPY_BYTES
 *
 * tests/embed.c is a whole program that does this, in 150 lines: two consoles log
 * in and talk. What the consoles send and what they expect is in PROTOCOL.md, why
 * the core is as it is in DESIGN.md, both in contrib/; comments name their
 * sections as "PROTOCOL 3.3".
 *
 * What holds for all of it
 *
 * - Threads. A state is used by one thread at a time. Any number of states may be
 *   used by any number of threads, as there is no global variable. Functions that
 *   take a const state change nothing.
 * - Pointers. None may be NULL unless it is said here that it may: `bytes` of an
 *   event whose size is 0, the arena of nascar_init(), and `why` if why_bytes is 0.
 *   What you pass in is not used after the call. What you get points into the
 *   state (nascar_next_kept(): into your cursor) and is valid until the next step.
 * - Order. Between two steps the functions may be called in any order, and as
 *   often as you like. No event is an error: before there is entropy every other
 *   one is turned down, and what makes no sense changes nothing.
 * - Numbers. A name that ends in _ms is in milliseconds, in _s in seconds, in
 *   _bytes in bytes. Connections are numbered by you, from 0 to
 *   nascar_connections() - 1. IPv4 addresses and ports are numbers of the machine's
 *   own byte order: 192.0.2.1 is 0xC0000201 everywhere.
 * - Faults. A broken invariant ends the program by assert(), also where NDEBUG is
 *   defined. No event leads there.
 * - Compilers. C11 or later; for this header alone C++, too, of any year.
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
    uint32_t accounts;           /* in all, 1..1048576; each has up to four personas */
    uint32_t rooms;              /* the hub included, 8..4096 */
    uint32_t directory_sessions; /* remembered 30 minutes, 1..65536 */
    uint32_t roster_edges;       /* buddies and ignored players in all, 1..2^26 */
    uint32_t messages;           /* kept for players who are offline, in all, 1..2^20 */
    uint32_t races;              /* whose results are not all in, 0..2^20; 0: 16 for each client */
};

/* clang-format off */
#define NASCAR_LIMITS_DEFAULT {1024, 16384, 256, 4096, 409600, 65536, 0}
/* clang-format on */

/* How many connections these limits allow: two for each client (lobby and
 * buddies), 64 for those who come and go, NASCAR_HTTP_CONNECTIONS for those who look at
 * the page, and NASCAR_CONTROL_CONNECTIONS. You do well to keep the last of the numbers
 * for NASCAR_CONTROL, so that the operator gets in when all others are taken. */
#define NASCAR_CONTROL_CONNECTIONS 4u
#define NASCAR_HTTP_CONNECTIONS 64u
uint32_t nascar_connections(const struct nascar_limits *limits);

/* How many bytes of arena these limits need; 0 if a limit is out of its range. */
size_t nascar_arena_size(const struct nascar_limits *limits);

struct nascar;

/* Makes a state in `arena`, which must be all zero, aligned as malloc() aligns,
 * and at least nascar_arena_size() bytes. Returns the state, which is at the
 * arena's own address; or NULL, with nothing touched, if the arena is NULL or too
 * small or a limit is out of its range. To end a state, free its arena.
 *
 * The state holds no pointer: a copy of the arena's bytes, at another address, is
 * a state that goes on from there. It is of use only to the same build. */
struct nascar *nascar_init(void *arena, size_t arena_bytes, const struct nascar_limits *limits);

/* ---- Events ------------------------------------------------------------- */

/* After each type stand the fields that it uses, apart from the two clocks,
 * which all use. Other fields are not looked at. */
enum nascar_event_type {
    NASCAR_OPENED,        /* conn, peer, local, service: a connection was accepted */
    NASCAR_CONTROL,       /* conn, peer: a connection for the operator, who may set any
                             password without a login: see to it that nobody else
                             gets one */
    NASCAR_BYTES,         /* conn, bytes, size: these arrived on it, cut anyhow */
    NASCAR_CLOSED,        /* conn: it is gone; its number is free again */
    NASCAR_DRAINED,       /* conn, size: so many bytes of its outbox were written */
    NASCAR_CLOCK,         /* time has passed: deadlines that are due happen now */
    NASCAR_ENTROPY,       /* bytes, size: unpredictable bytes, as getrandom() has them */
    NASCAR_CONFIG,        /* bytes, size: the whole configuration, see below */
    NASCAR_RECORD,        /* conn, receipt, bytes, size: this record is kept */
    NASCAR_RECORD_FAILED, /* conn, receipt, bytes, size: it could not be kept */
    NASCAR_VERDICT,       /* conn, receipt, accepted, bytes, size: the answer to a hash job */
    NASCAR_ADDRESS = 13,  /* peer: the address of the host that `public-address` names; 11 and
                             12 mean something else in a recording */
    NASCAR_RELOADED = 14, /* accepted, bytes, size: what came of nascar_wants_reload() */
    NASCAR_METRICS = 15,  /* bytes, size: what your program counts of its own, for the operator:
                             8 bytes for each enum nascar_metric, the highest one first;
                             those that are missing stay as they were */
    NASCAR_DATAGRAM = 16  /* service, peer, port, local, bytes, size: this came by UDP */
};

/* What a connection was opened for, or a datagram sent: which of your ports it has reached says so. */
enum nascar_service {
    NASCAR_SERVICE_GAME = 0, /* a console's directory, lobby or buddies: its first frame tells which */
    NASCAR_SERVICE_HTTP = 1, /* a browser, or whoever else asks for the page */
    NASCAR_SERVICE_DNS = 2   /* DATAGRAM: a question for the address of the server, or of another name (dns-name) */
};

/* What the core cannot know. Hand them in before the bytes that an operator's
 * connection sends, or never: then they are 0. The table METRICS in nascar_server.c
 * says what each of them is. Whoever looks at the page is shown some of them, too: hand
 * them in before the bytes of a connection of NASCAR_SERVICE_HTTP as well. */
enum nascar_metric {
    NASCAR_UPTIME_S,
    NASCAR_DESCRIPTORS,
    NASCAR_ACCEPT_PAUSES,
    NASCAR_BYTES_IN,
    NASCAR_BYTES_OUT,
    NASCAR_HELPERS_REPLACED,
    NASCAR_JOURNAL_BYTES,
    NASCAR_JOURNAL_LIVE_BYTES,
    NASCAR_JOURNAL_BATCHES,
    NASCAR_JOURNAL_SYNCS,
    NASCAR_JOURNAL_SYNC_MS,
    NASCAR_JOURNAL_FAILURES,
    NASCAR_COMPACTIONS,
    NASCAR_RELOADS,
    NASCAR_LOG_LINES_LOST,
    NASCAR_LOG_LINES_LEFT_OUT,
    NASCAR_SANDBOX_SECCOMP,
    NASCAR_SANDBOX_LANDLOCK,
    NASCAR_JOURNAL_FAILING,
    NASCAR_HELPER_FAILING,
    NASCAR_METRICS_TOLD /* how many there are */
};

struct nascar_event {
    enum nascar_event_type type;
    uint32_t conn;        /* a connection's number; RECORD*, VERDICT: as the record or job had it */
    uint64_t mono_ms;     /* a clock that nobody sets, for timeouts. Where it begins does not
                             matter; one that goes back is taken to stand still. If the next
                             deadline is over a second past, your program stood still, and all
                             deadlines move on by as much, so that nobody is dropped by it */
    int64_t wall_s;       /* seconds since 1970 UTC, for dates. It may be set at any time, and
                             nothing expires by that: a record is made that moves all dates.
                             Before 2026 and behind 2099 it is not looked at: dates then go on
                             from the newest one in a record, with mono_ms */
    const uint8_t *bytes; /* may be NULL if size is 0 */
    uint32_t size;
    uint32_t peer;               /* OPENED, DATAGRAM: the address that it comes from, be it a proxy's; CONTROL: the
                          number of the user who is there (uid), for the log; ADDRESS */
    uint32_t local;              /* OPENED, DATAGRAM: the address at which it reached us */
    uint32_t receipt;            /* RECORD*, VERDICT: as the record or job had it */
    bool accepted;               /* VERDICT: the password was right; RELOADED: the configuration was taken */
    enum nascar_service service; /* OPENED, DATAGRAM */
    uint32_t port;               /* DATAGRAM: the port that it comes from */
};

/* The only thing that changes a state in a way that others see. An event that
 * makes no sense changes nothing: a number out of range, one that is open already
 * or is not, an old receipt, a record that is none.
 *
 * Returns true if the event was taken. Returns false, with nothing changed, if the
 * pool of entropy is too low for a step to begin: hand it NASCAR_ENTROPY, then the
 * event again. It is also false for a record or verdict while 64 records or 64
 * hash jobs wait to be taken: take them, then hand it the event again. */
bool nascar_step(struct nascar *state, const struct nascar_event *event);

/* How many bytes of entropy the pool takes now; more are ignored. Full, it has
 * NASCAR_ENTROPY_BYTES; a step needs 64 of them to begin. */
#define NASCAR_ENTROPY_BYTES 1024u
uint32_t nascar_entropy_wanted(const struct nascar *state);

/* When the next NASCAR_CLOCK is due, on the clock of mono_ms. It may come earlier,
 * and is due at once if that time is past; but hand in first what has arrived by
 * then. UINT64_MAX if nothing waits for time. */
uint64_t nascar_deadline_ms(const struct nascar *state);

/* How many bytes of input `conn` takes now; more close the connection. While a
 * connection waits (for a verdict, a record, a slow reader, its own rate limit)
 * what it sends is kept, and the number falls, down to 0: then do not read from it.
 * Also 0 if it is closing, or there is no such connection. */
uint32_t nascar_inbox_room(const struct nascar *state, uint32_t conn);

/* ---- What a step leaves: bytes to write --------------------------------- */

/* The next connection that has something to write or is to be closed, each
 * once until its next change; NASCAR_NONE if there is none. For each of them:
 *
 *   - Write what nascar_outbox() gives, or as much of it as the socket takes.
 *   - Hand in NASCAR_DRAINED with the number of bytes that were written, even if
 *     there were none: the step may fill the outbox again, with rows of lists.
 *     Repeat while all that was given was written and there is more.
 *   - A number short of what was given marks a slow reader. Go on when the socket
 *     can be written to.
 *   - If it is closing (nascar_closing()), do the same until its outbox is empty or
 *     the socket takes no more; then close it and hand in NASCAR_CLOSED. */
uint32_t nascar_next_output(struct nascar *state);

/* What `conn` is to write next: *size bytes, one TCP segment (the key
 * segment-bytes, below), and not always the whole outbox. It has whole frames, unless
 * the last one was written in part: then it begins with the rest of that. Write it in
 * one call, and see to it that it leaves as it is: TCP_NODELAY, and MSG_EOR where
 * there is such a flag (PROTOCOL 1). NULL, with *size 0, if there is nothing to write
 * or no such connection. */
const uint8_t *nascar_outbox(const struct nascar *state, uint32_t conn, uint32_t *size);

/* Whether `conn` is to be closed; false if there is no such connection. */
bool nascar_closing(const struct nascar *state, uint32_t conn);

/* ---- What a step leaves: a datagram to send -------------------------------- */

/* The answer to a NASCAR_DATAGRAM. There is one at most, and it is never longer than what
 * was asked by more than 16 bytes. */
struct nascar_datagram {
    enum nascar_service service; /* the port that it is to come from: that which was asked, and ... */
    uint32_t local;              /* ... its address, too, or nobody takes it for the answer */
    uint32_t peer, port;         /* where it is to go */
    uint32_t size;
    const uint8_t *bytes;
};

/* Takes it; false, with *datagram as it was, if there is none. One that is not taken is
 * lost with the next step, as datagrams may be. */
bool nascar_next_datagram(struct nascar *state, struct nascar_datagram *datagram);

/* ---- What a step leaves: records to keep --------------------------------- */

/* One durable change: a frame (PROTOCOL section 1) of at most NASCAR_RECORD_BYTES.
 * Keep it, and when it would survive a power cut hand the same bytes, conn and
 * receipt back as NASCAR_RECORD; as NASCAR_RECORD_FAILED if it cannot be kept. Only
 * then the change happens, and is whoever asked for it told. At the next start hand
 * in all that were kept as NASCAR_RECORD, in their order and with conn NASCAR_NONE,
 * before the first connection. If nothing need outlive the program, hand each one
 * straight back. */
#define NASCAR_RECORD_BYTES 1152u
struct nascar_record {
    uint32_t conn;    /* who waits for it: a connection, another number, or NASCAR_NONE */
    uint32_t receipt; /* which of its records this is */
    uint32_t size;
    bool lazy; /* worth no sync of its own: keep it with the next one that is, or within a minute */
    const uint8_t *bytes;
};

/* Takes the next record; false, with *record as it was, if there is none. */
bool nascar_next_record(struct nascar *state, struct nascar_record *record);

/* Does the core make the change of this record although it could not be kept? It
 * does so where a player would be locked out otherwise. Then a fresh journal that
 * is being made must hold the record, too: put it behind what that has so far. One
 * that is begun later has the change with the state (nascar_next_kept). */
bool nascar_takes_unkept(const uint8_t *bytes, uint32_t size);

/* Where nascar_next_kept() stands, and room for one record. Begin with all zero. */
struct nascar_cursor {
    uint32_t table, item, part;
    uint8_t bytes[NASCAR_RECORD_BYTES];
};

/* Goes through all that is durable, as records: with these a fresh journal begins,
 * which takes the place of a long one. Returns true with the next of them, false
 * at the end. A record of size 0 is none, but means that there may be more: one
 * call looks at a few things only, so that it is short. Steps may be taken between
 * two calls, if each record that you keep meanwhile goes into the fresh journal as
 * well, at that place among these. */
bool nascar_next_kept(const struct nascar *state, struct nascar_cursor *cursor, struct nascar_record *record);

/* ---- What a step leaves: passwords to hash ------------------------------- */

/* Work that is slow on purpose. All three texts end with a NUL, and any of them
 * may be empty. Answer with NASCAR_VERDICT and the same conn and receipt:
 *
 *   accepted   whether `stored` is empty or is a hash of `password`
 *   bytes      if accepted and `fresh` is not empty: the hash of `fresh` with
 *              `salt`, its own parameters in it. Else, or if no hash could be
 *              made, none. If not accepted because it could not be found out:
 *              NASCAR_NO_VERDICT; then the player is told that it failed, and not
 *              that the password was wrong.
 *
 * A hash is 1 to NASCAR_HASH_BYTES - 1 printable characters of ASCII without a
 * space (0x21 to 0x7E), as crypt() makes them, and without a NUL at its end. It is
 * kept as it is, and comes back as `stored`. Any other is refused as if none could
 * be made: nothing is stored, and the player is told that it could not be kept.
 *
 * Passwords are in no other output. Wipe the job when it is done. */
#define NASCAR_HASH_BYTES 96u
#define NASCAR_NO_VERDICT "*"
struct nascar_hash_job {
    uint32_t conn;    /* the connection that waits for the answer */
    uint32_t receipt; /* which of its jobs this is */
    char password[32];
    char fresh[32];
    char stored[NASCAR_HASH_BYTES];
    uint8_t salt[16]; /* unpredictable, and fresh for each job */
};

/* Takes the next job, and wipes it from the state; false, with *job as it was, if
 * there is none. */
bool nascar_next_hash_job(struct nascar *state, struct nascar_hash_job *job);

/* ---- What a step leaves: a wish for the configuration --------------------- */

/* Has the operator asked for the configuration to be read again, since the last call? He
 * waits for NASCAR_RELOADED, and whatever else he sends waits, too. If you have taken
 * another configuration, hand that in before, as NASCAR_CONFIG. The bytes are what he is
 * told: if it was accepted, a line for each key that is another one now, or would be by a
 * restart, of fields key= what= from= to=, with a tab between two; else what is wrong. You
 * may hand it in as well when nobody has asked. */
bool nascar_wants_reload(struct nascar *state);

/* ---- What a step leaves: lines for the log ------------------------------- */

enum nascar_log_level { NASCAR_LOG_ERROR, NASCAR_LOG_WARN, NASCAR_LOG_INFO, NASCAR_LOG_DEBUG };

/* One thing that happened, as `key=value` pairs: printable ASCII, without an end of
 * line, and with a NUL. What players have typed stands in quotes, escaped. */
struct nascar_log {
    enum nascar_log_level level;
    const char *text;
    bool stranger; /* about a connection that nobody has logged in on: of a flood of these,
                      leave some out, so that they do not fill the disk */
};

/* Takes the next line; false, with *log as it was, if there is none. If lines are
 * not taken, those that find no room are lost, and the next one says how many. */
bool nascar_next_log(struct nascar *state, struct nascar_log *log);

/* How much is to be logged: lines of this level, and of those before it. It is what the
 * operator has set since the last NASCAR_CONFIG, or `otherwise` if he has not. */
enum nascar_log_level nascar_log_level(const struct nascar *state, enum nascar_log_level otherwise);

/* ---- Configuration ------------------------------------------------------ */

/* NASCAR_CONFIG has the whole configuration as text, a line `key = value` for each
 * value that is not the default. It may come again at any time: what is not in it
 * has its default then. Lines that cannot be read, or have more than 511 characters
 * in their value, are left out, so check each one before. Texts are ASCII. Until the
 * first one there is no room but the hub. These are the keys; the options of the program in the
 * lower half, such as `data` or `max-clients`, are not among them.
 *
 *   public-address        the IPv4 address that consoles are told to connect to;
 *                         by default `local`, the one that each has reached. It may
 *                         be the name of a host, too: look that up, and hand in
 *                         NASCAR_ADDRESS each time that it has another address
 *   lan                   auto: a neighbour of the server, with a private or loopback
 *                         address in the /24 of `local`, is told `local` all the
 *                         same (the default); off: it is not
 *   lobby-port            the ports that they are told, 0..65535: 11000
 *   buddy-port            10899
 *   accounts              open: a first login makes the account (the default);
 *                         register: only a sign-up; closed: only the operator
 *   skey                  on: passwords in the console's first form (the default);
 *                         off: in its second (PROTOCOL 4)
 *   directory-direct      yes: send DIRECT, for clients other than the console; no
 *   ping-s                seconds between two pings, 1..3600: 30
 *   idle-s                a console silent for so long is dropped, 1..86400: 60
 *   login-s               so long may a lobby connection take to log in, 1..86400: 900
 *   challenge-s           so long is a challenge open, 1..3600: 60
 *   race-start-s          a race starts so long after it was accepted, 1..3600: 10
 *   first-frame-s         a connection says what it wants within this, 1..3600: 10
 *   linger-s              a directory connection closes so long after its answer,
 *                         1..3600: 5
 *   buddy-login-s         so long may a buddy connection take to log in, 1..3600: 30
 *   rate                  requests a second from one connection, on average,
 *                         0..1000000, 0 for no limit: 10
 *   segment-bytes         nascar_outbox() gives no more than this at once, but one
 *                         whole frame at least, 0..65535, 0 for no limit: 1400
 *   per-address           connections from one address, 1..1000000: 256; four more may
 *                         ask the directory, which says why no other is taken
 *   logins-per-address    tries to log in from one address that fail, in ten minutes: 300
 *   accounts-per-address  new accounts from one address in ten minutes: 50
 *   trusted               a network, as 192.168.1.0/24, whose addresses have none of
 *                         these three limits; one line for each, up to 32
 *   proxy-from            a network of proxies: what comes from there begins with a
 *                         header of HAProxy's PROXY protocol, version 1 or 2, which
 *                         names `peer` and `local`; one line for each, up to 32
 *   dns-name              "NAME" or "NAME=ADDRESS": the DNS service has an answer for
 *                         this name, too: that address, or else the server's own; one
 *                         line for each, up to 16
 *   room                  "Name: Description: Limit", a room in place of the three
 *                         default ones; one line for each, up to 32
 *   news-line             a line of the news; one for each, 242 characters in all
 *   down                  consoles are turned away at the directory, and shown this
 *                         text of up to 255 characters
 *   welcome               a line of chat, of up to 255 characters, for everybody who
 *                         enters the lobby
 *   chat-commands         on: a line of chat that begins with / is a word to the server,
 *                         which answers it (the default); off: it is said as any other
 *   announce-results      on: the room of those who have raced is told who has won (the
 *                         default); off: it is not
 */

/* Checks one such line, apart from the others. Returns true if its value can be
 * read; or false, with what was expected in `why` (which ends with a NUL and is cut
 * to why_bytes), or "unknown key" for a key that is not in the list. */
bool nascar_config_check(const char *key, const char *value, char *why, size_t why_bytes);

/* ---- Invariants --------------------------------------------------------- */

/* Verifies everything that must hold between two steps. Returns NULL if it does,
 * else a text that says what does not. It is for tests: it takes time in
 * proportion to all that is in the state. */
const char *nascar_check(const struct nascar *state);

#ifdef __cplusplus
}
#endif
#endif
