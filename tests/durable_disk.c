/* The durable test: a change is written and synced before it is answered, and a
 * disk that is full or fails loses nothing that was (DESIGN 5).
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem, pipe2, prlimit, unshare */

#include "durable.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

/* ---- Cases: a disk that is full or fails -------------------------------- */

static struct trouble {
    const char *name;
    bool for_good;  /* while it lasts, nothing can be kept */
    bool only_full; /* there is no room, which is over when there is */
    void (*begin)(struct server *s);
    void (*end)(struct server *s);
    const char *inject[9]; /* for strace */
} trouble;

static struct trace injecting;
static char ballast_path[160];

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
    if ((after.st_ino == before.st_ino) != trouble.only_full)
        fail("%s: it goes on in %s", trouble.name,
             trouble.only_full ? "another file, though this one was sound" : "the file that could not be synced");
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
    trouble =
        (struct trouble){.name = "RLIMIT_FSIZE just above", .only_full = true, .begin = begin_tight, .end = end_limit};
    survive(start_piped());
    trouble = (struct trouble){
        .name = "RLIMIT_FSIZE at half", .for_good = true, .only_full = true, .begin = begin_half, .end = end_limit};
    survive(start_piped());
}

CASE_BESIDE(a_full_file_system_is_survived, 60)
{
    struct server *s = new_server();
    trouble = (struct trouble){
        .name = "a full tmpfs", .for_good = true, .only_full = true, .begin = begin_ballast, .end = end_ballast};
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
    struct server *s = START(CROWD, "--sandbox", "off"); /* else the filter changes what is injected */
    char journal[160], fresh[160];
    (void)snprintf(journal, sizeof journal, "%s/journal", s->data);
    (void)snprintf(fresh, sizeof fresh, "%s/journal.new", s->data);
    trouble = (struct trouble){.name = "write fails with ENOSPC",
                               .for_good = true,
                               .only_full = true,
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
