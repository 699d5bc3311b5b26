/* The buddy service (PROTOCOL 9): who gets in, rosters, who is told of whom,
 * messages to those who are there and to those who are not.
 *
 * SPDX-License-Identifier: MIT */
#include "../nascar_server.c"

#include "world.h"
#include "lobby.h"
#include "kept.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))
#define DAY_S 86400
#define ROSTER_SIZE 25 /* PROTOCOL 9 */
#define KEPT_LETTERS 50

static struct world *w;

/* The next of a few static texts, empty; SAYS() does not touch them. */
static char *page(void)
{
    static char pages[8][8192];
    static size_t next;
    next = (next + 1) % 8;
    pages[next][0] = '\0';
    return pages[next];
}

/* ---- People ------------------------------------------------------------- */

/* Somebody, with up to two links. */
struct person {
    char name[16], account[20], ticket[40];
    struct raw *lobby, *buddy;
};

static struct person people[64];
static int person_count;

static void open_world(void)
{
    w = world_new(NULL);
    memset(people, 0, sizeof people);
    person_count = 0;
}

static void reopen(const struct world_options *options)
{
    world_free(w);
    w = world_new(options);
    person_count = 0;
}

static void close_world(void)
{
    world_all_well(w);
    world_free(w);
}

static void no_links(void)
{
    for (int i = 0; i < person_count; i++)
        people[i].lobby = people[i].buddy = NULL;
}

static void restart(void)
{
    kept_restart(w);
    no_links();
}

static long long now_s(void)
{
    return (long long)(w->mono_ms / 1000) + (long long)w->wall_offset_s;
}

/* A fresh lobby link, as far as `auth`. */
static struct raw *authenticated(const char *account)
{
    struct raw *r = raw_open(w, 0);
    (void)snprintf(r->name, sizeof r->name, "%s", account);
    SUCCEEDS(raw_auth(r, account, "secret"));
    return r;
}

/* `pers`, and what a console says next. */
static void put_on(struct person *p)
{
    char payload[64];
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", p->name);
    const struct got *g = raw_ask(p->lobby, "pers", payload);
    SUCCEEDS(g);
    (void)snprintf(p->ticket, sizeof p->ticket, "%.39s", got_raw(g, "LKEY"));
    (void)raw_expect(p->lobby, "+who");
    SUCCEEDS(raw_ask(p->lobby, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1"));
    SUCCEEDS(raw_ask(p->lobby, "sele", "RANKS=50\n"));
    world_settle(w);
    raw_forget(p->lobby);
}

static void enter(struct person *p)
{
    p->lobby = authenticated(p->account);
    (void)snprintf(p->lobby->name, sizeof p->lobby->name, "%s", p->name);
    put_on(p);
}

static const char *auth_tags(const char *user, const char *ticket)
{
    char *text = lobby_text();
    (void)snprintf(text, 4096, "PROD=NASCAR\nVERS=XXX\nPRES=NASCAR2004\nUSER=%s\nLKEY=%s\n", user, ticket);
    return text;
}

/* Opens the buddy link, with the ticket of the last `pers`. */
static void link_up(struct person *p)
{
    char user[64];
    p->buddy = raw_open(w, 0);
    (void)snprintf(p->buddy->name, sizeof p->buddy->name, "%s's buddy link", p->name);
    (void)snprintf(user, sizeof user, "%s/cso/nascar-ps2-2004", p->name);
    SUCCEEDS(raw_ask(p->buddy, "AUTH", auth_tags(user, p->ticket)));
    raw_forget(p->buddy);
}

/* Somebody who exists and is not there. */
static struct person *person(const char *name)
{
    ck_assert_int_lt(person_count, COUNT(people));
    struct person *p = &people[person_count++];
    memset(p, 0, sizeof *p);
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    (void)snprintf(p->account, sizeof p->account, "%s", name);
    raw_close(authenticated(name)); /* a first login makes both */
    return p;
}

/* ... who is in the lobby only. */
static struct person *player_only(const char *name)
{
    struct person *p = person(name);
    enter(p);
    return p;
}

/* ... with both links. */
static struct person *linked(const char *name)
{
    struct person *p = player_only(name);
    link_up(p);
    return p;
}

static void leave_lobby(struct person *p)
{
    raw_close(p->lobby);
    p->lobby = NULL;
}

static void link_down(struct person *p)
{
    raw_close(p->buddy);
    p->buddy = NULL;
}

/* Three more personas for an account, so that many need few accounts. */
static void crowd(const char *prefix, int count)
{
    struct raw *r = NULL;
    for (int i = 0; i < count; i++) {
        char name[16], payload[32];
        (void)snprintf(name, sizeof name, "%s%02d", prefix, i);
        (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
        if (i % 4 == 0)
            r = authenticated(name);
        else
            SUCCEEDS(raw_ask(r, "cper", payload));
        if (i % 4 == 3 || i == count - 1)
            raw_close(r);
    }
}

/* ---- Rosters ------------------------------------------------------------ */

static const struct got *change(struct person *p, const char *kind, const char *list, const char *user)
{
    char payload[256];
    (void)snprintf(payload, sizeof payload, "LRSC=cso\nID=101\nLIST=%s\nPRES=Y\nUSER=%s\nGROUP=\n", list, user);
    return raw_ask(p->buddy, kind, payload);
}

/* Puts somebody on a list of a person who is linked; what follows is forgotten. */
static void put_on_list(struct person *p, const char *list, const char *user)
{
    SUCCEEDS(change(p, "RADD", list, user));
    world_settle(w);
    raw_forget(p->buddy);
}

static void take_off_list(struct person *p, const char *list, const char *user)
{
    SUCCEEDS(change(p, "RDEL", list, user));
    world_settle(w);
    raw_forget(p->buddy);
}

#define GET_B "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n"
#define GET_I "LRSC=cso\nLIST=I\nPRES=Y\nID=2\n"

/* Both rosters in one segment, as the game asks [cap]. */
static void ask_rosters(struct person *p)
{
    raw_forget(p->buddy);
    raw_send(p->buddy, "RGET", GET_B);
    raw_send(p->buddy, "RGET", GET_I);
    world_settle(w);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The names in the ROST of one ID, sorted, with a space between; and that SIZE
 * said so. */
static const char *rows_of(struct raw *r, int id)
{
    char names[64][32], *text = page();
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
    qsort(names, count, sizeof names[0], by_name);
    for (size_t i = 0; i < count; i++)
        (void)snprintf(text + strlen(text), 64, "%s%.31s", i == 0 ? "" : " ", names[i]);
    return text;
}

/* Both rosters as they are now. */
#define HAS(p, buddies, ignored) \
    do { \
        ask_rosters(p); \
        ck_assert_str_eq(rows_of((p)->buddy, 1), buddies); \
        ck_assert_str_eq(rows_of((p)->buddy, 2), ignored); \
    } while (0)

/* ---- Presence ----------------------------------------------------------- */

#define GAME_STAT "\"en%3d%22is playing NASCAR Thunder%25e2%2584%25a2 2004%22%0aP%3dmad4%0a\""
#define GAME_PROD "\"is online\""

/* The whole PGET of Bob, who said what the game says. */
#define SAYS_GAME(g, show) SAYS(g, "SHOW=%s\nUSER=Bob\nPROD=%s\nSTAT=%s", show, GAME_PROD, GAME_STAT)

static void set_presence(struct person *p, const char *show)
{
    char payload[256];
    (void)snprintf(payload, sizeof payload, "SHOW=%s\nSTAT=%s\nPROD=%s\n", show, GAME_STAT, GAME_PROD);
    SUCCEEDS(raw_ask(p->buddy, "PSET", payload));
    world_settle(w);
}

/* All PGET pushes since raw_forget(), in order: "Bob=CHAT Cid=AWAY". */
static const char *sees(struct raw *r)
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

#define SEES(p, text) ck_assert_str_eq(sees((p)->buddy), text)

/* What the last PGET of that player shows; "" if none came. */
static const char *shown(struct raw *r, const char *name)
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

static const struct got *letter(struct person *from, const char *to, const char *body, const char *secs)
{
    char *payload = lobby_text();
    int size = snprintf(payload, 4096, "TYPE=C\nUSER=%s\nBODY=%s\n", to, body);
    if (secs != NULL)
        (void)snprintf(payload + size, 64, "SECS=%s\n", secs);
    return raw_ask(from->buddy, "SEND", payload);
}

static void write_letter(struct person *from, const char *to, const char *body)
{
    const struct got *g = letter(from, to, body, "259200");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "STATUS=1");
}

/* The bodies of all letters since raw_forget(), in order, with a space between. */
static const char *letters(struct raw *r)
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

#define READS(p, text) ck_assert_str_eq(letters((p)->buddy), text)

/* ---- Races -------------------------------------------------------------- */

static void send_word(struct person *from, struct person *to, const char *word)
{
    char payload[128];
    (void)snprintf(payload, sizeof payload, "PRIV=%s\nTEXT=%s\nATTR=3\n", to->name, word);
    say(from->lobby, "mesg", payload);
}

static void ready(struct person *from, struct person *to, int host)
{
    char payload[64];
    (void)snprintf(payload, sizeof payload, "PERS=%s\nHOST=%d\n", to->name, host);
    say(from->lobby, "chal", payload);
}

static void race(struct person *host, struct person *guest)
{
    send_word(host, guest, "w893m_a017l_g");
    send_word(guest, host, "ACPT");
    ready(host, guest, 1);
    ready(guest, host, 0);
    ck_assert_uint_eq(frames_of(host->lobby, "+ses", NULL), 1);
    ck_assert_uint_eq(frames_of(guest->lobby, "+ses", NULL), 1);
    raw_forget(host->lobby);
    raw_forget(guest->lobby);
}

/* ---- The ticket --------------------------------------------------------- */

/* AUTH on a connection of its own: "" or the code, which is then user/101. */
static const char *auth_code(const char *user, const char *ticket)
{
    char *code = lobby_text();
    struct raw *r = raw_open(w, 0);
    const struct got *g = raw_ask(r, "AUTH", auth_tags(user, ticket));
    (void)snprintf(code, 8, "%s", got_code(g));
    if (code[0] != '\0') {
        REFUSED(g, "user", 101);
        ck_assert(!raw_closed(r)); /* for another try */
        REFUSED(raw_ask(r, "RGET", GET_B), "sess", 101);
    }
    raw_close(r);
    return code;
}

START_TEST(a_ticket_opens_the_service_with_or_without_its_dollar)
{
    static const char *const users[] = {"Ann/cso/nascar-ps2-2004", "Ann@cso", "Ann", "aNN/cso", "ANN"};
    struct person *ann = player_only("Ann");
    ck_assert_int_eq(ann->ticket[0], '$');
    ck_assert_uint_eq(strlen(ann->ticket), 17);
    for (int i = 0; i < 2 * COUNT(users); i++) {
        struct raw *r = raw_open(w, 0);
        const struct got *g = raw_ask(r, "AUTH", auth_tags(users[i / 2], ann->ticket + i % 2));
        ck_assert_str_eq(got_code(g), "");
        SAYS(g, "NAME=Ann\nSTATUS=1");
        GOT(r, "AUTH");
        raw_close(r);
    }
}
END_TEST

START_TEST(no_other_ticket_opens_it)
{
    struct person *ann = player_only("Ann"), *bob = player_only("Bob");
    char wrong[64], *filler = lobby_text();
    (void)person("Cid"); /* has no ticket */
    for (size_t i = 1; i < 17; i++) {
        (void)snprintf(wrong, sizeof wrong, "%s", ann->ticket);
        wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
        ck_assert_str_eq(auth_code("Ann", wrong), "user");
        (void)snprintf(wrong, sizeof wrong, "%.*s", (int)i, ann->ticket);
        ck_assert_str_eq(auth_code("Ann", wrong), "user");
    }
    (void)snprintf(wrong, sizeof wrong, "$%s", ann->ticket);
    ck_assert_str_eq(auth_code("Ann", wrong), "user");
    (void)snprintf(wrong, sizeof wrong, "%s0", ann->ticket);
    ck_assert_str_eq(auth_code("Ann", wrong), "user");
    (void)snprintf(wrong, sizeof wrong, "%s%s", ann->ticket, ann->ticket + 1);
    ck_assert_str_eq(auth_code("Ann", wrong), "user");
    memset(filler, 'a', 1500);
    filler[1500] = '\0';
    ck_assert_str_eq(auth_code("Ann", filler), "user");
    ck_assert_str_eq(auth_code(filler, ann->ticket), "user");
    ck_assert_str_eq(auth_code("Ann", "$0000000000000000"), "user");
    ck_assert_str_eq(auth_code("Ann", ""), "user");
    ck_assert_str_eq(auth_code("Bob", ann->ticket), "user");
    ck_assert_str_eq(auth_code("Ann", bob->ticket), "user");
    ck_assert_str_eq(auth_code("Cid", ann->ticket), "user");
    ck_assert_str_eq(auth_code("Cid", "$0000000000000000"), "user");
    ck_assert_str_eq(auth_code("Cid", ""), "user");
    ck_assert_str_eq(auth_code("Nobody", ann->ticket), "user");
    ck_assert_str_eq(auth_code("", ann->ticket), "user");
    ck_assert_str_eq(auth_code("/cso", ann->ticket), "user");
    ck_assert_str_eq(auth_code("Ann", ann->ticket), "");
}
END_TEST

START_TEST(a_refused_link_may_try_again)
{
    static const char *const tries[] = {"", "USER=Ann\n", "LKEY=$0123456789abcdef\n", "USER=\nLKEY=\n",
                                        "USER=Ann/cso\nLKEY=$0123456789abcdef\n"};
    struct person *ann = player_only("Ann");
    struct raw *r = raw_open(w, 0);
    for (int i = 0; i < COUNT(tries); i++) {
        const struct got *g = raw_ask(r, "AUTH", tries[i]);
        ck_assert_uint_ne(g->code, 0);
        ck_assert_int_ne(got_status(g), 1);
        REFUSED(raw_ask(r, "PSET", "SHOW=CHAT\n"), "sess", 101);
    }
    SUCCEEDS(raw_ask(r, "AUTH", auth_tags("Ann", ann->ticket)));
    SUCCEEDS(raw_ask(r, "RGET", GET_B));
}
END_TEST

START_TEST(a_ticket_lives_12_hours_across_restarts)
{
    struct person *ann = player_only("Ann"), *bob = player_only("Bob");
    if (_i % 2 == 1)
        restart();
    else
        leave_lobby(ann); /* the lobby link's end does not end it */
    ck_assert_str_eq(auth_code("Ann", ann->ticket), "");
    w->wall_offset_s += DAY_S / 2 - 10;
    if (_i >= 2)
        restart();
    ck_assert_str_eq(auth_code("Ann", ann->ticket), "");
    ck_assert_str_eq(auth_code("Bob", bob->ticket), "");
    ck_assert_str_eq(auth_code("Bob", ann->ticket), "user");
    w->wall_offset_s += 20;
    if (_i >= 2)
        restart();
    ck_assert_str_eq(auth_code("Ann", ann->ticket), "user");
    ck_assert_str_eq(auth_code("Bob", bob->ticket), "user");
    if (ann->lobby == NULL)
        enter(ann);
    ck_assert_str_eq(auth_code("Ann", ann->ticket), "");
}
END_TEST

START_TEST(a_ticket_lives_until_the_next_pers_of_that_persona)
{
    struct person *ann = player_only("Ann"), ace = *ann;
    char old[40];
    SUCCEEDS(raw_ask(ann->lobby, "cper", "PERS=Ace\n"));
    strcpy(ace.name, "Ace");
    put_on(&ace); /* another one of the account */
    ck_assert_str_eq(auth_code("Ann", ann->ticket), "");
    ck_assert_str_eq(auth_code("Ace", ace.ticket), "");
    ck_assert_str_eq(auth_code("Ann", ace.ticket), "user");
    strcpy(old, ann->ticket);
    put_on(ann);
    for (int i = 0; i < 2; i++) {
        ck_assert_str_eq(auth_code("Ann", old), "user");
        ck_assert_str_eq(auth_code("Ann", ann->ticket), "");
        ck_assert_str_eq(auth_code("Ace", ace.ticket), "");
        restart();
    }
}
END_TEST

START_TEST(a_link_that_stands_outlives_its_ticket)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    w->wall_offset_s += DAY_S;
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY");
    raw_forget(ann->buddy);
    put_on(ann); /* nor does a new one end it */
    ck_assert(!raw_closed(ann->buddy));
    set_presence(bob, "XA");
    SEES(ann, "Bob=XA");
}
END_TEST

START_TEST(a_ticket_is_written_nowhere)
{
    struct person *ann = linked("Ann");
    ck_assert_uint_ge(kept_count(w, "tick", "Ann"), 1);
    for (size_t i = 0; i < w->record_count; i++) {
        const struct world_record *record = &w->records[i];
        for (uint32_t at = 0; at + 16 <= record->size; at++)
            ck_assert_int_ne(memcmp(record->bytes + at, ann->ticket + 1, 16), 0);
    }
    ck_assert(!world_logged(w, ann->ticket + 1));
}
END_TEST

START_TEST(pers_waits_until_its_ticket_is_kept)
{
    struct person *ann = person("Ann"), *bob = linked("Bob");
    put_on_list(bob, "B", "Ann");
    ann->lobby = authenticated("Ann");
    raw_forget(ann->lobby);
    w->hold_records = true;
    say(ann->lobby, "pers", "PERS=Ann\n");
    GOT(ann->lobby, "");
    SEES(bob, "");
    w->hold_records = false;
    world_settle(w);
    const struct got *g = raw_expect(ann->lobby, "pers");
    SUCCEEDS(g);
    ck_assert_str_eq(auth_code("Ann", got_raw(g, "LKEY")), "");
    SEES(bob, "Ann=CHAT");
}
END_TEST

START_TEST(who_hangs_up_while_its_ticket_is_written_is_not_there)
{
    struct person *ann = person("Ann"), *bob = linked("Bob");
    put_on_list(bob, "B", "Ann");
    ann->lobby = authenticated("Ann");
    w->hold_records = true;
    say(ann->lobby, "pers", "PERS=Ann\n");
    leave_lobby(ann);
    world_release_records(w, _i == 0);
    w->hold_records = false;
    world_run(w, 5000);
    ck_assert_str_ne(shown(bob->buddy, "Ann"), "CHAT");
    SAYS(raw_ask(bob->buddy, "PGET", "USER=Ann\n"), "SHOW=DISC\nUSER=Ann\nPROD=\nSTAT=");
    enter(ann);
    ck_assert_str_eq(shown(bob->buddy, "Ann"), "CHAT");
}
END_TEST

START_TEST(with_no_disk_players_come_in_all_the_same)
{
    struct person *ann = person("Ann"), *bob = linked("Bob");
    char old[40];
    put_on_list(bob, "B", "Ann");
    enter(ann);
    strcpy(old, ann->ticket);
    raw_forget(bob->buddy);
    w->fail_records = true;
    enter(ann);
    link_up(ann); /* its ticket is good as long as the server runs */
    ck_assert_str_eq(auth_code("Ann", old), "user");
    ck_assert_str_eq(shown(bob->buddy, "Ann"), "CHAT");
    w->wall_offset_s += DAY_S / 2 + 5;
    ck_assert_str_eq(auth_code("Ann", ann->ticket), "user");
    w->fail_records = false;
    put_on(ann);
    restart();
    link_up(ann);
}
END_TEST

START_TEST(a_second_link_takes_the_place_of_the_first)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    struct raw *first = ann->buddy;
    link_up(ann);
    world_settle(w);
    ck_assert(raw_closed(first));
    ck_assert(!raw_closed(ann->buddy));
    raw_forget(ann->buddy);
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY");
    write_letter(bob, "Ann", "hello");
    READS(ann, "hello");
    HAS(ann, "Bob", "");
}
END_TEST

START_TEST(each_service_has_its_own_commands)
{
    static const struct {
        const char *kind, *payload;
    } buddy[] =
        {
            {"PSET", "SHOW=CHAT\n"},
            {"RGET", GET_B},
            {"RADD", "ID=101\nLIST=B\nUSER=Bob\n"},
            {"RDEL", "ID=101\nLIST=B\nUSER=Bob\n"},
            {"PADD", "USER=Bob\n"},
            {"PDEL", "USER=Bob\n"},
            {"PGET", "USER=Bob\n"},
            {"SEND", "TYPE=C\nUSER=Bob\nBODY=x\nSECS=60\n"},
            {"USCH", "USER=Bo\n"},
        },
      lobby[] = {
          {"mesg", "TEXT=x\n"},
          {"move", "NAME=East\n"},
          {"user", "PERS=Bob\n"},
          {"pers", "PERS=Ann\n"},
          {"rank", "AUTH=x\nFINISPOS0=1\nFINISPOS1=2\n"},
          {"snap", "INDEX=0\n"},
          {"rept", "PERS=Bob\n"},
          {"onln", "PERS=Bob\n"},
          {"sele", "ROOMS=1\n"},
      };
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    struct raw *fresh = raw_open(w, 0), *refused = raw_open(w, 0);
    REFUSED(raw_ask(refused, "AUTH", auth_tags("Ann", "$0")), "user", 101);
    for (int i = 0; i < COUNT(buddy); i++) {
        if (strcmp(buddy[i].kind, "PING") != 0) {
            REFUSED(raw_ask(ann->lobby, buddy[i].kind, buddy[i].payload), "sess", 101);
            REFUSED(raw_ask(refused, buddy[i].kind, buddy[i].payload), "sess", 101);
        }
    }
    REFUSED(raw_ask(fresh, "SEND", "USER=Bob\nBODY=x\n"), "sess", 101);
    for (int i = 0; i < COUNT(lobby); i++)
        REFUSED(raw_ask(ann->buddy, lobby[i].kind, lobby[i].payload), "sess", 101);
    ck_assert(!raw_closed(ann->buddy) && !raw_closed(ann->lobby));
    GOT(bob->buddy, "");
    HAS(ann, "", "");
}
END_TEST

/* ---- Rosters ------------------------------------------------------------ */

START_TEST(an_empty_roster_ends_with_size_0)
{
    struct person *ann = linked("Ann");
    ask_rosters(ann);
    GOT(ann->buddy, "RGET RGET");
    SAYS(frame_at(ann->buddy, 0), "ID=1\nSIZE=0\nSTATUS=1");
    SAYS(frame_at(ann->buddy, 1), "ID=2\nSIZE=0\nSTATUS=1");
}
END_TEST

/* Six on one list, two on the other; Bob, Cid and Dan are online, one of them
 * in a race, one with no buddy link; and a letter waits. */
static struct person *busy_roster(void)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = player_only("Cid");
    struct person *dan = linked("Dan"), *eve = linked("Eve");
    (void)person("Fay");
    (void)person("Gil");
    crowd("X", 2);
    static const char *const buddies[] = {"Bob", "Cid", "Dan", "Fay", "X00", "X01"};
    for (int i = 0; i < COUNT(buddies); i++)
        put_on_list(ann, "B", buddies[i]);
    put_on_list(ann, "I", "Gil");
    put_on_list(ann, "I", "Eve"); /* who is online, and nobody's business */
    set_presence(bob, "AWAY");
    race(cid, dan);
    link_down(ann);
    write_letter(bob, "Ann", "first");
    write_letter(dan, "Ann", "second");
    ck_assert_ptr_nonnull(eve);
    link_up(ann);
    return ann;
}

static void check_busy_roster(struct person *ann, bool one_segment)
{
    struct raw *r = ann->buddy;
    ck_assert_str_eq(rows_of(r, 1), "Bob Cid Dan Fay X00 X01");
    ck_assert_str_eq(rows_of(r, 2), "Eve Gil");
    ck_assert_str_eq(shown(r, "Bob"), "AWAY");
    ck_assert_str_eq(shown(r, "Cid"), "PASS");
    ck_assert_str_eq(shown(r, "Dan"), "PASS");
    ck_assert_uint_eq(frames_of(r, "PGET", NULL), 3); /* those who are online only */
    READS(ann, "first second");
    bool second = false, other = false;
    for (size_t i = 0; i < r->count; i++) {
        const struct got *g = r->frames[i];
        if (strcmp(g->kind, "ROST") == 0) {
            second = second || got_number(g, "ID") == 2;
            ck_assert(!second || got_number(g, "ID") == 2); /* ID=1's first */
        }
        bool pushed = strcmp(g->kind, "PGET") == 0 || strcmp(g->kind, "RECV") == 0;
        other = other || pushed;
        ck_assert(!one_segment || !other || pushed); /* after all of the rest */
    }
}

START_TEST(both_rosters_then_who_is_online_then_the_letters)
{
    static const enum world_split splits[] = {WORLD_WHOLE, WORLD_BYTES, WORLD_RANDOM};
    struct world_options options = {.split = splits[_i], .seed = 77};
    reopen(&options);
    struct person *ann = busy_roster();
    ask_rosters(ann);
    check_busy_roster(ann, _i == 0);
    ask_rosters(ann); /* again: the same, but the letters came once */
    ck_assert_str_eq(rows_of(ann->buddy, 1), "Bob Cid Dan Fay X00 X01");
    ck_assert_uint_eq(frames_of(ann->buddy, "PGET", NULL), 3);
    READS(ann, "");
}
END_TEST

START_TEST(the_ignore_list_brings_nobodys_presence)
{
    struct person *ann = busy_roster();
    raw_forget(ann->buddy);
    say(ann->buddy, "RGET", GET_I);
    ck_assert_str_eq(rows_of(ann->buddy, 2), "Eve Gil");
    SEES(ann, "");
}
END_TEST

START_TEST(rows_come_whole_however_slowly_they_are_read)
{
    struct person *ann = busy_roster();
    raw_window(ann->buddy, 0);
    ask_rosters(ann);
    GOT(ann->buddy, "");
    for (int i = 0; i < 200; i++)
        raw_window(ann->buddy, 7);
    raw_window(ann->buddy, SIZE_MAX);
    check_busy_roster(ann, true);
}
END_TEST

START_TEST(many_rosters_in_one_segment_come_all)
{
    struct person *ann = linked("Ann");
    char name[16], payload[64], all[512] = "";
    crowd("Longname__", ROSTER_SIZE); /* names of twelve letters */
    for (int i = 0; i < ROSTER_SIZE; i++) {
        (void)snprintf(name, sizeof name, "Longname__%02d", i);
        (void)snprintf(all + strlen(all), 20, "%s%s", i == 0 ? "" : " ", name);
        put_on_list(ann, "B", name);
    }
    for (int id = 1; id <= 40; id++) {
        (void)snprintf(payload, sizeof payload, "LRSC=cso\nLIST=B\nPRES=Y\nID=%d\n", id);
        raw_send(ann->buddy, "RGET", payload);
    }
    for (int id = 1; id <= 40; id++)
        ck_assert_str_eq(rows_of(ann->buddy, id), all);
    ck_assert_uint_eq(ann->buddy->count, 40 * (1 + ROSTER_SIZE));
}
END_TEST

START_TEST(who_is_added_is_named_as_first_written)
{
    static const char *const users[] = {"bigBOB", "BIGBOB/cso/nascar-ps2-2004", "BigBob@cso", "bigbob"};
    static const int32_t ids[] = {101, 1, 2147483647, 7};
    struct person *ann = linked("Ann");
    struct person *bob = _i < 2 ? person("BigBob") : linked("BigBob");
    const char *list = _i % 2 == 0 ? "B" : "I";
    char payload[128];
    for (int i = 0; i < COUNT(users); i++) {
        raw_forget(ann->buddy);
        (void)snprintf(payload, sizeof payload, "LRSC=cso\nID=%ld\nLIST=%s\nPRES=Y\nUSER=%s\nGROUP=\n", (long)ids[i],
                       list, users[i]);
        say(ann->buddy, "RADD", payload);
        GOT(ann->buddy, _i % 2 == 0 ? "RADD PGET" : "RADD");
        ck_assert_str_eq(got_code(frame_at(ann->buddy, 0)), "");
        SAYS(frame_at(ann->buddy, 0), "ID=%ld\nFUSR=BigBob\nSTATUS=1", (long)ids[i]);
        if (_i % 2 == 0)
            SEES(ann, _i == 0 ? "BigBob=DISC" : "BigBob=CHAT");
        HAS(ann, _i % 2 == 0 ? "BigBob" : "", _i % 2 == 0 ? "" : "BigBob"); /* once */
    }
    for (int i = 0; i < 2; i++) { /* and again, when it is gone already */
        raw_forget(ann->buddy);
        (void)snprintf(payload, sizeof payload, "ID=%d\nUSER=bIGbOB\nLIST=%s\n", 55 + i, list);
        say(ann->buddy, "RDEL", payload);
        GOT(ann->buddy, "RDEL");
        ck_assert_str_eq(got_code(frame_at(ann->buddy, 0)), "");
        SAYS(frame_at(ann->buddy, 0), "ID=%d\nSTATUS=1", 55 + i);
        HAS(ann, "", "");
    }
    ck_assert_ptr_nonnull(bob);
}
END_TEST

START_TEST(a_bad_roster_change_is_refused_with_its_id)
{
    static const struct {
        const char *tags, *code;
        int32_t status;
    } bad[] = {
        {"LIST=B\nUSER=Nobody\n", "user", 102},
        {"LIST=I\nUSER=Nobody/cso\n", "user", 102},
        {"LIST=B\nUSER=Ann\n", "user", 102},
        {"LIST=I\nUSER=ANN/cso\n", "user", 102},
        {"LIST=B\nUSER=\n", "user", 102},
        {"LIST=B\nUSER=/cso\n", "user", 102},
        {"LIST=B\nUSER=a.b\n", "user", 102},
        {"LIST=B\nUSER=\"Bob \"\n", "user", 102},
        {"LIST=B\nUSER=Bob,Cid\n", "user", 102},
        {"LIST=B\nUSER=%00Bob\n", "user", 102},
        {"LIST=B\nUSER=East\n", "user", 102},
        {"LIST=B\nUSER=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "user", 102},
        {"LIST=X\nUSER=Bob\n", "miss", 0},
        {"LIST=\nUSER=Bob\n", "miss", 0},
        {"LIST=b\nUSER=Bob\n", "miss", 0},
        {"LIST=BB\nUSER=Bob\n", "miss", 0},
        {"USER=Bob\n", "miss", 0},
    };
    struct person *ann = linked("Ann");
    (void)person("Bob");
    size_t before = w->record_count;
    for (int i = 0; i < COUNT(bad); i++) {
        char payload[256];
        (void)snprintf(payload, sizeof payload, "ID=%d\n%s", 4711 + i, bad[i].tags);
        raw_forget(ann->buddy);
        say(ann->buddy, "RADD", payload);
        GOT(ann->buddy, "RADD");
        REFUSED(frame_at(ann->buddy, 0), bad[i].code, bad[i].status);
        ck_assert_int_eq(got_number(frame_at(ann->buddy, 0), "ID"), 4711 + i);
        ck_assert(!got_has(frame_at(ann->buddy, 0), "FUSR"));
        raw_forget(ann->buddy);
        say(ann->buddy, "RDEL", payload); /* whoever is not on it is off it */
        GOT(ann->buddy, "RDEL");
        ck_assert_int_eq(got_number(frame_at(ann->buddy, 0), "ID"), 4711 + i);
        if (strcmp(bad[i].code, "miss") == 0)
            REFUSED(frame_at(ann->buddy, 0), "miss", 0);
    }
    HAS(ann, "", "");
    ck_assert_uint_eq(w->record_count, before);
}
END_TEST

START_TEST(a_bad_request_for_a_roster_is_refused)
{
    static const char *const bad[] = {
        "", "ID=1\n", "LIST=\nID=1\n", "LIST=X\nID=1\n", "LIST=BI\nID=1\n", "LRSC=cso\nPRES=Y\n"};
    struct person *ann = linked("Ann");
    for (int i = 0; i < COUNT(bad); i++) {
        raw_forget(ann->buddy);
        say(ann->buddy, "RGET", bad[i]);
        GOT(ann->buddy, "RGET");
        REFUSED(frame_at(ann->buddy, 0), "miss", 0);
    }
    HAS(ann, "", "");
}
END_TEST

START_TEST(a_roster_holds_25)
{
    struct person *ann = linked("Ann");
    char name[16];
    crowd("Racer", ROSTER_SIZE + 2);
    for (int i = 0; i < ROSTER_SIZE; i++) {
        (void)snprintf(name, sizeof name, "Racer%02d", i);
        put_on_list(ann, i % 5 == 4 ? "I" : "B", name); /* both lists together */
    }
    for (int i = 0; i < 2; i++) {
        const struct got *g = change(ann, "RADD", i == 0 ? "B" : "I", "Racer25");
        REFUSED(g, "full", 0);
        ck_assert_int_eq(got_number(g, "ID"), 101);
    }
    ask_rosters(ann);
    ck_assert_uint_eq(frames_of(ann->buddy, "ROST", NULL), ROSTER_SIZE);
    ck_assert_ptr_null(strstr(rows_of(ann->buddy, 1), "Racer25"));
    put_on_list(ann, "I", "Racer00"); /* who is on it already can be blocked */
    take_off_list(ann, "B", "Racer03");
    put_on_list(ann, "B", "Racer25");
    REFUSED(change(ann, "RADD", "B", "Racer26"), "full", 0);
    restart();
    link_up(ann);
    ask_rosters(ann);
    ck_assert_uint_eq(frames_of(ann->buddy, "ROST", NULL), ROSTER_SIZE + 1); /* one on both */
    REFUSED(change(ann, "RADD", "B", "Racer26"), "full", 0);
}
END_TEST

START_TEST(to_block_is_both_lists_with_one_id)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    if (_i == 1)
        put_on_list(ann, "B", "Bob");
    raw_send(ann->buddy, "RADD", "LRSC=cso\nID=101\nLIST=B\nPRES=Y\nUSER=Bob\nGROUP=\n");
    raw_send(ann->buddy, "RADD", "LRSC=cso\nID=101\nLIST=I\nPRES=Y\nUSER=Bob\nGROUP=\n");
    world_settle(w);
    ck_assert_uint_eq(frames_of(ann->buddy, "RADD", NULL), 2);
    for (size_t i = 0; i < ann->buddy->count; i++) {
        const struct got *g = frame_at(ann->buddy, i);
        if (strcmp(g->kind, "RADD") == 0)
            SAYS(g, "ID=101\nFUSR=Bob\nSTATUS=1");
    }
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "CHAT");
    for (int i = 0; i < 2; i++) {
        HAS(ann, "Bob", "Bob");
        write_letter(bob, "Ann", "psst");
        READS(ann, "");
        if (i == 0) {
            restart();
            enter(ann);
            enter(bob);
            link_up(ann);
            link_up(bob);
        }
    }
    take_off_list(ann, "I", "Bob"); /* and unblocked */
    HAS(ann, "Bob", "");
    write_letter(bob, "Ann", "hello");
    READS(ann, "hello");
    put_on_list(ann, "I", "Bob");
    take_off_list(ann, "B", "Bob"); /* blocked, and no friend */
    HAS(ann, "", "Bob");
    set_presence(bob, "AWAY");
    SEES(ann, "");
    write_letter(bob, "Ann", "psst");
    READS(ann, "");
}
END_TEST

START_TEST(a_roster_is_kept)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    (void)person("Cid");
    (void)person("Dan");
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Cid");
    put_on_list(ann, "I", "Dan");
    put_on_list(ann, "I", "Cid");
    put_on_list(ann, "B", "Dan");
    take_off_list(ann, "B", "Dan");
    put_on_list(bob, "B", "Ann");
    for (int i = 0; i < 2; i++) {
        restart();
        link_up(ann); /* with the old ticket */
        link_up(bob);
        HAS(ann, "Bob Cid", "Cid Dan");
        SEES(ann, ""); /* nobody plays */
        HAS(bob, "Ann", "");
    }
}
END_TEST

START_TEST(a_change_is_answered_when_it_is_kept)
{
    struct person *ann = linked("Ann");
    (void)person("Bob");
    w->hold_records = true;
    raw_send(ann->buddy, "RADD", "ID=101\nLIST=B\nUSER=Bob\n");
    raw_send(ann->buddy, "RGET", GET_B); /* waits behind it */
    world_settle(w);
    GOT(ann->buddy, "");
    world_release_records(w, _i == 0);
    w->hold_records = false;
    world_settle(w);
    const struct got *g = frame_at(ann->buddy, 0);
    ck_assert_str_eq(g->kind, "RADD");
    ck_assert_int_eq(got_number(g, "ID"), 101);
    if (_i == 0) {
        SUCCEEDS(g);
    } else {
        ck_assert_uint_ne(g->code, 0);
        ck_assert_int_ne(got_status(g), 1);
    }
    ck_assert_str_eq(rows_of(ann->buddy, 1), _i == 0 ? "Bob" : "");
}
END_TEST

START_TEST(a_change_that_is_not_kept_has_not_happened)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    (void)person("Cid");
    put_on_list(ann, "B", "Bob");
    raw_forget(ann->buddy);
    w->fail_records = true;
    const struct got *tries[] = {change(ann, "RADD", "B", "Cid"), change(ann, "RADD", "I", "Bob"),
                                 change(ann, "RDEL", "B", "Bob")};
    w->fail_records = false;
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_ne(tries[i]->code, 0);
        ck_assert_int_ne(got_status(tries[i]), 1);
        ck_assert_int_eq(got_number(tries[i], "ID"), 101);
    }
    GOT(ann->buddy, "RADD RADD RDEL"); /* no presence of who is not on it */
    HAS(ann, "Bob", "");
    set_presence(bob, "AWAY"); /* still told of him */
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "AWAY");
    write_letter(bob, "Ann", "hello");
    READS(ann, "hello");
    put_on_list(ann, "B", "Cid");
    restart();
    link_up(ann);
    HAS(ann, "Bob Cid", "");
}
END_TEST

START_TEST(a_full_table_of_rosters_refuses)
{
    struct world_options options = {.limits = {16, 64, 8, 16, 2, 16}};
    reopen(&options);
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    put_on_list(bob, "B", "Ann");
    (void)person("Cid");
    REFUSED(change(ann, "RADD", "B", "Cid"), "full", 0);
    HAS(ann, "Bob", "");
    take_off_list(bob, "B", "Ann");
    put_on_list(ann, "B", "Cid");
    HAS(ann, "Bob Cid", "");
}
END_TEST

/* ---- Presence ----------------------------------------------------------- */

START_TEST(pset_is_relayed_to_everyone_who_lists_the_player)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid"), *dan = linked("Dan");
    struct person *eve = linked("Eve");
    put_on_list(ann, "B", "Bob");
    put_on_list(dan, "B", "Bob");
    put_on_list(cid, "I", "Bob"); /* ignores him */
    put_on_list(bob, "B", "Eve"); /* is listed, and does not list */
    forget_all(w);
    say(bob->buddy, "PSET", "SHOW=AWAY\nSTAT=" GAME_STAT "\nPROD=" GAME_PROD "\n");
    GOT(bob->buddy, "PSET");
    ck_assert_str_eq(got_code(frame_at(bob->buddy, 0)), "");
    SAYS(frame_at(bob->buddy, 0), "STATUS=1");
    GOT(ann->buddy, "PGET");
    GOT(dan->buddy, "PGET");
    SAYS_GAME(frame_at(ann->buddy, 0), "AWAY");
    SAYS_GAME(frame_at(dan->buddy, 0), "AWAY");
    ck_assert_str_eq(got_text(frame_at(ann->buddy, 0), "STAT"),
                     "en=\"is playing NASCAR Thunder%e2%84%a2 2004\"\nP=mad4\n");
    GOT(cid->buddy, "");
    GOT(eve->buddy, "");
    GOT(ann->lobby, "");
}
END_TEST

START_TEST(each_presence_is_shown_as_it_was_set)
{
    static const char *const shows[] = {"AWAY", "CHAT", "XA", "DND", "PASS", "CHAT"};
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    for (int i = 0; i < COUNT(shows); i++) {
        raw_forget(ann->buddy);
        set_presence(bob, shows[i]);
        GOT(ann->buddy, "PGET");
        SAYS_GAME(frame_at(ann->buddy, 0), shows[i]);
        ask_rosters(ann); /* and to who asks later */
        GOT(ann->buddy, "RGET ROST RGET PGET");
        SAYS_GAME(frame_at(ann->buddy, 3), shows[i]);
    }
}
END_TEST

START_TEST(who_sets_disc_seems_to_be_gone)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    set_presence(bob, "DISC");
    SEES(ann, "Bob=DISC");
    HAS(ann, "Bob", "");
    SEES(ann, "");
    write_letter(ann, "Bob", "hello"); /* its link is there all the same */
    READS(bob, "hello");
    raw_forget(ann->buddy);
    set_presence(bob, "CHAT");
    SEES(ann, "Bob=CHAT");
}
END_TEST

START_TEST(a_bad_presence_changes_nothing)
{
    static const char *const bad[] = {
        "SHOW=FOO\n",  "SHOW=CHATTER\n", "SHOW=\"A=B\"\n", "SHOW=CHAT AWAY\n", "SHOW=CHAT AWAY XA DND\n",
        "SHOW=chat\n", "SHOW=C\n",       "SHOW=0\n",       "SHOW=\" \"\n"};
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    set_presence(bob, "AWAY");
    raw_forget(ann->buddy);
    for (int i = 0; i < COUNT(bad); i++) {
        REFUSED(raw_ask(bob->buddy, "PSET", bad[i]), "miss", 0);
        SEES(ann, "");
    }
    HAS(ann, "Bob", "");
    SEES(ann, "Bob=AWAY");
}
END_TEST

START_TEST(who_says_nothing_of_itself_may_chat)
{
    static const char *const silent[] = {"", "SHOW=\n", "STAT=x\nPROD=y\n"};
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    set_presence(bob, "AWAY");
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->buddy, "PSET", silent[_i]));
    GOT(ann->buddy, "PGET");
    SAYS(frame_at(ann->buddy, 0), "SHOW=CHAT\nUSER=Bob\nPROD=%s\nSTAT=%s", _i == 2 ? "y" : "", _i == 2 ? "x" : "");
}
END_TEST

START_TEST(free_text_in_a_presence_forges_no_tag)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    char payload[2000] = "SHOW=DND\nSTAT=\"SHOW%3dDISC%0aUSER%3aCid USER%3dCid SHOW:PASS\"\nPROD=";
    put_on_list(ann, "B", "Bob");
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->buddy, "PSET", payload));
    GOT(ann->buddy, "PGET");
    SEES(ann, "Bob=DND");
    ck_assert_str_eq(got_text(frame_at(ann->buddy, 0), "STAT"), "SHOW=DISC\nUSER:Cid USER=Cid SHOW:PASS");
    for (size_t i = strlen(payload); i + 4 < sizeof payload - 60; i += 3) /* and as long as a frame can be */
        memcpy(payload + i, "%3d", 4);
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->buddy, "PSET", payload));
    SEES(ann, "Bob=DND"); /* cut maybe, and whole */
}
END_TEST

START_TEST(presence_follows_the_lobby)
{
    struct person *ann = linked("Ann"), *bob = person("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    enter(bob);
    SEES(ann, "Bob=CHAT"); /* without a buddy link */
    raw_forget(ann->buddy);
    link_up(bob);
    world_settle(w);
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "DISC");
    raw_forget(ann->buddy);
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY");
    raw_forget(ann->buddy);
    go(bob->lobby, "East");
    send_word(cid, bob, "w893m_a017l_g");
    send_word(bob, cid, "ACPT");
    SEES(ann, ""); /* busy is not racing */
    ready(cid, bob, 1);
    ready(bob, cid, 0);
    SEES(ann, "Bob=PASS");
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->lobby, "chal", "PERS=*\n"));
    SEES(ann, "Bob=AWAY"); /* as it had said */
    raw_forget(ann->buddy);
    leave_lobby(bob);
    world_run(w, 5000);
    SEES(ann, "Bob=DISC");
    ck_assert(!raw_closed(bob->buddy));
    raw_forget(ann->buddy);
    ask_rosters(ann);
    SEES(ann, ""); /* a buddy link alone is not being there */
    enter(bob);
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "");
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "DISC");
}
END_TEST

START_TEST(racing_ends_as_a_race_ends)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Cid");
    race(bob, cid);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "PASS");
    ck_assert_str_eq(shown(ann->buddy, "Cid"), "PASS");
    ck_assert_uint_eq(frames_of(ann->buddy, "PGET", NULL), 2);
    raw_forget(ann->buddy);
    world_run(w, 40000);
    SEES(ann, "");
    switch (_i) {
    case 0: SUCCEEDS(raw_ask(bob->lobby, "chal", "PERS=*\n")); break;
    case 1: go(bob->lobby, "West"); break;
    case 2: put_on(bob); break;
    case 3: SUCCEEDS(raw_ask(bob->lobby, "room", "NAME=C.Bob\nPASS=\nDESC=None\nMAX=50\n")); break;
    default:
        send_word(bob, ann, "w893m_a017l_g"); /* a new challenge, 30 s later */
        break;
    }
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "CHAT");
    ck_assert_str_eq(shown(ann->buddy, "Cid"), "");
}
END_TEST

START_TEST(the_end_of_the_lobby_is_told_within_5_s)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    switch (_i) {
    case 0: /* it hangs up */ leave_lobby(bob); break;
    case 1: /* it falls silent */
        bob->lobby->keeps_pings = true;
        while (!raw_closed(bob->lobby)) {
            ck_assert_uint_lt(w->mono_ms, 100000);
            world_run(w, 1000);
        }
        break;
    case 2: /* it breaks the protocol */
        raw_send_bytes(bob->lobby, "mesg\0\0\0\0\0\0\0\1", 12);
        world_settle(w);
        ck_assert(raw_closed(bob->lobby));
        break;
    default: /* its buddy link goes first */
        link_down(bob);
        SEES(ann, ""); /* which is nothing */
        leave_lobby(bob);
        break;
    }
    world_run(w, 5000);
    SEES(ann, "Bob=DISC");
}
END_TEST

START_TEST(a_race_that_has_just_begun_may_end_the_lobby_link)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Cid");
    race(bob, cid);
    if (_i == 1)
        world_run(w, 25000); /* still just */
    leave_lobby(bob);
    leave_lobby(cid);
    world_run(w, 5000);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "PASS");
    ck_assert_str_eq(shown(ann->buddy, "Cid"), "PASS");
    ck_assert_ptr_null(strstr(sees(ann->buddy), "DISC")); /* not for a moment */
    raw_forget(ann->buddy);
    for (int i = 0; i < 20; i++) { /* a race of 20 minutes */
        world_run(w, 60000);
        SEES(ann, "");
    }
    HAS(ann, "Bob Cid", "");
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "PASS");
    ck_assert_str_eq(shown(ann->buddy, "Cid"), "PASS");
    raw_forget(ann->buddy);
    link_down(cid); /* that one's console is gone */
    world_run(w, 5000);
    SEES(ann, "Cid=DISC");
    raw_forget(ann->buddy);
    enter(bob); /* and this one is back */
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "CHAT");
    raw_forget(ann->buddy);
    leave_lobby(bob);
    world_run(w, 5000);
    SEES(ann, "Bob=DISC");
}
END_TEST

START_TEST(a_new_buddy_link_keeps_who_races)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    race(bob, cid);
    leave_lobby(bob);
    world_run(w, 5000);
    struct raw *first = bob->buddy;
    link_up(bob); /* it stands already, and this one takes its place */
    world_run(w, 5000);
    ck_assert(raw_closed(first));
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "PASS");
    raw_forget(ann->buddy);
    link_down(bob);
    world_run(w, 5000);
    SEES(ann, "Bob=DISC");
    raw_forget(ann->buddy);
    link_up(bob); /* the race is over for who has been away altogether */
    world_run(w, 5000);
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "PASS");
}
END_TEST

START_TEST(a_lobby_link_that_ends_otherwise_ends_presence)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    switch (_i) {
    case 0: /* the race began long ago */
        race(bob, cid);
        world_run(w, 31000);
        break;
    case 1: /* it is back from its race */
        race(bob, cid);
        SUCCEEDS(raw_ask(bob->lobby, "chal", "PERS=*\n"));
        break;
    case 2: /* it has no buddy link */
        race(bob, cid);
        link_down(bob);
        break;
    default: /* it never began */
        send_word(bob, cid, "w893m_a017l_g");
        send_word(cid, bob, "ACPT");
        break;
    }
    world_settle(w);
    raw_forget(ann->buddy);
    leave_lobby(bob);
    world_run(w, 5000);
    SEES(ann, "Bob=DISC");
}
END_TEST

START_TEST(another_persona_is_somebody_else)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob"), ace = *bob;
    strcpy(ace.name, "Ace");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Ace");
    put_on(&ace);
    world_run(w, 5000);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "DISC");
    ck_assert_str_eq(shown(ann->buddy, "Ace"), "CHAT");
    ck_assert_uint_eq(frames_of(ann->buddy, "PGET", NULL), 2);
}
END_TEST

START_TEST(a_login_elsewhere_is_no_goodbye)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    struct raw *old = bob->lobby;
    enter(bob);
    ck_assert(raw_closed(old));
    world_run(w, 10000);
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "DISC");
    raw_forget(ann->buddy);
    SAYS(raw_ask(ann->buddy, "PGET", "USER=Bob\n"), "SHOW=CHAT\nUSER=Bob\nPROD=*\nSTAT=*");
}
END_TEST

START_TEST(changes_are_told_from_auth_on)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = person("Cid");
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Cid");
    link_down(ann);
    set_presence(bob, "AWAY");
    enter(cid);
    link_up(ann);
    SEES(ann, ""); /* what is, RGET tells */
    set_presence(bob, "XA");
    leave_lobby(cid);
    world_run(w, 5000);
    SEES(ann, "Bob=XA Cid=DISC");
}
END_TEST

START_TEST(who_is_taken_off_the_roster_is_not_told_of)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY");
    take_off_list(ann, "B", "Bob");
    set_presence(bob, "CHAT");
    leave_lobby(bob);
    world_run(w, 5000);
    SEES(ann, "");
}
END_TEST

START_TEST(a_subscription_lasts_as_long_as_its_link)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    say(ann->buddy, "PADD", "USER=bob/cso/nascar-ps2-2004\n");
    GOT(ann->buddy, "PADD PGET");
    ck_assert_str_eq(got_code(frame_at(ann->buddy, 0)), "");
    SAYS(frame_at(ann->buddy, 0), "STATUS=1");
    SEES(ann, "Bob=CHAT");
    raw_forget(ann->buddy);
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY");
    HAS(ann, "", ""); /* it is on no list */
    SEES(ann, "");
    raw_forget(ann->buddy);
    if (_i == 0) {
        say(ann->buddy, "PDEL", "USER=BOB\n");
        GOT(ann->buddy, "PDEL");
        ck_assert_str_eq(got_code(frame_at(ann->buddy, 0)), "");
        SAYS(frame_at(ann->buddy, 0), "STATUS=1");
    } else {
        link_down(ann);
        link_up(ann);
    }
    raw_forget(ann->buddy);
    set_presence(bob, "XA");
    SEES(ann, "");
}
END_TEST

START_TEST(a_subscription_begins_with_whatever_is)
{
    struct person *ann = linked("Ann"), *bob = person("Bob");
    say(ann->buddy, "PADD", "USER=Bob\n");
    GOT(ann->buddy, "PADD PGET");
    SAYS(frame_at(ann->buddy, 1), "SHOW=DISC\nUSER=Bob\nPROD=\nSTAT=");
    raw_forget(ann->buddy);
    enter(bob);
    SEES(ann, "Bob=CHAT");
    raw_forget(ann->buddy);
    leave_lobby(bob);
    world_run(w, 5000);
    SEES(ann, "Bob=DISC");
}
END_TEST

START_TEST(a_subscription_and_the_roster_are_two_things)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Bob\n"));
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Bob\n")); /* twice is once */
    world_settle(w);
    raw_forget(ann->buddy);
    set_presence(bob, "AWAY");
    SEES(ann, "Bob=AWAY"); /* told once */
    SUCCEEDS(raw_ask(ann->buddy, "PDEL", "USER=Bob\n"));
    raw_forget(ann->buddy);
    set_presence(bob, "XA"); /* the roster still has him */
    SEES(ann, "Bob=XA");
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Bob\n"));
    take_off_list(ann, "B", "Bob");
    set_presence(bob, "DND"); /* the subscription, too */
    SEES(ann, "Bob=DND");
    SUCCEEDS(raw_ask(ann->buddy, "PDEL", "USER=Bob\n"));
    raw_forget(ann->buddy);
    set_presence(bob, "CHAT");
    SEES(ann, "");
}
END_TEST

START_TEST(a_link_has_25_subscriptions)
{
    struct person *ann = linked("Ann"), *late = person("Zoe");
    char payload[32];
    crowd("Racer", ROSTER_SIZE);
    for (int i = 0; i < ROSTER_SIZE; i++) {
        (void)snprintf(payload, sizeof payload, "USER=Racer%02d\n", i);
        SUCCEEDS(raw_ask(ann->buddy, "PADD", payload));
    }
    const struct got *g = raw_ask(ann->buddy, "PADD", "USER=Zoe\n");
    ck_assert_str_eq(got_code(g), "full");
    ck_assert_int_ne(got_status(g), 1);
    world_settle(w);
    raw_forget(ann->buddy);
    enter(late);
    SEES(ann, "");
    SUCCEEDS(raw_ask(ann->buddy, "PDEL", "USER=Racer07\n"));
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Zoe\n"));
    SEES(ann, "Zoe=CHAT");
}
END_TEST

START_TEST(presence_is_told_to_who_asks)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    (void)person("Cid");
    set_presence(bob, "DND");
    say(ann->buddy, "PGET", "USER=BOB/cso/nascar-ps2-2004\n");
    say(ann->buddy, "PGET", "USER=Cid\n");
    GOT(ann->buddy, "PGET PGET");
    SAYS_GAME(frame_at(ann->buddy, 0), "DND");
    SAYS(frame_at(ann->buddy, 1), "SHOW=DISC\nUSER=Cid\nPROD=\nSTAT=");
    raw_forget(ann->buddy);
    set_presence(bob, "CHAT"); /* and subscribes to nothing */
    SEES(ann, "");
}
END_TEST

START_TEST(nobody_subscribes_to_nobody)
{
    static const char *const users[] = {"USER=Nobody\n", "USER=Bob2/cso\n", "USER=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"};
    static const char *const kinds_of[] = {"PADD", "PGET"};
    struct person *ann = linked("Ann");
    for (int i = 0; i < 2 * COUNT(users); i++) {
        raw_forget(ann->buddy);
        say(ann->buddy, kinds_of[i % 2], users[i / 2]);
        GOT(ann->buddy, kinds_of[i % 2]);
        REFUSED(frame_at(ann->buddy, 0), "user", 102);
    }
}
END_TEST

START_TEST(many_watchers_are_each_told_once)
{
    struct person *bob = linked("Bob"), *watchers[20];
    for (int i = 0; i < COUNT(watchers); i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Fan%02d", i);
        watchers[i] = linked(name);
        if (i % 2 == 0)
            put_on_list(watchers[i], "B", "Bob");
        else
            SUCCEEDS(raw_ask(watchers[i]->buddy, "PADD", "USER=Bob\n"));
        world_settle(w);
    }
    link_down(watchers[7]);
    link_down(watchers[8]);
    leave_lobby(watchers[9]); /* its buddy link stays */
    for (int step = 0; step < 3; step++) {
        forget_all(w);
        if (step == 0)
            set_presence(bob, "AWAY");
        else if (step == 1)
            race(bob, watchers[0]);
        else
            SUCCEEDS(raw_ask(bob->lobby, "chal", "PERS=*\n"));
        for (int i = 0; i < COUNT(watchers); i++)
            if (watchers[i]->buddy != NULL)
                SEES(watchers[i], step == 1 ? "Bob=PASS" : "Bob=AWAY");
    }
}
END_TEST

START_TEST(a_reader_who_is_behind_is_told_what_is_now)
{
    struct person *ann = linked("Ann"), *cid = linked("Cid"), *others[10];
    for (int i = 0; i < COUNT(others); i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Bob%02d", i);
        others[i] = linked(name);
        put_on_list(ann, "B", name);
    }
    put_on_list(cid, "B", "Bob00");
    raw_window(ann->buddy, (size_t)_i * 100);
    uint64_t began = w->mono_ms;
    for (int turn = 0; turn < 60; turn++) {
        for (int i = 0; i < COUNT(others); i++) {
            raw_forget(others[i]->buddy);
            raw_send(others[i]->buddy, "PSET", turn % 2 == 0 ? "SHOW=AWAY\n" : "SHOW=DND\n");
            ck_assert_ptr_nonnull(raw_look(others[i]->buddy, "PSET")); /* nobody waits for her */
        }
    }
    set_presence(others[3], "XA");
    leave_lobby(others[4]);
    ck_assert_uint_eq(w->mono_ms, began);
    ck_assert_uint_eq(frames_of(cid->buddy, "PGET", NULL), 60); /* who keeps up sees it all */
    world_run(w, 5000);
    raw_window(ann->buddy, SIZE_MAX);
    ck_assert(!raw_closed(ann->buddy));
    ck_assert_uint_lt(frames_of(ann->buddy, "PGET", NULL), 200); /* of 602 */
    for (int i = 0; i < COUNT(others); i++)
        ck_assert_str_eq(shown(ann->buddy, others[i]->name), i == 3 ? "XA" : i == 4 ? "DISC" : "DND");
    raw_forget(ann->buddy);
    set_presence(others[0], "CHAT"); /* and goes on */
    SEES(ann, "Bob00=CHAT");
}
END_TEST

START_TEST(a_change_of_the_roster_loses_no_news)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    char status[1024] = "SHOW=AWAY\nSTAT=";
    put_on_list(ann, "B", "Bob");
    put_on_list(ann, "B", "Cid");
    if (_i == 1)
        put_on_list(ann, "I", "Bob");
    for (int i = 0; i < 255; i++)
        strcat(status, "%3d");
    strcat(status, "\n");
    raw_window(ann->buddy, 0);
    for (int i = 0; i < 8; i++) /* she falls behind */
        SUCCEEDS(raw_ask(cid->buddy, "PSET", status));
    set_presence(bob, "DND");
    GOT(ann->buddy, "");
    raw_send(ann->buddy, _i == 1 ? "RDEL" : _i == 0 ? "RADD" : "PADD", "ID=101\nLIST=I\nUSER=Bob\n");
    if (_i == 2)
        raw_send(ann->buddy, "RDEL", "ID=101\nLIST=B\nUSER=Bob\n");
    world_settle(w);
    raw_window(ann->buddy, SIZE_MAX);
    ck_assert_uint_lt(frames_of(ann->buddy, "PGET", NULL), 9);
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "DND");
    ck_assert_str_eq(shown(ann->buddy, "Cid"), "AWAY");
}
END_TEST

START_TEST(what_is_set_in_a_race_shows_after_it)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(ann, "B", "Bob");
    race(bob, cid);
    set_presence(bob, "DND");
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "PASS");
    ck_assert_ptr_null(strstr(sees(ann->buddy), "DND"));
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->lobby, "chal", "PERS=*\n"));
    SEES(ann, "Bob=DND");
}
END_TEST

START_TEST(a_deleted_persona_is_on_no_roster_and_nobody_hears_of_it)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), ace = *bob;
    strcpy(ace.name, "Ace");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    put_on(&ace);
    link_up(&ace);
    put_on_list(ann, "B", "Ace");
    put_on_list(ann, "B", "Bob");
    SUCCEEDS(raw_ask(ann->buddy, "PADD", "USER=Ace\n"));
    put_on_list(&ace, "B", "Ann");
    put_on(bob); /* as Bob again */
    world_run(w, 5000);
    SUCCEEDS(raw_ask(bob->lobby, "dper", "PERS=Ace\n"));
    world_settle(w);
    ck_assert(raw_closed(ace.buddy));
    ck_assert_str_eq(auth_code("Ace", ace.ticket), "user");
    for (int i = 0; i < 2; i++) {
        HAS(ann, "Bob", "");
        raw_forget(ann->buddy);
        REFUSED(raw_ask(ann->buddy, "PGET", "USER=Ace\n"), "user", 102);
        REFUSED(letter(ann, "Ace", "hello", "60"), "user", 102);
        if (i == 0) {
            restart();
            enter(ann);
            link_up(ann);
            enter(bob);
            ace.lobby = bob->lobby;
        }
    }
    raw_forget(ann->buddy);
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n")); /* another one, whom nobody knows */
    put_on(&ace);
    world_run(w, 5000);
    ck_assert_str_eq(shown(ann->buddy, "Ace"), "");
    link_up(&ace);
    HAS(&ace, "", "");
    READS(&ace, "");
}
END_TEST

/* ---- Letters ------------------------------------------------------------ */

START_TEST(a_letter_comes_at_once_to_who_is_linked)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    if (_i == 1)
        leave_lobby(bob); /* the buddy link is what counts */
    w->wall_offset_s += 1000;
    size_t before = w->record_count;
    write_letter(ann, "bOB/cso/nascar-ps2-2004", "hello");
    GOT(bob->buddy, "RECV");
    ck_assert_str_eq(got_code(frame_at(bob->buddy, 0)), "");
    SAYS(frame_at(bob->buddy, 0), "USER=Ann\nTYPE=C\nBODY=hello\nTIME=%lld", now_s());
    ck_assert_uint_eq(w->record_count, before); /* nothing to keep */
    ask_rosters(bob);
    READS(bob, "");
    restart();
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "");
}
END_TEST

START_TEST(a_letter_keeps_its_type)
{
    static const char *const types[] = {"C", "X", ""};
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    char payload[64];
    for (int i = 0; i < 2 * COUNT(types); i++) {
        (void)snprintf(payload, sizeof payload, "TYPE=%s\nUSER=Bob\nBODY=x\n", types[i / 2]);
        if (i % 2 == 1)
            link_down(bob);
        SUCCEEDS(raw_ask(ann->buddy, "SEND", i == 5 ? "USER=Bob\nBODY=x\n" : payload));
        if (i % 2 == 1) {
            restart();
            link_up(ann);
            link_up(bob);
            ask_rosters(bob);
        }
        SAYS(raw_expect(bob->buddy, "RECV"), "USER=Ann\nTYPE=%s\nBODY=x\nTIME=*", i / 2 == 1 ? "X" : "C");
        raw_forget(bob->buddy);
    }
}
END_TEST

START_TEST(a_letter_waits_for_the_next_rosters)
{
    struct person *ann = linked("Ann"), *bob = person("Bob"), *cid = linked("Cid");
    if (_i % 2 == 1)
        enter(bob); /* in the lobby, without a link */
    long long first = now_s();
    write_letter(ann, "bob", "one");
    w->wall_offset_s += 100;
    write_letter(cid, "BOB/cso", "\"two words\"");
    w->wall_offset_s -= 50; /* the clock is set back; the order is that of sending */
    write_letter(ann, "Bob", "three");
    if (_i >= 2)
        restart();
    if (bob->lobby == NULL)
        enter(bob);
    link_up(bob);
    READS(bob, ""); /* not before the rosters */
    ask_rosters(bob);
    GOT(bob->buddy, "RGET RGET RECV RECV RECV");
    SAYS(frame_at(bob->buddy, 2), "USER=Ann\nTYPE=C\nBODY=one\nTIME=%lld", first);
    SAYS(frame_at(bob->buddy, 3), "USER=Cid\nTYPE=C\nBODY=\"two words\"\nTIME=%lld", first + 100);
    SAYS(frame_at(bob->buddy, 4), "USER=Ann\nTYPE=C\nBODY=three\nTIME=*");
    for (int i = 0; i < 2; i++) { /* once */
        ask_rosters(bob);
        READS(bob, "");
        restart();
        link_up(bob);
    }
}
END_TEST

START_TEST(either_roster_brings_the_letters)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    write_letter(ann, "Bob", "hello");
    link_up(bob);
    say(bob->buddy, "RGET", _i == 0 ? GET_B : GET_I);
    GOT(bob->buddy, "RGET RECV");
    raw_forget(bob->buddy);
    say(bob->buddy, "RGET", _i == 1 ? GET_B : GET_I);
    GOT(bob->buddy, "RGET");
}
END_TEST

START_TEST(a_letter_is_kept_for_its_seconds)
{
    static const struct {
        const char *secs;
        long lives_s;
    } cases[] = {
        {"60", 60},
        {"1", 1},
        {"259200", 259200},
        {NULL, 259200},
        {"2592000", 2592000},
        {"2592001", 2592000},
        {"99999999", 2592000},
        {"2147483647", 2592000},
    };
    struct person *ann = linked("Ann"), *bob = player_only("Bob"), *cid = player_only("Cid");
    SUCCEEDS(letter(ann, "Bob", "hello", cases[_i].secs));
    SUCCEEDS(letter(ann, "Cid", "hello", cases[_i].secs));
    long early = cases[_i].lives_s > 2 ? 2 : 1;
    w->wall_offset_s += cases[_i].lives_s - early;
    enter(bob);
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "hello");
    w->wall_offset_s += early + 2;
    if (_i % 2 == 1)
        restart();
    if (cid->lobby == NULL || raw_closed(cid->lobby))
        enter(cid);
    else
        put_on(cid);
    link_up(cid);
    ask_rosters(cid);
    READS(cid, "");
}
END_TEST

START_TEST(a_letter_for_no_time_comes_now_or_never)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    size_t before = w->record_count;
    (void)person("Cid");
    SUCCEEDS(letter(ann, "Bob", "hello", "0"));
    READS(bob, "hello");
    before = w->record_count;
    REFUSED(letter(ann, "Cid", "hello", "0"), "user", 102);
    ck_assert_uint_eq(w->record_count, before);
}
END_TEST

START_TEST(strange_seconds_lose_no_letter_silently)
{
    static const char *const secs[] = {"", "x", "-1", "+60", "1e9", "99999999999999999999", "4294967296", "0x10"};
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    for (int i = 0; i < COUNT(secs); i++) {
        const struct got *g = letter(ann, "Bob", "hello", secs[i]);
        ck_assert((g->code == 0) == (got_status(g) == 1));
        link_up(bob);
        ask_rosters(bob);
        READS(bob, g->code == 0 ? "hello" : "");
        link_down(bob);
    }
}
END_TEST

START_TEST(fifty_letters_are_kept)
{
    struct person *ann = linked("Ann"), *cid = linked("Cid"), *bob = player_only("Bob");
    (void)person("Dan");
    char body[16], *all = lobby_text();
    char expected[512] = "";
    for (int i = 0; i < KEPT_LETTERS; i++) {
        (void)snprintf(body, sizeof body, "L%d", i);
        (void)snprintf(expected + strlen(expected), 20, "%s%s", i == 0 ? "" : " ", body);
        SUCCEEDS(letter(i % 2 == 0 ? ann : cid, "Bob", body, i < 10 ? "600" : "6000"));
    }
    REFUSED(letter(ann, "Bob", "too many", NULL), "full", 0);
    REFUSED(letter(cid, "Bob", "too many", "0"), "user", 102);
    write_letter(ann, "Dan", "hello"); /* it is Bob's that are full */
    if (_i == 1) {
        restart();
        enter(ann);
        link_up(ann);
        REFUSED(letter(ann, "Bob", "too many", NULL), "full", 0);
    }
    if (_i >= 2) { /* ten of them run out: there is room for so many */
        w->wall_offset_s += 700;
        for (int i = 0; i < 10; i++) {
            (void)snprintf(body, sizeof body, "M%d", i);
            write_letter(ann, "Bob", body);
        }
        REFUSED(letter(ann, "Bob", "too many", NULL), "full", 0);
        strcpy(all, strstr(expected, "L10"));
        for (int i = 0; i < 10; i++)
            (void)snprintf(all + strlen(all), 16, " M%d", i);
        strcpy(expected, all);
    }
    if (_i == 3) { /* and those who came into it are kept, too */
        restart();
        enter(ann);
        link_up(ann);
        enter(bob);
    }
    link_up(bob);
    ask_rosters(bob);
    READS(bob, expected);
    link_down(bob);
    for (int i = 0; i < KEPT_LETTERS; i++) /* read: there is room again */
        write_letter(ann, "Bob", "again");
    REFUSED(letter(ann, "Bob", "too many", NULL), "full", 0);
    link_up(bob);
    ask_rosters(bob);
    ck_assert_uint_eq(frames_of(bob->buddy, "RECV", NULL), KEPT_LETTERS);
}
END_TEST

START_TEST(a_full_table_of_letters_refuses)
{
    struct world_options options = {.limits = {16, 64, 8, 16, 64, 3}};
    reopen(&options);
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    (void)person("Cid");
    write_letter(ann, "Bob", "one");
    write_letter(ann, "Cid", "two");
    write_letter(ann, "Bob", "three");
    REFUSED(letter(ann, "Bob", "four", NULL), "full", 0);
    REFUSED(letter(ann, "Cid", "four", NULL), "full", 0);
    link_up(bob);
    if (_i == 0) {
        link_up(bob);
        ask_rosters(bob);
        READS(bob, "one three");
    } else { /* what has expired makes room, whosever it is */
        (void)person("Dan");
        w->wall_offset_s += 4 * DAY_S;
        world_run(w, 61000);
        write_letter(ann, "Dan", "five");
    }
    write_letter(ann, "Cid", "six");
}
END_TEST

START_TEST(long_letters_come_all_and_in_order)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    char body[600];
    for (int i = 0; i < KEPT_LETTERS; i++) {
        (void)snprintf(body, sizeof body, "%02d", i);
        for (int k = 2; k < 170; k++) /* three bytes each on the wire */
            strcat(body, "%3d");
        SUCCEEDS(letter(ann, "Bob", body, NULL));
    }
    link_up(bob);
    if (_i == 1)
        raw_window(bob->buddy, 1000);
    ask_rosters(bob);
    for (int i = 0; i < 60 && _i == 1; i++)
        raw_window(bob->buddy, 600);
    raw_window(bob->buddy, SIZE_MAX);
    world_settle(w);
    ck_assert_uint_eq(bob->buddy->count, KEPT_LETTERS + 2);
    for (int i = 0; i < KEPT_LETTERS; i++) {
        const char *text = got_text(frame_at(bob->buddy, (size_t)i + 2), "BODY");
        ck_assert_uint_eq(strlen(text), 170);
        ck_assert_int_eq(atoi(text), i);
    }
    ask_rosters(bob);
    READS(bob, "");
}
END_TEST

START_TEST(a_link_lost_while_letters_come_loses_none)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    char body[300];
    bool came[20] = {false};
    memset(body, 'x', 250);
    for (int i = 0; i < COUNT(came); i++) {
        (void)snprintf(body, sizeof body, "%02d%0248d", i, 0);
        write_letter(ann, "Bob", body);
    }
    link_up(bob);
    raw_window(bob->buddy, 1200); /* a few of them */
    raw_send(bob->buddy, "RGET", GET_B);
    world_settle(w);
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < bob->buddy->count; i++) {
            if (strcmp(bob->buddy->frames[i]->kind, "RECV") == 0) {
                int number = atoi((char[]){got_text(bob->buddy->frames[i], "BODY")[0],
                                           got_text(bob->buddy->frames[i], "BODY")[1], '\0'});
                ck_assert(!came[number] || turn == 1);
                came[number] = true;
            }
        }
        if (turn == 0) {
            ck_assert(!came[19]);
            link_down(bob);
            restart();
            link_up(bob);
            ask_rosters(bob);
        }
    }
    size_t unread = 0;
    for (int i = 0; i < COUNT(came); i++)
        unread += !came[i];
    /* What was written to a link that broke may be lost; what was not is there. */
    ck_assert_uint_lt(unread, COUNT(came));
    ck_assert(came[19]);
}
END_TEST

START_TEST(a_letter_says_what_was_written)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    char body[1024] = "", wire[1024] = "";
    static const int sizes[] = {1, 63, 255, 256, 600};
    if (_i < COUNT(sizes)) {
        for (int i = 0; i < sizes[_i]; i++)
            body[i] = (char)('a' + i % 26);
        strcpy(wire, body);
    } else { /* every byte but NUL, and what could pass for a tag */
        strcpy(body, "USER=Cid TIME:5\nTYPE=D\n\"quoted\" 'and' 100% ");
        size_t size = strlen(body);
        for (int i = 1 + (_i - COUNT(sizes)) * 200; i < 256 && size < 255; i++)
            body[size++] = (char)(unsigned char)(i & 0xFF);
        for (size_t i = 0; i < size; i++)
            (void)snprintf(wire + 3 * i, 4, "%%%02x", (unsigned)(unsigned char)body[i]);
    }
    if (_i % 2 == 1)
        link_down(bob);
    write_letter(ann, "Bob", wire);
    if (_i % 2 == 1) {
        restart();
        link_up(bob);
        ask_rosters(bob);
    }
    ck_assert_uint_eq(frames_of(bob->buddy, "RECV", NULL), 1);
    const struct got *g = NULL;
    (void)frames_of(bob->buddy, "RECV", &g);
    body[255] = '\0'; /* no more than that */
    ck_assert_str_eq(got_text(g, "BODY"), body);
    ck_assert_str_eq(got_text(g, "USER"), "Ann");
    ck_assert_str_eq(got_text(g, "TYPE"), "C");
}
END_TEST

START_TEST(a_bad_letter_is_refused)
{
    static const struct {
        const char *tags, *code;
        int32_t status;
    } bad[] = {
        {"TYPE=C\nUSER=Nobody\nBODY=x\nSECS=60\n", "user", 102},
        {"TYPE=C\nUSER=Ann\nBODY=x\nSECS=60\n", "user", 102},
        {"TYPE=C\nUSER=ANN/cso\nBODY=x\nSECS=60\n", "user", 102},
        {"TYPE=C\nUSER=Nobody/cso\nBODY=x\n", "user", 102},
        {"TYPE=C\nUSER=Bob\nBODY=\nSECS=60\n", "miss", 0},
        {"TYPE=C\nUSER=Bob\nSECS=60\n", "miss", 0},
        {"TYPE=C\nUSER=Bob\nBODY=\"\"\nSECS=60\n", "miss", 0},
        {"TYPE=C\nUSER=Bob\nBODY=%00x\nSECS=60\n", "miss", 0},
        {"TYPE=C\nUSER=Cid\nBODY=\n", "miss", 0},
        {"TYPE=C\nUSER=\nBODY=x\n", NULL, 0},
        {"TYPE=C\nBODY=x\n", NULL, 0},
        {"", NULL, 0},
    };
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    (void)person("Cid");
    size_t before = w->record_count;
    for (int i = 0; i < COUNT(bad); i++) {
        raw_forget(ann->buddy);
        const struct got *g = raw_ask(ann->buddy, "SEND", bad[i].tags);
        if (bad[i].code != NULL) {
            REFUSED(g, bad[i].code, bad[i].status);
        } else {
            ck_assert_uint_ne(g->code, 0);
            ck_assert_int_ne(got_status(g), 1);
        }
        GOT(ann->buddy, "SEND");
        GOT(bob->buddy, "");
    }
    ck_assert_uint_eq(w->record_count, before);
}
END_TEST

START_TEST(a_letter_is_kept_before_it_is_answered)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    w->hold_records = true;
    say(ann->buddy, "SEND", "TYPE=C\nUSER=Bob\nBODY=hello\nSECS=60\n");
    GOT(ann->buddy, "");
    if (_i >= 2) /* the sender does not wait for it */
        link_down(ann);
    world_release_records(w, _i % 2 == 0);
    w->hold_records = false;
    if (_i < 2) {
        const struct got *g = raw_expect(ann->buddy, "SEND");
        ck_assert_int_eq(got_status(g) == 1, _i == 0);
        ck_assert_int_eq(g->code == 0, _i == 0);
    }
    link_up(bob);
    ask_rosters(bob);
    READS(bob, _i % 2 == 0 ? "hello" : "");
}
END_TEST

START_TEST(who_links_while_a_letter_is_written_gets_it)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    w->hold_records = true;
    say(ann->buddy, "SEND", "TYPE=C\nUSER=Bob\nBODY=hello\nSECS=60\n");
    link_up(bob);
    ask_rosters(bob);
    w->hold_records = false;
    world_settle(w);
    SUCCEEDS(raw_expect(ann->buddy, "SEND"));
    size_t at_once = frames_of(bob->buddy, "RECV", NULL);
    ask_rosters(bob);
    ck_assert_uint_eq(at_once + frames_of(bob->buddy, "RECV", NULL), 1);
    ask_rosters(bob);
    READS(bob, "");
}
END_TEST

START_TEST(with_no_disk_letters_still_come_to_who_is_linked)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = player_only("Cid");
    write_letter(ann, "Cid", "kept");
    w->fail_records = true;
    write_letter(ann, "Bob", "hello");
    READS(bob, "hello");
    const struct got *g = letter(ann, "Cid", "lost", NULL);
    ck_assert_uint_ne(g->code, 0);
    ck_assert_int_ne(got_status(g), 1);
    link_up(cid);
    ask_rosters(cid); /* that it was read cannot be written down */
    size_t early = frames_of(cid->buddy, "RECV", NULL);
    ck_assert_uint_le(early, 1);
    w->fail_records = false;
    world_run(w, 1000);
    early = frames_of(cid->buddy, "RECV", NULL);
    write_letter(ann, "Cid", "now");
    link_down(cid);
    link_up(cid);
    ask_rosters(cid);
    ck_assert_uint_le(1, early + frames_of(cid->buddy, "RECV", NULL)); /* not lost */
    ck_assert_ptr_null(strstr(letters(cid->buddy), "lost"));
    ask_rosters(cid);
    READS(cid, "");
    kept_compact(w); /* as the shell does after any failure */
    restart();
    link_up(cid);
    ask_rosters(cid);
    READS(cid, "");
}
END_TEST

START_TEST(letters_read_while_there_is_no_disk_take_no_room)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    for (int i = 0; i < KEPT_LETTERS; i++)
        write_letter(ann, "Bob", "old");
    w->fail_records = true;
    link_up(bob);
    ask_rosters(bob);
    ck_assert_uint_eq(frames_of(bob->buddy, "RECV", NULL), KEPT_LETTERS);
    w->fail_records = false;
    link_down(bob);
    write_letter(ann, "Bob", "new");
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "new"); /* nor do they come again */
}
END_TEST

START_TEST(a_letter_that_is_being_read_is_not_written_anew)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob");
    write_letter(ann, "Bob", "hello");
    link_up(bob);
    w->hold_records = true;
    ask_rosters(bob);
    READS(bob, "hello");
    kept_compact(w); /* before it is written that it was read */
    w->hold_records = false;
    restart();
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "");
}
END_TEST

START_TEST(letters_to_a_deleted_persona_are_gone)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob"), ace = *bob;
    strcpy(ace.name, "Ace");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    write_letter(ann, "Ace", "old");
    SUCCEEDS(raw_ask(bob->lobby, "dper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    if (_i == 1) {
        restart();
        enter(ann);
        link_up(ann);
        enter(&ace);
    } else {
        put_on(&ace);
    }
    write_letter(ann, "Ace", "new");
    link_up(&ace);
    ask_rosters(&ace);
    READS(&ace, "new");
}
END_TEST

START_TEST(a_letter_of_a_deleted_persona_harms_nobody)
{
    struct person *ann = player_only("Ann"), *bob = player_only("Bob"), ace = *bob;
    strcpy(ace.name, "Ace");
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Ace\n"));
    put_on(&ace);
    link_up(&ace);
    write_letter(&ace, "Ann", "old");
    put_on(bob);
    SUCCEEDS(raw_ask(bob->lobby, "dper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Eve\n")); /* may get the same place */
    if (_i == 1)
        restart();
    link_up(ann);
    ask_rosters(ann);
    const struct got *g = NULL;
    if (frames_of(ann->buddy, "RECV", &g) > 0)
        SAYS(g, "USER=Ace\nTYPE=C\nBODY=old\nTIME=*"); /* never somebody else's */
}
END_TEST

START_TEST(many_letters_to_a_slow_reader_are_not_lost)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    char body[128];
    size_t sent = 0;
    raw_window(bob->buddy, 0);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(body, sizeof body, "TYPE=C\nUSER=Bob\nBODY=%040d\nSECS=60\n", i);
        raw_send(ann->buddy, "SEND", body);
    }
    world_settle(w);
    raw_window(bob->buddy, SIZE_MAX);
    world_run(w, 1000);
    ck_assert(!raw_closed(ann->buddy));
    ck_assert_uint_eq(frames_of(ann->buddy, "SEND", NULL), 200);
    for (size_t i = 0; i < ann->buddy->count; i++)
        sent += got_status(ann->buddy->frames[i]) == 1;
    ck_assert_uint_gt(sent, 0);
    raw_send(bob->buddy, "RGET", GET_B);
    world_settle(w);
    ck_assert_uint_eq(frames_of(bob->buddy, "RECV", NULL), sent);
    int last = -1;
    for (size_t i = 0; i < bob->buddy->count; i++) {
        if (strcmp(bob->buddy->frames[i]->kind, "RECV") == 0) {
            int number = atoi(got_text(bob->buddy->frames[i], "BODY"));
            ck_assert_int_gt(number, last);
            last = number;
        }
    }
}
END_TEST

/* ---- Ignoring ----------------------------------------------------------- */

START_TEST(an_ignored_player_is_not_heard)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    go(ann->lobby, "East");
    go(bob->lobby, "East");
    go(cid->lobby, "East");
    for (int turn = 0; turn < 3; turn++) { /* not yet, now, no more */
        bool heard = turn != 1;
        if (turn == 1)
            put_on_list(bob, "I", "Ann");
        else if (turn == 2)
            take_off_list(bob, "I", "Ann");
        forget_all(w);
        SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=hello\n"));
        SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=psst\nPRIV=Bob\n"));
        write_letter(ann, "Bob", "dear");
        ck_assert_uint_eq(frames_of(bob->lobby, "+msg", NULL), heard ? 2 : 0);
        ck_assert_uint_eq(frames_of(ann->lobby, "+msg", NULL), 1); /* her own line */
        ck_assert_uint_eq(frames_of(cid->lobby, "+msg", NULL), 1);
        READS(bob, heard ? "dear" : "");
        forget_all(w);
        send_word(ann, bob, "w893m_a017l_g"); /* a challenge */
        ck_assert_uint_eq(frames_of(bob->lobby, "+msg", NULL), heard ? 1 : 0);
        const struct got *g = NULL;
        if (!heard) {
            ck_assert_uint_eq(frames_of(ann->lobby, "+msg", &g), 1);
            ck_assert_str_eq(got_text(g, "T"), "BLOC");
        } else {
            send_word(bob, ann, "DECL");
        }
        forget_all(w);
        SUCCEEDS(raw_ask(bob->lobby, "mesg", "TEXT=who is there\n")); /* it is one way */
        write_letter(bob, "Ann", "dear");
        ck_assert_uint_eq(frames_of(ann->lobby, "+msg", NULL), 1);
        READS(ann, "dear");
    }
}
END_TEST

START_TEST(nothing_is_kept_for_who_ignores)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cid = linked("Cid");
    put_on_list(bob, "I", "Ann");
    link_down(bob);
    if (_i == 1) {
        leave_lobby(bob);
        restart(); /* the list is kept */
        enter(ann);
        enter(cid);
        link_up(ann);
        link_up(cid);
    }
    size_t before = w->record_count;
    write_letter(ann, "Bob", "unheard"); /* who writes is not told */
    ck_assert_uint_eq(w->record_count, before);
    write_letter(cid, "Bob", "heard");
    link_up(bob);
    take_off_list(bob, "I", "Ann");
    ask_rosters(bob);
    READS(bob, "heard");
}
END_TEST

START_TEST(who_is_ignored_by_now_is_not_read)
{
    struct person *ann = linked("Ann"), *bob = player_only("Bob"), *cid = linked("Cid");
    write_letter(ann, "Bob", "unheard");
    write_letter(cid, "Bob", "heard");
    link_up(bob);
    put_on_list(bob, "I", "Ann");
    ask_rosters(bob);
    READS(bob, "heard");
    take_off_list(bob, "I", "Ann");
    ask_rosters(bob);
    READS(bob, "");
}
END_TEST

START_TEST(an_ignore_list_works_without_a_buddy_link)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(bob, "I", "Ann");
    restart();
    enter(ann);
    enter(bob);
    go(ann->lobby, "East");
    go(bob->lobby, "East");
    forget_all(w);
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=hello\n"));
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "TEXT=psst\nPRIV=Bob\n"));
    ck_assert_uint_eq(frames_of(bob->lobby, "+msg", NULL), 0);
}
END_TEST

/* ---- Search, goodbye, ping ---------------------------------------------- */

/* The names that a search finds, sorted; and that SIZE says how many. */
static const char *found(struct person *p, const char *payload)
{
    char names[64][32], *text = page();
    size_t count = 0;
    raw_forget(p->buddy);
    say(p->buddy, "USCH", payload);
    const struct got *g = frame_at(p->buddy, 0);
    ck_assert_str_eq(g->kind, "USCH");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "SIZE=%d\nSTATUS=1", (int)p->buddy->count - 1);
    for (size_t i = 1; i < p->buddy->count; i++) {
        ck_assert_str_eq(frame_at(p->buddy, i)->kind, "USER");
        SAYS(frame_at(p->buddy, i), "USER=*");
        (void)snprintf(names[count++], sizeof names[0], "%.31s", got_text(frame_at(p->buddy, i), "USER"));
    }
    qsort(names, count, sizeof names[0], by_name);
    for (size_t i = 0; i < count; i++)
        (void)snprintf(text + strlen(text), 64, "%s%.31s", i == 0 ? "" : " ", names[i]);
    return text;
}

START_TEST(personas_are_found_by_how_they_begin)
{
    struct person *zoe = linked("Zoe"), *bob = player_only("Bob");
    (void)person("bobby");
    (void)person("BoB_2");
    (void)person("Abob");
    ck_assert_str_eq(found(zoe, "USER=bo\n"), "BoB_2 Bob bobby");
    ck_assert_str_eq(found(zoe, "USER=BOB\n"), "BoB_2 Bob bobby");
    ck_assert_str_eq(found(zoe, "NAME=bobb\n"), "bobby");
    ck_assert_str_eq(found(zoe, "USER=Bobby\n"), "bobby");
    ck_assert_str_eq(found(zoe, "USER=bobbyx\n"), "");
    ck_assert_str_eq(found(zoe, "USER=xy\n"), "");
    ck_assert_str_eq(found(zoe, "USER=ob\n"), "");
    ck_assert_str_eq(found(zoe, "USER=%25%25\n"), "");
    ck_assert_str_eq(found(zoe, "USER=b*\n"), "");
    ck_assert_str_eq(found(zoe, "USER=bobbobbobbobbob\n"), ""); /* longer than a name can be */
    raw_forget(zoe->buddy);
    say(zoe->buddy, "USCH", "USER=bobbobbobbobbobbobbobbobbobbobbobbobbobbobbobbobbobbobbob\n");
    ck_assert_uint_eq(frames_of(zoe->buddy, "USER", NULL), 0);
    SUCCEEDS(raw_ask(bob->lobby, "cper", "PERS=Bond\n"));
    ck_assert_str_eq(found(zoe, "USER=bon\n"), "Bond");
    SUCCEEDS(raw_ask(bob->lobby, "dper", "PERS=Bond\n"));
    ck_assert_str_eq(found(zoe, "USER=bon\n"), "");
    restart();
    link_up(zoe);
    ck_assert_str_eq(found(zoe, "USER=bo\n"), "BoB_2 Bob bobby");
}
END_TEST

START_TEST(a_search_finds_20_at_most)
{
    struct person *zoe = linked("Zoe");
    crowd("Racer", 20);
    ck_assert_uint_eq(strlen(found(zoe, "USER=ra\n")), 20 * 8 - 1);
    crowd("Ractor", 3);
    ck_assert_uint_eq(strlen(found(zoe, "USER=racer\n")), 20 * 8 - 1);
    (void)found(zoe, "USER=ra\n");
    ck_assert_int_eq(got_number(frame_at(zoe->buddy, 0), "SIZE"), 20);
    ck_assert_uint_eq(zoe->buddy->count, 21);
}
END_TEST

START_TEST(a_search_needs_two_letters)
{
    static const char *const bad[] = {"", "USER=\n", "USER=b\n", "NAME=b\n", "USER=\"\"\n", "USER=/cso\n"};
    struct person *zoe = linked("Zoe");
    (void)person("Bob");
    for (int i = 0; i < COUNT(bad); i++) {
        raw_forget(zoe->buddy);
        say(zoe->buddy, "USCH", bad[i]);
        GOT(zoe->buddy, "USCH");
        REFUSED(frame_at(zoe->buddy, 0), "miss", 0);
    }
}
END_TEST

START_TEST(disc_is_goodbye)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    put_on_list(ann, "B", "Bob");
    say(bob->buddy, "DISC", "");
    ck_assert_uint_ge(bob->buddy->count, 1);
    ck_assert_str_eq(frame_at(bob->buddy, 0)->kind, "DISC");
    SUCCEEDS(frame_at(bob->buddy, 0));
    world_run(w, 5000);
    ck_assert(raw_closed(bob->buddy));
    ck_assert(!raw_closed(bob->lobby));
    ck_assert_str_ne(shown(ann->buddy, "Bob"), "DISC"); /* still in the lobby */
    write_letter(ann, "Bob", "later");
    link_up(bob);
    ask_rosters(bob);
    READS(bob, "later");
}
END_TEST

START_TEST(an_echo_of_a_ping_is_answered_by_nothing)
{
    struct person *ann = linked("Ann");
    ann->buddy->keeps_pings = true;
    raw_send_frame(ann->buddy, "PING", 0x10, "TIME=3\n", 8);
    raw_send(ann->buddy, "PING", "");
    world_settle(w);
    GOT(ann->buddy, "");
    world_run(w, 35000);
    ck_assert_uint_ge(frames_of(ann->buddy, "PING", NULL), 1);
    ck_assert_uint_eq(frames_of(ann->buddy, "~png", NULL), 0);
    HAS(ann, "", "");
}
END_TEST

/* ---- Whatever comes ----------------------------------------------------- */

/* Each of these gets exactly one answer of its kind, and nothing breaks. */
START_TEST(no_payload_breaks_a_link)
{
    static const char *const kinds_of[] = {"PSET", "RGET", "RADD", "RDEL", "PADD",
                                           "PDEL", "PGET", "SEND", "USCH", "AUTH"};
    static const char *const shapes[] = {
        "",
        "\n",
        "=",
        "=\n=",
        ":::",
        "USER",
        "USER=",
        "USER==",
        "USER=\"",
        "USER='",
        "USER=\"Bob",
        "USER=%",
        "USER=%4",
        "USER=%zz",
        "USER=%%",
        "USER=Bob",
        " USER=Bob LIST=B ID=x BODY=\"y",
        "USER:Bob\nLIST:B\n",
        "USER=Bob\nUSER=Cid\nLIST=I\nLIST=B\nID=1\nID=2\n",
        "USER=Bob/\nLIST=B\nID=-1\nSECS=-1\nBODY=z\n",
        "USER=@\nLIST=B\nID=99999999999999999999\n",
        "user=Bob\nlist=B\nid=5\nbody=b\nsecs=5\nshow=CHAT\n",
        "USER=Bob\nBODY=x\nTYPE=\nSECS=1\n",
        "USER=Bob\nBODY=x\nTYPE=\"C\nBODY=y\"\nSECS=1\n",
        "USER=Bob\x01\nLIST=B\nID=3\n",
        "\xff\xfe\xfd=\x80\nUSER=\xc3\xa9\n",
        "LIST=B\nUSER=Bob Cid\nID=3\n",
    };
    struct person *ann = linked("Ann"), *bob = linked("Bob");
    const char *kind = kinds_of[_i];
    char *longest = lobby_text();
    (void)person("Cid");
    for (int i = 0; i <= 2 * COUNT(shapes); i++) {
        raw_forget(ann->buddy);
        if (i < COUNT(shapes)) {
            say(ann->buddy, kind, shapes[i]);
        } else if (i < 2 * COUNT(shapes)) { /* without its NUL */
            raw_send_frame(ann->buddy, kind, 0, shapes[i - COUNT(shapes)], strlen(shapes[i - COUNT(shapes)]));
            world_settle(w);
        } else {
            strcpy(longest, "USER=Bob\nLIST=B\nID=9\nSHOW=CHAT\nBODY=");
            memset(longest + strlen(longest), '=', 2000 - strlen(longest));
            say(ann->buddy, kind, longest);
        }
        ck_assert_uint_eq(frames_of(ann->buddy, kind, NULL), 1);
        ck_assert(!raw_closed(ann->buddy));
        for (size_t k = 0; k < ann->buddy->count; k++) {
            const char *other = frame_at(ann->buddy, k)->kind;
            ck_assert(strcmp(other, kind) == 0 || strcmp(other, "PGET") == 0 ||
                      (strcmp(kind, "RGET") == 0 && strcmp(other, "ROST") == 0) ||
                      (strcmp(kind, "USCH") == 0 && strcmp(other, "USER") == 0));
        }
    }
    ck_assert(!raw_closed(bob->buddy));
    SUCCEEDS(change(ann, "RADD", "B", "Bob"));
    set_presence(bob, "DND");
    ck_assert_str_eq(shown(ann->buddy, "Bob"), "DND");
    restart();
    link_up(ann);
    ask_rosters(ann);
    ck_assert_ptr_nonnull(strstr(rows_of(ann->buddy, 1), "Bob"));
}
END_TEST

/* ---- At random ---------------------------------------------------------- */

#define PEOPLE 6

/* What a person is, and what each of the others has been told of it. */
struct truth {
    const char *show;      /* as PSET said; NULL: whatever, but not DISC */
    bool races, drives_on; /* drives_on: the lobby link ended as the race began */
    uint64_t since_ms;     /* when it began */
    char told[PEOPLE][8];
};

static struct truth truths[PEOPLE];
static const char *const show_words[] = {"CHAT", "AWAY", "XA", "DND"};

static void take_presences(int i)
{
    struct raw *r = people[i].buddy;
    if (r == NULL)
        return;
    for (int k = 0; k < PEOPLE; k++) {
        const char *show = shown(r, people[k].name);
        if (show[0] != '\0')
            (void)snprintf(truths[i].told[k], sizeof truths[i].told[k], "%.7s", show);
    }
    (void)sees(r);
    raw_forget(r);
}

static void check_truths(void)
{
    world_settle(w);
    for (int i = 0; i < PEOPLE; i++) {
        take_presences(i);
        for (int k = 0; k < PEOPLE && people[i].buddy != NULL; k++) {
            const char *told = truths[i].told[k];
            bool there = people[k].lobby != NULL;
            if (k == i)
                continue;
            if (there && !truths[k].races && truths[k].show == NULL) {
                ck_assert_msg(strcmp(told, "DISC") != 0, "%s does not see %s", people[i].name, people[k].name);
            } else {
                const char *is = there ? truths[k].races ? "PASS" : truths[k].show
                                 : truths[k].drives_on && people[k].buddy != NULL ? "PASS"
                                                                                  : "DISC";
                ck_assert_msg(strcmp(told, is) == 0, "%s sees %s as %s, who is %s, at %llu ms", people[i].name,
                              people[k].name, told, is, (unsigned long long)w->mono_ms);
            }
        }
    }
}

static void random_deed(void)
{
    int i = (int)world_below(w, PEOPLE), k = (i + 1 + (int)world_below(w, PEOPLE - 1)) % PEOPLE;
    struct person *p = &people[i], *other = &people[k];
    struct truth *t = &truths[i];
    switch (world_below(w, 8)) {
    case 0:
    case 1:
        if (p->lobby == NULL) {
            enter(p);
            t->show = NULL;
            t->races = t->drives_on = false;
        }
        break;
    case 2:
    case 3:
        if (p->buddy == NULL) {
            link_up(p);
            for (int n = 0; n < PEOPLE; n++)
                strcpy(t->told[n], "DISC");
            ask_rosters(p);
            t->show = NULL;
        }
        break;
    case 4:
        if (p->lobby != NULL) {
            if (t->races && w->mono_ms - t->since_ms > 25000)
                world_run(w, 10000); /* never near the limit of 30 s */
            t->drives_on = t->races && p->buddy != NULL && w->mono_ms - t->since_ms <= 25000;
            leave_lobby(p);
            t->races = false;
            world_run(w, 5000);
        }
        break;
    case 5:
        if (p->buddy != NULL) {
            link_down(p);
            t->show = NULL;
            t->drives_on = false;
            world_run(w, 5000);
        }
        break;
    case 6:
        if (p->buddy != NULL && p->lobby != NULL) {
            t->show = show_words[world_below(w, COUNT(show_words))];
            set_presence(p, t->show);
        }
        break;
    default:
        if (p->lobby == NULL)
            break;
        if (t->races) {
            SUCCEEDS(raw_ask(p->lobby, "chal", "PERS=*\n"));
            t->races = false;
        } else if (other->lobby != NULL && !truths[k].races) {
            race(p, other);
            t->races = truths[k].races = true;
            t->since_ms = truths[k].since_ms = w->mono_ms;
            /* whoever of them leaves at once drives on */
            int goes = world_below(w, 2) == 0 ? i : k;
            if (world_below(w, 2) == 0 && people[goes].buddy != NULL) {
                leave_lobby(&people[goes]);
                truths[goes].races = false;
                truths[goes].drives_on = true;
                world_run(w, 5000);
            }
        }
        break;
    }
    for (int n = 0; n < PEOPLE; n++)
        if (people[n].lobby != NULL)
            raw_forget(people[n].lobby);
}

START_TEST(everyone_is_told_the_truth)
{
    static const struct world_options options[] = {{.seed = 31}, {.seed = 32, .split = WORLD_RANDOM}};
    reopen(&options[_i]);
    memset(truths, 0, sizeof truths);
    for (int i = 0; i < PEOPLE; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "Bud%d", i);
        (void)linked(name);
    }
    for (int i = 0; i < PEOPLE; i++) {
        for (int k = 0; k < PEOPLE; k++) {
            if (i != k) {
                put_on_list(&people[i], "B", people[k].name);
                strcpy(truths[i].told[k], "CHAT");
            }
        }
    }
    for (int step = 0; step < 150; step++) {
        random_deed();
        check_truths();
    }
}
END_TEST

START_TEST(every_letter_comes_once)
{
    static const struct world_options options[] = {{.seed = 41}, {.seed = 43, .split = WORLD_RANDOM}};
    int next[4] = {0}, sent[4] = {0}; /* of each recipient: what is to come, what was sent */
    reopen(&options[_i]);
    (void)linked("Bud0");
    (void)linked("Bud1");
    (void)linked("Bud2");
    (void)linked("Bud3");
    for (int step = 0; step < 200; step++) {
        int i = (int)world_below(w, 4), k = (i + 1 + (int)world_below(w, 3)) % 4;
        uint32_t deed = world_below(w, 10);
        if (deed < 6 && people[i].buddy != NULL) {
            char body[16];
            (void)snprintf(body, sizeof body, "%d", sent[k]);
            write_letter(&people[i], people[k].name, body);
            sent[k]++;
        } else if (deed < 8 && people[i].buddy != NULL) {
            link_down(&people[i]);
        } else if (deed < 9 && people[i].buddy == NULL) {
            link_up(&people[i]);
            ask_rosters(&people[i]);
        } else if (deed == 9 && world_below(w, 4) == 0) {
            restart();
        }
        for (int n = 0; n < 4; n++) {
            struct raw *r = people[n].buddy;
            world_settle(w);
            for (size_t at = 0; r != NULL && at < r->count; at++)
                if (strcmp(r->frames[at]->kind, "RECV") == 0)
                    ck_assert_int_eq(atoi(got_text(r->frames[at], "BODY")), next[n]++);
            if (r != NULL) {
                raw_forget(r);
                ck_assert_int_eq(next[n], sent[n]);
            }
        }
    }
    ck_assert_int_gt(sent[0] + sent[1] + sent[2] + sent[3], 40);
}
END_TEST

/* ---- Two consoles ------------------------------------------------------- */

static const char *friend_of(const struct console *c, const char *name)
{
    const struct console_friend *friend = console_friend(c, name);
    return friend == NULL ? "nobody" : friend->ignored ? "ignored" : friend->show;
}

static struct console *back_in(struct console *c, const char *name)
{
    console_login(c, name, "secret", name);
    world_settle(w);
    ck_assert_int_eq(c->stage, CONSOLE_INSIDE);
    ck_assert(c->buddy_in);
    return c;
}

START_TEST(two_consoles_are_friends_across_a_restart)
{
    static const enum world_split splits[] = {WORLD_WHOLE, WORLD_RANDOM};
    struct world_options options = {.split = splits[_i], .seed = 5};
    reopen(&options);
    struct console *one = world_player(w, "One"), *two = world_player(w, "Two");
    console_add_friend(one, "tWO", false);
    console_add_friend(two, "One", false);
    world_settle(w);
    ck_assert_str_eq(friend_of(one, "Two"), "CHAT");
    ck_assert_str_eq(console_friend(one, "Two")->name, "Two"); /* as it was first written */
    ck_assert_str_eq(friend_of(two, "One"), "CHAT");
    console_write_letter(one, "Two", "How about a race?");
    world_settle(w);
    ck_assert_uint_eq(two->letters.count, 1);
    ck_assert_str_eq(two->letters.at[0].from, "One");
    ck_assert_str_eq(two->letters.at[0].body, "How about a race?");
    ck_assert(console_challenge_player(one, "Two", NULL));
    world_settle(w);
    console_answer(two, "ACPT");
    world_settle(w);
    ck_assert_int_eq(one->challenge, CONSOLE_RACING);
    ck_assert_str_eq(friend_of(one, "Two"), "PASS");
    ck_assert_str_eq(friend_of(two, "One"), "PASS");
    console_back_in_lobby(two);
    world_settle(w);
    ck_assert_str_eq(friend_of(one, "Two"), "CHAT");
    console_leave(two);
    world_run(w, 5000);
    ck_assert_str_eq(friend_of(one, "Two"), "DISC");
    console_write_letter(one, "Two", "You have left.");
    console_write_letter(one, "Two", "Come back!");
    world_settle(w);
    ck_assert_uint_eq(console_awaits(one, CONSOLE_BUDDY), 0);
    ck_assert_uint_eq(console_reply(one, "SEND")->code, 0);
    restart();
    (void)back_in(one, "One");
    ck_assert_str_eq(friend_of(one, "Two"), ""); /* listed, and not there */
    (void)back_in(two, "Two");
    ck_assert_str_eq(friend_of(one, "Two"), "CHAT");
    ck_assert_str_eq(friend_of(two, "One"), "CHAT");
    ck_assert_uint_eq(two->letters.count, 3);
    ck_assert_str_eq(two->letters.at[1].body, "You have left.");
    ck_assert_str_eq(two->letters.at[2].body, "Come back!");
    console_leave(two);
    world_run(w, 1000);
    (void)back_in(two, "Two");
    ck_assert_uint_eq(two->letters.count, 3); /* once */
    console_drop_friend(one, "Two", false);
    world_settle(w);
    ck_assert_str_eq(friend_of(one, "Two"), "nobody");
    console_leave(one);
    world_run(w, 1000);
    (void)back_in(one, "One");
    ck_assert_str_eq(friend_of(one, "Two"), "nobody");
}
END_TEST

START_TEST(a_console_blocks_another)
{
    struct console *one = world_player(w, "One"), *two = world_player(w, "Two");
    console_add_friend(one, "Two", true);
    world_settle(w);
    for (int i = 0; i < 2; i++) {
        ck_assert_str_eq(friend_of(one, "Two"), "ignored");
        console_move(one, "East", "");
        console_move(two, "East", "");
        world_settle(w);
        console_chat(two, "hello");
        console_tell(two, "One", "psst");
        console_write_letter(two, "One", "dear");
        ck_assert(console_challenge_player(two, "One", NULL));
        world_settle(w);
        ck_assert_uint_eq(console_saw(one, NULL, "hello") + console_saw(one, NULL, "psst"), 0);
        ck_assert_uint_eq(one->letters.count, 0);
        ck_assert_int_eq(one->challenge, CONSOLE_IDLE);
        ck_assert_int_eq(two->challenge, CONSOLE_IDLE); /* BLOC came */
        if (i == 0) {
            restart();
            (void)back_in(one, "One");
            (void)back_in(two, "Two");
        }
    }
    console_drop_friend(one, "Two", true);
    world_settle(w);
    console_chat(two, "hello");
    console_write_letter(two, "One", "dear");
    world_settle(w);
    ck_assert_uint_eq(console_saw(one, "Two", "hello"), 1);
    ck_assert_uint_eq(one->letters.count, 1);
}
END_TEST

START_TEST(a_full_house_of_consoles_sees_itself)
{
    struct console *c[12];
    char name[16];
    for (int i = 0; i < COUNT(c); i++) {
        (void)snprintf(name, sizeof name, "Racer%d", i);
        c[i] = world_player(w, name);
    }
    for (int i = 0; i < COUNT(c); i++) {
        for (int k = 0; k < COUNT(c); k++) {
            (void)snprintf(name, sizeof name, "racer%d", k);
            if (k != i)
                console_add_friend(c[i], name, false);
        }
    }
    world_settle(w);
    console_leave(c[3]);
    world_run(w, 5000);
    for (int i = 0; i < COUNT(c); i++) {
        for (int k = 0; k < COUNT(c); k++) {
            (void)snprintf(name, sizeof name, "Racer%d", k);
            if (k != i && i != 3)
                ck_assert_str_eq(friend_of(c[i], name), k == 3 ? "DISC" : "CHAT");
        }
        ck_assert_uint_eq(console_awaits(c[i], CONSOLE_BUDDY), 0);
    }
    world_run(w, 120000); /* pings on every link */
    for (int i = 0; i < COUNT(c); i++)
        ck_assert(i == 3 || (c[i]->link[CONSOLE_BUDDY].open && c[i]->link[CONSOLE_BUDDY].pings >= 3));
}
END_TEST

/* ---- main --------------------------------------------------------------- */

int main(void)
{
    Suite *suite = suite_create("buddies");

    TCase *tickets = tcase_create("the ticket");
    tcase_add_checked_fixture(tickets, open_world, close_world);
    tcase_add_test(tickets, a_ticket_opens_the_service_with_or_without_its_dollar);
    tcase_add_test(tickets, no_other_ticket_opens_it);
    tcase_add_test(tickets, a_refused_link_may_try_again);
    tcase_add_loop_test(tickets, a_ticket_lives_12_hours_across_restarts, 0, 4);
    tcase_add_test(tickets, a_ticket_lives_until_the_next_pers_of_that_persona);
    tcase_add_test(tickets, a_link_that_stands_outlives_its_ticket);
    tcase_add_test(tickets, a_ticket_is_written_nowhere);
    tcase_add_test(tickets, pers_waits_until_its_ticket_is_kept);
    tcase_add_loop_test(tickets, who_hangs_up_while_its_ticket_is_written_is_not_there, 0, 2);
    tcase_add_test(tickets, with_no_disk_players_come_in_all_the_same);
    tcase_add_test(tickets, a_second_link_takes_the_place_of_the_first);
    tcase_add_test(tickets, each_service_has_its_own_commands);
    suite_add_tcase(suite, tickets);

    TCase *rosters = tcase_create("rosters");
    tcase_add_checked_fixture(rosters, open_world, close_world);
    tcase_add_test(rosters, an_empty_roster_ends_with_size_0);
    tcase_add_loop_test(rosters, both_rosters_then_who_is_online_then_the_letters, 0, 3);
    tcase_add_test(rosters, the_ignore_list_brings_nobodys_presence);
    tcase_add_test(rosters, rows_come_whole_however_slowly_they_are_read);
    tcase_add_test(rosters, many_rosters_in_one_segment_come_all);
    tcase_add_loop_test(rosters, who_is_added_is_named_as_first_written, 0, 4);
    tcase_add_test(rosters, a_bad_roster_change_is_refused_with_its_id);
    tcase_add_test(rosters, a_bad_request_for_a_roster_is_refused);
    tcase_add_test(rosters, a_roster_holds_25);
    tcase_add_loop_test(rosters, to_block_is_both_lists_with_one_id, 0, 2);
    tcase_add_test(rosters, a_roster_is_kept);
    tcase_add_loop_test(rosters, a_change_is_answered_when_it_is_kept, 0, 2);
    tcase_add_test(rosters, a_change_that_is_not_kept_has_not_happened);
    tcase_add_test(rosters, a_full_table_of_rosters_refuses);
    suite_add_tcase(suite, rosters);

    TCase *presence = tcase_create("presence");
    tcase_add_checked_fixture(presence, open_world, close_world);
    tcase_add_test(presence, pset_is_relayed_to_everyone_who_lists_the_player);
    tcase_add_test(presence, each_presence_is_shown_as_it_was_set);
    tcase_add_test(presence, who_sets_disc_seems_to_be_gone);
    tcase_add_test(presence, a_bad_presence_changes_nothing);
    tcase_add_loop_test(presence, who_says_nothing_of_itself_may_chat, 0, 3);
    tcase_add_test(presence, free_text_in_a_presence_forges_no_tag);
    tcase_add_test(presence, presence_follows_the_lobby);
    tcase_add_loop_test(presence, racing_ends_as_a_race_ends, 0, 5);
    tcase_add_loop_test(presence, the_end_of_the_lobby_is_told_within_5_s, 0, 4);
    tcase_add_loop_test(presence, a_race_that_has_just_begun_may_end_the_lobby_link, 0, 2);
    tcase_add_test(presence, a_new_buddy_link_keeps_who_races);
    tcase_add_loop_test(presence, a_lobby_link_that_ends_otherwise_ends_presence, 0, 4);
    tcase_add_test(presence, another_persona_is_somebody_else);
    tcase_add_test(presence, a_login_elsewhere_is_no_goodbye);
    tcase_add_test(presence, changes_are_told_from_auth_on);
    tcase_add_test(presence, who_is_taken_off_the_roster_is_not_told_of);
    tcase_add_loop_test(presence, a_subscription_lasts_as_long_as_its_link, 0, 2);
    tcase_add_test(presence, a_subscription_begins_with_whatever_is);
    tcase_add_test(presence, a_subscription_and_the_roster_are_two_things);
    tcase_add_test(presence, a_link_has_25_subscriptions);
    tcase_add_test(presence, presence_is_told_to_who_asks);
    tcase_add_test(presence, nobody_subscribes_to_nobody);
    tcase_add_test(presence, many_watchers_are_each_told_once);
    tcase_add_loop_test(presence, a_reader_who_is_behind_is_told_what_is_now, 0, 2);
    tcase_add_loop_test(presence, a_change_of_the_roster_loses_no_news, 0, 3);
    tcase_add_test(presence, what_is_set_in_a_race_shows_after_it);
    tcase_add_test(presence, a_deleted_persona_is_on_no_roster_and_nobody_hears_of_it);
    suite_add_tcase(suite, presence);

    TCase *mail = tcase_create("letters");
    tcase_add_checked_fixture(mail, open_world, close_world);
    tcase_add_loop_test(mail, a_letter_comes_at_once_to_who_is_linked, 0, 2);
    tcase_add_test(mail, a_letter_keeps_its_type);
    tcase_add_loop_test(mail, a_letter_waits_for_the_next_rosters, 0, 4);
    tcase_add_loop_test(mail, either_roster_brings_the_letters, 0, 2);
    tcase_add_loop_test(mail, a_letter_is_kept_for_its_seconds, 0, 8);
    tcase_add_test(mail, a_letter_for_no_time_comes_now_or_never);
    tcase_add_test(mail, strange_seconds_lose_no_letter_silently);
    tcase_add_loop_test(mail, fifty_letters_are_kept, 0, 4);
    tcase_add_loop_test(mail, a_full_table_of_letters_refuses, 0, 2);
    tcase_add_loop_test(mail, long_letters_come_all_and_in_order, 0, 2);
    tcase_add_test(mail, a_link_lost_while_letters_come_loses_none);
    tcase_add_loop_test(mail, a_letter_says_what_was_written, 0, 7);
    tcase_add_test(mail, a_bad_letter_is_refused);
    tcase_add_loop_test(mail, a_letter_is_kept_before_it_is_answered, 0, 4);
    tcase_add_test(mail, who_links_while_a_letter_is_written_gets_it);
    tcase_add_test(mail, with_no_disk_letters_still_come_to_who_is_linked);
    tcase_add_test(mail, letters_read_while_there_is_no_disk_take_no_room);
    tcase_add_test(mail, a_letter_that_is_being_read_is_not_written_anew);
    tcase_add_loop_test(mail, letters_to_a_deleted_persona_are_gone, 0, 2);
    tcase_add_loop_test(mail, a_letter_of_a_deleted_persona_harms_nobody, 0, 2);
    tcase_add_test(mail, many_letters_to_a_slow_reader_are_not_lost);
    suite_add_tcase(suite, mail);

    TCase *ignoring = tcase_create("ignoring");
    tcase_add_checked_fixture(ignoring, open_world, close_world);
    tcase_add_test(ignoring, an_ignored_player_is_not_heard);
    tcase_add_loop_test(ignoring, nothing_is_kept_for_who_ignores, 0, 2);
    tcase_add_test(ignoring, who_is_ignored_by_now_is_not_read);
    tcase_add_test(ignoring, an_ignore_list_works_without_a_buddy_link);
    suite_add_tcase(suite, ignoring);

    TCase *others = tcase_create("search, goodbye, ping");
    tcase_add_checked_fixture(others, open_world, close_world);
    tcase_add_test(others, personas_are_found_by_how_they_begin);
    tcase_add_test(others, a_search_finds_20_at_most);
    tcase_add_test(others, a_search_needs_two_letters);
    tcase_add_test(others, disc_is_goodbye);
    tcase_add_test(others, an_echo_of_a_ping_is_answered_by_nothing);
    tcase_add_loop_test(others, no_payload_breaks_a_link, 0, 10);
    suite_add_tcase(suite, others);

    TCase *chance = tcase_create("at random");
    tcase_add_checked_fixture(chance, open_world, close_world);
    tcase_add_loop_test(chance, everyone_is_told_the_truth, 0, 2);
    tcase_add_loop_test(chance, every_letter_comes_once, 0, 2);
    suite_add_tcase(suite, chance);

    TCase *consoles = tcase_create("consoles");
    tcase_add_checked_fixture(consoles, open_world, close_world);
    tcase_add_loop_test(consoles, two_consoles_are_friends_across_a_restart, 0, 2);
    tcase_add_test(consoles, a_console_blocks_another);
    tcase_add_test(consoles, a_full_house_of_consoles_sees_itself);
    suite_add_tcase(suite, consoles);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
