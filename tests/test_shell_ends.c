/* How things end, and what is left of them: recordings whose disk is full, accepts and
 * random numbers that fail, files of the data folder that somebody removes, operators who
 * say nothing, and memory in which passwords stood.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "suite.h"
#include "machine.c"

/* ---- A recording changes nothing --------------------------------------------------- */

GROUP(recorder, NULL, NULL, 30);

static struct machine *machine_that(bool records, const char *rate)
{
    struct machine *m = machine_make(NULL);
    m->records = records;
    ck_assert(machine_start(m, ARGUMENTS("--hash-cost", "4", "--rate", rate)));
    return m;
}

/* How long the answers to all of these requests take. */
static uint64_t time_for(bool records, const char *rate, size_t requests, size_t piece, bool hangs_up)
{
    struct machine *m = machine_that(records, rate);
    struct peer *p = peer_new(m);
    uint8_t bytes[16384];
    size_t size = 0;
    for (size_t i = 0; i < requests; i++)
        size += console_frame(bytes + size, sizeof bytes - size, "skey", 0, "SKEY=$5075626c6963204b6579\n", 28);
    uint64_t began_ms = m->now_ms;
    for (size_t at = 0; at < size; at += piece) {
        peer_send_bytes(p, bytes + at, size - at < piece ? size - at : piece);
        turn(m, m->now_ms);
        m->hurried = 0;
    }
    p->hung_up = hangs_up;
    while (peer_got(p, "skey") < requests && m->now_ms < began_ms + 60000 && !p->closed)
        turn(m, m->now_ms + 1000);
    uint64_t took_ms = peer_got(p, "skey") == requests ? m->now_ms - began_ms : 60000 - peer_got(p, "skey");
    machine_free(m);
    return took_ms;
}

/* Bursts of all sizes, at once and in pieces, throttled or not, from who stays and who
 * hangs up behind them, take as long with a recorder as without. */
TEST(recorder, a_burst_takes_as_long_with_it_as_without)
{
    static const size_t pieces[] = {7, 40, 1000, 16384};
    static const char *const rates[] = {"0", "10"};
    for (size_t k = 0; k < COUNT(rates); k++) {
        for (size_t i = 0; i < COUNT(pieces); i++) {
            for (size_t requests = 1; requests <= 140; requests = requests * 3 + 1) {
                for (int hangs_up = 0; hangs_up < 2; hangs_up++) {
                    uint64_t with = time_for(true, rates[k], requests, pieces[i], hangs_up);
                    uint64_t without = time_for(false, rates[k], requests, pieces[i], hangs_up);
                    if (with > without)
                        ck_abort_msg("%zu requests by %zu bytes, rate %s, end %d: %llu ms, not %llu", requests,
                                     pieces[i], rates[k], hangs_up, (unsigned long long)with,
                                     (unsigned long long)without);
                }
            }
        }
    }
}

/* A request that waits for its hash, and much behind it: all is answered in the turn in
 * which the hash comes. */
TEST_LOOP(recorder, what_waits_behind_a_hash_goes_on_with_it, 0, 2)
{
    struct machine *m = machine_that(_i == 1, "0");
    struct peer *p = peer_new(m);
    peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    settle_machine(m);
    m->helper.lazy = true;
    peer_send(p, "auth", "NAME=Nobody\nPASS=~0123456789abcdef0123456789abcdef\n");
    for (int i = 0; i < 64; i++)
        peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    settle_machine(m);
    size_t before = peer_got(p, "skey");
    m->helper.lazy = false;
    uint64_t began_ms = m->now_ms;
    settle_machine(m);
    ck_assert_uint_eq(peer_got(p, "skey"), 65);
    ck_assert_uint_le(before, 65);
    ck_assert_uint_le(m->now_ms - began_ms, 100);
    machine_free(m);
}

static void expect_it_runs_again(struct machine *m)
{
    unsigned long events = 0, checkpoints = 0;
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    ck_assert_msg(!broken, "%s", broken);
    ck_assert_uint_ge(events, 3);
}

/* Its disk is nearly full: it ends, with a checkpoint, while there is room for the journal. */
TEST(recorder, it_ends_before_it_takes_the_journals_last_room)
{
    struct machine *m = machine_that(true, "0");
    struct peer *p = peer_new(m);
    for (int i = 0; i < 4000; i++) {
        peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
        settle_machine(m);
        m->room = i == 200 ? RECORDING_LEAVES - 1 : m->room;
        if (m->shell.record_fd < 0)
            break;
    }
    ck_assert_int_eq(m->shell.record_fd, -1);
    size_t size = m->recording.size;
    peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    settle_machine(m);
    ck_assert_uint_eq(m->recording.size, size);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(count_log(m, "level=error event=recording_ended reason=\"its disk is nearly full"), 1);
    expect_it_runs_again(m);
    machine_free(m);
}

/* It is full at once: what was written of an event is given back, so the rest runs again. */
TEST_LOOP(recorder, half_an_event_is_given_back, 0, 40)
{
    struct machine *m = machine_that(true, "0");
    struct peer *p = peer_new(m);
    m->record_room = (size_t)(_i * 13);
    for (int i = 0; i < 60; i++)
        peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    settle_machine(m);
    ck_assert_int_eq(m->shell.record_fd, -1);
    ck_assert_uint_eq(m->recording.size, m->shell.recorded_bytes);
    ck_assert_uint_eq(peer_got(p, "skey"), 60);
    expect_it_runs_again(m);
    machine_free(m);
}

/* Neither a frame that a hang-up cuts off, nor what stands behind a broken one, stays in memory. */
TEST_LOOP(recorder, half_a_frame_of_who_has_gone_is_wiped, 0, 2)
{
    struct machine *m = machine_that(true, "0");
    struct peer *p = peer_new(m);
    if (_i == 0) {
        peer_send_bytes(p, "auth\0\0\0\0\0\0\0\x80PASS=secret99\n", 27);
        p->hung_up = true;
        p->window = SIZE_MAX;
    } else {
        peer_send_bytes(p, "auth\0\0\0\0\0\0\0\1PASS=secret99\n", 27);
    }
    settle_machine(m);
    ck_assert(p->closed);
    for (uint32_t c = 0; c < m->shell.conns; c++)
        for (size_t i = 0; i < sizeof m->shell.partial[c].bytes; i++)
            ck_assert_uint_eq(m->shell.partial[c].bytes[i], 0);
    machine_free(m);
}

/* ---- Where a recording may stand ---------------------------------------------------- */

GROUP(recording, NULL, NULL, 30);

static char folder[64], said[4096];
static struct shell opener;

static void folder_make(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/nascar-ends-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    memset(&opener, 0, sizeof opener);
    opener.sys = &system_calls;
    opener.conns = 4;
    opener.folder = -1;
    (void)snprintf(opener.options.record_file, sizeof opener.options.record_file, "%s/a.rec", folder);
}

static const char *in_folder(const char *name)
{
    static char path[2][128];
    static int turn_of;
    turn_of = !turn_of;
    (void)snprintf(path[turn_of], sizeof path[0], "%s/%s", folder, name);
    return path[turn_of];
}

static void put_file(const char *name, const char *text)
{
    FILE *file = fopen(in_folder(name), "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

static bool holds(const char *name, const char *text)
{
    char line[64] = "";
    FILE *file = fopen(in_folder(name), "r");
    if (!file)
        return false;
    (void)!fgets(line, sizeof line, file);
    (void)fclose(file);
    return strcmp(line, text) == 0;
}

static bool opens(void)
{
    FILE *words = tmpfile();
    int kept = dup(STDERR_FILENO);
    ck_assert(words && dup2(fileno(words), STDERR_FILENO) >= 0);
    bool good = recording_open(&opener);
    (void)dup2(kept, STDERR_FILENO);
    (void)close(kept);
    rewind(words);
    said[fread(said, 1, sizeof said - 1, words)] = 0;
    (void)fclose(words);
    return good;
}

static void folder_remove(void)
{
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* Whatever stands there, and under the names that come of it, and is no recording, stays as it is. */
TEST_LOOP(recording, what_is_no_recording_is_left_alone, 0, 3)
{
    static const char *const ends[] = {"a.rec", "a.rec.old", "a.rec.new"};
    for (int kind = 0; kind < 5; kind++) {
        struct stat before, after;
        folder_make();
        const char *path = in_folder(ends[_i]);
        put_file("other", "NSR3");
        if (kind == 0)
            put_file(ends[_i], "bind = 127.0.0.1\n");
        else
            ck_assert_int_eq(kind == 1   ? mkdir(path, 0700)
                             : kind == 2 ? mkfifo(path, 0600)
                             : kind == 3 ? symlink("other", path)
                                         : symlink("/nowhere/at/all", path),
                             0);
        ck_assert_int_eq(lstat(path, &before), 0);
        ck_assert(!opens());
        ck_assert_msg(strstr(said, "--record: ") && strstr(said, ends[_i]) && strstr(said, "not a recording"), "%s",
                      said);
        ck_assert_int_eq(lstat(path, &after), 0);
        ck_assert(before.st_ino == after.st_ino && before.st_size == after.st_size);
        recording_drop(&opener); /* as at the end of a start that has failed */
        ck_assert_int_eq(lstat(path, &after), 0);
        folder_remove();
    }
}

/* Starts that fail leave the recording of the crash where it was, and nothing else. */
TEST(recording, a_start_that_fails_leaves_the_last_one)
{
    folder_make();
    put_file("a.rec", "NSR3 of the crash");
    put_file("a.rec.old", "NSR3 older");
    put_file("a.rec.new", "NSR3 of who was killed in its start");
    for (int i = 0; i < 2; i++) {
        ck_assert(opens());
        (void)close(opener.record_fd);
        recording_drop(&opener);
        ck_assert(holds("a.rec", "NSR3 of the crash") && holds("a.rec.old", "NSR3 older"));
        ck_assert_int_eq(access(in_folder("a.rec.new"), F_OK), -1);
    }
    ck_assert(opens() && recording_takes_place(&opener));
    (void)close(opener.record_fd);
    recording_drop(&opener);
    ck_assert(holds("a.rec.old", "NSR3 of the crash") && !holds("a.rec", "NSR3 of the crash"));
    folder_remove();
}

/* Nor does one that has ended before the service has begun, as its disk is nearly full, take that place. */
TEST(recording, an_empty_one_takes_no_place)
{
    folder_make();
    put_file("a.rec", "NSR3 of the crash");
    for (int i = 0; i < 2; i++) {
        ck_assert(opens());
        (void)close(opener.record_fd);
        opener.record_fd = -1; /* see recording_ended() */
        ck_assert(recording_takes_place(&opener));
        ck_assert(holds("a.rec", "NSR3 of the crash"));
        ck_assert_int_eq(access(in_folder("a.rec.new"), F_OK), -1);
    }
    folder_remove();
}

/* A recording into the data folder could be its journal. */
TEST(recording, the_data_folder_is_no_place_for_one)
{
    folder_make();
    copy_text(opener.options.data, sizeof opener.options.data, folder);
    ck_assert(!opens() && strstr(said, "the data folder is for what is kept"));
    folder_remove();
}

static bool refused(const char *key, const char *path)
{
    static struct options o;
    const char *const arguments[] = {"--data", folder, key, path, NULL};
    FILE *words = tmpfile();
    int kept = dup(STDERR_FILENO);
    ck_assert(words && dup2(fileno(words), STDERR_FILENO) >= 0);
    bool good = read_options(&o, (char **)(uintptr_t)arguments);
    (void)dup2(kept, STDERR_FILENO);
    (void)close(kept);
    rewind(words);
    said[fread(said, 1, sizeof said - 1, words)] = 0;
    (void)fclose(words);
    return !good && strstr(said, "the data folder is for what is kept") && strstr(said, key);
}

TEST(recording, nor_for_news_nor_is_a_file_of_ours_a_log)
{
    folder_make();
    put_file("news", "hello\n");
    ck_assert(refused("--news", in_folder("news")));
    ck_assert(refused("--record", in_folder("a.rec")));
    ck_assert(refused("--log-file", in_folder("journal")));
    ck_assert(refused("--log-file", in_folder("journal.new")));
    ck_assert(refused("--log-file", in_folder("pid")));
    ck_assert(!refused("--log-file", in_folder("nascar.log")));
    ck_assert(!refused("--record", "/tmp/a.rec"));
    ck_assert_int_eq(mkdir(in_folder("sub"), 0700), 0);
    char roundabout[128];
    (void)snprintf(roundabout, sizeof roundabout, "%s/sub/../a.rec", folder);
    ck_assert(refused("--record", roundabout));
    folder_remove();
}

TEST(recording, the_log_is_another_file)
{
    static struct options o;
    const char *const arguments[] = {"--record", "a.rec", "--log-file", "a.rec", NULL};
    ck_assert(!read_options(&o, (char **)(uintptr_t)arguments) && o.faults == 1);
    ck_assert_str_eq(o.first_fault, "--record: a.rec: that is the log");
}

/* However it is written, and whether it is there yet or not. */
TEST_LOOP(recording, no_file_is_two_things, 0, 9)
{
    static const char *const pairs[][4] = {
        {"--log-file", "/tmp/nowhere.log", "--record", "/tmp/./nowhere.log"},
        {"--log-file", "/tmp/nowhere.new", "--record", "/tmp/nowhere"},
        {"--log-file", "nowhere.old", "--record", "./nowhere"},
        {"--log-file", "OPTIONS", "--config", "OPTIONS"},
        {"--log-file", "LINK", "--config", "OPTIONS"},
        {"--log-file", "OPTIONS", "--news", "OPTIONS"},
        {"--log-file", "/tmp/nowhere.log", "--record", "/tmp/nowhere.rec"}, /* good */
        {"--log-file", "/tmp/nowhere.log", "--record", "/var/tmp/nowhere.log"},
        {"--log-file", "/tmp/nowhere.log", "--news", "OPTIONS"},
    };
    static struct options o;
    char options[64] = "/tmp/nascar-optionsXXXXXX", link[80];
    int fd = mkstemp(options);
    ck_assert(fd >= 0 && close(fd) == 0);
    (void)snprintf(link, sizeof link, "%s.link", options);
    ck_assert_int_eq(symlink(options, link), 0);
    const char *arguments[5] = {NULL};
    for (int i = 0; i < 4; i++)
        arguments[i] = strcmp(pairs[_i][i], "OPTIONS") == 0 ? options
                       : strcmp(pairs[_i][i], "LINK") == 0  ? link
                                                            : pairs[_i][i];
    ck_assert_int_eq(read_options(&o, (char **)(uintptr_t)arguments), _i >= 6);
    ck_assert_uint_eq(o.faults, _i < 6);
    (void)unlink(link);
    (void)unlink(options);
}

TEST(recording, a_file_of_options_is_named_once)
{
    static struct options o;
    folder_make();
    put_file("a.conf", "max-clients = 5\n");
    put_file("b.conf", "max-clients = 6\n");
    char a[128], b[128];
    (void)snprintf(a, sizeof a, "%s", in_folder("a.conf"));
    (void)snprintf(b, sizeof b, "--config=%s", in_folder("b.conf"));
    const char *const arguments[] = {"--config", a, b, NULL};
    FILE *words = tmpfile();
    int kept = dup(STDERR_FILENO);
    ck_assert(words && dup2(fileno(words), STDERR_FILENO) >= 0);
    bool good = read_options(&o, (char **)(uintptr_t)arguments);
    (void)dup2(kept, STDERR_FILENO);
    (void)close(kept);
    rewind(words);
    said[fread(said, 1, sizeof said - 1, words)] = 0;
    (void)fclose(words);
    ck_assert(!good && o.faults == 1);
    ck_assert_msg(strstr(said, "--config: there is one file of options, and '") && strstr(said, a), "%s", said);
    folder_remove();
}

/* ---- What fails for a while -------------------------------------------------------------- */

GROUP(ends, NULL, NULL, 30);

/* Random numbers that are missing for a moment, as long as there are some left. */
TEST(ends, random_numbers_that_are_missing_for_a_moment_end_nothing)
{
    struct machine *m = machine_that(false, "0");
    settle_machine(m);
    m->entropy_fails = true;
    for (int i = 0; i < 10; i++) {
        struct peer *p = peer_new(m);
        peer_send(p, "@dir", "PROD=NASCAR-PS2-2004\n");
        settle_machine(m);
        ck_assert_uint_eq(peer_got(p, "@dir"), 1);
    }
    while (nascar_entropy_wanted(m->shell.state) <= NASCAR_ENTROPY_BYTES / 2 + 100) {
        peer_send(peer_new(m), "@dir", "PROD=NASCAR-PS2-2004\n");
        settle_machine(m);
    }
    m->entropy_fails = false;
    for (int i = 0; i < 30; i++)
        peer_send(peer_new(m), "@dir", "PROD=NASCAR-PS2-2004\n");
    settle_machine(m);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(count_log(m, "level=error event=entropy_failed"), 1);
    ck_assert_uint_lt(nascar_entropy_wanted(m->shell.state), NASCAR_ENTROPY_BYTES / 2 + 1);
    machine_free(m);
}

/* `control` or `pid` alone is removed: within a minute it is there again. */
TEST_LOOP(ends, a_file_that_is_removed_is_made_again, 0, 2)
{
    struct machine *m = machine_that(false, "0");
    run_machine(m, 130000);
    unsigned controls = m->controls, pids = m->pids;
    m->gone = _i == 0 ? "control" : "pid";
    run_machine(m, 60500);
    m->gone = NULL;
    run_machine(m, 200000);
    ck_assert_uint_eq(m->controls, controls + 1);
    ck_assert_uint_eq(m->pids, pids + 1);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(count_log(m, _i == 0 ? "level=warn event=control_gone" : "level=warn event=pid_gone"), 1);
    struct peer *p = peer_new(m);
    p->control = true;
    peer_send(p, "stat", "");
    settle_machine(m);
    ck_assert(p->accepted);
    machine_free(m);
}

/* ... also if the journal is written to all the time, or cannot be. */
TEST_LOOP(ends, a_file_that_is_removed_is_made_again_whatever_the_journal_does, 0, 2)
{
    struct machine *m = machine_that(false, "0");
    if (_i == 1) {
        m->disk->fail_from = m->disk->calls + 1;
        m->disk->fail_until = UINT32_MAX;
    }
    unsigned pids = m->pids;
    m->gone = "pid";
    for (int i = 0; i < 3; i++) {
        struct peer *p = peer_new(m);
        p->control = true;
        peer_send(p, "cban", "NAME=Pest\n");
        run_machine(m, 25000);
    }
    m->gone = NULL;
    run_machine(m, 10000);
    ck_assert_uint_eq(m->pids, pids + 1);
    machine_free(m);
}

/* Operators who connect and say nothing do not keep others out for good. */
TEST(ends, an_operator_who_says_nothing_is_let_go)
{
    struct machine *m = machine_that(false, "0");
    struct peer *idle[NASCAR_CONTROL_CONNECTIONS];
    for (size_t i = 0; i < NASCAR_CONTROL_CONNECTIONS; i++) {
        idle[i] = peer_new(m);
        idle[i]->control = true;
    }
    settle_machine(m);
    struct peer *p = peer_new(m);
    p->control = true;
    peer_send(p, "ctlw", "");
    run_machine(m, m->shell.options.config.idle_ms - 1000);
    ck_assert(!p->accepted);
    for (size_t i = 0; i < NASCAR_CONTROL_CONNECTIONS; i++)
        ck_assert(idle[i]->accepted && !idle[i]->closed);
    run_machine(m, 2000);
    for (size_t i = 0; i < NASCAR_CONTROL_CONNECTIONS; i++)
        ck_assert(idle[i]->closed);
    settle_machine(m);
    ck_assert(p->accepted && p->out_bytes > 0);
    machine_free(m);
}

/* ---- What a process of our own inherits ------------------------------------------------- */

TEST(ends, a_process_of_ours_knows_nothing_of_what_waits)
{
    struct machine *m = machine_that(false, "0");
    struct nascar_hash_job job = {.password = "secret99"};
    *(struct nascar_hash_job *)buffer_add(&m->shell, &m->shell.jobs, sizeof job) = job;
    memcpy(buffer_add(&m->shell, &m->shell.records, 8), "secret99", 8);
    m->shell.helper.job[1].question.job = job;
    serving = &m->shell;
    shell_forget();
    serving = NULL;
    ck_assert(!memmem(m->shell.jobs.bytes, m->shell.jobs.size, "secret99", 8));
    ck_assert(!memmem(m->shell.records.bytes, m->shell.records.size, "secret99", 8));
    ck_assert_uint_eq((uint8_t)m->shell.helper.job[1].question.job.password[0], 0);
    shell_forget(); /* another program has no server */
    machine_free(m);
}

/* ---- replay ------------------------------------------------------------------------------ */

/* What has nothing to compare with is not as recorded. */
TEST(ends, a_replay_without_anything_to_compare_says_so)
{
    static const struct {
        const char *text, *says;
    } files[] = {{"", "this is no recording: there is nothing to compare with"},
                 {"root:x:0:0:root:/root:/bin/bash\n", "this is no recording: there is nothing to compare with"},
                 {NULL, "it ends before its first checkpoint: there is nothing to compare with"},
                 {"NS", "this is no recording"}};
    folder_make();
    for (size_t i = 0; i < COUNT(files); i++) {
        uint8_t header[64];
        uint32_t size = script_write_header(header, (struct nascar_limits)NASCAR_LIMITS_DEFAULT);
        put_file("a.rec", files[i].text ? files[i].text : "");
        FILE *file = fopen(in_folder("a.rec"), "a");
        ck_assert(file && (files[i].text || fwrite(header, 1, size, file) == size));
        (void)fclose(file);
        FILE *words = tmpfile();
        int kept = dup(STDERR_FILENO);
        ck_assert(words && dup2(fileno(words), STDERR_FILENO) >= 0);
        int status = replay(in_folder("a.rec"));
        (void)dup2(kept, STDERR_FILENO);
        (void)close(kept);
        rewind(words);
        said[fread(said, 1, sizeof said - 1, words)] = 0;
        (void)fclose(words);
        ck_assert_int_eq(status, 1);
        ck_assert_msg(strstr(said, files[i].says), "%s", said);
    }
    folder_remove();
}
