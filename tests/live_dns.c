/* The live test, of the DNS service: the real binary, asked by a client of its own and by
 * `dig`, as somebody who looks for a fault would.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1

#include "resolver.h"
#include "server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GAME "ps2nascar04.ea.com"
#define DNAS "gate1.us.dnas.playstation.org"
#define LOGGED "--log-level", "debug"

/* A client that hears only what comes from the address that it asks. */
static int client_of(uint32_t server, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(server)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    EXPECT(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static bool next_reply(int fd, struct reply *r, int ms)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    uint8_t bytes[RESOLVER_BYTES];
    if (poll(&polled, 1, ms) != 1)
        return false;
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    EXPECT(n >= 0);
    const char *wrong = read_reply(bytes, (size_t)n, r);
    if (wrong)
        fail("an answer with %s", wrong);
    return true;
}

/* The address that a name has there; 0: none. */
static uint32_t resolve(uint32_t server, uint16_t port, const char *name)
{
    struct question q;
    struct reply r;
    int fd = client_of(server, port);
    ask_for(&q, 4711, name, TYPE_A, CLASS_IN);
    EXPECT(send(fd, q.bytes, q.size, 0) == (ssize_t)q.size);
    EXPECT(next_reply(fd, &r, 2000));
    (void)close(fd);
    EXPECT(r.id == 4711 && r.type == TYPE_A);
    return r.address;
}

static uint16_t dns_port(const struct server *s)
{
    return port_of(s->ready, "dns");
}

/* As the operator sees it. */
static long stat_of(const struct server *s, const char *name)
{
    char part[64];
    const struct outcome *o = RUN("ctl", "--data", s->data, "--json", "stats");
    (void)snprintf(part, sizeof part, "\"%s\":", name);
    const char *at = strstr(o->out, part);
    if (o->status != 0 || !at)
        fail("no %s in %s", name, o->out);
    return strtol(at + strlen(part), NULL, 10);
}

/* ---- A client of its own ----------------------------------------------------------- */

/* What it is told leads to the directory. */
CASE(a_console_finds_the_server_by_dns, 10)
{
    struct server *s = START(LOGGED, "--dns", "0", "--dns-name", DNAS "=192.0.2.9", "--dns-name", "own.example");
    EXPECT(resolve(LOCALHOST, dns_port(s), GAME) == LOCALHOST);
    EXPECT(directory_answers(s, DIRECTORY, 0));
    EXPECT(resolve(LOCALHOST, dns_port(s), DNAS) == 0xC0000209u);
    EXPECT(resolve(LOCALHOST, dns_port(s), "OWN.example") == LOCALHOST);
    EXPECT(resolve(LOCALHOST, dns_port(s), "www.example.org") == 0);
    UNTIL(2000, logged(s, "event=dns peer=127.0.0.1 name=\"www.example.org\" type=1 code=5 address=0.0.0.0"));
    EXPECT(!logged(s, "event=call_refused"));
    EXPECT(stat_of(s, "dns_queries") == 4 && stat_of(s, "dns_answers") == 4);
}

/* A machine has several addresses, and an answer from another one than was asked is none. */
CASE(an_answer_comes_from_the_address_that_was_asked, 10)
{
    struct server *s = START("--dns", "0", "--bind", "0.0.0.0");
    for (uint32_t i = 0; i < 9; i++)
        EXPECT(resolve(LOCALHOST + 3 * i, dns_port(s), GAME) == LOCALHOST + 3 * i);
}

CASE(the_public_address_is_told_as_the_directory_tells_it, 10)
{
    struct server *s = START("--dns", "0", "--public-address", "192.0.2.77", "--lan", "off");
    EXPECT(resolve(LOCALHOST, dns_port(s), GAME) == 0xC000024Du);
    (void)stop(s, SIGTERM);
    s = START("--dns", "0", "--public-address", "192.0.2.77");
    EXPECT(resolve(LOCALHOST, dns_port(s), GAME) == LOCALHOST);
}

CASE(twenty_answers_a_second_and_silence_for_the_rest, 10)
{
    struct server *s = START("--dns", "0");
    struct question q;
    struct reply r;
    unsigned answers = 0;
    int fd = client_of(LOCALHOST, dns_port(s));
    ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
    uint64_t began_ms = now_ms();
    for (int i = 0; i < 100; i++)
        EXPECT(send(fd, q.bytes, q.size, 0) == (ssize_t)q.size);
    while (next_reply(fd, &r, 200))
        answers++;
    bool slow = now_ms() - began_ms > 1000; /* the machine was busy */
    EXPECT(answers == 20 || (slow && answers > 20 && answers <= 40));
    EXPECT(stat_of(s, "dns_dropped") == 100 - (long)answers);
    (void)close(fd);
}

CASE(scraps_and_floods_of_them_end_nothing, 10)
{
    struct server *s = START("--dns", "0");
    uint8_t bytes[65000];
    int fd = client_of(LOCALHOST, dns_port(s));
    srandom(12);
    for (int i = 0; i < 3000; i++) {
        size_t size = (size_t)random() % (i % 100 == 0 ? sizeof bytes : 64);
        for (size_t k = 0; k < size; k++)
            bytes[k] = (uint8_t)random();
        (void)send(fd, bytes, size, MSG_DONTWAIT);
    }
    (void)close(fd);
    sleep_ms(1100);
    EXPECT(resolve(LOCALHOST, dns_port(s), GAME) == LOCALHOST);
    EXPECT(directory_answers(s, DIRECTORY, 0));
    EXPECT(stop(s, SIGTERM) < 1000);
}

CASE(a_recording_with_questions_runs_again, 10)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/dns.rec", folder);
    struct server *s = START("--dns", "0", "--record", path);
    for (int i = 0; i < 5; i++)
        (void)resolve(LOCALHOST, dns_port(s), i % 2 ? GAME : DNAS);
    (void)stop(s, SIGTERM);
    const struct outcome *o = RUN("replay", path);
    EXPECT(o->status == 0 && strstr(o->out, "all as recorded") != NULL);
}

CASE(a_port_that_is_taken_ends_with_status_1, 10)
{
    char port[8];
    struct server *s = START("--dns", "0");
    (void)snprintf(port, sizeof port, "%u", dns_port(s));
    char fresh[128];
    fresh_folder(fresh);
    const struct outcome *o = RUN(SERVER_ARGUMENTS, "--dns", port, "--data", fresh);
    EXPECT(o->status == 1 && strstr(o->err, "dns port ") != NULL && strstr(o->err, "another program has that port"));
}

/* A port that only root may open, kept when root is given up. */
CASE(the_port_of_dns_is_opened_before_root_is_given_up, 10)
{
    if (geteuid() != 0 || instrumented)
        skip("no change of user, as this is not root, or an emulator's process");
    EXPECT(chmod(folder, 0711) == 0);
    char text[16];
    unsigned port = 1023;
    for (bool taken = true; taken; port -= taken) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(LOCALHOST)}};
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        address.sin_port = htons((uint16_t)port);
        taken = bind(fd, (const struct sockaddr *)&address, sizeof address) != 0;
        (void)close(fd);
        EXPECT(port > 900);
    }
    (void)snprintf(text, sizeof text, "%u", port);
    struct server *s = START("--dns", text, "--user", "65534:65533");
    EXPECT(logged(s, " user=65534 group=65533 "));
    EXPECT(resolve(LOCALHOST, (uint16_t)port, GAME) == LOCALHOST);
    EXPECT(!logged(s, "event=call_refused"));
}

/* ---- dig ----------------------------------------------------------------------------- */

/* Questions with the words of dig, and what it prints about the answer. */
static const struct {
    const char *words, *parts[4];
} digs[] = {
    {GAME, {"status: NOERROR", "flags: qr aa rd;", "ANSWER: 1", "\tIN\tA\t127.0.0.1\n"}},
    {GAME " +norecurse", {"flags: qr aa;", "\t60\tIN\tA\t127.0.0.1\n"}},
    {GAME " +noedns", {"status: NOERROR", "ADDITIONAL: 0", "\tIN\tA\t127.0.0.1\n"}},
    {GAME " +dnssec +adflag +cdflag", {"flags: qr aa rd;", "EDNS: version: 0, flags: do; udp: 1232"}},
    {GAME " +subnet=192.0.2.0/24 +nsid", {"status: NOERROR", "EDNS: version: 0, flags:; udp: 1232"}},
    {GAME " +ednsflags=0x7f +ednsopt=65001:00ff", {"status: NOERROR", "\tIN\tA\t127.0.0.1\n"}},
    {GAME " +edns=1 +noednsnegotiation", {"status: BADVERS", "ANSWER: 0"}},
    {GAME " AAAA", {"status: NOERROR", "flags: qr aa rd;", "ANSWER: 0, AUTHORITY: 0"}},
    {GAME " MX", {"status: NOERROR", "ANSWER: 0, AUTHORITY: 0"}},
    {GAME " TYPE65", {"status: NOERROR", "ANSWER: 0"}},
    {GAME " ANY +notcp", {"status: NOERROR", "\tIN\tA\t127.0.0.1\n"}},
    {"pS2NascaR04.Ea.coM", {";pS2NascaR04.Ea.coM.", "pS2NascaR04.Ea.coM.\t60\tIN\tA\t127.0.0.1\n"}},
    {DNAS, {"IN\tA\t192.0.2.9\n"}},
    {"www.example.org", {"status: REFUSED", "flags: qr rd;", "ANSWER: 0"}},
    {". NS", {"status: REFUSED"}},
    {"version.bind TXT CH", {"status: REFUSED"}},
    {GAME " +opcode=notify", {"status: NOTIMP"}},
    {GAME " +opcode=15", {"status: NOTIMP"}},
    {GAME " +header-only +noedns", {"status: FORMERR"}},
};

#define DIGS (sizeof digs / sizeof digs[0])

/* One dig asks all of it: so many answers an address gets in a second. */
CASE(dig_understands_every_answer, 20)
{
    static char out[8 * TEXT_BYTES];
    char command[4 * TEXT_BYTES];
    struct server *s = START("--dns", "0", "--dns-name", DNAS "=192.0.2.9");
    int chars = snprintf(command, sizeof command, "dig -r +tries=1 +time=3");
    for (size_t i = 0; i < DIGS; i++)
        chars += snprintf(command + chars, sizeof command - (size_t)chars, " @127.0.0.1 -p %u %s", dns_port(s),
                          digs[i].words);
    FILE *pipe = popen(strcat(command, " 2>&1"), "r");
    EXPECT(pipe != NULL);
    out[fread(out, 1, sizeof out - 1, pipe)] = '\0';
    int status = pclose(pipe);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        fail("there is no dig: apt-get install bind9-dnsutils");
    if (strstr(out, "alformed") || strstr(out, "mismatch") || strstr(out, "no servers") || strstr(out, "extra"))
        fail("dig is not content: %s", out);
    char *at = strstr(out, "Got answer:");
    for (size_t i = 0; i < DIGS; i++) {
        char *next = at ? strstr(at + 1, "Got answer:") : NULL;
        if (next)
            *next = '\0';
        for (size_t k = 0; at && k < 4 && digs[i].parts[k]; k++)
            if (!strstr(at, digs[i].parts[k]))
                fail("dig %s has no `%s`: %s", digs[i].words, digs[i].parts[k], at);
        if (!at)
            fail("dig %s has no answer", digs[i].words);
        if (next)
            *next = 'G';
        at = next;
    }
}
