/* What a crowd and a full table do to the server (DESIGN 3, 4, 9, 10): nobody is
 * slowed by another, and every limit is answered and frees up again.
 *
 * SPDX-License-Identifier: MIT */
#define NASCAR_NO_SHELL
#include "../nascar_server.c"

#include "clients.h"
#include "crowd.h"

/* What is told to a reader is what is so: who is in its room, and how many. */
static void lists_are_true(const struct crowd *c, uint32_t conn)
{
    static uint8_t there[IDENTS];
    const struct reader *r = &c->reader[conn];
    const struct nascar *s = c->s;
    const struct player *p = player_at(s, conn_at(s, conn)->player);
    const struct room *room = room_at(s, p->room);
    memset(there, 0, sizeof there);
    there[p->persona + 1] = 1;
    for (uint32_t i = list_first(&room->members); i != NONE && p->room != HUB; i = list_next(s, ROOM_MEMBERS, i))
        there[player_at(s, i)->persona + 1] = 1;
    ck_assert_int_eq(r->room, (int32_t)room->ident);
    ck_assert_int_eq(r->population, (int32_t)room->count);
    for (uint32_t i = 0; i < IDENTS; i++)
        if (there[i] != r->listed[i])
            ck_abort_msg("connection %u: %u is %slisted", (unsigned)conn, (unsigned)i, r->listed[i] ? "" : "not ");
}

/* All of its outbox, of which the core offers a segment at a time. */
static uint32_t queued_bytes(const struct crowd *c, uint32_t conn)
{
    return conn_at(c->s, conn)->out_end - conn_at(c->s, conn)->out_start;
}

/* ---- A thousand in one room (DESIGN 4) ------------------------------------ */

static struct crowd *big; /* in one room; tests work on copies */
static uint32_t big_count;

static void open_big(void)
{
    if (big == NULL) {
        big_count = size_of(1000, 60);
        big = crowd_in_one_room(big_count);
    }
}

static void close_big(void)
{
    crowd_free(big);
    big = NULL;
}

GROUP_SET_UP_ONCE(a_thousand_in_one_room, open_big, close_big, 120);

TEST(a_thousand_in_one_room, everyone_in_the_room_knows_everyone)
{
    for (uint32_t i = 0; i < big_count; i++) {
        const struct reader *r = &big->reader[i];
        lists_are_true(big, i);
        ck_assert_uint_le(r->user_rows, big_count + 16); /* each once, though they came one by one */
    }
}

/* Three speak, four lines a second each; one of them in bursts. */
static void chatter(struct crowd *c, uint32_t second)
{
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t k = 0; k < (i == 0 ? 12u : 1u); k++) {
            crowd_say(c, i * 7, "mesg", "TEXT=line %u of %u in second %u, %0100d\n", (unsigned)k, (unsigned)i,
                      (unsigned)second, 0);
        }
    }
}

#define SLOW 5u
#define CHAT_SECONDS 20u

/* Lines of chat of so many seconds; the reader apart takes so many bytes in each. */
static void chat_along(struct crowd *c, size_t window)
{
    c->watched = true;
    c->apart = SLOW;
    c->steps = 0;
    for (uint32_t second = 0; second < CHAT_SECONDS; second++) {
        c->reader[SLOW].window = window;
        chatter(c, second);
        crowd_settle(c);
        crowd_run(c, 1000);
    }
}

TEST(a_thousand_in_one_room, a_reader_of_one_byte_a_second_slows_nobody)
{
    struct crowd *even = crowd_copy(big), *slow = crowd_copy(big);
    chat_along(even, SIZE_MAX);
    chat_along(slow, 1);
    ck_assert_uint_eq(even->now_ms, slow->now_ms);
    ck_assert_uint_eq(even->steps, slow->steps);
    for (uint32_t i = 0; i < big_count; i++) {
        const struct reader *a = &even->reader[i], *b = &slow->reader[i];
        if (i == SLOW)
            continue;
        ck_assert_uint_eq(a->lines, 14 * CHAT_SECONDS);
        ck_assert_uint_eq(b->lines, 14 * CHAT_SECONDS);
        ck_assert_uint_eq(a->line_hash, b->line_hash);
        ck_assert_uint_eq(a->stream, b->stream); /* byte for byte */
    }
    ck_assert_uint_eq(even->reader[SLOW].lines, 14 * CHAT_SECONDS);
    ck_assert_uint_eq(slow->reader[SLOW].bytes_read - big->reader[SLOW].bytes_read, CHAT_SECONDS);
    must_hold(slow);

    /* What it missed is told when it has drained, and it hears again. */
    struct crowd *drained = crowd_copy(slow);
    struct reader *r = &drained->reader[SLOW];
    crowd_window(drained, SLOW, SIZE_MAX);
    ck_assert_uint_lt(r->lines, 14 * CHAT_SECONDS);
    ck_assert_uint_eq(r->notices, 1);
    ck_assert_uint_eq(r->missed, 14 * CHAT_SECONDS - r->lines);
    lists_are_true(drained, SLOW);
    crowd_run(drained, 60000);
    ck_assert(r->open);
    uint32_t before = r->lines;
    chatter(drained, 99);
    crowd_settle(drained);
    ck_assert_uint_eq(r->lines, before + 14);
    ck_assert_uint_eq(r->notices, 1);

    /* Or it is closed 30 s after it got stuck, and the others are told. */
    r = &slow->reader[SLOW];
    crowd_run(slow, 30000 - 1000 * CHAT_SECONDS - 1);
    ck_assert(r->open);
    crowd_run(slow, 1000);
    ck_assert(!r->open);
    ck_assert_int_eq(slow->reader[0].population, (int32_t)big_count - 1);
    lists_are_true(slow, 0);
    lists_are_true(slow, big_count - 1);
    must_hold(slow);
    crowd_free(even);
    crowd_free(slow);
    crowd_free(drained);
}

TEST(a_thousand_in_one_room, who_is_behind_gets_everyones_latest_state_once)
{
    struct crowd *c = crowd_copy(big);
    struct reader *r = &c->reader[SLOW];
    uint32_t movers = size_of(200, 45);
    crowd_window(c, SLOW, 0);
    for (uint32_t round = 0; round < 3; round++) { /* all but the last to leave come back */
        for (uint32_t i = 10; i < 10 + movers; i++) {
            crowd_say(c, i, "auxi", "TEXT=state %u of %u\n", (unsigned)round, (unsigned)i);
            crowd_say(c, i, "move", "NAME=\nPASS=\n");
            if (round < 2 || i % 2 == 0)
                crowd_say(c, i, "move", "NAME=Big\nPASS=\n");
        }
        crowd_settle(c);
    }
    must_hold(c);
    uint32_t rooms = r->room_rows;
    crowd_window(c, SLOW, queued_bytes(c, SLOW)); /* what was written before its outbox was full */
    memset(r->rows, 0, sizeof r->rows);
    r->user_rows = 0;
    crowd_window(c, SLOW, SIZE_MAX);
    lists_are_true(c, SLOW);
    lists_are_true(c, 11);
    lists_are_true(c, 10);
    ck_assert_uint_eq(r->room_rows, rooms);
    ck_assert_uint_eq(r->notices, 0);
    must_hold(c);
    ck_assert_uint_ge(r->user_rows, 1);
    ck_assert_uint_le(r->user_rows, movers + 1); /* and its own */
    for (uint32_t i = 0; i < IDENTS; i++)
        ck_assert_uint_le(r->rows[i], 1);
    crowd_free(c);
}

/* Short lines and long ones, of one sender and of eight at once. */
TEST_LOOP(a_thousand_in_one_room, a_burst_of_64_lines_reaches_a_hundred_readers_whole, 0, 4)
{
    uint32_t readers = size_of(100, 20), senders = _i < 2 ? 1 : 8;
    struct crowd *c = crowd_in_one_room(readers + senders);
    for (uint32_t k = 0; k < 64 * senders; k++)
        crowd_say(c, readers + k % senders, "mesg", "TEXT=%u %0*d\n", (unsigned)k, _i % 2 == 0 ? 1 : 240, 7);
    crowd_settle(c);
    for (uint32_t i = 0; i < readers + senders; i++) {
        ck_assert(c->reader[i].open);
        ck_assert_uint_eq(c->reader[i].lines, 64 * senders);
        ck_assert_uint_eq(c->reader[i].line_hash, c->reader[0].line_hash); /* in one order */
        ck_assert_uint_eq(c->reader[i].notices, 0);
    }
    ck_assert_uint_eq(c->now_ms, RUNNING_MS);
    must_hold(c);
    crowd_free(c);
}

/* ---- Connections, input and output (DESIGN 3) ------------------------------ */

GROUP(connections_and_boxes, NULL, NULL, 60);

TEST(connections_and_boxes, a_number_out_of_range_is_nobody)
{
    struct crowd *c = crowd_new(&tiny, "");
    ck_assert_uint_eq(c->count, 2 * 4 + 64 + NASCAR_HTTP_CONNECTIONS + NASCAR_CONTROL_CONNECTIONS);
    for (uint32_t i = 0; i < c->count; i++)
        (void)crowd_open(c, i);
    crowd_settle(c);
    ck_assert_uint_eq(c->s->conn_count, c->count);
    crowd_clock(c); /* frees what was taken */
    void *before = remember(c);
    const uint32_t numbers[] = {c->count, c->count + 1, UINT32_MAX - 1, UINT32_MAX, 3};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        for (int type = NASCAR_OPENED; type <= NASCAR_VERDICT; type++) {
            struct nascar_event event = {.type = (enum nascar_event_type)type,
                                         .conn = numbers[i],
                                         .peer = 1,
                                         .local = 2,
                                         .receipt = 3,
                                         .accepted = true,
                                         .bytes = (const uint8_t *)"0123456789ab",
                                         .size = 12};
            if (type == NASCAR_CLOCK || type == NASCAR_ENTROPY || type == NASCAR_CONFIG ||
                (numbers[i] == 3 && type != NASCAR_OPENED && type != NASCAR_VERDICT))
                continue;
            c->dry = true;
            ck_assert(crowd_event(c, &event));
            ck_assert_msg(is_unchanged(c, before), "event %d on %lu", type, (unsigned long)numbers[i]);
        }
        uint32_t size = 1;
        if (numbers[i] >= c->count) {
            ck_assert_ptr_null(nascar_outbox(c->s, numbers[i], &size));
            ck_assert_uint_eq(size, 0);
            ck_assert_uint_eq(nascar_inbox_room(c->s, numbers[i]), 0);
            ck_assert(!nascar_closing(c->s, numbers[i]));
        }
    }
    crowd_close(c, c->count - 1); /* and a number is free again when it was closed */
    ck_assert_uint_eq(nascar_inbox_room(c->s, c->count - 1), 0);
    (void)crowd_open(c, c->count - 1);
    ANSWER(c, c->count - 1, "skey", "SKEY=$00\n", "");
    must_hold(c);
    free(before);
    crowd_free(c);
}

static void filled_frame(uint8_t *out, const char *kind, uint32_t size)
{
    memset(out, 'x', size);
    memcpy(out, kind, 4);
    store_be32(out + 4, 0);
    store_be32(out + 8, size);
    out[size - 1] = 0;
}

/* PROTOCOL 1: requests of up to 2 KiB. */
TEST(connections_and_boxes, a_frame_of_2048_bytes_is_taken_and_one_more_closes)
{
    uint8_t frame[4096];
    struct crowd *c = crowd_new_checked(&tiny, "");
    (void)crowd_open(c, 0);
    filled_frame(frame, "skey", 2048);
    crowd_bytes(c, 0, frame, 2048);
    crowd_settle(c);
    ck_assert_uint_eq(c->reader[0].replies, 1);
    ck_assert_str_eq(c->reader[0].reply_code, "");
    ANSWER(c, 0, "skey", "SKEY=$00\n", "");
    for (uint32_t i = 0; i < 2; i++) { /* whole, or its header alone */
        (void)crowd_open(c, 1);
        filled_frame(frame, "skey", 2049);
        crowd_bytes(c, 1, frame, i == 0 ? 2049 : 12);
        crowd_settle(c);
        ck_assert(!c->reader[1].open);
        ck_assert_uint_eq(c->reader[1].replies, 0);
        ck_assert_ptr_nonnull(strstr(c->last_log, "broken frame"));
    }
    crowd_free(c);
}

TEST(connections_and_boxes, input_behind_a_waiting_verdict_has_one_inbox)
{
    uint8_t frame[4096];
    for (uint32_t over = 0; over < 2; over++) {
        struct crowd *c = crowd_new(&tiny, "");
        c->checked = true;
        c->leave_jobs = true;
        (void)crowd_open(c, 0);
        crowd_auth(c, 0, 0);
        crowd_settle(c);
        uint32_t room = nascar_inbox_room(c->s, 0);
        ck_assert_uint_lt(room, INBOX_BYTES); /* the request stays there */
        ck_assert_uint_gt(room, 1024);
        filled_frame(frame, "news", 1000);
        memcpy(frame + 12, "NAME=0\n", 7);
        filled_frame(frame + 1000, "addr", room - 1000);
        memcpy(frame + 1012, "ADDR=1.2.3.4\n", 13);
        crowd_bytes(c, 0, frame, room);
        crowd_settle(c);
        ck_assert_uint_eq(nascar_inbox_room(c->s, 0), 0);
        ck_assert_uint_eq(c->reader[0].in_bytes, 0);
        ck_assert_uint_eq(c->reader[0].replies, 0);
        if (over) {
            struct nascar_event event = {.type = NASCAR_BYTES, .conn = 0, .bytes = (const uint8_t *)"x", .size = 1};
            ck_assert(crowd_event(c, &event));
            crowd_settle(c);
            ck_assert(!c->reader[0].open);
        }
        c->leave_jobs = false;
        crowd_clock(c);
        crowd_settle(c);
        if (!over) {
            ck_assert_uint_eq(c->reader[0].replies, 3);
            ck_assert_str_eq(c->reader[0].reply_kind, "addr");
            ck_assert_str_eq(c->reader[0].reply_code, "");
            ck_assert_uint_eq(nascar_inbox_room(c->s, 0), INBOX_BYTES);
        }
        ck_assert_uint_eq(c->s->inboxes.live, 0);
        crowd_free(c);
    }
}

/* Nothing is answered twice, and nothing is lost: the answers wait. */
TEST_LOOP(connections_and_boxes, requests_of_who_does_not_read_wait_in_its_inbox, 0, 3)
{
    struct crowd *c = crowd_new_checked(&tiny, "");
    crowd_login(c, 0, 0, "East");
    crowd_login(c, 1, 1, "East");
    uint32_t before = c->reader[0].replies;
    crowd_hold(c, 0, _i == 0);
    if (_i != 0)
        crowd_window(c, 0, 0);
    for (uint32_t i = 0; i < 200; i++)
        crowd_say(c, 0, "user", "PERS=Racer%u\n", (unsigned)(i % 2));
    crowd_settle(c);
    uint32_t queued = queued_bytes(c, 0);
    ck_assert_uint_gt(queued, OUTBOX_BYTES - REPLY_BYTES - 512);
    ck_assert_uint_le(queued, OUTBOX_BYTES);
    ck_assert_uint_lt(nascar_inbox_room(c->s, 0), 40); /* no whole request more */
    ck_assert(!nascar_closing(c->s, 0));
    ANSWER(c, 1, "onln", "PERS=Racer0\n", ""); /* nobody else waits */
    if (_i == 2) {                             /* never: it is closed after 30 s, with all that is in its boxes */
        crowd_run(c, 31000);
        ck_assert(!c->reader[0].open);
        ck_assert_uint_eq(c->s->inboxes.live + c->s->outboxes.live, 0);
        ANSWER(c, 1, "onln", "PERS=Racer0\n", "user");
    } else {
        crowd_hold(c, 0, false);
        crowd_window(c, 0, SIZE_MAX);
        ck_assert_uint_eq(c->reader[0].replies, before + 200);
        ck_assert_uint_eq(c->reader[0].in_bytes, 0);
        lists_are_true(c, 0);
        crowd_run(c, 60000);
        ck_assert(c->reader[0].open);
    }
    crowd_free(c);
}

/* What a console sends behind its `auth` is answered, too, before it reads anything. */
TEST(connections_and_boxes, a_login_goes_on_while_nothing_of_it_is_read)
{
    struct crowd *c = crowd_new_checked(&tiny, "");
    (void)crowd_open(c, 0);
    crowd_hold(c, 0, true);
    crowd_says_login(c, 0, 0, "East");
    crowd_settle(c);
    uint32_t player = conn_at(c->s, 0)->player;
    ck_assert_uint_ne(player, NONE);
    ck_assert_uint_ne(player_at(c->s, player)->room, NONE);
    ck_assert_str_eq(room_at(c->s, player_at(c->s, player)->room)->name, "East");
    crowd_hold(c, 0, false);
    crowd_free(c);
}

/* One who has a line to say waits for a reader who has no room for it just now,
 * but not for one who is not there any more. */
TEST_LOOP(connections_and_boxes, a_talker_goes_on_when_the_reader_it_waits_for_goes, 0, 2)
{
    struct crowd *c = crowd_new_checked(&tiny, "");
    for (uint32_t i = 0; i < 3; i++)
        crowd_login(c, i, i, "East");
    crowd_hold(c, 1, true);
    for (uint32_t i = 0; i < 60; i++)
        crowd_say(c, 0, "mesg", "TEXT=%0100d\n", 0);
    crowd_settle(c);
    ck_assert_uint_lt(c->reader[2].lines, 60);
    if (_i == 0) {
        crowd_close(c, 1);
    } else {
        crowd_say(c, 1, "move", "NAME=West\nPASS=\n");
    }
    crowd_settle(c);
    ck_assert_uint_eq(c->reader[2].lines, 60);
    crowd_free(c);
}

/* ---- Tables (DESIGN 3: a full table is an answered error) ------------------- */

GROUP(tables, NULL, NULL, 60);

TEST(tables, a_full_server_says_so_at_the_directory_and_at_auth)
{
    struct crowd *c = crowd_new_checked(&tiny, "");
    for (uint32_t i = 0; i < 4; i++)
        crowd_login(c, i, i, "");
    (void)crowd_open(c, 4);
    ANSWER(c, 4, "@dir", "PROD=NASCAR-PS2-2004\n", "");
    ck_assert_ptr_nonnull(strstr(c->reader[4].reply, "ADDR=0.0.0.0\nPORT=0\n"));
    ck_assert_ptr_nonnull(strstr(c->reader[4].reply, "DOWN=\"The server is full."));
    (void)crowd_open(c, 5);
    crowd_auth(c, 5, 5);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[5].reply_code, "full");
    ck_assert_int_eq(reply_number(c, 5, "STATUS"), 0);
    ck_assert(c->reader[5].open); /* for another try */
    crowd_say(c, 5, "acct", "NAME=Racer5\nPASS=\"%s\"\n", c->password);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[5].reply_code, "full");
    ck_assert_uint_eq(c->s->accounts.live, 4); /* nor has it taken the name */
    (void)crowd_open(c, 6);
    crowd_auth(c, 6, 2); /* who takes its own place needs none */
    crowd_settle(c);
    ck_assert_str_eq(c->reader[6].reply_code, "");
    ck_assert(!c->reader[2].open);
    crowd_close(c, 6);
    crowd_auth(c, 5, 5);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[5].reply_code, "");
    crowd_close(c, 5);
    (void)crowd_open(c, 7);
    ANSWER(c, 7, "@dir", "PROD=NASCAR-PS2-2004\n", "");
    ck_assert_int_gt(reply_number(c, 7, "SESS"), 0);
    crowd_free(c);
}

/* A server becomes full while a sign-up is on its way to the disk: whoever has been told
 * nothing yet is told no, and not that the name is taken when he tries again. */
TEST_LOOP(tables, whose_account_is_made_gets_in, 0, 8)
{
    bool by_auth = _i & 1, gone = _i & 2, fails = _i & 4;
    struct crowd *c = crowd_new_checked(&tiny, "");
    for (uint32_t i = 0; i < 4; i++)
        crowd_login(c, i, i, "");
    crowd_close(c, 3);
    (void)crowd_open(c, 4);
    c->leave_records = true;
    if (by_auth)
        crowd_auth(c, 4, 9);
    else
        crowd_say(c, 4, "acct", "NAME=Racer9\nPASS=\"%s\"\n", c->password);
    crowd_settle(c);
    ck_assert_uint_eq(c->s->record_count, 1);
    (void)crowd_open(c, 5);
    crowd_auth(c, 5, 3);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[5].reply_code, "full");
    (void)crowd_open(c, 6);
    crowd_say(c, 6, "acct", "NAME=Racer8\nPASS=\"%s\"\n", c->password);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[6].reply_code, "full");
    if (gone)
        crowd_close(c, 4);
    c->leave_records = false;
    c->fail_records = fails;
    crowd_take(c);
    crowd_settle(c);
    c->fail_records = false;
    if (!gone)
        ck_assert_str_eq(c->reader[4].reply_code, fails ? "fail" : "");
    ck_assert_uint_eq(c->s->players.live, gone || fails ? 3 : 4);
    crowd_auth(c, 5, 3);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[5].reply_code, gone || fails ? "" : "full");
    ck_assert_uint_eq(c->s->accounts.live, fails ? 4 : 5);
    crowd_free(c);
}

/* Two sign up for the last place in one turn: one of them gets it. */
TEST_LOOP(tables, the_last_account_is_given_once, 0, 2)
{
    static const struct nascar_limits few = {8, 3, 8, 16, 64, 64, 0};
    struct crowd *c = crowd_new_checked(&few, "");
    crowd_login(c, 0, 0, "");
    crowd_login(c, 1, 1, "");
    for (uint32_t i = 2; i < 4; i++) {
        (void)crowd_open(c, i);
        if (_i == 0)
            crowd_auth(c, i, i);
        else
            crowd_say(c, i, "acct", "NAME=Racer%u\nPASS=\"%s\"\n", (unsigned)i, c->password);
    }
    c->leave_records = true;
    crowd_settle(c);
    ck_assert_uint_eq(c->s->record_count, 1); /* else the journal has one more than we had, and so the next start */
    c->leave_records = false;
    crowd_take(c);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[2].reply_code, "");
    ck_assert_str_eq(c->reader[3].reply_code, "full");
    crowd_auth(c, 3, 9); /* nor later, in either way; who has one gets in */
    crowd_settle(c);
    ck_assert_str_eq(c->reader[3].reply_code, "full");
    crowd_say(c, 3, "acct", "NAME=Racer9\nPASS=\"%s\"\n", c->password);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[3].reply_code, "full");
    crowd_close(c, 0);
    crowd_auth(c, 3, 0);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[3].reply_code, "");
    ck_assert_uint_eq(c->s->accounts.live, 3);
    crowd_free(c);
}

TEST(tables, every_account_may_have_four_personas_at_once)
{
    struct crowd *c = crowd_new_checked(&tiny, "");
    char name[32];
    for (uint32_t i = 0; i < tiny.accounts; i++) { /* up to the last slot of the table */
        (void)crowd_open(c, 0);
        crowd_auth(c, 0, i);
        for (uint32_t k = 0; k < 3; k++) {
            (void)snprintf(name, sizeof name, "PERS=Alt%u-%u\n", (unsigned)i, (unsigned)k);
            ANSWER(c, 0, "cper", name, "");
        }
        ANSWER(c, 0, "cper", "PERS=Fifth\n", "maxp");
        if (i + 1 < tiny.accounts)
            crowd_close(c, 0);
    }
    ck_assert_uint_eq(c->s->personas.live, 4 * tiny.accounts);
    ANSWER(c, 0, "dper", "PERS=Alt15-1\n", "");
    ANSWER(c, 0, "cper", "PERS=Fifth\n", "");
    ANSWER(c, 0, "cper", "PERS=Sixth\n", "maxp");
    ck_assert_uint_eq(c->s->personas.high, 4 * tiny.accounts);
    crowd_free(c);
}

/* PROTOCOL 3.3; the slot is free when all have been told that the room is gone. */
TEST(tables, rooms_are_free_again_when_all_know_that_they_went)
{
    static const struct nascar_limits few = {8, 8, 8, 16, 64, 64, 0};
    struct crowd *c = crowd_new_checked(&few, "");
    char payload[64];
    for (uint32_t i = 0; i < 6; i++)
        crowd_login(c, i, i, "");
    for (uint32_t i = 0; i < 4; i++) { /* the hub and three are there */
        (void)snprintf(payload, sizeof payload, "NAME=C.%u\nPASS=\nDESC=None\nMAX=50\n", i);
        ANSWER(c, i, "room", payload, "");
    }
    ANSWER(c, 4, "room", "NAME=C.Over\nPASS=\nDESC=None\nMAX=50\n", "full");
    ck_assert_int_eq(reply_number(c, 4, "STATUS"), 103);
    ck_assert_int_eq(reply_number(c, 4, "IDENT"), 0);
    crowd_hold(c, 5, true); /* it has not looked yet */
    ANSWER(c, 0, "move", "NAME=\nPASS=\n", "");
    ck_assert_uint_eq(c->s->rooms.live, 8);
    ANSWER(c, 4, "room", "NAME=C.Over\nPASS=\nDESC=None\nMAX=50\n", "full");
    crowd_hold(c, 5, false);
    ck_assert_uint_eq(c->s->rooms.live, 7);
    ANSWER(c, 4, "room", "NAME=C.Over\nPASS=\nDESC=None\nMAX=50\n", "");
    ck_assert_uint_eq(c->s->rooms.live, 8);
    /* Nor can a configuration have more than there is room for. */
    crowd_configure(c, "room = Ninth: One too many: 9\n");
    ck_assert_str_eq(c->last_log, "event=room_left_out name=\"Ninth\"");
    ANSWER(c, 0, "move", "NAME=Ninth\nPASS=\n", "nrom");
    crowd_free(c);
}

TEST(tables, a_room_takes_as_many_as_its_limit)
{
    struct nascar_limits limits = {60, 60, 8, 16, 64, 64, 0};
    struct crowd *c = crowd_new(&limits, "");
    for (uint32_t i = 0; i < 52; i++) {
        (void)crowd_open(c, i);
        crowd_says_login(c, i, i, "");
    }
    crowd_settle(c);
    ANSWER(c, 51, "room", "NAME=C.Few\nPASS=\nDESC=None\nMAX=2\n", "");
    for (uint32_t i = 0; i < 50; i++)
        ANSWER(c, i, "move", "NAME=East\nPASS=\n", "");
    ANSWER(c, 50, "move", "NAME=East\nPASS=\n", "full");
    ck_assert_int_eq(reply_number(c, 50, "STATUS"), 103);
    ck_assert_int_eq(reply_number(c, 50, "IDENT"), 0);
    ANSWER(c, 50, "move", "NAME=C.Few\nPASS=\n", "");
    ANSWER(c, 0, "move", "NAME=C.Few\nPASS=\n", "full");
    ck_assert_int_eq(reply_number(c, 0, "IDENT"), 1); /* still there */
    lists_are_true(c, 0);
    crowd_close(c, 3);
    ANSWER(c, 50, "move", "NAME=East\nPASS=\n", "");
    ANSWER(c, 0, "move", "NAME=C.Few\nPASS=\n", "");
    for (uint32_t i = 0; i < 52; i++)
        if (i != 3)
            lists_are_true(c, i);
    must_hold(c);
    crowd_free(c);
}

/* PROTOCOL 3.1: a bounded table; 128 for each peer. */
TEST(tables, the_oldest_directory_session_makes_room)
{
    static const struct nascar_limits many = {8, 8, 8, 200, 64, 64, 0};
    struct crowd *c = crowd_new_checked(&many, "");
    uint32_t sess[300];
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t peer = i < 140 ? WORLD_FIRST_IP : WORLD_FIRST_IP + i;
        (void)crowd_open_from(c, 0, peer);
        ANSWER(c, 0, "@dir", "PROD=NASCAR-PS2-2004\n", "");
        sess[i] = (uint32_t)reply_number(c, 0, "SESS");
        crowd_close(c, 0);
        crowd_run(c, 1);
        uint32_t first = i < 128 ? 0 : i < 140 ? i - 127 : i < 212 ? 12 : i - 199;
        ck_assert_uint_eq(c->s->directory.live, i + 1 - first);
        ck_assert_uint_ne(find_session(c->s, sess[first]), NONE); /* the oldest that is kept */
        ck_assert_uint_ne(find_session(c->s, sess[i]), NONE);
        ck_assert(first == 0 || find_session(c->s, sess[first - 1]) == NONE);
    }
    crowd_run(c, 1800000); /* and after 30 minutes there is none */
    ck_assert_uint_eq(c->s->directory.live, 0);
    ck_assert_uint_eq(c->s->directory.high, 200);
    crowd_free(c);
}

TEST(tables, a_roster_holds_25_and_all_rosters_what_the_table_holds)
{
    static const struct nascar_limits some = {4, 32, 8, 16, 30, 64, 0};
    struct crowd *c = crowd_new_checked(&some, "");
    for (uint32_t i = 0; i < 30; i++) {
        (void)crowd_open(c, 0);
        crowd_auth(c, 0, i);
        crowd_settle(c);
        crowd_close(c, 0);
    }
    for (uint32_t i = 0; i < 2; i++) {
        crowd_login(c, i, i, "");
        crowd_buddy(c, 2 + i, i, i);
    }
    for (uint32_t i = 2; i < 27; i++)
        ck_assert_str_eq(crowd_roster(c, 2, "RADD", i), "");
    ck_assert_str_eq(crowd_roster(c, 2, "RADD", 27), "full");
    ck_assert_str_eq(crowd_roster(c, 2, "RADD", 26), ""); /* it is there */
    for (uint32_t i = 2; i < 7; i++)
        ck_assert_str_eq(crowd_roster(c, 3, "RADD", i), "");
    ck_assert_uint_eq(c->s->edges.live, 30);
    ck_assert_str_eq(crowd_roster(c, 3, "RADD", 7), "full");
    ck_assert_int_eq(reply_number(c, 3, "ID"), 1);
    ck_assert_str_eq(crowd_roster(c, 2, "RDEL", 9), "");
    c->leave_records = true; /* two at once for the last place: the first has it */
    crowd_say(c, 3, "RADD", "ID=8\nLIST=B\nUSER=Racer7\n");
    crowd_say(c, 2, "RADD", "ID=9\nLIST=B\nUSER=Racer9\n");
    crowd_settle(c);
    ck_assert_uint_eq(c->s->record_count, 1);
    c->leave_records = false;
    crowd_take(c);
    crowd_settle(c);
    ck_assert_int_ne(c->reader[2].reply_code[0] == '\0', c->reader[3].reply_code[0] == '\0');
    ck_assert_uint_eq(c->s->edges.live, 30);
    ck_assert_uint_eq(c->s->edges.high, 30);
    crowd_free(c);
}

TEST_LOOP(tables, every_player_may_be_in_a_challenge_at_once, 0, 2)
{
    uint32_t count = 32;
    struct nascar_limits limits = {count, count, 8, 16, 64, 64, 0};
    struct crowd *c = crowd_new_checked(&limits, "");
    for (uint32_t i = 0; i < count; i++)
        crowd_login(c, i, i, "West");
    for (uint32_t i = 0; i < count; i += 2)
        challenge(c, i, i + 1, "token");
    ck_assert_uint_eq(c->s->matches.live, count / 2);
    if (_i == 0) { /* they expire together, */
        crowd_run(c, 60000);
    } else { /* race together and go together, */
        for (uint32_t i = 0; i < count; i += 2)
            challenge(c, i + 1, i, "ACPT");
        crowd_run(c, 10000);
        ck_assert_uint_eq(c->s->matches.live, count / 2);
        for (uint32_t i = 0; i < count; i++)
            ANSWER(c, i, "chal", "PERS=*\n", "");
    }
    ck_assert_uint_eq(c->s->matches.live, 0);
    ck_assert_uint_eq(c->s->matches.high, count / 2);
    /* or each has a race of its own, as its opponent has gone on to the next. */
    for (uint32_t i = 0; i + 1 < count; i++) {
        challenge(c, i, i + 1, "token");
        challenge(c, i + 1, i, "ACPT");
        crowd_run(c, 10000);
        ANSWER(c, i + 1, "chal", "PERS=*\n", "");
    }
    ck_assert_uint_eq(c->s->matches.live, count - 1);
    for (uint32_t i = 0; i < count; i++)
        crowd_close(c, i);
    ck_assert_uint_eq(c->s->matches.live, 0);
    crowd_free(c);
}

/* DESIGN 4: those who left are kept for readers who are behind. When that fills
 * the table, those who are slow go, and who has only not looked yet is waited for. */
TEST_LOOP(tables, leavers_are_kept_for_readers_as_far_as_the_table_goes, 0, 2)
{
    static const struct nascar_limits few = {4, 128, 8, 16, 64, 64, 0};
    struct crowd *c = crowd_new(&few, "");
    bool slow = _i == 0, refused = false;
    uint32_t most = 0, who = 3;
    c->checked = true;
    for (uint32_t i = 0; i < 3; i++)
        crowd_login(c, i, i, "East");
    if (slow)
        crowd_window(c, 0, 0);
    else
        crowd_hold(c, 0, true);
    for (; who < 120 && !refused; who++) { /* each for a moment */
        crowd_login(c, 3, who, "");
        const char *code = crowd_ask(c, 3, "move", "NAME=East\nPASS=\n");
        ck_assert_ptr_nonnull(code);
        refused = strcmp(code, "full") == 0;
        ck_assert(refused || strcmp(code, "") == 0);
        most = c->s->occupants.live > most ? c->s->occupants.live : most;
        if (refused) {
            ck_assert_int_eq(reply_number(c, 3, "STATUS"), 103);
            ck_assert_int_eq(reply_number(c, 3, "IDENT"), 0);
        }
        crowd_close(c, 3);
    }
    crowd_settle(c);
    ck_assert_uint_eq(most, c->s->occupants.capacity);
    ck_assert_int_eq(refused, !slow); /* no slow reader keeps others out */
    if (slow) {
        ck_assert(!c->reader[0].open);
    } else {
        crowd_hold(c, 0, false);
        lists_are_true(c, 0);
        ck_assert_uint_eq(c->s->occupants.live, 3);
        crowd_login(c, 3, who - 1, "East"); /* and there is room again */
        lists_are_true(c, 0);
    }
    lists_are_true(c, 1);
    lists_are_true(c, 2);
    crowd_free(c);
}

/* ---- What an address may do (DESIGN 10) --------------------------------------- */

GROUP(addresses_and_pace, NULL, NULL, 60);

static void configure_addresses(struct crowd *c)
{
    crowd_configure(c, "per-address = 5\nlogins-per-address = 4\naccounts-per-address = 2\n");
}

/* The code of an auth from an address; the connection is closed again. */
static const char *auth_from(struct crowd *c, uint32_t peer, uint32_t who, const char *password)
{
    static char code[5];
    (void)crowd_open_from(c, 9, peer);
    crowd_say(c, 9, "auth", "NAME=Racer%u\nPASS=\"%s\"\n", (unsigned)who, password);
    crowd_settle(c);
    memcpy(code, c->reader[9].reply_code, 5);
    crowd_close(c, 9);
    return code;
}

static const char *wrong_password(void)
{
    static char text[64];
    static const uint8_t no_key[16];
    struct console_pad pad = {.started = false};
    text[0] = '~';
    console_encode(&pad, no_key, sizeof no_key, "guessed", text + 1);
    return text;
}

TEST(addresses_and_pace, an_address_has_so_many_connections_logins_and_accounts)
{
    struct crowd *c = crowd_new_checked(&tiny, "");
    uint32_t home = WORLD_FIRST_IP, other = home + 1;
    const char *wrong = wrong_password();
    configure_addresses(c);
    uint32_t most = 5 + DIRECTORY_SPARE, last = most + 2;
    for (uint32_t i = 0; i <= most; i++) {
        (void)crowd_open_from(c, i, home);
        crowd_settle(c);
        ck_assert_int_eq(c->reader[i].open, i < most);
    }
    ck_assert_ptr_nonnull(strstr(c->last_log, "too many from this address"));
    (void)crowd_open_from(c, last, other);
    crowd_settle(c);
    ck_assert(c->reader[last].open);
    for (uint32_t i = 0; i < most; i++) { /* each that goes is free again */
        crowd_close(c, i);
        (void)crowd_open_from(c, most, home);
        crowd_settle(c);
        ck_assert(c->reader[most].open);
        crowd_close(c, most);
    }
    for (uint32_t round = 0; round < 2; round++) {
        ck_assert_str_eq(auth_from(c, home, 10 * round, c->password), "");
        ck_assert_str_eq(auth_from(c, home, 10 * round + 1, c->password), "");
        ck_assert_str_eq(auth_from(c, home, 10 * round + 2, c->password), "hack"); /* the third new one */
        for (uint32_t i = 0; i < 9; i++)
            ck_assert_str_eq(auth_from(c, home, 10 * round, c->password), "");
        for (uint32_t i = 0; i < 3; i++) /* the fourth, as an account that there was no place for has failed, too */
            ck_assert_str_eq(auth_from(c, home, 10 * round, wrong), "pass");
        ck_assert_str_eq(auth_from(c, home, 10 * round + 1, c->password), "hack");
        ck_assert_str_eq(auth_from(c, other + round, 10 * round, c->password), "");
        crowd_run(c, ADDRESS_MS - 1000);
        ck_assert_str_eq(auth_from(c, home, 1, c->password), "hack"); /* not yet */
        crowd_run(c, 2000);
    }
    crowd_run(c, 2 * ADDRESS_MS);
    ck_assert_uint_eq(c->s->addresses.live, 0); /* nothing is remembered */
    crowd_free(c);
}

TEST(addresses_and_pace, who_guesses_passwords_waits_and_nobody_else_does)
{
    struct crowd *c = crowd_new_checked(&tiny, "");
    uint32_t home = WORLD_FIRST_IP, other = home + 1;
    const char *wrong = wrong_password();
    ck_assert_str_eq(auth_from(c, other, 0, c->password), "");
    ck_assert_str_eq(auth_from(c, other, 1, c->password), "");
    for (uint32_t i = 0; i < FREE_GUESSES; i++)
        ck_assert_str_eq(auth_from(c, home, 0, wrong), "pass");
    for (uint32_t i = 0; i < 8; i++) { /* 1, 2, 4 ... s, at most a minute */
        uint64_t wait_ms = i < 6 ? UINT64_C(1000) << i : 60000;
        ck_assert_str_eq(auth_from(c, home, 0, c->password), "hack");
        ck_assert_str_eq(auth_from(c, other, 0, c->password), "");
        ck_assert_str_eq(auth_from(c, home, 1, c->password), "");
        crowd_run(c, wait_ms - 1);
        ck_assert_str_eq(auth_from(c, home, 0, c->password), "hack");
        crowd_run(c, 1);
        ck_assert_str_eq(auth_from(c, home, 0, wrong), "pass");
    }
    crowd_run(c, 60000);
    ck_assert_str_eq(auth_from(c, home, 0, c->password), "");
    crowd_run(c, 2 * ADDRESS_MS);
    ck_assert_uint_eq(c->s->addresses.live, 0);
    ck_assert_uint_eq(c->s->guesses.live, 0);
    crowd_free(c);
}

/* Each name fails so often, in turn, from addresses of which none fails so often
 * that it has to wait. */
static void flood_with_guesses(struct crowd *c, uint32_t network, uint32_t names, uint32_t times)
{
    for (uint32_t i = 0; i < names * times; i++)
        ck_assert_str_eq(auth_from(c, network + i / times / 19, 1000 + i / times, c->password), "imst");
    must_hold(c);
}

/* Whoever guesses would have his guesses forgotten by thousands of others; whoever
 * bears a grudge would have the table full, and all others wait. */
TEST(addresses_and_pace, thousands_of_guesses_make_the_server_forget_no_guesser)
{
    struct crowd *c = crowd_new(&tiny, "");
    uint32_t home = WORLD_FIRST_IP, capacity = c->s->guesses.capacity;
    ck_assert_str_eq(auth_from(c, home + 1, 0, c->password), "");
    ck_assert_str_eq(auth_from(c, home + 1, 1, c->password), "");
    crowd_configure(c, "accounts = closed\n");
    for (uint32_t i = 0; i < FREE_GUESSES; i++)
        ck_assert_str_eq(auth_from(c, home, 0, wrong_password()), "pass");
    flood_with_guesses(c, 0x0A000000u, capacity + 500, 1);
    ck_assert_uint_eq(c->s->guesses.live, capacity);
    ck_assert_str_eq(auth_from(c, home, 0, c->password), "hack");
    ck_assert_str_eq(auth_from(c, home, 1, c->password), "");
    flood_with_guesses(c, 0x0B000000u, capacity / 2 - 1, FREE_GUESSES);
    ck_assert_uint_eq(c->s->guesses.live, capacity);
    ck_assert_str_eq(auth_from(c, home, 0, c->password), "hack");
    flood_with_guesses(c, 0x0C000000u, capacity / 2, FREE_GUESSES);
    for (uint32_t i = 0; i < FREE_GUESSES; i++) { /* a new guesser has his place, whoever logs in */
        ck_assert_str_eq(auth_from(c, home + 2, 1, c->password), "");
        ck_assert_str_eq(auth_from(c, home + 3, 1, wrong_password()), "pass");
    }
    ck_assert_str_eq(auth_from(c, home + 3, 1, c->password), "hack");
    must_hold(c);
    crowd_run(c, 2 * ADDRESS_MS);
    ck_assert_uint_eq(c->s->guesses.live, 0);
    crowd_free(c);
}

/* The table forgets those who went first; a connection always gets in. */
TEST(addresses_and_pace, thousands_of_addresses_that_failed_keep_nobody_out)
{
    struct crowd *c = crowd_new(&tiny, "accounts = register\n");
    uint32_t count = size_of(2500, 1300), capacity = c->s->addresses.capacity;
    uint32_t others = c->count - 1; /* are there all the time, each from an address of its own */
    ck_assert_uint_eq(capacity, nascar_connections(&tiny) + 1024);
    for (uint32_t i = 0; i < c->count; i++) {
        (void)crowd_open_from(c, i, 0x0B000000u + i);
        crowd_auth(c, i, 0);
    }
    crowd_settle(c);
    crowd_close(c, 9);
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_str_eq(auth_from(c, 0x0A000000u + i, 0, c->password), "imst");
        ck_assert_uint_ge(c->s->addresses.live, min_u32(others + i + 1, capacity));
    }
    must_hold(c);
    for (uint32_t i = 0; i < count; i++) { /* the newest are remembered */
        uint32_t a = find_address(c->s, 0x0A000000u + i);
        ck_assert_int_eq(a != NONE, i >= count - (capacity - others));
        ck_assert(a == NONE || address_at(c->s, a)->failed == 1);
    }
    for (uint32_t i = 0; i < c->count; i++) { /* and whoever is here is served */
        if (i != 9) {
            ck_assert(c->reader[i].open);
            ck_assert_str_eq(c->reader[i].reply_code, "imst");
            ck_assert_uint_ne(find_address(c->s, 0x0B000000u + i), NONE);
            crowd_auth(c, i, 0);
        }
    }
    crowd_settle(c);
    must_hold(c);
    for (uint32_t i = 0; i < c->count; i++) {
        if (i != 9) {
            ck_assert_uint_eq(c->reader[i].replies, 2);
            crowd_close(c, i);
        }
    }
    crowd_run(c, ADDRESS_MS);
    ck_assert_uint_eq(c->s->addresses.live, 0);
    must_hold(c);
    crowd_free(c);
}

/* ---- Pace (DESIGN 3) ------------------------------------------------------------ */

TEST(addresses_and_pace, input_over_the_rate_waits_and_nothing_is_lost)
{
    struct crowd *c = crowd_new_checked(&tiny, "rate = 10\n");
    crowd_login(c, 0, 0, "East");
    crowd_login(c, 1, 1, "East");
    crowd_run(c, 10000); /* the bucket is full */
    uint32_t before = c->reader[0].replies;
    for (uint32_t i = 0; i < 200; i++)
        crowd_say(c, 0, "onln", "PERS=Racer%u\n", (unsigned)(i % 2));
    crowd_settle(c);
    ck_assert_uint_eq(c->reader[0].replies - before, 60); /* what six seconds give */
    ck_assert_uint_lt(nascar_inbox_room(c->s, 0), 30);
    uint32_t steps = 0;
    for (uint32_t second = 1; second <= 14; second++) {
        uint64_t started = c->steps;
        ANSWER(c, 1, "onln", "PERS=Racer0\n", ""); /* a person's pace never waits */
        crowd_run(c, 1000);
        steps = (uint32_t)(c->steps - started);
        ck_assert_uint_le(c->reader[0].replies - before, 60 + 10 * second);
        ck_assert_uint_ge(c->reader[0].replies - before + 3, 60 + 10 * second);
    }
    ck_assert_uint_lt(steps, 100);
    crowd_run(c, 1000);
    ck_assert_uint_eq(c->reader[0].replies - before, 200);
    ck_assert_uint_eq(c->reader[0].in_bytes, 0);
    for (uint32_t i = 0; i < 100; i++) { /* a line every 0.4 s for 40 s */
        uint32_t lines = c->reader[0].lines;
        crowd_say(c, 1, "mesg", "TEXT=%u\n", (unsigned)i);
        crowd_settle(c);
        ck_assert_uint_eq(c->reader[0].lines, lines + 1);
        crowd_run(c, 400);
    }
    crowd_free(c);
}
