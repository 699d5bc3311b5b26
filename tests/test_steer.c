/* How the operator steers the core: reports of abuse are read and closed, the news are set, and what came of a
 * reload is told. What of this is the shell's is in test_shell_steer.
 *
 * SPDX-License-Identifier: MIT */
#include "races.h"

static struct raw *boss;

/* Everything that the operator has been told since the last time, a frame a line: its kind, its code, and its tags
 * as they stand. */
static const char *told(struct raw *r)
{
    static char text[1 << 17];
    size_t n = 0;
    text[0] = 0;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++) {
        const struct got *g = r->frames[i];
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%s", g->kind, got_code(g)[0] ? " " : "", got_code(g));
        for (uint32_t k = 0; k < g->size && g->payload[k] != 0; k++) {
            if (k == 0 || g->payload[k - 1] == '\n')
                text[n++] = ' ';
            if (g->payload[k] != '\n')
                text[n++] = (char)g->payload[k];
        }
        text[n++] = '\n';
        text[n] = 0;
    }
    raw_forget(r);
    return text;
}

static const char *asked(const char *kind, const char *payload)
{
    raw_forget(boss);
    raw_send(boss, kind, payload);
    return told(boss);
}

#define ANSWERS(kind, payload, text) ck_assert_str_eq(asked(kind, payload), text)

static void chat(struct raw *r, const char *text)
{
    char payload[512];
    (void)snprintf(payload, sizeof payload, "TEXT=%s\n", text);
    SUCCEEDS(raw_ask(r, "mesg", payload));
}

static void abuse(struct raw *r, const char *name)
{
    char payload[64];
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
    SUCCEEDS(raw_ask(r, "rept", payload));
}

/* The server starts again, twice, and so does the operator. */
static void start_again(void)
{
    kept_restart(w);
    boss = raw_operator(w);
}

static void open_racing(void)
{
    open_world();
    take_places("East");
    boss = raw_operator(w);
}

/* ---- Reports ------------------------------------------------------------------------------ */

GROUP(reports, open_racing, close_world, 30);

TEST(reports, they_are_listed_and_each_is_read_with_its_lines)
{
    ANSWERS("crep", "", "crep STATUS=1\n");
    chat(bob, "you=fool");
    SUCCEEDS(raw_ask(bob, "mesg", "TEXT=\"and a liar\"\nPRIV=Ann\n"));
    abuse(ann, "Bob");
    abuse(cid, "Ann");
    for (int i = 0; i < 2; i++) {
        const char *text = asked("crep", "");
        ck_assert_uint_eq(strlen(text), strlen("line id=1 at=2026-01-01T00%3a00%3a00Z by=Ann about=Bob lines=2\n"
                                               "line id=2 at=2026-01-01T00%3a00%3a00Z by=Cid about=Ann lines=1\n"
                                               "crep STATUS=1\n"));
        ck_assert_ptr_nonnull(strstr(text, "line id=1 at=2026-01-01T00%3a0"));
        ck_assert_ptr_nonnull(strstr(text, "Z by=Ann about=Bob lines=2\nline id=2 at="));
        ck_assert_ptr_nonnull(strstr(text, "Z by=Cid about=Ann lines=1\ncrep STATUS=1\n"));
        text = asked("crep", "ID=1\n");
        ck_assert_ptr_nonnull(strstr(text, "Z by=Ann about=Bob lines=2\nline at=2026-01-01T"));
        ck_assert_ptr_nonnull(strstr(text, "Z from=Bob to= room=East text=you%3dfool\nline at=2026-01-01T"));
        ck_assert_ptr_nonnull(strstr(text, "Z from=Bob to=Ann room= text=\"and a liar\"\ncrep STATUS=1\n"));
        ck_assert_uint_eq(frames_of(boss, "line", NULL), 0);
        start_again();
    }
}

TEST(reports, one_that_is_closed_is_gone_for_good_and_its_places_are_free)
{
    chat(bob, "rude");
    for (int i = 0; i < 16; i++)
        abuse(ann, "Bob");
    REFUSED(raw_ask(ann, "rept", "PERS=Bob\n"), "full", 0);
    ANSWERS("crcl", "ID=7\n", "crcl STATUS=1\n");
    ck_assert(world_logged(w, "event=report_closed conn=") && world_logged(w, " uid="));
    abuse(ann, "Bob");
    REFUSED(raw_ask(ann, "rept", "PERS=Bob\n"), "full", 0);
    for (int i = 0; i < 2; i++) {
        const char *text = asked("crep", "");
        ck_assert(strstr(text, "line id=6 ") && strstr(text, "line id=8 ") && !strstr(text, "line id=7 "));
        ck_assert(strstr(text, "line id=17 ") && strstr(text, "line id=17 ") > strstr(text, "line id=16 "));
        ANSWERS("crep", "ID=7\n", "crep user STATUS=102 TEXT=\"there is no report of that number\"\n");
        ANSWERS("crcl", "ID=7\n", "crcl user STATUS=102 TEXT=\"there is no report of that number\"\n");
        start_again();
    }
    for (int i = 1; i <= 17; i++) {
        char payload[16];
        (void)snprintf(payload, sizeof payload, "ID=%d\n", i);
        (void)asked("crcl", payload);
    }
    ANSWERS("crep", "", "crep STATUS=1\n");
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "rept", "") + kept_count(w, "line", "") + kept_count(w, "drep", ""), 0);
    start_again();
    ANSWERS("crep", "", "crep STATUS=1\n");
}

TEST_LOOP(reports, what_is_no_number_of_a_report_is_none, 0, 9)
{
    static const char *const bad[] = {"0", "2", "-1", "1x", "x1", "", "4294967297", "11111111111111111111", " 1 2"};
    char payload[64];
    abuse(ann, "Bob");
    (void)snprintf(payload, sizeof payload, "ID=%s\n", bad[_i]);
    ANSWERS("crep", payload, "crep user STATUS=102 TEXT=\"there is no report of that number\"\n");
    ANSWERS("crcl", payload, "crcl user STATUS=102 TEXT=\"there is no report of that number\"\n");
    ANSWERS("crcl", "", "crcl user STATUS=102 TEXT=\"there is no report of that number\"\n");
    ck_assert_ptr_nonnull(strstr(asked("crep", ""), "line id=1 "));
}

/* More than an outbox takes, to an operator who reads slowly, while some of it is closed. */
TEST(reports, a_long_list_waits_for_its_reader)
{
    char payload[300] = "";
    memset(payload, '%', 200);
    for (int i = 0; i < 60; i++)
        chat(bob, payload);
    for (int i = 0; i < 16; i++)
        abuse(ann, "Bob");
    raw_forget(boss);
    raw_window(boss, 700);
    raw_send(boss, "crep", "ID=5\n");
    raw_send(boss, "crep", "");
    world_settle(w);
    ck_assert_uint_lt(raw_count(boss, "line"), 61);
    raw_window(boss, SIZE_MAX);
    world_run(w, 1000);
    ck_assert_uint_eq(raw_count(boss, "line"), 61 + 16);
    ck_assert_uint_eq(raw_count(boss, "crep"), 2);

    struct raw *other = raw_operator(w);
    raw_forget(boss);
    raw_window(boss, 700);
    raw_send(boss, "crep", "ID=5\n");
    world_settle(w);
    SUCCEEDS(raw_ask(other, "crcl", "ID=5\n")); /* under its reader */
    raw_window(boss, SIZE_MAX);
    world_run(w, 1000);
    size_t lines = raw_count(boss, "line");
    ck_assert(lines > 1 && lines < 61);
    SUCCEEDS(raw_expect(boss, "crep"));
}

TEST(reports, one_that_is_not_on_the_disk_yet_is_not_there)
{
    chat(bob, "rude");
    w->hold_records = true;
    raw_send(ann, "rept", "PERS=Bob\n");
    world_settle(w);
    ANSWERS("crep", "", "crep STATUS=1\n"); /* it is not there yet */
    ANSWERS("crcl", "ID=1\n", "crcl user STATUS=102 TEXT=\"there is no report of that number\"\n");
    w->hold_records = false;
    world_release_records(w, true);
    world_run(w, 500);
    SUCCEEDS(raw_expect(ann, "rept"));
    ANSWERS("crcl", "ID=1\n", "crcl STATUS=1\n");
}

TEST(reports, one_is_closed_once_and_only_if_that_is_kept)
{
    struct raw *other = raw_operator(w);
    abuse(ann, "Bob");
    w->fail_records = true;
    ANSWERS("crcl", "ID=1\n", "crcl fail STATUS=0 TEXT=\"it could not be kept on disk\"\n");
    w->fail_records = false;
    ck_assert_ptr_nonnull(strstr(asked("crep", ""), "line id=1 "));
    w->hold_records = true;
    raw_send(boss, "crcl", "ID=1\n");
    raw_send(other, "crcl", "ID=1\n");
    world_settle(w);
    w->hold_records = false;
    world_release_records(w, true);
    SUCCEEDS(raw_expect(boss, "crcl"));
    REFUSED(raw_expect(other, "crcl"), "user", 102);
}

TEST(reports, nobody_else_reads_or_closes_them)
{
    abuse(ann, "Bob");
    static const char *const kinds_of[] = {"crep", "crcl", "cnew", "crel"};
    for (int i = 0; i < COUNT(kinds_of); i++)
        DENIED(raw_ask(ann, kinds_of[i], "ID=1\nTEXT=mine\n"));
    ck_assert_ptr_nonnull(strstr(asked("crep", ""), "line id=1 "));
    ANSWERS("cnew", "", "cnew STATUS=1\n");
}

/* A report of a journal may have any lines, and a closing may come twice, or for none. */
TEST(reports, whatever_a_journal_says_of_them_is_taken)
{
    keep("rept", "ID=9\nTIME=1767225600\nNAME=Ann\nPERS=Bob\n");
    keep("line", "ID=9\nINDEX=4294967295\nTIME=1767225600\nNAME=Bob\nPERS=\nROOM=East\nTEXT=last\n");
    keep("line", "ID=9\nINDEX=4294967294\nTIME=1767225600\nNAME=Bob\nPERS=\nROOM=East\nTEXT=first\n");
    const char *text = asked("crep", "ID=9\n");
    ck_assert(strstr(text, "text=first\n") && strstr(text, "text=last\n") > strstr(text, "text=first\n"));
    keep("drep", "ID=9\n");
    keep("drep", "ID=9\n");
    keep("drep", "ID=77\n");
    keep("drep", "");
    ANSWERS("crep", "", "crep STATUS=1\n");
}

/* ---- News ------------------------------------------------------------------------------------ */

static void open_news(void)
{
    open_racing();
    world_configure(w, "news-line = from the file\n");
}

GROUP(news, open_news, close_world, 30);

static const char *reads(struct raw *r)
{
    return got_payload(raw_ask(r, "news", "NAME=1\n"));
}

TEST(news, they_are_read_and_set_and_given_back)
{
    ANSWERS("cnew", "", "line line=\"from the file\"\ncnew STATUS=1\n");
    ck_assert_str_eq(reads(ann), "from the file\n");
    ANSWERS("cnew", "TEXT=\"Race tonight%0a%0aat 8%3a00\"\n", "cnew STATUS=1\n");
    ck_assert(world_logged(w, "event=news_set conn=") &&
              world_logged(w, " text=\"Race tonight\\x0a\\x0aat 8:00\\x0a\""));
    for (int i = 0; i < 2; i++) {
        ANSWERS("cnew", "", "line line=\"Race tonight\"\nline line=\nline line=\"at 8%3a00\"\ncnew STATUS=1\n");
        ck_assert_str_eq(reads(ann), "Race tonight\n\nat 8:00\n");
        const struct got *g = raw_ask(ann, "news", "NAME=0\n");
        ck_assert_str_eq(got_text(g, "NEWS0"), "Race tonight");
        ck_assert_str_eq(got_text(g, "NEWS2"), "at 8:00");
        world_configure(w, "news-line = another file\n"); /* a reload is not meant to take them away */
        ck_assert_str_eq(reads(ann), "Race tonight\n\nat 8:00\n");
        start_again(); /* nor is a restart */
        take_places("East");
        world_configure(w, "news-line = another file\n");
    }
    ANSWERS("cnew", "TEXT=\n", "cnew STATUS=1\n");
    ck_assert(world_logged(w, "event=news_cleared conn="));
    ck_assert_str_eq(reads(ann), "another file\n");
    ANSWERS("cnew", "TEXT=\"\"\n", "cnew STATUS=1\n"); /* as often as one likes */
    start_again();
    ANSWERS("cnew", "", "line line=\"another file\"\ncnew STATUS=1\n");
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "news", ""), 0);
}

/* What the operator types, and the news that come of it; NULL: they are refused with that sentence. */
static const struct {
    const char *text, *shown, *why;
} typed[] = {
    {"one", "one\n", NULL},
    {"one%0a", "one\n", NULL},
    {"one%0d%0atwo%0d%0a", "one\ntwo\n", NULL},
    {"%0a", "\n", NULL},
    {"100%% = all", "100% = all\n", NULL},
    {"caf%e9", NULL, "expected ASCII characters only"},
    {"del%7f", NULL, "expected ASCII characters only"},
    {"a%09tab", NULL, "expected text without control characters"},
    {"a%1b[31m", NULL, "expected text without control characters"},
    {"a%0db", NULL, "expected text without control characters"},
};

TEST_LOOP(news, what_no_console_shows_is_refused, 0, COUNT(typed))
{
    char payload[128], expected[160];
    (void)snprintf(payload, sizeof payload, "TEXT=\"%s\"\n", typed[_i].text);
    (void)snprintf(expected, sizeof expected, "cnew inam STATUS=0 TEXT=\"%s\"\n", typed[_i].why ? typed[_i].why : "");
    ANSWERS("cnew", payload, typed[_i].shown ? "cnew STATUS=1\n" : expected);
    ck_assert_str_eq(reads(ann), typed[_i].shown ? typed[_i].shown : "from the file\n");
}

TEST(news, they_have_242_characters_at_most)
{
    char payload[1100], text[1024];
    for (int size = 240; size < 600; size += size < 244 ? 1 : 59)
        for (int ended = 0; ended < 2; ended++) {
            memset(text, 'x', (size_t)size);
            text[100] = '.';
            (void)snprintf(text + size, 8, ended ? "%%0a" : "");
            (void)snprintf(payload, sizeof payload, "TEXT=%s\n", text);
            const char *answer = asked("cnew", payload);
            if (size <= 241)
                ck_assert_str_eq(answer, "cnew STATUS=1\n");
            else
                ck_assert_str_eq(answer, "cnew inam STATUS=0 TEXT=\"expected at most 242 characters of news in all, an "
                                         "end of line being one\"\n");
            ck_assert_uint_eq(strlen(reads(ann)), size <= 241 ? (size_t)size + 1 : 242);
        }
    for (size_t i = 0; i < 242; i++) /* as many lines as there can be, which an outbox does not take at once */
        memcpy(text + 3 * i, "%0a", 4);
    (void)snprintf(payload, sizeof payload, "TEXT=%s\n", text);
    ANSWERS("cnew", payload, "cnew STATUS=1\n");
    raw_forget(boss);
    raw_send(boss, "cnew", "");
    world_run(w, 100);
    ck_assert_uint_eq(raw_count(boss, "line"), 242);
    ck_assert_uint_eq(raw_count(boss, "cnew"), 1);
}

TEST(news, they_are_as_before_if_that_is_not_kept)
{
    w->fail_records = true;
    ANSWERS("cnew", "TEXT=new\n", "cnew fail STATUS=0 TEXT=\"it could not be kept on disk\"\n");
    w->fail_records = false;
    ck_assert_str_eq(reads(ann), "from the file\n");
}

TEST(news, a_journal_with_news_that_are_none_is_taken)
{
    char payload[512] = "TEXT=";
    memset(payload + 5, 'x', 300);
    keep("news", payload);
    keep("news", "");
    ck_assert_str_eq(reads(ann), "from the file\n");
    keep("news", "TEXT=kept%0a\n");
    ck_assert_str_eq(reads(ann), "kept\n");
    keep("news", payload);
    keep("news", "TEXT=half%0aa line\n");
    ck_assert_str_eq(reads(ann), "kept\n");
}

/* ---- What came of a reload ---------------------------------------------------------------- */

GROUP(reload, open_racing, close_world, 30);

static bool reloaded(bool accepted, const char *bytes)
{
    struct nascar_event event = {.type = NASCAR_RELOADED,
                                 .conn = NASCAR_NONE,
                                 .accepted = accepted,
                                 .bytes = (const uint8_t *)bytes,
                                 .size = bytes ? (uint32_t)strlen(bytes) : 0};
    return world_step(w, &event);
}

TEST(reload, whoever_asks_waits_until_it_is_done)
{
    ck_assert(!nascar_wants_reload(w->state));
    ANSWERS("crel", "", "");
    ck_assert(nascar_wants_reload(w->state));
    ck_assert(!nascar_wants_reload(w->state)); /* once */
    raw_send(boss, "cnew", "");
    ck_assert_str_eq(told(boss), "");
    ck_assert(reloaded(true, "key=ping-s\twhat=changed\tfrom=30\tto=7\nkey=news\twhat=changed\n\nkey=half"));
    ck_assert_str_eq(told(boss), "line key=ping-s what=changed from=30 to=7\n"
                                 "line key=news what=changed\nline \nline key=half\n"
                                 "crel STATUS=1\ncnew STATUS=1\n");
    ck_assert(reloaded(true, "x\n")); /* nobody has asked */
    ck_assert_str_eq(told(boss), "");
    ANSWERS("crel", "", "");
    ck_assert(reloaded(false, "nascar.conf:7: tyres: unknown"));
    ck_assert_str_eq(told(boss), "crel miss STATUS=0 TEXT=\"nascar.conf%3a7%3a tyres%3a unknown\"\n");
    ANSWERS("crel", "", "");
    ck_assert(reloaded(false, NULL));
    ck_assert_str_eq(told(boss), "crel miss STATUS=0 TEXT=\n");
    ck_assert(world_logged(w, "event=reload_asked conn=") && world_logged(w, " result=\"refused\""));
}

TEST(reload, a_long_answer_ends_with_how_many_more_there_are)
{
    static char text[9000];
    for (int i = 0; i < 200; i++)
        (void)snprintf(text + strlen(text), 40, "key=key-%03d\tfrom=%d\tto=%d\n", i, i, i + 1);
    ANSWERS("crel", "", "");
    ck_assert(reloaded(true, text));
    const char *answer = told(boss);
    ck_assert_ptr_nonnull(strstr(answer, "line key=key-020 from=20 to=21\n"));
    ck_assert_ptr_nonnull(strstr(answer, " more, which the log names\"\ncrel STATUS=1\n"));
    memset(text, '%', sizeof text - 1);
    ANSWERS("crel", "", "");
    ck_assert(reloaded(true, text));
    ck_assert_ptr_nonnull(strstr(told(boss), "crel STATUS=1\n"));
    ANSWERS("crel", "", "");
    ck_assert(reloaded(false, text));
    ck_assert_ptr_nonnull(strstr(told(boss), "crel miss STATUS=0 TEXT="));
}

TEST(reload, whoever_hangs_up_meanwhile_is_told_nothing)
{
    ANSWERS("crel", "", "");
    raw_close(boss);
    boss = raw_operator(w);
    ck_assert(reloaded(true, "key=ping-s\n"));
    ck_assert_str_eq(told(boss), "");
}
