/* People with two links; people.h says what each word is for.
 *
 * SPDX-License-Identifier: MIT */
#include "people.h"

struct person people[64];
static int person_count;

void open_people(void)
{
    open_world();
    memset(people, 0, sizeof people);
    person_count = 0;
}

void reopen_people(const struct world_options *options)
{
    reopen(options);
    person_count = 0;
}

void no_links(void)
{
    for (int i = 0; i < person_count; i++)
        people[i].lobby = people[i].buddy = NULL;
}

void restart(void)
{
    kept_restart(w);
    no_links();
}

long long now_s(void)
{
    return (long long)(w->mono_ms / 1000) + (long long)w->wall_offset_s;
}

void put_on(struct person *p)
{
    (void)snprintf(p->ticket, sizeof p->ticket, "%.39s", ticket_of(p->lobby, p->name));
    (void)raw_expect(p->lobby, "+who");
    SUCCEEDS(raw_ask(p->lobby, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1"));
    SUCCEEDS(raw_ask(p->lobby, "sele", "RANKS=50\n"));
    world_settle(w);
    raw_forget(p->lobby);
}

void enter(struct person *p)
{
    p->lobby = member(p->account, "secret");
    (void)snprintf(p->lobby->name, sizeof p->lobby->name, "%s", p->name);
    put_on(p);
}

void link_up(struct person *p)
{
    p->buddy = open_buddy(w, p->name, 0, p->ticket);
}

struct person *person(const char *name)
{
    ck_assert_int_lt(person_count, COUNT(people));
    struct person *p = &people[person_count++];
    memset(p, 0, sizeof *p);
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    (void)snprintf(p->account, sizeof p->account, "%s", name);
    raw_close(member(name, "secret")); /* a first login makes both */
    return p;
}

struct person *player_only(const char *name)
{
    struct person *p = person(name);
    enter(p);
    return p;
}

struct person *linked(const char *name)
{
    struct person *p = player_only(name);
    link_up(p);
    return p;
}

void leave_lobby(struct person *p)
{
    raw_close(p->lobby);
    p->lobby = NULL;
}

void link_down(struct person *p)
{
    raw_close(p->buddy);
    p->buddy = NULL;
}

void crowd(const char *prefix, int count)
{
    struct raw *r = NULL;
    for (int i = 0; i < count; i++) {
        char name[16], payload[32];
        (void)snprintf(name, sizeof name, "%s%02d", prefix, i);
        (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
        if (i % 4 == 0)
            r = member(name, "secret");
        else
            SUCCEEDS(raw_ask(r, "cper", payload));
        if (i % 4 == 3 || i == count - 1)
            raw_close(r);
    }
}

/* ---- Rosters ------------------------------------------------------------ */

void put_on_list(struct person *p, const char *list, const char *user)
{
    SUCCEEDS(change_list(p->buddy, "RADD", list, user));
    world_settle(w);
    raw_forget(p->buddy);
}

void take_off_list(struct person *p, const char *list, const char *user)
{
    SUCCEEDS(change_list(p->buddy, "RDEL", list, user));
    world_settle(w);
    raw_forget(p->buddy);
}

void ask_rosters(struct person *p)
{
    raw_forget(p->buddy);
    raw_send(p->buddy, "RGET", GET_B);
    raw_send(p->buddy, "RGET", GET_I);
    world_settle(w);
}

/* ---- Presence ----------------------------------------------------------- */

void set_presence(struct person *p, const char *show)
{
    char payload[256];
    (void)snprintf(payload, sizeof payload, "SHOW=%s\nSTAT=%s\nPROD=%s\n", show, GAME_STAT, GAME_PROD);
    SUCCEEDS(raw_ask(p->buddy, "PSET", payload));
    world_settle(w);
}

const char *sees(struct raw *r)
{
    char *text = page();
    world_settle(w);
    for (size_t i = 0; i < r->count; i++) {
        const struct got *g = r->frames[i];
        if (strcmp(g->kind, "PGET") != 0 || g->code != 0)
            continue;
        SAYS(g, "SHOW=*\nUSER=*\nPROD=*\nSTAT=*");
        ck_assert_int_eq(strncmp(got_payload(g), "SHOW=", 5), 0); /* before any free text */
        if (strcmp(got_text(g, "SHOW"), "DISC") == 0)
            SAYS(g, "SHOW=DISC\nUSER=*\nPROD=\nSTAT=");
        ck_assert_uint_lt(strlen(text), 8000);
        (void)snprintf(text + strlen(text), 64, "%s%.15s=%.15s", text[0] == '\0' ? "" : " ", got_text(g, "USER"),
                       got_text(g, "SHOW"));
    }
    return text;
}

const char *shown(struct raw *r, const char *name)
{
    char *text = page();
    world_settle(w);
    for (size_t i = 0; i < r->count; i++) {
        const struct got *g = r->frames[i];
        if (strcmp(g->kind, "PGET") == 0 && g->code == 0 && strcmp(got_text(g, "USER"), name) == 0)
            (void)snprintf(text, 16, "%.15s", got_text(g, "SHOW"));
    }
    return text;
}

/* ---- Letters ------------------------------------------------------------ */

const struct got *letter(struct person *from, const char *to, const char *body, const char *secs)
{
    char *payload = lobby_text();
    int size = snprintf(payload, 4096, "TYPE=C\nUSER=%s\nBODY=%s\n", to, body);
    if (secs != NULL)
        (void)snprintf(payload + size, 64, "SECS=%s\n", secs);
    return raw_ask(from->buddy, "SEND", payload);
}

void write_letter(struct person *from, const char *to, const char *body)
{
    const struct got *g = letter(from, to, body, "259200");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "STATUS=1");
}

const char *letters(struct raw *r)
{
    char *text = page();
    world_settle(w);
    for (size_t i = 0; i < r->count; i++) {
        const struct got *g = r->frames[i];
        if (strcmp(g->kind, "RECV") == 0) {
            SAYS(g, "USER=*\nTYPE=*\nBODY=*\nTIME=*");
            ck_assert_str_eq(got_code(g), "");
            ck_assert_uint_lt(strlen(text), 7900);
            (void)snprintf(text + strlen(text), 260, "%s%.255s", text[0] == '\0' ? "" : " ", got_text(g, "BODY"));
        }
    }
    return text;
}

/* ---- Races -------------------------------------------------------------- */

void hold_race(struct person *host, struct person *guest)
{
    start_race(host->lobby, guest->lobby, false);
    ck_assert_uint_eq(frames_of(host->lobby, "+ses", NULL), 1);
    ck_assert_uint_eq(frames_of(guest->lobby, "+ses", NULL), 1);
    raw_forget(host->lobby);
    raw_forget(guest->lobby);
}
