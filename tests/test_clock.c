/* The wall clock: a router boots in 1970 and NTP comes, a wrong clock is put right,
 * a machine wakes up. Nothing expires by that, no date stays wrong, and a line
 * says so (DESIGN 3).
 *
 * SPDX-License-Identifier: MIT */
#include "people.h"
#include "races.h"

#define YEAR_S 31536000
#define LKEY_LIVES_S 43200

/* Sets the wall clock, without time passing. */
static void set_clock_to(int64_t date_s)
{
    w->wall_offset_s = date_s - (int64_t)(w->mono_ms / 1000);
}

static void set_clock_by(int64_t seconds)
{
    w->wall_offset_s += seconds;
    world_run(w, 1);
}

/* A start from the records that were kept, while the wall clock shows this date. */
static void start_at(int64_t date_s)
{
    set_clock_to(date_s);
    world_restart(w);
    no_links();
    world_run(w, 1);
}

static size_t lines(const char *part)
{
    size_t count = 0;
    for (size_t i = 0; i < w->log_count; i++)
        count += strstr(w->log[i], part) != NULL;
    return count;
}

/* How many records that compaction would write say this date. */
static size_t dated(const char *kind, const char *tag, int64_t date_s)
{
    char part[64];
    (void)snprintf(part, sizeof part, "%s=%lld\n", tag, (long long)date_s);
    kept_compact(w);
    return kept_count(w, kind, part);
}

static char auth[80];

/* A race of two, its ticket in `auth`; then both are back in the lobby. */
static void race_them(struct person *host, struct person *guest)
{
    (void)snprintf(auth, sizeof auth, "%s", race(host->lobby, guest->lobby, false));
    back(host->lobby, guest->lobby);
}

static void is_reading(struct person *p, const char *bodies)
{
    if (p->lobby == NULL || raw_closed(p->lobby))
        enter(p);
    else
        put_on(p);
    link_up(p);
    ask_rosters(p);
    READS(p, bodies);
}

/* ---- What has time left keeps it ----------------------------------------- */

GROUP(jumps, open_people, close_world, 60);

static const int64_t jumps[] = {3600,   -3600,       12 * 3600 + 60, 2 * DAY_S, 30 * DAY_S,
                                YEAR_S, 20 * YEAR_S, 73LL * YEAR_S,  61,        -61};

TEST_LOOP(jumps, nothing_expires_by_a_jump_either_way, 0, 40)
{
    int64_t jump_s = jumps[_i % 10];
    start_at(WORLD_WALL_S + DAY_S);
    struct person *a = linked("Ann"), *b = player_only("Bob");
    (void)person("Cid");
    char ticket[40];
    (void)snprintf(ticket, sizeof ticket, "%s", b->ticket);
    race_them(a, b);
    write_letter(a, "Cid", "hello");
    world_pass(w, 1800);
    set_clock_by(jump_s);
    if (_i / 10 % 2 == 1) {
        world_pass(w, 600);
        set_clock_by(-jump_s);
    }
    if (_i / 20 == 1)
        restart();
    ck_assert_uint_eq(lines("event=clock_set"), _i / 10 % 2 == 1 ? 2 : 1);
    ck_assert_str_eq(buddy_code("Bob", ticket), "");
    world_pass(w, LKEY_LIVES_S - 1800 - 600 - 30);
    ck_assert_str_eq(buddy_code("Bob", ticket), "");
    world_pass(w, 660);
    ck_assert_str_eq(buddy_code("Bob", ticket), "user");
    world_pass(w, LKEY_LIVES_S - 1260);
    if (_i / 20 == 1) {
        enter(a);
        enter(b);
    }
    SUCCEEDS(report(a->lobby, auth, ""));
    world_pass(w, 1260);
    REFUSED(report(b->lobby, auth, ""), "sess", 101);
    leave_lobby(a); /* days with nobody to ping are short */
    leave_lobby(b);
    world_pass(w, 2 * DAY_S - 660);
    is_reading(&people[2], "hello");
}

TEST_LOOP(jumps, what_has_expired_stays_so, 0, 4)
{
    struct person *a = linked("Ann"), *b = player_only("Bob");
    (void)person("Cid");
    char ticket[40];
    (void)snprintf(ticket, sizeof ticket, "%s", b->ticket);
    race_them(a, b);
    SUCCEEDS(letter(a, "Cid", "hello", "60"));
    world_pass(w, DAY_S + 1);
    set_clock_by(_i % 2 == 0 ? 10LL * YEAR_S : -DAY_S - 1);
    if (_i >= 2)
        restart();
    ck_assert_str_eq(buddy_code("Bob", ticket), "user");
    if (_i >= 2)
        enter(a);
    REFUSED(report(a->lobby, auth, ""), "sess", 101);
    is_reading(&people[2], "");
}

TEST(jumps, a_line_says_both_dates)
{
    world_pass(w, 100);
    set_clock_by(3600);
    ck_assert(world_logged(w, "event=clock_set from=\"2026-01-01 00:01:40\" to=\"2026-01-01 01:01:40\""));
    ck_assert_uint_eq(world_kept(w, "clck"), 1);
    set_clock_by(-1800);
    ck_assert(world_logged(w, "event=clock_set from=\"2026-01-01 01:01:40\" to=\"2026-01-01 00:31:40\""));
    set_clock_by(73LL * YEAR_S);
    ck_assert(world_logged(w, "to=\"2098-12-14 00:31:40\""));
    ck_assert_uint_eq(lines("event=clock_set"), 3);
}

/* A clock that is slowly put right is followed without a word. */
TEST_LOOP(jumps, a_clock_that_drifts_is_followed, 0, 2)
{
    world_pass(w, 600);
    for (int i = 0; i < 10; i++)
        set_clock_by(_i == 0 ? 60 : -60);
    (void)player_only("Ann");
    ck_assert_uint_eq(lines("event=clock_set"), 0);
    ck_assert_uint_eq(dated("acct", "CREATED", WORLD_WALL_S + (_i == 0 ? 1200 : 0)), 1);
}

/* What has run out while the clock was a little ahead stays so: a fresh journal, which has
 * left it out, must not say something else. */
TEST(jumps, what_has_expired_stays_so_while_a_clock_drifts_back)
{
    struct person *a = linked("Ann");
    (void)person("Cid");
    SUCCEEDS(letter(a, "Cid", "hello", "60"));
    world_pass(w, 50);
    set_clock_by(30);
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "mesg"), 0);
    set_clock_by(-30);
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "mesg"), 0);
    SUCCEEDS(letter(a, "Cid", "again", "20")); /* and what is new has its whole time */
    world_run(w, 15000);
    is_reading(&people[1], "again");
}

/* Neither does a start whose clock is a little behind what is kept. A fresh journal may be
 * made before that is known, when only the newest date there can tell what has run out. */
TEST(jumps, what_has_expired_stays_so_at_a_start_a_little_behind)
{
    struct person *a = linked("Ann");
    (void)person("Cid");
    char ticket[40];
    (void)snprintf(ticket, sizeof ticket, "%s", a->ticket);
    world_pass(w, LKEY_LIVES_S - 30);
    raw_send(raw_operator(w), "cmut", "NAME=Cid\nFOR=60\n");
    SUCCEEDS(letter(a, "Cid", "hello", "60"));
    world_pass(w, 70);
    (void)player_only("Bob");
    start_at((int64_t)(w->mono_ms / 1000) + w->wall_offset_s - 50);
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "mesg"), 0);
    ck_assert_uint_eq(world_kept(w, "mute"), 0);
    is_reading(&people[1], "");
}

/* Two jumps that come before the record of the first is on the disk, and what is
 * asked for meanwhile. */
TEST_LOOP(jumps, records_on_their_way_are_of_one_clock_each, 0, 8)
{
    struct person *a = linked("Ann"), *b = player_only("Bob"), *c = player_only("Cid");
    char ticket[40];
    (void)snprintf(ticket, sizeof ticket, "%s", c->ticket);
    world_pass(w, 3600);
    w->hold_records = true;
    raw_send(a->lobby, "pers", "PERS=Ann\n"); /* with the old clock */
    world_settle(w);
    set_clock_by(_i % 2 == 0 ? 20LL * YEAR_S : 2 * DAY_S);
    raw_send(b->lobby, "pers", "PERS=Bob\n"); /* with the new one */
    world_settle(w);
    ck_assert_str_eq(buddy_code("Cid", ticket), ""); /* this one still has the old one */
    if (_i / 2 % 2 == 1) {
        set_clock_by(_i % 2 == 0 ? -20LL * YEAR_S : DAY_S);
        ck_assert_uint_eq(lines("event=clock_set"), 1);
    }
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    world_run(w, 1);
    ck_assert_uint_eq(lines("event=clock_set"), _i / 2 % 2 == 1 ? 2 : 1);
    char old[40], fresh[40];
    (void)snprintf(old, sizeof old, "%s", got_text(raw_expect(a->lobby, "pers"), "LKEY"));
    (void)snprintf(fresh, sizeof fresh, "%s", got_text(raw_expect(b->lobby, "pers"), "LKEY"));
    if (_i >= 4)
        restart();
    world_pass(w, LKEY_LIVES_S - 3600 - 30);
    ck_assert_str_eq(buddy_code("Cid", ticket), "");
    world_pass(w, 60);
    ck_assert_str_eq(buddy_code("Cid", ticket), "user");
    world_pass(w, 3600 - 60);
    ck_assert_str_eq(buddy_code("Ann", old), "");
    ck_assert_str_eq(buddy_code("Bob", fresh), "");
    world_pass(w, 60);
    ck_assert_str_eq(buddy_code("Ann", old), "user");
    ck_assert_str_eq(buddy_code("Bob", fresh), "user");
}

/* A letter makes room by what has expired: by the clock of what is kept. */
TEST(jumps, a_letter_while_the_clock_is_being_set_ends_no_other)
{
    struct person *a = linked("Ann");
    (void)person("Bob");
    SUCCEEDS(letter(a, "Bob", "one", NULL));
    w->hold_records = true;
    set_clock_by(20LL * YEAR_S);
    say(a->buddy, "SEND", "TYPE=C\nUSER=Bob\nBODY=two\n");
    world_settle(w);
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    is_reading(&people[1], "one two");
}

/* Whether the disk takes it or not: the clock has been set. */
TEST(jumps, a_failing_disk_does_not_hold_the_clock_up)
{
    static const char frame[12] = "clck";
    ck_assert(nascar_takes_unkept((const uint8_t *)frame, sizeof frame));
    struct person *a = player_only("Ann");
    w->fail_records = true;
    set_clock_by(20LL * YEAR_S);
    ck_assert_str_eq(buddy_code("Ann", a->ticket), "");
    kept_restart(w);
    no_links();
    ck_assert_uint_eq(lines("event=clock_set"), 1);
}

static void send_cper(uint32_t conn, uint32_t number)
{
    uint8_t frame[64] = "cper";
    int n = snprintf((char *)frame + 12, sizeof frame - 12, "PERS=New%u\n", (unsigned)number);
    frame[11] = (uint8_t)(12 + n + 1);
    const struct nascar_event event = {.type = NASCAR_BYTES,
                                       .conn = conn,
                                       .mono_ms = w->mono_ms,
                                       .wall_s = (int64_t)(w->mono_ms / 1000) + w->wall_offset_s,
                                       .bytes = frame,
                                       .size = frame[11]};
    ck_assert(nascar_step(w->state, &event));
}

/* A step that leaves as many records as there is room for cannot leave this one. */
TEST(jumps, a_later_step_finds_room_for_the_record)
{
    struct raw *members[64];
    char name[16];
    for (uint32_t i = 0; i < 64; i++) {
        (void)snprintf(name, sizeof name, "M%u", (unsigned)i);
        members[i] = member(name, "secret");
    }
    for (uint32_t i = 0; i < 64; i++) {
        if (i == 63)
            w->wall_offset_s += YEAR_S;
        send_cper(members[i]->conn, i);
    }
    world_run(w, 1);
    world_run(w, 1);
    ck_assert_uint_eq(world_kept(w, "cper"), 64);
    ck_assert_uint_eq(world_kept(w, "clck"), 1);
    ck_assert_uint_eq(lines("event=clock_set"), 1);
}

/* ---- Dates that are shown ------------------------------------------------ */

GROUP(dates, open_people, close_world, 60);

/* What was made in the run whose clock was wrong; what is older was right. */
TEST_LOOP(dates, a_date_of_today_does_not_stay_wrong, 0, 4)
{
    (void)person("Old");
    start_at(WORLD_WALL_S + DAY_S);
    struct person *a = player_only("Ann"), *b = player_only("Bob");
    SUCCEEDS(raw_ask(a->lobby, "mesg", "TEXT=hello\n"));
    SUCCEEDS(raw_ask(a->lobby, "rept", "PERS=Bob\n"));
    int64_t to_s = WORLD_WALL_S + 5LL * YEAR_S;
    set_clock_to(to_s);
    world_run(w, 1);
    if (_i % 2 == 1)
        restart();
    if (_i >= 2) { /* and what is put right again */
        start_at(to_s);
        set_clock_by(-YEAR_S);
        set_clock_by(YEAR_S);
    }
    ck_assert_uint_eq(dated("acct", "CREATED", WORLD_WALL_S), 1);
    ck_assert_uint_eq(dated("acct", "CREATED", to_s), 2);
    ck_assert_uint_eq(dated("acct", "LAST", to_s), 2);
    ck_assert_uint_eq(dated("rept", "TIME", to_s), 1);
    ck_assert_uint_eq(dated("line", "TIME", to_s), 1);
    (void)b;
}

/* Chat that was heard before the clock was set, reported after it; and the login
 * before this one, which each player is told. */
TEST(dates, so_do_those_in_memory)
{
    struct person *a = player_only("Ann");
    (void)player_only("Bob");
    SUCCEEDS(raw_ask(a->lobby, "mesg", "TEXT=hello\n"));
    set_clock_to(WORLD_WALL_S + YEAR_S);
    world_run(w, 1);
    SUCCEEDS(raw_ask(a->lobby, "rept", "PERS=Bob\n"));
    ck_assert_uint_eq(dated("line", "TIME", WORLD_WALL_S + YEAR_S), 1);
    ck_assert_str_eq(got_text(raw_ask(a->lobby, "pers", "PERS=Ann\n"), "LAST"), "2027-01-01 00:00:00");
}

/* A whole run had a date that is yet to come. */
TEST_LOOP(dates, those_of_a_clock_in_the_future_come_back_with_it, 0, 2)
{
    start_at(WORLD_WALL_S + 70LL * YEAR_S);
    struct person *a = player_only("Ann");
    char ticket[40];
    (void)snprintf(ticket, sizeof ticket, "%s", a->ticket);
    start_at(WORLD_WALL_S + 70LL * YEAR_S + 60);
    set_clock_to(WORLD_WALL_S + DAY_S + 60);
    world_run(w, 1);
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    ck_assert_uint_eq(dated("acct", "CREATED", WORLD_WALL_S + DAY_S), 1);
    for (int i = 0; _i == 1 && i < 3; i++) { /* and do not haunt the starts to come */
        start_at(WORLD_WALL_S + DAY_S + 120 + i);
        world_pass(w, 3700);
        ck_assert_uint_eq(lines("event=clock_set"), 1);
    }
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
}

/* ---- A clock that nobody has set ----------------------------------------- */

GROUP(boots, open_people, close_world, 60);

/* A router without a battery; NTP comes after an hour. */
TEST_LOOP(boots, a_router_boots_in_1970, 0, 4)
{
    struct person *a = linked("Ann"), *b = player_only("Bob");
    (void)person("Cid");
    char ticket[40], second[40];
    int64_t now = WORLD_WALL_S + YEAR_S;
    if (_i % 2 == 1) {
        start_at(now);
        linked("Dan");
        linked("Eve");
        a = linked("Ann");
        b = player_only("Bob");
    }
    (void)snprintf(ticket, sizeof ticket, "%s", b->ticket);
    race_them(a, b);
    write_letter(a, "Cid", "one");
    start_at(_i >= 2 ? -5 : 20);
    world_pass(w, 3600);
    struct person *d = linked("Fay");
    (void)snprintf(second, sizeof second, "%s", d->ticket);
    write_letter(d, "Cid", "two");
    ck_assert_uint_eq(lines("event=clock_set"), 0);
    ck_assert_str_eq(buddy_code("Bob", ticket), "");
    set_clock_to(now + 3 * DAY_S);
    world_run(w, 1);
    ck_assert_uint_eq(lines("event=clock_set"), 1);
    ck_assert_str_eq(buddy_code("Bob", ticket), "");
    ck_assert_str_eq(buddy_code("Fay", second), "");
    ck_assert_uint_eq(dated("acct", "CREATED", now + 3 * DAY_S), 1);
    if (_i % 2 == 1)
        restart();
    enter(a);
    SUCCEEDS(report(a->lobby, auth, ""));
    is_reading(&people[2], "one two");
    world_pass(w, LKEY_LIVES_S + 60);
    ck_assert_str_eq(buddy_code("Bob", ticket), "user");
    ck_assert_str_eq(buddy_code("Fay", second), "user");
}

/* Nothing is kept yet, so there is no date to go on from. */
TEST(boots, nothing_is_dated_1970)
{
    start_at(30);
    struct person *a = player_only("Ann");
    ck_assert_str_eq(got_text(raw_ask(a->lobby, "pers", "PERS=Ann\n"), "LAST"), "2026-01-01 00:00:00");
    ck_assert_uint_eq(dated("acct", "CREATED", WORLD_WALL_S), 1);
    set_clock_to(WORLD_WALL_S + YEAR_S);
    world_run(w, 1);
    ck_assert_uint_eq(dated("acct", "CREATED", WORLD_WALL_S + YEAR_S), 1);
}

/* Time passes all the same, and no line comes again and again. */
TEST_LOOP(boots, a_clock_that_is_never_set_is_no_matter, 0, 4)
{
    static const int64_t dates[] = {0, INT64_MIN, 4102444800, INT64_MAX};
    struct person *a = NULL;
    char ticket[40];
    w->stands_still = true;
    w->wall_offset_s = dates[_i];
    world_restart(w);
    a = player_only("Ann");
    (void)snprintf(ticket, sizeof ticket, "%s", a->ticket);
    world_pass(w, LKEY_LIVES_S - 30);
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    world_pass(w, 60);
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
    ck_assert_uint_eq(lines("event=clock_set"), 0);
}

/* A live clock that says 1970 for a while has lost its way, not been set. */
TEST(boots, a_visit_to_1970_is_no_matter)
{
    struct person *a = player_only("Ann");
    set_clock_by(-50LL * YEAR_S);
    world_pass(w, 600);
    set_clock_by(50LL * YEAR_S);
    ck_assert_uint_eq(lines("event=clock_set"), 0);
    ck_assert_str_eq(buddy_code("Ann", a->ticket), "");
}

/* Some routers begin with the date of their newest file. Then NTP comes; or, if
 * nothing comes for an hour, what is kept had the wrong date. */
TEST_LOOP(boots, a_clock_that_is_behind_what_is_kept_is_doubted_for_an_hour, 0, 4)
{
    start_at(WORLD_WALL_S + YEAR_S);
    struct person *a = player_only("Ann");
    char ticket[40];
    (void)snprintf(ticket, sizeof ticket, "%s", a->ticket);
    start_at(WORLD_WALL_S + 100);
    world_pass(w, 3590);
    ck_assert_uint_eq(lines("event=clock_set"), 0);
    (void)player_only("Bob");
    ck_assert_uint_eq(dated("acct", "CREATED", WORLD_WALL_S + YEAR_S + 3591), 1);
    if (_i % 2 == 0) {
        set_clock_to(WORLD_WALL_S + YEAR_S + 2 * DAY_S);
        world_run(w, 1);
    } else {
        world_pass(w, 20);
    }
    ck_assert_uint_eq(lines("event=clock_set"), 1);
    if (_i >= 2)
        restart();
    ck_assert_uint_eq(dated("acct", "CREATED", WORLD_WALL_S + (_i % 2 == 0 ? YEAR_S + 2 * DAY_S : 3690)), 1);
    world_pass(w, LKEY_LIVES_S - 3590 - 80);
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    world_pass(w, 120);
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
    ck_assert_uint_eq(lines("event=clock_set"), 1);
}

/* The time that the server stood still has passed. */
TEST(boots, a_stop_is_no_jump)
{
    struct person *a = player_only("Ann");
    char ticket[40];
    (void)snprintf(ticket, sizeof ticket, "%s", a->ticket);
    start_at(WORLD_WALL_S + LKEY_LIVES_S - 60);
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    start_at(WORLD_WALL_S + LKEY_LIVES_S + 60);
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
    ck_assert_uint_eq(lines("event=clock_set"), 0);
}

/* ---- A whole run whose clock nobody has set ------------------------------- */

GROUP(unset, open_people, close_world, 60);

#define TODAY_S (WORLD_WALL_S + YEAR_S)

/* Whoever stops a server whose clock is not set does not stop what it has made: how
 * long it stood still is not known. Later stops count again. */
TEST_LOOP(unset, what_it_has_made_keeps_its_time_at_a_start_with_a_right_one, 0, 16)
{
    bool was_right = _i & 1, compacts = _i & 2, stops_twice = _i & 4, is_doubted = _i & 8;
    char ticket[40], old[40] = "";
    if (was_right || is_doubted) { /* the newest file of a router is older than its journal */
        start_at(TODAY_S);
        (void)snprintf(old, sizeof old, "%s", player_only("Old")->ticket);
    }
    start_at(is_doubted ? TODAY_S - DAY_S : 30);
    struct person *a = linked("Ann"), *b = player_only("Bob");
    (void)person("Cid");
    (void)snprintf(ticket, sizeof ticket, "%s", b->ticket);
    race_them(a, b);
    write_letter(a, "Cid", "hello");
    world_pass(w, 600);
    if (compacts)
        kept_compact(w);
    if (stops_twice) {
        start_at(is_doubted ? TODAY_S - DAY_S + 700 : 20);
        world_pass(w, 600);
        if (compacts)
            kept_compact(w);
    }
    ck_assert_uint_eq(world_kept(w, "clck"), 1);
    ck_assert_uint_eq(lines("event=clock_set"), 0);
    start_at(TODAY_S + 5 * DAY_S);
    ck_assert_uint_eq(lines("event=clock_set"), 1);
    ck_assert_str_eq(buddy_code("Bob", ticket), "");
    if (was_right || is_doubted)
        ck_assert_str_eq(buddy_code("Old", old), "");
    enter(a);
    SUCCEEDS(report(a->lobby, auth, ""));
    is_reading(&people[was_right || is_doubted ? 3 : 2], "hello");
    if (compacts)
        kept_compact(w);
    start_at(TODAY_S + 5 * DAY_S + LKEY_LIVES_S - 1500);
    ck_assert_str_eq(buddy_code("Bob", ticket), "");
    start_at(TODAY_S + 5 * DAY_S + LKEY_LIVES_S + 60);
    ck_assert_str_eq(buddy_code("Bob", ticket), "user");
    ck_assert_uint_eq(lines("event=clock_set"), 1);
}

/* What was made in it has the date of the start that knows one; what is older keeps its own. */
TEST_LOOP(unset, its_dates_are_put_right_by_the_start_that_knows_one, 0, 4)
{
    start_at(TODAY_S);
    (void)person("Old");
    start_at(30);
    (void)person("Ann");
    world_pass(w, 600);
    if (_i % 2 == 1)
        kept_compact(w);
    start_at(20);
    (void)person("Bob");
    if (_i >= 2)
        kept_compact(w);
    start_at(TODAY_S + 5 * DAY_S);
    kept_compact(w);
    char part[64];
    size_t of_today = 0;
    (void)snprintf(part, sizeof part, "CREATED=%lld\n", (long long)TODAY_S);
    ck_assert_uint_eq(kept_count(w, "acct", part), 1);
    for (int64_t s = TODAY_S + 5 * DAY_S - 60; s <= TODAY_S + 5 * DAY_S + 60; s++)
        of_today += dated("acct", "CREATED", s);
    ck_assert_uint_eq(of_today, 2);
}

/* From when the clock is set, by however little, a stop is time that has passed. */
TEST_LOOP(unset, it_ends_when_the_clock_is_set, 0, 12)
{
    static const int64_t to_s[] = {0, 30, -30, 3 * DAY_S};
    bool compacts = _i >= 6;
    char ticket[40];
    start_at(TODAY_S);
    struct person *a = player_only("Ann");
    (void)snprintf(ticket, sizeof ticket, "%s", a->ticket);
    start_at(20);
    ck_assert_uint_eq(world_kept(w, "clck"), 1);
    int64_t begun_s = TODAY_S + 1, now = begun_s;
    if (_i % 6 < 4) { /* while it runs */
        world_pass(w, 100);
        now = begun_s + 100 + to_s[_i % 6];
        set_clock_to(now);
        world_run(w, 1);
    } else { /* by a start, to the very second or nearly */
        now = begun_s + 1 + 7 * (_i % 6 - 4);
        start_at(now);
    }
    if (compacts) {
        kept_compact(w);
        ck_assert_uint_eq(world_kept(w, "clck"), 0);
    }
    start_at(now + LKEY_LIVES_S + 300);
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
}

/* A clock that is believed after an hour is as good as one that was set. */
TEST_LOOP(unset, it_ends_when_the_clock_is_believed, 0, 2)
{
    char ticket[40];
    start_at(TODAY_S + DAY_S);
    struct person *a = player_only("Ann");
    (void)snprintf(ticket, sizeof ticket, "%s", a->ticket);
    start_at(TODAY_S);
    world_pass(w, 3660);
    ck_assert_uint_eq(lines("event=clock_set"), 1);
    if (_i == 1)
        kept_compact(w);
    start_at(TODAY_S + LKEY_LIVES_S + 300);
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
    ck_assert_uint_eq(lines("event=clock_set"), 1);
}

/* The journal says it once, however often such a server is started. */
TEST(unset, it_is_written_down_once)
{
    for (int i = 0; i < 5; i++) {
        start_at(20 + i);
        world_pass(w, 4000);
    }
    ck_assert_uint_eq(world_kept(w, "clck"), 1);
    ck_assert_uint_eq(lines("event=clock_set"), 0);
}

/* And one that was set for some time and then is not, for good, is no jump each time. */
TEST(unset, it_may_come_and_go)
{
    char ticket[40];
    int64_t now = TODAY_S;
    start_at(now);
    struct person *a = player_only("Ann");
    (void)snprintf(ticket, sizeof ticket, "%s", a->ticket);
    for (unsigned i = 1; i <= 4; i++) {
        start_at(20);
        world_pass(w, 600);
        start_at(now += 5 * DAY_S);
        ck_assert_uint_eq(lines("event=clock_set"), i);
        ck_assert_str_eq(buddy_code("Ann", ticket), "");
    }
    start_at(now + LKEY_LIVES_S + 1);
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
}

/* Whether the disk takes it or not. */
TEST(unset, a_failing_disk_knows_it_when_it_is_well_again)
{
    struct person *a = player_only("Ann");
    char ticket[40];
    (void)snprintf(ticket, sizeof ticket, "%s", a->ticket);
    set_clock_to(20);
    w->fail_records = true;
    world_restart(w);
    no_links();
    world_run(w, 1);
    w->fail_records = false;
    ck_assert_uint_eq(world_kept(w, "clck"), 0);
    kept_compact(w); /* the fresh journal */
    ck_assert_uint_eq(world_kept(w, "clck"), 1);
    start_at(TODAY_S);
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
}
