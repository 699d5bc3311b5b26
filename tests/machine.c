/* The faked system; machine.h says what it is for. A suite includes this file
 * below nascar_server.c (or sets FAIL and PEERS before).
 *
 * SPDX-License-Identifier: MIT */
#include "machine.h"

/* ---- A machine: the shell on a faked system ------------------------------- */

static bool unlucky(struct machine *m)
{
    m->chance = m->chance * 1664525u + 1013904223u;
    return m->one_in > 0 && (m->chance >> 16) % m->one_in == 0;
}

static uint32_t chance_below(struct machine *m, uint32_t limit)
{
    m->chance = m->chance * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)m->chance * limit >> 32);
}

/* So much of a read or write is done, of which the peer has or takes `most`, and
 * a call `limit`; 0: no limit. */
static size_t part_of(struct machine *m, size_t size, size_t most, size_t limit)
{
    if (size > most)
        size = most;
    if (limit > 0 && size > limit)
        size = limit;
    if (!m->ragged || size < 2 || chance_below(m, 2) == 0)
        return size;
    return 1 + chance_below(m, chance_below(m, 4) == 0 ? 2 : (uint32_t)size);
}

static bool peer_fails(const struct peer *p, bool must_wait)
{
    if (!p->reset && !must_wait)
        return false;
    errno = p->reset ? ECONNRESET : EAGAIN;
    return true;
}

static bool interrupted(struct machine *m)
{
    errno = unlucky(m) ? EINTR : unlucky(m) ? EAGAIN : 0;
    return errno != 0;
}

static struct peer *peer_of(struct machine *m, int fd)
{
    EXPECT(fd >= FIRST_FD && fd < FIRST_FD + (int)m->peers);
    struct peer *p = &m->peer[fd - FIRST_FD];
    EXPECT(p->accepted && !p->closed); /* else a call on a file that is not open */
    return p;
}

static void disk_trace(struct disk *d, char what)
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

static bool disk_fails(struct machine *m, const char *call)
{
    struct disk *d = m->disk;
    if (d->at_call)
        d->at_call(m);
    unsigned number = ++d->calls;
    if (d->fails)
        return d->fails(m, call);
    errno = d->error ? d->error : ENOSPC;
    return (number >= d->fail_from && number < d->fail_until) || number == d->also_fails;
}

static struct inode *inode_of(struct disk *d, int fd)
{
    EXPECT(fd >= DISK_FD && fd < DISK_FD + (int)d->inodes);
    EXPECT(d->inode[fd - DISK_FD].opened);
    return &d->inode[fd - DISK_FD];
}

static char disk_letter(const struct disk *d, int fd, char letter)
{
    return d->journal == (uint32_t)(fd - DISK_FD) + 1 ? letter : (char)(letter + 'a' - 'A');
}

static bool is_found(const struct disk *d, uint32_t inode)
{
    uint32_t n = 0;
    while (n < d->founds && d->found[n] != inode)
        n++;
    return n < d->founds;
}

/* One that no name and nobody who has it open leads to. */
static uint32_t disk_inode(struct disk *d)
{
    uint32_t i = 0;
    while (i < d->inodes && (d->inode[i].opened || i + 1 == d->journal || i + 1 == d->fresh ||
                             i + 1 == d->kept_journal || is_found(d, i + 1)))
        i++;
    EXPECT(i < INODES);
    if (i == d->inodes)
        d->inodes++;
    d->inode[i].size = d->inode[i].synced = d->inode[i].peak = 0;
    d->inode[i].broken = false;
    d->inode[i].torn = 0;
    return i + 1;
}

static int fake_open(void *world, int folder, const char *name, bool fresh)
{
    struct machine *m = world;
    struct disk *d = m->disk;
    uint32_t *entry = strcmp(name, "journal") == 0 ? &d->journal : &d->fresh;
    EXPECT(folder == m->folder);
    EXPECT(entry == &d->journal || strcmp(name, "journal.new") == 0);
    if ((fresh || d->fails) && disk_fails(world, "open"))
        return -1;
    if (fresh && *entry == 0 && !d->removed)
        *entry = disk_inode(d);
    errno = ENOENT;
    if (*entry == 0 || d->removed)
        return -1;
    if (fresh)
        d->inode[*entry - 1].size = d->inode[*entry - 1].synced = 0;
    EXPECT(!d->inode[*entry - 1].opened);
    d->inode[*entry - 1].opened = true;
    return DISK_FD + (int)*entry - 1;
}

static uint8_t *fake_load(void *world, int fd, size_t *size)
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

static void fake_unload(void *world, uint8_t *bytes, size_t size)
{
    struct machine *m = world;
    EXPECT(m->loaded == bytes);
    (void)size;
    free(bytes);
    m->loaded = NULL;
}

static void inode_append(struct inode *inode, const void *bytes, size_t size)
{
    if (inode->size + size >= inode->peak) {
        inode->bytes = realloc(inode->bytes, inode->size + size + 1);
        EXPECT(inode->bytes);
        inode->peak = inode->size + size;
    }
    if (size > 0)
        memcpy(inode->bytes + inode->size, bytes, size);
    inode->size += size;
}

/* One that fails has written half. */
static bool fake_append(void *world, int fd, const void *bytes, size_t size)
{
    struct machine *m = world;
    if (fd == RECORD_FD) {
        EXPECT(m->recording.torn == 0);
        m->recording.torn = size > m->record_room ? 2 : 0;
        errno = ENOSPC;
        size = size > m->record_room ? m->record_room : size;
        m->record_room -= size;
        inode_append(&m->recording, bytes, size);
        return m->recording.torn == 0;
    }
    if (fd == PID_FD)
        return true;
    struct inode *inode = inode_of(m->disk, fd);
    bool fails = disk_fails(m, "append");
    EXPECT(!inode->broken && inode->torn == 0);
    disk_trace(m->disk, disk_letter(m->disk, fd, 'A'));
    inode->broken = fails && !is_full(errno);
    inode->torn = fails && is_full(errno) ? 2 : 0;
    if (fails)
        size = m->disk->fails ? chance_below(m, (uint32_t)size + 1) : size / 2;
    inode_append(inode, bytes, size);
    return !fails;
}

static bool fake_sync(void *world, int fd)
{
    struct machine *m = world;
    struct inode *inode = inode_of(m->disk, fd);
    bool fails = disk_fails(m, "sync");
    EXPECT(!inode->broken && inode->torn < 2);
    disk_trace(m->disk, disk_letter(m->disk, fd, 'S'));
    m->disk->syncs++;
    inode->broken = fails;
    inode->torn = 0;
    if (!fails)
        inode->synced = inode->peak = inode->size;
    return !fails;
}

static bool fake_truncate(void *world, int fd, uint64_t size)
{
    struct machine *m = world;
    if (fd == RECORD_FD) {
        EXPECT(size <= m->recording.size);
        m->recording.size = (size_t)size;
        return true;
    }
    struct inode *inode = inode_of(m->disk, fd);
    disk_trace(m->disk, disk_letter(m->disk, fd, 'T'));
    if (disk_fails(m, "truncate"))
        return false;
    EXPECT(size <= inode->size);
    inode->size = (size_t)size;
    inode->torn -= inode->torn == 2;
    inode->synced = inode->synced < inode->size ? inode->synced : inode->size;
    return true;
}

static bool fake_rename(void *world, int folder, const char *from, const char *to)
{
    struct disk *d = ((struct machine *)world)->disk;
    EXPECT(folder == ((struct machine *)world)->folder && strcmp(from, "journal.new") == 0 &&
           strcmp(to, "journal") == 0);
    disk_trace(d, 'R');
    if (disk_fails(world, "rename"))
        return false;
    errno = ENOENT;
    if (d->fresh == 0)
        return false;
    EXPECT(d->inode[d->fresh - 1].synced == d->inode[d->fresh - 1].size); /* else a crash would leave less */
    d->journal = d->fresh;
    d->fresh = 0;
    return true;
}

static bool fake_sync_folder(void *world, int folder)
{
    struct disk *d = ((struct machine *)world)->disk;
    EXPECT(folder == ((struct machine *)world)->folder);
    disk_trace(d, 'F');
    if (disk_fails(world, "sync_folder"))
        return false;
    d->kept_journal = d->journal;
    return true;
}

static void fake_remove(void *world, int folder, const char *name)
{
    struct disk *d = ((struct machine *)world)->disk;
    EXPECT(folder == ((struct machine *)world)->folder);
    if (strcmp(name, "journal.new") == 0)
        d->fresh = 0;
    else
        append_text(((struct machine *)world)->removed, sizeof((struct machine *)world)->removed, name);
}

static bool fake_sign(void *world, int folder, int *file)
{
    struct machine *m = world;
    EXPECT(folder == m->folder && (*file == -1 || *file == PID_FD));
    errno = m->sign_error;
    if (m->sign_error)
        return false;
    *file = PID_FD;
    m->pids++;
    return true;
}

/* One look at a file. Whoever has changed one has done so before the call. */
static const char *fake_changed(void *world, const char *path, int fd, uint64_t size, const struct tail *tail)
{
    struct machine *m = world;
    const char *name = strrchr(path, '/') + 1;
    const struct inode *inode = inode_of(m->disk, fd);
    uint32_t entry = strcmp(name, "journal") == 0 ? m->disk->journal : m->disk->fresh;
    EXPECT(entry == m->disk->journal || strcmp(name, "journal.new") == 0);
    EXPECT(strncmp(path, m->shell.data, strlen(m->shell.data)) == 0);
    if (m->disk->removed || entry == 0)
        return "it was removed";
    if (entry != (uint32_t)(fd - DISK_FD) + 1)
        return "another file has taken its place";
    if (inode->size != size)
        return inode->size < size ? "it was cut" : "something else was written to it";
    EXPECT(tail->at + tail->size <= size);
    return memcmp(inode->bytes + tail->at, tail->bytes, tail->size) == 0 ? NULL : "it was overwritten";
}

static int fake_set_aside(void *world, int folder, const char *name)
{
    struct disk *d = ((struct machine *)world)->disk;
    EXPECT(folder == ((struct machine *)world)->folder && strcmp(name, "journal") == 0);
    if (d->fails ? disk_fails(world, "set_aside") : false)
        return -1;
    if (d->journal == 0)
        return 0;
    EXPECT(d->founds < sizeof d->found / sizeof d->found[0]);
    d->found[d->founds++] = d->journal;
    return (int)d->founds;
}

static int fake_folder(void *world, const char *path, int folder, struct folder_lock *lock)
{
    struct machine *m = world;
    struct disk *d = m->disk;
    EXPECT(folder == m->folder && strcmp(path, m->shell.data) == 0);
    if (d->foreign) {
        errno = EWOULDBLOCK;
        return -1;
    }
    if (!d->removed)
        return folder;
    if (disk_fails(world, "folder"))
        return -1;
    d->removed = false;
    lock->pid_file = -1;
    return ++m->folder;
}

static int fake_control(void *world, int folder, uint32_t group)
{
    struct machine *m = world;
    EXPECT(folder == m->folder && group == m->shell.options.group);
    errno = m->sign_error;
    if (m->sign_error)
        return -1;
    m->controls++;
    return LISTENER_FD + (int)CONTROL_LISTENER;
}

static int fake_start_helper(void *world, int *process)
{
    struct machine *m = world;
    if (m->helper.cannot_start)
        return -1;
    EXPECT(!m->helper.running);
    m->helper.running = true;
    m->helper.dead = false;
    m->helper.answers = 0;
    m->helper.starts++;
    m->helper.hangs = m->helper.hangs_of > 0 && m->helper.hangs_of-- > 0;
    *process = (int)m->helper.starts;
    return HELPER_FD;
}

static int fake_start_finder(void *world, int *process)
{
    struct machine *m = world;
    if (m->finder.cannot_start)
        return -1;
    EXPECT(!m->finder.running);
    m->finder.running = true;
    m->finder.dead = false;
    m->finder.waiting = 0;
    *process = FINDER_PROCESS + (int)++m->finder.starts;
    return FINDER_FD;
}

static ssize_t finder_gets(struct machine *m, const void *bytes, size_t size)
{
    struct fake_finder *f = &m->finder;
    struct host_question question;
    EXPECT(f->running && size == sizeof question && f->waiting < 4);
    errno = EPIPE;
    if (f->dead)
        return -1;
    memcpy(&question, bytes, size);
    copy_text(f->name, sizeof f->name, question.name);
    f->number[f->waiting++] = question.number;
    f->questions++;
    f->dead = f->dies;
    return (ssize_t)size;
}

static bool finder_speaks(const struct machine *m)
{
    return m->finder.running && (m->finder.dead || (m->finder.waiting > 0 && !m->finder.hangs));
}

static ssize_t finder_says(struct machine *m, void *bytes, size_t size)
{
    struct fake_finder *f = &m->finder;
    struct host_answer answer = {.number = f->number[0], .reason = "there is no such host"};
    EXPECT(f->running && size == sizeof answer);
    errno = EAGAIN;
    if (f->dead || f->waiting == 0 || f->hangs)
        return f->dead ? 0 : -1;
    answer.address = f->waiting > 1 ? f->stale : f->address;
    memmove(&f->number[0], &f->number[1], --f->waiting * sizeof f->number[0]);
    memcpy(bytes, &answer, size);
    return (ssize_t)size;
}

static int fake_spare(void *world, int fd)
{
    struct machine *m = world;
    EXPECT(fd == SIGNALS_FD);
    if (m->spares == 0)
        return -1;
    m->spares--;
    return SPARE_FD;
}

/* It is killed before our end of its socket is closed. */
static void fake_kill(void *world, int process)
{
    struct machine *m = world;
    if (process > FINDER_PROCESS) {
        EXPECT(m->finder.running && process == FINDER_PROCESS + (int)m->finder.starts);
        m->finder.kills++;
        return;
    }
    EXPECT(m->helper.running && process == (int)m->helper.starts);
    m->helper.kills++;
    m->helper.hangs = false;
}

static bool no_hash(const char *password, const char *setting, char *out, size_t out_bytes)
{
    (void)password;
    (void)setting;
    (void)out;
    (void)out_bytes;
    return false;
}

bool fake_hash(const char *password, const char *setting, char *out, size_t out_bytes)
{
    char text[128] = "";
    copy_text(text, 30, setting);
    for (const char *p = password; *p; p++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%02x", (unsigned)(uint8_t)*p);
    EXPECT(strlen(text) < out_bytes);
    copy_text(out, out_bytes, text);
    return true;
}

static ssize_t helper_gets(struct machine *m, const void *bytes, size_t size)
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

static bool helper_speaks(const struct machine *m)
{
    return m->helper.running && (m->helper.dead || (m->helper.answers > 0 && !m->helper.lazy && !m->helper.hangs));
}

static ssize_t helper_says(struct machine *m, void *bytes, size_t size)
{
    struct fake_helper *h = &m->helper;
    EXPECT(h->running && size == sizeof h->answer[0]);
    errno = EAGAIN;
    if (h->answers == 0 || h->lazy || h->hangs)
        return h->dead ? 0 : -1;
    memcpy(bytes, &h->answer[0], size);
    memmove(&h->answer[0], &h->answer[1], --h->answers * sizeof h->answer[0]);
    return (ssize_t)size;
}

/* The place in the queue of the first who waits at that listener. */
static size_t first_waiting(const struct machine *m, uint32_t listener)
{
    size_t i = 0;
    while (i < m->waiting_count && (m->peer[m->waiting[i]].control != (listener == CONTROL_LISTENER) ||
                                    m->peer[m->waiting[i]].http != (listener == HTTP_LISTENER)))
        i++;
    return i;
}

static int fake_poll(void *world, struct pollfd *fds, uint32_t count, int timeout_ms)
{
    struct machine *m = world;
    int ready = 0;
    m->polls++;
    m->timeout_ms = timeout_ms;
    m->listening = fds[FIRST_LISTENER].events == POLLIN;
    if (m->at_poll)
        m->at_poll(m);
    bool too_many = m->poll_most > 0 && count > m->poll_most;
    if (too_many || interrupted(m)) {
        errno = too_many ? EINVAL : EINTR;
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        short seen = 0;
        if (i == SIGNALS) {
            EXPECT(fds[i].fd == SIGNALS_FD);
            seen = m->signals_due > 0 ? POLLIN : 0;
        } else if (i == HELPER) {
            EXPECT(fds[i].fd == (m->helper.running ? HELPER_FD : -1));
            seen = helper_speaks(m) ? POLLIN : 0;
        } else if (i == FINDER) {
            EXPECT(fds[i].fd == (m->finder.running ? FINDER_FD : -1));
            seen = finder_speaks(m) ? POLLIN : 0;
        } else if (i == DATAGRAMS) {
            EXPECT(fds[i].fd == (m->shell.port[LISTENERS] == NONE ? -1 : LISTENER_FD + (int)i));
            seen = m->asks > 0 ? POLLIN : 0;
        } else if (i < FIRST_SOCKET) {
            bool closed = i == CONTROL_LISTENER ? m->sign_error : m->shell.port[i - FIRST_LISTENER] == NONE;
            EXPECT(fds[i].fd == LISTENER_FD + (int)i || (closed && fds[i].fd == -1));
            bool waits = (i == FIRST_LISTENER || i == CONTROL_LISTENER || i == HTTP_LISTENER) &&
                         first_waiting(m, i) < m->waiting_count;
            seen = waits ? POLLIN : 0;
        } else {
            const struct peer *p = peer_of(m, fds[i].fd);
            seen = (short)((p->in_bytes > 0 || p->hung_up || p->reset ? POLLIN : 0) |
                           (p->window > 0 || p->reset ? POLLOUT : 0));
            if (m->hide_one_in > 0 && !p->reset && seen && chance_below(m, m->hide_one_in) == 0)
                seen = 0;
        }
        fds[i].revents = (short)(fds[i].fd < 0 ? 0 : seen & fds[i].events);
        if (i >= FIRST_SOCKET && peer_of(m, fds[i].fd)->reset)
            fds[i].revents = (short)(fds[i].revents | POLLERR | POLLHUP);
        ready += fds[i].revents != 0;
    }
    m->hurried = ready == 0 && timeout_ms == 0 ? m->hurried + 1 : 0;
    if (ready == 0 && timeout_ms > 0)
        m->now_ms += (uint64_t)timeout_ms;
    return ready;
}

static uint32_t fake_signal(void *world, int fd, bool *hang_up)
{
    struct machine *m = world;
    EXPECT(fd == SIGNALS_FD && (m->signals_due > 0 || m->poll_most > 0));
    if (m->signals_due == 0)
        return 0;
    uint32_t number = m->signals[0];
    memmove(m->signals, m->signals + 1, --m->signals_due * sizeof m->signals[0]);
    *hang_up = (number & HANG_UP) != 0;
    return number & ~HANG_UP;
}

static int fake_accept(void *world, int listener, uint32_t *from, uint32_t *to)
{
    struct machine *m = world;
    bool blind = m->poll_most > 0 && listener > LISTENER_FD && listener < LISTENER_FD + (int)FIRST_SOCKET;
    EXPECT(blind || listener == LISTENER_FD + (int)FIRST_LISTENER || listener == LISTENER_FD + (int)CONTROL_LISTENER ||
           listener == LISTENER_FD + (int)HTTP_LISTENER);
    m->accepts++;
    if (unlucky(m)) {
        errno = unlucky(m) ? EINTR : ECONNABORTED;
        return -1;
    }
    size_t at = first_waiting(m, (uint32_t)(listener - LISTENER_FD));
    bool spare = m->accept_error == EMFILE && m->spares > 0;
    if ((m->accept_error && !spare) || at == m->waiting_count) {
        errno = m->accept_error && !spare ? m->accept_error : EAGAIN;
        return -1;
    }
    m->spares -= spare;
    size_t next = m->waiting[at];
    struct peer *p = &m->peer[next];
    memmove(m->waiting + at, m->waiting + at + 1, (--m->waiting_count - at) * sizeof m->waiting[0]);
    m->accepted++;
    p->accepted = true;
    *from = p->ip;
    *to = 0xC0000201;
    return FIRST_FD + (int)next;
}

static ssize_t fake_read(void *world, int fd, void *bytes, size_t size)
{
    struct machine *m = world;
    if (fd == HELPER_FD)
        return helper_says(m, bytes, size);
    if (fd == FINDER_FD)
        return finder_says(m, bytes, size);
    struct peer *p = peer_of(m, fd);
    if (interrupted(m))
        return -1;
    if (peer_fails(p, p->in_bytes == 0 && !p->hung_up))
        return -1;
    size = part_of(m, size, p->in_bytes, m->read_bytes);
    if (size > 0) {
        memcpy(bytes, p->in, size);
        p->in_bytes -= size;
        memmove(p->in, p->in + size, p->in_bytes);
        if (m->at_read)
            m->at_read(m, p, bytes, size);
    }
    return (ssize_t)size;
}

static ssize_t fake_write(void *world, int fd, const void *bytes, size_t size)
{
    struct machine *m = world;
    if (fd == HELPER_FD)
        return helper_gets(m, bytes, size);
    if (fd == FINDER_FD)
        return finder_gets(m, bytes, size);
    struct peer *p = peer_of(m, fd);
    EXPECT(size > 0);
    disk_trace(m->disk, 'w');
    if (interrupted(m))
        return -1;
    if (m->write_error) {
        errno = m->write_error;
        return -1;
    }
    if (peer_fails(p, p->window == 0))
        return -1;
    size = part_of(m, size, p->window, m->write_bytes);
    p->window -= p->window == SIZE_MAX ? 0 : size;
    p->out = realloc(p->out, p->out_bytes + size);
    EXPECT(p->out);
    memcpy(p->out + p->out_bytes, bytes, size);
    p->out_bytes += size;
    if (m->at_write)
        m->at_write(m, p, bytes, size);
    return (ssize_t)size;
}

static ssize_t fake_exchange(void *world, int fd, bool sends, struct nascar_datagram *d)
{
    struct machine *m = world;
    struct fake_datagram *f = sends ? &m->answer : &m->asked[m->first_asked];
    EXPECT(fd == LISTENER_FD + (int)DATAGRAMS);
    EXPECT(d->size > 0 && (!sends || d->size <= sizeof f->bytes));
    if (interrupted(m))
        return -1;
    errno = EAGAIN;
    if (!sends && m->asks == 0)
        return -1;
    size_t size = sends || f->size > d->size ? d->size : f->size;
    if (sends) {
        *f = (struct fake_datagram){.peer = d->peer, .port = d->port, .local = d->local, .size = size};
        memcpy(f->bytes, d->bytes, size);
        m->answers++;
        if (m->at_answer)
            m->at_answer(m);
        return (ssize_t)size;
    }
    d->peer = f->peer;
    d->port = f->port;
    d->local = f->local;
    memcpy((void *)(uintptr_t)d->bytes, f->bytes, size);
    m->first_asked = (m->first_asked + 1) % QUESTIONS;
    m->asks--;
    return (ssize_t)size;
}

bool datagram_send(struct machine *m, uint32_t peer, const void *bytes, size_t size)
{
    if (m->asks == QUESTIONS)
        return false;
    struct fake_datagram *f = &m->asked[(m->first_asked + m->asks++) % QUESTIONS];
    *f = (struct fake_datagram){.peer = peer, .port = 40000, .local = 0xC0000201, .size = size};
    EXPECT(size <= sizeof f->bytes);
    memcpy(f->bytes, bytes, size);
    return true;
}

static void fake_close(void *world, int fd)
{
    struct machine *m = world;
    if (fd == HELPER_FD)
        m->helper.running = false;
    else if (fd == FINDER_FD)
        m->finder.running = false;
    else if (fd == LOG_FD)
        m->log_closes++;
    else if (fd == RECORD_FD)
        m->recording.opened = false;
    else if (fd == PID_FD || fd == LISTENER_FD + (int)CONTROL_LISTENER)
        return;
    else if (fd == SPARE_FD)
        m->spares++;
    else if (fd < DISK_FD)
        peer_of(m, fd)->closed = true;
    else
        inode_of(m->disk, fd)->opened = false;
}

/* Each line of the log must be read in its form, and if that is text, its JSON has
 * the same keys and values. */
static void check_log_line(const struct machine *m, const char *text, size_t size)
{
    struct log_pairs pairs, json;
    struct log_line line;
    char copy[LOG_LINE_BYTES + 1] = "";
    bool is_json = text[0] == '{';
    const char *wrong = (is_json ? log_read_json : log_read_text)(text, size, &pairs);
    if (!wrong && !is_json) {
        memcpy(copy, text, size);
        write_log_line(&line, "", copy, "", true);
        wrong = log_read_json(line.bytes, line.size - 1, &json);
        bool cut = line.size + LOST_CHARS >= sizeof line.bytes;
        if (!wrong && !cut && !log_same(&pairs, &json))
            wrong = "other keys or values in JSON";
    }
    if (!wrong && (strcmp(pairs.pair[0].key, "time") != 0 || strcmp(pairs.pair[1].key, "level") != 0 ||
                   strcmp(pairs.pair[2].key, "event") != 0))
        wrong = "no time, level and event";
    if (wrong)
        FAIL("%llu ms: a log line with %s: %.*s", (unsigned long long)m->now_ms, wrong, (int)size, text);
}

static int fake_log_open(void *world, const char *path)
{
    struct machine *m = world;
    EXPECT(path[0]);
    errno = EMFILE;
    if (!m->log_cannot_open)
        m->log_checked = m->log_bytes; /* a line that was begun in the other file is whole in this one */
    return m->log_cannot_open ? -1 : LOG_FD;
}

static ssize_t fake_log(void *world, int fd, const char *text, size_t size)
{
    struct machine *m = world;
    EXPECT(fd == LOG_FD);
    errno = EAGAIN;
    m->log_tries++;
    if (m->log_full && m->log_room == 0)
        return -1;
    if (m->log_full && size > m->log_room)
        size = m->log_room;
    m->log_room -= m->log_full ? size : 0;
    m->log = realloc(m->log, m->log_bytes + size + 1);
    EXPECT(m->log);
    memcpy(m->log + m->log_bytes, text, size);
    m->log_bytes += size;
    m->log[m->log_bytes] = 0;
    for (const char *end; (end = memchr(m->log + m->log_checked, '\n', m->log_bytes - m->log_checked)) != NULL;
         m->log_checked = (size_t)(end + 1 - m->log))
        check_log_line(m, m->log + m->log_checked, (size_t)(end - m->log) - m->log_checked);
    return (ssize_t)size;
}

static bool fake_entropy(void *world, void *bytes, size_t size)
{
    struct machine *m = world;
    for (size_t i = 0; i < size; i++) {
        m->chance = m->chance * 1664525u + 1013904223u;
        ((uint8_t *)bytes)[i] = (uint8_t)(m->chance >> 24);
    }
    errno = ENOSYS;
    return !m->entropy_fails;
}

static uint64_t fake_room(void *world, int fd)
{
    const struct machine *m = world;
    EXPECT(fd == m->folder || fd == RECORD_FD);
    return m->room;
}

static bool fake_stands(void *world, int folder, const char *name)
{
    const struct machine *m = world;
    EXPECT(folder == m->folder);
    return m->gone == NULL || strcmp(m->gone, name) != 0;
}

static uint64_t fake_mono_ms(void *world)
{
    struct machine *m = world;
    m->clock_us += m->tick_us;
    m->now_ms += m->clock_us / 1000;
    m->clock_us %= 1000;
    return m->now_ms;
}

/* A clock that nobody has set begins with 1970; none shows an earlier date. */
static int64_t fake_wall_s(void *world)
{
    struct machine *m = world;
    int64_t date_s = 1767225600 + m->wall_offset_s + (int64_t)(fake_mono_ms(world) / 1000);
    return date_s > 0 ? date_s : 1;
}

static const struct nascar_sys fake_calls = {
    .poll = fake_poll,
    .signal = fake_signal,
    .accept = fake_accept,
    .read = fake_read,
    .write = fake_write,
    .exchange = fake_exchange,
    .close = fake_close,
    .log_open = fake_log_open,
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
    .changed = fake_changed,
    .set_aside = fake_set_aside,
    .folder = fake_folder,
    .sign = fake_sign,
    .control = fake_control,
    .helper = fake_start_helper,
    .finder = fake_start_finder,
    .kill = fake_kill,
    .spare = fake_spare,
    .room = fake_room,
    .stands = fake_stands,
};

void disk_free(struct disk *d)
{
    for (uint32_t i = 0; i < d->inodes; i++)
        free(d->inode[i].bytes);
    memset(d, 0, sizeof *d);
}

void machine_free(struct machine *m)
{
    struct shell *sh = &m->shell;
    disk_free(&m->own_disk);
    if (sh->state)
        (void)munmap(sh->state, nascar_arena_size(&sh->limits));
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
    release(m->shell.records.bytes, m->shell.records.room);
    release(m->shell.waiters.bytes, m->shell.waiters.room);
    release(m->shell.jobs.bytes, m->shell.jobs.room);
    release(m->shell.owed.bytes, m->shell.owed.room);
    free(m->log);
    free(m);
}

struct machine *machine_make(struct disk *disk)
{
    struct machine *m = calloc(1, sizeof *m);
    EXPECT(m);
    m->disk = disk ? disk : &m->own_disk;
    for (uint32_t i = 0; i < m->disk->inodes; i++)
        m->disk->inode[i].opened = false;
    m->now_ms = START_MS;
    m->chance = 2004;
    m->folder = FOLDER_FD;
    m->room = UINT64_MAX;
    m->record_room = SIZE_MAX;
    return m;
}

bool machine_start(struct machine *m, const char *const *arguments)
{
    struct journal_reader reader;
    m->shell.sys = &fake_calls;
    m->shell.world = m;
    m->shell.folder = FOLDER_FD;
    m->shell.lock.pid_file = m->shell.record_folder = -1;
    m->shell.locked = true;
    m->shell.log_fd = LOG_FD;
    m->shell.arguments = (char **)(uintptr_t)arguments;
    EXPECT(read_options(&m->shell.options, m->shell.arguments));
    shell_time(&m->shell);
    helper_start(&m->shell);
    finder_start(&m->shell);
    if (!journal_find(&m->shell, &reader) || !make_state(&m->shell))
        return false;
    if (m->records) {
        m->shell.record_fd = RECORD_FD;
        m->recording.opened = true;
        EXPECT(recording_begin(&m->shell));
    }
    feed_entropy(&m->shell);
    if (!journal_load(&m->shell, &reader))
        return false;
    m->shell.polled[SIGNALS].fd = SIGNALS_FD;
    m->shell.polled[SIGNALS].events = POLLIN;
    want_ports(&m->shell);
    for (uint32_t i = 0; i < PORTS; i++)
        m->shell.polled[FIRST_LISTENER + i].fd =
            m->shell.port[i] == NONE ? -1 : LISTENER_FD + (int)(FIRST_LISTENER + i);
    sign_work(&m->shell);
    shell_begin(&m->shell);
    m->shell.ready = true;
    return true;
}

struct machine *machine_on(struct disk *disk, const char *const *arguments)
{
    struct machine *m = machine_make(disk);
    if (machine_start(m, arguments))
        return m;
    machine_free(m);
    return NULL;
}

struct machine *machine_new(const char *const *arguments)
{
    struct machine *m = machine_on(NULL, arguments);
    EXPECT(m);
    return m;
}

void check_shell(const struct machine *m)
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
    size_t urgent = 0, count = 0;
    for (size_t i = 0; i < sh->waiters.size / sizeof(struct waiter); i++)
        urgent += !((const struct waiter *)(const void *)sh->waiters.bytes)[i].lazy;
    EXPECT(sh->urgent == urgent);
    for (size_t at = BATCH_HEAD_BYTES; at < sh->records.size; at += load_be32(sh->records.bytes + at + 8))
        count++;
    EXPECT(sh->waiters.size == count * sizeof(struct waiter));
    EXPECT((sh->lazy_due_ms > 0) == (count > 0));
    for (size_t i = 0; i < m->peers; i++)
        open += m->peer[i].accepted && !m->peer[i].closed;
    EXPECT(open == sh->open);
}

void turn(struct machine *m, uint64_t until_ms)
{
    shell_turn(&m->shell, until_ms);
    EXPECT(m->hurried < 50); /* else the loop spins */
    if (m->check_one_in == 0 || ++m->turns % m->check_one_in == 0)
        check_shell(m);
}

void settle_machine(struct machine *m)
{
    size_t out = 0, in = 1, before_out = 0, before_in = 0;
    unsigned enough = m->one_in > 0 ? 30 : 3;
    for (unsigned quiet = 0; quiet < enough;) {
        turn(m, m->now_ms);
        in = m->waiting_count + m->asks;
        out = m->answers;
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

void run_machine(struct machine *m, uint64_t ms)
{
    uint64_t end_ms = m->now_ms + ms;
    while (m->now_ms < end_ms)
        turn(m, end_ms);
}

bool in_log(const struct machine *m, const char *part)
{
    return m->log && strstr(m->log, part) != NULL;
}

size_t count_log(const struct machine *m, const char *part)
{
    size_t n = 0;
    for (const char *at = m->log; at && (at = strstr(at, part)) != NULL; at++)
        n++;
    return n;
}

void signal_machine(struct machine *m, uint32_t number)
{
    EXPECT(m->signals_due < sizeof m->signals / sizeof m->signals[0]);
    m->signals[m->signals_due++] = number;
}

/* ---- Who connects ----------------------------------------------------------- */

struct peer *peer_new(struct machine *m)
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

void peer_send_bytes(struct peer *p, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    p->in = realloc(p->in, p->in_bytes + size);
    EXPECT(p->in);
    memcpy(p->in + p->in_bytes, bytes, size);
    p->in_bytes += size;
}

void peer_send(struct peer *p, const char *kind, const char *payload)
{
    uint8_t frame[CONSOLE_REQUEST_BYTES];
    peer_send_bytes(p, frame, console_frame(frame, sizeof frame, kind, 0, payload, strlen(payload) + 1));
}

size_t peer_got(const struct peer *p, const char *kind)
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

void seat_step(struct machine *m, struct seat *seat)
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

void settle_seats(struct machine *m, struct seat *seats, size_t count)
{
    for (unsigned i = 0; i < 12; i++) {
        for (size_t k = 0; k < count; k++)
            seat_step(m, &seats[k]);
        settle_machine(m);
    }
    for (size_t k = 0; k < count; k++)
        seat_step(m, &seats[k]);
}

struct seat seat_new(struct machine *m, const char *name)
{
    struct seat seat = {.console = console_new((uint32_t)m->peers + 1)};
    console_tick(seat.console, m->now_ms);
    console_login(seat.console, name, "open wheel", name);
    return seat;
}

void seat_free(struct seat *seat)
{
    console_free(seat->console);
}
