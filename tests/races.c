/* Two who race; races.h says what each word is for.
 *
 * SPDX-License-Identifier: MIT */
#include "races.h"

struct raw *ann, *bob, *cid;

void take_places(const char *room)
{
    ann = player(w, "Ann", room);
    bob = player(w, "Bob", room);
    cid = player(w, "Cid", room);
    forget_all();
}

void come_back(void)
{
    kept_restart(w);
    take_places("");
}

/* ---- Races and reports -------------------------------------------------- */

const char *race(struct raw *challenger, struct raw *target, bool target_hosts)
{
    const struct got *one = NULL, *two = NULL;
    char *auth = page();
    forget_all();
    start_race(challenger, target, target_hosts);
    ck_assert_uint_eq(frames_of(challenger, "+ses", &one), 1);
    ck_assert_uint_eq(frames_of(target, "+ses", &two), 1);
    ck_assert_str_eq(got_text(one, "HOST"), target_hosts ? target->name : challenger->name);
    ck_assert_str_eq(got_raw(one, "AUTH"), got_raw(two, "AUTH"));
    (void)snprintf(auth, 80, "%s", got_raw(one, "AUTH"));
    ck_assert_uint_ge(strlen(auth), 16); /* 64 bits at least */
    forget_all();
    return auth;
}

void back(struct raw *one, struct raw *two)
{
    SUCCEEDS(raw_ask(one, "chal", "PERS=*\n"));
    SUCCEEDS(raw_ask(two, "chal", "PERS=*\n"));
    forget_all();
}

const struct got *report(struct raw *r, const char *auth, const char *tags)
{
    char payload[1024];
    (void)snprintf(payload, sizeof payload,
                   "AUTH=%s\n%sWHEN=1767225600\nNAME0=Ann\nNAME1=Bob\nSTARTPOS0=1\nSTARTPOS1=2\n"
                   "FINISPOS0=1\nFINISPOS1=2\nLAPSCOMP0=10\nLAPSCOMP1=10\nLAPSLED0=7\nLAPSLED1=3\n"
                   "DISCTIME0=0\nDISCTIME1=0\nDISQTIME0=-1\nDISQTIME1=0\nRACETIME=300000\nSET_TRACKID=4\n"
                   "SET_NUMAI=10\nSET_RACELEN=10\n",
                   auth, tags);
    return raw_ask(r, "rank", payload);
}

/* ---- Figures ------------------------------------------------------------ */

const char *hex_of(const int32_t figures[FIGURES])
{
    char *text = page();
    for (int i = 0; i < FIGURES; i++)
        (void)snprintf(text + strlen(text), 16, "%s%lx", i == 0 ? "" : ",", (unsigned long)figures[i]);
    return text;
}

void figures_of(struct raw *asker, const char *name, int32_t out[FIGURES])
{
    char payload[64];
    int32_t longs[21], info[2];
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
    const struct got *g = raw_ask(asker, "user", payload);
    SUCCEEDS(g);
    ck_assert_uint_eq(console_read_longs(console_find(got_payload(g), "STAT"), longs, 21), 21);
    ck_assert_uint_eq(console_read_longs(console_find(got_payload(g), "INFO"), info, 2), 2);
    for (int i = FIGURES; i < 21; i++)
        ck_assert_int_eq(longs[i], 0);
    memcpy(out, longs, FIGURES * sizeof out[0]);
}

void check_figures(const char *name, int32_t races, int32_t wins, int32_t losses, int32_t disconnects, int32_t rating,
                   int32_t led, int32_t best)
{
    const int32_t wanted[FIGURES] = {races, wins, losses, disconnects, rating, led, best};
    int32_t is[FIGURES];
    figures_of(cid, name, is);
    ck_assert_msg(memcmp(wanted, is, sizeof is) == 0, "%s has %s, not %s", name, hex_of(is), hex_of(wanted));
}

void has_not_raced(const char *name)
{
    int32_t is[FIGURES];
    char payload[64];
    figures_of(cid, name, is);
    for (int i = 0; i < FIGURES; i++)
        ck_assert(i == RATING || is[i] == 0);
    ck_assert(is[RATING] == 0 || is[RATING] == 1500);
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
    ck_assert_int_eq(got_number(raw_ask(cid, "user", payload), "RANK"), 0);
    (void)snprintf(payload, sizeof payload, "FIND=%s\n", name);
    ck_assert_int_eq(got_number(raw_ask(cid, "snap", payload), "SEQN"), 0);
}
