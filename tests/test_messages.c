/* Messages on the buddy service (PROTOCOL 9): to those who are there, and, kept,
 * to those who are not.
 *
 * SPDX-License-Identifier: MIT */
#include "people.h"

/* ---- Letters ------------------------------------------------------------ */

GROUP(letters, open_people, close_world, 0);

TEST_LOOP(letters, a_letter_comes_at_once_to_who_is_linked, 0, 2)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    if (_i == 1)
        leave_lobby(bob); /* the buddy link is what counts */
    world_run(w, 1000000);
    size_t before = w->record_count;
    write_letter(ann, "bOB/cso/nascar-ps2-2004", "hello");
    GOT(bob->buddy, "RECV");
    ck_assert_str_eq(got_code(frame_at(bob->buddy, 0)), "");
    SAYS(frame_at(bob->buddy, 0), "USER=Ann\nTYPE=C\nBODY=hello\nTIME=%lld", now_s());
    ck_assert_uint_le(w->record_count, before + 2); /* that it is there, and that it was read */
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "mesg"), 0);
    ask_rosters(bob);
    READS(bob, "");
    restart();
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "");
}

TEST(letters, a_letter_keeps_its_type)
{
    static const char *const types[] = {"C", "X", ""};
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    char payload[64];
    for (int i = 0; i < 2 * COUNT(types); i++) {
        (void)snprintf(payload, sizeof payload, "TYPE=%s\nUSER=Bob\nBODY=x\n", types[i / 2]);
        if (i % 2 == 1)
            link_down(bob);
        SUCCEEDS(raw_ask(ann->buddy, "SEND", i == 5 ? "USER=Bob\nBODY=x\n" : payload));
        if (i % 2 == 1) {
            restart();
            link_up(ann);
            link_up(bob);
            ask_rosters(bob);
        }
        SAYS(raw_expect(bob->buddy, "RECV"), "USER=Ann\nTYPE=%s\nBODY=x\nTIME=*", i / 2 == 1 ? "X" : "C");
        raw_forget(bob->buddy);
    }
}

TEST_LOOP(letters, a_letter_waits_for_the_next_rosters, 0, 4)
{
    struct person *ann = linked("Ann"), *bob = person("Bob"), *cid = linked("Cid");
    if (_i % 2 == 1)
        enter(bob); /* in the lobby, without a link */
    long long first = now_s();
    write_letter(ann, "bob", "one");
    world_run(w, 100000);
    write_letter(cid, "BOB/cso", "\"two words\"");
    w->wall_offset_s -= 50; /* the clock is set back; the order is that of sending */
    write_letter(ann, "Bob", "three");
    if (_i >= 2)
        restart();
    if (bob->lobby == NULL)
        enter(bob);
    link_up(bob);
    READS(bob, ""); /* not before the rosters */
    ask_rosters(bob);
    GOT(bob->buddy, "RGET RGET RECV RECV RECV");
    SAYS(frame_at(bob->buddy, 2), "USER=Ann\nTYPE=C\nBODY=one\nTIME=%lld", first);
    SAYS(frame_at(bob->buddy, 3), "USER=Cid\nTYPE=C\nBODY=\"two words\"\nTIME=%lld", first + 100);
    SAYS(frame_at(bob->buddy, 4), "USER=Ann\nTYPE=C\nBODY=three\nTIME=*");
    for (int i = 0; i < 2; i++) { /* once */
        ask_rosters(bob);
        READS(bob, "");
        restart();
        link_up(bob);
    }
}

TEST_LOOP(letters, either_roster_brings_the_letters, 0, 2)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    write_letter(ann, "Bob", "hello");
    link_up(bob);
    say(bob->buddy, "RGET", _i == 0 ? GET_B : GET_I);
    GOT(bob->buddy, "RGET RECV");
    raw_forget(bob->buddy);
    say(bob->buddy, "RGET", _i == 1 ? GET_B : GET_I);
    GOT(bob->buddy, "RGET");
}

TEST_LOOP(letters, a_letter_is_kept_for_its_seconds, 0, 8)
{
    static const struct {
        const char *secs;
        long lives_s;
    } cases[] = {
        {"60", 60},
        {"1", 1},
        {"259200", 259200},
        {NULL, 259200},
        {"2592000", 2592000},
        {"2592001", 2592000},
        {"99999999", 2592000},
        {"2147483647", 2592000},
    };
    struct person *ann = linked("Ann"), *bob = player_only("Bob"), *cid = player_only("Cid");
    SUCCEEDS(letter(ann, "Bob", "hello", cases[_i].secs));
    SUCCEEDS(letter(ann, "Cid", "hello", cases[_i].secs));
    link_down(ann); /* days with nobody to ping are short */
    leave_lobby(ann);
    leave_lobby(bob);
    leave_lobby(cid);
    long early = cases[_i].lives_s > 2 ? 2 : 1;
    world_pass(w, cases[_i].lives_s - early);
    enter(bob);
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "hello");
    world_pass(w, early + 2);
    if (_i % 2 == 1)
        restart();
    if (cid->lobby == NULL || raw_closed(cid->lobby))
        enter(cid);
    else
        put_on(cid);
    link_up(cid);
    ask_rosters(cid);
    READS(cid, "");
}

TEST(letters, a_letter_for_no_time_comes_now_or_never)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    size_t before = w->record_count;
    (void)person("Cid");
    SUCCEEDS(letter(ann, "Bob", "hello", "0"));
    READS(bob, "hello");
    before = w->record_count;
    REFUSED(letter(ann, "Cid", "hello", "0"), "user", 102);
    ck_assert_uint_eq(w->record_count, before);
}

TEST(letters, strange_seconds_lose_no_letter_silently)
{
    static const char *const secs[] = {"", "x", "-1", "+60", "1e9", "99999999999999999999", "4294967296", "0x10"};
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    for (int i = 0; i < COUNT(secs); i++) {
        const struct got *g = letter(ann, "Bob", "hello", secs[i]);
        ck_assert((g->code == 0) == (got_status(g) == 1));
        link_up(bob);
        ask_rosters(bob);
        READS(bob, g->code == 0 ? "hello" : "");
        link_down(bob);
    }
}

TEST_LOOP(letters, fifty_letters_are_kept, 0, 4)
{
    struct person *ann = linked("Ann"), *cid = linked("Cid"), *bob = player_only("Bob");
    (void)person("Dan");
    char body[16], *all = lobby_text();
    char expected[512] = "";
    for (int i = 0; i < KEPT_LETTERS; i++) {
        (void)snprintf(body, sizeof body, "L%d", i);
        (void)snprintf(expected + strlen(expected), 20, "%s%s", i == 0 ? "" : " ", body);
        SUCCEEDS(letter(i % 2 == 0 ? ann : cid, "Bob", body, i < 10 ? "600" : "6000"));
    }
    REFUSED(letter(ann, "Bob", "too many", NULL), "full", 0);
    REFUSED(letter(cid, "Bob", "too many", "0"), "user", 102);
    write_letter(ann, "Dan", "hello"); /* it is Bob's that are full */
    if (_i == 1) {
        restart();
        enter(ann);
        link_up(ann);
        REFUSED(letter(ann, "Bob", "too many", NULL), "full", 0);
    }
    if (_i >= 2) { /* ten of them run out: there is room for so many */
        world_run(w, 700000);
        for (int i = 0; i < 10; i++) {
            (void)snprintf(body, sizeof body, "M%d", i);
            write_letter(ann, "Bob", body);
        }
        REFUSED(letter(ann, "Bob", "too many", NULL), "full", 0);
        strcpy(all, strstr(expected, "L10"));
        for (int i = 0; i < 10; i++)
            (void)snprintf(all + strlen(all), 16, " M%d", i);
        strcpy(expected, all);
    }
    if (_i == 3) { /* and those who came into it are kept, too */
        restart();
        enter(ann);
        link_up(ann);
        enter(bob);
    }
    link_up(bob);
    ask_rosters(bob);
    READS(bob, expected);
    link_down(bob);
    for (int i = 0; i < KEPT_LETTERS; i++) /* read: there is room again */
        write_letter(ann, "Bob", "again");
    REFUSED(letter(ann, "Bob", "too many", NULL), "full", 0);
    link_up(bob);
    ask_rosters(bob);
    ck_assert_uint_eq(frames_of(bob->buddy, "RECV", NULL), KEPT_LETTERS);
}

TEST_LOOP(letters, a_full_table_of_letters_refuses, 0, 2)
{
    struct world_options options = {.limits = {16, 64, 8, 16, 64, 3, 0}};
    reopen_people(&options);
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    (void)person("Cid");
    write_letter(ann, "Bob", "one");
    write_letter(ann, "Cid", "two");
    write_letter(ann, "Bob", "three");
    REFUSED(letter(ann, "Bob", "four", NULL), "full", 0);
    REFUSED(letter(ann, "Cid", "four", NULL), "full", 0);
    link_up(bob);
    if (_i == 0) {
        link_up(bob);
        ask_rosters(bob);
        READS(bob, "one three");
    } else { /* what has expired makes room, whosever it is */
        (void)person("Dan");
        world_pass(w, 4 * DAY_S);
        world_run(w, 61000);
        write_letter(ann, "Dan", "five");
    }
    write_letter(ann, "Cid", "six");
}

TEST_LOOP(letters, long_letters_come_all_and_in_order, 0, 2)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    char body[600];
    for (int i = 0; i < KEPT_LETTERS; i++) {
        (void)snprintf(body, sizeof body, "%02d", i);
        for (int k = 2; k < 170; k++) /* three bytes each on the wire */
            strcat(body, "%3d");
        SUCCEEDS(letter(ann, "Bob", body, NULL));
    }
    link_up(bob);
    if (_i == 1)
        raw_window(bob->buddy, 1000);
    ask_rosters(bob);
    for (int i = 0; i < 60 && _i == 1; i++)
        raw_window(bob->buddy, 600);
    raw_window(bob->buddy, SIZE_MAX);
    world_settle(w);
    ck_assert_uint_eq(bob->buddy->count, KEPT_LETTERS + 2);
    for (int i = 0; i < KEPT_LETTERS; i++) {
        const char *text = got_text(frame_at(bob->buddy, (size_t)i + 2), "BODY");
        ck_assert_uint_eq(strlen(text), 170);
        ck_assert_int_eq(atoi(text), i);
    }
    ask_rosters(bob);
    READS(bob, "");
}

TEST(letters, a_link_lost_while_letters_come_loses_none)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    char body[300];
    bool came[20] = {false};
    memset(body, 'x', 250);
    for (int i = 0; i < COUNT(came); i++) {
        (void)snprintf(body, sizeof body, "%02d%0248d", i, 0);
        write_letter(ann, "Bob", body);
    }
    link_up(bob);
    raw_window(bob->buddy, 1200); /* a few of them */
    raw_send(bob->buddy, "RGET", GET_B);
    world_settle(w);
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < bob->buddy->count; i++) {
            if (strcmp(bob->buddy->frames[i]->kind, "RECV") == 0) {
                int number = atoi((char[]){got_text(bob->buddy->frames[i], "BODY")[0],
                                           got_text(bob->buddy->frames[i], "BODY")[1], '\0'});
                ck_assert(!came[number] || turn == 1);
                came[number] = true;
            }
        }
        if (turn == 0) {
            ck_assert(!came[19]);
            link_down(bob);
            restart();
            link_up(bob);
            ask_rosters(bob);
        }
    }
    size_t unread = 0;
    for (int i = 0; i < COUNT(came); i++)
        unread += !came[i];
    /* What was written to a link that broke may be lost; what was not is there. */
    ck_assert_uint_lt(unread, COUNT(came));
    ck_assert(came[19]);
}

/* ... whether the server has been up all the while or not. */
TEST_LOOP(letters, a_letter_that_a_lost_link_did_not_read_comes_to_the_next, 0, 2)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    write_letter(ann, "Bob", "hello");
    link_up(bob);
    raw_window(bob->buddy, 0);
    raw_send(bob->buddy, "RGET", GET_B);
    world_settle(w);
    READS(bob, "");
    link_down(bob);
    if (_i == 1)
        restart();
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "hello");
}

/* A console that was just switched off: nobody knows it yet, and its link takes nothing
 * more. What it has not been sent comes when it is back, once, also over a restart. */
TEST_LOOP(letters, a_letter_to_a_console_that_is_off_is_not_lost, 0, 6)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    if (_i % 2 == 1)
        ask_rosters(bob);
    raw_window(bob->buddy, 0);
    write_letter(ann, "Bob", "one");
    write_letter(ann, "Bob", "two");
    READS(bob, "");
    if (_i / 2 == 0)
        link_down(bob);
    else if (_i / 2 == 1)
        world_run(w, 100000); /* until it is found dead */
    else
        restart();
    if (bob->lobby == NULL || raw_closed(bob->lobby))
        enter(bob);
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "one two");
    restart();
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "");
}

/* Nor is what was written, but for a part, when the link broke. */
TEST(letters, of_letters_on_a_link_that_breaks_the_rest_is_not_lost)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    ask_rosters(bob);
    raw_window(bob->buddy, 100);
    for (int i = 0; i < 3; i++)
        write_letter(ann, "Bob", i == 0 ? "one" : i == 1 ? "two" : "three");
    char first[256];
    (void)snprintf(first, sizeof first, "%s", letters(bob->buddy));
    link_down(bob);
    link_up(bob);
    ask_rosters(bob);
    const char *rest = letters(bob->buddy);
    ck_assert_str_eq(first, "one");
    ck_assert_msg(strcmp(rest, "two three") == 0 || strcmp(rest, "one two three") == 0, "%s", rest);
}

/* What is newer does not come first: neither before the rosters are asked for, nor while
 * older ones are on their way to a reader who is slow. */
TEST_LOOP(letters, no_letter_overtakes_an_older_one, 0, 4)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob"), *cid = linked("Cid");
    char body[64], expected[2048] = "";
    int count = _i % 2 == 0 ? 2 : 20;
    for (int i = 0; i < count; i++) {
        (void)snprintf(body, sizeof body, "%0*d", _i % 2 == 0 ? 2 : 60, i);
        (void)snprintf(expected + strlen(expected), 80, "%s%s", i == 0 ? "" : " ", body);
        write_letter(ann, "Bob", body);
    }
    link_up(bob);
    if (_i < 2) {
        write_letter(cid, "Bob", "last");
        write_letter(ann, "Bob", "least");
        READS(bob, ""); /* not before the rosters */
        ask_rosters(bob);
    } else {
        raw_window(bob->buddy, 300);
        ask_rosters(bob);
        write_letter(cid, "Bob", "last");
        write_letter(ann, "Bob", "least");
        raw_window(bob->buddy, SIZE_MAX);
        world_settle(w);
        world_run(w, 100);
    }
    (void)snprintf(expected + strlen(expected), 80, " last least");
    READS(bob, expected);
}

/* Where there is no room to keep it, it is told all the same, if nothing older waits. */
TEST_LOOP(letters, a_letter_that_cannot_be_kept_comes_now_or_is_refused, 0, 3)
{
    struct world_options options = {.limits = {16, 64, 8, 16, 64, 2, 0}};
    reopen_people(&options);
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    const char *secs = _i == 2 ? "0" : NULL;
    (void)person("Cid");
    ask_rosters(bob);
    if (_i == 0) {
        write_letter(ann, "Cid", "one");
        write_letter(ann, "Cid", "two");
    }
    w->fail_records = _i == 1;
    SUCCEEDS(letter(ann, "Bob", "three", secs));
    READS(bob, "three");
    SUCCEEDS(letter(ann, "Bob", "four", secs));
    READS(bob, "three four");
    w->fail_records = false;
    if (_i == 0)
        return;
    raw_window(bob->buddy, 0);
    say(bob->buddy, "PGET", "USER=Ann\n"); /* something stands in its outbox */
    write_letter(ann, "Bob", "five");
    write_letter(ann, "Bob", "six");
    w->fail_records = _i == 1;
    ck_assert_uint_ne(letter(ann, "Bob", "seven", secs)->code, 0); /* it would overtake these */
    w->fail_records = false;
    raw_window(bob->buddy, SIZE_MAX);
    world_settle(w);
    READS(bob, "three four five six");
}

/* ... nor does it overtake one that is on its way to the disk. */
TEST_LOOP(letters, a_letter_for_no_time_waits_for_those_before_it, 0, 2)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    ask_rosters(bob);
    w->hold_records = true;
    say(ann->buddy, "SEND", "TYPE=C\nUSER=Bob\nBODY=one\n");
    say(cid->buddy, "SEND", "TYPE=C\nUSER=Bob\nBODY=two\nSECS=0\n");
    READS(bob, "");
    w->hold_records = false;
    world_release_records(w, _i == 0);
    world_settle(w);
    READS(bob, "one two");
    SUCCEEDS(raw_expect(ann->buddy, "SEND"));
    SUCCEEDS(raw_expect(cid->buddy, "SEND"));
}

/* One that is told already keeps nobody waiting, though it is not off the disk yet. */
TEST(letters, a_letter_behind_one_that_is_just_read_comes_at_once)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    raw_window(bob->buddy, 0);
    write_letter(ann, "Bob", "one");
    w->hold_records = true;
    say(ann->buddy, "SEND", "TYPE=C\nUSER=Bob\nBODY=two\n");
    raw_window(bob->buddy, SIZE_MAX);
    world_settle(w);
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    SUCCEEDS(raw_expect(ann->buddy, "SEND"));
    READS(bob, "one two");
}

/* For no time means now or never, and now may be as long as a disk takes. */
TEST(letters, a_letter_for_no_time_waits_for_a_slow_disk)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    ask_rosters(bob);
    w->hold_records = true;
    say(ann->buddy, "SEND", "TYPE=C\nUSER=Bob\nBODY=now\nSECS=0\n");
    world_run(w, 20000);
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    SUCCEEDS(raw_expect(ann->buddy, "SEND"));
    READS(bob, "now");
}

TEST(letters, letters_from_before_and_after_a_restart_come_in_order)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    write_letter(ann, "Bob", "first");
    write_letter(ann, "Bob", "second");
    restart();
    enter(ann);
    link_up(ann);
    write_letter(ann, "Bob", "third");
    enter(bob);
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "first second third");
    ask_rosters(bob);
    READS(bob, "");
}

TEST_LOOP(letters, a_letter_says_what_was_written, 0, 7)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    char body[1024] = "", wire[1024] = "";
    static const int sizes[] = {1, 63, 255, 256, 600};
    if (_i < COUNT(sizes)) {
        for (int i = 0; i < sizes[_i]; i++)
            body[i] = (char)('a' + i % 26);
        strcpy(wire, body);
    } else { /* every byte but NUL, and what could pass for a tag */
        strcpy(body, "USER=Cid TIME:5\nTYPE=D\n\"quoted\" 'and' 100% ");
        size_t size = strlen(body);
        for (int i = 1 + (_i - COUNT(sizes)) * 200; i < 256 && size < 255; i++)
            body[size++] = (char)(unsigned char)(i & 0xFF);
        for (size_t i = 0; i < size; i++)
            (void)snprintf(wire + 3 * i, 4, "%%%02x", (unsigned)(unsigned char)body[i]);
    }
    if (_i % 2 == 1)
        link_down(bob);
    write_letter(ann, "Bob", wire);
    if (_i % 2 == 1) {
        restart();
        link_up(bob);
        ask_rosters(bob);
    }
    ck_assert_uint_eq(frames_of(bob->buddy, "RECV", NULL), 1);
    const struct got *g = NULL;
    (void)frames_of(bob->buddy, "RECV", &g);
    body[255] = '\0'; /* no more than that */
    ck_assert_str_eq(got_text(g, "BODY"), body);
    ck_assert_str_eq(got_text(g, "USER"), "Ann");
    ck_assert_str_eq(got_text(g, "TYPE"), "C");
}

TEST(letters, a_bad_letter_is_refused)
{
    enum { TO_NOBODY = 4, OF_NOTHING = 9 }; /* where those end; the others are to no name at all */
    static const char *const bad[] = {"TYPE=C\nUSER=Nobody\nBODY=x\nSECS=60\n",
                                      "TYPE=C\nUSER=Ann\nBODY=x\nSECS=60\n",
                                      "TYPE=C\nUSER=ANN/cso\nBODY=x\nSECS=60\n",
                                      "TYPE=C\nUSER=Nobody/cso\nBODY=x\n",
                                      "TYPE=C\nUSER=Bob\nBODY=\nSECS=60\n",
                                      "TYPE=C\nUSER=Bob\nSECS=60\n",
                                      "TYPE=C\nUSER=Bob\nBODY=\"\"\nSECS=60\n",
                                      "TYPE=C\nUSER=Bob\nBODY=%00x\nSECS=60\n",
                                      "TYPE=C\nUSER=Cid\nBODY=\n",
                                      "TYPE=C\nUSER=\nBODY=x\n",
                                      "TYPE=C\nBODY=x\n",
                                      ""};
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    (void)person("Cid");
    size_t before = w->record_count;
    for (int i = 0; i < COUNT(bad); i++) {
        raw_forget(ann->buddy);
        const struct got *g = raw_ask(ann->buddy, "SEND", bad[i]);
        if (i < TO_NOBODY)
            REFUSED(g, "user", 102);
        else if (i < OF_NOTHING)
            REFUSED(g, "miss", 0);
        else
            DENIED(g);
        GOT(ann->buddy, "SEND");
        GOT(bob->buddy, "");
    }
    ck_assert_uint_eq(w->record_count, before);
}

TEST_LOOP(letters, a_letter_is_kept_before_it_is_answered, 0, 4)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    w->hold_records = true;
    say(ann->buddy, "SEND", "TYPE=C\nUSER=Bob\nBODY=hello\nSECS=60\n");
    GOT(ann->buddy, "");
    if (_i >= 2) /* the sender does not wait for it */
        link_down(ann);
    world_release_records(w, _i % 2 == 0);
    w->hold_records = false;
    if (_i < 2) {
        const struct got *g = raw_expect(ann->buddy, "SEND");
        ck_assert_int_eq(got_status(g) == 1, _i == 0);
        ck_assert_int_eq(g->code == 0, _i == 0);
    }
    link_up(bob);
    ask_rosters(bob);
    READS(bob, _i % 2 == 0 ? "hello" : "");
}

TEST(letters, who_links_while_a_letter_is_written_gets_it)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    w->hold_records = true;
    say(ann->buddy, "SEND", "TYPE=C\nUSER=Bob\nBODY=hello\nSECS=60\n");
    link_up(bob);
    ask_rosters(bob);
    w->hold_records = false;
    world_settle(w);
    SUCCEEDS(raw_expect(ann->buddy, "SEND"));
    size_t at_once = frames_of(bob->buddy, "RECV", NULL);
    ask_rosters(bob);
    ck_assert_uint_eq(at_once + frames_of(bob->buddy, "RECV", NULL), 1);
    ask_rosters(bob);
    READS(bob, "");
}

TEST(letters, with_no_disk_letters_still_come_to_who_is_linked)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = player_only("Cid");
    write_letter(ann, "Cid", "kept");
    w->fail_records = true;
    write_letter(ann, "Bob", "hello");
    READS(bob, "hello");
    const struct got *g = letter(ann, "Cid", "lost", NULL);
    ck_assert_uint_ne(g->code, 0);
    ck_assert_int_ne(got_status(g), 1);
    link_up(cid);
    ask_rosters(cid); /* that it was read cannot be written down */
    size_t early = frames_of(cid->buddy, "RECV", NULL);
    ck_assert_uint_le(early, 1);
    w->fail_records = false;
    world_run(w, 1000);
    early = frames_of(cid->buddy, "RECV", NULL);
    write_letter(ann, "Cid", "now");
    link_down(cid);
    link_up(cid);
    ask_rosters(cid);
    ck_assert_uint_le(1, early + frames_of(cid->buddy, "RECV", NULL)); /* not lost */
    ck_assert_ptr_null(strstr(letters(cid->buddy), "lost"));
    ask_rosters(cid);
    READS(cid, "");
    kept_compact(w); /* as the shell does after any failure */
    restart();
    link_up(cid);
    ask_rosters(cid);
    READS(cid, "");
}

TEST(letters, letters_read_while_there_is_no_disk_take_no_room)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    for (int i = 0; i < KEPT_LETTERS; i++)
        write_letter(ann, "Bob", "old");
    w->fail_records = true;
    link_up(bob);
    ask_rosters(bob);
    ck_assert_uint_eq(frames_of(bob->buddy, "RECV", NULL), KEPT_LETTERS);
    w->fail_records = false;
    link_down(bob);
    write_letter(ann, "Bob", "new");
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "new"); /* nor do they come again */
}

TEST(letters, a_letter_that_is_being_read_is_not_written_anew)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    write_letter(ann, "Bob", "hello");
    link_up(bob);
    w->hold_records = true;
    ask_rosters(bob);
    READS(bob, "hello");
    kept_compact(w); /* before it is written that it was read */
    w->hold_records = false;
    restart();
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "");
}

TEST_LOOP(letters, letters_to_a_deleted_persona_are_gone, 0, 2)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob"), ace = *bob;
    strcpy(ace.name, "Ace");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    write_letter(ann, "Ace", "old");
    SUCCEEDS(raw_ask(bob->lobby, "dper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    if (_i == 1) {
        restart();
        enter(ann);
        link_up(ann);
        enter(&ace);
    } else {
        put_on(&ace);
    }
    write_letter(ann, "Ace", "new");
    link_up(&ace);
    ask_rosters(&ace);
    READS(&ace, "new");
}

TEST_LOOP(letters, a_letter_of_a_deleted_persona_harms_nobody, 0, 2)
{
    struct person *ann = player_only("Ann"), *bob = player_only("Bob"), ace = *bob;
    strcpy(ace.name, "Ace");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    put_on(&ace);
    link_up(&ace);
    write_letter(&ace, "Ann", "old");
    put_on(bob);
    SUCCEEDS(raw_ask(bob->lobby, "dper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Eve\n")); /* may get the same place */
    if (_i == 1)
        restart();
    link_up(ann);
    ask_rosters(ann);
    const struct got *g = NULL;
    if (frames_of(ann->buddy, "RECV", &g) > 0)
        SAYS(g, "USER=Ace\nTYPE=C\nBODY=old\nTIME=*"); /* never somebody else's */
}

TEST(letters, many_letters_to_a_slow_reader_are_not_lost)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    char body[128];
    size_t sent = 0;
    raw_window(bob->buddy, 0);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(body, sizeof body, "TYPE=C\nUSER=Bob\nBODY=%040d\nSECS=60\n", i);
        raw_send(ann->buddy, "SEND", body);
    }
    world_settle(w);
    raw_window(bob->buddy, SIZE_MAX);
    world_run(w, 1000);
    ck_assert(!raw_closed(ann->buddy));
    ck_assert_uint_eq(frames_of(ann->buddy, "SEND", NULL), 200);
    for (size_t i = 0; i < ann->buddy->count; i++)
        sent += got_status(ann->buddy->frames[i]) == 1;
    ck_assert_uint_gt(sent, 0);
    world_settle(w); /* they come as soon as there is room for them, without an RGET */
    ck_assert_uint_eq(frames_of(bob->buddy, "RECV", NULL), sent);
    int last = -1;
    for (size_t i = 0; i < bob->buddy->count; i++) {
        if (strcmp(bob->buddy->frames[i]->kind, "RECV") == 0) {
            int number = atoi(got_text(bob->buddy->frames[i], "BODY"));
            ck_assert_int_gt(number, last);
            last = number;
        }
    }
}
