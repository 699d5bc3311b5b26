/* The durable test: a journal that is cut, spoiled or of another format (DESIGN 5).
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem, pipe2, prlimit, unshare */

#include "durable.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Cases: a journal that is cut or spoiled ---------------------------- */

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
