/* What a lobby client is told, for the suites that read frames one by one:
 * which kinds in which order, every tag of a frame, and the lists that a
 * console would hold by now (PROTOCOL 3.3).
 *
 * Include it below world.h. SPDX-License-Identifier: MIT */
#ifndef LOBBY_H
#define LOBBY_H

#include "world.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Frames since raw_forget() ------------------------------------------ */

/* The next of a few static buffers, empty. */
static inline char *lobby_text(void)
{
    static char texts[16][8192];
    static size_t next;
    next = (next + 1) % 16;
    texts[next][0] = '\0';
    return texts[next];
}

/* Their kinds, in order, with a space between. */
static inline const char *kinds(struct raw *r)
{
    char *text = lobby_text();
    size_t size = 0;
    world_settle(r->world);
    for (size_t i = 0; i < r->count && size < 8000; i++)
        size += (size_t)snprintf(text + size, 8, "%s%s", i == 0 ? "" : " ", r->frames[i]->kind);
    return text;
}

#define GOT(r, list) ck_assert_str_eq(kinds(r), list)

static inline const struct got *frame_at(struct raw *r, size_t index)
{
    world_settle(r->world);
    ck_assert_msg(index < r->count, "%s has %zu frames, not %zu", r->name, r->count, index + 1);
    return r->frames[index];
}

/* How many frames of a kind there are; the last one of them in `last`. */
static inline size_t frames_of(struct raw *r, const char *kind, const struct got **last)
{
    size_t count = 0;
    world_settle(r->world);
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->frames[i]->kind, kind) == 0) {
            count++;
            if (last != NULL)
                *last = r->frames[i];
        }
    }
    return count;
}

/* NULL if the frame has exactly these tags, in any order, with these values as
 * they stand on the wire; else what differs. Tags are lines `KEY=VALUE`; the
 * value `*` is any. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static inline const char *
differs(const struct got *g, const char *format, ...)
{
    char spec[2048], *why = lobby_text();
    size_t wanted = 0, lines = 0;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(spec, sizeof spec, format, arguments);
    va_end(arguments);
    for (char *line = spec, *next; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next != '\0')
            *next++ = '\0';
        char *value = strchr(line, '=');
        ck_assert_ptr_nonnull(value);
        *value++ = '\0';
        wanted++;
        if (!got_has(g, line)) {
            (void)snprintf(why, 4096, "%s without %s: %s", g->kind, line, got_payload(g));
            return why;
        }
        if (strcmp(value, "*") != 0 && strcmp(got_raw(g, line), value) != 0) {
            (void)snprintf(why, 4096, "%s with %s=%s, not %s: %s", g->kind, line, got_raw(g, line), value,
                           got_payload(g));
            return why;
        }
    }
    for (const char *at = got_payload(g); *at != '\0'; at++)
        lines += *at == '\n';
    if (lines != wanted) {
        (void)snprintf(why, 4096, "%s has %zu tags, not %zu: %s", g->kind, lines, wanted, got_payload(g));
        return why;
    }
    return NULL;
}

#define SAYS(g, ...) \
    do { \
        const char *says_wrong = differs(g, __VA_ARGS__); \
        ck_assert_msg(says_wrong == NULL, "%s", says_wrong); \
    } while (0)

/* A reply that fails: the code's letters and STATUS (6). */
#define REFUSED(g, letters, status) \
    do { \
        const struct got *refused_got = (g); \
        ck_assert_str_eq(got_code(refused_got), letters); \
        ck_assert_int_eq(got_status(refused_got), status); \
    } while (0)

#define SUCCEEDS(g) REFUSED(g, "", 1)

static inline const char *dotted(uint32_t address)
{
    char *text = lobby_text();
    (void)snprintf(text, 16, "%u.%u.%u.%u", (unsigned)(address >> 24), (unsigned)(address >> 16 & 0xFFu),
                   (unsigned)(address >> 8 & 0xFFu), (unsigned)(address & 0xFFu));
    return text;
}

/* ---- Clients ------------------------------------------------------------ */

/* Says something, without waiting for more than follows at once. */
static inline void say(struct raw *r, const char *kind, const char *payload)
{
    raw_send(r, kind, payload);
    world_settle(r->world);
}

static inline void go(struct raw *r, const char *room)
{
    char payload[128];
    (void)snprintf(payload, sizeof payload, "NAME=%s\nPASS=\n", room);
    SUCCEEDS(raw_ask(r, "move", payload));
}

static inline struct raw *player(struct world *w, const char *name, const char *room)
{
    struct raw *r = raw_login(w, name, "secret");
    if (room[0] != '\0')
        go(r, room);
    return r;
}

/* Logged in, in the hub, and nothing subscribed. */
static inline struct raw *deaf_player(struct world *w, const char *name)
{
    char payload[64];
    struct raw *r = raw_open(w, 0);
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    SUCCEEDS(raw_auth(r, name, "secret"));
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
    SUCCEEDS(raw_ask(r, "pers", payload));
    world_settle(w);
    raw_forget(r);
    return r;
}

static inline void forget_all(struct world *w)
{
    world_settle(w);
    for (size_t i = 0; i < w->raw_count; i++)
        raw_forget(w->raws[i]);
}

/* The number that its persona goes by, I of +usr. */
static inline int32_t ident_of(struct raw *r)
{
    SUCCEEDS(raw_ask(r, "sele", "USERS=0\n"));
    SUCCEEDS(raw_ask(r, "sele", "USERS=1\n"));
    world_settle(r->world);
    int32_t ident = 0;
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "+usr") == 0 && got_has(r->frames[i], "N") &&
            strcmp(got_text(r->frames[i], "N"), r->name) == 0)
            ident = got_number(r->frames[i], "I");
    ck_assert_int_gt(ident, 0);
    raw_forget(r);
    return ident;
}

/* Puts `other` on the ignore list of a player in the hub, or takes it off:
 * LIST=I on a buddy connection (9). The player's frames are forgotten. */
static inline void set_ignored(struct raw *r, const char *other, bool ignored)
{
    char payload[256];
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", r->name);
    const struct got *g = raw_ask(r, "pers", payload);
    SUCCEEDS(g);
    struct raw *buddy = raw_open(r->world, r->ip);
    (void)snprintf(payload, sizeof payload,
                   "PROD=NASCAR\nVERS=XXX\nPRES=NASCAR2004\nUSER=%s/cso/nascar-ps2-2004\n"
                   "LKEY=%s\n",
                   r->name, got_raw(g, "LKEY"));
    SUCCEEDS(raw_ask(buddy, "AUTH", payload));
    (void)snprintf(payload, sizeof payload, "ID=101\nLIST=I\nUSER=%s\n", other);
    SUCCEEDS(raw_ask(buddy, ignored ? "RADD" : "RDEL", payload));
    raw_close(buddy);
    raw_forget(r);
}

/* ---- The lists that a console would hold by now ------------------------- */

#define VIEW_ROOMS 256
#define VIEW_USERS 128

struct view_room {
    int32_t ident, population, limit;
    uint32_t flags;
    char name[32];
};

struct view_user {
    int32_t ident;
    uint32_t flags;
    char name[32], extra[128];
};

struct view {
    int32_t room, population; /* where it is */
    int32_t hub;              /* the hub's count, as +pop ends with it for [spec]'s readers */
    size_t room_count, user_count;
    struct view_room rooms[VIEW_ROOMS];
    struct view_user users[VIEW_USERS];
};

static inline struct view_room *view_room(struct view *v, int32_t ident)
{
    for (size_t i = 0; i < v->room_count; i++)
        if (v->rooms[i].ident == ident)
            return &v->rooms[i];
    return NULL;
}

static inline struct view_user *view_user(struct view *v, const char *name)
{
    for (size_t i = 0; i < v->user_count; i++)
        if (strcmp(v->users[i].name, name) == 0)
            return &v->users[i];
    return NULL;
}

static inline void view_population(struct view *v, int32_t ident, int32_t population)
{
    struct view_room *room = view_room(v, ident);
    if (room != NULL)
        room->population = population;
}

static inline void view_take_room(struct view *v, const struct got *g)
{
    int32_t ident = got_number(g, "I");
    struct view_room *room = view_room(v, ident);
    if (!got_has(g, "N")) { /* delete */
        if (room != NULL)
            *room = v->rooms[--v->room_count];
        return;
    }
    if (room == NULL) {
        ck_assert_uint_lt(v->room_count, VIEW_ROOMS);
        room = &v->rooms[v->room_count++];
    }
    room->ident = ident;
    room->population = got_number(g, "T");
    room->limit = got_number(g, "L");
    room->flags = got_flags(g, "F");
    (void)snprintf(room->name, sizeof room->name, "%.31s", got_text(g, "N"));
}

static inline void view_take_user(struct view *v, const struct got *g)
{
    int32_t ident = got_number(g, "I");
    size_t at = 0;
    v->population = got_number(g, "T"); /* in deletes too */
    while (at < v->user_count && v->users[at].ident != ident)
        at++;
    if (!got_has(g, "N")) {
        if (at < v->user_count)
            v->users[at] = v->users[--v->user_count];
        return;
    }
    ck_assert_uint_lt(at, VIEW_USERS);
    v->user_count += at == v->user_count;
    v->users[at].ident = ident;
    v->users[at].flags = got_flags(g, "F");
    (void)snprintf(v->users[at].name, sizeof v->users[at].name, "%.31s", got_text(g, "N"));
    (void)snprintf(v->users[at].extra, sizeof v->users[at].extra, "%.127s", got_text(g, "X"));
}

static inline void view_take_populations(struct view *v, const struct got *g)
{
    const char *at = got_raw(g, "Z");
    ck_assert_uint_le(strlen(at), 511);
    ck_assert_str_ne(at, "");
    while (*at != '\0') {
        int ident = -1, population = -1, used = 0;
        ck_assert_msg(sscanf(at, "%d:%d%n", &ident, &population, &used) == 2, "+pop Z=%s", at);
        at += used;
        ck_assert_msg(*at == '\0' || (*at == ' ' && ident != 0), "+pop does not end right: %s", at);
        at += *at == ' ';
        if (ident == 0)
            v->hub = population;
        else if (ident != v->room)
            view_population(v, ident, population);
    }
}

/* Takes all frames of the client since the last time, which are forgotten. */
static inline void view_update(struct view *v, struct raw *r)
{
    world_settle(r->world);
    for (size_t i = 0; i < r->count; i++) {
        const struct got *g = r->frames[i];
        if (strcmp(g->kind, "+rom") == 0) {
            view_take_room(v, g);
        } else if (strcmp(g->kind, "+usr") == 0) {
            view_take_user(v, g);
        } else if (strcmp(g->kind, "+pop") == 0) {
            view_take_populations(v, g);
        } else if (strcmp(g->kind, "+who") == 0) {
            int32_t ident = got_number(g, "RI");
            v->user_count = ident != v->room ? 0 : v->user_count;
            v->room = ident;
            v->population = got_number(g, "RT");
        } else if (strcmp(g->kind, "move") == 0 || strcmp(g->kind, "room") == 0) {
            ck_assert(got_has(g, "IDENT")); /* or it drops to room 0 */
            if (g->code == 0)
                view_population(v, got_number(g, "IDENT"), got_number(g, "COUNT"));
            else
                ck_assert_int_eq(got_number(g, "IDENT"), v->room);
            if (g->code == 0 && got_has(g, "LIDENT"))
                view_population(v, got_number(g, "LIDENT"), got_number(g, "LCOUNT"));
        }
    }
    raw_forget(r);
}

/* The lists of a client that is in the hub. */
static inline void view_start(struct view *v, struct raw *r)
{
    memset(v, 0, sizeof *v);
    SUCCEEDS(raw_ask(r, "sele", "ROOMS=0 USERS=0 RANKS=0 MESGS=0"));
    raw_forget(r);
    SUCCEEDS(raw_ask(r, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1"));
    view_update(v, r);
}

#endif
