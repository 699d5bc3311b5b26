/* What the cases of the durable test share: secrets that no file may hold, other
 * programs, the journal as it reads without the server, players, and a busy run
 * of which everything that was acknowledged must be there afterwards.
 *
 * SPDX-License-Identifier: MIT */
#ifndef DURABLE_H
#define DURABLE_H

#include "server.h"

extern uint64_t dice;

uint32_t chance(uint32_t below);

/* Options for many players from one address who are in a hurry. */
#define CROWD \
    CHEAP, "--rate", "0", "--per-address", "10000", "--logins-per-address", "1000000", "--accounts-per-address", \
        "1000000", "--accounts", "register"

/* The journal of the case, and where it is written anew. */
extern char journal_path[160], fresh_path[160];

/* ---- Secrets ------------------------------------------------------------ */

/* Everything that no file may hold: passwords, their hex, and what was sent in
 * their place. */
#define PREFIX_BYTES 4u

extern size_t secret_count, secret_room, secret_bucket[65536], sent_scanned;
extern size_t scanned_files, scanned_bytes;

void add_secret(const char *text, size_t size);
const char *password(const char *text);
/* An unusual password that goes with this name; the next of a few buffers. */
const char *password_of(const char *name);
const char *secret_in(const char *bytes, size_t size);
/* Every file of the case, and the servers' standard error. */
void no_secret_is_kept(void);

/* ---- Running other programs --------------------------------------------- */

/* What a run of the binary left: valid until the next run. */
struct finished {
    int status; /* -1: a signal ended it */
    char *out, *err;
};

const struct finished *run_binary(const char *const *extra, const char *input);

#define BINARY(...) run_binary((const char *const[]){__VA_ARGS__, NULL}, NULL)
#define BINARY_READS(input, ...) run_binary((const char *const[]){__VA_ARGS__, NULL}, input)

/* ---- The journal, read without the server ------------------------------- */

struct kept { /* one record */
    size_t at, batch;
    char kind[5], name[20], pers[20], user[20], list[4], personas[60], body[80];
};

struct batch {
    size_t at, size;
    size_t records; /* of this one and all before it */
    uint64_t number;
};

struct journal {
    uint8_t *bytes;
    size_t size, good; /* good: header and whole batches */
    size_t header_size;
    struct batch *batch;
    size_t batches, batch_room;
    struct kept *record;
    size_t records, record_room;
};

void put_word(uint8_t *at, uint32_t word);
/* Over all of a frame but the code word itself. */
uint32_t frame_sum(const uint8_t *frame, size_t size);
/* Takes a journal apart as far as it is good. */
void journal_parse(struct journal *j);
void read_whole(const char *path, uint8_t **bytes, size_t *size);
void journal_load(struct journal *j, const char *data);
size_t journal_bytes(const char *data);
void put_file(const char *data, const char *name, const uint8_t *bytes, size_t size);
/* What stands in it, the latest first. */
const struct kept *find_record(const struct journal *j, const char *kind, const char *name, const char *pers,
                               const char *user, const char *body);

/* One start of the server on a folder. */
struct attempt {
    bool ready;
    int status;       /* if it is not */
    const char *said; /* on standard error */
};

extern FILE *attempt_log;
extern pid_t attempt_pid;
extern uint16_t attempt_port;

/* It runs when this returns with `ready`; then end_attempt(). */
struct attempt attempt(const char *data);
void end_attempt(void);
/* Whether this number stands in the text by itself. */
bool has_number(const char *text, size_t number);
size_t lines_of(const char *text);
/* The line after this one. */
const char *next_line(const char *line);

/* ---- Players ------------------------------------------------------------ */

/* A seat at the main menu again, with nothing left of who sat there. */
void clear_seat(struct seat *seat);
/* The server dies, and what it had said is read to the end. */
void kill_server(struct server *s);
uint32_t replies(const struct console *c, const char *kind);
uint32_t code_of(const struct console *c, const char *kind);
/* Both halves of its roster have come. */
bool has_roster(const struct console *c);
/* A player who logs in with the password that goes with the name. */
struct console *visit(struct seat *seat, const char *name);
struct seat *visitor(const struct server *s, const char *name);
void leave(struct seat *seat);
/* Asks and waits for the answer: its code; -1: none came. */
int64_t ask(int fd, const char *kind, const char *request, char payload[CONSOLE_FRAME_BYTES]);

#define IMST 0x696D7374 /* no such account */
#define PASS 0x70617373 /* wrong password */
#define SESS 0x73657373
#define NO_USER 0x75736572

/* One request with a name and a password on a lobby link of its own, which is
 * left open in *link if that is not NULL. */
int64_t present(const struct server *s, const char *kind, const char *name, const char *text, int *link);
/* The code of the answer; -1: there was none. */
int64_t sign_up(const struct server *s, const char *name);
int64_t log_in(const struct server *s, const char *name);

/* ---- Races, boards, tickets --------------------------------------------- */

void race(struct console *a, struct console *b);
void report(struct console *c, int32_t winner, uint32_t code);
/* One has beaten the other, once. */
void check_board(struct console *c, const char *winner, const char *loser);
/* The buddy service takes a ticket; the code of its answer. */
int64_t show_ticket(const struct server *s, const char *name, const char *ticket);

/* ---- A busy run: what it was told --------------------------------------- */

enum known { NO, MAYBE, YES }; /* MAYBE: asked for, and the server died before it answered */

#define LIVES 600
#define EDGES 4
#define LETTERS 1500
#define OPERATIONS 4

struct edge { /* one list of one roster */
    size_t whom;
    char list; /* B or I */
    enum known there;
};

/* Somebody who signs up, changes the roster, writes, and leaves. */
struct life {
    char name[13]; /* of account and persona */
    enum known account, persona;
    bool over;
    struct edge edge[EDGES];
    size_t edges;
};

struct letter {
    size_t from, to;
    enum known sent;
    char body[48];
};

extern struct life lives[LIVES];
extern size_t life_count;
extern struct letter letters[LETTERS];

/* Who is living at a seat. */
struct writer {
    struct seat *seat;
    size_t life;   /* LIFE_NONE: nobody */
    unsigned done; /* operations */
    struct edge *changing[2];
    struct letter *writing;
    const char *kind; /* of the operation under way; NULL: none */
    uint32_t wanted;  /* so many replies of that kind end it */
};

#define LIFE_NONE SIZE_MAX
#define WRITERS 16

extern struct writer writers[WRITERS];
extern size_t writer_count;
extern size_t acknowledged; /* changes, in all */

/* Takes note of what the server has acknowledged. */
void observe(struct writer *w);
/* Lets the writers live until all lives are over, or so much is acknowledged.
 * Returns whether they are over. */
bool live_until(size_t enough);
void begin_run(const struct server *s, size_t accounts, size_t at_once);

/* ---- A busy run: what the journal says ---------------------------------- */

/* After a kill: nobody is there any more, and what was asked for is or is not. */
void settle_lives(const struct server *s);

/* ---- A busy run: what the players find ---------------------------------- */

size_t letters_to(size_t life);
/* Those at [first, last) log in with their passwords and look at what they
 * have. `letters_due`: whether their messages come now. */
void find_all(size_t first, size_t last, bool letters_due);

#endif
