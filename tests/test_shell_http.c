/* The page through the shell: its listener, what is told to the core for it, and what a
 * recording has of it.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "suite.h"
#include "machine.c"

static struct machine *m;

static void close_machine(void)
{
    if (m)
        machine_free(m);
    m = NULL;
}

GROUP(page_of_shell, NULL, close_machine, 30);

static struct peer *browser(void)
{
    struct peer *p = peer_new(m);
    p->http = true;
    return p;
}

/* All that a peer has got, as a text. */
static const char *got(struct peer *p)
{
    settle_machine(m);
    p->out = realloc(p->out, p->out_bytes + 1);
    ck_assert(p->out != NULL);
    p->out[p->out_bytes] = 0;
    return (const char *)p->out;
}

static const char *ask(const char *target)
{
    char request[256];
    struct peer *p = browser();
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
    peer_send_bytes(p, request, strlen(request));
    return got(p);
}

#define SEES(target, part) \
    do { \
        const char *text = ask(target); \
        ck_assert_msg(strstr(text, part) != NULL, "no %s in %.3000s", part, text); \
    } while (0)

TEST(page_of_shell, a_browser_and_a_console_each_get_theirs)
{
    m = MACHINE("--http", "8080");
    struct seat seat = seat_new(m, "Ann");
    settle_seats(m, &seat, 1);
    SEES("/", "<a href=/player/Ann>Ann</a>");
    SEES("/", "TCP ports 10600, 11000 and 10899");
    SEES("/api/status", "\"name\":\"Ann\"");
    seat_free(&seat);
}

TEST(page_of_shell, without_the_option_nobody_listens)
{
    m = MACHINE("--hash-cost", "4");
    struct peer *p = browser();
    settle_machine(m);
    ck_assert(!p->accepted);
    ck_assert_int_eq(m->shell.polled[HTTP_LISTENER].fd, -1);
}

TEST(page_of_shell, all_is_well_until_the_disk_or_the_helper_fails)
{
    m = MACHINE("--http", "8080", "--hash-cost", "4");
    SEES("/healthz", "HTTP/1.1 200 OK\r\n");
    m->disk->fail_from = m->disk->calls + 1;
    m->disk->fail_until = m->disk->calls + 2;
    struct peer *p = peer_new(m);
    peer_send(p, "addr", "ADDR=192.0.2.1\n");
    peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    peer_send(p, "auth", "NAME=Ann\nPASS=~\n");
    settle_machine(m);
    m->shell.journal.fd = -1; /* as when a write has failed */
    SEES("/healthz", "HTTP/1.1 503 Service Unavailable\r\n");
    SEES("/healthz", "Nothing can be kept on the disk.\n");
    SEES("/metrics", "\nnascar_journal_failing 1\n");
    machine_free(m);
    m = MACHINE("--http", "8080", "--hash-cost", "4");
    m->helper.dead = m->helper.cannot_start = true;
    settle_machine(m);
    SEES("/healthz", "HTTP/1.1 503 Service Unavailable\r\n");
    SEES("/healthz", "No password can be checked.\n");
    m->helper.cannot_start = false;
    run_machine(m, 1100);
    SEES("/healthz", "HTTP/1.1 200 OK\r\n");
}

/* A full disk is no failed journal, but nothing can be kept either, until it has room. */
TEST(page_of_shell, all_is_not_well_while_the_disk_is_full)
{
    m = MACHINE("--http", "8080", "--hash-cost", "4");
    m->room = 100;
    m->shell.journal_full = true; /* as when a write has found no room */
    SEES("/healthz", "HTTP/1.1 503 Service Unavailable\r\n");
    SEES("/metrics", "\nnascar_journal_failing 1\n");
    m->room = UINT64_MAX;
    SEES("/healthz", "HTTP/1.1 200 OK\r\n"); /* though nothing was kept since */
}

/* The status and the text say the same, though somebody is slow to read and it recovers meanwhile.
 * As many ask as the outbox takes, so one of the answers is cut. */
TEST(page_of_shell, whether_all_is_well_is_said_once)
{
    static const char health[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    m = MACHINE("--http", "8080", "--hash-cost", "4");
    m->helper.dead = m->helper.cannot_start = true;
    settle_machine(m);
    struct peer *p = browser();
    p->window = 0;
    for (int i = 0; i < 12; i++)
        peer_send_bytes(p, health, strlen(health));
    settle_machine(m);
    m->helper.cannot_start = false;
    run_machine(m, 1100);
    SEES("/healthz", "HTTP/1.1 200 OK\r\n");
    p->window = SIZE_MAX;
    const char *text = got(p);
    ck_assert(strstr(text, "HTTP/1.1 503 Service Unavailable\r\n") != NULL);
    for (const char *at = text; (at = strstr(at, "HTTP/1.1 503")) != NULL; at++) {
        const char *body = strstr(at, "\r\n\r\n") + strlen("\r\n\r\n001c\r\n");
        ck_assert_msg(strncmp(body, "No password can be checked.\n", 28) == 0, "%s", at);
    }
}

/* However little is read and written at once, and with calls that fail for the moment. */
TEST_LOOP(page_of_shell, in_small_pieces, 0, 6)
{
    m = MACHINE("--http", "8080");
    m->read_bytes = _i % 3 == 0 ? 1 : 0;
    m->write_bytes = _i % 3 == 1 ? 7 : 0;
    m->one_in = _i % 3 == 2 ? 3 : 0;
    m->records = false;
    const char *text = ask(_i < 3 ? "/" : "/metrics");
    ck_assert_msg(strlen(text) > 5 && strcmp(text + strlen(text) - 7, "\r\n0\r\n\r\n") == 0, "%s", text);
}

/* Others' cookies and passwords are in no recording, and it runs again to the same end. */
TEST_LOOP(page_of_shell, a_recording_has_what_matters_to_us, 0, 3)
{
    static const char *const secret[] = {"c00k1e", "cGFzc3dvcmQ", "p0sted"};
    unsigned long events = 0, checkpoints = 0;
    char filler[3001];
    memset(filler, 'c', 3000);
    filler[3000] = 0;
    m = machine_make(NULL);
    m->records = true;
    ck_assert(machine_start(m, ARGUMENTS("--http", "8080")));
    m->read_bytes = _i == 0 ? 1 : _i == 1 ? 100 : 0;
    struct peer *p = browser();
    char *request = NULL;
    ck_assert(asprintf(&request,
                       "GET / HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nAuthorization: Basic %s\r\nCookie: %s%s\r\n\r\n"
                       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nname=%s\n%s",
                       secret[0], secret[1], filler, secret[0], secret[2], secret[2]) > 0);
    peer_send_bytes(p, request, strlen(request));
    ck_assert_msg(strstr(got(p), "HTTP/1.1 200 OK\r\n") != NULL, "%.500s, %s", got(p), m->log);
    ck_assert(strstr(got(p), "HTTP/1.1 405 Method Not Allowed\r\n") != NULL);
    free(request);
    recording_close(&m->shell);
    for (int i = 0; i < COUNT(secret); i++)
        ck_assert_msg(memmem(m->recording.bytes, m->recording.size, secret[i], strlen(secret[i])) == NULL,
                      "%s is in the recording", secret[i]);
    ck_assert(memmem(m->recording.bytes, m->recording.size, "GET / HTTP/1.1\r\n", 16) != NULL);
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    ck_assert_msg(broken == NULL, "after %lu events: %s", events, broken);
}

/* Who asks for much and reads nothing loses no request by the recording. */
TEST(page_of_shell, what_is_asked_behind_a_page_waits_for_it)
{
    static const char page[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    m = machine_make(NULL);
    m->records = true;
    ck_assert(machine_start(m, ARGUMENTS("--http", "8080", "--hash-cost", "4")));
    struct peer *p = browser();
    p->window = 0;
    for (int i = 0; i < 400; i++)
        peer_send_bytes(p, page, strlen(page));
    settle_machine(m);
    p->window = SIZE_MAX;
    int answers = 0;
    for (const char *at = got(p); (at = strstr(at, "HTTP/1.1 200 OK\r\n")) != NULL; at++)
        answers++;
    ck_assert_int_eq(answers, 400);
}

TEST(page_of_shell, its_port_is_its_own)
{
    static const char *const same[] = {"10600", "11000", "10899"};
    for (int i = 0; i < COUNT(same); i++) {
        struct options o;
        char *arguments[] = {"--http", (char *)(uintptr_t)same[i], NULL};
        ck_assert(!read_options(&o, arguments));
        ck_assert_uint_eq(o.faults, 1);
    }
    struct options o;
    char *arguments[] = {"--http", "0", NULL};
    ck_assert(read_options(&o, arguments));
    ck_assert_uint_eq(o.http_port, 0);
    char *none[] = {NULL};
    ck_assert(read_options(&o, none));
    ck_assert_uint_eq(o.http_port, NONE);
}

TEST(page_of_shell, numbers_are_given_back)
{
    m = MACHINE("--http", "8080", "--trusted", "0.0.0.0/0");
    for (int i = 0; i < 300; i++) {
        SEES("/healthz", "ok\n");
        for (size_t k = 0; k < m->peers; k++)
            m->peer[k].forgotten = m->peer[k].closed;
    }
    ck_assert_uint_le(m->shell.open, NASCAR_HTTP_CONNECTIONS);
    check_shell(m);
}
