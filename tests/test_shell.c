/* The shell: its loop over a faked system that reads and writes in parts, is
 * interrupted, resets, runs out of files and of patience; its options; and the
 * few calls that it really makes.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "suite.h"
#include "machine.c"

#include <sys/wait.h>

static const char login_request[] = "NAME=Alice\nPASS=~ but no key\n";

/* What goes to standard error while `work` runs; it stays valid until the next call. */
static int kept_stderr = -1;
static FILE *caught;

static void catch_stderr(void)
{
    (void)fflush(stderr);
    kept_stderr = dup(STDERR_FILENO);
    caught = tmpfile();
    ck_assert(kept_stderr >= 0 && caught && dup2(fileno(caught), STDERR_FILENO) >= 0);
}

static const char *caught_stderr(void)
{
    static char text[4096];
    (void)fflush(stderr);
    (void)dup2(kept_stderr, STDERR_FILENO);
    (void)close(kept_stderr);
    rewind(caught);
    text[fread(text, 1, sizeof text - 1, caught)] = 0;
    (void)fclose(caught);
    return text;
}

/* ---- The loop ------------------------------------------------------------------ */

GROUP(loop, NULL, NULL, 30);

/* Two consoles log in, meet and talk, whatever the system does to their bytes. */
static const struct trouble {
    size_t read_bytes, write_bytes;
    unsigned one_in;
} troubles[] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {1, 1, 0}, {0, 0, 3}, {7, 13, 4}, {100, 3, 2}};

TEST_LOOP(loop, consoles_play_through_short_and_interrupted_calls, 0, COUNT(troubles))
{
    struct machine *m = MACHINE("--hash-cost", "4");
    struct seat seats[2];
    m->read_bytes = troubles[_i].read_bytes;
    m->write_bytes = troubles[_i].write_bytes;
    m->one_in = troubles[_i].one_in;
    seats[0] = seat_new(m, "Alice");
    seats[1] = seat_new(m, "Bob");
    settle_seats(m, seats, 2);
    struct console *a = seats[0].console, *b = seats[1].console;
    ck_assert(a->stage == CONSOLE_INSIDE && a->buddy_in && b->stage == CONSOLE_INSIDE && b->buddy_in);
    console_move(a, "East", "");
    console_move(b, "East", "");
    settle_seats(m, seats, 2);
    ck_assert_ptr_nonnull(console_user(a, "Bob"));
    ck_assert_ptr_nonnull(console_user(b, "Alice"));
    for (int line = 0; line < 5; line++) {
        char text[16];
        (void)snprintf(text, sizeof text, "line %d", line);
        console_chat(a, text);
        settle_seats(m, seats, 2);
        ck_assert_uint_eq(console_saw(a, "Alice", text), 1);
        ck_assert_uint_eq(console_saw(b, "Alice", text), 1);
    }
    ck_assert_uint_eq(console_awaits(a, CONSOLE_LOBBY), 0);
    console_leave(a);
    settle_seats(m, seats, 2);
    ck_assert_ptr_null(console_user(b, "Alice"));
    ck_assert_uint_eq(m->shell.open, 2);
    seat_free(&seats[0]);
    seat_free(&seats[1]);
    machine_free(m);
}

TEST_LOOP(loop, a_reset_closes_its_connection_and_no_other, 0, 5)
{
    struct machine *m = MACHINE("--idle-s", "1000");
    struct peer *p[9];
    for (int i = 0; i < 9; i++) {
        p[i] = peer_new(m);
        peer_send(p[i], "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    }
    settle_machine(m);
    ck_assert_uint_eq(m->shell.open, 9);
    run_machine(m, STRANGER_MS); /* so that there is room in the log for what they do next */
    for (int i = 0; i < 9; i++)
        if (i == _i || i == 8 - _i)
            p[i]->reset = true;
        else
            peer_send(p[i], "skey", "SKEY=$00\n");
    settle_machine(m);
    for (int i = 0; i < 9; i++) {
        bool gone = i == _i || i == 8 - _i;
        ck_assert(p[i]->closed == gone);
        ck_assert_uint_eq(peer_got(p[i], "skey"), gone ? 0 : 1);
    }
    ck_assert_uint_eq(count_log(m, "reason=\"disconnected\""), _i == 4 ? 1 : 2);
    machine_free(m);
}

/* The reset shows when we write, not when we read. */
TEST(loop, a_reset_while_writing_closes)
{
    struct machine *m = MACHINE("--ping-s", "1");
    struct peer *p = peer_new(m), *q = peer_new(m);
    peer_send(p, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    peer_send(q, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    settle_machine(m);
    p->window = 0;
    run_machine(m, 3000);
    ck_assert(!p->closed && (m->shell.polled[FIRST_SOCKET].events & POLLOUT));
    p->reset = true;
    settle_machine(m);
    ck_assert(p->closed && !q->closed);
    machine_free(m);
}

/* Its reader asks for what was kept, and reads nothing more. */
TEST(loop, a_kept_message_outlives_the_link_that_it_was_not_written_to)
{
    struct machine *m = MACHINE("--hash-cost", "4");
    struct seat seats[2];
    char login[96];
    seats[0] = seat_new(m, "Alice");
    seats[1] = seat_new(m, "Bob");
    seats[1].console->habits.no_buddy = true;
    settle_seats(m, seats, 2);
    (void)snprintf(login, sizeof login, "USER=Bob\nLKEY=%s\n", seats[1].console->ticket);
    console_write_letter(seats[0].console, "Bob", "see you at eight");
    settle_seats(m, seats, 2);
    for (unsigned i = 0; i < 2; i++) {
        struct peer *p = peer_new(m);
        peer_send(p, "AUTH", login);
        settle_machine(m);
        ck_assert_uint_eq(peer_got(p, "AUTH"), 1);
        p->window = i == 0 ? 0 : SIZE_MAX;
        peer_send(p, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n");
        settle_machine(m);
        ck_assert_uint_eq(peer_got(p, "RECV"), i);
        ck_assert_uint_eq(m->shell.state->messages.live, 1 - i);
        p->reset = true;
        settle_machine(m);
        ck_assert(p->closed);
    }
    seat_free(&seats[0]);
    seat_free(&seats[1]);
    machine_free(m);
}

TEST(loop, who_hangs_up_is_closed_even_when_it_is_not_read)
{
    struct machine *m = MACHINE("--rate", "1");
    struct peer *p = peer_new(m);
    for (int i = 0; i < 100; i++)
        peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    settle_machine(m);
    ck_assert_uint_gt(p->in_bytes, 0);
    ck_assert_uint_eq(m->shell.paused, 1); /* its rate is used up and its inbox full */
    p->reset = true;
    settle_machine(m);
    ck_assert(p->closed);
    ck_assert_uint_eq(m->shell.paused, 0);
    machine_free(m);
}

TEST(loop, a_paused_connection_goes_on_when_its_rate_allows)
{
    struct machine *m = MACHINE("--rate", "10");
    struct peer *p = peer_new(m);
    for (int i = 0; i < 100; i++)
        peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    settle_machine(m);
    size_t first = peer_got(p, "skey");
    ck_assert_uint_gt(first, 10);
    ck_assert_uint_lt(first, 100);
    run_machine(m, 10000);
    ck_assert_uint_eq(peer_got(p, "skey"), 100);
    ck_assert_uint_eq(m->shell.paused, 0);
    machine_free(m);
}

static const int no_files[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};

TEST_LOOP(loop, without_files_accepting_waits_a_second_and_goes_on, 0, COUNT(no_files))
{
    struct machine *m = MACHINE("--first-frame-s", "60");
    struct peer *first = peer_new(m);
    settle_machine(m);
    m->accept_error = no_files[_i];
    struct peer *p = peer_new(m);
    peer_send(p, "@dir", "PROD=NASCAR-PS2-2004\n");
    turn(m, m->now_ms);
    turn(m, m->now_ms);
    ck_assert(in_log(m, "level=warn event=accept_paused connections=1"));
    ck_assert(!m->listening);
    ck_assert_int_gt(shell_timeout(&m->shell, UINT64_MAX), 0);
    unsigned accepts = m->accepts;
    peer_send(first, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    settle_machine(m);
    ck_assert_uint_eq(m->accepts, accepts);
    ck_assert_uint_eq(peer_got(first, "addr"), 1); /* who is there is served */
    run_machine(m, 3500);
    ck_assert_uint_le(m->accepts - accepts, 4); /* and tried once a second, not more */
    m->accept_error = 0;
    run_machine(m, 1100);
    ck_assert_uint_eq(peer_got(p, "@dir"), 1);
    ck_assert(m->listening);
    machine_free(m);
}

static const int passing[] = {EAGAIN, EPROTO, EPERM, EINVAL, EBADF};

TEST_LOOP(loop, other_failures_of_accept_neither_stop_nor_spin, 0, COUNT(passing))
{
    struct machine *m = MACHINE("--first-frame-s", "60");
    (void)peer_new(m);
    m->accept_error = passing[_i];
    turn(m, m->now_ms);
    ck_assert_uint_eq(m->accepts, 1);
    for (int i = 0; i < 40; i++)
        turn(m, m->now_ms + 100);
    m->hurried = 0;
    shell_log_flush(&m->shell);
    if (passing[_i] != EAGAIN) { /* which is no error: then it tells the truth, and nobody waits */
        ck_assert_uint_le(m->accepts, 6);
        ck_assert_uint_ge(count_log(m, "event=accept_paused"), 3);
    }
    m->accept_error = 0;
    run_machine(m, 1100);
    settle_machine(m);
    ck_assert_uint_eq(m->shell.open, 1);
    machine_free(m);
}

TEST(loop, a_full_server_does_not_listen_until_somebody_leaves)
{
    struct machine *m = MACHINE("--max-clients", "1", "--first-frame-s", "60", "--linger-s", "60");
    uint32_t all = m->shell.conns - NASCAR_CONTROL_CONNECTIONS;
    ck_assert_uint_eq(all, 130);
    for (uint32_t i = 0; i < all + 10; i++)
        peer_send(peer_new(m), "@dir", "PROD=NASCAR-PS2-2004\n");
    settle_machine(m);
    ck_assert_uint_eq(m->shell.open, all);
    ck_assert_uint_eq(m->accepted, all);
    ck_assert(!m->listening);
    for (uint32_t i = 0; i < all; i++)
        ck_assert_uint_eq(peer_got(&m->peer[i], "@dir"), 1);
    m->peer[30].hung_up = true;
    m->peer[all - 1].reset = true;
    m->peer[0].hung_up = true;
    settle_machine(m);
    ck_assert_uint_eq(m->accepted, all + 3);
    ck_assert_uint_eq(m->shell.open, all);
    for (uint32_t i = all; i < all + 3; i++)
        ck_assert_uint_eq(peer_got(&m->peer[i], "@dir"), 1);
    for (uint32_t i = 0; i < all + 3; i++)
        m->peer[i].hung_up = true;
    settle_machine(m);
    ck_assert_uint_eq(m->shell.open, 7);
    ck_assert(m->listening);
    machine_free(m);
}

TEST(loop, a_full_outbox_keeps_its_order_and_loses_nothing)
{
    struct machine *m = MACHINE("--idle-s", "1000");
    struct peer *p = peer_new(m);
    p->window = 0;
    for (int i = 0; i < 300; i++)
        peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    settle_machine(m);
    ck_assert_uint_eq(p->out_bytes, 0);
    ck_assert_uint_gt(p->in_bytes, 0); /* it is not read on, and the loop does not spin */
    ck_assert_uint_eq(m->shell.paused, 1);
    for (int i = 0; i < 400; i++) {
        p->window = 77;
        settle_machine(m);
    }
    p->window = SIZE_MAX;
    settle_machine(m);
    ck_assert_uint_eq(peer_got(p, "skey"), 300);
    machine_free(m);
}

static const int passing_writes[] = {EAGAIN, EWOULDBLOCK, ENOBUFS};

/* The kernel has no memory for it just now: that is nobody's fault. */
TEST_LOOP(loop, a_write_that_fails_for_now_is_tried_again, 0, COUNT(passing_writes))
{
    struct machine *m = MACHINE("--idle-s", "1000");
    struct peer *p = peer_new(m);
    peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    m->write_error = passing_writes[_i];
    for (int i = 0; i < 5; i++)
        turn(m, m->now_ms);
    ck_assert(!p->closed);
    ck_assert_uint_eq(p->out_bytes, 0);
    m->write_error = 0;
    settle_machine(m);
    ck_assert(!p->closed);
    ck_assert_uint_eq(peer_got(p, "skey"), 1);
    machine_free(m);
}

TEST(loop, who_reads_nothing_for_30_s_is_closed)
{
    struct machine *m = MACHINE("--ping-s", "1", "--idle-s", "1000", "--login-s", "1000");
    struct peer *p = peer_new(m), *q = peer_new(m);
    peer_send(p, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    peer_send(q, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    settle_machine(m);
    p->window = 5;
    run_machine(m, 29000);
    ck_assert(!p->closed);
    run_machine(m, 3000);
    ck_assert(p->closed && !q->closed);
    ck_assert(in_log(m, "reason=\"stuck\""));
    ck_assert_uint_gt(peer_got(q, "~png"), 20);
    machine_free(m);
}

TEST(loop, an_answer_before_the_end_is_written)
{
    struct machine *m = MACHINE("--log-level", "debug");
    struct peer *p = peer_new(m);
    for (int i = 0; i < 15; i++)
        peer_send(p, "WHAT", "N=1\n");
    settle_machine(m);
    ck_assert(p->closed);
    ck_assert_uint_eq(peer_got(p, "WHAT"), 10);
    machine_free(m);
}

TEST(loop, a_hash_that_fails_refuses_the_login_and_nothing_else)
{
    struct machine *m = MACHINE("--hash-cost", "4");
    struct seat seat = seat_new(m, "Alice");
    m->hash_fails = true;
    settle_seats(m, &seat, 1);
    ck_assert(seat.console->stage == CONSOLE_LOGIN && seat.console->refused != 0);
    m->hash_fails = false;
    console_login(seat.console, "Alice", "open wheel", "Alice");
    settle_seats(m, &seat, 1);
    ck_assert(seat.console->stage == CONSOLE_INSIDE);
    console_leave(seat.console);
    settle_seats(m, &seat, 1);
    m->hash_fails = true; /* now a password is compared */
    console_login(seat.console, "Alice", "open wheel", "Alice");
    settle_seats(m, &seat, 1);
    ck_assert(seat.console->stage == CONSOLE_LOGIN && seat.console->refused != 0);
    m->hash_fails = false;
    console_login(seat.console, "Alice", "open heels", "Alice");
    settle_seats(m, &seat, 1);
    ck_assert(seat.console->stage == CONSOLE_LOGIN && seat.console->refused == 0x70617373); /* pass */
    console_login(seat.console, "Alice", "open wheel", "Alice");
    settle_seats(m, &seat, 1);
    ck_assert(seat.console->stage == CONSOLE_INSIDE);
    seat_free(&seat);
    machine_free(m);
}

TEST(loop, a_login_without_a_key_costs_one_hash)
{
    struct machine *m = MACHINE("--hash-cost", "4");
    struct peer *p = peer_new(m);
    peer_send(p, "auth", login_request);
    settle_machine(m);
    ck_assert_uint_eq(peer_got(p, "auth"), 1);
    ck_assert_uint_eq(m->hashes, 1);
    machine_free(m);
}

/* ---- The helper ------------------------------------------------------------------- */

static const char *const bad_name = "Mallory";

static void settle_for(struct machine *m, struct seat *seats, size_t count, uint64_t ms)
{
    for (uint64_t end_ms = m->now_ms + ms; m->now_ms < end_ms;) {
        for (size_t k = 0; k < count; k++)
            seat_step(m, &seats[k]);
        turn(m, m->now_ms + 100);
    }
}

/* A round of logins while the helper dies again and again: it is started anew,
 * and nobody notices but by the time it takes. */
TEST_LOOP(loop, a_dying_helper_costs_time_and_nothing_else, 0, 8)
{
    struct machine *m = MACHINE("--hash-cost", "4");
    struct seat seats[8];
    for (size_t i = 0; i < COUNT(seats); i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "driver%zu", i);
        seats[i] = seat_new(m, name);
    }
    m->helper.dies_of = 1 + (unsigned)_i;
    settle_seats(m, seats, COUNT(seats));
    ck_assert_uint_eq(m->helper.starts, 1); /* not more than once a second */
    ck_assert_int_le(shell_timeout(&m->shell, UINT64_MAX), 1000);
    settle_for(m, seats, COUNT(seats), 1200);
    m->helper.dies_of = 1 + (unsigned)_i;
    settle_for(m, seats, COUNT(seats), 4000);
    for (size_t i = 0; i < COUNT(seats); i++) {
        ck_assert_int_eq(seats[i].console->stage, CONSOLE_INSIDE);
        seat_free(&seats[i]);
    }
    ck_assert_uint_ge(m->helper.starts, 2);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(count_log(m, "level=error event=helper_died"), m->helper.starts - m->helper.running);
    machine_free(m);
}

TEST_LOOP(loop, a_password_that_kills_the_helper_twice_is_refused, 0, 5)
{
    struct machine *m = MACHINE("--hash-cost", "4");
    struct seat seats[5];
    for (size_t i = 0; i < COUNT(seats); i++)
        seats[i] = seat_new(m, i == (size_t)_i ? bad_name : (const char *[]){"Ann", "Ben", "Cid", "Dee", "Eve"}[i]);
    console_login(seats[_i].console, bad_name, "poisoned", bad_name);
    m->helper.poison = "poisoned";
    settle_for(m, seats, COUNT(seats), 4000);
    for (size_t i = 0; i < COUNT(seats); i++)
        ck_assert((seats[i].console->stage == CONSOLE_INSIDE) == (i != (size_t)_i));
    ck_assert_uint_ne(seats[_i].console->refused, 0);
    ck_assert_uint_eq(m->helper.starts, 3);
    ck_assert_uint_eq(m->shell.helper.jobs, 0);
    for (size_t i = 0; i < COUNT(seats); i++)
        seat_free(&seats[i]);
    machine_free(m);
}

TEST(loop, a_helper_that_cannot_start_is_tried_once_a_second)
{
    struct machine *m = MACHINE("--hash-cost", "4", "--idle-s", "1000", "--login-s", "1000");
    struct seat seats[] = {seat_new(m, "Alice"), seat_new(m, "Bobby")};
    for (size_t i = 0; i < 2; i++) { /* each time it has a line in the log */
        m->helper.cannot_start = true;
        m->helper.dies_of = 1;
        settle_for(m, &seats[i], 1, 20000);
        shell_log_flush(&m->shell);
        ck_assert_uint_eq(count_log(m, "event=helper_failed"), i + 1);
        ck_assert(seats[i].console->stage != CONSOLE_INSIDE && seats[i].console->refused == 0);
        m->helper.cannot_start = false;
        settle_for(m, &seats[i], 1, 1500);
        ck_assert(seats[i].console->stage == CONSOLE_INSIDE);
    }
    seat_free(&seats[0]);
    seat_free(&seats[1]);
    machine_free(m);
}

/* A helper that hangs is killed after 20 s, and the next one gets its jobs. If that
 * hangs, too, the player is told that it failed: not that his password is wrong. */
TEST_LOOP(loop, a_hanging_helper_is_replaced_and_then_answered_for, 0, 3)
{
    static const char *const kinds[] = {"auth", "auth", "acct"};
    struct machine *m = MACHINE("--hash-cost", "4");
    struct peer *p = peer_new(m), *first = peer_new(m), *other = peer_new(m);
    peer_send(first, "auth", "NAME=Anna\nPASS=~secret\n");
    settle_machine(m);
    m->helper.hangs = true;
    m->helper.hangs_of = _i == 0 ? 0 : 1;
    peer_send(p, kinds[_i], _i == 2 ? "NAME=Bert\nPASS=~secret\nMINAGE=18\n" : "NAME=Anna\nPASS=~secret\n");
    settle_machine(m);
    peer_send(other, "auth", "NAME=Cleo\nPASS=~secret\n");
    run_machine(m, 19000);
    ck_assert_uint_eq(m->helper.kills, 0);
    run_machine(m, 2000);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(m->helper.kills, 1);
    ck_assert_uint_eq(count_log(m, "level=error event=helper_hangs"), 1);
    ck_assert_uint_eq(peer_got(p, kinds[_i]), _i == 0 ? 1 : 0);
    run_machine(m, 21000);
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(m->helper.kills, _i == 0 ? 1 : 2);
    ck_assert_uint_eq(count_log(m, "level=error event=hash_given_up conn=0 tries=2"), _i == 0 ? 0 : 1);
    ck_assert_uint_eq(count_log(m, "event=login_refused"), 0);
    ck_assert_uint_eq(peer_got(p, kinds[_i]), 1);
    ck_assert_mem_eq(p->out + 4, _i == 0 ? "\0\0\0" : "fail", 4);
    ck_assert_uint_eq(peer_got(other, "auth"), 1);
    ck_assert_mem_eq(other->out + 4, "\0\0\0", 4);
    ck_assert_uint_eq(m->shell.state->accounts.live, 2);
    machine_free(m);
}

/* The helper has answered, or could not, as the machine stood still as a whole:
 * that is no hanging. */
TEST_LOOP(loop, a_helper_is_not_killed_for_what_the_machine_did, 0, 2)
{
    struct machine *m = MACHINE("--hash-cost", "4");
    struct peer *p = peer_new(m);
    m->helper.lazy = true;
    peer_send(p, "auth", login_request);
    settle_machine(m);
    m->now_ms += 1000000;
    m->helper.lazy = _i == 1;
    run_machine(m, 10000);
    m->helper.lazy = false;
    run_machine(m, 100);
    ck_assert_uint_eq(m->helper.kills, 0);
    ck_assert_uint_eq(peer_got(p, "auth"), 1);
    machine_free(m);
}

/* ---- Standing still --------------------------------------------------------------- */

/* The process is stopped and goes on, or its machine sleeps. Meanwhile each of
 * these has sent what it had to: so none of their deadlines passes. */
TEST_LOOP(loop, what_came_while_it_stood_still_is_read_before_a_deadline_passes, 0, 4)
{
    static const uint64_t stops_ms[] = {900, 15000, 120000, 7 * 24 * 3600000u};
    struct machine *m = MACHINE("--hash-cost", "4", "--idle-s", "20", "--ping-s", "10", "--first-frame-s", "1",
                                "--login-s", "2", "--linger-s", "1", "--buddy-login-s", "1");
    struct peer *p[6], *late = NULL;
    for (int i = 0; i < 6; i++)
        p[i] = peer_new(m);
    peer_send(p[0], "auth", "NAME=Anna\nPASS=~secret\n");
    peer_send(p[1], "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    peer_send(p[2], "@dir", "PROD=NASCAR-PS2-2004\n");
    peer_send(p[3], "AUTH", "USER=Nobody\nLKEY=$00\n");
    settle_machine(m);
    ck_assert_uint_eq(m->shell.open, 6);
    run_machine(m, 500);
    peer_send(p[0], "~png", "REF=1\n");
    peer_send(p[1], "auth", "NAME=Bert\nPASS=~secret\n");
    peer_send(p[2], "@dir", "PROD=NASCAR-PS2-2004\n");
    peer_send(p[3], "AUTH", "USER=Nobody\nLKEY=$00\n");
    peer_send(p[4], "auth", "NAME=Cleo\nPASS=~secret\n");
    p[5]->hung_up = true;
    late = peer_new(m);
    peer_send(late, "auth", "NAME=Dora\nPASS=~secret\n");
    m->now_ms += stops_ms[_i];
    settle_machine(m);
    shell_log_flush(&m->shell);
    for (int i = 0; i < 5; i++)
        ck_assert_msg(!p[i]->closed || i == 3, "%d is closed", i); /* whose tickets are bad: answered, then closed */
    ck_assert_uint_eq(peer_got(p[1], "auth") + peer_got(p[4], "auth") + peer_got(late, "auth"), 3);
    ck_assert_uint_eq(peer_got(p[2], "@dir"), 2);
    ck_assert_uint_eq(peer_got(p[3], "AUTH"), 2);
    ck_assert(p[5]->closed && count_log(m, "reason=\"disconnected\"") == 1);
    ck_assert_uint_eq(count_log(m, " in time\"") + count_log(m, "reason=\"silent\""), p[3]->closed ? 1 : 0);
    ck_assert_uint_eq(count_log(m, "event=stood_still"), _i == 0 ? 0 : 1);
    ck_assert_uint_eq(count_log(m, "event=clock_set"), 0);
    machine_free(m);
}

/* More has come than one read takes: what is behind it counts, too. */
TEST(loop, what_stands_behind_much_else_is_read_before_a_deadline_passes)
{
    struct machine *m = MACHINE("--hash-cost", "4", "--login-s", "2");
    struct peer *p = peer_new(m);
    peer_send(p, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    settle_machine(m);
    for (int i = 0; i < 200; i++)
        peer_send(p, "~png", "REF=1\nTIME=1\n");
    peer_send(p, "auth", login_request);
    m->now_ms += 120000;
    settle_machine(m);
    ck_assert(peer_got(p, "auth") == 1 && !p->closed);
    machine_free(m);
}

/* A frame that waits for its sender's rate came long ago. */
TEST(loop, what_waits_for_its_rate_goes_on_before_a_deadline_passes)
{
    struct machine *m = machine_new(
        (const char *const[]){"--max-clients", "16", "--hash-cost", "4", "--rate", "1", "--login-s", "1", NULL});
    struct peer *p = peer_new(m);
    for (int i = 0; i < 6; i++)
        peer_send(p, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    peer_send(p, "auth", login_request);
    settle_machine(m);
    ck_assert_uint_eq(peer_got(p, "addr"), 6);
    run_machine(m, 2000);
    ck_assert(peer_got(p, "auth") == 1 && !p->closed);
    machine_free(m);
}

/* Nobody was asked anything meanwhile, so nobody was silent. Who does not answer
 * the next ping is. */
TEST(loop, nobody_is_silent_while_it_stands_still)
{
    struct machine *m = MACHINE("--idle-s", "6", "--ping-s", "3");
    struct peer *p = peer_new(m), *gone = peer_new(m);
    peer_send(p, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    peer_send(gone, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    settle_machine(m);
    for (int i = 0; i < 40; i++) {
        m->now_ms += i % 4 == 0 ? 120000 : 0;
        size_t pings = peer_got(p, "~png");
        run_machine(m, 1000);
        if (peer_got(p, "~png") > pings)
            peer_send(p, "~png", "REF=1\n");
    }
    ck_assert(!p->closed && gone->closed);
    machine_free(m);
}

/* Whoever goes on sending holds up nobody's deadline. */
static void sends_on(struct machine *m)
{
    if (!m->peer[0].closed && m->peer[0].in_bytes < 8192)
        for (int i = 0; i < 100; i++)
            peer_send(&m->peer[0], "~png", "REF=1\nTIME=1\nA=0123456789012345678901234567890123456789\n");
    m->now_ms += 10;
}

TEST(loop, who_goes_on_sending_holds_up_no_deadline)
{
    struct machine *m = MACHINE("--first-frame-s", "2");
    struct peer *busy = peer_new(m), *mute = peer_new(m);
    peer_send(busy, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    settle_machine(m);
    ck_assert(busy->accepted && mute->accepted);
    m->at_poll = sends_on;
    run_machine(m, 1900);
    ck_assert(!mute->closed);
    run_machine(m, 1000);
    ck_assert(mute->closed && !busy->closed);
    machine_free(m);
}

/* Sixty at once, while the helper is slow: nobody is lost, pings go on, and
 * who hangs up is not hashed for. */
TEST(loop, sixty_at_once_all_get_in)
{
    struct machine *m = machine_new((const char *const[]){"--max-clients", "100", "--hash-cost", "4", "--ping-s", "1",
                                                          "--per-address", "100", "--rate", "0", NULL});
    struct peer *p[60], *online = peer_new(m);
    peer_send(online, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    m->helper.lazy = true;
    for (size_t i = 0; i < COUNT(p); i++) {
        p[i] = peer_new(m);
        peer_send(p[i], "auth", login_request);
        run_machine(m, 100);
        m->helper.lazy = i % 20 != 0; /* so the queue moves while it is filled */
    }
    m->helper.lazy = true;
    run_machine(m, 3000);
    ck_assert_uint_ge(peer_got(online, "~png"), 7);
    size_t hung_up = 0, questions = m->helper.questions;
    for (size_t i = 50; i < COUNT(p); i++, hung_up++)
        p[i]->hung_up = p[i]->reset = true;
    for (int i = 0; i < 600; i++) {
        run_machine(m, 10);
        m->helper.lazy = i % 10 != 0;
    }
    m->helper.lazy = false;
    run_machine(m, 1000);
    for (size_t i = 0; i < 50; i++)
        ck_assert_uint_eq(peer_got(p[i], "auth"), 1);
    ck_assert_uint_eq(m->helper.questions, 50);
    ck_assert_uint_lt(questions, 50);
    machine_free(m);
}

/* ---- The operator ------------------------------------------------------------------- */

TEST(loop, the_operator_gets_in_when_all_other_places_are_taken)
{
    struct machine *m = MACHINE("--max-clients", "1", "--first-frame-s", "60", "--linger-s", "60");
    uint32_t all = m->shell.conns - NASCAR_CONTROL_CONNECTIONS;
    struct peer *p[NASCAR_CONTROL_CONNECTIONS + 1];
    for (uint32_t i = 0; i < all; i++)
        peer_send(peer_new(m), "@dir", "PROD=NASCAR-PS2-2004\n");
    settle_machine(m);
    ck_assert_uint_eq(m->shell.open, all);
    for (uint32_t i = 0; i < COUNT(p); i++) {
        p[i] = peer_new(m);
        p[i]->control = true;
        peer_send(p[i], "csta", "");
        peer_send(p[i], "cwho", "");
    }
    settle_machine(m);
    for (uint32_t i = 0; i < COUNT(p); i++)
        ck_assert_uint_eq(peer_got(p[i], "csta"), i < NASCAR_CONTROL_CONNECTIONS);
    ck_assert_uint_eq(peer_got(p[0], "cwho"), 1);
    p[1]->hung_up = true;
    settle_machine(m);
    ck_assert_uint_eq(peer_got(p[NASCAR_CONTROL_CONNECTIONS], "csta"), 1);
    for (uint32_t i = 0; i < COUNT(p); i++)
        p[i]->hung_up = true;
    m->peer[3].hung_up = true;
    settle_machine(m);
    ck_assert_uint_eq(m->shell.open, all - 1);
    struct peer *next = peer_new(m); /* a player's place is a player's again */
    peer_send(next, "csta", "");
    settle_machine(m);
    ck_assert_uint_eq(peer_got(next, "csta"), 1);
    ck_assert(load_be32(next->out + 4) != 0 || next->closed); /* and no operator's */
    machine_free(m);
}

/* Each of the operator's connections has a file descriptor of its own. */
TEST(loop, the_operator_gets_in_when_files_have_run_out)
{
    struct machine *m = MACHINE("--hash-cost", "4");
    m->spares = NASCAR_CONTROL_CONNECTIONS;
    spares_take(&m->shell);
    ck_assert_uint_eq(m->spares, 0);
    m->accept_error = EMFILE;
    struct peer *waits = peer_new(m);
    peer_send(waits, "@dir", "PROD=NASCAR-PS2-2004\n");
    for (unsigned round = 0; round < 3; round++) {
        struct peer *p[NASCAR_CONTROL_CONNECTIONS];
        for (uint32_t i = 0; i < COUNT(p); i++) {
            p[i] = peer_new(m);
            p[i]->control = true;
            peer_send(p[i], "csta", "");
        }
        settle_machine(m);
        for (uint32_t i = 0; i < COUNT(p); i++) {
            ck_assert_uint_eq(peer_got(p[i], "csta"), 1);
            p[i]->hung_up = true;
        }
        m->spares = NASCAR_CONTROL_CONNECTIONS; /* as each that is closed is free again */
        settle_machine(m);
        ck_assert_uint_eq(m->shell.spares, NASCAR_CONTROL_CONNECTIONS);
        ck_assert_uint_eq(m->spares, 0);
    }
    ck_assert(!waits->accepted);
    machine_free(m);
}

/* The end of the process is one of the log, too: it is told on standard error here. */
static ssize_t log_to_stderr(void *world, int fd, const char *text, size_t size)
{
    (void)world;
    (void)fd;
    return write(STDERR_FILENO, text, size);
}

/* In a process of its own, as it is to end: with status 1, and a line that says why. */
TEST_LOOP(loop, without_entropy_the_server_ends_and_says_so, 0, 2)
{
    struct nascar_sys sys = fake_calls;
    struct machine *m = MACHINE("--hash-cost", "4");
    int status = 0;
    settle_machine(m);
    sys.log = log_to_stderr;
    m->shell.sys = &sys;
    m->shell.ready = _i == 0; /* else it has just been started */
    m->entropy_fails = true;
    catch_stderr();
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 100; i++) {
            peer_send(peer_new(m), "@dir", "PROD=NASCAR-PS2-2004\n");
            shell_turn(&m->shell, m->now_ms);
        }
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    const char *said = caught_stderr();
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    ck_assert_msg(strstr(said, _i == 0 ? "level=error event=died reason=\"no random numbers, neither from getrandom()"
                                       : "nascar_server: no random numbers, neither from getrandom()") != NULL,
                  "says: %s", said);
    machine_free(m);
}

TEST(loop, poll_waits_for_the_next_deadline_and_no_shorter)
{
    struct machine *m = MACHINE("--first-frame-s", "7");
    turn(m, UINT64_MAX);
    ck_assert_int_eq(m->timeout_ms, 60000); /* nobody there: only the journal is looked at */
    (void)peer_new(m);
    turn(m, m->now_ms);
    turn(m, m->now_ms);
    ck_assert_int_eq(shell_timeout(&m->shell, UINT64_MAX), 7000);
    ck_assert_int_eq(shell_timeout(&m->shell, m->now_ms + 5), 5);
    unsigned polls = m->polls;
    run_machine(m, 7000);
    ck_assert_uint_le(m->polls - polls, 3);
    settle_machine(m);
    ck_assert_uint_eq(m->shell.open, 0);
    machine_free(m);
}

TEST(loop, a_long_wait_is_cut_to_a_minute)
{
    struct machine *m = MACHINE("--first-frame-s", "3600");
    (void)peer_new(m);
    turn(m, m->now_ms);
    turn(m, m->now_ms);
    ck_assert_int_eq(shell_timeout(&m->shell, UINT64_MAX), 60000);
    machine_free(m);
}

/* The limit of open files is lowered while it runs, and raised again. */
TEST(loop, a_poll_that_refuses_to_look_ends_nothing)
{
    struct machine *m = MACHINE("--ping-s", "1", "--first-frame-s", "60");
    struct peer *p = peer_new(m), *slow = peer_new(m);
    peer_send(p, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    peer_send(slow, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    settle_machine(m);
    for (unsigned round = 1; round <= 2; round++) {
        m->poll_most = FIRST_SOCKET;
        slow->window = 1;
        size_t pings = peer_got(p, "~png"), answers = peer_got(p, "skey");
        unsigned polls = m->polls;
        peer_send(p, "skey", "SKEY=$00\n");
        peer_send(slow, "skey", "SKEY=$00\n");
        run_machine(m, 5000);
        ck_assert_uint_eq(peer_got(p, "skey"), answers + 1);
        ck_assert_uint_ge(peer_got(p, "~png"), pings + 4);
        ck_assert_uint_le(m->polls - polls, 2 * 5000 / BLIND_MS + 50); /* it does not spin */
        ck_assert_uint_eq(count_log(m, "level=error event=poll_failed reason=\"Invalid argument\""), round);
        slow->window = SIZE_MAX;
        run_machine(m, 100);
        ck_assert_uint_eq(peer_got(slow, "skey"), round);
        m->poll_most = 0;
        polls = m->polls;
        run_machine(m, 1000);
        ck_assert_uint_le(m->polls - polls, 20);
    }
    m->poll_most = 1;
    signal_machine(m, SIGTERM);
    shell_loop(&m->shell);
    ck_assert(p->closed && in_log(m, "event=stop signal=SIGTERM"));
    machine_free(m);
}

/* ---- Signals ---------------------------------------------------------------------- */

GROUP(signals, NULL, NULL, 30);

static void open_windows_later(struct machine *m)
{
    if (m->mark_ms == 0)
        m->mark_ms = m->now_ms;
    m->now_ms += 100;
    if (m->now_ms >= m->mark_ms + 700)
        for (size_t i = 0; i < m->peers; i++)
            m->peer[i].window = SIZE_MAX;
}

static const uint32_t endings[] = {SIGTERM, SIGINT};

TEST_LOOP(signals, a_stop_flushes_and_closes_everybody, 0, COUNT(endings))
{
    struct machine *m = MACHINE("--ping-s", "1", "--idle-s", "1000");
    struct peer *p[5];
    for (int i = 0; i < 5; i++) {
        p[i] = peer_new(m);
        p[i]->window = i % 2 ? 0 : SIZE_MAX;
        peer_send(p[i], "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    }
    settle_machine(m);
    peer_send(p[0], "skey", "SKEY=$00\n"); /* comes with the signal: answered */
    m->at_poll = open_windows_later;
    signal_machine(m, endings[_i]);
    shell_loop(&m->shell);
    ck_assert(m->now_ms - m->mark_ms >= 700 && m->now_ms - m->mark_ms < 1500);
    for (int i = 0; i < 5; i++) {
        ck_assert(p[i]->closed);
        ck_assert_uint_eq(peer_got(p[i], "addr"), 1);
    }
    ck_assert_uint_eq(peer_got(p[0], "skey"), 1);
    ck_assert_uint_eq(count_log(m, "event=stop"), 1);
    ck_assert_str_eq(m->removed, "controlpid"); /* nobody takes it for a server that runs */
    machine_free(m);
}

TEST(signals, a_stop_does_not_wait_longer_than_2_s)
{
    struct machine *m = MACHINE("--idle-s", "1000");
    struct peer *p = peer_new(m);
    p->window = 3;
    peer_send(p, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    settle_machine(m);
    signal_machine(m, SIGTERM);
    uint64_t began_ms = m->now_ms;
    shell_loop(&m->shell);
    ck_assert_uint_eq(m->now_ms, began_ms + STOP_MS);
    ck_assert(p->closed && p->out_bytes == 3);
    machine_free(m);
}

TEST(signals, a_stopping_server_takes_nobody_in)
{
    struct machine *m = MACHINE("--idle-s", "1000");
    struct peer *p = peer_new(m);
    p->window = 0;
    peer_send(p, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    settle_machine(m);
    signal_machine(m, SIGTERM);
    turn(m, m->now_ms);
    (void)peer_new(m);
    shell_loop(&m->shell);
    ck_assert_uint_eq(m->accepted, 1);
    machine_free(m);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static char *temporary(char path[64])
{
    (void)snprintf(path, 64, "/tmp/test_shell-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    return path;
}

TEST(signals, a_reload_reaches_those_online_or_changes_nothing)
{
    char path[64];
    write_text(temporary(path), "room = East: one: 50\nlog-level = info\n");
    struct machine *m = MACHINE("--config", path, "--hash-cost", "4", "--lobby-port", "0");
    m->shell.port[1] = 11001; /* which was free */
    shell_configure(&m->shell);
    struct seat seat = seat_new(m, "Alice");
    settle_seats(m, &seat, 1);
    ck_assert_ptr_nonnull(console_room_named(seat.console, "East"));

    write_text(path, "room = East: two: 50\nroom = Night: dark: 20\nlobby-port = 12345\nmax-clients = 7\n");
    signal_machine(m, SIGHUP);
    settle_seats(m, &seat, 1);
    ck_assert(in_log(m, "level=info event=reloaded"));
    ck_assert_ptr_nonnull(console_room_named(seat.console, "Night"));
    ck_assert_str_eq(console_room_named(seat.console, "East")->about, "two");
    ck_assert_uint_eq(m->shell.port[1], 11001); /* what is open stays */

    write_text(path, "room = Dawn: early: 20\nlog-level = loud\n");
    signal_machine(m, SIGHUP);
    catch_stderr();
    settle_seats(m, &seat, 1);
    const char *said = caught_stderr();
    ck_assert_ptr_nonnull(strstr(said, ":2: log-level: expected"));
    ck_assert(in_log(m, "level=error event=reload_refused"));
    ck_assert_ptr_null(console_room_named(seat.console, "Dawn"));
    ck_assert_uint_eq(m->shell.options.log_level, NASCAR_LOG_INFO);
    ck_assert(seat.console->stage == CONSOLE_INSIDE);
    (void)unlink(path);
    seat_free(&seat);
    machine_free(m);
}

/* How many of those who come from one address are let in: three at most. */
static size_t let_in(struct machine *m)
{
    struct peer *p[3];
    size_t count = 0;
    for (int i = 0; i < 3; i++) {
        p[i] = peer_new(m);
        p[i]->ip = 0xC6336401u;
        settle_machine(m);
        peer_send(p[i], "addr", "ADDR=192.0.2.100\nPORT=50000\n");
        settle_machine(m);
        count += peer_got(p[i], "addr");
    }
    for (int i = 0; i < 3; i++)
        p[i]->hung_up = true;
    settle_machine(m);
    return count;
}

TEST(signals, a_reload_trusts_networks_and_trusts_them_no_more)
{
    char path[64];
    write_text(temporary(path), "per-address = 2\n");
    struct machine *m = MACHINE("--config", path);
    ck_assert_uint_eq(let_in(m), 2);
    write_text(path, "per-address = 2\ntrusted = 198.51.100.0/24\n");
    signal_machine(m, SIGHUP);
    settle_machine(m);
    ck_assert_uint_eq(let_in(m), 3);
    write_text(path, "per-address = 2\ntrusted = 198.51.100.1/24\n");
    signal_machine(m, SIGHUP);
    catch_stderr();
    settle_machine(m);
    ck_assert_ptr_nonnull(strstr(caught_stderr(), ":2: trusted: expected a network whose address is 0 behind"));
    ck_assert_uint_eq(let_in(m), 3);
    write_text(path, "per-address = 2\ntrusted = 198.51.101.0/24\n");
    signal_machine(m, SIGHUP);
    settle_machine(m);
    ck_assert_uint_eq(let_in(m), 2);
    (void)unlink(path);
    machine_free(m);
}

/* Reads the options again; what that says on standard error. */
static const char *reloaded(struct machine *m)
{
    signal_machine(m, SIGHUP);
    catch_stderr();
    turn(m, m->now_ms);
    shell_log_flush(&m->shell);
    return caught_stderr();
}

static const char *const files_read[] = {"config", "news"};

/* What has been a pipe is empty by now, and who opens a FIFO may wait for ever: such
 * a file is read at the start, and never again. */
TEST_LOOP(signals, a_reload_reads_regular_files_only, 0, 2 * COUNT(files_read))
{
    static const char *const now[] = {"fifo", "folder", "device", "nothing"};
    char path[64], key[16], of_pipe[32], expected[160];
    int ends[2];
    bool news = strcmp(files_read[_i / 2], "news") == 0, pipe_first = _i % 2 == 1;
    const char *text = news ? "closed for today\n" : "accounts = closed\n";
    write_text(temporary(path), text);
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
    (void)close(ends[1]);
    (void)snprintf(of_pipe, sizeof of_pipe, "/proc/self/fd/%d", ends[0]);
    (void)snprintf(key, sizeof key, "--%s", files_read[_i / 2]);
    const char *named = pipe_first ? of_pipe : path;
    struct machine *m = MACHINE(key, named);
    (void)snprintf(expected, sizeof expected, "nascar_server: %s: %s: ", key, named);
    for (size_t i = 0; i < (size_t)COUNT(now); i++) {
        if (!pipe_first) {
            (void)unlink(path);
            (void)rmdir(path);
            ck_assert(i != 0 || mkfifo(path, 0600) == 0);
            ck_assert(i != 1 || mkdir(path, 0700) == 0);
            ck_assert(i != 2 || symlink("/dev/null", path) == 0);
        }
        const char *said = reloaded(m);
        if (strncmp(said, expected, strlen(expected)) != 0)
            ck_abort_msg("%s: %s", now[i], said);
        ck_assert_uint_eq(count_log(m, "level=error event=reload_refused"), i + 1);
        const struct config *config = &m->shell.state->config;
        ck_assert(news ? strcmp(config->news, text) == 0 : config->accounts == ACCOUNTS_CLOSED);
    }
    ck_assert(!in_log(m, "event=reloaded"));
    if (!pipe_first) { /* and one that is there again is read */
        write_text(path, "");
        (void)reloaded(m);
        ck_assert(in_log(m, "event=reloaded"));
        ck_assert(m->shell.state->config.accounts == ACCOUNTS_OPEN && m->shell.state->config.news[0] == 0);
    }
    (void)unlink(path);
    (void)close(ends[0]);
    machine_free(m);
}

/* Only one that was started from a terminal, and is not to outlive it, ends with it. */
TEST_LOOP(signals, a_terminal_that_goes_away_stops_what_it_started, 0, 8)
{
    struct machine *m = MACHINE("--hash-cost", "4");
    bool hung_up = _i & 1, by_terminal = _i & 2;
    m->shell.terminal = by_terminal;
    m->shell.outlives_terminal = _i & 4;
    bool stops = hung_up && by_terminal && !m->shell.outlives_terminal, reloads = !hung_up || !by_terminal;
    signal_machine(m, hung_up ? SIGHUP | HANG_UP : SIGHUP);
    turn(m, m->now_ms);
    ck_assert(m->shell.stopping == stops);
    if (!stops)
        signal_machine(m, SIGTERM);
    shell_loop(&m->shell);
    ck_assert_uint_eq(count_log(m, "event=reloaded"), reloads);
    ck_assert_uint_eq(count_log(m, "level=info event=terminal_closed"), stops);
    ck_assert_uint_eq(count_log(m, stops ? "event=stop signal=SIGHUP" : "event=stop signal=SIGTERM"), 1);
    machine_free(m);
}

/* Each time, until the file says again what is in force, or the server starts anew. */
TEST(signals, a_reload_names_what_needs_a_restart)
{
    char path[64];
    write_text(temporary(path), "max-clients = 16\nmax-accounts = 64\nhash-cost = 4\n");
    struct machine *m = machine_new((const char *const[]){"--config", path, NULL});
    (void)reloaded(m);
    ck_assert(in_log(m, "level=info event=reloaded") && !in_log(m, "event=restart_wanted"));
    write_text(path, "max-clients = 7\nmax-accounts = 64\nhash-cost = 5\nbind = 127.0.0.1\ndirectory-port = 1\n"
                     "lobby-port = 2\nbuddy-port = 3\ndata = elsewhere\nrecord = /tmp/elsewhere.rec\n"
                     "log-file = /tmp/elsewhere.log\nping-s = 7\n");
    for (size_t i = 1; i <= 2; i++) {
        (void)reloaded(m);
        ck_assert_uint_eq(count_log(m, "level=warn event=restart_wanted keys=\"data bind directory-port lobby-port "
                                       "buddy-port max-clients record log-file\"\n"),
                          i);
        ck_assert_uint_eq(m->shell.options.hash_cost, 5);
        ck_assert_uint_eq(m->shell.state->config.ping_ms, 7000);
        ck_assert_uint_eq(m->shell.options.max_clients, 16); /* is in force */
        ck_assert_str_eq(m->shell.options.data, DATA_FOLDER);
    }
    write_text(path, "max-clients = 16\nmax-accounts = 65\n");
    (void)reloaded(m);
    ck_assert_uint_eq(count_log(m, "event=restart_wanted keys=\"max-accounts\"\n"), 1);
    write_text(path, "max-clients = 16\nmax-accounts = 64\n");
    (void)reloaded(m);
    ck_assert_uint_eq(count_log(m, "event=restart_wanted"), 3);
    ck_assert_uint_eq(count_log(m, "event=reloaded"), 5);
    (void)unlink(path);
    machine_free(m);
}

/* The server is stopped for a while and goes on. What has come meanwhile is read before
 * anybody is taken for dead, and whoever had no ping to answer is not, either. */
TEST_LOOP(signals, a_server_that_was_stopped_takes_nobody_for_dead, 0, 2)
{
    struct machine *m = MACHINE("--per-address", "2", "--idle-s", "1000");
    struct peer *old[2], *p;
    for (int i = 0; i < 2; i++) {
        old[i] = peer_new(m);
        old[i]->ip = 0xC6336401u;
        peer_send(old[i], "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    }
    settle_machine(m);
    if (_i == 1)
        run_machine(m, 31000); /* both have been pinged */
    ck_assert_uint_eq(peer_got(old[0], "~png"), _i == 1 ? 1 : 0);
    m->now_ms += 120000;
    for (int i = 0; i < 2 && _i == 1; i++)
        peer_send(old[i], "~png", "TIME=1\n");
    p = peer_new(m);
    p->ip = 0xC6336401u;
    peer_send(p, "addr", "ADDR=192.0.2.100\nPORT=50000\n");
    settle_machine(m);
    ck_assert(!old[0]->closed && !old[1]->closed && p->closed);
    run_machine(m, 40000); /* but they do not answer any more */
    p = peer_new(m);
    p->ip = 0xC6336401u;
    settle_machine(m);
    ck_assert(old[0]->closed + old[1]->closed == 1 && !p->closed);
    ck_assert(in_log(m, "event=close") && in_log(m, "takes its place"));
    machine_free(m);
}

/* ---- The log ---------------------------------------------------------------------- */

TEST(signals, a_log_line_is_one_line_however_long)
{
    struct machine *m = MACHINE("--log-level", "warn");
    char text[3000];
    memset(text, 'x', sizeof text);
    memcpy(text, "event=", 6);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < 20; i++)
        shell_log(&m->shell, NASCAR_LOG_WARN, text);
    shell_log(&m->shell, NASCAR_LOG_INFO, "event=quiet");
    shell_log(&m->shell, NASCAR_LOG_ERROR, "event=loud");
    shell_log_flush(&m->shell);
    ck_assert_uint_eq(count_log(m, "\n"), 21);
    ck_assert_uint_eq(count_log(m, "time=2026-01-01T00:00:01Z level=warn event=xxx"), 20);
    ck_assert(in_log(m, "\ntime=2026-01-01T00:00:01Z level=error event=loud\n"));
    ck_assert(!in_log(m, "quiet"));
    machine_free(m);
}

/* All lines of a log in turn are whole, and say how many are missing between them. */
static unsigned lines_lost(const struct machine *m)
{
    unsigned lost = 0, next = 0, number = 0, said = 0;
    for (const char *at = m->log; *at; at = strchr(at, '\n') + 1) {
        ck_assert_msg(sscanf(at, "time=2026-01-01T00:00:%*uZ level=info event=counted number=%u", &number) == 1,
                      "no line: %.60s", at);
        const char *told = strstr(at, " lost="), *end = strchr(at, '\n');
        ck_assert_ptr_nonnull(end);
        said = told && told < end ? (unsigned)strtoul(told + 6, NULL, 10) : 0;
        ck_assert_uint_eq(number - next, said);
        lost += said;
        next = number + 1;
    }
    return lost;
}

/* The log takes a few bytes now and then, or nothing for long. */
TEST_LOOP(signals, a_log_that_is_not_read_loses_lines_and_counts_them, 0, 6)
{
    static const size_t rooms[] = {1, 7, 63, 64, 65, 5000};
    struct machine *m = MACHINE("--log-level", "info");
    char text[64];
    m->log_full = true;
    for (unsigned i = 0; i < 3000; i++) {
        (void)snprintf(text, sizeof text, "event=counted number=%u", i);
        shell_log(&m->shell, NASCAR_LOG_INFO, text);
        if (i % 37 == 0)
            m->log_room += rooms[_i];
        if (i % 11 == 0)
            shell_log_flush(&m->shell);
    }
    ck_assert_uint_gt(m->log_bytes, 0);
    m->log_full = false; /* somebody reads again */
    shell_log_flush(&m->shell);
    shell_log(&m->shell, NASCAR_LOG_INFO, "event=counted number=3000");
    shell_log_flush(&m->shell);
    unsigned lost = lines_lost(m);
    ck_assert(_i == 5 || lost > 500);
    ck_assert(strstr(m->log, "number=3000") != NULL);
    machine_free(m);
}

/* What it did not take is tried again without anything else happening, and not too often. */
TEST(signals, a_stuck_log_is_tried_again_each_second)
{
    struct machine *m = MACHINE("--log-level", "info");
    turn(m, m->now_ms);
    m->log_full = true;
    shell_log(&m->shell, NASCAR_LOG_INFO, "event=waiting");
    unsigned tries = m->log_tries;
    run_machine(m, 10000);
    ck_assert_uint_ge(m->log_tries - tries, 9);
    ck_assert_uint_le(m->log_tries - tries, 14);
    ck_assert(!in_log(m, "event=waiting"));
    m->log_full = false;
    run_machine(m, 1100);
    ck_assert_uint_eq(count_log(m, "event=waiting"), 1);
    turn(m, UINT64_MAX);
    ck_assert_int_gt(m->timeout_ms, 10 * (int)LOG_RETRY_MS);
    machine_free(m);
}

/* A line that the old file has in part stands whole in the new one. */
TEST(signals, sigusr1_opens_the_log_file_again)
{
    struct machine *m = MACHINE("--log-file", "nascar.log", "--log-level", "info");
    turn(m, m->now_ms);
    m->log_full = true;
    m->log_room = 30;
    shell_log(&m->shell, NASCAR_LOG_INFO, "event=torn");
    turn(m, m->now_ms);
    ck_assert_uint_eq(m->log_room, 0);
    m->log_cannot_open = true;
    signal_machine(m, SIGUSR1);
    turn(m, m->now_ms);
    ck_assert_uint_eq(m->log_closes, 0);
    m->log_cannot_open = false;
    signal_machine(m, SIGUSR1);
    turn(m, m->now_ms);
    ck_assert_uint_eq(m->log_closes, 1);
    m->log_full = false;
    size_t old = m->log_bytes;
    turn(m, m->now_ms);
    ck_assert(strstr(m->log + old, "time=2026-01-01T00:00:01Z level=info event=torn\n") == m->log + old);
    ck_assert(in_log(m, "level=error event=log_kept reason=\"") && in_log(m, ": raise the limit of open files"));
    ck_assert(in_log(m, "level=info event=log_reopened\n"));
    ck_assert(!m->shell.stopping);
    machine_free(m);
}

TEST(signals, without_a_log_file_sigusr1_means_nothing)
{
    struct machine *m = MACHINE("--log-level", "info");
    signal_machine(m, SIGUSR1);
    turn(m, m->now_ms);
    turn(m, m->now_ms);
    ck_assert(!m->shell.stopping && !in_log(m, "event=log_") && m->log_closes == 0);
    machine_free(m);
}

/* What is there to complain about while it runs waits for nobody, either. */
TEST(signals, a_complaint_of_a_running_server_is_in_its_log)
{
    struct machine *m = MACHINE("--log-level", "info");
    serving = &m->shell;
    m->log_full = true;
    for (int i = 0; i < 500; i++)
        ck_assert(!complain("nascar.conf:7: ", "tyres", "expected %s, not '%s'", "slicks", "soft"));
    m->log_full = false;
    shell_log_flush(&m->shell);
    serving = NULL;
    ck_assert_uint_gt(
        count_log(m,
                  " level=error event=config_refused reason=\"nascar.conf:7: tyres: expected slicks, not 'soft'\"\n"),
        50);
    ck_assert_uint_gt(m->shell.log_lost, 100);
    machine_free(m);
}

/* What makes it through is told by its header, whoever made that up. */
TEST(signals, level_debug_tells_each_frame_and_no_payload)
{
    static const uint8_t strange[] = {'a', '"', '\\', '~', 0, 'x', '"', 0x7f, 0, 0, 0, 13, 0};
    struct machine *m = MACHINE("--log-level", "debug", "--hash-cost", "4");
    struct peer *p = peer_new(m);
    peer_send(p, "skey", "SKEY=$00\n");
    peer_send(p, "auth", login_request);
    settle_machine(m);
    ck_assert_uint_eq(count_log(m, "level=debug event=frame conn=0 way=in kind=\"skey\" bytes=22\n"), 1);
    ck_assert_uint_eq(count_log(m, "level=debug event=frame conn=0 way=out kind=\"skey\" bytes="), 1);
    ck_assert_uint_eq(count_log(m, "level=debug event=frame conn=0 way=in kind=\"auth\" bytes=42\n"), 1);
    ck_assert_uint_eq(count_log(m, "level=debug event=frame conn=0 way=out kind=\"auth\""), 1);
    ck_assert(!in_log(m, "PASS") && !in_log(m, "no key"));
    peer_send_bytes(p, strange, sizeof strange);
    settle_machine(m);
    ck_assert_uint_eq(count_log(m, " way=in kind=\"a\\x22\\x5c~\" code=\"\\x00x\\x22\\x7f\" bytes=13\n"), 1);
    ck_assert(!in_log(m, "event=frame_part"));
    m->read_bytes = 5; /* of a frame in three parts, none is whole */
    peer_send(p, "~png", "");
    settle_machine(m);
    ck_assert_uint_eq(count_log(m, "event=frame_part conn=0 way=in bytes=5\n"), 2);
    ck_assert_uint_eq(count_log(m, "event=frame_part conn=0 way=in bytes=3\n"), 1);
    peer_send_bytes(p, "\x01\n\x1b[", 4);
    settle_machine(m);
    ck_assert(p->closed);
    ck_assert_uint_eq(count_log(m, "event=frame_part conn=0 way=in bytes=4\n"), 1);
    for (size_t i = 0; i < m->log_bytes; i++)
        EXPECT(m->log[i] == '\n' || (m->log[i] >= 0x20 && m->log[i] <= 0x7e));
    machine_free(m);
}

TEST(signals, level_info_tells_no_frame)
{
    struct machine *m = MACHINE("--log-level", "info");
    struct peer *p = peer_new(m);
    peer_send(p, "skey", "SKEY=$00\n");
    settle_machine(m);
    ck_assert_uint_eq(peer_got(p, "skey"), 1);
    ck_assert(!in_log(m, "event=frame"));
    machine_free(m);
}

/* ---- Options ------------------------------------------------------------------------ */

GROUP(options, NULL, NULL, 0);

#define HUNDRED "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

/* Arguments, and what is said when they are refused; NULL: taken. */
static const struct {
    const char *argument[5];
    const char *said;
} lines[] = {
    {{NULL}, NULL},
    {{"--hash-cost", "4"}, NULL},
    {{"--hash-cost=15"}, NULL},
    {{"--hash-cost", "16"}, "--hash-cost: expected a number from 4 to 15, not '16'"},
    {{"--hash-cost", "-4"}, "--hash-cost: expected a number from 4 to 15, not '-4'"},
    {{"--hash-cost", ""}, "--hash-cost: expected a number from 4 to 15, not ''"},
    {{"--hash-cost"}, "--hash-cost: expected a value after it"},
    {{"--hash-cost="}, "expected a number"},
    {{"--hash-cost", "4294967300"}, "expected a number"},
    {{"hash-cost", "4"}, "unknown argument 'hash-cost'"},
    {{"-hash-cost", "4"}, "unknown argument '-hash-cost'"},
    {{"--"}, "unknown argument '--'"},
    {{"--=4"}, "unknown argument '--=4'"},
    {{""}, "unknown argument ''"},
    {{"--tyres", "soft"}, "--tyres: unknown option; --help lists them"},
    {{"--hash", "4"}, "--hash: unknown option"},
    {{"--" HUNDRED, "4"}, "unknown option; --help lists them"},
    {{"--data", "elsewhere"}, NULL},
    {{"--data", ""}, "--data: expected the name of a folder\n"},
    {{"--record", "session.rec"}, NULL},
    {{"--bind", "192.0.2.1"}, NULL},
    {{"--bind", "192.0.2.1 "}, "--bind: expected an IPv4 address"},
    {{"--bind", "192.0.2"}, "--bind: expected an IPv4 address"},
    {{"--log-level", "debug"}, NULL},
    {{"--log-level", "debu"}, "--log-level: expected one of: error warn info debug, not 'debu'"},
    {{"--skey", "off"}, NULL},
    {{"--skey", "of"}, "--skey: expected one of: off on, not 'of'"},
    {{"--ping-s", "0"}, "--ping-s: expected seconds from 1 to 3600, not '0'"},
    {{"--ping-s", "30", "--idle-s", "30"}, "expected a ping-s below idle-s"},
    {{"--ping-s", "29", "--idle-s", "30"}, NULL},
    {{"--rate", "1000001"}, "--rate: expected a number from 0 to 1000000, not '1000001'"},
    {{"--room", "East: here: 5", "--room", "West"}, NULL},
    {{"--room", "East", "--room", "east: again"}, "--room: expected a room that is not there yet"},
    {{"--room", "Lobby"}, "none called Lobby"},
    {{"--trusted", "10.0.0.0/8", "--trusted", "0.0.0.0/0"}, NULL},
    {{"--trusted", "10.0.0.1/8"}, "--trusted: expected a network whose address is 0 behind its bits, as"},
    {{"--trusted", "10.0.0.0/8", "--trusted", "10.0.0.0"}, "--trusted: expected NETWORK/BITS, as 192.168.1.0/24,"},
    {{"--down", "Back\nskey = off"}, "--down"},
    {{"--room", "X: a\nrate = 0"}, "--room"},
    {{"--news", "/nowhere/news"}, "--news: /nowhere/news: No such file or directory"},
    {{"--news", "/"}, "--news: /: Is a directory"},
    {{"--config", "/nowhere/conf"}, "--config: /nowhere/conf: No such file or directory"},
    {{"--config", "/"}, "--config: /: Is a directory"},
    {{"--config"}, "--config: expected a value after it"},
    {{"--config", "/dev/null", "--hash-cost", "5"}, NULL},
};

TEST_LOOP(options, options_are_taken_or_refused_with_what_was_expected, 0, COUNT(lines))
{
    struct options o;
    catch_stderr();
    bool taken = read_options(&o, (char **)(uintptr_t)lines[_i].argument);
    const char *said = caught_stderr();
    if (!lines[_i].said) {
        ck_assert_msg(taken, "refused: %s", said);
        ck_assert_str_eq(said, "");
    } else {
        ck_assert_msg(!taken, "taken: %s %s", lines[_i].argument[0], lines[_i].argument[1]);
        ck_assert_msg(strstr(said, lines[_i].said) != NULL, "says: %s", said);
        ck_assert(strncmp(said, "nascar_server: ", 15) == 0);
        ck_assert_ptr_eq(strchr(said, '\n'), said + strlen(said) - 1); /* one line */
    }
}

TEST(options, options_have_the_last_word_over_the_file)
{
    struct options o;
    char path[64];
    write_text(temporary(path),
               "# a comment\n\n  max-clients = 5 \nhash-cost=6\r\nskey = off\nlobby-port\t=\t7\nroom = South");
    const char *arguments[] = {"--max-clients", "9", "--config", path, "--skey", "on", "--bind=192.0.2.7", NULL};
    ck_assert(read_options(&o, (char **)(uintptr_t)arguments));
    ck_assert_uint_eq(o.max_clients, 9);
    ck_assert_uint_eq(o.hash_cost, 6);
    ck_assert_uint_eq(o.config.lobby_port, 7);
    ck_assert_uint_eq(o.config.directory_port, 10600);
    ck_assert_uint_eq(o.config.buddy_port, 10899);
    ck_assert_uint_eq(o.max_accounts, 16384);
    ck_assert_uint_eq(o.bind_address, 0xC0000207);
    ck_assert_uint_eq(o.config.skey, 1);
    struct config config;
    config_read(&config, (const uint8_t *)o.core, (uint32_t)strlen(o.core));
    ck_assert_uint_eq(config.skey, 1);
    config_read(&config, (const uint8_t *)o.lists[ROOMS].lines, (uint32_t)strlen(o.lists[ROOMS].lines));
    ck_assert_uint_eq(config.room_count, 1);
    ck_assert_str_eq(config.room[0].name, "South");
    (void)unlink(path);
}

TEST(options, rooms_on_the_command_line_take_the_place_of_the_files)
{
    struct options o;
    char path[64];
    write_text(temporary(path), "room = South\nroom = North\n");
    const char *arguments[] = {"--room", "West: where it ends: 7", "--config", path, "--room", "Oval", NULL};
    ck_assert(read_options(&o, (char **)(uintptr_t)arguments));
    struct config config;
    config_read(&config, (const uint8_t *)o.lists[ROOMS].lines, (uint32_t)strlen(o.lists[ROOMS].lines));
    ck_assert_uint_eq(config.room_count, 2);
    ck_assert_str_eq(config.room[0].name, "West");
    ck_assert_str_eq(config.room[1].name, "Oval");
    (void)unlink(path);
}

/* ... and so do trusted networks. */
TEST(options, trusted_networks_on_the_command_line_take_the_place_of_the_files)
{
    struct options o;
    char path[64];
    write_text(temporary(path), "trusted = 10.0.0.0/8\n  trusted=192.0.2.0/24 \r\n");
    const char *typed[] = {"--trusted", "192.168.1.0/24", "--config", path, "--trusted=192.168.3.0/24", NULL};
    const char *untyped[] = {"--config", path, NULL};
    struct config config;
    for (int i = 0; i < 2; i++) {
        ck_assert(read_options(&o, (char **)(uintptr_t)(i == 0 ? typed : untyped)));
        config_read(&config, (const uint8_t *)o.lists[TRUSTED].lines, (uint32_t)strlen(o.lists[TRUSTED].lines));
        ck_assert_uint_eq(config.trusted.count, 2);
        ck_assert_uint_eq(config.trusted.network[0].address, i == 0 ? 0xC0A80100u : 0x0A000000u);
        ck_assert_uint_eq(config.trusted.network[1].address, i == 0 ? 0xC0A80300u : 0xC0000200u);
        ck_assert_uint_eq(config.trusted.network[1].bits, 24);
        ck_assert_uint_eq(o.config.trusted.count, 2);
    }
    (void)unlink(path);
}

TEST(options, there_are_at_most_32_trusted_networks)
{
    struct options o;
    char path[64], text[40 * 24] = "";
    for (uint32_t i = 0; i < 33; i++)
        (void)snprintf(text + strlen(text), 24, "trusted = 10.0.%u.0/24\n", (unsigned)i);
    const char *arguments[] = {"--config", temporary(path), NULL};
    write_text(path, text);
    catch_stderr();
    ck_assert(!read_options(&o, (char **)(uintptr_t)arguments));
    ck_assert_ptr_nonnull(strstr(caught_stderr(), ":33: trusted: expected at most 32 networks, not '10.0.32.0/24'"));
    *strstr(text, "trusted = 10.0.32.") = '#';
    write_text(path, text);
    ck_assert(read_options(&o, (char **)(uintptr_t)arguments));
    (void)unlink(path);
}

TEST(options, the_last_news_file_counts)
{
    struct options o;
    char path[64], old_news[64], new_news[64], text[128];
    write_text(temporary(old_news), "old news\n");
    write_text(temporary(new_news), "new news\r\n\n  the end");
    (void)snprintf(text, sizeof text, "news = %s\n", old_news);
    write_text(temporary(path), text);
    const char *arguments[] = {"--config", path, "--news", new_news, NULL};
    ck_assert(read_options(&o, (char **)(uintptr_t)arguments));
    struct config config;
    config_read(&config, (const uint8_t *)o.core, (uint32_t)strlen(o.core));
    ck_assert_str_eq(config.news, "new news\n\nthe end\n");
    (void)unlink(path);
    (void)unlink(old_news);
    (void)unlink(new_news);
}

/* Lines of a configuration file that are refused, and what is said. */
static const struct {
    const char *text, *said;
} files[] = {
    {"skey\n", ":1: expected `key = value`, not 'skey'"},
    {"\n#\n = on\n", ":3: "},
    {"skey = on\nskey = maybe\n", ":2: skey: expected one of: off on, not 'maybe'"},
    {"tyres = soft\n", ":1: tyres: unknown option"},
    {"config = other\n", ":1: config: only on the command line"},
    {"--skey = on\n", ":1: --skey: unknown option"},
    {"room = North: cold: 1\n", ":1: room: expected"},
    {"news = /nowhere/news\n", ":1: news: /nowhere/news: No such file or directory"},
    {HUNDRED HUNDRED " = 1\n", ":1: "},
    {"#" HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED "\n",
     ":1: expected at most 1022 characters"},
};

/* A path that is too long is an error, wherever it stands, and never another one. */
static const char *const path_options[] = {"data", "record", "news", "config"};

TEST_LOOP(options, a_path_is_taken_whole_or_not_at_all, 0, 8)
{
    static char path[LINE_CHARS + 2], option[LINE_CHARS + 32], expected[64];
    struct options o;
    const char *key = path_options[_i % 4];
    bool in_file = _i >= 4;
    char file[64];
    if (in_file && strcmp(key, "config") == 0)
        return; /* it cannot stand in a file */
    memset(path, 'x', sizeof path - 1);
    if (in_file) /* where a line has 1,022 characters */
        path[LINE_CHARS - 8] = 0;
    (void)snprintf(option, sizeof option, in_file ? "%s = ./%s\n" : "--%s=%s", key, path);
    const char *arguments[] = {in_file ? "--config" : option, in_file ? temporary(file) : NULL, NULL};
    if (in_file)
        write_text(file, option);
    catch_stderr();
    ck_assert(!read_options(&o, (char **)(uintptr_t)arguments));
    (void)snprintf(expected, sizeof expected, "--%s: expected at most 1022 characters, and it has 1023\n", key);
    const char *said = caught_stderr();
    ck_assert_msg(strstr(said, in_file ? ":1: expected at most 1022 characters" : expected) != NULL, "says: %s", said);
    if (in_file)
        (void)unlink(file);
}

TEST(options, a_long_path_is_named_whole_in_an_error)
{
    static char path[LINE_CHARS + 2];
    struct options o;
    char folder[] = "/tmp/nascar-long-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s", folder);
    while (strlen(path) < 900)
        strcat(path, "/.");
    strcat(path, "/conf");
    write_text(path, "skey = on\nskey = maybe\n");
    const char *arguments[] = {"--config", path, NULL};
    catch_stderr();
    ck_assert(!read_options(&o, (char **)(uintptr_t)arguments));
    ck_assert_ptr_nonnull(strstr(caught_stderr(), "/conf:2: skey: expected one of"));
    (void)unlink(path);
    (void)rmdir(folder);
}

/* Bytes of a file, as a configuration and as news, and what is said; NULL: they are taken. */
static const struct {
    const char *bytes;
    size_t size;
    const char *config_says, *news_says;
} texts[] = {
#define TEXT(text) text, sizeof text - 1
    {TEXT("\xEF\xBB\xBFskey = off\n"), NULL, NULL},
    {TEXT("\xEF\xBB\xBF"), NULL, NULL},
    {TEXT("\xEF\xBB\xBF# caf\xC3\xA9\r\nskey = off"), NULL, ":1: news-line: expected ASCII characters only"},
    {TEXT("skey = off\n\xEF\xBB\xBFskey = on\n"), ":2: expected a key in ASCII",
     ":2: news-line: expected ASCII characters only"},
    {TEXT("\xFF\xFEs\0k\0e\0y\0 \0=\0 \0o\0n\0"), ":1: expected plain text, and here is a NUL byte",
     ":1: expected plain text, and here is a NUL byte"},
    {TEXT("\xFE\xFF\0s\0k"), ":1: expected plain text, and here is a NUL byte", ":1: expected plain text"},
    {TEXT("skey = off\nskey = on\0\n"), ":2: expected plain text", ":2: expected plain text"},
    {TEXT("# all that follows is lost\0\nskey = off\n"), ":1: expected plain text", ":1: expected plain text"},
    {TEXT("\0"), ":1: expected plain text", ":1: expected plain text"},
    {TEXT("skey = off\rlan = off\r"), ":1: expected lines that end with LF", ":1: expected lines that end with LF"},
    {TEXT("down = Zur\xC3\xBC"
          "ck\n"),
     ":1: down: expected ASCII characters only", ":1: news-line: expected ASCII characters only"},
    {TEXT("\nroom = Caf\xE9\n"), ":2: room: expected ASCII characters only",
     ":2: news-line: expected ASCII characters only"},
    {TEXT("data = /home/j\xC3\xB6rg\n"), NULL, ":1: news-line: expected ASCII"}, /* a path is what the system says */
#undef TEXT
};

TEST_LOOP(options, a_file_that_is_not_plain_text_is_refused_by_its_line, 0, 2 * COUNT(texts))
{
    struct options o;
    char path[64], expected[256];
    bool news = _i % 2 == 1;
    const char *says = news ? texts[_i / 2].news_says : texts[_i / 2].config_says;
    FILE *file = fopen(temporary(path), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(texts[_i / 2].bytes, 1, texts[_i / 2].size, file), texts[_i / 2].size);
    ck_assert_int_eq(fclose(file), 0);
    const char *arguments[] = {news ? "--news" : "--config", path, NULL};
    catch_stderr();
    bool taken = read_options(&o, (char **)(uintptr_t)arguments);
    const char *said = caught_stderr();
    (void)snprintf(expected, sizeof expected, "nascar_server: %s%s", path, says ? says : "");
    ck_assert_msg(taken == !says && (!says || strncmp(said, expected, strlen(expected)) == 0), "says: %s", said);
    if (!says && !news && texts[_i / 2].size > 3 && strstr(texts[_i / 2].bytes, "skey"))
        ck_assert_uint_eq(o.config.skey, 0);
    (void)unlink(path);
}

/* A line of a configuration, and the text for consoles that are turned away; NULL: refused. */
static const char *const quoted[][2] = {
    {"down = \"My server\"", "My server"},
    {"down = 'My server'", "My server"},
    {"down=\"My server\"\r", "My server"},
    {"down = \"it's down\"", "it's down"},
    {"down = 'say \"please\"'", "say \"please\""},
    {"down = 'tis the season", "'tis the season"},
    {"down = back at \"8\"", "back at \"8\""},
    {"down = \"\"", ""},
    {"down = \"My server", NULL},
    {"down = \"", NULL},
    {"down = \"My\" server", NULL},
    {"down = \"My\" and \"yours\"", NULL},
};

TEST_LOOP(options, quotes_stand_round_a_value, 0, COUNT(quoted))
{
    struct options o;
    char path[64];
    write_text(temporary(path), quoted[_i][0]);
    const char *arguments[] = {"--config", path, NULL};
    catch_stderr();
    bool taken = read_options(&o, (char **)(uintptr_t)arguments);
    const char *said = caught_stderr();
    ck_assert_msg(taken == (quoted[_i][1] != NULL), "says: %s", said);
    if (taken)
        ck_assert_str_eq(o.config.down, quoted[_i][1]);
    else
        ck_assert_ptr_nonnull(strstr(said, ":1: down: expected its quotes round the whole value"));
    (void)unlink(path);
}

TEST(options, quotes_stand_round_numbers_words_and_paths_too)
{
    struct options o;
    char path[64];
    write_text(temporary(path),
               "max-clients = \"5\"\nskey = 'off'\ndata = \" my data \"\nroom = 'East: it is: 7'\nroom = \"Oval\"\n");
    const char *arguments[] = {"--config", path, NULL};
    ck_assert(read_options(&o, (char **)(uintptr_t)arguments));
    ck_assert_uint_eq(o.max_clients, 5);
    ck_assert_uint_eq(o.config.skey, 0);
    ck_assert_str_eq(o.data, " my data ");
    ck_assert_str_eq(o.config.room[0].description, "it is");
    ck_assert_str_eq(o.config.room[1].name, "Oval");
    (void)unlink(path);
}

TEST_LOOP(options, files_are_refused_with_the_line_and_what_was_expected, 0, COUNT(files))
{
    struct options o;
    char path[64], place[512];
    write_text(temporary(path), files[_i].text);
    const char *arguments[] = {"--config", path, NULL};
    catch_stderr();
    bool taken = read_options(&o, (char **)(uintptr_t)arguments);
    const char *said = caught_stderr();
    (void)snprintf(place, sizeof place, "nascar_server: %s%s", path, files[_i].said);
    ck_assert(!taken);
    ck_assert_msg(strncmp(said, place, strlen(place)) == 0, "says: %s", said);
    (void)unlink(path);
}

TEST(options, a_configuration_of_any_length_is_taken_whole_or_refused)
{
    struct options *o = calloc(1, sizeof *o);
    static char option[4000][16];
    static const char *arguments[4001];
    ck_assert_ptr_nonnull(o);
    for (int i = 0; i < 4000; i++) { /* a file has it once only */
        (void)snprintf(option[i], sizeof option[i], "--ping-s=%d", 1 + i % 59);
        arguments[i] = option[i];
    }
    catch_stderr();
    bool taken = read_options(o, (char **)(uintptr_t)arguments);
    const char *said = caught_stderr();
    ck_assert(!taken);
    ck_assert_ptr_nonnull(strstr(said, "the configuration is longer than"));
    free(o);
}

/* ---- ctl --------------------------------------------------------------------------- */

GROUP(ctl, NULL, NULL, 30);

/* The first form of a command. */
static struct control_command control_command(const char *name)
{
    struct control_command command;
    const char *at = control_table;
    do
        ck_assert(next_command(&at, &command));
    while (strcmp(command.field[NAME], name) != 0);
    return command;
}

/* What the server answers `ctl passwd`, and what a script sees of it. */
static int exit_status(const char *code, const char *text, const char **said)
{
    struct outgoing request, answer;
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    frame_begin(&answer, "cpwd", code ? code : "");
    if (text)
        put_text(&answer, tag_TEXT, text);
    frame_end(&answer);
    if (code)
        ck_assert_int_eq(send(ends[1], answer.bytes, answer.size, 0), (ssize_t)answer.size);
    (void)shutdown(ends[1], SHUT_WR);
    frame_begin(&request, "cpwd", "");
    frame_end(&request);
    catch_stderr();
    struct typed typed = {.name = "passwd"};
    struct control_command command = control_command("passwd");
    struct answer got = {.command = &command};
    int status = control_talk(ends[0], &typed, &got, &request, system_mono_ms(NULL) + CONTROL_MS);
    *said = caught_stderr();
    (void)close(ends[0]);
    (void)close(ends[1]);
    return status;
}

TEST(ctl, a_refusal_is_an_exit_status_and_a_line)
{
    const char *said = NULL;
    ck_assert_int_eq(exit_status("", NULL, &said), 0);
    ck_assert_str_eq(said, "");
    ck_assert_int_eq(exit_status("inam", "expected a name", &said), 1);
    ck_assert_str_eq(said, "nascar_server: ctl: expected a name\n");
    ck_assert_int_eq(exit_status("inam", NULL, &said), 1);
    ck_assert_str_eq(said, "nascar_server: ctl: refused (inam)\n");
    ck_assert_int_eq(exit_status("miss", NULL, &said), 1);
    ck_assert_str_eq(said,
                     "nascar_server: ctl: the server that runs does not know this command; is it an older one?\n");
    ck_assert_int_eq(exit_status("miss", "\x1b[2J\xe9\\", &said), 1);
    ck_assert_str_eq(said, "nascar_server: ctl: \\x1b[2J\\xe9\\x5c\n");
    ck_assert_int_eq(exit_status(NULL, NULL, &said), 1); /* it is gone */
    ck_assert_str_eq(said, "nascar_server: ctl: the server has hung up\n");
}

/* Waits until the other side has asked, and what is typed is not shown. */
static void wait_for_prompt(int said, const char *prompt, int terminal)
{
    char text[256];
    size_t n = 0;
    struct termios mode;
    do {
        ck_assert_uint_lt(n, sizeof text - 1);
        ck_assert_int_eq(read(said, text + n, 1), 1);
        text[++n] = 0;
    } while (!strstr(text, prompt));
    while (tcgetattr(terminal, &mode) != 0 || mode.c_lflag & ECHO)
        (void)usleep(1000);
}

/* Does `ctl passwd` take what is typed on a terminal, twice? */
static bool takes_typed(const char *first, const char *second)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY), said[2], status = 0;
    ck_assert(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0 && pipe(said) == 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        char password[64];
        int ours = open(ptsname(terminal), O_RDWR | O_NOCTTY);
        if (ours < 0 || dup2(ours, STDIN_FILENO) < 0 || dup2(said[1], STDERR_FILENO) < 0)
            _exit(9);
        _exit(ask_password(password, sizeof password) != NULL || strcmp(password, first) != 0);
    }
    (void)close(said[1]);
    const char *words[] = {first, second}, *prompts[] = {"New password: ", "Once more: "};
    for (int i = 0; i < 2; i++) {
        wait_for_prompt(said[0], prompts[i], terminal);
        ck_assert_int_eq(write(terminal, words[i], strlen(words[i])), (ssize_t)strlen(words[i]));
        ck_assert_int_eq(write(terminal, "\n", 1), 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    (void)close(said[0]);
    (void)close(terminal);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

TEST(ctl, a_password_on_a_terminal_is_typed_twice)
{
    ck_assert(takes_typed("secret", "secret"));
    ck_assert(!takes_typed("secret", "secrets"));
    ck_assert(!takes_typed("secret", "secre"));
}

/* Others on the machine may not ask, and a relative --config is found again at a reload. */
TEST(ctl, the_socket_is_its_owners_and_the_server_stays_where_it_was)
{
    static struct shell sh;
    char folder[] = "/tmp/nascar-ctl-XXXXXX", before[4096], after[4096];
    struct stat about;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    sh.sys = &system_calls;
    sh.folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(sh.folder, 0);
    ck_assert_ptr_nonnull(getcwd(before, sizeof before));
    mode_t mask = umask(022);
    int fd = system_control(NULL, sh.folder, NONE);
    ck_assert_uint_eq(umask(mask), 022);
    ck_assert_int_ge(fd, 0);
    ck_assert_ptr_nonnull(getcwd(after, sizeof after));
    ck_assert_str_eq(before, after);
    ck_assert_int_eq(fstatat(sh.folder, "control", &about, 0), 0);
    ck_assert_uint_eq(about.st_mode & 0777, 0600);
    (void)unlinkat(sh.folder, "control", 0);
    (void)close(fd);
    (void)close(sh.folder);
    (void)rmdir(folder);
}

static const struct {
    const char *argument[6];
    int status;
    const char *said;
} typed[] = {
    {{NULL}, 2, "ctl: expected a command; the commands are\n"},
    {{"--json"}, 2, "ctl: expected a command; the commands are\n"},
    {{"fly"}, 2, "ctl: unknown command fly; the commands are\n"},
    {{"\x1b[2J"}, 2, "ctl: unknown command \\x1b[2J; the commands are\n"},
    {{"who", "me"}, 2, "ctl: expected something else with who; it is used as\n  who "},
    {{"passwd"}, 2, "ctl: expected something else with passwd; it is used as\n  passwd NAME "},
    {{"passwd", "Ann", "Bob"}, 2, "ctl: expected something else with passwd; it is used as\n  passwd NAME "},
    {{"--tyres=soft", "who"}, 2, "ctl: unknown option --tyres=soft; the commands are\n"},
    {{"who", "--tyres"}, 2, "ctl: unknown option --tyres; it is used as\n  who "},
    {{"who", "--for", "7d"}, 2, "ctl: expected something else with who; it is used as\n"},
    {{"ban", "Ann", "--for"}, 2, "ctl: expected a value after --for; it is used as\n"},
    {{"ban", "Ann", "--for=7"},
     2,
     "expected a time as 30m, 12h or 7d after --for, and not 7; it is used as\n  ban NAME"},
    {{"ban", "Ann", "--for=0d"}, 2, "after --for, and not 0d;"},
    {{"ban", "Ann", "--for=-1d"}, 2, "after --for, and not -1d;"},
    {{"ban", "Ann", "--for=1y"}, 2, "after --for, and not 1y;"},
    {{"ban", "Ann", "--for=1dd"}, 2, "after --for, and not 1dd;"},
    {{"ban", "Ann", "--for="}, 2, "after --for, and not ;"},
    {{"ban", "Ann", "--for=9999999999s"}, 2, "after --for, and not 9999999999s;"},
    {{"ban", "Ann", "--for=2000w"}, 2, "after --for, and not 2000w;"},
    {{"mute", "--for=1h", "--for=2h", "Ann"}, 2, "this stands there twice: --for=2h; it is used as\n"},
    {{"who", "--json=yes"}, 2, "there is no value in --json=yes; it is used as\n"},
    {{"kick", "Ann", "rude", "--reason=bad"}, 2, "ctl: expected something else with kick; it is used as\n"},
    {{"kick"}, 2, "ctl: expected something else with kick; it is used as\n"},
    {{"reports", "1", "--close=2"}, 2, "ctl: expected something else with reports; it is used as\n  reports "},
    {{"news", "--clear", "-"}, 2, "ctl: expected something else with news; it is used as\n  news "},
    {{"down", ""}, 2, "ctl: expected something else with down; it is used as\n  down off "},
    {{"say", "", "hi"}, 2, "ctl: expected something else with say; it is used as\n  say TEXT "},
    {{"down"}, 2, "ctl: expected something else with down; it is used as\n  down off "},
    {{"say", "--", "--data", "/nowhere"}, 1, "no server runs on the folder nascar-data"},
    {{"who", "--data", "/nowhere"}, 1, "/nowhere"},
    {{"--data", "/nowhere", "who"}, 1, "/nowhere"},
    {{"--data=/nowhere", "stats"}, 1, "/nowhere"},
};

TEST_LOOP(ctl, what_is_no_command_is_told_apart_from_what_fails, 0, COUNT(typed))
{
    catch_stderr();
    int status = control((char **)(uintptr_t)typed[_i].argument);
    const char *said = caught_stderr();
    ck_assert_int_eq(status, typed[_i].status);
    ck_assert_msg(strstr(said, typed[_i].said) != NULL, "says: %s", said);
}

/* ---- Passwords ---------------------------------------------------------------------- */

GROUP(passwords, NULL, NULL, 30);

TEST_LOOP(passwords, settings_are_bcrypts_own, 0, 16)
{
    uint8_t salt[16];
    char setting[32], first[128], again[128], other[128];
    for (size_t i = 0; i < sizeof salt; i++)
        salt[i] = (uint8_t)(i * 37 + (size_t)_i * 101);
    write_setting(setting, 4, salt);
    ck_assert_uint_eq(strlen(setting), 29);
    ck_assert(strncmp(setting, "$2b$04$", 7) == 0);
    ck_assert(system_hash("open wheel", setting, first, sizeof first));
    ck_assert(system_hash("open wheel", setting, again, sizeof again));
    ck_assert_str_eq(first, again);
    ck_assert_uint_eq(strlen(first), 60);
    ck_assert(strncmp(first, setting, 29) == 0);                      /* crypt took each letter of the salt as it was */
    ck_assert(system_hash("open wheel", first, again, sizeof again)); /* a hash is a setting */
    ck_assert_str_eq(first, again);
    ck_assert(system_hash("open wheels", setting, other, sizeof other));
    ck_assert_str_ne(first, other);
    salt[_i] ^= 1; /* every bit counts */
    write_setting(setting, 4, salt);
    ck_assert(system_hash("open wheel", setting, other, sizeof other));
    ck_assert_str_ne(first, other);
}

TEST(passwords, the_default_cost_is_10)
{
    struct options o;
    const uint8_t salt[16] = {0};
    char setting[32], hash[128];
    options_defaults(&o);
    write_setting(setting, o.hash_cost, salt);
    ck_assert_str_eq(setting, "$2b$10$......................");
    ck_assert(system_hash("U*U", setting, hash, sizeof hash));
    ck_assert(strncmp(hash, "$2b$10$......................", 29) == 0);
}

static const char *const bad_settings[] = {
    "",
    "ab",
    "*0",
    "*1",
    "$1$saltsalt",
    "$5$saltsalt",
    "$6$saltsalt$",
    "$y$j9T$saltsalt",
    "$2$10$......................",
    "$2x$04$......................",
    "_J9..rasm",
    "$2b$",
    "$2b$04$",
    "$2b$04$short",
    "$2b$99$......................",
    "$2b$03$......................",
    "$2b$04-......................",
    "plain text",
    "$2B$04$......................",
};

TEST_LOOP(passwords, other_settings_give_no_hash, 0, COUNT(bad_settings))
{
    char hash[128] = "as it was";
    ck_assert(!system_hash("open wheel", bad_settings[_i], hash, sizeof hash));
    ck_assert_str_eq(hash, "as it was");
}

TEST(passwords, a_hash_that_does_not_fit_is_none)
{
    char hash[60] = "as it was";
    ck_assert(!system_hash("open wheel", "$2b$04$......................", hash, sizeof hash));
    ck_assert_str_eq(hash, "as it was");
}

/* ---- The calls that it really makes -------------------------------------------------- */

GROUP(calls, NULL, NULL, 0);

TEST(calls, real_sockets_say_who_is_there_and_end_without_a_reset)
{
    struct options o;
    struct sockaddr_in to = {.sin_family = AF_INET}, own = to;
    socklen_t size = sizeof own;
    uint32_t peer = 0, local = 0;
    char bytes[64];
    options_defaults(&o);
    o.bind_address = 0x7F000001;
    uint32_t port = 0;
    int listener = open_port(&o, 1, &port);
    ck_assert_int_ge(listener, 0);
    ck_assert_uint_ne(port, 0);
    ck_assert_int_eq(system_accept(NULL, listener, &peer, &local), -1);
    ck_assert(errno == EAGAIN || errno == EWOULDBLOCK);

    int client = socket(AF_INET, SOCK_STREAM, 0);
    own.sin_addr.s_addr = htonl(0x7F000005);
    to.sin_addr.s_addr = htonl(0x7F000001);
    to.sin_port = htons((uint16_t)port);
    ck_assert_int_eq(bind(client, (const struct sockaddr *)&own, size), 0);
    ck_assert_int_eq(connect(client, (const struct sockaddr *)&to, sizeof to), 0);
    int fd = system_accept(NULL, listener, &peer, &local);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_eq(peer, 0x7F000005);
    ck_assert_uint_eq(local, 0x7F000001);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    int on = 0;
    socklen_t on_bytes = sizeof on;
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &on_bytes), 0);
    ck_assert_int_ne(on, 0); /* a line of chat does not wait for an acknowledgement of the one before */
    ck_assert_int_eq(system_read(NULL, fd, bytes, sizeof bytes), -1);

    ck_assert_int_eq(send(client, "unread", 6, 0), 6);
    ck_assert_int_eq(system_write(NULL, fd, "the last word", 13), 13);
    system_close(NULL, fd);
    int error = -1;
    size = sizeof error;
    ck_assert_int_eq(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &size), 0);
    ck_assert_int_eq(error, 0); /* not even behind the end, where it may take away what has not been read */
    ck_assert_int_eq(recv(client, bytes, sizeof bytes, 0), 13);
    ck_assert_int_eq(recv(client, bytes, sizeof bytes, 0), 0); /* the end, and no reset */
    (void)close(client);
    (void)close(listener);
}

TEST(calls, writing_to_who_is_gone_is_an_error_and_no_signal)
{
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    (void)close(pair[1]);
    (void)signal(SIGPIPE, SIG_DFL);
    ck_assert_int_eq(system_write(NULL, pair[0], "x", 1), -1);
    ck_assert_int_eq(errno, EPIPE);
    (void)close(pair[0]);
}

/* Others have the pipe open, too, and wait in it if they like. */
TEST(calls, a_full_pipe_is_not_waited_for_and_stays_as_it_was)
{
    int ends[2];
    char text[4096];
    size_t taken = 0, got = 0;
    ssize_t n;
    memset(text, 'x', sizeof text);
    ck_assert_int_eq(pipe(ends), 0);
    for (int i = 0; i < 100; i++)
        taken += (n = write_now(ends[1], text, 1000)) > 0 ? (size_t)n : 0;
    ck_assert_int_eq(n, -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    (void)close(ends[1]);
    while ((n = read(ends[0], text, sizeof text)) > 0)
        got += (size_t)n;
    ck_assert_uint_eq(got, taken);
    (void)close(ends[0]);
}

/* Which of the first three are closed when the process begins; in a process of its own. */
TEST_LOOP(calls, the_first_three_streams_are_taken, 0, 8)
{
    int status = 0;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        char c = 0;
        for (int fd = 0; fd < 3; fd++)
            if (_i >> fd & 1)
                (void)close(fd);
        bool good = take_streams();
        int next = dup(0);
        for (int fd = 0; fd < 3; fd++) { /* using it fails as if it were closed */
            if (_i >> fd & 1)
                good = good && (fd == 0 ? read(fd, &c, 1) : write(fd, "x", 1)) == -1 && errno == EBADF;
        }
        _exit(good && next > 2 ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What is kept is nobody else's to read, and a fresh file begins empty. */
TEST(calls, a_fresh_file_is_empty_and_its_owners)
{
    char folder[] = "/tmp/nascar-file-XXXXXX";
    struct stat about;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    int at = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(at, 0);
    mode_t mask = umask(0);
    for (int i = 0; i < 2; i++) {
        int fd = system_open(NULL, at, "journal", true);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fstat(fd, &about), 0);
        ck_assert_uint_eq(about.st_mode & 0777, 0600);
        ck_assert_int_eq(about.st_size, 0);
        ck_assert(system_append(NULL, fd, "what was", 8));
        (void)close(fd);
    }
    (void)umask(mask);
    system_remove(NULL, at, "journal");
    (void)close(at);
    (void)rmdir(folder);
}

/* A helper that takes its time holds up nobody. */
TEST(calls, the_helper_is_never_waited_for)
{
    int process = 0, fd = system_helper(NULL, &process);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_gt(process, 0);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    (void)close(fd); /* which ends it */
}

TEST(calls, entropy_and_clocks_are_there)
{
    uint8_t one[NASCAR_ENTROPY_BYTES] = {0}, two[NASCAR_ENTROPY_BYTES] = {0};
    ck_assert(system_entropy(NULL, one, sizeof one));
    ck_assert(system_entropy(NULL, two, sizeof two));
    ck_assert_int_ne(memcmp(one, two, 16), 0);
    ck_assert_int_ne(memcmp(one + sizeof one - 16, two + sizeof two - 16, 16), 0);
    uint64_t before_ms = system_mono_ms(NULL);
    ck_assert_uint_gt(before_ms, 0);
    ck_assert_uint_ge(system_mono_ms(NULL), before_ms);
    ck_assert_int_gt(system_wall_s(NULL), 1577836800); /* 2020 */
}

TEST(calls, signals_come_one_by_one)
{
    sigset_t before;
    bool hang_up = false;
    ck_assert_int_eq(sigprocmask(SIG_SETMASK, NULL, &before), 0);
    int fd = open_signals();
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_eq(system_signal(NULL, fd, &hang_up), 0);
    ck_assert_int_eq(raise(SIGHUP), 0);
    ck_assert_int_eq(raise(SIGPIPE), 0); /* nothing */
    ck_assert_uint_eq(system_signal(NULL, fd, &hang_up), SIGHUP);
    ck_assert_uint_eq(system_signal(NULL, fd, &hang_up), 0);
    (void)close(fd);
    ck_assert_int_eq(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}

/* -------------------------------------------------------------------------------------- */
