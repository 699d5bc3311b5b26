/* The live test, of `nascar_server ctl`: what each command is answered with, as a table
 * and as JSON, and how it fails. What a server would answer that has other things to
 * tell, or is an older one, comes from a socket of our own.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* setgroups */

#include "server.h"

#include <ctype.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* ---- JSON, read strictly (RFC 8259) ------------------------------------------- */

static const char *json_value(const char *p);

static const char *json_text(const char *p)
{
    if (*p++ != '"')
        return NULL;
    while (*p != '"') {
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e) /* in ASCII, as is promised */
            return NULL;
        if (*p++ != '\\')
            continue;
        if (*p == 'u') {
            for (int i = 0; i < 4; i++)
                if (!isxdigit((unsigned char)*++p))
                    return NULL;
        } else if (*p == '\0' || strchr("\"\\/bfnrt", *p) == NULL) {
            return NULL;
        }
        p++;
    }
    return p + 1;
}

/* An array, or an object if there are keys. */
static const char *json_many(const char *p, char end, bool keys)
{
    if (*++p == end)
        return p + 1;
    for (;; p++) {
        if (keys && ((p = json_text(p)) == NULL || *p++ != ':'))
            return NULL;
        p = json_value(p);
        if (p == NULL || *p != ',')
            return p != NULL && *p == end ? p + 1 : NULL;
    }
}

static const char *json_value(const char *p)
{
    static const char *const words[] = {"true", "false", "null"};
    if (*p == '"')
        return json_text(p);
    if (*p == '[' || *p == '{')
        return json_many(p, *p == '[' ? ']' : '}', *p == '{');
    for (size_t i = 0; i < 3; i++)
        if (strncmp(p, words[i], strlen(words[i])) == 0)
            return p + strlen(words[i]);
    size_t n = strspn(p, "0123456789");
    return n > 0 && (p[0] != '0' || n == 1) ? p + n : NULL;
}

/* ---- What is said ------------------------------------------------------------------ */

static void expect_said(int line, const struct outcome *o, int status, const char *out, const char *err)
{
    if (o->status != status || strcmp(o->out, out) != 0 || strcmp(o->err, err) != 0)
        fail("line %d: status %d, `%s`, `%s`", line, o->status, o->out, o->err);
    if (strchr("[{", o->out[0]) != NULL && o->out[0] != '\0') {
        const char *end = json_value(o->out);
        if (end == NULL || strcmp(end, "\n") != 0)
            fail("line %d: no JSON: `%s`", line, o->out);
    }
}

#define CTL(s, ...) RUN("ctl", "--data", (s)->data, __VA_ARGS__)
#define SAYS(run, out) expect_said(__LINE__, run, 0, out, "")
#define FAILS(run, why) expect_said(__LINE__, run, 1, "", "nascar_server: ctl: " why "\n")
#define FAILS_JSON(run, why) expect_said(__LINE__, run, 1, "{\"error\":\"" why "\"}\n", "nascar_server: ctl: " why "\n")

/* ---- A server that runs --------------------------------------------------------------- */

CASE(ctl_lists_are_tables_for_people_and_objects_for_programs, 10)
{
    struct server *s = START(CHEAP);
    SAYS(CTL(s, "who"), "Nobody is on.\n");
    SAYS(CTL(s, "who", "--json"), "[]\n");
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    enter(a, "East");
    EXPECT(settled(b));
    const struct outcome *o = CTL(s, "who");
    EXPECT(o->status == 0 && o->err[0] == '\0');
    EXPECT(strncmp(o->out, "PERSONA  ACCOUNT  ROOM   ADDRESS    BUSY  SINCE                 IDLE\n", 67) == 0);
    EXPECT(strstr(o->out, "\nAlice    Alice    East   127.0.0.1  no    20") != NULL);
    EXPECT(strstr(o->out, "\nBob      Bob      Lobby  127.0.0.1  no    20") != NULL);
    o = CTL(s, "who", "--json");
    EXPECT(strstr(o->out, "{\"persona\":\"Alice\",\"account\":\"Alice\",\"room\":\"East\",\"address\":\"127.0.0.1\","
                          "\"busy\":false,\"since\":\"20") != NULL);
    EXPECT(strstr(o->out, "Z\",\"idle\":0}") != NULL && strcmp(json_value(o->out), "\n") == 0);
    SAYS(CTL(s, "rooms"), "NAME      PLAYERS  LIMIT  PASSWORD  MADE_BY\n"
                          "Lobby     1        100    no        -\n"
                          "East      1        50     no        -\n"
                          "West      0        50     no        -\n"
                          "Beginner  0        50     no        -\n");
    o = CTL(s, "--json", "rooms");
    EXPECT(strncmp(o->out, "[{\"name\":\"Lobby\",\"players\":1,\"limit\":100,\"password\":false,\"made_by\":\"\"},",
                   70) == 0);
    EXPECT(strcmp(json_value(o->out), "\n") == 0);
    o = CTL(s, "stats");
    EXPECT(o->status == 0 && strncmp(o->out, "NAME ", 5) == 0 && strstr(o->out, "\nplayers ") != NULL);
    o = CTL(s, "stats", "--json");
    EXPECT(o->out[0] == '{' && strcmp(json_value(o->out), "\n") == 0 && strstr(o->out, "\"players\":2") != NULL);
    EXPECT(RUN("ctl", "--help")->status == 0 && RUN("ctl", "who", "--help")->status == 0);
    SAYS(RUN("ctl", "rooms", "--help"), "  rooms                   the rooms, and who has made them\n");
    EXPECT(RUN("ctl", "fly")->status == 2);
}

CASE(ctl_says_what_no_player_can, 10)
{
    struct server *s = START(CHEAP);
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    enter(a, "East");
    SAYS(CTL(s, "say", "we", "close", "at 10:00"), "Told to 2, missed by 0 who do not read.\n");
    UNTIL(2000,
          console_saw(a, "Server", "we close at 10:00") == 1 && console_saw(b, "Server", "we close at 10:00") == 1);
    SAYS(CTL(s, "say", "--json", "--room=east", "--", "--json"), "{\"ok\":true,\"told\":1,\"missed\":0}\n");
    UNTIL(2000, console_saw(a, "Server", "--json") == 1);
    EXPECT(console_saw(b, "Server", "--json") == 0);
    FAILS(CTL(s, "say", "--room", "Nowhere", "hi"), "there is no room of that name");
    FAILS(CTL(s, "say", "caf\xc3\xa9"), "expected at most 255 characters of ASCII on one line");
    char text[1400];
    memset(text, 'x', sizeof text);
    text[256] = '\0';
    FAILS(CTL(s, "say", text), "expected at most 255 characters of ASCII on one line");
    text[256] = 'x';
    text[1200] = '\0';
    FAILS(CTL(s, "say", text), "that is longer than anything the server takes");
    EXPECT(CTL(s, "say", text, text)->status == 2);
    UNTIL(1000, logged(s, "event=announced"));
}

CASE(ctl_kicks_and_deletes, 10)
{
    struct server *s = START(CHEAP);
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    SAYS(CTL(s, "kick", "bob", "mind", "your words"), "Bob is put out.\n");
    UNTIL(2000, console_saw(b, "Server", "You have been put out by the operator: mind your words") == 1);
    UNTIL(1000, log_lines(s, "event=kicked", "reason=\"mind your words\"") == 1);
    UNTIL(1000, log_lines(s, "event=close", "reason=\"kicked\"") >= 1);
    FAILS(CTL(s, "kick", "Nobody"), "there is no account or persona of that name");
    const struct outcome *o = CTL(s, "kick", "--json", "Alice", "--reason", "you, too");
    EXPECT(o->status == 0 && strncmp(o->out, "{\"ok\":true,\"account\":\"Alice\",\"connections\":", 43) == 0);
    EXPECT(strcmp(json_value(o->out), "\n") == 0);
    EXPECT(a != NULL);
    FAILS_JSON(CTL(s, "kick", "Alice", "--json"), "nobody is online by that name");
    SAYS(CTL(s, "ban", "Bbo"), "The ban of Bbo (a name without an account so far) ends: never.\n"); /* mistyped */
    SAYS(CTL(s, "delete", "BOB"), "Bob is deleted.\n"); /* as he writes himself */
    FAILS_JSON(CTL(s, "delete", "Bob", "--json"), "there is no account of that name");
    (void)stop(s, SIGTERM);
    START_AGAIN(s, CHEAP);
    FAILS(CTL(s, "delete", "Bob"), "there is no account of that name");
    SAYS(CTL(s, "delete", "--json", "Alice"), "{\"ok\":true,\"account\":\"Alice\"}\n");
    UNTIL(1000, log_lines(s, "event=account_deleted", "name=\"Alice\"") == 1);
}

/* The directory's answer holds this. */
static bool directory_says(const struct server *s, const char *part)
{
    int fd = raw_open(s, DIRECTORY, 0);
    bool says = raw_asks(fd, "@dir", "PROD=NASCAR-PS2-2004\nVERS=a\nLANG=en\nSLUS=BASLUS-20824\n", part, 1000);
    (void)close(fd);
    return says;
}

CASE(ctl_sets_what_holds_until_the_next_start, 10)
{
    struct server *s = START(CHEAP);
    SAYS(CTL(s, "down", "back at ten"), "Consoles are turned away, until `down off` or the next reload.\n");
    EXPECT(directory_says(s, "DOWN=\"back at ten\""));
    SAYS(CTL(s, "down", "off", "--json"), "{\"ok\":true}\n");
    EXPECT(directory_says(s, "SESS="));
    FAILS(CTL(s, "down", "a\nb"), "expected at most 255 characters of ASCII on one line");
    EXPECT(!logged(s, "level=debug"));
    SAYS(CTL(s, "log-level", "debug"), "The log level is set, until the next reload.\n");
    EXPECT(directory_says(s, "SESS=") && logged(s, "level=debug"));
    FAILS_JSON(CTL(s, "log-level", "--json", "loud"), "expected one of: error warn info debug");
    SAYS(CTL(s, "log-level", "error"), "The log level is set, until the next reload.\n");
    size_t before = log_lines(s, "event=", NULL);
    EXPECT(directory_says(s, "SESS=") && log_lines(s, "event=", NULL) == before);
    SAYS(CTL(s, "down", "later"), "Consoles are turned away, until `down off` or the next reload.\n");
    EXPECT(kill(s->pid, SIGHUP) == 0);
    UNTIL(3000, logged(s, "event=reloaded"));
    EXPECT(directory_says(s, "SESS="));
}

CASE(ctl_says_that_no_server_runs_or_that_one_may_not, 10)
{
    char expected[512];
    struct server *s = new_server();
    (void)snprintf(expected, sizeof expected,
                   "nascar_server: ctl: no server runs on the folder %s, or its `control` is not there (its log has "
                   "no_control then): start one, or name its folder with --data\n",
                   s->data);
    expect_said(__LINE__, CTL(s, "who"), 1, "", expected);
    launch(s, (const char *const[]){CHEAP, NULL}, 0);
    if (geteuid() != 0)
        skip("this is not root, who may become others");
    EXPECT(chmod(folder, 0711) == 0);
    for (int i = 0; i < 2; i++) { /* the folder is shut, or the socket is */
        EXPECT(i == 0 || chmod(s->data, 0711) == 0);
        FILE *out = tmpfile(), *err = tmpfile();
        EXPECT(out != NULL && err != NULL);
        pid_t pid = fork();
        EXPECT(pid >= 0);
        if (pid == 0) {
            (void)dup2(fileno(out), STDOUT_FILENO);
            (void)dup2(fileno(err), STDERR_FILENO);
            if (setgroups(0, NULL) != 0 || setgid(47013) != 0 || setuid(47013) != 0)
                _exit(126);
            (void)execl(binary, binary, "ctl", "--data", s->data, "--json", "who", (char *)NULL);
            _exit(127);
        }
        int status = wait_exit(pid, 3000);
        if (status == 127)
            skip("the binary cannot be run by others");
        (void)snprintf(
            expected, sizeof expected,
            "nascar_server: ctl: you may not use the server of the folder %s: it is for the user with the number 0\n",
            s->data);
        if (status != 1 || strcmp(contents(err), expected) != 0)
            fail("status %d: `%s`", status, contents(err));
        EXPECT(strncmp(contents(out), "{\"error\":\"you may not use", 25) == 0 &&
               strcmp(json_value(contents(out)), "\n") == 0);
        (void)fclose(out);
        (void)fclose(err);
    }
}

/* ---- What servers may answer ------------------------------------------------------------ */

/* What the last fake server was asked: the kind, a space and the payload. */
static char asked[CONSOLE_FRAME_BYTES + 8];
static char fake_folder[128];

/* Becomes a server that answers one request with `answer`. */
static pid_t fake_server(const uint8_t *answer, size_t size, int request)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    fresh_folder(fake_folder);
    EXPECT(mkdir(fake_folder, 0700) == 0);
    EXPECT(snprintf(address.sun_path, sizeof address.sun_path, "%s/control", fake_folder) <
           (int)sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0);
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        uint8_t bytes[CONSOLE_FRAME_BYTES];
        int one = accept(fd, NULL, NULL);
        ssize_t n = recv(one, bytes, sizeof bytes, 0);
        bool good =
            n > 0 && write(request, bytes, (size_t)n) == n && send(one, answer, size, MSG_NOSIGNAL) == (ssize_t)size;
        (void)recv(one, bytes, 1, 0); /* until it hangs up */
        _exit(good ? 0 : 1);
    }
    (void)close(fd);
    return pid;
}

/* Runs `ctl` with these words against a server that answers with these lines, and with a
 * code and TEXT at the end. */
static const struct outcome *answered(const char *const *words, const char *const *lines, uint32_t code,
                                      const char *text)
{
    static uint8_t answer[65536];
    const char *arguments[ARGUMENTS] = {"ctl", "--data", fake_folder};
    char payload[512] = "";
    size_t size = 0, count = 3;
    FILE *request = tmpfile();
    EXPECT(request != NULL);
    for (; *lines != NULL; lines++)
        size += console_frame(answer + size, sizeof answer - size, "line", 0, *lines, strlen(*lines) + 1);
    if (text != NULL)
        (void)snprintf(payload, sizeof payload, "STATUS=0\nTEXT=%s\n", text);
    size += console_frame(answer + size, sizeof answer - size, "cxxx", code, payload, strlen(payload) + 1);
    pid_t pid = fake_server(answer, size, fileno(request));
    for (; *words != NULL; words++)
        arguments[count++] = *words;
    arguments[count] = NULL;
    const struct outcome *o = outcome_of(arguments);
    (void)wait_exit(pid, 2000);
    uint8_t frame[CONSOLE_FRAME_BYTES] = {0};
    rewind(request);
    (void)!fread(frame, 1, sizeof frame - 1, request);
    (void)snprintf(asked, sizeof asked, "%.4s %s", (const char *)frame, (const char *)frame + CONSOLE_HEADER_BYTES);
    (void)fclose(request);
    return o;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_LINES ((const char *const[]){NULL})

/* Each command asks for what was meant, and says what came of it. */
CASE(ctl_asks_for_what_was_typed, 30)
{
    const char *file = write_file(NULL, "Races at nine.\r\nBe there.");
    const struct {
        const char *words[8], *lines[3];
        const char *asks, *says, *json;
    } rows[] = {
        {{"ban", "Bob", "--for", "7d", "--reason", "rude words"},
         {"what=ban\nname=Bob\nmeans=\"an account\"\nreason=\"rude words\"\nsince=\"2026-01-01 "
          "00%3a00%3a00\"\nuntil=\"2026-01-08 "
          "00%3a00%3a00\"\n"},
         "cban NAME=Bob\nFOR=604800\nREASON=\"rude words\"\n",
         "The ban of Bob (an account) ends: 2026-01-08 00:00:00.\n",
         "{\"ok\":true,\"what\":\"ban\",\"name\":\"Bob\",\"means\":\"an account\",\"reason\":\"rude "
         "words\",\"since\":\"2026-01-01 "
         "00:00:00\",\"until\":\"2026-01-08 00:00:00\"}\n"},
        {{"ban", "192.0.2.0/24"},
         {"what=ban\nname=192.0.2.0/24\nmeans=\"a network\"\nreason=\nsince=x\nuntil=\n"},
         "cban NAME=192.0.2.0/24\n",
         "The ban of 192.0.2.0/24 (a network) ends: never.\n",
         "{\"ok\":true,\"what\":\"ban\",\"name\":\"192.0.2.0/24\",\"means\":\"a "
         "network\",\"reason\":\"\",\"since\":\"x\",\"until\":\"\"}\n"},
        {{"--for=90s", "mute", "Bob"},
         {"what=mute\nname=Bob\nmeans=\"an account\"\nuntil=soon\n"},
         "cmut NAME=Bob\nFOR=90\n",
         "The mute of Bob (an account) ends: soon.\n",
         NULL},
        {{"mute", "Bob", "--for=12h"},
         {"what=mute\nname=Bob\nmeans=\"an account\"\nuntil=soon\n"},
         "cmut NAME=Bob\nFOR=43200\n",
         "The mute of Bob (an account) ends: soon.\n",
         NULL},
        {{"mute", "Bob", "--for=2w"},
         {"what=mute\nname=Bob\nmeans=\"an account\"\nuntil=soon\n"},
         "cmut NAME=Bob\nFOR=1209600\n",
         "The mute of Bob (an account) ends: soon.\n",
         NULL},
        {{"mute", "Bob", "--for=30m"},
         {"what=mute\nname=Bob\nmeans=\"an account\"\nuntil=soon\n"},
         "cmut NAME=Bob\nFOR=1800\n",
         "The mute of Bob (an account) ends: soon.\n",
         NULL},
        {{"unban", "Bob"},
         {"what=ban\nname=Bob\n"},
         "cunb NAME=Bob\n",
         "Bob is banned no more.\n",
         "{\"ok\":true,\"what\":\"ban\",\"name\":\"Bob\",\"reason\":\"\",\"since\":\"\",\"until\":\"\"}\n"},
        {{"unmute", "Bob"}, {"what=mute\nname=Bob\n"}, "cunm NAME=Bob\n", "Bob is muted no more.\n", NULL},
        {{"bans"}, {NULL}, "cbns ", "Nobody is banned or muted.\n", "[]\n"},
        {{"bans"},
         {"what=ban\nname=Bob\nreason=\"a b\"\nsince=x\nuntil=\n",
          "what=mute\nname=Alice1\nreason=\nsince=y\nuntil=z\n"},
         "cbns ",
         "WHAT  NAME    REASON  SINCE  UNTIL\nban   Bob     a b     x      -\nmute  Alice1  -       y      z\n",
         "[{\"what\":\"ban\",\"name\":\"Bob\",\"reason\":\"a b\",\"since\":\"x\",\"until\":\"\"},"
         "{\"what\":\"mute\",\"name\":\"Alice1\",\"reason\":\"\",\"since\":\"y\",\"until\":\"z\"}]\n"},
        {{"reports"}, {NULL}, "crep ", "There are no reports.\n", "[]\n"},
        {{"reports"},
         {"id=12\nat=x\nby=Ann\nabout=Bob\nlines=3\n"},
         "crep ",
         "ID  AT  BY   ABOUT  LINES\n12  x   Ann  Bob    3\n",
         "[{\"id\":12,\"at\":\"x\",\"by\":\"Ann\",\"about\":\"Bob\",\"lines\":3}]\n"},
        {{"reports", "12"},
         {"id=12\nat=x\nby=Ann\nabout=Bob\nlines=1\n", "at=y\nfrom=Bob\nto=\nroom=East\ntext=\"you there\"\n"},
         "crep ID=12\n",
         "ID  AT  BY   ABOUT  LINES\n12  x   Ann  Bob    1\n\nAT  FROM  TO  ROOM  TEXT\ny   Bob   -   East  you "
         "there\n",
         "[{\"id\":12,\"at\":\"x\",\"by\":\"Ann\",\"about\":\"Bob\",\"lines\":1},"
         "{\"at\":\"y\",\"from\":\"Bob\",\"to\":\"\",\"room\":\"East\",\"text\":\"you there\"}]\n"},
        {{"reports", "--close", "12"}, {NULL}, "crcl ID=12\n", "The report is closed.\n", "{\"ok\":true}\n"},
        {{"news"}, {NULL}, "cnew ", "There are no news.\n", "[]\n"},
        {{"news"},
         {"line=\"Races at nine.\"\n", "line=\n"},
         "cnew ",
         "Races at nine.\n\n",
         "[{\"line\":\"Races at nine.\"},{\"line\":\"\"}]\n"},
        {{"news", file},
         {NULL},
         "cnew TEXT=\"Races at nine.%0aBe there.%0a\"\n",
         "The news are set.\n",
         "{\"ok\":true}\n"},
        {{"news", "--clear"}, {NULL}, "cnew TEXT=\n", "The news are those of the configuration.\n", "{\"ok\":true}\n"},
        {{"reload"},
         {NULL},
         "crel ",
         "The configuration is as it was; what `down` and `log-level` had set holds no more.\n",
         "[]\n"},
        {{"reload"},
         {"key=rate\nwhat=changed\nfrom=1\nto=2\n"},
         "crel ",
         "KEY   WHAT     FROM  TO\nrate  changed  1     2\n",
         "[{\"key\":\"rate\",\"what\":\"changed\",\"from\":\"1\",\"to\":\"2\"}]\n"},
        {{"stats"},
         {"name=bytes_in\nvalue=18446744073709551615\n", "name=sandbox\nvalue=on\n"},
         "csta ",
         "NAME      VALUE\nbytes_in  18446744073709551615\nsandbox   on\n",
         "{\"bytes_in\":18446744073709551615,\"sandbox\":\"on\"}\n"},
        {{"kick", "Bob", "two", "words"},
         {"account=Bob\nconnections=1\n"},
         "ckik NAME=Bob\nREASON=\"two words\"\n",
         "Bob is put out.\n",
         NULL},
        {{"down", "off"}, {NULL}, "cdwn TEXT=\n", "Consoles get in.\n", "{\"ok\":true}\n"},
        {{"down", "off", "for", "now"},
         {NULL},
         "cdwn TEXT=\"off for now\"\n",
         "Consoles are turned away, until `down off` or the next reload.\n",
         NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int json = 0; json < (rows[i].json != NULL ? 2 : 1); json++) {
            const char *words[10] = {NULL};
            size_t count = 0;
            for (; rows[i].words[count] != NULL; count++)
                words[count] = rows[i].words[count];
            words[count] = json ? "--json" : NULL;
            const struct outcome *o = answered(words, rows[i].lines, 0, NULL);
            if (strcmp(asked, rows[i].asks) != 0)
                fail("row %zu: asked `%s`", i, asked);
            expect_said((int)i, o, 0, json ? rows[i].json : rows[i].says, "");
        }
    }
}

/* What players have typed is shown, and never obeyed. */
CASE(ctl_shows_what_players_typed_and_never_obeys_it, 10)
{
    static const char *const lines[] = {
        "persona=%1b]0;x%07\naccount=\"a %22b%22\\\\c\"\nroom=caf%c3%a9%7f\naddress=x\nbusy=yes\nsince=%0a\nidle=007\n",
        NULL};
    SAYS(answered(WORDS("who"), lines, 0, NULL),
         "PERSONA       ACCOUNT         ROOM             ADDRESS  BUSY  SINCE  IDLE\n"
         "\\x1b]0;x\\x07  a \"b\"\\x5c\\x5cc  caf\\xc3\\xa9\\x7f  x        yes   \\x0a   007\n");
    SAYS(answered(WORDS("who", "--json"), lines, 0, NULL),
         "[{\"persona\":\"\\u001b]0;x\\u0007\",\"account\":\"a "
         "\\\"b\\\"\\\\\\\\c\",\"room\":\"caf\\u00c3\\u00a9\\u007f\","
         "\"address\":\"x\",\"busy\":true,\"since\":\"\\u000a\",\"idle\":\"007\"}]\n");
    FAILS(answered(WORDS("who"), lines, 0x66616c6cu, "%1b[2J"), "\\x1b[2J");
    expect_said(__LINE__, answered(WORDS("who", "--json"), lines, 0x66616c6cu, "%1b[2J"), 1,
                "{\"error\":\"\\u001b[2J\"}\n", "nascar_server: ctl: \\x1b[2J\n");
}

CASE(ctl_knows_an_older_server_by_its_answer, 10)
{
    FAILS(answered(WORDS("bans"), NO_LINES, 0x6d697373u, NULL),
          "the server that runs does not know this command; is it an older one?");
    FAILS_JSON(answered(WORDS("bans", "--json"), NO_LINES, 0x6d697373u, NULL),
               "the server that runs does not know this command; is it an older one?");
    static const char *const few[] = {"persona=Ann\naccount=Ann\nroom=East\naddress=x\nbusy=no\n",
                                      NULL}; /* as before */
    SAYS(answered(WORDS("who"), few, 0, NULL),
         "PERSONA  ACCOUNT  ROOM  ADDRESS  BUSY  SINCE  IDLE\nAnn      Ann      East  x        no    -      -\n");
    SAYS(answered(WORDS("who", "--json"), few, 0, NULL),
         "[{\"persona\":\"Ann\",\"account\":\"Ann\",\"room\":\"East\",\"address\":\"x\",\"busy\":false,\"since\":\"\","
         "\"idle\":null}]\n");
}

/* A list that comes in many pieces is one table, and half a list is none. */
CASE(ctl_prints_a_long_list_whole_or_not_at_all, 10)
{
    static char texts[900][64];
    static const char *lines[901];
    for (size_t i = 0; i < 900; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "name=n%zu\nvalue=%zu\n", i, i);
        lines[i] = texts[i];
    }
    const struct outcome *o = answered(WORDS("stats", "--json"), lines, 0, NULL);
    EXPECT(o->status == 0 && strstr(o->out, "\"n500\":500") != NULL);
    o = answered(WORDS("stats"), lines, 0x66616c6cu, "no more");
    EXPECT(o->status == 1 && o->out[0] == '\0');
}

CASE(ctl_takes_news_that_are_text, 10)
{
    struct server *s = new_server();
    char expected[1200], text[1200];
    const char *file = write_file(NULL, "");
    static const struct {
        const char *text;
        size_t size;
        const char *why;
    } rows[] = {
        {"", 0, ": it is empty; `news --clear` is for that"},
        {"good\ncaf\xc3\xa9\n", 11, ":2: expected ASCII characters only"},
        {"a\0b\n", 4, ":1: expected plain text, and here is a NUL byte: is it UTF-16, or no text at all?"},
        {"\xff\xfe"
         "a\0",
         4, ":1: expected plain text, and here is a NUL byte: is it UTF-16, or no text at all?"},
        {"a\rb\n", 4, ":1: expected lines that end with LF or CR LF, and not with CR alone"},
        {NULL, 243, ":1: expected at most 242 characters of news in all, an end of line being one"},
        {NULL, 1100, ":1: expected at most 1022 characters in a line"},
    };
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        FILE *out = fopen(file, "w");
        EXPECT(out != NULL &&
               fwrite(rows[i].text != NULL ? rows[i].text : text, 1, rows[i].size, out) == rows[i].size &&
               fclose(out) == 0);
        (void)snprintf(expected, sizeof expected, "nascar_server: ctl: %s%s\n", file, rows[i].why);
        expect_said((int)i, CTL(s, "news", file), 1, "", expected);
    }
    FAILS(CTL(s, "news", "/nowhere"),
          "/nowhere: No such file or directory: is the name right, and is there the folder that it is to be in?");
    FAILS_JSON(CTL(s, "news", "--json", "/"), "/: Is a directory: name a file, and not a folder");
    FAILS(CTL(s, "news", "-"), "-: it is empty; `news --clear` is for that"); /* nothing is to be read */
    FILE *out = fopen(file, "w"); /* a mark that some editors put in front is no text */
    EXPECT(out != NULL && fputs("\xef\xbb\xbfhi\n", out) >= 0 && fclose(out) == 0);
    SAYS(answered(WORDS("news", file), NO_LINES, 0, NULL), "The news are set.\n");
    EXPECT(strcmp(asked, "cnew TEXT=hi%0a\n") == 0);
}
