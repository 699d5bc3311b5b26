/* Challenges and races (PROTOCOL 5, 6, 8): every word of a challenge, who is
 * told of it, every way it ends, and what both consoles get to race with.
 *
 * SPDX-License-Identifier: MIT */
#include "clients.h"

/* ---- Words -------------------------------------------------------------- */

/* The three entries that lead to the same state machine (5). */
enum entry { BY_MESG, BY_PEEK, BY_TOKEN, ENTRIES };

/* A challenge; the reply is the only frame of its kind. Returns the token. */
static const char *offer(struct raw *from, const char *to, enum entry entry)
{
    char *token = lobby_text(), payload[512];
    (void)snprintf(token, 64, TOKEN);
    switch (entry) {
    case BY_PEEK:
        (void)snprintf(payload, sizeof payload, "NAME=%s\n", to);
        (void)raw_ask(from, "peek", payload);
        raw_forget(from);
        break;
    case BY_TOKEN: (void)snprintf(token, 64, "1234_5678_%s_%s", from->name, to); break;
    case BY_MESG:
    case ENTRIES:
        send_word(from, to, token);
        world_settle(w);
        return token;
    }
    (void)snprintf(payload, sizeof payload, "TEXT=%s\n", token);
    say(from, "auxi", payload);
    return token;
}

static const char *entry_kind(enum entry entry)
{
    return entry == BY_MESG ? "mesg" : "auxi";
}

/* How many words of challenges came; the last one in `last`. */
static size_t words(struct raw *r, const struct got **last)
{
    size_t count = 0;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->frames[i]->kind, "+msg") == 0 && (got_flags(r->frames[i], "F") & CONSOLE_FLAG('3')) != 0) {
            count++;
            if (last != NULL)
                *last = r->frames[i];
        }
    }
    return count;
}

/* Exactly one word came, this one from this player, with all its tags. */
#define TOLD(r, from, text, room) \
    do { \
        const struct got *told_word = NULL; \
        ck_assert_uint_eq(words(r, &told_word), 1); \
        SAYS(told_word, "F=P3\nN=%s\nFROM=%s\nATTR=3\nRI=%d\nT=%s\nTEXT=%s", (from)->name, (from)->name, room, text, \
             text); \
    } while (0)

/* What the last +usr of that player said: F as flags; 0 if none came. */
static uint32_t shown(struct raw *r, const struct raw *of)
{
    uint32_t flags = 0;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "+usr") == 0 && got_has(r->frames[i], "N") &&
            strcmp(got_text(r->frames[i], "N"), of->name) == 0)
            flags = got_flags(r->frames[i], "F");
    return flags;
}

#define SHOWN_FREE CONSOLE_FLAG('0')
#define SHOWN_BUSY CONSOLE_FLAG('1')
#define SHOWN_OWN CONSOLE_FLAG('U')
#define NOT_SHOWN 0u

/* The last reply of a kind. */
static const struct got *reply_to(struct raw *r, const char *kind)
{
    const struct got *g = NULL;
    ck_assert_uint_ge(frames_of(r, kind, &g), 1);
    return g;
}

static struct raw *ann, *bob, *cid, *dan; /* Ann challenges Bob; the others look on */

/* Ann and Cid in one room, Bob and Dan in another or the same. */
static void take_places(const char *anns, const char *bobs)
{
    ann = player(w, "Ann", anns);
    bob = player(w, "Bob", bobs);
    cid = player(w, "Cid", anns);
    dan = player(w, "Dan", bobs);
    forget_all();
}

static void accept_offer(enum entry entry)
{
    (void)offer(ann, "Bob", entry);
    word(bob, ann, "ACPT");
    forget_all();
}

static void race(void)
{
    accept_offer(BY_MESG);
    chal(ann, "Bob", 1);
    chal(bob, "Ann", 0);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL), 1);
    forget_all();
}

/* Neither is in a challenge: late words fail, and each can be challenged. */
static void expect_both_free(void)
{
    forget_all();
    if (!raw_closed(ann) && !raw_closed(bob)) {
        word(ann, bob, "DECL");
        REFUSED(reply_to(ann, "mesg"), "time", 104);
        word(bob, ann, "ACPT");
        REFUSED(reply_to(bob, "mesg"), "time", 104);
        ck_assert_uint_eq(words(ann, NULL), 0);
        ck_assert_uint_le(words(bob, NULL), 1); /* if he has ended it himself, that it is over */
        forget_all();
    }
    struct raw *free_one[] = {ann, bob};
    for (size_t i = 0; i < 2; i++) {
        if (raw_closed(free_one[i]))
            continue;
        (void)offer(cid, free_one[i]->name, BY_MESG);
        SUCCEEDS(reply_to(cid, "mesg"));
        word(free_one[i], cid, "ACPT");
        SUCCEEDS(reply_to(free_one[i], "mesg"));
        word(cid, free_one[i], "DECL");
        forget_all();
    }
}

/* ---- The offer ---------------------------------------------------------- */

GROUP(offers, open_world, close_world, 0);

TEST_LOOP(offers, an_offer_in_one_room_shows_the_challenger_first, 0, ENTRIES)
{
    enum entry entry = (enum entry)_i;
    take_places("East", "East");
    const char *token = offer(ann, "Bob", entry);
    ck_assert_str_eq(kinds(ann), _i == BY_MESG ? "mesg +usr" : "auxi +usr");
    SUCCEEDS(frame_at(ann, 0));
    SAYS(frame_at(ann, 1), "I=*\nF=U1\nA=*\nT=4\nR=*\nN=Ann\nS=*\nX=");
    ck_assert_uint_eq(words(bob, NULL), 1);
    ck_assert_str_eq(frame_at(bob, 1)->kind, "+msg"); /* the list's own row may follow */
    SAYS(frame_at(bob, 0), "I=*\nF=1\nA=%s\nT=4\nR=*\nN=Ann\nS=*\nX=", dotted(ann->ip));
    SAYS(frame_at(bob, 1), "F=P3\nN=Ann\nFROM=Ann\nATTR=3\nRI=1\nT=%s\nTEXT=%s", token, token);
    GOT(cid, "+usr");
    SAYS(frame_at(cid, 0), "I=*\nF=1\nA=*\nT=4\nR=*\nN=Ann\nS=*\nX=");
}

TEST_LOOP(offers, a_challenger_from_elsewhere_is_introduced, 0, 4 * ENTRIES)
{
    static const char *const rooms[][2] = {{"East", "West"}, {"", "West"}, {"East", ""}, {"", ""}};
    enum entry entry = (enum entry)(_i % ENTRIES);
    int at = _i / ENTRIES;
    take_places(rooms[at][0], rooms[at][1]);
    int room = strcmp(rooms[at][1], "West") == 0 ? WEST : 0;
    int32_t ident = ident_of(ann);
    const char *token = offer(ann, "Bob", entry);
    GOT(bob, "+usr +msg");
    SAYS(frame_at(bob, 0), "I=%d\nF=1\nA=%s\nT=%d\nR=*\nN=Ann\nS=*\nX=*", (int)ident, dotted(ann->ip), at == 3 ? 4 : 2);
    SAYS(frame_at(bob, 1), "F=P3\nN=Ann\nFROM=Ann\nATTR=3\nRI=%d\nT=%s\nTEXT=%s", room, token, token);
    GOT(dan, "");
    GOT(cid, rooms[at][0][0] != '\0' ? "+usr" : "");
    forget_all();
    word(bob, ann, "DECL"); /* and is deleted when the challenge ends */
    const struct got *last = NULL;
    ck_assert_uint_eq(frames_of(bob, "+usr", &last), 1);
    SAYS(last, "I=%d\nT=%d", (int)ident, at == 3 ? 4 : 2);
    ck_assert_uint_eq(shown(ann, ann), SHOWN_FREE | SHOWN_OWN);
}

TEST_LOOP(offers, a_console_takes_an_offer_from_elsewhere, 0, 4)
{
    struct console *one = world_player(w, "One"), *two = world_player(w, "Two");
    one->habits.peeks = _i % 2 == 1;
    console_move(two, _i < 2 ? "West" : "", "");
    console_move(one, "East", "");
    world_settle(w);
    ck_assert(console_challenge_player(one, "Two", NULL));
    world_settle(w);
    ck_assert_int_eq(two->challenge, CONSOLE_RECEIVED);
    ck_assert_uint_eq(two->blocked, 0);
    ck_assert_str_eq(two->token, one->token);
    console_answer(two, "ACPT");
    world_settle(w);
    ck_assert_int_eq(one->challenge, CONSOLE_RACING);
    ck_assert_int_eq(two->challenge, CONSOLE_RACING);
    ck_assert_uint_eq(one->plays + two->plays, 2);
}

TEST_LOOP(offers, a_token_comes_byte_for_byte, 0, 6)
{
    char token[160], payload[512] = "TEXT=\"";
    size_t size = _i < 3 ? 127 : 94;
    take_places("East", "West");
    for (size_t i = 0; i < size; i++) /* every byte that it may have: = : % " and ' among them */
        token[i] = (char)(_i % 3 == 0 ? 'a' + (int)(i % 26) : 0x21 + (int)((i + 6) % 94));
    token[size] = '\0';
    if (_i % 3 == 2)
        SUCCEEDS(raw_ask(ann, "peek", "NAME=Bob\n"));
    for (size_t i = 0; i < size; i++)
        (void)snprintf(payload + strlen(payload), 4, "%%%02x", (unsigned)token[i]);
    strcat(payload, _i % 3 == 2 ? "\"\n" : "\"\nPRIV=Bob\nATTR=3\n");
    say(ann, _i % 3 == 2 ? "auxi" : "mesg", payload);
    const struct got *g = NULL;
    ck_assert_uint_eq(words(bob, &g), 1);
    ck_assert_str_eq(got_text(g, "T"), token);
    ck_assert_str_eq(got_text(g, "TEXT"), token);
    if (_i % 3 == 0) /* the game's own need no escape */
        ck_assert_str_eq(got_raw(g, "T"), token);
}

TEST_LOOP(offers, a_bad_token_is_refused, 0, 9 * ENTRIES)
{
    static const char *const bad[] = {"\"a b\"", "%01", "a%09b", "a%0ab", "%7f", "%80", "a%ff", "a%20", NULL};
    char payload[512], text[160];
    enum entry entry = (enum entry)(_i % ENTRIES);
    int at = _i / ENTRIES;
    take_places("East", "East");
    if (bad[at] != NULL) {
        (void)snprintf(text, sizeof text, "%s", bad[at]);
    } else {
        memset(text, 'x', 128);
        text[128] = '\0';
    }
    if (entry == BY_PEEK) {
        SUCCEEDS(raw_ask(ann, "peek", "NAME=Bob\n"));
    } else if (entry == BY_TOKEN) {
        size_t size = strlen(text);
        (void)snprintf(text + (bad[at] == NULL ? 120 : size - (text[0] == '"')), 16, "_Ann_Bob%s",
                       text[0] == '"' ? "\"" : "");
    }
    forget_all();
    (void)snprintf(payload, sizeof payload, "TEXT=%s\n%s", text, entry == BY_MESG ? "PRIV=Bob\nATTR=3\n" : "");
    say(ann, entry_kind(entry), payload);
    REFUSED(frame_at(ann, 0), "tokn", 106);
    ck_assert_uint_eq(ann->count, 2);
    TOLD(ann, bob, "DECL", EAST); /* the console ignores the code and stays pending */
    GOT(bob, "");
    GOT(cid, "");
}

TEST_LOOP(offers, a_challenge_to_nobody_is_refused, 0, 6)
{
    static const char *const names[] = {"Nobody", "Gone", "Ann"};
    enum entry entry = _i < 3 ? BY_MESG : BY_TOKEN;
    const char *name = names[_i % 3];
    take_places("East", "East");
    raw_close(player(w, "Gone", ""));
    forget_all();
    (void)offer(ann, name, entry);
    if (entry == BY_TOKEN) { /* names nobody who is online: it is but a text */
        SUCCEEDS(frame_at(ann, 0));
        GOT(ann, "auxi +usr");
        ck_assert_uint_eq(words(bob, NULL), 0);
        return;
    }
    GOT(ann, "mesg +msg"); /* and not busy */
    REFUSED(frame_at(ann, 0), "user", 102);
    SAYS(frame_at(ann, 1), "F=P3\nN=%s\nFROM=%s\nATTR=3\nRI=1\nT=DECL\nTEXT=DECL", name, name);
    GOT(cid, "");
}

/* Ann's next text is her own X. */
#define OWN_TEXT(text) \
    do { \
        forget_all(); \
        say(ann, "auxi", "TEXT=\"" text "\"\n"); \
        SUCCEEDS(reply_to(ann, "auxi")); \
        ck_assert_uint_eq(words(bob, NULL) + words(ann, NULL), 0); \
        ck_assert_str_eq(got_text(last_row(cid, ann), "X"), text); \
    } while (0)

static const struct got *last_row(struct raw *r, const struct raw *of)
{
    const struct got *last = NULL;
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "+usr") == 0 && strcmp(got_text(r->frames[i], "N"), of->name) == 0)
            last = r->frames[i];
    ck_assert_ptr_nonnull(last);
    return last;
}

TEST(offers, a_peeked_player_who_has_gone_is_not_challenged)
{
    take_places("East", "East");
    SUCCEEDS(raw_ask(ann, "peek", "NAME=Bob\n"));
    raw_close(bob);
    forget_all();
    say(ann, "auxi", "TEXT=" TOKEN "\n");
    GOT(ann, "auxi +msg"); /* and it is not busy */
    REFUSED(frame_at(ann, 0), "user", 102);
    SAYS(frame_at(ann, 1), "F=P3\nN=Bob\nFROM=Bob\nATTR=3\nRI=1\nT=DECL\nTEXT=DECL");
    GOT(cid, "");
    OWN_TEXT("car 5"); /* the peek is forgotten */
}

/* A peek is forgotten by whatever `auxi` was answered, so that nobody is challenged by a
 * status text. */
/* ... and for none behind a `move` or `room`, whatever becomes of that. */
TEST_LOOP(offers, a_peek_is_forgotten_by_every_move, 0, 4)
{
    static const char *const moves[][2] = {{"move", "NAME=East\nPASS=\n"},
                                           {"move", "NAME=Nope\nPASS=\n"},
                                           {"room", "NAME=East\n"},
                                           {"room", "NAME=\n"}};
    take_places("East", "East");
    SUCCEEDS(raw_ask(ann, "peek", "NAME=Bob\n"));
    (void)raw_ask(ann, moves[_i][0], moves[_i][1]);
    forget_all();
    SUCCEEDS(raw_ask(ann, "auxi", "TEXT=hello\n"));
    world_settle(w);
    ck_assert_uint_eq(frames_of(bob, "+msg", NULL), 0);
}

TEST_LOOP(offers, a_peek_is_good_for_one_auxi, 0, 7)
{
    take_places("East", "East");
    if (_i == 0) { /* the target is busy */
        (void)offer(dan, "Bob", BY_MESG);
        world_settle(w);
    } else if (_i == 1) { /* it ignores her */
        SUCCEEDS(change_list(buddy_of(bob), "RADD", "I", "Ann"));
        go(bob, "East");
    }
    SUCCEEDS(raw_ask(ann, "peek", "NAME=Bob\n"));
    forget_all();
    const char *text = _i == 2 ? "TEXT=no token\n" : _i == 3 ? "TEXT=\n" : _i == 4 ? "" : "TEXT=" TOKEN "\n";
    if (_i == 5)
        text = "TEXT=ACPT\n";
    say(ann, "auxi", text);
    static const char *const codes[] = {"ingm", "", "tokn", "", "miss", "time", ""};
    ck_assert_str_eq(got_code(reply_to(ann, "auxi")), codes[_i]);
    if (_i == 1)
        TOLD(ann, bob, "BLOC", EAST);
    forget_all();
    if (_i == 6)
        word(ann, bob, "DECL");
    OWN_TEXT("car 5");
}

/* Whoever peeked at another since, who is not there, means nobody. */
TEST_LOOP(offers, only_the_last_peek_counts, 0, 2)
{
    static const char *const others[] = {"NAME=Nobody\n", "NAME=East\n"};
    take_places("East", "East");
    SUCCEEDS(raw_ask(ann, "peek", "NAME=Bob\n"));
    (void)raw_ask(ann, "peek", others[_i]);
    forget_all();
    say(ann, "auxi", "TEXT=" TOKEN "\n");
    GOT(ann, "auxi +usr");
    ck_assert_str_eq(got_text(frame_at(ann, 1), "X"), TOKEN);
    ck_assert_uint_eq(words(bob, NULL), 0);
}

TEST_LOOP(offers, who_has_moved_since_its_peek_challenges_nobody, 0, 3)
{
    take_places("East", "East");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Anna\n"));
    SUCCEEDS(raw_ask(ann, "peek", "NAME=Bob\n"));
    if (_i == 0)
        SUCCEEDS(raw_ask(ann, "move", "NAME=West\nPASS=\n"));
    else
        SUCCEEDS(raw_ask(ann, "pers", _i == 1 ? "PERS=Anna\n" : "PERS=Ann\n"));
    forget_all();
    say(ann, "auxi", "TEXT=" TOKEN "\n");
    SAYS(reply_to(ann, "auxi"), "TEXT=" TOKEN "\nSTATUS=1");
    ck_assert_uint_eq(words(bob, NULL), 0);
}

TEST_LOOP(offers, only_a_token_of_ones_own_challenges, 0, 7)
{
    static const char *const texts[] = {
        "1_2_Cid_Bob", "1_2_AnnBob", "1_2_Ann_Bo", "Ann_Bob_1", "Ann_Bob", "1_2_xAnn_Bob", ""};
    char payload[64];
    take_places("East", "East");
    (void)snprintf(payload, sizeof payload, "TEXT=%s\n", texts[_i]);
    say(ann, "auxi", payload);
    GOT(ann, "auxi +usr");
    SAYS(frame_at(ann, 0), "TEXT=%s\nSTATUS=1", texts[_i]);
    ck_assert_uint_eq(shown(cid, ann), SHOWN_FREE);
    ck_assert_uint_eq(words(bob, NULL), 0);
}

TEST(offers, names_with_underscores_are_found_in_a_token)
{
    struct raw *one = player(w, "A_b", ""), *two = player(w, "_c_d", "");
    forget_all();
    say(one, "auxi", "TEXT=12_A_b__c_d\n");
    TOLD(two, one, "12_A_b__c_d", 0);
}

TEST_LOOP(offers, an_ignored_challenger_gets_bloc, 0, ENTRIES)
{
    enum entry entry = (enum entry)_i;
    ann = player(w, "Ann", "");
    bob = player(w, "Bob", "");
    cid = player(w, "Cid", "East");
    set_ignored(bob, "Ann", true);
    go(ann, "East");
    go(bob, "East");
    forget_all();
    (void)offer(ann, "Bob", entry);
    SUCCEEDS(frame_at(ann, 0));
    TOLD(ann, bob, "BLOC", EAST);
    ck_assert_uint_eq(ann->count, 2);
    GOT(bob, "");
    GOT(cid, "");
    forget_all();
    (void)offer(cid, "Bob", BY_MESG); /* who is not busy with that */
    SUCCEEDS(frame_at(cid, 0));
    forget_all();
    word(bob, cid, "DECL");
    (void)offer(bob, "Ann", BY_MESG); /* the other way it works */
    ck_assert_uint_eq(words(ann, NULL), 1);
    word(ann, bob, "ACPT");
    forget_all();
    word(bob, ann, "DECL");
    TOLD(ann, bob, "DECL", EAST);
}

/* ---- Who is busy (6: 105) ----------------------------------------------- */

GROUP(who_is_busy, open_world, close_world, 0);

TEST_LOOP(who_is_busy, a_busy_target_is_refused, 0, 6 * ENTRIES)
{
    enum entry entry = (enum entry)(_i % ENTRIES);
    take_places("East", "West");
    const char *target = "Bob";
    switch (_i / ENTRIES) {
    case 0: /* has received an offer */ (void)offer(ann, "Bob", BY_MESG); break;
    case 1: /* has made one */
        (void)offer(ann, "Bob", BY_MESG);
        target = "Ann";
        break;
    case 2: /* has accepted */ accept_offer(BY_MESG); break;
    case 3: /* was accepted */
        accept_offer(BY_MESG);
        target = "Ann";
        break;
    case 4: /* races */ race(); break;
    default: /* and still does, though the other is back */
        race();
        go(ann, "");
        world_run(w, 40000);
        break;
    }
    forget_all();
    (void)offer(dan, target, entry);
    GOT(dan, entry == BY_MESG ? "mesg +msg" : "auxi +msg");
    REFUSED(frame_at(dan, 0), "ingm", 105);
    SAYS(frame_at(dan, 1), "F=P3\nN=%s\nFROM=%s\nATTR=3\nRI=2\nT=DECL\nTEXT=DECL", target, target);
    GOT(ann, "");
    GOT(bob, "");
}

TEST_LOOP(who_is_busy, a_busy_player_challenges_nobody, 0, 5 * ENTRIES)
{
    enum entry entry = (enum entry)(_i % ENTRIES);
    struct raw *busy = NULL;
    take_places("East", "West");
    switch (_i / ENTRIES) {
    case 0:
        (void)offer(ann, "Bob", BY_MESG);
        busy = bob;
        break;
    case 1:
        accept_offer(BY_MESG);
        busy = bob;
        break;
    case 2:
        accept_offer(BY_MESG);
        busy = ann;
        break;
    case 3:
        race();
        busy = ann;
        break;
    default:
        race();
        busy = bob;
        break;
    }
    forget_all();
    (void)offer(busy, "Cid", entry);
    REFUSED(frame_at(busy, 0), "ingm", 105);
    TOLD(busy, cid, "DECL", busy == ann ? EAST : WEST);
    GOT(cid, "");
    GOT(busy == ann ? bob : ann, "");
    if (_i / ENTRIES == 0) { /* and the offer it has received stands */
        word(bob, ann, "ACPT");
        TOLD(ann, bob, "ACPT", EAST);
    }
}

TEST_LOOP(who_is_busy, of_crossing_offers_the_first_stands, 0, ENTRIES)
{
    enum entry entry = (enum entry)_i;
    take_places("East", "West");
    if (entry == BY_PEEK)
        SUCCEEDS(raw_ask(bob, "peek", "NAME=Ann\n"));
    forget_all();
    send_word(ann, "Bob", TOKEN); /* both on their way at once */
    raw_send(bob, entry_kind(entry),
             entry == BY_MESG   ? "PRIV=Ann\nTEXT=other\nATTR=3\n"
             : entry == BY_PEEK ? "TEXT=other\n"
                                : "TEXT=1_2_Bob_Ann\n");
    world_settle(w);
    const struct got *g = NULL;
    SUCCEEDS(reply_to(ann, "mesg"));
    REFUSED(reply_to(bob, entry_kind(entry)), "ingm", 105);
    ck_assert_uint_eq(words(ann, NULL), 0);
    ck_assert_uint_eq(words(bob, &g), 2); /* the offer, and DECL to its own */
    forget_all();
    word(bob, ann, "ACPT");
    TOLD(ann, bob, "ACPT", EAST);
}

TEST_LOOP(who_is_busy, a_new_offer_retires_the_old_one, 0, ENTRIES)
{
    enum entry entry = (enum entry)_i;
    take_places("East", "West");
    (void)offer(ann, "Bob", BY_MESG);
    forget_all();
    const char *token = offer(ann, "Dan", entry);
    SUCCEEDS(reply_to(ann, entry_kind(entry)));
    TOLD(bob, ann, "DECL", WEST);
    TOLD(dan, ann, token, WEST);
    ck_assert_uint_eq(shown(cid, ann), SHOWN_BUSY);
    ck_assert_uint_eq(shown(ann, ann), SHOWN_BUSY | SHOWN_OWN);
    forget_all();
    word(bob, ann, "ACPT");
    REFUSED(reply_to(bob, "mesg"), "time", 104);
    ck_assert_uint_eq(words(ann, NULL) + words(bob, NULL), 0);
    (void)offer(cid, "Bob", BY_MESG); /* who is free */
    SUCCEEDS(reply_to(cid, "mesg"));
    word(dan, ann, "ACPT");
    TOLD(ann, dan, "ACPT", EAST);
}

TEST(who_is_busy, a_new_offer_to_the_same_player_takes_the_place_of_the_old)
{
    take_places("East", "West");
    (void)offer(ann, "Bob", BY_MESG);
    forget_all();
    word(ann, bob, "second_token_g");
    SUCCEEDS(reply_to(ann, "mesg"));
    const struct got *last = NULL;
    ck_assert_uint_eq(words(bob, &last), 2);
    ck_assert_str_eq(got_text(last, "T"), "second_token_g");
    forget_all();
    word(bob, ann, "ACPT");
    TOLD(ann, bob, "ACPT", EAST);
    SUCCEEDS(reply_to(bob, "mesg"));
}

/* ---- The answer --------------------------------------------------------- */

GROUP(answers, open_world, close_world, 0);

TEST_LOOP(answers, an_acceptance_is_relayed_once_and_makes_both_busy, 0, 4)
{
    static const char *const rooms[][2] = {{"East", "East"}, {"East", "West"}};
    static const char *const accepts[] = {"ACPT", "ACPTxyz"}; /* the first four letters count, and are relayed */
    take_places(rooms[_i % 2][0], rooms[_i % 2][1]);
    const char *accept = accepts[_i / 2];
    (void)offer(ann, "Bob", BY_MESG);
    ck_assert_uint_eq(shown(dan, bob), NOT_SHOWN); /* not before its ACPT */
    forget_all();
    word(bob, ann, accept);
    SAYS(frame_at(bob, 0), "STATUS=1");
    ck_assert_uint_eq(shown(bob, bob), SHOWN_BUSY | SHOWN_OWN);
    ck_assert_uint_eq(shown(dan, bob), SHOWN_BUSY);
    ck_assert_uint_eq(shown(cid, bob), _i % 2 == 0 ? SHOWN_BUSY : NOT_SHOWN);
    TOLD(ann, bob, "ACPT", EAST);
    ck_assert_uint_eq(words(bob, NULL), 0);
    forget_all();
    word(bob, ann, "ACPT");
    REFUSED(reply_to(bob, "mesg"), "time", 104);
    GOT(ann, "");
    word(ann, bob, "ACPT"); /* nor from the challenger */
    REFUSED(reply_to(ann, "mesg"), "time", 104);
    ck_assert_uint_eq(words(bob, NULL), 0);
    chal(ann, "Bob", 1); /* and it goes on */
    chal(bob, "Ann", 0);
    ck_assert_uint_eq(frames_of(bob, "+ses", NULL), 1);
}

TEST_LOOP(answers, an_answer_by_auxi_counts_too, 0, 2)
{
    take_places("East", "West");
    (void)offer(ann, "Bob", BY_PEEK);
    SUCCEEDS(raw_ask(bob, "peek", "NAME=Ann\n"));
    forget_all();
    say(bob, "auxi", _i == 0 ? "TEXT=ACPT\n" : "TEXT=DECL\n");
    SUCCEEDS(reply_to(bob, "auxi"));
    TOLD(ann, bob, _i == 0 ? "ACPT" : "DECL", EAST);
    ck_assert_uint_eq(shown(dan, bob), _i == 0 ? SHOWN_BUSY : NOT_SHOWN);
}

/* The first four letters of an answer count, and nobody waits because of the rest. */
TEST_LOOP(answers, an_answer_with_more_than_its_word_is_one, 0, 6)
{
    static const char *const texts[] = {"DECL sorry", "BLOCked", "ACPT, of course", "DECL\"x", "DECL%0anext", "DECL="};
    char payload[128];
    take_places("East", "West");
    (void)offer(ann, "Bob", BY_MESG);
    forget_all();
    (void)snprintf(payload, sizeof payload, "PRIV=Ann\nTEXT=%s\nATTR=3\n", texts[_i]);
    say(bob, "mesg", payload);
    SUCCEEDS(reply_to(bob, "mesg"));
    char first[5];
    (void)snprintf(first, sizeof first, "%.4s", texts[_i]);
    TOLD(ann, bob, first, EAST);
    if (_i == 2)
        word(bob, ann, "DECL");
    expect_both_free();
}

TEST(answers, the_challenger_does_not_accept_its_own_offer)
{
    take_places("East", "West");
    (void)offer(ann, "Bob", BY_MESG);
    forget_all();
    word(ann, bob, "ACPT");
    REFUSED(reply_to(ann, "mesg"), "time", 104);
    GOT(bob, "");
    word(bob, ann, "ACPT");
    TOLD(ann, bob, "ACPT", EAST);
}

/* Ann takes an offer back while Bob refuses it and makes one of his own. Her word reaches
 * the server as one to his offer, as words have no numbers: it is over, her console shows
 * it, and nobody has told her. When she accepts it she must not wait for a race. */
TEST_LOOP(answers, who_accepts_what_its_own_late_word_has_ended_does_not_wait, 0, 3)
{
    take_places("East", "West");
    (void)offer(ann, "Bob", BY_MESG);
    word(bob, ann, "DECL");
    (void)offer(bob, "Ann", BY_MESG);
    forget_all();
    word(ann, bob, "DECL"); /* sent before she had read Bob's words */
    SUCCEEDS(reply_to(ann, "mesg"));
    TOLD(bob, ann, "DECL", WEST);
    ck_assert_uint_eq(words(ann, NULL), 0);
    if (_i == 1)
        raw_close(bob);
    else if (_i == 2)
        (void)offer(dan, "Ann", BY_MESG); /* her console does not show that one */
    forget_all();
    word(ann, bob, "ACPT");
    REFUSED(reply_to(ann, "mesg"), "time", 104);
    TOLD(ann, bob, "DECL", EAST);
    forget_all();
    if (_i == 2)
        word(dan, ann, "DECL");
    (void)offer(cid, "Ann", BY_MESG); /* and she can be challenged */
    SUCCEEDS(reply_to(cid, "mesg"));
    word(ann, cid, "ACPT");
    TOLD(cid, ann, "ACPT", EAST);
}

/* A challenge that is refused for its token ends the open one, too, as any refused one. */
TEST(answers, a_bad_token_leaves_no_offer_behind)
{
    take_places("East", "West");
    (void)offer(ann, "Bob", BY_MESG);
    forget_all();
    word(ann, bob, "bad token");
    REFUSED(reply_to(ann, "mesg"), "tokn", 106);
    TOLD(ann, bob, "DECL", EAST);
    TOLD(bob, ann, "DECL", WEST);
    expect_both_free();
}

/* Who was told that it is over is not told twice: he may have made an offer of his own
 * meanwhile, which is not refused. */
TEST_LOOP(answers, a_late_acceptance_does_not_harm_the_next_offer, 0, 2)
{
    take_places("East", "West");
    if (_i == 1) { /* what he refused before is over */
        (void)offer(ann, "Bob", BY_MESG);
        word(bob, ann, "DECL");
    }
    (void)offer(ann, "Bob", BY_MESG);
    word(ann, bob, "DECL");
    forget_all();
    word(bob, ann, "ACPT"); /* sent before he had read that */
    REFUSED(reply_to(bob, "mesg"), "time", 104);
    (void)offer(bob, "Ann", BY_MESG);
    SUCCEEDS(reply_to(bob, "mesg"));
    ck_assert_uint_eq(words(bob, NULL), 0);
    forget_all();
    word(ann, bob, "ACPT");
    TOLD(bob, ann, "ACPT", WEST);
}

TEST_LOOP(answers, no_word_of_ones_own_comes_back, 0, 3)
{
    static const char *const answers[] = {"ACPT", "DECL", "BLOC"};
    take_places("East", "West");
    accept_offer(BY_MESG);
    word(bob, bob, answers[_i]);
    REFUSED(reply_to(bob, "mesg"), "user", 102);
    ck_assert_uint_eq(words(ann, NULL) + words(bob, NULL), 0);
    chal(ann, "Bob", 1); /* and it goes on */
    chal(bob, "Ann", 0);
    ck_assert_uint_eq(frames_of(bob, "+ses", NULL), 1);
}

TEST_LOOP(answers, an_answer_to_no_challenge_is_refused_and_relayed_to_nobody, 0, 3)
{
    static const char *const answers[] = {"ACPT", "DECL", "BLOC"};
    take_places("East", "East");
    word(ann, bob, answers[_i]);
    REFUSED(reply_to(ann, "mesg"), "time", 104);
    GOT(bob, "");
    (void)offer(ann, "Bob", BY_MESG);
    forget_all();
    word(cid, ann, answers[_i]); /* nor of a third */
    REFUSED(reply_to(cid, "mesg"), "time", 104);
    word(cid, bob, answers[_i]);
    REFUSED(reply_to(cid, "mesg"), "time", 104);
    word(bob, cid, answers[_i]); /* nor to a third */
    REFUSED(reply_to(bob, "mesg"), "time", 104);
    ck_assert_uint_eq(words(ann, NULL) + words(bob, NULL) + words(cid, NULL), 0);
    forget_all();
    word(bob, ann, "ACPT");
    TOLD(ann, bob, "ACPT", EAST);
}

/* ---- The end of a challenge --------------------------------------------- */

GROUP(ends, open_world, close_world, 0);

static const struct ending {
    const char *by; /* a word, or what the player does */
    const char *told;
} endings[] = {
    {"DECL", "DECL"},    {"BLOC", "BLOC"}, {"DECLINED", "DECL"},   {"DECL sorry", "DECL"}, {"BLOC=\x01", "BLOC"},
    {"hang up", "DECL"}, {"move", "DECL"}, {"to the hub", "DECL"}, {"room", "DECL"},       {"pers", "DECL"},
};
#define ENDINGS ((int)(sizeof endings / sizeof endings[0]))

/* One test for each: who ends it, by what, before or after ACPT, in one room
 * or two, by which entry it began. */
TEST_LOOP(ends, a_challenge_ends_whoever_goes_and_however, 0, ENDINGS * 8)
{
    int at = _i;
    const struct ending *ending = &endings[at % ENDINGS];
    at /= ENDINGS;
    bool by_challenger = at % 2 == 0, accepted = at / 2 % 2 == 1, same_room = at / 4 % 2 == 1;
    take_places("East", same_room ? "East" : "West");
    struct raw *ender = by_challenger ? ann : bob, *other = by_challenger ? bob : ann;
    int ann_ident = (int)ident_of(ann);
    (void)offer(ann, "Bob", (enum entry)(_i % ENTRIES));
    if (accepted)
        word(bob, ann, "ACPT");
    forget_all();
    if (strcmp(ending->by, "hang up") == 0) {
        raw_close(ender);
    } else if (strcmp(ending->by, "move") == 0) {
        go(ender, "Beginner");
    } else if (strcmp(ending->by, "to the hub") == 0) {
        go(ender, "");
    } else if (strcmp(ending->by, "room") == 0) {
        SUCCEEDS(raw_ask(ender, "room", "NAME=C.New\nPASS=\nDESC=None\nMAX=50\n"));
    } else if (strcmp(ending->by, "pers") == 0) {
        SUCCEEDS(raw_ask(ender, "pers", by_challenger ? "PERS=Ann\n" : "PERS=Bob\n"));
    } else {
        word(ender, other, ending->by);
        SUCCEEDS(reply_to(ender, "mesg"));
    }
    bool gone = ending->by[0] >= 'a';
    TOLD(other, ender, ending->told, other == ann || same_room ? EAST : WEST);
    ck_assert_uint_eq(words(ender, NULL), 0);
    /* Both show F=0 to their rooms, and to themselves. */
    if (!(gone && ender == ann)) {
        ck_assert_uint_eq(shown(ann, ann), SHOWN_FREE | SHOWN_OWN);
        ck_assert_uint_eq(shown(cid, ann), SHOWN_FREE);
    }
    if (!(gone && ender == bob)) {
        ck_assert_uint_eq(shown(bob, bob), accepted ? SHOWN_FREE | SHOWN_OWN : NOT_SHOWN);
        ck_assert_uint_eq(shown(dan, bob), accepted ? SHOWN_FREE : NOT_SHOWN);
    }
    if (gone && !raw_closed(ender))
        ck_assert_uint_eq(shown(ender, ender), SHOWN_FREE | SHOWN_OWN);
    if (!same_room && !raw_closed(bob) && !(gone && ender == bob)) {
        const struct got *last = NULL; /* the guest goes off the list */
        ck_assert_uint_ge(frames_of(bob, "+usr", &last), 1);
        bool deleted = false;
        for (size_t i = 0; i < bob->count; i++) {
            deleted = deleted || (strcmp(bob->frames[i]->kind, "+usr") == 0 && !got_has(bob->frames[i], "N") &&
                                  got_number(bob->frames[i], "I") == ann_ident && got_number(bob->frames[i], "T") == 2);
        }
        ck_assert_msg(deleted, "Ann stays on Bob's list");
    }
    expect_both_free();
}

TEST_LOOP(ends, a_challenger_who_comes_into_the_room_stays_on_the_list, 0, 2)
{
    struct view *v = malloc(sizeof *v);
    take_places("East", "");
    view_start(v, bob);
    go(bob, "West");
    (void)offer(ann, "Bob", BY_MESG);
    view_update(v, bob);
    ck_assert_ptr_nonnull(view_user(v, "Ann"));
    ck_assert_int_eq(v->population, 1);
    if (_i == 1) { /* while they race */
        word(bob, ann, "ACPT");
        chal(ann, "Bob", 1);
        chal(bob, "Ann", 0);
    }
    go(ann, "West");
    view_update(v, bob);
    ck_assert_ptr_nonnull(view_user(v, "Ann"));
    ck_assert_uint_eq(view_user(v, "Ann")->flags, SHOWN_FREE);
    ck_assert_int_eq(v->population, 2);
    ck_assert_uint_eq(v->user_count, 2);
    SUCCEEDS(raw_ask(bob, "chal", "PERS=*\n"));
    view_update(v, bob);
    ck_assert_ptr_nonnull(view_user(v, "Ann"));
    go(ann, "East");
    view_update(v, bob);
    ck_assert_uint_eq(v->user_count, 1);
    free(v);
}

TEST(ends, who_lists_users_meanwhile_keeps_the_challenger)
{
    struct view *v = malloc(sizeof *v);
    take_places("East", "");
    view_start(v, bob);
    go(bob, "East");
    SUCCEEDS(raw_ask(bob, "sele", "USERS=0\n"));
    (void)offer(ann, "Bob", BY_MESG);
    view_update(v, bob);
    ck_assert_ptr_nonnull(view_user(v, "Ann")); /* introduced: it had no list */
    SUCCEEDS(raw_ask(bob, "sele", "USERS=1\n"));
    word(bob, ann, "DECL");
    for (size_t i = 0; i < bob->count; i++) /* not even for a moment */
        ck_assert(strcmp(bob->frames[i]->kind, "+usr") != 0 || got_has(bob->frames[i], "N"));
    view_update(v, bob);
    ck_assert_ptr_nonnull(view_user(v, "Ann"));
    ck_assert_uint_eq(view_user(v, "Ann")->flags, SHOWN_FREE);
    ck_assert_uint_eq(v->user_count, 3);
    free(v);
}

/* The same, if it had no list of users before. */
TEST(ends, who_lists_users_for_the_first_time_keeps_the_challenger)
{
    take_places("East", "");
    struct raw *deaf = deaf_player("Dee");
    SUCCEEDS(raw_ask(deaf, "move", "NAME=East\nPASS=\n"));
    (void)offer(ann, "Dee", BY_MESG);
    SUCCEEDS(raw_ask(deaf, "sele", "USERS=1\n"));
    word(deaf, ann, "DECL");
    for (size_t i = 0; i < deaf->count; i++)
        ck_assert(strcmp(deaf->frames[i]->kind, "+usr") != 0 || got_has(deaf->frames[i], "N"));
}

TEST(ends, a_challenged_who_comes_into_the_room_sees_it_right)
{
    struct view *v = malloc(sizeof *v);
    take_places("East", "");
    view_start(v, bob);
    (void)offer(ann, "Bob", BY_MESG);
    go(bob, "East");
    view_update(v, bob);
    ck_assert_uint_eq(v->user_count, 3); /* Ann, Cid and itself */
    ck_assert_ptr_nonnull(view_user(v, "Ann"));
    ck_assert_uint_eq(view_user(v, "Ann")->flags, SHOWN_FREE);
    ck_assert_int_eq(v->population, 3);
    free(v);
}

TEST_LOOP(ends, what_does_not_change_the_room_ends_nothing, 0, 14)
{
    static const struct said moves[] = {
        {"move", "NAME=East\nPASS=\n"},
        {"move", "NAME=Nowhere\nPASS=\n"},
        {"room", "NAME=West\nPASS=\nDESC=None\nMAX=50\n"},
        {"auxi", "TEXT=\n"},
        {"sele", "ROOMS=0 USERS=0 RANKS=0"},
        {"mesg", "TEXT=hello\n"},
        {"peek", "NAME=East\n"},
    };
    take_places("East", "East");
    (void)offer(ann, "Bob", BY_MESG);
    forget_all();
    say(_i % 2 == 0 ? ann : bob, moves[_i / 2].kind, moves[_i / 2].payload);
    ck_assert_uint_eq(words(ann, NULL) + words(bob, NULL), 0);
    word(bob, ann, "ACPT");
    TOLD(ann, bob, "ACPT", EAST);
}

TEST_LOOP(ends, after_60_s_both_are_told_decl, 0, 2 * ENTRIES)
{
    take_places("East", _i / ENTRIES == 0 ? "East" : "West");
    world_run(w, 777); /* any time */
    (void)offer(ann, "Bob", (enum entry)(_i % ENTRIES));
    forget_all();
    world_run(w, 59900);
    ck_assert_uint_eq(words(ann, NULL) + words(bob, NULL), 0);
    world_run(w, 100);
    TOLD(ann, bob, "DECL", EAST);
    TOLD(bob, ann, "DECL", _i / ENTRIES == 0 ? EAST : WEST);
    ck_assert_uint_eq(shown(ann, ann), SHOWN_FREE | SHOWN_OWN);
    ck_assert_uint_eq(shown(cid, ann), SHOWN_FREE);
    ck_assert_uint_eq(shown(dan, bob), NOT_SHOWN);
    expect_both_free();
}

TEST(ends, an_accepted_challenge_does_not_expire)
{
    take_places("East", "East");
    (void)offer(ann, "Bob", BY_MESG);
    world_run(w, 59000);
    word(bob, ann, "ACPT");
    forget_all();
    world_run(w, 5000);
    ck_assert_uint_eq(words(ann, NULL) + words(bob, NULL), 0);
    chal(ann, "Bob", 1);
    chal(bob, "Ann", 0);
    ck_assert_uint_eq(frames_of(bob, "+ses", NULL), 1);
}

TEST_LOOP(ends, back_in_the_lobby_ends_being_busy, 0, 3)
{
    take_places("East", "West");
    switch (_i) {
    case 0: /* its own offer */ (void)offer(ann, "Bob", BY_MESG); break;
    default: /* accepted */ accept_offer(BY_MESG); break;
    }
    struct raw *back = _i < 2 ? ann : bob, *other = _i < 2 ? bob : ann;
    forget_all();
    say(back, "chal", "PERS=*\n");
    SAYS(reply_to(back, "chal"), "MODE=chal\nSTATUS=1");
    TOLD(other, back, "DECL", _i < 2 ? WEST : EAST);
    ck_assert_uint_eq(shown(cid, ann), SHOWN_FREE);
    ck_assert_uint_eq(shown(ann, ann), SHOWN_FREE | SHOWN_OWN);
    ck_assert_uint_eq(shown(dan, bob), _i == 0 ? NOT_SHOWN : SHOWN_FREE);
    expect_both_free();
}

TEST(ends, chal_of_all_is_answered_at_once)
{
    struct raw *r = raw_open(w, 0);
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
    SAYS(raw_ask(r, "chal", "PERS=*\n"), "MODE=chal\nSTATUS=1"); /* before pers too (3.2) */
    SUCCEEDS(raw_ask(r, "pers", "PERS=Ann\n"));
    SAYS(raw_ask(r, "chal", "PERS=*\n"), "MODE=chal\nSTATUS=1");
}

/* ---- The race ----------------------------------------------------------- */

GROUP(races, open_world, close_world, 0);

static void put_little(uint8_t *at, uint32_t value)
{
    for (size_t i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i) & 0xFFu);
}

/* The console's structure, by hand from the tags of +ses (5). */
static void build_race(uint8_t out[272], const struct got *ses)
{
    static const struct {
        const char *tag;
        size_t offset, size;
    } texts[] = {
        {"NAME", 0x00, 32}, {"SELF", 0x20, 32}, {"HOST", 0x40, 32}, {"OPPO", 0x60, 32}, {"P1", 0x80, 16},
        {"P2", 0x90, 16},   {"P3", 0xA0, 16},   {"P4", 0xB0, 16},   {"AUTH", 0xD0, 64},
    };
    memset(out, 0, 272);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = got_text(ses, texts[i].tag);
        ck_assert_uint_lt(strlen(text), texts[i].size);
        memcpy(out + texts[i].offset, text, strlen(text));
    }
    put_little(out + 0xC0, got_address(ses, "ADDR"));
    put_little(out + 0xC4, got_address(ses, "FROM"));
    put_little(out + 0xC8, (uint32_t)got_number(ses, "SEED"));
    put_little(out + 0xCC, (uint32_t)console_read_epoch(console_find(got_payload(ses), "WHEN")));
}

/* +ses to one player, with every tag right, and `play` behind it. */
static const struct got *expect_race(struct raw *self, const struct raw *opponent, const struct raw *host)
{
    const struct raw *second = host == self ? opponent : self;
    const struct got *ses = NULL;
    uint8_t race_bytes[272];
    size_t at = 0;
    ck_assert_uint_eq(frames_of(self, "+ses", &ses), 1);
    ck_assert_uint_eq(frames_of(self, "play", NULL), 1);
    while (frame_at(self, at) != ses)
        at++;
    const struct got *play = frame_at(self, at + 1);
    ck_assert_str_eq(play->kind, "play");
    ck_assert_uint_eq(play->size, 272); /* and length 284 */
    ck_assert_uint_eq(play->code, 0);
    char name[64];
    (void)snprintf(name, sizeof name, "%s.%d", host->name, (int)got_number(ses, "SEED"));
    ck_assert_str_eq(got_text(ses, "NAME"), name);
    ck_assert_str_eq(got_text(ses, "SELF"), self->name);
    ck_assert_str_eq(got_text(ses, "HOST"), host->name);
    ck_assert_str_eq(got_text(ses, "OPPO"), opponent->name);
    ck_assert_str_eq(got_text(ses, "P1"), host->name);
    ck_assert_str_eq(got_text(ses, "P2"), second->name);
    ck_assert_str_eq(got_text(ses, "P3"), "");
    ck_assert_str_eq(got_text(ses, "P4"), "");
    ck_assert_uint_eq(got_address(ses, "ADDR"), opponent->ip);
    ck_assert_uint_eq(got_address(ses, "FROM"), opponent->ip);
    ck_assert_int_ne(got_number(ses, "SEED"), 0);
    ck_assert_int_eq(console_read_epoch(console_find(got_payload(ses), "WHEN")),
                     WORLD_WALL_S + (int64_t)(w->mono_ms / 1000));
    ck_assert_uint_ge(strlen(got_text(ses, "AUTH")), 16); /* 64 bits at least */
    build_race(race_bytes, ses);
    ck_assert_mem_eq(play->payload, race_bytes, 272);
    return ses;
}

TEST_LOOP(races, when_both_are_ready_both_get_the_same_race, 0, 16)
{
    /* Who says what, who says it first; the challenger hosts unless only the other would. */
    int ann_host = _i % 2, bob_host = _i / 2 % 2;
    bool bob_first = _i / 4 % 2 == 1;
    take_places("East", _i / 8 == 0 ? "East" : "West");
    world_run(w, 12345);
    accept_offer((enum entry)(_i % ENTRIES));
    struct raw *first = bob_first ? bob : ann, *second = bob_first ? ann : bob;
    chal(first, second->name, bob_first ? bob_host : ann_host);
    GOT(first, "chal");
    SAYS(frame_at(first, 0), "MODE=play\nSTATUS=1");
    world_run(w, 3000);
    GOT(second, "");
    chal(second, first->name, bob_first ? ann_host : bob_host);
    GOT(second, "chal +ses play");
    SAYS(frame_at(second, 0), "MODE=play\nSTATUS=1");
    GOT(first, "chal +ses play");
    struct raw *host = bob_host == 1 && ann_host == 0 ? bob : ann;
    const struct got *anns = expect_race(ann, bob, host), *bobs = expect_race(bob, ann, host);
    ck_assert_int_eq(got_number(anns, "SEED"), got_number(bobs, "SEED"));
    ck_assert_str_eq(got_text(anns, "AUTH"), got_text(bobs, "AUTH"));
    world_run(w, 20000); /* once, and no more of it */
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL), 1);
    ck_assert_uint_eq(frames_of(bob, "play", NULL), 1);
}

TEST_LOOP(races, without_chal_the_race_starts_after_10_s, 0, 4 * ENTRIES)
{
    struct raw *host;
    take_places("East", "West");
    accept_offer((enum entry)(_i % ENTRIES));
    if (_i / ENTRIES == 1)
        chal(ann, "Bob", 0);
    else if (_i / ENTRIES == 2)
        chal(bob, "Ann", 0);
    else if (_i / ENTRIES == 3)
        chal(bob, "Ann", 1); /* only the other said HOST=1 */
    host = _i / ENTRIES == 3 ? bob : ann;
    forget_all();
    world_run(w, 9900);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL) + frames_of(bob, "+ses", NULL), 0);
    world_run(w, 100);
    const struct got *anns = expect_race(ann, bob, host), *bobs = expect_race(bob, ann, host);
    ck_assert_int_eq(got_number(anns, "SEED"), got_number(bobs, "SEED"));
    ck_assert_str_eq(got_text(anns, "AUTH"), got_text(bobs, "AUTH"));
    chal(ann, "Bob", 1); /* one that comes late starts no second race */
    chal(bob, "Ann", 1);
    world_run(w, 20000);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL), 1);
    ck_assert_uint_eq(frames_of(bob, "+ses", NULL), 1);
}

TEST_LOOP(races, chal_out_of_place_starts_nothing, 0, 4)
{
    static const char *const payloads[] = {"PERS=Cid\nHOST=1\n", "PERS=Nobody\nHOST=1\n", "PERS=Ann\nHOST=1\n",
                                           "HOST=1\n"};
    take_places("East", "East");
    ck_assert_uint_ne(raw_ask(ann, "chal", "PERS=Bob\nHOST=1\n")->code, 0);
    (void)offer(ann, "Bob", BY_MESG); /* not before ACPT either */
    ck_assert_uint_ne(raw_ask(ann, "chal", "PERS=Bob\nHOST=1\n")->code, 0);
    ck_assert_uint_ne(raw_ask(bob, "chal", "PERS=Ann\nHOST=1\n")->code, 0);
    word(bob, ann, "ACPT");
    forget_all();
    say(ann, "chal", payloads[_i]);
    ck_assert_uint_ne(reply_to(ann, "chal")->code, 0);
    chal(bob, "Ann", 0);
    ck_assert_uint_eq(frames_of(bob, "+ses", NULL), 0); /* Ann is not ready by that */
    chal(bob, "Ann", 0);                                /* nor by Bob's saying it twice */
    ck_assert_uint_eq(frames_of(bob, "+ses", NULL), 0);
    ck_assert_uint_eq(words(ann, NULL) + words(bob, NULL), 0);
    chal(ann, "Bob", 0);
    (void)expect_race(ann, bob, ann);
}

TEST(races, every_race_has_its_own_seed_and_ticket)
{
    char tickets[6][80];
    int32_t seeds[6];
    take_places("East", "East");
    for (int i = 0; i < 6; i++) {
        accept_offer(BY_MESG);
        chal(ann, "Bob", 1);
        chal(bob, "Ann", 0);
        const struct got *ses = NULL;
        ck_assert_uint_eq(frames_of(ann, "+ses", &ses), 1);
        seeds[i] = got_number(ses, "SEED");
        (void)snprintf(tickets[i], sizeof tickets[i], "%s", got_text(ses, "AUTH"));
        for (int k = 0; k < i; k++) {
            ck_assert_int_ne(seeds[i], seeds[k]);
            ck_assert_str_ne(tickets[i], tickets[k]);
        }
        SUCCEEDS(raw_ask(ann, "chal", "PERS=*\n"));
        SUCCEEDS(raw_ask(bob, "chal", "PERS=*\n"));
        forget_all();
    }
}

TEST(races, two_pairs_at_once_do_not_mix)
{
    take_places("East", "East");
    (void)offer(ann, "Bob", BY_MESG);
    (void)offer(cid, "Dan", BY_TOKEN);
    word(dan, cid, "ACPT");
    word(bob, ann, "ACPT");
    forget_all();
    chal(ann, "Dan", 1); /* not its opponent */
    ck_assert_uint_ne(reply_to(ann, "chal")->code, 0);
    forget_all();
    chal(ann, "Bob", 0);
    chal(dan, "Cid", 1);
    ck_assert_uint_eq(frames_of(bob, "+ses", NULL) + frames_of(cid, "+ses", NULL), 0);
    chal(cid, "Dan", 0);
    const struct got *third = expect_race(cid, dan, dan), *fourth = expect_race(dan, cid, dan);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL) + frames_of(bob, "+ses", NULL), 0);
    chal(bob, "Ann", 0);
    const struct got *first = expect_race(ann, bob, ann), *second = expect_race(bob, ann, ann);
    ck_assert_str_eq(got_text(first, "AUTH"), got_text(second, "AUTH"));
    ck_assert_str_eq(got_text(third, "AUTH"), got_text(fourth, "AUTH"));
    ck_assert_str_ne(got_text(first, "AUTH"), got_text(third, "AUTH"));
    ck_assert_int_ne(got_number(first, "SEED"), got_number(third, "SEED"));
    ck_assert_int_eq(got_number(third, "SEED"), got_number(fourth, "SEED"));
}

/* The opponent's address in ADDR and FROM of `+ses`, and the same in `play` (5). */
static void expect_at(struct raw *r, const struct got *ses, const char *address)
{
    const struct got *play = NULL;
    uint8_t bytes[4];
    ck_assert_str_eq(got_raw(ses, "ADDR"), address);
    ck_assert_str_eq(got_raw(ses, "FROM"), address);
    ck_assert_uint_eq(frames_of(r, "play", &play), 1);
    put_little(bytes, got_address(ses, "ADDR"));
    ck_assert_mem_eq(play->payload + 0xC0, bytes, 4);
    ck_assert_mem_eq(play->payload + 0xC4, bytes, 4);
}

/* Where the list of users has somebody, which a console may dial instead. */
static void expect_listed_at(struct raw *r, const char *name, const char *address)
{
    const struct got *listed = NULL;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "+usr") == 0 && strcmp(got_text(r->frames[i], "N"), name) == 0)
            listed = r->frames[i];
    ck_assert_ptr_nonnull(listed);
    ck_assert_str_eq(got_raw(listed, "A"), address);
}

/* PROTOCOL 8: at which address each one finds the other. */
TEST_LOOP(races, racers_are_told_addresses_that_they_can_reach, 0, 13)
{
    static const struct {
        uint32_t ann, bob;       /* source addresses */
        const char *anns, *bobs; /* what `addr` says */
        const char *config;
        const char *bob_for_ann, *ann_for_bob;
    } cases[] = {
        {0xC6336401u, 0xC6336402u, "192.0.2.100", "192.0.2.100", "", "198.51.100.2", "198.51.100.1"},
        {0xC6336401u, 0xC6336402u, "192.168.1.5", "10.0.0.7", "", "198.51.100.2", "198.51.100.1"},
        /* behind one public address: each other's own, if that is a private one */
        {0xC6336401u, 0xC6336401u, "192.168.1.5", "192.168.1.6", "", "192.168.1.6", "192.168.1.5"},
        {0xC6336401u, 0xC6336401u, "10.1.2.3", "172.31.255.1", "", "172.31.255.1", "10.1.2.3"},
        {0xC6336401u, 0xC6336401u, "192.168.1.5", "192.0.2.100", "", "198.51.100.1", "192.168.1.5"},
        {0xC6336401u, 0xC6336401u, "8.8.8.8", "172.32.0.1", "", "198.51.100.1", "198.51.100.1"},
        /* one at the server's side, one outside */
        {0xC0A80105u, 0xC6336402u, "192.168.1.5", "10.0.0.7", "public-address = 203.0.113.77\n", "198.51.100.2",
         "203.0.113.77"},
        {0x7F000001u, 0xC6336402u, "127.0.0.1", "10.0.0.7", "public-address = 203.0.113.77\n", "198.51.100.2",
         "203.0.113.77"},
        /* both at the server's side */
        {0xC0A80105u, 0xC0A80106u, "192.168.1.5", "192.168.1.6", "public-address = 203.0.113.77\n", "192.168.1.6",
         "192.168.1.5"},
        /* a router between them and the server gives both its own, private address */
        {0xC0A80101u, 0xC0A80101u, "10.0.0.5", "10.0.0.6", "", "10.0.0.6", "10.0.0.5"},
        {0xC0A80101u, 0xC0A80101u, "10.0.0.5", "10.0.0.6", "public-address = 203.0.113.77\n", "10.0.0.6", "10.0.0.5"},
        /* the same address twice, or an emulator's, is no address of a network of theirs */
        {0xC0A80101u, 0xC0A80101u, "10.0.0.5", "10.0.0.5", "", "192.168.1.1", "192.168.1.1"},
        {0xC0A80101u, 0xC0A80101u, "10.0.0.5", "192.0.2.100", "", "192.168.1.1", "192.168.1.1"},
    };
    char payload[64];
    const struct got *g = NULL;
    world_configure(w, cases[_i].config);
    ann = raw_login_from(w, cases[_i].ann, "Ann", "secret");
    bob = raw_login_from(w, cases[_i].bob, "Bob", "secret");
    (void)snprintf(payload, sizeof payload, "ADDR=%s\nPORT=50000\n", cases[_i].anns);
    SUCCEEDS(raw_ask(ann, "addr", payload));
    (void)snprintf(payload, sizeof payload, "ADDR=%s\nPORT=50000\n", cases[_i].bobs);
    SUCCEEDS(raw_ask(bob, "addr", payload));
    go(ann, "East");
    go(bob, "East");
    expect_listed_at(ann, "Bob", cases[_i].bob_for_ann);
    expect_listed_at(bob, "Ann", cases[_i].ann_for_bob);
    accept_offer(BY_MESG);
    chal(ann, "Bob", 1);
    chal(bob, "Ann", 0);
    (void)frames_of(ann, "+ses", &g);
    expect_at(ann, g, cases[_i].bob_for_ann);
    (void)frames_of(bob, "+ses", &g);
    expect_at(bob, g, cases[_i].ann_for_bob);
}

TEST_LOOP(races, who_drops_the_lobby_after_ses_ends_nothing, 0, 4)
{
    take_places("East", _i / 2 == 0 ? "East" : "West");
    race();
    struct raw *gone = _i % 2 == 0 ? ann : bob, *other = _i % 2 == 0 ? bob : ann;
    struct raw *witness = _i % 2 == 0 ? dan : cid;
    raw_close(gone);
    ck_assert_uint_eq(words(other, NULL), 0);
    world_run(w, 90000);
    ck_assert_uint_eq(words(other, NULL), 0);
    ck_assert_uint_eq(shown(other, other) & SHOWN_FREE, 0); /* it races on */
    ck_assert_uint_eq(shown(witness, other) & SHOWN_FREE, 0);
    (void)offer(witness, other->name, BY_MESG);
    REFUSED(reply_to(witness, "mesg"), "ingm", 105);
    struct raw *again = player(w, gone->name, "");
    forget_all();
    (void)offer(witness, again->name, BY_MESG); /* who comes back is free */
    SUCCEEDS(reply_to(witness, "mesg"));
}

TEST_LOOP(races, a_race_has_no_words, 0, 3)
{
    static const char *const answers[] = {"ACPT", "DECL", "BLOC"};
    take_places("East", "West");
    race();
    word(ann, bob, answers[_i]);
    REFUSED(reply_to(ann, "mesg"), "time", 104);
    word(bob, ann, answers[_i]);
    REFUSED(reply_to(bob, "mesg"), "time", 104);
    ck_assert_uint_eq(words(ann, NULL) + words(bob, NULL), 0);
    ck_assert_uint_eq(shown(cid, ann), NOT_SHOWN);
}

TEST_LOOP(races, a_race_ends_for_who_comes_back, 0, 10)
{
    static const struct {
        const char *kind, *payload;
    } ways[] = {
        {"pers", NULL},
        {"chal", "PERS=*\n"},
        {"move", "NAME=Beginner\nPASS=\n"},
        {"move", "NAME=\nPASS=\n"},
        {"room", "NAME=C.New\nPASS=\nDESC=None\nMAX=50\n"},
    };
    take_places("East", "West");
    race();
    struct raw *back = _i % 2 == 0 ? ann : bob, *other = _i % 2 == 0 ? bob : ann;
    char own[64];
    (void)snprintf(own, sizeof own, "PERS=%s\n", back->name);
    say(back, ways[_i / 2].kind, ways[_i / 2].payload == NULL ? own : ways[_i / 2].payload);
    SUCCEEDS(reply_to(back, ways[_i / 2].kind));
    ck_assert_uint_eq(words(other, NULL) + words(back, NULL), 0); /* not for the other */
    ck_assert_uint_eq(shown(back, back), SHOWN_FREE | SHOWN_OWN);
    ck_assert_uint_eq(shown(_i % 2 == 0 ? dan : cid, other), NOT_SHOWN);
    if (strcmp(ways[_i / 2].kind, "chal") == 0)
        ck_assert_uint_eq(shown(_i % 2 == 0 ? cid : dan, back), SHOWN_FREE);
    forget_all();
    (void)offer(cid, other->name, BY_MESG);
    REFUSED(reply_to(cid, "mesg"), "ingm", 105);
    forget_all();
    (void)offer(cid, back->name, BY_MESG);
    SUCCEEDS(reply_to(cid, "mesg"));
    word(back, cid, "ACPT");
    ck_assert_uint_eq(words(cid, NULL), 1);
}

TEST_LOOP(races, a_new_challenge_ends_a_race_after_30_s_but_not_before, 0, 2 * ENTRIES)
{
    enum entry entry = (enum entry)(_i % ENTRIES);
    take_places("East", "West");
    race();
    struct raw *eager = _i / ENTRIES == 0 ? ann : bob, *other = _i / ENTRIES == 0 ? bob : ann;
    world_run(w, 29900);
    forget_all();
    (void)offer(eager, "Cid", entry);
    REFUSED(reply_to(eager, entry_kind(entry)), "ingm", 105);
    ck_assert_uint_eq(words(cid, NULL), 0);
    world_run(w, 200);
    forget_all();
    const char *token = offer(eager, "Cid", entry);
    SUCCEEDS(reply_to(eager, entry_kind(entry)));
    TOLD(cid, eager, token, EAST);
    ck_assert_uint_eq(words(other, NULL), 0);
    word(cid, eager, "ACPT");
    ck_assert_uint_eq(words(eager, NULL), 1);
    (void)offer(dan, other->name, BY_MESG); /* for the other the race goes on */
    REFUSED(reply_to(dan, "mesg"), "ingm", 105);
}

/* ---- Anything, at random ------------------------------------------------ */

GROUP(at_random, open_world, close_world, 60);

#define RACERS 6
#define NOBODY (-1)

enum phase { AT_REST, HAS_OFFERED, HAS_RECEIVED, HAS_ACCEPTED, RACES };

/* What PROTOCOL 5 says must be true, kept by the test itself. */
static struct racer {
    struct raw *raw;
    struct view *view;
    enum phase phase;
    int opponent;
    int refused; /* with whom its own word has ended a challenge since his last offer, and 1; 0: nobody */
    bool challenger, ready;
    bool peeked;       /* a refused challenge leaves its target selected */
    uint64_t since_ms; /* of the offer, the acceptance or the race */
    char heard[8];     /* the word that must have come; empty: none */
    int heard_from;
} racers[RACERS];

static void hear(int who, int from, const char *text)
{
    ck_assert_str_eq(racers[who].heard, ""); /* one word for each thing that happens */
    (void)snprintf(racers[who].heard, sizeof racers[who].heard, "%s", text);
    racers[who].heard_from = from;
}

static void both(int who, enum phase phase)
{
    int other = racers[who].opponent;
    racers[who].phase = racers[other].phase = phase;
    racers[who].since_ms = racers[other].since_ms = w->mono_ms;
    racers[who].ready = racers[other].ready = false;
}

/* It goes from where it was: before +ses that is the end for both. */
static void goes(int who)
{
    struct racer *r = &racers[who];
    if (r->phase == RACES) {
        r->phase = AT_REST;
    } else if (r->phase != AT_REST) {
        hear(r->opponent, who, "DECL");
        both(who, AT_REST);
    }
}

/* Time has passed: offers of 60 s end, acceptances of 10 s are races. */
static void times_pass(void)
{
    for (int i = 0; i < RACERS; i++) {
        struct racer *r = &racers[i];
        uint64_t age_ms = w->mono_ms - r->since_ms;
        if (r->phase == HAS_OFFERED && age_ms >= 60000) {
            hear(i, r->opponent, "DECL");
            hear(r->opponent, i, "DECL");
            both(i, AT_REST);
        } else if (r->phase == HAS_ACCEPTED && age_ms >= 10000) {
            uint64_t started_ms = r->since_ms + 10000;
            both(i, RACES);
            r->since_ms = racers[r->opponent].since_ms = started_ms;
        }
    }
}

static void check_racers(int actor, const char *kind, int status)
{
    for (int i = 0; i < RACERS; i++) {
        struct racer *r = &racers[i];
        const struct got *g = NULL;
        size_t came = words(r->raw, &g);
        if (came != (r->heard[0] != '\0')) {
            world_fail(w, "racer %d heard %zu words; last %s; it should hear %s", i, came,
                       came > 0 ? got_payload(g) : "", r->heard);
        }
        if (came == 1) {
            ck_assert_str_eq(got_text(g, "T"), r->heard);
            ck_assert_str_eq(got_text(g, "N"), racers[r->heard_from].raw->name);
            ck_assert_str_ne(got_text(g, "N"), r->raw->name); /* never its own */
        }
        r->heard[0] = '\0';
        if (i == actor && kind[0] != '\0')
            ck_assert_int_eq(got_status(reply_to(r->raw, kind)), status);
        view_update(r->view, r->raw);
    }
    for (int i = 0; i < RACERS; i++) { /* busy or not, as everyone sees it */
        for (int k = 0; k < RACERS; k++) {
            const struct racer *r = &racers[i];
            bool busy = r->phase == HAS_OFFERED || r->phase == HAS_ACCEPTED || r->phase == RACES;
            struct view_user *seen = view_user(racers[k].view, r->raw->name);
            bool guest = racers[k].opponent == i && racers[k].phase != AT_REST && !racers[k].challenger;
            bool same = i == k || (r->view->room == racers[k].view->room && r->view->room != 0);
            if (same &&
                (seen == NULL || seen->flags != ((busy ? SHOWN_BUSY : SHOWN_FREE) | (i == k ? SHOWN_OWN : 0u)))) {
                world_fail(w, "racer %d shows racer %d as %x, busy is %d", k, i,
                           seen == NULL ? 0u : (unsigned)seen->flags, (int)busy);
            }
            if (!same && !guest && seen != NULL)
                world_fail(w, "racer %d still shows racer %d", k, i);
            if (!same && guest && racers[k].phase == HAS_RECEIVED && seen == NULL)
                world_fail(w, "racer %d does not know its challenger %d", k, i);
        }
    }
}

static bool may_challenge(const struct racer *r)
{
    return r->phase == AT_REST || (r->phase == RACES && w->mono_ms - r->since_ms >= 30000);
}

static void random_offer(int who, int target)
{
    struct racer *r = &racers[who], *t = &racers[target];
    enum entry entry = (enum entry)world_below(w, ENTRIES);
    bool may = may_challenge(r), retires = r->phase == HAS_OFFERED;
    /* What a refused offer does to an own offer or an old race is nowhere said. */
    if ((retires || (may && r->phase != AT_REST)) && t->phase != AT_REST)
        return;
    if (entry == BY_TOKEN && r->peeked)
        entry = BY_PEEK;
    r->peeked = r->peeked || entry == BY_PEEK;
    (void)offer(r->raw, t->raw->name, entry);
    if ((!may && !retires) || t->phase != AT_REST) {
        hear(who, target, "DECL");
        check_racers(who, entry_kind(entry), 105);
        return;
    }
    if (retires) {
        hear(r->opponent, who, "DECL");
        both(who, AT_REST);
    }
    r->peeked = r->peeked && entry == BY_MESG;
    r->opponent = target;
    t->opponent = who;
    t->refused = t->refused == who + 1 ? 0 : t->refused;
    r->challenger = true;
    t->challenger = false;
    both(who, AT_REST);
    r->phase = HAS_OFFERED;
    t->phase = HAS_RECEIVED;
    const struct got *g = NULL; /* not a word of four letters: looked at here */
    ck_assert_uint_eq(words(t->raw, &g), 1);
    ck_assert_str_eq(got_text(g, "N"), r->raw->name);
    ck_assert_ptr_nonnull(strchr(got_text(g, "T"), '_'));
    view_update(t->view, t->raw);
    check_racers(who, entry_kind(entry), 1);
}

static void random_answer(int who, int target)
{
    static const char *const answers[] = {"ACPT", "ACPT", "DECL", "BLOC"};
    const char *answer = answers[world_below(w, 4)];
    struct racer *r = &racers[who];
    bool open =
        (r->phase == HAS_OFFERED || r->phase == HAS_RECEIVED || r->phase == HAS_ACCEPTED) && r->opponent == target;
    word(r->raw, racers[target].raw, answer);
    if (!open || (answer[0] == 'A' && r->phase != HAS_RECEIVED)) {
        if (answer[0] == 'A' && r->refused == target + 1)
            hear(who, target, "DECL");
        check_racers(who, "mesg", 104);
        return;
    }
    if (answer[0] != 'A')
        r->refused = target + 1;
    hear(target, who, answer);
    both(who, answer[0] == 'A' ? HAS_ACCEPTED : AT_REST);
    check_racers(who, "mesg", 1);
}

static void random_chal(int who, int target)
{
    struct racer *r = &racers[who];
    if (world_below(w, 4) == 0) {
        say(r->raw, "chal", "PERS=*\n");
        if (r->phase != HAS_RECEIVED)
            goes(who);
        check_racers(who, "chal", 1);
        return;
    }
    chal(r->raw, racers[target].raw->name, (int)world_below(w, 2));
    bool right = r->phase == HAS_ACCEPTED && r->opponent == target;
    bool late = r->phase == RACES && r->opponent == target && /* it began without this one */
                racers[target].phase == RACES && racers[target].opponent == who;
    ck_assert((reply_to(r->raw, "chal")->code == 0) == (right || late));
    r->ready = r->ready || right;
    bool starts = right && racers[target].ready;
    for (int i = 0; i < RACERS; i++)
        ck_assert_uint_eq(frames_of(racers[i].raw, "+ses", NULL), starts && (i == who || i == target));
    if (starts)
        both(who, RACES);
    check_racers(who, "", 0);
}

static void random_word(void)
{
    static const char *const rooms[] = {"East", "West", "East", ""};
    int who = (int)world_below(w, RACERS), target = (int)world_below(w, RACERS);
    if (world_below(w, 2) == 0 && racers[who].phase != AT_REST)
        target = racers[who].opponent; /* else hardly ever a race */
    target = target == who ? (who + 1) % RACERS : target;
    switch (world_below(w, 12)) {
    case 0:
    case 1:
    case 2: random_offer(who, target); break;
    case 3:
    case 4:
    case 5:
    case 6: random_answer(who, target); break;
    case 7:
    case 8:
    case 9: random_chal(who, target); break;
    case 10: {
        const char *room = rooms[world_below(w, 4)];
        int32_t before = racers[who].view->room;
        go(racers[who].raw, room);
        const struct got *g = reply_to(racers[who].raw, "move");
        if (got_number(g, "IDENT") != before || racers[who].phase == RACES)
            goes(who);
        check_racers(who, "move", 1);
        break;
    }
    default:
        world_run(w, 1 + world_below(w, world_below(w, 4) == 0 ? 40000 : 4000));
        times_pass();
        check_racers(NOBODY, "", 0);
        break;
    }
}

TEST_LOOP(at_random, random_words_keep_to_the_rules, 0, 4)
{
    static const struct world_options options[] = {{.seed = 21},
                                                   {.seed = 22, .split = WORLD_RANDOM},
                                                   {.seed = 23},
                                                   {.seed = 24}};
    char name[16];
    reopen(&options[_i]);
    memset(racers, 0, sizeof racers);
    for (int i = 0; i < RACERS; i++) {
        (void)snprintf(name, sizeof name, "Racer%d", i);
        racers[i].raw = player(w, name, "");
        racers[i].view = malloc(sizeof *racers[i].view);
        racers[i].opponent = NOBODY;
    }
    for (int i = 0; i < RACERS; i++)
        view_start(racers[i].view, racers[i].raw);
    for (int step = 0; step < 700; step++)
        random_word();
    for (int i = 0; i < RACERS; i++) { /* all is over */
        say(racers[i].raw, "chal", "PERS=*\n");
        if (racers[i].phase != HAS_RECEIVED)
            goes(i);
        check_racers(i, "chal", 1);
    }
    world_run(w, 61000);
    times_pass();
    check_racers(NOBODY, "", 0);
    for (int i = 0; i < RACERS; i++) {
        ck_assert_int_eq(racers[i].phase, AT_REST);
        ck_assert_uint_eq(view_user(racers[i].view, racers[i].raw->name)->flags, SHOWN_FREE | SHOWN_OWN);
        free(racers[i].view);
    }
}

/* ---- Addresses that change ------------------------------------------------ */

GROUP(addresses, open_world, close_world, 0);

#define HOME 0xC0A80105u   /* on the server's side of the router */
#define ABROAD 0xC6336402u /* on the other one */
#define NOW_PUBLIC 0xCB00714Du

/* The address in the last record of Ann that this player was sent. */
static const char *listed_at(struct raw *r)
{
    const char *at = "";
    world_settle(w);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "+usr") == 0 && strcmp(got_text(r->frames[i], "N"), "Ann") == 0)
            at = got_text(r->frames[i], "A");
    return at;
}

/* A console dials the address of its list, if its opponent is in that: so it must be that of `+ses`,
 * however late the server learns the one that the router has. */
TEST_LOOP(addresses, a_public_address_that_is_learned_is_told_to_who_is_on, 0, 4)
{
    bool guest = _i % 2 == 1, reload = _i >= 2;
    world_configure(w, reload ? "" : "public-address = home.example.org\n");
    struct raw *a = raw_login_from(w, HOME, "Ann", "secret"), *b = raw_login_from(w, ABROAD, "Bob", "secret");
    struct raw *c = player(w, "Cid", "East"), *d = player(w, "Dan", "East");
    go(a, "East");
    go(b, guest ? "West" : "East");
    word(c, d, TOKEN); /* others, too, are in the middle of a challenge */
    word(a, b, TOKEN);
    word(b, a, "ACPT");
    forget_all();
    if (reload) {
        world_configure(w, "public-address = 203.0.113.77\n");
    } else {
        struct nascar_event e = {.type = NASCAR_ADDRESS, .conn = NASCAR_NONE, .peer = NOW_PUBLIC};
        world_step(w, &e);
    }
    ck_assert_str_eq(listed_at(b), "203.0.113.77");
    ck_assert_uint_ge(frames_of(b, "+rom", NULL), 4); /* with the hub */
    chal(a, "Bob", 1);
    chal(b, "Ann", 0);
    ck_assert_str_eq(got_text(raw_expect(b, "+ses"), "ADDR"), "203.0.113.77");
}

/* And what a client says of its own address later is not believed, once others have been told. */
TEST(addresses, a_later_addr_makes_no_difference_to_who_has_been_told)
{
    struct raw *a = raw_login_from(w, ABROAD, "Ann", "secret"), *b = raw_login_from(w, ABROAD, "Bob", "secret");
    SUCCEEDS(raw_ask(a, "addr", "ADDR=192.168.1.5\nPORT=50000\n"));
    go(b, "East");
    forget_all();
    go(a, "East");
    ck_assert_str_eq(listed_at(b), "192.168.1.5");
    word(a, b, TOKEN);
    word(b, a, "ACPT");
    SUCCEEDS(raw_ask(a, "addr", "ADDR=192.168.1.9\nPORT=50000\n"));
    chal(a, "Bob", 1);
    chal(b, "Ann", 0);
    ck_assert_str_eq(got_text(raw_expect(b, "+ses"), "ADDR"), "192.168.1.5");
}
