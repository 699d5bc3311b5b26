/* The commands of the directory, the lobby and the buddy service, one by one:
 * every tag of every answer, every refusal with its letters and STATUS, who may
 * say what when, and what time does to those who say nothing (PROTOCOL 1-4, 6,
 * 7, 9). Rooms, chat and challenges have suites of their own.
 *
 * SPDX-License-Identifier: MIT */
#include "../nascar_server.c"

#include "suite.h"
#include "clients.h"

/* ---- Clients ------------------------------------------------------------ */

#define DIR_REQUEST "PROD=NASCAR-PS2-2004\nVERS=\"PS2/XXX-Jul  2 2003\"\nLANG=en\nSLUS=BASLUS-20824\n"
#define ADDR_REQUEST "ADDR=192.0.2.100\nPORT=50000\n"
#define SKEY_REQUEST "SKEY=$5075626c6963204b6579\n"
#define BUDDY_PRODUCT "PROD=NASCAR\nVERS=XXX\nPRES=NASCAR2004\n"

/* addr and skey; the key is then the client's. */
static void greet(struct raw *r)
{
    SUCCEEDS(raw_ask(r, "addr", ADDR_REQUEST));
    const struct got *g = raw_ask(r, "skey", SKEY_REQUEST);
    (void)console_read_binary(console_find(got_payload(g), "SKEY"), r->key, sizeof r->key);
    r->has_key = true;
}

static struct raw *guest(void)
{
    struct raw *r = raw_open(w, 0);
    greet(r);
    return r;
}

/* The password as it goes over the wire, in the form of the session key (4). */
static const char *enciphered(struct raw *r, const char *password)
{
    char *text = lobby_text();
    text[0] = '~';
    console_encode(&r->pad, r->key, sizeof r->key, password, text + 1);
    return text;
}

/* The same in the form of the directory's MASK. */
static const char *masked(const char *mask, const char *password)
{
    char *text = lobby_text();
    console_mask(mask, password, text, 128);
    return text;
}

/* NAME, PASS as it stands here, and more lines. */
static const char *credentials(const char *name, const char *pass, const char *more)
{
    static struct console_tags tags;
    char *text = lobby_text();
    memset(&tags, 0, sizeof tags);
    console_put_text(&tags, "NAME", name);
    console_put_text(&tags, "PASS", pass);
    (void)snprintf(text, 2048, "%s%s", tags.text, more);
    return text;
}

static void say_auth(struct raw *r, const char *name, const char *password)
{
    raw_send(r, "auth", credentials(name, enciphered(r, password), "TOS=1\n"));
}

static const char *sign_up_tags(struct raw *r, const char *name, const char *password, const char *more)
{
    return credentials(name, enciphered(r, password), more);
}

static const struct got *sign_up(struct raw *r, const char *name, const char *password)
{
    return raw_ask(r, "acct",
                   sign_up_tags(r, name, password,
                                "MAIL=a@example.org\nSPAM=YN\nGEND=M\nBORN=19800115\nTOS=1\n"
                                "CPAT=1\nMINAGE=13\nPMAIL=\n"));
}

/* What a login of this name would get; the connection is gone afterwards. */
static const char *login_code(const char *name, const char *password)
{
    char *code = lobby_text();
    struct raw *r = raw_open(w, 0);
    const struct got *g = raw_auth(r, name, password);
    (void)snprintf(code, 8, "%s", got_code(g));
    ck_assert((code[0] == '\0') == (got_status(g) == 1));
    raw_close(r);
    return code;
}

static void can_log_in(const char *name, const char *password)
{
    ck_assert_str_eq(login_code(name, password), "");
}

/* The personas of an account, as the next login tells. */
static const char *personas_of(const char *name, const char *password)
{
    char *list = lobby_text();
    struct raw *r = raw_open(w, 0);
    const struct got *g = raw_auth(r, name, password);
    SUCCEEDS(g);
    (void)snprintf(list, 128, "%s", got_text(g, "PERSONAS"));
    raw_close(r);
    return list;
}

static bool is_hex(const char *text, size_t digits)
{
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

/* `Y-M-D h:m:s`, and not later than now. */
static bool is_past_date(const char *text)
{
    int part[6], used = 0;
    int64_t now = (int64_t)(w->mono_ms / 1000) + w->wall_offset_s;
    return sscanf(text, "%d-%d-%d %d:%d:%d%n", &part[0], &part[1], &part[2], &part[3], &part[4], &part[5], &used) ==
               6 &&
           text[used] == '\0' && part[0] >= 2026 && console_read_epoch(text) <= now;
}

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
    static const struct {
        const char *payload;
        bool good;
    } tries[] = {
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
        const struct got *g = raw_ask(r, "addr", tries[i].payload);
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

/* ---- auth (3.2, 4, 6) --------------------------------------------------- */

GROUP(logins, open_world, close_world, 0);

TEST(logins, a_first_login_makes_the_account_and_its_persona)
{
    struct raw *ann = raw_open(w, 0);
    world_run(w, 3000);
    const struct got *g = raw_auth(ann, "Ann", "secret");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "STATUS=1\nSESS=*\nTOS=1\nNAME=Ann\nADDR=%s\nPERSONAS=Ann\nMAIL=\nSPAM=NN\nLAST=*", dotted(ann->ip));
    ck_assert_int_ge(got_number(g, "SESS"), 1);
    ck_assert(is_past_date(got_raw(g, "LAST")));
    SUCCEEDS(ask_pers(ann, "Ann"));
    raw_close(ann);
    world_run(w, 3600000);
    size_t kept = world_kept(w, "acct");
    ann = raw_open(w, 0);
    g = raw_auth(ann, "Ann", "secret");
    SAYS(g, "STATUS=1\nSESS=*\nTOS=1\nNAME=Ann\nADDR=%s\nPERSONAS=Ann\nMAIL=\nSPAM=NN\nLAST=*", dotted(ann->ip));
    ck_assert(is_past_date(got_raw(g, "LAST"))); /* the login before */
    ck_assert_int_eq(console_read_epoch(got_raw(g, "LAST")), WORLD_WALL_S + 3);
    ck_assert_uint_eq(world_kept(w, "acct"), kept);
}

TEST(logins, the_first_persona_is_the_accounts_name_cut_to_12)
{
    ck_assert_str_eq(personas_of("Abcdefghijklmnop", "secret"), "Abcdefghijkl");
    ck_assert_str_eq(personas_of("Twelve_chars", "secret"), "Twelve_chars");
    /* taken: none, and the game asks for one */
    ck_assert_str_eq(personas_of("abcdefghijklXYZ", "secret"), "");
    struct raw *r = member("abcdefghijklXYZ", "secret");
    SUCCEEDS(raw_ask(r, "cper", "PERS=Other\n"));
    SUCCEEDS(ask_pers(r, "Other"));
}

TEST(logins, the_first_persona_is_never_called_like_a_room)
{
    reopen_with("room = Daytona_Oval: The oval: 50\n");
    ck_assert_str_eq(personas_of("Daytona_Oval_1", "secret"), "");
}

TEST_LOOP(logins, accounts_are_made_as_configured, 0, 3)
{
    static const struct {
        const char *config, *first_login, *sign_up;
    } modes[] = {
        {"accounts = open\n", "", ""},
        {"accounts = register\n", "imst", ""},
        {"accounts = closed\n", "imst", "refused"},
    };
    can_log_in("Veteran", "secret");
    world_configure(w, modes[_i].config);
    ck_assert_str_eq(login_code("Ann", "secret"), modes[_i].first_login);
    const struct got *g = sign_up(guest(), "Bob", "secret");
    if (modes[_i].sign_up[0] == '\0') {
        SUCCEEDS(g);
        can_log_in("Bob", "secret");
    } else {
        DENIED(g);
        ck_assert_str_eq(login_code("Bob", "secret"), "imst");
    }
    can_log_in("Veteran", "secret"); /* whoever has one keeps it */
    ck_assert_str_eq(login_code("Veteran", "secreT"), "pass");
}

TEST(logins, an_unknown_name_is_imst_and_a_wrong_password_is_pass)
{
    can_log_in("Ann", "secret");
    world_configure(w, "accounts = register\n");
    struct raw *r = raw_open(w, 0);
    REFUSED(raw_auth(r, "Nobody", "secret"), "imst", 100);
    REFUSED(raw_auth(r, "Ann", "Secret"), "pass", 100);
    REFUSED(raw_auth(r, "Ann", "secret1"), "pass", 100);
    REFUSED(raw_auth(r, "Ann", "secre"), "pass", 100);
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
}

TEST(logins, names_are_the_same_whatever_their_case)
{
    can_log_in("RoadRunner", "secret");
    struct raw *r = raw_open(w, 0);
    REFUSED(raw_auth(r, "roadrunner", "other"), "pass", 100);
    const struct got *g = raw_auth(r, "ROADRUNNER", "secret");
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "NAME"), "RoadRunner"); /* shown as first written (6) */
    ck_assert_str_eq(got_text(g, "PERSONAS"), "RoadRunner");
    g = ask_pers(r, "roadRUNNER");
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "PERS"), "RoadRunner");
}

TEST_LOOP(logins, both_forms_of_a_password_are_taken_whatever_skey_was, 0, 2)
{
    reopen_with(_i == 0 ? "skey = on\n" : "skey = off\n");
    struct raw *directory = raw_open(w, 0);
    const struct got *g = raw_ask(directory, "@dir", DIR_REQUEST);
    char mask[64], named[32];
    (void)snprintf(mask, sizeof mask, "%.63s", got_raw(g, "MASK"));
    (void)snprintf(named, sizeof named, "TOS=1\nMASK=%d\n", (int)got_number(g, "SESS"));
    for (int turn = 0; turn < 2; turn++) { /* a first login, and one to an account */
        struct raw *r = guest();
        SUCCEEDS(raw_ask(r, "auth", credentials("Ann", enciphered(r, "secret 1"), "TOS=1\n")));
        r = guest();
        SUCCEEDS(raw_ask(r, "auth", credentials("Bob", masked(mask, "secret 2"), named)));
    }
    struct raw *r = guest();
    REFUSED(raw_ask(r, "auth", credentials("Ann", enciphered(r, "secret 2"), "")), "pass", 100);
    REFUSED(raw_ask(r, "auth", credentials("Bob", masked(mask, "secret 1"), named)), "pass", 100);
    SUCCEEDS(raw_ask(r, "auth", credentials("Bob", enciphered(r, "secret 2"), "")));
    r = guest();
    SUCCEEDS(raw_ask(r, "auth", credentials("Ann", masked(mask, "secret 1"), named)));
}

TEST_LOOP(logins, a_password_in_neither_form_is_refused, 0, 14)
{
    static const struct {
        const char *kind, *payload, *code;
        int status;
    } tries[] = {
        {"auth", "NAME=Ann\nPASS=secret\n", "pass", 100},
        {"auth", "NAME=Ann\nPASS=\"secret\"\n", "pass", 100},
        {"auth", "NAME=Ann\nPASS=$3ec97\n", "pass", 100},
        {"auth", "NAME=Ann\nPASS=$notahex!\n", "pass", 100},
        {"auth", "NAME=Ann\nPASS=~%01%02%03%04%05%06\n", "pass", 100},
        {"auth", "NAME=New\nPASS=secret\n", "pass", 100},
        {"auth", "NAME=Ann\n", "miss", 0},
        {"auth", "PASS=~abc\n", "miss", 0},
        {"auth", "", "miss", 0},
        {"acct", "NAME=New\nPASS=secret\n", "pass", 100},
        {"acct", "NAME=New\nPASS=$3ec97\n", "pass", 100},
        {"acct", "NAME=New\n", "miss", 0},
        {"acct", "PASS=~abc\n", "miss", 0},
        {"acct", "", "miss", 0},
    };
    can_log_in("Ann", "secret");
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    (void)raw_ask(directory, "@dir", DIR_REQUEST); /* so that a MASK is there */
    if (_i < COUNT(tries)) {
        REFUSED(raw_ask(r, tries[_i].kind, tries[_i].payload), tries[_i].code, tries[_i].status);
        OPEN(r);
        ck_assert_uint_eq(world_kept(w, "acct"), 1);
        SUCCEEDS(raw_auth(r, "Ann", "secret"));
    }
}

TEST_LOOP(logins, a_first_login_with_a_bad_password_makes_no_account, 0, 4)
{
    static const char *const bad[] = {"abc", "seventeen letters", "a", ""};
    struct raw *r = guest();
    const struct got *g = raw_ask(r, "auth", credentials("Ann", enciphered(r, bad[_i]), ""));
    DENIED(g);
    ck_assert_int_eq(got_status(g), 100);
    ck_assert_uint_eq(w->record_count, 0);
}

TEST(logins, the_directory_session_that_mask_names_is_the_answers_sess)
{
    struct raw *directory = raw_open(w, 0);
    const struct got *g = raw_ask(directory, "@dir", DIR_REQUEST);
    char named[32];
    int32_t session = got_number(g, "SESS");
    (void)snprintf(named, sizeof named, "TOS=1\nMASK=%d\n", (int)session);
    const char *pass = masked(got_raw(g, "MASK"), "secret");
    struct raw *r = guest(); /* from another address: MASK decides */
    g = raw_ask(r, "auth", credentials("Ann", pass, named));
    SUCCEEDS(g);
    ck_assert_int_eq(got_number(g, "SESS"), session);
    r = guest(); /* no MASK: a fresh one */
    g = raw_auth(r, "Bob", "secret");
    SUCCEEDS(g);
    ck_assert_int_ge(got_number(g, "SESS"), 1);
    ck_assert_int_ne(got_number(g, "SESS"), session);
}

TEST_LOOP(logins, a_dead_mask_falls_back_to_the_newest_session_of_the_address, 0, 4)
{
    static const char *const dead[] = {"MASK=2052765442\n", "MASK=-51813565\n", "MASK=0\n", ""};
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    char older[64], newer[64];
    (void)snprintf(older, sizeof older, "%.63s", got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK"));
    raw_close(directory);
    world_run(w, 2000);
    directory = raw_open(w, r->ip);
    (void)snprintf(newer, sizeof newer, "%.63s", got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK"));
    (void)raw_ask(raw_open(w, 0), "@dir", DIR_REQUEST); /* another address's is newer still */
    can_log_in("Ann", "secret");
    REFUSED(raw_ask(r, "auth", credentials("Ann", masked(older, "secret"), dead[_i])), "pass", 100);
    SUCCEEDS(raw_ask(r, "auth", credentials("Ann", masked(newer, "secret"), dead[_i])));
}

TEST(logins, a_dead_mask_of_an_address_without_a_session_is_refused)
{
    can_log_in("Ann", "secret");
    struct raw *r = guest(), *directory = raw_open(w, 0);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    const char *pass = masked(mask, "secret");
    REFUSED(raw_ask(r, "auth", credentials("Ann", pass, "MASK=7\n")), "sess", 101);
    REFUSED(raw_ask(r, "auth", credentials("Ann", pass, "")), "sess", 101);
    REFUSED(raw_ask(r, "acct", credentials("Bob", pass, "MASK=7\n")), "sess", 101);
    OPEN(r);
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
}

TEST(logins, a_directory_session_is_remembered_for_30_minutes)
{
    can_log_in("Ann", "secret");
    struct raw *directory = raw_open(w, 0);
    const struct got *g = raw_ask(directory, "@dir", DIR_REQUEST);
    char named[32], pass[64];
    (void)snprintf(named, sizeof named, "MASK=%d\n", (int)got_number(g, "SESS"));
    (void)snprintf(pass, sizeof pass, "%.63s", masked(got_raw(g, "MASK"), "secret"));
    world_run(w, 29 * 60000 + 50000);
    SUCCEEDS(raw_ask(guest(), "auth", credentials("Ann", pass, named)));
    world_run(w, 15000);
    REFUSED(raw_ask(guest(), "auth", credentials("Ann", pass, named)), "sess", 101);
}

TEST(logins, one_address_cannot_push_out_the_sessions_of_others)
{
    world_free(w);
    struct world_options options = {.limits = {64, 256, 32, 128, 1024, 64}};
    w = world_new(&options);
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    char pass[64];
    (void)snprintf(pass, sizeof pass, "%.63s", masked(mask, "secret"));
    uint32_t ip = world_fresh_ip(w);
    for (int i = 0; i < 300; i++) {
        struct raw *flood = raw_open(w, ip);
        (void)raw_ask(flood, "@dir", DIR_REQUEST);
        raw_close(flood);
    }
    SUCCEEDS(raw_ask(r, "auth", credentials("Ann", pass, "")));
}

TEST(logins, the_oldest_directory_session_makes_room)
{
    enum { SESSIONS = 64 }; /* of the small world */
    char named[2][32], pass[2][64];
    can_log_in("Ann", "secret");
    for (int i = 0; i < SESSIONS + 1; i++) {
        struct raw *directory = raw_open(w, 0);
        const struct got *g = raw_ask(directory, "@dir", DIR_REQUEST);
        if (i < 2) {
            (void)snprintf(named[i], sizeof named[i], "MASK=%d\n", (int)got_number(g, "SESS"));
            (void)snprintf(pass[i], sizeof pass[i], "%.63s", masked(got_raw(g, "MASK"), "secret"));
        }
        raw_close(directory);
    }
    REFUSED(raw_ask(guest(), "auth", credentials("Ann", pass[0], named[0])), "sess", 101);
    SUCCEEDS(raw_ask(guest(), "auth", credentials("Ann", pass[1], named[1])));
}

TEST(logins, a_second_login_closes_the_older_connection_once_it_is_verified)
{
    struct raw *older = player(w, "Ann", "East"), *bob = player(w, "Bob", "East");
    struct raw *thief = guest(), *newer = guest();
    forget_all();
    w->hold_verdicts = true;
    say_auth(thief, "Ann", "wrong1");
    world_run(w, 5000);
    OPEN(older);
    world_release_verdicts(w);
    REFUSED(raw_expect(thief, "auth"), "pass", 100);
    OPEN(older);
    GOT(bob, "");
    SUCCEEDS(raw_ask(older, "onln", "PERS=Ann\n"));
    say_auth(newer, "ann", "secret");
    world_run(w, 5000);
    OPEN(older); /* not yet verified */
    world_release_verdicts(w);
    SUCCEEDS(raw_expect(newer, "auth"));
    CLOSED(older);
    OPEN(newer);
    ck_assert_uint_eq(frames_of(bob, "+usr", NULL), 1); /* Ann is gone from East */
    REFUSED(raw_ask(bob, "onln", "PERS=Ann\n"), "user", 102);
    w->hold_verdicts = false;
    SUCCEEDS(ask_pers(newer, "Ann"));
}

TEST(logins, pers_right_behind_a_failed_auth_fails_and_there_is_another_try)
{
    can_log_in("Ann", "secret");
    struct raw *r = guest();
    raw_forget(r);
    say_auth(r, "Ann", "wrong1");
    raw_send(r, "pers", "PERS=Ann\n"); /* a saved login does not wait */
    GOT(r, "auth pers");
    REFUSED(frame_at(r, 0), "pass", 100);
    REFUSED(frame_at(r, 1), "sess", 101);
    OPEN(r);
    raw_forget(r);
    say_auth(r, "Ann", "secret");
    raw_send(r, "pers", "PERS=Ann\n");
    GOT(r, "auth pers +who");
    SUCCEEDS(frame_at(r, 0));
    SUCCEEDS(frame_at(r, 1));
}

TEST_LOOP(logins, a_second_login_on_one_connection_starts_anew, 0, 3)
{
    struct raw *r = player(w, "Ann", "East"), *cid = player(w, "Cid", "East");
    greet(r);
    forget_all();
    if (_i == 1) { /* a failed one ends the login, too: pers behind it fails (3.2) */
        REFUSED(raw_auth(r, "Ann", "wrong1"), "pass", 100);
        REFUSED(ask_pers(r, "Ann"), "sess", 101);
    } else if (_i == 2) {
        SUCCEEDS(sign_up(r, "Bob", "secret"));
        REFUSED(ask_pers(r, "Ann"), "imst", 100);
    } else {
        can_log_in("Bob", "secret");
        SUCCEEDS(raw_auth(r, "Bob", "secret"));
        REFUSED(ask_pers(r, "Ann"), "imst", 100);
        SUCCEEDS(ask_pers(r, "Bob"));
    }
    OPEN(r);
    REFUSED(raw_ask(cid, "onln", "PERS=Ann\n"), "user", 102);
    ck_assert_uint_eq(frames_of(cid, "+usr", NULL), 1); /* she left East */
    can_log_in("Ann", "secret");
    world_run(w, 905000);
    ck_assert(raw_closed(r) == (_i == 1)); /* 15 minutes to log in (7) */
}

/* ---- Too many tries, and bans (6) --------------------------------------- */

GROUP(refusals, open_world, close_world, 0);

static void fail_logins(struct raw *r, const char *name, int times)
{
    for (int i = 0; i < times; i++)
        REFUSED(raw_auth(r, name, "wrong1"), "pass", 100);
}

TEST(refusals, after_five_failures_an_address_has_to_wait)
{
    can_log_in("Ann", "secret");
    struct raw *r = raw_open(w, 0);
    fail_logins(r, "Ann", 5);
    REFUSED(raw_auth(r, "Ann", "secret"), "hack", 100); /* the right one does not help */
    OPEN(r);
    REFUSED(raw_auth(raw_open(w, r->ip), "Ann", "secret"), "hack", 100); /* nor a new connection */
    can_log_in("Ann", "secret");                                         /* elsewhere, nobody is shut out */
    world_run(w, 60000);                                                 /* and here nobody for longer than a minute */
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
}

TEST(refusals, four_failures_do_not_make_one_wait)
{
    can_log_in("Ann", "secret");
    struct raw *r = raw_open(w, 0);
    fail_logins(r, "Ann", 4);
    SUCCEEDS(raw_auth(r, "Ann", "secret"));
}

TEST(refusals, who_goes_on_guessing_waits_longer)
{
    can_log_in("Ann", "secret");
    struct raw *r = raw_open(w, 0);
    uint32_t tries = 5;
    fail_logins(r, "Ann", 5);
    for (int second = 0; second < 300; second++) {
        world_run(w, 1000);
        const struct got *g = raw_auth(r, "Ann", "wrong1");
        tries += strcmp(got_code(g), "pass") == 0;
        raw_forget(r);
    }
    ck_assert_uint_le(tries, 15); /* of 305 */
    ck_assert_uint_eq(w->hash_jobs, tries + 1);
}

TEST_LOOP(refusals, failures_are_forgotten_after_ten_minutes_of_quiet, 0, 2)
{
    can_log_in("Ann", "secret");
    struct raw *r = raw_open(w, 0);
    fail_logins(r, "Ann", 5);
    world_run(w, _i == 0 ? 595000 : 605000);
    fail_logins(r, "Ann", 1);
    if (_i == 0) {
        REFUSED(raw_auth(r, "Ann", "secret"), "hack", 100);
    } else {
        fail_logins(r, "Ann", 4);
        REFUSED(raw_auth(r, "Ann", "secret"), "hack", 100);
    }
}

/* What an operator does: the account's record with BAN, as an edit. */
static void set_ban(const char *account, bool banned)
{
    char line[32];
    (void)snprintf(line, sizeof line, "NAME=%s\n", account);
    for (size_t i = w->record_count; i-- > 0;) {
        uint8_t bytes[2048] = {0};
        memcpy(bytes, w->records[i].bytes, w->records[i].size);
        char *payload = (char *)bytes + 12, *ban = strstr(payload, "BAN=");
        if (strstr(payload, line) != NULL && ban != NULL) {
            memcpy(bytes, "edit", 4);
            ban[4] = banned ? '1' : '0';
            struct nascar_event event = {.type = NASCAR_RECORD,
                                         .conn = NASCAR_NONE,
                                         .bytes = bytes,
                                         .size = w->records[i].size};
            (void)world_step(w, &event);
            return;
        }
    }
    ck_abort_msg("no record of %s", account);
}

TEST(refusals, a_banned_account_does_not_get_in)
{
    can_log_in("Ann", "secret");
    can_log_in("Bob", "secret");
    set_ban("Ann", true);
    struct raw *r = raw_open(w, 0);
    REFUSED(raw_auth(r, "Ann", "secret"), "blak", 100);
    OPEN(r);
    REFUSED(ask_pers(r, "Ann"), "sess", 101);
    REFUSED(raw_auth(r, "Ann", "wrong1"), "pass", 100);
    can_log_in("Bob", "secret");
    set_ban("Ann", false);
    can_log_in("Ann", "secret");
}

TEST(refusals, a_refused_banned_login_closes_nobody)
{
    struct raw *older = player(w, "Ann", "");
    set_ban("Ann", true);
    REFUSED(raw_auth(raw_open(w, 0), "Ann", "secret"), "blak", 100);
    OPEN(older);
}

/* ---- acct (3.2, 6) ------------------------------------------------------ */

GROUP(sign_ups, open_world, close_world, 0);

TEST(sign_ups, a_sign_up_makes_an_account_and_is_a_login)
{
    struct raw *ann = guest();
    const struct got *g = sign_up(ann, "Ann", "secret");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "STATUS=1\nNAME=Ann\nPERSONAS=\nAGE=*"); /* and never CPAT */
    ck_assert_int_ge(got_number(g, "AGE"), 45);
    ck_assert_int_le(got_number(g, "AGE"), 46);
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Racer\n"));
    SUCCEEDS(ask_pers(ann, "Racer"));
    raw_close(ann);
    ann = raw_open(w, 0);
    g = raw_auth(ann, "Ann", "secret");
    SAYS(g, "STATUS=1\nSESS=*\nTOS=1\nNAME=Ann\nADDR=*\nPERSONAS=Racer\nMAIL=a@example.org\n"
            "SPAM=YN\nLAST=*");
}

TEST(sign_ups, a_sign_up_needs_no_more_than_a_name_and_a_password)
{
    struct raw *ann = guest();
    SAYS(raw_ask(ann, "acct", sign_up_tags(ann, "Ann", "secret", "")), "STATUS=1\nNAME=Ann\nPERSONAS=\nAGE=*");
    can_log_in("Ann", "secret");
}

TEST(sign_ups, a_sign_up_may_come_in_the_mask_form)
{
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    SUCCEEDS(raw_ask(r, "acct", credentials("Ann", masked(mask, "secret"), "")));
    can_log_in("Ann", "secret");
}

/* A sign-up takes minutes and names no MASK. Another console of the household
 * may ask the directory meanwhile. */
TEST(sign_ups, a_sign_up_in_the_mask_form_is_not_disturbed_from_next_door)
{
    struct raw *directory = raw_open(w, 0);
    char mask[64];
    (void)snprintf(mask, sizeof mask, "%.63s", got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK"));
    struct raw *r = raw_open(w, directory->ip);
    greet(r);
    (void)raw_ask(raw_open(w, directory->ip), "@dir", DIR_REQUEST);
    SUCCEEDS(raw_ask(r, "acct", credentials("Ann", masked(mask, "secret"), "")));
    can_log_in("Ann", "secret");
}

TEST_LOOP(sign_ups, mail_is_kept_as_written, 0, 3)
{
    static const char *const mails[] = {"a b=c:\"d%e' NAME=Bob\nPERS=x", "100%25", "'quoted'"};
    struct raw *ann = guest();
    struct console_tags tags;
    memset(&tags, 0, sizeof tags);
    console_put_text(&tags, "MAIL", mails[_i]);
    SUCCEEDS(raw_ask(ann, "acct", sign_up_tags(ann, "Ann", "secret", tags.text)));
    for (int restarted = 0; restarted < 2; restarted++) {
        ann = raw_open(w, 0);
        const struct got *g = raw_auth(ann, "Ann", "secret");
        ck_assert_str_eq(got_text(g, "MAIL"), mails[_i]);
        ck_assert_str_eq(got_text(g, "NAME"), "Ann");
        world_restart(w);
    }
}

static void check_variants(const char *options, const char *kind, struct raw *r, size_t most)
{
    char list[128];
    int count = 0;
    (void)snprintf(list, sizeof list, "%s", options);
    for (char *name = list, *next; *name != '\0'; name = next) {
        next = name + strcspn(name, ",");
        if (*next != '\0')
            *next++ = '\0';
        ck_assert_uint_le(strlen(name), most);
        ck_assert_uint_ge(strlen(name), 2);
        if (strcmp(kind, "acct") == 0) {
            SUCCEEDS(sign_up(guest(), name, "secret"));
        } else {
            char payload[sizeof list + 8];
            (void)snprintf(payload, sizeof payload, "PERS=%s\n", name);
            SUCCEEDS(raw_ask(r, "cper", payload));
        }
        count++;
    }
    ck_assert_int_ge(count, 1);
    ck_assert_int_le(count, 4);
}

TEST_LOOP(sign_ups, a_taken_name_is_dupl_with_free_ones_if_asked, 0, 4)
{
    static const char *const names[] = {"Ann", "ANN", "Sixteen_letters_", "sixteen_LETTERS_"};
    const char *name = names[_i];
    can_log_in("Ann", "secret");
    can_log_in("Sixteen_letters_", "secret");
    can_log_in("Ann1", "secret"); /* the first that comes to mind is taken too */
    struct raw *r = guest();
    const struct got *g = sign_up(r, name, "other1");
    REFUSED(g, "dupl", 0);
    ck_assert(!got_has(g, "OPTS"));
    g = raw_ask(r, "acct", sign_up_tags(r, name, "other1", "ALTS=4\n"));
    REFUSED(g, "dupl", 0);
    check_variants(got_text(g, "OPTS"), "acct", NULL, 16);
    OPEN(r);
    SUCCEEDS(sign_up(r, "Another", "other1"));
    can_log_in("Ann", "secret"); /* whose it was still */
}

static const struct {
    const char *name;
    bool account, persona;
} names[] = {
    {"Ab", true, true},
    {"A1", true, true},
    {"42", true, true},
    {"{is}", true, true},
    {"[ok]", true, true},
    {"a_b-c", true, true},
    {"--", true, true},
    {"Twelve_chars", true, true},
    {"Thirteen_char", true, false},
    {"Sixteen_letters_", true, false},
    {"Seventeen_letters", false, false},
    {"A name of more than thirty-one bytes", false, false},
    {"A", false, false},
    {"", false, false},
    {"a b", false, false},
    {"a.b", false, false},
    {"a@b", false, false},
    {"a/b", false, false},
    {"a,b", false, false},
    {"a=b", false, false},
    {"a:b", false, false},
    {"a%b", false, false},
    {"a\"b", false, false},
    {"a'b", false, false},
    {"a+b", false, false},
    {"a\nb", false, false},
    {"a\x7f"
     "b",
     false, false},
    {"a\xe9"
     "b",
     false, false},
};

TEST_LOOP(sign_ups, names_have_2_to_16_or_12_letters_digits_and_a_few_signs, 0, COUNT(names))
{
    struct console_tags tags;
    const char *name = names[_i].name;
    struct raw *r = guest();
    const struct got *g = sign_up(r, name, "secret");
    if (names[_i].account) {
        SUCCEEDS(g);
        can_log_in(name, "secret");
    } else {
        REFUSED(g, "inam", 0);
        if (name[0] != '\0' && strlen(name) < 32) { /* nor does a first login make it */
            g = raw_ask(r, "auth", credentials(name, enciphered(r, "secret"), ""));
            REFUSED(g, "imst", 100);
        }
        ck_assert_uint_eq(w->record_count, 0);
    }
    r = member("Player", "secret");
    memset(&tags, 0, sizeof tags);
    console_put_text(&tags, "PERS", name);
    g = raw_ask(r, "cper", tags.text);
    if (names[_i].persona) {
        SUCCEEDS(g);
    } else {
        REFUSED(g, "inam", 0);
        ck_assert_str_eq(personas_of("Player", "secret"), "Player");
    }
}

TEST_LOOP(sign_ups, a_rooms_name_is_nobodys, 0, 4)
{
    static const char *const rooms[] = {"East", "east", "LOBBY", "C-Mine"};
    struct raw *maker = player(w, "Maker", "");
    SUCCEEDS(raw_ask(maker, "room", "NAME=C-Mine\nPASS=\nDESC=None\nMAX=50\n"));
    struct raw *r = guest();
    REFUSED(raw_auth(r, rooms[_i], "secret"), "imst", 100);
    const struct got *g = sign_up(r, rooms[_i], "secret");
    DENIED(g);
    ck_assert_int_eq(got_status(g), 0);
    char payload[64];
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", rooms[_i]);
    g = raw_ask(maker, "cper", payload);
    DENIED(g);
    ck_assert_int_eq(got_status(g), 0);
}

TEST_LOOP(sign_ups, a_password_has_4_to_16_characters, 0, 8)
{
    static const struct {
        const char *password;
        bool good;
    } tries[] = {
        {"four", true},
        {"sixteen letters!", true},
        {"    ", true},
        {"~$\"%=:'\\", true},
        {"abc", false},
        {"", false},
        {"seventeen letters", false},
        {"thirty characters are too many", false},
    };
    struct raw *r = guest();
    const struct got *g = sign_up(r, "Ann", tries[_i].password);
    if (tries[_i].good) {
        SUCCEEDS(g);
        can_log_in("Ann", tries[_i].password);
    } else {
        REFUSED(g, "inam", 0);
        ck_assert_uint_eq(w->record_count, 0);
    }
}

TEST(sign_ups, a_full_table_of_accounts_refuses_newcomers_only)
{
    world_free(w);
    struct world_options options = {.limits = {64, 2, 32, 64, 1024, 64}};
    w = world_new(&options);
    can_log_in("Ann", "secret");
    can_log_in("Bob", "secret");
    DENIED(sign_up(guest(), "Cid", "secret"));
    DENIED(raw_auth(raw_open(w, 0), "Cid", "secret"));
    can_log_in("Ann", "secret");
    can_log_in("Bob", "secret");
}

/* ---- At the same time (6) ----------------------------------------------- */

GROUP(at_the_same_time, open_world, close_world, 0);

/* Lets go of what is held: verdicts first, then records. */
static void let_go(void)
{
    world_release_verdicts(w);
    world_release_records(w, true);
    w->hold_verdicts = w->hold_records = false;
    world_settle(w);
}

TEST_LOOP(at_the_same_time, of_two_sign_ups_at_once_the_second_is_dupl, 0, 4)
{
    struct raw *first = guest(), *second = guest();
    w->hold_verdicts = (_i & 1) != 0;
    w->hold_records = (_i & 2) != 0;
    raw_send(first, "acct", sign_up_tags(first, "Twin", "secret1", ""));
    raw_send(second, "acct", sign_up_tags(second, "tWIN", "secret2", "ALTS=2\n"));
    world_settle(w);
    let_go();
    SUCCEEDS(raw_expect(first, "acct"));
    const struct got *g = raw_expect(second, "acct");
    REFUSED(g, "dupl", 0);
    ck_assert_str_ne(got_text(g, "OPTS"), "");
    REFUSED(raw_ask(second, "cper", "PERS=Mine\n"), "sess", 101);
    for (int restarted = 0; restarted < 2; restarted++) {
        can_log_in("Twin", "secret1");
        ck_assert_str_eq(login_code("Twin", "secret2"), "pass");
        world_restart(w);
    }
}

TEST_LOOP(at_the_same_time, of_two_first_logins_at_once_the_second_needs_the_firsts_password, 0, 8)
{
    struct raw *first = guest(), *second = guest();
    bool same = _i >= 4;
    w->hold_verdicts = (_i & 1) != 0;
    w->hold_records = (_i & 2) != 0;
    say_auth(first, "Twin", "secret1");
    say_auth(second, "TWIN", same ? "secret1" : "secret2");
    raw_send(second, "pers", "PERS=Twin\n");
    world_settle(w);
    let_go();
    SUCCEEDS(raw_expect(first, "auth"));
    if (same) { /* one account, and whoever comes later has it */
        SUCCEEDS(raw_expect(second, "auth"));
        SUCCEEDS(raw_expect(second, "pers"));
        CLOSED(first);
    } else {
        REFUSED(raw_expect(second, "auth"), "pass", 100);
        REFUSED(raw_expect(second, "pers"), "sess", 101);
        OPEN(first);
        SUCCEEDS(ask_pers(first, "Twin"));
    }
    for (int restarted = 0; restarted < 2; restarted++) {
        can_log_in("Twin", "secret1");
        ck_assert_str_eq(login_code("Twin", "secret2"), "pass");
        world_restart(w);
    }
}

TEST_LOOP(at_the_same_time, of_a_sign_up_and_a_first_login_at_once_one_has_the_name, 0, 8)
{
    struct raw *first = guest(), *second = guest();
    w->hold_verdicts = (_i & 1) != 0;
    w->hold_records = (_i & 2) != 0;
    if (_i < 4) {
        raw_send(first, "acct", sign_up_tags(first, "Twin", "secret1", ""));
        say_auth(second, "Twin", "secret2");
    } else {
        say_auth(first, "Twin", "secret1");
        raw_send(second, "acct", sign_up_tags(second, "Twin", "secret2", ""));
    }
    world_settle(w);
    let_go();
    SUCCEEDS(raw_expect(first, _i < 4 ? "acct" : "auth"));
    REFUSED(raw_expect(second, _i < 4 ? "auth" : "acct"), _i < 4 ? "pass" : "dupl", _i < 4 ? 100 : 0);
    ck_assert_str_eq(login_code("Twin", "secret2"), "pass");
    can_log_in("Twin", "secret1");
}

TEST(at_the_same_time, of_two_personas_of_one_name_at_once_the_second_is_dupl)
{
    struct raw *ann = member("Ann", "secret"), *bob = member("Bob", "secret");
    w->hold_records = true;
    raw_send(ann, "cper", "PERS=Ace\n");
    raw_send(bob, "cper", "PERS=ACE\n");
    world_settle(w);
    let_go();
    SUCCEEDS(raw_expect(ann, "cper"));
    REFUSED(raw_expect(bob, "cper"), "dupl", 0);
    REFUSED(ask_pers(bob, "Ace"), "imst", 100);
    world_restart(w);
    ck_assert_str_eq(personas_of("Ann", "secret"), "Ann,Ace");
    ck_assert_str_eq(personas_of("Bob", "secret"), "Bob");
}

TEST(at_the_same_time, a_persona_put_on_while_it_is_deleted_is_gone)
{
    struct raw *ann = member("Ann", "secret"), *bob = player(w, "Bob", "");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
    struct raw *newer = guest();
    w->hold_records = true;
    raw_send(ann, "dper", "PERS=Ace\n");
    world_settle(w);
    SUCCEEDS(raw_auth(newer, "Ann", "secret")); /* closes the other */
    raw_send(newer, "pers", "PERS=Ace\n");
    let_go();
    REFUSED(raw_expect(newer, "pers"), "imst", 100);
    for (int restarted = 0; restarted < 2; restarted++) {
        bob = player(w, "Bob", "");
        REFUSED(raw_ask(bob, "onln", "PERS=Ace\n"), "user", 102);
        REFUSED(raw_ask(bob, "user", "PERS=Ace\n"), "user", 102);
        ck_assert_str_eq(personas_of("Ann", "secret"), "Ann");
        world_restart(w);
    }
}

TEST(at_the_same_time, of_two_logins_to_one_account_at_once_the_later_stays)
{
    can_log_in("Ann", "secret");
    struct raw *first = guest(), *second = guest();
    w->hold_verdicts = true;
    say_auth(first, "Ann", "secret");
    say_auth(second, "Ann", "secret");
    world_settle(w);
    let_go();
    SUCCEEDS(raw_expect(second, "auth"));
    CLOSED(first);
    SUCCEEDS(ask_pers(second, "Ann"));
}

TEST(at_the_same_time, an_account_banned_while_its_password_is_checked_does_not_get_in)
{
    can_log_in("Ann", "secret");
    struct raw *r = guest();
    w->hold_verdicts = true;
    say_auth(r, "Ann", "secret");
    world_settle(w);
    set_ban("Ann", true);
    let_go();
    REFUSED(raw_expect(r, "auth"), "blak", 100);
}

/* ---- Waiting for a verdict or a record (3.2) ---------------------------- */

GROUP(waiting, open_world, close_world, 0);

TEST_LOOP(waiting, frames_behind_a_pending_login_wait_for_it, 0, 12)
{
    static const enum world_split splits[] = {WORLD_WHOLE, WORLD_BYTES, WORLD_RANDOM};
    world_free(w);
    struct world_options options = {.split = splits[_i / 4]};
    w = world_new(&options);
    bool signs_up = (_i & 1) != 0;
    w->hold_verdicts = (_i & 2) == 0;
    w->hold_records = (_i & 2) != 0;
    struct raw *r = guest();
    raw_forget(r);
    if (signs_up) {
        raw_send(r, "acct", sign_up_tags(r, "Ann", "secret", ""));
        raw_send(r, "cper", "PERS=Ann\n");
    } else {
        say_auth(r, "Ann", "secret");
    }
    raw_send(r, "pers", "PERS=Ann\n");
    raw_send(r, "sele", "MESGS=1\n");
    raw_send(r, "onln", "PERS=Ann\n");
    world_run(w, 5000);
    GOT(r, "");
    let_go();
    GOT(r, signs_up ? "acct cper pers +who sele onln" : "auth pers +who sele onln");
    for (size_t i = 0; i < r->count; i++)
        ck_assert_str_eq(got_code(r->frames[i]), "");
}

TEST(waiting, frames_behind_a_pending_change_wait_for_it)
{
    struct raw *r = member("Ann", "secret");
    w->hold_records = true;
    raw_send(r, "cper", "PERS=Ace\n");
    raw_send(r, "pers", "PERS=Ace\n");
    raw_send(r, "cper", "PERS=Ace\n");
    raw_send(r, "onln", "PERS=Ace\n");
    world_run(w, 1000);
    GOT(r, "");
    let_go();
    GOT(r, "cper pers +who cper onln");
    SUCCEEDS(frame_at(r, 1));
    REFUSED(frame_at(r, 3), "dupl", 0);
    SUCCEEDS(frame_at(r, 4));
}

TEST_LOOP(waiting, who_hangs_up_while_it_waits_leaves_nothing_to_the_next, 0, 2)
{
    struct raw *gone = guest();
    uint32_t conn = gone->conn;
    w->hold_verdicts = _i == 0;
    w->hold_records = _i == 1;
    say_auth(gone, "Ann", "secret");
    raw_send(gone, "pers", "PERS=Ann\n");
    world_settle(w);
    raw_close(gone);
    struct raw *next = guest();
    ck_assert_uint_eq(next->conn, conn); /* it has the same number */
    raw_forget(next);
    let_go();
    GOT(next, "");
    REFUSED(raw_ask(next, "pers", "PERS=Ann\n"), "sess", 101);
    SUCCEEDS(raw_auth(next, "Ann", "secret")); /* made by now, or then */
    ck_assert_uint_eq(world_kept(w, "acct"), 1);
}

TEST(waiting, deadlines_stand_still_while_a_verdict_is_awaited)
{
    can_log_in("Ann", "secret");
    struct raw *r = guest(), *silent = guest(); /* their 15 minutes to log in begin here */
    raw_forget(silent);
    world_run(w, 14 * 60000);
    raw_close(silent);
    silent = guest();
    silent->keeps_pings = true;
    w->hold_verdicts = true;
    say_auth(r, "Ann", "wrong1");
    say_auth(silent, "Ann", "wrong1");
    world_run(w, 30 * 60000);
    OPEN(r);
    OPEN(silent);
    let_go();
    REFUSED(raw_expect(r, "auth"), "pass", 100);
    REFUSED(raw_expect(silent, "auth"), "pass", 100);
    world_run(w, 55000);
    OPEN(r);
    OPEN(silent);
    world_run(w, 10000);
    CLOSED(r);      /* 15 minutes of its own time */
    CLOSED(silent); /* 60 s */
}

TEST(waiting, deadlines_stand_still_while_a_record_is_awaited)
{
    struct raw *ann = member("Ann", "secret");
    ann->keeps_pings = true;
    w->hold_records = true;
    raw_send(ann, "cper", "PERS=Ace\n");
    world_run(w, 10 * 60000);
    OPEN(ann);
    let_go();
    SUCCEEDS(raw_expect(ann, "cper"));
    world_run(w, 55000);
    OPEN(ann);
    world_run(w, 10000);
    CLOSED(ann);
}

TEST_LOOP(waiting, what_is_not_kept_has_not_happened, 0, 5)
{
    static const char *const kinds_of_record[] = {"auth", "acct", "cper", "dper", "edit"};
    const char *kind = kinds_of_record[_i];
    struct raw *ann = member("Ann", "secret");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Old\n"));
    for (int kept = 0; kept < 2; kept++) { /* once in vain, then again */
        struct raw *r = _i < 2 ? guest() : ann;
        const struct got *g;
        w->fail_records = !kept;
        if (_i == 0)
            g = raw_auth(r, "Bob", "secret");
        else if (_i == 1)
            g = sign_up(r, "Bob", "secret");
        else if (_i == 4)
            g = raw_ask(r, kind, "PASS=secret\nCHNG=other1\nMAIL=new@example.org\n");
        else
            g = raw_ask(r, kind, _i == 2 ? "PERS=New\n" : "PERS=Old\n");
        w->fail_records = false;
        if (kept) {
            SUCCEEDS(g);
            break;
        }
        DENIED(g);
        ck_assert_int_eq(got_status(g), 0);
        OPEN(r);
        world_configure(w, "accounts = register\n");
        ck_assert_str_eq(login_code("Bob", "secret"), "imst");
        world_configure(w, "");
        ck_assert_str_eq(login_code("Ann", "other1"), "pass");
        ck_assert_str_eq(personas_of("Ann", "secret"), "Ann,Old"); /* closes the older one */
        ann = raw_open(w, 0);
        g = raw_auth(ann, "Ann", "secret");
        ck_assert_str_eq(got_text(g, "MAIL"), "");
    }
}

/* ---- Personas (3.2, 6) -------------------------------------------------- */

GROUP(personas_and_news, open_world, close_world, 0);

TEST(personas_and_news, an_account_has_up_to_four_personas)
{
    struct raw *ann = member("Ann", "secret");
    SAYS(raw_ask(ann, "cper", "PERS=Two\nCDEV=1\n"), "STATUS=1\nPERS=Two");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Three\n"));
    SUCCEEDS(raw_ask(ann, "cper", "PERS={4}\n"));
    REFUSED(raw_ask(ann, "cper", "PERS=Five\n"), "maxp", 0);
    ck_assert_str_eq(personas_of("Ann", "secret"), "Ann,Two,Three,{4}");
    ann = member("Ann", "secret");
    SAYS(raw_ask(ann, "dper", "PERS=two\n"), "STATUS=1\nPERS=*");
    ck_assert_str_eq(personas_of("Ann", "secret"), "Ann,Three,{4}");
    ann = member("Ann", "secret");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Five\n"));
    REFUSED(raw_ask(ann, "cper", "PERS=Six\n"), "maxp", 0);
    ck_assert_str_eq(personas_of("Ann", "secret"), "Ann,Three,{4},Five");
}

TEST_LOOP(personas_and_news, a_taken_persona_is_dupl_with_free_ones_if_asked, 0, 4)
{
    static const char *const taken[] = {"Ann", "BOB", "Twelve_chars", "tWELVE_chars"};
    char payload[64];
    struct raw *ann = member("Ann", "secret");
    can_log_in("Bob", "secret");
    can_log_in("Twelve_chars", "secret");
    (void)snprintf(payload, sizeof payload, "PERS=%s\n", taken[_i]);
    const struct got *g = raw_ask(ann, "cper", payload);
    REFUSED(g, "dupl", 0);
    ck_assert(!got_has(g, "OPTS"));
    (void)snprintf(payload, sizeof payload, "PERS=%s\nALTS=3\n", taken[_i]);
    g = raw_ask(ann, "cper", payload);
    REFUSED(g, "dupl", 0);
    check_variants(got_text(g, "OPTS"), "cper", ann, 12);
}

TEST(personas_and_news, a_deleted_persona_is_free_for_another)
{
    struct raw *ann = member("Ann", "secret"), *bob = player(w, "Bob", "");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(bob, "user", "PERS=Ace\n"));
    SUCCEEDS(raw_ask(ann, "dper", "PERS=Ace\n"));
    REFUSED(raw_ask(bob, "user", "PERS=Ace\n"), "user", 102);
    REFUSED(ask_pers(ann, "Ace"), "imst", 100);
    REFUSED(raw_ask(ann, "dper", "PERS=Ace\n"), "imst", 100);
    SUCCEEDS(raw_ask(bob, "cper", "PERS=ACE\n"));
    ck_assert_str_eq(personas_of("Bob", "secret"), "Bob,ACE");
    SUCCEEDS(ask_pers(ann, "Ann"));
}

TEST(personas_and_news, nobody_deletes_or_plays_anothers_persona)
{
    struct raw *ann = member("Ann", "secret");
    can_log_in("Bob", "secret");
    REFUSED(raw_ask(ann, "dper", "PERS=Bob\n"), "imst", 100);
    REFUSED(ask_pers(ann, "Bob"), "imst", 100);
    REFUSED(ask_pers(ann, "Nobody"), "imst", 100);
    REFUSED(raw_ask(ann, "dper", "PERS=Nobody\n"), "imst", 100);
    REFUSED(raw_ask(ann, "onln", "PERS=Ann\n"), "sess", 101); /* it plays none */
    ck_assert_str_eq(personas_of("Bob", "secret"), "Bob");
}

TEST(personas_and_news, the_persona_being_played_is_not_deleted)
{
    struct raw *ann = player(w, "Ann", "East");
    DENIED(raw_ask(ann, "dper", "PERS=Ann\n"));
    SUCCEEDS(raw_ask(ann, "onln", "PERS=Ann\n"));
    ck_assert_str_eq(personas_of("Ann", "secret"), "Ann");
}

TEST_LOOP(personas_and_news, a_request_without_its_tag_is_refused, 0, 5)
{
    static const char *const kinds_with_pers[] = {"cper", "dper", "pers", "user", "onln"};
    struct raw *ann = player(w, "Ann", "");
    REFUSED(raw_ask(ann, kinds_with_pers[_i], ""), "miss", 0);
    REFUSED(raw_ask(ann, kinds_with_pers[_i], "NAME=Ann\n"), "miss", 0);
    OPEN(ann);
}

TEST(personas_and_news, pers_is_answered_with_a_ticket_then_comes_who)
{
    char ticket[3][32];
    struct raw *ann = member("Ann", "secret");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
    for (int i = 0; i < 3; i++) {
        raw_forget(ann);
        say(ann, "pers", i == 1 ? "PERS=ace\n" : "PERS=ANN\n");
        GOT(ann, "pers +who");
        const struct got *g = frame_at(ann, 0);
        ck_assert_str_eq(got_code(g), "");
        SAYS(g, "STATUS=1\nPERS=%s\nLKEY=*\nLAST=*", i == 1 ? "Ace" : "Ann");
        (void)snprintf(ticket[i], sizeof ticket[i], "%.31s", got_raw(g, "LKEY"));
        ck_assert_int_eq(ticket[i][0], '$');
        ck_assert(is_hex(ticket[i] + 1, 16));
        ck_assert(is_past_date(got_raw(g, "LAST")));
        SAYS(frame_at(ann, 1), "F=U\nN=%s\nRI=0\nRT=1\nR=*\nRF=*", i == 1 ? "Ace" : "Ann");
        for (int k = 0; k < i; k++)
            ck_assert_str_ne(ticket[k], ticket[i]);
    }
    SAYS(raw_ask(ann, "sele", "ROOMS=0 USERS=0 RANKS=0 MESGS=1"), "MORE=0\nSLOTS=4\nSTATUS=1");
}

/* ---- news, user, onln (3.2) --------------------------------------------- */

static const struct got *short_news(struct raw *r)
{
    const struct got *g = raw_ask(r, "news", "NAME=0\n");
    ck_assert_str_eq(got_code(g), "new0"); /* which starts the buddy connection */
    ck_assert_uint_le(g->size + 12, 255);
    ck_assert_ptr_eq(strstr(got_payload(g), "BUDDY_URL=203.0.113.10\nBUDDY_PORT=10899\n"), got_payload(g)); /* first */
    SAYS(g, "BUDDY_URL=203.0.113.10\nBUDDY_PORT=10899\nNEWS0=*\nNEWS1=*\nNEWS2=*\nNEWS3=*\n"
            "COUNT=4\nSTATUS=1");
    return g;
}

TEST(personas_and_news, the_news_name_the_buddy_service_and_have_four_lines)
{
    reopen_with("news-line = Welcome to Daytona\nnews-line = 50% = \"half\"\nnews-line = Three\n");
    struct raw *ann = member("Ann", "secret");
    const struct got *g = short_news(ann);
    ck_assert_str_eq(got_text(g, "NEWS0"), "Welcome to Daytona");
    ck_assert_str_eq(got_text(g, "NEWS1"), "50% = \"half\"");
    ck_assert_str_eq(got_text(g, "NEWS2"), "Three");
    ck_assert_str_eq(got_text(g, "NEWS3"), "");
    g = raw_ask(ann, "news", "NAME=1\n");
    ck_assert_str_eq(got_code(g), "new1");
    ck_assert_str_eq(got_payload(g), "Welcome to Daytona\n50% = \"half\"\nThree\n");
}

TEST(personas_and_news, without_news_the_buddy_service_is_still_named)
{
    struct raw *ann = member("Ann", "secret");
    (void)short_news(ann);
    const struct got *g = raw_ask(ann, "news", "NAME=1\n");
    ck_assert_str_eq(got_code(g), "new1");
    ck_assert_uint_gt(strlen(got_payload(g)), 1);
}

TEST_LOOP(personas_and_news, long_news_are_cut_to_255_bytes_but_not_the_buddy_service, 0, 8)
{
    static const struct {
        int lines, chars;
        char letter;
    } news[] = {{1, 241, 'x'}, {1, 241, '%'}, {1, 241, ' '}, {4, 59, 'x'},
                {4, 59, '='},  {4, 30, 'x'},  {20, 11, 'x'}, {4, 28, ' '}};
    char config[1024] = "", line[256];
    memset(line, news[_i].letter, (size_t)news[_i].chars);
    line[0] = line[news[_i].chars - 1] = 'n';
    line[news[_i].chars] = '\0';
    for (int i = 0; i < news[_i].lines; i++)
        (void)snprintf(config + strlen(config), sizeof config - strlen(config), "news-line = %s\n", line);
    reopen_with(config);
    struct raw *ann = member("Ann", "secret");
    const struct got *g = short_news(ann);
    for (int i = 0; i < 4 && i < news[_i].lines; i++) { /* whatever is left is a beginning */
        char tag[8];
        (void)snprintf(tag, sizeof tag, "NEWS%d", i);
        const char *shown = got_text(g, tag);
        ck_assert_int_eq(strncmp(shown, line, strlen(shown)), 0);
        ck_assert(i > 0 || shown[0] != '\0');
    }
    g = raw_ask(ann, "news", "NAME=1\n");
    ck_assert_str_eq(got_code(g), "new1");
    ck_assert_uint_le(g->size + 12, 255);
    struct console *c = world_player(w, "Console"); /* and a console takes it */
    console_read_news(c);
    world_run(w, 1000);
    ck_assert_ptr_nonnull(console_reply(c, "news"));
    ck_assert_uint_eq(console_reply(c, "news")->code, 0x6E657731u);
}

TEST(personas_and_news, a_profile_shows_where_a_player_is)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "East");
    int32_t longs[32];
    const struct got *g = raw_ask(ann, "user", "PERS=BOB\n");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "PERS=Bob\nSTAT=*\nINFO=*\nADDR=%s\nRANK=*\nROOM=East\nTITLE=1\nSTATUS=1", dotted(bob->ip));
    ck_assert_uint_eq(console_read_longs(console_find(got_payload(g), "STAT"), longs, 32), 21);
    ck_assert_uint_eq(console_read_longs(console_find(got_payload(g), "INFO"), longs, 32), 2);
    go(bob, "");
    SAYS(raw_ask(ann, "user", "PERS=Bob\n"), "PERS=Bob\nSTAT=*\nINFO=*\nADDR=%s\nRANK=*\nROOM=Lobby\nTITLE=1\nSTATUS=1",
         dotted(bob->ip));
    raw_close(bob);
    SAYS(raw_ask(ann, "user", "PERS=Bob\n"), "PERS=Bob\nSTAT=*\nINFO=*\nADDR=*\nRANK=*\nROOM=\nTITLE=1\nSTATUS=1");
    REFUSED(raw_ask(ann, "user", "PERS=Nobody\n"), "user", 102);
    REFUSED(raw_ask(ann, "user", "PERS=\n"), "user", 102);
}

TEST(personas_and_news, onln_says_who_is_online)
{
    struct raw *ann = player(w, "Ann", "East"), *bob = member("Bob", "secret");
    const struct got *g = raw_ask(ann, "onln", "PERS=Bob\n"); /* logged in, but not as a persona */
    REFUSED(g, "user", 102);
    ck_assert_str_eq(got_text(g, "N"), "Bob"); /* a reply without N is dropped */
    SUCCEEDS(ask_pers(bob, "Bob"));
    g = raw_ask(ann, "onln", "PERS=bob\n");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "N=Bob\nPERS=Bob\nS=*\nR=*\nP=*\nSTATUS=1");
    raw_close(bob);
    REFUSED(raw_ask(ann, "onln", "PERS=Bob\n"), "user", 102);
    g = raw_ask(ann, "onln", "PERS=Nobody\n");
    REFUSED(g, "user", 102);
    ck_assert_str_eq(got_text(g, "N"), "Nobody");
}

/* ---- edit (3.2) --------------------------------------------------------- */

TEST_LOOP(personas_and_news, a_changed_password_is_the_only_one, 0, 5)
{
    static const char *const fresh[] = {"other pass", "$abc", "~tilde", "a=b:c%d", "sixteen letters!"};
    struct console_tags tags;
    memset(&tags, 0, sizeof tags);
    struct raw *ann = member("Ann", "secret");
    console_put_text(&tags, "NAME", "ann");
    console_put_text(&tags, "PASS", "secret");
    console_put_text(&tags, "CHNG", fresh[_i]); /* plain text, as PASS */
    const struct got *g = raw_ask(ann, "edit", tags.text);
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "STATUS=1");
    for (int restarted = 0; restarted < 2; restarted++) {
        ck_assert_str_eq(login_code("Ann", "secret"), "pass");
        can_log_in("Ann", fresh[_i]);
        world_restart(w);
    }
    ann = member("Ann", fresh[_i]);
    REFUSED(raw_ask(ann, "edit", "PASS=secret\nCHNG=third\n"), "pass", 100);
    memset(&tags, 0, sizeof tags);
    console_put_text(&tags, "PASS", fresh[_i]);
    console_put_text(&tags, "CHNG", "third");
    SUCCEEDS(raw_ask(ann, "edit", tags.text));
    can_log_in("Ann", "third");
}

TEST_LOOP(personas_and_news, a_refused_edit_changes_nothing, 0, 13)
{
    static const struct {
        const char *payload, *code;
        int status;
    } tries[] = {
        {"PASS=wrong1\nCHNG=other1\nMAIL=x@y.z\n", "pass", 100},
        {"PASS=Secret\nMAIL=x@y.z\nSPAM=YY\n", "pass", 100},
        {"PASS=secret1\nCHNG=other1\n", "pass", 100},
        {"PASS=a password of more than thirty characters\nCHNG=other1\n", "pass", 100},
        {"PASS=secret\nCHNG=abc\n", "inam", 0},
        {"PASS=secret\nCHNG=seventeen letters\n", "inam", 0},
        {"PASS=secret\nCHNG=a password of more than thirty characters\n", "inam", 0},
        {"PASS=secret\nCHNG=%01%02%03%04\n", "inam", 0},
        {"NAME=Bob\nPASS=secret\nCHNG=other1\n", "imst", 100},
        {"NAME=Nobody\nMAIL=x@y.z\n", "imst", 100},
        {"CHNG=other1\n", "", 0}, /* needs PASS */
        {"CHNG=other1\nPASS=\n", "", 0},
        {"CHNG=other1\nMAIL=x@y.z\n", "", 0},
    };
    if (_i >= COUNT(tries))
        return;
    can_log_in("Bob", "secret");
    struct raw *ann = member("Ann", "secret");
    const struct got *g = raw_ask(ann, "edit", tries[_i].payload);
    if (tries[_i].code[0] == '\0')
        DENIED(g);
    else
        REFUSED(g, tries[_i].code, tries[_i].status);
    OPEN(ann);
    can_log_in("Bob", "secret");
    ann = raw_open(w, 0);
    g = raw_auth(ann, "Ann", "secret");
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "MAIL"), "");
    ck_assert_str_eq(got_text(g, "SPAM"), "NN");
}

/* The second is asked for while the first is on its way to the disk. */
TEST(personas_and_news, two_edits_at_once_both_hold)
{
    struct raw *ann = member("Ann", "secret");
    w->hold_records = true;
    raw_send(ann, "edit", "PASS=secret\nCHNG=fresh\n");
    world_settle(w);
    struct raw *again = raw_open(w, 0);
    SUCCEEDS(raw_auth(again, "Ann", "secret"));
    raw_send(again, "edit", "MAIL=a@b.c\n");
    world_settle(w);
    w->hold_records = false;
    world_release_records(w, true);
    SUCCEEDS(raw_expect(again, "edit"));
    can_log_in("Ann", "fresh");
    ck_assert_str_eq(login_code("Ann", "secret"), "pass");
}

TEST(personas_and_news, an_edit_changes_only_what_it_names)
{
    struct raw *ann = member("Ann", "secret");
    SAYS(raw_ask(ann, "edit", "MAIL=a@b.c\n"), "STATUS=1");
    SAYS(raw_ask(ann, "edit", "NAME=Ann\nPASS=secret\nSPAM=YN\nOPTS=1\n"), "STATUS=1");
    for (int restarted = 0; restarted < 2; restarted++) {
        ann = raw_open(w, 0);
        const struct got *g = raw_auth(ann, "Ann", "secret");
        ck_assert_str_eq(got_text(g, "MAIL"), "a@b.c");
        ck_assert_str_eq(got_text(g, "SPAM"), "YN");
        ck_assert_str_eq(got_text(g, "PERSONAS"), "Ann");
        world_restart(w);
    }
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
    SUCCEEDS(raw_auth(r, "Racer1", "secret")); /* logins are not counted so */
    can_log_in("Fourth", "secret");            /* nor other addresses */
    world_run(w, 605000);
    r = raw_open(w, ip);
    greet(r);
    SUCCEEDS(sign_up(r, "Fifth", "secret"));
}

TEST(addresses, an_address_tries_only_so_many_logins_in_ten_minutes)
{
    reopen_with("logins-per-address = 4\n");
    uint32_t ip = world_fresh_ip(w);
    for (int i = 0; i < 4; i++)
        SUCCEEDS(raw_auth(raw_open(w, ip), "Ann", "secret"));
    REFUSED(raw_auth(raw_open(w, ip), "Ann", "secret"), "hack", 100);
    can_log_in("Ann", "secret");
    world_run(w, 605000);
    SUCCEEDS(raw_auth(raw_open(w, ip), "Ann", "secret"));
}

TEST(addresses, an_address_has_only_so_many_connections)
{
    reopen_with("per-address = 3\n");
    uint32_t ip = world_fresh_ip(w);
    struct raw *first = raw_open(w, ip);
    (void)raw_open(w, ip);
    (void)raw_open(w, ip);
    CLOSED(raw_open(w, ip));
    OPEN(raw_open(w, 0));
    raw_close(first);
    OPEN(raw_open(w, ip));
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
    static const struct {
        const char *kind, *payload;
    } things[] = {
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

/* ---- Buddies (9) -------------------------------------------------------- */

GROUP(buddies, open_world, close_world, 0);

/* A list, its names in order and with a space between; and that it is told as
 * it should be: SIZE, and exactly so many ROST with the same ID behind it. */
static const char *roster(struct raw *buddy, const char *list)
{
    static int id = 1;
    char payload[64];
    raw_forget(buddy);
    id++;
    (void)snprintf(payload, sizeof payload, "LRSC=cso\nLIST=%s\nPRES=Y\nID=%d\n", list, id);
    say(buddy, "RGET", payload);
    ck_assert_str_eq(frame_at(buddy, 0)->kind, "RGET");
    const char *text = rows_of(buddy, id);
    raw_forget(buddy);
    return text;
}

TEST(buddies, the_ticket_of_pers_opens_the_buddy_service)
{
    static const char *const users[] = {"Ann/cso/nascar-ps2-2004", "Ann@cso", "Ann", "ann/x", "ANN"};
    struct raw *ann = player(w, "Ann", "");
    char ticket[32];
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(ann, "Ann"));
    for (int i = 0; i < COUNT(users); i++) {
        for (int bare = 0; bare < 2; bare++) {
            struct raw *r = raw_open(w, 0);
            const struct got *g = raw_ask(r, "AUTH", buddy_tags(users[i], ticket + bare));
            ck_assert_str_eq(got_code(g), "");
            SAYS(g, "NAME=Ann\nSTATUS=1");
            OPEN(r);
            raw_close(r);
        }
    }
    OPEN(ann);
}

TEST(buddies, no_other_ticket_opens_the_buddy_service)
{
    char ticket[32], wrong[64];
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    can_log_in("Cid", "secret"); /* has never played */
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(ann, "Ann"));
    (void)ticket_of(bob, "Bob");
    (void)snprintf(wrong, sizeof wrong, "%s", ticket);
    wrong[16] = wrong[16] == '0' ? '1' : '0';
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    (void)snprintf(wrong, sizeof wrong, "%s0", ticket);
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    (void)snprintf(wrong, sizeof wrong, "%.16s", ticket);
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    (void)snprintf(wrong, sizeof wrong, "$%s", ticket);
    ck_assert_str_eq(buddy_code("Ann", wrong), "user");
    ck_assert_str_eq(buddy_code("Ann", ""), "user");
    ck_assert_str_eq(buddy_code("Ann", "$"), "user");
    ck_assert_str_eq(buddy_code("Ann", "$0"), "user");
    ck_assert_str_eq(buddy_code("Bob", ticket), "user");
    ck_assert_str_eq(buddy_code("Nobody", ticket), "user");
    ck_assert_str_eq(buddy_code("", ticket), "user");
    ck_assert_str_eq(buddy_code("Cid", "$0000000000000000"), "user");
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
}

TEST(buddies, a_refused_buddy_may_try_again)
{
    struct raw *ann = player(w, "Ann", ""), *r = raw_open(w, 0);
    char ticket[32];
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(ann, "Ann"));
    REFUSED(raw_ask(r, "AUTH", buddy_tags("Ann", "$0123456789abcdef")), "user", 101);
    REFUSED(raw_ask(r, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n"), "sess", 101);
    SUCCEEDS(raw_ask(r, "AUTH", buddy_tags("Ann", ticket)));
    ck_assert_str_eq(roster(r, "B"), "");
}

TEST(buddies, a_ticket_survives_a_restart)
{
    char ticket[32];
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(member("Ann", "secret"), "Ann"));
    world_restart(w);
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    w->wall_offset_s += 12 * 3600 + 5;
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
}

TEST(buddies, a_ticket_lives_12_hours_or_until_the_next_pers)
{
    char ticket[32], next[32];
    struct raw *ann = member("Ann", "secret");
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(ann, "Ann"));
    raw_close(ann); /* a lost lobby connection does not end it */
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    w->wall_offset_s += 12 * 3600 - 5;
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    w->wall_offset_s += 10;
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
    ann = member("Ann", "secret");
    SUCCEEDS(raw_ask(ann, "cper", "PERS=Ace\n"));
    (void)snprintf(ticket, sizeof ticket, "%.31s", ticket_of(ann, "Ann"));
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    (void)snprintf(next, sizeof next, "%.31s", ticket_of(ann, "Ace")); /* another persona's pers */
    ck_assert_str_eq(buddy_code("Ann", ticket), "");
    ck_assert_str_eq(buddy_code("Ace", next), "");
    ck_assert_str_eq(buddy_code("Ann", next), "user");
    (void)snprintf(next, sizeof next, "%.31s", ticket_of(ann, "Ann"));
    ck_assert_str_eq(buddy_code("Ann", ticket), "user");
    ck_assert_str_eq(buddy_code("Ann", next), "");
}

TEST(buddies, an_empty_roster_has_size_0)
{
    struct raw *r = buddy_of(player(w, "Ann", ""));
    raw_send(r, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n"); /* both in one segment */
    raw_send(r, "RGET", "LRSC=cso\nLIST=I\nPRES=N\nID=2\n");
    GOT(r, "RGET RGET");
    SAYS(frame_at(r, 0), "ID=1\nSIZE=0\nSTATUS=1");
    SAYS(frame_at(r, 1), "ID=2\nSIZE=0\nSTATUS=1");
}

TEST(buddies, both_lists_come_one_after_the_other)
{
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    can_log_in("Bob", "secret");
    can_log_in("Cid", "secret");
    can_log_in("Dan", "secret");
    SUCCEEDS(change_list(ann, "RADD", "B", "Bob"));
    SUCCEEDS(change_list(ann, "RADD", "B", "Cid"));
    SUCCEEDS(change_list(ann, "RADD", "I", "Dan"));
    raw_forget(ann);
    raw_send(ann, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n");
    raw_send(ann, "RGET", "LRSC=cso\nLIST=I\nPRES=N\nID=2\n");
    world_settle(w);
    char told[64] = "";
    for (size_t i = 0; i < ann->count; i++) {
        const struct got *g = ann->frames[i];
        if (strcmp(g->kind, "PGET") != 0) /* of buddies who are online */
            (void)snprintf(told + strlen(told), sizeof told - strlen(told), "%s%d ", g->kind, (int)got_number(g, "ID"));
    }
    ck_assert_str_eq(told, "RGET1 ROST1 ROST1 RGET2 ROST2 ");
    ck_assert_str_eq(roster(ann, "B"), "Bob Cid");
    ck_assert_str_eq(roster(ann, "I"), "Dan");
}

TEST_LOOP(buddies, who_is_added_is_named_as_first_written, 0, 2)
{
    static const char *const lists[] = {"B", "I"};
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    can_log_in("BigBob", "secret");
    const struct got *g = change_list(ann, "RADD", lists[_i], "bigBOB/cso/nascar-ps2-2004");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "ID=101\nFUSR=BigBob\nSTATUS=1");
    SUCCEEDS(change_list(ann, "RADD", lists[_i], "BigBob")); /* again: still once */
    ck_assert_str_eq(roster(ann, lists[_i]), "BigBob");
    ck_assert_str_eq(roster(ann, lists[1 - _i]), "");
    g = change_list(ann, "RDEL", lists[_i], "BIGBOB");
    ck_assert_str_eq(got_code(g), "");
    SAYS(g, "ID=101\nSTATUS=1");
    ck_assert_str_eq(roster(ann, lists[_i]), "");
}

TEST(buddies, one_player_may_be_on_both_lists)
{
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    can_log_in("Bob", "secret");
    SUCCEEDS(change_list(ann, "RADD", "B", "Bob")); /* to block: both, with one ID */
    SUCCEEDS(change_list(ann, "RADD", "I", "Bob"));
    ck_assert_str_eq(roster(ann, "B"), "Bob");
    ck_assert_str_eq(roster(ann, "I"), "Bob");
    SUCCEEDS(change_list(ann, "RDEL", "B", "Bob"));
    ck_assert_str_eq(roster(ann, "B"), "");
    ck_assert_str_eq(roster(ann, "I"), "Bob");
}

TEST_LOOP(buddies, nobody_adds_an_unknown_persona_or_itself, 0, 6)
{
    static const char *const users[] = {"Nobody", "Ann", "ANN/cso", "", "a.b", "Nobody@x"};
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    const struct got *g = change_list(ann, "RADD", "B", users[_i]);
    REFUSED(g, "user", 102);
    ck_assert_int_eq(got_number(g, "ID"), 101);
    ck_assert_str_eq(roster(ann, "B"), "");
    g = raw_ask(ann, "RADD", "ID=7\nUSER=Bob\n"); /* to no list */
    DENIED(g);
    ck_assert_int_eq(got_number(g, "ID"), 7);
    OPEN(ann);
}

TEST(buddies, a_roster_holds_25)
{
    char name[16], payload[32];
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    for (int i = 0; i < 26; i++) {
        static struct raw *other;
        (void)snprintf(name, sizeof name, "Racer%d", i / 4);
        if (i % 4 == 0) {
            other = member(name, "secret");
        } else {
            (void)snprintf(payload, sizeof payload, "PERS=Racer%d_%d\n", i / 4, i % 4);
            SUCCEEDS(raw_ask(other, "cper", payload));
            (void)snprintf(name, sizeof name, "Racer%d_%d", i / 4, i % 4);
        }
        const struct got *g = change_list(ann, "RADD", "B", name);
        if (i < 25) {
            SUCCEEDS(g);
            continue;
        }
        ck_assert_str_eq(got_code(g), "full");
        ck_assert_int_ne(got_status(g), 1);
        ck_assert_int_eq(got_number(g, "ID"), 101);
    }
    raw_forget(ann);
    say(ann, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n");
    ck_assert_int_eq(got_number(frame_at(ann, 0), "SIZE"), 25);
    ck_assert_uint_eq(frames_of(ann, "ROST", NULL), 25);
    SUCCEEDS(change_list(ann, "RADD", "I", "Racer0")); /* who is on it already */
    SUCCEEDS(change_list(ann, "RDEL", "B", "Racer3"));
    SUCCEEDS(change_list(ann, "RADD", "B", name));
}

TEST(buddies, a_deleted_persona_is_on_no_roster)
{
    struct raw *ann = buddy_of(player(w, "Ann", "")), *bob = member("Bob", "secret");
    SUCCEEDS(raw_ask(bob, "cper", "PERS=Ace\n"));
    SUCCEEDS(change_list(ann, "RADD", "B", "Ace"));
    SUCCEEDS(change_list(ann, "RADD", "I", "Ace"));
    SUCCEEDS(change_list(ann, "RADD", "B", "Bob"));
    SUCCEEDS(raw_ask(bob, "dper", "PERS=Ace\n"));
    ck_assert_str_eq(roster(ann, "B"), "Bob");
    ck_assert_str_eq(roster(ann, "I"), "");
    SUCCEEDS(raw_ask(bob, "cper", "PERS=Ace\n")); /* a new one, which nobody knows */
    ck_assert_str_eq(roster(ann, "B"), "Bob");
}

TEST(buddies, a_roster_change_that_is_not_kept_has_not_happened)
{
    struct raw *ann = buddy_of(player(w, "Ann", ""));
    can_log_in("Bob", "secret");
    can_log_in("Cid", "secret");
    SUCCEEDS(change_list(ann, "RADD", "B", "Cid"));
    w->fail_records = true;
    const struct got *g = change_list(ann, "RADD", "B", "Bob");
    DENIED(g);
    ck_assert_int_eq(got_number(g, "ID"), 101);
    DENIED(change_list(ann, "RDEL", "B", "Cid"));
    w->fail_records = false;
    ck_assert_str_eq(roster(ann, "B"), "Cid");
    SUCCEEDS(change_list(ann, "RADD", "B", "Bob"));
    ck_assert_str_eq(roster(ann, "B"), "Bob Cid");
}

TEST(buddies, disc_is_goodbye)
{
    struct raw *lobby = player(w, "Ann", ""), *ann = buddy_of(lobby);
    say(ann, "DISC", "");
    CLOSED(ann);
    OPEN(lobby);
    ann = buddy_of(lobby);
    OPEN(ann);
}

TEST(buddies, an_ignored_player_is_not_heard)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    struct raw *lists = buddy_of(bob);
    set_ignored(player(w, "Cid", ""), "Ann", true); /* which is nothing to Bob */
    SUCCEEDS(change_list(lists, "RADD", "B", "Ann"));
    go(ann, "East");
    go(bob, "East");
    for (int ignored = 0; ignored < 3; ignored++) { /* not yet, now, no more */
        if (ignored > 0)
            SUCCEEDS(change_list(lists, ignored == 1 ? "RADD" : "RDEL", "I", "Ann"));
        forget_all();
        SUCCEEDS(raw_ask(ann, "mesg", "TEXT=hello\n"));
        SUCCEEDS(raw_ask(ann, "mesg", "TEXT=psst\nPRIV=Bob\n"));
        ck_assert_uint_eq(frames_of(bob, "+msg", NULL), ignored == 1 ? 0 : 2);
        SUCCEEDS(raw_ask(bob, "mesg", "TEXT=who is there\n"));
        ck_assert_uint_eq(frames_of(ann, "+msg", NULL), 2); /* her own line, and his */
    }
}

/* ---- After a restart ---------------------------------------------------- */

GROUP(what_is_kept, open_world, close_world, 0);

TEST(what_is_kept, accounts_personas_and_rosters_are_there_after_a_restart)
{
    struct raw *ann = player(w, "Ann", ""), *bob = player(w, "Bob", "");
    struct raw *cid = guest(), *lists = buddy_of(ann);
    SUCCEEDS(sign_up(cid, "Cid", "secret"));
    SUCCEEDS(raw_ask(cid, "cper", "PERS=CidsFirst\n"));
    SUCCEEDS(raw_ask(cid, "cper", "PERS=CidsSecond\n"));
    SUCCEEDS(raw_ask(cid, "dper", "PERS=CidsFirst\n"));
    SUCCEEDS(raw_ask(bob, "cper", "PERS=CidsFirst\n"));
    SUCCEEDS(raw_ask(bob, "edit", "PASS=secret\nCHNG=bobs new\nMAIL=bob@example.org\n"));
    SUCCEEDS(change_list(lists, "RADD", "B", "Bob"));
    SUCCEEDS(change_list(lists, "RADD", "B", "CidsSecond"));
    SUCCEEDS(change_list(lists, "RADD", "I", "CidsSecond"));
    SUCCEEDS(change_list(lists, "RADD", "B", "CidsFirst"));
    SUCCEEDS(change_list(lists, "RDEL", "B", "CidsFirst"));
    for (int i = 0; i < 2; i++) {
        world_restart(w);
        CLOSED(ann);
        ck_assert_str_eq(personas_of("Ann", "secret"), "Ann");
        ck_assert_str_eq(personas_of("Bob", "bobs new"), "Bob,CidsFirst");
        ck_assert_str_eq(personas_of("Cid", "secret"), "CidsSecond");
        ck_assert_str_eq(login_code("Bob", "secret"), "pass");
        REFUSED(sign_up(guest(), "ANN", "other1"), "dupl", 0);
        ann = player(w, "Ann", "");
        REFUSED(raw_ask(ann, "cper", "PERS=cidsfirst\n"), "dupl", 0);
        lists = buddy_of(ann);
        ck_assert_str_eq(roster(lists, "B"), "Bob CidsSecond");
        ck_assert_str_eq(roster(lists, "I"), "CidsSecond");
        bob = raw_open(w, 0);
        const struct got *g = raw_auth(bob, "Bob", "bobs new");
        ck_assert_str_eq(got_text(g, "MAIL"), "bob@example.org");
    }
}

/* ---- Secrets ------------------------------------------------------------ */

static bool holds(const void *bytes, size_t size, const char *text)
{
    size_t n = strlen(text);
    const char *at = bytes, *end = at + size;
    while ((size_t)(end - at) >= n && (at = memchr(at, text[0], (size_t)(end - at) - n + 1)) != NULL) {
        if (memcmp(at, text, n) == 0)
            return true;
        at++;
    }
    return false;
}

/* Neither the whole nor a part of five characters that no log would escape. */
static void is_unsaid(const char *secret)
{
    static const char escaped[] = "\"\\%=:' ";
    for (size_t at = 0; at + 5 <= strlen(secret); at++) {
        char part[6] = "";
        memcpy(part, secret + at, 5);
        if (strcspn(part, escaped) < 5)
            continue;
        ck_assert_msg(!world_logged(w, part), "%s is in the log", part);
        for (size_t i = 0; i < w->record_count; i++)
            ck_assert_msg(!holds(w->records[i].bytes, w->records[i].size, part), "%s is in a record", part);
    }
    for (size_t i = 0; i < w->raw_count; i++) {
        for (size_t k = 0; k < w->raws[i]->count; k++) {
            const struct got *g = w->raws[i]->frames[k];
            ck_assert_msg(!holds(g->payload, g->size, secret), "%s is in %s", secret, g->kind);
        }
    }
    ck_assert_msg(!holds(w->arena, w->arena_bytes, secret), "%s is in memory", secret);
}

/* Sends a password in one of its forms, 0 to 2: SSC2, mask, clear; twice in
 * frames that may not have one. `said` is what went over the wire. */
static void say_password(const char *kind, const char *name, const char *word, int form, char said[64])
{
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    (void)snprintf(said, 64, "%.63s", form == 0 ? enciphered(r, word) : form == 1 ? masked(mask, word) : word);
    raw_send(r, "edit", credentials(name, said, "")); /* not in this state */
    raw_send(r, "xxxx", credentials(name, said, ""));
    raw_send(r, kind, credentials(name, said, "TOS=1\n"));
    world_settle(w);
    raw_close(r);
    raw_close(directory);
}

TEST(what_is_kept, no_password_is_written_or_logged_anywhere)
{
    static const char *const modes[] = {"accounts = open\n", "accounts = register\n", "accounts = closed\n"};
    static const char *const guests[] = {"Ann", "Bob", "bad name!", "East", "Nobody", "Cid"};
    static const char *const words[] = {"Zebra#right1", "Quokka#wrong", "Vicuna#newer", "Xylo#edited"};
    enum { SAID = 3 * 6 * 2 * 3 };
    static char said[SAID][64];
    size_t count = 0;
    for (int mode = 0; mode < 3; mode++) {
        world_configure(w, modes[mode]);
        for (int i = 0; i < COUNT(guests); i++) { /* successes and failures */
            for (int word = 0; word < 2; word++)
                for (int form = 0; form < 3; form++)
                    say_password(i % 2 == 0 ? "auth" : "acct", guests[i], words[word], form, said[count++]);
        }
    }
    ck_assert_uint_eq(count, SAID);
    world_configure(w, "");
    struct raw *r = member("Dan", words[0]);
    DENIED(raw_ask(r, "edit", "PASS=Quokka#wrong\nCHNG=Vicuna#newer\n"));
    SUCCEEDS(raw_ask(r, "edit", "PASS=Zebra#right1\nCHNG=Vicuna#newer\n"));
    w->fail_records = true;
    DENIED(raw_ask(r, "edit", "PASS=Vicuna#newer\nCHNG=Xylo#edited\n"));
    w->fail_records = false;
    can_log_in("Dan", words[2]);
    ck_assert_uint_ge(w->log_count, 100);
    ck_assert_uint_ge(w->record_count, 4);
    for (int i = 0; i < COUNT(words); i++)
        is_unsaid(words[i]);
    for (size_t i = 0; i < count; i++)
        is_unsaid(said[i] + 1); /* without its ~ or $ */
}

TEST_LOOP(what_is_kept, a_password_does_not_stay_in_memory, 0, 2)
{
    char said[64];
    struct raw *r = guest(), *directory = raw_open(w, r->ip);
    const char *mask = got_raw(raw_ask(directory, "@dir", DIR_REQUEST), "MASK");
    (void)snprintf(said, sizeof said, "%.63s", masked(mask, _i == 0 ? "Zebra#right1" : "Quokka#wrong"));
    can_log_in("Ann", "Zebra#right1");
    const struct got *g = raw_ask(r, "auth", credentials("Ann", said, ""));
    is_unsaid(said + 1);
    if (_i == 0) {
        SUCCEEDS(g);
        SUCCEEDS(raw_ask(r, "edit", "PASS=Zebra#right1\nCHNG=Vicuna#newer\n"));
        is_unsaid("Zebra#right1");
        is_unsaid("Vicuna#newer");
    } else {
        REFUSED(g, "pass", 100);
        is_unsaid("Quokka#wrong");
    }
}

TEST(what_is_kept, a_log_line_is_one_line_whatever_is_said)
{
    static const char *const hostile[] = {"a\nevent=login", "b\"\x1b[2J\\", "c\xff\x7f\t\r"};
    struct raw *r = guest();
    for (int i = 0; i < COUNT(hostile); i++)
        DENIED(raw_ask(r, "auth", credentials(hostile[i], enciphered(r, "secret"), "")));
    ck_assert(world_logged(w, "login_refused"));
    for (size_t i = 0; i < w->log_count; i++) {
        for (const char *at = w->log[i]; *at != '\0'; at++)
            ck_assert((uint8_t)*at >= 0x20 && (uint8_t)*at <= 0x7E);
        ck_assert_ptr_null(strstr(w->log[i], "\nevent"));
    }
}
