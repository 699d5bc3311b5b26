/* What the operator asks, by `nascar_server ctl`, and is told (DESIGN 7). That
 * the command itself says it on a terminal is in test_shell.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"
#include "people.h"

GROUP(the_operator, open_world, close_world, 0);

static int32_t count_of(struct raw *r, const char *what)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(got_text(r->frames[i], "name"), what) == 0)
            return atoi(got_text(r->frames[i], "value"));
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

/* ---- Lists ------------------------------------------------------------------ */

/* A line of an answer whose `key` is `value`; fails the test if there is none. */
static const struct got *line_with(struct raw *r, const char *key, const char *value)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "line") == 0 && strcmp(got_text(r->frames[i], key), value) == 0)
            return r->frames[i];
    ck_abort_msg("no line with %s=%s", key, value);
    return NULL;
}

TEST(the_operator, rooms_say_who_made_them_and_which_are_shut)
{
    struct raw *ann = player(w, "Ann", "East"), *asker = raw_operator(w);
    SUCCEEDS(raw_ask(ann, "room", "NAME=Pits\nPASS=secret\nMAX=7\nDESC=mine\n"));
    SUCCEEDS(raw_ask(asker, "crom", ""));
    ck_assert_uint_eq(frames_of(asker, "line", NULL), 5); /* the hub, three configured ones, and Ann's */
    const struct got *line = line_with(asker, "name", "Pits");
    ck_assert_str_eq(got_text(line, "players"), "1");
    ck_assert_str_eq(got_text(line, "limit"), "7");
    ck_assert_str_eq(got_text(line, "password"), "yes");
    ck_assert_str_eq(got_text(line, "made_by"), "Ann");
    line = line_with(asker, "name", "East");
    ck_assert_str_eq(got_text(line, "players"), "0");
    ck_assert_str_eq(got_text(line, "password"), "no");
    ck_assert_str_eq(got_text(line, "made_by"), "");
    SUCCEEDS(raw_ask(ann, "move", "NAME=East\n")); /* whoever is not told yet that it is gone is somebody else */
    raw_forget(asker);
    SUCCEEDS(raw_ask(asker, "crom", ""));
    ck_assert_uint_eq(frames_of(asker, "line", NULL), 4);
}

TEST(the_operator, who_says_since_when_and_for_how_long_nothing_was_asked)
{
    world_run(w, 200); /* in the middle of a second */
    struct raw *ann = player(w, "Ann", "East");
    world_run(w, 65400); /* it answers pings, which is no sign of a person */
    struct raw *asker = raw_operator(w);
    SUCCEEDS(raw_ask(asker, "cwho", ""));
    const struct got *line = line_with(asker, "persona", "Ann");
    ck_assert_str_eq(got_text(line, "since"), "2026-01-01T00:00:00Z");
    ck_assert_int_eq(atoi(got_text(line, "idle")), 65);
    SUCCEEDS(raw_ask(ann, "onln", "PERS=Ann\n"));
    raw_forget(asker);
    SUCCEEDS(raw_ask(asker, "cwho", ""));
    ck_assert_str_eq(got_text(line_with(asker, "persona", "Ann"), "idle"), "0");
    ck_assert_str_eq(got_text(line_with(asker, "persona", "Ann"), "since"), "2026-01-01T00:00:00Z");
    for (int i = 0; i < 10; i++) { /* whatever part of a second has passed */
        world_run(w, 130);
        raw_forget(asker);
        SUCCEEDS(raw_ask(asker, "cwho", ""));
        ck_assert_str_eq(got_text(line_with(asker, "persona", "Ann"), "since"), "2026-01-01T00:00:00Z");
    }
    w->wall_offset_s += 86400; /* the clock is set, and all dates with it */
    world_run(w, 2000);
    raw_forget(asker);
    SUCCEEDS(raw_ask(asker, "cwho", ""));
    ck_assert_str_eq(got_text(line_with(asker, "persona", "Ann"), "since"), "2026-01-02T00:00:00Z");
    w->wall_offset_s -= 86400;
    world_run(w, 2000);
    raw_close(ann);
    (void)member("Bob", "secret"); /* no persona yet */
    raw_forget(asker);
    SUCCEEDS(raw_ask(asker, "cwho", ""));
    line = line_with(asker, "account", "Bob");
    ck_assert_str_eq(got_text(line, "persona"), "");
    ck_assert_str_eq(got_text(line, "room"), "");
    ck_assert(strncmp(got_text(line, "since"), "2026-01-01T00:01:", 17) == 0);
}

/* ---- Acts ------------------------------------------------------------------- */

GROUP(acts, open_people, close_world, 0);

/* The sentence of a refusal. */
static const char *refusal(struct raw *r, const char *kind, const char *payload)
{
    const struct got *g = raw_ask(r, kind, payload);
    DENIED(g);
    return got_text(g, "TEXT");
}

#define REFUSES(kind, payload, sentence) ck_assert_str_eq(refusal(asker, kind, payload), sentence)

static const char *said(struct raw *r, const char **flags)
{
    const struct got *g = NULL;
    ck_assert_uint_eq(frames_of(r, "+msg", &g), 1);
    ck_assert_str_eq(got_text(g, "T"), got_text(g, "TEXT"));
    ck_assert_str_eq(got_text(g, "N"), "Server");
    if (flags)
        *flags = got_raw(g, "F");
    return got_text(g, "T");
}

TEST_LOOP(acts, whoever_is_kicked_is_told_why_and_loses_both_links, 0, 3)
{
    static const char *const asked[] = {"NAME=bob\nREASON=\"mind your words\"\n",
                                        "NAME=Ace\nREASON=\"mind your words\"\n", "NAME=Bob\n"};
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    put_on_list(ann, "B", "Bob");
    struct raw *asker = raw_operator(w);
    forget_all();
    SUCCEEDS(raw_ask(asker, "ckik", asked[_i]));
    world_settle(w);
    ck_assert_str_eq(said(bob->lobby, NULL), _i == 2 ? "You have been put out by the operator."
                                                     : "You have been put out by the operator: mind your words");
    CLOSED(bob->lobby);
    CLOSED(bob->buddy);
    ck_assert_str_eq(got_text(line_with(asker, "account", "Bob"), "connections"), "2");
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "DISC");
    ck_assert(world_logged(w, "event=kicked ") && world_logged(w, "reason=\"kicked\""));
    ck_assert(world_logged(w, _i == 2 ? "name=\"Bob\" reason=\"\"" : "name=\"Bob\" reason=\"mind your words\""));
    OPEN(ann->lobby);
    OPEN(ann->buddy);
    can_log_in("Bob", "secret"); /* that is no ban */
}

TEST(acts, nobody_is_kicked_who_is_not_there)
{
    (void)person("Bob");
    struct raw *asker = raw_operator(w);
    REFUSES("ckik", "NAME=Bob\n", "nobody is online by that name");
    REFUSES("ckik", "NAME=Bo\n", "there is no account or persona of that name");
    REFUSES("ckik", "", "there is no account or persona of that name");
    struct person *ann = linked("Ann");
    leave_lobby(ann);
    raw_forget(asker);
    REFUSES("ckik", "NAME=Ann\nREASON=a%0ab\n", "expected at most 127 characters of ASCII on one line");
    OPEN(ann->buddy);
    SUCCEEDS(raw_ask(asker, "ckik", "NAME=Ann\n")); /* with a buddy link alone */
    CLOSED(ann->buddy);
    (void)member("Cid", "secret"); /* ... and without a persona */
    SUCCEEDS(raw_ask(asker, "ckik", "NAME=Cid\n"));
    raw_forget(asker);
    SUCCEEDS(raw_ask(asker, "cwho", ""));
    ck_assert_uint_eq(frames_of(asker, "line", NULL), 0);
}

TEST(acts, an_announcement_reaches_everybody_or_a_room)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "West"), *cid = player(w, "Cid", "");
    struct raw *asker = raw_operator(w), *dan = member("Dan", "secret");
    const char *flags = NULL;
    forget_all();
    SUCCEEDS(raw_ask(asker, "csay", "TEXT=\"we close at ten%3a be quick\"\n"));
    struct raw *all[] = {ann, bob, cid};
    for (int i = 0; i < COUNT(all); i++) {
        ck_assert_str_eq(said(all[i], &flags), "we close at ten: be quick");
        ck_assert_str_eq(flags, "B");
        ck_assert_int_eq(got_number(frame_at(all[i], 0), "RI"), i == 0 ? EAST : i == 1 ? WEST : HUB_IDENT);
    }
    GOT(dan, ""); /* it has no persona, and so no place where it could read that */
    ck_assert_str_eq(got_text(line_with(asker, "told", "3"), "missed"), "0");
    ck_assert(world_logged(w, "event=announced ") && world_logged(w, "text=\"we close at ten: be quick\" room=\"\""));
    forget_all();
    SUCCEEDS(raw_ask(asker, "csay", "ROOM=east\nTEXT=hi\n"));
    ck_assert_str_eq(said(ann, NULL), "hi");
    GOT(bob, "");
    GOT(cid, "");
    ck_assert_str_eq(got_text(line_with(asker, "told", "1"), "missed"), "0");
}

TEST(acts, an_announcement_is_one_line_that_consoles_show_whole)
{
    char payload[400] = "TEXT=";
    struct raw *ann = player(w, "Ann", "East"), *asker = raw_operator(w);
    memset(payload + 5, 'x', 255);
    forget_all();
    SUCCEEDS(raw_ask(asker, "csay", payload));
    ck_assert_uint_eq(strlen(said(ann, NULL)), 255);
    payload[260] = 'x';
    forget_all();
    REFUSES("csay", payload, "expected at most 255 characters of ASCII on one line");
    REFUSES("csay", "TEXT=caf%c3%a9\n", "expected at most 255 characters of ASCII on one line");
    REFUSES("csay", "TEXT=%1b[2J\n", "expected at most 255 characters of ASCII on one line");
    REFUSES("csay", "TEXT=a%0ab\n", "expected at most 255 characters of ASCII on one line");
    REFUSES("csay", "TEXT=\n", "there is nothing to be said");
    REFUSES("csay", "", "there is nothing to be said");
    REFUSES("csay", "ROOM=Nowhere\nTEXT=hi\n", "there is no room of that name");
    REFUSES("csay", "ROOM=\nTEXT=hi\n", "there is no room of that name");
    GOT(ann, "");
}

/* Neither the flag nor the name is one that a player can have. */
TEST(acts, no_player_can_say_what_passes_for_an_announcement)
{
    static const char *const lines[] = {"TEXT=hi\nATTR=B\n", "TEXT=hi\nATTR=@ABCDEFGHIJKLMNOPQRSTUVWXYZ0123\n",
                                        "TEXT=hi\nF=B\n", "TEXT=hi\nFROM=Server\nF=B\n"};
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    for (int i = 0; i < COUNT(lines); i++) {
        const struct got *g = NULL;
        forget_all();
        SUCCEEDS(raw_ask(ann, "mesg", lines[i]));
        ck_assert_uint_eq(frames_of(bob, "+msg", &g), 1);
        ck_assert(!(got_flags(g, "F") & 4));
        ck_assert_str_eq(got_text(g, "N"), "Ann");
    }
    DENIED(raw_ask(ann, "cper", "PERS=Server\n"));
    DENIED(raw_ask(ann, "csay", "TEXT=hi\n")); /* and nobody else is the operator */
}

TEST(acts, whoever_does_not_read_misses_an_announcement_and_is_told_so)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East"), *asker = raw_operator(w);
    raw_window(bob, 0);
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=hello\n"));
    world_settle(w);
    forget_all();
    SUCCEEDS(raw_ask(asker, "csay", "TEXT=hi\n"));
    ck_assert_str_eq(said(ann, NULL), "hi");
    ck_assert_str_eq(got_text(line_with(asker, "told", "1"), "missed"), "1");
    raw_window(bob, SIZE_MAX);
    world_settle(w);
    const struct got *g = NULL;
    (void)frames_of(bob, "+msg", &g);
    ck_assert_str_eq(got_text(g, "T"), "1 line of chat was missed");
    ck_assert_str_eq(got_text(g, "N"), "Server");
}

TEST(acts, down_is_told_at_the_directory_until_the_configuration_is_read_again)
{
    struct raw *asker = raw_operator(w);
    for (int i = 0; i < 2; i++) {
        SUCCEEDS(raw_ask(asker, "cdwn", "TEXT=\"back at ten\"\n"));
        struct raw *r = raw_open(w, 0);
        ck_assert_str_eq(got_text(raw_ask(r, "@dir", DIR_REQUEST), "DOWN"), "back at ten");
        if (i == 0)
            SUCCEEDS(raw_ask(asker, "cdwn", "TEXT=\n"));
        else
            world_configure(w, "");
        r = raw_open(w, 0);
        ck_assert(!got_has(raw_ask(r, "@dir", DIR_REQUEST), "DOWN"));
    }
    ck_assert(world_logged(w, "event=down ") && world_logged(w, "event=not_down "));
    REFUSES("cdwn", "TEXT=a%0ab\n", "expected at most 255 characters of ASCII on one line");
    SUCCEEDS(raw_ask(asker, "cdwn", "TEXT=later\n"));
    world_restart(w);
    struct raw *r = raw_open(w, 0);
    ck_assert(!got_has(raw_ask(r, "@dir", DIR_REQUEST), "DOWN"));
}

TEST(acts, the_log_level_holds_until_the_configuration_is_read_again)
{
    static const char *const words[] = {"error", "warn", "info", "debug"};
    struct raw *asker = raw_operator(w);
    ck_assert_int_eq((int)nascar_log_level(w->state, NASCAR_LOG_WARN), NASCAR_LOG_WARN);
    for (int i = 0; i < COUNT(words); i++) {
        char payload[32];
        (void)snprintf(payload, sizeof payload, "LEVEL=%s\n", words[i]);
        SUCCEEDS(raw_ask(asker, "clog", payload));
        ck_assert_int_eq((int)nascar_log_level(w->state, NASCAR_LOG_WARN), i);
    }
    ck_assert(world_logged(w, "event=log_level_set ") && world_logged(w, "to=\"debug\""));
    REFUSES("clog", "LEVEL=loud\n", "expected one of: error warn info debug");
    REFUSES("clog", "LEVEL=debugdebugdebugdebug\n", "expected one of: error warn info debug");
    REFUSES("clog", "", "expected one of: error warn info debug");
    ck_assert_int_eq((int)nascar_log_level(w->state, NASCAR_LOG_WARN), NASCAR_LOG_DEBUG);
    world_configure(w, "");
    ck_assert_int_eq((int)nascar_log_level(w->state, NASCAR_LOG_WARN), NASCAR_LOG_WARN);
}

/* ---- Deletion --------------------------------------------------------------- */

GROUP(deletion, open_people, close_world, 0);

/* What is kept, as compaction would write it, in an order of its own. */
static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *what_is_kept(void)
{
    struct nascar_cursor cursor;
    struct nascar_record record;
    static char *lines[4096];
    size_t count = 0, size = 1;
    memset(&cursor, 0, sizeof cursor);
    while (nascar_next_kept(w->state, &cursor, &record)) {
        if (record.size == 0)
            continue;
        ck_assert_uint_lt(count, 4096);
        char *line = calloc(1, record.size + 2);
        ck_assert_ptr_nonnull(line);
        memcpy(line, record.bytes, 4);
        memcpy(line + 4, record.bytes + 12, record.size - 12);
        for (char *c = line; *c; c++)
            *c = *c == '\n' ? ' ' : *c;
        lines[count++] = line;
        size += strlen(line) + 1;
    }
    qsort(lines, count, sizeof lines[0], by_text);
    char *all = calloc(1, size);
    ck_assert_ptr_nonnull(all);
    for (size_t i = 0; i < count; i++) {
        strcat(strcat(all, lines[i]), "\n");
        free(lines[i]);
    }
    return all;
}

/* One more record at the end of a journal. */
static void append(struct world_record **records, size_t *count, const void *bytes, size_t size)
{
    *records = realloc(*records, (*count + 1) * sizeof **records);
    ck_assert_ptr_nonnull(*records);
    struct world_record *record = &(*records)[(*count)++];
    record->size = (uint32_t)size;
    record->bytes = malloc(size);
    ck_assert_ptr_nonnull(record->bytes);
    memcpy(record->bytes, bytes, size);
}

/* A record that stands in the journal, too. */
static void journal(const char *kind, const char *payload)
{
    uint8_t bytes[NASCAR_RECORD_BYTES];
    size_t size = console_frame(bytes, sizeof bytes, kind, 0, payload, strlen(payload) + 1);
    append(&w->records, &w->record_count, bytes, size);
    w->record_room = w->record_count;
    keep(kind, payload);
}

static void expect_kept(const char *expected)
{
    char *is = what_is_kept();
    ck_assert_str_eq(is, expected);
    free(is);
}

TEST_LOOP(deletion, an_account_goes_with_all_that_is_its_own, 0, 3)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    struct raw *asker = raw_operator(w);
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "I", "Ace");
    put_on_list(bob, "B", "Ann");
    put_on_list(bob, "B", "Cid");
    leave_lobby(cid);
    link_down(cid);
    write_letter(ann, "Ace", "for_you");
    write_letter(bob, "Cid", "from_bob");
    char *before = what_is_kept();
    ck_assert_ptr_nonnull(strstr(before, "for_you"));
    free(before);
    if (_i == 1) {
        leave_lobby(bob);
        link_down(bob);
    }
    if (_i == 2)
        leave_lobby(bob);
    forget_all();
    SUCCEEDS(raw_ask(asker, "cdel", "NAME=bob\n"));
    world_settle(w);
    if (_i != 1)
        CLOSED(bob->buddy);
    if (_i == 0)
        CLOSED(bob->lobby);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), _i == 0 ? "DISC" : ""); /* else she knows already */
    HAS(ann, "", "");
    ck_assert(world_logged(w, "event=account_deleted ") && world_logged(w, "name=\"bob\""));
    char *after = what_is_kept();
    ck_assert_ptr_null(strstr(after, "for_you"));
    ck_assert_ptr_null(strstr(after, "Ace"));
    ck_assert_ptr_nonnull(strstr(after, "from_bob")); /* a letter is its reader's */
    ck_assert_ptr_null(strstr(after, "PERS=Bob"));
    ck_assert_uint_eq(kept_count(w, "dacc", "NAME=Bob"), 1);
    world_restart(w); /* the journal as it is */
    expect_kept(after);
    kept_restart(w); /* and compacted */
    expect_kept(after);
    ck_assert_uint_eq(kept_count(w, "dacc", ""), 0);
    free(after);
    no_links();
    ck_assert_str_eq(personas_of("Bob", "another"), "Bob"); /* the name is free, and so are those of the personas */
    struct raw *ace = member("Ace", "secret");
    OPEN(ace);
    asker = raw_operator(w);
    SUCCEEDS(raw_ask(asker, "cdel", "NAME=Bob\n")); /* once more */
    REFUSES("cdel", "NAME=Bob\n", "there is no account of that name");
}

TEST(deletion, figures_and_tickets_of_races_go_too)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = player(w, "Bob", "East"), *asker = raw_operator(w);
    start_race(ann, bob, false);
    journal("stat", "P1=3,1,2,0,1500,0,1\nPERS=Bob\n");
    char *before = what_is_kept();
    ck_assert_ptr_nonnull(strstr(before, "stat"));
    free(before);
    world_settle(w);
    forget_all();
    SUCCEEDS(raw_ask(asker, "cdel", "NAME=Bob\n"));
    world_settle(w);
    CLOSED(bob);
    OPEN(ann);
    SUCCEEDS(raw_ask(ann, "chal", "PERS=*\n"));
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=alone\n"));
    char *after = what_is_kept();
    ck_assert_ptr_null(strstr(after, "Bob"));
    ck_assert_ptr_nonnull(strstr(after, "race"));
    kept_restart(w);
    expect_kept(after);
    free(after);
}

TEST(deletion, is_refused_for_no_account_and_when_it_cannot_be_kept)
{
    struct person *bob = linked("Bob");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    struct raw *asker = raw_operator(w);
    REFUSES("cdel", "NAME=Ace\n", "there is no account of that name, but a persona of the account Bob");
    REFUSES("cdel", "NAME=Nobody\n", "there is no account of that name");
    REFUSES("cdel", "NAME=\n", "there is no account of that name");
    w->fail_records = true;
    REFUSES("cdel", "NAME=Bob\n", "it could not be kept on disk");
    w->fail_records = false;
    CLOSED(bob->lobby); /* he has been put out first, and can come back */
    CLOSED(bob->buddy);
    can_log_in("Bob", "secret");
    w->hold_records = true; /* two operators */
    struct raw *other = raw_operator(w);
    raw_send(asker, "cdel", "NAME=Bob\n");
    raw_send(other, "cdel", "NAME=Bob\n");
    world_settle(w);
    world_release_records(w, true);
    w->hold_records = false;
    world_settle(w);
    SUCCEEDS(raw_expect(asker, "cdel"));
    ck_assert_str_eq(got_text(raw_expect(other, "cdel"), "TEXT"), "there is no account of that name any more");
}

/* A place in the table may be another account's when the answer comes. */
TEST(deletion, a_password_that_is_just_compared_is_nobodys)
{
    (void)person("Bob");
    struct raw *asker = raw_operator(w), *late = guest();
    w->hold_verdicts = true;
    say_auth(late, "Bob", "secret");
    world_settle(w);
    SUCCEEDS(raw_ask(asker, "cdel", "NAME=Bob\n"));
    keep("acct", "NAME=Eve\nHASH=x\nPERSONAS=Eve\n");
    w->hold_verdicts = false;
    world_release_verdicts(w);
    CLOSED(late);
    world_settle(w);
    raw_forget(asker);
    SUCCEEDS(raw_ask(asker, "cwho", ""));
    ck_assert_uint_eq(frames_of(asker, "line", NULL), 0);
}

/* A ban is of the name and stays; a mute was of who has gone, and the next one would not know of it. */
TEST_LOOP(deletion, a_ban_stays_and_a_mute_goes, 0, 2)
{
    (void)person("Bob");
    struct raw *asker = raw_operator(w);
    SUCCEEDS(raw_ask(asker, "cmut", "NAME=Bob\n"));
    SUCCEEDS(raw_ask(asker, "cban", "NAME=Bob\n"));
    raw_forget(asker);
    SUCCEEDS(raw_ask(asker, "cdel", "NAME=BOB\n"));
    ck_assert_str_eq(got_text(line_with(asker, "account", "Bob"), "account"), "Bob"); /* as he writes himself */
    if (_i == 1) {
        kept_restart(w);
        asker = raw_operator(w);
    }
    raw_forget(asker);
    SUCCEEDS(raw_ask(asker, "cbns", ""));
    ck_assert_uint_eq(frames_of(asker, "line", NULL), 1);
    ck_assert_str_eq(got_text(line_with(asker, "name", "Bob"), "what"), "ban");
}

/* Whoever gets in while the deletion is on its way to the disk is put out with the rest. */
TEST(deletion, who_logs_in_meanwhile_is_put_out)
{
    (void)person("Bob");
    struct raw *asker = raw_operator(w), *late = guest();
    w->hold_records = true;
    say(asker, "cdel", "NAME=Bob\n");
    SUCCEEDS(raw_auth(late, "Bob", "secret"));
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    CLOSED(late);
    SUCCEEDS(raw_expect(asker, "cdel"));
}

/* What of an account is on its way to the disk finds nobody any more. */
TEST(deletion, what_is_on_its_way_comes_too_late)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    struct raw *asker = raw_operator(w);
    w->hold_records = true;
    raw_send(bob->lobby, "edit", "MAIL=bob@example.org\n");
    world_settle(w);
    raw_send(asker, "cdel", "NAME=Bob\n");
    raw_send(bob->lobby, "cper", "PERS=Ace\n");
    raw_send(bob->buddy, "RADD", "ID=1\nLIST=B\nUSER=Ann\n");
    raw_send(ann->buddy, "RADD", "ID=1\nLIST=B\nUSER=Bob\n");
    world_settle(w);
    world_release_records(w, true);
    w->hold_records = false;
    world_settle(w);
    CLOSED(bob->lobby);
    CLOSED(bob->buddy);
    OPEN(ann->buddy);
    ck_assert_uint_eq(kept_count(w, "edit", "MAIL=bob"), 1);
    ck_assert_uint_eq(kept_count(w, "cper", ""), 0); /* he was out by then */
    char *after = what_is_kept();
    ck_assert_ptr_null(strstr(after, "Bob"));
    ck_assert_ptr_null(strstr(after, "Ace"));
    kept_restart(w);
    expect_kept(after);
    free(after);
}

/* Something happens to one of a few accounts. Returns whether it was deleted. */
static bool live_a_little(struct raw *asker, int step)
{
    static const char *const names[] = {"Ann", "Bob", "Cid", "Dan", "Eve", "Fay"};
    const char *name = names[world_below(w, COUNT(names))], *other = names[world_below(w, COUNT(names))];
    char payload[128];
    struct raw *r = NULL;
    switch (world_below(w, 6)) {
    case 0:
        (void)snprintf(payload, sizeof payload, "NAME=%s\n", name);
        return got_status(raw_ask(asker, "cdel", payload)) == 1;
    case 1:
        r = member(name, "secret");
        (void)snprintf(payload, sizeof payload, "PERS=%.3s%u\n", name, (unsigned)world_below(w, 3));
        (void)raw_ask(r, "cper", payload);
        break;
    case 2:
        (void)snprintf(payload, sizeof payload, "LIST=%s\nPERS=%s\nUSER=%s\n", step % 2 ? "B" : "I", name, other);
        journal("rost", payload);
        break;
    case 3:
        (void)snprintf(payload, sizeof payload, "ID=%d\nTIME=%lld\nWHEN=%lld\nTYPE=C\nPERS=%s\nUSER=%s\nBODY=x\n",
                       1000 + step, now_s(), now_s() + 1000000, name, other);
        journal("mesg", payload);
        break;
    case 4:
        (void)snprintf(payload, sizeof payload, "P1=%d,1,2,0,1500,3,1\nPERS=%s\n", 3 + step % 5, name);
        journal("stat", payload);
        break;
    default:
        (void)snprintf(payload, sizeof payload, "AUTH=%032x\nWHEN=%lld\nFLAGS=0\nSEQN=0\nHOST=%s\nOPPO=%s\n",
                       1000 + step, now_s(), name, strcmp(name, other) == 0 ? "" : other);
        journal("race", payload);
    }
    return false;
}

/* Accounts come and go, with rosters, letters and personas, and the server starts
 * again: from its journal, from one that was compacted while that went on, a record
 * at a time, and from one that was compacted at last. */
TEST_LOOP(deletion, what_is_kept_is_the_same_after_a_start, 0, 12)
{
    reopen_people(&(struct world_options){.seed = (uint64_t)_i + 1});
    struct raw *asker = raw_operator(w);
    struct nascar_cursor cursor;
    struct nascar_record record;
    struct world_record *fresh = NULL;
    size_t fresh_count = 0, seen = 0;
    bool more = true;
    uint32_t deleted = 0;
    memset(&cursor, 0, sizeof cursor);
    for (int step = 0; step < 120 || more; step++) {
        deleted += step < 120 && live_a_little(asker, step);
        world_settle(w);
        if (step < 40)
            seen = w->record_count;
        for (; seen < w->record_count; seen++)
            append(&fresh, &fresh_count, w->records[seen].bytes, w->records[seen].size);
        more = step < 40 || (more && nascar_next_kept(w->state, &cursor, &record));
        if (step >= 40 && more && record.size > 0)
            append(&fresh, &fresh_count, record.bytes, record.size);
    }
    ck_assert_uint_gt(deleted, 2);
    char *before = what_is_kept();
    world_restart(w);
    expect_kept(before);
    for (size_t i = 0; i < w->record_count; i++)
        free(w->records[i].bytes);
    free(w->records);
    w->records = fresh;
    w->record_count = w->record_room = fresh_count;
    kept_restart(w);
    expect_kept(before);
    free(before);
}
