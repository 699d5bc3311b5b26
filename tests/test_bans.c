/* Bans and mutes, the operator's: who is kept out, who is heard by nobody, and for how
 * long (DESIGN 5, 7). The kinds of frames are cban, cunb, cmut, cunm and cbns.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"
#include "people.h"

#define CAPACITY 1024
#define LAST_BAN_S 999999999

static struct raw *asker;

static void open_bans(void)
{
    open_people();
    asker = raw_operator(w);
}

/* The links are gone; the operator comes again. */
static void start_anew(void)
{
    kept_restart(w);
    no_links();
    asker = raw_operator(w);
}

GROUP(bans, open_bans, close_world, 60);
GROUP(addresses, open_bans, close_world, 60);
GROUP(mutes, open_bans, close_world, 60);

/* The last frame of an answer. An operator who has asked nothing for a minute comes again. */
static const struct got *tell(const char *kind, const char *payload)
{
    if (asker->conn == NASCAR_NONE) /* he has said nothing for long: as ctl does, he comes for each request */
        asker = raw_operator(w);
    raw_forget(asker);
    return raw_ask(asker, kind, payload);
}

#define TELL(kind, payload) SUCCEEDS(tell(kind, payload))

/* The line of the last answer. */
static const struct got *line(void)
{
    const struct got *g = NULL;
    ck_assert_uint_eq(frames_of(asker, "line", &g), 1);
    return g;
}

#define NO(kind, payload, sentence) \
    do { \
        size_t no_before = w->record_count; \
        const struct got *no_got = tell(kind, payload); \
        ck_assert_int_ne(got_status(no_got), 1); \
        ck_assert_str_eq(got_text(no_got, "TEXT"), sentence); \
        ck_assert_uint_eq(frames_of(asker, "line", NULL), 0); \
        ck_assert_uint_eq(w->record_count, no_before); \
    } while (0)

/* All that is in force, as "ban Ann, mute Bob", sorted. */
static const char *in_force(void)
{
    char names[16][32];
    size_t count = 0;
    TELL("cbns", "");
    for (size_t i = 0; i < asker->count; i++) {
        const struct got *g = asker->frames[i];
        ck_assert_uint_lt(count, 16);
        if (strcmp(g->kind, "line") == 0)
            (void)snprintf(names[count++], 32, "%.8s:%.20s", got_text(g, "what"), got_text(g, "name"));
    }
    return in_order(names, count);
}

#define IN_FORCE(list) ck_assert_str_eq(in_force(), list)

/* What the directory shows a console of that address; "" if it lets it in. */
static const char *shown_at_the_directory(uint32_t ip)
{
    static char text[300];
    struct raw *r = raw_open(w, ip);
    const struct got *g = raw_ask(r, "@dir", DIR_REQUEST);
    text[0] = '\0';
    if (got_has(g, "DOWN")) {
        SAYS(g, "ADDR=0.0.0.0\nPORT=0\nDOWN=*");
        (void)snprintf(text, sizeof text, "%s", got_text(g, "DOWN"));
    } else {
        ck_assert(got_has(g, "SESS"));
    }
    raw_close(r);
    return text;
}

static const char *login_code_from(uint32_t ip, const char *name, const char *password)
{
    static char code[8];
    struct raw *r = raw_open(w, ip);
    (void)snprintf(code, sizeof code, "%s", got_code(raw_auth(r, name, password)));
    raw_close(r);
    return code;
}

static size_t logged(const char *part)
{
    size_t count = 0;
    for (size_t i = 0; i < w->log_count; i++)
        count += strstr(w->log[i], part) != NULL;
    return count;
}

/* ---- Bans of a name ------------------------------------------------------- */

TEST_LOOP(bans, who_is_banned_is_put_out_and_does_not_come_back, 0, 4)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    SUCCEEDS(raw_ask(ann->lobby, "cper", "PERS=Ace\n"));
    /* by the account's name or a persona's, in any case */
    static const char *const names[] = {"NAME=Ann\n", "NAME=aNN\n", "NAME=Ace\n", "NAME=aCE\nREASON=\"rude\"\n"};
    TELL("cban", names[_i]);
    SAYS(line(), "what=ban\nname=Ann\nreason=%s\nsince=*\nuntil=\nmeans=*", _i == 3 ? "rude" : "");
    ck_assert_str_eq(got_text(line(), "means"), _i < 2 ? "an account" : "the account of that persona");
    CLOSED(ann->lobby);
    CLOSED(ann->buddy);
    OPEN(bob->lobby);
    OPEN(bob->buddy);
    ck_assert_uint_eq(logged("reason=\"banned\""), 2);
    ck_assert_uint_eq(logged("event=ban "), 1);
    ck_assert_uint_eq(logged(_i == 3 ? "name=\"Ann\" until=\"\" reason=\"rude\""
                                     : "name=\"Ann\" until=\"\" reason=\"\""),
                      1);
    for (int i = 0; i < 2; i++) {
        struct raw *r = raw_open(w, 0);
        REFUSED(raw_auth(r, "Ann", "secret"), "blak", 100);
        OPEN(r);
        REFUSED(ask_pers(r, "Ann"), "sess", 101);
        REFUSED(raw_auth(r, "Ann", "wrong1"), "pass", 100); /* who does not know the password is told nothing */
        ck_assert_str_eq(buddy_code("Ann", ann->ticket), "user");
        can_log_in("Bob", "secret");
        IN_FORCE("ban:Ann");
        if (i == 0)
            start_anew();
    }
    TELL("cunb", _i % 2 == 0 ? "NAME=Ann\n" : "NAME=Ace\n");
    SAYS(line(), "what=ban\nname=Ann");
    ck_assert_uint_eq(logged("event=unban "), 1);
    can_log_in("Ann", "secret");
    ck_assert_str_eq(buddy_code("Ann", ann->ticket), "");
    IN_FORCE("");
    start_anew();
    can_log_in("Ann", "secret");
    IN_FORCE("");
}

TEST_LOOP(bans, one_may_end_by_itself, 0, 3)
{
    (void)person("Ann");
    TELL("cban", "NAME=Ann\nFOR=3600\n");
    ck_assert_str_eq(got_text(line(), "since"), "2026-01-01T00:00:00Z");
    ck_assert_str_eq(got_text(line(), "until"), "2026-01-01T01:00:00Z");
    ck_assert_uint_eq(logged("until=\"2026-01-01 01:00:00\""), 1);
    world_pass(w, 3590);
    if (_i == 1)
        start_anew();
    if (_i == 2)
        kept_compact(w);
    REFUSED(raw_auth(raw_open(w, 0), "Ann", "secret"), "blak", 100);
    IN_FORCE("ban:Ann");
    world_pass(w, 15);
    can_log_in("Ann", "secret");
    IN_FORCE("");
    NO("cunb", "NAME=Ann\n", "Ann is not banned");
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "bann"), 0);
}

TEST_LOOP(bans, a_clock_that_is_set_neither_ends_nor_revives_one, 0, 12)
{
    static const int64_t jumps[] = {3600, -3600, 86400LL * 365, -86400LL * 3, 86400LL * 365 * 70, 61};
    world_pass(w, 86400 * 10);
    (void)person("Ann");
    (void)person("Bob");
    (void)person("Cid");
    TELL("cban", "NAME=Bob\nFOR=60\n");
    TELL("cmut", "NAME=Cid\nFOR=7200\n");
    TELL("cban", "NAME=Cid\n");
    world_pass(w, 100); /* Bob's is over */
    TELL("cban", "NAME=Ann\nFOR=7200\n");
    if (_i >= 6)
        start_anew();
    w->wall_offset_s += jumps[_i % 6];
    world_run(w, 1);
    if (_i % 2 == 0)
        start_anew();
    IN_FORCE("ban:Ann ban:Cid mute:Cid");
    REFUSED(raw_auth(raw_open(w, 0), "Ann", "secret"), "blak", 100);
    can_log_in("Bob", "secret");
    world_pass(w, 7000);
    IN_FORCE("ban:Ann ban:Cid mute:Cid");
    world_pass(w, 300);
    IN_FORCE("ban:Cid"); /* for good it is, and no other is */
    can_log_in("Ann", "secret");
}

/* One that has ended in 2026 does not become one for good if the server stands still until
 * 2098, and its clock is put back then. */
TEST(bans, one_that_has_ended_stays_so_however_far_the_clock_is_put_back)
{
    (void)person("Ann");
    TELL("cban", "NAME=Ann\nFOR=60\n");
    w->wall_offset_s = 4050000000;
    world_restart(w);
    no_links();
    world_run(w, 1);
    asker = raw_operator(w);
    IN_FORCE("");
    w->wall_offset_s = WORLD_WALL_S;
    world_run(w, 1);
    IN_FORCE("");
    can_log_in("Ann", "secret");
}

TEST_LOOP(bans, one_longer_than_dates_go_is_for_good, 0, 2)
{
    w->wall_offset_s = 4000000000;
    world_run(w, 1);
    char payload[64];
    (void)snprintf(payload, sizeof payload, "NAME=Ann\nFOR=%d\n", _i == 0 ? LAST_BAN_S : 86400);
    TELL("cban", payload);
    ck_assert_str_eq(got_text(line(), "until"), _i == 0 ? "" : "2096-10-03T07:06:40Z");
}

TEST_LOOP(bans, the_second_replaces_the_first, 0, 4)
{
    TELL("cban", _i % 2 == 0 ? "NAME=Ann\nREASON=one\n" : "NAME=10.1.0.0/16\nREASON=one\n");
    world_pass(w, 10);
    TELL("cban", _i % 2 == 0 ? "NAME=aNN\nFOR=60\nREASON=two\n" : "NAME=10.1.2.3/16\nFOR=60\nREASON=two\n");
    ck_assert_str_eq(got_text(line(), "reason"), "two");
    if (_i >= 2)
        start_anew();
    TELL("cbns", "");
    SAYS(line(), "what=ban\nname=%s\nreason=two\nsince=2026-01-01T00%%3a00%%3a10Z\nuntil=2026-01-01T00%%3a01%%3a10Z",
         _i % 2 == 0 ? "aNN" : "10.1.0.0/16");
    world_pass(w, 61);
    IN_FORCE("");
}

/* Whoever takes that name within its time is banned, too. */
TEST_LOOP(bans, a_name_without_an_account_can_be_banned, 0, 3)
{
    TELL("cban", "NAME=Pest\nFOR=3600\n");
    SAYS(line(), "what=ban\nname=Pest\nreason=\nsince=*\nuntil=*\nmeans=\"a name without an account so far\"");
    if (_i == 2)
        start_anew();
    struct raw *r = guest();
    for (int i = 0; i < 10; i++) /* it is no try of a password */
        REFUSED(_i == 1 ? sign_up(r, "pest", "secret") : raw_auth(raw_open(w, r->ip), "pest", "secret"), "blak", 100);
    ck_assert_uint_eq(world_kept(w, "acct"), 0);
    ck_assert_uint_eq(logged("event=login_refused"), 1); /* once a minute */
    ck_assert_uint_eq(logged("reason=\"blak\" ban=\"Pest\""), 1);
    TELL("cpwd", "NAME=Pest\nPASS=secret\n"); /* the operator may */
    REFUSED(raw_auth(raw_open(w, 0), "Pest", "secret"), "blak", 100);
    TELL("cunb", "NAME=Pest\n");
    can_log_in("Pest", "secret");
}

TEST(bans, an_account_goes_before_a_persona_of_that_name)
{
    struct person *ann = linked("Ann");
    SUCCEEDS(raw_ask(ann->lobby, "cper", "PERS=Ace\n"));
    TELL("cban", "NAME=Ace\n"); /* Ann's */
    SUCCEEDS(tell("cpwd", "NAME=Ace\nPASS=secret\n"));
    TELL("cban", "NAME=Ace\n"); /* now that account */
    ck_assert_str_eq(got_text(line(), "means"), "an account");
    IN_FORCE("ban:Ace ban:Ann");
    TELL("cunb", "NAME=Ace\n");
    IN_FORCE("ban:Ann");
    NO("cunb", "NAME=Ace\n", "Ace is not banned");
    TELL("cunb", "NAME=Ann\n");
    can_log_in("Ann", "secret");
}

/* A persona that came later is the account's, but the ban was of the name. */
TEST(bans, a_banned_name_is_found_again_when_a_persona_has_it)
{
    TELL("cban", "NAME=Ace\n");
    struct person *ann = linked("Ann");
    SUCCEEDS(raw_ask(ann->lobby, "cper", "PERS=Ace\n"));
    OPEN(ann->lobby);
    TELL("cunb", "NAME=Ace\n");
    IN_FORCE("");
}

TEST(bans, a_login_is_refused_that_was_under_way)
{
    can_log_in("Ann", "secret");
    struct raw *r = guest();
    w->hold_verdicts = true;
    say_auth(r, "Ann", "secret");
    world_settle(w);
    TELL("cban", "NAME=Ann\n");
    w->hold_verdicts = false;
    world_release_verdicts(w);
    REFUSED(raw_expect(r, "auth"), "blak", 100);
}

TEST_LOOP(bans, a_login_that_came_while_the_ban_was_on_its_way_is_put_out, 0, 2)
{
    struct person *ann = person("Ann");
    w->hold_records = true;
    raw_send(asker, "cban", _i == 0 ? "NAME=Ann\n" : "NAME=0.0.0.0/1\n");
    raw_send(asker, "cban", _i == 0 ? "NAME=Ann\n" : "NAME=128.0.0.0/1\n");
    world_settle(w);
    struct raw *r = raw_open(w, 0);
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
    OPEN(r);
    w->hold_records = false;
    world_release_records(w, true);
    world_run(w, 1);
    CLOSED(r);
    (void)ann;
    OPEN(asker);
}

TEST_LOOP(bans, one_that_could_not_be_kept_is_none, 0, 2)
{
    struct person *ann = linked("Ann");
    if (_i == 1)
        TELL("cban", "NAME=Bob\n");
    w->fail_records = true;
    const struct got *g = tell(_i == 0 ? "cban" : "cunb", _i == 0 ? "NAME=Ann\n" : "NAME=Bob\n");
    REFUSED(g, "fail", 0);
    ck_assert_str_eq(got_text(g, "TEXT"), "it could not be kept on disk");
    w->fail_records = false;
    OPEN(ann->lobby);
    IN_FORCE(_i == 0 ? "" : "ban:Bob");
    ck_assert_uint_eq(logged("event=unban"), 0);
}

/* The ban is kept, and the operator has not waited for the answer. */
TEST(bans, an_operator_who_hangs_up_has_banned)
{
    struct person *ann = linked("Ann");
    w->hold_records = true;
    raw_send(asker, "cban", "NAME=Ann\n");
    world_settle(w);
    raw_close(asker);
    w->hold_records = false;
    world_release_records(w, true);
    world_run(w, 1);
    CLOSED(ann->lobby);
    CLOSED(ann->buddy);
    REFUSED(raw_auth(raw_open(w, 0), "Ann", "secret"), "blak", 100);
}

TEST(bans, only_the_operator_bans)
{
    struct person *ann = linked("Ann");
    (void)linked("Bob");
    static const char *const frames[] = {"cban", "cmut", "cunb", "cunm", "cbns"};
    for (int i = 0; i < COUNT(frames); i++) {
        REFUSED(raw_ask(ann->lobby, frames[i], "NAME=Bob\n"), "sess", 101);
        REFUSED(raw_ask(raw_open(w, 0), frames[i], "NAME=Bob\n"), "sess", 101);
    }
    IN_FORCE("");
}

#define A127 \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaaaaaaaaaaaaa"
#define EXPECTED_TARGET "expected a name, an IPv4 address as 192.0.2.7, or a network as 192.0.2.0/24 of 1 to 32 bits"
#define EXPECTED_NAME "expected the name of an account or a persona"
#define EXPECTED_TIME "expected a time of 1 to 999999999 seconds"
#define EXPECTED_SHORT "expected a reason of at most 127 characters"
#define EXPECTED_PLAIN "expected a reason in plain ASCII, on one line and without tabs"

static const struct {
    const char *kind, *payload, *sentence;
} bad[] = {
    {"cban", "", EXPECTED_TARGET},
    {"cban", "NAME=\n", EXPECTED_TARGET},
    {"cban", "NAME=x\n", EXPECTED_TARGET},
    {"cban", "NAME=abcdefghijklmnopq\n", EXPECTED_TARGET}, /* an account has 16 at the most */
    {"cban", "NAME=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", EXPECTED_TARGET},
    {"cban", "NAME=\"two words\"\n", EXPECTED_TARGET},
    {"cban", "NAME=1.2.3\n", EXPECTED_TARGET},
    {"cban", "NAME=1.2.3.256\n", EXPECTED_TARGET},
    {"cban", "NAME=1.2.3.4.5\n", EXPECTED_TARGET},
    {"cban", "NAME=1.2.3.4/\n", EXPECTED_TARGET},
    {"cban", "NAME=1.2.3.4/33\n", EXPECTED_TARGET},
    {"cban", "NAME=1.2.3.4/-1\n", EXPECTED_TARGET},
    {"cban", "NAME=1.2.3.4/8/8\n", EXPECTED_TARGET},
    {"cban", "NAME=\"1.2.3.4 /8\"\n", EXPECTED_TARGET},
    {"cban", "NAME=1.2.3.4/x\n", EXPECTED_TARGET},
    {"cban", "NAME=/8\n", EXPECTED_TARGET},
    {"cban", "NAME=%3a%3a1\n", EXPECTED_TARGET},
    {"cban", "NAME=0.0.0.0/0\n", EXPECTED_TARGET}, /* everybody: that is what `down` is for */
    {"cban", "NAME=1.2.3.4/0\n", EXPECTED_TARGET},
    {"cunb", "NAME=0.0.0.0/0\n", EXPECTED_TARGET},
    {"cunb", "", EXPECTED_TARGET},
    {"cban", "NAME=Ann\nFOR=0\n", EXPECTED_TIME},
    {"cban", "NAME=Ann\nFOR=\n", EXPECTED_TIME},
    {"cban", "NAME=Ann\nFOR=-1\n", EXPECTED_TIME},
    {"cban", "NAME=Ann\nFOR=7d\n", EXPECTED_TIME},
    {"cban", "NAME=Ann\nFOR=1000000000\n", EXPECTED_TIME},
    {"cban", "NAME=Ann\nFOR=00000000000000000001\n", EXPECTED_TIME},
    {"cmut", "NAME=Ann\nFOR=1.5\n", EXPECTED_TIME},
    {"cban", "NAME=Ann\nREASON=" A127 "b\n", EXPECTED_SHORT},
    {"cmut", "NAME=Ann\nREASON=" A127 "b\n", EXPECTED_SHORT},
    {"cban", "NAME=Ann\nREASON=\"a%09b\"\n", EXPECTED_PLAIN},
    {"cban", "NAME=Ann\nREASON=\"a%0ab\"\n", EXPECTED_PLAIN},
    {"cban", "NAME=Ann\nREASON=\"a%7fb\"\n", EXPECTED_PLAIN},
    {"cban", "NAME=Ann\nREASON=\"caf%c3%a9\"\n", EXPECTED_PLAIN},
    {"cmut", "NAME=10.0.0.1\n", EXPECTED_NAME},
    {"cmut", "NAME=10.0.0.0/8\n", EXPECTED_NAME},
    {"cunm", "NAME=10.0.0.0/8\n", EXPECTED_NAME},
    {"cmut", "", EXPECTED_NAME},
    {"cunb", "NAME=Ann\n", "Ann is not banned"},
    {"cunm", "NAME=Ann\n", "Ann is not muted"},
    {"cunb", "NAME=10.0.0.9/8\n", "10.0.0.0/8 is not banned"},
};

TEST_LOOP(bans, a_bad_request_is_answered_in_one_sentence, 0, COUNT(bad))
{
    (void)person("Ann");
    NO(bad[_i].kind, bad[_i].payload, bad[_i].sentence);
    IN_FORCE("");
}

TEST(bans, a_full_table_says_so_and_what_has_ended_makes_room)
{
    char payload[96];
    world_free(w);
    w = world_new(&(struct world_options){.no_check = true});
    asker = raw_operator(w);
    TELL("cban", "NAME=Brief\nFOR=60\n");
    for (int i = 1; i < CAPACITY; i++) {
        (void)snprintf(payload, sizeof payload, "TIME=%d\nWHEN=0\nNAME=%s%d\nREASON=x\n", WORLD_WALL_S,
                       i % 2 ? "Pest" : "10.0.0.", i);
        if (i % 2 == 0)
            (void)snprintf(payload, sizeof payload, "TIME=%d\nWHEN=0\nNAME=10.0.%d.%d/32\nREASON=x\n", WORLD_WALL_S,
                           i / 256, i % 256);
        keep(i % 4 == 1 ? "mute" : "bann", payload);
    }
    const struct got *g = tell("cban", "NAME=Ann\n");
    REFUSED(g, "full", 0);
    ck_assert_str_eq(got_text(g, "TEXT"), "there are as many bans and mutes as fit: lift some of them");
    TELL("cban", "NAME=Pest3\nREASON=again\n"); /* one that is there can be replaced */
    TELL("cunb", "NAME=10.0.0.2\n");
    TELL("cban", "NAME=Ann\n");
    REFUSED(tell("cban", "NAME=Bob\n"), "full", 0);
    ck_assert_uint_eq(raw_count(asker, "line"), 0);
    TELL("cbns", "");
    ck_assert_uint_eq(frames_of(asker, "line", NULL), CAPACITY);
    world_pass(w, 61);
    TELL("cban", "NAME=Bob\n");
    REFUSED(tell("cban", "NAME=Cid\n"), "full", 0);
    kept_compact(w);
    kept_restart(w);
    asker = raw_operator(w);
    TELL("cbns", "");
    ck_assert_uint_eq(frames_of(asker, "line", NULL), CAPACITY);
    ck_assert_ptr_null(nascar_check(w->state));
    REFUSED(tell("cmut", "NAME=Cid\n"), "full", 0);
}

/* One more record in the journal, as an older server has written it. */
static void write_record(const char *kind, const char *payload)
{
    uint8_t bytes[NASCAR_RECORD_BYTES];
    size_t size = console_frame(bytes, sizeof bytes, kind, 0, payload, strlen(payload) + 1);
    w->records = realloc(w->records, (w->record_count + 1) * sizeof w->records[0]);
    ck_assert_ptr_nonnull(w->records);
    w->record_room = w->record_count + 1;
    struct world_record *record = &w->records[w->record_count++];
    record->size = (uint32_t)size;
    record->bytes = malloc(size);
    ck_assert_ptr_nonnull(record->bytes);
    memcpy(record->bytes, bytes, size);
}

/* Journals had a flag of the account before there was a table. */
TEST_LOOP(bans, an_old_journals_flag_is_a_ban_for_good, 0, 4)
{
    bool by_edit = _i % 2 == 1;
    char payload[256];
    (void)snprintf(payload, sizeof payload, "CREATED=1\nLAST=1\nBAN=%d\nNAME=Ann\nHASH=x\nPERSONAS=Ann\n", !by_edit);
    write_record("acct", payload);
    if (by_edit)
        write_record("edit", "NAME=Ann\nBAN=1\n");
    write_record("acct", "CREATED=1\nLAST=1\nBAN=0\nNAME=Bob\nHASH=x\nPERSONAS=Bob\n");
    start_anew();
    IN_FORCE("ban:Ann");
    ck_assert_str_eq(got_text(line(), "until"), "");
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "acct", "BAN="), 0);
    ck_assert_uint_eq(kept_count(w, "bann", "NAME=Ann"), 1);
    if (_i >= 2)
        TELL("cunb", "NAME=Ann\n");
    else
        write_record("edit", "NAME=Ann\nBAN=0\n");
    start_anew();
    IN_FORCE("");
}

/* An old journal that has no date at all. */
TEST(bans, a_flag_that_is_taken_away_is_no_ban)
{
    write_record("acct", "CREATED=0\nLAST=0\nBAN=0\nNAME=Ann\nHASH=x\nPERSONAS=Ann\n");
    write_record("edit", "NAME=Ann\nBAN=0\n");
    start_anew();
    IN_FORCE("");
}

/* What has ended makes room at a start as it did then: no record says what is gone. */
TEST(bans, a_journal_may_have_more_than_there_is_room_for)
{
    char payload[96];
    world_free(w);
    w = world_new(&(struct world_options){.no_check = true});
    for (int i = 0; i < CAPACITY + 10; i++) {
        (void)snprintf(payload, sizeof payload, "TIME=%d\nWHEN=%d\nNAME=Pest%d\nREASON=x\n", WORLD_WALL_S,
                       WORLD_WALL_S + (i < 20 ? 60 : 100000), i);
        if (i >= CAPACITY - 5) /* they came when the first had ended */
            (void)snprintf(payload, sizeof payload, "TIME=%d\nWHEN=0\nNAME=Pest%d\nREASON=x\n", WORLD_WALL_S + 61, i);
        write_record("bann", payload);
    }
    world_restart(w);
    asker = raw_operator(w);
    TELL("cbns", "");
    ck_assert_uint_eq(frames_of(asker, "line", NULL), CAPACITY + 10 - 20);
    ck_assert_ptr_null(nascar_check(w->state));
}

/* A record that no server has written changes nothing, and ends nothing. */
TEST_LOOP(bans, a_strange_record_bans_nobody, 0, 9)
{
    static const char *const strange[] = {
        "TIME=1\nWHEN=0\nNAME=\n",
        "TIME=1\nWHEN=0\nNAME=x\n",
        "TIME=1\nWHEN=0\nNAME=abcdefghijklmnopq\n",
        "TIME=1\nWHEN=0\nNAME=10.0.0.1/8\n",
        "TIME=1\nWHEN=0\nNAME=10.0.0.1\n",
        "TIME=1\nWHEN=0\nNAME=0.0.0.0/0\n",
        "TIME=1\nWHEN=0\nNAME=255.255.255.255/320\n",
        "TIME=1\nWHEN=0\nNAME=010.0.0.0/8\n",
        "TIME=9\nWHEN=9\nNAME=Nobody\n",
    };
    struct person *ann = linked("Ann");
    keep("bann", strange[_i]);
    keep("mute", strange[_i]);
    IN_FORCE("");
    OPEN(ann->lobby);
    kept_compact(w);
    ck_assert_uint_eq(world_kept(w, "bann") + world_kept(w, "mute"), 0);
}

TEST(bans, the_list_comes_as_it_is_read)
{
    char payload[256];
    for (int i = 0; i < 200; i++) {
        (void)snprintf(payload, sizeof payload, "NAME=Pest%d\nREASON=" A127 "\n", i);
        TELL(i % 2 ? "cban" : "cmut", payload);
    }
    struct raw *other = raw_operator(w);
    raw_window(other, 100);
    raw_send(other, "cbns", "");
    world_settle(w);
    TELL("cunb", "NAME=Pest199\n"); /* meanwhile */
    TELL("cmut", "NAME=Pest198\nREASON=less\n");
    raw_window(other, SIZE_MAX);
    SUCCEEDS(raw_expect(other, "cbns"));
    ck_assert_uint_eq(frames_of(other, "line", NULL), 199);
    SUCCEEDS(raw_ask(other, "cwho", "")); /* the same connection may ask for more */
}

/* ---- Bans of an address --------------------------------------------------- */

#define IP 0xC0000207u /* 192.0.2.7 */
#define BANNED_TEXT "Your address is banned from this server"

TEST_LOOP(addresses, the_directory_shows_why, 0, 5)
{
    static const struct {
        const char *more, *text;
    } shown[] = {
        {"", BANNED_TEXT "."},
        {"REASON=\"be nice\"\n", BANNED_TEXT ": be nice"},
        {"FOR=3600\n", BANNED_TEXT " until 2026-01-01 01:00:00 UTC."},
        {"FOR=3600\nREASON=be%20nice\n", BANNED_TEXT " until 2026-01-01 01:00:00 UTC: be nice"},
        {"REASON=\"%22a%22%20%3d'b' 100%25 %2541=c: %5cn N%3dx DOWN=d\"\n", /* nothing of it can be another tag */
         BANNED_TEXT ": \"a\" ='b' 100% %41=c: \\n N=x DOWN=d"},
    };
    char payload[256];
    (void)snprintf(payload, sizeof payload, "NAME=192.0.2.0/24\n%s", shown[_i].more);
    if (_i % 2 == 1)
        (void)snprintf(payload, sizeof payload, "NAME=192.0.2.7\n%s", shown[_i].more);
    TELL("cban", payload);
    ck_assert_str_eq(got_text(line(), "means"), "a network");
    ck_assert_str_eq(got_text(line(), "name"), _i % 2 ? "192.0.2.7/32" : "192.0.2.0/24");
    for (int i = 0; i < 2; i++) {
        ck_assert_str_eq(shown_at_the_directory(IP), shown[_i].text);
        ck_assert_str_eq(shown_at_the_directory(IP + 256), "");
        start_anew();
    }
    struct console *c = world_console(w, IP); /* the console shows the whole of it */
    console_login(c, "Ann", "secret", "Ann");
    world_run(w, 3000);
    ck_assert_str_eq(c->down, shown[_i].text);
    ck_assert_int_ne(c->stage, CONSOLE_INSIDE);
}

TEST(addresses, the_longest_reason_fits)
{
    char expected[300];
    TELL("cban", "NAME=192.0.2.7\nFOR=60\nREASON=" A127 "\n");
    (void)snprintf(expected, sizeof expected, BANNED_TEXT " until 2026-01-01 00:01:00 UTC: %s", A127);
    ck_assert_str_eq(shown_at_the_directory(IP), expected);
    char payload[600] = "NAME=192.0.2.7\nFOR=60\nREASON=";
    for (int i = 0; i < 127; i++)
        strcat(payload, "%3d"); /* each is escaped */
    TELL("cban", payload);
    ck_assert_uint_eq(strlen(shown_at_the_directory(IP)), strlen(expected));
    start_anew();
    ck_assert_uint_eq(strlen(shown_at_the_directory(IP)), strlen(expected));
}

TEST_LOOP(addresses, whoever_is_there_is_put_out, 0, 2)
{
    struct raw *ann = raw_login_from(w, IP, "Ann", "secret"), *bob = raw_login_from(w, IP + 256, "Bob", "secret");
    char ticket[40];
    (void)snprintf(ticket, sizeof ticket, "%s", ticket_of(ann, "Ann"));
    struct raw *buddy = open_buddy(w, "Ann", IP, ticket), *idle = raw_open(w, IP), *elsewhere = raw_open(w, IP - 256);
    TELL("cban", _i == 0 ? "NAME=192.0.2.7\n" : "NAME=192.0.2.200/24\n"); /* bits behind the network's do not count */
    ck_assert_str_eq(got_text(line(), "name"), _i == 0 ? "192.0.2.7/32" : "192.0.2.0/24");
    CLOSED(ann);
    CLOSED(buddy);
    CLOSED(idle);
    OPEN(bob);
    OPEN(elsewhere);
    OPEN(asker);
    ck_assert_uint_eq(logged("reason=\"banned\""), 3);
    /* who goes round the directory does not get in, either */
    uint32_t jobs = w->hash_jobs;
    struct raw *r = raw_open(w, IP);
    REFUSED(raw_auth(r, "Ann", "secret"), "blak", 100);
    REFUSED(raw_auth(r, "Fresh", "secret"), "blak", 100);
    REFUSED(sign_up(r, "Fresh", "secret"), "blak", 100);
    REFUSED(ask_pers(r, "Ann"), "sess", 101);
    ck_assert_uint_eq(w->hash_jobs, jobs); /* nor costs anything */
    REFUSED(raw_ask(raw_open(w, IP), "AUTH", buddy_tags("Ann", ticket)), "user", 101);
    REFUSED(raw_ask(raw_open(w, IP), "AUTH", buddy_tags("Nobody", ticket)), "user", 101);
    can_log_in("Ann", "secret"); /* from elsewhere: it is the address */
    TELL("cunb", _i == 0 ? "NAME=192.0.2.7/32\n" : "NAME=192.0.2.99/24\n");
    ck_assert_str_eq(shown_at_the_directory(IP), "");
    ck_assert_str_eq(login_code_from(IP, "Ann", "secret"), "");
}

TEST(addresses, networks_of_every_size_are_found)
{
    char payload[64];
    for (uint32_t bits = 1; bits <= 32; bits++) {
        (void)snprintf(payload, sizeof payload, "NAME=203.0.113.77/%u\n", (unsigned)bits);
        uint32_t ip = 0xCB00714Du;
        TELL("cban", payload);
        ck_assert_str_ne(shown_at_the_directory(ip), "");
        ck_assert_str_ne(shown_at_the_directory(ip ^ (bits == 32 ? 0 : 1)), "");
        ck_assert_str_eq(shown_at_the_directory(ip ^ 1u << (32 - bits)), "");
        TELL("cunb", payload);
        ck_assert_str_eq(shown_at_the_directory(ip), "");
    }
}

TEST(addresses, the_smallest_network_says_why)
{
    TELL("cban", "NAME=192.0.0.0/8\nREASON=wide\n");
    TELL("cban", "NAME=192.0.2.0/24\nREASON=narrow\n");
    TELL("cban", "NAME=192.0.2.7\nREASON=brief\nFOR=60\n");
    ck_assert_str_eq(shown_at_the_directory(IP), BANNED_TEXT " until 2026-01-01 00:01:00 UTC: brief");
    world_pass(w, 61);
    ck_assert_str_eq(shown_at_the_directory(IP), BANNED_TEXT ": narrow");
    NO("cunb", "NAME=192.0.2.7\n", "192.0.2.7/32 is not banned, but 192.0.2.0/24 is");
    TELL("cunb", "NAME=192.0.2.0/24\n");
    ck_assert_str_eq(shown_at_the_directory(IP), BANNED_TEXT ": wide");
}

TEST_LOOP(addresses, a_trusted_network_can_be_banned, 0, 2)
{
    reopen_people(&(struct world_options){.config = "trusted = 192.0.2.0/24\n"});
    asker = raw_operator(w);
    TELL("cban", _i == 0 ? "NAME=192.0.2.0/24\n" : "NAME=192.0.2.7\n");
    ck_assert_str_eq(shown_at_the_directory(IP), BANNED_TEXT ".");
}

TEST(addresses, the_operator_gets_in_from_anywhere)
{
    TELL("cban", "NAME=0.0.0.0/1\n");
    TELL("cban", "NAME=128.0.0.0/1\n");
    OPEN(asker);
    asker = raw_operator(w); /* of whatever address */
    IN_FORCE("ban:0.0.0.0/1 ban:128.0.0.0/1");
    ck_assert_str_eq(shown_at_the_directory(IP), BANNED_TEXT ".");
    TELL("cunb", "NAME=0.0.0.0/1\n");
    TELL("cunb", "NAME=255.255.255.255/1\n");
    ck_assert_str_eq(shown_at_the_directory(IP), "");
}

TEST(addresses, what_the_server_is_down_for_counts_more)
{
    TELL("cban", "NAME=192.0.2.7\n");
    world_configure(w, "down = Back at 6\n");
    ck_assert_str_eq(shown_at_the_directory(IP), "Back at 6");
}

TEST(addresses, the_log_of_those_who_try_is_short)
{
    TELL("cban", "NAME=192.0.2.7\n");
    struct raw *r = raw_open(w, IP);
    for (int i = 0; i < 50; i++)
        REFUSED(raw_auth(r, "Ann", "secret"), "blak", 100);
    ck_assert_uint_eq(logged("event=login_refused"), 1);
    ck_assert_uint_eq(logged("name=\"Ann\" reason=\"blak\" ban=\"192.0.2.7/32\""), 1);
    world_run(w, 61000);
    REFUSED(raw_auth(raw_open(w, IP), "Ann", "secret"), "blak", 100);
    ck_assert_uint_eq(logged("more=49"), 1);
}

/* ---- Mutes ---------------------------------------------------------------- */

static struct person *ann, *bob, *cid;

/* Three in East, with buddy links, who are one another's friends; Ann is muted. */
static void mute_ann(void)
{
    ann = linked("Ann");
    bob = linked("Bob");
    cid = linked("Cid");
    put_on_list(bob, "B", "Ann");
    put_on_list(ann, "B", "Bob");
    for (int i = 0; i < 3; i++)
        go(people[i].lobby, "East");
    TELL("cmut", "NAME=Ann\n");
    SAYS(line(), "what=mute\nname=Ann\nreason=\nsince=*\nuntil=\nmeans=\"an account\"");
    ck_assert_uint_eq(logged("event=mute "), 1);
    forget_all();
    for (int i = 0; i < 3; i++)
        raw_forget(people[i].buddy);
}

TEST_LOOP(mutes, only_its_own_console_sees_its_lines, 0, 2)
{
    mute_ann();
    SUCCEEDS(raw_ask(ann->lobby, "mesg", _i == 0 ? "TEXT=\"hello all\"\n" : "TEXT=\"hello all\"\nATTR=EA\n"));
    world_settle(w);
    GOT(ann->lobby, "mesg +msg");
    SAYS(frame_at(ann->lobby, 1), _i == 0 ? "N=Ann\nFROM=Ann\nATTR=0\nRI=1\nT=\"hello all\"\nTEXT=\"hello all\""
                                          : "F=AE\nN=Ann\nFROM=Ann\nATTR=0\nRI=1\nT=\"hello all\"\nTEXT=\"hello all\"");
    GOT(bob->lobby, "");
    GOT(cid->lobby, "");
    SUCCEEDS(raw_ask(bob->lobby, "mesg", "TEXT=hi\n")); /* it reads what others say */
    ck_assert_uint_eq(frames_of(ann->lobby, "+msg", NULL), 2);
    TELL("cunm", "NAME=Ann\n");
    SAYS(line(), "what=mute\nname=Ann");
    ck_assert_uint_eq(logged("event=unmute "), 1);
    raw_forget(bob->lobby);
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=again\n"));
    ck_assert_str_eq(got_text(raw_expect(bob->lobby, "+msg"), "T"), "again");
}

/* What it is answered is the same as if it were not muted. */
TEST_LOOP(mutes, its_private_lines_reach_nobody, 0, 3)
{
    static const char *const forms[] = {"TEXT=psst\nPRIV=%s\n", "TEXT=psst\nN=%s\n", "TEXT=psst\nPRIV=%s\nATTR=A\n"};
    char payload[64];
    mute_ann();
    (void)snprintf(payload, sizeof payload, forms[_i], "Bob");
    SUCCEEDS(raw_ask(ann->lobby, "mesg", payload));
    world_settle(w);
    GOT(ann->lobby, "mesg");
    GOT(bob->lobby, "");
    for (int i = 0; i < 2; i++) {
        (void)snprintf(payload, sizeof payload, forms[_i], i == 0 ? "Nobody" : "Ann");
        REFUSED(raw_ask(ann->lobby, "mesg", payload), "user", 102);
    }
    REFUSED(raw_ask(ann->lobby, "mesg", "TEXT=\n"), "miss", 0);
    SUCCEEDS(raw_ask(bob->lobby, "mesg", "TEXT=psst\nPRIV=Ann\n"));
    ck_assert_uint_eq(frames_of(ann->lobby, "+msg", NULL), 1);
}

TEST(mutes, a_muted_player_races)
{
    mute_ann();
    start_race(ann->lobby, bob->lobby, false);
    ck_assert_uint_eq(frames_of(ann->lobby, "+ses", NULL), 1);
    ck_assert_uint_eq(frames_of(bob->lobby, "+ses", NULL), 1);
    say(ann->lobby, "chal", "PERS=*\n");
    say(bob->lobby, "chal", "PERS=*\n");
    forget_all();
    word(bob->lobby, ann->lobby, TOKEN); /* the other way round, and without ATTR */
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "N=Bob\nTEXT=DECL\n"));
    ck_assert_str_eq(got_text(raw_expect(bob->lobby, "+msg"), "T"), "DECL");
    word(ann->lobby, bob->lobby, TOKEN);
    word(ann->lobby, bob->lobby, "DECL");
    const struct got *g;
    (void)frames_of(bob->lobby, "+msg", &g);
    ck_assert_str_eq(got_text(g, "T"), "DECL");
    SUCCEEDS(raw_ask(ann->lobby, "peek", "NAME=Bob\n"));
    SUCCEEDS(raw_ask(ann->lobby, "auxi", "TEXT=x_Ann_Bob\n"));
    (void)frames_of(bob->lobby, "+msg", &g);
    ck_assert_str_eq(got_text(g, "T"), "x_Ann_Bob");
}

TEST_LOOP(mutes, its_letters_are_neither_told_nor_kept, 0, 3)
{
    mute_ann();
    if (_i >= 1)
        link_down(bob);
    if (_i == 2)
        leave_lobby(bob);
    size_t before = w->record_count;
    write_letter(ann, "Bob", "hello");
    ck_assert_uint_eq(w->record_count, before);
    REFUSED(letter(ann, "Nobody", "x", NULL), "user", 102);
    REFUSED(letter(ann, "Ann", "x", NULL), "user", 102);
    REFUSED(letter(ann, "Bob", "", NULL), "miss", 0);
    if (_i >= 1)
        REFUSED(letter(ann, "Bob", "x", "0"), "user", 102);
    if (_i == 2)
        enter(bob);
    if (_i == 1)
        put_on(bob);
    if (_i >= 1)
        link_up(bob);
    ask_rosters(bob);
    READS(bob, "");
    write_letter(bob, "Ann", "hi");
    READS(ann, "hi");
    write_letter(cid, "Bob", "free");
    READS(bob, "free");
    write_letter(ann, "Bob", "still");
    READS(bob, "free");
    TELL("cunm", "NAME=Ann\n");
    write_letter(ann, "Bob", "now");
    READS(bob, "free now");
}

/* A full mailbox says so to everybody. */
TEST(mutes, a_full_mailbox_is_full)
{
    mute_ann();
    link_down(bob);
    leave_lobby(bob);
    for (int i = 0; i < KEPT_LETTERS; i++)
        write_letter(cid, "Bob", "x");
    REFUSED(letter(cid, "Bob", "x", NULL), "full", 0);
    REFUSED(letter(ann, "Bob", "x", NULL), "full", 0);
}

/* Nor is a letter told that goes at once, as there is no place to keep it. */
TEST(mutes, its_letters_in_a_full_table_are_told_to_nobody)
{
    struct world_options options = {.limits = {16, 64, 8, 16, 64, 2, 0}};
    reopen_people(&options);
    asker = raw_operator(w);
    struct person *rude = linked("Ann"), *calm = linked("Bob");
    (void)person("Cid");
    ask_rosters(calm);
    write_letter(calm, "Cid", "one");
    write_letter(calm, "Cid", "two");
    TELL("cmut", "NAME=Ann\n");
    SUCCEEDS(letter(rude, "Bob", "rude", NULL));
    READS(calm, "");
}

/* What friends are shown of it, without the texts that it wrote. */
TEST_LOOP(mutes, its_presence_has_no_text, 0, 2)
{
    mute_ann();
    if (_i == 0) { /* what it said before is gone from their screens */
        TELL("cunm", "NAME=Ann\n");
        SUCCEEDS(raw_ask(ann->buddy, "PSET", "SHOW=AWAY\nSTAT=rude\nPROD=ruder\n"));
        world_settle(w);
        SAYS(raw_expect(bob->buddy, "PGET"), "SHOW=AWAY\nUSER=Ann\nPROD=ruder\nSTAT=rude");
        raw_forget(bob->buddy);
        TELL("cmut", "NAME=Ann\n");
        world_settle(w);
        SAYS(raw_expect(bob->buddy, "PGET"), "SHOW=AWAY\nUSER=Ann\nPROD=\nSTAT=");
    }
    SUCCEEDS(raw_ask(ann->buddy, "PSET", "SHOW=XA\nSTAT=worse\nPROD=worst\n"));
    world_settle(w);
    SAYS(raw_expect(bob->buddy, "PGET"), "SHOW=XA\nUSER=Ann\nPROD=\nSTAT=");
    raw_send(bob->buddy, "PGET", "USER=Ann\n");
    SAYS(raw_expect(bob->buddy, "PGET"), "SHOW=XA\nUSER=Ann\nPROD=\nSTAT=");
    raw_send(ann->buddy, "PGET", "USER=Ann\n"); /* its own console shows it */
    SAYS(raw_expect(ann->buddy, "PGET"), "SHOW=XA\nUSER=Ann\nPROD=worst\nSTAT=worse");
    TELL("cunm", "NAME=Ann\n");
    raw_forget(bob->buddy);
    raw_send(bob->buddy, "PGET", "USER=Ann\n"); /* what was written then stays unseen */
    SAYS(raw_expect(bob->buddy, "PGET"), "SHOW=XA\nUSER=Ann\nPROD=\nSTAT=");
    SUCCEEDS(raw_ask(ann->buddy, "PSET", "SHOW=CHAT\nSTAT=fine\nPROD=p\n"));
    SAYS(raw_expect(bob->buddy, "PGET"), "SHOW=CHAT\nUSER=Ann\nPROD=p\nSTAT=fine");
}

static const char *x_seen_by(struct raw *r)
{
    const struct got *g = NULL;
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "+usr") == 0 && strcmp(got_text(r->frames[i], "N"), "Ann") == 0)
            g = r->frames[i];
    return g ? got_text(g, "X") : "-";
}

/* X, the text of `auxi`, stands in the lists of everybody in the room. */
TEST_LOOP(mutes, its_text_in_the_list_is_its_own, 0, 2)
{
    mute_ann();
    if (_i == 0) {
        TELL("cunm", "NAME=Ann\n");
        SUCCEEDS(raw_ask(ann->lobby, "auxi", "TEXT=rude\n"));
        world_settle(w);
        ck_assert_str_eq(x_seen_by(bob->lobby), "rude");
        TELL("cmut", "NAME=Ann\n");
        world_settle(w);
        ck_assert_str_eq(x_seen_by(bob->lobby), "");
        ck_assert_str_eq(x_seen_by(ann->lobby), "rude");
        forget_all();
    }
    const struct got *g = raw_ask(ann->lobby, "auxi", "TEXT=worse\n");
    SAYS(g, "STATUS=1\nTEXT=worse");
    world_settle(w);
    ck_assert_str_eq(x_seen_by(ann->lobby), "worse");
    ck_assert_str_eq(x_seen_by(bob->lobby), "");
    struct raw *dan = player(w, "Dan", "");
    raw_send(dan, "move", "NAME=East\n"); /* who comes later sees none, either */
    world_settle(w);
    ck_assert_str_eq(x_seen_by(dan), "");
    send_word(ann->lobby, "Eve", TOKEN);
    TELL("cunm", "NAME=Ann\n");
    SUCCEEDS(raw_ask(ann->lobby, "auxi", "TEXT=fine\n"));
    world_settle(w);
    ck_assert_str_eq(x_seen_by(bob->lobby), "fine");
    SUCCEEDS(raw_ask(ann->lobby, "pers", "PERS=Ann\n"));
}

TEST_LOOP(mutes, all_personas_are_muted_and_later_ones_too, 0, 2)
{
    mute_ann();
    if (_i == 1) {
        start_anew();
        enter(ann);
        enter(bob);
        go(bob->lobby, "East");
    }
    SUCCEEDS(raw_ask(ann->lobby, "cper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(ann->lobby, "pers", "PERS=Ace\n"));
    go(ann->lobby, "East");
    forget_all();
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=hi\n"));
    world_settle(w);
    ck_assert_uint_eq(frames_of(ann->lobby, "+msg", NULL), 1);
    ck_assert_uint_eq(frames_of(bob->lobby, "+msg", NULL), 0);
    IN_FORCE("mute:Ann");
    TELL("cunm", "NAME=Ace\n");
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=hi\n"));
    world_settle(w);
    ck_assert_uint_eq(frames_of(bob->lobby, "+msg", NULL), 1);
}

/* Its player's other link is no stranger: it would show that nobody is told. */
TEST(mutes, its_own_other_persona_is_told)
{
    mute_ann();
    SUCCEEDS(raw_ask(ann->lobby, "cper", "PERS=Ace\n"));
    char ticket[40];
    (void)snprintf(ticket, sizeof ticket, "%s", ticket_of(ann->lobby, "Ace"));
    struct raw *ace = open_buddy(w, "Ace", 0, ticket);
    write_letter(ann, "Ace", "myself");
    ck_assert_str_eq(letters(ace), "myself");
}

TEST(mutes, a_mute_may_end_by_itself)
{
    mute_ann();
    TELL("cmut", "NAME=Ann\nFOR=600\nREASON=loud\n"); /* in its place */
    TELL("cbns", "");
    ck_assert_str_eq(got_text(line(), "reason"), "loud");
    world_run(w, 590000);
    forget_all();
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=one\n"));
    world_run(w, 15000);
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=two\n"));
    world_settle(w);
    ck_assert_uint_eq(frames_of(bob->lobby, "+msg", NULL), 1);
    ck_assert_uint_eq(frames_of(ann->lobby, "+msg", NULL), 2);
    IN_FORCE("");
}

/* What nobody has seen is in no report, and it may report others. */
TEST(mutes, it_reports_abuse_and_its_lines_are_in_no_report)
{
    mute_ann();
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=unheard\n"));
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=unread\nPRIV=Bob\n"));
    SUCCEEDS(raw_ask(bob->lobby, "mesg", "TEXT=heard\n"));
    SUCCEEDS(raw_ask(ann->lobby, "rept", "PERS=Bob\n"));
    ck_assert_uint_eq(kept_count(w, "rept", ""), 1);
    ck_assert_uint_eq(kept_count(w, "line", ""), 1);
    ck_assert_uint_eq(kept_count(w, "line", "TEXT=heard"), 1);
}

/* Whoever does not read makes a muted player wait, as he does any other. */
TEST(mutes, it_waits_for_slow_readers_as_others_do)
{
    mute_ann();
    raw_window(bob->lobby, 0);
    size_t answered[2];
    for (int k = 0; k < 2; k++) {
        struct raw *speaker = k == 0 ? ann->lobby : cid->lobby;
        if (k == 1)
            TELL("cmut", "NAME=Cid\n");
        send_lines(speaker, 0, 5);
        world_settle(w);
        answered[k] = frames_of(speaker, "mesg", NULL);
    }
    ck_assert_uint_eq(answered[0], answered[1]);
}

TEST(mutes, ban_and_mute_of_one_name_are_two_things)
{
    TELL("cban", "NAME=Pest\n");
    TELL("cmut", "NAME=Pest\nFOR=60\n");
    IN_FORCE("ban:Pest mute:Pest");
    start_anew();
    IN_FORCE("ban:Pest mute:Pest");
    TELL("cunb", "NAME=Pest\n");
    IN_FORCE("mute:Pest");
    NO("cunb", "NAME=Pest\n", "Pest is not banned");
    world_pass(w, 61);
    NO("cunm", "NAME=Pest\n", "Pest is not muted");
}
