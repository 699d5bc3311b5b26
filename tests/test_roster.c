/* Rosters (PROTOCOL 9): who is a buddy of whom, who is ignored, what is kept of
 * it, and what it does to be ignored.
 *
 * SPDX-License-Identifier: MIT */
#include "people.h"

/* ---- Rosters ------------------------------------------------------------ */

GROUP(rosters, open_people, close_world, 0);

TEST(rosters, an_empty_roster_ends_with_size_0)
{
    struct person *ann = linked("Ann");
    ask_rosters(ann);
    GOT(ann->buddy, "RGET RGET");
    SAYS(frame_at(ann->buddy, 0), "ID=1\nSIZE=0\nSTATUS=1");
    SAYS(frame_at(ann->buddy, 1), "ID=2\nSIZE=0\nSTATUS=1");
}

/* Six on one list, two on the other; Bob, Cid and Dan are online, one of them
 * in a race, one with no buddy link; and a letter waits. */
static struct person *busy_roster(void)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = player_only("Cid");
    struct person *dan = linked("Dan"), *eve = linked("Eve");
    (void)person("Fay");
    (void)person("Gil");
    crowd("X", 2);
    static const char *const buddies[] = {"Bob", "Cid", "Dan", "Fay", "X00", "X01"};
    for (int i = 0; i < COUNT(buddies); i++)
        put_on_list(ann, "B", buddies[i]);
    put_on_list(ann, "I", "Gil");
    put_on_list(ann, "I", "Eve"); /* who is online, and nobody's business */
    set_presence(bob, "AWAY");
    hold_race(cid, dan);
    link_down(ann);
    write_letter(bob, "Ann", "first");
    write_letter(dan, "Ann", "second");
    ck_assert_ptr_nonnull(eve);
    link_up(ann);
    return ann;
}

static void check_busy_roster(struct person *ann, bool one_segment)
{
    struct raw *r = ann->buddy;
    ck_assert_str_eq(rows_of(r, 1), "Bob Cid Dan Fay X00 X01");
    ck_assert_str_eq(rows_of(r, 2), "Eve Gil");
    ck_assert_str_eq(shown(r, "Bob"), "AWAY");
    ck_assert_str_eq(shown(r, "Cid"), "PASS");
    ck_assert_str_eq(shown(r, "Dan"), "PASS");
    ck_assert_uint_eq(frames_of(r, "PGET", NULL), 3); /* those who are online only */
    READS(ann, "first second");
    bool second = false, other = false;
    for (size_t i = 0; i < r->count; i++) {
        const struct got *g = r->frames[i];
        if (strcmp(g->kind, "ROST") == 0) {
            second = second || got_number(g, "ID") == 2;
            ck_assert(!second || got_number(g, "ID") == 2); /* ID=1's first */
        }
        bool pushed = strcmp(g->kind, "PGET") == 0 || strcmp(g->kind, "RECV") == 0;
        other = other || pushed;
        ck_assert(!one_segment || !other || pushed); /* after all of the rest */
    }
}

TEST_LOOP(rosters, both_rosters_then_who_is_online_then_the_letters, 0, 3)
{
    static const enum world_split splits[] = {WORLD_WHOLE, WORLD_BYTES, WORLD_RANDOM};
    struct world_options options = {.split = splits[_i], .seed = 77};
    reopen_people(&options);
    struct person *ann = busy_roster();
    ask_rosters(ann);
    check_busy_roster(ann, _i == 0);
    ask_rosters(ann); /* again: the same, but the letters came once */
    ck_assert_str_eq(rows_of(ann->buddy, 1), "Bob Cid Dan Fay X00 X01");
    ck_assert_uint_eq(frames_of(ann->buddy, "PGET", NULL), 3);
    READS(ann, "");
}

TEST(rosters, the_ignore_list_brings_nobodys_presence)
{
    struct person *ann = busy_roster();
    raw_forget(ann->buddy);
    say(ann->buddy, "RGET", GET_I);
    ck_assert_str_eq(rows_of(ann->buddy, 2), "Eve Gil");
    SEES(ann, "");
}

TEST(rosters, rows_come_whole_however_slowly_they_are_read)
{
    struct person *ann = busy_roster();
    raw_window(ann->buddy, 0);
    ask_rosters(ann);
    GOT(ann->buddy, "");
    for (int i = 0; i < 200; i++)
        raw_window(ann->buddy, 7);
    raw_window(ann->buddy, SIZE_MAX);
    check_busy_roster(ann, true);
}

TEST(rosters, many_rosters_in_one_segment_come_all)
{
    struct person *ann = linked("Ann");
    char name[16], payload[64], all[512] = "";
    crowd("Longname__", ROSTER_SIZE); /* names of twelve letters */
    for (int i = 0; i < ROSTER_SIZE; i++) {
        (void)snprintf(name, sizeof name, "Longname__%02d", i);
        (void)snprintf(all + strlen(all), 20, "%s%s", i == 0 ? "" : " ", name);
        put_on_list(ann, "B", name);
    }
    for (int id = 1; id <= 40; id++) {
        (void)snprintf(payload, sizeof payload, "LRSC=cso\nLIST=B\nPRES=Y\nID=%d\n", id);
        raw_send(ann->buddy, "RGET", payload);
    }
    for (int id = 1; id <= 40; id++)
        ck_assert_str_eq(rows_of(ann->buddy, id), all);
    ck_assert_uint_eq(ann->buddy->count, 40 * (1 + ROSTER_SIZE));
}

TEST_LOOP(rosters, who_is_added_is_named_as_first_written, 0, 4)
{
    static const char *const users[] = {"bigBOB", "BIGBOB/cso/nascar-ps2-2004", "BigBob@cso", "bigbob"};
    static const int32_t ids[] = {101, 1, 2147483647, 7};
    struct person *ann = linked("Ann");
    struct person *bob = _i < 2 ? person("BigBob") : linked("BigBob");
    const char *list = _i % 2 == 0 ? "B" : "I";
    char payload[128];
    for (int i = 0; i < COUNT(users); i++) {
        raw_forget(ann->buddy);
        (void)snprintf(payload, sizeof payload, "LRSC=cso\nID=%ld\nLIST=%s\nPRES=Y\nUSER=%s\nGROUP=\n", (long)ids[i],
                       list, users[i]);
        say(ann->buddy, "RADD", payload);
        GOT(ann->buddy, _i % 2 == 0 ? "RADD PGET" : "RADD");
        ck_assert_str_eq(got_code(frame_at(ann->buddy, 0)), "");
        SAYS(frame_at(ann->buddy, 0), "ID=%ld\nFUSR=BigBob\nSTATUS=1", (long)ids[i]);
        if (_i % 2 == 0)
            SEES(ann, _i == 0 ? "BigBob=DISC" : "BigBob=CHAT");
        HAS(ann, _i % 2 == 0 ? "BigBob" : "", _i % 2 == 0 ? "" : "BigBob"); /* once */
    }
    for (int i = 0; i < 2; i++) { /* and again, when it is gone already */
        raw_forget(ann->buddy);
        (void)snprintf(payload, sizeof payload, "ID=%d\nUSER=bIGbOB\nLIST=%s\n", 55 + i, list);
        say(ann->buddy, "RDEL", payload);
        GOT(ann->buddy, "RDEL");
        ck_assert_str_eq(got_code(frame_at(ann->buddy, 0)), "");
        SAYS(frame_at(ann->buddy, 0), "ID=%d\nSTATUS=1", 55 + i);
        HAS(ann, "", "");
    }
    ck_assert_ptr_nonnull(bob);
}

TEST(rosters, a_bad_roster_change_is_refused_with_its_id)
{
    enum { NOBODY = 12 }; /* so many name somebody who is none; the others name no list */
    static const char *const bad[] = {
        "LIST=B\nUSER=Nobody\n",
        "LIST=I\nUSER=Nobody/cso\n",
        "LIST=B\nUSER=Ann\n",
        "LIST=I\nUSER=ANN/cso\n",
        "LIST=B\nUSER=\n",
        "LIST=B\nUSER=/cso\n",
        "LIST=B\nUSER=a.b\n",
        "LIST=B\nUSER=\"Bob \"\n",
        "LIST=B\nUSER=Bob,Cid\n",
        "LIST=B\nUSER=%00Bob\n",
        "LIST=B\nUSER=East\n",
        "LIST=B\nUSER=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
        "LIST=X\nUSER=Bob\n",
        "LIST=\nUSER=Bob\n",
        "LIST=b\nUSER=Bob\n",
        "LIST=BB\nUSER=Bob\n",
        "USER=Bob\n"};
    struct person *ann = linked("Ann");
    (void)person("Bob");
    size_t before = w->record_count;
    for (int i = 0; i < COUNT(bad); i++) {
        char payload[256];
        (void)snprintf(payload, sizeof payload, "ID=%d\n%s", 4711 + i, bad[i]);
        raw_forget(ann->buddy);
        say(ann->buddy, "RADD", payload);
        GOT(ann->buddy, "RADD");
        REFUSED(frame_at(ann->buddy, 0), i < NOBODY ? "user" : "miss", i < NOBODY ? 102 : 0);
        ck_assert_int_eq(got_number(frame_at(ann->buddy, 0), "ID"), 4711 + i);
        ck_assert(!got_has(frame_at(ann->buddy, 0), "FUSR"));
        raw_forget(ann->buddy);
        say(ann->buddy, "RDEL", payload); /* whoever is not on it is off it */
        GOT(ann->buddy, "RDEL");
        ck_assert_int_eq(got_number(frame_at(ann->buddy, 0), "ID"), 4711 + i);
        if (i >= NOBODY)
            REFUSED(frame_at(ann->buddy, 0), "miss", 0);
    }
    HAS(ann, "", "");
    ck_assert_uint_eq(w->record_count, before);
}

TEST(rosters, a_bad_request_for_a_roster_is_refused)
{
    static const char *const bad[] = {
        "", "ID=1\n", "LIST=\nID=1\n", "LIST=X\nID=1\n", "LIST=BI\nID=1\n", "LRSC=cso\nPRES=Y\n"};
    struct person *ann = linked("Ann");
    for (int i = 0; i < COUNT(bad); i++) {
        raw_forget(ann->buddy);
        say(ann->buddy, "RGET", bad[i]);
        GOT(ann->buddy, "RGET");
        REFUSED(frame_at(ann->buddy, 0), "miss", 0);
    }
    HAS(ann, "", "");
}

TEST(rosters, a_roster_holds_25)
{
    struct person *ann = linked("Ann");
    char name[16];
    crowd("Racer", ROSTER_SIZE + 2);
    for (int i = 0; i < ROSTER_SIZE; i++) {
        (void)snprintf(name, sizeof name, "Racer%02d", i);
        put_on_list(ann, i % 5 == 4 ? "I" : "B", name); /* both lists together */
    }
    for (int i = 0; i < 2; i++) {
        const struct got *g = change_list(ann->buddy, "RADD", i == 0 ? "B" : "I", "Racer25");
        REFUSED(g, "full", 0);
        ck_assert_int_eq(got_number(g, "ID"), 101);
    }
    ask_rosters(ann);
    ck_assert_uint_eq(frames_of(ann->buddy, "ROST", NULL), ROSTER_SIZE);
    ck_assert_ptr_null(strstr(rows_of(ann->buddy, 1), "Racer25"));
    put_on_list(ann, "I", "Racer00"); /* who is on it already can be blocked */
    take_off_list(ann, "B", "Racer03");
    put_on_list(ann, "B", "Racer25");
    REFUSED(change_list(ann->buddy, "RADD", "B", "Racer26"), "full", 0);
    restart();
    link_up(ann);
    ask_rosters(ann);
    ck_assert_uint_eq(frames_of(ann->buddy, "ROST", NULL), ROSTER_SIZE + 1); /* one on both */
    REFUSED(change_list(ann->buddy, "RADD", "B", "Racer26"), "full", 0);
}

/* A friend whose row a refusal has taken off the screen, or an RDEL of the other list, comes
 * back to it by either list, and so does whether he is online. */
TEST_LOOP(rosters, whoever_is_a_friend_still_is_shown_when_blocked, 0, 2)
{
    struct person *ann = linked("Ann");
    (void)linked("Bob");
    put_on_list(ann, "B", "Bob");
    if (_i == 0) {
        w->fail_records = true;
        REFUSED(change_list(ann->buddy, "RADD", "B", "Bob"), "fail", 0);
        w->fail_records = false;
    } else {
        take_off_list(ann, "I", "Bob");
    }
    raw_forget(ann->buddy);
    SUCCEEDS(change_list(ann->buddy, "RADD", "I", "Bob"));
    world_settle(w);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "CHAT");
    HAS(ann, "Bob", "Bob");
}

TEST_LOOP(rosters, to_block_is_both_lists_with_one_id, 0, 2)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    if (_i == 1)
        put_on_list(ann, "B", "Bob");
    raw_send(ann->buddy, "RADD", "LRSC=cso\nID=101\nLIST=B\nPRES=Y\nUSER=Bob\nGROUP=\n");
    raw_send(ann->buddy, "RADD", "LRSC=cso\nID=101\nLIST=I\nPRES=Y\nUSER=Bob\nGROUP=\n");
    world_settle(w);
    ck_assert_uint_eq(frames_of(ann->buddy, "RADD", NULL), 2);
    for (size_t i = 0; i < ann->buddy->count; i++) {
        const struct got *g = frame_at(ann->buddy, i);
        if (strcmp(g->kind, "RADD") == 0)
            SAYS(g, "ID=101\nFUSR=Bob\nSTATUS=1");
    }
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "CHAT");
    for (int i = 0; i < 2; i++) {
        HAS(ann, "Bob", "Bob");
        write_letter(bob, "Ann", "psst");
        READS(ann, "");
        if (i == 0) {
            restart();
            enter(ann);
            enter(bob);
            link_up(ann);
            link_up(bob);
        }
    }
    take_off_list(ann, "I", "Bob"); /* and unblocked */
    HAS(ann, "Bob", "");
    write_letter(bob, "Ann", "hello");
    READS(ann, "hello");
    put_on_list(ann, "I", "Bob");
    take_off_list(ann, "B", "Bob"); /* blocked, and no friend */
    HAS(ann, "", "Bob");
    set_presence(bob, "AWAY");
    SEES(ann, "");
    write_letter(bob, "Ann", "psst");
    READS(ann, "");
}

TEST(rosters, a_roster_is_kept)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    (void)person("Cid");
    (void)person("Dan");
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Cid");
    put_on_list(ann, "I", "Dan");
    put_on_list(ann, "I", "Cid");
    put_on_list(ann, "B", "Dan");
    take_off_list(ann, "B", "Dan");
    put_on_list(bob, "B", "Ann");
    for (int i = 0; i < 2; i++) {
        restart();
        link_up(ann); /* with the old ticket */
        link_up(bob);
        HAS(ann, "Bob Cid", "Cid Dan");
        SEES(ann, ""); /* nobody plays */
        HAS(bob, "Ann", "");
    }
}

TEST_LOOP(rosters, a_change_is_answered_when_it_is_kept, 0, 2)
{
    struct person *ann = linked("Ann");
    (void)person("Bob");
    w->hold_records = true;
    raw_send(ann->buddy, "RADD", "ID=101\nLIST=B\nUSER=Bob\n");
    raw_send(ann->buddy, "RGET", GET_B); /* waits behind it */
    world_settle(w);
    GOT(ann->buddy, "");
    world_release_records(w, _i == 0);
    w->hold_records = false;
    world_settle(w);
    const struct got *g = frame_at(ann->buddy, 0);
    ck_assert_str_eq(g->kind, "RADD");
    ck_assert_int_eq(got_number(g, "ID"), 101);
    if (_i == 0) {
        SUCCEEDS(g);
    } else {
        ck_assert_uint_ne(g->code, 0);
        ck_assert_int_ne(got_status(g), 1);
    }
    ck_assert_str_eq(rows_of(ann->buddy, 1), _i == 0 ? "Bob" : "");
}

TEST(rosters, a_change_that_is_not_kept_has_not_happened)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    (void)person("Cid");
    put_on_list(ann, "B", "Bob");
    raw_forget(ann->buddy);
    w->fail_records = true;
    const struct got *tries[] = {change_list(ann->buddy, "RADD", "B", "Cid"),
                                 change_list(ann->buddy, "RADD", "I", "Bob"),
                                 change_list(ann->buddy, "RDEL", "B", "Bob")};
    w->fail_records = false;
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_ne(tries[i]->code, 0);
        ck_assert_int_ne(got_status(tries[i]), 1);
        ck_assert_int_eq(got_number(tries[i], "ID"), 101);
    }
    GOT(ann->buddy, "RADD RADD RDEL"); /* no presence of who is not on it */
    HAS(ann, "Bob", "");
    set_presence(bob, "AWAY"); /* still told of him */
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "AWAY");
    write_letter(bob, "Ann", "hello");
    READS(ann, "hello");
    put_on_list(ann, "B", "Cid");
    restart();
    link_up(ann);
    HAS(ann, "Bob Cid", "");
}

TEST(rosters, a_full_table_of_rosters_refuses)
{
    struct world_options options = {.limits = {16, 64, 8, 16, 2, 16, 0}};
    reopen_people(&options);
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    put_on_list(bob, "B", "Ann");
    (void)person("Cid");
    REFUSED(change_list(ann->buddy, "RADD", "B", "Cid"), "full", 0);
    HAS(ann, "Bob", "");
    take_off_list(bob, "B", "Ann");
    put_on_list(ann, "B", "Cid");
    HAS(ann, "Bob Cid", "");
}

/* ---- Ignoring ----------------------------------------------------------- */

GROUP(ignoring, open_people, close_world, 0);

TEST(ignoring, an_ignored_player_is_not_heard)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    go(ann->lobby, "East");
    go(bob->lobby, "East");
    go(cid->lobby, "East");
    for (int turn = 0; turn < 3; turn++) { /* not yet, now, no more */
        bool heard = turn != 1;
        if (turn == 1)
            put_on_list(bob, "I", "Ann");
        else if (turn == 2)
            take_off_list(bob, "I", "Ann");
        forget_all();
        SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=hello\n"));
        SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=psst\nPRIV=Bob\n"));
        write_letter(ann, "Bob", "dear");
        ck_assert_uint_eq(frames_of(bob->lobby, "+msg", NULL), heard ? 2 : 0);
        ck_assert_uint_eq(frames_of(ann->lobby, "+msg", NULL), 1); /* her own line */
        ck_assert_uint_eq(frames_of(cid->lobby, "+msg", NULL), 1);
        READS(bob, heard ? "dear" : "");
        forget_all();
        word(ann->lobby, bob->lobby, TOKEN); /* a challenge */
        ck_assert_uint_eq(frames_of(bob->lobby, "+msg", NULL), heard ? 1 : 0);
        const struct got *g = NULL;
        if (!heard) {
            ck_assert_uint_eq(frames_of(ann->lobby, "+msg", &g), 1);
            ck_assert_str_eq(got_text(g, "T"), "BLOC");
        } else {
            word(bob->lobby, ann->lobby, "DECL");
        }
        forget_all();
        SUCCEEDS(raw_ask(bob->lobby, "mesg", "TEXT=who is there\n")); /* it is one way */
        write_letter(bob, "Ann", "dear");
        ck_assert_uint_eq(frames_of(ann->lobby, "+msg", NULL), 1);
        READS(ann, "dear");
    }
}

TEST_LOOP(ignoring, nothing_is_kept_for_who_ignores, 0, 2)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(bob, "I", "Ann");
    link_down(bob);
    if (_i == 1) {
        leave_lobby(bob);
        restart(); /* the list is kept */
        enter(ann);
        enter(cid);
        link_up(ann);
        link_up(cid);
    }
    size_t before = w->record_count;
    write_letter(ann, "Bob", "unheard"); /* who writes is not told */
    ck_assert_uint_eq(w->record_count, before);
    write_letter(cid, "Bob", "heard");
    link_up(bob);
    take_off_list(bob, "I", "Ann");
    ask_rosters(bob);
    READS(bob, "heard");
}

TEST(ignoring, who_is_ignored_by_now_is_not_read)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob"), *cid = linked("Cid");
    write_letter(ann, "Bob", "unheard");
    write_letter(cid, "Bob", "heard");
    link_up(bob);
    put_on_list(bob, "I", "Ann");
    ask_rosters(bob);
    READS(bob, "heard");
    take_off_list(bob, "I", "Ann");
    ask_rosters(bob);
    READS(bob, "");
}

TEST(ignoring, an_ignore_list_works_without_a_buddy_link)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(bob, "I", "Ann");
    restart();
    enter(ann);
    enter(bob);
    go(ann->lobby, "East");
    go(bob->lobby, "East");
    forget_all();
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=hello\n"));
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=psst\nPRIV=Bob\n"));
    ck_assert_uint_eq(frames_of(bob->lobby, "+msg", NULL), 0);
}

TEST(rosters, who_is_deleted_can_still_be_taken_off)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    put_on_list(ann, "B", "Ace");
    put_on_list(ann, "B", "Bob");
    SUCCEEDS(raw_ask(bob->lobby, "dper", "PERS=Ace\n"));
    SUCCEEDS(change_list(ann->buddy, "RDEL", "B", "Ace")); /* the console still shows the row */
    HAS(ann, "Bob", "");
}
