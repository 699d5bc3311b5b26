/* People, for the suites of the buddy service (PROTOCOL 9): somebody has an
 * account, a persona, a lobby connection and a buddy link, of which any may be
 * missing, and may be asked for a roster, a presence, a letter.
 *
 * SPDX-License-Identifier: MIT */
#ifndef PEOPLE_H
#define PEOPLE_H

#include "clients.h"

#define DAY_S 86400
#define ROSTER_SIZE 25 /* PROTOCOL 9 */
#define KEPT_LETTERS 50

/* Somebody, with up to two links. */
struct person {
    char name[16], account[20], ticket[40];
    struct raw *lobby, *buddy;
};

extern struct person people[64]; /* in the order in which they came */

/* For open_world() and reopen(): a world with nobody in it. */
void open_people(void);
void reopen_people(const struct world_options *options);
/* All links are lost, or the server is, and starts again (kept_restart()). */
void no_links(void);
void restart(void);
/* The world's date. */
long long now_s(void);

/* `pers`, and what a console says next. */
void put_on(struct person *p);
void enter(struct person *p);
/* Opens the buddy link, with the ticket of the last `pers`. */
void link_up(struct person *p);
/* Somebody who exists and is not there. */
struct person *person(const char *name);
/* ... who is in the lobby only. */
struct person *player_only(const char *name);
/* ... with both links. */
struct person *linked(const char *name);
void leave_lobby(struct person *p);
void link_down(struct person *p);
/* Three more personas for an account, so that many need few accounts. */
void crowd(const char *prefix, int count);

/* ---- Rosters ------------------------------------------------------------ */

/* Puts somebody on a list of a person who is linked; what follows is forgotten. */
void put_on_list(struct person *p, const char *list, const char *user);
void take_off_list(struct person *p, const char *list, const char *user);
/* Both rosters in one segment, as the game asks [cap]. */
void ask_rosters(struct person *p);

#define GET_B "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n"
#define GET_I "LRSC=cso\nLIST=I\nPRES=Y\nID=2\n"

/* Both rosters as they are now. */
#define HAS(p, buddies, ignored) \
    do { \
        ask_rosters(p); \
        ck_assert_str_eq(rows_of((p)->buddy, 1), buddies); \
        ck_assert_str_eq(rows_of((p)->buddy, 2), ignored); \
    } while (0)

/* ---- Presence ----------------------------------------------------------- */

void set_presence(struct person *p, const char *show);
/* All PGET pushes since raw_forget(), in order: "Bob=CHAT Cid=AWAY". */
const char *sees(struct raw *r);
/* What the last PGET of that player shows; "" if none came. */
const char *shown(struct raw *r, const char *name);

#define GAME_STAT "\"en%3d%22is playing NASCAR Thunder%25e2%2584%25a2 2004%22%0aP%3dmad4%0a\""
#define GAME_PROD "\"is online\""

/* The whole PGET of Bob, who said what the game says. */
#define SAYS_GAME(g, show) SAYS(g, "SHOW=%s\nUSER=Bob\nPROD=%s\nSTAT=%s", show, GAME_PROD, GAME_STAT)

#define SEES(p, text) ck_assert_str_eq(sees((p)->buddy), text)

/* ---- Letters ------------------------------------------------------------ */

const struct got *letter(struct person *from, const char *to, const char *body, const char *secs);
void write_letter(struct person *from, const char *to, const char *body);
/* The bodies of all letters since raw_forget(), in order, with a space between. */
const char *letters(struct raw *r);

#define READS(p, text) ck_assert_str_eq(letters((p)->buddy), text)

/* ---- Races -------------------------------------------------------------- */

void hold_race(struct person *host, struct person *guest);

#endif
