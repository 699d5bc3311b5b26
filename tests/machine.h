/* A machine for the shell: a faked network, disk, helper and clock, behind the
 * table of system calls. This is what a suite sees of it; the fakes themselves
 * are in machine.c.
 *
 * A machine holds the shell's own state, which only nascar_server.c describes:
 * so a suite includes the server, with its lower half, and then machine.c, and
 * all three are compiled as one.
 *
 * SPDX-License-Identifier: MIT */
#ifndef MACHINE_H
#define MACHINE_H

#include "console.h"
#include "logs.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

/* How a test fails. Check's suites have Check's way, the simulator its own. */
#ifndef FAIL
#define FAIL(...) ck_abort_msg(__VA_ARGS__)
#endif

/* An assertion for what is asked a million times: Check's own write to a file. */
#define EXPECT(condition) \
    do { \
        if (!(condition)) \
            FAIL("%s:%d: %s", __FILE__, __LINE__, #condition); \
    } while (0)

/* ---- A machine: the shell on a faked system ------------------------------- */

#ifndef PEERS
#define PEERS 256
#endif

#define QUESTIONS 200
#define FIRST_FD 100
#define LISTENER_FD 50
#define HELPER_FD 80
#define RECORD_FD 81
#define SIGNALS_FD 82
#define PID_FD 83
#define LOG_FD 84
#define SPARE_FD 85
#define FINDER_FD 86
#define FINDER_PROCESS 1000
#define HANG_UP 0x100u /* beside SIGHUP: it came as a terminal went away */
#define FOLDER_FD 7
#define DISK_FD 2000
#define INODES 256
#define START_MS 1000

/* The other end of a connection. */
struct peer {
    bool accepted, closed; /* by the shell */
    bool control;          /* the operator's */
    bool http;             /* it has come to the page */
    bool hung_up;          /* it sends no more, and says so */
    bool reset;            /* reads and writes fail */
    bool forgotten;        /* closed, and nobody looks at it any more: another may have its place */
    uint32_t ip;
    uint8_t *in, *out; /* not read yet; all that was written */
    size_t in_bytes, out_bytes;
    size_t window; /* so much it still takes */
};

/* A file: what a crash leaves of it is at least what was synced, and of what
 * has stood behind that since, cut off or not, any part. */
struct inode {
    uint8_t *bytes;
    size_t size, synced, peak;
    bool opened;
    bool broken;   /* a write or sync of it failed: it must be left alone */
    unsigned torn; /* a write found no room: 2 until that is cut off, 1 until the cut is synced */
};

/* The data folder, which outlives a machine. Names are inodes + 1; 0: none. */
struct machine;

struct disk {
    void (*at_call)(struct machine *); /* before each call that changes something */
    struct inode inode[INODES];
    uint32_t inodes, journal, fresh;
    uint32_t kept_journal;          /* after a crash: as of the folder's last sync */
    uint32_t found[8], founds;      /* journal.found-1 and so on, as inodes + 1 */
    bool removed;                   /* the folder: its path leads nowhere */
    bool foreign;                   /* another server has the folder's path */
    unsigned calls;                 /* those that can fail */
    unsigned fail_from, fail_until; /* calls with these numbers fail; the first is 1 */
    unsigned also_fails, syncs;
    int error;                                         /* they fail with it; 0: ENOSPC */
    bool (*fails)(struct machine *, const char *call); /* instead of these numbers */
    char trace[512]; /* A append, S sync, T truncate, small for the fresh file; R rename,
                                       F folder, w to a peer; the newest last */
};

/* The hashing helper's end of its socket. */
struct fake_helper {
    bool running, dead;
    struct hash_answer answer[HELPER_JOBS];
    uint32_t answers, questions, starts;
    unsigned dies_of;        /* so many questions; 0: none */
    const char *poison;      /* it dies of this password */
    bool cannot_start, lazy; /* lazy: its answers wait until this is false */
    bool hangs;              /* it answers nothing any more, until it is killed */
    unsigned hangs_of;       /* so many that are started hang */
    uint32_t kills;
};

/* A datagram on its way to the server, or from it. */
struct fake_datagram {
    uint32_t peer, port, local;
    size_t size;
    uint8_t bytes[1500];
};

/* The process that looks up a host: its end of its socket. */
struct fake_finder {
    bool running, dead;
    uint32_t starts, kills, questions;
    uint32_t number[4], waiting; /* the questions that are still to be answered, if it answers at all */
    uint32_t stale;              /* what it finds for one that is not the last */
    char name[HOST_CHARS + 1];   /* in the last question */
    uint32_t address;            /* that it finds; 0: none */
    bool cannot_start, dies;     /* dies: of the next question */
    bool hangs;                  /* it answers nothing */
};

struct machine {
    struct shell shell;
    struct disk *disk, own_disk;
    int folder;              /* by its number; a folder made anew has the next */
    unsigned controls, pids; /* how often the operator's socket was opened, and the file `pid` written */
    uint8_t *loaded;         /* what fake_load() gave */
    bool records;            /* as with --record */
    struct inode recording;
    struct fake_helper helper;
    struct fake_finder finder;
    uint64_t tick_us; /* each look at the clock takes so long */
    uint64_t clock_us;
    struct peer peer[PEERS];
    size_t peers, accepted;
    struct fake_datagram asked[QUESTIONS], answer; /* those that wait to be read, and the last answer */
    size_t first_asked, asks, answers;             /* a ring, and how many are there; how many answers there were */
    uint16_t waiting[PEERS];                       /* those who wait to be accepted, in their order */
    size_t waiting_count;
    uint64_t now_ms;
    char *log;
    size_t log_bytes, log_checked;
    uint32_t chance;

    /* what goes wrong */
    size_t read_bytes, write_bytes; /* at most, a call; 0: no limit */
    unsigned one_in;                /* one call in so many fails with EINTR, and one with EAGAIN; 0: none */
    int accept_error;               /* each accept fails with it */
    uint32_t spares;                /* descriptors that can be had to be kept; accept takes them, too */
    int write_error;                /* each write to a peer does, too */
    uint32_t poll_most;             /* poll() refuses to look at more; 0: no limit */
    bool log_full;                  /* the log takes no more than log_room */
    size_t log_room;
    bool log_cannot_open;
    bool hash_fails, entropy_fails;
    uint64_t room;         /* on the disk, as it says; UINT64_MAX: it does not */
    size_t record_room;    /* that the recording finds there */
    const char *gone;      /* a file of the folder that somebody has removed */
    int sign_error;        /* `pid` and the operator's socket cannot be made */
    bool ragged;           /* reads and writes take a part, by chance */
    unsigned hide_one_in;  /* one connection in so many is not seen to be ready; 0: none */
    int64_t wall_offset_s; /* the wall clock jumps */

    /* what was seen */
    unsigned turns, check_one_in;             /* the invariants are checked after each turn, or after one in so many */
    char removed[64];                         /* names of files, a journal's apart */
    unsigned polls, accepts, hashes, hurried; /* hurried: polls that did not wait in a row */
    unsigned log_tries, log_closes;
    int timeout_ms; /* the last poll's */
    bool listening; /* the last poll's */

    uint32_t signals[8]; /* that have come, the oldest first */
    unsigned signals_due;
    void (*at_poll)(struct machine *);
    void (*at_read)(struct machine *, struct peer *, const uint8_t *bytes, size_t size);
    void (*at_write)(struct machine *, struct peer *, const uint8_t *bytes, size_t size);
    void (*at_answer)(struct machine *); /* when m->answer has been sent */
    uint64_t mark_ms;
};

/* Quick, and different for different passwords and settings. */
bool fake_hash(const char *password, const char *setting, char *out, size_t out_bytes);

void disk_free(struct disk *d);
void machine_free(struct machine *m);
/* A machine that is not started yet, on a disk that may hold something (NULL:
 * an empty one). */
struct machine *machine_make(struct disk *disk);
/* What serve() does, up to the loop; false if it refuses to start. */
bool machine_start(struct machine *m, const char *const *arguments);
/* Both; NULL if it refuses to start. */
struct machine *machine_on(struct disk *disk, const char *const *arguments);
struct machine *machine_new(const char *const *arguments);

#define ARGUMENTS(...) \
    (const char *const[]) \
    { \
        "--max-accounts", "64", "--max-clients", "16", "--rate", "0", __VA_ARGS__, NULL \
    }

#define MACHINE(...) machine_new(ARGUMENTS(__VA_ARGS__))

/* What holds between two turns. */
void check_shell(const struct machine *m);
void turn(struct machine *m, uint64_t until_ms);
/* Turns without time passing, until there is nothing left to do. */
void settle_machine(struct machine *m);
void run_machine(struct machine *m, uint64_t ms);
bool in_log(const struct machine *m, const char *part);
size_t count_log(const struct machine *m, const char *part);
void signal_machine(struct machine *m, uint32_t number);

/* ---- Who connects ----------------------------------------------------------- */

struct peer *peer_new(struct machine *m);
void peer_send_bytes(struct peer *p, const void *bytes, size_t size);
void peer_send(struct peer *p, const char *kind, const char *payload);
/* A datagram comes, from there to the server's address 192.0.2.1; false if there is no room for it. */
bool datagram_send(struct machine *m, uint32_t peer, const void *bytes, size_t size);
/* How many whole frames of a kind it has got; fails if there is half a one. */
size_t peer_got(const struct peer *p, const char *kind);

/* A console on the faked network. */
struct seat {
    struct console *console;
    struct peer *link[CONSOLE_LINKS];
    size_t fed[CONSOLE_LINKS];
};

void seat_step(struct machine *m, struct seat *seat);
void settle_seats(struct machine *m, struct seat *seats, size_t count);
struct seat seat_new(struct machine *m, const char *name);
void seat_free(struct seat *seat);

#endif
