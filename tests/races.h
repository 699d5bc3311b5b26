/* Two who race, and what comes of it, for the suites of results and leaderboards
 * (PROTOCOL 5): Ann, Bob and Cid, a race and its ticket, a report of it, and the
 * figures that the profile shows.
 *
 * SPDX-License-Identifier: MIT */
#ifndef RACES_H
#define RACES_H

#include "clients.h"

extern struct raw *ann, *bob, *cid; /* Ann hosts against Bob, Cid is nobody */

void take_places(const char *room);
/* Everybody's links are lost; whoever played logs in again. */
void come_back(void);

/* ---- Races and reports -------------------------------------------------- */

/* A race of two who are free; returns its ticket. */
const char *race(struct raw *challenger, struct raw *target, bool target_hosts);
/* Both are back in the lobby, without a word about the race. */
void back(struct raw *one, struct raw *two);
/* What the game sends, the host first over the line; `tags` come before and
 * thus count (PROTOCOL 2: the first match wins). */
const struct got *report(struct raw *r, const char *auth, const char *tags);

/* ---- Figures ------------------------------------------------------------ */

enum { RACES, WINS, LOSSES, DISCONNECTS, RATING, LED, BEST, FIGURES };

const char *hex_of(const int32_t figures[FIGURES]);
/* As the profile tells them: 21 longs, of which the first seven mean something. */
void figures_of(struct raw *asker, const char *name, int32_t out[FIGURES]);
/* Fails unless the profile tells exactly these, or nothing at all. */
void check_figures(const char *name, int32_t races, int32_t wins, int32_t losses, int32_t disconnects, int32_t rating,
                   int32_t led, int32_t best);
void has_not_raced(const char *name);

#endif
