/* A busy run: what it was told, what the journal says, what the players find.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem, pipe2, prlimit, unshare */

#include "durable.h"

#include <sys/socket.h>

/* ---- A busy run: what it was told --------------------------------------- */

struct life lives[LIVES];
size_t life_count;
struct letter letters[LETTERS];
static size_t letter_count;
struct writer writers[WRITERS];
size_t writer_count;
size_t acknowledged;

static const char *life_name(size_t life)
{
    return lives[life].name;
}

/* Anyone with a persona who has left. */
static size_t somebody_offline(size_t but)
{
    for (int tries = 0; tries < 20 && life_count > 0; tries++) {
        size_t i = chance((uint32_t)life_count);
        if (i != but && lives[i].over && lives[i].persona == YES)
            return i;
    }
    return LIFE_NONE;
}

static void begin_life(struct writer *w, size_t life)
{
    struct life *l = &lives[life];
    clear_seat(w->seat);
    w->life = life;
    w->done = 0;
    w->kind = NULL;
    l->over = false;
    l->account = l->persona = MAYBE;
    console_signup(w->seat->console, l->name, password_of(l->name), "racer@example.org", l->name);
}

static struct edge *edge_to(struct life *l, size_t whom, char list)
{
    for (size_t i = 0; i < l->edges; i++)
        if (l->edge[i].whom == whom && l->edge[i].list == list)
            return &l->edge[i];
    if (l->edges == EDGES)
        return NULL;
    struct edge *e = &l->edge[l->edges++];
    *e = (struct edge){.whom = whom, .list = list, .there = NO};
    return e;
}

static void begin_add(struct writer *w, size_t whom)
{
    struct console *c = w->seat->console;
    bool block = chance(4) == 0;
    w->changing[0] = edge_to(&lives[w->life], whom, 'B');
    w->changing[1] = block ? edge_to(&lives[w->life], whom, 'I') : NULL;
    if (w->changing[0] == NULL || (block && w->changing[1] == NULL)) {
        w->changing[0] = w->changing[1] = NULL;
        return;
    }
    w->changing[0]->there = MAYBE;
    if (block)
        w->changing[1]->there = MAYBE;
    w->kind = "RADD";
    w->wanted = replies(c, "RADD") + (block ? 2 : 1);
    console_add_friend(c, life_name(whom), block);
}

static void begin_drop(struct writer *w)
{
    struct console *c = w->seat->console;
    struct life *l = &lives[w->life];
    if (l->edges == 0 || l->edge[0].there != YES)
        return;
    w->changing[0] = &l->edge[0];
    w->changing[1] = NULL;
    w->changing[0]->there = MAYBE;
    w->kind = "RDEL";
    w->wanted = replies(c, "RDEL") + 1;
    console_drop_friend(c, life_name(l->edge[0].whom), l->edge[0].list == 'I');
}

static void begin_letter(struct writer *w, size_t whom)
{
    struct console *c = w->seat->console;
    if (letter_count == LETTERS)
        return;
    struct letter *letter = &letters[letter_count];
    *letter = (struct letter){.from = w->life, .to = whom, .sent = MAYBE};
    (void)snprintf(letter->body, sizeof letter->body, "lap %zu: 100%% \"flat out\"", letter_count++);
    w->writing = letter;
    w->kind = "SEND";
    w->wanted = replies(c, "SEND") + 1;
    console_write_letter(c, life_name(whom), letter->body);
}

/* The server has answered: what was asked for is so. */
static void end_operation(struct writer *w)
{
    struct console *c = w->seat->console;
    if (code_of(c, w->kind) != 0)
        fail("%s of %s is refused: code %lx", w->kind, c->name, (unsigned long)code_of(c, w->kind));
    if (w->writing != NULL) {
        w->writing->sent = YES;
        acknowledged++;
    }
    for (size_t i = 0; i < 2; i++) {
        if (w->changing[i] != NULL) {
            w->changing[i]->there = strcmp(w->kind, "RADD") == 0 ? YES : NO;
            acknowledged++;
        }
    }
    w->writing = NULL;
    w->changing[0] = w->changing[1] = NULL;
    w->kind = NULL;
}

void observe(struct writer *w)
{
    const struct console *c = w->seat->console;
    if (w->life == LIFE_NONE)
        return;
    struct life *l = &lives[w->life];
    if (l->account == MAYBE && replies(c, "acct") > 0) {
        if (code_of(c, "acct") != 0)
            fail("the sign-up of %s is refused: code %lx", l->name, (unsigned long)code_of(c, "acct"));
        l->account = YES;
        acknowledged++;
    }
    if (l->persona == MAYBE && replies(c, "cper") > 0) {
        EXPECT(code_of(c, "cper") == 0);
        l->persona = YES;
        acknowledged++;
    }
    if (w->kind != NULL && replies(c, w->kind) >= w->wanted)
        end_operation(w);
}

/* Waits for the server's end of the buddy link: from then on messages for this
 * persona are kept. */
static void leave_buddy_first(struct writer *w)
{
    struct seat *seat = w->seat;
    if (seat->fd[CONSOLE_BUDDY] >= 0 && seat->console->buddy_in) {
        (void)shutdown(seat->fd[CONSOLE_BUDDY], SHUT_WR);
    } else if (seat->fd[CONSOLE_LOBBY] >= 0) {
        console_leave(seat->console);
    } else {
        lives[w->life].over = true;
        w->life = LIFE_NONE;
    }
}

static void live_on(struct writer *w, size_t *next)
{
    observe(w);
    if (w->life == LIFE_NONE) {
        while (*next < life_count && lives[*next].account != NO)
            ++*next;
        if (*next < life_count)
            begin_life(w, *next);
    } else if (w->done == OPERATIONS && w->kind == NULL) {
        leave_buddy_first(w);
    } else if (w->kind == NULL && has_roster(w->seat->console)) {
        size_t whom = somebody_offline(w->life);
        w->done++;
        if (w->done == 3)
            begin_drop(w);
        else if (whom != LIFE_NONE && w->done < 3)
            begin_add(w, whom);
        else if (whom != LIFE_NONE)
            begin_letter(w, whom);
    }
}

bool live_until(size_t enough)
{
    uint64_t end_ms = now_ms() + 60000;
    size_t next = 0, living = 1;
    while (living > 0 && acknowledged < enough) {
        living = 0;
        for (size_t i = 0; i < writer_count; i++) {
            live_on(&writers[i], &next);
            living += writers[i].life != LIFE_NONE;
        }
        if (living > 0)
            pump(20);
        EXPECT(now_ms() < end_ms);
    }
    return living == 0;
}

void begin_run(const struct server *s, size_t accounts, size_t at_once)
{
    EXPECT(accounts <= LIVES && at_once <= WRITERS);
    life_count = accounts;
    letter_count = acknowledged = 0;
    memset(lives, 0, sizeof lives);
    memset(writers, 0, sizeof writers);
    for (size_t i = 0; i < accounts; i++)
        (void)snprintf(lives[i].name, sizeof lives[i].name, "Racer%04u", (unsigned)i % 10000);
    writer_count = at_once;
    for (size_t i = 0; i < at_once; i++) {
        writers[i].seat = seat_new(s, 0x7F000101u + (uint32_t)i);
        writers[i].life = LIFE_NONE;
    }
}

/* ---- A busy run: what the journal says ---------------------------------- */

/* Compares one thing with what the journal has of it, and settles a MAYBE. */
static void compare(enum known *known, bool there, const char *what, const char *name, const char *other)
{
    if (*known == MAYBE)
        *known = there ? YES : NO;
    if ((*known == YES) != there) {
        fail("%s %s %s was acknowledged as %s and is %s in the journal", what, name, other,
             *known == YES ? "there" : "gone", there ? "there" : "not there");
    }
}

/* Its own record made it, or its account's did. */
static bool has_persona(const struct journal *j, const char *name)
{
    const struct kept *a = find_record(j, "acct", name, NULL, NULL, NULL);
    return find_record(j, "cper", NULL, name, NULL, NULL) != NULL || (a != NULL && strcmp(a->personas, name) == 0);
}

static void compare_lives(const struct journal *j)
{
    for (size_t i = 0; i < life_count; i++) {
        struct life *l = &lives[i];
        compare(&l->account, find_record(j, "acct", l->name, NULL, NULL, NULL) != NULL, "account", l->name, "");
        compare(&l->persona, has_persona(j, l->name), "persona", l->name, "");
        for (size_t k = 0; k < l->edges; k++) {
            struct edge *e = &l->edge[k];
            const struct kept *r = find_record(j, "rost", NULL, l->name, life_name(e->whom), NULL);
            compare(&e->there, r != NULL && strchr(r->list, e->list) != NULL, e->list == 'B' ? "buddy" : "ignored",
                    l->name, life_name(e->whom));
        }
    }
    for (size_t i = 0; i < letter_count; i++) {
        const struct kept *r =
            find_record(j, "mesg", NULL, life_name(letters[i].to), life_name(letters[i].from), letters[i].body);
        compare(&letters[i].sent, r != NULL, "message", letters[i].body, life_name(letters[i].to));
    }
}

void settle_lives(const struct server *s)
{
    static struct journal j;
    for (size_t i = 0; i < writer_count; i++) {
        struct writer *w = &writers[i];
        observe(w);
        if (w->life != LIFE_NONE)
            lives[w->life].over = true;
        clear_seat(w->seat);
        *w = (struct writer){.seat = w->seat, .life = LIFE_NONE};
    }
    journal_load(&j, s->data);
    compare_lives(&j);
}

/* ---- A busy run: what the players find ---------------------------------- */

size_t letters_to(size_t life)
{
    size_t count = 0;
    for (size_t i = 0; i < letter_count; i++)
        count += letters[i].to == life && letters[i].sent == YES;
    return count;
}

static void check_roster(const struct console *c, const struct life *l)
{
    size_t friends = 0;
    for (size_t i = 0; i < l->edges; i++) {
        const struct edge *e = &l->edge[i];
        const struct console_friend *f = console_friend(c, life_name(e->whom));
        bool listed = false, ignored = false;
        for (size_t k = 0; k < l->edges; k++) {
            listed = listed || (l->edge[k].whom == e->whom && l->edge[k].there == YES);
            ignored = ignored || (l->edge[k].whom == e->whom && l->edge[k].there == YES && l->edge[k].list == 'I');
        }
        if ((f != NULL) != listed || (f != NULL && f->ignored != ignored)) {
            fail("%s finds %s %s, not %s%s", l->name, life_name(e->whom),
                 f == NULL    ? "missing"
                 : f->ignored ? "ignored"
                              : "listed",
                 listed ? "listed" : "missing", ignored ? " and ignored" : "");
        }
    }
    for (size_t k = 0; k < c->friends.count; k++)
        for (size_t i = 0; i < l->edges && friends == k; i++)
            friends += strcmp(life_name(l->edge[i].whom), c->friends.at[k].name) == 0;
    EXPECT(friends == c->friends.count);
}

static void check_letters(const struct console *c, size_t life)
{
    size_t place = 0;
    for (size_t i = 0; i < letter_count; i++) { /* a persona's are numbered in the order of their sending */
        if (letters[i].to != life || letters[i].sent != YES)
            continue;
        size_t times = 0;
        for (size_t k = 0; k < c->letters.count; k++) {
            times += strcmp(c->letters.at[k].body, letters[i].body) == 0 &&
                     strcmp(c->letters.at[k].from, life_name(letters[i].from)) == 0;
        }
        if (times != 1)
            fail("%s gets `%s` %zu times", lives[life].name, letters[i].body, times);
        place++;
    }
    if (c->letters.count != place)
        fail("%s gets %zu messages, not %zu", lives[life].name, c->letters.count, place);
}

void find_all(size_t first, size_t last, bool letters_due)
{
    size_t at[WRITERS], next = first, busy = 0;
    uint64_t quiet_ms[WRITERS] = {0};
    for (size_t i = 0; i < writer_count; i++)
        at[i] = LIFE_NONE;
    for (uint64_t end = now_ms() + 60000; next < last || busy > 0; pump(20)) {
        EXPECT(now_ms() < end);
        for (size_t i = 0; i < writer_count; i++) {
            struct console *c = writers[i].seat->console;
            if (at[i] == LIFE_NONE && next < last) {
                if (lives[next].account != YES)
                    fail("%s has no account", lives[next].name);
                at[i] = next++;
                busy++;
                quiet_ms[i] = 0;
                clear_seat(writers[i].seat);
                console_login(writers[i].seat->console, life_name(at[i]), password_of(life_name(at[i])),
                              life_name(at[i]));
            } else if (at[i] != LIFE_NONE && c->stage == CONSOLE_LOGIN && c->refused != 0) {
                fail("%s cannot log in: code %lx", c->name, (unsigned long)c->refused);
            } else if (at[i] != LIFE_NONE && has_roster(c)) {
                bool all = c->letters.count >= (letters_due ? letters_to(at[i]) : 0);
                quiet_ms[i] = quiet_ms[i] != 0 ? quiet_ms[i] : now_ms() + (all ? 60 : 2000);
                if (all && quiet_ms[i] > now_ms() + 60)
                    quiet_ms[i] = now_ms() + 60;
                if (now_ms() < quiet_ms[i])
                    continue;
                check_roster(c, &lives[at[i]]);
                if (letters_due)
                    check_letters(c, at[i]);
                else if (c->letters.count > 0)
                    fail("%s gets `%s` once more", c->name, c->letters.at[0].body);
                clear_seat(writers[i].seat);
                at[i] = LIFE_NONE;
                busy--;
            }
        }
    }
}
