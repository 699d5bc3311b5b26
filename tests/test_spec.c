/* The specification, line by line: its lifecycle and command reference, which are
 * what PROTOCOL marks [spec], as a client that was written to it and knows nothing
 * of the console sends them, byte for byte, with and without a NUL at the end. Both
 * players' sides are looked at.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"

static struct raw *ann, *bob, *cid;

/* With the NUL that ends a console's payload, or, as in the specification's own
 * example (`2b77686f 00000000 0000002d` and 33 bytes), without one. */
static bool ends_with_nul = true;

/* A frame: kind, a code that is always 0, the length with the header's 12. */
static void send_spec(struct raw *r, const char *kind, const char *payload)
{
    uint8_t bytes[1024] = {0};
    size_t size = 12 + strlen(payload) + ends_with_nul;
    ck_assert_uint_lt(size, sizeof bytes);
    memcpy(bytes, kind, 4);
    bytes[10] = (uint8_t)(size >> 8);
    bytes[11] = (uint8_t)(size & 0xFFu);
    memcpy(bytes + 12, payload, strlen(payload));
    raw_send_bytes(r, bytes, size);
}

/* The same, and the first frame that comes of it: the reply. */
static const struct got *ask_spec(struct raw *r, const char *kind, const char *payload)
{
    raw_forget(r);
    send_spec(r, kind, payload);
    world_settle(w);
    const struct got *g = raw_expect(r, kind);
    ck_assert_ptr_eq(g, frame_at(r, 0));
    return g;
}

#define ANSWERS(r, kind, payload, ...) \
    do { \
        const struct got *answers_got = ask_spec(r, kind, payload); \
        ck_assert_uint_eq(answers_got->code, 0); /* word 2 is always 0 */ \
        SAYS(answers_got, __VA_ARGS__); \
    } while (0)

#define FAILS(r, kind, payload, letters, status) REFUSED(ask_spec(r, kind, payload), letters, status)

static const struct got *last_of(struct raw *r, const char *kind)
{
    const struct got *g = NULL;
    ck_assert_msg(frames_of(r, kind, &g) > 0, "%s got no %s", r->name, kind);
    return g;
}

/* Everything up to the lobby: @dir, addr, skey, auth with RC4, pers. */
static struct raw *enters(const char *name, const char *room)
{
    char payload[128];
    struct raw *r = raw_open(w, 0);
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    greet(r);
    send_spec(r, "auth", credentials(name, enciphered(r, "secret"), "TOS=1\n"));
    SUCCEEDS(raw_expect(r, "auth"));
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
    SUCCEEDS(ask_spec(r, "pers", payload));
    SUCCEEDS(ask_spec(r, "sele", "ROOMS=1\nUSERS=1\nRANKS=1\nMESGS=1\n"));
    (void)snprintf(payload, sizeof payload, "NAME=%s\nPASS=\n", room);
    if (room[0] != '\0')
        SUCCEEDS(ask_spec(r, "move", payload));
    return r;
}

static void open_spec(void)
{
    open_world();
    ends_with_nul = true;
}

static void take_places(void)
{
    ann = enters("Ann", "East");
    bob = enters("Bob", "East");
    cid = enters("Cid", "East");
    forget_all();
}

/* ---- The lifecycle ------------------------------------------------------- */

GROUP(lifecycle, open_spec, close_world, 0);

TEST_LOOP(lifecycle, the_directory_names_the_lobby, 0, 2)
{
    static const char request[] = "PROD=NASCAR-PS2-2004\nVERS=\"PS2/XXX-Jul  2 2003\"\nLANG=en\nSLUS=BASLUS-20824\n";
    ends_with_nul = _i == 0;
    struct raw *r = raw_open(w, 0);
    ANSWERS(r, "@dir", request, "ADDR=203.0.113.10\nPORT=11000\nSESS=*\nMASK=*");
    reopen_with("directory-direct = yes\n"); /* as it is printed there (10) */
    r = raw_open(w, 0);
    ANSWERS(r, "@dir", request, "ADDR=203.0.113.10\nPORT=11000\nSESS=*\nMASK=*\nDIRECT=1");
}

/* The password encrypted by RC4 with the session key, and by the directory's MASK. */
TEST_LOOP(lifecycle, a_player_logs_in_with_either_form_of_password, 0, 4)
{
    bool by_mask = _i / 2 == 1;
    char mask[64], session[32], more[64];
    ends_with_nul = _i % 2 == 0;
    struct raw *r = raw_open(w, 0);
    const struct got *g = ask_spec(r, "@dir", DIR_REQUEST);
    (void)snprintf(mask, sizeof mask, "%.63s", got_raw(g, "MASK"));
    (void)snprintf(session, sizeof session, "%.31s", got_raw(g, "SESS"));
    raw_close(r);
    r = raw_open(w, r->ip);
    (void)snprintf(r->name, sizeof r->name, "Ann");
    ANSWERS(r, "addr", "ADDR=192.168.1.20\nPORT=3658\n", "STATUS=1");
    g = ask_spec(r, "skey", SKEY_REQUEST);
    ck_assert_uint_eq(g->code, 0);
    SAYS(g, "SKEY=*\nSTATUS=1");
    const char *key = got_raw(g, "SKEY");
    ck_assert(key[0] == '$' && is_hex(key + 1, 32));
    (void)console_read_binary(console_find(got_payload(g), "SKEY"), r->key, sizeof r->key);
    (void)snprintf(more, sizeof more, "TOS=1\n%s%s%s", by_mask ? "MASK=" : "", by_mask ? session : "",
                   by_mask ? "\n" : "");
    g = ask_spec(r, "auth", credentials("Ann", by_mask ? masked(mask, "secret") : enciphered(r, "secret"), more));
    ck_assert_uint_eq(g->code, 0);
    SAYS(g, "STATUS=1\nSESS=%s\nTOS=1\nNAME=Ann\nADDR=%s\nPERSONAS=Ann\nMAIL=\nSPAM=NN\nLAST=*",
         by_mask ? session : "*", dotted(r->ip));
    g = ask_spec(r, "pers", "PERS=Ann\n");
    ck_assert_uint_eq(g->code, 0);
    SAYS(g, "STATUS=1\nPERS=Ann\nLKEY=*\nLAST=*");
    GOT(r, "pers +who"); /* and the lobby begins */
    SAYS(frame_at(r, 1), "F=U\nN=Ann\nRI=0\nRT=1\nR=0\nRF=1");
    can_log_in("Ann", "secret");
}

TEST_LOOP(lifecycle, the_lists_are_pushed_to_who_selects_them, 0, 2)
{
    ends_with_nul = _i == 0;
    struct raw *r = member("Ann", "secret");
    SUCCEEDS(ask_pers(r, "Ann"));
    ANSWERS(r, "sele", "ROOMS=1\nUSERS=1\nRANKS=1\nMESGS=1\n", "MORE=0\nSLOTS=4\nSTATUS=1");
    ck_assert_uint_eq(frames_of(r, "+rom", NULL), 4);
    ck_assert_uint_eq(frames_of(r, "+usr", NULL), 1);
    size_t at = 1;
    while (strcmp(frame_at(r, at)->kind, "+rom") != 0)
        at++;
    SAYS(frame_at(r, at), "I=0\nN=Lobby\nH=\"Main Lobby Hub\"\nA=203.0.113.10\nT=1\nL=100\nF=0");
    SAYS(last_of(r, "+usr"), "I=*\nN=Ann\nF=U0\nA=%s\nT=1\nS=*\nR=*\nX=", dotted(r->ip));
    ck_assert_str_eq(kinds(r) + strlen(kinds(r)) - 4, "+pop");
    SAYS(last_of(r, "+pop"), "Z=1:0 2:0 3:0 0:1");
}

TEST(lifecycle, the_news_has_four_lines)
{
    struct raw *r = enters("Ann", "");
    const struct got *g = ask_spec(r, "news", "NAME=0\n");
    SAYS(g, "BUDDY_URL=203.0.113.10\nBUDDY_PORT=10899\nNEWS0=*\nNEWS1=*\nNEWS2=*\nNEWS3=*\nCOUNT=4\nSTATUS=1");
}

TEST_LOOP(lifecycle, a_room_is_entered_and_left, 0, 2)
{
    ends_with_nul = _i == 0;
    ann = enters("Ann", "East");
    bob = enters("Bob", "");
    forget_all();
    ANSWERS(bob, "move", "NAME=East\nPASS=\n", "IDENT=1\nCOUNT=2\nNAME=East\nFLAGS=0\nLIDENT=0\nLCOUNT=0\nSTATUS=1");
    GOT(bob, "move +who +usr +usr +pop");
    SAYS(last_of(bob, "+who"), "F=U\nN=Bob\nRI=1\nRT=2\nR=East\nRF=0");
    SAYS(last_of(ann, "+usr"), "I=*\nN=Bob\nF=0\nA=%s\nT=2\nS=*\nR=*\nX=", dotted(bob->ip));
    forget_all();
    ANSWERS(bob, "move", "NAME=\nPASS=\n", "IDENT=0\nCOUNT=1\nNAME=Lobby\nFLAGS=0\nLIDENT=1\nLCOUNT=1\nSTATUS=1");
    SAYS(last_of(bob, "+who"), "F=U\nN=Bob\nRI=0\nRT=1\nR=Lobby\nRF=0");
    SAYS(last_of(ann, "+usr"), "I=*\nT=1");
}

TEST_LOOP(lifecycle, peek_looks_at_a_room_or_selects_a_player, 0, 2)
{
    ends_with_nul = _i == 0;
    take_places();
    ANSWERS(ann, "peek", "NAME=East\n", "NAME=East\nCOUNT=3\nSTATUS=1");
    ANSWERS(ann, "peek", "NAME=Bob\n", "NAME=Bob\nSTATUS=1");
    FAILS(ann, "peek", "NAME=Nobody\n", "user", 102);
}

TEST_LOOP(lifecycle, a_line_reaches_the_room_and_a_private_one_its_reader, 0, 2)
{
    ends_with_nul = _i == 0;
    take_places();
    ANSWERS(ann, "mesg", "TEXT=hello\n", "STATUS=1");
    SAYS(last_of(bob, "+msg"), "N=Ann\nFROM=Ann\nATTR=0\nRI=1\nT=hello\nTEXT=hello");
    forget_all();
    ANSWERS(ann, "mesg", "N=Bob\nTEXT=psst\n", "STATUS=1");
    SAYS(last_of(bob, "+msg"), "F=P\nN=Ann\nFROM=Ann\nATTR=0\nRI=1\nT=psst\nTEXT=psst");
    GOT(cid, "");
    GOT(ann, "mesg");
}

/* ---- From the challenge to the race -------------------------------------- */

enum entry { BY_PEEK, BY_NAMES, ENTRIES };

#define SPEC_TOKEN "1767225600_4711"

/* `peek NAME=B`, then `auxi TEXT=<token>`; or TIMESTAMP_RANDOM_CHALLENGER_TARGET. */
static const char *challenge(struct raw *from, const struct raw *to, enum entry entry)
{
    static char token[128];
    char payload[160];
    (void)snprintf(token, sizeof token, "%s", SPEC_TOKEN);
    if (entry == BY_NAMES) {
        (void)snprintf(token, sizeof token, "%s_%s_%s", SPEC_TOKEN, from->name, to->name);
    } else {
        (void)snprintf(payload, sizeof payload, "NAME=%s\n", to->name);
        SUCCEEDS(ask_spec(from, "peek", payload));
    }
    (void)snprintf(payload, sizeof payload, "TEXT=%s\n", token);
    ANSWERS(from, "auxi", payload, "TEXT=%s\nSTATUS=1", token);
    return token;
}

/* `mesg N=<player> TEXT=<text>`, and no ATTR. */
static void says_to(struct raw *from, const struct raw *to, const char *text)
{
    char payload[256];
    (void)snprintf(payload, sizeof payload, "N=%s\nTEXT=%s\n", to->name, text);
    ANSWERS(from, "mesg", payload, "STATUS=1");
}

/* The one message since raw_forget() is a word of a challenge; or it is talk. */
#define TOLD(r, from, flags, attr, text) \
    do { \
        ck_assert_uint_eq(frames_of(r, "+msg", NULL), 1); \
        SAYS(last_of(r, "+msg"), "F=" flags "\nN=%s\nFROM=%s\nATTR=" attr "\nRI=1\nT=%s\nTEXT=%s", (from)->name, \
             (from)->name, text, text); \
    } while (0)
#define TOLD_WORD(r, from, text) TOLD(r, from, "P3", "3", text)
#define TOLD_TALK(r, from, text) TOLD(r, from, "P", "0", text)

static bool is_busy(struct raw *viewer, const struct raw *of)
{
    bool busy = false;
    world_settle(w);
    for (size_t i = 0; i < viewer->count; i++)
        if (strcmp(viewer->frames[i]->kind, "+usr") == 0 && strcmp(got_text(viewer->frames[i], "N"), of->name) == 0)
            busy = (got_flags(viewer->frames[i], "F") & CONSOLE_FLAG('1')) != 0;
    return busy;
}

GROUP(races, open_spec, close_world, 0);

/* The 272 bytes of `play` say what `+ses` does (5). */
static void expect_play(struct raw *r, const struct raw *other, const struct got *ses)
{
    const struct got *play = last_of(r, "play");
    uint8_t address[4] = {(uint8_t)(other->ip & 0xFFu), (uint8_t)(other->ip >> 8 & 0xFFu),
                          (uint8_t)(other->ip >> 16 & 0xFFu), (uint8_t)(other->ip >> 24)};
    ck_assert_uint_eq(play->code, 0);
    ck_assert_uint_eq(12 + play->size, 284);
    ck_assert_str_eq((const char *)play->payload, got_text(ses, "NAME"));
    ck_assert_str_eq((const char *)play->payload + 0x20, r->name);
    ck_assert_str_eq((const char *)play->payload + 0x40, "Ann");
    ck_assert_str_eq((const char *)play->payload + 0x60, other->name);
    ck_assert_str_eq((const char *)play->payload + 0x80, "Ann");
    ck_assert_str_eq((const char *)play->payload + 0x90, "Bob");
    ck_assert_str_eq((const char *)play->payload + 0xA0, "");
    ck_assert_str_eq((const char *)play->payload + 0xB0, "");
    ck_assert_mem_eq(play->payload + 0xC0, address, 4);
    ck_assert_mem_eq(play->payload + 0xC4, address, 4);
    ck_assert_str_eq((const char *)play->payload + 0xD0, got_text(ses, "AUTH"));
}

/* The whole way, without a `chal`, which the specification does not have. */
TEST_LOOP(races, a_challenge_that_is_accepted_starts_the_race_after_10_s, 0, 2 * ENTRIES)
{
    ends_with_nul = _i % 2 == 0;
    take_places();
    const char *token = challenge(ann, bob, (enum entry)(_i / 2));
    TOLD_WORD(bob, ann, token);
    ck_assert(is_busy(cid, ann) && !is_busy(cid, bob));
    forget_all();
    says_to(bob, ann, "ACPT");
    TOLD_WORD(ann, bob, "ACPT");
    ck_assert(is_busy(cid, bob));
    ck_assert_uint_eq(frames_of(bob, "+msg", NULL), 0);
    forget_all();
    world_run(w, 9900);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL) + frames_of(bob, "+ses", NULL), 0);
    world_run(w, 200);
    GOT(ann, "+ses play");
    GOT(bob, "+ses play");
    const struct got *anns = last_of(ann, "+ses"), *bobs = last_of(bob, "+ses");
    const char *seed = got_raw(anns, "SEED"), *auth = got_raw(anns, "AUTH"), *when = got_raw(anns, "WHEN");
    SAYS(anns,
         "NAME=Ann.%s\nSELF=Ann\nHOST=Ann\nOPPO=Bob\nP1=Ann\nP2=Bob\nP3=\nP4=\nADDR=%s\nFROM=%s\nSEED=%s\nWHEN=%"
         "s\nAUTH=%s",
         seed, dotted(bob->ip), dotted(bob->ip), seed, when, auth);
    SAYS(bobs,
         "NAME=Ann.%s\nSELF=Bob\nHOST=Ann\nOPPO=Ann\nP1=Ann\nP2=Bob\nP3=\nP4=\nADDR=%s\nFROM=%s\nSEED=%s\nWHEN=%"
         "s\nAUTH=%s",
         seed, dotted(ann->ip), dotted(ann->ip), seed, when, auth);
    expect_play(ann, bob, anns);
    expect_play(bob, ann, bobs);
}

/* DECL and BLOC end it, at once and for both, whoever says it (5, step 3). */
TEST_LOOP(races, a_challenge_that_is_refused_starts_nothing, 0, 8)
{
    const char *text = _i % 2 == 0 ? "DECL" : "BLOC";
    bool accepted = _i / 2 % 2 == 1, by_challenger = _i / 4 == 1;
    take_places();
    (void)challenge(ann, bob, BY_PEEK);
    if (accepted)
        says_to(bob, ann, "ACPT");
    forget_all();
    struct raw *one = by_challenger ? ann : bob, *other = by_challenger ? bob : ann;
    says_to(one, other, text);
    TOLD_WORD(other, one, text);
    ck_assert(!is_busy(cid, ann) && !is_busy(cid, bob));
    forget_all();
    world_run(w, 70000);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL) + frames_of(bob, "+ses", NULL), 0);
    ck_assert_uint_eq(frames_of(ann, "+msg", NULL) + frames_of(bob, "+msg", NULL), 0);
    (void)challenge(bob, ann, BY_PEEK); /* both are free */
}

TEST(races, a_challenge_is_open_for_60_s)
{
    take_places();
    (void)challenge(ann, bob, BY_PEEK);
    forget_all();
    world_run(w, 59800);
    ck_assert_uint_eq(frames_of(ann, "+msg", NULL) + frames_of(bob, "+msg", NULL), 0);
    world_run(w, 400);
    TOLD_WORD(ann, bob, "DECL");
    TOLD_WORD(bob, ann, "DECL");
    FAILS(bob, "mesg", "N=Ann\nTEXT=ACPT\nATTR=3\n", "time", 104);
    forget_all();
    says_to(bob, ann, "ACPT"); /* which, without a challenge, is talk */
    TOLD_TALK(ann, bob, "ACPT");
}

/* ---- Answers without ATTR (5, step 3) ------------------------------------- */

GROUP(answers, open_spec, close_world, 0);

static const char *const answer[] = {"ACPT", "DECL", "BLOC"};

/* The recipient in N [spec] or PRIV [cap], the word with ATTR or without. */
TEST_LOOP(answers, the_word_alone_is_an_answer_to_an_open_challenge, 0, 12)
{
    char payload[64];
    take_places();
    (void)challenge(ann, bob, BY_PEEK);
    forget_all();
    (void)snprintf(payload, sizeof payload, "%s=Ann\nTEXT=%s\n%s", _i / 3 % 2 == 0 ? "N" : "PRIV", answer[_i % 3],
                   _i / 6 == 0 ? "" : "ATTR=3\n");
    ANSWERS(bob, "mesg", payload, "STATUS=1");
    TOLD_WORD(ann, bob, answer[_i % 3]);
    ck_assert_int_eq(is_busy(cid, bob), _i % 3 == 0);
}

TEST_LOOP(answers, any_more_than_the_word_is_talk, 0, 7)
{
    static const char *const talk[] = {"ACPT.", "ACPT it", "DECL sorry", "BLOCK", "acpt", "ACP", "well: DECL"};
    take_places();
    (void)challenge(ann, bob, BY_PEEK);
    forget_all();
    char payload[64];
    (void)snprintf(payload, sizeof payload, "N=Ann\nTEXT=\"%s\"\n", talk[_i]);
    ANSWERS(bob, "mesg", payload, "STATUS=1");
    ck_assert_uint_eq(frames_of(ann, "+msg", NULL), 1);
    ck_assert_uint_eq(got_flags(last_of(ann, "+msg"), "F"), CONSOLE_FLAG('P'));
    ck_assert_str_eq(got_text(last_of(ann, "+msg"), "T"), talk[_i]);
    forget_all();
    says_to(bob, ann, "ACPT"); /* it is still open */
    TOLD_WORD(ann, bob, "ACPT");
}

TEST_LOOP(answers, with_attr_the_first_four_letters_count_and_are_relayed, 0, 3)
{
    char payload[64];
    take_places();
    (void)challenge(ann, bob, BY_PEEK);
    forget_all();
    (void)snprintf(payload, sizeof payload, "N=Ann\nTEXT=\"%s sorry\"\nATTR=3\n", answer[_i]);
    ANSWERS(bob, "mesg", payload, "STATUS=1");
    TOLD_WORD(ann, bob, answer[_i]);
    forget_all();
    FAILS(bob, "mesg", "N=Ann\nTEXT=ACPT\nATTR=3\n", "time", 104); /* that one is over, or accepted */
    ck_assert_uint_eq(frames_of(ann, "+msg", NULL), 0);
}

TEST_LOOP(answers, what_a_third_player_says_is_talk, 0, 3)
{
    take_places();
    struct raw *dan = enters("Dan", "East");
    (void)challenge(ann, bob, BY_PEEK);
    forget_all();
    says_to(cid, ann, answer[_i]);
    TOLD_TALK(ann, cid, answer[_i]);
    forget_all();
    says_to(bob, cid, answer[_i]); /* and to a third player */
    TOLD_TALK(cid, bob, answer[_i]);
    forget_all();
    (void)challenge(cid, dan, BY_PEEK); /* one challenge is none of another's */
    forget_all();
    says_to(dan, ann, answer[_i]);
    TOLD_TALK(ann, dan, answer[_i]);
    forget_all();
    says_to(bob, ann, "ACPT");
    TOLD_WORD(ann, bob, "ACPT");
}

TEST_LOOP(answers, to_a_room_without_a_challenge_or_in_a_race_it_is_talk, 0, 3)
{
    take_places();
    says_to(bob, ann, answer[_i]);
    TOLD_TALK(ann, bob, answer[_i]);
    (void)challenge(ann, bob, BY_PEEK);
    forget_all();
    char payload[32];
    (void)snprintf(payload, sizeof payload, "TEXT=%s\n", answer[_i]);
    ANSWERS(bob, "mesg", payload, "STATUS=1");
    ck_assert(!got_has(last_of(ann, "+msg"), "F"));
    says_to(bob, ann, "ACPT");
    world_run(w, 10100);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL), 1);
    forget_all();
    says_to(bob, ann, answer[_i]);
    TOLD_TALK(ann, bob, answer[_i]);
}

/* PROTOCOL 5: never deliver ACPT twice; and it is the challenged who accepts. */
TEST(answers, an_acceptance_that_is_none_is_refused_and_not_told)
{
    take_places();
    (void)challenge(ann, bob, BY_PEEK);
    forget_all();
    FAILS(ann, "mesg", "N=Bob\nTEXT=ACPT\n", "time", 104);
    GOT(bob, "");
    says_to(bob, ann, "ACPT");
    forget_all();
    FAILS(bob, "mesg", "N=Ann\nTEXT=ACPT\n", "time", 104);
    GOT(ann, "");
}

/* ---- Statuses (6) and times (7) ------------------------------------------- */

GROUP(failures_and_times, open_spec, close_world, 0);

/* One test for each line of the table of statuses. */
TEST(failures_and_times, every_failure_has_its_status)
{
    reopen_with("accounts = register\nroom = Pit:: 2\nroom = East\n");
    struct raw *r = guest();
    FAILS(r, "who?", "N=1\n", "miss", 0);
    FAILS(r, "move", "NAME=East\n", "sess", 101);
    FAILS(r, "auth", credentials("Nobody", enciphered(r, "secret"), "TOS=1\n"), "imst", 100);
    SUCCEEDS(sign_up(r, "Dan", "secret"));
    FAILS(guest(), "auth", "NAME=Dan\nTOS=1\n", "miss", 0);
    r = guest();
    FAILS(r, "auth", credentials("Dan", enciphered(r, "other"), "TOS=1\n"), "pass", 100);
    FAILS(r, "auth", credentials("Dan", masked("0123", "secret"), "TOS=1\nMASK=77\n"), "sess", 101);
    for (size_t i = 0; i < 3; i++) {
        static const char *const names[] = {"Ann", "Bob", "Cid"};
        SUCCEEDS(sign_up(guest(), names[i], "secret"));
    }
    struct raw *one = guest(), *two = guest(), *three = guest();
    struct raw *all[] = {one, two, three};
    for (size_t i = 0; i < 3; i++) {
        static const char *const names[] = {"Ann", "Bob", "Cid"};
        char payload[32];
        (void)snprintf(all[i]->name, sizeof all[i]->name, "%s", names[i]);
        SUCCEEDS(ask_spec(all[i], "auth", credentials(names[i], enciphered(all[i], "secret"), "TOS=1\n")));
        (void)snprintf(payload, sizeof payload, "PERS=%s\n", names[i]);
        SUCCEEDS(ask_spec(all[i], "cper", payload));
        SUCCEEDS(ask_spec(all[i], "pers", payload));
    }
    FAILS(one, "user", "PERS=Nobody\n", "user", 102);
    FAILS(one, "onln", "PERS=Nobody\n", "user", 102);
    FAILS(one, "peek", "NAME=Nobody\n", "user", 102);
    FAILS(one, "mesg", "N=Nobody\nTEXT=hello\n", "user", 102);
    FAILS(one, "chal", "PERS=Nobody\n", "user", 102);
    SUCCEEDS(ask_spec(two, "move", "NAME=Pit\n"));
    SUCCEEDS(ask_spec(three, "move", "NAME=Pit\n"));
    const struct got *g = ask_spec(one, "move", "NAME=Pit\n");
    REFUSED(g, "full", 103);
    ck_assert_int_eq(got_number(g, "IDENT"), 0); /* where it still is */
    FAILS(one, "mesg", "N=Bob\nTEXT=DECL\nATTR=3\n", "time", 104);
    (void)challenge(two, three, BY_PEEK);
    SUCCEEDS(ask_spec(one, "peek", "NAME=Bob\n"));
    FAILS(one, "auxi", "TEXT=" SPEC_TOKEN "\n", "ingm", 105);
    FAILS(one, "mesg", "N=Cid\nTEXT=" SPEC_TOKEN "\nATTR=3\n", "ingm", 105);
    SUCCEEDS(ask_spec(one, "peek", "NAME=Bob\n"));
    FAILS(one, "auxi", "TEXT=\"two words\"\n", "tokn", 106);
    FAILS(one, "mesg", "N=Bob\nTEXT=\"two words\"\nATTR=3\n", "tokn", 106);
}

/* A ping after 30 s, and 30 s more for the answer; noticed within 5 s. */
TEST_LOOP(failures_and_times, who_is_silent_for_60_s_is_gone, 0, 2)
{
    bool silent = _i == 0;
    take_places();
    ann->keeps_pings = silent;
    world_run(w, 31000);
    ck_assert_uint_eq(frames_of(ann, "~png", NULL), silent ? 1 : 0);
    if (silent)
        SAYS(last_of(ann, "~png"), "REF=*\nTIME=*");
    world_run(w, 28000);
    OPEN(ann);
    forget_all();
    world_run(w, 6000);
    ck_assert_int_eq(raw_closed(ann), silent);
    if (silent)
        SAYS(last_of(bob, "+usr"), "I=*\nT=2");
}
