/* The real server for a test; server.h says what each word is for.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem, pipe2 */

#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

const char *binary;
bool narrow;
bool instrumented;
/* What a case leaves for the parent, in memory that both see. */
struct result {
    char why[1024];         /* empty: it passed */
    char skipped[256];      /* why it could not be tried; empty: it was */
    char notes[TEXT_BYTES]; /* lines to print */
    char log[TEXT_BYTES];   /* the end of the servers' logs, when it failed */
};

static struct result *result;
struct server servers[SERVERS];
size_t server_count;
struct seat seats[SEATS];
size_t seat_count;
char folder[64];
unsigned file_count;
char *sent;
size_t sent_bytes;
bool keeps_sent;
uint32_t raw_code;

/* ---- Time, failing ------------------------------------------------------- */

uint64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t now_ms(void)
{
    return now_us() / 1000;
}

void sleep_ms(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&pause, NULL);
}

static void clean_up(void)
{
    for (size_t i = 0; i < server_count; i++) {
        if (servers[i].pid > 0) {
            (void)kill(servers[i].pid, SIGKILL);
            (void)waitpid(servers[i].pid, NULL, 0);
        }
    }
}

static void keep_log_ends(void);

__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(result->why, sizeof result->why, format, arguments);
    va_end(arguments);
    keep_log_ends();
    clean_up();
    _exit(1);
}

__attribute__((format(printf, 1, 2))) void note(const char *format, ...)
{
    size_t used = strlen(result->notes);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(result->notes + used, sizeof result->notes - used, format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 1, 2), noreturn)) void skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(result->skipped, sizeof result->skipped, format, arguments);
    va_end(arguments);
    clean_up();
    _exit(0);
}

void run_for(uint32_t ms)
{
    for (uint64_t end = now_ms() + ms, now; (now = now_ms()) < end;)
        pump(end - now < 20 ? (int)(end - now) : 20);
}

/* ---- The server as a process --------------------------------------------- */

const char *contents(FILE *file)
{
    static char *text;
    static size_t room;
    struct stat status;
    size_t size = 0;
    if (fstat(fileno(file), &status) != 0)
        return "";
    if ((size_t)status.st_size + 1 > room) {
        room = (size_t)status.st_size * 2 + 4096;
        text = realloc(text, room);
        if (text == NULL)
            abort();
    }
    while (size + 1 < room) { /* pread: the writer's position is the same one */
        ssize_t n = pread(fileno(file), text + size, room - 1 - size, (off_t)size);
        if (n <= 0)
            break;
        size += (size_t)n;
    }
    text[size] = '\0';
    return text;
}

static void keep_log_ends(void)
{
    for (size_t i = 0; i < server_count; i++) {
        const char *text = contents(servers[i].log);
        size_t used = strlen(result->log), size = strlen(text);
        const char *end = size > 1500 ? text + size - 1500 : text;
        (void)snprintf(result->log + used, sizeof result->log - used, "[server %zu] %s%s\n", i, end > text ? "..." : "",
                       end);
    }
}

size_t log_lines(const struct server *s, const char *part, const char *other)
{
    size_t count = 0;
    const char *line = contents(s->log);
    while (*line != '\0') {
        size_t size = strcspn(line, "\n");
        if (memmem(line, size, part, strlen(part)) != NULL &&
            (other == NULL || memmem(line, size, other, strlen(other)) != NULL))
            count++;
        line += size + (line[size] == '\n');
    }
    return count;
}

bool logged(const struct server *s, const char *part)
{
    return log_lines(s, part, NULL) > 0;
}

void (*before_exec)(void);

__attribute__((noreturn)) void become_server(const char *const *arguments, int in, int out, int err, rlim_t files)
{
    char *copy[ARGUMENTS];
    size_t count = 0;
    struct rlimit limit = {files, files};
    int nothing = open("/dev/null", O_RDWR);
    for (; arguments[count] != NULL && count + 1 < ARGUMENTS; count++)
        copy[count] = strdup(arguments[count]);
    copy[count] = NULL;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); /* strace may look on */
    (void)dup2(in < 0 ? nothing : in, STDIN_FILENO);
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(err, STDERR_FILENO);
    for (int fd = 3; fd < 1024; fd++)
        (void)close(fd);
    if (files > 0)
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    /* The search for leaks takes files. */
    (void)setenv("ASAN_OPTIONS", files > 0 ? "detect_leaks=0" : "print_legend=0:allow_addr2line=1", 0);
    (void)setenv("UBSAN_OPTIONS", "print_stacktrace=1", 0);
    if (before_exec != NULL)
        before_exec();
    (void)execv(binary, copy);
    (void)fprintf(stderr, "cannot start %s: %s\n", binary, strerror(errno));
    _exit(127);
}

int wait_exit(pid_t pid, uint64_t ms)
{
    int status = 0;
    for (uint64_t end = now_ms() + ms;; sleep_ms(2)) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        if (now_ms() > end)
            return -2;
    }
}

uint16_t port_of(const char *line, const char *name)
{
    char key[32];
    unsigned port = 0;
    (void)snprintf(key, sizeof key, " %s=", name);
    const char *at = strstr(line, key);
    if (at == NULL || sscanf(at + strlen(key), "%*u.%*u.%*u.%*u:%u", &port) != 1 || port == 0 || port > 65535)
        fail("no %s port in the line `%s`", name, line);
    return (uint16_t)port;
}

void launch(struct server *s, const char *const *extra, rlim_t files)
{
    const char *arguments[ARGUMENTS] = {binary, SERVER_ARGUMENTS, "--data", s->data, NULL};
    const char *recordings = getenv("LIVE_RECORDINGS"); /* where to keep a recording of each server */
    char recording[512];
    int out[2];
    size_t count = 0, got = 0;
    while (arguments[count] != NULL)
        count++;
    if (recordings != NULL) {
        (void)snprintf(recording, sizeof recording, "%s/%ld-%zu.rec", recordings, (long)getpid(),
                       (size_t)(s - servers));
        arguments[count++] = "--record";
        arguments[count++] = recording;
    }
    if (strstr(binary, "asan") != NULL) { /* it makes calls of its own */
        arguments[count++] = "--sandbox";
        arguments[count++] = "off";
    }
    for (; *extra != NULL && count + 1 < ARGUMENTS; extra++)
        arguments[count++] = *extra;
    EXPECT(pipe2(out, O_CLOEXEC) == 0);
    s->pid = fork();
    EXPECT(s->pid >= 0);
    if (s->pid == 0)
        become_server(arguments, -1, out[1], s->err, files);
    (void)close(out[1]);
    memset(s->ready, 0, sizeof s->ready);
    while (got + 1 < sizeof s->ready && memchr(s->ready, '\n', got) == NULL) {
        struct pollfd readable = {.fd = out[0], .events = POLLIN};
        ssize_t n = poll(&readable, 1, 5000) == 1 ? read(out[0], s->ready + got, sizeof s->ready - 1 - got) : 0;
        if (n <= 0)
            fail("the server is not ready");
        got += (size_t)n;
    }
    (void)close(out[0]);
    s->port[DIRECTORY] = port_of(s->ready, "directory");
    s->port[LOBBY] = port_of(s->ready, "lobby");
    s->port[BUDDY] = port_of(s->ready, "buddy");
    EXPECT(strncmp(s->ready, "ready directory=", 16) == 0);
}

void fresh_folder(char out[128])
{
    static unsigned number;
    (void)snprintf(out, 128, "%s/data%u", folder, number++);
}

struct server *new_server(void)
{
    struct server *s = &servers[server_count];
    EXPECT(server_count < SERVERS);
    fresh_folder(s->data);
    s->log = tmpfile();
    EXPECT(s->log != NULL);
    s->err = fileno(s->log);
    server_count++;
    return s;
}

struct server *start_limited(const char *const *extra, rlim_t files)
{
    struct server *s = new_server();
    launch(s, extra, files);
    return s;
}

bool alive(const struct server *s)
{
    return s->pid > 0 && waitpid(s->pid, NULL, WNOHANG) == 0;
}

uint64_t stop(struct server *s, int signal_number)
{
    uint64_t began = now_ms();
    EXPECT(s->pid > 0);
    (void)kill(s->pid, signal_number);
    int status = wait_exit(s->pid, 5000);
    if (status != -2)
        s->pid = 0;
    if (status != 0)
        fail("the server %s", status == -2 ? "does not stop" : status == -1 ? "died" : "ended with an error");
    uint64_t took = now_ms() - began;
    while (!logged(s, "event=stop") && !logged(s, "\"event\":\"stop\"")) { /* it may come through a pipe */
        EXPECT(now_ms() < began + took + 1000);
        sleep_ms(5);
    }
    return took;
}

const struct outcome *outcome_of(const char *const *extra)
{
    static struct outcome o;
    const char *arguments[ARGUMENTS] = {binary};
    size_t count = 1;
    FILE *out = tmpfile(), *err = tmpfile();
    EXPECT(out != NULL && err != NULL);
    for (; *extra != NULL && count + 1 < ARGUMENTS; extra++)
        arguments[count++] = *extra;
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0)
        become_server(arguments, -1, fileno(out), fileno(err), 0);
    o.status = wait_exit(pid, 6000);
    if (o.status == -2) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    (void)snprintf(o.out, sizeof o.out, "%s", contents(out));
    (void)snprintf(o.err, sizeof o.err, "%s", contents(err));
    (void)fclose(out);
    (void)fclose(err);
    return &o;
}

void for_tree(pid_t pid, void each(pid_t pid, void *sum), void *sum)
{
    char path[64], text[512];
    struct dirent *entry;
    DIR *all = opendir("/proc");
    each(pid, sum);
    while (all != NULL && (entry = readdir(all)) != NULL) {
        int child = atoi(entry->d_name), parent = 0;
        if (child <= 0)
            continue;
        (void)snprintf(path, sizeof path, "/proc/%d/stat", child);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        const char *end = fgets(text, sizeof text, file) != NULL ? strrchr(text, ')') : NULL;
        if (end != NULL && sscanf(end, ") %*c %d", &parent) == 1 && parent == (int)pid)
            each((pid_t)child, sum);
        (void)fclose(file);
    }
    if (all != NULL)
        (void)closedir(all);
}

static void add_cpu(pid_t pid, void *sum)
{
    char path[64], text[1024];
    unsigned long user = 0, kernel = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return;
    const char *end = fgets(text, sizeof text, file) != NULL ? strrchr(text, ')') : NULL;
    if (end != NULL && sscanf(end, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) == 2)
        *(uint64_t *)sum += (uint64_t)(user + kernel) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
    (void)fclose(file);
}

uint64_t cpu_ms(const struct server *s)
{
    uint64_t sum = 0;
    for_tree(s->pid, add_cpu, &sum);
    return sum;
}

static void add_memory(pid_t pid, void *sum)
{
    struct memory *m = sum;
    char path[64], line[256];
    unsigned long kib;
    (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Rss: %lu", &kib) == 1)
            m->rss_kib += kib;
        else if (sscanf(line, "Pss: %lu", &kib) == 1)
            m->pss_kib += kib;
    (void)fclose(file);
}

struct memory memory_of(const struct server *s)
{
    struct memory sum = {0, 0};
    for_tree(s->pid, add_memory, &sum);
    return sum;
}

const char *write_file(const char *path, const char *text)
{
    static char paths[16][96];
    if (path == NULL) {
        char *fresh = paths[file_count % 16];
        (void)snprintf(fresh, sizeof paths[0], "%s/file%u", folder, file_count);
        file_count++;
        path = fresh;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    EXPECT(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)close(fd);
    return path;
}

/* ---- Running other programs --------------------------------------------- */

FILE *emptied(FILE **file)
{
    if (*file == NULL) {
        *file = tmpfile();
        EXPECT(*file != NULL);
    }
    EXPECT(ftruncate(fileno(*file), 0) == 0);
    (void)lseek(fileno(*file), 0, SEEK_SET);
    return *file;
}

struct trace trace_begin(const struct server *s, const char *const *options)
{
    struct trace t = {0, ""};
    static FILE *said;
    char pid[16], *arguments[32] = {strdup("strace"), strdup("-yy"), strdup("-s"), strdup("1000")};
    size_t count = 4;
    (void)snprintf(t.path, sizeof t.path, "%s/trace%u", folder, file_count++);
    (void)snprintf(pid, sizeof pid, "%d", (int)s->pid);
    for (; *options != NULL && count < 26; options++)
        arguments[count++] = strdup(*options);
    arguments[count++] = strdup("-o");
    arguments[count++] = t.path;
    arguments[count++] = strdup("-p");
    arguments[count++] = pid;
    (void)emptied(&said);
    t.pid = fork();
    EXPECT(t.pid >= 0);
    if (t.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(fileno(said), STDERR_FILENO);
        (void)execvp(arguments[0], arguments);
        (void)fprintf(stderr, "cannot start strace: %s\n", strerror(errno));
        _exit(127);
    }
    for (uint64_t end = now_ms() + 5000; strstr(contents(said), "attached") == NULL; sleep_ms(5))
        if (now_ms() > end || waitpid(t.pid, NULL, WNOHANG) != 0)
            fail("strace does not attach: %s", contents(said));
    return t;
}

const char *trace_end(struct trace t)
{
    static FILE *file;
    (void)kill(t.pid, SIGINT);
    if (wait_exit(t.pid, 5000) == -2) {
        (void)kill(t.pid, SIGKILL);
        (void)waitpid(t.pid, NULL, 0);
    }
    if (file != NULL)
        (void)fclose(file);
    file = fopen(t.path, "rb");
    EXPECT(file != NULL);
    return contents(file);
}

/* ---- Sockets --------------------------------------------------------------- */

int connect_to(uint16_t port, uint32_t from, int receive_bytes)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in own = {.sin_family = AF_INET};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(LOCALHOST);
    own.sin_addr.s_addr = htonl(from);
    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (receive_bytes > 0)
            (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
        if ((from == 0 || bind(fd, (const struct sockaddr *)&own, sizeof own) == 0) &&
            connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
            return fd;
        (void)close(fd);
    }
    return -1;
}

int raw_open(const struct server *s, int port, uint32_t from)
{
    int fd = connect_to(s->port[port], from, 0);
    EXPECT(fd >= 0);
    return fd;
}

void raw_send_bytes(int fd, const void *bytes, size_t size)
{
    EXPECT(send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
}

void raw_send(int fd, const char *kind, const char *payload)
{
    uint8_t frame[CONSOLE_REQUEST_BYTES];
    raw_send_bytes(fd, frame, console_frame(frame, sizeof frame, kind, 0, payload, strlen(payload) + 1));
}

/* Reads exactly so much within the time; false at the end or a reset. */
static bool raw_read(int fd, uint8_t *bytes, size_t size, uint64_t ms)
{
    uint64_t end = now_ms() + ms;
    while (size > 0) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        uint64_t now = now_ms();
        if (now >= end || poll(&readable, 1, (int)(end - now)) != 1)
            return false;
        ssize_t n = recv(fd, bytes, size, 0);
        if (n <= 0)
            return false;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

bool raw_frame(int fd, char kind[5], char payload[CONSOLE_FRAME_BYTES], uint64_t ms)
{
    uint8_t header[CONSOLE_HEADER_BYTES];
    if (!raw_read(fd, header, sizeof header, ms))
        return false;
    raw_code = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 | (uint32_t)header[6] << 8 | header[7];
    uint32_t length = (uint32_t)header[8] << 24 | (uint32_t)header[9] << 16 | (uint32_t)header[10] << 8 | header[11];
    EXPECT(length >= CONSOLE_HEADER_BYTES && length < CONSOLE_FRAME_BYTES);
    memcpy(kind, header, 4);
    kind[4] = '\0';
    size_t size = length - CONSOLE_HEADER_BYTES;
    payload[size] = '\0';
    return raw_read(fd, (uint8_t *)payload, size, ms);
}

bool raw_asks(int fd, const char *kind, const char *request, const char *part, uint64_t ms)
{
    char got[5], payload[CONSOLE_FRAME_BYTES];
    raw_send(fd, kind, request);
    while (raw_frame(fd, got, payload, ms))
        if (strcmp(got, kind) == 0)
            return strstr(payload, part) != NULL;
    return false;
}

enum ending raw_end(int fd, uint64_t ms, size_t *bytes)
{
    uint8_t waste[65536];
    uint64_t end = now_ms() + ms;
    for (;;) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        uint64_t now = now_ms();
        if (now >= end || poll(&readable, 1, (int)(end - now)) != 1)
            return OPEN;
        ssize_t n = recv(fd, waste, sizeof waste, 0);
        if (n <= 0)
            return n == 0 ? ENDED : RESET;
        if (bytes != NULL)
            *bytes += (size_t)n;
    }
}

bool directory_answers(const struct server *s, int port, uint32_t from)
{
    int fd = raw_open(s, port, from);
    bool answers = raw_asks(fd, "@dir", "PROD=NASCAR-PS2-2004\n", "SESS=", 3000);
    (void)close(fd);
    return answers;
}

/* ---- Consoles on sockets --------------------------------------------------- */

struct seat *seat_new(const struct server *s, uint32_t ip)
{
    struct seat *seat = &seats[seat_count];
    EXPECT(seat_count < SEATS);
    seat->server = s;
    seat->ip = ip;
    seat->console = console_new((uint32_t)seat_count * 2654435761u + 1);
    console_tick(seat->console, now_ms());
    for (size_t i = 0; i < CONSOLE_LINKS; i++)
        seat->fd[i] = -1;
    seat_count++;
    return seat;
}

void keep_sent(const uint8_t *bytes, size_t size)
{
    if (!keeps_sent)
        return;
    sent = realloc(sent, sent_bytes + size + 1);
    EXPECT(sent != NULL);
    for (size_t i = 0; i < size; i++) /* so that it is one text */
        sent[sent_bytes++] = bytes[i] == 0 ? '\n' : (char)bytes[i];
    sent[sent_bytes] = '\0';
}

static void link_over(struct seat *seat, enum console_link link)
{
    (void)close(seat->fd[link]);
    seat->fd[link] = -1;
    seat->cut_bytes = seat->console->link[link].in_bytes;
    console_link_closed(seat->console, link);
}

static void link_open(struct seat *seat, enum console_link link, uint32_t address, uint16_t port)
{
    if (link == CONSOLE_DIRECTORY) {
        port = seat->server->port[DIRECTORY];
    } else if (address != (seat->server->public_ip != 0 ? seat->server->public_ip : LOCALHOST)) {
        fail("%s is sent to the address %lx", seat->console->name, (unsigned long)address);
    }
    seat->fd[link] = connect_to(port, seat->ip, seat->receive_bytes);
    if (seat->fd[link] < 0)
        fail("%s cannot connect to port %u: %s", seat->console->name, (unsigned)port, strerror(errno));
    console_link_opened(seat->console, link);
}

/* Opens, writes and hangs up as the console wants. */
static void link_step(struct seat *seat, enum console_link link)
{
    struct console *c = seat->console;
    uint32_t address = 0;
    uint16_t port = 0;
    if (seat->fd[link] < 0 && console_wants(c, link, &address, &port))
        link_open(seat, link, address, port);
    while (seat->fd[link] >= 0 && console_waiting(c, link) > 0) {
        const uint8_t *bytes = c->link[link].out;
        uint8_t waste[4096];
        size_t size = c->link[link].out_bytes < sizeof waste ? c->link[link].out_bytes : sizeof waste;
        ssize_t n = send(seat->fd[link], bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) {
            link_over(seat, link);
            return;
        }
        keep_sent(bytes, (size_t)n);
        (void)console_take(c, link, waste, (size_t)n);
    }
    if (seat->fd[link] >= 0 && console_hangs_up(c, link) && console_waiting(c, link) == 0)
        link_over(seat, link);
}

void link_read(struct seat *seat, enum console_link link)
{
    uint8_t bytes[16384];
    while (seat->fd[link] >= 0) {
        ssize_t n = recv(seat->fd[link], bytes, sizeof bytes, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            link_over(seat, link);
            return;
        }
        console_feed(seat->console, link, bytes, (size_t)n);
        link_step(seat, link);
    }
}

void pump(int timeout_ms)
{
    struct pollfd polled[SEATS * CONSOLE_LINKS];
    struct {
        struct seat *seat;
        enum console_link link;
    } whose[SEATS * CONSOLE_LINKS];
    nfds_t count = 0;
    for (size_t i = 0; i < seat_count; i++) {
        struct seat *seat = &seats[i];
        console_tick(seat->console, now_ms());
        for (int k = 0; k < CONSOLE_LINKS; k++) {
            enum console_link link = (enum console_link)k;
            link_step(seat, link);
            short events = seat->deaf && link == CONSOLE_LOBBY ? 0 : POLLIN;
            if (console_waiting(seat->console, link) > 0)
                events = (short)(events | POLLOUT);
            if (seat->fd[link] >= 0) {
                whose[count].seat = seat;
                whose[count].link = link;
                polled[count++] = (struct pollfd){.fd = seat->fd[link], .events = events};
            }
        }
    }
    if (poll(polled, count, timeout_ms) > 0) {
        for (nfds_t i = 0; i < count; i++)
            if (polled[i].revents & (POLLIN | POLLHUP | POLLERR) && polled[i].events & POLLIN)
                link_read(whose[i].seat, whose[i].link);
    }
    for (size_t i = 0; i < seat_count; i++) {
        const struct console *c = seats[i].console;
        if (c->misled[0] != '\0')
            fail("%s is misled: %s", c->name, c->misled);
    }
}

bool settled(const struct console *c)
{
    return c->stage == CONSOLE_INSIDE && c->greeted && console_awaits(c, CONSOLE_LOBBY) == 0 &&
           (c->habits.no_buddy || (c->buddy_in && console_awaits(c, CONSOLE_BUDDY) == 0));
}

struct seat *player_from(const struct server *s, const char *name, uint32_t ip)
{
    struct seat *seat = seat_new(s, ip);
    console_login(seat->console, name, PASSWORD, name);
    UNTIL(5000, settled(seat->console));
    return seat;
}

struct console *player(const struct server *s, const char *name)
{
    return player_from(s, name, LOCALHOST)->console;
}

bool is_in(const struct console *c, const char *room, int32_t population)
{
    return strcmp(c->room_name, room) == 0 && c->room_population == population;
}

void enter(struct console *c, const char *room)
{
    console_move(c, room, "");
    UNTIL(3000, strcmp(c->room_name, room) == 0 && console_awaits(c, CONSOLE_LOBBY) == 0);
}

void talk(struct console *speaker, struct console *hearer, const char *text)
{
    size_t before = console_saw(hearer, speaker->persona, text);
    console_chat(speaker, text);
    UNTIL(3000, console_saw(speaker, speaker->persona, text) == before + 1 &&
                    console_saw(hearer, speaker->persona, text) == before + 1);
}

/* ---- Running cases ---------------------------------------------------------- */

void (*before_stop)(void);

static struct test_case cases[CASES];
static size_t case_count;

/* Compilers and linkers may call constructors in any order. */
static bool comes_after(const struct test_case *one, const struct test_case *other)
{
    int order = strcmp(one->file, other->file);
    return order > 0 || (order == 0 && one->line > other->line);
}

void add_case(const struct test_case *test)
{
    size_t at = case_count++;
    if (case_count > CASES)
        abort();
    for (; at > 0 && comes_after(&cases[at - 1], test); at--)
        cases[at] = cases[at - 1];
    cases[at] = *test;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Every server that is still there must end well when it is asked to. */
static void stop_servers(void)
{
    for (size_t i = 0; i < server_count; i++) {
        if (servers[i].pid > 0)
            (void)stop(&servers[i], SIGTERM);
        if (logged(&servers[i], "runtime error:") || logged(&servers[i], "ERROR: AddressSanitizer"))
            fail("a sanitizer has something to say");
        if (logged(&servers[i], "event=call_refused"))
            fail("the server made a call that its sandbox refuses");
    }
}

struct running {
    pid_t pid; /* 0: not started or over */
    uint64_t began_ms;
    char folder[sizeof folder];
    struct result *result;
};

static void begin(const struct test_case *test, struct running *r)
{
    r->began_ms = now_ms();
    r->result = mmap(NULL, sizeof *r->result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r->result == MAP_FAILED)
        abort();
    (void)snprintf(r->folder, sizeof r->folder, "/tmp/nascar-test-XXXXXX");
    if (mkdtemp(r->folder) == NULL)
        abort();
    (void)fflush(stdout);
    r->pid = fork();
    if (r->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        result = r->result;
        memcpy(folder, r->folder, sizeof folder);
        test->run();
        if (before_stop != NULL)
            before_stop();
        stop_servers();
        clean_up();
        _exit(0);
    }
}

/* If the case is over, prints how it went, and then its pid is 0. */
static void finish(const struct test_case *test, struct running *r, unsigned *passed, unsigned *failed)
{
    int status = 0;
    uint64_t took_ms = now_ms() - r->began_ms;
    bool late = took_ms > test->deadline_s * UINT64_C(1000) * (instrumented ? 3 : 1);
    if (r->pid > 0 && waitpid(r->pid, &status, WNOHANG) != r->pid) {
        if (!late)
            return;
        (void)kill(r->pid, SIGKILL); /* its servers go with it */
        (void)waitpid(r->pid, &status, 0);
        (void)snprintf(r->result->why, sizeof r->result->why, "over its %u s", test->deadline_s);
    } else if (r->pid < 0) {
        (void)snprintf(r->result->why, sizeof r->result->why, "cannot start a process");
    } else if (WIFSIGNALED(status)) {
        (void)snprintf(r->result->why, sizeof r->result->why, "the test itself died: %s", strsignal(WTERMSIG(status)));
    }
    (void)fputs(r->result->notes, stdout);
    if (r->result->why[0] == '\0' && r->result->skipped[0] != '\0') {
        (void)printf("skipped %s: %s\n", test->name, r->result->skipped);
    } else if (r->result->why[0] == '\0') {
        (void)printf("ok %s (%.1f s)\n", test->name, (double)took_ms / 1000);
        ++*passed;
    } else {
        (void)printf("FAILED %s: %s\n%s", test->name, r->result->why, r->result->log);
        ++*failed;
    }
    (void)fflush(stdout);
    (void)munmap(r->result, sizeof *r->result);
    remove_tree(r->folder);
    r->pid = 0;
}

/* What a server that is dead has left comes to us, as we have asked for it. */
static void reap_orphans(const struct running *running, size_t count)
{
    siginfo_t info = {.si_pid = 0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
        for (size_t i = 0; i < count; i++)
            if (running[i].pid == info.si_pid)
                return; /* a case that is over: finish() asks for it */
        (void)waitpid(info.si_pid, NULL, 0);
        info.si_pid = 0;
    }
}

/* Looks after all that are running; returns how many still are, those that run
 * beside the others apart. */
static size_t finish_all(struct running *running, unsigned *passed, unsigned *failed, bool *any)
{
    size_t in_turn = 0;
    *any = false;
    for (size_t i = 0; i < case_count; i++) {
        if (running[i].pid != 0) {
            finish(&cases[i], &running[i], passed, failed);
            in_turn += running[i].pid != 0 && !cases[i].beside;
            *any = *any || running[i].pid != 0;
        }
    }
    reap_orphans(running, case_count);
    return in_turn;
}

static void kill_child(pid_t pid, void *sum)
{
    if (pid != getpid()) {
        ++*(unsigned *)sum;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
}

/* Nothing may be left when all cases are over. */
static unsigned processes_left(void)
{
    unsigned left = 0;
    for (uint64_t end = now_ms() + 3000; waitpid(-1, NULL, WNOHANG) >= 0 && now_ms() < end;)
        sleep_ms(5);
    for_tree(getpid(), kill_child, &left);
    if (left > 0)
        (void)printf("FAILED: %u processes were left over\n", left);
    return left > 0;
}

static bool chosen(const struct test_case *test, const char *part)
{
    return part == NULL || strstr(test->name, part) != NULL;
}

/* ELF says so in a byte behind its mark. What is no ELF file is a command that
 * starts an emulator, of a processor that has 32 bits. */
static bool has_32_bits(const char *path)
{
    char head[5] = "";
    FILE *file = fopen(path, "rb");
    if (file != NULL) {
        (void)!fread(head, 1, sizeof head, file);
        (void)fclose(file);
    }
    return memcmp(head, "\177ELF\2", sizeof head) != 0;
}

int run_cases(size_t at_once, int argc, char **argv)
{
    struct running *running = calloc(case_count, sizeof *running);
    unsigned passed = 0, failed = 0;
    const char *part = argc > 2 ? argv[2] : NULL;
    bool any;
    if (argc < 2 || running == NULL) {
        (void)fprintf(stderr, "usage: %s ./nascar_server [PART-OF-A-NAME]\n", argv[0]);
        return 2;
    }
    binary = argv[1];
    narrow = has_32_bits(binary);
    instrumented = strstr(binary, "qemu") != NULL || strstr(binary, "asan") != NULL;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (size_t i = 0; i < case_count; i++)
        if (cases[i].beside && chosen(&cases[i], part))
            begin(&cases[i], &running[i]);
    for (size_t i = 0; i < case_count; i++) {
        if (!cases[i].beside && chosen(&cases[i], part)) {
            begin(&cases[i], &running[i]);
            while (finish_all(running, &passed, &failed, &any) >= at_once)
                sleep_ms(5);
        }
    }
    do {
        (void)finish_all(running, &passed, &failed, &any);
        sleep_ms(any ? 5 : 0);
    } while (any);
    free(running);
    failed += processes_left();
    (void)printf("live: %u passed, %u failed\n", passed, failed);
    return passed == 0 || failed > 0;
}
