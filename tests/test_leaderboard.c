/* The leaderboard (PROTOCOL 5), and everywhere else that figures are shown.
 *
 * SPDX-License-Identifier: MIT */
#include "races.h"

/* ---- The leaderboard ---------------------------------------------------- */

GROUP(the_leaderboard, open_world, close_world, 0);

/* A leaderboard as it came, checked row by row: names with a space between. */
static const char *board(struct raw *r, const char *request, const char *reply)
{
    char *text = page();
    raw_forget(r);
    say(r, "snap", request);
    const struct got *g = frame_at(r, 0);
    ck_assert_str_eq(g->kind, "snap"); /* the reply first */
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "%s\nSEQN=%d\nSTATUS=1", reply, (int)r->count - 1);
    int32_t start = got_number(g, "START"), points = 8191;
    for (size_t i = 1; i < r->count; i++) {
        int32_t longs[FIGURES];
        g = frame_at(r, i);
        ck_assert_str_eq(g->kind, "+snp");
        SAYS(g, "R=%d\nP=*\nN=*\nS=*", (int)start + (int)i);
        ck_assert_int_le(got_number(g, "P"), points);
        points = got_number(g, "P");
        ck_assert_uint_eq(console_read_longs(console_find(got_payload(g), "S"), longs, FIGURES), FIGURES);
        ck_assert_int_eq(longs[RATING], points);
        ck_assert_int_ge(longs[RACES], 1);
        ck_assert_uint_lt(strlen(text), 8000);
        (void)snprintf(text + strlen(text), 32, "%s%.15s", i == 1 ? "" : " ", got_text(g, "N"));
    }
    return text;
}

/* Ann 1516, Cid and Dan 1500, Bob 1484; Eve has not raced. Dan was there first,
 * but ties go by name. */
static void small_board(void)
{
    struct raw *dan = player(w, "Dan", "");
    take_places("");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    SUCCEEDS(report(cid, race(cid, dan, false), "DISCTIME0=1\nDISCTIME1=1\n"));
    back(ann, bob);
    back(cid, dan);
    (void)player(w, "Eve", "");
}

TEST(the_leaderboard, the_leaderboard_tells_the_best_first)
{
    small_board();
    for (int i = 0; i < 2; i++) {
        ck_assert_str_eq(board(cid, "INDEX=0\nCHAN=1\nFIND=\nRANGE=10\n", "CHAN=1\nINDEX=0\nRANGE=10\nSTART=0"),
                         "Ann Cid Dan Bob");
        SAYS(frame_at(cid, 1), "R=1\nP=1516\nN=Ann\nS=1,1,0,0,5ec,7,1");
        SAYS(frame_at(cid, 2), "R=2\nP=1500\nN=Cid\nS=*");
        SAYS(frame_at(cid, 3), "R=3\nP=1500\nN=Dan\nS=*");
        SAYS(frame_at(cid, 4), "R=4\nP=1484\nN=Bob\nS=1,0,1,0,5cc,3,2");
        come_back();
    }
}

TEST(the_leaderboard, a_part_of_the_leaderboard_can_be_asked)
{
    small_board();
    ck_assert_str_eq(board(cid, "INDEX=1\nSTART=1\nCHAN=7\nRANGE=2\n", "CHAN=7\nINDEX=1\nRANGE=2\nSTART=1"), "Cid Dan");
    ck_assert_str_eq(board(cid, "INDEX=0\nSTART=3\nCHAN=0\nRANGE=100\n", "CHAN=0\nINDEX=0\nRANGE=100\nSTART=3"), "Bob");
    ck_assert_str_eq(board(cid, "INDEX=7\nSTART=2\nCHAN=-1\nRANGE=1\n", "CHAN=-1\nINDEX=7\nRANGE=1\nSTART=2"), "Dan");
    ck_assert_str_eq(board(cid, "INDEX=2\nCHAN=1\n", "CHAN=1\nINDEX=2\nRANGE=10\nSTART=0"), "Ann Cid Dan Bob");
    ck_assert_str_eq(board(cid, "CHAN=1\n", "CHAN=1\nINDEX=*\nRANGE=10\nSTART=0"), "Ann Cid Dan Bob");
    ck_assert_str_eq(board(cid, "", "CHAN=*\nINDEX=*\nRANGE=10\nSTART=0"), "Ann Cid Dan Bob");
    ck_assert_str_eq(board(cid, "CHAN=1\nSTART=4\nRANGE=3\n", "CHAN=1\nINDEX=*\nRANGE=3\nSTART=*"), "");
    ck_assert_str_eq(board(cid, "CHAN=1\nSTART=2147483647\nRANGE=3\n", "CHAN=1\nINDEX=*\nRANGE=3\nSTART=*"), "");
    ck_assert_str_eq(board(cid, "CHAN=1\nFIND=Dan\nRANGE=10\n", "CHAN=1\nINDEX=*\nRANGE=10\nSTART=2"), "Dan Bob");
    ck_assert_str_eq(board(cid, "CHAN=1\nFIND=cID\nRANGE=1\nINDEX=3\nSTART=3\n", "CHAN=1\nINDEX=*\nRANGE=1\nSTART=1"),
                     "Cid");
    ck_assert_str_eq(board(cid, "CHAN=1\nFIND=Ann\nRANGE=2\n", "CHAN=1\nINDEX=*\nRANGE=2\nSTART=0"), "Ann Cid");
}

TEST_LOOP(the_leaderboard, who_is_not_on_the_leaderboard_is_not_found, 0, 5)
{
    static const char *const names[] = {"Eve", "Nobody", "A nn", "A.nn", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    char payload[128];
    small_board();
    raw_forget(cid);
    (void)snprintf(payload, sizeof payload, "INDEX=0\nCHAN=4\nFIND=%s\nRANGE=10\n", names[_i]);
    say(cid, "snap", payload);
    GOT(cid, "snap"); /* no failure: the game asks for its own place */
    SUCCEEDS(frame_at(cid, 0));
    SAYS(frame_at(cid, 0), "CHAN=4\nINDEX=*\nRANGE=10\nSTART=*\nSEQN=0\nSTATUS=1");
}

TEST(the_leaderboard, an_empty_leaderboard_has_no_rows)
{
    take_places("");
    ck_assert_str_eq(board(cid, "INDEX=0\nCHAN=1\nFIND=\nRANGE=10\n", "CHAN=1\nINDEX=0\nRANGE=10\nSTART=0"), "");
    say(cid, "sele", "RANKS=0\n");
    raw_forget(cid);
    say(cid, "sele", "RANKS=50\n");
    GOT(cid, "sele +rnk +pop");
    SAYS(frame_at(cid, 1), "D=-2");
}

TEST_LOOP(the_leaderboard, strange_numbers_in_a_request_for_the_leaderboard, 0, 10)
{
    static const char *const bad[] = {"INDEX=-1\nCHAN=1\n",
                                      "RANGE=-1\nCHAN=1\n",
                                      "RANGE=0\nCHAN=1\n",
                                      "INDEX=x\nRANGE=y\nCHAN=z\n",
                                      "INDEX=4294967295\nRANGE=4294967295\nCHAN=4294967295\n",
                                      "RANGE=99999999999999\n",
                                      "INDEX=2147483647\nRANGE=2147483647\n",
                                      "INDEX=-2147483648\nRANGE=5\n",
                                      "START=-1\nRANGE=5\n",
                                      "START=4294967295\nRANGE=4294967295\n"};
    small_board();
    raw_forget(cid);
    say(cid, "snap", bad[_i]);
    const struct got *g = frame_at(cid, 0);
    ck_assert_str_eq(g->kind, "snap");
    ck_assert((g->code == 0) == (got_status(g) == 1));
    ck_assert_uint_le(frames_of(cid, "+snp", NULL), 4);
    if (g->code == 0)
        ck_assert_int_eq(got_number(g, "SEQN"), (int32_t)cid->count - 1);
}

TEST(the_leaderboard, two_leaderboards_in_one_segment_come_one_after_the_other)
{
    small_board();
    raw_forget(cid);
    raw_send(cid, "snap", "INDEX=0\nCHAN=1\nRANGE=2\n");
    raw_send(cid, "snap", "INDEX=0\nSTART=1\nCHAN=2\nRANGE=2\n");
    GOT(cid, "snap +snp +snp snap +snp +snp");
    SAYS(frame_at(cid, 2), "R=2\nP=1500\nN=Cid\nS=*");
    SAYS(frame_at(cid, 5), "R=3\nP=1500\nN=Dan\nS=*");
}

/* 120 who have raced: sixty at 1516, then sixty at 1484. Names in their order. */
static char many[120][16];

static void many_ranked(void)
{
    static struct raw *links[30];
    int count = 0;
    w->options.no_check = true; /* else it takes a second */
    for (int i = 0; i < COUNT(links); i++) {
        char name[16], payload[32];
        (void)snprintf(name, sizeof name, "Driver%02d", i);
        links[i] = player(w, name, "");
        (void)snprintf(many[count++], sizeof many[0], "%s", name);
        for (int k = 1; k < 4; k++) {
            (void)snprintf(many[count], sizeof many[0], "%.8s_%d", name, k);
            (void)snprintf(payload, sizeof payload, "PERS=%.15s\n", many[count++]);
            SUCCEEDS(raw_ask(links[i], "cper", payload));
        }
    }
    for (int i = 0; i < COUNT(links); i += 2) {
        for (int k = 0; k < 4; k++) {
            char payload[32];
            for (int side = 0; side < 2; side++) {
                (void)snprintf(links[i + side]->name, sizeof links[0]->name, "%.15s", many[4 * (i + side) + k]);
                (void)snprintf(payload, sizeof payload, "PERS=%.15s\n", links[i + side]->name);
                SUCCEEDS(raw_ask(links[i + side], "pers", payload));
            }
            SUCCEEDS(report(links[i], race(links[i], links[i + 1], false), ""));
        }
        raw_close(links[i]);
        raw_close(links[i + 1]);
    }
    w->options.no_check = false;
}

/* The name of a place there. */
static const char *name_of_place(int place)
{
    int pair = (place - 1) % 60 / 4, k = (place - 1) % 4;
    return many[8 * pair + k + (place <= 60 ? 0 : 4)];
}

TEST(the_leaderboard, a_long_leaderboard_comes_in_parts_of_100)
{
    many_ranked();
    take_places("");
    for (int turn = 0; turn < 2; turn++) {
        for (int from = 0; from < 140; from += 20) {
            char request[64], reply[64];
            (void)snprintf(request, sizeof request, "INDEX=0\nSTART=%d\nCHAN=1\nRANGE=%d\n", from,
                           from == 0 ? 1000 : 100);
            (void)snprintf(reply, sizeof reply, "CHAN=1\nINDEX=0\nRANGE=*\nSTART=%d", from);
            (void)board(cid, request, reply);
            int rows = from > 120 ? 0 : 120 - from > 100 ? 100 : 120 - from;
            ck_assert_uint_eq(cid->count, (size_t)rows + 1);
            for (int i = 0; i < rows; i++) {
                SAYS(frame_at(cid, (size_t)i + 1), "R=%d\nP=%d\nN=%s\nS=*", from + i + 1, from + i < 60 ? 1516 : 1484,
                     name_of_place(from + i + 1));
            }
        }
        come_back();
    }
    raw_window(cid, 0); /* and however slowly it is read */
    raw_forget(cid);
    raw_send(cid, "snap", "INDEX=0\nCHAN=1\nRANGE=100\n");
    raw_send(cid, "snap", "INDEX=0\nSTART=100\nCHAN=2\nRANGE=100\n"); /* the next one waits for the rows of the last */
    world_settle(w);
    for (int i = 0; i < 40; i++)
        raw_window(cid, 100);
    raw_window(cid, SIZE_MAX);
    ck_assert_uint_eq(cid->count, 122);
    for (int i = 0; i < 120; i++)
        ck_assert_str_eq(got_text(frame_at(cid, (size_t)i + (i < 100 ? 1 : 2)), "N"), name_of_place(i + 1));
    ck_assert_int_eq(got_number(frame_at(cid, 101), "CHAN"), 2);
}

TEST(the_leaderboard, no_place_is_over_13_bits)
{
    char payload[256];
    world_free(w);
    struct world_options options = {.limits = {8, 2100, 8, 8, 8, 8, 0}, .no_check = true};
    w = world_new(&options);
    for (int i = 0; i < 2060; i++) {
        (void)snprintf(payload, sizeof payload,
                       "CREATED=1\nLAST=1\nBAN=0\nNAME=R%d\nHASH=x\nPERSONAS=R%d,R%d_1,R%d_2,R%d_3\n", i, i, i, i, i);
        keep("acct", payload);
        for (int k = 0; k < 4; k++) {
            (void)snprintf(payload, sizeof payload,
                           k == 0 ? "P1=1,1,0,0,%d,0,1\nPERS=R%d\n" : "P1=1,1,0,0,%d,0,1\nPERS=R%d_%d\n",
                           k == 0 && i == 0 ? 8191 : 1500, i, k);
            keep("stat", payload);
        }
    }
    ann = player(w, "Ann", "");
    raw_forget(ann);
    say(ann, "snap", "INDEX=8180\nCHAN=1\nRANGE=100\n");
    ck_assert_uint_ge(ann->count, 12);
    for (size_t i = 1; i < ann->count; i++)
        ck_assert_int_lt(got_number(frame_at(ann, i), "R"), 8192);
    const struct got *g = raw_ask(ann, "user", "PERS=R999_3\n"); /* the last one */
    SUCCEEDS(g);
    ck_assert_int_eq(got_number(g, "RANK"), 0);
    ck_assert_str_eq(board(ann, "INDEX=0\nCHAN=1\nRANGE=1\n", "CHAN=1\nINDEX=0\nRANGE=1\nSTART=0"), "R0");
    SAYS(frame_at(ann, 1), "R=1\nP=8191\nN=R0\nS=1,1,0,0,1fff,0,1");
}

TEST(the_leaderboard, sele_brings_the_top_n)
{
    static const int wanted[] = {1, 3, 50, 100, 101, 1000};
    char payload[32];
    many_ranked();
    take_places("");
    for (int i = 0; i < COUNT(wanted); i++) {
        size_t rows = wanted[i] > 100 ? 100 : (size_t)wanted[i];
        SUCCEEDS(raw_ask(cid, "sele", "RANKS=0\n"));
        world_settle(w);
        raw_forget(cid);
        (void)snprintf(payload, sizeof payload, "RANKS=%d\n", wanted[i]);
        say(cid, "sele", payload);
        ck_assert_uint_eq(frames_of(cid, "+rnk", NULL), rows + 1);
        ck_assert_str_eq(frame_at(cid, 0)->kind, "sele");
        ck_assert_str_eq(frame_at(cid, 1)->kind, "+rnk");
        SAYS(frame_at(cid, 1), "D=-2");
        for (size_t k = 0; k < rows; k++) {
            ck_assert_str_eq(frame_at(cid, k + 2)->kind, "+rnk");
            SAYS(frame_at(cid, k + 2), "A=%d\nN=%s\nS=1,%s", (int)k + 1, name_of_place((int)k + 1),
                 k < 60 ? "1,0,0,5ec,7,1" : "0,1,0,5cc,3,2");
        }
    }
    SUCCEEDS(raw_ask(cid, "sele", "RANKS=0\n"));
    world_settle(w);
    raw_forget(cid);
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    ck_assert_uint_eq(frames_of(cid, "+rnk", NULL), 0);
    SUCCEEDS(raw_ask(cid, "sele", "RANKS=50\n"));
    ck_assert_uint_eq(frames_of(cid, "+rnk", NULL), 51);
    raw_forget(cid);
    back(ann, bob);
    SUCCEEDS(report(ann, race(ann, bob, false), "")); /* not again when results come in */
    ck_assert_uint_eq(frames_of(cid, "+rnk", NULL), 0);
}

TEST(the_leaderboard, ranks_asked_for_before_pers_come_behind_who)
{
    small_board();
    struct raw *fay = raw_open(w, 0);
    SUCCEEDS(raw_auth(fay, "Fay", "secret"));
    SUCCEEDS(raw_ask(fay, "sele", "RANKS=2\n"));
    world_settle(w);
    raw_forget(fay);
    say(fay, "pers", "PERS=Fay\n");
    ck_assert_str_eq(frame_at(fay, 0)->kind, "pers");
    ck_assert_str_eq(frame_at(fay, 1)->kind, "+who");
    ck_assert_uint_eq(frames_of(fay, "+rnk", NULL), 3);
}

/* ---- Wherever figures are shown ----------------------------------------- */

GROUP(where_figures_are_shown, open_world, close_world, 0);

TEST(where_figures_are_shown, a_profile_shows_rank_and_figures)
{
    small_board();
    go(bob, "East");
    for (int i = 0; i < 2; i++) {
        const struct got *g = raw_ask(cid, "user", "PERS=bob\n");
        ck_assert_str_eq(got_code(g), "");
        SAYS(g, "STAT=1,0,1,0,5cc,3,2,0,0,0,0,0,0,0,0,0,0,0,0,0,0\nINFO=0,0\nADDR=*\nRANK=4\nTITLE=1\nPERS=Bob\nROOM=*"
                "\nSTATUS=1");
        ck_assert_int_eq(got_number(raw_ask(cid, "user", "PERS=Ann\n"), "RANK"), 1);
        ck_assert_int_eq(got_number(raw_ask(cid, "user", "PERS=Cid\n"), "RANK"), 2);
        ck_assert_int_eq(got_number(raw_ask(cid, "user", "PERS=Dan\n"), "RANK"), 3);
        has_not_raced("Eve");
        REFUSED(raw_ask(cid, "user", "PERS=Nobody\n"), "user", 102);
        come_back();
    }
}

TEST(where_figures_are_shown, the_room_and_onln_show_rank_and_figures)
{
    small_board();
    go(ann, "East");
    go(bob, "East");
    forget_all();
    go(cid, "East");
    world_settle(w);
    int found = 0;
    for (size_t i = 0; i < cid->count; i++) {
        const struct got *g = cid->frames[i];
        if (strcmp(g->kind, "+usr") == 0 && strcmp(got_text(g, "N"), "Ann") == 0) {
            SAYS(g, "I=*\nF=0\nA=*\nT=3\nR=1\nN=Ann\nS=1,1,0,0,5ec,7,1\nX=");
            found++;
        } else if (strcmp(g->kind, "+usr") == 0 && strcmp(got_text(g, "N"), "Bob") == 0) {
            SAYS(g, "I=*\nF=0\nA=*\nT=3\nR=4\nN=Bob\nS=1,0,1,0,5cc,3,2\nX=");
            found++;
        }
    }
    ck_assert_int_eq(found, 2);
    const struct got *g = raw_ask(cid, "onln", "PERS=aNN\n");
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "N"), "Ann");
    ck_assert_str_eq(got_text(g, "S"), "1,1,0,0,5ec,7,1");
    ck_assert_int_eq(got_number(g, "R"), 1);
    ck_assert_int_eq(got_number(g, "P"), 1516);
    g = raw_ask(cid, "onln", "PERS=Eve\n"); /* who has not raced */
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "S"), "");
    ck_assert_int_eq(got_number(g, "R"), 0);
    struct raw *eve = player(w, "Eve", "");
    forget_all();
    go(eve, "East");
    ck_assert_uint_eq(frames_of(cid, "+usr", &g), 1);
    SAYS(g, "I=*\nF=0\nA=*\nT=4\nR=0\nN=Eve\nS=\nX=");
}

TEST_LOOP(where_figures_are_shown, a_deleted_persona_is_off_the_leaderboard, 0, 2)
{
    take_places("");
    struct raw *dan = player(w, "Dan", "");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(ann, "pers", "PERS=Ace\n"));
    strcpy(ann->name, "Ace");
    char open[80];
    SUCCEEDS(report(bob, race(ann, bob, false), ""));
    back(ann, bob);
    (void)snprintf(open, sizeof open, "%s", race(ann, bob, false)); /* and one is under way */
    SUCCEEDS(report(dan, race(cid, dan, false), ""));
    SUCCEEDS(raw_ask(ann, "pers", "PERS=Ann\n"));
    SUCCEEDS(raw_ask(ann, "dper", "PERS=Ace\n"));
    strcpy(ann->name, "Ann");
    for (int i = _i; i < 3; i++) {
        ck_assert_str_eq(board(cid, "CHAN=1\n", "CHAN=1\nINDEX=*\nRANGE=10\nSTART=0"), "Cid Bob Dan");
        ck_assert_str_eq(board(cid, "FIND=Ace\n", "CHAN=*\nINDEX=*\nRANGE=10\nSTART=*"), "");
        if (i == 0) {
            come_back();
        } else if (i == 1) { /* whoever has that name or place now has not raced */
            SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
            SUCCEEDS(raw_ask(ann, "pers", "PERS=Ace\n"));
            has_not_raced("Ace");
            REFUSED(report(ann, open, ""), "sess", 101);
        }
    }
    const struct got *g = report(bob, open, ""); /* the other one's report finds nobody to beat, or counts for him */
    ck_assert((g->code == 0) == (got_status(g) == 1));
    has_not_raced("Ace");
    come_back();
    has_not_raced("Ace");
}
