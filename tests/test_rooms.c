/* Rooms and their lists (PROTOCOL 2, 3.3, 6): who is told what, in which order,
 * with which tags, when players come, go, create and leave. Chat has a suite of
 * its own.
 *
 * SPDX-License-Identifier: MIT */
#include "clients.h"

static void open_large_world(void)
{
    static const struct world_options large = {.limits = {128, 256, 160, 64, 1024, 64, 0}, .no_check = true};
    w = world_new(&large);
}

/* ---- The hub and the lasting rooms (3.3) -------------------------------- */

GROUP(lasting_rooms, open_world, close_world, 0);

/* The one +rom of this number since raw_forget(). */
static const struct got *row_of(struct raw *r, int32_t ident)
{
    const struct got *row = NULL;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->frames[i]->kind, "+rom") == 0 && got_number(r->frames[i], "I") == ident) {
            ck_assert_msg(row == NULL, "room %d came twice", (int)ident);
            row = r->frames[i];
        }
    }
    ck_assert_msg(row != NULL, "room %d did not come", (int)ident);
    return row;
}

TEST(lasting_rooms, the_hub_and_three_rooms_are_there)
{
    struct raw *ann = deaf_player("Ann");
    say(ann, "sele", "ROOMS=1\n");
    GOT(ann, "sele +rom +rom +rom +rom +pop");
    SAYS(row_of(ann, HUB_IDENT), "I=0\nN=Lobby\nH=\"Main Lobby Hub\"\nA=203.0.113.10\nT=1\nL=100\nF=0");
    SAYS(row_of(ann, EAST), "I=1\nN=East\nH=\"East Coast Racers\"\nA=203.0.113.10\nT=0\nL=50\nF=0");
    SAYS(row_of(ann, WEST), "I=2\nN=West\nH=\"West Coast Racers\"\nA=203.0.113.10\nT=0\nL=50\nF=0");
    SAYS(row_of(ann, BEGINNER), "I=3\nN=Beginner\nH=\"New Drivers Welcome\"\nA=203.0.113.10\nT=0\nL=50\nF=0");
    SAYS(frame_at(ann, 5), "Z=1:0 2:0 3:0 0:1");
}

TEST(lasting_rooms, configured_rooms_take_the_place_of_the_default_ones)
{
    world_free(w);
    w = world_with("room = \"East: Only here: 2\"\nroom=B.Two\nroom = x: too few: 1\n"
                   "room = Lobby: not this one: 9\nroom = east: there already: 9\n"
                   "room = a name of more than thirty-one bytes: no: 9\n");
    struct raw *ann = deaf_player("Ann");
    say(ann, "sele", "ROOMS=1\n");
    GOT(ann, "sele +rom +rom +rom +pop");
    SAYS(row_of(ann, EAST), "I=1\nN=East\nH=\"Only here\"\nA=*\nT=0\nL=2\nF=0");
    SAYS(row_of(ann, WEST), "I=2\nN=B.Two\nH=*\nA=*\nT=0\nL=50\nF=0");
}

TEST(lasting_rooms, a_room_line_says_what_is_wrong_with_it)
{
    static const struct trial lines[] = {
        {"East", true},
        {"East: East Coast Racers", true},
        {"East: East Coast Racers: 50", true},
        {"\"East: East Coast Racers: 50\"", true},
        {"East:: 2", true},
        {"1234567890123456789012345678901: : 50", true},
        {"12345678901234567890123456789012", false},
        {"East: 12345678901234567890123456789012", false},
        {"East: e: 1", false},
        {"East: e: many", false},
        {"East: e: -2", false},
        {"", false},
        {": nameless: 9", false},
        {"Lobby: taken: 9", false},
    };
    char why[128];
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        ck_assert_msg(nascar_config_check("room", lines[i].text, why, sizeof why) == lines[i].good, "room = %s",
                      lines[i].text);
        ck_assert((why[0] == '\0') == lines[i].good);
    }
}

TEST(lasting_rooms, a_new_configuration_changes_the_rooms_for_all)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "East");
    forget_all();
    world_configure(w, "room = East: Other words: 2\nroom = Oval: New: 8\n");
    (void)kinds(ann);
    SAYS(row_of(ann, EAST), "I=1\nN=East\nH=\"Other words\"\nA=*\nT=1\nL=2\nF=0");
    SAYS(row_of(bob, 4), "I=4\nN=Oval\nH=New\nA=*\nT=0\nL=8\nF=0");
    go(ann, "Oval");
    go(bob, "Oval");
    go(bob, "West"); /* what is not named stays until the next start */
}

GROUP(many, open_large_world, close_world, 60);

TEST(many, the_hub_takes_more_than_its_limit)
{
    struct raw *last = NULL;
    for (int i = 0; i < 104; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Racer%d", i);
        last = deaf_player(name);
    }
    say(last, "sele", "ROOMS=1\n");
    ck_assert_int_eq(told_population(last, HUB_IDENT), 104);
    SAYS(row_of(last, HUB_IDENT), "I=0\nN=Lobby\nH=*\nA=*\nT=104\nL=100\nF=0");
    go(last, "East");
    SUCCEEDS(raw_ask(last, "move", "NAME=\nPASS=\n"));
}

/* ---- Subscribing: sele (3.2) -------------------------------------------- */

GROUP(selecting, open_world, close_world, 0);

TEST_LOOP(selecting, a_list_is_pushed_when_its_tag_leaves_zero, 0, 3)
{
    static const struct {
        const char *tag, *pushed;
    } tags[] = {{"ROOMS", "sele +rom +rom +rom +rom +pop"}, {"USERS", "sele +usr +pop"}, {"RANKS", "sele +rnk +pop"}};
    struct raw *ann = deaf_player("Ann");
    char on[32], off[32];
    (void)snprintf(on, sizeof on, "%s=1\n", tags[_i].tag);
    (void)snprintf(off, sizeof off, "%s=0\n", tags[_i].tag);
    say(ann, "sele", on);
    GOT(ann, tags[_i].pushed);
    SAYS(frame_at(ann, 0), "MORE=0\nSLOTS=4\nSTATUS=1");
    raw_forget(ann);
    say(ann, "sele", on);
    GOT(ann, "sele"); /* it was not 0 */
    raw_forget(ann);
    say(ann, "sele", off);
    GOT(ann, "sele");
    raw_forget(ann);
    say(ann, "sele", on);
    GOT(ann, tags[_i].pushed); /* the whole list again */
}

TEST(selecting, another_number_of_ranks_brings_the_ranking_again)
{
    struct raw *ann = deaf_player("Ann");
    const struct got *rank = NULL;
    say(ann, "sele", "RANKS=1\n");
    raw_forget(ann);
    say(ann, "sele", "RANKS=50\n");
    ck_assert_uint_eq(frames_of(ann, "+rnk", &rank), 1);
    SAYS(rank, "D=-2");
    raw_forget(ann);
    say(ann, "sele", "RANKS=50\n");
    GOT(ann, "sele");
}

TEST(selecting, only_the_given_tags_change)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    forget_all();
    say(ann, "sele", "ROOMS=0\n");
    GOT(ann, "sele");
    raw_forget(ann);
    say(bob, "auxi", "TEXT=hello\n");
    GOT(ann, "+usr"); /* USERS is as it was */
    raw_forget(ann);
    say(bob, "room", "NAME=C.Bob\nPASS=\nDESC=None\nMAX=50\n");
    ck_assert_uint_eq(frames_of(ann, "+rom", NULL), 0);
    ck_assert_uint_eq(frames_of(ann, "+usr", NULL), 1);
    say(ann, "sele", "USERS=0\n");
    raw_forget(ann);
    go(bob, "East");
    ck_assert_uint_eq(frames_of(ann, "+usr", NULL), 0);
}

TEST_LOOP(selecting, a_selection_before_pers_is_noted, 0, 2)
{
    struct raw *r = raw_open(w, 0);
    (void)snprintf(r->name, sizeof r->name, "Ann");
    if (_i == 0) {
        (void)raw_ask(r, "addr", "ADDR=10.0.0.1\nPORT=1\n");
        SUCCEEDS(raw_ask(r, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1"));
    }
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
    if (_i == 1)
        SUCCEEDS(raw_ask(r, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1"));
    raw_forget(r);
    say(r, "pers", "PERS=Ann\n");
    GOT(r, "pers +who +rom +rom +rom +rom +usr +rnk +pop");
    SAYS(frame_at(r, 1), "F=U\nN=Ann\nRI=0\nRT=1\nR=0\nRF=1"); /* [spec], to the letter */
}

TEST(selecting, the_consoles_two_selections_show_all_lists_and_the_top_50)
{
    struct raw *ann = deaf_player("Ann");
    raw_send(ann, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1");
    raw_send(ann, "sele", "RANKS=50\n"); /* not waiting for the first reply */
    const struct got *rank = NULL, *pop = NULL, *reply = NULL;
    ck_assert_uint_eq(frames_of(ann, "sele", &reply), 2);
    ck_assert_uint_ge(frames_of(ann, "+rnk", &rank), 1);
    SAYS(rank, "D=-2");
    ck_assert_uint_eq(frames_of(ann, "+rom", NULL), 4); /* once, not twice */
    ck_assert_uint_eq(frames_of(ann, "+usr", NULL), 1);
    ck_assert_uint_ge(frames_of(ann, "+pop", &pop), 1);
    /* The second reply, then the ranking it asks for, then +pop. */
    size_t at = 0;
    while (frame_at(ann, at) != reply)
        at++;
    ck_assert_str_eq(frame_at(ann, at + 1)->kind, "+rnk");
    ck_assert_ptr_eq(frame_at(ann, at + 2), pop);
    ck_assert_uint_eq(ann->count, at + 3);
}

TEST(selecting, who_selects_nothing_is_pushed_nothing)
{
    struct raw *ann = deaf_player("Ann"), *bob = player(w, "Bob", "");
    raw_forget(ann);
    go(bob, "East");
    GOT(ann, "");
    say(ann, "move", "NAME=East\nPASS=\n");
    GOT(ann, "move +who");
    raw_forget(ann);
    raw_close(bob);
    GOT(ann, "");
}

TEST(selecting, a_selection_in_a_room_lists_its_users)
{
    struct raw *ann = deaf_player("Ann"), *bob = deaf_player("Bob");
    go(ann, "East");
    go(bob, "East");
    forget_all();
    say(ann, "sele", "USERS=1\n");
    GOT(ann, "sele +usr +usr +pop");
    SAYS(frame_at(ann, 1), "I=*\nF=0\nA=%s\nT=2\nR=*\nN=Bob\nS=*\nX=*", dotted(bob->ip));
    SAYS(frame_at(ann, 2), "I=*\nF=U0\nA=%s\nT=2\nR=*\nN=Ann\nS=*\nX=*", dotted(ann->ip));
}

/* ---- Lists that are muted and come back (3.2) --------------------------- */

GROUP(muted, open_world, close_world, 0);

static void sele(struct console *c, const char *tags)
{
    console_select(c, tags);
    world_settle(w);
}

static struct console *in_room(const char *name, const char *room)
{
    struct console *c = world_player(w, name);
    console_move(c, room, "");
    world_settle(w);
    ck_assert_str_eq(c->room_name, room);
    return c;
}

/* Who left while the list was muted is no ghost in it, and who came is there. */
TEST_LOOP(muted, users_who_left_meanwhile_are_gone, 0, 4)
{
    struct console *ann = in_room("Ann", "East"), *bob = in_room("Bob", "East"), *cid = in_room("Cid", "East");
    struct console *dan = in_room("Dan", "West"), *eve = in_room("Eve", "East");
    sele(ann, "USERS=0\n");
    size_t then = ann->users.count;
    if (_i == 0)
        console_leave(bob);
    else
        console_move(bob, _i == 1 ? "West" : "", "");
    console_move(dan, "East", "");
    world_settle(w);
    if (_i == 3) { /* and back */
        console_move(bob, "East", "");
        console_move(dan, "West", "");
    }
    console_leave(eve);
    console_status(cid, "hello");
    world_run(w, 2000);
    ck_assert_uint_eq(ann->users.count, then); /* nothing is told meanwhile */
    ck_assert_ptr_nonnull(console_user(ann, "Eve"));
    sele(ann, "USERS=1\n");
    ck_assert_ptr_null(console_user(ann, "Eve"));
    ck_assert((console_user(ann, "Bob") != NULL) == (_i == 3));
    ck_assert((console_user(ann, "Dan") != NULL) == (_i != 3));
    ck_assert_str_eq(console_user(ann, "Cid")->extra, "hello");
    ck_assert_uint_eq(ann->users.count, 3);
    ck_assert_int_eq(ann->room_population, 3);
    console_leave(cid); /* and it goes on */
    world_run(w, 2000);
    ck_assert_ptr_null(console_user(ann, "Cid"));
}

TEST_LOOP(muted, rooms_that_vanished_meanwhile_are_gone, 0, 2)
{
    struct console *ann = world_player(w, "Ann"), *bob = world_player(w, "Bob"), *cid = world_player(w, "Cid");
    console_create_room(bob, "C.Bob", "", "None", 50);
    world_settle(w);
    ck_assert_ptr_nonnull(console_room(ann, 1001));
    sele(ann, _i == 0 ? "ROOMS=0\n" : "ROOMS=0\nUSERS=0\nRANKS=0\n");
    console_move(bob, "", "");
    console_create_room(cid, "C.Cid", "", "None", 50);
    world_settle(w);
    ck_assert_ptr_nonnull(console_room(ann, 1001));
    ck_assert_ptr_null(console_room(ann, 1002));
    sele(ann, "ROOMS=1\n");
    ck_assert_ptr_null(console_room(ann, 1001));
    ck_assert_ptr_nonnull(console_room(ann, 1002));
    ck_assert_uint_eq(ann->rooms.count, 5);
    sele(ann, "ROOMS=0\n");
    sele(ann, "ROOMS=1\n");
    ck_assert_uint_eq(ann->rooms.count, 5);
}

/* A list that is muted holds nobody up: if very many leave, that is told at once. */
TEST(muted, however_many_leave_meanwhile)
{
    struct console *ann = in_room("Ann", "East"), *bob = world_player(w, "Bob");
    char name[16], payload[64];
    sele(ann, "USERS=0\n");
    struct raw *comer = player(w, "Comer", "");
    SUCCEEDS(raw_ask(comer, "cper", "PERS=Comer2\n"));
    for (int i = 0; i < 300; i++) {
        (void)snprintf(name, sizeof name, "Guest%d", i);
        (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
        SUCCEEDS(raw_ask(comer, "cper", payload));
        SUCCEEDS(raw_ask(comer, "pers", payload));
        SUCCEEDS(raw_ask(comer, "move", "NAME=East\nPASS=\n"));
        SUCCEEDS(raw_ask(comer, "pers", "PERS=Comer\n"));
        SUCCEEDS(raw_ask(comer, "dper", payload));
        raw_forget(comer);
    }
    console_move(bob, "East", "");
    world_settle(w);
    sele(ann, "USERS=1\n");
    ck_assert_uint_eq(ann->users.count, 2);
    ck_assert_ptr_nonnull(console_user(ann, "Bob"));
}

/* More of them than the table holds of those who are still to be told. */
TEST(muted, whoever_finds_the_table_full_has_the_muted_told)
{
    static const struct world_options few = {.limits = {16, 256, 8, 64, 1024, 64, 0}};
    reopen(&few);
    struct console *ann = in_room("Ann", "East"), *bob = world_player(w, "Bob");
    char name[16];
    sele(ann, "USERS=0\n");
    for (int i = 0; i < 150; i++) {
        (void)snprintf(name, sizeof name, "Guest%d", i);
        raw_close(player(w, name, "East"));
        world_settle(w);
    }
    console_move(bob, "East", "");
    world_settle(w);
    sele(ann, "USERS=1\n");
    ck_assert_uint_eq(ann->users.count, 2);
    ck_assert_ptr_nonnull(console_user(ann, "Bob"));
}

/* The same for rooms, and for who is between two logins. */
TEST_LOOP(muted, however_many_rooms_vanish_meanwhile, 0, 3)
{
    static const struct world_options few = {.limits = {64, 256, 8, 64, 1024, 64, 0}};
    reopen(&few);
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    SUCCEEDS(raw_ask(ann, "sele", _i == 0 ? "ROOMS=0\n" : "ROOMS=1\n"));
    if (_i == 2)
        SUCCEEDS(raw_auth(ann, "Ann", "secret"));
    raw_forget(ann);
    for (int i = 0; i < 40; i++) {
        char payload[64];
        (void)snprintf(payload, sizeof payload, "NAME=C.r%d\nPASS=\nDESC=None\nMAX=50\n", i);
        SUCCEEDS(raw_ask(bob, "room", payload));
        SUCCEEDS(raw_ask(bob, "move", "NAME=\nPASS=\n"));
        raw_forget(bob);
    }
    if (_i == 2)
        SUCCEEDS(raw_ask(ann, "pers", "PERS=Ann\n"));
    SUCCEEDS(raw_ask(ann, "sele", "ROOMS=1\n"));
    world_settle(w);
    size_t gone = 0;
    for (size_t i = 0; i < ann->count; i++) {
        const struct got *g = ann->frames[i];
        if (strcmp(g->kind, "+rom") == 0 && got_number(g, "I") > 1000)
            gone += !got_has(g, "N");
    }
    ck_assert_uint_eq(gone, 40); /* one after the other, each once */
}

/* `auth` again: the room that vanished with one's own persona is told, and whatever goes
 * before the next `pers`; and the console knows that it is in the hub. */
TEST_LOOP(muted, another_login_leaves_no_ghosts, 0, 6)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    bool rooms = _i < 4, in_a_room = _i % 2 == 0;
    SUCCEEDS(raw_ask(bob, "room", "NAME=C.Bob\nPASS=\nDESC=None\nMAX=50\n"));
    if (in_a_room)
        SUCCEEDS(raw_ask(ann, "room", "NAME=C.Ann\nPASS=\nDESC=None\nMAX=50\n"));
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Anna\n"));
    int32_t own = ident_of(ann);
    if (!rooms)
        SUCCEEDS(raw_ask(ann, "sele", "ROOMS=0\n"));
    forget_all();
    SUCCEEDS(raw_auth(ann, "Ann", "secret"));
    SUCCEEDS(raw_ask(bob, "move", "NAME=\nPASS=\n"));
    SUCCEEDS(raw_ask(bob, "room", "NAME=C.Bob2\nPASS=\nDESC=None\nMAX=50\n"));
    SUCCEEDS(raw_ask(ann, "pers", _i / 2 % 2 == 0 ? "PERS=Anna\n" : "PERS=Ann\n"));
    world_settle(w);
    const struct got *who = NULL;
    ck_assert_uint_eq(frames_of(ann, "+who", &who), 1);
    SAYS(who, "F=U\nN=%s\nRI=0\nRT=1\nR=Lobby\nRF=0", _i / 2 % 2 == 0 ? "Anna" : "Ann");
    if (!rooms) {
        ck_assert_uint_eq(frames_of(ann, "+rom", NULL), 0);
        SUCCEEDS(raw_ask(ann, "sele", "ROOMS=1\n"));
        world_settle(w);
    }
    bool there[8] = {false}, own_there = true;
    for (size_t i = 0; i < ann->count; i++) {
        const struct got *g = ann->frames[i];
        int32_t ident = got_number(g, "I");
        if (strcmp(g->kind, "+rom") == 0 && ident > 1000)
            there[ident - 1000] = got_has(g, "N");
        if (strcmp(g->kind, "+rom") == 0 && ident > 1000 && !got_has(g, "N"))
            there[ident - 1000 + 4] = true; /* it was taken away */
        if (strcmp(g->kind, "+usr") == 0 && ident == own)
            own_there = got_has(g, "N");
    }
    ck_assert(!there[1] && there[5]); /* C.Bob */
    if (in_a_room)
        ck_assert(!there[2] && there[6] && there[3]); /* C.Ann, and C.Bob2 */
    else
        ck_assert(there[2]);
    ck_assert(own_there == (in_a_room || _i / 2 % 2 == 1)); /* leaving a room has cleared the list */
}

/* One's own record as another persona is a ghost, too, in the hub, where the console
 * does not clear its list. */
TEST_LOOP(muted, ones_own_record_as_another_persona_is_gone, 0, 3)
{
    struct raw *ann = player(w, "Ann", "");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Anna\n"));
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Anne\n"));
    int32_t own = ident_of(ann);
    if (_i < 2)
        SUCCEEDS(raw_ask(ann, "sele", "USERS=0\n"));
    forget_all();
    SUCCEEDS(raw_ask(ann, "pers", "PERS=Anna\n"));
    if (_i == 1)
        SUCCEEDS(raw_ask(ann, "pers", "PERS=Anne\n"));
    if (_i < 2) {
        ck_assert_uint_eq(frames_of(ann, "+usr", NULL), 0);
        SUCCEEDS(raw_ask(ann, "sele", "USERS=1\n"));
    }
    world_settle(w);
    size_t rows = 0;
    for (size_t i = 0; i < ann->count; i++) {
        const struct got *g = ann->frames[i];
        if (strcmp(g->kind, "+usr") != 0)
            continue;
        if (rows++ == 0)
            SAYS(g, "I=%d\nT=1", (int)own);
        else
            SAYS(g, "I=*\nF=U0\nA=*\nT=1\nR=0\nS=\nN=%s\nX=", _i == 1 ? "Anne" : "Anna");
    }
    ck_assert_uint_eq(rows, 2);
}

/* MESGS=0, given, mutes room chat; nothing else does. */
TEST_LOOP(muted, room_chat_can_be_muted, 0, 3)
{
    static const char *const heard[] = {"MESGS=1\n", "ROOMS=0\nUSERS=0\nRANKS=0\n", "RANKS=50\n"};
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East"), *cid = deaf_player("Cid");
    go(cid, "East");
    SUCCEEDS(raw_ask(ann, "sele", "MESGS=0\n"));
    forget_all();
    SUCCEEDS(raw_ask(bob, "mesg", "TEXT=hello\n"));
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=anybody\n"));
    ck_assert_uint_eq(frames_of(ann, "+msg", NULL), 0);
    ck_assert_uint_eq(frames_of(bob, "+msg", NULL), 2);
    ck_assert_uint_eq(frames_of(cid, "+msg", NULL), 2); /* who has never asked for it */
    SUCCEEDS(raw_ask(bob, "mesg", "PRIV=Ann\nTEXT=psst\n"));
    word(bob, ann, TOKEN);
    ck_assert_uint_eq(frames_of(ann, "+msg", NULL), 2); /* what is for her alone */
    SUCCEEDS(raw_ask(ann, "sele", heard[_i]));
    forget_all();
    SUCCEEDS(raw_ask(bob, "mesg", "TEXT=hello\n"));
    ck_assert_uint_eq(frames_of(ann, "+msg", NULL), _i == 0);
}

/* ---- Moving (3.3) ------------------------------------------------------- */

GROUP(moving, open_world, close_world, 0);

TEST(moving, a_move_from_the_hub_tells_everyone_in_order)
{
    struct raw *bob = player(w, "Bob", "East"), *cid = player(w, "Cid", "West");
    struct raw *dan = player(w, "Dan", ""), *ann = player(w, "Ann", "");
    int32_t ann_ident = ident_of(ann), bob_ident = ident_of(bob);
    forget_all();
    say(ann, "move", "NAME=East\nPASS=\n");
    GOT(ann, "move +who +usr +usr +pop");
    SAYS(frame_at(ann, 0), "IDENT=1\nCOUNT=2\nNAME=East\nFLAGS=0\nLIDENT=0\nLCOUNT=1\nSTATUS=1");
    SAYS(frame_at(ann, 1), "F=U\nN=Ann\nRI=1\nRT=2\nR=East\nRF=0");
    SAYS(frame_at(ann, 2), "I=%d\nF=0\nA=%s\nT=2\nR=*\nN=Bob\nS=*\nX=*", (int)bob_ident, dotted(bob->ip));
    SAYS(frame_at(ann, 3), "I=%d\nF=U0\nA=%s\nT=2\nR=*\nN=Ann\nS=*\nX=*", (int)ann_ident, dotted(ann->ip));
    GOT(bob, "+usr +pop");
    SAYS(frame_at(bob, 0), "I=%d\nF=0\nA=%s\nT=2\nR=*\nN=Ann\nS=*\nX=*", (int)ann_ident, dotted(ann->ip));
    GOT(cid, "+pop");
    SAYS(frame_at(cid, 0), "Z=1:2 0:1");
    GOT(dan, "+pop");
    SAYS(frame_at(dan, 0), "Z=1:2 0:1");
    ck_assert_int_eq(told_population(ann, HUB_IDENT), 1);
    ck_assert_int_eq(told_population(bob, HUB_IDENT), 1);
}

TEST(moving, a_move_between_rooms_tells_everyone_in_order)
{
    struct raw *ann = player(w, "Ann", "East"), *left = player(w, "Left", "East");
    struct raw *bob = player(w, "Bob", "West"), *bea = player(w, "Bea", "West");
    struct raw *cid = player(w, "Cid", "Beginner"), *dan = player(w, "Dan", "");
    int32_t ann_ident = ident_of(ann);
    forget_all();
    say(ann, "move", "NAME=West\nPASS=\n");
    GOT(ann, "move +who +usr +usr +usr +pop");
    SAYS(frame_at(ann, 0), "IDENT=2\nCOUNT=3\nNAME=West\nFLAGS=0\nLIDENT=1\nLCOUNT=1\nSTATUS=1");
    SAYS(frame_at(ann, 1), "F=U\nN=Ann\nRI=2\nRT=3\nR=West\nRF=0");
    for (size_t i = 2; i < 4; i++)
        SAYS(frame_at(ann, i), "I=*\nF=0\nA=*\nT=3\nR=*\nN=*\nS=*\nX=*");
    SAYS(frame_at(ann, 4), "I=%d\nF=U0\nA=*\nT=3\nR=*\nN=Ann\nS=*\nX=*", (int)ann_ident);
    GOT(left, "+usr +pop");
    SAYS(frame_at(left, 0), "I=%d\nT=1", (int)ann_ident); /* no N: delete */
    GOT(bob, "+usr +pop");
    SAYS(frame_at(bob, 0), "I=%d\nF=0\nA=*\nT=3\nR=*\nN=Ann\nS=*\nX=*", (int)ann_ident);
    GOT(bea, "+usr +pop");
    SAYS(frame_at(bea, 0), "I=%d\nF=0\nA=*\nT=3\nR=*\nN=Ann\nS=*\nX=*", (int)ann_ident);
    GOT(cid, "+pop");
    GOT(dan, "+pop");
    ck_assert_int_eq(told_population(cid, EAST), 1);
    ck_assert_int_eq(told_population(cid, WEST), 3);
    ck_assert_int_eq(told_population(left, WEST), 3);
    ck_assert_int_eq(told_population(bob, EAST), 1);
    ck_assert_int_eq(told_population(dan, EAST), 1);
    ck_assert_int_eq(told_population(dan, WEST), 3);
}

TEST(moving, an_empty_name_leaves_to_the_hub)
{
    struct raw *ann = player(w, "Ann", "East"), *left = player(w, "Left", "East");
    struct raw *dan = player(w, "Dan", "");
    int32_t ann_ident = ident_of(ann);
    forget_all();
    say(ann, "move", "NAME=\nPASS=\n");
    GOT(ann, "move +who +usr +pop");
    SAYS(frame_at(ann, 0), "IDENT=0\nCOUNT=2\nNAME=Lobby\nFLAGS=0\nLIDENT=1\nLCOUNT=1\nSTATUS=1");
    SAYS(frame_at(ann, 1), "F=U\nN=Ann\nRI=0\nRT=2\nR=Lobby\nRF=0");
    SAYS(frame_at(ann, 2), "I=%d\nF=U0\nA=*\nT=2\nR=*\nN=Ann\nS=*\nX=*", (int)ann_ident);
    GOT(left, "+usr +pop");
    SAYS(frame_at(left, 0), "I=%d\nT=1", (int)ann_ident);
    GOT(dan, "+pop"); /* players in the hub are not listed to one another */
    SAYS(frame_at(dan, 0), "Z=1:1 0:2");
}

TEST_LOOP(moving, a_move_to_where_one_is_changes_nothing, 0, 3)
{
    struct raw *ann = player(w, "Ann", _i == 0 ? "East" : ""), *bob = player(w, "Bob", "East");
    forget_all();
    say(ann, "move", _i == 0 ? "NAME=East\nPASS=\n" : _i == 1 ? "NAME=\nPASS=\n" : "NAME=Lobby\n");
    GOT(ann, "move");
    SAYS(frame_at(ann, 0), "IDENT=%d\nCOUNT=%d\nNAME=%s\nFLAGS=0\nSTATUS=1", _i == 0 ? EAST : 0, _i == 0 ? 2 : 1,
         _i == 0 ? "East" : "Lobby");
    GOT(bob, "");
}

TEST_LOOP(moving, a_failed_move_or_creation_says_where_one_still_is, 0, 30)
{
    static const struct {
        const char *kind, *payload, *code;
        int status;
    } tries[] = {
        {"move", "NAME=Nowhere\nPASS=\n", "nrom", 0},
        {"move", "NAME=a name of more than thirty-one bytes\nPASS=\n", "nrom", 0},
        {"move", "NAME=C.Lock\nPASS=\n", "pass", 100},
        {"move", "NAME=C.Lock\n", "pass", 100},
        {"move", "NAME=C.Lock\nPASS=wrong\n", "pass", 100},
        {"move", "NAME=C.Lock\nPASS=Key\n", "pass", 100},
        {"move", "NAME=C.Two\nPASS=\n", "full", 103},
        {"room", "NAME=East\nPASS=\nDESC=None\nMAX=50\n", "dupl", 0},
        {"room", "NAME=C.Two\nPASS=\nDESC=None\nMAX=50\n", "dupl", 0},
        {"room", "NAME=EAST\nPASS=\nDESC=None\nMAX=50\n", "dupl", 0},
        {"room", "NAME=Lobby\nPASS=\nDESC=None\nMAX=50\n", "dupl", 0},
        {"room", "NAME=Bob\nPASS=\nDESC=None\nMAX=50\n", "dupl", 0}, /* a persona's name (6) */
        {"room", "NAME=C.of more than thirty-one bytes!\nPASS=\nDESC=None\nMAX=50\n", "inam", 0},
        {"room", "NAME=C.%01\nPASS=\nDESC=None\nMAX=50\n", "inam", 0},
        {"room", "NAME=C.%ff\nPASS=\nDESC=None\nMAX=50\n", "inam", 0},
    };
    int at = _i / 2;
    struct raw *ann = player(w, "Ann", _i % 2 == 0 ? "" : "West"), *bob = player(w, "Bob", "");
    struct raw *cid = player(w, "Cid", ""), *dan = player(w, "Dan", "");
    if (at >= (int)(sizeof tries / sizeof tries[0]))
        return;
    SUCCEEDS(raw_ask(bob, "room", "NAME=C.Lock\nPASS=key\nDESC=None\nMAX=50\n"));
    SUCCEEDS(raw_ask(cid, "room", "NAME=C.Two\nPASS=\nDESC=None\nMAX=2\n"));
    go(dan, "C.Two");
    forget_all();
    say(ann, tries[at].kind, tries[at].payload);
    GOT(ann, tries[at].kind);
    REFUSED(frame_at(ann, 0), tries[at].code, tries[at].status);
    ck_assert(got_has(frame_at(ann, 0), "IDENT"));
    ck_assert_int_eq(got_number(frame_at(ann, 0), "IDENT"), _i % 2 == 0 ? HUB_IDENT : WEST);
    GOT(bob, "");
    GOT(cid, "");
    say(ann, "mesg", "TEXT=still here\n"); /* and the server thinks so too */
    SAYS(frame_at(ann, 2), "N=Ann\nFROM=Ann\nATTR=0\nRI=%d\nT=\"still here\"\nTEXT=\"still here\"",
         _i % 2 == 0 ? HUB_IDENT : WEST);
}

TEST(moving, a_room_without_a_name_is_not_made)
{
    struct raw *ann = player(w, "Ann", "West");
    const struct got *g = raw_ask(ann, "room", "NAME=\nPASS=\nDESC=None\nMAX=50\n");
    ck_assert_uint_ne(g->code, 0);
    ck_assert_int_eq(got_status(g), 0);
    ck_assert_int_eq(got_number(g, "IDENT"), WEST);
}

TEST(moving, the_hub_lists_only_oneself)
{
    struct raw *ann = player(w, "Ann", "");
    struct view *v = malloc(sizeof *v);
    struct raw *bob = player(w, "Bob", "");
    view_start(v, ann);
    ck_assert_uint_eq(v->user_count, 1);
    ck_assert_ptr_nonnull(view_user(v, "Ann"));
    say(bob, "auxi", "TEXT=hello\n");
    GOT(ann, "");
    free(v);
}

TEST(moving, a_status_text_is_shown_to_the_room)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    struct raw *cid = player(w, "Cid", "West");
    int32_t ident = ident_of(ann);
    forget_all();
    say(ann, "auxi", "TEXT=\"two words\"\n");
    GOT(ann, "auxi +usr");
    SAYS(frame_at(ann, 0), "TEXT=\"two words\"\nSTATUS=1");
    SAYS(frame_at(ann, 1), "I=%d\nF=U0\nA=*\nT=2\nR=*\nN=Ann\nS=*\nX=\"two words\"", (int)ident);
    GOT(bob, "+usr");
    SAYS(frame_at(bob, 0), "I=%d\nF=0\nA=*\nT=2\nR=*\nN=Ann\nS=*\nX=\"two words\"", (int)ident);
    GOT(cid, "");
    forget_all();
    say(cid, "move", "NAME=East\nPASS=\n"); /* who comes later sees it too */
    ck_assert_str_eq(frame_at(cid, 2)->kind, "+usr");
    ck_assert(strcmp(got_text(frame_at(cid, 2), "X"), "two words") == 0 ||
              strcmp(got_text(frame_at(cid, 3), "X"), "two words") == 0);
    forget_all();
    say(ann, "auxi", "TEXT=\n"); /* empty clears it */
    GOT(bob, "+usr");
    ck_assert_str_eq(got_text(frame_at(bob, 0), "X"), "");
    ck_assert_str_eq(got_text(frame_at(bob, 0), "N"), "Ann");
}

TEST(moving, peek_answers_and_tells_nobody)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "East");
    forget_all();
    say(ann, "peek", "NAME=East\n");
    say(ann, "peek", "NAME=Lobby\n");
    say(ann, "peek", "NAME=Bob\n");
    say(ann, "peek", "NAME=Nobody\n");
    GOT(ann, "peek peek peek peek");
    SAYS(frame_at(ann, 0), "NAME=East\nCOUNT=1\nSTATUS=1");
    SAYS(frame_at(ann, 1), "NAME=Lobby\nCOUNT=1\nSTATUS=1");
    SAYS(frame_at(ann, 2), "NAME=Bob\nSTATUS=1");
    REFUSED(frame_at(ann, 3), "user", 102);
    GOT(bob, "");
    raw_close(bob);
    raw_forget(ann);
    say(ann, "peek", "NAME=Bob\n");
    REFUSED(frame_at(ann, 0), "user", 102);
}

/* ---- Leaving (3.3) ------------------------------------------------------ */

TEST(moving, a_disconnect_tells_the_others_what_leaving_does)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    struct raw *cid = player(w, "Cid", "West"), *dan = player(w, "Dan", "");
    int32_t ident = ident_of(ann);
    forget_all();
    raw_close(ann);
    GOT(bob, "+usr +pop");
    SAYS(frame_at(bob, 0), "I=%d\nT=1", (int)ident);
    GOT(cid, "+pop");
    SAYS(frame_at(cid, 0), "Z=1:1");
    GOT(dan, "+pop");
    forget_all();
    raw_close(dan); /* out of the hub */
    GOT(bob, "+pop");
    SAYS(frame_at(bob, 0), "Z=0:0");
    GOT(cid, "+pop");
}

TEST(moving, another_persona_leaves_the_room)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    int32_t ident = ident_of(ann);
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Anna\n"));
    forget_all();
    say(ann, "pers", "PERS=Anna\n");
    GOT(bob, "+usr +pop");
    SAYS(frame_at(bob, 0), "I=%d\nT=1", (int)ident);
    const struct got *who = raw_expect(ann, "+who");
    ck_assert_str_eq(got_text(who, "N"), "Anna");
    ck_assert_int_eq(got_number(who, "RI"), 0);
}

/* PROTOCOL 8; a row is not the same for all who are told of it. */
TEST(moving, each_is_told_the_address_at_which_it_finds_the_other)
{
    uint32_t home = world_fresh_ip(w);
    struct raw *ann = raw_login_from(w, home, "Ann", "secret"), *bob = raw_login_from(w, home, "Bob", "secret");
    struct raw *cid = player(w, "Cid", "East"), *readers[] = {cid, bob, cid};
    (void)raw_ask(ann, "addr", "ADDR=192.168.1.5\nPORT=50000\n");
    go(ann, "East");
    go(bob, "East");
    forget_all();
    for (int i = 0; i < COUNT(readers); i++) {
        say(ann, "auxi", i % 2 == 0 ? "TEXT=one\n" : "TEXT=two\n");
        const struct got *row = NULL;
        (void)frames_of(readers[i], "+usr", &row);
        ck_assert_str_eq(got_text(row, "N"), "Ann");
        ck_assert_str_eq(got_text(row, "A"), readers[i] == bob ? "192.168.1.5" : dotted(home));
    }
}

TEST(moving, another_persona_is_told_all_rooms_again)
{
    struct raw *ann = player(w, "Ann", "East");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Anna\n"));
    forget_all();
    say(ann, "pers", "PERS=Anna\n");
    ck_assert_uint_eq(frames_of(ann, "+rom", NULL), 4);
    for (int32_t ident = HUB_IDENT; ident <= BEGINNER; ident++)
        (void)row_of(ann, ident);
}

TEST(moving, another_persona_begins_without_a_status_text)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Anna\n"));
    SUCCEEDS(raw_ask(ann, "auxi", "TEXT=busy\n"));
    SUCCEEDS(raw_ask(ann, "pers", "PERS=Anna\n"));
    forget_all();
    go(ann, "East");
    const struct got *row = NULL;
    ck_assert_uint_eq(frames_of(bob, "+usr", &row), 1);
    ck_assert_str_eq(got_text(row, "N"), "Anna");
    ck_assert_str_eq(got_text(row, "X"), "");
}

/* ---- Rooms that players create (3.3) ------------------------------------ */

GROUP(creating, open_world, close_world, 0);

TEST(creating, a_created_room_is_shown_to_all_before_its_makers_reply)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    struct raw *cid = player(w, "Cid", ""), *deaf = deaf_player("Deaf");
    int32_t ident = ident_of(ann);
    struct raw *seer[] = {bob, cid};
    forget_all();
    say(ann, "room", "NAME=C.Test\nPASS=\nDESC=None\nMAX=50\n");
    GOT(ann, "+rom room +who +usr +pop");
    SAYS(frame_at(ann, 0), "I=1001\nN=C.Test\nH=None\nA=203.0.113.10\nT=*\nL=50\nF=0");
    const struct got *reply = frame_at(ann, 1);
    SUCCEEDS(reply);
    ck_assert_int_eq(got_number(reply, "IDENT"), 1001);
    ck_assert_int_eq(got_number(reply, "COUNT"), 1);
    ck_assert_int_eq(got_number(reply, "LIDENT"), EAST);
    ck_assert_int_eq(got_number(reply, "LCOUNT"), 1);
    ck_assert_str_eq(got_text(reply, "NAME"), "C.Test");
    SAYS(frame_at(ann, 2), "F=U\nN=Ann\nRI=1001\nRT=1\nR=C.Test\nRF=0");
    SAYS(frame_at(ann, 3), "I=%d\nF=U0\nA=*\nT=1\nR=*\nN=Ann\nS=*\nX=*", (int)ident);
    GOT(cid, "+rom +pop");
    ck_assert_uint_eq(frames_of(bob, "+rom", NULL), 1);
    ck_assert_uint_eq(frames_of(bob, "+usr", NULL), 1);
    for (size_t i = 0; i < 2; i++) {
        SAYS(row_of(seer[i], 1001), "I=1001\nN=C.Test\nH=None\nA=203.0.113.10\nT=*\nL=50\nF=0");
        ck_assert_int_eq(told_population(seer[i], 1001), 1);
    }
    ck_assert_int_eq(told_population(cid, EAST), 1);
    GOT(deaf, "");
    SUCCEEDS(raw_ask(bob, "room", "NAME=C.Next\nPASS=\nDESC=None\nMAX=50\n"));
    SAYS(row_of(bob, 1002), "I=1002\nN=C.Next\nH=None\nA=*\nT=*\nL=50\nF=0");
}

/* Even if the room is made in the same turn: +rom comes before what names it. */
/* PROTOCOL 3.1, 3.3: A is the server's address, as each console has reached it. */
TEST(creating, a_created_room_is_at_the_address_that_each_has_reached)
{
    struct raw *ann = player(w, "Ann", ""), *bob, *cid;
    uint32_t usual = w->server_ip;
    w->server_ip = 0xC0000205u;
    bob = player(w, "Bob", "");
    w->server_ip = usual;
    cid = player(w, "Cid", "");
    for (int i = 0; i < 2; i++) {
        forget_all();
        SUCCEEDS(raw_ask(ann, "room", i == 0 ? "NAME=C.One\nDESC=None\nMAX=9\n" : "NAME=C.Two\nDESC=None\nMAX=9\n"));
        ck_assert_str_eq(got_text(row_of(cid, 1001 + i), "A"), dotted(usual));
        ck_assert_str_eq(got_text(row_of(bob, 1001 + i), "A"), "192.0.2.5");
    }
}

TEST_LOOP(creating, who_moves_to_a_brand_new_room_knows_it, 0, 2)
{
    struct console *ann = world_player(w, "Ann");
    struct raw *cid = player(w, "Cid", "");
    if (_i == 1) { /* made anew, with another number, under a name that Ann knows */
        SUCCEEDS(raw_ask(cid, "room", "NAME=C.Test\nPASS=\nDESC=None\nMAX=50\n"));
        raw_send(cid, "move", "NAME=\nPASS=\n");
    }
    raw_send(cid, "room", "NAME=C.Test\nPASS=\nDESC=None\nMAX=50\n");
    console_move(ann, "C.Test", "");
    world_settle(w);
    ck_assert_int_eq(ann->room, _i == 1 ? 1002 : 1001);
    ck_assert_int_eq(ann->room_population, 2);
    ck_assert_uint_eq(ann->rooms.count, 5);
}

TEST_LOOP(creating, a_created_room_vanishes_with_its_last_player, 0, 4)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "East");
    struct raw *cid = player(w, "Cid", "");
    SUCCEEDS(raw_ask(ann, "room", "NAME=C.Test\nPASS=\nDESC=None\nMAX=50\n"));
    go(cid, "C.Test");
    go(ann, "");
    forget_all();
    say(bob, "peek", "NAME=C.Test\n"); /* its maker has left, Cid has not */
    SUCCEEDS(frame_at(bob, 0));
    go(ann, "C.Test");
    if (_i == 0)
        go(cid, "East");
    else
        raw_close(cid);
    forget_all();
    switch (_i) {
    case 0: say(ann, "move", "NAME=\nPASS=\n"); break;
    case 1: say(ann, "move", "NAME=East\nPASS=\n"); break;
    case 2: say(ann, "room", "NAME=C.More\nPASS=\nDESC=None\nMAX=50\n"); break;
    default: raw_close(ann); break;
    }
    SAYS(row_of(bob, 1001), "I=1001"); /* no N: delete */
    ck_assert_int_eq(told_population(bob, 1001), -1);
    ck_assert_uint_eq(frames_of(bob, "+pop", NULL), _i < 3); /* 3: nothing else has changed */
    if (_i < 3) {                                            /* the one who left is told after its reply */
        const char *told = kinds(ann);
        const char *reply = strstr(told, _i == 2 ? "room" : "move");
        SAYS(row_of(ann, 1001), "I=1001");
        ck_assert_ptr_nonnull(reply);
        size_t at = 0;
        while (frame_at(ann, at) != row_of(ann, 1001))
            at++;
        ck_assert_uint_gt(at, (size_t)(reply - told) / 5);
        ck_assert_int_eq(told_population(ann, 1001), -1);
        const struct got *answer = raw_expect(ann, _i == 2 ? "room" : "move");
        ck_assert_int_eq(got_number(answer, "LIDENT"), 1001);
        ck_assert_int_eq(got_number(answer, "LCOUNT"), 0);
    }
    raw_forget(bob);
    say(bob, "move", "NAME=C.Test\nPASS=\n");
    REFUSED(frame_at(bob, 0), "nrom", 0);
    raw_forget(bob);
    say(bob, "room", "NAME=C.Test\nPASS=\nDESC=None\nMAX=50\n"); /* its name is free again */
    SUCCEEDS(raw_expect(bob, "room"));
    ck_assert_uint_ne(frames_of(bob, "+rom", NULL), 0);
    (void)row_of(bob, _i == 2 ? 1003 : 1002); /* but never its number */
}

/* The operator makes a lasting room of it, under the feet of those inside. */
TEST(creating, a_configured_room_takes_a_players_room_over)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    SUCCEEDS(raw_ask(ann, "room", "NAME=C.Mine\nPASS=\"my key\"\nDESC=None\nMAX=50\n"));
    forget_all();
    world_configure(w, "room = C.Mine: For all: 8\n");
    SAYS(row_of(bob, 1001), "I=1001\nN=C.Mine\nH=\"For all\"\nA=*\nT=*\nL=8\nF=0");
    go(bob, "C.Mine"); /* it has no password any more */
    go(bob, "");
    go(ann, "");
    forget_all();
    world_settle(w);
    go(bob, "C.Mine"); /* and it stays when it is empty */
    ck_assert_int_eq(told_population(ann, 1001), 1);
    ck_assert_uint_eq(frames_of(ann, "+rom", NULL), 0);
}

TEST(creating, a_password_makes_a_room_private)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    forget_all();
    say(ann, "room", "NAME=C.Mine\nPASS=\"my key\"\nDESC=None\nMAX=50\n");
    SAYS(row_of(ann, 1001), "I=1001\nN=C.Mine\nH=None\nA=*\nT=*\nL=50\nF=P");
    SAYS(row_of(bob, 1001), "I=1001\nN=C.Mine\nH=None\nA=*\nT=*\nL=50\nF=P");
    SAYS(frame_at(ann, 2), "F=U\nN=Ann\nRI=1001\nRT=1\nR=C.Mine\nRF=P");
    raw_forget(bob);
    say(bob, "move", "NAME=C.Mine\nPASS=my\n");
    REFUSED(frame_at(bob, 0), "pass", 100);
    raw_forget(bob);
    say(bob, "move", "NAME=C.Mine\nPASS=\"my key\"\n");
    SAYS(frame_at(bob, 0), "IDENT=1001\nCOUNT=2\nNAME=C.Mine\nFLAGS=P\nLIDENT=0\nLCOUNT=0\nSTATUS=1");
    SAYS(frame_at(bob, 1), "F=U\nN=Bob\nRI=1001\nRT=2\nR=C.Mine\nRF=P");
}

/* No word opens a room but its own, be it that the first 16 characters are the same. */
TEST_LOOP(creating, a_password_is_compared_as_a_whole, 0, 2)
{
    static const char *const longer[] = {"", "7", "7890", " ", "78901234567890123456789012345678901234567890", "%00"};
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    const char *key = _i == 0 ? "0123456789ABCDEF" : "key";
    char payload[128];
    (void)snprintf(payload, sizeof payload, "NAME=C.Mine\nPASS=%s\nDESC=None\nMAX=50\n", key);
    SUCCEEDS(raw_ask(ann, "room", payload));
    for (int i = COUNT(longer); i-- > 0;) {
        (void)snprintf(payload, sizeof payload, "NAME=C.Mine\nPASS=\"%s%s\"\n", key, longer[i]);
        const struct got *g = raw_ask(bob, "move", payload);
        if (i == 0 || i == 5) { /* a NUL ends a text */
            SUCCEEDS(g);
            SUCCEEDS(raw_ask(bob, "move", "NAME=\nPASS=\n"));
        } else {
            REFUSED(g, "pass", 100);
            ck_assert_int_eq(got_number(g, "IDENT"), 0);
        }
    }
}

TEST_LOOP(creating, the_limit_of_a_created_room_is_held_to_2_to_100, 0, 9)
{
    static const struct {
        const char *max;
        int32_t limit;
    } limits[] = {{"-5", 2},  {"0", 2},     {"1", 2},     {"2", 2},           {"3", 3},
                  {"99", 99}, {"100", 100}, {"101", 100}, {"2147483647", 100}};
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    struct raw *cid = player(w, "Cid", "");
    char payload[128];
    (void)snprintf(payload, sizeof payload, "NAME=C.Test\nPASS=\nDESC=None\nMAX=%s\n", limits[_i].max);
    raw_forget(bob);
    say(ann, "room", payload);
    ck_assert_int_eq(got_number(row_of(bob, 1001), "L"), limits[_i].limit);
    go(bob, "C.Test");
    if (limits[_i].limit == 2) {
        REFUSED(raw_ask(cid, "move", "NAME=C.Test\nPASS=\n"), "full", 103);
        go(bob, "");
    }
    go(cid, "C.Test"); /* there is place again */
}

TEST(creating, a_full_table_of_rooms_refuses_until_one_goes)
{
    static const struct world_options few = {.limits = {64, 256, 8, 64, 1024, 64, 0}};
    struct raw *maker[5];
    char name[16], payload[128];
    world_free(w);
    w = world_new(&few);
    for (int i = 0; i < 5; i++) {
        (void)snprintf(name, sizeof name, "Maker%d", i);
        maker[i] = player(w, name, i == 4 ? "West" : "");
    }
    for (int i = 0; i < 4; i++) { /* with the hub and the three there are eight */
        (void)snprintf(payload, sizeof payload, "NAME=C.%d\nPASS=\nDESC=None\nMAX=50\n", i);
        SUCCEEDS(raw_ask(maker[i], "room", payload));
    }
    forget_all();
    say(maker[4], "room", "NAME=C.4\nPASS=\nDESC=None\nMAX=50\n");
    GOT(maker[4], "room");
    REFUSED(frame_at(maker[4], 0), "full", 103);
    ck_assert_int_eq(got_number(frame_at(maker[4], 0), "IDENT"), WEST);
    GOT(maker[0], "");
    raw_close(maker[2]);
    forget_all();
    SUCCEEDS(raw_ask(maker[4], "room", "NAME=C.4\nPASS=\nDESC=None\nMAX=50\n"));
}

TEST_LOOP(creating, names_and_descriptions_forge_nothing, 0, 8)
{
    static const char *const texts[] = {"C. N=x",  "C. F=P",    "C.F:B T=9", "C.\"q\" I=7",
                                        "C.%41%%", "C.'a' N:b", "C.a=b:c=d", "C.I=5 L=1 A=1.2.3.4"};
    struct console *ann = world_player(w, "Ann"), *bob = world_player(w, "Bob");
    console_create_room(ann, texts[_i], "", texts[_i], 50);
    world_settle(w);
    const struct console_room *room = console_room_named(bob, texts[_i]);
    ck_assert_ptr_nonnull(room);
    ck_assert_int_eq(room->ident, 1001);
    ck_assert_int_eq(room->limit, 50);
    ck_assert_int_eq(room->population, 1);
    ck_assert_uint_eq(room->flags, CONSOLE_FLAG('0'));
    ck_assert_str_eq(room->about, texts[_i]);
    console_move(bob, texts[_i], "");
    world_settle(w);
    ck_assert_int_eq(bob->room, 1001);
    ck_assert_str_eq(bob->room_name, texts[_i]);
    ck_assert_int_eq(bob->room_population, 2);
}

TEST(many, a_long_list_of_populations_is_split)
{
    struct raw *r[100];
    struct view *v = malloc(sizeof *v);
    char name[32], payload[128];
    struct raw *seer = player(w, "Seer", "");
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "Racer%d", i);
        r[i] = deaf_player(name);
    }
    raw_window(seer, 0); /* misses all of it, and is told at once */
    for (int i = 0; i < 100; i++) {
        (void)snprintf(payload, sizeof payload, "NAME=C.%d\nPASS=\nDESC=None\nMAX=50\n", i);
        SUCCEEDS(raw_ask(r[i], "room", payload));
    }
    raw_window(seer, SIZE_MAX);
    raw_forget(seer);
    view_start(v, seer);
    /* view_start() has seen to it that each Z has at most 511 bytes and ends right. */
    ck_assert_uint_eq(v->room_count, 104);
    ck_assert_int_eq(v->hub, 1);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(view_room(v, 1001 + i)->population, 1);
        if (i > 0) {
            (void)snprintf(payload, sizeof payload, "NAME=C.%d\nPASS=\n", i - i % 2);
            SUCCEEDS(raw_ask(r[i], "move", payload));
        }
    }
    say(seer, "sele", "RANKS=0\n");
    view_update(v, seer);
    say(seer, "sele", "RANKS=1\n"); /* pushes +pop with everything */
    ck_assert_uint_ge(frames_of(seer, "+pop", NULL), 1);
    for (int i = 0; i < 100; i += 2)
        ck_assert_int_eq(told_population(seer, 1001 + i), 2);
    SUCCEEDS(raw_ask(r[1], "move", "NAME=\nPASS=\n"));
    view_update(v, seer);
    ck_assert_uint_eq(v->room_count, 54);
    ck_assert_int_eq(view_room(v, 1001)->population, 1);
    ck_assert_int_eq(v->hub, 2);
    free(v);
}

/* ---- Anything, at random ------------------------------------------------ */

GROUP(at_random, open_world, close_world, 60);

#define RACERS 12

struct racer {
    struct raw *raw;
    struct view *view;
};

static void move_at_random(struct racer *racer, int number)
{
    static const char *const rooms[] = {"East", "West", "Beginner", ""};
    char payload[128];
    switch (world_below(w, 8)) {
    case 0:
    case 1:
    case 2:
        (void)snprintf(payload, sizeof payload, "NAME=%s\nPASS=\n", rooms[world_below(w, 4)]);
        raw_send(racer->raw, "move", payload);
        break;
    case 3: /* into somebody's room, if it is there */
        (void)snprintf(payload, sizeof payload, "NAME=C.%u\nPASS=\n", world_below(w, RACERS));
        raw_send(racer->raw, "move", payload);
        break;
    case 4:
        (void)snprintf(payload, sizeof payload, "NAME=C.%d\nPASS=\nDESC=None\nMAX=%u\n", number, 2 + world_below(w, 4));
        raw_send(racer->raw, "room", payload);
        break;
    case 5:
        (void)snprintf(payload, sizeof payload, "TEXT=x%u\n", world_below(w, 100));
        raw_send(racer->raw, "auxi", payload);
        break;
    case 6: send_lines(racer->raw, 0, (int)world_below(w, 4)); break;
    default:
        raw_send(racer->raw, "sele", "ROOMS=1 USERS=1 RANKS=50 MESGS=1"); /* changes nothing */
        break;
    }
}

/* Every list of every racer says where everybody is. */
static void compare_views(struct racer *racers)
{
    for (int i = 0; i < RACERS; i++) {
        struct view *v = racers[i].view;
        int32_t there = 0, in_hub = 0;
        for (int k = 0; k < RACERS; k++) {
            const struct view *other = racers[k].view;
            struct view_room *room = view_room(v, other->room);
            if (room == NULL)
                world_fail(w, "racer %d does not see room %d", i, (int)other->room);
            there += other->room == v->room;
            in_hub += other->room == HUB_IDENT;
            bool listed = view_user(v, racers[k].raw->name) != NULL;
            bool should = i == k || (other->room == v->room && v->room != HUB_IDENT);
            if (listed != should)
                world_fail(w, "racer %d %s racer %d", i, listed ? "still sees" : "misses", k);
        }
        for (size_t k = 0; k < v->room_count; k++) {
            struct view_room *room = &v->rooms[k];
            int32_t count = 0;
            for (int m = 0; m < RACERS; m++)
                count += racers[m].view->room == room->ident;
            if (room->ident > BEGINNER && count == 0)
                world_fail(w, "racer %d still sees room %d", i, (int)room->ident);
            if (room->ident != HUB_IDENT && room->ident != v->room && room->population != count) {
                world_fail(w, "racer %d thinks %d are in room %d, not %d", i, (int)room->population, (int)room->ident,
                           (int)count);
            }
        }
        if (v->population != there && v->room != HUB_IDENT)
            world_fail(w, "racer %d thinks that it is one of %d, not %d", i, (int)v->population, (int)there);
        ck_assert_int_eq(v->hub, in_hub);
        for (int k = 0; k < RACERS; k++) { /* the same X and F everywhere */
            struct view_user *mine = view_user(v, racers[k].raw->name);
            struct view_user *own = view_user(racers[k].view, racers[k].raw->name);
            if (mine != NULL &&
                (strcmp(mine->extra, own->extra) != 0 || mine->flags != (i == k ? own->flags : CONSOLE_FLAG('0'))))
                world_fail(w, "racer %d has an old record of racer %d", i, k);
        }
    }
}

TEST_LOOP(at_random, random_movers_with_random_windows_end_with_true_lists, 0, 4)
{
    static const struct world_options options[] = {{.seed = 11},
                                                   {.seed = 12, .split = WORLD_RANDOM},
                                                   {.seed = 13},
                                                   {.seed = 14}};
    struct racer racers[RACERS];
    char name[16];
    reopen(&options[_i]);
    for (int i = 0; i < RACERS; i++) {
        (void)snprintf(name, sizeof name, "Racer%d", i);
        racers[i].raw = player(w, name, "");
        racers[i].view = malloc(sizeof *racers[i].view);
    }
    for (int i = 0; i < RACERS; i++)
        view_start(racers[i].view, racers[i].raw);
    for (int round = 0; round < 4; round++) {
        for (int step = 0; step < 120; step++) {
            int i = (int)world_below(w, RACERS);
            if (world_below(w, 3) == 0)
                raw_window(racers[i].raw, world_below(w, 2) == 0 ? SIZE_MAX : world_below(w, 1500));
            move_at_random(&racers[i], i);
            if (world_below(w, 4) > 0)
                world_settle(w);
        }
        for (int i = 0; i < RACERS; i++)
            raw_window(racers[i].raw, SIZE_MAX);
        world_settle(w);
        for (int i = 0; i < RACERS; i++) {
            ck_assert(!raw_closed(racers[i].raw));
            view_update(racers[i].view, racers[i].raw);
        }
        compare_views(racers);
        if (round == 1) { /* one goes and another comes in its place */
            raw_close(racers[0].raw);
            racers[0].raw = player(w, "Newcomer", "");
            view_start(racers[0].view, racers[0].raw);
            for (int i = 1; i < RACERS; i++)
                view_update(racers[i].view, racers[i].raw);
            compare_views(racers);
        }
    }
    for (int i = 0; i < RACERS; i++)
        free(racers[i].view);
}
