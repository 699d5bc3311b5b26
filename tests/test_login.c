/* Logging in (PROTOCOL 3.2, 4, 6): auth with either form of password, refusals
 * and bans, several logins at once, what waits for a verdict or a record, and
 * what a restart leaves of it all; secrets are in no record and no log.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"

/* ---- auth (3.2, 4, 6) --------------------------------------------------- */

GROUP(logins, open_world, close_world, 0);

TEST(logins, a_first_login_makes_the_account_and_its_persona)
{
    struct raw *ann = raw_open(w, 0);
    world_run(w, 3000);
    const struct got *g = raw_auth(ann, "Ann", "secret");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "STATUS=1\nSESS=*\nTOS=1\nNAME=Ann\nADDR=%s\nPERSONAS=Ann\nMAIL=\nSPAM=NN\nLAST=*", dotted(ann->ip));
    ck_assert_int_ge(got_number(g, "SESS"), 1);
    ck_assert(is_past_date(got_raw(g, "LAST")));
    SUCCEEDS(ask_pers(ann, "Ann"));
    raw_close(ann);
    world_run(w, 3600000);
    size_t kept = world_kept(w, "acct");
    ann = raw_open(w, 0);
    g = raw_auth(ann, "Ann", "secret");
    SAYS(g, "STATUS=1\nSESS=*\nTOS=1\nNAME=Ann\nADDR=%s\nPERSONAS=Ann\nMAIL=\nSPAM=NN\nLAST=*", dotted(ann->ip));
    ck_assert(is_past_date(got_raw(g, "LAST"))); /* the login before */
    ck_assert_int_eq(console_read_epoch(got_raw(g, "LAST")), WORLD_WALL_S + 3);
    ck_assert_uint_eq(world_kept(w, "acct"), kept);
    raw_close(ann);
    world_run(w, 3600000);
    g = raw_auth(raw_open(w, 0), "Ann", "secret");
    ck_assert_int_eq(console_read_epoch(got_raw(g, "LAST")), WORLD_WALL_S + 3 + 3600);
}

TEST(logins, the_log_says_from_where_somebody_logs_in)
{
    char part[64];
    struct raw *ann = raw_login(w, "Ann", "secret");
    (void)snprintf(part, sizeof part, " peer=%s account=", dotted(ann->ip));
    ck_assert(world_logged(w, part));
    REFUSED(raw_auth(raw_open(w, ann->ip + 1000), "Ann", "guessed"), "pass", 100);
    (void)snprintf(part, sizeof part, "event=login_refused conn=%u peer=%s ", (unsigned)ann->conn + 1,
                   dotted(ann->ip + 1000));
    ck_assert(world_logged(w, part));
}

TEST(logins, who_leaves_out_addr_is_pinged_all_the_same)
{
    struct raw *directory = raw_open(w, 0), *ann = raw_open(w, directory->ip);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    ann->keeps_pings = true;
    SUCCEEDS(raw_ask(ann, "auth", credentials("Ann", masked(mask, "secret"), "")));
    world_run(w, 60000);
    ck_assert_uint_ge(raw_count(ann, "~png"), 1);
}

/* ... even if the address itself is not forgotten, as others log in from there. */
TEST(logins, wrong_passwords_are_forgotten_after_ten_minutes)
{
    struct raw *ann = raw_login(w, "Ann", "secret");
    can_log_in("Bob", "secret");
    for (int i = 0; i < 5; i++)
        REFUSED(raw_auth(raw_open(w, ann->ip), "Bob", "guessed"), "pass", 100);
    ck_assert_str_eq(got_code(raw_auth(raw_open(w, ann->ip), "Bob", "secret")), "hack"); /* he has to wait */
    for (int i = 0; i < 2; i++) {
        world_run(w, 301000);
        SUCCEEDS(raw_auth(raw_open(w, ann->ip), "Bob", "secret"));
    }
    REFUSED(raw_auth(raw_open(w, ann->ip), "Bob", "guessed"), "pass", 100);
    SUCCEEDS(raw_auth(raw_open(w, ann->ip), "Bob", "secret")); /* one is free again */
    OPEN(ann);
}

TEST(logins, the_first_persona_is_the_accounts_name_cut_to_12)
{
    ck_assert_str_eq(personas_of("Abcdefghijklmnop", "secret"), "Abcdefghijkl");
    ck_assert_str_eq(personas_of("Twelve_chars", "secret"), "Twelve_chars");
    /* taken: none, and the game asks for one */
    ck_assert_str_eq(personas_of("abcdefghijklXYZ", "secret"), "");
    struct raw *r = member("abcdefghijklXYZ", "secret");
    SUCCEEDS(raw_ask(r, "cper", "PERS=Other\n"));
    SUCCEEDS(ask_pers(r, "Other"));
}

TEST(logins, the_first_persona_is_never_called_like_a_room)
{
    reopen_with("room = Daytona_Oval: The oval: 50\n");
    ck_assert_str_eq(personas_of("Daytona_Oval_1", "secret"), "");
}

TEST_LOOP(logins, accounts_are_made_as_configured, 0, 3)
{
    static const char *const modes[] = {"accounts = open\n", "accounts = register\n", "accounts = closed\n"};
    static const char *const first_logins[] = {"", "imst", "imst"}, *const sign_ups[] = {"", "", "refused"};
    can_log_in("Veteran", "secret");
    world_configure(w, modes[_i]);
    ck_assert_str_eq(login_code("Ann", "secret"), first_logins[_i]);
    const struct got *g = sign_up(guest(), "Bob", "secret");
    if (sign_ups[_i][0] == '\0') {
        SUCCEEDS(g);
        can_log_in("Bob", "secret");
    } else {
        DENIED(g);
        ck_assert_str_eq(login_code("Bob", "secret"), "imst");
    }
    can_log_in("Veteran", "secret"); /* whoever has one keeps it */
    ck_assert_str_eq(login_code("Veteran", "secreT"), "pass");
}

TEST(logins, an_unknown_name_is_imst_and_a_wrong_password_is_pass)
{
    can_log_in("Ann", "secret");
    world_configure(w, "accounts = register\n");
    struct raw *r = raw_open(w, 0);
    REFUSED(raw_auth(r, "Nobody", "secret"), "imst", 100);
    REFUSED(raw_auth(r, "Ann", "Secret"), "pass", 100);
    REFUSED(raw_auth(r, "Ann", "secret1"), "pass", 100);
    REFUSED(raw_auth(r, "Ann", "secre"), "pass", 100);
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
}

TEST(logins, names_are_the_same_whatever_their_case)
{
    can_log_in("RoadRunner", "secret");
    struct raw *r = raw_open(w, 0);
    REFUSED(raw_auth(r, "roadrunner", "other"), "pass", 100);
    const struct got *g = raw_auth(r, "ROADRUNNER", "secret");
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "NAME"), "RoadRunner"); /* shown as first written (6) */
    ck_assert_str_eq(got_text(g, "PERSONAS"), "RoadRunner");
    g = ask_pers(r, "roadRUNNER");
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "PERS"), "RoadRunner");
}

TEST_LOOP(logins, both_forms_of_a_password_are_taken_whatever_skey_was, 0, 2)
{
    reopen_with(_i == 0 ? "skey = on\n" : "skey = off\n");
    struct raw *directory = raw_open(w, 0);
    const struct got *g = raw_ask(directory, "@dir", DIR_REQUEST);
    char mask[64], named[32];
    (void)snprintf(mask, sizeof mask, "%.63s", got_raw(g, "MASK"));
    (void)snprintf(named, sizeof named, "TOS=1\nMASK=%d\n", (int)got_number(g, "SESS"));
    for (int turn = 0; turn < 2; turn++) { /* a first login, and one to an account */
        struct raw *r = guest();
        SUCCEEDS(raw_ask(r, "auth", credentials("Ann", enciphered(r, "secret 1"), "TOS=1\n")));
        r = guest();
        SUCCEEDS(raw_ask(r, "auth", credentials("Bob", masked(mask, "secret 2"), named)));
    }
    struct raw *r = guest();
    REFUSED(raw_ask(r, "auth", credentials("Ann", enciphered(r, "secret 2"), "")), "pass", 100);
    REFUSED(raw_ask(r, "auth", credentials("Bob", masked(mask, "secret 1"), named)), "pass", 100);
    SUCCEEDS(raw_ask(r, "auth", credentials("Bob", enciphered(r, "secret 2"), "")));
    r = guest();
    SUCCEEDS(raw_ask(r, "auth", credentials("Ann", masked(mask, "secret 1"), named)));
}

TEST_LOOP(logins, a_password_in_neither_form_is_refused, 0, 14)
{
    static const struct {
        const char *kind, *payload, *code;
        int status;
    } tries[] = {
        {"auth", "NAME=Ann\nPASS=secret\n", "pass", 100},
        {"auth", "NAME=Ann\nPASS=\"secret\"\n", "pass", 100},
        {"auth", "NAME=Ann\nPASS=$3ec97\n", "pass", 100},
        {"auth", "NAME=Ann\nPASS=$notahex!\n", "pass", 100},
        {"auth", "NAME=Ann\nPASS=~%01%02%03%04%05%06\n", "pass", 100},
        {"auth", "NAME=New\nPASS=secret\n", "pass", 100},
        {"auth", "NAME=Ann\n", "miss", 0},
        {"auth", "PASS=~abc\n", "miss", 0},
        {"auth", "", "miss", 0},
        {"acct", "NAME=New\nPASS=secret\n", "pass", 100},
        {"acct", "NAME=New\nPASS=$3ec97\n", "pass", 100},
        {"acct", "NAME=New\n", "miss", 0},
        {"acct", "PASS=~abc\n", "miss", 0},
        {"acct", "", "miss", 0},
    };
    can_log_in("Ann", "secret");
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    (void)raw_ask(directory, "@dir", DIR_REQUEST); /* so that a MASK is there */
    if (_i < COUNT(tries)) {
        REFUSED(raw_ask(r, tries[_i].kind, tries[_i].payload), tries[_i].code, tries[_i].status);
        OPEN(r);
        ck_assert_uint_eq(world_kept(w, "acct"), 1);
        SUCCEEDS(raw_auth(r, "Ann", "secret"));
    }
}

TEST_LOOP(logins, a_first_login_with_a_bad_password_makes_no_account, 0, 4)
{
    static const char *const bad[] = {"abc", "seventeen letters", "a", ""};
    struct raw *r = guest();
    const struct got *g = raw_ask(r, "auth", credentials("Ann", enciphered(r, bad[_i]), ""));
    DENIED(g);
    ck_assert_int_eq(got_status(g), 100);
    ck_assert_uint_eq(w->record_count, 0);
}

TEST(logins, the_directory_session_that_mask_names_is_the_answers_sess)
{
    struct raw *directory = raw_open(w, 0);
    const struct got *g = raw_ask(directory, "@dir", DIR_REQUEST);
    char named[32];
    int32_t session = got_number(g, "SESS");
    (void)snprintf(named, sizeof named, "TOS=1\nMASK=%d\n", (int)session);
    const char *pass = masked(got_raw(g, "MASK"), "secret");
    struct raw *r = guest(); /* from another address: MASK decides */
    g = raw_ask(r, "auth", credentials("Ann", pass, named));
    SUCCEEDS(g);
    ck_assert_int_eq(got_number(g, "SESS"), session);
    r = guest(); /* no MASK: a fresh one */
    g = raw_auth(r, "Bob", "secret");
    SUCCEEDS(g);
    ck_assert_int_ge(got_number(g, "SESS"), 1);
    ck_assert_int_ne(got_number(g, "SESS"), session);
}

TEST_LOOP(logins, a_dead_mask_falls_back_to_the_newest_session_of_the_address, 0, 4)
{
    static const char *const dead[] = {"MASK=2052765442\n", "MASK=-51813565\n", "MASK=0\n", ""};
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    char older[64], newer[64];
    (void)snprintf(older, sizeof older, "%.63s", got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK"));
    raw_close(directory);
    world_run(w, 2000);
    directory = raw_open(w, r->ip);
    (void)snprintf(newer, sizeof newer, "%.63s", got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK"));
    (void)raw_ask(raw_open(w, 0), "@dir", DIR_REQUEST); /* another address's is newer still */
    can_log_in("Ann", "secret");
    REFUSED(raw_ask(r, "auth", credentials("Ann", masked(older, "secret"), dead[_i])), "pass", 100);
    SUCCEEDS(raw_ask(r, "auth", credentials("Ann", masked(newer, "secret"), dead[_i])));
}

TEST(logins, a_dead_mask_of_an_address_without_a_session_is_refused)
{
    can_log_in("Ann", "secret");
    struct raw *r = guest(), *directory = raw_open(w, 0);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    const char *pass = masked(mask, "secret");
    REFUSED(raw_ask(r, "auth", credentials("Ann", pass, "MASK=7\n")), "sess", 101);
    REFUSED(raw_ask(r, "auth", credentials("Ann", pass, "")), "sess", 101);
    REFUSED(raw_ask(r, "acct", credentials("Bob", pass, "MASK=7\n")), "sess", 101);
    OPEN(r);
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
}

TEST(logins, a_directory_session_is_remembered_for_30_minutes)
{
    can_log_in("Ann", "secret");
    struct raw *directory = raw_open(w, 0);
    const struct got *g = raw_ask(directory, "@dir", DIR_REQUEST);
    char named[32], pass[64];
    (void)snprintf(named, sizeof named, "MASK=%d\n", (int)got_number(g, "SESS"));
    (void)snprintf(pass, sizeof pass, "%.63s", masked(got_raw(g, "MASK"), "secret"));
    world_run(w, 29 * 60000 + 50000);
    SUCCEEDS(raw_ask(guest(), "auth", credentials("Ann", pass, named)));
    world_run(w, 15000);
    REFUSED(raw_ask(guest(), "auth", credentials("Ann", pass, named)), "sess", 101);
}

TEST(logins, one_address_cannot_push_out_the_sessions_of_others)
{
    world_free(w);
    struct world_options options = {.limits = {64, 256, 32, 256, 1024, 64, 0}};
    w = world_new(&options);
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    char pass[64];
    (void)snprintf(pass, sizeof pass, "%.63s", masked(mask, "secret"));
    uint32_t ip = world_fresh_ip(w);
    for (int i = 0; i < 300; i++) {
        struct raw *flood = raw_open(w, ip);
        (void)raw_ask(flood, "@dir", DIR_REQUEST);
        raw_close(flood);
    }
    SUCCEEDS(raw_ask(r, "auth", credentials("Ann", pass, "")));
}

TEST(logins, the_oldest_directory_session_makes_room)
{
    enum { SESSIONS = 64 }; /* of the small world */
    char named[2][32], pass[2][64];
    can_log_in("Ann", "secret");
    for (int i = 0; i < SESSIONS + 1; i++) {
        struct raw *directory = raw_open(w, 0);
        const struct got *g = raw_ask(directory, "@dir", DIR_REQUEST);
        if (i < 2) {
            (void)snprintf(named[i], sizeof named[i], "MASK=%d\n", (int)got_number(g, "SESS"));
            (void)snprintf(pass[i], sizeof pass[i], "%.63s", masked(got_raw(g, "MASK"), "secret"));
        }
        raw_close(directory);
    }
    REFUSED(raw_ask(guest(), "auth", credentials("Ann", pass[0], named[0])), "sess", 101);
    SUCCEEDS(raw_ask(guest(), "auth", credentials("Ann", pass[1], named[1])));
}

TEST(logins, a_second_login_closes_the_older_connection_once_it_is_verified)
{
    struct raw *older = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    struct raw *thief = guest(), *newer = guest();
    forget_all();
    w->hold_verdicts = true;
    say_auth(thief, "Ann", "wrong1");
    world_run(w, 5000);
    OPEN(older);
    world_release_verdicts(w);
    REFUSED(raw_expect(thief, "auth"), "pass", 100);
    OPEN(older);
    GOT(bob, "");
    SUCCEEDS(raw_ask(older, "onln", "PERS=Ann\n"));
    say_auth(newer, "ann", "secret");
    world_run(w, 5000);
    OPEN(older); /* not yet verified */
    world_release_verdicts(w);
    SUCCEEDS(raw_expect(newer, "auth"));
    CLOSED(older);
    OPEN(newer);
    ck_assert_uint_eq(frames_of(bob, "+usr", NULL), 1); /* Ann is gone from East */
    REFUSED(raw_ask(bob, "onln", "PERS=Ann\n"), "user", 102);
    w->hold_verdicts = false;
    SUCCEEDS(ask_pers(newer, "Ann"));
}

TEST(logins, pers_right_behind_a_failed_auth_fails_and_there_is_another_try)
{
    can_log_in("Ann", "secret");
    struct raw *r = guest();
    raw_forget(r);
    say_auth(r, "Ann", "wrong1");
    raw_send(r, "pers", "PERS=Ann\n"); /* a saved login does not wait */
    GOT(r, "auth pers");
    REFUSED(frame_at(r, 0), "pass", 100);
    REFUSED(frame_at(r, 1), "sess", 101);
    OPEN(r);
    raw_forget(r);
    say_auth(r, "Ann", "secret");
    raw_send(r, "pers", "PERS=Ann\n");
    GOT(r, "auth pers +who");
    SUCCEEDS(frame_at(r, 0));
    SUCCEEDS(frame_at(r, 1));
}

/* Whoever is in stays in, whatever becomes of another try: in the room, in the lists of
 * others, with the buddies. Only the `pers` right behind it fails, too (3.2). */
TEST_LOOP(logins, a_failed_login_puts_nobody_out, 0, 7)
{
    struct raw *r = player(w, "Ann", "East"), *cid = player(w, "Cid", "East");
    can_log_in("Bob", "secret");
    greet(r);
    if (_i == 6)
        world_configure(w, "accounts = closed\n");
    forget_all();
    switch (_i) {
    case 0: REFUSED(raw_auth(r, "Ann", "wrong1"), "pass", 100); break;
    case 1: REFUSED(raw_auth(r, "Bob", "wrong1"), "pass", 100); break;
    case 2: REFUSED(raw_ask(r, "auth", "TOS=1\n"), "miss", 0); break;
    case 3: REFUSED(sign_up(r, "Bob", "secret"), "dupl", 0); break;
    case 4: REFUSED(sign_up(r, "B", "secret"), "inam", 0); break;
    case 5: REFUSED(sign_up(r, "Dan", "x"), "inam", 0); break;
    default: REFUSED(sign_up(r, "Dan", "secret"), "miss", 0); break;
    }
    REFUSED(ask_pers(r, "Ann"), "sess", 101);
    OPEN(r);
    SUCCEEDS(raw_ask(cid, "onln", "PERS=Ann\n"));
    ck_assert_uint_eq(frames_of(cid, "+usr", NULL), 0);
    SUCCEEDS(raw_ask(r, "mesg", "TEXT=hello\n"));
    ck_assert_str_eq(got_text(raw_expect(cid, "+msg"), "N"), "Ann");
    world_run(w, 905000);
    OPEN(r); /* it has no 15 minutes to log in, as it is in (7) */
    SUCCEEDS(ask_pers(r, "Ann"));
}

/* Only the one right behind it: whoever chooses a persona later is in all the same. */
TEST(logins, pers_behind_another_request_does_not_fail)
{
    struct raw *r = player(w, "Ann", "East");
    greet(r);
    REFUSED(raw_auth(r, "Ann", "wrong1"), "pass", 100);
    SUCCEEDS(raw_ask(r, "onln", "PERS=Ann\n"));
    SUCCEEDS(ask_pers(r, "Ann"));
    REFUSED(raw_auth(r, "Ann", "wrong1"), "pass", 100);
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
    SUCCEEDS(ask_pers(r, "Ann"));
}

TEST_LOOP(logins, a_second_login_on_one_connection_starts_anew, 0, 2)
{
    struct raw *r = player(w, "Ann", "East"), *cid = player(w, "Cid", "East");
    greet(r);
    forget_all();
    if (_i == 1) {
        SUCCEEDS(sign_up(r, "Bob", "secret"));
        REFUSED(ask_pers(r, "Ann"), "imst", 100);
    } else {
        can_log_in("Bob", "secret");
        SUCCEEDS(raw_auth(r, "Bob", "secret"));
        REFUSED(ask_pers(r, "Ann"), "imst", 100);
        SUCCEEDS(ask_pers(r, "Bob"));
    }
    OPEN(r);
    REFUSED(raw_ask(cid, "onln", "PERS=Ann\n"), "user", 102);
    ck_assert_uint_eq(frames_of(cid, "+usr", NULL), 1); /* she left East */
    can_log_in("Ann", "secret");
    world_run(w, 905000);
    OPEN(r);
}

/* ---- Too many tries, and bans (6) --------------------------------------- */

GROUP(refusals, open_world, close_world, 0);

static void fail_logins(struct raw *r, const char *name, int times)
{
    for (int i = 0; i < times; i++)
        REFUSED(raw_auth(r, name, "wrong1"), "pass", 100);
}

TEST(refusals, after_five_failures_an_address_has_to_wait_with_that_name)
{
    can_log_in("Ann", "secret");
    struct raw *r = raw_open(w, 0);
    fail_logins(r, "Ann", 5);
    REFUSED(raw_auth(r, "Ann", "secret"), "hack", 100); /* the right one does not help */
    OPEN(r);
    REFUSED(raw_auth(raw_open(w, r->ip), "aNN", "secret"), "hack", 100); /* nor a new connection */
    can_log_in("Ann", "secret");                                         /* elsewhere, nobody is shut out */
    world_run(w, 60000);                                                 /* and here nobody for longer than a minute */
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
    SUCCEEDS(raw_auth(raw_open(w, r->ip), "Ann", "secret")); /* whose guesses are forgotten now */
}

/* A clan behind one address, of whom one has forgotten his password, or the name
 * of his account, or types a new one. */
TEST_LOOP(refusals, one_players_wrong_passwords_do_not_shut_out_his_friends, 0, 3)
{
    struct raw *ann = raw_login(w, "Ann", "secret");
    can_log_in("Bob", "secret");
    world_configure(w, "accounts = closed\n");
    for (int i = 0; i < 20; i++) {
        struct raw *r = _i == 2 ? ann : raw_open(w, ann->ip);
        const struct got *g = _i == 0   ? raw_auth(r, "Ann", "guessed")
                              : _i == 1 ? raw_auth(r, "Anne", "guessed")
                                        : raw_ask(r, "edit", "PASS=guessed\nCHNG=other1\n");
        REFUSED(g, i >= 5 ? "hack" : _i == 1 ? "imst" : "pass", 100);
        SUCCEEDS(raw_auth(raw_open(w, ann->ip), "Bob", "secret"));
    }
    if (_i == 1)
        SUCCEEDS(raw_auth(raw_open(w, ann->ip), "Ann", "secret"));
    world_run(w, 2000);
    if (_i != 1)
        SUCCEEDS(raw_auth(raw_open(w, ann->ip), "Ann", "secret"));
}

/* Whoever guesses does so on as many connections as he likes. */
TEST(refusals, guesses_at_once_count_before_they_are_known_to_be_wrong)
{
    enum { AT_ONCE = 20 };
    struct raw *r[AT_ONCE];
    can_log_in("Ann", "secret");
    can_log_in("Bob", "secret");
    uint32_t ip = world_fresh_ip(w), before = w->hash_jobs;
    for (int i = 0; i < AT_ONCE; i++) {
        r[i] = raw_open(w, ip);
        greet(r[i]);
    }
    w->hold_verdicts = true;
    for (int i = 0; i < AT_ONCE; i++)
        say_auth(r[i], "Ann", "guessed");
    world_settle(w);
    ck_assert_uint_eq(w->hash_jobs - before, 5);
    world_release_verdicts(w);
    w->hold_verdicts = false;
    REFUSED(raw_auth(raw_open(w, ip), "Ann", "secret"), "hack", 100);
    SUCCEEDS(raw_auth(raw_open(w, ip), "Bob", "secret"));
    uint32_t tries = w->hash_jobs;
    for (int i = 0; i < AT_ONCE; i++) { /* nor does it help to hang up before the answer */
        world_run(w, 60000);
        w->hold_verdicts = true;
        struct raw *again = raw_open(w, ip);
        greet(again);
        say_auth(again, "Ann", "guessed");
        say_auth(again, "Ann", "guessed");
        world_settle(w);
        raw_close(again);
        world_release_verdicts(w);
        w->hold_verdicts = false;
    }
    ck_assert_uint_eq(w->hash_jobs - tries, AT_ONCE);
}

/* The helper hangs or dies: a try of which nobody finds out whether it was right is no
 * guess, and no amnesty for those before it. */
TEST_LOOP(refusals, a_try_without_an_answer_does_not_count, 0, 3)
{
    struct raw *ann = raw_login(w, "Ann", "secret");
    const char *name = _i == 1 ? "Newcomer" : "Ann";
    struct raw *r = _i == 2 ? ann : raw_open(w, ann->ip);
    for (int i = 0; i < 40; i++) {
        if (i == 10)
            for (int k = 0; k < 4; k++)
                REFUSED(raw_auth(raw_open(w, ann->ip), "Ann", "guessed"), "pass", 100);
        w->no_verdicts = true;
        const struct got *g = _i == 2 ? raw_ask(r, "edit", "PASS=secret\nCHNG=other1\n") : raw_auth(r, name, "secret");
        w->no_verdicts = false;
        ck_assert_str_ne(got_code(g), "pass");
        DENIED(g);
        ck_assert_str_ne(got_code(g), "hack");
    }
    REFUSED(raw_auth(raw_open(w, ann->ip), "Ann", "guessed"), "pass", 100);
    REFUSED(raw_auth(raw_open(w, ann->ip), "Ann", "secret"), "hack", 100);
    if (_i == 1)
        SUCCEEDS(raw_auth(r, name, "secret"));
}

static size_t lines_with(const char *part)
{
    size_t count = 0;
    for (size_t i = 0; i < w->log_count; i++)
        count += strstr(w->log[i], part) != NULL;
    return count;
}

/* So many different names, five wrong passwords for each: no name is waited for. */
static void fail_many(uint32_t ip, int failures)
{
    char name[16];
    for (int i = 0; i < failures; i++) {
        struct raw *r = raw_open(w, ip);
        (void)snprintf(name, sizeof name, "Racer%d", i / 5);
        REFUSED(raw_auth(r, name, "guessed"), "imst", 100);
        raw_close(r);
    }
}

TEST(refusals, after_a_hundred_failures_an_address_has_to_wait_as_a_whole)
{
    can_log_in("Ann", "secret");
    world_configure(w, "accounts = closed\n");
    uint32_t ip = world_fresh_ip(w);
    fail_many(ip, 99);
    SUCCEEDS(raw_auth(raw_open(w, ip), "Ann", "secret"));
    REFUSED(raw_auth(raw_open(w, ip), "Ann", "guessed"), "pass", 100);
    REFUSED(raw_auth(raw_open(w, ip), "Ann", "secret"), "hack", 100);
    SUCCEEDS(raw_auth(raw_open(w, ip + 1000), "Ann", "secret"));
    world_run(w, 1000);
    SUCCEEDS(raw_auth(raw_open(w, ip), "Ann", "secret"));
    SUCCEEDS(raw_auth(raw_open(w, ip), "Ann", "secret")); /* right ones do not make it wait longer */
    for (int second = 1; second <= 300; second++) {       /* wrong ones do */
        char name[16];
        (void)snprintf(name, sizeof name, "Racer%d", 1000 + second);
        struct raw *r = raw_open(w, ip);
        (void)raw_auth(r, name, "guessed");
        raw_close(r);
        world_run(w, 1000);
    }
    ck_assert_uint_le(lines_with("event=login_refused") - lines_with("reason=\"hack\""), 100 + 12);
    world_run(w, 300000); /* ten minutes have passed */
    fail_many(ip, 5);
    SUCCEEDS(raw_auth(raw_open(w, ip), "Ann", "secret"));
}

/* A carrier's customers mistype now and then, day and night. */
TEST(refusals, failures_of_hours_ago_make_no_address_wait)
{
    can_log_in("Ann", "secret");
    uint32_t ip = world_fresh_ip(w);
    for (int i = 0; i < 150; i++) {
        REFUSED(raw_auth(raw_open(w, ip), "Ann", "guessed"), "pass", 100);
        SUCCEEDS(raw_auth(raw_open(w, ip), "Ann", "secret"));
        world_run(w, 120000);
    }
    ck_assert(!world_logged(w, "reason=\"hack\""));
}

TEST(refusals, right_logins_are_not_limited)
{
    can_log_in("Ann", "secret");
    uint32_t ip = world_fresh_ip(w);
    for (int i = 0; i < 400; i++) {
        struct raw *r = raw_open(w, ip);
        SUCCEEDS(raw_auth(r, "Ann", "secret"));
        raw_close(r);
    }
    struct raw *ann = raw_login_from(w, ip, "Ann", "secret");
    for (int i = 0; i < 400; i++)
        SUCCEEDS(raw_ask(ann, "edit", "PASS=secret\nMAIL=a@b\n"));
    ck_assert(!world_logged(w, "reason=\"hack\""));
}

TEST(refusals, a_guesser_is_logged_once_a_minute)
{
    can_log_in("Ann", "secret");
    uint32_t ip = world_fresh_ip(w), other = world_fresh_ip(w);
    char part[160];
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 5; i++)
            REFUSED(raw_auth(raw_open(w, k == 0 ? ip : other), "Ann", "guessed"), "pass", 100);
    for (int i = 0; i < 4; i++)
        REFUSED(raw_auth(raw_open(w, ip), "Ann", "guessed"), "hack", 100);
    ck_assert_uint_eq(lines_with("reason=\"hack\""), 1);
    (void)snprintf(part, sizeof part, " peer=%s name=\"Ann\" reason=\"hack\" limit=\"wrong passwords for this name\"",
                   dotted(ip));
    ck_assert_uint_eq(lines_with(part), 1);
    REFUSED(raw_auth(raw_open(w, other), "Ann", "guessed"), "hack", 100);
    ck_assert_uint_eq(lines_with("reason=\"hack\""), 2); /* another address is another guesser */
    world_run(w, 59000);
    REFUSED(raw_auth(raw_open(w, ip), "Ann", "guessed"), "pass", 100);
    REFUSED(raw_auth(raw_open(w, ip), "Ann", "guessed"), "hack", 100);
    ck_assert_uint_eq(lines_with("reason=\"hack\""), 2);
    world_run(w, 1001);
    REFUSED(raw_auth(raw_open(w, ip), "Ann", "guessed"), "hack", 100);
    ck_assert_uint_eq(lines_with("reason=\"hack\""), 3);
    ck_assert_uint_eq(lines_with(" more=4"), 1); /* that had no line of their own */
}

TEST(refusals, four_failures_do_not_make_one_wait)
{
    can_log_in("Ann", "secret");
    struct raw *r = raw_open(w, 0);
    fail_logins(r, "Ann", 4);
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
}

TEST(refusals, who_goes_on_guessing_waits_longer)
{
    can_log_in("Ann", "secret");
    struct raw *r = raw_open(w, 0);
    uint32_t tries = 5;
    fail_logins(r, "Ann", 5);
    for (int second = 0; second < 300; second++) {
        world_run(w, 1000);
        const struct got *g = raw_auth(r, "Ann", "wrong1");
        tries += strcmp(got_code(g), "pass") == 0;
        raw_forget(r);
    }
    ck_assert_uint_le(tries, 15); /* of 305 */
    ck_assert_uint_eq(w->hash_jobs, tries + 1);
}

TEST_LOOP(refusals, failures_are_forgotten_after_ten_minutes_of_quiet, 0, 2)
{
    can_log_in("Ann", "secret");
    struct raw *r = raw_open(w, 0);
    fail_logins(r, "Ann", 5);
    world_run(w, _i == 0 ? 595000 : 605000);
    fail_logins(r, "Ann", 1);
    if (_i == 0) {
        REFUSED(raw_auth(r, "Ann", "secret"), "hack", 100);
    } else {
        fail_logins(r, "Ann", 4);
        REFUSED(raw_auth(r, "Ann", "secret"), "hack", 100);
    }
}

/* ---- At the same time (6) ----------------------------------------------- */

GROUP(at_the_same_time, open_world, close_world, 0);

static void only_the_first_password_is_good(void)
{
    for (int restarted = 0; restarted < 2; restarted++) {
        can_log_in("Twin", "secret1");
        ck_assert_str_eq(login_code("Twin", "secret2"), "pass");
        world_restart(w);
    }
}

/* Lets go of what is held: verdicts first, then records. */
static void let_go(void)
{
    world_release_verdicts(w);
    world_release_records(w, true);
    w->hold_verdicts = w->hold_records = false;
    world_settle(w);
}

/* Nothing is answered for `ms`, although the server is asked; then all of it may go. */
static void waits_then_goes_on(struct raw *r, uint64_t ms)
{
    world_run(w, ms);
    GOT(r, "");
    let_go();
}

TEST_LOOP(at_the_same_time, of_two_sign_ups_at_once_the_second_is_dupl, 0, 4)
{
    struct raw *first = guest(), *second = guest();
    w->hold_verdicts = (_i & 1) != 0;
    w->hold_records = (_i & 2) != 0;
    raw_send(first, "acct", sign_up_tags(first, "Twin", "secret1", ""));
    raw_send(second, "acct", sign_up_tags(second, "tWIN", "secret2", "ALTS=2\n"));
    world_settle(w);
    let_go();
    SUCCEEDS(raw_expect(first, "acct"));
    const struct got *g = raw_expect(second, "acct");
    REFUSED(g, "dupl", 0);
    ck_assert_str_ne(got_text(g, "OPTS"), "");
    REFUSED(raw_ask(second, "cper", "PERS=Mine\n"), "sess", 101);
    only_the_first_password_is_good();
}

TEST_LOOP(at_the_same_time, of_two_first_logins_at_once_the_second_needs_the_firsts_password, 0, 8)
{
    struct raw *first = guest(), *second = guest();
    bool same = _i >= 4;
    w->hold_verdicts = (_i & 1) != 0;
    w->hold_records = (_i & 2) != 0;
    say_auth(first, "Twin", "secret1");
    say_auth(second, "TWIN", same ? "secret1" : "secret2");
    raw_send(second, "pers", "PERS=Twin\n");
    world_settle(w);
    let_go();
    SUCCEEDS(raw_expect(first, "auth"));
    if (same) { /* one account, and whoever comes later has it */
        SUCCEEDS(raw_expect(second, "auth"));
        SUCCEEDS(raw_expect(second, "pers"));
        CLOSED(first);
    } else {
        REFUSED(raw_expect(second, "auth"), "pass", 100);
        REFUSED(raw_expect(second, "pers"), "sess", 101);
        OPEN(first);
        SUCCEEDS(ask_pers(first, "Twin"));
    }
    only_the_first_password_is_good();
}

TEST_LOOP(at_the_same_time, of_a_sign_up_and_a_first_login_at_once_one_has_the_name, 0, 8)
{
    struct raw *first = guest(), *second = guest();
    w->hold_verdicts = (_i & 1) != 0;
    w->hold_records = (_i & 2) != 0;
    if (_i < 4) {
        raw_send(first, "acct", sign_up_tags(first, "Twin", "secret1", ""));
        say_auth(second, "Twin", "secret2");
    } else {
        say_auth(first, "Twin", "secret1");
        raw_send(second, "acct", sign_up_tags(second, "Twin", "secret2", ""));
    }
    world_settle(w);
    let_go();
    SUCCEEDS(raw_expect(first, _i < 4 ? "acct" : "auth"));
    REFUSED(raw_expect(second, _i < 4 ? "auth" : "acct"), _i < 4 ? "pass" : "dupl", _i < 4 ? 100 : 0);
    ck_assert_str_eq(login_code("Twin", "secret2"), "pass");
    can_log_in("Twin", "secret1");
}

TEST(at_the_same_time, of_two_personas_of_one_name_at_once_the_second_is_dupl)
{
    struct raw *ann = member("Ann", "secret"), *bob = member("Bob", "secret");
    w->hold_records = true;
    raw_send(ann, "cper", "PERS=Ace\n");
    raw_send(bob, "cper", "PERS=ACE\n");
    world_settle(w);
    let_go();
    SUCCEEDS(raw_expect(ann, "cper"));
    REFUSED(raw_expect(bob, "cper"), "dupl", 0);
    REFUSED(ask_pers(bob, "Ace"), "imst", 100);
    world_restart(w);
    ck_assert_str_eq(personas_of("Ann", "secret"), "Ann,Ace");
    ck_assert_str_eq(personas_of("Bob", "secret"), "Bob");
}

TEST(at_the_same_time, a_persona_put_on_while_it_is_deleted_is_gone)
{
    struct raw *ann = member("Ann", "secret"), *bob = player(w, "Bob", "");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
    struct raw *newer = guest();
    w->hold_records = true;
    raw_send(ann, "dper", "PERS=Ace\n");
    world_settle(w);
    SUCCEEDS(raw_auth(newer, "Ann", "secret")); /* closes the other */
    raw_send(newer, "pers", "PERS=Ace\n");
    let_go();
    REFUSED(raw_expect(newer, "pers"), "imst", 100);
    for (int restarted = 0; restarted < 2; restarted++) {
        bob = player(w, "Bob", "");
        REFUSED(raw_ask(bob, "onln", "PERS=Ace\n"), "user", 102);
        REFUSED(raw_ask(bob, "user", "PERS=Ace\n"), "user", 102);
        ck_assert_str_eq(personas_of("Ann", "secret"), "Ann");
        world_restart(w);
    }
}

TEST(at_the_same_time, of_two_logins_to_one_account_at_once_the_later_stays)
{
    can_log_in("Ann", "secret");
    struct raw *first = guest(), *second = guest();
    w->hold_verdicts = true;
    say_auth(first, "Ann", "secret");
    say_auth(second, "Ann", "secret");
    world_settle(w);
    let_go();
    SUCCEEDS(raw_expect(second, "auth"));
    CLOSED(first);
    SUCCEEDS(ask_pers(second, "Ann"));
}

/* ---- Waiting for a verdict or a record (3.2) ---------------------------- */

GROUP(waiting, open_world, close_world, 0);

TEST_LOOP(waiting, frames_behind_a_pending_login_wait_for_it, 0, 12)
{
    static const enum world_split splits[] = {WORLD_WHOLE, WORLD_BYTES, WORLD_RANDOM};
    world_free(w);
    struct world_options options = {.split = splits[_i / 4]};
    w = world_new(&options);
    bool signs_up = (_i & 1) != 0;
    w->hold_verdicts = (_i & 2) == 0;
    w->hold_records = (_i & 2) != 0;
    struct raw *r = guest();
    raw_forget(r);
    if (signs_up) {
        raw_send(r, "acct", sign_up_tags(r, "Ann", "secret", ""));
        raw_send(r, "cper", "PERS=Ann\n");
    } else {
        say_auth(r, "Ann", "secret");
    }
    raw_send(r, "pers", "PERS=Ann\n");
    raw_send(r, "sele", "MESGS=1\n");
    raw_send(r, "onln", "PERS=Ann\n");
    waits_then_goes_on(r, 5000);
    GOT(r, signs_up ? "acct cper pers +who sele onln" : "auth pers +who sele onln");
    for (size_t i = 0; i < r->count; i++)
        ck_assert_str_eq(got_code(r->frames[i]), "");
}

TEST(waiting, frames_behind_a_pending_change_wait_for_it)
{
    struct raw *r = member("Ann", "secret");
    w->hold_records = true;
    raw_send(r, "cper", "PERS=Ace\n");
    raw_send(r, "pers", "PERS=Ace\n");
    raw_send(r, "cper", "PERS=Ace\n");
    raw_send(r, "onln", "PERS=Ace\n");
    waits_then_goes_on(r, 1000);
    GOT(r, "cper pers +who cper onln");
    SUCCEEDS(frame_at(r, 1));
    REFUSED(frame_at(r, 3), "dupl", 0);
    SUCCEEDS(frame_at(r, 4));
}

TEST_LOOP(waiting, who_hangs_up_while_it_waits_leaves_nothing_to_the_next, 0, 2)
{
    struct raw *gone = guest();
    uint32_t conn = gone->conn;
    w->hold_verdicts = _i == 0;
    w->hold_records = _i == 1;
    say_auth(gone, "Ann", "secret");
    raw_send(gone, "pers", "PERS=Ann\n");
    world_settle(w);
    raw_close(gone);
    struct raw *next = guest();
    ck_assert_uint_eq(next->conn, conn); /* it has the same number */
    raw_forget(next);
    let_go();
    GOT(next, "");
    REFUSED(raw_ask(next, "pers", "PERS=Ann\n"), "sess", 101);
    SUCCEEDS(raw_auth(next, "Ann", "secret")); /* made by now, or then */
    ck_assert_uint_eq(world_kept(w, "acct"), 1);
}

TEST(waiting, deadlines_stand_still_while_a_verdict_is_awaited)
{
    can_log_in("Ann", "secret");
    struct raw *r = guest(), *silent = guest(); /* their 15 minutes to log in begin here */
    raw_forget(silent);
    world_run(w, 14 * 60000);
    raw_close(silent);
    silent = guest();
    silent->keeps_pings = true;
    w->hold_verdicts = true;
    say_auth(r, "Ann", "wrong1");
    say_auth(silent, "Ann", "wrong1");
    world_run(w, 30 * 60000);
    OPEN(r);
    OPEN(silent);
    let_go();
    REFUSED(raw_expect(r, "auth"), "pass", 100);
    REFUSED(raw_expect(silent, "auth"), "pass", 100);
    world_run(w, 55000);
    OPEN(r);
    OPEN(silent);
    world_run(w, 10000);
    CLOSED(r);      /* 15 minutes of its own time */
    CLOSED(silent); /* 60 s */
}

TEST(waiting, deadlines_stand_still_while_a_record_is_awaited)
{
    struct raw *ann = member("Ann", "secret");
    ann->keeps_pings = true;
    w->hold_records = true;
    raw_send(ann, "cper", "PERS=Ace\n");
    world_run(w, 10 * 60000);
    OPEN(ann);
    let_go();
    SUCCEEDS(raw_expect(ann, "cper"));
    world_run(w, 55000);
    OPEN(ann);
    world_run(w, 10000);
    CLOSED(ann);
}

TEST_LOOP(waiting, what_is_not_kept_has_not_happened, 0, 5)
{
    static const char *const kinds_of_record[] = {"auth", "acct", "cper", "dper", "edit"};
    const char *kind = kinds_of_record[_i];
    struct raw *ann = member("Ann", "secret");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Old\n"));
    for (int kept = 0; kept < 2; kept++) { /* once in vain, then again */
        struct raw *r = _i < 2 ? guest() : ann;
        const struct got *g;
        w->fail_records = !kept;
        if (_i == 0)
            g = raw_auth(r, "Bob", "secret");
        else if (_i == 1)
            g = sign_up(r, "Bob", "secret");
        else if (_i == 4)
            g = raw_ask(r, kind, "PASS=secret\nCHNG=other1\nMAIL=new@example.org\n");
        else
            g = raw_ask(r, kind, _i == 2 ? "PERS=New\n" : "PERS=Old\n");
        w->fail_records = false;
        if (kept) {
            SUCCEEDS(g);
            break;
        }
        DENIED(g);
        ck_assert_int_eq(got_status(g), 0);
        OPEN(r);
        world_configure(w, "accounts = register\n");
        ck_assert_str_eq(login_code("Bob", "secret"), "imst");
        world_configure(w, "");
        ck_assert_str_eq(login_code("Ann", "other1"), "pass");
        ck_assert_str_eq(personas_of("Ann", "secret"), "Ann,Old"); /* closes the older one */
        ann = raw_open(w, 0);
        g = raw_auth(ann, "Ann", "secret");
        ck_assert_str_eq(got_text(g, "MAIL"), "");
    }
}

/* ---- After a restart ---------------------------------------------------- */

GROUP(what_is_kept, open_world, close_world, 0);

TEST(what_is_kept, accounts_personas_and_rosters_are_there_after_a_restart)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    struct raw *cid = guest(), *lists = buddy_of(ann);
    SUCCEEDS(sign_up(cid, "Cid", "secret"));
    SUCCEEDS(raw_ask(cid, "cper", "PERS=CidsFirst\n"));
    SUCCEEDS(raw_ask(cid, "cper", "PERS=CidsSecond\n"));
    SUCCEEDS(raw_ask(cid, "dper", "PERS=CidsFirst\n"));
    SUCCEEDS(raw_ask(bob, "cper", "PERS=CidsFirst\n"));
    SUCCEEDS(raw_ask(bob, "edit", "PASS=secret\nCHNG=bobs new\nMAIL=bob@example.org\n"));
    SUCCEEDS(change_list(lists, "RADD", "B", "Bob"));
    SUCCEEDS(change_list(lists, "RADD", "B", "CidsSecond"));
    SUCCEEDS(change_list(lists, "RADD", "I", "CidsSecond"));
    SUCCEEDS(change_list(lists, "RADD", "B", "CidsFirst"));
    SUCCEEDS(change_list(lists, "RDEL", "B", "CidsFirst"));
    for (int i = 0; i < 2; i++) {
        world_restart(w);
        CLOSED(ann);
        ck_assert_str_eq(personas_of("Ann", "secret"), "Ann");
        ck_assert_str_eq(personas_of("Bob", "bobs new"), "Bob,CidsFirst");
        ck_assert_str_eq(personas_of("Cid", "secret"), "CidsSecond");
        ck_assert_str_eq(login_code("Bob", "secret"), "pass");
        REFUSED(sign_up(guest(), "ANN", "other1"), "dupl", 0);
        ann = player(w, "Ann", "");
        REFUSED(raw_ask(ann, "cper", "PERS=cidsfirst\n"), "dupl", 0);
        lists = buddy_of(ann);
        ck_assert_str_eq(roster(lists, "B"), "Bob CidsSecond");
        ck_assert_str_eq(roster(lists, "I"), "CidsSecond");
        bob = raw_open(w, 0);
        const struct got *g = raw_auth(bob, "Bob", "bobs new");
        ck_assert_str_eq(got_text(g, "MAIL"), "bob@example.org");
    }
}

/* ---- Secrets ------------------------------------------------------------ */

static bool holds(const void *bytes, size_t size, const char *text)
{
    size_t n = strlen(text);
    const char *at = bytes, *end = at + size;
    while ((size_t)(end - at) >= n && (at = memchr(at, text[0], (size_t)(end - at) - n + 1)) != NULL) {
        if (memcmp(at, text, n) == 0)
            return true;
        at++;
    }
    return false;
}

/* Neither the whole nor a part of five characters that no log would escape. */
static void is_unsaid(const char *secret)
{
    static const char escaped[] = "\"\\%=:' ";
    for (size_t at = 0; at + 5 <= strlen(secret); at++) {
        char part[6] = "";
        memcpy(part, secret + at, 5);
        if (strcspn(part, escaped) < 5)
            continue;
        ck_assert_msg(!world_logged(w, part), "%s is in the log", part);
        for (size_t i = 0; i < w->record_count; i++)
            ck_assert_msg(!holds(w->records[i].bytes, w->records[i].size, part), "%s is in a record", part);
    }
    for (size_t i = 0; i < w->raw_count; i++) {
        for (size_t k = 0; k < w->raws[i]->count; k++) {
            const struct got *g = w->raws[i]->frames[k];
            ck_assert_msg(!holds(g->payload, g->size, secret), "%s is in %s", secret, g->kind);
        }
    }
    ck_assert_msg(!holds(w->arena, w->arena_bytes, secret), "%s is in memory", secret);
}

/* Sends a password in one of its forms, 0 to 2: SSC2, mask, clear; twice in
 * frames that may not have one. `said` is what went over the wire. */
static void say_password(const char *kind, const char *name, const char *word, int form, char said[64])
{
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    (void)snprintf(said, 64, "%.63s", form == 0 ? enciphered(r, word) : form == 1 ? masked(mask, word) : word);
    raw_send(r, "edit", credentials(name, said, "")); /* not in this state */
    raw_send(r, "xxxx", credentials(name, said, ""));
    raw_send(r, kind, credentials(name, said, "TOS=1\n"));
    world_settle(w);
    raw_close(r);
    raw_close(directory);
}

TEST(what_is_kept, no_password_is_written_or_logged_anywhere)
{
    static const char *const modes[] = {"accounts = open\n", "accounts = register\n", "accounts = closed\n"};
    static const char *const guests[] = {"Ann", "Bob", "bad name!", "East", "Nobody", "Cid"};
    static const char *const words[] = {"Zebra#right1", "Quokka#wrong", "Vicuna#newer", "Xylo#edited"};
    enum { SAID = 3 * 6 * 2 * 3 };
    static char said[SAID][64];
    size_t count = 0;
    for (int mode = 0; mode < 3; mode++) {
        world_configure(w, modes[mode]);
        for (int i = 0; i < COUNT(guests); i++) { /* successes and failures */
            for (int word = 0; word < 2; word++)
                for (int form = 0; form < 3; form++)
                    say_password(i % 2 == 0 ? "auth" : "acct", guests[i], words[word], form, said[count++]);
        }
    }
    ck_assert_uint_eq(count, SAID);
    world_configure(w, "");
    struct raw *r = member("Dan", words[0]);
    DENIED(raw_ask(r, "edit", "PASS=Quokka#wrong\nCHNG=Vicuna#newer\n"));
    SUCCEEDS(raw_ask(r, "edit", "PASS=Zebra#right1\nCHNG=Vicuna#newer\n"));
    w->fail_records = true;
    DENIED(raw_ask(r, "edit", "PASS=Vicuna#newer\nCHNG=Xylo#edited\n"));
    w->fail_records = false;
    can_log_in("Dan", words[2]);
    ck_assert_uint_ge(w->log_count, 100);
    ck_assert_uint_ge(w->record_count, 4);
    for (int i = 0; i < COUNT(words); i++)
        is_unsaid(words[i]);
    for (size_t i = 0; i < count; i++)
        is_unsaid(said[i] + 1); /* without its ~ or $ */
}

TEST_LOOP(what_is_kept, a_password_does_not_stay_in_memory, 0, 2)
{
    char said[64];
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    (void)snprintf(said, sizeof said, "%.63s", masked(mask, _i == 0 ? "Zebra#right1" : "Quokka#wrong"));
    can_log_in("Ann", "Zebra#right1");
    const struct got *g = raw_ask(r, "auth", credentials("Ann", said, ""));
    is_unsaid(said + 1);
    if (_i == 0) {
        SUCCEEDS(g);
        SUCCEEDS(raw_ask(r, "edit", "PASS=Zebra#right1\nCHNG=Vicuna#newer\n"));
        is_unsaid("Zebra#right1");
        is_unsaid("Vicuna#newer");
    } else {
        REFUSED(g, "pass", 100);
        is_unsaid("Quokka#wrong");
    }
}

TEST(what_is_kept, a_log_line_is_one_line_whatever_is_said)
{
    static const char *const hostile[] = {"a\nevent=login", "b\"\x1b[2J\\", "c\xff\x7f\t\r"};
    struct raw *r = guest();
    for (int i = 0; i < COUNT(hostile); i++)
        DENIED(raw_ask(r, "auth", credentials(hostile[i], enciphered(r, "secret"), "")));
    ck_assert(world_logged(w, "login_refused"));
    for (size_t i = 0; i < w->log_count; i++) {
        for (const char *at = w->log[i]; *at != '\0'; at++)
            ck_assert((uint8_t)*at >= 0x20 && (uint8_t)*at <= 0x7E);
        ck_assert_ptr_null(strstr(w->log[i], "\nevent"));
    }
}
