/* The live test, of `nascar_server probe`: what it says of a server that is well, and of
 * each thing that can be wrong with one, for people and as JSON, with its exit status. What
 * the real server does not do comes from a fake one, a process of the test.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* unshare */

#include "server.h"

#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- A run of it ------------------------------------------------------------------ */

static const char *input; /* what is on its standard input; NULL: nothing */

/* Times differ: each is 0 here, with the spaces before it, and so are dates. */
static void forget_times(char *text)
{
    char *to = text;
    for (const char *p = text; *p != '\0';) {
        size_t spaces = strspn(p, " "), digits = strspn(p + spaces, "0123456789");
        if (digits > 0 && strncmp(p + spaces + digits, " ms", 3) == 0) {
            *to++ = ' ', *to++ = '0';
            p += spaces + digits;
        } else if (strncmp(p, "\"ms\":", 5) == 0) {
            (void)memcpy(to, "\"ms\":0", 6);
            to += 6;
            p += 5 + strspn(p + 5, "0123456789");
        } else if (strncmp(p, "20", 2) == 0 && p[4] == '-' && p[7] == '-' && p[10] == ' ') {
            (void)memcpy(to, "DATE", 4);
            to += 4;
            p += 19;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
}

/* Its own accounts have names that go by the machine: `A` and `B` here. */
static void forget_names(char *text)
{
    for (char *p; (p = strstr(text, "probe-")) != NULL;) {
        for (int i = 6; i < 11; i++)
            EXPECT(isxdigit((unsigned char)p[i]));
        *p = p[11] == 'x' ? 'B' : 'A';
        (void)memmove(p + 1, p + 12, strlen(p + 12) + 1);
    }
}

static const struct outcome *run_probe(const char *where, const char *const *words)
{
    static struct outcome o;
    const char *arguments[16] = {binary, "probe", where};
    size_t count = 3;
    int in[2];
    FILE *out = tmpfile(), *err = tmpfile();
    EXPECT(out != NULL && err != NULL && pipe(in) == 0);
    for (; *words != NULL && count < 15; words++)
        arguments[count++] = *words;
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0)
        become_server(arguments, in[0], fileno(out), fileno(err), 0);
    if (input != NULL)
        EXPECT(write(in[1], input, strlen(input)) == (ssize_t)strlen(input));
    (void)close(in[0]);
    (void)close(in[1]);
    o.status = wait_exit(pid, 12000);
    (void)snprintf(o.out, sizeof o.out, "%s", contents(out));
    (void)snprintf(o.err, sizeof o.err, "%s", contents(err));
    (void)fclose(out);
    (void)fclose(err);
    forget_times(o.out);
    forget_names(o.out);
    return &o;
}

static const char *place_of(uint16_t port)
{
    static char text[32];
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", (unsigned)port);
    return text;
}

#define PROBE_AT(port, ...) run_probe(place_of(port), (const char *const[]){__VA_ARGS__, NULL})
#define PLAIN_AT(port) run_probe(place_of(port), (const char *const[]){NULL})
#define PROBE(s, ...) PROBE_AT((s)->port[DIRECTORY], __VA_ARGS__)
#define PROBE_PLAIN(s) PLAIN_AT((s)->port[DIRECTORY])

/* What is expected may have @D, @L and @B for the three ports of the server. */
static void expect_out(int line, const struct outcome *o, int status, const uint16_t port[PORTS], const char *out)
{
    char expected[TEXT_BYTES];
    size_t n = 0;
    for (; *out != '\0' && n + 8 < sizeof expected; out++) {
        const char *which = out[0] == '@' && out[1] != '\0' ? strchr("DLB", out[1]) : NULL;
        if (which != NULL) {
            n += (size_t)snprintf(expected + n, 8, "%u", (unsigned)port[which - "DLB"]);
            out++;
        } else {
            expected[n++] = *out;
        }
    }
    expected[n] = '\0';
    if (o->status != status || strcmp(o->out, expected) != 0 || o->err[0] != '\0')
        fail("line %d: status %d, `%s`, `%s`, expected %d, `%s`", line, o->status, o->out, o->err, status, expected);
}

#define SAYS(run, status, port, out) expect_out(__LINE__, run, status, port, out)

/* The same where the end matters: from the step that failed. */
static void expect_end(int line, const struct outcome *o, int status, const char *end)
{
    size_t n = strlen(o->out), m = strlen(end);
    if (o->status != status || n < m || strcmp(o->out + n - m, end) != 0)
        fail("line %d: status %d, `%s`, `%s`", line, o->status, o->out, o->err);
}

#define ENDS(run, status, end) expect_end(__LINE__, run, status, end)

/* A number of `ctl stats`. */
static long stat_of(const struct server *s, const char *name)
{
    char key[64];
    (void)snprintf(key, sizeof key, "\"%s\":", name);
    const struct outcome *o = RUN("ctl", "--data", s->data, "stats", "--json");
    const char *at = strstr(o->out, key);
    EXPECT(at != NULL);
    return atol(at + strlen(key));
}

/* ---- A server that is well ------------------------------------------------------------ */

CASE(probe_goes_all_the_way_and_leaves_nothing, 20)
{
    struct server *s = START(CHEAP);
    struct console *ann = player(s, "Ann");
    for (int again = 0; again < 2; again++) {
        SAYS(PROBE_PLAIN(s), 0, s->port,
             "name 0 ms  127.0.0.1\n"
             "directory 0 ms  127.0.0.1:@L\n"
             "lobby 0 ms  \n"
             "login 0 ms  A\n"
             "persona 0 ms  A\n"
             "room 0 ms  C.A\n"
             "chat 0 ms  C.A\n"
             "buddy 0 ms  127.0.0.1:@B\n"
             "leave 0 ms  DATE\n"
             "The server is well.\n");
        UNTIL(2000, stat_of(s, "players") == 1);
        EXPECT(stat_of(s, "accounts") == 1 && stat_of(s, "personas") == 1); /* Ann's */
        EXPECT(stat_of(s, "rooms") == 4 && stat_of(s, "messages") == 0 && stat_of(s, "roster_entries") == 0);
    }
    UNTIL(2000, ann->rooms.count == 4); /* that of the probe came and went */
    EXPECT(log_lines(s, "event=move", "room=\"C.probe-") == 2 && ann->chat.count == 0);
}

CASE(probe_races_against_itself, 20)
{
    struct server *s = START(CHEAP);
    for (int again = 0; again < 2; again++) {
        SAYS(PROBE(s, "--full", "--json"), 0, s->port,
             "{\"host\":\"127.0.0.1\",\"port\":@D,\"steps\":["
             "{\"step\":\"name\",\"ms\":0,\"fault\":\"\",\"says\":\"127.0.0.1\",\"advice\":\"\"},"
             "{\"step\":\"directory\",\"ms\":0,\"fault\":\"\",\"says\":\""
             "127.0.0.1:@L\",\"advice\":\"\"},"
             "{\"step\":\"lobby\",\"ms\":0,\"fault\":\"\",\"says\":\"\",\"advice\":\"\"},"
             "{\"step\":\"login\",\"ms\":0,\"fault\":\"\",\"says\":\"A\",\"advice\":\"\"},"
             "{\"step\":\"persona\",\"ms\":0,\"fault\":\"\",\"says\":\"A\",\"advice\":\"\"},"
             "{\"step\":\"room\",\"ms\":0,\"fault\":\"\",\"says\":\"C.A\",\"advice\":\"\"},"
             "{\"step\":\"chat\",\"ms\":0,\"fault\":\"\",\"says\":\"C.A\",\"advice\":\"\"},"
             "{\"step\":\"buddy\",\"ms\":0,\"fault\":\"\",\"says\":\"127.0.0.1:@B\",\"advice\":\"\"},"
             "{\"step\":\"race\",\"ms\":0,\"fault\":\"\",\"says\":\"B\",\"advice\":\"\"},"
             "{\"step\":\"leave\",\"ms\":0,\"fault\":\"\",\"says\":\"DATE\",\"advice\":\"\"}],"
             "\"status\":\"well\",\"left\":[]}\n");
        UNTIL(2000, stat_of(s, "players") == 0);
        EXPECT(stat_of(s, "accounts") == 0 && stat_of(s, "personas") == 0);
        EXPECT(stat_of(s, "races_unreported") == 0 && stat_of(s, "challenges_and_races") == 0);
    }
    EXPECT(log_lines(s, "event=race", "host=\"probe-") == 2);
}

/* It logs in as a server wants it, whatever that is. */
CASE(probe_gets_into_each_sort_of_server, 20)
{
    ENDS(PROBE_PLAIN(START(CHEAP, "--skey", "off")), 0, "The server is well.\n");
    ENDS(PROBE_PLAIN(START(CHEAP, "--accounts", "register")), 0, "The server is well.\n");
    struct server *s = START(CHEAP, "--directory-direct", "yes", "--segment-bytes", "0", "--lan", "off");
    char place[32];
    (void)snprintf(place, sizeof place, "LocalHost:%u", (unsigned)s->port[LOBBY]); /* each port serves all */
    ENDS(run_probe(place, (const char *const[]){"--full", NULL}), 0, "The server is well.\n");
}

CASE(probe_takes_an_account_and_its_password_from_who_has_one, 20)
{
    struct server *s = START(CHEAP, "--accounts", "open");
    (void)player(s, "Ann");
    (void)stop(s, SIGTERM);
    START_AGAIN(s, CHEAP, "--accounts", "closed");
    input = PASSWORD "\n";
    SAYS(PROBE(s, "--account", "Ann"), 0, s->port,
         "name 0 ms  127.0.0.1\ndirectory 0 ms  127.0.0.1:@L\nlobby 0 ms  \nlogin 0 ms  Ann\n"
         "persona 0 ms  Ann\nroom 0 ms  C.Ann\nchat 0 ms  C.Ann\nbuddy 0 ms  127.0.0.1:@B\nleave 0 ms  DATE\n"
         "The server is well.\n");
    EXPECT(stat_of(s, "accounts") == 1 && stat_of(s, "personas") == 1);
    ENDS(PROBE(s, "--account", "Bob"), 1,
         "login 0 ms  imst: auth is answered with imst\n"
         "                    there is no such account: `ctl passwd NAME` makes it\nThe server is degraded.\n");
    ENDS(PROBE(s, "--account", "Ann", "--full"), 1, /* the other player is a stranger */
         "race 0 ms  miss: acct is answered with miss\n"
         "                    strangers get no account (--accounts): use --account NAME, and no --full\nleave 0 ms  "
         "DATE\n"
         "The server is degraded.\n");
    input = "not this one\n";
    ENDS(PROBE(s, "--account", "Ann"), 1,
         "login 0 ms  pass: auth is answered with pass\n"
         "                    a wrong password; if you gave none, somebody has that account: `ctl delete` it\n"
         "The server is degraded.\n");
    input = "";
    const struct outcome *o = PROBE(s, "--account", "Ann");
    EXPECT(o->status == 3 && o->out[0] == '\0');
    EXPECT(strcmp(o->err, "nascar_server: probe: expected a password on standard input, as text\n") == 0);
}

/* An account without a persona gets one, which goes again. The account stays, as somebody else has made it. */
CASE(probe_takes_back_a_persona_that_it_has_made, 15)
{
    struct server *s = START(CHEAP);
    struct console *ann = seat_new(s, LOCALHOST)->console;
    console_login(ann, "Ann", PASSWORD, "");
    UNTIL(3000, ann->stage == CONSOLE_PERSONAS && ann->persona_count == 1);
    console_delete_persona(ann, "Ann");
    UNTIL(3000, ann->persona_count == 0);
    input = PASSWORD "\n";
    SAYS(PROBE(s, "--account", "Ann"), 0, s->port,
         "name 0 ms  127.0.0.1\ndirectory 0 ms  127.0.0.1:@L\nlobby 0 ms  \nlogin 0 ms  Ann\n"
         "persona 0 ms  Ann\nroom 0 ms  C.Ann\nchat 0 ms  C.Ann\nbuddy 0 ms  127.0.0.1:@B\nleave 0 ms  DATE\n"
         "The server is well.\n");
    EXPECT(stat_of(s, "personas") == 0 && stat_of(s, "accounts") == 1);
}

/* Somebody has the name that it takes as a stranger. */
CASE(probe_tells_that_its_account_is_anothers, 15)
{
    struct server *s = START(CHEAP);
    char name[13] = "";
    EXPECT(PROBE_PLAIN(s)->status == 0);
    const char *at = strstr(contents(s->log), "account=\"");
    EXPECT(at != NULL);
    (void)memcpy(name, at + 9, 12);
    (void)player(s, name);
    ENDS(PROBE_PLAIN(s), 1,
         "login 0 ms  pass: auth is answered with pass\n"
         "                    a wrong password; if you gave none, somebody has that account: `ctl delete` it\n"
         "The server is degraded.\n");
    EXPECT(stat_of(s, "accounts") == 1);
}

/* ---- A server that is not ------------------------------------------------------------- */

CASE(probe_tells_how_the_server_turns_consoles_away, 20)
{
    struct server *s = START(CHEAP, "--down", "Back at \x22noon\x22, 100% sure");
    SAYS(PROBE_PLAIN(s), 2, s->port,
         "name 0 ms  127.0.0.1\n"
         "directory 0 ms  turned-away: Back at \"noon\", 100% sure\n"
         "                    consoles are shown this: a `ctl down`, a ban, or a full server\n"
         "The server is down.\n");
    SAYS(PROBE(s, "--json"), 2, s->port,
         "{\"host\":\"127.0.0.1\",\"port\":@D,\"steps\":["
         "{\"step\":\"name\",\"ms\":0,\"fault\":\"\",\"says\":\"127.0.0.1\",\"advice\":\"\"},"
         "{\"step\":\"directory\",\"ms\":0,\"fault\":\"turned-away\",\"says\":\"Back at \\\"noon\\\", 100% sure\","
         "\"advice\":\"consoles are shown this: a `ctl down`, a ban, or a full server\"}],"
         "\"status\":\"down\",\"left\":[]}\n");
    EXPECT(RUN("ctl", "--data", s->data, "down", "off")->status == 0);
    EXPECT(RUN("ctl", "--data", s->data, "ban", "127.0.0.1")->status == 0);
    ENDS(PROBE_PLAIN(s), 2,
         "directory 0 ms  turned-away: Your address is banned from this server.\n"
         "                    consoles are shown this: a `ctl down`, a ban, or a full server\nThe server is down.\n");
    s = START(CHEAP, "--max-clients", "1");
    (void)player_from(s, "Ann", LOCALHOST + 8);
    ENDS(PROBE_PLAIN(s), 2,
         "directory 0 ms  turned-away: The server is full. Please try again later.\n"
         "                    consoles are shown this: a `ctl down`, a ban, or a full server\nThe server is down.\n");
}

CASE(probe_tells_what_keeps_a_stranger_out, 20)
{
    ENDS(PROBE_PLAIN(START(CHEAP, "--accounts", "closed")), 1,
         "login 0 ms  miss: acct is answered with miss\n"
         "                    strangers get no account (--accounts): use --account NAME, and no --full\nThe server is "
         "degraded.\n");
    struct server *s = START(CHEAP, "--max-accounts", "1");
    (void)player(s, "Ann");
    ENDS(PROBE_PLAIN(s), 1, /* Ann gets in */
         "login 0 ms  full: auth is answered with full\n"
         "                    there is no room: see --max-clients, --max-accounts\nThe server is degraded.\n");
    s = START(CHEAP, "--accounts-per-address", "1");
    (void)player(s, "Ann");
    ENDS(PROBE_PLAIN(s), 1,
         "login 0 ms  hack: auth is answered with hack\n"
         "                    too much has failed from here: wait ten minutes, or have this address --trusted\n"
         "The server is degraded.\n");
}

/* A race that cannot be is none of the server's being down; what it made goes all the same. */
CASE(probe_cleans_up_after_a_step_that_failed, 15)
{
    struct server *s = START(CHEAP, "--max-clients", "1");
    ENDS(PROBE(s, "--full"), 1,
         "race 0 ms  full: auth is answered with full\n"
         "                    there is no room: see --max-clients, --max-accounts\nleave 0 ms  DATE\n"
         "The server is degraded.\n");
    EXPECT(stat_of(s, "personas") == 0 && stat_of(s, "accounts") == 0);
    s = START(CHEAP, "--max-accounts", "1");
    ENDS(PROBE(s, "--full"), 1,
         "race 0 ms  full: auth is answered with full\n"
         "                    there is no room: see --max-clients, --max-accounts\nleave 0 ms  DATE\n"
         "The server is degraded.\n");
    EXPECT(stat_of(s, "personas") == 0 && stat_of(s, "accounts") == 0);
}

CASE(probe_tells_a_server_that_hangs, 15)
{
    struct server *s = START(CHEAP);
    EXPECT(kill(s->pid, SIGSTOP) == 0);
    SAYS(PROBE(s, "--wait", "1"), 2, s->port,
         "name 0 ms  127.0.0.1\n"
         "directory 0 ms  silent: 127.0.0.1:@D\n"
         "                    no answer in time: the server hangs or is overloaded, or is another one\n"
         "The server is down.\n");
    EXPECT(kill(s->pid, SIGCONT) == 0);
    (void)stop(s, SIGTERM);
    SAYS(PROBE_PLAIN(s), 2, s->port,
         "name 0 ms  127.0.0.1\n"
         "directory 0 ms  refused: 127.0.0.1:@D\n"
         "                    nothing listens there: is the server up, on this port, and does the router pass it on?\n"
         "The server is down.\n");
    ENDS(PROBE_PLAIN(START("--proxy-from", "127.0.0.0/8")), 2,
         "                    it hangs up: see its log; or it is another server, or awaits a PROXY header\n"
         "The server is down.\n");
}

/* ---- Fake servers ------------------------------------------------------------------------ */

/* What a fake one answers to a kind: with these frames, whose tags may have ~ for TEXT of the
 * request and # for its own port. With kind "" they are no frame, but the bytes as they are, and with FLOOD
 * the frame comes again and again. */
#define FLOOD UINT32_MAX
struct reply {
    const char *to, *kind;
    uint32_t code;
    const char *tags;
};

static const struct reply session[] = {
    {"@dir", "@dir", 0, "ADDR=127.0.0.1\nPORT=#\nSESS=1\nMASK=00\n"},
    {"addr", "addr", 0, "STATUS=1\n"},
    {"skey", "skey", 0, "SKEY=$0102030405060708090a0b0c0d0e0f10\n"},
    {"auth", "auth", 0, "NAME=x\nLAST=2001-02-03 04:05:06\nPERSONAS=Ann,Bob\n"},
    {"pers", "pers", 0, "PERS=Ann\nLKEY=$0011223344556677\n"},
    {"pers", "+who", 0, "N=Ann\n"},
    {"sele", "sele", 0, "STATUS=1\n"},
    {"sele", "+rom", 0, "I=0\nN=Lobby\nT=1\n"},
    {"room", "+rom", 0, "I=1001\nN=C.Ann\nT=1\n"},
    {"room", "room", 0, "STATUS=1\n"},
    {"room", "+who", 0, "R=C.Ann\n"},
    {"mesg", "mesg", 0, "STATUS=1\n"},
    {"mesg", "+msg", 0, "N=Server\nT=\"Welcome, all\"\n"}, /* somebody else's comes first */
    {"mesg", "+msg", 0, "N=Ann\nT=~\n"},
    {"news", "news", 0x6e657730, "BUDDY_URL=127.0.0.1\nBUDDY_PORT=#\n"},
    {"AUTH", "AUTH", 0, "STATUS=1\n"},
    {"RGET", "RGET", 0, "STATUS=1\nSIZE=0\n"},
    {"dper", "dper", 0, "STATUS=1\n"},
    {"dacc", "dacc", 0x6d697373, ""}, /* as of any kind that it does not know */
    {NULL, NULL, 0, NULL},
};

/* The session, with these answers in the place of those to the same kind; of kind NULL: none. */
static struct reply made[64];

static const struct reply *but(const struct reply *others)
{
    size_t count = 0;
    for (const struct reply *r = session; r->to != NULL; r++) {
        bool replaced = false;
        for (const struct reply *o = others; o->to != NULL; o++)
            replaced = replaced || strcmp(o->to, r->to) == 0;
        if (!replaced)
            made[count++] = *r;
    }
    for (; others->to != NULL; others++)
        if (others->kind != NULL)
            made[count++] = *others;
    made[count] = (struct reply){NULL, NULL, 0, NULL};
    return made;
}

#define BUT(...) but((const struct reply[]){__VA_ARGS__, {NULL, NULL, 0, NULL}})

static size_t write_reply(uint8_t out[4096], const struct reply *r, uint16_t port, const char *text)
{
    char tags[1024];
    size_t n = 0;
    for (const char *p = r->tags; *p != '\0'; p++) {
        if (*p == '~')
            n += (size_t)snprintf(tags + n, 256, "%s", text);
        else if (*p == '#')
            n += (size_t)snprintf(tags + n, 8, "%u", (unsigned)port);
        else
            tags[n++] = *p;
    }
    tags[n++] = '\0';
    if (r->kind[0] != '\0')
        return console_frame(out, 4096, r->kind, r->code == FLOOD ? 0 : r->code, tags, n);
    (void)memcpy(out, tags, n - 1);
    return n - 1;
}

/* Answers a request, in pieces of so many bytes. */
static void answer_request(int fd, uint16_t port, const struct reply *r, const char *kind, const char *payload,
                           size_t piece)
{
    char text[256];
    uint8_t bytes[4096];
    (void)console_read_text(console_find(payload, "TEXT"), text, sizeof text);
    for (; r->to != NULL; r++) {
        size_t size = strcmp(r->to, kind) == 0 ? write_reply(bytes, r, port, text) : 0;
        do {
            for (size_t at = 0; at < size; at += piece)
                if (send(fd, bytes + at, size - at < piece ? size - at : piece, MSG_NOSIGNAL) < 0)
                    return;
        } while (size > 0 && r->code == FLOOD);
    }
}

/* Answers on a connection, for each service. Whom it has nothing to answer it does not answer. */
static void fake_connection(int fd, uint16_t port, const struct reply *replies, size_t piece)
{
    char kind[5], payload[CONSOLE_FRAME_BYTES];
    while (raw_frame(fd, kind, payload, 10000))
        answer_request(fd, port, replies, kind, payload, piece);
}

static int listen_at(uint32_t address, uint16_t *port, int backlog)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    socklen_t size = sizeof own;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(fd >= 0 && bind(fd, (struct sockaddr *)&own, sizeof own) == 0 && listen(fd, backlog) == 0);
    EXPECT(getsockname(fd, (struct sockaddr *)&own, &size) == 0);
    *port = ntohs(own.sin_port);
    return fd;
}

/* A fake server at an address, which ends with the case. Replies NULL: it hangs up at once. */
static uint16_t fake_at(uint32_t address, const struct reply *replies, size_t piece)
{
    uint16_t port;
    int listener = listen_at(address, &port, 8);
    if (fork() == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)signal(SIGCHLD, SIG_IGN);
        for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; (void)close(fd)) {
            if (replies != NULL && fork() == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                fake_connection(fd, port, replies, piece);
                _exit(0);
            }
        }
        _exit(1);
    }
    (void)close(listener);
    return port;
}

static uint16_t fake(const struct reply *replies)
{
    return fake_at(LOCALHOST, replies, 4096);
}

CASE(probe_tells_another_server_by_what_it_sends, 20)
{
    static const char *const others[] = {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
                                         "SSH-2.0-OpenSSH_9.2\r\n", "220 mail.example ESMTP\r\n", "\x16\x03\x01",
                                         "@dir,,,,,,,,,"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        uint16_t port[PORTS] = {fake(BUT({"@dir", "", 0, others[i]}))};
        SAYS(PROBE_AT(port[0], "--wait", "2"), 2, port,
             "name 0 ms  127.0.0.1\n"
             "directory 0 ms  foreign: 127.0.0.1:@D\n"
             "                    that is another server: name the directory's port as HOST:PORT\n"
             "The server is down.\n");
    }
    uint16_t port[PORTS] = {fake(NULL)};
    SAYS(PROBE_AT(port[0], "--wait", "2"), 2, port,
         "name 0 ms  127.0.0.1\n"
         "directory 0 ms  hung-up: 127.0.0.1:@D\n"
         "                    it hangs up: see its log; or it is another server, or awaits a PROXY header\n"
         "The server is down.\n");
    port[0] = fake(BUT({"@dir", NULL, 0, ""}));
    SAYS(PROBE_AT(port[0], "--wait", "1"), 2, port,
         "name 0 ms  127.0.0.1\n"
         "directory 0 ms  silent: 127.0.0.1:@D\n"
         "                    no answer in time: the server hangs or is overloaded, or is another one\n"
         "The server is down.\n");
}

/* Nobody takes the connections of a full queue: what comes is dropped, as by a firewall. */
CASE(probe_tells_a_port_that_is_filtered, 10)
{
    uint16_t port[PORTS] = {0};
    int listener = listen_at(LOCALHOST, &port[0], 0), fd[4];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port[0]), .sin_addr.s_addr = htonl(LOCALHOST)};
    for (size_t i = 0; i < 4; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fd[i], (struct sockaddr *)&to, sizeof to);
    }
    uint64_t began_ms = now_ms();
    SAYS(PROBE_AT(port[0], "--wait", "1"), 2, port,
         "name 0 ms  127.0.0.1\n"
         "directory 0 ms  filtered: 127.0.0.1:@D\n"
         "                    nothing comes back: is the address right, and do firewalls and router let this TCP port "
         "through?\n"
         "The server is down.\n");
    EXPECT(now_ms() - began_ms < 3000);
    for (size_t i = 0; i < 4; i++)
        (void)close(fd[i]);
    (void)close(listener);
}

#define SENT_AWAY \
    "                    they get no further: set --public-address, and have all three ports passed on; inside the " \
    "server's own network it may fail though others get in\n"

CASE(probe_tells_where_consoles_are_sent_to, 20)
{
    uint16_t closed;
    (void)close(listen_at(LOCALHOST + 8, &closed, 1));
    ENDS(PLAIN_AT(fake(BUT({"@dir", "@dir", 0, "ADDR=127.0.0.9\nPORT=1\nSESS=1\nMASK=00\n"}))), 2,
         "lobby 0 ms  elsewhere: it sends consoles to 127.0.0.9:1\n" SENT_AWAY "The server is down.\n");
    ENDS(PLAIN_AT(fake(BUT({"@dir", "@dir", 0, "ADDR=0.0.0.0\nPORT=0\n"}))), 2,
         "lobby 0 ms  elsewhere: it sends consoles to 0.0.0.0:0\n" SENT_AWAY "The server is down.\n");
    ENDS(PLAIN_AT(fake(BUT({"@dir", "@dir", 0, "STATUS=1\n"}))), 2,
         "lobby 0 ms  elsewhere: it sends consoles to 0.0.0.0:0\n" SENT_AWAY "The server is down.\n");
    ENDS(PLAIN_AT(fake(BUT({"@dir", "@dir", 0, "ADDR=3232236155\nPORT=70000\n"}))), 2,
         "lobby 0 ms  elsewhere: it sends consoles to 0.0.0.0:70000\n" SENT_AWAY "The server is down.\n");
    uint16_t silent[PORTS] = {0, fake_at(LOCALHOST + 8, BUT({"addr", NULL, 0, ""}), 4096)};
    char tags[96];
    (void)snprintf(tags, sizeof tags, "ADDR=127.0.0.9\nPORT=%u\n", (unsigned)silent[1]);
    SAYS(PROBE_AT(silent[0] = fake(BUT({"@dir", "@dir", 0, tags})), "--wait", "1"), 2, silent,
         "name 0 ms  127.0.0.1\ndirectory 0 ms  127.0.0.9:@L\n"
         "lobby 0 ms  elsewhere: it sends consoles to 127.0.0.9:@L\n" SENT_AWAY "The server is down.\n");
    ENDS(PLAIN_AT(fake(BUT({"news", "news", 0x6e657730, "BUDDY_URL=127.0.0.9\nBUDDY_PORT=1\n"}))), 1,
         "buddy 0 ms  elsewhere: it sends consoles to 127.0.0.9:1\n" SENT_AWAY "leave 0 ms  clock: DATE\n"
         "                    so the server dated this login: which of the two clocks is wrong?\n"
         "The server is degraded.\nThe account A stays there for the next probe.\n");
}

/* Another address of loopback, in a name space of networks of this process alone. */
static void add_address(unsigned number, uint32_t address)
{
    struct ifreq request = {.ifr_flags = IFF_UP | IFF_RUNNING};
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
    EXPECT(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0);
    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "lo:%u", number);
    (void)memcpy(&request.ifr_addr, &own, sizeof own);
    EXPECT(ioctl(fd, SIOCSIFADDR, &request) == 0);
    (void)close(fd);
}

/* A server with a public address that sends consoles to one that only its neighbours reach, as we are: so somebody
 * answers there. */
CASE(probe_believes_no_private_address_of_a_public_host, 15)
{
    static const struct {
        uint32_t at, sends_to;
        const char *place, *says;
        int status;
    } rows[] = {
        {0xCB007101, 0x7F000001, "203.0.113.1", "127.0.0.1", 2},
        {0xCB007101, 0xC0A80102, "203.0.113.1", "192.168.1.2", 2},
        {0xCB007101, 0x0A000001, "203.0.113.1", "10.0.0.1", 2},
        {0xC0A80102, 0x7F000001, "192.168.1.2", "127.0.0.1", 2},
        {0xC0A80102, 0x0A000001, "192.168.1.2", "10.0.0.1", 0},
        {0xC0A80102, 0xCB007101, "192.168.1.2", "203.0.113.1", 0},
        {0x7F000001, 0xCB007101, "127.0.0.1", "203.0.113.1", 0},
    };
    char place[32], tags[64], expected[512];
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        skip("no name space of networks, as this is not root: %s", strerror(errno));
    add_address(1, 0xCB007101);
    add_address(2, 0xC0A80102);
    add_address(3, 0x0A000001);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned lobby = fake_at(rows[i].sends_to, BUT({"auth", "auth", 0, "PERSONAS=Ann\n"}), 4096);
        (void)snprintf(tags, sizeof tags, "ADDR=%s\nPORT=%u\n", rows[i].says, lobby);
        unsigned port = fake_at(rows[i].at, BUT({"@dir", "@dir", 0, tags}), 4096);
        (void)snprintf(place, sizeof place, "%s:%u", rows[i].place, port);
        (void)snprintf(expected, sizeof expected, "lobby 0 ms  elsewhere: it sends consoles to %s:%u\n%s", rows[i].says,
                       lobby, SENT_AWAY "The server is down.\n");
        const struct outcome *o = run_probe(place, (const char *const[]){NULL});
        if (rows[i].status == 2)
            ENDS(o, 2, expected);
        else /* it gets through to the buddy service, for which the fake one sends it to loopback */
            EXPECT(strstr(o->out, "\nchat 0 ms  C.Ann\n") != NULL);
    }
    ENDS(run_probe("198.51.100.1", (const char *const[]){NULL}), 2, /* no way leads there from here */
         "                    nothing comes back: is the address right, and do firewalls and router let this TCP port "
         "through?\nThe server is down.\n");
    ENDS(run_probe("nobody.example", (const char *const[]){NULL}), 2,
         "name 0 ms  not-found: no name server gives an answer\n"
         "                    is the name right, and has it an A record?\nThe server is down.\n");
}

/* The answer to `auth` whose date is so many seconds from now. */
static const char *login_at(long seconds)
{
    static char tags[128];
    time_t when = time(NULL) + seconds;
    struct tm date;
    (void)gmtime_r(&when, &date);
    size_t n = strftime(tags, sizeof tags, "LAST=%Y-%m-%d %H:%M:%S\nPERSONAS=Ann,Bob\n", &date);
    EXPECT(n > 0);
    return tags;
}

#define STAYS "The account A stays there for the next probe.\n"
#define CLOCK_OFF \
    "leave 0 ms  clock: DATE\n                    so the server dated this login: which of the two clocks is wrong?\n" \
    "The server is degraded.\n" STAYS

CASE(probe_tells_a_clock_that_is_far_off, 20)
{
    ENDS(PLAIN_AT(fake(session)), 1, CLOCK_OFF);
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0, login_at(-400)}))), 1, CLOCK_OFF);
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0, login_at(400)}))), 1, CLOCK_OFF);
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0, login_at(-200)}))), 0, "leave 0 ms  DATE\nThe server is well.\n" STAYS);
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0, login_at(200)}))), 0, "leave 0 ms  DATE\nThe server is well.\n" STAYS);
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0, "PERSONAS=Ann\n"}))), 0, "leave 0 ms  \nThe server is well.\n" STAYS);
    ENDS(PROBE_AT(fake(BUT({"auth", "auth", 0, "PERSONAS=Ann\n"}, {"dacc", NULL, 0, ""})), "--wait", "1"),
         0, /* no answer at all */
         "leave 0 ms  \nThe server is well.\n" STAYS);
}

/* What is cut, or comes before its turn, is no fault. */
CASE(probe_reads_frames_however_they_are_cut, 15)
{
    static const char *const auth = "PERSONAS=Ann\n";
    ENDS(PLAIN_AT(fake_at(LOCALHOST, BUT({"auth", "auth", 0, auth}), 1)), 0,
         "leave 0 ms  \nThe server is well.\n" STAYS);
    ENDS(PLAIN_AT(fake_at(LOCALHOST,
                          BUT({"auth", "auth", 0, auth}, {"addr", "~png", 0, "REF=1\n"}, {"addr", "skey", 0, "~\n"},
                              {"addr", "addr", 0, ""}),
                          7)),
         0, "leave 0 ms  \nThe server is well.\n" STAYS);
}

/* Whatever is not answered, it ends in time, and says where; from the room on that is no server that is down. */
CASE(probe_tells_which_step_is_not_answered, 20)
{
#define SILENT(step) \
    step " 0 ms  silent: 127.0.0.1:@D\n" \
         "                    no answer in time: the server hangs or is overloaded, or is another one\n"
    uint16_t port[PORTS] = {fake(BUT({"skey", NULL, 0, ""}))};
    SAYS(PROBE_AT(port[0], "--wait", "1"), 2, port,
         "name 0 ms  127.0.0.1\ndirectory 0 ms  127.0.0.1:@D\n" SILENT("lobby") "The server is down.\n");
    port[0] = fake(BUT({"mesg", "mesg", 0, ""}, {"mesg", "+msg", FLOOD, "T=\"Not yours\"\n"}));
    uint64_t began_ms = now_ms();
    SAYS(PROBE_AT(port[0], "--wait", "1"), 1, port,
         "name 0 ms  127.0.0.1\ndirectory 0 ms  127.0.0.1:@D\nlobby 0 ms  \nlogin 0 ms  A\n"
         "persona 0 ms  Ann\nroom 0 ms  C.Ann\n" SILENT("chat") "The server is degraded.\n" STAYS);
    EXPECT(now_ms() - began_ms < 3000);
    port[0] = fake(BUT({"AUTH", NULL, 0, ""}));
    SAYS(PROBE_AT(port[0], "--wait", "1"), 1, port,
         "name 0 ms  127.0.0.1\ndirectory 0 ms  127.0.0.1:@D\nlobby 0 ms  \nlogin 0 ms  A\n"
         "persona 0 ms  Ann\nroom 0 ms  C.Ann\nchat 0 ms  C.Ann\n" SILENT("buddy") CLOCK_OFF);
}

/* Of what a server answers, only what keeps everybody out is that it is down. */
CASE(probe_tells_a_refusal_from_a_server_that_is_down, 15)
{
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0x6661696c, ""}))), 2,
         "login 0 ms  fail: auth is answered with fail\n"
         "                    its disk or its hashing of passwords fails: see its log\nThe server is down.\n");
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0x626c616b, ""}))), 1,
         "login 0 ms  blak: auth is answered with blak\n"
         "                    banned: `ctl bans` says why\nThe server is degraded.\n");
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0, ""}, {"cper", "cper", 0x6475706c, ""}))), 1,
         "persona 0 ms  dupl: cper is answered with dupl\n"
         "                    somebody has taken that name: use another account (--account NAME)\nleave 0 ms  \nThe "
         "server is degraded.\n" STAYS);
    ENDS(PLAIN_AT(fake(BUT({"@dir", "@dir", 0x7878787a, ""}))), 2, /* no console gets past that */
         "directory 0 ms  refusal: @dir is answered with xxxz\n"
         "                    the server's log may say why\nThe server is down.\n");
    ENDS(PLAIN_AT(fake(BUT({"mesg", "mesg", 0x6661696c, ""}))), 1,
         "chat 0 ms  fail: mesg is answered with fail\n"
         "                    its disk or its hashing of passwords fails: see its log\n" CLOCK_OFF);
    ENDS(PLAIN_AT(fake(BUT({"skey", "skey", 0, "SKEY=0\n"}, {"auth", "auth", 0, ""}, {"cper", "cper", 0, ""}))), 0,
         "leave 0 ms  \nThe server is well.\n" STAYS);
}

/* A server that takes consoles where it has sent them is not blamed for where that is, but for what it does then. */
CASE(probe_blames_no_address_at_which_it_was_answered, 10)
{
    uint16_t port[PORTS] = {0, fake_at(LOCALHOST + 8, BUT({"auth", NULL, 0, ""}), 4096)};
    char tags[96];
    (void)snprintf(tags, sizeof tags, "ADDR=127.0.0.9\nPORT=%u\n", (unsigned)port[1]);
    SAYS(PROBE_AT(fake(BUT({"@dir", "@dir", 0, tags})), "--wait", "1"), 2, port,
         "name 0 ms  127.0.0.1\ndirectory 0 ms  127.0.0.9:@L\nlobby 0 ms  \n"
         "login 0 ms  silent: 127.0.0.9:@L\n"
         "                    no answer in time: the server hangs or is overloaded, or is another one\n"
         "The server is down.\n");
}

/* What is sent is shown, and never obeyed, and cannot pass for anything else in JSON. */
CASE(probe_obeys_nothing_that_a_server_sends, 15)
{
    ENDS(PLAIN_AT(fake(BUT({"@dir", "@dir", 0, "DOWN=\"%1b[2J%22%0a\\caf%e9\"\n"}))), 2,
         "directory 0 ms  turned-away: \\x1b[2J\"\\x0a\\x5ccaf\\xe9\n"
         "                    consoles are shown this: a `ctl down`, a ban, or a full server\nThe server is down.\n");
    ENDS(PROBE_AT(fake(BUT({"@dir", "@dir", 0, "DOWN=\"%1b[2J%22%0a\\caf%e9\"\n"})), "--json"), 2,
         "\"says\":\"\\u001b[2J\\\"\\u000a\\\\caf\\u00e9\",\"advice\":\"consoles are shown this: a `ctl down`, a ban, "
         "or a "
         "full server\"}],\"status\":\"down\",\"left\":[]}\n");
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0x1b5b324a, ""}))), 1,
         "login 0 ms  refusal: auth is answered with \\x1b[2J\n"
         "                    the server's log may say why\nThe server is degraded.\n");
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 1, ""}))), 1,
         "login 0 ms  refusal: auth is answered with \n"
         "                    the server's log may say why\nThe server is degraded.\n");
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0x0a092009, ""}))), 1,
         "login 0 ms  refusal: auth is answered with \\x0a\\x09 \\x09\n"
         "                    the server's log may say why\nThe server is degraded.\n");
    char longest[900] = "PERSONAS=";
    (void)memset(longest + 9, 'x', 800);
    longest[809] = '\n';
    ENDS(PLAIN_AT(fake(BUT({"auth", "auth", 0, longest}, {"skey", "skey", 0, longest}, {"pers", "pers", 0, longest},
                           {"pers", "+who", 0, longest}))),
         0, "leave 0 ms  \nThe server is well.\n" STAYS);
}

CASE(probe_says_how_it_is_used, 10)
{
    static const char *const wrong[][4] = {{NULL},
                                           {"a", "b"},
                                           {"a:0"},
                                           {"a:65536"},
                                           {"a:"},
                                           {"a:1:2"},
                                           {""},
                                           {":1"},
                                           {"--ful"},
                                           {"a", "--ful"},
                                           {"a", "--wait"},
                                           {"a", "--wait", "0"},
                                           {"a", "--wait", "61"},
                                           {"a", "--account"},
                                           {"a", "--account", "a b"},
                                           {"a", "--account", "x"},
                                           {"a b"},
                                           {"no_name.example"},
                                           {"300.1.1.1"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct outcome *o = RUN("probe", wrong[i][0], wrong[i][1], wrong[i][2]);
        if (o->status != 3 || o->out[0] != '\0' ||
            strcmp(
                o->err,
                "nascar_server: probe: expected HOST[:PORT] [--account NAME] [--full] [--json] [--wait SECONDS]\n") !=
                0)
            fail("row %zu: status %d, `%s`, `%s`", i, o->status, o->out, o->err);
    }
    EXPECT(strstr(RUN("probe", "--help")->out, "nascar_server probe HOST[:PORT]") != NULL);
}
