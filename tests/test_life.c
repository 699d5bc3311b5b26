/* Whole lives: consoles that log in, look around, talk, race and leave, against
 * the core. After every move each list and counter of everyone is compared with
 * a model of the truth that the test keeps by itself (PROTOCOL 3.3, 5).
 *
 * SPDX-License-Identifier: MIT */
#include "suite.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The truth ---------------------------------------------------------- */

#define GUESTS 50
#define PLACES 64
#define NOWHERE SIZE_MAX
#define HUB 0u

struct guest {
    struct console *console;
    uint32_t ip;
    char name[13];
    size_t place; /* NOWHERE: not logged in */
    enum console_challenge duel;
    size_t opponent;
    bool offered;  /* the duel is this one's own offer */
    bool busy;     /* shown as F=1 */
    int32_t ident; /* what the server calls it; 0: not seen yet */
};

struct place {
    bool there;
    char name[32], about[32], password[16];
    int32_t limit;
    size_t guests;
    int32_t ident;
    bool lasting; /* stays when it is empty */
};

/* An assertion whose failure tells the seed. */
#define EXPECT(t, condition) \
    do { \
        if (!(condition)) \
            world_fail((t)->world, "line %d: %s", __LINE__, #condition); \
    } while (0)

struct truth {
    struct world *world;
    struct guest guest[GUESTS];
    size_t guests;
    struct place place[PLACES];
};

static size_t add_place(struct truth *t, const char *name, const char *about, const char *password, int32_t limit)
{
    size_t free_place = 0;
    while (t->place[free_place].there) {
        free_place++;
        EXPECT(t, free_place < PLACES);
    }
    struct place *place = &t->place[free_place];
    memset(place, 0, sizeof *place);
    place->there = true;
    (void)snprintf(place->name, sizeof place->name, "%s", name);
    (void)snprintf(place->about, sizeof place->about, "%s", about);
    (void)snprintf(place->password, sizeof place->password, "%s", password);
    place->limit = limit;
    return free_place;
}

static void open_world(struct truth *t, const struct world_options *options)
{
    static const struct {
        const char *name, *about;
        int32_t limit;
    } lasting[] = {
        {"Lobby", "Main Lobby Hub", 100},
        {"East", "East Coast Racers", 50},
        {"West", "West Coast Racers", 50},
        {"Beginner", "New Drivers Welcome", 50},
    };
    memset(t, 0, sizeof *t);
    t->world = world_new(options);
    for (size_t i = 0; i < sizeof lasting / sizeof lasting[0]; i++) {
        size_t at = add_place(t, lasting[i].name, lasting[i].about, "", lasting[i].limit);
        ck_assert_uint_eq(at, i); /* HUB is the first */
        t->place[at].ident = (int32_t)i;
        t->place[at].lasting = true;
    }
}

/* A world whose bytes travel whole, one by one, or split at random. */
static void open_split(struct truth *t, int split)
{
    struct world_options options = {.split = (enum world_split)split, .seed = 7};
    open_world(t, &options);
}

static size_t guest_arrives(struct truth *t, const char *name)
{
    size_t i = t->guests++;
    struct guest *g = &t->guest[i];
    ck_assert_uint_lt(i, GUESTS);
    (void)snprintf(g->name, sizeof g->name, "%s", name);
    g->console = world_player(t->world, name);
    g->ip = t->world->next_ip - 1;
    g->place = HUB;
    t->place[HUB].guests++;
    return i;
}

static size_t place_named(const struct truth *t, const char *name)
{
    for (size_t i = 0; i < PLACES; i++)
        if (t->place[i].there && strcmp(t->place[i].name, name) == 0)
            return i;
    return NOWHERE;
}

static void truth_ends(struct truth *t, struct guest *g)
{
    struct guest *other = &t->guest[g->opponent];
    if (g->duel == CONSOLE_IDLE)
        return;
    if (g->duel != CONSOLE_RACING) { /* a race goes on for the other */
        other->duel = CONSOLE_IDLE;
        other->busy = false;
    }
    g->duel = CONSOLE_IDLE;
    g->busy = false;
}

static void leave_place(struct truth *t, struct guest *g)
{
    struct place *old = &t->place[g->place];
    old->guests--;
    if (old->guests == 0 && !old->lasting)
        old->there = false;
}

/* The guest is somewhere else now: challenges end with that. */
static void truth_moves(struct truth *t, size_t who, size_t place)
{
    struct guest *g = &t->guest[who];
    if (place == g->place)
        return;
    truth_ends(t, g);
    if (g->place != NOWHERE)
        leave_place(t, g);
    g->place = place;
    if (place != NOWHERE)
        t->place[place].guests++;
}

static void truth_offers(struct truth *t, size_t who, size_t target)
{
    struct guest *a = &t->guest[who], *b = &t->guest[target];
    a->duel = CONSOLE_OFFERED;
    b->duel = CONSOLE_RECEIVED;
    a->opponent = target;
    b->opponent = who;
    a->offered = true;
    b->offered = false;
    a->busy = true; /* B only from its ACPT on (5) */
}

static void truth_pairs(struct truth *t, size_t who, enum console_challenge duel)
{
    struct guest *a = &t->guest[who], *b = &t->guest[a->opponent];
    a->duel = b->duel = duel;
    a->busy = b->busy = true;
}

/* ---- Comparing ---------------------------------------------------------- */

#define SAME(g, what, expected, format) \
    do { \
        if ((what) != (expected)) \
            world_fail(t->world, "%s: " #what " is " format ", not " format, (g)->name, what, expected); \
    } while (0)

static void compare_rooms(struct truth *t, const struct guest *g)
{
    const struct console *c = g->console;
    size_t there = 0;
    for (size_t i = 0; i < PLACES; i++) {
        struct place *place = &t->place[i];
        if (!place->there)
            continue;
        there++;
        const struct console_room *room = console_room_named(c, place->name);
        if (room == NULL)
            world_fail(t->world, "%s does not see room %s", g->name, place->name);
        if (place->ident == 0 && i != HUB) {
            place->ident = room->ident;
            EXPECT(t, room->ident > 1000);
        }
        SAME(g, room->ident, place->ident, "%d");
        SAME(g, room->limit, place->limit, "%d");
        SAME(g, room->flags, CONSOLE_FLAG(place->password[0] != '\0' ? 'P' : '0'), "%x");
        SAME(g, room->address, t->world->server_ip, "%x");
        SAME(g, strcmp(room->name, place->name), 0, "%d");
        SAME(g, strcmp(room->about, place->about), 0, "%d");
        /* +pop reaches neither the hub's count nor the own room's (3.3). */
        if (i != HUB && i != g->place)
            SAME(g, room->population, (int32_t)place->guests, "%d");
    }
    SAME(g, c->rooms.count, there, "%zu");
}

static void compare_users(struct truth *t, const struct guest *g)
{
    const struct console *c = g->console;
    size_t listed = 0;
    for (size_t i = 0; i < t->guests; i++) {
        struct guest *other = &t->guest[i];
        bool same_room = other == g || (other->place == g->place && g->place != HUB);
        /* A challenger from elsewhere is listed until the challenge ends (5),
         * whether or not this console could take the challenge. */
        bool guest_record = (g->duel != CONSOLE_IDLE && g->opponent == i) ||
                            (other->duel == CONSOLE_OFFERED && &t->guest[other->opponent] == g);
        const struct console_user *user = console_user(c, other->name);
        if (user == NULL && (same_room || (guest_record && g->duel == CONSOLE_RECEIVED)))
            world_fail(t->world, "%s does not see %s", g->name, other->name);
        if (user == NULL)
            continue;
        listed++;
        if (!same_room && !guest_record)
            world_fail(t->world, "%s still sees %s", g->name, other->name);
        if (other->ident == 0)
            other->ident = user->ident;
        SAME(g, user->ident, other->ident, "%d");
        SAME(g, user->address, other->ip, "%x");
        if (same_room)
            SAME(g, user->flags, CONSOLE_FLAG(other->busy ? '1' : '0') | (other == g ? CONSOLE_FLAG('U') : 0u), "%x");
    }
    SAME(g, c->users.count, listed, "%zu");
}

static void compare_all(struct truth *t)
{
    world_all_well(t->world);
    for (size_t i = 0; i < t->guests; i++) {
        const struct guest *g = &t->guest[i];
        const struct console *c = g->console;
        if (g->place == NOWHERE) {
            SAME(g, (int)c->stage, (int)CONSOLE_OFF, "%d");
            continue;
        }
        const struct place *place = &t->place[g->place];
        SAME(g, (int)c->stage, (int)CONSOLE_INSIDE, "%d");
        SAME(g, strcmp(c->persona, g->name), 0, "%d");
        SAME(g, console_awaits(c, CONSOLE_LOBBY), (size_t)0, "%zu");
        SAME(g, (int)c->challenge, (int)g->duel, "%d");
        compare_rooms(t, g);
        SAME(g, c->room, place->ident, "%d");
        if (g->place != HUB) {
            SAME(g, c->room_population, (int32_t)place->guests, "%d");
            SAME(g, strcmp(c->room_name, place->name), 0, "%d");
            SAME(g, c->room_flags, CONSOLE_FLAG(place->password[0] != '\0' ? 'P' : '0'), "%x");
        }
        compare_users(t, g);
    }
}

static void quiet(struct truth *t)
{
    world_settle(t->world);
    compare_all(t);
}

/* ---- What guests do ----------------------------------------------------- */

static struct console *console_of(struct truth *t, size_t who)
{
    return t->guest[who].console;
}

static void guest_goes(struct truth *t, size_t who, const char *room)
{
    size_t place = place_named(t, room[0] == '\0' ? "Lobby" : room);
    EXPECT(t, place != NOWHERE);
    console_move(console_of(t, who), room, t->place[place].password);
    truth_moves(t, who, place);
}

/* A newcomer who goes straight to a room. */
static size_t guest_in(struct truth *t, const char *name, const char *room)
{
    size_t who = guest_arrives(t, name);
    guest_goes(t, who, room);
    return who;
}

static void guest_creates(struct truth *t, size_t who, const char *name, const char *password, int32_t limit)
{
    console_create_room(console_of(t, who), name, password, "None", limit);
    truth_moves(t, who, add_place(t, name, "None", password, limit));
}

static void guest_leaves(struct truth *t, size_t who)
{
    console_leave(console_of(t, who));
    truth_moves(t, who, NOWHERE);
}

static void guest_returns(struct truth *t, size_t who)
{
    struct guest *g = &t->guest[who];
    console_login(g->console, g->name, "secret", g->name);
    truth_moves(t, who, HUB);
}

static void guest_offers(struct truth *t, size_t who, size_t target)
{
    EXPECT(t, console_challenge_player(console_of(t, who), t->guest[target].name, NULL));
    truth_offers(t, who, target);
}

static void guest_answers(struct truth *t, size_t who, const char *text)
{
    struct guest *g = &t->guest[who];
    console_answer(g->console, text);
    if (strcmp(text, "ACPT") != 0)
        truth_ends(t, g);
    else if (g->console->habits.slow_chal || t->guest[g->opponent].console->habits.slow_chal)
        truth_pairs(t, who, CONSOLE_ACCEPTED);
    else
        truth_pairs(t, who, CONSOLE_RACING);
}

static const char *code_text(uint32_t code)
{
    static char text[5];
    for (size_t i = 0; i < 4; i++)
        text[i] = (char)(unsigned char)(code >> (24 - 8 * i) & 0xFFu);
    return code == 0 ? "" : text;
}

static const char *last_code(struct truth *t, size_t who, const char *kind)
{
    const struct console_reply *reply = console_reply(console_of(t, who), kind);
    ck_assert_msg(reply != NULL, "no reply to %s", kind);
    return code_text(reply->code);
}

static int32_t last_number(struct truth *t, size_t who, const char *kind, const char *key)
{
    const struct console_reply *reply = console_reply(console_of(t, who), kind);
    ck_assert_msg(reply != NULL, "no reply to %s", kind);
    return console_read_number(console_find(reply->payload, key));
}

static void close_world(struct truth *t)
{
    quiet(t);
    world_free(t->world);
}

/* ---- Getting in --------------------------------------------------------- */

GROUP(getting_in, NULL, NULL, 0);

TEST_LOOP(getting_in, either_password_form_gets_in, 0, 6)
{
    struct world_options options = {.config = _i < 3 ? "skey = on\n" : "skey = off\n",
                                    .split = (enum world_split)(_i % 3)};
    struct truth t;
    open_world(&t, &options);
    size_t ann = guest_arrives(&t, "Ann");
    ck_assert((console_of(&t, ann)->key[0] != 0) == (_i < 3));
    quiet(&t);
    guest_leaves(&t, ann);
    quiet(&t);
    guest_returns(&t, ann);
    quiet(&t);
    ck_assert_str_eq(console_of(&t, ann)->personas[0], "Ann");
    close_world(&t);
}

TEST(getting_in, a_password_of_one_form_is_good_in_the_other)
{
    struct truth t;
    open_world(&t, NULL);
    size_t ann = guest_arrives(&t, "Ann");
    guest_leaves(&t, ann);
    quiet(&t);
    world_configure(t.world, "skey = off\n");
    guest_returns(&t, ann);
    quiet(&t);
    ck_assert_uint_eq(console_of(&t, ann)->key[0], 0);
    close_world(&t);
}

TEST_LOOP(getting_in, a_wrong_password_is_refused_and_the_right_one_then_enters, 0, 6)
{
    struct truth t;
    open_split(&t, _i % 3);
    size_t ann = guest_arrives(&t, "Ann");
    guest_leaves(&t, ann);
    quiet(&t);
    struct console *c = console_of(&t, ann);
    c->habits.saved_login = _i >= 3; /* then pers comes right behind, and fails too */
    console_login(c, "Ann", "wrong one", "Ann");
    world_settle(t.world);
    ck_assert_int_eq(c->stage, CONSOLE_LOGIN);
    ck_assert_str_eq(code_text(c->refused), "pass");
    ck_assert_str_eq(c->refused_kind, "auth");
    ck_assert_int_eq(last_number(&t, ann, "auth", "STATUS"), 100);
    guest_returns(&t, ann);
    quiet(&t);
    close_world(&t);
}

TEST_LOOP(getting_in, a_saved_login_gets_in, 0, 3)
{
    struct truth t;
    open_split(&t, _i);
    size_t ann = guest_arrives(&t, "Ann");
    guest_leaves(&t, ann);
    quiet(&t);
    console_of(&t, ann)->habits.saved_login = true;
    guest_returns(&t, ann);
    close_world(&t);
}

TEST(getting_in, a_sign_up_may_take_three_minutes)
{
    struct world_options options = {.config = "accounts = register\n"};
    struct truth t;
    open_world(&t, &options);
    struct console *c = world_console(t.world, 0);
    c->habits.pad_ms = 180000;
    console_login(c, "Newcomer", "secret", "Rookie");
    world_run(t.world, 200000);
    ck_assert_int_eq(c->stage, CONSOLE_LOGIN);
    ck_assert_str_eq(code_text(c->refused), "imst"); /* only acct makes accounts here */
    console_signup(c, "Newcomer", "secret", "me@example.org", "Rookie");
    world_run(t.world, 400000);
    ck_assert_int_eq(c->stage, CONSOLE_INSIDE);
    ck_assert_str_eq(c->persona, "Rookie");
    ck_assert_uint_gt(c->link[CONSOLE_LOBBY].pings, 5);
    close_world(&t);
}

TEST(getting_in, an_idle_console_is_kept_by_pings)
{
    struct truth t;
    open_world(&t, NULL);
    size_t ann = guest_arrives(&t, "Ann");
    world_run(t.world, 600000);
    ck_assert_uint_eq(console_of(&t, ann)->link[CONSOLE_LOBBY].lost, 0);
    ck_assert_uint_ge(console_of(&t, ann)->link[CONSOLE_LOBBY].pings, 18);
    ck_assert_uint_le(console_of(&t, ann)->link[CONSOLE_LOBBY].pings, 22);
    close_world(&t);
}

TEST(getting_in, a_silent_console_is_dropped)
{
    struct truth t;
    open_world(&t, NULL);
    size_t ann = guest_in(&t, "Ann", "East");
    (void)guest_in(&t, "Bob", "East");
    quiet(&t);
    console_of(&t, ann)->habits.answers_nothing = true;
    world_run(t.world, 66000);
    ck_assert_uint_eq(console_of(&t, ann)->link[CONSOLE_LOBBY].lost, 1);
    truth_moves(&t, ann, NOWHERE);
    close_world(&t);
}

TEST(getting_in, who_logs_in_again_takes_the_old_ones_place)
{
    struct truth t;
    open_world(&t, NULL);
    size_t ann = guest_in(&t, "Ann", "East");
    (void)guest_in(&t, "Bob", "East");
    quiet(&t);
    struct console *again = world_console(t.world, t.guest[ann].ip);
    console_login(again, "Ann", "not this", "Ann");
    quiet(&t); /* a wrong password closes nobody */
    console_login(again, "Ann", "secret", "Ann");
    world_settle(t.world);
    ck_assert_uint_eq(console_of(&t, ann)->link[CONSOLE_LOBBY].lost, 1);
    t.guest[ann].console = again;
    truth_moves(&t, ann, HUB);
    close_world(&t);
}

TEST(getting_in, accounts_outlive_a_restart)
{
    struct truth t;
    open_world(&t, NULL);
    size_t ann = guest_arrives(&t, "Ann");
    world_restart(t.world);
    ck_assert_uint_eq(console_of(&t, ann)->link[CONSOLE_LOBBY].lost, 1);
    truth_moves(&t, ann, NOWHERE);
    quiet(&t);
    console_login(console_of(&t, ann), "Ann", "wrong one", "Ann");
    world_settle(t.world);
    ck_assert_str_eq(code_text(console_of(&t, ann)->refused), "pass");
    guest_returns(&t, ann);
    close_world(&t);
}

/* ---- Rooms -------------------------------------------------------------- */

GROUP(rooms, NULL, NULL, 0);

TEST_LOOP(rooms, a_newcomer_sees_the_rooms_and_itself, 0, 3)
{
    struct truth t;
    open_split(&t, _i);
    size_t ann = guest_arrives(&t, "Ann");
    quiet(&t); /* compares every room and the own record */
    ck_assert_uint_eq(console_of(&t, ann)->rooms.count, 4);
    ck_assert_uint_eq(console_of(&t, ann)->users.count, 1);
    ck_assert_int_eq(console_of(&t, ann)->room_population, 1);
    size_t bob = guest_arrives(&t, "Bob");
    quiet(&t); /* players in the hub are not listed to one another */
    ck_assert_uint_eq(console_of(&t, ann)->users.count, 1);
    ck_assert_int_eq(console_room(console_of(&t, bob), 0)->population, 2);
    ck_assert_int_eq(console_of(&t, bob)->room_population, 2);
    guest_goes(&t, ann, "East");
    size_t cid = guest_arrives(&t, "Cid");
    ck_assert_int_eq(console_room(console_of(&t, cid), 0)->population, 2);
    ck_assert_int_eq(console_of(&t, cid)->room_population, 2);
    close_world(&t);
}

/* Four views of one move: who moves, who is there, who stays behind, and who
 * stands by. */
TEST_LOOP(rooms, a_move_shows_everyone_the_truth, 0, 3)
{
    struct truth t;
    open_split(&t, _i);
    size_t mover = guest_arrives(&t, "Mover"), there = guest_arrives(&t, "There"), behind = guest_arrives(&t, "Behind"),
           bystander = guest_arrives(&t, "Bystander");
    guest_goes(&t, there, "East");
    quiet(&t);
    guest_goes(&t, behind, "West");
    quiet(&t);
    guest_goes(&t, mover, "West");
    quiet(&t);
    ck_assert_int_eq(last_number(&t, mover, "move", "IDENT"), 2);
    ck_assert_int_eq(last_number(&t, mover, "move", "COUNT"), 2);
    ck_assert_int_eq(last_number(&t, mover, "move", "LIDENT"), 0);
    ck_assert_int_eq(last_number(&t, mover, "move", "LCOUNT"), 1);

    guest_goes(&t, mover, "East");
    quiet(&t);
    ck_assert_int_eq(last_number(&t, mover, "move", "IDENT"), 1);
    ck_assert_int_eq(last_number(&t, mover, "move", "COUNT"), 2);
    ck_assert_int_eq(last_number(&t, mover, "move", "LIDENT"), 2);
    ck_assert_int_eq(last_number(&t, mover, "move", "LCOUNT"), 1);
    ck_assert_uint_eq(console_of(&t, mover)->users.count, 2);
    ck_assert_uint_eq(console_of(&t, there)->users.count, 2);
    ck_assert_int_eq(console_of(&t, there)->room_population, 2);
    ck_assert_uint_eq(console_of(&t, behind)->users.count, 1);
    ck_assert_int_eq(console_of(&t, behind)->room_population, 1);
    ck_assert_int_eq(console_room(console_of(&t, bystander), 1)->population, 2);
    ck_assert_int_eq(console_room(console_of(&t, bystander), 2)->population, 1);

    guest_goes(&t, mover, "");
    quiet(&t);
    ck_assert_int_eq(last_number(&t, mover, "move", "COUNT"), 2);
    ck_assert_int_eq(console_of(&t, mover)->room_population, 2); /* the hub's, with itself */
    guest_leaves(&t, there);
    quiet(&t);
    ck_assert_int_eq(console_room(console_of(&t, bystander), 1)->population, 0);
    world_cut(t.world, console_of(&t, behind), CONSOLE_LOBBY);
    truth_moves(&t, behind, NOWHERE);
    quiet(&t);
    ck_assert_int_eq(console_room(console_of(&t, bystander), 2)->population, 0);
    close_world(&t);
}

TEST(rooms, a_move_to_the_same_room_changes_nothing)
{
    struct truth t;
    open_world(&t, NULL);
    size_t ann = guest_in(&t, "Ann", "East");
    (void)guest_in(&t, "Bob", "East");
    quiet(&t);
    guest_goes(&t, ann, "East");
    quiet(&t);
    ck_assert_str_eq(last_code(&t, ann, "move"), "");
    ck_assert_ptr_eq(console_find(console_reply(console_of(&t, ann), "move")->payload, "LIDENT"), NULL);
    close_world(&t);
}

TEST(rooms, a_failed_move_leaves_everyone_where_they_are)
{
    struct truth t;
    open_world(&t, NULL);
    size_t ann = guest_arrives(&t, "Ann"), bob = guest_arrives(&t, "Bob"), cid = guest_arrives(&t, "Cid");
    guest_goes(&t, bob, "East");
    guest_creates(&t, ann, "C.Secret", "sesame", 2);
    quiet(&t);
    console_move(console_of(&t, bob), "C.Secret", "wrong");
    quiet(&t);
    ck_assert_str_eq(last_code(&t, bob, "move"), "pass");
    ck_assert_int_eq(last_number(&t, bob, "move", "STATUS"), 100);
    console_move(console_of(&t, bob), "Nowhere", "");
    quiet(&t);
    ck_assert_str_eq(last_code(&t, bob, "move"), "nrom");
    ck_assert_int_eq(last_number(&t, bob, "move", "IDENT"), 1);
    guest_goes(&t, cid, "C.Secret");
    quiet(&t);
    console_move(console_of(&t, bob), "C.Secret", "sesame");
    quiet(&t);
    ck_assert_str_eq(last_code(&t, bob, "move"), "full");
    ck_assert_int_eq(last_number(&t, bob, "move", "STATUS"), 103);
    close_world(&t);
}

TEST_LOOP(rooms, a_created_room_comes_locked_and_goes_with_its_last_player, 0, 3)
{
    struct truth t;
    open_split(&t, _i);
    size_t ann = guest_arrives(&t, "Ann"), bob = guest_arrives(&t, "Bob"), cid = guest_arrives(&t, "Cid");
    guest_goes(&t, cid, "West");
    guest_creates(&t, ann, "C.Test", "sesame", 50);
    quiet(&t);
    ck_assert_int_eq(last_number(&t, ann, "room", "IDENT"), 1001);
    ck_assert_int_eq(last_number(&t, ann, "room", "COUNT"), 1);
    guest_goes(&t, bob, "C.Test");
    quiet(&t);
    guest_goes(&t, ann, "");
    quiet(&t);
    ck_assert_ptr_ne(console_room_named(console_of(&t, cid), "C.Test"), NULL);
    guest_leaves(&t, bob);
    quiet(&t);
    ck_assert_ptr_eq(console_room_named(console_of(&t, cid), "C.Test"), NULL);
    guest_creates(&t, cid, "C.Test", "", 10); /* the name is free again */
    quiet(&t);
    guest_creates(&t, cid, "C.Other", "", 10); /* from one created room into the next */
    close_world(&t);
}

TEST(rooms, a_room_of_that_name_is_not_made_twice)
{
    struct truth t;
    open_world(&t, NULL);
    size_t ann = guest_arrives(&t, "Ann"), bob = guest_arrives(&t, "Bob");
    guest_creates(&t, ann, "C.Test", "", 50);
    quiet(&t);
    console_create_room(console_of(&t, bob), "c.test", "", "None", 50);
    quiet(&t);
    ck_assert_str_eq(last_code(&t, bob, "room"), "dupl");
    ck_assert_int_eq(last_number(&t, bob, "room", "STATUS"), 0);
    close_world(&t);
}

/* ---- Chat --------------------------------------------------------------- */

GROUP(chat, NULL, NULL, 0);

TEST_LOOP(chat, room_chat_reaches_the_room_and_its_sender, 0, 3)
{
    static const char *const lines[] = {"hello there", "a=b:c \"quoted\" 100%", "'lead", "it is N=mallory F:B T=x"};
    struct truth t;
    open_split(&t, _i);
    size_t ann = guest_arrives(&t, "Ann"), bob = guest_arrives(&t, "Bob"), cid = guest_arrives(&t, "Cid");
    guest_goes(&t, ann, "East");
    guest_goes(&t, bob, "East");
    guest_goes(&t, cid, "West");
    quiet(&t);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        console_chat(console_of(&t, ann), lines[i]);
        console_chat(console_of(&t, bob), lines[i]);
        quiet(&t);
        ck_assert_uint_eq(console_saw(console_of(&t, ann), "Ann", lines[i]), 1);
        ck_assert_uint_eq(console_saw(console_of(&t, ann), "Bob", lines[i]), 1);
        ck_assert_uint_eq(console_saw(console_of(&t, bob), "Ann", lines[i]), 1);
        ck_assert_uint_eq(console_saw(console_of(&t, bob), "Bob", lines[i]), 1);
    }
    ck_assert_uint_eq(console_of(&t, cid)->chat.count, 0);
    for (size_t i = 0; i < console_of(&t, bob)->chat.count; i++)
        ck_assert_uint_eq(console_of(&t, bob)->chat.at[i].flags, 0);
    close_world(&t);
}

TEST_LOOP(chat, a_private_word_reaches_its_recipient_only, 0, 3)
{
    struct truth t;
    open_split(&t, _i);
    size_t ann = guest_arrives(&t, "Ann"), bob = guest_arrives(&t, "Bob"), cid = guest_arrives(&t, "Cid");
    guest_goes(&t, ann, "East");
    guest_goes(&t, cid, "East");
    quiet(&t);
    console_tell(console_of(&t, ann), "Bob", "psst");
    console_tell(console_of(&t, bob), "Ann", "yes?");
    quiet(&t);
    ck_assert_uint_eq(console_saw(console_of(&t, bob), "Ann", "psst"), 1);
    ck_assert_uint_eq(console_saw(console_of(&t, ann), "Bob", "yes?"), 1);
    ck_assert_uint_eq(console_of(&t, ann)->chat.count, 1);
    ck_assert_uint_eq(console_of(&t, bob)->chat.at[0].flags, CONSOLE_FLAG('P'));
    ck_assert_uint_eq(console_of(&t, cid)->chat.count, 0);
    console_tell(console_of(&t, ann), "Nobody", "hello?");
    quiet(&t);
    ck_assert_str_eq(last_code(&t, ann, "mesg"), "user");
    ck_assert_int_eq(last_number(&t, ann, "mesg", "STATUS"), 102);
    close_world(&t);
}

TEST(chat, a_look_at_a_player_shows_its_room)
{
    struct truth t;
    open_world(&t, NULL);
    size_t ann = guest_arrives(&t, "Ann"), bob = guest_arrives(&t, "Bob");
    guest_goes(&t, bob, "East");
    quiet(&t);
    console_look(console_of(&t, ann), "bob");
    quiet(&t);
    ck_assert_str_eq(console_of(&t, ann)->profile.persona, "Bob");
    ck_assert_str_eq(console_of(&t, ann)->profile.room, "East");
    ck_assert_uint_eq(console_of(&t, ann)->profile.address, t.guest[bob].ip);
    console_look(console_of(&t, ann), "Nobody");
    quiet(&t);
    ck_assert_str_eq(last_code(&t, ann, "user"), "user");
    close_world(&t);
}

/* ---- Challenges and races ----------------------------------------------- */

GROUP(races, NULL, NULL, 0);

/* Two in East, one in East who watches, and one in the hub. */
static void open_rivals(struct truth *t, int split)
{
    open_split(t, split);
    (void)guest_arrives(t, "Ann");
    (void)guest_arrives(t, "Bob");
    (void)guest_arrives(t, "Watcher");
    (void)guest_arrives(t, "Hubber");
    for (size_t i = 0; i < 3; i++)
        guest_goes(t, i, "East");
    quiet(t);
}
enum { ANN, BOB, WATCHER, HUBBER };

/* Both ends of a race: one seed, one ticket, mirrored names and addresses. */
static void compare_race(struct truth *t, size_t who, size_t other)
{
    const struct console *a = console_of(t, who), *b = console_of(t, other);
    EXPECT(t, !a->play_due && !b->play_due);
    EXPECT(t, a->seed != 0 && a->seed == b->seed);
    EXPECT(t, strcmp(a->race_ticket, b->race_ticket) == 0);
    EXPECT(t, memcmp(a->race, b->race, 0x20) == 0);               /* NAME */
    EXPECT(t, memcmp(a->race + 0x40, b->race + 0x40, 0x20) == 0); /* HOST */
    EXPECT(t, memcmp(a->race + 0x20, b->race + 0x60, 0x20) == 0); /* SELF, OPPO */
    EXPECT(t, memcmp(a->race + 0x60, b->race + 0x20, 0x20) == 0);
    EXPECT(t, memcmp(a->race + 0x80, b->race + 0x80, 0x40) == 0); /* P1-P4 */
    EXPECT(t, memcmp(a->race + 0xC0, a->race + 0xC4, 4) == 0);    /* ADDR, FROM */
    EXPECT(t, memcmp(a->race + 0xC8, b->race + 0xC8, 8) == 0);    /* SEED, WHEN */
    uint32_t address = (uint32_t)a->race[0xC0] | (uint32_t)a->race[0xC1] << 8 | (uint32_t)a->race[0xC2] << 16 |
                       (uint32_t)a->race[0xC3] << 24;
    EXPECT(t, address == t->guest[other].ip);
}

TEST_LOOP(races, an_accepted_challenge_becomes_one_race, 0, 3)
{
    struct truth t;
    open_rivals(&t, _i);
    guest_offers(&t, ANN, BOB);
    quiet(&t);
    ck_assert_str_eq(console_of(&t, BOB)->token, console_of(&t, ANN)->token);
    guest_answers(&t, BOB, "ACPT");
    quiet(&t);
    compare_race(&t, ANN, BOB);
    ck_assert_str_eq((const char *)console_of(&t, ANN)->race + 0x40, "Ann"); /* HOST */
    char name[64];
    (void)snprintf(name, sizeof name, "Ann.%d", (int)console_of(&t, ANN)->seed);
    ck_assert_str_eq((const char *)console_of(&t, ANN)->race, name);
    world_run(t.world, 120000); /* and nothing ends it but the players */
    quiet(&t);
    console_back_in_lobby(console_of(&t, ANN));
    truth_ends(&t, &t.guest[ANN]);
    quiet(&t);
    console_back_in_lobby(console_of(&t, BOB));
    truth_ends(&t, &t.guest[BOB]);
    quiet(&t);
    guest_offers(&t, BOB, ANN); /* and again, the other way round */
    quiet(&t);
    guest_answers(&t, ANN, "ACPT");
    quiet(&t);
    compare_race(&t, BOB, ANN);
    close_world(&t);
}

TEST_LOOP(races, another_room_is_no_obstacle, 0, 6)
{
    struct truth t;
    open_rivals(&t, _i % 3);
    size_t from = _i < 3 ? HUBBER : ANN, to = _i < 3 ? ANN : HUBBER;
    guest_offers(&t, from, to);
    quiet(&t); /* the challenger is listed, or the console would have blocked */
    ck_assert_uint_eq(console_of(&t, to)->blocked, 0);
    guest_answers(&t, to, "DECL");
    quiet(&t); /* and listed no more */
    guest_offers(&t, from, to);
    quiet(&t);
    guest_answers(&t, to, "ACPT");
    quiet(&t);
    compare_race(&t, from, to);
    console_back_in_lobby(console_of(&t, to));
    truth_ends(&t, &t.guest[to]);
    close_world(&t);
}

TEST_LOOP(races, a_challenge_ends_by_a_word_of_either, 0, 3)
{
    struct truth t;
    open_rivals(&t, 0);
    guest_offers(&t, ANN, BOB);
    quiet(&t);
    if (_i == 0) {
        guest_answers(&t, BOB, "DECL");
    } else if (_i == 1) {
        guest_answers(&t, BOB, "BLOC");
    } else {
        console_cancel(console_of(&t, ANN));
        truth_ends(&t, &t.guest[ANN]);
    }
    quiet(&t);
    guest_offers(&t, BOB, WATCHER); /* everyone is free again */
    quiet(&t);
    guest_offers(&t, HUBBER, ANN);
    close_world(&t);
}

TEST_LOOP(races, a_challenge_ends_when_either_goes, 0, 16)
{
    struct truth t;
    size_t goes = (size_t)(_i % 2);
    open_rivals(&t, 0);
    console_of(&t, ANN)->habits.slow_chal = true; /* so that "accepted" can be seen */
    guest_offers(&t, ANN, BOB);
    quiet(&t);
    if (_i >= 8) {
        guest_answers(&t, BOB, "ACPT");
        quiet(&t);
    }
    switch (_i / 2 % 4) {
    case 0: guest_goes(&t, goes, "West"); break;
    case 1: guest_goes(&t, goes, ""); break;
    case 2: guest_creates(&t, goes, "C.Test", "", 10); break;
    default: guest_leaves(&t, goes); break;
    }
    quiet(&t);
    if (t.guest[goes].place == NOWHERE) {
        guest_returns(&t, goes);
        quiet(&t);
    }
    guest_offers(&t, 1 - goes, goes);
    close_world(&t);
}

TEST_LOOP(races, a_challenge_expires_after_60_s, 0, 2)
{
    struct truth t;
    open_rivals(&t, 0);
    guest_offers(&t, _i == 0 ? ANN : HUBBER, BOB);
    quiet(&t);
    world_run(t.world, 58000);
    quiet(&t);
    world_run(t.world, 4000);
    truth_ends(&t, &t.guest[BOB]);
    quiet(&t);
    guest_offers(&t, BOB, ANN);
    close_world(&t);
}

TEST_LOOP(races, a_race_starts_without_chal_after_10_s, 0, 3)
{
    struct truth t;
    open_rivals(&t, 0);
    console_of(&t, ANN)->habits.slow_chal = (_i & 1) == 0;
    console_of(&t, BOB)->habits.slow_chal = _i >= 1;
    guest_offers(&t, ANN, BOB);
    quiet(&t);
    guest_answers(&t, BOB, "ACPT");
    quiet(&t);
    world_run(t.world, 9000);
    quiet(&t);
    world_run(t.world, 2000);
    truth_pairs(&t, ANN, CONSOLE_RACING);
    quiet(&t);
    compare_race(&t, ANN, BOB);
    close_world(&t);
}

TEST_LOOP(races, a_challenge_by_peek_and_auxi_is_the_same, 0, 3)
{
    struct truth t;
    open_rivals(&t, _i);
    console_of(&t, ANN)->habits.peeks = true;
    guest_offers(&t, ANN, BOB);
    quiet(&t);
    guest_answers(&t, BOB, "ACPT");
    quiet(&t);
    compare_race(&t, ANN, BOB);
    close_world(&t);
}

TEST(races, a_busy_player_is_not_challenged)
{
    struct truth t;
    open_rivals(&t, 0);
    guest_offers(&t, ANN, BOB);
    quiet(&t);
    /* The console ignores the code of mesg: only a DECL frees it again (5). */
    ck_assert(console_challenge_player(console_of(&t, WATCHER), "Bob", NULL));
    quiet(&t);
    ck_assert_str_eq(last_code(&t, WATCHER, "mesg"), "ingm");
    ck_assert_int_eq(last_number(&t, WATCHER, "mesg", "STATUS"), 105);
    ck_assert(console_challenge_player(console_of(&t, HUBBER), "Ann", NULL));
    quiet(&t);
    ck_assert_str_eq(last_code(&t, HUBBER, "mesg"), "ingm");
    guest_answers(&t, BOB, "ACPT");
    quiet(&t);
    ck_assert(console_challenge_player(console_of(&t, WATCHER), "Bob", NULL));
    quiet(&t);
    ck_assert_str_eq(last_code(&t, WATCHER, "mesg"), "ingm");
    guest_leaves(&t, BOB);
    quiet(&t);
    ck_assert(console_challenge_player(console_of(&t, WATCHER), "Bob", NULL));
    quiet(&t);
    ck_assert_str_eq(last_code(&t, WATCHER, "mesg"), "user");
    close_world(&t);
}

TEST(races, of_two_crossing_offers_one_stands)
{
    struct truth t;
    open_rivals(&t, 0);
    struct console *ann = console_of(&t, ANN), *bob = console_of(&t, BOB);
    ck_assert(console_challenge_player(ann, "Bob", NULL));
    ck_assert(console_challenge_player(bob, "Ann", NULL));
    world_settle(t.world);
    world_all_well(t.world);
    /* Whose offer came first waits; the other console was told DECL. */
    ck_assert_int_eq((ann->challenge == CONSOLE_OFFERED) + (bob->challenge == CONSOLE_OFFERED), 1);
    ck_assert_uint_eq(ann->crossed + bob->crossed, 1);
    world_run(t.world, 62000);
    quiet(&t);
    close_world(&t);
}

TEST(races, racers_may_hang_up_and_come_back)
{
    struct truth t;
    open_rivals(&t, 0);
    guest_offers(&t, ANN, BOB);
    quiet(&t);
    guest_answers(&t, BOB, "ACPT");
    quiet(&t);
    guest_leaves(&t, ANN);
    guest_leaves(&t, BOB);
    quiet(&t);
    world_run(t.world, 1200000);
    guest_returns(&t, ANN);
    guest_returns(&t, BOB);
    quiet(&t);
    guest_offers(&t, ANN, BOB);
    close_world(&t);
}

/* ---- Fifty at random ---------------------------------------------------- */

GROUP(crowds, NULL, NULL, 60);

static size_t any_guest(struct truth *t)
{
    return world_below(t->world, (uint32_t)t->guests);
}

static bool is_in(const struct truth *t, size_t who)
{
    return t->guest[who].place != NOWHERE;
}

/* Room to enter: any with `anywhere`, else one that cannot vanish meanwhile. */
static void guest_wanders(struct truth *t, size_t who, bool anywhere)
{
    size_t place = world_below(t->world, anywhere ? PLACES : 4);
    const struct place *p = &t->place[place];
    if (!p->there) {
        place = world_below(t->world, 4);
        p = &t->place[place];
    }
    const char *name = place == HUB ? "" : p->name;
    bool stays = place == t->guest[who].place || p->guests >= (size_t)p->limit;
    if (stays && t->guest[who].duel == CONSOLE_RACING)
        return; /* whether that ends the race is open */
    if (place != t->guest[who].place && place != HUB && p->guests >= (size_t)p->limit) {
        console_move(console_of(t, who), name, p->password); /* full: nothing changes */
        return;
    }
    guest_goes(t, who, name);
}

static void guest_duels(struct truth *t, size_t who, size_t target)
{
    struct guest *g = &t->guest[who], *other = &t->guest[target];
    switch (g->duel) {
    case CONSOLE_IDLE:
        if (who == target)
            return;
        if (is_in(t, target) && other->duel == CONSOLE_IDLE)
            guest_offers(t, who, target);
        else /* busy or away: refused, and a DECL tells the console */
            (void)console_challenge_player(g->console, other->name, NULL);
        break;
    case CONSOLE_OFFERED:
        console_cancel(g->console);
        truth_ends(t, g);
        break;
    case CONSOLE_RECEIVED: guest_answers(t, who, world_below(t->world, 3) > 0 ? "ACPT" : "DECL"); break;
    case CONSOLE_ACCEPTED:
        console_cancel(g->console);
        truth_ends(t, g);
        break;
    case CONSOLE_RACING:
        console_back_in_lobby(g->console);
        truth_ends(t, g);
        break;
    }
}

static void guest_talks(struct truth *t, size_t who, size_t target, unsigned number)
{
    char line[64];
    (void)snprintf(line, sizeof line, "line %u, it says F:P N=x", number);
    if (world_below(t->world, 2) == 0)
        console_chat(console_of(t, who), line);
    else
        console_tell(console_of(t, who), t->guest[target].name, line);
}

/* One thing that one guest does; `free_hand` when nobody else acts meanwhile. */
static void guest_acts(struct truth *t, size_t who, bool free_hand, unsigned number)
{
    char name[32];
    struct guest *g = &t->guest[who];
    if (!is_in(t, who)) {
        g->console->habits.saved_login = world_below(t->world, 2) == 0;
        guest_returns(t, who);
        return;
    }
    switch (world_below(t->world, 12)) {
    case 0:
    case 1:
    case 2: guest_wanders(t, who, free_hand); break;
    case 3:
        if (free_hand && place_named(t, "C.Last") == NOWHERE && world_below(t->world, 2) == 0) {
            guest_creates(t, who, "C.Last", "sesame", 3);
        } else if (free_hand) {
            (void)snprintf(name, sizeof name, "C.%s.%u", g->name, number);
            guest_creates(t, who, name, world_below(t->world, 2) == 0 ? "open" : "", 10);
        }
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        if (free_hand)
            guest_duels(t, who, any_guest(t));
        break;
    case 8:
    case 9: guest_talks(t, who, any_guest(t), number); break;
    case 10: console_look(g->console, t->guest[any_guest(t)].name); break;
    default:
        if (world_below(t->world, 3) == 0) {
            guest_leaves(t, who);
        } else if (world_below(t->world, 3) == 0) {
            for (size_t i = 0; i < CONSOLE_LINKS; i++)
                world_cut(t->world, g->console, (enum console_link)i);
            truth_moves(t, who, NOWHERE);
        }
        break;
    }
}

/* A minute passes: open offers expire, accepted ones become races. */
static void let_time_pass(struct truth *t)
{
    world_run(t->world, 62000);
    for (size_t i = 0; i < t->guests; i++)
        if (t->guest[i].duel == CONSOLE_OFFERED)
            truth_ends(t, &t->guest[i]);
        else if (t->guest[i].duel == CONSOLE_ACCEPTED)
            truth_pairs(t, i, CONSOLE_RACING);
}

static void compare_races(struct truth *t)
{
    for (size_t i = 0; i < t->guests; i++) {
        const struct guest *g = &t->guest[i];
        if (g->duel == CONSOLE_RACING && t->guest[g->opponent].duel == CONSOLE_RACING &&
            t->guest[g->opponent].opponent == i)
            compare_race(t, i, g->opponent);
    }
}

/* LIFE_SEED in the environment is the first seed, to look at a failure again. */
static void open_crowd(struct truth *t, int number, size_t guests)
{
    const char *given = getenv("LIFE_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 1;
    seed += (uint64_t)(unsigned)number;
    struct world_options options = {.seed = seed, .split = seed % 2 == 0 ? WORLD_WHOLE : WORLD_RANDOM};
    open_world(t, &options);
    for (unsigned i = 0; i < guests; i++) {
        char name[13];
        (void)snprintf(name, sizeof name, "Racer%u", i % 100);
        size_t who = guest_arrives(t, name);
        console_of(t, who)->habits.slow_chal = world_below(t->world, 5) == 0;
    }
    quiet(t);
}

/* Those in a challenge act more often than chance has it. */
static size_t likely_guest(struct truth *t)
{
    size_t who = any_guest(t);
    for (size_t i = 0; i < t->guests && world_below(t->world, 8) > 0; i++) {
        who = (who + 1) % t->guests;
        if (t->guest[who].duel != CONSOLE_IDLE)
            return who;
    }
    return any_guest(t);
}

TEST_LOOP(crowds, fifty_consoles_agree_with_the_truth, 0, 2)
{
    struct truth t;
    open_crowd(&t, _i, GUESTS);
    for (unsigned number = 0; number < 120; number++) {
        if (world_below(t.world, 40) == 0) {
            let_time_pass(&t);
        } else if (world_below(t.world, 5) > 0) {
            guest_acts(&t, likely_guest(&t), true, number);
        } else { /* many at once, none of them in another's way */
            size_t first = any_guest(&t), count = 2 + world_below(t.world, 20);
            for (size_t i = 0; i < count; i++)
                guest_acts(&t, (first + i) % t.guests, false, number);
        }
        quiet(&t);
        compare_races(&t);
    }
    close_world(&t);
}

/* ---- Everyone at once --------------------------------------------------- */

/* What happens at once has no order that a test could foresee. But when it is
 * quiet, all must see the same: the truth is then what each console says of
 * itself, and nothing else. */
static void learn_truth(struct truth *t)
{
    const struct console *any = NULL;
    memset(t->place, 0, sizeof t->place);
    for (size_t i = 0; i < t->guests; i++)
        if (console_of(t, i)->stage == CONSOLE_INSIDE)
            any = console_of(t, i);
    for (size_t i = 0; any != NULL && i < any->rooms.count; i++) {
        const struct console_room *room = &any->rooms.at[i];
        struct place *place = &t->place[i];
        EXPECT(t, i < PLACES);
        place->there = true;
        memcpy(place->name, room->name, sizeof place->name);
        memcpy(place->about, room->about, sizeof place->about);
        place->password[0] = (room->flags & CONSOLE_FLAG('P')) != 0 ? 'x' : '\0';
        place->limit = room->limit;
        place->ident = room->ident;
        EXPECT(t, (i == HUB) == (room->ident == 0));
    }
    for (size_t i = 0; i < t->guests; i++) {
        struct guest *g = &t->guest[i];
        const struct console *c = g->console;
        g->place = NOWHERE;
        g->duel = c->challenge;
        g->busy = g->duel != CONSOLE_IDLE && g->duel != CONSOLE_RECEIVED;
        for (size_t k = 0; c->stage != CONSOLE_OFF && k < PLACES; k++) {
            if (t->place[k].there && t->place[k].ident == c->room) {
                g->place = k;
                t->place[k].guests++;
            }
        }
        for (size_t k = 0; k < t->guests; k++)
            if (strcmp(t->guest[k].name, c->opponent) == 0)
                g->opponent = k;
    }
    for (size_t i = 0; i < PLACES; i++)
        EXPECT(t, t->place[i].ident < 1000 || t->place[i].guests > 0);
}

/* Who waits for an answer, waits for someone; an offer alone may meet a
 * console that could not take it. */
static void compare_pairs(struct truth *t)
{
    for (size_t i = 0; i < t->guests; i++) {
        const struct guest *g = &t->guest[i], *other = &t->guest[g->opponent];
        bool paired = other->opponent == i;
        if (g->duel == CONSOLE_RECEIVED)
            EXPECT(t, paired && other->duel == CONSOLE_OFFERED);
        else if (g->duel == CONSOLE_ACCEPTED)
            EXPECT(t, paired && other->duel == CONSOLE_ACCEPTED);
    }
}

/* A player does whatever its console offers just then: while a request is under
 * way that is to talk, to cancel or to hang up. */
static void guest_rushes(struct truth *t, size_t who, unsigned number)
{
    static const char *const rooms[] = {"", "East", "West", "C.One", "C.Two"};
    struct guest *g = &t->guest[who];
    struct console *c = g->console;
    const char *name = rooms[world_below(t->world, 5)];
    size_t target = any_guest(t);
    if (c->stage == CONSOLE_OFF) {
        console_login(c, g->name, "secret", g->name);
        return;
    }
    if (c->challenge == CONSOLE_RECEIVED && console_awaits(c, CONSOLE_LOBBY) == 0 && world_below(t->world, 4) > 0) {
        console_answer(c, world_below(t->world, 4) > 0 ? "ACPT" : "DECL");
        return;
    }
    uint32_t choice = world_below(t->world, 12);
    /* A request to move that fails ends a race, which the console would not know. */
    bool walks = c->challenge == CONSOLE_IDLE || c->challenge == CONSOLE_RECEIVED;
    if (c->stage != CONSOLE_INSIDE || (console_awaits(c, CONSOLE_LOBBY) > 0 && choice < 8))
        choice = c->stage != CONSOLE_INSIDE ? 11 : 9 + choice % 3;
    switch (choice) {
    case 0:
    case 1:
        if (walks)
            console_move(c, name, "");
        break;
    case 2:
    case 3:
        if (walks && name[0] == 'C')
            console_create_room(c, name, "", "None", 4);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        /* When two offer to each other at once and one thinks better of it, its DECL
         * looks like the answer to the other's offer; no server can mend that. */
        if (target != who &&
            (!console_of(t, target)->challenger || strcmp(console_of(t, target)->opponent, g->name) != 0))
            (void)console_challenge_player(c, t->guest[target].name, NULL);
        break;
    case 8:
        if (c->challenge == CONSOLE_RACING)
            console_back_in_lobby(c);
        else if (c->challenge != CONSOLE_ACCEPTED || c->habits.slow_chal)
            console_cancel(c);
        break;
    case 9:
    case 10: guest_talks(t, who, target, number); break;
    default:
        if (world_below(t->world, 4) == 0)
            console_leave(c);
        break;
    }
}

TEST_LOOP(crowds, a_crowd_at_once_sees_one_truth, 0, 3)
{
    struct truth t;
    open_crowd(&t, _i, 12);
    for (unsigned number = 0; number < 60; number++) {
        for (size_t i = 0; i < t.guests; i++) /* some do not read for a while */
            if (world_below(t.world, 4) == 0)
                world_window(t.world, console_of(&t, i), world_below(t.world, 1500));
        for (size_t i = 0; i < 2 * t.guests; i++) {
            guest_rushes(&t, any_guest(&t), number);
            if (world_below(t.world, 6) == 0)
                world_settle(t.world);
        }
        for (size_t i = 0; i < t.guests; i++)
            world_window(t.world, console_of(&t, i), SIZE_MAX);
        learn_truth(&t);
        compare_all(&t);
        compare_pairs(&t);
        compare_races(&t);
        if (world_below(t.world, 10) == 0) {
            world_run(t.world, 62000);
            learn_truth(&t);
            compare_all(&t);
            for (size_t i = 0; i < t.guests; i++)
                EXPECT(&t, t.guest[i].duel == CONSOLE_IDLE || t.guest[i].duel == CONSOLE_RACING);
        }
    }
    world_free(t.world);
}
