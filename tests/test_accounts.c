/* Accounts and personas (PROTOCOL 3.2, 6): signing up, choosing, creating and
 * deleting personas, profiles and news, and changing a password.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"

/* ---- acct (3.2, 6) ------------------------------------------------------ */

GROUP(sign_ups, open_world, close_world, 0);

TEST(sign_ups, a_sign_up_makes_an_account_and_is_a_login)
{
    struct raw *ann = guest();
    const struct got *g = sign_up(ann, "Ann", "secret");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "STATUS=1\nNAME=Ann\nPERSONAS=\nAGE=*"); /* and never CPAT */
    ck_assert_int_ge(got_number(g, "AGE"), 45);
    ck_assert_int_le(got_number(g, "AGE"), 46);
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Racer\n"));
    SUCCEEDS(ask_pers(ann, "Racer"));
    raw_close(ann);
    ann = raw_open(w, 0);
    g = raw_auth(ann, "Ann", "secret");
    SAYS(g, "STATUS=1\nSESS=*\nTOS=1\nNAME=Ann\nADDR=*\nPERSONAS=Racer\nMAIL=a@example.org\n"
            "SPAM=YN\nLAST=*");
}

/* It is New Year 2026. */
TEST(sign_ups, age_goes_up_on_the_birthday)
{
    static const struct {
        const char *born;
        int32_t age;
    } births[] = {{"19791231", 46}, {"19800101", 46}, {"19800102", 45}, {"19800201", 45}, {"20251231", 0}};
    for (int i = 0; i < COUNT(births); i++) {
        char name[16], born[32];
        struct raw *r = guest();
        (void)snprintf(name, sizeof name, "Ann%d", i);
        (void)snprintf(born, sizeof born, "BORN=%s\n", births[i].born);
        ck_assert_int_eq(got_number(raw_ask(r, "acct", sign_up_tags(r, name, "secret", born)), "AGE"), births[i].age);
    }
}

TEST(sign_ups, a_sign_up_needs_no_more_than_a_name_and_a_password)
{
    struct raw *ann = guest();
    SAYS(raw_ask(ann, "acct", sign_up_tags(ann, "Ann", "secret", "")), "STATUS=1\nNAME=Ann\nPERSONAS=\nAGE=*");
    can_log_in("Ann", "secret");
}

TEST(sign_ups, a_sign_up_may_come_in_the_mask_form)
{
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    SUCCEEDS(raw_ask(r, "acct", credentials("Ann", masked(mask, "secret"), "")));
    can_log_in("Ann", "secret");
}

/* Of two questions that a console has asked the directory, the answer to the older one may be
 * the one that it has. Then a login tells which, whatever comes of that, and a sign-up does not. */
TEST(sign_ups, a_sign_up_in_the_mask_form_is_of_the_session_that_the_login_before_has_named)
{
    struct raw *directory = raw_open(w, 0), *again = raw_open(w, directory->ip), *r = raw_open(w, directory->ip);
    char mask[64], named[32];
    const struct got *g = raw_ask(directory, "@dir", DIR_REQUEST);
    (void)snprintf(mask, sizeof mask, "%.63s", got_raw(g, "MASK"));
    (void)snprintf(named, sizeof named, "MASK=%.20s\n", got_raw(g, "SESS"));
    (void)raw_ask(again, "@dir", DIR_REQUEST);
    greet(r);
    world_configure(w, "accounts = register\n");
    REFUSED(raw_ask(r, "auth", credentials("Ann", masked(mask, "secret"), named)), "imst", 100);
    SUCCEEDS(raw_ask(r, "acct", credentials("Ann", masked(mask, "secret"), "")));
    SUCCEEDS(raw_ask(r, "auth", credentials("Ann", masked(mask, "secret"), named)));
}

/* A sign-up takes minutes and names no MASK. Another console of the household
 * may ask the directory meanwhile. */
TEST(sign_ups, a_sign_up_in_the_mask_form_is_not_disturbed_from_next_door)
{
    struct raw *directory = raw_open(w, 0);
    char mask[64];
    (void)snprintf(mask, sizeof mask, "%.63s", got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK"));
    struct raw *r = raw_open(w, directory->ip);
    greet(r);
    (void)raw_ask(raw_open(w, directory->ip), "@dir", DIR_REQUEST);
    SUCCEEDS(raw_ask(r, "acct", credentials("Ann", masked(mask, "secret"), "")));
    can_log_in("Ann", "secret");
}

TEST_LOOP(sign_ups, mail_is_kept_as_written, 0, 3)
{
    static const char *const mails[] = {"a b=c:\"d%e' NAME=Bob\nPERS=x", "100%25", "'quoted'"};
    struct raw *ann = guest();
    struct console_tags tags;
    memset(&tags, 0, sizeof tags);
    console_put_text(&tags, "MAIL", mails[_i]);
    SUCCEEDS(raw_ask(ann, "acct", sign_up_tags(ann, "Ann", "secret", tags.text)));
    for (int restarted = 0; restarted < 2; restarted++) {
        ann = raw_open(w, 0);
        const struct got *g = raw_auth(ann, "Ann", "secret");
        ck_assert_str_eq(got_text(g, "MAIL"), mails[_i]);
        ck_assert_str_eq(got_text(g, "NAME"), "Ann");
        world_restart(w);
    }
}

static void check_variants(const char *options, const char *kind, struct raw *r, size_t most)
{
    char list[128];
    int count = 0;
    (void)snprintf(list, sizeof list, "%s", options);
    for (char *name = list, *next; *name != '\0'; name = next) {
        next = name + strcspn(name, ",");
        if (*next != '\0')
            *next++ = '\0';
        ck_assert_uint_le(strlen(name), most);
        ck_assert_uint_ge(strlen(name), 2);
        if (strcmp(kind, "acct") == 0) {
            SUCCEEDS(sign_up(guest(), name, "secret"));
        } else {
            char payload[sizeof list + 8];
            (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
            SUCCEEDS(raw_ask(r, "cper", payload));
        }
        count++;
    }
    ck_assert_int_ge(count, 1);
    ck_assert_int_le(count, 4);
}

TEST_LOOP(sign_ups, a_taken_name_is_dupl_with_free_ones_if_asked, 0, 4)
{
    static const char *const names[] = {"Ann", "ANN", "Sixteen_letters_", "sixteen_LETTERS_"};
    const char *name = names[_i];
    can_log_in("Ann", "secret");
    can_log_in("Sixteen_letters_", "secret");
    can_log_in("Ann1", "secret"); /* the first that comes to mind is taken too */
    struct raw *r = guest();
    const struct got *g = sign_up(r, name, "other1");
    REFUSED(g, "dupl", 0);
    ck_assert(!got_has(g, "OPTS"));
    g = raw_ask(r, "acct", sign_up_tags(r, name, "other1", "ALTS=4\n"));
    REFUSED(g, "dupl", 0);
    check_variants(got_text(g, "OPTS"), "acct", NULL, 16);
    OPEN(r);
    SUCCEEDS(sign_up(r, "Another", "other1"));
    can_log_in("Ann", "secret"); /* whose it was still */
}

static const struct {
    const char *name;
    bool account, persona;
} names[] = {
    {"Ab", true, true},
    {"A1", true, true},
    {"42", true, true},
    {"{is}", true, true},
    {"[ok]", true, true},
    {"a_b-c", true, true},
    {"--", true, true},
    {"Twelve_chars", true, true},
    {"Thirteen_char", true, false},
    {"Sixteen_letters_", true, false},
    {"Seventeen_letters", false, false},
    {"A name of more than thirty-one bytes", false, false},
    {"A", false, false},
    {"", false, false},
    {"a b", false, false},
    {"a.b", false, false},
    {"a@b", false, false},
    {"a/b", false, false},
    {"a,b", false, false},
    {"a=b", false, false},
    {"a:b", false, false},
    {"a%b", false, false},
    {"a\"b", false, false},
    {"a'b", false, false},
    {"a+b", false, false},
    {"a\nb", false, false},
    {"a\x7f"
     "b",
     false, false},
    {"a\xe9"
     "b",
     false, false},
};

TEST_LOOP(sign_ups, names_have_2_to_16_or_12_letters_digits_and_a_few_signs, 0, COUNT(names))
{
    struct console_tags tags;
    const char *name = names[_i].name;
    struct raw *r = guest();
    const struct got *g = sign_up(r, name, "secret");
    if (names[_i].account) {
        SUCCEEDS(g);
        can_log_in(name, "secret");
    } else {
        REFUSED(g, "inam", 0);
        if (name[0] != '\0' && strlen(name) < 32) { /* nor does a first login make it */
            g = raw_ask(r, "auth", credentials(name, enciphered(r, "secret"), ""));
            REFUSED(g, "imst", 100);
        }
        ck_assert_uint_eq(w->record_count, 0);
    }
    r = member("Player", "secret");
    memset(&tags, 0, sizeof tags);
    console_put_text(&tags, "PERS", name);
    g = raw_ask(r, "cper", tags.text);
    if (names[_i].persona) {
        SUCCEEDS(g);
    } else {
        REFUSED(g, "inam", 0);
        ck_assert_str_eq(personas_of("Player", "secret"), "Player");
    }
}

TEST_LOOP(sign_ups, a_rooms_name_is_nobodys, 0, 4)
{
    static const char *const rooms[] = {"East", "east", "LOBBY", "C-Mine"};
    struct raw *maker = player(w, "Maker", "");
    SUCCEEDS(raw_ask(maker, "room", "NAME=C-Mine\nPASS=\nDESC=None\nMAX=50\n"));
    struct raw *r = guest();
    REFUSED(raw_auth(r, rooms[_i], "secret"), "imst", 100);
    const struct got *g = sign_up(r, rooms[_i], "secret");
    DENIED(g);
    ck_assert_int_eq(got_status(g), 0);
    char payload[64];
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", rooms[_i]);
    g = raw_ask(maker, "cper", payload);
    DENIED(g);
    ck_assert_int_eq(got_status(g), 0);
}

TEST_LOOP(sign_ups, a_password_has_4_to_16_characters, 0, 8)
{
    static const struct trial tries[] = {
        {"four", true},
        {"sixteen letters!", true},
        {"    ", true},
        {"~$\"%=:'\\", true},
        {"abc", false},
        {"", false},
        {"seventeen letters", false},
        {"thirty characters are too many", false},
    };
    struct raw *r = guest();
    const struct got *g = sign_up(r, "Ann", tries[_i].text);
    if (tries[_i].good) {
        SUCCEEDS(g);
        can_log_in("Ann", tries[_i].text);
    } else {
        REFUSED(g, "inam", 0);
        ck_assert_uint_eq(w->record_count, 0);
    }
}

TEST(sign_ups, a_full_table_of_accounts_refuses_newcomers_only)
{
    world_free(w);
    struct world_options options = {.limits = {64, 2, 32, 64, 1024, 64, 0}};
    w = world_new(&options);
    can_log_in("Ann", "secret");
    can_log_in("Bob", "secret");
    DENIED(sign_up(guest(), "Cid", "secret"));
    DENIED(raw_auth(raw_open(w, 0), "Cid", "secret"));
    can_log_in("Ann", "secret");
    can_log_in("Bob", "secret");
}

/* ---- Personas (3.2, 6) -------------------------------------------------- */

GROUP(personas_and_news, open_world, close_world, 0);

TEST(personas_and_news, an_account_has_up_to_four_personas)
{
    struct raw *ann = member("Ann", "secret");
    SAYS(raw_ask(ann, "cper", "PERS=Two\nCDEV=1\n"), "STATUS=1\nPERS=Two");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Three\n"));
    SUCCEEDS(raw_ask(ann, "cper", "PERS={4}\n"));
    REFUSED(raw_ask(ann, "cper", "PERS=Five\n"), "maxp", 0);
    ck_assert_str_eq(personas_of("Ann", "secret"), "Ann,Two,Three,{4}");
    ann = member("Ann", "secret");
    SAYS(raw_ask(ann, "dper", "PERS=two\n"), "STATUS=1\nPERS=*");
    ck_assert_str_eq(personas_of("Ann", "secret"), "Ann,Three,{4}");
    ann = member("Ann", "secret");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Five\n"));
    REFUSED(raw_ask(ann, "cper", "PERS=Six\n"), "maxp", 0);
    ck_assert_str_eq(personas_of("Ann", "secret"), "Ann,Three,{4},Five");
}

TEST_LOOP(personas_and_news, a_taken_persona_is_dupl_with_free_ones_if_asked, 0, 4)
{
    static const char *const taken[] = {"Ann", "BOB", "Twelve_chars", "tWELVE_chars"};
    char payload[64];
    struct raw *ann = member("Ann", "secret");
    can_log_in("Bob", "secret");
    can_log_in("Twelve_chars", "secret");
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", taken[_i]);
    const struct got *g = raw_ask(ann, "cper", payload);
    REFUSED(g, "dupl", 0);
    ck_assert(!got_has(g, "OPTS"));
    (void)snprintf(payload, sizeof payload, "PERS=%s\nALTS=3\n", taken[_i]);
    g = raw_ask(ann, "cper", payload);
    REFUSED(g, "dupl", 0);
    check_variants(got_text(g, "OPTS"), "cper", ann, 12);
}

TEST(personas_and_news, a_deleted_persona_is_free_for_another)
{
    struct raw *ann = member("Ann", "secret"), *bob = player(w, "Bob", "");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(bob, "user", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(ann, "dper", "PERS=Ace\n"));
    REFUSED(raw_ask(bob, "user", "PERS=Ace\n"), "user", 102);
    REFUSED(ask_pers(ann, "Ace"), "imst", 100);
    REFUSED(raw_ask(ann, "dper", "PERS=Ace\n"), "imst", 100);
    SUCCEEDS(raw_ask(bob, "cper", "PERS=ACE\n"));
    ck_assert_str_eq(personas_of("Bob", "secret"), "Bob,ACE");
    SUCCEEDS(ask_pers(ann, "Ann"));
}

TEST(personas_and_news, nobody_deletes_or_plays_anothers_persona)
{
    struct raw *ann = member("Ann", "secret");
    can_log_in("Bob", "secret");
    REFUSED(raw_ask(ann, "dper", "PERS=Bob\n"), "imst", 100);
    REFUSED(ask_pers(ann, "Bob"), "imst", 100);
    REFUSED(ask_pers(ann, "Nobody"), "imst", 100);
    REFUSED(raw_ask(ann, "dper", "PERS=Nobody\n"), "imst", 100);
    REFUSED(raw_ask(ann, "onln", "PERS=Ann\n"), "sess", 101); /* it plays none */
    ck_assert_str_eq(personas_of("Bob", "secret"), "Bob");
}

TEST(personas_and_news, the_persona_being_played_is_not_deleted)
{
    struct raw *ann = player(w, "Ann", "East");
    DENIED(raw_ask(ann, "dper", "PERS=Ann\n"));
    SUCCEEDS(raw_ask(ann, "onln", "PERS=Ann\n"));
    ck_assert_str_eq(personas_of("Ann", "secret"), "Ann");
}

/* What `probe` asks for: its account is gone, and the name free for another; the link stays. */
TEST_LOOP(personas_and_news, an_account_without_personas_goes_if_it_asks_for_that, 0, 2)
{
    struct raw *ann = member("Ann", "secret"), *bob = player(w, "Bob", "");
    SUCCEEDS(raw_ask(ann, "dper", "PERS=Ann\n"));
    SUCCEEDS(raw_ask(ann, "dacc", "NAME=ANN\n"));
    ck_assert(world_logged(w, "event=account_deleted "));
    ck_assert_uint_eq(kept_count(w, "dacc", "NAME=Ann"), 1);
    REFUSED(raw_ask(ann, "cper", "PERS=Ace\n"), "sess", 101); /* it is logged out */
    if (_i == 1)
        kept_restart(w);
    ck_assert_str_eq(personas_of("Ann", "another"), "Ann");
    if (_i == 0)
        OPEN(bob);
}

/* A mute that is over is none. */
TEST(personas_and_news, so_does_one_that_was_muted_once)
{
    struct raw *ann = member("Ann", "secret");
    (void)raw_ask(raw_operator(w), "cmut", "NAME=Ann\nFOR=60\n");
    SUCCEEDS(raw_ask(ann, "dper", "PERS=Ann\n"));
    world_run(w, 61000);
    SUCCEEDS(raw_ask(ann, "dacc", "NAME=Ann\n"));
}

/* Two want one name: whose account is there when the other's password has been hashed has it,
 * though it is about to go. All records go by the name, so else its owner would set the password
 * of the other's. */
TEST(personas_and_news, a_sign_up_waits_for_no_account_that_is_about_to_go)
{
    struct raw *ann = guest(), *cat = guest();
    w->hold_records = true;
    say_auth(ann, "Ann", "secret");
    world_settle(w);
    w->hold_verdicts = true;
    raw_send(cat, "acct", sign_up_tags(cat, "Ann", "fresh", "")); /* the name is free as yet */
    world_settle(w);
    w->hold_records = false;
    world_release_records(w, true);
    SUCCEEDS(raw_ask(ann, "dper", "PERS=Ann\n"));
    w->hold_records = true;
    raw_send(ann, "dacc", "NAME=Ann\n");
    world_settle(w);
    w->hold_verdicts = false;
    world_release_verdicts(w);
    world_settle(w);
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    SUCCEEDS(raw_expect(ann, "dacc"));
    REFUSED(raw_expect(cat, "acct"), "dupl", 0);
    ck_assert_str_eq(personas_of("Ann", "another"), "Ann");
}

/* What is on its way as an account deletes itself is not lost with it: a persona that an
 * older link of its makes, or the operator's mute. */
TEST(personas_and_news, an_account_stays_for_the_persona_that_is_on_its_way)
{
    struct raw *ann = member("Ann", "secret"), *again = guest();
    SUCCEEDS(raw_ask(ann, "dper", "PERS=Ann\n"));
    w->hold_verdicts = true;
    say_auth(again, "Ann", "secret");
    world_settle(w);
    w->hold_records = true;
    raw_send(ann, "cper", "PERS=Racer\n");
    world_settle(w);
    w->hold_verdicts = false;
    world_release_verdicts(w);
    raw_send(again, "dacc", "NAME=Ann\n");
    world_settle(w);
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    SUCCEEDS(raw_expect(again, "auth"));
    DENIED(raw_expect(again, "dacc"));
    ck_assert_str_eq(personas_of("Ann", "secret"), "Racer");
}

TEST_LOOP(personas_and_news, a_mute_that_is_on_its_way_stays, 0, 2)
{
    struct raw *ann = member("Ann", "secret"), *asker = raw_operator(w);
    SUCCEEDS(raw_ask(ann, "dper", "PERS=Ann\n"));
    w->hold_records = true;
    if (_i == 0)
        raw_send(asker, "cmut", "NAME=Ann\n");
    world_settle(w);
    raw_send(ann, "dacc", "NAME=Ann\n");
    world_settle(w);
    if (_i == 1)
        raw_send(asker, "cmut", "NAME=Ann\n");
    world_settle(w);
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    SUCCEEDS(raw_expect(ann, "dacc"));
    SUCCEEDS(raw_ask(asker, "cunm", "NAME=Ann\n")); /* it was there */
}

/* A password that is changed while it is tried is one no more: the operator's is not undone
 * by who knows but the old one, nor does that one let in. */
TEST_LOOP(personas_and_news, a_password_that_is_changed_meanwhile_is_tried_again, 0, 3)
{
    struct raw *ann = player(w, "Ann", ""), *asker = raw_operator(w), *two = guest();
    w->hold_verdicts = true;
    raw_send(asker, "cpwd", "NAME=Ann\nPASS=operator\n");
    world_settle(w);
    if (_i == 0)
        raw_send(ann, "edit", "PASS=secret\nCHNG=thiefs\n");
    else
        say_auth(two, "Ann", _i == 1 ? "secret" : "operator");
    world_settle(w);
    w->hold_verdicts = false;
    world_release_verdicts(w);
    world_settle(w);
    SUCCEEDS(raw_expect(asker, "cpwd"));
    if (_i == 2)
        SUCCEEDS(raw_expect(two, "auth"));
    else
        REFUSED(_i == 0 ? raw_expect(ann, "edit") : raw_expect(two, "auth"), "pass", 100);
    ck_assert_str_eq(login_code("Ann", "operator"), "");
    ck_assert_str_eq(login_code("Ann", "thiefs"), "pass");
}

/* Nobody loses what is his, and a mute is not to be got rid of. */
TEST(personas_and_news, all_other_accounts_stay)
{
    struct raw *ann = member("Ann", "secret"), *asker = raw_operator(w);
    can_log_in("Bob", "secret");
    DENIED(raw_ask(ann, "dacc", "NAME=Ann\n")); /* it has a persona */
    REFUSED(raw_ask(ann, "dacc", "NAME=Bob\n"), "imst", 100);
    REFUSED(raw_ask(ann, "dacc", "NAME=Nobody\n"), "imst", 100);
    REFUSED(raw_ask(ann, "dacc", ""), "imst", 100);
    SUCCEEDS(raw_ask(ann, "dper", "PERS=Ann\n"));
    REFUSED(raw_ask(ann, "dacc", "NAME=Bob\n"), "imst", 100);
    (void)raw_ask(asker, "cmut", "NAME=Ann\n");
    DENIED(raw_ask(ann, "dacc", "NAME=Ann\n"));
    (void)raw_ask(asker, "cunm", "NAME=Ann\n");
    w->fail_records = true;
    REFUSED(raw_ask(ann, "dacc", "NAME=Ann\n"), "fail", 0);
    w->fail_records = false;
    ck_assert_str_eq(personas_of("Ann", "secret"), "");
    ck_assert_str_eq(personas_of("Bob", "secret"), "Bob");
}

TEST_LOOP(personas_and_news, a_request_without_its_tag_is_refused, 0, 5)
{
    static const char *const kinds_with_pers[] = {"cper", "dper", "pers", "user", "onln"};
    struct raw *ann = player(w, "Ann", "");
    REFUSED(raw_ask(ann, kinds_with_pers[_i], ""), "miss", 0);
    REFUSED(raw_ask(ann, kinds_with_pers[_i], "NAME=Ann\n"), "miss", 0);
    OPEN(ann);
}

TEST(personas_and_news, pers_is_answered_with_a_ticket_then_comes_who)
{
    char ticket[3][32];
    struct raw *ann = member("Ann", "secret");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
    for (int i = 0; i < 3; i++) {
        raw_forget(ann);
        say(ann, "pers", i == 1 ? "PERS=ace\n" : "PERS=ANN\n");
        GOT(ann, "pers +who");
        const struct got *g = frame_at(ann, 0);
        ck_assert_str_eq(got_code(g), "");
        SAYS(g, "STATUS=1\nPERS=%s\nLKEY=*\nLAST=*", i == 1 ? "Ace" : "Ann");
        (void)snprintf(ticket[i], sizeof ticket[i], "%.31s", got_raw(g, "LKEY"));
        ck_assert_int_eq(ticket[i][0], '$');
        ck_assert(is_hex(ticket[i] + 1, 16));
        ck_assert(is_past_date(got_raw(g, "LAST")));
        SAYS(frame_at(ann, 1), "F=U\nN=%s\nRI=0\nRT=1\nR=*\nRF=*", i == 1 ? "Ace" : "Ann");
        for (int k = 0; k < i; k++)
            ck_assert_str_ne(ticket[k], ticket[i]);
    }
    SAYS(raw_ask(ann, "sele", "ROOMS=0 USERS=0 RANKS=0 MESGS=1"), "MORE=0\nSLOTS=4\nSTATUS=1");
}

/* ---- news, user, onln (3.2) --------------------------------------------- */

static const struct got *short_news(struct raw *r)
{
    const struct got *g = raw_ask(r, "news", "NAME=0\n");
    ck_assert_str_eq(got_code(g), "new0"); /* which starts the buddy connection */
    ck_assert_uint_le(g->size + 12, 255);
    ck_assert_ptr_eq(strstr(got_payload(g), "BUDDY_URL=203.0.113.10\nBUDDY_PORT=10899\n"), got_payload(g)); /* first */
    SAYS(g, "BUDDY_URL=203.0.113.10\nBUDDY_PORT=10899\nNEWS0=*\nNEWS1=*\nNEWS2=*\nNEWS3=*\n"
            "COUNT=4\nSTATUS=1");
    return g;
}

TEST(personas_and_news, the_news_name_the_buddy_service_and_have_four_lines)
{
    reopen_with("news-line = Welcome to Daytona\nnews-line = 50% = \"half\"\nnews-line = Three\n");
    struct raw *ann = member("Ann", "secret");
    const struct got *g = short_news(ann);
    ck_assert_str_eq(got_text(g, "NEWS0"), "Welcome to Daytona");
    ck_assert_str_eq(got_text(g, "NEWS1"), "50% = \"half\"");
    ck_assert_str_eq(got_text(g, "NEWS2"), "Three");
    ck_assert_str_eq(got_text(g, "NEWS3"), "");
    g = raw_ask(ann, "news", "NAME=1\n");
    ck_assert_str_eq(got_code(g), "new1");
    ck_assert_str_eq(got_payload(g), "Welcome to Daytona\n50% = \"half\"\nThree\n");
}

TEST(personas_and_news, without_news_the_buddy_service_is_still_named)
{
    struct raw *ann = member("Ann", "secret");
    (void)short_news(ann);
    const struct got *g = raw_ask(ann, "news", "NAME=1\n");
    ck_assert_str_eq(got_code(g), "new1");
    ck_assert_uint_gt(strlen(got_payload(g)), 1);
}

TEST_LOOP(personas_and_news, long_news_are_cut_to_255_bytes_but_not_the_buddy_service, 0, 8)
{
    static const struct {
        int lines, chars;
        char letter;
    } news[] = {{1, 241, 'x'}, {1, 241, '%'}, {1, 241, ' '}, {4, 59, 'x'},
                {4, 59, '='},  {4, 30, 'x'},  {20, 11, 'x'}, {4, 28, ' '}};
    char config[1024] = "", line[256];
    memset(line, news[_i].letter, (size_t)news[_i].chars);
    line[0] = line[news[_i].chars - 1] = 'n';
    line[news[_i].chars] = '\0';
    for (int i = 0; i < news[_i].lines; i++)
        (void)snprintf(config + strlen(config), sizeof config - strlen(config), "news-line = %s\n", line);
    reopen_with(config);
    struct raw *ann = member("Ann", "secret");
    const struct got *g = short_news(ann);
    for (int i = 0; i < 4 && i < news[_i].lines; i++) { /* whatever is left is a beginning */
        char tag[8];
        (void)snprintf(tag, sizeof tag, "NEWS%d", i);
        const char *shown = got_text(g, tag);
        ck_assert_int_eq(strncmp(shown, line, strlen(shown)), 0);
        ck_assert(i > 0 || shown[0] != '\0');
    }
    g = raw_ask(ann, "news", "NAME=1\n");
    ck_assert_str_eq(got_code(g), "new1");
    ck_assert_uint_le(g->size + 12, 255);
    struct console *c = world_player(w, "Console"); /* and a console takes it */
    console_read_news(c);
    world_run(w, 1000);
    ck_assert_ptr_nonnull(console_reply(c, "news"));
    ck_assert_uint_eq(console_reply(c, "news")->code, 0x6E657731u);
}

TEST(personas_and_news, a_profile_shows_where_a_player_is)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "East");
    int32_t longs[32];
    const struct got *g = raw_ask(ann, "user", "PERS=BOB\n");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "PERS=Bob\nSTAT=*\nINFO=*\nADDR=%s\nRANK=*\nROOM=East\nTITLE=1\nSTATUS=1", dotted(bob->ip));
    ck_assert_uint_eq(console_read_longs(console_find(got_payload(g), "STAT"), longs, 32), 21);
    ck_assert_uint_eq(console_read_longs(console_find(got_payload(g), "INFO"), longs, 32), 2);
    go(bob, "");
    SAYS(raw_ask(ann, "user", "PERS=Bob\n"), "PERS=Bob\nSTAT=*\nINFO=*\nADDR=%s\nRANK=*\nROOM=Lobby\nTITLE=1\nSTATUS=1",
         dotted(bob->ip));
    raw_close(bob);
    SAYS(raw_ask(ann, "user", "PERS=Bob\n"), "PERS=Bob\nSTAT=*\nINFO=*\nADDR=*\nRANK=*\nROOM=\nTITLE=1\nSTATUS=1");
    REFUSED(raw_ask(ann, "user", "PERS=Nobody\n"), "user", 102);
    REFUSED(raw_ask(ann, "user", "PERS=\n"), "user", 102);
}

TEST(personas_and_news, onln_says_who_is_online)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = member("Bob", "secret");
    const struct got *g = raw_ask(ann, "onln", "PERS=Bob\n"); /* logged in, but not as a persona */
    REFUSED(g, "user", 102);
    ck_assert_str_eq(got_text(g, "N"), "Bob"); /* a reply without N is dropped */
    SUCCEEDS(ask_pers(bob, "Bob"));
    g = raw_ask(ann, "onln", "PERS=bob\n");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "N=Bob\nPERS=Bob\nS=*\nR=*\nP=*\nSTATUS=1");
    raw_close(bob);
    REFUSED(raw_ask(ann, "onln", "PERS=Bob\n"), "user", 102);
    g = raw_ask(ann, "onln", "PERS=Nobody\n");
    REFUSED(g, "user", 102);
    ck_assert_str_eq(got_text(g, "N"), "Nobody");
}

/* ---- edit (3.2) --------------------------------------------------------- */

TEST_LOOP(personas_and_news, a_changed_password_is_the_only_one, 0, 5)
{
    static const char *const fresh[] = {"other pass", "$abc", "~tilde", "a=b:c%d", "sixteen letters!"};
    struct console_tags tags;
    memset(&tags, 0, sizeof tags);
    struct raw *ann = member("Ann", "secret");
    console_put_text(&tags, "NAME", "ann");
    console_put_text(&tags, "PASS", "secret");
    console_put_text(&tags, "CHNG", fresh[_i]); /* plain text, as PASS */
    const struct got *g = raw_ask(ann, "edit", tags.text);
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "STATUS=1");
    for (int restarted = 0; restarted < 2; restarted++) {
        ck_assert_str_eq(login_code("Ann", "secret"), "pass");
        can_log_in("Ann", fresh[_i]);
        world_restart(w);
    }
    ann = member("Ann", fresh[_i]);
    REFUSED(raw_ask(ann, "edit", "PASS=secret\nCHNG=third\n"), "pass", 100);
    memset(&tags, 0, sizeof tags);
    console_put_text(&tags, "PASS", fresh[_i]);
    console_put_text(&tags, "CHNG", "third");
    SUCCEEDS(raw_ask(ann, "edit", tags.text));
    can_log_in("Ann", "third");
}

TEST_LOOP(personas_and_news, a_refused_edit_changes_nothing, 0, 13)
{
    static const struct {
        const char *payload, *code;
        int32_t status;
    } tries[] = {
        {"PASS=wrong1\nCHNG=other1\nMAIL=x@y.z\n", "pass", 100},
        {"PASS=Secret\nMAIL=x@y.z\nSPAM=YY\n", "pass", 100},
        {"PASS=secret1\nCHNG=other1\n", "pass", 100},
        {"PASS=a password of more than thirty characters\nCHNG=other1\n", "pass", 100},
        {"PASS=secret\nCHNG=abc\n", "inam", 0},
        {"PASS=secret\nCHNG=seventeen letters\n", "inam", 0},
        {"PASS=secret\nCHNG=a password of more than thirty characters\n", "inam", 0},
        {"PASS=secret\nCHNG=%01%02%03%04\n", "inam", 0},
        {"NAME=Bob\nPASS=secret\nCHNG=other1\n", "imst", 100},
        {"NAME=Nobody\nMAIL=x@y.z\n", "imst", 100},
        {"CHNG=other1\n", "", 0}, /* needs PASS */
        {"CHNG=other1\nPASS=\n", "", 0},
        {"CHNG=other1\nMAIL=x@y.z\n", "", 0},
    };
    if (_i >= COUNT(tries))
        return;
    can_log_in("Bob", "secret");
    struct raw *ann = member("Ann", "secret");
    const struct got *g = raw_ask(ann, "edit", tries[_i].payload);
    if (tries[_i].code[0] == '\0')
        DENIED(g);
    else
        REFUSED(g, tries[_i].code, tries[_i].status);
    OPEN(ann);
    can_log_in("Bob", "secret");
    ann = raw_open(w, 0);
    g = raw_auth(ann, "Ann", "secret");
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "MAIL"), "");
    ck_assert_str_eq(got_text(g, "SPAM"), "NN");
}

TEST(personas_and_news, who_guesses_by_edit_has_to_wait_as_by_auth)
{
    can_log_in("Bob", "secret");
    struct raw *ann = member("Ann", "secret");
    for (int i = 0; i < 5; i++)
        REFUSED(raw_ask(ann, "edit", "PASS=guessed\nCHNG=other1\n"), "pass", 100);
    ck_assert_str_eq(got_code(raw_ask(ann, "edit", "PASS=secret\nCHNG=other1\n")), "hack");
    ck_assert_str_eq(got_code(raw_auth(raw_open(w, ann->ip), "Ann", "secret")), "hack");
    ck_assert_str_eq(got_code(raw_auth(raw_open(w, ann->ip), "Bob", "secret")), "");
    world_run(w, 2000);
    SUCCEEDS(raw_ask(ann, "edit", "PASS=secret\nCHNG=other1\n"));
}

TEST(personas_and_news, a_wrong_password_for_an_edit_is_a_guess)
{
    struct raw *ann = member("Ann", "secret");
    REFUSED(raw_ask(ann, "edit", "PASS=wrong1\nCHNG=other1\n"), "pass", 100);
    ck_assert(world_logged(w, "event=login_refused"));
}

/* The second is asked for while the first is on its way to the disk. */
TEST(personas_and_news, two_edits_at_once_both_hold)
{
    struct raw *ann = member("Ann", "secret");
    w->hold_records = true;
    raw_send(ann, "edit", "PASS=secret\nCHNG=fresh\n");
    world_settle(w);
    struct raw *again = raw_open(w, 0);
    SUCCEEDS(raw_auth(again, "Ann", "secret"));
    raw_send(again, "edit", "MAIL=a@b.c\n");
    world_settle(w);
    w->hold_records = false;
    world_release_records(w, true);
    SUCCEEDS(raw_expect(again, "edit"));
    can_log_in("Ann", "fresh");
    ck_assert_str_eq(login_code("Ann", "secret"), "pass");
}

TEST(personas_and_news, an_edit_changes_only_what_it_names)
{
    struct raw *ann = member("Ann", "secret");
    SAYS(raw_ask(ann, "edit", "MAIL=a@b.c\n"), "STATUS=1");
    SAYS(raw_ask(ann, "edit", "NAME=Ann\nPASS=secret\nSPAM=YN\nOPTS=1\n"), "STATUS=1");
    for (int restarted = 0; restarted < 2; restarted++) {
        ann = raw_open(w, 0);
        const struct got *g = raw_auth(ann, "Ann", "secret");
        ck_assert_str_eq(got_text(g, "MAIL"), "a@b.c");
        ck_assert_str_eq(got_text(g, "SPAM"), "YN");
        ck_assert_str_eq(got_text(g, "PERSONAS"), "Ann");
        world_restart(w);
    }
}
