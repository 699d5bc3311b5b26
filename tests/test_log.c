/* The log: its two forms, and what a flood of strangers leaves in it. That each
 * line which the suites come by is read in both forms is in machine.c and world.c.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "suite.h"
#include "machine.c"

/* ---- The readers themselves --------------------------------------------------- */

GROUP(readers, NULL, NULL, 0);

static const struct reading {
    const char *line;
    bool text, json; /* which of the two takes it */
} readings[] = {
    {"a=1", true, false},
    {"a=1 b=x c=\"\" d=\"x y\" e=\"\\x22\\xff\"", true, false},
    {"event=close peer=192.0.2.1 reason=\"it = 'this'\"", true, false},
    {"", false, false},
    {"a", false, false},
    {"a=", false, false},
    {"=1", false, false},
    {"a=1 ", false, false},
    {" a=1", false, false},
    {"a=1  b=2", false, false},
    {"a=1 a=2", false, false},
    {"A=1", false, false},
    {"a=x\"", false, false},
    {"a=b=c", false, false},
    {"a=\"x", false, false},
    {"a=\"x\"y", false, false},
    {"a=\"\\\"", false, false},
    {"a=\"\\x2\"", false, false},
    {"a=\"\\x41\"", false, false}, /* A needs no escape */
    {"a=\"\\xFF\"", false, false},
    {"a=\"\xc3\xa4\"", false, false},
    {"a=\x01", false, false},
    {"{\"a\":1}", false, true},
    {"{\"a\":1,\"b\":\"x\",\"c\":\"\",\"d\":\"x y\",\"e\":\"\\u0022\\u00ff\"}", false, true},
    {"{}", false, false},
    {"{\"a\":01}", false, false},
    {"{\"a\":}", false, false},
    {"{\"a\":x}", false, false},
    {"{\"a\":1,}", false, false},
    {"{\"a\":1}}", false, false},
    {"{\"a\":1", false, false},
    {"{a:1}", false, false},
    {"{\"a\":1,\"a\":2}", false, false},
    {"{\"a\" :1}", false, false},
    {"{\"a\":\"x}", false, false},
    {"{\"a\":\"\\x41\"}", false, false},
    {"{\"a\":\"\\u0041\"}", false, false},
    {"{\"a\":\"\n\"}", false, false},
};

TEST_LOOP(readers, what_is_not_well_formed_is_not_taken, 0, COUNT(readings))
{
    struct log_pairs pairs;
    const struct reading *r = &readings[_i];
    ck_assert_int_eq(log_read_text(r->line, strlen(r->line), &pairs) == NULL, r->text);
    ck_assert_int_eq(log_read_json(r->line, strlen(r->line), &pairs) == NULL, r->json);
}

/* ---- The form ----------------------------------------------------------------- */

GROUP(form, NULL, NULL, 30);

static struct machine *m;

static const struct written {
    const char *text, *json;
} writings[] = {
    {"event=enter conn=0 peer=192.0.2.7 account=\"Ann\"",
     "\"event\":\"enter\",\"conn\":0,\"peer\":\"192.0.2.7\",\"account\":\"Ann\""},
    {"n=18446744073709551615 zero=0 zeroes=007 minus=-5 empty=\"\" digits=\"42\" word=42a",
     "\"n\":18446744073709551615,\"zero\":0,\"zeroes\":\"007\",\"minus\":\"-5\",\"empty\":\"\",\"digits\":\"42\","
     "\"word\":\"42a\""},
    {"name=\"\\x22\\x5c\\x0a\\xff\\x1b{}[]:,'=\"", "\"name\":\"\\u0022\\u005c\\u000a\\u00ff\\u001b{}[]:,'=\""},
    {"a=\"x = y\" b=\" \"", "\"a\":\"x = y\",\"b\":\" \""},
    /* What no line has: the form holds all the same. */
    {"path=\"C:\\xyz\\\"", "\"path\":\"C:\\u005cxyz\\u005c\""},
    {"a=\"\t\x7f\xc3\"", "\"a\":\"\\u0009\\u007f\\u00c3\""},
    {"a=1 b", "\"a\":1"},
    {"a=1 b=\"open", "\"a\":1"},
};

TEST_LOOP(form, json_says_what_the_text_says, 0, COUNT(writings))
{
    struct log_line line;
    struct log_pairs pairs;
    char expected[512];
    write_log_line(&line, "time=now", writings[_i].text, "lost=3", true);
    (void)snprintf(expected, sizeof expected, "{\"time\":\"now\",%s,\"lost\":3}\n", writings[_i].json);
    ck_assert_uint_eq(line.size, strlen(expected));
    ck_assert_mem_eq(line.bytes, expected, line.size);
    ck_assert_ptr_null(log_read_json(line.bytes, line.size - 1, &pairs));
}

/* However long a line is, and wherever that cuts it: it is one, in its form, of
 * bounded size, and says what was lost. */
TEST(form, a_long_line_is_cut_and_stays_in_its_form)
{
    static const char *const parts[] = {"x", "\\x22", "\\xff", "xy", " ", "="};
    for (size_t part = 0; part < 2 * COUNT(parts); part++) {
        for (size_t chars = 1900; chars < 2100; chars++) {
            char text[4096] = "event=long a=\"";
            size_t at = strlen(text), step = strlen(parts[part / 2]);
            for (; at + step < chars; at += step)
                memcpy(text + at, parts[part / 2], step + 1);
            (void)strcpy(text + at, "\" b=1 c=\"last\"");
            struct log_line line;
            struct log_pairs pairs;
            bool json = part % 2 == 1;
            write_log_line(&line, "time=now level=info", text, "lost=4294967295", json);
            EXPECT(line.size <= sizeof line.bytes && line.bytes[line.size - 1] == '\n');
            const char *wrong = (json ? log_read_json : log_read_text)(line.bytes, line.size - 1, &pairs);
            if (wrong)
                ck_abort_msg("%s: %.*s", wrong, (int)line.size, line.bytes);
            EXPECT(strcmp(log_value(&pairs, "lost"), "4294967295") == 0);
            EXPECT(strcmp(log_value(&pairs, "event"), "long") == 0);
        }
    }
}

/* A day of a server, whose log is JSON. Each line is read by machine.c. */
static void a_day(void)
{
    struct seat seats[2] = {seat_new(m, "Ann"), seat_new(m, "Bob")};
    settle_seats(m, seats, 2);
    console_move(seats[0].console, "East", "");
    console_move(seats[1].console, "East", "");
    settle_seats(m, seats, 2);
    run_machine(m, STRANGER_MS);
    struct peer *p = peer_new(m);
    peer_send(p, "auth", "NAME=\"A %22\\%01%ff nn\"\nPASS=~no\n");
    peer_send(p, "a\"\\~", "");
    settle_machine(m);
    run_machine(m, STRANGER_MS);
    peer_send_bytes(p, "\1\2\3", 3);
    m->helper.dead = true;
    settle_machine(m);
    m->accept_error = EMFILE;
    (void)peer_new(m);
    settle_machine(m);
    m->accept_error = 0;
    run_machine(m, 3000);
    m->wall_offset_s += 86400;
    run_machine(m, 3000);
    signal_machine(m, SIGHUP);
    settle_machine(m);
    console_leave(seats[0].console);
    settle_seats(m, seats, 2);
    seat_free(&seats[0]);
    seat_free(&seats[1]);
}

TEST(form, a_server_logs_json_where_it_is_asked_to)
{
    static const char *const told[] = {
        "\"level\":\"info\",\"event\":\"connect\",\"conn\":0,\"peer\":\"198.51.100.1\"}\n",
        "\"level\":\"info\",\"event\":\"enter\",\"conn\":",
        "\"persona\":\"Ann\"}\n",
        "\"event\":\"login_refused\",\"conn\":",
        "\"event\":\"unknown_kind\",",
        "\"kind\":\"a\\u0022\\u005c~\"}\n",
        "\"event\":\"broken_frame\",",
        "\"starts\":\"010203\"}\n",
        "\"event\":\"frame\",",
        "\"level\":\"error\",\"event\":\"helper_died\",\"advice\":\"it is started again\"}\n",
        "\"level\":\"warn\",\"event\":\"accept_paused\",\"connections\":",
        "\"event\":\"clock_set\",\"from\":\"2026-",
        "\"event\":\"reloaded\",\"keys\":\"\"}\n",
    };
    m = MACHINE("--hash-cost", "4", "--log-format", "json", "--log-level", "debug");
    a_day();
    for (int i = 0; i < COUNT(told); i++)
        if (!in_log(m, told[i]))
            ck_abort_msg("not told: %s, but: %.2000s", told[i], m->log);
    ck_assert(!in_log(m, "\ntime="));
    machine_free(m);
    m = MACHINE("--hash-cost", "4", "--log-format", "text", "--log-level", "debug");
    a_day();
    ck_assert(!in_log(m, "{") && in_log(m, "Z level=info event=reloaded keys=\"\"\n"));
    machine_free(m);
}

TEST(form, lines_that_were_lost_are_told_in_json_too)
{
    m = MACHINE("--log-format", "json");
    m->log_full = true;
    while (m->shell.log_lost < 3)
        shell_log(&m->shell, NASCAR_LOG_WARN,
                  "event=test text=\"as long as a line may be, so that few of them do it\"");
    m->log_full = false;
    run_machine(m, 2000);
    shell_log(&m->shell, NASCAR_LOG_WARN, "event=test");
    shell_log_flush(&m->shell);
    ck_assert(in_log(m, "\"event\":\"test\",\"lost\":3}\n"));
    machine_free(m);
}

/* A reload changes the form, and a wrong word changes nothing. */
TEST(form, a_reload_changes_the_form)
{
    char path[] = "/tmp/nascar-log-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    m = MACHINE("--config", path);
    static const struct {
        const char *config, *last;
    } reloads[] = {{"log-format = json\n", "\"event\":\"reloaded\",\"keys\":\"log-format\"}\n"},
                   {"log-format = xml\n", "\"event\":\"reload_refused\","},
                   {"", "Z level=info event=reloaded keys=\"log-format\"\n"}};
    serving = &m->shell;
    for (int i = 0; i < COUNT(reloads); i++) {
        FILE *file = fopen(path, "w");
        ck_assert(file && fputs(reloads[i].config, file) >= 0 && fclose(file) == 0);
        signal_machine(m, SIGHUP);
        settle_machine(m);
        ck_assert_msg(in_log(m, reloads[i].last), "%s", m->log);
    }
    serving = NULL;
    ck_assert(in_log(m, ":1: log-format: expected one of: text json"));
    (void)unlink(path);
    machine_free(m);
}

/* The last word of a server at fault has the form, too. */
TEST(form, a_fault_is_told_in_the_form_of_the_log)
{
    for (int json = 0; json < 2; json++) {
        int ends[2];
        char text[512];
        struct log_pairs pairs;
        struct shell sh;
        ck_assert_int_eq(pipe(ends), 0);
        memset(&sh, 0, sizeof sh);
        sh.log_fd = ends[1];
        sh.options.log_json = (uint32_t)json;
        (void)signal(SIGUSR1, SIG_IGN);
        serving = &sh;
        on_fault(SIGUSR1);
        serving = NULL;
        ssize_t n = read(ends[0], text, sizeof text);
        ck_assert_int_gt(n, 1);
        ck_assert_ptr_null((json ? log_read_json : log_read_text)(text, (size_t)n - 1, &pairs));
        ck_assert_str_eq(log_value(&pairs, "event"), "died");
        ck_assert_str_eq(log_value(&pairs, "level"), "error");
        (void)close(ends[0]);
        (void)close(ends[1]);
    }
}

/* ---- A flood ------------------------------------------------------------------- */

GROUP(flood, NULL, NULL, 60);

enum deed { SILENT, BROKEN, ASKS, REFUSED_LOGIN, DEEDS };

/* Somebody comes, does one thing, and goes. */
static void one_stranger(enum deed deed)
{
    struct peer *p = peer_new(m);
    if (deed == BROKEN)
        peer_send_bytes(p, "GET / HTTP/1.0\r\n\r\n", 18);
    if (deed == ASKS)
        peer_send(p, "@dir", "PROD=NASCAR\n");
    if (deed == REFUSED_LOGIN)
        peer_send(p, "auth", "NAME=Nobody Here\nPASS=!\n");
    settle_machine(m);
    p->hung_up = true;
    settle_machine(m);
    ck_assert(p->closed);
    p->forgotten = true;
}

/* When each line was logged that is about strangers: all that are not about these
 * two connections. */
static uint64_t logged_ms[50000];
static size_t logged, noted;
static char anns[2][16];

static void note_lines(void)
{
    shell_log_flush(&m->shell);
    for (const char *at = m->log + noted, *end; *at; at = end + 1) {
        end = strchr(at, '\n');
        size_t size = (size_t)(end - at);
        if (!memmem(at, size, anns[0], strlen(anns[0])) && !memmem(at, size, anns[1], strlen(anns[1])) &&
            !memmem(at, size, "=test", 5))
            logged_ms[logged++] = m->now_ms;
    }
    noted = m->log_bytes;
}

static void expect_no_eleven_in_a_second(size_t from)
{
    for (size_t i = from + STRANGER_LINES; i < logged; i++)
        ck_assert_uint_ge(logged_ms[i] - logged_ms[i - STRANGER_LINES], STRANGER_MS);
}

/* All numbers that the lines about those left out have told. */
static uint64_t told_left_out(void)
{
    uint64_t sum = 0;
    for (const char *at = m->log; (at = strstr(at, "event=lines_left_out n=")) != NULL; at++)
        sum += strtoull(at + strlen("event=lines_left_out n="), NULL, 10);
    return sum;
}

/* Ann is in the lobby, and the log is quiet. */
static struct seat ann_is_there(void)
{
    struct seat seat = seat_new(m, "Ann");
    settle_seats(m, &seat, 1);
    ck_assert_uint_eq(m->shell.open, 2);
    for (uint32_t i = 0; i < 2; i++)
        (void)snprintf(anns[i], sizeof anns[i], " conn=%u ", m->shell.number_of[i]);
    run_machine(m, 3000);
    noted = m->log_bytes;
    logged = 0;
    return seat;
}

/* A thousand come and go in a second: there are ten lines about them in any second
 * at most, of whatever sort and level; the log says how many there would have been;
 * and what a player does is told as ever. */
TEST_LOOP(flood, a_thousand_strangers_leave_ten_lines_a_second, 0, DEEDS * 2)
{
    enum deed deed = (enum deed)(_i % DEEDS);
    size_t at_once = _i < DEEDS ? 0 : STRANGERS_KEPT; /* with frames, they may come faster at first */
    m = MACHINE("--hash-cost", "4", "--log-level", _i < DEEDS ? "info" : "debug", "--per-address", "1000");
    struct seat seat = ann_is_there();
    uint64_t began_ms = m->now_ms;
    unsigned moves = 0;
    for (unsigned i = 0; i < 1000; i++) {
        m->now_ms += i % 10 == 9 ? 10 : 0;
        one_stranger(deed);
        note_lines();
        if (i % 100 == 50) {
            console_move(seat.console, moves++ % 2 ? "West" : "East", "");
            settle_seats(m, &seat, 1);
            note_lines();
        }
    }
    uint64_t took_ms = m->now_ms - began_ms;
    ck_assert_uint_ge(took_ms, 1000);
    ck_assert_uint_lt(took_ms, 1100);
    ck_assert_uint_le(logged, at_once + 2 * STRANGER_LINES);
    ck_assert_uint_ge(logged, STRANGER_LINES - 2);
    for (int i = 0; i < 200; i++) {
        run_machine(m, 10);
        note_lines();
    }
    expect_no_eleven_in_a_second(at_once);
    /* Each had a line when it came, and one when it went, at least. */
    ck_assert_uint_ge(told_left_out() + logged, 2000);
    ck_assert_uint_eq(told_left_out(), m->shell.metrics[NASCAR_LOG_LINES_LEFT_OUT]);
    ck_assert_uint_eq(count_log(m, "event=move"), moves + 0);
    seat_free(&seat);
    machine_free(m);
}

/* Who looks at level debug why a console gives up sees all that it says before it
 * logs in, however fast it is; a minute later again. */
TEST(flood, the_frames_of_a_console_on_its_way_in_are_all_told)
{
    m = MACHINE("--hash-cost", "4", "--log-level", "debug");
    for (size_t i = 0; i < 3; i++) {
        struct seat seat = seat_new(m, "Ann");
        settle_seats(m, &seat, 1);
        ck_assert_uint_eq(count_log(m, "way=in kind=\"@dir\""), i + 1);
        ck_assert_uint_eq(count_log(m, "way=out kind=\"skey\""), i + 1);
        ck_assert_uint_eq(count_log(m, "way=in kind=\"auth\""), i + 1);
        console_leave(seat.console);
        settle_seats(m, &seat, 1);
        run_machine(m, STRANGERS_MS);
        seat_free(&seat);
    }
    ck_assert(!in_log(m, "lines_left_out"));
    machine_free(m);
}

/* What deserves a look finds its place behind what does not; once. */
TEST(flood, a_warning_is_not_lost_behind_those_who_come_and_go)
{
    m = MACHINE("--hash-cost", "4", "--per-address", "1000");
    for (int i = 0; i < 100; i++)
        one_stranger(SILENT);
    for (int i = 0; i < 100; i++)
        one_stranger(BROKEN);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(count_log(m, "event=broken_frame"), 1);
    ck_assert_uint_eq(count_log(m, "\n"), STRANGER_LINES - 1);
    run_machine(m, STRANGER_MS + 10);
    ck_assert_uint_eq(count_log(m, "level=warn event=lines_left_out n=491\n"), 1);
    machine_free(m);
}

/* Lines that no level asks for take nobody's place, and are not said to be missing. */
TEST(flood, a_quiet_level_counts_what_it_would_log)
{
    m = MACHINE("--hash-cost", "4", "--per-address", "1000", "--log-level", "warn");
    for (int i = 0; i < 20; i++)
        one_stranger(SILENT);
    ck_assert_uint_eq(m->shell.metrics[NASCAR_LOG_LINES_LEFT_OUT], 0);
    for (int i = 0; i < 20; i++)
        one_stranger(BROKEN);
    run_machine(m, STRANGER_MS + 10);
    ck_assert_uint_eq(count_log(m, "event=broken_frame"), STRANGER_LINES - 1);
    ck_assert_uint_eq(count_log(m, "level=warn event=lines_left_out n=11\n"), 1);
    machine_free(m);
}

/* Once a second, and a last time when the server ends. */
TEST(flood, the_number_of_those_left_out_is_told_at_the_end_too)
{
    m = MACHINE("--hash-cost", "4", "--per-address", "1000");
    for (int i = 0; i < 20; i++)
        one_stranger(SILENT);
    ck_assert(!in_log(m, "lines_left_out"));
    signal_machine(m, SIGTERM);
    shell_loop(&m->shell);
    const char *left_out = strstr(m->log, "level=info event=lines_left_out n=32\n");
    ck_assert_ptr_nonnull(left_out);
    ck_assert_ptr_nonnull(strstr(left_out, "event=stop"));
    machine_free(m);
}

/* Ten players who come at once are no flood in what tells of players. */
TEST(flood, players_who_come_together_are_all_told)
{
    struct seat seats[10];
    char name[32];
    m = MACHINE("--hash-cost", "4", "--per-address", "1000");
    for (int i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof name, "Ann%d", i);
        seats[i] = seat_new(m, name);
    }
    settle_seats(m, seats, 10);
    ck_assert_uint_eq(count_log(m, "event=login "), 10);
    ck_assert_uint_eq(count_log(m, "event=enter "), 10);
    for (int i = 0; i < 10; i++) {
        console_leave(seats[i].console);
        settle_seats(m, &seats[i], 1);
    }
    for (int i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof name, "persona=\"Ann%d\" r", i);
        ck_assert_uint_ge(count_log(m, name), 1); /* event=close, with its reason */
        seat_free(&seats[i]);
    }
    machine_free(m);
}
