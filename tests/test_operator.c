/* What the operator asks, by `nascar_server ctl`, and is told (DESIGN 7). That
 * the command itself says it on a terminal is in test_shell.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"

GROUP(the_operator, open_world, close_world, 0);

static int32_t count_of(struct raw *r, const char *what)
{
    for (size_t i = 0; i < r->count; i++)
        if (got_has(r->frames[i], what))
            return atoi(got_text(r->frames[i], what));
    return -1;
}

TEST(the_operator, stats_count_what_there_is)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    (void)member("Cid", "secret");
    for (int i = 0; i < 3; i++) {
        char payload[32];
        (void)snprintf(payload, sizeof payload, "PERS=Ace%d\n", i);
        SUCCEEDS(raw_ask(ann, "cper", payload));
    }
    set_ignored(ann, "Cid", true);
    send_word(ann, "Bob", TOKEN);
    (void)kinds(bob);
    struct raw *asker = raw_operator(w);
    SUCCEEDS(raw_ask(asker, "csta", ""));
    ck_assert_int_eq(count_of(asker, "players"), 3);
    ck_assert_int_eq(count_of(asker, "accounts"), 3);
    ck_assert_int_eq(count_of(asker, "personas"), 6);
    ck_assert_int_eq(count_of(asker, "rooms"), 4);
    ck_assert_int_eq(count_of(asker, "challenges_and_races"), 1);
    ck_assert_int_eq(count_of(asker, "roster_entries"), 1);
    raw_close(bob);
    raw_forget(asker);
    SUCCEEDS(raw_ask(asker, "csta", ""));
    ck_assert_int_eq(count_of(asker, "players"), 2);
    ck_assert_int_eq(count_of(asker, "challenges_and_races"), 0);
}

TEST(the_operator, who_says_from_where_each_player_comes)
{
    struct raw *ann = player(w, "Ann", "East"), *asker = raw_operator(w);
    SUCCEEDS(raw_ask(asker, "cwho", ""));
    const struct got *line = NULL;
    ck_assert_uint_eq(frames_of(asker, "line", &line), 1);
    ck_assert_str_eq(got_text(line, "persona"), "Ann");
    ck_assert_str_eq(got_text(line, "account"), "Ann");
    ck_assert_str_eq(got_text(line, "room"), "East");
    ck_assert_str_eq(got_text(line, "address"), dotted(ann->ip));
    ck_assert_str_eq(got_text(line, "busy"), "no");
}

TEST(the_operator, a_password_for_a_new_name_makes_its_account_and_persona)
{
    struct raw *asker = raw_operator(w);
    SUCCEEDS(raw_ask(asker, "cpwd", "NAME=Cid\nPASS=secret\n"));
    ck_assert_str_eq(personas_of("Cid", "secret"), "Cid");
    SUCCEEDS(raw_ask(asker, "cpwd", "NAME=Cid\nPASS=another\n"));
    ck_assert_str_eq(login_code("Cid", "secret"), "pass");
    ck_assert_str_eq(personas_of("Cid", "another"), "Cid"); /* and no second one */
    world_restart(w);
    ck_assert_str_eq(personas_of("Cid", "another"), "Cid");
}

TEST(the_operator, a_password_that_no_console_can_type_is_refused_with_the_reason)
{
    static const char *const passwords[] = {"p\xC3\xA4ssword", "\xEF\xBB\xBFsecret", "abc"};
    struct raw *asker = raw_operator(w);
    for (size_t i = 0; i < sizeof passwords / sizeof passwords[0]; i++) {
        char payload[64];
        (void)snprintf(payload, sizeof payload, "NAME=Cid\nPASS=%s\n", passwords[i]);
        const struct got *g = raw_ask(asker, "cpwd", payload);
        ck_assert_uint_ne(g->code, 0);
        ck_assert_str_eq(got_text(g, "TEXT"), "expected a password of 4 to 16 plain ASCII characters");
    }
}
