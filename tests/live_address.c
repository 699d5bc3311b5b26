/* The live test, of addresses that are not what they seem: players behind a proxy,
 * which is a process of its own here and sends what HAProxy would, and a public
 * address that is a host's name.
 *
 * SPDX-License-Identifier: MIT */
#include "proxies.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- A proxy --------------------------------------------------------------- */

static void put_ipv4(uint8_t *out, const struct sockaddr_in *address)
{
    (void)memcpy(out, &address->sin_addr, 4);
}

/* Says in front of a connection to the server whose it is: the header of version 1 or 2. */
static void send_header(int to, int from, int version)
{
    struct sockaddr_in peer, own;
    socklen_t size = sizeof peer;
    char line[128], source[16], destination[16];
    EXPECT(getpeername(from, (struct sockaddr *)&peer, &size) == 0);
    EXPECT(getsockname(from, (struct sockaddr *)&own, &size) == 0);
    if (version == 1) {
        (void)inet_ntop(AF_INET, &peer.sin_addr, source, sizeof source);
        (void)inet_ntop(AF_INET, &own.sin_addr, destination, sizeof destination);
        (void)snprintf(line, sizeof line, "PROXY TCP4 %s %s %u %u\r\n", source, destination, ntohs(peer.sin_port),
                       ntohs(own.sin_port));
        raw_send_bytes(to, line, strlen(line));
        return;
    }
    uint8_t block[35] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13";
    put_ipv4(block + 16, &peer);
    put_ipv4(block + 20, &own);
    (void)memcpy(block + 24, &peer.sin_port, 2);
    (void)memcpy(block + 26, &own.sin_port, 2);
    (void)memcpy(block + 28, "\x04\0\4....", 7); /* a TLV that means nothing */
    raw_send_bytes(to, block, sizeof block);
}

/* Hands on bytes between two connections until either ends. */
static void hand_on(int a, int b)
{
    char bytes[4096];
    for (;;) {
        struct pollfd both[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
        if (poll(both, 2, -1) < 0)
            return;
        for (int i = 0; i < 2; i++) {
            ssize_t n = both[i].revents ? recv(both[i].fd, bytes, sizeof bytes, 0) : 1;
            if (n <= 0)
                return;
            if (both[i].revents && send(both[1 - i].fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
                return;
        }
    }
}

static int connect_through(uint16_t port)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(PROXY_IP)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(SERVER_IP), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT(bind(fd, (struct sockaddr *)&own, sizeof own) == 0);
    EXPECT(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

/* Takes connections, with a process for each. */
static void proxy_run(int listener, uint16_t port, int version)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGCHLD, SIG_IGN);
    for (int from; (from = accept(listener, NULL, NULL)) >= 0; (void)close(from)) {
        if (fork() != 0)
            continue;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int to = connect_through(port);
        send_header(to, from, version);
        hand_on(from, to);
        _exit(0);
    }
    _exit(1);
}

static bool put_proxies_before(const struct server *s, int version)
{
    int listener[PORTS], on = 1;
    bool good = true;
    for (int port = 0; port < PORTS; port++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(s->port[port])};
        address.sin_addr.s_addr = htonl(LOCALHOST);
        listener[port] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        EXPECT(setsockopt(listener[port], SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
        good = good && bind(listener[port], (struct sockaddr *)&address, sizeof address) == 0 &&
               listen(listener[port], 64) == 0;
    }
    for (int port = 0; port < PORTS; port++) {
        if (good && fork() == 0)
            proxy_run(listener[port], s->port[port], version);
        (void)close(listener[port]);
    }
    return good;
}

struct server *start_behind_proxies(const char *const *extra, int version)
{
    struct server *s = start_limited(extra, 0);
    for (int tries = 0; !put_proxies_before(s, version); tries++) {
        EXPECT(tries < 5);
        (void)stop(s, SIGTERM);
        launch(s, extra, 0);
    }
    return s;
}

/* Players who come by a proxy, each from an address of his own, are told apart by that:
 * limits, `who` and the log. */
static void play_through_a_proxy(int version)
{
    static const char *const arguments[] = {
        CHEAP, "--bind", "127.0.0.3", "--proxy-from", "127.0.0.99/32", "--per-address", "2", "--accounts-per-address",
        "1",   NULL};
    struct server *s = start_behind_proxies(arguments, version);
    struct console *ann = player_from(s, "Ann", LOCALHOST + 6)->console;
    struct console *bob = player_from(s, "Bob", LOCALHOST + 7)->console;
    (void)player_from(s, "Cid", LOCALHOST + 8);
    enter(ann, "East");
    enter(bob, "East");
    talk(ann, bob, "hello from behind the proxy");
    EXPECT(log_lines(s, "event=enter", "peer=127.0.0.7 ") == 1);
    EXPECT(log_lines(s, "event=enter", "peer=127.0.0.8 ") == 1);
    EXPECT(!logged(s, "peer=127.0.0.99"));
    int fd = raw_open(s, DIRECTORY, LOCALHOST + 6); /* he has his two connections */
    EXPECT(raw_asks(fd, "@dir", "PROD=NASCAR-PS2-2004\n", "from your address", 2000));
    (void)close(fd);
    fd = raw_open(s, DIRECTORY, LOCALHOST + 9);
    EXPECT(raw_asks(fd, "@dir", "PROD=NASCAR-PS2-2004\n", "ADDR=127.0.0.1\n", 2000)); /* the proxy's */
    (void)close(fd);
}

CASE(players_behind_a_proxy_are_told_apart, 20)
{
    play_through_a_proxy(1);
}

CASE(players_behind_a_proxy_of_version_2_are_told_apart, 20)
{
    play_through_a_proxy(2);
}

CASE(a_proxy_without_a_header_and_a_header_without_a_proxy_are_turned_away, 10)
{
    static const char header[] = "PROXY TCP4 192.0.2.7 192.0.2.1 1 1\r\n";
    struct server *s = START("--proxy-from", "127.0.0.99/32");
    size_t bytes = 0;
    int fd = raw_open(s, DIRECTORY, PROXY_IP);
    raw_send(fd, "@dir", "PROD=NASCAR-PS2-2004\n");
    EXPECT(raw_end(fd, 2000, &bytes) != OPEN && bytes == 0);
    (void)close(fd);
    UNTIL(2000,
          logged(s, "event=bad_proxy_header conn=0 peer=127.0.0.99 reason=\"there is no PROXY header in front\""));
    fd = raw_open(s, DIRECTORY, LOCALHOST + 5);
    raw_send_bytes(fd, header, sizeof header - 1);
    EXPECT(raw_end(fd, 2000, &bytes) != OPEN && bytes == 0);
    (void)close(fd);
    UNTIL(2000, log_lines(s, "event=broken_frame", "peer=127.0.0.6") == 1);
    fd = raw_open(s, DIRECTORY, PROXY_IP);
    for (size_t i = 0; i < sizeof header - 1; i++) {
        raw_send_bytes(fd, header + i, 1);
        if (i % 16 == 0)
            sleep_ms(2);
    }
    EXPECT(raw_asks(fd, "@dir", "PROD=NASCAR-PS2-2004\n", "ADDR=192.0.2.1\n", 2000));
    (void)close(fd);
}

/* ---- A public address that has a name ------------------------------------------- */

static void count_process(pid_t pid, void *sum)
{
    (void)pid;
    ++*(unsigned *)sum;
}

static unsigned processes_of(const struct server *s)
{
    unsigned count = 0;
    for_tree(s->pid, count_process, &count);
    return count;
}

CASE(a_public_address_may_be_a_name, 20)
{
    struct server *s = START("--public-address", "LOCALHOST", "--lan", "off", "--bind", "127.0.0.3");
    UNTIL(5000, logged(s, "event=public_address name=\"LOCALHOST\" to=127.0.0.1"));
    int fd = connect_through(s->port[DIRECTORY]);
    EXPECT(raw_asks(fd, "@dir", "PROD=NASCAR-PS2-2004\n", "ADDR=127.0.0.1\n", 2000));
    (void)close(fd);
    EXPECT(processes_of(s) == 3); /* the server, the helper, and who looks up names */
    (void)stop(s, SIGTERM);
    EXPECT(processes_of(START("--public-address", "192.0.2.1")) == 2);
}

/* A name that nobody has keeps no server from starting and nobody from playing. */
CASE(a_name_that_is_not_found_keeps_nobody_out, 30)
{
    struct server *s = START(CHEAP, "--public-address", "home.invalid", "--lan", "off");
    (void)player(s, "Ann");
    UNTIL(18000, logged(s, "event=host_not_found name=\"home.invalid\" reason="));
    EXPECT(logged(s, "told=\"the address that each console has reached\""));
    EXPECT(stop(s, SIGTERM) < 1000);
}

CASE(a_name_that_can_be_none_ends_with_status_2, 10)
{
    const struct outcome *o = RUN("--public-address", "no_name.example");
    EXPECT(o->status == 2);
    EXPECT(strstr(o->err, "--public-address: expected an IPv4 address, as 192.0.2.1, or the name of a host") != NULL);
}
