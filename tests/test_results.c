/* Results (PROTOCOL 5): who may report a race and what, which numbers are taken,
 * what counts, figures and ratings, and what a failing disk does to them.
 *
 * SPDX-License-Identifier: MIT */
#include "races.h"

#include <math.h>

#define DAY_S 86400

static double expectation(double own, double other)
{
    return 1.0 / (1.0 + pow(10.0, (other - own) / 400.0));
}

/* ---- Who may report ----------------------------------------------------- */

GROUP(who_may_report, open_world, close_world, 0);

/* The first report counts, also if it is still on its way to the disk when the other comes,
 * and if it asks for nothing to be counted. */
TEST_LOOP(who_may_report, two_reports_at_once_count_once, 0, 4)
{
    int32_t before[FIGURES], after[FIGURES];
    char payload[200];
    take_places("");
    const char *auth = race(ann, bob, false);
    figures_of(cid, "Ann", before);
    w->hold_records = true;
    for (int k = 0; k < 2; k++) {
        (void)snprintf(payload, sizeof payload, "AUTH=%s\nSET_RANKED=%d\nFINISPOS0=1\nFINISPOS1=2\n", auth,
                       (_i >> k & 1) == 0);
        say(k == 0 ? bob : ann, "rank", payload);
        world_settle(w);
    }
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    SUCCEEDS(raw_expect(bob, "rank"));
    SUCCEEDS(raw_expect(ann, "rank"));
    figures_of(cid, "Ann", after);
    ck_assert_int_eq(after[0] - before[0], (_i & 1) == 0); /* races */
}

TEST(who_may_report, a_report_that_was_not_kept_keeps_no_other_from_counting)
{
    char payload[200];
    take_places("");
    (void)snprintf(payload, sizeof payload, "AUTH=%s\nSET_RANKED=0\nFINISPOS0=1\nFINISPOS1=2\n", race(ann, bob, false));
    w->fail_records = true;
    ck_assert_int_ne(got_status(raw_ask(bob, "rank", payload)), 1);
    w->fail_records = false;
    SUCCEEDS(raw_ask(ann, "rank", payload));
    raw_forget(bob);
    SUCCEEDS(raw_ask(bob, "rank", payload));
}

TEST_LOOP(who_may_report, the_first_report_counts_at_once, 0, 4)
{
    take_places("");
    const char *auth = race(ann, bob, _i / 2 == 1);
    const struct got *g = report(_i % 2 == 0 ? ann : bob, auth, ""); /* suffix 0 is the host, whoever reports */
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "STATUS=1");
    check_figures(_i / 2 == 1 ? "Bob" : "Ann", 1, 1, 0, 0, 1516, 7, 1);
    check_figures(_i / 2 == 1 ? "Ann" : "Bob", 1, 0, 1, 0, 1484, 3, 2);
    SUCCEEDS(report(_i % 2 == 0 ? bob : ann, auth, ""));
    check_figures(_i / 2 == 1 ? "Bob" : "Ann", 1, 1, 0, 0, 1516, 7, 1); /* once */
    check_figures(_i / 2 == 1 ? "Ann" : "Bob", 1, 0, 1, 0, 1484, 3, 2);
}

TEST_LOOP(who_may_report, the_ticket_decides_who_raced_and_not_the_names, 0, 4)
{
    static const char *const names[] = {"NAME0=Bob\nNAME1=Ann\n", "NAME0=Cid\nNAME1=Cid\n", "NAME0=\nNAME1=\n",
                                        "NAME0=Nobody\nNAME1=%00\n"};
    take_places("");
    const char *auth = race(ann, bob, false);
    SUCCEEDS(report(bob, auth, names[_i]));
    check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
    check_figures("Bob", 1, 0, 1, 0, 1484, 3, 2);
    has_not_raced("Cid");
}

TEST_LOOP(who_may_report, each_racer_reports_once, 0, 2)
{
    take_places("");
    const char *auth = race(ann, bob, false);
    for (int racer = 0; racer < 2; racer++) {
        SUCCEEDS(report(racer == 0 ? ann : bob, auth, ""));
        for (int i = 0; i < 2; i++) {
            REFUSED(report(racer == 0 ? ann : bob, auth, ""), "sess", 101);
            REFUSED(report(ann, auth, "FINISPOS0=2\nFINISPOS1=1\n"), "sess", 101);
            if (_i == 1)
                come_back();
        }
    }
    check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
    check_figures("Bob", 1, 0, 1, 0, 1484, 3, 2);
}

TEST(who_may_report, nobody_else_reports)
{
    take_places("");
    char payload[128];
    const char *auth = race(ann, bob, false), *other = race(cid, player(w, "Dan", ""), false);
    REFUSED(report(cid, auth, ""), "sess", 101);
    REFUSED(report(ann, other, ""), "sess", 101);
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(ann, "pers", "PERS=Ace\n"));
    REFUSED(report(ann, auth, ""), "sess", 101); /* the account does not count, the persona does */
    struct raw *eve = raw_open(w, 0);
    (void)snprintf(payload, sizeof payload, "AUTH=%s\nFINISPOS0=1\nFINISPOS1=2\n", auth);
    REFUSED(raw_ask(eve, "rank", payload), "sess", 101);
    SUCCEEDS(raw_auth(eve, "Eve", "secret"));
    REFUSED(raw_ask(eve, "rank", payload), "sess", 101);
    has_not_raced("Ann");
    has_not_raced("Bob");
    SUCCEEDS(raw_ask(ann, "pers", "PERS=Ann\n"));
    SUCCEEDS(report(ann, auth, ""));
    check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
}

TEST(who_may_report, no_other_ticket_counts)
{
    char wrong[128], *longest = lobby_text();
    take_places("");
    const char *auth = race(ann, bob, false);
    for (size_t i = 0; i < strlen(auth); i++) {
        (void)snprintf(wrong, sizeof wrong, "%s", auth);
        wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
        REFUSED(report(ann, wrong, ""), "sess", 101);
    }
    (void)snprintf(wrong, sizeof wrong, "%s0", auth);
    REFUSED(report(ann, wrong, ""), "sess", 101);
    (void)snprintf(wrong, sizeof wrong, "%.*s", (int)strlen(auth) - 1, auth);
    REFUSED(report(ann, wrong, ""), "sess", 101);
    (void)snprintf(wrong, sizeof wrong, "$%s", auth);
    REFUSED(report(ann, wrong, ""), "sess", 101);
    memset(longest, 'a', 400);
    longest[400] = '\0';
    REFUSED(report(ann, longest, ""), "sess", 101);
    static const char *const others[] = {"", "0", "%00", "\"\""};
    for (int i = 0; i < COUNT(others); i++) {
        const struct got *g = report(ann, others[i], "");
        ck_assert_uint_ne(g->code, 0);
        ck_assert_int_ne(got_status(g), 1);
    }
    const struct got *g = raw_ask(ann, "rank", "FINISPOS0=1\nFINISPOS1=2\n");
    ck_assert_uint_ne(g->code, 0);
    has_not_raced("Ann");
    SUCCEEDS(report(ann, auth, ""));
}

TEST_LOOP(who_may_report, a_race_is_reported_after_new_logins_and_restarts, 0, 5)
{
    take_places("");
    char auth[80];
    (void)snprintf(auth, sizeof auth, "%s", race(ann, bob, false));
    switch (_i) {
    case 0: /* the lobby was left for 20 minutes */
        raw_close(ann);
        raw_close(bob);
        world_run(w, 20 * 60000);
        take_places("");
        break;
    case 1: /* the server went */ come_back(); break;
    case 2: /* twice, and one had reported */
        SUCCEEDS(report(ann, auth, ""));
        come_back();
        REFUSED(report(ann, auth, ""), "sess", 101);
        come_back();
        break;
    case 3: /* they log in elsewhere, the old links standing */ take_places(""); break;
    default: /* they have raced again meanwhile */
        back(ann, bob);
        SUCCEEDS(report(bob, race(bob, ann, false), ""));
        come_back();
        break;
    }
    if (_i != 2)
        SUCCEEDS(report(ann, auth, ""));
    SUCCEEDS(report(bob, auth, ""));
    REFUSED(report(ann, auth, ""), "sess", 101);
    REFUSED(report(bob, auth, ""), "sess", 101);
    if (_i != 4) {
        check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
        check_figures("Bob", 1, 0, 1, 0, 1484, 3, 2);
    } else {
        check_figures("Ann", 2, 1, 1, 0, 1501, 10, 1); /* 1484, then the higher one is beaten */
        check_figures("Bob", 2, 1, 1, 0, 1499, 10, 1);
    }
}

TEST_LOOP(who_may_report, a_ticket_is_good_for_24_hours, 0, 2)
{
    take_places("");
    char auth[80], other[80];
    (void)snprintf(auth, sizeof auth, "%s", race(ann, bob, false));
    back(ann, bob);
    (void)snprintf(other, sizeof other, "%s", race(ann, bob, false));
    world_pass(w, DAY_S - 5);
    if (_i == 1)
        come_back();
    SUCCEEDS(report(ann, auth, ""));
    world_run(w, 10000);
    if (_i == 1)
        come_back();
    REFUSED(report(bob, auth, ""), "sess", 101);
    REFUSED(report(ann, other, ""), "sess", 101);
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "race"), 0); /* nor is it kept for nothing */
    REFUSED(report(bob, other, ""), "sess", 101);
    check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
    check_figures("Bob", 1, 0, 1, 0, 1484, 3, 2);
}

/* Would a fresh journal have it? */
static bool find_open_race(const char *auth)
{
    struct nascar_cursor cursor = {0};
    struct nascar_record record;
    char text[NASCAR_RECORD_BYTES + 1] = "";
    while (nascar_next_kept(w->state, &cursor, &record)) {
        if (record.size == 0 || memcmp(record.bytes, "race", 4) != 0)
            continue;
        memcpy(text, record.bytes + CONSOLE_HEADER_BYTES, record.size - CONSOLE_HEADER_BYTES);
        if (strstr(text, auth[0] == '$' ? auth + 1 : auth))
            return true;
    }
    return false;
}

TEST(who_may_report, nobody_takes_the_place_of_all_open_races)
{
    char auth[40][80], older[80];
    world_free(w);
    struct world_options options = {.limits = {4, 64, 8, 8, 8, 8, 0}};
    w = world_new(&options);
    take_places("");
    struct raw *dan = player(w, "Dan", "");
    (void)snprintf(older, sizeof older, "%s", race(cid, dan, false));
    back(cid, dan);
    for (int i = 0; i < COUNT(auth); i++) { /* never reported: 32 of them stay open */
        world_run(w, 1000);
        (void)snprintf(auth[i], sizeof auth[0], "%s", race(i % 2 == 0 ? ann : bob, i % 2 == 0 ? bob : ann, false));
        back(ann, bob);
    }
    SUCCEEDS(report(cid, older, ""));
    for (int i = 0; i < COUNT(auth); i++) {
        const struct got *g = report(i % 3 == 0 ? ann : bob, auth[i], "");
        ck_assert_msg((g->code != 0) == (i < COUNT(auth) - 32), "race %d: %s", i, got_code(g));
    }
}

/* A table that is full most of the time, whose races run out one by one: a start, for which
 * no time passes, has the same as there was, from the journal and from a fresh one. */
TEST_LOOP(who_may_report, a_start_has_just_the_races_that_there_were, 0, 12)
{
    char auth[60][80];
    bool was_open[60];
    world_free(w);
    struct world_options options = {.limits = {4, 64, 8, 8, 8, 8, 3}, .seed = (uint64_t)_i + 1};
    w = world_new(&options);
    take_places("");
    size_t open = 0;
    for (int i = 0; i < COUNT(auth); i++) {
        world_pass(w, world_below(w, 3) == 0 ? world_below(w, 70) : world_below(w, 30000));
        (void)snprintf(auth[i], sizeof auth[0], "%s", race(ann, bob, false));
        back(ann, bob);
        if (_i % 3 == 2 && i == 30)
            kept_compact(w);
    }
    for (int i = 0; i < COUNT(auth); i++) {
        was_open[i] = find_open_race(auth[i]);
        open += was_open[i];
    }
    ck_assert_uint_ge(open, 1);
    ck_assert_uint_le(open, 3);
    if (_i % 2 == 1)
        kept_compact(w);
    world_restart(w);
    world_run(w, 1);
    for (int i = 0; i < COUNT(auth); i++)
        ck_assert_msg(find_open_race(auth[i]) == was_open[i], "race %d was %s", i, was_open[i] ? "open" : "dropped");
}

/* Of those of one second any 32, but the same after a start, also from a fresh journal. */
TEST(who_may_report, of_races_in_one_second_the_same_stay_open_after_a_start)
{
    char auth[40][80];
    size_t open = 0;
    take_places("");
    for (int i = 0; i < COUNT(auth); i++) {
        if (i == 20)
            kept_compact(w);
        (void)snprintf(auth[i], sizeof auth[0], "%s", race(ann, bob, false));
        back(ann, bob);
    }
    bool *is_open = calloc(COUNT(auth), sizeof *is_open);
    for (int i = 0; i < COUNT(auth); i++) {
        is_open[i] = find_open_race(auth[i]);
        open += is_open[i];
    }
    ck_assert_uint_eq(open, 32);
    world_restart(w);
    for (int i = 0; i < COUNT(auth); i++)
        ck_assert_msg(find_open_race(auth[i]) == is_open[i], "race %d was %s", i, is_open[i] ? "open" : "dropped");
    free(is_open);
}

/* Races 7, 12 and so on have been reported while later ones were open, and left their
 * places to the newest. */
static bool is_over(int number)
{
    return number >= 7 && number % 5 == 2;
}

/* The oldest is the one that began first, whatever its place in the table: a fresh
 * journal has them in the order of their places. */
TEST_LOOP(who_may_report, the_oldest_open_race_is_the_oldest_after_a_compaction_and_a_start, 0, 3)
{
    char auth[48][80];
    int open = 0, dropped = 0;
    take_places("");
    for (int i = 0; i < COUNT(auth); i++) {
        world_run(w, 2000);
        (void)snprintf(auth[i], sizeof auth[0], "%s", race(ann, bob, false));
        back(ann, bob);
        if (i >= 3 && is_over(i - 3)) {
            SUCCEEDS(report(ann, auth[i - 3], ""));
            SUCCEEDS(report(bob, auth[i - 3], ""));
        }
        if (i == 30 + 5 * _i) /* before there are too many, or when there are */
            come_back();
    }
    come_back();
    for (int i = 0; i < COUNT(auth); i++) {
        if (is_over(i) && i + 3 < COUNT(auth))
            continue;
        bool taken = report(ann, auth[i], "")->code == 0;
        ck_assert_msg(taken || open == 0, "race %d is dropped, and an older one is not", i);
        open += taken;
        dropped += !taken;
    }
    ck_assert_int_eq(open, 32);
    ck_assert_int_ge(dropped, 4);
}

TEST(who_may_report, a_full_table_of_open_races_heals)
{
    char auth[80] = "";
    world_free(w);
    struct world_options options = {.limits = {4, 64, 8, 8, 8, 8, 0}};
    w = world_new(&options);
    take_places("");
    struct raw *dan = player(w, "Dan", "");
    for (int i = 0; i < 100; i++) { /* reported ones take no room */
        (void)snprintf(auth, sizeof auth, "%s", race(ann, bob, false));
        SUCCEEDS(report(ann, auth, ""));
        SUCCEEDS(report(bob, auth, ""));
    }
    for (int i = 0; i < 40; i++) { /* others do, and in the end it is full: they still race */
        world_run(w, 1000);
        (void)race(ann, bob, false);
        (void)race(cid, dan, false);
        back(ann, bob);
        back(cid, dan);
    }
    world_pass(w, DAY_S + 5); /* until they run out */
    world_run(w, 61000);
    (void)snprintf(auth, sizeof auth, "%s", race(ann, bob, false));
    SUCCEEDS(report(ann, auth, ""));
    raw_close(dan);
    come_back();
    SUCCEEDS(report(bob, auth, ""));
}

/* Lines since `from` that say that the two have told different things. */
static size_t differences(size_t from)
{
    size_t count = 0;
    for (size_t i = from; i < w->log_count; i++) {
        count += strstr(w->log[i], "result_differs") != NULL && strstr(w->log[i], "Ann") != NULL &&
                 strstr(w->log[i], "Bob") != NULL;
    }
    return count;
}

TEST_LOOP(who_may_report, a_second_report_that_differs_is_logged, 0, 4)
{
    static const char *const others[] = {"FINISPOS0=2\nFINISPOS1=1\n", "DISCTIME0=5\n", "LAPSLED0=6\n"};
    take_places("");
    const char *auth = race(ann, bob, false);
    SUCCEEDS(report(ann, auth, ""));
    size_t before = w->log_count;
    SUCCEEDS(report(bob, auth, ""));
    ck_assert_uint_eq(differences(before), 0); /* the same: nothing to say */
    back(ann, bob);
    auth = race(ann, bob, false);
    SUCCEEDS(report(ann, auth, ""));
    int32_t first[FIGURES], then[FIGURES];
    figures_of(cid, "Ann", first);
    before = w->log_count;
    if (_i >= COUNT(others)) { /* what the first said is kept, too */
        char kept[80], same[80];
        (void)snprintf(kept, sizeof kept, "%s", auth);
        back(ann, bob);
        (void)snprintf(same, sizeof same, "%s", race(ann, bob, false));
        SUCCEEDS(report(ann, same, ""));
        come_back();
        before = w->log_count;
        SUCCEEDS(report(bob, same, ""));
        ck_assert_uint_eq(differences(before), 0);
        figures_of(cid, "Ann", first);
        SUCCEEDS(report(bob, kept, others[0]));
    } else {
        SUCCEEDS(report(bob, auth, others[_i]));
    }
    ck_assert_uint_eq(differences(before), 1);
    figures_of(cid, "Ann", then);
    ck_assert_mem_eq(first, then, sizeof first); /* the first counts */
}

TEST(who_may_report, a_report_ends_racing)
{
    take_places("East");
    const char *auth = race(ann, bob, false);
    forget_all();
    SUCCEEDS(report(ann, auth, ""));
    const struct got *g = NULL;
    ck_assert_uint_ge(frames_of(cid, "+usr", &g), 1);
    SAYS(g, "I=*\nF=0\nA=*\nT=3\nR=1\nN=Ann\nS=1,1,0,0,5ec,7,1\nX=");
    ck_assert_uint_ge(frames_of(ann, "+usr", &g), 1); /* her own record */
    SAYS(g, "I=*\nF=U0\nA=*\nT=3\nR=1\nN=Ann\nS=1,1,0,0,5ec,7,1\nX=");
    forget_all();
    word(cid, ann, "w893m_a017l_g"); /* she can be challenged */
    SUCCEEDS(raw_expect(cid, "mesg"));
    word(cid, bob, "w893m_a017l_g"); /* he cannot: he races */
    REFUSED(raw_expect(cid, "mesg"), "ingm", 105);
}

/* Who reports a race is back from it, even if the report is refused, or not kept. */
TEST_LOOP(who_may_report, a_refused_report_ends_racing, 0, 4)
{
    take_places("East");
    const char *auth = race(ann, bob, false);
    forget_all();
    if (_i == 0) {
        REFUSED(report(ann, auth, "FINISPOS0=65\n"), "miss", 0);
    } else if (_i == 1) {
        w->fail_records = true;
        DENIED(report(ann, auth, ""));
        w->fail_records = false;
    } else if (_i == 2) { /* by a ticket that nobody has any more */
        world_pass(w, 86401);
        forget_all();
        REFUSED(report(ann, auth, ""), "sess", 101);
    } else { /* another race's is no word about this one */
        REFUSED(report(ann, "0123456789abcdef0123456789abcdef", ""), "sess", 101);
        REFUSED(report(ann, "0123456789abcdef", ""), "sess", 101);
        REFUSED(report(ann, "", ""), "miss", 0);
        word(cid, ann, "w893m_a017l_g");
        REFUSED(raw_expect(cid, "mesg"), "ingm", 105);
        return;
    }
    const struct got *g = NULL;
    ck_assert_uint_ge(frames_of(cid, "+usr", &g), 1);
    ck_assert_uint_eq(got_flags(g, "F"), CONSOLE_FLAG('0'));
    word(cid, ann, "w893m_a017l_g");
    SUCCEEDS(raw_expect(cid, "mesg"));
    if (_i == 0) /* and it may be reported again */
        SUCCEEDS(report(ann, auth, ""));
}

/* A report may be late: the game asks for the next race, and the one before is still told. */
TEST(who_may_report, a_report_of_an_earlier_race_does_not_end_the_present_one)
{
    take_places("East");
    const char *first = race(ann, bob, false);
    back(ann, bob);
    const char *second = race(ann, bob, false);
    forget_all();
    SUCCEEDS(report(ann, first, ""));
    word(cid, ann, "w893m_a017l_g");
    REFUSED(raw_expect(cid, "mesg"), "ingm", 105); /* she is as busy as before */
    SUCCEEDS(report(ann, second, ""));
    word(cid, ann, "w893m_a017l_g");
    SUCCEEDS(raw_expect(cid, "mesg"));
}

/* Plays as another persona, and deletes the one that was played. */
static void give_up_persona(struct raw *r, const char *name, const char *other)
{
    char payload[64];
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", other);
    SUCCEEDS(raw_ask(r, "cper", payload));
    SUCCEEDS(raw_ask(r, "pers", payload));
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
    SUCCEEDS(raw_ask(r, "dper", payload));
}

/* The ticket of a race that nobody can report any more takes no place, be it that one of them has. */
TEST_LOOP(who_may_report, a_race_without_racers_is_forgotten, 0, 4)
{
    take_places("");
    const char *auth = race(ann, bob, _i / 2 == 1);
    back(ann, bob);
    if (_i % 2 == 1)
        SUCCEEDS(report(ann, auth, ""));
    give_up_persona(ann, "Ann", "Ann2");
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "race", ""), 1);
    give_up_persona(bob, "Bob", "Bob2");
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "race", ""), 0);
    kept_restart(w);
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "race", ""), 0);
}

/* ---- Numbers ------------------------------------------------------------ */

GROUP(numbers, open_world, close_world, 0);

static const struct {
    const char *key;
    long low, high;
} numbers[] = {
    {"STARTPOS0", -1, 64},       {"STARTPOS1", -1, 64},       {"FINISPOS0", -1, 64},       {"FINISPOS1", -1, 64},
    {"LAPSCOMP0", 0, 1000},      {"LAPSCOMP1", 0, 1000},      {"LAPSLED0", 0, 1000},       {"LAPSLED1", 0, 1000},
    {"DISCTIME0", -1, 86400000}, {"DISCTIME1", -1, 86400000}, {"DISQTIME0", -1, 86400000}, {"DISQTIME1", -1, 86400000},
    {"RACETIME", -1, 86400000},  {"SET_TRACKID", 0, 255},     {"SET_NUMAI", 0, 64},        {"SET_RACELEN", 0, 1000},
};

/* One number as it is given, the others far from it. */
static const struct got *report_number(struct raw *r, const char *auth, const char *key, const char *value)
{
    char tags[128];
    (void)snprintf(tags, sizeof tags, "%s=%s\nFINISPOS0=31\nFINISPOS1=32\n", key, value);
    return report(r, auth, tags);
}

static const struct got *report_long(struct raw *r, const char *auth, const char *key, long value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%ld", value);
    return report_number(r, auth, key, text);
}

TEST_LOOP(numbers, every_number_is_held_to_its_bounds, 0, COUNT(numbers))
{
    static const char *const junk[] = {
        "x",
        "1x",
        "x1",
        "-",
        "+",
        "--1",
        "+-1",
        "-+1",
        "1-",
        "1.5",
        "1.0",
        "1e1",
        "0x1",
        "1,2",
        "1 2",
        "1:2",
        "$1",
        "99999999999999999999",
        "-99999999999999999999",
        "4294967297",
        "-4294967295",
        "18446744073709551617",
        "9223372036854775809",
        "2147483648",
        "-2147483649",
        "0000000000000000000099999999",
    };
    const char *key = numbers[_i].key;
    take_places("");
    const char *auth = race(ann, bob, false);
    for (int who = 0; who < 2; who++) { /* of the first report and of the second */
        struct raw *r = who == 0 ? ann : bob;
        for (int i = 0; i < COUNT(junk); i++) {
            const struct got *g = report_number(r, auth, key, junk[i]);
            ck_assert_msg(g->code != 0, "%s=%s is taken", key, junk[i]);
            REFUSED(g, "miss", 0);
        }
        REFUSED(report_long(r, auth, key, numbers[_i].low - 1), "miss", 0);
        REFUSED(report_long(r, auth, key, numbers[_i].high + 1), "miss", 0);
        if (who == 0) {
            has_not_raced("Ann");
            has_not_raced("Bob");
        }
        SUCCEEDS(report_long(r, auth, key, who == 0 ? numbers[_i].low : numbers[_i].high));
    }
    back(ann, bob);
    auth = race(ann, bob, false); /* and the other way round, with other ways to write a number */
    char text[24];
    (void)snprintf(text, sizeof text, "+0%ld", numbers[_i].high);
    SUCCEEDS(report_number(ann, auth, key, text));
    SUCCEEDS(report_number(bob, auth, key, numbers[_i].low <= 0 ? "-0" : "+1"));
    int32_t is[FIGURES];
    figures_of(cid, "Ann", is);
    ck_assert_int_eq(is[RACES], 2);
}

/* Whatever a real race can end in, as a console may say it (PROTOCOL 5): who has won, H the
 * host, G the guest, or nobody; and who was lost, as a number of two bits. */
static const struct {
    const char *tags;
    char won;
    int lost;
} ends[] = {
    /* both finish */
    {"FINISPOS0=1\nFINISPOS1=2\n", 'H', 0},
    {"FINISPOS0=64\nFINISPOS1=63\n", 'G', 0},
    {"FINISPOS0=1\nFINISPOS1=2\nDISCTIME0=-1\nDISCTIME1=-1\nDISQTIME0=-1\nDISQTIME1=-1\n", 'H', 0},
    {"FINISPOS0=7\nFINISPOS1=3\nDISCTIME0=0\nDISCTIME1=0\nDISQTIME0=0\nDISQTIME1=0\n", 'G', 0},
    {"FINISPOS0=1\nFINISPOS1=2\nDISCTIME0=\nDISCTIME1=\nDISQTIME0=\nDISQTIME1=\nLAPSLED1=\n", 'H', 0},
    /* one quits, or loses power */
    {"FINISPOS0=1\nFINISPOS1=2\nDISCTIME1=61000\n", 'H', 2},
    {"FINISPOS0=1\nFINISPOS1=2\nDISCTIME0=61000\n", 'G', 1}, /* whatever place it had then */
    {"FINISPOS0=0\nFINISPOS1=2\nDISCTIME0=1\n", 'G', 1},
    {"FINISPOS0=2\nFINISPOS1=0\nDISCTIME1=1\n", 'H', 2},
    {"FINISPOS0=\nFINISPOS1=1\nDISCTIME0=61000\nDISCTIME1=\n", 'G', 1},
    {"FINISPOS0=1\nFINISPOS1=\nDISCTIME0=\nDISCTIME1=61000\n", 'H', 2},
    {"FINISPOS0=1\nDISCTIME1=61000\n", 'H', 2},
    {"FINISPOS0=1\nFINISPOS1=1\nDISCTIME1=61000\n", 'H', 2}, /* equal places, one out */
    {"FINISPOS0=9\nFINISPOS1=9\nDISCTIME0=61000\n", 'G', 1},
    {"FINISPOS0=9\nFINISPOS1=9\nDISCTIME0=0\nDISCTIME1=-1\n", 'G', 1}, /* lost at once */
    {"FINISPOS0=9\nFINISPOS1=9\nDISCTIME1=0\n", 'H', 2},
    {"FINISPOS0=0\nFINISPOS1=1\nDISCTIME0=0\n", 'G', 1},
    {"FINISPOS0=1\nFINISPOS1=0\nDISCTIME0=0\nDISCTIME1=0\n", 'H', 2},
    {"FINISPOS0=1\nFINISPOS1=-1\nDISCTIME0=-1\nDISCTIME1=0\n", 'H', 2},
    {"FINISPOS0=0\nFINISPOS1=0\nDISCTIME0=-1\nDISCTIME1=0\n", 'H', 2},
    {"DISCTIME0=1\nFINISPOS1=\n", 'G', 1},
    {"FINISPOS0=-1\nFINISPOS1=-1\nDISCTIME0=-1\nDISCTIME1=0\n", 'H', 2},
    {"FINISPOS0=0\nFINISPOS1=0\nDISCTIME0=1\n", 'G', 1},
    {"FINISPOS0=1\nFINISPOS1=0\n", 'H', 0}, /* the other has no place, and nothing says why */
    {"FINISPOS0=0\nFINISPOS1=2\nDISCTIME0=-1\nDISQTIME0=-1\n", 'G', 0},
    {"FINISPOS1=1\n", 'G', 0},
    {"FINISPOS0=-1\nFINISPOS1=2\n", 'G', 0},
    {"FINISPOS0=0\nFINISPOS1=2\nDISCTIME1=1\n", 'H', 2}, /* it was the other one that was lost */
    /* both drop */
    {"FINISPOS0=1\nFINISPOS1=2\nDISCTIME0=5\nDISCTIME1=7\n", '-', 3},
    {"FINISPOS0=0\nFINISPOS1=0\nDISCTIME0=5\nDISCTIME1=7\n", '-', 3},
    {"FINISPOS0=0\nFINISPOS1=0\nDISCTIME0=0\nDISCTIME1=0\n", '-', 3},
    {"FINISPOS0=\nFINISPOS1=\nDISCTIME0=5\nDISCTIME1=7\n", '-', 3},
    /* disqualified */
    {"FINISPOS0=1\nFINISPOS1=2\nDISQTIME0=500\n", 'G', 0},
    {"FINISPOS0=0\nFINISPOS1=2\nDISQTIME0=1\n", 'G', 0},
    {"FINISPOS0=2\nFINISPOS1=0\nDISQTIME1=1\n", 'H', 0},
    {"FINISPOS0=1\nFINISPOS1=0\nDISQTIME1=0\n", 'H', 0},
    {"FINISPOS0=3\nFINISPOS1=3\nDISQTIME1=9\n", 'H', 0},
    {"FINISPOS0=1\nFINISPOS1=2\nDISQTIME0=500\nDISQTIME1=600\n", '-', 0},
    {"FINISPOS0=0\nFINISPOS1=0\nDISCTIME0=1\nDISQTIME1=1\n", '-', 1},
    {"DISQTIME0=1\n", 'G', 0},
    /* level */
    {"FINISPOS0=5\nFINISPOS1=5\n", '-', 0},
    {"FINISPOS0=5\nFINISPOS1=5\nDISCTIME0=0\nDISCTIME1=0\nDISQTIME0=0\nDISQTIME1=0\n", '-', 0},
    {"FINISPOS0=1\nFINISPOS1=1\nDISCTIME0=-1\nDISCTIME1=-1\n", '-', 0},
    {"FINISPOS0=0\nFINISPOS1=0\n", '-', 0}, /* it was given up */
    {"FINISPOS0=0\n", '-', 0},
};

TEST_LOOP(numbers, every_end_of_a_race_is_taken, 0, COUNT(ends))
{
    char payload[256];
    take_places("");
    const char *auth = race(ann, bob, false);
    (void)snprintf(payload, sizeof payload, "AUTH=%s\n%s", auth, ends[_i].tags);
    SUCCEEDS(raw_ask(ann, "rank", payload)); /* all other numbers may be missing */
    for (int side = 0; side < 2; side++) {
        int32_t is[FIGURES];
        figures_of(cid, side == 0 ? "Ann" : "Bob", is);
        bool won = ends[_i].won == "HG"[side], lost = ends[_i].won == "GH"[side];
        ck_assert_int_eq(is[RACES], 1);
        ck_assert_msg(is[WINS] == won && is[LOSSES] == lost, "%s: side %d has %d and %d", ends[_i].tags, side,
                      (int)is[WINS], (int)is[LOSSES]);
        ck_assert_msg(is[DISCONNECTS] == (ends[_i].lost >> side & 1), "%s: side %d was lost %d times", ends[_i].tags,
                      side, (int)is[DISCONNECTS]);
        ck_assert_int_eq(is[RATING], won ? 1516 : lost ? 1484 : 1500);
    }
    size_t before = w->log_count;
    SUCCEEDS(raw_ask(bob, "rank", payload)); /* and the other one says the same */
    ck_assert_uint_eq(differences(before), 0);
}

/* One that says nothing of how the race ended is none, nor is one out of its range. */
TEST(numbers, a_report_of_nothing_is_refused)
{
    static const char *const nothing[] = {
        "",
        "FINISPOS0=\nFINISPOS1=\n",
        "FINISPOS0=-1\nFINISPOS1=-1\nDISCTIME0=-1\nDISCTIME1=-1\n",
        "LAPSCOMP0=10\nLAPSCOMP1=10\nRACETIME=300000\n",
        "FINISPOS0=65\nFINISPOS1=2\nDISCTIME0=1\n",
        "FINISPOS0=-2\nFINISPOS1=2\n",
        "FINISPOS0=1\nFINISPOS1=\"2nd\"\n",
    };
    char payload[256];
    take_places("");
    const char *auth = race(ann, bob, false);
    for (int i = 0; i < COUNT(nothing); i++) {
        (void)snprintf(payload, sizeof payload, "AUTH=%s\n%s", auth, nothing[i]);
        REFUSED(raw_ask(i % 2 == 0 ? ann : bob, "rank", payload), "miss", 0);
    }
    REFUSED(raw_ask(ann, "rank", "AUTH=\nFINISPOS0=1\nFINISPOS1=2\n"), "miss", 0);
    has_not_raced("Ann");
    has_not_raced("Bob");
    SUCCEEDS(report(bob, auth, "")); /* who may report still */
    check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
}

/* A race that was for fun is reported and answered, and changes no figures; the other's
 * report comes second, whatever it says of that. */
TEST_LOOP(numbers, an_unranked_race_changes_nothing, 0, 3)
{
    static const char *const second[] = {"SET_RANKED=0\n", "SET_RANKED=1\n", "SET_RANKED=\n"};
    take_places("");
    const char *auth = race(ann, bob, false);
    SUCCEEDS(report(ann, auth, "SET_RANKED=0\n"));
    REFUSED(report(ann, auth, ""), "sess", 101);
    SUCCEEDS(report(bob, auth, second[_i]));
    REFUSED(report(bob, auth, ""), "sess", 101);
    has_not_raced("Ann");
    has_not_raced("Bob");
    back(ann, bob);
    auth = race(ann, bob, false);
    SUCCEEDS(report(ann, auth, second[_i]));
    if (_i > 0)
        check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
    else
        has_not_raced("Ann");
}

/* ---- What counts -------------------------------------------------------- */

GROUP(what_counts, open_world, close_world, 0);

TEST(what_counts, who_was_lost_loses)
{
    static const struct {
        const char *tags;
        int32_t win[2], loss[2], lost[2];
    } cases[] = {
        {"", {1, 0}, {0, 1}, {0, 0}},
        {"FINISPOS0=9\nFINISPOS1=8\n", {0, 1}, {1, 0}, {0, 0}},
        {"DISCTIME0=1\n", {0, 1}, {1, 0}, {1, 0}},
        {"DISQTIME0=1\n", {0, 1}, {1, 0}, {0, 0}},
        {"DISCTIME1=1\nFINISPOS0=2\nFINISPOS1=1\n", {1, 0}, {0, 1}, {0, 1}},
        {"DISQTIME1=86400000\nFINISPOS0=2\nFINISPOS1=1\n", {1, 0}, {0, 1}, {0, 0}},
        {"DISCTIME0=-1\nDISCTIME1=-1\nDISQTIME1=-1\n", {1, 0}, {0, 1}, {0, 0}},
    };
    take_places("");
    for (int i = 0; i < COUNT(cases); i++) {
        int32_t old[2][FIGURES], is[FIGURES];
        figures_of(cid, "Ann", old[0]);
        figures_of(cid, "Bob", old[1]);
        SUCCEEDS(report(ann, race(ann, bob, false), cases[i].tags));
        back(ann, bob);
        for (int side = 0; side < 2; side++) {
            figures_of(cid, side == 0 ? "Ann" : "Bob", is);
            ck_assert_int_eq(is[RACES], i + 1);
            ck_assert_int_eq(is[WINS] - old[side][WINS], cases[i].win[side]);
            ck_assert_int_eq(is[LOSSES] - old[side][LOSSES], cases[i].loss[side]);
            ck_assert_int_eq(is[DISCONNECTS] - old[side][DISCONNECTS], cases[i].lost[side]);
            ck_assert_int_eq(is[RATING] > (i == 0 ? 1500 : old[side][RATING]), cases[i].win[side]);
        }
    }
}

TEST_LOOP(what_counts, when_both_were_lost_nobody_wins, 0, 4)
{
    static const char *const tags[] = {"DISCTIME0=1\nDISCTIME1=2\n", "DISCTIME0=1\nDISQTIME1=2\n",
                                       "DISQTIME0=1\nDISQTIME1=2\n", "DISQTIME0=1\nDISCTIME1=1\n"};
    take_places("");
    SUCCEEDS(report(ann, race(ann, bob, false), tags[_i]));
    for (int side = 0; side < 2; side++) {
        int32_t is[FIGURES];
        figures_of(cid, side == 0 ? "Ann" : "Bob", is);
        ck_assert_int_eq(is[RACES], 1);
        ck_assert_int_eq(is[WINS], 0);
        ck_assert_int_eq(is[RATING], 1500);
        ck_assert_int_eq(is[DISCONNECTS], strstr(tags[_i], side == 0 ? "DISCTIME0" : "DISCTIME1") != NULL);
    }
}

TEST(what_counts, figures_add_up)
{
    static const struct {
        const char *tags;
        int32_t led, best; /* Ann's, after it */
    } races[] = {
        {"FINISPOS0=5\nFINISPOS1=9\nLAPSLED0=10\n", 10, 5},
        {"FINISPOS0=7\nFINISPOS1=6\nLAPSLED0=0\n", 10, 5},
        {"FINISPOS0=3\nFINISPOS1=2\nLAPSLED0=1000\n", 1010, 3},
        {"FINISPOS0=0\nFINISPOS1=2\nDISCTIME0=1\nLAPSLED0=5\n", 1015, 3},
        {"FINISPOS0=64\nFINISPOS1=63\nLAPSLED0=1\n", 1016, 3},
        {"FINISPOS0=1\nFINISPOS1=63\nLAPSLED0=1\n", 1017, 1},
        {"FINISPOS0=2\nFINISPOS1=1\nLAPSLED0=1\n", 1018, 1},
    };
    int32_t is[FIGURES], again[FIGURES];
    take_places("");
    for (int i = 0; i < COUNT(races); i++) {
        SUCCEEDS(report(i % 2 == 0 ? ann : bob, race(ann, bob, false), races[i].tags));
        back(ann, bob);
        figures_of(cid, "Ann", is);
        ck_assert_int_eq(is[RACES], i + 1);
        ck_assert_int_eq(is[LED], races[i].led);
        ck_assert_int_eq(is[BEST], races[i].best);
        ck_assert_int_eq(is[WINS] + is[LOSSES], i + 1);
    }
    ck_assert_int_eq(is[WINS], 2);
    ck_assert_int_eq(is[DISCONNECTS], 1);
    come_back();
    figures_of(cid, "Ann", again);
    ck_assert_mem_eq(is, again, sizeof is);
}

/* One long row of victories, then the tables turn. */
TEST(what_counts, ratings_are_elo)
{
    int32_t old[2][FIGURES], new[2][FIGURES];
    take_places("");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    for (int i = 0; i < 30; i++) {
        bool host_wins = i < 18 || i % 3 == 0;
        if (i == 18) {
            ck_assert_int_gt(new[0][RATING], 1600);
            ck_assert_int_lt(new[1][RATING], 1400);
        }
        figures_of(cid, "Ann", old[0]);
        figures_of(cid, "Bob", old[1]);
        back(ann, bob);
        SUCCEEDS(report(bob, race(ann, bob, false), host_wins ? "" : "FINISPOS0=2\nFINISPOS1=1\n"));
        figures_of(cid, "Ann", new[0]);
        figures_of(cid, "Bob", new[1]);
        for (int side = 0; side < 2; side++) {
            double won = host_wins == (side == 0) ? 1.0 : 0.0;
            double wanted = old[side][RATING] + 32.0 * (won - expectation(old[side][RATING], old[1 - side][RATING]));
            ck_assert_msg(fabs(new[side][RATING] - wanted) <= 0.5 + 1e-9, "race %d: %ld and %ld become %ld, not %.3f",
                          i, (long)old[side][RATING], (long)old[1 - side][RATING], (long)new[side][RATING], wanted);
        }
    }
}

/* ---- Everybody's figures, at random ------------------------------------- */

#define RACERS 5

struct racer {
    struct raw *raw;
    int32_t figures[FIGURES];
};

static struct racer racers[RACERS];

static void add_result(struct racer *r, const struct racer *other, int32_t rating, bool wins, bool loses, bool lost,
                       int32_t led, int32_t place)
{
    (void)other;
    r->figures[RACES]++;
    r->figures[WINS] += wins;
    r->figures[LOSSES] += loses;
    r->figures[DISCONNECTS] += lost;
    r->figures[RATING] = rating;
    r->figures[LED] += led;
    if (place > 0 && (r->figures[BEST] == 0 || place < r->figures[BEST]))
        r->figures[BEST] = place;
}

/* Exactly as it should be told: by rating, and ties by name. */
static void check_board(struct raw *r)
{
    int order[RACERS], count = 0;
    for (int i = 0; i < RACERS; i++) {
        if (racers[i].figures[RACES] == 0)
            continue;
        int at = count++;
        while (at > 0 && racers[order[at - 1]].figures[RATING] < racers[i].figures[RATING]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
    raw_forget(r);
    say(r, "snap", "INDEX=0\nCHAN=1\nRANGE=100\nFIND=\n");
    ck_assert_uint_eq(frames_of(r, "+snp", NULL), (size_t)count);
    for (int i = 0; i < count; i++) {
        const struct racer *racer = &racers[order[i]];
        SAYS(frame_at(r, (size_t)i + 1), "R=%d\nP=%ld\nN=%s\nS=%s", i + 1, (long)racer->figures[RATING],
             racer->raw->name, hex_of(racer->figures));
    }
}

TEST_LOOP(what_counts, all_figures_are_as_reported, 0, 2)
{
    static const struct world_options options[] = {{.seed = 61}, {.seed = 62, .split = WORLD_RANDOM}};
    reopen(&options[_i]);
    memset(racers, 0, sizeof racers);
    for (int i = 0; i < RACERS; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "Racer%d", i);
        racers[i].raw = player(w, name, "");
        racers[i].figures[RATING] = 1500;
    }
    for (int turn = 0; turn < 60; turn++) {
        int i = (int)world_below(w, RACERS), k = (i + 1 + (int)world_below(w, RACERS - 1)) % RACERS;
        struct racer *side[2] = {&racers[i], &racers[k]};
        int32_t place[2] = {1 + (int32_t)world_below(w, 64), 0}, led[2], lost[2], out[2], rating[2];
        char tags[256], other[256];
        place[1] = 1 + (place[0] - 1 + 1 + (int32_t)world_below(w, 62)) % 64;
        for (int s = 0; s < 2; s++) {
            led[s] = (int32_t)world_below(w, 1001);
            lost[s] = world_below(w, 6) == 0 ? 1000 : (int32_t)world_below(w, 2) - 1;
            out[s] = world_below(w, 6) == 0 ? 1000 : (int32_t)world_below(w, 2) - 1;
        }
        (void)snprintf(tags, sizeof tags,
                       "FINISPOS0=%ld\nFINISPOS1=%ld\nLAPSLED0=%ld\nLAPSLED1=%ld\nDISCTIME0=%ld\nDISCTIME1=%ld\n"
                       "DISQTIME0=%ld\nDISQTIME1=%ld\n",
                       (long)place[0], (long)place[1], (long)led[0], (long)led[1], (long)lost[0], (long)lost[1],
                       (long)out[0], (long)out[1]);
        (void)snprintf(other, sizeof other, "FINISPOS0=%ld\nFINISPOS1=%ld\n", (long)place[1], (long)place[0]);
        bool target_hosts = world_below(w, 2) == 0;
        const char *auth =
            race(target_hosts ? side[1]->raw : side[0]->raw, target_hosts ? side[0]->raw : side[1]->raw, target_hosts);
        int first = (int)world_below(w, 2);
        SUCCEEDS(report(side[first]->raw, auth, tags));
        if (world_below(w, 2) == 0)
            SUCCEEDS(report(side[1 - first]->raw, auth, world_below(w, 2) == 0 ? tags : other));
        bool gone[2] = {lost[0] > 0 || out[0] > 0, lost[1] > 0 || out[1] > 0};
        int winner = gone[0] && gone[1] ? -1 : gone[0] ? 1 : gone[1] ? 0 : place[0] < place[1] ? 0 : 1;
        for (int s = 0; s < 2; s++) {
            double own = side[s]->figures[RATING], won = winner == s ? 1.0 : 0.0;
            double change = 32.0 * (won - expectation(own, side[1 - s]->figures[RATING]));
            rating[s] = side[s]->figures[RATING] + (winner < 0 ? 0 : (int32_t)lround(change));
        }
        for (int s = 0; s < 2; s++)
            add_result(side[s], side[1 - s], rating[s], winner == s, winner == 1 - s, lost[s] > 0, led[s], place[s]);
        back(side[0]->raw, side[1]->raw);
        check_board(racers[world_below(w, RACERS)].raw);
        if (turn % 20 == 19) {
            kept_restart(w);
            for (int n = 0; n < RACERS; n++) {
                char name[8];
                (void)snprintf(name, sizeof name, "Racer%d", n);
                racers[n].raw = player(w, name, "");
            }
            check_board(racers[0].raw);
        }
    }
}

/* ---- Places ------------------------------------------------------------- */

GROUP(places, open_world, close_world, 0);

/* R of a player by the last +usr that one has got; -1: none has come. */
static int32_t seen_rank(struct raw *r, const char *name)
{
    int32_t rank = -1;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "+usr") == 0 && strcmp(got_text(r->frames[i], "N"), name) == 0)
            rank = got_number(r->frames[i], "R");
    return rank;
}

static int32_t true_rank(const char *name)
{
    char payload[64];
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
    return got_number(raw_ask(cid, "user", payload), "RANK");
}

/* A beats B, then C beats A: who did not race is behind by one, and everybody sees it. */
TEST(places, whoever_is_passed_is_told)
{
    take_places("East");
    struct raw *dan = player(w, "Dan", "East"), *eve = player(w, "Eve", "");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    back(ann, bob);
    SUCCEEDS(report(eve, race(eve, bob, false), "FINISPOS0=9\n")); /* Bob is before Eve, who is in the hub */
    back(eve, bob);
    forget_all();
    SUCCEEDS(report(cid, race(cid, ann, false), ""));
    struct raw *watchers[] = {ann, bob, cid, dan};
    for (size_t i = 0; i < COUNT(watchers); i++) {
        ck_assert_int_eq(seen_rank(watchers[i], "Cid"), 1);
        ck_assert_int_eq(seen_rank(watchers[i], "Ann"), true_rank("Ann"));
        ck_assert_int_eq(seen_rank(watchers[i], "Bob"), true_rank("Bob"));
        ck_assert_int_eq(seen_rank(watchers[i], "Dan"), -1); /* who has no place, and is not told anew */
    }
    ck_assert_int_eq(true_rank("Eve"), 4);
    ck_assert_int_eq(seen_rank(eve, "Eve"), 4); /* her own record alone */
    ck_assert_uint_eq(frames_of(eve, "+usr", NULL), 1);
}

/* Whoever keeps its place is told nothing. */
TEST(places, whoever_is_not_passed_is_not_told)
{
    take_places("East");
    struct raw *dan = player(w, "Dan", "East");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    back(ann, bob);
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    back(ann, bob);
    SUCCEEDS(report(cid, race(cid, dan, false), "DISCTIME0=1\nDISCTIME1=1\n")); /* between the two */
    back(cid, dan);
    forget_all();
    SUCCEEDS(report(cid, race(cid, dan, false), "")); /* and they stay there */
    ck_assert_int_eq(seen_rank(dan, "Ann"), -1);
    ck_assert_int_eq(seen_rank(dan, "Bob"), -1);
    ck_assert_int_eq(seen_rank(ann, "Cid"), 2);
    ck_assert_int_eq(seen_rank(ann, "Dan"), 3);
}

/* A persona that is deleted leaves a place, too. */
TEST(places, whoever_moves_up_is_told)
{
    take_places("East");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    back(ann, bob);
    SUCCEEDS(report(cid, race(cid, bob, false), "FINISPOS0=9\n")); /* Ann, Bob, Cid */
    back(cid, bob);
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Anna\n"));
    SUCCEEDS(raw_ask(ann, "pers", "PERS=Anna\n"));
    forget_all();
    SUCCEEDS(raw_ask(ann, "dper", "PERS=Ann\n"));
    ck_assert_int_eq(seen_rank(bob, "Bob"), 1);
    ck_assert_int_eq(seen_rank(bob, "Cid"), 2);
    ck_assert_int_eq(seen_rank(cid, "Bob"), true_rank("Bob"));
}

TEST_LOOP(places, all_ranks_are_right_at_random, 0, 3)
{
    enum { DRIVERS = 8 };
    struct world_options options = {.seed = (uint64_t)_i + 51};
    struct raw *racer[DRIVERS];
    reopen(&options);
    cid = NULL;
    for (int i = 0; i < DRIVERS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Racer%d", i);
        racer[i] = player(w, name, i % 4 == 3 ? "West" : "East");
    }
    cid = racer[0];
    for (int step = 0; step < 40; step++) {
        uint32_t i = world_below(w, DRIVERS), k = (i + 1 + world_below(w, DRIVERS - 1)) % DRIVERS;
        const char *auth = race(racer[i], racer[k], false);
        SUCCEEDS(report(racer[i], auth, ""));
        for (int of = 0; of < DRIVERS; of++)
            for (int by = 0; by < DRIVERS; by++) {
                static int32_t known[DRIVERS][DRIVERS];
                int32_t seen = seen_rank(racer[by], racer[of]->name), is = true_rank(racer[of]->name);
                if (step == 0)
                    known[by][of] = 0;
                known[by][of] = seen >= 0 ? seen : known[by][of];
                if ((of % 4 == 3) == (by % 4 == 3))
                    ck_assert_int_eq(known[by][of], is);
            }
        back(racer[i], racer[k]);
    }
}

/* ---- Who hosts ---------------------------------------------------------- */

/* PROTOCOL 5: decided once, when the ticket is made, for +ses, ticket and result alike. */
TEST_LOOP(places, who_hosts_is_decided_once, 0, 4)
{
    take_places("");
    w->hold_records = true;
    word(ann, bob, TOKEN);
    word(bob, ann, "ACPT");
    if (_i == 1)
        chal(bob, "Ann", 1); /* in time */
    if (_i == 3)
        chal(ann, "Bob", 0);
    world_run(w, 11000); /* the ticket is on its way to the disk */
    if (_i == 0 || _i == 3)
        chal(bob, "Ann", 1);
    else if (_i == 1)
        chal(ann, "Bob", 1);
    else
        chal(bob, "Ann", 0);
    world_release_records(w, true);
    w->hold_records = false;
    world_settle(w);
    const struct got *g = NULL;
    ck_assert_uint_eq(frames_of(ann, "+ses", &g), 1);
    const char *host = _i == 1 ? "Bob" : "Ann", *guest = _i == 1 ? "Ann" : "Bob";
    ck_assert_str_eq(got_text(g, "HOST"), host);
    ck_assert_str_eq(got_text(g, "P1"), host);
    char auth[80];
    (void)snprintf(auth, sizeof auth, "%s", got_raw(g, "AUTH"));
    chal(_i == 1 ? ann : bob, host, 1); /* and when the race has begun it is later still */
    SUCCEEDS(report(ann, auth, ""));    /* the host has won */
    check_figures(host, 1, 1, 0, 0, 1516, 7, 1);
    check_figures(guest, 1, 0, 1, 0, 1484, 3, 2);
}

/* ---- Trouble with the disk ---------------------------------------------- */

GROUP(trouble_with_the_disk, open_world, close_world, 0);

TEST(trouble_with_the_disk, a_result_that_is_not_kept_does_not_count)
{
    take_places("");
    const char *auth = race(ann, bob, false);
    w->fail_records = true;
    const struct got *g = report(ann, auth, "");
    ck_assert_uint_ne(g->code, 0);
    ck_assert_int_ne(got_status(g), 1);
    has_not_raced("Ann");
    has_not_raced("Bob");
    w->fail_records = false;
    SUCCEEDS(report(ann, auth, "")); /* and can be reported still */
    check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
    w->fail_records = true;
    g = report(bob, auth, "");
    ck_assert((g->code == 0) == (got_status(g) == 1));
    w->fail_records = false;
    check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
    come_back();
    check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
    check_figures("Bob", 1, 0, 1, 0, 1484, 3, 2);
}

TEST_LOOP(trouble_with_the_disk, a_result_is_answered_when_it_is_kept, 0, 4)
{
    bool kept = _i % 2 == 0, stay = _i < 2;
    take_places("East");
    char auth[80], payload[256];
    (void)snprintf(auth, sizeof auth, "%s", race(ann, bob, false));
    (void)snprintf(payload, sizeof payload, "AUTH=%s\nFINISPOS0=1\nFINISPOS1=2\n", auth);
    w->hold_records = true;
    say(ann, "rank", payload);
    GOT(ann, "");
    GOT(cid, "");
    if (!stay) /* nobody waits for it */
        raw_close(ann);
    world_release_records(w, kept);
    w->hold_records = false;
    world_settle(w);
    if (stay) {
        const struct got *g = raw_expect(ann, "rank");
        ck_assert_int_eq(got_status(g) == 1, kept);
        ck_assert_int_eq(g->code == 0, kept);
    }
    if (kept) {
        check_figures("Ann", 1, 1, 0, 0, 1516, 0, 1);
        check_figures("Bob", 1, 0, 1, 0, 1484, 0, 2);
    } else {
        has_not_raced("Ann");
        has_not_raced("Bob");
    }
    come_back();
    if (kept) {
        REFUSED(report(ann, auth, ""), "sess", 101);
        SUCCEEDS(report(bob, auth, ""));
        check_figures("Ann", 1, 1, 0, 0, 1516, 0, 1);
    } else {
        SUCCEEDS(report(ann, auth, ""));
        SUCCEEDS(report(bob, auth, ""));
        check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
    }
}

/* Several results in one turn of the disk: whoever is in two of them is counted
 * in both. The first turn may fail, and then who was refused says it again. */
TEST_LOOP(trouble_with_the_disk, results_that_come_at_once_count_all, 0, 2)
{
    static const int32_t wanted[][3] = {{1, 1, 0}, {2, 1, 1}, {2, 1, 1}, {1, 0, 1}};
    char payload[4][256];
    take_places("");
    struct raw *all[] = {ann, bob, player(w, "Dan", ""), cid};
    for (int i = 0; i < 3; i++) { /* Ann and Bob, Bob and Dan, Dan and Cid */
        (void)snprintf(payload[i], sizeof payload[0], "AUTH=%s\nFINISPOS0=1\nFINISPOS1=2\n",
                       race(all[i], all[i + 1], false));
        back(all[i], all[i + 1]);
    }
    strcpy(payload[3], payload[2]);
    w->hold_records = true;
    for (int i = 0; i < 4; i++) {
        say(all[i], "rank", payload[i]);
        GOT(all[i], "");
    }
    for (int i = 0; i < 8; i++)
        world_release_records(w, _i == 0 || i > 0);
    w->hold_records = false;
    world_settle(w);
    size_t refused = 0;
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(frames_of(all[i], "rank", NULL), 1);
        if (got_status(raw_expect(all[i], "rank")) != 1) {
            refused++;
            SUCCEEDS(raw_ask(all[i], "rank", payload[i]));
        }
    }
    ck_assert_int_eq(refused > 0, _i == 1);
    for (int turn = 0; turn < 2; turn++) {
        int32_t sum = 0;
        for (int i = 0; i < 4; i++) {
            int32_t is[FIGURES];
            figures_of(cid, all[i]->name, is);
            ck_assert_int_eq(is[RACES], wanted[i][0]);
            ck_assert_int_eq(is[WINS], wanted[i][1]);
            ck_assert_int_eq(is[LOSSES], wanted[i][2]);
            sum += is[RATING];
        }
        ck_assert_int_eq(sum, 6000);
        come_back();
    }
}

TEST_LOOP(trouble_with_the_disk, a_race_waits_until_its_ticket_is_kept, 0, 4)
{
    take_places("East");
    word(ann, bob, "w893m_a017l_g");
    word(bob, ann, "ACPT");
    w->hold_records = true;
    chal(ann, bob->name, 1);
    forget_all();
    chal(bob, ann->name, 0);
    SUCCEEDS(raw_expect(bob, "chal"));
    GOT(ann, "");
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=hello\n")); /* neither waits for it */
    switch (_i) {
    case 0: break;
    case 1: /* one goes meanwhile */ raw_close(ann); break;
    case 2: say(bob, "mesg", "PRIV=Ann\nTEXT=DECL\nATTR=3\n"); break;
    default: say(ann, "chal", "PERS=*\n"); break;
    }
    forget_all();
    world_release_records(w, true);
    w->hold_records = false;
    world_settle(w);
    const struct got *one = NULL, *two = NULL;
    size_t of_ann = raw_closed(ann) ? 0 : frames_of(ann, "+ses", &one), of_bob = frames_of(bob, "+ses", &two);
    if (_i == 0) {
        ck_assert_uint_eq(of_ann, 1);
        ck_assert_uint_eq(of_bob, 1);
        GOT(ann, "+ses play");
        GOT(bob, "+ses play");
        SUCCEEDS(report(ann, got_raw(one, "AUTH"), ""));
    } else {
        ck_assert(raw_closed(ann) || of_ann == of_bob); /* nobody races alone with one who is there */
    }
    if (!raw_closed(ann))
        say(ann, "chal", "PERS=*\n");
    say(bob, "chal", "PERS=*\n");
    forget_all();
    if (raw_closed(ann))
        ann = player(w, "Ann", "East");
    SUCCEEDS(report(bob, race(ann, bob, false), "")); /* and all goes on */
}

TEST(trouble_with_the_disk, with_no_disk_nobody_is_left_waiting_for_a_race)
{
    take_places("East");
    word(ann, bob, "w893m_a017l_g");
    word(bob, ann, "ACPT");
    forget_all();
    w->fail_records = true;
    chal(ann, bob->name, 1);
    chal(bob, ann->name, 0);
    world_run(w, 15000);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL), frames_of(bob, "+ses", NULL));
    const struct got *g = NULL;
    if (frames_of(ann, "+ses", NULL) == 0) { /* then both consoles are told that it is off */
        ck_assert_uint_ge(frames_of(ann, "+msg", &g), 1);
        ck_assert_str_eq(got_text(g, "T"), "DECL");
        ck_assert_uint_ge(frames_of(bob, "+msg", &g), 1);
        ck_assert_str_eq(got_text(g, "T"), "DECL");
    }
    SUCCEEDS(raw_ask(cid, "mesg", "TEXT=hello\n")); /* the others go on */
    w->fail_records = false;
    if (frames_of(ann, "+ses", &g) > 0) { /* its ticket is good as long as the server runs */
        SUCCEEDS(report(ann, got_raw(g, "AUTH"), ""));
        SUCCEEDS(report(bob, got_raw(g, "AUTH"), ""));
    }
    back(ann, bob);
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
}

/* ---- The latest results -------------------------------------------------- */

GROUP(latest_results, open_world, close_world, 0);

#define KEPT_RESULT(part) \
    ck_assert_msg(kept_count(w, "rslt", part) == 1, "%s is kept %zu times", part, kept_count(w, "rslt", part))

/* Number n, of the day n: what a journal has of it. */
static void keep_result(int n)
{
    char payload[128];
    (void)snprintf(payload, sizeof payload, "INFO=%d,%d,4,10,1,2,10,9,0,0,0,0\nHOST=Ann\nOPPO=Bob\n", n,
                   1700000000 + n);
    keep("rslt", payload);
}

TEST_LOOP(latest_results, a_result_is_kept_once_as_its_first_report_has_it, 0, 3)
{
    take_places("");
    char auth[80], other[80];
    (void)snprintf(auth, sizeof auth, "%s", race(ann, bob, false));
    SUCCEEDS(report(ann, auth, "LAPSCOMP1=9\nDISCTIME1=5000\n"));
    if (_i == 1)
        come_back();
    SUCCEEDS(report(bob, auth, "SET_TRACKID=9\n"));
    back(ann, bob);
    (void)snprintf(other, sizeof other, "%s", race(cid, bob, true));
    SUCCEEDS(report(cid, other, "DISQTIME0=1\nDISCTIME1=-1\nSET_TRACKID=255\nSET_RACELEN=1000\n"));
    for (int i = 0; i < 2; i++) {
        if (_i == 2)
            kept_restart(w);
        kept_compact(w);
        ck_assert_uint_eq(world_kept(w, "rslt"), 2);
        KEPT_RESULT("INFO=1,1767225600,4,10,1,2,10,9,0,1,1516,1484\nHOST=Ann\nOPPO=Bob\n");
        KEPT_RESULT("INFO=2,1767225600,255,1000,1,2,10,10,2,0,1469,1515\nHOST=Bob\nOPPO=Cid\n");
        ck_assert_uint_eq(world_kept(w, "rank"), 0);
    }
}

TEST_LOOP(latest_results, a_result_keeps_the_names_under_which_the_two_raced, 0, 2)
{
    take_places("");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    back(ann, bob);
    const char *auth = race(ann, bob, false);
    SUCCEEDS(raw_ask(bob, "cper", "PERS=Rob\n"));
    SUCCEEDS(raw_ask(bob, "pers", "PERS=Rob\n"));
    SUCCEEDS(raw_ask(bob, "dper", "PERS=Bob\n"));
    if (_i == 1) {
        kept_restart(w);
        ann = player(w, "Ann", "");
    }
    SUCCEEDS(report(ann, auth, ""));
    kept_compact(w);
    KEPT_RESULT("HOST=Ann\nOPPO=Bob\n");
    KEPT_RESULT("HOST=Ann\nOPPO=\n"); /* nobody of that name raced when it was reported */
    kept_restart(w);
    kept_compact(w);
    KEPT_RESULT("HOST=Ann\nOPPO=Bob\n");
    ck_assert_uint_eq(world_kept(w, "rslt"), 2);
}

TEST(latest_results, what_is_not_on_the_disk_is_no_result)
{
    take_places("");
    char auth[80];
    (void)snprintf(auth, sizeof auth, "%s", race(ann, bob, false));
    w->fail_records = true;
    REFUSED(report(ann, auth, ""), "fail", 0);
    w->fail_records = false;
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "rslt"), 0);
    SUCCEEDS(report(bob, auth, ""));
    kept_compact(w);
    KEPT_RESULT("HOST=Ann\nOPPO=Bob\n");
}

TEST_LOOP(latest_results, the_newest_500_are_kept, 0, 3)
{
    for (int i = 0; i < 501; i++)
        keep_result(_i == 0 ? 1 + i : _i == 1 ? 501 - i : 1 + (i * 250 + 7) % 501);
    for (int i = 0; i < 2; i++) {
        kept_compact(w);
        ck_assert_uint_eq(world_kept(w, "rslt"), 500);
        ck_assert_uint_eq(kept_count(w, "rslt", "INFO=1,"), 0);
        KEPT_RESULT("INFO=2,");
        KEPT_RESULT("INFO=501,");
        kept_restart(w);
    }
    take_places("");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "rslt"), 500);
    ck_assert_uint_eq(kept_count(w, "rslt", "INFO=2,"), 0);
    KEPT_RESULT("INFO=502,1767225600,");
}

TEST(latest_results, a_record_that_comes_twice_says_the_same_as_once)
{
    keep_result(7);
    keep_result(9);
    keep("rslt", "INFO=7,1,2,3,4,5,6,7,8,9,1500,1600\nHOST=Eve\nOPPO=\n");
    keep_result(8);
    keep("rank", "AUTH=00000000000000000000000000000000\nFLAGS=1\nSEQN=1\nINFO=9,1,2,3,4,5,6,7,8,9,1500,1600\n");
    keep_result(9);
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "rslt"), 3);
    KEPT_RESULT("INFO=7,1,2,3,4,5,6,7,8,9,1500,1600\nHOST=Eve\nOPPO=\n");
    KEPT_RESULT("INFO=9,1700000009,4,10,1,2,10,9,0,0,0,0\nHOST=Ann\nOPPO=Bob\n");
}

TEST(latest_results, what_is_no_result_is_not_kept)
{
    static const char *const none[] = {"",
                                       "INFO=\n",
                                       "INFO=1,2,3,4,5,6,7,8,9,10,11\n",
                                       "INFO=1,2,3,4,5,6,7,8,9,10,11,\n",
                                       "INFO=x,2,3,4,5,6,7,8,9,10,11,12\n",
                                       "INFO=0,2,3,4,5,6,7,8,9,10,11,12\n",
                                       "INFO=4294967296,2,3,4,5,6,7,8,9,10,11,12\n"};
    char longest[256] = "INFO=1,2,3,4,5,6,7,8,9,10,11,";
    for (int i = 0; i < COUNT(none); i++)
        keep("rslt", none[i]);
    memset(longest + strlen(longest), '0', 130);
    keep("rslt", longest);
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "rslt"), 0);
}

/* A race that ended in this run was dated by its clock, one of before was not. */
TEST(latest_results, a_clock_that_is_set_moves_the_dates_of_this_run)
{
    keep_result(1);
    take_places("");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    w->wall_offset_s += 86400;
    world_run(w, 1000);
    kept_compact(w);
    KEPT_RESULT("INFO=1,1700000001,");
    KEPT_RESULT("INFO=2,1767312000,");
}

/* ---- Whatever comes ----------------------------------------------------- */

GROUP(whatever_comes, open_world, close_world, 0);

TEST_LOOP(whatever_comes, no_payload_breaks_a_link, 0, 5)
{
    static const char *const kinds_of[] = {"rank", "snap", "rept", "user", "onln"};
    static const char *const shapes[] = {
        "",
        "\n",
        "=",
        "=\n=",
        ":::",
        "AUTH",
        "AUTH=",
        "AUTH=\"",
        "AUTH=%",
        "AUTH=%zz\nFINISPOS0=\"1",
        "PERS=\"Bob",
        "PERS='",
        "PERS:Bob\nFIND:Bob\n",
        "PERS==\nFIND==\n",
        "pers=Cid\nfind=Cid\nauth=x\nfinispos0=1\nfinispos1=2\n",
        "FINISPOS0=1\nFINISPOS0=2\nFINISPOS1=1\nAUTH=0\n",
        "\xff\xfe=\x80\nPERS=\xc3\xa9\n",
        "FIND=\x01\nPERS=\x01\n",
        "INDEX=\nRANGE=\nCHAN=\nFIND=\n",
        "CHAN=99999999999999999999\nINDEX=99999999999999999999\n",
    };
    char *longest = lobby_text();
    take_places("East");
    for (int i = 0; i <= 2 * COUNT(shapes); i++) {
        forget_all();
        if (i < COUNT(shapes)) {
            say(ann, kinds_of[_i], shapes[i]);
        } else if (i < 2 * COUNT(shapes)) { /* without its NUL */
            raw_send_frame(ann, kinds_of[_i], 0, shapes[i - COUNT(shapes)], strlen(shapes[i - COUNT(shapes)]));
            world_settle(w);
        } else {
            strcpy(longest, "AUTH=x\nFINISPOS0=1\nPERS=B\nFIND=");
            memset(longest + strlen(longest), '=', 2000 - strlen(longest));
            say(ann, kinds_of[_i], longest);
        }
        GOT(ann, kinds_of[_i]);
        GOT(bob, "");
        ck_assert(!raw_closed(ann));
    }
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    check_figures("Ann", 1, 1, 0, 0, 1516, 7, 1);
}

/* ---- Two consoles ------------------------------------------------------- */

TEST_LOOP(whatever_comes, two_consoles_race_and_report, 0, 2)
{
    static const enum world_split splits[] = {WORLD_WHOLE, WORLD_RANDOM};
    static const struct console_result result = {.start = {2, 1},
                                                 .finish = {1, 4},
                                                 .laps = {25, 25},
                                                 .led = {20, 5},
                                                 .disconnected = {0, -1},
                                                 .disqualified = {-1, 0},
                                                 .race_time = 1234567,
                                                 .track = 12,
                                                 .cars = 41,
                                                 .length = 25};
    world_free(w);
    struct world_options options = {.split = splits[_i], .seed = 9};
    w = world_new(&options);
    struct console *one = world_player(w, "One"), *two = world_player(w, "Two"), *see = world_player(w, "See");
    ck_assert_uint_eq(see->ranks.count, 0);
    console_move(one, "East", "");
    console_move(two, "East", "");
    console_move(see, "East", "");
    world_settle(w);
    ck_assert(console_challenge_player(one, "Two", NULL));
    world_settle(w);
    console_answer(two, "ACPT");
    world_settle(w);
    ck_assert_int_eq(two->challenge, CONSOLE_RACING);
    console_leave(one); /* as a console may, within a second of +ses */
    world_run(w, 5 * 60000);
    console_login(one, "One", "secret", "One");
    world_settle(w);
    console_report_race(one, &result);
    world_settle(w);
    ck_assert_uint_eq(console_reply(one, "rank")->code, 0);
    ck_assert_str_eq(console_user(see, "Two")->stats, "1,0,1,0,5cc,5,4"); /* counted, and so is he */
    console_report_race(two, &result);
    world_settle(w);
    ck_assert_uint_eq(console_reply(two, "rank")->code, 0);
    for (int i = 0; i < 2; i++) {
        console_look(see, "One");
        console_leaderboard(see, 3, "", 10);
        world_settle(w);
        ck_assert_int_eq(see->profile.rank, 1);
        ck_assert_int_eq(see->profile.stats[RATING], 1516);
        ck_assert_int_eq(see->profile.stats[LED], 20);
        ck_assert_uint_eq(see->rows.count, 2);
        ck_assert_str_eq(see->rows.at[0].name, "One");
        ck_assert_int_eq(see->rows.at[0].points, 1516);
        ck_assert_str_eq(see->rows.at[0].stats, "1,1,0,0,5ec,14,1");
        ck_assert_str_eq(see->rows.at[1].name, "Two");
        ck_assert_int_eq(see->rows.at[1].rank, 2);
        console_leaderboard(see, 3, "two", 10);
        world_settle(w);
        ck_assert_uint_eq(see->rows.count, 1);
        if (i == 0) {
            kept_restart(w);
            console_login(see, "See", "secret", "See");
            world_settle(w);
        }
    }
    ck_assert_uint_eq(see->ranks.count, 2); /* the game asks for the top 50 as it enters */
    ck_assert_str_eq(see->ranks.at[0].name, "One");
    ck_assert_int_eq(see->ranks.at[1].rank, 2);
    ck_assert_str_eq(see->ranks.at[1].stats, "1,0,1,0,5cc,5,4");
    console_report_race(see, &result); /* of which it has no ticket */
    console_report_abuse(see, "One");
    world_settle(w);
    ck_assert_uint_ne(console_reply(see, "rank")->code, 0);
    ck_assert_uint_eq(console_reply(see, "rept")->code, 0);
    ck_assert_uint_eq(kept_count(w, "rept", "See"), 1);
}
