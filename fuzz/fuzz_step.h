/* A small core, its shell, and the scenes that a script can begin in.
 *
 * SPDX-License-Identifier: MIT */
#ifndef FUZZ_STEP_H
#define FUZZ_STEP_H

#include "fuzz.h"

/* What a proxy may say in front, and where it is. */
static const struct {
    const char *bytes;
    uint32_t size;
} proxy_headers[] = {
    {"PROXY TCP4 198.51.100.1 203.0.113.10 1 1\r\n", 42},
    {"PROXY TCP6 ::ffff:198.51.100.2 ::ffff:c633:6403 1 1\r\n", 53},
    {"PROXY UNKNOWN\r\n", 15},
    {"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\xC6\x33\x64\1\xCB\0\x71\x0A\0\1\0\1", 28},
    {"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xC6\x33\x64\1"
     "\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xCB\0\x71\x0A\0\1\0\1",
     52},
    {"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16},
};

/* Questions by DNS. */
#define DNS_BYTES_OF(text) \
    { \
        text, sizeof(text) - 1 \
    }
static const struct {
    const char *bytes;
    uint32_t size;
} dns_questions[] = {
    DNS_BYTES_OF("\x12\x34\1\0\0\1\0\0\0\0\0\0\13ps2nascar04\2ea\3com\0\0\1\0\1"),
    DNS_BYTES_OF("\x12\x34\0\0\0\1\0\0\0\0\0\1\13PS2NASCAR04\2EA\3com\0\0\xFF\0\1\0\0\x29\x10\0\0\0\x80\0\0\0"),
    DNS_BYTES_OF("\x12\x34\1\0\0\1\0\0\0\0\0\1\1a\7example\0\0\1\0\1\0\0\x29\4\xD0\0\1\0\0\0\4\0\x0A\0\0"),
    DNS_BYTES_OF("\x12\x34\1\0\0\1\0\0\0\0\0\1\7another\1b\7example\0\0\x1C\0\1\1k\0\0\xFA\0\xFF\0\0\0\0\0\1x"),
    DNS_BYTES_OF("\x12\x34\1\0\0\1\0\0\0\0\0\0\1x\xC0\x0C\0\1\0\1"),
    DNS_BYTES_OF("\x12\x34\x84\0\0\1\0\1\0\0\0\0\0\0\1\0\1\xC0\x0C\0\1\0\1\0\0\0\x3C\0\4\x7F\0\0\1"),
};

#define DNS_QUESTIONS (sizeof dns_questions / sizeof dns_questions[0])
#define DNS_CONFIG "dns-name = a.example=192.0.2.1\ndns-name = another.b.example\n"

#define PROXY_HEADERS (sizeof proxy_headers / sizeof proxy_headers[0])
#define PROXY_PEER 0xC6336406u /* 198.51.100.6 */

/* Few of everything: a full table is a few events away. */
static const struct nascar_limits small_limits = {
    .clients = 5, .accounts = 8, .rooms = 8, .directory_sessions = 6, .roster_edges = 12, .messages = 6, 0};

enum mood {
    MOOD_RECORDS = 1,  /* records come back after each event by themselves, */
    MOOD_VERDICTS = 2, /* and verdicts, */
    MOOD_DRAINED = 4,  /* and outboxes are written out: while scenes are made only */
    MOOD_FAILS = 8,    /* and these are all bad */
    MOOD_LOGS = 16,    /* log lines are left where they are */
    MOOD_LEFT = 32,    /* and so are records and hash jobs */
    MOOD_STARVED = 64  /* there is no more entropy */
};

enum { SCENES = 4, PLAYERS = 4 };

#define WAITING 64u /* records, and jobs, that the harness holds */

static struct {
    struct nascar *state;
    size_t arena_bytes;
    struct nascar *scene[SCENES];
    uint64_t mono_ms; /* where the scene's clocks stand */
    int64_t wall_s;
    uint32_t mood;
    uint64_t random;
    uint64_t steps;
    struct output_hash put_out;
    /* how far the arrays of the state have been used since the scene began */
    uint32_t records_used, jobs_used, log_used;
    uint32_t scene_records, scene_jobs, scene_log; /* ... and when scenes were made */
    uint32_t record_first, record_count;
    struct record_slot record[WAITING];
    uint32_t job_first, job_count;
    struct nascar_hash_job job[WAITING];
    uint32_t next_scene_conn;
    char ticket[33], lkey[24]; /* of the last race that began, and the last `pers` */
} core;

/* ---- One step ------------------------------------------------------------- */

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static void take_logs(void)
{
    struct nascar_log log;
    memset(&log, 0x55, sizeof log);
    while (!(core.mood & MOOD_LOGS) && nascar_next_log(core.state, &log)) {
        size_t n = strlen(log.text);
        DEMAND(log.level <= NASCAR_LOG_DEBUG && n > 0 && !memchr(log.text, '\n', n));
        hash_in(&core.put_out.log, log.text, n);
    }
}

static void take_records(void)
{
    struct nascar_record record;
    struct nascar_hash_job job;
    memset(&record, 0x55, sizeof record);
    while (!(core.mood & MOOD_LEFT) && core.record_count < WAITING && nascar_next_record(core.state, &record)) {
        struct record_slot *slot = &core.record[(core.record_first + core.record_count++) % WAITING];
        struct frame frame;
        DEMAND(read_frame(record.bytes, record.size, &frame) == FRAME_WHOLE && frame.size == record.size);
        DEMAND(record.size <= RECORD_BYTES);
        slot->conn = record.conn;
        slot->receipt = record.receipt;
        slot->lazy = record.lazy;
        slot->size = record.size;
        memcpy(slot->bytes, record.bytes, record.size);
        hash_in(&core.put_out.records, record.bytes, record.size);
    }
    while (!(core.mood & MOOD_LEFT) && core.job_count < WAITING && nascar_next_hash_job(core.state, &job)) {
        DEMAND(strlen(job.password) < sizeof job.password && strlen(job.stored) < sizeof job.stored);
        core.job[(core.job_first + core.job_count++) % WAITING] = job;
    }
}

/* One in leaves at most one out, and that is an answer to it. */
static void take_datagram(const struct nascar_event *e)
{
    struct nascar_datagram d;
    memset(&d, 0x55, sizeof d);
    if (!nascar_next_datagram(core.state, &d))
        return;
    DEMAND(e->type == NASCAR_DATAGRAM && d.service == e->service && d.size <= e->size + 16);
    DEMAND(d.peer == e->peer && d.port == e->port && d.local == e->local);
    hash_in(&core.put_out.written, d.bytes, d.size);
    DEMAND(!nascar_next_datagram(core.state, &d));
}

static void check_outputs(void)
{
    for (uint32_t c; (c = nascar_next_output(core.state)) != NASCAR_NONE;) {
        uint32_t size = 0x55555555;
        const uint8_t *bytes = nascar_outbox(core.state, c, &size);
        DEMAND(c < nascar_connections(&small_limits) && (size == 0) == (bytes == NULL) && size <= OUTBOX_BYTES);
        DEMAND(nascar_inbox_room(core.state, c) <= INBOX_BYTES);
        (void)nascar_closing(core.state, c);
    }
    (void)nascar_deadline_ms(core.state);
}

static bool step_once(const struct nascar_event *event)
{
    struct nascar *s = core.state;
    struct nascar_event dated = *event, *e = &dated;
    uint64_t mono_ms = e->mono_ms > s->mono_ms ? e->mono_ms : s->mono_ms;
    if (e->wall_s == core.wall_s && mono_ms > core.mono_ms && mono_ms < UINT64_MAX / 2)
        e->wall_s += (int64_t)((mono_ms - core.mono_ms) / 1000); /* the clocks go together, unless a script sets one */
    hash_written(&core.put_out, s, fuzz_wants_hash ? e : &(struct nascar_event){.type = NASCAR_CLOCK});
    bool done = nascar_step(s, e);
    core.steps++;
    core.records_used = larger(core.records_used, s->record_count);
    core.jobs_used = larger(core.jobs_used, s->job_count);
    /* A line that found no room has been there, too. */
    core.log_used = larger(core.log_used, s->log_lost > 0 ? LOG_BYTES : s->log_size);
    DEMAND(done || e->type != NASCAR_ENTROPY);
    DEMAND(done || s->entropy_size < STEP_ENTROPY || s->record_count == RECORDS || s->job_count == RECORDS);
    take_logs();
    take_records();
    take_datagram(e);
    check_outputs();
    const char *broken = nascar_check(s);
    if (broken) {
        (void)fprintf(stderr, "nascar_check: %s\n", broken);
        abort();
    }
    return done;
}

/* The same bytes in each run, unlike each other. */
static void feed_pool(void)
{
    uint8_t bytes[NASCAR_ENTROPY_BYTES];
    struct nascar_event e = {
        .type = NASCAR_ENTROPY, .conn = NASCAR_NONE, .mono_ms = core.mono_ms, .wall_s = core.wall_s, .bytes = bytes};
    e.size = nascar_entropy_wanted(core.state);
    if (e.size <= NASCAR_ENTROPY_BYTES / 2 || core.mood & MOOD_STARVED)
        return;
    for (uint32_t i = 0; i < e.size; i++) {
        core.random = core.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        bytes[i] = (uint8_t)(core.random >> 56);
    }
    (void)step_once(&e);
}

/* With its bytes in a block of their own, which is gone after the call. */
static bool step(const struct nascar_event *event)
{
    struct nascar_event e = *event;
    uint8_t *bytes = NULL;
    feed_pool();
    if (e.type != NASCAR_DRAINED && e.size > 0)
        e.bytes = bytes = exact_copy(event->bytes, event->size);
    bool done = step_once(&e);
    free(bytes);
    return done;
}

/* ---- The shell: what the core asked for ------------------------------------- */

static bool answer_record(struct nascar_event *e)
{
    if (core.record_count == 0)
        return false;
    const struct record_slot *slot = &core.record[core.record_first % WAITING];
    e->conn = slot->conn;
    e->receipt = slot->receipt;
    e->bytes = slot->bytes;
    e->size = slot->size;
    if (step(e)) {
        core.record_first++;
        core.record_count--;
    }
    return true;
}

static const char some_hash[] = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

static bool answer_job(struct nascar_event *e)
{
    uint32_t which = e->receipt;
    if (core.job_count == 0)
        return false;
    for (uint32_t i = 0; i < core.job_count; i++)
        if (core.job[(core.job_first + i) % WAITING].receipt == e->receipt)
            which = i;
    struct nascar_hash_job *job = &core.job[(core.job_first + which % core.job_count) % WAITING];
    e->conn = job->conn;
    e->receipt = job->receipt;
    if (e->size == 0 && e->accepted && job->fresh[0]) {
        e->bytes = (const uint8_t *)some_hash;
        e->size = sizeof some_hash - 1;
    }
    if (step(e)) { /* the first one takes its place */
        *job = core.job[core.job_first % WAITING];
        core.job_first++;
        core.job_count--;
    }
    return true;
}

static void drain(uint32_t c)
{
    struct nascar_event e = {.type = NASCAR_DRAINED, .conn = c, .mono_ms = core.mono_ms, .wall_s = core.wall_s};
    for (int turns = 0; turns < 64; turns++) {
        if (!nascar_outbox(core.state, c, &e.size))
            return;
        e.size /= core.mood & MOOD_FAILS ? 2u : 1u;
        (void)step(&e);
    }
}

/* What comes by itself in this mood. */
static void follow_mood(void)
{
    struct nascar_event e = {.conn = NASCAR_NONE, .mono_ms = core.mono_ms, .wall_s = core.wall_s};
    bool fails = (core.mood & MOOD_FAILS) != 0;
    for (uint32_t i = core.job_count; core.mood & MOOD_VERDICTS && i > 0; i--) {
        struct nascar_event verdict = e;
        verdict.type = NASCAR_VERDICT;
        verdict.accepted = !fails;
        (void)answer_job(&verdict);
    }
    for (uint32_t i = core.record_count; core.mood & MOOD_RECORDS && i > 0; i--) {
        struct nascar_event record = e;
        record.type = fails ? NASCAR_RECORD_FAILED : NASCAR_RECORD;
        (void)answer_record(&record);
    }
    for (uint32_t c = 0; core.mood & MOOD_DRAINED && c < core.state->conns.high; c++)
        drain(c);
}

/* One event of a script. */
static void core_event(const struct nascar_event *event, bool checkpoint)
{
    struct nascar_event e = *event;
    bool answered = false;
    e.mono_ms += core.mono_ms;
    e.wall_s = e.wall_s ? e.wall_s : core.wall_s;
    if (checkpoint)
        core.mood = event->bytes[0] & ~(uint32_t)MOOD_DRAINED;
    if ((e.type == NASCAR_RECORD || e.type == NASCAR_RECORD_FAILED) && e.conn != NASCAR_NONE)
        answered = answer_record(&e);
    else if (e.type == NASCAR_VERDICT)
        answered = answer_job(&e);
    if (!answered)
        (void)step(&e);
    follow_mood();
}

/* ---- Scenes ------------------------------------------------------------------ */

static void say(uint32_t c, const char *kind, const char *text)
{
    struct outgoing f;
    struct nascar_event e = {.type = NASCAR_BYTES, .conn = c, .mono_ms = core.mono_ms, .wall_s = core.wall_s};
    frame_begin(&f, kind, "");
    put_chars(&f, text);
    frame_end(&f);
    e.bytes = f.bytes;
    e.size = f.size;
    core_event(&(struct nascar_event){.type = e.type, .conn = c, .bytes = e.bytes, .size = e.size}, false);
}

/* The value of a tag in what waits for a connection, up to its end of line. */
static void heard(uint32_t c, const char *kind, const char *key, char *out, uint32_t out_bytes)
{
    const struct conn *conn = conn_at(core.state, c);
    uint32_t size = conn->out_end - conn->out_start; /* all segments of it */
    const uint8_t *bytes = size > 0 ? outbox_at(core.state, conn->outbox)->bytes + conn->out_start : NULL;
    struct frame frame;
    while (size > 0 && read_frame(bytes, size, &frame) == FRAME_WHOLE) {
        uint32_t n = frame.size - HEADER_BYTES, at = find_tag(bytes + HEADER_BYTES, n, key);
        if (memcmp(frame.kind, kind, 4) == 0 && at != NOT_THERE)
            (void)read_string(bytes + HEADER_BYTES, n, at, out, out_bytes);
        bytes += frame.size;
        size -= frame.size;
    }
}

static void drain_all(void)
{
    for (uint32_t c = 0; c < core.state->conns.high; c++)
        drain(c);
}

static const char *const player_names[PLAYERS] = {"Ann", "Bob", "Cid", "Dan"};

static void open_conn(uint32_t c, uint32_t peer)
{
    core_event(&(struct nascar_event){.type = NASCAR_OPENED, .conn = c, .peer = peer, .local = 0xCB00710A}, false);
}

/* Player p on connection p, and its buddy link on PLAYERS + p. */
static void log_in_player(uint32_t p)
{
    char text[256];
    open_conn(p, 0xC6336401u + p / 2);
    say(p, "addr", "ADDR=10.0.0.7\n");
    (void)snprintf(text, sizeof text, "NAME=%s\nPASS=~" REDACTED "\n", player_names[p]);
    say(p, "auth", text);
    drain_all();
    (void)snprintf(text, sizeof text, "PERS=%s\n", player_names[p]);
    core.mood &= ~(uint32_t)MOOD_DRAINED;
    say(p, "pers", text);
    heard(p, "pers", "LKEY", core.lkey, sizeof core.lkey);
    core.mood |= MOOD_DRAINED;
    drain_all();
    DEMAND(core.lkey[0] == '$');
    say(p, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1");
    say(p, "sele", "RANKS=50\n");
    open_conn(PLAYERS + p, 0xC6336401u + p / 2);
    (void)snprintf(text, sizeof text, "USER=%s/cso/NASCAR-PS2-2004\nLKEY=%s\n", player_names[p], core.lkey);
    say(PLAYERS + p, "AUTH", text);
    say(PLAYERS + p, "PSET", "SHOW=CHAT\nSTAT=\"here\"\nPROD=\"NASCAR\"\n");
    drain_all();
    DEMAND(conn_at(core.state, p)->state == CONN_PERSONA && conn_at(core.state, PLAYERS + p)->state == CONN_BUDDY);
}

static void begin_race(uint32_t a, uint32_t b)
{
    char text[128];
    const char *from = player_names[a], *to = player_names[b];
    (void)snprintf(text, sizeof text, "TEXT=x_%s_%s\nPRIV=%s\nATTR=3\n", from, to, to);
    say(a, "mesg", text);
    (void)snprintf(text, sizeof text, "TEXT=ACPT\nPRIV=%s\nATTR=3\n", from);
    say(b, "mesg", text);
    (void)snprintf(text, sizeof text, "PERS=%s\nHOST=1\n", to);
    say(a, "chal", text);
    (void)snprintf(text, sizeof text, "PERS=%s\nHOST=0\n", from);
    core.mood &= ~(uint32_t)MOOD_DRAINED;
    say(b, "chal", text);
    heard(b, "+ses", "AUTH", core.ticket, sizeof core.ticket);
    core.mood |= MOOD_DRAINED;
    drain_all();
}

static const char a_result[] = "FINISPOS0=1\nFINISPOS1=2\nSTARTPOS0=2\nSTARTPOS1=1\nLAPSCOMP0=20\nLAPSCOMP1=20\n"
                               "LAPSLED0=12\nLAPSLED1=8\nDISCTIME0=-1\nDISCTIME1=-1\nDISQTIME0=-1\nDISQTIME1=-1\n"
                               "RACETIME=600\nSET_TRACKID=3\nSET_NUMAI=10\nSET_RACELEN=20\n";

static void report_race(uint32_t p)
{
    char text[512];
    (void)snprintf(text, sizeof text, "AUTH=%s\n%s", core.ticket, a_result);
    say(p, "rank", text);
}

/* Two who talk and are friends; one more who was here. */
static void scene_friends(void)
{
    static const char config[] = DNS_CONFIG
        "rate = 0\nproxy-from = 198.51.100.6/32\nroom = East: : 4\n"; /* few rooms are checked in less time */
    core_event(&(struct nascar_event){.type = NASCAR_CONFIG,
                                      .conn = NASCAR_NONE,
                                      .bytes = (const uint8_t *)config,
                                      .size = sizeof config - 1},
               false);
    for (uint32_t p = 0; p < 3; p++)
        log_in_player(p);
    say(PLAYERS, "RADD", "LIST=B\nUSER=Bob\nID=1\n");
    say(PLAYERS, "RADD", "LIST=B\nUSER=Cid\nID=1\n");
    say(PLAYERS + 1, "RADD", "LIST=I\nUSER=Cid\nID=1\n");
    say(0, "mesg", "TEXT=\"hello to all\"\n");
    core_event(&(struct nascar_event){.type = NASCAR_CLOSED, .conn = PLAYERS + 2}, false);
    core_event(&(struct nascar_event){.type = NASCAR_CLOSED, .conn = 2}, false);
    say(PLAYERS, "SEND", "USER=Cid\nBODY=\"for later\"\nTYPE=C\nSECS=259200\nID=2\n");
    DEMAND(core.state->edges.live == 3 && core.state->messages.live == 1 && core.state->players.live == 2);
}

/* Four in one room: two have raced, two are about to. */
static void scene_room(void)
{
    scene_friends();
    log_in_player(3);
    say(0, "room", "NAME=Mine\nDESC=\"a room\"\n");
    say(1, "move", "NAME=Mine\n");
    say(3, "move", "NAME=East\n");
    begin_race(0, 1);
    report_race(0);
    report_race(1);
    say(0, "chal", "PERS=*\n");
    say(1, "chal", "PERS=*\n");
    say(3, "move", "NAME=Mine\n");
    say(3, "mesg", "TEXT=\"who races?\"\n");
    say(1, "rept", "PERS=Dan\n");
    say(0, "mesg", "TEXT=x_Ann_Bob\nPRIV=Bob\nATTR=3\n");
    say(3, "auxi", "TEXT=d_4_2\n");
    const struct nascar *s = core.state;
    DEMAND(s->ranked != NONE && s->reports.live == 1 && s->report_lines.live > 0 && s->matches.live == 1);
}

/* A race that has begun, and nobody has told how it went. */
static void scene_race(void)
{
    scene_friends();
    say(0, "move", "NAME=East\n");
    say(1, "move", "NAME=East\n");
    begin_race(1, 0);
    DEMAND(core.state->races.live == 1 && strlen(core.ticket) == 32);
}

static void blank_state(struct nascar *s)
{
    memset(s, 0, core.arena_bytes);
    DEMAND(nascar_init(s, core.arena_bytes, &small_limits) == s);
    s->replays = true; /* a script has no passwords that would be valid under these keys */
    /* What an item was before it is taken must not matter. */
#define USED(name, type, at, most) memset(in_arena(s, s->name.offset, 0, 1), 0x55, s->name.capacity * sizeof(type));
    POOLS(USED)
#undef USED
}

static void forget_waiting(void)
{
    core.record_first = core.record_count = core.job_first = core.job_count = 0;
}

static void scenes_make(void)
{
    void (*const scenes[SCENES])(void) = {NULL, scene_friends, scene_room, scene_race};
    core.arena_bytes = nascar_arena_size(&small_limits);
    core.state = malloc(core.arena_bytes);
    DEMAND(core.state != NULL);
    for (uint32_t i = 0; i < SCENES; i++) {
        core.mono_ms = 1000000;
        core.wall_s = 1767225600; /* 2026 */
        core.random = 1;
        core.mood = MOOD_RECORDS | MOOD_VERDICTS | MOOD_DRAINED;
        blank_state(core.state);
        feed_pool();
        if (scenes[i])
            scenes[i]();
        DEMAND(core.record_count == 0 && core.job_count == 0);
        core.scene[i] = malloc(core.arena_bytes);
        DEMAND(core.scene[i] != NULL);
        memcpy(core.scene[i], core.state, core.arena_bytes);
    }
    core.scene_records = core.records_used;
    core.scene_jobs = core.jobs_used;
    core.scene_log = core.log_used;
}

/* ---- Back to the beginning ----------------------------------------------------- */

static void restore(const struct nascar *scene, size_t offset, size_t size)
{
    memcpy((char *)core.state + offset, (const char *)scene + offset, size);
}

static void restore_pool(const struct nascar *scene, const struct pool *was, const struct pool *is)
{
    restore(scene, is->offset, (size_t)larger(was->high, is->high) * is->stride);
}

static void restore_index(const struct nascar *scene, const struct index *index, uint32_t items)
{
    restore(scene, index->buckets, ((size_t)index->mask + 1) * sizeof(uint32_t));
    restore(scene, index->chains, items * sizeof(uint32_t));
}

/* Makes the state the scene's, byte for byte, by what was used since then. */
static void restore_state(const struct nascar *scene)
{
    struct nascar *s = core.state;
    const struct tables was = s->tables;
    const size_t tables = offsetof(struct nascar, tables);
    uint32_t lines = (uint32_t)(s->chat_count < CHAT_LINES ? s->chat_count : CHAT_LINES);
    uint32_t lines_then = (uint32_t)(scene->chat_count < CHAT_LINES ? scene->chat_count : CHAT_LINES);
    uint32_t slots = larger(core.records_used, core.scene_records), jobs = larger(core.jobs_used, core.scene_jobs);
    restore(scene, 0, offsetof(struct nascar, chat));
    restore(scene, offsetof(struct nascar, chat), larger(lines, lines_then) * sizeof s->chat[0]);
    restore(scene, tables, offsetof(struct nascar, record) - tables);
    restore(scene, offsetof(struct nascar, record), slots * sizeof s->record[0]);
    restore(scene, offsetof(struct nascar, job_count),
            offsetof(struct nascar, job) - offsetof(struct nascar, job_count));
    restore(scene, offsetof(struct nascar, job), jobs * sizeof s->job[0]);
    restore(scene, offsetof(struct nascar, log_size), offsetof(struct nascar, log) - offsetof(struct nascar, log_size));
    restore(scene, offsetof(struct nascar, log), larger(core.log_used, core.scene_log));
#define RESTORE(name, type, at, capacity) restore_pool(scene, &was.name, &scene->name);
    RESTORE(conns, struct conn, conn_at, )
    POOLS(RESTORE)
#undef RESTORE
#define MARK(pool) larger(was.pool.high, scene->pool.high)
#define RESTORE(name, pool, buckets) restore_index(scene, &s->name, MARK(pool));
    INDEXES(RESTORE)
#undef RESTORE
#define RESTORE(name, table) restore(scene, s->links[name], s->table.capacity * sizeof(struct links));
    LIST_KINDS(RESTORE)
#undef RESTORE
    const size_t timers = s->timers.offset, nodes = s->nodes.offset;
    restore(scene, timers, MARK(conns) * CONN_TIMERS * sizeof(struct timer));
    restore(scene, timers + s->match_timers * sizeof(struct timer), MARK(matches) * sizeof(struct timer));
    restore(scene, timers + s->directory_timers * sizeof(struct timer), MARK(directory) * sizeof(struct timer));
    restore(scene, timers + s->address_timers * sizeof(struct timer), MARK(addresses) * sizeof(struct timer));
    restore(scene, timers + s->guess_timers * sizeof(struct timer), MARK(guesses) * sizeof(struct timer));
    restore(scene, nodes, 2 * (size_t)MARK(rooms) * sizeof(struct node));
    restore(scene, nodes + 2 * (size_t)s->rooms.capacity * sizeof(struct node), MARK(occupants) * sizeof(struct node));
#undef MARK
    core.records_used = core.jobs_used = core.log_used = 0;
}

static void scene_begin(uint32_t number, uint32_t mood)
{
    static uint32_t begun;
    if (!core.state)
        scenes_make();
    const struct nascar *scene = core.scene[number];
    restore_state(scene);
    /* That nothing is forgotten here is looked at now and then, or always. */
    if (fuzz_wants_hash || begun++ % 4096 == 0)
        DEMAND(memcmp(core.state, scene, core.arena_bytes) == 0);
    memset(&core.put_out, 0, sizeof core.put_out);
    forget_waiting();
    core.mono_ms = core.state->mono_ms;
    core.wall_s = core.state->wall_s;
    core.random = 2;
    core.mood = mood & 255 & ~(uint32_t)MOOD_DRAINED;
}

#endif
