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

#include "server.h"

#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

static uint64_t dice;

static uint32_t chance(uint32_t below)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (uint32_t)(dice >> 32) % below;
}

/* Options for many players from one address who are in a hurry. */
#define CROWD \
    CHEAP, "--rate", "0", "--per-address", "10000", "--logins-per-address", "1000000", "--accounts-per-address", \
        "1000000", "--accounts", "register"

/* ---- Secrets ------------------------------------------------------------ */

/* Everything that no file may hold: passwords, their hex, and what was sent in
 * their place. */
#define PREFIX_BYTES 4u

static struct secret {
    char text[128];
    size_t size, next; /* the next one in its bucket, plus 1 */
} * secrets;
static size_t secret_count, secret_room, secret_bucket[65536], sent_scanned;
static size_t scanned_files, scanned_bytes;

static size_t bucket_of(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return (word * 2654435761u) >> 16;
}

static void add_secret(const char *text, size_t size)
{
    if (size < PREFIX_BYTES || size >= sizeof secrets[0].text)
        return;
    size_t bucket = bucket_of(text);
    for (size_t i = secret_bucket[bucket]; i != 0; i = secrets[i - 1].next)
        if (secrets[i - 1].size == size && memcmp(secrets[i - 1].text, text, size) == 0)
            return;
    if (secret_count == secret_room) {
        secret_room = secret_room * 2 + 64;
        secrets = realloc(secrets, secret_room * sizeof *secrets);
        EXPECT(secrets != NULL);
    }
    struct secret *s = &secrets[secret_count++];
    memcpy(s->text, text, size);
    s->text[size] = '\0';
    s->size = size;
    s->next = secret_bucket[bucket];
    secret_bucket[bucket] = secret_count;
}

static void add_hex(const char *text, const char *format)
{
    char hex[128] = "";
    size_t size = strlen(text);
    EXPECT(size * 2 < sizeof hex);
    for (size_t i = 0; i < size; i++)
        (void)snprintf(hex + 2 * i, 3, format, (unsigned)(unsigned char)text[i]);
    add_secret(hex, size * 2);
}

static const char *password(const char *text)
{
    add_secret(text, strlen(text));
    add_hex(text, "%02x");
    add_hex(text, "%02X");
    return text;
}

/* An unusual password that goes with this name; the next of a few buffers. */
static const char *password_of(const char *name)
{
    static char texts[16][20];
    static size_t next;
    char *text = texts[next++ % 16];
    size_t size = strlen(name);
    (void)snprintf(text, sizeof texts[0], "k%%%s=\"~zQ", name + (size > 8 ? size - 8 : 0));
    return password(text);
}

/* What was sent in the place of passwords since the last time: as it stood on
 * the wire, and without its escapes. The first character only says which form
 * it is. */
static void add_sent_secrets(void)
{
    static const char *const keys[] = {"PASS=", "CHNG="};
    char text[256];
    for (size_t k = 0; k < 2; k++) {
        const char *at = sent == NULL ? NULL : sent + sent_scanned;
        while (at != NULL && (at = strstr(at, keys[k])) != NULL) {
            at += 5;
            size_t size = strcspn(at, "\n"), skipped = *at == '"';
            add_secret(at + skipped + 1, size < skipped * 2 + 1 ? 0 : size - skipped * 2 - 1);
            size = console_read_text(at, text, sizeof text);
            if (size > 1 && size < sizeof text)
                add_secret(text + 1, size - 1);
        }
    }
    sent_scanned = sent_bytes;
}

static const char *secret_in(const char *bytes, size_t size)
{
    for (size_t at = 0; at + PREFIX_BYTES <= size; at++) {
        for (size_t i = secret_bucket[bucket_of(bytes + at)]; i != 0; i = secrets[i - 1].next) {
            const struct secret *s = &secrets[i - 1];
            if (s->size <= size - at && memcmp(s->text, bytes + at, s->size) == 0)
                return s->text;
        }
    }
    return NULL;
}

static void scan(const char *name, const char *bytes, size_t size)
{
    const char *found = secret_in(bytes, size);
    scanned_files++;
    scanned_bytes += size;
    if (found != NULL)
        fail("%s has the password, or what was sent for it, `%s`", name, found);
}

static int scan_file(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)place;
    if (type != FTW_F || strstr(path, "/trace") != NULL || strstr(path, "/file") != NULL)
        return 0; /* traces and inputs are the test's own */
    FILE *file = fopen(path, "rb");
    char *bytes = malloc((size_t)status->st_size + 1);
    EXPECT(bytes != NULL);
    if (file != NULL) {
        scan(path, bytes, fread(bytes, 1, (size_t)status->st_size, file));
        (void)fclose(file);
    }
    free(bytes);
    return 0;
}

/* Every file of the case, and the servers' standard error. */
static void no_secret_is_kept(void)
{
    add_sent_secrets();
    (void)nftw(folder, scan_file, 16, FTW_PHYS);
    for (size_t i = 0; i < server_count; i++) {
        const char *text = contents(servers[i].log);
        scan("standard error", text, strlen(text));
    }
}

/* ---- Running other programs --------------------------------------------- */

/* What a run of the binary left: valid until the next run. */
struct finished {
    int status; /* -1: a signal ended it */
    char *out, *err;
};

static FILE *emptied(FILE **file)
{
    if (*file == NULL) {
        *file = tmpfile();
        EXPECT(*file != NULL);
    }
    EXPECT(ftruncate(fileno(*file), 0) == 0);
    (void)lseek(fileno(*file), 0, SEEK_SET);
    return *file;
}

static const struct finished *run_binary(const char *const *extra, const char *input)
{
    static struct finished f;
    static FILE *out, *err;
    const char *arguments[ARGUMENTS] = {binary};
    int status = 0, in = input == NULL ? -1 : open(write_file(NULL, input), O_RDONLY | O_CLOEXEC);
    for (size_t count = 1; *extra != NULL && count + 1 < ARGUMENTS; extra++)
        arguments[count++] = *extra;
    (void)emptied(&out);
    (void)emptied(&err);
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0)
        become_server(arguments, in, fileno(out), fileno(err), 0);
    EXPECT(waitpid(pid, &status, 0) == pid);
    f.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    free(f.out);
    free(f.err);
    f.out = strdup(contents(out));
    f.err = strdup(contents(err));
    EXPECT(f.out != NULL && f.err != NULL);
    if (in >= 0)
        (void)close(in);
    return &f;
}

#define BINARY(...) run_binary((const char *const[]){__VA_ARGS__, NULL}, NULL)
#define BINARY_READS(input, ...) run_binary((const char *const[]){__VA_ARGS__, NULL}, input)

/* strace, attached to a running server until trace_end(). */
struct trace {
    pid_t pid;
    char path[128];
};

static struct trace trace_begin(const struct server *s, const char *const *options)
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

/* Detaches, and gives what it has written: valid until the next call. */
static const char *trace_end(struct trace t)
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

#define TRACE(s, ...) trace_begin(s, (const char *const[]){__VA_ARGS__, NULL})

/* ---- The journal, read without the server ------------------------------- */

struct kept { /* one record */
    size_t at, batch;
    char kind[5], name[20], pers[20], user[20], list[4], personas[60], body[80];
};

struct batch {
    size_t at, size;
    size_t records; /* of this one and all before it */
    uint64_t number;
};

struct journal {
    uint8_t *bytes;
    size_t size, good; /* good: header and whole batches */
    size_t header_size;
    struct batch *batch;
    size_t batches, batch_room;
    struct kept *record;
    size_t records, record_room;
};

static uint32_t crc32c(uint32_t sum, const uint8_t *bytes, size_t size)
{
    static uint32_t table[256];
    if (table[1] == 0) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t entry = i;
            for (int bit = 0; bit < 8; bit++)
                entry = (entry >> 1) ^ ((entry & 1u) != 0 ? 0x82F63B78u : 0u);
            table[i] = entry;
        }
    }
    sum = ~sum;
    for (size_t i = 0; i < size; i++)
        sum = (sum >> 8) ^ table[(sum ^ bytes[i]) & 0xFFu];
    return ~sum;
}

static uint32_t word_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put_word(uint8_t *at, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(word >> (24 - 8 * i));
}

/* Over all of a frame but the code word itself. */
static uint32_t frame_sum(const uint8_t *frame, size_t size)
{
    return crc32c(crc32c(0, frame, 4), frame + 8, size - 8);
}

/* The size of the checked frame of this kind that stands here; 0: there is none. */
static size_t checked_frame(const uint8_t *at, size_t left, const char *kind)
{
    if (left < 12 || memcmp(at, kind, 4) != 0)
        return 0;
    size_t size = word_at(at + 8);
    return size >= 12 && size <= left && frame_sum(at, size) == word_at(at + 4) ? size : 0;
}

static void get_field(const char *payload, const char *key, char *out, size_t size)
{
    (void)console_read_text(console_find(payload, key), out, size);
}

static void keep_record(struct journal *j, size_t at, size_t size)
{
    char payload[4096];
    if (j->records == j->record_room) {
        j->record_room = j->record_room * 2 + 256;
        j->record = realloc(j->record, j->record_room * sizeof *j->record);
        EXPECT(j->record != NULL);
    }
    struct kept *r = &j->record[j->records++];
    EXPECT(size > 12 && size - 12 < sizeof payload);
    memset(r, 0, sizeof *r);
    memcpy(payload, j->bytes + at + 12, size - 12);
    payload[size - 12] = '\0';
    memcpy(r->kind, j->bytes + at, 4);
    r->at = at;
    r->batch = j->batches;
    get_field(payload, "NAME", r->name, sizeof r->name);
    get_field(payload, "PERS", r->pers, sizeof r->pers);
    get_field(payload, "USER", r->user, sizeof r->user);
    get_field(payload, "LIST", r->list, sizeof r->list);
    get_field(payload, "PERSONAS", r->personas, sizeof r->personas);
    get_field(payload, "BODY", r->body, sizeof r->body);
}

static void keep_batch(struct journal *j, size_t at, size_t size)
{
    if (j->batches == j->batch_room) {
        j->batch_room = j->batch_room * 2 + 256;
        j->batch = realloc(j->batch, j->batch_room * sizeof *j->batch);
        EXPECT(j->batch != NULL);
    }
    struct batch *b = &j->batch[j->batches];
    EXPECT(size >= 20);
    b->at = at;
    b->size = size;
    b->number = (uint64_t)word_at(j->bytes + at + 12) << 32 | word_at(j->bytes + at + 16);
    EXPECT(j->batches == 0 || b->number == b[-1].number + 1);
    for (size_t place = at + 20; place < at + size;) {
        size_t record = at + size - place < 12 ? 0 : word_at(j->bytes + place + 8);
        EXPECT(record >= 12 && record <= at + size - place);
        keep_record(j, place, record);
        place += record;
    }
    b->records = j->records;
    j->batches++;
}

/* Takes a journal apart as far as it is good. */
static void journal_parse(struct journal *j)
{
    size_t size;
    j->batches = j->records = 0;
    j->good = j->header_size = checked_frame(j->bytes, j->size, "nsrj");
    EXPECT(j->good > 0 && strcmp((const char *)j->bytes + 12, "FORMAT=1\n") == 0);
    while ((size = checked_frame(j->bytes + j->good, j->size - j->good, "btch")) > 0) {
        keep_batch(j, j->good, size);
        j->good += size;
    }
}

static void read_whole(const char *path, uint8_t **bytes, size_t *size)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0)
        fail("cannot read %s: %s", path, strerror(errno));
    *bytes = realloc(*bytes, (size_t)status.st_size + 1);
    EXPECT(*bytes != NULL);
    ssize_t n = read(fd, *bytes, (size_t)status.st_size);
    EXPECT(n >= 0);
    *size = (size_t)n;
    (void)close(fd);
}

static void journal_load(struct journal *j, const char *data)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/journal", data);
    read_whole(path, &j->bytes, &j->size);
    journal_parse(j);
}

static size_t journal_bytes(const char *data)
{
    char path[160];
    struct stat status;
    (void)snprintf(path, sizeof path, "%s/journal", data);
    EXPECT(stat(path, &status) == 0);
    return (size_t)status.st_size;
}

static void put_file(const char *data, const char *name, const uint8_t *bytes, size_t size)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", data, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    EXPECT(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    (void)close(fd);
}

/* What stands in it, the latest first. */
static const struct kept *find_record(const struct journal *j, const char *kind, const char *name, const char *pers,
                                      const char *user, const char *body)
{
    for (size_t i = j->records; i-- > 0;) {
        const struct kept *r = &j->record[i];
        if (strcmp(r->kind, kind) == 0 && (name == NULL || strcmp(r->name, name) == 0) &&
            (pers == NULL || strcmp(r->pers, pers) == 0) && (user == NULL || strcmp(r->user, user) == 0) &&
            (body == NULL || strcmp(r->body, body) == 0))
            return r;
    }
    return NULL;
}

/* ---- Players ------------------------------------------------------------ */

/* A seat at the main menu again, with nothing left of who sat there. */
static void clear_seat(struct seat *seat)
{
    for (size_t i = 0; i < CONSOLE_LINKS; i++) {
        if (seat->fd[i] >= 0) {
            (void)close(seat->fd[i]);
            seat->fd[i] = -1;
        }
    }
    console_free(seat->console);
    seat->console = console_new(chance(UINT32_MAX));
    console_tick(seat->console, now_ms());
}

/* The server dies, and what it had said is read to the end. */
static void kill_server(struct server *s)
{
    EXPECT(s->pid > 0);
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    s->pid = 0;
    for (size_t i = 0; i < seat_count; i++) {
        for (int k = 0; k < CONSOLE_LINKS; k++) {
            uint64_t end = now_ms() + 2000;
            while (seats[i].server == s && seats[i].fd[k] >= 0) {
                link_read(&seats[i], (enum console_link)k);
                EXPECT(now_ms() < end);
            }
        }
        if (seats[i].console->misled[0] != '\0')
            fail("%s is misled: %s", seats[i].console->name, seats[i].console->misled);
    }
}

static uint32_t replies(const struct console *c, const char *kind)
{
    const struct console_reply *r = console_reply(c, kind);
    return r == NULL ? 0 : r->count;
}

static uint32_t code_of(const struct console *c, const char *kind)
{
    const struct console_reply *r = console_reply(c, kind);
    return r == NULL ? UINT32_MAX : r->code;
}

/* Both halves of its roster have come. */
static bool has_roster(const struct console *c)
{
    return settled(c) && c->roster_left[1] == 0 && c->roster_left[2] == 0;
}

/* A player who logs in with the password that goes with the name. */
static struct console *visit(struct seat *seat, const char *name)
{
    console_login(seat->console, name, password_of(name), name);
    UNTIL(5000, has_roster(seat->console));
    return seat->console;
}

static struct seat *visitor(const struct server *s, const char *name)
{
    struct seat *seat = seat_new(s, LOCALHOST);
    (void)visit(seat, name);
    return seat;
}

static void leave(struct seat *seat)
{
    console_leave(seat->console);
    UNTIL(3000, seat->fd[CONSOLE_LOBBY] < 0 && seat->fd[CONSOLE_BUDDY] < 0);
}

/* Asks and waits for the answer: its code; -1: none came. */
static int64_t ask(int fd, const char *kind, const char *request, char payload[CONSOLE_FRAME_BYTES])
{
    uint8_t frame[CONSOLE_REQUEST_BYTES];
    char got[5];
    size_t size = console_frame(frame, sizeof frame, kind, 0, request, strlen(request) + 1);
    if (send(fd, frame, size, MSG_NOSIGNAL) != (ssize_t)size)
        return -1;
    keep_sent(frame, size);
    while (raw_frame(fd, got, payload, 5000))
        if (strcmp(got, kind) == 0)
            return raw_code;
    return -1;
}

#define IMST 0x696D7374 /* no such account */
#define PASS 0x70617373 /* wrong password */
#define SESS 0x73657373
#define NO_USER 0x75736572

/* One request with a name and a password on a lobby link of its own, which is
 * left open in *link if that is not NULL. */
static int64_t present(const struct server *s, const char *kind, const char *name, const char *text, int *link)
{
    char payload[CONSOLE_FRAME_BYTES], letters[CONSOLE_CIPHER_BYTES + 2] = "~";
    struct console_tags tags = {.size = 0};
    struct console_pad pad = {.started = false};
    uint8_t key[16];
    static uint32_t turn; /* an address has few tries with a wrong password */
    int fd = raw_open(s, LOBBY, 0x7F000301u + turn++ % 250);
    EXPECT(ask(fd, "addr", "ADDR=192.0.2.100\nPORT=50000\n", payload) == 0);
    EXPECT(ask(fd, "skey", "SKEY=$5075626c6963204b6579\n", payload) == 0);
    EXPECT(console_read_binary(console_find(payload, "SKEY"), key, sizeof key) == sizeof key);
    console_encode(&pad, key, sizeof key, text, letters + 1);
    console_put_text(&tags, "NAME", name);
    console_put_text(&tags, "PASS", letters);
    console_put_raw(&tags, "TOS", "1");
    int64_t code = ask(fd, kind, tags.text, payload);
    if (link != NULL)
        *link = fd;
    else
        (void)close(fd);
    return code;
}

/* The code of the answer; -1: there was none. */
static int64_t sign_up(const struct server *s, const char *name)
{
    return present(s, "acct", name, password_of(name), NULL);
}

static int64_t log_in(const struct server *s, const char *name)
{
    return present(s, "auth", name, password_of(name), NULL);
}

/* ---- A busy run: what it was told --------------------------------------- */

enum known { NO, MAYBE, YES }; /* MAYBE: asked for, and the server died before it answered */

#define LIVES 600
#define EDGES 4
#define LETTERS 1500
#define OPERATIONS 4

struct edge { /* one list of one roster */
    size_t whom;
    char list; /* B or I */
    enum known there;
};

/* Somebody who signs up, changes the roster, writes, and leaves. */
struct life {
    char name[13]; /* of account and persona */
    enum known account, persona;
    bool over;
    struct edge edge[EDGES];
    size_t edges;
};

struct letter {
    size_t from, to;
    enum known sent;
    char body[48];
};

static struct life lives[LIVES];
static size_t life_count;
static struct letter letters[LETTERS];
static size_t letter_count;

/* Who is living at a seat. */
struct writer {
    struct seat *seat;
    size_t life;   /* LIFE_NONE: nobody */
    unsigned done; /* operations */
    struct edge *changing[2];
    struct letter *writing;
    const char *kind; /* of the operation under way; NULL: none */
    uint32_t wanted;  /* so many replies of that kind end it */
};

#define LIFE_NONE SIZE_MAX
#define WRITERS 16

static struct writer writers[WRITERS];
static size_t writer_count;
static size_t acknowledged; /* changes, in all */

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

/* Takes note of what the server has acknowledged. */
static void observe(struct writer *w)
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

/* Lets the writers live until all lives are over, or so much is acknowledged.
 * Returns whether they are over. */
static bool live_until(size_t enough)
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

static void begin_run(const struct server *s, size_t accounts, size_t at_once)
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

/* After a kill: nobody is there any more, and what was asked for is or is not. */
static void settle_lives(const struct server *s)
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

static size_t letters_to(size_t life)
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

/* Those at [first, last) log in with their passwords and look at what they
 * have. `letters_due`: whether their messages come now. */
static void find_all(size_t first, size_t last, bool letters_due)
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

/* ---- Cases: a journal that is cut or spoiled ---------------------------- */

/* One start of the server on a folder. */
struct attempt {
    bool ready;
    int status;       /* if it is not */
    const char *said; /* on standard error */
};

static FILE *attempt_log;
static pid_t attempt_pid;
static uint16_t attempt_port;

/* It runs when this returns with `ready`; then end_attempt(). */
static struct attempt attempt(const char *data)
{
    struct attempt a = {false, 0, ""};
    const char *arguments[] = {binary, SERVER_ARGUMENTS, "--data", data, CROWD, "--max-clients",
                               "64",   "--max-accounts", "1000",   NULL};
    char line[256] = "";
    int out[2], status;
    size_t got = 0;
    (void)emptied(&attempt_log);
    EXPECT(pipe2(out, O_CLOEXEC) == 0);
    attempt_pid = fork();
    EXPECT(attempt_pid >= 0);
    if (attempt_pid == 0)
        become_server(arguments, -1, out[1], fileno(attempt_log), 0);
    (void)close(out[1]);
    while (got + 1 < sizeof line && memchr(line, '\n', got) == NULL) {
        struct pollfd readable = {.fd = out[0], .events = POLLIN};
        ssize_t n = poll(&readable, 1, 10000) == 1 ? read(out[0], line + got, sizeof line - 1 - got) : 0;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    (void)close(out[0]);
    a.ready = memchr(line, '\n', got) != NULL;
    if (a.ready) {
        attempt_port = port_of(line, "lobby");
    } else {
        EXPECT(waitpid(attempt_pid, &status, 0) == attempt_pid);
        attempt_pid = 0;
        a.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    a.said = contents(attempt_log);
    return a;
}

static void end_attempt(void)
{
    if (attempt_pid > 0) {
        (void)kill(attempt_pid, SIGKILL);
        (void)waitpid(attempt_pid, NULL, 0);
        attempt_pid = 0;
    }
}

/* Whether this number stands in the text by itself. */
static bool has_number(const char *text, size_t number)
{
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%zu", number);
    size_t size = strlen(digits);
    for (const char *at = text; (at = strstr(at, digits)) != NULL; at++)
        if ((at == text || at[-1] < '0' || at[-1] > '9') && (at[size] < '0' || at[size] > '9'))
            return true;
    return false;
}

static size_t lines_of(const char *text)
{
    size_t lines = 0;
    for (; *text != '\0'; text++)
        lines += *text == '\n';
    return lines;
}

/* What it says of a tail that it cuts; its log may come after `ready`. */
static bool says_cut(size_t bytes, size_t offset)
{
    char wanted[120];
    (void)snprintf(wanted, sizeof wanted, "event=journal_cut bytes=%zu offset=%zu\n", bytes, offset);
    for (uint64_t end = now_ms() + 2000; now_ms() < end; sleep_ms(1))
        if (strstr(contents(attempt_log), wanted) != NULL)
            return true;
    return false;
}

/* A journal as a run leaves it, and that run's accounts. */
static void make_journal(struct journal *j, size_t accounts)
{
    struct server *s = START(CROWD);
    begin_run(s, accounts, 12);
    while (!live_until(acknowledged + accounts * 2)) {
        kill_server(s);
        settle_lives(s);
        START_AGAIN(s, CROWD);
    }
    kill_server(s);
    settle_lives(s);
    journal_load(j, s->data);
    EXPECT(j->good == j->size && j->batches > 20);
}

/* How many batches are whole in the first `size` bytes, and where the last of
 * them ends. */
static size_t whole_batches(const struct journal *j, size_t size, size_t *end)
{
    size_t count = 0;
    *end = j->header_size;
    while (count < j->batches && j->batch[count].at + j->batch[count].size <= size) {
        *end = j->batch[count].at + j->batch[count].size;
        count++;
    }
    return count;
}

/* The line after this one. */
static const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return line + (*line == '\n');
}

/* Where the dump's lines of each batch end; [batches + 1], the first is where
 * those of the header do. All that this test reads in the file must stand in
 * them. */
static size_t *dump_parts(const struct journal *j, const char *dump)
{
    size_t *part = calloc(j->batches + 1, sizeof *part), record = 0;
    const char *at = next_line(dump);
    char head[80];
    EXPECT(part != NULL);
    part[0] = (size_t)(at - dump);
    for (size_t i = 0; i < j->batches; i++) {
        const struct batch *b = &j->batch[i];
        (void)snprintf(head, sizeof head, "batch %llu at %zu: %zu records\n", (unsigned long long)b->number, b->at,
                       b->records - record);
        if (strncmp(at, head, strlen(head)) != 0)
            fail("dump: expected `%.*s`, not `%.*s`", (int)strlen(head) - 1, head, (int)strcspn(at, "\n"), at);
        for (at = next_line(at); record < b->records; record++, at = next_line(at)) {
            const struct kept *r = &j->record[record];
            const char *name = r->pers[0] != '\0' ? r->pers : r->name;
            size_t size = strcspn(at, "\n");
            if (strncmp(at, "  ", 2) != 0 || strncmp(at + 2, r->kind, 4) != 0 ||
                memmem(at, size, name, strlen(name)) == NULL)
                fail("dump: expected %s of %s, not `%.*s`", r->kind, name, (int)size, at);
        }
        part[i + 1] = (size_t)(at - dump);
    }
    EXPECT(*at == '\0');
    return part;
}

/* A dump of the journal cut here: the same lines as far as it goes, and a word
 * on what is torn. */
static void check_cut_dump(const struct journal *j, const char *data, size_t cut, const char *whole, const size_t *part)
{
    char head[80], tail[120] = "";
    size_t end, count = whole_batches(j, cut, &end), body = part[count] - part[0];
    const struct finished *f = BINARY("dump", data);
    (void)snprintf(head, sizeof head, "journal format 1, %zu bytes\n", cut);
    if (cut > end)
        (void)snprintf(tail, sizeof tail, "torn at %zu: the last %zu bytes were not written out\n", end, cut - end);
    const char *at = f->out + strlen(head);
    if (f->status != 0 || f->err[0] != '\0' || strncmp(f->out, head, strlen(head)) != 0 ||
        strncmp(at, whole + part[0], body) != 0 || strcmp(at + body, tail) != 0) {
        fail("cut at %zu of %zu, %zu batches are whole: dump ends with status %d and says%s `%s`", cut, j->size, count,
             f->status, f->err, strlen(f->out) > 500 ? f->out + strlen(f->out) - 500 : f->out);
    }
}

/* A start with the journal cut here: all that was whole is there, in the file
 * and in memory, and it goes on from there. */
static void check_cut_start(const struct journal *j, const char *data, size_t cut, bool go_on)
{
    static struct journal after;
    size_t end, count = whole_batches(j, cut, &end);
    put_file(data, "journal", j->bytes, cut);
    struct attempt a = attempt(data);
    if (!a.ready)
        fail("cut at %zu of %zu: no start, status %d: %s", cut, j->size, a.status, a.said);
    if (cut > end ? !says_cut(cut - end, end) : strstr(a.said, "journal_cut") != NULL)
        fail("cut at %zu, good until %zu: it says `%s`", cut, end, contents(attempt_log));
    if (go_on) {
        struct server here = {.pid = attempt_pid, .port = {attempt_port, attempt_port, attempt_port}};
        const struct kept *last = NULL;
        for (size_t i = 0; i < j->records && j->record[i].batch < count; i++)
            last = strcmp(j->record[i].kind, "acct") == 0 ? &j->record[i] : last;
        EXPECT(last != NULL && log_in(&here, last->name) == 0);
        EXPECT(sign_up(&here, "Phoenix") == 0);
    }
    end_attempt();
    journal_load(&after, data);
    if (after.good < end || memcmp(after.bytes, j->bytes, end) != 0)
        fail("cut at %zu: of %zu good bytes %zu are left", cut, end, after.good);
    if (go_on) {
        struct attempt again = attempt(data);
        if (!again.ready || strstr(again.said, "journal_cut") != NULL)
            fail("cut at %zu, a start, a sign-up, a kill: then it says `%s`", cut, again.said);
        struct server here = {.pid = attempt_pid, .port = {attempt_port, attempt_port, attempt_port}};
        EXPECT(log_in(&here, "Phoenix") == 0);
        end_attempt();
    }
}

#define CUT_BYTES 4096

CASE(a_journal_cut_anywhere_keeps_every_whole_batch, 120)
{
    static struct journal j;
    char data[128], path[160];
    size_t end, edges = 0, starts = 0;
    make_journal(&j, 60);
    (void)snprintf(data, sizeof data, "%s/cut", folder);
    (void)snprintf(path, sizeof path, "%s/journal", data);
    EXPECT(mkdir(data, 0700) == 0 && j.size > CUT_BYTES + j.header_size);

    put_file(data, "journal", j.bytes, j.size);
    char *whole = strdup(BINARY("dump", data)->out);
    EXPECT(whole != NULL);
    size_t *part = dump_parts(&j, whole);
    uint64_t began = now_ms();
    for (size_t cut = j.size; cut-- > j.size - CUT_BYTES;) {
        EXPECT(truncate(path, (off_t)cut) == 0);
        check_cut_dump(&j, data, cut, whole, part);
    }
    EXPECT(journal_bytes(data) == j.size - CUT_BYTES); /* a dump changes nothing */
    uint64_t dumped = now_ms();
    for (size_t cut = j.size; cut-- > j.size - CUT_BYTES;) {
        size_t count = whole_batches(&j, cut, &end);
        bool edge =
            cut == end || cut == end + 1 || (count < j.batches && cut + 1 == j.batch[count].at + j.batch[count].size);
        if (edge || chance(8) == 0) {
            check_cut_start(&j, data, cut, edge && chance(3) == 0);
            starts++;
        }
        edges += edge;
    }
    note("cut at each of %d bytes: dump %.2f ms each; %zu starts, %zu of them at a batch's edge, %.2f ms each\n",
         CUT_BYTES, (double)(dumped - began) / CUT_BYTES, starts, edges, (double)(now_ms() - dumped) / (double)starts);
    EXPECT(edges >= 20 && starts >= 200);

    /* In the header: nothing was ever in there. */
    for (size_t cut = 0; cut <= j.header_size; cut++) {
        put_file(data, "journal", j.bytes, cut);
        struct attempt a = attempt(data);
        if (!a.ready && (a.status != 1 || lines_of(a.said) != 1))
            fail("cut at %zu, in the header: status %d, %s", cut, a.status, a.said);
        end_attempt();
    }
    free(whole);
    free(part);
}

struct flip {
    size_t byte;
    unsigned bit;
};

/* Every bit of the header and of the heads of a batch in the middle and of the
 * last batch, one of every byte of the last, and others anywhere. */
static size_t choose_flips(const struct journal *j, struct flip *flips, size_t room, size_t least)
{
    const struct batch *middle = &j->batch[j->batches / 2], *last = &j->batch[j->batches - 1];
    const struct {
        size_t at, size;
    } all[] = {{0, j->header_size}, {middle->at, 20}, {last->at, 20}};
    size_t count = 0;
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
        for (size_t i = 0; i < all[k].size && count + 8 <= room; i++)
            for (unsigned bit = 0; bit < 8; bit++)
                flips[count++] = (struct flip){all[k].at + i, bit};
    }
    for (size_t i = 20; i < last->size && count < room; i++)
        flips[count++] = (struct flip){last->at + i, chance(8)};
    EXPECT(count < least && least <= room);
    while (count < least)
        flips[count++] = (struct flip){chance((uint32_t)j->size), chance(8)};
    return count;
}

/* A start that must be refused, with this offset in the only line, and must
 * not change the file. */
static void expect_refused(const char *data, const uint8_t *bytes, size_t size, size_t offset, const char *what,
                           size_t number)
{
    static uint8_t *after;
    size_t after_size;
    char path[160];
    put_file(data, "journal", bytes, size);
    struct attempt a = attempt(data);
    if (a.ready || a.status != 1 || lines_of(a.said) != 1 || !has_number(a.said, offset)) {
        fail("%s %zu: %s, status %d, offset %zu expected in one line: %s", what, number,
             a.ready ? "it starts" : "refused", a.status, offset, a.said);
    }
    end_attempt();
    (void)snprintf(path, sizeof path, "%s/journal", data);
    read_whole(path, &after, &after_size);
    EXPECT(after_size == size && memcmp(after, bytes, size) == 0);
}

/* A dump shows so many batches and says where the damage is. */
static void expect_damaged_dump(const char *data, size_t offset, size_t batches)
{
    const struct finished *f = BINARY("dump", data);
    size_t shown = 0;
    for (const char *line = f->out; *line != '\0'; line = next_line(line))
        shown += strncmp(line, "batch ", 6) == 0;
    if (f->status != 1 || lines_of(f->err) != 1 || !has_number(f->err, offset) || shown != batches) {
        fail("dump of %zu good batches and damage at %zu: status %d, %zu batches, `%s`", batches, offset, f->status,
             shown, f->err);
    }
}

/* A start that must cut the tail at `end`, and say so. */
static void expect_cut(const char *data, const uint8_t *bytes, size_t size, size_t end, const char *what, size_t number)
{
    static uint8_t *after;
    size_t after_size;
    char path[160];
    put_file(data, "journal", bytes, size);
    struct attempt a = attempt(data);
    if (!a.ready || !says_cut(size - end, end))
        fail("%s %zu: status %d, a cut at %zu expected: %s", what, number, a.status, end, contents(attempt_log));
    end_attempt();
    (void)snprintf(path, sizeof path, "%s/journal", data);
    read_whole(path, &after, &after_size);
    EXPECT(after_size >= end && memcmp(after, bytes, end) == 0);
    EXPECT(after_size < size || memcmp(after, bytes, size) != 0);
}

/* A header of another format, with a good sum. */
static void check_formats(const struct journal *j, const char *data, uint8_t *bytes)
{
    char *format = (char *)bytes + 12;
    memcpy(bytes, j->bytes, j->size);
    EXPECT(memcmp(format, "FORMAT=1", 8) == 0);
    format[7] = '2';
    put_word(bytes + 4, frame_sum(bytes, j->header_size));
    put_file(data, "journal", bytes, j->size);
    struct attempt a = attempt(data);
    if (a.ready || a.status != 1 || lines_of(a.said) != 1 || !has_number(a.said, 2) ||
        strcasestr(a.said, "format") == NULL)
        fail("a newer format: status %d, %s", a.status, a.said);
    end_attempt();
    EXPECT(journal_bytes(data) == j->size);
}

/* Whole batches that are missing, doubled or in another order; things behind
 * the last. */
static void check_batches(const struct journal *j, const char *data, uint8_t *bytes)
{
    const struct batch *b = &j->batch[j->batches / 3], *next = b + 1, *last = &j->batch[j->batches - 1];
    memcpy(bytes, j->bytes, j->size); /* one is missing */
    memmove(bytes + b->at, bytes + next->at, j->size - next->at);
    expect_refused(data, bytes, j->size - b->size, b->at, "without batch", j->batches / 3);

    memcpy(bytes, j->bytes, j->size); /* the first ones are missing */
    memmove(bytes + j->header_size, bytes + b->at, j->size - b->at);
    expect_refused(data, bytes, j->size - (b->at - j->header_size), j->header_size, "without batches up to",
                   j->batches / 3);

    memcpy(bytes, j->bytes, j->size); /* two have changed places */
    memcpy(bytes + b->at, j->bytes + next->at, next->size);
    memcpy(bytes + b->at + next->size, j->bytes + b->at, b->size);
    expect_refused(data, bytes, j->size, b->at, "in another order, batch", j->batches / 3);

    memcpy(bytes, j->bytes, j->size); /* one stands there twice */
    memmove(bytes + next->at + b->size, bytes + next->at, j->size - next->at);
    memcpy(bytes + next->at, j->bytes + b->at, b->size);
    expect_refused(data, bytes, j->size + b->size, next->at, "twice, batch", j->batches / 3);

    memcpy(bytes, j->bytes, j->size); /* the last stands there twice: what is new in it is nothing */
    memcpy(bytes + j->size, j->bytes + last->at, last->size);
    expect_cut(data, bytes, j->size + last->size, j->size, "the last twice, batch", j->batches - 1);

    for (size_t tail = 1; tail < 3000; tail = tail * 3 + 1) { /* what a lost power leaves behind the end */
        memcpy(bytes, j->bytes, j->size);
        memset(bytes + j->size, 0, tail);
        expect_cut(data, bytes, j->size + tail, j->size, "zeros behind the end:", tail);
        for (size_t i = 0; i < tail; i++)
            bytes[j->size + i] = (uint8_t)chance(256);
        expect_cut(data, bytes, j->size + tail, j->size, "noise behind the end:", tail);
    }
}

CASE(a_flipped_bit_never_loses_anything_in_silence, 120)
{
    static struct journal j;
    static struct flip flips[4096];
    char data[128];
    size_t refused = 0, cut = 0;
    make_journal(&j, 50);
    (void)snprintf(data, sizeof data, "%s/flip", folder);
    uint8_t *bytes = malloc(j.size * 2 + 65536);
    EXPECT(bytes != NULL && mkdir(data, 0700) == 0);
    size_t count = choose_flips(&j, flips, sizeof flips / sizeof flips[0], 2200);
    uint64_t began = now_ms();
    for (size_t i = 0; i < count; i++) {
        size_t at = 0, number = 0;
        memcpy(bytes, j.bytes, j.size);
        bytes[flips[i].byte] = (uint8_t)(bytes[flips[i].byte] ^ 1u << flips[i].bit);
        while (number < j.batches && j.batch[number].at <= flips[i].byte)
            at = j.batch[number++].at; /* where the spoiled batch begins; 0: the header */
        if (number == j.batches) {
            expect_cut(data, bytes, j.size, at, "a bit of byte", flips[i].byte);
            cut++;
        } else {
            expect_refused(data, bytes, j.size, at, "a bit of byte", flips[i].byte);
            if (refused++ % 25 == 0)
                expect_damaged_dump(data, at, number > 0 ? number - 1 : 0);
        }
    }
    note("%zu bits flipped in %zu bytes, %zu batches: %zu starts without the last batch, %zu refused, %.2f ms each\n",
         count, j.size, j.batches, cut, refused, (double)(now_ms() - began) / (double)count);
    EXPECT(count >= 2000 && cut > 100 && refused > 1000);
    check_batches(&j, data, bytes);
    check_formats(&j, data, bytes);

    put_file(data, "journal", j.bytes, j.size); /* and as it was, it is good */
    struct attempt a = attempt(data);
    EXPECT(a.ready && strstr(a.said, "journal") == NULL);
    end_attempt();
    free(bytes);
}

/* ---- Cases: write, sync, send ------------------------------------------- */

/* Fails unless the request of this kind was read, then something was written
 * to the journal and synced, and only then the answer was sent. */
static void expect_order(const char *trace, const char *data, const char *kind)
{
    char quoted[16], journal[160];
    bool asked = false, written = false, synced = false;
    (void)snprintf(quoted, sizeof quoted, "\"%s\\0", kind);
    (void)snprintf(journal, sizeof journal, "<%s/journal>", data);
    for (const char *line = trace, *end; *line != '\0'; line = end) {
        char text[2048];
        size_t size = strcspn(line, "\n");
        end = line + size + (line[size] == '\n');
        (void)snprintf(text, sizeof text, "%.*s", (int)(size < sizeof text ? size : sizeof text - 1), line);
        bool to_journal = strstr(text, journal) != NULL, on_socket = strstr(text, "<TCP:") != NULL;
        bool reads = strncmp(text, "read", 4) == 0 || strncmp(text, "recv", 4) == 0;
        bool writes = strncmp(text, "write", 5) == 0 || strncmp(text, "pwrite", 6) == 0;
        bool syncs = strncmp(text, "fsync", 5) == 0 || strncmp(text, "fdatasync", 9) == 0;
        bool sends = on_socket && (writes || strncmp(text, "send", 4) == 0);
        if (on_socket && reads && strstr(text, quoted) != NULL) {
            asked = true;
            written = synced = false;
        } else if (asked && to_journal && writes) {
            written = true;
            synced = false;
        } else if (asked && to_journal && syncs && strstr(text, " = 0") != NULL) {
            synced = written;
        } else if (asked && sends && strstr(text, quoted) != NULL) {
            if (!synced) {
                fail("%s is answered %s", kind,
                     written ? "before the journal is synced" : "without a write to the journal");
            }
            return;
        }
    }
    fail("the trace shows no %s", asked ? "answer" : "request");
}

CASE(an_answer_is_sent_after_the_write_and_the_sync, 20)
{
    struct server *s = START(CROWD);
    struct seat *seat = seat_new(s, LOCALHOST), *other = seat_new(s, LOCALHOST);
    struct console *a = seat->console;
    console_signup(other->console, "Bob", password_of("Bob"), "bob@example.org", "Bob");
    UNTIL(5000, settled(other->console));
    leave(other);
    struct trace t = TRACE(s, "-e", "trace=%desc,%network");
    console_signup(a, "Alice", password_of("Alice"), "alice@example.org", "Alice");
    UNTIL(10000, has_roster(a));
    console_add_friend(a, "Bob", false);
    UNTIL(5000, settled(a));
    console_write_letter(a, "Bob", "See you at Daytona");
    UNTIL(5000, settled(a));
    console_drop_friend(a, "Bob", false);
    UNTIL(5000, settled(a));
    console_request(a, CONSOLE_LOBBY, "edit", "MAIL=alice@example.net\n");
    UNTIL(5000, settled(a));
    console_report_abuse(a, "Bob");
    UNTIL(5000, settled(a));
    console_delete_persona(a, "Alice");
    UNTIL(5000, console_awaits(a, CONSOLE_LOBBY) == 0);
    static const char *const kinds[] = {"acct", "cper", "pers", "RADD", "SEND", "RDEL", "edit", "rept"};
    const char *trace = trace_end(t);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        EXPECT(code_of(a, kinds[i]) == 0);
        expect_order(trace, s->data, kinds[i]);
    }
}

/* ---- Races, boards, tickets --------------------------------------------- */

static void race(struct console *a, struct console *b)
{
    EXPECT(console_challenge_player(a, b->persona, NULL));
    UNTIL(3000, b->challenge == CONSOLE_RECEIVED);
    console_answer(b, "ACPT");
    UNTIL(3000, a->races == 1 && b->races == 1 && a->plays == 1 && b->plays == 1);
    EXPECT(strcmp(a->race_ticket, b->race_ticket) == 0 && a->race_ticket[0] != '\0');
}

static void report(struct console *c, int32_t winner, uint32_t code)
{
    struct console_result r = {.start = {1, 2},
                               .finish = {winner == 0 ? 1 : 2, winner == 0 ? 2 : 1},
                               .laps = {20, 20},
                               .led = {15, 5},
                               .race_time = 123456,
                               .track = 7,
                               .cars = 0,
                               .length = 20};
    uint32_t before = replies(c, "rank");
    console_report_race(c, &r);
    UNTIL(3000, replies(c, "rank") == before + 1);
    if (code_of(c, "rank") != code) {
        fail("%s's report is answered with code %lx, not %lx", c->name, (unsigned long)code_of(c, "rank"),
             (unsigned long)code);
    }
}

/* One has beaten the other, once. */
static void check_board(struct console *c, const char *winner, const char *loser)
{
    c->rows.count = 0;
    console_leaderboard(c, 0, "", 10);
    UNTIL(3000, c->rows.count >= 2);
    EXPECT(strcmp(c->rows.at[0].name, winner) == 0 && c->rows.at[0].rank == 1 && c->rows.at[0].points == 1516);
    EXPECT(strcmp(c->rows.at[1].name, loser) == 0 && c->rows.at[1].rank == 2 && c->rows.at[1].points == 1484);
    console_look(c, winner);
    UNTIL(3000, console_awaits(c, CONSOLE_LOBBY) == 0);
    static const int32_t won[7] = {1, 1, 0, 0, 1516, 15, 1}, lost[7] = {1, 0, 1, 0, 1484, 5, 2};
    EXPECT(memcmp(c->profile.stats, won, sizeof won) == 0 && c->profile.rank == 1);
    console_look(c, loser);
    UNTIL(3000, console_awaits(c, CONSOLE_LOBBY) == 0);
    EXPECT(memcmp(c->profile.stats, lost, sizeof lost) == 0 && c->profile.rank == 2);
}

/* The buddy service takes a ticket; the code of its answer. */
static int64_t show_ticket(const struct server *s, const char *name, const char *ticket)
{
    char request[256], payload[CONSOLE_FRAME_BYTES];
    int fd = raw_open(s, BUDDY, LOCALHOST);
    (void)snprintf(request, sizeof request, "PROD=NASCAR\nUSER=%s/cso/nascar-ps2-2004\nLKEY=%s\n", name, ticket);
    int64_t code = ask(fd, "AUTH", request, payload);
    (void)close(fd);
    return code;
}

/* ---- Cases: a disk that is full or fails -------------------------------- */

static struct trouble {
    const char *name;
    bool for_good; /* while it lasts, nothing can be kept */
    void (*begin)(struct server *s);
    void (*end)(struct server *s);
    const char *inject[9]; /* for strace */
} trouble;

static struct trace injecting;
static char journal_path[160], fresh_path[160], ballast_path[160];

/* Its standard error goes to the file through a pipe, which has no limit. */
static void pipe_log(struct server *s)
{
    int ends[2];
    EXPECT(pipe2(ends, O_CLOEXEC) == 0);
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        char text[4096];
        ssize_t n;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(ends[1]);
        while ((n = read(ends[0], text, sizeof text)) > 0 && write(fileno(s->log), text, (size_t)n) == n)
            continue;
        _exit(0);
    }
    (void)close(ends[0]);
    s->err = ends[1];
}

static void limit_file_size(struct server *s, rlim_t bytes)
{
    struct rlimit limit;
    EXPECT(prlimit(s->pid, RLIMIT_FSIZE, NULL, &limit) == 0);
    limit.rlim_cur = bytes;
    EXPECT(prlimit(s->pid, RLIMIT_FSIZE, &limit, NULL) == 0);
}

static void begin_tight(struct server *s)
{
    limit_file_size(s, journal_bytes(s->data) + 350); /* a record does not end there */
}

static void begin_half(struct server *s)
{
    limit_file_size(s, journal_bytes(s->data) / 2);
}

static void end_limit(struct server *s)
{
    limit_file_size(s, RLIM_INFINITY);
}

static void begin_ballast(struct server *s)
{
    static const uint8_t zeros[4096];
    int fd = open(ballast_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    (void)s;
    EXPECT(fd >= 0);
    while (write(fd, zeros, sizeof zeros) > 0)
        continue;
    EXPECT(errno == ENOSPC);
    (void)close(fd);
}

static void end_ballast(struct server *s)
{
    (void)s;
    EXPECT(unlink(ballast_path) == 0);
}

static void begin_inject(struct server *s)
{
    injecting = trace_begin(s, trouble.inject);
}

static void end_inject(struct server *s)
{
    const char *text = trace_end(injecting);
    (void)s;
    if (strstr(text, "(INJECTED)") == NULL)
        fail("%s: nothing was injected", trouble.name);
}

#define TRIES 300

/* The names that were tried while the disk failed. */
static struct {
    char name[13];
    int64_t code;
} tried[TRIES];
static size_t tried_count;

static int64_t try_name(const struct server *s)
{
    static struct journal j;
    EXPECT(tried_count < TRIES);
    (void)snprintf(tried[tried_count].name, sizeof tried[0].name, "Try%zu", tried_count);
    int64_t code = sign_up(s, tried[tried_count].name);
    if (code < 0)
        fail("%s: the sign-up of %s is not answered", trouble.name, tried[tried_count].name);
    if (code == 0) {
        journal_load(&j, s->data);
        EXPECT(find_record(&j, "acct", tried[tried_count].name, NULL, NULL, NULL) != NULL);
    }
    tried[tried_count++].code = code;
    return code;
}

/* While it lasts: those online play on, and nobody is told that something is
 * kept which is not. Returns the first name that was refused. */
static size_t in_trouble(struct server *s, struct console *a, struct console *b, bool *friend_there)
{
    size_t in_a_row = 0, first = SIZE_MAX;
    char line[32];
    for (size_t i = 0; in_a_row < (trouble.for_good ? 3u : 1u); i++) {
        if (try_name(s) != 0) {
            first = first == SIZE_MAX ? tried_count - 1 : first;
            in_a_row++;
        } else {
            in_a_row = 0;
        }
        (void)snprintf(line, sizeof line, "lap %zu", i);
        if (i < 3 || in_a_row > 0)
            talk(a, b, line);
    }
    console_add_friend(a, "Old2", false);
    UNTIL(5000, settled(a));
    *friend_there = code_of(a, "RADD") == 0;
    if (trouble.for_good && trouble.begin != begin_ballast && *friend_there)
        fail("%s: a roster change is acknowledged", trouble.name);
    UNTIL(2000, logged(s, "event=journal_failed"));
    uint64_t cpu = cpu_ms(s);
    for (uint64_t until = now_ms() + 1200; now_ms() < until;) { /* tries again by itself, meanwhile */
        talk(b, a, "still here");
        run_for(60);
    }
    cpu = cpu_ms(s) - cpu;
    if (trouble.for_good && cpu > (instrumented ? 1100 : 500))
        fail("%s: the server used %llu ms of 1200", trouble.name, (unsigned long long)cpu);
    if (trouble.for_good)
        EXPECT(try_name(s) != 0);
    EXPECT(alive(s) && settled(a) && settled(b));
    no_secret_is_kept();
    return first;
}

/* Everything acknowledged is there, and nothing that was refused. */
static void after_trouble(struct server *s, size_t retried, bool friend_there, size_t letters_due)
{
    for (size_t i = 0; i < 60; i++) {
        char name[13];
        (void)snprintf(name, sizeof name, "Old%zu", i);
        EXPECT(log_in(s, name) == 0);
    }
    for (size_t i = 0; i < tried_count; i++) {
        int64_t code = log_in(s, tried[i].name);
        if (code != (tried[i].code == 0 || i == retried ? 0 : IMST)) {
            fail("%s: %s, whose sign-up was answered %llx, logs in with %llx", trouble.name, tried[i].name,
                 (unsigned long long)tried[i].code, (unsigned long long)code);
        }
    }
    struct seat *seat = visitor(s, "Old0");
    EXPECT((console_friend(seat->console, "Old2") != NULL) == friend_there);
    EXPECT(console_friend(seat->console, "Old3") != NULL);
    leave(seat);
    (void)visit(seat, "Old2");
    UNTIL(3000, seat->console->letters.count >= letters_due);
    run_for(50);
    EXPECT(seat->console->letters.count == letters_due);
    EXPECT(letters_due == 0 || strcmp(seat->console->letters.at[0].body, "from before") == 0);
    leave(seat);
}

static void survive(struct server *s)
{
    struct stat before, after;
    bool friend_there;
    char race_ticket[64], ticket[64];
    seat_count = tried_count = 0;
    (void)snprintf(journal_path, sizeof journal_path, "%s/journal", s->data);
    (void)snprintf(fresh_path, sizeof fresh_path, "%s/journal.new", s->data);
    (void)snprintf(ballast_path, sizeof ballast_path, "%s/ballast", s->data);
    for (size_t i = 0; i < 60; i++) {
        char name[13];
        (void)snprintf(name, sizeof name, "Old%zu", i);
        EXPECT(sign_up(s, name) == 0);
    }
    struct seat *a = visitor(s, "Old0"), *b = visitor(s, "Old1"), *c = visitor(s, "Old2"), *d = visitor(s, "Old3");
    leave(c);
    leave(d);
    enter(a->console, "East");
    enter(b->console, "East");
    UNTIL(3000, is_in(a->console, "East", 2) && is_in(b->console, "East", 2));
    race(a->console, b->console);
    console_back_in_lobby(a->console);
    console_back_in_lobby(b->console);
    report(a->console, 0, 0);
    console_write_letter(a->console, "Old2", "from before");
    UNTIL(5000, settled(a->console) && settled(b->console) && code_of(a->console, "SEND") == 0);
    int old = open(journal_path, O_RDONLY | O_CLOEXEC); /* so that its number is not taken again */
    EXPECT(old >= 0 && fstat(old, &before) == 0);

    trouble.begin(s);
    size_t refused = in_trouble(s, a->console, b->console, &friend_there);
    uint64_t healed = now_ms();
    trouble.end(s);
    while (try_name(s) != 0) {
        EXPECT(now_ms() < healed + 20000);
        run_for(100);
    }
    note("%s: %zu sign-ups tried, refused with %llx; %llu ms after its end they work\n", trouble.name, tried_count,
         (unsigned long long)tried[refused].code, (unsigned long long)(now_ms() - healed));
    UNTIL(2000, logged(s, "event=journal_recovered"));
    talk(a->console, b->console, "and on");
    EXPECT(sign_up(s, tried[refused].name) == 0); /* it was not kept, so it is free */
    console_add_friend(a->console, "Old3", false);
    UNTIL(5000, settled(a->console) && code_of(a->console, "RADD") == 0);
    EXPECT(stat(journal_path, &after) == 0);
    if (after.st_ino == before.st_ino)
        fail("%s: it goes on in the file that could not be written or synced", trouble.name);
    (void)close(old);
    kill_server(s);
    memcpy(race_ticket, b->console->race_ticket, sizeof race_ticket);
    memcpy(ticket, b->console->ticket, sizeof ticket);
    for (int restarts = 0; restarts < 2; restarts++) {
        seat_count = 0;
        START_AGAIN(s, CROWD);
        EXPECT(show_ticket(s, "Old1", ticket) == (restarts == 0 ? 0 : NO_USER));
        after_trouble(s, refused, friend_there, restarts == 0 ? 1 : 0);
        struct seat *other = visitor(s, "Old1");
        memcpy(other->console->race_ticket, race_ticket, sizeof race_ticket);
        report(other->console, 0, restarts == 0 ? 0 : SESS);
        check_board(other->console, "Old0", "Old1");
        (void)stop(s, SIGTERM);
    }
}

static struct server *start_piped(void)
{
    struct server *s = new_server();
    pipe_log(s);
    START_AGAIN(s, CROWD);
    return s;
}

CASE_BESIDE(a_file_size_limit_is_survived, 60)
{
    trouble = (struct trouble){.name = "RLIMIT_FSIZE just above", .begin = begin_tight, .end = end_limit};
    survive(start_piped());
    trouble = (struct trouble){.name = "RLIMIT_FSIZE at half", .for_good = true, .begin = begin_half, .end = end_limit};
    survive(start_piped());
}

CASE_BESIDE(a_full_file_system_is_survived, 60)
{
    struct server *s = new_server();
    trouble = (struct trouble){.name = "a full tmpfs", .for_good = true, .begin = begin_ballast, .end = end_ballast};
    EXPECT(mkdir(s->data, 0700) == 0);
    if (geteuid() != 0) {
        note("no tmpfs, as this is not root: RLIMIT_FSIZE only\n");
        return;
    }
    /* In a name space of mounts of its own: it goes with this process. */
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", s->data, "tmpfs", 0, "size=256k,mode=0700") != 0) {
        note("no tmpfs: %s: RLIMIT_FSIZE only\n", strerror(errno));
        return;
    }
    START_AGAIN(s, CROWD);
    survive(s);
    (void)umount(s->data);
}

CASE_BESIDE(a_failing_sync_is_survived, 60)
{
    trouble =
        (struct trouble){.name = "fdatasync and fsync fail",
                         .for_good = true,
                         .begin = begin_inject,
                         .end = end_inject,
                         .inject = {"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", NULL}};
    survive(START(CROWD));
}

/* The call that batches are synced by. */
static bool syncs_by_fdatasync(const struct server *s)
{
    struct trace t = TRACE(s, "-e", "trace=fsync,fdatasync");
    EXPECT(sign_up(s, "First") == 0);
    return strstr(trace_end(t), "fdatasync(") != NULL;
}

/* Only that call fails: a fresh file may be made meanwhile. */
CASE_BESIDE(a_sync_that_fails_for_batches_only_is_survived, 60)
{
    struct server *s = START(CROWD);
    bool data_only = syncs_by_fdatasync(s);
    trouble = (struct trouble){.name = data_only ? "fdatasync fails" : "fsync fails",
                               .begin = begin_inject,
                               .end = end_inject,
                               .inject = {"-e", data_only ? "trace=fdatasync" : "trace=fsync", "-e",
                                          data_only ? "inject=fdatasync:error=EIO" : "inject=fsync:error=EIO"}};
    survive(s);
}

/* A batch that could not be synced is in the file, but must not be in the
 * next start's state. */
CASE(what_was_refused_is_not_there_after_a_kill, 30)
{
    static const char *const faults[] = {"inject=fsync,fdatasync:error=EIO",
                                         "inject=rename,renameat,renameat2:error=EIO"};
    struct server *s = START(CROWD);
    char name[13];
    for (size_t round = 0; round < 2; round++) {
        (void)snprintf(name, sizeof name, "Kept%zu", round);
        EXPECT(sign_up(s, name) == 0);
        struct trace t =
            TRACE(s, "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-e", faults[0], "-e", faults[1]);
        for (size_t i = 0; i < 3; i++) {
            (void)snprintf(name, sizeof name, "Lost%zu%zu", round, i);
            EXPECT(sign_up(s, name) > 0);
        }
        kill_server(s);
        EXPECT(strstr(trace_end(t), "(INJECTED)") != NULL);
        START_AGAIN(s, CROWD);
        for (size_t i = 0; i < 3; i++) {
            (void)snprintf(name, sizeof name, "Lost%zu%zu", round, i);
            EXPECT(log_in(s, name) == IMST);
        }
        for (size_t i = 0; i <= round; i++) {
            (void)snprintf(name, sizeof name, "Kept%zu", i);
            EXPECT(log_in(s, name) == 0);
        }
    }
}

CASE_BESIDE(a_failing_write_is_survived, 60)
{
    struct server *s = START(CROWD);
    char journal[160], fresh[160];
    (void)snprintf(journal, sizeof journal, "%s/journal", s->data);
    (void)snprintf(fresh, sizeof fresh, "%s/journal.new", s->data);
    trouble = (struct trouble){.name = "write fails with ENOSPC",
                               .for_good = true,
                               .begin = begin_inject,
                               .end = end_inject,
                               .inject = {"-P", journal, "-P", fresh, "-e", "trace=write,writev,pwrite64,pwritev", "-e",
                                          "inject=write,writev,pwrite64,pwritev:error=ENOSPC"}};
    survive(s);
}

CASE_BESIDE(a_failing_rename_is_survived, 60)
{
    struct server *s = START(CROWD);
    bool data_only = syncs_by_fdatasync(s);
    trouble =
        (struct trouble){.name = "one sync fails, then every rename",
                         .for_good = true,
                         .begin = begin_inject,
                         .end = end_inject,
                         .inject = {"-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-e",
                                    data_only ? "inject=fdatasync:error=EIO:when=1" : "inject=fsync:error=EIO:when=1",
                                    "-e", "inject=rename,renameat,renameat2:error=EIO"}};
    survive(s);
}

/* The fresh file has its name, but nobody knows for how long. */
CASE_BESIDE(a_failing_sync_of_the_folder_is_survived, 60)
{
    struct server *s = START(CROWD);
    if (!syncs_by_fdatasync(s)) {
        note("batches and folder are synced by the same call: not tried\n");
        return;
    }
    trouble = (struct trouble){.name = "one sync fails, then those of the folder",
                               .for_good = true,
                               .begin = begin_inject,
                               .end = end_inject,
                               .inject = {"-e", "trace=fsync,fdatasync", "-e", "inject=fdatasync:error=EIO:when=1",
                                          "-e", "inject=fsync:error=EIO"}};
    survive(s);
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
