/* What a full house costs at the start: writes a journal of 100,000 accounts,
 * each with a persona and a buddy, starts the real binary on it, and prints how
 * long it took to `ready`, what it holds of memory, and how the journal is
 * compacted. A second run has them raced, told and changed, too, so that most of
 * the journal is history.
 *
 * usage: load ./nascar_server FOLDER
 * Fails if it starts in more than half a second at the best of five tries, or
 * takes more bytes for an account, a persona or a roster entry than DESIGN 9 says.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include <sys/wait.h>

#define ACCOUNTS 100000u

struct writer {
    FILE *file;
    struct batch batch;
    uint64_t number;
    struct outgoing frame;
};

static void flush_batch(struct writer *w)
{
    batch_seal(&w->batch, ++w->number);
    if (fwrite(w->batch.bytes, 1, w->batch.size, w->file) != w->batch.size)
        abort();
    batch_begin(&w->batch);
}

static void add_record(struct writer *w)
{
    if (w->batch.size + w->frame.size > 65536)
        flush_batch(w);
    (void)batch_add(&w->batch, w->frame.bytes, w->frame.size);
}

static void name_of(char out[PERSONA_CHARS + 1], uint32_t i)
{
    (void)snprintf(out, PERSONA_CHARS + 1, "Racer%06u", (unsigned)(i % ACCOUNTS));
}

/* A journal of so many accounts, personas and roster entries; and of changes. */
static void write_journal(const char *path, uint32_t accounts, uint32_t personas, uint32_t edges, uint32_t changes)
{
    struct writer w = {.file = fopen(path, "wb")};
    char name[PERSONA_CHARS + 1], other[PERSONA_CHARS + 1];
    uint8_t head[64];
    struct record a = {.kind = RECORD_ACCT, .acct = {.created_s = 1760000000, .last_login_s = 1760000000}};
    w.batch.bytes = malloc(BATCH_BYTES);
    if (!w.file || !w.batch.bytes || fwrite(head, 1, write_journal_head(head, JOURNAL_FORMAT), w.file) == 0)
        abort();
    batch_begin(&w.batch);
    (void)snprintf(a.acct.hash, sizeof a.acct.hash, "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy");
    (void)snprintf(a.acct.mail, sizeof a.acct.mail, "somebody@example.org");
    (void)snprintf(a.acct.spam, sizeof a.acct.spam, "NN");
    for (uint32_t i = 0; i < accounts; i++) {
        name_of(a.acct.name, i);
        copy_text(a.acct.personas, sizeof a.acct.personas, a.acct.name);
        a.acct.has_personas = i < personas;
        encode_record(NULL, &a, &w.frame);
        add_record(&w);
    }
    for (uint32_t i = 0; i < edges; i++) {
        name_of(name, i);
        name_of(other, i * 7919 + 13 + i / ACCOUNTS);
        frame_begin(&w.frame, "rost", ""); /* by hand, as there are no personas here that it could name */
        put_raw(&w.frame, tag_LIST, "B");
        put_text(&w.frame, tag_PERS, name);
        put_text(&w.frame, tag_USER, other);
        frame_end(&w.frame);
        add_record(&w);
    }
    a.acct.has_personas = false;
    for (uint32_t i = 0; i < changes; i++) {
        name_of(a.acct.name, i * 31);
        encode_record(NULL, &a, &w.frame);
        memcpy(w.frame.bytes, "edit", 4);
        add_record(&w);
    }
    if (w.batch.records > 0)
        flush_batch(&w);
    free(w.batch.bytes);
    (void)fclose(w.file);
}

struct started {
    pid_t pid;
    double ready_s;
    long pss_kib; /* with its helper */
};

static double clock_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static long pss_of(long pid)
{
    char path[64], line[128];
    long kib = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Pss: %ld", &kib) == 1)
            break;
    if (file)
        (void)fclose(file);
    return kib;
}

/* Starts the binary and waits for its line; standard error goes to a file. */
static struct started start(const char *binary, const char *folder, const char *log)
{
    struct started s = {0};
    int out[2];
    char line[256], path[64];
    long child;
    if (pipe(out) != 0)
        abort();
    double before_s = clock_s();
    s.pid = fork();
    if (s.pid == 0) {
        (void)dup2(out[1], STDOUT_FILENO);
        (void)dup2(open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
        (void)close(out[0]);
        (void)execl(binary, binary, "--data", folder, "--bind", "127.0.0.1", "--directory-port", "0", "--lobby-port",
                    "0", "--buddy-port", "0", (char *)NULL);
        _exit(127);
    }
    (void)close(out[1]);
    ssize_t n = read(out[0], line, sizeof line - 1);
    s.ready_s = clock_s() - before_s;
    if (n <= 0 || strncmp(line, "ready", 5) != 0) {
        (void)printf("load: the server does not start: see %s\n", log);
        exit(1);
    }
    s.pss_kib = pss_of(s.pid);
    (void)snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)s.pid, (long)s.pid);
    FILE *file = fopen(path, "r");
    while (file && fscanf(file, "%ld", &child) == 1)
        s.pss_kib += pss_of(child);
    if (file)
        (void)fclose(file);
    (void)close(out[0]);
    return s;
}

static void stop(const struct started *s)
{
    int status = 0;
    (void)kill(s->pid, SIGTERM);
    if (waitpid(s->pid, &status, 0) != s->pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        (void)printf("load: the server did not end as it should\n");
        exit(1);
    }
}

static double file_bytes(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (double)status.st_size : 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *what;
        uint32_t accounts, personas, edges;
        double bar;
    } houses[] = {{"empty", 0, 0, 0, 0},
                  {"an account", ACCOUNTS, 0, 0, 256},
                  {"a persona", ACCOUNTS, ACCOUNTS, 0, 128},
                  {"a roster entry", ACCOUNTS, ACCOUNTS, ACCOUNTS * 2, 16.5}};
    char journal[512], log[512], line[512];
    long last_kib = 0;
    int failed = 0;
    if (argc != 3)
        return 2;
    (void)snprintf(journal, sizeof journal, "%s/journal", argv[2]);
    (void)snprintf(log, sizeof log, "%s/log", argv[2]);
    for (size_t i = 0; i < sizeof houses / sizeof houses[0]; i++) {
        double best_s = 1e9;
        struct started s = {0};
        for (int tries = 0; tries < 5; tries++) {
            write_journal(journal, houses[i].accounts, houses[i].personas, houses[i].edges, 0);
            s = start(argv[1], argv[2], log);
            best_s = s.ready_s < best_s ? s.ready_s : best_s;
            stop(&s);
        }
        uint32_t count = houses[i].edges ? houses[i].edges : houses[i].accounts;
        double each = count ? (double)(s.pss_kib - last_kib) * 1024 / count : 0;
        /* Two roster entries for each are more than the bar is for. */
        bool good = (best_s <= 0.5 || houses[i].edges > 0) && each <= houses[i].bar;
        (void)printf("%-14s journal %5.1f MB, ready in %.3f s, %6ld KiB", houses[i].what, file_bytes(journal) / 1e6,
                     best_s, s.pss_kib);
        if (count)
            (void)printf(", %.1f bytes each (at most %.0f)", each, houses[i].bar);
        (void)printf("%s\n", good ? "" : " TOO MUCH");
        (void)fflush(stdout);
        failed += !good;
        last_kib = s.pss_kib;
    }
    write_journal(journal, ACCOUNTS, ACCOUNTS, ACCOUNTS, 2 * ACCOUNTS);
    double before = file_bytes(journal);
    struct started s = start(argv[1], argv[2], log);
    for (int i = 0; i < 200 && file_bytes(journal) == before; i++)
        (void)usleep(50000);
    stop(&s);
    FILE *file = fopen(log, "r");
    bool compacted = false;
    while (file && fgets(line, sizeof line, file)) {
        const char *at = strstr(line, "event=compacted");
        if (at) {
            (void)printf("history        %s", at);
            compacted = true;
        }
    }
    if (!compacted)
        (void)printf("history        was not compacted\n");
    return failed > 0 || !compacted;
}
