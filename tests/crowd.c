/* A crowd; crowd.h says what it is for.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* MAP_ANONYMOUS */

#include "crowd.h"

#ifdef __GLIBC__
#include <sys/mman.h>
#include <ucontext.h>
#endif

#define ANSWERS 256u /* on their way back at the same time, at most */

static uint64_t rotate(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

uint32_t size_of(uint32_t full, uint32_t small)
{
    const char *fork = getenv("CK_FORK");
    return fork != NULL && strcmp(fork, "no") == 0 ? small : full;
}

/* ---- A crowd ------------------------------------------------------------- */

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

/* A stack with nothing below it. Sanitizers' frames are larger than the core's.
 * Where the C library cannot change stacks, as musl, the call is a plain one. */
#ifdef __GLIBC__
#if defined(__SANITIZE_ADDRESS__)
#define FRAME_FACTOR 8u
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FRAME_FACTOR 8u
#endif
#endif
#ifndef FRAME_FACTOR
#define FRAME_FACTOR 1u
#endif
#define GUARD_BYTES 65536u /* a page, whatever its size */

void call_on_a_stack_of(size_t bytes, void (*call)(void))
{
    static ucontext_t caller, callee;
    static uint8_t *memory;
    static size_t there;
    bytes *= FRAME_FACTOR;
    if (there != bytes) {
        memory = mmap(NULL, GUARD_BYTES + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert(memory != MAP_FAILED && mprotect(memory, GUARD_BYTES, PROT_NONE) == 0);
        there = bytes;
    }
    ck_assert_int_eq(getcontext(&callee), 0);
    callee.uc_stack.ss_sp = memory + GUARD_BYTES;
    callee.uc_stack.ss_size = bytes;
    callee.uc_link = &caller;
    makecontext(&callee, call, 0);
    ck_assert_int_eq(swapcontext(&caller, &callee), 0);
}
#else
void call_on_a_stack_of(size_t bytes, void (*call)(void))
{
    (void)bytes;
    call();
}
#endif

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    return z ^ z >> 31;
}

uint32_t crowd_below(struct crowd *c, uint32_t limit)
{
    return (uint32_t)(next_random(&c->chance) % limit);
}

/* Whatever a step reads without having written it is not the same twice. */
__attribute__((noinline)) static void fill_stack(uint8_t value)
{
    volatile uint64_t stack[1024];
    for (size_t i = 0; i < sizeof stack / sizeof stack[0]; i++)
        stack[i] = value * UINT64_C(0x0101010101010101);
}

static struct crowd_record *next_answer(struct crowd *c, bool is_job, uint32_t conn, uint32_t receipt)
{
    struct crowd_record *r = &c->answers[c->answer_count++];
    ck_assert_uint_le(c->answer_count, ANSWERS);
    r->is_job = is_job;
    r->conn = conn;
    r->receipt = receipt;
    return r;
}

void crowd_take(struct crowd *c)
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
        struct crowd_record *r = next_answer(c, false, record.conn, record.receipt);
        r->size = record.size;
        memcpy(r->bytes, record.bytes, record.size);
        c->output = hash_on(c->output, record.bytes, record.size);
    }
    while (!c->leave_jobs && nascar_next_hash_job(c->s, &job)) {
        struct crowd_record *r = next_answer(c, true, job.conn, job.receipt);
        r->accepted = job.stored[0] == '\0' || strcmp(job.password, "secret") == 0;
        r->fresh = job.fresh[0] != '\0';
    }
}

void crowd_entropy(struct crowd *c)
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

/* A step and what came of it, for a stack of its own. */
static struct {
    struct nascar *state;
    const struct nascar_event *event;
    bool done;
} next_step;

static void take_next_step(void)
{
    next_step.done = nascar_step(next_step.state, next_step.event);
}

bool crowd_step(struct crowd *c, const struct nascar_event *event)
{
    struct nascar_event timed = *event;
    if (!c->dry && nascar_entropy_wanted(c->s) > NASCAR_ENTROPY_BYTES / 2)
        crowd_entropy(c);
    timed.mono_ms = c->now_ms;
    timed.wall_s = c->wall_s + (int64_t)(c->now_ms / 1000);
    c->steps += event->conn != c->apart;
    if (c->poison != 0)
        fill_stack(c->poison);
    next_step.state = c->s;
    next_step.event = &timed;
    if (c->stack_bytes != 0)
        call_on_a_stack_of(c->stack_bytes, take_next_step);
    else
        take_next_step();
    bool done = next_step.done;
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
        struct nascar_event event = {.type = r.is_job          ? NASCAR_VERDICT
                                             : c->fail_records ? NASCAR_RECORD_FAILED
                                                               : NASCAR_RECORD,
                                     .conn = r.conn,
                                     .receipt = r.receipt,
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

bool crowd_event(struct crowd *c, const struct nascar_event *event)
{
    bool done = crowd_step(c, event);
    crowd_answer(c);
    return done;
}

void crowd_clock(struct crowd *c)
{
    struct nascar_event event = {.type = NASCAR_CLOCK, .conn = NASCAR_NONE};
    ck_assert(crowd_event(c, &event));
}

void crowd_configure(struct crowd *c, const char *config)
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

void *zeroes(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

struct crowd *crowd_new(const struct nascar_limits *limits, const char *config)
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
    c->answers = zeroes(ANSWERS + 1, sizeof *c->answers);
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

struct crowd *crowd_new_checked(const struct nascar_limits *limits, const char *config)
{
    struct crowd *c = crowd_new(limits, config);
    c->checked = true;
    return c;
}

void crowd_free(struct crowd *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        free(c->reader[i].in);
    free(c->reader);
    free(c->answers);
    free(c->arena);
    free(c);
}

struct crowd *crowd_copy(const struct crowd *c)
{
    struct crowd *copy = zeroes(1, sizeof *copy);
    *copy = *c;
    copy->arena = zeroes(1, c->arena_bytes);
    memcpy(copy->arena, c->arena, c->arena_bytes);
    copy->s = copy->arena;
    copy->reader = zeroes(c->count, sizeof *c->reader);
    memcpy(copy->reader, c->reader, c->count * sizeof *c->reader);
    copy->answers = zeroes(ANSWERS + 1, sizeof *c->answers);
    ck_assert_uint_eq(c->answer_count, 0);
    for (uint32_t i = 0; i < c->count; i++)
        ck_assert_ptr_null(c->reader[i].in);
    return copy;
}

void must_hold(const struct crowd *c)
{
    const char *wrong = nascar_check(c->s);
    ck_assert_msg(wrong == NULL, "nascar_check: %s", wrong);
}

/* ---- What a crowd reads --------------------------------------------------- */

/* The size of a frame, from its header. */
static uint32_t size_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Where the value of a tag starts; NULL: it is not there. */
static const char *value_in(const uint8_t *payload, uint32_t size, const char *key)
{
    ck_assert(size == 0 || payload[size - 1] == 0);
    return size == 0 ? NULL : console_find((const char *)payload, key);
}

static int32_t number_in(const uint8_t *payload, uint32_t size, const char *key)
{
    const char *value = value_in(payload, size, key);
    return value == NULL ? -1 : console_read_number(value);
}

static void take_user(struct reader *r, const uint8_t *payload, uint32_t size)
{
    uint32_t ident = (uint32_t)number_in(payload, size, "I");
    if (ident >= IDENTS)
        ck_abort_msg("+usr I=%lu", (unsigned long)ident);
    r->user_rows++;
    r->rows[ident]++;
    r->listed[ident] = value_in(payload, size, "N") != NULL;
    r->population = number_in(payload, size, "T");
}

static void take_message(struct reader *r, const uint8_t *payload, uint32_t size)
{
    const char *text = value_in(payload, size, "T");
    if (text == NULL)
        ck_abort_msg("+msg without T");
    if (value_in(payload, size, "F") != NULL) { /* F=B: so many lines were missed */
        r->missed += (uint32_t)console_read_number(text + (text[0] == '"'));
        r->notices++;
        return;
    }
    r->lines++;
    r->line_hash = hash_on(r->line_hash, text, size - (size_t)(text - (const char *)payload));
}

static void take_frame(struct reader *r, const uint8_t *frame, uint32_t size)
{
    const uint8_t *payload = frame + CONSOLE_HEADER_BYTES;
    uint32_t n = size - CONSOLE_HEADER_BYTES;
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
        n = n < sizeof r->reply ? n : (uint32_t)sizeof r->reply - 1;
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
        if (r->part_bytes == 0 && size >= CONSOLE_HEADER_BYTES && size_at(bytes + 8) <= size) {
            uint32_t whole = size_at(bytes + 8); /* as nearly always */
            take_frame(r, bytes, whole);
            bytes += whole;
            size -= whole;
            continue;
        }
        r->part[r->part_bytes++] = *bytes++;
        size--;
        if (r->part_bytes >= CONSOLE_HEADER_BYTES && r->part_bytes == size_at(r->part + 8)) {
            take_frame(r, r->part, r->part_bytes);
            r->part_bytes = 0;
        }
        if (r->part_bytes == sizeof r->part)
            ck_abort_msg("a frame is too long");
    }
}

void crowd_close(struct crowd *c, uint32_t conn)
{
    struct nascar_event event = {.type = NASCAR_CLOSED, .conn = conn};
    struct reader *r = &c->reader[conn];
    free(r->in);
    r->in = NULL;
    r->in_bytes = 0;
    r->open = false;
    ck_assert(crowd_event(c, &event));
}

/* A segment ends where a frame does, and is longer than 1,400 bytes only if one frame
 * alone is (PROTOCOL 1). What is left of a frame that was cut comes first. */
static void check_segment(const struct reader *r, const uint8_t *bytes, size_t size)
{
    size_t total = r->part_bytes + size, at = 0, frames = 0;
    for (; at + CONSOLE_HEADER_BYTES <= total; frames++) {
        uint8_t length[4];
        for (size_t i = 0; i < 4; i++) {
            size_t place = at + 8 + i;
            length[i] = place < r->part_bytes ? r->part[place] : bytes[place - r->part_bytes];
        }
        ck_assert_uint_ge(size_at(length), CONSOLE_HEADER_BYTES);
        at += size_at(length);
    }
    ck_assert_msg(at == total, "a segment ends inside a frame");
    ck_assert_msg(size <= 1400 || frames == 1, "a segment has %zu bytes", size);
}

/* What the core offers at once, which is a segment. */
static void crowd_drain_segment(struct crowd *c, uint32_t conn)
{
    struct reader *r = &c->reader[conn];
    uint32_t size = 0;
    const uint8_t *bytes = nascar_outbox(c->s, conn, &size);
    size_t read = r->window < size ? r->window : size;
    check_segment(r, bytes, size);
    if (r->window != SIZE_MAX)
        r->window -= read;
    r->stalled = read < size;
    crowd_read(c, r, bytes, read);
    struct nascar_event event = {.type = NASCAR_DRAINED, .conn = conn, .size = (uint32_t)read};
    if (!crowd_event(c, &event))
        ck_abort_msg("DRAINED is refused");
}

void crowd_drain(struct crowd *c, uint32_t conn)
{
    uint32_t size;
    do
        crowd_drain_segment(c, conn);
    while (!c->reader[conn].stalled && nascar_outbox(c->s, conn, &size) != NULL);
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

void crowd_settle(struct crowd *c)
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

void crowd_run(struct crowd *c, uint64_t ms)
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

void crowd_window(struct crowd *c, uint32_t conn, size_t bytes)
{
    c->reader[conn].window = bytes;
    crowd_settle(c);
}

void crowd_hold(struct crowd *c, uint32_t conn, bool held)
{
    struct reader *r = &c->reader[conn];
    r->held = held;
    if (!held && r->named) {
        r->named = false;
        crowd_drain(c, conn);
    }
    crowd_settle(c);
}

uint32_t crowd_open_from(struct crowd *c, uint32_t conn, uint32_t peer)
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

uint32_t crowd_open(struct crowd *c, uint32_t conn)
{
    return crowd_open_from(c, conn, WORLD_FIRST_IP + conn);
}

void crowd_bytes(struct crowd *c, uint32_t conn, const void *bytes, size_t size)
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

void crowd_say(struct crowd *c, uint32_t conn, const char *kind, const char *format, ...)
{
    char payload[1024];
    uint8_t frame[2048];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(payload, sizeof payload, format, arguments);
    va_end(arguments);
    crowd_bytes(c, conn, frame, frame_of(frame, kind, payload));
}

const char *crowd_ask(struct crowd *c, uint32_t conn, const char *kind, const char *payload)
{
    struct reader *r = &c->reader[conn];
    uint32_t before = r->replies;
    crowd_say(c, conn, kind, "%s", payload);
    crowd_settle(c);
    return r->replies > before && strcmp(r->reply_kind, kind) == 0 ? r->reply_code : NULL;
}

int32_t reply_number(const struct crowd *c, uint32_t conn, const char *key)
{
    const struct reader *r = &c->reader[conn];
    return number_in((const uint8_t *)r->reply, (uint32_t)strlen(r->reply) + 1, key);
}

void crowd_auth(struct crowd *c, uint32_t conn, uint32_t who)
{
    crowd_say(c, conn, "auth", "NAME=Racer%u\nTOS=1\nPASS=\"%s\"\n", (unsigned)who, c->password);
}

void crowd_says_login(struct crowd *c, uint32_t conn, uint32_t who, const char *room)
{
    crowd_say(c, conn, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    crowd_auth(c, conn, who);
    crowd_say(c, conn, "pers", "PERS=Racer%u\n", (unsigned)who);
    crowd_say(c, conn, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1");
    crowd_say(c, conn, "sele", "RANKS=50\n");
    if (room[0] != '\0')
        crowd_say(c, conn, "move", "NAME=%s\nPASS=\n", room);
}

void crowd_login(struct crowd *c, uint32_t conn, uint32_t who, const char *room)
{
    (void)crowd_open(c, conn);
    crowd_says_login(c, conn, who, room);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[conn].reply_kind, room[0] != '\0' ? "move" : "sele");
    ck_assert_str_eq(c->reader[conn].reply_code, "");
}

struct crowd *crowd_in_one_room(uint32_t players)
{
    struct nascar_limits limits = {players, players, 16, 16, 64, 64, 0};
    struct crowd *c = crowd_new(&limits, "room = Big: All of them: 2000\nroom = Other:: 2000\n");
    for (uint32_t i = 0; i < players; i++) {
        (void)crowd_open(c, i);
        crowd_says_login(c, i, i, "Big");
    }
    crowd_settle(c);
    must_hold(c);
    return c;
}

void *remember(const struct crowd *c)
{
    void *copy = malloc(c->arena_bytes);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, c->arena, c->arena_bytes);
    return copy;
}

bool is_unchanged(const struct crowd *c, const void *copy)
{
    return memcmp(c->arena, copy, c->arena_bytes) == 0;
}

void challenge(struct crowd *c, uint32_t from, uint32_t to, const char *text)
{
    crowd_say(c, from, "mesg", "PRIV=Racer%u\nTEXT=%s\nATTR=3\n", (unsigned)to, text);
    crowd_settle(c);
    ck_assert_str_eq(c->reader[from].reply_kind, "mesg");
    ck_assert_str_eq(c->reader[from].reply_code, "");
}

void crowd_buddy(struct crowd *c, uint32_t conn, uint32_t lobby, uint32_t who)
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

const char *crowd_roster(struct crowd *c, uint32_t conn, const char *kind, uint32_t other)
{
    char payload[64];
    (void)snprintf(payload, sizeof payload, "ID=1\nLIST=B\nUSER=Racer%u\n", (unsigned)other);
    return crowd_ask(c, conn, kind, payload);
}
