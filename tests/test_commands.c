/* The commands of the directory, the lobby and the buddy service, each for
 * itself: where the lobby is, who may say what when, which refusal comes with
 * which letters and STATUS, and what time and haste do (PROTOCOL 1-3, 6, 7).
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"

/* ---- The directory (3.1) ------------------------------------------------ */

GROUP(directory, open_world, close_world, 0);

TEST(directory, the_directory_says_where_the_lobby_is)
{
    struct raw *r = raw_open(w, 0);
    const struct got *g = raw_ask(r, "@dir", DIR_REQUEST);
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "ADDR=203.0.113.10\nPORT=11000\nSESS=*\nMASK=*");
    ck_assert_int_ge(got_number(g, "SESS"), 1);
    ck_assert(is_hex(got_raw(g, "MASK"), 32));
    raw_forget(r);
    w->server_ip = 0xC0A80105u; /* whichever address a console reached us at */
    r = raw_open(w, 0xC0A80163u);
    SAYS(raw_ask(r, "@dir", DIR_REQUEST), "ADDR=192.168.1.5\nPORT=11000\nSESS=*\nMASK=*");
}

TEST(directory, every_session_has_its_own_number_and_mask)
{
    enum { SESSIONS = 50 };
    char number[SESSIONS][16], mask[SESSIONS][40];
    for (int i = 0; i < SESSIONS; i++) {
        struct raw *r = raw_open(w, 0);
        const struct got *g = raw_ask(r, "@dir", DIR_REQUEST);
        (void)snprintf(number[i], sizeof number[i], "%s", got_raw(g, "SESS"));
        (void)snprintf(mask[i], sizeof mask[i], "%.39s", got_raw(g, "MASK"));
        raw_close(r);
        for (int k = 0; k < i; k++) {
            ck_assert_str_ne(number[i], number[k]);
            ck_assert_str_ne(mask[i], mask[k]);
        }
    }
}

TEST(directory, direct_is_said_only_when_configured)
{
    reopen_with("directory-direct = yes\n");
    struct raw *r = raw_open(w, 0);
    SAYS(raw_ask(r, "@dir", DIR_REQUEST), "ADDR=203.0.113.10\nPORT=11000\nSESS=*\nMASK=*\nDIRECT=1");
}

TEST(directory, a_public_address_and_other_ports_are_told)
{
    reopen_with("public-address = 192.0.2.77\nlobby-port = 12001\nbuddy-port = 12002\n");
    struct raw *r = raw_open(w, 0);
    SAYS(raw_ask(r, "@dir", DIR_REQUEST), "ADDR=192.0.2.77\nPORT=12001\nSESS=*\nMASK=*");
    struct raw *ann = member("Ann", "secret");
    const struct got *g = raw_ask(ann, "news", "NAME=0\n");
    ck_assert_str_eq(got_raw(g, "BUDDY_URL"), "192.0.2.77"); /* by the same rule (3.2) */
    ck_assert_int_eq(got_number(g, "BUDDY_PORT"), 12002);
}

/* PROTOCOL 3.1 and 8: a router may not turn packets round that are for its own
 * public address, so those behind it are told what they have reached. */
TEST_LOOP(directory, neighbours_are_told_what_they_reached_and_others_the_public_address, 0, 18)
{
    static const struct {
        uint32_t server, client;
        const char *told; /* where `lan` is auto, and a public address is configured */
    } cases[] = {
        {0xC0A80105u, 0xC0A80114u, "192.168.1.5"}, /* the next house number */
        {0xC0A80105u, 0xC0A80101u, "192.168.1.5"}, /* the router, which rewrites sources */
        {0x0A000001u, 0x0A0000FEu, "10.0.0.1"},
        {0x7F000001u, 0x7F000001u, "127.0.0.1"},
        {0xC0A80105u, 0xC0A80214u, "192.0.2.77"}, /* private, but of another network */
        {0xC0A80105u, 0xC6336401u, "192.0.2.77"},
        {0xCB00710Au, 0xCB007107u, "192.0.2.77"}, /* the same 24 bits, but public */
        {0xCB00710Au, 0xC0A80114u, "192.0.2.77"},
        {0xC0A80105u, 0x7F000001u, "192.0.2.77"},
    };
    static const char *const configs[] = {"public-address = 192.0.2.77\n", "public-address = 192.0.2.77\nlan = off\n"};
    const char *told = _i / 9 == 0 ? cases[_i % 9].told : "192.0.2.77";
    reopen_with(configs[_i / 9]);
    w->server_ip = cases[_i % 9].server;
    struct raw *r = raw_open(w, cases[_i % 9].client);
    SAYS(raw_ask(r, "@dir", DIR_REQUEST), "ADDR=%s\nPORT=11000\nSESS=*\nMASK=*", told);
    raw_close(r);
    r = raw_login_from(w, cases[_i % 9].client, "Ann", "secret");
    ck_assert_str_eq(got_raw(raw_ask(r, "news", "NAME=0\n"), "BUDDY_URL"), told);
    SUCCEEDS(raw_ask(r, "sele", "ROOMS=0\n"));
    raw_forget(r);
    say(r, "sele", "ROOMS=1\n");
    ck_assert_uint_eq(frames_of(r, "+rom", NULL), 4);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->frames[i]->kind, "+rom") == 0)
            ck_assert_str_eq(got_raw(r->frames[i], "A"), told);
    world_configure(w, _i / 9 == 0 ? "" : "lan = off\n"); /* no public address: what each has reached */
    r = raw_open(w, cases[_i % 9].client);
    SAYS(raw_ask(r, "@dir", DIR_REQUEST), "ADDR=%s\nPORT=11000\nSESS=*\nMASK=*", dotted(w->server_ip));
}

static const struct world_options for_two = {.limits = {2, 16, 8, 16, 64, 64, 0}};

/* What the directory says to somebody from this address: "" if it lets in. */
static const char *kept_out(uint32_t ip)
{
    char *text = lobby_text();
    struct raw *r = raw_open(w, ip);
    const struct got *g = raw_ask(r, "@dir", DIR_REQUEST);
    ck_assert_uint_eq(g->code, 0);
    if (!got_has(g, "DOWN")) {
        SAYS(g, "ADDR=203.0.113.10\nPORT=11000\nSESS=*\nMASK=*");
    } else {
        SAYS(g, "ADDR=0.0.0.0\nPORT=0\nDOWN=*");
        (void)snprintf(text, 256, "%s", got_text(g, "DOWN"));
        ck_assert_str_ne(text, "");
    }
    raw_close(r);
    return text;
}

/* PROTOCOL 3.1: the directory's answer is the one that a console shows. */
TEST(directory, a_full_server_keeps_out_all_but_those_who_may_have_a_ghost)
{
    reopen(&for_two);
    uint32_t home = world_fresh_ip(w);
    struct raw *ann = raw_login_from(w, home, "Ann", "secret");
    ck_assert_str_eq(kept_out(0), ""); /* not full yet */
    struct raw *bob = player(w, "Bob", "");
    const char *why = kept_out(0);
    ck_assert_ptr_nonnull(strstr(why, "full"));
    struct raw *waits = guest(); /* who is only connected has no ghost */
    ck_assert_str_eq(kept_out(waits->ip), why);
    ck_assert_str_eq(kept_out(home), "");
    ck_assert_str_eq(kept_out(bob->ip), "");
    struct raw *again = raw_login_from(w, home, "Ann", "secret"); /* and takes its place */
    CLOSED(ann);
    ck_assert_str_eq(kept_out(home), "");
    ck_assert_str_eq(kept_out(0), why);
    raw_close(again);
    ck_assert_str_eq(kept_out(home), ""); /* there is a place again, for everybody */
    ck_assert_str_eq(kept_out(0), "");
    SUCCEEDS(raw_auth(waits, "Cid", "secret")); /* in the game, without a persona yet */
    ck_assert_str_eq(kept_out(home), why);
    ck_assert_str_eq(kept_out(waits->ip), "");
}

TEST(directory, an_address_with_too_many_behind_it_is_told_so)
{
    reopen_with("per-address = 4\n");
    uint32_t home = world_fresh_ip(w);
    ck_assert_str_eq(kept_out(home), "");
    (void)raw_login_from(w, home, "Ann", "secret");
    struct raw *link = raw_open(w, home);
    ck_assert_str_eq(kept_out(home), ""); /* this one goes, and two come: a lobby and a buddy connection */
    (void)raw_open(w, home);
    const char *why = kept_out(home);
    ck_assert_ptr_nonnull(strstr(why, "from your address"));
    for (int i = 0; i < 10; i++) /* whoever asks next may, too */
        ck_assert_str_eq(kept_out(home), why);
    ck_assert_str_eq(kept_out(0), "");
    raw_close(link);
    ck_assert_str_eq(kept_out(home), "");
    reopen_with("per-address = 1\n"); /* no buddies for anybody, but a lobby */
    ck_assert_str_eq(kept_out(home), "");
    (void)raw_open(w, home);
    ck_assert_ptr_nonnull(strstr(kept_out(home), "from your address"));
}

/* The operator's own words come first, for everybody. */
TEST(directory, what_the_operator_says_of_an_outage_comes_before_other_reasons)
{
    reopen(&for_two);
    uint32_t home = world_fresh_ip(w);
    (void)raw_login_from(w, home, "Ann", "secret");
    (void)player(w, "Bob", "");
    world_configure(w, "down = Back at noon\nper-address = 1\n");
    ck_assert_str_eq(kept_out(0), "Back at noon");
    ck_assert_str_eq(kept_out(home), "Back at noon");
    world_configure(w, "per-address = 1\n");
    ck_assert_ptr_nonnull(strstr(kept_out(0), "full"));
    ck_assert_ptr_nonnull(strstr(kept_out(home), "from your address"));
}

TEST_LOOP(directory, a_server_that_is_down_says_why, 0, 2)
{
    char config[300] = "down = ", text[256];
    static const char hostile[] = "Back at 20:00, \"sharp\" = 100%";
    memset(text, 'x', 255);
    text[255] = '\0';
    if (_i == 0)
        (void)snprintf(text, sizeof text, "%s", hostile);
    (void)snprintf(config + 7, sizeof config - 7, "%s\n", text);
    reopen_with(config);
    struct raw *r = raw_open(w, 0);
    const struct got *g = raw_ask(r, "@dir", DIR_REQUEST);
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "ADDR=0.0.0.0\nPORT=0\nDOWN=*");
    ck_assert_str_eq(got_text(g, "DOWN"), text);
    world_run(w, 6000);
    CLOSED(r);
    world_configure(w, "");
    r = raw_open(w, 0);
    SAYS(raw_ask(r, "@dir", DIR_REQUEST), "ADDR=203.0.113.10\nPORT=11000\nSESS=*\nMASK=*");
}

TEST(directory, a_directory_connection_is_closed_5_s_after_its_answer)
{
    struct raw *r = raw_open(w, 0);
    world_run(w, 7000);
    (void)raw_ask(r, "@dir", DIR_REQUEST);
    world_run(w, 4900);
    OPEN(r);
    world_run(w, 200);
    CLOSED(r);
}

/* ---- addr and skey (3.2) ------------------------------------------------ */

TEST(directory, addr_is_answered_if_it_is_an_address)
{
    static const struct trial tries[] = {
        {"ADDR=192.0.2.100\nPORT=59750\n", true},
        {"ADDR=10.0.0.1\nPORT=1\n", true},
        {"ADDR=255.255.255.255\nPORT=65535\n", true},
        {"PORT=59750\n", false},
        {"", false},
        {"ADDR=\nPORT=1\n", false},
        {"ADDR=3232236155\nPORT=1\n", false}, /* not an integer (2) */
        {"ADDR=1.2.3\nPORT=1\n", false},
        {"ADDR=256.1.1.1\nPORT=1\n", false},
        {"ADDR=console\nPORT=1\n", false},
    };
    struct raw *r = raw_open(w, 0);
    for (int i = 0; i < COUNT(tries); i++) {
        const struct got *g = raw_ask(r, "addr", tries[i].text);
        if (tries[i].good) {
            SUCCEEDS(g);
            SAYS(g, "STATUS=1");
        } else {
            REFUSED(g, "miss", 0);
        }
    }
    OPEN(r);
}

TEST(directory, a_session_key_has_16_fresh_bytes_the_first_not_0)
{
    char last[40] = "";
    world_free(w);
    struct world_options options = {.no_check = true};
    w = world_new(&options);
    struct raw *r = raw_open(w, 0);
    for (int i = 0; i < 1500; i++) { /* or a first byte of 0 might not have had its turn */
        const struct got *g = raw_ask(r, "skey", SKEY_REQUEST);
        SAYS(g, "SKEY=*\nSTATUS=1");
        ck_assert_str_eq(got_code(g), "");
        const char *key = got_raw(g, "SKEY");
        ck_assert_int_eq(key[0], '$');
        ck_assert(is_hex(key + 1, 32));
        ck_assert(key[1] != '0' || key[2] != '0');
        ck_assert_str_ne(key, last);
        (void)snprintf(last, sizeof last, "%.39s", key);
        raw_forget(r);
    }
}

TEST(directory, without_a_session_key_skey_is_0)
{
    reopen_with("skey = off\n");
    struct raw *r = raw_open(w, 0);
    const struct got *g = raw_ask(r, "skey", SKEY_REQUEST);
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "SKEY=0\nSTATUS=1");
}

/* ---- Who may say what (3.2, 6) ------------------------------------------ */

GROUP(who_may_say_what, open_world, close_world, 0);

enum place { FRESH, LOBBY_GUEST, LOBBY_MEMBER, LOBBY_PLAYER, IN_DIRECTORY, BUDDY_GUEST, IN_BUDDY, PLACES };

static struct raw *someone_at(enum place place)
{
    struct raw *r;
    char payload[256];
    const struct got *g;
    switch (place) {
    case LOBBY_GUEST: r = guest(); break;
    case LOBBY_MEMBER: r = member("Ann", "secret"); break;
    case LOBBY_PLAYER: r = player(w, "Ann", ""); break;
    case IN_DIRECTORY:
        r = raw_open(w, 0);
        (void)raw_ask(r, "@dir", DIR_REQUEST);
        break;
    case BUDDY_GUEST:
        r = raw_open(w, 0);
        REFUSED(raw_ask(r, "AUTH", BUDDY_PRODUCT "USER=Nobody\nLKEY=$0123456789abcdef\n"), "user", 101);
        break;
    case IN_BUDDY:
        g = ask_pers(member("Ann", "secret"), "Ann");
        r = raw_open(w, 0);
        (void)snprintf(payload, sizeof payload, BUDDY_PRODUCT "USER=Ann\nLKEY=%s\n", got_raw(g, "LKEY"));
        SUCCEEDS(raw_ask(r, "AUTH", payload));
        break;
    case FRESH:
    case PLACES:
    default: r = raw_open(w, 0); break;
    }
    r->keeps_pings = true;
    raw_forget(r);
    return r;
}

/* Where it is heard: `+`; where it is refused with 101: `.`; where PROTOCOL
 * does not say: `?`. In the order of enum place. */
static const struct {
    const char *kind, *heard, *payload;
} commands_heard[] = {
    {"@dir", "+...?..", DIR_REQUEST},
    {"addr", "++++...", ADDR_REQUEST},
    {"skey", "++++...", SKEY_REQUEST},
    {"sele", "++++...", "ROOMS=0 USERS=0 RANKS=0 MESGS=1"},
    {"~png", "++++...", "REF=1\nTIME=1\n"},
    {"auth", "++++...", "NAME=Ann\nPASS=x\n"},
    {"acct", "++++...", "NAME=Ann\nPASS=x\n"},
    {"cper", "..++...", "PERS=x\n"},
    {"dper", "..++...", "PERS=x\n"},
    {"dacc", "..++...", "NAME=x\n"},
    {"pers", "..++...", "PERS=x\n"},
    {"edit", "..++...", "MAIL=x\n"},
    {"news", "..++...", "NAME=0\n"},
    {"chal", "..++...", "PERS=*\n"},
    {"user", "...+...", "PERS=x\n"},
    {"onln", "...+...", "PERS=x\n"},
    {"room", "...+...", "NAME=East\nPASS=\nDESC=None\nMAX=50\n"},
    {"move", "...+...", "NAME=East\nPASS=\n"},
    {"peek", "...+...", "NAME=East\n"},
    {"mesg", "...+...", "TEXT=x\nPRIV=y\n"},
    {"auxi", "...+...", "TEXT=\n"},
    {"snap", "...+...", "INDEX=0\nCHAN=0\nFIND=\nRANGE=10\n"},
    {"rept", "...+...", "PERS=x\n"},
    {"AUTH", "+....+?", "USER=x\nLKEY=y\n"},
    {"PSET", "......+", "SHOW=CHAT\nSTAT=x\nPROD=y\n"},
    {"RGET", "......+", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n"},
    {"RADD", "......+", "LRSC=cso\nID=1\nLIST=B\nPRES=Y\nUSER=x\nGROUP=\n"},
    {"RDEL", "......+", "ID=1\nUSER=x\nLIST=B\n"},
    {"PADD", "......+", "USER=x\n"},
    {"PDEL", "......+", "USER=x\n"},
    {"PGET", "......+", "USER=x\n"},
    {"SEND", "......+", "TYPE=C\nUSER=x\nBODY=y\nSECS=1\n"},
    {"USCH", "......+", "USER=xx\n"},
    {"PING", ".....?+", "REF=1\nTIME=1\n"},
    {"DISC", ".....?+", ""},
};

static bool is_known(const char *kind)
{
    for (size_t i = 0; i < w->log_count; i++)
        if (strstr(w->log[i], "event=unknown_kind") != NULL && strstr(w->log[i], kind) != NULL)
            return false;
    return true;
}

TEST_LOOP(who_may_say_what, each_kind_is_heard_where_it_belongs_and_refused_with_101_elsewhere, 0,
          COUNT(commands_heard))
{
    const char *kind = commands_heard[_i].kind;
    for (int place = 0; place < PLACES; place++) {
        struct raw *r = someone_at((enum place)place);
        bool answered = kind[0] != '~' && strcmp(kind, "PING") != 0; /* echoes never are (7) */
        size_t kept = w->record_count;
        char heard = commands_heard[_i].heard[place];
        say(r, kind, commands_heard[_i].payload);
        const struct got *g = raw_look(r, kind);
        if (!is_known(kind))
            return; /* a part of the protocol that this version does not speak */
        if (heard == '+') {
            ck_assert_msg((g != NULL) == answered, "%s at %d", kind, place);
            ck_assert_msg(g == NULL || strcmp(got_code(g), "sess") != 0, "%s at %d", kind, place);
        } else if (heard == '.') {
            ck_assert_msg(g != NULL, "%s at %d", kind, place);
            ck_assert_msg(strcmp(got_code(g), "sess") == 0 && got_status(g) == 101, "%s at %d: %s, %d", kind, place,
                          got_code(g), (int)got_status(g));
            OPEN(r);
            ck_assert_uint_eq(w->record_count, kept);
        }
        raw_close(r);
    }
}

TEST(who_may_say_what, the_first_frame_decides_which_service_it_is)
{
    struct raw *r = raw_open(w, 0);
    REFUSED(raw_ask(r, "RGET", "LIST=B\nID=1\n"), "sess", 101); /* neither @dir nor AUTH: the lobby */
    greet(r);
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
    r = raw_open(w, 0);
    SUCCEEDS(raw_auth(r, "Bob", "secret")); /* on the same ports as all */
    r = raw_open(w, 0);
    (void)raw_ask(r, "@dir", DIR_REQUEST);
    REFUSED(raw_ask(r, "auth", "NAME=Ann\nPASS=x\n"), "sess", 101);
    REFUSED(raw_ask(r, "AUTH", "USER=Ann\nLKEY=x\n"), "sess", 101);
}

TEST(who_may_say_what, a_member_may_choose_and_select_before_it_plays)
{
    struct raw *r = guest(); /* the order of the captures, one frame after another */
    raw_forget(r);
    raw_send(r, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1");
    say_auth(r, "Ann", "secret");
    raw_send(r, "chal", "PERS=*\n");
    raw_send(r, "news", "NAME=0\n");
    GOT(r, "sele auth chal news");
    SAYS(frame_at(r, 2), "MODE=chal\nSTATUS=1");
}

/* ---- Unknown kinds and broken frames (6) -------------------------------- */

TEST_LOOP(who_may_say_what, ten_unknown_kinds_close_the_connection, 0, PLACES)
{
    static const char *const unknown[] = {"xyzw", "Auth", "!!!!", "~~~~", "AUXI"};
    struct raw *r = someone_at((enum place)_i);
    raw_forget(r);
    for (int i = 0; i < 9; i++) {
        const char *kind = unknown[i % COUNT(unknown)];
        const struct got *g = raw_ask(r, kind, "TEXT=x\n");
        REFUSED(g, "miss", 0);
        SAYS(g, "STATUS=0");
        OPEN(r);
        if (_i > 0 && _i < IN_DIRECTORY) /* what is known in between changes nothing */
            SUCCEEDS(raw_ask(r, "sele", "MESGS=1\n"));
    }
    raw_forget(r);
    raw_send(r, "last", "");
    raw_send(r, "more", "");
    world_settle(w);
    CLOSED(r);
    GOT(r, "last");
    REFUSED(frame_at(r, 0), "miss", 0);
}

static size_t log_lines(const char *part)
{
    size_t lines = 0;
    for (size_t i = 0; i < w->log_count; i++)
        lines += strstr(w->log[i], part) != NULL;
    return lines;
}

TEST_LOOP(who_may_say_what, a_broken_frame_closes_with_one_line_in_the_log, 0, 17)
{
    static const struct {
        uint8_t bytes[12];
        bool broken;
    } heads[] = {
        {{'s', 'e', 'l', 'e', 0, 0, 0, 0, 0, 0, 0, 0}, true},
        {{'s', 'e', 'l', 'e', 0, 0, 0, 0, 0, 0, 0, 11}, true},
        {{'s', 'e', 'l', 'e', 0, 0, 0, 0, 0, 0, 0, 1}, true},
        {{'s', 'e', 'l', 'e', 0, 0, 0, 0, 0, 0, 8, 1}, true},
        {{'s', 'e', 'l', 'e', 0, 0, 0, 0, 0, 1, 0, 0}, true},
        {{'s', 'e', 'l', 'e', 0, 0, 0, 0, 0x80, 0, 0, 0}, true},
        {{'s', 'e', 'l', 'e', 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF}, true},
        {{'s', 'e', 'l', 'e', 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, true},
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12}, true},
        {{'s', 'e', 'l', 0, 0, 0, 0, 0, 0, 0, 0, 12}, true},
        {{'s', 'e', '\n', 'e', 0, 0, 0, 0, 0, 0, 0, 12}, true},
        {{'s', 0x7F, 'l', 'e', 0, 0, 0, 0, 0, 0, 0, 12}, true},
        {{0x80, 'e', 'l', 'e', 0, 0, 0, 0, 0, 0, 0, 12}, true},
        {{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 12}, true},
        {{'s', 'e', 'l', 'e', 0, 0, 0, 0, 0, 0, 0, 12}, false},             /* no payload */
        {{'s', 'e', 'l', 'e', 0, 0, 0, 0, 0, 0, 8, 0}, false},              /* 2 KiB */
        {{'s', 'e', 'l', 'e', 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 12}, false}, /* any code */
    };
    static const enum place places[] = {FRESH, LOBBY_GUEST, LOBBY_PLAYER, IN_DIRECTORY, IN_BUDDY};
    if (_i >= COUNT(heads))
        return;
    for (int k = 0; k < COUNT(places); k++) {
        uint8_t rest[2048 - 12] = {0};
        struct raw *r = someone_at(places[k]);
        size_t before = log_lines("broken_frame");
        raw_send(r, "sele", "MESGS=1\n"); /* what came before is answered */
        raw_send_bytes(r, heads[_i].bytes, 12);
        if (heads[_i].bytes[10] == 8 && heads[_i].bytes[11] == 0)
            raw_send_bytes(r, rest, sizeof rest);
        raw_send(r, "sele", "MESGS=1\n"); /* what comes behind only after a whole one */
        world_settle(w);
        if (heads[_i].broken) {
            CLOSED(r);
            GOT(r, "sele");
            ck_assert_uint_eq(log_lines("broken_frame"), before + 1);
        } else {
            OPEN(r);
            GOT(r, "sele sele sele");
            ck_assert_uint_eq(log_lines("broken_frame"), before);
            raw_close(r);
        }
    }
}

TEST(who_may_say_what, the_consoles_own_frames_are_read)
{
    /* The first `sele` has no last newline, the ping echo a code (1, 2). */
    struct raw *r = player(w, "Ann", "");
    raw_send_frame(r, "~png", 0x11, "REF=1\nTIME=3\n", 14);
    raw_send_frame(r, "sele", 0, "ROOMS=1 USERS=0", 16);
    raw_send_frame(r, "onln", 0, "PERS=\"Ann\"\n", 11); /* without its NUL */
    raw_send_frame(r, "onln", 0, "pers: Ann\n", 11);
    GOT(r, "sele onln onln");
    SUCCEEDS(frame_at(r, 1));
    SUCCEEDS(frame_at(r, 2));
}

/* ---- Limits for an address ---------------------------------------------- */

GROUP(addresses, open_world, close_world, 0);

TEST(addresses, an_address_makes_only_so_many_accounts_in_ten_minutes)
{
    char name[16];
    reopen_with("accounts-per-address = 3\n");
    uint32_t ip = world_fresh_ip(w);
    for (int i = 0; i < 3; i++) {
        struct raw *r = raw_open(w, ip);
        greet(r);
        (void)snprintf(name, sizeof name, "Racer%d", i);
        SUCCEEDS(i == 0 ? sign_up(r, name, "secret") : raw_auth(r, name, "secret"));
    }
    struct raw *r = raw_open(w, ip);
    greet(r);
    REFUSED(sign_up(r, "Fourth", "secret"), "hack", 100);
    REFUSED(raw_auth(r, "Fourth", "secret"), "hack", 100);
    ck_assert(world_logged(w, "name=\"Fourth\" reason=\"hack\" limit=\"accounts-per-address\""));
    SUCCEEDS(raw_auth(r, "Racer1", "secret")); /* logins are not counted so */
    can_log_in("Fourth", "secret");            /* nor other addresses */
    world_run(w, 605000);
    r = raw_open(w, ip);
    greet(r);
    SUCCEEDS(sign_up(r, "Fifth", "secret"));
}

TEST(addresses, an_address_fails_only_so_many_logins_in_ten_minutes)
{
    reopen_with("logins-per-address = 4\n");
    uint32_t ip = world_fresh_ip(w);
    for (int i = 0; i < 10; i++)
        SUCCEEDS(raw_auth(raw_open(w, ip), "Ann", "secret"));
    for (int i = 0; i < 4; i++)
        REFUSED(raw_auth(raw_open(w, ip), "Ann", "guessed"), "pass", 100);
    REFUSED(raw_auth(raw_open(w, ip), "Ann", "secret"), "hack", 100);
    REFUSED(raw_auth(raw_open(w, ip), "Bob", "secret"), "hack", 100);
    ck_assert(world_logged(w, "reason=\"hack\" limit=\"logins-per-address\""));
    can_log_in("Ann", "secret");
    world_run(w, 605000);
    SUCCEEDS(raw_auth(raw_open(w, ip), "Ann", "secret"));
}

/* Four more may ask the directory, which says why they do not get in (3.1). */
#define DIRECTORY_SPARE 4

TEST(addresses, an_address_has_only_so_many_connections)
{
    reopen_with("per-address = 3\n");
    uint32_t ip = world_fresh_ip(w);
    struct raw *first = raw_open(w, ip), *second = raw_open(w, ip), *third = raw_open(w, ip), *spare = NULL;
    for (int i = 0; i < DIRECTORY_SPARE; i++) {
        spare = raw_open(w, ip);
        OPEN(spare);
    }
    CLOSED(raw_open(w, ip));
    ck_assert(world_logged(w, "reason=\"too many from this address\""));
    OPEN(raw_open(w, 0));
    raw_close(first);
    raw_close(spare);
    OPEN(raw_open(w, ip));
    greet(second); /* whoever was there before the crowd gets what it came for */
    REFUSED(raw_ask(third, "AUTH", buddy_tags("Ann", "$00")), "user", 101);
}

TEST_LOOP(addresses, a_connection_too_many_may_ask_the_directory_and_nothing_else, 0, 7)
{
    static const struct said firsts[] = {
        {"addr", ADDR_REQUEST},           {"skey", SKEY_REQUEST}, {"auth", "NAME=Ann\n"}, {"~png", "TIME=1\n"},
        {"AUTH", "USER=Ann\nLKEY=$00\n"}, {"WHAT", "N=1\n"},      {"@dir", DIR_REQUEST}};
    bool asks = _i == 6;
    reopen_with("per-address = 2\n");
    uint32_t ip = world_fresh_ip(w);
    struct raw *ann = raw_login_from(w, ip, "Ann", "secret");
    (void)raw_open(w, ip);
    for (int turn = 0; turn < 3; turn++) { /* the next one, too */
        struct raw *r = raw_open(w, ip);
        OPEN(r);
        raw_forget(r);
        say(r, firsts[_i].kind, firsts[_i].payload);
        ck_assert_uint_eq(r->count, asks ? 1 : 0); /* not a word but the directory's */
        if (asks) {
            SAYS(frame_at(r, 0), "ADDR=0.0.0.0\nPORT=0\nDOWN=*");
            ck_assert_ptr_nonnull(strstr(got_text(frame_at(r, 0), "DOWN"), "from your address"));
            OPEN(r);
            say(r, "addr", ADDR_REQUEST); /* nor afterwards */
            ck_assert_int_eq(frames_of(r, "addr", NULL) == 1 && frame_at(r, 1)->code == 0, 0);
        } else {
            CLOSED(r);
        }
    }
    OPEN(ann);
    SUCCEEDS(raw_ask(ann, "mesg", "TEXT=here\n"));
}

/* ---- Whom an address lets in: trusted networks, and dead links ------------- */

static const struct world_options for_many = {.limits = {256, 512, 32, 4096, 1024, 512, 0},
                                              .config = "per-address = 256\n",
                                              .no_check = true};

/* A player of that address, with both links. */
static struct raw *with_friends(uint32_t ip, const char *name)
{
    struct raw *lobby = raw_login_from(w, ip, name, "secret");
    const char *ticket = ticket_of(lobby, name);
    SUCCEEDS(raw_ask(raw_open(w, ip), "AUTH", buddy_tags(name, ticket)));
    raw_forget(lobby);
    return lobby;
}

TEST(addresses, a_party_of_128_gets_in_and_the_next_is_told_why_he_does_not)
{
    char name[16];
    reopen(&for_many);
    uint32_t ip = world_fresh_ip(w);
    for (int i = 0; i < 128; i++) {
        (void)snprintf(name, sizeof name, "Racer%d", i);
        if (i % 50 == 0)
            world_run(w, 605000); /* which is how many accounts may be made in ten minutes */
        ck_assert_str_eq(kept_out(ip), "");
        (void)with_friends(ip, name);
    }
    ck_assert_ptr_nonnull(strstr(kept_out(ip), "from your address"));
    world_run(w, 605000); /* those who are there stay, and so does the reason */
    ck_assert_ptr_nonnull(strstr(kept_out(ip), "from your address"));
    ck_assert_str_eq(kept_out(0), "");
    world_configure(w, "per-address = 256\ntrusted = 198.51.100.0/24\n");
    ck_assert_str_eq(kept_out(ip), "");
    (void)with_friends(ip, "Late");
    world_configure(w, "per-address = 256\n");
    ck_assert_ptr_nonnull(strstr(kept_out(ip), "from your address"));
}

#define FEW "per-address = 2\nlogins-per-address = 3\naccounts-per-address = 1\n"

/* None of the limits that an address has: connections, accounts, logins that fail,
 * and the wait after a hundred of those. What protects an account stays. */
TEST_LOOP(addresses, a_trusted_network_has_no_limits_for_an_address, 0, 5)
{
    static const char *const networks[] = {"trusted = 198.51.100.0/24\n", "trusted = 0.0.0.0/0\n",
                                           "trusted = 10.0.0.0/8\ntrusted = 198.51.100.1/32\ntrusted = 192.0.2.0/24\n",
                                           "trusted = 198.51.100.0/25\n",
                                           "trusted = 198.51.100.1/32\ntrusted = 0.0.0.0/32\n"};
    char config[256], name[16];
    (void)snprintf(config, sizeof config, FEW "%s", networks[_i]);
    reopen_with(config);
    uint32_t ip = WORLD_FIRST_IP;
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "Racer%d", i);
        ck_assert_str_eq(kept_out(ip), "");
        (void)with_friends(ip, name);
    }
    for (int i = 0; i < 110; i++) {
        struct raw *r = raw_open(w, ip);
        (void)snprintf(name, sizeof name, "Racer%d", i % 20);
        if (i >= 20)
            (void)snprintf(name, sizeof name, "nobody.%d", i); /* no account has such a name */
        REFUSED(raw_auth(r, name, "guessed"), i < 20 ? "pass" : "imst", 100);
        raw_close(r);
    }
    SUCCEEDS(raw_auth(raw_open(w, ip), "Racer1", "secret"));
    for (int i = 0; i < 5; i++)
        REFUSED(raw_auth(raw_open(w, ip), "Racer2", "guessed"), i < 4 ? "pass" : "hack", 100);
    SUCCEEDS(raw_auth(raw_open(w, ip), "Racer1", "secret"));
    uint32_t other = _i == 1 ? 0 : 0xC6336401u + 256; /* others have limits */
    if (_i != 1) {
        (void)raw_open(w, other);
        (void)raw_open(w, other);
        ck_assert_ptr_nonnull(strstr(kept_out(other), "from your address"));
    }
    world_configure(w, FEW); /* it takes effect at once; whoever is there stays */
    CLOSED(raw_open(w, ip));
    ck_assert_uint_ge(world_kept(w, "acct"), 20);
}

TEST(addresses, a_trusted_address_has_as_many_sessions_of_the_directory_as_it_asks_for)
{
    enum { ASKED = 300 };
    int32_t sess[ASKED];
    char mask[ASKED][40];
    for (int trusted = 0; trusted < 2; trusted++) {
        reopen(&(struct world_options){.limits = {256, 512, 32, 4096, 1024, 512, 0},
                                       .config = trusted ? "skey = off\ntrusted = 198.51.100.1/32\n" : "skey = off\n",
                                       .no_check = true});
        for (int i = 0; i < ASKED; i++) {
            struct raw *r = raw_open(w, WORLD_FIRST_IP);
            const struct got *g = raw_ask(r, "@dir", DIR_REQUEST);
            sess[i] = got_number(g, "SESS");
            (void)snprintf(mask[i], sizeof mask[i], "%.39s", got_raw(g, "MASK"));
            raw_close(r);
        }
        for (int i = 0; i < ASKED; i += 23) {
            char more[32], name[16];
            (void)snprintf(more, sizeof more, "MASK=%d\n", sess[i]);
            (void)snprintf(name, sizeof name, "Racer%d", i);
            struct raw *r = raw_open(w, WORLD_FIRST_IP);
            const struct got *g = raw_ask(r, "auth", credentials(name, masked(mask[i], "secret"), more));
            bool remembered = trusted || i >= ASKED - 128;
            if (remembered)
                SUCCEEDS(g);
        }
        for (int i = 0; i < ASKED; i += 23) { /* with the password that he has typed */
            char name[16];
            (void)snprintf(name, sizeof name, "Racer%d", i);
            if (trusted)
                can_log_in(name, "secret");
        }
    }
}

/* Ping echoes come no more from any of these; nor does anything else. */
static void lose_power(struct raw **clan, size_t count)
{
    for (size_t i = 0; i < count; i++)
        clan[i]->keeps_pings = true;
}

/* The router of a clan lost its power, and the links that were open are open for the
 * server still. */
TEST(addresses, a_clan_returns_over_its_dead_links)
{
    enum { CLAN = 30 };
    struct raw *dead[2 * CLAN];
    char name[16];
    reopen_with("per-address = 64\nidle-s = 3000\naccounts-per-address = 100\n");
    uint32_t ip = world_fresh_ip(w);
    struct raw *cid = player(w, "Cid", "East");
    for (int i = 0; i < CLAN; i++) {
        (void)snprintf(name, sizeof name, "Racer%d", i);
        dead[2 * i] = raw_login_from(w, ip, name, "secret");
        dead[2 * i + 1] = raw_open(w, ip);
        SUCCEEDS(raw_ask(dead[2 * i + 1], "AUTH", buddy_tags(name, ticket_of(dead[2 * i], name))));
    }
    ck_assert_str_eq(kept_out(ip), "");
    lose_power(dead, 2 * CLAN);
    world_run(w, 70000);
    raw_forget(cid);
    for (int i = 0; i < CLAN; i++) { /* others of them than before, so that nobody takes his own place */
        (void)snprintf(name, sizeof name, "Other%d", i);
        ck_assert_str_eq(kept_out(ip), "");
        (void)with_friends(ip, name);
    }
    size_t taken = 0;
    for (size_t i = 0; i < w->log_count; i++)
        taken += strstr(w->log[i], "event=close") != NULL &&
                 strstr(w->log[i], "reason=\"silent, and a new one from its address takes its place\"") != NULL;
    ck_assert_uint_ge(taken, 56);
    OPEN(cid);
}

/* Four connections and no more: the one who comes takes the place of that one who has
 * been silent longest, and others see him leave. */
TEST(addresses, the_longest_silent_one_makes_room_and_others_see_him_leave)
{
    reopen_with("per-address = 4\nidle-s = 3000\n");
    uint32_t ip = world_fresh_ip(w);
    struct raw *cid = player(w, "Cid", "East");
    struct raw *clan[] = {raw_login_from(w, ip, "Ann", "secret"), raw_login_from(w, ip, "Bob", "secret"),
                          raw_login_from(w, ip, "Dan", "secret"), raw_login_from(w, ip, "Eve", "secret")};
    for (int i = 0; i < 4; i++) {
        go(clan[i], "East");
        clan[i]->keeps_pings = i < 3; /* Eve is there */
    }
    world_run(w, 5000);
    say(clan[0], "onln", "PERS=Ann\n"); /* so Bob has been silent longest */
    ck_assert_ptr_nonnull(strstr(kept_out(ip), "from your address"));
    world_run(w, 30000); /* 35 s is not over 35 s */
    ck_assert_ptr_nonnull(strstr(kept_out(ip), "from your address"));
    for (int i = 0; i < 4; i++)
        OPEN(clan[i]);
    raw_forget(cid);
    world_run(w, 30000);
    struct raw *fay = raw_open(w, ip);
    OPEN(clan[0]);
    CLOSED(clan[1]);
    OPEN(clan[2]);
    OPEN(clan[3]);
    GOT(cid, "+usr +pop");
    ck_assert(!got_has(frame_at(cid, 0), "N")); /* which is how a console is told that one has left */
    greet(fay);
    SUCCEEDS(raw_auth(fay, "Fay", "secret"));
    REFUSED(raw_ask(cid, "onln", "PERS=Bob\n"), "user", 102);
    (void)raw_open(w, ip);
    CLOSED(clan[2]);
    (void)raw_open(w, ip);
    CLOSED(clan[0]);
    struct raw *spare = raw_open(w, ip); /* there is no dead one any more */
    say(spare, "addr", ADDR_REQUEST);
    CLOSED(spare);
    OPEN(clan[3]);
    OPEN(fay);
}

/* Whoever answers pings is there, however long he says nothing else; and so is one to
 * whom the server itself has said nothing, as it was stopped for a while. */
TEST_LOOP(addresses, nobody_who_is_there_makes_room, 0, 4)
{
    static const char *const config[] = {"per-address = 2\nidle-s = 3000\n",
                                         "per-address = 2\nidle-s = 3000\nping-s = 600\n",
                                         "per-address = 2\nidle-s = 3000\n", "per-address = 2\nidle-s = 3000\n"};
    reopen_with(config[_i]);
    uint32_t ip = world_fresh_ip(w);
    struct raw *ann = raw_login_from(w, ip, "Ann", "secret"), *bob = raw_login_from(w, ip, "Bob", "secret");
    if (_i == 0) {
        world_run(w, 3600000);
    } else if (_i == 1) {
        world_run(w, 300000); /* not pinged yet */
    } else if (_i == 2) {
        w->mono_ms += 120000; /* nobody has given the server the time to ping */
    } else {
        w->hold_records = true;
        ann->keeps_pings = bob->keeps_pings = true;
        say(ann, "pers", "PERS=Ann\n");
        say(bob, "pers", "PERS=Bob\n");
        world_run(w, 120000); /* they wait for the disk, and not we for them */
    }
    struct raw *eve = raw_open(w, ip);
    say(eve, "addr", ADDR_REQUEST);
    CLOSED(eve);
    OPEN(ann);
    OPEN(bob);
    if (_i == 3) {
        w->hold_records = false;
        world_release_records(w, true);
        (void)raw_open(w, ip);
        OPEN(ann);
        OPEN(bob);
    }
}

/* ---- Time (7) ----------------------------------------------------------- */

GROUP(time, open_world, close_world, 0);

/* Runs in steps of 100 ms until it has a ping, which is then forgotten, or so
 * long. Returns the time of the ping, 0 if there was none. */
static uint64_t await_ping(struct raw *r, const char *kind, uint64_t ms)
{
    for (uint64_t end = w->mono_ms + ms; w->mono_ms < end; world_run(w, 100)) {
        const struct got *g = raw_look(r, kind);
        if (g != NULL) {
            SAYS(g, "REF=*\nTIME=*");
            ck_assert_uint_eq(g->code, 0);
            return w->mono_ms;
        }
    }
    return 0;
}

TEST_LOOP(time, a_connection_is_pinged_every_30_s, 0, 2)
{
    bool buddy = _i == 1;
    const char *kind = buddy ? "PING" : "~png";
    struct raw *r = someone_at(buddy ? IN_BUDDY : FRESH);
    r->keeps_pings = true;
    if (!buddy) {
        world_run(w, 4000);
        (void)raw_ask(r, "addr", ADDR_REQUEST); /* from here on */
    }
    uint64_t last = await_ping(r, kind, 31000);
    ck_assert_uint_gt(last, 0);
    for (int i = 0; i < 10; i++) {
        raw_forget(r);
        raw_send_frame(r, kind, 0x10, "REF=1\nTIME=5\n", 14);
        world_settle(w);
        GOT(r, ""); /* an echo is never answered */
        uint64_t next = await_ping(r, kind, 35000);
        ck_assert_uint_ge(next - last, 29000);
        ck_assert_uint_le(next - last, 31000);
        last = next;
    }
    OPEN(r);
}

TEST(time, a_ping_tells_the_last_round_trip)
{
    static const struct {
        uint32_t late_ms, code;
    } echoes[] = {{120, 0x10}, {0, 0x11}, {2500, 0}, {35, 0x10}};
    struct raw *r = someone_at(LOBBY_PLAYER);
    for (int i = 0; i < COUNT(echoes); i++) {
        ck_assert_uint_gt(await_ping(r, "~png", 35000), 0);
        world_run(w, echoes[i].late_ms);
        raw_send_frame(r, "~png", echoes[i].code, "REF=1\nTIME=99\n", 15);
        world_settle(w);
        raw_forget(r);
        const struct got *g = NULL;
        for (int k = 0; k < 350 && g == NULL; k++) {
            world_run(w, 100);
            g = raw_count(r, "~png") > 0 ? frame_at(r, 0) : NULL;
        }
        ck_assert_ptr_nonnull(g);
        ck_assert_int_ge(got_number(g, "TIME"), (int32_t)echoes[i].late_ms);
        ck_assert_int_le(got_number(g, "TIME"), (int32_t)echoes[i].late_ms + 110); /* our own steps */
    }
}

TEST_LOOP(time, pings_are_spread_with_at_most_two_batches_a_second, 0, 2)
{
    enum { CROWD = 60, STEP_MS = 50 };
    uint32_t period_ms = _i == 0 ? 30000 : 6000;
    reopen_with(_i == 0 ? "" : "ping-s = 6\n");
    struct raw *r[CROWD];
    uint64_t batch[3] = {0, 0, 0}, last[CROWD] = {0}; /* the newest three batches */
    uint32_t pings = 0, batches = 0;
    for (int i = 0; i < CROWD; i++) { /* all at the same moment */
        r[i] = raw_open(w, 0);
        r[i]->keeps_pings = true;
        (void)raw_ask(r[i], "addr", ADDR_REQUEST);
        raw_forget(r[i]);
    }
    for (uint64_t start = w->mono_ms; w->mono_ms < start + 4 * period_ms;) {
        uint32_t at_once = 0;
        world_run(w, STEP_MS);
        for (int i = 0; i < CROWD; i++) {
            if (r[i]->count == 0)
                continue;
            ck_assert_uint_eq(r[i]->count, 1);
            ck_assert_uint_ge(w->mono_ms - last[i], last[i] == 0 ? 0 : period_ms - 1000);
            ck_assert_uint_le(w->mono_ms - last[i], period_ms + 1000);
            last[i] = w->mono_ms;
            raw_send_frame(r[i], "~png", 0x10, "REF=1\nTIME=5\n", 14);
            raw_forget(r[i]);
            at_once++;
        }
        if (at_once > 0) {
            ck_assert_uint_le(at_once, _i == 0 ? CROWD / 10 : CROWD / 3);
            batch[0] = batch[1];
            batch[1] = batch[2];
            batch[2] = w->mono_ms;
            ck_assert(batch[0] == 0 || batch[2] - batch[0] >= 1000 - STEP_MS);
            batches++;
        }
        pings += at_once;
    }
    ck_assert_uint_ge(pings, 3 * CROWD);
    ck_assert_uint_le(pings, 4 * CROWD + CROWD / 10);
    ck_assert_uint_ge(batches, period_ms / 1000);
    for (int i = 0; i < CROWD; i++)
        OPEN(r[i]);
}

/* A shorter period holds at once for those who are here: none of them waits out the old one. */
TEST(time, a_new_period_of_pings_reaches_those_who_are_here)
{
    enum { CROWD = 30 };
    struct raw *r[CROWD];
    reopen_with("ping-s = 55\n");
    for (int i = 0; i < CROWD; i++) {
        r[i] = raw_open(w, 0);
        r[i]->keeps_pings = true;
        (void)raw_ask(r[i], "addr", ADDR_REQUEST);
    }
    world_configure(w, "ping-s = 6\n");
    for (int i = 0; i < CROWD; i++)
        raw_forget(r[i]);
    world_run(w, 8000);
    for (int i = 0; i < CROWD; i++)
        ck_assert_uint_ge(raw_count(r[i], "~png"), 1);
}

TEST(time, who_says_nothing_for_60_s_is_dropped)
{
    struct raw *bob = player(w, "Bob", "East"), *ann = player(w, "Ann", "East");
    ann->keeps_pings = true;
    forget_all();
    world_run(w, 59900);
    OPEN(ann);
    raw_send_bytes(ann, "s", 1); /* any byte will do */
    world_run(w, 59900);
    OPEN(ann);
    ck_assert_uint_eq(frames_of(bob, "+usr", NULL), 0);
    world_run(w, 5100); /* noticed within 5 s */
    CLOSED(ann);
    ck_assert_uint_eq(frames_of(bob, "+usr", NULL), 1);
    OPEN(bob); /* who echoes stays */
}

TEST(time, a_silent_buddy_connection_is_dropped_too)
{
    struct raw *r = someone_at(IN_BUDDY);
    world_run(w, 59900);
    OPEN(r);
    world_run(w, 5100);
    CLOSED(r);
}

TEST(time, a_connection_without_a_whole_frame_is_dropped_after_10_s)
{
    struct raw *quiet = raw_open(w, 0), *slow = raw_open(w, 0), *busy = raw_open(w, 0);
    static const uint8_t head[12] = {'a', 'd', 'd', 'r', 0, 0, 0, 0, 0, 0, 0, 40};
    (void)raw_ask(busy, "addr", ADDR_REQUEST);
    for (size_t i = 0; i < 9; i++) {
        raw_send_bytes(slow, &head[i], 1);
        world_run(w, 1000);
    }
    world_run(w, 900);
    OPEN(quiet);
    OPEN(slow);
    world_run(w, 1100);
    CLOSED(quiet);
    CLOSED(slow);
    OPEN(busy);
}

TEST(time, a_login_may_take_15_minutes)
{
    can_log_in("Ann", "secret");
    struct raw *slow = guest(), *wrong = guest(), *ann = player(w, "Bob", "");
    for (int i = 0; i < 4; i++) {
        world_run(w, 200000);
        REFUSED(raw_auth(wrong, "Ann", "wrong1"), "pass", 100); /* which does not prolong it */
    }
    world_run(w, 95000); /* 14:55; pinged and echoed all the time */
    OPEN(slow);
    OPEN(wrong);
    world_run(w, 10000);
    CLOSED(slow);
    CLOSED(wrong);
    OPEN(ann);
}

TEST(time, a_buddy_login_may_take_30_s)
{
    struct raw *r = someone_at(BUDDY_GUEST), *in = someone_at(IN_BUDDY);
    in->keeps_pings = false;
    world_run(w, 20000);
    REFUSED(raw_ask(r, "AUTH", BUDDY_PRODUCT "USER=Nobody\nLKEY=x\n"), "user", 101);
    world_run(w, 9500);
    OPEN(r);
    world_run(w, 1000);
    CLOSED(r);
    world_run(w, 300000);
    OPEN(in);
}

TEST(time, each_time_is_as_configured)
{
    reopen_with("ping-s = 6\nidle-s = 13\nlogin-s = 40\nfirst-frame-s = 3\nlinger-s = 2\n"
                "buddy-login-s = 7\n");
    struct raw *fresh = raw_open(w, 0), *directory = raw_open(w, 0), *buddy = someone_at(BUDDY_GUEST);
    struct raw *quiet = someone_at(LOBBY_GUEST), *slow = guest();
    (void)raw_ask(directory, "@dir", DIR_REQUEST);
    world_run(w, 1900);
    OPEN(directory);
    world_run(w, 200); /* 2.1 s */
    CLOSED(directory);
    OPEN(fresh);
    world_run(w, 1000);
    CLOSED(fresh);
    world_run(w, 3800); /* 6.9 s */
    OPEN(buddy);
    ck_assert_uint_ge(raw_count(quiet, "~png"), 1);
    world_run(w, 200);
    CLOSED(buddy);
    world_run(w, 5800); /* 12.9 s */
    OPEN(quiet);
    world_run(w, 5200);
    CLOSED(quiet);
    world_run(w, 21800); /* 39.9 s */
    OPEN(slow);
    world_run(w, 200);
    CLOSED(slow);
}

/* ---- The rate of input -------------------------------------------------- */

GROUP(pace, open_world, close_world, 0);

TEST_LOOP(pace, input_over_the_rate_waits_and_nothing_is_lost, 0, 3)
{
    enum { REQUESTS = 300 };
    static const enum world_split splits[] = {WORLD_WHOLE, WORLD_BYTES, WORLD_RANDOM};
    world_free(w);
    struct world_options options = {.config = "rate = 10\n", .split = splits[_i]};
    w = world_new(&options);
    struct raw *r = player(w, "Ann", ""), *other = player(w, "Bob", "");
    for (int i = 0; i < REQUESTS; i++) {
        char payload[32];
        (void)snprintf(payload, sizeof payload, "PERS=N%d\n", i);
        raw_send(r, "onln", payload);
    }
    world_settle(w);
    size_t burst = frames_of(r, "onln", NULL);
    ck_assert_uint_ge(burst, 10); /* some are heard at once */
    ck_assert_uint_le(burst, 100);
    for (int s = 1; s <= 10; s++) {
        world_run(w, 1000);
        ck_assert_uint_le(frames_of(r, "onln", NULL), burst + (size_t)(10 * s) + 1);
        ck_assert_uint_ge(frames_of(r, "onln", NULL), burst + (size_t)(8 * s));
        SUCCEEDS(raw_ask(other, "onln", "PERS=Bob\n")); /* nobody else waits */
    }
    world_run(w, 30000);
    ck_assert_uint_eq(frames_of(r, "onln", NULL), REQUESTS);
    for (int i = 0, k = 0; i < REQUESTS; k++) { /* in their order */
        char name[16];
        const struct got *g = frame_at(r, (size_t)k);
        if (strcmp(g->kind, "onln") == 0) {
            (void)snprintf(name, sizeof name, "N%d", i++);
            ck_assert_str_eq(got_text(g, "N"), name);
        }
    }
    OPEN(r);
    raw_forget(r);
    SUCCEEDS(raw_ask(r, "onln", "PERS=Ann\n"));
}

TEST(pace, the_default_rate_is_one)
{
    world_free(w);
    struct world_options options = {.config = ""};
    w = world_new(&options);
    struct nascar_event event = {.type = NASCAR_CONFIG, .conn = NASCAR_NONE, .bytes = (const uint8_t *)"", .size = 0};
    (void)world_step(w, &event); /* all keys as they are by default */
    struct raw *r = player(w, "Ann", "");
    for (int i = 0; i < 200; i++)
        raw_send(r, "onln", "PERS=Ann\n");
    world_settle(w);
    ck_assert_uint_lt(frames_of(r, "onln", NULL), 200);
    world_run(w, 30000);
    ck_assert_uint_eq(frames_of(r, "onln", NULL), 200);
}

TEST(pace, a_persons_pace_is_never_slowed)
{
    static const struct said things[] = {
        {"move", "NAME=East\nPASS=\n"},
        {"mesg", "TEXT=hello\n"},
        {"mesg", "TEXT=again\n"},
        {"user", "PERS=Bob\n"},
        {"peek", "NAME=West\n"},
        {"auxi", "TEXT=racing\n"},
        {"mesg", "TEXT=psst\nPRIV=Bob\n"},
        {"news", "NAME=1\n"},
        {"move", "NAME=\nPASS=\n"},
        {"room", "NAME=C.Ann\nPASS=\nDESC=None\nMAX=50\n"},
        {"onln", "PERS=Bob\n"},
        {"mesg", "TEXT=last\n"},
    };
    reopen_with("rate = 10\n");
    struct raw *bob = player(w, "Bob", ""), *ann = player(w, "Ann", ""); /* at once, as consoles do */
    SUCCEEDS(raw_ask(ann, "chal", "PERS=*\n"));
    (void)raw_ask(ann, "news", "NAME=0\n");
    ck_assert_uint_eq(w->mono_ms, 0);
    for (int i = 0; i < 600; i++) { /* two things a second, for five minutes */
        const char *kind = things[i % COUNT(things)].kind;
        raw_forget(ann);
        raw_forget(bob);
        raw_send(ann, kind, things[i % COUNT(things)].payload);
        ck_assert_msg(raw_look(ann, kind) != NULL, "%s waits at %llu", kind, (unsigned long long)w->mono_ms);
        world_run(w, 500);
    }
}
