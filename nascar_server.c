/* nascar_server: the online service of NASCAR Thunder 2004 (PlayStation 2).
 *
 * One file in two halves. The core, first, is a deterministic state machine: it
 * makes no system call, reads no clock, draws no randomness, allocates nothing,
 * and has no variable outside the arena that its caller gives it. The shell, which
 * is chapter 9, is all that touches the operating system; NASCAR_NO_SHELL leaves it
 * out. contrib/DESIGN.md says why it is made like this.
 *
 * "PROTOCOL n" in a comment is a section of contrib/PROTOCOL.md, which says where
 * each fact about the console comes from; its marks ([spec], [con], [own] ...)
 * stand in comments, too. "DESIGN n" is a section of contrib/DESIGN.md.
 *
 * Each chapter uses what stands above it, but for a few functions, which are
 * declared ahead. So a request is read from the bottom up: begin at nascar_step()
 * in chapter 8, go up to the table of commands at the end of chapter 7, and from a
 * row of it to its handler.
 *
 *   1. Words         limits and times; the tags of the protocol; what can fail
 *   2. Text          bytes, names, tags, dates, frames, passwords, addresses
 *   3. The state     configuration; what is remembered; pools, lists, look-up,
 *                    timers, the log
 *   4. Telling       outboxes; lists that each console follows at its own pace;
 *                    ranks; the rows of those lists
 *   5. People        rooms, who is told about whom, players
 *   6. Kept things   the kinds of durable records, in one table
 *   7. Requests      challenges and races; a handler for each command; their table
 *   8. The machine   from bytes to commands; events; time; nascar_step(); and
 *                    nascar_check(), which says what always holds
 *   9. The shell     system calls, the hashing helper, the journal, recordings,
 *                    options, the loop, the start, and the other subcommands
 *
 * THE LIFE OF A REQUEST. A player types a line of chat, and a `mesg` arrives:
 *
 *   shell_turn() polls; shell_read() takes what has come, and shell_step() hands
 *   it to nascar_step() as NASCAR_BYTES. conn_bytes() puts it into the inbox, and
 *   conn_run() goes on while a whole frame stands there. If there is room for an
 *   answer, request_read() makes a struct request of it and finds the row of its
 *   command; if the sender has tokens for its price, dispatch() sees that it is
 *   allowed now and calls the row's do_mesg(). say_in_room() answers by reply(),
 *   writes one `+msg` by write_msg(), and deliver_line() copies it into the outbox
 *   of each member of the room. If one of them keeps up, but has no room for the
 *   line, the handler returns STALL before it has done anything, and the same frame
 *   is tried again when that one has read. Else the price is paid, and
 *   inbox_drop_frame() takes the frame out of the inbox. When the shell has read
 *   all that is ready it asks nascar_next_output() who has something to read, sends
 *   the outbox, and reports NASCAR_DRAINED; conn_drained() then makes the rows of
 *   lists that this console has not been told yet, by pump().
 *
 * An `auth` waits twice, and what its console has sent behind it waits, too:
 *
 *   do_auth() asks for a comparison by send_hash_job(); conn_wait() stops the
 *   deadlines and gives the wait a number, its receipt. The shell's helper, a
 *   process of its own, takes its time. verdict_came() has the request, which
 *   still stands in the inbox, go on in verdict_auth(). If the name is new,
 *   send_account() fills a struct record, and the request waits again, by
 *   send_record(). The shell's journal_commit() writes and syncs all records of
 *   the turn at once, and gives each back as NASCAR_RECORD. Only now nascar_step()
 *   makes the change, by apply_record(), whose row in durables[] leads to
 *   apply_acct(), and record_came() has the request go on in kept_auth(): it logs
 *   the player in and answers, and request_finish() goes on with the `pers` behind
 *   it. At the next start the journal gives the same record, and apply_acct() makes
 *   the same account.
 *
 * NAMES. What acts on a thing begins with the thing: room_join(), timer_start().
 * Otherwise the verb comes first, and always means the same: find_ looks something
 * up, and returns NONE, NOT_THERE or NULL if it is not there; get_ reads a tag of a
 * request, read_ reads text or bytes; put_ adds a tag to a frame, write_ makes a
 * text, or a frame but for its end, send_ ends and queues it, too; mark_ says that
 * somebody is to be told; apply_ makes the change that a record says. A handler is
 * do_x(), and if it waits it goes on as verdict_x() or kept_x(). In the core s is
 * the state, c a connection, q a request, p a player, r a room, f a frame. Items
 * refer to each other by number, never by pointer, so a copy of the arena is a
 * snapshot.
 *
 * SPDX-License-Identifier: MIT */
#ifndef NASCAR_NO_SHELL
#define _GNU_SOURCE 1 /* accept4, crypt_r */
/* Where time_t and off_t may have 32 bits, as in glibc: dates go on after 2038. */
#define _FILE_OFFSET_BITS 64
#define _TIME_BITS 64
#endif

#include "nascar_server.h"

#undef NDEBUG /* assertions stay on in release builds */
#include <assert.h>
#include <stdarg.h>
#include <string.h>

/* So the Makefile builds the server: of an assertion that does not hold the line is told,
 * and not its text. */
#if defined NASCAR_ASSERT_LINES && !defined NASCAR_NO_SHELL
static _Noreturn void assertion_failed(unsigned line);
#undef assert
#define assert(condition) ((condition) ? (void)0 : assertion_failed(__LINE__))
#endif

/* A comment that begins with "never:" says why no test can reach what stands
 * there. `make coverage` leaves it out. */

/* ==== 1. Words ============================================================ */

/* ---- Limits -------------------------------------------------------------- */

/* PROTOCOL 1 and 2: what the console keeps, in bytes without the NUL. */
#define ACCOUNT_CHARS 16u
#define PASSWORD_CHARS 16u
#define PERSONA_CHARS 12u
#define ROOM_CHARS 31u
#define DESCRIPTION_CHARS 31u
#define CHAT_CHARS 255u
#define TOKEN_CHARS 127u      /* a challenge, and +usr X */
#define POP_CHARS 511u        /* +pop Z */
#define NEWS_REPLY_BYTES 255u /* the whole reply to `news` */
#define DOWN_CHARS 255u       /* and of the welcome */
#define ANSWER_CHARS 60u      /* of a line that answers a word to the server: the console's screen is small, ... */
#define ANSWER_LINES 4u       /* ... and these all have room in it */
#define PERSONAS_PER_ACCOUNT 4u
#define PERSONA_LIST_CHARS (PERSONAS_PER_ACCOUNT * (PERSONA_CHARS + 1u))
#define ROSTER_PER_PERSONA 25u
#define MESSAGES_PER_PERSONA 50u /* PROTOCOL 9 */
#define SEARCH_ROWS 20u
#define LEADERBOARD_CHARS 64u /* S: seven numbers in hex */

/* Limits of our own. */
#define MAIL_CHARS 63u
#define HASH_CHARS (NASCAR_HASH_BYTES - 1)               /* a bcrypt hash has 60 characters */
#define ANY_NAME_CHARS 31u                               /* the longest name that is ever looked up: a room's */
#define NEWS_CHARS (NEWS_REPLY_BYTES - HEADER_BYTES - 1) /* of the news screen, ends of lines included */
#define CONFIG_ROOMS 32u
#define CONFIG_NETWORKS 32u
#define CONFIG_DNS_NAMES 16u
#define HOST_CHARS 253u   /* the longest name of a host, in text (RFC 1035) */
#define PRODUCT_CHARS 63u /* PSET PROD; its STAT is cut to CHAT_CHARS */
#define WATCHES_ASKED 25u /* whom one buddy link may watch by PADD */
#define ROWS_ASKED 100u   /* the most rows of a leaderboard that one request gets */
#define REPORTS_A_DAY 16u /* of an account */
#define REPORT_LINES_A_STEP 32u
#define UNKNOWN_KINDS 10u /* PROTOCOL 6: ten unknown kinds close */
#define NETWORK_CHARS 18u /* 255.255.255.255/32 */
#define REASON_CHARS 127u /* of what the operator does to somebody: with what stands before it, it fits into DOWN */

/* Sizes of tables that no option sets. Whoever compiles this can, by -D. */
#ifndef CHAT_LINES
#define CHAT_LINES 200u /* PROTOCOL 5: lines of recent chat, kept in case that somebody reports abuse */
#endif
#ifndef REPORTS
#define REPORTS 256u
#endif
#ifndef REPORT_LINES
#define REPORT_LINES 8192u /* lines of chat in all reports together */
#endif
#ifndef RESULTS
#define RESULTS 500u /* the latest results that are kept: some weeks of a community's races, in 50 KB */
#endif
#ifndef SANCTIONS
#define SANCTIONS 1024u /* bans and mutes together: more than an operator reads through, and a table of 200 KB */
#endif
#ifndef RACES_PER_CLIENT
#define RACES_PER_CLIENT 16u /* tickets of races that not both have reported: a day of racing */
#endif
#ifndef MESSAGES_PER_ACCOUNT
#define MESSAGES_PER_ACCOUNT 4u /* kept in all, on average */
#endif
#ifndef SESSIONS_PER_CLIENT
#define SESSIONS_PER_CLIENT 4u /* of the directory: a console makes one each time that it connects */
#endif
#define MESSAGES_LEAST 256u /* in a small server, where an average says little */
#define SESSIONS_LEAST 64u
#ifndef ADDRESSES_KEPT
#define ADDRESSES_KEPT 1024u /* remembered for what they did lately, beside those that are connected */
#endif
#ifndef GUESSES_KEPT
#define GUESSES_KEPT 4096u /* pairs of a name and an address from which its password was wrong lately */
#endif
#ifndef CONNECTIONS_SPARE
#define CONNECTIONS_SPARE 64u /* beside two for each client: for those who come and go */
#endif
#ifndef OCCUPANTS_SPARE
#define OCCUPANTS_SPARE 64u /* for those who have left a room while somebody is still to be told */
#endif
#ifndef DNS_ASKERS
#define DNS_ASKERS 256u /* groups of addresses, by a secret: those in one share what DNS_ANSWERS allows */
#endif
#ifndef PING_SLOTS
#define PING_SLOTS 60u /* PROTOCOL 7: pings are spread over the period */
#endif

#define HEADER_BYTES 12u
#define INBOX_BYTES 2048u     /* PROTOCOL 1: one frame of up to 2 KiB */
#define FRAME_OUT_BYTES 2048u /* PROTOCOL 1: under 4 KiB */
#define OUTBOX_BYTES 8188u    /* two pages of memory, its link included */
#define REPLY_BYTES 3072u     /* most that one request writes to its sender's own outbox */
#define CHAT_BYTES 1792u      /* the largest +msg: N, FROM, T and TEXT with every byte escaped */
#define ROW_BYTES 768u        /* the largest generated row: a full +pop */
#define RECORD_BYTES NASCAR_RECORD_BYTES
#define RECORDS 64u /* that a step may leave; and as many hash jobs */
#define LOG_BYTES 16384u

_Static_assert(NEWS_CHARS == 242, "as set_value() says");
_Static_assert(PING_SLOTS >= 2, "a period has two halves");
_Static_assert(OUTBOX_BYTES >= REPLY_BYTES + CHAT_BYTES + ROW_BYTES, "an empty outbox takes chat and rows");
_Static_assert(REPLY_BYTES >= FRAME_OUT_BYTES + 1024, "a reply, and what follows it");
_Static_assert(CHAT_BYTES >= HEADER_BYTES + 6 * CHAT_CHARS + 200, "an escaped byte takes three");
_Static_assert(ROW_BYTES >= HEADER_BYTES + POP_CHARS + 8, "+pop fits a row");
_Static_assert(ROW_BYTES >= HEADER_BYTES + 3 * TOKEN_CHARS + 200, "+usr fits a row");

/* A step starts only with this much entropy in the pool: the most that one
 * frame draws (@dir: four tries for SESS, and MASK), and the key of the look-up
 * tables. */
#define STEP_ENTROPY 64u

#define PING_BATCH_MS 500u     /* pings go out in at most two batches a second */
#define THROTTLE_MS 250u       /* how often a connection that is over its rate is looked at again */
#define SLOW_MS 30000u         /* a reader that is stuck for so long is closed */
#define SESSIONS_PER_PEER 128u /* as many as players who get in from one address, by default */
#define DIRECTORY_SPARE 4u     /* connections over the limit of an address, which may ask the directory why */
#define DIRECTORY_MS 1800000u  /* PROTOCOL 3.1: SESS and MASK are kept 30 minutes */
#define ADDRESS_MS 600000u     /* what an address did is remembered for so long, and its limits are for as long */
#define FREE_GUESSES 5u        /* wrong passwords for one name that are free before an address has to wait with it */
#define FREE_FAILURES 100u     /* ... and for all names, before it has to wait as a whole */
#define SILENT_MS 35000u       /* in which there is a ping and its answer: who was not heard may be dead, ... */
#define UNANSWERED_MS 5000u    /* ... if a ping has not been answered for so long */
#define QUIET_MS 60000u        /* of an address that is refused so often there is a line in the log */
#define REMATCH_MS 30000u      /* PROTOCOL 5: a new challenge ends a race after 30 s */
#define LKEY_S 43200           /* PROTOCOL 9: LKEY lives 12 hours */
#define RACE_S 86400           /* PROTOCOL 5: AUTH lives 24 hours */
#define REPORTS_S 86400        /* a day, of which REPORTS_A_DAY speaks */
#define MESSAGE_S 259200       /* PROTOCOL 9: the SECS that the console sends */
#define MESSAGE_MAX_S 2592000  /* 30 days */
#define STOOD_STILL_MS 1000u   /* a deadline is never seen so late, unless the program stood still */
#define CLOCK_SET_S 60         /* a wall clock that is off by more has been set; by less it drifts, and is followed */
#define DOUBT_MS 3600000u      /* one that stands behind what is kept at the start is believed after so long */
#define SWEEP_S 60             /* a full table is searched for what has expired no more often than this */
#define RACES_PER_PERSONA 32u  /* open ones, so that nobody takes all the places */
#define DNS_ANSWERS 20u        /* that an address gets in ... */
#define DNS_ANSWERS_MS 1000u   /* ... so long, so that nobody is flooded in whose name somebody asks */
#define DNS_TTL_S 60u          /* an address may be remembered for so long: it may change */
#define BURST_MS 6000u         /* a token bucket holds what its rate gives in this time */

#define FIRST_CREATED_ROOM 1001u /* PROTOCOL 3.3 */

/* ---- What is counted ------------------------------------------------------ */

/* Every metric: what the operator is told by `stats`, in this order. It is a COUNTER
 * since the start or a GAUGE of what is now. What ends in _longest_ms is the most since the start;
 * _s are seconds, and _ms milliseconds, of which /metrics makes seconds.
 *   SEEN(name, value, help)  a gauge, of which the state `s` has the value anyhow
 *   KEPT(name, kind, help)   the core counts it, in s->metrics[METRIC_name]
 *   TOLD(name, kind, number, help)  the program around the core does (NASCAR_METRICS). Bytes,
 *                            too, as a recording of a password has fewer than were sent
 * Those of connections_* that are KEPT stand in the order of enum conn_state. */
/* clang-format off */
#define METRICS(SEEN, KEPT, TOLD) \
    TOLD(uptime_s, GAUGE, NASCAR_UPTIME_S, "How many seconds the server has been running.") \
    SEEN(players, s->players.live, "Players who are logged in.") \
    SEEN(connections, s->conn_count, "Connections that are open, of whatever kind.") \
    KEPT(connections_unnamed, GAUGE, "Connections from a proxy, which has not said yet whose they are.") \
    KEPT(connections_new, GAUGE, "Connections that have not said yet which service they want.") \
    KEPT(connections_directory, GAUGE, "Connections to the directory.") \
    KEPT(connections_lobby, GAUGE, "Connections to the lobby without a login.") \
    KEPT(connections_account, GAUGE, "Connections to the lobby with a login, but no persona yet.") \
    KEPT(connections_persona, GAUGE, "Connections to the lobby that play as a persona.") \
    KEPT(connections_buddy_new, GAUGE, "Connections to the buddy service without a login.") \
    KEPT(connections_buddy, GAUGE, "Connections to the buddy service with a login.") \
    KEPT(connections_control, GAUGE, "Connections of the operator.") \
    KEPT(connections_http, GAUGE, "Connections of those who look at the page.") \
    KEPT(connections_closing, GAUGE, "Connections that are closed as soon as the last bytes are written.") \
    KEPT(connections_opened, COUNTER, "Connections that were accepted.") \
    KEPT(connections_refused_down, COUNTER, "Consoles that were told that the service is down.") \
    KEPT(connections_refused_banned, COUNTER, "Consoles that were told that their network is banned.") \
    KEPT(connections_refused_full, COUNTER, "Consoles that were told that the server is full.") \
    KEPT(connections_refused_address, COUNTER, "Connections that were one too many for their address.") \
    TOLD(descriptors, GAUGE, NASCAR_DESCRIPTORS, "File descriptors that are open.") \
    TOLD(accept_pauses, COUNTER, NASCAR_ACCEPT_PAUSES, "Times when accepting had to pause for a second.") \
    TOLD(bytes_in, COUNTER, NASCAR_BYTES_IN, "Bytes that were read from connections.") \
    TOLD(bytes_out, COUNTER, NASCAR_BYTES_OUT, "Bytes that were written to connections.") \
    KEPT(frames_in, COUNTER, "Requests that were handled.") \
    KEPT(frames_out, COUNTER, "Frames that were sent.") \
    KEPT(frames_broken, COUNTER, "Connections that were closed because they sent what is no frame.") \
    KEPT(frames_unknown, COUNTER, "Requests of a kind that the server does not know.") \
    KEPT(requests_throttled, COUNTER, "Times when a request had to wait because its connection sent too many.") \
    KEPT(requests_stalled, COUNTER, "Times when a request had to wait for a slow reader or a full table.") \
    KEPT(slow_readers_closed, COUNTER, "Connections that were closed because they did not read.") \
    KEPT(chat_lines_missed, COUNTER, "Lines of chat that slow readers did not get.") \
    KEPT(http_requests, COUNTER, "Requests for the page and what belongs to it.") \
    KEPT(logins, COUNTER, "Logins to the lobby.") \
    KEPT(logins_buddy, COUNTER, "Logins to the buddy service.") \
    KEPT(logins_refused_miss, COUNTER, "Logins refused as something was missing or not allowed.") \
    KEPT(logins_refused_imst, COUNTER, "Logins refused as there is no such account.") \
    KEPT(logins_refused_pass, COUNTER, "Logins refused because of a wrong password.") \
    KEPT(logins_refused_blak, COUNTER, "Logins refused because of a ban.") \
    KEPT(logins_refused_hack, COUNTER, "Logins refused after too many tries.") \
    KEPT(logins_refused_sess, COUNTER, "Logins refused as their session with the directory is over.") \
    KEPT(logins_refused_user, COUNTER, "Logins to the buddy service refused because of a wrong ticket.") \
    KEPT(logins_refused_dupl, COUNTER, "Sign-ups refused as the name is taken.") \
    KEPT(logins_refused_inam, COUNTER, "Sign-ups refused because of a name or password that cannot be.") \
    KEPT(logins_refused_full, COUNTER, "Logins refused as there is no room for the player or the account.") \
    KEPT(logins_refused_fail, COUNTER, "Logins refused as the disk or the hashing of passwords failed.") \
    SEEN(accounts, s->accounts.live, "Accounts that there are.") \
    KEPT(accounts_made, COUNTER, "Accounts that were made.") \
    SEEN(personas, s->personas.live, "Personas that there are.") \
    SEEN(roster_entries, s->edges.live, "Buddies and ignored players on all rosters.") \
    SEEN(messages, s->messages.live, "Messages that are kept for players who are away.") \
    SEEN(rooms, s->rooms.live, "Rooms, the lobby hub included.") \
    KEPT(chat_lines, COUNTER, "Lines of chat that players have said.") \
    SEEN(challenges_and_races, s->matches.live, "Challenges that are open, and races whose players are not back yet.") \
    KEPT(challenges, COUNTER, "Challenges that were offered.") \
    KEPT(races, COUNTER, "Races that have begun.") \
    SEEN(races_unreported, s->races.live, "Races of the last day of which not both players have reported the result.") \
    KEPT(results, COUNTER, "Reports of a result that were accepted.") \
    SEEN(reports, s->reports.live, "Reports of abuse that are kept.") \
    KEPT(reports_made, COUNTER, "Reports of abuse that were made.") \
    KEPT(dns_queries, COUNTER, "DNS queries that came.") \
    KEPT(dns_answers, COUNTER, "DNS queries that were answered, if by a refusal.") \
    KEPT(dns_dropped, COUNTER, "DNS queries left without an answer, as their address has had 20 in a second.") \
    KEPT(hashes_waiting, GAUGE, "Requests that wait for a password to be hashed.") \
    KEPT(hashes, COUNTER, "Requests that have waited for a password to be hashed.") \
    KEPT(hash_longest_ms, GAUGE, "The longest time that a request has waited for a hash.") \
    TOLD(helpers_replaced, COUNTER, NASCAR_HELPERS_REPLACED, "Hashing processes that died or hung.") \
    KEPT(records_waiting, GAUGE, "Requests that wait for the disk.") \
    KEPT(record_longest_ms, GAUGE, "The longest time that a request has waited for the disk.") \
    TOLD(journal_bytes, GAUGE, NASCAR_JOURNAL_BYTES, "Size of the journal.") \
    TOLD(journal_live_bytes, GAUGE, NASCAR_JOURNAL_LIVE_BYTES, "Size of the journal when it was last compacted.") \
    TOLD(journal_batches, COUNTER, NASCAR_JOURNAL_BATCHES, "Batches of records that were written to the journal.") \
    TOLD(journal_syncs, COUNTER, NASCAR_JOURNAL_SYNCS, "Times when the journal was synced to the disk.") \
    TOLD(journal_sync_longest_ms, GAUGE, NASCAR_JOURNAL_SYNC_MS, "The longest sync of the journal.") \
    TOLD(journal_failures, COUNTER, NASCAR_JOURNAL_FAILURES, "Times when a journal could not be written.") \
    TOLD(compactions, COUNTER, NASCAR_COMPACTIONS, "Times when a fresh journal has taken the place of a long one.") \
    TOLD(reloads, COUNTER, NASCAR_RELOADS, "Times when the configuration was read again.") \
    KEPT(stood_still, COUNTER, "Times when the server stood still for more than a second.") \
    KEPT(stood_still_ms, COUNTER, "How long the server stood still in all.") \
    TOLD(log_lines_lost, COUNTER, NASCAR_LOG_LINES_LOST, "Log lines that were dropped because nobody read the log.") \
    KEPT(log_lines_overflowed, COUNTER, "Log lines that were dropped because too many came at once.") \
    TOLD(log_lines_left_out, COUNTER, NASCAR_LOG_LINES_LEFT_OUT, "Log lines about strangers that a flood left out.") \
    TOLD(sandbox_seccomp, GAUGE, NASCAR_SANDBOX_SECCOMP, "Whether the filter for system calls is on (1), or not (0).") \
    TOLD(sandbox_landlock, GAUGE, NASCAR_SANDBOX_LANDLOCK, "Whether Landlock keeps the server to its files (1), or not (0).") \
    TOLD(journal_failing, GAUGE, NASCAR_JOURNAL_FAILING, "Whether nothing can be kept now (1), or it can (0).") \
    TOLD(helper_failing, GAUGE, NASCAR_HELPER_FAILING, "Whether no password can be checked now (1), or it can (0).")

#define METRIC_OF_STATE(name, value, help) METRIC_##name,
#define METRIC_OF_KIND(name, kind, ...) METRIC_##name,
enum metric { METRICS(METRIC_OF_STATE, METRIC_OF_KIND, METRIC_OF_KIND) METRIC_COUNT };
/* clang-format on */

/* ---- Protocol vocabulary ------------------------------------------------- */

/* Every tag that the server reads or writes; tag_names[tag_X] is "X". */
/* clang-format off */
#define TAGS(X) \
    X(A) X(ADDR) X(AGE) X(ALTS) X(ATTR) X(AUTH) X(BAN) X(BODY) X(BORN) X(BUDDY_PORT) X(BUDDY_URL) X(CHAN) \
    X(CHNG) X(COUNT) X(CREATED) X(D) X(DESC) X(DIRECT) X(DISCTIME0) X(DISCTIME1) X(DISQTIME0) \
    X(DISQTIME1) X(DOWN) X(F) X(FIND) X(FINISPOS0) X(FINISPOS1) X(FLAGS) X(FOR) X(FROM) X(FUSR) X(GROUP) X(H) \
    X(HASH) X(HOST) X(I) X(ID) X(IDENT) X(INDEX) X(INFO) X(L) X(LAPSCOMP0) X(LAPSCOMP1) X(LAPSLED0) \
    X(LAPSLED1) X(LAST) X(LCOUNT) X(LEVEL) X(LIDENT) X(LIST) X(LKEY) X(MAIL) X(MASK) X(MAX) X(MESGS) X(MINAGE) \
    X(MODE) X(MORE) X(N) X(NAME) X(NEWS0) X(NEWS1) X(NEWS2) X(NEWS3) X(OPPO) X(OPTS) X(P) X(P1) X(P2) \
    X(P3) X(P4) X(PASS) X(PERS) X(PERSONAS) X(PORT) X(PRIV) X(PROD) X(R) X(RACETIME) X(RANGE) X(RANK) \
    X(RANKS) X(REASON) X(REF) X(RF) X(RI) X(ROOM) X(ROOMS) X(RT) X(S) X(SECS) X(SEED) X(SELF) X(SEQN) X(SESS) \
    X(SET_NUMAI) X(SET_RACELEN) X(SET_RANKED) X(SET_TRACKID) X(SHOW) X(SINCE) X(SIZE) X(SKEY) X(SLOTS) X(SPAM) X(START) \
    X(STARTPOS0) X(STARTPOS1) X(STAT) X(STATUS) X(T) X(TEXT) X(TIME) X(TITLE) X(TOS) X(TYPE) X(USER) \
    X(USERS) X(WHEN) X(X) X(Z)

enum tag {
#define X(name) tag_##name,
    TAGS(X)
#undef X
    TAG_COUNT
};
/* clang-format on */

/* Here and below a table of short texts has them in itself: a pointer to each takes 32 bytes
 * of a binary that may be loaded anywhere. */
static const char tag_names[TAG_COUNT][12] = {
#define X(name) #name,
    TAGS(X)
#undef X
};
#define X(name) _Static_assert(sizeof #name <= sizeof tag_names[0], "it fits, with its NUL");
TAGS(X)
#undef X

/* PROTOCOL 6: what a request can fail with. The letters go into the header's
 * code word, which the console tests; STATUS is for clients that read the body. */
enum failure {
    OK,
    MISSING, /* tags are missing or malformed, or the state does not allow it */
    NO_ACCOUNT,
    WRONG_PASSWORD,
    BANNED,
    TOO_MANY_TRIES,
    NO_SESSION,
    NO_USER,
    ROOM_FULL,
    NO_ROOM,
    EXPIRED,
    BUSY,
    BAD_TOKEN,
    TAKEN,
    BAD_NAME,
    TOO_MANY_PERSONAS,
    ROSTER_FULL,
    BAD_LKEY,    /* PROTOCOL 9: in AUTH, on a buddy link */
    SERVER_FULL, /* a table of this server has no room */
    NOT_KEPT,    /* the change could not be written to the disk */
    FAILURE_COUNT
};

static const struct {
    char code[5];
    uint8_t status;
    uint8_t metric; /* what counts the logins that fail with it; 0: none does */
} failures[FAILURE_COUNT] = {
    [OK] = {"", 1, 0},
    [MISSING] = {"miss", 0, METRIC_logins_refused_miss},
    [NO_ACCOUNT] = {"imst", 100, METRIC_logins_refused_imst},
    [WRONG_PASSWORD] = {"pass", 100, METRIC_logins_refused_pass},
    [BANNED] = {"blak", 100, METRIC_logins_refused_blak},
    [TOO_MANY_TRIES] = {"hack", 100, METRIC_logins_refused_hack},
    [NO_SESSION] = {"sess", 101, METRIC_logins_refused_sess},
    [NO_USER] = {"user", 102, 0},
    [ROOM_FULL] = {"full", 103, 0},
    [NO_ROOM] = {"nrom", 0, 0},
    [EXPIRED] = {"time", 104, 0},
    [BUSY] = {"ingm", 105, 0},
    [BAD_TOKEN] = {"tokn", 106, 0},
    [TAKEN] = {"dupl", 0, METRIC_logins_refused_dupl},
    [BAD_NAME] = {"inam", 0, METRIC_logins_refused_inam},
    [TOO_MANY_PERSONAS] = {"maxp", 0, 0},
    [ROSTER_FULL] = {"full", 0, 0},
    [BAD_LKEY] = {"user", 101, METRIC_logins_refused_user},
    [SERVER_FULL] = {"full", 0, METRIC_logins_refused_full},
    [NOT_KEPT] = {"fail", 0, METRIC_logins_refused_fail},
};

/* ==== 2. Text ============================================================= */

/* ---- Bytes --------------------------------------------------------------- */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/*@ requires \valid_read(p + (0 .. 3));
    assigns \nothing; */
static uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static void store_le32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

static inline uint64_t load_le64(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

/* Reads the bits as two's complement. A cast does the same on most compilers,
 * but C does not promise it. */
static int32_t to_signed(uint32_t v)
{
    return v <= INT32_MAX ? (int32_t)v : (int32_t)(v - 0x80000000u) + INT32_MIN;
}

/* Clears memory that held a password, in a way that the compiler may not leave out. */
static void wipe(void *memory, size_t size)
{
    volatile uint8_t *p = memory;
    while (size--)
        *p++ = 0;
}

/* Compares in the same time wherever the difference is, so that nobody learns a
 * secret byte by byte. */
static bool equal_secret(const uint8_t *a, const uint8_t *b, size_t size)
{
    uint8_t difference = 0;
    for (size_t i = 0; i < size; i++)
        difference |= (uint8_t)(a[i] ^ b[i]);
    return difference == 0;
}

static inline uint64_t rotate(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

/* SipHash-2-4, under a key that nobody knows: whoever chooses names cannot
 * choose names that collide. */
static uint64_t siphash(const uint64_t key[2], const uint8_t *data, size_t size)
{
    uint64_t a = key[0] ^ 0x736f6d6570736575u, b = key[1] ^ 0x646f72616e646f6du, c = key[0] ^ 0x6c7967656e657261u,
             d = key[1] ^ 0x7465646279746573u;
    uint64_t last = (uint64_t)size << 56;
    size_t whole = size - size % 8;
    for (size_t i = whole; i < size; i++)
        last |= (uint64_t)data[i] << 8 * (i - whole);
    for (size_t i = 0; i <= whole + 8; i += 8) { /* whole words, then what is left, then the end */
        bool ends = i > whole;
        uint64_t m = i < whole ? load_le64(data + i) : ends ? 0 : last;
        d ^= m;
        c ^= ends ? 0xff : 0;
        for (int rounds = ends ? 4 : 2; rounds > 0; rounds--) {
            /* clang-format off */
            a += b; b = rotate(b, 13) ^ a; a = rotate(a, 32);
            c += d; d = rotate(d, 16) ^ c;
            a += d; d = rotate(d, 21) ^ a;
            c += b; b = rotate(b, 17) ^ c; c = rotate(c, 32);
            /* clang-format on */
        }
        a ^= m;
    }
    return a ^ b ^ c ^ d;
}

static uint32_t rotate_right(uint32_t v, unsigned bits)
{
    return v >> bits | v << (32 - bits);
}

/* SHA-256 (FIPS 180-4) of at most 55 bytes, which fit in one block. The journal
 * has hashes of tickets only, so nobody who reads it gets in. */
static void sha256(const uint8_t *message, size_t size, uint8_t out[32])
{
    /* clang-format off */
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    /* clang-format on */
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint32_t v[8], w[64];
    uint8_t block[64] = {0};
    assert(size <= 55);
    memcpy(block, message, size);
    block[size] = 0x80;
    store_be32(block + 60, (uint32_t)size * 8);
    for (int i = 0; i < 16; i++)
        w[i] = load_be32(block + (ptrdiff_t)4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotate_right(a, 7) ^ rotate_right(a, 18) ^ a >> 3) +
               (rotate_right(b, 17) ^ rotate_right(b, 19) ^ b >> 10);
    }
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t t = v[7] + (rotate_right(v[4], 6) ^ rotate_right(v[4], 11) ^ rotate_right(v[4], 25)) +
                     ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t u = (rotate_right(v[0], 2) ^ rotate_right(v[0], 13) ^ rotate_right(v[0], 22)) +
                     ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t;
        v[0] = t + u;
    }
    for (int i = 0; i < 8; i++)
        store_be32(out + (ptrdiff_t)4 * i, h[i] + v[i]);
}

/* ---- Characters and names ------------------------------------------------ */

/* Not from <ctype.h>: these are the same in every locale and take any byte. */
/*@ logic integer lowered(integer c) = 'A' <= c <= 'Z' ? c + 32 : c; */
/*@ assigns \nothing;
    ensures \result == lowered(c); */
static inline uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/*@ assigns \nothing;
    ensures \result <==> '0' <= c <= '9'; */
static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(uint8_t c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

/* The value of a hex digit, or -1. */
/*@ assigns \nothing;
    ensures -1 <= \result <= 15 && (c == 0 ==> \result < 0); */
static int hex_value(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char hex_digits[] = "0123456789abcdef";

/* Writes 2 * size hex digits and a NUL. */
static void write_hex(char *out, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        *out++ = hex_digits[bytes[i] >> 4];
        *out++ = hex_digits[bytes[i] & 15];
    }
    *out = 0;
}

/* Reads as many bytes as 2 * size hex digits; false if there is anything else. */
static bool read_hex(const char *hex, uint8_t *out, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        int high = hex_value((uint8_t)hex[2 * i]), low = high < 0 ? -1 : hex_value((uint8_t)hex[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return hex[2 * size] == 0;
}

/* Compares two names without regard to case: 0 if they are the same, else which
 * one comes first, as strcmp() says it. */
static int compare_names(const char *a, const char *b)
{
    while (*a && lower((uint8_t)*a) == lower((uint8_t)*b))
        a++, b++;
    return lower((uint8_t)*a) - lower((uint8_t)*b);
}

static bool same_name(const char *a, const char *b)
{
    return compare_names(a, b) == 0;
}

/* Copies as much as fits, and always a NUL. */
static void copy_text(char *out, size_t out_bytes, const char *text)
{
    size_t n = strlen(text);
    if (n >= out_bytes)
        n = out_bytes - 1;
    memcpy(out, text, n);
    out[n] = 0;
}

/* PROTOCOL 6: accounts and personas have names of 2..max letters, digits and
 * _-{}[]. The console's roster cuts a name at @ or /, and skips one with a dot. */
static bool valid_name(const char *name, size_t max)
{
    size_t n = 0;
    for (; name[n]; n++) {
        uint8_t c = (uint8_t)name[n];
        if (!is_letter(c) && !is_digit(c) && !strchr("_-{}[]", c))
            return false;
    }
    return n >= 2 && n <= max;
}

/* Room names are printable, as they stand in logs, and neither begin nor end
 * with a space. */
static bool valid_room_name(const char *name)
{
    size_t n = strlen(name);
    if (n < 1 || n > ROOM_CHARS || name[0] == ' ' || name[n - 1] == ' ')
        return false;
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)name[i] < 0x20 || (uint8_t)name[i] > 0x7e)
            return false;
    return true;
}

/* PROTOCOL 4: 4..16 characters of 0x20..0x7F. */
static bool valid_password(const char *password)
{
    size_t n = strlen(password);
    if (n < 4 || n > PASSWORD_CHARS)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)password[i] < 0x20 || (uint8_t)password[i] > 0x7f)
            return false;
    return true;
}

/* PROTOCOL 5: a token has 1..127 bytes of 0x21..0x7E. `size` is its length
 * before any cut. */
static bool valid_token(const char *text, uint32_t size)
{
    if (size < 1 || size > TOKEN_CHARS || strlen(text) != size)
        return false;
    for (uint32_t i = 0; i < size; i++)
        if ((uint8_t)text[i] < 0x21 || (uint8_t)text[i] > 0x7e)
            return false;
    return true;
}

/* ---- Tags: reading (PROTOCOL 2) ------------------------------------------ */

/* A payload is given as bytes and their number, a value in it as its offset.
 * NOT_THERE: the payload has no such tag. */
#define NOT_THERE UINT32_MAX

/*@ predicate payload(uint8_t *bytes, integer size) = size < NOT_THERE && \valid_read(bytes + (0 .. size - 1)); */

/* Does the payload have lines? Else its fields have spaces between them. */
/*@ requires payload(payload, size);
    assigns \nothing;
    ensures \result <==> \exists integer i; 0 <= i < size && payload[i] == '\n'; */
static bool has_lines(const uint8_t *payload, uint32_t size)
{
    /*@ loop invariant i <= size && \forall integer k; 0 <= k < i ==> payload[k] != '\n';
        loop assigns i;
        loop variant size - i; */
    for (uint32_t i = 0; i < size; i++)
        if (payload[i] == '\n')
            return true;
    return false;
}

/* Finds a tag: it looks for a `=` or `:` and matches the key backwards from there,
 * in any case. The key begins the payload or a line; if there are no lines, any
 * byte below 0x21 may stand before it. The first match wins. Returns the offset of
 * the value, past one leading space. */
/*@ predicate tag_at(uint8_t *payload, char *key, integer n, integer end, boolean lines) =
        (payload[end] == '=' || payload[end] == ':') &&
        (end == n || (lines ? payload[end - n - 1] == '\n' : payload[end - n - 1] < 0x21)) &&
        \forall integer k; 0 <= k < n ==> lowered(payload[end - n + k]) == lowered((uint8_t)key[k]); */
/*@ requires payload(payload, size) && valid_read_string(key) && strlen(key) <= UINT32_MAX;
    assigns \nothing;
    ensures \result == NOT_THERE || \result <= size;
    ensures \result == NOT_THERE ==>
            \forall integer i; strlen(key) <= i < size ==> !tag_at(payload, key, strlen(key), i, (boolean)lines);
    ensures \result != NOT_THERE ==> \exists integer end; strlen(key) <= end < size &&
            tag_at(payload, key, strlen(key), end, (boolean)lines) &&
            (\forall integer i; strlen(key) <= i < end ==> !tag_at(payload, key, strlen(key), i, (boolean)lines)) &&
            \result == (end + 1 < size && payload[end + 1] == ' ' ? end + 2 : end + 1); */
static uint32_t find_key(const uint8_t *payload, uint32_t size, const char *key, bool lines)
{
    uint32_t n = (uint32_t)strlen(key);
    /*@ loop invariant n <= i && (i <= size || i == n);
        loop invariant \forall integer end; n <= end < i ==> !tag_at(payload, key, n, end, (boolean)lines);
        loop assigns i;
        loop variant size - i; */
    for (uint32_t i = n; i < size; i++) {
        if (payload[i] != '=' && payload[i] != ':')
            continue;
        uint32_t start = i - n, k = 0;
        if (start > 0 && (lines ? payload[start - 1] != '\n' : payload[start - 1] >= 0x21))
            continue;
        /*@ loop invariant 0 <= k <= n;
            loop invariant \forall integer j; 0 <= j < k ==> lowered(payload[start + j]) == lowered((uint8_t)key[j]);
            loop assigns k;
            loop variant n - k; */
        while (k < n && lower(payload[start + k]) == lower((uint8_t)key[k]))
            k++;
        if (k < n)
            continue;
        /*@ assert tag_at(payload, key, n, i, (boolean)lines); */
        i++;
        return i < size && payload[i] == ' ' ? i + 1 : i;
    }
    return NOT_THERE;
}

/* The tag that the server reads. The console finds a key behind a space in any payload,
 * but then what a player types could be taken for a tag (PROTOCOL 2). */
/*@ requires payload(payload, size) && valid_read_string(key) && strlen(key) <= UINT32_MAX;
    assigns \nothing;
    ensures \result == NOT_THERE || \result <= size; */
static uint32_t find_tag(const uint8_t *payload, uint32_t size, const char *key)
{
    return find_key(payload, size, key, has_lines(payload, size));
}

/* Reads a string. An optional quote opens it and the same one closes it;
 * without a quote it runs to a byte below 0x20. %% is %, and %xx a byte. A NUL
 * ends it, escaped or not. Stores at most out_bytes - 1 bytes and a NUL;
 * returns the length that it has without the cut. */
/*@ requires payload(payload, size) && \valid(out + (0 .. out_bytes - 1));
    requires \separated(payload + (0 .. size - 1), out + (0 .. out_bytes - 1));
    assigns out[0 .. out_bytes - 1];
    ensures \result <= (at < size ? size - at : 0);
    ensures out_bytes > 0 ==> out[\min(\result, out_bytes - 1)] == 0;
    ensures \forall integer i; 0 <= i < \result && i < out_bytes - 1 ==> out[i] != 0; */
static uint32_t read_string(const uint8_t *payload, uint32_t size, uint32_t at, char *out, uint32_t out_bytes)
{
    uint32_t length = 0, stored = 0;
    uint8_t quote = 0;
    if (at < size && (payload[at] == '"' || payload[at] == '\''))
        quote = payload[at++];
    /*@ loop invariant \at(at, Pre) <= at && (at <= size || at == \at(at, Pre));
        loop invariant length <= at - \at(at, Pre);
        loop invariant stored == (out_bytes == 0 ? 0 : \min(length, out_bytes - 1));
        loop invariant \forall integer i; 0 <= i < stored ==> out[i] != 0;
        loop assigns at, length, stored, out[0 .. out_bytes - 1];
        loop variant size - at; */
    while (at < size) {
        uint8_t c = payload[at++];
        if (quote ? c == quote : c < 0x20)
            break;
        if (c == '%' && at < size && payload[at] == '%') {
            at++;
        } else if (c == '%' && at + 1 < size) {
            int high = hex_value(payload[at]), low = hex_value(payload[at + 1]);
            if (high >= 0 && low >= 0) {
                c = (uint8_t)(high * 16 + low);
                at += 2;
            }
        }
        if ((char)c == 0)
            break;
        length++;
        if (stored + 1 < out_bytes)
            out[stored++] = (char)c;
    }
    if (out_bytes > 0)
        out[stored] = 0;
    return length;
}

/* Reads a number: optional sign, decimal digits, wrapping at 32 bits. */
/*@ requires payload(payload, size);
    assigns \nothing;
    ensures at >= size ==> \result == 0; */
static uint32_t read_number(const uint8_t *payload, uint32_t size, uint32_t at)
{
    uint32_t value = 0;
    bool negative = at < size && payload[at] == '-';
    if (at < size && (payload[at] == '-' || payload[at] == '+'))
        at++;
    /*@ loop invariant \at(at, Pre) <= at && (\at(at, Pre) >= size ==> value == 0);
        loop assigns at, value;
        loop variant size - at; */
    for (; at < size && is_digit(payload[at]); at++)
        value = value * 10 + (uint32_t)(payload[at] - '0');
    return negative ? 0 - value : value;
}

/* Reads a dotted quad, which must end there or at a byte below 0x21; false if
 * it is anything else. */
/*@ requires payload(payload, size) && \valid(address);
    requires \separated(payload + (0 .. size - 1), address);
    assigns *address;
    ensures !\result ==> *address == \old(*address); */
static bool read_address(const uint8_t *payload, uint32_t size, uint32_t at, uint32_t *address)
{
    uint32_t value = 0;
    /*@ loop invariant 0 <= part <= 4;
        loop assigns part, at, value;
        loop variant 4 - part; */
    for (int part = 0; part < 4; part++) {
        uint32_t n = 0, digits = 0;
        if (part > 0 && (at >= size || payload[at++] != '.'))
            return false;
        /*@ loop invariant digits <= 3;
            loop assigns at, n, digits;
            loop variant 3 - digits; */
        for (; at < size && digits < 3 && is_digit(payload[at]); digits++)
            n = n * 10 + (uint32_t)(payload[at++] - '0');
        if (digits == 0 || n > 255)
            return false;
        value = value << 8 | n;
    }
    if (at < size && payload[at] >= 0x21)
        return false;
    *address = value;
    return true;
}

#define FLAG_B (1u << 2)
#define FLAG_I (1u << 9)
#define FLAG_P (1u << 16)
#define FLAG_U (1u << 21)
#define FLAG_0 (1u << 27)
#define FLAG_3 (1u << 30)

/* Reads flags: @ is bit 0, A-Z bits 1-26, 0-3 bits 27-30; any other byte ends them. */
/*@ requires payload(payload, size);
    assigns \nothing;
    ensures at >= size ==> \result == 0;
    ensures \result >> 31 == 0; */
static uint32_t read_flags(const uint8_t *payload, uint32_t size, uint32_t at)
{
    uint32_t flags = 0;
    /*@ loop invariant \at(at, Pre) <= at && (\at(at, Pre) >= size ==> flags == 0);
        loop invariant flags >> 31 == 0;
        loop assigns at, flags;
        loop variant size - at; */
    for (; at < size; at++) {
        uint8_t c = payload[at];
        if (c >= '@' && c <= 'Z')
            flags |= 1u << (c - '@');
        else if (c >= '0' && c <= '3')
            flags |= 1u << (c - '0' + 27);
        else
            break;
    }
    return flags;
}

/* Writes the letters of flags, at most 31, and a NUL. */
static void write_flags(char out[32], uint32_t flags)
{
    for (uint32_t bit = 0; bit < 31; bit++)
        if (flags >> bit & 1)
            *out++ = (char)(bit < 27 ? '@' + bit : '0' + (bit - 27));
    *out = 0;
}

/* ---- Dates --------------------------------------------------------------- */

struct date {
    int32_t year, month, day;
};

/* The date of a day that is counted from 1970-01-01, for some thousand years
 * before and after. Years begin in March here, so that the leap day is the last
 * of its year. */
static struct date date_of_day(int64_t days)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day = z - era * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= 365 * year + year / 4 - year / 100;
    int64_t month = (5 * day + 2) / 153;
    struct date d;
    d.day = (int32_t)(day - (153 * month + 2) / 5 + 1);
    d.month = (int32_t)(month < 10 ? month + 3 : month - 9);
    d.year = (int32_t)(year + era * 400 + (d.month <= 2));
    return d;
}

static char *write_digits(char *out, uint32_t value, int width)
{
    for (int i = width - 1; i >= 0; i--, value /= 10)
        out[i] = (char)('0' + value % 10);
    return out + width;
}

/* PROTOCOL 2: the console reads dates from 1970 to 2099. */
#define LATEST_DATE_S 4102444799

/* 2026-01-01: this server is no older, so a clock that says less was never set. A
 * router without a battery begins with 1970. */
#define EARLIEST_DATE_S 1767225600

/* Writes "Y-M-D h:m:s" UTC, 19 characters and a NUL. */
static void write_date(char out[20], int64_t wall_s)
{
    if (wall_s < 0)
        wall_s = 0;
    if (wall_s > LATEST_DATE_S)
        wall_s = LATEST_DATE_S;
    struct date d = date_of_day(wall_s / 86400);
    uint32_t second = (uint32_t)(wall_s % 86400);
    out = write_digits(out, (uint32_t)d.year, 4);
    *out++ = '-';
    out = write_digits(out, (uint32_t)d.month, 2);
    *out++ = '-';
    out = write_digits(out, (uint32_t)d.day, 2);
    *out++ = ' ';
    out = write_digits(out, second / 3600, 2);
    *out++ = ':';
    out = write_digits(out, second / 60 % 60, 2);
    *out++ = ':';
    out = write_digits(out, second % 60, 2);
    *out = 0;
}

/* Whole years from a date of birth (Y-M-D with any separator, or YYYYMMDD)
 * until now; -1 if the text is no such date. */
static int32_t age_at(const char *born, int64_t wall_s)
{
    uint32_t part[3] = {0};
    const char *p = born;
    for (int i = 0; i < 3; i++) {
        int width = i == 0 ? 4 : 2, n = 0;
        for (; n < width && is_digit((uint8_t)*p); n++)
            part[i] = part[i] * 10 + (uint32_t)(*p++ - '0');
        if (n == 0)
            return -1;
        if (*p && !is_digit((uint8_t)*p))
            p++;
    }
    struct date now = date_of_day(wall_s / 86400);
    int32_t age = now.year - (int32_t)part[0];
    if (part[1] * 100 + part[2] > (uint32_t)(now.month * 100 + now.day))
        age--;
    return age >= 0 && age <= 150 ? age : -1;
}

/* ---- Frames: reading (PROTOCOL 1) ---------------------------------------- */

struct frame {
    uint8_t kind[4];
    uint32_t size; /* the whole frame */
};

enum frame_state { FRAME_WHOLE, FRAME_PART, FRAME_BROKEN };

/* Looks at the frame that a stream of bytes begins with. FRAME_BROKEN: its kind
 * is not four printable characters, or its length is below 12 or above our
 * limit. This is said as soon as the bytes that have come show it. */
/*@ requires \valid_read(bytes + (0 .. size - 1)) && \valid(frame);
    requires \separated(bytes + (0 .. size - 1), frame);
    assigns *frame;
    ensures \result == FRAME_WHOLE || \result == FRAME_PART || \result == FRAME_BROKEN;
    ensures \result == FRAME_WHOLE ==> HEADER_BYTES <= frame->size <= INBOX_BYTES && frame->size <= size;
    ensures \result == FRAME_PART ==> size < INBOX_BYTES;
    ensures \result != FRAME_BROKEN ==> \forall integer i; 0 <= i < 4 && i < size ==> 0x21 <= bytes[i] <= 0x7e; */
static enum frame_state read_frame(const uint8_t *bytes, uint32_t size, struct frame *frame)
{
    /*@ loop invariant i <= 4 && i <= size && \forall integer j; 0 <= j < i ==> 0x21 <= bytes[j] <= 0x7e;
        loop assigns i, frame->kind[0 .. 3];
        loop variant 4 - i; */
    for (uint32_t i = 0; i < 4 && i < size; i++) {
        if (bytes[i] < 0x21 || bytes[i] > 0x7e)
            return FRAME_BROKEN;
        frame->kind[i] = bytes[i];
    }
    if (size < HEADER_BYTES)
        return FRAME_PART;
    frame->size = load_be32(bytes + 8);
    if (frame->size < HEADER_BYTES || frame->size > INBOX_BYTES)
        return FRAME_BROKEN;
    return size >= frame->size ? FRAME_WHOLE : FRAME_PART;
}

/* ---- The PROXY protocol: whose connection a proxy hands on ---------------- */

#define PROXY_LINE_BYTES 107u          /* the longest header of version 1, its CR LF included */
#define PROXY_HEADER_BYTES INBOX_BYTES /* the longest of version 2 that is taken */

struct proxy_header {
    uint32_t size;        /* of the header; if it is broken, of that part of it which shows that */
    uint32_t source;      /* the player's address; 0: it names nobody */
    uint32_t destination; /* the address that he has reached; 0: it does not say */
    const char *broken;   /* why it is */
};

/* Takes a decimal number off the text, without a zero in front, and what ends it. */
static bool take_decimal(const char **text, uint32_t most, char end, uint32_t *value)
{
    const char *p = *text;
    *value = 0;
    while (is_digit((uint8_t)*p) && p < *text + 5)
        *value = *value * 10 + (uint32_t)(*p++ - '0');
    bool good = p > *text && (**text != '0' || p == *text + 1) && *value <= most && *p == end;
    *text = p + (*p != 0);
    return good;
}

static bool take_ipv4(const char **text, char end, uint32_t *address)
{
    uint32_t part;
    *address = 0;
    for (int i = 0; i < 4; i++) {
        if (!take_decimal(text, 255, (char)(i < 3 ? '.' : end), &part))
            return false;
        *address = *address << 8 | part;
    }
    return true;
}

/* The same for an IPv6 address: groups of hex digits, in place of some of which
 * stands `::`, and at its end there may be an IPv4 address. */
static bool take_ipv6(const char **text, char end, uint8_t address[16])
{
    uint32_t n = 0, gap = NASCAR_NONE, ipv4;
    const char *p = *text;
    memset(address, 0, 16);
    if (p[0] == ':' && p[1] == ':') {
        gap = 0;
        p += 2;
    }
    for (const char *group = p; n < 16 && *p != end; group = p) {
        uint32_t value = 0;
        while (p < group + 4 && hex_value((uint8_t)*p) >= 0)
            value = value << 4 | (uint32_t)hex_value((uint8_t)*p++);
        if (*p == '.' && n <= 12 && take_ipv4(&group, end, &ipv4)) {
            store_be32(address + n, ipv4);
            n += 4;
            p = group - (end != 0);
            break;
        }
        if (p == group || (*p != ':' && *p != end) || (p[0] == ':' && p[1] == end))
            return false;
        address[n++] = (uint8_t)(value >> 8);
        address[n++] = (uint8_t)value;
        p += *p == ':';
        if (*p == ':' && gap == NASCAR_NONE && p[-1] == ':') {
            gap = n;
            p++;
        }
    }
    *text = p + 1;
    if (*p != end || (gap == NASCAR_NONE ? n != 16 : n > 14))
        return false;
    if (gap != NASCAR_NONE) {
        memmove(address + 16 - (n - gap), address + gap, n - gap);
        memset(address + gap, 0, 16 - n);
    }
    return true;
}

/* The IPv4 address that this one of IPv6 stands for (::ffff:192.0.2.1); 0 if it is another. */
static uint32_t mapped_ipv4(const uint8_t address[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
    return memcmp(address, mapped, sizeof mapped) == 0 ? load_be32(address + 12) : 0;
}

static enum frame_state proxy_broken(struct proxy_header *h, uint32_t size, const char *why)
{
    h->size = size;
    h->source = h->destination = 0;
    h->broken = why;
    return FRAME_BROKEN;
}

#define NO_PROXY_HEADER "there is no PROXY header in front"
#define NO_IPV4 "it names an IPv6 address, and this server has IPv4 only"
#define NO_ADDRESS "it names the address 0.0.0.0, which is nobody's"

/* Reads what stands between `PROXY ` and the end of the line, a text. */
static enum frame_state read_proxy_text(const char *text, struct proxy_header *h)
{
    uint8_t ipv6[2][16];
    uint32_t port[2];
    bool six = strncmp(text, "TCP6 ", 5) == 0, good = six || strncmp(text, "TCP4 ", 5) == 0;
    if (strncmp(text, "UNKNOWN", 7) == 0 && (text[7] == 0 || text[7] == ' '))
        return FRAME_WHOLE;
    text += good ? 5 : 0;
    if (six)
        good = take_ipv6(&text, ' ', ipv6[0]) && take_ipv6(&text, ' ', ipv6[1]);
    else
        good = good && take_ipv4(&text, ' ', &h->source) && take_ipv4(&text, ' ', &h->destination);
    if (!good || !take_decimal(&text, 65535, ' ', &port[0]) || !take_decimal(&text, 65535, 0, &port[1]))
        return proxy_broken(h, h->size, "its line is malformed");
    if (six) {
        h->source = mapped_ipv4(ipv6[0]);
        h->destination = mapped_ipv4(ipv6[1]);
    }
    return h->source ? FRAME_WHOLE : proxy_broken(h, h->size, six ? NO_IPV4 : NO_ADDRESS);
}

static enum frame_state read_proxy_line(const uint8_t *bytes, uint32_t size, struct proxy_header *h)
{
    static const char start[] = "PROXY ";
    char text[PROXY_LINE_BYTES];
    uint32_t n = 0, chars = 0;
    for (; n < size && n < sizeof start - 1; n++)
        if (bytes[n] != (uint8_t)start[n])
            return proxy_broken(h, n + 1, NO_PROXY_HEADER);
    while (n < size && n < PROXY_LINE_BYTES - 1 && bytes[n] != '\r' && bytes[n] != '\n' && bytes[n] != 0)
        text[chars++] = (char)bytes[n++];
    text[chars] = 0;
    if (n == PROXY_LINE_BYTES - 1)
        return proxy_broken(h, n, "its line has no end within 107 bytes");
    if (n < size && bytes[n] != '\r')
        return proxy_broken(h, n + 1, "its line does not end with CR LF");
    if (size < n + 2)
        return FRAME_PART;
    if (bytes[n + 1] != '\n')
        return proxy_broken(h, n + 2, "its line does not end with CR LF");
    h->size = n + 2;
    return read_proxy_text(text, h);
}

static const uint8_t proxy_signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

/* Version 2. What it says behind the addresses is passed over. A family that we do not
 * have, or none, names nobody, and so does `local`, by which the proxy asks for itself. */
static enum frame_state read_proxy_block(const uint8_t *bytes, uint32_t size, struct proxy_header *h)
{
    for (uint32_t i = 0; i < size && i < sizeof proxy_signature; i++)
        if (bytes[i] != proxy_signature[i])
            return proxy_broken(h, i + 1, NO_PROXY_HEADER);
    if (size > 12 && (bytes[12] & 0xfe) != 0x20)
        return proxy_broken(h, 13, "its version is not 2, or its command is unknown");
    bool local = size > 12 && bytes[12] == 0x20;
    if (size > 13 && !local && (bytes[13] >> 4 > 3 || (bytes[13] & 15) > 2))
        return proxy_broken(h, 14, "its family of addresses is unknown");
    if (size < 16)
        return FRAME_PART;
    bool four = !local && bytes[13] == 0x11, six = !local && bytes[13] == 0x21;
    uint32_t length = (uint32_t)bytes[14] << 8 | bytes[15];
    if (length > PROXY_HEADER_BYTES - 16)
        return proxy_broken(h, 16, "it is longer than 2048 bytes");
    if (length < (four ? 12 : six ? 36 : 0))
        return proxy_broken(h, 16, "it is too short for its addresses");
    if (size < 16 + length)
        return FRAME_PART;
    h->size = 16 + length;
    if (!four && !six)
        return FRAME_WHOLE;
    h->source = four ? load_be32(bytes + 16) : mapped_ipv4(bytes + 16);
    h->destination = four ? load_be32(bytes + 20) : mapped_ipv4(bytes + 32);
    return h->source ? FRAME_WHOLE : proxy_broken(h, h->size, six ? NO_IPV4 : NO_ADDRESS);
}

_Static_assert(PROXY_HEADER_BYTES == 2048, "as it says");

/* Looks at the header of HAProxy's PROXY protocol that a stream of bytes begins with,
 * of version 1 or 2. The same is said however the bytes are cut, as soon as those
 * that have come show it. */
static enum frame_state read_proxy_header(const uint8_t *bytes, uint32_t size, struct proxy_header *h)
{
    memset(h, 0, sizeof *h);
    if (size == 0)
        return FRAME_PART;
    return bytes[0] == proxy_signature[0] ? read_proxy_block(bytes, size, h) : read_proxy_line(bytes, size, h);
}

/* ---- DNS: reading a question, writing its answer (RFC 1035, 6891) ---------- */

#define GAME_HOST "ps2nascar04.ea.com" /* what the disc looks for */
#define DNS_HEAD 12u
#define DNS_NAME_BYTES 255u /* the longest name, with the length in front of each label and the empty one at its end */
#define DNS_RECORD_BYTES 16u
#define DNS_OPT_BYTES 11u
#define DNS_ANSWER_BYTES (DNS_HEAD + DNS_NAME_BYTES + 4u + DNS_RECORD_BYTES + DNS_OPT_BYTES)
#define DNS_TAKES 1232u /* bytes in a datagram, as the answer to EDNS says */

enum dns_code {
    DNS_FOUND = 0,
    DNS_MALFORMED = 1,
    DNS_UNKNOWN_OPCODE = 4,
    DNS_REFUSED = 5,
    DNS_UNKNOWN_VERSION = 16, /* of EDNS */
    DNS_SILENCE               /* it is not to be answered */
};

#define DNS_A 1u
#define DNS_OPT 41u
#define DNS_ANY 255u
#define DNS_INTERNET 1u

struct dns_query {
    uint32_t end;   /* of its question; DNS_HEAD if there is none that can be read */
    uint32_t asks;  /* its type << 16 | its class */
    bool edns;      /* it has an OPT record, so the answer has one */
    uint8_t dnssec; /* the flag DO of that, which comes back */
};

/* Where the name ends that stands there; 0 if it is none. A question needs no pointers, by
 * which names are shortened in answers: nobody sends them, but to confuse. */
/*@ requires \valid_read(bytes + (0 .. size - 1)) && 0 < at <= size <= 0xffff;
    assigns \nothing;
    ensures \result == 0 || (at < \result <= size && \result - at <= DNS_NAME_BYTES); */
static uint32_t dns_name_end(const uint8_t *bytes, uint32_t size, uint32_t at)
{
    uint32_t end = at;
    /*@ loop invariant at <= end <= at + DNS_NAME_BYTES + 63;
        loop assigns end;
        loop variant at + DNS_NAME_BYTES - end; */
    while (end < size && bytes[end] > 0 && bytes[end] <= 63 && end - at < DNS_NAME_BYTES)
        end += 1u + bytes[end];
    return end < size && bytes[end] == 0 && end - at < DNS_NAME_BYTES ? end + 1 : 0;
}

/* Passes over the record that stands there: where it ends; 0 if it is none. */
/*@ requires \valid_read(bytes + (0 .. size - 1)) && 0 < at <= size <= 0xffff && \valid(fields);
    requires \separated(bytes + (0 .. size - 1), fields);
    assigns *fields;
    ensures \result == 0 || (at < *fields && *fields + 10 <= \result <= size); */
static uint32_t dns_record_end(const uint8_t *bytes, uint32_t size, uint32_t at, uint32_t *fields)
{
    *fields = dns_name_end(bytes, size, at);
    if (*fields == 0 || size - *fields < 10)
        return 0;
    uint32_t length = load_be32(bytes + *fields + 6) & 0xffff;
    return length <= size - *fields - 10 ? *fields + 10 + length : 0;
}

/* Reads what a datagram asks, and says how it is to be answered if there is an answer to
 * that. What is too short for an answer, or is one itself, gets none. */
/*@ requires \valid_read(bytes + (0 .. size - 1)) && \valid(q);
    requires \separated(bytes + (0 .. size - 1), q);
    assigns *q;
    ensures DNS_HEAD <= q->end <= DNS_HEAD + DNS_NAME_BYTES + 4;
    ensures \result != DNS_SILENCE ==> q->end <= size;
    ensures q->edns ==> q->end + DNS_OPT_BYTES <= size;
    ensures \result == DNS_FOUND ==> DNS_HEAD < q->end; */
static enum dns_code read_dns_query(const uint8_t *bytes, uint32_t size, struct dns_query *q)
{
    uint32_t end, next, more, fields, opt = 0;
    q->end = DNS_HEAD;
    q->asks = 0;
    q->edns = false;
    q->dnssec = 0;
    if (size < DNS_HEAD || size > UINT16_MAX || bytes[2] & 0x80)
        return DNS_SILENCE;
    if (bytes[2] & 0x78)
        return DNS_UNKNOWN_OPCODE;
    end = dns_name_end(bytes, size, DNS_HEAD);
    more = load_be32(bytes + 8); /* authorities << 16 | others: with one of the first it is more than there can be */
    if (load_be32(bytes + 4) != 0x00010000 || end == 0 || size - end < 4)
        return DNS_MALFORMED; /* one question, and no answers */
    end = next = end + 4;
    /*@ loop invariant DNS_HEAD + 5 <= end <= next <= size;
        loop invariant opt != 0 ==> end < opt && opt + 10 <= next;
        loop assigns next, fields, opt, more;
        loop variant more; */
    for (; more > 0; more--) {
        uint32_t at = next;
        next = dns_record_end(bytes, size, at, &fields);
        bool is_opt = next != 0 && load_be32(bytes + fields) >> 16 == DNS_OPT;
        if (next == 0 || (is_opt && (opt != 0 || fields != at + 1))) /* there is one at most, and its name is empty */
            return DNS_MALFORMED;
        opt = is_opt ? fields : opt;
    }
    if (next != size)
        return DNS_MALFORMED;
    q->end = end;
    q->asks = load_be32(bytes + end - 4);
    q->edns = opt != 0;
    q->dnssec = q->edns ? bytes[opt + 6] & 0x80 : 0;
    return q->edns && bytes[opt + 5] != 0 ? DNS_UNKNOWN_VERSION : DNS_FOUND;
}

/* Writes the answer, with this address if it is not 0, and returns its size. The question
 * comes back byte by byte, as whoever asks may have mixed upper and lower case in order to
 * know the answer again. Without an address there is nothing behind it: RFC 2308 would have
 * a SOA record there, which takes more than DNS_RECORD_BYTES. */
static uint32_t write_dns_answer(uint8_t out[DNS_ANSWER_BYTES], const uint8_t *bytes, const struct dns_query *q,
                                 enum dns_code code, uint32_t address)
{
    uint32_t n = q->end;
    memcpy(out, bytes, n);
    memset(out + 3, 0, DNS_HEAD - 3);
    out[2] = (uint8_t)(0x80 | (bytes[2] & 0x79) | (code == DNS_FOUND ? 0x04 : 0)); /* QR, opcode and RD, AA */
    out[3] = (uint8_t)(code & 15);
    out[5] = n > DNS_HEAD;
    out[7] = address != 0;
    out[11] = q->edns;
    if (address) {
        store_be32(out + n, 0xc0000000u | DNS_HEAD << 16 | DNS_A); /* the name: a pointer to the question's */
        store_be32(out + n + 4, DNS_INTERNET << 16);
        store_be32(out + n + 8, DNS_TTL_S << 16 | 4);
        store_be32(out + n + 12, address);
        n += DNS_RECORD_BYTES;
    }
    if (q->edns) {
        memset(out + n, 0, DNS_OPT_BYTES);
        store_be32(out + n + 1, DNS_OPT << 16 | DNS_TAKES);
        out[n + 5] = (uint8_t)(code >> 4);
        out[n + 7] = q->dnssec;
        n += DNS_OPT_BYTES;
    }
    return n;
}

/* Writes a question's name as text. What no host has in its name, and a dot in a label, is
 * a question mark, so that it is the same as no other name, and can be logged. */
static void write_dns_name(char out[DNS_NAME_BYTES], const uint8_t *name)
{
    while (*name > 0) {
        for (uint32_t n = *name++; n > 0; n--, name++)
            *out++ = (char)(*name > ' ' && *name < 0x7f && *name != '.' ? *name : '?');
        if (*name > 0)
            *out++ = '.';
    }
    *out = 0;
}

/* ---- Frames: their text ---------------------------------------------------- */

/* The size of a payload's text, which ends at the first NUL or where the frame ends. */
/*@ requires payload(payload, size);
    assigns \nothing;
    ensures \result <= size && (\result < size ==> payload[\result] == 0);
    ensures \forall integer i; 0 <= i < \result ==> payload[i] != 0; */
static uint32_t payload_size(const uint8_t *payload, uint32_t size)
{
    uint32_t n = 0;
    /*@ loop invariant n <= size && \forall integer i; 0 <= i < n ==> payload[i] != 0;
        loop assigns n;
        loop variant size - n; */
    while (n < size && payload[n] != 0)
        n++;
    return n;
}

/* ---- Frames: writing (PROTOCOL 1, 2) ------------------------------------- */

struct outgoing {
    uint32_t size;
    uint8_t bytes[FRAME_OUT_BYTES];
};

/* Starts a frame; code is 0 or four letters. */
static void frame_begin(struct outgoing *f, const char *kind, const char *code)
{
    memset(f->bytes, 0, HEADER_BYTES);
    memcpy(f->bytes, kind, 4);
    if (code[0])
        memcpy(f->bytes + 4, code, 4);
    f->size = HEADER_BYTES;
}

/* There is room: every text that goes into a frame has a limit, and the frame
 * is made for these. */
static void put_byte(struct outgoing *f, uint8_t c)
{
    assert(f->size < FRAME_OUT_BYTES);
    f->bytes[f->size++] = c;
}

static void put_chars(struct outgoing *f, const char *text)
{
    while (*text)
        put_byte(f, (uint8_t)*text++);
}

static void put_key_text(struct outgoing *f, const char *name)
{
    put_chars(f, name);
    put_byte(f, '=');
}

static void put_key(struct outgoing *f, enum tag tag)
{
    put_key_text(f, tag_names[tag]);
}

/* Writes a value whose reader undoes no escapes: digits, letters, dates, hex. */
static void put_raw(struct outgoing *f, enum tag tag, const char *value)
{
    put_key(f, tag);
    put_chars(f, value);
    put_byte(f, '\n');
}

static bool needs_escape(uint8_t c, bool first)
{
    return c < 0x20 || c > 0x7e || c == '=' || c == '"' || c == ':' || c == '%' || (first && c == '\'');
}

/* Writes a text that came from a person. It is escaped, so that it can never
 * pass for a tag, and quoted if it contains a space. */
static void put_quoted(struct outgoing *f, const char *text)
{
    bool quoted = strchr(text, ' ') != NULL;
    if (quoted)
        put_byte(f, '"');
    for (const char *p = text; *p; p++) {
        uint8_t c = (uint8_t)*p;
        if (needs_escape(c, p == text)) {
            put_byte(f, '%');
            put_byte(f, (uint8_t)hex_digits[c >> 4]);
            put_byte(f, (uint8_t)hex_digits[c & 15]);
        } else {
            put_byte(f, c);
        }
    }
    if (quoted)
        put_byte(f, '"');
    put_byte(f, '\n');
}

static void put_text(struct outgoing *f, enum tag tag, const char *text)
{
    put_key(f, tag);
    put_quoted(f, text);
}

/* Writes a number in decimal and a NUL: at most 20 digits, a sign and the NUL. */
static void write_number(char out[24], int64_t value)
{
    char digits[24];
    int n = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        digits[n++] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *out++ = '-';
    while (n > 0)
        *out++ = digits[--n];
    *out = 0;
}

static void put_number(struct outgoing *f, enum tag tag, int64_t value)
{
    char text[24];
    write_number(text, value);
    put_raw(f, tag, text);
}

/* Writes a dotted quad and a NUL. */
static void write_address(char out[16], uint32_t address)
{
    char part[24];
    for (int shift = 24; shift >= 0; shift -= 8) {
        write_number(part, address >> shift & 255);
        size_t n = strlen(part);
        memcpy(out, part, n);
        out += n;
        *out++ = '.';
    }
    out[-1] = 0;
}

/* Writes a network, as 192.0.2.0/24, and a NUL. */
static void write_network(char out[NETWORK_CHARS + 1], uint32_t address, uint32_t bits)
{
    char text[24];
    write_address(out, address);
    size_t n = strlen(out);
    write_number(text, bits);
    out[n++] = '/';
    copy_text(out + n, NETWORK_CHARS + 1 - n, text);
}

static void put_address(struct outgoing *f, enum tag tag, uint32_t address)
{
    char text[16];
    write_address(text, address);
    put_raw(f, tag, text);
}

static void put_date(struct outgoing *f, enum tag tag, int64_t wall_s)
{
    char text[20];
    write_date(text, wall_s);
    put_raw(f, tag, text);
}

/* Ends a frame: writes the NUL behind its tags, and its length. */
static void frame_end(struct outgoing *f)
{
    if (f->size > HEADER_BYTES)
        put_byte(f, 0);
    store_be32(f->bytes + 8, f->size);
}

/* ---- Passwords on the wire (PROTOCOL 4) ---------------------------------- */

struct ssc2 {
    uint32_t table[256]; /* reflected CRC-32 */
    uint8_t box[256];
    uint8_t current;
    uint32_t reg;
};

/*@ requires \valid(x);
    assigns *x; */
static void ssc2_init(struct ssc2 *x)
{
    /*@ loop invariant i <= 256;
        loop assigns i, x->table[0 .. 255], x->box[0 .. 255];
        loop variant 256 - i; */
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t r = i;
        /*@ loop invariant 0 <= bit <= 8;
            loop assigns bit, r;
            loop variant 8 - bit; */
        for (int bit = 0; bit < 8; bit++)
            r = r >> 1 ^ (r & 1 ? 0xedb88320u : 0);
        x->table[i] = r;
        x->box[i] = (uint8_t)i;
    }
    x->current = 0;
    x->reg = 0;
}

/*@ requires \valid_read(x);
    assigns \nothing; */
static uint32_t ssc2_push(const struct ssc2 *x, uint32_t r, uint8_t byte)
{
    return r >> 8 ^ x->table[(uint8_t)(r ^ byte)];
}

/*@ requires \valid(x);
    assigns x->box[a], x->box[b];
    ensures x->box[a] == \old(x->box[b]) && x->box[b] == \old(x->box[a]); */
static void ssc2_swap(struct ssc2 *x, uint8_t a, uint8_t b)
{
    uint8_t t = x->box[a];
    x->box[a] = x->box[b];
    x->box[b] = t;
}

/*@ requires \valid(x) && \valid_read(key + (0 .. size - 1)) && \separated(x, key + (0 .. size - 1));
    assigns x->box[0 .. 255]; */
static void ssc2_absorb(struct ssc2 *x, const uint8_t *key, uint32_t size, uint32_t rounds)
{
    uint32_t r = 0;
    /*@ loop assigns t, r, x->box[0 .. 255];
        loop variant (uint32_t)(rounds * 256) - t; */
    for (uint32_t t = 0; size > 0 && t < rounds * 256; t++) {
        uint8_t h = (uint8_t)t;
        r = ssc2_push(x, r, key[t % size]);
        r = ssc2_push(x, r, x->box[h]);
        ssc2_swap(x, h, (uint8_t)r);
    }
}

/*@ requires \valid(x);
    assigns x->reg, x->current, x->box[0 .. 255]; */
static uint8_t ssc2_next(struct ssc2 *x)
{
    x->reg = ssc2_push(x, x->reg, x->box[x->current]);
    x->current++;
    uint8_t w = (uint8_t)x->reg;
    uint8_t difference = (uint8_t)(x->box[x->current] - x->box[w]);
    ssc2_swap(x, x->current, w);
    return x->box[difference];
}

#define SSC2_CHARS 30u

/* Undoes the first form of a password, SSC2; text is what follows the one
 * leading `~`. Returns the password's length, or NOT_THERE for a byte outside
 * 0x20..0x7F. */
/*@ requires \valid_read(key + (0 .. key_size - 1)) && valid_read_string(text) && \valid(out + (0 .. SSC2_CHARS));
    requires \separated(text + (0 .. strlen(text)), out + (0 .. SSC2_CHARS));
    assigns out[0 .. SSC2_CHARS];
    ensures \result == NOT_THERE || (\result <= SSC2_CHARS && out[\result] == 0);
    ensures \result != NOT_THERE ==> \forall integer i; 0 <= i < \result ==> 0x20 <= out[i] <= 0x7e; */
static uint32_t ssc2_decode(const uint8_t *key, uint32_t key_size, const char *text, char out[SSC2_CHARS + 1])
{
    struct ssc2 x;
    uint8_t run = 0;
    uint32_t n = 0;
    ssc2_init(&x);
    ssc2_absorb(&x, key, key_size, 16);
    /*@ loop invariant n <= SSC2_CHARS && n <= \at(strlen(text), Pre);
        loop invariant \forall integer i; 0 <= i <= \at(strlen(text), Pre) ==> text[i] == \at(text[i], Pre);
        loop invariant \forall integer i; 0 <= i < n ==> 0x20 <= out[i] <= 0x7e;
        loop assigns n, run, x.reg, x.current, x.box[0 .. 255], out[0 .. SSC2_CHARS - 1];
        loop variant SSC2_CHARS - n; */
    for (; n < SSC2_CHARS && text[n]; n++) {
        uint8_t c = (uint8_t)text[n];
        if (c < 0x20 || c > 0x7f)
            return NOT_THERE;
        run ^= ssc2_next(&x); /* PROTOCOL 4: run accumulates */
        uint8_t p = (uint8_t)(0x20 + (c - 0x20 + 96 - run % 96) % 96);
        if (p == 0x7f)
            break;
        out[n] = (char)p;
    }
    out[n] = 0;
    return n;
}

/* A byte of the mask, which repeats; an empty mask is "GS". */
/*@ requires \valid_read(mask + (0 .. mask_size - 1));
    assigns \nothing; */
static uint8_t mask_byte(const char *mask, size_t mask_size, uint32_t i)
{
    return (uint8_t)(mask_size > 0 ? mask[i % mask_size] : i % 2 ? 'S' : 'G');
}

/* Undoes the second form, the mask; text is what follows the `$`. Returns the
 * password's length, or NOT_THERE if it is not pairs of hex digits, is too
 * long, or holds a NUL. */
/*@ requires valid_read_string(mask) && valid_read_string(text) && \valid(out + (0 .. SSC2_CHARS));
    requires \separated(text + (0 .. strlen(text)), out + (0 .. SSC2_CHARS));
    requires \separated(mask + (0 .. strlen(mask)), out + (0 .. SSC2_CHARS));
    assigns out[0 .. SSC2_CHARS];
    ensures \result == NOT_THERE || (\result <= SSC2_CHARS && out[\result] == 0);
    ensures \result != NOT_THERE ==> 2 * \result == \old(strlen(text));
    ensures \result != NOT_THERE ==> \forall integer i; 0 <= i < \result ==> out[i] != 0; */
static uint32_t mask_decode(const char *mask, const char *text, char out[SSC2_CHARS + 1])
{
    size_t mask_size = strlen(mask);
    size_t n = 0;
    uint8_t last = 0;
    /*@ loop invariant n <= SSC2_CHARS && 2 * n <= \at(strlen(text), Pre);
        loop invariant \forall integer i; 0 <= i <= \at(strlen(text), Pre) ==> text[i] == \at(text[i], Pre);
        loop invariant \forall integer i; 0 <= i < n ==> out[i] != 0;
        loop assigns n, last, out[0 .. SSC2_CHARS - 1];
        loop variant SSC2_CHARS - n; */
    for (; text[2 * n]; n++) {
        int high = hex_value((uint8_t)text[2 * n]), low = hex_value((uint8_t)text[2 * n + 1]);
        if (high < 0 || low < 0 || n == SSC2_CHARS)
            return NOT_THERE;
        uint8_t c = (uint8_t)(high * 16 + low);
        uint8_t v = c ^ mask_byte(mask, mask_size, (uint32_t)n);
        out[n] = (char)(uint8_t)((v >> 3 | (uint32_t)v << 5) ^ last);
        if (!out[n])
            return NOT_THERE;
        last = c;
    }
    out[n] = 0;
    return (uint32_t)n;
}

/* ---- Addresses (PROTOCOL 8) ---------------------------------------------- */

static bool in_network(uint32_t address, uint32_t network, unsigned bits)
{
    return bits == 0 || (address ^ network) >> (32 - bits) == 0;
}

static bool is_loopback(uint32_t address)
{
    return in_network(address, 0x7f000000u, 8);
}

/* Can it be that of one machine? Else it means this network, or many. */
static bool is_unicast(uint32_t address)
{
    return address >> 24 != 0 && address < 0xe0000000u;
}

/* "Private" is what cannot be reached from the internet: RFC 1918, the range
 * that carriers share, link-local. */
static bool is_private(uint32_t address)
{
    return in_network(address, 0x0a000000u, 8) || in_network(address, 0xac100000u, 12) ||
           in_network(address, 0xc0a80000u, 16) || in_network(address, 0x64400000u, 10) ||
           in_network(address, 0xa9fe0000u, 16);
}

static bool is_local(uint32_t address)
{
    return is_private(address) || is_loopback(address);
}

/* Where a player is, as the server sees it. */
struct endpoint {
    uint32_t source;   /* its lobby connection's source address */
    uint32_t reported; /* what its `addr` request said; 0 if it has sent none */
    uint32_t reached;  /* the server's address that it connected to */
};

/* Does whoever is at this end live next to the server? A neighbour is told the
 * address that it has reached: its router might not turn packets round that are
 * for the public one (PROTOCOL 8). */
static bool is_neighbour(struct endpoint end)
{
    return is_local(end.source) && in_network(end.source, end.reached, 24);
}

/* The address at which `viewer` reaches `player`. public_address is the
 * server's, 0 if none is configured. */
static uint32_t visible_address(struct endpoint viewer, struct endpoint player, uint32_t public_address)
{
    bool same = viewer.source == player.source;
    if (same && !is_local(player.source) && is_private(player.reported))
        return player.reported; /* both are behind one router, and meet inside */
    if (same && is_private(player.source) && is_private(player.reported) && is_private(viewer.reported) &&
        player.reported != viewer.reported)
        return player.reported; /* the same with a second router between them and the server */
    if (!same && is_local(player.source) && !is_local(viewer.source) && public_address != 0)
        return public_address; /* the player is on the server's side of the router, the viewer is not */
    if (is_loopback(player.source) && !is_loopback(viewer.source))
        return viewer.reached; /* [own] the player is on the server's own machine: he is where the server is */
    return player.source;
}

/* ==== 3. The state ======================================================== */

/* ---- Configuration ------------------------------------------------------- */

enum account_mode { ACCOUNTS_OPEN, ACCOUNTS_REGISTER, ACCOUNTS_CLOSED };

struct config_room {
    char name[ROOM_CHARS + 1];
    char description[DESCRIPTION_CHARS + 1];
    uint32_t limit;
};

struct network {
    uint32_t address, bits; /* all bits of the address behind the first ones are 0 */
};

struct networks {
    uint32_t count;
    struct network network[CONFIG_NETWORKS];
};

/* A name that the DNS service has an answer for. */
struct dns_name {
    uint32_t address; /* 0: the server's own */
    char name[HOST_CHARS + 1];
};

struct config {
    uint32_t public_address;
    char public_name[HOST_CHARS + 1]; /* the host whose address that is; empty: it was given as an address */
    uint32_t directory_port, lobby_port, buddy_port;
    uint32_t accounts; /* enum account_mode */
    uint32_t skey, directory_direct, lan;
    uint32_t dns_on; /* the server answers DNS, too: the page says so */
    uint32_t ping_ms, idle_ms, login_ms, challenge_ms, race_start_ms;
    uint32_t first_frame_ms, linger_ms, buddy_login_ms;
    uint32_t segment_bytes; /* 0: no limit */
    uint32_t rate;          /* tokens a second for each connection; 0: no limit */
    uint32_t per_address, logins_per_address, accounts_per_address;
    struct networks trusted; /* the three limits are not for those in them */
    struct networks proxies; /* a connection from there begins by saying whose it is */
    uint32_t room_count, dns_name_count;
    struct config_room room[CONFIG_ROOMS];
    struct dns_name dns_name[CONFIG_DNS_NAMES];
    char down[DOWN_CHARS + 1], welcome[DOWN_CHARS + 1];
    uint32_t chat_commands, announce_results;
    char news[NEWS_CHARS + 1]; /* lines, each ended by \n */
};

#define DATA_FOLDER "nascar-data"
#define CONFIG_BYTES 16384u /* of lines that the shell hands to the core, its rooms apart */
#define VALUE_CHARS 511u    /* of a value of the core's */
#define LINE_CHARS 1022u    /* of a line of a configuration or news file, and of a path */
#define FAULT_CHARS 447u    /* of the first fault, for whoever has asked for a reload */
#define SETTINGS_MOST 64u

/* A key of the core that may be given more than once, as lines. Those of the command
 * line replace the file's. */
enum { ROOMS, TRUSTED, PROXIES, DNS_NAMES, LISTS };

struct option_list {
    char lines[CONFIG_BYTES];
    bool typed;
};

/* What the shell is told, the keys that it hands on to the core included. */
struct options {
    uint32_t bind_address;
    uint32_t dns_port;  /* NONE: there is no such service */
    uint32_t http_port; /* NONE: there is no page */
    uint32_t max_clients, max_accounts;
    uint32_t hash_cost;
    uint32_t log_level, log_json, sandbox;
    const char *config_file;
    char news_file[LINE_CHARS + 1], record_file[LINE_CHARS + 1], log_file[LINE_CHARS + 1], data[LINE_CHARS + 1];
    char control_group[LINE_CHARS + 1];
    char user[LINE_CHARS + 1], chroot[LINE_CHARS + 1]; /* empty: as it was started */
    uint32_t group;                                    /* its number; NONE: there is none */
    uint32_t uid, gid;                                 /* the user's; NONE: there is none */
    struct config config;    /* what the core's keys came to, so that their errors are told at the start */
    char core[CONFIG_BYTES]; /* the core's keys, as lines, but for those of the next two */
    struct option_list lists[LISTS];
    const struct options *in_force; /* while they are read again by a server that runs; else NULL */
    bool finds;                     /* the server has a process that looks up a host's address */
    uint32_t line;                  /* that is being read; TYPED: the command line */
    uint32_t set_at[SETTINGS_MOST]; /* for each row of settings[]: the line that set it last, or TYPED; 0: none did */
    char place[LINE_CHARS + 16];    /* the last one that place_of() has written */
    bool news_full;                 /* one of its lines had no room */
    uint32_t faults;                /* that were found in them */
    char first_fault[FAULT_CHARS + 1];
};

#define TYPED UINT32_MAX

enum setting_type {
    SET_NUMBER,
    SET_PORT, /* 0 takes any free one: the core is told which one that came to be */
    SET_SECONDS,
    SET_ADDRESS,
    SET_HOST, /* an address, or a name, behind which somebody else has to look */
    SET_WORD,
    SET_ROOM,
    SET_NETWORK,
    SET_DNS_NAME,
    SET_NEWS_LINE,
    SET_TEXT,
    SET_FOLDER,
    SET_USER,
    SET_FILE,
    SET_GROUP,      /* of users, by name or number */
    SET_NEWS_FILE,  /* each of its lines is a news line */
    SET_CONFIG_FILE /* lines `key = value`; only on the command line */
};

/* Every key, in the order of --help: how its value reads, and where it goes.
 * The shell's keys are unknown to the core. */
static const struct setting {
    char key[24];
    enum setting_type type;
    bool of_shell; /* its field is in struct options, else in struct config */
    bool at_start; /* a reload does not change it */
    size_t offset;
    uint32_t min, max;    /* min of a list: its number in struct options; its field begins with how many there are */
    const char *words;    /* SET_WORD: the values 0, 1, ... */
    const char *fallback; /* what it is when nobody sets it; NULL: empty, or 0 */
    const char *help;     /* for printf, with the fallback as %s; NULL: not shown */
} settings[] = {
#define CORE(field) false, false, offsetof(struct config, field)
#define CORE_START(field) false, true, offsetof(struct config, field)
#define SHELL(field) true, false, offsetof(struct options, field)
#define SHELL_START(field) true, true, offsetof(struct options, field)
    {"config", SET_CONFIG_FILE, SHELL(config_file), 0, 0, NULL, NULL,
     "read lines `key = value` from this file; options that are typed count more"},
    {"data", SET_FOLDER, SHELL_START(data), 0, 0, NULL, DATA_FOLDER,
     "the folder where all is kept (./%s); made if it is missing"},
    {"control-group", SET_GROUP, SHELL_START(control_group), 0, 0, NULL, NULL,
     "a group of users who may use `ctl`, too; else only whoever runs the server, and root"},
    {"bind", SET_ADDRESS, SHELL_START(bind_address), 0, 0, NULL, NULL, "listen on this address only (0.0.0.0: on all)"},
    {"directory-port", SET_PORT, CORE_START(directory_port), 0, 65535, NULL, "10600",
     "the TCP port to which a console comes first (%s); 0: any free one"},
    {"lobby-port", SET_PORT, CORE_START(lobby_port), 0, 65535, NULL, "11000",
     "the lobby's TCP port (%s); 0: any free one"},
    {"buddy-port", SET_PORT, CORE_START(buddy_port), 0, 65535, NULL, "10899",
     "the buddy service's TCP port (%s); 0: any free one"},
    {"dns", SET_PORT, SHELL_START(dns_port), 0, 65535, NULL, NULL,
     "answer on this UDP port (53) the consoles that ask for the server's address by DNS; 0: any free one"},
    {"dns-name", SET_DNS_NAME, CORE(dns_name_count), DNS_NAMES, 0, NULL, NULL,
     "NAME or NAME=ADDRESS: another name that is answered, with the server's own address or this one; once or more"},
    {"http", SET_PORT, SHELL_START(http_port), 0, 65535, NULL, NULL,
     "show on this TCP port (80, 8080) a page for browsers, with who is on; 0: any free one"},
    {"max-clients", SET_NUMBER, SHELL_START(max_clients), 1, 65536, NULL, "1024", "players online at once (%s)"},
    {"max-accounts", SET_NUMBER, SHELL_START(max_accounts), 1, 1048576, NULL, "16384",
     "accounts that there may be (%s)"},
    {"hash-cost", SET_NUMBER, SHELL(hash_cost), 4, 15, NULL, "10",
     "how hard stored passwords are to guess; each step doubles a login's time (%s)"},
    {"news", SET_NEWS_FILE, SHELL(news_file), 0, 0, NULL, NULL, "the lines of this file are the news"},
    {"record", SET_FILE, SHELL_START(record_file), 0, 0, NULL, NULL,
     "record all that happens, without passwords, to this file, for `replay`"},
    {"log-file", SET_FILE, SHELL_START(log_file), 0, 0, NULL, NULL,
     "log to this file and not to standard error; SIGUSR1 opens it again"},
    {"log-level", SET_WORD, SHELL(log_level), 0, 0, "error warn info debug", "info",
     "how much is logged: error, warn, info or debug (%s)"},
    {"log-format", SET_WORD, SHELL(log_json), 0, 0, "text json", "text",
     "text: a log line is key=value pairs; json: an object of the same (%s)"},
    {"user", SET_USER, SHELL_START(user), 0, 0, NULL, NULL,
     "started by root: give that up for NAME, NAME:GROUP or UID:GID, for good"},
    {"chroot", SET_FOLDER, SHELL_START(chroot), 0, 0, NULL, NULL,
     "started by root: see no other folder than this one, in which --data is, too"},
    {"sandbox", SET_WORD, SHELL_START(sandbox), 0, 0, "off on", "on",
     "off: no system-call filter and no Landlock, as a debugger wants it (%s)"},
    {"public-address", SET_HOST, CORE(public_address), 0, 0, NULL, NULL,
     "address or host name that consoles are told to connect to; by default, the address they reached"},
    {"lan", SET_WORD, CORE(lan), 0, 0, "off auto", "auto",
     "off: tell the public address also to consoles in the server's own /24 (%s)"},
    {"accounts", SET_WORD, CORE(accounts), 0, 0, "open register closed", "open",
     "open: a first login makes one; register: a sign-up; closed: ctl passwd (%s)"},
    {"skey", SET_WORD, CORE(skey), 0, 0, "off on", "on", "off: consoles send passwords in their second form (%s)"},
    {"directory-direct", SET_WORD, CORE(directory_direct), 0, 0, "no yes", "no",
     "yes: send DIRECT, for clients other than the console (%s)"},
    {"ping-s", SET_SECONDS, CORE(ping_ms), 1, 3600, NULL, "30", "seconds between two pings to a console (%s)"},
    {"idle-s", SET_SECONDS, CORE(idle_ms), 1, 86400, NULL, "60",
     "seconds of silence after which a console is dropped (%s)"},
    {"login-s", SET_SECONDS, CORE(login_ms), 1, 86400, NULL, "900",
     "seconds that a lobby connection may take to log in (%s)"},
    {"challenge-s", SET_SECONDS, CORE(challenge_ms), 1, 3600, NULL, "60",
     "seconds that a challenge may be answered (%s)"},
    {"race-start-s", SET_SECONDS, CORE(race_start_ms), 1, 3600, NULL, "10",
     "seconds after a challenge's answer when the race starts, ready or not (%s)"},
    {"first-frame-s", SET_SECONDS, CORE(first_frame_ms), 1, 3600, NULL, "10",
     "seconds within which a connection says what it wants (%s)"},
    {"linger-s", SET_SECONDS, CORE(linger_ms), 1, 3600, NULL, "5",
     "seconds after its answer when a directory connection is closed (%s)"},
    {"buddy-login-s", SET_SECONDS, CORE(buddy_login_ms), 1, 3600, NULL, "30",
     "seconds that a buddy connection may take to log in (%s)"},
    {"segment-bytes", SET_NUMBER, CORE(segment_bytes), 0, 65535, NULL, "1400",
     "most bytes in a TCP segment, which has whole frames (%s); 0: no such limit"},
    {"rate", SET_NUMBER, CORE(rate), 0, 1000000, NULL, "10",
     "requests a second from one connection, on average (%s); 0: no limit"},
    {"per-address", SET_NUMBER, CORE(per_address), 1, 1000000, NULL, "256", "connections from one address (%s)"},
    {"logins-per-address", SET_NUMBER, CORE(logins_per_address), 1, 1000000, NULL, "300",
     "tries to log in that fail, from one address in ten minutes (%s)"},
    {"accounts-per-address", SET_NUMBER, CORE(accounts_per_address), 1, 1000000, NULL, "50",
     "new accounts from one address in ten minutes (%s)"},
    {"trusted", SET_NETWORK, CORE(trusted), TRUSTED, 0, NULL, NULL,
     "NETWORK/BITS, as 192.168.1.0/24, whose addresses have none of these three limits; once or more"},
    {"proxy-from", SET_NETWORK, CORE(proxies), PROXIES, 0, NULL, NULL,
     "NETWORK/BITS of proxies, whose connections begin with a PROXY header (version 1 or 2); once or more"},
    {"room", SET_ROOM, CORE(room_count), ROOMS, 0, NULL, NULL,
     "\"Name: Description: Limit\"; once or more, in place of the default rooms"},
    {"news-line", SET_NEWS_LINE, CORE(news), 0, 0, NULL, NULL, NULL},
    {"dns-on", SET_WORD, CORE(dns_on), 0, 0, "no yes", "no", NULL},
    {"down", SET_TEXT, CORE(down), 0, 0, NULL, NULL, "turn consoles away at the directory, and show them this text"},
    {"welcome", SET_TEXT, CORE(welcome), 0, 0, NULL, NULL, "a line of chat for everybody who enters the lobby"},
    {"chat-commands", SET_WORD, CORE(chat_commands), 0, 0, "off on", "on",
     "off: a line that begins with / is said as any other, and not answered by the server (%s)"},
    {"announce-results", SET_WORD, CORE(announce_results), 0, 0, "off on", "on",
     "off: the room of those who raced is not told who has won (%s)"},
#undef CORE
#undef CORE_START
#undef SHELL
#undef SHELL_START
};

#define SETTINGS (sizeof settings / sizeof settings[0])

_Static_assert(SETTINGS <= SETTINGS_MOST, "struct options has a place for each");

/* PROTOCOL 3.3 */
static const struct config_room default_rooms[] = {
    {"East", "East Coast Racers", 50},
    {"West", "West Coast Racers", 50},
    {"Beginner", "New Drivers Welcome", 50},
};

/* Reads a whole decimal number of at most nine digits. If it is none in this range, *value stays. */
static bool parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *value)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (!is_digit((uint8_t)text[i]))
            return false;
    if (n == 0 || n > 9)
        return false;
    uint32_t number = read_number((const uint8_t *)text, (uint32_t)n, 0);
    if (number < min || number > max)
        return false;
    *value = number;
    return true;
}

/* Reads a dotted quad and nothing else. */
static bool parse_address(const char *text, uint32_t *address)
{
    return !strpbrk(text, " \t") && read_address((const uint8_t *)text, (uint32_t)strlen(text), 0, address);
}

/* Is this the whole name of a host (RFC 1123)? Its last part begins with a letter, so that
 * no address in a strange form is taken for a name. */
static bool valid_host(const char *name)
{
    size_t part = 0, n = 0;
    for (; name[n]; n++) {
        uint8_t c = (uint8_t)name[n];
        bool edge = n == part || name[n + 1] == '.' || name[n + 1] == 0;
        if (c == '.' && n > part && n - part <= 63)
            part = n + 1;
        else if (!is_letter(c) && !is_digit(c) && (c != '-' || edge))
            return false;
    }
    return n <= HOST_CHARS && n > part && n - part <= 63 && is_letter((uint8_t)name[part]);
}

/* The position of `word` in a list with single spaces, or -1. */
static int word_index(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (int i = 0; *words; i++) {
        size_t m = strcspn(words, " ");
        if (m == n && memcmp(words, word, n) == 0)
            return i;
        words += m;
        words += *words == ' ';
    }
    return -1;
}

static bool is_ascii(const char *text)
{
    while (*text && (uint8_t)*text < 0x80)
        text++;
    return !*text;
}

/* Copies text[0..n) without the spaces around it; false if it is too long. */
static bool copy_trimmed(char *out, size_t out_bytes, const char *text, size_t n)
{
    while (n > 0 && (*text == ' ' || *text == '\t'))
        text++, n--;
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'))
        n--;
    if (n >= out_bytes)
        return false;
    memcpy(out, text, n);
    out[n] = 0;
    return true;
}

/* "Name: Description: Limit", in quotes or not; the last two may be left out. */
static bool parse_room(const char *text, struct config_room *room)
{
    const char *part[3] = {text, NULL, NULL};
    size_t size[3] = {strlen(text), 0, 0};
    char limit[16];
    memset(room, 0, sizeof *room); /* its padding, too: equal states have equal bytes */
    if (size[0] >= 2 && text[0] == '"' && text[size[0] - 1] == '"') {
        part[0]++;
        size[0] -= 2;
    }
    for (int i = 1; i < 3; i++) {
        const char *colon = memchr(part[i - 1], ':', size[i - 1]);
        if (!colon)
            break;
        part[i] = colon + 1;
        size[i] = size[i - 1] - (size_t)(part[i] - part[i - 1]);
        size[i - 1] = (size_t)(colon - part[i - 1]);
    }
    room->limit = 50;
    if (!copy_trimmed(room->name, sizeof room->name, part[0], size[0]) || !valid_room_name(room->name))
        return false;
    if (part[1] && !copy_trimmed(room->description, sizeof room->description, part[1], size[1]))
        return false;
    if (part[2])
        return copy_trimmed(limit, sizeof limit, part[2], size[2]) && parse_number(limit, 2, 65536, &room->limit);
    return true;
}

/* This and the next return what was expected, or NULL if it was that. */
static const char *add_room(struct config *config, const char *text)
{
    struct config_room room;
    if (!parse_room(text, &room))
        return "\"Name: Description: Limit\", a name and description of up to 31 characters, a limit of 2 to 65536";
    for (uint32_t i = 0; i < config->room_count; i++)
        if (same_name(config->room[i].name, room.name))
            return "a room that is not there yet";
    if (config->room_count == CONFIG_ROOMS || same_name(room.name, "Lobby"))
        return "at most 32 rooms, and none called Lobby";
    config->room[config->room_count++] = room;
    return NULL;
}

/* Reads an address, and how many of its bits count behind a slash. Without these all do. */
static bool parse_network(const char *text, struct network *network)
{
    char address[16];
    size_t chars = strcspn(text, "/");
    copy_text(address, min_u32((uint32_t)chars + 1, sizeof address), text);
    network->bits = 32;
    return chars < sizeof address && parse_address(address, &network->address) &&
           (!text[chars] || parse_number(text + chars + 1, 0, 32, &network->bits));
}

static const char *add_network(struct networks *networks, const char *text)
{
    struct network network = {0, 0};
    if (!strchr(text, '/') || !parse_network(text, &network))
        return "NETWORK/BITS, as 192.168.1.0/24, with 0 to 32 bits";
    if (network.bits < 32 && network.address << network.bits != 0)
        return "a network whose address is 0 behind its bits, as 192.168.1.0/24";
    if (networks->count == CONFIG_NETWORKS)
        return "at most 32 networks";
    networks->network[networks->count++] = network;
    return NULL;
}

static bool in_networks(const struct networks *networks, uint32_t address)
{
    for (uint32_t i = 0; i < networks->count; i++)
        if (in_network(address, networks->network[i].address, networks->network[i].bits))
            return true;
    return false;
}

static const char *add_dns_name(struct config *config, const char *text)
{
    struct dns_name fresh;
    size_t chars = strcspn(text, "=");
    memset(&fresh, 0, sizeof fresh);
    bool good = copy_trimmed(fresh.name, sizeof fresh.name, text, chars) && valid_host(fresh.name);
    if (good && text[chars])
        good = parse_address(text + chars + 1, &fresh.address) && is_unicast(fresh.address);
    if (!good)
        return "the name of a host, or with an IPv4 address that is its own, as example.org=192.0.2.1";
    if (config->dns_name_count == CONFIG_DNS_NAMES)
        return "at most 16 names";
    config->dns_name[config->dns_name_count++] = fresh;
    return NULL;
}

static const struct setting *find_setting(const char *key)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (strcmp(settings[i].key, key) == 0)
            return &settings[i];
    return NULL;
}

/* An address, or a host's name: then the address is 0 until somebody has looked it up. */
static const char *set_public_address(struct config *config, const char *text)
{
    uint32_t address = 0;
    bool named = !parse_address(text, &address);
    if (named && !valid_host(text))
        return "an IPv4 address, as 192.0.2.1, or the name of a host";
    config->public_address = address;
    copy_text(config->public_name, sizeof config->public_name, named ? text : "");
    return NULL;
}

/* Sets one value in the struct that holds its field. Returns what was expected,
 * in words, or NULL if it was that. */
static const char *set_value(void *fields, const struct setting *setting, const char *value)
{
    struct config *config = fields; /* if it is the core's */
    void *field = (char *)fields + setting->offset;
    uint32_t *number = field;
    size_t used, n = strlen(value);
    int word;
    if (setting->type >= SET_ROOM && setting->type <= SET_TEXT && !is_ascii(value))
        return "ASCII characters only";
    switch (setting->type) { /* never: the cases are all types */
    case SET_NUMBER:
    case SET_PORT: return parse_number(value, setting->min, setting->max, number) ? NULL : "a number";
    case SET_SECONDS:
        if (!parse_number(value, setting->min, setting->max, number))
            return "seconds";
        *number *= 1000;
        return NULL;
    case SET_ADDRESS: return parse_address(value, number) ? NULL : "an IPv4 address, as 192.0.2.1";
    case SET_HOST: return set_public_address(config, value);
    case SET_WORD:
        word = word_index(setting->words, value);
        if (word < 0)
            return "one of:";
        *number = (uint32_t)word;
        return NULL;
    case SET_ROOM: return add_room(config, value);
    case SET_NETWORK: return add_network(field, value);
    case SET_DNS_NAME: return add_dns_name(config, value);
    case SET_NEWS_LINE:
        used = strlen(config->news);
        if (used + n + 1 > NEWS_CHARS)
            return "at most 242 characters of news in all, an end of line being one";
        memcpy(config->news + used, value, n);
        config->news[used + n] = '\n';
        config->news[used + n + 1] = 0;
        return NULL;
    case SET_TEXT:
        if (n > DOWN_CHARS)
            return "at most 255 characters";
        copy_text(field, DOWN_CHARS + 1, value);
        return NULL;
    case SET_FOLDER:
    case SET_USER:
        if (n == 0)
            return setting->type == SET_USER ? "the name of a user" : "the name of a folder";
        /* fall through */
    case SET_GROUP:
    case SET_FILE:
    case SET_NEWS_FILE: copy_text(field, LINE_CHARS + 1, value); return NULL;
    case SET_CONFIG_FILE: *(const char **)field = value; return NULL;
    }
    return "a key of the table"; /* never: no case leads here */
}

/* Number n of texts that stand in a row, each with its NUL. */
static const char *nth_text(const char *texts, uint32_t n)
{
    for (; n > 0; n--)
        texts += strlen(texts) + 1;
    return texts;
}

/* Appends as much as fits. */
static void append_text(char *out, size_t out_bytes, const char *text)
{
    size_t n = out_bytes > 0 ? strlen(out) : 0;
    if (out_bytes > n)
        copy_text(out + n, out_bytes - n, text);
}

/* The same with so many texts. */
static void join_text(char *out, size_t out_bytes, const char *const *texts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        append_text(out, out_bytes, texts[i]);
}

/* The same; returns false, with what was expected added to `why`, if it cannot be set. */
static bool change_setting(void *fields, const struct setting *setting, const char *value, char *why, size_t why_bytes)
{
    char number[24];
    uint32_t most = setting->of_shell ? LINE_CHARS : VALUE_CHARS;
    append_text(why, why_bytes, "expected ");
    if (strlen(value) > most) {
        append_text(why, why_bytes, "at most ");
        write_number(number, most);
        append_text(why, why_bytes, number);
        append_text(why, why_bytes, " characters");
        return false;
    }
    const char *expected = set_value(fields, setting, value);
    if (!expected) {
        if (why_bytes > 0)
            why[0] = 0;
        return true;
    }
    append_text(why, why_bytes, expected);
    if (setting->words) {
        append_text(why, why_bytes, " ");
        append_text(why, why_bytes, setting->words);
    }
    if (setting->max > 0) {
        append_text(why, why_bytes, " from ");
        write_number(number, setting->min);
        append_text(why, why_bytes, number);
        append_text(why, why_bytes, " to ");
        write_number(number, setting->max);
        append_text(why, why_bytes, number);
    }
    return false;
}

bool nascar_config_check(const char *key, const char *value, char *why, size_t why_bytes)
{
    struct config config;
    const struct setting *setting = find_setting(key);
    memset(&config, 0, sizeof config);
    if (why_bytes > 0)
        why[0] = 0;
    if (setting && !setting->of_shell)
        return change_setting(&config, setting, value, why, why_bytes);
    append_text(why, why_bytes, "unknown key");
    return false;
}

/* Gives the shell's fields, or the core's, their defaults. */
static void set_defaults(void *fields, bool of_shell)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (settings[i].of_shell == of_shell && settings[i].fallback)
            (void)set_value(fields, &settings[i], settings[i].fallback);
}

/* Reads a whole configuration, as lines of `key = value`. A key that is not
 * given has its default. A line that cannot be read is skipped; the shell has
 * refused such lines before. */
static void config_read(struct config *config, const uint8_t *bytes, uint32_t size)
{
    char line[VALUE_CHARS + 1], key[64];
    memset(config, 0, sizeof *config);
    set_defaults(config, false);
    for (uint32_t at = 0; at < size;) {
        uint32_t n = 0;
        while (at + n < size && bytes[at + n] != '\n' && bytes[at + n] != 0)
            n++;
        const char *equals = memchr(bytes + at, '=', n);
        if (equals) {
            size_t key_chars = (size_t)(equals - (const char *)(bytes + at));
            if (copy_trimmed(key, sizeof key, (const char *)(bytes + at), key_chars) &&
                copy_trimmed(line, sizeof line, equals + 1, n - key_chars - 1)) {
                const struct setting *setting = find_setting(key);
                if (setting && !setting->of_shell)
                    (void)set_value(config, setting, line);
            }
        }
        at += n + 1;
    }
    if (config->room_count == 0) {
        memcpy(config->room, default_rooms, sizeof default_rooms);
        config->room_count = sizeof default_rooms / sizeof default_rooms[0];
    }
}

/* ---- State --------------------------------------------------------------- */

#define NONE NASCAR_NONE
#define LIVE (UINT32_MAX - 1) /* the link of an item that is in use */

/* A pool: a table of items of one kind. Those that are free form a list through
 * their first word, the link. Items from `high` on have never been in use, and
 * their memory has never been touched. */
struct pool {
    size_t offset;
    uint32_t stride, capacity;
    uint32_t cleared; /* so many bytes of an item are zeroed when it is taken */
    uint32_t high, free, live;
    uint32_t promised; /* as many will be taken by records that are on their way to the disk */
    int64_t ends_s;    /* if they run out: none does before that */
};

/* A hash table over the items of one pool. Buckets and chains hold an item's
 * number + 1, so that zeroed memory is an empty table. */
struct index {
    size_t buckets, chains;
    uint32_t mask;
};

/* A list of items, in an order that somebody gave them. For each kind of list an
 * item has links, in an array beside the items. They hold item number + 1, too,
 * so that zero memory is an empty list, and an item whose links are zero is in
 * none. The first item's `prev` is the last one. */
struct list {
    uint32_t first;
};

struct links {
    uint32_t prev, next;
};

/* Deadlines. One queue for each length of time, so that a new deadline is the
 * last of its queue; a timer's number tells whose it is (struct tables). Those that
 * are due at once pass in this order: input that has arrived goes on first. */
enum queue {
    Q_NONE,
    Q_THROTTLE,
    Q_FIRST_FRAME,
    Q_LINGER,
    Q_HTTP, /* those from whom a request is awaited, the longest first */
    Q_BUDDY_LOGIN,
    Q_LOGIN,
    Q_IDLE,
    Q_SLOW,
    Q_CHALLENGE,
    Q_RACE_START,
    Q_DIRECTORY,
    Q_ADDRESS,
    Q_GUESS,   /* those that are still free, ... */
    Q_GUESSED, /* ... and those behind them */
    Q_PING,
    QUEUES
};

struct timer {
    uint64_t due_ms;
    uint16_t queue;
    uint16_t paused; /* while it is paused: the queue that it goes back to */
};

/* A connection has these timers. */
enum conn_timer { T_PHASE, T_IDLE, T_THROTTLE, T_SLOW, T_PING, CONN_TIMERS };

/* A feed is a list that consoles follow: its entries stand in the order of
 * their last change. `seq` numbers the changes in the whole state. An entry
 * that goes away stays as a tombstone until each subscription of that time has
 * passed it. */
struct node {
    uint64_t seq;
    uint32_t waiting; /* of a tombstone: how many subscriptions are still to pass it */
    bool tombstone;
};

struct feed {
    struct list entries;
    uint32_t subscribers;
    uint64_t newest; /* of its changes: whoever was told of this one knows all */
};

/* How far one console has been told of one feed. */
struct subscription {
    uint64_t cursor; /* seq of the last change that it was told */
    uint64_t since;  /* seq when it began: older tombstones do not wait for it */
    uint32_t at;     /* the node that had the seq of cursor, if it still has it */
    bool on;
    bool muted; /* nothing is told now, but what ends meanwhile will be */
};

enum conn_state {
    CONN_FREE,
    CONN_UNNAMED, /* from a proxy, which has not said yet whose it is */
    CONN_NEW,     /* no frame yet: it may want any service */
    CONN_DIRECTORY,
    CONN_LOBBY,     /* no login yet */
    CONN_ACCOUNT,   /* after auth or acct */
    CONN_PERSONA,   /* after pers */
    CONN_BUDDY_NEW, /* no AUTH yet */
    CONN_BUDDY,
    CONN_CONTROL, /* the operator's connection */
    CONN_HTTP     /* somebody looks at the page */
};

enum wait { WAIT_NONE, WAIT_VERDICT, WAIT_RECORD, WAIT_RELOAD };

/* What `sele` asked for; before `pers` it is only noted. */
struct wants {
    uint32_t rooms, users, ranks, mesgs;
};

/* The answer to a request by HTTP that is being written; conn->listed is where in http_texts. */
struct http {
    uint32_t item, inner; /* the thing of a list that it is at, and of a list within that, or a result's number.
                             Before: bytes of the head */
    uint32_t left;        /* how many rows of a leaderboard there are to be; or an opponent's count_rival() */
    uint8_t list;         /* which list `item`, or `inner`, is of */
    uint8_t page;         /* enum http_page */
    bool chunked, closes; /* in what form; and whether it is the last one */
};

struct conn {
    uint8_t state, wait;
    bool closing;  /* no more input is taken; what is left is written, then it is closed */
    bool slow;     /* its last write was not complete */
    bool behind;   /* its lists have news, which become rows when its outbox is drained */
    bool crowded;  /* it reads, but has no room for one more line of chat */
    bool spare;    /* one more than its address may have: it may ask the directory, and nothing else */
    bool refused;  /* its `auth` or `acct` has failed: the `pers` that was sent right behind it fails, too */
    bool evicts;   /* its abuse report waits until an older one has made room */
    bool promised; /* a place among the players, when its new account is on the disk */
    bool of_proxy; /* a proxy's own, or nobody's yet: it has no limits of an address, and counts for none */
    uint8_t unknown_kinds;
    uint8_t listing;                /* which list the operator is told, in control_lists[], ... */
    bool entered;                   /* a persona was put on here, so the console knows where that is */
    bool deaf;                      /* of HTTP: what it sends is passed over, until it hangs up */
    uint32_t peer, local, reported; /* peer: of the operator's connection, the number of the user */
    uint32_t address;               /* its entry in addresses */
    union {
        struct wants wants;
        struct http http;
    };
    uint32_t inbox, outbox; /* from their pools, while there is something in them; else NONE */
    uint32_t in_size;
    uint32_t out_start, out_end;
    uint32_t out_begun; /* bytes of the first frame that are left, as part of it was written; 0: it is whole */
    uint32_t sess;      /* of its address's newest directory session, when it sent `skey`; 0: none */
    uint32_t receipt;   /* of the verdict or record that it waits for */
    uint32_t checking;  /* the account whose password is being compared; else NONE */
    uint32_t player;
    uint32_t own;     /* 1 + the persona whose own record its list of users has; 0: none */
    uint32_t buddy;   /* its entry in buddies, if it is a buddy link */
    uint8_t lkey[8];  /* the buddy ticket that it gets when a record of that is kept */
    uint32_t listed;  /* ... where that goes on, ... */
    uint32_t list_of; /* ... and what it is about */
    uint32_t missed_lines;
    uint32_t ping_ref, round_trip_ms;
    uint64_t wait_since_ms, ping_sent_ms;
    uint64_t heard_ms, asked_ms; /* when its last bytes came; and the first ping behind them, if it is later */
    uint64_t tokens_milli, tokens_at_ms;
    uint8_t skey[16];
    struct subscription rooms; /* outlives a login, as the console keeps its list of rooms */
};

struct inbox {
    uint32_t link;
    uint8_t bytes[INBOX_BYTES];
};

struct outbox {
    uint32_t link;
    uint8_t bytes[OUTBOX_BYTES];
};

struct account {
    uint32_t link;
    uint32_t player;
    uint32_t persona[PERSONAS_PER_ACCOUNT]; /* in the order they were made; NONE behind the last */
    int64_t created_s, last_login_s;
    char name[ACCOUNT_CHARS + 1];
    char spam[3];
    char mail[MAIL_CHARS + 1];
    char hash[HASH_CHARS + 1];
};

/* What a persona's races add up to (PROTOCOL 5). */
struct figures {
    uint32_t races, wins, losses, disconnects, laps_led;
    uint16_t rating, best_finish;
};

struct persona {
    uint32_t link;
    uint32_t account;
    uint32_t player;
    uint32_t buddy;              /* its buddy link, in buddies; NONE: it has none */
    uint32_t edges;              /* first entry of its roster */
    uint32_t ignored_by;         /* how many personas have it on their ignore list */
    struct list watchers;        /* those who are told of its presence */
    struct list messages;        /* those kept for it, the oldest first */
    uint32_t left, right, below; /* in the tree of ranks; below: how many are there, itself included */
    struct figures figures;
    uint8_t lkey_hash[16]; /* of LKEY */
    char name[PERSONA_CHARS + 1];
    uint8_t edge_count, message_count, race_count;
    bool absent;  /* it has left the lobby in a race: its friends see that as long as it has a buddy link */
    bool pending; /* new figures of it are on their way to the disk */
    int64_t lkey_until_s;
};

_Static_assert(sizeof(struct persona) <= 112, "128 bytes with its places in the tables");

#define LIST_BUDDY 1u
#define LIST_IGNORE 2u

/* What friends are shown of a persona (PROTOCOL 9). */
enum show { SHOW_DISC, SHOW_CHAT, SHOW_AWAY, SHOW_XA, SHOW_DND, SHOW_PASS, SHOWS };

static const char show_names[SHOWS][5] = {"DISC", "CHAT", "AWAY", "XA", "DND", "PASS"};

struct buddy {
    uint32_t link;
    uint32_t conn, persona;
    struct list watches; /* first of its watches */
    uint32_t asked;      /* how many of these PADD has asked for */
    uint32_t show;       /* what its last PSET said: an enum show, and the two texts */
    bool rosters;        /* it has asked for one: kept messages may come */
    bool delivers;       /* ... or are to be delivered now */
    bool hushed;         /* the two texts are from a player who is muted: nobody else is shown them */
    uint32_t telling;    /* bytes still to be written until the last of them is delivered */
    char product[PRODUCT_CHARS + 1];
    char status[CHAT_CHARS + 1];
};

#define WATCH_ROSTER 1u
#define WATCH_ASKED 2u

/* A watch: one buddy link is told of one persona's presence. */
struct watch {
    uint32_t link;
    uint32_t buddy, persona;
    uint32_t why;
    bool due; /* a PGET is to be sent */
};

/* A message that is kept for somebody who was offline. */
struct message {
    uint32_t link;
    uint32_t to; /* a persona, and its other messages */
    uint32_t id;
    int64_t sent_s, until_s;
    bool told; /* its RECV is in the outbox */
    bool over; /* ... and has been written; the record of that is on its way */
    char type[5];
    char from[PERSONA_CHARS + 1];
    char body[CHAT_CHARS + 1];
};

/* An open race: its ticket is good, as not both have reported yet. */
struct race_ticket {
    uint32_t link;
    uint32_t persona[2]; /* the host first; NONE: it has been deleted */
    uint32_t reported;   /* a bit for each side that has */
    uint32_t first_sum;  /* a checksum of what the first report said */
    int64_t when_s;
    uint8_t ticket[16]; /* AUTH */
    bool counting;      /* a report of it is on its way to the disk */
};

/* How a race ended, as its first report has it. Sides are 0, the host, and 1; `out` is
 * why one did not finish. */
enum result_number {
    RESULT_ID, /* results are numbered in the order in which they came in, from 1 on */
    RESULT_DATE,
    RESULT_TRACK,
    RESULT_LENGTH, /* in laps */
    RESULT_PLACE,
    RESULT_LAPS = RESULT_PLACE + 2, /* that each has completed */
    RESULT_OUT = RESULT_LAPS + 2,
    RESULT_RATING = RESULT_OUT + 2, /* that each has after it; 0: its persona was gone */
    RESULT_NUMBERS = RESULT_RATING + 2
};

enum result_out { OUT_NOT, OUT_DISCONNECTED, OUT_DISQUALIFIED };

/* One of the latest results. The names are those under which the two raced, whatever has
 * become of the personas; "" if one had been deleted before the race was reported. */
struct latest_result {
    uint32_t link;
    uint32_t number[RESULT_NUMBERS];
    uint64_t hash[2]; /* of the names, as a profile compares them for hundreds of results */
    char name[2][PERSONA_CHARS + 1];
};

/* The news that the operator has set, in place of those of the configuration. */
struct notice {
    uint32_t link;
    char text[NEWS_CHARS + 1]; /* lines, each ended by \n */
};

/* The clock of this run, and maybe of some before it, was never set. What is kept has
 * dates that went on from those of the run before, and how long the server stood still
 * behind it is not known. */
struct unset_run {
    uint32_t link;
    int64_t since_s; /* when it began, as it is dated */
};

/* A line of chat that the server saw. Without a room it was a private one. */
struct chat_line {
    int64_t at_s;
    char from[PERSONA_CHARS + 1], to[PERSONA_CHARS + 1];
    char room[ROOM_CHARS + 1];
    char text[CHAT_CHARS + 1];
};

struct report {
    uint32_t link;
    uint32_t id;
    struct list lines;
    uint32_t written;             /* how many lines have been sent to the disk */
    uint32_t receipt;             /* the record that it waits for, ... */
    uint32_t conn, conn_receipt;  /* ... and the request that is answered in the end */
    bool draft;                   /* its first record is not on the disk yet */
    uint64_t chat_next, chat_end; /* while it is written: which lines of chat are to be looked at */
    int64_t at_s;
    char by[PERSONA_CHARS + 1], about[PERSONA_CHARS + 1];
    char account[ACCOUNT_CHARS + 1]; /* of `by`; in older journals none */
};

struct report_line {
    uint32_t link;
    uint32_t report, index;
    struct chat_line line;
};

/* What the operator has done about somebody: a ban or a mute. It is of the name of an
 * account, whether there is one or not, or of a network, so that it outlives the account. */
struct sanction {
    uint32_t link;
    bool mute;                      /* else it is a ban */
    int64_t since_s, until_s;       /* until_s is 0 if it is for good */
    char target[NETWORK_CHARS + 1]; /* a name, or a network as write_network() has it */
    char reason[REASON_CHARS + 1];
};

_Static_assert(NETWORK_CHARS >= ACCOUNT_CHARS && NETWORK_CHARS <= ANY_NAME_CHARS, "a target is looked up as a name");

/* One persona is on another's roster. This has 16 bytes, so the lists share a
 * word with a number. */
struct edge {
    uint32_t link; /* LIVE, or the next free one */
    uint32_t owner;
    uint32_t next;            /* the next entry of the owner's roster */
    uint32_t other_and_lists; /* other << 2 | lists */
};

struct player {
    uint32_t link;
    uint32_t account, persona, conn;
    uint32_t room;
    uint32_t occupant;               /* its entry in the list of the room's users; none in the hub */
    uint32_t match, side;            /* its challenge or race, and its side of it */
    bool own_row_due;                /* its own record is to be sent */
    bool welcomed;                   /* it has been told the line of `welcome` */
    bool hushed;                     /* its text is from a player who is muted: nobody else is shown it */
    bool ranks_due;                  /* the ranking is to be sent anew: cleared, ... */
    uint32_t ranks_next, ranks_left; /* ... and then these places */
    uint32_t rows_next, rows_left;   /* rows of the leaderboard that `snap` asked for */
    struct subscription populations, users;
    int64_t last_login_s;           /* the login before this one */
    int64_t since_s;                /* ... and the date of this one */
    uint64_t acted_ms;              /* when it last asked for something, by the clock that nobody sets */
    uint32_t declined;              /* 1 + whose challenge its own DECL or BLOC has ended; 0: nobody's */
    char peeked[PERSONA_CHARS + 1]; /* selected by `peek`: whom the next `auxi` challenges */
    char text[TOKEN_CHARS + 1];     /* X, set by `auxi` */
};

struct occupant {
    uint32_t link;
    uint32_t room, persona;
    uint32_t player; /* NONE: a tombstone */
};

struct room {
    uint32_t link;
    uint32_t ident;
    uint32_t limit, count;
    struct list members; /* players */
    uint32_t crowded;    /* members who read, but have no room for one more line of chat */
    bool created, gone;
    struct feed users;
    char name[ROOM_CHARS + 1];
    char description[DESCRIPTION_CHARS + 1];
    char password[PASSWORD_CHARS + 1];
    char made_by[PERSONA_CHARS + 1]; /* the persona who has created it; "" if it is a configured one */
};

#define HUB 0u

enum match_state { MATCH_OFFERED, MATCH_ACCEPTED, MATCH_RACING };

/* A match is a challenge, and then the race that it becomes, for as long as one of
 * the two is in it. The race_ticket outlives it: by that the result is reported,
 * maybe after a new login. challenge_x() and race_x() act on a match in that
 * state, race_ticket_x() on a ticket. Side 0 is the challenger. */
struct match {
    uint32_t link;
    uint32_t state;
    uint32_t player[2]; /* NONE: this one has left the race */
    uint32_t seed;
    uint64_t started_ms;
    bool guest;    /* side 1 was shown side 0 for this challenge only */
    bool ready[2]; /* this side has sent `chal` */
    bool hosts[2]; /* ... with HOST=1 */
    bool starting; /* it waits for the record of its ticket */
    uint32_t receipt;
    uint8_t ticket[16]; /* AUTH */
};

/* One source address: its connections, and what it did lately. What is of_proxy stands
 * under NOBODY. */
#define NOBODY 0u /* 0.0.0.0 */

struct address {
    uint32_t link;
    uint32_t ipv4;
    uint32_t connections, closing, players; /* those that are closing are among the connections */
    struct list heard;                      /* its consoles' other connections, the longest silent one first */
    uint32_t failed;                        /* wrong passwords since window_ms */
    uint32_t tries, created;                /* tries to log in that have not succeeded, and new accounts, since then */
    uint32_t unlogged;                      /* refusals of these since the last line about one */
    uint64_t failed_at_ms, window_ms, quiet_until_ms;
};

/* Wrong passwords that came from one address for one name, whether there is such an
 * account or not. It is forgotten ten minutes after the last one. */
struct guess {
    uint32_t link;
    uint32_t ipv4;
    uint64_t name; /* its hash, which nobody else can compute */
    uint64_t failed_at_ms;
    uint32_t failed; /* those that are not known to be right, too */
};

/* A group of addresses: when it got its last answers by DNS, in a ring. */
struct dns_asker {
    uint32_t at_ms[DNS_ANSWERS]; /* the lower half of the time: enough to tell that one was just now */
    uint32_t answers;            /* the next place in the ring; it goes on from DNS_ANSWERS on when that is full */
};

/* The answer that the last step has left. */
struct datagram {
    uint32_t peer, port, local;
    uint32_t service;
    uint32_t size; /* 0: there is none */
    uint8_t bytes[DNS_ANSWER_BYTES];
};

struct directory_session {
    uint32_t link;
    uint32_t sess, peer;
    char mask[33];
};

/* The last row that was encoded for many readers, and what it depends on. */
struct row {
    uint64_t from, to;
    uint32_t count, address;
    uint32_t size;
    uint8_t bytes[ROW_BYTES];
};

struct record_slot {
    uint32_t conn, receipt, size;
    bool lazy;
    uint8_t bytes[RECORD_BYTES];
};

/* Every pool, once: its name, what its items are, the accessor of one of them,
 * and how many there are at most. */
/* clang-format off */
#define POOLS(POOL) \
    POOL(inboxes, struct inbox, inbox_at, conns) \
    POOL(outboxes, struct outbox, outbox_at, conns) \
    POOL(accounts, struct account, account_at, limits->accounts) \
    POOL(personas, struct persona, persona_at, limits->accounts * PERSONAS_PER_ACCOUNT) \
    POOL(edges, struct edge, edge_at, limits->roster_edges) \
    POOL(players, struct player, player_at, clients) \
    /* Each player has one, the rest is for tombstones; entering a room is \
     * refused while a slow reader, closed within 30 s, keeps all of those. */ \
    POOL(occupants, struct occupant, occupant_at, clients * 4 + OCCUPANTS_SPARE) \
    POOL(rooms, struct room, room_at, limits->rooms) \
    POOL(matches, struct match, match_at, clients) \
    /* One for each connection, and some more for addresses that were here lately. */ \
    POOL(addresses, struct address, address_at, conns + ADDRESSES_KEPT) \
    POOL(guesses, struct guess, guess_at, GUESSES_KEPT) \
    POOL(directory, struct directory_session, session_at, limits->directory_sessions) \
    POOL(buddies, struct buddy, buddy_at, conns) \
    POOL(watches, struct watch, watch_at, conns * (ROSTER_PER_PERSONA + WATCHES_ASKED)) \
    POOL(messages, struct message, message_at, limits->messages) \
    POOL(races, struct race_ticket, race_ticket_at, limits->races ? limits->races : clients * RACES_PER_CLIENT) \
    POOL(results, struct latest_result, result_at, RESULTS) \
    POOL(reports, struct report, report_at, REPORTS) \
    POOL(report_lines, struct report_line, report_line_at, REPORT_LINES) \
    POOL(notices, struct notice, notice_at, 1) \
    POOL(unset_runs, struct unset_run, unset_run_at, 1) \
    /* Each of the operator's connections may have one more on its way to the disk. */ \
    POOL(sanctions, struct sanction, sanction_at, SANCTIONS + NASCAR_CONTROL_CONNECTIONS)

/* Every look-up table: its name, the pool whose items it finds, and for how many
 * it has buckets. */
#define INDEXES(INDEX) \
    INDEX(account_names, accounts, t->accounts.capacity) \
    /* Few accounts have four personas, so there are as many buckets as accounts. */ \
    INDEX(persona_names, personas, t->accounts.capacity) \
    INDEX(persona_prefixes, personas, min_u32(t->accounts.capacity, 1024)) \
    INDEX(race_tickets, races, t->races.capacity) \
    INDEX(room_names, rooms, t->rooms.capacity) \
    INDEX(occupant_keys, occupants, t->occupants.capacity) \
    INDEX(address_numbers, addresses, t->addresses.capacity) \
    INDEX(guess_pairs, guesses, t->guesses.capacity) \
    INDEX(session_numbers, directory, t->directory.capacity) \
    INDEX(session_peers, directory, t->directory.capacity) \
    INDEX(sanction_targets, sanctions, t->sanctions.capacity)

/* Every kind of list: its name, and the table whose items are in such lists. */
#define LIST_KINDS(KIND) \
    KIND(TIMER_QUEUE, timers) \
    KIND(FEED_ENTRIES, nodes) \
    KIND(READY_CONNS, conns) /* they have output, or are to be closed */ \
    KIND(STALLED_CONNS, conns) /* their next frame waits */ \
    KIND(DOOMED_CONNS, conns) /* they are to be taken out of the game */ \
    KIND(ADDRESS_CONNS, conns) /* in the order in which they were heard */ \
    KIND(ROOM_MEMBERS, players) \
    KIND(LOBBY_READERS, players) /* they follow the populations, and so maybe the rooms */ \
    KIND(DIRTY_ROOMS, rooms) /* their members are to be told */ \
    KIND(PERSONA_WATCHERS, watches) \
    KIND(BUDDY_WATCHES, watches) \
    KIND(PERSONA_MESSAGES, messages) \
    KIND(LATEST_RESULTS, results) /* the oldest first */ \
    KIND(LINES_OF_REPORT, report_lines)

#define POOL_MEMBER(name, type, at, capacity) struct pool name;
#define INDEX_MEMBER(name, pool, buckets) struct index name;
#define LIST_KIND_NAME(name, table) name,
enum list_kind { LIST_KINDS(LIST_KIND_NAME) LIST_KIND_COUNT };
/* clang-format on */

/* What lies behind struct nascar in the arena, and where: the limits say. The
 * items of three tables are not taken from a pool, but have their numbers from
 * elsewhere: connections from the shell; timers and nodes from what they belong
 * to. First come the timers of connections, then of matches, and so on; a room has
 * two nodes (list, population), an occupant one. */
#define TABLES \
    struct pool conns, timers, nodes; \
    uint32_t match_timers, directory_timers, address_timers, guess_timers; \
    POOLS(POOL_MEMBER) \
    INDEXES(INDEX_MEMBER) \
    size_t links[LIST_KIND_COUNT];

struct tables {
    TABLES
};

struct nascar {
    struct config config;
    bool keyed;   /* hash_key has been drawn, and the hub is there */
    bool retry;   /* those who have stalled are to try again */
    bool reloads; /* the operator wants the configuration to be read again, and the caller has not been asked yet */
    bool replays; /* its events are a recording's, which has no passwords (see REDACTED) */
    uint8_t log_level; /* that the operator has set, and one more; 0: he has not */
    uint64_t hash_key[2];
    uint32_t entropy_size;
    uint8_t entropy[NASCAR_ENTROPY_BYTES];

    uint64_t mono_ms;        /* the clock that nobody sets, which dates run on with */
    uint64_t now_ms;         /* the time of all deadlines: that clock, but for stood_ms */
    uint64_t stood_ms;       /* so long the program stood still, in all */
    bool dated;              /* the records of the last run are here, so dates go on from theirs */
    int64_t wall_s;          /* the date now: it runs on with mono_ms, see time_passed() */
    int64_t reached_s;       /* the newest that it was: what has run out by that stays so if the clock drifts back */
    int64_t clock_s;         /* what the wall clock says; if that is another date, it was set */
    bool unset;              /* the wall clock has not been set since the start, or is not believed */
    bool setting;            /* a record of the clock is on its way */
    int64_t setting_s;       /* by so much it was set in that; else 0 */
    int64_t since_s;         /* the date at the start: what is newer has its date from this run */
    int64_t newest_record_s; /* the newest date that is kept */
    uint64_t dated_ms;       /* mono_ms when wall_s was that date, to the second */
    uint64_t doubted_ms;     /* until then a wall clock that is behind the dates kept is not believed */
    uint64_t seq;            /* of the newest change in any feed */
    uint32_t next_receipt, next_room, next_created_room, next_message, next_report, next_result;
    uint32_t ranked;      /* the root of the tree of ranks */
    uint64_t banned_bits; /* bit n: a network of n bits has been banned since the start */
    uint64_t chat_count;
    struct chat_line chat[CHAT_LINES];

    union { /* each has its short name: s->accounts is s->tables.accounts */
        struct tables tables;
        struct {
            TABLES
        };
    };

    struct list queue[QUEUES];
    struct list ready, stalled, doomed;
    struct list latest; /* results */
    struct list dirty_rooms;
    bool lobby_dirty;
    struct list lobby_readers; /* players who follow the populations, and so maybe the rooms */
    struct feed room_feed, population_feed;
    uint32_t conn_count;
    uint64_t metrics[METRIC_COUNT];     /* those that are KEPT */
    uint64_t told[NASCAR_METRICS_TOLD]; /* those that are TOLD */
    uint32_t guessed;                   /* how many names must wait, each at an address (Q_GUESSED) */

    uint32_t ping_places;                 /* how many have got a place in the rhythm of pings */
    uint64_t ping_beat_ms, ping_batch_ms; /* its first beat after the last batch; the earliest next batch */

    struct row user_row, room_row, population_row;
    struct outgoing frame;     /* the frame that is being written; a record is encoded here, too */
    struct outgoing row_frame; /* the same for rows, which are made while another frame is at work */

    struct dns_asker dns_asker[DNS_ASKERS];
    struct datagram datagram;

    uint32_t record_count, record_taken;
    struct record_slot record[RECORDS];
    uint32_t job_count, job_taken;
    struct nascar_hash_job job[RECORDS];
    uint32_t log_size, log_taken, log_lost;
    char log[LOG_BYTES];
};

/* ---- Arena --------------------------------------------------------------- */

uint32_t nascar_connections(const struct nascar_limits *limits)
{
    return 2 * limits->clients + CONNECTIONS_SPARE + NASCAR_HTTP_CONNECTIONS + NASCAR_CONTROL_CONNECTIONS;
}

static bool in_range(uint32_t value, uint32_t min, uint32_t max)
{
    return value >= min && value <= max;
}

/* Finds a place for `count` items and returns its offset; *at moves behind it.
 * In 64 bits, so that no product of limits overflows on a 32-bit machine. */
static size_t place(uint64_t *at, uint64_t count, uint64_t stride)
{
    uint64_t offset = (*at + 15) / 16 * 16;
    *at = offset + count * stride;
    return (size_t)offset;
}

static void place_pool(struct pool *pool, uint64_t *at, uint64_t capacity, size_t stride)
{
    pool->offset = place(at, capacity, stride);
    pool->stride = (uint32_t)stride;
    pool->capacity = (uint32_t)capacity;
    pool->cleared = (uint32_t)stride;
    pool->free = NONE;
}

static void place_index(struct index *index, uint64_t *at, uint32_t capacity, uint32_t wanted)
{
    uint32_t buckets = 4;
    while (buckets < wanted)
        buckets *= 2;
    index->buckets = place(at, buckets, sizeof(uint32_t));
    index->chains = place(at, capacity, sizeof(uint32_t));
    index->mask = buckets - 1;
}

/* Decides where everything stands in the arena. Returns its size, or 0 if a
 * limit is out of range or the machine cannot address so much. */
static size_t lay_out(struct tables *t, const struct nascar_limits *limits)
{
    uint64_t at = sizeof(struct nascar);
    memset(t, 0, sizeof *t);
    if (!in_range(limits->clients, 1, 65536) || !in_range(limits->accounts, 1, 1048576) ||
        !in_range(limits->rooms, 8, 4096) || !in_range(limits->directory_sessions, 1, 65536) ||
        !in_range(limits->roster_edges, 1, 1u << 26) || !in_range(limits->messages, 1, 1u << 20) ||
        !in_range(limits->races, 0, 1u << 20))
        return 0;
    uint32_t conns = nascar_connections(limits), clients = limits->clients;
    place_pool(&t->conns, &at, conns, sizeof(struct conn));
#define PLACE(name, type, at_number, capacity) place_pool(&t->name, &at, (uint64_t)(capacity), sizeof(type));
    POOLS(PLACE)
#undef PLACE
    /* Boxes are not zeroed: their connection knows how much of them is filled. */
    t->inboxes.cleared = t->outboxes.cleared = sizeof(uint32_t);
#define PLACE(name, pool, buckets) place_index(&t->name, &at, t->pool.capacity, buckets);
    INDEXES(PLACE)
#undef PLACE
    t->match_timers = conns * CONN_TIMERS;
    t->directory_timers = t->match_timers + t->matches.capacity;
    t->address_timers = t->directory_timers + t->directory.capacity;
    t->guess_timers = t->address_timers + t->addresses.capacity;
    place_pool(&t->timers, &at, t->guess_timers + t->guesses.capacity, sizeof(struct timer));
    place_pool(&t->nodes, &at, 2ull * t->rooms.capacity + t->occupants.capacity, sizeof(struct node));
#define PLACE(name, table) t->links[name] = place(&at, t->table.capacity, sizeof(struct links));
    LIST_KINDS(PLACE)
#undef PLACE
    return at <= SIZE_MAX / 2 ? (size_t)at : 0; /* never: tests run with 64 bits, which address any arena */
}

size_t nascar_arena_size(const struct nascar_limits *limits)
{
    struct tables tables;
    return lay_out(&tables, limits);
}

static inline void *in_arena(const struct nascar *s, size_t offset, size_t index, size_t stride)
{
    return (void *)((uintptr_t)s + offset + index * stride);
}

/* The link of an item, which is its first word, whether or not it is live. */
static inline uint32_t *pool_link_at(const struct nascar *s, const struct pool *pool, uint32_t i)
{
    assert(i < pool->high);
    return in_arena(s, pool->offset, i, pool->stride);
}

static inline bool is_live(const struct nascar *s, const struct pool *pool, uint32_t i)
{
    return i < pool->high && *pool_link_at(s, pool, i) == LIVE;
}

static inline void *live_item(const struct nascar *s, const struct pool *pool, uint32_t i)
{
    uint32_t *link = in_arena(s, pool->offset, i, pool->stride);
    assert(i < pool->high && *link == LIVE);
    return link;
}

/* account_at(s, i) and so on: item i, which is live. */
#define ACCESSOR(name, type, at, capacity) \
    static inline type *at(const struct nascar *s, uint32_t i) \
    { \
        return live_item(s, &s->name, i); \
    }
POOLS(ACCESSOR)
#undef ACCESSOR

static inline struct conn *conn_at(const struct nascar *s, uint32_t i)
{
    assert(i < s->conns.capacity);
    return in_arena(s, s->conns.offset, i, sizeof(struct conn));
}

static inline struct timer *timer_at(const struct nascar *s, uint32_t i)
{
    assert(i < s->timers.capacity);
    return in_arena(s, s->timers.offset, i, sizeof(struct timer));
}

static inline struct node *node_at(const struct nascar *s, uint32_t i)
{
    return in_arena(s, s->nodes.offset, i, sizeof(struct node));
}

/* Takes an item out of a pool and returns its number, or NONE if the pool is
 * full. The item is zeroed as far as its pool says. */
static uint32_t pool_take(struct nascar *s, struct pool *pool)
{
    uint32_t i = pool->free;
    if (i == NONE && pool->high == pool->capacity)
        return NONE;
    if (i == NONE)
        i = pool->high++;
    uint32_t *link = pool_link_at(s, pool, i);
    if (i == pool->free)
        pool->free = *link;
    memset(link, 0, pool->cleared);
    *link = LIVE;
    pool->live++;
    return i;
}

static void pool_give(struct nascar *s, struct pool *pool, uint32_t i)
{
    uint32_t *link = pool_link_at(s, pool, i);
    assert(*link == LIVE);
    *link = pool->free;
    pool->free = i;
    pool->live--;
}

static bool pool_full(const struct pool *pool)
{
    return pool->live + pool->promised >= pool->capacity;
}

/* The first live item that has this number or a higher one, or NONE. */
static uint32_t live_from(const struct nascar *s, const struct pool *pool, uint32_t i)
{
    while (i < pool->high && *pool_link_at(s, pool, i) != LIVE)
        i++;
    return i < pool->high ? i : NONE;
}

/* A walk over what a pool of s has: EACH_LIVE(i, players) for each player i. The
 * body may give back the item that it looks at. */
#define EACH_LIVE(i, pool) \
    for (uint32_t i = live_from(s, &s->pool, 0); (i) != NONE; (i) = live_from(s, &s->pool, (i) + 1))

/* ---- Lists --------------------------------------------------------------- */

static inline struct links *links_at(const struct nascar *s, enum list_kind kind, uint32_t i)
{
    return in_arena(s, s->links[kind], i, sizeof(struct links));
}

/* Is item i in a list of this sort? */
static inline bool in_list(const struct nascar *s, enum list_kind kind, uint32_t i)
{
    return links_at(s, kind, i)->prev != 0;
}

/* Each of these four is NONE if there is no such item. */

static inline uint32_t list_first(const struct list *list)
{
    return list->first - 1;
}

static inline uint32_t list_last(const struct nascar *s, enum list_kind kind, const struct list *list)
{
    return list->first == 0 ? NONE : links_at(s, kind, list->first - 1)->prev - 1;
}

static inline uint32_t list_next(const struct nascar *s, enum list_kind kind, uint32_t i)
{
    return links_at(s, kind, i)->next - 1;
}

static inline uint32_t list_prev(const struct nascar *s, enum list_kind kind, const struct list *list, uint32_t i)
{
    return list->first == i + 1 ? NONE : links_at(s, kind, i)->prev - 1;
}

/* Puts item i behind `after`, or first if that is NONE. */
static void list_insert(struct nascar *s, enum list_kind kind, struct list *list, uint32_t after, uint32_t i)
{
    struct links *links = links_at(s, kind, i);
    assert(i != NONE && links->prev == 0);
    uint32_t *from = after == NONE ? &list->first : &links_at(s, kind, after)->next;
    links->prev = (after == NONE ? list_last(s, kind, list) : after) + 1;
    links->next = *from;
    *from = i + 1;
    /* Whoever follows comes behind i now; if nobody does, i is the last. */
    links_at(s, kind, (links->next != 0 ? links->next : list->first) - 1)->prev = i + 1;
}

static void list_append(struct nascar *s, enum list_kind kind, struct list *list, uint32_t i)
{
    list_insert(s, kind, list, list_last(s, kind, list), i);
}

static void list_remove(struct nascar *s, enum list_kind kind, struct list *list, uint32_t i)
{
    struct links *links = links_at(s, kind, i);
    assert(links->prev != 0);
    if (list->first == i + 1)
        list->first = links->next;
    else
        links_at(s, kind, links->prev - 1)->next = links->next;
    /* Whoever follows comes behind the one before; if nobody does, that is the last. */
    uint32_t behind = links->next != 0 ? links->next : list->first;
    if (behind != 0)
        links_at(s, kind, behind - 1)->prev = links->prev;
    links->prev = links->next = 0;
}

/* Takes the first item off, and returns it; NONE if there is none. */
static uint32_t list_take_first(struct nascar *s, enum list_kind kind, struct list *list)
{
    uint32_t i = list_first(list);
    if (i != NONE)
        list_remove(s, kind, list, i);
    return i;
}

/* ---- Look-up ------------------------------------------------------------- */

static inline uint32_t *bucket_at(const struct nascar *s, const struct index *index, uint64_t hash)
{
    return in_arena(s, index->buckets, (size_t)(hash & index->mask), sizeof(uint32_t));
}

static inline uint32_t *chain_at(const struct nascar *s, const struct index *index, uint32_t i)
{
    return in_arena(s, index->chains, i, sizeof(uint32_t));
}

/* The newest entry of a bucket comes first. */
static inline uint32_t index_first(const struct nascar *s, const struct index *index, uint64_t hash)
{
    return *bucket_at(s, index, hash) - 1;
}

static inline uint32_t index_next(const struct nascar *s, const struct index *index, uint32_t i)
{
    return *chain_at(s, index, i) - 1;
}

static void index_add(struct nascar *s, const struct index *index, uint64_t hash, uint32_t i)
{
    uint32_t *bucket = bucket_at(s, index, hash);
    *chain_at(s, index, i) = *bucket;
    *bucket = i + 1;
}

static void index_remove(struct nascar *s, const struct index *index, uint64_t hash, uint32_t i)
{
    uint32_t *link = bucket_at(s, index, hash);
    while (*link != i + 1) {
        assert(*link != 0);
        link = chain_at(s, index, *link - 1);
    }
    *link = *chain_at(s, index, i);
    *chain_at(s, index, i) = 0;
}

static uint64_t hash_name(const struct nascar *s, const char *name)
{
    uint8_t folded[ANY_NAME_CHARS];
    size_t n = 0;
    for (; n < sizeof folded && name[n]; n++)
        folded[n] = lower((uint8_t)name[n]);
    return siphash(s->hash_key, folded, n);
}

static uint64_t hash_numbers(const struct nascar *s, uint32_t a, uint32_t b)
{
    uint8_t bytes[8];
    store_be32(bytes, a);
    store_be32(bytes + 4, b);
    return siphash(s->hash_key, bytes, sizeof bytes);
}

/* The body of a search: returns the newest item i of a bucket for which it
 * matches, or NONE. */
#define FIND(index, hash, matches) \
    uint32_t i = index_first(s, index, hash); \
    while (i != NONE && !(matches)) \
        i = index_next(s, index, i); \
    return i

static uint32_t find_account(const struct nascar *s, const char *name)
{
    FIND(&s->account_names, hash_name(s, name), same_name(account_at(s, i)->name, name));
}

static uint32_t find_persona(const struct nascar *s, const char *name)
{
    FIND(&s->persona_names, hash_name(s, name), same_name(persona_at(s, i)->name, name));
}

static uint32_t find_room(const struct nascar *s, const char *name)
{
    FIND(&s->room_names, hash_name(s, name), same_name(room_at(s, i)->name, name));
}

/* Whom an entry of a roster is about, and which lists hold it. */
static uint32_t edge_other(const struct nascar *s, uint32_t i)
{
    return edge_at(s, i)->other_and_lists >> 2;
}

static uint32_t edge_lists(const struct nascar *s, uint32_t i)
{
    return edge_at(s, i)->other_and_lists & 3;
}

/* A roster is short, so it is walked: a look-up table would be as large as the
 * entries. */
static uint32_t find_edge(const struct nascar *s, uint32_t owner, uint32_t other)
{
    uint32_t i = persona_at(s, owner)->edges;
    while (i != NONE && edge_other(s, i) != other)
        i = edge_at(s, i)->next;
    return i;
}

static uint32_t find_race_ticket(const struct nascar *s, const uint8_t ticket[16])
{
    FIND(&s->race_tickets, siphash(s->hash_key, ticket, 16), equal_secret(race_ticket_at(s, i)->ticket, ticket, 16));
}

/* Personas are found by the first two characters of their names, too, for USCH. */
static uint64_t hash_prefix(const struct nascar *s, const char *name)
{
    assert(name[0] && name[1]);
    return hash_numbers(s, lower((uint8_t)name[0]), lower((uint8_t)name[1]));
}

/* A persona's entry in a room's list: of the player who is there, or the
 * tombstone of one who was. */
static uint32_t find_occupant(const struct nascar *s, uint32_t room, uint32_t persona)
{
    FIND(&s->occupant_keys, hash_numbers(s, room, persona),
         occupant_at(s, i)->room == room && occupant_at(s, i)->persona == persona);
}

static uint32_t find_address(const struct nascar *s, uint32_t ipv4)
{
    FIND(&s->address_numbers, hash_numbers(s, ipv4, 0), address_at(s, i)->ipv4 == ipv4);
}

static uint64_t hash_guess(const struct nascar *s, uint32_t ipv4, uint64_t name)
{
    return hash_numbers(s, ipv4, (uint32_t)name);
}

static uint32_t find_guess(const struct nascar *s, uint32_t ipv4, uint64_t name)
{
    FIND(&s->guess_pairs, hash_guess(s, ipv4, name), guess_at(s, i)->ipv4 == ipv4 && guess_at(s, i)->name == name);
}

static uint32_t find_session(const struct nascar *s, uint32_t sess)
{
    FIND(&s->session_numbers, hash_numbers(s, sess, 0), session_at(s, i)->sess == sess);
}

/* The newest session of that peer: a bucket has its newest entry first. */
static uint32_t find_session_of_peer(const struct nascar *s, uint32_t peer)
{
    FIND(&s->session_peers, hash_numbers(s, peer, 0), session_at(s, i)->peer == peer);
}

static uint32_t find_sanction(const struct nascar *s, bool mute, const char *target)
{
    FIND(&s->sanction_targets, hash_name(s, target),
         sanction_at(s, i)->mute == mute && same_name(sanction_at(s, i)->target, target));
}

/* ---- Entropy ------------------------------------------------------------- */

uint32_t nascar_entropy_wanted(const struct nascar *s)
{
    return NASCAR_ENTROPY_BYTES - s->entropy_size;
}

/* Takes unpredictable bytes out of the pool. No byte is ever used twice. */
static void draw(struct nascar *s, uint8_t *out, uint32_t size)
{
    assert(size <= s->entropy_size);
    s->entropy_size -= size;
    memcpy(out, s->entropy + s->entropy_size, size);
    wipe(s->entropy + s->entropy_size, size);
}

static uint32_t draw_u32(struct nascar *s)
{
    uint8_t bytes[4];
    draw(s, bytes, sizeof bytes);
    return load_be32(bytes);
}

/* ---- Timers -------------------------------------------------------------- */

static void timer_stop(struct nascar *s, uint32_t i)
{
    struct timer *t = timer_at(s, i);
    t->paused = Q_NONE;
    if (t->queue != Q_NONE)
        list_remove(s, TIMER_QUEUE, &s->queue[t->queue], i);
    t->queue = Q_NONE;
}

/* A queue is kept in order of time. As all of its timers are equally long, the
 * new one is the last, but for a timer that was paused, a first ping or a new
 * configuration. */
static void timer_start_at(struct nascar *s, uint32_t i, enum queue queue, uint64_t due_ms)
{
    struct timer *t = timer_at(s, i);
    struct list *list = &s->queue[queue];
    timer_stop(s, i);
    uint32_t after = list_last(s, TIMER_QUEUE, list);
    while (after != NONE && timer_at(s, after)->due_ms > due_ms)
        after = list_prev(s, TIMER_QUEUE, list, after);
    t->queue = (uint16_t)queue;
    t->due_ms = due_ms;
    list_insert(s, TIMER_QUEUE, list, after, i);
}

static uint32_t queue_ms(const struct nascar *s, enum queue queue)
{
    switch (queue) { /* never: the cases are all queues */
    case Q_FIRST_FRAME:
    case Q_HTTP: return s->config.first_frame_ms;
    case Q_LINGER: return s->config.linger_ms;
    case Q_BUDDY_LOGIN: return s->config.buddy_login_ms;
    case Q_LOGIN: return s->config.login_ms;
    case Q_IDLE: return s->config.idle_ms;
    case Q_THROTTLE: return THROTTLE_MS;
    case Q_SLOW: return SLOW_MS;
    case Q_CHALLENGE: return s->config.challenge_ms;
    case Q_RACE_START: return s->config.race_start_ms;
    case Q_DIRECTORY: return DIRECTORY_MS;
    case Q_ADDRESS:
    case Q_GUESS:
    case Q_GUESSED: return ADDRESS_MS;
    case Q_NONE: /* never: no timer is started in these */
    case Q_PING: /* nor there without a time */
    case QUEUES: break;
    }
    assert(false);
    return 0; /* never: no case leads here */
}

static void timer_start(struct nascar *s, uint32_t i, enum queue queue)
{
    timer_start_at(s, i, queue, s->now_ms + queue_ms(s, queue));
}

/* Stops a timer for a while; timer_resume() lets it go on with the time that it
 * had left. */
static void timer_pause(struct nascar *s, uint32_t i)
{
    uint16_t queue = timer_at(s, i)->queue;
    timer_stop(s, i);
    timer_at(s, i)->paused = queue;
}

static void timer_resume(struct nascar *s, uint32_t i, uint64_t paused_ms)
{
    const struct timer *t = timer_at(s, i);
    if (t->paused != Q_NONE)
        timer_start_at(s, i, (enum queue)t->paused, t->due_ms + paused_ms);
}

static uint32_t conn_timer(uint32_t c, enum conn_timer which)
{
    return c * CONN_TIMERS + which;
}

/* ---- Log ----------------------------------------------------------------- */

/* A log line is begun, gets its key=value pairs, and is ended. It is built in
 * place, at the end of the log buffer: a byte for its level, the text, a NUL. */
#define LOG_OF_STRANGER 16 /* beside the level */

static void log_byte(struct nascar *s, char c)
{
    if (s->log_size < LOG_BYTES)
        s->log[s->log_size] = c;
    s->log_size++; /* past the end, too: then log_end() takes the line back */
}

static void log_chars(struct nascar *s, const char *text)
{
    while (*text)
        log_byte(s, *text++);
}

static void log_number(struct nascar *s, const char *key, int64_t value)
{
    char text[24];
    write_number(text, value);
    log_byte(s, ' ');
    log_chars(s, key);
    log_byte(s, '=');
    log_chars(s, text);
}

/* Writes a value in quotes. A byte that could end the line or the quotes, or
 * that a terminal would act on, becomes \xNN. */
static void log_text(struct nascar *s, const char *key, const char *value)
{
    log_byte(s, ' ');
    log_chars(s, key);
    log_chars(s, "=\"");
    for (; *value; value++) {
        uint8_t c = (uint8_t)*value;
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') {
            log_chars(s, "\\x");
            log_byte(s, hex_digits[c >> 4]);
            log_byte(s, hex_digits[c & 15]);
        } else {
            log_byte(s, *value);
        }
    }
    log_byte(s, '"');
}

static void log_address(struct nascar *s, const char *key, uint32_t address)
{
    char text[16];
    write_address(text, address);
    log_byte(s, ' ');
    log_chars(s, key);
    log_byte(s, '=');
    log_chars(s, text);
}

/* Begins a line, and returns where it starts, for log_end(). */
static uint32_t log_begin(struct nascar *s, enum nascar_log_level level, const char *name)
{
    uint32_t start = s->log_size;
    log_byte(s, (char)level);
    log_chars(s, "event=");
    log_chars(s, name);
    if (s->log_lost > 0)
        log_number(s, "lines_lost", s->log_lost);
    return start;
}

static void log_end(struct nascar *s, uint32_t start)
{
    log_byte(s, 0);
    if (s->log_size <= LOG_BYTES) {
        s->log_lost = 0;
    } else {
        s->log_size = start;
        s->log_lost++;
        s->metrics[METRIC_log_lines_overflowed]++;
    }
}

bool nascar_next_log(struct nascar *s, struct nascar_log *log)
{
    if (s->log_taken == s->log_size)
        return false;
    log->level = (enum nascar_log_level)(s->log[s->log_taken] & ~LOG_OF_STRANGER);
    log->stranger = (s->log[s->log_taken] & LOG_OF_STRANGER) != 0;
    log->text = s->log + s->log_taken + 1;
    s->log_taken += (uint32_t)strlen(log->text) + 2;
    return true;
}

enum nascar_log_level nascar_log_level(const struct nascar *s, enum nascar_log_level otherwise)
{
    return s->log_level == 0 ? otherwise : (enum nascar_log_level)(s->log_level - 1);
}

/* Is nobody logged in on this connection? */
static bool is_stranger(const struct conn *conn)
{
    return conn->player == NONE && conn->buddy == NONE && conn->state != CONN_CONTROL;
}

/* Begins a line about one connection, and says who is on it: of the operator's, which user. */
static uint32_t log_begin_conn(struct nascar *s, enum nascar_log_level level, const char *name, uint32_t c)
{
    const struct conn *conn = conn_at(s, c);
    uint32_t start = log_begin(s, level, name);
    if (is_stranger(conn) && start < LOG_BYTES)
        s->log[start] |= LOG_OF_STRANGER;
    log_number(s, "conn", c);
    if (conn->state == CONN_CONTROL)
        log_number(s, "uid", conn->peer);
    else
        log_address(s, "peer", conn->peer);
    if (conn->player != NONE) {
        const struct player *p = player_at(s, conn->player);
        log_text(s, "account", account_at(s, p->account)->name);
        if (p->persona != NONE)
            log_text(s, "persona", persona_at(s, p->persona)->name);
    } else if (conn->buddy != NONE) {
        log_text(s, "persona", persona_at(s, buddy_at(s, conn->buddy)->persona)->name);
    }
    return start;
}

/* ---- Metrics ------------------------------------------------------------- */

/* Which of the metrics a connection counts in. */
static enum metric conn_metric(const struct conn *conn)
{
    return conn->closing ? METRIC_connections_closing
                         : (enum metric)(METRIC_connections_unnamed + conn->state - CONN_UNNAMED);
}

/* A connection goes on to this state. */
static void conn_become(struct nascar *s, struct conn *conn, enum conn_state state)
{
    s->metrics[conn_metric(conn)]--;
    conn->state = (uint8_t)state;
    s->metrics[conn_metric(conn)]++;
}

/* What those are counted in who wait for this. */
static enum metric wait_metric(uint32_t wait)
{
    return wait == WAIT_VERDICT ? METRIC_hashes_waiting : METRIC_records_waiting;
}

static void keep_longest(struct nascar *s, enum metric metric, uint64_t ms)
{
    if (s->metrics[metric] < ms)
        s->metrics[metric] = ms;
}

/* ==== 4. Telling ========================================================== */

/* ---- Connections: queues ------------------------------------------------- */

static void mark_ready(struct nascar *s, uint32_t c)
{
    if (!in_list(s, READY_CONNS, c))
        list_append(s, READY_CONNS, &s->ready, c);
}

static bool is_stalled(const struct nascar *s, uint32_t c)
{
    return in_list(s, STALLED_CONNS, c);
}

static void mark_stalled(struct nascar *s, uint32_t c)
{
    if (!is_stalled(s, c)) /* never: a connection in that queue is not run */
        list_append(s, STALLED_CONNS, &s->stalled, c);
}

/* ---- Outboxes ------------------------------------------------------------ */

static uint32_t outbox_free(const struct conn *conn)
{
    return OUTBOX_BYTES - (conn->out_end - conn->out_start);
}

/* Is there room for a line of chat, beside an answer? */
static bool takes_chat(const struct conn *conn)
{
    return outbox_free(conn) >= REPLY_BYTES + CHAT_BYTES;
}

/* Keeps count of a room's members who read, but have no room for one more line
 * of chat. While there are any, whoever talks in that room has to wait. */
static void conn_update_crowded(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    bool in_room = conn->player != NONE && player_at(s, conn->player)->room != NONE;
    bool crowded = in_room && !conn->closing && !conn->slow && !takes_chat(conn);
    if (crowded == conn->crowded)
        return;
    conn->crowded = crowded;
    struct room *room = room_at(s, player_at(s, conn->player)->room);
    room->crowded += crowded ? 1u : 0u - 1u;
    if (!crowded)
        s->retry = true;
}

/* Takes a connection out of those from which its address may be heard. */
static void conn_unlist(struct nascar *s, uint32_t c)
{
    if (in_list(s, ADDRESS_CONNS, c)) /* the operator's is not */
        list_remove(s, ADDRESS_CONNS, &address_at(s, conn_at(s, c)->address)->heard, c);
}

/* Something came from a connection, or it has waited and goes on: its silence begins anew. */
static void conn_heard(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    if (conn->closing || conn->state == CONN_CONTROL)
        return;
    conn_unlist(s, c);
    list_append(s, ADDRESS_CONNS, &address_at(s, conn->address)->heard, c);
    conn->heard_ms = s->now_ms;
}

/* The level of the lines that somebody comes and goes: a proxy looks after us every few
 * seconds, and so do browsers, and nobody wants to read that. */
static enum nascar_log_level come_and_go(const struct conn *conn)
{
    return conn->state == CONN_HTTP || (conn->of_proxy && conn->state <= CONN_NEW) ? NASCAR_LOG_DEBUG : NASCAR_LOG_INFO;
}

/* Ends a connection: no more input is taken, and what is in its outbox is still
 * written. Its player leaves the game in settle(), when the present frame is
 * done, so that no list changes under those who are walking it. */
static void conn_doom(struct nascar *s, uint32_t c, const char *reason)
{
    struct conn *conn = conn_at(s, c);
    if (conn->closing)
        return;
    if (conn->state != CONN_CONTROL) {
        uint32_t line = log_begin_conn(s, come_and_go(conn), "close", c);
        log_text(s, "reason", reason);
        if (conn->unknown_kinds > 0)
            log_number(s, "unknown_kinds", conn->unknown_kinds);
        log_end(s, line);
    }
    s->metrics[conn_metric(conn)]--;
    if (conn->wait != WAIT_NONE)
        s->metrics[wait_metric(conn->wait)]--;
    conn->closing = true;
    s->metrics[conn_metric(conn)]++;
    conn_unlist(s, c);
    address_at(s, conn->address)->closing++;
    list_append(s, DOOMED_CONNS, &s->doomed, c);
    conn_update_crowded(s, c);
    mark_ready(s, c);
}

/* Queues one whole frame. If there is no room for it, the reader has left its
 * answers unread while others asked for much: it is closed. */
static void conn_write(struct nascar *s, uint32_t c, const uint8_t *bytes, uint32_t size)
{
    struct conn *conn = conn_at(s, c);
    if (conn->closing)
        return;
    if (outbox_free(conn) < size) {
        s->metrics[METRIC_slow_readers_closed]++;
        conn_doom(s, c, "outbox full");
        return;
    }
    s->metrics[METRIC_frames_out] += conn->state != CONN_HTTP;
    if (conn->outbox == NONE) {
        conn->outbox = pool_take(s, &s->outboxes); /* there is one for each connection, so this cannot fail */
        conn->out_start = conn->out_end = 0;
    }
    struct outbox *box = outbox_at(s, conn->outbox);
    if (OUTBOX_BYTES - conn->out_end < size) {
        memmove(box->bytes, box->bytes + conn->out_start, conn->out_end - conn->out_start);
        conn->out_end -= conn->out_start;
        conn->out_start = 0;
    }
    memcpy(box->bytes + conn->out_end, bytes, size);
    conn->out_end += size;
    mark_ready(s, c);
    conn_update_crowded(s, c);
}

/* Ends the frame that is being written and queues it. */
static void send_frame(struct nascar *s, uint32_t c)
{
    frame_end(&s->frame);
    conn_write(s, c, s->frame.bytes, s->frame.size);
}

static void outbox_release(struct nascar *s, struct conn *conn)
{
    if (conn->outbox != NONE)
        pool_give(s, &s->outboxes, conn->outbox);
    conn->outbox = NONE;
    conn->out_start = conn->out_end = conn->out_begun = 0;
}

uint32_t nascar_next_output(struct nascar *s)
{
    uint32_t c = list_take_first(s, READY_CONNS, &s->ready);
    while (c != NONE && conn_at(s, c)->state == CONN_FREE)
        c = list_take_first(s, READY_CONNS, &s->ready);
    return c;
}

/* Where the frame ends that begins, or goes on, at this place of the outbox. */
static uint32_t frame_end_at(const struct nascar *s, const struct conn *conn, uint32_t at)
{
    if (at == conn->out_start && conn->out_begun > 0)
        return at + conn->out_begun;
    return at + load_be32(outbox_at(s, conn->outbox)->bytes + at + 8);
}

/* How much of the outbox goes into one segment: whole frames, as many as fit, and
 * one at least (PROTOCOL 1). */
static uint32_t segment_size(const struct nascar *s, const struct conn *conn)
{
    uint32_t all = conn->out_end - conn->out_start, most = s->config.segment_bytes, size = 0, next = 0;
    if (all <= most || most == 0 || conn->state == CONN_HTTP)
        return all;
    do {
        size = next;
        next = frame_end_at(s, conn, conn->out_start + size) - conn->out_start;
    } while (next <= most);
    return size > 0 ? size : next;
}

/* Notes that so much of the outbox has been written. What is left of a frame that
 * was cut must not be taken for a frame. */
static void outbox_written(const struct nascar *s, struct conn *conn, uint32_t size)
{
    uint32_t to = conn->out_start + size, end = conn->state == CONN_HTTP ? to : conn->out_start + conn->out_begun;
    while (end < to)
        end = frame_end_at(s, conn, end);
    conn->out_begun = end - to;
    conn->out_start = to;
}

const uint8_t *nascar_outbox(const struct nascar *s, uint32_t c, uint32_t *size)
{
    *size = 0;
    if (c >= s->conns.capacity || conn_at(s, c)->state == CONN_FREE || conn_at(s, c)->outbox == NONE)
        return NULL;
    const struct conn *conn = conn_at(s, c);
    *size = segment_size(s, conn);
    return outbox_at(s, conn->outbox)->bytes + conn->out_start;
}

bool nascar_closing(const struct nascar *s, uint32_t c)
{
    return c < s->conns.capacity && conn_at(s, c)->state != CONN_FREE && conn_at(s, c)->closing;
}

uint32_t nascar_inbox_room(const struct nascar *s, uint32_t c)
{
    if (c >= s->conns.capacity || conn_at(s, c)->state == CONN_FREE || conn_at(s, c)->closing)
        return 0;
    return INBOX_BYTES - conn_at(s, c)->in_size;
}

/* ---- Records and hash jobs ----------------------------------------------- */

/* Makes a connection wait. Its deadlines stand still, and its request stays in
 * the inbox: when the answer comes, the command goes on with it. */
static void conn_wait(struct nascar *s, uint32_t c, enum wait wait)
{
    struct conn *conn = conn_at(s, c);
    conn->wait = (uint8_t)wait;
    s->metrics[wait_metric(wait)]++;
    conn->receipt = ++s->next_receipt;
    conn->wait_since_ms = s->now_ms;
    timer_pause(s, conn_timer(c, T_PHASE));
    timer_pause(s, conn_timer(c, T_IDLE));
}

static void conn_wait_over(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    uint64_t waited_ms = s->now_ms - conn->wait_since_ms;
    bool hashed = conn->wait == WAIT_VERDICT;
    s->metrics[wait_metric(conn->wait)]--;
    s->metrics[METRIC_hashes] += hashed;
    keep_longest(s, hashed ? METRIC_hash_longest_ms : METRIC_record_longest_ms, waited_ms);
    conn->wait = WAIT_NONE;
    timer_resume(s, conn_timer(c, T_PHASE), waited_ms);
    timer_resume(s, conn_timer(c, T_IDLE), waited_ms);
    conn_heard(s, c);
}

/* Those who can wait for a record have numbers in one row: connections first,
 * then challenges that become races, then reports. */
static uint32_t match_waiter(const struct nascar *s, uint32_t match)
{
    return s->conns.capacity + match;
}

static uint32_t report_waiter(const struct nascar *s, uint32_t report)
{
    return s->conns.capacity + s->matches.capacity + report;
}

bool nascar_next_record(struct nascar *s, struct nascar_record *record)
{
    if (s->record_taken == s->record_count)
        return false;
    const struct record_slot *slot = &s->record[s->record_taken++];
    record->conn = slot->conn;
    record->receipt = slot->receipt;
    record->size = slot->size;
    record->lazy = slot->lazy;
    record->bytes = slot->bytes;
    return true;
}

bool nascar_next_hash_job(struct nascar *s, struct nascar_hash_job *job)
{
    if (s->job_taken == s->job_count)
        return false;
    *job = s->job[s->job_taken];
    wipe(&s->job[s->job_taken++], sizeof *job);
    return true;
}

bool nascar_wants_reload(struct nascar *s)
{
    bool wanted = s->reloads;
    s->reloads = false;
    return wanted;
}

/* Frees what the caller has taken since the last step. */
static void free_taken(struct nascar *s)
{
    if (s->record_taken == s->record_count) {
        s->retry = s->record_count == RECORDS; /* it was false: the last step left it so */
        s->record_taken = s->record_count = 0;
    }
    if (s->job_taken == s->job_count) {
        s->retry = s->retry || s->job_count == RECORDS;
        s->job_taken = s->job_count = 0;
    }
    if (s->log_taken == s->log_size)
        s->log_taken = s->log_size = 0;
    s->datagram.size = 0;
}

/* ---- Feeds: lists that each console follows at its own pace -------------- */

/* Nodes are numbered in one row: two for each room (in the list of rooms, and
 * for its population), then one for each occupant. */

static uint32_t room_node(uint32_t room)
{
    return 2 * room;
}

static uint32_t population_node(uint32_t room)
{
    return 2 * room + 1;
}

static uint32_t occupant_node(const struct nascar *s, uint32_t occupant)
{
    return 2 * s->rooms.capacity + occupant;
}

/* The other way round. */
static uint32_t node_room(uint32_t node)
{
    return node / 2;
}

static uint32_t node_occupant(const struct nascar *s, uint32_t node)
{
    return node - 2 * s->rooms.capacity;
}

static void feed_unlink(struct nascar *s, struct feed *feed, uint32_t i)
{
    list_remove(s, FEED_ENTRIES, &feed->entries, i);
    memset(node_at(s, i), 0, sizeof(struct node));
}

/* Makes an entry the newest of its feed, whether it is new or changed. */
static void feed_touch(struct nascar *s, struct feed *feed, uint32_t i)
{
    if (in_list(s, FEED_ENTRIES, i))
        feed_unlink(s, feed, i);
    list_append(s, FEED_ENTRIES, &feed->entries, i);
    node_at(s, i)->seq = feed->newest = ++s->seq;
}

/* Nobody needs this node any more: frees it, and the room or occupant that it
 * stood for. */
static void node_free(struct nascar *s, struct feed *feed, uint32_t i)
{
    feed_unlink(s, feed, i);
    if (i < 2 * s->rooms.capacity) {
        pool_give(s, &s->rooms, node_room(i));
        return;
    }
    i = node_occupant(s, i);
    const struct occupant *occupant = occupant_at(s, i);
    index_remove(s, &s->occupant_keys, hash_numbers(s, occupant->room, occupant->persona), i);
    pool_give(s, &s->occupants, i);
}

static void tombstone_passed(struct nascar *s, struct feed *feed, uint32_t i)
{
    struct node *node = node_at(s, i);
    assert(node->tombstone && node->waiting > 0);
    if (--node->waiting == 0)
        node_free(s, feed, i);
}

/* Turns an entry into a tombstone. If nobody follows the feed, it is freed at once. */
static void feed_bury(struct nascar *s, struct feed *feed, uint32_t i)
{
    feed_touch(s, feed, i);
    if (feed->subscribers == 0) {
        node_free(s, feed, i);
        return;
    }
    node_at(s, i)->tombstone = true;
    node_at(s, i)->waiting = feed->subscribers;
}

/* The first entry that the subscription has not been told of, or NONE. */
static uint32_t feed_next(const struct nascar *s, const struct feed *feed, const struct subscription *sub)
{
    uint32_t i = NONE;
    if (!sub->on || sub->muted || feed->newest <= sub->cursor)
        return NONE;
    if (sub->cursor == 0)
        i = list_first(&feed->entries);
    else if (node_at(s, sub->at)->seq == sub->cursor)
        i = list_next(s, FEED_ENTRIES, sub->at);
    else /* that entry has changed since, or is gone */
        for (uint32_t newer = list_last(s, FEED_ENTRIES, &feed->entries);
             newer != NONE && node_at(s, newer)->seq > sub->cursor;
             newer = list_prev(s, FEED_ENTRIES, &feed->entries, newer))
            i = newer;
    while (i != NONE && node_at(s, i)->tombstone && node_at(s, i)->seq <= sub->since)
        i = list_next(s, FEED_ENTRIES, i);
    return i;
}

/* Notes that the subscription has been told of entry i. */
static void feed_advance(struct nascar *s, struct feed *feed, struct subscription *sub, uint32_t i)
{
    sub->cursor = node_at(s, i)->seq;
    sub->at = i;
    if (node_at(s, i)->tombstone)
        tombstone_passed(s, feed, i);
}

/* Up to here the subscription knows what has ended. */
static uint64_t passed_by(const struct subscription *sub)
{
    return sub->cursor > sub->since ? sub->cursor : sub->since;
}

static void unsubscribe(struct nascar *s, struct feed *feed, struct subscription *sub)
{
    if (!sub->on)
        return;
    uint64_t passed = passed_by(sub);
    for (uint32_t i = list_last(s, FEED_ENTRIES, &feed->entries); i != NONE && node_at(s, i)->seq > passed;) {
        uint32_t prev = list_prev(s, FEED_ENTRIES, &feed->entries, i);
        if (node_at(s, i)->tombstone)
            tombstone_passed(s, feed, i);
        i = prev;
    }
    feed->subscribers--;
    memset(sub, 0, sizeof *sub);
}

/* Begins a subscription, or begins it again: the whole list will be told. */
static void subscribe(struct nascar *s, struct feed *feed, struct subscription *sub)
{
    unsubscribe(s, feed, sub);
    sub->on = true;
    sub->since = s->seq;
    sub->at = NONE;
    feed->subscribers++;
}

/* Has the whole list told, maybe once more. Tombstones of what the console has been
 * told before still wait for it. */
static void relist(struct nascar *s, struct feed *feed, struct subscription *sub)
{
    if (!sub->on)
        subscribe(s, feed, sub);
    sub->since = passed_by(sub);
    sub->cursor = 0;
    sub->at = NONE;
    sub->muted = false;
}

/* ---- Figures and ranks (PROTOCOL 5) -------------------------------------- */

#define FIRST_RATING 1500u
#define LAST_RATING 8191u /* R and P of the console's leaderboard have 13 bits */
#define MAX_PLACE 64
#define TOP 10u /* places that a word to the server tells */
#define FIGURE_COUNT 7u
#define NUMBERS_CHARS(count) ((count)*11u) /* so many numbers in decimal, and commas */
#define FIGURES_CHARS NUMBERS_CHARS(FIGURE_COUNT)
#define RESULT_CHARS NUMBERS_CHARS(RESULT_NUMBERS)
#define ELO_K UINT64_C(32)

/* Everybody who has raced is in a search tree, the best rating first, equal
 * ones by name. It is a treap: chance keeps it balanced, so that a place's
 * persona and a persona's place are found in a few steps. */
static bool ranks_before(const struct nascar *s, uint32_t a, uint32_t b)
{
    uint32_t x = persona_at(s, a)->figures.rating, y = persona_at(s, b)->figures.rating;
    return x != y ? x > y : compare_names(persona_at(s, a)->name, persona_at(s, b)->name) < 0;
}

static uint32_t tree_priority(uint32_t i)
{
    uint32_t v = (i ^ i >> 16) * 0x7feb352du;
    v = (v ^ v >> 15) * 0x846ca68bu;
    return v ^ v >> 16;
}

static uint32_t tree_size(const struct nascar *s, uint32_t i)
{
    return i == NONE ? 0 : persona_at(s, i)->below;
}

static void tree_count(const struct nascar *s, uint32_t i)
{
    struct persona *p = persona_at(s, i);
    p->below = tree_size(s, p->left) + tree_size(s, p->right) + 1;
}

/* Cuts a tree in two: those who rank before persona i, and the others. */
static void tree_split(const struct nascar *s, uint32_t root, uint32_t i, uint32_t *before, uint32_t *after)
{
    if (root == NONE) {
        *before = *after = NONE;
        return;
    }
    struct persona *p = persona_at(s, root);
    if (ranks_before(s, root, i)) {
        tree_split(s, p->right, i, &p->right, after);
        *before = root;
    } else {
        tree_split(s, p->left, i, before, &p->left);
        *after = root;
    }
    tree_count(s, root);
}

static uint32_t tree_join(const struct nascar *s, uint32_t before, uint32_t after)
{
    if (before == NONE || after == NONE)
        return before == NONE ? after : before;
    uint32_t root = tree_priority(before) > tree_priority(after) ? before : after;
    struct persona *p = persona_at(s, root);
    if (root == before)
        p->right = tree_join(s, p->right, after);
    else
        p->left = tree_join(s, before, p->left);
    tree_count(s, root);
    return root;
}

static bool is_ranked(const struct nascar *s, uint32_t persona)
{
    return persona_at(s, persona)->figures.races > 0;
}

static void rank_add(struct nascar *s, uint32_t persona)
{
    uint32_t before, after;
    struct persona *p = persona_at(s, persona);
    p->left = p->right = NONE;
    p->below = 1;
    tree_split(s, s->ranked, persona, &before, &after);
    s->ranked = tree_join(s, tree_join(s, before, persona), after);
}

static void rank_remove(struct nascar *s, uint32_t persona)
{
    uint32_t *link = &s->ranked;
    while (*link != persona) {
        struct persona *p = persona_at(s, *link);
        p->below--;
        link = ranks_before(s, *link, persona) ? &p->right : &p->left;
    }
    *link = tree_join(s, persona_at(s, persona)->left, persona_at(s, persona)->right);
}

/* The place of a persona, 1 for the best; 0 if it has not raced. */
static uint32_t rank_of(const struct nascar *s, uint32_t persona)
{
    uint32_t place = 0, i = s->ranked;
    if (!is_ranked(s, persona))
        return 0;
    while (i != persona) {
        const struct persona *p = persona_at(s, i);
        bool before = ranks_before(s, i, persona);
        place += before ? tree_size(s, p->left) + 1 : 0;
        i = before ? p->right : p->left;
    }
    return place + tree_size(s, persona_at(s, i)->left) + 1;
}

/* The persona at a place; NONE behind the last one. */
static uint32_t find_persona_by_rank(const struct nascar *s, uint32_t place)
{
    uint32_t i = s->ranked;
    if (place < 1 || place > tree_size(s, i))
        return NONE;
    for (;;) {
        const struct persona *p = persona_at(s, i);
        uint32_t before = tree_size(s, p->left);
        if (place == before + 1)
            return i;
        i = place <= before ? p->left : p->right;
        place -= place <= before ? 0 : before + 1;
    }
}

static void user_changed(struct nascar *s, uint32_t player);

/* Does a persona of this name rank before another if it has these figures? */
static bool outranks(const struct figures *f, const char *name, const struct persona *other)
{
    return f->races > 0 && (f->rating != other->figures.rating ? f->rating > other->figures.rating
                                                               : compare_names(name, other->name) < 0);
}

/* Changes the figures of a persona. Its place is another then, maybe, and so is
 * that of everybody whom it has passed: those are told who are online. */
static void set_figures(struct nascar *s, uint32_t persona, const struct figures *figures)
{
    struct persona *p = persona_at(s, persona);
    struct figures old = p->figures;
    if (is_ranked(s, persona))
        rank_remove(s, persona);
    p->figures = *figures;
    if (is_ranked(s, persona))
        rank_add(s, persona);
    EACH_LIVE(i, players) {
        uint32_t other = player_at(s, i)->persona;
        if (other == persona ||
            (other != NONE && is_ranked(s, other) &&
             outranks(&old, p->name, persona_at(s, other)) != outranks(figures, p->name, persona_at(s, other))))
            user_changed(s, i);
    }
}

/* How many points go from the loser to the winner: K / (1 + 10 ^ (ahead /
 * 400)), rounded. `ahead` is how many more the winner had. In whole numbers, so
 * that it is the same on every machine. */
static uint32_t elo_points(uint32_t winner, uint32_t loser)
{
    /* 10 ^ (2 ^ k / 400); all powers here have 24 bits of fraction */
    static const uint32_t steps[10] = {16874072, 16971487, 17168008, 17567902, 18395852,
                                       20170650, 24250455, 35052572, 73235204, 319683260};
    const uint64_t one = 1u << 24;
    uint64_t power = one;
    uint32_t ahead = min_u32(winner > loser ? winner - loser : loser - winner, 1023);
    for (int k = 0; k < 10; k++)
        if (ahead >> k & 1)
            power = power * steps[k] >> 24;
    uint64_t share = winner >= loser ? one : power;
    return (uint32_t)((2 * ELO_K * share + one + power) / (2 * (one + power)));
}

/* Writes numbers with commas between them, in hex, as the console has them, or in
 * decimal, as records have them. */
static void write_numbers(char *out, size_t out_bytes, const uint32_t *values, uint32_t count, bool hex)
{
    char number[24];
    out[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        write_number(number, values[i]);
        if (hex) {
            uint8_t bytes[4];
            char digits[9];
            store_be32(bytes, values[i]);
            write_hex(digits, bytes, sizeof bytes);
            copy_text(number, sizeof number, digits + min_u32((uint32_t)strspn(digits, "0"), 7));
        }
        append_text(out, out_bytes, i > 0 ? "," : "");
        append_text(out, out_bytes, number);
    }
}

/* Reads so many numbers, as records have them. A text of more than the longest that are
 * written was cut, and is none. */
static bool read_numbers(const char *text, uint32_t *values, uint32_t count)
{
    uint32_t at = 0, size = (uint32_t)strlen(text);
    if (size > NUMBERS_CHARS(count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (at >= size || !is_digit((uint8_t)text[at]))
            return false;
        values[i] = read_number((const uint8_t *)text, size, at);
        at += (uint32_t)strcspn(text + at, ",") + 1;
    }
    return true;
}

static void write_figures(char *out, size_t out_bytes, const struct figures *f, bool hex)
{
    const uint32_t values[FIGURE_COUNT] = {f->races,  f->wins,     f->losses,     f->disconnects,
                                           f->rating, f->laps_led, f->best_finish};
    write_numbers(out, out_bytes, values, FIGURE_COUNT, hex);
}

static bool read_figures(const char *text, struct figures *f)
{
    uint32_t values[FIGURE_COUNT];
    if (!read_numbers(text, values, FIGURE_COUNT))
        return false;
    *f = (struct figures){values[0],
                          values[1],
                          values[2],
                          values[3],
                          values[5],
                          (uint16_t)min_u32(values[4], LAST_RATING),
                          (uint16_t)min_u32(values[6], MAX_PLACE)};
    return true;
}

/* R of a persona. The console has 13 bits for it, and 0 means no rank. */
static uint32_t shown_rank(const struct nascar *s, uint32_t persona)
{
    uint32_t rank = rank_of(s, persona);
    return rank <= LAST_RATING ? rank : 0;
}

/* S of a persona: its figures, or "" if it has not raced. */
static void write_standing(const struct nascar *s, uint32_t persona, char out[LEADERBOARD_CHARS + 1])
{
    out[0] = 0;
    if (is_ranked(s, persona))
        write_figures(out, LEADERBOARD_CHARS + 1, &persona_at(s, persona)->figures, true);
}

/* ---- Rows: what the lists say (PROTOCOL 3.3) ----------------------------- */

static struct persona *player_persona(const struct nascar *s, const struct player *p)
{
    return persona_at(s, p->persona);
}

static const char *player_name(const struct nascar *s, uint32_t player)
{
    return player_persona(s, player_at(s, player))->name;
}

/* PROTOCOL 5: a challenger is busy from the offer on, the challenged player
 * from ACPT on. */
static bool player_busy(const struct nascar *s, const struct player *p)
{
    return p->match != NONE && (p->side == 0 || match_at(s, p->match)->state != MATCH_OFFERED);
}

static struct endpoint endpoint_of(const struct conn *conn)
{
    struct endpoint end = {conn->peer, conn->reported, conn->local};
    return end;
}

/* The address at which the console of connection `viewer` reaches a player. */
static uint32_t player_address(const struct nascar *s, uint32_t viewer, const struct player *p)
{
    return visible_address(endpoint_of(conn_at(s, viewer)), endpoint_of(conn_at(s, p->conn)), s->config.public_address);
}

/* PROTOCOL 3.1: the address that whoever is at this end has reached, unless a public one
 * is configured and it is no neighbour. */
static uint32_t server_address(const struct nascar *s, struct endpoint end)
{
    bool next_door = s->config.lan && is_neighbour(end);
    return s->config.public_address && !next_door ? s->config.public_address : end.reached;
}

static const char *room_flags(const struct room *room)
{
    return room->password[0] ? "P" : "0";
}

/* Writes the `+usr` of a player. PROTOCOL 3.3: T is the population of the
 * receiver's room, in deletes, too; U stands only in one's own record. I is a
 * number for each persona. */
static void write_user(struct nascar *s, struct outgoing *f, const struct player *p, uint32_t address,
                       uint32_t population, bool own)
{
    bool busy = player_busy(s, p);
    char standing[LEADERBOARD_CHARS + 1];
    write_standing(s, p->persona, standing);
    frame_begin(f, "+usr", "");
    put_number(f, tag_I, (int64_t)p->persona + 1);
    put_raw(f, tag_F, own ? (busy ? "U1" : "U0") : (busy ? "1" : "0"));
    put_address(f, tag_A, address);
    put_number(f, tag_T, population);
    put_number(f, tag_R, shown_rank(s, p->persona));
    put_raw(f, tag_S, standing);
    put_text(f, tag_N, player_persona(s, p)->name);
    put_text(f, tag_X, p->hushed && !own ? "" : p->text);
}

static void write_user_gone(struct outgoing *f, uint32_t persona, uint32_t population)
{
    frame_begin(f, "+usr", "");
    put_number(f, tag_I, (int64_t)persona + 1);
    put_number(f, tag_T, population);
}

static void write_room(struct outgoing *f, const struct room *room, uint32_t address)
{
    frame_begin(f, "+rom", "");
    put_number(f, tag_I, room->ident);
    if (room->gone)
        return;
    put_address(f, tag_A, address);
    put_number(f, tag_T, room->count);
    put_number(f, tag_L, room->limit);
    put_raw(f, tag_F, room_flags(room));
    put_text(f, tag_N, room->name);
    put_text(f, tag_H, room->description);
}

/* Tells a console where it is itself, by `+who`. `name` becomes R. */
static void send_who(struct nascar *s, uint32_t player, const char *name, const char *flags)
{
    const struct player *p = player_at(s, player);
    const struct room *room = room_at(s, p->room);
    frame_begin(&s->frame, "+who", "");
    put_raw(&s->frame, tag_F, "U");
    put_text(&s->frame, tag_N, player_persona(s, p)->name);
    put_number(&s->frame, tag_RI, room->ident);
    put_number(&s->frame, tag_RT, room->count);
    put_raw(&s->frame, tag_RF, flags);
    put_text(&s->frame, tag_R, name);
    send_frame(s, p->conn);
}

/* Ends the row that is being written and keeps it, as the next reader may get
 * the same one. */
static void keep_row(struct nascar *s, struct row *row)
{
    frame_end(&s->row_frame);
    assert(s->row_frame.size <= ROW_BYTES);
    row->size = s->row_frame.size;
    memcpy(row->bytes, s->row_frame.bytes, s->row_frame.size);
}

/* Ends the row that is being written and sends it to one reader only. */
static void send_row(struct nascar *s, uint32_t c)
{
    frame_end(&s->row_frame);
    conn_write(s, c, s->row_frame.bytes, s->row_frame.size);
}

/* Sends one row of the list of rooms; false if the console knows them all. */
static bool send_room_row(struct nascar *s, const struct player *p)
{
    struct subscription *rooms = &conn_at(s, p->conn)->rooms;
    uint32_t i = feed_next(s, &s->room_feed, rooms);
    if (i == NONE)
        return false;
    const struct room *room = room_at(s, node_room(i));
    struct row *row = &s->room_row;
    uint32_t address = server_address(s, endpoint_of(conn_at(s, p->conn)));
    uint64_t seq = node_at(s, i)->seq;
    if (row->to != seq || row->count != room->count || row->address != address) {
        write_room(&s->row_frame, room, address);
        keep_row(s, row);
        row->to = seq;
        row->count = room->count;
        row->address = address;
    }
    conn_write(s, p->conn, row->bytes, row->size);
    feed_advance(s, &s->room_feed, rooms, i);
    return true;
}

/* Sends one row of the room's users, the player's own last; false if the
 * console knows them all. */
static bool send_user_row(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    struct room *room = room_at(s, p->room);
    uint32_t i = feed_next(s, &room->users, &p->users);
    if (i == NONE) {
        if (!p->own_row_due)
            return false;
        uint32_t *own = &conn_at(s, p->conn)->own;
        if (*own != 0 && *own != p->persona + 1) { /* another persona's own record stands there */
            write_user_gone(&s->row_frame, *own - 1, room->count);
            send_row(s, p->conn);
            *own = 0;
            return true;
        }
        *own = p->persona + 1;
        p->own_row_due = false;
        write_user(s, &s->row_frame, p, conn_at(s, p->conn)->peer, room->count, true);
        send_row(s, p->conn);
        return true;
    }
    const struct occupant *occupant = occupant_at(s, node_occupant(s, i));
    uint64_t seq = node_at(s, i)->seq;
    struct row *row = &s->user_row;
    if (occupant->player != player) {
        bool gone = occupant->player == NONE;
        uint32_t address = gone ? 0 : player_address(s, p->conn, player_at(s, occupant->player));
        if (row->to != seq || row->count != room->count || row->address != address) {
            if (gone)
                write_user_gone(&s->row_frame, occupant->persona, room->count);
            else
                write_user(s, &s->row_frame, player_at(s, occupant->player), address, room->count, false);
            keep_row(s, row);
            row->to = seq;
            row->count = room->count;
            row->address = address;
        }
        conn_write(s, p->conn, row->bytes, row->size);
    }
    feed_advance(s, &room->users, &p->users, i);
    return true;
}

/* Sends one `+pop` with as much as fits; false if the console knows it all.
 * Room 0 goes last, as a console stops reading there. */
static bool send_population_row(struct nascar *s, struct player *p)
{
    struct row *row = &s->population_row;
    uint32_t last = list_last(s, FEED_ENTRIES, &s->population_feed.entries); /* the hub is always there */
    uint64_t newest = node_at(s, last)->seq;
    uint32_t i = feed_next(s, &s->population_feed, &p->populations);
    if (i == NONE)
        return false;
    uint64_t from = p->populations.cursor;
    if (row->size > 0 && row->from == from && row->to == newest) {
        p->populations.cursor = newest;
        p->populations.at = last;
        conn_write(s, p->conn, row->bytes, row->size);
        return true;
    }
    char text[POP_CHARS + 1] = "", entry[64], number[24];
    bool hub = false, more = true;
    for (; i != NONE && more; i = feed_next(s, &s->population_feed, &p->populations)) {
        const struct room *room = room_at(s, node_room(i));
        if (i == population_node(HUB)) {
            hub = true;
        } else {
            write_number(number, room->ident);
            copy_text(entry, sizeof entry, number);
            append_text(entry, sizeof entry, ":");
            write_number(number, room->count);
            append_text(entry, sizeof entry, number);
            if (text[0])
                append_text(text, sizeof text, " ");
            append_text(text, sizeof text, entry);
            more = strlen(text) + 48 < POP_CHARS; /* room for one more, and the hub */
        }
        feed_advance(s, &s->population_feed, &p->populations, i);
    }
    if (hub) {
        write_number(number, room_at(s, HUB)->count);
        append_text(text, sizeof text, text[0] ? " 0:" : "0:");
        append_text(text, sizeof text, number);
    }
    frame_begin(&s->row_frame, "+pop", "");
    put_raw(&s->row_frame, tag_Z, text);
    keep_row(s, row);
    row->from = from;
    row->to = p->populations.cursor;
    conn_write(s, p->conn, row->bytes, row->size);
    return true;
}

/* Sends one row of the ranking, after clearing it; false if it is all told. */
static bool send_rank_row(struct nascar *s, struct player *p)
{
    char standing[LEADERBOARD_CHARS + 1];
    if (p->ranks_due) {
        p->ranks_due = false;
        p->ranks_next = 1;
        p->ranks_left = min_u32(conn_at(s, p->conn)->wants.ranks, ROWS_ASKED);
        frame_begin(&s->row_frame, "+rnk", "");
        put_raw(&s->row_frame, tag_D, "-2");
        send_row(s, p->conn);
        return true;
    }
    uint32_t persona = p->ranks_left == 0 ? NONE : find_persona_by_rank(s, p->ranks_next);
    if (persona == NONE) {
        p->ranks_left = 0;
        return false;
    }
    write_standing(s, persona, standing);
    frame_begin(&s->row_frame, "+rnk", "");
    put_number(&s->row_frame, tag_A, p->ranks_next++);
    put_raw(&s->row_frame, tag_S, standing);
    put_text(&s->row_frame, tag_N, persona_at(s, persona)->name);
    send_row(s, p->conn);
    p->ranks_left--;
    return true;
}

/* Sends one row of the leaderboard that `snap` asked for; false if it is all told. */
static bool send_leaderboard_row(struct nascar *s, struct player *p)
{
    char standing[LEADERBOARD_CHARS + 1];
    if (p->rows_left == 0)
        return false;
    uint32_t persona = find_persona_by_rank(s, p->rows_next);
    if (--p->rows_left == 0)
        s->retry = true; /* the next `snap` may be waiting for this */
    if (persona == NONE)
        return true; /* the list has grown shorter meanwhile */
    write_standing(s, persona, standing);
    frame_begin(&s->row_frame, "+snp", "");
    put_number(&s->row_frame, tag_R, p->rows_next++);
    put_number(&s->row_frame, tag_P, persona_at(s, persona)->figures.rating);
    put_raw(&s->row_frame, tag_S, standing);
    put_text(&s->row_frame, tag_N, persona_at(s, persona)->name);
    send_row(s, p->conn);
    return true;
}

/* Notes that a player's lists have news. Rows are made only when the outbox is
 * drained, so that news for a thousand players need not stand in a thousand
 * outboxes. */
static void mark_player_behind(struct nascar *s, uint32_t player)
{
    uint32_t c = player_at(s, player)->conn;
    conn_at(s, c)->behind = true;
    mark_ready(s, c);
}

static void pump_control(struct nascar *s, uint32_t c);
static void pump_buddy(struct nascar *s, uint32_t c);
static void pump_http(struct nascar *s, uint32_t c);

/* Makes rows of what a console has not been told yet, as long as replies keep
 * their room in the outbox. It goes on when the outbox has drained. */
static void pump(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    if (!conn->behind || conn->closing)
        return;
    if (conn->state == CONN_CONTROL)
        pump_control(s, c);
    if (conn->state == CONN_HTTP)
        pump_http(s, c);
    if (conn->state == CONN_BUDDY)
        pump_buddy(s, c);
    if (conn->state != CONN_PERSONA)
        return;
    struct player *p = player_at(s, conn->player);
    while (outbox_free(conn) >= REPLY_BYTES + ROW_BYTES) {
        if (!send_leaderboard_row(s, p) && !send_room_row(s, p) && !send_user_row(s, conn->player) &&
            !send_rank_row(s, p) && !send_population_row(s, p)) {
            conn->behind = false;
            return;
        }
    }
}

/* ==== 5. People =========================================================== */

/* ---- Rooms --------------------------------------------------------------- */

static void mark_room_dirty(struct nascar *s, uint32_t r)
{
    if (!in_list(s, DIRTY_ROOMS, r))
        list_insert(s, DIRTY_ROOMS, &s->dirty_rooms, NONE, r);
}

static void population_changed(struct nascar *s, uint32_t r)
{
    feed_touch(s, &s->population_feed, population_node(r));
    s->lobby_dirty = true;
}

/* Makes a room. Returns its number, or NONE if there are too many. */
static uint32_t room_create(struct nascar *s, const char *name, const char *description, const char *password,
                            uint32_t limit, uint32_t ident)
{
    uint32_t r = pool_take(s, &s->rooms);
    if (r == NONE)
        return NONE;
    struct room *room = room_at(s, r);
    room->ident = ident;
    room->limit = limit;
    copy_text(room->name, sizeof room->name, name);
    copy_text(room->description, sizeof room->description, description);
    copy_text(room->password, sizeof room->password, password);
    index_add(s, &s->room_names, hash_name(s, room->name), r);
    feed_touch(s, &s->room_feed, room_node(r));
    population_changed(s, r);
    return r;
}

/* A created room vanishes when it is empty. Its place is free again when
 * everybody has been told. */
static void room_delete(struct nascar *s, uint32_t r)
{
    struct room *room = room_at(s, r);
    assert(room->created && room->count == 0 && list_first(&room->users.entries) == NONE);
    index_remove(s, &s->room_names, hash_name(s, room->name), r);
    list_remove(s, DIRTY_ROOMS, &s->dirty_rooms, r); /* as somebody has just left it */
    room->gone = true;
    feed_unlink(s, &s->population_feed, population_node(r));
    s->population_row.size = 0; /* the last +pop that was encoded may have this room in it */
    feed_bury(s, &s->room_feed, room_node(r));
    s->lobby_dirty = true;
}

/* Makes the rooms of the configuration: new ones appear, and those that are
 * there already take over its texts. A room that is not in it any more stays
 * until the next start. */
static void configure_rooms(struct nascar *s)
{
    for (uint32_t i = 0; i < s->config.room_count; i++) {
        const struct config_room *wanted = &s->config.room[i];
        uint32_t r = find_room(s, wanted->name);
        if (r == NONE) {
            if (s->next_room < FIRST_CREATED_ROOM && find_persona(s, wanted->name) == NONE &&
                room_create(s, wanted->name, wanted->description, "", wanted->limit, s->next_room) != NONE) {
                s->next_room++;
                continue;
            }
            uint32_t line = log_begin(s, NASCAR_LOG_WARN, "room_left_out");
            log_text(s, "name", wanted->name);
            log_end(s, line);
            continue;
        }
        struct room *room = room_at(s, r);
        room->created = false; /* a player's room of that name is a configured one from now on: it stays, open to all */
        room->password[0] = 0;
        room->made_by[0] = 0;
        copy_text(room->description, sizeof room->description, wanted->description);
        room->limit = wanted->limit;
        feed_touch(s, &s->room_feed, room_node(r));
    }
    s->lobby_dirty = true;
}

/* What the lists say of a player has changed: those in its room are told, and
 * its own console. */
static void user_changed(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    s->seq++;
    p->own_row_due = p->own_row_due || conn_at(s, p->conn)->wants.users != 0;
    if (p->occupant == NONE) {
        mark_player_behind(s, player); /* in the hub there is nobody else to tell */
        return;
    }
    feed_touch(s, &room_at(s, p->room)->users, occupant_node(s, p->occupant));
    mark_room_dirty(s, p->room);
}

/* Subscribes to the users of the player's room. There is nothing to follow in
 * the hub, where nobody is listed but oneself (PROTOCOL 3.3). */
static void follow_users(struct nascar *s, struct player *p)
{
    if (p->room != HUB)
        relist(s, &room_at(s, p->room)->users, &p->users);
    p->own_row_due = true;
}

/* Makes a persona an occupant of a room. If its tombstone is still there,
 * that comes to life again: so a reader who is behind is told the latest state
 * once, however often the persona came and went. */
static uint32_t occupant_take(struct nascar *s, uint32_t room, uint32_t persona)
{
    uint32_t i = find_occupant(s, room, persona);
    if (i != NONE)
        return i;
    i = pool_take(s, &s->occupants);
    assert(i != NONE);
    occupant_at(s, i)->room = room;
    occupant_at(s, i)->persona = persona;
    index_add(s, &s->occupant_keys, hash_numbers(s, room, persona), i);
    return i;
}

/* Puts a player into a room. The caller has made sure that an occupant's place is free. */
static void room_join(struct nascar *s, uint32_t player, uint32_t r)
{
    struct player *p = player_at(s, player);
    struct room *room = room_at(s, r);
    p->room = r;
    list_insert(s, ROOM_MEMBERS, &room->members, NONE, player);
    room->count++;
    p->occupant = NONE;
    if (r != HUB) {
        p->occupant = occupant_take(s, r, p->persona);
        occupant_at(s, p->occupant)->player = player;
        feed_touch(s, &room->users, occupant_node(s, p->occupant));
    }
    if (conn_at(s, p->conn)->wants.users)
        follow_users(s, p);
    population_changed(s, r);
    if (r != HUB)
        mark_room_dirty(s, r);
    conn_update_crowded(s, p->conn);
}

/* Takes a player out of its room. A created room that is now empty goes, too. */
static void room_leave(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    uint32_t r = p->room;
    struct room *room = room_at(s, r);
    struct conn *conn = conn_at(s, p->conn);
    if (conn->crowded) {
        room->crowded--;
        conn->crowded = false;
        s->retry = true;
    }
    list_remove(s, ROOM_MEMBERS, &room->members, player);
    room->count--;
    unsubscribe(s, &room->users, &p->users);
    p->own_row_due = false;
    if (p->occupant != NONE) {
        occupant_at(s, p->occupant)->player = NONE;
        feed_bury(s, &room->users, occupant_node(s, p->occupant));
    }
    p->occupant = NONE;
    p->room = NONE;
    if (r != HUB)
        mark_room_dirty(s, r);
    if (room->created && room->count == 0)
        room_delete(s, r);
    else
        population_changed(s, r);
}

/* ---- Settling: what a frame leaves to be done ---------------------------- */

static void player_remove(struct nascar *s, uint32_t player);
static void buddy_disconnect(struct nascar *s, uint32_t buddy);

/* Called after each frame and each deadline. Takes out the players whose
 * connection has ended, and marks the connections whose lists have news, until
 * nothing is left to do. */
static void settle(struct nascar *s)
{
    for (;;) {
        if (list_first(&s->doomed) != NONE) {
            uint32_t c = list_take_first(s, DOOMED_CONNS, &s->doomed);
            if (conn_at(s, c)->player != NONE)
                player_remove(s, conn_at(s, c)->player);
            if (conn_at(s, c)->buddy != NONE)
                buddy_disconnect(s, conn_at(s, c)->buddy);
            unsubscribe(s, &s->room_feed, &conn_at(s, c)->rooms);
        } else if (list_first(&s->dirty_rooms) != NONE) {
            uint32_t r = list_take_first(s, DIRTY_ROOMS, &s->dirty_rooms);
            for (uint32_t p = list_first(&room_at(s, r)->members); p != NONE; p = list_next(s, ROOM_MEMBERS, p))
                mark_player_behind(s, p);
        } else if (s->lobby_dirty) {
            s->lobby_dirty = false;
            for (uint32_t p = list_first(&s->lobby_readers); p != NONE; p = list_next(s, LOBBY_READERS, p))
                mark_player_behind(s, p);
        } else {
            return;
        }
    }
}

/* ---- Presence: who is told about whom (PROTOCOL 9) ----------------------- */

static bool is_racing(const struct nascar *s, const struct player *p)
{
    return p->match != NONE && match_at(s, p->match)->state == MATCH_RACING;
}

/* What a persona's friends see. The lobby knows whether it is there and whether
 * it races; the rest is what its console said by PSET. */
static enum show presence_of(const struct nascar *s, uint32_t persona)
{
    const struct persona *p = persona_at(s, persona);
    if (p->player == NONE)
        return p->absent && p->buddy != NONE ? SHOW_PASS : SHOW_DISC;
    if (is_racing(s, player_at(s, p->player)))
        return SHOW_PASS;
    return p->buddy == NONE ? SHOW_CHAT : (enum show)buddy_at(s, p->buddy)->show;
}

static void mark_buddy_behind(struct nascar *s, uint32_t buddy)
{
    uint32_t c = buddy_at(s, buddy)->conn;
    conn_at(s, c)->behind = true;
    mark_ready(s, c);
}

static void mark_watch_due(struct nascar *s, uint32_t i)
{
    watch_at(s, i)->due = true;
    mark_buddy_behind(s, watch_at(s, i)->buddy);
}

/* Everybody who watches the persona is told of its latest presence when their
 * outbox drains. */
static void presence_changed(struct nascar *s, uint32_t persona)
{
    for (uint32_t i = list_first(&persona_at(s, persona)->watchers); i != NONE; i = list_next(s, PERSONA_WATCHERS, i))
        mark_watch_due(s, i);
}

/* A link's watch on a persona, or NONE. */
static uint32_t find_watch(const struct nascar *s, uint32_t buddy, uint32_t persona)
{
    uint32_t i = list_first(&buddy_at(s, buddy)->watches);
    while (i != NONE && watch_at(s, i)->persona != persona)
        i = list_next(s, BUDDY_WATCHES, i);
    return i;
}

/* Has a link watch a persona, for one reason more. There is a watch for each
 * entry of a roster and each PADD, so this cannot fail. Returns the watch. */
static uint32_t watch_add(struct nascar *s, uint32_t buddy, uint32_t persona, uint32_t why)
{
    struct buddy *b = buddy_at(s, buddy);
    struct persona *p = persona_at(s, persona);
    uint32_t i = find_watch(s, buddy, persona);
    if (i == NONE) {
        i = pool_take(s, &s->watches);
        assert(i != NONE);
        struct watch *w = watch_at(s, i);
        w->buddy = buddy;
        w->persona = persona;
        list_insert(s, PERSONA_WATCHERS, &p->watchers, NONE, i);
        list_insert(s, BUDDY_WATCHES, &b->watches, NONE, i);
    }
    b->asked += why == WATCH_ASKED && !(watch_at(s, i)->why & WATCH_ASKED);
    watch_at(s, i)->why |= why;
    return i;
}

static void watch_drop(struct nascar *s, uint32_t buddy, uint32_t persona, uint32_t why)
{
    struct buddy *b = buddy_at(s, buddy);
    uint32_t i = find_watch(s, buddy, persona);
    if (i == NONE)
        return;
    struct watch *w = watch_at(s, i);
    b->asked -= (w->why & why & WATCH_ASKED) != 0;
    w->why &= ~why;
    if (w->why)
        return;
    list_remove(s, PERSONA_WATCHERS, &persona_at(s, persona)->watchers, i);
    list_remove(s, BUDDY_WATCHES, &b->watches, i);
    pool_give(s, &s->watches, i);
}

static void buddy_disconnect(struct nascar *s, uint32_t buddy)
{
    struct buddy *b = buddy_at(s, buddy);
    struct persona *p = persona_at(s, b->persona);
    uint32_t persona = b->persona;
    for (uint32_t i; (i = list_first(&b->watches)) != NONE;)
        watch_drop(s, buddy, watch_at(s, i)->persona, WATCH_ROSTER | WATCH_ASKED);
    for (uint32_t i = list_first(&p->messages); i != NONE; i = list_next(s, PERSONA_MESSAGES, i))
        message_at(s, i)->told = message_at(s, i)->over; /* the next link gets what this one did not */
    enum show old = presence_of(s, persona);
    conn_at(s, b->conn)->buddy = NONE;
    p->buddy = NONE;
    pool_give(s, &s->buddies, buddy);
    if (presence_of(s, persona) != old)
        presence_changed(s, persona);
}

/* Makes connection c the buddy link of a persona; an older one is closed. */
static void buddy_connect(struct nascar *s, uint32_t c, uint32_t persona)
{
    struct persona *p = persona_at(s, persona);
    if (p->buddy != NONE) {
        conn_doom(s, buddy_at(s, p->buddy)->conn, "buddy link elsewhere");
        buddy_disconnect(s, p->buddy);
    }
    uint32_t buddy = pool_take(s, &s->buddies); /* there is one for each connection, so this cannot fail */
    struct buddy *b = buddy_at(s, buddy);
    b->conn = c;
    b->persona = persona;
    b->show = SHOW_CHAT;
    p->buddy = buddy;
    conn_at(s, c)->buddy = buddy;
    for (uint32_t i = p->edges; i != NONE; i = edge_at(s, i)->next)
        if (edge_lists(s, i) & LIST_BUDDY)
            (void)watch_add(s, buddy, edge_other(s, i), WATCH_ROSTER);
    if (p->absent) /* its link was gone for a time, and its friends took it to be, too */
        presence_changed(s, persona);
}

/* Writes a `PGET` to somebody's link. SHOW comes first, as the texts come from a player. */
static void write_presence(const struct nascar *s, struct outgoing *f, uint32_t persona, uint32_t viewer)
{
    const struct persona *p = persona_at(s, persona);
    enum show show = presence_of(s, persona);
    const struct buddy *b = p->buddy == NONE || show == SHOW_DISC ? NULL : buddy_at(s, p->buddy);
    if (b && b->hushed && persona_at(s, buddy_at(s, viewer)->persona)->account != p->account)
        b = NULL;
    frame_begin(f, "PGET", "");
    put_raw(f, tag_SHOW, show_names[show]);
    put_text(f, tag_USER, p->name);
    put_text(f, tag_PROD, b ? b->product : "");
    put_text(f, tag_STAT, b ? b->status : "");
}

/* Sends the next of the messages that were kept for a persona while it was away. */
static bool send_kept_message(struct nascar *s, uint32_t buddy);

/* Sends each watched persona's presence, if it has changed, and then kept
 * messages. A link that is behind gets the latest state of each once. */
static void pump_buddy(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    struct buddy *b = buddy_at(s, conn->buddy);
    for (uint32_t i = list_first(&b->watches); i != NONE; i = list_next(s, BUDDY_WATCHES, i)) {
        if (!watch_at(s, i)->due)
            continue;
        if (!takes_chat(conn))
            return;
        watch_at(s, i)->due = false;
        write_presence(s, &s->row_frame, watch_at(s, i)->persona, conn->buddy);
        send_row(s, c);
    }
    while (b->delivers) {
        if (b->telling > 0 || !takes_chat(conn))
            return;
        if (s->record_count == RECORDS) { /* each message ends with a record of its own, which needs a slot */
            mark_ready(s, c);
            return;
        }
        b->delivers = send_kept_message(s, conn->buddy);
    }
    conn->behind = false;
}

/* ---- Players ------------------------------------------------------------- */

static bool is_online(const struct nascar *s, uint32_t persona)
{
    return persona_at(s, persona)->player != NONE;
}

/* The player who is online as the persona of this name; NONE if nobody is. */
static uint32_t find_online(const struct nascar *s, const char *name)
{
    uint32_t persona = find_persona(s, name);
    return persona == NONE ? NONE : persona_at(s, persona)->player;
}

static bool ignores(const struct nascar *s, uint32_t persona, uint32_t other)
{
    if (persona_at(s, other)->ignored_by == 0)
        return false;
    uint32_t i = find_edge(s, persona, other);
    return i != NONE && (edge_lists(s, i) & LIST_IGNORE);
}

static void lobby_subscribe(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    if (!p->populations.on)
        list_insert(s, LOBBY_READERS, &s->lobby_readers, NONE, player);
    subscribe(s, &s->population_feed, &p->populations);
}

static void lobby_unsubscribe(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    if (!p->populations.on)
        return;
    list_remove(s, LOBBY_READERS, &s->lobby_readers, player);
    unsubscribe(s, &s->population_feed, &p->populations);
}

/* Starts the given lists anew, and that of populations with them: `+pop` comes
 * after the others. */
static void start_lists(struct nascar *s, uint32_t player, bool rooms, bool users, bool ranks)
{
    struct player *p = player_at(s, player);
    if (rooms)
        relist(s, &s->room_feed, &conn_at(s, p->conn)->rooms);
    p->ranks_due = p->ranks_due || ranks;
    if (rooms || users || ranks)
        lobby_subscribe(s, player);
}

static int64_t kept_now_s(const struct nascar *s);
static void challenge_leave(struct nascar *s, uint32_t player);
static void race_leave(struct nascar *s, uint32_t player);

/* Takes its persona off a player: out of the room, and out of what it was playing. */
static void persona_off(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    if (p->persona == NONE)
        return;
    challenge_leave(s, player);
    race_leave(s, player);
    if (p->room != HUB)
        conn_at(s, p->conn)->own = 0; /* the console clears its list when it hears that it is in the hub */
    room_leave(s, player);
    uint32_t persona = p->persona;
    persona_at(s, persona)->player = NONE;
    p->persona = NONE;
    p->peeked[0] = 0;
    p->text[0] = 0;
    p->hushed = false;
    p->ranks_due = false;
    p->ranks_left = p->rows_left = 0;
    conn_become(s, conn_at(s, p->conn), CONN_ACCOUNT);
    presence_changed(s, persona);
}

/* Puts a persona on a player: it comes into the hub, and gets the lists that
 * `sele` asked for. */
static void persona_on(struct nascar *s, uint32_t player, uint32_t persona)
{
    struct player *p = player_at(s, player);
    p->persona = persona;
    persona_at(s, persona)->player = player;
    for (uint32_t k = 0; k < PERSONAS_PER_ACCOUNT; k++) { /* whichever of them raced is back */
        uint32_t other = account_at(s, p->account)->persona[k];
        if (other == NONE || !persona_at(s, other)->absent)
            continue;
        persona_at(s, other)->absent = false;
        presence_changed(s, other);
    }
    conn_become(s, conn_at(s, p->conn), CONN_PERSONA);
    presence_changed(s, persona);
    room_join(s, player, HUB);
    const struct wants *wants = &conn_at(s, p->conn)->wants;
    start_lists(s, player, wants->rooms, wants->users, wants->ranks);
}

static void player_remove(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    uint32_t persona = p->persona;
    bool racing = is_racing(s, p);
    persona_off(s, player);
    if (racing) /* PROTOCOL 5: consoles may leave the lobby for the time of a race */
        persona_at(s, persona)->absent = true;
    lobby_unsubscribe(s, player);
    account_at(s, p->account)->player = NONE;
    conn_at(s, p->conn)->player = NONE;
    address_at(s, conn_at(s, p->conn)->address)->players--;
    pool_give(s, &s->players, player);
    s->retry = true;
}

/* Makes connection c the one player of an account; an older connection of it is
 * closed (PROTOCOL 6). Returns false if there are as many players as there may
 * be. */
static bool player_add(struct nascar *s, uint32_t c, uint32_t account)
{
    uint32_t older = account_at(s, account)->player;
    struct conn *conn = conn_at(s, c);
    if (older != NONE) {
        uint32_t older_conn = player_at(s, older)->conn;
        conn_doom(s, older_conn, "logged in elsewhere");
        player_remove(s, older);
    }
    uint32_t player = pool_full(&s->players) ? NONE : pool_take(s, &s->players);
    if (player == NONE)
        return false;
    struct player *p = player_at(s, player);
    p->account = account;
    p->conn = c;
    p->persona = p->room = p->occupant = p->match = NONE;
    struct account *a = account_at(s, account);
    p->last_login_s = a->last_login_s ? a->last_login_s : a->created_s;
    a->player = player;
    p->since_s = kept_now_s(s);
    p->acted_ms = s->mono_ms;
    conn->player = player;
    address_at(s, conn->address)->players++;
    conn_become(s, conn, CONN_ACCOUNT);
    return true;
}

/* ==== 6. Kept things ====================================================== */

/* ---- Kept things: what records make and take away ------------------------ */

static enum failure persona_add(struct nascar *s, uint32_t account, const char *name)
{
    struct account *a = account_at(s, account);
    uint32_t slot = 0;
    if (!valid_name(name, PERSONA_CHARS))
        return BAD_NAME;
    while (slot < PERSONAS_PER_ACCOUNT && a->persona[slot] != NONE)
        slot++;
    if (slot == PERSONAS_PER_ACCOUNT)
        return TOO_MANY_PERSONAS;
    if (find_persona(s, name) != NONE)
        return TAKEN;
    uint32_t i = pool_take(s, &s->personas); /* there are four for each account, so this cannot fail */
    struct persona *persona = persona_at(s, i);
    persona->account = account;
    persona->player = persona->buddy = persona->edges = NONE;
    copy_text(persona->name, sizeof persona->name, name);
    index_add(s, &s->persona_names, hash_name(s, name), i);
    index_add(s, &s->persona_prefixes, hash_prefix(s, name), i);
    a->persona[slot] = i;
    return OK;
}

/* The names of an account's personas, with commas between them. */
static void write_personas(const struct nascar *s, const struct account *a, char out[PERSONA_LIST_CHARS + 1])
{
    out[0] = 0;
    for (uint32_t i = 0; i < PERSONAS_PER_ACCOUNT && a->persona[i] != NONE; i++) {
        append_text(out, PERSONA_LIST_CHARS + 1, i > 0 ? "," : "");
        append_text(out, PERSONA_LIST_CHARS + 1, persona_at(s, a->persona[i])->name);
    }
}

/* Puts one persona on the given lists of another, and takes it off those that
 * are not given. */
static enum failure roster_set(struct nascar *s, uint32_t owner, uint32_t other, uint32_t lists)
{
    struct persona *p = persona_at(s, owner);
    uint32_t i = find_edge(s, owner, other);
    if (!lists && i == NONE)
        return OK;
    if (i == NONE) {
        if (p->edge_count == ROSTER_PER_PERSONA || pool_full(&s->edges))
            return ROSTER_FULL;
        i = pool_take(s, &s->edges);
        edge_at(s, i)->owner = owner;
        edge_at(s, i)->other_and_lists = other << 2;
        edge_at(s, i)->next = p->edges;
        p->edges = i;
        p->edge_count++;
    }
    struct edge *edge = edge_at(s, i);
    uint32_t changed = lists ^ edge_lists(s, i);
    edge->other_and_lists = other << 2 | lists;
    if (changed & LIST_IGNORE)
        persona_at(s, other)->ignored_by += lists & LIST_IGNORE ? 1u : 0u - 1u;
    if ((changed & LIST_BUDDY) && p->buddy != NONE) {
        if (lists & LIST_BUDDY)
            (void)watch_add(s, p->buddy, other, WATCH_ROSTER);
        else
            watch_drop(s, p->buddy, other, WATCH_ROSTER);
    }
    if (lists)
        return OK;
    uint32_t *link = &p->edges;
    while (*link != i)
        link = &edge_at(s, *link)->next;
    *link = edge->next;
    p->edge_count--;
    pool_give(s, &s->edges, i);
    return OK;
}

/* Deleting is rare, and so this may walk over a whole table: whoever had the
 * persona on a roster has it there no longer. */
static void remove_from_rosters(struct nascar *s, uint32_t persona)
{
    for (uint32_t i; (i = persona_at(s, persona)->edges) != NONE;)
        (void)roster_set(s, persona, edge_other(s, i), 0);
    EACH_LIVE(i, edges)
        if (edge_other(s, i) == persona)
            (void)roster_set(s, edge_at(s, i)->owner, persona, 0);
}

static void message_remove(struct nascar *s, uint32_t i)
{
    struct persona *p = persona_at(s, message_at(s, i)->to);
    list_remove(s, PERSONA_MESSAGES, &p->messages, i);
    p->message_count--;
    pool_give(s, &s->messages, i);
}

/* Sets the two personas of an open race, NONE for nobody, and keeps count of
 * each one's open races. */
static void race_ticket_set_sides(struct nascar *s, uint32_t i, uint32_t host, uint32_t opponent)
{
    const uint32_t sides[2] = {host, opponent};
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t *persona = &race_ticket_at(s, i)->persona[side];
        if (*persona != NONE)
            persona_at(s, *persona)->race_count--;
        *persona = sides[side];
        if (*persona != NONE)
            persona_at(s, *persona)->race_count++;
    }
}

static void race_ticket_remove(struct nascar *s, uint32_t i)
{
    race_ticket_set_sides(s, i, NONE, NONE);
    index_remove(s, &s->race_tickets, siphash(s->hash_key, race_ticket_at(s, i)->ticket, 16), i);
    pool_give(s, &s->races, i);
}

/* A persona that races and never reports loses its oldest ticket when it has
 * too many. */
static void race_ticket_remove_oldest(struct nascar *s, uint32_t persona)
{
    uint32_t oldest = NONE;
    EACH_LIVE(i, races) {
        const struct race_ticket *race = race_ticket_at(s, i);
        if ((race->persona[0] == persona || race->persona[1] == persona) &&
            (oldest == NONE || race->when_s < race_ticket_at(s, oldest)->when_s ||
             (race->when_s == race_ticket_at(s, oldest)->when_s &&
              memcmp(race->ticket, race_ticket_at(s, oldest)->ticket, sizeof race->ticket) < 0)))
            oldest =
                i; /* of two in one second any, but the same at a start: that goes by nothing else than what is kept */
    }
    race_ticket_remove(s, oldest);
}

/* A run that begins with a clock that was not set goes on from the newest date. */
static void note_date(struct nascar *s, int64_t date_s)
{
    if (date_s > s->newest_record_s)
        s->newest_record_s = date_s;
}

/* Which side has won a race; 2 if neither has. Who is out has not, whatever its place; then the
 * better place wins, and who has none, which is 0, is behind. */
static uint32_t result_winner(const uint32_t number[RESULT_NUMBERS])
{
    bool out[2] = {number[RESULT_OUT] != OUT_NOT, number[RESULT_OUT + 1] != OUT_NOT};
    if (out[0] || out[1])
        return out[0] && out[1] ? 2 : out[0];
    const uint32_t place[2] = {number[RESULT_PLACE] - 1, number[RESULT_PLACE + 1] - 1}; /* who has none is behind */
    return place[0] == place[1] ? 2 : place[1] < place[0];
}

/* Keeps a result among the latest ones, in its place, and in that of the oldest if there are
 * too many. One whose number is here already is replaced, so a record of it may come twice. */
static enum failure result_set(struct nascar *s, const char *text, const char *host, const char *guest)
{
    uint32_t number[RESULT_NUMBERS];
    if (!read_numbers(text, number, RESULT_NUMBERS) || number[RESULT_ID] == 0)
        return MISSING;
    if (number[RESULT_ID] > s->next_result)
        s->next_result = number[RESULT_ID];
    uint32_t oldest = list_first(&s->latest), i = list_last(s, LATEST_RESULTS, &s->latest);
    while (i != NONE && result_at(s, i)->number[RESULT_ID] > number[RESULT_ID])
        i = list_prev(s, LATEST_RESULTS, &s->latest, i);
    if (i == NONE || result_at(s, i)->number[RESULT_ID] != number[RESULT_ID]) {
        uint32_t after = i;
        bool full = pool_full(&s->results);
        if (full && after == NONE)
            return OK; /* it is older than all of them */
        if (full)
            list_remove(s, LATEST_RESULTS, &s->latest, oldest);
        i = full ? oldest : pool_take(s, &s->results);
        list_insert(s, LATEST_RESULTS, &s->latest, after == i ? NONE : after, i);
    }
    struct latest_result *result = result_at(s, i);
    memcpy(result->number, number, sizeof number);
    for (uint32_t side = 0; side < 2; side++) {
        copy_text(result->name[side], sizeof result->name[side], side ? guest : host);
        result->hash[side] = hash_name(s, result->name[side]);
    }
    note_date(s, number[RESULT_DATE]);
    return OK;
}

/* The date now as the dates that are kept are meant: while the record that moves
 * them all is on its way, they are still those of the clock before it was set. At
 * the start, while they come back, it is the newest of them. */
static int64_t kept_now_s(const struct nascar *s)
{
    if (s->dated)
        return s->reached_s - s->setting_s;
    return s->newest_record_s < LATEST_DATE_S ? s->newest_record_s : LATEST_DATE_S;
}

/* A message or race is there, and runs out. */
static void note_end(struct pool *pool, int64_t end_s)
{
    if (end_s < pool->ends_s)
        pool->ends_s = end_s;
}

/* How many of a full table's messages or races have run out at that time. If it is
 * for the record that takes the place of one, they go. No record says what went so:
 * a start decides it by the same records, each with its date, whatever its clock says. */
static uint32_t sweep(struct nascar *s, struct pool *pool, int64_t at_s, bool removes)
{
    uint32_t count = 0;
    if (!pool_full(pool) || at_s < pool->ends_s)
        return 0;
    pool->ends_s = INT64_MAX;
    for (uint32_t i = live_from(s, pool, 0); i != NONE; i = live_from(s, pool, i + 1)) {
        bool message = pool == &s->messages;
        int64_t end_s = message ? message_at(s, i)->until_s : race_ticket_at(s, i)->when_s + RACE_S;
        if (end_s > at_s || !removes)
            note_end(pool, end_s);
        count += end_s <= at_s;
        if (end_s <= at_s && removes && message)
            message_remove(s, i);
        else if (end_s <= at_s && removes)
            race_ticket_remove(s, i);
    }
    return count;
}

/* Is there room for one more, when what has run out is gone? */
static bool makes_room(struct nascar *s, struct pool *pool)
{
    return pool->live + pool->promised - sweep(s, pool, kept_now_s(s), false) < pool->capacity;
}

/* How many messages of a persona have run out at that time; they go, as above. */
static uint32_t sweep_persona(struct nascar *s, uint32_t persona, int64_t at_s, bool removes)
{
    uint32_t count = 0;
    for (uint32_t i = list_first(&persona_at(s, persona)->messages), next; i != NONE; i = next) {
        next = list_next(s, PERSONA_MESSAGES, i);
        if (message_at(s, i)->until_s > at_s)
            continue;
        count++;
        if (removes)
            message_remove(s, i);
    }
    return count;
}

/* Whoever watches a persona that goes away is told so now, while it has a name. A link
 * that is too far behind for that ends, as its console would show the persona for good. */
static void tell_watchers(struct nascar *s, uint32_t persona)
{
    for (uint32_t i = list_first(&persona_at(s, persona)->watchers); i != NONE; i = list_next(s, PERSONA_WATCHERS, i)) {
        uint32_t c = buddy_at(s, watch_at(s, i)->buddy)->conn;
        if (!watch_at(s, i)->due)
            continue;
        watch_at(s, i)->due = false;
        write_presence(s, &s->row_frame, persona, watch_at(s, i)->buddy);
        if (takes_chat(conn_at(s, c)))
            send_row(s, c);
        else
            conn_doom(s, c, "too far behind");
    }
}

/* Takes a persona away, and all that is said of it anywhere. */
static void persona_remove(struct nascar *s, uint32_t i)
{
    struct persona *persona = persona_at(s, i);
    struct account *a = account_at(s, persona->account);
    uint32_t slot = 0;
    if (persona->player != NONE) { /* it was put on while the record was on its way */
        conn_doom(s, player_at(s, persona->player)->conn, "persona deleted");
        player_remove(s, persona->player);
    }
    while (a->persona[slot] != i)
        slot++;
    for (; slot + 1 < PERSONAS_PER_ACCOUNT; slot++)
        a->persona[slot] = a->persona[slot + 1];
    a->persona[slot] = NONE;
    if (persona->buddy != NONE) {
        conn_doom(s, buddy_at(s, persona->buddy)->conn, "persona deleted");
        buddy_disconnect(s, persona->buddy);
    }
    tell_watchers(s, i);
    remove_from_rosters(s, i);
    for (uint32_t w; (w = list_first(&persona->watchers)) != NONE;)
        watch_drop(s, watch_at(s, w)->buddy, i, WATCH_ROSTER | WATCH_ASKED);
    for (uint32_t m; (m = list_first(&persona->messages)) != NONE;)
        message_remove(s, m);
    EACH_LIVE(k, races) {
        const uint32_t *side = race_ticket_at(s, k)->persona;
        uint32_t host = side[0] == i ? NONE : side[0], opponent = side[1] == i ? NONE : side[1];
        race_ticket_set_sides(s, k, host, opponent);
        if (host == NONE && opponent == NONE) /* nobody is left who could report it */
            race_ticket_remove(s, k);
    }
    set_figures(s, i, &(struct figures){0});
    index_remove(s, &s->persona_names, hash_name(s, persona->name), i);
    index_remove(s, &s->persona_prefixes, hash_prefix(s, persona->name), i);
    pool_give(s, &s->personas, i);
}

/* Ends the connections of whoever is online as an account. Returns how many there were. */
static uint32_t put_out_account(struct nascar *s, uint32_t account, const char *why)
{
    const struct account *a = account_at(s, account);
    uint32_t count = a->player != NONE;
    if (a->player != NONE)
        conn_doom(s, player_at(s, a->player)->conn, why);
    for (uint32_t k = 0; k < PERSONAS_PER_ACCOUNT; k++) {
        uint32_t buddy = a->persona[k] == NONE ? NONE : persona_at(s, a->persona[k])->buddy;
        count += buddy != NONE;
        if (buddy != NONE)
            conn_doom(s, buddy_at(s, buddy)->conn, why);
    }
    return count;
}

/* The password that is compared for a connection is not the account's any more: it is
 * compared with the new one then, or if `why` says that the account is gone, it ends. */
static void forget_tries(struct nascar *s, uint32_t account, const char *why)
{
    for (uint32_t c = 0; c < s->conns.high; c++)
        if (conn_at(s, c)->checking == account && conn_at(s, c)->state != CONN_FREE) {
            conn_at(s, c)->checking = NONE;
            if (why)
                conn_doom(s, c, why);
        }
}

/* Takes an account away, with its personas. Whoever is online as it is so no more, and
 * whoever is just trying its password tries no longer. */
static void account_remove(struct nascar *s, uint32_t i)
{
    struct account *a = account_at(s, i);
    (void)put_out_account(s, i, "account deleted");
    if (a->player != NONE)
        player_remove(s, a->player);
    while (a->persona[0] != NONE)
        persona_remove(s, a->persona[0]);
    forget_tries(s, i, "account deleted");
    index_remove(s, &s->account_names, hash_name(s, a->name), i);
    pool_give(s, &s->accounts, i);
}

static uint32_t find_report(const struct nascar *s, uint32_t id)
{
    uint32_t i = live_from(s, &s->reports, 0);
    while (i != NONE && report_at(s, i)->id != id)
        i = live_from(s, &s->reports, i + 1);
    return i;
}

/* ---- Bans and mutes ------------------------------------------------------ */

/* A ban keeps out who logs in as an account, or comes from a network. What somebody
 * says who is muted is told to nobody but himself, and is answered as ever. Both are
 * found by a name of an account or a network, as a text. */

/* Is it in force? */
static bool sanction_holds(const struct nascar *s, uint32_t i)
{
    return sanction_at(s, i)->until_s == 0 || sanction_at(s, i)->until_s > kept_now_s(s);
}

/* The sanction of that target which is in force, or NONE. */
static uint32_t find_held(const struct nascar *s, bool mute, const char *target)
{
    uint32_t i = find_sanction(s, mute, target);
    return i != NONE && sanction_holds(s, i) ? i : NONE;
}

/* The ban of an address: of the smallest network that holds it. At most 32 look-ups,
 * one for each size of a network that is banned, however many networks are. */
static uint32_t find_address_ban(const struct nascar *s, uint32_t address)
{
    char network[NETWORK_CHARS + 1];
    uint32_t i = NONE;
    for (uint32_t bits = 32; bits > 0 && i == NONE; bits--) {
        if (!(s->banned_bits >> bits & 1))
            continue;
        write_network(network, address & UINT32_MAX << (32 - bits), bits);
        i = find_held(s, false, network);
    }
    return i;
}

/* What keeps out whoever logs in as `name` from that address, or NONE. */
static uint32_t find_ban(const struct nascar *s, const char *name, uint32_t address)
{
    uint32_t i = find_held(s, false, name);
    return i != NONE ? i : find_address_ban(s, address);
}

static bool is_muted(const struct nascar *s, uint32_t account)
{
    return find_held(s, true, account_at(s, account)->name) != NONE;
}

/* Would that account be told what a persona says? Its own player is. */
static bool is_heard(const struct nascar *s, uint32_t persona, uint32_t by_account)
{
    uint32_t account = persona_at(s, persona)->account;
    return account == by_account || !is_muted(s, account);
}

static void sanction_remove(struct nascar *s, uint32_t i)
{
    index_remove(s, &s->sanction_targets, hash_name(s, sanction_at(s, i)->target), i);
    pool_give(s, &s->sanctions, i);
}

/* Those that have ended at that time make room for a new one. */
static void drop_ended_sanctions(struct nascar *s, int64_t at_s)
{
    EACH_LIVE(i, sanctions)
        if (sanction_at(s, i)->until_s != 0 && sanction_at(s, i)->until_s <= at_s)
            sanction_remove(s, i);
}

static uint32_t count_ended_sanctions(const struct nascar *s)
{
    uint32_t count = 0;
    EACH_LIVE(i, sanctions)
        count += !sanction_holds(s, i);
    return count;
}

/* This looks at all connections, but only when the operator bans a network. His own is
 * of no address. */
static void put_out_network(struct nascar *s, const struct network *network)
{
    for (uint32_t c = 0; c < s->conns.high; c++) {
        const struct conn *conn = conn_at(s, c);
        if (conn->state != CONN_FREE && conn->state != CONN_CONTROL &&
            in_network(conn->peer, network->address, network->bits))
            conn_doom(s, c, "banned");
    }
}

/* What others are shown that a player has written is shown to them no more, until he
 * writes something else and is not muted. */
static void hush_account(struct nascar *s, uint32_t account)
{
    const struct account *a = account_at(s, account);
    if (a->player != NONE && player_at(s, a->player)->persona != NONE) {
        player_at(s, a->player)->hushed = true;
        user_changed(s, a->player);
    }
    for (uint32_t k = 0; k < PERSONAS_PER_ACCOUNT; k++) {
        uint32_t buddy = a->persona[k] == NONE ? NONE : persona_at(s, a->persona[k])->buddy;
        if (buddy == NONE)
            continue;
        buddy_at(s, buddy)->hushed = true;
        presence_changed(s, a->persona[k]);
    }
}

/* Is this the name of an account, or else a network as write_network() has it? */
static bool valid_target(const char *text, bool mute, struct network *network)
{
    char written[NETWORK_CHARS + 1];
    if (valid_name(text, ACCOUNT_CHARS))
        return true;
    if (mute || !parse_network(text, network) || network->bits == 0)
        return false;
    write_network(written, network->address & UINT32_MAX << (32 - network->bits), network->bits);
    return strcmp(text, written) == 0;
}

/* Makes a sanction, or replaces the one that there is; the one that has ended when it
 * begins lifts it. Whoever is online feels it at once. */
static enum failure sanction_set(struct nascar *s, const struct sanction *made)
{
    struct network network = {0, 0};
    if (!valid_target(made->target, made->mute, &network))
        return BAD_NAME;
    note_date(s, made->since_s); /* first: at a start that is the date by which others have ended */
    uint32_t i = find_sanction(s, made->mute, made->target);
    bool lifts = made->until_s != 0 && made->until_s <= made->since_s;
    if (i != NONE)
        sanction_remove(s, i);
    if (!lifts && pool_full(&s->sanctions))
        drop_ended_sanctions(s, made->since_s);
    i = lifts ? NONE : pool_take(s, &s->sanctions);
    if (i != NONE) {
        struct sanction *sanction = sanction_at(s, i);
        *sanction = *made;
        sanction->link = LIVE;
        index_add(s, &s->sanction_targets, hash_name(s, made->target), i);
    }
    s->banned_bits |= network.bits > 0 && !lifts ? UINT64_C(1) << network.bits : 0;
    if (i == NONE)
        return lifts ? OK : SERVER_FULL;
    uint32_t account = find_account(s, made->target);
    if (network.bits > 0)
        put_out_network(s, &network);
    else if (account != NONE && made->mute)
        hush_account(s, account);
    else if (account != NONE)
        (void)put_out_account(s, account, "banned");
    return OK;
}

/* ---- Durable records: what they say, and what they change ---------------- */

/* What is to survive a restart is changed in one way only. A handler fills a
 * `struct record` and hands it to send_record, which makes a frame of it. The
 * shell keeps the frame on the disk and gives it back; then apply_record makes
 * the change. At the next start the journal gives the same frames again, and
 * the same functions make the same changes.
 *
 * The same: so what apply_...() decides goes by the record and by what is kept, and
 * by nothing else. It looks at no clock, but at the date in the record; it is refused
 * for want of room by no table that may be larger at the next start, as whoever hands
 * a record out has seen that there is room, and its place is promised (queue_record()).
 * And nothing else than apply_...() takes away what is kept.
 *
 * All that there is to know about a kind of record is in its row of durables[].
 * A new kind takes a name in `enum record_kind`, its fields in `struct record`,
 * the functions that apply it and that fill it for compaction, its row, and a
 * name for each tag that is new. What it keeps, if that is a new thing, takes a
 * struct and a line in POOLS, maybe one in INDEXES or LIST_KINDS; what becomes of it
 * in remove_persona() and sweep(); and its part of nascar_check().
 *
 * The order of the kinds is the one in which compaction writes them: names come
 * first, then what refers to them. So a change that is kept while the tables are
 * gone through finds what it changes, or the table tells of it later. */
/* clang-format off */
enum record_kind {
    RECORD_ACCT, RECORD_EDIT, RECORD_SEEN, RECORD_CPER, RECORD_DPER, RECORD_DACC, RECORD_TICK, RECORD_STAT, RECORD_ROST,
    RECORD_RACE, RECORD_RANK, RECORD_RSLT, RECORD_MESG, RECORD_DMSG, RECORD_REPT, RECORD_LINE, RECORD_DREP, RECORD_NEWS,
    RECORD_BANN, RECORD_MUTE, RECORD_CLCK, RECORD_KINDS
};
/* clang-format on */

/* What a record says. An account, a persona, and the report of a line stand here
 * as their numbers in their pools, and in the frame by name or ID: so they are
 * found. If there is none of that name, the number is NONE. Texts are cut to what
 * fits. A new name, a hash, a ticket and figures have room for a byte more than
 * the longest that there are: if it is used, then what came is none of these, and
 * it must not be cut to something that is one. */
struct record {
    enum record_kind kind;
    union {
        struct { /* an account is there, with these personas */
            int64_t created_s, last_login_s;
            uint32_t banned; /* of old: a ban for good */
            bool has_personas, has_banned;
            char name[ACCOUNT_CHARS + 2];
            char hash[HASH_CHARS + 2];
            char mail[MAIL_CHARS + 1], spam[3];
            char personas[PERSONA_LIST_CHARS + 1];
        } acct;
        struct { /* an account has changed, as far as is said here: another change may be on its way to the disk */
            uint32_t account, banned; /* banned: of old, a ban for good, or its end */
            bool has_hash, has_mail, has_spam, has_banned;
            char hash[HASH_CHARS + 2];
            char mail[MAIL_CHARS + 1], spam[3];
        } edit;
        struct { /* somebody has logged in */
            uint32_t account;
            int64_t last_login_s;
        } seen;
        struct { /* a new persona */
            uint32_t account;
            char persona[PERSONA_CHARS + 2];
        } cper;
        struct { /* a persona is gone */
            uint32_t persona, account;
        } dper;
        struct { /* an account is gone, and its personas with it: by its own wish, or else by the operator's */
            uint32_t account, by;
            bool has_by;
        } dacc;
        struct { /* a ticket for the buddy service, of which no more than a hash is kept */
            uint32_t persona;
            int64_t until_s;
            char hash[33];
        } tick;
        struct { /* what a persona's races have come to */
            uint32_t persona;
            char figures[FIGURES_CHARS + 2];
        } stat;
        struct { /* the lists of one persona that hold another one now; none: it is off the roster */
            uint32_t owner, other, lists;
        } rost;
        struct { /* the ticket of a race, and who has reported what */
            uint32_t persona[2], reported, first_sum;
            int64_t when_s;
            char ticket[34];
        } race;
        struct { /* a result: who has reported, and what the first report has made of both */
            uint32_t persona[2], reported, first_sum;
            bool counts[2], has_result;
            char ticket[34];
            char figures[2][FIGURES_CHARS + 2];
            char result[RESULT_CHARS + 2]; /* with the first report */
        } rank;
        struct { /* one of the latest results */
            char name[2][PERSONA_CHARS + 1];
            char result[RESULT_CHARS + 2];
        } rslt;
        struct message mesg; /* a message for somebody who is offline */
        struct {             /* a message is gone, having been told */
            uint32_t to, id;
        } dmsg;
        struct report rept;      /* an abuse report */
        struct report_line line; /* ... and a line of it */
        struct {                 /* the operator has closed a report */
            uint32_t id;
        } drep;
        struct { /* the operator has set the news; none: they are the configuration's again */
            char text[NEWS_CHARS + 2];
        } news;
        struct { /* a ban or a mute, until then; 0: for good; not later than since_s: it is lifted */
            int64_t since_s, until_s;
            char target[NETWORK_CHARS + 2];
            char reason[REASON_CHARS + 1];
        } sanction;
        struct { /* the wall clock was set from one date to another; the run began at the third. If they
                  * are equal, it was not: in a run that began then; 0: all is well again */
            int64_t from_s, to_s, since_s;
        } clck;
    };
};

/* What a record changes is changed here and nowhere else. All is checked again:
 * of two sign-ups for one name in one turn the second finds it taken. What is
 * called fill_... is for compaction: it fills the record that says the same as
 * what is there now, or returns false if that need not be kept. */

/* A hash is kept as it came or not at all: whoever got one that was cut could
 * never log in again, and an account without one would take any password. It is
 * one word of printable ASCII. */
static bool valid_hash(const uint8_t *bytes, size_t size)
{
    if (size == 0 || size > HASH_CHARS)
        return false;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] <= ' ' || bytes[i] > '~')
            return false;
    return true;
}

/* Journals had a ban for good as a flag of the account, before it was a record of its own. */
static enum failure set_old_ban(struct nascar *s, uint32_t account, bool banned)
{
    int64_t now_s = s->newest_record_s > 0 ? s->newest_record_s : 1;
    struct sanction ban = {.since_s = now_s, .until_s = banned ? 0 : now_s};
    copy_text(ban.target, sizeof ban.target, account_at(s, account)->name);
    return sanction_set(s, &ban);
}

static enum failure apply_acct(struct nascar *s, const struct record *r)
{
    char persona[PERSONA_CHARS + 2];
    if (!valid_name(r->acct.name, ACCOUNT_CHARS))
        return BAD_NAME;
    if (!valid_hash((const uint8_t *)r->acct.hash, strlen(r->acct.hash)))
        return MISSING;
    if (find_account(s, r->acct.name) != NONE)
        return TAKEN;
    uint32_t i = pool_take(s, &s->accounts);
    if (i == NONE)
        return SERVER_FULL;
    struct account *a = account_at(s, i);
    copy_text(a->name, sizeof a->name, r->acct.name);
    copy_text(a->hash, sizeof a->hash, r->acct.hash);
    copy_text(a->mail, sizeof a->mail, r->acct.mail);
    copy_text(a->spam, sizeof a->spam, r->acct.spam);
    a->created_s = r->acct.created_s;
    note_date(s, a->created_s);
    a->last_login_s = r->acct.last_login_s;
    note_date(s, a->last_login_s);
    a->player = NONE;
    for (uint32_t k = 0; k < PERSONAS_PER_ACCOUNT; k++)
        a->persona[k] = NONE;
    index_add(s, &s->account_names, hash_name(s, a->name), i);
    s->metrics[METRIC_accounts_made] += s->dated; /* the others were there before */
    for (const char *p = r->acct.personas; *p; p += *p == ',') {
        size_t n = strcspn(p, ",");
        copy_text(persona, n < sizeof persona ? n + 1 : sizeof persona, p);
        (void)persona_add(s, i, persona); /* if it was taken meanwhile, the game asks for one */
        p += n;
    }
    return r->acct.banned ? set_old_ban(s, i, true) : OK;
}

static bool fill_acct(const struct nascar *s, uint32_t i, struct record *r)
{
    const struct account *a = account_at(s, i);
    r->acct.created_s = a->created_s;
    r->acct.last_login_s = a->last_login_s;
    copy_text(r->acct.name, sizeof r->acct.name, a->name);
    copy_text(r->acct.hash, sizeof r->acct.hash, a->hash);
    copy_text(r->acct.mail, sizeof r->acct.mail, a->mail);
    copy_text(r->acct.spam, sizeof r->acct.spam, a->spam);
    r->acct.has_personas = true;
    write_personas(s, a, r->acct.personas);
    return true;
}

static enum failure apply_edit(struct nascar *s, const struct record *r)
{
    if (r->edit.account == NONE)
        return NO_ACCOUNT;
    if (r->edit.has_hash && !valid_hash((const uint8_t *)r->edit.hash, strlen(r->edit.hash)))
        return MISSING;
    struct account *a = account_at(s, r->edit.account);
    if (r->edit.has_hash) {
        copy_text(a->hash, sizeof a->hash, r->edit.hash);
        forget_tries(s, r->edit.account, NULL);
    }
    if (r->edit.has_mail)
        copy_text(a->mail, sizeof a->mail, r->edit.mail);
    if (r->edit.has_spam)
        copy_text(a->spam, sizeof a->spam, r->edit.spam);
    return r->edit.has_banned ? set_old_ban(s, r->edit.account, r->edit.banned != 0) : OK;
}

static enum failure apply_seen(struct nascar *s, const struct record *r)
{
    if (r->seen.account == NONE)
        return NO_ACCOUNT;
    account_at(s, r->seen.account)->last_login_s = r->seen.last_login_s;
    note_date(s, r->seen.last_login_s);
    return OK;
}

static enum failure apply_cper(struct nascar *s, const struct record *r)
{
    return r->cper.account == NONE ? NO_ACCOUNT : persona_add(s, r->cper.account, r->cper.persona);
}

static enum failure apply_dper(struct nascar *s, const struct record *r)
{
    if (r->dper.persona == NONE)
        return NO_ACCOUNT;
    persona_remove(s, r->dper.persona);
    return OK;
}

/* Nobody takes with his account what was on its way as he asked: a persona that another
 * link of his makes, or a mute. */
static enum failure apply_dacc(struct nascar *s, const struct record *r)
{
    if (r->dacc.account == NONE)
        return NO_ACCOUNT;
    if (r->dacc.has_by && account_at(s, r->dacc.account)->persona[0] != NONE)
        return MISSING;
    uint32_t mute = find_sanction(s, true, account_at(s, r->dacc.account)->name);
    if (mute != NONE && !r->dacc.has_by) /* who takes the name next would not know of it */
        sanction_remove(s, mute);
    account_remove(s, r->dacc.account);
    return OK;
}

static enum failure apply_tick(struct nascar *s, const struct record *r)
{
    if (r->tick.persona == NONE)
        return NO_USER;
    struct persona *p = persona_at(s, r->tick.persona);
    bool dates = r->tick.hash[0] == 0; /* it has expired, and says no more than when the persona was last here */
    if (dates)
        memset(p->lkey_hash, 0, sizeof p->lkey_hash); /* no ticket has this hash */
    p->lkey_until_s = dates || read_hex(r->tick.hash, p->lkey_hash, sizeof p->lkey_hash) ? r->tick.until_s : 0;
    if (p->lkey_until_s > 0)
        note_date(s, p->lkey_until_s - LKEY_S);
    return OK;
}

static bool fill_tick(const struct nascar *s, uint32_t i, struct record *r)
{
    const struct persona *p = persona_at(s, i);
    r->tick.persona = i;
    r->tick.until_s = p->lkey_until_s;
    if (p->lkey_until_s > kept_now_s(s)) /* else there is only the date to keep */
        write_hex(r->tick.hash, p->lkey_hash, sizeof p->lkey_hash);
    return p->lkey_until_s > 0;
}

/* A persona's figures have come to be these, if both are right. */
static void apply_figures(struct nascar *s, uint32_t persona, const char *text)
{
    struct figures figures;
    if (persona == NONE || !read_figures(text, &figures))
        return;
    set_figures(s, persona, &figures);
    persona_at(s, persona)->pending = false;
    s->retry = true;
}

static enum failure apply_stat(struct nascar *s, const struct record *r)
{
    apply_figures(s, r->stat.persona, r->stat.figures);
    return OK;
}

static bool fill_stat(const struct nascar *s, uint32_t i, struct record *r)
{
    if (!is_ranked(s, i))
        return false;
    r->stat.persona = i;
    write_figures(r->stat.figures, sizeof r->stat.figures, &persona_at(s, i)->figures, false);
    return true;
}

static enum failure apply_rost(struct nascar *s, const struct record *r)
{
    if (r->rost.owner == NONE || r->rost.other == NONE || r->rost.owner == r->rost.other)
        return NO_USER;
    return roster_set(s, r->rost.owner, r->rost.other, r->rost.lists);
}

static bool fill_rost(const struct nascar *s, uint32_t i, struct record *r)
{
    const struct edge *edge = edge_at(s, i);
    r->rost.owner = edge->owner;
    r->rost.other = edge_other(s, i);
    r->rost.lists = edge_lists(s, i);
    return true;
}

static enum failure apply_race(struct nascar *s, const struct record *r)
{
    uint8_t ticket[16];
    if (!read_hex(r->race.ticket, ticket, sizeof ticket))
        return MISSING;
    note_date(s, r->race.when_s); /* first: at a start that is the date by which others have expired */
    uint32_t i = find_race_ticket(s, ticket);
    if (i == NONE) {
        (void)sweep(s, &s->races, r->race.when_s, true);
        i = pool_take(s, &s->races);
        if (i == NONE)
            return SERVER_FULL;
        memcpy(race_ticket_at(s, i)->ticket, ticket, sizeof ticket);
        race_ticket_at(s, i)->persona[0] = race_ticket_at(s, i)->persona[1] = NONE;
        index_add(s, &s->race_tickets, siphash(s->hash_key, ticket, sizeof ticket), i);
    }
    struct race_ticket *race = race_ticket_at(s, i);
    race_ticket_set_sides(s, i, r->race.persona[0], r->race.persona[1]);
    race->when_s = r->race.when_s;
    note_end(&s->races, race->when_s + RACE_S);
    race->reported = r->race.reported & 3;
    race->first_sum = r->race.first_sum;
    for (uint32_t side = 0; side < 2; side++)
        if (race->persona[side] != NONE && persona_at(s, race->persona[side])->race_count > RACES_PER_PERSONA)
            race_ticket_remove_oldest(s, race->persona[side]);
    return OK;
}

static bool fill_race(const struct nascar *s, uint32_t i, struct record *r)
{
    const struct race_ticket *race = race_ticket_at(s, i);
    r->race.persona[0] = race->persona[0];
    r->race.persona[1] = race->persona[1];
    r->race.reported = race->reported;
    r->race.first_sum = race->first_sum;
    r->race.when_s = race->when_s;
    write_hex(r->race.ticket, race->ticket, sizeof race->ticket);
    return race->when_s + RACE_S > kept_now_s(s);
}

/* A persona's name, or "" for nobody's. */
static const char *persona_name(const struct nascar *s, uint32_t persona)
{
    return persona == NONE ? "" : persona_at(s, persona)->name;
}

static void announce_result(struct nascar *s, const struct record *r);

/* The figures count even where the race is not known any more. */
static enum failure apply_rank(struct nascar *s, const struct record *r)
{
    uint8_t ticket[16];
    if (!read_hex(r->rank.ticket, ticket, sizeof ticket))
        return MISSING;
    apply_figures(s, r->rank.persona[0], r->rank.figures[0]);
    apply_figures(s, r->rank.persona[1], r->rank.figures[1]);
    if (result_set(s, r->rank.result, persona_name(s, r->rank.persona[0]), persona_name(s, r->rank.persona[1])) == OK)
        announce_result(s, r);
    uint32_t i = find_race_ticket(s, ticket);
    if (i == NONE)
        return OK;
    race_ticket_at(s, i)->counting = false;
    s->retry = true;
    race_ticket_at(s, i)->reported |= r->rank.reported & 3;
    race_ticket_at(s, i)->first_sum = r->rank.first_sum;
    if (race_ticket_at(s, i)->reported == 3)
        race_ticket_remove(s, i);
    return OK;
}

/* Figures that could not be kept make way for the next result. */
static enum failure rank_failed(struct nascar *s, const struct record *r)
{
    uint8_t ticket[16];
    uint32_t i = read_hex(r->rank.ticket, ticket, sizeof ticket) ? find_race_ticket(s, ticket) : NONE;
    if (i != NONE)
        race_ticket_at(s, i)->counting = false;
    for (uint32_t side = 0; side < 2; side++)
        if (r->rank.persona[side] != NONE && r->rank.counts[side])
            persona_at(s, r->rank.persona[side])->pending = false;
    s->retry = true;
    return OK;
}

/* It tells the names as they were, which a `rank` may not find when a fresh journal is read. */
static enum failure apply_rslt(struct nascar *s, const struct record *r)
{
    return result_set(s, r->rslt.result, r->rslt.name[0], r->rslt.name[1]);
}

static bool fill_rslt(const struct nascar *s, uint32_t i, struct record *r)
{
    const struct latest_result *result = result_at(s, i);
    memcpy(r->rslt.name, result->name, sizeof r->rslt.name);
    write_numbers(r->rslt.result, sizeof r->rslt.result, result->number, RESULT_NUMBERS, false);
    return true;
}

static enum failure apply_mesg(struct nascar *s, const struct record *r)
{
    uint32_t id = r->mesg.id;
    if (id > s->next_message)
        s->next_message = id;
    if (r->mesg.to == NONE)
        return NO_USER;
    (void)sweep_persona(s, r->mesg.to, r->mesg.sent_s, true);
    struct persona *p = persona_at(s, r->mesg.to);
    uint32_t after = list_last(s, PERSONA_MESSAGES, &p->messages);
    while (after != NONE && message_at(s, after)->id > id)
        after = list_prev(s, PERSONA_MESSAGES, &p->messages, after);
    if (after != NONE && message_at(s, after)->id == id)
        return OK; /* it is here already */
    if (p->message_count >= MESSAGES_PER_PERSONA)
        return SERVER_FULL;
    (void)sweep(s, &s->messages, r->mesg.sent_s, true);
    uint32_t i = pool_take(s, &s->messages);
    if (i == NONE)
        return SERVER_FULL;
    struct message *m = message_at(s, i);
    m->to = r->mesg.to;
    m->id = id;
    m->sent_s = r->mesg.sent_s;
    m->until_s = r->mesg.until_s;
    note_end(&s->messages, m->until_s);
    copy_text(m->type, sizeof m->type, r->mesg.type);
    copy_text(m->from, sizeof m->from, r->mesg.from);
    copy_text(m->body, sizeof m->body, r->mesg.body);
    note_date(s, m->sent_s);
    list_insert(s, PERSONA_MESSAGES, &p->messages, after, i);
    p->message_count++;
    bool waits = false; /* for RGET, one that is older */
    for (uint32_t k = list_first(&p->messages); k != i; k = list_next(s, PERSONA_MESSAGES, k))
        waits = waits || !message_at(s, k)->told;
    if (p->buddy != NONE && (buddy_at(s, p->buddy)->rosters || !waits)) {
        buddy_at(s, p->buddy)->delivers = true;
        mark_buddy_behind(s, p->buddy);
    }
    return OK;
}

static bool fill_mesg(const struct nascar *s, uint32_t i, struct record *r)
{
    r->mesg = *message_at(s, i);
    return !r->mesg.over && r->mesg.until_s > kept_now_s(s);
}

static enum failure apply_dmsg(struct nascar *s, const struct record *r)
{
    uint32_t i = r->dmsg.to == NONE ? NONE : list_first(&persona_at(s, r->dmsg.to)->messages);
    while (i != NONE && message_at(s, i)->id != r->dmsg.id)
        i = list_next(s, PERSONA_MESSAGES, i);
    if (i != NONE)
        message_remove(s, i);
    return OK;
}

static enum failure apply_rept(struct nascar *s, const struct record *r)
{
    uint32_t id = r->rept.id, i = find_report(s, id);
    if (id > s->next_report)
        s->next_report = id;
    if (i == NONE) {
        i = pool_take(s, &s->reports);
        if (i == NONE)
            return SERVER_FULL;
    }
    struct report *report = report_at(s, i);
    report->draft = false;
    report->id = id;
    report->at_s = r->rept.at_s;
    copy_text(report->by, sizeof report->by, r->rept.by);
    copy_text(report->about, sizeof report->about, r->rept.about);
    copy_text(report->account, sizeof report->account, r->rept.account);
    note_date(s, report->at_s);
    return OK;
}

static bool fill_rept(const struct nascar *s, uint32_t i, struct record *r)
{
    r->rept = *report_at(s, i);
    return !r->rept.draft;
}

static enum failure apply_line(struct nascar *s, const struct record *r)
{
    if (r->line.report == NONE)
        return NO_USER;
    struct list *lines = &report_at(s, r->line.report)->lines;
    uint32_t after = list_last(s, LINES_OF_REPORT, lines);
    while (after != NONE && report_line_at(s, after)->index > r->line.index)
        after = list_prev(s, LINES_OF_REPORT, lines, after);
    if (after != NONE && report_line_at(s, after)->index == r->line.index)
        return OK; /* it is here already */
    uint32_t i = pool_take(s, &s->report_lines);
    if (i == NONE)
        return SERVER_FULL;
    struct report_line *line = report_line_at(s, i);
    line->report = r->line.report;
    line->index = r->line.index;
    line->line = r->line.line;
    list_insert(s, LINES_OF_REPORT, lines, after, i);
    return OK;
}

static bool fill_line(const struct nascar *s, uint32_t i, struct record *r)
{
    r->line = *report_line_at(s, i);
    return true;
}

/* A report is closed: it goes, and so do the lines of chat. One that is still being written is not to be closed, as
 * whoever has made it waits for its end. */
static enum failure apply_drep(struct nascar *s, const struct record *r)
{
    uint32_t i = find_report(s, r->drep.id);
    if (i == NONE)
        return NO_USER;
    if (report_at(s, i)->receipt != 0)
        return BUSY;
    struct list *lines = &report_at(s, i)->lines;
    for (uint32_t k; (k = list_first(lines)) != NONE;) {
        list_remove(s, LINES_OF_REPORT, lines, k);
        pool_give(s, &s->report_lines, k);
    }
    pool_give(s, &s->reports, i);
    return OK;
}

static enum failure apply_news(struct nascar *s, const struct record *r)
{
    uint32_t i = live_from(s, &s->notices, 0);
    size_t n = strlen(r->news.text);
    if (n > NEWS_CHARS || (n > 0 && r->news.text[n - 1] != '\n'))
        return MISSING;
    if (n == 0) {
        if (i != NONE)
            pool_give(s, &s->notices, i);
        return OK;
    }
    i = i == NONE ? pool_take(s, &s->notices) : i; /* there is one */
    copy_text(notice_at(s, i)->text, sizeof notice_at(s, i)->text, r->news.text);
    return OK;
}

static bool fill_news(const struct nascar *s, uint32_t i, struct record *r)
{
    copy_text(r->news.text, sizeof r->news.text, notice_at(s, i)->text);
    return true;
}

static enum failure apply_sanction(struct nascar *s, const struct record *r)
{
    struct sanction made = {.mute = r->kind == RECORD_MUTE,
                            .since_s = r->sanction.since_s,
                            .until_s = r->sanction.until_s};
    if (strlen(r->sanction.target) > NETWORK_CHARS)
        return BAD_NAME;
    copy_text(made.target, sizeof made.target, r->sanction.target);
    copy_text(made.reason, sizeof made.reason, r->sanction.reason);
    return sanction_set(s, &made);
}

/* Bans and mutes are in one pool, each in a record of its own kind. */
static bool fill_sanction(const struct nascar *s, uint32_t i, struct record *r)
{
    const struct sanction *sanction = sanction_at(s, i);
    r->sanction.since_s = sanction->since_s;
    r->sanction.until_s = sanction->until_s;
    copy_text(r->sanction.target, sizeof r->sanction.target, sanction->target);
    copy_text(r->sanction.reason, sizeof r->sanction.reason, sanction->reason);
    return sanction->mute == (r->kind == RECORD_MUTE) && sanction_holds(s, i);
}

/* Moves a date as the clock was moved; in a record it has 32 bits. */
static void move_date(int64_t *date_s, const struct record *r)
{
    *date_s += r->clck.to_s - r->clck.from_s;
    *date_s = *date_s < 0 ? 0 : *date_s > UINT32_MAX ? UINT32_MAX : *date_s;
}

/* A date that decides nothing, but is shown, was right if it is older than the run
 * whose clock was wrong. Only one that is yet to come was not, either. */
static void move_shown_date(struct nascar *s, int64_t *date_s, const struct record *r)
{
    if (*date_s >= r->clck.since_s || *date_s > r->clck.to_s)
        move_date(date_s, r);
    note_date(s, *date_s);
}

/* A run without a clock that was set began with this date; 0: it is over. */
static void note_unset_run(struct nascar *s, int64_t since_s)
{
    uint32_t i = live_from(s, &s->unset_runs, 0);
    if (since_s == 0 && i != NONE)
        pool_give(s, &s->unset_runs, i);
    if (since_s != 0)
        unset_run_at(s, i == NONE ? pool_take(s, &s->unset_runs) : i)->since_s = since_s;
}

/* The wall clock was set. All that runs out keeps the time that it has left, and
 * what has run out stays so. This walks over whole tables, but is rare. */
static enum failure apply_clck(struct nascar *s, const struct record *r)
{
    s->setting = false;
    s->setting_s = 0;
    note_unset_run(s, r->clck.from_s == r->clck.to_s ? r->clck.since_s : 0);
    if (r->clck.from_s == r->clck.to_s) {
        note_date(s, r->clck.to_s);
        return OK;
    }
    s->races.ends_s = s->messages.ends_s = 0;
    s->newest_record_s = r->clck.to_s; /* and no date that is kept is newer, see note_date() */
    EACH_LIVE(i, accounts) {
        move_shown_date(s, &account_at(s, i)->created_s, r);
        move_shown_date(s, &account_at(s, i)->last_login_s, r);
    }
    EACH_LIVE(i, players) {
        move_shown_date(s, &player_at(s, i)->last_login_s, r);
        move_date(&player_at(s, i)->since_s, r); /* this is no date that is kept */
    }
    EACH_LIVE(i, personas) {
        int64_t *until_s = &persona_at(s, i)->lkey_until_s;
        if (*until_s > r->clck.from_s) {
            move_date(until_s, r);
            note_date(s, *until_s - LKEY_S);
        } else if (*until_s > 0) { /* else it has had no ticket */
            move_shown_date(s, until_s, r);
        }
    }
    EACH_LIVE(i, races) {
        move_date(&race_ticket_at(s, i)->when_s, r);
        note_date(s, race_ticket_at(s, i)->when_s);
    }
    EACH_LIVE(i, messages) {
        move_date(&message_at(s, i)->sent_s, r);
        move_date(&message_at(s, i)->until_s, r);
        note_date(s, message_at(s, i)->sent_s);
    }
    EACH_LIVE(i, results) {
        int64_t date_s = result_at(s, i)->number[RESULT_DATE];
        move_shown_date(s, &date_s, r);
        result_at(s, i)->number[RESULT_DATE] = (uint32_t)date_s;
    }
    EACH_LIVE(i, reports)
        move_shown_date(s, &report_at(s, i)->at_s, r);
    EACH_LIVE(i, report_lines)
        move_shown_date(s, &report_line_at(s, i)->line.at_s, r);
    EACH_LIVE(i, sanctions) {
        int64_t *until_s = &sanction_at(s, i)->until_s;
        move_shown_date(s, &sanction_at(s, i)->since_s, r);
        if (*until_s != 0) { /* else it is for good, which no other becomes */
            move_date(until_s, r);
            *until_s += *until_s == 0;
        }
    }
    return OK;
}

/* What has moved is dated anew; that nobody has set the clock is left to be said. */
static bool fill_clck(const struct nascar *s, uint32_t i, struct record *r)
{
    r->clck.from_s = r->clck.to_s = s->newest_record_s;
    r->clck.since_s = unset_run_at(s, i)->since_s;
    return true;
}

/* ---- The table of durable records ---------------------------------------- */

/* How the value of a tag stands in a frame, and what it is in `struct record`. */
enum field_type {
    FIELD_END,     /* there are no more fields */
    FIELD_TEXT,    /* char[]: text that a person wrote, escaped */
    FIELD_SECRET,  /* the same, and shown in no dump and no recording */
    FIELD_RAW,     /* char[]: hex and figures, which need no escapes */
    FIELD_NUMBER,  /* uint32_t */
    FIELD_DATE,    /* int64_t: seconds since 1970 */
    FIELD_LISTS,   /* uint32_t: LIST_BUDDY and LIST_IGNORE, in letters */
    FIELD_ACCOUNT, /* uint32_t: the number of an account, by its name */
    FIELD_PERSONA, /* uint32_t: the number of a persona, by its name; NONE is written as "" */
    FIELD_REPORT   /* uint32_t: the number of a report, by its ID */
};

struct field {
    uint8_t tag, type;
    uint16_t offset, size; /* in struct record */
    uint16_t given;        /* where the bool is that says whether the tag is there; 0: it always is */
};

_Static_assert(TAG_COUNT <= 256 && sizeof(struct record) <= UINT16_MAX, "struct field is wide enough");

/* The row of a kind. `apply` makes the change; `failed`, if there is one, what
 * is to change although the record could not be kept. If that is the same, nobody
 * is refused for a full disk what he cannot do without: a ticket for the buddies,
 * a race; a letter that was read is gone; and the clock has been set. Compaction goes through
 * `pool` (in struct nascar) and writes a record for each item, unless `fill`
 * returns false; a kind without `fill` says nothing that others do not say. Each
 * record takes one of `limit` (in struct nascar_limits), unless that is 0. */
struct durable {
    char kind[5];
    enum failure (*apply)(struct nascar *, const struct record *);
    enum failure (*failed)(struct nascar *, const struct record *);
    bool (*fill)(const struct nascar *, uint32_t, struct record *);
    size_t pool, limit;
    bool lazy;              /* not worth a write of its own: see nascar_next_record */
    struct field fields[9]; /* in the order of the frame, and then FIELD_END */
};

/* clang-format off */
static const struct durable durables[RECORD_KINDS] = {
#define MEMBER(member) offsetof(struct record, member), sizeof(((struct record *)NULL)->member)
#define FIELD(tag, type, member) {tag_##tag, FIELD_##type, MEMBER(member), 0}
#define OPTIONAL(tag, type, member, given) {tag_##tag, FIELD_##type, MEMBER(member), offsetof(struct record, given)}
#define POOL(pool) offsetof(struct nascar, pool)
#define LIMIT(limit) offsetof(struct nascar_limits, limit)
    [RECORD_ACCT] = {"acct", apply_acct, .fill = fill_acct, .pool = POOL(accounts), .limit = LIMIT(accounts),
     .fields = {
        FIELD(CREATED, DATE, acct.created_s), FIELD(LAST, DATE, acct.last_login_s),
        OPTIONAL(BAN, NUMBER, acct.banned, acct.has_banned), FIELD(NAME, TEXT, acct.name), FIELD(HASH, SECRET, acct.hash), FIELD(MAIL, TEXT, acct.mail),
        FIELD(SPAM, TEXT, acct.spam), OPTIONAL(PERSONAS, TEXT, acct.personas, acct.has_personas)}},
    [RECORD_EDIT] = {"edit", apply_edit, .fields = {
        FIELD(NAME, ACCOUNT, edit.account), OPTIONAL(HASH, SECRET, edit.hash, edit.has_hash),
        OPTIONAL(MAIL, TEXT, edit.mail, edit.has_mail), OPTIONAL(SPAM, TEXT, edit.spam, edit.has_spam),
        OPTIONAL(BAN, NUMBER, edit.banned, edit.has_banned)}},
    [RECORD_SEEN] = {"seen", apply_seen, .lazy = true, .fields = {
        FIELD(LAST, DATE, seen.last_login_s), FIELD(NAME, ACCOUNT, seen.account)}},
    [RECORD_CPER] = {"cper", apply_cper, .fields = {
        FIELD(PERS, TEXT, cper.persona), FIELD(NAME, ACCOUNT, cper.account)}},
    [RECORD_DPER] = {"dper", apply_dper, .fields = {
        FIELD(PERS, PERSONA, dper.persona), FIELD(NAME, ACCOUNT, dper.account)}},
    [RECORD_DACC] = {"dacc", apply_dacc, .fields = {
        FIELD(NAME, ACCOUNT, dacc.account), OPTIONAL(USER, ACCOUNT, dacc.by, dacc.has_by)}},
    [RECORD_TICK] = {"tick", apply_tick, .failed = apply_tick, .fill = fill_tick, .pool = POOL(personas), .fields = {
        FIELD(HASH, RAW, tick.hash), FIELD(WHEN, DATE, tick.until_s), FIELD(PERS, PERSONA, tick.persona)}},
    [RECORD_STAT] = {"stat", apply_stat, .fill = fill_stat, .pool = POOL(personas), .fields = {
        FIELD(P1, RAW, stat.figures), FIELD(PERS, PERSONA, stat.persona)}},
    [RECORD_ROST] = {"rost", apply_rost, .fill = fill_rost, .pool = POOL(edges), .limit = LIMIT(roster_edges),
     .fields = {
        FIELD(LIST, LISTS, rost.lists), FIELD(PERS, PERSONA, rost.owner), FIELD(USER, PERSONA, rost.other)}},
    [RECORD_RACE] = {"race", apply_race, .failed = apply_race, .fill = fill_race, .pool = POOL(races), .limit = LIMIT(races),
     .fields = {
        FIELD(AUTH, RAW, race.ticket), FIELD(WHEN, DATE, race.when_s), FIELD(FLAGS, NUMBER, race.reported),
        FIELD(SEQN, NUMBER, race.first_sum), FIELD(HOST, PERSONA, race.persona[0]),
        FIELD(OPPO, PERSONA, race.persona[1])}},
    [RECORD_RANK] = {"rank", apply_rank, .failed = rank_failed, .fields = {
        FIELD(AUTH, RAW, rank.ticket), FIELD(FLAGS, NUMBER, rank.reported), FIELD(SEQN, NUMBER, rank.first_sum),
        OPTIONAL(P1, RAW, rank.figures[0], rank.counts[0]), OPTIONAL(HOST, PERSONA, rank.persona[0], rank.has_result),
        OPTIONAL(P2, RAW, rank.figures[1], rank.counts[1]), OPTIONAL(OPPO, PERSONA, rank.persona[1], rank.has_result),
        OPTIONAL(INFO, RAW, rank.result, rank.has_result)}},
    [RECORD_RSLT] = {"rslt", apply_rslt, .fill = fill_rslt, .pool = POOL(results), .fields = {
        FIELD(INFO, RAW, rslt.result), FIELD(HOST, TEXT, rslt.name[0]), FIELD(OPPO, TEXT, rslt.name[1])}},
    [RECORD_MESG] = {"mesg", apply_mesg, .fill = fill_mesg, .pool = POOL(messages), .limit = LIMIT(messages),
     .fields = {
        FIELD(ID, NUMBER, mesg.id), FIELD(TIME, DATE, mesg.sent_s), FIELD(WHEN, DATE, mesg.until_s),
        FIELD(TYPE, TEXT, mesg.type), FIELD(PERS, PERSONA, mesg.to), FIELD(USER, TEXT, mesg.from),
        FIELD(BODY, TEXT, mesg.body)}},
    [RECORD_DMSG] = {"dmsg", apply_dmsg, .failed = apply_dmsg, .fields = { /* what was told goes, kept or not */
        FIELD(ID, NUMBER, dmsg.id), FIELD(PERS, PERSONA, dmsg.to)}},
    [RECORD_REPT] = {"rept", apply_rept, .fill = fill_rept, .pool = POOL(reports), .fields = {
        FIELD(ID, NUMBER, rept.id), FIELD(TIME, DATE, rept.at_s), FIELD(NAME, TEXT, rept.by),
        FIELD(PERS, TEXT, rept.about), FIELD(FROM, TEXT, rept.account)}},
    [RECORD_LINE] = {"line", apply_line, .fill = fill_line, .pool = POOL(report_lines), .fields = {
        FIELD(ID, REPORT, line.report), FIELD(INDEX, NUMBER, line.index), FIELD(TIME, DATE, line.line.at_s),
        FIELD(NAME, TEXT, line.line.from), FIELD(PERS, TEXT, line.line.to), FIELD(ROOM, TEXT, line.line.room),
        FIELD(TEXT, TEXT, line.line.text)}},
    [RECORD_DREP] = {"drep", apply_drep, .fields = {FIELD(ID, NUMBER, drep.id)}},
    [RECORD_NEWS] = {"news", apply_news, .fill = fill_news, .pool = POOL(notices), .fields = {
        FIELD(TEXT, TEXT, news.text)}},
    [RECORD_BANN] = {"bann", apply_sanction, .fill = fill_sanction, .pool = POOL(sanctions), .fields = {
        FIELD(TIME, DATE, sanction.since_s), FIELD(WHEN, DATE, sanction.until_s), FIELD(NAME, TEXT, sanction.target),
        FIELD(REASON, TEXT, sanction.reason)}},
    [RECORD_MUTE] = {"mute", apply_sanction, .fill = fill_sanction, .pool = POOL(sanctions), .fields = {
        FIELD(TIME, DATE, sanction.since_s), FIELD(WHEN, DATE, sanction.until_s), FIELD(NAME, TEXT, sanction.target),
        FIELD(REASON, TEXT, sanction.reason)}},
    [RECORD_CLCK] = {"clck", apply_clck, .failed = apply_clck, .fill = fill_clck, .pool = POOL(unset_runs),
     .fields = { /* the clock is set, kept or not */
        FIELD(FROM, DATE, clck.from_s), FIELD(TIME, DATE, clck.to_s), FIELD(SINCE, DATE, clck.since_s)}},
#undef MEMBER
#undef FIELD
#undef OPTIONAL
#undef POOL
#undef LIMIT
};
/* clang-format on */

/* The row of a kind, or NULL. */
static const struct durable *find_durable(const uint8_t kind[4])
{
    for (size_t i = 0; i < RECORD_KINDS; i++)
        if (memcmp(durables[i].kind, kind, 4) == 0)
            return &durables[i];
    return NULL;
}

/* Makes the frame of a record. */
static void encode_record(const struct nascar *s, const struct record *record, struct outgoing *f)
{
    const struct durable *durable = &durables[record->kind];
    const uint8_t *bytes = (const uint8_t *)record;
    frame_begin(f, durable->kind, "");
    for (const struct field *field = durable->fields; field->type != FIELD_END; field++) {
        const void *value = bytes + field->offset;
        const uint32_t *number = value; /* if it is one */
        char letters[3] = "";
        if (field->given && !bytes[field->given])
            continue;
        switch (field->type) {
        case FIELD_TEXT:
        case FIELD_SECRET: put_text(f, field->tag, value); break;
        case FIELD_RAW: put_raw(f, field->tag, value); break;
        case FIELD_NUMBER: put_number(f, field->tag, *number); break;
        case FIELD_DATE: put_number(f, field->tag, *(const int64_t *)value); break;
        case FIELD_LISTS:
            append_text(letters, sizeof letters, *number & LIST_BUDDY ? "B" : "");
            append_text(letters, sizeof letters, *number & LIST_IGNORE ? "I" : "");
            put_raw(f, field->tag, letters);
            break;
        case FIELD_ACCOUNT: put_text(f, field->tag, account_at(s, *number)->name); break;
        case FIELD_PERSONA: put_text(f, field->tag, persona_name(s, *number)); break;
        default: put_number(f, field->tag, report_at(s, *number)->id); break; /* FIELD_REPORT */
        }
    }
    frame_end(f);
    assert(f->size <= RECORD_BYTES);
}

/* Reads what a frame says; false if it is no record. A tag that is not there
 * reads as an empty text, as 0, or as NONE. */
static bool decode_record(const struct nascar *s, const uint8_t *bytes, uint32_t size, struct record *record)
{
    struct frame frame;
    if (read_frame(bytes, size, &frame) != FRAME_WHOLE || frame.size != size)
        return false;
    const struct durable *durable = find_durable(frame.kind);
    if (!durable)
        return false;
    const uint8_t *payload = bytes + HEADER_BYTES;
    size = payload_size(payload, size - HEADER_BYTES);
    memset(record, 0, sizeof *record);
    record->kind = (enum record_kind)(durable - durables);
    for (const struct field *field = durable->fields; field->type != FIELD_END; field++) {
        uint32_t at = find_tag(payload, size, tag_names[field->tag]);
        void *value = (uint8_t *)record + field->offset;
        uint32_t *number = value; /* if it is one */
        char name[ANY_NAME_CHARS + 1];
        if (field->given && at != NOT_THERE)
            *((bool *)record + field->given) = true;
        switch (field->type) {
        case FIELD_TEXT:
        case FIELD_SECRET:
        case FIELD_RAW: (void)read_string(payload, size, at, value, field->size); break;
        case FIELD_NUMBER: *number = read_number(payload, size, at); break;
        case FIELD_DATE: *(int64_t *)value = read_number(payload, size, at); break;
        case FIELD_LISTS:
            *number = (read_flags(payload, size, at) & FLAG_B) ? LIST_BUDDY : 0;
            *number |= (read_flags(payload, size, at) & FLAG_I) ? LIST_IGNORE : 0;
            break;
        case FIELD_ACCOUNT:
        case FIELD_PERSONA:
            (void)read_string(payload, size, at, name, sizeof name);
            *number = field->type == FIELD_ACCOUNT ? find_account(s, name) : find_persona(s, name);
            break;
        default: *number = find_report(s, read_number(payload, size, at)); break; /* FIELD_REPORT */
        }
    }
    return true;
}

/* The items that records of a kind are about. */
static struct pool *pool_of(const struct nascar *s, const struct durable *durable)
{
    return (struct pool *)((uint8_t *)(uintptr_t)s + durable->pool);
}

/* Hands out a durable record. Whoever makes one has seen to it that there is
 * a slot. `who` is told by `receipt` when it is kept, or that it is not. */
static void queue_record(struct nascar *s, uint32_t who, uint32_t receipt, const struct record *record)
{
    assert(s->record_count < RECORDS);
    struct record_slot *slot = &s->record[s->record_count++];
    encode_record(s, record, &s->frame);
    slot->conn = who;
    slot->receipt = receipt;
    slot->lazy = durables[record->kind].lazy;
    if (durables[record->kind].limit)
        pool_of(s, &durables[record->kind])->promised++;
    slot->size = s->frame.size;
    memcpy(slot->bytes, s->frame.bytes, s->frame.size);
}

/* A record that was handed out is back: what it takes is no promise any more. At the
 * start there is none. */
static void record_back(struct nascar *s, const uint8_t *bytes, uint32_t size)
{
    const struct durable *durable = size >= HEADER_BYTES ? find_durable(bytes) : NULL;
    if (durable && durable->limit && pool_of(s, durable)->promised > 0)
        pool_of(s, durable)->promised--;
}

/* Makes the change that a record says, now or at the next start. */
static enum failure apply_record(struct nascar *s, const uint8_t *bytes, uint32_t size)
{
    struct record record;
    if (!decode_record(s, bytes, size, &record))
        return MISSING;
    s->seq++; /* what the page shows may have changed (write_etag) */
    return durables[record.kind].apply(s, &record);
}

/* The shell could not keep a record: most are as if they had never been. */
static void record_failed(struct nascar *s, const uint8_t *bytes, uint32_t size)
{
    struct record record;
    if (decode_record(s, bytes, size, &record) && durables[record.kind].failed)
        (void)durables[record.kind].failed(s, &record);
}

bool nascar_takes_unkept(const uint8_t *bytes, uint32_t size)
{
    const struct durable *durable = size >= HEADER_BYTES ? find_durable(bytes) : NULL;
    return durable && durable->failed == durable->apply;
}

#define KEPT_LOOKS 64u /* how many items one call looks at, at most */

/* Goes through all pools that have something to keep, a record at a time. */
bool nascar_next_kept(const struct nascar *s, struct nascar_cursor *cursor, struct nascar_record *record)
{
    struct record r;
    struct outgoing f;
    uint32_t looked_at = 0;
    memset(record, 0, sizeof *record);
    record->conn = NONE;
    for (; cursor->table < RECORD_KINDS; cursor->table++, cursor->item = 0) {
        const struct durable *durable = &durables[cursor->table];
        const struct pool *pool = pool_of(s, durable);
        while (durable->fill && cursor->item < pool->high) {
            uint32_t i = cursor->item++;
            if (++looked_at > KEPT_LOOKS) { /* going past items that need not be kept takes time, too */
                cursor->item--;
                return true;
            }
            memset(&r, 0, sizeof r);
            r.kind = (enum record_kind)cursor->table;
            if (!is_live(s, pool, i) || !durable->fill(s, i, &r))
                continue;
            encode_record(s, &r, &f);
            memcpy(cursor->bytes, f.bytes, f.size);
            record->size = f.size;
            record->bytes = cursor->bytes;
            return true;
        }
    }
    return false;
}

/* ==== 7. Requests ========================================================= */

/* ---- Requests: reading and answering ------------------------------------- */

struct command;

/* A handler, do_x(), reads tags, checks, changes state and queues output. It
 * returns OK if the request has been answered or waits for something; a failure,
 * which is then answered; or STALL if it cannot be done now: then it has done
 * nothing, and the same frame is tried again when somebody has read. What goes on
 * after a wait, verdict_x() or kept_x(), returns the same, but never STALL. It finds
 * the same tags, as the frame stays in the inbox. */
#define STALL FAILURE_COUNT

/* What a frame asks for, and who asks: all that a handler needs is reached
 * from here. The bytes stay in the inbox until the request is done. */
struct request {
    struct nascar *s;
    uint32_t c;                    /* the connection that it came on, ... */
    struct conn *conn;             /* ... and its state */
    uint32_t player;               /* who is logged in there, or NONE, ... */
    struct player *p;              /* ... and its state, or NULL; while PLAYING it has a persona and a room */
    const struct command *command; /* NULL: an unknown kind */
    char kind[5];
    const uint8_t *payload;
    uint32_t size;
};

static bool has_tag(const struct request *q, enum tag tag)
{
    return find_tag(q->payload, q->size, tag_names[tag]) != NOT_THERE;
}

/* Reads a text, or "" if the tag is not there. Returns its length before any cut. */
static uint32_t get_text(const struct request *q, enum tag tag, char *out, uint32_t out_bytes)
{
    uint32_t at = find_tag(q->payload, q->size, tag_names[tag]);
    out[0] = 0;
    return at == NOT_THERE ? 0 : read_string(q->payload, q->size, at, out, out_bytes);
}

static uint32_t get_number(const struct request *q, enum tag tag, uint32_t fallback)
{
    uint32_t at = find_tag(q->payload, q->size, tag_names[tag]);
    return at == NOT_THERE ? fallback : read_number(q->payload, q->size, at);
}

static uint32_t get_flags(const struct request *q, enum tag tag)
{
    uint32_t at = find_tag(q->payload, q->size, tag_names[tag]);
    return at == NOT_THERE ? 0 : read_flags(q->payload, q->size, at);
}

/* Reads a name. One that is longer than any name can be is read as "", which
 * nobody has. */
static void get_name(const struct request *q, enum tag tag, char out[ANY_NAME_CHARS + 1])
{
    if (get_text(q, tag, out, ANY_NAME_CHARS + 1) > ANY_NAME_CHARS)
        out[0] = 0;
}

/* A request is refused: of a login that is counted, by its reason. */
static void count_refusal(const struct request *q, enum failure failure)
{
    bool login = strcmp(q->kind, "auth") == 0 || strcmp(q->kind, "acct") == 0 || strcmp(q->kind, "AUTH") == 0;
    if (login && failures[failure].metric != 0)
        q->s->metrics[failures[failure].metric]++;
}

/* Starts the reply to a request: the caller adds tags to what is returned, and
 * ends it by send_back(). On a failure the code and STATUS both say so. */
static struct outgoing *reply_begin(const struct request *q, enum failure failure)
{
    struct outgoing *f = &q->s->frame;
    assert(failure < FAILURE_COUNT); /* STALL is no answer */
    if (failure)
        count_refusal(q, failure);
    frame_begin(f, q->kind, failures[failure].code);
    put_number(f, tag_STATUS, failures[failure].status);
    return f;
}

/* Ends the frame that is being written and sends it to whoever asked. */
static void send_back(const struct request *q)
{
    send_frame(q->s, q->c);
}

/* The whole reply, when there is nothing to add. */
static void reply(const struct request *q, enum failure failure)
{
    (void)reply_begin(q, failure);
    send_back(q);
}

/* Hands out a record, and the request waits until it is kept: a request is begun
 * only when there is a slot for its record. */
static void send_record(const struct request *q, const struct record *record)
{
    conn_wait(q->s, q->c, WAIT_RECORD);
    queue_record(q->s, q->c, q->conn->receipt, record);
}

/* Asks for a comparison with `stored` (none if empty) and a fresh hash (none
 * if `fresh` is empty); the request waits for the verdict. */
static void send_hash_job(const struct request *q, const char *password, const char *stored, const char *fresh)
{
    struct nascar *s = q->s;
    assert(s->job_count < RECORDS);
    struct nascar_hash_job *job = &s->job[s->job_count++];
    conn_wait(s, q->c, WAIT_VERDICT);
    memset(job, 0, sizeof *job);
    job->conn = q->c;
    job->receipt = q->conn->receipt;
    copy_text(job->password, sizeof job->password, password);
    copy_text(job->stored, sizeof job->stored, stored);
    copy_text(job->fresh, sizeof job->fresh, fresh);
    draw(s, job->salt, sizeof job->salt);
}

/* Says who plays on the request's connection by now. */
static void request_player(struct request *q)
{
    q->player = q->conn->player;
    q->p = q->player == NONE ? NULL : player_at(q->s, q->player);
}

/* ---- Chat (PROTOCOL 3.4) ------------------------------------------------- */

/* Who says what the server has to say: no persona can have this name (is_name_free). */
#define SYSTEM_NAME "Server"

/* Writes a `+msg`, of which the console shows N and T. If `flags` is empty
 * there is no F at all. */
static void write_msg(struct nascar *s, const char *flags, const char *from, int attr, uint32_t room, const char *text)
{
    frame_begin(&s->frame, "+msg", "");
    if (flags[0])
        put_raw(&s->frame, tag_F, flags);
    put_number(&s->frame, tag_ATTR, attr);
    put_number(&s->frame, tag_RI, room);
    put_text(&s->frame, tag_N, from);
    put_text(&s->frame, tag_FROM, from);
    put_text(&s->frame, tag_T, text);
    put_text(&s->frame, tag_TEXT, text);
}

/* The same from the server itself: F=B is what no player can send, either. */
static void write_announcement(struct nascar *s, uint32_t room, const char *text)
{
    write_msg(s, "B", SYSTEM_NAME, 0, room_at(s, room)->ident, text);
}

/* Gives the line that has been written to one reader. A slow reader misses it,
 * and that is counted. */
static void deliver_line(struct nascar *s, uint32_t player)
{
    uint32_t c = player_at(s, player)->conn;
    pump(s, c); /* so that the speaker is in the reader's list first */
    bool slow = conn_at(s, c)->slow;
    conn_at(s, c)->missed_lines += slow;
    s->metrics[METRIC_chat_lines_missed] += slow;
    if (!slow)
        conn_write(s, c, s->frame.bytes, s->frame.size);
}

/* Gives a line to all who are in a room. Returns how many do not miss it. */
static uint32_t announce_in_room(struct nascar *s, uint32_t r, const char *text)
{
    uint32_t count = 0;
    write_announcement(s, r, text);
    frame_end(&s->frame);
    for (uint32_t i = list_first(&room_at(s, r)->members); i != NONE; i = list_next(s, ROOM_MEMBERS, i)) {
        struct conn *conn = conn_at(s, player_at(s, i)->conn);
        if (conn->crowded) { /* not if the speaker has waited for it */
            conn->missed_lines++;
            s->metrics[METRIC_chat_lines_missed]++;
            continue;
        }
        count += !conn->slow;
        deliver_line(s, i);
    }
    return count;
}

/* A word to the server, and its answer: a few short lines, which are filled as those of a
 * paragraph are. */
struct word {
    char name[ANY_NAME_CHARS + 1]; /* that stands behind it; "": there is none */
    const char *text, *rest;       /* the whole line; and what stands behind the name */
    uint32_t last;                 /* the line of the answer that is being filled */
    bool ended;                    /* ... and to which nothing is added any more */
    bool full;                     /* as it is the last one, or else */
    uint32_t size;                 /* of the piece that is being said, which stays together */
    char piece[ANSWER_CHARS];
    char line[ANSWER_LINES][ANSWER_CHARS + 1];
};

/* Adds a piece to the line, or to the next one if it does not fit. If there is no other line,
 * dots say that something is left out. */
static void word_add_piece(struct word *a)
{
    char *line = a->line[a->last];
    uint32_t used = (uint32_t)strlen(line);
    if (used > 0 && (a->ended || used + 1 + a->size > ANSWER_CHARS)) {
        a->full = ++a->last == ANSWER_LINES;
        a->last -= a->full;
        line = a->line[a->last];
        used = a->full ? used : 0;
    }
    if (a->full) { /* the last words make way for the dots */
        while (used > ANSWER_CHARS - 4 || (line[used] && line[used] != ' ' && used > 0))
            used--;
        memcpy(a->piece, "...", a->size = 3);
    }
    if (used > 0)
        line[used++] = ' ';
    memcpy(line + used, a->piece, a->size);
    line[used + a->size] = 0;
    a->ended = false;
}

/* Adds text. It may go on with the next line at each space, but not at \t, which is shown as
 * one; and does at each \n. */
static void word_add_text(struct word *a, const char *text)
{
    for (; *text && !a->full; text++) {
        if (*text != ' ' && *text != '\n') {
            if (a->size < ANSWER_CHARS)
                a->piece[a->size++] = (char)(*text == '\t' ? ' ' : *text);
            continue;
        }
        if (a->size > 0)
            word_add_piece(a);
        a->size = 0;
        a->ended = a->ended || *text == '\n';
    }
}

/* The same, where %s and %u stand for what follows, and then a space. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
word_add(struct word *a, const char *form, ...)
{
    char text[24];
    va_list values;
    va_start(values, form);
    for (; *form; form++) {
        const char *value = text;
        text[0] = *form;
        text[1] = 0;
        if (text[0] == '%' && *++form == 's')
            value = va_arg(values, const char *);
        else if (text[0] == '%')
            write_number(text, va_arg(values, uint32_t));
        word_add_text(a, value);
    }
    va_end(values);
    word_add_text(a, " ");
}

/* Says how a race ended, and then something more. With two long names and a long track that
 * makes 43 characters, and those. */
static void word_add_result(struct word *a, const struct latest_result *result, const char *more)
{
    uint32_t winner = result_winner(result->number), first = winner == 1;
    const char *one = result->name[first], *other = result->name[1 - first];
    word_add(a, "\n%s %s %s on track %u%s", one[0] ? one : "somebody", winner > 1 ? "raced" : "beat",
             other[0] ? other : "somebody", result->number[RESULT_TRACK], more);
}

/* A result has come in, the newest one: the rooms in which the two are now hear it. Nobody
 * waits for it, so those who have no room for a line miss it. */
static void announce_result(struct nascar *s, const struct record *r)
{
    struct word a;
    uint32_t told = NONE;
    if (!s->config.announce_results)
        return;
    memset(&a, 0, sizeof a);
    word_add_result(&a, result_at(s, list_last(s, LATEST_RESULTS, &s->latest)), "");
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t persona = r->rank.persona[side], player = persona == NONE ? NONE : persona_at(s, persona)->player;
        uint32_t room = player == NONE ? NONE : player_at(s, player)->room;
        if (room != NONE && room != told)
            (void)announce_in_room(s, room, a.line[0]);
        told = room;
    }
}

/* Sends the line of the configuration to a player who has entered the lobby, once. */
static void welcome(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    if (p->welcomed || !s->config.welcome[0])
        return;
    p->welcomed = true;
    write_announcement(s, p->room, s->config.welcome);
    send_frame(s, p->conn);
}

/* ---- Challenges and races (PROTOCOL 5) ----------------------------------- */

/* Sends a word of a challenge (a token, ACPT, DECL or BLOC) to one player's console. */
static void send_challenge_word(struct nascar *s, uint32_t to, const char *from, const char *text)
{
    const struct player *p = player_at(s, to);
    pump(s, p->conn);
    write_msg(s, "P3", from, 3, room_at(s, p->room)->ident, text);
    send_frame(s, p->conn);
}

/* Is `other` in the list of users that the console of `p` shows? */
static bool is_listed(const struct player *p, const struct player *other)
{
    return p->users.on && p->room == other->room;
}

/* Makes the challenger known to the target's console, which would otherwise
 * answer BLOC by itself. This goes ahead of the room's list if that is behind. */
static void introduce(struct nascar *s, struct match *match)
{
    const struct player *challenger = player_at(s, match->player[0]), *target = player_at(s, match->player[1]);
    bool listed = is_listed(target, challenger);
    pump(s, target->conn);
    if (listed && node_at(s, occupant_node(s, challenger->occupant))->seq <= target->users.cursor)
        return;
    write_user(s, &s->frame, challenger, player_address(s, target->conn, challenger), room_at(s, target->room)->count,
               false);
    send_frame(s, target->conn);
    match->guest = !listed;
}

/* Takes a challenger who was shown for the challenge only off the target's list
 * again, unless it is listed there by now. */
static void dismiss_guest(struct nascar *s, struct match *match)
{
    const struct player *challenger = player_at(s, match->player[0]), *target = player_at(s, match->player[1]);
    match->guest = false;
    if (is_listed(target, challenger))
        return;
    write_user_gone(&s->frame, challenger->persona, room_at(s, target->room)->count);
    send_frame(s, target->conn);
}

/* Takes one player out of its challenge or race. The last one out frees it. */
static void match_leave(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    uint32_t number = p->match;
    struct match *match = match_at(s, number);
    bool was_busy = player_busy(s, p), was_racing = is_racing(s, p);
    if (match->guest)
        dismiss_guest(s, match);
    match->player[p->side] = NONE;
    p->match = NONE;
    if (was_busy)
        user_changed(s, player);
    if (was_racing)
        presence_changed(s, p->persona);
    if (match->player[0] == NONE && match->player[1] == NONE) {
        timer_stop(s, s->match_timers + number);
        pool_give(s, &s->matches, number);
    }
}

/* Ends a challenge that has not become a race. */
static void challenge_end(struct nascar *s, uint32_t match)
{
    uint32_t challenger = match_at(s, match)->player[0], target = match_at(s, match)->player[1];
    match_leave(s, challenger);
    match_leave(s, target);
}

/* A player leaves its challenge, and the other's console is told DECL in its name. */
static void challenge_leave(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    if (p->match == NONE || match_at(s, p->match)->state == MATCH_RACING)
        return;
    uint32_t other = match_at(s, p->match)->player[1 - p->side];
    send_challenge_word(s, other, player_name(s, player), "DECL");
    challenge_end(s, p->match);
}

/* A player is back from its race. The race lives on without it. */
static void race_leave(struct nascar *s, uint32_t player)
{
    const struct player *p = player_at(s, player);
    if (p->match != NONE && match_at(s, p->match)->state == MATCH_RACING)
        match_leave(s, player);
}

/* Nobody has answered in time: both consoles get DECL from the other. */
static void challenge_expire(struct nascar *s, uint32_t number)
{
    const struct match *match = match_at(s, number);
    uint32_t challenger = match->player[0], target = match->player[1];
    send_challenge_word(s, challenger, player_name(s, target), "DECL");
    send_challenge_word(s, target, player_name(s, challenger), "DECL");
    challenge_end(s, number);
}

static void copy_field(uint8_t *out, size_t size, const char *text)
{
    copy_text((char *)out, size, text);
}

/* The structure that the console has for a race: 272 bytes, little-endian
 * (PROTOCOL 5). */
#define PLAY_BYTES 272u

struct ses {
    char name[32];
    const char *self, *host, *opponent, *second;
    uint32_t address; /* the opponent's, as the receiver reaches it */
    uint32_t seed;
    int64_t when_s;
    const char *ticket;
};

static void write_play(uint8_t out[PLAY_BYTES], const struct ses *ses)
{
    memset(out, 0, PLAY_BYTES);
    copy_field(out + 0x00, 32, ses->name);
    copy_field(out + 0x20, 32, ses->self);
    copy_field(out + 0x40, 32, ses->host);
    copy_field(out + 0x60, 32, ses->opponent);
    copy_field(out + 0x80, 16, ses->host);
    copy_field(out + 0x90, 16, ses->second);
    store_le32(out + 0xc0, ses->address);
    store_le32(out + 0xc4, ses->address);
    store_le32(out + 0xc8, ses->seed);
    store_le32(out + 0xcc, (uint32_t)ses->when_s);
    copy_field(out + 0xd0, 64, ses->ticket);
}

static void write_ses(struct outgoing *f, const struct ses *ses)
{
    frame_begin(f, "+ses", "");
    put_address(f, tag_ADDR, ses->address);
    put_address(f, tag_FROM, ses->address); /* PROTOCOL 5: right whichever of the two a console dials */
    put_number(f, tag_SEED, to_signed(ses->seed));
    put_date(f, tag_WHEN, ses->when_s);
    put_raw(f, tag_AUTH, ses->ticket);
    put_text(f, tag_NAME, ses->name);
    put_text(f, tag_SELF, ses->self);
    put_text(f, tag_HOST, ses->host);
    put_text(f, tag_OPPO, ses->opponent);
    put_text(f, tag_P1, ses->host);
    put_text(f, tag_P2, ses->second);
    put_text(f, tag_P3, "");
    put_text(f, tag_P4, "");
}

/* The side that hosts: the challenger, unless only the other one has offered to. */
static uint32_t match_host(const struct match *match)
{
    return match->hosts[1] && !match->hosts[0] ? 1 : 0;
}

/* Sends `+ses` and `play` to both, with one seed. */
static void race_start(struct nascar *s, uint32_t number)
{
    struct match *match = match_at(s, number);
    uint32_t host = match_host(match);
    struct ses ses;
    char seed[24], ticket[2 * sizeof match->ticket + 1];
    memset(&ses, 0, sizeof ses);
    write_hex(ticket, match->ticket, sizeof match->ticket);
    ses.host = player_name(s, match->player[host]);
    ses.second = player_name(s, match->player[1 - host]);
    ses.seed = match->seed;
    ses.when_s = s->wall_s;
    ses.ticket = ticket;
    write_number(seed, to_signed(match->seed));
    copy_text(ses.name, sizeof ses.name, ses.host);
    append_text(ses.name, sizeof ses.name, ".");
    append_text(ses.name, sizeof ses.name, seed);
    for (uint32_t side = 0; side < 2; side++) {
        const struct player *p = player_at(s, match->player[side]), *other = player_at(s, match->player[1 - side]);
        ses.self = player_persona(s, p)->name;
        ses.opponent = player_persona(s, other)->name;
        ses.address = player_address(s, p->conn, other);
        write_ses(&s->frame, &ses);
        send_frame(s, p->conn);
        frame_begin(&s->frame, "play", "");
        write_play(s->frame.bytes + HEADER_BYTES, &ses);
        s->frame.size = HEADER_BYTES + PLAY_BYTES;
        store_be32(s->frame.bytes + 8, s->frame.size);
        conn_write(s, p->conn, s->frame.bytes, s->frame.size);
    }
    match->starting = false;
    match->state = MATCH_RACING;
    match->started_ms = s->now_ms;
    s->seq++;
    for (uint32_t side = 0; side < 2; side++)
        presence_changed(s, player_at(s, match->player[side])->persona);
    s->metrics[METRIC_races]++;
    uint32_t line = log_begin(s, NASCAR_LOG_INFO, "race");
    log_text(s, "host", ses.host);
    log_text(s, "guest", ses.second);
    log_end(s, line);
}

/* Both are ready, or time is up. The ticket for the results has to be on the
 * disk before anybody is told of it. */
static void race_prepare(struct nascar *s, uint32_t number)
{
    struct match *match = match_at(s, number);
    uint32_t host = match_host(match);
    struct record r = {.kind = RECORD_RACE, .race.when_s = s->reached_s};
    timer_stop(s, s->match_timers + number);
    match->starting = true;
    match->receipt = ++s->next_receipt;
    r.race.persona[0] = player_at(s, match->player[host])->persona;
    r.race.persona[1] = player_at(s, match->player[1 - host])->persona;
    write_hex(r.race.ticket, match->ticket, sizeof match->ticket);
    if (makes_room(s, &s->races))
        queue_record(s, match_waiter(s, number), match->receipt, &r);
    else /* it does not count */
        race_start(s, number);
}

/* Makes a challenge and offers it to the target. The challenger has had its reply. */
static void challenge_offer(struct nascar *s, uint32_t challenger, uint32_t target, const char *token)
{
    uint32_t number = pool_take(s, &s->matches); /* there is one for each client, so this cannot fail */
    assert(number != NONE);
    struct match *match = match_at(s, number);
    match->player[0] = challenger;
    match->player[1] = target;
    draw(s, match->ticket, sizeof match->ticket);
    match->seed = draw_u32(s);
    if (match->seed == 0)
        match->seed = 1;
    for (uint32_t side = 0; side < 2; side++) {
        player_at(s, match->player[side])->match = number;
        player_at(s, match->player[side])->side = side;
    }
    struct player *p = player_at(s, target);
    if (p->declined == challenger + 1)
        p->declined = 0;
    timer_start(s, s->match_timers + number, Q_CHALLENGE);
    user_changed(s, challenger);
    introduce(s, match);
    s->metrics[METRIC_challenges]++;
    send_challenge_word(s, target, player_name(s, challenger), token);
}

/* May `player` challenge `target` now? Its own open offer makes way for the new
 * one, and so does a race that it has plainly left. */
static enum failure challenge_prepare(struct nascar *s, uint32_t player, uint32_t target)
{
    struct player *p = player_at(s, player);
    if (p->match != NONE) {
        const struct match *match = match_at(s, p->match);
        if (match->state == MATCH_RACING && s->now_ms >= match->started_ms + REMATCH_MS)
            race_leave(s, player);
        else if (match->state == MATCH_OFFERED && p->side == 0)
            challenge_leave(s, player);
        else
            return BUSY;
    }
    if (target == NONE)
        return NO_USER;
    const struct conn *conn = conn_at(s, player_at(s, target)->conn);
    bool unreachable = conn->slow && !takes_chat(conn);
    return unreachable || player_at(s, target)->match != NONE ? BUSY : OK;
}

/* Is this ACPT, DECL or BLOC? The first four letters count, and nothing else is
 * relayed (PROTOCOL 5, step 3). */
static bool is_answer(const char *text)
{
    return strncmp(text, "ACPT", 4) == 0 || strncmp(text, "DECL", 4) == 0 || strncmp(text, "BLOC", 4) == 0;
}

/* May this answer be given now? ACPT is given once, and by the challenged
 * player. */
static enum failure challenge_answer_check(const struct nascar *s, uint32_t player, uint32_t other, const char *text)
{
    const struct player *p = player_at(s, player);
    if (other == NONE || p->match == NONE)
        return EXPIRED;
    const struct match *match = match_at(s, p->match);
    if (match->player[1 - p->side] != other || match->state == MATCH_RACING)
        return EXPIRED;
    if (text[0] == 'A' && (p->side == 0 || match->state != MATCH_OFFERED))
        return EXPIRED;
    return OK;
}

static void challenge_answer(struct nascar *s, uint32_t player, uint32_t other, const char *text)
{
    uint32_t number = player_at(s, player)->match;
    send_challenge_word(s, other, player_name(s, player), text);
    if (text[0] != 'A') {
        player_at(s, player)->declined = other + 1;
        challenge_end(s, number);
        return;
    }
    match_at(s, number)->state = MATCH_ACCEPTED;
    timer_start(s, s->match_timers + number, Q_RACE_START);
    user_changed(s, player);
}

/* ---- Commands: the directory (PROTOCOL 3.1) ------------------------------ */

static void session_remove(struct nascar *s, uint32_t i)
{
    const struct directory_session *session = session_at(s, i);
    index_remove(s, &s->session_numbers, hash_numbers(s, session->sess, 0), i);
    index_remove(s, &s->session_peers, hash_numbers(s, session->peer, 0), i);
    timer_stop(s, s->directory_timers + i);
    pool_give(s, &s->directory, i);
}

/* Draws a SESS of 1..2147483647 that no live session has. */
static uint32_t draw_session_number(struct nascar *s)
{
    uint32_t sess = 0;
    for (int tries = 0; tries < 4 && (sess == 0 || find_session(s, sess) != NONE); tries++)
        sess = draw_u32(s) & INT32_MAX;
    return sess == 0 ? 1 : sess;
}

/* Are the limits of an address for this connection? */
static bool has_limits(const struct nascar *s, const struct conn *conn)
{
    return !conn->of_proxy && !in_networks(&s->config.trusted, conn->peer);
}

/* The oldest session of a peer that has as many as one may have, else NONE. */
static uint32_t find_surplus_session(const struct nascar *s, uint32_t peer)
{
    uint32_t count = 0, i = find_session_of_peer(s, peer);
    for (; i != NONE; i = index_next(s, &s->session_peers, i))
        if (session_at(s, i)->peer == peer && ++count == SESSIONS_PER_PEER)
            return i;
    return NONE;
}

/* Adds a session, to be remembered for 30 minutes. The peer's oldest, or the
 * oldest of all, makes room for it if there is none. */
static const struct directory_session *session_add(struct nascar *s, const struct conn *conn)
{
    uint32_t peer = conn->peer, surplus = has_limits(s, conn) ? find_surplus_session(s, peer) : NONE;
    if (surplus != NONE)
        session_remove(s, surplus);
    if (pool_full(&s->directory))
        session_remove(s, list_first(&s->queue[Q_DIRECTORY]) - s->directory_timers);
    uint32_t sess = draw_session_number(s), i = find_session(s, sess);
    if (i != NONE)
        session_remove(s, i);
    i = pool_take(s, &s->directory);
    assert(i != NONE);
    struct directory_session *session = session_at(s, i);
    uint8_t mask[16];
    session->sess = sess;
    session->peer = peer;
    draw(s, mask, sizeof mask);
    write_hex(session->mask, mask, sizeof mask);
    index_add(s, &s->session_numbers, hash_numbers(s, sess, 0), i);
    index_add(s, &s->session_peers, hash_numbers(s, peer, 0), i);
    timer_start(s, s->directory_timers + i, Q_DIRECTORY);
    return session;
}

/* How many connections an address has that stay. */
static uint32_t open_connections(const struct address *a)
{
    return a->connections - a->closing;
}

/* The connection of an address that has been silent longest, if it seems to be dead: a
 * console answers each ping at once, and this one has said nothing since one. One that is
 * not pinged yet is judged by its silence alone. NONE if all are alive. */
static uint32_t find_dead(const struct nascar *s, const struct address *a)
{
    for (uint32_t c = list_first(&a->heard); c != NONE; c = list_next(s, ADDRESS_CONNS, c)) {
        const struct conn *conn = conn_at(s, c);
        if (s->now_ms - conn->heard_ms <= SILENT_MS)
            break;
        bool pinged = timer_at(s, conn_timer(c, T_PING))->queue != Q_NONE;
        bool asked = conn->asked_ms > conn->heard_ms && s->now_ms - conn->asked_ms >= UNANSWERED_MS;
        if (conn->wait == WAIT_NONE && (!pinged || asked))
            return c;
    }
    return NONE;
}

_Static_assert(80 + REASON_CHARS <= DOWN_CHARS, "what is said before a reason, and it");

/* What a console is shown whose address is banned. */
static const char *write_ban(const struct sanction *ban, char out[DOWN_CHARS + 1])
{
    char until[20];
    const char *const for_good[] = {"Your address is banned from this server"};
    const char *const ending[] = {for_good[0], " until ", until, " UTC"};
    const char *const why[] = {ban->reason[0] ? ": " : ".", ban->reason};
    write_date(until, ban->until_s);
    out[0] = 0;
    join_text(out, DOWN_CHARS + 1, ban->until_s ? ending : for_good, ban->until_s ? 4 : 1);
    join_text(out, DOWN_CHARS + 1, why, 2);
    return out;
}

/* What a console is shown that cannot get in now, or "". Here it can be shown,
 * and nowhere later (PROTOCOL 3.1). On a full server an address that has a player
 * online gets through, as that may be the console's own ghost. */
static const char *keep_out(const struct request *q, char text[DOWN_CHARS + 1])
{
    struct nascar *s = q->s;
    if (s->config.down[0]) {
        s->metrics[METRIC_connections_refused_down]++;
        return s->config.down;
    }
    uint32_t ban = find_address_ban(s, q->conn->peer);
    if (ban != NONE) {
        s->metrics[METRIC_connections_refused_banned]++;
        return write_ban(sanction_at(s, ban), text);
    }
    const struct address *address = address_at(s, q->conn->address);
    if (pool_full(&s->players) && address->players == 0) {
        s->metrics[METRIC_connections_refused_full]++;
        return "The server is full. Please try again later.";
    }
    /* This connection ends, but the lobby's and the buddies' have to find room, or take
     * a dead one's. Where an address may have but one, the lobby's alone has. */
    uint32_t open = open_connections(address);
    if (open > 1 && open + 1 > s->config.per_address && has_limits(s, q->conn) && find_dead(s, address) == NONE) {
        s->metrics[METRIC_connections_refused_address]++;
        return "Too many players are online from your address. Please try again later.";
    }
    return "";
}

static enum failure do_directory(struct request *q)
{
    struct nascar *s = q->s;
    char text[DOWN_CHARS + 1];
    const char *down = keep_out(q, text);
    conn_become(s, q->conn, CONN_DIRECTORY);
    timer_start(s, conn_timer(q->c, T_PHASE), Q_LINGER);
    if (down[0]) {
        frame_begin(&s->frame, q->kind, "");
        put_raw(&s->frame, tag_ADDR, "0.0.0.0");
        put_raw(&s->frame, tag_PORT, "0");
        put_text(&s->frame, tag_DOWN, down);
        send_back(q);
        return OK;
    }
    const struct directory_session *session = session_add(s, q->conn);
    frame_begin(&s->frame, q->kind, "");
    put_address(&s->frame, tag_ADDR, server_address(s, endpoint_of(q->conn)));
    put_number(&s->frame, tag_PORT, s->config.lobby_port);
    put_number(&s->frame, tag_SESS, session->sess);
    put_raw(&s->frame, tag_MASK, session->mask);
    if (s->config.directory_direct)
        put_raw(&s->frame, tag_DIRECT, "1");
    send_back(q);
    return OK;
}

/* ---- Commands: accounts (PROTOCOL 3.2, 4, 6) ----------------------------- */

/* How long it is from one beat of pings to the next: a period has so many. */
static uint64_t beat_ms(const struct nascar *s)
{
    return s->config.ping_ms / PING_SLOTS;
}

/* From here on a connection is pinged once in a period. Whoever comes gets a
 * place in the second half of one, the next a beat earlier, and the places go
 * round: so those who come together are not pinged together. */
static void ping_start(struct nascar *s, uint32_t c)
{
    if (timer_at(s, conn_timer(c, T_PING))->queue != Q_NONE)
        return;
    if (list_first(&s->queue[Q_PING]) == NONE)
        s->ping_beat_ms = s->ping_batch_ms = s->now_ms;
    uint32_t beats = PING_SLOTS - 1 - s->ping_places++ % (PING_SLOTS / 2);
    timer_start_at(s, conn_timer(c, T_PING), Q_PING, s->ping_beat_ms + beats * beat_ms(s));
}

static enum failure do_ping(struct request *q)
{
    if (q->conn->ping_sent_ms != 0) /* an echo, which is not answered itself */
        q->conn->round_trip_ms = (uint32_t)(q->s->now_ms - q->conn->ping_sent_ms);
    q->conn->ping_sent_ms = 0;
    return OK;
}

static enum failure do_addr(struct request *q)
{
    uint32_t at = find_tag(q->payload, q->size, tag_names[tag_ADDR]), address;
    if (at == NOT_THERE || !read_address(q->payload, q->size, at, &address))
        return MISSING;
    if (q->conn->state != CONN_PERSONA || (q->p->room == HUB && q->p->match == NONE))
        q->conn->reported = address; /* else others have been told: `+usr` A and `+ses` must agree (PROTOCOL 5) */
    ping_start(q->s, q->c);
    reply(q, OK);
    return OK;
}

static enum failure do_skey(struct request *q)
{
    struct nascar *s = q->s;
    char text[2 + 2 * sizeof q->conn->skey] = "$";
    uint32_t i = find_session_of_peer(s, q->conn->peer);
    q->conn->sess = i != NONE ? session_at(s, i)->sess : 0;
    struct outgoing *f = reply_begin(q, OK);
    if (s->config.skey) {
        draw(s, q->conn->skey, sizeof q->conn->skey);
        if (q->conn->skey[0] == 0) /* a first 0 would make the console use the mask form */
            q->conn->skey[0] = 1;
        write_hex(text + 1, q->conn->skey, sizeof q->conn->skey);
        put_raw(f, tag_SKEY, text);
    } else {
        put_raw(f, tag_SKEY, "0");
    }
    send_back(q);
    return OK;
}

/* The directory session that the MASK tag names. A sign-up has no such tag: then
 * that of a login which it follows, or the newest that its address had at `skey`.
 * If it is gone, the newest that the address has now. */
static uint32_t find_request_session(const struct request *q)
{
    const struct nascar *s = q->s;
    uint32_t i = find_session(s, get_number(q, tag_MASK, q->conn->sess));
    if (i == NONE)
        return find_session_of_peer(s, q->conn->peer);
    q->conn->sess = session_at(s, i)->sess;
    return i;
}

/* What stands in a recording where a valid password stood, behind the character
 * that says which form it had. Only the core of a replay takes it for a password. */
#define REDACTED "good"

/* PROTOCOL 4: the first character tells which form it is. */
static enum failure get_password(const struct request *q, char out[SSC2_CHARS + 1])
{
    char text[2 * SSC2_CHARS + 4];
    uint32_t size = get_text(q, tag_PASS, text, sizeof text), length = NOT_THERE;
    if (size == 0)
        return MISSING;
    if (text[0] == '~') {
        length = ssc2_decode(q->conn->skey, sizeof q->conn->skey, text + 1, out);
    } else if (text[0] == '$' && size < sizeof text) {
        uint32_t i = find_request_session(q);
        if (i == NONE)
            return NO_SESSION;
        length = mask_decode(session_at(q->s, i)->mask, text + 1, out);
    }
    if (q->s->replays && strcmp(text + 1, REDACTED) == 0) {
        length = sizeof REDACTED - 1;
        memcpy(out, REDACTED, sizeof REDACTED);
    }
    wipe(text, sizeof text);
    if (length == NOT_THERE)
        return WRONG_PASSWORD;
    return OK;
}

/* What an address did lately. What is too old is forgotten here, and the entry
 * is kept for ten minutes from now. */
static struct address *address_touch(const struct request *q)
{
    struct nascar *s = q->s;
    uint32_t i = q->conn->address;
    struct address *a = address_at(s, i);
    if (s->now_ms - a->window_ms >= ADDRESS_MS) {
        a->failed = a->tries = a->created = 0;
        a->window_ms = s->now_ms;
    }
    timer_start(s, s->address_timers + i, Q_ADDRESS);
    return a;
}

static void guess_forget(struct nascar *s, uint32_t i)
{
    const struct guess *g = guess_at(s, i);
    s->guessed -= g->failed >= FREE_GUESSES;
    index_remove(s, &s->guess_pairs, hash_guess(s, g->ipv4, g->name), i);
    timer_stop(s, s->guess_timers + i);
    pool_give(s, &s->guesses, i);
}

/* The entry of a name and the address that tries its password, made if there is
 * none. In a full table the oldest one makes room that keeps nobody waiting, or that
 * does, if more than half of them do. So many names make the server forget no
 * guesser, and many guessers not that another one has begun. */
static uint32_t guess_take(struct nascar *s, uint32_t ipv4, uint64_t name)
{
    uint32_t i = find_guess(s, ipv4, name);
    if (i != NONE)
        return i;
    if (pool_full(&s->guesses)) {
        enum queue queue = s->guessed > s->guesses.capacity / 2 ? Q_GUESSED : Q_GUESS;
        guess_forget(s, list_first(&s->queue[queue]) - s->guess_timers);
    }
    i = pool_take(s, &s->guesses);
    guess_at(s, i)->ipv4 = ipv4;
    guess_at(s, i)->name = name;
    index_add(s, &s->guess_pairs, hash_guess(s, ipv4, name), i);
    return i;
}

/* So many more wrong passwords, or one less; none if it was counted when it was tried. */
static void guess_count(const struct request *q, const char *name, int32_t more)
{
    struct nascar *s = q->s;
    uint32_t i = guess_take(s, q->conn->peer, hash_name(s, name));
    struct guess *g = guess_at(s, i);
    s->guessed -= g->failed >= FREE_GUESSES;
    g->failed += (uint32_t)more;
    if (g->failed == 0) /* a right one came in between, and all was forgotten */
        g->failed = 1;
    s->guessed += g->failed >= FREE_GUESSES;
    g->failed_at_ms = s->now_ms;
    timer_start(s, s->guess_timers + i, g->failed < FREE_GUESSES ? Q_GUESS : Q_GUESSED);
}

/* Who has failed too often waits, longer each time, but at most a minute. */
static bool must_wait(const struct nascar *s, uint32_t failed, uint32_t free, uint64_t failed_at_ms)
{
    uint64_t wait_ms = failed < free ? 0 : UINT64_C(1000) << min_u32(failed - free, 6);
    return s->now_ms < failed_at_ms + (wait_ms < 60000 ? wait_ms : 60000);
}

/* Logs that a limit or a ban keeps a request from going on, once a minute for an
 * address. `key` and `what` say which. */
static enum failure refuse_login(const struct request *q, const char *name, enum failure failure, const char *key,
                                 const char *what)
{
    struct nascar *s = q->s;
    struct address *a = address_touch(q);
    if (s->now_ms < a->quiet_until_ms) {
        a->unlogged++;
        return failure;
    }
    uint32_t line = log_begin_conn(s, NASCAR_LOG_WARN, "login_refused", q->c);
    log_text(s, "name", name);
    log_text(s, "reason", failures[failure].code);
    log_text(s, key, what);
    if (a->unlogged > 0)
        log_number(s, "more", a->unlogged);
    log_end(s, line);
    a->unlogged = 0;
    a->quiet_until_ms = s->now_ms + QUIET_MS;
    return failure;
}

static enum failure too_many_tries(const struct request *q, const char *name, const char *limit)
{
    return refuse_login(q, name, TOO_MANY_TRIES, "limit", limit);
}

static enum failure refuse_banned(const struct request *q, const char *name, uint32_t ban)
{
    return refuse_login(q, name, BANNED, "ban", sanction_at(q->s, ban)->target);
}

/* PROTOCOL 6, "too many tries": whoever tries a password that costs a hash asks here
 * first. A try counts as a wrong one until it is over, as many can be made at once. */
static enum failure may_try_password(const struct request *q, const char *name)
{
    struct nascar *s = q->s;
    struct address *a = address_touch(q);
    uint32_t i = find_guess(s, q->conn->peer, hash_name(s, name));
    if (i != NONE && must_wait(s, guess_at(s, i)->failed, FREE_GUESSES, guess_at(s, i)->failed_at_ms))
        return too_many_tries(q, name, "wrong passwords for this name");
    bool limited = has_limits(s, q->conn);
    if (limited && must_wait(s, a->failed, FREE_FAILURES, a->failed_at_ms))
        return too_many_tries(q, name, "wrong passwords from this address");
    if (limited && a->tries >= s->config.logins_per_address)
        return too_many_tries(q, name, "logins-per-address");
    a->tries++;
    guess_count(q, name, 1);
    return OK;
}

/* A try is over that does not count. It was right, or no guess, and neither do those
 * before it; or nobody has found out, and they do. */
static void password_tried(const struct request *q, const char *name, bool known)
{
    struct nascar *s = q->s;
    struct address *a = address_touch(q);
    uint32_t i = find_guess(s, q->conn->peer, hash_name(s, name));
    if (i != NONE && (known || guess_at(s, i)->failed == 1))
        guess_forget(s, i);
    else if (i != NONE)
        guess_count(q, name, -1);
    if (a->tries > 0)
        a->tries--;
}

static enum failure password_failed(const struct request *q, const char *name, enum failure failure)
{
    struct nascar *s = q->s;
    struct address *a = address_touch(q);
    uint32_t line = log_begin_conn(s, NASCAR_LOG_WARN, "login_refused", q->c);
    log_text(s, "name", name);
    log_text(s, "reason", failures[failure].code);
    log_end(s, line);
    a->failed++;
    a->failed_at_ms = s->now_ms;
    guess_count(q, name, 0);
    return failure;
}

/* No answer came to whether it is right, or no hash of it. */
static enum failure password_unchecked(const struct request *q, const char *name)
{
    if (q->conn->state != CONN_CONTROL) /* the operator is of no address */
        password_tried(q, name, false);
    return NOT_KEPT;
}

/* Nobody takes a name by which he could be taken for the server. */
static bool is_name_free(const struct nascar *s, const char *name)
{
    return find_persona(s, name) == NONE && find_room(s, name) == NONE && !same_name(name, SYSTEM_NAME);
}

/* What a request changes of an account, and nothing else; the request waits for it. */
static void send_edit(const struct request *q, uint32_t account, const char *hash)
{
    struct record r = {.kind = RECORD_EDIT, .edit.account = account};
    r.edit.has_hash = hash[0] != 0;
    r.edit.has_mail = has_tag(q, tag_MAIL);
    r.edit.has_spam = has_tag(q, tag_SPAM);
    copy_text(r.edit.hash, sizeof r.edit.hash, hash);
    (void)get_text(q, tag_MAIL, r.edit.mail, sizeof r.edit.mail);
    (void)get_text(q, tag_SPAM, r.edit.spam, sizeof r.edit.spam);
    send_record(q, &r);
}

/* Is there a place for one more player? Whoever is logged in here leaves one. */
static bool has_place(const struct request *q)
{
    return q->player != NONE || !pool_full(&q->s->players);
}

/* A place among the players is kept for this connection, or not any more. */
static void promise_place(struct nascar *s, struct conn *conn, bool promised)
{
    s->players.promised += promised;
    s->players.promised -= conn->promised;
    conn->promised = promised;
}

/* Hands out the record of a new account. Connection c waits for it. Nobody is told that
 * the server is full when the account is made, as then its name is taken. */
static enum failure send_account(struct request *q, const char *name, const char *hash, bool with_persona)
{
    struct nascar *s = q->s;
    struct record r = {.kind = RECORD_ACCT, .acct = {.created_s = s->wall_s, .spam = "NN"}};
    char persona[PERSONA_CHARS + 1];
    struct address *address = address_touch(q);
    if (!hash[0])
        return password_unchecked(q, name);
    if (pool_full(&s->accounts) || (q->conn->state != CONN_CONTROL && !has_place(q)))
        return SERVER_FULL;
    if (q->conn->state != CONN_CONTROL) {
        if (address->created++ >= s->config.accounts_per_address && has_limits(s, q->conn))
            return too_many_tries(q, name, "accounts-per-address");
        password_tried(q, name, true);
    }
    copy_text(r.acct.name, sizeof r.acct.name, name);
    copy_text(r.acct.hash, sizeof r.acct.hash, hash);
    (void)get_text(q, tag_MAIL, r.acct.mail, sizeof r.acct.mail);
    if (has_tag(q, tag_SPAM))
        (void)get_text(q, tag_SPAM, r.acct.spam, sizeof r.acct.spam);
    copy_text(persona, sizeof persona, name);
    r.acct.has_personas = with_persona && is_name_free(s, persona);
    copy_text(r.acct.personas, sizeof r.acct.personas, persona);
    promise_place(s, q->conn, q->conn->state != CONN_CONTROL && q->player == NONE);
    send_record(q, &r);
    return OK;
}

/* An `auth` or `acct` has succeeded, or the account is about to go: whoever was logged in
 * on this connection is logged out. */
static void player_logout(struct request *q)
{
    struct nascar *s = q->s;
    if (q->player == NONE)
        return;
    log_end(s, log_begin_conn(s, NASCAR_LOG_INFO, "logout", q->c));
    player_remove(s, q->player);
    request_player(q);
    conn_become(s, q->conn, CONN_LOBBY);
    timer_start(s, conn_timer(q->c, T_PHASE), Q_LOGIN);
}

/* The password was right, or the account is new: it is logged in on this connection. */
static enum failure player_login(struct request *q, uint32_t account)
{
    struct nascar *s = q->s;
    uint32_t ban = find_ban(s, account_at(s, account)->name, q->conn->peer);
    if (ban != NONE)
        return refuse_banned(q, account_at(s, account)->name, ban);
    player_logout(q);
    if (!player_add(s, q->c, account))
        return SERVER_FULL;
    q->conn->refused = false;
    request_player(q);
    assert(q->p);
    timer_stop(s, conn_timer(q->c, T_PHASE));
    ping_start(s, q->c); /* in case that it has left out `addr` */
    s->metrics[METRIC_logins]++;
    log_end(s, log_begin_conn(s, NASCAR_LOG_INFO, "login", q->c));
    queue_record(s, NONE, 0, &(struct record){.kind = RECORD_SEEN, .seen = {account, s->wall_s}});
    return OK;
}

static enum failure finish_auth(struct request *q, uint32_t account)
{
    struct nascar *s = q->s;
    const struct account *a = account_at(s, account);
    char personas[PERSONA_LIST_CHARS + 1];
    enum failure failure = player_login(q, account);
    if (failure)
        return failure;
    uint32_t i = find_session(s, get_number(q, tag_MASK, 0));
    uint32_t sess = i != NONE ? session_at(s, i)->sess : draw_session_number(s);
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_SESS, sess);
    put_raw(f, tag_TOS, "1");
    put_address(f, tag_ADDR, q->conn->peer);
    put_date(f, tag_LAST, q->p->last_login_s);
    put_text(f, tag_SPAM, a->spam);
    put_text(f, tag_NAME, a->name);
    write_personas(s, a, personas);
    put_text(f, tag_PERSONAS, personas);
    put_text(f, tag_MAIL, a->mail);
    send_back(q);
    return OK;
}

/* Every try costs one hash, so that an unknown name takes as long as a wrong
 * password, and nobody finds out names by the clock. */
static enum failure do_auth(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], password[SSC2_CHARS + 1];
    q->conn->refused = true; /* so far */
    get_name(q, tag_NAME, name);
    if (!name[0])
        return MISSING;
    uint32_t ban = find_address_ban(s, q->conn->peer); /* that of an account is told to who has its password */
    if (ban != NONE)
        return refuse_banned(q, name, ban);
    enum failure failure = get_password(q, password);
    if (failure && failure != WRONG_PASSWORD)
        return failure;
    enum failure refused = may_try_password(q, name);
    uint32_t account = find_account(s, name);
    q->conn->checking = !refused && !failure ? account : NONE;
    if (!refused && !failure && account != NONE)
        send_hash_job(q, password, account_at(s, account)->hash, "");
    else if (!refused && !failure)
        send_hash_job(q, "", "", password);
    wipe(password, sizeof password);
    return refused ? refused : failure ? password_failed(q, name, failure) : OK;
}

static enum failure verdict_auth(struct request *q, bool accepted, const char *hash)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], password[SSC2_CHARS + 1];
    uint32_t checked = q->conn->checking;
    q->conn->checking = NONE;
    get_name(q, tag_NAME, name);
    if (!accepted && hash[0])
        return password_unchecked(q, name);
    if (checked != NONE && !accepted)
        return password_failed(q, name, WRONG_PASSWORD);
    uint32_t ban =
        checked != NONE ? NONE : find_ban(s, name, q->conn->peer); /* an account's is seen to as it logs in */
    if (checked != NONE || find_account(s, name) != NONE || ban != NONE)
        password_tried(q, name, true);
    if (checked != NONE)
        return finish_auth(q, checked);
    if (find_account(s, name) != NONE) /* it was made or changed meanwhile: there is a password to check */
        return do_auth(q);
    if (ban != NONE)
        return refuse_banned(q, name, ban);
    if (s->config.accounts != ACCOUNTS_OPEN || !valid_name(name, ACCOUNT_CHARS) || find_room(s, name) != NONE)
        return password_failed(q, name, NO_ACCOUNT);
    bool valid = get_password(q, password) == OK && valid_password(password);
    wipe(password, sizeof password);
    if (!valid)
        return password_failed(q, name, WRONG_PASSWORD);
    return send_account(q, name, hash, true);
}

static enum failure kept_auth(struct request *q, enum failure failure)
{
    char name[ANY_NAME_CHARS + 1];
    promise_place(q->s, q->conn, false);
    if (failure == TAKEN)
        return do_auth(q);
    if (failure)
        return failure;
    get_name(q, tag_NAME, name);
    uint32_t account = find_account(q->s, name);
    return account == NONE ? NOT_KEPT : finish_auth(q, account);
}

/* Answers `dupl`, with free variants of the name if ALTS asks for some. */
static enum failure refuse_taken(struct request *q, const char *name, uint32_t max_chars,
                                 bool is_free(const struct nascar *, const char *))
{
    char list[4 * (ACCOUNT_CHARS + 1) + 1] = "", variant[ACCOUNT_CHARS + 1], digits[24];
    uint32_t wanted = min_u32(get_number(q, tag_ALTS, 0), 4);
    for (uint32_t i = 1; i < 100 && wanted > 0; i++) {
        write_number(digits, i);
        copy_text(variant, min_u32(max_chars + 1 - (uint32_t)strlen(digits), sizeof variant), name);
        append_text(variant, sizeof variant, digits);
        if (!is_free(q->s, variant))
            continue;
        append_text(list, sizeof list, list[0] ? "," : "");
        append_text(list, sizeof list, variant);
        wanted--;
    }
    struct outgoing *f = reply_begin(q, TAKEN);
    if (list[0])
        put_text(f, tag_OPTS, list);
    send_back(q);
    return OK;
}

static bool is_account_free(const struct nascar *s, const char *name)
{
    return find_account(s, name) == NONE && find_room(s, name) == NONE;
}

static enum failure do_acct(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], password[SSC2_CHARS + 1];
    q->conn->refused = true; /* so far */
    if (s->config.accounts == ACCOUNTS_CLOSED || !has_tag(q, tag_NAME))
        return MISSING;
    get_name(q, tag_NAME, name);
    if (!valid_name(name, ACCOUNT_CHARS))
        return BAD_NAME;
    uint32_t ban = find_ban(s, name, q->conn->peer);
    if (ban != NONE)
        return refuse_banned(q, name, ban);
    enum failure failure = get_password(q, password);
    if (failure == OK && !valid_password(password))
        failure = BAD_NAME;
    if (failure == OK && !is_account_free(s, name))
        failure = TAKEN;
    if (failure == OK && (pool_full(&s->accounts) || !has_place(q)))
        failure = SERVER_FULL;
    if (failure == OK) /* there is no password to try, but a hash to make */
        failure = may_try_password(q, name);
    if (failure == OK)
        send_hash_job(q, "", "", password);
    wipe(password, sizeof password);
    return failure == TAKEN ? refuse_taken(q, name, ACCOUNT_CHARS, is_account_free) : failure;
}

static enum failure kept_acct(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], born[16];
    promise_place(s, q->conn, false);
    get_name(q, tag_NAME, name);
    if (failure == TAKEN)
        return refuse_taken(q, name, ACCOUNT_CHARS, is_account_free);
    uint32_t account = find_account(s, name);
    if (failure == OK)
        failure = account == NONE ? NOT_KEPT : player_login(q, account);
    if (failure)
        return failure;
    (void)get_text(q, tag_BORN, born, sizeof born);
    int32_t age = age_at(born, s->wall_s);
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_AGE, age >= 0 ? age : (int32_t)min_u32(get_number(q, tag_MINAGE, 18), 150));
    put_text(f, tag_NAME, account_at(s, account)->name);
    put_text(f, tag_PERSONAS, "");
    send_back(q);
    return OK;
}

static enum failure verdict_acct(struct request *q, bool accepted, const char *hash)
{
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    if (find_account(q->s, name) == NONE)
        return send_account(q, name, accepted ? hash : "", false);
    password_tried(q, name, true);
    return kept_acct(q, TAKEN); /* it was made meanwhile */
}

/* CHNG needs the present password. Other fields do not, as the player is logged in. */
static enum failure do_edit(struct request *q)
{
    struct nascar *s = q->s;
    const struct account *a = account_at(s, q->p->account);
    char name[ANY_NAME_CHARS + 1], password[SSC2_CHARS + 1], fresh[SSC2_CHARS + 1];
    get_name(q, tag_NAME, name);
    if (has_tag(q, tag_NAME) && !same_name(name, a->name))
        return NO_ACCOUNT;
    uint32_t fresh_chars = get_text(q, tag_CHNG, fresh, sizeof fresh);
    uint32_t chars = get_text(q, tag_PASS, password, sizeof password);
    enum failure failure = OK;
    if (fresh_chars > 0 && (fresh_chars > PASSWORD_CHARS || !valid_password(fresh)))
        failure = BAD_NAME;
    else if (chars > PASSWORD_CHARS || (fresh_chars > 0 && chars == 0))
        failure = WRONG_PASSWORD;
    else if (chars == 0)
        send_edit(q, q->p->account, "");
    else
        failure = may_try_password(q, a->name);
    if (failure == OK && chars > 0) {
        q->conn->checking = q->p->account;
        send_hash_job(q, password, a->hash, fresh);
    }
    wipe(password, sizeof password);
    wipe(fresh, sizeof fresh);
    return failure;
}

static enum failure verdict_edit(struct request *q, bool accepted, const char *hash)
{
    char fresh[SSC2_CHARS + 1];
    uint32_t checked = q->conn->checking;
    q->conn->checking = NONE;
    if (!accepted && hash[0])
        return password_unchecked(q, account_at(q->s, q->p->account)->name);
    if (checked != NONE && !accepted)
        return password_failed(q, account_at(q->s, q->p->account)->name, WRONG_PASSWORD);
    password_tried(q, account_at(q->s, q->p->account)->name, true);
    if (checked == NONE) /* it was changed meanwhile, so the new one is to be checked */
        return do_edit(q);
    bool renew = get_text(q, tag_CHNG, fresh, sizeof fresh) > 0;
    wipe(fresh, sizeof fresh);
    if (renew && !hash[0])
        return NOT_KEPT;
    send_edit(q, q->p->account, renew ? hash : "");
    return OK;
}

static enum failure kept_plain(struct request *q, enum failure failure)
{
    if (failure == OK)
        reply(q, OK);
    return failure;
}

/* ---- Commands: personas (PROTOCOL 3.2) ----------------------------------- */

static enum failure do_cper(struct request *q)
{
    struct nascar *s = q->s;
    const struct account *a = account_at(s, q->p->account);
    char name[ANY_NAME_CHARS + 1];
    if (!has_tag(q, tag_PERS))
        return MISSING;
    get_name(q, tag_PERS, name);
    if (!valid_name(name, PERSONA_CHARS))
        return BAD_NAME;
    if (a->persona[PERSONAS_PER_ACCOUNT - 1] != NONE)
        return TOO_MANY_PERSONAS;
    if (!is_name_free(s, name))
        return refuse_taken(q, name, PERSONA_CHARS, is_name_free);
    struct record r = {.kind = RECORD_CPER, .cper.account = q->p->account};
    copy_text(r.cper.persona, sizeof r.cper.persona, name);
    send_record(q, &r);
    return OK;
}

static enum failure kept_cper(struct request *q, enum failure failure)
{
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_PERS, name);
    if (failure == TAKEN)
        return refuse_taken(q, name, PERSONA_CHARS, is_name_free);
    if (failure)
        return failure;
    struct outgoing *f = reply_begin(q, OK);
    put_text(f, tag_PERS, name);
    send_back(q);
    return OK;
}

/* The persona that PERS names, if it is this account's; else NONE. */
static uint32_t find_own_persona(const struct request *q)
{
    const struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_PERS, name);
    uint32_t persona = find_persona(s, name);
    return persona != NONE && persona_at(s, persona)->account == q->p->account ? persona : NONE;
}

static enum failure do_dper(struct request *q)
{
    struct nascar *s = q->s;
    if (!has_tag(q, tag_PERS))
        return MISSING;
    uint32_t persona = find_own_persona(q);
    if (persona == NONE)
        return NO_ACCOUNT;
    if (is_online(s, persona)) /* somebody is playing as it */
        return MISSING;
    struct record r = {.kind = RECORD_DPER};
    r.dper.persona = persona;
    r.dper.account = q->p->account;
    send_record(q, &r);
    return OK;
}

static enum failure kept_dper(struct request *q, enum failure failure)
{
    char name[ANY_NAME_CHARS + 1];
    if (failure)
        return failure;
    get_name(q, tag_PERS, name);
    struct outgoing *f = reply_begin(q, OK);
    put_text(f, tag_PERS, name);
    send_back(q);
    return OK;
}

/* No console asks for it, but `probe` does: the account that it has made goes again. Nobody loses anything
 * by that, as one with a persona stays, and is not rid of a mute, as a muted one stays, too. */
static enum failure do_dacc(struct request *q)
{
    struct nascar *s = q->s;
    struct record r = {.kind = RECORD_DACC, .dacc = {.account = q->p->account, .by = q->p->account, .has_by = true}};
    const struct account *a = account_at(s, r.dacc.account);
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    if (find_account(s, name) != r.dacc.account)
        return NO_ACCOUNT;
    if (a->persona[0] != NONE || find_held(s, true, a->name) != NONE)
        return MISSING;
    player_logout(q);
    send_record(q, &r);
    return OK;
}

static void log_account_deleted(const struct request *q)
{
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    uint32_t line = log_begin_conn(q->s, NASCAR_LOG_INFO, "account_deleted", q->c);
    log_text(q->s, "name", name);
    log_end(q->s, line);
}

static enum failure kept_dacc(struct request *q, enum failure failure)
{
    if (!failure) {
        log_account_deleted(q);
        reply(q, OK);
    }
    return failure;
}

static void hash_lkey(const uint8_t ticket[8], uint8_t out[16])
{
    uint8_t hash[32];
    sha256(ticket, 8, hash);
    memcpy(out, hash, 16);
}

/* A new ticket for the buddy service is kept first; the rest follows when it is. */
static enum failure do_pers(struct request *q)
{
    struct nascar *s = q->s;
    struct record r = {.kind = RECORD_TICK, .tick.until_s = s->reached_s + LKEY_S};
    uint8_t hash[16];
    if (!has_tag(q, tag_PERS))
        return MISSING;
    uint32_t number = find_own_persona(q);
    if (number == NONE)
        return NO_ACCOUNT;
    draw(s, q->conn->lkey, sizeof q->conn->lkey);
    hash_lkey(q->conn->lkey, hash);
    write_hex(r.tick.hash, hash, sizeof hash);
    r.tick.persona = number;
    send_record(q, &r);
    return OK;
}

/* Kept or not, the ticket is good (nascar_takes_unkept). */
static enum failure kept_pers(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    uint32_t number = find_own_persona(q), player = q->player;
    if (number == NONE)
        return NO_ACCOUNT;
    struct persona *persona = persona_at(s, number);
    char ticket[2 + 2 * sizeof q->conn->lkey] = "$";
    (void)failure;
    persona_off(s, player);
    bool again = q->conn->entered;
    q->conn->entered = true;
    persona_on(s, player, number);
    write_hex(ticket + 1, q->conn->lkey, sizeof q->conn->lkey);
    wipe(q->conn->lkey, sizeof q->conn->lkey);
    struct outgoing *f = reply_begin(q, OK);
    put_raw(f, tag_LKEY, ticket);
    put_date(f, tag_LAST, player_at(s, player)->last_login_s);
    put_text(f, tag_PERS, persona->name);
    send_back(q);
    if (again) /* it was in a room, maybe, whose name the console shows: now it is back in the hub */
        send_who(s, player, room_at(s, HUB)->name, room_flags(room_at(s, HUB)));
    else
        send_who(s, player, "0", "1"); /* [spec], to the letter, the first time */
    log_end(s, log_begin_conn(s, NASCAR_LOG_INFO, "enter", q->c));
    if (q->conn->wants.users) /* else with the lists that `sele` asks for, as the console shows its lobby then */
        welcome(s, player);
    return OK;
}

/* ---- Commands: what the lobby shows (PROTOCOL 3.2) ----------------------- */

static enum failure do_sele(struct request *q)
{
    struct nascar *s = q->s;
    struct wants old = q->conn->wants, *now = &q->conn->wants;
    now->rooms = get_number(q, tag_ROOMS, old.rooms);
    now->users = get_number(q, tag_USERS, old.users);
    now->ranks = get_number(q, tag_RANKS, old.ranks);
    now->mesgs = get_number(q, tag_MESGS, old.mesgs);
    if (!now->rooms)
        q->conn->rooms.muted = true;
    struct outgoing *f = reply_begin(q, OK);
    put_raw(f, tag_MORE, "0");
    put_raw(f, tag_SLOTS, "4");
    send_back(q);
    if (q->conn->state != CONN_PERSONA)
        return OK;
    struct player *p = q->p;
    if (!now->users) {
        p->users.muted = true;
        p->own_row_due = false;
    } else if (!old.users) {
        follow_users(s, p);
    }
    if (!now->rooms && !now->users && !now->ranks)
        lobby_unsubscribe(s, q->player);
    start_lists(s, q->player, now->rooms && !old.rooms, now->users && !old.users,
                now->ranks && now->ranks != old.ranks);
    mark_player_behind(s, q->player);
    if (now->users)
        welcome(s, q->player);
    return OK;
}

/* The news that are shown: the operator's, until he takes them back. */
static const char *news_text(const struct nascar *s)
{
    uint32_t i = live_from(s, &s->notices, 0);
    return i == NONE ? s->config.news : notice_at(s, i)->text;
}

/* Copies line number `line` of the news, cut to max characters; "" behind the
 * last one. */
static void news_line(const char *p, uint32_t line, char *out, size_t max)
{
    for (; line > 0 && *p; line--) {
        p += strcspn(p, "\n");
        p += *p == '\n';
    }
    size_t n = strcspn(p, "\n");
    if (n > max)
        n = max;
    memcpy(out, p, n);
    out[n] = 0;
}

/* Sends the address of the buddy service, and four lines of news in what is
 * left of the frame. */
static void news_short(struct request *q)
{
    struct nascar *s = q->s;
    static const enum tag tags[4] = {tag_NEWS0, tag_NEWS1, tag_NEWS2, tag_NEWS3};
    struct outgoing *f = &s->frame;
    char line[NEWS_REPLY_BYTES + 1];
    frame_begin(f, q->kind, "new0");
    put_address(f, tag_BUDDY_URL, server_address(s, endpoint_of(q->conn)));
    put_number(f, tag_BUDDY_PORT, s->config.buddy_port);
    put_raw(f, tag_COUNT, "4");
    put_number(f, tag_STATUS, failures[OK].status);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t start = f->size, rest = 7 * (3 - i) + 1; /* "NEWSn=\n" of each line to come, and the NUL */
        size_t max = NEWS_REPLY_BYTES;
        do { /* escapes make a line longer, so it is cut until it fits */
            news_line(news_text(s), i, line, max);
            max = strlen(line) - (line[0] != 0);
            f->size = start;
            put_text(f, tags[i], line);
        } while (f->size + rest > NEWS_REPLY_BYTES);
    }
    send_back(q);
}

static enum failure do_news(struct request *q)
{
    struct nascar *s = q->s;
    uint32_t number = get_number(q, tag_NAME, 0);
    char code[5] = "new0";
    if (number > 9)
        return MISSING;
    if (number == 0) {
        news_short(q);
        return OK;
    }
    code[3] = (char)('0' + number);
    frame_begin(&s->frame, q->kind, code);
    put_chars(&s->frame, news_text(s)[0] ? news_text(s) : "No news.\n");
    send_back(q);
    return OK;
}

static enum failure do_user(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], standing[LEADERBOARD_CHARS + 32];
    get_name(q, tag_PERS, name);
    if (!has_tag(q, tag_PERS))
        return MISSING;
    uint32_t persona = find_persona(s, name);
    if (persona == NONE)
        return NO_USER;
    uint32_t player = persona_at(s, persona)->player;
    struct outgoing *f = reply_begin(q, OK);
    /* 21 numbers. What they mean to the console is not known: our figures come
     * first [own]. */
    write_figures(standing, sizeof standing, &persona_at(s, persona)->figures, true);
    append_text(standing, sizeof standing, ",0,0,0,0,0,0,0,0,0,0,0,0,0,0");
    put_raw(f, tag_STAT, standing);
    put_raw(f, tag_INFO, "0,0");
    put_address(f, tag_ADDR, player == NONE ? 0 : player_address(s, q->c, player_at(s, player)));
    put_number(f, tag_RANK, shown_rank(s, persona));
    put_raw(f, tag_TITLE, "1");
    put_text(f, tag_PERS, persona_at(s, persona)->name);
    put_text(f, tag_ROOM, player == NONE ? "" : room_at(s, player_at(s, player)->room)->name);
    send_back(q);
    return OK;
}

/* The console drops a reply without N, so a failure has one, too. */
static enum failure do_onln(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], standing[LEADERBOARD_CHARS + 1] = "";
    if (!has_tag(q, tag_PERS))
        return MISSING;
    get_name(q, tag_PERS, name);
    uint32_t player = find_online(s, name), persona = player == NONE ? NONE : player_at(s, player)->persona;
    const char *shown = player == NONE ? name : player_name(s, player);
    struct outgoing *f = reply_begin(q, player == NONE ? NO_USER : OK);
    if (player != NONE)
        write_standing(s, persona, standing);
    put_number(f, tag_R, player == NONE ? 0 : shown_rank(s, persona));
    put_number(f, tag_P, standing[0] ? persona_at(s, persona)->figures.rating : 0);
    put_raw(f, tag_S, standing);
    put_text(f, tag_N, shown);
    put_text(f, tag_PERS, shown);
    send_back(q);
    return OK;
}

/* ---- Commands: rooms (PROTOCOL 3.3) -------------------------------------- */

/* Tells a console now what has ended in a list that is not told at this time; or as much
 * of it as it has read the rest. */
static void tell_ended(struct nascar *s, uint32_t c, struct feed *feed, struct subscription *sub, uint32_t population)
{
    uint32_t i = sub->on ? list_first(&feed->entries) : NONE, next;
    for (; i != NONE && outbox_free(conn_at(s, c)) >= REPLY_BYTES; i = next) {
        next = list_next(s, FEED_ENTRIES, i);
        if (!node_at(s, i)->tombstone || node_at(s, i)->seq <= passed_by(sub))
            continue;
        if (feed == &s->room_feed)
            write_room(&s->row_frame, room_at(s, node_room(i)), 0);
        else
            write_user_gone(&s->row_frame, occupant_at(s, node_occupant(s, i))->persona, population);
        send_row(s, c);
        sub->since = node_at(s, i)->seq;
        tombstone_passed(s, feed, i);
    }
}

/* Rooms and users that are gone stay in their tables for readers who are
 * behind. When a table is full of them, those readers are closed: nobody who
 * does not read keeps others out. Who has muted a list is told what has ended in
 * it, as is who is between two logins. */
static void drop_laggards(struct nascar *s, uint32_t c)
{
    for (uint32_t other = 0; other < s->conns.high; other++) {
        struct conn *conn = conn_at(s, other);
        if (other != c && conn->slow && (conn->player != NONE || conn->rooms.on))
            conn_doom(s, other, "too far behind");
        if (conn->closing)
            continue;
        if (conn->rooms.muted || conn->state != CONN_PERSONA)
            tell_ended(s, other, &s->room_feed, &conn->rooms, 0);
        struct player *p = conn->state == CONN_PERSONA ? player_at(s, conn->player) : NULL;
        if (p && p->users.muted)
            tell_ended(s, other, &room_at(s, p->room)->users, &p->users, room_at(s, p->room)->count);
    }
    settle(s);
}

/* On a failure IDENT must still be there, or the console drops to room 0. */
static enum failure refuse_move(struct request *q, enum failure failure)
{
    struct outgoing *f = reply_begin(q, failure);
    put_number(f, tag_IDENT, room_at(q->s, q->p->room)->ident);
    send_back(q);
    return OK;
}

static void put_room(struct outgoing *f, const struct room *room)
{
    put_number(f, tag_IDENT, room->ident);
    put_number(f, tag_COUNT, room->count);
    put_raw(f, tag_FLAGS, room_flags(room));
    put_text(f, tag_NAME, room->name);
}

/* Moves a player, answers, and tells it where it is. The lists, its own and
 * those of others, follow as outboxes drain. */
static void move_and_answer(struct request *q, uint32_t r)
{
    struct nascar *s = q->s;
    struct player *p = q->p;
    const struct room *room = room_at(s, r);
    uint32_t old_ident = room_at(s, p->room)->ident, old_count = room_at(s, p->room)->count - 1;
    challenge_leave(s, q->player);
    room_leave(s, q->player);
    room_join(s, q->player, r);
    q->conn->own = 0; /* the console clears its list */
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_LIDENT, old_ident);
    put_number(f, tag_LCOUNT, old_count);
    put_room(f, room);
    send_back(q);
    send_who(s, q->player, room->name, room_flags(room));
    uint32_t line = log_begin_conn(s, NASCAR_LOG_INFO, "move", q->c);
    log_text(s, "room", room->name);
    log_end(s, line);
}

static enum failure do_move(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], password[PASSWORD_CHARS + 1];
    struct player *p = q->p;
    if (pool_full(&s->occupants))
        drop_laggards(s, q->c);
    uint32_t chars = get_text(q, tag_NAME, name, sizeof name);
    uint32_t r = chars == 0 ? HUB : chars > ANY_NAME_CHARS ? NONE : find_room(s, name);
    p->peeked[0] = 0; /* whatever becomes of the move */
    race_leave(s, q->player);
    if (r == NONE)
        return refuse_move(q, NO_ROOM);
    const struct room *room = room_at(s, r);
    if (r == p->room) {
        put_room(reply_begin(q, OK), room);
        send_back(q);
        return OK;
    }
    chars = get_text(q, tag_PASS, password, sizeof password);
    if (room->password[0] && (chars > PASSWORD_CHARS || strcmp(password, room->password) != 0))
        return refuse_move(q, WRONG_PASSWORD);
    if (r != HUB && (room->count >= room->limit || pool_full(&s->occupants)))
        return refuse_move(q, ROOM_FULL);
    move_and_answer(q, r);
    return OK;
}

/* Is there a room that is gone, but of which not everybody has been told? */
static bool is_room_lingering(const struct nascar *s)
{
    for (uint32_t i = list_first(&s->room_feed.entries); i != NONE; i = list_next(s, FEED_ENTRIES, i))
        if (node_at(s, i)->tombstone)
            return true;
    return false;
}

static enum failure do_room(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], description[DESCRIPTION_CHARS + 1], password[PASSWORD_CHARS + 1];
    struct player *p = q->p;
    uint32_t chars = get_text(q, tag_NAME, name, sizeof name);
    p->peeked[0] = 0;
    race_leave(s, q->player);
    if (chars == 0)
        return refuse_move(q, MISSING);
    if (chars > ANY_NAME_CHARS || !valid_room_name(name) ||
        get_text(q, tag_PASS, password, sizeof password) > PASSWORD_CHARS)
        return refuse_move(q, BAD_NAME);
    if (!is_name_free(s, name))
        return refuse_move(q, TAKEN);
    if (pool_full(&s->occupants) || (pool_full(&s->rooms) && is_room_lingering(s)))
        drop_laggards(s, q->c);
    if (pool_full(&s->rooms) || pool_full(&s->occupants))
        return refuse_move(q, ROOM_FULL);
    (void)get_text(q, tag_DESC, description, sizeof description);
    int32_t max = to_signed(get_number(q, tag_MAX, 50));
    uint32_t limit = max < 2 ? 2 : min_u32((uint32_t)max, 100);
    uint32_t r = room_create(s, name, description, password, limit, s->next_created_room++);
    room_at(s, r)->created = true;
    copy_text(room_at(s, r)->made_by, sizeof room_at(s, r)->made_by, player_name(s, q->player));
    /* Its maker is told of the room, too, before the reply that names it. */
    while (outbox_free(q->conn) >= REPLY_BYTES && send_room_row(s, p))
        continue;
    move_and_answer(q, r);
    return OK;
}

static enum failure do_peek(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1];
    struct player *p = q->p;
    if (!has_tag(q, tag_NAME))
        return MISSING;
    get_name(q, tag_NAME, name);
    p->peeked[0] = 0; /* whoever was selected before; this one may not be there */
    uint32_t r = find_room(s, name);
    if (r != NONE) {
        struct outgoing *f = reply_begin(q, OK);
        put_number(f, tag_COUNT, room_at(s, r)->count);
        put_text(f, tag_NAME, room_at(s, r)->name);
        send_back(q);
        return OK;
    }
    uint32_t player = find_online(s, name);
    if (player == NONE)
        return NO_USER;
    copy_text(p->peeked, sizeof p->peeked, player_name(s, player));
    struct outgoing *f = reply_begin(q, OK);
    put_text(f, tag_NAME, player_name(s, player));
    send_back(q);
    return OK;
}

/* ---- Commands: chat and challenges (PROTOCOL 3.4, 5) --------------------- */

/* Replies to a `mesg` or an `auxi`. TEXT comes back only to the latter. */
static void reply_text(struct request *q, const char *text)
{
    struct outgoing *f = reply_begin(q, OK);
    if (memcmp(q->kind, "auxi", 4) == 0)
        put_text(f, tag_TEXT, text);
    send_back(q);
}

/* Refuses a challenge, or the acceptance of one. The console ignores the code of this
 * reply and goes on waiting; DECL frees it. */
static enum failure refuse_challenge(struct request *q, const char *target, enum failure failure)
{
    reply(q, failure);
    send_challenge_word(q->s, q->player, target, "DECL");
    return OK;
}

/* Would this challenge send more to its target, or to the one whose offer it
 * takes back, than they read? Then it has to wait, as chat has: nobody can be
 * talked off the server. */
static bool challenge_must_stall(const struct nascar *s, uint32_t player, uint32_t target)
{
    const struct player *p = player_at(s, player);
    uint32_t other = p->match == NONE ? NONE : match_at(s, p->match)->player[1 - p->side];
    return (target != NONE && conn_at(s, player_at(s, target)->conn)->crowded) ||
           (other != NONE && conn_at(s, player_at(s, other)->conn)->crowded);
}

/* Handles a word of a challenge to `name`, which came by `mesg ... ATTR=3` or
 * by `auxi`: an answer, or else a token. `size` is the length of the text
 * before any cut. */
static enum failure challenge_word(struct request *q, const char *name, const char *text, uint32_t size)
{
    struct nascar *s = q->s;
    uint32_t target = find_online(s, name);
    if (target == q->player) /* no answer of his own comes back to him */
        return is_answer(text) ? NO_USER : refuse_challenge(q, name, NO_USER);
    if (target != NONE)
        name = player_name(s, target); /* as it is spelt */
    if (is_answer(text)) {
        char word[5];
        copy_text(word, sizeof word, text);
        enum failure failure = challenge_answer_check(s, q->player, target, word);
        if (failure == OK) {
            reply_text(q, word);
            challenge_answer(s, q->player, target, word);
        } else if (word[0] == 'A' && q->p->declined > 0 && (target == NONE || target == q->p->declined - 1)) {
            return refuse_challenge(q, name, failure); /* his own late DECL has ended it: nobody has told him */
        }
        return failure;
    }
    if (challenge_must_stall(s, q->player, target))
        return STALL;
    enum failure failure = challenge_prepare(s, q->player, target);
    if (!valid_token(text, size))
        failure = BAD_TOKEN;
    if (failure)
        return refuse_challenge(q, name, failure);
    reply_text(q, text);
    if (ignores(s, player_at(s, target)->persona, q->p->persona))
        send_challenge_word(s, q->player, name, "BLOC");
    else
        challenge_offer(s, q->player, target, text);
    return OK;
}

/* Keeps a line of chat, in case that somebody reports abuse. If `to` is "", it
 * was said in a room. */
static void note_line(struct nascar *s, const char *from, const char *to, const char *room, const char *text)
{
    struct chat_line *line = &s->chat[s->chat_count++ % CHAT_LINES];
    s->metrics[METRIC_chat_lines]++;
    memset(line, 0, sizeof *line);
    line->at_s = s->wall_s;
    copy_text(line->from, sizeof line->from, from);
    copy_text(line->to, sizeof line->to, to);
    copy_text(line->room, sizeof line->room, room);
    copy_text(line->text, sizeof line->text, text);
}

/* Says a line to everyone in the room, the sender, too. */
static enum failure say_in_room(struct request *q, const char *flags, const char *text)
{
    struct nascar *s = q->s;
    struct player *p = q->p;
    const struct room *room = room_at(s, p->room);
    bool shunned = player_persona(s, p)->ignored_by > 0;
    if (room->crowded > 0)
        return STALL;
    reply(q, OK);
    write_msg(s, flags, player_persona(s, p)->name, 0, room->ident, text);
    frame_end(&s->frame);
    bool muted = is_muted(s, p->account);
    if (!muted)
        note_line(s, player_persona(s, p)->name, "", room->name, text);
    for (uint32_t i = list_first(&room->members); i != NONE; i = list_next(s, ROOM_MEMBERS, i)) {
        const struct player *to = player_at(s, i);
        bool hears = muted ? i == q->player : !shunned || !ignores(s, to->persona, p->persona);
        if (hears && conn_at(s, to->conn)->wants.mesgs)
            deliver_line(s, i);
    }
    return OK;
}

static enum failure say_in_private(struct request *q, uint32_t target, const char *flags, const char *text)
{
    struct nascar *s = q->s;
    struct player *p = q->p, *to = player_at(s, target);
    if (conn_at(s, to->conn)->crowded)
        return STALL;
    reply(q, OK);
    if (is_muted(s, p->account))
        return OK;
    note_line(s, player_persona(s, p)->name, player_persona(s, to)->name, "", text);
    if (ignores(s, to->persona, p->persona))
        return OK;
    write_msg(s, flags, player_persona(s, p)->name, 0, room_at(s, to->room)->ident, text);
    frame_end(&s->frame);
    deliver_line(s, target);
    return OK;
}

/* [spec] answers a challenge without ATTR: a private line that is just the word,
 * while a challenge is open between these two, is no talk (PROTOCOL 5, step 3). */
static bool answers_challenge(const struct request *q, const char *name, const char *text)
{
    if (!is_answer(text) || strlen(text) != 4 || q->p->match == NONE)
        return false;
    const struct match *match = match_at(q->s, q->p->match);
    return match->state != MATCH_RACING && match->player[1 - q->p->side] == find_online(q->s, name);
}

static enum failure do_word(struct request *q, const char *text);

static enum failure do_mesg(struct request *q)
{
    char text[CHAT_CHARS + 1], name[ANY_NAME_CHARS + 1], letters[32];
    enum tag to = get_text(q, tag_PRIV, name, sizeof name) > 0 ? tag_PRIV : tag_N;
    uint32_t size = get_text(q, tag_TEXT, text, sizeof text);
    uint32_t flags = get_flags(q, tag_ATTR);
    bool challenge = (flags & FLAG_3) != 0, private = get_text(q, to, name, sizeof name) > 0;
    get_name(q, to, name);
    if (private && (challenge || answers_challenge(q, name, text)))
        return challenge_word(q, name, text, size);
    if (size == 0)
        return MISSING;
    if (text[0] == '/' && q->s->config.chat_commands)
        return do_word(q, text);
    /* Nobody may forge an announcement, a private line or an own record. */
    flags &= ~(FLAG_B | FLAG_P | FLAG_U | FLAG_3);
    if (flags == FLAG_0)
        flags = 0;
    if (!private) {
        write_flags(letters, flags);
        return say_in_room(q, letters, text);
    }
    uint32_t target = find_online(q->s, name);
    if (target == NONE || target == q->player)
        return NO_USER;
    letters[0] = 'P';
    char rest[32];
    write_flags(rest, flags);
    copy_text(letters + 1, sizeof letters - 1, rest);
    return say_in_private(q, target, letters, text);
}

/* The persona B of a text that ends in _<A>_<B>, if A is `name` and B is
 * online; else NONE. Names may have underscores of their own. */
static uint32_t find_token_target(const struct nascar *s, const char *text, const char *name)
{
    size_t n = strlen(text), m = strlen(name);
    char a[PERSONA_CHARS + 1];
    assert(m <= PERSONA_CHARS);
    for (size_t i = n; i-- > m + 1;) {
        if (text[i] != '_' || text[i - m - 1] != '_')
            continue;
        memcpy(a, text + i - m, m);
        a[m] = 0;
        uint32_t target = same_name(a, name) ? find_online(s, text + i + 1) : NONE;
        if (target != NONE)
            return target;
    }
    return NONE;
}

/* A text for the player who was peeked at is a word of a challenge, and so is one that
 * names a target; else it is the sender's own X. The peek is forgotten as soon as one is
 * answered. */
static enum failure do_auxi(struct request *q)
{
    struct nascar *s = q->s;
    char text[CHAT_CHARS + 1], name[PERSONA_CHARS + 1];
    uint32_t target = NONE;
    struct player *p = q->p;
    if (!has_tag(q, tag_TEXT)) {
        p->peeked[0] = 0;
        return MISSING;
    }
    uint32_t size = get_text(q, tag_TEXT, text, sizeof text);
    copy_text(name, sizeof name, p->peeked); /* who may have gone since */
    if (size > 0 && !name[0])
        target = find_token_target(s, text, player_name(s, q->player));
    if (target != NONE)
        copy_text(name, sizeof name, player_name(s, target));
    if (size > 0 && name[0] && !same_name(name, player_name(s, q->player))) {
        enum failure failure = challenge_word(q, name, text, size);
        if (failure != STALL)
            p->peeked[0] = 0;
        return failure;
    }
    p->peeked[0] = 0;
    copy_text(p->text, sizeof p->text, text);
    p->hushed = is_muted(s, p->account);
    reply_text(q, p->text);
    user_changed(s, q->player);
    return OK;
}

/* `chal PERS=*` says: I can be challenged, or: I am back. Otherwise it says: I
 * am ready to race. */
static enum failure do_chal(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1];
    struct player *p = q->p;
    if (!has_tag(q, tag_PERS))
        return MISSING;
    get_name(q, tag_PERS, name);
    if (strcmp(name, "*") == 0) {
        struct outgoing *f = reply_begin(q, OK);
        put_raw(f, tag_MODE, "chal");
        send_back(q);
        race_leave(s, q->player);
        if (player_busy(s, p))
            challenge_leave(s, q->player);
        return OK;
    }
    if (q->conn->state != CONN_PERSONA)
        return NO_SESSION;
    uint32_t other = find_online(s, name);
    if (other == NONE)
        return NO_USER;
    if (p->match == NONE || match_at(s, p->match)->state == MATCH_OFFERED ||
        match_at(s, p->match)->player[1 - p->side] != other)
        return EXPIRED;
    struct match *match = match_at(s, p->match);
    match->ready[p->side] = true;
    if (!match->starting) /* else the ticket is made, and says who hosts */
        match->hosts[p->side] = get_number(q, tag_HOST, 0) == 1;
    struct outgoing *f = reply_begin(q, OK);
    put_raw(f, tag_MODE, "play");
    send_back(q);
    if (match->state == MATCH_ACCEPTED && !match->starting && match->ready[0] && match->ready[1])
        race_prepare(s, p->match); /* else the race has begun without it */
    return OK;
}

/* ---- Commands: results (PROTOCOL 5) -------------------------------------- */

/* What a `rank` says of its race: the numbers of both sides, the host's first. */
struct result {
    int32_t start[2], finish[2], laps[2], led[2], disconnected[2], disqualified[2];
    int32_t track, length; /* in laps */
    int32_t ranked;        /* 0: it changes no figures */
};

#define MAX_LAPS 1000
#define MAX_TIME 86400000 /* a day in ms */

/* Reads a number that must be one, within its range; `fallback` if the tag is not there,
 * or is empty (PROTOCOL 5). */
static bool get_ranged(const struct request *q, enum tag tag, int32_t min, int32_t max, int32_t fallback,
                       int32_t *value)
{
    char text[16];
    uint32_t size = get_text(q, tag, text, sizeof text), sign = text[0] == '-' || text[0] == '+';
    *value = fallback;
    if (size == 0)
        return true;
    if (size <= sign || size > 10 || strspn(text + sign, "0123456789") != size - sign)
        return false;
    int64_t n = 0;
    for (const char *p = text + sign; *p; p++)
        n = n * 10 + (*p - '0');
    n = text[0] == '-' ? -n : n;
    *value = n >= min && n <= max ? (int32_t)n : fallback;
    return n >= min && n <= max;
}

/* No place, or no time, is what a console says by -1 or an empty tag. */
#define NOT_SAID (-1)

/* Reads and checks every number of a `rank`, which must say of one racer at least how
 * its race ended. */
static bool get_result(const struct request *q, struct result *r)
{
    int32_t other;
    bool good = get_ranged(q, tag_RACETIME, -1, MAX_TIME, 0, &other) &&
                get_ranged(q, tag_SET_TRACKID, 0, 255, 0, &r->track) &&
                get_ranged(q, tag_SET_NUMAI, 0, MAX_PLACE, 0, &other) &&
                get_ranged(q, tag_SET_RACELEN, 0, MAX_LAPS, 0, &r->length) &&
                get_ranged(q, tag_SET_RANKED, INT32_MIN, INT32_MAX, 1, &r->ranked);
    bool said = false;
    for (uint32_t side = 0; side < 2; side++) {
        /* the two tags of a pair are neighbours in the list of all tags */
        good = good && get_ranged(q, tag_STARTPOS0 + side, -1, MAX_PLACE, 0, &r->start[side]) &&
               get_ranged(q, tag_FINISPOS0 + side, -1, MAX_PLACE, NOT_SAID, &r->finish[side]) &&
               get_ranged(q, tag_LAPSCOMP0 + side, 0, MAX_LAPS, 0, &r->laps[side]) &&
               get_ranged(q, tag_LAPSLED0 + side, 0, MAX_LAPS, 0, &r->led[side]) &&
               get_ranged(q, tag_DISCTIME0 + side, -1, MAX_TIME, NOT_SAID, &r->disconnected[side]) &&
               get_ranged(q, tag_DISQTIME0 + side, -1, MAX_TIME, NOT_SAID, &r->disqualified[side]);
        said = said || (good && (r->finish[side] >= 0 || r->disconnected[side] >= 0 || r->disqualified[side] >= 0));
    }
    return good && said;
}

/* Was this side lost, or disqualified, at some time? Some consoles say 0 of a racer who is
 * still there. Of one without a place, or of one alone of two who have the same, it is the
 * time. */
static bool is_timed(const struct result *r, uint32_t side, const int32_t time[2])
{
    return time[side] > 0 ||
           (time[side] == 0 && (r->finish[side] <= 0 || (r->finish[0] == r->finish[1] && time[1 - side] == NOT_SAID)));
}

/* What is kept of a result among the latest ones. */
static void result_numbers(const struct nascar *s, const struct result *r, uint32_t number[RESULT_NUMBERS])
{
    number[RESULT_RATING] = number[RESULT_RATING + 1] = 0;
    number[RESULT_ID] = s->next_result;
    number[RESULT_DATE] = (uint32_t)s->reached_s;
    number[RESULT_TRACK] = (uint32_t)r->track;
    number[RESULT_LENGTH] = (uint32_t)r->length;
    for (uint32_t side = 0; side < 2; side++) {
        number[RESULT_PLACE + side] = r->finish[side] > 0 ? (uint32_t)r->finish[side] : 0;
        number[RESULT_LAPS + side] = (uint32_t)r->laps[side];
        number[RESULT_OUT + side] = is_timed(r, side, r->disconnected)   ? OUT_DISCONNECTED
                                    : is_timed(r, side, r->disqualified) ? OUT_DISQUALIFIED
                                                                         : OUT_NOT;
    }
}

/* Adds a race to the figures of both, the host's first. */
static void count_result(struct figures figures[2], const struct result *r, uint32_t winner)
{
    for (uint32_t side = 0; side < 2; side++) {
        struct figures *f = &figures[side];
        if (f->races++ == 0)
            f->rating = FIRST_RATING;
        f->wins += winner == side;
        f->losses += winner == 1 - side;
        f->disconnects += is_timed(r, side, r->disconnected);
        f->laps_led += (uint32_t)r->led[side];
        if (r->finish[side] > 0 && (f->best_finish == 0 || (uint32_t)r->finish[side] < f->best_finish))
            f->best_finish = (uint16_t)r->finish[side];
    }
    if (winner > 1)
        return;
    uint32_t won = figures[winner].rating, lost = figures[1 - winner].rating, points = elo_points(won, lost);
    figures[winner].rating = (uint16_t)min_u32(won + points, LAST_RATING);
    figures[1 - winner].rating = (uint16_t)(lost - min_u32(points, lost));
}

/* A checksum of a result, to see whether two reports agree. */
static uint32_t result_sum(const struct result *r)
{
    const int32_t *const parts[] = {r->start, r->finish, r->laps, r->led, r->disconnected, r->disqualified};
    uint32_t sum = 2166136261u; /* FNV-1a, a number at a time */
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        for (uint32_t side = 0; side < 2; side++)
            sum = (sum ^ (uint32_t)parts[i][side]) * 16777619u;
    return sum;
}

/* The ticket that a report is for; NONE if there is none, or the sender may not report by
 * it any more. */
static uint32_t find_reported_race(const struct request *q, uint32_t *side)
{
    const struct nascar *s = q->s;
    char ticket[64];
    uint8_t bytes[16];
    (void)get_text(q, tag_AUTH, ticket, sizeof ticket);
    uint32_t i = read_hex(ticket, bytes, sizeof bytes) ? find_race_ticket(s, bytes) : NONE;
    if (i == NONE || race_ticket_at(s, i)->when_s + RACE_S <= kept_now_s(s))
        return NONE;
    const struct race_ticket *race = race_ticket_at(s, i);
    *side = race->persona[0] == q->p->persona ? 0 : 1;
    return race->persona[*side] == q->p->persona && !(race->reported & 1u << *side) ? i : NONE;
}

/* Who reports the race that it is in is back from it, whatever becomes of the report. Or
 * has it reported an earlier one? */
static void race_reported(struct request *q)
{
    char ticket[64];
    uint8_t bytes[16];
    (void)get_text(q, tag_AUTH, ticket, sizeof ticket);
    if (q->p->match != NONE && read_hex(ticket, bytes, sizeof bytes) &&
        memcmp(bytes, match_at(q->s, q->p->match)->ticket, sizeof bytes) == 0)
        race_leave(q->s, q->player);
}

static void log_result(const struct request *q, struct persona *const racer[2], const struct result *result, bool first,
                       bool agrees)
{
    struct nascar *s = q->s;
    uint32_t line = log_begin_conn(s, agrees ? NASCAR_LOG_INFO : NASCAR_LOG_WARN,
                                   first    ? "result"
                                   : agrees ? "result_confirmed"
                                            : "result_differs",
                                   q->c);
    log_text(s, "host", racer[0] ? racer[0]->name : "");
    log_text(s, "guest", racer[1] ? racer[1]->name : "");
    log_number(s, "host_finish", result->finish[0]);
    log_number(s, "guest_finish", result->finish[1]);
    log_end(s, line);
}

/* Fills in what the first report makes of the latest results and, unless the race was not
 * ranked, of the figures of both racers. */
static void fill_rank(struct nascar *s, const struct race_ticket *race, const struct result *result, struct record *r)
{
    struct figures figures[2] = {{.rating = FIRST_RATING}, {.rating = FIRST_RATING}};
    uint32_t number[RESULT_NUMBERS];
    s->next_result++;
    result_numbers(s, result, number);
    for (uint32_t k = 0; k < 2; k++)
        if (race->persona[k] != NONE && is_ranked(s, race->persona[k]))
            figures[k] = persona_at(s, race->persona[k])->figures;
    if (result->ranked)
        count_result(figures, result, result_winner(number));
    for (uint32_t k = 0; k < 2; k++) {
        r->rank.persona[k] = race->persona[k];
        if (race->persona[k] == NONE)
            continue;
        number[RESULT_RATING + k] = figures[k].rating;
        if (!result->ranked)
            continue;
        persona_at(s, race->persona[k])->pending = true;
        r->rank.counts[k] = true;
        write_figures(r->rank.figures[k], sizeof r->rank.figures[k], &figures[k], false);
    }
    r->rank.has_result = true;
    write_numbers(r->rank.result, sizeof r->rank.result, number, RESULT_NUMBERS, false);
}

/* Whoever was in a race reports by its ticket how it ended. The first report
 * counts, and the other one is compared with it. The record has the figures as
 * they are after this race, so a result waits while figures of either racer are
 * still on their way to the disk. */
static enum failure take_result(struct request *q)
{
    struct nascar *s = q->s;
    struct result result;
    char ticket[4];
    uint32_t side;
    if (get_text(q, tag_AUTH, ticket, sizeof ticket) == 0)
        return MISSING;
    uint32_t i = find_reported_race(q, &side);
    if (i == NONE)
        return NO_SESSION;
    if (!get_result(q, &result))
        return MISSING;
    const struct race_ticket *race = race_ticket_at(s, i);
    uint32_t sum = result_sum(&result);
    struct persona *racer[2] = {NULL, NULL};
    for (uint32_t k = 0; k < 2; k++)
        if (race->persona[k] != NONE)
            racer[k] = persona_at(s, race->persona[k]);
    bool first = race->reported == 0, pending = (racer[0] && racer[0]->pending) || (racer[1] && racer[1]->pending);
    if (pending || race->counting)
        return STALL;
    race_ticket_at(s, i)->counting = true;
    struct record r = {.kind = RECORD_RANK};
    write_hex(r.rank.ticket, race->ticket, sizeof race->ticket);
    r.rank.reported = race->reported | 1u << side;
    r.rank.first_sum = first ? sum : race->first_sum;
    if (first)
        fill_rank(s, race, &result, &r);
    log_result(q, racer, &result, first, sum == r.rank.first_sum);
    send_record(q, &r);
    return OK;
}

static enum failure do_rank(struct request *q)
{
    enum failure failure = take_result(q);
    if (failure && failure != STALL)
        race_reported(q);
    return failure;
}

static enum failure kept_rank(struct request *q, enum failure failure)
{
    if (!failure) {
        q->s->metrics[METRIC_results]++;
        reply(q, OK);
    }
    race_reported(q);
    return failure;
}

/* The leaderboard: the reply, then its rows as the outbox drains. */
static enum failure do_snap(struct request *q)
{
    struct nascar *s = q->s;
    struct player *p = q->p;
    char name[ANY_NAME_CHARS + 1];
    uint32_t start = get_number(q, tag_START, 0), range = get_number(q, tag_RANGE, 10);
    if (p->rows_left > 0)
        return STALL; /* rows of the one before are still to be sent */
    uint32_t find = get_text(q, tag_FIND, name, sizeof name);
    get_name(q, tag_FIND, name);
    uint32_t all = min_u32(tree_size(s, s->ranked), LAST_RATING); /* ranks have 13 bits, too */
    if (find > 0) { /* who has not raced has no row, which is no failure: the game asks for its own */
        uint32_t persona = find_persona(s, name);
        start = persona == NONE || !is_ranked(s, persona) ? all : rank_of(s, persona) - 1;
    }
    uint32_t rest = start < all ? all - start : 0;
    p->rows_next = start + 1;
    p->rows_left = min_u32(rest, min_u32(to_signed(range) < 0 ? 0 : range, ROWS_ASKED));
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_CHAN, to_signed(get_number(q, tag_CHAN, 0)));
    put_number(f, tag_INDEX, to_signed(get_number(q, tag_INDEX, 0))); /* which board: we have one */
    put_number(f, tag_RANGE, to_signed(range));
    put_number(f, tag_START, to_signed(start));
    put_number(f, tag_SEQN, p->rows_left);
    send_back(q);
    mark_player_behind(s, q->player);
    return OK;
}

/* Hands out a record of a report, which goes on when it is back, whether or not
 * its author is still there. */
static void send_report_record(struct nascar *s, uint32_t i, const struct record *record)
{
    report_at(s, i)->receipt = ++s->next_receipt;
    queue_record(s, report_waiter(s, i), report_at(s, i)->receipt, record);
}

/* How many reports this player's account has made within a day. */
static uint32_t count_reports(const struct request *q)
{
    const struct nascar *s = q->s;
    const char *account = account_at(s, q->p->account)->name;
    uint32_t count = 0;
    EACH_LIVE(i, reports)
        count += same_name(report_at(s, i)->account, account) && report_at(s, i)->at_s > s->reached_s - REPORTS_S;
    return count;
}

/* How many lines the reports may still take that are just being written. */
static uint32_t lines_to_come(const struct nascar *s)
{
    uint32_t count = 0;
    EACH_LIVE(i, reports)
        if (report_at(s, i)->receipt != 0) /* what is written may be on its way */
            count +=
                CHAT_LINES - min_u32(report_at(s, i)->written, CHAT_LINES - REPORT_LINES_A_STEP) + REPORT_LINES_A_STEP;
    return count;
}

/* The oldest report of all makes room; the request goes on when that is on the disk. */
static enum failure evict_report(struct request *q)
{
    struct nascar *s = q->s;
    struct record r = {.kind = RECORD_DREP};
    uint32_t oldest = NONE;
    EACH_LIVE(i, reports)
        if (report_at(s, i)->receipt == 0 && (oldest == NONE || report_at(s, i)->id < report_at(s, oldest)->id))
            oldest = i;
    if (oldest == NONE)
        return SERVER_FULL;
    r.drep.id = report_at(s, oldest)->id;
    q->conn->evicts = true;
    send_record(q, &r);
    return OK;
}

/* Makes an abuse report, and the request waits for it, or for room for it. It is kept for
 * the operator, with what the server saw of the two, and with the reason, if there is one. */
static enum failure send_report(struct request *q, const char *name, const char *reason)
{
    struct nascar *s = q->s;
    const struct player *p = q->p;
    struct report report;
    uint32_t persona = find_persona(s, name);
    if (persona == NONE || persona == q->p->persona)
        return NO_USER;
    memset(&report, 0, sizeof report);
    copy_text(report.by, sizeof report.by, player_persona(s, q->p)->name);
    copy_text(report.about, sizeof report.about, persona_at(s, persona)->name);
    copy_text(report.account, sizeof report.account, account_at(s, p->account)->name);
    if (count_reports(q) >= REPORTS_A_DAY)
        return SERVER_FULL;
    if (pool_full(&s->reports) || s->report_lines.capacity - s->report_lines.live < CHAT_LINES + lines_to_come(s))
        return evict_report(q);
    if (reason[0])
        note_line(s, report.by, report.about, "", reason);
    report.id = ++s->next_report;
    report.at_s = s->reached_s;
    report.draft = true;
    report.chat_end = s->chat_count;
    report.conn = q->c;
    conn_wait(s, q->c, WAIT_RECORD);
    report.conn_receipt = q->conn->receipt;
    uint32_t i = pool_take(s, &s->reports);
    report.link = LIVE;
    *report_at(s, i) = report;
    send_report_record(s, i, &(struct record){.kind = RECORD_REPT, .rept = report});
    return OK;
}

static enum failure do_rept(struct request *q)
{
    char name[ANY_NAME_CHARS + 1];
    if (!has_tag(q, tag_PERS))
        return MISSING;
    get_name(q, tag_PERS, name);
    return send_report(q, name, "");
}

/* Is the persona of this name in the room of that one? */
static bool is_in_room(const struct nascar *s, const char *name, const char *room)
{
    uint32_t player = find_online(s, name);
    return player != NONE && strcmp(room_at(s, player_at(s, player)->room)->name, room) == 0;
}

/* Does a line of chat belong to a report? A private one does if it went between
 * the two; one said in a room does if one of the two said it, is there, or has
 * spoken there. */
static bool belongs_to(const struct nascar *s, const struct report *r, const struct chat_line *line)
{
    bool by_one = same_name(line->from, r->by) || same_name(line->from, r->about);
    if (!line->room[0])
        return by_one && (same_name(line->to, r->by) || same_name(line->to, r->about));
    by_one = by_one || is_in_room(s, r->by, line->room) || is_in_room(s, r->about, line->room);
    uint64_t i = s->chat_count > CHAT_LINES ? s->chat_count - CHAT_LINES : 0;
    for (; !by_one && i < s->chat_count; i++) {
        const struct chat_line *other = &s->chat[i % CHAT_LINES];
        by_one =
            strcmp(other->room, line->room) == 0 && (same_name(other->from, r->by) || same_name(other->from, r->about));
    }
    return by_one;
}

/* Writes the next lines of a report, but leaves slots for the records of
 * others. False if there are no more lines. */
static bool queue_report_lines(struct nascar *s, uint32_t i)
{
    struct report *r = report_at(s, i);
    uint64_t oldest = s->chat_count > CHAT_LINES ? s->chat_count - CHAT_LINES : 0;
    uint32_t lines = 0;
    struct record record = {.kind = RECORD_LINE, .line.report = i};
    if (r->chat_next < oldest)
        r->chat_next = oldest;
    while (r->chat_next < r->chat_end && lines < REPORT_LINES_A_STEP && s->record_count + (lines > 0) < RECORDS) {
        const struct chat_line *line = &s->chat[r->chat_next++ % CHAT_LINES];
        if (!belongs_to(s, r, line))
            continue;
        if (lines++ > 0) /* the report waits for the last of them only */
            queue_record(s, NONE, 0, &record);
        record.line.index = r->written++;
        record.line.line = *line;
    }
    if (lines > 0)
        send_report_record(s, i, &record);
    return lines > 0;
}

/* Has the oldest report made room for that of this request, be it for this one or for
 * another that came at the same time? Then it is made now. */
static bool report_has_room(struct request *q, enum failure failure)
{
    bool evicts = q->conn->evicts && failure != NOT_KEPT; /* else somebody else has closed it, which is as good */
    q->conn->evicts = false;
    return evicts;
}

/* The report is on the disk with all its lines. */
static void report_made(const struct request *q)
{
    q->s->metrics[METRIC_reports_made]++;
    log_end(q->s, log_begin_conn(q->s, NASCAR_LOG_WARN, "report", q->c));
}

static enum failure kept_rept(struct request *q, enum failure failure)
{
    if (report_has_room(q, failure))
        return do_rept(q);
    if (failure)
        return failure;
    report_made(q);
    reply(q, OK);
    return OK;
}

/* ---- Commands: words to the server (PROTOCOL 3.4) ------------------------- */

/* The persona that a word names; if there is none of that name, the answer says so. */
static uint32_t find_named(const struct nascar *s, struct word *a)
{
    uint32_t persona = find_persona(s, a->name);
    if (persona == NONE)
        word_add(a, "There is no player of that name.");
    return persona;
}

/* How long ago a date was, in whole minutes, hours or days. */
static uint32_t age_of(const struct nascar *s, int64_t date_s, const char **unit)
{
    int64_t minutes = (kept_now_s(s) - date_s) / 60;
    const int64_t hour = 60, day = 24 * hour;
    *unit = minutes < hour ? "min" : minutes < 2 * day ? "h" : "days";
    minutes /= minutes < hour ? 1 : minutes < 2 * day ? hour : day;
    return (uint32_t)(minutes < 0 ? 0 : minutes);
}

/* Each of these fills in the answer to a word; false if it has to wait. */
static bool word_who(struct request *q, struct word *a)
{
    const struct nascar *s = q->s;
    const struct room *room = room_at(s, q->p->room);
    uint32_t all = (uint32_t)s->metrics[METRIC_connections_persona];
    word_add(a, "%u online, %u here:", all, room->count);
    for (uint32_t i = list_first(&room->members); i != NONE && !a->full; i = list_next(s, ROOM_MEMBERS, i))
        word_add(a, "%s", player_name(s, i));
    if (all > room->count)
        word_add(a, "\nElsewhere:");
    for (uint32_t i = live_from(s, &s->players, 0); i != NONE && !a->full; i = live_from(s, &s->players, i + 1))
        if (player_at(s, i)->persona != NONE && player_at(s, i)->room != q->p->room)
            word_add(a, "%s", player_name(s, i));
    return true;
}

/* Those with people in them come first. */
static bool word_rooms(struct request *q, struct word *a)
{
    const struct nascar *s = q->s;
    for (uint32_t empty = 0; empty < 2; empty++)
        EACH_LIVE(i, rooms) {
            const struct room *room = room_at(s, i);
            if (!room->gone && (room->count == 0) == empty)
                word_add(a, i == HUB ? "%s:\t%u" : "%s:\t%u/%u", room->name, room->count, room->limit);
        }
    return true;
}

static bool word_stats(struct request *q, struct word *a)
{
    const struct nascar *s = q->s;
    uint32_t persona = a->name[0] ? find_named(s, a) : q->p->persona;
    if (persona == NONE)
        return true;
    const struct figures *f = &persona_at(s, persona)->figures;
    word_add(a, "%s: ", persona_at(s, persona)->name);
    if (f->races == 0)
        word_add(a, "no races yet");
    else
        word_add(a, "rank %u of %u, rating %u\nRaces %u, won %u, lost %u, disconnected %u\nBest place %u, laps led %u",
                 rank_of(s, persona), tree_size(s, s->ranked), (uint32_t)f->rating, f->races, f->wins, f->losses,
                 f->disconnects, (uint32_t)f->best_finish, f->laps_led);
    return true;
}

static bool word_top(struct request *q, struct word *a)
{
    const struct nascar *s = q->s;
    uint32_t i;
    for (uint32_t place = 1; place <= TOP && (i = find_persona_by_rank(s, place)) != NONE; place++)
        word_add(a, "%u.\t%s\t%u", place, persona_at(s, i)->name, (uint32_t)persona_at(s, i)->figures.rating);
    if (!a->line[0][0])
        word_add(a, "Nobody has raced yet.");
    return true;
}

static bool word_last(struct request *q, struct word *a)
{
    const struct nascar *s = q->s;
    uint32_t i = list_last(s, LATEST_RESULTS, &s->latest);
    if (i == NONE)
        word_add(a, "Nobody has raced yet.");
    for (uint32_t n = 0; n < ANSWER_LINES && i != NONE; n++, i = list_prev(s, LATEST_RESULTS, &s->latest, i)) {
        const char *unit;
        word_add_result(a, result_at(s, i), ",");
        uint32_t age = age_of(s, result_at(s, i)->number[RESULT_DATE], &unit);
        word_add(a, "%u\t%s\tago", age, unit);
    }
    return true;
}

/* When somebody was last here is the date of the last ticket for the buddies, which journals
 * did not always keep. */
static bool word_seen(struct request *q, struct word *a)
{
    const struct nascar *s = q->s;
    const char *unit;
    uint32_t i = find_named(s, a);
    if (i == NONE)
        return true;
    const struct persona *p = persona_at(s, i);
    uint32_t age = age_of(s, p->lkey_until_s - LKEY_S, &unit);
    if (p->player == NONE ? p->absent && p->buddy != NONE : is_racing(s, player_at(s, p->player)))
        word_add(a, "%s is racing now.", p->name); /* whatever its console says of it */
    else if (p->player != NONE)
        word_add(a, "%s is here now, in %s.", p->name, room_at(s, player_at(s, p->player)->room)->name);
    else if (p->lkey_until_s == 0)
        word_add(a, "%s was not here lately.", p->name);
    else
        word_add(a, "%s came here last %u %s ago.", p->name, age, unit);
    return true;
}

static bool word_ping(struct request *q, struct word *a)
{
    const struct conn *conn = q->conn;
    if (conn->round_trip_ms > 0 || (conn->ping_ref > 0 && conn->ping_sent_ms == 0))
        word_add(a, "From here to your console and back: %u ms.", conn->round_trip_ms);
    else
        word_add(a, "Not measured yet. Ask again in a minute.");
    return true;
}

static bool word_news(struct request *q, struct word *a)
{
    word_add(a, "%s", news_text(q->s)[0] ? news_text(q->s) : "No news.");
    return true;
}

static bool word_report(struct request *q, struct word *a)
{
    enum failure failure = send_report(q, a->name, a->rest[0] ? a->text : "");
    if (failure == OK)
        return false;
    word_add(a, !a->name[0]          ? "Say /report NAME, and behind that why, if you like."
                : failure == NO_USER ? "There is no other player of that name."
                                     : "No more reports can be taken now.");
    return true;
}

static bool word_help(struct request *q, struct word *a);

/* Every word, once, with what may stand behind it. What is none of them is answered by the last one. */
static const struct chat_word {
    char name[8], behind[12];
    bool (*answer)(struct request *, struct word *);
} chat_words[] = {
    {"who", "", word_who},   {"rooms", "", word_rooms}, {"stats", "\t[NAME]", word_stats},
    {"top", "", word_top},   {"last", "", word_last},   {"seen", "\tNAME", word_seen},
    {"ping", "", word_ping}, {"news", "", word_news},   {"report", "\tNAME\tWHY", word_report},
    {"help", "", word_help},
};

#define CHAT_WORDS (sizeof chat_words / sizeof chat_words[0])

static bool word_help(struct request *q, struct word *a)
{
    (void)q;
    word_add(a, "The server answers:");
    for (size_t i = 0; i < CHAT_WORDS; i++)
        word_add(a, "/%s%s", chat_words[i].name, chat_words[i].behind);
    return true;
}

/* Answers the request, and sends each line to whoever has asked, and to nobody else. */
static void send_answer(const struct request *q, const struct word *a)
{
    reply(q, OK);
    for (uint32_t i = 0; i <= a->last; i++) {
        write_msg(q->s, "P", SYSTEM_NAME, 0, room_at(q->s, q->p->room)->ident, a->line[i]);
        send_back(q);
    }
}

/* Copies what stands before the next space, or "?" if it is too long for any name. Returns where
 * the text goes on. */
static const char *take_name(const char *text, char out[ANY_NAME_CHARS + 1])
{
    uint32_t size = (uint32_t)strcspn(text, " ");
    copy_text(out, min_u32(size, ANY_NAME_CHARS) + 1, size > ANY_NAME_CHARS ? "?" : text);
    return text + size + strspn(text + size, " ");
}

/* A line of chat that begins with / is a word to the server. It is said to nobody, and
 * forgotten when it has been answered. */
static enum failure do_word(struct request *q, const char *text)
{
    struct word a;
    size_t i = 0;
    memset(&a, 0, sizeof a);
    a.text = text;
    text = take_name(text + 1, a.name);
    while (i < CHAT_WORDS - 1 && !same_name(chat_words[i].name, a.name))
        i++;
    a.rest = take_name(text, a.name);
    if (chat_words[i].answer(q, &a))
        send_answer(q, &a);
    return OK;
}

/* The only word that waits is `report`, for the disk. */
static enum failure kept_mesg(struct request *q, enum failure failure)
{
    struct word a;
    char text[CHAT_CHARS + 1];
    (void)get_text(q, tag_TEXT, text, sizeof text);
    if (report_has_room(q, failure))
        return do_word(q, text);
    memset(&a, 0, sizeof a);
    if (!failure)
        report_made(q);
    word_add(&a, failure ? "The report could not be kept. Try again later." : "The operator will see your report.");
    send_answer(q, &a);
    return OK;
}

/* ---- Commands: buddies (PROTOCOL 9) -------------------------------------- */

/* Reads the persona of USER=<persona>/cso/<product>: what stands before / or @. */
static void get_user(const struct request *q, char out[ANY_NAME_CHARS + 1])
{
    char user[128];
    (void)get_text(q, tag_USER, user, sizeof user);
    user[strcspn(user, "/@")] = 0;
    copy_text(out, ANY_NAME_CHARS + 1, strlen(user) <= ANY_NAME_CHARS ? user : "");
}

/* A buddy connection shows the ticket that `pers` gave, with or without its $. */
static enum failure do_buddy_auth(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], text[32];
    uint8_t ticket[8], hash[16];
    if (q->conn->state == CONN_NEW) {
        conn_become(s, q->conn, CONN_BUDDY_NEW);
        timer_start(s, conn_timer(q->c, T_PHASE), Q_BUDDY_LOGIN);
        timer_start(s, conn_timer(q->c, T_IDLE), Q_IDLE);
    }
    get_user(q, name);
    (void)get_text(q, tag_LKEY, text, sizeof text);
    uint32_t number = find_persona(s, name);
    if (number == NONE || !read_hex(text[0] == '$' ? text + 1 : text, ticket, sizeof ticket))
        return BAD_LKEY;
    const struct persona *persona = persona_at(s, number);
    hash_lkey(ticket, hash);
    if (!equal_secret(persona->lkey_hash, hash, sizeof hash) || persona->lkey_until_s <= kept_now_s(s) ||
        find_ban(s, account_at(s, persona->account)->name, q->conn->peer) != NONE)
        return BAD_LKEY;
    conn_become(s, q->conn, CONN_BUDDY);
    s->metrics[METRIC_logins_buddy]++;
    buddy_connect(s, q->c, number);
    timer_stop(s, conn_timer(q->c, T_PHASE));
    ping_start(s, q->c);
    struct outgoing *f = reply_begin(q, OK);
    put_text(f, tag_NAME, persona->name);
    send_back(q);
    return OK;
}

static struct buddy *asking_buddy(const struct request *q)
{
    return buddy_at(q->s, q->conn->buddy);
}

/* Takes what a console says of its player; friends are told. */
static enum failure do_presence_set(struct request *q)
{
    struct nascar *s = q->s;
    struct buddy *b = asking_buddy(q);
    char show[8];
    (void)get_text(q, tag_SHOW, show, sizeof show);
    int word = word_index("DISC CHAT AWAY XA DND PASS", show[0] ? show : "CHAT");
    if (word < 0)
        return MISSING;
    b->show = (uint32_t)word;
    (void)get_text(q, tag_PROD, b->product, sizeof b->product);
    (void)get_text(q, tag_STAT, b->status, sizeof b->status);
    b->hushed = is_muted(s, persona_at(s, b->persona)->account);
    presence_changed(s, b->persona);
    reply(q, OK);
    return OK;
}

/* The persona that USER names, or NONE. */
static uint32_t find_user_persona(const struct request *q)
{
    char name[ANY_NAME_CHARS + 1];
    get_user(q, name);
    return find_persona(q->s, name);
}

static enum failure do_watch(struct request *q)
{
    struct nascar *s = q->s;
    uint32_t persona = find_user_persona(q), buddy = q->conn->buddy;
    if (persona == NONE)
        return NO_USER;
    uint32_t i = find_watch(s, buddy, persona);
    if (buddy_at(s, buddy)->asked == WATCHES_ASKED && (i == NONE || !(watch_at(s, i)->why & WATCH_ASKED)))
        return ROSTER_FULL;
    mark_watch_due(s, watch_add(s, buddy, persona, WATCH_ASKED));
    reply(q, OK);
    return OK;
}

static enum failure do_unwatch(struct request *q)
{
    uint32_t persona = find_user_persona(q);
    if (persona != NONE)
        watch_drop(q->s, q->conn->buddy, persona, WATCH_ASKED);
    reply(q, OK);
    return OK;
}

/* The PGET that is pushed is the answer. */
static enum failure do_presence_get(struct request *q)
{
    struct nascar *s = q->s;
    uint32_t persona = find_user_persona(q);
    if (persona == NONE)
        return NO_USER;
    write_presence(s, &s->frame, persona, q->conn->buddy);
    send_back(q);
    return OK;
}

/* LIST=B or LIST=I, as a bit; 0 for anything else. */
static uint32_t get_list(const struct request *q)
{
    char list[4];
    (void)get_text(q, tag_LIST, list, sizeof list);
    return strcmp(list, "B") == 0 ? LIST_BUDDY : strcmp(list, "I") == 0 ? LIST_IGNORE : 0;
}

/* SIZE says how many ROST follow. A console takes 0 as the end of an empty roster. */
static enum failure do_roster_get(struct request *q)
{
    struct nascar *s = q->s;
    struct buddy *b = asking_buddy(q);
    uint32_t owner = b->persona, list = get_list(q), id = get_number(q, tag_ID, 0), rows = 0;
    if (!list)
        return MISSING;
    for (uint32_t i = persona_at(s, owner)->edges; i != NONE; i = edge_at(s, i)->next)
        rows += (edge_lists(s, i) & list) != 0;
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_ID, id);
    put_number(f, tag_SIZE, rows);
    send_back(q);
    for (uint32_t i = persona_at(s, owner)->edges; i != NONE; i = edge_at(s, i)->next) {
        if (!(edge_lists(s, i) & list))
            continue;
        frame_begin(&s->frame, "ROST", "");
        put_number(f, tag_ID, id);
        put_text(f, tag_USER, persona_at(s, edge_other(s, i))->name);
        put_text(f, tag_GROUP, "");
        send_back(q);
    }
    for (uint32_t i = list_first(&b->watches); list == LIST_BUDDY && i != NONE; i = list_next(s, BUDDY_WATCHES, i))
        if ((watch_at(s, i)->why & WATCH_ROSTER) && presence_of(s, watch_at(s, i)->persona) != SHOW_DISC)
            watch_at(s, i)->due = true;
    b->delivers = b->rosters = true;
    mark_buddy_behind(s, q->conn->buddy);
    return OK;
}

static enum failure answer_roster(struct request *q, enum failure failure)
{
    struct outgoing *f = reply_begin(q, failure);
    put_number(f, tag_ID, get_number(q, tag_ID, 0));
    send_back(q);
    return OK;
}

/* RADD and RDEL: hands out a record that says on which lists of one persona
 * another one is from now on. */
static enum failure change_roster(struct request *q, bool add)
{
    struct nascar *s = q->s;
    uint32_t owner = asking_buddy(q)->persona, list = get_list(q), other = find_user_persona(q);
    if (!list)
        return answer_roster(q, MISSING);
    if (!add && other == NONE) /* it has been deleted, and so is off the roster, too */
        return answer_roster(q, OK);
    if (other == NONE || other == owner)
        return answer_roster(q, NO_USER);
    uint32_t edge = find_edge(s, owner, other);
    if (add && edge == NONE && (persona_at(s, owner)->edge_count == ROSTER_PER_PERSONA || pool_full(&s->edges)))
        return answer_roster(q, ROSTER_FULL);
    uint32_t lists = edge == NONE ? 0 : edge_lists(s, edge);
    lists = add ? lists | list : lists & ~list;
    send_record(q, &(struct record){.kind = RECORD_ROST, .rost = {owner, other, lists}});
    return OK;
}

static enum failure do_roster_add(struct request *q)
{
    return change_roster(q, true);
}

static enum failure do_roster_delete(struct request *q)
{
    return change_roster(q, false);
}

static enum failure kept_roster(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    if (failure)
        return answer_roster(q, failure);
    uint32_t other = find_user_persona(q);
    bool added = other != NONE && memcmp(q->kind, "RADD", 4) == 0;
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_ID, get_number(q, tag_ID, 0));
    if (added)
        put_text(f, tag_FUSR, persona_at(s, other)->name);
    send_back(q);
    uint32_t i = added ? find_watch(s, q->conn->buddy, other) : NONE;
    if (i != NONE)
        mark_watch_due(s, i);
    return OK;
}

/* ---- Commands: messages (PROTOCOL 9) ------------------------------------- */

static void write_recv(struct outgoing *f, const char *from, const char *type, int64_t sent_s, const char *body)
{
    frame_begin(f, "RECV", "");
    put_number(f, tag_TIME, sent_s);
    put_text(f, tag_TYPE, type);
    put_text(f, tag_USER, from);
    put_text(f, tag_BODY, body);
}

/* Sends the next kept message, or ends one that has been written. A message is
 * gone when it has been written to its reader, not before: it may come twice,
 * if the link breaks or the power fails in that moment, but it is not lost. */
static bool send_kept_message(struct nascar *s, uint32_t buddy)
{
    struct buddy *b = buddy_at(s, buddy);
    const struct conn *conn = conn_at(s, b->conn);
    uint32_t i = list_first(&persona_at(s, b->persona)->messages);
    while (i != NONE && message_at(s, i)->over)
        i = list_next(s, PERSONA_MESSAGES, i);
    if (i == NONE)
        return false;
    struct message *m = message_at(s, i);
    uint32_t from = find_persona(s, m->from);
    bool dropped = m->until_s <= kept_now_s(s) || (from != NONE && ignores(s, b->persona, from));
    if (!m->told && !dropped) {
        m->told = true;
        write_recv(&s->row_frame, m->from, m->type, m->sent_s, m->body);
        send_row(s, b->conn);
        b->telling = conn->out_end - conn->out_start;
        return true;
    }
    m->told = m->over = true;
    queue_record(s, NONE, 0, &(struct record){.kind = RECORD_DMSG, .dmsg = {b->persona, m->id}});
    return true;
}

/* Reads a SEND. Its sender is there, and the recipient exists. */
static enum failure get_letter(const struct request *q, struct message *m)
{
    memset(m, 0, sizeof *m);
    m->to = find_user_persona(q);
    m->sent_s = q->s->reached_s;
    (void)get_text(q, tag_TYPE, m->type, sizeof m->type);
    if (!m->type[0])
        copy_text(m->type, sizeof m->type, "C");
    copy_text(m->from, sizeof m->from, persona_at(q->s, asking_buddy(q)->persona)->name);
    if (get_text(q, tag_BODY, m->body, sizeof m->body) == 0)
        return MISSING;
    return m->to == NONE || m->to == asking_buddy(q)->persona ? NO_USER : OK;
}

/* A message that cannot be kept goes to a recipient who is there and reads, if no
 * older one waits. Returns false if that is not so. */
static bool tell_letter(struct request *q, const struct message *m)
{
    struct nascar *s = q->s;
    uint32_t buddy = persona_at(s, m->to)->buddy, i = list_first(&persona_at(s, m->to)->messages);
    while (i != NONE && message_at(s, i)->told)
        i = list_next(s, PERSONA_MESSAGES, i);
    if (i != NONE || buddy == NONE || !takes_chat(conn_at(s, buddy_at(s, buddy)->conn)))
        return false;
    reply(q, OK);
    if (!is_heard(s, asking_buddy(q)->persona, persona_at(s, m->to)->account))
        return true;
    write_recv(&s->frame, m->from, m->type, m->sent_s, m->body);
    send_frame(s, buddy_at(s, buddy)->conn);
    return true;
}

/* SEND: a message is kept for SECS, or until it has been told: so none is lost in the
 * outbox of a link that is dead already, and all come in the order in which they were
 * sent. A recipient who is there gets it as soon as it is on the disk. */
static enum failure do_send(struct request *q)
{
    struct nascar *s = q->s;
    struct record r = {.kind = RECORD_MESG};
    enum failure failure = get_letter(q, &r.mesg);
    if (failure)
        return failure;
    uint32_t from = asking_buddy(q)->persona, to = r.mesg.to;
    int32_t seconds = to_signed(get_number(q, tag_SECS, MESSAGE_S));
    if (ignores(s, to, from)) {
        reply(q, OK);
        return OK;
    }
    if (seconds <= 0 && persona_at(s, to)->buddy != NONE)
        seconds = 60; /* now or never, but the disk may take its time */
    if (seconds <= 0)
        failure = NO_USER;
    else if (persona_at(s, to)->message_count - sweep_persona(s, to, kept_now_s(s), false) >= MESSAGES_PER_PERSONA ||
             !makes_room(s, &s->messages))
        failure = SERVER_FULL;
    if (failure) /* what is on its way to the disk would be overtaken */
        return s->messages.promised == 0 && tell_letter(q, &r.mesg) ? OK : failure;
    if (!is_heard(s, from, persona_at(s, to)->account)) {
        reply(q, OK);
        return OK;
    }
    r.mesg.id = ++s->next_message;
    r.mesg.until_s = s->reached_s + (seconds < MESSAGE_MAX_S ? seconds : MESSAGE_MAX_S);
    send_record(q, &r);
    return OK;
}

static enum failure kept_send(struct request *q, enum failure failure)
{
    struct message m;
    return failure == NOT_KEPT && get_letter(q, &m) == OK && tell_letter(q, &m) ? OK : kept_plain(q, failure);
}

/* USCH: lists the personas whose names begin with some letters. */
static enum failure do_search(struct request *q)
{
    struct nascar *s = q->s;
    char prefix[ANY_NAME_CHARS + 1];
    uint32_t found[SEARCH_ROWS], count = 0;
    get_user(q, prefix);
    if (!prefix[0])
        get_name(q, tag_NAME, prefix);
    size_t n = strlen(prefix);
    if (n < 2)
        return MISSING;
    uint32_t exact = find_persona(s, prefix), i = index_first(s, &s->persona_prefixes, hash_prefix(s, prefix));
    if (exact != NONE)
        found[count++] = exact;
    for (; i != NONE && count < SEARCH_ROWS; i = index_next(s, &s->persona_prefixes, i)) {
        char name[PERSONA_CHARS + 1];
        copy_text(name, n < sizeof name ? n + 1 : sizeof name, persona_at(s, i)->name);
        if (i != exact && same_name(name, prefix))
            found[count++] = i;
    }
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_SIZE, count);
    send_back(q);
    for (uint32_t k = 0; k < count; k++) {
        frame_begin(&s->frame, "USER", "");
        put_text(f, tag_USER, persona_at(s, found[k])->name);
        send_back(q);
    }
    return OK;
}

static enum failure do_goodbye(struct request *q)
{
    reply(q, OK);
    conn_doom(q->s, q->c, "goodbye");
    return OK;
}

/* ---- Commands: the operator's (NASCAR_CONTROL) --------------------------- */

enum control_list { LIST_WHO, LIST_REPORTS, LIST_REPORT, LIST_NEWS, LIST_SANCTIONS, LIST_METRICS, LIST_ROOMS };

/* The answer to an operator's command is any number of `line` frames, each with
 * key=value texts, and then a frame of the command's kind. */
static void put_field(struct nascar *s, const char *name, const char *text)
{
    put_key_text(&s->frame, name);
    put_quoted(&s->frame, text);
}

/* clang-format off */
#define NAME_OF_METRIC(name, ...) #name "\0"
static const char metric_names[] = METRICS(NAME_OF_METRIC, NAME_OF_METRIC, NAME_OF_METRIC);
/* clang-format on */

static const char *metric_name(enum metric metric)
{
    return nth_text(metric_names, metric);
}

static uint64_t metric_now(const struct nascar *s, enum metric metric)
{
#define SEEN_NOW(name, value, help) \
    case METRIC_##name: \
        return value;
#define KEPT_NOW(name, kind, help)
#define TOLD_NOW(name, kind, number, help) \
    case METRIC_##name: return s->told[number];
    switch (metric) {
        METRICS(SEEN_NOW, KEPT_NOW, TOLD_NOW)
    default: return s->metrics[metric];
    }
}

/* Begins a list: a line for each of its things, as many at a time as the outbox takes. */
static enum failure begin_list(struct request *q, enum control_list list, uint32_t about)
{
    q->conn->listing = (uint8_t)list;
    q->conn->listed = 0;
    q->conn->list_of = about;
    q->conn->behind = true;
    mark_ready(q->s, q->c);
    return OK;
}

static enum failure do_control_stats(struct request *q)
{
    return begin_list(q, LIST_METRICS, 0);
}

static enum failure do_control_who(struct request *q)
{
    return begin_list(q, LIST_WHO, 0);
}

static enum failure do_control_rooms(struct request *q)
{
    return begin_list(q, LIST_ROOMS, 0);
}

static enum failure do_control_sanctions(struct request *q)
{
    return begin_list(q, LIST_SANCTIONS, 0);
}

static void send_metric_line(struct nascar *s, uint32_t c, enum metric metric)
{
    char number[24];
    write_number(number, (int64_t)metric_now(s, metric));
    frame_begin(&s->frame, "line", "");
    put_field(s, "name", metric_name(metric));
    put_field(s, "value", number);
    send_frame(s, c);
}

static bool send_next_metric(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    if (conn->listed == METRIC_COUNT)
        return false;
    send_metric_line(s, c, (enum metric)conn->listed++);
    return true;
}

/* A date in a field, as it is in the log. */
static void put_date_field(struct nascar *s, const char *name, int64_t date_s)
{
    char text[24];
    write_date(text, date_s);
    text[10] = 'T';
    append_text(text, sizeof text, "Z");
    put_field(s, name, text);
}

static void put_number_field(struct nascar *s, const char *name, int64_t value)
{
    char number[24];
    write_number(number, value);
    put_field(s, name, number);
}

static void send_who_line(struct nascar *s, uint32_t c, const struct player *p)
{
    char address[16];
    frame_begin(&s->frame, "line", "");
    put_field(s, "persona", p->persona == NONE ? "" : player_persona(s, p)->name);
    put_field(s, "account", account_at(s, p->account)->name);
    put_field(s, "room", p->room == NONE ? "" : room_at(s, p->room)->name);
    write_address(address, conn_at(s, p->conn)->peer);
    put_field(s, "address", address);
    put_field(s, "busy", player_busy(s, p) ? "yes" : "no");
    put_date_field(s, "since", p->since_s);
    put_number_field(s, "idle", (int64_t)((s->mono_ms - p->acted_ms) / 1000));
    send_frame(s, c);
}

static bool send_next_player(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    uint32_t i = live_from(s, &s->players, conn->listed);
    if (i == NONE)
        return false;
    send_who_line(s, c, player_at(s, i));
    conn->listed = i + 1;
    return true;
}

static void send_report_line(struct nascar *s, uint32_t c, uint32_t i)
{
    const struct report *report = report_at(s, i);
    char number[24];
    uint32_t lines = 0;
    for (uint32_t k = list_first(&report->lines); k != NONE; k = list_next(s, LINES_OF_REPORT, k))
        lines++;
    frame_begin(&s->frame, "line", "");
    write_number(number, report->id);
    put_field(s, "id", number);
    put_date_field(s, "at", report->at_s);
    put_field(s, "by", report->by);
    put_field(s, "about", report->about);
    write_number(number, lines);
    put_field(s, "lines", number);
    send_frame(s, c);
}

/* Reports stand in no order where they are kept, and are told in that of their numbers. */
static bool send_next_report(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    uint32_t next = NONE;
    EACH_LIVE(i, reports) {
        const struct report *report = report_at(s, i);
        if (!report->draft && report->id > conn->listed && (next == NONE || report->id < report_at(s, next)->id))
            next = i;
    }
    if (next == NONE)
        return false;
    send_report_line(s, c, next);
    conn->listed = report_at(s, next)->id;
    return true;
}

/* One report, and then the lines of chat that go with it, if it has not been closed meanwhile. */
static bool send_next_report_line(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    uint32_t told = conn->listed++, i = find_report(s, conn->list_of);
    if (i != NONE && told == 0) {
        send_report_line(s, c, i);
        return true;
    }
    uint32_t k = i == NONE ? NONE : list_first(&report_at(s, i)->lines);
    for (; k != NONE && told > 1; told--)
        k = list_next(s, LINES_OF_REPORT, k);
    if (k == NONE)
        return false;
    const struct chat_line *line = &report_line_at(s, k)->line;
    frame_begin(&s->frame, "line", "");
    put_date_field(s, "at", line->at_s);
    put_field(s, "from", line->from);
    put_field(s, "to", line->to);
    put_field(s, "room", line->room);
    put_field(s, "text", line->text);
    send_frame(s, c);
    return true;
}

/* The news as they are shown, a line each. */
static bool send_next_news_line(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    const char *news = news_text(s);
    char line[NEWS_CHARS + 1];
    if (conn->listed >= strlen(news))
        return false;
    size_t n = strcspn(news + conn->listed, "\n");
    copy_text(line, n + 1, news + conn->listed);
    conn->listed += (uint32_t)n + 1;
    frame_begin(&s->frame, "line", "");
    put_field(s, "line", line);
    send_frame(s, c);
    return true;
}

/* Begins the line of a ban or a mute; i is NONE if it has been lifted. */
static void put_sanction(struct nascar *s, bool mute, const char *target, uint32_t i)
{
    frame_begin(&s->frame, "line", "");
    put_field(s, "what", mute ? "mute" : "ban");
    put_field(s, "name", target);
    if (i == NONE)
        return;
    const struct sanction *sanction = sanction_at(s, i);
    put_field(s, "reason", sanction->reason);
    put_date_field(s, "since", sanction->since_s);
    if (sanction->until_s)
        put_date_field(s, "until", sanction->until_s);
    else
        put_field(s, "until", "");
}

/* The bans and mutes that hold. */
static bool send_next_sanction(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    uint32_t i = live_from(s, &s->sanctions, conn->listed);
    while (i != NONE && !sanction_holds(s, i))
        i = live_from(s, &s->sanctions, i + 1);
    if (i == NONE)
        return false;
    put_sanction(s, sanction_at(s, i)->mute, sanction_at(s, i)->target, i);
    send_frame(s, c);
    conn->listed = i + 1;
    return true;
}

static void send_room_line(struct nascar *s, uint32_t c, const struct room *room)
{
    frame_begin(&s->frame, "line", "");
    put_field(s, "name", room->name);
    put_number_field(s, "players", room->count);
    put_number_field(s, "limit", room->limit);
    put_field(s, "password", room->password[0] ? "yes" : "no");
    put_field(s, "made_by", room->made_by);
    send_frame(s, c);
}

/* A room that is gone, but of which not everybody has been told, is none. */
static bool send_next_room(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    uint32_t i = live_from(s, &s->rooms, conn->listed);
    if (i == NONE)
        return false;
    if (!room_at(s, i)->gone)
        send_room_line(s, c, room_at(s, i));
    conn->listed = i + 1;
    return true;
}

/* The lists that the operator is told: what kind of frame ends each, and who sends its next line, or returns false. */
static const struct {
    char kind[5];
    bool (*send)(struct nascar *, uint32_t);
} control_lists[] = {
    [LIST_WHO] = {"cwho", send_next_player},         [LIST_REPORTS] = {"crep", send_next_report},
    [LIST_REPORT] = {"crep", send_next_report_line}, [LIST_NEWS] = {"cnew", send_next_news_line},
    [LIST_SANCTIONS] = {"cbns", send_next_sanction}, [LIST_METRICS] = {"csta", send_next_metric},
    [LIST_ROOMS] = {"crom", send_next_room},
};

static void pump_control(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    bool more = true;
    while (more && outbox_free(conn) >= REPLY_BYTES)
        more = control_lists[conn->listing].send(s, c);
    if (outbox_free(conn) < REPLY_BYTES)
        return; /* the rest follows when it has drained */
    conn->behind = false;
    frame_begin(&s->frame, control_lists[conn->listing].kind, "");
    put_number(&s->frame, tag_STATUS, failures[OK].status);
    send_frame(s, c);
}

static enum failure refuse_control(struct request *q, enum failure failure, const char *why)
{
    struct outgoing *f = reply_begin(q, failure);
    put_text(f, tag_TEXT, why);
    send_back(q);
    return OK;
}

/* `passwd`: a new password for an account. If there is no such account, it is
 * made, with its first persona. */
static enum failure do_control_password(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], password[PASSWORD_CHARS + 1];
    get_name(q, tag_NAME, name);
    if (!valid_name(name, ACCOUNT_CHARS))
        return refuse_control(q, BAD_NAME, "expected a name of 2 to 16 letters, digits and _-{}[]");
    if (find_room(s, name) != NONE)
        return refuse_control(q, TAKEN, "there is a room of that name");
    bool valid = get_text(q, tag_PASS, password, sizeof password) <= PASSWORD_CHARS && valid_password(password);
    if (valid)
        send_hash_job(q, "", "", password);
    wipe(password, sizeof password);
    return valid ? OK : refuse_control(q, BAD_NAME, "expected a password of 4 to 16 plain ASCII characters");
}

static enum failure verdict_control_password(struct request *q, bool accepted, const char *hash)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    uint32_t account = find_account(s, name);
    if (!accepted || !hash[0])
        return refuse_control(q, NOT_KEPT, "the password could not be hashed");
    if (account == NONE)
        return send_account(q, name, hash, true);
    send_edit(q, account, hash);
    return OK;
}

static enum failure kept_control_password(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    if (failure)
        return refuse_control(q, failure,
                              failure == SERVER_FULL ? "there are as many accounts as max-accounts allows"
                                                     : "it could not be kept on disk");
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    uint32_t line = log_begin_conn(s, NASCAR_LOG_INFO, "password_set", q->c);
    log_text(s, "name", name);
    log_end(s, line);
    reply(q, OK);
    return OK;
}

/* ---- Commands: the operator steers --------------------------------------- */

/* `reload`: whoever has the files reads them again, and says what came of it by NASCAR_RELOADED. */
static enum failure do_control_reload(struct request *q)
{
    conn_wait(q->s, q->c, WAIT_RELOAD);
    q->s->reloads = true;
    return OK;
}

/* So much of REPLY_BYTES is for the end of the answer: the rest of what changed, and the reply. */
#define RELOAD_END_BYTES 256u
#define RELOAD_LINE_CHARS 200u /* of one line, which is cut behind that */

/* One line of NASCAR_RELOADED for the operator. Returns where the next one begins. */
static uint32_t send_reload_line(struct request *q, const struct nascar_event *e, uint32_t at)
{
    struct outgoing *f = &q->s->frame;
    frame_begin(f, "line", "");
    for (uint32_t n = 0; at < e->size && e->bytes[at] != '\n'; at++, n++)
        if (n < RELOAD_LINE_CHARS && e->bytes[at] != 0)
            put_byte(f, e->bytes[at] == '\t' ? '\n' : e->bytes[at]);
    put_byte(f, '\n');
    send_back(q);
    return at + 1;
}

static void answer_reload(struct request *q, const struct nascar_event *e)
{
    struct nascar *s = q->s;
    char text[512];
    uint32_t more = 0, at = 0, used = 0, line = log_begin_conn(s, NASCAR_LOG_INFO, "reload_asked", q->c);
    log_text(s, "result", e->accepted ? "reloaded" : "refused");
    log_end(s, line);
    if (!e->accepted) {
        uint32_t n = min_u32(e->size, sizeof text - 1);
        memcpy(text, n > 0 ? e->bytes : (const uint8_t *)"", n);
        text[n] = 0;
        (void)refuse_control(q, MISSING, text);
        return;
    }
    const uint32_t most = REPLY_BYTES - RELOAD_END_BYTES - (HEADER_BYTES + RELOAD_LINE_CHARS + 2);
    for (; at < e->size && used <= most; used += s->frame.size)
        at = send_reload_line(q, e, at);
    for (; at < e->size; at++)
        more += e->bytes[at] == '\n';
    if (more > 0) {
        write_number(text, more);
        append_text(text, sizeof text, " more, which the log names");
        frame_begin(&s->frame, "line", "");
        put_field(s, "what", text);
        send_back(q);
    }
    reply(q, OK);
}

/* The report whose number is in ID, and nothing else; NONE if there is none. */
static uint32_t get_report(const struct request *q)
{
    char text[12];
    uint32_t id = 0, i = NONE;
    if (get_text(q, tag_ID, text, sizeof text) < sizeof text && parse_number(text, 0, UINT32_MAX, &id))
        i = find_report(q->s, id);
    return i == NONE || report_at(q->s, i)->draft ? NONE : i;
}

/* `reports`: all of them, or one with its lines of chat. */
static enum failure do_control_reports(struct request *q)
{
    uint32_t i = get_report(q);
    if (!has_tag(q, tag_ID))
        return begin_list(q, LIST_REPORTS, 0);
    if (i == NONE)
        return refuse_control(q, NO_USER, "there is no report of that number");
    return begin_list(q, LIST_REPORT, report_at(q->s, i)->id);
}

/* `reports --close`: it goes, and its place is free. */
static enum failure do_control_close(struct request *q)
{
    struct nascar *s = q->s;
    struct record r = {.kind = RECORD_DREP};
    uint32_t i = get_report(q);
    if (i == NONE)
        return refuse_control(q, NO_USER, "there is no report of that number");
    if (report_at(s, i)->receipt != 0)
        return refuse_control(q, BUSY, "this report is just being written: close it later");
    r.drep.id = report_at(s, i)->id;
    send_record(q, &r);
    return OK;
}

/* What becomes of a change of the operator that has no words of its own for a failure. */
static enum failure refuse_unkept(struct request *q, enum failure failure)
{
    return refuse_control(q, failure,
                          failure == NO_USER ? "there is no report of that number" : "it could not be kept on disk");
}

static enum failure kept_control_close(struct request *q, enum failure failure)
{
    if (failure)
        return refuse_unkept(q, failure);
    uint32_t line = log_begin_conn(q->s, NASCAR_LOG_INFO, "report_closed", q->c);
    log_number(q->s, "id", get_number(q, tag_ID, 0));
    log_end(q->s, line);
    reply(q, OK);
    return OK;
}

/* Reads the news that the operator wants to be shown, each line ended by \n. Returns what was expected, or NULL. */
static const char *get_news(const struct request *q, char out[NEWS_CHARS + 2])
{
    char text[2 * NEWS_CHARS + 2];
    uint32_t n = get_text(q, tag_TEXT, text, sizeof text), used = 0;
    const char *too_long = "at most 242 characters of news in all, an end of line being one";
    if (n >= sizeof text)
        return too_long;
    for (uint32_t i = 0; i < n; i++) {
        if (text[i] == '\r' && text[i + 1] == '\n')
            continue; /* as some editors end lines */
        if ((uint8_t)text[i] > 0x7e)
            return "ASCII characters only";
        if ((uint8_t)text[i] < 0x20 && text[i] != '\n')
            return "text without control characters";
        if (used == NEWS_CHARS)
            return too_long;
        out[used++] = text[i];
    }
    if (used > 0 && out[used - 1] != '\n')
        out[used++] = '\n';
    out[used] = 0;
    return used > NEWS_CHARS ? too_long : NULL;
}

/* `news`: as they are, or from now on. */
static enum failure do_control_news(struct request *q)
{
    struct record r = {.kind = RECORD_NEWS};
    char why[96] = "expected ";
    if (!has_tag(q, tag_TEXT))
        return begin_list(q, LIST_NEWS, 0);
    const char *expected = get_news(q, r.news.text);
    append_text(why, sizeof why, expected ? expected : "");
    if (expected)
        return refuse_control(q, BAD_NAME, why);
    send_record(q, &r);
    return OK;
}

static enum failure kept_control_news(struct request *q, enum failure failure)
{
    if (failure)
        return refuse_unkept(q, failure);
    uint32_t i = live_from(q->s, &q->s->notices, 0);
    uint32_t line = log_begin_conn(q->s, NASCAR_LOG_INFO, i == NONE ? "news_cleared" : "news_set", q->c);
    if (i != NONE)
        log_text(q->s, "text", notice_at(q->s, i)->text);
    log_end(q->s, line);
    reply(q, OK);
    return OK;
}

/* ---- Commands: the operator's bans and mutes ----------------------------- */

/* One handler for the four: ban, unban, mute and unmute. */
static bool is_mute(const struct request *q)
{
    return q->kind[1] == 'm' || q->kind[3] == 'm'; /* cmut, cunm */
}

static bool is_lift(const struct request *q)
{
    return q->kind[1] == 'u'; /* cunb, cunm */
}

/* Whom NAME means: an account, or else that of the persona, or else a name without an
 * account yet; or if it cannot be a name, a network, in which only the bits count that
 * it has. What is to be lifted may be of that very name, which a persona has got since.
 * Returns what was meant, in words, or NULL if it is none of these. */
static const char *get_target(const struct request *q, char target[NETWORK_CHARS + 1])
{
    const struct nascar *s = q->s;
    struct network network = {0, 0};
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    copy_text(target, NETWORK_CHARS + 1, name);
    uint32_t account = find_account(s, name), persona = find_persona(s, name);
    bool itself = account != NONE || persona == NONE || (is_lift(q) && find_held(s, is_mute(q), name) != NONE);
    if (!itself)
        account = persona_at(s, persona)->account;
    if (account != NONE)
        copy_text(target, NETWORK_CHARS + 1, account_at(s, account)->name);
    if (account != NONE)
        return itself ? "an account" : "the account of that persona";
    if (valid_name(name, ACCOUNT_CHARS))
        return "a name without an account so far";
    if (is_mute(q) || !parse_network(name, &network) || network.bits == 0)
        return NULL;
    write_network(target, network.address & UINT32_MAX << (32 - network.bits), network.bits);
    return "a network";
}

_Static_assert(REASON_CHARS == 127, "as is said here");

/* Reads REASON and FOR. FOR says for how many seconds it is; without it, it is for good,
 * and so is one until after the last date that there is. Returns what was expected, or
 * NULL if it was that. */
static const char *get_terms(const struct request *q, struct record *r)
{
    char seconds[16];
    uint32_t for_s = 0;
    if (get_text(q, tag_REASON, r->sanction.reason, REASON_CHARS + 1) > REASON_CHARS)
        return "expected a reason of at most 127 characters";
    for (const char *p = r->sanction.reason; *p; p++)
        if ((uint8_t)*p < 0x20 || (uint8_t)*p > 0x7e)
            return "expected a reason in plain ASCII, on one line and without tabs";
    (void)get_text(q, tag_FOR, seconds, sizeof seconds);
    if (has_tag(q, tag_FOR) && !parse_number(seconds, 1, 999999999, &for_s))
        return "expected a time of 1 to 999999999 seconds";
    int64_t until_s = r->sanction.since_s + for_s;
    r->sanction.until_s = for_s > 0 && until_s <= LATEST_DATE_S ? until_s : 0;
    return NULL;
}

/* There is nothing to be lifted. An address may be banned with its network. */
static enum failure refuse_lift(struct request *q, const char *target)
{
    const struct nascar *s = q->s;
    struct network network;
    char why[160] = "";
    uint32_t ban = !is_mute(q) && parse_network(target, &network) ? find_address_ban(s, network.address) : NONE;
    const char *const texts[] = {target, is_mute(q) ? " is not muted" : " is not banned", ", but ",
                                 ban == NONE ? "" : sanction_at(s, ban)->target, " is"};
    join_text(why, sizeof why, texts, ban == NONE ? 2 : 5);
    return refuse_control(q, NO_USER, why);
}

/* Why it could not be made or lifted, in words. */
static enum failure refuse_sanction(struct request *q, enum failure failure)
{
    return refuse_control(q, failure,
                          failure == SERVER_FULL ? "there are as many bans and mutes as fit: lift some of them"
                                                 : "it could not be kept on disk");
}

/* Hands out the record of a ban or a mute, or that it is lifted. */
static enum failure do_control_sanction(struct request *q)
{
    struct nascar *s = q->s;
    struct record r = {.kind = is_mute(q) ? RECORD_MUTE : RECORD_BANN,
                       .sanction = {.since_s = s->reached_s, .until_s = s->reached_s}};
    char target[NETWORK_CHARS + 1];
    if (!get_target(q, target))
        return refuse_control(
            q, BAD_NAME,
            is_mute(q) ? "expected the name of an account or a persona"
                       : "expected a name, an IPv4 address as 192.0.2.7, or a network as 192.0.2.0/24 of 1 to 32 bits");
    const char *wrong = is_lift(q) ? NULL : get_terms(q, &r);
    if (wrong)
        return refuse_control(q, MISSING, wrong);
    if (is_lift(q) && find_held(s, is_mute(q), target) == NONE)
        return refuse_lift(q, target);
    if (find_sanction(s, is_mute(q), target) == NONE && s->sanctions.live - count_ended_sanctions(s) >= SANCTIONS)
        return refuse_sanction(q, SERVER_FULL);
    copy_text(r.sanction.target, sizeof r.sanction.target, target);
    send_record(q, &r);
    return OK;
}

/* It is kept and in force, or lifted. The answer says whom it is of. */
static enum failure kept_control_sanction(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    static const char events[2][2][7] = {{"ban", "mute"}, {"unban", "unmute"}};
    char target[NETWORK_CHARS + 1], until[20];
    if (failure)
        return refuse_sanction(q, failure);
    const char *means = get_target(q, target);
    uint32_t i = means ? find_sanction(s, is_mute(q), target) : NONE;
    uint32_t line = log_begin_conn(s, NASCAR_LOG_INFO, events[is_lift(q)][is_mute(q)], q->c);
    log_text(s, "name", target);
    if (i != NONE) {
        write_date(until, sanction_at(s, i)->until_s);
        log_text(s, "until", sanction_at(s, i)->until_s ? until : "");
        log_text(s, "reason", sanction_at(s, i)->reason);
    }
    log_end(s, line);
    put_sanction(s, is_mute(q), target, i);
    if (i != NONE)
        put_field(s, "means", means);
    send_back(q);
    reply(q, OK);
    return OK;
}

/* ---- Commands: the operator's acts --------------------------------------- */

/* Reads a text that is shown on one line. If it is none, that is answered, and false
 * returned. */
static bool get_line(struct request *q, enum tag tag, char *out, uint32_t most)
{
    char why[96] = "expected at most ", number[24];
    bool good = get_text(q, tag, out, most + 1) <= most;
    for (const char *c = out; *c; c++)
        good = good && (uint8_t)*c >= 0x20 && (uint8_t)*c <= 0x7e;
    if (good)
        return true;
    write_number(number, most);
    append_text(why, sizeof why, number);
    append_text(why, sizeof why, " characters of ASCII on one line");
    (void)refuse_control(q, BAD_NAME, why);
    return false;
}

/* The account that NAME names, or else that of the persona of this name. If there is
 * neither, that is answered, and NONE returned. */
static uint32_t get_account(struct request *q)
{
    const struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    uint32_t account = find_account(s, name), persona = find_persona(s, name);
    if (account == NONE && persona != NONE)
        account = persona_at(s, persona)->account;
    if (account == NONE)
        (void)refuse_control(q, NO_USER, "there is no account or persona of that name");
    return account;
}

/* `kick`: whoever is online as an account, or a persona of it, is so no more. */
static enum failure do_control_kick(struct request *q)
{
    struct nascar *s = q->s;
    char reason[REASON_CHARS + 1], text[CHAT_CHARS + 1] = "You have been put out by the operator";
    uint32_t account = get_account(q);
    if (account == NONE || !get_line(q, tag_REASON, reason, REASON_CHARS))
        return OK;
    uint32_t player = account_at(s, account)->player;
    const struct conn *conn = player == NONE ? NULL : conn_at(s, player_at(s, player)->conn);
    if (conn && conn->state == CONN_PERSONA && !conn->slow && takes_chat(conn)) {
        append_text(text, sizeof text, reason[0] ? ": " : ".");
        append_text(text, sizeof text, reason);
        write_announcement(s, player_at(s, player)->room, text);
        send_frame(s, player_at(s, player)->conn);
    }
    uint32_t count = put_out_account(s, account, "kicked");
    if (count == 0)
        return refuse_control(q, NO_USER, "nobody is online by that name");
    uint32_t line = log_begin_conn(s, NASCAR_LOG_INFO, "kicked", q->c);
    log_text(s, "name", account_at(s, account)->name);
    log_text(s, "reason", reason);
    log_end(s, line);
    frame_begin(&s->frame, "line", "");
    put_field(s, "account", account_at(s, account)->name);
    put_number_field(s, "connections", count);
    send_back(q);
    reply(q, OK);
    return OK;
}

/* `say`: a line from the server itself, to a room or to everybody. As chat it waits for
 * those who keep up, and is missed by those who do not. */
static enum failure do_control_say(struct request *q)
{
    struct nascar *s = q->s;
    char text[CHAT_CHARS + 1], name[ANY_NAME_CHARS + 1];
    uint32_t told = 0, all = 0, only = NONE;
    get_name(q, tag_ROOM, name);
    if (has_tag(q, tag_ROOM) && (only = find_room(s, name)) == NONE)
        return refuse_control(q, NO_ROOM, "there is no room of that name");
    if (!get_line(q, tag_TEXT, text, CHAT_CHARS))
        return OK;
    if (!text[0])
        return refuse_control(q, MISSING, "there is nothing to be said");
    EACH_LIVE(r, rooms)
        if ((only == NONE || only == r) && room_at(s, r)->crowded > 0)
            return STALL;
    EACH_LIVE(r, rooms)
        if (only == NONE || only == r) {
            all += room_at(s, r)->count;
            told += announce_in_room(s, r, text);
        }
    uint32_t line = log_begin_conn(s, NASCAR_LOG_INFO, "announced", q->c);
    log_text(s, "text", text);
    log_text(s, "room", name);
    log_end(s, line);
    frame_begin(&s->frame, "line", "");
    put_number_field(s, "told", told);
    put_number_field(s, "missed", all - told);
    send_back(q);
    reply(q, OK);
    return OK;
}

/* `delete`: by the name of the account alone, as that is what goes. */
static enum failure do_control_delete(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], why[128] = "there is no account of that name";
    struct record r = {.kind = RECORD_DACC};
    get_name(q, tag_NAME, name);
    r.dacc.account = find_account(s, name);
    uint32_t persona = find_persona(s, name);
    if (r.dacc.account == NONE && persona != NONE) {
        append_text(why, sizeof why, ", but a persona of the account ");
        append_text(why, sizeof why, account_at(s, persona_at(s, persona)->account)->name);
    }
    if (r.dacc.account == NONE)
        return refuse_control(q, NO_ACCOUNT, why);
    (void)put_out_account(s, r.dacc.account, "account deleted"); /* so that no change of theirs comes behind this one */
    frame_begin(&s->frame, "line", "");
    put_field(s, "account", account_at(s, r.dacc.account)->name); /* as it is written, while it is there */
    send_back(q);
    send_record(q, &r);
    return OK;
}

static enum failure kept_control_delete(struct request *q, enum failure failure)
{
    if (failure)
        return refuse_control(q, failure,
                              failure == NO_ACCOUNT ? "there is no account of that name any more"
                                                    : "it could not be kept on disk");
    log_account_deleted(q);
    reply(q, OK);
    return OK;
}

/* `log-level`: until the configuration is read again. */
static enum failure do_control_log_level(struct request *q)
{
    const char *words = find_setting("log-level")->words;
    char text[16], why[64] = "expected one of: ";
    bool whole = get_text(q, tag_LEVEL, text, sizeof text) < sizeof text;
    int level = whole ? word_index(words, text) : -1;
    append_text(why, sizeof why, words);
    if (level < 0)
        return refuse_control(q, BAD_NAME, why);
    q->s->log_level = (uint8_t)(level + 1);
    uint32_t line = log_begin_conn(q->s, NASCAR_LOG_INFO, "log_level_set", q->c);
    log_text(q->s, "to", text);
    log_end(q->s, line);
    reply(q, OK);
    return OK;
}

/* `down`: as the key of the configuration, until that is read again. An empty text is
 * none: consoles get in. */
static enum failure do_control_down(struct request *q)
{
    struct nascar *s = q->s;
    char text[DOWN_CHARS + 1];
    if (!get_line(q, tag_TEXT, text, DOWN_CHARS))
        return OK;
    copy_text(s->config.down, sizeof s->config.down, text);
    uint32_t line = log_begin_conn(s, NASCAR_LOG_INFO, text[0] ? "down" : "not_down", q->c);
    if (text[0])
        log_text(s, "text", text);
    log_end(s, line);
    reply(q, OK);
    return OK;
}

/* ---- The table of commands ----------------------------------------------- */

/* Sets of states, for the rows below (PROTOCOL 3.2 says who may send what). */
#define IN(state) (1u << (state))
#define FIRST IN(CONN_NEW)
#define LOGGED_IN (IN(CONN_ACCOUNT) | IN(CONN_PERSONA))
#define PLAYING IN(CONN_PERSONA)
#define LOBBY (FIRST | IN(CONN_LOBBY) | LOGGED_IN)
#define BUDDY IN(CONN_BUDDY)
#define CONTROL IN(CONN_CONTROL)

/* `start` gets the request; `verdict` goes on with it when its hash job has
 * been answered, and `kept` when its record has come back. */
struct command {
    char kind[5];
    uint16_t states;
    uint8_t cost; /* tokens that it takes from the connection's bucket */
    bool talks;   /* its texts are told to others: a recording keeps them as they are (scrub_frame) */
    enum failure (*start)(struct request *);
    enum failure (*verdict)(struct request *, bool, const char *);
    enum failure (*kept)(struct request *, enum failure);
};

/* clang-format off */
static const struct command commands[] = {
    /* kind    allowed in                      cost          handler */
    {"@dir", FIRST | IN(CONN_DIRECTORY),       4, .start = do_directory},
    {"addr", LOBBY,                            1, .start = do_addr},
    {"skey", LOBBY,                            1, .start = do_skey},
    {"~png", LOBBY,                            1, .start = do_ping},
    {"sele", LOBBY,                            2, .start = do_sele},
    {"auth", LOBBY,                            5, .start = do_auth, .verdict = verdict_auth, .kept = kept_auth},
    {"acct", LOBBY,                           10, .start = do_acct, .verdict = verdict_acct, .kept = kept_acct},
    {"edit", LOGGED_IN,                        5, .start = do_edit, .verdict = verdict_edit, .kept = kept_plain},
    {"cper", LOGGED_IN,                        5, .start = do_cper, .kept = kept_cper},
    {"dper", LOGGED_IN,                        5, .start = do_dper, .kept = kept_dper},
    {"dacc", LOGGED_IN,                        5, .start = do_dacc, .kept = kept_dacc},
    {"pers", LOGGED_IN,                        2, .start = do_pers, .kept = kept_pers},
    {"news", LOGGED_IN,                        1, .start = do_news},
    {"chal", LOGGED_IN,                        1, .start = do_chal},
    {"user", PLAYING,                          1, .start = do_user},
    {"onln", PLAYING,                          1, .start = do_onln},
    {"room", PLAYING,                          5, .start = do_room},
    {"move", PLAYING,                          2, .start = do_move},
    {"peek", PLAYING,                          1, .start = do_peek},
    {"mesg", PLAYING,                          2, .start = do_mesg, .kept = kept_mesg, .talks = true},
    {"auxi", PLAYING,                          2, .start = do_auxi, .talks = true},
    {"rank", PLAYING,                          2, .start = do_rank, .kept = kept_rank},
    {"snap", PLAYING,                          2, .start = do_snap},
    {"rept", PLAYING,                         10, .start = do_rept, .kept = kept_rept},
    {"AUTH", FIRST | IN(CONN_BUDDY_NEW),       5, .start = do_buddy_auth},
    {"PSET", BUDDY,                            1, .start = do_presence_set, .talks = true},
    {"RGET", BUDDY,                            2, .start = do_roster_get},
    {"RADD", BUDDY,                            2, .start = do_roster_add, .kept = kept_roster},
    {"RDEL", BUDDY,                            2, .start = do_roster_delete, .kept = kept_roster},
    {"PADD", BUDDY,                            1, .start = do_watch},
    {"PDEL", BUDDY,                            1, .start = do_unwatch},
    {"PGET", BUDDY,                            1, .start = do_presence_get},
    {"SEND", BUDDY,                            2, .start = do_send, .kept = kept_send, .talks = true},
    {"USCH", BUDDY,                            5, .start = do_search},
    {"PING", BUDDY | IN(CONN_BUDDY_NEW),       1, .start = do_ping},
    {"DISC", BUDDY | IN(CONN_BUDDY_NEW),       1, .start = do_goodbye},
    {"cwho", CONTROL,                          0, .start = do_control_who},
    {"crom", CONTROL,                          0, .start = do_control_rooms},
    {"csta", CONTROL,                          0, .start = do_control_stats},
    {"crel", CONTROL,                          0, .start = do_control_reload},
    {"crep", CONTROL,                          0, .start = do_control_reports},
    {"crcl", CONTROL,                          0, .start = do_control_close, .kept = kept_control_close},
    {"cnew", CONTROL,                          0, .start = do_control_news, .kept = kept_control_news},
    {"cpwd", CONTROL,                          0, .start = do_control_password, .verdict = verdict_control_password,
     .kept = kept_control_password},
    {"cban", CONTROL,                          0, .start = do_control_sanction, .kept = kept_control_sanction},
    {"cunb", CONTROL,                          0, .start = do_control_sanction, .kept = kept_control_sanction},
    {"cmut", CONTROL,                          0, .start = do_control_sanction, .kept = kept_control_sanction},
    {"cunm", CONTROL,                          0, .start = do_control_sanction, .kept = kept_control_sanction},
    {"cbns", CONTROL,                          0, .start = do_control_sanctions},
    {"ckik", CONTROL,                          0, .start = do_control_kick, .talks = true},
    {"csay", CONTROL,                          0, .start = do_control_say, .talks = true},
    {"cdel", CONTROL,                          0, .start = do_control_delete, .kept = kept_control_delete},
    {"clog", CONTROL,                          0, .start = do_control_log_level},
    {"cdwn", CONTROL,                          0, .start = do_control_down, .talks = true},
};
/* clang-format on */

#define COMMANDS (sizeof commands / sizeof commands[0])
#define UNKNOWN_COST 2u

static const struct command *find_command(const uint8_t kind[4])
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (memcmp(commands[i].kind, kind, 4) == 0)
            return &commands[i];
    return NULL;
}

/* ---- The page, and what else is shown by HTTP ------------------------------ */

/* All that HTTP shows is written from texts with places to fill in, each a $ and what
 * stands behind it:
 *
 *   $(X ... $)   for each thing of list X
 *   $,           right behind $(X: a comma in front of each thing but the first
 *   $?X ... $.   only if list X has anything, or X holds (http_next)
 *   $!X ... $.   only if it is not so
 *   $x           a value (http_value): of the thing that a list is at, or of the server
 *
 * A text is cut, and goes on when the outbox has drained, behind the end of a line or of
 * a list's thing. So nothing of an outer list's thing is asked for behind an inner list. */

enum http_type { AS_HTML, AS_JSON, AS_TEXT, AS_SCRIPT, AS_STYLE };

static const char http_types[] = "text/html\0application/json\0text/plain\0text/javascript\0text/css";

/* clang-format off */
#define HTML_HEAD(title) \
    "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>" \
    "<title>" title "</title>\n<link rel=icon href='data:,'><link rel=stylesheet href=/style.css>" \
    "<script src=/app.js defer></script>\n"
#define HTML_RECORD \
    "<td class=n>$1<td class=n>$2<td class=n>$3<td class=n>$7"
#define JSON_RECORD \
    "\"rank\":$0,\"rating\":$1,\"races\":$2,\"wins\":$3,\"losses\":$4,\"disconnects\":$5,\"laps_led\":$6,\"best_finish\":$7"

#define JSON_RESULTS \
    "\"results\":[\n$(Q$,{\"date\":\"$t\",\"names\":[\"$a\",\"$b\"],\"places\":[$K,$L],\"laps\":[$O,$P],\"out\":[$Q,$R]," \
    "\"ratings\":[$U,$V],\"track\":$C,\"length\":$J}\n$)]"

#define TEXT_MAIN \
    HTML_HEAD("NASCAR Thunder 2004 online") \
    "<header><h1>NASCAR Thunder 2004</h1><p id=now role=status>" \
    "$!PNobody is on.$.$?P<b>$p</b> online$?V, and a race is under way$..$.</header>\n" \
    "<main>\n" \
    "<section class=wide><h2>Who is on</h2><div id=who>" \
    "$!P<p>Nobody is on right now. Be the first: see below how to join.$.\n" \
    "$?P<table><thead><tr><th scope=col>Driver<th scope=col>Where<th scope=col>Doing<th scope=col class=n>Rating" \
    "<tbody>\n$(P<tr><th scope=row>$n<td>$w<td class=$d>$d<td class=n>$?f$1$.$)</table>$.</div></section>\n" \
    "<section><h2>On the track</h2><div id=track>" \
    "$!V$!C<p>No race and no challenge just now.$.$.\n" \
    "<ul>$(V<li><b class=racing>Race</b> $a against $b, since $T$)\n" \
    "$(C<li><b>Challenge</b> $a has called out $b$)</ul></div></section>\n" \
    "<section><h2>Rooms</h2><div id=rooms>" \
    "$(R<h3>$r <small>$k of $l$?k, with a password$.</small></h3><ul class=in>$(M<li>$n$)</ul>$)</div></section>\n" \
    "<section><h2>Latest results</h2><div id=results>$!Q<p>None yet.$.<ul>" \
    "$(Q<li>$W $?zbeat$.$!zraced$. $Y <small>$J laps on track $C, $T</small>\n$)</ul></div></section>\n" \
    "<section><h2>Leaderboard</h2><div id=top>" \
    "$!L<p>Nobody has raced yet.$.\n" \
    "$?L<table><thead><tr><th scope=col>#<th scope=col>Driver<th scope=col class=n>Rating<th scope=col class=n>Races" \
    "<th scope=col class=n>Wins<th scope=col class=n>Best\n<tbody>" \
    "$(L<tr><td>$0<th scope=row>$n" HTML_RECORD "$)</table>$.</div></section>\n" \
    "<section><h2>News</h2><div id=news>$!N<p>No news.$.$(N<p>$x$)</div></section>\n" \
    "<section><h2>How to join</h2><ol>" \
    "<li>Put the US disc, SLUS-20824, into a PlayStation 2 or PCSX2 that has a network configuration.\n" \
    "<li>$?yEnter <b>$A</b> as its DNS server.$.$!yHave its DNS lead <b>ps2nascar04.ea.com</b> to <b>$A</b>.$.\n" \
    "<li>The disc first asks Sony&#39;s DNAS, which is gone: lead <b>gate1.us.dnas.playstation.org</b> to one of its " \
    "replacements, or use a patch that skips the question.\n" \
    "<li>$?oLog in: a new name makes your account.$.$!oLog in with your account.$.\n" \
    "<li>The server takes TCP ports $B, $D and $E; your console needs UDP 3658 for the race itself.</ol></section>\n" \
    "</main>\n<footer id=foot>Up for $c h $u min, since $S. nascar_server $v. " \
    "<a href=/api/status>As JSON</a></footer>\n"

#define TEXT_PLAYER \
    HTML_HEAD("$N") \
    "<header><p><a href=/>NASCAR Thunder 2004</a><h1>$N</h1><p id=now role=status>" \
    "$?iOn now, in $w: $d.$.$!iNot on now.$.</header>\n" \
    "<main><section><h2>Record</h2><div id=record>$!f<p>No race yet.$.$?f<dl><dt>Rank<dd>$0<dt>Rating<dd>$1<dt>Races<dd>$2" \
    "<dt>Wins<dd>$3<dt>Losses<dd>$4<dt>Disconnects<dd>$5<dt>Laps led<dd>$6<dt>Best finish<dd>$7</dl>$.</div></section>\n" \
    "$?Q<section><h2>Opponents</h2><div id=rivals><table><thead><tr><th scope=col>Driver<th scope=col class=n>Races" \
    "<th scope=col class=n>Won<th scope=col class=n>Lost<tbody>\n" \
    "$(O<tr><th scope=row>$o<td class=n>$e<td class=n>$g<td class=n>$h$)</table></div></section>\n" \
    "<section><h2>Rating over the latest races</h2><div id=races><table><thead><tr><th scope=col>When<th scope=col>Against" \
    "<th scope=col>Ended<th scope=col class=n>Rating<tbody>\n" \
    "$(Q<tr><td>$T<td>$o<td>$?wwon$.$!w$?zlost$.$!znobody won$.$.<td class=n>" \
    "<meter min=1000 max=2200 value=$X></meter> $X\n$)</table></div></section>$.\n" \
    "</main>\n"

#define TEXT_STATUS \
    "{\"version\":\"$v\",\"started\":\"$s\",\"address\":\"$A\",\"ports\":{\"directory\":$B,\"lobby\":$D,\"buddy\":$E},\n" \
    "\"players\":[$(P$,{\"name\":\"$n\",\"room\":\"$w\",\"state\":\"$d\",\"rating\":$1}$)],\n" \
    "\"rooms\":[$(R$,{\"name\":\"$r\",\"players\":$k,\"limit\":$l,\"password\":$?ktrue$.$!kfalse$.," \
    "\"who\":[$(M$,\"$n\"$)]}$)],\n" \
    "\"races\":[$(V$,{\"host\":\"$a\",\"guest\":\"$b\",\"since\":\"$t\"}$)],\n" \
    "\"challenges\":[$(C$,{\"from\":\"$a\",\"to\":\"$b\"}$)],\n" \
    "\"news\":[$(N$,\"$x\"$)]}\n"

#define TEXT_LEADERBOARD \
    "{\"total\":$m,\"rows\":[\n$(L$,{\"name\":\"$n\"," JSON_RECORD "}$)]}\n"

#define TEXT_API_PLAYER \
    "{\"name\":\"$n\",\"online\":$?itrue$.$!ifalse$.,\"room\":\"$w\",\"state\":\"$d\"," JSON_RECORD "," JSON_RESULTS ",\n" \
    "\"opponents\":[$(O$,{\"name\":\"$o\",\"races\":$e,\"won\":$g,\"lost\":$h}$)]}\n"

#define TEXT_PAST \
    "{" JSON_RESULTS "}\n"

#define TEXT_METRICS \
    "$(S# HELP nascar_$F $G\n# TYPE nascar_$F $H\nnascar_$F $I\n$)"

#define TEXT_HEALTH \
    "$?jNothing can be kept on the disk.\n$.$?hNo password can be checked.\n$.$!j$!hok\n$.$."

#define TEXT_SCRIPT \
    "'use strict';\n" \
    "const local = page => page.querySelectorAll('time').forEach(time => time.textContent =\n" \
    "new Date(time.dateTime).toLocaleString([], {month: 'short', day: 'numeric', hour: 'numeric', minute: 'numeric'}));\n" \
    "const look = async () => {\n" \
    "try {\n" \
    "if (!document.hidden) {\n" \
    "const answer = await fetch(location.href);\n" \
    "if (!answer.ok) throw answer;\n" \
    "const page = new DOMParser().parseFromString(await answer.text(), 'text/html');\n" \
    "local(page);\n" \
    "for (const old of document.querySelectorAll('[id]')) {\n" \
    "const fresh = page.getElementById(old.id), focus = document.activeElement;\n" \
    "if (!fresh || fresh.innerHTML === old.innerHTML) continue;\n" \
    "const at = old.contains(focus) && focus.href;\n" \
    "old.innerHTML = fresh.innerHTML;\n" \
    "for (const link of old.querySelectorAll('a')) if (link.href === at) { link.focus(); break; }\n" \
    "}\n" \
    "}\n" \
    "} catch (e) {\n" \
    "document.getElementById('now').textContent = 'The server does not answer.';\n" \
    "}\n" \
    "setTimeout(look, 1500);\n" \
    "};\n" \
    "local(document);\n" \
    "setTimeout(look, 1500);\n"

#define TEXT_STYLE \
    ":root{color-scheme:light dark;--back:#f2efe8;--card:#fff;--ink:#1c1e24;--dim:#5c6370;--line:#e4dfd3;--hot:#c1121f}\n" \
    "@media (prefers-color-scheme:dark){:root{--back:#121418;--card:#1c2026;--ink:#f1eee7;--dim:#a2abb9;--line:#2f353f;--hot:#ff6b6b}}\n" \
    "*{box-sizing:border-box;margin:0;color:inherit}\n" \
    "body{font:clamp(16px,1.05vw,32px)/1.5 system-ui,sans-serif;background:var(--back);color:var(--ink)}\n" \
    "header{background:#1c1e24;color:#fff;text-align:center;padding-top:1em}\n" \
    "header::after{content:'';display:block;height:1.6em;margin-top:1em;\n" \
    "background:conic-gradient(#111 25%,#fff 0 50%,#111 0 75%,#fff 0) 0 0 / 1.6em 1.6em}\n" \
    "h1{font:italic 900 2.2em/1.2 system-ui,sans-serif}\n" \
    "main{columns:22em;column-gap:1em;max-width:90em;margin:auto;padding:1em 1em 0}\n" \
    "section{break-inside:avoid;background:var(--card);border:1px solid var(--line);border-radius:.7em;padding:1em 1.2em;margin-bottom:1em;overflow-x:auto}\n" \
    "h2{font-size:1.15em;margin-bottom:.3em}\n" \
    "h3{font-size:1em;margin-top:.4em}\n" \
    "small,footer,dt,thead th,section p{color:var(--dim)}\n" \
    "small,thead th{font-weight:400;font-size:.85em}\n" \
    "table{width:100%;border-collapse:collapse}\n" \
    "th,td{text-align:left;padding:.25em .6em .25em 0}\n" \
    "tbody tr{border-top:1px solid var(--line)}\n" \
    ".n{text-align:right;padding-right:0;font-variant-numeric:tabular-nums}\n" \
    "ul{list-style:none;padding:0}\n" \
    "ol{padding-left:1.2em}\n" \
    ".in{display:flex;flex-wrap:wrap;gap:0 .9em}\n" \
    "dl{display:grid;grid-template-columns:1fr auto;gap:.2em 1em}\n" \
    ".racing{color:var(--hot);font-weight:600}\n" \
    "a{text-decoration-color:var(--hot);text-underline-offset:.2em}\n" \
    "a:focus-visible{outline:3px solid var(--hot)}\n" \
    "footer{text-align:center;padding:0 1em 2em}\n"

/* All that there is. Behind a path that ends in a slash, the first one apart, stands a persona's name. */
#define HTTP_PAGES(PAGE) \
    PAGE(MAIN, "/", AS_HTML, TEXT_MAIN) \
    PAGE(PLAYER, "/player/", AS_HTML, TEXT_PLAYER) \
    PAGE(STATUS, "/api/status", AS_JSON, TEXT_STATUS) \
    PAGE(LEADERBOARD, "/api/leaderboard", AS_JSON, TEXT_LEADERBOARD) \
    PAGE(API_PLAYER, "/api/player/", AS_JSON, TEXT_API_PLAYER) \
    PAGE(PAST, "/api/results", AS_JSON, TEXT_PAST) \
    PAGE(METRICS, "/metrics", AS_TEXT, TEXT_METRICS) \
    PAGE(HEALTH, "/healthz", AS_TEXT, TEXT_HEALTH) \
    PAGE(SCRIPT, "/app.js", AS_SCRIPT, TEXT_SCRIPT) \
    PAGE(STYLE, "/style.css", AS_STYLE, TEXT_STYLE)

#define PAGE_NUMBER(name, path, type, text) PAGE_##name,
#define PAGE_ROW(name, path, type, text) {path, type, offsetof(struct http_texts, name)},
#define PAGE_ROOM(name, path, type, text) char name[sizeof(text)];
#define PAGE_TEXT(name, path, type, text) text,
enum http_page { HTTP_PAGES(PAGE_NUMBER) PAGES };
/* One behind the other, so that a place in them is a number. */
static const struct http_texts { HTTP_PAGES(PAGE_ROOM) } http_texts = { HTTP_PAGES(PAGE_TEXT) };
static const struct {
    char path[17];
    uint8_t type;
    uint16_t text;
} http_pages[PAGES] = { HTTP_PAGES(PAGE_ROW) };
/* clang-format on */

enum { GAUGE, COUNTER };

/* clang-format off */
#define SEEN_KIND(name, value, help) GAUGE,
#define KEPT_KIND(name, kind, ...) kind,
static const uint8_t metric_kinds[] = {METRICS(SEEN_KIND, KEPT_KIND, KEPT_KIND)};
/* clang-format on */

static void put_escaped(struct outgoing *f, const char *text, enum http_type type)
{
    for (; *text; text++) {
        uint8_t c = (uint8_t)*text;
        char number[24];
        if (type > AS_JSON || (c >= 0x20 && c < 0x7f && !strchr(type == AS_JSON ? "\"\\" : "<>&\"'", c))) {
            put_byte(f, c);
        } else if (type == AS_JSON) {
            put_chars(f, "\\u00");
            write_hex(number, &c, 1);
            put_chars(f, number);
        } else {
            put_chars(f, "&#");
            write_number(number, c);
            put_chars(f, number);
            put_byte(f, ';');
        }
    }
}

/* A persona's name; in HTML it leads to its page. */
static void put_persona(struct outgoing *f, const char *name, enum http_type type)
{
    if (!*name) { /* it was deleted before the race was reported */
        put_chars(f, type == AS_HTML ? "somebody" : "");
        return;
    }
    if (type == AS_HTML) {
        char hex[3];
        put_chars(f, "<a href=/player/");
        for (const char *at = name; *at; at++) {
            if (is_letter((uint8_t)*at) || is_digit((uint8_t)*at) || *at == '_' || *at == '-') {
                put_byte(f, (uint8_t)*at);
            } else {
                put_byte(f, '%');
                write_hex(hex, (const uint8_t *)at, 1);
                put_chars(f, hex);
            }
        }
        put_byte(f, '>');
    }
    put_escaped(f, name, type);
    put_chars(f, type == AS_HTML ? "</a>" : "");
}

/* How many characters of a metric's name are its unit: _s, or _ms. */
static size_t metric_unit(const char *name)
{
    size_t n = strlen(name);
    return name[n - 1] != 's' ? 0 : name[n - 2] == '_' ? 2 : name[n - 2] == 'm' && name[n - 3] == '_' ? 3 : 0;
}

/* A metric as Prometheus names it: its unit is the second, and a counter ends in _total. */
static void put_metric_name(struct outgoing *f, enum metric metric)
{
    const char *name = metric_name(metric);
    size_t n = strlen(name), unit = metric_unit(name);
    for (size_t i = 0; i < n - unit; i++)
        put_byte(f, (uint8_t)name[i]);
    put_chars(f, unit ? "_seconds" : "");
    put_chars(f, metric_kinds[metric] == COUNTER ? "_total" : "");
}

static void put_decimal(struct outgoing *f, int64_t value)
{
    char number[24];
    write_number(number, value);
    put_chars(f, number);
}

/* Its value, too: three digits of milliseconds stand behind a point. */
static void put_metric_value(struct outgoing *f, const struct nascar *s, enum metric metric)
{
    uint64_t value = metric_now(s, metric);
    char rest[4];
    bool ms = metric_unit(metric_name(metric)) == 3;
    put_decimal(f, (int64_t)(ms ? value / 1000 : value));
    *write_digits(rest, (uint32_t)(value % 1000), 3) = 0;
    put_chars(f, ms ? "." : "");
    put_chars(f, ms ? rest : "");
}

#define RACE_SHOWN_S 3600 /* a race of which nobody has said how it ended */

/* Is this race under way, as far as we know? Its players have left the lobby, or are in it as racers. */
static bool is_under_way(const struct nascar *s, const struct race_ticket *t)
{
    bool under_way = t->reported == 0 && s->wall_s - t->when_s < RACE_SHOWN_S;
    for (int side = 0; side < 2 && under_way; side++) {
        uint32_t player = t->persona[side] == NONE ? NONE : persona_at(s, t->persona[side])->player;
        under_way = t->persona[side] != NONE && (player == NONE || is_racing(s, player_at(s, player)));
    }
    return under_way;
}

/* The persona that is the thing of the list; outside of those it is the page's. */
static uint32_t http_persona(const struct nascar *s, const struct conn *conn)
{
    switch (conn->http.list) {
    case 'P': return player_at(s, conn->http.item)->persona;
    case 'M': return player_at(s, conn->http.inner)->persona;
    case 'L': return find_persona_by_rank(s, conn->http.item);
    default: return conn->list_of;
    }
}

/* Who is online as the page's persona, or as that of the list's thing; else NONE. */
static uint32_t http_player(const struct nascar *s, const struct conn *conn)
{
    uint32_t persona = http_persona(s, conn);
    return persona == NONE ? NONE : persona_at(s, persona)->player;
}

/* The next member of a room, which may be gone by now, or the member. */
static uint32_t next_member(const struct nascar *s, uint32_t r, uint32_t member)
{
    if (member == NONE)
        return is_live(s, &s->rooms, r) ? list_first(&room_at(s, r)->members) : NONE;
    bool there = is_live(s, &s->players, member) && player_at(s, member)->room == r;
    return there ? list_next(s, ROOM_MEMBERS, member) : NONE;
}

/* Which side of this result the page's persona was; 2: it was not there. */
static uint32_t own_side(const struct nascar *s, const struct conn *conn, uint32_t i)
{
    uint64_t own = hash_name(s, persona_at(s, conn->list_of)->name);
    return result_at(s, i)->hash[0] == own ? 0 : result_at(s, i)->hash[1] == own ? 1 : 2;
}

/* What there was between the two of a result, from the latest one on: how many races, and how many
 * this side has won and lost, which have 10 bits each. With `until` it only says whether there was
 * one since that result. */
enum { RIVAL_WON = 10, RIVAL_LOST = 20, RIVAL_MASK = (1 << RIVAL_WON) - 1 };

static uint32_t count_rival(const struct nascar *s, uint32_t of, uint32_t side, uint32_t until)
{
    uint64_t own = result_at(s, of)->hash[side], rival = result_at(s, of)->hash[1 - side];
    uint32_t count = 0, i = list_last(s, LATEST_RESULTS, &s->latest);
    for (; i != until && (until == NONE || count == 0); i = list_prev(s, LATEST_RESULTS, &s->latest, i)) {
        const uint64_t *hash = result_at(s, i)->hash;
        uint32_t at = hash[0] != own;
        if (hash[at] != own || hash[1 - at] != rival)
            continue;
        uint32_t winner = result_winner(result_at(s, i)->number);
        count += 1 + (winner == 2 ? 0 : UINT32_C(1) << (winner == at ? RIVAL_WON : RIVAL_LOST));
    }
    return count;
}

#define RESULTS_SHOWN 10u /* on the page */

/* Is this result in the list? Of the opponents, each stands where it was met last. */
static bool is_result_of(const struct nascar *s, const struct conn *conn, char list, uint32_t i)
{
    if (conn->http.page == PAGE_MAIN)
        return result_at(s, i)->number[RESULT_ID] + RESULTS_SHOWN > s->next_result;
    if (conn->http.page == PAGE_PAST)
        return true;
    uint32_t side = own_side(s, conn, i);
    return side != 2 && (list != 'O' || count_rival(s, i, side, i) == 0);
}

/* The next older result of a list; the latest one if `i` is NONE. */
static uint32_t next_result(const struct nascar *s, const struct conn *conn, char list, uint32_t i)
{
    if (i != NONE && result_at(s, i)->number[RESULT_ID] != conn->http.inner)
        return NONE; /* it was the oldest of all, and a new one has its place */
    do
        i = i == NONE ? list_last(s, LATEST_RESULTS, &s->latest) : list_prev(s, LATEST_RESULTS, &s->latest, i);
    while (i != NONE && !is_result_of(s, conn, list, i));
    return i;
}

/* The first thing of a list from this number on; NONE if there is no more. Of what is no
 * list it says so whether it holds. */
static uint32_t http_next(const struct nascar *s, const struct conn *conn, char list, uint32_t from)
{
    const char *news = news_text(s);
    uint32_t i = from;
    bool there = false;
    switch (list) {
    case 'P': /* players */
        i = live_from(s, &s->players, from);
        while (i != NONE && player_at(s, i)->persona == NONE)
            i = live_from(s, &s->players, i + 1);
        return i;
    case 'R': /* rooms */
        i = live_from(s, &s->rooms, from);
        while (i != NONE && room_at(s, i)->gone)
            i = live_from(s, &s->rooms, i + 1);
        return i;
    case 'M': /* a room's members */ return next_member(s, conn->http.item, from - 1);
    case 'C': /* challenges */
        i = live_from(s, &s->matches, from);
        while (i != NONE && match_at(s, i)->state == MATCH_RACING)
            i = live_from(s, &s->matches, i + 1);
        return i;
    case 'V': /* races */
        i = live_from(s, &s->races, from);
        while (i != NONE && !is_under_way(s, race_ticket_at(s, i)))
            i = live_from(s, &s->races, i + 1);
        return i;
    case 'L': /* the leaderboard */
        i = from < conn->list_of ? conn->list_of : from;
        there = i - conn->list_of < conn->http.left && find_persona_by_rank(s, i) != NONE;
        break;
    case 'N':                    /* lines of the news */
        if (from > strlen(news)) /* they were changed meanwhile */
            return NONE;
        i = from == 0 ? 0 : from + (uint32_t)strcspn(news + from - 1, "\n");
        there = news[i] != 0;
        break;
    case 'O': /* opponents */
    case 'Q': /* results */ return next_result(s, conn, list, from - 1);
    case 'w': there = result_winner(result_at(s, conn->http.item)->number) == own_side(s, conn, conn->http.item); break;
    case 'z': there = result_winner(result_at(s, conn->http.item)->number) != 2; break;
    case 'S': /* stats */ there = from < METRIC_COUNT; break;
    case 'f': there = is_ranked(s, http_persona(s, conn)); break;
    case 'h': there = s->told[NASCAR_HELPER_FAILING] != 0; break;
    case 'i': there = http_player(s, conn) != NONE; break;
    case 'j': there = s->told[NASCAR_JOURNAL_FAILING] != 0; break;
    case 'k': there = room_at(s, conn->http.item)->password[0] != 0; break;
    case 'o': there = s->config.accounts == ACCOUNTS_OPEN; break;
    case 'y': there = s->config.dns_on; break;
    default: break; /* never: the texts have no other letters */
    }
    return there ? i : NONE;
}

/* What somebody is doing, in a word. */
static const char *doing(const struct nascar *s, uint32_t player)
{
    const struct player *p = player == NONE ? NULL : player_at(s, player);
    return !p ? "away" : is_racing(s, p) ? "racing" : player_busy(s, p) ? "challenged" : "free";
}

static const char *whereabouts(const struct nascar *s, uint32_t player)
{
    return player == NONE || player_at(s, player)->room == NONE ? "" : room_at(s, player_at(s, player)->room)->name;
}

/* A persona's figure, in the order of the letters 1 to 7. */
static uint32_t figure(const struct figures *f, char letter)
{
    const uint32_t figures[] = {f->rating, f->races, f->wins, f->losses, f->disconnects, f->laps_led, f->best_finish};
    return figures[(uint32_t)(letter - '1') % (sizeof figures / sizeof figures[0])];
}

/* One side of the challenge, race or result that a list is at. */
static const char *http_side(const struct nascar *s, const struct conn *conn, uint32_t side)
{
    uint32_t i = conn->http.item;
    if (conn->http.list == 'Q')
        return result_at(s, i)->name[side];
    return conn->http.list == 'C' ? player_name(s, match_at(s, i)->player[side])
                                  : persona_at(s, race_ticket_at(s, i)->persona[side])->name;
}

/* The date of the race or result that a list is at. */
static int64_t http_date_s(const struct nascar *s, const struct http *at)
{
    return at->list == 'V' ? race_ticket_at(s, at->item)->when_s : result_at(s, at->item)->number[RESULT_DATE];
}

/* A date, as programs read it, or as an element of HTML, of which people see the text. */
static void put_page_date(struct outgoing *f, int64_t date_s, bool element)
{
    char text[24];
    write_date(text, date_s);
    text[10] = 'T';
    put_chars(f, element ? "<time datetime=" : "");
    put_chars(f, text);
    put_byte(f, 'Z');
    if (element) {
        text[10] = ' ';
        text[16] = 0;
        put_byte(f, '>');
        put_chars(f, text);
        put_chars(f, " UTC</time>");
    }
}

/* A number that a letter stands for. */
static uint64_t http_number(const struct nascar *s, const struct conn *conn, char letter)
{
    static const char numbers[] = "CJKLOPQRUV"; /* of a result, from RESULT_TRACK on */
    const struct http *at = &conn->http;
    const char *of_result = strchr(numbers, letter);
    if (of_result)
        return result_at(s, at->item)->number[RESULT_TRACK + (of_result - numbers)];
    switch (letter) {
    case '0': return rank_of(s, http_persona(s, conn));
    case 'B': return s->config.directory_port;
    case 'D': return s->config.lobby_port;
    case 'E': return s->config.buddy_port;
    case 'X': return result_at(s, at->item)->number[RESULT_RATING + own_side(s, conn, at->item)];
    case 'c': return s->told[NASCAR_UPTIME_S] / 3600;
    case 'e': return at->left & RIVAL_MASK;
    case 'g': return at->left >> RIVAL_WON & RIVAL_MASK;
    case 'h': return at->left >> RIVAL_LOST;
    case 'k': return room_at(s, at->item)->count;
    case 'l': return room_at(s, at->item)->limit;
    case 'm': return tree_size(s, s->ranked);
    case 'p': return s->metrics[METRIC_connections_persona];
    case 'u': return s->told[NASCAR_UPTIME_S] / 60 % 60;
    default: return figure(&persona_at(s, http_persona(s, conn))->figures, letter);
    }
}

/* The name of the persona that a letter stands for; NULL if it stands for none. */
static const char *http_name(const struct nascar *s, const struct conn *conn, char letter)
{
    uint32_t i = conn->http.item, winner;
    switch (letter) {
    case 'W':
    case 'Y':
        winner = result_winner(result_at(s, i)->number) == 1;
        return http_side(s, conn, letter == 'W' ? winner : 1 - winner);
    case 'a':
    case 'b': return http_side(s, conn, letter == 'b');
    case 'n': return persona_at(s, http_persona(s, conn))->name;
    case 'o': return result_at(s, i)->name[1 - own_side(s, conn, i)];
    default: return NULL;
    }
}

/* Writes the value that a letter stands for. */
static void http_value(const struct nascar *s, uint32_t c, struct outgoing *f, char letter)
{
    const struct conn *conn = conn_at(s, c);
    const struct http *at = &conn->http;
    enum http_type type = (enum http_type)http_pages[at->page].type;
    const char *name = http_name(s, conn, letter), *text = "";
    char line[NEWS_CHARS + 1];
    if (name) {
        put_persona(f, name, type);
        return;
    }
    switch (letter) {
    case 'A':
        write_address(line, server_address(s, endpoint_of(conn_at(s, c))));
        text = line;
        break;
    case 'F': put_metric_name(f, (enum metric)at->item); return;
    case 'G': text = metric_name((enum metric)at->item); break;
    case 'H': text = metric_kinds[at->item] == COUNTER ? "counter" : "gauge"; break;
    case 'I': put_metric_value(f, s, (enum metric)at->item); return;
    case 'N': text = persona_at(s, conn->list_of)->name; break;
    case 'S':
    case 's': put_page_date(f, s->since_s, letter == 'S'); return;
    case 'T':
    case 't': put_page_date(f, http_date_s(s, at), letter == 'T'); return;
    case 'd': text = doing(s, http_player(s, conn)); break;
    case 'r': text = room_at(s, at->item)->name; break;
    case 'v': text = NASCAR_VERSION; break;
    case 'w': text = whereabouts(s, http_player(s, conn)); break;
    case 'x':
        text = news_text(s) + at->item;
        copy_text(line, strcspn(text, "\n") + 1, text);
        text = line;
        break;
    default: put_decimal(f, (int64_t)http_number(s, conn, letter)); return;
    }
    put_escaped(f, text, type);
}

/* Behind the mark that ends the block in which this is. */
static const char *block_end(const char *text)
{
    for (int depth = 1; depth > 0; text += text[0] == '$' ? 2 : 1)
        if (text[0] == '$')
            depth += text[1] == ')' || text[1] == '.' ? -1 : strchr("(?!", text[1]) ? 1 : 0;
    return text;
}

/* The mark that begins the block which ends here. */
static const char *block_begin(const char *text)
{
    for (int depth = 1; depth > 0;)
        if (*--text == '$')
            depth += text[1] == ')' || text[1] == '.' ? 1 : strchr("(?!", text[1]) ? -1 : 0;
    return text;
}

/* Goes on to the list's next thing from this number on; false if there is none. */
static bool list_to(struct nascar *s, struct conn *conn, char list, uint32_t from)
{
    uint32_t i = http_next(s, conn, list, from);
    conn->http.list = (uint8_t)(i == NONE ? 0 : list);
    *(list == 'M' ? &conn->http.inner : &conn->http.item) = i == NONE && list == 'M' ? 0 : i;
    if (i != NONE && (list == 'Q' || list == 'O'))
        conn->http.inner = result_at(s, i)->number[RESULT_ID];
    if (i != NONE && list == 'O')
        conn->http.left = count_rival(s, i, own_side(s, conn, i), NONE);
    return i != NONE;
}

/* What stands at a mark. Returns where it goes on. */
static const char *http_mark(struct nascar *s, uint32_t c, struct outgoing *f, const char *text)
{
    struct conn *conn = conn_at(s, c);
    char mark = text[1], list = text[2];
    const char *begin;
    switch (mark) {
    case '(': return list_to(s, conn, list, 0) ? text + 3 : block_end(text + 3);
    case '?':
    case '!': return (http_next(s, conn, list, 0) != NONE) == (mark == '?') ? text + 3 : block_end(text + 3);
    case ')':
        begin = block_begin(text);
        list = begin[2];
        if (!list_to(s, conn, list, (list == 'M' ? conn->http.inner : conn->http.item) + 1))
            return text + 2;
        put_chars(f, begin[3] == '$' && begin[4] == ',' ? "," : ""); /* not before, as the list may change meanwhile */
        return begin + 3;
    case ',':
    case '.': return text + 2;
    default: http_value(s, c, f, mark); return text + 2;
    }
}

/* A chunk of the answer has room for its size in front: 4 hex digits and CR LF. */
#define CHUNK_HEAD 6u
#define CHUNK_BYTES 400u /* a cut is looked for behind so many, so that all between two cuts fits into a frame */

/* The answer is over: the connection waits for the next request, or ends. */
static void http_done(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    conn->behind = false;
    conn->http.item = 0;
    if (!conn->http.closes || conn->deaf) /* else it ends when all is written */
        timer_start(s, conn_timer(c, T_PHASE), conn->deaf ? Q_LINGER : Q_HTTP);
}

/* Writes the next part of an answer. */
static void send_http_part(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    struct outgoing *f = &s->frame;
    const char *text = (const char *)&http_texts + conn->listed;
    char size[2 * sizeof(uint16_t) + 1];
    bool cut = false;
    for (f->size = CHUNK_HEAD; *text && !cut;) {
        if (*text == '$')
            text = http_mark(s, c, f, text);
        else
            put_byte(f, (uint8_t)*text++);
        cut = f->size >= CHUNK_BYTES && (text[-1] == '\n' || (text[0] == '$' && text[1] == ')'));
    }
    conn->listed = (uint32_t)(text - (const char *)&http_texts);
    uint32_t head = conn->http.chunked ? 0 : CHUNK_HEAD, filled = f->size - CHUNK_HEAD;
    const uint8_t number[2] = {(uint8_t)(filled >> 8), (uint8_t)filled};
    write_hex(size, number, 2);
    memcpy(f->bytes, size, 4);
    memcpy(f->bytes + 4, "\r\n", 2);
    if (conn->http.chunked)
        put_chars(f, *text || filled == 0 ? "\r\n" : "\r\n0\r\n\r\n");
    conn_write(s, c, f->bytes + head, f->size - head);
    if (!*text)
        http_done(s, c);
}

static void pump_http(struct nascar *s, uint32_t c)
{
    const struct conn *conn = conn_at(s, c);
    uint8_t page = conn->http.page;
    if ((page == PAGE_PLAYER || page == PAGE_API_PLAYER) && !is_live(s, &s->personas, conn->list_of))
        conn_doom(s, c, "the page's persona is gone");
    while (conn->behind && !conn->closing && outbox_free(conn) >= REPLY_BYTES)
        send_http_part(s, c);
}

/* ==== 8. The machine ====================================================== */

/* ---- Input: whose connection it is ---------------------------------------- */

/* The entry of an address, made if there is none; NONE if there are too many. */
static uint32_t address_take(struct nascar *s, uint32_t ipv4)
{
    uint32_t i = find_address(s, ipv4);
    if (i != NONE)
        return i;
    i = pool_take(s, &s->addresses);
    if (i == NONE)
        return NONE;
    address_at(s, i)->ipv4 = ipv4;
    address_at(s, i)->window_ms = s->now_ms;
    index_add(s, &s->address_numbers, hash_numbers(s, ipv4, 0), i);
    return i;
}

/* Is it none of a console's, and so not among those that its address may have? */
static bool counts_for_nobody(const struct conn *conn)
{
    return conn->state == CONN_CONTROL || conn->state == CONN_HTTP;
}

/* Frees an entry that has no connection and nothing to remember. */
static void address_release(struct nascar *s, uint32_t i)
{
    const struct address *a = address_at(s, i);
    if (a->connections > 0 || timer_at(s, s->address_timers + i)->queue != Q_NONE)
        return;
    index_remove(s, &s->address_numbers, hash_numbers(s, a->ipv4, 0), i);
    pool_give(s, &s->addresses, i);
}

static void address_forget(struct nascar *s, uint32_t i)
{
    struct address *a = address_at(s, i);
    timer_stop(s, s->address_timers + i);
    a->failed = a->tries = a->created = a->unlogged = 0;
    address_release(s, i);
}

/* The entry for a connection's address. One that is only remembered makes room
 * for it. */
static uint32_t address_for_conn(struct nascar *s, uint32_t ipv4)
{
    uint32_t i = address_take(s, ipv4);
    while (i == NONE) { /* there are more entries than connections, so one of them is not in use */
        address_forget(s, list_first(&s->queue[Q_ADDRESS]) - s->address_timers);
        i = address_take(s, ipv4);
    }
    return i;
}

/* There are as many connections from its address as there may be. */
static void conn_refuse(struct nascar *s, uint32_t c)
{
    s->metrics[METRIC_connections_refused_address]++;
    conn_doom(s, c, "too many from this address");
}

/* A new connection may be one too many for its address. Then it takes the place of a dead
 * one: a router that has lost its power leaves all of those of a clan behind. */
static void conn_find_room(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    const struct address *a = address_at(s, conn->address);
    uint32_t dead;
    while (open_connections(a) > s->config.per_address && (dead = find_dead(s, a)) != NONE)
        conn_doom(s, dead, "silent, and a new one from its address takes its place");
    conn->spare = open_connections(a) > s->config.per_address;
    if (open_connections(a) > s->config.per_address + DIRECTORY_SPARE)
        conn_refuse(s, c);
}

/* From here on it is known whose connection this is, and what goes by address begins. */
static void conn_peer_known(struct nascar *s, uint32_t c)
{
    const struct conn *conn = conn_at(s, c);
    log_end(s, log_begin_conn(s, come_and_go(conn), "connect", c));
    if (has_limits(s, conn))
        conn_find_room(s, c);
}

/* A proxy has said whose connection this is, or that it is its own. */
static void conn_named(struct nascar *s, uint32_t c, const struct proxy_header *header)
{
    struct conn *conn = conn_at(s, c);
    conn_become(s, conn, CONN_NEW);
    if (header->destination)
        conn->local = header->destination;
    if (header->source && header->source != conn->peer) {
        conn_unlist(s, c);
        address_at(s, conn->address)->connections--;
        address_release(s, conn->address);
        conn->peer = header->source;
        conn->of_proxy = false;
        conn->address = address_for_conn(s, conn->peer);
        address_at(s, conn->address)->connections++;
        conn_heard(s, c);
    }
    conn_peer_known(s, c);
}

/* ---- Input: from bytes to commands --------------------------------------- */

/* How much a full bucket holds, in thousandths of a token. */
static uint64_t bucket_milli(const struct nascar *s)
{
    return (uint64_t)s->config.rate * BURST_MS;
}

/* What a command costs, in thousandths of a token; never more than what comes
 * in within a second. */
static uint64_t price_milli(const struct nascar *s, uint32_t cost)
{
    return min_u32(cost, s->config.rate) * UINT64_C(1000);
}

static void refill_bucket(const struct nascar *s, struct conn *conn)
{
    uint64_t full = bucket_milli(s), elapsed_ms = s->now_ms - conn->tokens_at_ms;
    conn->tokens_at_ms = s->now_ms;
    conn->tokens_milli += (elapsed_ms < BURST_MS ? elapsed_ms : BURST_MS) * s->config.rate;
    if (conn->tokens_milli > full)
        conn->tokens_milli = full;
}

/* Has the connection tokens for this? Else it goes on when it may have them. */
static bool can_pay(struct nascar *s, uint32_t c, uint64_t price)
{
    struct conn *conn = conn_at(s, c);
    refill_bucket(s, conn);
    if (conn->tokens_milli >= price)
        return true;
    s->metrics[METRIC_requests_throttled]++;
    timer_start(s, conn_timer(c, T_THROTTLE), Q_THROTTLE);
    return false;
}

static void refuse_unknown(struct request *q)
{
    q->s->metrics[METRIC_frames_unknown]++;
    if (q->conn->unknown_kinds == 0) { /* once only, so that nobody floods the log */
        uint32_t line = log_begin_conn(q->s, NASCAR_LOG_WARN, "unknown_kind", q->c);
        log_text(q->s, "kind", q->kind);
        log_end(q->s, line);
    }
    reply(q, MISSING);
    if (++q->conn->unknown_kinds >= UNKNOWN_KINDS)
        conn_doom(q->s, q->c, "unknown kinds");
}

/* The first whole frame decides which service a connection wants. What is
 * neither the directory's nor the buddy service's is the lobby's. */
static void become_lobby(struct nascar *s, uint32_t c)
{
    conn_become(s, conn_at(s, c), CONN_LOBBY);
    timer_start(s, conn_timer(c, T_PHASE), Q_LOGIN);
    timer_start(s, conn_timer(c, T_IDLE), Q_IDLE);
}

/* Handles one request. Returns false if it has stalled, and is to be tried again. */
static bool dispatch(struct request *q)
{
    const struct command *command = q->command;
    enum failure failure;
    bool other_service = command && (command->states & FIRST) && !(command->states & IN(CONN_LOBBY));
    if (q->conn->state == CONN_NEW && !(command && command->start == do_directory) && q->conn->spare) {
        conn_refuse(q->s, q->c);
        return true;
    }
    if (q->conn->state == CONN_NEW && !other_service)
        become_lobby(q->s, q->c);
    if (!command) {
        refuse_unknown(q);
        return true;
    }
    if (q->p && command->start != do_ping)
        q->p->acted_ms = q->s->mono_ms;
    bool refused = q->conn->refused && command->start == do_pers;
    q->conn->refused = q->conn->refused && command->start == do_ping;
    failure = (command->states & IN(q->conn->state)) && !refused ? command->start(q) : NO_SESSION;
    if (failure == STALL)
        return false;
    if (failure)
        reply(q, failure);
    return true;
}

/* The request that stands first in the inbox, of which `frame` is the frame. */
static struct request request_read(struct nascar *s, uint32_t c, const struct frame *frame)
{
    struct conn *conn = conn_at(s, c);
    const struct inbox *box = inbox_at(s, conn->inbox);
    struct request q = {.s = s, .c = c, .conn = conn, .command = find_command(frame->kind)};
    memcpy(q.kind, frame->kind, 4);
    q.payload = box->bytes + HEADER_BYTES;
    q.size = payload_size(q.payload, frame->size - HEADER_BYTES);
    request_player(&q);
    return q;
}

/* Takes bytes out of the inbox, and wipes them, as they may have held a password. */
static void inbox_cut(struct nascar *s, uint32_t c, uint32_t at, uint32_t size)
{
    struct conn *conn = conn_at(s, c);
    struct inbox *box = inbox_at(s, conn->inbox);
    conn->in_size -= size;
    memmove(box->bytes + at, box->bytes + at + size, conn->in_size - at);
    wipe(box->bytes + conn->in_size, size);
    if (conn->in_size == 0) {
        pool_give(s, &s->inboxes, conn->inbox);
        conn->inbox = NONE;
    }
}

/* Drops the first frame of the inbox. */
static void inbox_drop_frame(struct nascar *s, uint32_t c, uint32_t size)
{
    inbox_cut(s, c, 0, size);
    if (timer_at(s, conn_timer(c, T_IDLE))->queue != Q_NONE)
        timer_start(s, conn_timer(c, T_IDLE), Q_IDLE);
}

/* Says how input begins that cannot be read, or why there is none. */
static void log_broken(struct nascar *s, uint32_t c, const char *event, const char *reason)
{
    char hex[2 * HEADER_BYTES + 1] = "";
    const struct conn *conn = conn_at(s, c);
    s->metrics[METRIC_frames_broken]++;
    uint32_t line = log_begin_conn(s, NASCAR_LOG_WARN, event, c);
    if (conn->inbox != NONE)
        write_hex(hex, inbox_at(s, conn->inbox)->bytes, min_u32(conn->in_size, HEADER_BYTES));
    if (reason[0])
        log_text(s, "reason", reason);
    log_text(s, "starts", hex);
    log_end(s, line);
}

/* Takes the header that names whose connection it is. Returns false if it is not all
 * there yet, or is none. */
static bool take_proxy_header(struct nascar *s, uint32_t c)
{
    const struct conn *conn = conn_at(s, c);
    struct proxy_header header;
    enum frame_state state = read_proxy_header(inbox_at(s, conn->inbox)->bytes, conn->in_size, &header);
    if (state == FRAME_BROKEN) {
        log_broken(s, c, "bad_proxy_header", header.broken);
        conn_doom(s, c, "bad PROXY header");
    } else if (state == FRAME_WHOLE) {
        inbox_drop_frame(s, c, header.size);
        conn_named(s, c, &header);
    }
    settle(s);
    return state == FRAME_WHOLE;
}

/* Its next frame is tried again later. */
static void conn_stall(struct nascar *s, uint32_t c)
{
    s->metrics[METRIC_requests_stalled]++;
    mark_stalled(s, c);
}

/* ---- HTTP: requests (RFC 9110 and 9112) -------------------------------------- */

#define HTTP_HEAD_BYTES 16384u /* of a request. Only what matters to us is kept of it, and that fits into the inbox */
#define HTTP_PER_ADDRESS 16u   /* connections */
#define HTTP_COST 2u           /* tokens that a request takes */

enum http_status {
    HTTP_OK,
    HTTP_NOT_MODIFIED,
    HTTP_BAD_REQUEST,
    HTTP_NOT_FOUND,
    HTTP_NOT_ALLOWED,
    HTTP_LONG_TARGET,
    HTTP_LONG_HEAD,
    HTTP_NOT_IMPLEMENTED,
    HTTP_NOT_WELL,
    HTTP_OTHER_VERSION
};

static const char http_statuses[] = "200 OK\0"
                                    "304 Not Modified\0"
                                    "400 Bad Request\0"
                                    "404 Not Found\0"
                                    "405 Method Not Allowed\0"
                                    "414 URI Too Long\0"
                                    "431 Request Header Fields Too Large\0"
                                    "501 Not Implemented\0"
                                    "503 Service Unavailable\0"
                                    "505 HTTP Version Not Supported";

/* The fields of a head that matter to us. */
static const char http_fields[] = "host connection content-length transfer-encoding if-none-match";
enum { FIELD_MALFORMED = -2, FIELD_OTHER, FIELD_HOST, FIELD_CONNECTION, FIELD_LENGTH, FIELD_ENCODING, FIELD_MATCH };

struct http_request {
    enum http_status status;
    bool head;         /* its method is HEAD */
    bool old;          /* it is of version 1.0 */
    bool closes, body; /* it is the last one; something follows it that is to be passed over */
    uint32_t hosts;    /* fields Host that it has */
    const char *match; /* what If-None-Match has; NULL: there is none */
    enum http_page page;
    uint32_t about, rows; /* the page's persona; or the first row of the leaderboard, and how many */
};

/* Somebody comes to look at the page. Of so many who may be there at once, one who asks for
 * nothing now makes room. */
static void http_opened(struct nascar *s, uint32_t c)
{
    const struct conn *conn = conn_at(s, c);
    uint32_t same = 0, first = list_first(&s->queue[Q_HTTP]);
    log_end(s, log_begin_conn(s, come_and_go(conn), "connect", c));
    for (uint32_t i = list_first(&address_at(s, conn->address)->heard); i != NONE; i = list_next(s, ADDRESS_CONNS, i))
        same += conn_at(s, i)->state == CONN_HTTP && conn_at(s, i)->peer == conn->peer;
    if (same > HTTP_PER_ADDRESS && has_limits(s, conn))
        conn_refuse(s, c);
    else if (s->metrics[METRIC_connections_http] > NASCAR_HTTP_CONNECTIONS)
        conn_doom(s, first / CONN_TIMERS, "another one takes its place");
}

static bool is_token(uint8_t c)
{
    return is_letter(c) || is_digit(c) || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Which field this line of a head is. */
static int field_of(const uint8_t *line, uint32_t size)
{
    char name[24] = "";
    uint32_t n = 0;
    for (; n < size && is_token(line[n]); n++)
        if (n < sizeof name - 1)
            name[n] = (char)lower(line[n]);
    if (n == 0 || n == size || line[n] != ':')
        return FIELD_MALFORMED;
    for (uint32_t i = n; i < size; i++)
        if ((line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
            return FIELD_MALFORMED;
    return word_index(http_fields, name) + FIELD_HOST;
}

/* Takes out of the head that stands first in the inbox what does not matter to us: so
 * the cookies of others do not fill it. Returns the size of what is left, or 0 if the
 * head is not all there. */
static uint32_t http_head(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    const uint8_t *bytes = inbox_at(s, conn->inbox)->bytes, *end;
    uint32_t at = 0;
    while (at < conn->in_size && (end = memchr(bytes + at, '\n', conn->in_size - at)) != NULL) {
        uint32_t size = (uint32_t)(end - bytes) - at, chars = size - (size > 0 && end[-1] == '\r');
        if (at > 0 && chars == 0)
            return at + size + 1;
        if (at > 0 ? field_of(bytes + at, chars) == FIELD_OTHER : chars == 0) {
            conn->http.item += size + 1;
            inbox_cut(s, c, at, size + 1);
        } else {
            at += size + 1;
        }
    }
    if (at > 0 && conn->in_size == INBOX_BYTES && field_of(bytes + at, INBOX_BYTES - at) == FIELD_OTHER) {
        while (bytes[at++] != ':')
            continue;
        conn->http.item += INBOX_BYTES - at;
        inbox_cut(s, c, at, INBOX_BYTES - at);
    }
    return 0;
}

/* Takes the next line off a text. */
static char *take_http_line(char **text)
{
    char *line = *text, *end = strchr(line, '\n');
    *text = end + 1;
    end[-(end > line && end[-1] == '\r')] = 0;
    return line;
}

/* Cuts a text at its first character of this kind, and returns what is behind it: "" if there is none. */
static char *cut_at(char *text, char end)
{
    char *at = strchr(text, end);
    if (!at)
        return text + strlen(text);
    *at = 0;
    return at + 1;
}

/* Undoes %xx; false if that is no text. */
static bool percent_decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        uint8_t c = (uint8_t)*in;
        if (c == '%') {
            int high = hex_value((uint8_t)in[1]), low = high < 0 ? -1 : hex_value((uint8_t)in[2]);
            if (low < 0 || high + low == 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            in += 2;
        }
        *out++ = (char)c;
    }
    *out = 0;
    return true;
}

/* Which rows of the leaderboard are wanted. */
static enum http_status read_query(struct http_request *r, char *query)
{
    for (char *next; *query; query = next) {
        next = cut_at(query, '&');
        const char *value = cut_at(query, '=');
        bool start = strcmp(query, "start") == 0, count = strcmp(query, "count") == 0;
        if ((start && !parse_number(value, 1, 999999999, &r->about)) ||
            (count && !parse_number(value, 1, ROWS_ASKED, &r->rows)))
            return HTTP_BAD_REQUEST;
    }
    return HTTP_OK;
}

/* Finds what is asked for. */
static enum http_status read_target(const struct nascar *s, struct http_request *r, char *target)
{
    char *query, scheme[8];
    r->about = 1;
    copy_text(scheme, sizeof scheme, target);
    if (same_name(scheme, "http://")) /* a whole address, as for a proxy */
        target += 7 + strcspn(target + 7, "/?");
    else if (*target != '/')
        return HTTP_BAD_REQUEST;
    query = cut_at(target, '?');
    if (!percent_decode(target))
        return HTTP_BAD_REQUEST;
    for (r->page = 0; r->page < PAGES; r->page++) {
        const char *path = http_pages[r->page].path;
        size_t n = strlen(path);
        if (n > 1 && path[n - 1] == '/' && strncmp(target, path, n) == 0) {
            r->about = strlen(target + n) > PERSONA_CHARS ? NONE : find_persona(s, target + n);
            return r->about == NONE ? HTTP_NOT_FOUND : HTTP_OK;
        }
        if (strcmp(*target ? target : "/", path) == 0)
            break;
    }
    r->rows = r->page == PAGE_MAIN ? 20 : 50;
    return r->page == PAGES ? HTTP_NOT_FOUND : r->page == PAGE_LEADERBOARD ? read_query(r, query) : HTTP_OK;
}

static enum http_status read_request_line(const struct nascar *s, struct http_request *r, char *line)
{
    char *target = cut_at(line, ' '), *version = cut_at(target, ' ');
    for (const char *at = target; *at; at++)
        if ((uint8_t)*at < 0x21 || (uint8_t)*at > 0x7e)
            return HTTP_BAD_REQUEST;
    for (const char *at = line; *at; at++)
        if (!is_token((uint8_t)*at))
            return HTTP_BAD_REQUEST;
    if (!*line || !*target || strncmp(version, "HTTP/", 5) != 0 || !is_digit((uint8_t)version[5]) ||
        version[6] != '.' || !is_digit((uint8_t)version[7]) || version[8])
        return HTTP_BAD_REQUEST;
    r->old = version[7] == '0';
    if (version[5] != '1')
        return HTTP_OTHER_VERSION;
    r->head = strcmp(line, "HEAD") == 0;
    if (!r->head && strcmp(line, "GET") != 0)
        return word_index("POST PUT DELETE CONNECT OPTIONS TRACE PATCH", line) < 0 ? HTTP_NOT_IMPLEMENTED
                                                                                   : HTTP_NOT_ALLOWED;
    return read_target(s, r, target);
}

/* Does a list with commas have this word, in whatever case? */
static bool has_word(char *list, const char *word)
{
    bool found = false;
    for (char *next; *list && !found; list = next) {
        next = cut_at(list, ',');
        list += strspn(list, " \t");
        list[strcspn(list, " \t")] = 0;
        found = same_name(list, word);
    }
    return found;
}

static void read_field(struct http_request *r, char *line)
{
    int field = field_of((const uint8_t *)line, (uint32_t)strlen(line));
    char *value = cut_at(line, ':');
    value += strspn(value, " \t");
    switch (field) {
    case FIELD_HOST:
        r->hosts++;
        value += strcspn(value, " \t/?#@\\");
        if (value[strspn(value, " \t")])
            r->status = HTTP_BAD_REQUEST;
        break;
    case FIELD_CONNECTION: r->closes = r->closes || has_word(value, "close"); break;
    case FIELD_LENGTH:
        r->body = r->body || strspn(value, "0") != strcspn(value, " \t");
        if (strspn(value, "0123456789") != strcspn(value, " \t") || !is_digit((uint8_t)*value))
            r->status = HTTP_BAD_REQUEST;
        break;
    case FIELD_ENCODING:
        r->body = true;
        if (!has_word(value, "chunked")) /* it has no end */
            r->status = HTTP_BAD_REQUEST;
        break;
    case FIELD_MATCH: r->match = value; break;
    default: r->status = HTTP_BAD_REQUEST; break;
    }
}

/* Reads a whole head, which is a copy, so that it can be cut up. */
static void read_head(const struct nascar *s, struct http_request *r, char *text, uint32_t size)
{
    char *line;
    r->status = memchr(text, 0, size) ? HTTP_BAD_REQUEST : HTTP_OK;
    if (r->status)
        return;
    line = take_http_line(&text);
    enum http_status status = read_request_line(s, r, line);
    while (*(line = take_http_line(&text)))
        read_field(r, line);
    if (r->hosts > 1 || (r->hosts == 0 && !r->old))
        r->status = HTTP_BAD_REQUEST;
    if (r->status == HTTP_OK || status == HTTP_OTHER_VERSION)
        r->status = status;
}

/* What a page shows has this mark, until it shows something else. */
static void write_etag(const struct nascar *s, enum http_page page, char out[24])
{
    uint8_t of[12] = {0}, mark[8];
    if (http_pages[page].type <= AS_JSON) {
        store_be32(of, (uint32_t)(s->seq >> 32));
        store_be32(of + 4, (uint32_t)s->seq);
        store_be32(of + 8, (uint32_t)(s->told[NASCAR_UPTIME_S] / 60));
    }
    uint64_t hash = siphash(s->hash_key, of, sizeof of);
    store_be32(mark, (uint32_t)(hash >> 32));
    store_be32(mark + 4, (uint32_t)hash);
    out[0] = '"';
    write_hex(out + 1, mark, sizeof mark);
    append_text(out, 24, "\"");
}

/* Does a list of marks have this one? Or any, by a star? */
static bool has_etag(const char *list, const char *etag)
{
    size_t n = strlen(etag);
    bool found = strcmp(list, "*") == 0;
    for (; *list && !found; list++)
        found = strncmp(list, etag, n) == 0;
    return found;
}

/* A date as HTTP has it. */
static void put_http_date(struct outgoing *f, int64_t date_s)
{
    char text[20];
    struct date d = date_of_day(date_s / 86400);
    write_date(text, date_s);
    text[10] = 0;
    put_chars(f, nth_text("Thu\0Fri\0Sat\0Sun\0Mon\0Tue\0Wed", (uint32_t)(date_s / 86400 % 7)));
    put_chars(f, ", ");
    put_chars(f, text + 8);
    put_byte(f, ' ');
    put_chars(f, nth_text("Jan\0Feb\0Mar\0Apr\0May\0Jun\0Jul\0Aug\0Sep\0Oct\0Nov\0Dec", (uint32_t)d.month - 1));
    put_byte(f, ' ');
    text[4] = 0;
    put_chars(f, text);
    put_byte(f, ' ');
    put_chars(f, text + 11);
    put_chars(f, " GMT");
}

/* What each answer has. Scripts and styles come from here alone, so that nothing that
 * somebody is called can become one. */
static const char http_safety[] =
    "\r\nCache-Control: no-cache\r\nContent-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n";

/* Answers a request: all of it, or the head, behind which the page is written as the
 * outbox drains. */
static void http_respond(struct nascar *s, uint32_t c, const struct http_request *r)
{
    struct conn *conn = conn_at(s, c);
    struct outgoing *f = &s->frame;
    char etag[24];
    bool shows = r->status == HTTP_OK || r->status == HTTP_NOT_WELL, none = r->status == HTTP_NOT_MODIFIED;
    const char *status = nth_text(http_statuses, r->status);
    f->size = 0;
    put_chars(f, "HTTP/1.1 ");
    put_chars(f, status);
    put_chars(f, "\r\nDate: ");
    put_http_date(f, s->wall_s);
    put_chars(f, http_safety);
    if ((shows || none) && http_pages[r->page].type != AS_TEXT) {
        write_etag(s, r->page, etag);
        put_chars(f, "ETag: W/");
        put_chars(f, etag);
        put_chars(f, "\r\n");
    }
    put_chars(f, r->status == HTTP_NOT_ALLOWED ? "Allow: GET, HEAD\r\n" : "");
    put_chars(f, conn->http.closes ? "Connection: close\r\n" : "");
    if (!none) {
        put_chars(f, "Content-Type: ");
        put_chars(f, nth_text(http_types, shows ? http_pages[r->page].type : AS_TEXT));
        put_chars(f, "; charset=utf-8\r\n");
    }
    put_chars(f, shows && conn->http.chunked ? "Transfer-Encoding: chunked\r\n" : "");
    if (!shows && !none) {
        put_chars(f, "Content-Length: ");
        put_decimal(f, (int64_t)strlen(status) + 1);
        put_chars(f, "\r\n");
    }
    put_chars(f, "\r\n");
    if (!shows && !none && !r->head) {
        put_chars(f, status);
        put_byte(f, '\n');
    }
    conn_write(s, c, f->bytes, f->size);
    conn->behind = shows && !r->head;
    if (conn->behind && r->page == PAGE_HEALTH)
        send_http_part(s, c); /* there is room, and later it may say something else than the status */
    if (!conn->behind)
        http_done(s, c);
}

/* Answers the request whose head stands in the inbox, or is too long for it. */
static void http_answer(struct nascar *s, uint32_t c, enum http_status status, uint32_t size)
{
    struct conn *conn = conn_at(s, c);
    struct http_request r;
    char head[INBOX_BYTES + 1], etag[24];
    memset(&r, 0, sizeof r);
    r.status = status;
    if (status == HTTP_OK) {
        memcpy(head, inbox_at(s, conn->inbox)->bytes, size);
        head[size] = 0;
        read_head(s, &r, head, size);
        inbox_drop_frame(s, c, size);
    }
    if (r.status == HTTP_OK) {
        write_etag(s, r.page, etag);
        if (r.match && http_pages[r.page].type != AS_TEXT && has_etag(r.match, etag))
            r.status = HTTP_NOT_MODIFIED;
        if (r.page == PAGE_HEALTH && (s->told[NASCAR_JOURNAL_FAILING] || s->told[NASCAR_HELPER_FAILING]))
            r.status = HTTP_NOT_WELL;
    }
    bool broken = r.status == HTTP_BAD_REQUEST || (r.status >= HTTP_LONG_TARGET && r.status != HTTP_NOT_WELL);
    bool framed = !r.old || (r.status != HTTP_OK && r.status != HTTP_NOT_WELL);
    s->metrics[METRIC_http_requests]++;
    timer_stop(s, conn_timer(c, T_PHASE));
    conn->listed = http_pages[r.page % PAGES].text;
    conn->list_of = r.about;
    conn->http = (struct http){.left = r.rows, .page = (uint8_t)r.page, .chunked = !r.old};
    conn->http.closes = r.closes || r.old || r.body || broken;
    conn->deaf =
        framed && (r.body || broken); /* or it might not get the answer, for what it sends behind its request */
    http_respond(s, c, &r);
}

/* Answers the requests of a connection until there is none that is whole, or one has to wait. */
static void http_run(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    while (!conn->closing && !conn->behind && conn->inbox != NONE) {
        if (conn->http.closes) {
            inbox_drop_frame(s, c, conn->in_size);
            return;
        }
        uint32_t size = http_head(s, c);
        if (conn->inbox == NONE)
            return;
        const uint8_t *bytes = inbox_at(s, conn->inbox)->bytes;
        bool full = conn->in_size == INBOX_BYTES,
             long_head = conn->http.item + (size ? size : conn->in_size) > HTTP_HEAD_BYTES;
        if (size == 0 && !full && !long_head)
            return;
        if (outbox_free(conn) < REPLY_BYTES || !can_pay(s, c, price_milli(s, HTTP_COST)))
            return;
        conn->tokens_milli -= price_milli(s, HTTP_COST);
        bool line = memchr(bytes, '\n', conn->in_size) != NULL;
        http_answer(s, c, size > 0 && !long_head ? HTTP_OK : line ? HTTP_LONG_HEAD : HTTP_LONG_TARGET, size);
        pump(s, c);
    }
}

/* Handles the frames of a connection until there is none, or one has to wait. */
static void conn_run(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    if (conn->state == CONN_HTTP)
        http_run(s, c);
    while (!conn->closing && conn->wait == WAIT_NONE && conn->inbox != NONE && conn->state != CONN_HTTP) {
        struct frame frame;
        if (conn->state == CONN_UNNAMED && !take_proxy_header(s, c))
            return;
        if (conn->closing || conn->inbox == NONE)
            return;
        const struct inbox *box = inbox_at(s, conn->inbox);
        /* A console is told what happened before its request, and then its
         * answer. On a buddy link it is the other way round: of two RGETs in
         * one segment, both are answered before what they bring. */
        if (conn->state != CONN_BUDDY)
            pump(s, c);
        enum frame_state state = read_frame(box->bytes, conn->in_size, &frame);
        if (state == FRAME_BROKEN) {
            log_broken(s, c, "broken_frame", "");
            conn_doom(s, c, "broken frame");
            settle(s);
        }
        if (state != FRAME_WHOLE || outbox_free(conn) < REPLY_BYTES)
            return; /* it goes on with more input, or when the outbox has drained */
        if (s->entropy_size < STEP_ENTROPY || s->record_count == RECORDS || s->job_count == RECORDS) {
            conn_stall(s, c);
            return;
        }
        struct request q = request_read(s, c, &frame);
        uint64_t price = price_milli(s, q.command ? q.command->cost : UNKNOWN_COST);
        if (!can_pay(s, c, price))
            return;
        if (conn->state == CONN_NEW)
            timer_stop(s, conn_timer(c, T_PHASE));
        bool done = dispatch(&q);
        settle(s);
        if (!done) {
            conn_stall(s, c);
            return;
        }
        s->metrics[METRIC_frames_in]++;
        conn->tokens_milli -= price;
        if (conn->wait == WAIT_NONE)
            inbox_drop_frame(s, c, frame.size);
    }
}

/* Everybody whose frame had to wait tries again, once. */
static void retry_stalled(struct nascar *s)
{
    uint32_t last = list_last(s, STALLED_CONNS, &s->stalled), c;
    s->retry = false;
    if (last == NONE)
        return;
    do {
        c = list_take_first(s, STALLED_CONNS, &s->stalled);
        conn_run(s, c);
    } while (c != last);
}

/* Does connection c wait for this, with this receipt? */
static bool is_awaited(const struct nascar *s, uint32_t c, uint32_t receipt, enum wait wait)
{
    if (c >= s->conns.capacity)
        return false;
    const struct conn *conn = conn_at(s, c);
    return conn->state != CONN_FREE && !conn->closing && conn->wait == wait && conn->receipt == receipt;
}

/* The request that a connection waited with, which stands in its inbox still. */
static struct request request_resume(struct nascar *s, uint32_t c, struct frame *frame)
{
    const struct conn *conn = conn_at(s, c);
    conn_wait_over(s, c);
    (void)read_frame(inbox_at(s, conn->inbox)->bytes, conn->in_size, frame);
    return request_read(s, c, frame);
}

/* Its command has gone on, and may wait again; else the frames behind it follow. */
static void request_finish(struct request *q, const struct frame *frame, enum failure failure)
{
    if (failure)
        reply(q, failure);
    settle(q->s);
    if (q->conn->wait == WAIT_NONE)
        inbox_drop_frame(q->s, q->c, frame->size);
    conn_run(q->s, q->c);
}

/* ---- Events -------------------------------------------------------------- */

/* Empties a connection. It may stay in the lists of those with output and of those
 * who wait, which pass it by in their time. */
static void conn_reset(struct conn *conn)
{
    memset(conn, 0, sizeof *conn);
    conn->inbox = conn->outbox = conn->player = conn->buddy = conn->checking = NONE;
}

static void conn_opened(struct nascar *s, const struct nascar_event *e)
{
    uint32_t c = e->conn;
    struct conn *conn = conn_at(s, c);
    if (conn->state != CONN_FREE)
        return;
    if (c >= s->conns.high)
        s->conns.high = c + 1;
    conn_reset(conn);
    bool http = e->type == NASCAR_OPENED && e->service == NASCAR_SERVICE_HTTP;
    conn->state = e->type == NASCAR_CONTROL ? CONN_CONTROL : http ? CONN_HTTP : CONN_NEW;
    s->metrics[conn_metric(conn)]++;
    s->metrics[METRIC_connections_opened]++;
    conn->peer = e->peer;
    conn->local = e->local;
    if (!http)
        conn->wants.mesgs = 1; /* PROTOCOL 3.2: only MESGS=0, given, mutes */
    conn->tokens_milli = bucket_milli(s);
    conn->tokens_at_ms = s->now_ms;
    conn->of_proxy = e->type == NASCAR_OPENED && in_networks(&s->config.proxies, e->peer);
    conn->address = address_for_conn(s, conn->of_proxy || counts_for_nobody(conn) ? NOBODY : e->peer);
    s->conn_count++;
    address_at(s, conn->address)->connections++;
    if (e->type == NASCAR_CONTROL) { /* there are few places for the operator, and none for who says nothing */
        timer_start(s, conn_timer(c, T_IDLE), Q_IDLE);
        return;
    }
    conn_heard(s, c);
    timer_start(s, conn_timer(c, T_PHASE), http ? Q_HTTP : Q_FIRST_FRAME);
    if (http)
        http_opened(s, c);
    else if (conn->of_proxy)
        conn_become(s, conn, CONN_UNNAMED);
    else
        conn_peer_known(s, c);
}

static void conn_bytes(struct nascar *s, uint32_t c, const uint8_t *bytes, uint32_t size)
{
    struct conn *conn = conn_at(s, c);
    conn_heard(s, c);
    if (timer_at(s, conn_timer(c, T_IDLE))->queue != Q_NONE) /* not while it waits, when this deadline stands still */
        timer_start(s, conn_timer(c, T_IDLE), Q_IDLE);
    while (size > 0 && !conn->closing) {
        uint32_t n = min_u32(size, INBOX_BYTES - conn->in_size);
        if (n == 0) {
            conn_doom(s, c, "more input than there is room for");
            return;
        }
        if (conn->inbox == NONE)
            conn->inbox = pool_take(s, &s->inboxes); /* there is one for each connection, so this cannot fail */
        memcpy(inbox_at(s, conn->inbox)->bytes + conn->in_size, bytes, n);
        conn->in_size += n;
        bytes += n;
        size -= n;
        if (!is_stalled(s, c))
            conn_run(s, c);
    }
}

/* A slow reader has caught up, and is told how much chat it missed. */
static void conn_caught_up(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    char text[80];
    conn->slow = false;
    timer_stop(s, conn_timer(c, T_SLOW));
    if (conn->missed_lines == 0 || conn->player == NONE || player_at(s, conn->player)->room == NONE)
        return;
    uint32_t line = log_begin_conn(s, NASCAR_LOG_WARN, "slow_reader", c);
    log_number(s, "missed_lines", conn->missed_lines);
    log_end(s, line);
    write_number(text, conn->missed_lines);
    append_text(text, sizeof text, conn->missed_lines == 1 ? " line of chat was missed" : " lines of chat were missed");
    conn->missed_lines = 0;
    write_announcement(s, player_at(s, conn->player)->room, text);
    send_frame(s, c);
}

static void conn_drained(struct nascar *s, uint32_t c, uint32_t size)
{
    struct conn *conn = conn_at(s, c);
    uint32_t queued = conn->out_end - conn->out_start, offered = segment_size(s, conn);
    outbox_written(s, conn, min_u32(size, queued));
    if (conn->buddy != NONE)
        buddy_at(s, conn->buddy)->telling -= min_u32(size, buddy_at(s, conn->buddy)->telling);
    if (size < offered && !conn->slow) {
        conn->slow = true;
        timer_start(s, conn_timer(c, T_SLOW), Q_SLOW);
    }
    if (size >= queued) {
        outbox_release(s, conn);
        if (conn->slow)
            conn_caught_up(s, c);
        if (conn->state == CONN_HTTP && conn->http.closes && !conn->behind && !conn->deaf)
            conn_doom(s, c, "answered");
    }
    conn_update_crowded(s, c);
    if (conn->state != CONN_BUDDY)
        pump(s, c);
    if (!is_stalled(s, c))
        conn_run(s, c);
    if (conn->state == CONN_BUDDY)
        pump(s, c);
}

static void conn_closed(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    conn_doom(s, c, "disconnected");
    settle(s);
    for (enum conn_timer which = T_PHASE; which < CONN_TIMERS; which++)
        timer_stop(s, conn_timer(c, which));
    if (conn->inbox != NONE) {
        wipe(inbox_at(s, conn->inbox)->bytes, conn->in_size);
        pool_give(s, &s->inboxes, conn->inbox);
    }
    outbox_release(s, conn);
    address_at(s, conn->address)->connections--;
    address_at(s, conn->address)->closing--;
    address_release(s, conn->address);
    s->metrics[conn_metric(conn)]--;
    promise_place(s, conn, false);
    conn_reset(conn);
    s->conn_count--;
}

/* ---- Time ---------------------------------------------------------------- */

static void send_ping(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    /* A reader that is behind has bytes to read, and is pinged again when it
     * has caught up. */
    if (conn->closing || outbox_free(conn) < REPLY_BYTES)
        return;
    frame_begin(&s->frame, conn->state == CONN_BUDDY ? "PING" : "~png", "");
    put_number(&s->frame, tag_REF, ++conn->ping_ref);
    put_number(&s->frame, tag_TIME, conn->round_trip_ms);
    conn->ping_sent_ms = s->now_ms;
    if (conn->asked_ms <= conn->heard_ms)
        conn->asked_ms = s->now_ms;
    send_frame(s, c);
}

/* When the next batch of pings is due: two in a second are the most. */
static uint64_t next_ping_ms(const struct nascar *s)
{
    uint32_t i = list_first(&s->queue[Q_PING]);
    if (i == NONE)
        return UINT64_MAX;
    uint64_t due_ms = timer_at(s, i)->due_ms;
    return due_ms > s->ping_batch_ms ? due_ms : s->ping_batch_ms;
}

/* Pings those whose turn has come. A clock that leapt costs each of them one
 * ping, and they keep their distances. */
static void send_pings(struct nascar *s)
{
    if (s->now_ms < next_ping_ms(s))
        return;
    uint64_t late_ms = s->now_ms - s->ping_beat_ms, period_ms = PING_SLOTS * beat_ms(s);
    bool leapt = late_ms >= period_ms;
    uint64_t again_ms = leapt ? late_ms + 1 : period_ms;
    s->ping_beat_ms += leapt ? again_ms : (late_ms / beat_ms(s) + 1) * beat_ms(s);
    s->ping_batch_ms = s->now_ms + PING_BATCH_MS;
    uint32_t i = list_first(&s->queue[Q_PING]);
    while (timer_at(s, i)->due_ms <= s->now_ms) {
        timer_start_at(s, i, Q_PING, timer_at(s, i)->due_ms + again_ms);
        send_ping(s, i / CONN_TIMERS);
        i = list_first(&s->queue[Q_PING]);
    }
}

/* A new configuration may have another rhythm: each keeps its place in it. */
static void retime_pings(struct nascar *s, uint64_t old_beat_ms)
{
    for (uint32_t i = list_first(&s->queue[Q_PING]); i != NONE; i = list_next(s, TIMER_QUEUE, i)) {
        uint64_t beats = (timer_at(s, i)->due_ms - s->ping_beat_ms) / old_beat_ms;
        timer_at(s, i)->due_ms = s->ping_beat_ms + beats * beat_ms(s);
    }
}

static void timer_fired(struct nascar *s, uint32_t i, enum queue queue)
{
    uint32_t c = i / CONN_TIMERS;
    switch (queue) { /* never: the cases are all queues */
    case Q_FIRST_FRAME:
        if (conn_at(s, c)->state == CONN_UNNAMED)
            log_broken(s, c, "bad_proxy_header", "it has not come in time");
        conn_doom(s, c, "no frame in time");
        break;
    case Q_LINGER: conn_doom(s, c, conn_at(s, c)->state == CONN_HTTP ? "answered" : "directory done"); break;
    case Q_HTTP: conn_doom(s, c, "no request in time"); break;
    case Q_BUDDY_LOGIN: conn_doom(s, c, "no buddy login in time"); break;
    case Q_LOGIN: conn_doom(s, c, "no login in time"); break;
    case Q_IDLE: conn_doom(s, c, "silent"); break;
    case Q_SLOW:
        s->metrics[METRIC_slow_readers_closed]++;
        conn_doom(s, c, "stuck");
        break;
    case Q_THROTTLE:
        if (!is_stalled(s, c))
            conn_run(s, c);
        break;
    case Q_CHALLENGE: challenge_expire(s, i - s->match_timers); break;
    case Q_RACE_START:
        if (s->record_count < RECORDS)
            race_prepare(s, i - s->match_timers);
        else /* there is no slot for the record: try again in the next step */
            timer_start_at(s, i, Q_RACE_START, s->now_ms + 1);
        break;
    case Q_DIRECTORY: session_remove(s, i - s->directory_timers); break;
    case Q_ADDRESS: address_forget(s, i - s->address_timers); break;
    case Q_GUESS:
    case Q_GUESSED: guess_forget(s, i - s->guess_timers); break;
    case Q_NONE: /* never: no timer is due in these */
    case Q_PING: /* and these come in batches */
    case QUEUES: assert(false); break;
    }
    settle(s);
}

static void clock_passed(struct nascar *s)
{
    for (uint32_t queue = Q_NONE + 1; queue < Q_PING; queue++) {
        uint32_t i;
        while ((i = list_first(&s->queue[queue])) != NONE && timer_at(s, i)->due_ms <= s->now_ms) {
            timer_stop(s, i);
            timer_fired(s, i, (enum queue)queue);
        }
    }
    send_pings(s);
    settle(s);
}

/* When the next deadline is due, in the time of now_ms. */
static uint64_t next_deadline_ms(const struct nascar *s)
{
    uint64_t due_ms = next_ping_ms(s);
    for (uint32_t queue = Q_NONE + 1; queue < Q_PING; queue++) {
        uint32_t i = list_first(&s->queue[queue]);
        if (i != NONE && timer_at(s, i)->due_ms < due_ms)
            due_ms = timer_at(s, i)->due_ms;
    }
    return due_ms;
}

uint64_t nascar_deadline_ms(const struct nascar *s)
{
    uint64_t due_ms = next_deadline_ms(s);
    return due_ms == UINT64_MAX ? due_ms : due_ms + s->stood_ms;
}

/* ---- The machine --------------------------------------------------------- */

struct nascar *nascar_init(void *arena, size_t arena_bytes, const struct nascar_limits *limits)
{
    struct nascar *s = arena;
    size_t needed = nascar_arena_size(limits);
    if (!arena || needed == 0 || arena_bytes < needed)
        return NULL;
    assert((uintptr_t)arena % sizeof(uint64_t) == 0);
    (void)lay_out(&s->tables, limits);
    config_read(&s->config, NULL, 0);
    s->ranked = NONE;
    s->next_created_room = FIRST_CREATED_ROOM;
    return s;
}

/* Entropy goes into the pool as far as it fits. The first of it becomes the key
 * of the look-up tables, and only then can there be a room: the hub. */
static void entropy_came(struct nascar *s, const uint8_t *bytes, uint32_t size)
{
    uint32_t n = min_u32(size, nascar_entropy_wanted(s));
    if (n > 0)
        memcpy(s->entropy + s->entropy_size, bytes, n);
    s->entropy_size += n;
    s->retry = true;
    if (s->keyed || s->entropy_size < STEP_ENTROPY)
        return;
    s->keyed = true;
    uint8_t key[sizeof s->hash_key];
    draw(s, key, sizeof key);
    s->hash_key[0] = load_le64(key);
    s->hash_key[1] = load_le64(key + 8);
    wipe(key, sizeof key);
    (void)room_create(s, "Lobby", "Main Lobby Hub", "", 100, s->next_room++); /* PROTOCOL 3.3 */
}

/* The public address is another one: all lists say so, as `+usr` A and `+ses` must agree
 * (PROTOCOL 5). A challenger who was introduced is introduced again. */
static void addresses_changed(struct nascar *s)
{
    EACH_LIVE(r, rooms)
        if (!room_at(s, r)->gone)
            feed_touch(s, &s->room_feed, room_node(r));
    s->lobby_dirty = true;
    EACH_LIVE(i, players)
        if (player_at(s, i)->persona != NONE)
            user_changed(s, i);
    EACH_LIVE(m, matches) {
        const struct match *match = match_at(s, m);
        if (!match->guest)
            continue;
        const struct player *challenger = player_at(s, match->player[0]), *target = player_at(s, match->player[1]);
        write_user(s, &s->frame, challenger, player_address(s, target->conn, challenger),
                   room_at(s, target->room)->count, false);
        send_frame(s, target->conn);
    }
}

/* The host whose name is configured has this address. */
static void address_came(struct nascar *s, uint32_t address)
{
    uint32_t was = s->config.public_address;
    if (!s->config.public_name[0] || address == 0 || address == was)
        return;
    s->config.public_address = address;
    uint32_t line = log_begin(s, NASCAR_LOG_INFO, "public_address");
    log_text(s, "name", s->config.public_name);
    if (was)
        log_address(s, "from", was);
    log_address(s, "to", address);
    log_end(s, line);
    addresses_changed(s);
}

/* A host whose name stays has the address that is known of it. */
static void config_came(struct nascar *s, const uint8_t *bytes, uint32_t size)
{
    uint64_t old_beat_ms = beat_ms(s);
    uint32_t known = s->config.public_address;
    s->seq++;
    char name[HOST_CHARS + 1];
    copy_text(name, sizeof name, s->config.public_name);
    config_read(&s->config, bytes, size);
    if (name[0] && same_name(name, s->config.public_name))
        s->config.public_address = known;
    s->log_level = 0;
    retime_pings(s, old_beat_ms);
    configure_rooms(s);
    if (s->config.public_address != known)
        addresses_changed(s);
}

/* The request of connection c, if it waits for a record with this receipt, goes on. */
static void request_record_came(struct nascar *s, uint32_t c, uint32_t receipt, enum failure failure)
{
    struct frame frame;
    if (!is_awaited(s, c, receipt, WAIT_RECORD))
        return;
    struct request q = request_resume(s, c, &frame);
    request_finish(&q, &frame, q.command->kept(&q, failure));
}

/* A race that waits for its ticket starts now, kept or not (nascar_takes_unkept). */
static void match_record_came(struct nascar *s, const struct nascar_event *e)
{
    uint32_t number = e->conn - match_waiter(s, 0);
    if (!is_live(s, &s->matches, number) || !match_at(s, number)->starting ||
        match_at(s, number)->receipt != e->receipt)
        return;
    race_start(s, number);
}

/* A record of an abuse report has come back. Its lines follow, some in each step;
 * when all are kept, or one could not be, the request that made it is answered. */
static void report_record_came(struct nascar *s, const struct nascar_event *e, enum failure failure)
{
    uint32_t i = e->conn - report_waiter(s, 0);
    if (!is_live(s, &s->reports, i) || report_at(s, i)->receipt != e->receipt)
        return;
    struct report *report = report_at(s, i);
    uint32_t c = report->conn, receipt = report->conn_receipt;
    if (!failure && queue_report_lines(s, i))
        return;
    report->receipt = 0;
    if (report->draft)
        pool_give(s, &s->reports, i);
    request_record_came(s, c, receipt, failure);
}

/* A record has come back, kept or not: whoever waits for it goes on. Its number is
 * a connection's, or another's (match_waiter). */
static void record_came(struct nascar *s, const struct nascar_event *e, enum failure failure)
{
    if (e->conn == NONE)
        return;
    if (e->conn >= report_waiter(s, 0))
        report_record_came(s, e, failure);
    else if (e->conn >= match_waiter(s, 0))
        match_record_came(s, e);
    else
        request_record_came(s, e->conn, e->receipt, failure);
}

static void verdict_came(struct nascar *s, const struct nascar_event *e)
{
    struct frame frame;
    char hash[HASH_CHARS + 1] = ""; /* "": there is none */
    if (!is_awaited(s, e->conn, e->receipt, WAIT_VERDICT))
        return;
    if (valid_hash(e->bytes, e->size))
        memcpy(hash, e->bytes, e->size);
    struct request q = request_resume(s, e->conn, &frame);
    request_finish(&q, &frame, q.command->verdict(&q, e->accepted, hash));
}

/* The configuration was read again, or refused: all who have asked for that are told. There are as many of them as
 * the operator has connections, so this is rare. */
static void reload_came(struct nascar *s, const struct nascar_event *e)
{
    struct frame frame;
    for (uint32_t c = 0; c < s->conns.high; c++) {
        if (!is_awaited(s, c, conn_at(s, c)->receipt, WAIT_RELOAD))
            continue;
        struct request q = request_resume(s, c, &frame);
        answer_reload(&q, e);
        request_finish(&q, &frame, OK);
    }
}

/* What the program around the core counts: eight bytes each. */
static void metrics_came(struct nascar *s, const uint8_t *bytes, uint32_t size)
{
    for (uint32_t i = 0; i < NASCAR_METRICS_TOLD; i++, bytes += 8, size -= 8) {
        if (size < 8)
            return;
        s->told[i] = (uint64_t)load_be32(bytes) << 32 | load_be32(bytes + 4);
    }
}

/* May whoever asks by DNS get another answer now? Those who ask are not remembered one by
 * one, as any address can be forged: they share some places, and nobody knows with whom. */
static bool take_dns_answer(struct nascar *s, uint32_t peer)
{
    struct dns_asker *asker = &s->dns_asker[hash_numbers(s, peer, 0) % DNS_ASKERS];
    uint32_t *at_ms = &asker->at_ms[asker->answers % DNS_ANSWERS], now_ms = (uint32_t)s->now_ms;
    if (asker->answers >= DNS_ANSWERS && now_ms - *at_ms < DNS_ANSWERS_MS)
        return false;
    *at_ms = now_ms;
    asker->answers = asker->answers + 1 < 2 * DNS_ANSWERS ? asker->answers + 1 : DNS_ANSWERS;
    return true;
}

/* Has the name an answer? *address is its own, or else stays. */
static bool find_dns_name(const struct nascar *s, const char *name, uint32_t *address)
{
    for (uint32_t i = 0; i < s->config.dns_name_count; i++) {
        const struct dns_name *known = &s->config.dns_name[i];
        if (!same_name(name, known->name))
            continue;
        *address = known->address ? known->address : *address;
        return true;
    }
    return same_name(name, GAME_HOST);
}

/* Somebody asks by DNS. We have the answers for a few names, know no others, and ask nobody.
 * The log tells what a console looks for. */
static void dns_query_came(struct nascar *s, const struct nascar_event *e)
{
    struct datagram *d = &s->datagram;
    struct dns_query q;
    char name[DNS_NAME_BYTES] = "";
    uint32_t address = server_address(s, (struct endpoint){e->peer, 0, e->local});
    enum dns_code code = read_dns_query(e->bytes, e->size, &q);
    s->metrics[METRIC_dns_queries]++;
    if (code == DNS_SILENCE)
        return;
    if (!take_dns_answer(s, e->peer)) {
        s->metrics[METRIC_dns_dropped]++;
        return;
    }
    s->metrics[METRIC_dns_answers]++;
    if (q.end > DNS_HEAD)
        write_dns_name(name, e->bytes + DNS_HEAD);
    if (code == DNS_FOUND && ((q.asks & 0xffff) != DNS_INTERNET || !find_dns_name(s, name, &address)))
        code = DNS_REFUSED;
    if (code != DNS_FOUND || (q.asks >> 16 != DNS_A && q.asks >> 16 != DNS_ANY))
        address = 0;
    d->service = NASCAR_SERVICE_DNS;
    d->peer = e->peer;
    d->port = e->port;
    d->local = e->local;
    d->size = write_dns_answer(d->bytes, e->bytes, &q, code, address);
    uint32_t line = log_begin(s, NASCAR_LOG_DEBUG, "dns");
    if (line < LOG_BYTES)
        s->log[line] |= LOG_OF_STRANGER;
    log_address(s, "peer", e->peer);
    log_text(s, "name", name);
    log_number(s, "type", q.asks >> 16);
    log_number(s, "code", code);
    log_address(s, "address", address);
    log_end(s, line);
}

bool nascar_next_datagram(struct nascar *s, struct nascar_datagram *datagram)
{
    const struct datagram *d = &s->datagram;
    if (d->size == 0)
        return false;
    *datagram =
        (struct nascar_datagram){(enum nascar_service)d->service, d->local, d->peer, d->port, d->size, d->bytes};
    s->datagram.size = 0;
    return true;
}

/* Gives an event to its connection, if that is there. */
static void conn_event(struct nascar *s, const struct nascar_event *e)
{
    if (e->conn >= s->conns.capacity)
        return;
    if (e->type == NASCAR_OPENED || e->type == NASCAR_CONTROL)
        conn_opened(s, e);
    else if (conn_at(s, e->conn)->state == CONN_FREE)
        return;
    else if (e->type == NASCAR_BYTES)
        conn_bytes(s, e->conn, e->bytes, e->size);
    else if (e->type == NASCAR_DRAINED)
        conn_drained(s, e->conn, e->size);
    else
        conn_closed(s, e->conn);
}

/* The nearest date that this server can live to see. */
static int64_t real_date(int64_t date_s)
{
    return date_s < EARLIEST_DATE_S ? EARLIEST_DATE_S : date_s > LATEST_DATE_S ? LATEST_DATE_S : date_s;
}

/* The first event behind the records of the last run: from what date do we go on?
 * A clock that is ahead of what is kept shows how long the server stood still, if it
 * stood right in the last run; else it is set now, as those dates mean nothing to it.
 * One that was never set shows nothing. One that is merely behind may have been put
 * right, or stand where the router has last seen it; that is left open. */
static void dates_begin(struct nascar *s, int64_t clock_s)
{
    bool was_set = clock_s == real_date(clock_s);
    uint32_t before = live_from(s, &s->unset_runs, 0);
    s->reached_s = kept_now_s(s); /* a fresh journal may have left out by now what had run out by that */
    s->wall_s = real_date(s->newest_record_s + 1);
    s->unset = !was_set || clock_s < s->wall_s - CLOCK_SET_S;
    if (s->unset)
        s->doubted_ms = s->now_ms + DOUBT_MS;
    else if (before == NONE)
        s->wall_s = clock_s;
    s->clock_s = was_set ? clock_s : s->wall_s;
    if (s->reached_s < s->wall_s)
        s->reached_s = s->wall_s;
    s->since_s = before == NONE ? s->wall_s : unset_run_at(s, before)->since_s;
    s->dated_ms = s->mono_ms;
    s->dated = true;
}

/* The clock that nobody sets goes on. Whoever calls us does so when a deadline is
 * due, so if that is long past, the program stood still: it was stopped, or its
 * machine was, or its disk took that long. Consoles could not be heard or asked
 * meanwhile, so the time does not count for any deadline; but for dates it does. */
static void mono_passed(struct nascar *s, uint64_t mono_ms)
{
    uint64_t now_ms = mono_ms - s->stood_ms;
    s->mono_ms = mono_ms;
    if (now_ms > s->now_ms + STOOD_STILL_MS) {
        uint64_t due_ms = next_deadline_ms(s);
        due_ms = due_ms > s->now_ms ? due_ms : s->now_ms;
        if (due_ms < now_ms && now_ms - due_ms > STOOD_STILL_MS) {
            uint32_t line = log_begin(s, NASCAR_LOG_WARN, "stood_still");
            log_number(s, "ms", (int64_t)(now_ms - due_ms));
            log_end(s, line);
            s->stood_ms += now_ms - due_ms;
            s->metrics[METRIC_stood_still]++;
            s->metrics[METRIC_stood_still_ms] += now_ms - due_ms;
            now_ms = due_ms;
        }
    }
    s->now_ms = now_ms;
}

/* Dates run on with the clock that nobody sets, and follow the wall clock as long
 * as that drifts only. If it leaps, it was set, and clock_set() sees to that. */
static void time_passed(struct nascar *s, const struct nascar_event *e)
{
    if (e->mono_ms > s->mono_ms)
        mono_passed(s, e->mono_ms < UINT64_MAX / 2 ? e->mono_ms : UINT64_MAX / 2);
    int64_t passed_s = (int64_t)((s->mono_ms - s->dated_ms) / 1000), clock_s = e->wall_s;
    if (!s->dated) {
        if (e->type != NASCAR_ENTROPY && e->type != NASCAR_RECORD && e->type != NASCAR_CONFIG)
            dates_begin(s, clock_s);
        return;
    }
    s->dated_ms += (uint64_t)passed_s * 1000; /* whole seconds only, wherever that clock began */
    s->wall_s += passed_s;
    s->clock_s += passed_s;
    if (clock_s == real_date(clock_s)) {
        int64_t off_s = clock_s - s->clock_s;
        if (off_s > CLOCK_SET_S || off_s < -CLOCK_SET_S)
            s->doubted_ms = 0; /* whoever sets it knows the date */
        else
            s->wall_s += off_s;
        s->clock_s = clock_s;
        if (s->now_ms >= s->doubted_ms || s->clock_s == s->wall_s)
            s->unset = false;
    }
    s->wall_s = real_date(s->wall_s);
    s->clock_s = real_date(s->clock_s);
    if (s->reached_s < s->wall_s)
        s->reached_s = s->wall_s;
}

/* The wall clock was set. What is new has its dates from the new one from now on,
 * and stands behind the record of this, which moves the dates of what is kept: so
 * each is moved that was made before, live as in a replay. If it was not set, what is
 * kept says that, too, for the next start, until it is. */
static void clock_set(struct nascar *s)
{
    bool is_set = s->clock_s != s->wall_s && s->now_ms >= s->doubted_ms;
    struct record r = {.kind = RECORD_CLCK,
                       .clck = {s->wall_s, is_set ? s->clock_s : s->wall_s, is_set || s->unset ? s->since_s : 0}};
    char from[20], to[20];
    if (s->setting || s->record_count == RECORDS || (!is_set && s->unset == (s->unset_runs.live > 0)))
        return; /* a later step does it */
    queue_record(s, NONE, 0, &r);
    s->setting = true;
    if (!is_set)
        return;
    for (uint64_t i = 0; i < s->chat_count && i < CHAT_LINES; i++) /* no records, so these are moved now */
        move_date(&s->chat[i].at_s, &r);
    s->setting_s = s->clock_s - s->wall_s;
    s->since_s += s->setting_s;
    s->reached_s += s->setting_s;
    s->wall_s = s->clock_s;
    write_date(from, r.clck.from_s);
    write_date(to, r.clck.to_s);
    uint32_t line = log_begin(s, NASCAR_LOG_WARN, "clock_set");
    log_text(s, "from", from);
    log_text(s, "to", to);
    log_end(s, line);
}

bool nascar_step(struct nascar *s, const struct nascar_event *e)
{
    if (e->type != NASCAR_ENTROPY && (!s->keyed || s->entropy_size < STEP_ENTROPY))
        return false;
    free_taken(s);
    if ((e->type == NASCAR_VERDICT || e->type == NASCAR_RECORD || e->type == NASCAR_RECORD_FAILED) &&
        (s->record_count == RECORDS || s->job_count == RECORDS))
        return false;
    time_passed(s, e);
    if (e->type == NASCAR_RECORD || e->type == NASCAR_RECORD_FAILED)
        record_back(s, e->bytes, e->size);
    switch (e->type) {
    case NASCAR_OPENED:
    case NASCAR_CONTROL:
    case NASCAR_BYTES:
    case NASCAR_DRAINED:
    case NASCAR_CLOSED: conn_event(s, e); break;
    case NASCAR_CLOCK: clock_passed(s); break;
    case NASCAR_ENTROPY: entropy_came(s, e->bytes, e->size); break;
    case NASCAR_CONFIG: config_came(s, e->bytes, e->size); break;
    case NASCAR_ADDRESS: address_came(s, e->peer); break;
    case NASCAR_RECORD: record_came(s, e, apply_record(s, e->bytes, e->size)); break;
    case NASCAR_RECORD_FAILED:
        record_failed(s, e->bytes, e->size);
        record_came(s, e, NOT_KEPT);
        break;
    case NASCAR_VERDICT: verdict_came(s, e); break;
    case NASCAR_RELOADED: reload_came(s, e); break;
    case NASCAR_METRICS: metrics_came(s, e->bytes, e->size); break;
    case NASCAR_DATAGRAM:
        if (e->service == NASCAR_SERVICE_DNS)
            dns_query_came(s, e);
        break;
    }
    settle(s);
    while (s->retry)
        retry_stalled(s);
    if (s->dated)
        clock_set(s);
    return true;
}

/* ---- Invariants ---------------------------------------------------------- */

/* Each check returns NULL, or what does not hold. */
#define HOLDS(condition, text) \
    do { \
        if (!(condition)) \
            return text; \
    } while (0)

static const char *check_pool(const struct nascar *s, const struct pool *pool)
{
    uint32_t live = 0, free = 0;
    HOLDS(pool->high <= pool->capacity, "a pool's mark is past its end");
    for (uint32_t i = live_from(s, pool, 0); i != NONE; i = live_from(s, pool, i + 1))
        live++;
    for (uint32_t i = pool->free; i != NONE; i = *pool_link_at(s, pool, i)) {
        HOLDS(i < pool->high && !is_live(s, pool, i), "a free list holds a live item");
        HOLDS(++free <= pool->high, "a free list goes in a circle");
    }
    HOLDS(live == pool->live, "a pool's count is not its recount");
    HOLDS(live + free == pool->high, "a pool's item is neither live nor free");
    return NULL;
}

/* A room that is gone stays until all know it, but it is found no more. */
static uint32_t rooms_gone(const struct nascar *s)
{
    uint32_t gone = 0;
    EACH_LIVE(r, rooms)
        gone += room_at(s, r)->gone;
    return gone;
}

static const char *check_index(const struct nascar *s, const struct index *index, const struct pool *pool)
{
    uint32_t entries = 0, expected = pool->live - (index == &s->room_names ? rooms_gone(s) : 0);
    for (uint64_t bucket = 0; bucket <= index->mask; bucket++) {
        for (uint32_t i = index_first(s, index, bucket); i != NONE; i = index_next(s, index, i)) {
            HOLDS(is_live(s, pool, i), "a look-up table holds a free item");
            HOLDS(++entries <= expected, "a look-up table holds too many items");
        }
    }
    HOLDS(entries == expected, "a look-up table holds too few items");
    return NULL;
}

/* Counts the items of a list into *count, which has those of others of its sort. */
static const char *check_list(const struct nascar *s, enum list_kind kind, const struct list *list, uint32_t *count)
{
    uint32_t prev = NONE;
    for (uint32_t i = list_first(list); i != NONE; prev = i, i = list_next(s, kind, i)) {
        HOLDS(in_list(s, kind, i), "a list holds what does not know of it");
        HOLDS(list_prev(s, kind, list, i) == prev, "a list does not go back as it goes on"); /* nor in a circle */
        ++*count;
    }
    HOLDS(list_last(s, kind, list) == prev, "a list does not end at its end");
    return NULL;
}

/* How many of these items say that they are in a list. */
static uint32_t count_listed(const struct nascar *s, enum list_kind kind, uint32_t first, uint32_t count)
{
    uint32_t listed = 0;
    for (uint32_t i = first; i < first + count; i++)
        listed += in_list(s, kind, i);
    return listed;
}

struct tally {
    uint32_t count[LIST_KIND_COUNT];
    const char *broken;
};

static void tally_list(const struct nascar *s, enum list_kind kind, const struct list *list, struct tally *tally)
{
    const char *broken = check_list(s, kind, list, &tally->count[kind]);
    if (broken) /* never: only if the server is wrong */
        tally->broken = broken;
}

static void tally_lists(const struct nascar *s, struct tally *tally)
{
    for (uint32_t queue = Q_NONE; queue < QUEUES; queue++)
        tally_list(s, TIMER_QUEUE, &s->queue[queue], tally);
    tally_list(s, FEED_ENTRIES, &s->room_feed.entries, tally);
    tally_list(s, FEED_ENTRIES, &s->population_feed.entries, tally);
    tally_list(s, READY_CONNS, &s->ready, tally);
    tally_list(s, STALLED_CONNS, &s->stalled, tally);
    tally_list(s, DOOMED_CONNS, &s->doomed, tally);
    tally_list(s, LOBBY_READERS, &s->lobby_readers, tally);
    tally_list(s, DIRTY_ROOMS, &s->dirty_rooms, tally);
    tally_list(s, LATEST_RESULTS, &s->latest, tally);
    EACH_LIVE(i, addresses)
        tally_list(s, ADDRESS_CONNS, &address_at(s, i)->heard, tally);
    EACH_LIVE(i, rooms) {
        tally_list(s, FEED_ENTRIES, &room_at(s, i)->users.entries, tally);
        tally_list(s, ROOM_MEMBERS, &room_at(s, i)->members, tally);
    }
    EACH_LIVE(i, personas) {
        tally_list(s, PERSONA_WATCHERS, &persona_at(s, i)->watchers, tally);
        tally_list(s, PERSONA_MESSAGES, &persona_at(s, i)->messages, tally);
    }
    EACH_LIVE(i, buddies)
        tally_list(s, BUDDY_WATCHES, &buddy_at(s, i)->watches, tally);
    EACH_LIVE(i, reports)
        tally_list(s, LINES_OF_REPORT, &report_at(s, i)->lines, tally);
}

/* Every list: whoever is in it knows, and nobody else says so. */
static const char *check_lists(const struct nascar *s)
{
#define MARK(kind, table) s->table.high,
    const uint32_t marks[] = {LIST_KINDS(MARK)};
#undef MARK
    struct tally tally = {{0}, NULL};
    tally_lists(s, &tally);
    HOLDS(!tally.broken, tally.broken);
    for (uint32_t kind = 0; kind < LIST_KIND_COUNT; kind++) {
        uint32_t listed = count_listed(s, (enum list_kind)kind, 0, marks[kind]);
        /* Timers and nodes have no mark of their own. Those of what was never in use
         * have never been touched. */
        if (kind == TIMER_QUEUE)
            listed = count_listed(s, TIMER_QUEUE, 0, s->conns.high * CONN_TIMERS) +
                     count_listed(s, TIMER_QUEUE, s->match_timers, s->matches.high) +
                     count_listed(s, TIMER_QUEUE, s->directory_timers, s->directory.high) +
                     count_listed(s, TIMER_QUEUE, s->address_timers, s->addresses.high) +
                     count_listed(s, TIMER_QUEUE, s->guess_timers, s->guesses.high);
        if (kind == FEED_ENTRIES)
            listed = count_listed(s, FEED_ENTRIES, 0, 2 * s->rooms.high) +
                     count_listed(s, FEED_ENTRIES, occupant_node(s, 0), s->occupants.high);
        HOLDS(listed == tally.count[kind], "an item says that it is in a list and is not");
    }
    return NULL;
}

static const char *check_timers(const struct nascar *s)
{
    for (uint32_t queue = Q_NONE; queue < QUEUES; queue++) {
        uint64_t due_ms = 0;
        HOLDS(queue != Q_NONE || list_first(&s->queue[queue]) == NONE, "a timer stands in no queue");
        for (uint32_t i = list_first(&s->queue[queue]); i != NONE; i = list_next(s, TIMER_QUEUE, i)) {
            const struct timer *t = timer_at(s, i);
            HOLDS(t->queue == queue, "a timer stands in another's queue");
            HOLDS(due_ms <= t->due_ms, "a queue of timers is out of order");
            HOLDS(queue != Q_PING || t->due_ms >= s->ping_beat_ms, "a ping is behind the rhythm");
            due_ms = t->due_ms;
        }
    }
    return NULL;
}

static const char *check_conn(const struct nascar *s, uint32_t c)
{
    const struct conn *conn = conn_at(s, c);
    bool in_room = false;
    HOLDS((conn->inbox == NONE) == (conn->in_size == 0), "an inbox is kept for nothing");
    HOLDS(conn->inbox == NONE || is_live(s, &s->inboxes, conn->inbox), "a connection's inbox is free");
    HOLDS(conn->in_size <= INBOX_BYTES, "an inbox holds more than its size");
    HOLDS((conn->outbox == NONE) == (conn->out_end == 0), "an outbox is kept for nothing");
    HOLDS(conn->outbox == NONE || is_live(s, &s->outboxes, conn->outbox), "a connection's outbox is free");
    HOLDS(conn->out_start <= conn->out_end && conn->out_end <= OUTBOX_BYTES, "an outbox ends outside of itself");
    HOLDS(!conn->closing || conn->player == NONE, "a player plays on a closed connection");
    HOLDS(in_list(s, ADDRESS_CONNS, c) == (!conn->closing && conn->state != CONN_CONTROL),
          "a connection is not heard, or one that is closing is");
    HOLDS(address_at(s, conn->address)->ipv4 == (conn->of_proxy || counts_for_nobody(conn) ? NOBODY : conn->peer),
          "a connection counts for another's address");
    HOLDS(conn->state != CONN_UNNAMED || conn->of_proxy, "a connection has no name, and is no proxy's");
    HOLDS(conn->state != CONN_HTTP || conn->closing ||
              (timer_at(s, conn_timer(c, T_PHASE))->queue == Q_NONE) ==
                  (conn->behind || (conn->http.closes && !conn->deaf)),
          "a request is awaited while another is answered, or for ever");
    HOLDS(conn->state != CONN_HTTP || conn->listed < sizeof http_texts, "a page goes on where there is none");
    HOLDS(conn->wait == WAIT_NONE || conn->inbox != NONE, "a connection waits without a request");
    HOLDS(conn->wait != WAIT_RELOAD || conn->state == CONN_CONTROL, "a player waits for a reload");
    HOLDS(conn->checking == NONE || is_live(s, &s->accounts, conn->checking), "a password of no account is compared");
    HOLDS(conn->checking == NONE || conn->wait == WAIT_VERDICT || conn->closing,
          "a password is compared, and nobody waits");
    HOLDS((conn->state == CONN_ACCOUNT || conn->state == CONN_PERSONA) == (conn->player != NONE) || conn->closing,
          "a connection's state is not its player's");
    if (conn->player != NONE) {
        HOLDS(is_live(s, &s->players, conn->player), "a connection's player is free");
        const struct player *p = player_at(s, conn->player);
        HOLDS(p->conn == c, "a player is on another connection");
        in_room = p->room != NONE;
        HOLDS((conn->state == CONN_PERSONA) == (p->persona != NONE), "a player without a persona plays");
    }
    HOLDS(conn->crowded == (in_room && !conn->closing && !conn->slow && !takes_chat(conn)),
          "a connection's outbox is not as full as it says");
    HOLDS((conn->state == CONN_BUDDY) == (conn->buddy != NONE) || conn->closing, "a buddy link is nobody's");
    HOLDS(conn->buddy == NONE || (is_live(s, &s->buddies, conn->buddy) && buddy_at(s, conn->buddy)->conn == c),
          "a buddy link is another's");
    return NULL;
}

static const char *check_conns(const struct nascar *s)
{
    uint32_t count = 0, inboxes = 0, outboxes = 0;
    uint64_t metrics[METRIC_COUNT] = {0};
    for (uint32_t c = 0; c < s->conns.high; c++) {
        const struct conn *conn = conn_at(s, c);
        if (conn->state == CONN_FREE)
            continue;
        count++;
        metrics[conn_metric(conn)]++;
        metrics[wait_metric(conn->wait)] += conn->wait != WAIT_NONE && !conn->closing;
        inboxes += conn->inbox != NONE;
        outboxes += conn->outbox != NONE;
        const char *broken = check_conn(s, c);
        HOLDS(!broken, broken);
    }
    HOLDS(count == s->conn_count, "the count of connections is not its recount");
    HOLDS(s->metrics[METRIC_connections_http] <= NASCAR_HTTP_CONNECTIONS, "too many look at the page");
    HOLDS(memcmp(metrics + METRIC_connections_unnamed, s->metrics + METRIC_connections_unnamed,
                 (METRIC_connections_closing + 1 - METRIC_connections_unnamed) * sizeof *metrics) == 0,
          "a metric of connections is not its recount");
    HOLDS(metrics[METRIC_hashes_waiting] == s->metrics[METRIC_hashes_waiting] &&
              metrics[METRIC_records_waiting] == s->metrics[METRIC_records_waiting],
          "a metric of those who wait is not its recount");
    HOLDS(inboxes == s->inboxes.live && outboxes == s->outboxes.live, "a box is nobody's");
    HOLDS(list_first(&s->doomed) == NONE && list_first(&s->dirty_rooms) == NONE && !s->lobby_dirty,
          "a step left something unsettled");
    return NULL;
}

static const char *check_feed(const struct nascar *s, const struct feed *feed, uint32_t subscribers)
{
    uint64_t seq = 0;
    HOLDS(feed->subscribers == subscribers, "a list's count of subscribers is not its recount");
    for (uint32_t i = list_first(&feed->entries); i != NONE; i = list_next(s, FEED_ENTRIES, i)) {
        const struct node *node = node_at(s, i);
        HOLDS(seq < node->seq && node->seq <= s->seq, "a list is not in the order of its changes");
        HOLDS(!node->tombstone || (node->waiting > 0 && node->waiting <= subscribers), "a tombstone waits for nobody");
        seq = node->seq;
    }
    return NULL;
}

/* Does this tombstone still wait for the subscription? */
static bool tombstone_awaits(const struct nascar *s, uint32_t i, const struct subscription *sub)
{
    return sub->on && node_at(s, i)->seq > sub->since && node_at(s, i)->seq > sub->cursor;
}

static const char *check_room(const struct nascar *s, uint32_t r)
{
    const struct room *room = room_at(s, r);
    uint32_t count = 0, crowded = 0, subscribers = 0;
    for (uint32_t p = list_first(&room->members); p != NONE; p = list_next(s, ROOM_MEMBERS, p)) {
        const struct player *player = player_at(s, p);
        HOLDS(player->room == r, "a room's member is elsewhere");
        count++;
        crowded += conn_at(s, player->conn)->crowded;
        subscribers += player->users.on;
        HOLDS((player->occupant == NONE) == (r == HUB), "a player is not listed in its room");
    }
    HOLDS(count == room->count && crowded == room->crowded, "a room's counts are not their recounts");
    const char *broken = check_feed(s, &room->users, subscribers);
    HOLDS(!broken, broken);
    for (uint32_t i = list_first(&room->users.entries); i != NONE; i = list_next(s, FEED_ENTRIES, i)) {
        const struct occupant *occupant = occupant_at(s, node_occupant(s, i));
        uint32_t waiting = 0;
        HOLDS(occupant->room == r, "a list holds another room's user");
        HOLDS((occupant->player == NONE) == node_at(s, i)->tombstone, "a leaver is listed");
        for (uint32_t p = list_first(&room->members); p != NONE; p = list_next(s, ROOM_MEMBERS, p))
            waiting += tombstone_awaits(s, i, &player_at(s, p)->users);
        HOLDS(waiting == node_at(s, i)->waiting || !node_at(s, i)->tombstone, "a leaver waits for the wrong number");
    }
    HOLDS(in_list(s, FEED_ENTRIES, room_node(r)), "a room is not in the list of rooms");
    HOLDS(node_at(s, room_node(r))->tombstone == room->gone, "a room that is gone is listed");
    HOLDS(in_list(s, FEED_ENTRIES, population_node(r)) == !room->gone, "a room's population is not listed");
    HOLDS(!room->gone || count == 0, "a room that is gone has members");
    HOLDS(!room->created || count > 0 || room->gone, "an empty created room stays");
    HOLDS(room->created == (room->made_by[0] != 0), "nobody has made a room, or somebody a configured one");
    HOLDS(room->gone || find_room(s, room->name) == r, "a room is not found by its name");
    return NULL;
}

static const char *check_rooms(const struct nascar *s)
{
    uint32_t members = 0, playing = 0, followers = 0;
    EACH_LIVE(r, rooms) {
        members += room_at(s, r)->count;
        const char *broken = check_room(s, r);
        HOLDS(!broken, broken);
    }
    EACH_LIVE(p, players) {
        playing += player_at(s, p)->persona != NONE;
        HOLDS(in_list(s, LOBBY_READERS, p) == player_at(s, p)->populations.on,
              "a subscriber is not in the list of them");
    }
    HOLDS(members == playing, "a player is in no room, or in two");
    for (uint32_t c = 0; c < s->conns.high; c++)
        followers += conn_at(s, c)->rooms.on;
    EACH_LIVE(r, rooms) {
        uint32_t waiting = 0;
        for (uint32_t c = 0; c < s->conns.high && room_at(s, r)->gone; c++)
            waiting += tombstone_awaits(s, room_node(r), &conn_at(s, c)->rooms);
        HOLDS(!room_at(s, r)->gone || waiting == node_at(s, room_node(r))->waiting,
              "a room that is gone waits for the wrong number");
    }
    const char *broken = check_feed(s, &s->room_feed, followers);
    HOLDS(!broken, broken);
    return check_feed(s, &s->population_feed, s->population_feed.subscribers);
}

static const char *check_players(const struct nascar *s)
{
    uint32_t sides = 0, matched = 0;
    EACH_LIVE(i, players) {
        const struct player *p = player_at(s, i);
        HOLDS(conn_at(s, p->conn)->player == i, "a player's connection is another's");
        HOLDS(account_at(s, p->account)->player == i, "a player's account is another's");
        HOLDS(p->persona == NONE || player_persona(s, p)->player == i, "a player's persona is another's");
        HOLDS(p->persona == NONE || player_persona(s, p)->account == p->account, "a player wears a strange persona");
        HOLDS((p->persona == NONE) == (p->room == NONE), "a player without a persona is in a room");
        HOLDS(p->occupant == NONE || occupant_at(s, p->occupant)->player == i,
              "a player's entry in its room is another's");
        if (p->match == NONE)
            continue;
        matched++;
        HOLDS(is_live(s, &s->matches, p->match) && match_at(s, p->match)->player[p->side] == i,
              "a player is not in its own match");
    }
    EACH_LIVE(i, matches) {
        const struct match *match = match_at(s, i);
        uint32_t here = (match->player[0] != NONE ? 1u : 0u) + (match->player[1] != NONE ? 1u : 0u);
        sides += here;
        HOLDS(here == 2 || (here == 1 && match->state == MATCH_RACING), "a challenge lacks a player");
        HOLDS(match->seed != 0, "a race has no seed");
        HOLDS((timer_at(s, s->match_timers + i)->queue == Q_NONE) == (match->starting || match->state == MATCH_RACING),
              "a challenge has no deadline");
        HOLDS(!match->starting || match->state == MATCH_ACCEPTED, "a race starts that nobody has accepted");
    }
    HOLDS(sides == matched, "a match's player does not know of it");
    return NULL;
}

static const char *check_persona(const struct nascar *s, uint32_t i)
{
    const struct persona *p = persona_at(s, i);
    uint32_t messages = 0, prev = NONE, ignoring = 0;
    for (uint32_t w = list_first(&p->watchers); w != NONE; w = list_next(s, PERSONA_WATCHERS, w))
        HOLDS(is_live(s, &s->watches, w) && watch_at(s, w)->persona == i && watch_at(s, w)->why != 0 &&
                  find_watch(s, watch_at(s, w)->buddy, i) == w,
              "a persona's watcher is another's");
    for (uint32_t m = list_first(&p->messages); m != NONE; prev = m, m = list_next(s, PERSONA_MESSAGES, m)) {
        HOLDS(is_live(s, &s->messages, m) && message_at(s, m)->to == i, "a message is for another");
        HOLDS(prev == NONE || message_at(s, prev)->id < message_at(s, m)->id, "messages are out of order");
        HOLDS(++messages <= MESSAGES_PER_PERSONA, "a persona has too many messages");
    }
    HOLDS(messages == p->message_count, "a count of messages is not its recount");
    for (uint32_t e = p->ignored_by > 0 ? live_from(s, &s->edges, 0) : NONE; e != NONE;
         e = live_from(s, &s->edges, e + 1))
        ignoring += edge_other(s, e) == i && (edge_lists(s, e) & LIST_IGNORE) != 0;
    HOLDS(ignoring == p->ignored_by, "a count of those who ignore a persona is not its recount");
    if (!is_ranked(s, i))
        return NULL;
    HOLDS(find_persona_by_rank(s, rank_of(s, i)) == i, "a persona is not at its rank");
    HOLDS(p->left == NONE || ranks_before(s, p->left, i), "a better one ranks behind");
    HOLDS(p->right == NONE || ranks_before(s, i, p->right), "a worse one ranks before");
    return NULL;
}

static const char *check_accounts(const struct nascar *s)
{
    uint32_t named = 0, edges = 0, messages = 0, ranked = 0, racing = 0;
    EACH_LIVE(i, accounts) {
        const struct account *a = account_at(s, i);
        HOLDS(find_account(s, a->name) == i, "an account is not found by its name");
        HOLDS(a->player == NONE || player_at(s, a->player)->account == i, "an account's player is another's");
        for (uint32_t k = 0; k < PERSONAS_PER_ACCOUNT; k++) {
            if (a->persona[k] == NONE)
                continue;
            named++;
            HOLDS(is_live(s, &s->personas, a->persona[k]) && persona_at(s, a->persona[k])->account == i,
                  "an account's persona is another's");
        }
    }
    HOLDS(named == s->personas.live, "a persona is nobody's");
    EACH_LIVE(i, personas) {
        const struct persona *p = persona_at(s, i);
        uint32_t count = 0;
        HOLDS(find_persona(s, p->name) == i, "a persona is not found by its name");
        HOLDS(p->buddy == NONE || (is_live(s, &s->buddies, p->buddy) && buddy_at(s, p->buddy)->persona == i),
              "a persona's buddy link is another's");
        HOLDS(!p->absent || p->player == NONE, "a persona is absent, and there");
        for (uint32_t e = p->edges; e != NONE; e = edge_at(s, e)->next) {
            uint32_t other = edge_other(s, e);
            HOLDS(is_live(s, &s->edges, e) && edge_at(s, e)->owner == i, "a roster holds another's entry");
            HOLDS(find_edge(s, i, other) == e && other != i, "a roster's entry is not found");
            HOLDS(is_live(s, &s->personas, other), "a roster holds a persona that is not there");
            HOLDS(++count <= ROSTER_PER_PERSONA, "a roster is too long");
            uint32_t w = p->buddy == NONE ? NONE : find_watch(s, p->buddy, other);
            HOLDS(p->buddy == NONE ||
                      ((edge_lists(s, e) & LIST_BUDDY) != 0) == (w != NONE && (watch_at(s, w)->why & WATCH_ROSTER)),
                  "a buddy is not watched, or somebody else is");
        }
        edges += count;
        HOLDS(count == p->edge_count, "a roster's count is not its recount");
        const char *broken = check_persona(s, i);
        HOLDS(!broken, broken);
        messages += p->message_count;
        racing += p->race_count;
        ranked += is_ranked(s, i);
    }
    EACH_LIVE(i, races)
        for (uint32_t side = 0; side < 2; side++)
            racing -= race_ticket_at(s, i)->persona[side] != NONE;
    HOLDS(racing == 0, "counts of open races are not their recounts");
    HOLDS(messages == s->messages.live, "a message is for nobody");
    HOLDS(ranked == tree_size(s, s->ranked), "somebody has raced and has no rank, or the other way");
    HOLDS(edges == s->edges.live, "a roster's entry is nobody's");
    return NULL;
}

/* The connections of an address that may be heard, in the order in which they were. */
static const char *check_heard(const struct nascar *s, uint32_t i)
{
    const struct address *a = address_at(s, i);
    uint64_t heard_ms = 0;
    uint32_t listed = 0;
    for (uint32_t c = list_first(&a->heard); c != NONE; c = list_next(s, ADDRESS_CONNS, c)) {
        const struct conn *conn = conn_at(s, c);
        HOLDS(conn->address == i, "an address hears another's connection");
        HOLDS(conn->heard_ms >= heard_ms, "an address has its silent connections out of order");
        heard_ms = conn->heard_ms;
        listed++;
    }
    HOLDS(listed <= open_connections(a), "an address hears more connections than it has");
    return NULL;
}

static const char *check_addresses(const struct nascar *s)
{
    uint32_t connections = 0, closing = 0, players = 0;
    for (uint32_t c = 0; c < s->conns.high; c++)
        closing += conn_at(s, c)->closing;
    EACH_LIVE(i, addresses) {
        const char *broken = check_heard(s, i);
        HOLDS(!broken, broken);
        closing -= address_at(s, i)->closing;
        connections += address_at(s, i)->connections;
        players += address_at(s, i)->players;
        HOLDS(find_address(s, address_at(s, i)->ipv4) == i, "an address is not found");
        HOLDS(address_at(s, i)->failed + address_at(s, i)->tries + address_at(s, i)->created == 0 ||
                  timer_at(s, s->address_timers + i)->queue == Q_ADDRESS,
              "what an address did is never forgotten");
    }
    HOLDS(connections == s->conn_count && players == s->players.live, "a connection or a player is of no address");
    HOLDS(closing == 0, "a connection that is closing is of no address");
    uint32_t guessed = 0;
    EACH_LIVE(i, guesses) {
        const struct guess *g = guess_at(s, i);
        guessed += g->failed >= FREE_GUESSES;
        HOLDS(find_guess(s, g->ipv4, g->name) == i, "wrong passwords for a name are not found");
        HOLDS(g->failed > 0 &&
                  timer_at(s, s->guess_timers + i)->queue == (g->failed < FREE_GUESSES ? Q_GUESS : Q_GUESSED),
              "wrong passwords for a name are never forgotten, or too early");
    }
    HOLDS(guessed == s->guessed, "the count of names that wait is not their recount");
    EACH_LIVE(i, directory)
        HOLDS(find_session(s, session_at(s, i)->sess) == i, "a directory session is not found");
    return NULL;
}

static const char *check_kept(const struct nascar *s)
{
    uint32_t watches = 0, lines = 0, promised = 0;
    EACH_LIVE(i, buddies) {
        const struct buddy *b = buddy_at(s, i);
        uint32_t asked = 0, due = 0;
        HOLDS(conn_at(s, b->conn)->buddy == i && persona_at(s, b->persona)->buddy == i, "a buddy link is half");
        for (uint32_t w = list_first(&b->watches); w != NONE; w = list_next(s, BUDDY_WATCHES, w)) {
            HOLDS(is_live(s, &s->watches, w) && watch_at(s, w)->buddy == i, "a buddy link watches for another");
            watches++;
            asked += (watch_at(s, w)->why & WATCH_ASKED) != 0;
            due += watch_at(s, w)->due;
        }
        HOLDS(asked == b->asked && asked <= WATCHES_ASKED, "a count of watches is not its recount");
        HOLDS(due == 0 || conn_at(s, b->conn)->behind || conn_at(s, b->conn)->closing, "news wait for nothing");
    }
    HOLDS(watches == s->watches.live, "a watch is nobody's");
    EACH_LIVE(i, races)
        HOLDS(find_race_ticket(s, race_ticket_at(s, i)->ticket) == i && race_ticket_at(s, i)->reported < 3,
              "a race is not found by its ticket");
    EACH_LIVE(i, reports)
        for (uint32_t k = list_first(&report_at(s, i)->lines); k != NONE; k = list_next(s, LINES_OF_REPORT, k), lines++)
            HOLDS(is_live(s, &s->report_lines, k) && report_line_at(s, k)->report == i,
                  "a report holds another's line");
    HOLDS(lines == s->report_lines.live, "a line is of no report");
    EACH_LIVE(i, unset_runs)
        HOLDS(unset_run_at(s, i)->since_s > 0, "a run without a clock has never begun");
    HOLDS(s->reached_s >= s->wall_s, "the date was never as new as it is");
    HOLDS(s->setting || s->setting_s == 0, "the clock is being set by nothing");
    for (uint32_t c = 0; c < s->conns.high; c++)
        promised += conn_at(s, c)->promised;
    HOLDS(promised == s->players.promised, "places are promised to nobody");
    uint32_t results = 0, newest = 0;
    for (uint32_t i = list_first(&s->latest); i != NONE; i = list_next(s, LATEST_RESULTS, i), results++) {
        HOLDS(newest < result_at(s, i)->number[RESULT_ID], "results are out of order");
        newest = result_at(s, i)->number[RESULT_ID];
    }
    HOLDS(results == s->results.live && newest <= s->next_result, "a result is not among the latest, or not numbered");
    EACH_LIVE(i, notices) {
        size_t n = strlen(notice_at(s, i)->text);
        HOLDS(n > 0 && n <= NEWS_CHARS && notice_at(s, i)->text[n - 1] == '\n', "the operator's news are none");
    }
    return NULL;
}

/* Does a ban for good leave this connection's player, or its buddy, online? Others may
 * come to hold again, as a clock that drifts is put right. */
static bool is_banned_for_good(const struct nascar *s, const struct conn *conn)
{
    uint32_t account = conn->player != NONE  ? player_at(s, conn->player)->account
                       : conn->buddy != NONE ? persona_at(s, buddy_at(s, conn->buddy)->persona)->account
                                             : NONE;
    uint32_t ban = account == NONE ? NONE : find_ban(s, account_at(s, account)->name, conn->peer);
    return ban != NONE && sanction_at(s, ban)->until_s == 0;
}

static const char *check_sanctions(const struct nascar *s)
{
    uint64_t bits = 0;
    EACH_LIVE(i, sanctions) {
        const struct sanction *sanction = sanction_at(s, i);
        struct network network = {0, 0};
        HOLDS(valid_target(sanction->target, sanction->mute, &network), "a ban or a mute is of nobody");
        HOLDS(find_sanction(s, sanction->mute, sanction->target) == i, "a ban or a mute is not found");
        bits |= network.bits > 0 ? UINT64_C(1) << network.bits : 0;
    }
    HOLDS((bits & ~s->banned_bits) == 0, "a network is banned, and none of its size");
    for (uint32_t c = 0; c < s->conns.high; c++)
        HOLDS(conn_at(s, c)->state == CONN_FREE || !is_banned_for_good(s, conn_at(s, c)), "somebody banned is online");
    return NULL;
}

static const char *check_dns(const struct nascar *s)
{
    HOLDS(s->datagram.size <= DNS_ANSWER_BYTES, "an answer by DNS is longer than one can be");
    for (uint32_t i = 0; i < DNS_ASKERS; i++)
        HOLDS(s->dns_asker[i].answers < 2 * DNS_ANSWERS, "a place for answers by DNS is outside its ring");
    return NULL;
}

const char *nascar_check(const struct nascar *s)
{
#define POOL_POINTER(name, type, at, capacity) &s->name,
#define INDEX_POINTER(name, pool, buckets) {&s->name, &s->pool},
    const struct pool *pools[] = {POOLS(POOL_POINTER)};
    const struct {
        const struct index *index;
        const struct pool *pool;
    } indexes[] = {INDEXES(INDEX_POINTER)};
    const char *(*const checks[])(
        const struct nascar *) = {check_lists,    check_timers,    check_conns, check_rooms,     check_players,
                                  check_accounts, check_addresses, check_kept,  check_sanctions, check_dns};
    const char *broken = NULL;
    HOLDS(s->entropy_size <= NASCAR_ENTROPY_BYTES, "there is more entropy than fits");
    HOLDS(s->record_taken <= s->record_count && s->record_count <= RECORDS, "records are counted wrongly");
    HOLDS(s->job_taken <= s->job_count && s->job_count <= RECORDS, "hash jobs are counted wrongly");
    HOLDS(!s->dated || s->wall_s == real_date(s->wall_s), "it is no date that can be");
    HOLDS(s->log_taken <= s->log_size && s->log_size <= LOG_BYTES, "log lines are counted wrongly");
    for (size_t i = 0; !broken && i < sizeof pools / sizeof pools[0]; i++) { /* never: only if the server is wrong */
        broken = check_pool(s, pools[i]);
    }
    for (size_t i = 0; !broken && i < sizeof indexes / sizeof *indexes; i++) { /* never: only if the server is wrong */
        broken = check_index(s, indexes[i].index, indexes[i].pool);
    }
    for (size_t i = 0; !broken && i < sizeof checks / sizeof checks[0]; i++)
        broken = checks[i](s);
    return broken;
}

/* ============================================================================
 * 9. The shell: everything below touches the operating system.
 * ========================================================================== */
#ifndef NASCAR_NO_SHELL

#include <arpa/inet.h>
#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h> /* rename(), and nothing else */
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <termios.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* ---- Text of values ------------------------------------------------------- */

/* In place of <stdio.h>, which brings 20 KiB along into a static binary. */

/* A value as a format has it spelled. */
struct spelling {
    const char *chars;
    size_t size, width; /* of how many characters it is, and is to be at least */
    bool left;          /* what is missing stands behind it */
    char digits[24];
};

/* Reads a number of a format, which may be one of the values. */
static size_t format_number(const char **format, va_list *values)
{
    size_t number = 0;
    if (**format == '*') {
        ++*format;
        return (size_t)va_arg(*values, int);
    }
    for (; is_digit((uint8_t) * *format); ++*format)
        number = number * 10 + (size_t)(**format - '0');
    return number;
}

static void spell_number(struct spelling *s, uint64_t value, uint32_t base, bool negative, size_t digits)
{
    char *p = s->digits + sizeof s->digits;
    do
        *--p = "0123456789abcdef"[value % base];
    while (value /= base, value > 0 || (size_t)(s->digits + sizeof s->digits - p) < digits);
    if (negative)
        *--p = '-';
    s->chars = p;
    s->size = (size_t)(s->digits + sizeof s->digits - p);
}

/* Spells the next value. `format` is behind the %; returns its last character. */
static const char *spell(struct spelling *s, const char *format, va_list *values)
{
    size_t most = SIZE_MAX, longs = 0;
    s->left = *format == '-';
    format += s->left;
    bool zeros = *format == '0';
    s->width = format_number(&format, values);
    if (*format == '.') {
        format++;
        most = format_number(&format, values);
    }
    for (; *format == 'l' || *format == 'z'; format++)
        longs += *format == 'l' ? 1 : 3;
    if (*format == 's') {
        s->chars = va_arg(*values, const char *);
        for (s->size = 0; s->size < most && s->chars[s->size];)
            s->size++;
    } else if (*format == 'c' || *format == '%') {
        s->digits[0] = (char)(*format == 'c' ? va_arg(*values, int) : '%');
        s->chars = s->digits;
        s->size = 1;
    } else if (*format == 'd') {
        assert(longs == 0 && !zeros);
        int64_t value = va_arg(*values, int);
        spell_number(s, (uint64_t)(value < 0 ? -value : value), 10, value < 0, 1);
    } else {
        assert(*format == 'u' || *format == 'x' || *format == 'o');
        uint64_t value = longs == 0   ? va_arg(*values, unsigned)
                         : longs == 1 ? va_arg(*values, unsigned long)
                         : longs == 2 ? va_arg(*values, unsigned long long)
                                      : va_arg(*values, size_t);
        spell_number(s, value, *format == 'u' ? 10 : *format == 'x' ? 16 : 8, false, zeros ? s->width : 1);
    }
    return format;
}

static int write_list(char *out, size_t out_bytes, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));
static int write_as(char *out, size_t out_bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Writes a text as vsnprintf() does, of whose formats it knows those that are used here:
 * %d, and %s %c %u %x %o with a width, l, ll, z, and a precision of %s; %%. */
static int write_list(char *out, size_t out_bytes, const char *format, va_list arguments)
{
    size_t size = 0;
    va_list values;
    va_copy(values, arguments);
    for (; *format; format++) {
        struct spelling s = {.chars = format, .size = 1};
        if (*format == '%')
            format = spell(&s, format + 1, &values);
        size_t blanks = s.width > s.size ? s.width - s.size : 0, front = s.left ? 0 : blanks;
        for (size_t i = 0; i < blanks + s.size; i++, size++)
            if (size + 1 < out_bytes)
                out[size] = (char)(i >= front && i < front + s.size ? s.chars[i - front] : ' ');
    }
    va_end(values);
    if (out_bytes > 0)
        out[size < out_bytes ? size : out_bytes - 1] = 0;
    return (int)size;
}

/* The same as snprintf(): returns how long the whole text is, also where it was cut. */
static int write_as(char *out, size_t out_bytes, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int size = write_list(out, out_bytes, format, values);
    va_end(values);
    return size;
}

#ifdef NASCAR_ASSERT_LINES
static void assertion_failed(unsigned line)
{
    char text[96];
    int size =
        write_as(text, sizeof text, "nascar_server %s: the assertion of line %u does not hold\n", NASCAR_VERSION, line);
    (void)!write(STDERR_FILENO, text, (size_t)size);
    abort();
}
#endif

/* ---- The operating system, as a table ------------------------------------ */

/* What an error number means, and what to do about it; valid until the next call. */
static const char *why(int error)
{
    static const struct {
        int error;
        const char *advice;
    } known[] = {
        {EMFILE, "raise the limit of open files (ulimit -n)"},
        {ENFILE, "too many files are open on this machine"},
        {ENOMEM, "free some memory, or raise its limit (ulimit -v)"},
        {ENOSPC, "make room on the disk"},
        {EDQUOT, "make room, or have the quota raised"},
        {EFBIG, "raise the limit of the size of files (ulimit -f)"},
        {EROFS, "it is mounted for reading only"},
        {EACCES, "this user may not do that: allow it, or run as another"},
        {EPERM, "this user may not do that: allow it, or run as another"},
        {EADDRINUSE, "another program has that port: stop it, or choose another port"},
        {EADDRNOTAVAIL, "choose an address of this machine (--bind)"},
        {ENOENT, "is the name right, and is there the folder that it is to be in?"},
        {ENOTDIR, "name a folder there"},
        {EISDIR, "name a file, and not a folder"},
        {ENAMETOOLONG, "choose a shorter one"},
        {ENXIO, "nobody reads from there"},
        {EIO, "see what the system's log says of that disk"},
    };
    static char text[192];
    const char *advice = "";
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].error == error)
            advice = known[i].advice;
    (void)write_as(text, sizeof text, "%s%s%s", strerror(error), advice[0] ? ": " : "", advice);
    return text;
}

struct sandbox;

/* What keeps others from a folder: a lock of it, or one of its file `pid`. */
struct folder_lock {
    int pid_file;           /* open; -1: it could not be made */
    int by_folder, by_file; /* 0, or why there is no such lock */
    int pid;                /* of the process that the file has named; 0: none */
};

/* The last thing that was written to a file, by which it is known again. */
#define TAIL_BYTES 20u
struct tail {
    uint64_t at;
    uint32_t size;
    uint8_t bytes[TAIL_BYTES];
};

/* All that the loop asks of the system, so that a simulator can stand in its
 * place; but for memory, and for the files that a reload reads. Each is as the
 * call of that name: -1 and errno on failure. */
struct nascar_sys {
    int (*poll)(void *world, struct pollfd *fds, uint32_t count, int timeout_ms);
    /* The number of one that has come; 0: none has. hang_up: SIGHUP from who sends it as a terminal goes away. */
    uint32_t (*signal)(void *world, int fd, bool *hang_up);
    int (*accept)(void *world, int listener, uint32_t *peer, uint32_t *local);
    ssize_t (*read)(void *world, int fd, void *bytes, size_t size);
    ssize_t (*write)(void *world, int fd, const void *bytes, size_t size);
    /* Sends a datagram, or receives the next one, of which its bytes have as much as fits. Returns the size. */
    ssize_t (*exchange)(void *world, int fd, bool sends, struct nascar_datagram *datagram);
    void (*close)(void *world, int fd);                                  /* with a FIN and not a reset, if possible */
    int (*log_open)(void *world, const char *path);                      /* to append to; "": standard error */
    ssize_t (*log)(void *world, int fd, const char *text, size_t size);  /* as much as is taken without waiting */
    bool (*append)(void *world, int fd, const void *bytes, size_t size); /* all of it, or it returns false */
    bool (*entropy)(void *world, void *bytes, size_t size);
    uint64_t (*mono_ms)(void *world);
    int64_t (*wall_s)(void *world);
    /* Files of the data folder, by their names in it. */
    int (*open)(void *world, int folder, const char *name, bool fresh); /* to append to; fresh: made anew, empty */
    uint8_t *(*load)(void *world, int fd, size_t *size);                /* the whole file; NULL: it cannot be read */
    void (*unload)(void *world, uint8_t *bytes, size_t size);
    bool (*truncate)(void *world, int fd, uint64_t size);
    bool (*sync)(void *world, int fd);
    bool (*rename)(void *world, int folder, const char *from, const char *to);
    bool (*sync_folder)(void *world, int folder);
    void (*remove)(void *world, int folder, const char *name);
    /* What became of an open file that had so many bytes, and that this path led to; NULL: it is as it was. */
    const char *(*changed)(void *world, const char *path, int fd, uint64_t size, const struct tail *tail);
    int (*set_aside)(void *world, int folder, const char *name); /* as NAME.found-N: N; 0: there is no such file */
    /* The folder that this path leads to, made if it is missing, and locked: `folder`, if it still is that. Else
     * `folder` and its lock are given up. */
    int (*folder)(void *world, const char *path, int folder, struct folder_lock *lock);
    /* Says in the file `pid` who uses the folder. Opens and locks it in *file, if that is -1. */
    bool (*sign)(void *world, int folder, int *file);
    /* A listener for the operator, by its name in the folder, for this group, too, if it is not NONE. */
    int (*control)(void *world, int folder, uint32_t group);
    int (*helper)(void *world, int *process); /* starts the hashing helper, and returns a socket to it */
    int (*finder)(void *world, int *process); /* the same for the process that looks up a host's address */
    void (*kill)(void *world, int process);
    int (*spare)(void *world, int fd); /* another descriptor of it, so that there is one to give up */
    uint64_t (*room)(void *world,
                     int fd); /* how many bytes the disk of this file has left; as many as can be: unknown */
    bool (*stands)(void *world, int folder, const char *name); /* is there a file of this name? */
};

/* Reserves memory that costs nothing until it is used. NULL if there is no room
 * for it. */
static void *reserve(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Gives it back; `memory` may be NULL. */
static void release(void *memory, size_t size)
{
    if (memory)
        (void)munmap(memory, size);
}

/* Moves what reserve() has given into more room; NULL, with nothing changed, if there is none. */
static void *reserve_more(void *memory, size_t size, size_t room)
{
    void *more = reserve(room);
    if (more && memory)
        memcpy(more, memory, size);
    if (more)
        release(memory, size);
    return more;
}

static int system_poll(void *world, struct pollfd *fds, uint32_t count, int timeout_ms)
{
    (void)world;
    return poll(fds, count, timeout_ms);
}

/* Opens our terminal and closes it again. Returns 0, or why that fails: with
 * ENXIO there is none, or none any more. */
static int try_terminal(void)
{
    int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno;
    (void)close(fd);
    return 0;
}

/* When a terminal goes away, the kernel sends SIGHUP to some of its processes; the
 * kernel has no other use for it. Shells send it on to their jobs. They belong to
 * our session, and the terminal is gone by then: else they mean a reload, as all
 * others do. */
static uint32_t system_signal(void *world, int fd, bool *hang_up)
{
    struct signalfd_siginfo info;
    (void)world;
    if (read(fd, &info, sizeof info) != sizeof info)
        return 0;
    pid_t sender = (pid_t)info.ssi_pid, session = getsid(0);
    bool of_ours = sender > 0 && (sender == session || getsid(sender) == session); /* it may have ended */
    *hang_up = info.ssi_code == SI_KERNEL || (of_ours && try_terminal() == ENXIO);
    return info.ssi_signo;
}

/* The address of an IPv4 socket; of the operator's, which has none, the user who is at its other end. */
static uint32_t socket_peer(int fd, const struct sockaddr_in *address)
{
    struct ucred who = {.uid = NONE};
    socklen_t size = sizeof who;
    if (address->sin_family == AF_INET)
        return ntohl(address->sin_addr.s_addr);
    (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size);
    return who.uid;
}

static int system_accept(void *world, int listener, uint32_t *peer, uint32_t *local)
{
    struct sockaddr_in from, to;
    socklen_t from_size = sizeof from, to_size = sizeof to;
    int on = 1;
    (void)world;
    memset(&from, 0, sizeof from);
    memset(&to, 0, sizeof to);
    int fd = accept4(listener, (struct sockaddr *)&from, &from_size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -1;
    (void)getsockname(fd, (struct sockaddr *)&to, &to_size);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *peer = socket_peer(fd, &from);
    *local = socket_peer(fd, &to);
    return fd;
}

static ssize_t system_read(void *world, int fd, void *bytes, size_t size)
{
    (void)world;
    return recv(fd, bytes, size, 0);
}

/* What is written ends its TCP segment: with TCP_NODELAY it leaves at once, and
 * with MSG_EOR the kernel does not join it to what follows (PROTOCOL 1). */
static ssize_t system_write(void *world, int fd, const void *bytes, size_t size)
{
    (void)world;
    return send(fd, bytes, size, MSG_NOSIGNAL | MSG_EOR);
}

/* At which address of ours goes along with it, as the system would choose one for an answer. */
static ssize_t system_exchange(void *world, int fd, bool sends, struct nascar_datagram *d)
{
    struct sockaddr_in peer = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)d->port),
                               .sin_addr.s_addr = htonl(d->peer)};
    struct iovec part = {(void *)(uintptr_t)d->bytes, d->size};
    union {
        struct cmsghdr head;
        struct {
            char head[CMSG_LEN(0)];
            struct in_pktinfo info;
        } whole;
    } ours;
    struct msghdr message;
    (void)world;
    memset(&message, 0, sizeof message);
    memset(&ours, 0, sizeof ours);
    message.msg_name = &peer;
    message.msg_namelen = sizeof peer;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &ours;
    message.msg_controllen = sizeof ours;
    ours.head.cmsg_len = CMSG_LEN(sizeof ours.whole.info);
    ours.head.cmsg_level = IPPROTO_IP;
    ours.head.cmsg_type = IP_PKTINFO;
    ours.whole.info.ipi_spec_dst.s_addr = htonl(d->local);
    ssize_t n = sends ? sendmsg(fd, &message, 0) : recvmsg(fd, &message, 0);
    d->peer = ntohl(peer.sin_addr.s_addr);
    d->port = ntohs(peer.sin_port);
    d->local = ntohl(ours.whole.info.ipi_spec_dst.s_addr);
    return n;
}

/* Input that is left unread would turn the close into a reset, and that can
 * take our last answer away from the console. So some of it is read first. */
static void system_close(void *world, int fd)
{
    char waste[4096];
    (void)world;
    (void)shutdown(fd, SHUT_WR);
    for (int i = 0; i < 4 && recv(fd, waste, sizeof waste, MSG_DONTWAIT) > 0; i++)
        continue;
    (void)close(fd);
}

static bool system_append(void *world, int fd, const void *bytes, size_t size)
{
    const char *p = bytes;
    (void)world;
    while (size > 0) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        }
    }
    return true;
}

/* Writes as much as is taken at once, whatever that is which is written to. A
 * stream that others have open, too, is theirs to wait for: it has O_NONBLOCK for
 * this one call only. */
static ssize_t write_now(int fd, const void *bytes, size_t size)
{
    struct stat about = {0};
    if (fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode))
        return send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    int flags = fcntl(fd, F_GETFL);
    bool waits = flags >= 0 && !(flags & O_NONBLOCK) && !S_ISREG(about.st_mode);
    if (waits)
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    ssize_t n = write(fd, bytes, size);
    int error = errno;
    if (waits)
        (void)fcntl(fd, F_SETFL, flags);
    errno = error;
    return n;
}

/* Standard error is opened anew if it is a pipe or a terminal, so that O_NONBLOCK is
 * not set for others; where that cannot be, write_now() does without. A file is not:
 * what else is written to it has its own place there. */
static int system_log_open(void *world, const char *path)
{
    const int flags = O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    struct stat about;
    (void)world;
    if (path[0])
        return open(path, flags | O_CREAT, 0600);
    bool shared = fstat(STDERR_FILENO, &about) == 0 && (S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode));
    int fd = shared ? open("/proc/self/fd/2", flags) : -1;
    return fd >= 0 ? fd : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
}

/* Standard error that was closed takes all, and shows it to nobody. */
static ssize_t system_log(void *world, int fd, const char *text, size_t size)
{
    (void)world;
    ssize_t n = write_now(fd, text, size);
    return n < 0 && errno == EBADF ? (ssize_t)size : n;
}

/* A signal may cut it short; an old kernel, or a filter, has no getrandom(). */
static bool system_entropy(void *world, void *bytes, size_t size)
{
    uint8_t *p = bytes;
    int file = -1;
    (void)world;
    while (size > 0) {
        ssize_t n = file < 0 ? getrandom(p, size, 0) : read(file, p, size);
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            if (file >= 0 || (file = open("/dev/urandom", O_RDONLY | O_CLOEXEC)) < 0)
                break;
        }
    }
    if (file >= 0)
        (void)close(file);
    return size == 0;
}

static int system_spare(void *world, int fd)
{
    (void)world;
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static uint64_t system_mono_ms(void *world)
{
    struct timespec now;
    (void)world;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int64_t system_wall_s(void *world)
{
    struct timespec now;
    (void)world;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

/* ---- Files of the data folder -------------------------------------------- */

/* Opens a file of the folder, with these flags beside the usual ones; -1 if there is something else of its name. */
static int open_regular(int folder, const char *name, int flags)
{
    const int usual = O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK; /* the last is for what is no file */
    int fd = openat(folder, name, usual | flags, 0600);
    struct stat status;
    if (fd < 0 || (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)))
        return fd;
    (void)close(fd);
    errno = EEXIST;
    return -1;
}

static int system_open(void *world, int folder, const char *name, bool fresh)
{
    (void)world;
    return open_regular(folder, name, fresh ? O_CREAT | O_TRUNC : 0);
}

/* Reads the file and does not map it: so a failing disk is an error and not a
 * signal. */
static uint8_t *system_load(void *world, int fd, size_t *size)
{
    struct stat status;
    (void)world;
    if (fstat(fd, &status) != 0)
        return NULL;
    if ((uintmax_t)status.st_size >= SIZE_MAX / 2) {
        errno = EFBIG;
        return NULL;
    }
    size_t room = (size_t)status.st_size + 1, done = 0; /* not 0 for an empty file, as mmap() refuses that */
    uint8_t *bytes = reserve(room);
    while (bytes && done < room - 1) {
        ssize_t n = pread(fd, bytes + done, room - 1 - done, (off_t)done);
        if (n == 0) /* it has become shorter */
            errno = EIO;
        if (n == 0 || (n < 0 && errno != EINTR)) {
            (void)munmap(bytes, room);
            return NULL;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    *size = done;
    return bytes;
}

static void system_unload(void *world, uint8_t *bytes, size_t size)
{
    (void)world;
    (void)munmap(bytes, size + 1);
}

static bool system_truncate(void *world, int fd, uint64_t size)
{
    (void)world;
    return ftruncate(fd, (off_t)size) == 0;
}

static bool system_sync(void *world, int fd)
{
    (void)world;
    return fdatasync(fd) == 0;
}

static bool system_rename(void *world, int folder, const char *from, const char *to)
{
    (void)world;
    return renameat(folder, from, folder, to) == 0;
}

/* EINVAL: this file system's folders need no sync. */
static bool system_sync_folder(void *world, int folder)
{
    (void)world;
    return fsync(folder) == 0 || errno == EINVAL;
}

/* Root may use what a file system keeps back, too. */
static uint64_t system_room(void *world, int fd)
{
    struct statfs about;
    (void)world;
    if (fstatfs(fd, &about) != 0 || about.f_blocks == 0)
        return UINT64_MAX;
    return (uint64_t)(geteuid() == 0 ? about.f_bfree : about.f_bavail) *
           (uint64_t)(about.f_frsize ? about.f_frsize : about.f_bsize);
}

static bool system_stands(void *world, int folder, const char *name)
{
    struct stat status;
    (void)world;
    return fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

static void system_remove(void *world, int folder, const char *name)
{
    (void)world;
    (void)unlinkat(folder, name, 0);
}

/* A full disk is no reason not to play: it is not full for ever. */
static bool is_full(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

/* Nor are files or memory that have run out, for what may wait. */
static bool is_short(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* Opens the file `pid` in *file, to keep it open, and locks it. Returns 0;
 * EWOULDBLOCK if another server has locked it; or why it cannot be opened or locked. */
static int lock_pid_file(int folder, int *file)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat status;
    for (;;) {
        *file = open_regular(folder, "pid", O_CREAT);
        if (*file < 0)
            return errno;
        if (fcntl(*file, F_SETLK, &all) != 0)
            return errno == EACCES ? EWOULDBLOCK : errno;
        if (fstat(*file, &status) != 0 || status.st_nlink > 0)
            return 0;
        (void)close(*file); /* whoever had it has just removed it, and ended */
    }
}

/* Locks a folder, and the file `pid` in it: one of the two will do, as not every
 * file system has both kinds of locks. Where there is neither, whoever is named in
 * that file has the folder while he lives. Returns false if another server has it. */
static bool lock_folder(int folder, struct folder_lock *lock)
{
    char text[16];
    lock->by_folder = flock(folder, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    lock->by_file = lock_pid_file(folder, &lock->pid_file);
    ssize_t n = lock->pid_file >= 0 ? pread(lock->pid_file, text, sizeof text - 1, 0) : -1;
    text[n > 0 ? n : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    uint32_t pid = 0;
    lock->pid = parse_number(text, 1, INT32_MAX, &pid) ? (pid_t)pid : 0;
    bool named = lock->pid > 0 && lock->pid != getpid() && (kill(lock->pid, 0) == 0 || errno == EPERM);
    if (lock->by_folder != EWOULDBLOCK && lock->by_file != EWOULDBLOCK &&
        (lock->by_folder == 0 || lock->by_file == 0 || !named))
        return true;
    if (lock->pid_file >= 0)
        (void)close(lock->pid_file);
    lock->pid_file = -1;
    return false;
}

static bool system_sign(void *world, int folder, int *file)
{
    char pid[16];
    int n = write_as(pid, sizeof pid, "%d\n", (int)getpid());
    struct stat status;
    if (*file >= 0 && fstat(*file, &status) == 0 && status.st_nlink == 0) { /* somebody has removed it */
        (void)close(*file);
        *file = -1;
    }
    if (*file < 0)
        (void)lock_pid_file(folder, file);
    return *file >= 0 && ftruncate(*file, 0) == 0 && system_append(world, *file, pid, (size_t)n);
}

/* What stands under this name, if it is none of this type; NULL: that, or nothing does. */
static const char *wrong_type(int folder, const char *name, mode_t type)
{
    struct stat status;
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || (status.st_mode & S_IFMT) == type)
        return NULL;
    switch (status.st_mode & S_IFMT) {
    case S_IFLNK: return "a symbolic link";
    case S_IFDIR: return "a folder";
    case S_IFREG: return "a regular file";
    case S_IFIFO: return "a FIFO";
    case S_IFSOCK: return "a socket";
    default: return "a device";
    }
}

/* One look at a file that only we write to, which is enough: its last batch says
 * which one it is, and what it holds. Only bytes that were changed further in
 * front, by somebody who left the size alone, are not seen. */
static const char *system_changed(void *world, const char *path, int fd, uint64_t size, const struct tail *tail)
{
    struct stat named, ours;
    uint8_t bytes[TAIL_BYTES];
    (void)world;
    if (lstat(path, &named) != 0)
        return errno == ENOENT || errno == ENOTDIR ? "it was removed" : why(errno);
    if (fstat(fd, &ours) != 0)
        return why(errno);
    if (named.st_dev != ours.st_dev || named.st_ino != ours.st_ino)
        return "another file has taken its place";
    if ((uintmax_t)ours.st_size < size)
        return "it was cut";
    if ((uintmax_t)ours.st_size > size)
        return "something else was written to it";
    if (pread(fd, bytes, tail->size, (off_t)tail->at) != (ssize_t)tail->size)
        return "it cannot be read";
    return memcmp(bytes, tail->bytes, tail->size) == 0 ? NULL : "it was overwritten";
}

/* A second name first, so that there is always a file of the first one; but not
 * every file system has that, and no folder has two names. */
static int system_set_aside(void *world, int folder, const char *name)
{
    char as[64];
    struct stat status;
    (void)world;
    for (int n = 1; n < 10000; n++) {
        (void)write_as(as, sizeof as, "%s.found-%d", name, n);
        if (fstatat(folder, as, &status, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        if (linkat(folder, name, folder, as, 0) == 0 || renameat(folder, name, folder, as) == 0)
            return n;
        return errno == ENOENT ? 0 : -1;
    }
    errno = EEXIST;
    return -1;
}

/* A folder that was just made is on the disk when the one above it is synced; one that we may not read, others made. */
static bool sync_name(int folder)
{
    int above = openat(folder, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = above < 0 || system_sync_folder(NULL, above) || errno != EIO;
    if (above >= 0)
        (void)close(above);
    return good;
}

/* Whoever may write to the folder can put another journal there. */
static bool is_ours(int folder, struct stat *about)
{
    return fstat(folder, about) == 0 && about->st_uid == geteuid() && !(about->st_mode & (S_IWGRP | S_IWOTH));
}

static bool is_strict(const struct sandbox *x);

static int system_folder(void *world, const char *path, int folder, struct folder_lock *lock)
{
    struct stat there, ours;
    struct folder_lock fresh_lock;
    (void)world;
    if (stat(path, &there) == 0 && fstat(folder, &ours) == 0 && there.st_dev == ours.st_dev &&
        there.st_ino == ours.st_ino)
        return folder;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return -1;
    int fresh = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fresh < 0)
        return -1;
    bool synced = sync_name(fresh), safe = is_ours(fresh, &there) || !is_strict(world);
    if (!synced || !safe || !lock_folder(fresh, &fresh_lock)) {
        (void)close(fresh);
        errno = !synced ? EIO : !safe ? EACCES : EWOULDBLOCK;
        return -1;
    }
    (void)close(folder);
    if (lock->pid_file >= 0)
        (void)close(lock->pid_file);
    *lock = fresh_lock;
    return fresh;
}

static const struct sockaddr_un control_address = {.sun_family = AF_UNIX, .sun_path = "control"};

/* Lets the users of a group through the folder in which we are, and no further: what its name is, they have to
 * know. A folder that lets them through already stays as it is. The socket is its owner's alone from its first
 * moment; only then it is given to the group. */
static bool open_control_to(gid_t group)
{
    struct stat about;
    if (stat(".", &about) != 0)
        return false;
    mode_t mode = (about.st_mode & 07777 & ~(mode_t)S_IRWXG) | S_IXGRP;
    bool passable = about.st_mode & (about.st_gid == group ? S_IXGRP : S_IXOTH);
    return (passable || (chown(".", (uid_t)-1, group) == 0 && chmod(".", mode) == 0)) &&
           lchown(control_address.sun_path, (uid_t)-1, group) == 0 && chmod(control_address.sun_path, 0660) == 0;
}

/* The path of a socket must be short, so this is done inside the folder. */
static int system_control(void *world, int folder, uint32_t group)
{
    int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error = errno;
    mode_t mask = umask(0177);
    bool good = here >= 0 && fd >= 0;
    if (good) {
        system_remove(world, folder, "control");
        good = fchdir(folder) == 0 &&
               bind(fd, (const struct sockaddr *)&control_address, sizeof control_address) == 0 &&
               (group == NONE || open_control_to((gid_t)group)) && listen(fd, 4) == 0;
        error = errno;
    }
    (void)umask(mask);
    if (here < 0 || fchdir(here) != 0)
        good = false;
    if (here >= 0)
        (void)close(here);
    if (!good && fd >= 0)
        (void)close(fd);
    errno = error;
    return good ? fd : -1;
}

/* ---- The sandbox: what this process may still ask of the system ----------- */

/* What the system calls below know of their server, as `world`; NULL: there is no
 * sandbox. The two words are for the log and for `stats`: on, off, or missing, if the
 * kernel does not have it. */
struct sandbox {
    bool wanted;    /* --sandbox */
    bool gives_up;  /* root, for the next two */
    bool has_given; /* ... and it has done so */
    uint32_t uid, gid;
    uint32_t control_gid; /* that of --control-group, to which it gives the socket; NONE: there is none */
    const char *seccomp, *landlock;
};

/* Root, also one that is given up, uses no folder of others; for anybody else that is his own affair. */
static bool is_strict(const struct sandbox *x)
{
    return geteuid() == 0 || (x && x->gives_up);
}

/* The kernel's own words: the machine that compiles this may have none of its
 * headers, or older ones. From <linux/filter.h>, <linux/audit.h> and <linux/seccomp.h>: */
struct filter_step {
    uint16_t code;
    uint8_t yes, no; /* steps to pass over */
    uint32_t value;
};

struct filter_program {
    uint16_t count;
    const struct filter_step *steps;
};

#define STEP_LOAD 0x20u     /* BPF_LD | BPF_W | BPF_ABS */
#define STEP_AND 0x54u      /* BPF_ALU | BPF_AND | BPF_K */
#define STEP_IS_EQUAL 0x15u /* BPF_JMP | BPF_JEQ | BPF_K */
#define STEP_RETURN 0x06u   /* BPF_RET | BPF_K */
#define CALL_ALLOWED 0x7fff0000u
#define CALL_TRAPPED 0x00030000u /* it is not made, and SIGSYS comes in its place */
#define OF_NUMBER 0u
#define OF_PROCESSOR 4u
#define OF_ARGUMENT(n) (16u + 8u * (n) + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4u : 0u)) /* its lower half */
#define FILTER_MODE 2                                                                        /* SECCOMP_MODE_FILTER */
#define BECAUSE_OF_FILTER 1 /* SYS_SECCOMP, of <asm-generic/siginfo.h> */

/* How the kernel names this processor (AUDIT_ARCH_...), and how a handler has a
 * call fail that was trapped. All others do without a filter. */
#if defined __x86_64__ && !defined __ILP32__
#define PROCESSOR 0xc000003eu
#define FAIL_CALL(u) ((u)->uc_mcontext.gregs[REG_RAX] = -EPERM)
#elif defined __i386__
#define PROCESSOR 0x40000003u
#define FAIL_CALL(u) ((u)->uc_mcontext.gregs[REG_EAX] = -EPERM)
#elif defined __aarch64__
#define PROCESSOR (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 0x800000b7u : 0xc00000b7u)
#define FAIL_CALL(u) ((u)->uc_mcontext.regs[0] = (unsigned long long)-EPERM)
#elif defined __arm__ && defined __ARM_EABI__
#define PROCESSOR (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 0x00000028u : 0x40000028u)
#define FAIL_CALL(u) ((u)->uc_mcontext.arm_r0 = (unsigned long)-EPERM)
#elif defined __mips__ && _MIPS_SIM == _ABIO32
#define PROCESSOR (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 0x00000008u : 0x40000008u)
#define FAIL_CALL(u) ((u)->uc_mcontext.gregs[2] = EPERM, (u)->uc_mcontext.gregs[7] = 1)
#endif

/* A call that a process may make; if `mask` is not 0, then only with an argument that,
 * masked, is `value`. Whatever has no row is refused: so are execve, ptrace, connect,
 * and the numbers of the x32 ABI. */
struct call {
    uint16_t number;
    uint8_t argument;
    int8_t mask; /* its sign goes on in front */
    uint32_t value;
};

#define CALL(name) \
    { \
        SYS_##name, 0, 0, 0 \
    }
#define CALL_WITH(name, argument, mask, value) \
    { \
        SYS_##name, argument, mask, value \
    }
#define GLIBC_FORK 0x01200000 /* CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID: the child shares nothing */
#define CALLS_OF(table) table, sizeof(table) / sizeof *(table)

/* clang-format off */
/* The server, from when it listens on. A call stands here under each name that a C
 * library may have for it on one of the processors. */
static const struct call server_calls[] = {
    /* each turn: it waits, reads, writes, and looks at the clock */
    CALL(ppoll), CALL(recvfrom), CALL(sendto), CALL(read), CALL(write), CALL(accept4), CALL(close), CALL(fcntl),
    CALL(fstat), CALL(getrandom),
    /* a new connection, and the end of one; who an operator is */
    CALL(getsockname), CALL(setsockopt), CALL(getsockopt), CALL(shutdown),
    /* files: the journal, the log, the options; a folder that is gone is made again */
    CALL(openat), CALL(statx), CALL(pread64), CALL(readv), CALL(lseek), CALL(ftruncate), CALL(fsync), CALL(fdatasync),
    CALL(renameat), CALL(linkat), CALL(unlinkat), CALL(mkdirat), CALL(flock), CALL(fstatfs), CALL(geteuid),
    /* the operator's socket, if it has to be made again, with its owner and rights */
    CALL_WITH(socket, 0, -1, AF_UNIX), CALL(bind), CALL(listen), CALL(fchdir), CALL(umask), CALL(fchmodat),
    CALL(fchownat),
    /* memory, none of which is ever run */
    CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise), CALL_WITH(mprotect, 2, PROT_EXEC, 0),
    /* another helper; all that is done there before helper_calls[] */
    CALL(socketpair), CALL_WITH(clone, 0, -1, SIGCHLD), CALL_WITH(clone, 0, -1, SIGCHLD | GLIBC_FORK), CALL(gettid),
    CALL(set_robust_list), CALL(set_tid_address), CALL(dup3), CALL(close_range), CALL_WITH(prlimit64, 0, -1, 0),
    CALL_WITH(prctl, 0, -1, PR_SET_NO_NEW_PRIVS), CALL_WITH(prctl, 0, -1, PR_SET_SECCOMP),
    /* signals: those that come, to the helper, and in a fault to oneself; which process still lives */
    CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(restart_syscall), CALL(kill), CALL(tkill),
    CALL(tgkill), CALL(getpid), CALL(getsid),
    /* the end */
    CALL(exit_group), CALL(exit),
#ifdef SYS_open /* not on aarch64, which is younger than these */
    CALL(poll), CALL(open), CALL(stat), CALL(lstat), CALL(mkdir), CALL(fork), CALL(dup2), CALL(chmod), CALL(chown),
    CALL(lchown),
#endif
#ifdef SYS_getrlimit
    CALL(getrlimit),
#endif
#ifdef SYS_clock_gettime32 /* musl's name for it */
    CALL(clock_gettime32),
#else
    CALL(clock_gettime),
#endif
#ifdef SYS_mmap2 /* 32 bits: what has another size or another form there */
    CALL_WITH(mmap2, 2, PROT_EXEC, 0), CALL(ppoll_time64), CALL(clock_gettime64), CALL(fcntl64), CALL(fstat64),
    CALL(stat64), CALL(lstat64), CALL(fstatat64), CALL(ftruncate64), CALL(_llseek), CALL(sigreturn), CALL(fstatfs64),
#else
    CALL_WITH(mmap, 2, PROT_EXEC, 0), CALL(newfstatat),
#endif
#ifdef SYS_ugetrlimit
    CALL(ugetrlimit), CALL(chown32), CALL(lchown32), CALL(geteuid32),
#endif
#ifdef SYS_send
    CALL(send), CALL(recv),
#endif
#ifdef __i386__ /* before Linux 4.3, and glibc: bind, listen, getsockname, socketpair to getsockopt, accept4 */
    CALL_WITH(socketcall, 0, -1, 2), CALL_WITH(socketcall, 0, -1, 4), CALL_WITH(socketcall, 0, ~1, 8),
    CALL_WITH(socketcall, 0, -1, 6), CALL_WITH(socketcall, 0, ~1, 10), CALL_WITH(socketcall, 0, ~1, 12),
    CALL_WITH(socketcall, 0, ~1, 14), CALL_WITH(socketcall, 0, -1, 18),
#endif
    /* DNS_CALLS, only with --dns: a question, and its answer */
    CALL(recvmsg), CALL(sendmsg),
#ifdef __i386__
    CALL_WITH(socketcall, 0, ~1, 16),
#define DNS_CALLS 3u
#else
#define DNS_CALLS 2u
#endif
};

/* The hashing helper, while it waits for passwords and answers. */
static const struct call helper_calls[] = {
    CALL(recvfrom), CALL(sendto), CALL(exit_group), CALL(exit), CALL(rt_sigreturn), CALL(restart_syscall),
    /* memory */
    CALL(brk), CALL(munmap), CALL(madvise),
#ifdef SYS_mmap2
    CALL_WITH(mmap2, 2, PROT_EXEC, 0), CALL(sigreturn),
#else
    CALL_WITH(mmap, 2, PROT_EXEC, 0),
#endif
#ifdef SYS_send
    CALL(send), CALL(recv),
#endif
#ifdef __i386__ /* send, recv, sendto, recvfrom */
    CALL_WITH(socketcall, 0, -1, 9), CALL_WITH(socketcall, 0, -1, 10), CALL_WITH(socketcall, 0, ~1, 12),
#endif
};

/* The process that looks up a host's address, and each child that it makes for that. */
static const struct call finder_calls[] = {
    CALL(recvfrom), CALL(sendto), CALL(exit_group), CALL(exit), CALL(rt_sigreturn), CALL(restart_syscall),
    /* a child, which it waits for, and ends */
    CALL(pipe2), CALL(ppoll), CALL(read), CALL(write), CALL(close), CALL(kill), CALL(rt_sigprocmask), CALL(gettid),
    CALL_WITH(clone, 0, -1, SIGCHLD), CALL_WITH(clone, 0, -1, SIGCHLD | GLIBC_FORK), CALL(set_robust_list),
    CALL(set_tid_address),
    /* /etc/hosts and /etc/resolv.conf, and a question by UDP */
    CALL(openat), CALL(readv), CALL(lseek), CALL(fstat), CALL(fcntl), CALL(ioctl), CALL(getrandom),
    CALL_WITH(socket, 0, -1, AF_INET), CALL(connect), CALL(bind), CALL(getsockname), CALL(setsockopt),
    /* memory */
    CALL(brk), CALL(munmap), CALL(madvise),
#ifdef SYS_open
    CALL(pipe), CALL(poll), CALL(open), CALL(fork),
#endif
#ifdef SYS_clock_gettime32
    CALL(clock_gettime32),
#else
    CALL(clock_gettime),
#endif
#ifdef SYS_mmap2
    CALL_WITH(mmap2, 2, PROT_EXEC, 0), CALL(ppoll_time64), CALL(clock_gettime64), CALL(fcntl64), CALL(fstat64),
    CALL(_llseek), CALL(sigreturn),
#else
    CALL_WITH(mmap, 2, PROT_EXEC, 0), CALL(newfstatat),
#endif
#ifdef SYS_send
    CALL(send), CALL(recv),
#endif
#ifdef __i386__
    CALL(socketcall),
#endif
};
/* clang-format on */

/* From here on this process, and each child of its, makes these calls only. Returns a
 * word of struct sandbox. It has to have given up privileges for good. */
static const char *filter_calls(const struct call *calls, size_t count)
{
#ifdef PROCESSOR
    struct filter_step steps[6 * 128 + 5], *p = steps;
    struct filter_program program = {0, steps};
    assert(count <= 128);
    *p++ = (struct filter_step){STEP_LOAD, 0, 0, OF_PROCESSOR};
    *p++ = (struct filter_step){STEP_IS_EQUAL, 1, 0, PROCESSOR};
    *p++ = (struct filter_step){STEP_RETURN, 0, 0, CALL_TRAPPED};
    *p++ = (struct filter_step){STEP_LOAD, 0, 0, OF_NUMBER};
    for (size_t i = 0; i < count; i++) {
        bool all = calls[i].mask == 0;
        *p++ = (struct filter_step){STEP_IS_EQUAL, 0, all ? 1 : 5, calls[i].number};
        if (!all) {
            *p++ = (struct filter_step){STEP_LOAD, 0, 0, OF_ARGUMENT(calls[i].argument)};
            *p++ = (struct filter_step){STEP_AND, 0, 0, (uint32_t)calls[i].mask};
            *p++ = (struct filter_step){STEP_IS_EQUAL, 0, 1, calls[i].value};
        }
        *p++ = (struct filter_step){STEP_RETURN, 0, 0, CALL_ALLOWED};
        if (!all)
            *p++ = (struct filter_step){STEP_LOAD, 0, 0, OF_NUMBER};
    }
    *p++ = (struct filter_step){STEP_RETURN, 0, 0, CALL_TRAPPED};
    program.count = (uint16_t)(p - steps);
    return prctl(PR_SET_SECCOMP, FILTER_MODE, &program) == 0 ? "on" : "missing";
#else
    (void)calls;
    (void)count;
    return "missing";
#endif
}

static void on_fault(int number);

/* The number of the last call that the filter has refused; -1: none was. */
static volatile sig_atomic_t refused_call = -1;

/* A call that was trapped fails, and shell_turn() logs it. */
static void on_refused(int number, siginfo_t *info, void *context)
{
#ifdef PROCESSOR
    if (info->si_code == BECAUSE_OF_FILTER) {
        ucontext_t *u = context;
        refused_call = info->si_syscall;
        FAIL_CALL(u);
        return;
    }
#else
    (void)info;
    (void)context;
#endif
    (void)signal(number, SIG_DFL); /* somebody has sent it */
    on_fault(number);
}

/* From <linux/landlock.h>, of version 5 of it: what may be done beneath a folder. */
#define MAY_WRITE_FILE (1u << 1)
#define MAY_READ_FILE (1u << 2)
#define MAY_READ_FOLDER (1u << 3)
#define MAY_REMOVE_FOLDER (1u << 4)
#define MAY_REMOVE_AND_MAKE_ANY (0xffu << 5) /* which is to rename a file, a link or a FIFO */
#define MAY_MAKE_FILE (1u << 8)
#define MAY_CUT (1u << 14)
#define MAY_MAKE_DATA (MAY_WRITE_FILE | MAY_READ_FILE | MAY_READ_FOLDER | MAY_REMOVE_AND_MAKE_ANY | MAY_CUT)
#define MAY_USE_DATA (MAY_MAKE_DATA | MAY_REMOVE_FOLDER)
#define ALL_OF_VERSION(v) ((v) >= 5 ? 0xffffu : (v) >= 3 ? 0x7fffu : (v) >= 2 ? 0x3fffu : 0x1fffu)
#define BIND_AND_CONNECT_TCP 3u /* from version 4 on */
#define RULE_BENEATH 1
#define ASK_VERSION 1u

struct landlock_attributes {
    uint64_t files, network; /* what nothing may do from now but what a rule allows */
};

struct landlock_beneath {
    uint64_t allowed;
    int32_t folder;
} __attribute__((packed));

/* Linux 5.13; a C library may be older. They have one number everywhere, but that
 * MIPS counts from 4000 on. */
#if defined __mips__ && _MIPS_SIM == _ABIO32
#define LANDLOCK_CALLS 4444
#else
#define LANDLOCK_CALLS 444
#endif
enum { LANDLOCK_CREATE = LANDLOCK_CALLS, LANDLOCK_ADD, LANDLOCK_RESTRICT };

/* Rules of Landlock that are being made. */
struct rules {
    int fd;
    uint32_t handled;
    bool whole; /* even the root folder may have one: it is that of --chroot */
};

/* Is it the root folder? A rule for that would allow all. */
static bool is_root_folder(int folder)
{
    struct stat here, above;
    return fstat(folder, &here) == 0 && S_ISDIR(here.st_mode) && fstatat(folder, "..", &above, 0) == 0 &&
           here.st_dev == above.st_dev && here.st_ino == above.st_ino;
}

/* Allows it for what stands beneath the path, which is that of a folder, from `at` on,
 * or for a file. What is not there has no rule. False if there is to be none. */
static bool allow_beneath(const struct rules *rules, int at, const char *path, uint32_t allowed)
{
    int fd = openat(at, path, O_PATH | O_CLOEXEC);
    struct landlock_beneath beneath = {allowed & rules->handled, fd};
    bool good = fd >= 0 && (rules->whole || !is_root_folder(fd));
    if (good)
        (void)syscall(LANDLOCK_ADD, rules->fd, RULE_BENEATH, &beneath, 0u);
    if (fd >= 0)
        (void)close(fd);
    return good;
}

/* Allows it in the folder of this file, as whoever changes a file makes a new one; of
 * a file right in the root folder, for the file that is there now. */
static void allow_in_folder_of(const struct rules *rules, const char *path, uint32_t allowed)
{
    char folder[PATH_MAX], *slash;
    copy_text(folder, sizeof folder, path);
    slash = strrchr(folder, '/');
    if (slash)
        slash[1] = 0;
    if (!allow_beneath(rules, AT_FDCWD, slash ? folder : ".", allowed))
        (void)allow_beneath(rules, AT_FDCWD, path, allowed & (MAY_READ_FILE | MAY_WRITE_FILE));
}

/* The same, and where it really is, if there is a symbolic link. */
static void allow_file(const struct rules *rules, const char *path, uint32_t allowed)
{
    char link[32], real[PATH_MAX];
    int fd = path && path[0] ? open(path, O_PATH | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    (void)write_as(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, real, sizeof real - 1);
    real[n > 0 ? n : 0] = 0;
    allow_in_folder_of(rules, path, allowed);
    if (n > 0)
        allow_in_folder_of(rules, real, allowed);
    (void)close(fd);
}

/* Begins rules; false if the kernel has none. */
static bool rules_begin(struct rules *rules, bool whole)
{
    long version = syscall(LANDLOCK_CREATE, NULL, (size_t)0, ASK_VERSION);
    rules->whole = whole;
    rules->handled = ALL_OF_VERSION(version);
    struct landlock_attributes attributes = {rules->handled, version >= 4 ? BIND_AND_CONNECT_TCP : 0};
    rules->fd = version < 1 ? -1 : (int)syscall(LANDLOCK_CREATE, &attributes, sizeof attributes, 0u);
    return rules->fd >= 0;
}

/* Has the rules hold. Returns a word of struct sandbox. */
static const char *rules_end(const struct rules *rules)
{
    bool good = syscall(LANDLOCK_RESTRICT, rules->fd, 0u) == 0;
    (void)close(rules->fd);
    return good ? "on" : "missing";
}

/* The user's only other group is the one that the operator's socket is given to. */
static bool take_groups(const struct sandbox *x)
{
    const gid_t group = x->control_gid;
    return setgroups(x->control_gid != NONE, &group) == 0;
}

/* Until root is given up, all files are opened as the user: so they are his, and he may
 * open them again. Ports, and the folder that is to be made, want root. */
static bool act_as_user(const struct sandbox *x, bool user)
{
    if (!x->gives_up)
        return true;
    return user ? take_groups(x) && setegid(x->gid) == 0 && seteuid(x->uid) == 0 : seteuid(0) == 0 && setegid(0) == 0;
}

/* Gives up root for good. Returns NULL, or what went wrong. */
static const char *give_up_root(const struct sandbox *x)
{
    if (!x->gives_up || x->has_given)
        return NULL;
    if (!act_as_user(x, false) || !take_groups(x) || setgid(x->gid) != 0 || setuid(x->uid) != 0)
        return why(errno);
    if (setuid(0) == 0 || seteuid(0) == 0 || (x->gid != 0 && setegid(0) == 0) || getuid() != x->uid ||
        getgid() != x->gid)
        return "it was given up, and could be taken back";
    return NULL;
}

/* ---- The hashing helper: a process of its own, as one hash takes so long --- */

/* What goes to the helper and what comes back, each as one message. */
struct hash_question {
    uint32_t number, cost;
    struct nascar_hash_job job;
};

struct hash_answer {
    uint32_t number;
    bool accepted;
    char fresh[HASH_CHARS + 1]; /* empty: none was asked for, or it failed */
};

typedef bool hash_function(const char *password, const char *setting, char *out, size_t out_bytes);

/* crypt_r() has a trap: for a setting that it does not know it falls back to
 * DES. So the hash has to begin as the setting does. */
static bool system_hash(const char *password, const char *setting, char *out, size_t out_bytes)
{
    struct crypt_data data;
    memset(&data, 0, sizeof data);
    const char *hash = crypt_r(password, setting, &data);
    bool good = hash && strncmp(setting, "$2b$", 4) == 0 && strncmp(hash, setting, 7) == 0 && strlen(hash) < out_bytes;
    if (good)
        copy_text(out, out_bytes, hash);
    wipe(&data, sizeof data);
    return good;
}

/* Writes a setting for bcrypt; the salt is in its own alphabet and order of bits. */
static void write_setting(char out[32], uint32_t cost, const uint8_t salt[16])
{
    static const char digits[] = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (void)write_as(out, 32, "$2b$%02u$", cost);
    char *p = out + 7;
    for (uint32_t bit = 0; bit < 128; bit += 6) {
        uint32_t two = (uint32_t)salt[bit / 8] << 8 | (bit / 8 + 1 < 16 ? salt[bit / 8 + 1] : 0u);
        *p++ = digits[two >> (10 - bit % 8) & 63];
    }
    *p = 0;
}

/* Compares a password with the stored hash, and makes a fresh one if that is
 * asked for. */
static void answer_question(const struct hash_question *question, struct hash_answer *answer, hash_function *hash)
{
    const struct nascar_hash_job *job = &question->job;
    char made[HASH_CHARS + 1], setting[32];
    size_t n = strlen(job->stored);
    memset(answer, 0, sizeof *answer);
    answer->number = question->number;
    answer->accepted = n == 0 || (hash(job->password, job->stored, made, sizeof made) && strlen(made) == n &&
                                  equal_secret((const uint8_t *)made, (const uint8_t *)job->stored, n));
    if (!answer->accepted || !job->fresh[0])
        return;
    write_setting(setting, question->cost, job->salt);
    if (!hash(job->fresh, setting, answer->fresh, sizeof answer->fresh))
        answer->fresh[0] = 0;
}

/* The C library keeps a few signals to itself, and lets nobody say what becomes of
 * them; each would end us. So the kernel is asked to hold them back, for good. */
static void hold_reserved_signals(void)
{
    unsigned long set[_NSIG / 8 / sizeof(unsigned long)] = {0};
    for (int bit = 31; bit + 1 < SIGRTMIN; bit++) /* that of signal 32, and so on */
        set[(size_t)bit / (8 * sizeof set[0])] |= 1ul << (size_t)bit % (8 * sizeof set[0]);
    (void)syscall(SYS_rt_sigprocmask, SIG_BLOCK, set, NULL, sizeof set);
}

/* The helper lets go of all that is the server's. It is to end only when the
 * server does, and no port or lock may stay taken because of it. */
static void helper_isolate(int fd)
{
    sigset_t none;
    struct rlimit files;
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGQUIT, SIG_IGN);
    (void)signal(SIGUSR1, SIG_IGN);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    hold_reserved_signals();
    (void)dup2(fd, STDIN_FILENO);
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 1u, ~0u, 0u) == 0)
        return;
#endif
    int last = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 1u << 20 ? (int)files.rlim_cur : 1 << 20;
    for (int other = 1; other < last; other++)
        (void)close(other);
}

/* Has a child that was made before or after the server's own confine() give up what it
 * does not need, too. A call that is refused ends it, which the server sees. */
static bool confine_child(const struct sandbox *sandbox, const struct call *calls, size_t count)
{
    if (!sandbox)
        return true;
    if (give_up_root(sandbox))
        return false;
    if (!sandbox->wanted)
        return true;
    (void)signal(SIGSYS, SIG_DFL);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)filter_calls(calls, count);
    return true;
}

static void helper_run(int fd, const struct sandbox *sandbox)
{
    struct hash_question question;
    struct hash_answer answer;
    ssize_t n;
    helper_isolate(fd);
    if (!confine_child(sandbox, CALLS_OF(helper_calls)))
        return;
    while ((n = recv(STDIN_FILENO, &question, sizeof question, 0)) == sizeof question || (n < 0 && errno == EINTR)) {
        if (n < 0)
            continue;
        answer_question(&question, &answer, system_hash);
        wipe(&question, sizeof question);
        if (send(STDIN_FILENO, &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer)
            break;
    }
}

/* ---- Files and streams of text --------------------------------------------- */

/* What is read, in portions. */
struct input {
    int fd;    /* -1: it is not open */
    int error; /* why it is not, or why reading has failed; 0: neither */
    size_t at, size;
    uint8_t bytes[1024];
};

/* Begins to read what was opened as `fd`; after a failure of that, which errno says, there is nothing. */
static void input_open(struct input *in, int fd)
{
    in->fd = fd;
    in->error = fd < 0 ? errno : 0;
    in->at = in->size = 0;
}

static void input_close(struct input *in)
{
    if (in->fd > STDERR_FILENO)
        (void)close(in->fd);
}

/* The next byte, or -1 at the end. */
static int input_byte(struct input *in)
{
    if (in->at == in->size) {
        ssize_t n = in->error ? 0 : read(in->fd, in->bytes, sizeof in->bytes);
        in->error = n < 0 ? errno : in->error;
        in->at = 0;
        in->size = n > 0 ? (size_t)n : 0;
    }
    return in->at < in->size ? in->bytes[in->at++] : -1;
}

/* What is printed, by standard output and standard error. */
static struct output {
    bool failed;
    size_t size;
    char bytes[1024];
} outputs[2];
#define OUT (&outputs[0])
#define ERR (&outputs[1]) /* which has each line at once */

/* Returns false if something that was printed so far could not be written. */
static bool print_rest(struct output *to)
{
    bool good = system_append(NULL, to == OUT ? STDOUT_FILENO : STDERR_FILENO, to->bytes, to->size);
    to->failed = to->failed || !good;
    to->size = 0;
    return !to->failed;
}

static void print_char(struct output *to, char c)
{
    to->bytes[to->size++] = c;
    if (to->size == sizeof to->bytes || (to == ERR && c == '\n'))
        (void)print_rest(to);
}

static void print(struct output *to, const char *text)
{
    for (; *text; text++)
        print_char(to, *text);
}

static void print_as(struct output *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints a text of at most 1023 characters, as write_as() writes it. */
static void print_as(struct output *to, const char *format, ...)
{
    char text[1024];
    va_list values;
    va_start(values, format);
    (void)write_list(text, sizeof text, format, values);
    va_end(values);
    print(to, text);
}

/* ---- Host names: a process of its own, as name servers take their time ------ */

/* What goes to it and what comes back, each as one message. */
struct host_question {
    uint32_t number;
    char name[HOST_CHARS + 1];
};

struct host_answer {
    uint32_t number, address; /* 0: there is none */
    char reason[64];          /* why */
};

#define LOOK_UP_MS 15000 /* in which it is found, or given up */
#define DNS_WAIT_MS 2500 /* for one answer of a name server */
#define DNS_TRIES 2      /* of each */
#define DNS_SERVERS 3u
#define DNS_BYTES 512u /* the longest question or answer */
#define NO_DNS_ANSWER "no name server gives an answer"

/* Reads the next word of a file with lines of words, what follows a # apart. *place: the
 * which of its line it is, from 1 on; begin with 0. False at the end. */
static bool read_word(struct input *file, char word[HOST_CHARS + 1], uint32_t *place)
{
    uint32_t n = 0;
    bool comment = false;
    for (int c; (c = input_byte(file)) >= 0 || n > 0;) {
        bool space = c == ' ' || c == '\t' || c == '\r' || c == '\n' || c < 0;
        if (space && n > 0) {
            file->at -= c >= 0;
            break;
        }
        comment = (comment || c == '#') && c != '\n';
        if (c == '\n')
            *place = 0;
        else if (!space && !comment && n < HOST_CHARS)
            word[n++] = (char)c;
    }
    word[n] = 0;
    ++*place;
    return n > 0;
}

/* Looks for a name in a file as /etc/hosts is, with lines of an address and its names.
 * 0: it is not there. By a loopback address a machine means itself, and nobody else does. */
static uint32_t find_in_hosts(const char *path, const char *name)
{
    char word[HOST_CHARS + 1];
    uint32_t place = 0, address = 0, found = 0;
    struct input file;
    input_open(&file, open(path, O_RDONLY | O_CLOEXEC));
    while (!found && read_word(&file, word, &place)) {
        if (place == 1 && !parse_address(word, &address))
            address = 0;
        else if (place > 1 && same_name(word, name) && (!is_loopback(address) || same_name(name, "localhost")))
            found = address;
    }
    input_close(&file);
    return found;
}

/* The name servers of a file as /etc/resolv.conf is; without any, one of this machine. */
static uint32_t find_name_servers(const char *path, uint32_t servers[DNS_SERVERS])
{
    char word[HOST_CHARS + 1];
    uint32_t place = 0, count = 0;
    bool named = false;
    struct input file;
    input_open(&file, open(path, O_RDONLY | O_CLOEXEC));
    while (count < DNS_SERVERS && read_word(&file, word, &place)) {
        if (place == 1)
            named = strcmp(word, "nameserver") == 0;
        else if (place == 2 && named && parse_address(word, &servers[count]))
            count++;
    }
    input_close(&file);
    if (count == 0)
        servers[count++] = 0x7f000001;
    return count;
}

/* Asks for the addresses of a name. Returns the size (RFC 1035). */
static uint32_t write_dns_question(uint8_t out[DNS_BYTES], const uint8_t id[2], const char *name)
{
    uint32_t n = DNS_HEAD;
    memset(out, 0, DNS_BYTES);
    memcpy(out, id, 2);
    out[2] = out[5] = 1; /* for whom it asks others; one question */
    for (size_t chars; *name; name += chars + (name[chars] == '.')) {
        chars = strcspn(name, ".");
        out[n++] = (uint8_t)chars;
        memcpy(out + n, name, chars);
        n += (uint32_t)chars;
    }
    store_be32(out + n + 1, 0x00010001); /* type A, class IN */
    return n + 5;
}

/* Passes over a name: labels, each behind its length, up to an empty one or a reference
 * to elsewhere. Returns where it ends, past `size` if it does not. */
static uint32_t skip_dns_name(const uint8_t *bytes, uint32_t size, uint32_t at)
{
    while (at < size && bytes[at] != 0 && bytes[at] < 0xc0)
        at += 1u + bytes[at];
    return at >= size ? size + 1 : at + (bytes[at] == 0 ? 1 : 2);
}

/* The address in an answer; the lowest, if there are several, so that it does not change
 * from one answer to the next. 0: there is none. */
static uint32_t read_dns_answer(const uint8_t *bytes, uint32_t size)
{
    uint32_t found = 0, at = DNS_HEAD;
    for (uint32_t questions = load_be32(bytes + 4) >> 16; questions > 0 && at <= size; questions--)
        at = skip_dns_name(bytes, size, at) + 4;
    for (uint32_t answers = load_be32(bytes + 4) & 0xffff; answers > 0 && at <= size; answers--) {
        at = skip_dns_name(bytes, size, at);
        if (at > size || size - at < 10)
            break;
        uint32_t length = load_be32(bytes + at + 6) & 0xffff;
        bool ipv4 = load_be32(bytes + at) == 0x00010001 && length == 4;
        at += 10 + length;
        uint32_t address = ipv4 && at <= size ? load_be32(bytes + at - 4) : 0;
        if (address != 0 && (found == 0 || address < found))
            found = address;
    }
    return found;
}

/* Asks one name server. Returns the address, or 0, with the reason, if it has an answer; else
 * 0 without a reason. */
static uint32_t ask_name_server(uint32_t server, uint16_t port, const char *name, const char **reason)
{
    uint8_t question[DNS_BYTES], answer[DNS_BYTES], id[2];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(server)};
    struct pollfd polled = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), .events = POLLIN};
    bool good = system_entropy(NULL, id, sizeof id);
    uint32_t size = write_dns_question(question, id, name), address = 0;
    ssize_t n = 0;
    good = good && connect(polled.fd, (const struct sockaddr *)&to, sizeof to) == 0 && /* it alone is heard */
           send(polled.fd, question, size, 0) == (ssize_t)size;
    for (bool ours = false; good && !ours;) {
        good = poll(&polled, 1, DNS_WAIT_MS) > 0 && (n = recv(polled.fd, answer, sizeof answer, 0)) >= 0;
        /* An answer to what was asked; the rest of its first line says how it went. */
        ours = good && (uint32_t)n >= size && memcmp(answer, id, 2) == 0 && answer[2] & 0x80 &&
               memcmp(answer + DNS_HEAD, question + DNS_HEAD, size - DNS_HEAD) == 0;
    }
    if (polled.fd >= 0)
        (void)close(polled.fd);
    uint8_t code = good ? answer[3] & 15 : 2;
    if (code == 0)
        address = read_dns_answer(answer, (uint32_t)n);
    *reason = code == 3 ? "there is no such host" : code == 0 && !address ? "it has no IPv4 address" : NULL;
    return address;
}

/* Not by getaddrinfo(), which takes more of the binary than this, and does not work in a
 * static one with glibc. */
static void look_up(const char *name, struct host_answer *answer)
{
    uint32_t servers[DNS_SERVERS], count = find_name_servers("/etc/resolv.conf", servers);
    const char *reason = NULL;
    answer->address = find_in_hosts("/etc/hosts", name);
    for (uint32_t i = 0; i < DNS_TRIES * count && !answer->address && !reason; i++)
        answer->address = ask_name_server(servers[i % count], 53, name, &reason);
    copy_text(answer->reason, sizeof answer->reason, reason ? reason : NO_DNS_ANSWER);
}

_Static_assert(DNS_TRIES *DNS_SERVERS *DNS_WAIT_MS <= LOOK_UP_MS, "each is asked so often");

/* Has a process look up one name, which is given up on in time: so whatever becomes of it,
 * the next one can be tried. Returns false if the server is gone meanwhile. */
static bool answer_host(const struct host_question *question, struct host_answer *answer)
{
    int ends[2];
    memset(answer, 0, sizeof *answer);
    answer->number = question->number;
    copy_text(answer->reason, sizeof answer->reason, "no process can be started for it");
    if (pipe(ends) != 0)
        return true;
    struct pollfd fds[2] = {{.fd = ends[0], .events = POLLIN}, {.fd = STDIN_FILENO}};
    pid_t child = fork();
    if (child == 0) {
        look_up(question->name, answer);
        _exit(write(ends[1], answer, sizeof *answer) != sizeof *answer);
    }
    (void)close(ends[1]);
    if (child > 0) {
        copy_text(answer->reason, sizeof answer->reason, NO_DNS_ANSWER);
        bool there = poll(fds, 2, LOOK_UP_MS) > 0 && fds[0].revents != 0;
        if (!there || read(ends[0], answer, sizeof *answer) != sizeof *answer)
            (void)kill(child, SIGKILL);
    }
    (void)close(ends[0]);
    return fds[1].revents == 0;
}

static void finder_run(int fd, const struct sandbox *sandbox)
{
    struct host_question question;
    struct host_answer answer;
    ssize_t n;
    helper_isolate(fd);
    if (!confine_child(sandbox, CALLS_OF(finder_calls)))
        return;
    while ((n = recv(STDIN_FILENO, &question, sizeof question, 0)) == sizeof question || (n < 0 && errno == EINTR))
        if (n > 0 && (!answer_host(&question, &answer) ||
                      send(STDIN_FILENO, &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer))
            break;
}

static void shell_forget(void);

/* Starts a process of our own and returns our end of its socket. It ends when our end
 * is closed, even by SIGKILL. */
static int start_process(void run(int fd, const struct sandbox *), const struct sandbox *sandbox, int *process)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        shell_forget();
        run(pair[1], sandbox);
        _exit(0);
    }
    bool good = child > 0 && fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0;
    int error = errno;
    (void)close(pair[1]);
    if (!good) {
        (void)close(pair[0]);
        errno = error;
        return -1;
    }
    *process = child;
    return pair[0];
}

static int system_helper(void *world, int *process)
{
    return start_process(helper_run, world, process);
}

static int system_finder(void *world, int *process)
{
    return start_process(finder_run, world, process);
}

static void system_kill(void *world, int process)
{
    (void)world;
    (void)kill(process, SIGKILL);
}

static const struct nascar_sys system_calls = {
    system_poll,   system_signal,      system_accept, system_read,    system_write,     system_exchange,
    system_close,  system_log_open,    system_log,    system_append,  system_entropy,   system_mono_ms,
    system_wall_s, system_open,        system_load,   system_unload,  system_truncate,  system_sync,
    system_rename, system_sync_folder, system_remove, system_changed, system_set_aside, system_folder,
    system_sign,   system_control,     system_helper, system_finder,  system_kill,      system_spare,
    system_room,   system_stands,
};

/* ---- The journal's bytes (DESIGN 5) -------------------------------------- */

/* A journal is a header, and a batch for each sync. These are frames whose code
 * word is a CRC-32C over all the rest of them. A batch holds its number, one
 * more than that of the batch before, and records, which are frames themselves.
 * A batch without records says that all before it is a compacted state. */
#define JOURNAL_FORMAT 1u
#define BATCH_BYTES 262144u /* the most that a batch takes */
#define BATCH_HEAD_BYTES (HEADER_BYTES + 8)

static uint64_t load_be64(const uint8_t *p)
{
    return (uint64_t)load_be32(p) << 32 | load_be32(p + 4);
}

static void store_be64(uint8_t *p, uint64_t v)
{
    store_be32(p, (uint32_t)(v >> 32));
    store_be32(p + 4, (uint32_t)v);
}

/* Continues a CRC-32C, which begins with 0. It takes four bytes a turn: row k
 * says what the k-th half byte of the word has become when all four have
 * passed. */
static uint32_t crc32c(uint32_t crc, const uint8_t *bytes, size_t size)
{
    /* clang-format off */
    static const uint32_t table[8][16] = {
        {0x00000000, 0xdd45aab8, 0xbf672381, 0x62228939, 0x7b2231f3, 0xa6679b4b, 0xc4451272, 0x1900b8ca,
         0xf64463e6, 0x2b01c95e, 0x49234067, 0x9466eadf, 0x8d665215, 0x5023f8ad, 0x32017194, 0xef44db2c},
        {0x00000000, 0xe964b13d, 0xd725148b, 0x3e41a5b6, 0xaba65fe7, 0x42c2eeda, 0x7c834b6c, 0x95e7fa51,
         0x52a0c93f, 0xbbc47802, 0x8585ddb4, 0x6ce16c89, 0xf90696d8, 0x106227e5, 0x2e238253, 0xc747336e},
        {0x00000000, 0xa541927e, 0x4f6f520d, 0xea2ec073, 0x9edea41a, 0x3b9f3664, 0xd1b1f617, 0x74f06469,
         0x38513ec5, 0x9d10acbb, 0x773e6cc8, 0xd27ffeb6, 0xa68f9adf, 0x03ce08a1, 0xe9e0c8d2, 0x4ca15aac},
        {0x00000000, 0x70a27d8a, 0xe144fb14, 0x91e6869e, 0xc76580d9, 0xb7c7fd53, 0x26217bcd, 0x56830647,
         0x8b277743, 0xfb850ac9, 0x6a638c57, 0x1ac1f1dd, 0x4c42f79a, 0x3ce08a10, 0xad060c8e, 0xdda47104},
        {0x00000000, 0x13a29877, 0x274530ee, 0x34e7a899, 0x4e8a61dc, 0x5d28f9ab, 0x69cf5132, 0x7a6dc945,
         0x9d14c3b8, 0x8eb65bcf, 0xba51f356, 0xa9f36b21, 0xd39ea264, 0xc03c3a13, 0xf4db928a, 0xe7790afd},
        {0x00000000, 0x3fc5f181, 0x7f8be302, 0x404e1283, 0xff17c604, 0xc0d23785, 0x809c2506, 0xbf59d487,
         0xfbc3faf9, 0xc4060b78, 0x844819fb, 0xbb8de87a, 0x04d43cfd, 0x3b11cd7c, 0x7b5fdfff, 0x449a2e7e},
        {0x00000000, 0xf26b8303, 0xe13b70f7, 0x1350f3f4, 0xc79a971f, 0x35f1141c, 0x26a1e7e8, 0xd4ca64eb,
         0x8ad958cf, 0x78b2dbcc, 0x6be22838, 0x9989ab3b, 0x4d43cfd0, 0xbf284cd3, 0xac78bf27, 0x5e133c24},
        {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
         0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75},
    };
    /* clang-format on */
    size_t i = 0;
    crc = ~crc;
    for (; i + 4 <= size; i += 4) {
        uint32_t word = crc ^ ((uint32_t)bytes[i] | (uint32_t)bytes[i + 1] << 8 | (uint32_t)bytes[i + 2] << 16 |
                               (uint32_t)bytes[i + 3] << 24);
        crc = table[0][word & 15] ^ table[1][word >> 4 & 15] ^ table[2][word >> 8 & 15] ^ table[3][word >> 12 & 15] ^
              table[4][word >> 16 & 15] ^ table[5][word >> 20 & 15] ^ table[6][word >> 24 & 15] ^ table[7][word >> 28];
    }
    for (; i < size; i++) { /* a byte on its own needs only the last two rows */
        uint32_t byte = (crc ^ bytes[i]) & 255;
        crc = crc >> 8 ^ table[6][byte & 15] ^ table[7][byte >> 4];
    }
    return ~crc;
}

static uint32_t frame_crc(const uint8_t *frame, uint32_t size)
{
    return crc32c(crc32c(0, frame, 4), frame + 8, size - 8);
}

static uint32_t write_journal_head(uint8_t out[64], uint32_t format)
{
    struct outgoing f;
    char number[24];
    write_number(number, format);
    frame_begin(&f, "nsrj", "");
    put_key_text(&f, "FORMAT");
    put_chars(&f, number);
    put_byte(&f, '\n');
    frame_end(&f);
    memcpy(out, f.bytes, f.size);
    store_be32(out + 4, frame_crc(out, f.size));
    return f.size;
}

/* A batch that is being made. */
struct batch {
    uint32_t size, records;
    uint8_t *bytes; /* of BATCH_BYTES */
};

static void batch_begin(struct batch *b)
{
    b->size = BATCH_HEAD_BYTES;
    b->records = 0;
}

/* Adds a record; false if the batch is full. */
static bool batch_add(struct batch *b, const uint8_t *record, uint32_t size)
{
    if (size > BATCH_BYTES - b->size)
        return false;
    memcpy(b->bytes + b->size, record, size);
    b->size += size;
    b->records++;
    return true;
}

static void batch_seal(struct batch *b, uint64_t number)
{
    memcpy(b->bytes, "btch", 4);
    store_be32(b->bytes + 8, b->size);
    store_be64(b->bytes + HEADER_BYTES, number);
    store_be32(b->bytes + 4, frame_crc(b->bytes, b->size));
}

struct span {
    const uint8_t *bytes;
    size_t size;
};

/* Takes the next frame off the front; false at the end, or if what is there is
 * no frame. */
static bool take_record(struct span *frames, struct span *record)
{
    struct frame frame;
    if (read_frame(frames->bytes, (uint32_t)frames->size, &frame) != FRAME_WHOLE)
        return false;
    record->bytes = frames->bytes;
    record->size = frame.size;
    frames->bytes += frame.size;
    frames->size -= frame.size;
    return true;
}

/* If a sound batch begins here, returns its size, and its number in *number; else 0. */
static uint32_t sound_batch(const uint8_t *p, size_t size, uint64_t *number)
{
    struct span frames, record;
    if (size < BATCH_HEAD_BYTES || memcmp(p, "btch", 4) != 0)
        return 0;
    uint32_t n = load_be32(p + 8);
    if (n < BATCH_HEAD_BYTES || n > BATCH_BYTES || n > size || load_be32(p + 4) != frame_crc(p, n))
        return 0;
    frames.bytes = p + BATCH_HEAD_BYTES;
    frames.size = n - BATCH_HEAD_BYTES;
    while (take_record(&frames, &record))
        continue;
    *number = load_be64(p + HEADER_BYTES);
    return frames.size == 0 ? n : 0;
}

enum journal_end {
    JOURNAL_WHOLE,
    JOURNAL_TORN,    /* what follows `at` was not written to its end: cut it off */
    JOURNAL_DAMAGED, /* a later batch stands behind it: what is between is lost */
    JOURNAL_HEADLESS,
    JOURNAL_NEWER /* a format that only a later version knows */
};

struct journal_reader {
    const uint8_t *bytes;
    size_t size, at;  /* all that stands before `at` is sound */
    size_t checked;   /* ... before this it has been checked already */
    size_t compacted; /* ... and up to here it is a compacted state */
    size_t last;      /* where the last batch begins, or the header, if there is none */
    uint64_t number;  /* of the last batch */
    uint32_t format;
    enum journal_end end;
    size_t later; /* JOURNAL_DAMAGED: where a later batch begins */
};

/* Begins to read a journal. Any bytes are one, sound up to some point; `end`
 * says how it ends there. */
static void journal_open(struct journal_reader *r, const uint8_t *bytes, size_t size)
{
    struct frame head;
    memset(r, 0, sizeof *r);
    r->bytes = bytes;
    r->size = size;
    r->end = JOURNAL_HEADLESS;
    uint32_t looked_at = size < INBOX_BYTES ? (uint32_t)size : INBOX_BYTES;
    if (read_frame(bytes, looked_at, &head) != FRAME_WHOLE || memcmp(head.kind, "nsrj", 4) != 0 ||
        load_be32(bytes + 4) != frame_crc(bytes, head.size))
        return;
    uint32_t at = find_tag(bytes + HEADER_BYTES, head.size - HEADER_BYTES, "FORMAT");
    if (at == NOT_THERE)
        return;
    r->format = read_number(bytes + HEADER_BYTES, head.size - HEADER_BYTES, at);
    r->end = r->format > JOURNAL_FORMAT ? JOURNAL_NEWER : JOURNAL_WHOLE;
    r->at = head.size;
}

/* What is not sound is a torn end, unless a later batch stands behind it. */
static void journal_look_behind(struct journal_reader *r)
{
    uint64_t number;
    r->end = JOURNAL_TORN;
    for (size_t at = r->at; at + BATCH_HEAD_BYTES <= r->size; at++) {
        if (sound_batch(r->bytes + at, r->size - at, &number) > 0 && number > r->number) {
            r->end = JOURNAL_DAMAGED;
            r->later = at;
            return;
        }
    }
}

/* Gives the records of the next batch; false at the end of what is sound. */
static bool journal_next(struct journal_reader *r, struct span *frames)
{
    uint64_t number = r->number + 1;
    const uint8_t *p = r->bytes + r->at;
    if (r->end != JOURNAL_WHOLE || r->at == r->size)
        return false;
    uint32_t n = r->at < r->checked ? load_be32(p + 8) : sound_batch(p, r->size - r->at, &number);
    if (n == 0 || number != r->number + 1) {
        journal_look_behind(r);
        return false;
    }
    frames->bytes = p + BATCH_HEAD_BYTES;
    frames->size = n - BATCH_HEAD_BYTES;
    r->last = r->at;
    r->at += n;
    r->number++;
    if (frames->size == 0)
        r->compacted = r->at;
    return true;
}

/* ---- Event scripts: recordings and what is replayed (DESIGN 6) ----------- */

/* A script is a header (magic, limits as varints) and events: the type; the
 * connection + 1 as a varint, 0 for none; milliseconds since the last event;
 * the number of bytes; the bytes. Any bytes are a script: what is cut off or
 * out of range has a meaning, too. */
#define SCRIPT_WALL 11u       /* no event: sets the wall clock, in 8 bytes */
#define SCRIPT_CHECKPOINT 12u /* no event: what all the output so far hashes to, in 8 bytes */
#define SCRIPT_TYPES 17u
#define SCRIPT_HEAD_BYTES 40u /* the most that stands before an event's bytes */

static const uint8_t script_magic[4] = {'N', 'S', 'R', '3'};

_Static_assert(NASCAR_VERDICT + 1 == SCRIPT_WALL && SCRIPT_CHECKPOINT + 1 == NASCAR_ADDRESS &&
                   NASCAR_DATAGRAM + 1 == SCRIPT_TYPES,
               "no event has the number of these two");

struct script {
    const uint8_t *bytes;
    size_t size, at;
    uint64_t mono_ms;
    int64_t wall_s;
};

static uint32_t write_varint(uint8_t *out, uint64_t value)
{
    uint32_t n = 0;
    for (; value > 127; value >>= 7)
        out[n++] = (uint8_t)(value | 128);
    out[n++] = (uint8_t)value;
    return n;
}

static uint64_t read_varint(struct script *x)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; x->at < x->size && shift < 63; shift += 7) {
        uint8_t byte = x->bytes[x->at++];
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            break;
    }
    return value;
}

/* The limits in a script's header, in this order. One of version 2 lacks the last. */
static const size_t script_limits[] = {offsetof(struct nascar_limits, clients),
                                       offsetof(struct nascar_limits, accounts),
                                       offsetof(struct nascar_limits, rooms),
                                       offsetof(struct nascar_limits, directory_sessions),
                                       offsetof(struct nascar_limits, roster_edges),
                                       offsetof(struct nascar_limits, messages),
                                       offsetof(struct nascar_limits, races)};

#define SCRIPT_LIMITS (sizeof script_limits / sizeof script_limits[0])

static uint32_t *script_limit(struct nascar_limits *limits, size_t i)
{
    return (uint32_t *)(void *)((uint8_t *)limits + script_limits[i]);
}

/* Begins to read a script. Without a header, the limits stay as they are. */
static void script_open(struct script *x, const uint8_t *bytes, size_t size, struct nascar_limits *limits)
{
    memset(x, 0, sizeof *x);
    x->bytes = bytes;
    x->size = size;
    if (size < sizeof script_magic || memcmp(bytes, script_magic, 3) != 0 || (bytes[3] != '2' && bytes[3] != '3'))
        return;
    x->at = sizeof script_magic;
    for (size_t i = 0; i < SCRIPT_LIMITS - (bytes[3] == '2'); i++)
        *script_limit(limits, i) = (uint32_t)read_varint(x);
}

static uint32_t script_write_header(uint8_t out[64], struct nascar_limits limits)
{
    uint32_t n = sizeof script_magic;
    memcpy(out, script_magic, n);
    for (size_t i = 0; i < SCRIPT_LIMITS; i++)
        n += write_varint(out + n, *script_limit(&limits, i));
    return n;
}

/* Writes what stands before an event's bytes, their number included. The
 * numbers that an event carries count as the first of its bytes. */
static uint32_t script_write_event(uint8_t out[SCRIPT_HEAD_BYTES], uint32_t type, const struct nascar_event *e,
                                   uint64_t step_ms)
{
    uint8_t numbers[12];
    uint32_t n = 0, count = 0;
    switch (type) {
    case NASCAR_DATAGRAM:
        store_be32(numbers + 8, (uint32_t)e->service << 16 | e->port);
        count = 4;
        /* fall through */
    case NASCAR_OPENED:
    case NASCAR_CONTROL:
        store_be32(numbers, e->peer);
        store_be32(numbers + 4, e->local);
        if (type != NASCAR_DATAGRAM)
            numbers[8] = (uint8_t)e->service;
        /* that of the game is left out, as in older recordings */
        count += e->service == NASCAR_SERVICE_GAME || type == NASCAR_DATAGRAM ? 8 : 9;
        break;
    case NASCAR_DRAINED:
        store_be32(numbers, e->size);
        count = 4;
        break;
    case NASCAR_ADDRESS:
        store_be32(numbers, e->peer);
        count = 4;
        break;
    case NASCAR_RELOADED:
        numbers[0] = e->accepted;
        count = 1;
        break;
    case NASCAR_VERDICT:
        numbers[4] = e->accepted;
        count = 1;
        /* fall through */
    case NASCAR_RECORD:
    case NASCAR_RECORD_FAILED:
        store_be32(numbers, e->receipt);
        count += 4;
        break;
    default: break;
    }
    out[n++] = (uint8_t)type;
    n += write_varint(out + n, e->conn == NONE ? 0 : (uint64_t)e->conn + 1);
    n += write_varint(out + n, step_ms);
    n += write_varint(out + n, (type == NASCAR_DRAINED ? 0 : e->size) + (uint64_t)count);
    memcpy(out + n, numbers, count);
    return n + count;
}

/* Takes the numbers off the front of an event's bytes; those that are missing are 0. */
static void script_read_numbers(struct nascar_event *e)
{
    uint8_t numbers[12] = {0};
    bool opens = e->type == NASCAR_OPENED || e->type == NASCAR_CONTROL;
    uint32_t count = e->type == NASCAR_DATAGRAM   ? 12
                     : opens                      ? 9
                     : e->type == NASCAR_VERDICT  ? 5
                     : e->type == NASCAR_RELOADED ? 1
                                                  : 4;
    if (e->type == NASCAR_BYTES || e->type == NASCAR_CONFIG || e->type == NASCAR_ENTROPY || e->type == NASCAR_METRICS)
        return;
    count = min_u32(count, e->size);
    if (count > 0)
        memcpy(numbers, e->bytes, count);
    e->bytes += count;
    e->size -= count;
    e->peer = load_be32(numbers);
    e->local = load_be32(numbers + 4);
    e->receipt = load_be32(numbers);
    e->service = (enum nascar_service)((opens ? numbers[8] : numbers[9]) % (NASCAR_SERVICE_DNS + 1));
    e->port = load_be32(numbers + 8) & 0xffff;
    e->accepted = numbers[e->type == NASCAR_RELOADED ? 0 : 4] & 1;
    if (e->type == NASCAR_DRAINED)
        e->size = load_be32(numbers);
}

/* Gives the next event; false at the end. A checkpoint comes as CLOCK with
 * 8 bytes, and with *checkpoint set. */
static bool script_next(struct script *x, struct nascar_event *e, bool *checkpoint)
{
    while (x->at < x->size) {
        uint32_t type = x->bytes[x->at++] % SCRIPT_TYPES;
        memset(e, 0, sizeof *e);
        e->conn = (uint32_t)read_varint(x) - 1;
        x->mono_ms += read_varint(x) & UINT32_MAX;
        uint64_t size = read_varint(x);
        if (size > x->size - x->at)
            size = x->size - x->at;
        if (size > UINT32_MAX)
            size = UINT32_MAX;
        e->bytes = x->bytes + x->at;
        e->size = (uint32_t)size;
        x->at += (size_t)size;
        if (type == SCRIPT_WALL) {
            x->wall_s = size == 8 ? (int64_t)(load_be64(e->bytes) & INT64_MAX) : x->wall_s;
            continue;
        }
        *checkpoint = type == SCRIPT_CHECKPOINT;
        if (*checkpoint && size != 8)
            continue;
        e->type = *checkpoint ? NASCAR_CLOCK : (enum nascar_event_type)type;
        e->mono_ms = x->mono_ms;
        e->wall_s = x->wall_s;
        if (!*checkpoint)
            script_read_numbers(e);
        return true;
    }
    return false;
}

/* Running hashes over what the core has put out. */
struct output_hash {
    uint64_t written, records, log;
};

static void hash_bytes(uint64_t *hash, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++)
        *hash = (*hash ^ p[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
}

/* Called before a step: what the event takes off an outbox has been put out. */
static void hash_written(struct output_hash *hash, const struct nascar *s, const struct nascar_event *e)
{
    uint8_t number[4];
    uint32_t size = 0;
    if (e->type != NASCAR_DRAINED)
        return;
    const uint8_t *bytes = nascar_outbox(s, e->conn, &size);
    store_be32(number, e->conn);
    hash_bytes(&hash->written, number, sizeof number);
    if (size > 0)
        hash_bytes(&hash->written, bytes, min_u32(size, e->size));
}

static uint64_t output_hash_value(const struct output_hash *hash)
{
    return hash->written ^ rotate(hash->records, 21) ^ rotate(hash->log, 42);
}

/* ---- No password in a recording ------------------------------------------ */

/* Where a password stood, a recording has one of these words, or REDACTED. The
 * core gives the same answers to it, and it tells nothing that these do not: not
 * how long the password was. No word is longer than what it stands for, so that a
 * frame never grows. */
#define SOME_PASSWORD "x"                 /* one of up to PASSWORD_CHARS; a new one that is not valid */
#define LONG_PASSWORD "seventeen-letters" /* more than PASSWORD_CHARS */
#define NO_FORM "!"                       /* in auth and acct: it cannot be decoded */

_Static_assert(sizeof REDACTED - 1 == 4, "the shortest password that is valid");
_Static_assert(sizeof LONG_PASSWORD - 1 == PASSWORD_CHARS + 1, "the shortest that is too long");

/* Passwords of rooms have a letter each: a request may wait, and its room be
 * another one by then, so that whether it is right shows only later. Of those that
 * were seen, here are fingerprints under the key of the look-up tables. Should there
 * be more than letters, the last letter stands for all the others. */
static const char room_letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#define ROOM_LETTERS (sizeof room_letters - 1)

struct room_passwords {
    uint32_t count;
    uint64_t seen[ROOM_LETTERS];
    char word[2]; /* the last one that was asked for */
};

static const char *room_word(const struct nascar *s, struct room_passwords *rooms, const char *password)
{
    uint64_t print = siphash(s->hash_key, (const uint8_t *)password, strlen(password));
    uint32_t i = 0;
    while (i < rooms->count && rooms->seen[i] != print)
        i++;
    if (i == rooms->count && rooms->count < ROOM_LETTERS)
        rooms->seen[rooms->count++] = print;
    rooms->word[0] = room_letters[min_u32(i, ROOM_LETTERS - 1)];
    rooms->word[1] = 0;
    return rooms->word;
}

/* The word for the transformed password of `auth` and `acct`. Its first character
 * stays, as a `$` needs a directory session in the replay, too. If nothing follows
 * it the password is empty under every key: it can be decoded, and is not valid. */
static const char *redact_transformed(const struct request *q)
{
    char first[2], password[SSC2_CHARS + 1] = "";
    if (get_text(q, tag_PASS, first, sizeof first) == 0)
        return "";
    enum failure failure = get_password(q, password);
    bool valid = failure == OK && valid_password(password);
    wipe(password, sizeof password);
    if (failure == WRONG_PASSWORD)
        return NO_FORM;
    if (first[0] == '~')
        return valid ? "~" REDACTED : "~";
    return valid ? "$" REDACTED : "$";
}

/* The word for a plain password: of `edit`, `room`, `move` or `cpwd`, or in a
 * frame that should have none. */
static const char *redact_plain(const struct request *q, enum tag tag, struct room_passwords *rooms)
{
    char text[PASSWORD_CHARS + 1] = "";
    uint32_t size = get_text(q, tag, text, sizeof text);
    const char *word = size > PASSWORD_CHARS ? LONG_PASSWORD : size > 0 ? SOME_PASSWORD : "";
    if (tag == tag_CHNG || strcmp(q->kind, "cpwd") == 0) /* a new one */
        word = size == 0 ? "" : size <= PASSWORD_CHARS && valid_password(text) ? REDACTED : SOME_PASSWORD;
    else if (size > 0 && size <= PASSWORD_CHARS && (strcmp(q->kind, "move") == 0 || strcmp(q->kind, "room") == 0))
        word = room_word(q->s, rooms, text);
    wipe(text, sizeof text);
    return word;
}

/* Replaces the value of `tag` wherever it may stand in the frame that `f` holds, behind a
 * space, too: the one that is read by `value`, all others by nothing. Quotes go with the
 * value, as they tell that it has a space; only if something follows them in their line
 * they stay, or it would be read as part of the value. */
static void replace_value(struct outgoing *f, enum tag tag, const char *value)
{
    const char *key = tag_names[tag];
    uint32_t from = HEADER_BYTES, at, read_at = find_tag(f->bytes + from, f->size - from, key);
    uint32_t left = f->size - HEADER_BYTES - read_at; /* behind where the one that is read begins */
    while ((at = find_key(f->bytes + from, f->size - from, key, false)) != NOT_THERE) {
        uint32_t start = from + at, end = start;
        bool is_read = read_at != NOT_THERE && f->size - start == left;
        uint8_t quote = start < f->size && (f->bytes[start] == '"' || f->bytes[start] == '\'') ? f->bytes[end++] : 0;
        while (end < f->size && f->bytes[end] != 0 && (quote ? f->bytes[end] != quote : f->bytes[end] >= 0x20) &&
               (is_read || f->bytes[end] != '\n'))
            end++;
        if (quote && end + 1 < f->size && f->bytes[end + 1] >= 0x20)
            start++;
        else if (quote && end < f->size && f->bytes[end] != 0)
            end++;
        uint32_t size = is_read ? min_u32((uint32_t)strlen(value), end - start) : 0;
        memcpy(f->bytes + start, value, size);
        memmove(f->bytes + start + size, f->bytes + end, f->size - end);
        f->size -= end - start - size;
        from = start + size;
    }
    store_be32(f->bytes + 8, f->size);
}

/* Puts a frame into `f` as it may be recorded: without passwords, but the core
 * answers it in the same way. A tag that is called PASS or CHNG has one in every
 * kind of frame, as a client may have made a mistake, apart from those in which
 * players talk: what they say is not secret, and others hear it word for word. */
static void scrub_frame(struct nascar *s, uint32_t c, const uint8_t *bytes, uint32_t size, struct outgoing *f,
                        struct room_passwords *rooms)
{
    struct request q = {
        .s = s, .c = c, .conn = conn_at(s, c), .command = find_command(bytes), .payload = bytes + HEADER_BYTES};
    memcpy(q.kind, bytes, 4);
    q.size = payload_size(q.payload, size - HEADER_BYTES);
    f->size = HEADER_BYTES + q.size; /* nobody reads what stands behind the payload's NUL */
    memcpy(f->bytes, bytes, f->size);
    if (f->size < size)
        f->bytes[f->size++] = 0;
    store_be32(f->bytes + 8, f->size);
    if (q.command && q.command->talks)
        return;
    bool transformed = strcmp(q.kind, "auth") == 0 || strcmp(q.kind, "acct") == 0;
    replace_value(f, tag_CHNG, redact_plain(&q, tag_CHNG, rooms));
    replace_value(f, tag_PASS, transformed ? redact_transformed(&q) : redact_plain(&q, tag_PASS, rooms));
}

/* The same for a durable record: the hash of an account stays secret. */
static void scrub_record(const uint8_t *bytes, uint32_t size, struct outgoing *f)
{
    const struct durable *durable = size >= HEADER_BYTES ? find_durable(bytes) : NULL;
    f->size = min_u32(size, sizeof f->bytes);
    memcpy(f->bytes, bytes, f->size);
    for (const struct field *field = durable ? durable->fields : NULL; field && field->type != FIELD_END; field++)
        if (field->type == FIELD_SECRET)
            replace_value(f, field->tag, "*");
}

/* ---- Options ------------------------------------------------------------- */

static void options_defaults(struct options *o)
{
    memset(o, 0, sizeof *o);
    o->group = o->http_port = NONE;
    o->line = TYPED;
    o->dns_port = NONE;
    set_defaults(o, true);
    set_defaults(&o->config, false);
}

/* The server that this process is; NULL in the other subcommands, and for a library.
 * Complaints, and the last word of a fault, find its log by this. */
static struct shell *serving;

static void shell_complain(struct shell *sh, const char *line, size_t size);

#define COMPLAINT "nascar_server: " /* what each one begins with */
#define COMPLAINT_BYTES ((size_t)4 * LINE_CHARS)

static void complain_by_list(char line[COMPLAINT_BYTES], const char *where, const char *key, const char *format,
                             va_list arguments)
{
    (void)write_as(line, COMPLAINT_BYTES, COMPLAINT "%s%s%s", where, key, key[0] ? ": " : "");
    size_t size = strlen(line);
    (void)write_list(line + size, COMPLAINT_BYTES - size, format, arguments);
    size = strlen(line);
    size -= size + 1 == COMPLAINT_BYTES;
    line[size++] = '\n';
    if (serving)
        shell_complain(serving, line, size);
    else
        (void)system_append(NULL, STDERR_FILENO, line, size);
    line[--size] = 0;
}

/* Prints one line on standard error, or where a server logs: what is wrong, and what
 * was expected. Returns false. */
static bool complain(const char *where, const char *key, const char *format, ...)
{
    char line[COMPLAINT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    complain_by_list(line, where, key, format, arguments);
    va_end(arguments);
    return false;
}

#define FAULTS_TOLD 100u /* one by one: what is no configuration at all has one in each line */

/* The same for a fault of the configuration: it is counted, and the rest is read all the same. */
static bool fault(struct options *o, const char *where, const char *key, const char *format, ...)
{
    char line[COMPLAINT_BYTES];
    va_list arguments;
    if (o->faults++ >= FAULTS_TOLD)
        return false;
    va_start(arguments, format);
    complain_by_list(line, where, key, format, arguments);
    va_end(arguments);
    if (o->faults == 1)
        copy_text(o->first_fault, sizeof o->first_fault, line + strlen(COMPLAINT));
    return false;
}

#define COMMAND_LINE "--" /* the `where` of options that were typed; errors show it in front of the name */

/* May the key be given more than once? */
static bool is_list(const struct setting *setting)
{
    return setting->type >= SET_ROOM && setting->type <= SET_DNS_NAME;
}

/* Where its lines are then; else NULL. */
static struct option_list *list_of(struct options *o, const struct setting *setting)
{
    assert(o != NULL); /* so NULL means that there is no list */
    return is_list(setting) ? &o->lists[setting->min] : NULL;
}

/* Keeps a key of the core as a line, which the core gets later. */
static bool hand_on(struct options *o, const char *where, const struct setting *setting, const char *value)
{
    struct option_list *list = list_of(o, setting);
    char *text = list ? list->lines : o->core;
    if (strlen(text) + strlen(setting->key) + strlen(value) + 8 > CONFIG_BYTES)
        return fault(o, where, setting->key, "the configuration is longer than %u bytes", CONFIG_BYTES);
    append_text(text, CONFIG_BYTES, setting->key);
    append_text(text, CONFIG_BYTES, " = ");
    append_text(text, CONFIG_BYTES, value);
    append_text(text, CONFIG_BYTES, "\n");
    return true;
}

/* Where a key was set: COMMAND_LINE, or "FILE:LINE: ". */
static const char *place_of(struct options *o, const char *key)
{
    uint32_t line = o->set_at[find_setting(key) - settings];
    if (line == 0 || line == TYPED)
        return COMMAND_LINE;
    (void)write_as(o->place, sizeof o->place, "%s:%u: ", o->config_file, line);
    return o->place;
}

/* Notes where a key is set. A file has each key once, unless the key is a list: of two lines that say different
 * things one would be without effect, and nobody would know. */
static bool note_place(struct options *o, const char *where, const struct setting *setting)
{
    uint32_t *set_at = &o->set_at[setting - settings];
    bool again = o->line != TYPED && *set_at != 0 && !list_of(o, setting) && setting->type != SET_NEWS_LINE;
    if (again)
        return fault(o, where, setting->key, "it stands in line %u, too: a file has a key once", *set_at);
    *set_at = o->line;
    return true;
}

/* Sets one option. `where` is COMMAND_LINE or "FILE:LINE: ". A key of the core is
 * checked here and handed on as it was given; its ports are not, as the core is
 * to know those that are open in the end, nor is the public address, which may stay
 * what it is. */
static bool set_option(struct options *o, const char *where, const char *key, const char *value)
{
    const struct setting *setting = find_setting(key);
    bool handed_on = !setting || (!setting->of_shell && setting->type != SET_PORT && setting->type != SET_HOST);
    bool typed = o->line == TYPED;
    char why[256] = "";
    if (handed_on && strpbrk(value, "\r\n"))
        return fault(o, where, key, "expected a value in one line");
    if (!setting)
        return fault(o, where, key, "unknown option; --help lists them");
    if (setting->type == SET_CONFIG_FILE && !typed)
        return fault(o, where, key, "only on the command line");
    struct option_list *list = list_of(o, setting);
    if (list && typed && !list->typed) {
        list->typed = true;
        list->lines[0] = 0;
        *(uint32_t *)(void *)((char *)&o->config + setting->offset) = 0;
    }
    if (!change_setting(setting->of_shell ? (void *)o : &o->config, setting, value, why, sizeof why))
        return value[0] == 0 && setting->type == SET_FOLDER ? fault(o, where, key, "%s", why)
               : strlen(value) > VALUE_CHARS ? fault(o, where, key, "%s, and it has %zu", why, strlen(value))
                                             : fault(o, where, key, "%s, not '%s'", why, value);
    return note_place(o, where, setting) && (!handed_on || hand_on(o, where, setting, value));
}

/* The folder of --chroot. */
static struct {
    const char *path; /* NULL: there is none */
    size_t chars;     /* of it, without a / at its end */
    bool entered;
} jail;

/* What a path that was given leads to in the folder of --chroot; NULL: it is outside, or
 * relative to where the server is no longer. */
static const char *path_in_jail(const char *path)
{
    return strncmp(path, jail.path, jail.chars) == 0 && path[jail.chars] == '/' ? path + jail.chars : NULL;
}

/* How a path that was given at the start reads for this process now. */
static const char *path_now(const char *path)
{
    return jail.entered ? path_in_jail(path) : path;
}

#define OUTSIDE_JAIL "it is not in the folder of --chroot"

/* Opens a file of options. What was a pipe at the start is empty by now, and a
 * FIFO would be waited for: so a server that runs reads regular files only. -1,
 * with the reason, if it is not to be read. */
static int open_lines(const struct options *o, const char *path, const char **reason)
{
    struct stat status;
    bool running = o->in_force != NULL;
    const char *now = path_now(path);
    int fd = now ? open(now, O_RDONLY | O_NOCTTY | O_CLOEXEC | (running ? O_NONBLOCK : 0)) : -1;
    bool known = fd >= 0 && fstat(fd, &status) == 0;
    bool regular = known && S_ISREG(status.st_mode);
    *reason = !now                           ? OUTSIDE_JAIL
              : known && running && !regular ? "it is no regular file, and only such are read again"
              : running && errno == EACCES
                  ? "this user may not read it, or --sandbox not, as it was in another folder at the start"
                  : why(errno);
    if (regular || (known && !running))
        return fd;
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

static const char no_text[] = "plain text, and here is a NUL byte: is it UTF-16, or no text at all?";

/* Reads the next line without its end; false if there is none. If it is none that
 * can be taken, *expected says what was expected; its rest is passed over. */
static bool read_line(struct input *file, char line[LINE_CHARS + 2], const char **expected)
{
    size_t n = 0;
    int c;
    *expected = NULL;
    while ((c = input_byte(file)) >= 0 && c != '\n') {
        if (c == 0) {
            *expected = no_text; /* it may go on so for ever */
            line[n] = 0;
            return true;
        }
        if (n == LINE_CHARS + 1 && !*expected)
            *expected = "at most 1022 characters in a line";
        else if (!*expected)
            line[n++] = (char)c;
    }
    n -= n > 0 && line[n - 1] == '\r';
    line[n] = 0;
    if (!*expected && n > LINE_CHARS)
        *expected = "at most 1022 characters in a line";
    if (!*expected && strchr(line, '\r'))
        *expected = "lines that end with LF or CR LF, and not with CR alone";
    return c >= 0 || n > 0 || *expected;
}

/* Gives each line of a file to `take`, with its place as "FILE:LINE: ", as far as it is text. A
 * byte-order mark of UTF-8 in front is passed over. If the file cannot be read,
 * the error names the option that named it: `where` and `key`. */
static void read_lines(struct options *o, const char *where, const char *key, const char *path,
                       bool take(struct options *, const char *, const char *))
{
    char line[LINE_CHARS + 2], place[LINE_CHARS + 16];
    const char *expected = NULL, *reason;
    struct input file;
    input_open(&file, open_lines(o, path, &reason));
    for (o->line = 1; expected != no_text && read_line(&file, line, &expected); o->line++) {
        bool marked = o->line == 1 && strncmp(line, "\xEF\xBB\xBF", 3) == 0;
        (void)write_as(place, sizeof place, "%s:%u: ", path, o->line);
        if (expected)
            (void)fault(o, place, "", "expected %s", expected);
        else
            (void)take(o, place, line + (marked ? 3 : 0));
    }
    o->line = TYPED;
    if (file.error)
        (void)fault(o, where, key, "%s: %s", path, file.fd >= 0 ? why(file.error) : reason);
    input_close(&file);
}

/* Of news that are too long, the first line that has no room is told, and not each behind it. */
static bool take_news_line(struct options *o, const char *place, const char *line)
{
    bool fits = strlen(o->config.news) + strlen(line) + 1 <= NEWS_CHARS;
    bool good = (o->news_full && !fits) || set_option(o, place, "news-line", line);
    o->news_full = o->news_full || !fits;
    return good;
}

/* Takes the quotes away that stand round a value. An apostrophe in front is text if
 * none ends it; else they must stand round all of it. */
static bool unquote(char *value)
{
    size_t n = strlen(value);
    if (value[0] != '"' && value[0] != '\'')
        return true;
    const char *next = strchr(value + 1, value[0]);
    if (!next || next != value + n - 1)
        return value[0] == '\'';
    memmove(value, value + 1, n - 2);
    value[n - 2] = 0;
    return true;
}

static bool take_config_line(struct options *o, const char *place, const char *line)
{
    char key[64], value[LINE_CHARS + 1];
    const char *text = line + strspn(line, " \t"), *equals = strchr(text, '=');
    if (text[0] == 0 || text[0] == '#')
        return true;
    if (!equals || !copy_trimmed(key, sizeof key, text, (size_t)(equals - text)) ||
        !copy_trimmed(value, sizeof value, equals + 1, strlen(equals + 1)))
        return fault(o, place, "", "expected `key = value`, not '%s'", text);
    if (!is_ascii(key))
        return fault(o, place, "", "expected a key in ASCII characters, not '%s'", key);
    if (!unquote(value))
        return fault(o, place, key, "expected its quotes round the whole value, not %s", value);
    return set_option(o, place, key, value);
}

/* Takes the option at argument *i apart: `--key value` or `--key=value`. Returns what is wrong with that
 * argument, for printf, or NULL; *i is then at the last of those that go with it. */
static const char *split_option(char **arguments, int *i, char key[64], const char **value)
{
    const char *text = arguments[*i];
    const char *equals = strchr(text, '=');
    size_t chars = equals ? (size_t)(equals - text) : strlen(text);
    bool named = strncmp(text, "--", 2) == 0 && chars >= 3;
    bool short_enough = named && copy_trimmed(key, 64, text + 2, chars - 2);
    *value = equals ? equals + 1 : arguments[*i + 1];
    if (short_enough && *value) {
        *i += equals ? 0 : 1;
        return NULL;
    }
    while (arguments[*i + 1] && strncmp(arguments[*i + 1], "--", 2) != 0)
        ++*i;
    return !named          ? "unknown argument '%s'; --help lists the options"
           : !short_enough ? "%s: unknown option; --help lists them"
                           : "%s: expected a value after it";
}

/* The file of --config. Its own faults are told when all options are taken. */
static void find_config_file(struct options *o, char **arguments)
{
    char key[64];
    const char *value = NULL;
    for (int i = 0; arguments[i]; i++) {
        const struct setting *setting = split_option(arguments, &i, key, &value) ? NULL : find_setting(key);
        if (!setting || setting->type != SET_CONFIG_FILE || strlen(value) > LINE_CHARS)
            continue;
        if (o->config_file)
            (void)fault(o, COMMAND_LINE, key, "there is one file of options, and '%s' was named, too", o->config_file);
        o->config_file = value;
    }
}

/* Finds a name, or else a number, in a file with lines NAME:PASSWORD:NUMBER:NUMBER: or
 * so, as /etc/passwd has them, and /etc/group but for the last. It is read here as a
 * static program has no other way that works everywhere. */
static bool find_id(const char *path, const char *name, uint32_t *id, uint32_t *group)
{
    char line[LINE_CHARS + 2], *part[4];
    const char *too_long; /* as the line of a group of many, which is cut */
    struct input file;
    input_open(&file, open(path, O_RDONLY | O_CLOEXEC));
    bool found = false;
    while (!found && read_line(&file, line, &too_long)) {
        size_t parts = 0;
        for (char *p = line; p && parts < 4; p = strchr(p, ':')) {
            if (parts > 0)
                *p++ = 0;
            part[parts++] = p;
        }
        if (parts == 4)
            part[3][strcspn(part[3], ":")] = 0;
        found = parts == 4 && (strcmp(part[0], name) == 0 || strcmp(part[2], name) == 0) &&
                parse_number(part[2], 0, UINT32_MAX, id) && (!group || parse_number(part[3], 0, UINT32_MAX, group));
    }
    input_close(&file);
    return found;
}

/* Finds the user and the group that --user means. */
static void check_user(struct options *o)
{
    const char *text = o->user, *group = strchr(text, ':'), *where = place_of(o, "user");
    char name[LINE_CHARS + 1];
    o->uid = o->gid = NONE;
    if (!text[0])
        return;
    copy_text(name, sizeof name, text);
    name[strcspn(name, ":")] = 0;
    if (!find_id("/etc/passwd", name, &o->uid, &o->gid) && !(group && parse_number(name, 0, UINT32_MAX, &o->uid)))
        (void)fault(o, where, "user", "expected NAME, NAME:GROUP or UID:GID, and there is no user '%s' in /etc/passwd",
                    name);
    else if (group && !find_id("/etc/group", group + 1, &o->gid, NULL) &&
             !parse_number(group + 1, 0, UINT32_MAX, &o->gid))
        (void)fault(o, where, "user", "there is no group '%s' in /etc/group, for '%s'", group + 1, text);
    else if (o->uid == 0)
        (void)fault(o, where, "user", "expected somebody else than root, which is to be given up, not '%s'", text);
    else if (geteuid() != 0 && (o->uid != geteuid() || o->gid != getegid()))
        (void)fault(o, where, "user",
                    "only root can become %s, and this is user %u of group %u: start it as root, or leave --user out",
                    text, (unsigned)geteuid(), (unsigned)getegid());
}

/* Sees to --chroot, and that the data are in it. */
static void check_jail(struct options *o)
{
    const char *path = o->chroot, *where = place_of(o, "chroot");
    if (!path[0])
        return;
    if (path[0] != '/')
        (void)fault(o, where, "chroot", "expected a folder with its whole path, as /srv/nascar, not '%s'", path);
    else if (geteuid() != 0)
        (void)fault(o, where, "chroot", "only root can go to '%s': start it as root, and with --user", path);
    if (path[0] != '/' || geteuid() != 0)
        return;
    jail.path = path;
    for (jail.chars = strlen(path); jail.chars > 0 && path[jail.chars - 1] == '/';)
        jail.chars--;
    if (!path_in_jail(o->data))
        (void)fault(o, place_of(o, "data"), "data", "%s: with --chroot it has to be in that folder, as %.*s/data",
                    o->data, (int)jail.chars, path);
}

/* May this process give a file to the group? */
static bool is_member(gid_t group)
{
    gid_t groups[1024];
    int count = getgroups((int)(sizeof groups / sizeof groups[0]), groups);
    bool member = geteuid() == 0 || getegid() == group;
    for (int i = 0; i < count && !member; i++)
        member = groups[i] == group;
    return member;
}

/* The group is looked up at the start only. */
static void check_group(struct options *o)
{
    const char *name = o->control_group, *where = place_of(o, "control-group");
    o->group = NONE;
    if (o->in_force)
        o->group = o->in_force->group; /* a restart may change it, and looks it up */
    else if (name[0] && !find_id("/etc/group", name, &o->group, NULL) && !parse_number(name, 0, UINT32_MAX, &o->group))
        (void)fault(o, where, "control-group", "there is no group '%s' on this machine", name);
    else if (name[0] && !is_member((gid_t)o->group))
        (void)fault(
            o, where, "control-group",
            "this user is no member of group '%s', and so may give it no socket: make him one, or start as root", name);
}

#define IN_DATA "the data folder is for what is kept: name a file elsewhere"

/* Does the file stand in the data folder? */
static bool is_in_data(const struct options *o, const char *path)
{
    char folder[LINE_CHARS + 1];
    struct stat a, b;
    const char *slash = strrchr(path, '/');
    (void)write_as(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    return path[0] && stat(folder, &a) == 0 && stat(o->data, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The folder that a file is in, or is to be in. */
static void folder_of(const char *path, char folder[LINE_CHARS + 16])
{
    const char *slash = strrchr(path, '/');
    (void)write_as(folder, LINE_CHARS + 16, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
}

/* Do both names mean one file, which may not be there yet? */
static bool is_one_file(const char *a, const char *b)
{
    const char *slash_a = strrchr(a, '/'), *slash_b = strrchr(b, '/');
    char folder[2][LINE_CHARS + 16];
    struct stat of_a, of_b;
    if (!a[0] || !b[0])
        return false;
    bool there = stat(a, &of_a) == 0 && stat(b, &of_b) == 0;
    folder_of(a, folder[0]);
    folder_of(b, folder[1]);
    if (!there && (strcmp(slash_a ? slash_a + 1 : a, slash_b ? slash_b + 1 : b) != 0 || stat(folder[0], &of_a) != 0 ||
                   stat(folder[1], &of_b) != 0))
        return false;
    return of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

static const char recording_ends[][5] = {"", ".new", ".old"};

/* What the server keeps is not to be its news, its log or its recording, and these are
 * different files. */
static void check_files(struct options *o)
{
    char path[LINE_CHARS + 16];
    static const char keys[][9] = {"news", "record", "log-file"};
    const char *const paths[] = {o->news_file, o->record_file, o->log_file};
    for (size_t i = 0; i < 3; i++) {
        const char *slash = strrchr(paths[i], '/'), *name = slash ? slash + 1 : paths[i];
        bool ours =
            i < 2 || strncmp(name, "journal", 7) == 0 || strcmp(name, "pid") == 0 || strcmp(name, "control") == 0;
        if (ours && is_in_data(o, paths[i]))
            (void)fault(o, place_of(o, keys[i]), keys[i], "%s: %s", paths[i], IN_DATA);
    }
    for (size_t i = 0; o->record_file[0] && i < 3; i++) {
        (void)write_as(path, sizeof path, "%s%s", o->record_file, recording_ends[i]);
        if (is_one_file(path, o->log_file))
            (void)fault(o, place_of(o, "record"), "record", "%s: that is the log", path);
    }
    if (is_one_file(o->log_file, o->news_file) || (o->config_file && is_one_file(o->log_file, o->config_file)))
        (void)fault(o, place_of(o, "log-file"), "log-file", "%s: that is the file of the news, or of --config",
                    o->log_file);
}

/* Faults that no line has for itself. What only the system knows is looked at and not touched. */
static void check_options(struct options *o)
{
    static const char keys[][15] = {"directory-port", "lobby-port", "buddy-port", "http"};
    const uint32_t ports[] = {o->config.directory_port, o->config.lobby_port, o->config.buddy_port, o->http_port};
    struct stat about;
    for (size_t pair = 0; pair < 16; pair++) { /* each with each, but with none twice */
        size_t i = pair / 4, other = pair % 4, told = o->set_at[find_setting(keys[i]) - settings] ? i : other;
        if (i < other && ports[i] != 0 && ports[i] == ports[other])
            (void)fault(o, place_of(o, keys[told]), keys[told], "expected another port than %u, which is the %s, too",
                        ports[i], keys[told == i ? other : i]);
    }
    if (o->set_at[find_setting("public-address") - settings] && !o->config.public_name[0] &&
        !is_unicast(o->config.public_address))
        (void)fault(o, place_of(o, "public-address"), "public-address",
                    "expected an address of one machine, which consoles can reach");
    if (o->config.ping_ms >= o->config.idle_ms)
        (void)fault(o, "", "", "expected a ping-s below idle-s: a console is heard when it answers pings");
    bool in_force = o->in_force && strcmp(o->data, o->in_force->data) == 0;
    if (!in_force && stat(o->data, &about) == 0 && !S_ISDIR(about.st_mode))
        (void)fault(o, place_of(o, "data"), "data", "%s: expected a folder, and this is none", o->data);
    check_group(o);
    if (!jail.entered)
        check_files(o);
    if (o->in_force)
        return; /* these have had their effect */
    check_user(o);
    check_jail(o);
}

/* Reads the file of --config first and then the options, so that these have the
 * last word. `o` has the defaults. Every fault is told. */
static bool take_options(struct options *o, char **arguments)
{
    char key[64];
    const char *value = NULL;
    find_config_file(o, arguments);
    if (o->config_file)
        read_lines(o, COMMAND_LINE, "config", o->config_file, take_config_line);
    for (int i = 0; arguments[i]; i++) {
        const char *text = arguments[i], *wrong = split_option(arguments, &i, key, &value);
        (void)(wrong ? fault(o, "", "", wrong, text) : set_option(o, COMMAND_LINE, key, value));
    }
    if (o->news_file[0])
        read_lines(o, place_of(o, "news"), "news", o->news_file, take_news_line);
    check_options(o);
    if (o->faults > FAULTS_TOLD)
        (void)complain("", "", "... and %u more faults", o->faults - FAULTS_TOLD);
    return o->faults == 0;
}

static bool read_options(struct options *o, char **arguments)
{
    options_defaults(o);
    return take_options(o, arguments);
}

/* What a reload has changed, and what it has not as that needs a restart: the keys, for the log; and for whoever has
 * asked a line for each, as NASCAR_RELOADED has it. Or why it was refused. */
struct reload {
    char changed[512], restart[512];
    char report[4096];
};

static const void *value_of(const struct options *o, const struct setting *setting)
{
    return (const char *)(setting->of_shell ? (const void *)o : &o->config) + setting->offset;
}

/* Is the field a text, and not one number? */
static bool is_text(const struct setting *setting)
{
    return setting->type == SET_FOLDER || setting->type == SET_FILE || setting->type == SET_GROUP ||
           setting->type == SET_USER || setting->type == SET_NEWS_FILE || setting->type == SET_NEWS_LINE ||
           setting->type == SET_TEXT;
}

static bool is_same(struct options *a, struct options *b, const struct setting *setting)
{
    if (setting->type == SET_CONFIG_FILE)
        return true;
    if (list_of(a, setting))
        return strcmp(list_of(a, setting)->lines, list_of(b, setting)->lines) == 0;
    if (setting->type == SET_HOST && (a->config.public_name[0] || b->config.public_name[0]))
        return strcmp(a->config.public_name, b->config.public_name) == 0;
    const void *x = value_of(a, setting), *y = value_of(b, setting);
    return is_text(setting) ? strcmp(x, y) == 0 : memcmp(x, y, sizeof(uint32_t)) == 0;
}

/* Adds a field with the value, if it is a number or stands for one. */
static void append_value(char *out, size_t out_bytes, const char *field, const struct options *o,
                         const struct setting *setting)
{
    char text[HOST_CHARS + 1] = "";
    const char *word = setting->words;
    bool number = !is_text(setting) && !is_list(setting);
    uint32_t value = number ? *(const uint32_t *)value_of(o, setting) : 0;
    for (uint32_t i = 0; word && i < value; i++)
        word = strchr(word, ' ') + 1;
    if (word)
        copy_text(text, min_u32((uint32_t)strcspn(word, " ") + 1, sizeof text), word);
    else if (setting->type == SET_HOST && o->config.public_name[0])
        copy_text(text, sizeof text, o->config.public_name);
    else if (setting->type == SET_ADDRESS || (setting->type == SET_HOST && value != 0))
        write_address(text, value);
    else if (setting->type == SET_HOST || value == NONE)
        text[0] = 0; /* it is not set */
    else if (number)
        write_number(text, setting->type == SET_SECONDS ? value / 1000 : value);
    append_text(out, out_bytes, field);
    append_text(out, out_bytes, text);
}

/* What differs goes into the reload's report, and what is set only at the start stays as it is in force. */
static void compare_options(struct options *fresh, struct options *in_force, struct reload *reload)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *setting = &settings[i];
        if (is_same(fresh, in_force, setting))
            continue;
        /* The process that looks up a host's address is made at the start only. */
        bool first_host = setting->type == SET_HOST && fresh->config.public_name[0] && !in_force->finds;
        bool at_start = setting->at_start || first_host;
        const char *key = setting->type == SET_NEWS_LINE ? "news" : setting->key;
        char *keys = at_start ? reload->restart : reload->changed;
        if (keys[0] && strcmp(key, "news") == 0 && word_index(keys, key) >= 0)
            continue; /* another file, and other lines in it */
        append_text(keys, sizeof reload->changed, keys[0] ? " " : "");
        append_text(keys, sizeof reload->changed, key);
        append_text(reload->report, sizeof reload->report, "key=");
        append_text(reload->report, sizeof reload->report, key);
        append_text(reload->report, sizeof reload->report, at_start ? "\twhat=\"restart wanted\"" : "\twhat=changed");
        append_value(reload->report, sizeof reload->report, "\tfrom=", in_force, setting);
        append_value(reload->report, sizeof reload->report, "\tto=", fresh, setting);
        append_text(reload->report, sizeof reload->report, "\n");
        void *now = (char *)(setting->of_shell ? (void *)fresh : &fresh->config) + setting->offset;
        if (at_start)
            memcpy(now, value_of(in_force, setting), is_text(setting) ? LINE_CHARS + 1 : sizeof(uint32_t));
        if (first_host)
            fresh->config.public_name[0] = 0;
    }
    fresh->group = in_force->group;
}

/* Says why a reload is refused, in one line. */
static void explain_refusal(const struct options *fresh, struct reload *reload)
{
    copy_text(reload->report, sizeof reload->report, fresh->first_fault);
    for (char *p = reload->report; *p; p++)
        if ((uint8_t)*p < 0x20)
            *p = ' ';
    if (fresh->faults > 1)
        (void)write_as(reload->report + strlen(reload->report), 64, " (and %u more, which the log tells)",
                       fresh->faults - 1);
}

/* The same for a server that runs, with what is in force: nothing in it changes if
 * this returns false. */
static bool read_options_again(struct options *in_force, char **arguments, struct reload *reload)
{
    struct options *fresh = reserve(sizeof *fresh);
    memset(reload, 0, sizeof *reload);
    if (!fresh) {
        copy_text(reload->report, sizeof reload->report, "there is no memory for the options");
        return complain("", "", "no memory for the options");
    }
    options_defaults(fresh);
    fresh->in_force = in_force;
    fresh->finds = in_force->finds;
    bool good = take_options(fresh, arguments);
    if (good) {
        compare_options(fresh, in_force, reload);
        fresh->in_force = NULL;
        *in_force = *fresh;
    } else {
        explain_refusal(fresh, reload);
    }
    release(fresh, sizeof *fresh);
    return good;
}

#define PROBE_USAGE "HOST[:PORT] [--account NAME] [--full] [--json] [--wait SECONDS]"

static void print_help(void)
{
    print(OUT, "usage: nascar_server [serve] [--option value] ...\n"
               "       nascar_server ctl COMMAND ...    ask or steer the one that runs; ctl --help lists the commands\n"
               "       nascar_server probe " PROBE_USAGE "\n"
               "           be a console, and say how far it gets\n"
               "       nascar_server dump [DATA]    print what is kept\n"
               "       nascar_server replay FILE    run a recording again and compare\n"
               "The online service of NASCAR Thunder 2004 for the PlayStation 2. No option is needed.\n\n"
               "options, each also a line `key = value` in the file of --config, in quotes or not:\n");
    for (size_t i = 0; i < SETTINGS; i++) {
        if (!settings[i].help)
            continue;
        print_as(OUT, "  --%-17s ", settings[i].key);
        print_as(OUT, settings[i].help, settings[i].fallback);
        print_as(OUT, "\n");
    }
    print_as(OUT, "  --%-17s %s\n", "check-config", "only say what is wrong with the configuration, all of it");
    print_as(OUT, "  --%-17s\n  --%-17s\n", "version", "help");
}

/* ---- The shell's state --------------------------------------------------- */

#define LISTENERS 4u /* the last one is that of the page, if there is one */
#define HTTP_LISTENER (FIRST_LISTENER + 3u)
#define PORTS (LISTENERS + 1u) /* and that for datagrams */
/* The poll set has, in this order: signals, the helper, the process that looks up a
 * host, the listeners, the socket for datagrams, the operator's listener, connections. */
#define SIGNALS 0u
#define HELPER 1u
#define FINDER 2u
#define FIRST_LISTENER 3u
#define DATAGRAMS (FIRST_LISTENER + LISTENERS)
#define CONTROL_LISTENER (FIRST_LISTENER + PORTS)
#define FIRST_SOCKET (CONTROL_LISTENER + 1u)
#define ACCEPTS_PER_TURN 64u
#define DATAGRAMS_PER_TURN 64u
#define OUTPUT_BATCH 64u
#define ACCEPT_PAUSE_MS 1000u /* before the next accept, after EMFILE and the like */
#define UNREAD_MS 500u        /* that a deadline waits for input at most */
#define STOP_MS 2000u         /* in which outboxes are flushed at the end */
#define LOG_BATCH_BYTES 8192u
#define LOG_LINE_BYTES 2048u /* of one line at most */
#define STRANGER_LINES 10u   /* in a second, about connections without a login */
#define STRANGER_MS 1000u
#define STRANGERS_KEPT 40u         /* lines of these that may come at once at level debug, ... */
#define STRANGERS_MS 60000u        /* ... in so long */
#define LOG_RETRY_MS 1000u         /* before another try to write lines that were not taken */
#define BLIND_MS 20u               /* between two tries of all, if poll() cannot look */
#define LAZY_MS 60000u             /* that a lazy record may wait for others */
#define HELPER_JOBS 4u             /* that the helper is given at once, so that it always has one */
#define HELPER_PAUSE_MS 1000u      /* between two starts of the helper */
#define HELPER_MS 20000u           /* in which the helper answers, or it hangs and is killed */
#define FIND_MS 300000u            /* between two looks for the address of a host that has one */
#define FIND_SOON_MS 10000u        /* ... until it has been found for the first time */
#define FINDER_MS 20000u           /* in which its process answers, or it hangs and is killed */
#define HELPER_TRIES 2u            /* at a job, after which it is given up: the helper died or hung each time */
#define COMPACT_BYTES 1048576u     /* a smaller journal is not compacted */
#define COMPACT_SLICE_MS 5u        /* a slice of work ends after this; its last write comes on top */
#define COMPACT_BATCH_BYTES 65536u /* after which a batch is written: that takes milliseconds */
#define COMPACT_RETRY_MS 60000u    /* before another try: the old journal is sound, so there is time */
#define RECOVER_RETRY_MS 5000u     /* ... if there is no journal, and nothing can be kept */
#define RETRY_DOUBLINGS 4u         /* of both, if it fails again and again */
#define LEAST_ROOM 4096u           /* without that much on the disk nothing can be kept */
#define LOOK_MS 60000u             /* between two looks at the names in the folder, as at an idle journal */
#ifndef COMPACT_ITEMS
#define COMPACT_ITEMS 32u /* that a slice takes between two looks at the clock */
#endif

/* What comes at the end and goes off the front: it grows as it must, and no copy
 * of what went stays behind, as that may hold passwords. */
struct buffer {
    uint8_t *bytes;
    size_t size, room;
};

/* Who waits for a record that is to be kept. */
struct waiter {
    uint32_t conn, receipt;
    bool lazy; /* nobody does */
};

/* While recording: input of a connection that is no whole frame yet. */
struct partial {
    uint32_t size;
    bool inside; /* what was handed in last is a part of a line */
    uint8_t bytes[INBOX_BYTES];
};

/* A journal file that is being written. */
struct journal {
    int fd;          /* -1: there is none, or it has failed */
    uint64_t size;   /* where its last sound batch ends */
    uint64_t number; /* of that batch */
    bool unsynced;   /* its end may not be on the disk yet */
    struct tail tail;
};

/* Compaction: a fresh journal that is to replace the present one. */
struct compaction {
    struct journal file; /* fd -1: none is being made */
    struct nascar_cursor cursor;
    struct batch batch;
    uint64_t began_ms, longest_ms, again_ms;
    uint64_t takes;    /* that many bytes did not do, the last time that its disk was full; 0: nobody knows */
    uint32_t failures; /* in a row, as its disk is full */
    bool failing;      /* the log has said so */
    int error;         /* why the last one failed */
};

/* The hashing helper, and its jobs; the first one is the one at work. */
struct helper {
    int fd; /* -1: it does not run */
    int process;
    struct {
        struct hash_question question;
        bool sent;
        uint32_t tries; /* that have failed */
    } job[HELPER_JOBS];
    uint32_t jobs, next_number;
    uint64_t again_ms;
    uint64_t began_ms; /* when it was given the first job, or came to it */
    bool failing;
};

/* The process that looks up the address of a host, which `public-address` names. */
struct finder {
    int fd; /* -1: it does not run */
    int process;
    struct host_question question; /* the last one */
    bool asked;                    /* it has not answered that yet */
    bool again;                    /* and is to be asked once more then */
    uint32_t address;              /* the last that it has found; 0: none */
    uint64_t due_ms;               /* when the next question is due, or the answer to this one */
    bool failing;                  /* the log has said so */
};

/* A stack of connection numbers that are free. */
struct numbers {
    uint32_t *free, count;
};

struct shell {
    const struct nascar_sys *sys;
    void *world;
    struct options options;
    struct nascar *state;
    uint32_t conns;                          /* how many connection numbers there are */
    struct pollfd *polled;                   /* FIRST_SOCKET, and those that are open */
    uint32_t *number_of;                     /* place in polled, less FIRST_SOCKET -> connection */
    uint32_t *place_of;                      /* connection -> its place, NONE when free */
    struct numbers numbers, control_numbers; /* for players, and for the operator */
    int spare[NASCAR_CONTROL_CONNECTIONS];   /* descriptors that are kept for the operator's connections */
    uint32_t spares;
    uint32_t open, paused; /* how many connections are open, and are not read from now */
    uint32_t port[PORTS];  /* that are open, NONE if it is not to be; those in the options may be 0 */
    bool accept_paused, stopping;
    bool terminal, outlives_terminal; /* it was started from one; and SIGHUP was ignored then, as by nohup */
    bool unread;                      /* something was read or accepted in this turn, behind which there may be more */
    uint64_t accept_again_ms;
    uint64_t now_ms;
    int64_t wall_s;
    char **arguments;          /* of the command line, to be read again at SIGHUP */
    struct buffer jobs;        /* struct nascar_hash_job: those that the helper has not got yet */
    struct buffer records;     /* not kept yet, as a batch has them, behind room for its head */
    struct buffer waiters;     /* struct waiter: one for each of them */
    uint32_t urgent;           /* how many of the records are not lazy */
    uint64_t lazy_due_ms;      /* when the others have waited long enough; 0: there is none */
    int folder;                /* of the data, which it locks */
    char data[LINE_CHARS + 1]; /* its path, as it was at the start */
    struct folder_lock lock;   /* of it */
    bool locked;               /* by us */
    bool signed_in;            /* its file `pid` says who we are */
    uint64_t sign_again_ms;    /* when it and the operator's socket are tried again; UINT64_MAX: they are there */
    struct journal journal;
    struct compaction compaction;
    bool journal_full;         /* the last write to it found no room, and was undone */
    struct buffer owed;        /* what was acknowledged meanwhile from memory alone, as a batch has it */
    uint64_t owed_again_ms;    /* when that is tried to be written again, by itself */
    bool journal_lost;         /* it has failed, and no other has taken its place yet */
    bool journal_strange;      /* ... as what has its name is not ours, or not as we left it */
    uint64_t looked_ms;        /* when that was last looked at, whatever is written */
    uint64_t live_bytes;       /* the journal's size when it was last compacted */
    struct nascar_limits kept; /* what the journal's records take, at most */
    struct helper helper;
    struct finder finder;
    struct sandbox sandbox;
    bool confined;    /* it is in force */
    int told_refused; /* the last call that was refused, of which the log has a line */
    struct nascar_limits limits;
    struct partial *partial; /* of each connection; NULL: nothing is recorded */
    int record_fd;
    int record_folder;                    /* that of the recording, until it gets its name; else -1 */
    uint64_t recorded_bytes;              /* up to the end of the last whole event */
    uint64_t room_looked_at;              /* how many there were when the room on its disk was looked at */
    struct room_passwords room_passwords; /* that stand in the recording as letters */
    uint64_t recorded_ms, recorded_events;
    int64_t recorded_wall_s;
    struct output_hash put_out;
    uint64_t metrics[NASCAR_METRICS_TOLD]; /* what the operator is told of the shell */
    uint64_t started_ms;
    bool ready;           /* the start is over: complaints go to the log */
    bool poll_failing;    /* the log has said so */
    bool entropy_failing; /* it has said so */
    uint32_t stop_signal; /* that has ended the loop */
    int log_fd;
    uint32_t log_size, log_sent;          /* what waits to be written, from a line's begin on, and how much of it was */
    uint32_t log_lost;                    /* lines that found no room there */
    bool log_stuck;                       /* the last try has left some */
    uint64_t stranger_ms[STRANGERS_KEPT]; /* when the last lines about strangers were logged, ... */
    uint64_t strangers;                   /* ... and how many there were in all */
    uint32_t left_out, left_out_level;    /* lines about them since then, and how much the worst one matters */
    uint64_t left_out_due_ms;             /* when the log is to say how many; if left_out > 0 */
    char log[LOG_BATCH_BYTES];
};

/* A process that was made by this one has no part in what waits here: there may be passwords, and hashes. */
static void shell_forget(void)
{
    if (!serving)
        return;
    wipe(serving->jobs.bytes, serving->jobs.size);
    wipe(serving->records.bytes, serving->records.size);
    wipe(serving->helper.job, sizeof serving->helper.job);
}

static void shell_time(struct shell *sh)
{
    sh->now_ms = sh->sys->mono_ms(sh->world);
    sh->wall_s = sh->sys->wall_s(sh->world);
}

/* Writes what the log takes at once. A line that is written in part stays whole, so
 * that its rest follows, or all of it if the log is another file by then. */
static void shell_log_flush(struct shell *sh)
{
    ssize_t n = 1;
    while (sh->log_sent < sh->log_size && n > 0) {
        n = sh->sys->log(sh->world, sh->log_fd, sh->log + sh->log_sent, sh->log_size - sh->log_sent);
        sh->log_sent += n > 0 ? (uint32_t)n : 0;
    }
    uint32_t whole = sh->log_sent;
    while (whole > 0 && sh->log[whole - 1] != '\n')
        whole--;
    sh->log_size -= whole;
    sh->log_sent -= whole;
    memmove(sh->log, sh->log + whole, sh->log_size);
    sh->log_stuck = sh->log_size > 0;
}

/* Adds a whole line to what is to be written. False if there is no room, as nobody
 * reads the log: nothing waits for that. */
static bool shell_log_line(struct shell *sh, const char *line, size_t size)
{
    if (sh->log_size + size > sizeof sh->log)
        shell_log_flush(sh);
    bool fits = sh->log_size + size <= sizeof sh->log;
    if (fits) {
        memcpy(sh->log + sh->log_size, line, size);
        sh->log_size += (uint32_t)size;
    }
    sh->log_lost += !fits;
    sh->metrics[NASCAR_LOG_LINES_LOST] += !fits;
    return fits;
}

/* One key=value of a line, as it stands there, without its quotes. */
struct log_field {
    const char *key, *value;
    size_t key_chars, value_chars;
    bool quoted;
};

/* Takes the first field off a text. False at its end, or if there is no whole one. */
static bool take_log_field(const char **text, struct log_field *f)
{
    f->key = *text + (**text == ' ');
    f->key_chars = strcspn(f->key, "= ");
    if (f->key[f->key_chars] != '=')
        return false;
    f->value = f->key + f->key_chars + 1;
    f->quoted = *f->value == '"';
    f->value += f->quoted;
    f->value_chars = strcspn(f->value, f->quoted ? "\"" : " ");
    *text = f->value + f->value_chars;
    return !f->quoted || *(*text)++ == '"';
}

/* Is it a number in JSON? The rule is: what is digits, and not in quotes. */
static bool is_log_number(const struct log_field *f)
{
    size_t digits = 0;
    while (digits < f->value_chars && is_digit((uint8_t)f->value[digits]))
        digits++;
    return !f->quoted && digits > 0 && digits == f->value_chars && (f->value[0] != '0' || digits == 1);
}

/* A line of the log that is being written. */
struct log_line {
    size_t size;
    char bytes[LOG_LINE_BYTES];
};

static void line_chars(struct log_line *line, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++, line->size++)
        if (line->size < sizeof line->bytes)
            line->bytes[line->size] = text[i];
}

/* Writes a value as a string of JSON: \xNN of a text is its \u00NN. */
static void line_json_string(struct log_line *line, const char *value, size_t size)
{
    line_chars(line, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        uint32_t c = (uint8_t)value[i];
        bool escaped = c == '\\' && i + 3 < size && value[i + 1] == 'x' && hex_value((uint8_t)value[i + 2]) >= 0 &&
                       hex_value((uint8_t)value[i + 3]) >= 0;
        if (escaped) {
            c = (uint32_t)(hex_value((uint8_t)value[i + 2]) * 16 + hex_value((uint8_t)value[i + 3]));
            i += 3;
        }
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
            line_chars(line, (const char[]){'\\', 'u', '0', '0', hex_digits[c >> 4], hex_digits[c & 15]}, 6);
        else
            line_chars(line, (const char[]){(char)c}, 1);
    }
    line_chars(line, "\"", 1);
}

static void line_field(struct log_line *line, const struct log_field *f, bool json)
{
    if (line->size > 0)
        line_chars(line, json ? "," : " ", 1);
    if (!json) {
        line_chars(line, f->key, (size_t)(f->value - f->key) + f->value_chars);
        line_chars(line, "\"", f->quoted);
        return;
    }
    if (line->size == 0)
        line_chars(line, "{", 1);
    line_json_string(line, f->key, f->key_chars);
    line_chars(line, ":", 1);
    if (is_log_number(f))
        line_chars(line, f->value, f->value_chars);
    else
        line_json_string(line, f->value, f->value_chars);
}

/* Adds the fields of a text to a line, so that so many bytes stay free: of a value that
 * is too long, as much as fits. */
static void line_fields(struct log_line *line, const char *text, size_t free, bool json)
{
    struct log_field f;
    while (take_log_field(&text, &f)) {
        size_t before = line->size;
        line_field(line, &f, json);
        while (line->size + free > sizeof line->bytes) {
            size_t over = line->size + free - sizeof line->bytes;
            line->size = before;
            if (over >= f.value_chars)
                return;
            f.value_chars -= over;
            for (size_t i = 0; i < 3 && f.value_chars > i; i++) /* no part of an escape, which has four */
                if (f.value[f.value_chars - 1 - i] == '\\')
                    f.value_chars -= i + 1;
            line_field(line, &f, json);
        }
    }
}

#define LOST_CHARS 24u /* ` lost=4294967295`, or what it is in JSON */

/* Writes a whole line: `head` and `text`, and `lost` for which there is always room. */
static void write_log_line(struct log_line *line, const char *head, const char *text, const char *lost, bool json)
{
    line->size = 0;
    line_fields(line, head, LOST_CHARS, json);
    line_fields(line, text, LOST_CHARS, json);
    line_fields(line, lost, 2, json);
    line_chars(line, json ? "}\n" : "\n", json ? 2 : 1);
}

/* Lines of this level are logged, and those before it. */
static enum nascar_log_level shell_log_level(const struct shell *sh)
{
    enum nascar_log_level set = (enum nascar_log_level)sh->options.log_level;
    return sh->state ? nascar_log_level(sh->state, set) : set;
}

/* Logs one line: the time, the level, the key=value pairs of `text`, and how many
 * lines before it were lost. */
static void shell_log(struct shell *sh, enum nascar_log_level level, const char *text)
{
    static const char names[][6] = {"error", "warn", "info", "debug"};
    struct log_line line;
    char date[20], head[64], lost[24] = "";
    if (level > shell_log_level(sh))
        return;
    write_date(date, sh->wall_s);
    date[10] = 'T';
    (void)write_as(head, sizeof head, "time=%sZ level=%s", date, names[level]);
    if (sh->log_lost > 0)
        (void)write_as(lost, sizeof lost, "lost=%u", sh->log_lost);
    write_log_line(&line, head, text, lost, sh->options.log_json);
    if (shell_log_line(sh, line.bytes, line.size))
        sh->log_lost = 0;
}

/* Were there fewer lines about strangers than this in that time? */
static bool few_strangers(const struct shell *sh, uint64_t lines, uint64_t ms)
{
    return sh->strangers < lines || sh->now_ms - sh->stranger_ms[(sh->strangers - lines) % STRANGERS_KEPT] >= ms;
}

/* Logs a line about a connection that nobody has logged in on. A flood of these must
 * not fill the disk: so many are logged in a second. A warning finds room when others
 * have none, and one place is kept for the line about those that were left out. With
 * frames they may come faster at first, so that a console's way in is told whole. */
static void shell_log_stranger(struct shell *sh, enum nascar_log_level level, const char *text)
{
    uint64_t most = STRANGER_LINES - (level <= NASCAR_LOG_WARN ? 1 : 2);
    if ((uint32_t)level > sh->options.log_level)
        return;
    if (few_strangers(sh, most, STRANGER_MS) ||
        (sh->options.log_level == NASCAR_LOG_DEBUG && few_strangers(sh, STRANGERS_KEPT, STRANGERS_MS))) {
        sh->stranger_ms[sh->strangers++ % STRANGERS_KEPT] = sh->now_ms;
        shell_log(sh, level, text);
        return;
    }
    if (sh->left_out == 0)
        sh->left_out_due_ms = sh->now_ms + STRANGER_MS;
    if (sh->left_out++ == 0 || (uint32_t)level < sh->left_out_level)
        sh->left_out_level = level;
    sh->metrics[NASCAR_LOG_LINES_LEFT_OUT]++;
}

/* Logs how many lines about strangers were left out in the last second. */
static void tell_left_out(struct shell *sh)
{
    char text[64];
    (void)write_as(text, sizeof text, "event=lines_left_out n=%u", sh->left_out);
    if (sh->left_out == 0)
        return;
    sh->left_out = 0;
    shell_log(sh, (enum nascar_log_level)sh->left_out_level, text);
}

/* A complaint stands in the log of a server that runs, as a line of it, and else on
 * standard error. */
static void shell_complain(struct shell *sh, const char *line, size_t size)
{
    char text[LOG_LINE_BYTES] = "event=config_refused reason=\"";
    size_t at = strlen(text), skip = strlen("nascar_server: ");
    if (!sh->ready) {
        shell_log_flush(sh);
        (void)write_now(STDERR_FILENO, line, size);
        return;
    }
    for (size_t i = skip; i + 1 < size && at + 8 < sizeof text; i++) {
        uint8_t c = (uint8_t)line[i];
        bool plain = c >= 0x20 && c <= 0x7e && c != '"' && c != '\\';
        at += (size_t)write_as(text + at, 5, plain ? "%c" : "\\x%02x", (unsigned)c);
    }
    copy_text(text + at, sizeof text - at, "\"");
    shell_log(sh, NASCAR_LOG_ERROR, text);
}

/* Opens the log file again, as whoever moves it away asks for. */
static void shell_log_reopen(struct shell *sh)
{
    char text[256];
    if (!sh->options.log_file[0])
        return;
    shell_log_flush(sh);
    const char *path = path_now(sh->options.log_file);
    int fd = path ? sh->sys->log_open(sh->world, path) : -1;
    if (fd < 0) {
        (void)write_as(text, sizeof text, "event=log_kept reason=\"%s\" advice=\"send SIGUSR1 again\"",
                       path ? why(errno) : OUTSIDE_JAIL);
        shell_log(sh, NASCAR_LOG_ERROR, text);
        return;
    }
    sh->sys->close(sh->world, sh->log_fd);
    sh->log_fd = fd;
    sh->log_sent = 0;
    shell_log(sh, NASCAR_LOG_INFO, "event=log_reopened");
}

static void recording_drop(struct shell *sh);

/* At each end: what would say that a server runs is removed, if it is ours; and what was recorded of no service. */
static void shell_leave(struct shell *sh)
{
    if (sh->locked) {
        sh->sys->remove(sh->world, sh->folder, "control");
        sh->sys->remove(sh->world, sh->folder, "pid");
    }
    sh->locked = false;
    recording_drop(sh);
    shell_log_flush(sh);
}

/* Ends the process: what was acknowledged is in the journal. */
static _Noreturn void shell_die(struct shell *sh, const char *reason)
{
    char text[320];
    (void)write_as(text, sizeof text, "event=died reason=\"%s\"", reason);
    if (sh->ready)
        shell_log(sh, NASCAR_LOG_ERROR, text);
    else
        (void)complain("", "", "%s", reason);
    shell_leave(sh);
    exit(1);
}

/* ---- Recording ----------------------------------------------------------- */

#define CHECKPOINT_EVENTS 1000u

static bool is_recording(const struct shell *sh)
{
    return sh->partial != NULL;
}

#define RECORDING_LEAVES (1u << 20)      /* so many bytes of its disk: the journal may need them */
#define RECORDING_LOOKS_EVERY (1u << 16) /* written bytes, at the room there */

/* The parts of the recording's path; until the service has begun its file has .new behind its name. */
static const char *recording_name(const struct shell *sh, const char *end, char out[LINE_CHARS + 8])
{
    const char *path = sh->options.record_file, *slash = strrchr(path, '/');
    (void)write_as(out, LINE_CHARS + 8, "%s%s", slash ? slash + 1 : path, end);
    return out;
}

/* Has the recording of a server that did not come to serve leave nothing behind. */
static void recording_drop(struct shell *sh)
{
    char name[LINE_CHARS + 8];
    if (sh->record_folder < 0)
        return;
    (void)unlinkat(sh->record_folder, recording_name(sh, ".new", name), 0);
    (void)close(sh->record_folder);
    sh->record_folder = -1;
}

/* It goes no further, which stops nothing else. What stands behind the last whole event is given back. */
static void recording_ended(struct shell *sh, const char *reason)
{
    char text[256];
    (void)write_as(text, sizeof text, "event=recording_ended reason=\"%s\"", reason);
    shell_log(sh, NASCAR_LOG_ERROR, text);
    if (sh->record_fd >= 0) {
        (void)sh->sys->truncate(sh->world, sh->record_fd, sh->recorded_bytes);
        sh->sys->close(sh->world, sh->record_fd);
    }
    sh->record_fd = -1;
}

static void recording_write(struct shell *sh, uint32_t type, const struct nascar_event *e)
{
    uint8_t head[SCRIPT_HEAD_BYTES];
    uint32_t n = script_write_event(head, type, e, e->mono_ms - sh->recorded_ms),
             size = type == NASCAR_DRAINED ? 0 : e->size;
    sh->recorded_ms = e->mono_ms;
    if (sh->record_fd < 0)
        return;
    if (sh->sys->append(sh->world, sh->record_fd, head, n) && sh->sys->append(sh->world, sh->record_fd, e->bytes, size))
        sh->recorded_bytes += n + size;
    else
        recording_ended(sh, why(errno));
}

static void recording_numbers(struct shell *sh, uint32_t type, uint64_t mono_ms, uint64_t value)
{
    uint8_t bytes[8];
    store_be64(bytes, value);
    struct nascar_event e = {.conn = NONE, .mono_ms = mono_ms, .bytes = bytes, .size = sizeof bytes};
    recording_write(sh, type, &e);
}

/* A line of a request by HTTP. Cookies and passwords are for others on this host: of a field
 * that does not matter to us, only the name is written down; and of what is passed over, nothing. */
static void scrub_line(const uint8_t *bytes, uint32_t size, bool all, struct outgoing *f)
{
    uint32_t chars = size, at = 0;
    while (chars > 0 && (bytes[chars - 1] == '\n' || bytes[chars - 1] == '\r'))
        chars--;
    if (!all && field_of(bytes, chars) != FIELD_OTHER)
        return;
    memcpy(f->bytes, bytes, size);
    f->size = size;
    while (!all && f->bytes[at++] != ':')
        continue;
    memset(f->bytes + at, '*', chars - at);
}

static bool is_http(const struct shell *sh, uint32_t c)
{
    return conn_at(sh->state, c)->state == CONN_HTTP;
}

/* Writes an event down before the core takes it, without what must stay secret. */
static void recording_event(struct shell *sh, const struct nascar_event *e)
{
    struct outgoing scrubbed;
    struct nascar_event copy = *e;
    if (++sh->recorded_events % CHECKPOINT_EVENTS == 0)
        recording_numbers(sh, SCRIPT_CHECKPOINT, e->mono_ms, output_hash_value(&sh->put_out));
    if (e->wall_s != sh->recorded_wall_s)
        recording_numbers(sh, SCRIPT_WALL, e->mono_ms, (uint64_t)e->wall_s);
    sh->recorded_wall_s = e->wall_s;
    scrubbed.size = 0;
    if (e->type == NASCAR_BYTES && is_http(sh, e->conn))
        scrub_line(e->bytes, e->size, sh->partial[e->conn].inside || conn_at(sh->state, e->conn)->deaf, &scrubbed);
    else if (e->type == NASCAR_BYTES && e->size >= HEADER_BYTES && load_be32(e->bytes + 8) == e->size)
        scrub_frame(sh->state, e->conn, e->bytes, e->size, &scrubbed, &sh->room_passwords);
    else if (e->type == NASCAR_RECORD || e->type == NASCAR_RECORD_FAILED)
        scrub_record(e->bytes, e->size, &scrubbed);
    if (scrubbed.size > 0) {
        copy.bytes = scrubbed.bytes;
        copy.size = scrubbed.size;
    }
    if (e->type == NASCAR_VERDICT && e->size > 0) {
        copy.bytes = (const uint8_t *)"*";
        copy.size = 1;
    }
    recording_write(sh, e->type, &copy);
    hash_written(&sh->put_out, sh->state, e);
}

/* Ends the recording before it takes what the journal may need. What it has is whole, with a checkpoint. */
static void recording_look(struct shell *sh)
{
    if (sh->recorded_bytes - sh->room_looked_at < RECORDING_LOOKS_EVERY && sh->room_looked_at > 0)
        return;
    sh->room_looked_at = sh->recorded_bytes;
    if (sh->sys->room(sh->world, sh->record_fd) >= RECORDING_LEAVES)
        return;
    recording_numbers(sh, SCRIPT_CHECKPOINT, sh->recorded_ms, output_hash_value(&sh->put_out));
    if (sh->record_fd >= 0)
        recording_ended(sh, "its disk is nearly full");
}

static void hash_record(struct output_hash *hash, const uint8_t *bytes, uint32_t size)
{
    struct outgoing scrubbed;
    scrub_record(bytes, size, &scrubbed);
    hash_bytes(&hash->records, scrubbed.bytes, scrubbed.size);
}

/* Starts a recording in record_fd. */
static bool recording_begin(struct shell *sh)
{
    uint8_t header[64];
    sh->recorded_ms = sh->room_looked_at = 0;
    sh->partial = reserve(sh->conns * sizeof *sh->partial);
    sh->recorded_bytes = script_write_header(header, sh->limits);
    if (sh->partial)
        (void)madvise(sh->partial, sh->conns * sizeof *sh->partial, MADV_DONTFORK); /* there may be passwords in it */
    return sh->partial && sh->sys->append(sh->world, sh->record_fd, header, (size_t)sh->recorded_bytes);
}

/* Nothing is moved away, or written over, that is not a recording. Returns what is wrong with a file, or NULL. */
static const char *no_recording(int folder, const char *name)
{
    static char text[128];
    uint8_t head[3];
    const char *type = wrong_type(folder, name, S_IFREG);
    int fd = type ? -1 : openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (!type && fd < 0)
        return errno == ENOENT ? NULL : why(errno);
    ssize_t n = fd < 0 ? -1 : read(fd, head, sizeof head);
    if (fd >= 0)
        (void)close(fd);
    if (n == 0 || (n == 3 && memcmp(head, script_magic, 3) == 0))
        return NULL;
    (void)write_as(text, sizeof text, "%.64s is %s, and not a recording: move it away", name,
                   type ? type : "another file");
    return text;
}

/* Opens the recording, if there is to be one. It gets its name when the service has begun. */
static bool recording_open(struct shell *sh)
{
    const char *path = sh->options.record_file, *slash = strrchr(path, '/');
    char name[LINE_CHARS + 8];
    sh->record_fd = sh->record_folder = -1;
    if (!path[0])
        return true;
    (void)write_as(name, sizeof name, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    int folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *what = folder < 0 ? why(errno) : is_in_data(&sh->options, path) ? IN_DATA : NULL;
    for (size_t i = 0; i < 3 && !what; i++)
        what = no_recording(folder, recording_name(sh, recording_ends[i], name));
    if (what && folder >= 0)
        (void)close(folder);
    if (what)
        return complain(COMMAND_LINE, "record", "%s: %s", path, what);
    sh->record_folder = folder;
    sh->record_fd = openat(sh->record_folder, recording_name(sh, ".new", name),
                           O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (sh->record_fd >= 0 && recording_begin(sh))
        return true;
    if (!is_full(errno))
        return complain(COMMAND_LINE, "record", "%s: %s", path, why(errno));
    recording_ended(sh, why(errno));
    recording_drop(sh);
    return true;
}

/* The service has begun: the recording takes its name, and that of an earlier run is kept as FILE.old. */
static bool recording_takes_place(struct shell *sh)
{
    char name[LINE_CHARS + 8], other[LINE_CHARS + 8];
    const int at = sh->record_folder;
    if (at < 0)
        return true;
    if (sh->record_fd < 0) { /* it has ended already: what the run before has written stays */
        recording_drop(sh);
        return true;
    }
    bool good =
        (renameat(at, recording_name(sh, "", name), at, recording_name(sh, ".old", other)) == 0 || errno == ENOENT) &&
        renameat(at, recording_name(sh, ".new", other), at, name) == 0;
    if (!good)
        return complain(COMMAND_LINE, "record", "%s: %s", sh->options.record_file, why(errno));
    (void)close(at);
    sh->record_folder = -1;
    return true;
}

/* Ends the recording. Its last checkpoint holds all that was put out. */
static void recording_close(struct shell *sh)
{
    if (!is_recording(sh) || sh->record_fd < 0)
        return;
    recording_numbers(sh, SCRIPT_CHECKPOINT, sh->now_ms, output_hash_value(&sh->put_out));
    sh->sys->close(sh->world, sh->record_fd);
}

/* ---- Steps --------------------------------------------------------------- */

static void core_step(struct shell *sh, const struct nascar_event *event)
{
    if (is_recording(sh) && sh->record_fd >= 0)
        recording_look(sh);
    if (is_recording(sh) && sh->record_fd >= 0)
        recording_event(sh, event);
    (void)nascar_step(sh->state, event);
}

/* Fills the pool up. Without entropy nothing that follows could be trusted. */
static void feed_entropy(struct shell *sh)
{
    uint8_t bytes[NASCAR_ENTROPY_BYTES];
    char text[256];
    struct nascar_event event = {.type = NASCAR_ENTROPY, .conn = NONE, .mono_ms = sh->now_ms, .wall_s = sh->wall_s};
    event.bytes = bytes;
    event.size = nascar_entropy_wanted(sh->state);
    if (event.size <= NASCAR_ENTROPY_BYTES / 2)
        return;
    bool good = sh->sys->entropy(sh->world, bytes, event.size);
    if (!good &&
        event.size <= NASCAR_ENTROPY_BYTES - 2 * STEP_ENTROPY) { /* there is enough for now: it is tried again */
        if (!sh->entropy_failing)
            shell_log(sh, NASCAR_LOG_ERROR,
                      "event=entropy_failed advice=\"getrandom() and /dev/urandom give nothing\"");
        sh->entropy_failing = true;
        return;
    }
    sh->entropy_failing = false;
    if (!good) {
        (void)write_as(text, sizeof text,
                       "no random numbers, neither from getrandom() nor from /dev/urandom: %s: start it where "
                       "there is one of them",
                       why(errno));
        shell_die(sh, text);
    }
    core_step(sh, &event);
    wipe(bytes, sizeof bytes);
}

/* Makes room for so many more bytes at its end, which are to be filled. */
static void *buffer_add(struct shell *sh, struct buffer *b, size_t size)
{
    if (size > b->room - b->size) {
        size_t room = 2 * (b->room + size);
        uint8_t *bytes = reserve(room);
        if (!bytes) /* there is nowhere to keep what a player is about to be told */
            shell_die(sh, "no memory for what waits to be kept: free some, or raise its limit (ulimit -v)");
        if (b->size > 0) { /* no passwords stay behind */
            memcpy(bytes, b->bytes, b->size);
            wipe(b->bytes, b->size);
        }
        release(b->bytes, b->room);
        b->bytes = bytes;
        b->room = room;
    }
    b->size += size;
    return b->bytes + b->size - size;
}

/* Takes so many bytes off its front. */
static void buffer_cut(struct buffer *b, size_t size)
{
    if (size == 0)
        return;
    b->size -= size;
    memmove(b->bytes, b->bytes + size, b->size);
    wipe(b->bytes + b->size, size);
}

/* Takes a record off the core, to be kept with the next batch. */
static void keep_record(struct shell *sh, const struct nascar_record *record)
{
    if (is_recording(sh))
        hash_record(&sh->put_out, record->bytes, record->size);
    if (sh->lazy_due_ms == 0)
        sh->lazy_due_ms = sh->now_ms + LAZY_MS;
    if (sh->records.size == 0) /* the first of all */
        (void)buffer_add(sh, &sh->records, BATCH_HEAD_BYTES);
    memcpy(buffer_add(sh, &sh->records, record->size), record->bytes, record->size);
    *(struct waiter *)buffer_add(sh, &sh->waiters, sizeof(struct waiter)) =
        (struct waiter){record->conn, record->receipt, record->lazy};
    sh->urgent += !record->lazy;
}

/* Takes one step and logs its lines. Records and hash jobs are kept for the end
 * of the turn. */
static void shell_step(struct shell *sh, const struct nascar_event *event)
{
    struct nascar_event stamped = *event;
    struct nascar_log log;
    struct nascar_record record;
    struct nascar_hash_job job;
    struct nascar_datagram datagram;
    stamped.mono_ms = sh->now_ms;
    stamped.wall_s = sh->wall_s;
    feed_entropy(sh);
    core_step(sh, &stamped);
    if (nascar_next_datagram(sh->state, &datagram)) {
        (void)sh->sys->exchange(sh->world, sh->polled[DATAGRAMS].fd, true, &datagram);
        if (is_recording(sh))
            hash_bytes(&sh->put_out.written, datagram.bytes, datagram.size);
    }
    while (nascar_next_log(sh->state, &log)) {
        (log.stranger ? shell_log_stranger : shell_log)(sh, log.level, log.text);
        if (is_recording(sh))
            hash_bytes(&sh->put_out.log, log.text, strlen(log.text));
    }
    while (nascar_next_record(sh->state, &record))
        keep_record(sh, &record);
    while (nascar_next_hash_job(sh->state, &job)) {
        *(struct nascar_hash_job *)buffer_add(sh, &sh->jobs, sizeof job) = job;
        wipe(&job, sizeof job);
    }
}

/* ---- The journal --------------------------------------------------------- */

/* Records are written in the turn after they came: one batch, one sync, and
 * then each goes back to the core, which acts on it. A write that finds no room
 * is undone, and the same file goes on when there is some. If anything else fails,
 * that file is not written to again, as a second try could report success and have
 * lost the data: a fresh one takes its place as soon as it can be made. */

static void journal_close(struct shell *sh, struct journal *j)
{
    if (j->fd >= 0)
        sh->sys->close(sh->world, j->fd);
    j->fd = -1;
}

static bool journal_sync(struct shell *sh, struct journal *j)
{
    if (!j->unsynced)
        return true;
    uint64_t began_ms = sh->sys->mono_ms(sh->world);
    if (!sh->sys->sync(sh->world, j->fd))
        return false;
    uint64_t took_ms = sh->sys->mono_ms(sh->world) - began_ms;
    sh->metrics[NASCAR_JOURNAL_SYNCS]++;
    if (sh->metrics[NASCAR_JOURNAL_SYNC_MS] < took_ms)
        sh->metrics[NASCAR_JOURNAL_SYNC_MS] = took_ms;
    j->unsynced = false;
    return true;
}

static struct tail tail_of(const uint8_t *bytes, size_t size, uint64_t at)
{
    struct tail tail = {.at = at, .size = size < TAIL_BYTES ? (uint32_t)size : TAIL_BYTES};
    memcpy(tail.bytes, bytes, tail.size);
    return tail;
}

static bool journal_append(struct shell *sh, struct journal *j, struct batch *batch)
{
    batch_seal(batch, j->number + 1);
    j->unsynced = true;
    if (!sh->sys->append(sh->world, j->fd, batch->bytes, batch->size))
        return false;
    j->number++;
    sh->metrics[NASCAR_JOURNAL_BATCHES]++;
    j->tail = tail_of(batch->bytes, batch->size, j->size);
    j->size += batch->size;
    return true;
}

/* Says that nothing can be kept, once until it can again. */
static void tell_journal_failed(struct shell *sh, uint64_t end, const char *reason)
{
    char text[320];
    (void)write_as(text, sizeof text, "event=journal_failed offset=%llu reason=\"%s\"", (unsigned long long)end,
                   reason);
    sh->metrics[NASCAR_JOURNAL_FAILURES]++;
    if (!sh->journal_full)
        shell_log(sh, NASCAR_LOG_ERROR, text);
}

static void owed_clear(struct shell *sh)
{
    buffer_cut(&sh->owed, sh->owed.size);
}

/* The journal's file is not used again. */
static void journal_give_up(struct shell *sh, uint64_t end, const char *reason)
{
    tell_journal_failed(sh, end, reason);
    journal_close(sh, &sh->journal);
    sh->journal_lost = true;
    sh->journal_full = false;
    owed_clear(sh); /* a fresh one has that with the state */
    sh->compaction.again_ms = sh->compaction.began_ms + RECOVER_RETRY_MS;
}

/* The journal has failed. What was not kept is cut off, as far as that is possible. */
static void journal_failed(struct shell *sh, uint64_t end)
{
    const char *reason = why(errno);
    if (sh->journal.fd >= 0)
        (void)sh->sys->truncate(sh->world, sh->journal.fd, end);
    journal_give_up(sh, end, reason);
}

static const char *file_changed(struct shell *sh, const char *name, const struct journal *j)
{
    char path[LINE_CHARS + 16];
    (void)write_as(path, sizeof path, "%s/%s", sh->data, name);
    return sh->sys->changed(sh->world, path, j->fd, j->size, &j->tail);
}

/* Looks whether the journal is still as we have written it, under its name. If
 * somebody has removed, replaced or overwritten it, it is left as it is: a fresh
 * one takes its place. */
static void journal_look(struct shell *sh)
{
    const char *what = sh->journal.fd >= 0 ? file_changed(sh, "journal", &sh->journal) : NULL;
    if (!what)
        return;
    journal_give_up(sh, sh->journal.size, what);
    sh->journal_strange = true;
}

static uint64_t look_due_ms(const struct shell *sh)
{
    return sh->looked_ms + LOOK_MS;
}

/* A fresh journal could not be made, for this reason (NULL: errno). Another try comes later. */
static void compaction_failed(struct shell *sh, const char *reason)
{
    struct compaction *x = &sh->compaction;
    char text[256];
    x->error = reason ? 0 : errno;
    x->takes = is_full(x->error) && x->file.fd >= 0 ? x->file.size + x->batch.size : x->takes;
    (void)write_as(text, sizeof text, "event=compaction_failed reason=\"%s\"", reason ? reason : why(errno));
    sh->metrics[NASCAR_JOURNAL_FAILURES]++;
    if (!x->failing)
        shell_log(sh, NASCAR_LOG_ERROR, text);
    x->failing = true;
    journal_close(sh, &x->file);
    sh->sys->remove(sh->world, sh->folder, "journal.new");
    uint64_t pause_ms = sh->journal.fd >= 0 ? COMPACT_RETRY_MS : RECOVER_RETRY_MS;
    x->again_ms = sh->now_ms + (pause_ms << min_u32(x->failures, RETRY_DOUBLINGS));
    x->failures += reason == NULL && is_full(x->error); /* a full disk is written to more and more rarely */
}

/* Is there room for a fresh journal, as far as one can know, and for what the present one still takes meanwhile? */
static bool compaction_fits(const struct shell *sh, uint64_t bytes)
{
    uint64_t more = sh->journal.fd >= 0 && !sh->journal_full ? BATCH_BYTES : 0;
    return sh->sys->room(sh->world, sh->folder) >= bytes + more;
}

/* Writes what is in the batch, and if `end` is set, the mark that the state
 * ends there. */
static bool compaction_write(struct shell *sh, bool end)
{
    struct compaction *x = &sh->compaction;
    errno = ENOSPC;
    if (x->batch.records > 0 && (!compaction_fits(sh, x->batch.size) || !journal_append(sh, &x->file, &x->batch)))
        return false;
    batch_begin(&x->batch);
    return !end || journal_append(sh, &x->file, &x->batch);
}

/* Puts one more record of the state into the fresh journal. */
static bool compaction_add(struct shell *sh, const uint8_t *bytes, uint32_t size)
{
    struct compaction *x = &sh->compaction;
    (void)batch_add(&x->batch, bytes, size); /* what it holds is written long before it is full */
    return x->batch.size < COMPACT_BATCH_BYTES || compaction_write(sh, false);
}

/* A write to the journal has failed. If there was no room, what it has written is taken back, and once that is on
 * the disk the file is as sound as it was. Returns whether it is. */
static bool journal_undo(struct shell *sh, uint64_t end)
{
    struct journal *j = &sh->journal;
    int error = errno;
    const char *reason = why(error);
    if (!is_full(error)) {
        journal_failed(sh, end);
        return false;
    }
    if (!sh->sys->truncate(sh->world, j->fd, end) || !sh->sys->sync(sh->world, j->fd)) {
        journal_give_up(sh, end, why(errno));
        return false;
    }
    j->unsynced = false;
    if (sh->compaction.file.fd >= 0) /* its room comes first, and may be enough */
        compaction_failed(sh, "the journal needs its room");
    tell_journal_failed(sh, end, reason);
    sh->journal_full = true;
    return true;
}

/* Writes one batch to the journal. If a fresh one that is being made has taken the room, that is given up for it. */
static bool journal_put(struct shell *sh, struct batch *batch)
{
    bool again = sh->compaction.file.fd >= 0;
    uint64_t end = sh->journal.size;
    if (journal_append(sh, &sh->journal, batch))
        return true;
    if (!journal_undo(sh, end) || !again)
        return false;
    if (journal_append(sh, &sh->journal, batch))
        return true;
    (void)journal_undo(sh, end);
    return false;
}

/* First comes what was acknowledged while there was no room. */
static bool journal_pay(struct shell *sh)
{
    struct batch batch = {.size = (uint32_t)sh->owed.size, .records = 1, .bytes = sh->owed.bytes};
    uint64_t end = sh->journal.size;
    if (sh->owed.size == 0)
        return true;
    sh->owed_again_ms = sh->now_ms + RECOVER_RETRY_MS;
    if (!journal_put(sh, &batch))
        return false;
    if (journal_sync(sh, &sh->journal))
        owed_clear(sh);
    else
        journal_failed(sh, end);
    return sh->journal.fd >= 0;
}

/* It takes what is written to it, maybe again. */
static void journal_well(struct shell *sh)
{
    if (sh->journal_full)
        shell_log(sh, NASCAR_LOG_INFO, "event=journal_recovered");
    sh->journal_full = false;
}

static uint64_t owed_due_ms(const struct shell *sh)
{
    return sh->owed.size > 0 ? sh->owed_again_ms : UINT64_MAX;
}

/* Writes what is owed, though nobody else has anything to write. */
static void owed_work(struct shell *sh)
{
    uint64_t end = sh->journal.size;
    if (owed_due_ms(sh) > sh->now_ms && !(sh->stopping && sh->owed.size > 0))
        return;
    journal_look(sh);
    if (sh->journal.fd < 0)
        return;
    if (!journal_sync(sh, &sh->journal))
        journal_failed(sh, end);
    else if (journal_pay(sh))
        journal_well(sh);
}

/* Notes down what was acknowledged from memory alone, while the journal has no room. So much is remembered; after
 * that a fresh journal is needed. */
static void journal_owe(struct shell *sh, const uint8_t *bytes, uint32_t size)
{
    if (sh->journal.fd < 0 || !nascar_takes_unkept(bytes, size))
        return;
    if (sh->owed.size + size > BATCH_BYTES) {
        journal_give_up(sh, sh->journal.size, "it has no room for too long");
        return;
    }
    if (sh->owed.size == 0) {
        (void)buffer_add(sh, &sh->owed, BATCH_HEAD_BYTES);
        sh->owed_again_ms = sh->now_ms + RECOVER_RETRY_MS;
    }
    memcpy(buffer_add(sh, &sh->owed, size), bytes, size);
}

/* Writes the batch to the journal, and to a fresh one that is being made,
 * behind what that has of the state so far. A batch that may be torn must be
 * the last of its file, so what came before it is synced first. */
static bool journal_keep(struct shell *sh, struct batch *batch, bool urgent)
{
    struct compaction *x = &sh->compaction;
    journal_look(sh);
    uint64_t end = sh->journal.size;
    if (sh->journal.fd < 0)
        return false;
    if (!journal_sync(sh, &sh->journal)) {
        journal_failed(sh, end);
        return false;
    }
    if (!journal_pay(sh) || !journal_put(sh, batch))
        return false;
    if (urgent && !journal_sync(sh, &sh->journal)) {
        journal_failed(sh, end);
        return false;
    }
    journal_well(sh);
    if (x->file.fd >= 0 && !(compaction_write(sh, false) && journal_append(sh, &x->file, batch)))
        compaction_failed(sh, NULL);
    return true;
}

/* The next batch: as many of the records as it takes, where they stand. */
static struct batch first_batch(const struct shell *sh)
{
    struct batch batch = {.size = BATCH_HEAD_BYTES, .records = 0, .bytes = sh->records.bytes};
    while (batch.size < sh->records.size) {
        uint32_t size = load_be32(batch.bytes + batch.size + 8);
        if (size > BATCH_BYTES - batch.size)
            break;
        batch.size += size;
        batch.records++;
    }
    return batch;
}

static uint64_t commit_due_ms(const struct shell *sh)
{
    return sh->urgent > 0 ? 0 : sh->lazy_due_ms > 0 ? sh->lazy_due_ms : UINT64_MAX;
}

/* The core has a change in memory alone, and its player has been told: it goes
 * into the fresh journal, behind what that has of the state so far, and before
 * any later change of the same thing. If none is being made, or this one fails,
 * the next has it with the state. So, whenever there is a sound journal again,
 * INVARIANT: all that was ever acknowledged is in it. */
static void journal_catch_up(struct shell *sh, const uint8_t *bytes, uint32_t size)
{
    if (sh->compaction.file.fd >= 0 && nascar_takes_unkept(bytes, size) && !compaction_add(sh, bytes, size))
        compaction_failed(sh, NULL);
}

/* Keeps what is due, and gives it back to the core. The records that come of
 * that are added behind it and wait for the next turn. The buffers may move when
 * that happens, but only when the step is done with its own record. */
static void journal_commit(struct shell *sh)
{
    if (sh->waiters.size == 0 || (commit_due_ms(sh) > sh->now_ms && !sh->stopping))
        return;
    struct batch batch = first_batch(sh);
    size_t waiter_bytes = batch.records * sizeof(struct waiter);
    bool kept = journal_keep(sh, &batch, sh->urgent > 0);
    shell_time(sh); /* that took a while */
    if (waiter_bytes == sh->waiters.size)
        sh->lazy_due_ms = 0;
    for (uint32_t i = 0, at = BATCH_HEAD_BYTES; at < batch.size; i++) {
        const struct waiter *waiter = (const struct waiter *)(void *)sh->waiters.bytes + i;
        struct nascar_event event = {.type = kept ? NASCAR_RECORD : NASCAR_RECORD_FAILED,
                                     .conn = waiter->conn,
                                     .receipt = waiter->receipt,
                                     .bytes = sh->records.bytes + at,
                                     .size = load_be32(sh->records.bytes + at + 8)};
        sh->urgent -= !waiter->lazy;
        shell_step(sh, &event);
        if (!kept) {
            journal_catch_up(sh, sh->records.bytes + at, event.size);
            journal_owe(sh, sh->records.bytes + at, event.size);
        }
        at += event.size;
    }
    buffer_cut(&sh->waiters, waiter_bytes);
    buffer_cut(&sh->records, batch.size - BATCH_HEAD_BYTES);
    wipe(sh->records.bytes, BATCH_HEAD_BYTES); /* the end of the last one that went stood there */
}

/* ---- Compaction ---------------------------------------------------------- */

/* Logs it if the folder itself could not be locked. */
static void tell_lock(struct shell *sh)
{
    char text[320];
    if (sh->lock.by_folder == 0)
        return;
    (void)write_as(text, sizeof text, "event=no_flock reason=\"%s\" advice=\"%s\"", why(sh->lock.by_folder),
                   sh->lock.by_file == 0 ? "its file pid is locked instead" : "start no second server on this folder");
    shell_log(sh, NASCAR_LOG_WARN, text);
}

/* Has sign_work() say in the next turn who uses the folder, as if it were a new one. */
static void sign_anew(struct shell *sh)
{
    int *control = &sh->polled[CONTROL_LISTENER].fd;
    if (*control >= 0)
        sh->sys->close(sh->world, *control);
    *control = -1;
    sh->signed_in = false;
    sh->sign_again_ms = 0;
}

/* Somebody may have removed what says that a server runs, and by which it is asked. */
static void look_for_names(struct shell *sh)
{
    bool pid = !sh->signed_in || sh->sys->stands(sh->world, sh->folder, "pid");
    bool control = sh->polled[CONTROL_LISTENER].fd < 0 || sh->sys->stands(sh->world, sh->folder, "control");
    if (pid && control)
        return;
    shell_log(sh, NASCAR_LOG_WARN,
              pid ? "event=control_gone advice=\"it is made again\"" : "event=pid_gone advice=\"it is made again\"");
    sign_anew(sh);
}

/* Goes to where the path of the data leads now, if the folder that was there has
 * been removed, moved or hidden. sign_work() does the rest in the next turn. */
static bool follow_folder(struct shell *sh)
{
    int folder = sh->sys->folder(sh->world, sh->data, sh->folder, &sh->lock);
    if (folder < 0 || folder == sh->folder)
        return folder >= 0;
    sh->folder = folder;
    sh->journal_strange = true; /* if there is one in it */
    tell_lock(sh);
    sign_anew(sh);
    return true;
}

static void compaction_begin(struct shell *sh)
{
    struct compaction *x = &sh->compaction;
    uint8_t head[64];
    uint32_t size = write_journal_head(head, JOURNAL_FORMAT);
    if (!follow_folder(sh)) {
        compaction_failed(sh, errno == EWOULDBLOCK ? "another server uses the folder" : NULL);
        return;
    }
    if (!compaction_fits(sh, sh->journal.fd >= 0 ? sh->live_bytes : x->takes)) { /* so nothing is written in vain */
        errno = ENOSPC;
        compaction_failed(sh, NULL);
        return;
    }
    memset(&x->cursor, 0, sizeof x->cursor);
    batch_begin(&x->batch);
    x->began_ms = sh->sys->mono_ms(sh->world);
    x->longest_ms = 0;
    x->file.fd = sh->sys->open(sh->world, sh->folder, "journal.new", true);
    x->file.size = size;
    x->file.number = 0;
    x->file.tail = tail_of(head, size, 0);
    x->file.unsynced = true;
    if (x->file.fd < 0 || !sh->sys->append(sh->world, x->file.fd, head, size))
        compaction_failed(sh, NULL);
}

/* Keeps what stands in the journal's place and is not ours: it may be somebody's backup. */
static bool keep_strange(struct shell *sh)
{
    char text[96];
    int n = sh->journal_strange ? sh->sys->set_aside(sh->world, sh->folder, "journal") : 0;
    (void)write_as(text, sizeof text, "event=journal_set_aside file=\"journal.found-%d\"", n);
    if (n > 0)
        shell_log(sh, NASCAR_LOG_WARN, text);
    sh->journal_strange = sh->journal_strange && n < 0;
    return n >= 0;
}

/* The fresh journal is complete, and takes the old one's place. Until its name
 * is on the disk it is not to be relied on; and the old one is no longer the
 * journal, either. */
static void compaction_finish(struct shell *sh)
{
    struct compaction *x = &sh->compaction;
    char text[192];
    uint64_t was = sh->journal.size, before_ms = sh->sys->mono_ms(sh->world);
    journal_look(sh);
    bool strange = sh->journal_strange;
    bool good = compaction_write(sh, true) && journal_sync(sh, &x->file);
    const char *changed = good ? file_changed(sh, "journal.new", &x->file) : NULL;
    if (!good || changed || !keep_strange(sh) || !sh->sys->rename(sh->world, sh->folder, "journal.new", "journal")) {
        compaction_failed(sh, changed);
        return;
    }
    journal_close(sh, &sh->journal);
    sh->journal = x->file;
    x->file.fd = -1;
    if (strange) /* whoever did that may have removed our other files, too */
        sign_anew(sh);
    sh->live_bytes = sh->journal.size;
    if (!sh->sys->sync_folder(sh->world, sh->folder)) {
        if (!sh->journal_lost)
            journal_failed(sh, sh->journal.size);
        journal_close(sh, &sh->journal);
        x->again_ms = sh->now_ms + RECOVER_RETRY_MS;
        return;
    }
    uint64_t now_ms = sh->sys->mono_ms(sh->world);
    (void)write_as(text, sizeof text, "event=compacted bytes=%llu was=%llu ms=%llu longest_turn_ms=%llu sync_ms=%llu",
                   (unsigned long long)sh->journal.size, (unsigned long long)was,
                   (unsigned long long)(now_ms - x->began_ms), (unsigned long long)x->longest_ms,
                   (unsigned long long)(now_ms - before_ms));
    sh->metrics[NASCAR_COMPACTIONS]++;
    if (was > 0) /* else there was none before */
        shell_log(sh, NASCAR_LOG_INFO, text);
    if (sh->journal_lost || sh->journal_full)
        shell_log(sh, NASCAR_LOG_INFO, "event=journal_recovered");
    sh->journal_lost = sh->journal_full = x->failing = false;
    x->takes = x->failures = 0;
    owed_clear(sh); /* the state has that */
}

/* Writes as much of the state as there is time for. */
static void compaction_slice(struct shell *sh)
{
    struct compaction *x = &sh->compaction;
    struct nascar_record record;
    uint64_t began_ms = sh->sys->mono_ms(sh->world), spent_ms = 0;
    bool more = true;
    for (uint32_t n = 1; more && spent_ms < COMPACT_SLICE_MS; n++) {
        more = nascar_next_kept(sh->state, &x->cursor, &record);
        /* size 0: it has only looked at what is not kept */
        if (more && record.size > 0 && !compaction_add(sh, record.bytes, record.size)) {
            compaction_failed(sh, NULL);
            return;
        }
        if (n % COMPACT_ITEMS == 0)
            spent_ms = sh->sys->mono_ms(sh->world) - began_ms;
    }
    spent_ms = sh->sys->mono_ms(sh->world) - began_ms;
    x->longest_ms = spent_ms > x->longest_ms ? spent_ms : x->longest_ms;
    if (!more)
        compaction_finish(sh);
}

static uint64_t compaction_due_ms(const struct shell *sh)
{
    const struct compaction *x = &sh->compaction;
    bool large =
        sh->journal.size > (sh->journal_full ? COMPACT_BATCH_BYTES : COMPACT_BYTES); /* a full one makes room */
    bool wanted = sh->journal.fd < 0 || (large && sh->journal.size > 2 * sh->live_bytes);
    return x->file.fd >= 0 ? 0 : wanted ? x->again_ms : UINT64_MAX;
}

static void compaction_work(struct shell *sh)
{
    if (look_due_ms(sh) <= sh->now_ms) {
        sh->looked_ms = sh->now_ms;
        journal_look(sh);
        look_for_names(sh);
    }
    owed_work(sh);
    if (compaction_due_ms(sh) > sh->now_ms)
        return;
    if (sh->compaction.file.fd < 0)
        compaction_begin(sh);
    if (sh->compaction.file.fd >= 0)
        compaction_slice(sh);
}

/* Makes a fresh journal at once, if that is possible now. */
static void compaction_run(struct shell *sh)
{
    if (sh->compaction.file.fd < 0)
        compaction_begin(sh);
    while (sh->compaction.file.fd >= 0)
        compaction_slice(sh);
}

/* ---- Loading the journal ------------------------------------------------- */

/* Says why the server does not start from this journal, and what to do. */
static bool journal_refuse(const char *path, const struct journal_reader *r)
{
    unsigned long long at = r->at, later = r->later;
    if (r->end == JOURNAL_NEWER)
        return complain("", path, "its format is %u and this version knows %u: start the newer version that wrote it",
                        r->format, JOURNAL_FORMAT);
    if (r->end == JOURNAL_HEADLESS)
        return complain("", path,
                        "damaged at byte 0, where it says what it is: take a copy of it from a backup, or "
                        "move it away to start with nothing");
    return complain("", path,
                    "damaged at byte %llu; what was kept later goes on at byte %llu: take a copy of it from "
                    "a backup, or give up all from there on with `truncate -s %llu` on it",
                    at, later, at);
}

static void journal_path(const char *folder, char out[LINE_CHARS + 16])
{
    (void)write_as(out, LINE_CHARS + 16, "%s/journal", folder);
}

/* Reads the journal, sees how much of it is sound, and counts what must find
 * room. That there is none yet is no error. */
static bool journal_find(struct shell *sh, struct journal_reader *r)
{
    char path[LINE_CHARS + 16];
    struct span frames, record;
    size_t size = 0;
    memset(r, 0, sizeof *r);
    copy_text(sh->data, sizeof sh->data, sh->options.data);
    sh->looked_ms = sh->now_ms;
    journal_path(sh->data, path);
    sh->compaction.file.fd = -1;
    sh->compaction.batch.bytes = reserve(BATCH_BYTES);
    if (!sh->compaction.batch.bytes)
        return complain("", "", "no memory to write the journal with: %s", why(errno));
    sh->sys->remove(sh->world, sh->folder, "journal.new");
    sh->journal.fd = sh->sys->open(sh->world, sh->folder, "journal", false);
    if (sh->journal.fd < 0 && errno == ENOENT)
        return true;
    uint8_t *bytes = sh->journal.fd >= 0 ? sh->sys->load(sh->world, sh->journal.fd, &size) : NULL;
    if (!bytes)
        return complain("", path, "%s", why(errno));
    journal_open(r, bytes, size);
    while (journal_next(r, &frames)) {
        while (take_record(&frames, &record)) {
            const struct durable *durable = find_durable(record.bytes);
            if (durable && durable->limit)
                ++*(uint32_t *)(void *)((uint8_t *)&sh->kept + durable->limit);
        }
    }
    r->checked = r->at;
    return r->end == JOURNAL_WHOLE || r->end == JOURNAL_TORN || journal_refuse(path, r);
}

/* Gives all records of the journal to the core. */
static void journal_replay(struct shell *sh, struct journal_reader *r)
{
    struct span frames, record;
    struct nascar_event event = {.type = NASCAR_RECORD, .conn = NONE};
    struct journal_reader again;
    journal_open(&again, r->bytes, r->size);
    again.checked = r->checked;
    while (again.at < again.checked && journal_next(&again, &frames)) {
        while (take_record(&frames, &record)) {
            event.bytes = record.bytes;
            event.size = (uint32_t)record.size;
            shell_step(sh, &event);
        }
    }
    sh->journal.size = r->at;
    sh->journal.number = r->number;
    sh->journal.tail = tail_of(r->bytes + again.last, r->at - again.last, again.last);
    sh->journal.unsynced = true; /* nobody knows how the last run ended; the file's name may be new, too */
}

/* At the start no journal could be written. If that is because the disk is full,
 * the server goes on as it does when that happens later: all that is kept has been
 * read. */
static bool journal_wanting(struct shell *sh, const struct journal_reader *r)
{
    if (is_full(sh->compaction.error)) {
        errno = sh->compaction.error;
        if (!sh->journal_lost)
            journal_failed(sh, r->at);
        return true;
    }
    shell_log_flush(sh);
    return complain("", sh->options.data, "a journal could not be written there: see above");
}

/* Brings back the state that was kept, and leaves a journal that can be written
 * to. If there is none yet, or it has an older format, a new one is written. */
static bool journal_load(struct shell *sh, struct journal_reader *r)
{
    char text[128];
    if (sh->journal.fd >= 0) {
        journal_replay(sh, r);
        sh->sys->unload(sh->world, (uint8_t *)(uintptr_t)r->bytes, r->size);
        sh->live_bytes = r->compacted;
        if (r->end == JOURNAL_TORN) {
            (void)write_as(text, sizeof text, "event=journal_cut bytes=%llu offset=%llu",
                           (unsigned long long)(r->size - r->at), (unsigned long long)r->at);
            shell_log(sh, NASCAR_LOG_WARN, text);
        }
        if ((r->end == JOURNAL_TORN && !sh->sys->truncate(sh->world, sh->journal.fd, r->at)) ||
            !journal_sync(sh, &sh->journal) || !sh->sys->sync_folder(sh->world, sh->folder))
            journal_failed(sh, r->at);
    }
    if (sh->journal.fd < 0 || r->format < JOURNAL_FORMAT) {
        compaction_run(sh);
        if (sh->compaction.failing || sh->journal.fd < 0)
            return journal_wanting(sh, r);
    }
    return true;
}

/* Keeps what still waits, and removes what would say that a server runs. If
 * there is no sound journal, there is one more try to make one: else all that
 * was kept in it is lost. */
static void journal_end(struct shell *sh)
{
    for (int i = 0; i < 100 && sh->waiters.size > 0; i++)
        journal_commit(sh);
    owed_work(sh);
    if (sh->owed.size > 0) /* without room in it, a fresh one is the last try */
        journal_give_up(sh, sh->journal.size, "it has no room at the end");
    if (sh->journal.fd >= 0 && !journal_sync(sh, &sh->journal))
        journal_failed(sh, sh->journal.size);
    journal_look(sh);
    sh->compaction.failing = sh->compaction.failing && sh->journal.fd >= 0; /* the log says why it ends without */
    for (int i = 0; i < 2 && sh->journal.fd < 0; i++) /* a fresh one that was begun may be gone, too */
        compaction_run(sh);
    journal_close(sh, &sh->journal);
    if (sh->compaction.file.fd >= 0)
        sh->sys->remove(sh->world, sh->folder, "journal.new");
    journal_close(sh, &sh->compaction.file);
}

/* ---- The hashing helper -------------------------------------------------- */

static void helper_start(struct shell *sh)
{
    struct helper *h = &sh->helper;
    h->again_ms = sh->now_ms + HELPER_PAUSE_MS;
    h->fd = sh->sys->helper(sh->world, &h->process);
    char text[320];
    if (h->fd < 0 && !h->failing) {
        (void)write_as(text, sizeof text,
                       "event=helper_failed reason=\"%s\" advice=\"nobody can log in until it starts\"", why(errno));
        shell_log(sh, NASCAR_LOG_ERROR, text);
    }
    h->failing = h->fd < 0;
}

/* Gives the core the verdict on the first job; the others move up. */
static void helper_verdict(struct shell *sh, const struct hash_answer *answer)
{
    struct helper *h = &sh->helper;
    const struct nascar_hash_job *job = &h->job[0].question.job;
    struct nascar_event event = {.type = NASCAR_VERDICT,
                                 .conn = job->conn,
                                 .receipt = job->receipt,
                                 .accepted = answer->accepted,
                                 .bytes = (const uint8_t *)answer->fresh,
                                 .size = (uint32_t)strlen(answer->fresh)};
    h->jobs--;
    memmove(&h->job[0], &h->job[1], h->jobs * sizeof h->job[0]);
    wipe(&h->job[h->jobs], sizeof h->job[0]);
    h->began_ms = sh->now_ms;
    shell_step(sh, &event);
}

/* The helper is lost: it has died, or was killed. The next one gets its jobs,
 * except for the first if that has cost another helper before. */
static void helper_lost(struct shell *sh, const char *event)
{
    struct helper *h = &sh->helper;
    const struct hash_answer none = {0, false, NASCAR_NO_VERDICT};
    char text[128];
    (void)write_as(text, sizeof text, "event=%s advice=\"it is started again\"", event);
    shell_log(sh, NASCAR_LOG_ERROR, text);
    sh->metrics[NASCAR_HELPERS_REPLACED]++;
    sh->sys->close(sh->world, h->fd);
    h->fd = -1;
    for (uint32_t i = 0; i < h->jobs; i++)
        h->job[i].sent = false;
    if (h->jobs == 0 || ++h->job[0].tries < HELPER_TRIES)
        return;
    (void)write_as(text, sizeof text, "event=hash_given_up conn=%u tries=%u", h->job[0].question.job.conn,
                   HELPER_TRIES);
    shell_log(sh, NASCAR_LOG_ERROR, text);
    helper_verdict(sh, &none);
}

/* When the helper has to have answered; UINT64_MAX if it is at no job. */
static uint64_t helper_answer_due_ms(const struct shell *sh)
{
    const struct helper *h = &sh->helper;
    return h->fd >= 0 && h->jobs > 0 && h->job[0].sent ? h->began_ms + HELPER_MS : UINT64_MAX;
}

/* A helper that hangs is killed. What it has answered has been read by now. If we
 * are late, we stood still, and it may have stood still, too. */
static void helper_deadline(struct shell *sh)
{
    uint64_t due_ms = helper_answer_due_ms(sh);
    if (sh->now_ms < due_ms)
        return;
    if (sh->now_ms - due_ms > STOOD_STILL_MS) {
        sh->helper.began_ms = sh->now_ms;
        return;
    }
    sh->sys->kill(sh->world, sh->helper.process);
    helper_lost(sh, "helper_hangs");
}

/* Reads the answers that are there. */
static void helper_read(struct shell *sh)
{
    struct helper *h = &sh->helper;
    struct hash_answer answer;
    ssize_t n;
    while ((n = sh->sys->read(sh->world, h->fd, &answer, sizeof answer)) == sizeof answer ||
           (n < 0 && errno == EINTR)) {
        answer.fresh[sizeof answer.fresh - 1] = 0;
        if (n > 0 && h->jobs > 0 && h->job[0].sent && answer.number == h->job[0].question.number)
            helper_verdict(sh, &answer);
    }
    if (n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
        helper_lost(sh, "helper_died");
}

/* Takes jobs from the queue. For somebody who has hung up meanwhile, nothing is
 * hashed. */
static void helper_fill(struct shell *sh)
{
    struct helper *h = &sh->helper;
    size_t taken = 0;
    for (; h->jobs < HELPER_JOBS && taken < sh->jobs.size; taken += sizeof(struct nascar_hash_job)) {
        const struct nascar_hash_job *job = (const void *)(sh->jobs.bytes + taken);
        if (is_awaited(sh->state, job->conn, job->receipt, WAIT_VERDICT)) {
            memset(&h->job[h->jobs], 0, sizeof h->job[0]);
            h->job[h->jobs].question.number = h->next_number++;
            h->job[h->jobs].question.cost = sh->options.hash_cost;
            h->job[h->jobs++].question.job = *job;
        }
    }
    buffer_cut(&sh->jobs, taken);
}

static void helper_work(struct shell *sh)
{
    struct helper *h = &sh->helper;
    if (h->fd < 0 && sh->now_ms >= h->again_ms)
        helper_start(sh);
    helper_fill(sh);
    for (uint32_t i = 0; i < h->jobs && h->fd >= 0; i++) {
        const struct hash_question *question = &h->job[i].question;
        if (!h->job[i].sent && sh->sys->write(sh->world, h->fd, question, sizeof *question) != sizeof *question)
            return; /* if it has died, reading from it shows that */
        if (i == 0 && !h->job[i].sent)
            h->began_ms = sh->now_ms;
        h->job[i].sent = true;
    }
}

static uint64_t helper_due_ms(const struct shell *sh)
{
    return sh->helper.fd < 0 ? sh->helper.again_ms : helper_answer_due_ms(sh);
}

/* ---- The address of a host that has a name ---------------------------------- */

/* Makes the process, at the start and while root has not been given up, if it is going to
 * be needed. */
static void finder_start(struct shell *sh)
{
    struct finder *f = &sh->finder;
    f->fd = -1;
    sh->options.finds = sh->options.config.public_name[0] != 0;
    if (sh->options.finds)
        f->fd = sh->sys->finder(sh->world, &f->process); /* if that fails, it is tried again with the question */
}

/* There is no address this time. The last one stays, and the log says so, once until it
 * is found again. */
static void finder_failed(struct shell *sh, const char *reason)
{
    struct finder *f = &sh->finder;
    char text[512], address[16];
    f->asked = false;
    f->due_ms = sh->now_ms + (f->address ? FIND_MS : FIND_SOON_MS);
    write_address(address, f->address);
    (void)write_as(text, sizeof text, "event=host_not_found name=\"%s\" reason=\"%s\" told=\"%s\"", f->question.name,
                   reason, f->address ? address : "the address that each console has reached");
    if (!f->failing)
        shell_log(sh, NASCAR_LOG_WARN, text);
    f->failing = true;
}

static const char no_finder[] = "its process has ended, and a server that runs makes none (--sandbox): restart it";

/* It has died, or was killed: the next question makes it again, if it may. */
static void finder_lost(struct shell *sh, const char *reason)
{
    sh->sys->close(sh->world, sh->finder.fd);
    sh->finder.fd = -1;
    finder_failed(sh, sh->confined ? no_finder : reason);
}

static void finder_found(struct shell *sh, uint32_t address)
{
    struct finder *f = &sh->finder;
    struct nascar_event event = {.type = NASCAR_ADDRESS, .conn = NONE, .peer = address};
    char text[320];
    f->asked = false;
    f->due_ms = sh->now_ms + FIND_MS;
    (void)write_as(text, sizeof text, "event=host_found name=\"%s\"", f->question.name);
    if (f->failing)
        shell_log(sh, NASCAR_LOG_INFO, text);
    f->failing = false;
    if (address != f->address)
        shell_step(sh, &event);
    f->address = address;
}

/* Reads the answers that are there. One for another name, which was configured before, is left. */
static void finder_read(struct shell *sh)
{
    struct finder *f = &sh->finder;
    struct host_answer answer;
    ssize_t n;
    while ((n = sh->sys->read(sh->world, f->fd, &answer, sizeof answer)) == sizeof answer ||
           (n < 0 && errno == EINTR)) {
        answer.reason[sizeof answer.reason - 1] = 0;
        if (n < 0 || !f->asked || answer.number != f->question.number)
            continue;
        if (answer.address)
            finder_found(sh, answer.address);
        else
            finder_failed(sh, answer.reason);
        if (f->again)
            f->due_ms = sh->now_ms;
        f->again = false;
    }
    if (n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
        finder_lost(sh, "the process that looks for it has died");
}

/* Asks for a host's address when that is due, and gives up on an answer that does not
 * come. A reload may have given another name: that begins anew. */
static void finder_work(struct shell *sh)
{
    struct finder *f = &sh->finder;
    const char *name = sh->options.config.public_name;
    if (!same_name(f->question.name, name)) {
        copy_text(f->question.name, sizeof f->question.name, name);
        f->address = 0;
        f->due_ms = sh->now_ms;
        f->asked = f->failing = false;
    }
    if (!name[0] || sh->now_ms < f->due_ms)
        return;
    if (f->asked) {
        sh->sys->kill(sh->world, f->process);
        finder_lost(sh, "the process that looks for it does not answer");
        return;
    }
    if (f->fd < 0 && sh->confined) {
        finder_failed(sh, no_finder);
        return;
    }
    if (f->fd < 0)
        f->fd = sh->sys->finder(sh->world, &f->process);
    f->question.number++;
    f->asked = true;
    f->due_ms = sh->now_ms + FINDER_MS;
    if (f->fd < 0)
        finder_failed(sh, "no process can be started for it");
    else if (sh->sys->write(sh->world, f->fd, &f->question, sizeof f->question) != sizeof f->question)
        finder_lost(sh, "the process that looks for it has died");
}

static uint64_t finder_due_ms(const struct shell *sh)
{
    return sh->options.config.public_name[0] ? sh->finder.due_ms : UINT64_MAX;
}

/* ---- Connections --------------------------------------------------------- */

static struct pollfd *polled_conn(const struct shell *sh, uint32_t c)
{
    return &sh->polled[FIRST_SOCKET + sh->place_of[c]];
}

/* The last few numbers are the operator's, who so gets in when all the others
 * are taken. */
static struct numbers *numbers_of(struct shell *sh, bool control)
{
    return control ? &sh->control_numbers : &sh->numbers;
}

/* Keeps a descriptor for each connection of the operator that is not open, so that
 * he gets in when there are no others left, too. */
static void spares_take(struct shell *sh)
{
    int fd;
    while (sh->spares < sh->control_numbers.count && (fd = sh->sys->spare(sh->world, sh->polled[SIGNALS].fd)) >= 0)
        sh->spare[sh->spares++] = fd;
}

/* Gives one up. Returns false if there is none. */
static bool spares_give(struct shell *sh)
{
    if (sh->spares == 0)
        return false;
    sh->sys->close(sh->world, sh->spare[--sh->spares]);
    return true;
}

static void shell_open(struct shell *sh, int fd, uint32_t listener, uint32_t peer, uint32_t local)
{
    bool control = listener == CONTROL_LISTENER;
    struct numbers *numbers = numbers_of(sh, control);
    uint32_t c = numbers->free[--numbers->count];
    sh->place_of[c] = sh->open;
    sh->number_of[sh->open] = c;
    struct pollfd *polled = &sh->polled[FIRST_SOCKET + sh->open++];
    polled->fd = fd;
    polled->events = POLLIN;
    polled->revents = 0;
    struct nascar_event event = {.type = control ? NASCAR_CONTROL : NASCAR_OPENED,
                                 .conn = c,
                                 .peer = peer,
                                 .local = local};
    event.service = listener == HTTP_LISTENER ? NASCAR_SERVICE_HTTP : NASCAR_SERVICE_GAME;
    shell_step(sh, &event);
}

/* Closes a connection. The last one in the poll set takes its place there. */
static void shell_close(struct shell *sh, uint32_t c)
{
    struct pollfd *polled = polled_conn(sh, c);
    uint32_t place = sh->place_of[c], last = --sh->open;
    if (!(polled->events & POLLIN))
        sh->paused--;
    sh->sys->close(sh->world, polled->fd);
    *polled = sh->polled[FIRST_SOCKET + last];
    sh->number_of[place] = sh->number_of[last];
    sh->place_of[sh->number_of[place]] = place;
    sh->place_of[c] = NONE;
    struct numbers *numbers = numbers_of(sh, c >= sh->conns - NASCAR_CONTROL_CONNECTIONS);
    numbers->free[numbers->count++] = c;
    spares_take(sh);
    if (is_recording(sh)) {
        wipe(sh->partial[c].bytes, sh->partial[c].size);
        sh->partial[c].size = sh->partial[c].inside = 0;
    }
    struct nascar_event event = {.type = NASCAR_CLOSED, .conn = c};
    shell_step(sh, &event);
}

/* Four bytes of a header in quotes: what is no plain character, or would end
 * them, as \xNN. */
static void write_quoted(char out[20], const uint8_t bytes[4])
{
    *out++ = '"';
    for (int i = 0; i < 4; i++)
        if (bytes[i] < 0x20 || bytes[i] > 0x7e || bytes[i] == '"' || bytes[i] == '\\')
            out += write_as(out, 5, "\\x%02x", (unsigned)bytes[i]);
        else
            *out++ = (char)bytes[i];
    *out++ = '"';
    *out = 0;
}

/* At level debug, a line for each frame that a call has read or written whole,
 * with its code if that is not 0; never its payload, as passwords are in some.
 * What a call has only a part of is told as so many bytes. */
static void shell_log_frames(struct shell *sh, uint32_t c, const char *way, const uint8_t *bytes, size_t size)
{
    char text[128], kind[20], code[20];
    struct proxy_header header;
    struct frame frame;
    bool stranger = is_stranger(conn_at(sh->state, c));
    if (shell_log_level(sh) < NASCAR_LOG_DEBUG)
        return;
    if (conn_at(sh->state, c)->state == CONN_UNNAMED &&
        read_proxy_header(bytes, (uint32_t)size, &header) == FRAME_WHOLE) {
        (void)write_as(text, sizeof text, "event=proxy_header conn=%u way=%s bytes=%u", c, way, header.size);
        shell_log(sh, NASCAR_LOG_DEBUG, text);
        bytes += header.size;
        size -= header.size;
    }
    for (; size > 0 && read_frame(bytes, (uint32_t)size, &frame) == FRAME_WHOLE; size -= frame.size) {
        write_quoted(kind, frame.kind);
        write_quoted(code, bytes + 4);
        bool plain = load_be32(bytes + 4) == 0;
        (void)write_as(text, sizeof text, "event=frame conn=%u way=%s kind=%s%s%s bytes=%u", c, way, kind,
                       plain ? "" : " code=", plain ? "" : code, frame.size);
        (stranger ? shell_log_stranger : shell_log)(sh, NASCAR_LOG_DEBUG, text);
        bytes += frame.size;
    }
    (void)write_as(text, sizeof text, "event=frame_part conn=%u way=%s bytes=%u", c, way, (uint32_t)size);
    if (size > 0)
        (stranger ? shell_log_stranger : shell_log)(sh, NASCAR_LOG_DEBUG, text);
}

/* How many files this process has open. */
static uint32_t open_descriptors(const struct shell *sh)
{
    const int others[] = {STDIN_FILENO,      STDOUT_FILENO,  STDERR_FILENO,          sh->log_fd,   sh->folder,
                          sh->lock.pid_file, sh->journal.fd, sh->compaction.file.fd, sh->record_fd};
    uint32_t count = sh->open + sh->spares;
    for (uint32_t i = 0; i < FIRST_SOCKET; i++)
        count += sh->polled[i].fd >= 0;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        count += others[i] >= 0;
    return count;
}

static bool is_on(const char *word)
{
    return word && strcmp(word, "on") == 0;
}

/* Hands the core what it cannot know, for the operator who may be asking for it. */
static void tell_metrics(struct shell *sh)
{
    uint8_t bytes[8 * NASCAR_METRICS_TOLD];
    sh->metrics[NASCAR_UPTIME_S] = (sh->now_ms - sh->started_ms) / 1000;
    sh->metrics[NASCAR_DESCRIPTORS] = open_descriptors(sh);
    sh->metrics[NASCAR_JOURNAL_BYTES] = sh->journal.fd >= 0 ? sh->journal.size : 0;
    sh->metrics[NASCAR_JOURNAL_LIVE_BYTES] = sh->live_bytes;
    sh->metrics[NASCAR_SANDBOX_SECCOMP] = is_on(sh->sandbox.seccomp);
    sh->metrics[NASCAR_SANDBOX_LANDLOCK] = is_on(sh->sandbox.landlock);
    sh->metrics[NASCAR_JOURNAL_FAILING] =
        sh->journal.fd < 0 || (sh->journal_full && sh->sys->room(sh->world, sh->folder) < LEAST_ROOM);
    sh->metrics[NASCAR_HELPER_FAILING] = sh->helper.fd < 0 || (sh->helper.jobs > 0 && sh->helper.job[0].tries > 0);
    for (size_t i = 0; i < NASCAR_METRICS_TOLD; i++)
        store_be64(bytes + 8 * i, sh->metrics[i]);
    struct nascar_event event = {.type = NASCAR_METRICS, .conn = NONE, .bytes = bytes, .size = sizeof bytes};
    shell_step(sh, &event);
}

/* Gives the core what has come on a connection. */
static void shell_bytes(struct shell *sh, uint32_t c, const uint8_t *bytes, uint32_t size)
{
    struct nascar_event event = {.type = NASCAR_BYTES, .conn = c, .bytes = bytes, .size = size};
    if (c >= sh->conns - NASCAR_CONTROL_CONNECTIONS || is_http(sh, c))
        tell_metrics(sh);
    shell_step(sh, &event);
}

/* Looks at the frame that stands next in a connection's input, or at the header by
 * which a proxy says whose connection it is. *size: how much of it is to be taken;
 * of what is broken, as much as shows that, which ends the connection. */
static enum frame_state read_next(const struct shell *sh, uint32_t c, const uint8_t *bytes, uint32_t bytes_size,
                                  uint32_t *size)
{
    struct proxy_header header;
    struct frame frame;
    bool unnamed = conn_at(sh->state, c)->state == CONN_UNNAMED;
    if (is_http(sh, c)) { /* a line, or as much of it as is taken at once */
        const uint8_t *end = memchr(bytes, '\n', bytes_size);
        *size = end ? (uint32_t)(end - bytes) + 1 : bytes_size;
        return end || bytes_size >= nascar_inbox_room(sh->state, c) ? FRAME_WHOLE : FRAME_PART;
    }
    enum frame_state state =
        unnamed ? read_proxy_header(bytes, bytes_size, &header) : read_frame(bytes, bytes_size, &frame);
    if (state != FRAME_PART)
        *size = unnamed ? header.size : state == FRAME_WHOLE ? frame.size : min_u32(bytes_size, HEADER_BYTES);
    return state;
}

/* While recording, the core gets whole frames only, so that what must not be
 * written down can be found in them. */
static void shell_whole_frames(struct shell *sh, uint32_t c)
{
    struct partial *partial = &sh->partial[c];
    enum frame_state state;
    uint32_t size = 0;
    while (partial->size > 0 && (state = read_next(sh, c, partial->bytes, partial->size, &size)) != FRAME_PART) {
        uint32_t room = nascar_inbox_room(sh->state, c);
        if (room < size && is_http(sh, c) && !conn_at(sh->state, c)->behind)
            size = room; /* a line that is longer than what matters to us */
        if (room < size || size == 0)
            return;
        shell_bytes(sh, c, partial->bytes, size);
        uint32_t was = partial->size;
        partial->inside = partial->bytes[size - 1] != '\n';
        partial->size = state == FRAME_WHOLE ? was - size : 0;
        memmove(partial->bytes, partial->bytes + size, partial->size);
        wipe(partial->bytes + partial->size, was - partial->size);
    }
}

static uint32_t input_room(const struct shell *sh, uint32_t c)
{
    uint32_t room = nascar_inbox_room(sh->state, c), here = is_recording(sh) ? sh->partial[c].size : 0;
    return room > here ? room - here : 0; /* so a recording takes nothing that the core would have left to wait */
}

/* Has a connection polled for input only while that can be taken. */
static void shell_read_wanted(struct shell *sh, uint32_t c)
{
    struct pollfd *polled = polled_conn(sh, c);
    if (is_recording(sh))
        shell_whole_frames(sh, c);
    bool wanted = input_room(sh, c) > 0, was = (polled->events & POLLIN) != 0;
    if (wanted == was)
        return;
    polled->events = (short)(wanted ? polled->events | POLLIN : polled->events & ~POLLIN);
    sh->paused += wanted ? 0u - 1u : 1u;
}

/* Writes what is in the outbox, once. Returns false if the connection is closed
 * now, or cannot be written to at present. */
static bool shell_write_some(struct shell *sh, uint32_t c)
{
    struct pollfd *polled = polled_conn(sh, c);
    uint32_t size = 0;
    const uint8_t *bytes = nascar_outbox(sh->state, c, &size);
    ssize_t n = 0;
    if (size > 0) {
        do
            n = sh->sys->write(sh->world, polled->fd, bytes, size);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS) {
            shell_close(sh, c);
            return false;
        }
        n = n < 0 ? 0 : n;
        sh->metrics[NASCAR_BYTES_OUT] += (uint64_t)n;
        shell_log_frames(sh, c, "out", bytes, (size_t)n);
    }
    bool whole = (size_t)n == size;
    polled->events = (short)(whole ? polled->events & ~POLLOUT : polled->events | POLLOUT);
    struct nascar_event event = {.type = NASCAR_DRAINED, .conn = c, .size = (uint32_t)n};
    shell_step(sh, &event);
    if (nascar_closing(sh->state, c) && (!whole || nascar_outbox(sh->state, c, &size) == NULL)) {
        shell_close(sh, c);
        return false;
    }
    return whole;
}

/* Writes, and reports that to the core, which may put out more, until nothing
 * is left. */
static void shell_write(struct shell *sh, uint32_t c)
{
    uint32_t size;
    while (shell_write_some(sh, c) && nascar_outbox(sh->state, c, &size) != NULL)
        continue;
}

/* Writes until nobody has anything more, or nobody can be written to. Returns
 * whether there was anything. */
static bool shell_output(struct shell *sh)
{
    uint32_t c;
    bool any = false;
    for (; (c = nascar_next_output(sh->state)) != NONE; any = true)
        if (sh->place_of[c] != NONE && (!(polled_conn(sh, c)->events & POLLOUT) || nascar_closing(sh->state, c)))
            shell_write(sh, c);
    return any;
}

static void shell_reload(struct shell *sh);

/* Keeps the records that are due, and then writes until nothing is left.
 * Whoever had to wait for a reader in this turn goes on in it, too. */
static void shell_flush(struct shell *sh)
{
    journal_commit(sh);
    do {
        helper_work(sh);
        if (nascar_wants_reload(sh->state))
            shell_reload(sh);
    } while (shell_output(sh));
}

static void shell_read(struct shell *sh, uint32_t c)
{
    uint8_t bytes[INBOX_BYTES];
    struct pollfd *polled = polled_conn(sh, c);
    uint32_t room = input_room(sh, c);
    if (room == 0) { /* we would not read from it, and so not notice that it has hung up */
        if (polled->revents & (POLLHUP | POLLERR))
            shell_close(sh, c);
        return;
    }
    ssize_t n;
    do
        n = sh->sys->read(sh->world, polled->fd, bytes, room);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (n <= 0) {
        shell_close(sh, c);
        return;
    }
    sh->unread = sh->unread || (size_t)n == room;
    sh->metrics[NASCAR_BYTES_IN] += (uint64_t)n;
    shell_log_frames(sh, c, "in", bytes, (size_t)n);
    if (is_recording(sh)) {
        memcpy(sh->partial[c].bytes + sh->partial[c].size, bytes, (size_t)n);
        sh->partial[c].size += (uint32_t)n;
    } else {
        shell_bytes(sh, c, bytes, (uint32_t)n);
    }
    wipe(bytes, (size_t)n);
    shell_read_wanted(sh, c);
}

static void shell_accept(struct shell *sh, uint32_t listener)
{
    bool control = listener == CONTROL_LISTENER;
    for (uint32_t i = 0; i < ACCEPTS_PER_TURN && numbers_of(sh, control)->count > 0; i++) {
        uint32_t peer = 0, local = 0;
        int fd = sh->sys->accept(sh->world, sh->polled[listener].fd, &peer, &local);
        if (fd >= 0) {
            shell_open(sh, fd, listener, peer, local);
            sh->unread = true;
            continue;
        }
        int error = errno;
        if ((error == EMFILE || error == ENFILE) && control && spares_give(sh))
            continue;
        if (error == EAGAIN || error == EWOULDBLOCK)
            return;
        if (error != EINTR && error != ECONNABORTED) { /* it may well be the same the next time */
            char text[256];
            (void)write_as(text, sizeof text, "event=accept_paused connections=%u reason=\"%s\"", sh->open, why(error));
            if (!sh->accept_paused) { /* the other listeners say the same */
                shell_log(sh, NASCAR_LOG_WARN, text);
                sh->metrics[NASCAR_ACCEPT_PAUSES]++;
            }
            sh->accept_paused = true;
            sh->accept_again_ms = sh->now_ms + ACCEPT_PAUSE_MS;
            return;
        }
    }
}

/* Gives the core the questions that have come by DNS; their answers leave with the step. */
static void shell_receive(struct shell *sh)
{
    uint8_t bytes[DNS_TAKES];
    for (uint32_t i = 0; i < DATAGRAMS_PER_TURN; i++) {
        struct nascar_datagram d = {.bytes = bytes, .size = sizeof bytes};
        ssize_t n = sh->sys->exchange(sh->world, sh->polled[DATAGRAMS].fd, false, &d);
        if (n < 0)
            return;
        struct nascar_event event = {.type = NASCAR_DATAGRAM,
                                     .conn = NONE,
                                     .service = NASCAR_SERVICE_DNS,
                                     .peer = d.peer,
                                     .port = d.port,
                                     .local = d.local,
                                     .bytes = bytes,
                                     .size = (uint32_t)n};
        shell_step(sh, &event);
    }
}

/* ---- The loop ------------------------------------------------------------ */

/* Milliseconds until the next deadline, at most a minute, as poll takes them. */
static int shell_timeout(const struct shell *sh, uint64_t until_ms)
{
    const uint64_t others_ms[] = {sh->accept_paused ? sh->accept_again_ms : UINT64_MAX,
                                  commit_due_ms(sh),
                                  compaction_due_ms(sh),
                                  look_due_ms(sh),
                                  owed_due_ms(sh),
                                  helper_due_ms(sh),
                                  finder_due_ms(sh),
                                  sh->sign_again_ms,
                                  until_ms,
                                  sh->left_out > 0 ? sh->left_out_due_ms : UINT64_MAX,
                                  sh->log_stuck ? sh->now_ms + LOG_RETRY_MS : UINT64_MAX};
    uint64_t due_ms = nascar_deadline_ms(sh->state);
    for (size_t i = 0; i < sizeof others_ms / sizeof others_ms[0]; i++)
        due_ms = others_ms[i] < due_ms ? others_ms[i] : due_ms;
    if (due_ms == UINT64_MAX)
        return -1;
    if (due_ms <= sh->now_ms)
        return 0;
    return due_ms - sh->now_ms > 60000 ? 60000 : (int)(due_ms - sh->now_ms);
}

/* Has listeners polled while another connection can be taken. */
static void shell_listen_wanted(struct shell *sh)
{
    if (sh->accept_paused && sh->now_ms >= sh->accept_again_ms)
        sh->accept_paused = false;
    for (uint32_t i = FIRST_LISTENER; i < FIRST_SOCKET; i++) {
        bool control = i == CONTROL_LISTENER, paused = sh->accept_paused && !(control && sh->spares > 0);
        bool room = i == DATAGRAMS || (!paused && numbers_of(sh, control)->count > 0);
        sh->polled[i].events = !sh->stopping && room ? POLLIN : 0;
    }
    sh->polled[HELPER].fd = sh->helper.fd;
    sh->polled[HELPER].events = POLLIN;
    sh->polled[FINDER].fd = sh->finder.fd;
    sh->polled[FINDER].events = POLLIN;
}

/* Logs that a file of the folder could not be made, the first time, or that it was
 * after all. Returns whether it is to be tried again. */
static bool tell_sign(struct shell *sh, const char *file, bool made)
{
    char text[320];
    bool passes = !made && (is_full(errno) || is_short(errno));
    (void)write_as(text, sizeof text, "event=no_%s reason=\"%s\"%s", file, why(errno),
                   passes ? " advice=\"it is played meanwhile, and this is tried again\"" : "");
    if (!made && sh->sign_again_ms == 0)
        shell_log(sh, NASCAR_LOG_WARN, text);
    (void)write_as(text, sizeof text, "event=%s_made", file);
    if (made && sh->sign_again_ms > 0)
        shell_log(sh, NASCAR_LOG_INFO, text);
    return passes;
}

/* Has the folder say who uses it, by `pid` and the operator's socket. The server
 * runs without these, too: some file systems have no sockets; and a full disk has
 * room for neither, nor a machine whose files have run out, but may have later. */
static void sign_work(struct shell *sh)
{
    int *control = &sh->polled[CONTROL_LISTENER].fd;
    bool again = false;
    if (sh->sign_again_ms > sh->now_ms)
        return;
    if (!sh->signed_in) {
        sh->signed_in = sh->sys->sign(sh->world, sh->folder, &sh->lock.pid_file);
        again = tell_sign(sh, "pid", sh->signed_in);
    }
    if (*control < 0) {
        *control = sh->sys->control(sh->world, sh->folder, sh->options.group);
        again = tell_sign(sh, "control", *control >= 0) || again;
    }
    sh->sign_again_ms = again ? sh->now_ms + RECOVER_RETRY_MS : UINT64_MAX;
}

/* Gives the core its part of the options, with the ports that were opened. */
static void shell_configure(struct shell *sh)
{
    char text[5 * CONFIG_BYTES + HOST_CHARS + 96], address[16];
    const struct options *o = &sh->options;
    const char *host = o->config.public_name[0] ? o->config.public_name : address;
    write_address(address, o->config.public_address);
    int n =
        write_as(text, sizeof text,
                 "%s%s%s%s%sdns-on = %s\ndirectory-port = %u\nlobby-port = %u\nbuddy-port = %u\npublic-address = %s\n",
                 o->core, o->lists[ROOMS].lines, o->lists[TRUSTED].lines, o->lists[PROXIES].lines,
                 o->lists[DNS_NAMES].lines, sh->port[LISTENERS] == NONE ? "no" : "yes", sh->port[0], sh->port[1],
                 sh->port[2], host);
    struct nascar_event event = {.type = NASCAR_CONFIG,
                                 .conn = NONE,
                                 .bytes = (const uint8_t *)text,
                                 .size = (uint32_t)n};
    shell_step(sh, &event);
}

/* The core goes on from the date of now, behind what was kept: not from that of the
 * first console, as the clock may be set before one comes. */
static void shell_begin(struct shell *sh)
{
    struct nascar_event event = {.type = NASCAR_CLOCK, .conn = NONE};
    shell_configure(sh);
    shell_step(sh, &event);
}

/* The options are read again, as SIGHUP or the operator wants it. What can change while the server runs does; the log
 * names what did, and what could not and was to. If the operator has asked, he is told the same. */
static void shell_reload(struct shell *sh)
{
    char text[640];
    struct reload reload;
    bool good = read_options_again(&sh->options, sh->arguments, &reload);
    if (good) {
        shell_configure(sh);
        if (sh->finder.fd < 0) /* that nobody looks is said again */
            sh->finder.failing = false;
        sh->finder.again = sh->finder.asked; /* whoever has another address now says so by a reload */
        if (!sh->finder.asked)
            sh->finder.due_ms = sh->now_ms;
        sh->metrics[NASCAR_RELOADS]++;
    }
    (void)write_as(text, sizeof text, "event=reloaded keys=\"%s\"", reload.changed);
    shell_log(sh, good ? NASCAR_LOG_INFO : NASCAR_LOG_ERROR,
              good ? text : "event=reload_refused reason=\"see above; nothing has changed\"");
    (void)write_as(text, sizeof text, "event=restart_wanted keys=\"%s\"", reload.restart);
    if (reload.restart[0])
        shell_log(sh, NASCAR_LOG_WARN, text);
    struct nascar_event event = {.type = NASCAR_RELOADED,
                                 .conn = NONE,
                                 .accepted = good,
                                 .bytes = (const uint8_t *)reload.report,
                                 .size = (uint32_t)strlen(reload.report)};
    shell_step(sh, &event);
}

/* Takes a signal: SIGHUP reads the options again, SIGUSR1 opens the log again, and
 * the others end the loop. So does SIGHUP if it says that our terminal has gone away. */
static void shell_signal(struct shell *sh)
{
    bool hang_up = false;
    uint32_t number = sh->sys->signal(sh->world, sh->polled[SIGNALS].fd, &hang_up);
    if (number == SIGHUP && !(hang_up && sh->terminal)) {
        shell_reload(sh);
    } else if (number == SIGUSR1) {
        shell_log_reopen(sh);
    } else if (number != 0 && !(number == SIGHUP && sh->outlives_terminal)) {
        if (number == SIGHUP)
            shell_log(sh, NASCAR_LOG_INFO, "event=terminal_closed");
        sh->stopping = true;
        sh->stop_signal = number;
    }
}

/* Waits for what is ready. poll() refuses to look at more than there may be files,
 * which somebody can lower while we run (prlimit --nofile). Nothing that is open is
 * closed by that: then all is tried, many times a second, as no call here waits. */
static int shell_poll(struct shell *sh, int timeout_ms)
{
    uint32_t count = FIRST_SOCKET + sh->open;
    char text[320];
    int n = sh->sys->poll(sh->world, sh->polled, count, timeout_ms);
    if (n < 0 && errno == EINTR)
        return n;
    if (n < 0 && !sh->poll_failing) {
        (void)write_as(text, sizeof text,
                       "event=poll_failed reason=\"%s\" advice=\"it goes on, and works harder: raise the limit of "
                       "open files (ulimit -n) to over %u\"",
                       why(errno), count);
        shell_log(sh, NASCAR_LOG_ERROR, text);
    }
    sh->poll_failing = n < 0;
    if (n >= 0)
        return n;
    bool hurry = timeout_ms >= 0 && timeout_ms < (int)BLIND_MS;
    (void)sh->sys->poll(sh->world, sh->polled, 0, hurry ? timeout_ms : (int)BLIND_MS);
    for (uint32_t i = 0; i < count; i++)
        sh->polled[i].revents = (short)(sh->polled[i].fd >= 0 ? sh->polled[i].events : 0);
    return (int)count;
}

/* Reads all that is ready. */
static void shell_serve(struct shell *sh)
{
    if (sh->polled[SIGNALS].revents != 0)
        shell_signal(sh);
    if (sh->polled[HELPER].revents != 0)
        helper_read(sh);
    if (sh->polled[FINDER].revents != 0)
        finder_read(sh);
    /* From the end: a connection that closes is replaced by the last one, which
     * has been served then. */
    for (uint32_t place = sh->open; place-- > 0;) {
        if (place >= sh->open)
            continue;
        short revents = sh->polled[FIRST_SOCKET + place].revents;
        uint32_t c = sh->number_of[place];
        if (revents & POLLOUT)
            shell_write(sh, c);
        if ((revents & (POLLIN | POLLHUP | POLLERR)) && sh->place_of[c] == place)
            shell_read(sh, c);
        if (place % OUTPUT_BATCH == 0) /* so that only few outboxes are in use at once */
            (void)shell_output(sh);
    }
    for (uint32_t i = FIRST_LISTENER; i < FIRST_SOCKET; i++)
        if (sh->polled[i].revents & POLLIN && i == DATAGRAMS)
            shell_receive(sh);
        else if (sh->polled[i].revents & POLLIN)
            shell_accept(sh, i);
}

/* Deadlines that are due pass, behind all that has arrived. If more may have than
 * was read at once, another turn reads it first; but nobody who goes on sending
 * holds up the others' deadlines for long. */
static void shell_deadlines(struct shell *sh)
{
    struct nascar_event event = {.type = NASCAR_CLOCK, .conn = NONE};
    uint64_t due_ms = nascar_deadline_ms(sh->state);
    if (due_ms <= sh->now_ms && (!sh->unread || sh->now_ms - due_ms >= UNREAD_MS))
        shell_step(sh, &event);
    helper_deadline(sh);
}

/* The sandbox has refused a call, which only a fault of the server makes. */
static void tell_refused(struct shell *sh)
{
    char text[160];
    int number = refused_call;
    if (number == -1 || (sh->told_refused == number + 1))
        return;
    sh->told_refused = number + 1;
    (void)write_as(text, sizeof text,
                   "event=call_refused call=%d advice=\"this is a fault of the server: please report it\"", number);
    shell_log(sh, NASCAR_LOG_ERROR, text);
}

/* One turn: writes all that came of the last one, waits, reads all that is ready,
 * and then looks at the clock. */
static void shell_turn(struct shell *sh, uint64_t until_ms)
{
    shell_flush(sh);
    compaction_work(sh);
    sign_work(sh);
    finder_work(sh);
    tell_refused(sh);
    for (uint32_t place = 0; sh->paused > 0 && place < sh->open; place++)
        shell_read_wanted(sh, sh->number_of[place]);
    shell_log_flush(sh);
    shell_listen_wanted(sh);
    int n = shell_poll(sh, shell_timeout(sh, until_ms));
    if (n < 0)
        return;
    shell_time(sh);
    sh->unread = false;
    if (n > 0)
        shell_serve(sh);
    shell_deadlines(sh);
    if (sh->now_ms >= sh->left_out_due_ms)
        tell_left_out(sh);
}

static bool has_output(const struct shell *sh)
{
    for (uint32_t place = 0; place < sh->open; place++)
        if (sh->polled[FIRST_SOCKET + place].events & POLLOUT)
            return true;
    return false;
}

/* The signals that the server knows: those that arrive as bytes to read, and faults. */
static const struct {
    int number;
    char name[8];
    bool fault;
} known_signals[] = {
    {SIGHUP, "SIGHUP", false},   {SIGUSR1, "SIGUSR1", false}, {SIGTERM, "SIGTERM", false}, {SIGINT, "SIGINT", false},
    {SIGQUIT, "SIGQUIT", false}, {SIGXCPU, "SIGXCPU", false}, {SIGSEGV, "SIGSEGV", true},  {SIGBUS, "SIGBUS", true},
    {SIGILL, "SIGILL", true},    {SIGFPE, "SIGFPE", true},    {SIGABRT, "SIGABRT", true},  {SIGSYS, "SIGSYS", true},
    {SIGTRAP, "SIGTRAP", true},
};

#define KNOWN_SIGNALS (sizeof known_signals / sizeof known_signals[0])

static const char *signal_name(uint32_t number)
{
    size_t i = 0;
    while (i + 1 < KNOWN_SIGNALS && (uint32_t)known_signals[i].number != number)
        i++;
    return known_signals[i].name;
}

/* Runs until it is told to stop, then flushes outboxes, two seconds at most. */
static void shell_loop(struct shell *sh)
{
    char text[96];
    while (!sh->stopping)
        shell_turn(sh, UINT64_MAX);
    uint64_t until_ms = sh->now_ms + STOP_MS;
    shell_flush(sh);
    while ((has_output(sh) || sh->urgent > 0) && sh->now_ms < until_ms)
        shell_turn(sh, until_ms);
    (void)write_as(text, sizeof text, "event=stop signal=%s connections=%u", signal_name(sh->stop_signal), sh->open);
    for (uint32_t place = 0; place < sh->open; place++)
        sh->sys->close(sh->world, sh->polled[FIRST_SOCKET + place].fd);
    journal_end(sh);
    tell_left_out(sh);
    shell_log(sh, NASCAR_LOG_INFO, text);
    shell_leave(sh);
    recording_close(sh);
}

/* ---- Start --------------------------------------------------------------- */

/* The ports that are asked for; those that are 0 are set when they are open. */
static void want_ports(struct shell *sh)
{
    sh->port[0] = sh->options.config.directory_port;
    sh->port[1] = sh->options.config.lobby_port;
    sh->port[2] = sh->options.config.buddy_port;
    sh->port[3] = sh->options.http_port;
    sh->port[LISTENERS] = sh->options.dns_port;
}

static const char port_names[PORTS][10] = {"directory", "lobby", "buddy", "http", "dns"};

/* Opens one listener on the port that is wanted, or a socket for datagrams, and sets it to
 * the one that it has. -1 and a line on standard error if it cannot be. */
static int open_port(const struct options *o, uint32_t which, uint32_t *port)
{
    bool datagrams = which >= LISTENERS;
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    char text[16];
    int on = 1;
    int fd = socket(AF_INET, (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(o->bind_address);
    address.sin_port = htons((uint16_t)*port);
    if (fd < 0 ||
        setsockopt(fd, datagrams ? IPPROTO_IP : SOL_SOCKET, datagrams ? IP_PKTINFO : SO_REUSEADDR, &on, sizeof on) !=
            0 ||
        bind(fd, (const struct sockaddr *)&address, size) != 0 || (!datagrams && listen(fd, 512) != 0) ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        write_address(text, o->bind_address);
        (void)complain("", "", "%s port %u on %s: %s", port_names[which], *port, text, why(errno));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

/* The last word of a fault; only what a handler may call. Then the fault takes its course. */
static void on_fault(int number)
{
    char head[64] = "time=", date[20], text[128] = "event=died signal=";
    struct log_line line;
    struct shell *sh = serving;
    if (sh) {
        write_date(date, system_wall_s(NULL));
        date[10] = 'T';
        append_text(head, sizeof head, date);
        append_text(head, sizeof head, "Z level=error");
        append_text(text, sizeof text, signal_name((uint32_t)number));
        append_text(text, sizeof text, " advice=\"this is a fault of the server: please report it\"");
        write_log_line(&line, head, text, "", sh->options.log_json);
        (void)write_now(sh->log_fd, sh->log + sh->log_sent, sh->log_size - sh->log_sent);
        (void)write_now(sh->log_fd, line.bytes, line.size);
    }
    (void)raise(number);
}

/* Has the signals arrive that the server knows. All others are ignored that would end
 * it or stop it and that nobody has asked for: so a pipe without a reader, or a file
 * that may not grow, is an error of write(), and the helper leaves no zombie. SIGTSTP
 * stays, which a terminal sends at Ctrl-Z. */
static int open_signals(void)
{
    sigset_t set;
    struct sigaction action;
    (void)sigemptyset(&set);
    for (size_t i = 0; i < KNOWN_SIGNALS; i++)
        if (!known_signals[i].fault)
            (void)sigaddset(&set, known_signals[i].number);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    for (int number = 1; number <= SIGRTMAX; number++) {
        if (sigismember(&set, number) == 1 || number == SIGTSTP || sigaction(number, NULL, &action) != 0 ||
            action.sa_handler != SIG_DFL)
            continue;
        action.sa_handler = SIG_IGN;
        for (size_t i = 0; i < KNOWN_SIGNALS; i++) {
            if (known_signals[i].number == number) {
                action.sa_handler = on_fault;
                action.sa_flags = (int)SA_RESETHAND;
            }
        }
        (void)sigaction(number, &action, NULL);
    }
    hold_reserved_signals(); /* behind the first handler, at which musl lets them go */
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Each connection needs a file descriptor: asks for as many as the limits allow. */
static void raise_file_limit(struct shell *sh)
{
    struct rlimit limit;
    rlim_t wanted = sh->conns + 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        shell_log(sh, NASCAR_LOG_WARN, "event=few_files advice=\"raise the limit of open files (ulimit -n)\"");
}

static void raise_limit(uint32_t *limit, uint32_t kept, uint32_t most)
{
    if (kept > *limit)
        *limit = min_u32(kept, most);
}

/* What the options allow. All large tables follow from the two, so that a small
 * server needs little address space. */
static struct nascar_limits wanted_limits(const struct options *o)
{
    struct nascar_limits limits = NASCAR_LIMITS_DEFAULT;
    limits.clients = o->max_clients;
    limits.accounts = o->max_accounts;
    limits.roster_edges = min_u32(limits.accounts, (1u << 26) / ROSTER_PER_PERSONA) * ROSTER_PER_PERSONA;
    limits.messages = min_u32(limits.accounts * MESSAGES_PER_ACCOUNT, 1u << 20);
    limits.directory_sessions = min_u32(limits.clients * SESSIONS_PER_CLIENT, 65536);
    raise_limit(&limits.messages, MESSAGES_LEAST, MESSAGES_LEAST);
    raise_limit(&limits.directory_sessions, SESSIONS_LEAST, SESSIONS_LEAST);
    return limits;
}

/* Raises the limits to what the journal has, so that nothing is dropped because
 * an option was lowered. */
static void raise_limits(struct shell *sh, struct nascar_limits *limits)
{
    char text[96];
    raise_limit(&limits->accounts, sh->kept.accounts, 1u << 20);
    raise_limit(&limits->roster_edges, sh->kept.roster_edges, 1u << 26);
    raise_limit(&limits->messages, sh->kept.messages, 1u << 20);
    if (sh->kept.races > limits->clients * RACES_PER_CLIENT)
        limits->races = min_u32(sh->kept.races, 1u << 20);
    (void)write_as(text, sizeof text, "event=accounts_over_limit max_accounts=%u room_for=%u", sh->options.max_accounts,
                   limits->accounts);
    if (limits->accounts > sh->options.max_accounts)
        shell_log(sh, NASCAR_LOG_WARN, text);
}

/* Makes the state, and the shell's tables for as many connections as it has. */
static bool make_state(struct shell *sh)
{
    struct nascar_limits limits = wanted_limits(&sh->options);
    raise_limits(sh, &limits);
    sh->limits = limits;
    sh->started_ms = sh->now_ms;
    sh->conns = nascar_connections(&limits);
    size_t arena_bytes = nascar_arena_size(&limits);
    if (arena_bytes == 0)
        return complain("", "",
                        "%u clients and %u accounts are more than a process of 32 bits can address: lower "
                        "--max-clients or --max-accounts",
                        limits.clients, limits.accounts);
    void *arena = reserve(arena_bytes);
    if (!arena)
        return complain("", "",
                        "no memory for %u clients and %u accounts, which take %llu KiB of address space: lower "
                        "--max-clients or --max-accounts, or allow more (ulimit -v)",
                        limits.clients, limits.accounts, (unsigned long long)arena_bytes / 1024);
    sh->state = nascar_init(arena, arena_bytes, &limits);
    sh->polled = reserve((FIRST_SOCKET + sh->conns) * sizeof *sh->polled);
    sh->number_of = reserve(sh->conns * sizeof *sh->number_of);
    sh->place_of = reserve(sh->conns * sizeof *sh->place_of);
    sh->numbers.free = reserve(sh->conns * sizeof *sh->numbers.free);
    if (!sh->state || !sh->polled || !sh->number_of || !sh->place_of || !sh->numbers.free)
        return complain("", "", "no memory for %u connections", sh->conns);
    sh->polled[CONTROL_LISTENER].fd = -1;
    sh->numbers.count = sh->conns - NASCAR_CONTROL_CONNECTIONS;
    sh->control_numbers.count = NASCAR_CONTROL_CONNECTIONS;
    sh->control_numbers.free = sh->numbers.free + sh->numbers.count;
    for (uint32_t c = 0; c < sh->conns; c++) {
        bool control = c >= sh->numbers.count;
        sh->place_of[c] = NONE; /* the lowest number is taken first */
        sh->numbers.free[c] = control ? sh->conns - 1 - (c - sh->numbers.count) : sh->numbers.count - 1 - c;
    }
    return true;
}

static void announce(const struct shell *sh)
{
    char address[16], line[160] = "ready";
    size_t size = strlen(line);
    write_address(address, sh->options.bind_address);
    for (uint32_t i = 0; i < PORTS; i++)
        if (sh->port[i] != NONE)
            size += (size_t)write_as(line + size, sizeof line - size, " %s=%s:%u", port_names[i], address, sh->port[i]);
    line[size++] = '\n';
    (void)write_now(STDOUT_FILENO, line, size); /* nobody need read it, either */
}

/* Locks the folder, and says who has it if that cannot be. */
static bool lock_data(struct shell *sh)
{
    const char *path = sh->options.data;
    struct folder_lock *lock = &sh->lock;
    sh->locked = lock_folder(sh->folder, lock);
    if (sh->locked) {
        tell_lock(sh);
        return true;
    }
    if (lock->by_folder == EWOULDBLOCK || lock->by_file == EWOULDBLOCK) {
        char process[32] = ""; /* its `pid` may be gone, or empty as the disk was full */
        if (lock->pid > 0)
            (void)write_as(process, sizeof process, ", process %d", lock->pid);
        return complain(COMMAND_LINE, "data", "%s: a server uses it%s", path, process);
    }
    return complain(COMMAND_LINE, "data",
                    "%s: a server uses it, process %d, as its file `pid` says, and nothing there can be locked: "
                    "remove that file if this process is none",
                    path, lock->pid);
}

/* A link would be replaced by a file of its own, and one that leads nowhere, as its
 * disk is not mounted, would be taken for a first start. */
static bool check_types(const struct shell *sh)
{
    static const char names[][12] = {"journal", "journal.new", "pid", "control"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool socket_wanted = i == 3;
        const char *what = wrong_type(sh->folder, names[i], socket_wanted ? S_IFSOCK : S_IFREG);
        if (what)
            return complain(
                COMMAND_LINE, "data",
                "%s/%s is %s, and not a %s: move it away; what may be a symbolic link is the folder itself, "
                "which --data names",
                sh->options.data, names[i], what, socket_wanted ? "socket" : "regular file");
    }
    return true;
}

static bool check_rights(struct shell *sh)
{
    struct stat about;
    char text[256], wrong[64];
    if (is_ours(sh->folder, &about))
        return true;
    if (about.st_uid != geteuid())
        (void)write_as(wrong, sizeof wrong, "it belongs to user %u", (unsigned)about.st_uid);
    else
        (void)write_as(wrong, sizeof wrong, "others may write to it (mode %04o)", (unsigned)about.st_mode & 07777);
    if (is_strict(&sh->sandbox))
        return complain(COMMAND_LINE, "data", "%s: %s: make it the server's alone (chown, chmod go-w)",
                        sh->options.data, wrong);
    (void)write_as(text, sizeof text, "event=folder_not_ours reason=\"%s\" advice=\"make it the server's alone\"",
                   wrong);
    shell_log(sh, NASCAR_LOG_WARN, text);
    return true;
}

/* Opens the data folder and locks it. It is ours as long as it is open. */
static bool open_data(struct shell *sh)
{
    const char *path = sh->options.data;
    const struct sandbox *x = &sh->sandbox;
    (void)act_as_user(x, false);
    bool made = mkdir(path, 0700) == 0;
    if ((!made && errno != EEXIST) || (made && x->gives_up && lchown(path, x->uid, x->gid) != 0))
        return complain(COMMAND_LINE, "data", "%s: it cannot be made: %s", path, why(errno));
    if (!act_as_user(x, true))
        return complain(COMMAND_LINE, "user", "%s: %s", sh->options.user, why(errno));
    sh->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sh->folder < 0)
        return complain(COMMAND_LINE, "data", "%s: %s", path,
                        errno == ENOENT ? "it is a symbolic link that leads nowhere: is its disk mounted?"
                                        : why(errno));
    if (!check_rights(sh) || !check_types(sh) || !lock_data(sh))
        return false;
    if (!sync_name(sh->folder))
        return complain(COMMAND_LINE, "data", "%s: the folder above it cannot be synced: %s", path, why(EIO));
    sh->signed_in = sh->sys->sign(sh->world, sh->folder, &sh->lock.pid_file);
    return true;
}

/* ---- Start: the user, the folder of --chroot, the sandbox ------------------ */

/* Goes into the folder of --chroot. */
static bool enter_jail(struct shell *sh)
{
    struct stat named, ours;
    if (!sh->options.chroot[0])
        return true;
    if (chroot(sh->options.chroot) != 0 || chdir("/") != 0)
        return complain(COMMAND_LINE, "chroot", "%s: %s", sh->options.chroot, why(errno));
    jail.entered = true;
    copy_text(sh->data, sizeof sh->data, path_in_jail(sh->options.data));
    if (stat(sh->data, &named) == 0 && fstat(sh->folder, &ours) == 0 && named.st_dev == ours.st_dev &&
        named.st_ino == ours.st_ino)
        return true;
    return complain(COMMAND_LINE, "data", "%s: in the folder of --chroot it is another one, or none: is there a link?",
                    sh->options.data);
}

/* Leaves itself what it may need while it runs: its folder, and the one in which that
 * would be made again, if it may do so; the log's folder, to open a new file; and what a
 * reload reads. The terminal is for a SIGHUP, the last one for a kernel without getrandom(). */
static const char *restrict_files(const struct shell *sh)
{
    struct rules rules;
    const struct options *o = &sh->options;
    if (!rules_begin(&rules, jail.entered))
        return "missing";
    if (!allow_beneath(&rules, sh->folder, ".", MAY_USE_DATA) && is_short(errno))
        return NULL;
    if (syscall(SYS_faccessat, sh->folder, "..", W_OK) == 0)
        (void)allow_beneath(&rules, sh->folder, "..", MAY_MAKE_DATA);
    allow_file(&rules, path_now(o->log_file), MAY_WRITE_FILE | MAY_MAKE_FILE);
    allow_file(&rules, o->config_file ? path_now(o->config_file) : NULL, MAY_READ_FILE);
    allow_file(&rules, path_now(o->news_file), MAY_READ_FILE);
    (void)allow_beneath(&rules, AT_FDCWD, "/dev/tty", MAY_READ_FILE);
    (void)allow_beneath(&rules, AT_FDCWD, "/dev/urandom", MAY_READ_FILE);
    return rules_end(&rules);
}

/* Gives up all that is not needed from here on. */
static bool confine(struct shell *sh)
{
    struct sandbox *x = &sh->sandbox;
    struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO};
    char text[160];
    unsigned user, group;
    if (!act_as_user(x, false) || !enter_jail(sh))
        return false;
    const char *broken = give_up_root(x);
    if (broken)
        return complain(COMMAND_LINE, "user", "%s: root cannot be given up: %s", sh->options.user, broken);
    x->has_given = x->gives_up;
    if (!recording_takes_place(sh))
        return false;
    user = geteuid();
    group = getegid();
    if (user == 0)
        shell_log(sh, NASCAR_LOG_WARN, "event=runs_as_root advice=\"name a user of its own by --user\"");
    if (x->wanted && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) {
        (void)sigaction(SIGSYS, &action, NULL);
        while (spares_give(sh)) /* rules take files, for a moment */
            continue;
        x->landlock = restrict_files(sh);
        if (!x->landlock)
            return complain("", "", "no file is left for the sandbox: %s", why(EMFILE));
        spares_take(sh);
        size_t count = sizeof server_calls / sizeof *server_calls;
        x->seccomp = filter_calls(server_calls, sh->port[LISTENERS] == NONE ? count - DNS_CALLS : count);
        sh->confined = true;
    }
    (void)write_as(text, sizeof text, "event=sandbox seccomp=%s landlock=%s user=%u group=%u chroot=%s", x->seccomp,
                   x->landlock, user, group, jail.entered ? "yes" : "no");
    shell_log(sh, NASCAR_LOG_INFO, text);
    return true;
}

/* ---- Start: all of it ------------------------------------------------------- */

/* Everything up to the loop. The helper starts first, while there is nothing
 * yet that it must not have; then comes what is kept, and then whoever wants to
 * connect. */
static int serve_start(struct shell *sh)
{
    struct journal_reader reader;
    struct sigaction hang_up;
    sh->terminal = try_terminal() == 0;
    sh->outlives_terminal = sigaction(SIGHUP, NULL, &hang_up) == 0 && hang_up.sa_handler == SIG_IGN;
    int signals = open_signals();
    if (signals < 0) {
        (void)complain("", "", "signals: %s", why(errno));
        return 1;
    }
    shell_time(sh);
    helper_start(sh);
    finder_start(sh);
    if (!open_data(sh) || !journal_find(sh, &reader) || !make_state(sh))
        return 1;
    (void)madvise(sh->state, nascar_arena_size(&sh->limits), MADV_DONTFORK);
    (void)madvise(sh->compaction.batch.bytes, BATCH_BYTES, MADV_DONTFORK);
    raise_file_limit(sh);
    sh->polled[SIGNALS].fd = signals;
    sh->polled[SIGNALS].events = POLLIN;
    spares_take(sh);
    if (!recording_open(sh))
        return 1;
    feed_entropy(sh);
    if (!journal_load(sh, &reader))
        return 1;
    want_ports(sh);
    (void)act_as_user(&sh->sandbox, false);
    for (uint32_t i = 0; i < PORTS; i++) {
        int *fd = &sh->polled[FIRST_LISTENER + i].fd;
        *fd = sh->port[i] == NONE ? -1 : open_port(&sh->options, i, &sh->port[i]);
        if (*fd < 0 && sh->port[i] != NONE)
            return 1;
    }
    (void)act_as_user(&sh->sandbox, true);
    sign_work(sh);
    shell_begin(sh);
    return confine(sh) ? 0 : 1;
}

static void sandbox_begin(struct sandbox *x, const struct options *o)
{
    x->wanted = o->sandbox != 0;
    x->gives_up = o->uid != NONE && geteuid() == 0;
    x->uid = o->uid;
    x->gid = o->gid;
    x->control_gid = o->group;
    x->seccomp = x->landlock = "off";
}

static int serve(char **arguments)
{
    struct shell *sh = reserve(sizeof *sh);
    if (!sh) {
        (void)complain("", "", "the server: %s", why(errno));
        return 1;
    }
    sh->sys = &system_calls;
    sh->world = &sh->sandbox;
    sh->record_folder = -1;
    sh->arguments = arguments;
    serving = sh;
    if (!read_options(&sh->options, arguments))
        return 2;
    sandbox_begin(&sh->sandbox, &sh->options);
    (void)act_as_user(&sh->sandbox,
                      sh->options.log_file[0] != 0); /* standard error is root's; a file is to be the user's */
    sh->log_fd = system_log_open(NULL, sh->options.log_file);
    if (sh->log_fd < 0) {
        const char *path = sh->options.log_file;
        (void)complain(COMMAND_LINE, "log-file", "%s: %s", path[0] ? path : "standard error", why(errno));
        return 1;
    }
    int status = serve_start(sh);
    if (status == 0) {
        shell_log_flush(sh); /* what was logged at the start comes first */
        announce(sh);
        sh->ready = true;
        shell_loop(sh);
    }
    shell_leave(sh);
    return status;
}

/* Reads a whole file. If that cannot be done: false, and a line on standard error. */
static bool read_file(const char *path, struct buffer *file)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 1;
    *file = (struct buffer){NULL, 0, 0};
    while (n > 0) {
        if (file->size == file->room) {
            size_t room = 2 * file->room + 65536;
            uint8_t *more = reserve_more(file->bytes, file->room, room);
            n = more ? n : -1;
            if (!more)
                break;
            file->bytes = more;
            file->room = room;
        }
        n = read(fd, file->bytes + file->size, file->room - file->size);
        file->size += n > 0 ? (size_t)n : 0;
    }
    if (n < 0) {
        (void)complain("", path, "%s", why(errno));
        release(file->bytes, file->room);
    }
    if (fd >= 0)
        (void)close(fd);
    return n == 0;
}

/* ---- Dump: what is kept, as text ----------------------------------------- */

/* Prints a record as one line: its kind and its tags, with every other byte
 * than plain characters escaped. */
static void dump_record(const struct span *record)
{
    struct outgoing f;
    scrub_record(record->bytes, (uint32_t)record->size, &f);
    uint32_t end = HEADER_BYTES + payload_size(f.bytes + HEADER_BYTES, f.size - HEADER_BYTES);
    print_as(OUT, "  %.4s", (const char *)f.bytes);
    for (uint32_t i = HEADER_BYTES; i < end; i++) {
        if (i == HEADER_BYTES || f.bytes[i - 1] == '\n')
            print_char(OUT, ' ');
        if (f.bytes[i] >= 0x20 && f.bytes[i] <= 0x7e)
            print_char(OUT, (char)f.bytes[i]);
        else if (f.bytes[i] != '\n')
            print_as(OUT, "\\x%02x", (unsigned)f.bytes[i]);
    }
    print_char(OUT, '\n');
}

static int dump(const char *folder)
{
    char path[LINE_CHARS + 16];
    struct journal_reader r;
    struct span frames, record;
    struct buffer file;
    if (!folder[0] || strlen(folder) > LINE_CHARS) {
        (void)complain("", "dump", "expected the name of a folder, of at most %u characters", LINE_CHARS);
        return 2;
    }
    journal_path(folder, path);
    if (!read_file(path, &file))
        return 1;
    journal_open(&r, file.bytes, file.size);
    print_as(OUT, "journal format %u, %llu bytes\n", r.format, (unsigned long long)file.size);
    for (size_t at = r.at; journal_next(&r, &frames); at = r.at) {
        uint32_t count = 0;
        for (struct span left = frames; take_record(&left, &record);)
            count++;
        print_as(OUT, "batch %llu at %llu: %u records\n", (unsigned long long)r.number, (unsigned long long)at, count);
        while (take_record(&frames, &record))
            dump_record(&record);
    }
    if (r.end == JOURNAL_TORN)
        print_as(OUT, "torn at %llu: the last %llu bytes were not written out\n", (unsigned long long)r.at,
                 (unsigned long long)(file.size - r.at));
    bool good = r.end == JOURNAL_WHOLE || r.end == JOURNAL_TORN;
    (void)print_rest(OUT);
    if (!good)
        (void)journal_refuse(path, &r);
    release(file.bytes, file.room);
    return good ? 0 : 1;
}

/* ---- Control: asking the server that runs -------------------------------- */

/* Options of `ctl`: their names, a letter for each in the table below, and as which tag the
 * value is sent. */
enum {
    OPTION_DATA,
    OPTION_JSON,
    OPTION_HELP,
    OPTION_FOR,
    OPTION_REASON,
    OPTION_ROOM,
    OPTION_CLOSE,
    OPTION_CLEAR,
    CONTROL_OPTIONS
};

static const char option_names[] = "data json help for reason room close clear", option_letters[] = "djhfrocl";
static const uint8_t option_tags[] = {
    [OPTION_FOR] = tag_FOR, [OPTION_REASON] = tag_REASON, [OPTION_ROOM] = tag_ROOM, [OPTION_CLOSE] = tag_ID};

/* What `ctl` can ask, a row each, of these columns with a tab behind each:
 *   NAME      as it is typed. Of several forms of one command the first one is meant that
 *             the words and options fit
 *   WORDS     what stands behind it, for the help
 *   KIND      of the frame that is sent
 *   FORM      of the answer: List of things, or Values of one. Of an act: as it is Typed,
 *             with a Password, with the text of a File, or without one (N), for which WORDS
 *             is the very word that must be typed, if FIRST is there
 *   OPTIONS   that it takes, by their letters
 *   FIRST     the tag as which the first word is sent, if there must be one, ...
 *   REST      ... and that of all behind it: if it is the same, all is one text
 *   COLUMNS   the keys of the fields in the answer's lines: # behind one marks a number, ?
 *             yes or no. Behind a ; stand those of lines of another kind
 *   SAYS      the answer in words, if it is an act, or an empty list. In braces stands a key
 *             of the first line, and behind a | what is said if it is empty
 *   HELP
 * It is one text, as pointers take more room in the binary than what they point to. */
enum { NAME, WORDS, KIND, FORM, OPTIONS, FIRST_TAG, REST_TAG, COLUMNS, SAYS, HELP, CONTROL_FIELDS };

#define SANCTION "what name reason since until\t"
#define SANCTIONED "what name means reason since until\t"

/* clang-format off */
static const char control_table[] =
    "who\t\tcwho\tL\t\t\t\tpersona account room address busy? since idle#\tNobody is on.\twho is on; idle: so many seconds without a request\n"
    "rooms\t\tcrom\tL\t\t\t\tname players# limit# password? made_by\tThere are no rooms.\tthe rooms, and who has made them\n"
    "stats\t\tcsta\tV\t\t\t\tname value#\tThere are no numbers.\thow many of what there are\n"
    "say\tTEXT [--room NAME]\tcsay\tT\to\tTEXT\tTEXT\ttold# missed#\tTold to {told|0}, missed by {missed|0} who do not read.\tan announcement to everybody, or in one room\n"
    "kick\tNAME [REASON]\tckik\tT\tr\tNAME\tREASON\taccount connections#\t{account} is put out.\tends the connections of an account, or of a persona's\n"
    "ban\tNAME|ADDRESS[/BITS] [--for TIME] [--reason TEXT]\tcban\tT\tfr\tNAME\t\t" SANCTIONED "The ban of {name} ({means}) ends: {until|never}.\tkeeps out an account, or all of a network\n"
    "unban\tNAME|ADDRESS[/BITS]\tcunb\tT\t\tNAME\t\t" SANCTION "{name} is banned no more.\tlifts a ban\n"
    "mute\tNAME [--for TIME] [--reason TEXT]\tcmut\tT\tfr\tNAME\t\t" SANCTIONED "The mute of {name} ({means}) ends: {until|never}.\tlets nobody else see what an account says\n"
    "unmute\tNAME\tcunm\tT\t\tNAME\t\t" SANCTION "{name} is muted no more.\tlifts a mute\n"
    "bans\t\tcbns\tL\t\t\t\t" SANCTION "Nobody is banned or muted.\twho is banned or muted, and until when\n"
    "reports\t\tcrep\tL\t\t\t\tid# at by about lines#\tThere are no reports.\treports of abuse\n"
    "reports\tID\tcrep\tL\t\tID\t\tid# at by about lines#;at from to room text\tThere is no such report.\tone of them, and the chat that goes with it\n"
    "reports\t--close ID\tcrcl\tT\tc\t\t\t\tThe report is closed.\tremoves one\n"
    "news\t\tcnew\tL\t\t\t\tline\tThere are no news.\tthe news as consoles show them\n"
    "news\tFILE|-\tcnew\tF\t\tTEXT\t\t\tThe news are set.\ttakes them from a file, or from standard input\n"
    "news\t--clear\tcnew\tN\tl\t\t\t\tThe news are those of the configuration.\ttakes them from the configuration again\n"
    "passwd\tNAME\tcpwd\tP\t\tNAME\t\t\tThe password is set.\ta password for an account, which is made if it is not there\n"
    "delete\tACCOUNT\tcdel\tT\t\tNAME\t\taccount\t{account} is deleted.\tremoves an account for good, with all its personas\n"
    "reload\t\tcrel\tL\t\t\t\tkey what from to\tThe configuration is as it was; what `down` and `log-level` had set holds no more.\treads the configuration again, and tells what changed\n"
    "log-level\tLEVEL\tclog\tT\t\tLEVEL\t\t\tThe log level is set, until the next reload.\terror, warn, info or debug, until the next reload\n"
    "down\toff\tcdwn\tN\t\tTEXT\t\t\tConsoles get in.\tlets consoles in again\n"
    "down\tTEXT\tcdwn\tT\t\tTEXT\tTEXT\t\tConsoles are turned away, until `down off` or the next reload.\tturns consoles away at the directory, with this text\n";
/* clang-format on */

struct control_command {
    char field[CONTROL_FIELDS][96];
};

/* Reads the next row of the table; false behind the last one. */
static bool next_command(const char **at, struct control_command *command)
{
    if (!**at)
        return false;
    memset(command, 0, sizeof *command);
    for (size_t i = 0; i < CONTROL_FIELDS; i++) {
        size_t n = strcspn(*at, "\t\n");
        assert(n < sizeof command->field[0]);
        copy_text(command->field[i], n + 1, *at);
        *at += n + 1;
    }
    return true;
}

#define CONTROL_MS 4000u /* in which the server answers, or it hangs */

static struct termios terminal_shown; /* how the terminal was before a password was asked for */

/* Whatever ends us, the terminal shows again what is typed. */
static void on_interrupt(int number)
{
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal_shown);
    (void)raise(number); /* it takes its course when this returns */
}

/* Signals that end who asks for a password do so by this handler meanwhile; one that would stop it waits. */
static void guard_terminal(bool guarded)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGTSTP};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_flags = (int)SA_RESETHAND;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        action.sa_handler = !guarded ? SIG_DFL : ends[i] == SIGTSTP ? SIG_IGN : on_interrupt;
        (void)sigaction(ends[i], &action, NULL);
    }
}

/* Reads one line of standard input, cut if it is too long; false if there is none. */
static bool read_secret(char *out, size_t out_bytes)
{
    size_t n = 0;
    char c = 0;
    while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n' && n + 1 < out_bytes) {
        if (c == 0) /* a password that ended there would be another one */
            return false;
        out[n++] = c;
    }
    n -= n > 0 && out[n - 1] == '\r';
    out[n] = 0;
    return c == '\n' || n > 0;
}

/* Asks for a secret. On a terminal, what is typed is not shown. */
static bool ask_secret(const char *prompt, char *out, size_t out_bytes)
{
    struct termios hidden;
    if (tcgetattr(STDIN_FILENO, &terminal_shown) != 0)
        return read_secret(out, out_bytes);
    hidden = terminal_shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    guard_terminal(true);
    print(ERR, prompt);
    (void)print_rest(ERR);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    bool good = read_secret(out, out_bytes);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal_shown);
    guard_terminal(false);
    print_char(ERR, '\n');
    return good;
}

/* Returns NULL, or why there is no password. */
static const char *ask_password(char *out, size_t out_bytes)
{
    char again[128];
    if (!ask_secret("New password: ", out, out_bytes))
        return "expected a password on standard input, as text";
    if (!isatty(STDIN_FILENO))
        return NULL;
    bool same = ask_secret("Once more: ", again, sizeof again) && strcmp(again, out) == 0;
    wipe(again, sizeof again);
    return same ? NULL : "the two are not the same; nothing has changed";
}

/* The next call on this socket waits until then and no longer. */
static void control_patience(int fd, uint64_t until_ms)
{
    uint64_t now_ms = system_mono_ms(NULL), left_ms = until_ms > now_ms ? until_ms - now_ms : 1;
    struct timeval left = {.tv_sec = (time_t)(left_ms / 1000), .tv_usec = (suseconds_t)(left_ms % 1000 * 1000)};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &left, sizeof left);
}

/* What was typed behind `ctl`. */
struct typed {
    const char *option[CONTROL_OPTIONS]; /* its value, or "" if it has none; NULL: it is not there */
    const char *name, *first;            /* the first two words, or NULL */
    char rest[1024];                     /* the others, a space between each two */
};

/* What the server has answered: its lines, whole frames. */
struct answer {
    const struct control_command *command;
    uint8_t *bytes;
    size_t size, room;
};

/* ---- Control: what is printed -------------------------------------------- */

/* Prints a text, or only counts how wide it is. Nothing that a terminal would act on gets
 * through: that is shown as in the log. */
static int show(struct output *to, const char *text)
{
    int width = 0;
    for (; *text; text++) {
        uint8_t c = (uint8_t)*text;
        bool plain = c >= 0x20 && c <= 0x7e && c != '\\';
        width += plain ? 1 : 4;
        if (to)
            print_as(to, plain ? "%c" : "\\x%02x", c);
    }
    return width;
}

/* Prints a text as one of JSON, in ASCII. A byte that is none is the character of that
 * number: what a console types has no other encoding. */
static void print_json_text(const char *text)
{
    print_char(OUT, '"');
    for (; *text; text++) {
        uint8_t c = (uint8_t)*text;
        if (c == '"' || c == '\\')
            print_as(OUT, "\\%c", c);
        else
            print_as(OUT, c >= 0x20 && c <= 0x7e ? "%c" : "\\u%04x", c);
    }
    print_char(OUT, '"');
}

/* Says why nothing came of a command. Returns the exit status for that. */
static int control_fail(const struct typed *typed, const char *why)
{
    print(ERR, "nascar_server: ctl: ");
    (void)show(ERR, why);
    print_char(ERR, '\n');
    if (typed->option[OPTION_JSON]) {
        print(OUT, "{\"error\":");
        print_json_text(why);
        print(OUT, "}\n");
    }
    return 1;
}

/* The next key of a list of columns, and its mark or 0; NULL at the end. */
static const char *next_column(const char *columns, char key[32], char *mark)
{
    size_t n = strcspn(columns, " ;");
    if (n == 0)
        return NULL;
    *mark = (char)(columns[n - 1] == '#' || columns[n - 1] == '?' ? columns[n - 1] : 0);
    copy_text(key, n + (*mark ? 0 : 1), columns);
    return columns + n + (columns[n] == ' ');
}

/* The next line of an answer: its tags; NULL behind the last one. */
static const uint8_t *next_line(const struct answer *a, size_t *at, uint32_t *size)
{
    if (*at == a->size)
        return NULL;
    const uint8_t *frame = a->bytes + *at;
    *at += load_be32(frame + 8);
    *size = payload_size(frame + HEADER_BYTES, load_be32(frame + 8) - HEADER_BYTES);
    return frame + HEADER_BYTES;
}

/* The columns that a line has: if there are two kinds, the first has the first key. */
static const char *columns_of(const struct answer *a, const uint8_t *line, uint32_t size)
{
    char key[32], mark;
    const char *first = a->command->field[COLUMNS], *second = strchr(first, ';');
    if (!second)
        return first;
    (void)next_column(first, key, &mark);
    return find_tag(line, size, key) != NOT_THERE ? first : second + 1;
}

static void get_field(const uint8_t *line, uint32_t size, const char *key, char out[FRAME_OUT_BYTES])
{
    uint32_t at = find_tag(line, size, key);
    out[0] = 0;
    if (at != NOT_THERE)
        (void)read_string(line, size, at, out, FRAME_OUT_BYTES);
}

#define CONTROL_COLUMNS 8u

/* Prints a row of a table, or the titles of its columns if there is no line. With `to`
 * NULL it is only measured how wide each column is. */
static void print_row(struct output *to, const char *columns, const uint8_t *line, uint32_t size,
                      int width[CONTROL_COLUMNS])
{
    char text[FRAME_OUT_BYTES], key[32], mark;
    for (const char *next = columns; (next = next_column(next, key, &mark)) != NULL; width++) {
        if (line) {
            get_field(line, size, key, text);
            if (!text[0] && strchr(columns, ' '))
                copy_text(text, sizeof text, "-");
        } else {
            copy_text(text, sizeof text, key);
            for (char *c = text; *c; c++)
                *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
        }
        int w = show(to, text);
        if (w > *width)
            *width = w;
        for (; to && *next && *next != ';' && w < *width + 2; w++)
            print_char(to, ' ');
    }
    if (to)
        print_char(to, '\n');
}

/* Prints the lines that have these columns, one below the other. If there is but one
 * column, it is a text, and has no title. */
static void print_table(const struct answer *a, const char *columns)
{
    int width[CONTROL_COLUMNS] = {0};
    for (int pass = 0; pass < 2; pass++) {
        struct output *to = pass == 1 ? OUT : NULL;
        uint32_t size = 0;
        size_t at = 0;
        if (strchr(columns, ' '))
            print_row(to, columns, NULL, 0, width);
        for (const uint8_t *line; (line = next_line(a, &at, &size)) != NULL;)
            if (columns_of(a, line, size) == columns)
                print_row(to, columns, line, size, width);
    }
}

static void print_json_value(const char *text, char mark)
{
    if (mark == '?')
        print(OUT, strcmp(text, "yes") == 0 ? "true" : "false");
    else if (mark == '#' && !text[0])
        print(OUT, "null");
    else if (mark == '#' && text[strspn(text, "0123456789")] == 0 && (text[0] != '0' || !text[1]))
        print(OUT, text);
    else
        print_json_text(text);
}

/* Prints the fields of a line as those of an object. */
static void print_json_fields(const char *columns, const uint8_t *line, uint32_t size, const char *before)
{
    char text[FRAME_OUT_BYTES], key[32], mark;
    for (const char *next = columns; (next = next_column(next, key, &mark)) != NULL; before = ",") {
        get_field(line, size, key, text);
        print_as(OUT, "%s\"%s\":", before, key);
        print_json_value(text, mark);
    }
}

static void print_json(const struct answer *a)
{
    char form = a->command->field[FORM][0], text[FRAME_OUT_BYTES];
    const char *columns = a->command->field[COLUMNS], *between = "";
    uint32_t size = 0;
    size_t at = 0;
    print(OUT, form == 'L' ? "[" : form == 'V' ? "{" : "{\"ok\":true");
    for (const uint8_t *line; (line = next_line(a, &at, &size)) != NULL; between = ",") {
        if (form == 'V') {
            print(OUT, between);
            get_field(line, size, "name", text);
            print_json_text(text);
            print_char(OUT, ':');
            get_field(line, size, "value", text);
            print_json_value(text, '#');
        } else if (form == 'L') {
            print_as(OUT, "%s{", between);
            print_json_fields(columns_of(a, line, size), line, size, "");
            print_char(OUT, '}');
        } else {
            print_json_fields(columns, line, size, ",");
        }
    }
    print(OUT, form == 'L' ? "]\n" : "}\n");
}

/* Prints the sentence of a command, with fields of the answer's first line. */
static void print_sentence(const struct answer *a)
{
    char text[FRAME_OUT_BYTES], key[32];
    uint32_t size = 0;
    size_t at = 0;
    const uint8_t *line = next_line(a, &at, &size);
    for (const char *p = a->command->field[SAYS]; *p; p++) {
        if (*p != '{') {
            print_char(OUT, *p);
            continue;
        }
        size_t n = strcspn(++p, "|}"), all = strcspn(p, "}"), other = n < all ? n + 1 : all;
        copy_text(key, n + 1, p);
        text[0] = 0;
        if (line)
            get_field(line, size, key, text);
        if (!text[0])
            copy_text(text, all - other + 1, p + other);
        (void)show(OUT, text);
        p += all;
    }
    print_char(OUT, '\n');
}

static void print_answer(const struct typed *typed, const struct answer *a)
{
    const char *second = strchr(a->command->field[COLUMNS], ';');
    if (typed->option[OPTION_JSON]) {
        print_json(a);
    } else if (!strchr("LV", a->command->field[FORM][0]) || a->size == 0) {
        print_sentence(a);
    } else {
        print_table(a, a->command->field[COLUMNS]);
        if (second) {
            print_char(OUT, '\n');
            print_table(a, second + 1);
        }
    }
}

/* ---- Control: talking to the server -------------------------------------- */

/* The server that runs is stopped, has no file descriptor left for us, or its
 * helper hangs. */
static int control_fail_silence(const struct typed *typed)
{
    char text[256];
    (void)write_as(text, sizeof text,
                   "the server runs, but did not answer within %u seconds: it is stopped or overloaded (see its log); "
                   "it may still do what it was asked",
                   CONTROL_MS / 1000);
    return control_fail(typed, text);
}

/* Who may use the server of a folder: the folder says so, or the socket, if one gets so far. */
static void write_rights(const char *folder, bool inside, char *out, size_t out_bytes)
{
    struct stat status;
    if (stat(inside ? control_address.sun_path : folder, &status) != 0) {
        (void)write_as(out, out_bytes, "you may not use the server of the folder %s", folder);
        return;
    }
    int n =
        write_as(out, out_bytes, "you may not use the server of the folder %s: it is for the user with the number %u",
                 folder, (unsigned)status.st_uid);
    if (status.st_mode & 070 && n > 0 && (size_t)n < out_bytes)
        (void)write_as(out + n, out_bytes - (size_t)n, ", and for the group with the number %u",
                       (unsigned)status.st_gid);
}

/* Connects to the server that runs on a folder. If none answers: -1, and a line
 * on standard error. */
static int control_connect(const struct typed *typed, uint64_t until_ms)
{
    char text[LINE_CHARS + 256];
    const char *folder = typed->option[OPTION_DATA];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        control_patience(fd, until_ms);
    bool inside = fd >= 0 && chdir(folder) == 0;
    if (inside && connect(fd, (const struct sockaddr *)&control_address, sizeof control_address) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        (void)close(fd);
    if (error == EAGAIN || error == EWOULDBLOCK)
        return control_fail_silence(typed), -1;
    if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR)
        (void)write_as(
            text, sizeof text,
            "no server runs on the folder %s, or its `control` is not there (its log has no_control then): start "
            "one, or name its folder with --data",
            folder);
    else if (error == EACCES || error == EPERM)
        write_rights(folder, inside, text, sizeof text);
    else
        (void)write_as(text, sizeof text, "%s: %s", folder, why(error));
    (void)control_fail(typed, text);
    return -1;
}

/* Keeps one frame of the answer. False if there is no memory. */
static bool keep_line(struct answer *a, const uint8_t *bytes, uint32_t size)
{
    if (!a->bytes || a->size + size > a->room) {
        size_t room = 2 * a->room + 4096;
        uint8_t *more = reserve_more(a->bytes, a->room, room);
        if (!more)
            return false;
        a->bytes = more;
        a->room = room;
    }
    memcpy(a->bytes + a->size, bytes, size);
    a->size += size;
    return true;
}

/* The last frame of an answer has come. Returns the exit status. */
static int control_end(const struct typed *typed, const struct answer *a, const uint8_t *bytes, uint32_t size)
{
    struct request q = {.payload = bytes + HEADER_BYTES,
                        .size = payload_size(bytes + HEADER_BYTES, size - HEADER_BYTES)};
    char text[FRAME_OUT_BYTES];
    if (load_be32(bytes + 4) == 0) {
        print_answer(typed, a);
        return 0;
    }
    if (get_text(&q, tag_TEXT, text, sizeof text) == 0 && memcmp(bytes + 4, failures[MISSING].code, 4) == 0)
        copy_text(text, sizeof text, "the server that runs does not know this command; is it an older one?");
    else if (!text[0])
        (void)write_as(text, sizeof text, "refused (%.4s)", (const char *)bytes + 4);
    return control_fail(typed, text);
}

/* Sends a request, waits for the whole answer, and prints it. Returns the exit status. */
static int control_talk(int fd, const struct typed *typed, struct answer *a, const struct outgoing *request,
                        uint64_t until_ms)
{
    uint8_t bytes[INBOX_BYTES];
    uint32_t size = 0;
    struct frame frame;
    control_patience(fd, until_ms);
    ssize_t n = send(fd, request->bytes, request->size, MSG_NOSIGNAL);
    while (n > 0 && (n = recv(fd, bytes + size, sizeof bytes - size, 0)) > 0) {
        size += (uint32_t)n;
        while (read_frame(bytes, size, &frame) == FRAME_WHOLE) {
            if (memcmp(bytes, "line", 4) != 0)
                return control_end(typed, a, bytes, frame.size);
            if (!keep_line(a, bytes, frame.size))
                return control_fail(typed, "there is no memory for the answer");
            size -= frame.size;
            memmove(bytes, bytes + frame.size, size);
            until_ms = system_mono_ms(NULL) + CONTROL_MS; /* a long list may take its time */
        }
        control_patience(fd, until_ms);
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return control_fail_silence(typed);
    return control_fail(typed, "the server has hung up");
}

/* ---- Control: what is typed ---------------------------------------------- */

/* Prints how a command is used, or with NULL each of them. */
static void control_help(struct output *to, const char *name)
{
    struct control_command command;
    if (!name)
        print(to, "usage: nascar_server ctl COMMAND ... [--data DIR] [--json]\n"
                  "Asks the server that runs on the folder DIR (./nascar-data), or has it do something.\n\n");
    for (const char *at = control_table; next_command(&at, &command);) {
        int left = (int)(strlen(command.field[NAME]) + strlen(command.field[WORDS])) + 3;
        if (!name || strcmp(name, command.field[NAME]) == 0)
            print_as(to, "  %s %s%s%*s%s\n", command.field[NAME], command.field[WORDS], left > 24 ? "\n" : "",
                     left > 24 ? 26 : 26 - left, "", command.field[HELP]);
    }
    if (!name)
        print(to, "\nTIME is a number of s, m, h, d or w, as 30m or 7d; without it, it is for good.\n"
                  "passwd asks on the terminal, or takes a line of standard input.\n"
                  "--json: one array of objects for a list, else one object. What stands behind -- is no option.\n"
                  "Exit status: 0 if it is done, 1 if not, with the reason, 2 if this was not understood.\n");
}

/* Says what was wrong with what was typed. Returns the exit status for that. */
static int control_usage(const char *name, const char *why, const char *word)
{
    print(ERR, "nascar_server: ctl: ");
    print(ERR, why);
    (void)show(ERR, word);
    print(ERR, name ? "; it is used as\n" : "; the commands are\n");
    control_help(ERR, name);
    return 2;
}

/* Reads one option, and its value, which may be the next argument: *i goes on to it.
 * Returns what is wrong, or NULL. */
static const char *take_control_option(struct typed *typed, char **arguments, int *i)
{
    const char *text = arguments[*i] + 2, *equals = strchr(text, '='), *value = equals ? equals + 1 : NULL;
    char name[16];
    int k = copy_trimmed(name, sizeof name, text, equals ? (size_t)(equals - text) : strlen(text))
                ? word_index(option_names, name)
                : -1;
    if (k < 0)
        return "unknown option ";
    bool valued = k == OPTION_DATA || (k >= OPTION_FOR && k <= OPTION_CLOSE);
    if (typed->option[k])
        return "this stands there twice: ";
    if (!valued && value)
        return "there is no value in ";
    if (valued && !value && !arguments[*i + 1])
        return "expected a value after ";
    if (valued && !value)
        value = arguments[++*i];
    typed->option[k] = value ? value : "";
    return NULL;
}

/* Takes what was typed apart. Returns NULL, or what is wrong, with the word that is. */
static const char *take_typed(struct typed *typed, char **arguments, const char **word)
{
    bool options = true;
    for (int i = 0; arguments[i]; i++) {
        *word = arguments[i];
        if (options && strcmp(*word, "--") == 0) {
            options = false;
        } else if (options && strncmp(*word, "--", 2) == 0) {
            const char *wrong = take_control_option(typed, arguments, &i);
            if (wrong)
                return wrong;
        } else if (!typed->name) {
            typed->name = *word;
        } else if (!typed->first) {
            typed->first = *word;
        } else {
            if (strlen(typed->rest) + strlen(*word) + 2 > sizeof typed->rest)
                return "that is too long: ";
            append_text(typed->rest, sizeof typed->rest, typed->rest[0] ? " " : "");
            append_text(typed->rest, sizeof typed->rest, *word);
        }
    }
    return NULL;
}

/* Is this form of a command meant? */
static bool is_meant(const struct control_command *command, const struct typed *typed)
{
    const char *options = command->field[OPTIONS], *rest = command->field[REST_TAG];
    for (size_t k = OPTION_FOR; k < CONTROL_OPTIONS; k++)
        if (typed->option[k] && !strchr(options, option_letters[k]))
            return false;
    if (typed->first && !typed->first[0]) /* as of a variable of a script that is not set */
        return false;
    if (command->field[FORM][0] == 'N' && typed->first && strcmp(typed->first, command->field[WORDS]) != 0)
        return false;
    return strcmp(command->field[NAME], typed->name) == 0 &&
           (command->field[FIRST_TAG][0] != 0) == (typed->first != NULL) &&
           !(typed->rest[0] && (!rest[0] || (strcmp(rest, "REASON") == 0 && typed->option[OPTION_REASON])));
}

/* Reads a time, as 7d, as seconds in decimal. */
static bool read_duration(const char *text, char out[24])
{
    static const uint32_t seconds[] = {1, 60, 3600, 86400, 604800};
    size_t n = strspn(text, "0123456789");
    const char *units = "smhdw", *unit = text[n] ? strchr(units, text[n]) : NULL;
    uint64_t value = 0;
    if (n == 0 || n > 9 || !unit || text[n + 1])
        return false;
    for (size_t i = 0; i < n; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    value *= seconds[unit - units];
    write_number(out, (int64_t)value);
    return value > 0 && value <= 999999999;
}

/* Reads the news from a file, or from standard input; false, with the reason, if they are none. */
static bool read_news(const char *path, char out[NEWS_CHARS + 2], char *wrong, size_t wrong_bytes)
{
    char line[LINE_CHARS + 2];
    const char *expected = NULL;
    struct input file;
    size_t used = 0;
    uint32_t number = 1;
    input_open(&file, strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC));
    for (; !expected && read_line(&file, line, &expected); number++) {
        const char *text = line + (number == 1 && strncmp(line, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0);
        if (!expected && !is_ascii(text))
            expected = "ASCII characters only";
        else if (!expected && used + strlen(text) + 1 > NEWS_CHARS)
            expected = "at most 242 characters of news in all, an end of line being one";
        if (!expected) {
            copy_text(out + used, NEWS_CHARS + 2 - used, text);
            used += strlen(text);
            out[used++] = '\n';
        }
    }
    out[used] = 0;
    if (file.error)
        (void)write_as(wrong, wrong_bytes, "%s: %s", path, why(file.error));
    else if (expected)
        (void)write_as(wrong, wrong_bytes, "%s:%u: expected %s", path, number - 1, expected);
    else if (used == 0)
        (void)write_as(wrong, wrong_bytes, "%s: it is empty; `news --clear` is for that", path);
    else
        wrong[0] = 0;
    input_close(&file);
    return !wrong[0];
}

/* Puts a text into the request, if there is room for it. */
static bool put_typed(struct outgoing *request, const char *tag, const char *text)
{
    if (request->size + 3 * strlen(text) + 32 > FRAME_OUT_BYTES)
        return false;
    put_key_text(request, tag);
    put_quoted(request, text);
    return true;
}

/* Writes the request, but for a password and the end. False if there is no room for all. */
static bool write_request(const struct control_command *command, const struct typed *typed, const char *news,
                          struct outgoing *request)
{
    char text[2 * sizeof typed->rest];
    const char *first = typed->first ? typed->first : "", *tag = command->field[FIRST_TAG];
    bool one = typed->rest[0] && strcmp(tag, command->field[REST_TAG]) == 0, good = strlen(first) < sizeof typed->rest;
    copy_text(text, sizeof text, first);
    append_text(text, sizeof text, one ? " " : "");
    append_text(text, sizeof text, one ? typed->rest : "");
    frame_begin(request, command->field[KIND], "");
    if (strchr("FN", command->field[FORM][0]))
        good = put_typed(request, "TEXT", news);
    else if (tag[0])
        good = good && put_typed(request, tag, text);
    if (typed->rest[0] && !one)
        good = good && put_typed(request, command->field[REST_TAG], typed->rest);
    for (size_t k = OPTION_FOR; k < OPTION_CLEAR; k++)
        if (typed->option[k])
            good = good && put_typed(request, tag_names[option_tags[k]], typed->option[k]);
    return good;
}

/* Asks for what is not to be typed among the arguments, and ends the request. Returns what is wrong, or NULL. */
static const char *finish_request(const struct control_command *command, struct outgoing *request)
{
    char password[128];
    if (command->field[FORM][0] == 'P') {
        const char *wrong = ask_password(password, sizeof password);
        if (wrong)
            return wrong;
        put_text(request, tag_PASS, password);
        wipe(password, sizeof password);
    }
    frame_end(request);
    return NULL;
}

static int control_ask(const struct control_command *command, const struct typed *typed)
{
    struct answer answer = {.command = command};
    struct outgoing request;
    char news[NEWS_CHARS + 2] = "", wrong[LINE_CHARS + 256];
    if (command->field[FORM][0] == 'F' && !read_news(typed->first, news, wrong, sizeof wrong))
        return control_fail(typed, wrong);
    if (!write_request(command, typed, news, &request))
        return control_fail(typed, "that is longer than anything the server takes");
    const char *reason = finish_request(command, &request); /* who types takes his time, and no place meanwhile */
    if (reason)
        return control_fail(typed, reason);
    uint64_t until_ms = system_mono_ms(NULL) + CONTROL_MS;
    int fd = control_connect(typed, until_ms), status = 1;
    if (fd >= 0) {
        status = control_talk(fd, typed, &answer, &request, until_ms);
        (void)close(fd);
    }
    wipe(&request, sizeof request);
    release(answer.bytes, answer.room);
    return status;
}

static int control(char **arguments)
{
    struct typed typed;
    char seconds[24];
    const char *word = "";
    struct control_command command = {{{0}}};
    bool known = false, meant = false;
    memset(&typed, 0, sizeof typed);
    const char *wrong = take_typed(&typed, arguments, &word);
    for (const char *at = control_table; typed.name && !meant && next_command(&at, &command);) {
        known = known || strcmp(command.field[NAME], typed.name) == 0;
        meant = is_meant(&command, &typed);
    }
    if (typed.name && !known)
        return control_usage(NULL, "unknown command ", typed.name);
    if (wrong)
        return control_usage(typed.name, wrong, word);
    if (typed.option[OPTION_HELP]) {
        control_help(OUT, typed.name);
        return 0;
    }
    if (!typed.name)
        return control_usage(NULL, "expected a command", "");
    if (!meant)
        return control_usage(typed.name, "expected something else with ", typed.name);
    if (typed.option[OPTION_FOR] && !read_duration(typed.option[OPTION_FOR], seconds))
        return control_usage(typed.name, "expected a time as 30m, 12h or 7d after --for, and not ",
                             typed.option[OPTION_FOR]);
    if (typed.option[OPTION_FOR])
        typed.option[OPTION_FOR] = seconds;
    if (!typed.option[OPTION_DATA])
        typed.option[OPTION_DATA] = DATA_FOLDER;
    return control_ask(&command, &typed);
}

/* ---- Probe: a console from outside ------------------------------------------ */

/* What can be wrong, a row each: its name, at most how bad it is (1: degraded, 2: down), and, behind what was seen,
 * what it means and what to do. The names of four letters are the codes of answers; the last row is for all others.
 * It is one text, as control_table is. */
/* clang-format off */
static const char probe_faults[] =
    "not-found\t2is the name right, and has it an A record?\n"
    "refused\t2nothing listens there: is the server up, on this port, and does the router pass it on?\n"
    "filtered\t2nothing comes back: is the address right, and do firewalls and router let this TCP port through?\n"
    "silent\t2no answer in time: the server hangs or is overloaded, or is another one\n"
    "hung-up\t2it hangs up: see its log; or it is another server, or awaits a PROXY header\n"
    "foreign\t2that is another server: name the directory's port as HOST:PORT\n"
    "elsewhere\t2they get no further: set --public-address, and have all three ports passed on; "
    "inside the server's own network it may fail though others get in\n"
    "turned-away\t2consoles are shown this: a `ctl down`, a ban, or a full server\n"
    "miss\t1strangers get no account (--accounts): use --account NAME, and no --full\n"
    "dupl\t1somebody has taken that name: use another account (--account NAME)\n"
    "imst\t1there is no such account: `ctl passwd NAME` makes it\n"
    "pass\t1a wrong password; if you gave none, somebody has that account: `ctl delete` it\n"
    "blak\t1banned: `ctl bans` says why\n"
    "hack\t1too much has failed from here: wait ten minutes, or have this address --trusted\n"
    "full\t1there is no room: see --max-clients, --max-accounts\n"
    "clock\t1so the server dated this login: which of the two clocks is wrong?\n"
    "fail\t2its disk or its hashing of passwords fails: see its log\n"
    "refusal\t1the server's log may say why\n";
/* clang-format on */

#define PROBE_PORT 10600
#define PROBE_WAIT_S 5    /* for each step */
#define PROBE_CLOCK_S 300 /* by which the two clocks may differ */
struct probe_link {
    int fd; /* -1: closed */
    uint32_t address, port;
    bool heard;    /* at least one frame has come */
    uint32_t size; /* of what has come and is not read yet */
    uint8_t bytes[INBOX_BYTES];
};

struct probe_player {
    char name[ACCOUNT_CHARS + 1], password[PASSWORD_CHARS + 1], persona[PERSONA_CHARS + 1], lkey[32];
    uint8_t skey[16]; /* all zero: none */
    bool stranger;    /* the account is one of our own making, ... */
    bool stays;       /* ... and is there now */
    bool guest;       /* the persona is to be deleted */
};

struct probe {
    const char *fault;         /* the row of what is wrong; NULL: nothing is, and this step goes on */
    struct probe_link *l;      /* on which it is asked */
    struct probe_player *who;  /* who asks */
    struct request got;        /* the tags of the frame that was waited for */
    char says[DOWN_CHARS + 1]; /* what was seen */
    char line[48];             /* of chat, which is to be heard; the name of the room */
    uint64_t until_ms;         /* when this step is given up */
    uint32_t address, lobby_address, lobby_port;
    int status;
    const char *host;
    uint32_t port, wait_s;
    bool full, json;
    struct probe_player player[2]; /* the second one is for a race */
    struct outgoing out;           /* the request */
    uint8_t in[INBOX_BYTES];       /* the frame of `got` */
    struct probe_link link[3]; /* of the two players to the lobby; to the directory, and then to the buddy service */
};

/* Notes what is wrong. All that acts on a link does nothing from then on. */
static void probe_fail(struct probe *p, const char *name)
{
    const char *row = probe_faults, *next;
    size_t n = strlen(name);
    while ((strncmp(row, name, n) != 0 || row[n] != '\t') && *(next = strchr(row, '\n') + 1))
        row = next;
    p->fault = row;
}

static void write_place(struct probe *p, const char *before, uint32_t a, uint32_t port)
{
    (void)write_as(p->says, sizeof p->says, "%s%u.%u.%u.%u:%u", before, a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255,
                   port);
}

static void link_close(struct probe_link *l)
{
    if (l->fd >= 0)
        (void)close(l->fd);
    l->fd = -1;
}

/* The link is of no use any more. If consoles are sent there, and were never answered, that is to blame. */
static void link_fail(struct probe *p, const char *fault)
{
    bool sent = p->l->address != p->address && !p->l->heard;
    write_place(p, sent ? "it sends consoles to " : "", p->l->address, p->l->port);
    link_close(p->l);
    probe_fail(p, sent ? "elsewhere" : fault);
}

/* How few others an address can be reached by. */
static int nearness(uint32_t address)
{
    return is_loopback(address) ? 2 : is_private(address);
}

static void link_open(struct probe *p, struct probe_link *l, uint32_t address, uint32_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (p->fault)
        return;
    to.sin_addr.s_addr = htonl(address);
    p->l = l;
    l->address = address;
    l->port = port;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    l->size = 0;
    l->heard = false;
    control_patience(l->fd, p->until_ms);
    if (address == 0 || port - 1 >= UINT16_MAX || nearness(address) > nearness(p->address))
        link_fail(p, "elsewhere");
    else if (connect(l->fd, (const struct sockaddr *)&to, sizeof to) != 0)
        link_fail(p, errno == ECONNREFUSED ? "refused" : "filtered");
}

/* Takes the frame that has come. Returns whether it is of this kind, and then it is kept: an answer to a request
 * has to be a success, and a line of chat ours. */
static bool link_take(struct probe *p, uint32_t size, const char *kind)
{
    uint8_t *bytes = p->l->bytes;
    bool meant = memcmp(bytes, kind, 4) == 0;
    if (meant) {
        memcpy(p->in, bytes, size);
        p->got.size = payload_size(p->got.payload, size - HEADER_BYTES);
        if (load_be32(bytes + 4) != 0 && memcmp(bytes + 4, "new", 3) != 0) {
            (void)write_as(p->says, sizeof p->says, "%s is answered with %.4s", kind, (const char *)bytes + 4);
            probe_fail(p, strrchr(p->says, ' ') + 1);
        } else if (strcmp(kind, "+msg") == 0) {
            (void)get_text(&p->got, tag_T, p->says, sizeof p->says);
            meant = strcmp(p->says, p->line) == 0;
        }
    }
    p->l->heard = true;
    p->l->size -= size;
    memmove(bytes, bytes + size, p->l->size);
    return meant;
}

/* Waits for a frame of this kind, and passes over others. */
static void probe_await(struct probe *p, const char *kind)
{
    struct probe_link *l = p->l;
    struct frame frame;
    while (!p->fault) {
        enum frame_state state = read_frame(l->bytes, l->size, &frame);
        control_patience(l->fd, p->until_ms);
        ssize_t n = state == FRAME_PART ? recv(l->fd, l->bytes + l->size, sizeof l->bytes - l->size, 0) : 1;
        if (state == FRAME_BROKEN)
            link_fail(p, "foreign");
        else if (system_mono_ms(NULL) >= p->until_ms)
            link_fail(p, "silent");
        else if (state == FRAME_WHOLE && link_take(p, frame.size, kind))
            return;
        else if (state == FRAME_PART && n > 0)
            l->size += (uint32_t)n;
        else if (n == 0 || (n < 0 && errno != EAGAIN))
            link_fail(p, "hung-up");
    }
}

/* Sends the request that was written, and waits for its answer. */
static void probe_exchange(struct probe *p, const char *kind)
{
    frame_end(&p->out);
    if (!p->fault && send(p->l->fd, p->out.bytes, p->out.size, MSG_NOSIGNAL) <= 0)
        link_fail(p, "hung-up");
    probe_await(p, kind);
}

/* The same with a request of this kind. The tags may have four texts, of which SKIP passes over one: the persona of
 * who asks, its ticket, the other player's persona, and the line. */
#define SKIP "%.0s"
static void probe_ask(struct probe *p, const char *kind, const char *tags)
{
    frame_begin(&p->out, kind, "");
    p->out.size += (uint32_t)write_as((char *)p->out.bytes + HEADER_BYTES, 512, tags, p->who->persona, p->who->lkey,
                                      p->player[p->who == p->player].persona, p->line);
    probe_exchange(p, kind);
}

static uint32_t probe_address(struct probe *p, enum tag tag)
{
    uint32_t address = 0;
    (void)get_text(&p->got, tag, p->says, sizeof p->says);
    (void)parse_address(p->says, &address);
    return address;
}

/* One of the two players goes on, on his link to the lobby. */
static void probe_turn(struct probe *p, uint32_t i)
{
    p->who = &p->player[i];
    p->l = &p->link[i];
}

static void probe_name(struct probe *p)
{
    struct host_question question = {.number = 0};
    struct host_answer answer;
    int process;
    if (!p->address) {
        struct pollfd polled = {.fd = system_finder(NULL, &process), .events = POLLIN};
        copy_text(question.name, sizeof question.name, p->host);
        copy_text(p->says, sizeof p->says, NO_DNS_ANSWER);
        (void)send(polled.fd, &question, sizeof question, MSG_NOSIGNAL);
        if (poll(&polled, 1, (int)p->wait_s * 1000) > 0 && recv(polled.fd, &answer, sizeof answer, 0) > 0) {
            p->address = answer.address;
            copy_text(p->says, sizeof p->says, answer.reason);
        }
        (void)close(polled.fd);
    }
    if (p->address)
        write_address(p->says, p->address);
    else
        probe_fail(p, "not-found");
}

static void probe_directory(struct probe *p)
{
    link_open(p, &p->link[2], p->address, p->port);
    probe_ask(p, "@dir", "PROD=NASCAR-PS2-2004\nSLUS=BASLUS-20824\n");
    if (p->fault)
        return;
    link_close(p->l);
    p->lobby_address = probe_address(p, tag_ADDR);
    p->lobby_port = get_number(&p->got, tag_PORT, 0);
    write_place(p, "", p->lobby_address, p->lobby_port);
    if (has_tag(&p->got, tag_DOWN)) {
        (void)get_text(&p->got, tag_DOWN, p->says, sizeof p->says);
        probe_fail(p, "turned-away");
    }
}

static void probe_lobby(struct probe *p)
{
    link_open(p, p->l, p->lobby_address, p->lobby_port);
    probe_ask(p, "addr", "ADDR=192.0.2.100\nPORT=1024\n");
    probe_ask(p, "skey", "SKEY=$5075626c6963204b6579\n");
    if (p->fault)
        return;
    (void)get_text(&p->got, tag_SKEY, p->says, sizeof p->says);
    if (p->says[0] != '$' || !read_hex(p->says + 1, p->who->skey, sizeof p->who->skey))
        memset(p->who->skey, 0, sizeof p->who->skey);
    p->says[0] = 0;
}

/* Asks with the password as a console writes it with its session key (PROTOCOL 4). */
static void send_login(struct probe *p, const char *kind)
{
    struct ssc2 x;
    char secret[SSC2_CHARS + 2] = "~";
    const char *password = p->who->password;
    uint8_t run = 0;
    ssc2_init(&x);
    ssc2_absorb(&x, p->who->skey, sizeof p->who->skey, 16);
    for (size_t i = 1; i <= SSC2_CHARS; i++) {
        uint32_t v = *password ? (uint32_t)(uint8_t)*password++ - 0x20 : 0x5f;
        run ^= ssc2_next(&x);
        secret[i] = (char)(0x20 + (v + run % 96) % 96);
    }
    frame_begin(&p->out, kind, "");
    put_text(&p->out, tag_NAME, p->who->name);
    put_text(&p->out, tag_PASS, secret);
    put_raw(&p->out, tag_TOS, "1");
    probe_exchange(p, kind);
}

/* An account that is not there yet is made by `auth`, or else as the game's sign-up does it. */
static void probe_login(struct probe *p)
{
    struct probe_player *who = p->who;
    send_login(p, "auth");
    if (p->fault && who->stranger && *p->fault == 'i') { /* imst */
        p->fault = NULL;
        send_login(p, "acct");
    }
    if (p->fault)
        return;
    who->stays = who->stranger;
    (void)get_text(&p->got, tag_PERSONAS, who->persona, sizeof who->persona);
    who->persona[strcspn(who->persona, ",")] = 0;
    copy_text(p->says, sizeof p->says, who->name);
}

/* Plays as the first persona of the account, which is made if there is none. */
static void probe_persona(struct probe *p)
{
    struct probe_player *who = p->who;
    who->guest = who->stranger || !who->persona[0];
    if (!who->persona[0]) {
        copy_text(who->persona, sizeof who->persona, who->name);
        probe_ask(p, "cper", "PERS=%s\n");
    }
    probe_ask(p, "pers", "PERS=%s\n");
    (void)get_text(&p->got, tag_LKEY, who->lkey, sizeof who->lkey);
    probe_await(p, "+who");
    if (!p->fault)
        copy_text(p->says, sizeof p->says, who->persona);
}

static void probe_room(struct probe *p)
{
    (void)write_as(p->line, sizeof p->line, "C.%s", p->who->persona);
    probe_ask(p, "sele", "ROOMS=1");
    probe_await(p, "+rom");
    probe_ask(p, "room", SKIP "PASS=%.16s\n" SKIP "NAME=%s\nDESC=None\nMAX=2\n");
    probe_await(p, "+who");
    if (!p->fault)
        copy_text(p->says, sizeof p->says, p->line);
}

static void probe_chat(struct probe *p)
{
    probe_ask(p, "mesg", SKIP SKIP SKIP "TEXT=%s\n");
    probe_await(p, "+msg");
}

static void probe_buddy(struct probe *p)
{
    probe_ask(p, "news", "NAME=0\n");
    link_open(p, &p->link[2], probe_address(p, tag_BUDDY_URL), get_number(&p->got, tag_BUDDY_PORT, 0));
    probe_ask(p, "AUTH", "PROD=NASCAR\nPRES=NASCAR2004\nUSER=%s/cso/nascar-ps2-2004\nLKEY=%s\n");
    probe_ask(p, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n");
    link_close(&p->link[2]);
    if (!p->fault)
        write_place(p, "", p->l->address, p->l->port);
}

/* One word of a challenge, which the other of the two hears. */
static void probe_word(struct probe *p, uint32_t from, const char *word)
{
    probe_turn(p, from);
    copy_text(p->line, sizeof p->line, word);
    probe_ask(p, "mesg", SKIP SKIP "PRIV=%s\nTEXT=%s\nATTR=3\n");
    probe_turn(p, 1 - from);
    probe_await(p, "+msg");
}

static void probe_race(struct probe *p)
{
    static const char tags[] = SKIP SKIP "PERS=%s\nHOST=1\n";
    probe_turn(p, 1);
    probe_lobby(p);
    probe_login(p);
    if (!p->fault)
        probe_persona(p);
    probe_word(p, 0, "w893m_a017l_g");
    probe_word(p, 1, "ACPT");
    probe_ask(p, "chal", tags);
    probe_turn(p, 1);
    probe_ask(p, "chal", tags);
    probe_await(p, "+ses");
    probe_turn(p, 0);
    probe_await(p, "+ses");
    if (!p->fault)
        copy_text(p->says, sizeof p->says, p->player[1].persona);
}

/* Logs in once more: so the persona is not played any more and can be deleted, and the date of the login before
 * comes, which is the server's. */
static void delete_persona(struct probe *p)
{
    probe_login(p);
    if (!p->fault)
        (void)get_text(&p->got, tag_LAST, p->says, sizeof p->says);
    if (p->who->guest && p->who->persona[0])
        probe_ask(p, "dper", "PERS=%s\n");
}

/* Both take back what they have made, the accounts last: another server may not know how, and they stay there. */
static void probe_leave(struct probe *p)
{
    const char *fault = NULL;
    char says[sizeof p->says] = "";
    for (uint32_t i = 2; i-- > 0;) {
        probe_turn(p, i);
        p->fault = NULL;
        if (p->l->fd >= 0 && p->who->persona[0])
            delete_persona(p);
        if (fault && !p->fault)
            continue;
        fault = p->fault;
        copy_text(says, sizeof says, p->says);
    }
    p->until_ms = system_mono_ms(NULL) + (uint64_t)p->wait_s * 1000;
    for (uint32_t i = 2; i-- > 0;) {
        probe_turn(p, i);
        p->fault = NULL;
        copy_text(p->line, sizeof p->line, p->who->name);
        if (p->who->stays && p->l->fd >= 0) {
            probe_ask(p, "dacc", SKIP SKIP SKIP "NAME=%s\n");
            p->who->stays = p->fault != NULL;
        }
        link_close(p->l);
    }
    p->fault = fault;
    copy_text(p->says, sizeof p->says, says);
    write_date(p->line, system_wall_s(NULL) - PROBE_CLOCK_S);
    bool behind = strcmp(p->says, p->line) < 0;
    write_date(p->line, system_wall_s(NULL) + PROBE_CLOCK_S);
    if (!p->fault && p->says[0] == '2' && (behind || strcmp(p->says, p->line) > 0))
        probe_fail(p, "clock");
}

/* What is done, in this order: probe_x() for each. Before `login` the server is down if it fails; up to `persona` that
 * goes by the fault; else it is degraded. */
#define PROBE_STEPS(X) X(name) X(directory) X(lobby) X(login) X(persona) X(room) X(chat) X(buddy) X(race) X(leave)

static const char probe_names[] =
#define X(name) #name "\n"
    PROBE_STEPS(X);
#undef X

enum probe_step {
#define X(name) PROBE_##name,
    PROBE_STEPS(X) PROBE_COUNT
#undef X
};

static void probe_take(struct probe *p, enum probe_step step)
{
    switch (step) {
#define X(name) \
    case PROBE_##name: probe_##name(p); break;
        PROBE_STEPS(X)
#undef X
    case PROBE_COUNT: break;
    }
}

/* Prints how a step went: a line of text, or one of an array of JSON. */
static void probe_report(const struct probe *p, const char *name, unsigned ms)
{
    const char *fault = p->fault ? p->fault : "\t\t\n";
    int n = (int)strcspn(name, "\n"), m = (int)strcspn(fault, "\t");
    const char *advice = fault + m + 2;
    print_as(OUT,
             p->json ? "%s{\"step\":\"%.*s\",\"ms\":%u,\"fault\":\"%.*s\"%.0s,\"says\":" : "%.0s%-10.*s%5u ms  %.*s%s",
             name == probe_names ? "" : ",", n, name, ms, m, fault, m ? ": " : "");
    if (p->json)
        print_json_text(p->says);
    else
        (void)show(OUT, p->says);
    print_as(OUT,
             p->json ? "%.0s,\"advice\":\"%.*s\"}"
             : m     ? "\n%20s%.*s\n"
                     : "%s\n",
             "", (int)strcspn(advice, "\n"), advice);
    (void)print_rest(OUT);
}

/* Prints what came of all, and which accounts stay there. */
static void probe_sum(const struct probe *p)
{
    static const char states[][9] = {"well", "degraded", "down"};
    print_as(OUT, p->json ? "],\"status\":\"%s\",\"left\":[" : "The server is %s.\n", states[p->status]);
    for (const struct probe_player *who = p->player; who < p->player + 2; who++)
        if (who->stays)
            print_as(OUT, p->json ? "%s\"%s\"" : "%sThe account %s stays there for the next probe.\n",
                     p->json && who > p->player && p->player->stays ? "," : "", who->name);
    if (p->json)
        print(OUT, "]}\n");
}

/* Strangers have the same two accounts each time on one machine, as some servers cannot delete one. */
static void name_strangers(struct probe *p)
{
    struct probe_player *a = p->player;
    uint8_t id[32] = {0};
    p->port = PROBE_PORT;
    p->wait_s = PROBE_WAIT_S;
    int file = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    if (read(file, id, sizeof id) > 0)
        (void)close(file);
    sha256(id, sizeof id, id);
    copy_text(a->name, sizeof a->name, "probe-");
    write_hex(a->name + 6, id, 3);
    write_hex(a->password, id + 8, 8);
    a->stranger = true;
    a[1] = a[0];
    a[1].name[11] = 'x';
}

/* Acts as a console. Returns the exit status. */
static int probe_run(struct probe *p)
{
    const char *name = probe_names;
    p->got.payload = p->in + HEADER_BYTES;
    p->link[0].fd = p->link[1].fd = -1;
    if (p->json)
        print_as(OUT, "{\"host\":\"%s\",\"port\":%u,\"steps\":[", p->host, (unsigned)p->port);
    for (uint32_t i = 0; i < PROBE_COUNT; i++, name = strchr(name, '\n') + 1) {
        if (i == PROBE_leave ? p->link[1].fd < 0 && (p->link[0].fd < 0 || !p->player->persona[0])
                             : p->status || (i == PROBE_race && !p->full))
            continue;
        uint64_t began_ms = system_mono_ms(NULL);
        p->until_ms = began_ms + ((uint64_t)p->wait_s * 1000 << (i >= PROBE_race)); /* these have two logins */
        p->fault = NULL;
        p->says[0] = 0;
        probe_turn(p, 0);
        probe_take(p, i);
        if (p->fault && p->status < 2)
            p->status = i < PROBE_login || (strchr(p->fault, '\t')[1] == '2' && i <= PROBE_persona) ? 2 : 1;
        probe_report(p, name, (unsigned)(system_mono_ms(NULL) - began_ms));
    }
    probe_sum(p);
    return p->status;
}

/* Reads what was typed; false if it is not understood. */
static bool probe_typed(struct probe *p, char **arguments)
{
    bool good = true;
    for (; *arguments && good; arguments++) {
        char *word = *arguments, *port = strchr(word, ':');
        int option = word_index("--full --json --account --wait", word);
        if (option >= 2 && !*++arguments)
            return false;
        if (option == 0) {
            p->full = true;
        } else if (option == 1) {
            p->json = true;
        } else if (option == 2) {
            good = valid_name(*arguments, ACCOUNT_CHARS);
            copy_text(p->player->name, sizeof p->player->name, *arguments);
            p->player->stranger = false;
        } else if (option == 3) {
            good = parse_number(*arguments, 1, 60, &p->wait_s);
        } else {
            if (port)
                *port++ = 0;
            good = !p->host && (parse_address(word, &p->address) || valid_host(word)) &&
                   (!port || parse_number(port, 1, UINT16_MAX, &p->port));
            p->host = word;
        }
    }
    return good && p->host;
}

/* Returns the exit status: 0 all is well, 1 degraded, 2 down, 3 nothing was tried. */
static int probe(char **arguments)
{
    struct probe *p = reserve(sizeof *p);
    const char *expected = PROBE_USAGE;
    bool good = false;
    int status = 3;
    if (p) {
        name_strangers(p);
        good = probe_typed(p, arguments);
        if (good && !p->player->stranger) {
            expected = "a password on standard input, as text";
            good = ask_secret("Password: ", p->player->password, sizeof p->player->password);
        }
        if (good)
            status = probe_run(p);
        wipe(p->player, sizeof p->player);
        release(p, sizeof *p);
    }
    if (!good)
        (void)complain("", "probe", "expected %s", expected);
    return status;
}

/* ---- Replay -------------------------------------------------------------- */

/* Takes one step, and adds all that it put out to the hash. */
static void replay_step(struct nascar *state, const struct nascar_event *e, struct output_hash *hash)
{
    struct nascar_log log;
    struct nascar_record record;
    struct nascar_hash_job job;
    struct nascar_datagram datagram;
    hash_written(hash, state, e);
    (void)nascar_step(state, e);
    if (nascar_next_datagram(state, &datagram))
        hash_bytes(&hash->written, datagram.bytes, datagram.size);
    while (nascar_next_log(state, &log))
        hash_bytes(&hash->log, log.text, strlen(log.text));
    while (nascar_next_record(state, &record))
        hash_record(hash, record.bytes, record.size);
    while (nascar_next_hash_job(state, &job))
        continue; /* its verdict is in the recording */
}

/* What should hold in this state and does not, or NULL. That is 14 KiB, which the Makefile's
 * release does without (-DNASCAR_NO_CHECK): it compares what is put out, and no more. */
static const char *replay_check(const struct nascar *state)
{
#ifdef NASCAR_NO_CHECK
    (void)state;
    return NULL;
#else
    return nascar_check(state);
#endif
}

/* Runs a recording again. Returns NULL if each checkpoint was met and what should hold
 * held there, else what broke. */
static const char *replay_bytes(const uint8_t *bytes, size_t size, unsigned long *events, unsigned long *checkpoints)
{
    struct nascar_limits limits = NASCAR_LIMITS_DEFAULT;
    struct script script;
    struct nascar_event e;
    struct output_hash hash = {0, 0, 0};
    bool checkpoint = false;
    const char *broken = NULL;
    script_open(&script, bytes, size, &limits);
    size_t arena_bytes = nascar_arena_size(&limits);
    void *arena = arena_bytes ? reserve(arena_bytes) : NULL;
    struct nascar *state = nascar_init(arena, arena_bytes, &limits);
    if (!state)
        return "its limits are none that a server can have, or there is no memory for them";
    state->replays = true;
    while (!broken && script_next(&script, &e, &checkpoint)) {
        if (!checkpoint) {
            replay_step(state, &e, &hash);
            ++*events;
            continue;
        }
        ++*checkpoints;
        broken = load_be64(e.bytes) == output_hash_value(&hash) ? replay_check(state)
                                                                : "the output differs from the recorded one";
    }
    if (!broken)
        broken = replay_check(state);
    (void)munmap(arena, arena_bytes);
    return broken;
}

/* Returns the exit status: 0 if it ran as recorded, 1 if not. */
static int replay(const char *path)
{
    unsigned long events = 0, checkpoints = 0;
    struct buffer file;
    if (!read_file(path, &file))
        return 1;
    bool recorded = file.size >= sizeof script_magic && memcmp(file.bytes, script_magic, 3) == 0;
    const char *broken = replay_bytes(file.bytes, file.size, &events, &checkpoints);
    release(file.bytes, file.room);
    if (!recorded || (!broken && checkpoints == 0)) {
        (void)complain("", path, "%s: there is nothing to compare with",
                       recorded ? "it ends before its first checkpoint" : "this is no recording");
        return 1;
    }
    if (broken) {
        (void)complain("", path, "after %lu events: %s", events, broken);
        return 1;
    }
    print_as(OUT, "replay: %lu events, %lu checkpoints, all as recorded\n", events, checkpoints);
    return 0;
}

/* ---- Is the configuration good? -------------------------------------------- */

/* Does an interface of this machine have the address now? True if that cannot be found out. */
static bool has_address(uint32_t address)
{
    struct ifreq list[64];
    memset(list, 0, sizeof list);
    struct ifconf all = {.ifc_len = sizeof list, .ifc_req = list};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool found = address == 0 || address >> 24 == 127 || fd < 0 || ioctl(fd, SIOCGIFCONF, &all) != 0 ||
                 all.ifc_len + (int)sizeof list[0] > (int)sizeof list;
    for (int i = 0; !found && i < all.ifc_len / (int)sizeof list[0]; i++) {
        struct sockaddr_in of;
        memcpy(&of, &list[i].ifr_addr, sizeof of);
        found = ntohl(of.sin_addr.s_addr) == address;
    }
    if (fd >= 0)
        (void)close(fd);
    return found;
}

/* Are the folders there in which the server is to make something, and nothing else in its place? */
static void check_places(struct options *o)
{
    static const char keys[][9] = {"data", "log-file", "record", "chroot"};
    const char *const paths[] = {o->data, o->log_file, o->record_file, o->chroot};
    char path[LINE_CHARS + 16];
    struct stat about;
    for (size_t i = 0; i < 4; i++) {
        if (i == 3)
            copy_text(path, sizeof path, paths[i]);
        else
            folder_of(paths[i], path);
        if (paths[i][0] && (stat(path, &about) != 0 || !S_ISDIR(about.st_mode)))
            (void)fault(o, place_of(o, keys[i]), keys[i], "%s: there is no folder '%s'", paths[i], path);
        else if (i == 1 && paths[i][0] && stat(paths[i], &about) == 0 && S_ISDIR(about.st_mode))
            (void)fault(o, place_of(o, keys[i]), keys[i], "%s: expected a file, and this is a folder", paths[i]);
    }
    for (size_t i = 0; o->record_file[0] && i < 3; i++) {
        (void)write_as(path, sizeof path, "%s%s", o->record_file, recording_ends[i]);
        const char *what = no_recording(AT_FDCWD, path);
        if (what)
            (void)fault(o, place_of(o, "record"), "record", "%s: %s", o->record_file, what);
    }
}

/* Says all that is wrong with the configuration with which a server would start. It changes nothing, and opens
 * nothing but the files that are read. */
static int check_config(char **arguments)
{
    struct options *o = reserve(sizeof *o);
    if (!o) {
        (void)complain("", "", "no memory for the options");
        return 1;
    }
    bool good = read_options(o, arguments);
    check_places(o);
    good = good && o->faults == 0;
    if (!has_address(o->bind_address)) /* it may have it at the start */
        (void)complain(place_of(o, "bind"), "bind", "no interface of this machine has that address now");
    if (good)
        print_as(OUT, "The configuration is good.\n");
    release(o, sizeof *o);
    return good ? 0 : 2;
}

/* Takes a word that has no value out of the arguments; false if it is not there. */
static bool take_word(char **arguments, const char *word)
{
    char **to = arguments;
    for (char **from = arguments; *from; from++)
        if (strcmp(*from, word) != 0)
            *to++ = *from;
    bool taken = *to != NULL;
    *to = NULL;
    return taken;
}

/* Whoever has asked for output gets it, or an error: a backup by `dump` must not be
 * half a one without a word. */
static int printed(int status)
{
    bool good = !OUT->failed;
    errno = 0;
    if (print_rest(OUT) && good)
        return status;
    (void)complain("", "", "standard output cannot be written: %s",
                   errno ? why(errno) : "is its disk full, or is nobody there to read it?");
    return 1;
}

/* Takes the first three streams, if any of them is closed: else the next file that is
 * opened would be one of them, and get what is said there. Each is the wrong end of a
 * pipe, so that using it fails as it would if it were closed; a pipe needs no /dev. */
static bool take_streams(void)
{
    bool closed[3], any = false, good = true;
    int ends[2], away[2];
    for (int fd = 0; fd < 3; fd++) {
        closed[fd] = fcntl(fd, F_GETFD) < 0;
        any = any || closed[fd];
    }
    if (!any)
        return true;
    if (pipe(ends) != 0)
        return false;
    for (int i = 0; i < 2; i++) {
        away[i] = fcntl(ends[i], F_DUPFD, 3);
        if (away[i] < 0 && errno == EINVAL) /* the limit of open files is 3 */
            errno = EMFILE;
        good = good && away[i] >= 0;
    }
    for (int fd = 0; fd < 3 && good; fd++)
        good = !closed[fd] || dup2(fd == STDIN_FILENO ? away[1] : away[0], fd) == fd;
    for (int i = 0; i < 2; i++) {
        if (ends[i] > 2)
            (void)close(ends[i]);
        if (away[i] > 2)
            (void)close(away[i]);
    }
    return good;
}

int main(int argc, char **argv)
{
    (void)argc;
    if (!take_streams()) {
        (void)complain("", "", "standard input, output or error is closed, and cannot be taken: %s", why(errno));
        return 1;
    }
    char **arguments = argv + (argv[0] != NULL);
    if (*arguments && strcmp(*arguments, "ctl") == 0)
        return printed(control(arguments + 1));
    for (char **a = arguments; *a; a++) {
        if (strcmp(*a, "--help") == 0) {
            print_help();
            return printed(0);
        }
        if (strcmp(*a, "--version") == 0) {
            print_as(OUT, "nascar_server %s\n", NASCAR_VERSION);
            return printed(0);
        }
    }
    if (*arguments && strcmp(*arguments, "replay") == 0) {
        if (arguments[1] && !arguments[2])
            return printed(replay(arguments[1]));
        (void)complain("", "replay", "expected one file");
        return 2;
    }
    if (*arguments && strcmp(*arguments, "dump") == 0) {
        if (!arguments[1] || (!arguments[2] && strncmp(arguments[1], "-", 1) != 0))
            return printed(dump(arguments[1] ? arguments[1] : DATA_FOLDER));
        (void)complain("", "dump", "expected one folder");
        return 2;
    }
    if (*arguments && strcmp(*arguments, "probe") == 0)
        return printed(probe(arguments + 1));
    if (*arguments && strcmp(*arguments, "serve") == 0)
        arguments++;
    if (take_word(arguments, "--check-config"))
        return printed(check_config(arguments));
    return serve(arguments);
}

#endif /* NASCAR_NO_SHELL */
