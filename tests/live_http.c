/* The live test, of the page: the real server, asked by curl and by Prometheus' own
 * checker, and looked at by a real browser, Chromium, without a window, in which a
 * script says what is shown.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem, pipe2 */
#include "server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- What a shell command prints ------------------------------------------ */

/* Runs a command, in which each # is the page's address, and gives its output and status. */
static const char *shell(const struct server *s, const char *command, int *status)
{
    static char out[65536];
    char text[2048] = "", address[64];
    (void)snprintf(address, sizeof address, "http://127.0.0.1:%u", port_of(s->ready, "http"));
    for (; *command; command++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s", *command == '#' ? 64 : 1,
                       *command == '#' ? address : command);
    FILE *pipe = popen(text, "r");
    EXPECT(pipe != NULL);
    size_t n = fread(out, 1, sizeof out - 1, pipe);
    out[n] = '\0';
    *status = pclose(pipe);
    return out;
}

#define PRINTS(s, command, part) \
    do { \
        int status_; \
        const char *out_ = shell(s, command, &status_); \
        if (strstr(out_, part) == NULL) \
            fail("line %d: status %d, `%.2000s`", __LINE__, status_, out_); \
    } while (0)

CASE(the_page_by_curl, 20)
{
    struct server *s = START("--http", "0", CHEAP);
    (void)player(s, "Alice");
    PRINTS(s, "curl -s #/", "<a href=/player/Alice>Alice</a>");
    PRINTS(s, "curl -s --http1.0 #/", "</footer>");
    PRINTS(s, "curl -sI #/", "HTTP/1.1 200 OK\r\n");
    PRINTS(s, "curl -s #/healthz #/api/status", "ok\n{\"version\":"); /* one connection for both */
    PRINTS(s, "curl -s #/player/%41lice", "<h1>Alice</h1>");
    PRINTS(s, "curl -s -o /dev/null -w '%{http_code}' -d name=Alice #/", "405");
    PRINTS(s, "head -c 300000 /dev/zero | curl -s -o /dev/null -w '%{http_code}' -H Expect: --data-binary @- #/",
           "405");
    PRINTS(s, "curl -s -o /dev/null -w '%{http_code}' -r 0-9 #/", "200");
    PRINTS(s, "curl -s -o /dev/null -w '%{http_code}' #/nothing", "404");
    PRINTS(s, "curl -s -o /dev/null -w '%{http_code}' --etag-save /dev/stderr #/ 2>&1", "W/");
    PRINTS(s,
           "t=$(curl -sI #/api/status | tr -d '\\r' | sed -n 's/^ETag: //p'); "
           "curl -s -o /dev/null -w '%{http_code}' -H \"If-None-Match: $t\" #/api/status",
           "304");
    PRINTS(s, "curl -s --limit-rate 4000 #/ | tail -n 1", "</footer>"); /* it reads slowly */
    PRINTS(s, "curl -s #/metrics | promtool check metrics 2>&1; echo status $?", "status 0");
    int status;
    const char *complaint = shell(s, "curl -s #/metrics | promtool check metrics 2>&1", &status);
    EXPECT(status == 0 && complaint[0] == '\0');
    EXPECT(strstr(s->ready, " http=127.0.0.1:") != NULL && !logged(s, "event=connect conn=2"));
    (void)stop(s, SIGTERM);
}

/* ---- A browser -------------------------------------------------------------- */

/* It is steered through two pipes, by messages of JSON that each end in a NUL. */
struct browser {
    pid_t pid;
    int in, out;
    unsigned number;
    char session[128];
    char *reply; /* the last one */
    size_t size, room;
};

static void browser_end(struct browser *b)
{
    (void)kill(b->pid, SIGKILL);
    (void)waitpid(b->pid, NULL, 0);
    (void)close(b->in);
    (void)close(b->out);
    free(b->reply);
}

/* Takes one message off the pipe; the consoles go on meanwhile. */
static const char *browser_message(struct browser *b, uint64_t until_ms)
{
    for (b->size = 0; now_ms() < until_ms;) {
        struct pollfd readable = {.fd = b->out, .events = POLLIN};
        if (poll(&readable, 1, 0) == 0) {
            pump(5);
            continue;
        }
        if (b->size + 1 >= b->room) {
            b->room = 2 * b->room + 65536;
            b->reply = realloc(b->reply, b->room);
            EXPECT(b->reply != NULL);
        }
        EXPECT(read(b->out, b->reply + b->size, 1) == 1);
        if (b->reply[b->size++] == '\0')
            return b->reply;
    }
    fail("the browser does not answer");
}

/* A command, and its answer. What else it tells us meanwhile is passed over. */
static const char *steer(struct browser *b, const char *method, const char *parameters)
{
    char text[8192], id[32];
    const char *reply;
    (void)snprintf(text, sizeof text, "{\"id\":%u,\"method\":\"%s\",\"params\":{%s}%s%s%s}", ++b->number, method,
                   parameters, b->session[0] ? ",\"sessionId\":\"" : "", b->session, b->session[0] ? "\"" : "");
    EXPECT(write(b->in, text, strlen(text) + 1) == (ssize_t)strlen(text) + 1);
    (void)snprintf(id, sizeof id, "{\"id\":%u,", b->number);
    do
        reply = browser_message(b, now_ms() + 20000);
    while (strncmp(reply, id, strlen(id)) != 0);
    if (strstr(reply, "\"error\":") != NULL)
        fail("%s: %s", method, reply);
    return reply;
}

/* A string of the answer. */
static void member(const char *reply, const char *name, char *out, size_t size)
{
    char start[64];
    (void)snprintf(start, sizeof start, "\"%s\":\"", name);
    const char *at = strstr(reply, start);
    EXPECT(at != NULL);
    at += strlen(start);
    (void)snprintf(out, size, "%.*s", (int)strcspn(at, "\""), at);
}

static struct browser browser_start(void)
{
    struct browser b = {.number = 0};
    int to[2], from[2];
    char data[128], target[128], parameters[256];
    (void)snprintf(data, sizeof data, "--user-data-dir=%s/chromium", folder);
    EXPECT(pipe2(to, 0) == 0 && pipe2(from, 0) == 0);
    b.pid = fork();
    EXPECT(b.pid >= 0);
    if (b.pid == 0) {
        int nothing = open("/dev/null", O_RDWR), in = fcntl(to[0], F_DUPFD, 100), out = fcntl(from[1], F_DUPFD, 100);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int fd = 0; fd < 3; fd++)
            (void)dup2(nothing, fd);
        (void)dup2(in, 3);
        (void)dup2(out, 4);
        for (int fd = 5; fd < 1024; fd++)
            (void)close(fd);
        /* A sandbox of its own is not to be had for root, nor in a container. */
        (void)execlp("chromium", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--no-first-run", "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
                     "--remote-debugging-pipe", data, "about:blank", (char *)NULL);
        _exit(127);
    }
    (void)close(to[0]);
    (void)close(from[1]);
    b.in = to[1];
    b.out = from[0];
    member(steer(&b, "Target.createTarget", "\"url\":\"about:blank\""), "targetId", target, sizeof target);
    (void)snprintf(parameters, sizeof parameters, "\"flatten\":true,\"targetId\":\"%s\"", target);
    char session[sizeof b.session];
    member(steer(&b, "Target.attachToTarget", parameters), "sessionId", session, sizeof session);
    (void)snprintf(b.session, sizeof b.session, "%s", session);
    (void)steer(&b, "Page.enable", "");
    (void)steer(&b, "Log.enable", "");
    return b;
}

/* Does this expression of JavaScript hold on the page? */
static bool holds(struct browser *b, const char *expression)
{
    char parameters[4096];
    (void)snprintf(parameters, sizeof parameters, "\"expression\":\"Boolean(%s)\",\"returnByValue\":true", expression);
    return strstr(steer(b, "Runtime.evaluate", parameters), "\"value\":true") != NULL;
}

#define TEXT_OF(id) "document.getElementById('" id "').innerText"

/* It does so within 3 s, by itself. */
#define SHOWN(b, expression) \
    for (uint64_t end_ = now_ms() + 3000; !holds(b, expression); run_for(50)) \
        if (now_ms() > end_) \
    fail("line %d: not within 3 s: %s", __LINE__, expression)

static void browse(struct browser *b, const struct server *s, const char *target)
{
    char parameters[256];
    (void)snprintf(parameters, sizeof parameters, "\"url\":\"http://127.0.0.1:%u%s\"", port_of(s->ready, "http"),
                   target);
    (void)steer(b, "Page.navigate", parameters);
    SHOWN(b, "document.readyState == 'complete' && location.href != 'about:blank'");
}

static int sextet(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* A picture of the page as it is on a screen of this width. It must not be wider than that.
 * It is kept if PAGE_PICTURES names a folder. */
static void picture(struct browser *b, const char *name, unsigned width, unsigned height, bool dark)
{
    char parameters[256], path[256];
    const char *pictures = getenv("PAGE_PICTURES");
    (void)snprintf(parameters, sizeof parameters, "\"width\":%u,\"height\":%u,\"deviceScaleFactor\":1,\"mobile\":%s",
                   width, height, width < 600 ? "true" : "false");
    (void)steer(b, "Emulation.setDeviceMetricsOverride", parameters);
    (void)snprintf(parameters, sizeof parameters, "\"features\":[{\"name\":\"prefers-color-scheme\",\"value\":\"%s\"}]",
                   dark ? "dark" : "light");
    (void)steer(b, "Emulation.setEmulatedMedia", parameters);
    run_for(300);
    EXPECT(holds(b, "document.documentElement.scrollWidth <= innerWidth"));
    EXPECT(holds(b, "(parseInt(getComputedStyle(document.body).color.match(/[0-9]+/)) > 128) ==="
                    " matchMedia('(prefers-color-scheme: dark)').matches"));
    const char *reply = steer(b, "Page.captureScreenshot", "\"format\":\"png\"");
    const char *at = strstr(reply, "\"data\":\"");
    EXPECT(at != NULL && strncmp(at + 8, "iVBOR", 5) == 0);
    if (pictures == NULL)
        return;
    (void)snprintf(path, sizeof path, "%s/%s-%u-%s.png", pictures, name, width, dark ? "dark" : "light");
    FILE *file = fopen(path, "wb");
    EXPECT(file != NULL);
    unsigned bits = 0, count = 0;
    for (at += 8; sextet(*at) >= 0; at++) {
        bits = bits << 6 | (unsigned)sextet(*at);
        if ((count = (count + 6) % 8) < 6)
            (void)fputc((int)(bits >> count & 255), file);
    }
    (void)fclose(file);
}

static void pictures_of(struct browser *b, const char *name)
{
    for (int dark = 0; dark < 2; dark++) {
        picture(b, name, 390, 1900, dark);
        picture(b, name, 1280, 900, dark);
    }
}

static const struct console_result ran = {.start = {1, 2},
                                          .finish = {1, 2},
                                          .laps = {25, 25},
                                          .led = {15, 10},
                                          .race_time = 300000,
                                          .track = 4,
                                          .cars = 20,
                                          .length = 25};

static void race_of(struct console *one, struct console *two, const char *name)
{
    unsigned before = (unsigned)one->races;
    EXPECT(console_challenge_player(one, name, NULL));
    UNTIL(3000, two->challenge == CONSOLE_RECEIVED);
    console_answer(two, "ACPT");
    UNTIL(5000, one->races == before + 1);
}

static void community(struct server *s, struct console *out[8])
{
    static const char *const names[] = {"Junior", "Dale_3", "[24]", "Rookie", "TonyS", "Kyle", "Ann", "Marge"};
    static const char *const rooms[] = {"East", "East", "West", "East", "East", "", "West", "East"};
    for (int i = 0; i < 8; i++) {
        out[i] = player_from(s, names[i], LOCALHOST + 10 + (uint32_t)i)->console;
        if (rooms[i][0])
            enter(out[i], rooms[i]);
    }
}

CASE_BESIDE(a_browser_follows, 90)
{
    struct console *who[8];
    const char *news = write_file(NULL, "Friday night: 25 laps at Bristol, all welcome.\nBe kind on the track.\n");
    struct server *s = START("--http", "0", CHEAP, "--news", news, "--rate", "100", "--race-start-s", "1");
    struct browser b = browser_start();
    browse(&b, s, "/");
    (void)holds(&b, "window.stays = true"); /* until it is loaded again */
    EXPECT(holds(&b, TEXT_OF("who") ".includes('Nobody is on right now')"));
    pictures_of(&b, "empty");

    community(s, who);
    SHOWN(&b, TEXT_OF("who") ".includes('Junior') && " TEXT_OF("now") ".includes('8 online')");
    EXPECT(holds(&b, "document.querySelectorAll('#who tbody tr').length == 8"));
    SHOWN(&b, "[...document.querySelectorAll('#rooms h3')].some(h => h.innerText.startsWith('East') && "
              "h.nextElementSibling.innerText.includes('Junior'))");

    /* Whatever a room is called, it is text. */
    console_create_room(who[5], "<img src=x onerror=evil=1>", "", "x", 4);
    UNTIL(3000, console_reply(who[5], "room") && console_reply(who[5], "room")->code == 0);
    SHOWN(&b, TEXT_OF("rooms") ".includes('<img src=x onerror=evil=1>')");
    EXPECT(holds(&b, "typeof evil == 'undefined' && !document.querySelector('img')"));
    console_move(who[5], "", "");

    /* A link that has the focus keeps it, when what is around it changes. */
    (void)holds(&b, "[...document.querySelectorAll('#who a')].find(a => a.innerText == 'Dale_3').focus()");
    race_of(who[0], who[1], "Dale_3");
    SHOWN(&b, TEXT_OF("track") ".includes('Junior against Dale_3')");
    EXPECT(holds(&b, TEXT_OF("who") ".includes('racing') && document.activeElement.innerText == 'Dale_3'"));
    EXPECT(console_challenge_player(who[6], "[24]", NULL));
    SHOWN(&b, TEXT_OF("track") ".includes('Ann has called out [24]')");
    console_cancel(who[6]);

    console_report_race(who[0], &ran);
    SHOWN(&b, TEXT_OF("results") ".includes('Junior beat Dale_3')");
    SHOWN(&b, TEXT_OF("top") ".includes('1516')");
    console_report_race(who[1], &ran);
    console_back_in_lobby(who[0]);
    console_back_in_lobby(who[1]);
    SHOWN(&b, TEXT_OF("track") ".includes('No race')");
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"Rookie", "TonyS", "Rookie"};
        struct console *one = who[i == 1 ? 0 : 4], *two = who[i == 1 ? 4 : 3];
        race_of(one, two, names[i]);
        console_report_race(one, &ran);
        UNTIL(3000, console_awaits(one, CONSOLE_LOBBY) == 0);
        console_back_in_lobby(one);
        console_back_in_lobby(two);
        UNTIL(3000, console_awaits(one, CONSOLE_LOBBY) == 0 && console_awaits(two, CONSOLE_LOBBY) == 0);
    }
    race_of(who[0], who[7], "Marge");
    SHOWN(&b, TEXT_OF("track") ".includes('Marge')");
    EXPECT(holds(&b, "window.stays")); /* it was never loaded again */
    (void)holds(&b, "document.activeElement.blur()");
    pictures_of(&b, "full");

    /* With nothing but its own keys, and for who has it read aloud. */
    EXPECT(holds(&b,
                 "document.documentElement.lang == 'en' && document.querySelectorAll('main, header, footer, h1').length"
                 " == 4 && document.querySelector('[role=status]') && ![...document.querySelectorAll('table')]"
                 ".some(t => [...t.querySelectorAll('thead th')].some(th => th.scope != 'col'))"));
    EXPECT(holds(&b, "[...document.querySelectorAll('section')].every(s => s.querySelector('h2'))"));

    browse(&b, s, "/player/Junior");
    EXPECT(holds(&b, "document.querySelector('h1').innerText == 'Junior' && " TEXT_OF("races") ".includes('Dale_3')"));
    pictures_of(&b, "player");

    browse(&b, s, "/");
    (void)kill(s->pid, SIGSTOP);
    (void)kill(s->pid, SIGCONT);
    (void)stop(s, SIGTERM);
    SHOWN(&b, TEXT_OF("now") " == 'The server does not answer.'");
    browser_end(&b);
}

/* Without scripts it is a page as of its loading. */
CASE_BESIDE(a_browser_without_scripts, 60)
{
    struct server *s = START("--http", "0", CHEAP);
    struct browser b = browser_start();
    (void)player(s, "Alice");
    (void)steer(&b, "Emulation.setScriptExecutionDisabled", "\"value\":true");
    browse(&b, s, "/");
    EXPECT(holds(&b, TEXT_OF("who") ".includes('Alice') && " TEXT_OF("foot") ".includes('UTC')"));
    (void)stop(s, SIGTERM);
    browser_end(&b);
}
