/* Runs the real server for a test: each case in a process of its own, with
 * servers of its own on free ports and a data folder for each, on loopback.
 * At its deadline a case is ended, and its servers with it.
 *
 * A test includes this, has its cases and calls run_cases().
 *
 * SPDX-License-Identifier: MIT */
#ifndef SERVER_H

#define SERVER_H

#include "console.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>

#define SERVERS 8
#define SEATS 128
#define CASES 128
#define ARGUMENTS 96
#define TEXT_BYTES 4096
#define LOCALHOST 0x7F000001u
#define SERVER_ARGUMENTS "--bind", "127.0.0.1", "--directory-port", "0", "--lobby-port", "0", "--buddy-port", "0"

enum { DIRECTORY, LOBBY, BUDDY, PORTS };

struct server {
    pid_t pid; /* 0: it has ended */
    FILE *log; /* its standard error, over all its starts */
    int err;   /* what it gets as such */
    char data[128];
    uint16_t port[PORTS];
    char ready[256];    /* its line on standard output */
    uint32_t public_ip; /* where its consoles are sent, who then get to 127.0.0.1; 0: they are sent there */
};

/* A console and its sockets. */
struct seat {
    const struct server *server;
    struct console *console;
    uint32_t ip;
    int fd[CONSOLE_LINKS]; /* -1: closed */
    int receive_bytes;     /* SO_RCVBUF; 0: the system's */
    bool deaf;             /* does not read its lobby link */
    size_t cut_bytes;      /* of a frame, when its last link ended */
};

/* Everything of the case that this process runs. */
extern const char *binary;
extern bool narrow;       /* the binary has 32 bits (make test-cross) */
extern bool instrumented; /* by sanitizers or an emulator, which change memory and speed */
extern struct server servers[SERVERS];
extern size_t server_count;
extern struct seat seats[SEATS];
extern size_t seat_count;
extern char folder[64]; /* of this case; removed after it */
extern unsigned file_count;
extern char *sent; /* all that the consoles sent, if kept */
extern size_t sent_bytes;
extern bool keeps_sent;
extern uint32_t raw_code; /* the code of the last frame that raw_frame() took */

/* ---- Time, failing ------------------------------------------------------- */

uint64_t now_us(void);
uint64_t now_ms(void);
void sleep_ms(long ms);
/* Ends the case. */
__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format, ...);

#define EXPECT(condition) \
    do { \
        if (!(condition)) \
            fail("line %d: %s", __LINE__, #condition); \
    } while (0)

__attribute__((format(printf, 1, 2))) void note(const char *format, ...);
/* Ends a case that cannot be tried here, which counts neither as passed nor as failed. */
__attribute__((format(printf, 1, 2), noreturn)) void skip(const char *format, ...);

/* Lets the consoles go on until the condition holds; fails if it does not. */
#define UNTIL(ms, condition) \
    do { \
        for (uint64_t end_ms = now_ms() + (ms); !(condition); pump(20)) \
            if (now_ms() > end_ms) \
                fail("line %d: not within %u ms: %s", __LINE__, (unsigned)(ms), #condition); \
    } while (0)

void run_for(uint32_t ms);

/* ---- The server as a process --------------------------------------------- */

/* The whole of a file, NUL-terminated; valid until the next call. */
const char *contents(FILE *file);
/* How many lines of the log hold both texts; `other` NULL: any. */
size_t log_lines(const struct server *s, const char *part, const char *other);
bool logged(const struct server *s, const char *part);
/* What becomes the server: dies with us, has nothing but its own streams. `in`:
 * -1 is nothing to read. */
extern void (*before_exec)(void); /* called in it at last, if there is one */
__attribute__((noreturn)) void become_server(const char *const *arguments, int in, int out, int err, rlim_t files);
/* Waits for a process; its exit status, -1 if it died, -2 if it still runs. */
int wait_exit(pid_t pid, uint64_t ms);
uint16_t port_of(const char *line, const char *name);
/* Starts the server `s`, once more if it ran before, with these arguments after
 * the usual ones. `files`: the limit of open files; 0: as it is. */
void launch(struct server *s, const char *const *extra, rlim_t files);
/* A name of its own for the data of a server. */
void fresh_folder(char out[128]);
/* A server that is not started yet. */
struct server *new_server(void);
struct server *start_limited(const char *const *extra, rlim_t files);

#define START(...) start_limited((const char *const[]){__VA_ARGS__, NULL}, 0)
#define START_AGAIN(s, ...) launch(s, (const char *const[]){__VA_ARGS__, NULL}, 0)
#define CHEAP "--hash-cost", "4" /* a password takes a millisecond */
bool alive(const struct server *s);
/* Sends the signal and returns how long the end took; fails unless it ends by
 * itself with status 0. */
uint64_t stop(struct server *s, int signal_number);

/* A run of the binary that is expected to end by itself. */
struct outcome {
    int status;
    char out[2 * TEXT_BYTES], err[TEXT_BYTES];
};

const struct outcome *outcome_of(const char *const *extra);

#define RUN(...) outcome_of((const char *const[]){__VA_ARGS__, NULL})
/* Calls `each` for the process and its children, which are found by their
 * parent: not every kernel lists them. */
void for_tree(pid_t pid, void each(pid_t pid, void *sum), void *sum);
/* Processor time that the server has used, in ms. */
uint64_t cpu_ms(const struct server *s);

struct memory {
    unsigned long rss_kib, pss_kib;
};

struct memory memory_of(const struct server *s);
/* A file with this text, a new one if `path` is NULL; its name stays valid. */
const char *write_file(const char *path, const char *text);
/* A file for a process to write to, empty, and the same one each time. */
FILE *emptied(FILE **file);

/* strace, attached to a running server until trace_end(). */
struct trace {
    pid_t pid;
    char path[128];
};

struct trace trace_begin(const struct server *s, const char *const *options);
/* Detaches, and gives what it has written: valid until the next call. */
const char *trace_end(struct trace t);

#define TRACE(s, ...) trace_begin(s, (const char *const[]){__VA_ARGS__, NULL})

/* ---- Sockets --------------------------------------------------------------- */

/* A connection from this address of our own; 0: any. -1 if it is refused. */
int connect_to(uint16_t port, uint32_t from, int receive_bytes);
int raw_open(const struct server *s, int port, uint32_t from);
void raw_send_bytes(int fd, const void *bytes, size_t size);
void raw_send(int fd, const char *kind, const char *payload);
/* The next frame; false if none comes. */
bool raw_frame(int fd, char kind[5], char payload[CONSOLE_FRAME_BYTES], uint64_t ms);
/* Sends a request and says whether its answer came, in time and with a payload
 * that holds `part`. Pushes are passed over. */
bool raw_asks(int fd, const char *kind, const char *request, const char *part, uint64_t ms);

enum ending { OPEN, ENDED, RESET };

/* Reads on, adding to *bytes, until the other side ends the connection. */
enum ending raw_end(int fd, uint64_t ms, size_t *bytes);
bool directory_answers(const struct server *s, int port, uint32_t from);

/* ---- Consoles on sockets --------------------------------------------------- */

struct seat *seat_new(const struct server *s, uint32_t ip);
void keep_sent(const uint8_t *bytes, size_t size);
void link_read(struct seat *seat, enum console_link link);
/* One turn of every console: waits for something to read, at most so long. */
void pump(int timeout_ms);
/* Logged in, and every answer to what it sent has come. */
bool settled(const struct console *c);

#define PASSWORD "open wheel"
/* A player in the hub, whose account and persona both are `name`. */
struct seat *player_from(const struct server *s, const char *name, uint32_t ip);
struct console *player(const struct server *s, const char *name);
bool is_in(const struct console *c, const char *room, int32_t population);
void enter(struct console *c, const char *room);
void talk(struct console *speaker, struct console *hearer, const char *text);

/* ---- Running cases ---------------------------------------------------------- */

struct test_case {
    const char *name;
    void (*run)(void);
    unsigned deadline_s;
    bool beside;
    const char *file;
    int line;
};

/* A case, which registers itself; they run file by file, in the order of each. Those
 * beside run beside the others from the start. */
#define CASE(name, deadline_s) CASE_(name, deadline_s, false)
#define CASE_BESIDE(name, deadline_s) CASE_(name, deadline_s, true)
#define CASE_(name, deadline_s, beside) \
    static void name(void); \
    __attribute__((constructor)) static void add_##name(void) \
    { \
        add_case(&(struct test_case){#name, name, deadline_s, beside, __FILE__, __LINE__}); \
    } \
    static void name(void)

void add_case(const struct test_case *test);

extern void (*before_stop)(void); /* called at the end of each case, if there is one */
/* What main() returns. `at_once`: so many of those that do not run beside the
 * others run at the same time. */
int run_cases(size_t at_once, int argc, char **argv);

#endif
