/* What the real game sent, given to this server byte for byte (tests/data, from
 * captures of NASCAR Thunder 2004): it is answered as PROTOCOL says, the same
 * however the bytes are cut, and damaged frames hurt nobody.
 *
 * The game talked to another server there: its SESS is not ours, so PASS, whose
 * form is the mask one, is read with the newest mask that its address got
 * (PROTOCOL 4). A seed of the world's entropy is looked for with which that
 * makes a password. Run from the project's folder.
 *
 * SPDX-License-Identifier: MIT */
#include "clients.h"

#include <ctype.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Reading the captures ----------------------------------------------- */

#define LINKS 4
#define FRAMES 32
#define REQUEST_BYTES 512 /* PROTOCOL 1: what a console's request is at most */

struct captured {
    char kind[5];
    size_t link;     /* which of the capture's connections */
    int64_t time_ms; /* 0 where the capture has no times */
    bool heard;      /* something had come back on its connection since the last one */
    uint32_t size;
    uint8_t bytes[REQUEST_BYTES];
};

struct capture {
    const char *name;
    size_t links, count;
    char link[LINKS][32];
    struct captured frame[FRAMES];
};

enum { LOGIN, PINGS, ROOMS, CAPTURES };
static struct capture captures[CAPTURES] = {
    [LOGIN] = {.name = "login"},
    [PINGS] = {.name = "pings"},
    [ROOMS] = {.name = "rooms-stats-buddy"},
};

/* In every capture the connections are these, in this order. */
enum { DIRECTORY_LINK, LOBBY_LINK, BUDDY_LINK, ALL_LINKS };

/* Where the value of a line's field starts; NULL: it has none. A name inside a
 * text has a backslash before its quote. */
static const char *json_value(const char *line, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = strchr(line, '"'); at != NULL; at = strchr(at + 1, '"')) {
        if ((at > line && at[-1] == '\\') || strncmp(at + 1, name, size) != 0 || at[1 + size] != '"')
            continue;
        const char *value = at + size + 2;
        value += strspn(value, " \t");
        if (*value == ':')
            return value + 1 + strspn(value + 1, " \t");
    }
    return NULL;
}

/* A text without escapes; false if the field is not there, or is none. */
static bool json_text(const char *line, const char *name, char *out, size_t size)
{
    const char *value = json_value(line, name);
    if (value == NULL || *value != '"')
        return false;
    size_t length = strcspn(++value, "\"\\");
    if (value[length] != '"' || length >= size)
        return false;
    memcpy(out, value, length);
    out[length] = '\0';
    return true;
}

static bool take_line(struct capture *c, const char *line, bool heard[LINKS])
{
    char name[32], direction[4], hex[2 * REQUEST_BYTES + 1];
    size_t link = 0;
    if (!json_text(line, "conn", name, sizeof name) || !json_text(line, "dir", direction, sizeof direction))
        return false;
    while (link < c->links && strcmp(c->link[link], name) != 0)
        link++;
    if (link == LINKS)
        return false;
    if (link == c->links)
        memcpy(c->link[c->links++], name, sizeof name);
    if (strcmp(direction, "C") != 0) {
        heard[link] = true;
        return true;
    }
    if (c->count == FRAMES || !json_text(line, "hex", hex, sizeof hex) || strlen(hex) % 2 != 0)
        return false;
    struct captured *f = &c->frame[c->count++];
    const char *time = json_value(line, "time");
    f->link = link;
    f->time_ms = time == NULL ? 0 : (int64_t)(strtod(time, NULL) * 1000);
    f->heard = heard[link];
    heard[link] = false;
    for (const char *at = hex; *at != '\0'; at += 2) {
        unsigned byte;
        if (!isxdigit((unsigned char)at[0]) || !isxdigit((unsigned char)at[1]) || sscanf(at, "%2x", &byte) != 1)
            return false;
        f->bytes[f->size++] = (uint8_t)(byte & 0xFFu);
    }
    memcpy(f->kind, f->bytes, 4);
    return f->size >= CONSOLE_HEADER_BYTES;
}

static bool read_capture(struct capture *c)
{
    char path[64], line[8192];
    bool good = true, heard[LINKS] = {false};
    (void)snprintf(path, sizeof path, "tests/data/%s.jsonl", c->name);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        return false;
    }
    while (good && fgets(line, sizeof line, file) != NULL)
        good = line[strspn(line, " \t\r\n")] == '\0' || take_line(c, line, heard);
    if (!good)
        (void)fprintf(stderr, "%s: expected a captured frame in: %s\n", path, line);
    (void)fclose(file);
    return good;
}

static void read_captures(void)
{
    for (size_t i = 0; i < CAPTURES; i++)
        ck_assert(captures[i].count > 0 || read_capture(&captures[i]));
}

static const char *payload_of(const struct captured *f)
{
    return (const char *)f->bytes + CONSOLE_HEADER_BYTES;
}

static uint32_t number_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The nth frame of a kind, from 0. */
static const struct captured *captured(int number, const char *kind, size_t nth)
{
    const struct capture *c = &captures[number];
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->frame[i].kind, kind) == 0 && nth-- == 0)
            return &c->frame[i];
    ck_abort_msg("%s has no such %s", c->name, kind);
    return NULL;
}

/* The kinds of the requests on one connection, with a space between. */
static const char *kinds_on(const struct capture *c, size_t link, bool with_echoes)
{
    char *text = lobby_text();
    for (size_t i = 0; i < c->count; i++) {
        const char *kind = c->frame[i].kind;
        if (c->frame[i].link == link && (with_echoes || strcmp(kind, "~png") != 0))
            strcat(strcat(text, text[0] == '\0' ? "" : " "), kind);
    }
    return text;
}

GROUP(replayed, read_captures, NULL, 30);

/* If this fails, the rest of the suite tests less than it says. */
TEST(replayed, the_captures_are_whole)
{
    static const char *const requests[CAPTURES][ALL_LINKS] = {
        {"@dir", "addr skey auth pers sele sele news", "AUTH"},
        {"@dir", "addr skey auth ~png pers sele sele news ~png ~png ~png ~png ~png ~png", "AUTH"},
        {"@dir", "addr skey auth pers sele sele news move move room snap", "AUTH PSET RGET RGET RADD"},
    };
    for (size_t i = 0; i < CAPTURES; i++) {
        const struct capture *c = &captures[i];
        ck_assert_uint_eq(c->links, ALL_LINKS);
        for (size_t link = 0; link < ALL_LINKS; link++)
            ck_assert_str_eq(kinds_on(c, link, true), requests[i][link]);
        for (size_t at = 0; at < c->count; at++) {
            const struct captured *f = &c->frame[at];
            ck_assert_uint_eq(number_at(f->bytes + 8), f->size);
            ck_assert_uint_eq(f->bytes[f->size - 1], 0);
        }
    }
}

/* ---- Replaying them ----------------------------------------------------- */

/* Small, because its state is copied often. What a replay draws is less than
 * the pool of entropy holds, so it gets the same secrets however it is cut. */
static const struct nascar_limits few = {2, 4, 8, 4, 4, 64, 0};

struct replay {
    const struct capture *capture;
    struct world *w;
    uint32_t ip;
    struct raw *link[LINKS];
    uint8_t held[REQUEST_BYTES]; /* of link `held_for`, for the cut at random */
    size_t held_bytes, held_for;
    uint64_t chance;
};

enum way { BY_FRAME, BY_SEGMENT, BY_BYTE, BY_CONNECTION, AT_RANDOM };
#define WAYS (AT_RANDOM + 6) /* the last of them with seeds of their own */

static struct world *capture_world(uint64_t seed, bool checked)
{
    struct world_options options = {.limits = few, .config = "skey = off\n", .seed = seed, .no_check = !checked};
    return world_new(&options);
}

static struct raw *link_of(struct replay *r, size_t link)
{
    if (r->link[link] == NULL) {
        r->link[link] = raw_open(r->w, r->ip);
        (void)snprintf(r->link[link]->name, sizeof r->link[link]->name, "%s", r->capture->link[link]);
        r->link[link]->keeps_pings = true; /* whatever came back would be seen */
    }
    return r->link[link];
}

static void feed(struct replay *r, size_t link, const uint8_t *bytes, size_t size)
{
    raw_send_bytes(link_of(r, link), bytes, size);
    world_settle(r->w);
}

static void feed_held(struct replay *r, size_t size)
{
    if (size > 0) {
        feed(r, r->held_for, r->held, size);
        r->held_bytes -= size;
        memmove(r->held, r->held + size, r->held_bytes);
    }
}

static uint32_t chance_below(struct replay *r, size_t limit)
{
    r->chance = r->chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((r->chance >> 33) % limit);
}

/* Some of what is there goes out, in pieces; the rest waits for the next frame
 * of the same connection. */
static void feed_at_random(struct replay *r, const struct captured *f)
{
    if (r->held_for != f->link || r->held_bytes + f->size > sizeof r->held)
        feed_held(r, r->held_bytes);
    r->held_for = f->link;
    memcpy(r->held + r->held_bytes, f->bytes, f->size);
    r->held_bytes += f->size;
    while (r->held_bytes > 0 && chance_below(r, 4) > 0)
        feed_held(r, 1 + chance_below(r, r->held_bytes));
}

static void feed_frame(struct replay *r, const struct captured *f, enum way way)
{
    if (way >= AT_RANDOM)
        feed_at_random(r, f);
    else if (way == BY_BYTE)
        for (size_t i = 0; i < f->size; i++)
            feed(r, f->link, f->bytes + i, 1);
    else
        feed(r, f->link, f->bytes, f->size);
}

/* What stands in for a segment: the frames that the game sent on a connection
 * before it heard anything there. */
static void feed_segment(struct replay *r, size_t *at, size_t end)
{
    const struct captured *f = &r->capture->frame[*at];
    uint8_t bytes[4 * REQUEST_BYTES];
    size_t size = 0, link = f->link;
    do {
        ck_assert_uint_le(size + f->size, sizeof bytes);
        memcpy(bytes + size, f->bytes, f->size);
        size += f->size;
        f++;
        ++*at;
    } while (*at < end && f->link == link && !f->heard);
    feed(r, link, bytes, size);
}

/* All of a connection in one piece; more than 2 KiB would be too much for one. */
static void feed_connection(struct replay *r, size_t link, size_t end)
{
    uint8_t bytes[2048];
    size_t size = 0;
    for (const struct captured *f = r->capture->frame; f < r->capture->frame + end; f++) {
        if (f->link == link) {
            ck_assert_uint_le(size + f->size, sizeof bytes);
            memcpy(bytes + size, f->bytes, f->size);
            size += f->size;
        }
    }
    if (size > 0)
        feed(r, link, bytes, size);
}

/* The first `end` frames of a capture, with no time between them. */
static void replay_until(struct replay *r, int number, size_t end, enum way way, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    r->capture = &captures[number];
    r->w = capture_world(seed, true);
    r->ip = world_fresh_ip(r->w);
    r->chance = (uint64_t)way;
    for (size_t link = 0; way == BY_CONNECTION && link < ALL_LINKS; link++)
        feed_connection(r, link, end);
    for (size_t i = 0; way == BY_SEGMENT && i < end;)
        feed_segment(r, &i, end);
    for (size_t i = 0; way != BY_CONNECTION && way != BY_SEGMENT && i < end; i++)
        feed_frame(r, &r->capture->frame[i], way);
    feed_held(r, r->held_bytes);
}

/* What PASS of an auth says under a mask (PROTOCOL 4); false: not a password. */
static bool reads_as_password(const char *auth, const char *mask)
{
    const char *value = console_find(auth, "PASS");
    uint8_t last = 0;
    size_t size = 0;
    ck_assert(value != NULL && *value == '$');
    for (value++; isxdigit((unsigned char)value[0]); value += 2, size++) {
        unsigned c = 0;
        ck_assert_int_eq(sscanf(value, "%2x", &c), 1);
        unsigned rolled = (c ^ (unsigned char)mask[size % strlen(mask)]) & 0xFFu;
        unsigned letter = ((rolled >> 3 | rolled << 5) & 0xFFu) ^ last;
        if (letter < 0x20 || letter > 0x7E)
            return false;
        last = (uint8_t)(c & 0xFFu);
    }
    return size >= 4 && size <= 16;
}

/* A seed with which the captures' password can be read, or one with which it
 * cannot. `@dir` and PASS are the same in all of them. */
static uint64_t seed_for(bool readable)
{
    static uint64_t found[2];
    const struct captured *directory = captured(LOGIN, "@dir", 0);
    for (uint64_t seed = 1; found[readable] == 0; seed++) {
        ck_assert_uint_lt(seed, 2000);
        struct world *other = capture_world(seed, false);
        struct raw *r = raw_open(other, 0);
        raw_send_bytes(r, directory->bytes, directory->size);
        const char *mask = got_text(raw_expect(r, "@dir"), "MASK");
        bool good = reads_as_password(payload_of(captured(LOGIN, "auth", 0)), mask);
        found[good] = found[good] == 0 ? seed : found[good];
        world_free(other);
    }
    return found[readable];
}

static void replay(struct replay *r, int number, enum way way)
{
    replay_until(r, number, captures[number].count, way, seed_for(true));
}

static void all_are_open(const struct replay *r)
{
    for (size_t link = 0; link < r->capture->links; link++) {
        ck_assert(r->link[link] != NULL);
        ck_assert_msg(!raw_closed(r->link[link]), "%s is closed", r->link[link]->name);
    }
}

/* Everything that came on a connection is the same, to the byte. */
static void same_bytes(struct raw *a, struct raw *b)
{
    ck_assert_str_eq(kinds(a), kinds(b));
    ck_assert_uint_eq(a->bytes_read, b->bytes_read);
    for (size_t i = 0; i < a->count; i++) {
        const struct got *one = a->frames[i], *other = b->frames[i];
        ck_assert_uint_eq(one->code, other->code);
        ck_assert_uint_eq(one->size, other->size);
        ck_assert_msg(memcmp(one->payload, other->payload, one->size) == 0, "%s, frame %zu: %s, not %s", a->name, i,
                      got_payload(other), got_payload(one));
    }
}

TEST_LOOP(replayed, the_same_bytes_come_back_however_a_capture_is_cut, 0, CAPTURES *WAYS)
{
    struct replay whole, cut;
    int number = _i / WAYS;
    replay(&whole, number, BY_FRAME);
    replay(&cut, number, (enum way)(_i % WAYS));
    all_are_open(&whole);
    all_are_open(&cut);
    for (size_t link = 0; link < ALL_LINKS; link++) {
        same_bytes(whole.link[link], cut.link[link]);
        ck_assert_uint_gt(whole.link[link]->count, 0);
    }
    world_free(whole.w);
    world_free(cut.w);
}

/* ---- What the game sees in reply ---------------------------------------- */

static bool is_push(const struct got *g)
{
    return g->kind[0] == '+' || strcmp(g->kind, "ROST") == 0 || strcmp(g->kind, "PGET") == 0;
}

/* The kinds of the replies, with a space between. */
static const char *replies_to(struct raw *r)
{
    char *text = lobby_text();
    world_settle(r->world);
    for (size_t i = 0; i < r->count; i++)
        if (!is_push(r->frames[i]))
            strcat(strcat(text, text[0] == '\0' ? "" : " "), r->frames[i]->kind);
    return text;
}

TEST_LOOP(replayed, each_captured_request_gets_one_reply_of_its_kind_in_order, 0, CAPTURES)
{
    struct replay r;
    replay(&r, _i, BY_FRAME);
    for (size_t link = 0; link < ALL_LINKS; link++)
        ck_assert_str_eq(replies_to(r.link[link]), kinds_on(r.capture, link, false));
    world_free(r.w);
}

TEST(replayed, a_captured_echo_of_a_ping_gets_nothing)
{
    struct replay r;
    size_t echoes = 0;
    uint32_t codes = 0;
    replay(&r, PINGS, BY_FRAME);
    struct raw *lobby = r.link[LOBBY_LINK];
    for (size_t i = 0; i < r.capture->count; i++) {
        const struct captured *f = &r.capture->frame[i];
        if (strcmp(f->kind, "~png") == 0) {
            raw_forget(lobby);
            feed(&r, LOBBY_LINK, f->bytes, f->size);
            GOT(lobby, "");
            codes |= number_at(f->bytes + 4) == 0x10 ? 1u : 2u;
            echoes++;
        }
    }
    ck_assert_uint_eq(echoes, 7);
    ck_assert_uint_eq(codes, 3); /* both that the game uses */

    /* nor does it hold up what comes behind it in one segment */
    const struct captured *echo = captured(PINGS, "~png", 0), *sele = captured(PINGS, "sele", 1);
    raw_send_bytes(lobby, echo->bytes, echo->size);
    raw_send_bytes(lobby, echo->bytes, echo->size);
    feed(&r, LOBBY_LINK, sele->bytes, sele->size);
    GOT(lobby, "sele");
    all_are_open(&r);
    world_free(r.w);
}

TEST_LOOP(replayed, the_captured_directory_request_is_told_where_the_lobby_is, 0, CAPTURES)
{
    struct replay r;
    replay_until(&r, _i, 1, BY_FRAME, seed_for(true));
    struct raw *directory = r.link[DIRECTORY_LINK];
    GOT(directory, "@dir");
    SAYS(frame_at(directory, 0), "ADDR=203.0.113.10\nPORT=11000\nSESS=*\nMASK=*");
    world_free(r.w);
}

TEST_LOOP(replayed, the_captured_login_gets_in, 0, CAPTURES)
{
    struct replay r;
    replay(&r, _i, BY_FRAME);
    struct raw *lobby = r.link[LOBBY_LINK];
    SUCCEEDS(raw_look(lobby, "addr"));
    ck_assert_str_eq(got_raw(raw_look(lobby, "skey"), "SKEY"), "0");
    const struct got *g = raw_look(lobby, "auth");
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "NAME"), "VTSTech");
    ck_assert_str_eq(got_text(g, "PERSONAS"), "VTSTech");
    ck_assert_uint_eq(got_address(g, "ADDR"), r.ip);
    ck_assert_int_gt(got_number(g, "SESS"), 0);
    g = raw_look(lobby, "pers");
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "PERS"), "VTSTech");
    ck_assert_uint_eq(strlen(got_raw(g, "LKEY")), 17);
    SAYS(raw_look(lobby, "+who"), "F=U\nN=VTSTech\nRI=0\nRT=1\nR=0\nRF=1");
    SAYS(raw_look(lobby, "sele"), "MORE=0\nSLOTS=4\nSTATUS=1");
    SAYS(raw_look(lobby, "sele"), "MORE=0\nSLOTS=4\nSTATUS=1");
    g = raw_look(lobby, "news");
    ck_assert_str_eq(got_code(g), "new0"); /* what starts the buddy connection */
    ck_assert_uint_lt(g->size, 256);
    ck_assert_uint_eq(got_address(g, "BUDDY_URL"), WORLD_SERVER_IP);
    ck_assert_int_eq(got_number(g, "BUDDY_PORT"), 10899);
    world_free(r.w);
}

/* Where the nth request of a kind stands in a capture. */
static size_t place_of(int number, const char *kind, size_t nth)
{
    return (size_t)(captured(number, kind, nth) - captures[number].frame);
}

TEST_LOOP(replayed, the_captured_first_sele_subscribes_to_the_lists, 0, CAPTURES)
{
    struct replay r;
    const struct captured *sele = captured(_i, "sele", 0);
    ck_assert_str_eq(payload_of(sele), "ROOMS=1 USERS=1 RANKS=1 MESGS=1"); /* and no newline */
    replay_until(&r, _i, place_of(_i, "sele", 0), BY_FRAME, seed_for(true));
    struct raw *lobby = r.link[LOBBY_LINK];
    GOT(lobby, "addr skey auth pers +who");
    raw_forget(lobby);
    feed(&r, LOBBY_LINK, sele->bytes, sele->size);
    ck_assert_uint_eq(frames_of(lobby, "+rom", NULL), 4);
    ck_assert_uint_eq(frames_of(lobby, "+usr", NULL), 1);
    ck_assert_str_eq(frame_at(lobby, 0)->kind, "sele");
    ck_assert_str_eq(frame_at(lobby, lobby->count - 1)->kind, "+pop");
    for (int32_t ident = 0; ident < 4; ident++)
        ck_assert_int_eq(got_number(raw_look(lobby, "+rom"), "I"), ident);
    const struct got *g = raw_look(lobby, "+usr");
    ck_assert_str_eq(got_text(g, "N"), "VTSTech");
    ck_assert_str_eq(got_raw(g, "F"), "U0");
    SAYS(raw_look(lobby, "+rnk"), "D=-2");
    raw_forget(lobby);

    sele = captured(_i, "sele", 1); /* RANKS=50 */
    feed(&r, LOBBY_LINK, sele->bytes, sele->size);
    ck_assert_str_eq(frame_at(lobby, 0)->kind, "sele");
    SAYS(frame_at(lobby, 1), "D=-2");
    ck_assert_uint_eq(frames_of(lobby, "+rom", NULL), 0); /* the others are as they were */
    ck_assert_uint_eq(frames_of(lobby, "+usr", NULL), 0);
    world_free(r.w);
}

/* The captured LKEY=$0 is no ticket of ours. */
TEST_LOOP(replayed, the_captured_buddy_login_is_refused_and_may_try_again, 0, CAPTURES)
{
    struct replay r;
    replay(&r, _i, BY_FRAME);
    struct raw *buddy = r.link[BUDDY_LINK];
    REFUSED(raw_look(buddy, "AUTH"), "user", 101);
    for (const struct got *g; (g = raw_next(buddy)) != NULL;) /* before a login */
        REFUSED(g, "sess", 101);
    all_are_open(&r);
    char again[REQUEST_BYTES];
    const char *first = payload_of(captured(_i, "AUTH", 0));
    const char *ticket = got_raw(raw_look(r.link[LOBBY_LINK], "pers"), "LKEY");
    const char *cut = strstr(first, "LKEY=$0\n");
    ck_assert_ptr_nonnull(cut);
    (void)snprintf(again, sizeof again, "%.*sLKEY=%s\n", (int)(cut - first), first, ticket);
    SUCCEEDS(raw_ask(buddy, "AUTH", again));
    world_free(r.w);
}

TEST_LOOP(replayed, a_login_that_cannot_be_read_is_refused_and_all_behind_it_too, 0, CAPTURES)
{
    struct replay r;
    replay_until(&r, _i, captures[_i].count, BY_FRAME, seed_for(false));
    struct raw *lobby = r.link[LOBBY_LINK];
    ck_assert_str_eq(replies_to(lobby), kinds_on(r.capture, LOBBY_LINK, false));
    for (size_t i = 0; i < lobby->count; i++) {
        const struct got *g = lobby->frames[i];
        ck_assert_msg(g->kind[0] != '+', "%s came", g->kind);
        if (strcmp(g->kind, "auth") == 0)
            REFUSED(g, "pass", 100);
        else if (strcmp(g->kind, "addr") == 0 || strcmp(g->kind, "sele") == 0)
            SUCCEEDS(g); /* they may come before a login */
        else if (strcmp(g->kind, "skey") != 0)
            REFUSED(g, "sess", 101);
    }
    all_are_open(&r);
    world_free(r.w);
}

/* At the game's own pace, with our pings between: 30 s in one, two minutes in
 * another, of which 83 s without a request. */
TEST_LOOP(replayed, a_captured_lobby_connection_lives_as_long_as_it_did, 0, 2)
{
    struct replay r;
    int number = _i == 0 ? PINGS : ROOMS;
    replay_until(&r, number, 1, BY_FRAME, seed_for(true));
    link_of(&r, LOBBY_LINK)->keeps_pings = false; /* it echoes them */
    for (size_t i = 1; i < r.capture->count; i++) {
        const struct captured *f = &r.capture->frame[i];
        int64_t wait_ms = f->time_ms - f[-1].time_ms;
        ck_assert_int_ge(wait_ms, 0);
        world_run(r.w, (uint64_t)wait_ms);
        if (f->link == LOBBY_LINK)
            feed(&r, LOBBY_LINK, f->bytes, f->size);
    }
    world_run(r.w, 1000);
    ck_assert(!raw_closed(r.link[LOBBY_LINK]));
    ck_assert(raw_closed(r.link[DIRECTORY_LINK])); /* 5 s after its answer */
    ck_assert_str_eq(replies_to(r.link[LOBBY_LINK]), kinds_on(r.capture, LOBBY_LINK, false));
    world_free(r.w);
}

/* ---- Behind a login of our own ------------------------------------------ */

static void open_with_captures(void)
{
    read_captures();
    open_world();
}

static const struct got *send_captured(struct raw *r, int number, const char *kind, size_t nth)
{
    const struct captured *f = captured(number, kind, nth);
    raw_send_bytes(r, f->bytes, f->size);
    return raw_expect(r, kind);
}

GROUP(behind_a_login_of_our_own, open_with_captures, close_world, 0);

TEST(behind_a_login_of_our_own, the_captured_moves_lead_into_the_room_and_back)
{
    struct raw *lobby = raw_login(w, "VTSTech", "secret");
    SAYS(send_captured(lobby, ROOMS, "move", 0), "IDENT=1\nCOUNT=1\nNAME=East\nFLAGS=0\nLIDENT=0\nLCOUNT=0\nSTATUS=1");
    const struct got *g = raw_look(lobby, "+who");
    ck_assert_int_eq(got_number(g, "RI"), 1);
    ck_assert_str_eq(got_text(g, "R"), "East");
    SAYS(send_captured(lobby, ROOMS, "move", 1), /* NAME is empty */
         "IDENT=0\nCOUNT=1\nNAME=Lobby\nFLAGS=0\nLIDENT=1\nLCOUNT=0\nSTATUS=1");
    g = raw_look(lobby, "+who");
    ck_assert_int_eq(got_number(g, "RI"), 0);
    ck_assert_str_eq(got_text(g, "R"), "Lobby");
}

TEST(behind_a_login_of_our_own, the_captured_room_is_created_and_entered)
{
    struct raw *lobby = raw_login(w, "VTSTech", "secret"), *other = raw_login(w, "Ann", "secret");
    const struct got *g = send_captured(lobby, ROOMS, "room", 0);
    SUCCEEDS(g);
    ck_assert_int_eq(got_number(g, "IDENT"), 1001);
    ck_assert_int_eq(got_number(g, "COUNT"), 1);
    ck_assert_str_eq(got_text(g, "NAME"), "C.Test");
    ck_assert_int_eq(got_number(g, "LIDENT"), 0);
    ck_assert_int_eq(got_number(g, "LCOUNT"), 1); /* the other is still there */
    g = raw_look(lobby, "+who");
    ck_assert_int_eq(got_number(g, "RI"), 1001);
    ck_assert_str_eq(got_text(g, "R"), "C.Test");
    SAYS(raw_look(other, "+rom"), "I=1001\nN=C.Test\nH=None\nA=203.0.113.10\nT=*\nL=50\nF=0");
    go(other, "C.Test");
    ck_assert_str_eq(got_text(raw_look(lobby, "+usr"), "N"), "VTSTech");
    ck_assert_str_eq(got_text(raw_look(lobby, "+usr"), "N"), "Ann");
}

/* Reply first, with the request's CHAN, INDEX and RANGE (5). */
TEST(behind_a_login_of_our_own, the_captured_leaderboard_request_is_answered)
{
    struct raw *lobby = raw_login(w, "VTSTech", "secret");
    const struct got *g = send_captured(lobby, ROOMS, "snap", 0);
    SAYS(g, "CHAN=4\nINDEX=0\nRANGE=*\nSTART=*\nSEQN=*\nSTATUS=1");
    ck_assert_str_eq(frame_at(lobby, 0)->kind, "snap");
    ck_assert_uint_le(frames_of(lobby, "+snp", NULL), 1); /* RANGE=1 */
}

TEST(behind_a_login_of_our_own, the_captured_buddy_session_gets_its_empty_lists)
{
    struct raw *buddy = buddy_of(raw_login(w, "VTSTech", "secret"));
    const struct captured *one = captured(ROOMS, "RGET", 0), *two = captured(ROOMS, "RGET", 1);
    uint8_t segment[2 * REQUEST_BYTES];
    ck_assert_int_eq(one->time_ms, two->time_ms); /* they came together */
    SUCCEEDS(send_captured(buddy, ROOMS, "PSET", 0));
    memcpy(segment, one->bytes, one->size);
    memcpy(segment + one->size, two->bytes, two->size);
    raw_send_bytes(buddy, segment, one->size + two->size);
    SAYS(raw_expect(buddy, "RGET"), "ID=1\nSIZE=0\nSTATUS=1");
    SAYS(raw_expect(buddy, "RGET"), "ID=2\nSIZE=0\nSTATUS=1");
    ck_assert_str_eq(replies_to(buddy), "PSET RGET RGET");
    (void)send_captured(buddy, ROOMS, "RADD", 0); /* of oneself; whatever it says: */
    ck_assert_int_eq(got_number(frame_at(buddy, 3), "ID"), 101);
    ck_assert(!raw_closed(buddy));
}

TEST(behind_a_login_of_our_own, the_captured_friend_is_added)
{
    (void)raw_login(w, "VTSTech", "secret");
    struct raw *buddy = buddy_of(raw_login(w, "Ann", "secret"));
    SAYS(send_captured(buddy, ROOMS, "RADD", 0), "ID=101\nFUSR=VTSTech\nSTATUS=1");
    SAYS(send_captured(buddy, ROOMS, "RGET", 0), "ID=1\nSIZE=1\nSTATUS=1");
    const struct got *g = raw_look(buddy, "ROST");
    ck_assert_int_eq(got_number(g, "ID"), 1);
    ck_assert_str_eq(got_text(g, "USER"), "VTSTech");
}

/* PSET is relayed as PGET to those who have its sender on their list (9). */
TEST(behind_a_login_of_our_own, the_captured_presence_reaches_a_friend_as_it_was_typed)
{
    char said[128], told[128];
    struct raw *sender = buddy_of(raw_login(w, "VTSTech", "secret"));
    struct raw *reader = buddy_of(raw_login(w, "Ann", "secret"));
    SUCCEEDS(send_captured(reader, ROOMS, "RADD", 0));
    world_settle(w);
    raw_forget(reader);
    SUCCEEDS(send_captured(sender, ROOMS, "PSET", 0));
    const struct got *g = raw_expect(reader, "PGET");
    ck_assert_str_eq(got_text(g, "USER"), "VTSTech");
    ck_assert_str_eq(got_text(g, "SHOW"), "CHAT");
    ck_assert_str_eq(got_text(g, "PROD"), "is online");
    (void)console_read_text(console_find(payload_of(captured(ROOMS, "PSET", 0)), "STAT"), said, sizeof said);
    (void)console_read_text(console_find(got_payload(g), "STAT"), told, sizeof told);
    ck_assert_str_eq(told, said);
}

/* ---- Damaged frames ----------------------------------------------------- */

/* Where a damaged frame is the first input: on a new connection, or behind a
 * login to the lobby or to the buddy service. */
enum place_of_damage { AT_THE_DOOR, IN_THE_LOBBY, AMONG_BUDDIES, PLACES_OF_DAMAGE };

static bool belongs(const char *kind, int where)
{
    bool first = strstr("@dir addr skey auth AUTH", kind) != NULL;
    bool buddy = kind[0] >= 'A' && kind[0] <= 'Z';
    return where == AT_THE_DOOR ? first : where == AMONG_BUDDIES ? buddy : !buddy;
}

struct target {
    struct world *w;
    struct raw *raw;
    uint32_t conn, ip;
    uint8_t *saved; /* the core's whole state at that point */
};

/* As memcmp(), which some C libraries do byte by byte. */
static bool is_another(const uint8_t *a, const uint8_t *b, size_t size)
{
    uint64_t x = 0, y = 0;
    for (; size >= sizeof x; a += sizeof x, b += sizeof x, size -= sizeof x) {
        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        if (x != y)
            return true;
    }
    return memcmp(a, b, size) != 0;
}

/* Copies what differs, page by page: most of the core's memory is zero, and was never touched. */
static void copy_changed(uint8_t *to, const uint8_t *from, size_t size)
{
    for (size_t at = 0; at < size; at += 4096) {
        size_t bytes = size - at < 4096 ? size - at : 4096;
        if (is_another(to + at, from + at, bytes))
            memcpy(to + at, from + at, bytes);
    }
}

static void aim(struct target *t, int where)
{
    struct replay r;
    memset(t, 0, sizeof *t);
    replay_until(&r, LOGIN, 1, BY_FRAME, seed_for(true)); /* so that PASS has its mask */
    raw_close(r.link[DIRECTORY_LINK]);
    t->w = r.w;
    t->ip = r.ip;
    t->raw = where == AT_THE_DOOR ? raw_open(t->w, t->ip) : raw_login_from(t->w, t->ip, "VTSTech", "secret");
    if (where == AMONG_BUDDIES)
        t->raw = buddy_of(t->raw);
    world_settle(t->w);
    t->w->options.no_check = true; /* hit() does it, once for all its steps */
    t->conn = t->raw->conn;
    t->saved = calloc(1, t->w->arena_bytes);
    ck_assert_ptr_nonnull(t->saved);
    copy_changed(t->saved, t->w->arena, t->w->arena_bytes);
}

/* The state holds no pointer, so a copy of it is the same server again. If the
 * connection was closed, the world opens its number anew; the core, for which
 * it is open, takes no notice. */
static void restore(struct target *t)
{
    copy_changed(t->w->arena, t->saved, t->w->arena_bytes);
    if (raw_closed(t->raw)) {
        t->raw = raw_open(t->w, t->ip);
        ck_assert_uint_eq(t->raw->conn, t->conn);
    }
    t->raw->keeps_pings = true;
    raw_forget(t->raw);
}

/* What bytes are by PROTOCOL 1 and 6: frames to be answered, then the start of
 * one, or what closes the connection. */
struct outcome {
    char answers[REQUEST_BYTES];
    bool closes, waits;
};

static void foresee(struct outcome *o, const uint8_t *bytes, size_t size)
{
    memset(o, 0, sizeof *o);
    while (size > 0) {
        for (size_t i = 0; i < 4 && i < size; i++)
            o->closes = o->closes || bytes[i] < 0x21 || bytes[i] > 0x7E;
        uint32_t length = size < CONSOLE_HEADER_BYTES ? CONSOLE_HEADER_BYTES : number_at(bytes + 8);
        o->closes = o->closes || length < CONSOLE_HEADER_BYTES || length > 2048;
        o->waits = !o->closes && length > size;
        if (o->closes || o->waits)
            return;
        if (memcmp(bytes, "~png", 4) != 0) {
            strcat(o->answers, o->answers[0] == '\0' ? "" : " ");
            strncat(o->answers, (const char *)bytes, 4);
        }
        bytes += length;
        size -= length;
    }
}

/* The failures that there are (6), and 9's for a ticket. */
static bool is_defined(const struct got *g)
{
    static const struct {
        const char *code;
        int32_t status;
    } failures_there_are[] = {
        {"miss", 0},   {"nrom", 0},   {"dupl", 0},   {"inam", 0},   {"maxp", 0},   {"imst", 100},
        {"pass", 100}, {"blak", 100}, {"hack", 100}, {"sess", 101}, {"user", 101}, {"user", 102},
        {"full", 103}, {"time", 104}, {"ingm", 105}, {"tokn", 106},
    };
    if (g->code == 0 || strncmp(got_code(g), "new", 3) == 0)
        return true; /* and STATUS=1, which the world sees to */
    for (size_t i = 0; i < LENGTH(failures_there_are); i++)
        if (strcmp(got_code(g), failures_there_are[i].code) == 0 && got_status(g) == failures_there_are[i].status)
            return true;
    return false;
}

static void hit(struct target *t, const uint8_t *bytes, size_t size, const char *damage)
{
    struct outcome o;
    restore(t);
    foresee(&o, bytes, size);
    (void)snprintf(t->raw->name, sizeof t->raw->name, "%s", damage);
    raw_send_bytes(t->raw, bytes, size);
    ck_assert_msg(strcmp(replies_to(t->raw), o.answers) == 0, "%s: answered by '%s', not '%s'", damage,
                  replies_to(t->raw), o.answers);
    ck_assert_msg(raw_closed(t->raw) == o.closes, "%s: %s", damage, o.closes ? "not closed" : "closed");
    for (size_t i = 0; i < t->raw->count; i++) {
        const struct got *g = t->raw->frames[i];
        ck_assert_msg(is_push(g) || is_defined(g), "%s: %s with %s and %s", damage, g->kind, got_code(g),
                      got_payload(g));
    }
    const char *wrong = nascar_check(t->w->state);
    ck_assert_msg(wrong == NULL, "%s: %s", damage, wrong);
    if (!o.closes && !o.waits) { /* and it serves on */
        size_t before = t->raw->count;
        raw_send(t->raw, "sele", "MESGS=1\n");
        world_settle(t->w);
        ck_assert_msg(t->raw->count == before + 1 && strcmp(t->raw->frames[before]->kind, "sele") == 0,
                      "%s: no answer after it", damage);
    }
}

static void hit_with_all(struct target *t, const struct captured *f)
{
    char damage[32];
    uint8_t bytes[REQUEST_BYTES];
    memcpy(bytes, f->bytes, f->size);
    for (uint32_t size = 0; size <= f->size; size++) {
        (void)snprintf(damage, sizeof damage, "%s cut to %u", f->kind, (unsigned)size);
        hit(t, bytes, size, damage);
    }
    for (uint32_t at = 0; at < f->size; at += (uint32_t)suite_step()) {
        const uint8_t was = f->bytes[at], values[] = {0x00, 0xFF, (uint8_t)(was ^ 1u)};
        for (size_t i = 0; i < LENGTH(values); i++) {
            (void)snprintf(damage, sizeof damage, "%s byte %u = %02x", f->kind, (unsigned)at, (unsigned)values[i]);
            bytes[at] = values[i];
            hit(t, bytes, f->size, damage);
        }
        bytes[at] = was;
    }
}

/* Each different frame once: they repeat from capture to capture. */
static bool is_repeated(const struct captured *f)
{
    for (size_t i = 0; i < CAPTURES; i++) {
        for (size_t at = 0; at < captures[i].count; at++) {
            const struct captured *other = &captures[i].frame[at];
            if (other == f)
                return false;
            if (other->size == f->size && memcmp(other->bytes, f->bytes, f->size) == 0)
                return true;
        }
    }
    return false;
}

GROUP(damaged, read_captures, NULL, 30);

TEST_LOOP(damaged, a_damaged_frame_is_answered_or_ends_its_connection, 0, CAPTURES *PLACES_OF_DAMAGE)
{
    const struct capture *c = &captures[_i / PLACES_OF_DAMAGE];
    int where = _i % PLACES_OF_DAMAGE;
    struct target t;
    aim(&t, where);
    for (size_t i = 0; i < c->count; i++)
        if (!is_repeated(&c->frame[i]) && belongs(c->frame[i].kind, where))
            hit_with_all(&t, &c->frame[i]);
    free(t.saved);
    world_free(t.w);
}
