/* What a crowd, a full table and a long time do to the server (DESIGN 3, 4, 9,
 * 10): nobody is slowed by another, every limit is answered and frees up
 * again, memory stays where it was, and the same events end in the same bytes.
 *
 * SPDX-License-Identifier: MIT */
#include "../nascar_server.c"

#include "suite.h"
#include "world.h"
#include "lobby.h"

/* Under valgrind, which runs the suites with CK_FORK=no, the crowds are smaller. */
static uint32_t size_of(uint32_t full, uint32_t small)
{
    const char *fork = getenv("CK_FORK");
    return fork != NULL && strcmp(fork, "no") == 0 ? small : full;
}

/* ---- A crowd ------------------------------------------------------------- */

/* Many clients right at nascar_step(), for what world.h is too small for: what
 * they are told is counted, not kept, and all that the core leaves can be left
 * there. Everyone's password is in the first form under an empty key, so that
 * one encoding is good for all (PROTOCOL 4). */

#define IDENTS 1100u     /* more than there are personas */
#define RUNNING_MS 1000u /* when a crowd's clock starts */

struct reader {
    bool open;
    bool stalled;  /* its outbox was not read to the end */
    bool held;     /* what is written to it is not even looked at */
    bool named;    /* ... and there is something */
    size_t window; /* bytes that it still reads; SIZE_MAX: all */
    uint64_t bytes_read;
    uint64_t stream; /* hash of all that it read, while the crowd is watched */
    uint32_t lines;  /* of chat */
    uint64_t line_hash;
    uint32_t missed;  /* lines that it was told it missed */
    uint32_t notices; /* ... and how often */
    uint32_t user_rows, room_rows, pings, replies, presences;
    int32_t room, population;
    char reply_kind[5], reply_code[5], reply[512]; /* the last one */
    uint8_t listed[IDENTS];
    uint16_t rows[IDENTS]; /* how many +usr there were of whom */
    uint8_t *in;           /* what the core does not take yet */
    size_t in_bytes;
    uint8_t part[CONSOLE_FRAME_BYTES];
    uint32_t part_bytes;
};

struct crowd_record {
    uint32_t conn, ticket, size;
    bool is_job, accepted, fresh;
    uint8_t bytes[RECORD_BYTES];
};

struct crowd {
    struct nascar *s;
    void *arena;
    size_t arena_bytes;
    struct nascar_limits limits;
    uint64_t now_ms;
    int64_t wall_s; /* at 0 ms */
    uint64_t entropy, chance;
    bool dry;                                  /* gives no entropy */
    bool leave_jobs, leave_records, leave_log; /* takes none of these */
    bool watched, checked;
    uint8_t poison; /* what the stack is full of when a step starts; 0: as it is */
    uint32_t apart; /* steps on this connection are not counted */
    uint64_t steps;
    uint64_t output; /* hash of all that the core left */
    uint32_t log_lines, lines_lost, closes;
    char last_log[512];
    struct crowd_record *answers; /* records and verdicts on their way back */
    uint32_t answer_count;
    uint32_t count;
    struct reader *reader;
    char password[64];
};

static uint64_t hash_on(uint64_t hash, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = rotate(hash ^ word, 23) * UINT64_C(0x100000001B3);
    }
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001B3);
    return hash;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    return z ^ z >> 31;
}

static uint32_t crowd_below(struct crowd *c, uint32_t limit)
{
    return (uint32_t)(next_random(&c->chance) % limit);
}

/* Whatever a step reads without having written it is not the same twice. */
static void __attribute__((noinline)) fill_stack(uint8_t value)
{
    volatile uint8_t stack[8192];
    for (size_t i = 0; i < sizeof stack; i++)
        stack[i] = value;
}

static void crowd_take(struct crowd *c)
{
    struct nascar_log log;
    struct nascar_record record;
    struct nascar_hash_job job;
    while (!c->leave_log && nascar_next_log(c->s, &log)) {
        const char *lost = strstr(log.text, " lines_lost=");
        c->log_lines++;
        c->lines_lost += lost == NULL ? 0 : (uint32_t)strtoul(lost + 12, NULL, 10);
        c->closes += strncmp(log.text, "event=close ", 12) == 0;
        c->output = hash_on(c->output, log.text, strlen(log.text));
        (void)snprintf(c->last_log, sizeof c->last_log, "%s", log.text);
    }
    while (!c->leave_records && nascar_next_record(c->s, &record)) {
        struct crowd_record *r = &c->answers[c->answer_count++];
        ck_assert_uint_le(c->answer_count, 4 * RECORDS);
        r->is_job = false;
        r->conn = record.conn;
        r->ticket = record.ticket;
        r->size = record.size;
        memcpy(r->bytes, record.bytes, record.size);
        c->output = hash_on(c->output, record.bytes, record.size);
    }
    while (!c->leave_jobs && nascar_next_hash_job(c->s, &job)) {
        struct crowd_record *r = &c->answers[c->answer_count++];
        ck_assert_uint_le(c->answer_count, 4 * RECORDS);
        r->is_job = true;
        r->conn = job.conn;
        r->ticket = job.ticket;
        r->accepted = job.stored[0] == '\0' || strcmp(job.password, "secret") == 0;
        r->fresh = job.fresh[0] != '\0';
    }
}

static void crowd_entropy(struct crowd *c)
{
    uint8_t bytes[NASCAR_ENTROPY_BYTES];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(next_random(&c->entropy) >> 56);
    struct nascar_event event = {.type = NASCAR_ENTROPY,
                                 .conn = NASCAR_NONE,
                                 .bytes = bytes,
                                 .size = nascar_entropy_wanted(c->s),
                                 .mono_ms = c->now_ms,
                                 .wall_s = c->wall_s + (int64_t)(c->now_ms / 1000)};
    ck_assert(nascar_step(c->s, &event));
    crowd_take(c);
}

/* One event and nothing else. */
static bool crowd_step(struct crowd *c, const struct nascar_event *event)
{
    struct nascar_event timed = *event;
    if (!c->dry && nascar_entropy_wanted(c->s) > NASCAR_ENTROPY_BYTES / 2)
        crowd_entropy(c);
    timed.mono_ms = c->now_ms;
    timed.wall_s = c->wall_s + (int64_t)(c->now_ms / 1000);
    c->steps += event->conn != c->apart;
    if (c->poison != 0)
        fill_stack(c->poison);
    bool done = nascar_step(c->s, &timed);
    crowd_take(c);
    if (c->checked) {
        const char *wrong = nascar_check(c->s);
        ck_assert_msg(wrong == NULL, "nascar_check after event %d on %lu: %s", (int)event->type,
                      (unsigned long)event->conn, wrong);
    }
    return done;
}

/* Records and verdicts go back, in order, with what follows from them. */
static void crowd_answer(struct crowd *c)
{
    while (c->answer_count > 0) {
        struct crowd_record r = c->answers[0];
        struct nascar_event event = {.type = r.is_job ? NASCAR_VERDICT : NASCAR_RECORD,
                                     .conn = r.conn,
                                     .ticket = r.ticket,
                                     .bytes = r.bytes,
                                     .size = r.size,
                                     .accepted = r.is_job && r.accepted};
        if (r.is_job) {
            event.bytes = (const uint8_t *)"$h$";
            event.size = r.fresh ? 3 : 0;
        }
        c->answer_count--;
        memmove(c->answers, c->answers + 1, c->answer_count * sizeof *c->answers);
        ck_assert(crowd_step(c, &event));
    }
}

static bool crowd_event(struct crowd *c, const struct nascar_event *event)
{
    bool done = crowd_step(c, event);
    crowd_answer(c);
    return done;
}

static void crowd_clock(struct crowd *c)
{
    struct nascar_event event = {.type = NASCAR_CLOCK, .conn = NASCAR_NONE};
    ck_assert(crowd_event(c, &event));
}

static void crowd_configure(struct crowd *c, const char *config)
{
    char text[1024];
    int size = snprintf(text, sizeof text,
                        "rate = 0\nper-address = 100000\nlogins-per-address = 1000000\n"
                        "accounts-per-address = 1000000\nidle-s = 86400\n%s",
                        config);
    struct nascar_event event = {.type = NASCAR_CONFIG,
                                 .conn = NASCAR_NONE,
                                 .bytes = (const uint8_t *)text,
                                 .size = (uint32_t)size};
    ck_assert_int_lt(size, (int)sizeof text);
    ck_assert(crowd_event(c, &event));
}

static void *zeroes(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

static struct crowd *crowd_new(const struct nascar_limits *limits, const char *config)
{
    static const uint8_t no_key[16];
    struct crowd *c = zeroes(1, sizeof *c);
    struct console_pad pad = {.started = false};
    c->limits = *limits;
    c->arena_bytes = nascar_arena_size(limits);
    c->arena = zeroes(1, c->arena_bytes);
    c->s = nascar_init(c->arena, c->arena_bytes, limits);
    ck_assert_ptr_nonnull(c->s);
    c->count = nascar_connections(limits);
    c->reader = zeroes(c->count, sizeof *c->reader);
    c->answers = zeroes(4 * RECORDS + 1, sizeof *c->answers);
    c->now_ms = RUNNING_MS;
    c->wall_s = WORLD_WALL_S;
    c->entropy = 1;
    c->chance = 1;
    c->apart = NASCAR_NONE - 1;
    c->password[0] = '~';
    console_encode(&pad, no_key, sizeof no_key, "secret", c->password + 1);
    crowd_configure(c, config);
    return c;
}

static void crowd_free(struct crowd *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        free(c->reader[i].in);
    free(c->reader);
    free(c->answers);
    free(c->arena);
    free(c);
}

/* The same crowd at other addresses; nobody may be in the middle of a word. */
static struct crowd *crowd_copy(const struct crowd *c)
{
    struct crowd *copy = zeroes(1, sizeof *copy);
    *copy = *c;
    copy->arena = zeroes(1, c->arena_bytes);
    memcpy(copy->arena, c->arena, c->arena_bytes);
    copy->s = copy->arena;
    copy->reader = zeroes(c->count, sizeof *c->reader);
    memcpy(copy->reader, c->reader, c->count * sizeof *c->reader);
    copy->answers = zeroes(4 * RECORDS + 1, sizeof *c->answers);
    ck_assert_uint_eq(c->answer_count, 0);
    for (uint32_t i = 0; i < c->count; i++)
        ck_assert_ptr_null(c->reader[i].in);
    return copy;
}

static void must_hold(const struct crowd *c)
{
    const char *wrong = nascar_check(c->s);
    ck_assert_msg(wrong == NULL, "nascar_check: %s", wrong);
}

/* ---- What a crowd reads --------------------------------------------------- */

static int32_t number_in(const uint8_t *payload, uint32_t size, const char *key)
{
    uint32_t at = find_tag(payload, size, key);
    return at == NOT_THERE ? -1 : to_signed(read_number(payload, size, at));
}

static void take_user(struct reader *r, const uint8_t *payload, uint32_t size)
{
    uint32_t ident = (uint32_t)number_in(payload, size, "I");
    if (ident >= IDENTS)
        ck_abort_msg("+usr I=%lu", (unsigned long)ident);
    r->user_rows++;
    r->rows[ident]++;
    r->listed[ident] = find_tag(payload, size, "N") != NOT_THERE;
    r->population = number_in(payload, size, "T");
}

static void take_message(struct reader *r, const uint8_t *payload, uint32_t size)
{
    uint32_t at = find_tag(payload, size, "T");
    if (find_tag(payload, size, "F") != NOT_THERE) { /* F=B: so many lines were missed */
        r->missed += read_number(payload, size, at + (payload[at] == '"'));
        r->notices++;
        return;
    }
    r->lines++;
    r->line_hash = hash_on(r->line_hash, payload + at, size - at);
}

static void take_frame(struct reader *r, const uint8_t *frame, uint32_t size)
{
    const uint8_t *payload = frame + HEADER_BYTES;
    uint32_t n = size - HEADER_BYTES;
    if (memcmp(frame, "+usr", 4) == 0) {
        take_user(r, payload, n);
    } else if (memcmp(frame, "+msg", 4) == 0) {
        take_message(r, payload, n);
    } else if (memcmp(frame, "+who", 4) == 0) {
        int32_t room = number_in(payload, n, "RI");
        if (room != r->room)
            memset(r->listed, 0, sizeof r->listed);
        r->room = room;
        r->population = number_in(payload, n, "RT");
    } else if (memcmp(frame, "+rom", 4) == 0) {
        r->room_rows++;
    } else if (memcmp(frame, "~png", 4) == 0 || memcmp(frame, "PING", 4) == 0) {
        r->pings++;
    } else if (memcmp(frame, "PGET", 4) == 0) {
        r->presences++;
    } else if (frame[0] != '+') {
        r->replies++;
        memcpy(r->reply_kind, frame, 4);
        memcpy(r->reply_code, frame + 4, 4);
        n = min_u32(n, sizeof r->reply - 1);
        memcpy(r->reply, payload, n);
        r->reply[n] = '\0';
    }
}

static void crowd_read(struct crowd *c, struct reader *r, const uint8_t *bytes, size_t size)
{
    r->bytes_read += size;
    if (c->watched)
        r->stream = hash_on(r->stream, bytes, size);
    while (size > 0) {
        if (r->part_bytes == 0 && size >= HEADER_BYTES && load_be32(bytes + 8) <= size) {
            uint32_t whole = load_be32(bytes + 8); /* as nearly always */
            take_frame(r, bytes, whole);
            bytes += whole;
            size -= whole;
            continue;
        }
        r->part[r->part_bytes++] = *bytes++;
        size--;
        if (r->part_bytes >= HEADER_BYTES && r->part_bytes == load_be32(r->part + 8)) {
            take_frame(r, r->part, r->part_bytes);
            r->part_bytes = 0;
        }
        if (r->part_bytes == sizeof r->part)
            ck_abort_msg("a frame is too long");
    }
}

static void crowd_close(struct crowd *c, uint32_t conn)
{
    struct nascar_event event = {.type = NASCAR_CLOSED, .conn = conn};
    struct reader *r = &c->reader[conn];
    free(r->in);
    r->in = NULL;
    r->in_bytes = 0;
    r->open = false;
    ck_assert(crowd_event(c, &event));
}

static void crowd_drain(struct crowd *c, uint32_t conn)
{
    struct reader *r = &c->reader[conn];
    uint32_t size = 0;
    const uint8_t *bytes = nascar_outbox(c->s, conn, &size);
    size_t read = r->window < size ? r->window : size;
    if (r->window != SIZE_MAX)
        r->window -= read;
    r->stalled = read < size;
    crowd_read(c, r, bytes, read);
    struct nascar_event event = {.type = NASCAR_DRAINED, .conn = conn, .size = (uint32_t)read};
    if (!crowd_event(c, &event))
        ck_abort_msg("DRAINED is refused");
    if (nascar_closing(c->s, conn))
        crowd_close(c, conn);
}

static bool crowd_feed(struct crowd *c, uint32_t conn)
{
    struct reader *r = &c->reader[conn];
    size_t room = nascar_inbox_room(c->s, conn);
    room = room < r->in_bytes ? room : r->in_bytes;
    if (room == 0)
        return false;
    struct nascar_event event = {.type = NASCAR_BYTES, .conn = conn, .bytes = r->in, .size = (uint32_t)room};
    if (!crowd_event(c, &event))
        return false;
    if (r->in == NULL)
        return true; /* closed meanwhile */
    r->in_bytes -= room;
    memmove(r->in, r->in + room, r->in_bytes);
    if (r->in_bytes == 0) {
        free(r->in);
        r->in = NULL;
    }
    return true;
}

/* All that can move without time passing. */
static void crowd_settle(struct crowd *c)
{
    bool moved = true;
    for (uint32_t turn = 0; moved; turn++) {
        uint32_t conn;
        moved = false;
        ck_assert_msg(turn < 100000, "the crowd does not settle");
        crowd_answer(c);
        while ((conn = nascar_next_output(c->s)) != NASCAR_NONE) {
            struct reader *r = &c->reader[conn];
            r->named = r->held;
            if (!r->held) {
                crowd_drain(c, conn);
                moved = true;
            }
        }
        for (conn = 0; conn < c->count; conn++) {
            struct reader *r = &c->reader[conn];
            if (r->open && r->stalled && r->window > 0 && !r->held) {
                crowd_drain(c, conn);
                moved = true;
            }
            moved = (r->open && r->in_bytes > 0 && crowd_feed(c, conn)) || moved;
        }
    }
}

/* Deadline by deadline. */
static void crowd_run(struct crowd *c, uint64_t ms)
{
    uint64_t end = c->now_ms + ms;
    crowd_settle(c);
    while (c->now_ms < end) {
        uint64_t next = nascar_deadline_ms(c->s);
        next = next < end ? next : end;
        c->now_ms = next > c->now_ms ? next : c->now_ms + 1;
        crowd_clock(c);
        crowd_settle(c);
    }
}

static void crowd_window(struct crowd *c, uint32_t conn, size_t bytes)
{
    c->reader[conn].window = bytes;
    crowd_settle(c);
}

static void crowd_hold(struct crowd *c, uint32_t conn, bool held)
{
    struct reader *r = &c->reader[conn];
    r->held = held;
    if (!held && r->named) {
        r->named = false;
        crowd_drain(c, conn);
    }
    crowd_settle(c);
}

static uint32_t crowd_open_from(struct crowd *c, uint32_t conn, uint32_t peer)
{
    struct nascar_event event = {.type = NASCAR_OPENED, .conn = conn, .peer = peer, .local = WORLD_SERVER_IP};
    struct reader *r = &c->reader[conn];
    free(r->in);
    memset(r, 0, sizeof *r);
    r->open = true;
    r->window = SIZE_MAX;
    ck_assert(crowd_event(c, &event));
    return conn;
}

static uint32_t crowd_open(struct crowd *c, uint32_t conn)
{
    return crowd_open_from(c, conn, WORLD_FIRST_IP + conn);
}

/* Queues bytes; they go as the core takes them. */
static void crowd_bytes(struct crowd *c, uint32_t conn, const void *bytes, size_t size)
{
    struct reader *r = &c->reader[conn];
    uint8_t *in = realloc(r->in, r->in_bytes + size);
    ck_assert_ptr_nonnull(in);
    memcpy(in + r->in_bytes, bytes, size);
    r->in = in;
    r->in_bytes += size;
}

static size_t frame_of(uint8_t out[2048], const char *kind, const char *payload)
{
    size_t size = console_frame(out, 2048, kind, 0, payload, strlen(payload) + 1);
    ck_assert_uint_gt(size, 0);
    return size;
}

static void __attribute__((format(printf, 4, 5)))
crowd_say(struct crowd *c, uint32_t conn, const char *kind, const char *format, ...)
{
    char payload[1024];
    uint8_t frame[2048];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(payload, sizeof payload, format, arguments);
    va_end(arguments);
    crowd_bytes(c, conn, frame, frame_of(frame, kind, payload));
}

/* The letters of the reply's code, "" for success; NULL if there is none. */
static const char *crowd_ask(struct crowd *c, uint32_t conn, const char *kind, const char *payload)
{
    struct reader *r = &c->reader[conn];
    uint32_t before = r->replies;
    crowd_say(c, conn, kind, "%s", payload);
    crowd_settle(c);
    return r->replies > before && strcmp(r->reply_kind, kind) == 0 ? r->reply_code : NULL;
}

#define ANSWER(c, conn, kind, payload, code) \
    do { \
        const char *answer_code = crowd_ask(c, conn, kind, payload); \
        ck_assert_ptr_nonnull(answer_code); \
        ck_assert_str_eq(answer_code, code); \
    } while (0)

static int32_t reply_number(const struct crowd *c, uint32_t conn, const char *key)
{
    const struct reader *r = &c->reader[conn];
    return number_in((const uint8_t *)r->reply, (uint32_t)strlen(r->reply), key);
}

static void say_auth(struct crowd *c, uint32_t conn, uint32_t who)
{
    crowd_say(c, conn, "auth", "NAME=Racer%u\nTOS=1\nPASS=\"%s\"\n", (unsigned)who, c->password);
}

/* All the requests of a console that goes straight into a room ("": the hub). */
static void say_login(struct crowd *c, uint32_t conn, uint32_t who, const char *room)
{
    crowd_say(c, conn, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    say_auth(c, conn, who);
    crowd_say(c, conn, "pers", "PERS=Racer%u\n", (unsigned)who);
    crowd_say(c, conn, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1");
    crowd_say(c, conn, "sele", "RANKS=50\n");
    if (room[0] != '\0')
        crowd_say(c, conn, "move", "NAME=%s\nPASS=\n", room);
}

static void crowd_login(struct crowd *c, uint32_t conn, uint32_t who, const char *room)
{
    (void)crowd_open(c, conn);
    say_login(c, conn, who, room);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[conn].reply_kind, room[0] != '\0' ? "move" : "sele");
    ck_assert_str_eq(c->reader[conn].reply_code, "");
}

/* So many players, each on the connection of its number, in one room. */
static struct crowd *crowd_in_one_room(uint32_t players)
{
    struct nascar_limits limits = {players, players, 16, 16, 64, 64};
    struct crowd *c = crowd_new(&limits, "room = Big: All of them: 2000\nroom = Other:: 2000\n");
    for (uint32_t i = 0; i < players; i++) {
        (void)crowd_open(c, i);
        say_login(c, i, i, "Big");
    }
    crowd_settle(c);
    must_hold(c);
    return c;
}

/* What is told to a reader is what is so: who is in its room, and how many. */
static void lists_are_true(const struct crowd *c, uint32_t conn)
{
    static uint8_t there[IDENTS];
    const struct reader *r = &c->reader[conn];
    const struct nascar *s = c->s;
    const struct player *p = conn_player(s, conn);
    const struct room *room = room_at(s, p->room);
    memset(there, 0, sizeof there);
    there[p->persona + 1] = 1;
    for (uint32_t i = room->members; i != NONE && p->room != HUB; i = player_at(s, i)->room_next)
        there[player_at(s, i)->persona + 1] = 1;
    ck_assert_int_eq(r->room, (int32_t)room->ident);
    ck_assert_int_eq(r->population, (int32_t)room->count);
    for (uint32_t i = 0; i < IDENTS; i++)
        if (there[i] != r->listed[i])
            ck_abort_msg("connection %u: %u is %slisted", (unsigned)conn, (unsigned)i, r->listed[i] ? "" : "not ");
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
    uint32_t rooms = r->room_rows, queued = 0;
    (void)nascar_outbox(c->s, SLOW, &queued);
    crowd_window(c, SLOW, queued); /* what was written before its outbox was full */
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

static const struct nascar_limits tiny = {4, 16, 8, 16, 64, 64};

/* The arena as it is now, to compare with. */
static void *remember(const struct crowd *c)
{
    void *copy = malloc(c->arena_bytes);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, c->arena, c->arena_bytes);
    return copy;
}

static bool is_unchanged(const struct crowd *c, const void *copy)
{
    return memcmp(c->arena, copy, c->arena_bytes) == 0;
}

TEST(connections_and_boxes, a_number_out_of_range_is_nobody)
{
    struct crowd *c = crowd_new(&tiny, "");
    ck_assert_uint_eq(c->count, 2 * 4 + 64 + NASCAR_CONTROL_CONNECTIONS);
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
                                         .ticket = 3,
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
    struct crowd *c = crowd_new(&tiny, "");
    c->checked = true;
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
        say_auth(c, 0, 0);
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
    struct crowd *c = crowd_new(&tiny, "");
    c->checked = true;
    crowd_login(c, 0, 0, "East");
    crowd_login(c, 1, 1, "East");
    uint32_t before = c->reader[0].replies;
    crowd_hold(c, 0, _i == 0);
    if (_i != 0)
        crowd_window(c, 0, 0);
    for (uint32_t i = 0; i < 200; i++)
        crowd_say(c, 0, "user", "PERS=Racer%u\n", (unsigned)(i % 2));
    crowd_settle(c);
    uint32_t queued = 0;
    (void)nascar_outbox(c->s, 0, &queued);
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

/* ---- Tables (DESIGN 3: a full table is an answered error) ------------------- */

GROUP(tables, NULL, NULL, 60);

TEST(tables, a_full_server_says_so_at_the_directory_and_at_auth)
{
    struct crowd *c = crowd_new(&tiny, "");
    c->checked = true;
    for (uint32_t i = 0; i < 4; i++)
        crowd_login(c, i, i, "");
    (void)crowd_open(c, 4);
    ANSWER(c, 4, "@dir", "PROD=NASCAR-PS2-2004\n", "");
    ck_assert_ptr_nonnull(strstr(c->reader[4].reply, "ADDR=0.0.0.0\nPORT=0\n"));
    ck_assert_ptr_nonnull(strstr(c->reader[4].reply, "DOWN=\"The server is full."));
    (void)crowd_open(c, 5);
    say_auth(c, 5, 5);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[5].reply_code, "full");
    ck_assert_int_eq(reply_number(c, 5, "STATUS"), 0);
    ck_assert(c->reader[5].open);              /* for another try */
    ck_assert_uint_eq(c->s->accounts.live, 5); /* and the account is there */
    (void)crowd_open(c, 6);
    say_auth(c, 6, 2); /* who takes its own place needs none */
    crowd_settle(c);
    ck_assert_str_eq(c->reader[6].reply_code, "");
    ck_assert(!c->reader[2].open);
    crowd_close(c, 6);
    say_auth(c, 5, 5);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[5].reply_code, "");
    crowd_close(c, 5);
    (void)crowd_open(c, 7);
    ANSWER(c, 7, "@dir", "PROD=NASCAR-PS2-2004\n", "");
    ck_assert_int_gt(reply_number(c, 7, "SESS"), 0);
    crowd_free(c);
}

/* Two sign up for the last place in one turn: one of them gets it. */
TEST_LOOP(tables, the_last_account_is_given_once, 0, 2)
{
    static const struct nascar_limits few = {8, 3, 8, 16, 64, 64};
    struct crowd *c = crowd_new(&few, "");
    c->checked = true;
    crowd_login(c, 0, 0, "");
    crowd_login(c, 1, 1, "");
    for (uint32_t i = 2; i < 4; i++) {
        (void)crowd_open(c, i);
        if (_i == 0)
            say_auth(c, i, i);
        else
            crowd_say(c, i, "acct", "NAME=Racer%u\nPASS=\"%s\"\n", (unsigned)i, c->password);
    }
    c->leave_records = true;
    crowd_settle(c);
    ck_assert_uint_eq(c->s->record_count, 2);
    c->leave_records = false;
    crowd_take(c);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[2].reply_code, "");
    ck_assert_str_eq(c->reader[3].reply_code, "full");
    say_auth(c, 3, 9); /* nor later, in either way; who has one gets in */
    crowd_settle(c);
    ck_assert_str_eq(c->reader[3].reply_code, "full");
    crowd_say(c, 3, "acct", "NAME=Racer9\nPASS=\"%s\"\n", c->password);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[3].reply_code, "full");
    crowd_close(c, 0);
    say_auth(c, 3, 0);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[3].reply_code, "");
    ck_assert_uint_eq(c->s->accounts.live, 3);
    crowd_free(c);
}

TEST(tables, every_account_may_have_four_personas_at_once)
{
    struct crowd *c = crowd_new(&tiny, "");
    char name[32];
    c->checked = true;
    for (uint32_t i = 0; i < tiny.accounts; i++) { /* up to the last slot of the table */
        (void)crowd_open(c, 0);
        say_auth(c, 0, i);
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
    static const struct nascar_limits few = {8, 8, 8, 16, 64, 64};
    struct crowd *c = crowd_new(&few, "");
    char payload[64];
    c->checked = true;
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
    struct nascar_limits limits = {60, 60, 8, 16, 64, 64};
    struct crowd *c = crowd_new(&limits, "");
    for (uint32_t i = 0; i < 52; i++) {
        (void)crowd_open(c, i);
        say_login(c, i, i, "");
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

/* PROTOCOL 3.1: a bounded table; 64 for each peer. */
TEST(tables, the_oldest_directory_session_makes_room)
{
    static const struct nascar_limits many = {8, 8, 8, 100, 64, 64};
    struct crowd *c = crowd_new(&many, "");
    uint32_t sess[200];
    c->checked = true;
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t peer = i < 70 ? WORLD_FIRST_IP : WORLD_FIRST_IP + i;
        (void)crowd_open_from(c, 0, peer);
        ANSWER(c, 0, "@dir", "PROD=NASCAR-PS2-2004\n", "");
        sess[i] = (uint32_t)reply_number(c, 0, "SESS");
        crowd_close(c, 0);
        crowd_run(c, 1);
        uint32_t first = i < 64 ? 0 : i < 70 ? i - 63 : i < 106 ? 6 : i - 99;
        ck_assert_uint_eq(c->s->directory.live, i + 1 - first);
        ck_assert_uint_ne(find_session(c->s, sess[first]), NONE); /* the oldest that is kept */
        ck_assert_uint_ne(find_session(c->s, sess[i]), NONE);
        ck_assert(first == 0 || find_session(c->s, sess[first - 1]) == NONE);
    }
    crowd_run(c, 1800000); /* and after 30 minutes there is none */
    ck_assert_uint_eq(c->s->directory.live, 0);
    ck_assert_uint_eq(c->s->directory.high, 100);
    crowd_free(c);
}

/* Logs in at the buddy service with the ticket of a fresh `pers`. */
static void crowd_buddy(struct crowd *c, uint32_t conn, uint32_t lobby, uint32_t who)
{
    char payload[160], ticket[20];
    (void)snprintf(payload, sizeof payload, "PERS=Racer%u\n", (unsigned)who);
    ANSWER(c, lobby, "pers", payload, "");
    const char *at = strstr(c->reader[lobby].reply, "LKEY=");
    ck_assert_ptr_nonnull(at);
    (void)snprintf(ticket, sizeof ticket, "%.17s", at + 5);
    (void)crowd_open(c, conn);
    (void)snprintf(payload, sizeof payload, "USER=Racer%u/cso/nascar-ps2-2004\nLKEY=%s\n", (unsigned)who, ticket);
    ANSWER(c, conn, "AUTH", payload, "");
}

static const char *crowd_roster(struct crowd *c, uint32_t conn, const char *kind, uint32_t other)
{
    char payload[64];
    (void)snprintf(payload, sizeof payload, "ID=1\nLIST=B\nUSER=Racer%u\n", (unsigned)other);
    return crowd_ask(c, conn, kind, payload);
}

TEST(tables, a_roster_holds_25_and_all_rosters_what_the_table_holds)
{
    static const struct nascar_limits some = {4, 32, 8, 16, 30, 64};
    struct crowd *c = crowd_new(&some, "");
    c->checked = true;
    for (uint32_t i = 0; i < 30; i++) {
        (void)crowd_open(c, 0);
        say_auth(c, 0, i);
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
    ck_assert_uint_eq(c->s->record_count, 2);
    c->leave_records = false;
    crowd_take(c);
    crowd_settle(c);
    ck_assert_int_ne(c->reader[2].reply_code[0] == '\0', c->reader[3].reply_code[0] == '\0');
    ck_assert_uint_eq(c->s->edges.live, 30);
    ck_assert_uint_eq(c->s->edges.high, 30);
    crowd_free(c);
}

static void challenge(struct crowd *c, uint32_t from, uint32_t to, const char *text)
{
    crowd_say(c, from, "mesg", "PRIV=Racer%u\nTEXT=%s\nATTR=3\n", (unsigned)to, text);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[from].reply_kind, "mesg");
    ck_assert_str_eq(c->reader[from].reply_code, "");
}

TEST_LOOP(tables, every_player_may_be_in_a_challenge_at_once, 0, 2)
{
    uint32_t count = 32;
    struct nascar_limits limits = {count, count, 8, 16, 64, 64};
    struct crowd *c = crowd_new(&limits, "");
    c->checked = true;
    for (uint32_t i = 0; i < count; i++)
        crowd_login(c, i, i, "West");
    for (uint32_t i = 0; i < count; i += 2)
        challenge(c, i, i + 1, "token");
    ck_assert_uint_eq(c->s->pairs.live, count / 2);
    if (_i == 0) { /* they expire together, */
        crowd_run(c, 60000);
    } else { /* race together and go together, */
        for (uint32_t i = 0; i < count; i += 2)
            challenge(c, i + 1, i, "ACPT");
        crowd_run(c, 10000);
        ck_assert_uint_eq(c->s->pairs.live, count / 2);
        for (uint32_t i = 0; i < count; i++)
            ANSWER(c, i, "chal", "PERS=*\n", "");
    }
    ck_assert_uint_eq(c->s->pairs.live, 0);
    ck_assert_uint_eq(c->s->pairs.high, count / 2);
    /* or each has a race of its own, as its opponent has gone on to the next. */
    for (uint32_t i = 0; i + 1 < count; i++) {
        challenge(c, i, i + 1, "token");
        challenge(c, i + 1, i, "ACPT");
        crowd_run(c, 10000);
        ANSWER(c, i + 1, "chal", "PERS=*\n", "");
    }
    ck_assert_uint_eq(c->s->pairs.live, count - 1);
    for (uint32_t i = 0; i < count; i++)
        crowd_close(c, i);
    ck_assert_uint_eq(c->s->pairs.live, 0);
    crowd_free(c);
}

/* DESIGN 4: those who left are kept for readers who are behind. When that fills
 * the table, those who are slow go, and who has only not looked yet is waited for. */
TEST_LOOP(tables, leavers_are_kept_for_readers_as_far_as_the_table_goes, 0, 2)
{
    static const struct nascar_limits few = {4, 128, 8, 16, 64, 64};
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
        most = c->s->presences.live > most ? c->s->presences.live : most;
        if (refused) {
            ck_assert_int_eq(reply_number(c, 3, "STATUS"), 103);
            ck_assert_int_eq(reply_number(c, 3, "IDENT"), 0);
        }
        crowd_close(c, 3);
    }
    crowd_settle(c);
    ck_assert_uint_eq(most, c->s->presences.capacity);
    ck_assert_int_eq(refused, !slow); /* no slow reader keeps others out */
    if (slow) {
        ck_assert(!c->reader[0].open);
    } else {
        crowd_hold(c, 0, false);
        lists_are_true(c, 0);
        ck_assert_uint_eq(c->s->presences.live, 3);
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

TEST(addresses_and_pace, an_address_has_so_many_connections_logins_and_accounts)
{
    struct crowd *c = crowd_new(&tiny, "");
    uint32_t home = WORLD_FIRST_IP, other = home + 1;
    c->checked = true;
    configure_addresses(c);
    for (uint32_t i = 0; i < 6; i++) {
        (void)crowd_open_from(c, i, home);
        crowd_settle(c);
        ck_assert_int_eq(c->reader[i].open, i < 5);
    }
    ck_assert_ptr_nonnull(strstr(c->last_log, "too many from this address"));
    (void)crowd_open_from(c, 6, other);
    crowd_settle(c);
    ck_assert(c->reader[6].open);
    for (uint32_t i = 0; i < 5; i++) { /* each that goes is free again */
        crowd_close(c, i);
        (void)crowd_open_from(c, 5, home);
        crowd_settle(c);
        ck_assert(c->reader[5].open);
        crowd_close(c, 5);
    }
    for (uint32_t round = 0; round < 2; round++) {
        ck_assert_str_eq(auth_from(c, home, 10 * round, c->password), "");
        ck_assert_str_eq(auth_from(c, home, 10 * round + 1, c->password), "");
        ck_assert_str_eq(auth_from(c, home, 10 * round + 2, c->password), "hack"); /* the third new one */
        ck_assert_str_eq(auth_from(c, home, 10 * round, c->password), "");
        ck_assert_str_eq(auth_from(c, home, 10 * round, c->password), "hack"); /* the fifth login */
        ck_assert_str_eq(auth_from(c, other + round, 10 * round, c->password), "");
        crowd_run(c, ADDRESS_MS - 1000);
        ck_assert_str_eq(auth_from(c, home, 0, c->password), "hack"); /* not yet */
        crowd_run(c, 2000);
    }
    crowd_run(c, 2 * ADDRESS_MS);
    ck_assert_uint_eq(c->s->addresses.live, 0); /* nothing is remembered */
    crowd_free(c);
}

TEST(addresses_and_pace, who_guesses_passwords_waits_and_nobody_else_does)
{
    struct crowd *c = crowd_new(&tiny, "");
    uint32_t home = WORLD_FIRST_IP, other = home + 1;
    char wrong[64];
    static const uint8_t no_key[16];
    struct console_pad pad = {.started = false};
    c->checked = true;
    wrong[0] = '~';
    console_encode(&pad, no_key, sizeof no_key, "guessed", wrong + 1);
    ck_assert_str_eq(auth_from(c, other, 0, c->password), "");
    for (uint32_t i = 0; i < FREE_FAILURES; i++)
        ck_assert_str_eq(auth_from(c, home, 0, wrong), "pass");
    for (uint32_t i = 0; i < 8; i++) { /* 1, 2, 4 ... s, at most a minute */
        uint64_t wait_ms = i < 6 ? UINT64_C(1000) << i : 60000;
        ck_assert_str_eq(auth_from(c, home, 0, c->password), "hack");
        ck_assert_str_eq(auth_from(c, other, 0, c->password), "");
        crowd_run(c, wait_ms - 1);
        ck_assert_str_eq(auth_from(c, home, 0, c->password), "hack");
        crowd_run(c, 1);
        ck_assert_str_eq(auth_from(c, home, 0, wrong), "pass");
    }
    crowd_run(c, 60000);
    ck_assert_str_eq(auth_from(c, home, 0, c->password), "");
    crowd_run(c, 2 * ADDRESS_MS);
    ck_assert_uint_eq(c->s->addresses.live, 0);
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
        say_auth(c, i, 0);
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
            say_auth(c, i, 0);
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
    struct crowd *c = crowd_new(&tiny, "rate = 10\n");
    c->checked = true;
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
    struct nascar_limits limits = {100, 100, 8, 16, 64, 64};
    struct crowd *c = crowd_new(&limits, "");
    bool jobs = _i == 0;
    c->checked = true;
    for (uint32_t i = 0; i < 100; i++) {
        (void)crowd_open(c, i);
        say_login(c, i, i, "");
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
        waiting += conn_at(c->s, i)->stalled;
    ck_assert_uint_eq(waiting, 100 - RECORDS);
    void *before = remember(c);
    for (int type = NASCAR_RECORD; type <= NASCAR_VERDICT; type++) {
        struct nascar_event event = {.type = (enum nascar_event_type)type, .conn = 0, .ticket = 1, .accepted = true};
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
            .is_job = true, .conn = job.conn, .ticket = job.ticket, .accepted = true, .fresh = true};
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
                                             .ticket = 1};
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

/* The pools, by name. */
#define POOLS 18u

static const struct pool *pool_of(const struct nascar *s, uint32_t i)
{
    const struct pool *const pools[POOLS] = {&s->conns,     &s->inboxes,   &s->outboxes,    &s->accounts, &s->personas,
                                             &s->edges,     &s->players,   &s->presences,   &s->rooms,    &s->pairs,
                                             &s->addresses, &s->directory, &s->buddies,     &s->watches,  &s->messages,
                                             &s->races,     &s->reports,   &s->report_lines};
    return pools[i];
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
    static const char *const names[POOLS] = {"conns",     "inboxes",   "outboxes",    "accounts", "personas",
                                             "edges",     "players",   "presences",   "rooms",    "pairs",
                                             "addresses", "directory", "buddies",     "watches",  "messages",
                                             "races",     "reports",   "report lines"};
    for (uint32_t i = 0; i < POOLS; i++) {
        const struct pool *p = pool_of(s, i);
        must_be_zero(c, p->offset + (size_t)p->high * p->stride, (size_t)(p->capacity - p->high) * p->stride, names[i]);
    }
    const struct {
        const struct index *index;
        const struct pool *pool;
    } tables[] = {{&s->account_names, &s->accounts},    {&s->persona_names, &s->personas},
                  {&s->persona_prefixes, &s->personas}, {&s->race_tickets, &s->races},
                  {&s->room_names, &s->rooms},          {&s->presence_pairs, &s->presences},
                  {&s->address_numbers, &s->addresses}, {&s->session_numbers, &s->directory},
                  {&s->session_peers, &s->directory}};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        must_be_zero(c, tables[i].index->chains + (size_t)tables[i].pool->high * sizeof(uint32_t),
                     (size_t)(tables[i].pool->capacity - tables[i].pool->high) * sizeof(uint32_t), "a chain");
    }
    const struct {
        size_t from, to;
    } timers[] = {{(size_t)s->conns.high * CONN_TIMERS, s->pair_timers},
                  {(size_t)s->pair_timers + s->pairs.high, s->directory_timers},
                  {(size_t)s->directory_timers + s->directory.high, s->address_timers},
                  {(size_t)s->address_timers + s->addresses.high, s->timer_count}};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        must_be_zero(c, s->timers + timers[i].from * sizeof(struct timer),
                     (timers[i].to - timers[i].from) * sizeof(struct timer), "a timer");
    }
    must_be_zero(c, s->nodes + (size_t)s->rooms.high * 2 * sizeof(struct node),
                 (size_t)(s->rooms.capacity - s->rooms.high) * 2 * sizeof(struct node), "a room's node");
    size_t presences = s->nodes + (size_t)s->rooms.capacity * 2 * sizeof(struct node);
    must_be_zero(c, presences + (size_t)s->presences.high * sizeof(struct node),
                 (size_t)(s->presences.capacity - s->presences.high) * sizeof(struct node), "a presence's node");
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

#define CHURNERS 24u
#define CHURN_OPS 250u /* logins, logouts, moves, rooms, words in a round */

/* One thing that somebody does; who is not there comes. */
static void churn_once(struct crowd *c)
{
    uint32_t who = crowd_below(c, CHURNERS), other = crowd_below(c, CHURNERS);
    static const char *const places[] = {"", "East", "West", "Beginner", "C.Mine", "C.Other"};
    if (!c->reader[who].open) {
        (void)crowd_open(c, who);
        say_login(c, who, who, "");
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
    static const struct nascar_limits roomy = {64, 64, 32, 128, 256, 64};
    struct crowd *c = crowd_new(&roomy, "");
    uint32_t high[POOLS], live[POOLS], rounds = size_of(40, 3);
    for (uint32_t round = 0; round < rounds; round++) {
        churn_round(c, 7, CHURN_OPS);
        must_hold(c);
        if (round == 0 || round + 1 == rounds)
            unused_memory_is_untouched(c);
        for (uint32_t i = 0; i < POOLS; i++) {
            const struct pool *p = pool_of(c->s, i);
            if (round == 0) {
                high[i] = p->high;
                live[i] = p->live;
            }
            ck_assert_msg(p->high == high[i] && p->live == live[i],
                          "round %u: pool %u has %u live, %u used; after the first it was %u, %u", (unsigned)round,
                          (unsigned)i, (unsigned)p->live, (unsigned)p->high, (unsigned)live[i], (unsigned)high[i]);
        }
    }
    const struct nascar *s = c->s;
    ck_assert_uint_eq(s->inboxes.live + s->outboxes.live + s->players.live + s->presences.live + s->pairs.live +
                          s->addresses.live + s->directory.live + s->conn_count,
                      0);
    ck_assert_uint_eq(s->rooms.live, 4);
    ck_assert_uint_eq(s->wheel_count, 0);
    ck_assert_uint_gt(s->presences.high, 10); /* there was life */
    ck_assert_uint_gt(s->rooms.high, 5);
    ck_assert_uint_gt(s->pairs.high, 1);
    ck_assert(nascar_deadline_ms(s) == UINT64_MAX);
    crowd_free(c);
}

/* ---- Determinism (DESIGN 3) --------------------------------------------------------- */

static const struct nascar_limits middle = {32, 40, 16, 32, 64, 64};

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

TEST_LOOP(time, a_leap_of_hours_closes_once_what_is_due, 0, 4)
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
    /* All but those who are kept as long as they say nothing; in one step each. */
    uint32_t expected = _i == 0 || _i >= 2 ? 9 : 5;
    ck_assert_uint_eq(c->closes - closes, expected);
    ck_assert_uint_eq(c->s->conn_count, open - expected);
    ck_assert_uint_le(c->steps - steps, 1 + 4 * (uint64_t)open);
    ck_assert_uint_eq(c->s->pairs.live, 0);
    for (uint32_t i = 0; i < c->count; i++)
        left += c->reader[i].pings;
    ck_assert_uint_le(left - pings, open - expected); /* not one for each half minute */
    ck_assert_uint_gt(nascar_deadline_ms(c->s), c->s->now_ms);
    must_hold(c);
    /* And after it time goes on as ever. */
    steps = c->steps;
    if (leaps[_i] != UINT64_MAX) {
        crowd_run(c, 300000);
        crowd_login(c, 9, 9, "East");
        ck_assert_uint_le(c->steps - steps, 400 + 2 * 10 * (uint64_t)open);
    }
    must_hold(c);
    crowd_free(c);
}

/* PROTOCOL 2: the console's dates are of 1970-2099. */
TEST_LOOP(time, dates_stay_within_1970_to_2099, 0, 8)
{
    static const struct {
        int64_t wall_s;
        const char *date;
    } times[] = {
        {-1, "LAST=1970-01-01 00:00:00"},
        {0, "LAST=1970-01-01 00:00:00"},
        {INT64_MIN, "LAST=1970-01-01 00:00:00"},
        {WORLD_WALL_S, "LAST=2026-01-01 00:00:00"},
        {4102444799, "LAST=2099-12-31 23:59:59"},
        {4102444800, "LAST=2099-12-31 23:59:59"},
        {INT64_MAX - 1, "LAST=2099-12-31 23:59:59"},
        {INT64_MAX, "LAST=2099-12-31 23:59:59"},
    };
    struct crowd *c = crowd_new(&middle, "");
    c->checked = true;
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
    ck_assert_uint_eq(c->s->pairs.live, 1);
    crowd_buddy(c, 3, 0, 0);
    ck_assert_int_ge(c->s->wall_s, 0);
    ck_assert_int_le(c->s->wall_s, 4102444799);
    crowd_free(c);
}

/* ---- The suite ------------------------------------------------------------- */
