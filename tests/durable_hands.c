/* Secrets, other programs, the journal and players; durable.h says what each is for.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem, pipe2, prlimit, unshare */

#include "durable.h"

#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

uint64_t dice;

uint32_t chance(uint32_t below)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (uint32_t)(dice >> 32) % below;
}
char journal_path[160], fresh_path[160];

/* ---- Secrets ------------------------------------------------------------ */

static struct secret {
    char text[128];
    size_t size, next; /* the next one in its bucket, plus 1 */
} * secrets;
size_t secret_count, secret_room, secret_bucket[65536], sent_scanned;
size_t scanned_files, scanned_bytes;

static size_t bucket_of(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return (word * 2654435761u) >> 16;
}

void add_secret(const char *text, size_t size)
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

const char *password(const char *text)
{
    add_secret(text, strlen(text));
    add_hex(text, "%02x");
    add_hex(text, "%02X");
    return text;
}

const char *password_of(const char *name)
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

const char *secret_in(const char *bytes, size_t size)
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

void no_secret_is_kept(void)
{
    add_sent_secrets();
    (void)nftw(folder, scan_file, 16, FTW_PHYS);
    for (size_t i = 0; i < server_count; i++) {
        const char *text = contents(servers[i].log);
        scan("standard error", text, strlen(text));
    }
}

/* ---- Running other programs --------------------------------------------- */

const struct finished *run_binary(const char *const *extra, const char *input)
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

/* ---- The journal, read without the server ------------------------------- */

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

void put_word(uint8_t *at, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(word >> (24 - 8 * i));
}

uint32_t frame_sum(const uint8_t *frame, size_t size)
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

void journal_parse(struct journal *j)
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

void read_whole(const char *path, uint8_t **bytes, size_t *size)
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

void journal_load(struct journal *j, const char *data)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/journal", data);
    read_whole(path, &j->bytes, &j->size);
    journal_parse(j);
}

size_t journal_bytes(const char *data)
{
    char path[160];
    struct stat status;
    (void)snprintf(path, sizeof path, "%s/journal", data);
    EXPECT(stat(path, &status) == 0);
    return (size_t)status.st_size;
}

void put_file(const char *data, const char *name, const uint8_t *bytes, size_t size)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", data, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    EXPECT(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    (void)close(fd);
}

const struct kept *find_record(const struct journal *j, const char *kind, const char *name, const char *pers,
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
FILE *attempt_log;
pid_t attempt_pid;
uint16_t attempt_port;

struct attempt attempt(const char *data)
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

void end_attempt(void)
{
    if (attempt_pid > 0) {
        (void)kill(attempt_pid, SIGKILL);
        (void)waitpid(attempt_pid, NULL, 0);
        attempt_pid = 0;
    }
}

bool has_number(const char *text, size_t number)
{
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%zu", number);
    size_t size = strlen(digits);
    for (const char *at = text; (at = strstr(at, digits)) != NULL; at++)
        if ((at == text || at[-1] < '0' || at[-1] > '9') && (at[size] < '0' || at[size] > '9'))
            return true;
    return false;
}

size_t lines_of(const char *text)
{
    size_t lines = 0;
    for (; *text != '\0'; text++)
        lines += *text == '\n';
    return lines;
}

const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return line + (*line == '\n');
}

/* ---- Players ------------------------------------------------------------ */

void clear_seat(struct seat *seat)
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

void kill_server(struct server *s)
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

uint32_t replies(const struct console *c, const char *kind)
{
    const struct console_reply *r = console_reply(c, kind);
    return r == NULL ? 0 : r->count;
}

uint32_t code_of(const struct console *c, const char *kind)
{
    const struct console_reply *r = console_reply(c, kind);
    return r == NULL ? UINT32_MAX : r->code;
}

bool has_roster(const struct console *c)
{
    return settled(c) && c->roster_left[1] == 0 && c->roster_left[2] == 0;
}

struct console *visit(struct seat *seat, const char *name)
{
    console_login(seat->console, name, password_of(name), name);
    UNTIL(5000, has_roster(seat->console));
    return seat->console;
}

struct seat *visitor(const struct server *s, const char *name)
{
    struct seat *seat = seat_new(s, LOCALHOST);
    (void)visit(seat, name);
    return seat;
}

void leave(struct seat *seat)
{
    console_leave(seat->console);
    UNTIL(3000, seat->fd[CONSOLE_LOBBY] < 0 && seat->fd[CONSOLE_BUDDY] < 0);
}

int64_t ask(int fd, const char *kind, const char *request, char payload[CONSOLE_FRAME_BYTES])
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

int64_t present(const struct server *s, const char *kind, const char *name, const char *text, int *link)
{
    char payload[CONSOLE_FRAME_BYTES], cipher[CONSOLE_CIPHER_BYTES + 2] = "~";
    struct console_tags tags = {.size = 0};
    struct console_pad pad = {.started = false};
    uint8_t key[16];
    static uint32_t turn; /* an address has few tries with a wrong password */
    int fd = raw_open(s, LOBBY, 0x7F000301u + turn++ % 250);
    EXPECT(ask(fd, "addr", "ADDR=192.0.2.100\nPORT=50000\n", payload) == 0);
    EXPECT(ask(fd, "skey", "SKEY=$5075626c6963204b6579\n", payload) == 0);
    EXPECT(console_read_binary(console_find(payload, "SKEY"), key, sizeof key) == sizeof key);
    console_encode(&pad, key, sizeof key, text, cipher + 1);
    console_put_text(&tags, "NAME", name);
    console_put_text(&tags, "PASS", cipher);
    console_put_raw(&tags, "TOS", "1");
    int64_t code = ask(fd, kind, tags.text, payload);
    if (link != NULL)
        *link = fd;
    else
        (void)close(fd);
    return code;
}

int64_t sign_up(const struct server *s, const char *name)
{
    return present(s, "acct", name, password_of(name), NULL);
}

int64_t log_in(const struct server *s, const char *name)
{
    return present(s, "auth", name, password_of(name), NULL);
}

/* ---- Races, boards, tickets --------------------------------------------- */

void race(struct console *a, struct console *b)
{
    EXPECT(console_challenge_player(a, b->persona, NULL));
    UNTIL(3000, b->challenge == CONSOLE_RECEIVED);
    console_answer(b, "ACPT");
    UNTIL(3000, a->races == 1 && b->races == 1 && a->plays == 1 && b->plays == 1);
    EXPECT(strcmp(a->race_ticket, b->race_ticket) == 0 && a->race_ticket[0] != '\0');
}

void report(struct console *c, int32_t winner, uint32_t code)
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

void check_board(struct console *c, const char *winner, const char *loser)
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

int64_t show_ticket(const struct server *s, const char *name, const char *ticket)
{
    char request[256], payload[CONSOLE_FRAME_BYTES];
    int fd = raw_open(s, BUDDY, LOCALHOST);
    (void)snprintf(request, sizeof request, "PROD=NASCAR\nUSER=%s/cso/nascar-ps2-2004\nLKEY=%s\n", name, ticket);
    int64_t code = ask(fd, "AUTH", request, payload);
    (void)close(fd);
    return code;
}
