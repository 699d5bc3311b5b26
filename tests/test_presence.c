/* Presence (PROTOCOL 9): who is told of whom, what is shown of a player in the
 * lobby, in a race and afterwards, and how long a subscription lasts.
 *
 * SPDX-License-Identifier: MIT */
#include "people.h"

/* ---- Presence ----------------------------------------------------------- */

GROUP(presence, open_people, close_world, 0);

/* Nobody takes it for a player who only logs in again. */
static void leave_lobby_for_good(struct person *p)
{
    leave_lobby(p);
    world_run(w, 5000);
}

TEST(presence, pset_is_relayed_to_everyone_who_lists_the_player)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid"), *dan = linked("Dan");
    struct person *eve = linked("Eve");
    put_on_list(ann, "B", "Bob");
    put_on_list(dan, "B", "Bob");
    put_on_list(cid, "I", "Bob"); /* ignores him */
    put_on_list(bob, "B", "Eve"); /* is listed, and does not list */
    forget_all();
    say(bob->buddy, "PSET", "SHOW=AWAY\nSTAT=" GAME_STAT "\nPROD=" GAME_PROD "\n");
    GOT(bob->buddy, "PSET");
    ck_assert_str_eq(got_code(frame_at(bob->buddy, 0)), "");
    SAYS(frame_at(bob->buddy, 0), "STATUS=1");
    GOT(ann->buddy, "PGET");
    GOT(dan->buddy, "PGET");
    SAYS_GAME(frame_at(ann->buddy, 0), "AWAY");
    SAYS_GAME(frame_at(dan->buddy, 0), "AWAY");
    ck_assert_str_eq(got_text(frame_at(ann->buddy, 0), "STAT"),
                     "en=\"is playing NASCAR Thunder%e2%84%a2 2004\"\nP=mad4\n");
    GOT(cid->buddy, "");
    GOT(eve->buddy, "");
    GOT(ann->lobby, "");
}

TEST(presence, each_presence_is_shown_as_it_was_set)
{
    static const char *const shows[] = {"AWAY", "CHAT", "XA", "DND", "PASS", "CHAT"};
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    for (int i = 0; i < COUNT(shows); i++) {
        raw_forget(ann->buddy);
        set_presence(bob, shows[i]);
        GOT(ann->buddy, "PGET");
        SAYS_GAME(frame_at(ann->buddy, 0), shows[i]);
        ask_rosters(ann); /* and to who asks later */
        GOT(ann->buddy, "RGET ROST RGET PGET");
        SAYS_GAME(frame_at(ann->buddy, 3), shows[i]);
    }
}

TEST(presence, who_sets_disc_seems_to_be_gone)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    set_presence(bob, "DISC");
    SEES(ann, "Bob=DISC");
    HAS(ann, "Bob", "");
    SEES(ann, "");
    write_letter(ann, "Bob", "hello"); /* its link is there all the same */
    READS(bob, "hello");
    raw_forget(ann->buddy);
    set_presence(bob, "CHAT");
    SEES(ann, "Bob=CHAT");
}

TEST(presence, a_bad_presence_changes_nothing)
{
    static const char *const bad[] = {
        "SHOW=FOO\n",  "SHOW=CHATTER\n", "SHOW=\"A=B\"\n", "SHOW=CHAT AWAY\n", "SHOW=CHAT AWAY XA DND\n",
        "SHOW=chat\n", "SHOW=C\n",       "SHOW=0\n",       "SHOW=\" \"\n"};
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    set_presence(bob, "AWAY");
    raw_forget(ann->buddy);
    for (int i = 0; i < COUNT(bad); i++) {
        REFUSED(raw_ask(bob->buddy, "PSET", bad[i]), "miss", 0);
        SEES(ann, "");
    }
    HAS(ann, "Bob", "");
    SEES(ann, "Bob=AWAY");
}

TEST_LOOP(presence, who_says_nothing_of_itself_may_chat, 0, 3)
{
    static const char *const silent[] = {"", "SHOW=\n", "STAT=x\nPROD=y\n"};
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    set_presence(bob, "AWAY");
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->buddy, "PSET", silent[_i]));
    GOT(ann->buddy, "PGET");
    SAYS(frame_at(ann->buddy, 0), "SHOW=CHAT\nUSER=Bob\nPROD=%s\nSTAT=%s", _i == 2 ? "y" : "", _i == 2 ? "x" : "");
}

TEST(presence, free_text_in_a_presence_forges_no_tag)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    char payload[2000] = "SHOW=DND\nSTAT=\"SHOW%3dDISC%0aUSER%3aCid USER%3dCid SHOW:PASS\"\nPROD=";
    put_on_list(ann, "B", "Bob");
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->buddy, "PSET", payload));
    GOT(ann->buddy, "PGET");
    SEES(ann, "Bob=DND");
    ck_assert_str_eq(got_text(frame_at(ann->buddy, 0), "STAT"), "SHOW=DISC\nUSER:Cid USER=Cid SHOW:PASS");
    for (size_t i = strlen(payload); i + 4 < sizeof payload - 60; i += 3) /* and as long as a frame can be */
        memcpy(payload + i, "%3d", 4);
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->buddy, "PSET", payload));
    SEES(ann, "Bob=DND"); /* cut maybe, and whole */
}

TEST(presence, presence_follows_the_lobby)
{
    struct person *ann = linked("Ann"), *bob = person("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    enter(bob);
    SEES(ann, "Bob=CHAT"); /* without a buddy link */
    raw_forget(ann->buddy);
    link_up(bob);
    world_settle(w);
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "DISC");
    raw_forget(ann->buddy);
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY");
    raw_forget(ann->buddy);
    go(bob->lobby, "East");
    word(cid->lobby, bob->lobby, TOKEN);
    word(bob->lobby, cid->lobby, "ACPT");
    SEES(ann, ""); /* busy is not racing */
    chal(cid->lobby, bob->name, 1);
    chal(bob->lobby, cid->name, 0);
    SEES(ann, "Bob=PASS");
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->lobby, "chal", "PERS=*\n"));
    SEES(ann, "Bob=AWAY"); /* as it had said */
    raw_forget(ann->buddy);
    leave_lobby_for_good(bob);
    SEES(ann, "Bob=DISC");
    ck_assert(!raw_closed(bob->buddy));
    raw_forget(ann->buddy);
    ask_rosters(ann);
    SEES(ann, ""); /* a buddy link alone is not being there */
    enter(bob);
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "");
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "DISC");
}

TEST_LOOP(presence, racing_ends_as_a_race_ends, 0, 5)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Cid");
    hold_race(bob, cid);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "PASS");
    ck_assert_str_eq(shown(ann->buddy, "Cid"), "PASS");
    ck_assert_uint_eq(frames_of(ann->buddy, "PGET", NULL), 2);
    raw_forget(ann->buddy);
    world_run(w, 40000);
    SEES(ann, "");
    switch (_i) {
    case 0: SUCCEEDS(raw_ask(bob->lobby, "chal", "PERS=*\n")); break;
    case 1: go(bob->lobby, "West"); break;
    case 2: put_on(bob); break;
    case 3: SUCCEEDS(raw_ask(bob->lobby, "room", "NAME=C.Bob\nPASS=\nDESC=None\nMAX=50\n")); break;
    default:
        word(bob->lobby, ann->lobby, TOKEN); /* a new challenge, 30 s later */
        break;
    }
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "CHAT");
    ck_assert_str_eq(shown(ann->buddy, "Cid"), "");
}

TEST_LOOP(presence, the_end_of_the_lobby_is_told_within_5_s, 0, 4)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    switch (_i) {
    case 0: /* it hangs up */ leave_lobby(bob); break;
    case 1: /* it falls silent */
        bob->lobby->keeps_pings = true;
        while (!raw_closed(bob->lobby)) {
            ck_assert_uint_lt(w->mono_ms, 100000);
            world_run(w, 1000);
        }
        break;
    case 2: /* it breaks the protocol */
        raw_send_bytes(bob->lobby, "mesg\0\0\0\0\0\0\0\1", 12);
        world_settle(w);
        ck_assert(raw_closed(bob->lobby));
        break;
    default: /* its buddy link goes first */
        link_down(bob);
        SEES(ann, ""); /* which is nothing */
        leave_lobby(bob);
        break;
    }
    world_run(w, 5000);
    SEES(ann, "Bob=DISC");
}

TEST_LOOP(presence, a_race_that_has_just_begun_may_end_the_lobby_link, 0, 2)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Cid");
    hold_race(bob, cid);
    if (_i == 1)
        world_run(w, 25000); /* still just */
    leave_lobby(bob);
    leave_lobby_for_good(cid);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "PASS");
    ck_assert_str_eq(shown(ann->buddy, "Cid"), "PASS");
    ck_assert_ptr_null(strstr(sees(ann->buddy), "DISC")); /* not for a moment */
    raw_forget(ann->buddy);
    for (int i = 0; i < 20; i++) { /* a race of 20 minutes */
        world_run(w, 60000);
        SEES(ann, "");
    }
    HAS(ann, "Bob Cid", "");
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "PASS");
    ck_assert_str_eq(shown(ann->buddy, "Cid"), "PASS");
    raw_forget(ann->buddy);
    link_down(cid); /* that one's console is gone */
    world_run(w, 5000);
    SEES(ann, "Cid=DISC");
    raw_forget(ann->buddy);
    enter(bob); /* and this one is back */
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "CHAT");
    raw_forget(ann->buddy);
    leave_lobby_for_good(bob);
    SEES(ann, "Bob=DISC");
}

TEST(presence, a_new_buddy_link_keeps_who_races)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    hold_race(bob, cid);
    leave_lobby_for_good(bob);
    struct raw *first = bob->buddy;
    link_up(bob); /* it stands already, and this one takes its place */
    world_run(w, 5000);
    ck_assert(raw_closed(first));
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "PASS");
    raw_forget(ann->buddy);
    link_down(bob);
    world_run(w, 5000);
    SEES(ann, "Bob=DISC");
    raw_forget(ann->buddy);
    link_up(bob); /* it is in the race still, as it has not come into the lobby since */
    world_run(w, 5000);
    SEES(ann, "Bob=PASS");
    raw_forget(ann->buddy);
    enter(bob);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "CHAT");
    leave_lobby_for_good(bob);
    raw_forget(ann->buddy);
    link_down(bob);
    link_up(bob);
    world_run(w, 5000);
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "PASS"); /* that race is over */
}

/* However long the race has been under way, and whoever has come back from it. */
TEST_LOOP(presence, who_leaves_the_lobby_in_a_race_is_racing, 0, 4)
{
    static const uint32_t under_way_ms[] = {0, 29000, 31000, 1200000};
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    hold_race(bob, cid);
    world_run(w, under_way_ms[_i]);
    SUCCEEDS(raw_ask(cid->lobby, "chal", "PERS=*\n"));
    SEES(ann, "Bob=PASS");
    raw_forget(ann->buddy);
    leave_lobby_for_good(bob);
    ck_assert(strstr(sees(ann->buddy), "DISC") == NULL);
    raw_forget(ann->buddy);
    enter(bob);
    SEES(ann, "Bob=CHAT");
}

/* Whoever comes back as another persona does not race any more as the first. */
TEST(presence, another_persona_of_a_racer_ends_its_race)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    struct person ace = *bob;
    strcpy(ace.name, "Ace");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    put_on_list(ann, "B", "Bob");
    hold_race(bob, cid);
    leave_lobby_for_good(bob);
    raw_forget(ann->buddy);
    ace.buddy = NULL;
    enter(&ace);
    SEES(ann, "Bob=DISC");
}

TEST_LOOP(presence, a_lobby_link_that_ends_otherwise_ends_presence, 0, 4)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    switch (_i) {
    case 0: /* it has gone on to another room */
        hold_race(bob, cid);
        SUCCEEDS(raw_ask(bob->lobby, "move", "NAME=West\nPASS=\n"));
        break;
    case 1: /* it is back from its race */
        hold_race(bob, cid);
        SUCCEEDS(raw_ask(bob->lobby, "chal", "PERS=*\n"));
        break;
    case 2: /* it has no buddy link */
        hold_race(bob, cid);
        link_down(bob);
        break;
    default: /* it never began */
        word(bob->lobby, cid->lobby, TOKEN);
        word(cid->lobby, bob->lobby, "ACPT");
        break;
    }
    world_settle(w);
    raw_forget(ann->buddy);
    leave_lobby_for_good(bob);
    SEES(ann, "Bob=DISC");
}

TEST(presence, another_persona_is_somebody_else)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob"), ace = *bob;
    strcpy(ace.name, "Ace");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Ace");
    put_on(&ace);
    world_run(w, 5000);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "DISC");
    ck_assert_str_eq(shown(ann->buddy, "Ace"), "CHAT");
    ck_assert_uint_eq(frames_of(ann->buddy, "PGET", NULL), 2);
}

TEST(presence, a_login_elsewhere_is_no_goodbye)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    struct raw *old = bob->lobby;
    enter(bob);
    ck_assert(raw_closed(old));
    world_run(w, 10000);
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "DISC");
    raw_forget(ann->buddy);
    SAYS(raw_ask(ann->buddy, "PGET", "USER=Bob\n"), "SHOW=CHAT\nUSER=Bob\nPROD=*\nSTAT=*");
}

TEST(presence, changes_are_told_from_auth_on)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = person("Cid");
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Cid");
    link_down(ann);
    set_presence(bob, "AWAY");
    enter(cid);
    link_up(ann);
    SEES(ann, ""); /* what is, RGET tells */
    set_presence(bob, "XA");
    leave_lobby_for_good(cid);
    SEES(ann, "Bob=XA Cid=DISC");
}

TEST(presence, who_is_taken_off_the_roster_is_not_told_of)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY");
    take_off_list(ann, "B", "Bob");
    set_presence(bob, "CHAT");
    leave_lobby_for_good(bob);
    SEES(ann, "");
}

TEST_LOOP(presence, a_subscription_lasts_as_long_as_its_link, 0, 2)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    say(ann->buddy, "PADD", "USER=bob/cso/nascar-ps2-2004\n");
    GOT(ann->buddy, "PADD PGET");
    ck_assert_str_eq(got_code(frame_at(ann->buddy, 0)), "");
    SAYS(frame_at(ann->buddy, 0), "STATUS=1");
    SEES(ann, "Bob=CHAT");
    raw_forget(ann->buddy);
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY");
    HAS(ann, "", ""); /* it is on no list */
    SEES(ann, "");
    raw_forget(ann->buddy);
    if (_i == 0) {
        say(ann->buddy, "PDEL", "USER=BOB\n");
        GOT(ann->buddy, "PDEL");
        ck_assert_str_eq(got_code(frame_at(ann->buddy, 0)), "");
        SAYS(frame_at(ann->buddy, 0), "STATUS=1");
    } else {
        link_down(ann);
        link_up(ann);
    }
    raw_forget(ann->buddy);
    set_presence(bob, "XA");
    SEES(ann, "");
}

TEST(presence, a_subscription_begins_with_whatever_is)
{
    struct person *ann = linked("Ann"), *bob = person("Bob");
    say(ann->buddy, "PADD", "USER=Bob\n");
    GOT(ann->buddy, "PADD PGET");
    SAYS(frame_at(ann->buddy, 1), "SHOW=DISC\nUSER=Bob\nPROD=\nSTAT=");
    raw_forget(ann->buddy);
    enter(bob);
    SEES(ann, "Bob=CHAT");
    raw_forget(ann->buddy);
    leave_lobby_for_good(bob);
    SEES(ann, "Bob=DISC");
}

TEST(presence, a_subscription_and_the_roster_are_two_things)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Bob\n"));
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Bob\n")); /* twice is once */
    world_settle(w);
    raw_forget(ann->buddy);
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY"); /* told once */
    SUCCEEDS(raw_ask(ann->buddy, "PDEL", "USER=Bob\n"));
    raw_forget(ann->buddy);
    set_presence(bob, "XA"); /* the roster still has him */
    SEES(ann, "Bob=XA");
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Bob\n"));
    take_off_list(ann, "B", "Bob");
    set_presence(bob, "DND"); /* the subscription, too */
    SEES(ann, "Bob=DND");
    SUCCEEDS(raw_ask(ann->buddy, "PDEL", "USER=Bob\n"));
    raw_forget(ann->buddy);
    set_presence(bob, "CHAT");
    SEES(ann, "");
}

TEST(presence, a_link_has_25_subscriptions)
{
    struct person *ann = linked("Ann"), *late = person("Zoe");
    char payload[32];
    crowd("Racer", ROSTER_SIZE);
    for (int i = 0; i < ROSTER_SIZE; i++) {
        (void)snprintf(payload, sizeof payload, "USER=Racer%02d\n", i);
        SUCCEEDS(raw_ask(ann->buddy, "PADD", payload));
    }
    const struct got *g = raw_ask(ann->buddy, "PADD", "USER=Zoe\n");
    ck_assert_str_eq(got_code(g), "full");
    ck_assert_int_ne(got_status(g), 1);
    world_settle(w);
    raw_forget(ann->buddy);
    enter(late);
    SEES(ann, "");
    SUCCEEDS(raw_ask(ann->buddy, "PDEL", "USER=Racer07\n"));
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Zoe\n"));
    SEES(ann, "Zoe=CHAT");
}

TEST(presence, presence_is_told_to_who_asks)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    (void)person("Cid");
    set_presence(bob, "DND");
    say(ann->buddy, "PGET", "USER=BOB/cso/nascar-ps2-2004\n");
    say(ann->buddy, "PGET", "USER=Cid\n");
    GOT(ann->buddy, "PGET PGET");
    SAYS_GAME(frame_at(ann->buddy, 0), "DND");
    SAYS(frame_at(ann->buddy, 1), "SHOW=DISC\nUSER=Cid\nPROD=\nSTAT=");
    raw_forget(ann->buddy);
    set_presence(bob, "CHAT"); /* and subscribes to nothing */
    SEES(ann, "");
}

TEST(presence, nobody_subscribes_to_nobody)
{
    static const char *const users[] = {"USER=Nobody\n", "USER=Bob2/cso\n", "USER=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"};
    static const char *const kinds_of[] = {"PADD", "PGET"};
    struct person *ann = linked("Ann");
    for (int i = 0; i < 2 * COUNT(users); i++) {
        raw_forget(ann->buddy);
        say(ann->buddy, kinds_of[i % 2], users[i / 2]);
        GOT(ann->buddy, kinds_of[i % 2]);
        REFUSED(frame_at(ann->buddy, 0), "user", 102);
    }
}

TEST(presence, many_watchers_are_each_told_once)
{
    struct person *bob = linked("Bob"), *watchers[20];
    for (int i = 0; i < COUNT(watchers); i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Fan%02d", i);
        watchers[i] = linked(name);
        if (i % 2 == 0)
            put_on_list(watchers[i], "B", "Bob");
        else
            SUCCEEDS(raw_ask(watchers[i]->buddy, "PADD", "USER=Bob\n"));
        world_settle(w);
    }
    link_down(watchers[7]);
    link_down(watchers[8]);
    leave_lobby(watchers[9]); /* its buddy link stays */
    for (int step = 0; step < 3; step++) {
        forget_all();
        if (step == 0)
            set_presence(bob, "AWAY");
        else if (step == 1)
            hold_race(bob, watchers[0]);
        else
            SUCCEEDS(raw_ask(bob->lobby, "chal", "PERS=*\n"));
        for (int i = 0; i < COUNT(watchers); i++)
            if (watchers[i]->buddy != NULL)
                SEES(watchers[i], step == 1 ? "Bob=PASS" : "Bob=AWAY");
    }
}

TEST_LOOP(presence, a_reader_who_is_behind_is_told_what_is_now, 0, 2)
{
    struct person *ann = linked("Ann"), *cid = linked("Cid"), *others[10];
    for (int i = 0; i < COUNT(others); i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Bob%02d", i);
        others[i] = linked(name);
        put_on_list(ann, "B", name);
    }
    put_on_list(cid, "B", "Bob00");
    raw_window(ann->buddy, (size_t)_i * 100);
    uint64_t began = w->mono_ms;
    for (int turn = 0; turn < 60; turn++) {
        for (int i = 0; i < COUNT(others); i++) {
            raw_forget(others[i]->buddy);
            raw_send(others[i]->buddy, "PSET", turn % 2 == 0 ? "SHOW=AWAY\n" : "SHOW=DND\n");
            ck_assert_ptr_nonnull(raw_look(others[i]->buddy, "PSET")); /* nobody waits for her */
        }
    }
    set_presence(others[3], "XA");
    leave_lobby(others[4]);
    ck_assert_uint_eq(w->mono_ms, began);
    ck_assert_uint_eq(frames_of(cid->buddy, "PGET", NULL), 60); /* who keeps up sees it all */
    world_run(w, 5000);
    raw_window(ann->buddy, SIZE_MAX);
    ck_assert(!raw_closed(ann->buddy));
    ck_assert_uint_lt(frames_of(ann->buddy, "PGET", NULL), 200); /* of 602 */
    for (int i = 0; i < COUNT(others); i++)
        ck_assert_str_eq(shown(ann->buddy, others[i]->name), i == 3 ? "XA" : i == 4 ? "DISC" : "DND");
    raw_forget(ann->buddy);
    set_presence(others[0], "CHAT"); /* and goes on */
    SEES(ann, "Bob00=CHAT");
}

TEST_LOOP(presence, a_change_of_the_roster_loses_no_news, 0, 3)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    char status[1024] = "SHOW=AWAY\nSTAT=";
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Cid");
    if (_i == 1)
        put_on_list(ann, "I", "Bob");
    for (int i = 0; i < 255; i++)
        strcat(status, "%3d");
    strcat(status, "\n");
    raw_window(ann->buddy, 0);
    for (int i = 0; i < 8; i++) /* she falls behind */
        SUCCEEDS(raw_ask(cid->buddy, "PSET", status));
    set_presence(bob, "DND");
    GOT(ann->buddy, "");
    raw_send(ann->buddy, _i == 1 ? "RDEL" : _i == 0 ? "RADD" : "PADD", "ID=101\nLIST=I\nUSER=Bob\n");
    if (_i == 2)
        raw_send(ann->buddy, "RDEL", "ID=101\nLIST=B\nUSER=Bob\n");
    world_settle(w);
    raw_window(ann->buddy, SIZE_MAX);
    ck_assert_uint_lt(frames_of(ann->buddy, "PGET", NULL), 9);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "DND");
    ck_assert_str_eq(shown(ann->buddy, "Cid"), "AWAY");
}

TEST(presence, what_is_set_in_a_race_shows_after_it)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    hold_race(bob, cid);
    set_presence(bob, "DND");
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "PASS");
    ck_assert_ptr_null(strstr(sees(ann->buddy), "DND"));
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->lobby, "chal", "PERS=*\n"));
    SEES(ann, "Bob=DND");
}

TEST(presence, a_deleted_persona_is_on_no_roster_and_nobody_hears_of_it)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), ace = *bob;
    strcpy(ace.name, "Ace");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    put_on(&ace);
    link_up(&ace);
    put_on_list(ann, "B", "Ace");
    put_on_list(ann, "B", "Bob");
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Ace\n"));
    put_on_list(&ace, "B", "Ann");
    put_on(bob); /* as Bob again */
    world_run(w, 5000);
    SUCCEEDS(raw_ask(bob->lobby, "dper", "PERS=Ace\n"));
    world_settle(w);
    ck_assert(raw_closed(ace.buddy));
    ck_assert_str_eq(buddy_code("Ace", ace.ticket), "user");
    for (int i = 0; i < 2; i++) {
        HAS(ann, "Bob", "");
        raw_forget(ann->buddy);
        REFUSED(raw_ask(ann->buddy, "PGET", "USER=Ace\n"), "user", 102);
        REFUSED(letter(ann, "Ace", "hello", "60"), "user", 102);
        if (i == 0) {
            restart();
            enter(ann);
            link_up(ann);
            enter(bob);
            ace.lobby = bob->lobby;
        }
    }
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n")); /* another one, whom nobody knows */
    put_on(&ace);
    world_run(w, 5000);
    ck_assert_str_eq(shown(ann->buddy, "Ace"), "");
    link_up(&ace);
    HAS(&ace, "", "");
    READS(&ace, "");
}

/* A watcher that does not read cannot be told that a persona is gone for good, so its link ends. */
TEST(presence, a_deleted_persona_stays_on_no_screen_of_who_does_not_read)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Bob\n"));
    raw_window(ann->buddy, 0);
    for (int i = 0; i < 400; i++)
        say(ann->buddy, "PGET", "USER=Bob\n"); /* its outbox is full */
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Bobby\n"));
    SUCCEEDS(raw_ask(bob->lobby, "pers", "PERS=Bobby\n"));
    SUCCEEDS(raw_ask(bob->lobby, "dper", "PERS=Bob\n"));
    raw_window(ann->buddy, 100000);
    world_settle(w);
    CLOSED(ann->buddy);
}
