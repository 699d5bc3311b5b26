/* Words to the server (PROTOCOL 3.4): lines of chat that begin with a slash, and what
 * it answers to whoever has said one; and the lines that it says by itself, on entering
 * the lobby and when a race is over.
 *
 * SPDX-License-Identifier: MIT */
#include "races.h"

#define SERVER "Server"

/* What a word is answered with: the lines, with a | between, each of which is checked. */
static const char *answer(struct raw *r, const char *line)
{
    char payload[512], *text = page();
    uint32_t lines = 0;
    raw_forget(r);
    (void)snprintf(payload, sizeof payload, "TEXT=\"%s\"\n", line);
    SUCCEEDS(raw_ask(r, "mesg", payload));
    world_settle(w);
    ck_assert_str_eq(r->frames[0]->kind, "mesg"); /* the reply comes first */
    SAYS(r->frames[0], "STATUS=1");
    for (size_t i = 1; i < r->count; i++) {
        const struct got *g = r->frames[i];
        if (strcmp(g->kind, "+msg") != 0)
            continue;
        ck_assert_uint_eq(got_flags(g, "F"), CONSOLE_FLAG('P')); /* to this one player */
        ck_assert_str_eq(got_text(g, "N"), SERVER);
        ck_assert_str_eq(got_text(g, "FROM"), SERVER);
        ck_assert_str_eq(got_text(g, "T"), got_text(g, "TEXT"));
        ck_assert_int_eq(got_number(g, "ATTR"), 0);
        ck_assert_uint_le(strlen(got_text(g, "T")), 60);
        ck_assert_uint_gt(strlen(got_text(g, "T")), 0);
        (void)snprintf(text + strlen(text), 64, "%s%s", lines > 0 ? "|" : "", got_text(g, "T"));
        lines++;
    }
    ck_assert_uint_ge(lines, 1);
    ck_assert_uint_le(lines, 4);
    return text;
}

#define ANSWERS(r, line, text) ck_assert_str_eq(answer(r, line), text)

#define HELP \
    "The server answers: /who /rooms /stats [NAME] /top /last|" \
    "/seen NAME /ping /news /report NAME WHY /help"

/* ---- Who is asked, and who hears it --------------------------------------- */

GROUP(words, open_world, close_world, 0);

TEST(words, a_word_is_answered_to_whoever_says_it_and_shown_to_nobody)
{
    take_places("East");
    struct raw *dan = player(w, "Dan", "");
    forget_all();
    ANSWERS(ann, "/help", HELP);
    GOT(ann, "mesg +msg +msg");
    ck_assert_int_eq(got_number(frame_at(ann, 1), "RI"), EAST);
    GOT(bob, "");
    GOT(cid, "");
    GOT(dan, "");
    ANSWERS(dan, "/help", HELP);
    ck_assert_int_eq(got_number(frame_at(dan, 1), "RI"), HUB_IDENT);
    GOT(ann, "mesg +msg +msg"); /* those of before */
    GOT(bob, "");
}

TEST(words, what_is_no_word_gets_the_help)
{
    static const char *const none[] = {"/",        "/ ",      "//",    "/x",         "/helpme",       "/wh",
                                       "/whoo",    "/who\t",  "/ who", "/who/",      "/help help",    "/HELP",
                                       "/?",       "/stats?", "/\x01", "/%3d%22%0a", "/reportreport", "/who%00",
                                       "/\xff\xfe"};
    take_places("");
    for (int i = 0; i < COUNT(none); i++)
        if (strcmp(none[i], "/who%00") != 0) /* which ends there, and is one */
            ANSWERS(ann, none[i], HELP);
    GOT(bob, "");
}

TEST(words, a_word_is_the_same_in_any_letters_and_with_more_spaces)
{
    take_places("");
    const char *who = "3 online, 3 here: Cid Bob Ann";
    ANSWERS(ann, "/who", who);
    ANSWERS(ann, "/WHO", who);
    ANSWERS(ann, "/Who   ", who);
    ANSWERS(ann, "/who is it", who);
    ANSWERS(ann, "/seen     bOB    now", "Bob is here now, in Lobby.");
}

TEST(words, a_line_with_a_slash_elsewhere_is_chat)
{
    static const char *const lines[] = {" /who", "who/", "a /who", "\\\\who", "%%2fwho"};
    take_places("");
    for (int i = 0; i < COUNT(lines); i++) {
        char payload[64];
        (void)snprintf(payload, sizeof payload, "TEXT=\"%s\"\n", lines[i]);
        forget_all();
        SUCCEEDS(raw_ask(ann, "mesg", payload));
        GOT(bob, "+msg");
    }
}

/* Whoever types it into a private line wants to ask the server, too; above all /report. */
TEST_LOOP(words, a_private_line_that_is_a_word_does_not_go_to_the_other, 0, 2)
{
    take_places("");
    SUCCEEDS(raw_ask(ann, "mesg", _i == 0 ? "TEXT=/ping\nPRIV=Bob\n" : "TEXT=/ping\nN=Bob\n"));
    world_settle(w);
    GOT(ann, "mesg +msg");
    GOT(bob, "");
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=/ping\nPRIV=Ann\n")); /* nobody need be there */
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=/ping\nPRIV=Nobody\n"));
}

TEST(words, a_challenge_may_begin_with_a_slash)
{
    take_places("East");
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=/who_a\nPRIV=Bob\nATTR=3\n"));
    ck_assert_str_eq(got_text(raw_expect(bob, "+msg"), "T"), "/who_a");
    SUCCEEDS(raw_ask(bob, "mesg", "TEXT=DECL\nPRIV=Ann\nATTR=3\n"));
    forget_all();
    SUCCEEDS(raw_ask(ann, "auxi", "TEXT=/who\n")); /* nor is the text of the list of users a word */
    ck_assert_str_eq(got_text(raw_expect(bob, "+usr"), "X"), "/who");
    forget_all();
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=/who\nATTR=3\n")); /* to nobody: a 3 without one is dropped */
    GOT(ann, "mesg +msg");
    GOT(bob, "");
}

TEST(words, words_are_chat_where_they_are_off)
{
    reopen_with("chat-commands = off\n");
    take_places("");
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=/who\n"));
    world_settle(w);
    ck_assert_str_eq(got_text(raw_expect(bob, "+msg"), "T"), "/who");
    ck_assert_str_eq(got_text(raw_expect(ann, "+msg"), "N"), "Ann");
    world_configure(w, "");
    forget_all();
    ANSWERS(ann, "/help", HELP);
    GOT(bob, "");
}

TEST(words, a_word_is_in_no_report_of_abuse)
{
    take_places("");
    (void)answer(ann, "/stats Bob");
    (void)answer(ann, "/nonsense");
    SUCCEEDS(raw_ask(bob, "rept", "PERS=Ann\n"));
    ck_assert_uint_eq(kept_count(w, "line", ""), 0);
}

TEST(words, who_is_not_in_the_lobby_is_not_answered)
{
    struct raw *eve = raw_open(w, 0);
    REFUSED(raw_ask(eve, "mesg", "TEXT=/who\n"), "sess", 101);
    SUCCEEDS(raw_auth(eve, "Eve", "secret"));
    REFUSED(raw_ask(eve, "mesg", "TEXT=/who\n"), "sess", 101);
}

/* ---- The server's name ------------------------------------------------------ */

TEST_LOOP(words, nobody_is_called_like_the_server, 0, 4)
{
    static const char *const names[] = {"Server", "SERVER", "server", "sErVeR"};
    char payload[64];
    take_places("");
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", names[_i]);
    REFUSED(raw_ask(ann, "cper", payload), "dupl", 0);
    REFUSED(raw_ask(ann, "pers", payload), "imst", 100);
    (void)snprintf(payload, sizeof payload, "NAME=%s\n", names[_i]);
    REFUSED(raw_ask(ann, "room", payload), "dupl", 0);
    struct raw *eve = raw_open(w, 0);
    const struct got *g = raw_auth(eve, names[_i], "secret"); /* an account, which nobody sees, and no persona */
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "PERSONAS"), "");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Servers\n"));
}

/* ---- Who and where ---------------------------------------------------------- */

TEST(words, who_tells_those_in_the_room_first)
{
    take_places("East");
    (void)player(w, "Dan", "West");
    (void)player(w, "Eve", "");
    (void)member("Fay", "secret"); /* who has chosen no persona yet */
    ANSWERS(bob, "/who", "5 online, 3 here: Cid Bob Ann|Elsewhere: Dan Eve");
    raw_close(cid);
    ANSWERS(bob, "/who", "4 online, 2 here: Bob Ann|Elsewhere: Dan Eve");
}

TEST(words, who_says_that_there_are_more_than_it_can_show)
{
    char name[16];
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "Player_%05d", i);
        (void)player(w, name, i < 30 ? "East" : "");
    }
    struct raw *last = player(w, "Ann", "East"), *hub = player(w, "Bob", "");
    ANSWERS(
        last, "/who",
        "42 online, 31 here: Ann Player_00029 Player_00028|Player_00027 Player_00026 Player_00025 Player_00024|"
        "Player_00023 Player_00022 Player_00021 Player_00020|Player_00019 Player_00018 Player_00017 Player_00016 ...");
    ck_assert_ptr_nonnull(strstr(answer(hub, "/who"), "Elsewhere: Player_00000"));
}

TEST(words, rooms_tells_those_with_people_first)
{
    take_places("East");
    SUCCEEDS(raw_ask(cid, "room", "NAME=C.Oval\nMAX=8\n"));
    ANSWERS(ann, "/rooms", "East: 2/50 C.Oval: 1/8 Lobby: 0 West: 0/50 Beginner: 0/50");
    (void)player(w, "Dan", "");
    go(cid, "West");
    ANSWERS(ann, "/rooms", "Lobby: 1 East: 2/50 West: 1/50 Beginner: 0/50");
}

TEST(words, rooms_are_many_and_have_long_names)
{
    static char config[4096];
    for (int i = 0; i < 20; i++)
        (void)snprintf(config + strlen(config), 128, "room = A very long name of a room, %02d: No: 65536\n", i);
    reopen_with(config);
    struct raw *r = player(w, "Ann", "");
    const char *told = answer(r, "/rooms");
    ck_assert_str_eq(strstr(told, "..."), "...");
    ck_assert_ptr_nonnull(strstr(told, "Lobby: 1 A very long name of a room, 00: 0/65536"));
}

/* ---- Figures, results, dates ------------------------------------------------ */

TEST(words, stats_are_ones_own_or_anothers)
{
    take_places("");
    ANSWERS(ann, "/stats", "Ann: no races yet");
    SUCCEEDS(report(ann, race(ann, bob, false), "LAPSLED0=7\n"));
    back(ann, bob);
    SUCCEEDS(report(ann, race(ann, bob, false), "DISCTIME1=1\n"));
    const char *of_ann =
        "Ann: rank 1 of 2, rating 1531|Races 2, won 2, lost 0, disconnected 0|Best place 1, laps led 14";
    ANSWERS(ann, "/stats", of_ann);
    ANSWERS(cid, "/stats aNN", of_ann);
    raw_close(ann);
    ANSWERS(cid, "/stats Ann", of_ann);
    ANSWERS(cid, "/stats bob",
            "Bob: rank 2 of 2, rating 1469|Races 2, won 0, lost 2, disconnected 1|"
            "Best place 2, laps led 6");
    ANSWERS(cid, "/stats", "Cid: no races yet");
    ANSWERS(cid, "/stats Cid", "Cid: no races yet");
}

TEST(words, a_name_that_nobody_has_is_said_to_be_none)
{
    static const char *const names[] = {"Nobody", "East", "?", SERVER, "Bobbobbobbobbobbobbobbobbobbobbobbob",
                                        "%00",    "a=b"};
    take_places("");
    for (int i = 0; i < COUNT(names); i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "/seen %s", names[i]);
        ANSWERS(ann, line, "There is no player of that name.");
        (void)snprintf(line, sizeof line, "/stats %s", names[i]);
        if (strcmp(names[i], "%00") != 0) /* nothing at all */
            ANSWERS(ann, line, "There is no player of that name.");
    }
    ANSWERS(ann, "/seen", "There is no player of that name.");
}

TEST(words, top_tells_the_best_ten)
{
    struct raw *r = player(w, "Ann", "");
    ANSWERS(r, "/top", "Nobody has raced yet.");
    for (int i = 0; i < 12; i++) {
        char name[16], payload[64];
        (void)snprintf(name, sizeof name, "Player_%05d", i);
        raw_close(player(w, name, ""));
        (void)snprintf(payload, sizeof payload, "P1=1,1,0,0,%d,0,1\nPERS=%s\n", 1600 - i, name);
        keep("stat", payload);
    }
    ANSWERS(r, "/top",
            "1. Player_00000 1600 2. Player_00001 1599|3. Player_00002 1598 4. Player_00003 1597|"
            "5. Player_00004 1596 6. Player_00005 1595|7. Player_00006 1594 8. Player_00007 1593 ...");
    keep("stat", "P1=0,0,0,0,1500,0,0\nPERS=Player_00001\n");
}

TEST(words, last_tells_the_latest_races)
{
    take_places("");
    ANSWERS(ann, "/last", "Nobody has raced yet.");
    SUCCEEDS(report(ann, race(ann, bob, false), "SET_TRACKID=12\n"));
    ANSWERS(cid, "/last", "Ann beat Bob on track 12, 0 min ago");
    world_run(w, 59 * 60000);
    SUCCEEDS(report(bob, race(bob, ann, false), "DISQTIME0=1\n"));
    back(ann, bob);
    world_run(w, 60000);
    SUCCEEDS(report(bob, race(bob, ann, false), "DISCTIME0=1\nDISQTIME1=1\n"));
    ANSWERS(cid, "/last",
            "Bob raced Ann on track 4, 0 min ago|Ann beat Bob on track 4, 1 min ago|Ann beat Bob on track 12, 1 h ago");
    kept_restart(w);
    take_places("");
    world_pass(w, 47 * 3600);
    cid = player(w, "Cid", "");
    ANSWERS(
        cid, "/last",
        "Bob raced Ann on track 4, 47 h ago|Ann beat Bob on track 4, 47 h ago|Ann beat Bob on track 12, 2 days ago");
    keep("rslt", "INFO=9,1,255,1000,64,1,1,1,0,0,1510,1490\nHOST=Abcdefghijkl\nOPPO=Mnopqrstuvwx\n");
    keep("rslt",
         "INFO=10,4294967295,255,1000,64,1,1,1,0,0,1510,1490\nHOST=Ann\n"); /* in the future; and somebody is gone */
    ANSWERS(cid, "/last",
            "somebody beat Ann on track 255, 0 min ago|Mnopqrstuvwx beat Abcdefghijkl on track 255, 20455 days ago|"
            "Bob raced Ann on track 4, 47 h ago|Ann beat Bob on track 4, 47 h ago");
}

TEST_LOOP(words, seen_tells_when_a_persona_was_last_here, 0, 2)
{
    take_places("");
    go(bob, "West");
    ANSWERS(ann, "/seen Bob", "Bob is here now, in West.");
    ANSWERS(ann, "/seen ann", "Ann is here now, in Lobby.");
    SUCCEEDS(raw_ask(bob, "cper", "PERS=Rob\n"));
    ANSWERS(ann, "/seen Rob", "Rob was not here lately.");
    raw_close(bob);
    world_run(w, 30 * 60000);
    ann = player(w, "Ann", "");
    ANSWERS(ann, "/seen Bob", "Bob came here last 30 min ago.");
    if (_i == 1) {
        kept_restart(w);
        ann = player(w, "Ann", "");
    }
    world_pass(w, 47 * 3600);
    ann = player(w, "Ann", "");
    ANSWERS(ann, "/seen bob", "Bob came here last 47 h ago.");
    world_pass(w, 10 * 86400);
    kept_restart(w); /* the ticket has long expired; the date stays */
    ann = player(w, "Ann", "");
    ANSWERS(ann, "/seen bob", "Bob came here last 11 days ago.");
    ANSWERS(ann, "/seen Rob", "Rob was not here lately.");
    ck_assert_uint_eq(kept_count(w, "tick", "PERS=Bob"), 1);
    ck_assert_uint_eq(kept_count(w, "tick", "HASH=\nWHEN=1767268800\nPERS=Bob"), 1);
}

TEST(words, seen_tells_of_a_race)
{
    take_places("");
    start_race(ann, bob, false);
    ANSWERS(cid, "/seen Ann", "Ann is racing now.");
    ANSWERS(cid, "/seen Bob", "Bob is racing now.");
    back(ann, bob);
    ANSWERS(cid, "/seen Bob", "Bob is here now, in Lobby.");
}

/* It leaves the lobby for that, maybe, and its friends still see it race. */
TEST(words, seen_tells_of_a_race_outside_the_lobby)
{
    take_places("");
    (void)buddy_of(ann);
    start_race(ann, bob, false);
    raw_close(ann);
    raw_close(bob); /* without a link for its friends */
    ANSWERS(cid, "/seen Ann", "Ann is racing now.");
    ANSWERS(cid, "/seen Bob", "Bob came here last 0 min ago.");
}

/* What a console says of its player to his friends does not count. */
TEST_LOOP(words, seen_tells_what_the_server_knows, 0, 2)
{
    take_places("");
    SUCCEEDS(raw_ask(buddy_of(bob), "PSET", _i == 0 ? "SHOW=PASS\n" : "SHOW=DISC\n"));
    ANSWERS(ann, "/seen Bob", "Bob is here now, in Lobby.");
}

/* A ticket that has expired is good for nothing, whatever its hash. */
TEST(words, an_old_date_opens_no_buddy_link)
{
    (void)player(w, "Bob", "");
    world_pass(w, 86400);
    kept_restart(w);
    ck_assert_str_eq(buddy_code("Bob/cso/nascar-ps2-2004", "$0000000000000000"), "user");
    ck_assert_str_eq(buddy_code("Bob/cso/nascar-ps2-2004", ""), "user");
}

/* The clock of a router is set after its start: what was before that stays when it was. */
TEST_LOOP(words, a_clock_that_is_set_leaves_the_dates_of_before, 0, 2)
{
    keep("tick", "HASH=\nWHEN=1767168000\nPERS=Bob\n");
    (void)player(w, "Bob", "");
    world_pass(w, 2 * 86400);
    kept_restart(w);
    ann = player(w, "Ann", "");
    ANSWERS(ann, "/seen Bob", "Bob came here last 2 days ago.");
    w->wall_offset_s += _i == 0 ? 3 * 86400 : -86400;
    world_run(w, 1000);
    ann = player(w, "Ann", "");
    ANSWERS(ann, "/seen Bob", _i == 0 ? "Bob came here last 5 days ago." : "Bob came here last 24 h ago.");
}

TEST(words, ping_tells_the_round_trip)
{
    struct raw *r = player(w, "Ann", "");
    ANSWERS(r, "/ping", "Not measured yet. Ask again in a minute.");
    r->keeps_pings = true;
    for (int ms = 0; ms < 31000 && raw_look(r, "~png") == NULL; ms++)
        world_run(w, 1);
    ANSWERS(r, "/ping", "Not measured yet. Ask again in a minute."); /* it is on its way */
    world_run(w, 123);
    raw_send(r, "~png", "TIME=9\n");
    world_settle(w);
    ANSWERS(r, "/ping", "From here to your console and back: 123 ms.");
}

TEST(words, ping_tells_a_round_trip_in_no_time)
{
    struct raw *r = player(w, "Ann", "");
    world_run(w, 31000);
    ANSWERS(r, "/ping", "From here to your console and back: 0 ms.");
}

TEST(words, news_are_told_as_they_are_shown)
{
    static const char *const texts[] = {"", "news-line = Race night on Friday\nnews-line = Bring a friend\n",
                                        "news-line = a\nnews-line = b\nnews-line = c\nnews-line = d\nnews-line = e\n",
                                        "news-line = a\nnews-line =\nnews-line = b b  b\n"};
    static const char *const told[] = {"No news.", "Race night on Friday|Bring a friend", "a|b|c|d ...", "a|b b b"};
    for (int i = 0; i < COUNT(texts); i++) {
        reopen_with(texts[i]);
        ANSWERS(player(w, "Ann", ""), "/news", told[i]);
    }
}

/* Lines break between words, where they can; each way in which they may end is there. */
TEST_LOOP(words, long_news_are_broken_into_lines, 1, 63)
{
    char config[512] = "news-line = ", *text = config + strlen(config);
    for (int i = 0; i < 240; i++) {
        text[i] = (i + 1) % _i == 0 ? ' ' : (char)('a' + i % 26);
        text[i + 1] = '\0';
    }
    text[239] = 'z';
    reopen_with(config);
    const char *lines = answer(player(w, "Ann", ""), "/news"); /* which are 60 characters at most each */
    bool cut = strlen(lines) >= 3 && strcmp(lines + strlen(lines) - 3, "...") == 0;
    ck_assert(cut || lines[strlen(lines) - 1] == 'z' || _i > 60);
    for (const char *p = lines; (p = strchr(p, ' ')) != NULL; p++)
        ck_assert(p[1] != ' ' && p[1] != '|' && p[1] != '\0');
}

/* ---- Reports ---------------------------------------------------------------- */

TEST(words, report_makes_a_report_of_abuse)
{
    take_places("");
    SUCCEEDS(raw_ask(bob, "mesg", "TEXT=rubbish\n"));
    ANSWERS(ann, "/report bob", "The operator will see your report.");
    GOT(bob, "mesg +msg"); /* his own line, and no word of it */
    ck_assert_uint_eq(kept_count(w, "rept", "NAME=Ann\nPERS=Bob\n"), 1);
    ck_assert_uint_eq(kept_count(w, "line", ""), 1);
    ck_assert_uint_eq(kept_count(w, "line", "TEXT=rubbish\n"), 1);
    ck_assert(world_logged(w, "event=report "));
    ANSWERS(ann, "/report BOB   he cheats", "The operator will see your report.");
    ck_assert_uint_eq(kept_count(w, "rept", "NAME=Ann\nPERS=Bob\n"), 2);
    ck_assert_uint_eq(kept_count(w, "line", "TEXT=\"/report BOB   he cheats\"\n"), 1);
    ck_assert_uint_eq(kept_count(w, "line", "NAME=Ann\nPERS=Bob\nROOM=\nTEXT=\"/report"), 1);
    struct raw *asker = raw_operator(w);
    SUCCEEDS(raw_ask(asker, "csta", ""));
    raw_close(bob);
    ANSWERS(ann, "/report Bob", "The operator will see your report."); /* who may have left */
}

TEST(words, a_report_that_cannot_be_made_says_why)
{
    static const char *const nobody[] = {
        "Nobody", "Ann", "aNN", "East", "a.b", "?", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"};
    take_places("");
    ANSWERS(ann, "/report", "Say /report NAME, and behind that why, if you like.");
    ANSWERS(ann, "/report  ", "Say /report NAME, and behind that why, if you like.");
    for (int i = 0; i < COUNT(nobody); i++) {
        char line[96];
        (void)snprintf(line, sizeof line, "/report %s", nobody[i]);
        ANSWERS(ann, line, "There is no other player of that name.");
    }
    w->fail_records = true;
    ANSWERS(ann, "/report Bob", "The report could not be kept. Try again later.");
    w->fail_records = false;
    ck_assert_uint_eq(world_kept(w, "rept"), 0);
    for (int i = 0; i < 16; i++)
        ANSWERS(ann, "/report Bob", "The operator will see your report.");
    ANSWERS(ann, "/report Bob", "No more reports can be taken now."); /* as of `rept` */
    REFUSED(raw_ask(ann, "rept", "PERS=Bob\n"), "full", 0);
    ck_assert_uint_eq(world_kept(w, "rept"), 16);
}

/* The oldest of 256 makes room, also for one that says why. */
TEST(words, a_report_is_made_when_there_is_room_for_it)
{
    struct raw *r = NULL;
    take_places("");
    SUCCEEDS(raw_ask(cid, "rept", "PERS=Bob\n"));
    for (int i = 0; i < 255; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "Angry%d", i / 16);
        if (i % 16 == 0)
            r = player(w, name, "");
        SUCCEEDS(raw_ask(r, "rept", "PERS=Bob\n"));
    }
    ANSWERS(ann, "/report Bob he cheats", "The operator will see your report.");
    kept_compact(w);
    ck_assert_uint_eq(kept_count(w, "rept", ""), 256);
    ck_assert_uint_eq(kept_count(w, "rept", "ID=1\n"), 0);
    ck_assert_uint_eq(kept_count(w, "rept", "ID=257\n"), 1);
    ck_assert_uint_eq(kept_count(w, "line", "TEXT=\"/report Bob he cheats\"\n"), 1);
}

TEST(words, a_report_is_answered_when_it_is_on_the_disk)
{
    take_places("");
    w->hold_records = true;
    say(ann, "mesg", "TEXT=\"/report Bob why\"\n");
    say(ann, "mesg", "TEXT=hello\n"); /* and waits behind it */
    world_settle(w);
    GOT(ann, "");
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    GOT(ann, "mesg +msg mesg +msg");
}

TEST(words, whoever_reports_may_leave_before_it_is_kept)
{
    take_places("");
    w->hold_records = true;
    say(ann, "mesg", "TEXT=\"/report Bob\"\n");
    raw_close(ann);
    w->hold_records = false;
    world_release_records(w, true);
    world_settle(w);
    ck_assert_uint_eq(kept_count(w, "rept", "NAME=Ann\nPERS=Bob\n"), 1);
}

TEST(words, a_muted_player_may_ask_and_report)
{
    take_places("");
    struct raw *asker = raw_operator(w);
    SUCCEEDS(raw_ask(asker, "cmut", "NAME=Ann\n"));
    ANSWERS(ann, "/report Bob he began", "The operator will see your report.");
    ck_assert_uint_eq(kept_count(w, "line", "he began"), 1);
    ANSWERS(ann, "/who", "3 online, 3 here: Cid Bob Ann");
}

/* ---- Readers who are behind --------------------------------------------------- */

TEST(words, whoever_does_not_read_is_answered_when_he_does)
{
    take_places("East");
    raw_window(ann, 100);
    for (int i = 0; i < 300; i++)
        raw_send(ann, "mesg", "TEXT=/help\n");
    world_settle(w);
    SUCCEEDS(raw_ask(bob, "mesg", "TEXT=hello\n")); /* and keeps nobody waiting */
    GOT(cid, "+msg");
    raw_window(ann, SIZE_MAX);
    world_settle(w);
    OPEN(ann);
    ck_assert_uint_eq(frames_of(ann, "mesg", NULL), 300);
    ck_assert_uint_ge(frames_of(ann, "+msg", NULL), 600);
}

/* ---- The welcome -------------------------------------------------------------- */

GROUP(welcomes, open_world, close_world, 0);

static const struct got *welcome_of(struct raw *r)
{
    world_settle(w);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "+msg") == 0)
            return r->frames[i];
    return NULL;
}

TEST(welcomes, a_line_is_told_once_when_the_lobby_is_shown)
{
    reopen_with("welcome = Welcome! Say /help \"here\".\n");
    struct raw *r = member("Ann", "secret");
    SUCCEEDS(ask_pers(r, "Ann"));
    ck_assert_ptr_null(welcome_of(r)); /* its console shows no lobby yet */
    SUCCEEDS(raw_ask(r, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1"));
    SAYS(welcome_of(r), "F=B\nATTR=0\nRI=0\nN=Server\nFROM=Server\nT=\"Welcome! Say /help %%22here%%22.\"\n"
                        "TEXT=\"Welcome! Say /help %%22here%%22.\"");
    raw_forget(r);
    SUCCEEDS(raw_ask(r, "sele", "USERS=0"));
    SUCCEEDS(raw_ask(r, "sele", "USERS=1"));
    SUCCEEDS(ask_pers(r, "Ann"));
    ck_assert_ptr_null(welcome_of(r)); /* once in a login */
}

TEST(welcomes, lists_that_were_asked_for_before_come_with_it)
{
    reopen_with("welcome = Hello\n");
    struct raw *r = member("Ann", "secret");
    SUCCEEDS(raw_ask(r, "sele", "ROOMS=1 USERS=1"));
    ck_assert_ptr_null(welcome_of(r));
    SUCCEEDS(ask_pers(r, "Ann"));
    ck_assert_str_eq(got_text(welcome_of(r), "T"), "Hello");
}

TEST(welcomes, nobody_is_welcomed_without_one)
{
    struct raw *r = member("Ann", "secret");
    SUCCEEDS(ask_pers(r, "Ann"));
    SUCCEEDS(raw_ask(r, "sele", "ROOMS=1 USERS=1"));
    ck_assert_ptr_null(welcome_of(r));
    world_configure(w, "welcome = Hello\n"); /* from the next who comes on */
    raw_forget(r);
    struct raw *other = member("Bob", "secret");
    SUCCEEDS(ask_pers(other, "Bob"));
    SUCCEEDS(raw_ask(other, "sele", "USERS=1"));
    ck_assert_str_eq(got_text(welcome_of(other), "T"), "Hello");
    ck_assert_ptr_null(welcome_of(r));
}

TEST(welcomes, a_console_shows_it)
{
    static char config[300] = "welcome = ";
    memset(config + strlen(config), '=', 255); /* the longest, each of them escaped */
    strcat(config, "\n");
    reopen_with(config);
    struct console *c = world_player(w, "Ann");
    ck_assert_uint_eq(c->chat.count, 1);
    ck_assert_str_eq(c->chat.at[0].from, SERVER);
    ck_assert_uint_eq(strlen(c->chat.at[0].text), 255);
    console_chat(c, "/who");
    world_settle(w);
    ck_assert_str_eq(c->chat.at[1].text, "1 online, 1 here: Ann");
    ck_assert_uint_eq(c->chat.at[1].flags, CONSOLE_FLAG('P'));
    world_all_well(w);
}

/* ---- Results -------------------------------------------------------------------- */

GROUP(announced_results, open_world, close_world, 0);

static size_t told_result(struct raw *r, const char *text)
{
    size_t told = 0;
    world_settle(w);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "+msg") == 0) {
            SAYS(r->frames[i], "F=B\nATTR=0\nRI=*\nN=Server\nFROM=Server\nT=*\nTEXT=*");
            ck_assert_str_eq(got_text(r->frames[i], "T"), text);
            told++;
        }
    return told;
}

/* Both are in one room, in two, or only one is there. */
TEST_LOOP(announced_results, the_room_of_both_hears_it_in_one_line, 0, 5)
{
    take_places("East");
    struct raw *dan = player(w, "Dan", "West"), *eve = player(w, "Eve", "");
    const char *auth = race(ann, bob, false), *text = "Ann beat Bob on track 4";
    if (_i == 1)
        go(bob, "West");
    if (_i == 2)
        raw_close(bob);
    if (_i == 3)
        go(bob, "");
    if (_i == 4)
        go(bob, ""), go(ann, "");
    forget_all();
    SUCCEEDS(report(ann, auth, ""));
    ck_assert_uint_eq(told_result(ann, text), 1);
    if (_i != 2)
        ck_assert_uint_eq(told_result(bob, text), 1);
    ck_assert_uint_eq(told_result(cid, text), _i == 4 ? 0 : 1);
    ck_assert_uint_eq(told_result(dan, text), _i == 1 ? 1 : 0);
    ck_assert_uint_eq(told_result(eve, text), _i >= 3 ? 1 : 0);
    if (_i == 2)
        return;
    forget_all();
    SUCCEEDS(report(bob, auth, "FINISPOS0=2\nFINISPOS1=1\n"));
    ck_assert_uint_eq(told_result(cid, ""), 0); /* it is no other result */
}

TEST(announced_results, it_is_told_also_if_the_reporter_has_gone_meanwhile)
{
    take_places("East");
    const char *auth = race(ann, bob, false);
    char payload[256];
    w->hold_records = true;
    (void)snprintf(payload, sizeof payload, "AUTH=%s\nFINISPOS0=2\nFINISPOS1=1\n", auth);
    say(ann, "rank", payload);
    raw_close(ann);
    forget_all();
    ck_assert_uint_eq(told_result(cid, ""), 0); /* nothing is told before it is on the disk */
    w->hold_records = false;
    world_release_records(w, true);
    ck_assert_uint_eq(told_result(cid, "Bob beat Ann on track 0"), 1);
}

TEST(announced_results, what_could_not_be_kept_is_not_told)
{
    take_places("East");
    const char *auth = race(ann, bob, false);
    w->fail_records = true;
    REFUSED(report(ann, auth, ""), "fail", 0);
    ck_assert_uint_eq(told_result(cid, ""), 0);
}

TEST(announced_results, a_server_may_keep_it_to_itself)
{
    reopen_with("announce-results = off\n");
    take_places("East");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    ck_assert_uint_eq(told_result(cid, ""), 0);
    ck_assert_uint_eq(told_result(ann, ""), 0);
}

TEST(announced_results, nobody_is_told_at_the_start)
{
    take_places("East");
    SUCCEEDS(report(ann, race(ann, bob, false), ""));
    world_restart(w); /* the journal has the report itself */
    take_places("East");
    ck_assert_uint_eq(told_result(cid, ""), 0);
}

/* Who does not keep up misses it, and is told how many lines that were; nobody waits. */
TEST(announced_results, a_slow_reader_misses_it)
{
    take_places("East");
    const char *auth = race(ann, bob, false);
    raw_window(cid, 10);
    for (int i = 0; i < 60; i++)
        raw_send(cid, "news", "NAME=1\n");
    world_settle(w);
    SUCCEEDS(report(ann, auth, ""));
    ck_assert_uint_eq(told_result(bob, "Ann beat Bob on track 4"), 1);
    raw_window(cid, SIZE_MAX);
    world_settle(w);
    OPEN(cid);
    const struct got *g = NULL;
    ck_assert_uint_eq(frames_of(cid, "+msg", &g), 1);
    ck_assert_str_eq(got_text(g, "T"), "1 line of chat was missed");
}

/* ... nor does anybody who reads, and has no room for it just now. */
TEST(announced_results, a_full_outbox_is_left_as_it_is)
{
    uint8_t bytes[14 * 20];
    char config[300] = "news-line = ", payload[128];
    memset(config + strlen(config), '=', 240);
    reopen_with(config);
    take_places("East");
    (void)snprintf(payload, sizeof payload, "AUTH=%s\nFINISPOS0=1\nFINISPOS1=2\n", race(ann, bob, false));
    w->hold_records = true;
    say(ann, "rank", payload);
    forget_all();
    for (int i = 0; i < 14; i++)
        memcpy(bytes + (ptrdiff_t)i * 20, "news\0\0\0\0\0\0\0\024NAME=1\n", 20);
    (void)world_step(
        w, &(struct nascar_event){.type = NASCAR_BYTES, .conn = cid->conn, .bytes = bytes, .size = sizeof bytes});
    w->hold_records = false;
    world_release_records(w, true);
    ck_assert_uint_eq(told_result(bob, "Ann beat Bob on track 0"), 1);
    ck_assert_uint_eq(told_result(cid, ""), 0);
    ck_assert_uint_eq(frames_of(cid, "news", NULL), 14);
    OPEN(cid);
}
