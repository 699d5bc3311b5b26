/* What `ctl stats` counts: each row of the table METRICS is moved by what it is
 * about, and by exactly as much.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "logins.h"
#include "machine.c"
#include "people.h"
#include "races.h"
#include "resolver.h"

/* ---- What the core counts -------------------------------------------------- */

GROUP(counted, open_world, close_world, 30);

static void with_limits(uint32_t clients, uint32_t accounts)
{
    struct world_options options = {.limits = {clients, accounts, 16, 16, 64, 16, 16}};
    reopen(&options);
}

/* A deed returns by how much the metric is to grow. */
static int64_t somebody_connects(void)
{
    (void)raw_open(w, 0);
    return 1;
}

static int64_t asks_the_directory(void)
{
    (void)raw_ask(raw_open(w, 0), "@dir", DIR_REQUEST);
    return 1;
}

static int64_t greets_the_lobby(void)
{
    (void)guest();
    return 1;
}

static int64_t logs_in(void)
{
    (void)member("Ann", "secret");
    return 1;
}

static int64_t enters_the_lobby(void)
{
    (void)player(w, "Ann", "");
    return 1;
}

static int64_t shows_a_wrong_ticket(void)
{
    REFUSED(raw_ask(raw_open(w, 0), "AUTH", buddy_tags("Ann", "$0123456789abcdef")), "user", 101);
    return 1;
}

static int64_t logs_in_to_the_buddies(void)
{
    (void)buddy_of(player(w, "Ann", ""));
    return 1;
}

static int64_t the_operator_connects(void)
{
    (void)raw_operator(w);
    return 1;
}

static int64_t looks_at_the_page(void)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    raw_send_bytes(raw_browser(w, 0), request, sizeof request - 1);
    world_settle(w);
    return 1;
}

/* The core alone is told, so nobody has written the rest and closed it. */
static int64_t sends_no_frame(void)
{
    struct nascar_event event = {.type = NASCAR_BYTES,
                                 .conn = raw_open(w, 0)->conn,
                                 .bytes = (const uint8_t *)"\1",
                                 .size = 1};
    (void)world_step(w, &event);
    return 1;
}

static int64_t is_told_that_it_is_down(void)
{
    world_configure(w, "down = Back at eight.\n");
    (void)raw_ask(raw_open(w, 0), "@dir", DIR_REQUEST);
    return 1;
}

static int64_t a_proxy_connects(void)
{
    world_configure(w, "proxy-from = 0.0.0.0/0\n");
    (void)raw_open(w, 0);
    return 1;
}

static int64_t is_told_that_its_network_is_banned(void)
{
    uint32_t ip = world_fresh_ip(w);
    (void)raw_ask(raw_operator(w), "cban", "NAME=0.0.0.0/1\n");
    (void)raw_ask(raw_operator(w), "cban", "NAME=128.0.0.0/1\n");
    (void)raw_ask(raw_open(w, ip), "@dir", DIR_REQUEST);
    return 1;
}

static int64_t is_told_that_it_is_full(void)
{
    with_limits(1, 16);
    enters_the_lobby();
    (void)raw_ask(raw_open(w, 0), "@dir", DIR_REQUEST);
    return 1;
}

/* One connection more than there may be, which then wants the lobby; five more, of
 * which the last is not even asked what it wants; and a console that is told why. */
static int64_t too_many_from_one_address(void)
{
    uint32_t ip = world_fresh_ip(w);
    world_configure(w, "per-address = 1\n");
    (void)raw_open(w, ip);
    struct raw *r = raw_open(w, ip);
    raw_send(r, "addr", ADDR_REQUEST);
    world_settle(w);
    CLOSED(r);
    for (int i = 0; i < 4; i++)
        r = raw_open(w, ip);
    (void)raw_ask(r, "@dir", DIR_REQUEST);
    CLOSED(raw_open(w, ip));
    return 3;
}

static int64_t asks_twice(void)
{
    struct raw *r = raw_open(w, 0);
    (void)raw_ask(r, "addr", ADDR_REQUEST);
    (void)raw_ask(r, "addr", ADDR_REQUEST);
    return 2;
}

static int64_t asks_what_nobody_knows(void)
{
    REFUSED(raw_ask(raw_open(w, 0), "tyre", ""), "miss", 0);
    return 1;
}

static int64_t asks_too_often(void)
{
    world_configure(w, "rate = 1\n");
    struct raw *r = raw_open(w, 0);
    for (int i = 0; i < 6; i++) /* these are free */
        (void)raw_ask(r, "addr", ADDR_REQUEST);
    raw_send(r, "addr", ADDR_REQUEST);
    world_settle(w);
    return 1;
}

/* No entropy is left for the second of two frames. */
static int64_t asks_and_has_to_wait(void)
{
    uint8_t frames[256];
    size_t size = console_frame(frames, sizeof frames, "skey", 0, SKEY_REQUEST, sizeof SKEY_REQUEST);
    size += console_frame(frames + size, sizeof frames - size, "skey", 0, SKEY_REQUEST, sizeof SKEY_REQUEST);
    struct nascar_event event = {.type = NASCAR_BYTES, .conn = raw_open(w, 0)->conn, .bytes = frames};
    event.size = (uint32_t)size;
    event.mono_ms = w->mono_ms;
    w->state->entropy_size = STEP_ENTROPY;
    ck_assert(nascar_step(w->state, &event));
    return 1;
}

static struct raw *speaker, *slow;

static void a_slow_reader(void)
{
    speaker = player(w, "Ann", "East");
    slow = player(w, "Bob", "East");
    raw_window(slow, 0);
    say(speaker, "mesg", "TEXT=\"the one that it gets later\"\n");
}

static int64_t misses_lines(void)
{
    a_slow_reader();
    say(speaker, "mesg", "TEXT=one\n");
    say(speaker, "mesg", "TEXT=two\n");
    return 2;
}

static int64_t does_not_read(void)
{
    a_slow_reader();
    world_run(w, SLOW_MS + 1000);
    CLOSED(slow);
    return 1;
}

/* It is closed in the midst of what it asks for: each reply is worth more than it reads. */
static int64_t is_refused(const char *kind, const char *payload, const char *code)
{
    ck_assert_str_eq(got_code(raw_ask(guest(), kind, payload)), code);
    return 1;
}

static int64_t leaves_the_name_out(void)
{
    return is_refused("auth", "PASS=~\n", "miss") + is_refused("acct", "PASS=~\n", "miss");
}

static int64_t is_nobody(void)
{
    world_configure(w, "accounts = closed\n");
    REFUSED(raw_auth(raw_open(w, 0), "Ann", "secret"), "imst", 100);
    return 1;
}

static int64_t mistypes(int times)
{
    can_log_in("Ann", "secret");
    struct raw *r = raw_open(w, 0);
    for (int i = 0; i < times; i++)
        REFUSED(raw_auth(r, "Ann", "wrong1"), i < 5 ? "pass" : "hack", 100);
    return 1;
}

static int64_t mistypes_once(void)
{
    return mistypes(1);
}

static int64_t mistypes_too_often(void)
{
    return mistypes(6);
}

static int64_t is_banned(void)
{
    can_log_in("Ann", "secret");
    keep("edit", "NAME=Ann\nBAN=1\n");
    REFUSED(raw_auth(raw_open(w, 0), "Ann", "secret"), "blak", 100);
    return 1;
}

static int64_t was_never_at_the_directory(void)
{
    return is_refused("auth", "NAME=Ann\nPASS=$1234\n", "sess");
}

static int64_t takes_a_taken_name(void)
{
    can_log_in("Ann", "secret");
    REFUSED(sign_up(guest(), "Ann", "secret"), "dupl", 0);
    return 1;
}

static int64_t takes_no_name(void)
{
    REFUSED(sign_up(guest(), "!", "secret"), "inam", 0);
    return 1;
}

static int64_t is_one_too_many(void)
{
    with_limits(4, 1);
    can_log_in("Ann", "secret");
    REFUSED(sign_up(guest(), "Bob", "secret"), "full", 0);
    return 1;
}

static int64_t is_not_kept(void)
{
    w->fail_records = true;
    REFUSED(raw_auth(raw_open(w, 0), "Ann", "secret"), "fail", 0);
    w->fail_records = false;
    return 1;
}

static int64_t signs_up(void)
{
    SUCCEEDS(sign_up(guest(), "Ann", "secret"));
    SUCCEEDS(raw_ask(raw_operator(w), "cpwd", "NAME=Bob\nPASS=secret\n"));
    (void)member("Cid", "secret");
    world_restart(w); /* which makes none */
    ck_assert_uint_eq(w->state->accounts.live, 3);
    ck_assert_uint_eq(w->state->metrics[METRIC_accounts_made], 0);
    (void)member("Dee", "secret");
    return 1;
}

static int64_t ignores_somebody(void)
{
    can_log_in("Bob", "secret");
    set_ignored(player(w, "Ann", ""), "Bob", true);
    return 1;
}

static int64_t writes_a_letter(void)
{
    const struct world_options usual = {.seed = 1};
    reopen_people(&usual);
    (void)person("Bob");
    write_letter(linked("Ann"), "Bob", "hello");
    return 1;
}

static int64_t makes_a_room(void)
{
    SUCCEEDS(raw_ask(player(w, "Ann", ""), "room", "NAME=Garage\n"));
    return 1;
}

static int64_t talks(void)
{
    struct raw *a = player(w, "Ann", "East");
    (void)player(w, "Bob", "East");
    say(a, "mesg", "TEXT=hello\n");
    say(a, "mesg", "PRIV=Bob\nTEXT=hello\n");
    return 2;
}

static int64_t challenges(void)
{
    struct raw *a = player(w, "Ann", "East"), *b = player(w, "Bob", "East");
    word(a, b, TOKEN);
    return 1;
}

static int64_t races(void)
{
    struct raw *a = player(w, "Ann", "East"), *b = player(w, "Bob", "East");
    start_race(a, b, false);
    return 1;
}

static int64_t reports_a_race(void)
{
    take_places("East");
    const char *ticket = race(ann, bob, false);
    SUCCEEDS(report(ann, ticket, ""));
    SUCCEEDS(report(bob, ticket, ""));
    DENIED(report(ann, ticket, "")); /* once only */
    return 2;
}

static int64_t reports_somebody(void)
{
    struct raw *a = player(w, "Ann", "East");
    (void)player(w, "Bob", "East");
    SUCCEEDS(raw_ask(a, "rept", "PERS=Bob\n"));
    return 1;
}

/* Returns how many answers there are. */
static int64_t asks_by_dns(int times)
{
    struct nascar_datagram d;
    struct question q;
    int64_t answers = 0;
    ask_for(&q, 1, "example.org", TYPE_A, CLASS_IN);
    while (times-- > 0) {
        struct nascar_event event = {.type = NASCAR_DATAGRAM,
                                     .conn = NASCAR_NONE,
                                     .service = NASCAR_SERVICE_DNS,
                                     .peer = 0xC6336401u,
                                     .bytes = q.bytes,
                                     .size = (uint32_t)q.size};
        (void)world_step(w, &event);
        answers += nascar_next_datagram(w->state, &d);
    }
    return answers;
}

static int64_t asks_thirty_times(void)
{
    (void)asks_by_dns(30);
    return 30;
}

static int64_t asks_and_is_answered(void)
{
    return asks_by_dns(3);
}

static int64_t asks_too_often_by_dns(void)
{
    return 30 - asks_by_dns(30);
}

static int64_t waits_for_a_hash(void)
{
    w->hold_verdicts = true;
    say_auth(guest(), "Ann", "secret");
    struct raw *gone = guest(); /* who hangs up does not wait */
    say_auth(gone, "Bob", "secret");
    raw_close(gone);
    world_settle(w);
    return 1;
}

static int64_t waits_long_for_a_hash(void)
{
    waits_for_a_hash();
    world_run(w, 700);
    world_release_verdicts(w);
    w->hold_verdicts = false;
    (void)member("Cid", "secret"); /* who waits for no time is not the longest */
    return 700;
}

static int64_t waits_for_the_disk(void)
{
    w->hold_records = true;
    say_auth(guest(), "Ann", "secret");
    world_settle(w);
    return 1;
}

static int64_t waits_long_for_the_disk(void)
{
    waits_for_the_disk();
    world_run(w, 700);
    world_release_records(w, true);
    return 700;
}

static int64_t stands_still(void)
{
    struct nascar_event event = {.type = NASCAR_CLOCK, .conn = NASCAR_NONE};
    (void)raw_open(w, 0); /* so that there is a deadline, in ten seconds */
    w->mono_ms += 15000;
    (void)world_step(w, &event);
    ck_assert_uint_eq(w->state->metrics[METRIC_stood_still_ms], 5000);
    return 1;
}

static int64_t stands_still_for_ms(void)
{
    return stands_still() * 5000;
}

static int64_t hashes_two(void)
{
    (void)member("Ann", "secret");
    (void)member("Bob", "secret");
    return 2;
}

/* So many are closed at once that the lines about them find no room; the next line
 * says how many. */
static int64_t all_are_closed_at_once(void)
{
    struct world_options options = {.limits = {256, 16, 16, 16, 64, 16, 16}};
    int64_t told = 0;
    reopen(&options);
    for (int i = 0; i < 400; i++)
        (void)raw_open(w, 0);
    world_run(w, 11000);
    for (size_t i = 0; i < w->log_count; i++)
        told += strstr(w->log[i], "event=close") != NULL;
    ck_assert_int_lt(told, 400);
    return 400 - told;
}

/* What the shell tells is moved further below. */
static const struct deed {
    int64_t (*deed)(void);
} deeds[METRIC_COUNT] = {
    [METRIC_players] = {logs_in},
    [METRIC_connections] = {somebody_connects},
    [METRIC_connections_unnamed] = {a_proxy_connects},
    [METRIC_connections_new] = {somebody_connects},
    [METRIC_connections_directory] = {asks_the_directory},
    [METRIC_connections_lobby] = {greets_the_lobby},
    [METRIC_connections_account] = {logs_in},
    [METRIC_connections_persona] = {enters_the_lobby},
    [METRIC_connections_buddy_new] = {shows_a_wrong_ticket},
    [METRIC_connections_buddy] = {logs_in_to_the_buddies},
    [METRIC_connections_control] = {the_operator_connects},
    [METRIC_connections_http] = {looks_at_the_page},
    [METRIC_connections_closing] = {sends_no_frame},
    [METRIC_connections_opened] = {somebody_connects},
    [METRIC_connections_refused_down] = {is_told_that_it_is_down},
    [METRIC_connections_refused_banned] = {is_told_that_its_network_is_banned},
    [METRIC_connections_refused_full] = {is_told_that_it_is_full},
    [METRIC_connections_refused_address] = {too_many_from_one_address},
    [METRIC_frames_in] = {asks_twice},
    [METRIC_frames_out] = {asks_twice},
    [METRIC_frames_broken] = {sends_no_frame},
    [METRIC_frames_unknown] = {asks_what_nobody_knows},
    [METRIC_requests_throttled] = {asks_too_often},
    [METRIC_requests_stalled] = {asks_and_has_to_wait},
    [METRIC_slow_readers_closed] = {does_not_read},
    [METRIC_chat_lines_missed] = {misses_lines},
    [METRIC_http_requests] = {looks_at_the_page},
    [METRIC_logins] = {logs_in},
    [METRIC_logins_buddy] = {logs_in_to_the_buddies},
    [METRIC_logins_refused_miss] = {leaves_the_name_out},
    [METRIC_logins_refused_imst] = {is_nobody},
    [METRIC_logins_refused_pass] = {mistypes_once},
    [METRIC_logins_refused_blak] = {is_banned},
    [METRIC_logins_refused_hack] = {mistypes_too_often},
    [METRIC_logins_refused_sess] = {was_never_at_the_directory},
    [METRIC_logins_refused_user] = {shows_a_wrong_ticket},
    [METRIC_logins_refused_dupl] = {takes_a_taken_name},
    [METRIC_logins_refused_inam] = {takes_no_name},
    [METRIC_logins_refused_full] = {is_one_too_many},
    [METRIC_logins_refused_fail] = {is_not_kept},
    [METRIC_accounts] = {logs_in},
    [METRIC_accounts_made] = {signs_up},
    [METRIC_personas] = {logs_in},
    [METRIC_roster_entries] = {ignores_somebody},
    [METRIC_messages] = {writes_a_letter},
    [METRIC_rooms] = {makes_a_room},
    [METRIC_chat_lines] = {talks},
    [METRIC_challenges_and_races] = {challenges},
    [METRIC_challenges] = {challenges},
    [METRIC_races] = {races},
    [METRIC_races_unreported] = {races},
    [METRIC_results] = {reports_a_race},
    [METRIC_reports] = {reports_somebody},
    [METRIC_reports_made] = {reports_somebody},
    [METRIC_dns_queries] = {asks_thirty_times},
    [METRIC_dns_answers] = {asks_and_is_answered},
    [METRIC_dns_dropped] = {asks_too_often_by_dns},
    [METRIC_hashes_waiting] = {waits_for_a_hash},
    [METRIC_hashes] = {hashes_two},
    [METRIC_hash_longest_ms] = {waits_long_for_a_hash},
    [METRIC_records_waiting] = {waits_for_the_disk},
    [METRIC_record_longest_ms] = {waits_long_for_the_disk},
    [METRIC_stood_still] = {stands_still},
    [METRIC_stood_still_ms] = {stands_still_for_ms},
    [METRIC_log_lines_overflowed] = {all_are_closed_at_once},
};

TEST_LOOP(counted, what_happens_moves_its_metric, 0, METRIC_COUNT)
{
    if (!deeds[_i].deed)
        return;
    uint64_t before = metric_now(w->state, (enum metric)_i);
    int64_t by = deeds[_i].deed();
    ck_assert_msg((int64_t)(metric_now(w->state, (enum metric)_i) - before) == by, "%s was %llu, and is %llu",
                  metric_name((enum metric)_i), (unsigned long long)before,
                  (unsigned long long)metric_now(w->state, (enum metric)_i));
}

/* The answer has all of them, in the order of the table, with the values of now. */
TEST(counted, stats_tells_every_metric_in_order)
{
    (void)player(w, "Ann", "East");
    uint8_t told[8 * NASCAR_METRICS_TOLD];
    for (size_t i = 0; i < sizeof told; i++)
        told[i] = i % 8 == 0 ? 0 : (uint8_t)i; /* 56 bits are no trouble to anybody */
    struct nascar_event event = {.type = NASCAR_METRICS, .conn = NASCAR_NONE, .bytes = told, .size = sizeof told};
    (void)world_step(w, &event);
    struct raw *asker = raw_operator(w);
    raw_window(asker, 0); /* in two parts, as it reads late */
    raw_send(asker, "csta", "");
    raw_send(asker, "csta", "");
    world_settle(w);
    raw_window(asker, SIZE_MAX);
    world_settle(w);
    for (int times = 0; times < 2; times++) {
        for (int i = 0; i < METRIC_COUNT; i++) {
            const struct got *g = raw_next(asker);
            ck_assert_str_eq(g->kind, "line");
            ck_assert_str_eq(got_text(g, "name"), metric_name((enum metric)i));
            if (i != METRIC_frames_in && i != METRIC_frames_out) /* which the answer itself moves */
                ck_assert_uint_eq(strtoull(got_text(g, "value"), NULL, 10), metric_now(w->state, (enum metric)i));
        }
        ck_assert_str_eq(raw_next(asker)->kind, "csta");
    }
    ck_assert_uint_eq(metric_now(w->state, METRIC_uptime_s), 0x01020304050607);
}

/* A program that tells less than all leaves the others as they were. */
TEST(counted, metrics_that_are_not_told_are_nought_or_as_before)
{
    static const uint8_t told[20] = {0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8, 9, 9, 9, 9};
    static const uint32_t sizes[] = {0, 7, 20, 8};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct nascar_event event = {.type = NASCAR_METRICS, .conn = NASCAR_NONE, .bytes = told, .size = sizes[i]};
        (void)world_step(w, &event);
        ck_assert_uint_eq(w->state->told[0], i < 2 ? 0 : 7);
        ck_assert_uint_eq(w->state->told[1], i < 2 ? 0 : 8);
        ck_assert_uint_eq(w->state->told[2], 0);
    }
}

/* Names and helps are what Prometheus and people take. */
TEST(counted, each_metric_has_a_name_and_a_sentence)
{
#define HELP_OF_STATE(name, value, help) help,
#define HELP_OF_KIND(name, kind, help) help,
#define HELP_OF_TOLD(name, kind, number, help) help,
    static const char *const helps[] = {METRICS(HELP_OF_STATE, HELP_OF_KIND, HELP_OF_TOLD)};
#define KIND_OF_STATE(name, value, help) GAUGE,
#define KIND_OF(name, kind, ...) kind,
    static const int kinds_of[] = {METRICS(KIND_OF_STATE, KIND_OF, KIND_OF)};
    for (int i = 0; i < METRIC_COUNT; i++) {
        const char *name = metric_name((enum metric)i), *help = helps[i];
        size_t n = strlen(help);
        ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        ck_assert_uint_lt(strlen(name), 28);
        ck_assert(n > 10 && n < 100 && help[0] >= 'A' && help[0] <= 'Z' && help[n - 1] == '.');
        ck_assert(!strchr(help, '"') && !strchr(help, '\\') && !strchr(help, '\n'));
        ck_assert(kinds_of[i] == GAUGE || kinds_of[i] == COUNTER);
        for (int k = 0; k < i; k++)
            ck_assert(strcmp(name, metric_name((enum metric)k)) != 0 && strcmp(help, helps[k]) != 0);
    }
}

/* Where connections and those who wait are counted wrongly, the recount says so. */
TEST(counted, a_wrong_count_breaks_an_invariant)
{
    static const enum metric recounted[] = {METRIC_connections_new, METRIC_connections_persona,
                                            METRIC_connections_closing, METRIC_hashes_waiting, METRIC_records_waiting};
    (void)player(w, "Ann", "");
    for (size_t i = 0; i < COUNT(recounted); i++) {
        w->state->metrics[recounted[i]]++;
        ck_assert_ptr_nonnull(nascar_check(w->state));
        w->state->metrics[recounted[i]]--;
    }
    ck_assert_ptr_null(nascar_check(w->state));
}

/* ---- What the shell tells ---------------------------------------------------- */

static struct machine *m;
static struct peer *operator_peer;

static void nobody_asks_yet(void)
{
    operator_peer = NULL;
}

GROUP(told, nobody_asks_yet, NULL, 30);

/* What the operator is told: by frames, as `ctl stats` asks. */
static int64_t told_now(const char *name)
{
    char text[64];
    if (!operator_peer) {
        operator_peer = peer_new(m);
        operator_peer->control = true;
    }
    operator_peer->out_bytes = 0;
    peer_send(operator_peer, "csta", "");
    settle_machine(m);
    ck_assert_uint_eq(peer_got(operator_peer, "csta"), 1);
    ck_assert_uint_eq(peer_got(operator_peer, "line"), METRIC_COUNT);
    (void)snprintf(text, sizeof text, "name=%s\nvalue=", name);
    const char *line = memmem(operator_peer->out, operator_peer->out_bytes, text, strlen(text));
    ck_assert_msg(line != NULL, "%s is not told", name);
    return strtoll(line + strlen(text), NULL, 10);
}

static void signs_up_at(const char *name)
{
    char payload[128];
    struct peer *p = peer_new(m);
    (void)snprintf(payload, sizeof payload, "NAME=%s\nPASS=~ but no key\n", name);
    peer_send(p, "auth", payload);
    settle_machine(m);
    p->hung_up = true;
    settle_machine(m);
}

static int64_t time_passes(void)
{
    run_machine(m, 5000);
    return 5;
}

static int64_t two_are_open(void)
{
    (void)peer_new(m);
    (void)peer_new(m);
    settle_machine(m);
    return 2;
}

static int64_t sends_and_hangs_up(void)
{
    struct peer *p = peer_new(m);
    peer_send_bytes(p, "addr", 5);
    p->hung_up = true;
    settle_machine(m);
    return 5 + HEADER_BYTES + 1; /* the next question counts, too */
}

/* The operator has read the answer to one question by the time of the next. */
static int64_t gets_an_answer(void)
{
    struct peer *p = peer_new(m);
    peer_send(p, "addr", "ADDR=192.0.2.1\n");
    settle_machine(m);
    return (int64_t)(p->out_bytes + operator_peer->out_bytes);
}

static int64_t there_are_no_descriptors(void)
{
    m->accept_error = EMFILE;
    (void)peer_new(m);
    settle_machine(m);
    run_machine(m, ACCEPT_PAUSE_MS + 10);
    m->accept_error = 0;
    settle_machine(m);
    return 2; /* then, and a second later */
}

static int64_t the_helper_dies(void)
{
    m->helper.dead = true;
    settle_machine(m);
    run_machine(m, HELPER_PAUSE_MS + 10);
    ck_assert(in_log(m, "event=helper_died"));
    return 1;
}

static int64_t on_disk(void)
{
    return (int64_t)m->disk->inode[m->disk->journal - 1].size;
}

static int64_t the_journal_grows(void)
{
    int64_t was = on_disk();
    signs_up_at("Ann");
    signs_up_at("Bob");
    ck_assert_int_gt(on_disk(), was);
    return on_disk() - was;
}

static int64_t two_are_kept(void)
{
    signs_up_at("Ann");
    signs_up_at("Bob");
    return 2;
}

static int64_t the_disk_is_slow(void)
{
    m->tick_us = 7000; /* so long each look at the clock takes, of which a sync has two around it */
    signs_up_at("Ann");
    m->tick_us = 0;
    return 7;
}

static int64_t the_disk_fails(void)
{
    m->disk->fail_from = m->disk->calls + 1;
    m->disk->fail_until = m->disk->calls + 100;
    signs_up_at("Ann");
    run_machine(m, RECOVER_RETRY_MS + 10);
    ck_assert(in_log(m, "event=journal_failed") && in_log(m, "event=compaction_failed"));
    m->disk->fail_from = m->disk->fail_until = 0;
    return 2;
}

static int64_t the_journal_is_lost(void)
{
    m->disk->fail_from = m->disk->calls + 1;
    m->disk->fail_until = m->disk->calls + 2;
    m->disk->error = EIO; /* a full one would only be told of */
    signs_up_at("Ann");
    run_machine(m, RECOVER_RETRY_MS + 10);
    m->disk->error = 0;
    ck_assert(in_log(m, "event=journal_recovered"));
    return 1;
}

static int64_t the_journal_is_made_anew(void)
{
    int64_t was = told_now("journal_live_bytes");
    signs_up_at("Ann");
    compaction_run(&m->shell);
    settle_machine(m);
    return on_disk() - was;
}

static int64_t the_options_are_read_again(void)
{
    signal_machine(m, SIGHUP);
    settle_machine(m);
    ck_assert(in_log(m, "event=reloaded"));
    return 1;
}

/* Nobody reads the log, until 8 KiB wait and two lines find no room. */
static int64_t nobody_reads_the_log(void)
{
    m->log_full = true;
    while (m->shell.log_lost < 2)
        shell_log(&m->shell, NASCAR_LOG_WARN,
                  "event=test text=\"as long as a line may be, so that few of them do it\"");
    m->log_full = false;
    run_machine(m, 2000);
    return 2;
}

/* Ten are more than may be told of at once; the two lines of each. */
static int64_t strangers_come_and_go(void)
{
    for (int i = 0; i < 10; i++) {
        struct peer *p = peer_new(m);
        settle_machine(m);
        p->hung_up = true;
        settle_machine(m);
    }
    return 20 - (STRANGER_LINES - 2);
}

/* The machine is no system that has either; tests/live_sandbox.c sees them come on. */
static int64_t the_filter_comes_on(void)
{
    m->shell.sandbox.seccomp = "on";
    m->shell.sandbox.landlock = "missing";
    return 1;
}

static int64_t landlock_comes_on(void)
{
    m->shell.sandbox.seccomp = "off";
    m->shell.sandbox.landlock = "on";
    return 1;
}

static int64_t nothing_is_kept(void)
{
    m->disk->fail_from = m->disk->calls + 1;
    m->disk->fail_until = m->disk->calls + 100;
    signs_up_at("Ann");
    return 1;
}

static int64_t there_is_no_helper(void)
{
    m->helper.dead = m->helper.cannot_start = true;
    settle_machine(m);
    return 1;
}

static const struct told_deed {
    enum metric metric;
    int64_t (*deed)(void);
} told_deeds[] = {
    {METRIC_uptime_s, time_passes},
    {METRIC_descriptors, two_are_open},
    {METRIC_bytes_in, sends_and_hangs_up},
    {METRIC_bytes_out, gets_an_answer},
    {METRIC_accept_pauses, there_are_no_descriptors},
    {METRIC_helpers_replaced, the_helper_dies},
    {METRIC_journal_bytes, the_journal_grows},
    {METRIC_journal_live_bytes, the_journal_is_made_anew},
    {METRIC_journal_batches, two_are_kept},
    {METRIC_journal_syncs, two_are_kept},
    {METRIC_journal_sync_longest_ms, the_disk_is_slow},
    {METRIC_journal_failures, the_disk_fails},
    {METRIC_compactions, the_journal_is_lost},
    {METRIC_reloads, the_options_are_read_again},
    {METRIC_log_lines_lost, nobody_reads_the_log},
    {METRIC_log_lines_left_out, strangers_come_and_go},
    {METRIC_sandbox_seccomp, the_filter_comes_on},
    {METRIC_sandbox_landlock, landlock_comes_on},
    {METRIC_journal_failing, nothing_is_kept},
    {METRIC_helper_failing, there_is_no_helper},
};

TEST_LOOP(told, what_happens_moves_what_is_told, 0, COUNT(told_deeds))
{
    const char *name = metric_name(told_deeds[_i].metric);
    m = MACHINE("--hash-cost", "4");
    settle_machine(m);
    int64_t before = told_now(name), by = told_deeds[_i].deed(), after = told_now(name);
    ck_assert_msg(after - before == by, "%s was %lld, and is %lld", name, (long long)before, (long long)after);
    machine_free(m);
}

/* No row of the table is without a deed that moves it. */
TEST(told, every_metric_is_moved_by_a_test)
{
    for (int i = 0; i < METRIC_COUNT; i++) {
        bool moved = deeds[i].deed != NULL;
        for (int k = 0; k < COUNT(told_deeds); k++)
            moved = moved || (int)told_deeds[k].metric == i;
        ck_assert_msg(moved, "nothing moves %s", metric_name((enum metric)i));
    }
}

/* What the shell tells is recorded with the rest, so the answer is the same again. */
TEST(told, a_recording_runs_again_to_the_same_answers)
{
    unsigned long events = 0, checkpoints = 0;
    m = machine_make(NULL);
    m->records = true;
    ck_assert(machine_start(m, ARGUMENTS("--hash-cost", "4")));
    for (int i = 0; i < 3; i++) {
        m->tick_us = 1000;
        signs_up_at("Ann");
        m->tick_us = 0;
        run_machine(m, 1500);
        ck_assert_int_ge(told_now("uptime_s"), 1);
        ck_assert_int_ge(told_now("journal_syncs"), 1);
    }
    recording_close(&m->shell);
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    ck_assert_msg(broken == NULL, "after %lu events: %s", events, broken ? broken : "");
    ck_assert_uint_ge(checkpoints, 1);
    machine_free(m);
}
