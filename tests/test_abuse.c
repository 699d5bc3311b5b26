/* Reports of abuse (PROTOCOL 3.4, 5): what is kept of what was said, and by whom.
 *
 * SPDX-License-Identifier: MIT */
#include "races.h"

/* ---- Reports of abuse --------------------------------------------------- */

GROUP(reports_of_abuse, open_world, close_world, 0);

static void chat(struct raw *r, const char *text)
{
    char payload[256];
    (void)snprintf(payload, sizeof payload, "TEXT=%s\n", text);
    SUCCEEDS(raw_ask(r, "mesg", payload));
}

static void whisper(struct raw *r, const char *to, const char *text)
{
    char payload[256];
    (void)snprintf(payload, sizeof payload, "TEXT=%s\nPRIV=%s\n", text, to);
    SUCCEEDS(raw_ask(r, "mesg", payload));
}

static const struct got *abuse(struct raw *r, const char *name)
{
    char payload[64];
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
    return raw_ask(r, "rept", payload);
}

#define KEPT(text) \
    ck_assert_msg(kept_count(w, "line", text) == 1, "%s is kept %zu times", text, kept_count(w, "line", text))
#define NOT_KEPT_LINE(text) ck_assert_msg(kept_count(w, "line", text) == 0, "%s is kept", text)

TEST(reports_of_abuse, a_report_is_kept_for_the_operator)
{
    take_places("");
    const struct got *g = abuse(ann, "bOB");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "STATUS=1");
    ck_assert_uint_eq(kept_count(w, "rept", ""), 1);
    ck_assert_uint_eq(kept_count(w, "rept", "Bob"), 1);
    ck_assert_uint_eq(kept_count(w, "rept", "Ann"), 1);
    ck_assert_uint_eq(kept_count(w, "line", ""), 0); /* nobody said a word */
    raw_close(bob);
    SUCCEEDS(abuse(ann, "Bob")); /* who may have left */
    ck_assert_uint_eq(kept_count(w, "rept", "Bob"), 2);
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "rept", "Bob"), 2);
    kept_restart(w);
    ck_assert_uint_eq(kept_count(w, "rept", "Bob"), 2);
    ck_assert_uint_eq(kept_count(w, "rept", "Ann"), 2);
}

TEST_LOOP(reports_of_abuse, a_bad_report_is_refused, 0, 8)
{
    static const char *const bad[] = {"PERS=Nobody\n", "PERS=Ann\n",
                                      "PERS=aNN\n",    "PERS=East\n",
                                      "PERS=a.b\n",    "PERS=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n",
                                      "PERS=\n",       ""}; /* the last two name nobody */
    take_places("");
    chat(bob, "rude");
    size_t before = w->record_count;
    const struct got *g = raw_ask(ann, "rept", bad[_i]);
    if (_i < 6)
        REFUSED(g, "user", 102);
    else
        DENIED(g);
    ck_assert_uint_eq(w->record_count, before);
}

TEST_LOOP(reports_of_abuse, a_report_holds_what_was_said_between_and_around_the_two, 0, 2)
{
    take_places("East");
    struct raw *dan = player(w, "Dan", "West"), *eve = player(w, "Eve", "");
    chat(ann, "ann_east");
    chat(bob, "bob_east");
    chat(cid, "cid_east"); /* around them */
    chat(dan, "dan_west"); /* elsewhere */
    chat(eve, "eve_hub");
    whisper(ann, "Bob", "ann_to_bob");
    whisper(bob, "Ann", "bob_to_ann");
    whisper(ann, "Cid", "ann_to_cid"); /* nobody else's business */
    whisper(bob, "Dan", "bob_to_dan");
    whisper(cid, "Bob", "cid_to_bob");
    whisper(cid, "Ann", "cid_to_ann");
    whisper(cid, "Dan", "cid_to_dan");
    if (_i == 1) { /* to where neither says a word; what they said stands */
        go(ann, "Beginner");
        go(bob, "Beginner");
        chat(cid, "cid_again");
    }
    SUCCEEDS(abuse(ann, "Bob"));
    KEPT("ann_east");
    KEPT("bob_east");
    KEPT("cid_east");
    KEPT("ann_to_bob");
    KEPT("bob_to_ann");
    NOT_KEPT_LINE("dan_west");
    NOT_KEPT_LINE("eve_hub");
    NOT_KEPT_LINE("ann_to_cid");
    NOT_KEPT_LINE("bob_to_dan");
    NOT_KEPT_LINE("cid_to_bob");
    NOT_KEPT_LINE("cid_to_ann");
    NOT_KEPT_LINE("cid_to_dan");
    ck_assert_uint_eq(kept_count(w, "line", ""), _i == 1 ? 6 : 5);
    for (int i = 0; i < 2; i++) { /* compaction keeps them, in their order */
        const char *const order[] = {"ann_east", "bob_east", "cid_east", "ann_to_bob", "bob_to_ann"};
        size_t last = 0;
        for (int k = 0; k < COUNT(order); k++) {
            size_t at = 0;
            while (at < w->record_count &&
                   strstr((char *)w->records[at].bytes + CONSOLE_HEADER_BYTES, order[k]) == NULL)
                at++;
            ck_assert_uint_lt(at, w->record_count);
            ck_assert_uint_gt(at, last);
            last = at;
        }
        kept_restart(w);
    }
}

TEST(reports_of_abuse, a_report_holds_what_others_said_where_one_of_the_two_is)
{
    ann = player(w, "Ann", "East");
    bob = player(w, "Bob", "West");
    cid = player(w, "Cid", "East");
    struct raw *dan = player(w, "Dan", "West"), *eve = player(w, "Eve", "Beginner");
    chat(cid, "cid_east");
    chat(dan, "dan_west");
    chat(eve, "eve_beginner");
    SUCCEEDS(abuse(ann, "Bob"));
    KEPT("cid_east");
    KEPT("dan_west");
    NOT_KEPT_LINE("eve_beginner");
    ck_assert_uint_eq(kept_count(w, "line", ""), 2);
}

TEST(reports_of_abuse, a_line_tells_who_said_it_and_when)
{
    take_places("East");
    chat(bob, "rude");
    SUCCEEDS(abuse(ann, "Bob"));
    ck_assert_uint_eq(kept_count(w, "line", "Bob"), 1);
    whisper(bob, "Ann", "worse");
    SUCCEEDS(abuse(ann, "Bob"));
    bool named = false;
    for (size_t i = 0; i < w->record_count; i++) {
        const char *payload = (const char *)w->records[i].bytes + CONSOLE_HEADER_BYTES;
        named = named || (memcmp(w->records[i].bytes, "line", 4) == 0 && strstr(payload, "worse") != NULL &&
                          strstr(payload, "Bob") != NULL && strstr(payload, "Ann") != NULL);
    }
    ck_assert(named);
}

TEST(reports_of_abuse, the_last_200_lines_are_remembered)
{
    char text[32];
    take_places("East");
    struct raw *dan = player(w, "Dan", "West");
    for (int i = 0; i < 230; i++) {
        (void)snprintf(text, sizeof text, "line%03d_", i);
        chat(i % 2 == 0 ? bob : cid, text);
        raw_forget(ann);
        raw_forget(bob);
        raw_forget(cid);
    }
    SUCCEEDS(abuse(ann, "Bob"));
    ck_assert_uint_eq(kept_count(w, "line", ""), 200);
    NOT_KEPT_LINE("line029_");
    KEPT("line030_");
    KEPT("line229_");
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "line", ""), 200);
    for (int i = 0; i < 150; i++) { /* others talk on */
        (void)snprintf(text, sizeof text, "west%03d_", i);
        chat(dan, text);
        raw_forget(dan);
    }
    SUCCEEDS(abuse(cid, "Bob"));
    ck_assert_uint_eq(kept_count(w, "line", "line229_"), 2);
    ck_assert_uint_eq(kept_count(w, "line", "line180_"), 2);
    ck_assert_uint_eq(kept_count(w, "line", "line179_"), 1);
    ck_assert_uint_eq(kept_count(w, "line", "west"), 0);
}

TEST(reports_of_abuse, what_a_deleted_persona_said_is_not_anothers)
{
    take_places("");
    SUCCEEDS(raw_ask(bob, "cper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(bob, "pers", "PERS=Ace\n"));
    go(bob, "West");
    chat(bob, "rude");
    whisper(bob, "Ann", "ruder");
    SUCCEEDS(raw_ask(bob, "pers", "PERS=Bob\n"));
    SUCCEEDS(raw_ask(bob, "dper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(bob, "cper", "PERS=Neo\n")); /* may have its place */
    REFUSED(abuse(ann, "Ace"), "user", 102);
    SUCCEEDS(abuse(ann, "Neo"));
    ck_assert_uint_eq(kept_count(w, "rept", "Neo"), 1);
    NOT_KEPT_LINE("rude");
    NOT_KEPT_LINE("ruder");
}

TEST_LOOP(reports_of_abuse, any_line_can_be_kept, 0, 2)
{
    take_places("East");
    char payload[1024] = "TEXT=";
    for (int i = 0; i < 255; i++) { /* as long as can be, and every byte escaped */
        int byte = _i == 0 ? '=' : 1 + i % 255;
        (void)snprintf(payload + strlen(payload), 8, "%%%02x", (unsigned)byte);
    }
    SUCCEEDS(raw_ask(bob, "mesg", payload));
    SUCCEEDS(raw_ask(bob, "mesg", "TEXT=\"x%0aPERS%3dCid%0aUSER%3dCid\"\n")); /* cannot pass for another's */
    SUCCEEDS(abuse(ann, "Bob"));
    ck_assert_uint_eq(kept_count(w, "line", ""), 2);
    ck_assert_uint_eq(kept_count(w, "line", "PERS=Cid"), 0);
    ck_assert_uint_eq(kept_count(w, "line", "\nUSER=Cid"), 0);
    kept_restart(w);
    ck_assert_uint_eq(kept_count(w, "line", ""), 2);
    for (size_t i = 0; i < w->record_count; i++) {
        char text[600];
        const char *value = console_find((const char *)w->records[i].bytes + CONSOLE_HEADER_BYTES, "TEXT");
        if (memcmp(w->records[i].bytes, "line", 4) == 0 && value != NULL) {
            size_t size = console_read_text(value, text, sizeof text);
            ck_assert(size == 255 || strcmp(text, "x\nPERS=Cid\nUSER=Cid") == 0);
        }
    }
}

/* The personas of one account have no more together, however they are called. */
TEST_LOOP(reports_of_abuse, an_account_reports_16_times_a_day, 0, 4)
{
    char name[24];
    take_places("");
    for (int i = 0; i < 16; i++) {
        if (i % 5 == 4) { /* three of its personas, or one that is made anew */
            (void)snprintf(name, sizeof name, "PERS=Ann%d\n", _i % 2 == 0 ? i / 5 : 1);
            if (_i % 2 == 1 && i > 4) {
                SUCCEEDS(raw_ask(ann, "pers", "PERS=Ann\n"));
                SUCCEEDS(raw_ask(ann, "dper", name));
            }
            SUCCEEDS(raw_ask(ann, "cper", name));
            SUCCEEDS(raw_ask(ann, "pers", name));
        }
        SUCCEEDS(abuse(ann, i % 2 == 0 ? "Bob" : "Cid"));
    }
    REFUSED(abuse(ann, "Bob"), "full", 0);
    SUCCEEDS(raw_ask(ann, "pers", "PERS=Ann\n"));
    REFUSED(abuse(ann, "Bob"), "full", 0);
    if (_i >= 2)
        come_back();
    world_pass(w, 80000);
    REFUSED(abuse(ann, "Bob"), "full", 0);
    world_pass(w, 6500);
    for (int i = 0; i < 16; i++)
        SUCCEEDS(abuse(ann, "Bob"));
    REFUSED(abuse(ann, "Bob"), "full", 0);
}

TEST(reports_of_abuse, one_persona_reports_16_times)
{
    take_places("");
    for (int i = 0; i < 16; i++)
        SUCCEEDS(abuse(ann, i % 2 == 0 ? "Bob" : "Cid"));
    REFUSED(abuse(ann, "Bob"), "full", 0);
    SUCCEEDS(abuse(bob, "Ann")); /* others may */
    come_back();
    REFUSED(abuse(ann, "Cid"), "full", 0);
    whisper(bob, "Ann", "rude");
    SUCCEEDS(abuse(bob, "Ann")); /* a new one, whatever number it has */
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "rept", ""), 18);
    ck_assert_uint_eq(kept_count(w, "rept", "Bob"), 8 + 2); /* about him, and his */
    KEPT("rude");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Annie\n"));
    SUCCEEDS(raw_ask(ann, "pers", "PERS=Annie\n")); /* another persona of the same account */
    REFUSED(abuse(ann, "Cid"), "full", 0);
    world_pass(w, 86400 - 60);
    REFUSED(abuse(ann, "Cid"), "full", 0);
    world_pass(w, 120);
    SUCCEEDS(abuse(ann, "Cid"));
}

/* The oldest makes room, with its lines; what is newer stays. */
TEST_LOOP(reports_of_abuse, there_are_256_reports, 0, 3)
{
    struct raw *r = NULL;
    char name[16];
    take_places("");
    whisper(bob, "Cid", "rude");
    SUCCEEDS(abuse(cid, "Bob"));
    for (int i = 0; i < 255; i++) {
        if (i % 16 == 0) {
            (void)snprintf(name, sizeof name, "Angry%d", i / 16);
            r = player(w, name, "");
        }
        SUCCEEDS(abuse(r, i == 0 ? "Cid" : "Bob"));
    }
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "rept", "ID=1\n"), 1);
    KEPT("rude");
    if (_i == 1)
        come_back();
    if (_i == 2) { /* it goes when that is on the disk, and the new one comes then */
        w->fail_records = true;
        REFUSED(abuse(ann, "Bob"), "fail", 0);
        w->fail_records = false;
        kept_compact(w);
        ck_assert_uint_eq(kept_count(w, "rept", "ID=1\n"), 1);
    }
    say(ann, "rept", "PERS=Bob\n"); /* two at once, each for an oldest of its own */
    SUCCEEDS(abuse(bob, "Ann"));
    SUCCEEDS(raw_expect(ann, "rept"));
    kept_restart(w);
    ck_assert_uint_eq(kept_count(w, "rept", ""), 256);
    ck_assert_uint_eq(kept_count(w, "rept", "ID=1\n"), 0);
    ck_assert_uint_eq(kept_count(w, "rept", "ID=2\n"), 0);
    ck_assert_uint_eq(kept_count(w, "rept", "ID=3\n"), 1);
    ck_assert_uint_eq(kept_count(w, "line", "rude"), 0);
}

TEST_LOOP(reports_of_abuse, a_report_that_is_not_kept_is_refused, 0, 4)
{
    char text[32];
    take_places("East");
    for (int i = 0; i < (_i % 2 == 0 ? 3 : 200); i++) {
        (void)snprintf(text, sizeof text, "line%03d_", i);
        chat(bob, text);
        forget_all();
    }
    w->fail_records = true;
    for (int i = 0; i < 20; i++) { /* none of them counts */
        const struct got *g = abuse(ann, "Bob");
        ck_assert_uint_ne(g->code, 0);
        ck_assert_int_ne(got_status(g), 1);
    }
    w->fail_records = false;
    if (_i >= 2) {
        w->hold_records = true;
        say(ann, "rept", "PERS=Bob\n");
        ck_assert_uint_eq(frames_of(ann, "rept", NULL), 20); /* the answer waits */
        w->hold_records = false;
        world_settle(w);
        SUCCEEDS(frame_at(ann, ann->count - 1));
    } else {
        SUCCEEDS(abuse(ann, "Bob"));
    }
    ck_assert_uint_eq(kept_count(w, "rept", "Bob"), 1);
    ck_assert_uint_eq(kept_count(w, "line", ""), _i % 2 == 0 ? 3 : 200);
    kept_restart(w);
    ck_assert_uint_eq(kept_count(w, "rept", "Bob"), 1);
    ck_assert_uint_eq(kept_count(w, "line", ""), _i % 2 == 0 ? 3 : 200);
}

TEST_LOOP(reports_of_abuse, who_reports_and_hangs_up_has_reported, 0, 2)
{
    take_places("East");
    chat(bob, "rude");
    w->hold_records = true;
    say(ann, "rept", "PERS=Bob\n");
    raw_close(ann);
    if (_i == 1)
        raw_close(bob);
    world_release_records(w, true);
    w->hold_records = false;
    world_run(w, 1000);
    ck_assert_uint_eq(kept_count(w, "rept", "Bob"), 1);
    KEPT("rude");
    kept_restart(w);
    KEPT("rude");
}

/* Several at once know of each other's lines that are on their way to the disk. */
TEST(reports_of_abuse, several_at_once_have_all_their_lines)
{
    struct raw *r[4];
    static const char *const names[] = {"Dan", "Eve", "Fay", "Gus"};
    char text[32];
    take_places("");
    for (int i = 0; i < 4; i++)
        r[i] = player(w, names[i], "");
    for (int i = 0; i < 200; i++) {
        (void)snprintf(text, sizeof text, "line%03d_", i);
        chat(bob, text);
        forget_all();
    }
    for (int i = 0; i < 39; i++)
        SUCCEEDS(abuse(r[i / 13], "Bob"));
    struct raw *at_once[] = {ann, cid, r[3]};
    w->hold_records = true;
    for (int i = 0; i < 3; i++)
        say(at_once[i], "rept", "PERS=Bob\n");
    world_settle(w);
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    for (int i = 0; i < 3; i++)
        SUCCEEDS(frame_at(at_once[i], at_once[i]->count - 1));
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "line", ""), 200 * kept_count(w, "rept", ""));
    ck_assert_uint_ge(kept_count(w, "rept", ""), 39);
}
