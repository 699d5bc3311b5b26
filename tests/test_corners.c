/* Corners: what happens seldom, in a full table, with a record that has been
 * tampered with, or at the one moment in which something else is under way. Most
 * of it is asked for by `make coverage`; here, unlike elsewhere, a test may lay
 * hands on the state, where the way to it would be thousands of steps long.
 *
 * SPDX-License-Identifier: MIT */
#define NASCAR_NO_SHELL
#include "../nascar_server.c"

#include "logins.h"

static void check_and_close(void)
{
    ck_assert_ptr_null(nascar_check(w->state));
    close_world();
}

static void event(enum nascar_event_type type, uint32_t conn, uint32_t receipt, const void *bytes, uint32_t size)
{
    struct nascar_event e = {.type = type, .conn = conn, .receipt = receipt, .bytes = bytes, .size = size};
    (void)world_step(w, &e);
}

static void recording_event(enum nascar_event_type type, uint32_t conn, uint32_t receipt, const char *kind,
                            const char *payload)
{
    uint8_t bytes[NASCAR_RECORD_BYTES];
    size_t size = console_frame(bytes, sizeof bytes, kind, 0, payload, strlen(payload) + 1);
    ck_assert_uint_gt(size, 0);
    event(type, conn, receipt, bytes, (uint32_t)size);
}

/* How many records of a kind the state comes to that hold this text. */
static size_t kept(const char *kind, const char *part)
{
    kept_compact(w);
    return kept_count(w, kind, part);
}

/* An account that is there, with personas. */
static void keep_account(const char *name, const char *personas)
{
    char payload[256];
    (void)snprintf(payload, sizeof payload, "CREATED=1\nLAST=1\nBAN=0\nNAME=%s\nHASH=x\nPERSONAS=%s\n", name, personas);
    keep("acct", payload);
}

/* The personas Q0 to Q`count` - 1, four an account. */
static void keep_fours(int count)
{
    for (int i = 0; i < count; i += 4) {
        char name[16], personas[64];
        (void)snprintf(name, sizeof name, "Q%d", i);
        (void)snprintf(personas, sizeof personas, "Q%d,Q%d,Q%d,Q%d", i, i + 1, i + 2, i + 3);
        keep_account(name, personas);
    }
}

static uint32_t receipt_of(const struct raw *r)
{
    return conn_at(w->state, r->conn)->receipt;
}

/* The entropy that the next steps draw is all zero. */
static void no_chance(void)
{
    memset(w->state->entropy, 0, sizeof w->state->entropy);
    w->state->entropy_size = NASCAR_ENTROPY_BYTES;
}

/* All slots for records but `left` are taken, by some that say nothing new. */
static void fill_records(uint32_t left)
{
    while (w->state->record_count < RECORDS - left)
        queue_record(w->state, NONE, 0, &(struct record){.kind = RECORD_STAT, .stat.persona = NONE});
}

/* Its outbox, of which it reads nothing, takes less than `bytes` more. */
static void fill_outbox(struct raw *r, uint32_t bytes)
{
    raw_window(r, 0);
    for (int i = 0; i < 100 && outbox_free(conn_at(w->state, r->conn)) >= bytes; i++)
        say(r, "news", "NAME=0\n");
    ck_assert_uint_lt(outbox_free(conn_at(w->state, r->conn)), bytes);
    ck_assert_uint_ge(outbox_free(conn_at(w->state, r->conn)), REPLY_BYTES);
}

/* ---- Parts ----------------------------------------------------------------- */

GROUP(parts, open_world, check_and_close, 60);

TEST(parts, readers_take_what_is_at_the_edge)
{
    char out[4] = "abc";
    ck_assert(!valid_token("abc", 5)); /* it was cut */
    ck_assert_uint_eq(read_string((const uint8_t *)"xyz", 3, 0, out, 0), 3);
    ck_assert_str_eq(out, "abc");
    struct date d = date_of_day(-719469); /* the day before 1 March of the year 0 */
    ck_assert_int_eq(d.year, 0);
    ck_assert_int_eq(d.month, 2);
    ck_assert_int_eq(d.day, 29);
    ck_assert(is_private(0x64400001u)); /* 100.64.0.1 */
    ck_assert(is_private(0xa9fe0001u)); /* 169.254.0.1 */
    ck_assert(!is_private(0x64800001u));
    ck_assert(!is_live(w->state, &w->state->rooms, w->state->rooms.high));
}

TEST(parts, a_configuration_leaves_out_what_it_cannot_read)
{
    char long_line[700], why[80];
    static const char text[] = "ping-s = 40\0idle-s = 70\n";
    struct config config;
    ck_assert(!nascar_config_check("room", "East: x: 12345678901234567890", why, sizeof why));
    ck_assert(nascar_config_check("room", "\"East", why, sizeof why)); /* no quotes, but a name */
    config_read(&config, (const uint8_t *)text, sizeof text - 1);
    ck_assert_uint_eq(config.ping_ms, 40000);
    ck_assert_uint_eq(config.idle_ms, 70000);
    (void)snprintf(long_line, sizeof long_line, "%0100d = 1\nping-s = 40\n", 1);
    config_read(&config, (const uint8_t *)long_line, (uint32_t)strlen(long_line));
    ck_assert_uint_eq(config.ping_ms, 40000);
    (void)snprintf(long_line, sizeof long_line, "ping-s = %0600d\nidle-s = 80\n", 1);
    config_read(&config, (const uint8_t *)long_line, (uint32_t)strlen(long_line));
    ck_assert_uint_eq(config.ping_ms, 30000);
    ck_assert_uint_eq(config.idle_ms, 80000);
}

TEST(parts, limits_have_ranges)
{
    static const uint32_t ends[][2] = {{1, 65536},    {1, 1048576},  {8, 4096},    {1, 65536},
                                       {1, 1u << 26}, {1, 1u << 20}, {0, 1u << 20}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        for (int end = 0; end < 2; end++) {
            uint32_t limits[] = {4, 4, 8, 4, 4, 4, 4};
            struct nascar_limits l;
            _Static_assert(sizeof limits == sizeof l &&
                               sizeof ends / sizeof ends[0] == sizeof limits / sizeof limits[0],
                           "all of them");
            limits[i] = ends[i][end];
            memcpy(&l, limits, sizeof l);
            ck_assert_uint_gt(nascar_arena_size(&l), 0);
            limits[i] = end == 0 ? ends[i][0] - 1 : ends[i][1] + 1; /* 0 - 1 is too many, too */
            memcpy(&l, limits, sizeof l);
            ck_assert_uint_eq(nascar_arena_size(&l), 0);
            ck_assert_ptr_null(nascar_init(w->arena, w->arena_bytes, &l));
        }
    }
    ck_assert_ptr_null(nascar_init(w->arena, w->arena_bytes - 1, &w->options.limits));
    ck_assert_ptr_null(nascar_init(NULL, w->arena_bytes, &w->options.limits)); /* calloc() has failed */
}

TEST(parts, nothing_begins_before_there_is_entropy_enough)
{
    struct nascar_event clock = {.type = NASCAR_CLOCK, .conn = NASCAR_NONE};
    struct nascar_event little = {.type = NASCAR_ENTROPY, .conn = NASCAR_NONE, .bytes = (const uint8_t *)"0123456789"};
    void *arena = calloc(1, w->arena_bytes);
    ck_assert_ptr_nonnull(arena);
    struct nascar *s = nascar_init(arena, w->arena_bytes, &w->options.limits);
    ck_assert_ptr_nonnull(s);
    for (int i = 0; i < 7; i++) {
        ck_assert(nascar_step(s, &little)); /* nothing, at first */
        little.size = 10;
        ck_assert(!nascar_step(s, &clock));
    }
    ck_assert(nascar_step(s, &little));
    ck_assert_uint_eq(nascar_entropy_wanted(s), NASCAR_ENTROPY_BYTES - 70 + sizeof s->hash_key);
    free(arena);
}

TEST(parts, events_that_make_no_sense_change_nothing)
{
    uint32_t nobody = w->connection_count - 1, size = 1;
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    uint32_t matches = match_waiter(w->state, 0), reports = report_waiter(w->state, 0);
    static const enum nascar_event_type types[] = {NASCAR_BYTES,  NASCAR_CLOSED,  NASCAR_DRAINED,
                                                   NASCAR_RECORD, NASCAR_VERDICT, (enum nascar_event_type)99};
    ck_assert_ptr_null(nascar_outbox(w->state, nobody, &size));
    ck_assert_uint_eq(size, 0);
    ck_assert(!nascar_closing(w->state, nobody));
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        event(types[i], nobody, 0, "", 0);
        event(types[i], matches, 0, "", 0);
        event(types[i], reports, 0, "", 0);
    }
    send_word(ann, "Bob", "token"); /* a pair that does not start */
    world_settle(w);
    event(NASCAR_RECORD, matches, 0, "", 0);
    w->hold_records = true;
    send_word(bob, "Ann", "ACPT");
    world_settle(w);
    say(ann, "chal", "PERS=Bob\n");
    say(bob, "chal", "PERS=Ann\n");
    event(NASCAR_RECORD, matches, 12345, "", 0); /* it starts, and waits for another */
    world_settle(w);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL), 0);
    say(ann, "chal", "PERS=Bob\n"); /* once more: still one race */
    SUCCEEDS(raw_look(ann, "chal"));
    world_release_records(w, true);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL), 1);
    ck_assert_uint_eq(frames_of(bob, "+ses", NULL), 1);
    world_release_records(w, true);
    ck_assert_uint_eq(frames_of(bob, "+ses", NULL), 1);
}

TEST(parts, a_flood_behind_a_broken_frame_is_not_looked_at)
{
    uint8_t bytes[3 * INBOX_BYTES];
    struct raw *r = raw_open(w, 0);
    memset(bytes, 0, sizeof bytes);
    event(NASCAR_BYTES, r->conn, 0, bytes, sizeof bytes);
    ck_assert(nascar_closing(w->state, r->conn));
    world_settle(w);
    ck_assert(raw_closed(r));
    ck_assert(world_logged(w, "event=broken_frame"));
    ck_assert(!world_logged(w, "more input than"));
}

TEST(parts, nothing_that_is_sent_ends_the_quotes_of_a_log_line)
{
    struct raw *r = raw_open(w, 0);
    raw_send_frame(r, "a\"\\b", 0, "", 1);
    world_settle(w);
    ck_assert(world_logged(w, "kind=\"a\\x22\\x5cb\""));
}

/* ---- Chance ------------------------------------------------------------------ */

GROUP(chance, open_world, check_and_close, 60);

TEST(chance, a_session_number_is_never_0_nor_given_twice)
{
    const struct directory_session *session;
    no_chance();
    struct raw *first = raw_open(w, 0);
    ck_assert_int_eq(got_number(raw_ask(first, "@dir", "PROD=x\n"), "SESS"), 1);
    no_chance();
    struct raw *second = raw_open(w, 0);
    ck_assert_int_eq(got_number(raw_ask(second, "@dir", "PROD=x\n"), "SESS"), 1);
    ck_assert_uint_eq(w->state->directory.live, 1); /* the older one made way */
    session = session_at(w->state, find_session(w->state, 1));
    ck_assert_uint_eq(session->peer, second->ip);
    /* one that is in use is not drawn again, while there is another to draw */
    no_chance();
    w->state->entropy[NASCAR_ENTROPY_BYTES - 1] = 1;
    w->state->entropy[NASCAR_ENTROPY_BYTES - 5] = 7;
    struct raw *third = raw_open(w, 0);
    ck_assert_int_eq(got_number(raw_ask(third, "@dir", "PROD=x\n"), "SESS"), 7);
}

TEST(chance, a_race_has_a_seed_other_than_0)
{
    const struct got *g = NULL;
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    no_chance();
    start_race(ann, bob, false);
    ck_assert_uint_eq(frames_of(ann, "+ses", &g), 1);
    ck_assert_int_eq(got_number(g, "SEED"), 1);
}

/* ---- Logging in ------------------------------------------------------------------ */

GROUP(logging_in, open_world, check_and_close, 60);

TEST(logging_in, a_mask_that_is_gone_when_the_verdict_comes_is_a_wrong_password)
{
    char payload[256], letters[128];
    struct raw *directory = raw_open(w, 0);
    const struct got *g = raw_ask(directory, "@dir", "PROD=x\n");
    console_mask(got_text(g, "MASK"), "secret", letters, sizeof letters);
    (void)snprintf(payload, sizeof payload, "NAME=Ann\nMASK=%d\nPASS=%s\n", got_number(g, "SESS"), letters);
    struct raw *r = raw_open(w, directory->ip);
    w->hold_verdicts = true;
    raw_send(r, "auth", payload);
    world_run(w, 2 * DIRECTORY_MS);
    ck_assert_uint_eq(w->state->directory.live, 0);
    world_release_verdicts(w);
    REFUSED(raw_expect(r, "auth"), failures[WRONG_PASSWORD].code, failures[WRONG_PASSWORD].status);
    ck_assert_uint_eq(w->state->accounts.live, 0);
}

TEST(logging_in, a_masked_password_that_is_too_long_is_wrong)
{
    char payload[256];
    struct raw *r = raw_open(w, 0);
    (void)snprintf(payload, sizeof payload, "NAME=Ann\nPASS=$%0100d\n", 0);
    REFUSED(raw_ask(r, "auth", payload), failures[WRONG_PASSWORD].code, failures[WRONG_PASSWORD].status);
}

/* A record that comes back as another is an operator's fault, or a disk's. */
TEST_LOOP(logging_in, who_waits_for_an_account_that_did_not_come_about_is_told, 0, 2)
{
    static const char *const kinds[] = {"auth", "acct"};
    w->hold_records = true;
    struct raw *r = raw_open(w, 0);
    char payload[128];
    (void)snprintf(payload, sizeof payload, "NAME=Ann\nPASS=$%s\n", "");
    struct raw *directory = raw_open(w, r->ip);
    const struct got *g = raw_ask(directory, "@dir", "PROD=x\n");
    char letters[80];
    console_mask(got_text(g, "MASK"), "secret", letters, sizeof letters);
    (void)snprintf(payload, sizeof payload, "NAME=Ann\nMASK=%d\nPASS=%s\n", got_number(g, "SESS"), letters);
    raw_send(r, kinds[_i], payload);
    world_settle(w);
    keep_account("Other", "");
    recording_event(NASCAR_RECORD, r->conn, receipt_of(r), "seen", "NAME=Other\nLAST=1\n");
    world_settle(w);
    ck_assert_str_eq(got_code(raw_expect(r, kinds[_i])), failures[NOT_KEPT].code);
    ck_assert_uint_eq(find_account(w->state, "Ann"), NONE);
}

static const struct {
    const char *bytes;
    uint32_t size;
} no_hashes[] = {
#define HASH(text) \
    { \
        text, sizeof text - 1 \
    }
    HASH(""),
    HASH("ninety-six......................................................................................"),
    HASH("more-than-that............................................................................................."),
    HASH("$2b$10$N9qo8uLOickgx2ZMRZoMye\0IjZAgcfl7p92ldGxad68LJZdL17lhWy"),
    HASH("$2b$10$\n"),
    HASH("two words"),
    HASH("$2b$10$\xe9"),
    HASH("\x7f"),
#undef HASH
};

_Static_assert(
    sizeof "ninety-six......................................................................................" ==
        NASCAR_HASH_BYTES + 1,
    "one character too many");

/* Neither without a hash, nor with one that could not be kept as it is. */
TEST_LOOP(logging_in, without_a_hash_there_is_no_account_and_no_new_password, 0, COUNT(no_hashes))
{
    char payload[128], letters[80];
    struct raw *r = raw_open(w, 0), *directory = raw_open(w, r->ip);
    const struct got *g = raw_ask(directory, "@dir", "PROD=x\n");
    console_mask(got_text(g, "MASK"), "secret", letters, sizeof letters);
    (void)snprintf(payload, sizeof payload, "NAME=Ann\nMASK=%d\nPASS=%s\n", got_number(g, "SESS"), letters);
    struct raw *bob = player(w, "Bob", "");
    struct raw *operator= raw_operator(w);
    struct nascar_event verdict = {.type = NASCAR_VERDICT,
                                   .bytes = (const uint8_t *)no_hashes[_i].bytes,
                                   .size = no_hashes[_i].size};
    w->hold_verdicts = true;
    raw_send(r, "acct", payload);
    world_settle(w);
    event(NASCAR_VERDICT, r->conn, receipt_of(r) + 1, "", 0); /* another's */
    world_settle(w);
    ck_assert_ptr_null(raw_look(r, "acct"));
    for (int i = 0; i < 3; i++) {
        const char *kind = i == 2 ? "auth" : "acct"; /* a first login, too, makes an account */
        if (i > 0)
            raw_send(r, kind, payload);
        world_settle(w);
        verdict.conn = r->conn;
        verdict.receipt = receipt_of(r);
        verdict.accepted = i > 0;
        (void)world_step(w, &verdict);
        ck_assert_str_eq(got_code(raw_expect(r, kind)), failures[NOT_KEPT].code);
        ck_assert_uint_eq(find_account(w->state, "Ann"), NONE);
    }
    raw_send(bob, "edit", "NAME=Bob\nPASS=secret\nCHNG=another\n");
    world_settle(w);
    verdict.conn = bob->conn;
    verdict.receipt = receipt_of(bob);
    (void)world_step(w, &verdict);
    ck_assert_str_eq(got_code(raw_expect(bob, "edit")), failures[NOT_KEPT].code);
    for (int i = 0; i < 4; i++) { /* for an account that is there, and for one that is not */
        raw_send(operator, "cpwd", i < 2 ? "NAME=Cid\nPASS=secret\n" : "NAME=Bob\nPASS=secret\n");
        world_settle(w);
        verdict.conn = operator->conn;
        verdict.receipt = receipt_of(operator);
        verdict.accepted = i % 2 == 0;
        (void)world_step(w, &verdict);
        ck_assert_str_eq(got_code(raw_expect(operator, "cpwd")), failures[NOT_KEPT].code);
    }
    ck_assert_uint_eq(find_account(w->state, "Cid"), NONE);
    w->hold_verdicts = false;
    SUCCEEDS(raw_auth(raw_open(w, 0), "Bob", "secret"));
}

TEST(logging_in, the_longest_hash_is_kept_whole)
{
    char hash[NASCAR_HASH_BYTES];
    struct raw *operator= raw_operator(w);
    for (uint32_t i = 0; i < sizeof hash; i++)
        hash[i] = (char)(0x21 + i % 94); /* each character that there may be */
    hash[sizeof hash - 1] = '\0';
    w->hold_verdicts = true;
    raw_send(operator, "cpwd", "NAME=Ann\nPASS=secret\n");
    world_settle(w);
    struct nascar_event verdict = {.type = NASCAR_VERDICT,
                                   .conn = operator->conn,
                                   .receipt = receipt_of(operator),
                                   .accepted = true,
                                   .bytes = (const uint8_t *)hash,
                                   .size = sizeof hash - 1};
    (void)world_step(w, &verdict);
    SUCCEEDS(raw_expect(operator, "cpwd"));
    world_restart(w);
    ck_assert_str_eq(account_at(w->state, find_account(w->state, "Ann"))->hash, hash);
}

/* A word in place of a password. To a live server it is one more cipher text, or
 * no hex digits; to a replay it is a password, if it has a session where one is needed. */
TEST(logging_in, only_a_replay_takes_a_word_for_any_password)
{
    char password[SSC2_CHARS + 1];
    struct raw *r = raw_open(w, 0);
    struct request cipher = {.s = w->state, .c = r->conn, .conn = conn_at(w->state, r->conn)}, masked = cipher;
    cipher.payload = (const uint8_t *)"PASS=~" REDACTED;
    masked.payload = (const uint8_t *)"PASS=$" REDACTED;
    cipher.size = masked.size = 6 + sizeof REDACTED - 1;
    for (int i = 0; i < 2; i++) {
        w->state->replays = i == 1;
        ck_assert_int_eq(get_password(&masked, password), NO_SESSION);
    }
    (void)raw_ask(raw_open(w, r->ip), "@dir", "PROD=x\n");
    ck_assert_int_eq(get_password(&masked, password), OK);
    ck_assert_str_eq(password, REDACTED);
    w->state->replays = false;
    ck_assert_int_eq(get_password(&masked, password), WRONG_PASSWORD);
    ck_assert_int_eq(get_password(&cipher, password), OK);
    ck_assert_str_ne(password, REDACTED);
    w->state->replays = true;
    ck_assert_int_eq(get_password(&cipher, password), OK);
    ck_assert_str_eq(password, REDACTED);
}

TEST(logging_in, of_99_taken_variants_none_is_offered)
{
    char name[32];
    struct raw *ann = player(w, "Ann", "");
    for (int i = 1; i < 100; i++) {
        (void)snprintf(name, sizeof name, "Dan%d", i);
        keep_account(name, i % 2 ? name : "");
        if (i % 2 == 0) {
            (void)snprintf(name, sizeof name, "Q%d", i);
            char payload[80];
            (void)snprintf(payload, sizeof payload, "PERS=Dan%d\nNAME=Dan%d\n", i, i);
            keep("cper", payload);
        }
    }
    keep_account("Dan", "Dan");
    const struct got *g = raw_ask(ann, "cper", "PERS=Dan\nALTS=4\n");
    REFUSED(g, failures[TAKEN].code, failures[TAKEN].status);
    ck_assert(!got_has(g, "OPTS"));
    g = raw_ask(ann, "cper", "PERS=Ann\nALTS=10\n"); /* at most four */
    REFUSED(g, failures[TAKEN].code, failures[TAKEN].status);
    ck_assert_str_eq(got_text(g, "OPTS"), "Ann1,Ann2,Ann3,Ann4");
}

TEST(logging_in, new_passwords_count_as_logins_when_the_old_one_is_wrong)
{
    world_configure(w, "logins-per-address = 3\n");
    struct raw *ann = raw_login_from(w, world_fresh_ip(w), "Ann", "secret");
    for (int i = 0; i < 9; i++)
        SUCCEEDS(raw_ask(ann, "edit", "PASS=secret\nMAIL=a@b\n"));
    for (int i = 0; i < 3; i++)
        ck_assert_str_eq(got_code(raw_ask(ann, "edit", "PASS=guessed\nMAIL=a@c\n")), failures[WRONG_PASSWORD].code);
    ck_assert_str_eq(got_code(raw_ask(ann, "edit", "PASS=secret\nMAIL=a@d\n")), failures[TOO_MANY_TRIES].code);
}

/* There is no password to try, but a hash to make. */
TEST(logging_in, sign_ups_for_which_there_is_no_place_count_as_logins)
{
    char payload[256], letters[128];
    world_configure(w, "logins-per-address = 3\naccounts-per-address = 1\n");
    uint32_t ip = world_fresh_ip(w), jobs = 0;
    for (int i = 0; i < 9; i++) {
        struct raw *directory = raw_open(w, ip);
        const struct got *g = raw_ask(directory, "@dir", "PROD=x\n");
        console_mask(got_text(g, "MASK"), "secret", letters, sizeof letters);
        (void)snprintf(payload, sizeof payload, "NAME=Racer%d\nMASK=%d\nPASS=%s\n", i, got_number(g, "SESS"), letters);
        ck_assert_str_eq(got_code(raw_ask(raw_open(w, ip), "acct", payload)),
                         i == 0 ? "" : failures[TOO_MANY_TRIES].code);
        jobs = i == 0 ? w->hash_jobs : jobs;
    }
    ck_assert_uint_eq(w->hash_jobs - jobs, 3);
    ck_assert_uint_eq(w->state->accounts.live, 1);
}

TEST(logging_in, a_login_without_a_slot_for_its_hash_goes_on_when_there_is_one)
{
    uint8_t frame[256];
    struct raw *r = player(w, "Ann", "");
    size_t size = console_frame(frame, sizeof frame, "edit", 0, "PASS=secret\nMAIL=a\n", 20);
    no_chance(); /* that is, enough: none is asked for in these steps */
    w->hold_verdicts = true;
    for (uint32_t i = 0; i < RECORDS; i++)
        w->state->job[i].conn = NASCAR_NONE;
    w->state->job_count = RECORDS;
    event(NASCAR_BYTES, r->conn, 0, frame, (uint32_t)size);
    ck_assert(is_stalled(w->state, r->conn));
    event(NASCAR_CLOCK, NASCAR_NONE, 0, "", 0);
    ck_assert(!is_stalled(w->state, r->conn));
    world_release_verdicts(w);
    SUCCEEDS(raw_expect(r, "edit"));
}

/* ---- The lobby -------------------------------------------------------------------- */

GROUP(the_lobby, open_world, check_and_close, 60);

TEST(the_lobby, small_refusals)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    struct raw *cid = raw_open(w, 0);
    SUCCEEDS(raw_auth(cid, "Cid", "secret"));
    REFUSED(raw_ask(cid, "chal", "PERS=Bob\n"), failures[NO_SESSION].code, failures[NO_SESSION].status);
    REFUSED(raw_ask(ann, "news", "NAME=10\n"), failures[MISSING].code, failures[MISSING].status);
    const struct got *g = raw_ask(ann, "room", "NAME=Mine\nPASS=12345678901234567\n");
    REFUSED(g, failures[BAD_NAME].code, failures[BAD_NAME].status);
    ck_assert(got_has(g, "IDENT"));
    REFUSED(raw_ask(ann, "rank", "AUTH=g0000000000000000000000000000000\n"), failures[NO_SESSION].code,
            failures[NO_SESSION].status);
    REFUSED(raw_ask(ann, "rank", "AUTH=0g000000000000000000000000000000\n"), failures[NO_SESSION].code,
            failures[NO_SESSION].status);
    send_word(ann, "Bob", "token");
    world_settle(w);
    raw_forget(ann);
    send_word(bob, "Ann", "DECL or not"); /* its first four letters count */
    SUCCEEDS(raw_expect(bob, "mesg"));
    ck_assert_uint_eq(frames_of(ann, "+msg", &g), 1);
    ck_assert_str_eq(got_raw(g, "T"), "DECL");
    send_word(bob, "Ann", "WELL or not"); /* no answer, and a token has no spaces */
    REFUSED(raw_expect(bob, "mesg"), failures[BAD_TOKEN].code, failures[BAD_TOKEN].status);
}

TEST(the_lobby, a_long_room_name_is_found)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    SUCCEEDS(raw_ask(ann, "room", "NAME=A-room-with-a-name-of-31-chars-\n"));
    go(bob, "a-ROOM-with-a-name-of-31-chars-");
    SUCCEEDS(raw_ask(bob, "room", "NAME=A-room-with-a-name-of-31-chars\n")); /* another */
}

TEST(the_lobby, each_console_is_told_the_address_that_it_reached)
{
    const struct got *g = NULL;
    struct raw *ann = player(w, "Ann", "");
    w->server_ip = 0xC0A80001u;
    struct raw *bob = player(w, "Bob", ""), *cid = player(w, "Cid", "");
    forget_all();
    SUCCEEDS(raw_ask(cid, "room", "NAME=Mine\n"));
    ck_assert_uint_ge(frames_of(ann, "+rom", &g), 1);
    ck_assert_uint_eq(got_address(g, "A"), WORLD_SERVER_IP);
    ck_assert_uint_ge(frames_of(bob, "+rom", &g), 1);
    ck_assert_uint_eq(got_address(g, "A"), 0xC0A80001u);
}

/* PROTOCOL 8: of two behind one address the one sees the other's own. */
TEST(the_lobby, each_console_is_told_the_address_at_which_it_reaches_a_player)
{
    const struct got *g = NULL;
    uint32_t home = world_fresh_ip(w);
    struct raw *ann = raw_login_from(w, home, "Ann", "secret"), *bob = raw_login_from(w, home, "Bob", "secret");
    SUCCEEDS(raw_ask(ann, "addr", "ADDR=192.168.1.20\nPORT=1\n"));
    struct raw *cid = player(w, "Cid", "East");
    go(bob, "East");
    forget_all();
    go(ann, "East");
    world_settle(w);
    ck_assert_uint_eq(frames_of(bob, "+usr", &g), 1);
    ck_assert_uint_eq(got_address(g, "A"), 0xC0A80114u);
    ck_assert_uint_eq(frames_of(cid, "+usr", &g), 1);
    ck_assert_uint_eq(got_address(g, "A"), home);
}

TEST(the_lobby, rooms_without_a_number_or_a_name_are_left_out)
{
    static const struct nascar_limits many = {4, 4, 1200, 4, 4, 4, 0};
    char config[4096], name[32];
    reopen(&(struct world_options){.limits = many});
    w->options.no_check = true;
    struct raw *ann = player(w, "Ann", "");
    int next = 0;
    for (int turn = 0; turn < 33; turn++) {
        size_t size = 0;
        for (int i = 0; i < 32; i++)
            size += (size_t)snprintf(config + size, sizeof config - size, "room = R%d: x: 2\n", next++);
        world_configure(w, config);
        world_settle(w);
        raw_forget(ann);
    }
    ck_assert_uint_eq(w->state->next_room, FIRST_CREATED_ROOM);
    ck_assert(world_logged(w, "event=room_left_out"));
    (void)snprintf(name, sizeof name, "R%d", next - 1);
    ck_assert_uint_eq(find_room(w->state, name), NONE);
    SUCCEEDS(raw_ask(ann, "room", "NAME=Mine\n"));
    ck_assert_int_eq(room_at(w->state, find_room(w->state, "Mine"))->ident, FIRST_CREATED_ROOM);
    w->options.no_check = false;
}

TEST(the_lobby, a_room_is_not_called_as_a_persona_is)
{
    (void)player(w, "Ann", "");
    world_configure(w, "room = ann: x: 10\n");
    ck_assert(world_logged(w, "event=room_left_out name=\"ann\""));
    ck_assert_uint_eq(find_room(w->state, "Ann"), NONE);
}

TEST(the_lobby, no_room_is_made_while_nobody_could_enter_it)
{
    struct raw *ann = player(w, "Ann", ""), *gone = player(w, "Gone", "");
    uint32_t capacity = w->state->occupants.capacity;
    raw_close(gone);
    world_settle(w);
    w->state->occupants.capacity = w->state->occupants.live;
    const struct got *g = raw_ask(ann, "room", "NAME=Mine\n");
    REFUSED(g, failures[ROOM_FULL].code, failures[ROOM_FULL].status);
    ck_assert(got_has(g, "IDENT"));
    w->state->occupants.capacity = capacity;
    SUCCEEDS(raw_ask(ann, "room", "NAME=Mine\n"));
}

/* They are taken out one after the other, and two rooms have changed by then. */
TEST(the_lobby, the_last_one_out_of_a_room_ends_it_whoever_else_goes)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", ""), *cid = player(w, "Cid", "East");
    struct raw *dan = player(w, "Dan", "");
    SUCCEEDS(raw_ask(ann, "room", "NAME=Mine\n"));
    go(bob, "Mine");
    forget_all();
    conn_doom(w->state, ann->conn, "test");
    conn_doom(w->state, cid->conn, "test");
    conn_doom(w->state, bob->conn, "test");
    event(NASCAR_CLOCK, NASCAR_NONE, 0, "", 0);
    world_settle(w);
    ck_assert(raw_closed(ann) && raw_closed(bob) && raw_closed(cid));
    REFUSED(raw_ask(dan, "move", "NAME=Mine\n"), failures[NO_ROOM].code, failures[NO_ROOM].status);
}

TEST(the_lobby, what_finds_no_room_in_an_outbox_closes_it)
{
    uint8_t frame[2000];
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    size_t size = console_frame(frame, sizeof frame, "news", 0, frame, 0);
    raw_window(ann, 0);
    for (int i = 0; i < 800; i++)
        conn_write(w->state, ann->conn, frame, (uint32_t)size);
    raw_forget(bob);
    event(NASCAR_CLOCK, NASCAR_NONE, 0, "", 0);
    world_settle(w);
    ck_assert(raw_closed(ann));
    ck_assert(world_logged(w, "reason=\"outbox full\""));
    ck_assert_uint_eq(frames_of(bob, "+usr", NULL), 1);
}

TEST(the_lobby, ranks_asked_for_twice_before_they_come_come_once)
{
    struct raw *ann = player(w, "Ann", "");
    fill_outbox(ann, REPLY_BYTES + ROW_BYTES);
    say(ann, "sele", "RANKS=3\n");
    say(ann, "sele", "RANKS=4\n");
    raw_forget(ann);
    raw_window(ann, SIZE_MAX);
    world_settle(w);
    ck_assert_uint_eq(frames_of(ann, "+rnk", NULL), 1); /* D=-2: nobody has raced */
}

TEST(the_lobby, who_makes_a_room_with_many_rooms_to_hear_of_gets_in)
{
    struct view v;
    struct raw *ann = player(w, "Ann", "");
    view_start(&v, ann);
    fill_outbox(ann, REPLY_BYTES + ROW_BYTES);
    for (int i = 0; i < 15; i++) {
        char name[16], payload[64];
        (void)snprintf(name, sizeof name, "P%d", i);
        (void)snprintf(payload, sizeof payload, "NAME=Room of %d\nDESC=A text of some thirty letters\n", i);
        SUCCEEDS(raw_ask(player(w, name, ""), "room", payload));
    }
    raw_send(ann, "room", "NAME=Mine\n");
    world_settle(w);
    raw_window(ann, SIZE_MAX);
    view_update(&v, ann);
    ck_assert_ptr_nonnull(view_room(&v, v.room));
    ck_assert_str_eq(view_room(&v, v.room)->name, "Mine");
    ck_assert_uint_eq(v.room_count, w->state->rooms.live);
}

TEST(the_lobby, only_the_slow_are_let_go_for_room_in_a_table)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", ""), *cid = player(w, "Cid", "");
    raw_close(ann); /* its place is free */
    world_settle(w);
    fill_outbox(bob, REPLY_BYTES + ROW_BYTES);
    drop_laggards(w->state, cid->conn);
    ck_assert(nascar_closing(w->state, bob->conn));
    ck_assert(!nascar_closing(w->state, cid->conn));
    world_settle(w);
}

/* ---- Slow readers -------------------------------------------------------------------- */

GROUP(slow_readers, open_world, check_and_close, 60);

TEST(slow_readers, who_logs_in_anew_behind_missed_lines_is_not_told_of_them)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    fill_outbox(bob, REPLY_BYTES + CHAT_BYTES);
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=hello\n"));
    ck_assert_uint_eq(conn_at(w->state, bob->conn)->missed_lines, 1);
    say_auth(bob, "Eve", "secret"); /* an account without a persona yet */
    world_settle(w);
    raw_forget(bob);
    ck_assert_uint_eq(player_at(w->state, conn_at(w->state, bob->conn)->player)->persona, NONE);
    raw_window(bob, SIZE_MAX);
    world_settle(w);
    ck_assert_uint_eq(frames_of(bob, "+msg", NULL), 0);
}

TEST(slow_readers, a_slow_player_without_a_persona_is_not_told_what_it_missed)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    fill_outbox(bob, REPLY_BYTES + CHAT_BYTES);
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=hello\n"));
    persona_off(w->state, conn_at(w->state, bob->conn)->player);
    event(NASCAR_CLOCK, NASCAR_NONE, 0, "", 0);
    raw_window(bob, SIZE_MAX);
    world_settle(w);
    ck_assert_uint_eq(frames_of(bob, "+msg", NULL), 0);
    ck_assert(!world_logged(w, "event=slow_reader"));
}

TEST(slow_readers, who_is_far_behind_cannot_be_challenged)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    fill_outbox(bob, REPLY_BYTES + CHAT_BYTES);
    send_word(ann, "Bob", "token");
    REFUSED(raw_expect(ann, "mesg"), failures[BUSY].code, failures[BUSY].status);
    raw_window(bob, SIZE_MAX);
    world_settle(w);
    send_word(ann, "Bob", "token");
    SUCCEEDS(raw_expect(ann, "mesg"));
}

/* Its outbox is full in this very turn: it reads, and there was no time yet. */
static void crowd_outbox(struct raw *r)
{
    static const char text[] = "0123456789012345678901234567890123456789012345678901234567890123456789";
    while (!conn_at(w->state, r->conn)->crowded) {
        write_msg(w->state, "", "Server", 0, 0, text);
        send_frame(w->state, r->conn);
    }
}

TEST_LOOP(slow_readers, an_announcement_waits_for_who_is_about_to_read, 0, 2)
{
    uint8_t frame[512];
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "West"), *asker = raw_operator(w);
    forget_all();
    crowd_outbox(bob);
    const char *payload = _i == 1 ? "ROOM=East\nTEXT=hi\n" : "TEXT=hi\n";
    size_t size = console_frame(frame, sizeof frame, "csay", 0, payload, strlen(payload) + 1);
    event(NASCAR_BYTES, asker->conn, 0, frame, (uint32_t)size);
    ck_assert(is_stalled(w->state, asker->conn) == (_i == 0)); /* only for those whom it is for */
    world_settle(w);
    SUCCEEDS(raw_expect(asker, "csay"));
    const struct got *g = NULL;
    ck_assert_uint_eq(frames_of(ann, "+msg", &g), 1);
    (void)frames_of(bob, "+msg", &g);
    ck_assert_int_eq(strcmp(got_text(g, "T"), "hi") == 0, _i == 0);
}

/* An `auxi` that has to wait is not answered yet, and its peek is not forgotten. */
TEST_LOOP(slow_readers, an_auxi_that_waits_keeps_its_peek, 0, 2)
{
    uint8_t frame[512];
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "West");
    if (_i == 1) { /* an offer to Bob stands, which the next one to him takes back */
        send_word(ann, "Bob", "first");
        SUCCEEDS(raw_expect(ann, "mesg"));
    }
    SUCCEEDS(raw_ask(ann, "peek", "NAME=Bob\n"));
    forget_all();
    crowd_outbox(bob);
    size_t size = console_frame(frame, sizeof frame, "auxi", 0, "TEXT=token\n", 12);
    event(NASCAR_BYTES, ann->conn, 0, frame, (uint32_t)size);
    ck_assert(is_stalled(w->state, ann->conn));
    world_settle(w);
    SUCCEEDS(raw_expect(ann, "auxi"));
    const struct got *g = NULL;
    (void)frames_of(bob, "+msg", &g);
    ck_assert_str_eq(got_text(g, "T"), "token");
}

TEST_LOOP(slow_readers, a_challenge_waits_for_who_is_about_to_read, 0, 2)
{
    uint8_t frame[512];
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "West"), *cid = player(w, "Cid", "");
    if (_i == 1) { /* an offer to Bob, which one to Cid takes back */
        send_word(ann, "Bob", "first");
        SUCCEEDS(raw_expect(ann, "mesg"));
    }
    forget_all();
    crowd_outbox(bob);
    char payload[64];
    (void)snprintf(payload, sizeof payload, "PRIV=%s\nATTR=3\nTEXT=token\n", _i == 1 ? "Cid" : "Bob");
    size_t size = console_frame(frame, sizeof frame, "mesg", 0, payload, strlen(payload) + 1);
    event(NASCAR_BYTES, ann->conn, 0, frame, (uint32_t)size - 1);
    event(NASCAR_BYTES, ann->conn, 0, frame + size - 1, 1);
    ck_assert(is_stalled(w->state, ann->conn));
    event(NASCAR_BYTES, ann->conn, 0, frame, 12); /* more may come meanwhile */
    timer_start(w->state, conn_timer(ann->conn, T_THROTTLE), Q_THROTTLE);
    w->mono_ms += THROTTLE_MS;
    event(NASCAR_CLOCK, NASCAR_NONE, 0, "", 0); /* ... or the time to try again */
    ck_assert(is_stalled(w->state, ann->conn));
    event(NASCAR_BYTES, ann->conn, 0, frame + 12, (uint32_t)size - 12);
    event(NASCAR_DRAINED, ann->conn, 0, "", 0);
    world_settle(w);
    ck_assert_uint_eq(frames_of(_i == 1 ? cid : bob, "+usr", NULL) > 0, 1);
    ck_assert_uint_ge(frames_of(ann, "mesg", NULL), 2);
}

TEST(slow_readers, a_verdict_for_who_is_being_closed_is_late)
{
    struct raw *ann = player(w, "Ann", "");
    raw_window(ann, 0);
    w->hold_verdicts = true;
    raw_send(ann, "edit", "PASS=secret\nCHNG=another\n");
    world_settle(w);
    uint32_t receipt = receipt_of(ann), conn = ann->conn;
    conn_doom(w->state, conn, "test");
    event(NASCAR_CLOCK, NASCAR_NONE, 0, "", 0);
    event(NASCAR_VERDICT, conn, receipt, "", 0);
    event(NASCAR_DRAINED, conn, 0, "", 0);
    w->hold_verdicts = false;
    world_settle(w);
    ck_assert(raw_closed(ann));
    SUCCEEDS(raw_auth(raw_open(w, 0), "Ann", "secret"));
}

/* ---- Results and reports ----------------------------------------------------------------- */

GROUP(results_and_reports, open_world, check_and_close, 60);

static const char finish[] = "FINISPOS0=1\nFINISPOS1=2\n";

TEST_LOOP(results_and_reports, a_race_counts_though_one_of_the_two_is_deleted, 0, 2)
{
    char payload[256];
    const struct got *g = NULL;
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    start_race(ann, bob, false);
    ck_assert_uint_eq(frames_of(ann, "+ses", &g), 1);
    (void)snprintf(payload, sizeof payload, "AUTH=%s\n%s", got_raw(g, "AUTH"), finish);
    struct raw *gone = _i == 0 ? bob : ann, *stays = _i == 0 ? ann : bob;
    (void)snprintf(payload + 200, 40, "PERS=%s\n", gone->name);
    keep("dper", payload + 200); /* though it is worn */
    world_settle(w);
    ck_assert(raw_closed(gone));
    ck_assert(world_logged(w, "reason=\"persona deleted\""));
    SUCCEEDS(raw_ask(stays, "rank", payload));
    ck_assert_uint_eq(kept("stat", "P1=1,"), 1);
}

TEST(results_and_reports, a_ticket_of_a_race_is_good_for_a_day_and_not_a_second_more)
{
    char payload[256];
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    (void)bob;
    for (uint32_t late = 0; late < 2; late++) {
        (void)snprintf(payload, sizeof payload, "AUTH=%032x\nWHEN=%u\nFLAGS=0\nSEQN=0\nHOST=Ann\nOPPO=Bob\n", late,
                       (uint32_t)w->state->wall_s - RACE_S + 1 - late);
        keep("race", payload);
        (void)snprintf(payload, sizeof payload, "AUTH=%032x\n%s", late, finish);
        const struct got *g = raw_ask(ann, "rank", payload);
        ck_assert_str_eq(got_code(g), late ? failures[NO_SESSION].code : "");
    }
}

TEST(results_and_reports, a_race_starts_in_the_next_step_if_there_is_no_slot_for_its_ticket)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    send_word(ann, "Bob", "token");
    world_settle(w);
    send_word(bob, "Ann", "ACPT");
    world_settle(w);
    fill_records(0);
    w->mono_ms += w->state->config.race_start_ms;
    event(NASCAR_CLOCK, NASCAR_NONE, 0, "", 0);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL), 0);
    world_run(w, 2);
    ck_assert_uint_eq(frames_of(ann, "+ses", NULL), 1);
}

/* PROTOCOL 5: 30 s. */
TEST(results_and_reports, a_race_of_half_a_minute_makes_way_for_a_new_challenge)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    (void)player(w, "Cid", "East");
    start_race(ann, bob, false);
    forget_all();
    uint32_t player = conn_at(w->state, ann->conn)->player;
    uint64_t started_ms = match_at(w->state, player_at(w->state, player)->match)->started_ms;
    world_run(w, started_ms + 29999 - w->mono_ms);
    send_word(ann, "Cid", "token");
    world_settle(w);
    REFUSED(raw_look(ann, "mesg"), failures[BUSY].code, failures[BUSY].status);
    w->mono_ms++;
    send_word(ann, "Cid", "token");
    world_settle(w);
    SUCCEEDS(raw_look(ann, "mesg"));
}

TEST(results_and_reports, a_challenge_under_a_new_configuration_may_end_before_older_ones)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    struct raw *cid = player(w, "Cid", "East"), *dan = player(w, "Dan", "East");
    send_word(ann, "Bob", "token");
    world_settle(w);
    world_configure(w, "challenge-s = 20\n");
    send_word(cid, "Dan", "token");
    world_settle(w);
    forget_all();
    world_run(w, 20001);
    ck_assert_uint_eq(frames_of(cid, "+msg", NULL), 1); /* DECL */
    ck_assert_uint_eq(frames_of(dan, "+msg", NULL), 1);
    ck_assert_uint_eq(frames_of(ann, "+msg", NULL), 0);
    world_run(w, 40000);
    ck_assert_uint_eq(frames_of(ann, "+msg", NULL), 1);
    ck_assert_uint_eq(frames_of(bob, "+msg", NULL), 1);
    ck_assert_uint_eq(frames_of(cid, "+msg", NULL), 1);
}

TEST(results_and_reports, a_leaderboard_that_grows_shorter_ends)
{
    char payload[128];
    for (int i = 0; i < 25; i++) {
        (void)snprintf(payload, sizeof payload, "Q%02d,Q%02d_1,Q%02d_2,Q%02d_3", i, i, i, i);
        char name[16];
        (void)snprintf(name, sizeof name, "Q%02d", i);
        keep_account(name, payload);
        for (int k = 0; k < 4; k++) {
            (void)snprintf(payload, sizeof payload,
                           k == 0 ? "P1=1,1,0,0,1500,0,1\nPERS=Q%02d\n" : "P1=1,1,0,0,1500,0,1\nPERS=Q%02d_%d\n", i, k);
            keep("stat", payload);
        }
    }
    struct raw *ann = player(w, "Ann", "");
    raw_window(ann, 0);
    raw_send(ann, "snap", "INDEX=0\nRANGE=100\n");
    raw_send(ann, "snap", "INDEX=0\nSTART=98\nRANGE=10\n");
    world_settle(w);
    ck_assert_uint_lt(player_at(w->state, conn_at(w->state, ann->conn)->player)->rows_left, 100);
    ck_assert_uint_gt(player_at(w->state, conn_at(w->state, ann->conn)->player)->rows_left, 1);
    keep("dper", "PERS=Q24_3\nNAME=Q24\n");
    raw_window(ann, SIZE_MAX);
    world_settle(w);
    ck_assert_uint_eq(frames_of(ann, "snap", NULL), 2);
    ck_assert_uint_eq(frames_of(ann, "+snp", NULL), 99 + 1);
}

TEST(results_and_reports, a_report_has_what_was_said_where_its_subject_has_spoken)
{
    struct raw *ann = player(w, "Ann", ""), *cid = player(w, "Cid", "East"), *dan = player(w, "Dan", "East");
    SUCCEEDS(raw_ask(cid, "mesg", "TEXT=mischief\n"));
    go(cid, "West");
    SUCCEEDS(raw_ask(dan, "mesg", "TEXT=what-was-that\n"));
    go(dan, "Beginner");
    SUCCEEDS(raw_ask(dan, "mesg", "TEXT=elsewhere\n"));
    SUCCEEDS(raw_ask(ann, "rept", "PERS=Cid\n"));
    ck_assert_uint_eq(kept("line", "mischief"), 1);
    ck_assert_uint_eq(kept("line", "what-was-that"), 1);
    ck_assert_uint_eq(kept("line", "elsewhere"), 0);
}

TEST(results_and_reports, a_report_is_a_draft_until_it_is_kept)
{
    struct raw *ann = player(w, "Ann", "East");
    (void)player(w, "Bob", "East");
    w->hold_records = true;
    raw_send(ann, "rept", "PERS=Bob\n");
    world_settle(w);
    ck_assert_uint_eq(w->state->reports.live, 1);
    ck_assert_uint_eq(kept("rept", ""), 0);
    event(NASCAR_RECORD, report_waiter(w->state, 0), 12345, "", 0); /* not what it waits for */
    ck_assert_ptr_null(raw_look(ann, "rept"));
    world_release_records(w, false);
    ck_assert_str_eq(got_code(raw_expect(ann, "rept")), failures[NOT_KEPT].code);
    ck_assert_uint_eq(w->state->reports.live, 0);
    event(NASCAR_RECORD, report_waiter(w->state, 0), 0, "", 0);
    keep("line", "ID=1\nINDEX=0\nTEXT=late\n"); /* of a report that did not come about */
    ck_assert_uint_eq(w->state->report_lines.live, 0);
}

TEST(results_and_reports, a_report_goes_on_when_there_are_slots_again)
{
    char payload[64];
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    for (int i = 0; i < 20; i++) {
        (void)snprintf(payload, sizeof payload, "TEXT=line-%d.\n", i);
        SUCCEEDS(raw_ask(bob, "mesg", payload));
    }
    w->hold_records = true;
    raw_send(ann, "rept", "PERS=Bob\n");
    world_settle(w);
    fill_records(3);
    world_release_records(w, true);
    world_release_records(w, true);
    SUCCEEDS(raw_expect(ann, "rept"));
    w->hold_records = false;
    world_settle(w);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(payload, sizeof payload, "line-%d.", i);
        ck_assert_uint_eq(kept("line", payload), 1);
    }
}

TEST(results_and_reports, reports_and_their_lines_are_so_many)
{
    char payload[96];
    struct raw *ann = player(w, "Ann", "East");
    (void)player(w, "Bob", "East");
    w->state->report_lines.capacity = CHAT_LINES - 1;
    REFUSED(raw_ask(ann, "rept", "PERS=Bob\n"), failures[SERVER_FULL].code, failures[SERVER_FULL].status);
    w->state->report_lines.capacity = 2;
    keep("line", "ID=7\nINDEX=1\n");
    ck_assert_uint_eq(w->state->report_lines.live, 0); /* of no report */
    keep("rept", "ID=7\nTIME=1\nNAME=Ann\nPERS=Bob\n");
    keep("line", "ID=7\nINDEX=5\nTEXT=fifth\n");
    keep("line", "ID=7\nINDEX=5\nTEXT=again\n");
    keep("line", "ID=7\nINDEX=2\nTEXT=second\n");
    ck_assert_uint_eq(kept("line", "again"), 0);
    keep("line", "ID=7\nINDEX=3\nTEXT=third\n"); /* one too many */
    ck_assert_uint_eq(kept("line", ""), 2);
    uint32_t first = list_first(&report_at(w->state, find_report(w->state, 7))->lines);
    ck_assert_str_eq(report_line_at(w->state, first)->line.text, "second");
    for (uint32_t i = 100; i < 100 + REPORTS; i++) {
        (void)snprintf(payload, sizeof payload, "ID=%u\nTIME=1\nNAME=Ann\nPERS=Bob\n", i);
        keep("rept", payload);
    }
    ck_assert_uint_eq(kept("rept", ""), REPORTS);
    ck_assert_uint_eq(kept("rept", "ID=355"), 0);
    w->state->report_lines.capacity = REPORT_LINES;
}

/* ---- Buddies and messages ------------------------------------------------------------------- */

GROUP(buddies_and_messages, open_world, check_and_close, 60);

TEST(buddies_and_messages, one_watches_25_and_may_ask_again_for_each)
{
    char payload[64];
    keep_fours(28);
    struct raw *buddy = buddy_of(player(w, "Ann", ""));
    SUCCEEDS(raw_ask(buddy, "RADD", "ID=1\nLIST=B\nUSER=Q26\n"));
    for (int i = 0; i < 25; i++) {
        (void)snprintf(payload, sizeof payload, "USER=Q%d\n", i);
        SUCCEEDS(raw_ask(buddy, "PADD", payload));
    }
    REFUSED(raw_ask(buddy, "PADD", "USER=Q25\n"), failures[ROSTER_FULL].code, failures[ROSTER_FULL].status);
    REFUSED(raw_ask(buddy, "PADD", "USER=Q26\n"), failures[ROSTER_FULL].code, failures[ROSTER_FULL].status);
    SUCCEEDS(raw_ask(buddy, "PADD", "USER=Q3\n"));
}

TEST(buddies_and_messages, a_ticket_for_the_buddy_service_ends_in_its_last_second)
{
    static const uint8_t ticket[8] = "ticket";
    uint8_t hash[16];
    char text[33], payload[128];
    keep_account("Ann", "Ann");
    hash_lkey(ticket, hash);
    write_hex(text, hash, sizeof hash);
    for (uint32_t left = 0; left < 2; left++) {
        (void)snprintf(payload, sizeof payload, "PERS=Ann\nHASH=%s\nWHEN=%u\n", text,
                       (uint32_t)w->state->wall_s + left);
        keep("tick", payload);
        const struct got *g = raw_ask(raw_open(w, 0), "AUTH", "USER=Ann\nLKEY=$7469636b65740000\n");
        ck_assert_str_eq(got_code(g), left ? "" : failures[BAD_LKEY].code);
    }
}

TEST(buddies_and_messages, what_a_roster_does_not_take_is_not_written_either)
{
    char payload[64];
    keep_fours(28);
    struct raw *buddy = buddy_of(player(w, "Ann", ""));
    for (int i = 0; i < 26; i++) {
        (void)snprintf(payload, sizeof payload, "ID=1\nLIST=B\nUSER=Q%d\n", i);
        ck_assert_str_eq(got_code(raw_ask(buddy, "RADD", payload)), i < 25 ? "" : failures[ROSTER_FULL].code);
    }
    ck_assert_uint_eq(world_kept(w, "rost"), 25);
}

TEST_LOOP(buddies_and_messages, a_friend_who_is_deleted_while_it_is_added_is_none, 0, 2)
{
    keep_account("Bob", "Bob");
    struct raw *buddy = buddy_of(player(w, "Ann", ""));
    w->hold_records = true;
    raw_send(buddy, "RADD", "ID=1\nLIST=B\nUSER=Bob\n");
    world_settle(w);
    keep("dper", "PERS=Bob\nNAME=Bob\n");
    if (_i == 0) {
        world_release_records(w, true);
        REFUSED(raw_expect(buddy, "RADD"), failures[NO_USER].code, failures[NO_USER].status);
    } else { /* what came back is another's */
        recording_event(NASCAR_RECORD, buddy->conn, receipt_of(buddy), "seen", "NAME=Ann\nLAST=1\n");
        const struct got *g = raw_expect(buddy, "RADD");
        SUCCEEDS(g);
        ck_assert(!got_has(g, "FUSR"));
    }
    ck_assert_uint_eq(w->state->edges.live, 0);
}

TEST(buddies_and_messages, kept_messages_wait_for_slots)
{
    struct raw *ann = player(w, "Ann", ""), *bob = buddy_of(player(w, "Bob", ""));
    keep("mesg", "ID=1\nTIME=1767225600\nWHEN=1767300000\nPERS=Ann\nUSER=Bob\nTYPE=C\nBODY=one\n");
    struct raw *buddy = buddy_of(ann);
    raw_forget(bob);
    raw_send(buddy, "RGET", "ID=1\nLIST=B\nPRES=Y\n");
    uint8_t frame[128];
    size_t size = console_frame(frame, sizeof frame, "RGET", 0, "ID=1\nLIST=B\n", 13);
    event(NASCAR_BYTES, buddy->conn, 0, frame, (uint32_t)size);
    fill_records(0);
    uint32_t waiting = 0;
    (void)nascar_outbox(w->state, buddy->conn, &waiting);
    fill_records(0);
    struct nascar_event drained = {.type = NASCAR_DRAINED, .conn = buddy->conn};
    (void)waiting;
    (void)world_step(w, &drained);
    world_settle(w);
    ck_assert_uint_eq(frames_of(buddy, "RECV", NULL), 1);
    ck_assert_uint_eq(kept("mesg", ""), 0);
}

TEST(buddies_and_messages, an_expired_message_between_others_makes_room)
{
    keep_account("Bob", "Bob");
    struct raw *buddy = buddy_of(player(w, "Ann", ""));
    SUCCEEDS(raw_ask(buddy, "SEND", "USER=Bob\nBODY=long\nSECS=100000\n"));
    SUCCEEDS(raw_ask(buddy, "SEND", "USER=Bob\nBODY=short\nSECS=5\n"));
    world_run(w, 10000);
    SUCCEEDS(raw_ask(buddy, "SEND", "USER=Bob\nBODY=last\nSECS=100000\n"));
    ck_assert_uint_eq(w->state->messages.live, 2);
    ck_assert_uint_eq(kept("mesg", "BODY=short"), 0);
    ck_assert_uint_eq(kept("mesg", "BODY=l"), 2);
}

/* ---- The operator ------------------------------------------------------------------------------ */

GROUP(the_operator, open_world, check_and_close, 60);

TEST(the_operator, who_lists_all_players_however_many)
{
    char name[24];
    struct raw *gone = player(w, "Gone", ""), *first = player(w, "First", "East"),
               *second = player(w, "Second", "East");
    for (int i = 0; i < 56; i++) {
        (void)snprintf(name, sizeof name, "Player%06d", i);
        (void)deaf_player(name);
    }
    SUCCEEDS(raw_auth(raw_open(w, 0), "Maskless", "secret"));
    raw_close(gone);
    world_settle(w);
    send_word(first, second->name, "token");
    world_settle(w);
    struct raw *operator= raw_operator(w);
    raw_send(operator, "cwho", "");
    raw_send(operator, "csta", ""); /* waits for the end of the list */
    world_settle(w);
    size_t lines = 0, busy = 0;
    bool without = false, east = false;
    for (const struct got *g; (g = raw_next(operator)) != NULL && strcmp(g->kind, "line") == 0; lines++) {
        busy += strcmp(got_text(g, "busy"), "yes") == 0;
        without = without || (strcmp(got_text(g, "account"), "Maskless") == 0 && !*got_text(g, "persona") &&
                              !*got_text(g, "room"));
        east = east || strcmp(got_text(g, "room"), "East") == 0;
    }
    ck_assert_uint_eq(lines, 59);
    ck_assert_uint_eq(busy, 1);
    ck_assert(without && east);
    SUCCEEDS(raw_expect(operator, "csta"));
}

TEST(the_operator, an_operator_is_told_why_there_is_no_account)
{
    static const struct nascar_limits few = {4, 2, 16, 4, 4, 4, 0};
    static const struct {
        const char *request, *why;
    } asked[] = {{"NAME=!\nPASS=secret\n", "expected a name"},
                 {"NAME=East\nPASS=secret\n", "a room of that name"},
                 {"NAME=Ann\nPASS=x\n", "expected a password"},
                 {"NAME=Ann\nPASS=12345678901234567\n", "expected a password"}};
    reopen(&(struct world_options){.limits = few});
    struct raw *operator= raw_operator(w);
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        const struct got *g = raw_ask(operator, "cpwd", asked[i].request);
        ck_assert_str_ne(got_code(g), "");
        ck_assert_ptr_nonnull(strstr(got_text(g, "TEXT"), asked[i].why));
    }
    keep_account("One", "One");
    w->hold_records = true;
    raw_send(operator, "cpwd", "NAME=Two\nPASS=secret\n");
    world_settle(w);
    keep_account("Quick", "Quick"); /* takes the last place */
    world_release_records(w, true);
    ck_assert_ptr_nonnull(strstr(got_text(raw_expect(operator, "cpwd"), "TEXT"), "max-accounts"));
    raw_send(operator, "cpwd", "NAME=One\nPASS=secret\n");
    world_settle(w);
    world_release_records(w, false);
    ck_assert_ptr_nonnull(strstr(got_text(raw_expect(operator, "cpwd"), "TEXT"), "kept on disk"));
}

/* ---- Records that nobody has written ----------------------------------------------------------- */

GROUP(records_that_nobody_has_written, open_world, check_and_close, 60);

#define ONES_40 "1111111111111111111111111111111111111111"

TEST(records_that_nobody_has_written, a_record_that_cannot_be_is_passed_over)
{
    static const struct said bad[] = {
        {"acct", "NAME=!\nHASH=x\n"},
        {"acct", "NAME=Eve\n"},
        {"acct", "NAME=Eve\nHASH=\n"},
        {"acct", "NAME=Ann\nHASH=x\n"},
        {"acct", "NAME=Eve\nHASH=0123456789012345678901234567890123456789012345678901234567890123456789"
                 "01234567890123456789012345\n"},
        {"edit", "NAME=Eve\nHASH=x\n"},
        {"edit", "NAME=Ann\nHASH=\n"},
        {"seen", "NAME=Eve\nLAST=5\n"},
        {"cper", "NAME=Eve\nPERS=Eva\n"},
        {"cper", "NAME=Ann\nPERS=!\n"},
        {"cper", "NAME=Ann\nPERS=Ann\n"},
        {"cper", "NAME=Four\nPERS=Fifth\n"},
        {"dper", "PERS=Eve\n"},
        {"rost", "PERS=Ann\nUSER=Ann\nLIST=B\n"},
        {"rost", "PERS=Eve\nUSER=Ann\nLIST=B\n"},
        {"rost", "PERS=Ann\nUSER=Eve\nLIST=B\n"},
        {"rost", "PERS=Ann\nUSER=Four\nLIST=\n"},
        {"tick", "PERS=Eve\nHASH=00112233445566778899aabbccddeeff\nWHEN=1767300000\n"},
        {"tick", "PERS=Ann\nHASH=no\nWHEN=1767300000\n"},
        {"tick", "PERS=Ann\nHASH=\nWHEN=0\n"},
        {"rslt", "INFO=1,2,3\nHOST=Ann\nOPPO=Four\n"},
        {"tick", "PERS=Ann\nHASH=00112233445566778899aabbccddeeff\nWHEN=0\n"},
        {"mesg", "PERS=Eve\nID=1\nWHEN=1767300000\nBODY=x\n"},
        {"dmsg", "PERS=Eve\nID=1\n"},
        {"dmsg", "PERS=Ann\nID=77\n"},
        {"race", "AUTH=xyz\nHOST=Ann\n"},
        {"race", ""},
        {"rank", "AUTH=xyz\nHOST=Ann\nP1=1,1,0,0,1500,0,1\n"},
        {"rank", "AUTH=00000000000000000000000000000000\nHOST=Ann\nP1=1,1,0,0\n"},
        {"rank", "AUTH=00000000000000000000000000000000\nHOST=Eve\nP1=1,1,0,0,1500,0,1\n"},
        {"stat", "PERS=Ann\nP1=1,x\n"},
        {"stat", "PERS=Ann\n"},
        {"stat", "PERS=Ann\nP1=" ONES_40 ONES_40 "\n"},
        {"line", "ID=1\nINDEX=0\nTEXT=x\n"},
        {"what", "PERS=Ann\n"},
    };
    keep_account("Ann", "Ann,averyverylongname");
    keep_account("Four", "Four,Four1,Four2,Four3");
    size_t before[9], count = w->state->personas.live;
    static const char *const kinds[] = {"acct", "rost", "tick", "mesg", "race", "stat", "rept", "line", "rslt"};
    ck_assert_uint_eq(count, 5);
    for (int k = 0; k < 9; k++)
        before[k] = kept(kinds[k], "");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        keep(bad[i].kind, bad[i].payload);
        for (int k = 0; k < 9; k++)
            ck_assert_msg(kept(kinds[k], "") == before[k], "%s %s made a %s", bad[i].kind, bad[i].payload, kinds[k]);
        ck_assert_uint_eq(w->state->personas.live, count);
    }
    uint8_t bytes[64];
    size_t size = console_frame(bytes, sizeof bytes, "dper", 0, "PERS=Ann\n", 10);
    event(NASCAR_RECORD, NASCAR_NONE, 0, bytes, (uint32_t)size + 1); /* with something behind it */
    event(NASCAR_RECORD, NASCAR_NONE, 0, bytes, 5);
    event(NASCAR_RECORD_FAILED, NASCAR_NONE, 0, bytes, 5);
    ck_assert_uint_ne(find_persona(w->state, "Ann"), NONE);
}

TEST(records_that_nobody_has_written, kept_messages_come_once_in_order_and_as_many_as_fit)
{
    char payload[128];
    static const struct nascar_limits few = {4, 16, 16, 4, 4, 60, 0};
    reopen(&(struct world_options){.limits = few});
    keep_account("Ann", "Ann");
    keep_account("Bob", "Bob");
    for (uint32_t i = 60; i > 5; i--) { /* 55, of which the last 5 are too many */
        (void)snprintf(payload, sizeof payload, "PERS=Ann\nUSER=Bob\nID=%u\nTIME=1\nWHEN=1767300000\nBODY=b%u.\n", i,
                       i);
        keep("mesg", payload);
        keep("mesg", payload);
    }
    ck_assert_uint_eq(kept("mesg", "PERS=Ann"), MESSAGES_PER_PERSONA);
    keep("dmsg", "PERS=Ann\nID=30\n"); /* in the middle */
    ck_assert_uint_eq(kept("mesg", "BODY=b30."), 0);
    ck_assert_uint_eq(kept("mesg", "PERS=Ann"), MESSAGES_PER_PERSONA - 1);
    for (uint32_t i = 100; i < 115; i++) { /* all are 60 */
        (void)snprintf(payload, sizeof payload, "PERS=Bob\nUSER=Ann\nID=%u\nTIME=1\nWHEN=1767300000\nBODY=b\n", i);
        keep("mesg", payload);
    }
    ck_assert_uint_eq(kept("mesg", ""), 60);
    uint32_t bob = find_persona(w->state, "Bob");
    ck_assert_uint_eq(persona_at(w->state, bob)->message_count, 11);
}

TEST(records_that_nobody_has_written, a_roster_takes_25_from_the_journal_and_all_what_the_table_holds)
{
    char payload[64];
    static const struct nascar_limits few = {4, 16, 16, 4, 27, 4, 0};
    reopen(&(struct world_options){.limits = few});
    keep_fours(32);
    for (int i = 1; i < 28; i++) {
        (void)snprintf(payload, sizeof payload, "PERS=Q0\nUSER=Q%d\nLIST=B\n", i);
        keep("rost", payload);
    }
    ck_assert_uint_eq(w->state->edges.live, 25);
    for (int i = 2; i < 6; i++) {
        (void)snprintf(payload, sizeof payload, "PERS=Q1\nUSER=Q%d\nLIST=I\n", i);
        keep("rost", payload);
    }
    ck_assert_uint_eq(w->state->edges.live, 27);
}

TEST(records_that_nobody_has_written, open_races_are_so_many_and_expired_ones_make_room)
{
    char payload[128];
    static const struct nascar_limits few = {3, 16, 16, 4, 4, 4, 0}; /* 48 races */
    reopen(&(struct world_options){.limits = few});
    keep_account("Ann", "Ann,Ann1");
    keep_account("Bob", "Bob,Bob1");
    static const char known[] = "AUTH=%032x\nWHEN=%u\nFLAGS=0\nSEQN=0\nHOST=%s\nOPPO=%s\n";
    uint32_t now = WORLD_WALL_S;
    for (uint32_t i = 0; i < 3; i++) {
        (void)snprintf(payload, sizeof payload, known, i, now, "Ann", "Bob");
        keep("race", payload);
        keep("race", payload); /* the same */
    }
    ck_assert_uint_eq(w->state->races.live, 3);
    keep("rank", "AUTH=00000000000000000000000000000001\nFLAGS=3\nSEQN=1\n"); /* over */
    for (uint32_t i = 10; i < 10 + RACES_PER_PERSONA - 1; i++) {
        if (i == 8 + RACES_PER_PERSONA) { /* two free places among them when the oldest is looked for */
            for (uint32_t k = 0; k < 2; k++) {
                (void)snprintf(payload, sizeof payload, known, 0x500 + k, now, "Bob", "Bob1");
                keep("race", payload);
            }
            keep("rank", "AUTH=00000000000000000000000000000500\nFLAGS=3\nSEQN=1\n");
            keep("rank", "AUTH=00000000000000000000000000000501\nFLAGS=3\nSEQN=1\n");
        }
        (void)snprintf(payload, sizeof payload, known, i, now, "Ann", "Ann1");
        keep("race", payload);
    }
    ck_assert_uint_eq(w->state->races.live, RACES_PER_PERSONA);
    ck_assert_uint_eq(kept("race", "AUTH=00000000000000000000000000000000"), 0); /* the oldest */
    keep("rank", "AUTH=0000000000000000000000000000000a\nFLAGS=3\nSEQN=1\n");
    keep("dper", "PERS=Ann1\nNAME=Ann\n");
    ck_assert_uint_eq(kept("race", "OPPO=Ann1"), 0);
    ck_assert_uint_eq(kept("race", "HOST=Ann"), RACES_PER_PERSONA - 1);
    for (uint32_t i = 100; i < 130; i++) {
        (void)snprintf(payload, sizeof payload, known, i, now - RACE_S + 60, "Nobody", "Noone");
        keep("race", payload);
    }
    ck_assert_uint_eq(w->state->races.live, 48); /* the table is full */
    keep("mesg", "PERS=Bob\nUSER=Ann\nID=1\nTIME=1\nWHEN=1767300000\nBODY=one\n");
    keep("mesg", "PERS=Bob\nUSER=Ann\nID=2\nTIME=1\nWHEN=1767225700\nBODY=two\n");
    keep("dmsg", "PERS=Bob\nID=1\n"); /* a free place among the messages */
    w->mono_ms += SWEEP_S * 1000u + 60000;
    (void)snprintf(payload, sizeof payload, known, 200u, now + 120, "Bob", "Bob1");
    keep("race", payload);
    ck_assert_uint_eq(kept("race", "HOST=Bob"), 1);
    ck_assert_uint_eq(kept("mesg", ""), 0);
}

TEST(records_that_nobody_has_written, full_messages_make_room_by_what_has_expired)
{
    static const struct nascar_limits few = {4, 16, 16, 4, 4, 2, 0};
    reopen(&(struct world_options){.limits = few});
    keep_account("Bob", "Bob");
    keep_account("Cid", "Cid");
    keep("race", "AUTH=00000000000000000000000000000001\nWHEN=1767225600\nHOST=Bob\nOPPO=Cid\n");
    keep("race", "AUTH=00000000000000000000000000000002\nWHEN=1767225600\nHOST=Bob\nOPPO=Cid\n");
    keep("rank", "AUTH=00000000000000000000000000000001\nFLAGS=3\nSEQN=1\n");
    keep("mesg", "PERS=Cid\nUSER=Bob\nID=1\nTIME=1\nWHEN=1767225601\nBODY=one\n");
    keep("mesg", "PERS=Cid\nUSER=Bob\nID=2\nTIME=1\nWHEN=1767325601\nBODY=two\n");
    struct raw *buddy = buddy_of(player(w, "Ann", ""));
    world_run(w, 10000);
    SUCCEEDS(raw_ask(buddy, "SEND", "USER=Bob\nBODY=three\n"));
    ck_assert_uint_eq(kept("mesg", ""), 2);
    ck_assert_uint_eq(kept("mesg", "BODY=one"), 0);
    ck_assert_uint_eq(kept("race", ""), 1);
}
