/* The hostile test: the real binary under attack, while six players talk. Every
 * 50 ms one of them says a line, in turn (so that each stays within --rate), and
 * a line's round trip ends when it is on all six screens; the schedule does not
 * wait for an answer, so a pause of the server shows in every line that it delays.
 *
 * usage: hostile ./nascar_server [--ms N] [--hash-cost N] [--record FILE] [PART]
 *     --ms N         so long does each attack take (4000)
 *     --hash-cost N  of the server (4: a millisecond, so that the crew is soon
 *                    in; 10 is a server's own default)
 *     --record FILE  a short run with small limits, recorded
 *     PART           only the attacks with PART in their name
 *
 * One line an attack: connections tried, what got through, the lines' round trips,
 * how long the server was busy afterwards, its memory by then, its processor and
 * its log meanwhile. At the end `live: N passed, N failed`. Attackers are
 * processes of their own that come from everywhere in 127.0.0.0/8 and run at a
 * lower priority: in real life they do not share the server's processors.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* pipe2 */

#include "console.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CREW 6u
#define LINE_MS 50u
#define LINES 4096u
#define LATE_MS 3000u /* a line that takes longer is lost */
#define P99_MS 250.0
#define PSS_KIB 40960u
#define LOCALHOST 0x7F000001u
#define OPEN_AT_ONCE 3000u /* connections of a flood: more than the server has */
#define TYPISTS 40u        /* attackers who are logged in, in the room of the crew */

/* ---- Time ------------------------------------------------------------------ */

static uint64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t now_ms(void)
{
    return now_us() / 1000;
}

static void sleep_ms(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&pause, NULL);
}

/* ---- The server --------------------------------------------------------------- */

static pid_t server;
static uint16_t server_port; /* any of them serves everything */
static FILE *server_log;
static char data[] = "/tmp/nascar-hostile-XXXXXX"; /* its folder */

static void remove_data(void)
{
    static const char *const names[] = {"journal", "journal.new", "control", "pid"};
    char path[64];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", data, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(data);
}

/* For what is no finding about the server, but leaves nothing to test. */
__attribute__((noreturn)) static void give_up(const char *why)
{
    (void)printf("FAILED: %s: %s\nlive: 0 passed, 1 failed\n", why, strerror(errno));
    if (server > 0) {
        (void)kill(server, SIGKILL);
        (void)waitpid(server, NULL, 0);
    }
    exit(1);
}

static void start_server(const char *binary, const char *hash_cost, const char *record)
{
    const char *arguments[32] = {binary, "--bind",       "127.0.0.1", "--directory-port", "0",       "--lobby-port",
                                 "0",    "--buddy-port", "0",         "--hash-cost",      hash_cost, "--ping-s",
                                 "1",    "--idle-s",     "2",         "--data",           data};
    const char *const recorded[] = {"--record", record, "--max-clients", "64", "--max-accounts", "256"};
    char *copy[32];
    char ready[256] = "";
    int out[2];
    server_log = tmpfile();
    if (mkdtemp(data) == NULL || atexit(remove_data) != 0 || server_log == NULL || pipe2(out, O_CLOEXEC) != 0)
        give_up("no files");
    if (record != NULL)
        memcpy(arguments + 17, recorded, sizeof recorded);
    for (size_t i = 0; i < 32; i++)
        copy[i] = arguments[i] != NULL ? strdup(arguments[i]) : NULL;
    server = fork();
    if (server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)dup2(fileno(server_log), STDERR_FILENO);
        (void)execv(binary, copy);
        _exit(127);
    }
    (void)close(out[1]);
    struct pollfd readable = {.fd = out[0], .events = POLLIN};
    unsigned port = 0;
    if (server < 0 || poll(&readable, 1, 5000) != 1 || read(out[0], ready, sizeof ready - 1) <= 0 ||
        sscanf(ready, "ready directory=127.0.0.1:%u", &port) != 1)
        give_up("the server does not start");
    server_port = (uint16_t)port;
}

static bool server_lives(void)
{
    if (server > 0 && waitpid(server, NULL, WNOHANG) != 0)
        server = 0;
    return server > 0;
}

/* Processor time that it has used. */
static uint64_t server_cpu_ms(void)
{
    char path[64], text[1024];
    unsigned long user = 0, kernel = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)server);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        const char *end = fgets(text, sizeof text, file) != NULL ? strrchr(text, ')') : NULL;
        if (end == NULL || sscanf(end, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
            user = kernel = 0;
        (void)fclose(file);
    }
    return (uint64_t)(user + kernel) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

static unsigned long server_pss_kib(void)
{
    char path[64], line[256];
    unsigned long kib = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)server);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL && sscanf(line, "Pss: %lu", &kib) != 1)
        continue;
    if (file != NULL)
        (void)fclose(file);
    return kib;
}

static uint64_t server_log_kib(void)
{
    struct stat status;
    return fstat(fileno(server_log), &status) == 0 ? (uint64_t)status.st_size / 1024 : 0;
}

/* ---- Clients -------------------------------------------------------------------- */

struct client {
    int fd; /* -1: closed */
    size_t in_bytes;
    uint8_t in[3 * CONSOLE_FRAME_BYTES];
    char answer[5]; /* the last frame that was no push */
    bool accepted;  /* and it had no code of an error */
    char text[CONSOLE_FRAME_BYTES];
    bool mute; /* does not echo pings */
};

/* Opens a connection from an address of our own and does not wait for the answer. */
static int knock(uint32_t from)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(server_port)};
    struct sockaddr_in own = {.sin_family = AF_INET};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(LOCALHOST);
    own.sin_addr.s_addr = htonl(from);
    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (bind(fd, (const struct sockaddr *)&own, sizeof own) == 0 &&
            (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS))
            return fd;
        (void)close(fd);
    }
    return -1;
}

/* Closes with a reset. */
static void reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void)close(fd);
}

static bool send_bytes(int fd, const void *bytes, size_t size)
{
    return send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}

static bool send_frame(int fd, const char *kind, const char *payload)
{
    uint8_t frame[CONSOLE_REQUEST_BYTES];
    return send_bytes(fd, frame, console_frame(frame, sizeof frame, kind, 0, payload, strlen(payload) + 1));
}

/* Drops the connection. */
static void client_over(struct client *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
}

/* Reads what is there and calls `each` for every frame. Pings are echoed. */
static void client_read(struct client *c, void each(struct client *c, const char *kind, const char *payload))
{
    ssize_t n = c->fd < 0 ? 0 : recv(c->fd, c->in + c->in_bytes, sizeof c->in - c->in_bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_over(c);
        return;
    }
    c->in_bytes += (size_t)n;
    size_t at = 0;
    while (c->in_bytes - at >= CONSOLE_HEADER_BYTES) {
        const uint8_t *frame = c->in + at;
        size_t size = (size_t)frame[8] << 24 | (size_t)frame[9] << 16 | (size_t)frame[10] << 8 | frame[11];
        if (size < CONSOLE_HEADER_BYTES || size > CONSOLE_FRAME_BYTES) {
            client_over(c); /* no server of ours says this */
            return;
        }
        if (c->in_bytes - at < size)
            break;
        char kind[5] = {(char)frame[0], (char)frame[1], (char)frame[2], (char)frame[3], '\0'};
        memcpy(c->text, frame + CONSOLE_HEADER_BYTES, size - CONSOLE_HEADER_BYTES);
        c->text[size - CONSOLE_HEADER_BYTES] = '\0';
        if (strcmp(kind, "~png") == 0) {
            (void)(c->mute || send_bytes(c->fd, frame, size));
        } else if (kind[0] != '+') {
            memcpy(c->answer, kind, sizeof kind);
            c->accepted = frame[4] == 0 && frame[5] == 0 && frame[6] == 0 && frame[7] == 0;
        }
        each(c, kind, c->text);
        at += size;
    }
    c->in_bytes -= at;
    memmove(c->in, c->in + at, c->in_bytes);
}

static void nothing(struct client *c, const char *kind, const char *payload)
{
    (void)c;
    (void)kind;
    (void)payload;
}

/* Sends a request and waits for its answer, which is then in c->text. */
static bool ask(struct client *c, const char *kind, const char *payload)
{
    c->answer[0] = '\0';
    if (c->fd < 0 || !send_frame(c->fd, kind, payload))
        return false;
    for (uint64_t end = now_ms() + 2000; now_ms() < end && c->fd >= 0;) {
        struct pollfd readable = {.fd = c->fd, .events = POLLIN};
        (void)poll(&readable, 1, 50);
        client_read(c, nothing);
        if (strcmp(c->answer, kind) == 0)
            return c->accepted;
    }
    return false;
}

/* How far a login goes. */
enum stage { CONNECTED, HALF_A_HEADER, KNOWN, KEYED, ASKED, LOGGED_IN, PLAYING, SUBSCRIBED, IN_ROOM, SPEAKING, STAGES };

/* A client that has come so far, or -1 in its fd. */
static void client_enter(struct client *c, uint32_t from, const char *name, enum stage until)
{
    struct console_tags tags = {.size = 0};
    struct console_pad pad = {.started = false};
    struct pollfd writable = {.events = POLLOUT};
    char cipher[CONSOLE_CIPHER_BYTES + 2] = "~", persona[64];
    uint8_t key[16] = {0};
    bool good = true;
    c->in_bytes = 0;
    writable.fd = c->fd = knock(from);
    if (c->fd < 0 || poll(&writable, 1, 1000) != 1) {
        client_over(c);
        return;
    }
    (void)snprintf(persona, sizeof persona, "PERS=%s\n", name);
    for (enum stage stage = HALF_A_HEADER; good && stage <= until; stage++) {
        switch (stage) {
        case HALF_A_HEADER: good = until != HALF_A_HEADER || send_bytes(c->fd, "auth\0\0", 6); break;
        case KNOWN: good = ask(c, "addr", "ADDR=192.0.2.100\nPORT=50000\n"); break;
        case KEYED:
            good = ask(c, "skey", "SKEY=$5075626c6963204b6579\n");
            (void)console_read_binary(console_find(c->text, "SKEY"), key, sizeof key);
            break;
        case ASKED:
            console_encode(&pad, key, sizeof key, "open wheel", cipher + 1);
            console_put_text(&tags, "NAME", name);
            console_put_text(&tags, "PASS", cipher);
            good = until == ASKED ? send_frame(c->fd, "auth", tags.text) : ask(c, "auth", tags.text);
            break;
        case PLAYING: good = ask(c, "pers", persona); break;
        case SUBSCRIBED: good = ask(c, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1"); break;
        case IN_ROOM: good = ask(c, "move", "NAME=East\nPASS=\n"); break;
        case SPEAKING: good = send_frame(c->fd, "mesg", "TEXT=hello\n"); break;
        case CONNECTED:
        case LOGGED_IN: /* ASKED has waited for it */
        case STAGES: break;
        }
    }
    if (!good)
        client_over(c);
}

/* ---- The attacks ------------------------------------------------------------------ */

/* What an attacker tells, in memory that both see. */
struct report {
    unsigned connections, frames;
};

static struct report *report;
static uint64_t attack_end_ms;
static unsigned budget; /* connections an attack may make; 0: any number */
static uint32_t chance = 1;

static uint32_t random_number(void)
{
    chance = chance * 1664525u + 1013904223u;
    return chance >> 8;
}

/* One address of 4096 in 127.16.0.0/12. */
static uint32_t somewhere(void)
{
    return 0x7F100000u + random_number() % 4096 * 16 + 1;
}

static bool goes_on(void)
{
    return now_ms() < attack_end_ms && (budget == 0 || report->connections < budget);
}

/* Connections that stand open, a new one in place of the oldest. */
static void flood(size_t open_at_once, const void *bytes, size_t size, unsigned frames)
{
    static int fd[OPEN_AT_ONCE];
    struct rlimit files;
    size_t most = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < open_at_once + 100
                      ? (size_t)files.rlim_cur - 100
                      : open_at_once;
    memset(fd, 0xFF, sizeof fd);
    for (size_t i = 0; goes_on(); i = (i + 1) % most) {
        if (fd[i] >= 0)
            reset(fd[i]);
        fd[i] = knock(somewhere());
        if (fd[i] < 0) {
            sleep_ms(1);
            continue;
        }
        report->connections++;
        if (size > 0 && send_bytes(fd[i], bytes, size))
            report->frames += frames;
    }
}

static void says_nothing(void)
{
    flood(OPEN_AT_ONCE, "", 0, 0);
}

static void half_a_header(void)
{
    flood(OPEN_AT_ONCE, "auth\0\0", 6, 0);
}

/* A length of 2 KiB, and then a byte now and then; or 2 GiB. */
static void endless_frames(void)
{
    static const uint8_t huge[] = {'a', 'u', 't', 'h', 0, 0, 0, 0, 0x80, 0, 0, 0},
                         long_one[] = {'a', 'u', 't', 'h', 0, 0, 0, 0, 0, 0, 8, 0};
    int fd[1000];
    size_t count = budget > 0 ? budget : sizeof fd / sizeof fd[0];
    memset(fd, 0xFF, sizeof fd);
    for (size_t i = 0; now_ms() < attack_end_ms; i = (i + 1) % count) {
        if (fd[i] >= 0 && send_bytes(fd[i], "x", 1)) {
            report->frames++;
        } else if (goes_on()) {
            if (fd[i] >= 0)
                (void)close(fd[i]);
            fd[i] = knock(somewhere());
            report->connections += fd[i] >= 0;
            (void)send_bytes(fd[i], i % 8 == 0 ? huge : long_one, 12);
        }
        if (i == 0)
            sleep_ms(budget > 0 ? 100 : 1);
    }
}

/* `count` frames of this kind, in one piece, on one connection after another. */
static void flood_frames(const char *kind, const char *payload, unsigned count)
{
    uint8_t bytes[CONSOLE_REQUEST_BYTES];
    size_t size = 0;
    for (unsigned i = 0; i < count; i++)
        size += console_frame(bytes + size, sizeof bytes - size, kind, 0, payload, strlen(payload) + 1);
    flood(256, bytes, size, count);
}

static void unknown_kinds(void)
{
    flood_frames("WHAT", "N=1\n", 10);
}

static void directory(void)
{
    flood_frames("@dir", "PROD=NASCAR-PS2-2004\nVERS=\"PS2/XXX-Jul  2 2003\"\n", 15);
}

/* Each tries one password, from one of many addresses, for a name that is free. */
static void passwords(void)
{
    flood_frames("auth", "NAME=Mallory\nTOS=1\nPASS=~0123456789ABCDEFGHIJKLMNOPQRST\n", 1);
}

/* Logged-in attackers. */
static struct client typists[TYPISTS];
static char flooded[5]; /* the kind whose answers are counted */

static void count_answers(struct client *c, const char *kind, const char *payload)
{
    (void)c;
    (void)payload;
    report->frames += strcmp(kind, flooded) == 0;
}

/* Everybody says it as fast as it is taken, and reads what comes. */
static void type(const char *kind, const char *format, enum stage until)
{
    char text[128];
    size_t count = budget > 0 ? 8 : TYPISTS;
    memcpy(flooded, kind, sizeof flooded);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(text, sizeof text, "Typist%u", (unsigned)i % 100);
        client_enter(&typists[i], somewhere(), text, until);
        report->connections += typists[i].fd >= 0;
    }
    for (unsigned n = 0; now_ms() < attack_end_ms; n++) {
        for (size_t i = 0; i < count; i++) {
            (void)snprintf(text, sizeof text, format, n % 10000 * 100 + (unsigned)i);
            if (typists[i].fd >= 0) {
                (void)send_frame(typists[i].fd, kind, text);
                client_read(&typists[i], count_answers);
            }
        }
        sleep_ms(budget > 0 ? 100 : 1);
    }
}

static void rooms(void)
{
    type("room", "NAME=C.%u\nPASS=\nDESC=\"A room\"\nMAX=50\n", SUBSCRIBED);
}

static void chatter(void)
{
    type("mesg", "TEXT=\"chatter %u, as long as a line that somebody would type on a keyboard\"\n", IN_ROOM);
}

/* They play, and never read nor echo; whoever was closed is replaced. */
static void mute_consoles(void)
{
    char name[16];
    size_t count = budget > 0 ? 8 : TYPISTS;
    for (unsigned n = 0; n < count; n++)
        typists[n].fd = -1;
    for (unsigned n = 0; now_ms() < attack_end_ms; n++) {
        struct client *c = &typists[n % count];
        struct pollfd hung_up = {.fd = c->fd, .events = POLLRDHUP};
        if (c->fd >= 0 && poll(&hung_up, 1, 1) == 1)
            client_over(c);
        if (c->fd < 0 && goes_on()) {
            c->mute = true;
            (void)snprintf(name, sizeof name, "Mute%u", n % 1000);
            client_enter(c, somewhere(), name, IN_ROOM);
            report->connections += c->fd >= 0;
        }
    }
}

static void resets(void)
{
    static struct client c;
    char name[16];
    for (unsigned n = 0; goes_on(); n++) {
        (void)snprintf(name, sizeof name, "Reset%u", n % 500);
        client_enter(&c, somewhere(), name, (enum stage)(n % STAGES));
        if (c.fd >= 0) {
            reset(c.fd);
            report->connections++;
        }
    }
}

static const struct attack {
    const char *name;
    void (*run)(void); /* NULL: nothing happens, for comparison */
    const char *unit;
    uint64_t least_ms; /* it takes so long to show */
} attacks[] = {
    {"nothing", NULL, "", 0},
    {"says nothing", says_nothing, "", 0},
    {"half a header", half_a_header, "", 0},
    {"endless frames", endless_frames, "bytes", 0},
    {"unknown kinds", unknown_kinds, "frames", 0},
    {"@dir", directory, "frames", 0},
    {"auth", passwords, "frames", 0},
    {"room", rooms, "answers", 0},
    {"mesg", chatter, "answers", 0},
    {"mute consoles", mute_consoles, "", 3000},
    {"resets", resets, "", 0},
};

#define ATTACKS (sizeof attacks / sizeof attacks[0])

static pid_t start_attack(const struct attack *attack, uint64_t ms)
{
    memset(report, 0, sizeof *report);
    if (attack->run == NULL)
        return 0;
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)setpriority(PRIO_PROCESS, 0, 5);
        attack_end_ms = now_ms() + ms;
        attack->run();
        for (uint64_t now; (now = now_ms()) < attack_end_ms;) /* keeps open what it has */
            sleep_ms((long)(attack_end_ms - now));
        _exit(0);
    }
    return pid;
}

static void end_attack(pid_t pid)
{
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
}

/* ---- The crew ------------------------------------------------------------------------ */

static struct client crew[CREW];
static uint64_t said_us[LINES], took_us[LINES]; /* took: 0 until it is on all screens */
static unsigned shown[LINES], lines;

static void see(struct client *c, const char *kind, const char *payload)
{
    const char *text = strcmp(kind, "+msg") == 0 ? strstr(payload, "TEXT=lap") : NULL;
    unsigned n = LINES;
    (void)c;
    if (text != NULL && sscanf(text, "TEXT=lap%u", &n) == 1 && n < lines && ++shown[n] == CREW)
        took_us[n] = now_us() - said_us[n];
}

/* Lets the crew read, for at most so long. */
static void crew_reads(uint64_t ms)
{
    struct pollfd polled[CREW];
    for (size_t i = 0; i < CREW; i++)
        polled[i] = (struct pollfd){.fd = crew[i].fd, .events = POLLIN};
    if (poll(polled, CREW, (int)ms) > 0) {
        for (size_t i = 0; i < CREW; i++)
            if (polled[i].revents != 0)
                client_read(&crew[i], see);
    }
}

static bool all_shown(void)
{
    unsigned n = 0;
    while (n < lines && shown[n] >= CREW)
        n++;
    return n == lines;
}

/* Talks for so long; then waits for what is under way. */
static void crew_talks(uint64_t ms)
{
    char text[32];
    uint64_t began = now_ms(), next = began;
    lines = 0;
    memset(shown, 0, sizeof shown);
    memset(took_us, 0, sizeof took_us);
    for (uint64_t now; (now = now_ms()) < began + ms;) {
        if (now >= next && lines < LINES) {
            struct client *speaker = &crew[lines % CREW];
            (void)snprintf(text, sizeof text, "TEXT=lap%u\n", lines);
            said_us[lines++] = now_us();
            (void)(speaker->fd >= 0 && send_frame(speaker->fd, "mesg", text));
            next += LINE_MS;
        }
        crew_reads(next > now ? next - now : 0);
    }
    for (uint64_t end = now_ms() + LATE_MS; !all_shown() && now_ms() < end;)
        crew_reads(20);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* ---- Running it -------------------------------------------------------------------------- */

static unsigned passed, failed;

static void judge(bool good, const char *name, const char *what)
{
    if (good) {
        passed++;
    } else {
        failed++;
        (void)printf("FAILED %s: %s\n", name, what);
    }
}

/* Until the server has done what the attack has left to it: how long that took. */
static uint64_t quiet_ms(void)
{
    uint64_t began = now_ms(), cpu, used;
    do {
        cpu = server_cpu_ms();
        for (uint64_t end = now_ms() + 100; now_ms() < end;)
            crew_reads(20);
        used = server_cpu_ms() - cpu;
    } while (used > 20 && now_ms() < began + 5000);
    return now_ms() - began - 100;
}

static double run_once(const struct attack *attack, uint64_t ms)
{
    char work[64] = "";
    unsigned lost = 0;
    uint64_t cpu = server_cpu_ms(), log = server_log_kib(), began = now_ms();
    pid_t pid = start_attack(attack, ms);
    crew_talks(ms);
    uint64_t elapsed = now_ms() - began;
    cpu = server_cpu_ms() - cpu;
    end_attack(pid);
    for (unsigned n = 0; n < lines; n++) {
        if (took_us[n] == 0) {
            lost++;
            took_us[n] = LATE_MS * UINT64_C(1000);
        }
    }
    qsort(took_us, lines, sizeof took_us[0], by_size);
    double p50 = (double)took_us[lines / 2] / 1000, p99 = (double)took_us[lines * 99 / 100] / 1000;
    if (report->frames > 0)
        (void)snprintf(work, sizeof work, "%.0f %s/s", report->frames * 1000.0 / (double)elapsed, attack->unit);
    uint64_t quiet = quiet_ms();
    (void)printf("%-15s %8.0f %17s %6u %5u %7.1f %7.1f %7.1f %7llu %8lu %5.0f %8llu\n", attack->name,
                 report->connections * 1000.0 / (double)elapsed, work, lines, lost, p50, p99,
                 (double)took_us[lines - 1] / 1000, (unsigned long long)quiet, server_pss_kib(),
                 (double)cpu * 100 / (double)elapsed, (unsigned long long)(server_log_kib() - log));
    judge(server_lives(), attack->name, "the server has died");
    judge(lost == 0, attack->name, "the crew has lost a line");
    return p99;
}

/* One that makes the crew wait is tried again, twice: the machine may have been busy. */
static void run_attack(const struct attack *attack, uint64_t ms)
{
    ms = ms > attack->least_ms || budget > 0 ? ms : attack->least_ms;
    double p99 = run_once(attack, ms);
    for (unsigned again = 0; p99 >= P99_MS && again < 2 && server_lives(); again++)
        p99 = run_once(attack, ms);
    judge(p99 < P99_MS, attack->name, "the crew waited too long");
}

/* After everything: it takes a newcomer, is small, and ends when it is told to. */
static void look_back(void)
{
    static struct client newcomer;
    unsigned long kib = server_pss_kib();
    int status = -1;
    if (!server_lives()) {
        judge(false, "afterwards", "the server is gone");
        return;
    }
    client_enter(&newcomer, LOCALHOST, "Newcomer", IN_ROOM);
    judge(newcomer.fd >= 0, "afterwards", "nobody can log in");
    judge(kib > 0 && kib < PSS_KIB, "afterwards", "the server has grown");
    (void)kill(server, SIGTERM);
    uint64_t end = now_ms() + 5000;
    while (waitpid(server, &status, WNOHANG) == 0 && now_ms() < end)
        sleep_ms(5);
    judge(status == 0, "afterwards", "the server does not end well");
    if (status < 0) {
        (void)kill(server, SIGKILL);
        (void)waitpid(server, NULL, 0);
    }
}

int main(int argc, char **argv)
{
    const char *hash_cost = "4", *record = NULL, *part = "";
    uint64_t ms = 4000;
    struct rlimit files;
    if (argc < 2) {
        (void)fprintf(stderr, "usage: hostile ./nascar_server [--ms N] [--hash-cost N] [--record FILE] [PART]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--ms") == 0 && more) {
            ms = strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--hash-cost") == 0 && more) {
            hash_cost = argv[++i];
        } else if (strcmp(argv[i], "--record") == 0 && more) {
            record = argv[++i];
            ms = 200;
            budget = 60;
        } else {
            part = argv[i];
        }
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED)
        give_up("no memory");
    start_server(argv[1], hash_cost, record);
    for (unsigned i = 0; i < CREW; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Crew%u", i);
        client_enter(&crew[i], LOCALHOST, name, IN_ROOM);
        if (crew[i].fd < 0)
            give_up("the crew cannot log in");
    }
    (void)printf("attack            conn/s              work  lines  lost  p50 ms  p99 ms  max ms then ms  PSS KiB  "
                 "CPU%%  log KiB\n");
    for (size_t i = 0; i < ATTACKS && server_lives(); i++)
        if (strstr(attacks[i].name, part) != NULL)
            run_attack(&attacks[i], ms);
    look_back();
    (void)printf("live: %u passed, %u failed\n", passed, failed);
    return failed > 0;
}
