/* Any file as a journal, through the server's own reader and loader. It is
 * refused and stays as it is, or it loads; then what was not sound is cut off,
 * and the fresh journal that compaction writes loads to the same kept records.
 *
 * No mutation hits a checksum: a second run sees the same bytes with each
 * batch's put right, so that what stands in the batches is looked at, too.
 *
 * SPDX-License-Identifier: MIT */
#include "fuzz_step.h"

#define MOST_BYTES 65536u
#define MOST_KEPT 4096u

bool fuzz_wants_hash;
static uint64_t hash, runs, loads, kept_in_all;

uint64_t fuzz_hash(void)
{
    return hash;
}

void fuzz_statistics(void)
{
    double n = (double)(runs + !runs);
    (void)fprintf(stderr, "%llu runs, loads a run %.2f, kept records a run %.2f\n", (unsigned long long)runs,
                  (double)loads / n, (double)kept_in_all / n);
}

/* ---- A disk with two files ---------------------------------------------------- */

enum { JOURNAL = 10, FRESH = 11 };

struct file {
    uint8_t *bytes;
    size_t size, room;
};

static struct {
    struct file file[2];
    unsigned changes;
} disk;

static struct file *file_of(int fd)
{
    DEMAND(fd == JOURNAL || fd == FRESH);
    return &disk.file[fd - JOURNAL];
}

static int number_of(const char *name)
{
    return strcmp(name, "journal") == 0 ? JOURNAL : FRESH;
}

static bool disk_append(void *world, int fd, const void *bytes, size_t size)
{
    struct file *f = file_of(fd);
    (void)world;
    if (f->size + size > f->room) {
        f->room = 2 * (f->size + size);
        f->bytes = realloc(f->bytes, f->room);
        DEMAND(f->bytes != NULL);
    }
    if (size > 0)
        memcpy(f->bytes + f->size, bytes, size);
    f->size += size;
    disk.changes++;
    return true;
}

/* The compacted journal is written under another number than the one open. */
static int disk_open(void *world, int folder, const char *name, bool fresh)
{
    (void)world;
    (void)folder;
    DEMAND(fresh == (number_of(name) == FRESH));
    if (fresh)
        disk.file[1].size = 0;
    return number_of(name);
}

static uint8_t *disk_load(void *world, int fd, size_t *size)
{
    (void)world;
    *size = file_of(fd)->size;
    return exact_copy(file_of(fd)->bytes, *size);
}

static void disk_unload(void *world, uint8_t *bytes, size_t size)
{
    (void)world;
    (void)size;
    free(bytes);
}

static bool disk_truncate(void *world, int fd, uint64_t size)
{
    (void)world;
    DEMAND(size <= file_of(fd)->size);
    file_of(fd)->size = (size_t)size;
    disk.changes++;
    return true;
}

static bool disk_rename(void *world, int folder, const char *from, const char *to)
{
    struct file old = disk.file[0];
    (void)world;
    (void)folder;
    DEMAND(number_of(from) == FRESH && number_of(to) == JOURNAL);
    disk.file[0] = disk.file[1];
    disk.file[1] = old;
    return true;
}

static bool disk_sync(void *world, int fd)
{
    (void)world;
    (void)fd;
    return true;
}

static bool disk_sync_folder(void *world, int folder)
{
    (void)world;
    (void)folder;
    return true;
}

static void disk_remove(void *world, int folder, const char *name)
{
    (void)world;
    (void)folder;
    DEMAND(number_of(name) == FRESH);
    disk.file[1].size = 0;
}

/* Nobody else has his hands on it. */
static const char *disk_changed(void *world, const char *path, int fd, uint64_t size, const struct tail *tail)
{
    (void)world;
    (void)path;
    (void)file_of(fd);
    DEMAND(tail->size <= TAIL_BYTES && tail->at + tail->size <= size);
    return NULL;
}

static int disk_folder(void *world, const char *path, int folder, struct folder_lock *lock)
{
    (void)world;
    (void)path;
    (void)lock;
    return folder;
}

static void disk_close(void *world, int fd)
{
    (void)world;
    (void)file_of(fd);
}

static ssize_t heard_log(void *world, int fd, const char *text, size_t size)
{
    (void)world;
    (void)fd;
    hash_in(&hash, text, size);
    return (ssize_t)size;
}

static bool some_entropy(void *world, void *bytes, size_t size)
{
    (void)world;
    memset(bytes, 0x55, size);
    return true;
}

static uint64_t standing_ms(void *world)
{
    (void)world;
    return 1000000;
}

static int64_t standing_s(void *world)
{
    (void)world;
    return 1767225600; /* 2026 */
}

static uint64_t disk_room(void *world, int fd)
{
    (void)world;
    (void)fd;
    return UINT64_MAX;
}

static const struct nascar_sys disk_sys = {.close = disk_close,
                                           .log = heard_log,
                                           .append = disk_append,
                                           .entropy = some_entropy,
                                           .mono_ms = standing_ms,
                                           .wall_s = standing_s,
                                           .open = disk_open,
                                           .load = disk_load,
                                           .unload = disk_unload,
                                           .truncate = disk_truncate,
                                           .sync = disk_sync,
                                           .rename = disk_rename,
                                           .sync_folder = disk_sync_folder,
                                           .remove = disk_remove,
                                           .changed = disk_changed,
                                           .folder = disk_folder,
                                           .room = disk_room};

/* ---- Loading -------------------------------------------------------------------- */

static struct shell sh;
static uint8_t batch[BATCH_BYTES];

/* journal_find() without the memory that it takes for good, and silent. */
static bool find(struct journal_reader *r)
{
    struct span frames, record;
    struct outgoing scrubbed;
    size_t size;
    sh.journal.fd = sh.sys->open(NULL, 0, "journal", false);
    uint8_t *bytes = sh.sys->load(NULL, sh.journal.fd, &size);
    journal_open(r, bytes, size);
    for (uint64_t number = 0; journal_next(r, &frames);) {
        DEMAND(++number == r->number && r->at <= size && r->compacted <= r->at);
        DEMAND(frames.bytes >= bytes && frames.bytes + frames.size == bytes + r->at);
        while (take_record(&frames, &record)) { /* as `dump` does */
            scrub_record(record.bytes, (uint32_t)record.size, &scrubbed);
            hash_in(&hash, scrubbed.bytes, scrubbed.size);
        }
        DEMAND(frames.size == 0);
    }
    r->checked = r->at;
    DEMAND(r->at <= size);
    if (r->end == JOURNAL_WHOLE || r->end == JOURNAL_TORN)
        return true;
    DEMAND(r->end != JOURNAL_DAMAGED || (r->later >= r->at && r->later < size));
    sh.sys->unload(NULL, bytes, size);
    return false;
}

static void start_shell(void)
{
    memset(&sh, 0x55, sizeof sh);
    sh.sys = &disk_sys;
    sh.world = NULL;
    sh.options.log_level = NASCAR_LOG_DEBUG;
    sh.options.data[0] = sh.data[0] = 0;
    sh.partial = NULL;
    sh.record_fd = -1;
    sh.records = sh.owed = sh.waiters = sh.jobs = (struct buffer){NULL, 0, 0};
    sh.urgent = 0;
    sh.lazy_due_ms = 0;
    sh.log_size = sh.log_sent = sh.log_lost = 0;
    sh.ready = true;
    sh.live_bytes = 0;
    sh.journal_lost = sh.journal_full = sh.entropy_failing = sh.journal_strange = sh.stopping = false;
    memset(&sh.journal, 0, sizeof sh.journal);
    memset(&sh.compaction, 0, sizeof sh.compaction);
    sh.compaction.file.fd = -1;
    sh.compaction.batch.bytes = batch;
    shell_time(&sh);
    scene_begin(0, 0);
    core.records_used = RECORDS; /* nobody counts them here */
    core.jobs_used = RECORDS;
    core.log_used = LOG_BYTES;
    sh.state = core.state;
}

static void shell_over(void)
{
    DEMAND(sh.jobs.size == 0);
    release(sh.records.bytes, sh.records.room);
    release(sh.waiters.bytes, sh.waiters.room);
    release(sh.jobs.bytes, sh.jobs.room);
    shell_log_flush(&sh);
}

/* ---- What is kept ------------------------------------------------------------------ */

struct kept {
    uint32_t count;
    uint8_t *bytes[MOST_KEPT];
};

static struct kept kept[2];

/* In an order that does not depend on how they came. */
static int compare_records(const void *a, const void *b)
{
    const uint8_t *x = *(uint8_t *const *)a, *y = *(uint8_t *const *)b;
    uint32_t m = load_be32(x + 8), n = load_be32(y + 8);
    int order = memcmp(x, y, m < n ? m : n);
    return order ? order : m < n ? -1 : m > n;
}

/* What the record of a clock says is the newest date: that is not looked at. */
static void list_kept(struct kept *k)
{
    struct nascar_cursor cursor;
    struct nascar_record record;
    memset(&cursor, 0x55, sizeof cursor);
    memset(&record, 0x55, sizeof record);
    cursor.table = cursor.item = cursor.part = 0;
    k->count = 0;
    while (nascar_next_kept(core.state, &cursor, &record)) {
        if (record.size == 0)
            continue;
        if (memcmp(record.bytes, "clck", 4) == 0)
            record.bytes = (const uint8_t *)"clck\0\0\0\0\0\0\0\14", record.size = HEADER_BYTES;
        DEMAND(k->count < MOST_KEPT && record.size <= RECORD_BYTES && load_be32(record.bytes + 8) == record.size);
        k->bytes[k->count++] = exact_copy(record.bytes, record.size);
    }
    qsort(k->bytes, k->count, sizeof k->bytes[0], compare_records);
}

static void forget_kept(struct kept *k)
{
    while (k->count > 0)
        free(k->bytes[--k->count]);
}

static void compare_kept(void)
{
    for (uint32_t i = 0; i < kept[0].count || i < kept[1].count; i++) {
        bool same =
            i < kept[0].count && i < kept[1].count && compare_records(&kept[0].bytes[i], &kept[1].bytes[i]) == 0;
        if (same)
            continue;
        for (int k = 0; k < 2; k++)
            (void)fprintf(stderr, "kept the %s time, %u in all: %s\n", k == 0 ? "first" : "second", kept[k].count,
                          i < kept[k].count ? (const char *)kept[k].bytes[i] + HEADER_BYTES : "(nothing)");
        abort();
    }
}

/* ---- One file ------------------------------------------------------------------------ */

/* A start takes a step behind the last record: what a date in that has made
 * expire is gone then. */
static void load(struct journal_reader *r)
{
    struct nascar_event e = {.type = NASCAR_CLOCK, .conn = NASCAR_NONE};
    DEMAND(journal_load(&sh, r));
    shell_step(&sh, &e);
}

static void check_state(void)
{
    const char *broken = nascar_check(core.state);
    if (broken) {
        (void)fprintf(stderr, "nascar_check: %s\n", broken);
        abort();
    }
}

/* DESIGN 5: what a record changes goes by what is kept, not by when it comes. So a part of the
 * journal that comes slowly, while the clocks go on and deadlines pass, gives the same as if it
 * comes all at once, but for what has expired. */
static void load_part(const uint8_t *bytes, size_t size, uint32_t records, bool slowly)
{
    struct journal_reader r;
    struct span frames, record;
    struct nascar_event e = {.type = NASCAR_CLOCK, .conn = NASCAR_NONE, .wall_s = core.wall_s};
    disk.file[0].size = 0;
    (void)disk_append(NULL, JOURNAL, bytes, size);
    start_shell();
    if (slowly)
        shell_step(&sh, &e);
    e.mono_ms = core.state->mono_ms;
    e.wall_s = core.state->wall_s;
    for (journal_open(&r, bytes, size); journal_next(&r, &frames);)
        while (records > 0 && take_record(&frames, &record)) {
            uint32_t passed_s = slowly ? (records * 2654435761u) >> (records % 4 == 0 ? 14 : 28) : 0;
            e.mono_ms += passed_s * 1000u;
            e.wall_s += passed_s;
            e.type = NASCAR_RECORD;
            e.bytes = record.bytes;
            e.size = (uint32_t)record.size;
            DEMAND(nascar_step(core.state, &e));
            e.type = NASCAR_CLOCK;
            DEMAND(!slowly || nascar_step(core.state, &e));
            for (struct nascar_record own; nascar_next_record(core.state, &own);)
                continue; /* of the clock, say: nobody gives them back */
            records--;
        }
    check_state();
}

static void check_pace(const uint8_t *bytes, size_t size, uint32_t records)
{
    load_part(bytes, size, records, true);
    int64_t now_s = kept_now_s(core.state);
    list_kept(&kept[0]);
    shell_over();
    load_part(bytes, size, records, false);
    core.state->newest_record_s = now_s;
    list_kept(&kept[1]);
    compare_kept();
    forget_kept(&kept[0]);
    forget_kept(&kept[1]);
    shell_over();
}

static void load_file(const uint8_t *bytes, size_t size)
{
    struct journal_reader r;
    disk.file[0].size = disk.file[1].size = 0;
    (void)disk_append(NULL, JOURNAL, bytes, size);
    disk.changes = 0;
    start_shell();
    if (!find(&r)) {
        DEMAND(disk.changes == 0);
        shell_over();
        return;
    }
    loads++;
    uint32_t format = r.format;
    size_t sound = r.at;
    load(&r);
    check_state();
    if (format == JOURNAL_FORMAT)
        DEMAND(disk.file[0].size == sound && memcmp(disk.file[0].bytes, bytes, sound) == 0);
    list_kept(&kept[0]);
    kept_in_all += kept[0].count;
    compaction_begin(&sh);
    while (sh.compaction.file.fd >= 0)
        compaction_slice(&sh);
    DEMAND(!sh.compaction.failing);
    shell_over();

    start_shell();
    DEMAND(find(&r) && r.end == JOURNAL_WHOLE && r.format == JOURNAL_FORMAT && r.compacted == r.size);
    load(&r);
    check_state();
    list_kept(&kept[1]);
    compare_kept();
    for (uint32_t i = 0; i < kept[0].count; i++)
        hash_in(&hash, kept[0].bytes[i], load_be32(kept[0].bytes[i] + 8));
    forget_kept(&kept[0]);
    forget_kept(&kept[1]);
    shell_over();
    check_pace(bytes, sound, size % 3 == 0 ? UINT32_MAX : bytes[sound - 1] + 16u * bytes[sound / 2]);
}

/* Puts checksums right as far as there are frames; false if all were. */
static bool repair(uint8_t *bytes, size_t size)
{
    bool changed = false;
    for (size_t at = 0; size - at >= HEADER_BYTES;) {
        uint32_t n = load_be32(bytes + at + 8);
        if (n < HEADER_BYTES || n > size - at)
            break;
        uint32_t crc = frame_crc(bytes + at, n);
        changed = changed || load_be32(bytes + at + 4) != crc;
        store_be32(bytes + at + 4, crc);
        at += n;
    }
    return changed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > MOST_BYTES)
        size = MOST_BYTES;
    runs++;
    hash = size;
    uint8_t *bytes = exact_copy(data, size);
    load_file(bytes, size);
    if (repair(bytes, size))
        load_file(bytes, size);
    free(bytes);
    return 0;
}
