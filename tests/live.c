/* The live test: the real binary on real loopback sockets. Each case runs in a
 * process of its own, starts servers of its own on free ports, and is ended
 * with them at its deadline.
 *
 * usage: live ./nascar_server [PART]     only the cases with PART in their name
 *
 * One line a case, `ok NAME` or `FAILED NAME: why`, and the numbers that it
 * measured; at the end `live: N passed, N failed`.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem, pipe2, unshare */

#include "server.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

/* ---- Chat and how long it takes ----------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

struct latency {
    double p50_ms, p99_ms;
};

/* Round trips of chat: from a's request until both show it. */
static struct latency round_trips(struct console *a, struct console *b, size_t count, uint32_t gap_ms)
{
    uint64_t us[1000];
    EXPECT(count <= sizeof us / sizeof us[0]);
    for (size_t i = 0; i < count; i++) {
        size_t shown_a = a->chat.count, shown_b = b->chat.count;
        char text[32];
        (void)snprintf(text, sizeof text, "lap %zu", i);
        uint64_t began = now_us();
        console_chat(a, text);
        while (a->chat.count == shown_a || b->chat.count == shown_b) {
            pump(100);
            if (now_us() - began > 5000000)
                fail("a line of chat takes over 5 s");
        }
        us[i] = now_us() - began;
        if (gap_ms > 0)
            run_for(gap_ms);
    }
    qsort(us, count, sizeof us[0], by_size);
    return (struct latency){(double)us[count / 2] / 1000, (double)us[count * 99 / 100] / 1000};
}

/* ---- Cases: two players ------------------------------------------------------ */

/* From `@dir` to `+ses`. */
static void live_a_life(const struct server *s)
{
    struct console *alice = player(s, "Alice"), *bob = player(s, "Bob");
    EXPECT(alice->news[0] != '\0' && alice->link[CONSOLE_BUDDY].port == s->port[BUDDY]);
    EXPECT(alice->link[CONSOLE_LOBBY].port == s->port[LOBBY]);
    EXPECT(console_room_named(alice, "East") && console_room_named(alice, "West"));

    enter(alice, "East");
    enter(bob, "East");
    UNTIL(3000,
          is_in(alice, "East", 2) && is_in(bob, "East", 2) && console_user(alice, "Bob") && console_user(bob, "Alice"));
    EXPECT(console_user(alice, "Bob")->address == LOCALHOST);
    talk(alice, bob, "Hello, Bob: 100% = \"ready\"?");
    talk(bob, alice, "Yes.");

    console_create_room(alice, "C.Cup", "pit stop", "Bring tyres", 4);
    UNTIL(3000, is_in(alice, "C.Cup", 1) && console_room_named(bob, "C.Cup") && is_in(bob, "East", 1));
    console_move(bob, "C.Cup", "pit lane");
    UNTIL(3000, console_reply(bob, "move")->count == 2 && console_reply(bob, "move")->code != 0);
    EXPECT(is_in(bob, "East", 1));
    console_move(bob, "C.Cup", "pit stop");
    UNTIL(3000, is_in(bob, "C.Cup", 2) && is_in(alice, "C.Cup", 2) && console_user(alice, "Bob"));
    talk(bob, alice, "Nice room");

    EXPECT(console_challenge_player(alice, "Bob", NULL));
    UNTIL(3000, bob->challenge == CONSOLE_RECEIVED);
    console_answer(bob, "ACPT");
    UNTIL(3000, alice->races == 1 && bob->races == 1 && alice->plays == 1 && bob->plays == 1);
    EXPECT(alice->seed != 0 && alice->seed == bob->seed);
    EXPECT(alice->race_ticket[0] != '\0' && strcmp(alice->race_ticket, bob->race_ticket) == 0);
    EXPECT(strcmp((const char *)alice->race + 0x20, "Alice") == 0); /* SELF */
    EXPECT(strcmp((const char *)bob->race + 0x20, "Bob") == 0);
    EXPECT(strcmp((const char *)alice->race + 0x60, "Bob") == 0); /* OPPO */
    EXPECT(strcmp((const char *)bob->race + 0x60, "Alice") == 0);
    EXPECT(memcmp(alice->race, bob->race, 0x20) == 0);               /* NAME */
    EXPECT(memcmp(alice->race + 0x40, bob->race + 0x40, 0x20) == 0); /* HOST */
    EXPECT(memcmp(alice->race + 0x80, bob->race + 0x80, 0x40) == 0); /* P1..P4 */
    EXPECT(memcmp(alice->race + 0xC8, bob->race + 0xC8, 0x48) == 0); /* SEED, WHEN, AUTH */

    console_leave(alice);
    UNTIL(3000, console_user(bob, "Alice") == NULL && is_in(bob, "C.Cup", 1));
    EXPECT(log_lines(s, "event=login", "account=\"Alice\"") == 1);
    UNTIL(3000, log_lines(s, "event=close", "persona=\"Alice\"") >= 1);
}

CASE(two_players_meet_talk_and_race, 15)
{
    const struct server *s = START("--ping-s", "1"); /* the default cost of a hash, too */
    live_a_life(s);
    UNTIL(3000, seats[1].console->link[CONSOLE_LOBBY].pings > 0 && seats[1].console->link[CONSOLE_BUDDY].pings > 0);
}

CASE(two_players_race_with_passwords_in_mask_form, 15)
{
    keeps_sent = true;
    live_a_life(START(CHEAP, "--skey", "off"));
    EXPECT(strstr(sent, "PASS=$") != NULL && strstr(sent, "PASS=~") == NULL);
}

CASE(a_wrong_password_is_refused_and_the_right_one_lets_in, 15)
{
    static const char *const forms[] = {"on", "off"};
    for (size_t i = 0; i < 2; i++) {
        const struct server *s = START("--skey", forms[i]);
        struct console *c = player(s, "Dale");
        console_leave(c);
        UNTIL(3000, seats[seat_count - 1].fd[CONSOLE_LOBBY] < 0);
        console_login(c, "Dale", "wrong one", "Dale");
        UNTIL(3000, c->stage == CONSOLE_LOGIN && c->refused != 0);
        EXPECT(c->refused == 0x70617373); /* pass */
        console_login(c, "Dale", PASSWORD, "Dale");
        UNTIL(3000, settled(c));
        EXPECT(log_lines(s, "event=login_refused", "Dale") == 1);
        EXPECT(log_lines(s, "event=login ", "Dale") == 2);
    }
}

CASE(every_port_serves_every_service, 15)
{
    const struct server *s = START(CHEAP);
    for (int port = 0; port < PORTS; port++) {
        EXPECT(directory_answers(s, port, LOCALHOST));
        int fd = raw_open(s, port, LOCALHOST);
        EXPECT(raw_asks(fd, "addr", "ADDR=192.0.2.100\nPORT=50000\n", "STATUS=1", 3000));
        EXPECT(raw_asks(fd, "skey", "SKEY=$5075626c6963204b6579\n", "SKEY=$", 3000));
        (void)close(fd);
        fd = raw_open(s, port, LOCALHOST);
        EXPECT(raw_asks(fd, "AUTH", "USER=Nobody/cso/nascar-ps2-2004\nLKEY=$0000000000000000\n", "STATUS=101", 3000));
        (void)close(fd);
    }
}

/* ---- Cases: garbage ------------------------------------------------------------ */

/* A frame with this length word, whatever its payload's. */
static size_t broken_frame(uint8_t out[64], const char *kind, uint32_t length)
{
    size_t size = console_frame(out, 64, kind, 0, "NAME=0\n", 8);
    for (size_t i = 0; i < 4; i++)
        out[8 + i] = (uint8_t)(length >> (24 - 8 * i));
    return size;
}

/* Closes with a reset instead of a FIN. */
static void raw_reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void)close(fd);
}

enum garbage { /* what a connection sends, and why it is closed */
               RANDOM_BYTES,
               LENGTH_0,
               LENGTH_11,
               LENGTH_2_31,
               LENGTH_2_32_LESS_1,
               BYTE_A_SECOND,
               UNKNOWN_KINDS,
               CONNECT_AND_RESET,
               SAY_NOTHING,
               HALF_A_FRAME,
               GARBAGE_SORTS
};

static const char *const garbage_reasons[GARBAGE_SORTS] = {
    "broken frame",     "broken frame",  "broken frame", "broken frame",     "broken frame",
    "no frame in time", "unknown kinds", "disconnected", "no frame in time", "disconnected",
};

#define GARBAGE 100
#define GARBAGE_IP(i) (0x7F070001u + (uint32_t)(i)) /* 127.7.0.x: one for each */
#define CHURN_IP(i) (0x7F080001u + (uint32_t)(i) % 200)
#define CHURN_MS 3000

/* What the process that makes garbage tells the case. */
struct garbage_report {
    int done;         /* 1: every connection ended as it should; 2: see why */
    unsigned churned; /* quick ones from CHURN_IP, opened and gone */
    char why[128];
};

__attribute__((noreturn)) static void garbage_fails(struct garbage_report *report, const char *why, size_t i)
{
    (void)snprintf(report->why, sizeof report->why, "connection %zu, sort %zu: %s", i, i % GARBAGE_SORTS, why);
    report->done = 2;
    _exit(1);
}

static void random_bytes(uint8_t *bytes, size_t size, uint32_t *chance)
{
    for (size_t i = 0; i < size; i++) {
        *chance = *chance * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(*chance >> 24);
    }
}

/* What this sort says at first. -1: it is gone. */
static int say_garbage(enum garbage sort, int fd, uint32_t *chance)
{
    static const uint32_t lengths[] = {
        [LENGTH_0] = 0, [LENGTH_11] = 11, [LENGTH_2_31] = 0x80000000u, [LENGTH_2_32_LESS_1] = 0xFFFFFFFFu};
    uint8_t bytes[64];
    size_t size = 0;
    switch (sort) {
    case RANDOM_BYTES:
        random_bytes(bytes, sizeof bytes, chance);
        bytes[0] |= 0x80; /* never printable */
        size = sizeof bytes;
        break;
    case LENGTH_0:
    case LENGTH_11:
    case LENGTH_2_31:
    case LENGTH_2_32_LESS_1: size = broken_frame(bytes, "addr", lengths[sort]); break;
    case UNKNOWN_KINDS:
        for (int i = 0; i < 10; i++) {
            size = console_frame(bytes, sizeof bytes, "WHAT", 0, "N=1\n", 5);
            (void)send(fd, bytes, size, MSG_NOSIGNAL);
        }
        return fd;
    case CONNECT_AND_RESET: raw_reset(fd); return -1;
    case HALF_A_FRAME:
        (void)send(fd, "@dir\0\0\0\0\0\0\0\100PROD=", 17, MSG_NOSIGNAL);
        (void)close(fd);
        return -1;
    case BYTE_A_SECOND:
    case SAY_NOTHING:
    case GARBAGE_SORTS: break;
    }
    if (size > 0)
        (void)send(fd, bytes, size, MSG_NOSIGNAL);
    return fd;
}

/* The process that makes garbage: a hundred connections that stay until they
 * are closed, and, for a while, quick ones beside them. */
__attribute__((noreturn)) static void make_garbage(const struct server *s, struct garbage_report *report)
{
    static const char trickle[] = "@dir\0\0\0\0\0\0\0\100PROD=NASCAR-PS2-2004";
    int fd[GARBAGE], left = 0;
    uint32_t chance = 2004;
    uint64_t began = now_ms(), last_byte = began;
    size_t bytes_sent = 0;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; i < GARBAGE; i++) {
        fd[i] = connect_to(s->port[i / GARBAGE_SORTS % PORTS], GARBAGE_IP(i), 0);
        if (fd[i] < 0)
            garbage_fails(report, "cannot connect", i);
        fd[i] = say_garbage((enum garbage)(i % GARBAGE_SORTS), fd[i], &chance);
        left += fd[i] >= 0;
    }
    while (left > 0 || now_ms() < began + CHURN_MS) {
        uint64_t now = now_ms();
        if (now < began + CHURN_MS) {
            int quick = connect_to(s->port[report->churned % PORTS], CHURN_IP(report->churned), 0);
            enum garbage sort = (enum garbage)(report->churned % GARBAGE_SORTS);
            if (quick < 0)
                garbage_fails(report, "a quick one cannot connect", report->churned);
            quick = say_garbage(sort, quick, &chance);
            if (quick >= 0 && report->churned % 2 == 0)
                (void)close(quick);
            else if (quick >= 0)
                raw_reset(quick);
            report->churned++;
        }
        if (now >= last_byte + 1000 && bytes_sent < sizeof trickle) {
            last_byte = now;
            for (size_t i = BYTE_A_SECOND; i < GARBAGE; i += GARBAGE_SORTS)
                if (fd[i] >= 0)
                    (void)send(fd[i], trickle + bytes_sent, 1, MSG_NOSIGNAL);
            bytes_sent++;
        }
        for (size_t i = 0; i < GARBAGE; i++) {
            if (fd[i] < 0 || raw_end(fd[i], 0, NULL) == OPEN) {
                uint8_t bytes[4096];
                ssize_t n = fd[i] < 0 ? -2 : recv(fd[i], bytes, sizeof bytes, MSG_DONTWAIT);
                while (n > 0)
                    n = recv(fd[i], bytes, sizeof bytes, MSG_DONTWAIT);
                if (fd[i] < 0 || (n < 0 && errno == EAGAIN))
                    continue;
            }
            size_t sort = i % GARBAGE_SORTS;
            if ((sort == SAY_NOTHING || sort == BYTE_A_SECOND) && now < began + 9000)
                garbage_fails(report, "closed before its 10 s", i);
            (void)close(fd[i]);
            fd[i] = -1;
            left--;
        }
        if (now > began + 14000)
            garbage_fails(report, "some are not closed", (size_t)left);
        sleep_ms(5);
    }
    report->done = 1;
    _exit(0);
}

CASE(garbage_disturbs_nobody_and_each_is_closed_with_a_reason, 40)
{
    struct server *s = START(CHEAP, "--rate", "1000");
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    struct garbage_report *report =
        mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(report != MAP_FAILED);
    enter(a, "East");
    enter(b, "East");
    struct latency alone = round_trips(a, b, 200, 5);
    pid_t maker = fork();
    EXPECT(maker >= 0);
    if (maker == 0)
        make_garbage(s, report);
    struct latency with = round_trips(a, b, 300, 9);
    UNTIL(16000, report->done != 0);
    (void)waitpid(maker, NULL, 0);
    if (report->done != 1)
        fail("garbage: %s", report->why);
    note("chat round trip: alone p50=%.2f p99=%.2f ms, with garbage (%d connections, %u quick ones) p50=%.2f p99=%.2f "
         "ms, "
         "medians %.2fx\n",
         alone.p50_ms, alone.p99_ms, GARBAGE, report->churned, with.p50_ms, with.p99_ms, with.p50_ms / alone.p50_ms);
    EXPECT(with.p99_ms < (instrumented ? 1000 : 250));
    EXPECT(alive(s) && directory_answers(s, DIRECTORY, LOCALHOST));
    /* In such a flood the log has ten lines a second about them: those have the right reasons. */
    size_t told = 0;
    for (size_t i = 0; i < GARBAGE; i++) {
        char peer[32], reason[64];
        (void)snprintf(peer, sizeof peer, "peer=127.7.0.%zu reason=", i + 1);
        (void)snprintf(reason, sizeof reason, "reason=\"%s\"", garbage_reasons[i % GARBAGE_SORTS]);
        size_t lines = log_lines(s, "event=close", peer);
        told += lines;
        if (lines > 1 || log_lines(s, peer, reason) != lines)
            fail("no line with %s and %s", peer, reason);
    }
    EXPECT(told > 0 && log_lines(s, "event=lines_left_out n=", NULL) > 0);
    talk(a, b, "still here");
    EXPECT(is_in(a, "East", 2) && is_in(b, "East", 2));
}

CASE_BESIDE(every_deadline_closes_with_its_reason, 20)
{
    const struct server *s = START(CHEAP, "--first-frame-s", "1", "--linger-s", "1", "--login-s", "2",
                                   "--buddy-login-s", "1", "--ping-s", "1", "--idle-s", "3");
    static const char *const reasons[] = {"no frame in time", "no frame in time", "directory done", "no login in time",
                                          "no buddy login in time"};
    int fd[5];
    for (int i = 0; i < 5; i++)
        fd[i] = raw_open(s, DIRECTORY, LOCALHOST + (uint32_t)i);
    raw_send_bytes(fd[1], "@dir", 4);
    EXPECT(raw_asks(fd[2], "@dir", "PROD=NASCAR-PS2-2004\n", "SESS=", 3000));
    EXPECT(raw_asks(fd[3], "addr", "ADDR=192.0.2.100\nPORT=50000\n", "STATUS=1", 3000));
    EXPECT(raw_asks(fd[4], "AUTH", "USER=Nobody\nLKEY=$00\n", "STATUS=101", 3000));
    for (int i = 0; i < 5; i++) {
        char peer[32];
        enum ending end = raw_end(fd[i], 4000, NULL);
        (void)snprintf(peer, sizeof peer, "peer=127.0.0.%d ", i + 1);
        UNTIL(1000, log_lines(s, "event=close", peer) == 1);
        if (end != ENDED || log_lines(s, peer, reasons[i]) != 1)
            fail("connection %d, expected an end because of: %s", i, reasons[i]);
        (void)close(fd[i]);
    }
    /* A console that falls silent is dropped, one that echoes its pings is not. */
    struct console *lively = player(s, "Lively");
    struct seat *silent = seat_new(s, LOCALHOST);
    silent->console->habits.answers_nothing = true;
    silent->console->habits.no_buddy = true;
    console_login(silent->console, "Silent", PASSWORD, "Silent");
    UNTIL(3000, settled(silent->console));
    UNTIL(6000, silent->fd[CONSOLE_LOBBY] < 0);
    UNTIL(1000, log_lines(s, "reason=\"silent\"", "persona=\"Silent\"") == 1);
    EXPECT(settled(lively));
}

/* ---- Cases: stop, signals, reload ------------------------------------------------ */

/* In bytes, what a line of chat may come to: every character escaped. */
static void fat_line(char text[251], unsigned number)
{
    memset(text, '=', 250);
    text[250] = '\0';
    text[snprintf(text, 16, "%u", number)] = '=';
}

/* Chat until the deaf one's buffers are full: its own window is small, so it is
 * the server's side that fills. Returns how many lines. */
static unsigned flood(struct console *speaker, unsigned lines)
{
    char text[251];
    for (unsigned i = 0; i < lines; i++) {
        fat_line(text, i);
        console_chat(speaker, text);
        if (i % 16 == 15) {
            size_t wanted = speaker->chat.count + 1;
            for (uint64_t end = now_ms() + 5000;
                 console_awaits(speaker, CONSOLE_LOBBY) > 64 || speaker->chat.count < wanted;) {
                pump(5);
                if (now_ms() > end)
                    fail("line %u of chat is stuck", i);
            }
        }
    }
    UNTIL(20000, console_awaits(speaker, CONSOLE_LOBBY) == 0);
    return lines;
}

#define FLOOD_LINES 4000u

static struct seat *deaf_player(const struct server *s, const char *name)
{
    struct seat *seat = seat_new(s, LOCALHOST);
    seat->receive_bytes = 4096;
    console_login(seat->console, name, PASSWORD, name);
    UNTIL(3000, settled(seat->console));
    enter(seat->console, "East");
    seat->deaf = true;
    return seat;
}

/* The first lines of the flood came as they were, and then the word on how
 * many of the others were missed. */
static bool all_lines_are_accounted_for(const struct console *c, unsigned lines)
{
    unsigned missed = 0;
    size_t shown = c->chat.count - (c->chat.count > 0);
    for (size_t k = 0; k < shown; k++) {
        char text[251];
        fat_line(text, (unsigned)k);
        if (strcmp(c->chat.at[k].text, text) != 0)
            return false;
    }
    return shown > 100 && sscanf(c->chat.at[shown].text, "%u lines of chat were missed", &missed) == 1 &&
           shown + missed == lines;
}

CASE(a_stop_is_clean_and_what_was_sent_arrives, 30)
{
    static const int signals[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        seat_count = 0;
        struct server *s = START(CHEAP, "--rate", "0");
        struct console *a = player(s, "Alice");
        enter(a, "East");
        EXPECT(a->link[CONSOLE_LOBBY].lost == 0);
        struct seat *deaf = deaf_player(s, "Deaf");
        UNTIL(3000, is_in(a, "East", 2));
        (void)flood(a, FLOOD_LINES);
        (void)kill(s->pid, signals[i]);
        deaf->deaf = false; /* it reads now, and all whole frames come, then the end */
        UNTIL(5000, deaf->fd[CONSOLE_LOBBY] < 0 && seats[0].fd[CONSOLE_LOBBY] < 0);
        EXPECT(deaf->console->link[CONSOLE_LOBBY].lost == 1);
        EXPECT(deaf->cut_bytes == 0);
        EXPECT(all_lines_are_accounted_for(deaf->console, FLOOD_LINES));
        EXPECT(wait_exit(s->pid, 3000) == 0);
        s->pid = 0;
        EXPECT(logged(s, "event=stop"));
    }
    seat_count = 0;
    struct server *idle = START(CHEAP);
    EXPECT(stop(idle, SIGTERM) < 1000);
}

CASE(a_reader_that_never_reads_does_not_hold_up_a_stop, 20)
{
    struct server *s = START(CHEAP, "--rate", "0");
    struct console *a = player(s, "Alice");
    enter(a, "East");
    (void)deaf_player(s, "Deaf");
    (void)flood(a, FLOOD_LINES);
    uint64_t took = stop(s, SIGTERM);
    note("stop with a reader that never reads: %llu ms\n", (unsigned long long)took);
    EXPECT(took < 3000);
}

/* Unread input makes a close a reset, which can take the last answers away. */
CASE(a_stop_ends_connections_without_a_reset, 10)
{
    struct server *s = START(CHEAP);
    int fd = raw_open(s, LOBBY, LOCALHOST);
    uint8_t requests[8192];
    size_t size = 0, bytes = 0, n;
    while ((n = console_frame(requests + size, sizeof requests - size, "skey", 0, "SKEY=$00\n", 10)) > 0)
        size += n;
    raw_send_bytes(fd, requests, size);
    run_for(300); /* its rate is used up, and the rest of it waits unread */
    (void)stop(s, SIGTERM);
    enum ending end = raw_end(fd, 2000, &bytes);
    EXPECT(bytes > 1000);
    if (end != ENDED)
        fail("the connection %s", end == RESET ? "is reset" : "stays open");
}

/* A connection to the operator's socket that nobody takes: -1 if there is no place. */
static int wait_for_control(const struct server *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    EXPECT(snprintf(address.sun_path, sizeof address.sun_path, "%s/control", s->data) < (int)sizeof address.sun_path);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* SIGSTOP: `ctl` says so in time, be there a place in the queue or not. SIGCONT: nobody
 * was silent, as nobody was asked anything. */
CASE_BESIDE(a_stopped_server_is_told_by_ctl_and_goes_on, 30)
{
    const struct server *s = START(CHEAP, "--ping-s", "1", "--idle-s", "3");
    struct console *ann = player(s, "Annie"), *bob = player(s, "Bobby");
    enter(ann, "East");
    enter(bob, "East");
    EXPECT(kill(s->pid, SIGSTOP) == 0);
    console_chat(ann, "before");
    pump(20);
    for (int full = 0; full < 2; full++) {
        int fd[64], count = 0;
        while (full && count < 64 && (fd[count] = wait_for_control(s)) >= 0)
            count++;
        EXPECT(count < 64);
        uint64_t began_ms = now_ms();
        const struct outcome *o = RUN("ctl", "--data", s->data, "stats");
        EXPECT(now_ms() - began_ms < 5000);
        EXPECT(o->status == 1 && strstr(o->err, "did not answer within 4 seconds") != NULL);
        while (count > 0)
            (void)close(fd[--count]);
    }
    EXPECT(kill(s->pid, SIGCONT) == 0);
    UNTIL(3000, console_saw(bob, "Annie", "before") == 1);
    run_for(2000);
    talk(bob, ann, "after");
    EXPECT(settled(ann) && settled(bob) && !logged(s, "reason=\"silent\""));
    EXPECT(log_lines(s, "event=stood_still", NULL) == 1 && !logged(s, "event=clock_set"));
    EXPECT(RUN("ctl", "--data", s->data, "stats")->status == 0);
}

CASE(a_pipe_signal_kills_nothing, 10)
{
    struct server *s = START(CHEAP);
    struct console *a = player(s, "Alice");
    EXPECT(kill(s->pid, SIGPIPE) == 0);
    run_for(100);
    EXPECT(alive(s) && settled(a));
    EXPECT(directory_answers(s, DIRECTORY, LOCALHOST));
}

#define CONFIG_HEAD "hash-cost = 4\nroom = East: East Coast Racers: 50\n"

CASE(a_reload_takes_a_good_file_and_refuses_a_bad_one, 20)
{
    const char *path = write_file(NULL, CONFIG_HEAD);
    char place[96];
    struct server *s = START("--config", path);
    struct console *a = player(s, "Alice");
    EXPECT(console_room_named(a, "East") != NULL && console_room_named(a, "Night") == NULL);

    (void)write_file(path, CONFIG_HEAD "room = Night: After dark: 20\n");
    EXPECT(kill(s->pid, SIGHUP) == 0);
    UNTIL(2000, console_room_named(a, "Night") != NULL);
    EXPECT(console_room_named(a, "Night")->limit == 20);
    UNTIL(2000, logged(s, "event=reloaded"));
    enter(a, "Night");

    (void)write_file(path, CONFIG_HEAD "room = Night: After dark: 20\nroom = Dawn: Too early: 1\n");
    (void)snprintf(place, sizeof place, "%s:4: ", path);
    EXPECT(kill(s->pid, SIGHUP) == 0);
    UNTIL(2000, log_lines(s, place, "expected") == 1);
    UNTIL(2000, log_lines(s, "event=reload_refused", "level=error") == 1);
    run_for(200);
    EXPECT(alive(s) && console_room_named(a, "Dawn") == NULL && is_in(a, "Night", 1));
    EXPECT(directory_answers(s, LOBBY, LOCALHOST));

    (void)unlink(path);
    EXPECT(kill(s->pid, SIGHUP) == 0);
    UNTIL(2000, log_lines(s, "event=reload_refused", NULL) == 2);
    EXPECT(alive(s) && is_in(a, "Night", 1));
}

/* Nobody is connected: what is to be said is said at once all the same. */
CASE(a_reload_is_logged_with_no_one_connected, 10)
{
    struct server *s = START("--config", write_file(NULL, CONFIG_HEAD));
    EXPECT(kill(s->pid, SIGHUP) == 0);
    UNTIL(2000, logged(s, "event=reloaded"));
}

CASE(a_restart_takes_the_same_ports, 10)
{
    struct server *first = START(CHEAP);
    char port[PORTS][8];
    struct console *a = player(first, "Alice");
    for (int i = 0; i < PORTS; i++)
        (void)snprintf(port[i], sizeof port[i], "%u", (unsigned)first->port[i]);
    (void)stop(first, SIGTERM);
    UNTIL(2000, seats[0].fd[CONSOLE_LOBBY] < 0);
    struct server *second = START(CHEAP, "--directory-port", port[0], "--lobby-port", port[1], "--buddy-port", port[2]);
    seats[0].server = second;
    console_login(a, "Alice", PASSWORD, "Alice");
    UNTIL(3000, settled(a));
}

/* ---- Cases: the terminal goes away -------------------------------------------------------- */

static enum terminal_end {
    SHELL_PASSES_IT_ON, /* to its jobs, as bash does */
    SHELL_DIES,         /* and only the kernel tells who is in the foreground */
    NO_SHELL,           /* the server leads the session, as in `xterm -e` */
    DISOWNED,           /* in the background, and told nothing */
    NOHUP,              /* told, but not to mind */
    TERMINAL_ENDS
} terminal_end;
static char terminal[64];

/* Begins a session at the terminal, with a shell that has a job: the server. */
static void sit_at_terminal(void)
{
    sigset_t set;
    int number = 0;
    (void)setsid();
    int tty = open(terminal, O_RDWR | O_CLOEXEC);
    (void)ioctl(tty, TIOCSCTTY, 0);
    (void)dup2(tty, STDIN_FILENO);
    if (terminal_end == NO_SHELL)
        return;
    (void)signal(SIGTTOU, SIG_IGN);
    pid_t job = fork();
    if (job == 0) {
        (void)setpgid(0, 0);
        if (terminal_end != DISOWNED)
            (void)tcsetpgrp(STDIN_FILENO, getpgrp());
        (void)signal(SIGHUP, terminal_end == NOHUP ? SIG_IGN : SIG_DFL);
        return;
    }
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGUSR1); /* `kill -HUP %1` */
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    while (sigwait(&set, &number) == 0 && number == SIGUSR1)
        (void)kill(-job, SIGHUP);
    if (terminal_end == SHELL_PASSES_IT_ON || terminal_end == NOHUP)
        (void)kill(-job, SIGHUP);
    _exit(0);
}

/* Ends a server that is no child of ours when we end. */
static void guard(pid_t server)
{
    sigset_t set;
    int number = 0;
    if (fork() != 0)
        return;
    for (int fd = 3; fd < 1024; fd++)
        (void)close(fd);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)sigwait(&set, &number);
    (void)kill(server, SIGKILL);
    _exit(0);
}

static pid_t pid_in(const char *data)
{
    char path[160], text[16] = "";
    (void)snprintf(path, sizeof path, "%s/pid", data);
    FILE *file = fopen(path, "r");
    EXPECT(file != NULL && fgets(text, sizeof text, file) != NULL && atoi(text) > 0);
    (void)fclose(file);
    return (pid_t)atoi(text);
}

CASE(a_terminal_that_goes_away_stops_what_it_started, 20)
{
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (terminal_end = 0; terminal_end < TERMINAL_ENDS; terminal_end++) {
        bool goes_on = terminal_end == DISOWNED || terminal_end == NOHUP;
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 || ptsname_r(master, terminal, sizeof terminal))
            skip("no terminal");
        before_exec = sit_at_terminal;
        struct server *s = START(CHEAP);
        before_exec = NULL;
        pid_t shell = s->pid, server = pid_in(s->data);
        EXPECT((server == shell) == (terminal_end == NO_SHELL));
        guard(server);
        size_t reloads = 0;
        if (terminal_end != NO_SHELL) { /* it is there, so whoever sends this wants a reload */
            (void)kill(shell, SIGUSR1);
            UNTIL(2000, log_lines(s, "event=reloaded", NULL) == 1);
            reloads++;
        }
        if (terminal_end == SHELL_DIES)
            (void)kill(shell, SIGKILL);
        else
            (void)close(master);
        if (!goes_on && wait_exit(server, 3000) != 0)
            fail("end %d of the terminal: the server goes on, or dies of it", (int)terminal_end);
        if (goes_on) {
            run_for(200);
            EXPECT(kill(server, 0) == 0 && log_lines(s, "event=reloaded", NULL) == reloads);
            (void)kill(server, SIGHUP); /* the operator's */
            UNTIL(2000, log_lines(s, "event=reloaded", NULL) == reloads + 1);
            (void)kill(server, SIGTERM);
            EXPECT(wait_exit(server, 3000) == 0);
        }
        EXPECT(log_lines(s, "event=terminal_closed", NULL) == !goes_on && log_lines(s, "event=stop", NULL) == 1);
        s->pid = 0;
        START_AGAIN(s, CHEAP); /* nothing uses the folder */
        (void)stop(s, SIGTERM);
        if (terminal_end == SHELL_DIES)
            (void)close(master);
    }
}

/* ---- Cases: usage ------------------------------------------------------------------ */

#define LONG_NAME "A name of more than 31 characters"
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

/* For every option, values that it does not take, and one that it does. */
static const struct {
    const char *key, *good, *bad[6];
} options[] = {
    {"config", NULL, {"/nowhere/nascar.conf", "/", "", NULL}},
    {"data", NULL, {"", NULL}},
    {"control-group", NULL, {NULL}}, /* which there are is the system's */
    {"bind", "127.0.0.1", {"localhost", "127.0.0", "127.0.0.256", "1.2.3.4.5", "", NULL}},
    {"directory-port", "0", {"65536", "-1", "http", "10600x", "", NULL}},
    {"lobby-port", "0", {"65536", "-1", "0x10", "4294967296", "", NULL}},
    {"buddy-port", "0", {"65536", "-1", " ", "1.5", "", NULL}},
    {"max-clients", "1024", {"0", "65537", "many", "", NULL}},
    {"max-accounts", "16384", {"0", "1048577", "99999999999", "", NULL}},
    {"hash-cost", "4", {"3", "16", "ten", "", NULL}},
    {"news", NULL, {"/nowhere/news.txt", "/", NULL}},
    {"record", NULL, {NULL}}, /* any name; what cannot be written ends with status 1 */
    {"log-file", NULL, {NULL}},
    {"user", NULL, {"no such user", "root", "0:0", "1:no such group", "", NULL}},
    {"chroot", NULL, {"relative", "/nowhere", "", NULL}},
    {"sandbox", "off", {"yes", "", NULL}},
    {"log-level", "debug", {"loud", "INFO", "", "error warn", NULL}},
    {"log-format", "json", {"xml", "JSON", "", "text json", NULL}},
    {"public-address", "192.0.2.1", {"example_org", "192.0.2.999", "0.0.0.0", "255.255.255.255", "", NULL}},
    {"lan", "off", {"on", "192.168.1.0/24", "", NULL}},
    {"accounts", "register", {"ajar", "Open", "", NULL}},
    {"skey", "on", {"maybe", "1", "", NULL}},
    {"directory-direct", "no", {"on", "", NULL}},
    {"ping-s", "30", {"0", "3601", "30s", "", NULL}},
    {"idle-s", "60", {"0", "86401", "-5", "", NULL}},
    {"login-s", "900", {"0", "86401", "", NULL}},
    {"challenge-s", "60", {"0", "3601", "", NULL}},
    {"race-start-s", "10", {"0", "3601", "", NULL}},
    {"first-frame-s", "10", {"0", "3601", "", NULL}},
    {"linger-s", "5", {"0", "3601", "", NULL}},
    {"buddy-login-s", "30", {"0", "3601", "", NULL}},
    {"segment-bytes", "1400", {"65536", "-1", "1.4k", "", NULL}},
    {"rate", "10", {"1000001", "-1", "", NULL}},
    {"per-address", "256", {"0", "1000001", "", NULL}},
    {"logins-per-address", "300", {"0", "1000001", "", NULL}},
    {"accounts-per-address", "50", {"0", "1000001", "", NULL}},
    {"http", "0", {"65536", "-1", "off", "", NULL}},
    {"dns", "0", {"65536", "-1", "off", "", NULL}},
    {"dns-name",
     "b.example=192.0.2.1",
     {"b_example", "b.example=", "b.example=0.0.0.0", "b.example=224.0.0.1", "=192.0.2.1", NULL}},
    {"proxy-from", "10.0.0.0/8", {"10.0.0.1/8", "10.0.0.0", "", NULL}},
    {"trusted", "192.168.1.0/24", {"192.168.1.1/24", "192.168.1.0/33", "192.168.1.0", "", NULL}},
    {"room",
     "South: \"Y'all\": 30",
     {"", ": no name", "Lobby: the hub: 5", "X: a\nrate = 0", "North: cold: 65537", LONG_NAME}},
    {"welcome", "Say /help", {HUNDRED HUNDRED HUNDRED, NULL}},
    {"chat-commands", "off", {"no", "", NULL}},
    {"announce-results", "off", {"never", "", NULL}},
    {"down", "Back at noon", {HUNDRED HUNDRED HUNDRED, "Back\nskey = off", NULL}},
};

#define OPTION_COUNT (sizeof options / sizeof options[0])

static void expect_usage(const struct outcome *o, const char *part, const char *other, const char *what)
{
    if (o->status != 2 || strstr(o->err, part) == NULL || strstr(o->err, other) == NULL || o->out[0] != '\0') {
        fail("%s: exit status %d, not 2; `%s` without `%s` and `%s`%s", what, o->status, o->err, part, other,
             o->out[0] != '\0' ? "; says something on standard output" : "");
    }
}

CASE(bad_options_end_with_status_2_and_say_what_is_expected, 30)
{
    char option[64], joined[512];
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        (void)snprintf(option, sizeof option, "--%s", options[i].key);
        for (size_t k = 0; k < 6 && options[i].bad[k] != NULL; k++) {
            const char *expected = options[i].good == NULL ? options[i].bad[k] : "expected";
            (void)snprintf(joined, sizeof joined, "--%s=%s", options[i].key, options[i].bad[k]);
            expect_usage(RUN(SERVER_ARGUMENTS, option, options[i].bad[k]), option, expected, joined);
            if (k == 0)
                expect_usage(RUN(SERVER_ARGUMENTS, joined), option, expected, joined);
        }
        expect_usage(RUN(SERVER_ARGUMENTS, option), option, "value", option);
    }
    expect_usage(RUN("--tyres", "soft"), "--tyres", "--help", "an unknown option");
    expect_usage(RUN("--tyres=soft"), "--tyres", "--help", "an unknown option with =");
    expect_usage(RUN("drive"), "drive", "--help", "an unknown word");
    expect_usage(RUN("serve", "serve"), "serve", "--help", "a word twice");
    expect_usage(RUN("-h"), "-h", "--help", "a short option");
    expect_usage(RUN("--"), "--", "--help", "an option without a name");
    expect_usage(RUN("--room", "A: b", "--room", "a: c"), "--room", "expected", "a room twice");
    EXPECT(!strstr(RUN("--tyres")->err, "(null)"));
}

CASE(every_option_of_help_is_known_here, 10)
{
    const struct outcome *o = RUN("--help");
    char name[32];
    EXPECT(o->status == 0 && o->err[0] == '\0' && strncmp(o->out, "usage: nascar_server", 20) == 0);
    for (const char *at = o->out; (at = strstr(at, "\n  --")) != NULL; at += 5) {
        size_t i = 0;
        EXPECT(sscanf(at + 5, "%31s", name) == 1);
        if (strcmp(name, "help") == 0 || strcmp(name, "version") == 0 || strcmp(name, "check-config") == 0)
            continue;
        while (i < OPTION_COUNT && strcmp(options[i].key, name) != 0)
            i++;
        if (i == OPTION_COUNT)
            fail("no values to try for --%s", name);
    }
    o = RUN("--version");
    EXPECT(o->status == 0 && o->err[0] == '\0' && strncmp(o->out, "nascar_server ", 14) == 0);
    EXPECT(RUN("serve", "--lobby-port", "1", "--help")->status == 0);
}

CASE(bad_config_lines_are_named_by_file_and_line, 15)
{
    char text[1024], place[96];
    const char *path = write_file(NULL, "");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (options[i].good == NULL)
            continue;
        (void)snprintf(text, sizeof text, "# the second line is bad\n\n%s = %s\n", options[i].key, options[i].bad[0]);
        (void)write_file(path, text);
        (void)snprintf(place, sizeof place, "%s:3: ", path);
        expect_usage(RUN("--config", path), place, "expected", text);
    }
    static const char *const bad[] = {
        "skey\n", "= on\n", "tyres = soft\n", "config = other.conf\n", "news = /nowhere/news\n", "\x01\x02\xFF\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)write_file(path, bad[i]);
        (void)snprintf(place, sizeof place, "%s:1: ", path);
        expect_usage(RUN("--config", path), place, "", bad[i]);
    }
    /* The rest of a line that is too long is not taken for a line. */
    memset(text, 'x', sizeof text);
    text[0] = '#';
    text[sizeof text - 1] = '\0';
    char longer[4096];
    (void)snprintf(longer, sizeof longer, "%s%s%s\ntyres = soft\n", text, text, text);
    (void)write_file(path, longer);
    (void)snprintf(place, sizeof place, "%s:1: ", path);
    expect_usage(RUN("--config", path), place, "characters", "a long comment");
    expect_usage(RUN("--config", "/dev/zero"), "/dev/zero:1: ", "NUL byte", "a line without an end");
}

CASE(a_config_file_with_every_key_works, 10)
{
    char text[4096] = "# every key, with spaces in all the places\n\n", line[512];
    const char *news = write_file(NULL, "Daytona on Sunday\nTwo new rooms\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (options[i].good == NULL || strcmp(options[i].key, "down") == 0 ||
            strcmp(options[i].key, "public-address") == 0 || strcmp(options[i].key, "accounts") == 0)
            continue; /* those would keep the console out */
        (void)snprintf(line, sizeof line, i % 2 == 0 ? "%s=%s\n" : "  %s \t=  %s \r\n", options[i].key,
                       options[i].good);
        strcat(text, line);
    }
    (void)snprintf(line, sizeof line, "news = %s\nroom = \"West: West Coast: 12\"", news); /* no end of line */
    strcat(text, line);
    struct server *s = START("--config", write_file(NULL, text));
    struct console *c = player(s, "Alice");
    EXPECT(strstr(c->news, "Daytona on Sunday") != NULL);
    console_read_news(c);
    UNTIL(2000, strstr(c->news_page, "Two new rooms") != NULL);
    EXPECT(console_room_named(c, "South") && console_room_named(c, "South")->limit == 30);
    EXPECT(console_room_named(c, "West") && console_room_named(c, "West")->limit == 12);
    EXPECT(console_room_named(c, "East") == NULL);

    /* Options have the last word, and the rest of the keys work. */
    struct server *word =
        start_limited((const char *const[]){"--config", write_file(NULL, "down = Not this\nskey = off\n"), "--down",
                                            "Back at noon", "--public-address", "192.0.2.1", "--accounts", "closed",
                                            NULL},
                      0);
    int fd = raw_open(word, DIRECTORY, LOCALHOST);
    EXPECT(raw_asks(fd, "@dir", "PROD=NASCAR-PS2-2004\n", "Back at noon", 2000));
    (void)close(fd);
}

CASE(the_word_serve_and_the_largest_limits_are_taken, 10)
{
    struct server *s = new_server();
    const char *arguments[] = {binary,           "serve",   SERVER_ARGUMENTS, "--max-clients", "65536",
                               "--max-accounts", "1048576", "--data",         s->data,         NULL};
    int out[2];
    char ready[256] = "";
    EXPECT(pipe2(out, O_CLOEXEC) == 0);
    s->pid = fork();
    EXPECT(s->pid >= 0);
    if (s->pid == 0)
        become_server(arguments, -1, out[1], s->err, 0);
    (void)close(out[1]);
    if (narrow) { /* 32 bits cannot address that much */
        EXPECT(wait_exit(s->pid, 5000) == 1);
        s->pid = 0;
        EXPECT(logged(s, "65536 clients and 1048576 accounts are more than a process of 32 bits can address"));
        return;
    }
    struct pollfd readable = {.fd = out[0], .events = POLLIN};
    EXPECT(poll(&readable, 1, 5000) == 1 && read(out[0], ready, sizeof ready - 1) > 0);
    (void)close(out[0]);
    EXPECT(strncmp(ready, "ready directory=127.0.0.1:", 26) == 0 && strchr(ready, '\n') == ready + strlen(ready) - 1);
    s->port[DIRECTORY] = port_of(ready, "directory");
    EXPECT(directory_answers(s, DIRECTORY, LOCALHOST));
}

CASE(what_cannot_be_opened_is_named, 10)
{
    static const char *const names[] = {"directory", "lobby", "buddy"};
    struct server *first = START(CHEAP);
    char option[32], port[8], expected[64], data[128];
    fresh_folder(data);
    for (int i = 0; i < PORTS; i++) {
        (void)snprintf(option, sizeof option, "--%s-port", names[i]);
        (void)snprintf(port, sizeof port, "%u", (unsigned)first->port[i]);
        (void)snprintf(expected, sizeof expected, "%s port %s", names[i], port);
        const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", data, option, port);
        if (o->status != 1 || strstr(o->err, expected) == NULL || strstr(o->err, "in use") == NULL || o->out[0])
            fail("%s: status %d, `%s`", expected, o->status, o->err);
    }
    const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", data, "--bind", "192.0.2.1");
    EXPECT(o->status == 1 && strstr(o->err, "192.0.2.1") != NULL);
    o = RUN(SERVER_ARGUMENTS, "--data", data, "--record", "/nowhere/nascar.rec");
    EXPECT(o->status == 1 && strstr(o->err, "--record: /nowhere/nascar.rec") != NULL && o->out[0] == '\0');
    o = RUN(SERVER_ARGUMENTS, "--data", "/nowhere/data");
    EXPECT(o->status == 1 && strstr(o->err, "--data: /nowhere/data: it cannot be made") != NULL && o->out[0] == '\0');
    EXPECT(strstr(o->err, "is there the folder") != NULL); /* and what to do */
    o = RUN(SERVER_ARGUMENTS, "--data", "/dev/null");
    EXPECT(o->status == 2 && strstr(o->err, "--data: /dev/null: expected a folder") != NULL && o->out[0] == '\0');
    o = RUN(SERVER_ARGUMENTS, "--data", data, "--log-file", "/");
    EXPECT(o->status == 1 && strstr(o->err, "--log-file: /: ") != NULL && strstr(o->err, "name a file") != NULL);
    (void)snprintf(expected, sizeof expected, "a server uses it, process %d", (int)first->pid);
    o = RUN(SERVER_ARGUMENTS, "--data", first->data);
    EXPECT(o->status == 1 && strstr(o->err, expected) != NULL && o->out[0] == '\0');
    char pid[192];
    (void)snprintf(pid, sizeof pid, "%s/pid", first->data);
    EXPECT(unlink(pid) == 0); /* then it says no process, and none that is not there */
    o = RUN(SERVER_ARGUMENTS, "--data", first->data);
    EXPECT(o->status == 1 && strstr(o->err, "a server uses it\n") != NULL && o->out[0] == '\0');
}

/* ---- Cases: limits -------------------------------------------------------------------- */

CASE(an_address_has_256_connections_and_is_told_so, 15)
{
    struct server *s = START(CHEAP);
    int fd[256];
    for (size_t i = 0; i < 256; i++)
        fd[i] = raw_open(s, (int)(i % PORTS), LOCALHOST);
    EXPECT(raw_asks(fd[255], "addr", "ADDR=192.0.2.100\nPORT=50000\n", "STATUS=1", 2000));
    EXPECT(!logged(s, "too many from this address"));
    run_for(1100); /* so that there is room in the log */
    /* One more may ask the directory, which says why; nothing else is begun on it (PROTOCOL 3.1). */
    int extra = raw_open(s, DIRECTORY, LOCALHOST);
    EXPECT(raw_asks(extra, "@dir", "PROD=NASCAR-PS2-2004\n", "DOWN=\"Too many players", 2000));
    (void)close(extra);
    extra = raw_open(s, LOBBY, LOCALHOST);
    raw_send(extra, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    EXPECT(raw_end(extra, 2000, NULL) != OPEN);
    (void)close(extra);
    UNTIL(1000, log_lines(s, "event=close", "peer=127.0.0.1 reason=\"too many from this address\"") == 1);
    EXPECT(raw_asks(fd[0], "addr", "ADDR=192.0.2.100\nPORT=50000\n", "STATUS=1", 2000));
    EXPECT(directory_answers(s, DIRECTORY, LOCALHOST + 1));
    (void)player_from(s, "Neighbour", LOCALHOST + 1);
    (void)close(fd[1]); /* a player has two connections: for one more, two must be free */
    (void)close(fd[2]);
    UNTIL(2000, directory_answers(s, LOBBY, LOCALHOST));
}

/* `opened` connections from our own address, all of them asking. */
static void ask_on_all(const struct server *s, int *fd, size_t opened)
{
    for (size_t i = 0; i < opened; i++) {
        fd[i] = raw_open(s, DIRECTORY, LOCALHOST);
        raw_send(fd[i], "@dir", "PROD=NASCAR-PS2-2004\n");
    }
}

/* How many of these have something to read. */
static size_t answered(const int *fd, size_t count)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        struct pollfd readable = {.fd = fd[i], .events = POLLIN};
        sum += fd[i] >= 0 && poll(&readable, 1, 0) == 1;
    }
    return sum;
}

/* Those who were answered leave, and so those who wait come in. */
static void leave_and_come_in(int *fd, size_t count)
{
    struct pollfd readable[160];
    EXPECT(count <= sizeof readable / sizeof readable[0]);
    for (size_t i = 0; i < count; i++)
        readable[i] = (struct pollfd){.fd = fd[i], .events = POLLIN};
    int served = poll(readable, (nfds_t)count, 0); /* all at once: who comes in meanwhile stays */
    EXPECT(served > 0 && (size_t)served < count);
    for (size_t i = 0; i < count; i++) {
        if (readable[i].revents != 0) {
            (void)close(fd[i]);
            fd[i] = -1;
        }
    }
    UNTIL(4000, answered(fd, count) > 0);
}

CASE(without_files_others_wait_and_those_online_play_on, 20)
{
    struct server *s = start_limited((const char *const[]){CHEAP, "--per-address", "1000", "--linger-s", "60",
                                                           "--first-frame-s", "60", "--rate", "100", NULL},
                                     32);
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    int fd[60];
    enter(a, "East");
    enter(b, "East");
    EXPECT(logged(s, "event=few_files"));
    ask_on_all(s, fd, 60);
    UNTIL(2000, logged(s, "event=accept_paused"));
    run_for(200);
    size_t served = answered(fd, 60);
    EXPECT(served > 5 && served < 32);
    for (int i = 0; i < 5; i++)
        EXPECT(RUN("ctl", "--data", s->data, "stats")->status == 0); /* the operator gets in */
    uint64_t cpu = cpu_ms(s), pauses = log_lines(s, "event=accept_paused", NULL);
    struct latency l = round_trips(a, b, 60, 45);
    cpu = cpu_ms(s) - cpu;
    pauses = log_lines(s, "event=accept_paused", NULL) - pauses;
    note("out of files: chat p50=%.2f p99=%.2f ms, server used %llu ms of 3 s, %llu log lines\n", l.p50_ms, l.p99_ms,
         (unsigned long long)cpu, (unsigned long long)pauses);
    EXPECT(l.p99_ms < (instrumented ? 1000 : 250) && cpu < (instrumented ? 1500 : 300) && pauses <= 12);
    EXPECT(answered(fd, 60) == served);
    leave_and_come_in(fd, 60);
    talk(a, b, "still here");
}

CASE(a_full_server_lets_others_wait, 15)
{
    struct server *s =
        START(CHEAP, "--max-clients", "1", "--per-address", "1000", "--linger-s", "60", "--first-frame-s", "60");
    struct console *a = player(s, "Alice");
    int fd[150];
    ask_on_all(s, fd, 150);
    run_for(300);
    size_t served = answered(fd, 150);
    EXPECT(served == 2 * 1 + 64 + 64 - 2); /* all that there are, less Alice's two links */
    uint64_t cpu = cpu_ms(s);
    run_for(1000);
    EXPECT(cpu_ms(s) - cpu < (instrumented ? 500 : 100));
    EXPECT(answered(fd, 150) == served);
    leave_and_come_in(fd, 150);
    EXPECT(settled(a));
}

/* ---- Cases: slow readers ------------------------------------------------------------------ */

CASE_BESIDE(a_reader_that_never_reads_slows_nobody_and_is_closed, 60)
{
    struct server *s = START(CHEAP, "--rate", "0");
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    enter(a, "East");
    enter(b, "East");
    struct seat *dozer = deaf_player(s, "Dozer"), *deaf = deaf_player(s, "Deaf");
    UNTIL(3000, is_in(a, "East", 4));
    struct memory before = memory_of(s);
    uint64_t began = now_ms(), cpu = cpu_ms(s);
    unsigned lines = flood(a, FLOOD_LINES);
    uint64_t took = now_ms() - began;
    cpu = cpu_ms(s) - cpu;
    UNTIL(5000, b->chat.count == lines);
    struct latency l = round_trips(a, b, 100, 10);
    struct memory after = memory_of(s);
    note("two readers that never read: %u lines to the others in %llu ms (server used %llu), then chat p50=%.2f "
         "p99=%.2f ms, "
         "memory +%ld KiB\n",
         lines, (unsigned long long)took, (unsigned long long)cpu, l.p50_ms, l.p99_ms,
         (long)after.pss_kib - (long)before.pss_kib);
    EXPECT(l.p99_ms < (instrumented ? 1000 : 250));
    EXPECT(instrumented || after.pss_kib < before.pss_kib + 128);
    EXPECT(deaf->fd[CONSOLE_LOBBY] >= 0 && !logged(s, "reason=\"stuck\""));

    /* One of them wakes up: what it gets is whole, and it is told what it missed. */
    dozer->deaf = false;
    UNTIL(5000, log_lines(s, "event=slow_reader", "persona=\"Dozer\" missed_lines=") == 1);
    UNTIL(5000, dozer->console->chat.count > 0 && strstr(dozer->console->chat.at[dozer->console->chat.count - 1].text,
                                                         "lines of chat were missed") != NULL);
    EXPECT(dozer->console->chat.at[dozer->console->chat.count - 1].flags == CONSOLE_FLAG('B'));
    talk(a, dozer->console, "good morning");

    /* The other one is closed 30 s after it fell behind, and out of the room. */
    UNTIL(33000, log_lines(s, "reason=\"stuck\"", "persona=\"Deaf\"") == 1);
    note("closed as stuck %llu ms after the flood began\n", (unsigned long long)(now_ms() - began));
    EXPECT(now_ms() - began >= 29000);
    UNTIL(2000, console_user(a, "Deaf") == NULL && is_in(a, "East", 3) && is_in(b, "East", 3));
    deaf->deaf = false;
    UNTIL(5000, deaf->fd[CONSOLE_LOBBY] < 0);
}

/* ---- Cases: what stays out of the log ------------------------------------------------------- */

/* Whether a file has these bytes anywhere. */
static bool in_file(const char *path, const char *part)
{
    static char bytes[1 << 20];
    FILE *file = fopen(path, "rb");
    EXPECT(file != NULL);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    EXPECT(size > 0 && size < sizeof bytes);
    (void)fclose(file);
    return memmem(bytes, size, part, strlen(part)) != NULL;
}

CASE(no_password_is_ever_logged_or_recorded, 20)
{
    static const char *const forms[] = {"on", "off"};
    static const char *const secrets[] = {"sesame 42", "wrong sesame", "pit$stop", "pit$lane", "fresh*words"};
    char wanted[512];
    keeps_sent = true;
    for (size_t i = 0; i < 2; i++) {
        const char *recording = write_file(NULL, "");
        (void)unlink(recording); /* else it would be kept as FILE.old */
        struct server *s = START(CHEAP, "--log-level", "debug", "--skey", forms[i], "--record", recording);
        struct console *a = seat_new(s, LOCALHOST)->console, *b = seat_new(s, LOCALHOST)->console;
        size_t from = sent_bytes, checked = 0;
        console_signup(a, "Alice", secrets[0], "alice@example.org", "Alice");
        UNTIL(3000, settled(a));
        console_login(b, "Bobby", secrets[0], "Bobby");
        UNTIL(3000, settled(b));
        console_create_room(a, "C.Secret", secrets[2], "None", 5);
        UNTIL(3000, console_room_named(b, "C.Secret") != NULL);
        console_move(b, "C.Secret", secrets[3]);
        console_move(b, "C.Secret", secrets[2]);
        (void)snprintf(wanted, sizeof wanted, "NAME=Alice\nPASS=%s\nCHNG=\"%s\"\n", secrets[0], secrets[4]);
        console_request(a, CONSOLE_LOBBY, "edit", wanted);
        UNTIL(3000, settled(a) && settled(b) && is_in(b, "C.Secret", 2));
        console_leave(a);
        UNTIL(3000, seats[seat_count - 2].fd[CONSOLE_LOBBY] < 0);
        console_login(a, "Alice", secrets[1], "Alice");
        UNTIL(3000, a->stage == CONSOLE_LOGIN && a->refused != 0);
        console_login(a, "Alice", secrets[4], "Alice");
        UNTIL(3000, settled(a));
        (void)stop(s, SIGTERM);
        UNTIL(3000, seats[seat_count - 2].fd[CONSOLE_LOBBY] < 0 && seats[seat_count - 1].fd[CONSOLE_LOBBY] < 0);

        for (size_t k = 0; k < sizeof secrets / sizeof secrets[0]; k++)
            if (logged(s, secrets[k]) || in_file(recording, secrets[k]))
                fail("the log or the recording has the password `%s`", secrets[k]);
        for (const char *at = sent + from; (at = strstr(at, "PASS=")) != NULL;) {
            at += 5;
            size_t size = strcspn(at, "\n");
            (void)snprintf(wanted, sizeof wanted, "%.*s", (int)(size < 500 ? size : 500), at);
            if (size > 3 && (logged(s, wanted) || in_file(recording, wanted)))
                fail("the log or the recording has the password as it came: `%s`", wanted);
            checked++;
        }
        EXPECT(checked >= 5 && log_lines(s, "event=login", NULL) >= 3 && !logged(s, "PASS") && !logged(s, "$2b$"));
        EXPECT(!in_file(recording, "$2b$") && in_file(recording, "C.Secret")); /* it is there, but for those */
        const struct outcome *o = RUN("replay", recording);
        if (o->status != 0)
            fail("the recording cannot be run again: status %d, %s%s", o->status, o->out, o->err);
    }
}

CASE(what_is_typed_cannot_forge_a_log_line, 10)
{
    struct server *s = START(CHEAP, "--log-level", "debug");
    struct console *c = player(s, "Alice");
    run_for(1100); /* so that there is room in the log */
    int fd = raw_open(s, LOBBY, LOCALHOST);
    static const char name[] = "NAME=\"x%0aevent=forged%22 y=\x1b%c3\"\nPASS=$3ec97dd5\n";
    EXPECT(raw_asks(fd, "@dir", "PROD=NASCAR-PS2-2004\n", "SESS=", 2000));
    (void)close(fd);
    fd = raw_open(s, LOBBY, LOCALHOST);
    EXPECT(raw_asks(fd, "auth", name, "STATUS=100", 2000));
    raw_send(fd, "a\"b=", "N=1\n");
    console_create_room(c, "C.\" event=forged", "", "x\" event=forged", 5);
    run_for(200);
    EXPECT(log_lines(s, "event=login_refused", NULL) == 1 && log_lines(s, "event=unknown_kind", NULL) == 1);
    for (const char *line = contents(s->log); *line != '\0'; line += strcspn(line, "\n") + 1) {
        bool quoted = false; /* outside of quotes there is one event, and nothing forged */
        EXPECT(strncmp(line, "time=2", 6) == 0);
        for (const char *at = line; *at != '\n'; at++) {
            EXPECT(*at >= 0x20 && *at < 0x7f);
            quoted ^= *at == '"' && at[-1] != '\\';
            EXPECT(quoted || strncmp(at, "event=forged", 12) != 0);
        }
        EXPECT(!quoted);
    }
}

/* ---- Cases: segments (PROTOCOL 1) ------------------------------------------------ */

/* Loopback in a name space of networks of this process alone, with the packets of an
 * Ethernet; and a socket that sees all of them. */
static int own_wire(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_mtu = 1500};
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        skip("no name space of networks, as this is not root: %s", strerror(errno));
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), bytes = 64 << 20;
    EXPECT(fd >= 0 && ioctl(fd, SIOCSIFMTU, &request) == 0);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    EXPECT(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
    (void)close(fd);
    int wire = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_IP));
    if (wire < 0)
        skip("no AF_PACKET socket: %s", strerror(errno));
    EXPECT(setsockopt(wire, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) == 0 ||
           setsockopt(wire, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0);
    return wire;
}

struct seen {
    size_t segments, frames;
    size_t several, longest; /* segments of more than one frame; the bytes of the longest of them */
    size_t cut;              /* segments that do not begin and end where a frame does */
};

static uint32_t word_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Looks at what the server has sent from this port since the last time. */
static void look_at_wire(int wire, uint16_t port, struct seen *seen)
{
    static uint8_t packet[1 << 16];
    struct sockaddr_ll from;
    socklen_t from_bytes = sizeof from;
    ssize_t n;
    while ((n = recvfrom(wire, packet, sizeof packet, 0, (struct sockaddr *)&from, &from_bytes)) > 0) {
        size_t ip = (packet[0] & 15u) * 4u, size = (size_t)packet[2] << 8 | packet[3];
        if (from.sll_pkttype == PACKET_OUTGOING || packet[9] != IPPROTO_TCP || size > (size_t)n ||
            ((uint16_t)packet[ip] << 8 | packet[ip + 1]) != port)
            continue; /* each packet comes by twice, on its way out and in */
        size_t at = ip + (packet[ip + 12] >> 4) * 4u, begin = at, frames = 0;
        if (at == size)
            continue;
        for (; at + CONSOLE_HEADER_BYTES <= size && word_at(packet + at + 8) >= CONSOLE_HEADER_BYTES; frames++)
            at += word_at(packet + at + 8);
        seen->segments++;
        seen->frames += frames;
        seen->several += frames > 1;
        seen->cut += at != size;
        seen->longest = frames > 1 && size - begin > seen->longest ? size - begin : seen->longest;
    }
    EXPECT(n < 0 && errno == EAGAIN);
}

/* Thirty players come into one room, and talk there. */
static struct seen thirty_in_one_room(int wire, const struct server *s)
{
    struct seen seen = {0};
    for (unsigned i = 0; i < 30; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Driver%u", i);
        (void)player_from(s, name, LOCALHOST);
        look_at_wire(wire, s->port[LOBBY], &seen);
    }
    for (size_t i = 0; i < seat_count; i++)
        console_move(seats[i].console, "East", "");
    for (size_t i = 0; i < seat_count; i++)
        UNTIL(10000, is_in(seats[i].console, "East", 30) && seats[i].console->users.count == 30);
    look_at_wire(wire, s->port[LOBBY], &seen);
    (void)flood(seats[0].console, 20);
    run_for(100);
    look_at_wire(wire, s->port[LOBBY], &seen);
    return seen;
}

CASE(no_segment_ends_inside_a_frame, 40)
{
    int wire = own_wire();
    struct seen seen = thirty_in_one_room(wire, START(CHEAP, "--rate", "0", "--per-address", "1000"));
    note("segments: %zu, of which %zu hold more than one of %zu frames, in up to %zu bytes\n", seen.segments,
         seen.several, seen.frames, seen.longest);
    EXPECT(seen.segments > 500 && seen.several > 30);
    EXPECT(seen.cut == 0);
    EXPECT(seen.longest <= 1400);
}

CASE(without_segments_of_its_own_a_write_is_as_long_as_it_comes, 40)
{
    int wire = own_wire();
    struct seen seen =
        thirty_in_one_room(wire, START(CHEAP, "--rate", "0", "--per-address", "1000", "--segment-bytes", "0"));
    EXPECT(seen.longest > 1400); /* so the case before this one has seen something */
}

/* That a small write does not wait for the answer to the one before, nor joins it. */
CASE(every_write_to_a_console_is_a_segment_of_its_own, 20)
{
    struct server *s = START(CHEAP);
    struct trace trace = TRACE(s, "-f", "-e", "trace=accept4,setsockopt,sendto");
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    talk(a, b, "side by side");
    const char *text = trace_end(trace);
    size_t opened = 0, without_delay = 0, written = 0, ends = 0;
    for (const char *at = text, *end; *at != '\0'; at = end) {
        char line[512];
        end = at + strcspn(at, "\n");
        (void)snprintf(line, sizeof line, "%.*s", (int)(end - at < 500 ? end - at : 500), at);
        const char *tail = end - at > 100 ? end - 100 : at; /* behind the bytes of a write */
        opened += strstr(line, "accept4(") != NULL && strstr(line, "= -1") == NULL;
        without_delay += strstr(line, "TCP_NODELAY, [1]") != NULL;
        if (strstr(line, "sendto(") != NULL) {
            const char *flags = strstr(tail, "MSG_EOR");
            written++;
            ends += flags != NULL && flags < end;
        }
        end += *end == '\n';
    }
    note("segments: %zu writes to %zu connections\n", written, opened);
    EXPECT(opened >= 6 && without_delay >= opened);
    EXPECT(written > 20 && ends == written);
}

/* ---- Cases: what it costs ------------------------------------------------------------------------ */

/* So many players, each from an address of its own, all inside. */
static void fill(const struct server *s, size_t count)
{
    char name[16];
    for (size_t i = 0; i < count; i++) {
        struct seat *seat = seat_new(s, 0x7F020001u + (uint32_t)i);
        (void)snprintf(name, sizeof name, "Driver%u", (unsigned)i & 0xFFFFu);
        console_login(seat->console, name, PASSWORD, name);
    }
    for (size_t i = 0; i < seat_count; i++)
        UNTIL(20000, settled(seats[i].console));
    run_for(500);
}

CASE(fifty_idle_consoles_cost_little, 30)
{
    struct server *s = START(CHEAP);
    fill(s, 50);
    uint64_t cpu = cpu_ms(s), began = now_ms();
    run_for(5000);
    cpu = cpu_ms(s) - cpu;
    double percent = (double)cpu * 100 / (double)(now_ms() - began);
    note("idle: 50 consoles use %.2f %% of a core\n", percent);
    EXPECT(percent < (instrumented ? 20 : 2));
}

CASE(memory_is_small, 30)
{
    struct server *s = START(CHEAP);
    struct memory empty = memory_of(s);
    fill(s, 100);
    struct memory full = memory_of(s);
    note("memory: empty PSS=%lu KiB, 100 consoles PSS=%lu KiB (RSS %lu and %lu KiB; %.1f KiB each)\n", empty.pss_kib,
         full.pss_kib, empty.rss_kib, full.rss_kib, (double)(full.pss_kib - empty.pss_kib) / 100);
    EXPECT(empty.pss_kib > 0);
    EXPECT(instrumented || empty.pss_kib <= 700);
}

/* With `ulimit -v`. */
static void limit_address_space(void)
{
    struct rlimit limit = {16000u * 1024, 16000u * 1024};
    (void)setrlimit(RLIMIT_AS, &limit);
}

/* It starts, fills up, reads its options again, and starts on what it has kept. */
CASE(a_small_server_needs_little_address_space, 20)
{
    if (instrumented)
        skip("what instruments it takes more");
    before_exec = limit_address_space;
    struct server *s = new_server();
    for (int run = 0; run < 2; run++) {
        seat_count = 0;
        START_AGAIN(s, CHEAP, "--max-clients", "16", "--max-accounts", "100", "--rate", "0");
        fill(s, 16);
        EXPECT(kill(s->pid, SIGHUP) == 0);
        UNTIL(2000, log_lines(s, "event=reloaded", NULL) == (size_t)run + 1);
        talk(seats[0].console, seats[15].console, "all in");
        (void)stop(s, SIGTERM);
    }
    const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", s->data);
    EXPECT(o->status == 1);
    if (strstr(o->err, "address space") == NULL || strstr(o->err, "--max-clients") == NULL)
        fail("it does not say what takes so much: %s", o->err);
}

/* ---- Cases: the data folder --------------------------------------------------------------------- */

/* Writes zeros to a file there until the disk is full, and makes files until there can be no more. */
static void fill_disk(const char *data)
{
    static const uint8_t zeros[4096];
    char path[160];
    (void)snprintf(path, sizeof path, "%s/ballast", data);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && write(fd, zeros, sizeof zeros) > 0)
        continue;
    EXPECT(fd >= 0 && errno == ENOSPC);
    for (unsigned i = 0; fd >= 0; i++) {
        (void)close(fd);
        (void)snprintf(path, sizeof path, "%s/more%u", data, i);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    }
    EXPECT(errno == ENOSPC);
}

static void empty_disk(const char *data)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/ballast", data);
    for (unsigned i = 0; unlink(path) == 0; i++)
        (void)snprintf(path, sizeof path, "%s/more%u", data, i);
}

/* Whoever has an account gets in, and the rest comes by itself when there is room. */
CASE_BESIDE(a_disk_that_is_full_at_the_start_is_survived, 30)
{
    struct server *s = new_server();
    char recording[160], disk[128];
    EXPECT(mkdir(s->data, 0700) == 0);
    (void)snprintf(recording, sizeof recording, "%s/nascar.rec", s->data);
    (void)snprintf(disk, sizeof disk, "%s", s->data);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", disk, "tmpfs", 0, "size=256k,nr_inodes=64,mode=0700") != 0)
        skip("no tmpfs: %s", strerror(errno));
    (void)snprintf(s->data, sizeof s->data, "%.100s/data", disk);
    START_AGAIN(s, CHEAP);
    (void)player(s, "Alice");
    (void)stop(s, SIGTERM);
    seat_count = 0;
    fill_disk(s->data);
    START_AGAIN(s, CHEAP, "--record", recording);
    struct console *alice = player(s, "Alice");
    EXPECT(log_lines(s, "event=no_pid", "No space left on device") == 1);
    EXPECT(log_lines(s, "event=no_control", "No space left on device") == 1 && logged(s, "event=recording_ended"));
    EXPECT(RUN("ctl", "--data", s->data, "who")->status == 1);
    empty_disk(s->data);
    UNTIL(8000, logged(s, "event=pid_made") && logged(s, "event=control_made"));
    EXPECT(RUN("ctl", "--data", s->data, "who")->status == 0);
    talk(alice, player(s, "Bob"), "room for one more");
    (void)stop(s, SIGTERM);
    (void)umount(disk);
}

/* A system without flock(), and maybe without fcntl()'s locks. */
static struct {
    int error;
    bool no_locks;
} locking;

#define FAILS_WITH(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)(error))
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define UNLESS(value, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, skipped)

static void forbid_locks(void)
{
    size_t low_half = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0;
    struct sock_filter filter[] = {
        LOAD(offsetof(struct seccomp_data, nr)),
        UNLESS(SYS_flock, 1),
        FAILS_WITH(locking.error),
        UNLESS(locking.no_locks ? SYS_fcntl : -1, 3),
        LOAD(offsetof(struct seccomp_data, args) + 8 + low_half),
        UNLESS(F_SETLK, 1),
        FAILS_WITH(locking.error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
        _exit(99);
}

static void expect_refusal(const struct server *s)
{
    char expected[64];
    const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", s->data);
    (void)snprintf(expected, sizeof expected, "a server uses it, process %d", (int)s->pid);
    if (o->status != 1 || strstr(o->err, expected) == NULL)
        fail("error %d, %s locks: status %d, `%s`", locking.error, locking.no_locks ? "no" : "other", o->status,
             o->err);
}

/* The folder is moved away. The server makes it anew as soon as something is to be kept. */
static void move_folder(const struct server *s)
{
    char moved[192], pid[192], command[640];
    (void)snprintf(moved, sizeof moved, "%s.moved%d", s->data, (int)s->pid);
    (void)snprintf(pid, sizeof pid, "%s/pid", s->data);
    (void)snprintf(command, sizeof command, "echo secret | %s ctl --data %s passwd Alice >%s.out 2>&1", binary, moved,
                   moved);
    EXPECT(rename(s->data, moved) == 0);
    (void)!system(command);
    UNTIL(8000, RUN("ctl", "--data", s->data, "who")->status == 0 && access(pid, R_OK) == 0);
}

CASE(without_flock_two_servers_still_do_not_use_one_folder, 20)
{
    static const int errors[] = {ENOSYS, EOPNOTSUPP, ENOLCK, EINVAL};
    if (narrow)
        skip("the filter is one for this processor's calls");
    before_exec = forbid_locks;
    locking.error = ENOSYS;
    if (RUN("--version")->status == 99)
        skip("no seccomp");
    for (size_t i = 0; i < 2 * sizeof errors / sizeof errors[0]; i++) {
        locking.error = errors[i / 2];
        locking.no_locks = i % 2 == 1;
        struct server *s = START(CHEAP);
        EXPECT(log_lines(s, "level=warn event=no_flock reason=", locking.no_locks ? "no second" : "pid is locked") ==
               1);
        expect_refusal(s);
        before_exec = NULL; /* the other one has what this one has not */
        if (!locking.no_locks)
            expect_refusal(s);
        before_exec = forbid_locks;
        (void)kill(s->pid, SIGKILL); /* `pid` stays */
        (void)wait_exit(s->pid, 3000);
        START_AGAIN(s, CHEAP);
        EXPECT(directory_answers(s, DIRECTORY, LOCALHOST));
        if (i < 2) { /* the folder that takes its place is locked by the same rules */
            move_folder(s);
            EXPECT(log_lines(s, "level=warn event=no_flock reason=", "") == 3); /* after two starts */
            expect_refusal(s);
        }
        (void)stop(s, SIGTERM);
    }
}

/* ---- Running them ------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    return run_cases(1, argc, argv);
}
