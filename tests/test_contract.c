/* What nascar_server.h promises to who embeds the core (DESIGN 3): what is not
 * taken is not lost, memory that is not used is not touched, the same events end
 * in the same bytes, and time may leap.
 *
 * SPDX-License-Identifier: MIT */
#define NASCAR_NO_SHELL
#include "../nascar_server.c"

#include "clients.h"
#include "crowd.h"

/* ---- What is not taken (nascar_server.h) ------------------------------------------ */

GROUP(what_is_not_taken, NULL, NULL, 60);

/* Lines that found no room are counted, and so told. */
TEST(what_is_not_taken, log_lines_without_room_are_counted)
{
    struct crowd *c = crowd_new(&tiny, "");
    crowd_clock(c);
    for (uint32_t round = 0; round < 3; round++) {
        uint32_t lines = c->log_lines, told = 0, first_lost = 0;
        c->lines_lost = 0;
        c->leave_log = true;
        for (uint32_t i = 0; i < 300; i++) {
            (void)crowd_open(c, i % c->count);
            crowd_close(c, i % c->count);
            first_lost = first_lost == 0 && c->s->log_lost > 0 ? i + 1 : first_lost;
            must_hold(c);
        }
        ck_assert_uint_gt(first_lost, 50);
        ck_assert_uint_gt(c->s->log_lost, 100);
        told = c->s->log_lost;
        c->leave_log = false;
        crowd_take(c);
        ck_assert_uint_eq(c->log_lines - lines + c->lines_lost + c->s->log_lost, 600);
        (void)crowd_open(c, 0);
        ck_assert_uint_eq(c->s->log_lost, 0);
        ck_assert_uint_ge(c->lines_lost, told);
        ck_assert_uint_eq(c->log_lines - lines + c->lines_lost, 601);
        crowd_close(c, 0);
    }
    crowd_free(c);
}

/* 64 hash jobs or records and no more; whose turn it is then waits, and a
 * verdict or record that finds no room is not taken and changes nothing. */
TEST_LOOP(what_is_not_taken, jobs_and_records_that_are_not_taken_make_others_wait, 0, 2)
{
    struct nascar_limits limits = {100, 100, 8, 16, 64, 64, 0};
    struct crowd *c = crowd_new(&limits, "");
    bool jobs = _i == 0;
    c->checked = true;
    for (uint32_t i = 0; i < 100; i++) {
        (void)crowd_open(c, i);
        crowd_says_login(c, i, i, "");
        if (jobs && i == 0)
            c->leave_jobs = true;
    }
    if (!jobs) {
        crowd_settle(c);
        c->leave_records = true;
        for (uint32_t i = 0; i < 100; i++)
            crowd_say(c, i, "edit", "MAIL=%u@example.org\n", (unsigned)i);
    }
    crowd_settle(c);
    ck_assert_uint_eq(jobs ? c->s->job_count : c->s->record_count, RECORDS);
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < 100; i++)
        waiting += is_stalled(c->s, i);
    ck_assert_uint_eq(waiting, 100 - RECORDS);
    void *before = remember(c);
    for (int type = NASCAR_RECORD; type <= NASCAR_VERDICT; type++) {
        struct nascar_event event = {.type = (enum nascar_event_type)type, .conn = 0, .receipt = 1, .accepted = true};
        c->dry = true;
        ck_assert(!crowd_step(c, &event));
        ck_assert(is_unchanged(c, before));
    }
    c->dry = false;
    free(before);
    /* One that was taken out of 64 is not yet room. */
    if (jobs) {
        struct nascar_hash_job job;
        ck_assert(nascar_next_hash_job(c->s, &job));
        c->answers[c->answer_count++] = (struct crowd_record){
            .is_job = true, .conn = job.conn, .receipt = job.receipt, .accepted = true, .fresh = true};
    }
    {
        struct nascar_event event = {.type = NASCAR_CLOCK, .conn = NASCAR_NONE};
        ck_assert(crowd_step(c, &event));
    }
    ck_assert_uint_eq(jobs ? c->s->job_count : c->s->record_count, RECORDS);
    c->leave_jobs = c->leave_records = false;
    crowd_take(c);
    crowd_settle(c);
    for (uint32_t i = 0; i < 100; i++) {
        ck_assert_str_eq(c->reader[i].reply_kind, jobs ? "sele" : "edit");
        ck_assert_str_eq(c->reader[i].reply_code, "");
        ck_assert_uint_eq(c->reader[i].replies, jobs ? 5 : 6);
    }
    ck_assert_uint_eq(c->s->players.live, 100);
    crowd_free(c);
}

TEST(what_is_not_taken, without_entropy_no_step_begins_and_nothing_changes)
{
    struct crowd *c = zeroes(1, sizeof *c);
    struct crowd *running = crowd_new(&tiny, "");
    uint8_t bytes[NASCAR_ENTROPY_BYTES] = {0};
    crowd_login(running, 0, 0, "East");
    c->arena_bytes = running->arena_bytes;
    c->arena = zeroes(1, c->arena_bytes);
    c->s = nascar_init(c->arena, c->arena_bytes, &tiny);
    c->dry = true;
    ck_assert_uint_eq(nascar_entropy_wanted(c->s), NASCAR_ENTROPY_BYTES);
    /* A state that is new, and one whose pool has run dry. */
    running->dry = true;
    for (uint32_t i = 0; i < 100; i++)
        crowd_say(running, 0, "skey", "SKEY=$%02x\n", (unsigned)i);
    uint32_t before = running->reader[0].replies;
    while (running->s->entropy_size >= STEP_ENTROPY) {
        struct reader *r = &running->reader[0];
        uint32_t room = nascar_inbox_room(running->s, 0);
        struct nascar_event event = {.type = NASCAR_BYTES,
                                     .conn = 0,
                                     .bytes = r->in,
                                     .size = room < (uint32_t)r->in_bytes ? room : (uint32_t)r->in_bytes};
        ck_assert(crowd_step(running, &event));
        r->in_bytes -= event.size;
        memmove(r->in, r->in + event.size, r->in_bytes);
        if (running->s->entropy_size >= STEP_ENTROPY)
            crowd_settle(running);
        must_hold(running);
    }
    struct crowd *const both[] = {c, running};
    for (uint32_t i = 0; i < 2; i++) {
        void *copy = remember(both[i]);
        for (int type = NASCAR_OPENED; type <= NASCAR_VERDICT; type++) {
            for (uint32_t conn = 0; conn < 3; conn++) {
                struct nascar_event event = {.type = (enum nascar_event_type)type,
                                             .conn = conn == 2 ? NASCAR_NONE : conn,
                                             .mono_ms = 1u << 30,
                                             .wall_s = WORLD_WALL_S,
                                             .bytes = bytes,
                                             .size = 12,
                                             .receipt = 1};
                if (type != NASCAR_ENTROPY) {
                    ck_assert(!nascar_step(both[i]->s, &event));
                    ck_assert(is_unchanged(both[i], copy));
                }
            }
        }
        free(copy);
    }
    running->dry = false; /* and with entropy it goes on where it was */
    crowd_entropy(running);
    crowd_settle(running);
    crowd_window(running, 0, SIZE_MAX);
    crowd_drain(running, 0);
    crowd_settle(running);
    ck_assert_uint_eq(running->reader[0].replies - before, 100);
    ck_assert_uint_eq(running->reader[0].in_bytes, 0);
    must_hold(running);
    crowd_free(running);
    free(c->arena);
    free(c);
}

/* ---- Memory (DESIGN 3: no growth; what is not used is not touched) ---------------- */

GROUP(memory_and_determinism, NULL, NULL, 120);

/* The pools, and their names. */
#define POOL_NAME(name, type, at, capacity) #name,
#define POOL_OFFSET(name, type, at, capacity) offsetof(struct nascar, name),
static const char *const pool_names[] = {"conns", POOLS(POOL_NAME)};
static const size_t pool_offsets[] = {offsetof(struct nascar, conns), POOLS(POOL_OFFSET)};
#define POOL_COUNT (sizeof pool_offsets / sizeof pool_offsets[0])

static const struct pool *nth_pool(const struct nascar *s, uint32_t i)
{
    return (const struct pool *)(const void *)((const char *)s + pool_offsets[i]);
}

static void must_be_zero(const struct crowd *c, size_t from, size_t size, const char *what)
{
    const uint8_t *at = (const uint8_t *)c->arena + from;
    for (size_t i = 0; i < size; i++)
        if (at[i] != 0)
            ck_abort_msg("%s: byte %zu of %zu is touched", what, i, size);
}

static void unused_memory_is_untouched(const struct crowd *c)
{
    const struct nascar *s = c->s;
    for (uint32_t i = 0; i < POOL_COUNT; i++) {
        const struct pool *p = nth_pool(s, i);
        must_be_zero(c, p->offset + (size_t)p->high * p->stride, (size_t)(p->capacity - p->high) * p->stride,
                     pool_names[i]);
    }
#define CHAINS(index, pool, buckets) \
    must_be_zero(c, s->index.chains + (size_t)s->pool.high * sizeof(uint32_t), \
                 (size_t)(s->pool.capacity - s->pool.high) * sizeof(uint32_t), "a chain of " #index);
    INDEXES(CHAINS)
#define LINKS(kind, table) \
    if (kind != TIMER_QUEUE && kind != FEED_ENTRIES) \
        must_be_zero(c, s->links[kind] + s->table.high * sizeof(struct links), \
                     (size_t)(s->table.capacity - s->table.high) * sizeof(struct links), "links of " #kind);
    LIST_KINDS(LINKS)
    const struct {
        size_t from, to;
    } timers[] = {{(size_t)s->conns.high * CONN_TIMERS, s->match_timers},
                  {(size_t)s->match_timers + s->matches.high, s->directory_timers},
                  {(size_t)s->directory_timers + s->directory.high, s->address_timers},
                  {(size_t)s->address_timers + s->addresses.high, s->guess_timers},
                  {(size_t)s->guess_timers + s->guesses.high, s->timers.capacity}};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        must_be_zero(c, s->timers.offset + timers[i].from * sizeof(struct timer),
                     (timers[i].to - timers[i].from) * sizeof(struct timer), "a timer");
    }
    must_be_zero(c, s->nodes.offset + (size_t)s->rooms.high * 2 * sizeof(struct node),
                 (size_t)(s->rooms.capacity - s->rooms.high) * 2 * sizeof(struct node), "a room's node");
    size_t occupants = s->nodes.offset + (size_t)s->rooms.capacity * 2 * sizeof(struct node);
    must_be_zero(c, occupants + (size_t)s->occupants.high * sizeof(struct node),
                 (size_t)(s->occupants.capacity - s->occupants.high) * sizeof(struct node), "a presence's node");
}

TEST(memory_and_determinism, a_new_state_touches_nothing_but_its_head)
{
    static const struct nascar_limits normal = NASCAR_LIMITS_DEFAULT;
    struct crowd *c = zeroes(1, sizeof *c);
    c->arena_bytes = nascar_arena_size(&normal);
    c->arena = zeroes(1, c->arena_bytes);
    c->s = nascar_init(c->arena, c->arena_bytes, &normal);
    size_t step = size_of(1, 64); /* valgrind would take its time */
    const uint8_t *at = c->arena;
    for (size_t i = sizeof *c->s; i < c->arena_bytes; i += step)
        if (at[i] != 0)
            ck_abort_msg("byte %zu of %zu is touched", i, c->arena_bytes);
    free(c->arena);
    free(c);
}

static struct {
    const struct nascar_limits *limits;
    void *arena;
    struct nascar *state;
} made;

static void make_state(void)
{
    made.state = nascar_init(made.arena, nascar_arena_size(made.limits), made.limits);
}

TEST(memory_and_determinism, a_state_is_made_with_4_kib_of_stack)
{
    static const struct nascar_limits normal = NASCAR_LIMITS_DEFAULT;
    made.limits = &normal;
    made.arena = zeroes(1, nascar_arena_size(&normal));
    make_state(); /* the loader finds the C library's functions on our stack */
    memset(made.arena, 0, sizeof *made.state);
    made.state = NULL;
    call_on_a_stack_of(4096, make_state);
    ck_assert(made.state == made.arena);
    ck_assert_ptr_null(nascar_check(made.state));
    free(made.arena);
}

#define CHURNERS 24u
#define CHURN_OPS 250u /* logins, logouts, moves, rooms, words in a round */

/* One thing that somebody does; who is not there comes. */
static void churn_once(struct crowd *c)
{
    uint32_t who = crowd_below(c, CHURNERS), other = crowd_below(c, CHURNERS);
    static const char *const places[] = {"", "East", "West", "Beginner", "C.Mine", "C.Other"};
    if (!c->reader[who].open) {
        (void)crowd_open(c, who);
        crowd_says_login(c, who, who, "");
        return;
    }
    switch (crowd_below(c, 12)) {
    case 0:
    case 1:
        free(c->reader[who].in); /* what it has not sent yet is lost */
        c->reader[who].in = NULL;
        c->reader[who].in_bytes = 0;
        crowd_close(c, who);
        break;
    case 2: crowd_say(c, who, "room", "NAME=%s\nPASS=\nDESC=None\nMAX=50\n", places[4 + crowd_below(c, 2)]); break;
    case 3: crowd_say(c, who, "mesg", "TEXT=%u says hello\n", (unsigned)who); break;
    case 4: crowd_say(c, who, "auxi", "TEXT=%u\n", (unsigned)crowd_below(c, 1000)); break;
    case 5: crowd_say(c, who, "mesg", "PRIV=Racer%u\nTEXT=token\nATTR=3\n", (unsigned)other); break;
    case 6: crowd_say(c, who, "mesg", "PRIV=Racer%u\nTEXT=ACPT\nATTR=3\n", (unsigned)other); break;
    case 7: crowd_say(c, who, "pers", "PERS=Racer%u\n", (unsigned)who); break;
    case 8:
        (void)crowd_open_from(c, CHURNERS, WORLD_FIRST_IP + who);
        crowd_say(c, CHURNERS, "@dir", "PROD=NASCAR-PS2-2004\n");
        crowd_settle(c);
        crowd_close(c, CHURNERS);
        break;
    default: crowd_say(c, who, "move", "NAME=%s\nPASS=\n", places[crowd_below(c, 6)]); break;
    }
}

/* The same life again, from nobody to nobody. */
static void churn_round(struct crowd *c, uint64_t seed, uint32_t ops)
{
    c->chance = seed;
    for (uint32_t i = 0; i < ops; i++) {
        churn_once(c);
        if (i % 3 == 0)
            crowd_settle(c);
        if (i % 16 == 0)
            crowd_run(c, 700);
        if (i % 50 == 0)
            must_hold(c);
    }
    for (uint32_t i = 0; i < CHURNERS; i++)
        if (c->reader[i].open)
            crowd_close(c, i);
    crowd_settle(c);
    crowd_run(c, 3600000); /* till all is forgotten */
}

TEST(memory_and_determinism, memory_stays_where_one_round_of_life_left_it)
{
    static const struct nascar_limits roomy = {64, 64, 32, 128, 256, 64, 0};
    struct crowd *c = crowd_new(&roomy, "");
    uint32_t high[POOL_COUNT], live[POOL_COUNT], rounds = size_of(40, 3);
    for (uint32_t round = 0; round < rounds; round++) {
        churn_round(c, 7, CHURN_OPS);
        must_hold(c);
        if (round == 0 || round + 1 == rounds)
            unused_memory_is_untouched(c);
        for (uint32_t i = 0; i < POOL_COUNT; i++) {
            const struct pool *p = nth_pool(c->s, i);
            if (round == 0) {
                high[i] = p->high;
                live[i] = p->live;
            }
            ck_assert_msg(p->high == high[i] && p->live == live[i],
                          "round %u: %s has %u live, %u used; after the first it was %u, %u", (unsigned)round,
                          pool_names[i], (unsigned)p->live, (unsigned)p->high, (unsigned)live[i], (unsigned)high[i]);
        }
    }
    const struct nascar *s = c->s;
    ck_assert_uint_eq(s->inboxes.live + s->outboxes.live + s->players.live + s->occupants.live + s->matches.live +
                          s->addresses.live + s->directory.live + s->conn_count,
                      0);
    ck_assert_uint_eq(s->rooms.live, 4);
    ck_assert_uint_gt(s->occupants.high, 10); /* there was life */
    ck_assert_uint_gt(s->rooms.high, 5);
    ck_assert_uint_gt(s->matches.high, 1);
    ck_assert(nascar_deadline_ms(s) == UINT64_MAX);
    crowd_free(c);
}

TEST(memory_and_determinism, the_core_lives_with_16_kib_of_stack)
{
    static const struct nascar_limits roomy = {64, 64, 32, 128, 256, 64, 0};
    struct crowd *c = crowd_new(&roomy, "");
    c->stack_bytes = 16384;
    churn_round(c, 7, CHURN_OPS);
    must_hold(c);
    crowd_free(c);
}

/* ---- Determinism (DESIGN 3) --------------------------------------------------------- */

static bool is_same_state(const struct crowd *a, const struct crowd *b)
{
    return memcmp(a->arena, b->arena, a->arena_bytes) == 0 && a->output == b->output;
}

TEST_LOOP(memory_and_determinism, the_same_events_end_in_the_same_bytes, 1, 4)
{
    struct crowd *a = crowd_new(&middle, ""), *b = crowd_new(&middle, "");
    a->poison = 0x55;
    b->poison = 0xAA; /* whatever lies around does not get in */
    a->watched = b->watched = true;
    for (uint32_t round = 0; round < size_of(6, 1); round++) {
        churn_round(a, 100 * (uint64_t)_i + round, CHURN_OPS);
        churn_round(b, 100 * (uint64_t)_i + round, CHURN_OPS);
        ck_assert(is_same_state(a, b));
        for (uint32_t i = 0; i < a->count; i++)
            ck_assert_uint_eq(a->reader[i].stream, b->reader[i].stream);
    }
    ck_assert_uint_eq(a->steps, b->steps);
    ck_assert_uint_gt(a->steps, 500);
    crowd_free(a);
    crowd_free(b);
}

TEST(memory_and_determinism, a_copy_of_the_arena_is_a_working_snapshot)
{
    struct crowd *a = crowd_new(&middle, "");
    a->watched = true;
    for (uint32_t i = 0; i < 120; i++) {
        churn_once(a);
        crowd_settle(a);
    }
    struct crowd *b = crowd_copy(a), *c = crowd_copy(a);
    memset(a->arena, 0xA5, a->arena_bytes); /* nothing points there */
    for (uint32_t i = 0; i < 200; i++) {
        churn_once(b);
        crowd_settle(b);
    }
    crowd_run(b, 100000);
    for (uint32_t i = 0; i < 200; i++) {
        churn_once(c);
        crowd_settle(c);
    }
    crowd_run(c, 100000);
    must_hold(b);
    ck_assert(is_same_state(b, c));
    for (uint32_t i = 0; i < b->count; i++)
        ck_assert_uint_eq(b->reader[i].stream, c->reader[i].stream);
    crowd_free(a);
    crowd_free(b);
    crowd_free(c);
}

/* ---- Time (nascar_server.h) ----------------------------------------------------------- */

GROUP(time, NULL, NULL, 60);

TEST(time, a_clock_that_goes_back_is_ignored)
{
    struct crowd *c = crowd_new(&middle, "");
    for (uint32_t i = 0; i < 8; i++)
        crowd_login(c, i, i, i % 2 == 0 ? "East" : "");
    challenge(c, 0, 2, "token");
    crowd_run(c, 12345);
    crowd_clock(c);
    crowd_settle(c);
    void *before = remember(c);
    uint64_t deadline = nascar_deadline_ms(c->s);
    const uint64_t times[] = {0, 1, c->now_ms - 1, c->now_ms / 2};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        struct nascar_event event = {.type = NASCAR_CLOCK,
                                     .conn = NASCAR_NONE,
                                     .mono_ms = times[i],
                                     .wall_s = c->wall_s + (int64_t)(c->now_ms / 1000)};
        ck_assert(nascar_step(c->s, &event));
        ck_assert(is_unchanged(c, before));
        ck_assert_uint_eq(nascar_deadline_ms(c->s), deadline);
    }
    free(before);
    crowd_free(c);
}

/* Whoever hands in time so late stood still: deadlines stood still, too. The next
 * one is due then, and the others have the distance from it that they had. */
TEST_LOOP(time, a_leap_of_hours_is_no_time_for_deadlines, 0, 4)
{
    struct crowd *c = crowd_new(&middle, _i == 0 ? "idle-s = 60\n" : "");
    const uint64_t leaps[] = {UINT64_C(18000000), UINT64_C(18000000), UINT64_C(1) << 50, UINT64_MAX};
    for (uint32_t i = 0; i < 4; i++)
        crowd_login(c, i, i, "East");
    crowd_buddy(c, 4, 0, 0);
    challenge(c, 1, 2, "token");
    (void)crowd_open(c, 5); /* says nothing */
    (void)crowd_open(c, 6);
    ANSWER(c, 6, "@dir", "PROD=NASCAR-PS2-2004\n", "");
    (void)crowd_open(c, 7);
    ANSWER(c, 7, "addr", "ADDR=192.0.2.100\nPORT=50000\n", "");
    (void)crowd_open(c, 8);
    ANSWER(c, 8, "AUTH", "USER=Racer0\nLKEY=$0\n", "user");
    crowd_window(c, 3, 0);
    for (uint32_t i = 0; i < 40; i++)
        crowd_say(c, 1, "mesg", "TEXT=%0200u\n", (unsigned)i);
    crowd_settle(c);
    ck_assert(conn_at(c->s, 3)->slow);
    uint32_t open = c->s->conn_count, closes = c->closes, pings = 0, left = 0;
    ck_assert_uint_eq(open, 9);
    for (uint32_t i = 0; i < c->count; i++)
        pings += c->reader[i].pings;
    uint64_t steps = c->steps;
    c->now_ms = leaps[_i] == UINT64_MAX ? UINT64_MAX : c->now_ms + leaps[_i];
    crowd_clock(c);
    crowd_settle(c);
    ck_assert_uint_le(c->closes - closes, 1);
    ck_assert_uint_le(c->steps - steps, 1 + 4 * (uint64_t)open);
    ck_assert_uint_eq(c->s->matches.live, 1);
    for (uint32_t i = 0; i < c->count; i++)
        left += c->reader[i].pings;
    ck_assert_uint_le(left - pings, open); /* not one for each half minute */
    ck_assert_uint_gt(next_deadline_ms(c->s), c->s->now_ms);
    must_hold(c);
    /* And after it time goes on as ever. */
    steps = c->steps;
    if (leaps[_i] != UINT64_MAX) {
        crowd_run(c, 1000000);
        /* All but those who are kept as long as they say nothing. */
        ck_assert_uint_eq(c->s->conn_count, _i == 0 ? 0 : 4);
        ck_assert_uint_eq(c->s->matches.live, 0);
        crowd_login(c, 9, 9, "East");
        ck_assert_uint_le(c->steps - steps, 1400 + 2 * 10 * (uint64_t)open);
    }
    must_hold(c);
    crowd_free(c);
}

/* PROTOCOL 2: the console's dates end with 2099. A clock that says what cannot be
 * was never set, and says nothing. */
TEST_LOOP(time, dates_stay_within_2026_to_2099, 0, 8)
{
    static const struct {
        int64_t wall_s;
        const char *date;
    } times[] = {
        {-1, "LAST=2026-01-01 00:00:00"},
        {0, "LAST=2026-01-01 00:00:00"},
        {INT64_MIN, "LAST=2026-01-01 00:00:00"},
        {WORLD_WALL_S, "LAST=2026-01-01 00:00:00"},
        {4102444799, "LAST=2099-12-31 23:59:59"},
        {4102444800, "LAST=2026-01-01 00:00:00"},
        {INT64_MAX - 1, "LAST=2026-01-01 00:00:00"},
        {INT64_MAX, "LAST=2026-01-01 00:00:00"},
    };
    struct crowd *c = crowd_new_checked(&middle, "");
    c->now_ms = 0;
    c->wall_s = times[_i].wall_s;
    crowd_login(c, 0, 0, "East");
    crowd_login(c, 1, 1, "East");
    ANSWER(c, 0, "pers", "PERS=Racer0\n", "");
    const char *date = strstr(c->reader[0].reply, "LAST=");
    ck_assert_ptr_nonnull(date);
    ck_assert_int_eq(strncmp(date, times[_i].date, strlen(times[_i].date)), 0);
    challenge(c, 0, 1, "token"); /* +ses WHEN, and the buddy's ticket, take it too */
    challenge(c, 1, 0, "ACPT");
    c->now_ms = 10000;
    c->wall_s -= times[_i].wall_s > 0 ? 10 : 0;
    crowd_clock(c);
    crowd_settle(c);
    ck_assert_uint_eq(c->s->matches.live, 1);
    crowd_buddy(c, 3, 0, 0);
    ck_assert_int_ge(c->s->wall_s, WORLD_WALL_S);
    ck_assert_int_le(c->s->wall_s, 4102444799);
    crowd_free(c);
}

/* ---- The suite ------------------------------------------------------------- */
