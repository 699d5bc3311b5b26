/* A machine for the shell: a faked network, disk, helper and clock, behind the
 * table of system calls. Include nascar_server.c first, with its lower half.
 *
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_MACHINE_H
#define TESTS_MACHINE_H

#include "console.h"

#include <stdio.h>
#include <stdlib.h>

/* How a test fails. Check's suites have Check's way, the simulator its own. */
#ifndef FAIL
#include <check.h>
#define FAIL(...) ck_abort_msg(__VA_ARGS__)
#endif

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

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
#define FIRST_FD 100
#define LISTENER_FD 50
#define HELPER_FD 80
#define RECORD_FD 81
#define DISK_FD 2000
#define INODES 256
#define START_MS 1000

/* The other end of a connection. */
struct peer {
    bool accepted, closed; /* by the shell */
    bool control;          /* the operator's */
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
    bool broken; /* a write or sync of it failed: it must be left alone */
};

/* The data folder, which outlives a machine. Names are inodes + 1; 0: none. */
struct machine;
struct disk {
    void (*at_call)(struct machine *); /* before each call that changes something */
    struct inode inode[INODES];
    uint32_t inodes, journal, fresh;
    uint32_t kept_journal;          /* after a crash: as of the folder's last sync */
    unsigned calls;                 /* those that can fail */
    unsigned fail_from, fail_until; /* calls with these numbers fail; the first is 1 */
    unsigned also_fails, syncs;
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
};

struct machine {
    struct shell shell;
    struct disk *disk, own_disk;
    uint8_t *loaded; /* what fake_load() gave */
    bool records;    /* as with --record */
    struct inode recording;
    struct fake_helper helper;
    uint64_t tick_us; /* each look at the clock takes so long */
    uint64_t clock_us;
    struct peer peer[PEERS];
    size_t peers, accepted;
    uint16_t waiting[PEERS]; /* those who wait to be accepted, in their order */
    size_t waiting_count;
    uint64_t now_ms;
    char *log;
    size_t log_bytes;
    uint32_t chance;

    /* what goes wrong */
    size_t read_bytes, write_bytes; /* at most, a call; 0: no limit */
    unsigned one_in;                /* one call in so many fails with EINTR, and one with EAGAIN; 0: none */
    int accept_error;               /* each accept fails with it */
    int poll_error;
    bool hash_fails, entropy_fails;
    bool ragged;           /* reads and writes take a part, by chance */
    unsigned hide_one_in;  /* one connection in so many is not seen to be ready; 0: none */
    int64_t wall_offset_s; /* the wall clock jumps */

    /* what was seen */
    unsigned turns, check_one_in;             /* the invariants are checked after each turn, or after one in so many */
    unsigned polls, accepts, hashes, hurried; /* hurried: polls that did not wait in a row */
    int timeout_ms;                           /* the last poll's */
    bool listening;                           /* the last poll's */

    int signals[2]; /* a pipe in place of the signalfd */
    unsigned signals_due;
    void (*at_poll)(struct machine *);
    void (*at_read)(struct machine *, struct peer *, const uint8_t *bytes, size_t size);
    void (*at_write)(struct machine *, struct peer *, const uint8_t *bytes, size_t size);
    uint64_t mark_ms;
};

static inline bool unlucky(struct machine *m)
{
    m->chance = m->chance * 1664525u + 1013904223u;
    return m->one_in > 0 && (m->chance >> 16) % m->one_in == 0;
}

static inline uint32_t chance_below(struct machine *m, uint32_t limit)
{
    m->chance = m->chance * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)m->chance * limit >> 32);
}

/* So much of a read or write is done. */
static inline size_t part_of(struct machine *m, size_t size)
{
    if (!m->ragged || size < 2 || chance_below(m, 2) == 0)
        return size;
    return 1 + chance_below(m, chance_below(m, 4) == 0 ? 2 : (uint32_t)size);
}

static inline bool interrupted(struct machine *m)
{
    errno = unlucky(m) ? EINTR : unlucky(m) ? EAGAIN : 0;
    return errno != 0;
}

static inline struct peer *peer_of(struct machine *m, int fd)
{
    EXPECT(fd >= FIRST_FD && fd < FIRST_FD + (int)m->peers);
    struct peer *p = &m->peer[fd - FIRST_FD];
    EXPECT(p->accepted && !p->closed); /* else a call on a file that is not open */
    return p;
}

static inline void disk_trace(struct disk *d, char what)
{
    size_t n = strlen(d->trace);
    if (n > 0 && d->trace[n - 1] == what && (what == 'w' || what == 'a'))
        return;
    if (n + 1 == sizeof d->trace) {
        memmove(d->trace, d->trace + 256, n - 255);
        n -= 256;
    }
    d->trace[n] = what;
    d->trace[n + 1] = 0;
}

static inline bool disk_fails(struct machine *m, const char *call)
{
    struct disk *d = m->disk;
    if (d->at_call)
        d->at_call(m);
    unsigned number = ++d->calls;
    if (d->fails)
        return d->fails(m, call);
    errno = ENOSPC;
    return (number >= d->fail_from && number < d->fail_until) || number == d->also_fails;
}

static inline struct inode *inode_of(struct disk *d, int fd)
{
    EXPECT(fd >= DISK_FD && fd < DISK_FD + (int)d->inodes);
    EXPECT(d->inode[fd - DISK_FD].opened);
    return &d->inode[fd - DISK_FD];
}

static inline char disk_letter(const struct disk *d, int fd, char letter)
{
    return d->journal == (uint32_t)(fd - DISK_FD) + 1 ? letter : (char)(letter + 'a' - 'A');
}

/* One that no name and nobody who has it open leads to. */
static inline uint32_t disk_inode(struct disk *d)
{
    uint32_t i = 0;
    while (i < d->inodes &&
           (d->inode[i].opened || i + 1 == d->journal || i + 1 == d->fresh || i + 1 == d->kept_journal))
        i++;
    EXPECT(i < INODES);
    if (i == d->inodes)
        d->inodes++;
    d->inode[i].size = d->inode[i].synced = d->inode[i].peak = 0;
    d->inode[i].broken = false;
    return i + 1;
}

static inline int fake_open(void *world, int folder, const char *name, bool fresh)
{
    struct disk *d = ((struct machine *)world)->disk;
    uint32_t *entry = strcmp(name, "journal") == 0 ? &d->journal : &d->fresh;
    EXPECT(folder == 7 && (entry == &d->journal || strcmp(name, "journal.new") == 0));
    if ((fresh || d->fails) && disk_fails(world, "open"))
        return -1;
    if (fresh && *entry == 0)
        *entry = disk_inode(d);
    errno = ENOENT;
    if (*entry == 0)
        return -1;
    if (fresh)
        d->inode[*entry - 1].size = d->inode[*entry - 1].synced = 0;
    EXPECT(!d->inode[*entry - 1].opened);
    d->inode[*entry - 1].opened = true;
    return DISK_FD + (int)*entry - 1;
}

static inline uint8_t *fake_load(void *world, int fd, size_t *size)
{
    struct machine *m = world;
    const struct inode *inode = inode_of(m->disk, fd);
    if (m->disk->fails && disk_fails(world, "load"))
        return NULL;
    uint8_t *bytes = malloc(inode->size + 1);
    EXPECT(bytes);
    if (inode->size > 0)
        memcpy(bytes, inode->bytes, inode->size);
    *size = inode->size;
    m->loaded = bytes;
    return bytes;
}

static inline void fake_unload(void *world, uint8_t *bytes, size_t size)
{
    struct machine *m = world;
    EXPECT(m->loaded == bytes);
    (void)size;
    free(bytes);
    m->loaded = NULL;
}

static inline void inode_append(struct inode *inode, const void *bytes, size_t size)
{
    if (inode->size + size >= inode->peak) {
        inode->bytes = realloc(inode->bytes, inode->size + size + 1);
        EXPECT(inode->bytes);
        inode->peak = inode->size + size;
    }
    memcpy(inode->bytes + inode->size, bytes, size);
    inode->size += size;
}

/* One that fails has written half. */
static inline bool fake_append(void *world, int fd, const void *bytes, size_t size)
{
    struct machine *m = world;
    if (fd == RECORD_FD) {
        inode_append(&m->recording, bytes, size);
        return true;
    }
    struct inode *inode = inode_of(m->disk, fd);
    bool fails = disk_fails(m, "append");
    EXPECT(!inode->broken);
    disk_trace(m->disk, disk_letter(m->disk, fd, 'A'));
    inode->broken = fails;
    if (fails)
        size = m->disk->fails ? chance_below(m, (uint32_t)size + 1) : size / 2;
    inode_append(inode, bytes, size);
    return !fails;
}

static inline bool fake_sync(void *world, int fd)
{
    struct machine *m = world;
    struct inode *inode = inode_of(m->disk, fd);
    bool fails = disk_fails(m, "sync");
    EXPECT(!inode->broken);
    disk_trace(m->disk, disk_letter(m->disk, fd, 'S'));
    m->disk->syncs++;
    inode->broken = fails;
    if (!fails)
        inode->synced = inode->peak = inode->size;
    return !fails;
}

static inline bool fake_truncate(void *world, int fd, uint64_t size)
{
    struct machine *m = world;
    struct inode *inode = inode_of(m->disk, fd);
    disk_trace(m->disk, disk_letter(m->disk, fd, 'T'));
    if (disk_fails(m, "truncate"))
        return false;
    EXPECT(size <= inode->size);
    inode->size = (size_t)size;
    inode->synced = inode->synced < inode->size ? inode->synced : inode->size;
    return true;
}

static inline bool fake_rename(void *world, int folder, const char *from, const char *to)
{
    struct disk *d = ((struct machine *)world)->disk;
    EXPECT(folder == 7 && strcmp(from, "journal.new") == 0 && strcmp(to, "journal") == 0 && d->fresh != 0);
    disk_trace(d, 'R');
    if (disk_fails(world, "rename"))
        return false;
    EXPECT(d->inode[d->fresh - 1].synced == d->inode[d->fresh - 1].size); /* else a crash would leave less */
    d->journal = d->fresh;
    d->fresh = 0;
    return true;
}

static inline bool fake_sync_folder(void *world, int folder)
{
    struct disk *d = ((struct machine *)world)->disk;
    EXPECT(folder == 7);
    disk_trace(d, 'F');
    if (disk_fails(world, "sync_folder"))
        return false;
    d->kept_journal = d->journal;
    return true;
}

static inline void fake_remove(void *world, int folder, const char *name)
{
    struct disk *d = ((struct machine *)world)->disk;
    EXPECT(folder == 7);
    if (strcmp(name, "journal.new") == 0)
        d->fresh = 0;
}

static inline int fake_start_helper(void *world)
{
    struct machine *m = world;
    if (m->helper.cannot_start)
        return -1;
    EXPECT(!m->helper.running);
    m->helper.running = true;
    m->helper.dead = false;
    m->helper.answers = 0;
    m->helper.starts++;
    return HELPER_FD;
}

static inline bool no_hash(const char *password, const char *setting, char *out, size_t out_bytes)
{
    (void)password;
    (void)setting;
    (void)out;
    (void)out_bytes;
    return false;
}

/* Quick, and different for different passwords and settings. */
static inline bool fake_hash(const char *password, const char *setting, char *out, size_t out_bytes)
{
    char text[128] = "";
    copy_text(text, 30, setting);
    for (const char *p = password; *p; p++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%02x", (unsigned)(uint8_t)*p);
    EXPECT(strlen(text) < out_bytes);
    copy_text(out, out_bytes, text);
    return true;
}

static inline ssize_t helper_gets(struct machine *m, const void *bytes, size_t size)
{
    struct fake_helper *h = &m->helper;
    const struct hash_question *q = bytes;
    EXPECT(h->running && size == sizeof *q && h->answers < HELPER_JOBS);
    if (h->dead) {
        errno = EPIPE;
        return -1;
    }
    h->questions++;
    const char *password = q->job.stored[0] ? q->job.password : q->job.fresh;
    h->dead = (h->dies_of > 0 && --h->dies_of == 0) || (h->poison && strcmp(password, h->poison) == 0);
    if (h->dead)
        return (ssize_t)size;
    m->hashes += q->job.stored[0] && q->job.fresh[0] ? 2 : 1;
    answer_question(q, &h->answer[h->answers++], m->hash_fails ? no_hash : fake_hash);
    return (ssize_t)size;
}

static inline bool helper_speaks(const struct machine *m)
{
    return m->helper.running && (m->helper.dead || (m->helper.answers > 0 && !m->helper.lazy));
}

static inline ssize_t helper_says(struct machine *m, void *bytes, size_t size)
{
    struct fake_helper *h = &m->helper;
    EXPECT(h->running && size == sizeof h->answer[0]);
    errno = EAGAIN;
    if (h->answers == 0 || h->lazy)
        return h->dead ? 0 : -1;
    memcpy(bytes, &h->answer[0], size);
    memmove(&h->answer[0], &h->answer[1], --h->answers * sizeof h->answer[0]);
    return (ssize_t)size;
}

/* The place in the queue of the first who waits at that listener. */
static inline size_t first_waiting(const struct machine *m, bool control)
{
    size_t i = 0;
    while (i < m->waiting_count && m->peer[m->waiting[i]].control != control)
        i++;
    return i;
}

static inline int fake_poll(void *world, struct pollfd *fds, uint32_t count, int timeout_ms)
{
    struct machine *m = world;
    int ready = 0;
    m->polls++;
    m->timeout_ms = timeout_ms;
    m->listening = fds[FIRST_LISTENER].events == POLLIN;
    if (m->at_poll)
        m->at_poll(m);
    if (m->poll_error || interrupted(m)) {
        if (m->poll_error)
            errno = m->poll_error;
        if (errno == EAGAIN)
            errno = EINTR;
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        short seen = 0;
        if (i == SIGNALS) {
            seen = m->signals_due > 0 ? POLLIN : 0;
            m->signals_due -= seen != 0;
        } else if (i == HELPER) {
            EXPECT(fds[i].fd == (m->helper.running ? HELPER_FD : -1));
            seen = helper_speaks(m) ? POLLIN : 0;
        } else if (i < FIRST_SOCKET) {
            EXPECT(fds[i].fd == LISTENER_FD + (int)i);
            bool waits = (i == FIRST_LISTENER || i == CONTROL_LISTENER) &&
                         first_waiting(m, i == CONTROL_LISTENER) < m->waiting_count;
            seen = waits ? POLLIN : 0;
        } else {
            const struct peer *p = peer_of(m, fds[i].fd);
            seen = (short)((p->in_bytes > 0 || p->hung_up || p->reset ? POLLIN : 0) |
                           (p->window > 0 || p->reset ? POLLOUT : 0));
            if (m->hide_one_in > 0 && !p->reset && seen && chance_below(m, m->hide_one_in) == 0)
                seen = 0;
        }
        fds[i].revents = (short)(seen & fds[i].events);
        if (i >= FIRST_SOCKET && peer_of(m, fds[i].fd)->reset)
            fds[i].revents = (short)(fds[i].revents | POLLERR | POLLHUP);
        ready += fds[i].revents != 0;
    }
    m->hurried = ready == 0 && timeout_ms == 0 ? m->hurried + 1 : 0;
    if (ready == 0 && timeout_ms > 0)
        m->now_ms += (uint64_t)timeout_ms;
    return ready;
}

static inline int fake_accept(void *world, int listener, uint32_t *from, uint32_t *to)
{
    struct machine *m = world;
    EXPECT(listener == LISTENER_FD + (int)FIRST_LISTENER || listener == LISTENER_FD + (int)CONTROL_LISTENER);
    m->accepts++;
    if (unlucky(m)) {
        errno = unlucky(m) ? EINTR : ECONNABORTED;
        return -1;
    }
    size_t at = first_waiting(m, listener == LISTENER_FD + (int)CONTROL_LISTENER);
    if (m->accept_error || at == m->waiting_count) {
        errno = m->accept_error ? m->accept_error : EAGAIN;
        return -1;
    }
    size_t next = m->waiting[at];
    struct peer *p = &m->peer[next];
    memmove(m->waiting + at, m->waiting + at + 1, (--m->waiting_count - at) * sizeof m->waiting[0]);
    m->accepted++;
    p->accepted = true;
    *from = p->ip;
    *to = 0xC0000201;
    return FIRST_FD + (int)next;
}

static inline ssize_t fake_read(void *world, int fd, void *bytes, size_t size)
{
    struct machine *m = world;
    if (fd == HELPER_FD)
        return helper_says(m, bytes, size);
    struct peer *p = peer_of(m, fd);
    if (interrupted(m))
        return -1;
    if (p->reset || (p->in_bytes == 0 && !p->hung_up)) {
        errno = p->reset ? ECONNRESET : EAGAIN;
        return -1;
    }
    if (size > p->in_bytes)
        size = p->in_bytes;
    if (m->read_bytes > 0 && size > m->read_bytes)
        size = m->read_bytes;
    size = part_of(m, size);
    if (size > 0) {
        memcpy(bytes, p->in, size);
        p->in_bytes -= size;
        memmove(p->in, p->in + size, p->in_bytes);
        if (m->at_read)
            m->at_read(m, p, bytes, size);
    }
    return (ssize_t)size;
}

static inline ssize_t fake_write(void *world, int fd, const void *bytes, size_t size)
{
    struct machine *m = world;
    if (fd == HELPER_FD)
        return helper_gets(m, bytes, size);
    struct peer *p = peer_of(m, fd);
    EXPECT(size > 0);
    disk_trace(m->disk, 'w');
    if (interrupted(m))
        return -1;
    if (p->reset || p->window == 0) {
        errno = p->reset ? ECONNRESET : EAGAIN;
        return -1;
    }
    if (size > p->window)
        size = p->window;
    if (m->write_bytes > 0 && size > m->write_bytes)
        size = m->write_bytes;
    size = part_of(m, size);
    p->window -= p->window == SIZE_MAX ? 0 : size;
    p->out = realloc(p->out, p->out_bytes + size);
    EXPECT(p->out);
    memcpy(p->out + p->out_bytes, bytes, size);
    p->out_bytes += size;
    if (m->at_write)
        m->at_write(m, p, bytes, size);
    return (ssize_t)size;
}

static inline void fake_close(void *world, int fd)
{
    struct machine *m = world;
    if (fd == HELPER_FD)
        m->helper.running = false;
    else if (fd == RECORD_FD)
        m->recording.opened = false;
    else if (fd < DISK_FD)
        peer_of(m, fd)->closed = true;
    else
        inode_of(m->disk, fd)->opened = false;
}

static inline void fake_log(void *world, const char *text, size_t size)
{
    struct machine *m = world;
    m->log = realloc(m->log, m->log_bytes + size + 1);
    EXPECT(m->log);
    memcpy(m->log + m->log_bytes, text, size);
    m->log_bytes += size;
    m->log[m->log_bytes] = 0;
}

static inline bool fake_entropy(void *world, void *bytes, size_t size)
{
    struct machine *m = world;
    for (size_t i = 0; i < size; i++) {
        m->chance = m->chance * 1664525u + 1013904223u;
        ((uint8_t *)bytes)[i] = (uint8_t)(m->chance >> 24);
    }
    return !m->entropy_fails;
}

static inline uint64_t fake_mono_ms(void *world)
{
    struct machine *m = world;
    m->clock_us += m->tick_us;
    m->now_ms += m->clock_us / 1000;
    m->clock_us %= 1000;
    return m->now_ms;
}

/* A clock that nobody has set begins with 1970; none shows an earlier date. */
static inline int64_t fake_wall_s(void *world)
{
    struct machine *m = world;
    int64_t date_s = 1767225600 + m->wall_offset_s + (int64_t)(fake_mono_ms(world) / 1000);
    return date_s > 0 ? date_s : 1;
}

static const struct nascar_sys fake_calls = {
    .poll = fake_poll,
    .accept = fake_accept,
    .read = fake_read,
    .write = fake_write,
    .close = fake_close,
    .log = fake_log,
    .append = fake_append,
    .entropy = fake_entropy,
    .mono_ms = fake_mono_ms,
    .wall_s = fake_wall_s,
    .open = fake_open,
    .load = fake_load,
    .unload = fake_unload,
    .truncate = fake_truncate,
    .sync = fake_sync,
    .rename = fake_rename,
    .sync_folder = fake_sync_folder,
    .remove = fake_remove,
    .helper = fake_start_helper,
};

static inline void disk_free(struct disk *d)
{
    for (uint32_t i = 0; i < d->inodes; i++)
        free(d->inode[i].bytes);
    memset(d, 0, sizeof *d);
}

static inline void machine_free(struct machine *m)
{
    struct shell *sh = &m->shell;
    disk_free(&m->own_disk);
    if (sh->state)
        (void)munmap(sh->state, nascar_arena_size(&sh->limits));
    (void)munmap(sh->batch.bytes, BATCH_BYTES);
    (void)munmap(sh->compaction.batch.bytes, BATCH_BYTES);
    if (sh->numbers.free) { /* the last of them */
        (void)munmap(sh->polled, (FIRST_SOCKET + sh->conns) * sizeof *sh->polled);
        (void)munmap(sh->number_of, sh->conns * sizeof *sh->number_of);
        (void)munmap(sh->place_of, sh->conns * sizeof *sh->place_of);
        (void)munmap(sh->numbers.free, sh->conns * sizeof *sh->numbers.free);
    }
    if (sh->partial)
        (void)munmap(sh->partial, sh->conns * sizeof *sh->partial);
    free(m->recording.bytes);
    free(m->loaded);
    for (size_t i = 0; i < m->peers; i++) {
        free(m->peer[i].in);
        free(m->peer[i].out);
    }
    (void)close(m->signals[0]);
    (void)close(m->signals[1]);
    free(m->shell.records.items);
    free(m->shell.jobs.items);
    free(m->log);
    free(m);
}

/* A machine that is not started yet, on a disk that may hold something (NULL:
 * an empty one). */
static inline struct machine *machine_make(struct disk *disk)
{
    struct machine *m = calloc(1, sizeof *m);
    EXPECT(m);
    m->disk = disk ? disk : &m->own_disk;
    for (uint32_t i = 0; i < m->disk->inodes; i++)
        m->disk->inode[i].opened = false;
    m->now_ms = START_MS;
    m->chance = 2004;
    EXPECT(pipe(m->signals) == 0);
    return m;
}

/* What serve() does, up to the loop; false if it refuses to start. */
static inline bool machine_start(struct machine *m, const char *const *arguments)
{
    struct journal_reader reader;
    m->shell.sys = &fake_calls;
    m->shell.world = m;
    m->shell.folder = 7;
    m->shell.records.stride = sizeof(struct record_slot);
    m->shell.jobs.stride = sizeof(struct nascar_hash_job);
    m->shell.arguments = (char **)(uintptr_t)arguments;
    EXPECT(read_options(&m->shell.options, m->shell.arguments));
    shell_time(&m->shell);
    helper_start(&m->shell);
    if (!journal_find(&m->shell, &reader) || !make_state(&m->shell))
        return false;
    if (m->records) {
        m->shell.record_fd = RECORD_FD;
        m->recording.opened = true;
        EXPECT(record_begin(&m->shell));
    }
    feed_entropy(&m->shell);
    if (!journal_load(&m->shell, &reader))
        return false;
    m->shell.polled[SIGNALS].fd = m->signals[0];
    m->shell.polled[SIGNALS].events = POLLIN;
    for (uint32_t i = FIRST_LISTENER; i < FIRST_SOCKET; i++)
        m->shell.polled[i].fd = LISTENER_FD + (int)i;
    shell_configure(&m->shell);
    return true;
}

/* Both; NULL if it refuses to start. */
static inline struct machine *machine_on(struct disk *disk, const char *const *arguments)
{
    struct machine *m = machine_make(disk);
    if (machine_start(m, arguments))
        return m;
    machine_free(m);
    return NULL;
}

static inline struct machine *machine_new(const char *const *arguments)
{
    struct machine *m = machine_on(NULL, arguments);
    EXPECT(m);
    return m;
}

#define ARGUMENTS(...) \
    (const char *const[]) \
    { \
        "--max-accounts", "64", "--max-clients", "16", "--rate", "0", __VA_ARGS__, NULL \
    }
#define MACHINE(...) machine_new(ARGUMENTS(__VA_ARGS__))

/* What holds between two turns. */
static inline void check_shell(const struct machine *m)
{
    const struct shell *sh = &m->shell;
    uint32_t paused = 0, taken = 0, open = 0;
    const char *broken = nascar_check(sh->state);
    if (broken)
        FAIL("%s", broken);
    for (uint32_t place = 0; place < sh->open; place++) {
        EXPECT(sh->place_of[sh->number_of[place]] == place);
        paused += !(sh->polled[FIRST_SOCKET + place].events & POLLIN);
    }
    EXPECT(sh->paused == paused);
    for (uint32_t c = 0; c < sh->conns; c++)
        taken += sh->place_of[c] != NONE;
    EXPECT(taken == sh->open);
    EXPECT(sh->numbers.count + sh->control_numbers.count + sh->open == sh->conns);
    for (uint32_t i = 0; i < sh->numbers.count; i++)
        EXPECT(sh->place_of[sh->numbers.free[i]] == NONE);
    for (uint32_t i = 0; i < sh->control_numbers.count; i++)
        EXPECT(sh->place_of[sh->control_numbers.free[i]] == NONE);
    size_t urgent = 0;
    for (size_t i = sh->records.done; i < sh->records.count; i++)
        urgent += !((const struct record_slot *)sh->records.items)[i].lazy;
    EXPECT(sh->urgent == urgent);
    for (size_t i = 0; i < m->peers; i++)
        open += m->peer[i].accepted && !m->peer[i].closed;
    EXPECT(open == sh->open);
}

static inline void turn(struct machine *m, uint64_t until_ms)
{
    EXPECT(shell_turn(&m->shell, until_ms));
    EXPECT(m->hurried < 50); /* else the loop spins */
    if (m->check_one_in == 0 || ++m->turns % m->check_one_in == 0)
        check_shell(m);
}

/* Turns without time passing, until there is nothing left to do. */
static inline void settle_machine(struct machine *m)
{
    size_t out = 0, in = 1, before_out = 0, before_in = 0;
    unsigned enough = m->one_in > 0 ? 30 : 3;
    for (unsigned quiet = 0; quiet < enough;) {
        turn(m, m->now_ms);
        in = m->waiting_count;
        out = 0;
        for (size_t i = 0; i < m->peers; i++) {
            in += m->peer[i].in_bytes;
            out += m->peer[i].out_bytes + m->peer[i].closed;
        }
        quiet = in == before_in && out == before_out ? quiet + 1 : 0;
        before_in = in;
        before_out = out;
        m->hurried = 0;
    }
}

static inline void run_machine(struct machine *m, uint64_t ms)
{
    uint64_t end_ms = m->now_ms + ms;
    while (m->now_ms < end_ms)
        turn(m, end_ms);
}

static inline bool in_log(const struct machine *m, const char *part)
{
    return m->log && strstr(m->log, part) != NULL;
}

static inline size_t count_log(const struct machine *m, const char *part)
{
    size_t n = 0;
    for (const char *at = m->log; at && (at = strstr(at, part)) != NULL; at++)
        n++;
    return n;
}

static inline void signal_machine(struct machine *m, uint32_t number)
{
    struct signalfd_siginfo info;
    memset(&info, 0, sizeof info);
    info.ssi_signo = number;
    EXPECT(write(m->signals[1], &info, sizeof info) == sizeof info);
    m->signals_due++;
}

/* ---- Who connects ----------------------------------------------------------- */

static inline struct peer *peer_new(struct machine *m)
{
    size_t i = 0;
    while (i < m->peers && !m->peer[i].forgotten)
        i++;
    EXPECT(i < PEERS && m->waiting_count < PEERS);
    struct peer *p = &m->peer[i], fresh = {.in = p->in, .out = p->out, .window = SIZE_MAX};
    *p = fresh;
    p->ip = 0xC6336401u + (uint32_t)i;
    m->peers += i == m->peers;
    m->waiting[m->waiting_count++] = (uint16_t)i;
    return p;
}

static inline void peer_send_bytes(struct peer *p, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    p->in = realloc(p->in, p->in_bytes + size);
    EXPECT(p->in);
    memcpy(p->in + p->in_bytes, bytes, size);
    p->in_bytes += size;
}

static inline void peer_send(struct peer *p, const char *kind, const char *payload)
{
    uint8_t frame[CONSOLE_REQUEST_BYTES];
    peer_send_bytes(p, frame, console_frame(frame, sizeof frame, kind, 0, payload, strlen(payload) + 1));
}

/* How many whole frames of a kind it has got; fails if there is half a one. */
static inline size_t peer_got(const struct peer *p, const char *kind)
{
    size_t n = 0;
    for (size_t at = 0; at < p->out_bytes;) {
        EXPECT(p->out_bytes - at >= HEADER_BYTES);
        uint32_t size = load_be32(p->out + at + 8);
        EXPECT(size >= HEADER_BYTES && p->out_bytes - at >= size);
        n += memcmp(p->out + at, kind, 4) == 0;
        at += size;
    }
    return n;
}

/* A console on the faked network. */
struct seat {
    struct console *console;
    struct peer *link[CONSOLE_LINKS];
    size_t fed[CONSOLE_LINKS];
};

static inline void seat_step(struct machine *m, struct seat *seat)
{
    struct console *c = seat->console;
    uint32_t address;
    uint16_t port;
    console_tick(c, m->now_ms);
    for (int i = 0; i < CONSOLE_LINKS; i++) {
        enum console_link link = (enum console_link)i;
        uint8_t bytes[1024];
        size_t size;
        if (!seat->link[i] && console_wants(c, link, &address, &port)) {
            seat->link[i] = peer_new(m);
            seat->fed[i] = 0;
            console_link_opened(c, link);
        }
        struct peer *p = seat->link[i];
        if (!p)
            continue;
        if (p->out_bytes > seat->fed[i])
            console_feed(c, link, p->out + seat->fed[i], p->out_bytes - seat->fed[i]);
        seat->fed[i] = p->out_bytes;
        while ((size = console_take(c, link, bytes, sizeof bytes)) > 0)
            peer_send_bytes(p, bytes, size);
        p->hung_up = p->hung_up || console_hangs_up(c, link);
        if (p->closed) {
            console_link_closed(c, link);
            seat->link[i] = NULL;
        }
    }
    if (c->misled[0])
        FAIL("%s is misled: %s", c->name, c->misled);
}

static inline void settle_seats(struct machine *m, struct seat *seats, size_t count)
{
    for (unsigned i = 0; i < 12; i++) {
        for (size_t k = 0; k < count; k++)
            seat_step(m, &seats[k]);
        settle_machine(m);
    }
    for (size_t k = 0; k < count; k++)
        seat_step(m, &seats[k]);
}

static inline struct seat seat_new(struct machine *m, const char *name)
{
    struct seat seat = {.console = console_new((uint32_t)m->peers + 1)};
    console_tick(seat.console, m->now_ms);
    console_login(seat.console, name, "open wheel", name);
    return seat;
}

static inline void seat_free(struct seat *seat)
{
    console_free(seat->console);
}

#endif
