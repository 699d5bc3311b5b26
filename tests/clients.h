/* What suites say with, and look at: the words for a client that says a frame
 * and reads what comes, for a player in a room, for two who challenge each
 * other, and for a player's link to the buddy service. They stand over world.h,
 * whose raw clients and consoles these are, and all of them are in one world,
 * `w`, which is there from open_world() to close_world(), a group's fixture.
 *
 * SPDX-License-Identifier: MIT */
#ifndef CLIENTS_H
#define CLIENTS_H

#include "suite.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The world ------------------------------------------------------------ */

extern struct world *w;

void open_world(void);
void close_world(void);                           /* fails the test if a console has been misled */
void reopen(const struct world_options *options); /* another world in its place */
void reopen_with(const char *config);             /* a small one with these lines */
/* One kept record more, as if it came from the journal. */
void keep(const char *kind, const char *payload);

/* ---- Frames since raw_forget() -------------------------------------------- */

/* The next of a few static buffers, empty; and the next of others, which SAYS()
 * does not touch. Each has 8192 bytes. */
char *lobby_text(void);
char *page(void);

/* Names, sorted, with a space between. */
const char *in_order(char (*names)[32], size_t count);

/* Their kinds, in order, with a space between. */
const char *kinds(struct raw *r);
#define GOT(r, list) ck_assert_str_eq(kinds(r), list)

const struct got *frame_at(struct raw *r, size_t index);
/* How many frames of a kind there are; the last one of them in `last`. */
size_t frames_of(struct raw *r, const char *kind, const struct got **last);

/* NULL if the frame has exactly these tags, in any order, with these values as
 * they stand on the wire; else what differs. Tags are lines `KEY=VALUE`; the
 * value `*` is any. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
const char *
differs(const struct got *g, const char *format, ...);

#define SAYS(g, ...) \
    do { \
        const char *says_wrong = differs(g, __VA_ARGS__); \
        ck_assert_msg(says_wrong == NULL, "%s", says_wrong); \
    } while (0)

/* Rows of the suites' tables: what is said, and what is taken or not. */
struct said {
    const char *kind, *payload;
};

struct trial {
    const char *text;
    bool good;
};

/* A reply that fails: the code's letters and STATUS (6). */
#define REFUSED(g, letters, status) \
    do { \
        const struct got *refused_got = (g); \
        ck_assert_str_eq(got_code(refused_got), letters); \
        ck_assert_int_eq(got_status(refused_got), status); \
    } while (0)

/* Refused, with whatever letters: for what PROTOCOL 6 gives none. */
#define DENIED(g) \
    do { \
        const struct got *denied_got = (g); \
        ck_assert_str_ne(got_code(denied_got), ""); \
        ck_assert_int_ne(got_status(denied_got), 1); \
    } while (0)

#define SUCCEEDS(g) REFUSED(g, "", 1)

#define CLOSED(r) ck_assert_msg(raw_closed(r), "line %d: it is open", __LINE__)
#define OPEN(r) ck_assert_msg(!raw_closed(r), "line %d: it is closed", __LINE__)

const char *dotted(uint32_t address);

/* The numbers of the hub and of the rooms that are always there (PROTOCOL 3.3). */
#define HUB_IDENT 0
#define EAST 1
#define WEST 2
#define BEGINNER 3

/* ---- Clients in the lobby -------------------------------------------------- */

/* Says something, without waiting for more than follows at once. */
void say(struct raw *r, const char *kind, const char *payload);
/* "TEXT=line 17\n", many in one go. */
void send_lines(struct raw *r, int first, int count);
/* Enters a room without a password. */
void go(struct raw *r, const char *room);
/* Logged in, no persona chosen. */
struct raw *member(const char *name, const char *password);
const struct got *ask_pers(struct raw *r, const char *persona);
/* In a room, or with "" in the hub; every list subscribed. */
struct raw *player(struct world *world, const char *name, const char *room);
/* Logged in, in the hub, and nothing subscribed. */
struct raw *deaf_player(const char *name);
void forget_all(void);
/* What is said of a room by the last +pop that names it; -1: none does. */
int32_t told_population(struct raw *r, int32_t ident);
/* The number that its persona goes by, I of +usr. */
int32_t ident_of(struct raw *r);

/* ---- Challenges (PROTOCOL 5) ------------------------------------------------ */

#define TOKEN "w893m_a017l_g"

/* One word to `to`, on its way; nothing else has happened yet. */
void send_word(struct raw *from, const char *to, const char *word);
/* The same, and what follows at once. */
void word(struct raw *from, const struct raw *to, const char *text);
void chal(struct raw *from, const char *to, int host);
/* A challenge of two who are free, accepted, and both are ready: their race begins. */
void start_race(struct raw *challenger, struct raw *target, bool target_hosts);

/* ---- The buddy service (PROTOCOL 9) ------------------------------------------ */

/* Enters the lobby anew, as that persona: LKEY, the ticket for the buddy service. */
const char *ticket_of(struct raw *r, const char *persona);
/* What AUTH says. */
const char *buddy_tags(const char *user, const char *ticket);
/* A persona's link; ip 0: an address of its own. */
struct raw *open_buddy(struct world *world, const char *persona, uint32_t ip, const char *ticket);
/* The link of a player in the hub, with a fresh ticket. The player's frames are forgotten. */
struct raw *buddy_of(struct raw *lobby);
/* RADD or RDEL of a roster, B or I. */
const struct got *change_list(struct raw *buddy, const char *kind, const char *list, const char *user);
/* AUTH on a connection of its own: "", or the code, which then is user/101. */
const char *buddy_code(const char *user, const char *ticket);
/* The names in the ROST of one ID, sorted, with a space between; and that SIZE
 * said so. */
const char *rows_of(struct raw *r, int id);
/* A list, its names in order and with a space between; and that it is told as
 * it should be: SIZE, and exactly so many ROST with the same ID behind it. */
const char *roster(struct raw *buddy, const char *list);
/* Puts `other` on the ignore list of a player in the hub, or takes it off. */
void set_ignored(struct raw *r, const char *other, bool ignored);

/* ---- The lists that a console would hold by now (PROTOCOL 3.3) --------------- */

#define VIEW_ROOMS 256
#define VIEW_USERS 128

struct view_room {
    int32_t ident, population, limit;
    uint32_t flags;
    char name[32];
};

struct view_user {
    int32_t ident;
    uint32_t flags;
    char name[32], extra[128];
};

struct view {
    int32_t room, population; /* where it is */
    int32_t hub;              /* the hub's count, as +pop ends with it for [spec]'s readers */
    size_t room_count, user_count;
    struct view_room rooms[VIEW_ROOMS];
    struct view_user users[VIEW_USERS];
};

struct view_room *view_room(struct view *v, int32_t ident);
struct view_user *view_user(struct view *v, const char *name);
/* The lists of a client that is in the hub. */
void view_start(struct view *v, struct raw *r);
/* Takes all frames of the client since the last time, which are forgotten. */
void view_update(struct view *v, struct raw *r);

#endif
