/* The shell, where addresses are not what they seem: connections that a proxy hands
 * on, and a public address that is a host's name and may change.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "suite.h"
#include <sys/wait.h>
#include "machine.c"

/* ---- The PROXY header, as a function of bytes -------------------------------- */

GROUP(header, NULL, NULL, 0);

/* However many bytes there are: part of it, then what it is as soon as they show it, and from
 * there on the same. So for headers with some bytes changed by chance. */
TEST(header, more_bytes_change_nothing_about_what_has_been_said)
{
    static const char alphabet[] = "PROXY TCP46 UNKNOWN 1.2.3.4 :f0\r\n\r\n\0QUIT\x20\x21\x11\xFF";
    static const struct {
        const char *bytes;
        uint32_t size;
    } headers[] = {{"PROXY TCP4 192.168.77.7 192.168.77.1 50000 11000\r\n", 50},
                   {"PROXY TCP6 ::ffff:1.2.3.4 ::ffff:102:304 1 1\r\n", 46},
                   {"PROXY UNKNOWN\r\n", 15},
                   {"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\1\2\3\4\5\6\7\x8\x9\1\2\3\4\5\6\7", 32},
                   {"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16}};
    uint8_t bytes[96];
    uint32_t random = 12, seen[3] = {0, 0, 0};
    for (uint32_t run = 0; run < 20000; run++) {
        struct proxy_header last, now;
        enum frame_state state = FRAME_PART;
        memset(&last, 0, sizeof last);
        memset(bytes, 'x', sizeof bytes);
        memcpy(bytes, headers[run % COUNT(headers)].bytes, headers[run % COUNT(headers)].size);
        for (uint32_t changes = run / COUNT(headers) % 4; changes > 0; changes--) {
            random = random * 1664525u + 1013904223u;
            bytes[(random >> 8) % headers[run % COUNT(headers)].size] =
                (uint8_t)alphabet[(random >> 16) % (sizeof alphabet - 1)];
        }
        for (uint32_t size = 0; size <= sizeof bytes; size++) {
            enum frame_state said = read_proxy_header(bytes, size, &now);
            if (state == FRAME_PART && said != FRAME_PART) {
                ck_assert_uint_eq(now.size, size);
                ck_assert((said == FRAME_BROKEN) == (now.broken != NULL));
                last = now;
                state = said;
            }
            ck_assert_int_eq(said, state);
            if (state != FRAME_PART)
                ck_assert_mem_eq(&now, &last, sizeof now);
        }
        seen[state]++;
    }
    ck_assert_uint_ge(seen[FRAME_WHOLE], 5000);
    ck_assert_uint_ge(seen[FRAME_BROKEN], 5000);
}

/* ---- Behind a proxy ------------------------------------------------------------ */

GROUP(proxy, NULL, NULL, 30);

#define PROXY_IP 0x0A000001u
#define NAMED "PROXY TCP4 192.168.77.7 192.168.77.1 50000 11000\r\n"

static struct peer *handed_on(struct machine *m, const char *header)
{
    struct peer *p = peer_new(m);
    p->ip = PROXY_IP;
    peer_send_bytes(p, header, strlen(header));
    return p;
}

/* Recorded byte by byte or at once, with headers that are good and bad: it runs again, and
 * a request behind a header that has a password is in no recording. */
TEST_LOOP(proxy, a_recording_with_headers_runs_again, 0, 2)
{
    unsigned long events = 0, checkpoints = 0;
    struct machine *m = machine_make(NULL);
    m->records = true;
    m->read_bytes = _i == 0 ? 0 : 1;
    ck_assert(machine_start(m, ARGUMENTS("--proxy-from", "10.0.0.0/8", "--accounts", "closed")));
    struct peer *good = handed_on(m, NAMED), *health = handed_on(m, "PROXY UNKNOWN\r\n"),
                *bad = handed_on(m, "PROXY TCP4 nonsense\r\n"), *none = peer_new(m), *long_one = peer_new(m);
    peer_send(good, "edit", "NAME=Ann\nPASS=hush-hush\n");
    peer_send(good, "@dir", "PROD=x\n");
    none->ip = PROXY_IP;
    peer_send(none, "edit", "NAME=Ann\nPASS=hush-hush\n");
    long_one->ip = PROXY_IP;
    peer_send_bytes(long_one, proxy_signature, sizeof proxy_signature);
    peer_send_bytes(long_one, "\x20\0\7\xF0", 4);
    for (int i = 0; i < 2032; i++)
        peer_send_bytes(long_one, "x", 1);
    peer_send(long_one, "@dir", "PROD=x\n");
    settle_machine(m);
    ck_assert_uint_eq(peer_got(good, "edit"), 1);
    ck_assert_uint_eq(peer_got(long_one, "@dir"), 1);
    ck_assert(bad->closed && none->closed && !health->closed);
    ck_assert(in_log(m, "event=bad_proxy_header conn=2 peer=10.0.0.1 reason=\"its line is malformed\""));
    ck_assert(in_log(m, "event=bad_proxy_header conn=3 peer=10.0.0.1 reason=\"there is no PROXY header in front\""));
    ck_assert(in_log(m, "event=connect conn=0 peer=192.168.77.7"));
    health->hung_up = true;
    settle_machine(m);
    recording_close(&m->shell);
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    ck_assert_msg(broken == NULL, "%s", broken);
    ck_assert_uint_ge(checkpoints, 1);
    ck_assert_ptr_null(memmem(m->recording.bytes, m->recording.size, "hush", 4));
    ck_assert_ptr_nonnull(memmem(m->recording.bytes, m->recording.size, NAMED, sizeof NAMED - 1));
    machine_free(m);
}

/* A proxy that asks every second whether we are there fills no log, but that of debug,
 * which shows a header as what it is. */
TEST_LOOP(proxy, what_a_proxy_does_for_itself_is_logged_at_debug, 0, 2)
{
    struct machine *m =
        MACHINE("--proxy-from", "10.0.0.1/32", "--lan", "off", "--log-level", _i == 0 ? "info" : "debug");
    struct peer *bare = handed_on(m, ""), *asked = handed_on(m, "PROXY UNKNOWN\r\n"), *player = handed_on(m, NAMED);
    bare->hung_up = asked->hung_up = true;
    peer_send(player, "@dir", "PROD=x\n");
    settle_machine(m);
    ck_assert_uint_eq(peer_got(player, "@dir"), 1);
    ck_assert(in_log(m, "level=info event=connect conn=2 peer=192.168.77.7"));
    ck_assert_int_eq(in_log(m, "level=debug event=close conn=0 peer=10.0.0.1"), _i == 1);
    ck_assert_int_eq(in_log(m, "level=debug event=connect conn=1 peer=10.0.0.1"), _i == 1);
    ck_assert_int_eq(in_log(m, "level=debug event=close conn=1 peer=10.0.0.1"), _i == 1);
    ck_assert_int_eq(in_log(m, "event=proxy_header conn=2 way=in bytes=50"), _i == 1);
    ck_assert_int_eq(in_log(m, "event=frame conn=2 way=in kind=\"@dir\" bytes=20"), _i == 1);
    ck_assert(!in_log(m, "level=info event=connect conn=1"));
    machine_free(m);
}

TEST(proxy, networks_of_proxies_on_the_command_line_take_the_place_of_the_files)
{
    char path[] = "/tmp/nascar-proxy-XXXXXX";
    int fd = mkstemp(path);
    static const char lines[] = "proxy-from = 10.0.0.0/8\ntrusted = 192.0.2.0/24\nproxy-from = \"172.16.0.0/12\"\n";
    ck_assert_int_eq(write(fd, lines, sizeof lines - 1), sizeof lines - 1);
    (void)close(fd);
    struct options o;
    const char *file[] = {"--config", path, NULL}, *typed[] = {"--config", path, "--proxy-from", "10.0.0.9/32", NULL};
    ck_assert(read_options(&o, (char **)(uintptr_t)file));
    ck_assert_uint_eq(o.config.proxies.count, 2);
    ck_assert_uint_eq(o.config.trusted.count, 1);
    ck_assert(read_options(&o, (char **)(uintptr_t)typed));
    ck_assert_uint_eq(o.config.proxies.count, 1);
    ck_assert_uint_eq(o.config.proxies.network[0].address, 0x0A000009u);
    ck_assert_uint_eq(o.config.trusted.count, 1);
    (void)unlink(path);
}

/* ---- A host's name ------------------------------------------------------------- */

GROUP(host, NULL, NULL, 30);

#define NAME "home.example.net"

/* What the directory tells somebody from the internet. */
static const char *told(struct machine *m)
{
    static char address[64];
    struct peer *p = peer_new(m);
    p->ip = 0xC6336464u;
    peer_send(p, "@dir", "PROD=x\n");
    settle_machine(m);
    ck_assert_uint_eq(peer_got(p, "@dir"), 1);
    const char *at = (const char *)memmem(p->out, p->out_bytes, "ADDR=", 5);
    ck_assert_ptr_nonnull(at);
    (void)snprintf(address, sizeof address, "%.*s", (int)strcspn(at + 5, "\n"), at + 5);
    p->hung_up = true;
    settle_machine(m);
    return address;
}

static struct machine *host_machine(uint32_t address)
{
    struct machine *m = machine_make(NULL);
    m->finder.address = address;
    ck_assert(machine_start(m, ARGUMENTS("--public-address", NAME)));
    settle_machine(m);
    return m;
}

TEST(host, its_address_is_told_and_looked_up_every_five_minutes)
{
    struct machine *m = host_machine(0xCB007107u);
    ck_assert_uint_eq(m->finder.starts, 1);
    ck_assert_uint_eq(m->finder.questions, 1);
    ck_assert_str_eq(m->finder.name, NAME);
    ck_assert_str_eq(told(m), "203.0.113.7");
    ck_assert(in_log(m, "event=public_address name=\"" NAME "\" to=203.0.113.7"));
    run_machine(m, 299000);
    ck_assert_uint_eq(m->finder.questions, 1);
    m->finder.address = 0xCB007108u;
    run_machine(m, 2000);
    ck_assert_uint_eq(m->finder.questions, 2);
    ck_assert_str_eq(told(m), "203.0.113.8");
    ck_assert(in_log(m, "event=public_address name=\"" NAME "\" from=203.0.113.7 to=203.0.113.8"));
    run_machine(m, 1200000); /* the same address is no news */
    ck_assert_uint_eq(m->finder.questions, 6);
    ck_assert_uint_eq(count_log(m, "event=public_address"), 2);
    ck_assert_uint_eq(count_log(m, "event=host_"), 0);
    ck_assert_uint_eq(m->finder.starts, 1);
    machine_free(m);
}

/* Without an answer consoles are told what they have reached, as without the option. */
TEST(host, a_name_that_cannot_be_found_keeps_nobody_out)
{
    struct machine *m = host_machine(0);
    ck_assert_str_eq(told(m), "192.0.2.1");
    ck_assert(in_log(m, "level=warn event=host_not_found name=\"" NAME "\" reason=\"there is no such host\" "
                        "told=\"the address that each console has reached\""));
    run_machine(m, 60000); /* it is tried again soon, and said once */
    ck_assert_uint_ge(m->finder.questions, 6);
    ck_assert_uint_le(m->finder.questions, 7);
    ck_assert_uint_eq(count_log(m, "host_not_found"), 1);
    m->finder.address = 0xCB007107u;
    run_machine(m, 10000);
    ck_assert_str_eq(told(m), "203.0.113.7");
    ck_assert_uint_eq(count_log(m, "level=info event=host_found name=\"" NAME "\""), 1);
    machine_free(m);
}

TEST(host, the_last_known_address_stays_while_it_cannot_be_found)
{
    struct machine *m = host_machine(0xCB007107u);
    for (uint32_t streak = 1; streak <= 2; streak++) {
        m->finder.address = 0;
        run_machine(m, 1000000);
        ck_assert_str_eq(told(m), "203.0.113.7");
        ck_assert_uint_eq(count_log(m, "host_not_found"), streak);
        ck_assert_uint_eq(count_log(m, "told=\"203.0.113.7\""), streak);
        m->finder.address = 0xCB007107u;
        run_machine(m, 301000);
        ck_assert_uint_eq(count_log(m, "host_found"), streak);
    }
    ck_assert_uint_eq(count_log(m, "event=public_address"), 1); /* it was the same all the time */
    machine_free(m);
}

/* A process that hangs is killed, one that dies is made again, and one that cannot be made
 * is tried again: nobody waits for any of that. */
TEST_LOOP(host, a_process_that_fails_is_made_again, 0, 4)
{
    static const char *const reasons[] = {"the process that looks for it does not answer",
                                          "the process that looks for it has died", "no process can be started for it",
                                          "no process can be started for it"};
    char line[160];
    struct machine *m = machine_make(NULL);
    struct fake_finder *f = &m->finder;
    f->address = 0xCB007107u;
    f->hangs = _i == 0;
    f->dies = _i == 1;
    f->cannot_start = _i == 2;
    ck_assert(machine_start(m, ARGUMENTS("--public-address", NAME)));
    if (_i == 3) { /* later */
        settle_machine(m);
        ck_assert_str_eq(told(m), "203.0.113.7");
        f->dies = true;
        run_machine(m, 301000);
        f->cannot_start = true;
        ck_assert(in_log(m, reasons[1]));
    }
    run_machine(m, 65000);
    ck_assert_str_eq(told(m), _i == 3 ? "203.0.113.7" : "192.0.2.1");
    (void)snprintf(line, sizeof line, "event=host_not_found name=\"" NAME "\" reason=\"%s\"",
                   reasons[_i == 3 ? 1 : _i]);
    ck_assert_uint_eq(count_log(m, line), 1);
    ck_assert_uint_eq(count_log(m, "host_not_found"), 1);
    ck_assert_uint_eq(f->kills, _i == 0 ? 2 : 0); /* 20 s, and 10 s until the next one */
    f->hangs = f->dies = f->cannot_start = false;
    f->address = 0xCB007109u;
    run_machine(m, _i == 3 ? 301000 : 31000);
    ck_assert_str_eq(told(m), "203.0.113.9");
    ck_assert_uint_eq(count_log(m, "host_found"), 1);
    ck_assert(f->running);
    machine_free(m);
}

/* Nothing of all that is there for an address, or without the option. */
TEST(host, a_plain_address_needs_no_process)
{
    struct machine *m = MACHINE("--public-address", "203.0.113.7");
    settle_machine(m);
    ck_assert_str_eq(told(m), "203.0.113.7");
    run_machine(m, 1000000);
    ck_assert_uint_eq(m->finder.starts, 0);
    machine_free(m);
    m = MACHINE("--lan", "auto");
    ck_assert_str_eq(told(m), "192.0.2.1");
    ck_assert_uint_eq(m->finder.starts, 0);
    machine_free(m);
}

static void write_lines(const char *path, const char *lines)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs(lines, file);
    ck_assert_int_eq(fclose(file), 0);
}

static void reload(struct machine *m, const char *path, const char *lines)
{
    write_lines(path, lines);
    signal_machine(m, SIGHUP);
    settle_machine(m);
}

/* A reload with the same name looks it up at once and forgets nothing, with another one
 * begins anew, with an address needs none. */
TEST(host, a_reload_may_change_it)
{
    char path[] = "/tmp/nascar-host-XXXXXX";
    (void)close(mkstemp(path));
    write_lines(path, "public-address = " NAME "\n");
    struct machine *m = machine_make(NULL);
    m->finder.address = 0xCB007107u;
    ck_assert(machine_start(m, ARGUMENTS("--config", path)));
    settle_machine(m);
    m->finder.hangs = true;
    reload(m, path, "public-address = Home.Example.NET\nrate = 5\n");
    ck_assert_str_eq(told(m), "203.0.113.7");
    ck_assert_uint_eq(m->finder.questions, 2);
    reload(m, path, "public-address = " NAME "\n"); /* what it answers now may be old: so it is asked once more */
    ck_assert_uint_eq(m->finder.questions, 2);
    m->finder.hangs = false;
    settle_machine(m);
    ck_assert_uint_eq(m->finder.questions, 3);
    run_machine(m, 299000);
    ck_assert_uint_eq(m->finder.questions, 3);
    m->finder.address = 0;
    reload(m, path, "public-address = other.example.net\n");
    ck_assert_str_eq(m->finder.name, "other.example.net");
    ck_assert_str_eq(told(m), "192.0.2.1");
    ck_assert(in_log(m, "host_not_found name=\"other.example.net\""));
    m->finder.address = 0xCB007108u;
    run_machine(m, 10000);
    ck_assert_str_eq(told(m), "203.0.113.8");
    uint32_t questions = m->finder.questions;
    reload(m, path, "public-address = 203.0.113.99\n");
    ck_assert_str_eq(told(m), "203.0.113.99");
    run_machine(m, 700000);
    ck_assert_str_eq(told(m), "203.0.113.99");
    ck_assert_uint_eq(m->finder.questions, questions);
    reload(m, path, "public-address = " NAME "\n");
    ck_assert_str_eq(told(m), "203.0.113.8");
    reload(m, path, "");
    ck_assert_str_eq(told(m), "192.0.2.1");
    ck_assert(!in_log(m, "restart_wanted"));
    reload(m, path, "public-address = not_a_name\n");
    ck_assert(in_log(m, "reload_refused"));
    (void)unlink(path);
    machine_free(m);
}

/* An answer to a question about a name that a reload has replaced meanwhile is not taken. */
TEST(host, an_answer_for_the_name_before_is_left)
{
    char path[] = "/tmp/nascar-host-XXXXXX";
    (void)close(mkstemp(path));
    write_lines(path, "public-address = " NAME "\n");
    struct machine *m = machine_make(NULL);
    m->finder.stale = 0xCB007107u;
    m->finder.address = 0xCB007108u;
    m->finder.hangs = true;
    ck_assert(machine_start(m, ARGUMENTS("--config", path)));
    settle_machine(m);
    reload(m, path, "public-address = other.example.net\n");
    ck_assert_uint_eq(m->finder.waiting, 2); /* it is asked at once */
    m->finder.hangs = false;
    settle_machine(m);
    ck_assert_str_eq(told(m), "203.0.113.8");
    ck_assert(!in_log(m, "203.0.113.7"));
    m->finder.hangs = true;
    run_machine(m, 301000);
    ck_assert_uint_eq(m->finder.waiting, 1);
    reload(m, path, "public-address = 203.0.113.99\n");
    m->finder.hangs = false;
    m->finder.address = 0xCB007109u;
    settle_machine(m);
    ck_assert_str_eq(told(m), "203.0.113.99");
    ck_assert_uint_eq(m->finder.kills, 0);
    (void)unlink(path);
    machine_free(m);
}

/* The process is made at the start alone: later root may be gone, and all files. */
TEST(host, a_first_name_by_a_reload_needs_a_restart)
{
    char path[] = "/tmp/nascar-host-XXXXXX";
    (void)close(mkstemp(path));
    write_lines(path, "public-address = 203.0.113.7\n");
    struct machine *m = machine_make(NULL);
    m->finder.address = 0xCB007108u;
    ck_assert(machine_start(m, ARGUMENTS("--config", path)));
    reload(m, path, "public-address = " NAME "\nrate = 5\n");
    ck_assert(in_log(m, "event=restart_wanted keys=\"public-address\""));
    ck_assert_str_eq(told(m), "203.0.113.7");
    ck_assert_uint_eq(m->shell.state->config.rate, 0); /* the command line has the last word */
    run_machine(m, 400000);
    ck_assert_uint_eq(m->finder.starts, 0);
    ck_assert_str_eq(told(m), "203.0.113.7");
    (void)unlink(path);
    machine_free(m);
}

/* A confined server makes no other process. That is said when it dies, and at each reload. */
TEST(host, a_confined_server_says_that_it_needs_a_restart)
{
    char path[] = "/tmp/nascar-host-XXXXXX";
    (void)close(mkstemp(path));
    write_lines(path, "public-address = " NAME "\n");
    struct machine *m = machine_make(NULL);
    m->finder.address = 0xCB007107u;
    ck_assert(machine_start(m, ARGUMENTS("--config", path)));
    settle_machine(m);
    m->shell.confined = true;
    m->finder.dies = true;
    run_machine(m, 301000);
    ck_assert_uint_eq(count_log(m, "(--sandbox): restart it\""), 1);
    run_machine(m, 301000);
    ck_assert_uint_eq(count_log(m, "(--sandbox): restart it\""), 1);
    reload(m, path, "public-address = " NAME "\nrate = 5\n");
    ck_assert_uint_eq(count_log(m, "(--sandbox): restart it\""), 2);
    ck_assert_str_eq(told(m), "203.0.113.7");
    (void)unlink(path);
    machine_free(m);
}

/* What was found stands in the recording, and so in the replay. */
TEST(host, a_recording_with_changes_runs_again)
{
    unsigned long events = 0, checkpoints = 0;
    struct machine *m = machine_make(NULL);
    m->records = true;
    m->finder.address = 0xCB007107u;
    ck_assert(machine_start(m, ARGUMENTS("--public-address", NAME)));
    settle_machine(m);
    ck_assert_str_eq(told(m), "203.0.113.7");
    m->finder.address = 0xCB007108u;
    run_machine(m, 301000);
    ck_assert_str_eq(told(m), "203.0.113.8");
    recording_close(&m->shell);
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    ck_assert_msg(broken == NULL, "%s", broken);
    ck_assert_uint_ge(checkpoints, 1);
    machine_free(m);
}

/* ---- Looking it up --------------------------------------------------------------- */

GROUP(names, NULL, NULL, 30);

static const char *in_hosts(const char *lines, const char *name)
{
    static char text[16];
    char path[] = "/tmp/nascar-hosts-XXXXXX";
    (void)close(mkstemp(path));
    write_lines(path, lines);
    write_address(text, find_in_hosts(path, name));
    (void)unlink(path);
    return text;
}

TEST(names, a_file_of_hosts_is_looked_into_first)
{
    static const char lines[] =
        "# 192.0.2.9 a.example\n::1 a.example\n\n \t192.0.2.1\tx.example  A.example # b.example\r\n"
        "192.0.2.2 a.example b.example\n127.0.1.1 c.example localhost\n192.0.2.3 c.example";
    ck_assert_str_eq(in_hosts(lines, "a.example"), "192.0.2.1");
    ck_assert_str_eq(in_hosts(lines, "b.example"), "192.0.2.2");
    ck_assert_str_eq(in_hosts(lines, "c.example"), "192.0.2.3"); /* a machine's name for itself is none for others */
    ck_assert_str_eq(in_hosts(lines, "localhost"), "127.0.1.1");
    ck_assert_str_eq(in_hosts(lines, "d.example"), "0.0.0.0");
    ck_assert_str_eq(in_hosts(lines, "192.0.2.2"), "0.0.0.0");
    ck_assert_str_eq(in_hosts("", "a.example"), "0.0.0.0");
    ck_assert_uint_eq(find_in_hosts("/nonexistent/hosts", "a.example"), 0);
}

TEST(names, a_file_of_name_servers_is_read)
{
    static const struct {
        const char *lines;
        uint32_t count, first, last;
    } files[] = {{"", 1, 0x7F000001u, 0x7F000001u},
                 {"search example\nnameserver ::1\n", 1, 0x7F000001u, 0x7F000001u},
                 {"# nameserver 192.0.2.9\nnameserver 192.0.2.1 # x\n", 1, 0xC0000201u, 0xC0000201u},
                 {"nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver\t192.0.2.2\n", 2, 0xC0000201u, 0xC0000202u},
                 {"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4", 3,
                  0xC0000201u, 0xC0000203u}};
    for (int i = 0; i < COUNT(files); i++) {
        char path[] = "/tmp/nascar-resolv-XXXXXX";
        uint32_t servers[DNS_SERVERS];
        (void)close(mkstemp(path));
        write_lines(path, files[i].lines);
        ck_assert_uint_eq(find_name_servers(path, servers), files[i].count);
        ck_assert_uint_eq(servers[0], files[i].first);
        ck_assert_uint_eq(servers[files[i].count - 1], files[i].last);
        (void)unlink(path);
    }
}

#define HEAD "\0\0\x81\x80\0\1\0"
#define QUESTION "\4home\7example\3net\0\0\1\0\1"
#define A_RECORD "\xC0\x0C\0\1\0\1\0\0\0\x3C\0\4"
#define ALIAS "\xC0\x0C\0\5\0\1\0\0\0\x3C\0\6\3www\xC0\x11"

TEST(names, an_answer_is_read_whatever_it_is)
{
    static const struct {
        const char *bytes;
        size_t size;
        uint32_t address;
    } answers[] = {
#define ANSWER(text) HEAD text, sizeof(HEAD text) - 1
        {ANSWER("\1\0\0\0\0" QUESTION A_RECORD "\xCB\0\x71\7"), 0xCB007107u},
        {ANSWER("\2\0\0\0\0" QUESTION ALIAS "\3www\7example\3net\0\0\1\0\1\0\0\0\x3C\0\4\xCB\0\x71\7"), 0xCB007107u},
        {ANSWER("\3\0\0\0\0" QUESTION A_RECORD "\xCB\0\x71\7" A_RECORD "\xCB\0\x71\5" A_RECORD "\xCB\0\x71\6"),
         0xCB007105u}, /* the lowest, in whatever order they come */
        {ANSWER("\2\0\0\0\0" QUESTION A_RECORD "\0\0\0\0" A_RECORD "\xCB\0\x71\7"), 0xCB007107u},
        {ANSWER("\1\0\0\0\0" QUESTION A_RECORD "\0\0\0\0"), 0},
        {ANSWER("\0\0\0\0\0" QUESTION), 0},
        {ANSWER("\1\0\0\0\0" QUESTION ALIAS), 0},
        {ANSWER("\1\0\0\0\0" QUESTION "\xC0\x0C\0\x1C\0\1\0\0\0\x3C\0\4\xCB\0\x71\7"), 0}, /* AAAA, and too short */
        {ANSWER("\1\0\0\0\0" QUESTION "\xC0\x0C\0\1\0\3\0\0\0\x3C\0\4\xCB\0\x71\7"), 0},   /* another class */
        {ANSWER("\1\0\0\0\0" QUESTION "\xC0\x0C\0\1\0\1\0\0\0\x3C\0\3\xCB\0\x71\7"), 0},
        {ANSWER("\1\0\0\0\0" QUESTION A_RECORD "\xCB\0\x71"), 0}, /* cut off, at each place that matters */
        {ANSWER("\1\0\0\0\0" QUESTION A_RECORD), 0},
        {ANSWER("\1\0\0\0\0" QUESTION "\xC0\x0C\0\1\0\1\0\0\0\x3C\0"), 0},
        {ANSWER("\1\0\0\0\0" QUESTION "\xC0"), 0},
        {ANSWER("\1\0\0\0\0" QUESTION "\x3Fx"), 0},
        {ANSWER("\1\0\0\0\0\4home\7exam"), 0},
        {ANSWER("\1\0\0\0\0"), 0},
        {"\0\0\x81\x80\xFF\xFF\xFF\xFF\0\0\0\0\xC0\x0C\xC0\x0C", 16, 0},
    };
    for (int i = 0; i < COUNT(answers); i++) {
        uint8_t *bytes = malloc(answers[i].size);
        ck_assert_ptr_nonnull(bytes);
        memcpy(bytes, answers[i].bytes, answers[i].size);
        uint32_t address = read_dns_answer(bytes, (uint32_t)answers[i].size);
        ck_assert_msg(address == answers[i].address, "answer %d: %08x", i, (unsigned)address);
        free(bytes);
    }
}

/* A name server in a process of its own, which gives these answers to the questions that
 * come, one after the other; "" to say nothing. Its own end comes with ours. */
struct answers {
    const char *bytes;
    size_t size;
};

static uint16_t name_server(const struct answers *answers, size_t count, pid_t *child)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000001u)}, from;
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *child = fork();
    if (*child == 0) {
        uint8_t question[DNS_BYTES], answer[DNS_BYTES];
        (void)alarm(20);
        size = sizeof from;
        ssize_t n = recvfrom(fd, question, sizeof question, 0, (struct sockaddr *)&from, &size);
        for (size_t i = 0; i < count && n > 0; i++) {
            memcpy(answer, answers[i].bytes, answers[i].size);
            if (answer[0] == 0)
                memcpy(answer, question, 2);
            (void)sendto(fd, answer, answers[i].size, 0, (struct sockaddr *)&from, size);
        }
        _exit(0);
    }
    (void)close(fd);
    return ntohs(address.sin_port);
}

/* Somebody else's answers, ones to something else, and ones that are questions are passed over. */
TEST(names, a_name_server_is_asked)
{
    static const struct answers good[] = {{"", 0},
                                          {"\1\1\x81\x80\0\1\0\1\0\0\0\0" QUESTION A_RECORD "\1\1\1\1",
                                           12 + sizeof QUESTION + sizeof A_RECORD - 2 + 4},
                                          {ANSWER("\1\0\0\0\0\4hole\7example\3net\0\0\1\0\1" A_RECORD "\1\1\1\1")},
                                          {"\0\0\1\0\0\1\0\1\0\0\0\0" QUESTION A_RECORD "\1\1\1\1",
                                           12 + sizeof QUESTION + sizeof A_RECORD - 2 + 4},
                                          {ANSWER("\1\0\0\0\0" QUESTION A_RECORD "\xCB\0\x71\7")}};
    static const struct answers none[] = {{"\0\0\x81\x83\0\1\0\0\0\0\0\0" QUESTION, 12 + sizeof QUESTION - 1}};
    static const struct answers empty[] = {{ANSWER("\0\0\0\0\0" QUESTION)}};
    static const struct answers broken[] = {{"\0\0\x81\x82\0\1\0\0\0\0\0\0" QUESTION, 12 + sizeof QUESTION - 1}};
    static const struct {
        const struct answers *answers;
        size_t count;
        uint32_t address;
        const char *reason;
    } cases[] = {{good, COUNT(good), 0xCB007107u, NULL},
                 {none, 1, 0, "there is no such host"},
                 {empty, 1, 0, "it has no IPv4 address"},
                 {broken, 1, 0, NULL}}; /* then the next name server may know */
    for (int i = 0; i < COUNT(cases); i++) {
        const char *reason = "not set";
        pid_t child;
        uint16_t port = name_server(cases[i].answers, cases[i].count, &child);
        ck_assert_uint_eq(ask_name_server(0x7F000001u, port, NAME, &reason), cases[i].address);
        if (cases[i].reason)
            ck_assert_str_eq(reason, cases[i].reason);
        else
            ck_assert_ptr_null(reason);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
    }
    const char *reason = "not set"; /* nobody is there */
    ck_assert_uint_eq(ask_name_server(0x7F000001u, 1, NAME, &reason), 0);
    ck_assert_ptr_null(reason);
}

TEST(names, a_question_is_written_as_name_servers_read_it)
{
    uint8_t bytes[DNS_BYTES], id[2] = {1, 2};
    static const char wanted[] = "\1\2\1\0\0\1\0\0\0\0\0\0" QUESTION;
    ck_assert_uint_eq(write_dns_question(bytes, id, NAME), sizeof wanted - 1);
    ck_assert_mem_eq(bytes, wanted, sizeof wanted - 1);
}
