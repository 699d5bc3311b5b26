/* The page and what belongs to it: requests by HTTP, answered by the core. What comes
 * back is read by a parser of this suite's own, which takes nothing that RFC 9112 does
 * not allow, and knows no more of the server than that.
 *
 * SPDX-License-Identifier: MIT */
#include "races.h"

#include <ctype.h>

/* ---- A strict reader of answers ------------------------------------------- */

struct answer {
    int status;
    bool closes, chunked;
    char head[4096]; /* its fields, with their CR LF, and one before the first */
    char *body;
    size_t body_bytes;
};

static const char *field(const struct answer *a, const char *name)
{
    static char value[4][1024];
    static int next;
    char start[64];
    char *out = value[next++ % 4];
    (void)snprintf(start, sizeof start, "\r\n%s: ", name);
    const char *at = strstr(a->head, start);
    if (at == NULL)
        return "";
    at += strlen(start);
    ck_assert_msg(strstr(at, start) == NULL, "%s stands there twice", name);
    (void)snprintf(out, 1024, "%.*s", (int)strcspn(at, "\r"), at);
    return out;
}

/* What is wrong with the lines of a head: each is a token, a colon, a space and visible text. */
static void check_fields(const char *head, const char *end)
{
    for (const char *line = head; line < end;) {
        const char *stop = strstr(line, "\r\n"), *colon = memchr(line, ':', (size_t)(stop - line));
        ck_assert(stop != NULL && colon != NULL && colon > line && colon[1] == ' ' && colon + 2 < stop);
        for (const char *at = line; at < stop; at++) {
            ck_assert(at < colon ? isalnum((unsigned char)*at) || *at == '-' : *at >= 0x20 && *at <= 0x7e);
        }
        line = stop + 2;
    }
}

/* Reads one answer off a text, and returns what is behind it. NULL: it is not whole. `closed`: nothing more comes. */
static const char *read_part(const char *text, size_t size, bool head_only, bool closed, struct answer *a)
{
    const char *end = strstr(text, "\r\n\r\n"), *from = text;
    memset(a, 0, sizeof *a);
    if (end == NULL)
        return NULL;
    const char *limit = text + size;
    ck_assert(strncmp(text, "HTTP/1.1 ", 9) == 0);
    for (int i = 9; i < 12; i++)
        ck_assert(isdigit((unsigned char)text[i]));
    ck_assert(text[12] == ' ' && isupper((unsigned char)text[13]));
    a->status = atoi(text + 9);
    const char *fields = strstr(text, "\r\n") + 2;
    check_fields(fields, end + 2);
    ck_assert_uint_lt((size_t)(end - fields), sizeof a->head - 8);
    (void)snprintf(a->head, sizeof a->head, "\r\n%.*s\r\n", (int)(end - fields), fields);
    from = end + 4;
    a->closes = strcmp(field(a, "Connection"), "close") == 0;
    a->chunked = strcmp(field(a, "Transfer-Encoding"), "chunked") == 0;
    const char *length = field(a, "Content-Length");
    ck_assert(!(a->chunked && length[0]));
    a->body = calloc(1, size + 1);
    ck_assert(a->body != NULL);
    if (head_only || a->status == 304)
        return from;
    if (length[0]) {
        a->body_bytes = strtoul(length, NULL, 10);
        if ((size_t)(limit - from) < a->body_bytes)
            return NULL;
        memcpy(a->body, from, a->body_bytes);
        return from + a->body_bytes;
    }
    if (!a->chunked) {
        ck_assert(a->closes);
        a->body_bytes = (size_t)(limit - from);
        memcpy(a->body, from, a->body_bytes);
        return closed ? limit : NULL;
    }
    for (;;) {
        char *digits;
        ck_assert(from >= limit || isxdigit((unsigned char)*from));
        size_t n = strtoul(from, &digits, 16);
        if (limit - from < 3 || limit - digits < (ptrdiff_t)(n + 4))
            return NULL;
        ck_assert(digits > from && digits[0] == '\r' && digits[1] == '\n');
        memcpy(a->body + a->body_bytes, digits + 2, n);
        a->body_bytes += n;
        from = digits + 2 + n;
        ck_assert(from[0] == '\r' && from[1] == '\n');
        from += 2;
        if (n == 0)
            return from;
    }
}

/* The same, and what it has of an answer that is not whole is given back. */
static const char *read_answer(const char *text, size_t size, bool head_only, bool closed, struct answer *a)
{
    const char *end = read_part(text, size, head_only, closed, a);
    if (end == NULL) {
        free(a->body);
        a->body = NULL;
    }
    return end;
}

static void forget_text(struct raw *r)
{
    r->text_bytes = 0;
    if (r->text)
        r->text[0] = 0;
}

/* What there is in each answer, whatever it says. */
static void check_safety(const struct answer *a)
{
    static const char *const never[] = {"unsafe", "*"};
    const char *policy = field(a, "Content-Security-Policy");
    for (int i = 0; i < COUNT(never); i++)
        ck_assert(strstr(policy, never[i]) == NULL);
    ck_assert(strstr(policy, "default-src 'none'") && strstr(policy, "script-src 'self'") &&
              strstr(policy, "frame-ancestors 'none'"));
    ck_assert_str_eq(field(a, "X-Content-Type-Options"), "nosniff");
    ck_assert_str_eq(field(a, "Referrer-Policy"), "no-referrer");
    ck_assert_uint_eq(strlen(field(a, "Date")), strlen("Thu, 01 Jan 2026 00:00:00 GMT"));
    ck_assert(strlen(field(a, "Content-Type")) > 0 || a->status == 304);
}

static struct raw *browser;

/* The answer to a request, which has to be one and no more. */
static struct answer ask(struct raw *r, const char *request)
{
    struct answer a;
    bool head_only = strncmp(request, "HEAD ", 5) == 0;
    forget_text(r);
    raw_send_bytes(r, request, strlen(request));
    world_settle(w);
    ck_assert_msg(r->text_bytes > 0, "no answer to %s", request);
    const char *end = read_answer(r->text, r->text_bytes, head_only, raw_closed(r), &a);
    ck_assert_msg(end != NULL, "half an answer to %s: %s", request, r->text);
    ck_assert_msg(end == r->text + r->text_bytes, "more than an answer to %s: %s", request, end);
    check_safety(&a);
    return a;
}

static char *request_for(const char *method, const char *target, const char *fields)
{
    static char request[4][32768];
    static int next;
    char *out = request[next++ % 4];
    (void)snprintf(out, sizeof request[0], "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, target, fields);
    return out;
}

static struct answer get(const char *target)
{
    if (browser == NULL || raw_closed(browser))
        browser = raw_browser(w, 0);
    return ask(browser, request_for("GET", target, ""));
}

#define HAS_TEXT(a, part) \
    ck_assert_msg(strstr((a).body, part) != NULL, "line %d: no %s in %.3000s", __LINE__, part, (a).body)
#define LACKS_TEXT(a, part) \
    ck_assert_msg(strstr((a).body, part) == NULL, "line %d: %s is in %.3000s", __LINE__, part, (a).body)

static void set_up(void)
{
    open_world();
    browser = NULL;
}

GROUP(requests, set_up, close_world, 30);

/* ---- What is there, and what is not ----------------------------------------- */

TEST(requests, each_page_is_there_and_says_what_it_is)
{
    static const struct {
        const char *target, *type;
    } pages[] = {
        {"/", "text/html"},
        {"/player/Ann", "text/html"},
        {"/api/status", "application/json"},
        {"/api/leaderboard", "application/json"},
        {"/api/player/ann", "application/json"},
        {"/api/results", "application/json"},
        {"/metrics", "text/plain"},
        {"/healthz", "text/plain"},
        {"/app.js", "text/javascript"},
        {"/style.css", "text/css"},
        {"http://192.0.2.1:8080/healthz", "text/plain"},
        {"HtTp://192.0.2.1:8080/healthz", "text/plain"},
        {"http://192.0.2.1", "text/html"},
        {"http://192.0.2.1?x", "text/html"},
        {"/?some=thing", "text/html"},
        {"/%61pi/status", "application/json"},
    };
    (void)player(w, "Ann", "");
    for (int i = 0; i < COUNT(pages); i++) {
        char type[64];
        struct answer a = get(pages[i].target);
        (void)snprintf(type, sizeof type, "%s; charset=utf-8", pages[i].type);
        ck_assert_int_eq(a.status, 200);
        ck_assert_str_eq(field(&a, "Content-Type"), type);
        ck_assert(a.body_bytes > 0 && !a.closes && a.chunked);
        struct answer h = ask(browser, request_for("HEAD", pages[i].target, ""));
        ck_assert_str_eq(a.head, h.head);
        free(a.body);
        free(h.body);
    }
}

static const struct {
    const char *request;
    int status;
    bool closes;
} trials[] = {
    {"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
    {"GET /player/ HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
    {"GET /player/Nobody HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
    {"GET /player/a-name-of-nobody-at-all-that-is-longer-than-any HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
    {"GET /api/player/%3Cscript%3E HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
    {"GET /api HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
    {"GET //  HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /healthz/ HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
    {"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405, false},
    {"DELETE /api/status HTTP/1.1\r\nHost: x\r\n\r\n", 405, false},
    {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405, false},
    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nname=Ann&", 405, true},
    {"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 405, true},
    {"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501, true},
    {"get / HTTP/1.1\r\nHost: x\r\n\r\n", 501, true},
    {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, true},
    {"GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505, true},
    {"GET / HTTP/3.0\r\n\r\n", 505, true},
    {"GET /\r\nHost: x\r\n\r\n", 400, true},
    {"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400, true},
    {"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {" GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET / HTTP/1.x\r\nHost: x\r\n\r\n", 400, true},
    {"GET / HTTP/x.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET / HTTP/11\r\nHost: x\r\n\r\n", 400, true},
    {"GET / HTTP/1\r\nHost: x\r\n\r\n", 400, true},
    {"GET / http/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GE\tT / HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /\x80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /\x7f HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /%4 HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /% HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /%4z HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /player/Ann%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: y@x\r\n\r\n", 400, true},
    {"GET /healthz HTTP/1.1\r\nHost: [::1]:80 \t\r\n\r\n", 200, false},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400, true},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 200, true},
    {"GET / HTTP/1.1\r\nHost: x\r\n: x\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: x\r\nX\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: x\r\n Y: folded\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: x\r\nX: a\x1bz\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: x\r\nX: a\x7fz\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1,1\r\n\r\n", 400, true},
    {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400, true},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n?", 200, true},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200, false},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0 \r\n\r\n", 200, false},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", 200, false},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n", 200, false},
    {"GET /healthz HTTP/1.9\r\nHost: x\r\n\r\n", 200, false},
    {"GET /healthz HTTP/1.0\r\n\r\n", 200, true},
    {"GET /nothing HTTP/1.0\r\n\r\n", 404, true},
    {"GET /healthz HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", 200, true},
    {"HEAD /healthz HTTP/1.0\r\n\r\n", 200, true},
    {"HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
    {"GET /healthz HTTP/1.1\r\nhOST: x\r\ncOnNeCtIoN: Close\r\n\r\n", 200, true},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: te , close\r\n\r\n", 200, true},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n", 200, false},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: te\r\n\r\n", 200, true},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long-Name-Of-A-Field-Of-No-Meaning: \t x\xe9 \r\n\r\n", 200, false},
    {"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 200, false},
    {"GET /healthz HTTP/1.1\nHost: x\n\n", 200, false},
    {"\r\n\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200, false},
    {"GET /api/leaderboard?start=0 HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /api/leaderboard?start=-1 HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /api/leaderboard?count=101 HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /api/leaderboard?count= HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /api/leaderboard?count HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
    {"GET /api/leaderboard?x=y&&start=999999999&count=100 HTTP/1.1\r\nHost: x\r\n\r\n", 200, false},
};

TEST_LOOP(requests, each_is_answered_as_the_standards_say, 0, COUNT(trials))
{
    struct world_options options = {.split = WORLD_WHOLE};
    for (int split = 0; split < 3; split++) { /* whole, byte by byte, and anyhow */
        options.split = (enum world_split)split;
        reopen(&options);
        struct raw *r = raw_browser(w, 0);
        const char *request = trials[_i].request;
        struct answer a = ask(r, request);
        ck_assert_msg(a.status == trials[_i].status, "%s: %d", request, a.status);
        ck_assert_msg(a.closes == trials[_i].closes, "%s: %s", request, a.head);
        ck_assert_str_eq(field(&a, "Allow"), a.status == 405 ? "GET, HEAD" : "");
        ck_assert((strncmp(request, "HEAD", 4) != 0) == (a.body_bytes > 0));
        world_run(w, 5000);
        ck_assert(raw_closed(r) == a.closes);
        free(a.body);
    }
}

TEST(requests, a_nul_is_no_text)
{
    static const char request[] = "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n";
    struct answer a;
    struct raw *r = raw_browser(w, 0);
    raw_send_bytes(r, request, sizeof request - 1);
    world_settle(w);
    ck_assert(read_answer(r->text, r->text_bytes, false, false, &a) != NULL);
    ck_assert_int_eq(a.status, 400);
    free(a.body);
}

/* ---- How long a request may be ---------------------------------------------- */

static struct answer with_fields(const char *start, size_t fields, size_t bytes)
{
    char *request = request_for("GET", "/healthz", start);
    request[strlen(request) - 2] = 0;
    for (size_t i = 0; i < fields; i++) {
        char *at = request + strlen(request);
        (void)sprintf(at, "Cookie: ");
        memset(at + 8, 'c', bytes);
        (void)strcpy(at + 8 + bytes, "\r\n");
    }
    (void)strcat(request, "\r\n");
    return ask(raw_browser(w, 0), request);
}

TEST_LOOP(requests, others_cookies_do_not_matter, 0, 3)
{
    static const struct {
        size_t fields, bytes;
        int status;
    } cookies[] = {{1, 1900, 200},  {1, 5000, 200},  {3, 5000, 200}, {1, 16000, 200}, {100, 100, 200},
                   {1, 16300, 200}, {1, 16400, 431}, {4, 5000, 431}, {200, 100, 431}};
    struct world_options options = {.split = (enum world_split)_i};
    for (int i = 0; i < COUNT(cookies); i++) {
        reopen(&options);
        struct answer a = with_fields("", cookies[i].fields, cookies[i].bytes);
        ck_assert_msg(a.status == cookies[i].status, "%zu of %zu: %d", cookies[i].fields, cookies[i].bytes, a.status);
        free(a.body);
    }
}

TEST_LOOP(requests, what_matters_is_short, 0, 3)
{
    static const struct {
        const char *start, *end;
        int status;
    } longest[] = {{"GET /", " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
                   {"", "", 414},
                   {"GET / HTTP/1.1\r\nHost: ", "\r\n\r\n", 431},
                   {"GET / HTTP/1.1\r\nHost: x\r\nIf-None-Match: ", "\r\n\r\n", 431},
                   {"GET / HTTP/1.1\r\nHost: x\r\n", ": x\r\n\r\n", 431}};
    struct world_options options = {.split = (enum world_split)_i};
    static char request[8192];
    for (int i = 0; i < COUNT(longest); i++) {
        reopen(&options);
        (void)snprintf(request, sizeof request, "%s", longest[i].start);
        memset(request + strlen(longest[i].start), 'a', 3000);
        (void)strcpy(request + strlen(longest[i].start) + 3000, longest[i].end);
        struct answer a = ask(raw_browser(w, 0), request);
        ck_assert_int_eq(a.status, longest[i].status);
        ck_assert(a.closes);
        free(a.body);
    }
}

TEST(requests, empty_lines_are_passed_over_but_not_for_ever)
{
    static char lines[20000];
    for (size_t i = 0; i < sizeof lines; i++)
        lines[i] = i % 2 ? '\n' : '\r';
    struct raw *r = raw_browser(w, 0);
    raw_send_bytes(r, lines, 1000);
    world_settle(w);
    ck_assert_uint_eq(r->text_bytes, 0);
    raw_send_bytes(r, lines, sizeof lines);
    raw_send_bytes(r, "x", 1);
    world_settle(w);
    ck_assert_msg(strncmp(r->text, "HTTP/1.1 414 ", 13) == 0, "%s", r->text);
}

/* ---- One after the other, and for how long -------------------------------------- */

TEST_LOOP(requests, some_in_one_go_are_answered_in_their_order, 0, 3)
{
    static const char *const targets[] = {"/healthz", "/nothing", "/", "/metrics", "/api/status", "/style.css", "/"};
    static const int statuses[] = {200, 404, 200, 200, 200, 200, 200};
    struct world_options options = {.split = (enum world_split)_i};
    char all[4096] = "";
    reopen(&options);
    for (int i = 0; i < COUNT(targets); i++)
        (void)strcat(all, request_for("GET", targets[i], ""));
    struct raw *r = raw_browser(w, 0);
    raw_send_bytes(r, all, strlen(all));
    world_settle(w);
    const char *at = r->text, *end = r->text + r->text_bytes;
    for (int i = 0; i < COUNT(targets); i++) {
        struct answer a;
        at = read_answer(at, (size_t)(end - at), false, false, &a);
        ck_assert(at != NULL);
        ck_assert_int_eq(a.status, statuses[i]);
        free(a.body);
    }
    ck_assert(at == end);
    OPEN(r);
}

TEST(requests, what_follows_the_last_one_is_not_answered)
{
    struct raw *r = raw_browser(w, 0);
    char all[1024];
    (void)snprintf(all, sizeof all, "%s%s", request_for("GET", "/healthz", "Connection: close\r\n"),
                   request_for("GET", "/healthz", ""));
    struct answer a = ask(r, all);
    ck_assert(a.closes);
    CLOSED(r);
    free(a.body);
    r = raw_browser(w, 0);
    (void)snprintf(all, sizeof all, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n%s",
                   request_for("GET", "/healthz", ""));
    a = ask(r, all);
    ck_assert_int_eq(a.status, 405);
    free(a.body);
    OPEN(r); /* or its answer might be lost, as it goes on sending */
    for (int i = 0; i < 100; i++)
        raw_send_bytes(r, all, strlen(all));
    world_run(w, 4900);
    OPEN(r);
    world_run(w, 200);
    CLOSED(r);
    ck_assert(read_answer(r->text, r->text_bytes, false, true, &a) == r->text + r->text_bytes);
    free(a.body);
}

TEST(requests, whoever_is_slow_to_ask_is_let_go)
{
    struct raw *silent = raw_browser(w, 0), *slow = raw_browser(w, 0), *lasting = raw_browser(w, 0);
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nX: slow\r\n\r\n";
    for (size_t i = 0; i < 9; i++) {
        raw_send_bytes(slow, request + i, 1);
        free(ask(lasting, request).body);
        world_run(w, 1000);
    }
    OPEN(silent);
    OPEN(slow);
    world_run(w, 1000);
    CLOSED(silent);
    CLOSED(slow);
    OPEN(lasting);
    world_run(w, 7900);
    OPEN(lasting);
    world_run(w, 200);
    CLOSED(lasting);
}

TEST(requests, whoever_is_slow_to_read_is_let_go)
{
    struct raw *r = raw_browser(w, 0);
    char *request = request_for("GET", "/metrics", "");
    raw_window(r, 100);
    raw_send_bytes(r, request, strlen(request));
    for (int i = 0; i < 29; i++) {
        raw_window(r, 10);
        world_run(w, 1000);
    }
    OPEN(r);
    world_run(w, 2000);
    CLOSED(r);
}

TEST(requests, whoever_asks_too_often_has_to_wait)
{
    world_configure(w, "rate = 10\n");
    struct raw *r = raw_browser(w, 0);
    char *request = request_for("GET", "/healthz", "");
    for (int i = 0; i < 50; i++)
        raw_send_bytes(r, request, strlen(request));
    world_settle(w);
    size_t count = 0, later = 0;
    for (const char *at = r->text; (at = strstr(at, "HTTP/1.1 200")) != NULL; at++)
        count++;
    ck_assert_uint_eq(count, 30);
    world_run(w, 1000);
    for (const char *at = r->text; (at = strstr(at, "HTTP/1.1 200")) != NULL; at++)
        later++;
    ck_assert(later >= 34 && later <= 35);
    OPEN(r);
}

/* ---- How many there may be ------------------------------------------------------ */

TEST(requests, an_address_has_sixteen)
{
    struct raw *r[18];
    uint32_t ip = world_fresh_ip(w);
    world_configure(w, "per-address = 1\n");
    struct raw *console = raw_open(w, ip); /* does not count, nor do they for it */
    for (int i = 0; i < 17; i++)
        r[i] = raw_browser(w, ip);
    for (int i = 0; i < 16; i++)
        OPEN(r[i]);
    CLOSED(r[16]);
    OPEN(console);
    (void)raw_ask(console, "@dir", "PROD=NASCAR\n");
    OPEN(raw_browser(w, 0));
    raw_close(r[3]);
    r[17] = raw_browser(w, ip);
    OPEN(r[17]);
    CLOSED(raw_browser(w, ip));
    for (int i = 0; i < 2; i++) { /* a network that is trusted, or a proxy's, has no such limit */
        world_configure(w, i == 0 ? "trusted = 0.0.0.0/0\n" : "proxy-from = 0.0.0.0/0\n");
        struct raw *more = raw_browser(w, ip);
        OPEN(more);
        struct answer a = ask(more, request_for("GET", "/healthz", ""));
        ck_assert_int_eq(a.status, 200);
        free(a.body);
    }
}

/* Who has not read all of it yet does not keep his place twice. */
TEST(requests, two_who_come_take_the_places_of_two)
{
    struct raw *r[66];
    for (int i = 0; i < 66; i++) {
        r[i] = raw_browser(w, 0);
        if (i == 0) {
            raw_window(r[0], 10);
            raw_send_bytes(r[0], request_for("GET", "/healthz", ""), strlen(request_for("GET", "/healthz", "")));
            world_settle(w);
        }
        if (i < 64)
            world_run(w, 10);
    }
    CLOSED(r[1]);
    for (int i = 2; i < 66; i++)
        OPEN(r[i]);
    raw_window(r[0], SIZE_MAX);
    world_settle(w);
    CLOSED(r[0]);
}

TEST(requests, sixty_four_may_look_and_who_asks_for_nothing_makes_room)
{
    struct raw *r[70];
    for (int i = 0; i < 64; i++) {
        r[i] = raw_browser(w, 0);
        world_run(w, 10);
    }
    free(ask(r[0], request_for("GET", "/healthz", "")).body); /* now the second waits longest */
    raw_window(r[1], 10);
    raw_send_bytes(r[1], request_for("GET", "/metrics", ""), strlen(request_for("GET", "/metrics", "")));
    world_settle(w); /* and he is being answered */
    r[64] = raw_browser(w, 0);
    OPEN(r[64]);
    OPEN(r[0]);
    OPEN(r[1]);
    CLOSED(r[2]);
    struct answer a = ask(r[64], request_for("GET", "/healthz", ""));
    ck_assert_int_eq(a.status, 200);
    free(a.body);
    for (int i = 3; i < 65; i++) { /* all are being answered, and read nothing */
        raw_window(r[i], 10);
        raw_send_bytes(r[i], request_for("GET", "/metrics", ""), strlen(request_for("GET", "/metrics", "")));
    }
    raw_window(r[0], 10);
    raw_send_bytes(r[0], request_for("GET", "/metrics", ""), strlen(request_for("GET", "/metrics", "")));
    world_settle(w);
    r[65] = raw_browser(w, 0);
    CLOSED(r[65]);
    struct raw *console = raw_open(w, 0);
    OPEN(console);
}

/* ---- ETags ---------------------------------------------------------------------- */

static int status_with(const char *target, const char *etag)
{
    char fields[256];
    (void)snprintf(fields, sizeof fields, "If-None-Match: %s\r\n", etag);
    struct answer a = ask(browser, request_for("GET", target, fields));
    ck_assert(a.status == 200 || (a.status == 304 && a.body_bytes == 0));
    if (a.status == 304) {
        ck_assert(field(&a, "ETag")[0] != 0 && field(&a, "Content-Type")[0] == 0);
        ck_assert(!a.closes && !a.chunked);
    }
    free(a.body);
    return a.status;
}

static void etag_of(const char *target, char etag[64])
{
    struct answer a = get(target);
    (void)snprintf(etag, 64, "%s", field(&a, "ETag"));
    ck_assert(strncmp(etag, "W/\"", 3) == 0 && strlen(etag) == 20);
    free(a.body);
}

TEST(requests, what_has_not_changed_is_not_sent_again)
{
    static const char *const targets[] = {"/", "/api/status", "/api/leaderboard", "/api/results", "/app.js"};
    for (int i = 0; i < COUNT(targets); i++) {
        char etag[64], list[256];
        etag_of(targets[i], etag);
        ck_assert_int_eq(status_with(targets[i], etag), 304);
        ck_assert_int_eq(status_with(targets[i], etag + 2), 304);
        ck_assert_int_eq(status_with(targets[i], "*"), 304);
        (void)snprintf(list, sizeof list, "\"a\", %s , \"b\"", etag);
        ck_assert_int_eq(status_with(targets[i], list), 304);
        ck_assert_int_eq(status_with(targets[i], "\"a\""), 200);
        ck_assert_int_eq(status_with(targets[i], ""), 200);
        (void)player(w, i % 2 ? "Ann" : "Bob", "");
        ck_assert_int_eq(status_with(targets[i], etag), i == 4 ? 304 : 200);
    }
    ck_assert_int_eq(status_with("/healthz", "*"), 200);
}

/* Each of these is seen on a page. */
TEST(requests, whatever_changes_changes_the_mark)
{
    char etag[64], auth[80];
    browser = raw_browser(w, 0);
#define CHANGES(deed) \
    do { \
        etag_of("/api/status", etag); \
        deed; \
        ck_assert_msg(status_with("/api/status", etag) == 200, "%s changes nothing", #deed); \
    } while (0)
    CHANGES(take_places("East"));
    CHANGES(go(ann, "West"));
    CHANGES(go(ann, "East"));
    CHANGES((void)snprintf(auth, sizeof auth, "%s", race(ann, bob, false)));
    CHANGES((void)report(ann, auth, ""));
    CHANGES(back(ann, bob));
    CHANGES(raw_close(cid));
    CHANGES(world_configure(w, "news-line = New.\n"));
    CHANGES((void)raw_ask(raw_operator(w), "cnew", "TEXT=Newer.\n"));
    CHANGES((void)raw_ask(raw_operator(w), "cdel", "NAME=Cid\n"));
    uint8_t told[8] = {0, 0, 0, 0, 0, 0, 0, 60};
    const struct nascar_event event = {.type = NASCAR_METRICS, .conn = NASCAR_NONE, .bytes = told, .size = 8};
    CHANGES((void)world_step(w, &event)); /* it has been up for another minute */
    CHANGES(world_restart(w); browser = raw_browser(w, 0));
    etag_of("/api/status", etag);
    world_run(w, 5000);
    (void)raw_open(w, 0); /* which nobody sees */
    ck_assert_int_eq(status_with("/api/status", etag), 304);
}

/* ---- What is shown ---------------------------------------------------------------- */

GROUP(shown, set_up, close_world, 30);

TEST(shown, an_empty_server_says_so)
{
    struct answer a = get("/");
    HAS_TEXT(a, "Nobody is on.");
    HAS_TEXT(a, "No race and no challenge");
    HAS_TEXT(a, "Nobody has raced yet.");
    HAS_TEXT(a, "None yet.");
    HAS_TEXT(a, "No news.");
    HAS_TEXT(a, "<b>203.0.113.10</b>");
    HAS_TEXT(a, "TCP ports 10600, 11000 and 10899");
    HAS_TEXT(a, "a new name makes your account");
    HAS_TEXT(a, "Have its DNS lead <b>ps2nascar04.ea.com</b>");
    HAS_TEXT(a, "Up for 0 h 0 min");
    free(a.body);
    world_configure(
        w, "accounts = closed\npublic-address = 192.0.2.77\ndns-on = yes\nnews-line = One <b>.\nnews-line = Two.\n");
    a = get("/");
    HAS_TEXT(a, "Enter <b>192.0.2.77</b> as its DNS server");
    HAS_TEXT(a, "Log in with your account.");
    HAS_TEXT(a, "<p>One &#60;b&#62;.<p>Two.");
    free(a.body);
}

TEST(shown, who_is_on_and_where)
{
    take_places("East");
    (void)member("Dan", "secret"); /* without a persona: he is not there yet */
    struct answer a = get("/");
    HAS_TEXT(a, "<b>3</b> online");
    HAS_TEXT(a, "<tr><th scope=row><a href=/player/Ann>Ann</a><td>East<td class=free>free");
    HAS_TEXT(a, "<h3>East <small>3 of 50</small></h3><ul class=in><li><a href=/player/Cid>Cid</a><li>"
                "<a href=/player/Bob>Bob</a><li><a href=/player/Ann>Ann</a></ul>");
    LACKS_TEXT(a, "Nobody is on");
    LACKS_TEXT(a, "Dan");
    free(a.body);
    a = get("/api/status");
    HAS_TEXT(a, "\"players\":[{\"name\":\"Ann\",\"room\":\"East\",\"state\":\"free\",\"rating\":0},");
    HAS_TEXT(a, "{\"name\":\"East\",\"players\":3,\"limit\":50,\"password\":false,\"who\":[\"Cid\",\"Bob\",\"Ann\"]},");
    HAS_TEXT(a, "{\"name\":\"Beginner\",\"players\":0,\"limit\":50,\"password\":false,\"who\":[]}],");
    free(a.body);
    raw_close(ann);
    a = get("/player/Ann");
    HAS_TEXT(a, "Not on now.");
    HAS_TEXT(a, "No race yet.");
    free(a.body);
    a = get("/player/bob");
    HAS_TEXT(a, "On now, in East: free.");
    HAS_TEXT(a, "<h1>Bob</h1>");
    free(a.body);
    a = get("/api/player/Ann");
    HAS_TEXT(a, "{\"name\":\"Ann\",\"online\":false,\"room\":\"\",\"state\":\"away\",\"rank\":0,");
    HAS_TEXT(a, "\"results\":[\n],\n\"opponents\":[]}");
    free(a.body);
}

/* Whatever a room is called, it is text. So are a persona's letters in an address. */
TEST(shown, no_name_becomes_markup)
{
    struct raw *r = player(w, "{x}[y]_-z", "");
    SUCCEEDS(raw_ask(r, "room", "NAME=\"</h3><script>x='&\\\"\nPASS=secret\nDESC=x\n"));
    struct answer a = get("/");
    HAS_TEXT(a, "<h3>&#60;/h3&#62;&#60;script&#62;x=&#39;&#38;\\");
    HAS_TEXT(a, ", with a password</small>");
    HAS_TEXT(a, "<a href=/player/%7bx%7d%5by%5d_-z>{x}[y]_-z</a>");
    LACKS_TEXT(a, "<script>");
    free(a.body);
    a = get("/api/status");
    HAS_TEXT(a, "\"name\":\"</h3><script>x='&\\u005c");
    HAS_TEXT(a, "\"password\":true");
    free(a.body);
    a = get("/player/%7bX%7D%5by%5d_-z");
    ck_assert_int_eq(a.status, 200);
    HAS_TEXT(a, "<title>{x}[y]_-z</title>");
    free(a.body);
}

TEST(shown, what_is_under_way)
{
    take_places("East");
    word(ann, bob, TOKEN);
    struct answer a = get("/");
    HAS_TEXT(a, "<b>Challenge</b> <a href=/player/Ann>Ann</a> has called out <a href=/player/Bob>Bob</a>");
    HAS_TEXT(a, "<td class=challenged>challenged");
    LACKS_TEXT(a, "a race is under way");
    free(a.body);
    a = get("/api/status");
    HAS_TEXT(a, "\"challenges\":[{\"from\":\"Ann\",\"to\":\"Bob\"}]");
    HAS_TEXT(a, "\"races\":[]");
    free(a.body);
}

TEST(shown, a_race_until_it_is_over)
{
    take_places("East");
    char auth[80];
    (void)snprintf(auth, sizeof auth, "%s", race(ann, bob, true));
    struct answer a = get("/");
    HAS_TEXT(a, "a race is under way");
    HAS_TEXT(a, "<b class=racing>Race</b> <a href=/player/Bob>Bob</a> against <a href=/player/Ann>Ann</a>, since "
                "<time datetime=2026-01-01T00:00:");
    HAS_TEXT(a, "<td class=racing>racing");
    free(a.body);
    raw_close(ann); /* she is racing */
    a = get("/api/status");
    HAS_TEXT(a, "\"races\":[{\"host\":\"Bob\",\"guest\":\"Ann\",\"since\":\"2026-01-01T00:00:");
    free(a.body);
    ann = player(w, "Ann", "");
    a = get("/api/status"); /* she is back, and free */
    HAS_TEXT(a, "\"races\":[]");
    free(a.body);
    raw_close(ann);
    world_run(w, 3601 * 1000);
    a = get("/api/status");
    HAS_TEXT(a, "\"races\":[]");
    free(a.body);
}

TEST(shown, a_race_of_somebody_who_is_deleted_is_none)
{
    take_places("");
    (void)race(ann, bob, false);
    (void)raw_ask(raw_operator(w), "cdel", "NAME=Ann\n");
    struct answer a = get("/api/status");
    HAS_TEXT(a, "\"races\":[]");
    free(a.body);
}

TEST(shown, results_records_and_opponents)
{
    take_places("");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    back(ann, bob);
    SUCCEEDS(report(cid, race(ann, cid, false), "FINISPOS0=2\nFINISPOS1=1\n"));
    back(ann, cid);
    SUCCEEDS(report(bob, race(bob, ann, false), "DISCTIME0=1\nDISQTIME1=1\n")); /* nobody wins */
    struct answer a = get("/");
    HAS_TEXT(a, "<li><a href=/player/Bob>Bob</a> raced <a href=/player/Ann>Ann</a> <small>10 laps on track 4, ");
    HAS_TEXT(a, "<li><a href=/player/Cid>Cid</a> beat <a href=/player/Ann>Ann</a> ");
    ck_assert(strstr(a.body, "> raced <") < strstr(a.body, "> beat <")); /* the newest first */
    HAS_TEXT(a, "<tr><td>1<th scope=row><a href=/player/Cid>Cid</a><td class=n>1517");
    free(a.body);
    a = get("/api/results");
    HAS_TEXT(a, "{\"results\":[\n{\"date\":\"2026-01-01T00:00:");
    HAS_TEXT(a, "\"names\":[\"Bob\",\"Ann\"],\"places\":[1,2],\"laps\":[10,10],\"out\":[1,2],\"ratings\":[");
    HAS_TEXT(a, "\"track\":4,\"length\":10}\n]}\n");
    free(a.body);
    a = get("/player/Ann");
    HAS_TEXT(a, "<th scope=row><a href=/player/Bob>Bob</a><td class=n>2<td class=n>1<td class=n>0");
    HAS_TEXT(a, "<th scope=row><a href=/player/Cid>Cid</a><td class=n>1<td class=n>0<td class=n>1");
    HAS_TEXT(a, "<td>nobody won<td class=n>");
    HAS_TEXT(a, "<td>won<td class=n><meter min=1000 max=2200 value=1516></meter> 1516");
    HAS_TEXT(a, "<dt>Races<dd>3<dt>Wins<dd>1<dt>Losses<dd>1<dt>Disconnects<dd>0");
    free(a.body);
    a = get("/player/Cid");
    HAS_TEXT(a, "<td>won<td");
    LACKS_TEXT(a, "/player/Bob");
    free(a.body);
    a = get("/api/player/Ann");
    HAS_TEXT(a, "\"opponents\":[{\"name\":\"Bob\",\"races\":2,\"won\":1,\"lost\":0},{\"name\":\"Cid\",\"races\":1,"
                "\"won\":0,\"lost\":1}]");
    free(a.body);
}

/* A race that was for fun is among the results as any other, with names, and the ratings that it left as they were. */
TEST(shown, an_unranked_race_is_a_result_too)
{
    take_places("East");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    back(ann, bob);
    SUCCEEDS(report(ann, race(ann, bob, false), "SET_RANKED=0\nFINISPOS0=2\nFINISPOS1=1\n"));
    for (int i = 0; i < 2; i++) {
        struct answer a = get("/api/player/Ann");
        HAS_TEXT(a,
                 "\"names\":[\"Ann\",\"Bob\"],\"places\":[2,1],\"laps\":[10,10],\"out\":[0,0],\"ratings\":[1516,1484]");
        HAS_TEXT(a, "\"opponents\":[{\"name\":\"Bob\",\"races\":2,\"won\":1,\"lost\":1}]");
        HAS_TEXT(a, "\"races\":1,\"wins\":1,");
        free(a.body);
        a = get("/");
        HAS_TEXT(a, "<a href=/player/Bob>Bob</a> beat <a href=/player/Ann>Ann</a> ");
        free(a.body);
        world_restart(w);
        browser = NULL;
    }
}

TEST(shown, who_was_deleted_before_the_report_is_somebody)
{
    keep("rslt", "INFO=1,1767225600,4,25,1,2,25,25,0,0,1510,0\nHOST=Ann\nOPPO=\n");
    struct answer a = get("/"), json = get("/api/results");
    ck_assert(strstr(a.body, "<a href=/player/Ann>Ann</a> beat somebody") != NULL);
    ck_assert(strstr(json.body, "\"names\":[\"Ann\",\"\"]") != NULL);
    free(a.body);
    free(json.body);
}

TEST(shown, the_page_has_the_latest_ten)
{
    char payload[128];
    for (int i = 1; i <= 30; i++) {
        (void)snprintf(payload, sizeof payload, "INFO=%d,%d,%d,10,1,2,10,9,0,0,0,0\nHOST=Ann\nOPPO=\n", i,
                       1767225600 + i, i);
        keep("rslt", payload);
    }
    struct answer a = get("/");
    HAS_TEXT(a, "on track 30,");
    HAS_TEXT(a, "on track 21,");
    LACKS_TEXT(a, "on track 20,");
    free(a.body);
    a = get("/api/results");
    HAS_TEXT(a, "\"track\":30,");
    HAS_TEXT(a, "\"track\":1,");
    free(a.body);
}

/* The rows of a leaderboard, from any place on. */
TEST(shown, the_leaderboard_by_parts)
{
    for (int i = 0; i < 30; i++) {
        char name[16], payload[128];
        (void)snprintf(name, sizeof name, "Racer%d", i);
        if (i % 4 == 0)
            (void)member(name, "secret");
        else
            (void)player(w, name, "");
        (void)snprintf(payload, sizeof payload, "P1=%d,1,2,3,%d,5,6\nPERS=%s\n", 30 - i, 2000 - i, name);
        keep("stat", payload);
    }
    struct answer a = get("/api/leaderboard");
    HAS_TEXT(a, "\"rows\":[\n{\"name\":\"Racer0\",\"rank\":1,\"rating\":2000,\"races\":30,\"wins\":1,\"losses\":2,"
                "\"disconnects\":3,\"laps_led\":5,\"best_finish\":6},{");
    HAS_TEXT(a, "\"total\":30");
    free(a.body);
    a = get("/api/leaderboard?start=29&count=50");
    HAS_TEXT(a, "{\"total\":30,\"rows\":[\n{\"name\":\"Racer28\",\"rank\":29,");
    HAS_TEXT(a, "\"name\":\"Racer29\"");
    LACKS_TEXT(a, "Racer27");
    free(a.body);
    a = get("/api/leaderboard?count=2&start=3");
    HAS_TEXT(a, "Racer2");
    HAS_TEXT(a, "Racer3");
    LACKS_TEXT(a, "Racer4");
    free(a.body);
    a = get("/api/leaderboard?start=31");
    HAS_TEXT(a, "\"rows\":[\n]}");
    free(a.body);
    a = get("/");
    HAS_TEXT(a, ">Racer19<");
    free(a.body);
}

TEST(shown, for_how_long_it_has_been_up)
{
    static const struct {
        uint32_t seconds;
        const char *text;
    } times[] = {{59, "for 0 h 0 min"},
                 {60, "for 0 h 1 min"},
                 {3599, "for 0 h 59 min"},
                 {3600, "for 1 h 0 min"},
                 {864060, "for 240 h 1 min"}};
    for (int i = 0; i < COUNT(times); i++) {
        uint32_t n = times[i].seconds;
        uint8_t told[8] = {0, 0, 0, 0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
        const struct nascar_event event = {.type = NASCAR_METRICS, .conn = NASCAR_NONE, .bytes = told, .size = 8};
        (void)world_step(w, &event);
        struct answer a = get("/");
        ck_assert_msg(strstr(a.body, times[i].text) != NULL, "%s: %s", times[i].text, strstr(a.body, "Up for"));
        free(a.body);
    }
}

TEST(shown, whether_all_is_well)
{
    static const char *const texts[] = {"ok\n", "Nothing can be kept on the disk.\n", "No password can be checked.\n",
                                        "Nothing can be kept on the disk.\nNo password can be checked.\n"};
    for (int i = 0; i < 4; i++) {
        uint8_t told[8 * NASCAR_METRICS_TOLD] = {0};
        told[8 * NASCAR_JOURNAL_FAILING + 7] = i & 1;
        told[8 * NASCAR_HELPER_FAILING + 7] = (i & 2) != 0;
        const struct nascar_event event = {.type = NASCAR_METRICS,
                                           .conn = NASCAR_NONE,
                                           .bytes = told,
                                           .size = sizeof told};
        (void)world_step(w, &event);
        struct answer a = get("/healthz");
        ck_assert_int_eq(a.status, i == 0 ? 200 : 503);
        ck_assert_str_eq(a.body, texts[i]);
        ck_assert(!a.closes);
        free(a.body);
    }
}

/* Names and units as Prometheus wants them, and the same numbers as `ctl stats`. */
TEST(shown, metrics_for_prometheus)
{
    static const char *const parts[] = {
        "# HELP nascar_players players\n# TYPE nascar_players gauge\nnascar_players 1\n",
        "# TYPE nascar_logins_total counter\nnascar_logins_total 1\n",
        "# TYPE nascar_uptime_seconds gauge\n",
        "# TYPE nascar_stood_still_seconds_total counter\nnascar_stood_still_seconds_total 12.345\n",
        "# TYPE nascar_stood_still_total counter\nnascar_stood_still_total 1\n",
        "\nnascar_connections_http 1\n",
        "\nnascar_http_requests_total 1\n",
    };
    (void)player(w, "Ann", "");
    struct nascar_event event = {.type = NASCAR_CLOCK, .conn = NASCAR_NONE};
    uint64_t due_ms = nascar_deadline_ms(w->state);
    w->mono_ms = due_ms + 12345;
    (void)world_step(w, &event);
    struct answer a = get("/metrics");
    for (int i = 0; i < COUNT(parts); i++)
        ck_assert_msg(strstr(a.body, parts[i]) != NULL, "%s is not in %.3000s", parts[i], a.body);
    free(a.body);
}

/* ---- While it is written --------------------------------------------------------------- */

GROUP(meanwhile, set_up, close_world, 60);

/* A page is long, its reader slow, and all that is on it goes, in each place of it. */
TEST_LOOP(meanwhile, what_is_shown_goes_away, 0, 40)
{
    static const char *const targets[] = {"/", "/api/status", "/player/Ann", "/api/player/Ann"};
    const char *target = targets[_i % 4];
    world_configure(w, "news-line = The first line of the news\nnews-line = The second one\n");
    take_places("East");
    for (int i = 0; i < 12; i++) {
        SUCCEEDS(report(ann, race(ann, bob, false), ""));
        back(ann, bob);
    }
    struct raw *others[24];
    for (int i = 0; i < 24; i++) {
        char name[16], text[64];
        (void)snprintf(name, sizeof name, "Other%d", i);
        others[i] = player(w, name, i % 2 ? "East" : "");
        (void)snprintf(text, sizeof text, "NAME=Room%d\n", i);
        if (i % 3 == 0)
            SUCCEEDS(raw_ask(others[i], "room", text));
    }
    struct raw *r = raw_browser(w, 0);
    raw_window(r, 1 + (size_t)(_i / 4) * 700);
    char *request = request_for("GET", target, "");
    raw_send_bytes(r, request, strlen(request));
    for (int i = 0; i < 24; i += 2)
        raw_close(others[i]);
    world_configure(w, "");
    (void)race(ann, bob, false);
    world_run(w, 1000);
    raw_window(r, 3000);
    world_run(w, 1000);
    if (_i % 8 >= 4)
        (void)raw_ask(raw_operator(w), "cdel", "NAME=Ann\n");
    for (int i = 1; i < 24; i += 2)
        raw_close(others[i]);
    raw_window(r, SIZE_MAX);
    world_run(w, 1000);
    struct answer a;
    const char *end = read_answer(r->text, r->text_bytes, false, raw_closed(r), &a);
    /* who reads about somebody who is deleted meanwhile gets no end of it */
    ck_assert(end == r->text + r->text_bytes || (_i % 4 >= 2 && _i % 8 >= 4 && end == NULL && raw_closed(r)));
    free(a.body);
}

/* Somebody goes, or comes, just when the last one of a list has been told: no comma is left
 * over, and none is missing. With how many are there, and how fast it is read, it is cut in
 * another place. */
TEST_LOOP(meanwhile, a_list_changes_where_it_was_cut, 0, 32)
{
    struct raw *last = NULL, *r = raw_browser(w, 0);
    for (int i = 0; i < 2 + _i % 8; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Other%d", i);
        last = player(w, name, "");
    }
    raw_window(r, 0);
    for (int i = 0; i < 15; i++) {
        char *request = request_for("GET", i < 3 ? "/style.css" : "/api/status", "");
        raw_send_bytes(r, request, strlen(request));
    }
    for (int i = 0; i < 12; i++) {
        raw_window(r, 400 + 200 * (size_t)(_i / 8));
        world_run(w, 300);
        if (i % 2 == 0)
            raw_close(last);
        else
            last = player(w, "Last", "");
    }
    raw_window(r, SIZE_MAX);
    world_run(w, 1000);
    const char *text = r->text, *end = r->text + r->text_bytes;
    for (int i = 0; i < 15; i++) {
        struct answer a;
        text = read_answer(text, (size_t)(end - text), false, false, &a);
        ck_assert(text != NULL);
        ck_assert_msg(!strstr(a.body, ",]") && !strstr(a.body, "}{") && !strstr(a.body, "\"\""), "%s", a.body);
        free(a.body);
    }
}

/* The news, or the persona that the page is about, are gone when more of the page is read. */
TEST_LOOP(meanwhile, what_it_is_about_goes, 0, 24)
{
    const int at = _i % 8;
    static const char news[] = "news-line = The first line of the news\nnews-line = The second line of the news\n"
                               "news-line = The third line of the news\nnews-line = The fourth line of the news\n";
    world_configure(w, news);
    take_places("East");
    for (int i = 0; i < at; i++) { /* each makes it longer, and so it is cut elsewhere */
        char name[16];
        (void)snprintf(name, sizeof name, "Other%d", i);
        (void)player(w, name, "");
    }
    struct raw *r = raw_browser(w, 0);
    raw_window(r, 0);
    for (int i = 0; i < 24; i++) {
        char *request = request_for("GET", _i < 16 ? "/api/status" : "/api/player/Ann", "");
        raw_send_bytes(r, request, strlen(request));
    }
    for (int i = 0; i < 12; i++) {
        raw_window(r, 160 + 13 * (size_t)_i);
        world_run(w, 100);
        if (_i < 16)
            world_configure(w, i % 2 ? news : "");
        else if (i == at)
            (void)raw_ask(raw_operator(w), "cdel", "NAME=Ann\n");
    }
    raw_window(r, SIZE_MAX);
    world_run(w, 1000);
    struct answer a;
    const char *text = r->text, *end = r->text + r->text_bytes;
    int answers = 0;
    while (text != NULL && text < end && (text = read_answer(text, (size_t)(end - text), false, false, &a)) != NULL) {
        ck_assert(!strstr(a.body, ",]") && !strstr(a.body, "\"\"]"));
        free(a.body);
        answers++;
    }
    ck_assert(_i < 16 ? answers == 24 : answers == 24 || raw_closed(r));
}

/* Of 500 results the oldest goes for each new one, also while it is just being read. */
TEST_LOOP(meanwhile, a_list_of_results_does_not_begin_again, 0, 8)
{
    const int rounds = 130, bytes = 300 + 60 * _i;
    for (int i = 1; i <= 500 + rounds; i++) {
        char payload[96];
        (void)snprintf(payload, sizeof payload, "INFO=%d,1767225600,4,25,1,2,25,25,0,0,1510,1490\nHOST=Ann\nOPPO=Bob\n",
                       i);
        if (i <= 500)
            keep("rslt", payload);
    }
    struct raw *r = raw_browser(w, 0);
    raw_window(r, 0);
    char *request = request_for("GET", "/api/results", "");
    raw_send_bytes(r, request, strlen(request));
    world_run(w, 100);
    for (int i = 1; i <= rounds && !raw_closed(r); i++) {
        char payload[96];
        raw_window(r, (size_t)bytes);
        world_run(w, 100);
        (void)snprintf(payload, sizeof payload, "INFO=%d,1767225600,4,25,1,2,25,25,0,0,1510,1490\nHOST=Ann\nOPPO=Bob\n",
                       500 + i);
        keep("rslt", payload);
    }
    raw_window(r, SIZE_MAX);
    world_run(w, 1000);
    struct answer a;
    ck_assert(read_answer(r->text, r->text_bytes, false, raw_closed(r), &a) == r->text + r->text_bytes);
    int rows = 0;
    for (const char *at = a.body; (at = strstr(at, "\"date\"")) != NULL; at++)
        rows++;
    ck_assert_int_gt(rows, 300);
    ck_assert_int_le(rows, 500);
    free(a.body);
}

/* However many there are, and whatever they are called, no more stands in an outbox than
 * it takes; and no connection has any memory of its own. */
TEST_LOOP(meanwhile, many_players_are_told_in_parts, 0, 3)
{
    struct world_options options = {.limits = {256, 512, 64, 64, 64, 64, 64}, .split = WORLD_WHOLE, .no_check = true};
    reopen(&options);
    for (int i = 0; i < 250; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Somebody%d", i);
        (void)player(w, name, i % 5 ? "" : "West");
    }
    struct raw *r = raw_browser(w, 0);
    char *request = request_for("GET", _i == 0 ? "/" : "/api/status", _i == 2 ? "Connection: close\r\n" : "");
    raw_window(r, 0);
    raw_send_bytes(r, request, strlen(request));
    struct answer a;
    bool whole = false;
    for (int i = 0; i < 100000 && !whole; i++) {
        uint32_t size;
        if (r->conn != NASCAR_NONE && nascar_outbox(w->state, r->conn, &size))
            ck_assert_uint_le(size, 8188);
        raw_window(r, 997);
        world_run(w, 1);
        whole = r->text && read_answer(r->text, r->text_bytes, false, raw_closed(r), &a);
    }
    ck_assert(whole);
    for (int i = 0; i < 250; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Somebody%d<", i);
        if (_i > 0)
            *strchr(name, '<') = '"';
        HAS_TEXT(a, name);
    }
    free(a.body);
}
