/* The durability test: what the real binary has acknowledged is there again
 * after a kill, a cut or spoiled journal, a full or failing disk; and nobody's
 * password is in anything that it keeps.
 *
 * usage: durable ./nascar_server [PART]     only the cases with PART in their name
 *        DURABLE_SEED=N                     the same random moments again
 *
 * The journal is read here by code of its own, from what DESIGN.md 5 says of
 * it. Output is as tests/live.c's.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem, pipe2, prlimit, unshare */

#include "durable.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

/* ---- Cases: kill -------------------------------------------------------- */

#define KILLED_ACCOUNTS 500

CASE(everything_acknowledged_survives_kills, 120)
{
    struct server *s = START(CROWD);
    static struct journal j;
    size_t kills = 0, largest = 0, edges = 0, sent_letters = 0;
    begin_run(s, KILLED_ACCOUNTS, 16);
    uint64_t began = now_ms();
    while (!live_until(acknowledged + 20 + chance(200))) {
        for (uint64_t moment = now_us() + chance(3000); now_us() < moment;) {
            pump(0);
            for (size_t i = 0; i < writer_count; i++)
                observe(&writers[i]);
        }
        kill_server(s);
        kills++;
        settle_lives(s);
        no_secret_is_kept();
        START_AGAIN(s, CROWD);
        size_t from = chance(KILLED_ACCOUNTS);
        for (size_t i = 0; i < KILLED_ACCOUNTS; i++) { /* one of them, in between */
            const struct life *l = &lives[(from + i) % KILLED_ACCOUNTS];
            if (l->account == YES) {
                EXPECT(log_in(s, l->name) == 0);
                break;
            }
        }
    }
    uint64_t took = now_ms() - began;
    kill_server(s);
    settle_lives(s);
    journal_load(&j, s->data);
    for (size_t i = 0; i < j.batches; i++) {
        size_t records = j.batch[i].records - (i > 0 ? j.batch[i - 1].records : 0);
        largest = records > largest ? records : largest;
    }
    START_AGAIN(s, CROWD);
    find_all(0, KILLED_ACCOUNTS, true);
    for (size_t i = 0; i < KILLED_ACCOUNTS; i++) {
        for (size_t k = 0; k < lives[i].edges; k++)
            edges += lives[i].edge[k].there == YES;
        sent_letters += letters_to(i);
    }
    note("%zu accounts, %zu roster edges, %zu messages, %zu changes, %zu kills in %.1f s; journal: %zu batches, %zu "
         "records, at most %zu "
         "in one, %zu bytes\n",
         life_count, edges, sent_letters, acknowledged, kills, (double)took / 1000, j.batches, j.records, largest,
         j.size);
    EXPECT(kills >= 5 && largest >= 3 && edges >= KILLED_ACCOUNTS / 4 && sent_letters >= KILLED_ACCOUNTS / 4);

    /* Messages are delivered once, whatever comes then. */
    find_all(0, 60, false);
    EXPECT(sign_up(s, "Marker") == 0);
    kill_server(s);
    START_AGAIN(s, CROWD);
    find_all(60, 120, false);
    (void)stop(s, SIGTERM);
    START_AGAIN(s, CROWD);
    find_all(120, 150, false);
}

/* ---- Cases: two consoles and a restart ---------------------------------- */

static bool shows(const struct console *c, const char *name, const char *show)
{
    const struct console_friend *f = console_friend(c, name);
    return f != NULL && strcmp(f->show, show) == 0;
}

#define KEEPING CHEAP, "--log-level", "debug", "--record"

static void restart(struct server *s, bool killed, const char *recording)
{
    if (killed) {
        kill_server(s);
    } else {
        (void)stop(s, SIGTERM);
        UNTIL(2000, seats[0].fd[CONSOLE_LOBBY] < 0 && seats[1].fd[CONSOLE_LOBBY] < 0 && seats[2].fd[CONSOLE_LOBBY] < 0);
    }
    no_secret_is_kept();
    for (size_t i = 0; i < seat_count; i++) {
        console_leave(seats[i].console);
        pump(0);
        seats[i].console->letters.count = 0;
    }
    START_AGAIN(s, KEEPING, recording);
}

/* Buddies, presence, blocking and messages, before any restart. */
static void make_friends(struct seat *as, struct seat *bs, struct seat *cs)
{
    struct console *a = as->console, *b = bs->console, *c = cs->console;
    console_add_friend(a, "bob", false);
    UNTIL(3000, shows(a, "Bob", "CHAT"));
    console_add_friend(b, "Alice", false);
    UNTIL(3000, shows(b, "Alice", "CHAT"));
    console_request(b, CONSOLE_BUDDY, "PSET", "SHOW=AWAY\nSTAT=\"in the pits\"\nPROD=\"is online\"\n");
    UNTIL(3000, shows(a, "Bob", "AWAY"));
    leave(bs);
    UNTIL(5000, shows(a, "Bob", "DISC"));
    (void)visit(bs, "Bob");
    UNTIL(3000, shows(a, "Bob", "CHAT") && shows(b, "Alice", "CHAT"));

    enter(a, "East");
    enter(b, "East");
    enter(c, "East");
    UNTIL(3000, is_in(a, "East", 3) && is_in(b, "East", 3) && is_in(c, "East", 3));
    talk(c, a, "hi all");
    console_add_friend(a, "Carol", true);
    UNTIL(3000, settled(a) && console_friend(a, "Carol") != NULL && console_friend(a, "Carol")->ignored);
    talk(c, b, "can you hear me?");
    console_write_letter(c, "Alice", "hello?");
    UNTIL(3000, settled(c) && code_of(c, "SEND") == 0);
    console_write_letter(b, "alice", "hello!");
    UNTIL(3000, a->letters.count == 1);
    EXPECT(strcmp(a->letters.at[0].from, "Bob") == 0 && strcmp(a->letters.at[0].body, "hello!") == 0);
    EXPECT(console_saw(a, "Carol", "can you hear me?") == 0);
}

static void check_friends(const struct console *a, const struct console *b)
{
    EXPECT(console_friend(a, "Bob") != NULL && !console_friend(a, "Bob")->ignored);
    EXPECT(console_friend(a, "Carol") != NULL && console_friend(a, "Carol")->ignored);
    EXPECT(a->friends.count == 2 && b->friends.count == 1 && console_friend(b, "Alice") != NULL);
}

CASE(two_consoles_find_it_all_again_after_restarts, 30)
{
    char recording[3][128], ticket[64], *tickets_text;
    for (size_t i = 0; i < 3; i++)
        (void)snprintf(recording[i], sizeof recording[i], "%s/%zu.rec", folder, i);
    struct server *s = START(KEEPING, recording[0]);
    struct seat *as = visitor(s, "Alice"), *bs = visitor(s, "Bob"), *cs = visitor(s, "Carol");
    struct console *a = as->console, *b = bs->console, *c = cs->console;
    make_friends(as, bs, cs);
    race(a, b);
    UNTIL(3000, shows(b, "Alice", "PASS") && shows(a, "Bob", "PASS"));
    console_back_in_lobby(a);
    console_back_in_lobby(b);
    UNTIL(3000, shows(b, "Alice", "CHAT") && shows(a, "Bob", "CHAT"));
    leave(as);
    UNTIL(5000, shows(b, "Alice", "DISC"));
    console_write_letter(b, "Alice", "gone already?");
    console_write_letter(b, "Alice", "see you, 100%");
    console_write_letter(c, "Alice", "me too");
    UNTIL(3000, settled(b) && settled(c) && replies(b, "SEND") == 3 && code_of(b, "SEND") == 0);
    memcpy(ticket, c->ticket, sizeof ticket);

    restart(s, true, recording[1]);
    EXPECT(show_ticket(s, "Carol", ticket) == 0);
    EXPECT(show_ticket(s, "Alice", ticket) != 0);
    (void)visit(bs, "Bob");
    EXPECT(shows(b, "Alice", "DISC") || shows(b, "Alice", ""));
    (void)visit(as, "Alice");
    (void)visit(cs, "Carol");
    EXPECT(show_ticket(s, "Carol", ticket) != 0); /* until the persona's next pers */
    UNTIL(3000, a->letters.count == 2 && shows(a, "Bob", "CHAT") && shows(b, "Alice", "CHAT"));
    check_friends(a, b);
    run_for(100);
    EXPECT(a->letters.count == 2 && b->letters.count == 0 && c->letters.count == 0);
    EXPECT(strcmp(a->letters.at[0].body, "gone already?") == 0 && strcmp(a->letters.at[1].body, "see you, 100%") == 0);
    EXPECT(strcmp(a->letters.at[0].from, "Bob") == 0);
    report(a, 0, 0); /* of the race before the kill */
    report(a, 0, SESS);
    memcpy(c->race_ticket, a->race_ticket, sizeof c->race_ticket);
    report(c, 0, SESS);
    check_board(c, "Alice", "Bob");

    restart(s, false, recording[2]);
    (void)visit(as, "Alice");
    (void)visit(bs, "Bob");
    (void)visit(cs, "Carol");
    run_for(200);
    check_friends(a, b);
    EXPECT(a->letters.count == 0);
    report(b, 1, 0); /* the other racer's word is taken, and changes nothing */
    report(b, 1, SESS);
    report(a, 0, SESS);
    check_board(b, "Alice", "Bob");
    enter(a, "East");
    enter(b, "East");
    enter(c, "East");
    UNTIL(3000, is_in(a, "East", 3) && is_in(b, "East", 3) && is_in(c, "East", 3));
    talk(c, b, "still blocked?");
    EXPECT(console_saw(a, "Carol", "still blocked?") == 0);

    /* Tickets to the buddy service are not kept either, only what they hash to. */
    static struct journal j;
    kill_server(s);
    journal_load(&j, s->data);
    tickets_text = ticket[0] == '$' ? ticket + 1 : ticket;
    EXPECT(strlen(tickets_text) >= 16 && find_record(&j, "tick", NULL, "Carol", NULL, NULL) != NULL);
    EXPECT(memmem(j.bytes, j.size, tickets_text, strlen(tickets_text)) == NULL);
    for (size_t i = 0; i < 3; i++) {
        const struct finished *f = BINARY("replay", recording[i]);
        if (f->status != (i == 0 || i == 2 ? f->status : 0)) /* those of killed servers end in the middle */
            fail("the recording cannot be run again: %s%s", f->out, f->err);
    }
}

/* ---- Cases: passwords --------------------------------------------------- */

CASE_BESIDE(no_password_is_in_anything_that_is_kept, 30)
{
    static const char *const forms[] = {"on", "off"};
    char request[256], recording[128], journal[160], fresh[160];
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(recording, sizeof recording, "%s/form%zu.rec", folder, i);
        struct server *s = START(CHEAP, "--log-level", "debug", "--skey", forms[i], "--record", recording);
        struct seat *as = seat_new(s, LOCALHOST), *bs = seat_new(s, LOCALHOST);
        struct console *a = as->console, *b = bs->console;
        size_t secrets_before = secret_count;
        console_signup(a, "Alice", password("sesame:42=\"%41"), "alice@example.org", "Alice");
        UNTIL(3000, settled(a));
        console_login(b, "Bobby", password("~$tilde$~"), "Bobby");
        UNTIL(3000, settled(b));
        console_create_room(b, "C.Secret", password("pit$stop,4"), "None", 5);
        UNTIL(3000, settled(b));
        console_move(a, "C.Secret", password("pit$lane,5"));
        UNTIL(3000, settled(a) && code_of(a, "move") == PASS);
        struct console_tags tags = {.size = 0};
        console_put_text(&tags, "NAME", "Alice");
        console_put_text(&tags, "PASS", "sesame:42=\"%41");
        console_put_text(&tags, "CHNG", password("fresh*words'43"));
        console_request(a, CONSOLE_LOBBY, "edit", tags.text);
        UNTIL(3000, settled(a) && code_of(a, "edit") == 0);
        leave(as);
        console_login(a, "Alice", "sesame:42=\"%41", "Alice");
        UNTIL(3000, a->stage == CONSOLE_LOGIN && a->refused == PASS);
        console_login(a, "Alice", password("never was it;44"), "Alice");
        UNTIL(3000, a->stage == CONSOLE_LOGIN && replies(a, "auth") == 2 && a->refused == PASS);
        console_login(a, "Alice", "fresh*words'43", "Alice");
        UNTIL(3000, settled(a));
        (void)snprintf(request, sizeof request, "%s\n", password("by.the<operator"));
        EXPECT(BINARY_READS(request, "ctl", "--data", s->data, "passwd", "Bobby")->status == 0);
        leave(bs);
        console_login(b, "Bobby", "by.the<operator", "Bobby");
        UNTIL(3000, settled(b));

        /* A disk that fails makes it write all anew. */
        (void)snprintf(journal, sizeof journal, "%s/journal", s->data);
        (void)snprintf(fresh, sizeof fresh, "%s/journal.new", s->data);
        struct trace t = TRACE(s, "-P", journal, "-P", fresh, "-e", "trace=fsync,fdatasync", "-e",
                               "inject=fsync,fdatasync:error=EIO");
        console_add_friend(b, "Alice", false);
        UNTIL(5000, settled(b) && code_of(b, "RADD") != 0);
        run_for(300);
        no_secret_is_kept();
        EXPECT(strstr(trace_end(t), "(INJECTED)") != NULL);
        for (uint64_t end = now_ms() + 10000; code_of(b, "RADD") != 0; run_for(100)) {
            console_add_friend(b, "Alice", false);
            UNTIL(5000, settled(b));
            EXPECT(now_ms() < end);
        }
        no_secret_is_kept();
        (void)stop(s, SIGTERM);
        UNTIL(3000, as->fd[CONSOLE_LOBBY] < 0 && bs->fd[CONSOLE_LOBBY] < 0);
        EXPECT(!logged(s, "$2b$") && secret_count > secrets_before);
    }
    scanned_files = scanned_bytes = 0;
    no_secret_is_kept();
    note("%zu forms of passwords are in none of %zu files of %zu bytes\n", secret_count, scanned_files, scanned_bytes);
    EXPECT(secret_count > 30 && scanned_files >= 6 && scanned_bytes > 10000);
    /* And the search would find them. */
    EXPECT(strstr(sent, forms[0]) != NULL && secret_in(sent, sent_bytes) != NULL);
    add_secret("Bobby", 5);
    uint8_t *bytes = NULL;
    size_t size = 0;
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(recording, sizeof recording, "%s/form%zu.rec", folder, i);
        read_whole(recording, &bytes, &size);
        EXPECT(secret_in((const char *)bytes, size) != NULL);
        (void)snprintf(recording, sizeof recording, "%s/journal", servers[i].data);
        read_whole(recording, &bytes, &size);
        EXPECT(secret_in((const char *)bytes, size) != NULL);
    }
    before_stop = NULL; /* now everything has `Bobby` in it */
    free(bytes);
}

/* ---- Cases: the folder and the helper ----------------------------------- */

CASE(a_second_server_on_the_folder_is_refused_by_name, 20)
{
    struct server *s = START(CHEAP);
    struct seat *seat = visitor(s, "Alice");
    for (int round = 0; round < 2; round++) {
        const struct finished *f = BINARY(SERVER_ARGUMENTS, CHEAP, "--data", s->data);
        if (f->status != 1 || lines_of(f->err) != 1 || strstr(f->err, s->data) == NULL ||
            !has_number(f->err, (size_t)s->pid) || f->out[0] != '\0')
            fail("a second server ends with status %d and says `%s%s`", f->status, f->out, f->err);
        EXPECT(alive(s) && settled(seat->console));
        leave(seat);
        (void)visit(seat, "Alice");
        if (round == 0) { /* who held it is dead, and its marks are still there */
            kill_server(s);
            START_AGAIN(s, CHEAP);
            clear_seat(seat);
            (void)visit(seat, "Alice");
        }
    }
    struct stat status;
    char path[160];
    EXPECT(stat(s->data, &status) == 0 && (status.st_mode & 0777) == 0700);
    (void)snprintf(path, sizeof path, "%s/control", s->data);
    EXPECT(stat(path, &status) == 0 && S_ISSOCK(status.st_mode) && (status.st_mode & 0777) == 0600);
    (void)snprintf(path, sizeof path, "%s/journal", s->data);
    EXPECT(stat(path, &status) == 0 && (status.st_mode & 077) == 0);
}

struct children {
    pid_t parent, pid[16];
    size_t count, zombies;
};

static void add_child(pid_t pid, void *sum)
{
    struct children *c = sum;
    char path[64], text[512] = "";
    if (pid == c->parent || c->count == 16)
        return;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return;
    const char *end = fgets(text, sizeof text, file) != NULL ? strrchr(text, ')') : NULL;
    (void)fclose(file);
    c->zombies += end != NULL && end[1] == ' ' && end[2] == 'Z';
    c->pid[c->count++] = pid;
}

static struct children children_of(const struct server *s)
{
    struct children c = {.parent = s->pid};
    for_tree(s->pid, add_child, &c);
    return c;
}

/* The helper, once there is exactly one child, which is alive, and not `but`. */
static pid_t helper_of(const struct server *s, pid_t but)
{
    struct children c = children_of(s);
    for (uint64_t end = now_ms() + 5000; c.count != 1 || c.zombies > 0 || c.pid[0] == but; c = children_of(s)) {
        if (now_ms() > end)
            fail("the server has %zu children, %zu of them zombies", c.count, c.zombies);
        pump(20);
    }
    return c.pid[0];
}

/* Whether a process that was a server's is gone. Orphans come to us, as we have
 * asked for them. */
static bool gone(pid_t pid, uint64_t ms)
{
    for (uint64_t end = now_ms() + ms; now_ms() < end; sleep_ms(10))
        if (waitpid(pid, NULL, WNOHANG) == pid || (kill(pid, 0) != 0 && errno == ESRCH))
            return true;
    return false;
}

CASE(logins_go_on_when_the_hashing_helper_is_killed, 60)
{
    struct server *s = START("--hash-cost", "8");
    struct seat *crew[12];
    char name[13];
    unsigned refused = 0;
    pid_t helper = helper_of(s, 0);
    for (size_t i = 0; i < 12; i++) {
        crew[i] = seat_new(s, LOCALHOST);
        (void)snprintf(name, sizeof name, "Crew%zu", i);
        console_login(crew[i]->console, name, password_of(name), name);
    }
    for (int kills = 0; kills < 5; kills++) {
        run_for(20 + chance(60));
        (void)kill(helper, SIGKILL);
        helper = helper_of(s, helper);
    }
    for (size_t i = 0; i < 12; i++) { /* a job that two helpers die of is refused, so try again */
        struct console *c = crew[i]->console;
        UNTIL(20000, settled(c) || (c->stage == CONSOLE_LOGIN && c->refused != 0));
        if (!settled(c)) {
            refused++;
            console_login(c, c->name, password_of(c->name), c->name);
            UNTIL(20000, settled(c));
        }
    }
    EXPECT(refused <= 2); /* of five kills */
    /* One that is stopped holds up nobody but those who log in. */
    enter(crew[0]->console, "East");
    enter(crew[1]->console, "East");
    EXPECT(kill(helper, SIGSTOP) == 0);
    struct seat *late = seat_new(s, LOCALHOST);
    console_login(late->console, "Late", password_of("Late"), "Late");
    for (int i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof name, "lap %d", i);
        talk(crew[0]->console, crew[1]->console, name);
    }
    EXPECT(!settled(late->console));
    EXPECT(kill(helper, SIGCONT) == 0);
    UNTIL(5000, settled(late->console));
    EXPECT(helper_of(s, 0) == helper && children_of(s).zombies == 0);
    leave(late);
    console_login(late->console, "Late", password_of("Other"), "Late");
    UNTIL(5000, late->console->refused == PASS);
}

CASE(sixty_consoles_come_back_at_once, 120)
{
    struct server *s = START("--hash-cost", "8");
    char name[13];
    for (int round = 0; round < 2; round++) {
        uint64_t began = now_ms();
        for (size_t i = 0; i < 60; i++) {
            (void)snprintf(name, sizeof name, "Crew%zu", i);
            if (round == 0)
                (void)seat_new(s, 0x7F000201u + (uint32_t)i);
            console_login(seats[i].console, name, password_of(name), name);
        }
        for (size_t i = 0; i < 60; i++) {
            UNTIL(30000, has_roster(seats[i].console) || seats[i].console->refused != 0);
            if (seats[i].console->refused != 0)
                fail("%s is refused with code %lx", seats[i].console->name, (unsigned long)seats[i].console->refused);
        }
        note("60 consoles %s at once: %llu ms\n", round == 0 ? "sign up" : "come back after a kill",
             (unsigned long long)(now_ms() - began));
        if (round == 0) {
            kill_server(s);
            START_AGAIN(s, "--hash-cost", "8");
        }
    }
}

CASE(nothing_is_left_of_a_server_that_ended, 30)
{
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    struct server *s = START("--hash-cost", "11");
    for (int round = 0; round < 4; round++) {
        bool busy = round >= 2;
        pid_t helper = helper_of(s, 0);
        if (busy) { /* a password is being worked on */
            struct seat *seat = seat_new(s, LOCALHOST);
            console_login(seat->console, "Alice", password_of("Alice"), "Alice");
            UNTIL(3000, seat->console->stage == CONSOLE_AUTH && console_waiting(seat->console, CONSOLE_LOBBY) == 0);
            run_for(20);
        }
        if (round % 2 == 0)
            (void)stop(s, SIGTERM);
        else
            kill_server(s);
        if (!gone(helper, 5000)) {
            (void)kill(helper, SIGKILL);
            fail("the hashing helper is still there after the server was %s", round % 2 == 0 ? "stopped" : "killed");
        }
        EXPECT(waitpid(-1, NULL, WNOHANG) <= 0);
        for (size_t i = 0; i < seat_count; i++)
            clear_seat(&seats[i]);
        START_AGAIN(s, "--hash-cost", "11");
    }
    /* A server that is started while the helper of a killed one works on, a
     * helper that was itself started late. */
    pid_t first = helper_of(s, 0);
    (void)kill(first, SIGKILL);
    (void)helper_of(s, first);
    struct seat *seat = seat_new(s, LOCALHOST);
    console_login(seat->console, "Zoe", password_of("Zoe"), "Zoe");
    UNTIL(3000, seat->console->stage == CONSOLE_AUTH && console_waiting(seat->console, CONSOLE_LOBBY) == 0);
    run_for(20);
    kill_server(s);
    START_AGAIN(s, "--hash-cost", "11");
}

/* ---- Cases: the operator's commands ------------------------------------- */

CASE(the_operators_commands_work_on_the_live_server, 20)
{
    struct server *s = START(CHEAP);
    struct seat *as = visitor(s, "Alice"), *bs = visitor(s, "Bob"), *cs = visitor(s, "Carol");
    leave(cs);
    UNTIL(3000, log_lines(s, "event=close", "persona=\"Carol\"") >= 1);
    const struct finished *f = BINARY("ctl", "--data", s->data, "who");
    if (f->status != 0 || strstr(f->out, "Alice") == NULL || strstr(f->out, "Bob") == NULL ||
        strstr(f->out, "Carol") != NULL || f->err[0] != '\0')
        fail("ctl who: status %d, `%s%s`", f->status, f->out, f->err);
    f = BINARY("ctl", "--data", s->data, "stats");
    if (f->status != 0 || !has_number(f->out, 3) || !has_number(f->out, 2) || strstr(f->out, "accounts") == NULL)
        fail("ctl stats: status %d, `%s%s`", f->status, f->out, f->err);
    f = BINARY("dump", s->data); /* while it runs */
    EXPECT(f->status == 0 && strstr(f->out, "acct") != NULL && strstr(f->out, "Alice") != NULL &&
           strstr(f->out, "Carol") != NULL);

    f = BINARY_READS("new%pass\"word=\n", "ctl", "--data", s->data, "passwd", "carol");
    if (f->status != 0)
        fail("ctl passwd: status %d, `%s%s`", f->status, f->out, f->err);
    EXPECT(log_in(s, "Carol") == PASS);
    EXPECT(present(s, "auth", "Carol", password("new%pass\"word="), NULL) == 0);
    kill_server(s);
    START_AGAIN(s, CHEAP);
    EXPECT(log_in(s, "Carol") == PASS);
    EXPECT(present(s, "auth", "Carol", "new%pass\"word=", NULL) == 0);
    EXPECT(log_in(s, "Alice") == 0);

    /* Who is wrong is told so. */
    EXPECT(BINARY_READS("abc\n", "ctl", "--data", s->data, "passwd", "Carol")->status == 1);
    EXPECT(BINARY_READS("seventeen letters", "ctl", "--data", s->data, "passwd", "Carol")->status == 1);
    EXPECT(BINARY_READS("", "ctl", "--data", s->data, "passwd", "Carol")->status == 1);
    EXPECT(BINARY_READS("good enough\n", "ctl", "--data", s->data, "passwd", "no name")->status == 1);
    EXPECT(present(s, "auth", "Carol", "new%pass\"word=", NULL) == 0);
    EXPECT(BINARY("ctl", "--data", s->data)->status == 2);
    EXPECT(BINARY("ctl", "--data", s->data, "passwd")->status == 2);
    f = BINARY("ctl", "--data", s->data, "refuel");
    EXPECT(f->status == 2 && strstr(f->err, "refuel") != NULL);
    (void)stop(s, SIGTERM);
    f = BINARY("ctl", "--data", s->data, "who");
    EXPECT(f->status == 1 && f->out[0] == '\0' && lines_of(f->err) == 1 && strstr(f->err, s->data) != NULL);
    f = BINARY("dump", s->data);
    EXPECT(f->status == 0 && strstr(f->out, "Carol") != NULL);
    f = BINARY("dump", folder);
    EXPECT(f->status == 1 && f->out[0] == '\0' && lines_of(f->err) == 1);
    (void)as;
    (void)bs;
}

/* ---- Cases: compaction -------------------------------------------------- */

#define TOGGLERS 60

static const char *const buddies[2] = {"Buddy0", "Buddy1"};

/* Somebody who adds a buddy and drops it again, all the time. */
static struct toggler {
    bool listed; /* once all that was asked for is done */
    uint32_t asked;
} togglers[TOGGLERS];

static uint32_t toggled(size_t i)
{
    return replies(seats[i].console, "RADD") + replies(seats[i].console, "RDEL");
}

static struct server *start_togglers(void)
{
    struct server *s = START(CROWD);
    char name[13];
    (void)snprintf(journal_path, sizeof journal_path, "%s/journal", s->data);
    (void)snprintf(fresh_path, sizeof fresh_path, "%s/journal.new", s->data);
    for (size_t i = 0; i < TOGGLERS + 2; i++) {
        (void)snprintf(name, sizeof name, "Crew%zu", i);
        const char *who = i < TOGGLERS ? name : buddies[i - TOGGLERS];
        console_signup(seat_new(s, LOCALHOST)->console, who, password_of(who), "crew@example.org", who);
    }
    for (size_t i = 0; i < seat_count; i++)
        UNTIL(10000, has_roster(seats[i].console));
    leave(&seats[TOGGLERS]);
    leave(&seats[TOGGLERS + 1]);
    return s;
}

static void toggle_all(void)
{
    for (size_t i = 0; i < TOGGLERS; i++) {
        struct console *c = seats[i].console;
        if (toggled(i) < togglers[i].asked || seats[i].fd[CONSOLE_BUDDY] < 0)
            continue;
        EXPECT(togglers[i].asked == 0 || code_of(c, togglers[i].listed ? "RADD" : "RDEL") == 0);
        if (togglers[i].listed)
            console_drop_friend(c, buddies[i % 2], false);
        else
            console_add_friend(c, buddies[i % 2], false);
        togglers[i].listed = !togglers[i].listed;
        togglers[i].asked++;
    }
    pump(20);
}

/* Goes on until the journal is so long; at less, it is not compacted. */
static void toggle_until(size_t bytes)
{
    for (uint64_t end = now_ms() + 20000; journal_bytes(servers[0].data) < bytes; toggle_all())
        if (now_ms() > end)
            fail("the journal is at %zu bytes only", journal_bytes(servers[0].data));
}

/* Kills the server at a random moment after journal.new has come up, by a
 * process that waits for that. Returns whether it was still there. */
static bool toggle_until_killed(struct server *s)
{
    char event[1024];
    uint64_t end = now_ms() + 20000;
    useconds_t wait_us = chance(1200);
    int watch = inotify_init1(IN_CLOEXEC);
    EXPECT(watch >= 0 && inotify_add_watch(watch, s->data, IN_CREATE) >= 0);
    pid_t killer = fork();
    EXPECT(killer >= 0);
    if (killer == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (read(watch, event, sizeof event) > 0) {
            (void)usleep(wait_us);
            (void)kill(s->pid, SIGKILL);
        }
        _exit(0);
    }
    while (waitpid(killer, NULL, WNOHANG) == 0) {
        toggle_all();
        EXPECT(now_ms() < end);
    }
    (void)close(watch);
    kill_server(s);
    return access(fresh_path, F_OK) == 0;
}

/* They come back and find their buddy as they were told last. */
static void find_toggled(void)
{
    char name[13];
    bool known[TOGGLERS];
    for (size_t i = 0; i < TOGGLERS; i++) {
        known[i] = toggled(i) == togglers[i].asked;
        clear_seat(&seats[i]);
        (void)snprintf(name, sizeof name, "Crew%zu", i);
        console_login(seats[i].console, name, password_of(name), name);
    }
    for (size_t i = 0; i < TOGGLERS; i++) {
        UNTIL(10000, has_roster(seats[i].console));
        bool listed = console_friend(seats[i].console, buddies[i % 2]) != NULL;
        if (known[i] && listed != togglers[i].listed) {
            fail("%s was told that %s is %s the list, and finds otherwise", seats[i].console->name, buddies[i % 2],
                 togglers[i].listed ? "on" : "off");
        }
        togglers[i] = (struct toggler){.listed = listed};
    }
}

/* A fresh journal is synced, then it takes the old one's name, then the folder
 * is synced; and only then the journal is written to. */
static void expect_compaction_order(const char *trace, const char *data)
{
    enum { WRITTEN, SYNCED, RENAMED, SETTLED } state = WRITTEN;
    char fresh[180], old[180], here[180];
    (void)snprintf(fresh, sizeof fresh, "<%s/journal.new>", data);
    (void)snprintf(old, sizeof old, "<%s/journal>", data);
    (void)snprintf(here, sizeof here, "<%s>", data);
    for (const char *line = trace; *line != '\0' && state != SETTLED; line = next_line(line)) {
        char text[512];
        (void)snprintf(text, sizeof text, "%.*s", (int)strcspn(line, "\n"), line);
        bool syncs = strstr(text, "sync(") != NULL && strstr(text, " = 0") != NULL;
        if (strncmp(text, "rename", 6) == 0 && strstr(text, "\"journal.new\"") != NULL) {
            if (state != SYNCED)
                fail("a fresh journal gets its name before it is synced");
            state = RENAMED;
        } else if (syncs && strstr(text, fresh) != NULL) {
            state = SYNCED;
        } else if (syncs && state == RENAMED && strstr(text, here) != NULL) {
            state = SETTLED;
        } else if (state == SYNCED && strncmp(text, "write", 5) == 0 && strstr(text, fresh) != NULL) {
            state = WRITTEN;
        } else if (state == RENAMED && strncmp(text, "write", 5) == 0 && strstr(text, old) != NULL) {
            fail("a fresh journal is written to before its name is on the disk");
        }
    }
    if (state != SETTLED)
        fail("the trace shows no compaction to the end: %d", (int)state);
}

CASE(a_compaction_loses_nothing_whenever_it_is_killed, 120)
{
    struct server *s = start_togglers();
    uint64_t began = now_ms();
    toggle_until(1000000);
    uint64_t filled = now_ms();
    struct trace t = TRACE(s, "-e", "trace=write,writev,fsync,fdatasync,rename,renameat,renameat2");
    while (!logged(s, "event=compacted")) {
        toggle_all();
        EXPECT(now_ms() < filled + 20000);
    }
    expect_compaction_order(trace_end(t), s->data);
    for (int round = 0; round < 3; round++) {
        bool early = toggle_until_killed(s);
        note("%s", round == 0 ? "killed in a compaction: " : "");
        note("%s", early ? "before its end, " : "after its end, ");
        START_AGAIN(s, CROWD);
        find_toggled();
    }
    note("the journal grows by 1 MB in %llu ms\n", (unsigned long long)(filled - began));
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What a journal comes to, as sorted lines: accounts, personas, rosters. */
static char *state_of(const struct journal *j)
{
    char **line = calloc(j->records * 2 + 1, sizeof *line), *text = calloc(j->records * 2 + 1, 80), *at = text;
    size_t count = 0;
    EXPECT(line != NULL && text != NULL);
    for (size_t i = j->records; i-- > 0;) {
        struct kept r = j->record[i];
        char made[2][160] = {"", ""};
        if (strcmp(r.kind, "acct") == 0) {
            (void)snprintf(made[0], sizeof made[0], "account %s\n", r.name);
            if (r.personas[0] != '\0')
                (void)snprintf(made[1], sizeof made[1], "persona %s of %s\n", r.personas, r.name);
        } else if (strcmp(r.kind, "cper") == 0) {
            (void)snprintf(made[0], sizeof made[0], "persona %s of %s\n", r.pers, r.name);
        } else if (strcmp(r.kind, "rost") == 0 && r.list[0] != '\0' &&
                   find_record(j, "rost", NULL, r.pers, r.user, NULL) == &j->record[i]) {
            (void)snprintf(made[0], sizeof made[0], "%s has %s on %s\n", r.pers, r.user, r.list);
        }
        for (size_t k = 0; k < 2; k++) {
            if (made[k][0] != '\0') {
                line[count] = strdup(made[k]);
                EXPECT(line[count++] != NULL);
            }
        }
    }
    qsort(line, count, sizeof *line, by_text);
    for (size_t i = 0; i < count; i++) {
        at = stpcpy(at, line[i]);
        free(line[i]);
    }
    free(line);
    return text;
}

#define ROUNDS 24

/* Starts on a journal that is to be compacted at once, killed at any moment. */
CASE(a_compaction_at_the_start_is_whole_or_not_at_all, 120)
{
    struct server *s = start_togglers();
    static struct journal j, after;
    size_t fresh = 0, old = 0, both = 0;
    toggle_until(1040000);
    kill_server(s);
    journal_load(&j, s->data);
    for (uint64_t number = j.batch[j.batches - 1].number; j.size < 1100000;) { /* some more of the same */
        const struct batch *b = &j.batch[j.batches - 1];
        j.bytes = realloc(j.bytes, j.size + b->size);
        EXPECT(j.bytes != NULL);
        uint8_t *at = j.bytes + j.size;
        memcpy(at, j.bytes + b->at, b->size);
        number++;
        put_word(at + 12, (uint32_t)(number >> 32));
        put_word(at + 16, (uint32_t)(number & 0xFFFFFFFFu));
        put_word(at + 4, frame_sum(at, b->size));
        j.size += b->size;
    }
    journal_parse(&j);
    EXPECT(j.good == j.size);
    char *wanted = state_of(&j);
    for (int round = 0; round < ROUNDS; round++) {
        put_file(s->data, "journal", j.bytes, j.size);
        struct attempt a = attempt(s->data);
        EXPECT(a.ready);
        (void)usleep(chance(round % 2 == 0 ? 3000 : 20000));
        for (uint64_t end = now_ms() + 10000; round == 0 && journal_bytes(s->data) == j.size; sleep_ms(5))
            EXPECT(now_ms() < end); /* once, to its end */
        end_attempt();
        journal_load(&after, s->data);
        bool compacted = after.size < j.size / 2;
        fresh += compacted;
        old += !compacted;
        both += access(fresh_path, F_OK) == 0;
        char *got = state_of(&after);
        if (after.good != after.size || strcmp(got, wanted) != 0) {
            fail("round %d: the %s journal of %zu bytes, %zu of them good, says something else: %s", round,
                 compacted ? "fresh" : "old", after.size, after.good, strlen(got) > 500 ? "much" : got);
        }
        free(got);
        if (round % 10 == 0) { /* and it starts from there */
            a = attempt(s->data);
            EXPECT(a.ready);
            end_attempt();
        }
    }
    note("%d kills while a journal of %zu bytes is compacted: %zu times it was the fresh one, %zu times the old one, "
         "%zu times with the "
         "fresh one half made\n",
         ROUNDS, j.size, fresh, old, both);
    EXPECT(fresh > 0);
    free(wanted);
}

/* ---- Cases: many accounts ----------------------------------------------- */

#define MANY_ACCOUNTS 100000
#define MANY_OPTIONS CROWD, "--max-accounts", "131072"

static size_t put_frame(uint8_t *at, const char *kind, const char *payload)
{
    size_t size = strlen(payload) + 1;
    memcpy(at, kind, 4);
    put_word(at + 4, 0);
    put_word(at + 8, (uint32_t)(12 + size));
    memcpy(at + 12, payload, size);
    return 12 + size;
}

/* Adds so many sign-ups to a journal, a hundred in a batch, as if it had never
 * been compacted. */
static void add_many_accounts(struct journal *j)
{
    uint64_t number = j->batch[j->batches - 1].number;
    char payload[256];
    j->bytes = realloc(j->bytes, j->size + (size_t)MANY_ACCOUNTS * 256);
    EXPECT(j->bytes != NULL);
    uint8_t *at = j->bytes + j->size;
    for (uint32_t i = 0; i < MANY_ACCOUNTS;) {
        uint8_t *batch = at;
        memcpy(at, "btch", 4);
        put_word(at + 12, (uint32_t)(++number >> 32));
        put_word(at + 16, (uint32_t)(number & 0xFFFFFFFFu));
        at += 20;
        for (uint32_t end = i + 100; i < end; i++) {
            (void)snprintf(
                payload, sizeof payload,
                "CREATED=1700000000\nLAST=1700000000\nBAN=0\nNAME=Fan%06u\n"
                "HASH=$2b$04$abcdefghijklmnopqrstuuFd5zCqyNxOpRWcD1uMMQU4aTFEGuOVi\nMAIL=fan@example.org\nSPAM=NN\n"
                "PERSONAS=Fan%06u\n",
                i % 1000000, i % 1000000);
            at += put_frame(at, "acct", payload);
        }
        put_word(batch + 8, (uint32_t)(at - batch));
        put_word(batch + 4, frame_sum(batch, (size_t)(at - batch)));
    }
    j->size = (size_t)(at - j->bytes);
    journal_parse(j);
    EXPECT(j->good == j->size);
}

static size_t count_fans(const struct journal *j)
{
    size_t count = 0;
    for (size_t i = 0; i < j->records; i++)
        count += strcmp(j->record[i].kind, "acct") == 0 && strncmp(j->record[i].name, "Fan", 3) == 0;
    return count;
}

#define CREW 40u

/* The crew, whose accounts are the first ones, all make another persona. Returns
 * how many were told so while the journal was still this file. */
static unsigned add_personas(ino_t journal)
{
    char name[13], persona[13];
    unsigned done = 0, meanwhile = 0;
    struct stat now;
    for (unsigned i = 0; i < CREW; i++) {
        (void)snprintf(name, sizeof name, "Crew%u", i);
        (void)snprintf(persona, sizeof persona, "Extra%u", i);
        clear_seat(&seats[i]);
        console_login(seats[i].console, name, password_of(name), persona);
    }
    for (uint64_t end = now_ms() + 10000; done < CREW; pump(5)) {
        done = 0;
        for (unsigned i = 0; i < CREW; i++)
            done += replies(seats[i].console, "cper") > 0 && code_of(seats[i].console, "cper") == 0;
        EXPECT(stat(journal_path, &now) == 0 && now_ms() < end);
        meanwhile = now.st_ino == journal ? done : meanwhile;
    }
    return meanwhile;
}

/* A kill in the middle of writing a large state anew, and the next start: then
 * what is acknowledged while it is written is in the fresh journal, too, even
 * if it is about what that had already. */
CASE(a_long_compaction_takes_along_what_comes_meanwhile, 120)
{
    struct server *s = START(CROWD);
    static struct journal j;
    struct stat old, fresh;
    char name[13], payload[CONSOLE_FRAME_BYTES];
    (void)snprintf(journal_path, sizeof journal_path, "%s/journal", s->data);
    (void)snprintf(fresh_path, sizeof fresh_path, "%s/journal.new", s->data);
    for (unsigned i = 0; i < CREW; i++) {
        (void)snprintf(name, sizeof name, "Crew%u", i);
        EXPECT(sign_up(s, name) == 0);
        (void)seat_new(s, LOCALHOST);
    }
    (void)stop(s, SIGTERM);
    journal_load(&j, s->data);
    add_many_accounts(&j);
    size_t before = j.size;

    for (int tries = 0; tries < 10 && access(fresh_path, F_OK) != 0; tries++) { /* else it was over before we came */
        put_file(s->data, "journal", j.bytes, j.size);
        EXPECT(stat(journal_path, &old) == 0);
        START_AGAIN(s, MANY_OPTIONS);
        while ((stat(fresh_path, &fresh) != 0 || fresh.st_size < 1000000) && stat(journal_path, &fresh) == 0 &&
               fresh.st_ino == old.st_ino)
            continue;
        kill_server(s);
    }
    EXPECT(access(fresh_path, F_OK) == 0);
    EXPECT(journal_bytes(s->data) == j.size);

    unsigned meanwhile = 0;
    uint64_t began = 0, ready = 0, took = 0;
    for (int tries = 0; tries < 5 && meanwhile < 3; tries++) { /* again if we were too slow */
        if (tries > 0)
            put_file(s->data, "journal", j.bytes, j.size);
        EXPECT(stat(journal_path, &old) == 0);
        began = now_ms();
        START_AGAIN(s, MANY_OPTIONS);
        ready = now_ms() - began;
        meanwhile = add_personas(old.st_ino);
        for (fresh = old; fresh.st_ino == old.st_ino; pump(5))
            EXPECT(now_ms() < began + 10000 && stat(journal_path, &fresh) == 0);
        took = now_ms() - began;
        kill_server(s);
    }
    EXPECT(meanwhile >= 3);
    journal_load(&j, s->data);
    EXPECT(j.good == j.size && count_fans(&j) == MANY_ACCOUNTS);
    began = now_ms();
    START_AGAIN(s, MANY_OPTIONS);
    note("%d accounts: ready in %llu ms; compacted from %zu to %zu bytes in %llu ms while %u changes were "
         "acknowledged; then ready in "
         "%llu ms\n",
         MANY_ACCOUNTS, (unsigned long long)ready, before, j.size, (unsigned long long)took, meanwhile,
         (unsigned long long)(now_ms() - began));
    for (unsigned i = 0; i < CREW; i++) {
        int fd;
        (void)snprintf(name, sizeof name, "Crew%u", i);
        EXPECT(present(s, "auth", name, password_of(name), &fd) == 0);
        (void)snprintf(name, sizeof name, "Extra%u", i);
        (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
        if (ask(fd, "pers", payload, payload) != 0)
            fail("%s, made while the journal was written anew, is gone", name);
        (void)close(fd);
    }
}

/* ---- Running them ------------------------------------------------------- */

int main(int argc, char **argv)
{
    const char *given = getenv("DURABLE_SEED");
    dice = given != NULL ? (uint64_t)strtoull(given, NULL, 0) : ((uint64_t)time(NULL) << 20) ^ (uint64_t)getpid();
    dice = dice != 0 ? dice : 1;
    (void)printf("seed: DURABLE_SEED=%llu\n", (unsigned long long)dice);
    keeps_sent = true;
    before_stop = no_secret_is_kept;
    return run_cases(2, argc, argv);
}
