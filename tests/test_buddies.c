/* The buddy service as a whole (PROTOCOL 9): the ticket that opens it, search,
 * goodbye, whatever else may come, and the lives of friends. Rosters, presence
 * and messages have suites of their own.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"
#include "people.h"

/* ---- The ticket --------------------------------------------------------- */

GROUP(the_ticket, open_people, close_world, 0);

TEST(the_ticket, a_ticket_opens_the_service_with_or_without_its_dollar)
{
    static const char *const users[] = {"Ann/cso/nascar-ps2-2004", "Ann@cso", "Ann", "aNN/cso", "ANN"};
    struct person *ann = player_only("Ann");
    ck_assert_int_eq(ann->ticket[0], '$');
    ck_assert_uint_eq(strlen(ann->ticket), 17);
    for (int i = 0; i < 2 * COUNT(users); i++) {
        struct raw *r = raw_open(w, 0);
        const struct got *g = raw_ask(r, "AUTH", buddy_tags(users[i / 2], ann->ticket + i % 2));
        ck_assert_str_eq(got_code(g), "");
        SAYS(g, "NAME=Ann\nSTATUS=1");
        GOT(r, "AUTH");
        raw_close(r);
    }
}

TEST(the_ticket, no_other_ticket_opens_it)
{
    struct person *ann = player_only("Ann"), *bob = player_only("Bob");
    char wrong[64], *filler = lobby_text();
    (void)person("Cid"); /* has no ticket */
    for (size_t i = 1; i < 17; i++) {
        (void)snprintf(wrong, sizeof wrong, "%s", ann->ticket);
        wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
        ck_assert_str_eq(buddy_code("Ann", wrong), "user");
        (void)snprintf(wrong, sizeof wrong, "%.*s", (int)i, ann->ticket);
        ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    }
    (void)snprintf(wrong, sizeof wrong, "$%s", ann->ticket);
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    (void)snprintf(wrong, sizeof wrong, "%s0", ann->ticket);
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    (void)snprintf(wrong, sizeof wrong, "%s%s", ann->ticket, ann->ticket + 1);
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    memset(filler, 'a', 1500);
    filler[1500] = '\0';
    ck_assert_str_eq(buddy_code("Ann", filler), "user");
    ck_assert_str_eq(buddy_code(filler, ann->ticket), "user");
    ck_assert_str_eq(buddy_code("Ann", "$0000000000000000"), "user");
    ck_assert_str_eq(buddy_code("Ann", ""), "user");
    ck_assert_str_eq(buddy_code("Bob", ann->ticket), "user");
    ck_assert_str_eq(buddy_code("Ann", bob->ticket), "user");
    ck_assert_str_eq(buddy_code("Cid", ann->ticket), "user");
    ck_assert_str_eq(buddy_code("Cid", "$0000000000000000"), "user");
    ck_assert_str_eq(buddy_code("Cid", ""), "user");
    ck_assert_str_eq(buddy_code("Nobody", ann->ticket), "user");
    ck_assert_str_eq(buddy_code("", ann->ticket), "user");
    ck_assert_str_eq(buddy_code("/cso", ann->ticket), "user");
    ck_assert_str_eq(buddy_code("Ann", ann->ticket), "");
}

/* A compaction passes over those who have none, some at a time. */
TEST_LOOP(the_ticket, a_ticket_behind_many_who_have_none_is_kept, 60, 68)
{
    crowd("X", _i);
    struct person *zed = player_only("Zed");
    no_links();
    kept_restart(w);
    ck_assert_str_eq(buddy_code("Zed", zed->ticket), "");
}

TEST(the_ticket, a_first_ticket_opens_it_though_the_disk_is_full)
{
    struct person *ann = person("Ann");
    w->fail_records = true;
    enter(ann);
    ck_assert_str_eq(buddy_code("Ann", ann->ticket), "");
    w->fail_records = false;
}

TEST(the_ticket, a_refused_link_may_try_again)
{
    static const char *const tries[] = {"", "USER=Ann\n", "LKEY=$0123456789abcdef\n", "USER=\nLKEY=\n",
                                        "USER=Ann/cso\nLKEY=$0123456789abcdef\n"};
    struct person *ann = player_only("Ann");
    struct raw *r = raw_open(w, 0);
    for (int i = 0; i < COUNT(tries); i++) {
        const struct got *g = raw_ask(r, "AUTH", tries[i]);
        ck_assert_uint_ne(g->code, 0);
        ck_assert_int_ne(got_status(g), 1);
        REFUSED(raw_ask(r, "PSET", "SHOW=CHAT\n"), "sess", 101);
    }
    SUCCEEDS(raw_ask(r, "AUTH", buddy_tags("Ann", ann->ticket)));
    SUCCEEDS(raw_ask(r, "RGET", GET_B));
}

TEST_LOOP(the_ticket, a_ticket_lives_12_hours_across_restarts, 0, 4)
{
    struct person *ann = player_only("Ann"), *bob = player_only("Bob");
    if (_i % 2 == 1)
        restart();
    else
        leave_lobby(ann); /* the lobby link's end does not end it */
    ck_assert_str_eq(buddy_code("Ann", ann->ticket), "");
    world_pass(w, DAY_S / 2 - 10);
    if (_i >= 2)
        restart();
    ck_assert_str_eq(buddy_code("Ann", ann->ticket), "");
    ck_assert_str_eq(buddy_code("Bob", bob->ticket), "");
    ck_assert_str_eq(buddy_code("Bob", ann->ticket), "user");
    world_run(w, 20000);
    if (_i >= 2)
        restart();
    ck_assert_str_eq(buddy_code("Ann", ann->ticket), "user");
    ck_assert_str_eq(buddy_code("Bob", bob->ticket), "user");
    if (ann->lobby == NULL)
        enter(ann);
    ck_assert_str_eq(buddy_code("Ann", ann->ticket), "");
}

TEST(the_ticket, a_ticket_lives_until_the_next_pers_of_that_persona)
{
    struct person *ann = player_only("Ann"), ace = *ann;
    char old[40];
    SUCCEEDS(raw_ask(ann->lobby, "cper", "PERS=Ace\n"));
    strcpy(ace.name, "Ace");
    put_on(&ace); /* another one of the account */
    ck_assert_str_eq(buddy_code("Ann", ann->ticket), "");
    ck_assert_str_eq(buddy_code("Ace", ace.ticket), "");
    ck_assert_str_eq(buddy_code("Ann", ace.ticket), "user");
    strcpy(old, ann->ticket);
    put_on(ann);
    for (int i = 0; i < 2; i++) {
        ck_assert_str_eq(buddy_code("Ann", old), "user");
        ck_assert_str_eq(buddy_code("Ann", ann->ticket), "");
        ck_assert_str_eq(buddy_code("Ace", ace.ticket), "");
        restart();
    }
}

TEST(the_ticket, a_link_that_stands_outlives_its_ticket)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    world_pass(w, DAY_S);
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY");
    raw_forget(ann->buddy);
    put_on(ann); /* nor does a new one end it */
    ck_assert(!raw_closed(ann->buddy));
    set_presence(bob, "XA");
    SEES(ann, "Bob=XA");
}

TEST(the_ticket, a_ticket_is_written_nowhere)
{
    struct person *ann = linked("Ann");
    ck_assert_uint_ge(kept_count(w, "tick", "Ann"), 1);
    for (size_t i = 0; i < w->record_count; i++) {
        const struct world_record *record = &w->records[i];
        for (uint32_t at = 0; at + 16 <= record->size; at++)
            ck_assert_int_ne(memcmp(record->bytes + at, ann->ticket + 1, 16), 0);
    }
    ck_assert(!world_logged(w, ann->ticket + 1));
}

TEST(the_ticket, pers_waits_until_its_ticket_is_kept)
{
    struct person *ann = person("Ann"), *bob = linked("Bob");
    put_on_list(bob, "B", "Ann");
    ann->lobby = member("Ann", "secret");
    raw_forget(ann->lobby);
    w->hold_records = true;
    say(ann->lobby, "pers", "PERS=Ann\n");
    GOT(ann->lobby, "");
    SEES(bob, "");
    w->hold_records = false;
    world_settle(w);
    const struct got *g = raw_expect(ann->lobby, "pers");
    SUCCEEDS(g);
    ck_assert_str_eq(buddy_code("Ann", got_raw(g, "LKEY")), "");
    SEES(bob, "Ann=CHAT");
}

TEST_LOOP(the_ticket, who_hangs_up_while_its_ticket_is_written_is_not_there, 0, 2)
{
    struct person *ann = person("Ann"), *bob = linked("Bob");
    put_on_list(bob, "B", "Ann");
    ann->lobby = member("Ann", "secret");
    w->hold_records = true;
    say(ann->lobby, "pers", "PERS=Ann\n");
    leave_lobby(ann);
    world_release_records(w, _i == 0);
    w->hold_records = false;
    world_run(w, 5000);
    ck_assert_str_ne(shown(bob->buddy, "Ann"), "CHAT");
    SAYS(raw_ask(bob->buddy, "PGET", "USER=Ann\n"), "SHOW=DISC\nUSER=Ann\nPROD=\nSTAT=");
    enter(ann);
    ck_assert_str_eq(shown(bob->buddy, "Ann"), "CHAT");
}

TEST(the_ticket, with_no_disk_players_come_in_all_the_same)
{
    struct person *ann = person("Ann"), *bob = linked("Bob");
    char old[40];
    put_on_list(bob, "B", "Ann");
    enter(ann);
    strcpy(old, ann->ticket);
    raw_forget(bob->buddy);
    w->fail_records = true;
    enter(ann);
    link_up(ann); /* its ticket is good as long as the server runs */
    ck_assert_str_eq(buddy_code("Ann", old), "user");
    ck_assert_str_eq(shown(bob->buddy, "Ann"), "CHAT");
    world_pass(w, DAY_S / 2 + 5);
    ck_assert_str_eq(buddy_code("Ann", ann->ticket), "user");
    w->fail_records = false;
    put_on(ann);
    restart();
    link_up(ann);
}

TEST(the_ticket, a_second_link_takes_the_place_of_the_first)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    struct raw *first = ann->buddy;
    link_up(ann);
    world_settle(w);
    ck_assert(raw_closed(first));
    ck_assert(!raw_closed(ann->buddy));
    raw_forget(ann->buddy);
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY");
    write_letter(bob, "Ann", "hello");
    READS(ann, "hello");
    HAS(ann, "Bob", "");
}

TEST(the_ticket, each_service_has_its_own_commands)
{
    static const struct {
        const char *kind, *payload;
    } buddy[] =
        {
            {"PSET", "SHOW=CHAT\n"},
            {"RGET", GET_B},
            {"RADD", "ID=101\nLIST=B\nUSER=Bob\n"},
            {"RDEL", "ID=101\nLIST=B\nUSER=Bob\n"},
            {"PADD", "USER=Bob\n"},
            {"PDEL", "USER=Bob\n"},
            {"PGET", "USER=Bob\n"},
            {"SEND", "TYPE=C\nUSER=Bob\nBODY=x\nSECS=60\n"},
            {"USCH", "USER=Bo\n"},
        },
      lobby[] = {
          {"mesg", "TEXT=x\n"},
          {"move", "NAME=East\n"},
          {"user", "PERS=Bob\n"},
          {"pers", "PERS=Ann\n"},
          {"rank", "AUTH=x\nFINISPOS0=1\nFINISPOS1=2\n"},
          {"snap", "INDEX=0\n"},
          {"rept", "PERS=Bob\n"},
          {"onln", "PERS=Bob\n"},
          {"sele", "ROOMS=1\n"},
      };
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    struct raw *fresh = raw_open(w, 0), *refused = raw_open(w, 0);
    REFUSED(raw_ask(refused, "AUTH", buddy_tags("Ann", "$0")), "user", 101);
    for (int i = 0; i < COUNT(buddy); i++) {
        if (strcmp(buddy[i].kind, "PING") != 0) {
            REFUSED(raw_ask(ann->lobby, buddy[i].kind, buddy[i].payload), "sess", 101);
            REFUSED(raw_ask(refused, buddy[i].kind, buddy[i].payload), "sess", 101);
        }
    }
    REFUSED(raw_ask(fresh, "SEND", "USER=Bob\nBODY=x\n"), "sess", 101);
    for (int i = 0; i < COUNT(lobby); i++)
        REFUSED(raw_ask(ann->buddy, lobby[i].kind, lobby[i].payload), "sess", 101);
    ck_assert(!raw_closed(ann->buddy) && !raw_closed(ann->lobby));
    GOT(bob->buddy, "");
    HAS(ann, "", "");
}

/* ---- Links, rosters and messages, each for itself (9) -------------------------------------------------------- */

GROUP(commands, open_world, close_world, 0);

TEST(commands, the_ticket_of_pers_opens_the_buddy_service)
{
    static const char *const users[] = {"Ann/cso/nascar-ps2-2004", "Ann@cso", "Ann", "ann/x", "ANN"};
    struct raw *ann = player(w, "Ann", "");
    char ticket[32];
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(ann, "Ann"));
    for (int i = 0; i < COUNT(users); i++) {
        for (int bare = 0; bare < 2; bare++) {
            struct raw *r = raw_open(w, 0);
            const struct got *g = raw_ask(r, "AUTH", buddy_tags(users[i], ticket + bare));
            ck_assert_str_eq(got_code(g), "");
            SAYS(g, "NAME=Ann\nSTATUS=1");
            OPEN(r);
            raw_close(r);
        }
    }
    OPEN(ann);
}

TEST(commands, no_other_ticket_opens_the_buddy_service)
{
    char ticket[32], wrong[64];
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    can_log_in("Cid", "secret"); /* has never played */
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(ann, "Ann"));
    (void)ticket_of(bob, "Bob");
    (void)snprintf(wrong, sizeof wrong, "%s", ticket);
    wrong[16] = wrong[16] == '0' ? '1' : '0';
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    (void)snprintf(wrong, sizeof wrong, "%s0", ticket);
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    (void)snprintf(wrong, sizeof wrong, "%.16s", ticket);
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    (void)snprintf(wrong, sizeof wrong, "$%s", ticket);
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    ck_assert_str_eq(buddy_code("Ann", ""), "user");
    ck_assert_str_eq(buddy_code("Ann", "$"), "user");
    ck_assert_str_eq(buddy_code("Ann", "$0"), "user");
    ck_assert_str_eq(buddy_code("Bob", ticket), "user");
    ck_assert_str_eq(buddy_code("Nobody", ticket), "user");
    ck_assert_str_eq(buddy_code("", ticket), "user");
    ck_assert_str_eq(buddy_code("Cid", "$0000000000000000"), "user");
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
}

TEST(commands, a_refused_buddy_may_try_again)
{
    struct raw *ann = player(w, "Ann", ""), *r = raw_open(w, 0);
    char ticket[32];
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(ann, "Ann"));
    REFUSED(raw_ask(r, "AUTH", buddy_tags("Ann", "$0123456789abcdef")), "user", 101);
    REFUSED(raw_ask(r, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n"), "sess", 101);
    SUCCEEDS(raw_ask(r, "AUTH", buddy_tags("Ann", ticket)));
    ck_assert_str_eq(roster(r, "B"), "");
}

TEST(commands, a_ticket_survives_a_restart)
{
    char ticket[32];
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(member("Ann", "secret"), "Ann"));
    world_restart(w);
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    world_pass(w, 12 * 3600 + 5);
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
}

TEST(commands, a_ticket_lives_12_hours_or_until_the_next_pers)
{
    char ticket[32], next[32];
    struct raw *ann = member("Ann", "secret");
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(ann, "Ann"));
    raw_close(ann); /* a lost lobby connection does not end it */
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    world_pass(w, 12 * 3600 - 5);
    world_run(w, 4000);
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    world_run(w, 1000);
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
    ann = member("Ann", "secret");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(ann, "Ann"));
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    (void)snprintf(next, sizeof next, "%.31s", ticket_of(ann, "Ace")); /* another persona's pers */
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    ck_assert_str_eq(buddy_code("Ace", next), "");
    ck_assert_str_eq(buddy_code("Ann", next), "user");
    (void)snprintf(next, sizeof next, "%.31s", ticket_of(ann, "Ann"));
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
    ck_assert_str_eq(buddy_code("Ann", next), "");
}

TEST(commands, an_empty_roster_has_size_0)
{
    struct raw *r = buddy_of(player(w, "Ann", ""));
    raw_send(r, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n"); /* both in one segment */
    raw_send(r, "RGET", "LRSC=cso\nLIST=I\nPRES=N\nID=2\n");
    GOT(r, "RGET RGET");
    SAYS(frame_at(r, 0), "ID=1\nSIZE=0\nSTATUS=1");
    SAYS(frame_at(r, 1), "ID=2\nSIZE=0\nSTATUS=1");
}

TEST(commands, both_lists_come_one_after_the_other)
{
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    can_log_in("Bob", "secret");
    can_log_in("Cid", "secret");
    can_log_in("Dan", "secret");
    SUCCEEDS(change_list(ann, "RADD", "B", "Bob"));
    SUCCEEDS(change_list(ann, "RADD", "B", "Cid"));
    SUCCEEDS(change_list(ann, "RADD", "I", "Dan"));
    raw_forget(ann);
    raw_send(ann, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n");
    raw_send(ann, "RGET", "LRSC=cso\nLIST=I\nPRES=N\nID=2\n");
    world_settle(w);
    char told[64] = "";
    for (size_t i = 0; i < ann->count; i++) {
        const struct got *g = ann->frames[i];
        if (strcmp(g->kind, "PGET") != 0) /* of buddies who are online */
            (void)snprintf(told + strlen(told), sizeof told - strlen(told), "%s%d ", g->kind, (int)got_number(g, "ID"));
    }
    ck_assert_str_eq(told, "RGET1 ROST1 ROST1 RGET2 ROST2 ");
    ck_assert_str_eq(roster(ann, "B"), "Bob Cid");
    ck_assert_str_eq(roster(ann, "I"), "Dan");
}

TEST_LOOP(commands, who_is_added_is_named_as_first_written, 0, 2)
{
    static const char *const lists[] = {"B", "I"};
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    can_log_in("BigBob", "secret");
    const struct got *g = change_list(ann, "RADD", lists[_i], "bigBOB/cso/nascar-ps2-2004");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "ID=101\nFUSR=BigBob\nSTATUS=1");
    SUCCEEDS(change_list(ann, "RADD", lists[_i], "BigBob")); /* again: still once */
    ck_assert_str_eq(roster(ann, lists[_i]), "BigBob");
    ck_assert_str_eq(roster(ann, lists[1 - _i]), "");
    g = change_list(ann, "RDEL", lists[_i], "BIGBOB");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "ID=101\nSTATUS=1");
    ck_assert_str_eq(roster(ann, lists[_i]), "");
}

TEST(commands, one_player_may_be_on_both_lists)
{
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    can_log_in("Bob", "secret");
    SUCCEEDS(change_list(ann, "RADD", "B", "Bob")); /* to block: both, with one ID */
    SUCCEEDS(change_list(ann, "RADD", "I", "Bob"));
    ck_assert_str_eq(roster(ann, "B"), "Bob");
    ck_assert_str_eq(roster(ann, "I"), "Bob");
    SUCCEEDS(change_list(ann, "RDEL", "B", "Bob"));
    ck_assert_str_eq(roster(ann, "B"), "");
    ck_assert_str_eq(roster(ann, "I"), "Bob");
}

TEST_LOOP(commands, nobody_adds_an_unknown_persona_or_itself, 0, 6)
{
    static const char *const users[] = {"Nobody", "Ann", "ANN/cso", "", "a.b", "Nobody@x"};
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    const struct got *g = change_list(ann, "RADD", "B", users[_i]);
    REFUSED(g, "user", 102);
    ck_assert_int_eq(got_number(g, "ID"), 101);
    ck_assert_str_eq(roster(ann, "B"), "");
    g = raw_ask(ann, "RADD", "ID=7\nUSER=Bob\n"); /* to no list */
    DENIED(g);
    ck_assert_int_eq(got_number(g, "ID"), 7);
    OPEN(ann);
}

TEST(commands, a_roster_holds_25)
{
    char name[16], payload[32];
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    for (int i = 0; i < 26; i++) {
        static struct raw *other;
        (void)snprintf(name, sizeof name, "Racer%d", i / 4);
        if (i % 4 == 0) {
            other = member(name, "secret");
        } else {
            (void)snprintf(payload, sizeof payload, "PERS=Racer%d_%d\n", i / 4, i % 4);
            SUCCEEDS(raw_ask(other, "cper", payload));
            (void)snprintf(name, sizeof name, "Racer%d_%d", i / 4, i % 4);
        }
        const struct got *g = change_list(ann, "RADD", "B", name);
        if (i < 25) {
            SUCCEEDS(g);
            continue;
        }
        ck_assert_str_eq(got_code(g), "full");
        ck_assert_int_ne(got_status(g), 1);
        ck_assert_int_eq(got_number(g, "ID"), 101);
    }
    raw_forget(ann);
    say(ann, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n");
    ck_assert_int_eq(got_number(frame_at(ann, 0), "SIZE"), 25);
    ck_assert_uint_eq(frames_of(ann, "ROST", NULL), 25);
    SUCCEEDS(change_list(ann, "RADD", "I", "Racer0")); /* who is on it already */
    SUCCEEDS(change_list(ann, "RDEL", "B", "Racer3"));
    SUCCEEDS(change_list(ann, "RADD", "B", name));
}

TEST(commands, a_deleted_persona_is_on_no_roster)
{
    struct raw *ann = buddy_of(player(w, "Ann", "")), *bob = member("Bob", "secret");
    SUCCEEDS(raw_ask(bob, "cper", "PERS=Ace\n"));
    SUCCEEDS(change_list(ann, "RADD", "B", "Ace"));
    SUCCEEDS(change_list(ann, "RADD", "I", "Ace"));
    SUCCEEDS(change_list(ann, "RADD", "B", "Bob"));
    SUCCEEDS(raw_ask(bob, "dper", "PERS=Ace\n"));
    ck_assert_str_eq(roster(ann, "B"), "Bob");
    ck_assert_str_eq(roster(ann, "I"), "");
    SUCCEEDS(raw_ask(bob, "cper", "PERS=Ace\n")); /* a new one, which nobody knows */
    ck_assert_str_eq(roster(ann, "B"), "Bob");
}

TEST(commands, a_roster_change_that_is_not_kept_has_not_happened)
{
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    can_log_in("Bob", "secret");
    can_log_in("Cid", "secret");
    SUCCEEDS(change_list(ann, "RADD", "B", "Cid"));
    w->fail_records = true;
    const struct got *g = change_list(ann, "RADD", "B", "Bob");
    DENIED(g);
    ck_assert_int_eq(got_number(g, "ID"), 101);
    DENIED(change_list(ann, "RDEL", "B", "Cid"));
    w->fail_records = false;
    ck_assert_str_eq(roster(ann, "B"), "Cid");
    SUCCEEDS(change_list(ann, "RADD", "B", "Bob"));
    ck_assert_str_eq(roster(ann, "B"), "Bob Cid");
}

TEST(commands, disc_ends_the_link_and_not_the_lobby)
{
    struct raw *lobby = player(w, "Ann", ""), *ann = buddy_of(lobby);
    say(ann, "DISC", "");
    CLOSED(ann);
    OPEN(lobby);
    ann = buddy_of(lobby);
    OPEN(ann);
}

TEST(commands, an_ignored_player_is_not_heard)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    struct raw *lists = buddy_of(bob);
    set_ignored(player(w, "Cid", ""), "Ann", true); /* which is nothing to Bob */
    SUCCEEDS(change_list(lists, "RADD", "B", "Ann"));
    go(ann, "East");
    go(bob, "East");
    for (int ignored = 0; ignored < 3; ignored++) { /* not yet, now, no more */
        if (ignored > 0)
            SUCCEEDS(change_list(lists, ignored == 1 ? "RADD" : "RDEL", "I", "Ann"));
        forget_all();
        SUCCEEDS(raw_ask(ann, "mesg", "TEXT=hello\n"));
        SUCCEEDS(raw_ask(ann, "mesg", "TEXT=psst\nPRIV=Bob\n"));
        ck_assert_uint_eq(frames_of(bob, "+msg", NULL), ignored == 1 ? 0 : 2);
        SUCCEEDS(raw_ask(bob, "mesg", "TEXT=who is there\n"));
        ck_assert_uint_eq(frames_of(ann, "+msg", NULL), 2); /* her own line, and his */
    }
}

/* ---- Search, goodbye, ping ---------------------------------------------- */

GROUP(search_goodbye_ping, open_people, close_world, 0);

/* The names that a search finds, sorted; and that SIZE says how many. */
static const char *found(struct person *p, const char *payload)
{
    char names[64][32];
    size_t count = 0;
    raw_forget(p->buddy);
    say(p->buddy, "USCH", payload);
    const struct got *g = frame_at(p->buddy, 0);
    ck_assert_str_eq(g->kind, "USCH");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "SIZE=%d\nSTATUS=1", (int)p->buddy->count - 1);
    for (size_t i = 1; i < p->buddy->count; i++) {
        ck_assert_str_eq(frame_at(p->buddy, i)->kind, "USER");
        SAYS(frame_at(p->buddy, i), "USER=*");
        (void)snprintf(names[count++], sizeof names[0], "%.31s", got_text(frame_at(p->buddy, i), "USER"));
    }
    return in_order(names, count);
}

TEST(search_goodbye_ping, personas_are_found_by_how_they_begin)
{
    struct person *zoe = linked("Zoe"), *bob = player_only("Bob");
    (void)person("bobby");
    (void)person("BoB_2");
    (void)person("Abob");
    ck_assert_str_eq(found(zoe, "USER=bo\n"), "BoB_2 Bob bobby");
    ck_assert_str_eq(found(zoe, "USER=BOB\n"), "BoB_2 Bob bobby");
    ck_assert_str_eq(found(zoe, "NAME=bobb\n"), "bobby");
    ck_assert_str_eq(found(zoe, "USER=Bobby\n"), "bobby");
    ck_assert_str_eq(found(zoe, "USER=bobbyx\n"), "");
    ck_assert_str_eq(found(zoe, "USER=xy\n"), "");
    ck_assert_str_eq(found(zoe, "USER=ob\n"), "");
    ck_assert_str_eq(found(zoe, "USER=%25%25\n"), "");
    ck_assert_str_eq(found(zoe, "USER=b*\n"), "");
    ck_assert_str_eq(found(zoe, "USER=bobbobbobbobbob\n"), ""); /* longer than a name can be */
    raw_forget(zoe->buddy);
    say(zoe->buddy, "USCH", "USER=bobbobbobbobbobbobbobbobbobbobbobbobbobbobbobbobbobbobbob\n");
    ck_assert_uint_eq(frames_of(zoe->buddy, "USER", NULL), 0);
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Bond\n"));
    ck_assert_str_eq(found(zoe, "USER=bon\n"), "Bond");
    SUCCEEDS(raw_ask(bob->lobby, "dper", "PERS=Bond\n"));
    ck_assert_str_eq(found(zoe, "USER=bon\n"), "");
    restart();
    link_up(zoe);
    ck_assert_str_eq(found(zoe, "USER=bo\n"), "BoB_2 Bob bobby");
}

TEST(search_goodbye_ping, a_search_finds_20_at_most)
{
    struct person *zoe = linked("Zoe");
    crowd("Racer", 20);
    ck_assert_uint_eq(strlen(found(zoe, "USER=ra\n")), 20 * 8 - 1);
    crowd("Ractor", 3);
    ck_assert_uint_eq(strlen(found(zoe, "USER=racer\n")), 20 * 8 - 1);
    (void)found(zoe, "USER=ra\n");
    ck_assert_int_eq(got_number(frame_at(zoe->buddy, 0), "SIZE"), 20);
    ck_assert_uint_eq(zoe->buddy->count, 21);
}

/* However many newer ones begin with it. */
TEST(search_goodbye_ping, a_search_finds_the_exact_name_first)
{
    struct person *zoe = linked("Zoe");
    (void)person("Al");
    crowd("Alf", 24);
    ck_assert_str_ne(found(zoe, "USER=al\n"), "");
    ck_assert_int_eq(got_number(frame_at(zoe->buddy, 0), "SIZE"), 20);
    ck_assert_uint_eq(zoe->buddy->count, 21);
    ck_assert_str_eq(got_text(frame_at(zoe->buddy, 1), "USER"), "Al");
    for (size_t i = 2; i < zoe->buddy->count; i++) /* once only */
        ck_assert_str_ne(got_text(frame_at(zoe->buddy, i), "USER"), "Al");
    (void)person("Alfa");
    (void)found(zoe, "NAME=ALFA\n");
    ck_assert_str_eq(got_text(frame_at(zoe->buddy, 1), "USER"), "Alfa");
}

TEST(search_goodbye_ping, a_search_needs_two_letters)
{
    static const char *const bad[] = {"", "USER=\n", "USER=b\n", "NAME=b\n", "USER=\"\"\n", "USER=/cso\n"};
    struct person *zoe = linked("Zoe");
    (void)person("Bob");
    for (int i = 0; i < COUNT(bad); i++) {
        raw_forget(zoe->buddy);
        say(zoe->buddy, "USCH", bad[i]);
        GOT(zoe->buddy, "USCH");
        REFUSED(frame_at(zoe->buddy, 0), "miss", 0);
    }
}

TEST(search_goodbye_ping, disc_is_goodbye)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    say(bob->buddy, "DISC", "");
    ck_assert_uint_ge(bob->buddy->count, 1);
    ck_assert_str_eq(frame_at(bob->buddy, 0)->kind, "DISC");
    SUCCEEDS(frame_at(bob->buddy, 0));
    world_run(w, 5000);
    ck_assert(raw_closed(bob->buddy));
    ck_assert(!raw_closed(bob->lobby));
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "DISC"); /* still in the lobby */
    write_letter(ann, "Bob", "later");
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "later");
}

TEST(search_goodbye_ping, an_echo_of_a_ping_is_answered_by_nothing)
{
    struct person *ann = linked("Ann");
    ann->buddy->keeps_pings = true;
    raw_send_frame(ann->buddy, "PING", 0x10, "TIME=3\n", 8);
    raw_send(ann->buddy, "PING", "");
    world_settle(w);
    GOT(ann->buddy, "");
    world_run(w, 35000);
    ck_assert_uint_ge(frames_of(ann->buddy, "PING", NULL), 1);
    ck_assert_uint_eq(frames_of(ann->buddy, "~png", NULL), 0);
    HAS(ann, "", "");
}

/* ---- Whatever comes ----------------------------------------------------- */

/* Each of these gets exactly one answer of its kind, and nothing breaks. */
TEST_LOOP(search_goodbye_ping, no_payload_breaks_a_link, 0, 10)
{
    static const char *const kinds_of[] = {"PSET", "RGET", "RADD", "RDEL", "PADD",
                                           "PDEL", "PGET", "SEND", "USCH", "AUTH"};
    static const char *const shapes[] = {
        "",
        "\n",
        "=",
        "=\n=",
        ":::",
        "USER",
        "USER=",
        "USER==",
        "USER=\"",
        "USER='",
        "USER=\"Bob",
        "USER=%",
        "USER=%4",
        "USER=%zz",
        "USER=%%",
        "USER=Bob",
        " USER=Bob LIST=B ID=x BODY=\"y",
        "USER:Bob\nLIST:B\n",
        "USER=Bob\nUSER=Cid\nLIST=I\nLIST=B\nID=1\nID=2\n",
        "USER=Bob/\nLIST=B\nID=-1\nSECS=-1\nBODY=z\n",
        "USER=@\nLIST=B\nID=99999999999999999999\n",
        "user=Bob\nlist=B\nid=5\nbody=b\nsecs=5\nshow=CHAT\n",
        "USER=Bob\nBODY=x\nTYPE=\nSECS=1\n",
        "USER=Bob\nBODY=x\nTYPE=\"C\nBODY=y\"\nSECS=1\n",
        "USER=Bob\x01\nLIST=B\nID=3\n",
        "\xff\xfe\xfd=\x80\nUSER=\xc3\xa9\n",
        "LIST=B\nUSER=Bob Cid\nID=3\n",
    };
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    const char *kind = kinds_of[_i];
    char *longest = lobby_text();
    (void)person("Cid");
    for (int i = 0; i <= 2 * COUNT(shapes); i++) {
        raw_forget(ann->buddy);
        if (i < COUNT(shapes)) {
            say(ann->buddy, kind, shapes[i]);
        } else if (i < 2 * COUNT(shapes)) { /* without its NUL */
            raw_send_frame(ann->buddy, kind, 0, shapes[i - COUNT(shapes)], strlen(shapes[i - COUNT(shapes)]));
            world_settle(w);
        } else {
            strcpy(longest, "USER=Bob\nLIST=B\nID=9\nSHOW=CHAT\nBODY=");
            memset(longest + strlen(longest), '=', 2000 - strlen(longest));
            say(ann->buddy, kind, longest);
        }
        ck_assert_uint_eq(frames_of(ann->buddy, kind, NULL), 1);
        ck_assert(!raw_closed(ann->buddy));
        for (size_t k = 0; k < ann->buddy->count; k++) {
            const char *other = frame_at(ann->buddy, k)->kind;
            ck_assert(strcmp(other, kind) == 0 || strcmp(other, "PGET") == 0 ||
                      (strcmp(kind, "RGET") == 0 && strcmp(other, "ROST") == 0) ||
                      (strcmp(kind, "USCH") == 0 && strcmp(other, "USER") == 0));
        }
    }
    ck_assert(!raw_closed(bob->buddy));
    SUCCEEDS(change_list(ann->buddy, "RADD", "B", "Bob"));
    set_presence(bob, "DND");
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "DND");
    restart();
    link_up(ann);
    ask_rosters(ann);
    ck_assert_ptr_nonnull(strstr(rows_of(ann->buddy, 1), "Bob"));
}

/* ---- At random ---------------------------------------------------------- */

GROUP(at_random, open_people, close_world, 0);

#define PEOPLE 6

/* What a person is, and what each of the others has been told of it. */
struct truth {
    const char *show;      /* as PSET said; NULL: whatever, but not DISC */
    bool races, drives_on; /* drives_on: the lobby link ended in the race */
    char told[PEOPLE][8];
};

static struct truth truths[PEOPLE];
static const char *const show_words[] = {"CHAT", "AWAY", "XA", "DND"};

static void take_presences(int i)
{
    struct raw *r = people[i].buddy;
    if (r == NULL)
        return;
    for (int k = 0; k < PEOPLE; k++) {
        const char *show = shown(r, people[k].name);
        if (show[0] != '\0')
            (void)snprintf(truths[i].told[k], sizeof truths[i].told[k], "%.7s", show);
    }
    (void)sees(r);
    raw_forget(r);
}

static void check_truths(void)
{
    world_settle(w);
    for (int i = 0; i < PEOPLE; i++) {
        take_presences(i);
        for (int k = 0; k < PEOPLE && people[i].buddy != NULL; k++) {
            const char *told = truths[i].told[k];
            bool there = people[k].lobby != NULL;
            if (k == i)
                continue;
            if (there && !truths[k].races && truths[k].show == NULL) {
                ck_assert_msg(strcmp(told, "DISC") != 0, "%s does not see %s", people[i].name, people[k].name);
            } else {
                const char *is = there ? truths[k].races ? "PASS" : truths[k].show
                                 : truths[k].drives_on && people[k].buddy != NULL ? "PASS"
                                                                                  : "DISC";
                ck_assert_msg(strcmp(told, is) == 0, "%s sees %s as %s, who is %s, at %llu ms", people[i].name,
                              people[k].name, told, is, (unsigned long long)w->mono_ms);
            }
        }
    }
}

static void random_deed(void)
{
    int i = (int)world_below(w, PEOPLE), k = (i + 1 + (int)world_below(w, PEOPLE - 1)) % PEOPLE;
    struct person *p = &people[i], *other = &people[k];
    struct truth *t = &truths[i];
    switch (world_below(w, 8)) {
    case 0:
    case 1:
        if (p->lobby == NULL) {
            enter(p);
            t->show = NULL;
            t->races = t->drives_on = false;
        }
        break;
    case 2:
    case 3:
        if (p->buddy == NULL) {
            link_up(p);
            for (int n = 0; n < PEOPLE; n++)
                strcpy(t->told[n], "DISC");
            ask_rosters(p);
            t->show = NULL;
        }
        break;
    case 4:
        if (p->lobby != NULL) {
            t->drives_on = t->races;
            leave_lobby(p);
            t->races = false;
            world_run(w, 5000);
        }
        break;
    case 5:
        if (p->buddy != NULL) {
            link_down(p);
            t->show = NULL;
            world_run(w, 5000);
        }
        break;
    case 6:
        if (p->buddy != NULL && p->lobby != NULL) {
            t->show = show_words[world_below(w, COUNT(show_words))];
            set_presence(p, t->show);
        }
        break;
    default:
        if (p->lobby == NULL)
            break;
        if (t->races) {
            SUCCEEDS(raw_ask(p->lobby, "chal", "PERS=*\n"));
            t->races = false;
        } else if (other->lobby != NULL && !truths[k].races) {
            hold_race(p, other);
            t->races = truths[k].races = true;
            /* whoever of them leaves at once drives on */
            int goes = world_below(w, 2) == 0 ? i : k;
            if (world_below(w, 2) == 0) {
                leave_lobby(&people[goes]);
                truths[goes].races = false;
                truths[goes].drives_on = true;
                world_run(w, 5000);
            }
        }
        break;
    }
    for (int n = 0; n < PEOPLE; n++)
        if (people[n].lobby != NULL)
            raw_forget(people[n].lobby);
}

TEST_LOOP(at_random, everyone_is_told_the_truth, 0, 2)
{
    static const struct world_options options[] = {{.seed = 31}, {.seed = 32, .split = WORLD_RANDOM}};
    reopen_people(&options[_i]);
    memset(truths, 0, sizeof truths);
    for (int i = 0; i < PEOPLE; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "Bud%d", i);
        (void)linked(name);
    }
    for (int i = 0; i < PEOPLE; i++) {
        for (int k = 0; k < PEOPLE; k++) {
            if (i != k) {
                put_on_list(&people[i], "B", people[k].name);
                strcpy(truths[i].told[k], "CHAT");
            }
        }
    }
    for (int step = 0; step < 150; step++) {
        random_deed();
        check_truths();
    }
}

TEST_LOOP(at_random, every_letter_comes_once, 0, 2)
{
    static const struct world_options options[] = {{.seed = 41}, {.seed = 43, .split = WORLD_RANDOM}};
    int next[4] = {0}, sent[4] = {0}; /* of each recipient: what is to come, what was sent */
    reopen_people(&options[_i]);
    (void)linked("Bud0");
    (void)linked("Bud1");
    (void)linked("Bud2");
    (void)linked("Bud3");
    for (int step = 0; step < 200; step++) {
        int i = (int)world_below(w, 4), k = (i + 1 + (int)world_below(w, 3)) % 4;
        uint32_t deed = world_below(w, 10);
        if (deed < 6 && people[i].buddy != NULL) {
            char body[16];
            (void)snprintf(body, sizeof body, "%d", sent[k]);
            write_letter(&people[i], people[k].name, body);
            sent[k]++;
        } else if (deed < 8 && people[i].buddy != NULL) {
            link_down(&people[i]);
        } else if (deed < 9 && people[i].buddy == NULL) {
            link_up(&people[i]);
            ask_rosters(&people[i]);
        } else if (deed == 9 && world_below(w, 4) == 0) {
            restart();
        }
        for (int n = 0; n < 4; n++) {
            struct raw *r = people[n].buddy;
            world_settle(w);
            for (size_t at = 0; r != NULL && at < r->count; at++)
                if (strcmp(r->frames[at]->kind, "RECV") == 0)
                    ck_assert_int_eq(atoi(got_text(r->frames[at], "BODY")), next[n]++);
            if (r != NULL) {
                raw_forget(r);
                ck_assert_int_eq(next[n], sent[n]);
            }
        }
    }
    ck_assert_int_gt(sent[0] + sent[1] + sent[2] + sent[3], 40);
}

/* ---- Two consoles ------------------------------------------------------- */

GROUP(consoles, open_people, close_world, 0);

static const char *friend_of(const struct console *c, const char *name)
{
    const struct console_friend *friend = console_friend(c, name);
    return friend == NULL ? "nobody" : friend->ignored ? "ignored" : friend->show;
}

static struct console *back_in(struct console *c, const char *name)
{
    console_login(c, name, "secret", name);
    world_settle(w);
    ck_assert_int_eq(c->stage, CONSOLE_INSIDE);
    ck_assert(c->buddy_in);
    return c;
}

TEST_LOOP(consoles, two_consoles_are_friends_across_a_restart, 0, 2)
{
    static const enum world_split splits[] = {WORLD_WHOLE, WORLD_RANDOM};
    struct world_options options = {.split = splits[_i], .seed = 5};
    reopen_people(&options);
    struct console *one = world_player(w, "One"), *two = world_player(w, "Two");
    console_add_friend(one, "tWO", false);
    console_add_friend(two, "One", false);
    world_settle(w);
    ck_assert_str_eq(friend_of(one, "Two"), "CHAT");
    ck_assert_str_eq(console_friend(one, "Two")->name, "Two"); /* as it was first written */
    ck_assert_str_eq(friend_of(two, "One"), "CHAT");
    console_write_letter(one, "Two", "How about a race?");
    world_settle(w);
    ck_assert_uint_eq(two->letters.count, 1);
    ck_assert_str_eq(two->letters.at[0].from, "One");
    ck_assert_str_eq(two->letters.at[0].body, "How about a race?");
    ck_assert(console_challenge_player(one, "Two", NULL));
    world_settle(w);
    console_answer(two, "ACPT");
    world_settle(w);
    ck_assert_int_eq(one->challenge, CONSOLE_RACING);
    ck_assert_str_eq(friend_of(one, "Two"), "PASS");
    ck_assert_str_eq(friend_of(two, "One"), "PASS");
    console_back_in_lobby(two);
    world_settle(w);
    ck_assert_str_eq(friend_of(one, "Two"), "CHAT");
    console_leave(two);
    world_run(w, 5000);
    ck_assert_str_eq(friend_of(one, "Two"), "DISC");
    console_write_letter(one, "Two", "You have left.");
    console_write_letter(one, "Two", "Come back!");
    world_settle(w);
    ck_assert_uint_eq(console_awaits(one, CONSOLE_BUDDY), 0);
    ck_assert_uint_eq(console_reply(one, "SEND")->code, 0);
    restart();
    (void)back_in(one, "One");
    ck_assert_str_eq(friend_of(one, "Two"), ""); /* listed, and not there */
    (void)back_in(two, "Two");
    ck_assert_str_eq(friend_of(one, "Two"), "CHAT");
    ck_assert_str_eq(friend_of(two, "One"), "CHAT");
    ck_assert_uint_eq(two->letters.count, 3);
    ck_assert_str_eq(two->letters.at[1].body, "You have left.");
    ck_assert_str_eq(two->letters.at[2].body, "Come back!");
    console_leave(two);
    world_run(w, 1000);
    (void)back_in(two, "Two");
    ck_assert_uint_eq(two->letters.count, 3); /* once */
    console_drop_friend(one, "Two", false);
    world_settle(w);
    ck_assert_str_eq(friend_of(one, "Two"), "nobody");
    console_leave(one);
    world_run(w, 1000);
    (void)back_in(one, "One");
    ck_assert_str_eq(friend_of(one, "Two"), "nobody");
}

TEST(consoles, a_console_blocks_another)
{
    struct console *one = world_player(w, "One"), *two = world_player(w, "Two");
    console_add_friend(one, "Two", true);
    world_settle(w);
    for (int i = 0; i < 2; i++) {
        ck_assert_str_eq(friend_of(one, "Two"), "ignored");
        console_move(one, "East", "");
        console_move(two, "East", "");
        world_settle(w);
        console_chat(two, "hello");
        console_tell(two, "One", "psst");
        console_write_letter(two, "One", "dear");
        ck_assert(console_challenge_player(two, "One", NULL));
        world_settle(w);
        ck_assert_uint_eq(console_saw(one, NULL, "hello") + console_saw(one, NULL, "psst"), 0);
        ck_assert_uint_eq(one->letters.count, 0);
        ck_assert_int_eq(one->challenge, CONSOLE_IDLE);
        ck_assert_int_eq(two->challenge, CONSOLE_IDLE); /* BLOC came */
        if (i == 0) {
            restart();
            (void)back_in(one, "One");
            (void)back_in(two, "Two");
        }
    }
    console_drop_friend(one, "Two", true);
    world_settle(w);
    console_chat(two, "hello");
    console_write_letter(two, "One", "dear");
    world_settle(w);
    ck_assert_uint_eq(console_saw(one, "Two", "hello"), 1);
    ck_assert_uint_eq(one->letters.count, 1);
}

TEST(consoles, a_full_house_of_consoles_sees_itself)
{
    struct console *c[12];
    char name[16];
    for (int i = 0; i < COUNT(c); i++) {
        (void)snprintf(name, sizeof name, "Racer%d", i);
        c[i] = world_player(w, name);
    }
    for (int i = 0; i < COUNT(c); i++) {
        for (int k = 0; k < COUNT(c); k++) {
            (void)snprintf(name, sizeof name, "racer%d", k);
            if (k != i)
                console_add_friend(c[i], name, false);
        }
    }
    world_settle(w);
    console_leave(c[3]);
    world_run(w, 5000);
    for (int i = 0; i < COUNT(c); i++) {
        for (int k = 0; k < COUNT(c); k++) {
            (void)snprintf(name, sizeof name, "Racer%d", k);
            if (k != i && i != 3)
                ck_assert_str_eq(friend_of(c[i], name), k == 3 ? "DISC" : "CHAT");
        }
        ck_assert_uint_eq(console_awaits(c[i], CONSOLE_BUDDY), 0);
    }
    world_run(w, 120000); /* pings on every link */
    for (int i = 0; i < COUNT(c); i++)
        ck_assert(i == 3 || (c[i]->link[CONSOLE_BUDDY].open && c[i]->link[CONSOLE_BUDDY].pings >= 3));
}
