/* Tests of the console model itself: it must read, write and suffer as
 * PROTOCOL.md says that the game does, or what it finds in the server means
 * nothing. Run from the project's root.
 *
 * SPDX-License-Identifier: MIT */
#include "suite.h"
#include "console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef TEST_DATA
#define TEST_DATA "tests/data"
#endif

/* ---- Data files --------------------------------------------------------- */

static size_t from_hex(const char *hex, uint8_t *out, size_t size)
{
    size_t length = 0;
    unsigned value;
    while (length < size && sscanf(hex + 2 * length, "%2x", &value) == 1 && hex[2 * length] != '"' &&
           hex[2 * length] != '\t' && hex[2 * length] != '\0')
        out[length++] = (uint8_t)value;
    return length;
}

struct captured {
    char dir; /* C or S */
    uint16_t port;
    uint8_t bytes[512];
    size_t size;
};

/* The frames of a capture, in order; returns how many. */
static size_t read_capture(const char *name, struct captured *frames, size_t room)
{
    char path[256], line[8192];
    (void)snprintf(path, sizeof path, "%s/%s.jsonl", TEST_DATA, name);
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    size_t count = 0;
    while (count < room && fgets(line, sizeof line, file) != NULL) {
        struct captured *f = &frames[count++];
        const char *hex = strstr(line, "\"hex\": \"");
        const char *dir = strstr(line, "\"dir\": \"");
        const char *port = strstr(line, "->");
        ck_assert(hex != NULL && dir != NULL && port != NULL);
        f->dir = dir[8];
        f->port = (uint16_t)strtoul(port + 2, NULL, 10);
        f->size = from_hex(hex + 8, f->bytes, sizeof f->bytes);
    }
    ck_assert_int_eq(fclose(file), 0);
    return count;
}

/* ---- Hands -------------------------------------------------------------- */

static void give_bytes(struct console *c, enum console_link link, const char *kind, uint32_t code, const void *payload,
                       size_t size)
{
    uint8_t frame[8192];
    size_t bytes = console_frame(frame, sizeof frame, kind, code, payload, size);
    ck_assert_uint_gt(bytes, 0);
    console_feed(c, link, frame, bytes);
}

static void give(struct console *c, const char *kind, const char *payload)
{
    give_bytes(c, CONSOLE_LOBBY, kind, 0, payload, strlen(payload) + 1);
}

static uint32_t code_of(const char *letters)
{
    const unsigned char *l = (const unsigned char *)letters;
    return (uint32_t)l[0] << 24 | (uint32_t)l[1] << 16 | (uint32_t)l[2] << 8 | l[3];
}

/* The next frame that the console sent, as kind and text in one: "move NAME=East\n". */
static const char *taken(struct console *c, enum console_link link)
{
    static char text[1100];
    uint8_t head[12];
    if (console_take(c, link, head, sizeof head) < sizeof head)
        return "";
    size_t size = ((size_t)head[10] << 8 | head[11]) - 12;
    uint8_t payload[1024];
    ck_assert_uint_eq(console_take(c, link, payload, size), size);
    ck_assert_uint_eq(payload[size - 1], 0);
    (void)snprintf(text, sizeof text, "%.4s %s", (const char *)head, (const char *)payload);
    return text;
}

static void drop_output(struct console *c)
{
    uint8_t bytes[256];
    while (console_take(c, CONSOLE_LOBBY, bytes, sizeof bytes) > 0) {
    }
}

/* It has not been misled, and is not needed any more. */
static void part_well(struct console *c)
{
    ck_assert_str_eq(c->misled, "");
    console_free(c);
}

/* From the directory, which says this, to the lobby. */
static void pass_directory(struct console *c, const char *says)
{
    console_link_opened(c, CONSOLE_DIRECTORY);
    give_bytes(c, CONSOLE_DIRECTORY, "@dir", 0, says, strlen(says) + 1);
    console_link_closed(c, CONSOLE_DIRECTORY);
    console_link_opened(c, CONSOLE_LOBBY);
}

/* A console with an open lobby link, in the hub, as `name`. */
static struct console *inside(const char *name)
{
    char payload[128];
    struct console *c = console_new(1);
    c->habits.no_buddy = true;
    console_login(c, name, "secret", name);
    pass_directory(c, "ADDR=192.0.2.1\nPORT=11000\nSESS=5\nMASK=abc\n");
    give(c, "addr", "STATUS=1\n");
    give(c, "skey", "SKEY=$37940faf2a8d1381a3b7d0d2f570e6a7\n");
    (void)snprintf(payload, sizeof payload, "NAME=%s\nPERSONAS=%s\nSTATUS=1\n", name, name);
    give(c, "auth", payload);
    (void)snprintf(payload, sizeof payload, "PERS=%s\nLKEY=$0123456789abcdef\n", name);
    give(c, "pers", payload);
    (void)snprintf(payload, sizeof payload, "F=U\nN=%s\nRI=0\nRT=1\nR=0\nRF=1\n", name);
    give(c, "+who", payload);
    ck_assert_int_eq(c->stage, CONSOLE_INSIDE);
    give(c, "sele", "STATUS=1\n");
    give(c, "sele", "STATUS=1\n");
    give(c, "+rom", "I=0\nN=Lobby\nH=Hub\nA=1.2.3.4\nT=1\nL=100\nF=0\n");
    give(c, "+rom", "I=1\nN=East\nH=Racers\nA=1.2.3.4\nT=0\nL=50\nF=0\n");
    const char news[] = "BUDDY_URL=192.0.2.1\nBUDDY_PORT=10899\n";
    give_bytes(c, CONSOLE_LOBBY, "news", code_of("new0"), news, sizeof news);
    give(c, "chal", "MODE=chal\n");
    drop_output(c);
    ck_assert_str_eq(c->misled, "");
    return c;
}

static void give_user(struct console *c, int ident, const char *name, const char *flags, int population)
{
    char payload[256];
    (void)snprintf(payload, sizeof payload, "I=%d\nF=%s\nA=198.51.100.7\nT=%d\nR=1\nN=%s\nS=\nX=\n", ident, flags,
                   population, name);
    give(c, "+usr", payload);
}

#define ASSERT_MISLED(c, part) ck_assert_msg(strstr((c)->misled, part) != NULL, "misled says: %s", (c)->misled)

/* ---- Reading ------------------------------------------------------------ */

GROUP(reading, NULL, NULL, 0);

TEST(reading, the_finder_takes_the_first_match)
{
    ck_assert_ptr_eq(console_find("A=1\nB=2\n", "C"), NULL);
    ck_assert_int_eq(console_read_number(console_find("A=1\nB=2\nB=3\n", "B")), 2);
    ck_assert_int_eq(console_read_number(console_find("a=7\n", "A")), 7);
    ck_assert_int_eq(console_read_number(console_find("A:8\n", "A")), 8);
    ck_assert_int_eq(console_read_number(console_find("A= 9\n", "A")), 9);
    ck_assert_int_eq(console_read_number(console_find("ROOMS=1 USERS=2 X=3", "users")), 2);
}

TEST(reading, the_finder_wants_a_space_or_a_start_before_the_key)
{
    ck_assert_ptr_eq(console_find("TEXT=a\n", "T"), NULL);
    ck_assert_ptr_eq(console_find("LIDENT=4\n", "IDENT"), NULL);
    ck_assert_int_eq(console_read_number(console_find("LIDENT=4\nIDENT=5\n", "IDENT")), 5);
    ck_assert_ptr_eq(console_find("=\n", "A"), NULL);
    ck_assert_ptr_eq(console_find("", "A"), NULL);
    ck_assert_ptr_eq(console_find("\xE9N=1\n", "N"), NULL);
}

TEST(reading, quotes_do_not_protect_from_the_finder)
{
    char name[32];
    (void)console_read_text(console_find("T=\"see N=mallory\"\nN=bob\n", "N"), name, sizeof name);
    ck_assert_str_eq(name, "mallory\"");
    ck_assert_uint_eq(console_read_flags(console_find("T=so F:P3 x\nN=bob\n", "F")),
                      CONSOLE_FLAG('P') | CONSOLE_FLAG('3'));
}

TEST(reading, text_loses_quotes_and_escapes)
{
    char text[16];
    ck_assert_uint_eq(console_read_text("\"a b\"\n", text, sizeof text), 3);
    ck_assert_str_eq(text, "a b");
    (void)console_read_text("'it\"s'\n", text, sizeof text);
    ck_assert_str_eq(text, "it\"s");
    (void)console_read_text("a b c\nD=1\n", text, sizeof text);
    ck_assert_str_eq(text, "a b c");
    (void)console_read_text("100%% %3d %zz%4\n", text, sizeof text);
    ck_assert_str_eq(text, "100% = %zz%4");
    (void)console_read_text("a+b\n", text, sizeof text);
    ck_assert_str_eq(text, "a+b");
    (void)console_read_text("\"no end\nE=1", text, sizeof text);
    ck_assert_str_eq(text, "no end\nE=1");
    ck_assert_uint_eq(console_read_text(NULL, text, sizeof text), 0);
    ck_assert_str_eq(text, "");
    (void)console_read_text("  a\n", text, sizeof text);
    ck_assert_str_eq(text, " a"); /* one space is skipped */
}

TEST(reading, text_is_cut_to_its_field)
{
    char text[4];
    ck_assert_uint_eq(console_read_text("abcdef\n", text, sizeof text), 6);
    ck_assert_str_eq(text, "abc");
}

TEST(reading, numbers_wrap_at_32_bits)
{
    ck_assert_int_eq(console_read_number("2924700378\n"), -1370266918);
    ck_assert_int_eq(console_read_number("-5\n"), -5);
    ck_assert_int_eq(console_read_number("+5x"), 5);
    ck_assert_int_eq(console_read_number("2147483648"), INT32_MIN);
    ck_assert_int_eq(console_read_number("635603346243"), -51813565);
    ck_assert_int_eq(console_read_number("x"), 0);
    ck_assert_int_eq(console_read_number(NULL), 0);
}

TEST(reading, addresses_are_dotted_only)
{
    ck_assert_uint_eq(console_read_address("192.168.2.123\n"), 0xC0A8027Bu);
    ck_assert_uint_eq(console_read_address("255.255.255.255"), 0xFFFFFFFFu);
    ck_assert_uint_eq(console_read_address("3232236155"), 0x00000F7Bu); /* 0.0.15.123 */
}

TEST(reading, flags_are_letters)
{
    ck_assert_uint_eq(console_read_flags("@\n"), 1u);
    ck_assert_uint_eq(console_read_flags("A"), 2u);
    ck_assert_uint_eq(console_read_flags("B"), 4u);
    ck_assert_uint_eq(console_read_flags("P"), 0x10000u);
    ck_assert_uint_eq(console_read_flags("U"), 0x200000u);
    ck_assert_uint_eq(console_read_flags("Z"), 1u << 26);
    ck_assert_uint_eq(console_read_flags("0"), 1u << 27);
    ck_assert_uint_eq(console_read_flags("3"), 1u << 30);
    ck_assert_uint_eq(console_read_flags("65536"), 0u);
    ck_assert_uint_eq(console_read_flags("U1\n"), 0x200000u | 1u << 28);
    ck_assert_uint_eq(console_read_flags("Pp"), 0x10000u);
}

TEST(reading, epochs_have_three_forms)
{
    ck_assert_int_eq(console_read_epoch("$10\n"), 16);
    ck_assert_int_eq(console_read_epoch("1234567\n"), 1234567);
    ck_assert_int_eq(console_read_epoch("1970-01-01 00:00:01\n"), 1);
    ck_assert_int_eq(console_read_epoch("2026-01-28 11:07:46\n"), 1769598466);
    ck_assert_int_eq(console_read_epoch("2026.1.28 11:7:46\n"), 1769598466);
    ck_assert_int_eq(console_read_epoch("2004-02-29 12:00:00\n"), 1078056000);
    ck_assert_int_eq(console_read_epoch("2099-12-31 23:59:59\n"), 4102444799);
    ck_assert_int_eq(console_read_epoch("2100-01-01 00:00:00\n"), 0);
    ck_assert_int_eq(console_read_epoch("1969-12-31 23:59:59\n"), 0);
    ck_assert_int_eq(console_read_epoch("\n"), 0);
}

TEST(reading, binary_wants_a_dollar)
{
    uint8_t bytes[4];
    ck_assert_uint_eq(console_read_binary("$01fFa0\n", bytes, sizeof bytes), 3);
    ck_assert_mem_eq(bytes, "\x01\xff\xa0", 3);
    ck_assert_uint_eq(console_read_binary("01ff\n", bytes, sizeof bytes), 0);
    ck_assert_uint_eq(console_read_binary("$010203040506\n", bytes, sizeof bytes), 4);
    ck_assert_uint_eq(console_read_binary("$1\n", bytes, sizeof bytes), 0);
}

TEST(reading, longs_are_hexadecimal_between_commas)
{
    int32_t numbers[3] = {0};
    ck_assert_uint_eq(console_read_longs("1,ff,FFFFFFFF,7\n", numbers, 3), 4);
    ck_assert_int_eq(numbers[0], 1);
    ck_assert_int_eq(numbers[1], 255);
    ck_assert_int_eq(numbers[2], -1);
    ck_assert_uint_eq(console_read_longs("\n", numbers, 3), 0);
}

/* ---- Writing ------------------------------------------------------------ */

GROUP(writing, NULL, NULL, 0);

TEST(writing, values_are_escaped_as_the_game_does)
{
    struct console_tags tags = {.size = 0};
    console_put_text(&tags, "A", "plain");
    console_put_text(&tags, "B", "two words");
    console_put_text(&tags, "C", "=\":%\x7F\n\xE9");
    console_put_text(&tags, "D", "'lead 'in");
    console_put_text(&tags, "E", "");
    console_put_number(&tags, "F", -7);
    ck_assert_str_eq(tags.text, "A=plain\nB=\"two words\"\nC=%3d%22%3a%25%7f%0a%e9\n"
                                "D=\"%27lead 'in\"\nE=\nF=-7\n");
    ck_assert_uint_eq(tags.size, strlen(tags.text));
}

TEST(writing, what_is_written_reads_back)
{
    for (unsigned byte = 1; byte < 256; byte++) {
        struct console_tags tags = {.size = 0};
        char value[4] = {(char)(unsigned char)byte, ' ', (char)(unsigned char)byte, '\0'};
        char back[8];
        console_put_text(&tags, "K", value);
        (void)console_read_text(console_find(tags.text, "K"), back, sizeof back);
        ck_assert_str_eq(back, value);
    }
}

/* ---- Passwords ---------------------------------------------------------- */

static char *column(char *line, size_t number)
{
    while (number-- > 0) {
        line = strchr(line, '\t');
        ck_assert_ptr_ne(line, NULL);
        line++;
    }
    return line;
}

static void copy_column(char *out, size_t size, char *line, size_t number)
{
    const char *start = column(line, number);
    size_t length = strcspn(start, "\t\n");
    ck_assert_uint_lt(length, size);
    memcpy(out, start, length);
    out[length] = '\0';
}

TEST(writing, passwords_are_encoded_as_in_the_vectors)
{
    FILE *file = fopen(TEST_DATA "/ssc2.tsv", "r");
    ck_assert_msg(file != NULL, "cannot open %s/ssc2.tsv", TEST_DATA);
    char line[2048];
    struct console_pad pad = {.started = false};
    unsigned encoded = 0, masked = 0;
    ck_assert_ptr_ne(fgets(line, sizeof line, file), NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        char form[8], mask[64], wire[256], note[128];
        uint8_t key[16], cipher[32];
        char password[64] = {0};
        copy_column(form, sizeof form, line, 1);
        copy_column(mask, sizeof mask, line, 3);
        copy_column(wire, sizeof wire, line, 6);
        copy_column(note, sizeof note, line, 10);
        size_t key_bytes = from_hex(column(line, 2), key, sizeof key);
        size_t cipher_bytes = from_hex(column(line, 7), cipher, sizeof cipher);
        (void)from_hex(column(line, 4), (uint8_t *)password, sizeof password - 1);
        struct console_tags tags = {.size = 0};
        if (strcmp(form, "mask") == 0) {
            char letters[160];
            console_mask(mask, password, letters, sizeof letters);
            console_put_raw(&tags, "PASS", letters);
            masked++;
        } else {
            char letters[CONSOLE_CIPHER_BYTES + 2] = "~";
            if (cipher_bytes != CONSOLE_CIPHER_BYTES)
                continue; /* a later game's, only for decoding */
            if (strstr(note, "since boot") == NULL || strstr(note, "#1") != NULL || strstr(note, "first") != NULL)
                pad.started = false;
            console_encode(&pad, key, key_bytes, password, letters + 1);
            ck_assert_msg(memcmp(letters + 1, cipher, cipher_bytes) == 0, "vector %.3s: %s", line, letters);
            console_put_text(&tags, "PASS", letters);
            encoded++;
        }
        tags.text[tags.size - 1] = '\0'; /* the newline */
        ck_assert_msg(strcmp(tags.text + 5, wire) == 0, "vector %.3s: %s", line, tags.text);
    }
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_uint_eq(encoded, 54);
    ck_assert_uint_eq(masked, 4);
}

/* ---- Against the captures ----------------------------------------------- */

static void assert_sent(struct console *c, enum console_link link, const struct captured *f)
{
    uint8_t bytes[512];
    size_t size = console_take(c, link, bytes, f->size);
    if (memcmp(f->bytes, "addr", 4) == 0) { /* its port is the system's choice */
        uint8_t rest[16];
        (void)console_take(c, link, rest, console_waiting(c, link));
        ck_assert_mem_eq(bytes + 12, f->bytes + 12, sizeof "ADDR=192.0.2.100\nPORT=" - 1);
        return;
    }
    ck_assert_msg(size == f->size && memcmp(bytes, f->bytes, size) == 0, "the capture has %s, the model says %.*s",
                  (const char *)f->bytes + 12, size > 12 ? (int)(size - 12) : 0, (const char *)bytes + 12);
}

static enum console_link link_of(uint16_t port)
{
    return port == 10600 ? CONSOLE_DIRECTORY : port == 10899 ? CONSOLE_BUDDY : CONSOLE_LOBBY;
}

/* Plays the captured server's side, and compares each request byte for byte. */
static void follow(struct console *c, const struct captured *frames, size_t count)
{
    bool open[CONSOLE_LINKS] = {false};
    for (size_t i = 0; i < count; i++) {
        const struct captured *f = &frames[i];
        enum console_link link = link_of(f->port);
        uint32_t address;
        uint16_t port;
        if (!open[link]) {
            ck_assert_msg(console_wants(c, link, &address, &port), "no wish for port %u", (unsigned)f->port);
            ck_assert(link == CONSOLE_DIRECTORY || (address == 0xC0A8027Bu && port == f->port));
            console_link_opened(c, link);
            open[link] = true;
        }
        if (f->dir == 'S') {
            console_feed(c, link, f->bytes, f->size);
            if (console_hangs_up(c, link))
                console_link_closed(c, link);
            continue;
        }
        if (memcmp(f->bytes, "move", 4) == 0) {
            char room[32];
            (void)console_read_text(console_find((const char *)f->bytes + 12, "NAME"), room, sizeof room);
            console_move(c, room, "");
        } else if (memcmp(f->bytes, "room", 4) == 0) {
            console_create_room(c, "C.Test", "", "None", 50);
        } else if (memcmp(f->bytes, "snap", 4) == 0) {
            console_leaderboard(c, 4, "VTSTech", 1);
        } else if (memcmp(f->bytes, "RADD", 4) == 0) {
            console_add_friend(c, "VTSTech", false);
        }
        assert_sent(c, link, f);
    }
}

TEST_LOOP(writing, the_model_says_what_the_captured_console_says, 0, 2)
{
    static const char *const names[] = {"login", "rooms-stats-buddy"};
    static struct captured frames[200];
    size_t count = read_capture(names[_i], frames, 200);
    ck_assert_uint_gt(count, 20);
    struct console *c = console_new(1);
    c->habits.no_chal_star = true; /* the captures have none */
    console_login(c, "VTSTech", "AAAA", "VTSTech");
    follow(c, frames, count);
    ck_assert_int_eq(c->stage, CONSOLE_INSIDE);
    ck_assert_str_eq(c->persona, "VTSTech");
    ck_assert_str_eq(c->mask, "4294967295");
    console_free(c);
}

TEST(writing, pings_are_echoed_as_in_the_capture)
{
    static struct captured frames[200];
    size_t count = read_capture("pings", frames, 200);
    struct console *c = inside("VTSTech");
    unsigned echoes = 0;
    for (size_t i = 0; i < count; i++) {
        const struct captured *f = &frames[i];
        uint8_t echo[512];
        if (memcmp(f->bytes, "~png", 4) != 0)
            continue;
        if (f->dir == 'S') {
            console_feed(c, CONSOLE_LOBBY, f->bytes, f->size);
            continue;
        }
        size_t size = console_take(c, CONSOLE_LOBBY, echo, sizeof echo);
        ck_assert_uint_eq(size, f->size);
        ck_assert(echo[7] == 0x10 || echo[7] == 0x11);
        echo[7] = f->bytes[7];
        const char *time = strstr((char *)echo + 12, "TIME=");
        ck_assert_ptr_ne(time, NULL);
        size_t at = (size_t)(time - (char *)echo) + 5;
        echo[at] = f->bytes[at];
        ck_assert_mem_eq(echo, f->bytes, size);
        echoes++;
    }
    ck_assert_uint_gt(echoes, 5);
    part_well(c);
}

TEST_LOOP(writing, the_second_password_form_is_used_without_a_session_key, 0, 3)
{
    static const char *const keys[] = {"SKEY=0\n", "STATUS=1\n", "SKEY=$000102030405060708090a0b0c0d0e0f\n"};
    struct console *c = console_new(1);
    console_login(c, "VTSTech", "AAAA", "VTSTech");
    console_link_opened(c, CONSOLE_DIRECTORY);
    const char dir[] = "ADDR=192.0.2.1\nPORT=11000\nSESS=2924700378\nMASK=4294967295\n";
    give_bytes(c, CONSOLE_DIRECTORY, "@dir", 0, dir, sizeof dir);
    ck_assert(console_hangs_up(c, CONSOLE_DIRECTORY));
    console_link_closed(c, CONSOLE_DIRECTORY);
    console_link_opened(c, CONSOLE_LOBBY);
    give(c, "addr", "STATUS=1\n");
    (void)taken(c, CONSOLE_LOBBY);
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "skey SKEY=$5075626c6963204b6579\n");
    give(c, "skey", keys[_i]);
    const char *auth = taken(c, CONSOLE_LOBBY);
    ck_assert_ptr_ne(strstr(auth, "PASS=$3ec97dd5\n"), NULL);
    ck_assert_ptr_ne(strstr(auth, "MASK=-1370266918\n"), NULL);
    console_free(c);
}

/* A console whose directory has just answered. */
static struct console *answered(const char *reply, bool takes_direct)
{
    struct console *c = console_new(1);
    c->habits.takes_direct = takes_direct;
    console_login(c, "VTSTech", "AAAA", "VTSTech");
    console_link_opened(c, CONSOLE_DIRECTORY);
    give_bytes(c, CONSOLE_DIRECTORY, "@dir", 0, reply, strlen(reply) + 1);
    ck_assert(console_hangs_up(c, CONSOLE_DIRECTORY));
    console_link_closed(c, CONSOLE_DIRECTORY);
    return c;
}

TEST(writing, the_directory_says_where_the_lobby_is)
{
    static const char direct[] = "ADDR=192.0.2.1\nPORT=11000\nSESS=1\nMASK=a\nDIRECT=0\n";
    uint32_t address;
    uint16_t port;
    struct console *c = answered("ADDR=192.0.2.1\nPORT=11000\nSESS=1\nMASK=a\n", false);
    ck_assert(console_wants(c, CONSOLE_LOBBY, &address, &port));
    ck_assert_uint_eq(address, 0xC0000201u);
    ck_assert_uint_eq(port, 11000);
    part_well(c);
    c = answered(direct, true); /* any value: the same place again */
    ck_assert(console_wants(c, CONSOLE_LOBBY, &address, &port));
    ck_assert_uint_eq(address, 0);
    part_well(c);
    c = answered(direct, false);
    ASSERT_MISLED(c, "DIRECT");
    console_free(c);
}

TEST(writing, maintenance_is_shown)
{
    uint32_t address;
    uint16_t port;
    struct console *c = answered("ADDR=0.0.0.0\nPORT=0\nDOWN=\"Back at 6\"\n", false);
    ck_assert(!console_wants(c, CONSOLE_LOBBY, &address, &port));
    ck_assert_str_eq(c->down, "Back at 6");
    ck_assert_int_eq(c->stage, CONSOLE_OFF);
    part_well(c);
}

TEST(writing, a_saved_login_does_not_wait)
{
    struct console *c = console_new(1);
    c->habits.saved_login = true;
    console_login(c, "VTSTech", "AAAA", "Reviving");
    pass_directory(c, "ADDR=192.0.2.1\nPORT=11000\nSESS=1\nMASK=4294967295\n");
    give(c, "addr", "STATUS=1\n");
    give(c, "skey", "SKEY=$37940faf2a8d1381a3b7d0d2f570e6a7\n");
    (void)taken(c, CONSOLE_LOBBY);
    (void)taken(c, CONSOLE_LOBBY);
    const char *auth = taken(c, CONSOLE_LOBBY);
    ck_assert_ptr_ne(strstr(auth, "PASS=\"~AJb&HpF8NC&3>K\\A3+5*Pw ecI2JkD\"\n"), NULL);
    ck_assert_ptr_eq(strstr(auth, "MASK="), strstr(auth, "MASK=65828")); /* HWMASK only */
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "pers PERS=Reviving\n");
    give_bytes(c, CONSOLE_LOBBY, "auth", code_of("pass"), "STATUS=100\n", 12);
    give_bytes(c, CONSOLE_LOBBY, "pers", code_of("sess"), "STATUS=101\n", 12);
    ck_assert_int_eq(c->stage, CONSOLE_LOGIN);
    ck_assert_uint_eq(c->refused, code_of("pass"));
    console_login(c, "VTSTech", "BBBB", "Reviving");
    ck_assert_ptr_ne(strstr(taken(c, CONSOLE_LOBBY), "auth NAME=VTSTech\nTOS=1\n"), NULL);
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "");
    give(c, "auth", "PERSONAS=VTSTech,Reviving\nSTATUS=1\n");
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "pers PERS=Reviving\n");
    part_well(c);
}

TEST(writing, a_sign_up_takes_as_long_as_the_pad_does)
{
    struct console *c = console_new(1);
    c->habits.pad_ms = 180000;
    console_signup(c, "Newcomer", "longer pass", "me@example.org", "Rookie");
    pass_directory(c, "ADDR=192.0.2.1\nPORT=11000\nSESS=1\nMASK=4294967295\n");
    give(c, "addr", "STATUS=1\n");
    give(c, "skey", "SKEY=0\n");
    drop_output(c);
    for (uint64_t now = 0; now < 180000; now += 30000) {
        console_tick(c, now);
        give(c, "~png", "REF=1\nTIME=2\n");
        ck_assert_ptr_ne(strstr(taken(c, CONSOLE_LOBBY), "~png"), NULL);
        ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "");
    }
    console_tick(c, 180000);
    ck_assert_ptr_ne(strstr(taken(c, CONSOLE_LOBBY), "acct NAME=Newcomer\nPASS=$"), NULL);
    give(c, "acct", "NAME=Newcomer\nPERSONAS=\nAGE=21\nSTATUS=1\n");
    console_tick(c, 239000);
    give(c, "~png", "REF=1\nTIME=2\n");
    (void)taken(c, CONSOLE_LOBBY);
    console_tick(c, 299000);
    give(c, "~png", "REF=1\nTIME=2\n");
    (void)taken(c, CONSOLE_LOBBY);
    console_tick(c, 358000);
    give(c, "~png", "REF=1\nTIME=2\n");
    (void)taken(c, CONSOLE_LOBBY);
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "");
    console_tick(c, 360000);
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "cper PERS=Rookie\n");
    give(c, "cper", "PERS=Rookie\nSTATUS=1\n");
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "pers PERS=Rookie\n");
    part_well(c);
}

/* ---- Lists -------------------------------------------------------------- */

GROUP(lists, NULL, NULL, 0);

TEST(lists, rooms_come_change_and_go)
{
    struct console *c = inside("Ann");
    give(c, "+rom", "I=1001\nN=C.Test\nH=\"My room\"\nA=203.0.113.9\nT=4\nL=8\nF=P\n");
    const struct console_room *room = console_room_named(c, "c.test");
    ck_assert_ptr_ne(room, NULL);
    ck_assert_str_eq(room->about, "My room");
    ck_assert_int_eq(room->population, 4);
    ck_assert_int_eq(room->limit, 8);
    ck_assert_uint_eq(room->address, 0xCB007109u);
    ck_assert_uint_eq(room->flags, CONSOLE_FLAG('P'));
    give(c, "+pop", "Z=1:3 1001:5 0:9\n");
    ck_assert_int_eq(console_room(c, 1001)->population, 5);
    ck_assert_int_eq(console_room(c, 1)->population, 3);
    ck_assert_int_eq(console_room(c, 0)->population, 1); /* parsing stops there */
    give(c, "+rom", "I=1001\n");
    ck_assert_ptr_eq(console_room(c, 1001), NULL);
    ck_assert_uint_eq(c->rooms.count, 2);
    part_well(c);
}

TEST(lists, a_move_changes_the_room_by_who)
{
    struct console *c = inside("Ann");
    give_user(c, 5, "Ann", "U0", 1);
    console_move(c, "East", "");
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "move NAME=East\nPASS=\n");
    give(c, "move", "IDENT=1\nCOUNT=2\nNAME=East\nFLAGS=0\nLIDENT=0\nLCOUNT=3\nSTATUS=1\n");
    ck_assert_int_eq(c->room, 0);
    ck_assert_int_eq(console_room(c, 0)->population, 3);
    ck_assert_int_eq(console_room(c, 1)->population, 2);
    give(c, "+who", "F=U\nN=Ann\nRI=1\nRT=2\nR=East\nRF=0\n");
    ck_assert_int_eq(c->room, 1);
    ck_assert_int_eq(c->room_population, 2);
    ck_assert_uint_eq(c->users.count, 0);
    give_user(c, 6, "Bob", "0", 2);
    give_user(c, 5, "Ann", "U0", 2);
    ck_assert_uint_eq(c->users.count, 2);
    ck_assert_uint_eq(console_user(c, "Bob")->address, 0xC6336407u);
    give(c, "+pop", "Z=1:9 0:1\n");
    ck_assert_int_eq(console_room(c, 1)->population, 2); /* its own room is skipped */
    give(c, "+usr", "I=6\nT=1\n");
    ck_assert_ptr_eq(console_user(c, "Bob"), NULL);
    ck_assert_int_eq(c->room_population, 1);
    part_well(c);
}

TEST(lists, a_user_record_is_replaced_whole)
{
    struct console *c = inside("Ann");
    give(c, "+usr", "I=6\nF=0\nA=1.2.3.4\nT=1\nR=7\nN=Bob\nS=1,2\nX=hello\n");
    give(c, "+usr", "I=6\nF=1\nA=1.2.3.4\nT=1\nR=7\nN=Bob\nS=\nX=\n");
    ck_assert_uint_eq(c->users.count, 1);
    ck_assert_str_eq(console_user(c, "Bob")->extra, "");
    ck_assert_uint_eq(console_user(c, "Bob")->flags, CONSOLE_FLAG('1'));
    part_well(c);
}

TEST(lists, ranks_are_cleared_set_and_removed)
{
    struct console *c = inside("Ann");
    give(c, "+rnk", "A=1\nN=Bob\nS=1500\n");
    give(c, "+rnk", "A=2\nN=Cid\nS=1400\n");
    give(c, "+rnk", "A=3\nN=Bob\nS=1300\n");
    ck_assert_uint_eq(c->ranks.count, 2);
    ck_assert_int_eq(c->ranks.at[0].rank, 3);
    give(c, "+rnk", "A=0\nN=Bob\n");
    ck_assert_uint_eq(c->ranks.count, 1);
    give(c, "+rnk", "D=-2\n");
    ck_assert_uint_eq(c->ranks.count, 0);
    part_well(c);
}

TEST(lists, chat_is_shown_and_cut)
{
    struct console *c = inside("Ann");
    char payload[600] = "N=Bob\nT=";
    memset(payload + strlen(payload), 'x', 300);
    strcat(payload, "\n");
    give(c, "+msg", payload);
    give(c, "+msg", "F=P\nN=Bob\nFROM=Bob\nRI=0\nT=\"psst %3d\"\nTEXT=\"psst %3d\"\n");
    ck_assert_uint_eq(c->chat.count, 2);
    ck_assert_uint_eq(strlen(c->chat.at[0].text), 255);
    ck_assert_uint_eq(c->chat.at[0].flags, 0);
    ck_assert_uint_eq(c->chat.at[1].flags, CONSOLE_FLAG('P'));
    ck_assert_uint_eq(console_saw(c, "Bob", "psst ="), 1);
    part_well(c);
}

/* ---- Challenges --------------------------------------------------------- */

GROUP(races, NULL, NULL, 0);

static const char session_for_ann[] = "NAME=Ann.77\nSELF=Ann\nHOST=Ann\nOPPO=Bob\nP1=Ann\nP2=Bob\nADDR=198.51.100.7\n"
                                      "FROM=198.51.100.7\nSEED=-77\nWHEN=2026-01-28 11:07:46\nAUTH=abcdef\n";

TEST(races, an_offer_accepted_starts_the_race)
{
    struct console *c = inside("Ann");
    uint8_t race[CONSOLE_RACE_BYTES] = {0};
    give_user(c, 5, "Ann", "U0", 2);
    give_user(c, 6, "Bob", "0", 2);
    ck_assert(console_challenge_player(c, "Bob", "w893m_a017l_g"));
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "user PERS=Bob\n");
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "mesg PRIV=Bob\nTEXT=w893m_a017l_g\nATTR=3\n");
    ck_assert(!console_challenge_player(c, "Bob", NULL));
    give(c, "mesg", "STATUS=1\n");
    ck_assert_int_eq(c->challenge, CONSOLE_OFFERED);
    give(c, "+msg", "F=P3\nN=Bob\nT=ACPT\n");
    ck_assert_int_eq(c->challenge, CONSOLE_ACCEPTED);
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "chal PERS=Bob\nHOST=1\n");
    give(c, "chal", "MODE=play\nSTATUS=1\n");
    give(c, "+ses", session_for_ann);
    ck_assert_int_eq(c->challenge, CONSOLE_RACING);
    ck_assert_int_eq(c->seed, -77);
    memcpy(race, "Ann.77", 6);
    memcpy(race + 0x20, "Ann", 3);
    memcpy(race + 0x40, "Ann", 3);
    memcpy(race + 0x60, "Bob", 3);
    memcpy(race + 0x80, "Ann", 3);
    memcpy(race + 0x90, "Bob", 3);
    memcpy(race + 0xC0, "\x07\x64\x33\xC6\x07\x64\x33\xC6\xB3\xFF\xFF\xFF\x02\xEE\x79\x69", 16);
    memcpy(race + 0xD0, "abcdef", 6);
    ck_assert_mem_eq(c->race, race, sizeof race);
    give_bytes(c, CONSOLE_LOBBY, "play", 0, race, sizeof race);
    ck_assert_uint_eq(c->plays, 1);
    part_well(c);
}

TEST_LOOP(races, an_offer_received_can_be_accepted_or_declined, 0, 3)
{
    static const char *const answers[] = {"ACPT", "DECL", "BLOC"};
    char expected[64];
    struct console *c = inside("Ann");
    give_user(c, 6, "Bob", "1", 2);
    give(c, "+msg", "F=P3\nN=Bob\nFROM=Bob\nATTR=3\nRI=0\nT=aa_bb\nTEXT=aa_bb\n");
    ck_assert_int_eq(c->challenge, CONSOLE_RECEIVED);
    ck_assert_str_eq(c->token, "aa_bb");
    console_answer(c, answers[_i]);
    (void)snprintf(expected, sizeof expected, "mesg PRIV=Bob\nTEXT=%s\nATTR=3\n", answers[_i]);
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), expected);
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), _i == 0 ? "chal PERS=Bob\nHOST=0\n" : "");
    ck_assert_int_eq(c->challenge, _i == 0 ? CONSOLE_ACCEPTED : CONSOLE_IDLE);
    give(c, "+msg", "F=P3\nN=Bob\nT=DECL\n"); /* either may still back out */
    ck_assert_int_eq(c->challenge, CONSOLE_IDLE);
    part_well(c);
}

TEST(races, a_challenger_off_the_list_is_blocked)
{
    struct console *c = inside("Ann");
    give(c, "+msg", "F=P3\nN=Bob\nT=aa_bb\n");
    ck_assert_str_eq(taken(c, CONSOLE_LOBBY), "mesg PRIV=Bob\nTEXT=BLOC\nATTR=3\n");
    ck_assert_uint_eq(c->blocked, 1);
    ck_assert_int_eq(c->challenge, CONSOLE_IDLE);
    console_free(c);
}

TEST(races, words_that_come_too_late_do_nothing)
{
    struct console *c = inside("Ann");
    give_user(c, 6, "Bob", "0", 2);
    give(c, "+msg", "F=P3\nN=Bob\nT=DECL\n");
    give(c, "+msg", "F=P3\nN=Bob\nT=ACPT\n");
    ck_assert_int_eq(c->challenge, CONSOLE_IDLE);
    (void)console_challenge_player(c, "Bob", NULL);
    give_user(c, 7, "Cid", "0", 3);
    give(c, "+msg", "F=P3\nN=Cid\nT=x_y\n");
    give(c, "+msg", "F=P3\nN=Cid\nT=DECL\n");
    ck_assert_int_eq(c->challenge, CONSOLE_OFFERED);
    ck_assert_uint_eq(c->crossed, 1);
    console_cancel(c);
    ck_assert_int_eq(c->challenge, CONSOLE_IDLE);
    part_well(c);
}

/* ---- Harm --------------------------------------------------------------- */

GROUP(harm, NULL, NULL, 0);

struct harm {
    const char *kind, *payload, *part;
};

TEST_LOOP(harm, a_harmful_push_misleads, 0, 40)
{
    static const struct harm harms[] = {
        {"+rom", "N=X\nH=\nA=1.2.3.4\nT=0\nL=5\nF=0\n", "bad I"},
        {"+rom", "I=-2\n", "bad I"},
        {"+rom", "I=9\nN=X\nH=\nA=1.2.3.4\nT=0\nL=5\n", "+rom without F"},
        {"+rom", "I=9\nN=X\nH=\nA=1.2.3.4\nL=5\nF=0\n", "+rom without T"},
        {"+rom", "I=9\nN=East\nH=\nA=1.2.3.4\nT=0\nL=5\nF=0\n", "two rooms"},
        {"+rom", "I=9\nN=abcdefghijklmnopqrstuvwxyzabcdef\nH=\nA=1.2.3.4\nT=0\nL=5\nF=0\n", "cut"},
        {"+rom", "I=0\n", "deleted"},
        {"+usr", "I=9\nN=Bob\nF=0\nA=1.2.3.4\nR=1\nS=\nX=\n", "+usr without T"},
        {"+usr", "I=9\nN=Bob\nF=0\nA=1.2.3.4\nR=1\nS=\nT=1\n", "+usr without X"},
        {"+usr", "I=9\nN=Bob\nA=1.2.3.4\nR=1\nS=\nX=\nT=1\n", "+usr without F"},
        {"+usr", "I=9\n", "+usr without T"},
        {"+usr", "I=0\nT=1\n", "bad I"},
        {"+usr", "I=9\nN=Bob\nF=U0\nA=1.2.3.4\nR=1\nS=\nX=\nT=1\n", "marked as itself"},
        {"+usr", "I=9\nN=Ann\nF=0\nA=1.2.3.4\nR=1\nS=\nX=\nT=1\n", "lacks U"},
        {"+pop", "Z=0:1 1:2\n", "behind room 0"},
        {"+pop", "Z=1:2,3:4\n", "does not read"},
        {"+pop", "Y=1:2\n", "without Z"},
        {"+who", "F=U\nN=Bob\nRI=0\nRT=1\nR=0\nRF=0\n", "renames Ann to Bob"},
        {"+who", "F=U\nN=Ann\nRI=1\nRT=1\nR=1\nRF=0\n", "calls room East 1"},
        {"+who", "F=U\nN=Ann\nRI=7\nRT=1\nR=X\nRF=0\n", "does not know"},
        {"+who", "F=U\nN=Ann\nRI=0\nR=0\nRF=0\n", "lacks one"},
        {"+msg", "F=P3\nN=Ann\nT=a_b\n", "came back"},
        {"+msg", "F=P3\nT=a_b\n", "+msg without N"},
        {"+rnk", "N=Bob\nS=1\n", "+rnk without A"},
        {"+snp", "N=Bob\nR=1\nP=1\nS=1\n", "before the reply"},
        {"+ses", session_for_ann, "without an accepted"},
        {"move", "STATUS=1\n", "nobody asked for"},
        {"xxxx", "STATUS=1\n", "nobody asked for"},
        {"play", "x", "without its +ses"},
        {"\xFF\xFF\xFF\xFF", "x\n", "FFFFFFFF"},
        {"+msg", "", "without N"},
    };
    if ((size_t)_i >= sizeof harms / sizeof harms[0])
        return;
    struct console *c = inside("Ann");
    give(c, harms[_i].kind, harms[_i].payload);
    ASSERT_MISLED(c, harms[_i].part);
    console_free(c);
}

TEST(harm, a_short_length_jams_the_console_for_good)
{
    struct console *c = inside("Ann");
    console_feed(c, CONSOLE_LOBBY, (const uint8_t *)"+msg\0\0\0\0\0\0\0\x0B", 12);
    ASSERT_MISLED(c, "length 11");
    give(c, "+msg", "N=Bob\nT=hello\n");
    ck_assert_uint_eq(c->chat.count, 0);
    console_free(c);
}

TEST(harm, a_frame_over_4_kib_misleads)
{
    static char payload[4200];
    struct console *c = inside("Ann");
    memset(payload, 'x', sizeof payload - 1);
    memcpy(payload, "N=Bob\nT=", 8);
    give_bytes(c, CONSOLE_LOBBY, "+msg", 0, payload, CONSOLE_FRAME_BYTES - 12 + 1);
    ASSERT_MISLED(c, "length 4097");
    console_free(c);
}

TEST(harm, the_last_byte_is_overwritten)
{
    struct console *c = inside("Ann");
    give_bytes(c, CONSOLE_LOBBY, "+msg", 0, "N=Bob\nT=hello", 13);
    ck_assert_uint_eq(console_saw(c, "Bob", "hell"), 1);
    ASSERT_MISLED(c, "last byte");
    console_free(c);
}

TEST(harm, the_code_auth_misleads)
{
    struct console *c = inside("Ann");
    give_bytes(c, CONSOLE_LOBBY, "+msg", code_of("auth"), "N=Bob\nT=hello\n", 15);
    ASSERT_MISLED(c, "disconnects");
    console_free(c);
}

TEST(harm, long_news_misleads)
{
    char payload[400];
    struct console *c = inside("Ann");
    memset(payload, 'x', sizeof payload);
    console_read_news(c);
    payload[255] = '\0';
    give_bytes(c, CONSOLE_LOBBY, "news", code_of("new1"), payload, 256);
    ck_assert_str_eq(c->misled, "");
    ck_assert_uint_eq(strlen(c->news_page), 255);
    console_read_news(c);
    payload[255] = 'x';
    payload[256] = '\0';
    give_bytes(c, CONSOLE_LOBBY, "news", code_of("new1"), payload, 257);
    ASSERT_MISLED(c, "257 bytes");
    console_free(c);
}

TEST(harm, a_failed_move_without_ident_drops_to_room_0)
{
    struct console *c = inside("Ann");
    give(c, "+who", "F=U\nN=Ann\nRI=1\nRT=2\nR=East\nRF=0\n");
    console_move(c, "West", "");
    give_bytes(c, CONSOLE_LOBBY, "move", code_of("full"), "IDENT=1\nSTATUS=103\n", 20);
    ck_assert_int_eq(c->room, 1);
    ck_assert_str_eq(c->misled, "");
    console_move(c, "West", "");
    give_bytes(c, CONSOLE_LOBBY, "move", code_of("full"), "STATUS=103\n", 12);
    ck_assert_int_eq(c->room, 0);
    ASSERT_MISLED(c, "without IDENT");
    console_free(c);
}

TEST(harm, an_acceptance_said_twice_misleads)
{
    struct console *c = inside("Ann");
    give_user(c, 6, "Bob", "0", 2);
    (void)console_challenge_player(c, "Bob", NULL);
    give(c, "mesg", "STATUS=1\n");
    give(c, "+msg", "F=P3\nN=Bob\nT=ACPT\n");
    give(c, "+msg", "F=P3\nN=Bob\nT=ACPT\n");
    ck_assert_int_eq(c->challenge, CONSOLE_IDLE);
    ASSERT_MISLED(c, "after the acceptance");
    console_free(c);
}

/* Whichever of the three addresses it dials, it must find the opponent. */
TEST_LOOP(harm, three_places_tell_one_address_of_the_opponent, 0, 3)
{
    static const char *const was[] = {"ADDR=198.51.100.7", "FROM=198.51.100.7", "ADDR=198.51.100.7\nFROM=198.51.100.7"};
    static const char *const is[] = {"ADDR=198.51.100.6", "FROM=198.51.100.6", "ADDR=198.51.100.6\nFROM=198.51.100.6"};
    char session[512];
    struct console *c = inside("Ann");
    give_user(c, 6, "Bob", "0", 2);
    (void)console_challenge_player(c, "Bob", NULL);
    give(c, "+msg", "F=P3\nN=Bob\nT=ACPT\n");
    (void)snprintf(session, sizeof session, "%s", session_for_ann);
    char *at = strstr(session, was[_i]);
    ck_assert_ptr_nonnull(at);
    memcpy(at, is[_i], strlen(is[_i])); /* as long */
    give(c, "+ses", session);
    ASSERT_MISLED(c, "finds Bob at");
    console_free(c);
}

TEST(harm, play_must_repeat_the_session)
{
    uint8_t race[CONSOLE_RACE_BYTES];
    struct console *c = inside("Ann");
    give_user(c, 6, "Bob", "0", 2);
    (void)console_challenge_player(c, "Bob", NULL);
    give(c, "+msg", "F=P3\nN=Bob\nT=ACPT\n");
    give(c, "+ses", session_for_ann);
    memcpy(race, c->race, sizeof race);
    race[0xC8 + 3] ^= 1;
    give_bytes(c, CONSOLE_LOBBY, "play", 0, race, sizeof race);
    ASSERT_MISLED(c, "play differs");
    console_free(c);
}

TEST(harm, silence_misleads_after_60_s)
{
    struct console *c = inside("Ann");
    console_tick(c, 60000);
    ck_assert_str_eq(c->misled, "");
    ck_assert_uint_eq(console_deadline_ms(c), 60001);
    console_tick(c, 60001);
    ASSERT_MISLED(c, "60 s");
    ck_assert(console_hangs_up(c, CONSOLE_LOBBY));
    console_free(c);
}

TEST(harm, an_answered_echo_misleads)
{
    struct console *c = inside("Ann");
    give(c, "~png", "REF=1\nTIME=0\n");
    ck_assert_str_eq(c->misled, "");
    give_bytes(c, CONSOLE_LOBBY, "~png", 0x10, "REF=1\nTIME=0\n", 14);
    ASSERT_MISLED(c, "echo");
    console_free(c);
}

TEST(harm, bytes_may_come_one_by_one)
{
    struct console *c = inside("Ann");
    uint8_t frames[256];
    size_t size = console_frame(frames, sizeof frames, "+msg", 0, "N=Bob\nT=one\n", 13);
    size += console_frame(frames + size, sizeof frames - size, "+msg", 0, "N=Bob\nT=two\n", 13);
    console_feed(c, CONSOLE_LOBBY, frames, size);
    for (size_t i = 0; i < size; i++)
        console_feed(c, CONSOLE_LOBBY, frames + i, 1);
    ck_assert_uint_eq(console_saw(c, "Bob", "one"), 2);
    ck_assert_uint_eq(console_saw(c, "Bob", "two"), 2);
    part_well(c);
}

TEST(lists, the_roster_is_counted)
{
    struct console *c = inside("Ann");
    const char rget1[] = "ID=1\nSIZE=1\nSTATUS=1\n", rget2[] = "ID=2\nSIZE=0\nSTATUS=1\n";
    const char rost[] = "ID=1\nUSER=Bob\nGROUP=\n", pget[] = "USER=Bob\nSHOW=CHAT\n";
    console_link_opened(c, CONSOLE_BUDDY);
    ck_assert_str_eq(taken(c, CONSOLE_BUDDY), "AUTH PROD=NASCAR\nVERS=XXX\nPRES=NASCAR2004\n"
                                              "USER=Ann/cso/nascar-ps2-2004\nLKEY=$0123456789abcdef\n");
    give_bytes(c, CONSOLE_BUDDY, "AUTH", 0, "NAME=Ann\n", 10);
    give_bytes(c, CONSOLE_BUDDY, "PSET", 0, "STATUS=1\n", 10);
    give_bytes(c, CONSOLE_BUDDY, "RGET", 0, rget1, sizeof rget1);
    give_bytes(c, CONSOLE_BUDDY, "ROST", 0, rost, sizeof rost);
    give_bytes(c, CONSOLE_BUDDY, "RGET", 0, rget2, sizeof rget2);
    give_bytes(c, CONSOLE_BUDDY, "PGET", 0, pget, sizeof pget);
    ck_assert_uint_eq(c->friends.count, 1);
    ck_assert_str_eq(c->friends.at[0].show, "CHAT");
    ck_assert_str_eq(c->misled, "");
    give_bytes(c, CONSOLE_BUDDY, "ROST", 0, rost, sizeof rost);
    ASSERT_MISLED(c, "does not count");
    console_free(c);
}
