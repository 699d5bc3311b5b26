/* Players who come through a proxy, which names them by a header of HAProxy's
 * PROXY protocol (doc/proxy-protocol.txt there): each form of it, whole and byte by
 * byte, and that all that goes by address goes by the one that it names.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"

GROUP(proxy, open_world, close_world, 0);

#define PROXY_IP 0x0A000001u  /* 10.0.0.1 */
#define PLAYER_IP 0xC0A84D07u /* 192.168.77.7 */
#define CONFIG "proxy-from = 10.0.0.0/30\nproxy-from = 10.9.9.9/32\n"
#define NAMED "PROXY TCP4 192.168.77.7 192.168.77.1 50000 11000\r\n"
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2(text) SIGNATURE text, sizeof(SIGNATURE text) - 1

/* 192.168.77.7 to 192.168.77.1, ports 50000 and 11000. */
#define ADDRESSES "\xC0\xA8\x4D\x07\xC0\xA8\x4D\x01\xC3\x50\x2A\xF8"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xFF\xFF"

/* A connection that a proxy hands on; a text, or so many bytes. */
static struct raw *handed_on(const void *header, size_t size)
{
    struct raw *r = raw_open(w, PROXY_IP);
    raw_send_bytes(r, header, size);
    world_settle(w);
    return r;
}

static struct raw *named(uint32_t ip)
{
    char line[128];
    (void)snprintf(line, sizeof line, "PROXY TCP4 %s 203.0.113.10 50000 11000\r\n", dotted(ip));
    return handed_on(line, strlen(line));
}

/* Which address the server takes a client for: that of its next line in the log. */
static bool last_line_has(const char *part)
{
    return w->log_count > 0 && strstr(w->log[w->log_count - 1], part) != NULL;
}

struct header {
    const char *bytes;
    size_t size;      /* 0: a text */
    const char *peer; /* whom it names; NULL: it is refused */
    const char *why;  /* part of the reason; of a good one: the address that a neighbour is told */
};

static const struct header headers[] = {
    /* version 1 */
    {NAMED, 0, "192.168.77.7", "192.168.77.1"},
    {"PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n", 0, "1.2.3.4", "5.6.7.8"},
    {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", 0, "255.255.255.255", "255.255.255.255"},
    {"PROXY TCP4 1.2.3.4 0.0.0.0 1 1\r\n", 0, "1.2.3.4", "203.0.113.10"}, /* it does not say */
    {"PROXY UNKNOWN\r\n", 0, "10.0.0.1", "203.0.113.10"},
    {"PROXY UNKNOWN \r\n", 0, "10.0.0.1", "203.0.113.10"},
    {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", 0,
     "10.0.0.1", "203.0.113.10"}, /* the longest */
    {"PROXY UNKNOWN what\tever \xFF it says\r\n", 0, "10.0.0.1", "203.0.113.10"},
    {"PROXY TCP6 ::ffff:192.168.77.7 ::ffff:192.168.77.1 1 1\r\n", 0, "192.168.77.7", "192.168.77.1"},
    {"PROXY TCP6 ::FFFF:c0a8:4d07 ::ffff:C0A8:4d01 1 1\r\n", 0, "192.168.77.7", "192.168.77.1"},
    {"PROXY TCP6 0:0:0:0:0:ffff:192.168.77.7 0000:0000:0000:0000:0000:ffff:c0a8:4d01 1 1\r\n", 0, "192.168.77.7",
     "192.168.77.1"},
    {"PROXY TCP6 0::0:ffff:192.168.77.7 2001:db8::1 1 1\r\n", 0, "192.168.77.7", "203.0.113.10"},
    {"PROXY TCP6 2001:db8::1 2001:db8::2 1 1\r\n", 0, NULL, "names an IPv6 address"},
    {"PROXY TCP6 1:2:3:4:5:6:7:8 1:2:3:4:5:6:7:: 1 1\r\n", 0, NULL, "names an IPv6 address"},
    {"PROXY TCP6 :: ::1 1 1\r\n", 0, NULL, "names an IPv6 address"},
    {"PROXY TCP6 ::ffff:0.0.0.0 ::1 1 1\r\n", 0, NULL, "names an IPv6 address"},
    {"PROXY TCP6 64:ff9b::192.168.77.7 ::1 1 1\r\n", 0, NULL, "names an IPv6 address"},
    {"PROXY TCP6 1:2:3:4:5:6:7 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 1:2:3:4:5:6:7:8: ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 1:2:3:4::5:6:7:8 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 1::2::3 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 :1::2 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 1: ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 1::: ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 12345::1 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 g::1 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 1:2:3:4:5:6:7:1.2.3.4 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 ::ffff:1.2.3 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 ::ffff:1.2.3.4:5 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP6 192.168.77.7 ::1 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 ::ffff:192.168.77.7 1.2.3.4 1 1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 0.0.0.0 192.168.77.1 50000 11000\r\n", 0, NULL, "names the address 0.0.0.0"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1 50000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4\r\n", 0, NULL, "malformed"},
    {"PROXY \r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1 50000 11000 \r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1 50000 11000 7\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4  192.168.77.7 192.168.77.1 50000 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1  50000 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7\t192.168.77.1 50000 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.077.7 192.168.77.1 50000 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.256 192.168.77.1 50000 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77. 192.168.77.1 50000 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7.7 192.168.77.1 50000 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77 192.168.77.1 50000 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1 65536 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1 050 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1 -1 11000\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1 50000 110000\r\n", 0, NULL, "malformed"},
    {"PROXY tcp4 192.168.77.7 192.168.77.1 50000 11000\r\n", 0, NULL, "malformed"},
    {"PROXY UDP4 192.168.77.7 192.168.77.1 50000 11000\r\n", 0, NULL, "malformed"},
    {"PROXY UNKNOWNS\r\n", 0, NULL, "malformed"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1 50000 11000\n", 0, NULL, "CR LF"},
    {"PROXY TCP4 192.168.77.7 192.168.77.1 50000 11000\rX", 0, NULL, "CR LF"},
    {"PROXY UNKNOWN\n\r\n", 0, NULL, "CR LF"},
    {"PROXY UNKNOWN \0 x\r\n", 19, NULL, "CR LF"},
    {"PROXY UNKNOWN fffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
     0, NULL, "within 107 bytes"},
    {"PROXY\r\n", 0, NULL, "no PROXY header"},
    {"PROXY\tTCP4 ", 0, NULL, "no PROXY header"},
    {"proxy TCP4 ", 0, NULL, "no PROXY header"},
    {"@dir\0\0\0\0\0\0\0\x0D", 13, NULL, "no PROXY header"}, /* a console at once */
    {"PING\0\0\0\0\0\0\0\x0D", 13, NULL, "no PROXY header"},
    {"GET / HTTP/1.1\r\n\r\n", 0, NULL, "no PROXY header"},
    /* version 2 */
    {V2("\x21\x11\0\x0C" ADDRESSES), "192.168.77.7", "192.168.77.1"},
    {V2("\x21\x11\0\x13" ADDRESSES "\x04\0\4zero"), "192.168.77.7", "192.168.77.1"}, /* TLVs */
    {V2("\x21\x11\0\x0D" ADDRESSES "\x04"), "192.168.77.7", "192.168.77.1"},         /* which are not looked at */
    {V2("\x21\x11\0\x0C\1\2\3\4\0\0\0\0\0\0\0\0"), "1.2.3.4", "203.0.113.10"},
    {V2("\x21\x21\0\x24" MAPPED "\xC0\xA8\x4D\x07" MAPPED "\xC0\xA8\x4D\x01\xC3\x50\x2A\xF8"), "192.168.77.7",
     "192.168.77.1"},
    {V2("\x21\x21\0\x24" MAPPED "\xC0\xA8\x4D\x07\x20\1\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\1\xC3\x50\x2A\xF8"),
     "192.168.77.7", "203.0.113.10"},
    {V2("\x21\x21\0\x24\x20\1\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\1" MAPPED "\xC0\xA8\x4D\x01\xC3\x50\x2A\xF8"), NULL,
     "names an IPv6 address"},
    {V2("\x21\x11\0\x0C\0\0\0\0\xC0\xA8\x4D\x01\xC3\x50\x2A\xF8"), NULL, "names the address 0.0.0.0"},
    {V2("\x20\0\0\0"), "10.0.0.1", "203.0.113.10"}, /* LOCAL */
    {V2("\x20\x11\0\x0C" ADDRESSES), "10.0.0.1", "203.0.113.10"},
    {V2("\x20\xFF\0\3abc"), "10.0.0.1", "203.0.113.10"}, /* its family does not count */
    {V2("\x21\0\0\0"), "10.0.0.1", "203.0.113.10"},      /* unspecified */
    {V2("\x21\0\0\x0C" ADDRESSES), "10.0.0.1", "203.0.113.10"},
    {V2("\x21\x10\0\x0C" ADDRESSES), "10.0.0.1", "203.0.113.10"},
    {V2("\x21\1\0\0"), "10.0.0.1", "203.0.113.10"},
    {V2("\x21\x12\0\x0C" ADDRESSES), "10.0.0.1", "203.0.113.10"}, /* UDP, and a Unix socket: */
    {V2("\x21\x31\0\4abcd"), "10.0.0.1", "203.0.113.10"},         /* valid, and none of ours */
    {V2("\x21\x32\0\0"), "10.0.0.1", "203.0.113.10"},
    {V2("\x21\x11\0\x0B" ADDRESSES), NULL, "too short"},
    {V2("\x21\x11\0\0"), NULL, "too short"},
    {V2("\x21\x21\0\x23" MAPPED), NULL, "too short"},
    {V2("\x21\x11\x07\xF1" ADDRESSES), NULL, "longer than 2048 bytes"},
    {V2("\x21\x11\xFF\xFF" ADDRESSES), NULL, "longer than 2048 bytes"},
    {V2("\x20\0\xFF\xFF"), NULL, "longer than 2048 bytes"},
    {V2("\x11\x11\0\x0C" ADDRESSES), NULL, "version"},
    {V2("\x31\x11\0\x0C" ADDRESSES), NULL, "version"},
    {V2("\x22\x11\0\x0C" ADDRESSES), NULL, "version"},
    {V2("\x2F"), NULL, "version"},
    {V2("\x21\x41"), NULL, "family"},
    {V2("\x21\x13"), NULL, "family"},
    {V2("\x21\xFF"), NULL, "family"},
    {"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0C", 16, NULL, "no PROXY header"},
    {"\r\n\r\nx", 0, NULL, "no PROXY header"},
};

/* Whole, in two parts at each place, and byte by byte; alone, or with the request
 * behind it: it is always the same. */
TEST_LOOP(proxy, a_header_names_the_player_or_the_reason_says_why_not, 0, COUNT(headers))
{
    const struct header *h = &headers[_i];
    size_t size = h->size ? h->size : strlen(h->bytes);
    uint8_t frame[64], both[256];
    size_t frame_bytes = console_frame(frame, sizeof frame, "@dir", 0, "", 1);
    for (size_t cut = 0; cut <= size; cut++) {
        bool last = cut == size, behind = cut % 2 == 0;
        reopen_with(CONFIG);
        struct raw *r = raw_open(w, PROXY_IP);
        memcpy(both, h->bytes, size);
        memcpy(both + size, frame, frame_bytes);
        for (size_t i = 0; i < size; i++) {
            raw_send_bytes(r, both + i, 1);
            if (last || i + 1 == cut)
                world_settle(w);
        }
        if (behind)
            raw_send_bytes(r, frame, frame_bytes);
        world_settle(w);
        if (!h->peer) {
            CLOSED(r);
            ck_assert_uint_eq(r->bytes_read, 0);
            ck_assert_uint_eq(w->log_count, 2);
            ck_assert_ptr_nonnull(strstr(w->log[0], "event=bad_proxy_header conn=0 peer=10.0.0.1 reason="));
            ck_assert_msg(strstr(w->log[0], h->why) != NULL, "%s", w->log[0]);
            ck_assert(last_line_has("event=close conn=0 peer=10.0.0.1 reason=\"bad PROXY header\""));
            continue;
        }
        char text[64];
        OPEN(r);
        if (!behind)
            raw_send_bytes(r, frame, frame_bytes);
        (void)snprintf(text, sizeof text, "event=connect conn=0 peer=%s", h->peer);
        SAYS(raw_expect(r, "@dir"), "ADDR=%s\nPORT=11000\nSESS=*\nMASK=*", h->why);
        ck_assert_uint_eq(w->log_count, 1);
        ck_assert_msg(strstr(w->log[0], text) != NULL, "%s", w->log[0]);
    }
}

TEST(proxy, a_header_has_up_to_2048_bytes_and_the_request_may_come_with_it)
{
    uint8_t bytes[2048] = SIGNATURE "\x21\x11\x07\xF0" ADDRESSES;
    reopen_with(CONFIG);
    for (int i = 0; i < 3; i++) {
        struct raw *r = handed_on(bytes, i == 0 ? sizeof bytes : 1000);
        if (i == 1)
            raw_send_bytes(r, bytes + 1000, 1048);
        for (size_t k = 1000; i == 2 && k < sizeof bytes; k++)
            raw_send_bytes(r, bytes + k, 1);
        SAYS(raw_ask(r, "@dir", DIR_REQUEST), "ADDR=192.168.77.1\nPORT=11000\nSESS=*\nMASK=*");
        raw_close(r);
    }
}

/* From elsewhere it is what it always was: no frame. And whoever is in such a network
 * has to have one, but for the operator. */
TEST(proxy, only_proxies_send_a_header)
{
    static const uint32_t others[] = {0x0A000004u, 0x0A000000u - 1, 0xC6336401u, 0x0A090908u};
    reopen_with(CONFIG);
    for (int i = 0; i < COUNT(others); i++) {
        struct raw *r = raw_open(w, others[i]);
        raw_send_bytes(r, NAMED, sizeof NAMED - 1);
        world_settle(w);
        CLOSED(r);
        ck_assert(world_logged(w, "event=broken_frame"));
        r = raw_open(w, others[i]);
        raw_send_bytes(r, V2("\x21\x11\0\x0C" ADDRESSES));
        world_settle(w);
        CLOSED(r);
        (void)raw_ask(raw_open(w, others[i]), "@dir", DIR_REQUEST);
    }
    ck_assert(!world_logged(w, "bad_proxy_header"));
    for (uint32_t ip = 0x0A000000u; ip < 0x0A000004u; ip++) {
        struct raw *r = raw_open(w, ip);
        raw_send(r, "@dir", DIR_REQUEST);
        world_settle(w);
        CLOSED(r);
    }
    struct raw *twice = handed_on(NAMED NAMED, 2 * (sizeof NAMED - 1)); /* one header, and then frames */
    CLOSED(twice);
    ck_assert(last_line_has("peer=192.168.77.7 reason=\"broken frame\""));
    SUCCEEDS(raw_ask(raw_operator(w), "csta", ""));
    world_configure(w, ""); /* a reload: who comes later is a player like any other */
    SAYS(raw_ask(raw_open(w, PROXY_IP), "@dir", DIR_REQUEST), "ADDR=203.0.113.10\nPORT=11000\nSESS=*\nMASK=*");
}

/* The header has to come within the time for the first frame, which goes on behind it. */
TEST(proxy, a_header_and_the_first_frame_have_one_deadline)
{
    reopen_with(CONFIG "first-frame-s = 10\n");
    struct raw *silent = raw_open(w, PROXY_IP), *half = handed_on(NAMED, 12), *whole = handed_on(NAMED, 12);
    world_run(w, 6000);
    raw_send_bytes(whole, &NAMED[12], sizeof NAMED - 13);
    world_run(w, 3900);
    OPEN(silent);
    OPEN(half);
    OPEN(whole);
    world_run(w, 200);
    CLOSED(silent);
    CLOSED(half);
    CLOSED(whole);
    ck_assert(world_logged(w, "event=bad_proxy_header conn=0 peer=10.0.0.1 reason=\"it has not come in time\""));
    ck_assert(world_logged(w, "event=bad_proxy_header conn=1 peer=10.0.0.1 reason=\"it has not come in time\""));
    ck_assert(!world_logged(w, "event=bad_proxy_header conn=2"));
    ck_assert(world_logged(w, "event=close conn=2 peer=192.168.77.7 reason=\"no frame in time\""));
}

/* A login, as far as to the hub. */
static struct raw *player_named(uint32_t ip, const char *name)
{
    struct raw *r = named(ip);
    SUCCEEDS(raw_auth(r, name, "secret"));
    SUCCEEDS(ask_pers(r, name));
    return r;
}

/* As many players as there are places come by one proxy, and each has limits of his own. */
TEST(proxy, limits_of_an_address_are_for_the_player_and_not_for_the_proxy)
{
    char name[16];
    reopen_with(CONFIG "per-address = 2\naccounts-per-address = 1\nlogins-per-address = 3\n");
    for (uint32_t i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "Racer%u", (unsigned)i);
        (void)player_named(PLAYER_IP + i, name);
    }
    struct raw *extra = named(PLAYER_IP); /* his buddy link, say */
    REFUSED(raw_auth(extra, "Second", "secret"), "hack", 100);
    ck_assert(world_logged(w, "peer=192.168.77.7 name=\"Second\" reason=\"hack\" limit=\"accounts-per-address\""));
    ck_assert_ptr_nonnull(strstr(got_text(raw_ask(named(PLAYER_IP), "@dir", DIR_REQUEST), "DOWN"), "your address"));
    struct raw *lobby = named(PLAYER_IP); /* one too many, which may ask the directory and nothing else */
    raw_send(lobby, "addr", ADDR_REQUEST);
    world_settle(w);
    CLOSED(lobby);
    for (int i = 0; i < 4; i++)
        REFUSED(raw_auth(named(PLAYER_IP + 100 + (uint32_t)i / 2), "No.body", "guessed"), "imst", 100);
    for (int i = 0; i < 3; i++) {
        struct raw *r = named(PLAYER_IP + 200);
        REFUSED(raw_auth(r, "Racer1", "guessed"), "pass", 100);
        raw_close(r);
    }
    REFUSED(raw_auth(named(PLAYER_IP + 200), "Racer1", "secret"), "hack", 100);
    REFUSED(raw_auth(named(PLAYER_IP + 201), "Racer1", "guessed"), "pass", 100); /* and nobody else has to wait */
}

/* A dead link makes room for a player who comes back, however he comes. */
TEST(proxy, a_dead_link_makes_room_for_its_players_next_one)
{
    reopen_with(CONFIG "per-address = 1\nidle-s = 3600\n");
    struct raw *dead = player_named(PLAYER_IP, "Ann");
    dead->keeps_pings = true;
    world_run(w, 80000);
    struct raw *other = named(PLAYER_IP + 1);
    OPEN(dead);
    (void)player_named(PLAYER_IP, "Ann");
    CLOSED(dead);
    OPEN(other);
}

/* What has not said yet whose it is, and what the proxy does for itself, takes no player's
 * place and has no limit: also if a player comes from the proxy's own machine. */
TEST(proxy, what_a_proxy_has_not_named_counts_for_nobody)
{
    enum { MANY = 30 };
    struct raw *open[3 * MANY];
    reopen_with(CONFIG "per-address = 2\ndirectory-direct = no\n");
    for (int i = 0; i < MANY; i++) {
        open[3 * i] = raw_open(w, PROXY_IP);
        open[3 * i + 1] = handed_on(V2("\x20\0\0\0"));
        open[3 * i + 2] = handed_on("PROXY UNKNOWN\r\n", 15);
        raw_send(open[3 * i + 2], "addr", ADDR_REQUEST);
        world_settle(w);
    }
    for (int i = 0; i < 3 * MANY; i++)
        OPEN(open[i]);
    SAYS(raw_ask(handed_on("PROXY UNKNOWN\r\n", 15), "@dir", DIR_REQUEST),
         "ADDR=203.0.113.10\nPORT=11000\nSESS=*\nMASK=*");
    struct raw *ann = player_named(PROXY_IP, "Ann");
    SAYS(raw_ask(named(PROXY_IP), "@dir", DIR_REQUEST), "ADDR=203.0.113.10\nPORT=11000\nSESS=*\nMASK=*");
    for (int i = 0; i < 3 * MANY; i++)
        raw_close(open[i]);
    OPEN(ann);
    (void)player_named(PLAYER_IP, "Bob");
}

TEST(proxy, a_trusted_network_is_one_of_players)
{
    reopen_with(CONFIG "per-address = 1\ntrusted = 192.168.77.0/24\n");
    for (int i = 0; i < 20; i++)
        ck_assert(!got_has(raw_ask(named(PLAYER_IP), "@dir", DIR_REQUEST), "DOWN"));
    world_configure(w, CONFIG "per-address = 1\ntrusted = 10.0.0.0/8\n"); /* the proxy's says nothing of them */
    (void)player_named(PLAYER_IP + 1, "Ann");
    for (int i = 0; i < 10; i++)
        (void)named(PLAYER_IP + 1);
    CLOSED(named(PLAYER_IP + 1));
}

/* The address that a player has reached at the proxy is the one that the directory tells,
 * and it shows who is a neighbour. */
TEST(proxy, the_directory_tells_what_the_player_has_reached_unless_there_is_a_public_address)
{
    static const char far[] = "PROXY TCP4 198.51.100.9 192.168.77.1 50000 11000\r\n";
    static const struct {
        const char *config, *header, *told;
    } cases[] = {
        {"", NAMED, "192.168.77.1"},
        {"", far, "192.168.77.1"},
        {"", "PROXY UNKNOWN\r\n", "203.0.113.10"},
        {"public-address = 192.0.2.77\n", NAMED, "192.168.77.1"},
        {"public-address = 192.0.2.77\n", far, "192.0.2.77"},
        {"public-address = 192.0.2.77\n", "PROXY UNKNOWN\r\n", "192.0.2.77"},
        {"public-address = 192.0.2.77\nlan = off\n", NAMED, "192.0.2.77"},
        {"public-address = 192.0.2.77\nlan = off\n", far, "192.0.2.77"},
    };
    char config[256];
    for (int i = 0; i < COUNT(cases); i++) {
        (void)snprintf(config, sizeof config, CONFIG "%s", cases[i].config);
        reopen_with(config);
        struct raw *r = handed_on(cases[i].header, strlen(cases[i].header));
        SAYS(raw_ask(r, "@dir", DIR_REQUEST), "ADDR=%s\nPORT=11000\nSESS=*\nMASK=*", cases[i].told);
        struct raw *ann = handed_on(cases[i].header, strlen(cases[i].header));
        SUCCEEDS(raw_auth(ann, "Ann", "secret"));
        SUCCEEDS(ask_pers(ann, "Ann"));
        ck_assert_str_eq(got_raw(raw_ask(ann, "news", "NAME=0\n"), "BUDDY_URL"), cases[i].told);
    }
}

/* Who races whom dials the named addresses; `who` and the log have them, too. */
TEST(proxy, a_race_is_between_the_named_addresses)
{
    const struct got *g;
    reopen_with(CONFIG);
    struct raw *ann = player_named(0xC6336409u, "Ann"), *bob = player_named(0xC6336411u, "Bob");
    go(ann, "East");
    go(bob, "East");
    raw_forget(ann);
    raw_forget(bob);
    (void)snprintf(ann->name, sizeof ann->name, "Ann");
    (void)snprintf(bob->name, sizeof bob->name, "Bob");
    start_race(ann, bob, false);
    ck_assert_uint_ge(frames_of(ann, "+ses", &g), 1);
    ck_assert_str_eq(got_raw(g, "ADDR"), "198.51.100.17");
    ck_assert_str_eq(got_raw(g, "FROM"), "198.51.100.17");
    ck_assert_uint_ge(frames_of(bob, "+ses", &g), 1);
    ck_assert_str_eq(got_raw(g, "ADDR"), "198.51.100.9");
    ck_assert_str_eq(got_raw(g, "FROM"), "198.51.100.9");
    struct raw *operator= raw_operator(w);
    raw_send(operator, "cwho", "");
    world_settle(w);
    ck_assert_ptr_nonnull(strstr(got_payload(raw_expect(operator, "line")), "198.51.100.9"));
    ck_assert(world_logged(w, "event=enter conn=0 peer=198.51.100.9 account=\"Ann\""));
}

/* The sessions of the directory, by which a sign-up without MASK is known, are the player's. */
TEST(proxy, a_session_of_the_directory_is_the_players)
{
    reopen_with(CONFIG "skey = off\n");
    struct raw *directory = named(PLAYER_IP);
    const struct got *g = raw_ask(directory, "@dir", DIR_REQUEST);
    char mask[40], tags[256];
    (void)snprintf(mask, sizeof mask, "%s", got_text(g, "MASK"));
    for (int i = 0; i < 2; i++) {
        struct raw *r = named(PLAYER_IP + 1 - (uint32_t)i);
        SUCCEEDS(raw_ask(r, "addr", ADDR_REQUEST));
        (void)raw_ask(r, "skey", SKEY_REQUEST);
        (void)snprintf(tags, sizeof tags, "NAME=Ann\nPASS=%s\nBORN=19800101\nMAIL=a@b.example\nTOS=1\n",
                       masked(mask, "secret"));
        g = raw_ask(r, "acct", tags);
        ck_assert(i == 0 ? strcmp(got_code(g), "") != 0 : strcmp(got_code(g), "") == 0);
    }
}
