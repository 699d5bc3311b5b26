/* Chat (PROTOCOL 3.4, 6): who hears what, in which order, with which tags; and
 * that a reader who stalls loses nothing but chat, and slows nobody.
 *
 * SPDX-License-Identifier: MIT */
#include "clients.h"

/* ---- Chat (3.4) --------------------------------------------------------- */

GROUP(chat, open_world, close_world, 0);

TEST_LOOP(chat, room_chat_reaches_all_in_the_room_and_its_sender, 0, 2)
{
    static const char *const rooms[] = {"East", ""};
    struct raw *ann = player(w, "Ann", rooms[_i]), *bob = player(w, "Bob", rooms[_i]);
    struct raw *cid = player(w, "Cid", "West");
    forget_all();
    say(ann, "mesg", "TEXT=hello\n");
    GOT(ann, "mesg +msg");
    SAYS(frame_at(ann, 0), "STATUS=1");
    SAYS(frame_at(ann, 1), "N=Ann\nFROM=Ann\nATTR=0\nRI=%d\nT=hello\nTEXT=hello", _i == 0 ? EAST : 0);
    GOT(bob, "+msg");
    SAYS(frame_at(bob, 0), "N=Ann\nFROM=Ann\nATTR=0\nRI=%d\nT=hello\nTEXT=hello", _i == 0 ? EAST : 0);
    GOT(cid, "");
}

TEST(chat, who_comes_and_speaks_at_once_is_listed_first)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "East");
    forget_all();
    raw_send(ann, "move", "NAME=East\nPASS=\n"); /* both in one segment */
    raw_send(ann, "mesg", "TEXT=hello\n");
    ck_assert_str_eq(frame_at(bob, 0)->kind, "+usr");
    ck_assert_uint_eq(frames_of(bob, "+msg", NULL), 1);
    ck_assert_uint_eq(frames_of(ann, "+msg", NULL), 1);
}

TEST_LOOP(chat, a_private_line_reaches_its_recipient_only, 0, 3)
{
    static const char *const payloads[] = {"TEXT=psst\nPRIV=Bob\n", "N=Bob\nTEXT=psst\n", "PRIV=bOB\nTEXT=psst\n"};
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "West");
    struct raw *cid = player(w, "Cid", "East"), *dan = player(w, "Dan", "West");
    forget_all();
    say(ann, "mesg", payloads[_i]);
    GOT(ann, "mesg");
    SAYS(frame_at(ann, 0), "STATUS=1");
    GOT(bob, "+msg");
    SAYS(frame_at(bob, 0), "F=P\nN=Ann\nFROM=Ann\nATTR=0\nRI=2\nT=psst\nTEXT=psst");
    GOT(cid, "");
    GOT(dan, "");
}

TEST_LOOP(chat, nobody_forges_letters_that_mean_something, 0, 16)
{
    static const struct {
        const char *sent, *room, *private_line;
    } letters[] = {
        {"", "", "P"},
        {"A", "A", "PA"},
        {"B", "", "P"},
        {"P", "", "P"},
        {"U", "", "P"},
        {"0", "", "P"},
        {"BPU", "", "P"},
        {"BPU0", "", "P"},
        {"A0", "A0", "PA0"},
        {"1", "1", "P1"},
        {"CZ@2", "CZ@2", "PCZ@2"},
        {"BAU1P", "A1", "PA1"},
        {"0B3", "", NULL},
        {"3", "", NULL},
        {"A3", "A", NULL},
        {"65536", "", "P"},
    };
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    char payload[128];
    forget_all();
    (void)snprintf(payload, sizeof payload, "TEXT=hi\nATTR=%s\n", letters[_i].sent);
    say(ann, "mesg", payload);
    GOT(bob, "+msg");
    const struct got *g = frame_at(bob, 0);
    ck_assert(got_has(g, "F") == (letters[_i].room[0] != '\0'));
    ck_assert_uint_eq(got_flags(g, "F"), console_read_flags(letters[_i].room));
    ck_assert_int_eq(got_number(g, "ATTR"), 0);
    ck_assert_str_eq(got_text(g, "T"), "hi");
    if (letters[_i].private_line == NULL)
        return; /* 3 with a recipient is a challenge */
    forget_all();
    (void)snprintf(payload, sizeof payload, "TEXT=hi\nPRIV=Bob\nATTR=%s\n", letters[_i].sent);
    say(ann, "mesg", payload);
    GOT(bob, "+msg");
    g = frame_at(bob, 0);
    ck_assert_uint_eq(got_flags(g, "F"), console_read_flags(letters[_i].private_line));
    ck_assert_int_eq(got_number(g, "ATTR"), 0);
}

TEST_LOOP(chat, a_line_to_nobody_or_to_oneself_is_refused, 0, 6)
{
    static const char *const names[] = {"Ann", "ann", "Nobody", "Gone", "East", "a-name-of-more-than-thirty-one-bytes"};
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    struct raw *gone = player(w, "Gone", "East");
    char payload[128];
    raw_close(gone);
    forget_all();
    (void)snprintf(payload, sizeof payload, "TEXT=hi\nPRIV=%s\n", names[_i]);
    say(ann, "mesg", payload);
    GOT(ann, "mesg");
    REFUSED(frame_at(ann, 0), "user", 102);
    GOT(bob, "");
}

TEST_LOOP(chat, a_line_may_have_255_characters, 0, 3)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    char text[400], payload[1400] = "TEXT=\"";
    size_t size = _i == 2 ? 300 : 255;
    for (size_t i = 0; i < size; i++) /* 1: each of them escaped, both ways */
        text[i] = (char)(unsigned char)(_i == 1 ? 0x80u + i % 0x80u : 'a' + i % 26);
    text[size] = '\0';
    for (size_t i = 0; i < size; i++)
        (void)snprintf(payload + strlen(payload), 4, "%%%02x", (unsigned)(unsigned char)text[i]);
    strcat(payload, "\"\n");
    forget_all();
    say(ann, "mesg", payload);
    SUCCEEDS(frame_at(ann, 0));
    GOT(bob, "+msg");
    text[255] = '\0'; /* what a console keeps of N and T */
    ck_assert_str_eq(got_text(frame_at(bob, 0), "T"), text);
    ck_assert_str_eq(got_text(frame_at(bob, 0), "TEXT"), text);
    ck_assert_str_eq(got_text(frame_at(ann, 1), "T"), text);
}

TEST_LOOP(chat, chat_without_text_is_refused, 0, 2)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    forget_all();
    say(ann, "mesg", _i == 0 ? "PRIV=Bob\n" : "ATTR=A\n");
    GOT(ann, "mesg");
    REFUSED(frame_at(ann, 0), "miss", 0);
    GOT(bob, "");
}

static const char *const hostile[] = {
    " N=x",
    "hi N=Server F=B",
    "F:B",
    "F:B N:Server T:gotcha",
    "a T=b",
    " TEXT=b FROM=c",
    "\"quoted\"",
    "\" N=x",
    "'quoted'",
    "' N=x",
    "it's",
    "100%",
    "%",
    "%%",
    "%41",
    "%00",
    "%0aN=x",
    "line\nN=x\nF=B",
    "tab\tF=B",
    "\nF=B\n",
    "\xe9\xff\x80",
    "\x7f\x01\x1f",
    "=",
    ":",
    "hi F:B",
    "hi F:P3 N:Server",
    "a RI:7",
    "RI=7 ATTR=3",
    "~",
    "a  b   c ",
    " ",
};

TEST_LOOP(chat, hostile_chat_is_shown_as_typed, 0, COUNT(hostile))
{
    struct console *ann = world_player(w, "Ann"), *bob = world_player(w, "Bob");
    struct console *cid = world_player(w, "Cid");
    console_move(ann, "East", "");
    console_move(bob, "East", "");
    world_settle(w);
    console_chat(ann, hostile[_i]);
    world_settle(w);
    ck_assert_uint_eq(console_saw(ann, "Ann", hostile[_i]), 1);
    ck_assert_uint_eq(console_saw(bob, "Ann", hostile[_i]), 1);
    ck_assert_uint_eq(bob->chat.at[0].flags, 0);
    console_tell(bob, "Cid", hostile[_i]);
    world_settle(w);
    ck_assert_uint_eq(console_saw(cid, "Bob", hostile[_i]), 1);
    ck_assert_uint_eq(cid->chat.at[0].flags, CONSOLE_FLAG('P'));
    ck_assert_uint_eq(ann->chat.count + bob->chat.count + cid->chat.count, 3);
}

TEST_LOOP(chat, hostile_status_texts_forge_nothing, 0, COUNT(hostile))
{
    struct console *ann = world_player(w, "Ann"), *bob = world_player(w, "Bob");
    console_move(ann, "East", "");
    console_move(bob, "East", "");
    console_status(ann, hostile[_i]);
    world_settle(w);
    ck_assert_uint_eq(bob->users.count, 2);
    const struct console_user *user = console_user(bob, "Ann");
    ck_assert_ptr_nonnull(user);
    ck_assert_str_eq(user->extra, hostile[_i]);
    ck_assert_uint_eq(user->flags, CONSOLE_FLAG('0'));
    ck_assert_int_eq(bob->room_population, 2);
    ck_assert_str_eq(console_user(ann, "Ann")->extra, hostile[_i]);
}

TEST(chat, who_ignores_the_sender_gets_nothing)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", ""), *cid = player(w, "Cid", "");
    set_ignored(bob, "Ann", true);
    go(ann, "East");
    go(bob, "East");
    go(cid, "East");
    forget_all();
    say(ann, "mesg", "TEXT=hello\n");
    GOT(ann, "mesg +msg");
    GOT(cid, "+msg");
    GOT(bob, "");
    forget_all();
    say(ann, "mesg", "TEXT=hello\nPRIV=Bob\n");
    GOT(ann, "mesg");
    SUCCEEDS(frame_at(ann, 0)); /* and is not told why */
    GOT(bob, "");
    say(bob, "mesg", "TEXT=hello\n");
    GOT(ann, "mesg +msg");
    say(bob, "mesg", "TEXT=hello\nPRIV=Ann\n");
    GOT(ann, "mesg +msg +msg");
    go(bob, "");
    set_ignored(bob, "Ann", false);
    go(bob, "East");
    forget_all();
    say(ann, "mesg", "TEXT=hello\n");
    GOT(bob, "+msg");
}

/* ---- Readers who fall behind (3.3, 3.4) --------------------------------- */

GROUP(readers_who_fall_behind, open_world, close_world, 60);

/* Whether the lines of a sender came whole and in order, those from `first`
 * to the last one; returns how many. */
static int lines_in_order(struct raw *r, const char *sender, int first)
{
    int next = first;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++) {
        const struct got *g = r->frames[i];
        int number = -1;
        if (strcmp(g->kind, "+msg") != 0 || strcmp(got_text(g, "N"), sender) != 0)
            continue;
        ck_assert_int_eq(sscanf(got_text(g, "T"), "line %d", &number), 1);
        ck_assert_int_eq(number, next);
        next++;
    }
    return next - first;
}

TEST(readers_who_fall_behind, bursts_reach_all_who_keep_up)
{
    struct raw *reader[24], *bob = player(w, "Bob", "East");
    struct raw *ann = player(w, "Ann", "East");
    char name[16];
    for (int i = 0; i < 24; i++) {
        (void)snprintf(name, sizeof name, "Racer%d", i);
        reader[i] = player(w, name, "East");
    }
    forget_all();
    uint64_t before_ms = w->mono_ms;
    send_lines(ann, 0, 64);
    send_lines(bob, 0, 64);
    for (int i = 0; i < 24; i++) {
        ck_assert_int_eq(lines_in_order(reader[i], "Ann", 0), 64);
        ck_assert_int_eq(lines_in_order(reader[i], "Bob", 0), 64);
    }
    ck_assert_int_eq(lines_in_order(ann, "Ann", 0), 64);
    ck_assert_uint_eq(frames_of(ann, "mesg", NULL), 64);
    ck_assert_uint_eq(frames_of(bob, "mesg", NULL), 64);
    ck_assert_uint_eq(w->mono_ms, before_ms); /* without waiting for anything */
}

TEST(readers_who_fall_behind, what_a_sender_says_behind_a_burst_is_not_lost)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    forget_all();
    for (int round = 0; round < 5; round++) {
        send_lines(ann, round * 100, 100);
        raw_send(ann, "peek", "NAME=East\n");
    }
    raw_send(ann, "move", "NAME=West\nPASS=\n");
    raw_send(ann, "mesg", "TEXT=west\n");
    ck_assert_int_eq(lines_in_order(bob, "Ann", 0), 500);
    ck_assert_uint_eq(frames_of(ann, "mesg", NULL), 501);
    ck_assert_uint_eq(frames_of(ann, "peek", NULL), 5);
    ck_assert_uint_eq(frames_of(ann, "move", NULL), 1);
    ck_assert_uint_eq(frames_of(bob, "+msg", NULL), 500);
    const struct got *last = NULL;
    ck_assert_uint_eq(frames_of(ann, "+msg", &last), 501);
    ck_assert_int_eq(got_number(last, "RI"), WEST);
    raw_forget(bob);
    send_lines(bob, 0, 100); /* and a burst whose sender hangs up behind it */
    raw_close(bob);
    ck_assert(raw_closed(bob));
}

/* A line to one reader waits for it like a line to a room. */
TEST(readers_who_fall_behind, private_bursts_lose_nothing)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "West");
    forget_all();
    char tail[101]; /* that takes three bytes for each, twice */
    memset(tail, 0xFF, 100);
    tail[100] = '\0';
    for (int i = 0; i < 300; i++) {
        char payload[200];
        (void)snprintf(payload, sizeof payload, "TEXT=\"line %d %s\"\nPRIV=Bob\n", i, tail);
        raw_send(ann, "mesg", payload);
    }
    ck_assert_int_eq(lines_in_order(bob, "Ann", 0), 300);
    ck_assert_uint_eq(frames_of(ann, "mesg", NULL), 300);
}

/* The announcement of how many lines were missed; 0 if there is none. */
static int missed_lines(struct raw *r)
{
    int missed = 0, told = 0;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++) {
        const struct got *g = r->frames[i];
        if (strcmp(g->kind, "+msg") != 0 || got_flags(g, "F") != CONSOLE_FLAG('B'))
            continue;
        const char *digits = strpbrk(got_text(g, "T"), "0123456789");
        ck_assert_ptr_nonnull(digits);
        missed += (int)strtol(digits, NULL, 10);
        told++;
    }
    ck_assert_int_le(told, 1);
    return missed;
}

TEST_LOOP(readers_who_fall_behind, a_stalled_reader_misses_chat_is_told_and_slows_nobody, 0, 3)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    struct raw *slow = player(w, "Slow", "East");
    forget_all();
    raw_window(slow, (size_t)_i * 500); /* and stalls there */
    send_lines(ann, 0, 200);
    ck_assert_int_eq(lines_in_order(bob, "Ann", 0), 200);
    ck_assert_int_eq(lines_in_order(ann, "Ann", 0), 200);
    ck_assert_uint_eq(frames_of(ann, "mesg", NULL), 200);
    ck_assert_uint_eq(w->mono_ms, 0);
    int seen = 0;
    raw_window(slow, SIZE_MAX);
    ck_assert_int_eq(missed_lines(bob), 0);
    seen = lines_in_order(slow, "Ann", 0); /* it misses the later ones, and none in between */
    ck_assert_int_lt(seen, 200);
    ck_assert_int_eq(missed_lines(slow), 200 - seen);
    raw_forget(slow);
    send_lines(ann, 200, 5); /* and now it keeps up again */
    ck_assert_int_eq(lines_in_order(slow, "Ann", 200), 5);
    ck_assert_int_eq(missed_lines(slow), 0);
    raw_forget(slow);
    raw_window(slow, 0); /* and if it stalls again, it is told of that only */
    send_lines(ann, 205, 100);
    world_settle(w);
    raw_window(slow, SIZE_MAX);
    seen = lines_in_order(slow, "Ann", 205);
    ck_assert_int_lt(seen, 100);
    ck_assert_int_eq(missed_lines(slow), 100 - seen);
}

TEST_LOOP(readers_who_fall_behind, a_stalled_readers_lists_end_true, 0, 3)
{
    struct raw *slow = player(w, "Slow", ""), *ann = player(w, "Ann", "");
    struct raw *bob = player(w, "Bob", "East"), *cid = player(w, "Cid", "");
    struct view *v = malloc(sizeof *v);
    view_start(v, slow);
    go(slow, "East");
    view_update(v, slow);
    raw_window(slow, (size_t)_i * 300);
    for (int i = 0; i < 20; i++) { /* merged: it could not hold them all */
        go(ann, "East");
        say(ann, "auxi", i % 2 == 0 ? "TEXT=even\n" : "TEXT=odd\n");
        say(cid, "room", "NAME=C.Cid\nPASS=\nDESC=None\nMAX=50\n");
        go(bob, "C.Cid");
        go(cid, "West");
        go(bob, i < 19 ? "East" : "C.Cid");
        for (int k = 0; k < 5; k++) {
            go(ann, "West");
            go(ann, "East");
        }
    }
    SUCCEEDS(raw_ask(cid, "room", "NAME=C.Last\nPASS=x\nDESC=None\nMAX=7\n"));
    raw_window(slow, SIZE_MAX);
    ck_assert_uint_lt(slow->count, 300); /* not each step */
    view_update(v, slow);
    ck_assert_int_eq(v->room, EAST);
    ck_assert_int_eq(v->population, 2);
    ck_assert_uint_eq(v->user_count, 2);
    ck_assert_ptr_nonnull(view_user(v, "Slow"));
    ck_assert_str_eq(view_user(v, "Ann")->extra, "odd");
    ck_assert_uint_eq(v->room_count, 6);
    ck_assert_int_eq(view_room(v, 1020)->population, 1);
    ck_assert_int_eq(view_room(v, 1021)->population, 1);
    ck_assert_int_eq(view_room(v, 1021)->limit, 7);
    ck_assert_int_eq(view_room(v, WEST)->population, 0);
    ck_assert_int_eq(v->hub, 0);
    free(v);
}

/* Two who are equally far behind may share a +pop, but not one from before. */
TEST(readers_who_fall_behind, a_room_that_went_is_in_no_later_pop)
{
    struct raw *slow[] = {player(w, "Slow1", "East"), player(w, "Slow2", "East")};
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "");
    struct raw *cid = player(w, "Cid", "");
    char payload[160];
    raw_window(slow[0], 0);
    raw_window(slow[1], 0);
    for (int i = 0; i < 80; i++) { /* until no more is written for them */
        (void)snprintf(payload, sizeof payload, "TEXT=%0100d\n", i);
        say(ann, "auxi", payload);
    }
    SUCCEEDS(raw_ask(cid, "room", "NAME=C.Cid\nPASS=\nDESC=None\nMAX=50\n"));
    go(bob, "West");
    forget_all();
    raw_window(slow[0], SIZE_MAX);
    ck_assert_int_eq(told_population(slow[0], 1001), 1);
    raw_close(cid);
    raw_window(slow[1], SIZE_MAX);
    ck_assert_int_eq(told_population(slow[1], WEST), 1);
    ck_assert_int_eq(told_population(slow[1], 1001), -1);
    const struct got *row = NULL;
    ck_assert_uint_eq(frames_of(slow[0], "+rom", &row), 2);
    SAYS(row, "I=1001");
}

/* ... and the same with a +usr: T is how many there are when it is told. Nobody
 * else is told of anything in between. */
TEST(readers_who_fall_behind, a_row_that_is_told_late_counts_those_who_are_there)
{
    struct raw *slow[] = {player(w, "Slow1", "East"), player(w, "Slow2", "East")};
    struct raw *ann = deaf_player("Ann"), *bob = deaf_player("Bob");
    char payload[160];
    go(ann, "East");
    go(bob, "East");
    raw_window(slow[0], 0);
    raw_window(slow[1], 0);
    for (int i = 0; i < 80; i++) { /* until no more is written for them */
        (void)snprintf(payload, sizeof payload, "TEXT=%0100d\n", i);
        say(ann, "auxi", payload);
    }
    say(ann, "auxi", "TEXT=last\n");
    raw_window(slow[0], SIZE_MAX);
    raw_window(slow[0], 0);
    for (int i = 0; i < 100; i++)
        raw_send(slow[0], "user", "PERS=Ann\n");
    raw_close(bob);
    raw_window(slow[1], SIZE_MAX);
    for (int k = 0; k < 2; k++) {
        const struct got *row = NULL;
        for (size_t i = 0; i < slow[k]->count; i++)
            if (strcmp(got_text(slow[k]->frames[i], "X"), "last") == 0)
                row = slow[k]->frames[i];
        ck_assert_ptr_nonnull(row);
        ck_assert_int_eq(got_number(row, "T"), 4 - k);
    }
}

TEST(readers_who_fall_behind, a_reader_stuck_for_30_s_is_closed)
{
    struct raw *slow = player(w, "Slow", "East"), *bob = player(w, "Bob", "East");
    int32_t ident = ident_of(slow);
    forget_all();
    raw_window(slow, 10);
    say(bob, "mesg", "TEXT=hello\n");
    raw_forget(bob);
    world_run(w, 29900);
    ck_assert(!raw_closed(slow));
    GOT(bob, "");
    world_run(w, 200);
    ck_assert(raw_closed(slow));
    GOT(bob, "+usr +pop");
    SAYS(frame_at(bob, 0), "I=%d\nT=1", (int)ident);
}

TEST(readers_who_fall_behind, a_reader_that_drains_in_time_is_kept)
{
    struct raw *slow = player(w, "Slow", "East"), *bob = player(w, "Bob", "East");
    for (int i = 0; i < 5; i++) {
        raw_window(slow, 10);
        say(bob, "mesg", "TEXT=hello\n");
        world_run(w, 25000);
        raw_window(slow, SIZE_MAX);
    }
    world_run(w, 60000);
    ck_assert(!raw_closed(slow));
}

/* One who comes and goes often must not use up what others need to move (a
 * leaver is remembered until the stalled reader has been told of it). */
TEST(readers_who_fall_behind, a_stalled_reader_keeps_nobody_out_of_a_room)
{
    struct raw *slow = player(w, "Slow", "East"), *ann = player(w, "Ann", "");
    w->options.no_check = true; /* there are many steps */
    raw_window(slow, 0);
    for (int i = 0; i < 1000; i++) {
        SUCCEEDS(raw_ask(ann, "move", i % 2 == 0 ? "NAME=East\nPASS=\n" : "NAME=\nPASS=\n"));
        raw_forget(ann);
    }
}

TEST(readers_who_fall_behind, a_stalled_reader_keeps_nobody_from_creating_rooms)
{
    struct raw *slow = player(w, "Slow", "East"), *ann = player(w, "Ann", "");
    w->options.no_check = true; /* there are many steps */
    raw_window(slow, 0);
    for (int i = 0; i < 150; i++) { /* never more than one of them at a time, of 32 */
        SUCCEEDS(raw_ask(ann, "room", "NAME=C.Ann\nPASS=\nDESC=None\nMAX=50\n"));
        go(ann, "");
        raw_forget(ann);
    }
}
