/* The operator steers the server that runs: who he is, what is wrong with a configuration, and what a reload
 * changes. What he asks of the core alone is in test_steer.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "suite.h"
#include "machine.c"

/* ---- What is said, and files --------------------------------------------------------- */

static FILE *caught;
static int kept_stderr;

static void catch_stderr(void)
{
    (void)fflush(stderr);
    kept_stderr = dup(STDERR_FILENO);
    caught = tmpfile();
    ck_assert(kept_stderr >= 0 && caught && dup2(fileno(caught), STDERR_FILENO) >= 0);
}

static const char *caught_stderr(void)
{
    static char text[65536];
    (void)fflush(stderr);
    (void)dup2(kept_stderr, STDERR_FILENO);
    (void)close(kept_stderr);
    rewind(caught);
    text[fread(text, 1, sizeof text - 1, caught)] = 0;
    (void)fclose(caught);
    return text;
}

static char path[64], news_path[64], folder_path[64];

static void write_bytes(const char *name, const char *bytes, size_t size)
{
    FILE *file = fopen(name, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

static void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

static void make_files(void)
{
    static char *const names[] = {path, news_path};
    for (int i = 0; i < 2; i++) {
        (void)snprintf(names[i], sizeof path, "/tmp/test_steer-XXXXXX");
        int fd = mkstemp(names[i]);
        ck_assert_int_ge(fd, 0);
        (void)close(fd);
    }
    (void)snprintf(folder_path, sizeof folder_path, "/tmp/test_steer-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder_path));
}

static void remove_files(void)
{
    char name[96];
    (void)snprintf(name, sizeof name, "%s/control", folder_path);
    (void)unlink(name);
    (void)unlink(path);
    (void)unlink(news_path);
    (void)rmdir(folder_path);
}

/* Reads the options, and gives what was said. */
static const char *faults_of(const char *const *arguments, bool *good)
{
    struct options *o = malloc(sizeof *o);
    ck_assert_ptr_nonnull(o);
    catch_stderr();
    *good = read_options(o, (char **)(uintptr_t)arguments);
    free(o);
    return caught_stderr();
}

#define FAULTS(good, ...) faults_of((const char *const[]){__VA_ARGS__, NULL}, good)

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++)
        n++;
    return n;
}

/* Has the text a line that begins so, behind the path of the file? */
static bool says(const char *text, const char *file, const char *rest)
{
    char line[512];
    (void)snprintf(line, sizeof line, "nascar_server: %s%s", file, rest);
    return strstr(text, line) != NULL;
}

/* ---- All faults at once ---------------------------------------------------------------- */

GROUP(faults, make_files, remove_files, 0);

TEST(faults, every_fault_of_file_and_command_line_is_told_with_its_place)
{
    bool good;
    write_text(path, "\xEF\xBB\xBFskey = maybe\r\n\r\n# a comment\r\nroom = Lobby\r\ntyres = soft\r\n"
                     "public-address = 192.0.2\r\nhash-cost = 4\r\njust words\r\n");
    const char *said = FAULTS(&good, "--rate", "fast", "word", "word", "--config", path, "--wheels=4", "--log-level",
                              "loud", "--hash-cost", "5", "--news", "/nowhere/news", "--lan");
    ck_assert(!good);
    ck_assert_msg(says(said, path, ":1: skey: expected one of: off on, not 'maybe'\n"), "%s", said);
    ck_assert(says(said, path, ":4: room: expected at most 32 rooms, and none called Lobby, not 'Lobby'\n"));
    ck_assert(says(said, path, ":5: tyres: unknown option; --help lists them\n"));
    ck_assert(
        says(said, path,
             ":6: public-address: expected an IPv4 address, as 192.0.2.1, or the name of a host, not '192.0.2'\n"));
    ck_assert(says(said, path, ":8: expected `key = value`, not 'just words'\n"));
    ck_assert(says(said, "--rate", ": expected a number from 0 to 1000000, not 'fast'\n"));
    ck_assert(says(said, "", "unknown argument 'word'; --help lists the options\n"));
    ck_assert(says(said, "--wheels", ": unknown option; --help lists them\n"));
    ck_assert(says(said, "--log-level", ": expected one of: error warn info debug, not 'loud'\n"));
    ck_assert(says(said, "--lan", ": expected a value after it\n"));
    ck_assert(says(said, "--news", ": /nowhere/news: No such file or directory"));
    ck_assert_uint_eq(count_lines(said), 11);
}

TEST(faults, a_line_that_is_none_does_not_shift_those_behind_it)
{
    static char text[8192];
    bool good;
    memset(text, '#', 5000); /* a line that is too long, in more than two of the longest */
    (void)snprintf(text + 5000, sizeof text - 5000, "\nskey = perhaps\nlan = on\rlan = off\nlan = 1");
    write_text(path, text);
    const char *said = FAULTS(&good, "--config", path);
    ck_assert(!good && count_lines(said) == 4);
    ck_assert(says(said, path, ":1: expected at most 1022 characters in a line\n"));
    ck_assert(says(said, path, ":2: skey: "));
    ck_assert(says(said, path, ":3: expected lines that end with LF or CR LF"));
    ck_assert(says(said, path, ":4: lan: "));
    write_bytes(path, "skey = no\nlan\0 = on\nlan = 1\n", 28); /* what is no text is not read on */
    said = FAULTS(&good, "--config", path);
    ck_assert(!good && count_lines(said) == 2);
    ck_assert(says(said, path, ":2: expected plain text"));
}

TEST(faults, a_file_has_a_key_once_but_lists_and_the_command_line)
{
    bool good;
    write_text(path,
               "skey = on\nroom = East\nroom = West\ntrusted = 10.0.0.0/8\ntrusted = 192.0.2.0/24\n\nskey = off\n");
    const char *said = FAULTS(&good, "--config", path, "--lan", "off", "--lan", "auto");
    ck_assert(!good && count_lines(said) == 1);
    ck_assert(says(said, path, ":7: skey: it stands in line 1, too: a file has a key once\n"));
    write_text(path, "skey = on\n");
    said =
        FAULTS(&good, "--config", path, "--skey", "off", "--skey", "on"); /* as a script adds its own behind others */
    ck_assert_msg(good, "%s", said);
    write_text(path, "skey = maybe\nskey = off\n"); /* the first was none */
    said = FAULTS(&good, "--config", path);
    ck_assert(!good && count_lines(said) == 1);
}

TEST(faults, ports_are_different_or_free)
{
    bool good;
    write_text(path, "lobby-port = 10600\n");
    const char *said = FAULTS(&good, "--config", path);
    ck_assert_msg(says(said, path,
                       ":1: lobby-port: expected another port than 10600, which is the directory-port, too\n"),
                  "%s", said);
    ck_assert(!good && count_lines(said) == 1);
    said = FAULTS(&good, "--buddy-port", "11000");
    ck_assert(!good &&
              says(said, "--buddy-port", ": expected another port than 11000, which is the lobby-port, too\n"));
    said = FAULTS(&good, "--directory-port", "10899");
    ck_assert(!good && says(said, "--directory-port", ": expected another port than 10899, which is the buddy-port"));
    said = FAULTS(&good, "--directory-port", "0", "--lobby-port", "0", "--buddy-port", "0");
    ck_assert(good);
}

TEST(faults, what_is_refused_makes_no_second_fault)
{
    bool good;
    const char *said = FAULTS(&good, "--idle-s", "0", "--ping-s", "4000", "--lobby-port", "99999");
    ck_assert(!good && count_lines(said) == 3); /* and not that ping-s is not below idle-s */
}

TEST(faults, a_data_folder_that_is_none_is_a_fault)
{
    char text[128];
    bool good;
    (void)snprintf(text, sizeof text, "\ndata = %s\n", news_path);
    write_text(path, text);
    const char *said = FAULTS(&good, "--config", path);
    (void)snprintf(text, sizeof text, ":2: data: %s: expected a folder, and this is none\n", news_path);
    ck_assert(!good && says(said, path, text));
    said = FAULTS(&good, "--data", news_path);
    ck_assert(!good && says(said, "--data", ": "));
    said = FAULTS(&good, "--data", folder_path);
    ck_assert(good);
    said = FAULTS(&good, "--data", "/nowhere/yet"); /* that a start could not make it, it says itself */
    ck_assert(good);
}

TEST(faults, news_that_are_too_long_are_one_fault)
{
    bool good;
    char text[2048] = "";
    for (int i = 0; i < 30; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "ten letters, and more of it%s\n",
                       i == 2 || i == 20 ? " in Caf\xC3\xA9" : "");
    write_text(news_path, text);
    const char *said = FAULTS(&good, "--news", news_path);
    ck_assert(!good && says(said, news_path, ":3: news-line: expected ASCII characters only"));
    ck_assert(says(said, news_path, ":10: news-line: expected at most 242 characters of news in all"));
    ck_assert_uint_eq(count_lines(said), 2);
}

TEST(faults, what_is_no_configuration_at_all_is_not_told_line_by_line)
{
    static char text[20000];
    bool good;
    for (int i = 0; i < 1000; i++)
        strcat(text + 12 * i, "no key here\n");
    write_text(path, text);
    const char *said = FAULTS(&good, "--config", path);
    ck_assert(!good && count_lines(said) == 101 && says(said, "", "... and 900 more faults\n"));
}

TEST(faults, a_group_that_nobody_knows_is_a_fault)
{
    bool good;
    write_text(path, "control-group = no-such-group\n");
    const char *said = FAULTS(&good, "--config", path);
    ck_assert_msg(!good && says(said, path, ":1: control-group: there is no group 'no-such-group' on this machine\n"),
                  "%s", said);
    said = FAULTS(&good, "--config", path, "--control-group", "");
    ck_assert(good);
    char number[16];
    (void)snprintf(number, sizeof number, "%u", (unsigned)getegid());
    said = FAULTS(&good, "--control-group", number);
    ck_assert_msg(good, "%s", said);
    said = FAULTS(&good, "--control-group", "-1");
    ck_assert(!good);
}

TEST(faults, check_config_says_that_it_is_good_and_leaves_all_as_it_was)
{
    char data[96];
    struct stat about;
    (void)snprintf(data, sizeof data, "%s/data", folder_path);
    char *arguments[] = {"--data", data, "--check-config", NULL};
    ck_assert(take_word(arguments, "--check-config") && arguments[2] == NULL);
    ck_assert(!take_word(arguments, "--check-config"));
    ck_assert_int_eq(check_config(arguments), 0);
    ck_assert_int_ne(stat(data, &about), 0);
    arguments[0] = "--bind";
    arguments[1] = "192.0.2.1";
    catch_stderr();
    ck_assert_int_eq(check_config(arguments), 0); /* a warning: who knows what there is at the start */
    ck_assert(says(caught_stderr(), "--bind", ": no interface of this machine has that address now\n"));
    ck_assert(has_address(0) && has_address(0x7F000001) && has_address(0x7F000102) && !has_address(0xC0000201));
    arguments[0] = "--date";
    catch_stderr();
    ck_assert_int_eq(check_config(arguments), 2);
    ck_assert(says(caught_stderr(), "--date", ": unknown option; --help lists them\n"));
}

/* ---- The operator's socket --------------------------------------------------------------- */

GROUP(rights, make_files, remove_files, 0);

static void expect_rights(uint32_t group, mode_t folder_mode, mode_t folder_wanted, gid_t group_wanted)
{
    struct stat about;
    int folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert(folder >= 0 && fchmod(folder, folder_mode) == 0);
    mode_t mask = umask(0);
    int fd = system_control(NULL, folder, group);
    ck_assert_uint_eq(umask(mask), 0);
    ck_assert_msg(fd >= 0, "%s", strerror(errno));
    ck_assert_int_eq(fstatat(folder, "control", &about, 0), 0);
    ck_assert_uint_eq(about.st_mode & 07777, group == NONE ? 0600 : 0660);
    ck_assert(group == NONE || about.st_gid == group);
    ck_assert_int_eq(fstat(folder, &about), 0);
    ck_assert_uint_eq(about.st_mode & 07777, folder_wanted);
    ck_assert_uint_eq(about.st_gid, group_wanted);
    (void)close(fd);
    (void)close(folder);
}

TEST(rights, the_socket_is_its_owners_or_a_groups_who_may_pass_the_folder)
{
    gid_t ours = getegid();
    expect_rights(NONE, 0700, 0700, ours);
    expect_rights(ours, 0700, 0710, ours);
    expect_rights(ours, 0750, 0750, ours); /* passable already */
    expect_rights(NONE, 0710, 0710, ours);
    if (geteuid() != 0)
        return;
    expect_rights(4711, 0755, 0755, ours); /* by all others, and so by these */
    expect_rights(4711, 0750, 0710, 4711); /* whoever was let in before is not */
    expect_rights(4711, 0700, 0710, 4711);
}

TEST(rights, a_line_about_what_the_operator_does_says_which_user_he_is)
{
    struct machine *m = machine_new(ARGUMENTS("--hash-cost", "4"));
    struct peer *p = peer_new(m);
    p->control = true;
    p->ip = 1017;
    peer_send(p, "cpwd", "NAME=Ann\nPASS=secret\n");
    peer_send(p, "what", "");
    settle_machine(m);
    ck_assert_uint_eq(count_log(m, " uid=1017 name=\"Ann\"\n"), 1);
    ck_assert_uint_eq(count_log(m, "level=info event=password_set conn="), 1);
    ck_assert_uint_eq(count_log(m, " uid=1017 kind=\"what\"\n"), 1);
    ck_assert(!in_log(m, "peer="));
    ck_assert_uint_eq(peer_got(p, "cpwd"), 1);
    machine_free(m);
}

TEST(rights, the_user_is_in_a_recording)
{
    unsigned long events = 0, checkpoints = 0;
    struct machine *m = machine_make(NULL);
    m->records = true;
    ck_assert(machine_start(m, ARGUMENTS("--hash-cost", "4")));
    struct peer *p = peer_new(m);
    p->control = true;
    p->ip = 70000;
    peer_send(p, "cpwd", "NAME=Ann\nPASS=secret\n");
    settle_machine(m);
    ck_assert_uint_eq(count_log(m, " uid=70000 "), 1);
    recording_close(&m->shell);
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    ck_assert_msg(!broken, "%s", broken);
    machine_free(m);
}

TEST(rights, the_system_names_the_user_at_the_other_end)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/control", folder_path);
    int listener = system_control(NULL, folder, NONE), ours = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert(listener >= 0 && connect(ours, (struct sockaddr *)&address, sizeof address) == 0);
    uint32_t peer = 1, local = 1;
    int fd = system_accept(NULL, listener, &peer, &local);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_eq(peer, getuid());
    (void)close(fd);
    (void)close(ours);
    (void)close(listener);
    (void)close(folder);
}

/* ---- Reload ---------------------------------------------------------------------------------- */

GROUP(reload, make_files, remove_files, 0);

static struct peer *operator(struct machine *m)
{
    struct peer *p = peer_new(m);
    p->control = true;
    p->ip = 1001;
    return p;
}

/* Everything that the operator has been told since the last time, a frame a line: its kind, its code, and its tags. */
static const char *told(struct machine *m, struct peer *p)
{
    static char text[16384];
    size_t n = 0;
    settle_machine(m);
    for (size_t at = 0; at < p->out_bytes; at += load_be32(p->out + at + 8)) {
        uint32_t end = load_be32(p->out + at + 8);
        n += (size_t)snprintf(text + n, sizeof text - n, "%.4s", (const char *)p->out + at);
        if (load_be32(p->out + at + 4) != 0)
            n += (size_t)snprintf(text + n, sizeof text - n, " %.4s", (const char *)p->out + at + 4);
        for (uint32_t i = HEADER_BYTES; i < end && p->out[at + i] != 0; i++) {
            text[n] = i == HEADER_BYTES || p->out[at + i - 1] == '\n' ? ' ' : text[n];
            n += i == HEADER_BYTES || p->out[at + i - 1] == '\n';
            text[n] = (char)p->out[at + i];
            n += text[n] != '\n';
        }
        text[n++] = '\n';
    }
    text[n] = 0;
    p->out_bytes = 0;
    return text;
}

TEST(reload, the_operator_is_told_what_changed_and_what_needs_a_restart)
{
    write_text(path, "max-clients = 16\nmax-accounts = 64\nhash-cost = 4\nlog-level = info\n");
    write_text(news_path, "old\n");
    struct machine *m = machine_new((const char *const[]){"--config", path, NULL});
    struct peer *p = operator(m);
    peer_send(p, "crel", "");
    ck_assert_str_eq(told(m, p), "crel STATUS=1\n");
    ck_assert_uint_eq(count_log(m, "level=info event=reloaded keys=\"\"\n"), 1);

    write_text(path, "max-clients = 7\nmax-accounts = 64\nhash-cost = 5\nbind = 127.0.0.1\ndata = elsewhere\n"
                     "log-level = warn\nping-s = 7\nroom = East\ndown = Back\n");
    peer_send(p, "crel", "");
    ck_assert_str_eq(told(m, p), "line key=data what=\"restart wanted\" from= to=\n"
                                 "line key=bind what=\"restart wanted\" from=0.0.0.0 to=127.0.0.1\n"
                                 "line key=max-clients what=\"restart wanted\" from=16 to=7\n"
                                 "line key=hash-cost what=changed from=4 to=5\n"
                                 "line key=log-level what=changed from=info to=warn\n"
                                 "line key=ping-s what=changed from=30 to=7\n"
                                 "line key=room what=changed from= to=\n"
                                 "line key=down what=changed from= to=\n"
                                 "crel STATUS=1\n");
    ck_assert_uint_eq(m->shell.state->config.ping_ms, 7000);
    ck_assert(in_log(m, "level=info event=reload_asked conn="));
    ck_assert(in_log(m, " uid=1001 result=\"reloaded\"\n"));
    ck_assert(in_log(m, "level=warn event=restart_wanted keys=\"data bind max-clients\"\n"));

    char text[128];
    (void)snprintf(text, sizeof text, "max-clients = 16\nmax-accounts = 64\nnews = %s\n", news_path);
    write_text(path, text);
    peer_send(p, "crel", "");
    ck_assert_ptr_nonnull(strstr(told(m, p), "line key=news what=changed from= to=\n"));
    ck_assert(in_log(m, "event=reloaded keys=\"hash-cost news log-level ping-s room down\"\n"));
    write_text(news_path, "new\n");
    peer_send(p, "crel", "");
    ck_assert_str_eq(told(m, p), "line key=news what=changed from= to=\ncrel STATUS=1\n");
    ck_assert_str_eq(m->shell.state->config.news, "new\n");
    machine_free(m);
}

TEST(reload, a_refusal_says_the_first_fault_and_how_many_more)
{
    char expected[256];
    write_text(path, "");
    struct machine *m = MACHINE("--config", path);
    struct peer *p = operator(m);
    write_text(path, "\nskey = \tmay  be\nlan = 1\n");
    catch_stderr();
    peer_send(p, "crel", "");
    const char *text = told(m, p);
    (void)caught_stderr();
    (void)snprintf(expected, sizeof expected,
                   "crel miss STATUS=0 TEXT=\"%s%%3a2%%3a skey%%3a expected one of%%3a off on, not 'may  be' (and 1 "
                   "more, which the log tells)\"\n",
                   path);
    ck_assert_str_eq(text, expected);
    ck_assert(in_log(m, "level=error event=reload_refused"));
    ck_assert(in_log(m, " uid=1001 result=\"refused\"\n"));
    write_text(path, "lan = 1\n");
    peer_send(p, "crel", "");
    catch_stderr();
    text = told(m, p);
    (void)caught_stderr();
    ck_assert_ptr_nonnull(strstr(text, "%3a1%3a lan%3a expected one of%3a off auto, not '1'\"\n"));
    machine_free(m);
}

/* SIGHUP says the same in the log, and nobody who has not asked is told. */
TEST(reload, a_signal_logs_the_same)
{
    write_text(path, "");
    struct machine *m = MACHINE("--config", path);
    struct peer *p = operator(m);
    write_text(path, "ping-s = 5\nmax-clients = 1\nbind = 127.0.0.1\n");
    signal_machine(m, SIGHUP);
    ck_assert_str_eq(told(m, p), "");
    ck_assert_uint_eq(count_log(m, "level=info event=reloaded keys=\"ping-s\"\n"), 1);
    ck_assert_uint_eq(count_log(m, "level=warn event=restart_wanted keys=\"bind\"\n"), 1); /* the typed one counts */
    ck_assert(!in_log(m, "reload_asked"));
    machine_free(m);
}

TEST(reload, two_who_ask_at_once_and_one_who_leaves_are_all_served)
{
    write_text(path, "");
    struct machine *m = MACHINE("--config", path);
    struct peer *p = operator(m), *other = operator(m), *leaver = operator(m);
    settle_machine(m);
    peer_send(p, "crel", "");
    peer_send(p, "csta", ""); /* waits until that is answered */
    peer_send(other, "crel", "");
    peer_send(leaver, "crel", "");
    leaver->hung_up = true;
    settle_machine(m);
    ck_assert_uint_eq(peer_got(p, "crel"), 1);
    ck_assert_uint_eq(peer_got(p, "csta"), 1);
    ck_assert_uint_eq(peer_got(other, "crel"), 1);
    machine_free(m);
}

TEST(reload, a_reload_is_recorded_and_runs_again)
{
    unsigned long events = 0, checkpoints = 0;
    write_text(path, "");
    struct machine *m = machine_make(NULL);
    m->records = true;
    ck_assert(machine_start(m, ARGUMENTS("--config", path)));
    struct peer *p = operator(m);
    write_text(path, "ping-s = 5\n");
    peer_send(p, "crel", "");
    settle_machine(m);
    write_text(path, "ping-s = x\n");
    peer_send(p, "crel", "");
    catch_stderr();
    settle_machine(m);
    (void)caught_stderr();
    ck_assert_uint_eq(peer_got(p, "line"), 1);
    ck_assert_uint_eq(peer_got(p, "crel"), 2);
    recording_close(&m->shell);
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    ck_assert_msg(!broken, "%s", broken);
    machine_free(m);
}

/* ---- Reports ---------------------------------------------------------------------------------- */

GROUP(reports, NULL, NULL, 0);

/* Whoever has made it waits for its last line. */
TEST(reports, one_that_is_being_written_is_not_closed)
{
    struct outgoing f;
    struct record r = {.kind = RECORD_REPT, .rept = {.id = 1, .at_s = 1767225600, .by = "Ann", .about = "Bob"}};
    struct machine *m = MACHINE("--hash-cost", "4");
    struct peer *p = operator(m);
    r.rept.link = LIVE;
    uint32_t i = pool_take(m->shell.state, &m->shell.state->reports);
    *report_at(m->shell.state, i) = r.rept;
    report_at(m->shell.state, i)->receipt = 5;
    peer_send(p, "crcl", "ID=1\n");
    ck_assert_str_eq(told(m, p), "crcl ingm STATUS=105 TEXT=\"this report is just being written%3a close it later\"\n");
    frame_begin(&f, "drep", "");
    put_raw(&f, tag_ID, "1");
    frame_end(&f);
    ck_assert_int_eq(apply_record(m->shell.state, f.bytes, f.size), BUSY);
    report_at(m->shell.state, i)->receipt = 0;
    peer_send(p, "crcl", "ID=1\n");
    ck_assert_str_eq(told(m, p), "crcl STATUS=1\n");
    machine_free(m);
}
