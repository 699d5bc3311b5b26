/* The words for clients; clients.h says what each is for.
 *
 * SPDX-License-Identifier: MIT */
#include "clients.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The world ------------------------------------------------------------ */

struct world *w;

void open_world(void)
{
    w = world_new(NULL);
}

void close_world(void)
{
    world_all_well(w);
    world_free(w);
}

void reopen(const struct world_options *options)
{
    world_free(w);
    w = world_new(options);
}

void reopen_with(const char *config)
{
    reopen(&(struct world_options){.config = config});
}

void keep(const char *kind, const char *payload)
{
    uint8_t bytes[NASCAR_RECORD_BYTES];
    size_t size = console_frame(bytes, sizeof bytes, kind, 0, payload, strlen(payload) + 1);
    struct nascar_event event = {.type = NASCAR_RECORD, .conn = NASCAR_NONE, .bytes = bytes, .size = (uint32_t)size};
    (void)world_step(w, &event);
}

/* ---- Frames since raw_forget() ------------------------------------------ */

/* The next of these buffers, empty. */
static char *next_of(char (*texts)[8192], size_t count, size_t *next)
{
    *next = (*next + 1) % count;
    texts[*next][0] = '\0';
    return texts[*next];
}

char *lobby_text(void)
{
    static char texts[16][8192];
    static size_t next;
    return next_of(texts, 16, &next);
}

char *page(void)
{
    static char pages[8][8192];
    static size_t next;
    return next_of(pages, 8, &next);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

const char *in_order(char (*names)[32], size_t count)
{
    char *text = page();
    qsort(names, count, sizeof names[0], by_name);
    for (size_t i = 0; i < count; i++)
        (void)snprintf(text + strlen(text), 64, "%s%.31s", i == 0 ? "" : " ", names[i]);
    return text;
}

const char *kinds(struct raw *r)
{
    char *text = lobby_text();
    size_t size = 0;
    world_settle(r->world);
    for (size_t i = 0; i < r->count && size < 8000; i++)
        size += (size_t)snprintf(text + size, 8, "%s%s", i == 0 ? "" : " ", r->frames[i]->kind);
    return text;
}

const struct got *frame_at(struct raw *r, size_t index)
{
    world_settle(r->world);
    ck_assert_msg(index < r->count, "%s has %zu frames, not %zu", r->name, r->count, index + 1);
    return r->frames[index];
}

size_t frames_of(struct raw *r, const char *kind, const struct got **last)
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

const char *differs(const struct got *g, const char *format, ...)
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

const char *dotted(uint32_t address)
{
    char *text = lobby_text();
    (void)snprintf(text, 16, "%u.%u.%u.%u", (unsigned)(address >> 24), (unsigned)(address >> 16 & 0xFFu),
                   (unsigned)(address >> 8 & 0xFFu), (unsigned)(address & 0xFFu));
    return text;
}

/* ---- Clients ------------------------------------------------------------ */

void say(struct raw *r, const char *kind, const char *payload)
{
    raw_send(r, kind, payload);
    world_settle(r->world);
}

void go(struct raw *r, const char *room)
{
    char payload[128];
    (void)snprintf(payload, sizeof payload, "NAME=%s\nPASS=\n", room);
    SUCCEEDS(raw_ask(r, "move", payload));
}

struct raw *member(const char *name, const char *password)
{
    struct raw *r = raw_open(w, 0);
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    SUCCEEDS(raw_auth(r, name, password));
    raw_forget(r);
    return r;
}

const struct got *ask_pers(struct raw *r, const char *persona)
{
    char payload[64];
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", persona);
    return raw_ask(r, "pers", payload);
}

struct raw *player(struct world *world, const char *name, const char *room)
{
    struct raw *r = raw_login(world, name, "secret");
    if (room[0] != '\0')
        go(r, room);
    return r;
}

struct raw *deaf_player(const char *name)
{
    struct raw *r = member(name, "secret");
    SUCCEEDS(ask_pers(r, name));
    world_settle(w);
    raw_forget(r);
    return r;
}

void send_lines(struct raw *r, int first, int count)
{
    for (int i = first; i < first + count; i++) {
        char payload[64];
        (void)snprintf(payload, sizeof payload, "TEXT=\"line %d\"\n", i);
        raw_send(r, "mesg", payload);
    }
}

void forget_all(void)
{
    world_settle(w);
    for (size_t i = 0; i < w->raw_count; i++)
        raw_forget(w->raws[i]);
}

int32_t ident_of(struct raw *r)
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

int32_t told_population(struct raw *r, int32_t ident)
{
    int32_t told = -1;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->frames[i]->kind, "+pop") != 0)
            continue;
        for (const char *at = got_raw(r->frames[i], "Z"); *at != '\0'; at += *at == ' ') {
            int room = -1, population = -1, used = 0;
            ck_assert_int_eq(sscanf(at, "%d:%d%n", &room, &population, &used), 2);
            at += used;
            if (room == 0)
                ck_assert_str_eq(at, ""); /* whoever reads on stops there (3.3) */
            if (room == ident)
                told = population;
        }
    }
    return told;
}

/* ---- Challenges (5) ------------------------------------------------------ */

void send_word(struct raw *from, const char *to, const char *word)
{
    char payload[512];
    (void)snprintf(payload, sizeof payload, "PRIV=%s\nTEXT=%s\nATTR=3\n", to, word);
    raw_send(from, "mesg", payload);
}

void word(struct raw *from, const struct raw *to, const char *text)
{
    send_word(from, to->name, text);
    world_settle(w);
}

void chal(struct raw *from, const char *to, int host)
{
    char payload[128];
    (void)snprintf(payload, sizeof payload, "PERS=%s\nHOST=%d\n", to, host);
    say(from, "chal", payload);
}

void start_race(struct raw *challenger, struct raw *target, bool target_hosts)
{
    word(challenger, target, TOKEN);
    word(target, challenger, "ACPT");
    chal(challenger, target->name, !target_hosts);
    chal(target, challenger->name, target_hosts);
}

/* ---- The buddy service (9) ----------------------------------------------- */

const char *ticket_of(struct raw *r, const char *persona)
{
    const struct got *g = ask_pers(r, persona);
    SUCCEEDS(g);
    return got_raw(g, "LKEY");
}

const char *buddy_tags(const char *user, const char *ticket)
{
    char *text = lobby_text();
    (void)snprintf(text, 4096, "PROD=NASCAR\nVERS=XXX\nPRES=NASCAR2004\nUSER=%s\nLKEY=%s\n", user, ticket);
    return text;
}

struct raw *open_buddy(struct world *world, const char *persona, uint32_t ip, const char *ticket)
{
    char user[64];
    struct raw *buddy = raw_open(world, ip);
    (void)snprintf(buddy->name, sizeof buddy->name, "%s's buddy link", persona);
    (void)snprintf(user, sizeof user, "%s/cso/nascar-ps2-2004", persona);
    SUCCEEDS(raw_ask(buddy, "AUTH", buddy_tags(user, ticket)));
    raw_forget(buddy);
    return buddy;
}

struct raw *buddy_of(struct raw *lobby)
{
    struct raw *buddy = open_buddy(lobby->world, lobby->name, lobby->ip, ticket_of(lobby, lobby->name));
    raw_forget(lobby);
    return buddy;
}

const struct got *change_list(struct raw *buddy, const char *kind, const char *list, const char *user)
{
    char payload[256];
    (void)snprintf(payload, sizeof payload, "LRSC=cso\nID=101\nLIST=%s\nPRES=Y\nUSER=%s\nGROUP=\n", list, user);
    return raw_ask(buddy, kind, payload);
}

const char *buddy_code(const char *user, const char *ticket)
{
    char *code = lobby_text();
    struct raw *r = raw_open(w, 0);
    const struct got *g = raw_ask(r, "AUTH", buddy_tags(user, ticket));
    (void)snprintf(code, 8, "%s", got_code(g));
    if (code[0] != '\0') {
        REFUSED(g, "user", 101);
        OPEN(r); /* for another try */
        REFUSED(raw_ask(r, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n"), "sess", 101);
    }
    raw_close(r);
    return code;
}

const char *rows_of(struct raw *r, int id)
{
    char names[64][32];
    size_t count = 0;
    int32_t size = -1;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++) {
        const struct got *g = r->frames[i];
        if (strcmp(g->kind, "RGET") == 0 && got_number(g, "ID") == id) {
            ck_assert_str_eq(got_code(g), "");
            SAYS(g, "ID=%d\nSIZE=*\nSTATUS=1", id);
            ck_assert_int_eq(size, -1);
            size = got_number(g, "SIZE");
        } else if (strcmp(g->kind, "ROST") == 0 && got_number(g, "ID") == id) {
            SAYS(g, "ID=%d\nUSER=*\nGROUP=*", id);
            ck_assert_int_ge(size, 0); /* behind its reply */
            ck_assert_uint_lt(count, 64);
            (void)snprintf(names[count++], sizeof names[0], "%.31s", got_text(g, "USER"));
        }
    }
    ck_assert_int_eq(size, (int32_t)count);
    return in_order(names, count);
}

const char *roster(struct raw *buddy, const char *list)
{
    static int id = 1;
    char payload[64];
    raw_forget(buddy);
    id++;
    (void)snprintf(payload, sizeof payload, "LRSC=cso\nLIST=%s\nPRES=Y\nID=%d\n", list, id);
    say(buddy, "RGET", payload);
    ck_assert_str_eq(frame_at(buddy, 0)->kind, "RGET");
    const char *text = rows_of(buddy, id);
    raw_forget(buddy);
    return text;
}

void set_ignored(struct raw *r, const char *other, bool ignored)
{
    struct raw *buddy = buddy_of(r);
    SUCCEEDS(change_list(buddy, ignored ? "RADD" : "RDEL", "I", other));
    raw_close(buddy);
    raw_forget(r);
}

/* ---- The lists that a console would hold by now ------------------------- */

struct view_room *view_room(struct view *v, int32_t ident)
{
    for (size_t i = 0; i < v->room_count; i++)
        if (v->rooms[i].ident == ident)
            return &v->rooms[i];
    return NULL;
}

struct view_user *view_user(struct view *v, const char *name)
{
    for (size_t i = 0; i < v->user_count; i++)
        if (strcmp(v->users[i].name, name) == 0)
            return &v->users[i];
    return NULL;
}

static void view_population(struct view *v, int32_t ident, int32_t population)
{
    struct view_room *room = view_room(v, ident);
    if (room != NULL)
        room->population = population;
}

static void view_take_room(struct view *v, const struct got *g)
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

static void view_take_user(struct view *v, const struct got *g)
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

static void view_take_populations(struct view *v, const struct got *g)
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

void view_update(struct view *v, struct raw *r)
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

void view_start(struct view *v, struct raw *r)
{
    memset(v, 0, sizeof *v);
    SUCCEEDS(raw_ask(r, "sele", "ROOMS=0 USERS=0 RANKS=0 MESGS=0"));
    raw_forget(r);
    SUCCEEDS(raw_ask(r, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1"));
    view_update(v, r);
}
