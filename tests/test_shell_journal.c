/* What is kept: the journal's bytes, cut and flipped everywhere; the turn that
 * writes, syncs and only then acts; failing and dying disks; compaction.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "suite.h"
#include "machine.c"

/* ---- The checksum ------------------------------------------------------------- */

GROUP(bytes, NULL, NULL, 60);

/* RFC 3720 B.4, and the usual nine digits. */
TEST(bytes, the_checksum_is_crc32c)
{
    static const uint8_t pdu[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
    for (size_t i = 0; i < 32; i++) {
        ones[i] = 0xff;
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    ck_assert_uint_eq(crc32c(0, zeros, 32), 0x8a9136aa);
    ck_assert_uint_eq(crc32c(0, ones, 32), 0x62a8ab43);
    ck_assert_uint_eq(crc32c(0, up, 32), 0x46dd794e);
    ck_assert_uint_eq(crc32c(0, down, 32), 0x113fdb5c);
    ck_assert_uint_eq(crc32c(0, pdu, 48), 0xd9963a56);
    ck_assert_uint_eq(crc32c(0, (const uint8_t *)"123456789", 9), 0xe3069283);
    for (size_t cut = 0; cut <= 48; cut++)
        ck_assert_uint_eq(crc32c(crc32c(0, pdu, cut), pdu + cut, 48 - cut), 0xd9963a56);
}

/* ---- The bytes ------------------------------------------------------------------ */

/* A journal made by hand. */
struct made {
    uint8_t bytes[65536];
    size_t size, end[64]; /* where its batches end; [0] the header */
    uint32_t batches, records[64];
    struct batch batch;
};

static void made_begin(struct made *j, uint32_t format)
{
    memset(j, 0, sizeof *j);
    j->batch.bytes = malloc(BATCH_BYTES);
    ck_assert_ptr_nonnull(j->batch.bytes);
    j->size = j->end[0] = write_journal_head(j->bytes, format);
    batch_begin(&j->batch);
}

static void made_record(struct made *j, const char *kind, const char *text)
{
    struct outgoing f;
    frame_begin(&f, kind, "");
    put_chars(&f, text);
    frame_end(&f);
    ck_assert(batch_add(&j->batch, f.bytes, f.size));
}

static void made_account(struct made *j, const char *name)
{
    char text[256];
    (void)snprintf(text, sizeof text,
                   "CREATED=1700000000\nLAST=0\nBAN=0\nNAME=%s\nHASH=$2b$04$x\nMAIL=\nSPAM=NN\nPERSONAS=%s\n", name,
                   name);
    made_record(j, "acct", text);
}

static void made_batch(struct made *j)
{
    batch_seal(&j->batch, ++j->batches);
    EXPECT(j->size + j->batch.size <= sizeof j->bytes && j->batches < 64);
    memcpy(j->bytes + j->size, j->batch.bytes, j->batch.size);
    j->size += j->batch.size;
    j->records[j->batches] = j->batch.records;
    j->end[j->batches] = j->size;
    batch_begin(&j->batch);
}

static void made_free(struct made *j)
{
    free(j->batch.bytes);
    free(j);
}

/* Some batches of one to three records. */
static struct made *made_some(uint32_t batches)
{
    struct made *j = malloc(sizeof *j);
    char name[32];
    ck_assert_ptr_nonnull(j);
    made_begin(j, JOURNAL_FORMAT);
    for (uint32_t i = 0; i < batches; i++) {
        for (uint32_t k = 0; k <= i % 3; k++) {
            (void)snprintf(name, sizeof name, "driver%u%c", i, (char)('a' + k));
            made_account(j, name);
        }
        made_batch(j);
    }
    return j;
}

/* Reads it all; what is given must be what was made, from its front. Returns
 * how many batches that were. */
static uint32_t read_made(const struct made *j, const uint8_t *bytes, size_t size, struct journal_reader *r)
{
    struct span batch, record;
    uint32_t batches = 0;
    journal_open(r, bytes, size);
    while (journal_next(r, &batch)) {
        uint32_t n = 0;
        batches++;
        EXPECT(batches <= j->batches && r->at == j->end[batches]);
        EXPECT(memcmp(bytes + j->end[batches - 1], j->bytes + j->end[batches - 1], r->at - j->end[batches - 1]) == 0);
        while (take_record(&batch, &record))
            n++;
        EXPECT(n == j->records[batches]);
    }
    EXPECT(!journal_next(r, &batch)); /* the end is the end */
    return batches;
}

TEST(bytes, a_whole_journal_is_read_whole)
{
    struct made *j = made_some(7);
    struct journal_reader r;
    ck_assert_uint_eq(read_made(j, j->bytes, j->size, &r), 7);
    ck_assert_int_eq(r.end, JOURNAL_WHOLE);
    ck_assert_uint_eq(r.number, 7);
    ck_assert_uint_eq(r.at, j->size);
    ck_assert_uint_eq(r.format, JOURNAL_FORMAT);
    made_free(j);
}

/* Copied to the end of a block of its own, so that a sanitizer sees one byte too many. */
static uint8_t *copied(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    EXPECT(copy);
    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

TEST(bytes, cut_anywhere_it_keeps_every_whole_batch)
{
    struct made *j = made_some(6);
    struct journal_reader r;
    for (size_t cut = 0; cut < j->size; cut++) {
        uint8_t *bytes = copied(j->bytes, cut);
        uint32_t whole = 0, got = read_made(j, bytes, cut, &r);
        while (whole < 6 && j->end[whole + 1] <= cut)
            whole++;
        EXPECT(got == whole);
        if (cut < j->end[0])
            EXPECT(r.end == JOURNAL_HEADLESS);
        else
            EXPECT(r.end == (cut == j->end[whole] ? JOURNAL_WHOLE : JOURNAL_TORN));
        free(bytes);
    }
    made_free(j);
}

TEST(bytes, a_flipped_bit_costs_the_last_batch_or_is_found)
{
    struct made *j = made_some(6);
    struct journal_reader r;
    uint8_t *bytes = copied(j->bytes, j->size);
    for (size_t bit = 0; bit < 8 * j->size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        uint32_t got = read_made(j, bytes, j->size, &r), hit = 0;
        while (bit / 8 >= j->end[hit])
            hit++;
        EXPECT(r.end == (hit == 0 ? JOURNAL_HEADLESS : hit < 6 ? JOURNAL_DAMAGED : JOURNAL_TORN));
        EXPECT(got == (hit == 0 ? 0 : hit - 1));
        if (hit > 0)
            EXPECT(r.at == j->end[hit - 1]);
        if (r.end == JOURNAL_DAMAGED)
            EXPECT(r.later == j->end[hit]);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(bytes);
    made_free(j);
}

TEST(bytes, a_lost_or_repeated_part_is_found)
{
    struct made *j = made_some(6);
    struct journal_reader r;
    uint8_t *bytes = malloc(3 * j->size + 5000);
    ck_assert_ptr_nonnull(bytes);
    for (uint32_t lost = 1; lost <= 5; lost++) { /* a batch in the middle is not there */
        memcpy(bytes, j->bytes, j->end[lost - 1]);
        memcpy(bytes + j->end[lost - 1], j->bytes + j->end[lost], j->size - j->end[lost]);
        ck_assert_uint_eq(read_made(j, bytes, j->size - (j->end[lost] - j->end[lost - 1]), &r), lost - 1);
        ck_assert_int_eq(r.end, JOURNAL_DAMAGED);
        ck_assert_uint_eq(r.later, r.at);
    }
    for (uint32_t i = 1; i <= 6; i++) { /* garbage between two batches, and at the end */
        memcpy(bytes, j->bytes, j->end[i]);
        memset(bytes + j->end[i], 'b', 500);
        memcpy(bytes + j->end[i] + 500, j->bytes + j->end[i], j->size - j->end[i]);
        ck_assert_uint_eq(read_made(j, bytes, j->size + 500, &r), i);
        ck_assert_int_eq(r.end, i < 6 ? JOURNAL_DAMAGED : JOURNAL_TORN);
    }
    memcpy(bytes, j->bytes, j->size); /* older batches at the end are leftovers */
    memcpy(bytes + j->size, j->bytes + j->end[0], j->size - j->end[0]);
    ck_assert_uint_eq(read_made(j, bytes, 2 * j->size - j->end[0], &r), 6);
    ck_assert_int_eq(r.end, JOURNAL_TORN);
    memset(bytes + j->size, 0, 5000); /* as are zeros: a file that grew before it was written */
    ck_assert_uint_eq(read_made(j, bytes, j->size + 5000, &r), 6);
    ck_assert_int_eq(r.end, JOURNAL_TORN);
    free(bytes);
    made_free(j);
}

/* A right checksum does not make it a batch. */
TEST(bytes, what_holds_no_whole_frames_is_no_batch)
{
    struct made *j = made_some(2);
    struct journal_reader r;
    ck_assert(batch_add(&j->batch, (const uint8_t *)"acct\0\0\0\0\0\0\0\x0d", 12)); /* one byte is missing */
    made_batch(j);
    ck_assert_uint_eq(read_made(j, j->bytes, j->size, &r), 2);
    ck_assert_int_eq(r.end, JOURNAL_TORN);
    made_free(j);
}

static const struct {
    const char *head; /* kind and text */
    enum journal_end end;
} heads[] = {
    {"nsrjFORMAT=1\n", JOURNAL_WHOLE},        {"nsrjFORMAT=0\n", JOURNAL_WHOLE},
    {"nsrjFORMAT=2\n", JOURNAL_NEWER},        {"nsrjFORMAT=4000000000\nFEATURE=x\n", JOURNAL_NEWER},
    {"nsrjFORM=1\n", JOURNAL_HEADLESS},       {"nsrj", JOURNAL_HEADLESS},
    {"btchFORMAT=1\n", JOURNAL_HEADLESS},     {"NSR2FORMAT=1\n", JOURNAL_HEADLESS},
    {"nsrjBY=me\nFORMAT=1\n", JOURNAL_WHOLE},
};

TEST_LOOP(bytes, the_header_says_what_it_is, 0, COUNT(heads))
{
    struct outgoing f;
    struct journal_reader r;
    char kind[5] = "";
    memcpy(kind, heads[_i].head, 4);
    frame_begin(&f, kind, "");
    put_chars(&f, heads[_i].head + 4);
    frame_end(&f);
    store_be32(f.bytes + 4, frame_crc(f.bytes, f.size));
    journal_open(&r, f.bytes, f.size);
    ck_assert_int_eq(r.end, heads[_i].end);
}

/* ---- Machines and their disks -------------------------------------------------- */

GROUP(turns, NULL, NULL, 60);

static void disk_put(struct disk *d, const uint8_t *bytes, size_t size)
{
    memset(d, 0, sizeof *d);
    d->inode[0].bytes = copied(bytes, size);
    d->inode[0].size = d->inode[0].synced = size;
    d->inodes = d->journal = d->kept_journal = 1;
}

/* All that is kept, as text; to be freed. Not the last logins: those are lazy. */
static char *kept_text(const struct nascar *s)
{
    struct nascar_cursor cursor;
    struct nascar_record record;
    size_t size = 0, room = 1 << 20;
    char *text = malloc(room);
    memset(&cursor, 0, sizeof cursor);
    EXPECT(text);
    while (nascar_next_kept(s, &cursor, &record)) {
        if (record.size == 0)
            continue;
        if (size + record.size + 1 > room)
            text = realloc(text, room *= 2);
        EXPECT(text);
        memcpy(text + size, record.bytes, 4);
        memcpy(text + size + 4, record.bytes + HEADER_BYTES, record.size - HEADER_BYTES - 1);
        text[size + record.size - HEADER_BYTES + 3] = 0;
        char *last = strstr(text + size, "\nLAST=");
        if (last)
            memmove(last, strchr(last + 1, '\n'), strlen(strchr(last + 1, '\n')) + 1);
        size += strlen(text + size);
        text[size++] = '\n';
    }
    text[size] = 0;
    return text;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The same in whatever order: pools reuse places. */
static char *sorted_kept(const struct nascar *s)
{
    char *text = kept_text(s), *sorted, **part;
    size_t parts = 0, size = strlen(text);
    for (char *p = text; (p = strstr(p, "\n\n")) != NULL; p += 2)
        parts++;
    part = malloc((parts + 1) * sizeof *part);
    sorted = malloc(size + 1);
    EXPECT(part && sorted);
    char *at = text;
    for (size_t i = 0; i < parts; i++) {
        char *end = strstr(at, "\n\n");
        *end = 0;
        part[i] = at;
        at = end + 2;
    }
    qsort(part, parts, sizeof *part, by_text);
    sorted[0] = 0;
    char *out = sorted;
    for (size_t i = 0; i < parts; i++)
        out += snprintf(out, size + 1 - (size_t)(out - sorted), "%s\n\n", part[i]);
    free(part);
    free(text);
    return sorted;
}

static void expect_same_kept(const struct nascar *a, const struct nascar *b)
{
    char *one = sorted_kept(a), *two = sorted_kept(b);
    size_t i = 0;
    while (one[i] && one[i] == two[i])
        i++;
    if (one[i] != two[i])
        ck_abort_msg("kept:\n%.300s\nand after a restart:\n%.300s", one + (i > 80 ? i - 80 : 0),
                     two + (i > 80 ? i - 80 : 0));
    free(one);
    free(two);
}

#define USUAL \
    ARGUMENTS("--hash-cost", "4", "--idle-s", "1000", "--login-s", "1000", "--per-address", "1000", \
              "--logins-per-address", "1000", "--accounts-per-address", "1000")

static struct machine *restart(struct disk *d)
{
    struct machine *m = machine_on(d, USUAL);
    ck_assert_ptr_nonnull(m);
    return m;
}

/* All have the same, as a console puts it that got no key. */
static void put_password(struct outgoing *f)
{
    static const uint8_t no_key[16] = {0};
    struct console_pad pad = {.started = false};
    char password[CONSOLE_CIPHER_BYTES + 2] = "~";
    console_encode(&pad, no_key, sizeof no_key, "secret", password + 1);
    put_text(f, tag_PASS, password);
}

/* A sign-up by a link of its own. Returns it; its answer may take a while. */
static struct peer *sign_up(struct machine *m, const char *name)
{
    struct peer *p = peer_new(m);
    struct outgoing f;
    frame_begin(&f, "acct", "");
    put_raw(&f, tag_NAME, name);
    put_password(&f);
    put_raw(&f, tag_MAIL, "a@b.c");
    put_raw(&f, tag_BORN, "19700101");
    frame_end(&f);
    peer_send_bytes(p, f.bytes, f.size);
    return p;
}

/* 1: it has been told yes; 0: no answer yet; -1: it has been refused. */
static int answered(const struct peer *p, const char *kind)
{
    for (size_t at = 0; at + HEADER_BYTES <= p->out_bytes; at += load_be32(p->out + at + 8))
        if (memcmp(p->out + at, kind, 4) == 0)
            return load_be32(p->out + at + 4) == 0 ? 1 : -1;
    return 0;
}

TEST(turns, a_first_start_makes_a_journal)
{
    struct disk d = {0};
    struct machine *m = restart(&d);
    ck_assert_str_eq(d.trace, "asRF");
    ck_assert_uint_eq(d.kept_journal, d.journal);
    ck_assert(!in_log(m, "journal") && !in_log(m, "compacted"));
    machine_free(m);
    m = restart(&d);
    ck_assert_uint_eq(m->shell.journal.number, 1);
    machine_free(m);
    disk_free(&d);
}

TEST(turns, an_answer_leaves_when_its_record_is_on_the_disk)
{
    struct machine *m = MACHINE("--hash-cost", "4");
    unsigned syncs = m->disk->syncs;
    struct peer *p = sign_up(m, "Alice");
    while (m->disk->syncs == syncs) {
        EXPECT(answered(p, "acct") == 0);
        EXPECT(find_account(m->shell.state, "Alice") == NONE);
        turn(m, m->now_ms);
    }
    settle_machine(m);
    ck_assert_int_eq(answered(p, "acct"), 1);
    ck_assert_uint_eq(m->disk->syncs, syncs + 1);
    const char *end = m->disk->trace + strlen(m->disk->trace) - 3;
    ck_assert_str_eq(end, "ASw");
    machine_free(m);
}

TEST(turns, a_turn_has_one_append_and_one_sync)
{
    struct machine *m = machine_on(NULL, USUAL);
    struct peer *p[10];
    char name[32];
    for (int i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof name, "driver%d", i);
        p[i] = sign_up(m, name);
    }
    m->helper.lazy = true; /* four answers at once */
    settle_machine(m);
    m->helper.lazy = false;
    unsigned syncs = m->disk->syncs;
    settle_machine(m);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(answered(p[i], "acct"), 1);
    ck_assert_uint_eq(m->disk->syncs - syncs, 3); /* of four, four and two */
    machine_free(m);
}

/* Record `number` of its own, as the core hands them out. */
static void hand_out(struct machine *m, const char *kind, const char *text, bool lazy)
{
    struct outgoing f;
    frame_begin(&f, kind, "");
    put_chars(&f, text);
    frame_end(&f);
    struct nascar_record record = {.conn = NONE, .size = f.size, .lazy = lazy, .bytes = f.bytes};
    keep_record(&m->shell, &record);
}

#define NOTES 600 /* three batches hold them */

static void hand_out_notes(struct machine *m)
{
    char text[1100], number[16];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < NOTES; i++) {
        (void)snprintf(number, sizeof number, "N=%03d\nX=", i);
        memcpy(text, number, 8);
        hand_out(m, "note", text, i % 2 == 0);
    }
}

TEST(turns, a_lazy_record_waits_for_others_or_a_minute)
{
    struct machine *m = machine_on(NULL, USUAL);
    settle_machine(m);
    m->disk->trace[0] = 0;
    hand_out(m, "note", "N=1\n", true);
    run_machine(m, 30000);
    hand_out(m, "note", "N=1\n", true); /* a later one is not waited for any longer */
    run_machine(m, 29000);
    ck_assert_str_eq(m->disk->trace, "");
    ck_assert_int_eq(shell_timeout(&m->shell, UINT64_MAX), 1000);
    run_machine(m, 2000);
    ck_assert_str_eq(m->disk->trace, "A"); /* not worth a sync */
    run_machine(m, 200000);
    ck_assert_str_eq(m->disk->trace, "A");
    hand_out(m, "note", "N=2\n", true);
    hand_out(m, "acct", "NAME=Bob\nHASH=$2b$04$x\n", false);
    hand_out(m, "note", "N=3\n", true);
    settle_machine(m);
    ck_assert_str_eq(m->disk->trace, "ASAS"); /* what may be torn is the last of its file */
    ck_assert_uint_ne(find_account(m->shell.state, "Bob"), NONE);
    ck_assert_uint_eq(m->shell.waiters.size, 0);
    machine_free(m);
}

/* A record may hold the hash of a password. */
TEST(turns, what_is_kept_is_wiped_from_memory)
{
    struct machine *m = machine_on(NULL, USUAL);
    settle_machine(m);
    hand_out(m, "acct", "NAME=Bob\nHASH=$2b$04$x\n", false);
    size_t size = m->shell.records.size;
    settle_machine(m);
    ck_assert_uint_eq(m->shell.records.size, BATCH_HEAD_BYTES);
    for (size_t i = 0; i < size; i++)
        EXPECT(m->shell.records.bytes[i] == 0);
    machine_free(m);
}

TEST(turns, a_stop_keeps_the_lazy_ones_too)
{
    struct disk d = {0};
    struct machine *m = restart(&d);
    struct peer *p = sign_up(m, "Alice");
    settle_machine(m);
    hand_out(m, "acct", "NAME=Bob\nHASH=$2b$04$x\n", true);
    signal_machine(m, SIGTERM);
    shell_loop(&m->shell);
    ck_assert_int_eq(answered(p, "acct"), 1);
    ck_assert_uint_eq(d.inode[d.journal - 1].synced, d.inode[d.journal - 1].size);
    machine_free(m);
    m = restart(&d);
    ck_assert_uint_ne(find_account(m->shell.state, "Alice"), NONE);
    ck_assert_uint_ne(find_account(m->shell.state, "Bob"), NONE);
    machine_free(m);
    disk_free(&d);
}

/* Whoever stands behind more than a batch gets an answer, too. */
TEST(turns, a_stop_answers_all_who_wait)
{
    struct disk d = {0};
    struct machine *m = restart(&d);
    m->helper.lazy = true;
    struct peer *p = sign_up(m, "Alice");
    settle_machine(m);
    hand_out_notes(m);
    m->helper.lazy = false;
    signal_machine(m, SIGTERM);
    shell_loop(&m->shell);
    ck_assert_int_eq(answered(p, "acct"), 1);
    machine_free(m);
    disk_free(&d);
}

/* A clock that nobody has set does not put the server back behind what it keeps. */
TEST(turns, dates_go_on_from_what_is_kept)
{
    struct disk d = {0};
    struct machine *m = restart(&d);
    (void)sign_up(m, "Alice");
    settle_machine(m);
    int64_t then_s = m->shell.state->wall_s;
    machine_free(m);
    m = machine_make(&d);
    m->wall_offset_s = -then_s;
    ck_assert(machine_start(m, USUAL));
    settle_machine(m);
    ck_assert_int_lt(m->shell.wall_s, then_s);
    (void)sign_up(m, "Bob");
    settle_machine(m);
    ck_assert_int_gt(account_at(m->shell.state, find_account(m->shell.state, "Bob"))->created_s,
                     account_at(m->shell.state, find_account(m->shell.state, "Alice"))->created_s);
    machine_free(m);
    disk_free(&d);
}

TEST(turns, more_than_a_batch_takes_more_turns)
{
    struct disk d = {0};
    struct machine *m = restart(&d);
    hand_out_notes(m);
    d.trace[0] = 0;
    settle_machine(m);
    ck_assert_str_eq(d.trace, "ASASAS");
    ck_assert_uint_eq(m->shell.waiters.size, 0);
    struct journal_reader r; /* all of them, in their order */
    struct span batch, record;
    int n = 0;
    journal_open(&r, d.inode[d.journal - 1].bytes, d.inode[d.journal - 1].size);
    while (journal_next(&r, &batch))
        for (; take_record(&batch, &record); n++)
            EXPECT(atoi((const char *)record.bytes + HEADER_BYTES + 2) == n);
    ck_assert_int_eq(n, NOTES);
    ck_assert_int_eq(r.end, JOURNAL_WHOLE);
    machine_free(m);
    disk_free(&d);
}

TEST(turns, limits_are_raised_to_what_is_kept)
{
    struct made *j = malloc(sizeof *j);
    struct disk d;
    char text[64];
    ck_assert_ptr_nonnull(j);
    made_begin(j, JOURNAL_FORMAT);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(text, sizeof text, "driver%d", i);
        made_account(j, text);
    }
    made_batch(j);
    for (int i = 0; i < 900; i++) {
        (void)snprintf(text, sizeof text, "PERS=driver%d\nUSER=driver%d\nLIST=B\n", i % 100,
                       (i % 100 + 1 + i / 100) % 100);
        made_record(j, "rost", text);
    }
    made_batch(j);
    disk_put(&d, j->bytes, j->size);
    struct machine *m = machine_on(&d, ARGUMENTS("--max-accounts", "10"));
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(m->shell.state->accounts.live, 100);
    ck_assert_uint_eq(m->shell.state->edges.live, 900);
    ck_assert_uint_eq(m->shell.limits.accounts, 100);
    ck_assert_uint_eq(m->shell.limits.roster_edges, 900);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(count_log(m, "level=warn event=accounts_over_limit max_accounts=10 room_for=100"), 1);
    machine_free(m);
    disk_free(&d);
    made_free(j);
}

/* The tables follow from the options, and those that nobody has set are as they ever were. */
TEST(turns, tables_follow_from_clients_and_accounts)
{
    static const struct nascar_limits normal = NASCAR_LIMITS_DEFAULT;
    struct machine *m = machine_new((const char *const[]){NULL});
    ck_assert_mem_eq(&m->shell.limits, &normal, sizeof normal);
    machine_free(m);
    m = machine_new((const char *const[]){"--max-clients", "16", "--max-accounts", "100", NULL});
    ck_assert_uint_eq(m->shell.limits.messages, 400);
    ck_assert_uint_eq(m->shell.limits.directory_sessions, 64);
    ck_assert_uint_lt(nascar_arena_size(&m->shell.limits), 6u << 20);
    machine_free(m);
    m = machine_new((const char *const[]){"--max-clients", "1", "--max-accounts", "1", NULL});
    ck_assert_uint_eq(m->shell.limits.messages, 256);
    ck_assert_uint_eq(m->shell.limits.directory_sessions, 64);
    machine_free(m);
    m = machine_on(NULL, (const char *const[]){"--max-clients", "65536", "--max-accounts", "1048576", NULL});
    ck_assert((m != NULL) == (sizeof(void *) > 4)); /* 32 bits cannot address that much */
    if (!m)
        return;
    ck_assert_uint_eq(m->shell.limits.messages, 1u << 20);
    ck_assert_uint_eq(m->shell.limits.directory_sessions, 65536);
    machine_free(m);
}

/* Ten accounts have room for 256 messages: not when more are kept. */
TEST(turns, fewer_accounts_drop_no_message)
{
    enum { NAMES = 10, KEPT = 400 };
    struct made *j = malloc(sizeof *j);
    struct disk d;
    char text[128];
    ck_assert_ptr_nonnull(j);
    made_begin(j, JOURNAL_FORMAT);
    for (int i = 0; i < NAMES; i++) {
        (void)snprintf(text, sizeof text, "driver%d", i);
        made_account(j, text);
    }
    made_batch(j);
    for (int i = 0; i < KEPT; i++) {
        (void)snprintf(text, sizeof text,
                       "ID=%d\nTIME=1767225600\nWHEN=1767485000\nTYPE=C\nPERS=driver%d\nUSER=driver%d\nBODY=No %d\n",
                       i + 1, i % NAMES, (i + 1) % NAMES, i);
        made_record(j, "mesg", text);
    }
    made_batch(j);
    disk_put(&d, j->bytes, j->size);
    struct machine *m = machine_on(&d, ARGUMENTS("--max-accounts", "10"));
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(m->shell.state->messages.live, KEPT);
    struct machine *again = machine_on(&d, ARGUMENTS("--max-accounts", "10"));
    expect_same_kept(m->shell.state, again->shell.state);
    machine_free(again);
    machine_free(m);
    disk_free(&d);
    made_free(j);
}

/* One player may be in the game, so there is room for 16 races: not when more are open. */
TEST(turns, fewer_clients_drop_no_open_race)
{
    enum { PAIRS = 20, OPEN = 50 };
    struct made *j = malloc(sizeof *j);
    struct disk d;
    char text[160];
    ck_assert_ptr_nonnull(j);
    made_begin(j, JOURNAL_FORMAT);
    for (int i = 0; i < 2 * PAIRS; i++) {
        (void)snprintf(text, sizeof text, "driver%d", i);
        made_account(j, text);
    }
    for (int i = 0; i < OPEN; i++) {
        (void)snprintf(text, sizeof text, "AUTH=%032x\nWHEN=%lld\nFLAGS=0\nSEQN=0\nHOST=driver%d\nOPPO=driver%d\n",
                       (unsigned)i, 1767225600LL, 2 * (i % PAIRS), 2 * (i % PAIRS) + 1);
        made_record(j, "race", text);
    }
    made_batch(j);
    disk_put(&d, j->bytes, j->size);
    for (int start = 0; start < 3; start++) { /* the second time, and from a compacted journal, too */
        struct machine *m = machine_on(&d, ARGUMENTS("--max-clients", "1"));
        ck_assert_ptr_nonnull(m);
        ck_assert_uint_eq(m->shell.state->races.live, OPEN);
        ck_assert_uint_eq(m->shell.limits.races, OPEN);
        if (start == 1)
            compaction_begin(&m->shell);
        run_machine(m, 2000);
        machine_free(m);
    }
    struct machine *m = machine_on(&d, ARGUMENTS("--max-clients", "100"));
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(m->shell.state->races.live, OPEN);
    ck_assert_uint_eq(m->shell.limits.races, 0); /* the usual 16 for each client are more */
    machine_free(m);
    disk_free(&d);
    made_free(j);
}

/* What goes to standard error. */
static char said[1024];

static struct machine *start_saying(struct disk *d)
{
    FILE *file = tmpfile();
    (void)fflush(stderr);
    int kept = dup(STDERR_FILENO);
    ck_assert(file && kept >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    struct machine *m = machine_on(d, USUAL);
    (void)fflush(stderr);
    (void)dup2(kept, STDERR_FILENO);
    (void)close(kept);
    rewind(file);
    said[fread(said, 1, sizeof said - 1, file)] = 0;
    (void)fclose(file);
    return m;
}

TEST(turns, a_newer_format_and_damage_are_refused_by_name)
{
    struct made *j = made_some(5);
    struct disk d;
    char part[64];
    j->bytes[j->end[1] + 30] ^= 1;
    disk_put(&d, j->bytes, j->size);
    ck_assert_ptr_null(start_saying(&d));
    (void)snprintf(part, sizeof part, "/journal: damaged at byte %zu; ", j->end[1]);
    ck_assert_ptr_nonnull(strstr(said, part));
    (void)snprintf(part, sizeof part, "truncate -s %zu", j->end[1]);
    ck_assert_ptr_nonnull(strstr(said, part));
    ck_assert_ptr_eq(strchr(said, '\n'), said + strlen(said) - 1);
    ck_assert_uint_eq(d.inode[0].size, j->size); /* and not touched */
    disk_free(&d);
    made_free(j);

    j = malloc(sizeof *j);
    ck_assert_ptr_nonnull(j);
    made_begin(j, 7);
    disk_put(&d, j->bytes, j->size);
    ck_assert_ptr_null(start_saying(&d));
    ck_assert_ptr_nonnull(strstr(said, "its format is 7 and this version knows 1"));
    disk_free(&d);
    disk_put(&d, j->bytes, 5);
    ck_assert_ptr_null(start_saying(&d));
    ck_assert_ptr_nonnull(strstr(said, "damaged at byte 0"));
    disk_free(&d);
    made_free(j);
}

/* `dump` prints what it can, and its exit status says whether that was all. */
static int dump_status(const uint8_t *bytes, size_t size)
{
    char folder[] = "/tmp/nascar-dump-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/journal", folder);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
    FILE *out = tmpfile(), *err = tmpfile();
    (void)fflush(stdout);
    int kept = dup(STDOUT_FILENO), kept_err = dup(STDERR_FILENO);
    ck_assert(out && err && dup2(fileno(out), STDOUT_FILENO) >= 0 && dup2(fileno(err), STDERR_FILENO) >= 0);
    int status = dump(folder);
    (void)fflush(stdout);
    (void)dup2(kept, STDOUT_FILENO);
    (void)dup2(kept_err, STDERR_FILENO);
    (void)close(kept);
    (void)close(kept_err);
    rewind(out);
    said[fread(said, 1, sizeof said - 1, out)] = 0;
    (void)fclose(out);
    (void)fclose(err);
    (void)unlink(path);
    (void)rmdir(folder);
    return status;
}

TEST(turns, a_dump_of_what_is_damaged_ends_with_status_1)
{
    struct made *j = made_some(4);
    ck_assert_int_eq(dump_status(j->bytes, j->size), 0);
    ck_assert_ptr_nonnull(strstr(said, "batch 4 at "));
    ck_assert_int_eq(dump_status(j->bytes, j->size - 1), 0); /* a torn end is no damage */
    ck_assert_ptr_nonnull(strstr(said, "batch 3 at "));
    ck_assert_ptr_nonnull(strstr(said, "torn at "));
    j->bytes[j->end[1] + 30] ^= 1;
    ck_assert_int_eq(dump_status(j->bytes, j->size), 1);
    ck_assert_ptr_nonnull(strstr(said, "batch 1 at "));
    ck_assert_ptr_null(strstr(said, "batch 2 at "));
    made_free(j);
}

TEST(turns, an_older_format_is_written_anew)
{
    struct made *j = malloc(sizeof *j);
    struct disk d;
    struct journal_reader r;
    ck_assert_ptr_nonnull(j);
    made_begin(j, JOURNAL_FORMAT - 1);
    made_account(j, "Alice");
    made_batch(j);
    disk_put(&d, j->bytes, j->size);
    d.fail_from = 3; /* the old one cannot be written to, so not without the new one */
    d.fail_until = 4;
    d.error = EIO;
    ck_assert_ptr_null(start_saying(&d));
    struct machine *m = restart(&d);
    ck_assert_uint_ne(find_account(m->shell.state, "Alice"), NONE);
    journal_open(&r, d.inode[d.journal - 1].bytes, d.inode[d.journal - 1].size);
    ck_assert_uint_eq(r.format, JOURNAL_FORMAT);
    ck_assert_uint_eq(d.kept_journal, d.journal);
    machine_free(m);
    disk_free(&d);
    made_free(j);
}

TEST(turns, a_torn_tail_is_cut_with_a_word_and_the_journal_goes_on)
{
    struct made *j = made_some(4);
    struct disk d;
    disk_put(&d, j->bytes, j->size - 1);
    struct machine *m = restart(&d);
    char part[96];
    shell_log_flush(&m->shell);
    (void)snprintf(part, sizeof part, "level=warn event=journal_cut bytes=%zu offset=%zu\n", j->end[4] - j->end[3] - 1,
                   j->end[3]);
    ck_assert(in_log(m, part));
    struct peer *p = sign_up(m, "Alice");
    settle_machine(m);
    ck_assert_int_eq(answered(p, "acct"), 1);
    struct machine *again = restart(&d);
    expect_same_kept(m->shell.state, again->shell.state);
    shell_log_flush(&again->shell);
    ck_assert(!in_log(again, "cut"));
    machine_free(again);
    machine_free(m);
    disk_free(&d);
    made_free(j);
}

/* ---- Failing disks ---------------------------------------------------------------- */

GROUP(failing, NULL, NULL, 60);

/* Call number n fails, once or for a while: those online notice nothing, who
 * creates something is told the truth, and then all is well again. */
static void live_with_a_failing_disk(unsigned n, bool for_long)
{
    struct disk d = {0};
    struct peer *p[12];
    int acked[12];
    char name[32];
    struct machine *m = restart(&d);
    struct seat seat = seat_new(m, "Carol");
    settle_seats(m, &seat, 1);
    EXPECT(seat.console->stage == CONSOLE_INSIDE);
    d.fail_from = d.calls + n;
    d.fail_until = for_long ? UINT32_MAX : d.fail_from + 1;
    for (int i = 0; i < 6; i++) {
        (void)snprintf(name, sizeof name, "driver%d", i);
        p[i] = sign_up(m, name);
        settle_machine(m);
        if (i == 3) /* lazy ones fail and are forgotten, too */
            hand_out(m, "note", "N=1\n", true);
        console_chat(seat.console, name);
        settle_seats(m, &seat, 1);
        EXPECT(console_saw(seat.console, "Carol", name) == 1); /* online, it goes on */
        acked[i] = answered(p[i], "acct");
        EXPECT(acked[i] != 0); /* yes or no, but an answer */
    }
    bool failed = in_log(m, "event=journal_failed");
    if (for_long) {
        run_machine(m, 60000);
        shell_log_flush(&m->shell);
        EXPECT(count_log(m, "event=journal_failed") == failed);
        EXPECT(count_log(m, "event=compaction_failed") <= 1); /* a line for what changes, not for each try */
        EXPECT(!in_log(m, "journal_recovered"));
    }
    d.fail_until = 0; /* it heals */
    run_machine(m, for_long ? 90000 : 7000);
    for (int i = 6; i < 12; i++) {
        (void)snprintf(name, sizeof name, "driver%d", i);
        p[i] = sign_up(m, name);
        settle_machine(m);
        acked[i] = answered(p[i], "acct");
        EXPECT(acked[i] == 1);
    }
    shell_log_flush(&m->shell);
    failed = in_log(m, "event=journal_failed");
    EXPECT(count_log(m, "event=journal_recovered") == failed);
    EXPECT(d.kept_journal == d.journal && d.inode[d.journal - 1].synced == d.inode[d.journal - 1].size);
    struct machine *again = restart(&d);
    for (int i = 0; i < 12; i++) {
        (void)snprintf(name, sizeof name, "driver%d", i);
        EXPECT((find_account(m->shell.state, name) != NONE) == (acked[i] == 1));
    }
    expect_same_kept(m->shell.state, again->shell.state);
    machine_free(again);
    seat_free(&seat);
    machine_free(m);
    disk_free(&d);
}

TEST_LOOP(failing, one_call_fails, 0, 16)
{
    live_with_a_failing_disk((unsigned)_i + 1, false);
}

TEST_LOOP(failing, all_calls_fail_for_a_while, 0, 6)
{
    live_with_a_failing_disk((unsigned)_i + 1, true);
}

/* An operator who reads the log sees when each outage begins and ends. */
TEST(failing, each_outage_has_its_lines)
{
    struct disk d = {0};
    char name[32];
    struct machine *m = restart(&d);
    for (size_t outage = 1; outage <= 3; outage++) {
        d.fail_from = d.calls + 1;
        d.fail_until = UINT32_MAX;
        (void)snprintf(name, sizeof name, "driver%zu", outage);
        (void)sign_up(m, name);
        run_machine(m, 60000);
        d.fail_until = 0;
        run_machine(m, 90000);
        shell_log_flush(&m->shell);
        ck_assert_uint_eq(count_log(m, "event=journal_failed"), outage);
        ck_assert_uint_eq(count_log(m, "event=compaction_failed"), outage);
        ck_assert_uint_eq(count_log(m, "event=journal_recovered"), outage);
    }
    machine_free(m);
    disk_free(&d);
}

static bool journal_takes_nothing(struct machine *m, const char *call)
{
    errno = ENOSPC;
    return strcmp(call, "append") == 0 && m->disk->fresh == 0;
}

static bool nothing_is_appended(struct machine *m, const char *call)
{
    (void)m;
    errno = EDQUOT;
    return strcmp(call, "append") == 0;
}

#define ARCHIVE_LINES 6000 /* of abuse reports: the tables behind all others, so that they take many slices */

static void disk_with_an_archive(struct disk *d)
{
    struct made *j = malloc(sizeof *j);
    size_t room = 2u << 20, size;
    uint8_t *bytes = malloc(room);
    char text[256];
    ck_assert(j && bytes);
    made_begin(j, JOURNAL_FORMAT);
    memcpy(bytes, j->bytes, j->size);
    size = j->size;
    for (int i = 0; i < ARCHIVE_LINES; i++) {
        int report = i / 200 + 1;
        if (i % 200 == 0) {
            (void)snprintf(text, sizeof text, "ID=%d\nTIME=1700000000\nNAME=driver%d\nPERS=other\n", report, report);
            made_record(j, "rept", text);
        }
        (void)snprintf(text, sizeof text, "ID=%d\nINDEX=%d\nTIME=1700000000\nNAME=other\nPERS=\nROOM=East\nTEXT=x\n",
                       report, i % 200);
        made_record(j, "line", text);
        if (i % 200 == 199) {
            batch_seal(&j->batch, ++j->batches);
            EXPECT(size + j->batch.size < room);
            memcpy(bytes + size, j->batch.bytes, j->batch.size);
            size += j->batch.size;
            batch_begin(&j->batch);
        }
    }
    disk_put(d, bytes, size);
    free(bytes);
    made_free(j);
}

/* A full disk: what the write has left is taken back, and the same file goes on with the first write for which there
 * is room. No second journal is begun, which would take the room of others. */
TEST(failing, a_full_disk_costs_no_more_than_what_it_refuses)
{
    struct disk d = {0};
    char name[32];
    struct machine *m = restart(&d);
    uint32_t file = d.journal;
    memset(d.trace, 0, sizeof d.trace);
    for (size_t outage = 1; outage <= 2; outage++) {
        size_t size = d.inode[file - 1].size;
        d.fails = journal_takes_nothing;
        for (int i = 0; i < 40; i++) {
            (void)snprintf(name, sizeof name, "driver%d", i);
            struct peer *p = sign_up(m, name);
            run_machine(m, 500);
            ck_assert_int_eq(answered(p, "acct"), -1);
            ck_assert_uint_eq(d.inode[file - 1].size, size);
            p->hung_up = true;
            settle_machine(m);
            p->forgotten = true;
        }
        ck_assert(!strchr(d.trace, 'a') && !strchr(d.trace, 'R'));
        d.fails = NULL; /* and at once it works */
        (void)snprintf(name, sizeof name, "again%zu", outage);
        struct peer *p = sign_up(m, name);
        settle_machine(m);
        shell_log_flush(&m->shell);
        ck_assert_int_eq(answered(p, "acct"), 1);
        ck_assert_uint_eq(d.journal, file);
        ck_assert_uint_eq(count_log(m, "event=journal_failed"), outage);
        ck_assert_uint_eq(count_log(m, "event=journal_recovered"), outage);
    }
    struct machine *again = restart(&d);
    expect_same_kept(m->shell.state, again->shell.state);
    machine_free(again);
    machine_free(m);
    disk_free(&d);
}

static bool nothing_is_synced(struct machine *m, const char *call)
{
    (void)m;
    errno = EIO;
    return strcmp(call, "sync") == 0;
}

/* After a sync that has failed, the file is not used again, though there was a full disk before. */
TEST(failing, a_cut_that_is_not_on_the_disk_ends_the_file)
{
    struct disk d = {0};
    struct machine *m = restart(&d);
    uint32_t file = d.journal;
    d.fails = journal_takes_nothing;
    (void)sign_up(m, "Alice");
    settle_machine(m);
    ck_assert(m->shell.journal_full && m->shell.journal.fd >= 0);
    d.fails = nothing_is_synced;
    struct peer *p = sign_up(m, "Bob");
    settle_machine(m);
    ck_assert_int_eq(answered(p, "acct"), -1);
    ck_assert_int_eq(m->shell.journal.fd, -1);
    d.fails = NULL;
    run_machine(m, 90000);
    p = sign_up(m, "Carol");
    settle_machine(m);
    ck_assert_int_eq(answered(p, "acct"), 1);
    ck_assert_uint_ne(d.journal, file);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(count_log(m, "event=journal_failed"), 1);
    ck_assert_uint_eq(count_log(m, "event=journal_recovered"), 1);
    machine_free(m);
    disk_free(&d);
}

/* What was acknowledged from memory alone is written as soon as there is room, though nobody writes anything else;
 * or by a stop; and if there is too much of it, a fresh journal has it. */
TEST_LOOP(failing, what_is_owed_is_paid, 0, 3)
{
    struct disk d = {0};
    struct machine *m = restart(&d);
    struct peer *p = sign_up(m, "Alice");
    settle_machine(m);
    peer_send(p, "cper", "PERS=Alice\n");
    settle_machine(m);
    d.fails = journal_takes_nothing;
    for (int i = 0; i < (_i == 2 ? 6000 : 3); i++) {
        hand_out(m, "tick", "HASH=00112233445566778899aabbccddeeff\nWHEN=1767300000\nPERS=Alice\n", false);
        if (i % 500 == 0)
            settle_machine(m);
    }
    peer_send(p, "pers", "PERS=Alice\n");
    settle_machine(m);
    ck_assert_int_eq(answered(p, "pers"), 1);
    if (_i == 2)
        ck_assert_int_eq(m->shell.journal.fd, -1);
    else
        ck_assert_uint_gt(m->shell.owed.size, 0);
    run_machine(m, 20000);
    d.fails = NULL;
    if (_i == 1) {
        signal_machine(m, SIGTERM);
        shell_loop(&m->shell);
    } else {
        run_machine(m, _i == 2 ? 90000 : 6000);
        ck_assert_uint_eq(m->shell.owed.size, 0);
        ck_assert(in_log(m, "event=journal_recovered"));
    }
    struct machine *again = restart(&d);
    expect_same_kept(m->shell.state, again->shell.state);
    machine_free(again);
    machine_free(m);
    disk_free(&d);
}

/* A fresh journal is not begun if it does not fit beside the good one, and given up if that needs its room. */
TEST_LOOP(failing, a_fresh_journal_never_takes_the_good_ones_room, 0, 2)
{
    struct disk d;
    disk_with_an_archive(&d);
    struct machine *m = restart(&d);
    m->tick_us = 6000;
    uint32_t file = d.journal;
    m->shell.journal.size += 2 * COMPACT_BYTES; /* so one is wanted */
    uint64_t size = m->shell.journal.size;
    m->room = _i == 0 ? 1000 : UINT64_MAX;
    for (int i = 0; i < 400 && (_i == 0 || m->shell.compaction.file.fd < 0); i++)
        compaction_work(&m->shell);
    ck_assert_int_eq(m->shell.compaction.file.fd >= 0, _i == 1);
    m->room = 1000;
    for (int i = 0; i < 10000 && m->shell.compaction.file.fd >= 0; i++)
        compaction_work(&m->shell);
    ck_assert_int_eq(m->shell.compaction.file.fd, -1);
    ck_assert_uint_eq(d.fresh, 0);
    ck_assert_uint_eq(d.journal, file);
    ck_assert_uint_eq(m->shell.journal.size, size);
    shell_log_flush(&m->shell);
    ck_assert(in_log(m, "event=compaction_failed reason=\"No space left on device"));
    machine_free(m);
    disk_free(&d);
}

static bool both_do_not_fit(struct machine *m, const char *call)
{
    errno = ENOSPC;
    return strcmp(call, "append") == 0 && m->disk->fresh != 0;
}

TEST(failing, what_is_to_be_kept_takes_the_room_of_a_fresh_journal)
{
    struct disk d;
    disk_with_an_archive(&d);
    struct machine *m = restart(&d);
    m->tick_us = 6000;
    compaction_begin(&m->shell);
    ck_assert_uint_ne(d.fresh, 0);
    d.fails = both_do_not_fit;
    struct peer *p = peer_new(m);
    p->control = true;
    peer_send(p, "cban", "NAME=Pest\n");
    settle_machine(m);
    shell_log_flush(&m->shell);
    ck_assert(in_log(m, "event=compaction_failed reason=\"the journal needs its room\""));
    ck_assert_uint_eq(m->shell.state->sanctions.live, 1);
    machine_free(m);
    disk_free(&d);
}

/* A fresh journal that the old one's failure wants, and for which there is no room, is tried more and more rarely;
 * and not at all while the disk says that there is not as much as it has taken before. */
TEST_LOOP(failing, what_does_not_fit_is_tried_more_and_more_rarely, 0, 2)
{
    struct disk d = {0};
    struct machine *m = restart(&d);
    d.fails = nothing_is_synced;
    (void)sign_up(m, "Alice");
    settle_machine(m);
    ck_assert_int_eq(m->shell.journal.fd, -1);
    d.fails = nothing_is_appended;
    run_machine(m, 10000);
    m->room = _i == 0 ? UINT64_MAX : 0;
    memset(d.trace, 0, sizeof d.trace);
    run_machine(m, 3600000);
    size_t tries = 0;
    for (const char *p = d.trace; *p; p++)
        tries += *p == 'a';
    ck_assert_uint_le(tries, _i == 0 ? 3600 / 80 + 5 : 0);
    d.fails = NULL;
    m->room = UINT64_MAX;
    run_machine(m, 90000);
    shell_log_flush(&m->shell);
    ck_assert(in_log(m, "event=journal_recovered"));
    machine_free(m);
    disk_free(&d);
}

TEST_LOOP(failing, what_was_not_kept_is_cut_off, 0, 2)
{
    struct disk d = {0};
    struct machine *m = restart(&d);
    size_t end = d.inode[0].size;
    d.fail_from = d.calls + 1 + (unsigned)_i; /* the append, or the sync */
    d.fail_until = d.fail_from + 1;
    struct peer *p = sign_up(m, "Alice");
    settle_machine(m);
    ck_assert_int_eq(answered(p, "acct"), -1);
    ck_assert_uint_eq(d.inode[0].size, end);
    machine_free(m);
    disk_free(&d);
}

TEST(failing, what_a_start_goes_by_is_synced)
{
    struct made *j = made_some(4);
    struct disk d;
    disk_put(&d, j->bytes, j->size);
    d.inode[0].synced = 30; /* the server was killed, and its writes are in memory */
    d.kept_journal = 0;     /* ... and so is the name of its new journal */
    struct machine *m = restart(&d);
    ck_assert_uint_eq(d.inode[0].synced, j->size);
    ck_assert_uint_eq(d.kept_journal, d.journal);
    machine_free(m);
    disk_free(&d);
    made_free(j);
}

/* While a journal is being replaced after a failure, calls fail again. */
TEST_LOOP(failing, two_calls_fail, 0, 2)
{
    for (unsigned second = 1; second < 14; second++) {
        struct disk d = {0};
        struct machine *m = restart(&d);
        d.fail_from = d.calls + 1 + (unsigned)_i;
        d.fail_until = d.fail_from + 1;
        struct peer *p = sign_up(m, "Alice");
        settle_machine(m);
        d.fail_from = d.calls + second;
        d.fail_until = d.fail_from + 1;
        run_machine(m, 20000);
        struct peer *q = sign_up(m, "Bob"), *r = NULL;
        settle_machine(m);
        run_machine(m, 20000);
        d.fail_until = 0;
        run_machine(m, 20000);
        r = sign_up(m, "Dave");
        settle_machine(m);
        EXPECT(answered(r, "acct") == 1);
        struct machine *again = restart(&d);
        EXPECT((find_account(again->shell.state, "Alice") != NONE) == (answered(p, "acct") == 1));
        EXPECT((find_account(again->shell.state, "Bob") != NONE) == (answered(q, "acct") == 1));
        expect_same_kept(m->shell.state, again->shell.state);
        machine_free(again);
        machine_free(m);
        disk_free(&d);
    }
}

/* A start with a failing disk refuses, or goes on as if nothing was. */
TEST_LOOP(failing, a_start_with_a_failing_disk_refuses_or_is_whole, 0, 8)
{
    struct made *j = made_some(4);
    for (int kind = 0; kind < 3; kind++) {
        struct disk d;
        disk_put(&d, j->bytes, kind == 0 ? j->end[0] : kind == 1 ? j->size : j->size - 3);
        d.fail_from = (unsigned)_i + 1;
        d.fail_until = d.fail_from + 1;
        struct machine *m = start_saying(&d);
        if (m) {
            struct peer *p = sign_up(m, "Alice");
            settle_machine(m);
            run_machine(m, 6000);
            d.fail_until = 0;
            if (answered(p, "acct") != 1)
                EXPECT(in_log(m, "journal_failed"));
            p = sign_up(m, "Bob");
            settle_machine(m);
            EXPECT(answered(p, "acct") == 1);
            struct machine *again = restart(&d);
            expect_same_kept(m->shell.state, again->shell.state);
            machine_free(again);
            machine_free(m);
        } else {
            EXPECT(said[0]);
        }
        disk_free(&d);
    }
    made_free(j);
}

/* A full disk, where no call works or only writing does not: it starts on a journal
 * that is whole, torn, of an older format, or not there, plays, and recovers. */
TEST_LOOP(failing, a_full_disk_at_the_start_is_survived, 0, 8)
{
    static const int errors[] = {ENOSPC, EDQUOT, EFBIG};
    struct disk d = {0};
    struct made *j = made_some(4);
    bool older = _i / 2 == 2, none = _i / 2 == 3;
    if (older) {
        free(j->batch.bytes);
        made_begin(j, JOURNAL_FORMAT - 1);
        made_account(j, "driver0");
        made_batch(j);
    }
    if (!none)
        disk_put(&d, j->bytes, j->size - (_i / 2 == 1 ? 3 : 0));
    size_t sound = _i / 2 == 1 ? j->end[j->batches - 1] : j->size;
    d.fail_from = 1;
    d.fail_until = UINT32_MAX;
    d.error = errors[_i % 3];
    d.fails = _i % 2 ? nothing_is_appended : NULL;
    struct machine *m = machine_make(&d);
    m->sign_error = d.error;
    EXPECT(machine_start(m, USUAL));
    struct peer *p = sign_up(m, "Alice");
    settle_machine(m);
    shell_log_flush(&m->shell);
    EXPECT(answered(p, "acct") == -1);
    EXPECT(none || m->shell.state->accounts.live > 0);
    EXPECT(none || d.inode[d.journal - 1].size >= sound); /* what is kept stays as it is */
    EXPECT(count_log(m, "level=warn event=no_pid reason=") == 1 && count_log(m, "event=no_control reason=") == 1);
    EXPECT(count_log(m, "level=error event=journal_failed") == 1);
    run_machine(m, 20000);
    EXPECT(count_log(m, "event=no_") == 2 && !in_log(m, "_made"));
    unsigned polls = m->polls;
    run_machine(m, 60000);
    EXPECT(m->polls < polls + 200);

    d.fails = NULL;
    d.fail_until = 0;
    m->sign_error = 0;
    run_machine(m, 90000);
    p = sign_up(m, "Bob");
    settle_machine(m);
    shell_log_flush(&m->shell);
    EXPECT(answered(p, "acct") == 1);
    EXPECT(count_log(m, "event=journal_recovered") == 1);
    EXPECT(count_log(m, "event=pid_made") == 1 && count_log(m, "event=control_made") == 1);
    struct machine *again = restart(&d);
    expect_same_kept(m->shell.state, again->shell.state);
    machine_free(again);
    machine_free(m);
    disk_free(&d);
    made_free(j);
}

/* Files that have run out may be there again, too. */
TEST(failing, a_start_without_files_makes_up_for_them)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct disk d = {0};
        struct machine *m = machine_make(&d);
        m->sign_error = errors[i];
        EXPECT(machine_start(m, USUAL));
        run_machine(m, 20000);
        EXPECT(count_log(m, "event=no_pid reason=") == 1 && count_log(m, "event=no_control reason=") == 1);
        m->sign_error = 0;
        run_machine(m, 6000);
        EXPECT(count_log(m, "event=pid_made") == 1 && count_log(m, "event=control_made") == 1);
        machine_free(m);
        disk_free(&d);
    }
}

/* One that fails is none to rely on. */
TEST(failing, a_failing_disk_at_the_start_is_refused)
{
    struct disk d = {.fail_from = 1, .fail_until = UINT32_MAX, .error = EIO};
    EXPECT(!start_saying(&d) && strstr(said, "a journal could not be written there"));
    disk_free(&d);
}

/* ---- The power goes ------------------------------------------------------------------ */

/* What the disk may hold if the power goes now: the synced part of the file
 * that is named, and so much of the rest. */
static void crash_copy(struct disk *to, const struct disk *d, uint32_t name, size_t rest)
{
    const struct inode *inode = &d->inode[name - 1];
    disk_put(to, inode->bytes, inode->synced + rest);
}

static struct peer *watched[8];
static size_t watched_count, stride;

static void expect_acked(const struct machine *m)
{
    char name[32];
    for (size_t i = 0; i < watched_count; i++) {
        (void)snprintf(name, sizeof name, "driver%zu", i);
        if (answered(watched[i], "acct") == 1)
            EXPECT(find_account(m->shell.state, name) != NONE);
    }
}

/* At every byte that is not synced yet, under the old name and the new. */
static void lose_power(struct machine *m)
{
    struct disk copy;
    uint32_t names[2] = {m->disk->kept_journal, m->disk->journal};
    for (int k = 0; k < (names[0] == names[1] ? 1 : 2); k++) {
        const struct inode *inode = &m->disk->inode[names[k] - 1];
        for (size_t rest = 0; rest < inode->size - inode->synced + stride; rest += stride) {
            size_t most = inode->size - inode->synced;
            crash_copy(&copy, m->disk, names[k], rest < most ? rest : most);
            struct machine *again = machine_on(&copy, USUAL);
            EXPECT(again);
            expect_acked(again);
            machine_free(again);
            disk_free(&copy);
        }
    }
}

TEST_LOOP(failing, after_a_power_cut_at_any_call_all_acknowledged_is_there, 0, 27)
{
    struct disk d = {0};
    char name[32];
    struct machine *m = restart(&d);
    watched_count = 0;
    stride = _i == 0 ? 1 : 61;                                 /* at each byte, or at a few of each batch */
    d.fail_from = _i > 0 ? d.calls + 1 + (unsigned)_i % 3 : 0; /* and calls that fail before it */
    d.fail_until = d.fail_from + 1;
    d.also_fails = d.fail_from + (unsigned)_i / 3;
    d.at_call = lose_power;
    for (int i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof name, "driver%d", i);
        watched[watched_count] = sign_up(m, name);
        watched_count++;
        settle_machine(m);
        if (i > 0)
            run_machine(m, 6000);
    }
    lose_power(m);
    machine_free(m);
    disk_free(&d);
}

/* ---- What hands do to the file -------------------------------------------------------- */

/* Somebody removes, replaces, cuts or overwrites the journal while the server
 * runs, or the folder around it. */

GROUP(hands, NULL, NULL, 60);

static void journal_gone(struct disk *d)
{
    d->journal = 0;
}

/* As by `mv` of another one over it. */
static void journal_replaced(struct disk *d)
{
    struct made *j = made_some(3);
    uint32_t i = disk_inode(d);
    inode_append(&d->inode[i - 1], j->bytes, j->size);
    d->journal = i;
    made_free(j);
}

static void journal_cut(struct disk *d)
{
    d->inode[d->journal - 1].size -= 7;
}

static void journal_emptied(struct disk *d)
{
    d->inode[d->journal - 1].size = 0;
}

static void journal_longer(struct disk *d)
{
    inode_append(&d->inode[d->journal - 1], "nonsense", 8);
}

/* As by `cp` of another one over it. */
static void journal_overwritten(struct disk *d)
{
    struct made *j = made_some(3);
    d->inode[d->journal - 1].size = 0;
    inode_append(&d->inode[d->journal - 1], j->bytes, j->size);
    made_free(j);
}

static void journal_overwritten_in_its_size(struct disk *d)
{
    memset(d->inode[d->journal - 1].bytes, 'x', d->inode[d->journal - 1].size);
}

static void folder_gone(struct disk *d)
{
    d->journal = d->fresh = 0;
    d->removed = true;
}

/* A backup was put in its place. */
static void folder_replaced(struct disk *d)
{
    journal_replaced(d);
    d->removed = true;
}

static const struct {
    void (*act)(struct disk *);
    const char *reason;
    bool stays; /* a file that is not ours, which is kept aside */
} hands[] = {
    {journal_gone, "it was removed", false},
    {journal_replaced, "another file has taken its place", true},
    {journal_cut, "it was cut", true},
    {journal_emptied, "it was cut", true},
    {journal_longer, "something else was written to it", true},
    {journal_overwritten, "something else was written to it", true},
    {journal_overwritten_in_its_size, "it was overwritten", true},
    {folder_gone, "it was removed", false},
    {folder_replaced, "it was removed", true},
};

/* What stands under the name, if anything does. */
static uint8_t *copy_of_journal(const struct disk *d, size_t *size)
{
    *size = d->journal > 0 ? d->inode[d->journal - 1].size : 0;
    return copied(d->journal > 0 ? d->inode[d->journal - 1].bytes : NULL, *size);
}

static void expect_set_aside(const struct disk *d, int i, const uint8_t *bytes, size_t size)
{
    ck_assert_uint_eq(d->founds, hands[i].stays ? 1 : 0);
    if (!hands[i].stays)
        return;
    const struct inode *found = &d->inode[d->found[0] - 1];
    ck_assert_uint_eq(found->size, size); /* and nothing was written to it, or cut off */
    ck_assert(memcmp(found->bytes, bytes, size) == 0);
}

static struct machine *machine_with(struct disk *d, const char *name)
{
    struct machine *m = restart(d);
    struct peer *p = sign_up(m, name);
    settle_machine(m);
    EXPECT(answered(p, "acct") == 1);
    return m;
}

/* Nothing that was acknowledged is lost. */
static void expect_all_is_kept(struct machine *m, struct disk *d)
{
    struct machine *again = restart(d);
    ck_assert_uint_ne(find_account(again->shell.state, "Alice"), NONE);
    expect_same_kept(m->shell.state, again->shell.state);
    machine_free(again);
}

TEST_LOOP(hands, a_batch_finds_a_journal_that_is_no_longer_ours, 0, COUNT(hands))
{
    struct disk d = {0};
    size_t size;
    struct machine *m = machine_with(&d, "Alice");
    hands[_i].act(&d);
    uint8_t *bytes = copy_of_journal(&d, &size);
    struct peer *p = sign_up(m, "Bob");
    settle_machine(m);
    ck_assert_int_eq(answered(p, "acct"), -1); /* it is not kept, and not said to be */
    run_machine(m, 6000);
    shell_log_flush(&m->shell);
    char line[160];
    (void)snprintf(line, sizeof line, "reason=\"%s", hands[_i].reason);
    ck_assert_uint_eq(count_log(m, "level=error event=journal_failed offset="), 1);
    ck_assert(in_log(m, line));
    ck_assert_uint_eq(count_log(m, "event=journal_recovered"), 1);
    ck_assert_uint_eq(count_log(m, "level=warn event=journal_set_aside file=\"journal.found-1\""), hands[_i].stays);
    expect_set_aside(&d, _i, bytes, size);
    ck_assert_uint_eq(m->pids, 2); /* the folder's other files may be gone, too */
    ck_assert_uint_eq(m->controls, 2);
    p = sign_up(m, "Carol");
    settle_machine(m);
    ck_assert_int_eq(answered(p, "acct"), 1);
    ck_assert_uint_eq(d.kept_journal, d.journal);
    expect_all_is_kept(m, &d);
    free(bytes);
    machine_free(m);
    disk_free(&d);
}

/* Nobody changes anything any more, and it is told to stop; in the second half while a
 * fresh journal is being made, which is removed with the folder. */
TEST_LOOP(hands, a_stop_finds_it_too, 0, 2 * (int)COUNT(hands))
{
    struct disk d = {0};
    size_t size, hand = (size_t)_i % COUNT(hands);
    struct machine *m = machine_with(&d, "Alice");
    m->shell.stopping = (size_t)_i >= COUNT(hands); /* no turn comes in between */
    m->shell.stop_signal = SIGTERM;
    if (m->shell.stopping)
        compaction_begin(&m->shell);
    hands[hand].act(&d);
    uint8_t *bytes = copy_of_journal(&d, &size);
    if (!m->shell.stopping)
        signal_machine(m, SIGTERM);
    shell_loop(&m->shell);
    ck_assert(in_log(m, "event=journal_failed"));
    ck_assert(in_log(m, "event=journal_recovered"));
    expect_set_aside(&d, (int)hand, bytes, size);
    expect_all_is_kept(m, &d);
    free(bytes);
    machine_free(m);
    disk_free(&d);
}

/* ... or the power goes a while later. */
TEST_LOOP(hands, it_is_found_within_a_minute, 0, COUNT(hands))
{
    struct disk d = {0};
    struct machine *m = machine_with(&d, "Alice");
    run_machine(m, 100000);
    hands[_i].act(&d);
    run_machine(m, 61000);
    ck_assert(in_log(m, "event=journal_recovered"));
    expect_all_is_kept(m, &d);
    machine_free(m);
    disk_free(&d);
}

/* While a fresh journal is being written anyway. */
TEST_LOOP(hands, a_compaction_finds_it_too, 0, COUNT(hands))
{
    struct disk d = {0};
    size_t size;
    struct machine *m = machine_with(&d, "Alice");
    compaction_begin(&m->shell);
    hands[_i].act(&d);
    uint8_t *bytes = copy_of_journal(&d, &size);
    run_machine(m, 12000);
    shell_log_flush(&m->shell);
    ck_assert(in_log(m, "event=journal_failed"));
    ck_assert_uint_eq(count_log(m, "event=journal_recovered"), 1);
    expect_set_aside(&d, _i, bytes, size);
    expect_all_is_kept(m, &d);
    free(bytes);
    machine_free(m);
    disk_free(&d);
}

/* The fresh file is removed or replaced before it gets its name. */
TEST_LOOP(hands, a_fresh_journal_that_is_not_ours_is_not_taken, 0, 2)
{
    struct disk d = {0};
    struct machine *m = machine_with(&d, "Alice");
    compaction_begin(&m->shell);
    d.fresh = 0;
    if (_i == 1) {
        d.fresh = disk_inode(&d);
        inode_append(&d.inode[d.fresh - 1], "x", 1);
    }
    turn(m, m->now_ms);
    m->hurried = 0;
    ck_assert(in_log(m, _i == 0 ? "event=compaction_failed reason=\"it was removed\""
                                : "event=compaction_failed reason=\"another file has taken its place\""));
    ck_assert(!in_log(m, "event=journal_failed"));
    expect_all_is_kept(m, &d);
    machine_free(m);
    disk_free(&d);
}

/* The folder cannot be made, or another server has taken its place: that is
 * logged once and tried until it can be. */
TEST_LOOP(hands, a_folder_that_cannot_be_had_is_tried_again, 0, 2)
{
    struct disk d = {0};
    struct machine *m = machine_with(&d, "Alice");
    folder_gone(&d);
    d.foreign = _i == 0;
    d.fail_from = d.calls + 1;
    d.fail_until = _i == 0 ? 0 : UINT32_MAX;
    struct peer *p = sign_up(m, "Bob");
    run_machine(m, 60000);
    ck_assert_int_eq(answered(p, "acct"), -1);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(count_log(m, "event=compaction_failed"), 1);
    ck_assert(in_log(m, _i == 0 ? "reason=\"another server uses the folder\""
                                : "reason=\"No space left on device: make room on the disk\""));
    ck_assert(!in_log(m, "event=journal_recovered"));
    d.foreign = false;
    d.fail_until = 0;
    run_machine(m, _i == 0 ? 6000 : 90000);
    ck_assert(in_log(m, "event=journal_recovered"));
    p = sign_up(m, "Carol");
    settle_machine(m);
    ck_assert_int_eq(answered(p, "acct"), 1);
    expect_all_is_kept(m, &d);
    machine_free(m);
    disk_free(&d);
}

/* It happens again, and each strange file is kept. */
TEST(hands, every_strange_file_is_kept)
{
    struct disk d = {0};
    struct machine *m = machine_with(&d, "Alice");
    for (uint32_t i = 1; i <= 3; i++) {
        journal_overwritten(&d);
        run_machine(m, 61000);
        shell_log_flush(&m->shell);
        ck_assert_uint_eq(count_log(m, "event=journal_recovered"), i);
        ck_assert_uint_eq(d.founds, i);
        expect_all_is_kept(m, &d);
        m->disk->inode[d.journal - 1].opened = true; /* by the one that runs on */
    }
    machine_free(m);
    disk_free(&d);
}

/* ---- What was answered while nothing could be kept ------------------------------------ */

/* Nobody is kept out by a full disk: a ticket, a race and a letter that was read
 * are taken from memory alone. But when the log says that the journal has
 * recovered, they are in it, however far it was written when they came. */

GROUP(outage, NULL, NULL, 60);

/* A tag of the last frame of a kind that came; empty if there is none. */
static void last_tag(const struct peer *p, const char *kind, const char *tag, char *out, size_t room)
{
    out[0] = 0;
    for (size_t at = 0; at + HEADER_BYTES <= p->out_bytes; at += load_be32(p->out + at + 8))
        if (memcmp(p->out + at, kind, 4) == 0)
            (void)console_read_text(console_find((const char *)p->out + at + HEADER_BYTES, tag), out, room);
}

/* What a request is answered with, as answered() says it. */
static int ask(struct machine *m, struct peer *p, const char *kind, const char *payload)
{
    p->out_bytes = 0;
    peer_send(p, kind, payload);
    settle_machine(m);
    return answered(p, kind);
}

static void enter_again(struct machine *m, struct peer *p, const char *name, char ticket[40])
{
    char text[64];
    (void)snprintf(text, sizeof text, "PERS=%s\n", name);
    EXPECT(ask(m, p, "pers", text) == 1);
    last_tag(p, "pers", "LKEY", ticket, 40);
}

static struct peer *enter(struct machine *m, const char *name, char ticket[40])
{
    char text[64];
    (void)snprintf(text, sizeof text, "PERS=%s\n", name);
    struct peer *p = sign_up(m, name);
    settle_machine(m);
    EXPECT(answered(p, "acct") == 1);
    EXPECT(ask(m, p, "cper", text) == 1);
    enter_again(m, p, name, ticket);
    return p;
}

static struct peer *log_in_again(struct machine *m, const char *name)
{
    struct peer *p = peer_new(m);
    char text[128];
    struct outgoing f;
    frame_begin(&f, "auth", "");
    put_raw(&f, tag_NAME, name);
    put_password(&f);
    frame_end(&f);
    peer_send_bytes(p, f.bytes, f.size);
    (void)snprintf(text, sizeof text, "PERS=%s\n", name);
    EXPECT(ask(m, p, "pers", text) == 1);
    return p;
}

/* On the buddy service; *good says whether the ticket is. */
static struct peer *call_buddies(struct machine *m, const char *name, const char *ticket, bool *good)
{
    struct peer *p = peer_new(m);
    char text[160];
    (void)snprintf(text, sizeof text, "PROD=NASCAR\nUSER=%s/cso/nascar-ps2-2004\nLKEY=%s\n", name, ticket);
    int answer = ask(m, p, "AUTH", text);
    EXPECT(answer != 0);
    *good = answer == 1;
    return p;
}

struct outage {
    struct disk disk, copy;
    struct machine *m;
    struct peer *alice, *bob;
    char old[7][40], ticket[40]; /* Alice's; the last one is good */
    char race[40];
};

#define OUTAGE_CALLS 12 /* one, and those from the last answer to the folder's sync */

/* The fresh journal is written as far as to the records of this kind. */
static void write_fresh_up_to(struct machine *m, enum record_kind kind)
{
    if (m->shell.journal_full) /* there may be none: the same file goes on */
        return;
    for (int i = 0; m->shell.compaction.file.fd < 0 || m->shell.compaction.cursor.table < kind; i++) {
        EXPECT(i < 1000 && !in_log(m, "journal_recovered"));
        turn(m, m->now_ms + 100);
        m->hurried = 0;
    }
}

/* An append fails. While a fresh journal is written in slices, and nearly all is
 * in it, all that nobody is refused happens; then call number `n` fails, if it
 * is not 0. Ends when the log says that the journal has recovered. */
static void live_through(struct outage *o, unsigned n)
{
    char bobs[40], carols[40];
    bool good, full = n >= OUTAGE_CALLS; /* else the file is given up with the first failure */
    n %= OUTAGE_CALLS;
    disk_with_an_archive(&o->disk);
    o->disk.error = full ? ENOSPC : EIO;
    struct machine *m = o->m = restart(&o->disk);
    o->alice = enter(m, "Alice", o->old[0]);
    o->bob = enter(m, "Bob", bobs);
    (void)enter(m, "Carol", carols);
    struct peer *bob = call_buddies(m, "Bob", bobs, &good);
    EXPECT(good && ask(m, bob, "SEND", "TYPE=C\nUSER=Carol\nBODY=hello\nSECS=259200\n") == 1);
    struct peer *carol = call_buddies(m, "Carol", carols, &good);
    EXPECT(good && !answered(carol, "RECV"));
    (void)ask(m, o->bob, "mesg", "PRIV=Alice\nTEXT=w893m_a017l_g\nATTR=3\n");
    (void)ask(m, o->alice, "mesg", "PRIV=Bob\nTEXT=ACPT\nATTR=3\n");
    (void)ask(m, o->bob, "chal", "PERS=Alice\nHOST=1\n");

    m->tick_us = 6000; /* of slices as short as can be */
    o->disk.fail_from = o->disk.calls + 1;
    o->disk.fails = full ? nothing_is_appended : NULL;
    o->disk.fail_until = o->disk.fail_from + 1;
    struct peer *nobody = sign_up(m, "Nobody");
    settle_machine(m);
    EXPECT(answered(nobody, "acct") == -1 && in_log(m, "event=journal_failed"));
    write_fresh_up_to(m, RECORD_LINE);
    (void)ask(m, o->alice, "chal", "PERS=Bob\nHOST=0\n");
    last_tag(o->alice, "+ses", "AUTH", o->race, sizeof o->race);
    EXPECT(o->race[0]);
    EXPECT(ask(m, carol, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n") == 1);
    EXPECT(answered(carol, "RECV") == 1);
    o->disk.fail_from = n > 0 ? o->disk.calls + n : 0;
    o->disk.fail_until = o->disk.fail_from + 1;
    for (int i = 0; i < (full ? 100 : 1200); i++) /* more than a batch of the fresh journal takes */
        hand_out(m, "tick", "HASH=00112233445566778899aabbccddeeff\nWHEN=1767300000\nPERS=Alice\n", false);
    for (size_t i = 1; i < 6; i++)
        enter_again(m, o->alice, "Alice", o->old[i]);
    enter_again(m, o->alice, "Alice", o->ticket);
    EXPECT(m->shell.journal.fd < 0 || full);
    if (full) { /* there is room again, and then call n fails */
        o->disk.fails = NULL;
        o->disk.fail_from = n > 0 ? o->disk.calls + n : 0;
        o->disk.fail_until = o->disk.fail_from + 1;
    }
    memcpy(o->old[6], o->ticket, sizeof o->ticket);
    bool behind = n == 0;
    for (int i = 0; !in_log(m, "event=journal_recovered"); i++) {
        EXPECT(i < 5000);
        turn(m, m->now_ms + 100);
        m->hurried = 0;
        const struct compaction *x = &m->shell.compaction;
        if (behind && x->file.fd >= 0 && x->cursor.table >= RECORD_LINE) { /* of the last one that is made */
            enter_again(m, o->alice, "Alice", o->ticket);
            behind = false;
        }
        behind = behind || (o->disk.calls >= o->disk.fail_from && x->file.fd < 0);
    }
    EXPECT(n == 0 || full || o->disk.calls >= o->disk.fail_from); /* else there is no such call */
}

/* And the power goes. */
static struct machine *after_the_outage(struct outage *o)
{
    crash_copy(&o->copy, &o->disk, o->disk.kept_journal, 0);
    machine_free(o->m);
    return o->m = restart(&o->copy);
}

static void outage_free(struct outage *o)
{
    machine_free(o->m);
    disk_free(&o->disk);
    disk_free(&o->copy);
}

TEST_LOOP(outage, a_ticket_given_in_an_outage_is_kept_when_it_is_over, 0, 2 * OUTAGE_CALLS)
{
    struct outage o;
    bool good = false;
    memset(&o, 0, sizeof o);
    live_through(&o, (unsigned)_i);
    struct machine *m = after_the_outage(&o);
    (void)call_buddies(m, "Alice", o.ticket, &good);
    ck_assert(good);
    for (size_t i = 0; i < COUNT(o.old); i++) {
        if (strcmp(o.old[i], o.ticket) == 0)
            continue; /* there was no later one */
        (void)call_buddies(m, "Alice", o.old[i], &good);
        ck_assert_msg(!good, "a ticket that a later one has ended is good again");
    }
    outage_free(&o);
}

TEST_LOOP(outage, a_race_begun_in_an_outage_is_kept_when_it_is_over, 0, 2 * OUTAGE_CALLS)
{
    struct outage o;
    char result[256];
    memset(&o, 0, sizeof o);
    live_through(&o, (unsigned)_i);
    struct machine *m = after_the_outage(&o);
    (void)snprintf(result, sizeof result, "AUTH=%s\nFINISPOS0=1\nFINISPOS1=2\n", o.race);
    ck_assert_int_eq(ask(m, log_in_again(m, "Alice"), "rank", result), 1);
    ck_assert_int_eq(ask(m, log_in_again(m, "Bob"), "rank", result), 1);
    outage_free(&o);
}

TEST_LOOP(outage, a_letter_read_in_an_outage_does_not_come_again_after_it, 0, 2 * OUTAGE_CALLS)
{
    struct outage o;
    char ticket[40];
    bool good = false;
    memset(&o, 0, sizeof o);
    live_through(&o, (unsigned)_i);
    struct machine *m = after_the_outage(&o);
    struct peer *lobby = log_in_again(m, "Carol");
    last_tag(lobby, "pers", "LKEY", ticket, sizeof ticket);
    struct peer *carol = call_buddies(m, "Carol", ticket, &good);
    ck_assert(good);
    ck_assert_int_eq(ask(m, carol, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n"), 1);
    ck_assert_int_eq(answered(carol, "RECV"), 0);
    outage_free(&o);
}

/* ---- The clock is set before anybody comes ---------------------------------------------- */

/* A router begins with 1970 each time, and once NTP comes, before any console. */
TEST(outage, what_is_kept_outlives_a_clock_that_is_set_before_a_console_comes)
{
    struct disk d = {0};
    char ticket[40];
    bool good = false;
    struct machine *m = machine_make(&d);
    m->wall_offset_s = -1767225600;
    EXPECT(machine_start(m, USUAL));
    (void)enter(m, "Alice", ticket);
    settle_machine(m);
    machine_free(m);
    m = machine_make(&d);
    m->wall_offset_s = -1767225600;
    EXPECT(machine_start(m, USUAL));
    run_machine(m, 5000);
    m->wall_offset_s = 86400 * 365;
    (void)call_buddies(m, "Alice", ticket, &good);
    ck_assert(good);
    ck_assert(in_log(m, "event=clock_set"));
    machine_free(m);
    disk_free(&d);
}

/* One without a network is switched off in the evening, and stands right the next time: what
 * was made meanwhile is not old. Its journal is compacted each time, or never. */
TEST_LOOP(outage, what_is_kept_outlives_a_clock_that_is_set_while_the_server_is_stopped, 0, 4)
{
    struct disk d = {0};
    char ticket[40];
    bool good = false;
    for (int run = 0; run < 2; run++) {
        struct machine *m = machine_make(&d);
        m->wall_offset_s = _i % 2 == 1 && run == 0 ? 86400 * 365 : -1767225600;
        EXPECT(machine_start(m, USUAL));
        (void)(run == 0 ? enter(m, "Alice", ticket) : NULL);
        if (_i >= 2 && run == 1) {
            compaction_begin(&m->shell);
            run_machine(m, 1000);
        }
        settle_machine(m);
        machine_free(m);
    }
    struct machine *m = machine_make(&d);
    m->wall_offset_s = 86400 * 370;
    EXPECT(machine_start(m, USUAL));
    (void)call_buddies(m, "Alice", ticket, &good);
    ck_assert(good);
    ck_assert_uint_eq(count_log(m, "event=clock_set"), 1);
    machine_free(m);
    m = machine_make(&d); /* and now that it is set, a stop lasts as long as it says */
    m->wall_offset_s = 86400 * 371;
    EXPECT(machine_start(m, USUAL));
    (void)call_buddies(m, "Alice", ticket, &good);
    ck_assert(!good);
    machine_free(m);
    disk_free(&d);
}

/* ---- Compaction -------------------------------------------------------------------------- */

GROUP(compaction, NULL, NULL, 60);

#define MANY 1000

/* More than 1 MiB, not compacted: so it is, as soon as the machine runs. */
static void disk_with_many(struct disk *d)
{
    struct made *j = malloc(sizeof *j);
    size_t room = 4u << 20, size;
    uint8_t *bytes = malloc(room);
    char name[32], text[64], dead[1101];
    ck_assert(j && bytes);
    memset(dead, 'x', sizeof dead);
    dead[sizeof dead - 1] = 0;
    made_begin(j, JOURNAL_FORMAT);
    memcpy(bytes, j->bytes, j->size);
    size = j->size;
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "driver%d", i);
        made_account(j, name);
        if (i > 0 && i % 3 == 0) {
            (void)snprintf(text, sizeof text, "PERS=driver%d\nUSER=driver%d\nLIST=B\n", i, i - 1);
            made_record(j, "rost", text);
        }
        if (i % 50 == 49 || i == MANY - 1) {
            for (int k = 0; k < 50; k++) /* what is dead */
                made_record(j, "note", dead);
            batch_seal(&j->batch, ++j->batches);
            ck_assert(size + j->batch.size < room);
            memcpy(bytes + size, j->batch.bytes, j->batch.size);
            size += j->batch.size;
            batch_begin(&j->batch);
        }
    }
    ck_assert_uint_gt(size, COMPACT_BYTES);
    disk_put(d, bytes, size);
    free(bytes);
    made_free(j);
}

TEST(compaction, compaction_runs_in_slices_beside_what_happens)
{
    struct disk d;
    struct peer *p[60] = {NULL};
    char name[32];
    unsigned turns = 0, signed_up = 0;
    disk_with_many(&d);
    struct machine *m = machine_on(&d, ARGUMENTS("--max-accounts", "2000", "--hash-cost", "4", "--per-address", "1000",
                                                 "--accounts-per-address", "1000", "--logins-per-address", "1000"));
    ck_assert_ptr_nonnull(m);
    size_t was = d.inode[0].size;
    struct seat seat = seat_new(m, "Carol");
    m->tick_us = 2500;
    while (d.journal == 1) {
        EXPECT(++turns < 2000);
        if (turns % 5 == 0 && signed_up < 60) {
            (void)snprintf(name, sizeof name, "late%u", signed_up);
            p[signed_up++] = sign_up(m, name);
        }
        if (turns % 7 == 0)
            hand_out(m, "rost",
                     turns % 2 ? "PERS=driver7\nUSER=driver940\nLIST=B\n" : "PERS=driver7\nUSER=driver940\nLIST=\n",
                     turns % 3 == 0);
        if (turns == 20)
            hand_out(m, "dper", "PERS=driver944\n", false);
        const struct nascar_cursor *cursor = &m->shell.compaction.cursor;
        if (turns % 4 == 1 && cursor->table == 0 /* accounts */ && cursor->item > 50) { /* it has just been written */
            char text[64];
            (void)snprintf(text, sizeof text, "PERS=driver%u\n", cursor->item - 5);
            hand_out(m, "dper", text, false);
        }
        if (turns == 22)
            hand_out(m, "cper", "PERS=driver944\nNAME=driver3\n", false);
        seat_step(m, &seat);
        uint64_t before_ms = m->now_ms;
        turn(m, m->now_ms);
        m->hurried = 0;
        EXPECT(m->now_ms - before_ms <= 30); /* of a clock that goes on by itself */
    }
    ck_assert_uint_gt(turns, 15);
    ck_assert_uint_gt(signed_up, 3);
    settle_seats(m, &seat, 1);
    ck_assert_int_eq(seat.console->stage, CONSOLE_INSIDE);
    for (unsigned i = 0; i < signed_up; i++)
        ck_assert_int_eq(answered(p[i], "acct"), 1);
    const char *line = m->log ? strstr(m->log, "event=compacted bytes=") : NULL;
    unsigned long bytes = 0, old = 0, ms = 0, longest = 99;
    ck_assert_ptr_nonnull(line);
    ck_assert_int_eq(sscanf(line, "event=compacted bytes=%lu was=%lu ms=%lu longest_turn_ms=%lu", &bytes, &old, &ms,
                            &longest),
                     4);
    ck_assert_uint_lt(bytes, was);
    ck_assert_uint_ge(old, was);
    ck_assert_uint_le(longest, 10);
    ck_assert_uint_eq(d.kept_journal, d.journal);
    struct machine *again = restart(&d);
    expect_same_kept(m->shell.state, again->shell.state);
    ck_assert_uint_eq(again->shell.live_bytes, m->shell.live_bytes);
    ck_assert_uint_eq(compaction_due_ms(&again->shell), UINT64_MAX);
    machine_free(again);
    seat_free(&seat);
    machine_free(m);
    disk_free(&d);
}

/* The n-th write to the fresh file fails: the old one is sound, and nobody
 * notices; a minute later it is tried again. */
TEST_LOOP(compaction, a_failing_compaction_is_dropped_and_tried_again, 0, 12)
{
    struct disk d;
    disk_with_many(&d);
    struct machine *m = machine_on(&d, ARGUMENTS("--max-accounts", "2000", "--hash-cost", "4"));
    ck_assert_ptr_nonnull(m);
    m->tick_us = 2500;
    d.fail_from = d.calls + (unsigned)_i + 1;
    d.fail_until = d.fail_from + 1;
    struct peer *p = sign_up(m, "Alice");
    for (int i = 0; i < 100; i++)
        shell_turn(&m->shell, m->now_ms);
    turn(m, m->now_ms);
    struct machine *again = restart(&d);
    expect_same_kept(m->shell.state, again->shell.state);
    machine_free(again);
    m->tick_us = 0;
    run_machine(m, 62000);
    for (int i = 0; i < 100; i++)
        shell_turn(&m->shell, m->now_ms + 10);
    turn(m, m->now_ms);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(count_log(m, "event=compacted"), 1);
    ck_assert_int_ne(answered(p, "acct"), 0);
    again = restart(&d);
    EXPECT((find_account(again->shell.state, "Alice") != NONE) == (answered(p, "acct") == 1));
    expect_same_kept(m->shell.state, again->shell.state);
    machine_free(again);
    machine_free(m);
    disk_free(&d);
}

TEST(compaction, a_journal_of_the_living_is_left_alone)
{
    struct disk d;
    disk_with_many(&d);
    struct machine *m = machine_on(&d, ARGUMENTS("--max-accounts", "2000"));
    ck_assert_ptr_nonnull(m);
    for (int i = 0; i < 10; i++) {
        turn(m, m->now_ms);
        m->hurried = 0;
    }
    ck_assert_uint_ne(d.journal, 1);
    d.trace[0] = 0;
    uint64_t small = m->shell.journal.size, live = m->shell.live_bytes = COMPACT_BYTES; /* as if it were so much */
    char dead[1101];
    memset(dead, 'x', sizeof dead);
    dead[sizeof dead - 1] = 0;
    for (int i = 0; i < 5000 && !strchr(d.trace, 'R'); i++) {
        bool early = m->shell.journal.size < 2 * live - 60000; /* a turn adds less */
        hand_out(m, "note", dead, i % 20 != 0);
        if (i % 20 == 0)
            shell_turn(&m->shell, m->now_ms);
        EXPECT(!early || (m->shell.compaction.file.fd < 0 && !strchr(d.trace, 'R')));
    }
    ck_assert_ptr_nonnull(strchr(d.trace, 'R'));
    ck_assert_uint_lt(m->shell.journal.size, small + 60000);
    machine_free(m);
    disk_free(&d);
}

/* ---------------------------------------------------------------------------------------------- */
