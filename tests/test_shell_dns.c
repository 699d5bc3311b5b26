/* The shell around the DNS service: its socket in the loop, its options, and what is
 * recorded of it.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "resolver.h"
#include "suite.h"
#include "machine.c"

GROUP(shell_dns, NULL, NULL, 30);

#define ASKER 0xC6336407u
#define REACHED 0xC0000201u
#define DNAS "gate1.us.dnas.playstation.org"

static bool ask_from(struct machine *m, uint32_t peer, const char *name)
{
    struct question q;
    ask_for(&q, 77, name, TYPE_A, CLASS_IN);
    return datagram_send(m, peer, q.bytes, q.size);
}

static uint32_t told(const struct machine *m)
{
    struct reply r;
    const char *wrong = read_reply(m->answer.bytes, m->answer.size, &r);
    ck_assert_msg(wrong == NULL, "%s", wrong ? wrong : "");
    return r.answers ? r.address : 0;
}

TEST(shell_dns, it_answers_whoever_asks)
{
    struct machine *m = MACHINE("--dns", "53", "--dns-name", DNAS "=192.0.2.9");
    ck_assert(ask_from(m, ASKER, GAME_HOST));
    settle_machine(m);
    ck_assert_uint_eq(m->answers, 1);
    ck_assert(m->answer.peer == ASKER && m->answer.port == 40000 && m->answer.local == REACHED);
    ck_assert_uint_eq(told(m), REACHED);
    ck_assert(ask_from(m, ASKER, DNAS));
    settle_machine(m);
    ck_assert_uint_eq(told(m), 0xC0000209u);
    ck_assert(datagram_send(m, ASKER, "", 0));
    ck_assert(datagram_send(m, ASKER, "\1\2\3", 3));
    settle_machine(m);
    ck_assert_uint_eq(m->answers, 2);
    machine_free(m);
}

/* It is off by default, and then costs no descriptor. (Any use of it fails in the machine.) */
TEST(shell_dns, without_the_option_there_is_none)
{
    struct machine *on = MACHINE("--dns", "0"), *off = MACHINE("--log-level", "debug");
    settle_machine(on);
    settle_machine(off);
    ck_assert_uint_eq(off->shell.port[LISTENERS], NONE);
    ck_assert_int_eq(off->shell.polled[DATAGRAMS].fd, -1);
    ck_assert_uint_eq(open_descriptors(&on->shell), open_descriptors(&off->shell) + 1);
    machine_free(on);
    machine_free(off);
}

/* A datagram that is longer than any question is read as far as it fits, and the next one is whole. */
TEST(shell_dns, one_that_is_too_long_is_cut_and_malformed)
{
    struct machine *m = MACHINE("--dns", "53");
    struct reply r;
    uint8_t bytes[1500] = {1, 2, 1, 0, 0, 1};
    ck_assert(datagram_send(m, ASKER, bytes, sizeof bytes));
    ck_assert(ask_from(m, ASKER + 1, GAME_HOST));
    turn(m, m->now_ms);
    ck_assert_uint_eq(m->answers, 2);
    ck_assert_uint_eq(told(m), REACHED);
    ck_assert(datagram_send(m, ASKER, bytes, sizeof bytes));
    turn(m, m->now_ms);
    ck_assert_ptr_null(read_reply(m->answer.bytes, m->answer.size, &r));
    ck_assert_uint_eq(r.code, FORMERR);
    machine_free(m);
}

static void flood(struct machine *m)
{
    for (int i = 0; i < QUESTIONS && ask_from(m, ASKER + (uint32_t)i, GAME_HOST); i++)
        continue;
}

/* Whoever asks without end holds up neither those who play nor their deadlines. */
TEST(shell_dns, a_flood_holds_nobody_up)
{
    struct machine *m = MACHINE("--dns", "53");
    m->tick_us = 500;
    m->at_poll = flood;
    struct peer *p = peer_new(m), *silent = peer_new(m);
    peer_send(p, "@dir", "PROD=x\n");
    turn(m, m->now_ms);
    turn(m, m->now_ms);
    turn(m, m->now_ms);
    ck_assert_uint_eq(peer_got(p, "@dir"), 1);
    ck_assert_uint_eq(m->asks, QUESTIONS - DATAGRAMS_PER_TURN);
    for (uint64_t end_ms = m->now_ms + 11000; m->now_ms < end_ms;)
        turn(m, end_ms);
    ck_assert(p->closed && silent->closed);
    machine_free(m);
}

/* A call that is cut short, or has to wait, ends no more than the turn; an answer that cannot be sent is lost. */
TEST(shell_dns, calls_that_fail_end_nothing)
{
    struct machine *m = MACHINE("--dns", "53");
    m->one_in = 3;
    for (uint32_t i = 0; i < 150; i++)
        ck_assert(ask_from(m, ASKER + i, GAME_HOST));
    settle_machine(m);
    ck_assert_uint_eq(m->asks, 0);
    ck_assert_uint_ge(m->answers, 50);
    ck_assert_uint_lt(m->answers, 150);
    machine_free(m);
}

/* When there are no descriptors for connections it still answers; when it has been told to stop, it does not. */
TEST(shell_dns, it_needs_no_connection)
{
    struct machine *m = MACHINE("--dns", "53");
    m->accept_error = EMFILE;
    (void)peer_new(m);
    settle_machine(m);
    ck_assert(in_log(m, "event=accept_paused"));
    ck_assert(ask_from(m, ASKER, GAME_HOST));
    settle_machine(m);
    ck_assert_uint_eq(m->answers, 1);
    m->accept_error = 0;
    m->shell.stopping = true;
    ck_assert(ask_from(m, ASKER, GAME_HOST));
    settle_machine(m);
    ck_assert_uint_eq(m->answers, 1);
    machine_free(m);
}

TEST(shell_dns, it_answers_when_poll_refuses)
{
    struct machine *m = MACHINE("--dns", "53");
    m->poll_most = 3;
    ck_assert(ask_from(m, ASKER, GAME_HOST));
    run_machine(m, 100);
    ck_assert_uint_eq(m->answers, 1);
    machine_free(m);
}

/* At level debug a line says what a console looks for; a flood of these does not fill the disk. */
TEST_LOOP(shell_dns, what_is_asked_for_is_logged_at_debug, 0, 2)
{
    struct machine *m = MACHINE("--dns", "53", "--log-level", _i == 0 ? "info" : "debug");
    ck_assert(ask_from(m, ASKER, DNAS));
    settle_machine(m);
    ck_assert_int_eq(in_log(m, "level=debug event=dns peer=198.51.100.7 name=\"" DNAS
                               "\" type=1 code=5 address=0.0.0.0\n"),
                     _i);
    for (uint32_t i = 0; i < 150; i++)
        ck_assert(ask_from(m, ASKER + i, DNAS));
    settle_machine(m);
    ck_assert_uint_eq(m->answers, 151);
    ck_assert_uint_le(count_log(m, "event=dns"), STRANGERS_KEPT + STRANGER_LINES);
    machine_free(m);
}

/* Real sockets: at which address a datagram came is known, and an answer leaves from there. What is longer than there
 * is room for is cut, and when there is none, nothing waits. */
TEST(shell_dns, real_datagrams_say_where_they_came)
{
    struct options o;
    uint8_t bytes[32] = {0};
    uint32_t port = 0;
    options_defaults(&o);
    int fd = open_port(&o, LISTENERS, &port), client = socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert(fd >= 0 && client >= 0 && port != 0);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    struct nascar_datagram d = {.bytes = bytes, .size = sizeof bytes};
    ck_assert_int_eq(system_exchange(NULL, fd, false, &d), -1);
    ck_assert(errno == EAGAIN || errno == EWOULDBLOCK);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000005)},
                       to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(0x7F000003),
                             .sin_port = htons((uint16_t)port)};
    ck_assert_int_eq(bind(client, (struct sockaddr *)&own, sizeof own), 0);
    ck_assert_int_eq(connect(client, (struct sockaddr *)&to, sizeof to), 0);
    for (int size = 0; size < 60; size += 20) {
        d.size = sizeof bytes;
        ck_assert_int_eq(send(client, "a question that is longer than there is room for, and more", (size_t)size, 0),
                         size);
        ck_assert_int_eq(system_exchange(NULL, fd, false, &d), size < 32 ? size : 32);
        ck_assert(d.peer == 0x7F000005 && d.local == 0x7F000003 && d.port != 0);
        d.size = 5;
        ck_assert_int_eq(system_exchange(NULL, fd, true, &d), 5);
        ck_assert_int_eq(recv(client, bytes, sizeof bytes, 0), 5);
    }
    (void)close(client);
    (void)close(fd);
}

/* ---- Recordings ------------------------------------------------------------------ */

static void expect_same_again(const struct machine *m, unsigned long least)
{
    unsigned long events = 0, checkpoints = 0;
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    ck_assert_msg(broken == NULL, "after %lu events: %s", events, broken ? broken : "");
    ck_assert_uint_ge(checkpoints, 1);
    ck_assert_uint_ge(events, least);
}

TEST(shell_dns, a_recording_has_the_questions_and_runs_again)
{
    struct machine *m = machine_make(NULL);
    m->records = true;
    ck_assert(machine_start(m, ARGUMENTS("--dns", "53", "--public-address", "192.0.2.77", "--dns-name", DNAS)));
    for (uint32_t i = 0; i < 100; i++) {
        ck_assert(ask_from(m, ASKER + i % 3, i % 2 ? DNAS : GAME_HOST));
        ck_assert(datagram_send(m, 0xC0000205u, "scrap of a question", i % 20));
        settle_machine(m);
        run_machine(m, 10);
    }
    ck_assert_uint_gt(m->answers, 60);
    recording_close(&m->shell);
    expect_same_again(m, 200);
    /* It is the answers that are compared: with another byte in a question the end is another one. */
    uint8_t *at = memmem(m->recording.bytes, m->recording.size, "ps2nascar04", 11);
    ck_assert_ptr_nonnull(at);
    at[0] = 'P';
    unsigned long events = 0, checkpoints = 0;
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    ck_assert_ptr_nonnull(broken);
    machine_free(m);
}

/* What an event carries comes back from a script; of a cut one what is missing is 0. */
TEST(shell_dns, a_script_holds_a_datagram)
{
    static const uint8_t bytes[] = {9, 8, 7};
    struct nascar_event e = {.type = NASCAR_DATAGRAM,
                             .conn = NONE,
                             .service = NASCAR_SERVICE_DNS,
                             .peer = ASKER,
                             .port = 65535,
                             .local = REACHED,
                             .bytes = bytes,
                             .size = sizeof bytes},
                        again;
    uint8_t script_bytes[64];
    bool checkpoint;
    struct nascar_limits limits = NASCAR_LIMITS_DEFAULT;
    uint32_t n = script_write_event(script_bytes, e.type, &e, 5);
    memcpy(script_bytes + n, bytes, sizeof bytes);
    for (uint32_t cut = 0; cut <= n; cut++) {
        struct script script;
        script_open(&script, script_bytes, n + sizeof bytes - cut, &limits);
        if (!script_next(&script, &again, &checkpoint))
            continue;
        ck_assert(again.type == NASCAR_DATAGRAM && again.conn == NONE);
        ck_assert_uint_eq(again.size, cut < 3 ? 3 - cut : 0);
        if (cut > 3)
            continue;
        ck_assert(again.service == e.service && again.peer == e.peer && again.port == e.port && again.local == e.local);
        ck_assert_mem_eq(again.bytes, bytes, again.size);
    }
}

/* ---- Options ------------------------------------------------------------------------ */

static char path[] = "/tmp/nascar-dns-XXXXXX";

static void write_config(const char *text)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

TEST(shell_dns, names_change_with_a_reload_and_the_port_with_a_restart)
{
    (void)close(mkstemp(path));
    write_config("dns = 53\ndns-name = one.example=192.0.2.1\ndns-name = \"two.example\"\n");
    struct machine *m = MACHINE("--config", path);
    ck_assert(ask_from(m, ASKER, "two.example"));
    settle_machine(m);
    ck_assert_uint_eq(told(m), REACHED);
    write_config("dns = 54\ndns-name = one.example=192.0.2.3\n");
    signal_machine(m, SIGHUP);
    settle_machine(m);
    ck_assert(in_log(m, "event=reloaded keys=\"dns-name\"") && in_log(m, "event=restart_wanted keys=\"dns\""));
    ck_assert(ask_from(m, ASKER, "one.example"));
    settle_machine(m);
    ck_assert_uint_eq(told(m), 0xC0000203u);
    ck_assert(ask_from(m, ASKER, "two.example"));
    settle_machine(m);
    ck_assert_uint_eq(told(m), 0);
    ck_assert_uint_eq(m->shell.options.dns_port, 53);
    write_config("dns-name = one.example=192.0.2.3\n");
    signal_machine(m, SIGHUP);
    settle_machine(m);
    ck_assert_uint_eq(count_log(m, "event=restart_wanted keys=\"dns\""), 2);
    ck_assert_uint_eq(m->shell.options.dns_port, 53);
    machine_free(m);
    (void)unlink(path);
}

TEST(shell_dns, names_on_the_command_line_take_the_place_of_the_files)
{
    struct options o;
    (void)close(mkstemp(path));
    write_config("dns-name = one.example\ndns-name = two.example\nroom = Mine\n");
    const char *typed[] = {"--config", path, "--dns=5353", "--dns-name=three.example=192.0.2.3", NULL};
    ck_assert(read_options(&o, (char **)(uintptr_t)typed));
    ck_assert_uint_eq(o.config.dns_name_count, 1);
    ck_assert_uint_eq(o.config.room_count, 1);
    ck_assert_uint_eq(o.config.dns_name[0].address, 0xC0000203u);
    ck_assert_str_eq(o.lists[DNS_NAMES].lines, "dns-name = three.example=192.0.2.3\n");
    ck_assert_uint_eq(o.dns_port, 5353);
    (void)unlink(path);
}

TEST(shell_dns, faults_of_its_options_are_told)
{
    static const char *const rows[][2] = {
        {"--dns", "65536"}, {"--dns", "off"}, {"--dns", ""}, {"--dns-name", "a_b"}, {"--dns-name", "x=1"}};
    for (int i = 0; i < COUNT(rows); i++) {
        struct options o;
        const char *arguments[] = {rows[i][0], rows[i][1], NULL};
        ck_assert(!read_options(&o, (char **)(uintptr_t)arguments));
        ck_assert_uint_eq(o.faults, 1);
    }
}
