/* The in-process world; world.h says what it is for.
 *
 * SPDX-License-Identifier: MIT */
#include "world.h"
#include "logs.h"
#include "suite.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The inside --------------------------------------------------------- */

struct world_connection {
    bool open;
    bool stalled;  /* its outbox was not read to the end */
    size_t window; /* bytes that its client still reads; SIZE_MAX: all */
    struct raw *raw;
    struct console *console;
    enum console_link link;
    /* what the server sent and is not a whole frame yet */
    uint8_t *in;
    size_t in_bytes, in_room;
};

struct world_console {
    struct console *console;
    uint32_t ip;
    uint32_t conn[CONSOLE_LINKS];
};

struct held_record {
    uint32_t conn, receipt;
    struct world_record record;
};

struct held_job {
    struct nascar_hash_job job;
};

void world_fail(const struct world *w, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ck_abort_msg("seed %llu, %llu ms, step %llu: %s", (unsigned long long)w->options.seed,
                 (unsigned long long)w->mono_ms, (unsigned long long)w->steps, text);
    abort(); /* not reached */
}

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static void *grow(void *at, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return at;
    *room = *room == 0 ? 16 : *room * 2;
    return must(realloc(at, *room * size));
}

static void append(uint8_t **at, size_t *count, size_t *room, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    while (*room - *count < size)
        *at = grow(*at, *room, room, 1);
    memcpy(*at + *count, bytes, size);
    *count += size;
}

static void drop(uint8_t *at, size_t *count, size_t size)
{
    *count -= size;
    memmove(at, at + size, *count);
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

uint64_t world_random(struct world *w)
{
    return splitmix(&w->chance);
}

uint32_t world_below(struct world *w, uint32_t limit)
{
    return (uint32_t)(world_random(w) % limit);
}

static size_t chunk(struct world *w, size_t size)
{
    switch (w->options.split) {
    case WORLD_WHOLE: break;
    case WORLD_BYTES: return 1;
    case WORLD_RANDOM: return 1 + (size_t)(world_random(w) % size);
    }
    return size;
}

static uint32_t word_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* ---- One step ----------------------------------------------------------- */

static bool step(struct world *w, const struct nascar_event *event)
{
    struct nascar_event timed = *event;
    timed.mono_ms = w->mono_ms;
    timed.wall_s = w->wall_offset_s + (w->stands_still ? 0 : (int64_t)(w->mono_ms / 1000));
    w->steps++;
    bool done = nascar_step(w->state, &timed);
    bool checks = !w->options.no_check && w->steps % (unsigned)suite_step() == 0;
    const char *wrong = checks ? nascar_check(w->state) : NULL;
    if (wrong != NULL)
        world_fail(w, "nascar_check after event %d on %lu: %s", (int)event->type, (unsigned long)event->conn, wrong);
    return done;
}

/* Takes what lives only until the next step. */
static void collect(struct world *w)
{
    struct nascar_log log;
    struct nascar_record record;
    struct nascar_hash_job job;
    struct log_pairs pairs;
    while (nascar_next_log(w->state, &log)) {
        const char *wrong = log_read_text(log.text, strlen(log.text), &pairs);
        if (wrong != NULL || strcmp(pairs.pair[0].key, "event") != 0)
            world_fail(w, "a log line with %s: %s", wrong ? wrong : "no event", log.text);
        w->log = grow(w->log, w->log_count, &w->log_room, sizeof *w->log);
        size_t size = strlen(log.text) + 1;
        w->log[w->log_count++] = memcpy(must(malloc(size)), log.text, size);
    }
    while (nascar_next_record(w->state, &record)) {
        w->held_records = grow(w->held_records, w->held_record_count, &w->held_record_room, sizeof *w->held_records);
        struct held_record *held = &w->held_records[w->held_record_count++];
        held->conn = record.conn;
        held->receipt = record.receipt;
        held->record.size = record.size;
        held->record.bytes = must(malloc(record.size + 1u));
        memcpy(held->record.bytes, record.bytes, record.size);
    }
    while (nascar_next_hash_job(w->state, &job)) {
        w->held_jobs = grow(w->held_jobs, w->held_job_count, &w->held_job_room, sizeof *w->held_jobs);
        w->held_jobs[w->held_job_count++].job = job;
        w->hash_jobs++;
    }
}

static bool step_once(struct world *w, const struct nascar_event *event)
{
    uint32_t wanted = nascar_entropy_wanted(w->state);
    bool done = false;
    for (int try = 0; try < 2; try++) {
        if (wanted > NASCAR_ENTROPY_BYTES / 2 || try > 0) {
            uint8_t bytes[NASCAR_ENTROPY_BYTES];
            for (size_t i = 0; i < sizeof bytes; i++)
                bytes[i] = (uint8_t)(splitmix(&w->entropy) & 0xFFu);
            struct nascar_event entropy = {.type = NASCAR_ENTROPY, .conn = NASCAR_NONE, .bytes = bytes, .size = wanted};
            (void)step(w, &entropy);
            collect(w);
        }
        done = step(w, event);
        collect(w);
        if (done)
            break;
        wanted = nascar_entropy_wanted(w->state);
    }
    if (!done)
        world_fail(w, "nascar_step refuses event %d with a full entropy pool", (int)event->type);
    return done;
}

/* ---- The journal and the hasher ----------------------------------------- */

static void return_record(struct world *w, struct held_record *held, bool kept)
{
    struct nascar_event event = {.type = kept ? NASCAR_RECORD : NASCAR_RECORD_FAILED,
                                 .conn = held->conn,
                                 .receipt = held->receipt,
                                 .bytes = held->record.bytes,
                                 .size = held->record.size};
    if (kept) {
        w->records = grow(w->records, w->record_count, &w->record_room, sizeof *w->records);
        w->records[w->record_count++] = held->record;
    }
    (void)step_once(w, &event);
    if (!kept)
        free(held->record.bytes);
}

/* Fast, salted, and of no use for anything but tests. */
static void fake_hash(const uint8_t salt[16], const char *password, char out[64])
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < 16; i++)
        hash = (hash ^ salt[i]) * UINT64_C(0x100000001B3);
    for (const char *at = password; *at != '\0'; at++)
        hash = (hash ^ (uint8_t)*at) * UINT64_C(0x100000001B3);
    memcpy(out, "$f$", 3);
    for (size_t i = 0; i < 16; i++)
        (void)snprintf(out + 3 + 2 * i, 3, "%02x", (unsigned)salt[i]);
    (void)snprintf(out + 35, 20, "$%016llx", (unsigned long long)hash);
}

static bool hash_matches(const char *stored, const char *password)
{
    uint8_t salt[16] = {0};
    char again[64];
    for (size_t i = 0; i < 16 && strlen(stored) > 35; i++) {
        unsigned byte = 0;
        (void)sscanf(stored + 3 + 2 * i, "%2x", &byte);
        salt[i] = (uint8_t)(byte & 0xFFu);
    }
    fake_hash(salt, password, again);
    return strcmp(again, stored) == 0;
}

static void answer_job(struct world *w, const struct nascar_hash_job *job)
{
    char fresh[64];
    struct nascar_event event = {.type = NASCAR_VERDICT, .conn = job->conn, .receipt = job->receipt};
    if (memchr(job->password, '\0', sizeof job->password) == NULL ||
        memchr(job->fresh, '\0', sizeof job->fresh) == NULL || memchr(job->stored, '\0', sizeof job->stored) == NULL)
        world_fail(w, "a hash job's text has no end");
    event.accepted = !w->no_verdicts && (job->stored[0] == '\0' || hash_matches(job->stored, job->password));
    if (w->no_verdicts) {
        event.bytes = (const uint8_t *)NASCAR_NO_VERDICT;
        event.size = sizeof NASCAR_NO_VERDICT - 1;
    } else if (event.accepted && job->fresh[0] != '\0') {
        fake_hash(job->salt, job->fresh, fresh);
        event.bytes = (const uint8_t *)fresh;
        event.size = (uint32_t)strlen(fresh);
    }
    (void)step_once(w, &event);
}

/* Whatever is not held goes back, in order, with what follows from it. */
static bool answer_all(struct world *w)
{
    bool moved = false;
    for (;;) {
        if (w->held_record_count > 0 && !w->hold_records) {
            struct held_record held = w->held_records[0];
            w->held_record_count--;
            memmove(w->held_records, w->held_records + 1, w->held_record_count * sizeof *w->held_records);
            return_record(w, &held, !w->fail_records);
        } else if (w->held_job_count > 0 && !w->hold_verdicts) {
            struct nascar_hash_job job = w->held_jobs[0].job;
            w->held_job_count--;
            memmove(w->held_jobs, w->held_jobs + 1, w->held_job_count * sizeof *w->held_jobs);
            answer_job(w, &job);
        } else {
            return moved;
        }
        moved = true;
    }
}

void world_release_records(struct world *w, bool kept)
{
    bool hold = w->hold_records, fails = w->fail_records;
    w->hold_records = false;
    w->fail_records = !kept;
    (void)answer_all(w);
    w->hold_records = hold;
    w->fail_records = fails;
    world_settle(w);
}

void world_release_verdicts(struct world *w)
{
    bool hold = w->hold_verdicts;
    w->hold_verdicts = false;
    (void)answer_all(w);
    w->hold_verdicts = hold;
    world_settle(w);
}

bool world_step(struct world *w, const struct nascar_event *event)
{
    bool done = step_once(w, event);
    (void)answer_all(w);
    return done;
}

/* ---- What the server sends ---------------------------------------------- */

static const char *who(const struct world_connection *connection)
{
    if (connection->console != NULL)
        return connection->console->name;
    return connection->raw != NULL && connection->raw->name[0] != '\0' ? connection->raw->name : "a raw client";
}

/* What every frame must keep to, whoever reads it: the code is the error
 * channel of the console and STATUS that of [spec], and both say the same
 * (PROTOCOL 1, 6, 10). */
static void check_frame(struct world *w, const struct world_connection *connection, const uint8_t *frame, size_t size)
{
    static const char *const without_status[] = {"@dir", "skey", "ROST", "PGET", "RECV", "USER",
                                                 "USCH", "PING", "~png", "play", "line"};
    const char *payload = (const char *)frame + CONSOLE_HEADER_BYTES;
    size_t payload_bytes = size - CONSOLE_HEADER_BYTES;
    char kind[5] = {0};
    uint32_t code = word_at(frame + 4);
    memcpy(kind, frame, 4);
    for (size_t i = 0; i < 8; i++) {
        if (i < 4 ? frame[i] < 0x21 || frame[i] > 0x7E : code != 0 && (frame[i] < 0x30 || frame[i] > 0x7E)) {
            world_fail(w, "%s got kind or code %08lx %08lx", who(connection), (unsigned long)word_at(frame),
                       (unsigned long)code);
        }
    }
    if (strcmp(kind, "play") == 0)
        return;
    if (payload_bytes > 0 &&
        (payload_bytes < 2 || payload[payload_bytes - 1] != '\0' || payload[payload_bytes - 2] != '\n'))
        world_fail(w, "%s got %s without its last newline and NUL", who(connection), kind);
    bool success = code == 0 || (code >> 8) == 0x6E6577u; /* new0 + n */
    if (kind[0] == '+') {
        if (code != 0)
            world_fail(w, "%s got %s with a code", who(connection), kind);
        return;
    }
    for (size_t i = 0; i < sizeof without_status / sizeof without_status[0]; i++)
        if (strcmp(kind, without_status[i]) == 0)
            return;
    if (code == 0x6E657731u) /* new1 is plain text */
        return;
    const char *status = payload_bytes > 0 ? console_find(payload, "STATUS") : NULL;
    if (status == NULL || (console_read_number(status) == 1) != success) {
        world_fail(w, "%s got %s with code %08lx and STATUS %.4s", who(connection), kind, (unsigned long)code,
                   status == NULL ? "none" : status);
    }
}

/* WORLD_TRACE in the environment: what goes over each connection. */
static void trace(const struct world *w, const struct world_connection *connection, const char *direction,
                  const uint8_t *bytes, size_t size)
{
    if (getenv("WORLD_TRACE") == NULL)
        return;
    fprintf(stderr, "%llu %s %s ", (unsigned long long)w->mono_ms, who(connection), direction);
    for (size_t i = 0; i < size; i++)
        if (bytes[i] >= 0x20 && bytes[i] <= 0x7E)
            fputc(bytes[i], stderr);
        else if (bytes[i] == '\n')
            fputc('|', stderr);
        else if (bytes[i] != 0)
            fputc('.', stderr);
    fputc('\n', stderr);
}

static void raw_frame(struct raw *r, const uint8_t *frame, size_t size)
{
    struct got *g = must(calloc(1, sizeof *g));
    memcpy(g->kind, frame, 4);
    g->code = word_at(frame + 4);
    g->size = (uint32_t)(size - CONSOLE_HEADER_BYTES);
    if ((strcmp(g->kind, "~png") == 0 || strcmp(g->kind, "PING") == 0) && !r->keeps_pings) {
        free(g);
        raw_send_frame(r, (const char *)frame, 0x10, frame + CONSOLE_HEADER_BYTES, size - CONSOLE_HEADER_BYTES);
        return;
    }
    g->payload = must(calloc(1, g->size + 1u));
    memcpy(g->payload, frame + CONSOLE_HEADER_BYTES, g->size);
    r->frames = grow(r->frames, r->count, &r->room, sizeof *r->frames);
    r->frames[r->count++] = g;
}

static void raw_text(struct raw *r, const uint8_t *bytes, size_t size)
{
    r->text = must(realloc(r->text, r->text_bytes + size + 1));
    memcpy(r->text + r->text_bytes, bytes, size);
    r->text_bytes += size;
    r->text[r->text_bytes] = '\0';
}

static void deliver(struct world *w, struct world_connection *connection, const uint8_t *bytes, size_t size)
{
    if (connection->raw != NULL && connection->raw->http) {
        trace(w, connection, "<-", bytes, size);
        raw_text(connection->raw, bytes, size);
        return;
    }
    append(&connection->in, &connection->in_bytes, &connection->in_room, bytes, size);
    while (connection->in_bytes >= CONSOLE_HEADER_BYTES) {
        uint32_t length = word_at(connection->in + 8);
        if (length < CONSOLE_HEADER_BYTES || length > CONSOLE_FRAME_BYTES)
            world_fail(w, "%s got a frame of length %lu", who(connection), (unsigned long)length);
        if (connection->in_bytes < length)
            break;
        trace(w, connection, "<-", connection->in, length);
        check_frame(w, connection, connection->in, length);
        if (connection->raw != NULL)
            raw_frame(connection->raw, connection->in, length);
        drop(connection->in, &connection->in_bytes, length);
    }
    struct console *c = connection->console;
    for (size_t at = 0; c != NULL && at < size;) {
        size_t part = chunk(w, size - at);
        console_feed(c, connection->link, bytes + at, part);
        at += part;
        if (c->misled[0] != '\0' && !w->free_run)
            world_fail(w, "%s is misled: %s", who(connection), c->misled);
    }
}

/* ---- Connections -------------------------------------------------------- */

static uint32_t open_connection(struct world *w, uint32_t ip, enum nascar_event_type type, enum nascar_service service)
{
    for (uint32_t conn = 0; conn < w->connection_count; conn++) {
        if (!w->connections[conn].open) {
            struct nascar_event event = {.type = type, .conn = conn, .peer = ip, .local = w->server_ip};
            event.service = service;
            w->connections[conn].open = true;
            w->connections[conn].stalled = false;
            w->connections[conn].window = SIZE_MAX;
            w->connections[conn].in_bytes = 0;
            w->connections[conn].raw = NULL;
            w->connections[conn].console = NULL;
            (void)world_step(w, &event);
            return conn;
        }
    }
    return NASCAR_NONE;
}

/* Whoever began it: the number is free again, and its client knows. */
static void close_connection(struct world *w, uint32_t conn, bool tell_core)
{
    struct world_connection *connection = &w->connections[conn];
    struct nascar_event event = {.type = NASCAR_CLOSED, .conn = conn};
    connection->open = false;
    if (connection->raw != NULL)
        connection->raw->conn = NASCAR_NONE;
    for (size_t i = 0; connection->console != NULL && i < w->console_count; i++) {
        if (w->consoles[i].console == connection->console) {
            w->consoles[i].conn[connection->link] = NASCAR_NONE;
            console_link_closed(connection->console, connection->link);
        }
    }
    connection->raw = NULL;
    connection->console = NULL;
    if (tell_core)
        (void)world_step(w, &event);
}

/* A segment ends where a frame does, and holds more than so many bytes only if one
 * frame alone does (PROTOCOL 1). What is left of a frame that was cut comes first. */
static void check_segment(struct world *w, const struct world_connection *connection, const uint8_t *bytes, size_t size)
{
    const char *most = w->config, *next;
    size_t total = connection->in_bytes + size, at = 0, frames = 0;
    while ((next = strstr(most, "segment-bytes = ")) != NULL)
        most = next + 16;
    size_t limit = most == w->config ? 1400 : strtoul(most, NULL, 10);
    for (; at + CONSOLE_HEADER_BYTES <= total; frames++) {
        uint8_t length[4];
        for (size_t i = 0; i < 4; i++) {
            size_t place = at + 8 + i;
            length[i] = place < connection->in_bytes ? connection->in[place] : bytes[place - connection->in_bytes];
        }
        at += word_at(length) < CONSOLE_HEADER_BYTES ? total : word_at(length);
    }
    if (at != total)
        world_fail(w, "a segment for %s ends inside a frame", who(connection));
    if (limit > 0 && size > limit && frames > 1)
        world_fail(w, "a segment for %s has %lu bytes", who(connection), (unsigned long)size);
}

/* What the core offers at once, which is a segment. */
static void drain_segment(struct world *w, uint32_t conn)
{
    struct world_connection *connection = &w->connections[conn];
    uint32_t size = 0;
    const uint8_t *bytes = nascar_outbox(w->state, conn, &size);
    size_t read = size;
    if (connection->raw == NULL || !connection->raw->http)
        check_segment(w, connection, bytes, size);
    if (connection->window != SIZE_MAX) {
        read = connection->window < read ? connection->window : read;
        connection->window -= read;
    }
    if (connection->raw != NULL)
        connection->raw->bytes_read += read;
    connection->stalled = read < size;
    if (read > 0)
        deliver(w, connection, bytes, read);
    struct nascar_event event = {.type = NASCAR_DRAINED, .conn = conn, .size = (uint32_t)read};
    (void)world_step(w, &event);
}

static void drain(struct world *w, uint32_t conn)
{
    struct world_connection *connection = &w->connections[conn];
    uint32_t size;
    do
        drain_segment(w, conn);
    while (connection->open && !connection->stalled && nascar_outbox(w->state, conn, &size) != NULL);
    if (connection->open && nascar_closing(w->state, conn))
        close_connection(w, conn, true);
}

static bool drain_all(struct world *w)
{
    bool moved = false;
    for (;;) {
        uint32_t conn = nascar_next_output(w->state);
        if (conn == NASCAR_NONE)
            break;
        if (conn >= w->connection_count || !w->connections[conn].open)
            world_fail(w, "nascar_next_output names %lu, which is not open", (unsigned long)conn);
        drain(w, conn);
        moved = true;
    }
    for (uint32_t conn = 0; conn < w->connection_count; conn++) {
        struct world_connection *connection = &w->connections[conn];
        if (connection->open && connection->stalled && connection->window > 0) {
            drain(w, conn);
            moved = true;
        }
    }
    return moved;
}

static bool send_bytes(struct world *w, uint32_t conn, const uint8_t *bytes, size_t size)
{
    struct nascar_event event = {.type = NASCAR_BYTES, .conn = conn, .bytes = bytes, .size = (uint32_t)size};
    trace(w, &w->connections[conn], "->", bytes, size);
    return world_step(w, &event);
}

static bool pump_raw(struct world *w, struct raw *r)
{
    bool moved = false;
    if (r->conn == NASCAR_NONE)
        return false;
    uint32_t room = nascar_inbox_room(w->state, r->conn);
    if (r->out_bytes > 0 && room > 0) {
        uint8_t bytes[4096];
        size_t part = r->out_bytes < room ? r->out_bytes : room;
        part = chunk(w, part < sizeof bytes ? part : sizeof bytes);
        memcpy(bytes, r->out, part);
        drop(r->out, &r->out_bytes, part);
        (void)send_bytes(w, r->conn, bytes, part);
        moved = true;
    }
    if (r->hangs_up && r->out_bytes == 0 && r->conn != NASCAR_NONE) {
        close_connection(w, r->conn, true);
        moved = true;
    }
    return moved;
}

static bool pump_console(struct world *w, size_t index)
{
    bool moved = false;
    struct console *c = w->consoles[index].console;
    for (int i = 0; i < CONSOLE_LINKS; i++) {
        enum console_link link = (enum console_link)i;
        uint32_t *conn = &w->consoles[index].conn[i];
        uint32_t address;
        uint16_t port;
        if (*conn == NASCAR_NONE && console_wants(c, link, &address, &port)) {
            if (link != CONSOLE_DIRECTORY && port == 0 && !c->direct)
                world_fail(w, "%s is sent to port 0", c->name);
            *conn = open_connection(w, w->consoles[index].ip, NASCAR_OPENED, NASCAR_SERVICE_GAME);
            if (*conn == NASCAR_NONE)
                world_fail(w, "the core has no connection left for %s", c->name);
            w->connections[*conn].console = c;
            w->connections[*conn].link = link;
            console_link_opened(c, link);
            moved = true;
        }
        if (*conn == NASCAR_NONE)
            continue;
        uint32_t room = nascar_inbox_room(w->state, *conn);
        size_t waiting = console_waiting(c, link);
        if (waiting > 0 && room > 0) {
            uint8_t bytes[4096];
            size_t part = waiting < room ? waiting : room;
            part = chunk(w, part < sizeof bytes ? part : sizeof bytes);
            part = console_take(c, link, bytes, part);
            (void)send_bytes(w, *conn, bytes, part);
            moved = true;
        }
        if (*conn != NASCAR_NONE && console_hangs_up(c, link) && console_waiting(c, link) == 0) {
            close_connection(w, *conn, true);
            moved = true;
        }
    }
    return moved;
}

/* ---- Time --------------------------------------------------------------- */

static void clock_step(struct world *w)
{
    struct nascar_event event = {.type = NASCAR_CLOCK, .conn = NASCAR_NONE};
    (void)world_step(w, &event);
}

#define RESTLESS 1000000u /* turns without time passing that mean: it never settles */

void world_settle(struct world *w)
{
    bool moved = true;
    for (uint32_t turn = 0; moved; turn++) {
        if (turn == RESTLESS)
            world_fail(w, "the world does not settle");
        moved = answer_all(w);
        moved = drain_all(w) || moved;
        for (size_t i = 0; i < w->raw_count; i++)
            moved = pump_raw(w, w->raws[i]) || moved;
        for (size_t i = 0; i < w->console_count; i++)
            moved = pump_console(w, i) || moved;
        if (!moved && nascar_deadline_ms(w->state) <= w->mono_ms) {
            clock_step(w);
            moved = true;
        }
    }
}

void world_run(struct world *w, uint64_t ms)
{
    uint64_t end = w->mono_ms + ms;
    world_settle(w);
    while (w->mono_ms < end) {
        uint64_t next = nascar_deadline_ms(w->state);
        next = next < end ? next : end;
        for (size_t i = 0; i < w->console_count; i++) {
            uint64_t due = console_deadline_ms(w->consoles[i].console);
            next = due < next ? due : next;
        }
        w->mono_ms = next > w->mono_ms ? next : w->mono_ms + 1;
        clock_step(w);
        world_settle(w); /* what is due at the server comes before a console's patience ends */
        for (size_t i = 0; i < w->console_count; i++) {
            struct console *c = w->consoles[i].console;
            console_tick(c, w->mono_ms);
            if (c->misled[0] != '\0' && !w->free_run)
                world_fail(w, "%s is misled: %s", c->name, c->misled);
        }
        world_settle(w);
    }
}

void world_pass(struct world *w, int64_t seconds)
{
    bool no_check = w->options.no_check;
    w->options.no_check = true; /* days would take minutes */
    world_run(w, (uint64_t)seconds * 1000);
    w->options.no_check = no_check;
}

/* ---- Birth and death ---------------------------------------------------- */

static void send_config(struct world *w)
{
    struct nascar_event event = {.type = NASCAR_CONFIG,
                                 .conn = NASCAR_NONE,
                                 .bytes = (const uint8_t *)w->config,
                                 .size = (uint32_t)strlen(w->config)};
    (void)world_step(w, &event);
}

void world_configure(struct world *w, const char *config)
{
    static const char own[] = "accounts = open\nskey = on\nrate = 0\nper-address = 10000\n";
    free(w->config);
    w->config = must(malloc(sizeof own + strlen(config)));
    memcpy(w->config, own, sizeof own - 1);
    memcpy(w->config + sizeof own - 1, config, strlen(config) + 1);
    if (w->state != NULL)
        send_config(w);
}

static void boot(struct world *w)
{
    w->arena = must(calloc(1, w->arena_bytes));
    w->state = nascar_init(w->arena, w->arena_bytes, &w->options.limits);
    if (w->state == NULL)
        world_fail(w, "nascar_init gives nothing");
    send_config(w);
    for (size_t i = 0; i < w->record_count; i++) {
        struct nascar_event event = {.type = NASCAR_RECORD,
                                     .conn = NASCAR_NONE,
                                     .bytes = w->records[i].bytes,
                                     .size = w->records[i].size};
        (void)step_once(w, &event);
        if (w->held_record_count > 0)
            world_fail(w, "replaying record %zu makes a record", i);
    }
}

struct world *world_new(const struct world_options *options)
{
    static const struct nascar_limits small = {64, 128, 32, 64, 256, 64, 128};
    struct world *w = must(calloc(1, sizeof *w));
    if (options != NULL)
        w->options = *options;
    if (w->options.limits.clients == 0)
        w->options.limits = small;
    if (w->options.seed == 0)
        w->options.seed = 1;
    w->chance = w->options.seed;
    w->entropy = ~w->options.seed;
    w->wall_offset_s = WORLD_WALL_S;
    w->server_ip = WORLD_SERVER_IP;
    w->next_ip = WORLD_FIRST_IP;
    w->arena_bytes = nascar_arena_size(&w->options.limits);
    w->connection_count = nascar_connections(&w->options.limits);
    if (w->arena_bytes == 0 || w->connection_count == 0)
        world_fail(w, "the limits are refused");
    w->connections = must(calloc(w->connection_count, sizeof *w->connections));
    world_configure(w, w->options.config == NULL ? "" : w->options.config);
    boot(w);
    return w;
}

struct world *world_with(const char *config)
{
    struct world_options options = {.config = config};
    return world_new(&options);
}

static void drop_held(struct world *w)
{
    for (size_t i = 0; i < w->held_record_count; i++)
        free(w->held_records[i].record.bytes);
    w->held_record_count = w->held_job_count = 0;
}

void world_restart(struct world *w)
{
    for (uint32_t conn = 0; conn < w->connection_count; conn++)
        if (w->connections[conn].open)
            close_connection(w, conn, false);
    drop_held(w);
    free(w->arena);
    boot(w);
}

void world_free(struct world *w)
{
    drop_held(w);
    for (size_t i = 0; i < w->console_count; i++)
        console_free(w->consoles[i].console);
    for (size_t i = 0; i < w->raw_count; i++) {
        raw_forget(w->raws[i]);
        free(w->raws[i]->frames);
        free(w->raws[i]->out);
        free(w->raws[i]->text);
        free(w->raws[i]);
    }
    for (uint32_t conn = 0; conn < w->connection_count; conn++)
        free(w->connections[conn].in);
    for (size_t i = 0; i < w->record_count; i++)
        free(w->records[i].bytes);
    for (size_t i = 0; i < w->log_count; i++)
        free(w->log[i]);
    free(w->consoles);
    free(w->raws);
    free(w->connections);
    free(w->records);
    free(w->log);
    free(w->held_records);
    free(w->held_jobs);
    free(w->config);
    free(w->arena);
    free(w);
}

size_t world_kept(const struct world *w, const char *kind)
{
    size_t count = 0;
    for (size_t i = 0; i < w->record_count; i++)
        count += memcmp(w->records[i].bytes, kind, 4) == 0;
    return count;
}

bool world_logged(const struct world *w, const char *part)
{
    for (size_t i = 0; i < w->log_count; i++)
        if (strstr(w->log[i], part) != NULL)
            return true;
    return false;
}

uint32_t world_fresh_ip(struct world *w)
{
    return w->next_ip++;
}

/* ---- What is kept --------------------------------------------------------- */

void kept_compact(struct world *w)
{
    struct nascar_cursor cursor;
    struct nascar_record record;
    memset(&cursor, 0, sizeof cursor);
    for (size_t i = 0; i < w->record_count; i++)
        free(w->records[i].bytes);
    w->record_count = 0;
    while (nascar_next_kept(w->state, &cursor, &record)) {
        if (record.size == 0)
            continue; /* nothing of what was looked at */
        if (w->record_count == w->record_room) {
            w->record_room = w->record_room * 2 + 16;
            w->records = realloc(w->records, w->record_room * sizeof *w->records);
            ck_assert_ptr_nonnull(w->records);
        }
        struct world_record *kept = &w->records[w->record_count++];
        kept->size = record.size;
        kept->bytes = malloc(record.size);
        ck_assert_ptr_nonnull(kept->bytes);
        memcpy(kept->bytes, record.bytes, record.size);
    }
}

void kept_restart(struct world *w)
{
    world_restart(w);
    kept_compact(w);
    world_restart(w);
}

size_t kept_count(const struct world *w, const char *kind, const char *part)
{
    size_t count = 0;
    for (size_t i = 0; i < w->record_count; i++) {
        const struct world_record *record = &w->records[i];
        char text[NASCAR_RECORD_BYTES + 1] = "";
        ck_assert_uint_lt(record->size, sizeof text);
        for (uint32_t k = CONSOLE_HEADER_BYTES; k < record->size; k++)
            text[k - CONSOLE_HEADER_BYTES] = record->bytes[k] == '\0' ? ' ' : (char)record->bytes[k];
        count += memcmp(record->bytes, kind, 4) == 0 && strstr(text, part) != NULL;
    }
    return count;
}

/* ---- Consoles ----------------------------------------------------------- */

struct console *world_console(struct world *w, uint32_t ip)
{
    w->consoles = grow(w->consoles, w->console_count, &w->console_room, sizeof *w->consoles);
    struct world_console *place = &w->consoles[w->console_count++];
    place->console = console_new((uint32_t)world_random(w));
    place->ip = ip == 0 ? world_fresh_ip(w) : ip;
    for (size_t i = 0; i < CONSOLE_LINKS; i++)
        place->conn[i] = NASCAR_NONE;
    console_tick(place->console, w->mono_ms);
    return place->console;
}

struct console *world_player(struct world *w, const char *name)
{
    struct console *c = world_console(w, 0);
    console_login(c, name, "secret", name);
    world_settle(w);
    for (int i = 0; i < 20 && c->stage != CONSOLE_INSIDE; i++)
        world_run(w, 100);
    if (c->stage != CONSOLE_INSIDE) {
        world_fail(w, "%s does not get in: stage %d, refused %08lx by %s", name, (int)c->stage,
                   (unsigned long)c->refused, c->refused_kind);
    }
    return c;
}

void world_cut(struct world *w, struct console *c, enum console_link link)
{
    for (size_t i = 0; i < w->console_count; i++)
        if (w->consoles[i].console == c && w->consoles[i].conn[link] != NASCAR_NONE)
            close_connection(w, w->consoles[i].conn[link], true);
    world_settle(w);
}

void world_window(struct world *w, struct console *c, size_t bytes)
{
    for (size_t i = 0; i < w->console_count; i++)
        if (w->consoles[i].console == c && w->consoles[i].conn[CONSOLE_LOBBY] != NASCAR_NONE)
            w->connections[w->consoles[i].conn[CONSOLE_LOBBY]].window = bytes;
    world_settle(w);
}

void world_all_well(struct world *w)
{
    for (size_t i = 0; i < w->console_count; i++) {
        const struct console *c = w->consoles[i].console;
        if (c->misled[0] != '\0')
            world_fail(w, "%s is misled: %s", c->name, c->misled);
    }
}

/* ---- Raw clients -------------------------------------------------------- */

static struct raw *raw_open_as(struct world *w, uint32_t ip, enum nascar_event_type type, enum nascar_service service)
{
    struct raw *r = must(calloc(1, sizeof *r));
    r->http = service == NASCAR_SERVICE_HTTP;
    r->world = w;
    r->ip = ip == 0 ? world_fresh_ip(w) : ip;
    w->raws = grow(w->raws, w->raw_count, &w->raw_room, sizeof *w->raws);
    w->raws[w->raw_count++] = r;
    r->conn = open_connection(w, r->ip, type, service);
    if (r->conn != NASCAR_NONE)
        w->connections[r->conn].raw = r;
    world_settle(w);
    return r;
}

struct raw *raw_open(struct world *w, uint32_t ip)
{
    return raw_open_as(w, ip, NASCAR_OPENED, NASCAR_SERVICE_GAME);
}

struct raw *raw_operator(struct world *w)
{
    return raw_open_as(w, 0, NASCAR_CONTROL, NASCAR_SERVICE_GAME);
}

struct raw *raw_browser(struct world *w, uint32_t ip)
{
    return raw_open_as(w, ip, NASCAR_OPENED, NASCAR_SERVICE_HTTP);
}

void raw_close(struct raw *r)
{
    r->hangs_up = true;
    world_settle(r->world);
}

bool raw_closed(const struct raw *r)
{
    return r->conn == NASCAR_NONE;
}

void raw_send_bytes(struct raw *r, const void *bytes, size_t size)
{
    append(&r->out, &r->out_bytes, &r->out_room, bytes, size);
}

void raw_send_frame(struct raw *r, const char *kind, uint32_t code, const void *payload, size_t size)
{
    uint8_t head[CONSOLE_HEADER_BYTES];
    (void)console_frame(head, sizeof head, kind, code, NULL, 0);
    uint32_t length = (uint32_t)(sizeof head + size);
    for (size_t i = 0; i < 4; i++)
        head[8 + i] = (uint8_t)(length >> (24 - 8 * i) & 0xFFu);
    raw_send_bytes(r, head, sizeof head);
    raw_send_bytes(r, payload, size);
}

void raw_send(struct raw *r, const char *kind, const char *payload)
{
    raw_send_frame(r, kind, 0, payload, strlen(payload) + 1);
}

static const struct got *take(struct raw *r, const char *kind)
{
    for (size_t i = 0; i < r->count; i++) {
        struct got *g = r->frames[i];
        if (!g->read && (kind == NULL || strcmp(g->kind, kind) == 0)) {
            g->read = true;
            return g;
        }
    }
    return NULL;
}

const struct got *raw_look(struct raw *r, const char *kind)
{
    world_settle(r->world);
    return take(r, kind);
}

const struct got *raw_next(struct raw *r)
{
    return raw_look(r, NULL);
}

const struct got *raw_expect(struct raw *r, const char *kind)
{
    const struct got *g = raw_look(r, kind);
    for (int i = 0; g == NULL && i < 20; i++) {
        world_run(r->world, 100);
        g = take(r, kind);
    }
    if (g == NULL) {
        char unread[256] = "";
        for (size_t i = 0; i < r->count; i++)
            if (!r->frames[i]->read && strlen(unread) + 6 < sizeof unread)
                strcat(strcat(unread, " "), r->frames[i]->kind);
        world_fail(r->world, "%s got no %s; unread:%s%s", r->name[0] != '\0' ? r->name : "a raw client", kind,
                   unread[0] != '\0' ? unread : " nothing", raw_closed(r) ? " (and it is closed)" : "");
    }
    return g;
}

const struct got *raw_ask(struct raw *r, const char *kind, const char *payload)
{
    raw_send(r, kind, payload);
    return raw_expect(r, kind);
}

size_t raw_count(struct raw *r, const char *kind)
{
    size_t count = 0;
    world_settle(r->world);
    for (size_t i = 0; i < r->count; i++)
        count += !r->frames[i]->read && (kind == NULL || strcmp(r->frames[i]->kind, kind) == 0);
    return count;
}

void raw_forget(struct raw *r)
{
    for (size_t i = 0; i < r->count; i++) {
        free(r->frames[i]->payload);
        free(r->frames[i]);
    }
    r->count = 0;
}

void raw_window(struct raw *r, size_t bytes)
{
    if (r->conn != NASCAR_NONE)
        r->world->connections[r->conn].window = bytes;
    world_settle(r->world);
}

bool got_has(const struct got *g, const char *key)
{
    return console_find((const char *)g->payload, key) != NULL;
}

static char *ring(void)
{
    static char texts[16][CONSOLE_FRAME_BYTES];
    static size_t next;
    next = (next + 1) % 16;
    texts[next][0] = '\0';
    return texts[next];
}

const char *got_text(const struct got *g, const char *key)
{
    char *text = ring();
    (void)console_read_text(console_find((const char *)g->payload, key), text, CONSOLE_FRAME_BYTES);
    return text;
}

const char *got_raw(const struct got *g, const char *key)
{
    const char *value = console_find((const char *)g->payload, key);
    char *text = ring();
    if (value != NULL) {
        size_t size = strcspn(value, "\n");
        memcpy(text, value, size);
        text[size] = '\0';
    }
    return text;
}

int32_t got_number(const struct got *g, const char *key)
{
    return console_read_number(console_find((const char *)g->payload, key));
}

uint32_t got_address(const struct got *g, const char *key)
{
    return console_read_address(console_find((const char *)g->payload, key));
}

uint32_t got_flags(const struct got *g, const char *key)
{
    return console_read_flags(console_find((const char *)g->payload, key));
}

const char *got_code(const struct got *g)
{
    char *text = ring();
    for (size_t i = 0; g->code != 0 && i < 4; i++) {
        text[i] = (char)(unsigned char)(g->code >> (24 - 8 * i) & 0xFFu);
        text[i + 1] = '\0';
    }
    return text;
}

int32_t got_status(const struct got *g)
{
    return got_has(g, "STATUS") ? got_number(g, "STATUS") : -1;
}

const char *got_payload(const struct got *g)
{
    return (const char *)g->payload;
}

const struct got *raw_auth(struct raw *r, const char *name, const char *password)
{
    struct console_tags tags = {.size = 0};
    char letters[160] = "~";
    int32_t session = 0;
    if (!r->has_key) {
        (void)raw_ask(r, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
        const struct got *g = raw_ask(r, "skey", "SKEY=$5075626c6963204b6579\n");
        (void)console_read_binary(console_find(got_payload(g), "SKEY"), r->key, sizeof r->key);
        r->has_key = true;
    }
    console_put_text(&tags, "NAME", name);
    console_put_number(&tags, "TOS", 1);
    if (r->key[0] != 0) {
        console_encode(&r->pad, r->key, sizeof r->key, password, letters + 1);
        console_put_text(&tags, "PASS", letters);
    } else {
        struct raw *directory = raw_open(r->world, r->ip);
        const struct got *g = raw_ask(directory, "@dir", "PROD=NASCAR-PS2-2004\n");
        console_mask(got_text(g, "MASK"), password, letters, sizeof letters);
        console_put_raw(&tags, "PASS", letters);
        session = got_number(g, "SESS");
        raw_close(directory);
    }
    console_put_raw(&tags, "MID", "$00041f82bee5");
    console_put_raw(&tags, "PROD", "NASCAR-PS2-2004");
    if (session != 0)
        console_put_number(&tags, "MASK", session);
    return raw_ask(r, "auth", tags.text);
}

struct raw *raw_login_from(struct world *w, uint32_t ip, const char *name, const char *password)
{
    struct console_tags tags = {.size = 0};
    struct raw *r = raw_open(w, ip);
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    const struct got *g = raw_auth(r, name, password);
    if (g->code != 0)
        world_fail(w, "auth of %s: %s", name, got_code(g));
    console_put_text(&tags, "PERS", name);
    g = raw_ask(r, "pers", tags.text);
    if (g->code != 0)
        world_fail(w, "pers of %s: %s", name, got_code(g));
    (void)raw_expect(r, "+who");
    raw_send(r, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1");
    raw_send(r, "sele", "RANKS=50\n");
    (void)raw_expect(r, "sele");
    (void)raw_expect(r, "sele");
    world_settle(w);
    raw_forget(r);
    return r;
}

struct raw *raw_login(struct world *w, const char *name, const char *password)
{
    return raw_login_from(w, 0, name, password);
}
