/* The small parts of the core, one by one (PROTOCOL 1, 2, 4): tags, strings,
 * numbers, frames, passwords on the wire, and the lists that consoles follow.
 * Where the console reads what the server writes, the console model's own reader
 * (console.h) has the last word.
 *
 * SPDX-License-Identifier: MIT */
#define NASCAR_NO_SHELL
#include "../nascar_server.c"

#include "suite.h"
#include "console.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Helpers ------------------------------------------------------------ */

/* For loops of many thousand rounds: Check notes down each of its own assertions. */
#define EXPECT(condition, ...) \
    do { \
        if (!(condition)) { \
            ck_abort_msg(__VA_ARGS__); \
        } \
    } while (0)

static uint32_t chance(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)(z >> 33);
}

static uint32_t below(uint64_t *state, uint32_t limit)
{
    return chance(state) % limit;
}

static const uint8_t *bytes_of(const char *text)
{
    return (const uint8_t *)text;
}

static uint32_t size_of(const char *text)
{
    return (uint32_t)strlen(text);
}

static uint32_t find(const char *payload, const char *key)
{
    return find_tag(bytes_of(payload), size_of(payload), key);
}

/* The text of a tag, up to 255 bytes; "(none)" if it is not there. */
static const char *text_at(const char *payload, const char *key)
{
    static char text[256];
    uint32_t at = find(payload, key);
    if (at == NOT_THERE)
        return "(none)";
    (void)read_string(bytes_of(payload), size_of(payload), at, text, sizeof text);
    return text;
}

static uint32_t number_of(const char *value)
{
    return read_number(bytes_of(value), size_of(value), 0);
}

/* Where the console model finds the value, past the one space that its readers
 * skip; NOT_THERE if it does not. */
static uint32_t console_finds(const char *payload, const char *key)
{
    const char *value = console_find(payload, key);
    return value == NULL ? NOT_THERE : (uint32_t)(value - payload) + (*value == ' ');
}

/* The payload of a frame that put_*() has filled and frame_end() has ended. */
static const char *payload_of(const struct outgoing *f)
{
    return (const char *)f->bytes + HEADER_BYTES;
}

static size_t from_hex(const char *hex, uint8_t *out, size_t room)
{
    size_t n = strlen(hex) / 2;
    ck_assert_uint_le(n, room);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
    return n;
}

/* ---- Finding tags (PROTOCOL 2) ------------------------------------------ */

GROUP(tags, NULL, NULL, 0);

TEST(tags, a_tag_is_found_in_any_case)
{
    ck_assert_str_eq(text_at("NAME=Bob\n", "NAME"), "Bob");
    ck_assert_str_eq(text_at("name=Bob\n", "NAME"), "Bob");
    ck_assert_str_eq(text_at("NaMe=Bob\n", "NAME"), "Bob");
    ck_assert_str_eq(text_at("NAME=Bob\n", "name"), "Bob");
}

TEST(tags, a_colon_separates_as_well_as_an_equals_sign)
{
    ck_assert_str_eq(text_at("NAME:Bob\n", "NAME"), "Bob");
    ck_assert_str_eq(text_at("Q=1\nNAME:Bob\nR=2\n", "NAME"), "Bob");
}

TEST(tags, tags_stand_on_lines_or_behind_spaces)
{
    /* The console's first sele, which has no last newline. */
    const char *sele = "ROOMS=1 USERS=2 RANKS=3 MESGS=4";
    ck_assert_uint_eq(number_of(sele + find(sele, "ROOMS")), 1);
    ck_assert_uint_eq(number_of(sele + find(sele, "USERS")), 2);
    ck_assert_uint_eq(number_of(sele + find(sele, "RANKS")), 3);
    ck_assert_uint_eq(number_of(sele + find(sele, "MESGS")), 4);
    ck_assert_str_eq(text_at("NAME=East\nPASS=\n", "PASS"), "");
    ck_assert_str_eq(text_at("NAME=East\tPASS=x", "PASS"), "x");
}

/* PROTOCOL 2: the server is stricter than the console. */
TEST(tags, a_payload_with_lines_has_its_keys_at_their_starts)
{
    ck_assert_str_eq(text_at("TEXT=dont tell priv: Cal\nPRIV=Bob\n", "PRIV"), "Bob");
    ck_assert_uint_eq(find("TEXT=lap times N: Bob\n", "N"), NOT_THERE);
    ck_assert_str_eq(text_at("TEXT=\"on lap N: 5\"\n", "TEXT"), "on lap N: 5");
    ck_assert_uint_eq(find("TEXT=\"on lap N: 5\"\n", "N"), NOT_THERE);
    ck_assert_uint_eq(find("NAME=East\tPASS=x\n", "PASS"), NOT_THERE);
    ck_assert_uint_eq(find("NAME=East\rPASS=x\n", "PASS"), NOT_THERE);
    ck_assert_uint_eq(find(" N=x\n", "N"), NOT_THERE);
    ck_assert_str_eq(text_at("\nN=x", "N"), "x");
    ck_assert_str_eq(text_at("a b c\nN=x", "N"), "x");
}

TEST(tags, the_first_match_wins)
{
    ck_assert_str_eq(text_at("N=one\nN=two\n", "N"), "one");
    ck_assert_str_eq(text_at("N:one\nN=two\n", "N"), "one");
}

TEST(tags, a_key_stands_at_the_start_or_behind_a_byte_below_0x21)
{
    for (int before = 1; before < 256; before++) {
        char payload[] = "Q=1_N=x", lines[] = "Q=1_N=x\n";
        payload[3] = lines[3] = (char)(unsigned char)before;
        ck_assert_msg((find(payload, "N") != NOT_THERE) == (before < 0x21), "behind byte %d", before);
        ck_assert_uint_eq(find(payload, "N"), console_finds(payload, "N"));
        ck_assert_msg((find(lines, "N") != NOT_THERE) == (before == '\n'), "behind byte %d, in lines", before);
    }
}

TEST(tags, a_key_inside_a_longer_one_is_not_it)
{
    ck_assert_str_eq(text_at("LIDENT=7\nIDENT=1\n", "IDENT"), "1");
    ck_assert_uint_eq(find("LIDENT=7\n", "IDENT"), NOT_THERE);
    ck_assert_uint_eq(find("IDENTS=7\n", "IDENT"), NOT_THERE);
    ck_assert_uint_eq(find("IDENT 7\n", "IDENT"), NOT_THERE);
    ck_assert_uint_eq(find("", "N"), NOT_THERE);
    ck_assert_uint_eq(find("N", "N"), NOT_THERE);
    ck_assert_uint_eq(find("=x", "N"), NOT_THERE);
}

TEST(tags, without_lines_quotes_do_not_protect_a_text_from_being_taken_for_a_tag)
{
    ck_assert_str_eq(text_at("TEXT=\"hi N=x\" N=Bob", "N"), "x\" N=Bob");
    ck_assert_str_eq(text_at("TEXT=\"hi F:P\"", "F"), "P\"");
    ck_assert_str_eq(text_at("TEXT=\"hi N=x\"\nN=Bob\n", "N"), "Bob");
}

TEST(tags, one_leading_space_is_skipped)
{
    ck_assert_str_eq(text_at("N= Bob\n", "N"), "Bob");
    ck_assert_str_eq(text_at("N=  Bob\n", "N"), " Bob");
    ck_assert_str_eq(text_at("N= \"Bob\"\n", "N"), "Bob");
    const char *number = "N= 17";
    ck_assert_uint_eq(number_of(number + find(number, "N")), 17);
}

TEST(tags, a_value_may_end_with_the_payload)
{
    ck_assert_uint_eq(find("N=", "N"), 2);
    ck_assert_str_eq(text_at("N=", "N"), "");
    ck_assert_str_eq(text_at("N= ", "N"), "");
    ck_assert_str_eq(text_at("N=x", "N"), "x");
    ck_assert_uint_eq(find_tag(bytes_of("N=xyz"), 3, "N"), 2); /* nothing behind `size` is looked at */
    ck_assert_uint_eq(find_tag(bytes_of("N=xyz"), 1, "N"), NOT_THERE);
}

/* Without lines it finds what a console finds, and with lines, too, if no other byte
 * below 0x21 is there. */
TEST_LOOP(tags, the_server_finds_what_a_console_finds, 0, 6)
{
    static const char *const letters[] = {"NnFTx=: \t\"'%12.", "NnFTx=:\n\"'%12."};
    static const char *const keys[] = {"N", "F", "T", "NF", "TN", "X"};
    uint64_t seed = (uint64_t)_i + 1;
    for (int round = 0; round < 5000; round++) {
        char payload[24];
        uint32_t n = below(&seed, sizeof payload);
        for (uint32_t i = 0; i < n; i++)
            payload[i] = letters[_i % 2][below(&seed, (uint32_t)strlen(letters[_i % 2]))];
        payload[n] = '\0';
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
            EXPECT(find(payload, keys[k]) == console_finds(payload, keys[k]), "seed %d, round %d: %s in \"%s\"", _i + 1,
                   round, keys[k], payload);
        }
    }
}

/* ---- Strings ------------------------------------------------------------ */

GROUP(values, NULL, NULL, 0);

static const struct {
    const char *written, *read;
} strings[] = {
    {"Bob\n", "Bob"},
    {"Bob", "Bob"},
    {"", ""},
    {"\n", ""},
    {"two words\nN=x", "two words"}, /* spaces belong to an unquoted value */
    {"a\tb", "a"},                   /* up to a byte below 0x20 */
    {"a\x1f"
     "b",
     "a"},
    {"\"two words\"\n", "two words"},
    {"'two words'\n", "two words"},
    {"\"it's\"", "it's"},
    {"'say \"x\"'", "say \"x\""},
    {"it's", "it's"},
    {"\"\"", ""},
    {"\"a\"b", "a"},
    {"\"a\nb\"", "a\nb"}, /* only the same quote closes */
    {"\"open", "open"},
    {"100%%", "100%"},
    {"%%41", "%41"},
    {"%41%4a%4A%7e", "AJJ~"},
    {"%22x%22", "\"x\""},
    {"a%0ab", "a\nb"},
    {"%ff%80", "\xff\x80"},
    {"\xff\x80", "\xff\x80"},
    {"a%00b", "a"}, /* a NUL ends it */
    {"a+b", "a+b"}, /* never a space */
    {"%", "%"},
    {"%4", "%4"},
    {"%4\n", "%4"},
    {"%zz", "%zz"},
    {"%4z", "%4z"},
    {"%z4", "%z4"},
    {"%%%", "%%"},
    /* [cap] */
    {"\"en%3d%22is playing NASCAR Thunder%25e2%2584%25a2 2004%22%0aP%3dmad4%0a\"\nPROD=\"is online\"\n",
     "en=\"is playing NASCAR Thunder%e2%84%a2 2004\"\nP=mad4\n"},
};

TEST_LOOP(values, strings_lose_their_quotes_and_escapes, 0, COUNT(strings))
{
    char out[256];
    uint32_t size = read_string(bytes_of(strings[_i].written), size_of(strings[_i].written), 0, out, sizeof out);
    ck_assert_str_eq(out, strings[_i].read);
    ck_assert_uint_eq(size, strlen(strings[_i].read));
}

TEST_LOOP(values, the_server_reads_strings_as_a_console_does, 0, 2)
{
    static const char letters[] = "ab \"'%%%412fz\n";
    uint64_t seed = (uint64_t)_i + 1;
    for (int round = 0; round < 5000; round++) {
        char written[16], server[16], console[16];
        uint32_t n = below(&seed, sizeof written), room = 1 + below(&seed, sizeof server);
        for (uint32_t i = 0; i < n; i++)
            written[i] = letters[below(&seed, sizeof letters - 1)];
        written[n] = '\0';
        uint32_t at = written[0] == ' ' ? 1 : 0; /* find_tag() skips it, there the reader does */
        uint32_t length = read_string(bytes_of(written), n, at, server, room);
        EXPECT(length == console_read_text(written, console, room), "seed %d, round %d: \"%s\"", _i + 1, round,
               written);
        EXPECT(strcmp(server, console) == 0, "seed %d, round %d: \"%s\" reads \"%s\", not \"%s\"", _i + 1, round,
               written, server, console);
    }
}

TEST(values, a_string_is_cut_to_its_field)
{
    for (uint32_t room = 1; room < 9; room++) {
        char out[10];
        memset(out, '#', sizeof out);
        uint32_t size = read_string(bytes_of("abc%64e%%g\n"), 11, 0, out, room);
        ck_assert_uint_eq(size, 7); /* the length before the cut */
        uint32_t kept = room - 1 < 7 ? room - 1 : 7;
        ck_assert_mem_eq(out, "abcde%g", kept);
        ck_assert_int_eq(out[kept], 0);
        ck_assert_int_eq(out[room], '#');
    }
}

TEST(values, a_string_ends_where_its_payload_ends)
{
    char out[16];
    ck_assert_uint_eq(read_string(bytes_of("abc%41"), 4, 0, out, sizeof out), 4);
    ck_assert_str_eq(out, "abc%");
    ck_assert_uint_eq(read_string(bytes_of("abc%41"), 5, 0, out, sizeof out), 5);
    ck_assert_str_eq(out, "abc%4");
    ck_assert_uint_eq(read_string(bytes_of("\"abc"), 1, 0, out, sizeof out), 0);
    ck_assert_str_eq(out, "");
    ck_assert_uint_eq(read_string(bytes_of("abc"), 3, 3, out, sizeof out), 0);
    ck_assert_str_eq(out, "");
}

/* ---- Numbers ------------------------------------------------------------ */

static const struct {
    const char *written;
    uint32_t read;
} numbers[] = {
    {"0", 0},
    {"1", 1},
    {"+7", 7},
    {"-1", UINT32_MAX},
    {"007", 7},
    {"", 0},
    {"-", 0},
    {"+", 0},
    {"x", 0},
    {"12ab", 12},
    {"12 34", 12},
    {"12\n", 12},
    {"--5", 0},
    {"2147483647", 2147483647u},
    {"-2147483648", 2147483648u},
    {"4294967295", UINT32_MAX},
    {"4294967296", 0},
    {"4294967297", 1},
    {"-4294967297", UINT32_MAX},
    {"99999999999999999999", 1661992959u},
};

TEST_LOOP(values, numbers_wrap_at_32_bits, 0, COUNT(numbers))
{
    ck_assert_uint_eq(number_of(numbers[_i].written), numbers[_i].read);
    ck_assert_int_eq(to_signed(numbers[_i].read), console_read_number(numbers[_i].written));
}

TEST(values, a_session_number_is_known_again_by_its_signed_form)
{
    /* PROTOCOL 3.1 [cap]: SESS of @dir, and MASK of the auth that followed. */
    ck_assert_uint_eq(number_of("2924700378"), number_of("-1370266918"));
    ck_assert_uint_eq(number_of("9898596825"), number_of("1308662233"));
    ck_assert_uint_eq(number_of("2661950729"), number_of("-1633016567"));
    ck_assert_int_eq(to_signed(2924700378u), -1370266918);
    ck_assert_int_eq(to_signed(0x80000000u), INT32_MIN);
    ck_assert_int_eq(to_signed(0x7fffffffu), INT32_MAX);
    ck_assert_int_eq(to_signed(UINT32_MAX), -1);
    /* PROTOCOL 10 */
    ck_assert_int_eq(to_signed(number_of("635603346243")), -51813565);
}

TEST(values, a_number_is_written_so_that_it_reads_the_same)
{
    static const int64_t values[] = {0, 1, -1, 9, 10, 255, INT32_MAX, INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[24], expected[24];
        write_number(text, values[i]);
        (void)snprintf(expected, sizeof expected, "%lld", (long long)values[i]);
        ck_assert_str_eq(text, expected);
    }
}

/* ---- Addresses ---------------------------------------------------------- */

static const struct {
    const char *written;
    bool good;
    uint32_t read;
} addresses[] = {
    {"192.0.2.1", true, 0xC0000201u},
    {"0.0.0.0", true, 0},
    {"255.255.255.255", true, UINT32_MAX},
    {"192.0.2.100\nPORT=59750\n", true, 0xC0000264u},
    {"192.0.2.100 PORT=59750", true, 0xC0000264u},
    {"001.002.003.004", true, 0x01020304u},
    {"3232236155", false, 0}, /* PROTOCOL 2: a dotted quad only */
    {"256.0.0.1", false, 0},
    {"1.2.3.256", false, 0},
    {"1.2.3", false, 0},
    {"1.2.3.", false, 0},
    {"1.2.3.4.5", false, 0},
    {"1..3.4", false, 0},
    {".1.2.3", false, 0},
    {"1.2.3.0004", false, 0},
    {"1.2.3.4x", false, 0},
    {"-1.2.3.4", false, 0},
    {"a.b.c.d", false, 0},
    {"1.2.3.4:80", false, 0},
    {"", false, 0},
};

TEST_LOOP(values, an_address_is_a_dotted_quad, 0, COUNT(addresses))
{
    uint32_t address = 77;
    ck_assert_int_eq(read_address(bytes_of(addresses[_i].written), size_of(addresses[_i].written), 0, &address),
                     addresses[_i].good);
    ck_assert_uint_eq(address, addresses[_i].good ? addresses[_i].read : 77);
}

TEST(values, an_address_is_written_so_that_the_console_reads_it)
{
    static const uint32_t values[] = {0, 1, 0x0A000001u, 0xC0000264u, 0xFFFFFFFFu, 0x01020304u, 0x64C8FA09u};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[16];
        uint32_t again = 0;
        write_address(text, values[i]);
        ck_assert(read_address(bytes_of(text), size_of(text), 0, &again));
        ck_assert_uint_eq(again, values[i]);
        ck_assert_uint_eq(console_read_address(text), values[i]);
    }
}

/* ---- Flags -------------------------------------------------------------- */

TEST(values, flags_are_letters)
{
    static const struct {
        const char *written;
        uint32_t read;
    } cases[] = {
        {"@", 1},
        {"A", 2},
        {"Z", 1u << 26},
        {"B", 4},
        {"P", 0x10000},
        {"U", 0x200000},
        {"3", 1u << 30},
        {"0", 1u << 27},
        {"1", 1u << 28},
        {"65536", 0},
        {"", 0},
        {"P3", 0x10000u | 1u << 30},
        {"4", 0},
        {"a", 0},
        {"PxB", 0x10000},
        {"P\nB", 0x10000},
        {"U0", 0x200000u | 1u << 27},
        {"BB", 4},
        {"[", 0},
        {"?", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_msg(read_flags(bytes_of(cases[i].written), size_of(cases[i].written), 0) == cases[i].read, "flags %s",
                      cases[i].written);
        ck_assert_uint_eq(console_read_flags(cases[i].written), cases[i].read);
    }
    ck_assert_uint_eq(FLAG_B, 4);
    ck_assert_uint_eq(FLAG_P, 0x10000);
    ck_assert_uint_eq(FLAG_U, 0x200000);
    ck_assert_uint_eq(FLAG_0, 1u << 27);
    ck_assert_uint_eq(FLAG_3, 1u << 30);
}

TEST(values, flags_are_written_so_that_they_read_the_same)
{
    uint64_t seed = 5;
    for (int round = 0; round < 2000; round++) {
        uint32_t flags = round < 31 ? 1u << round : round == 31 ? 0 : chance(&seed) & 0x7fffffffu;
        char text[32];
        write_flags(text, flags);
        EXPECT(read_flags(bytes_of(text), size_of(text), 0) == flags, "%08lx", (unsigned long)flags);
        EXPECT(console_read_flags(text) == flags, "%08lx", (unsigned long)flags);
    }
}

/* ---- Dates -------------------------------------------------------------- */

static bool leap_year(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

TEST(values, every_day_from_1970_to_2099_is_written_as_the_calendar_has_it)
{
    static const int days_of[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t day = 0;
    for (int year = 1970; year < 2100; year++) {
        for (int month = 1; month <= 12; month++) {
            int days = days_of[month - 1] + (month == 2 && leap_year(year));
            for (int d = 1; d <= days; d++, day++) {
                char text[20], expected[40];
                int64_t second = day * 7919 % 86400;
                write_date(text, day * 86400 + second);
                (void)snprintf(expected, sizeof expected, "%04d-%02d-%02d %02d:%02d:%02d", year, month, d,
                               (int)(second / 3600), (int)(second / 60 % 60), (int)(second % 60));
                EXPECT(strcmp(text, expected) == 0, "%s, not %s", text, expected);
            }
        }
    }
    ck_assert_int_eq(day * 86400 - 1, LATEST_DATE_S);
}

TEST(values, a_date_is_held_to_what_the_console_reads)
{
    static const struct {
        int64_t wall_s;
        const char *text;
    } cases[] = {
        {0, "1970-01-01 00:00:00"},          {-1, "1970-01-01 00:00:00"},         {INT64_MIN, "1970-01-01 00:00:00"},
        {951782399, "2000-02-28 23:59:59"},  {951782400, "2000-02-29 00:00:00"},  {951868800, "2000-03-01 00:00:00"},
        {1767225600, "2026-01-01 00:00:00"}, {2147483648, "2038-01-19 03:14:08"}, {4102444799, "2099-12-31 23:59:59"},
        {4102444800, "2099-12-31 23:59:59"}, {INT64_MAX, "2099-12-31 23:59:59"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[20];
        write_date(text, cases[i].wall_s);
        ck_assert_str_eq(text, cases[i].text);
        int64_t read = cases[i].wall_s < 0 ? 0 : cases[i].wall_s > 4102444799 ? 4102444799 : cases[i].wall_s;
        ck_assert_int_eq(console_read_epoch(text), read);
    }
}

TEST(values, an_age_is_whole_years)
{
    const int64_t now_s = 1767225600 + 45 * 86400; /* 2026-02-15 */
    ck_assert_int_eq(age_at("1990-02-15", now_s), 36);
    ck_assert_int_eq(age_at("1990-02-16", now_s), 35);
    ck_assert_int_eq(age_at("1990-03-01", now_s), 35);
    ck_assert_int_eq(age_at("19900214", now_s), 36);
    ck_assert_int_eq(age_at("1990.2.14", now_s), 36);
    ck_assert_int_eq(age_at("1990/02/14", now_s), 36);
    ck_assert_int_eq(age_at("2026-02-15", now_s), 0);
    ck_assert_int_eq(age_at("2027-01-01", now_s), -1);
    ck_assert_int_eq(age_at("1800-01-01", now_s), -1);
    ck_assert_int_eq(age_at("", now_s), -1);
    ck_assert_int_eq(age_at("1990", now_s), -1);
    ck_assert_int_eq(age_at("soon", now_s), -1);
}

/* ---- Writing tags (PROTOCOL 2) ------------------------------------------ */

GROUP(writing, NULL, NULL, 0);

/* What the server writes is read back by both readers. */
static void expect_round_trip(const char *text)
{
    struct outgoing f;
    char out[512];
    frame_begin(&f, "test", "");
    put_raw(&f, tag_I, "1");
    put_text(&f, tag_TEXT, text);
    frame_end(&f);
    const char *payload = payload_of(&f);
    uint32_t at = find(payload, "TEXT");
    EXPECT(at != NOT_THERE, "not found in %s", payload);
    (void)read_string(bytes_of(payload), size_of(payload), at, out, sizeof out);
    EXPECT(strcmp(out, text) == 0, "\"%s\" reads \"%s\"", text, out);
    const char *value = console_find(payload, "TEXT");
    EXPECT(value == payload + at, "found elsewhere in %s", payload);
    (void)console_read_text(value, out, sizeof out);
    EXPECT(strcmp(out, text) == 0, "to a console \"%s\" reads \"%s\"", text, out);
    EXPECT((*value == '"') == (strchr(text, ' ') != NULL), "quoted only for a space: %s", value);
    for (const char *p = value; *p; p++) { /* printable but for the newline that ends the field */
        uint8_t c = (uint8_t)*p;
        EXPECT((c >= 0x20 && c <= 0x7e) || p[1] == '\0', "byte %u in %s", c, value);
    }
}

TEST(writing, every_byte_at_every_place_of_a_text_survives)
{
    static const char *const around[] = {"abcde", "a b c", "     ", "%%%%%", "'''''", "=N=N="};
    for (size_t k = 0; k < sizeof around / sizeof around[0]; k++) {
        for (int byte = 1; byte < 256; byte++) {
            for (size_t place_at = 0; place_at < 5; place_at++) {
                char text[6];
                memcpy(text, around[k], 6);
                text[place_at] = (char)(unsigned char)byte;
                expect_round_trip(text);
            }
        }
    }
    expect_round_trip("");
    for (int byte = 1; byte < 256; byte++) {
        char text[2] = {(char)(unsigned char)byte, '\0'};
        expect_round_trip(text);
    }
}

TEST(writing, escapes_are_as_the_protocol_writes_them)
{
    struct outgoing f;
    frame_begin(&f, "test", "");
    put_text(&f, tag_TEXT, "a=\"b\":50%\n\x7f\xe2");
    put_text(&f, tag_N, "'x'");
    put_text(&f, tag_H, "two words");
    put_text(&f, tag_X, "");
    frame_end(&f);
    ck_assert_str_eq(payload_of(&f), "TEXT=a%3d%22b%22%3a50%25%0a%7f%e2\nN=%27x'\nH=\"two words\"\nX=\n");
}

TEST_LOOP(writing, no_text_of_a_player_passes_for_a_tag, 0, 4)
{
    static const char letters[] = "NFTIX=:= \n\"'%%3dafx\t\x01\xff";
    uint64_t seed = (uint64_t)_i + 1;
    for (int round = 0; round < 150; round++) {
        char text[3][32], out[128];
        static const enum tag tags[3] = {tag_N, tag_H, tag_X};
        struct outgoing f;
        for (int k = 0; k < 3; k++) {
            uint32_t n = below(&seed, sizeof text[k]);
            for (uint32_t i = 0; i < n; i++)
                text[k][i] = letters[below(&seed, sizeof letters - 1)];
            text[k][n] = '\0';
        }
        frame_begin(&f, "test", "");
        put_number(&f, tag_I, -5);
        put_raw(&f, tag_F, "P3");
        for (int k = 0; k < 3; k++)
            put_text(&f, tags[k], text[k]);
        frame_end(&f);
        const char *payload = payload_of(&f);
        for (uint32_t t = 0; t < TAG_COUNT; t++) {
            bool there = t == tag_I || t == tag_F || t == tag_N || t == tag_H || t == tag_X;
            EXPECT((find(payload, tag_names[t]) != NOT_THERE) == there, "seed %d: %s in %s", _i + 1, tag_names[t],
                   payload);
            EXPECT((console_find(payload, tag_names[t]) != NULL) == there, "seed %d: the console finds %s in %s",
                   _i + 1, tag_names[t], payload);
        }
        ck_assert_int_eq(console_read_number(console_find(payload, "I")), -5);
        ck_assert_uint_eq(console_read_flags(console_find(payload, "F")), FLAG_P | FLAG_3);
        for (int k = 0; k < 3; k++) {
            (void)console_read_text(console_find(payload, tag_names[tags[k]]), out, sizeof out);
            ck_assert_str_eq(out, text[k]);
            ck_assert_str_eq(text_at(payload, tag_names[tags[k]]), text[k]);
        }
    }
}

TEST_LOOP(writing, what_a_console_writes_is_read_as_it_was_typed, 0, 3)
{
    uint64_t seed = (uint64_t)_i + 1;
    for (int round = 0; round < 150; round++) {
        struct console_tags tags = {.size = 0};
        char text[40];
        uint32_t n = below(&seed, sizeof text);
        for (uint32_t i = 0; i < n; i++)
            text[i] = (char)(unsigned char)(1 + below(&seed, 255));
        text[n] = '\0';
        console_put_text(&tags, "NAME", "Bob");
        console_put_text(&tags, "TEXT", text);
        console_put_number(&tags, "MASK", -1370266918);
        ck_assert_str_eq(text_at(tags.text, "TEXT"), text);
        ck_assert_str_eq(text_at(tags.text, "NAME"), "Bob");
        ck_assert_uint_eq(number_of(tags.text + find(tags.text, "MASK")), 2924700378u);
    }
}

/* ---- Frames (PROTOCOL 1) ------------------------------------------------ */

GROUP(frames, NULL, NULL, 0);

static void write_header(uint8_t out[HEADER_BYTES], const char *kind, uint32_t length)
{
    memcpy(out, kind, 4);
    memset(out + 4, 0xAA, 4); /* whatever the code, it is not looked at */
    store_be32(out + 8, length);
}

TEST(frames, a_frame_is_12_to_2048_bytes_long)
{
    static const struct {
        uint32_t length;
        bool good;
    } cases[] = {
        {0, false},     {1, false},           {11, false},          {12, true},           {13, true},
        {45, true},     {2047, true},         {2048, true},         {2049, false},        {4096, false},
        {65536, false}, {0x7fffffffu, false}, {0x80000000u, false}, {0x8000000cu, false}, {UINT32_MAX, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t bytes[INBOX_BYTES + 16] = {0};
        struct frame frame;
        write_header(bytes, "+who", cases[i].length);
        enum frame_state expected = !cases[i].good ? FRAME_BROKEN : cases[i].length == 12 ? FRAME_WHOLE : FRAME_PART;
        ck_assert_msg(read_frame(bytes, HEADER_BYTES, &frame) == expected, "length %lu",
                      (unsigned long)cases[i].length);
        if (cases[i].good) {
            ck_assert_int_eq(read_frame(bytes, cases[i].length, &frame), FRAME_WHOLE);
            ck_assert_uint_eq(frame.size, cases[i].length);
            ck_assert_mem_eq(frame.kind, "+who", 4);
            ck_assert_int_eq(read_frame(bytes, cases[i].length + 5, &frame), FRAME_WHOLE); /* another behind it */
            ck_assert_uint_eq(frame.size, cases[i].length);
        } else {
            ck_assert_int_eq(read_frame(bytes, sizeof bytes, &frame), FRAME_BROKEN);
        }
    }
}

TEST(frames, a_frame_is_not_whole_before_its_last_byte)
{
    static const uint32_t lengths[] = {12, 13, 45, 512, 2048};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t bytes[INBOX_BYTES] = {0};
        struct frame frame;
        write_header(bytes, "auth", lengths[i]);
        for (uint32_t size = 0; size < lengths[i]; size++) {
            EXPECT(read_frame(bytes, size, &frame) == FRAME_PART, "%lu of %lu bytes", (unsigned long)size,
                   (unsigned long)lengths[i]);
        }
        ck_assert_int_eq(read_frame(bytes, lengths[i], &frame), FRAME_WHOLE);
    }
}

TEST(frames, a_kind_is_four_printable_characters)
{
    for (uint32_t place_at = 0; place_at < 4; place_at++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint8_t bytes[HEADER_BYTES];
            struct frame frame;
            bool good = byte >= 0x21 && byte <= 0x7e;
            write_header(bytes, "@dir", 12);
            bytes[place_at] = (uint8_t)byte;
            EXPECT((read_frame(bytes, sizeof bytes, &frame) == FRAME_WHOLE) == good, "byte %u", byte);
            /* Told at once, not when the header is there. */
            EXPECT(read_frame(bytes, place_at + 1, &frame) == (good ? FRAME_PART : FRAME_BROKEN), "byte %u", byte);
            EXPECT(read_frame(bytes, place_at, &frame) == FRAME_PART, "byte %u", byte);
        }
    }
}

TEST(frames, the_code_of_a_request_is_ignored)
{
    uint8_t bytes[HEADER_BYTES];
    struct frame frame;
    write_header(bytes, "~png", 12);
    store_be32(bytes + 4, 0x10); /* PROTOCOL 1: the console's echo has 0x10 or 0x11 */
    ck_assert_int_eq(read_frame(bytes, sizeof bytes, &frame), FRAME_WHOLE);
}

TEST(frames, a_payload_ends_at_its_first_nul)
{
    ck_assert_uint_eq(payload_size(bytes_of("N=x\n\0N=y\n"), 9), 4);
    ck_assert_uint_eq(payload_size(bytes_of("N=x\n"), 4), 4);
    ck_assert_uint_eq(payload_size(bytes_of(""), 0), 0);
    ck_assert_uint_eq(payload_size(bytes_of(""), 1), 0);
}

TEST(frames, a_frame_is_written_as_the_example)
{
    /* PROTOCOL 1: +who, 33 bytes of payload; ours ends it with a NUL: 46. */
    static const uint8_t header[] = {0x2b, 0x77, 0x68, 0x6f, 0, 0, 0, 0, 0, 0, 0, 46};
    struct outgoing f;
    frame_begin(&f, "+who", "");
    put_raw(&f, tag_F, "U");
    put_text(&f, tag_N, "VTSTech");
    put_number(&f, tag_RI, 0);
    put_number(&f, tag_RT, 4);
    put_number(&f, tag_R, 0);
    put_number(&f, tag_RF, 1);
    frame_end(&f);
    ck_assert_uint_eq(f.size, 46);
    ck_assert_mem_eq(f.bytes, header, sizeof header);
    ck_assert_mem_eq(f.bytes + HEADER_BYTES, "F=U\nN=VTSTech\nRI=0\nRT=4\nR=0\nRF=1\n", 34);
    ck_assert_int_eq(f.bytes[45], 0);
}

TEST(frames, an_empty_frame_is_12_bytes_and_a_code_is_four_letters)
{
    static const uint8_t frame[] = {'c', 'h', 'a', 'l', 't', 'i', 'm', 'e', 0, 0, 0, 12};
    struct outgoing f;
    memset(&f, 0x55, sizeof f);
    frame_begin(&f, "chal", "time");
    frame_end(&f);
    ck_assert_uint_eq(f.size, 12);
    ck_assert_mem_eq(f.bytes, frame, sizeof frame);
}

TEST(frames, no_failure_has_a_code_that_harms_the_console)
{
    /* PROTOCOL 1: never `auth`, which disconnects; 0 is success. */
    for (uint32_t i = OK + 1; i < FAILURE_COUNT; i++) {
        ck_assert_uint_eq(strlen(failures[i].code), 4);
        ck_assert_str_ne(failures[i].code, "auth");
        ck_assert_uint_ne(failures[i].status, 1);
        ck_assert_int_ne(strncmp(failures[i].code, "new", 3), 0);
    }
    ck_assert_str_eq(failures[OK].code, "");
    ck_assert_uint_eq(failures[OK].status, 1);
}

/* ---- Passwords on the wire (PROTOCOL 4) --------------------------------- */

GROUP(passwords, NULL, NULL, 0);

struct vector {
    char line[1024];
    const char *id, *form, *key, *mask, *wire, *decoded;
};

/* Line `number` of the vectors, the first behind the header being 0. */
static bool read_vector(int number, struct vector *v)
{
    const char *fields[11];
    FILE *file = fopen("tests/data/ssc2.tsv", "r");
    ck_assert_msg(file != NULL, "tests/data/ssc2.tsv is not there: run from the project's root");
    bool there = true;
    for (int i = -1; i <= number && there; i++)
        there = fgets(v->line, sizeof v->line, file) != NULL;
    (void)fclose(file);
    if (!there)
        return false;
    char *at = v->line;
    at[strcspn(at, "\n")] = '\0';
    for (size_t i = 0; i < 11; i++) {
        fields[i] = at;
        at += strcspn(at, "\t");
        ck_assert_msg(*at == '\t' || i == 10, "vector %d has %zu fields", number, i + 1);
        *at = '\0';
        at += i < 10;
    }
    v->id = fields[0];
    v->form = fields[1];
    v->key = fields[2];
    v->mask = fields[3];
    v->wire = fields[6];
    v->decoded = fields[8];
    return true;
}

#define VECTORS 59

TEST_LOOP(passwords, a_password_vector_decodes, 0, VECTORS)
{
    struct vector v;
    char payload[256], text[2 * SSC2_CHARS + 4], password[SSC2_CHARS + 1];
    uint8_t key[16], expected[64];
    ck_assert(read_vector(_i, &v));
    size_t key_size = from_hex(v.key, key, sizeof key), n = from_hex(v.decoded, expected, sizeof expected);
    (void)snprintf(payload, sizeof payload, "NAME=VTSTech\nTOS=1\nPASS=%s\nMID=$00041f82bee5\n", v.wire);
    uint32_t at = find(payload, "PASS"), length = NOT_THERE;
    ck_assert_uint_lt(read_string(bytes_of(payload), size_of(payload), at, text, sizeof text), sizeof text);
    if (strcmp(v.form, "mask") == 0) {
        ck_assert_int_eq(text[0], '$');
        length = mask_decode(v.mask, text + 1, password);
    } else {
        ck_assert_str_eq(v.form, "ssc2");
        ck_assert_int_eq(text[0], '~');
        length = ssc2_decode(key, (uint32_t)key_size, text + 1, password);
    }
    ck_assert_msg(length == n, "vector %s: length %lu, not %zu", v.id, (unsigned long)length, n);
    ck_assert_msg(memcmp(password, expected, n) == 0, "vector %s", v.id);
    ck_assert_int_eq(password[n], 0);
    ck_assert_str_eq(text_at(payload, "MID"), "$00041f82bee5");
}

TEST(passwords, all_vectors_are_there)
{
    struct vector v;
    ck_assert(read_vector(VECTORS - 1, &v));
    ck_assert(!read_vector(VECTORS, &v));
}

TEST_LOOP(passwords, what_a_console_encodes_is_decoded, 0, 3)
{
    uint64_t seed = (uint64_t)_i + 1;
    struct console_pad pad = {.started = false};
    for (int round = 0; round < 10; round++) {
        uint8_t key[16];
        char typed[SSC2_CHARS + 1], letters[CONSOLE_CIPHER_BYTES + 1], hex[2 * SSC2_CHARS + 2], mask[33];
        char password[SSC2_CHARS + 1];
        uint32_t n = below(&seed, SSC2_CHARS + 1);
        for (size_t i = 0; i < sizeof key; i++)
            key[i] = (uint8_t)chance(&seed);
        for (uint32_t i = 0; i < n; i++)
            typed[i] = (char)(0x20 + below(&seed, 0x5f));
        typed[n] = '\0';
        console_encode(&pad, key, sizeof key, typed, letters);
        ck_assert_uint_eq(strlen(letters), CONSOLE_CIPHER_BYTES);
        ck_assert_uint_eq(ssc2_decode(key, sizeof key, letters, password), n);
        ck_assert_str_eq(password, typed);
        write_hex(mask, key, sizeof key);
        console_mask(round % 2 ? mask : "", typed, hex, sizeof hex);
        ck_assert_int_eq(hex[0], '$');
        ck_assert_uint_eq(mask_decode(round % 2 ? mask : "", hex + 1, password), n);
        ck_assert_str_eq(password, typed);
    }
}

TEST(passwords, a_broken_ciphertext_is_no_password)
{
    static const uint8_t key[16] = {1, 2, 3};
    char password[SSC2_CHARS + 1], text[80];
    /* bytes outside 0x20..0x7F */
    ck_assert_uint_eq(ssc2_decode(key, 16,
                                  "\x1f"
                                  "abcdefghijklmnopqrstuvwxyz0123",
                                  password),
                      NOT_THERE);
    ck_assert_uint_eq(ssc2_decode(key, 16,
                                  "\x80"
                                  "abcdefghijklmnopqrstuvwxyz0123",
                                  password),
                      NOT_THERE);
    ck_assert_uint_eq(ssc2_decode(key, 16, "\n", password), NOT_THERE);
    /* short: what is there, and no byte past it */
    memset(password, '#', sizeof password);
    uint32_t n = ssc2_decode(key, 16, "abc", password);
    ck_assert_uint_le(n, 3);
    ck_assert_int_eq(password[n], 0);
    ck_assert_int_eq(password[4], '#');
    ck_assert_uint_eq(ssc2_decode(key, 16, "", password), 0);
    ck_assert_str_eq(password, "");
    /* the mask form: matches of hex digits, either case */
    ck_assert_uint_eq(mask_decode("4294967295", "3EC97dD5", password), 4);
    ck_assert_str_eq(password, "AAAA");
    ck_assert_uint_eq(mask_decode("4294967295", "", password), 0);
    ck_assert_uint_eq(mask_decode("4294967295", "3", password), NOT_THERE);
    ck_assert_uint_eq(mask_decode("4294967295", "3ec97dd", password), NOT_THERE);
    ck_assert_uint_eq(mask_decode("4294967295", "3ec97dgg", password), NOT_THERE);
    ck_assert_uint_eq(mask_decode("4294967295", "3e c97dd", password), NOT_THERE);
    ck_assert_uint_eq(mask_decode("A", "41", password), NOT_THERE); /* a NUL inside */
    memset(text, 'a', sizeof text);
    text[2 * SSC2_CHARS] = '\0';
    ck_assert_uint_eq(mask_decode("mask", text, password), SSC2_CHARS);
    text[2 * SSC2_CHARS] = 'a';
    text[2 * SSC2_CHARS + 2] = '\0';
    ck_assert_uint_eq(mask_decode("mask", text, password), NOT_THERE);
}

/* ---- Hashing ------------------------------------------------------------ */

GROUP(hashes_and_lists, NULL, NULL, 0);

TEST(hashes_and_lists, siphash_is_siphash_2_4)
{
    /* The published vectors: key 00..0f, data 00, 01, 02 ... */
    static const struct {
        size_t size;
        uint64_t hash;
    } vectors[] = {
        {0, UINT64_C(0x726fdb47dd0e0e31)}, {1, UINT64_C(0x74f839c593dc67fd)}, {2, UINT64_C(0x0d6c8009d9a94f5a)},
        {3, UINT64_C(0x85676696d7fb7e2d)}, {4, UINT64_C(0xcf2794e0277187b7)}, {5, UINT64_C(0x18765564cd99a68d)},
        {6, UINT64_C(0xcbc9466e58fee3ce)}, {7, UINT64_C(0xab0200f58b01d137)}, {15, UINT64_C(0xa129ca6149be45e5)},
    };
    uint8_t key[16], data[16];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = data[i] = i;
    const uint64_t words[2] = {load_le64(key), load_le64(key + 8)};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        ck_assert_msg(siphash(words, data, vectors[i].size) == vectors[i].hash, "%zu bytes", vectors[i].size);
}

TEST(hashes_and_lists, secrets_are_compared_as_a_whole)
{
    static const uint8_t a[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof a; i++) {
        uint8_t b[sizeof a];
        memcpy(b, a, sizeof a);
        ck_assert(equal_secret(a, b, sizeof a));
        b[i] ^= 1;
        ck_assert(!equal_secret(a, b, sizeof a));
        ck_assert(equal_secret(a, b, i));
    }
}

/* Sums of the bytes 0, 1, 2 ..., by another program. */
TEST(hashes_and_lists, sha256_is_sha_256)
{
    static const struct {
        size_t size;
        const char *sum;
    } vectors[] = {
        {0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
        {3, "ae4b3280e56e2faf83f414a6e3dabe9d5fbe18976544c05fed121accb85b53fc"},
        {8, "8a851ff82ee7048ad09ec3847f1ddf44944104d2cbd17ef4e3db22c6785a0d45"},
        {31, "4f23c2ca8c5c962e50cd31e221bfb6d0adca19111dca8e0c62598ff146dd19c4"},
        {32, "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"},
        {54, "675f28acc0b90a72d1c3a570fe83ac565555db358cf01826dc8eefb2bf7ca0f3"},
        {55, "463eb28e72f82e0a96c0a4cc53690c571281131f672aa229e0d45ae59b598b59"},
    };
    uint8_t data[55], sum[32];
    char hex[65];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        sha256(data, vectors[i].size, sum);
        write_hex(hex, sum, sizeof sum);
        ck_assert_str_eq(hex, vectors[i].sum);
    }
}

/* ---- Ranks --------------------------------------------------------------- */

#define RANKED 300u

struct ranking {
    struct nascar *state;
    struct figures figures[RANKED];
};

static void ranking_open(struct ranking *r)
{
    static const struct nascar_limits limits = {1, RANKED / 4, 8, 1, 1, 1, 0};
    size_t size = nascar_arena_size(&limits);
    void *arena = calloc(1, size);
    memset(r, 0, sizeof *r);
    r->state = nascar_init(arena, size, &limits);
    for (uint32_t i = 0; i < RANKED; i++) {
        ck_assert_uint_eq(pool_take(r->state, &r->state->personas), i);
        (void)snprintf(persona_at(r->state, i)->name, PERSONA_CHARS, "%s%03u", i % 2 ? "rAcer" : "Racer", (unsigned)i);
    }
}

/* The place that counting comes to. */
static uint32_t counted_rank(const struct ranking *r, uint32_t i)
{
    uint32_t place = 1;
    for (uint32_t k = 0; k < RANKED; k++) {
        const struct figures *f = &r->figures[k];
        place += f->races > 0 && (f->rating > r->figures[i].rating || (f->rating == r->figures[i].rating && k < i));
    }
    return r->figures[i].races > 0 ? place : 0;
}

static void ranks_are_right(const struct ranking *r)
{
    uint32_t ranked = 0;
    for (uint32_t i = 0; i < RANKED; i++) {
        uint32_t place = counted_rank(r, i);
        ck_assert_uint_eq(rank_of(r->state, i), place);
        ranked += place > 0;
        if (place > 0)
            ck_assert_uint_eq(find_persona_by_rank(r->state, place), i);
    }
    ck_assert_uint_eq(find_persona_by_rank(r->state, 0), NONE);
    ck_assert_uint_eq(find_persona_by_rank(r->state, ranked + 1), NONE);
    ck_assert_uint_eq(tree_size(r->state, r->state->ranked), ranked);
}

/* Ratings from a few values (ties) to many, changed at random. */
TEST_LOOP(hashes_and_lists, a_rank_is_the_number_of_better_ones_and_one, 0, 3)
{
    struct ranking r;
    uint32_t chance = 77u + (uint32_t)_i, spread = _i == 0 ? 1 : _i == 1 ? 5 : 8000;
    ranking_open(&r);
    for (uint32_t round = 0; round < 600; round++) {
        chance = chance * 1664525u + 1013904223u;
        uint32_t i = (chance >> 8) % RANKED;
        chance = chance * 1664525u + 1013904223u;
        r.figures[i].races = (chance >> 30) > 0; /* now and then one goes */
        r.figures[i].rating = (uint16_t)((chance >> 8) % spread);
        set_figures(r.state, i, &r.figures[i]);
        if (round % 20 == 0)
            ranks_are_right(&r);
    }
    ranks_are_right(&r);
    free(r.state);
}

/* Whoever comes in order, as when a journal is read, must not make a list of
 * the tree: it would be walked from end to end each time. */
TEST(hashes_and_lists, the_tree_of_ranks_stays_shallow)
{
    struct ranking r;
    ranking_open(&r);
    for (uint32_t i = 0; i < RANKED; i++) {
        r.figures[i].races = 1;
        r.figures[i].rating = FIRST_RATING;
        set_figures(r.state, i, &r.figures[i]);
    }
    ranks_are_right(&r);
    for (uint32_t i = 0; i < RANKED; i++) {
        uint32_t depth = 0;
        for (uint32_t at = r.state->ranked; at != i; depth++)
            at = at < i ? persona_at(r.state, at)->right : persona_at(r.state, at)->left;
        ck_assert_uint_lt(depth, 30);
    }
    free(r.state);
}

/* ---- Ratings -------------------------------------------------------------- */

TEST(hashes_and_lists, elo_points_are_rounded_right)
{
    for (uint32_t ahead = 0; ahead <= 8191; ahead++) { /* 13 bits are all that there is */
        for (int way = 0; way < 2; way++) {
            uint32_t winner = way == 0 ? ahead : 0, loser = way == 0 ? 0 : ahead;
            double expected = 1.0 / (1.0 + pow(10.0, ((double)loser - winner) / 400.0));
            double wanted = 32.0 * (1.0 - expected);
            ck_assert_msg(fabs(elo_points(winner, loser) - wanted) <= 0.5 + 1e-4, "%u beats %u: %u points, not %.4f",
                          (unsigned)winner, (unsigned)loser, (unsigned)elo_points(winner, loser), wanted);
        }
    }
}

/* ---- Lists that consoles follow ------------------------------------------ */

#define WATCHERS 5
#define ENTRIES 600 /* ever */
#define AT_ONCE 24

/* A list and what its watchers know. An entry is a presence whose `persona` is
 * its number and whose `player` is its version, both only this test's. */
struct lists {
    struct nascar *state;
    struct feed feed;
    uint32_t live[AT_ONCE], live_count; /* occupants */
    uint32_t version[ENTRIES];          /* the truth: 0 is gone */
    uint32_t entries;
    struct watcher {
        struct subscription sub;
        uint32_t knows[ENTRIES];
    } watcher[WATCHERS];
};

static void lists_open(struct lists *l)
{
    static const struct nascar_limits limits = {1, 1, 8, 1, 1, 64, 0};
    size_t size = nascar_arena_size(&limits);
    void *arena = calloc(1, size);
    memset(l, 0, sizeof *l);
    l->state = nascar_init(arena, size, &limits);
    ck_assert_ptr_eq(l->state, arena);
}

static struct occupant *entry_at(const struct lists *l, uint32_t presence)
{
    return occupant_at(l->state, presence);
}

static void add_entry(struct lists *l)
{
    if (pool_full(&l->state->occupants))
        return; /* of tombstones */
    uint32_t number = l->entries++;
    ck_assert_uint_lt(number, ENTRIES);
    uint32_t i = occupant_take(l->state, 1, number);
    entry_at(l, i)->player = l->version[number] = 1;
    l->live[l->live_count++] = i;
    feed_touch(l->state, &l->feed, occupant_node(l->state, i));
}

static void change_entry(struct lists *l, uint32_t which)
{
    struct occupant *entry = entry_at(l, l->live[which]);
    entry->player = ++l->version[entry->persona];
    feed_touch(l->state, &l->feed, occupant_node(l->state, l->live[which]));
}

static void remove_entry(struct lists *l, uint32_t which)
{
    uint32_t i = l->live[which];
    l->live[which] = l->live[--l->live_count];
    l->version[entry_at(l, i)->persona] = 0;
    entry_at(l, i)->player = 0;
    feed_bury(l->state, &l->feed, occupant_node(l->state, i));
}

/* Tells a watcher up to `most` changes; nothing twice. Returns how many. */
static uint32_t tell(struct lists *l, struct watcher *to, uint32_t most)
{
    static uint8_t told[ENTRIES];
    uint32_t count = 0, i;
    memset(told, 0, l->entries);
    while (count < most && (i = feed_next(l->state, &l->feed, &to->sub)) != NONE) {
        const struct occupant *entry = entry_at(l, i - 2 * l->state->rooms.capacity);
        EXPECT(!told[entry->persona], "entry %lu is told twice", (unsigned long)entry->persona);
        told[entry->persona] = 1;
        to->knows[entry->persona] = entry->player;
        feed_advance(l->state, &l->feed, &to->sub, i);
        count++;
    }
    return count;
}

static void expect_truth(const struct lists *l, const struct watcher *who)
{
    for (uint32_t i = 0; i < l->entries; i++) {
        EXPECT(who->knows[i] == l->version[i], "watcher %ld: entry %lu is %lu, known as %lu", (long)(who - l->watcher),
               (unsigned long)i, (unsigned long)l->version[i], (unsigned long)who->knows[i]);
    }
}

static uint32_t watchers_on(const struct lists *l)
{
    uint32_t count = 0;
    for (size_t i = 0; i < WATCHERS; i++)
        count += l->watcher[i].sub.on;
    return count;
}

static void random_act(struct lists *l, uint64_t *seed)
{
    struct watcher *who = &l->watcher[below(seed, WATCHERS)];
    switch (below(seed, 12)) {
    case 0:
    case 1:
        if (l->live_count < AT_ONCE)
            add_entry(l);
        break;
    case 2:
    case 3:
        if (l->live_count > 0)
            remove_entry(l, below(seed, l->live_count));
        break;
    case 4:
    case 5:
    case 6:
        if (l->live_count > 0)
            change_entry(l, below(seed, l->live_count));
        break;
    case 7: /* a console that subscribes again starts with an empty list */
        memset(who->knows, 0, sizeof who->knows);
        subscribe(l->state, &l->feed, &who->sub);
        break;
    case 8:
        if (below(seed, 3) == 0)
            unsubscribe(l->state, &l->feed, &who->sub);
        break;
    case 9:
        (void)tell(l, who, UINT32_MAX);
        if (who->sub.on)
            expect_truth(l, who);
        break;
    default: /* its outbox takes no more */ (void)tell(l, who, 1 + below(seed, 3)); break;
    }
}

TEST_LOOP(hashes_and_lists, who_follows_a_list_ends_with_the_truth, 0, 12)
{
    static struct lists l;
    uint64_t seed = (uint64_t)_i + 1;
    lists_open(&l);
    for (int round = 0; round < 45; round++) {
        for (int act = 0; act < 40; act++) {
            random_act(&l, &seed);
            const char *broken = check_feed(l.state, &l.feed, watchers_on(&l));
            EXPECT(broken == NULL, "seed %d: %s", _i + 1, broken);
        }
        if (round % 3 != 0)
            continue;
        for (size_t i = 0; i < WATCHERS; i++) {
            if (l.watcher[i].sub.on) {
                (void)tell(&l, &l.watcher[i], UINT32_MAX);
                expect_truth(&l, &l.watcher[i]);
                EXPECT(feed_next(l.state, &l.feed, &l.watcher[i].sub) == NONE, "seed %d: never at the end", _i + 1);
            }
        }
        /* Everybody has passed them: no tombstone is kept. */
        ck_assert_uint_eq(l.state->occupants.live, l.live_count);
    }
    free(l.state);
}

TEST(hashes_and_lists, tombstones_of_one_who_goes_are_freed)
{
    static struct lists l;
    lists_open(&l);
    subscribe(l.state, &l.feed, &l.watcher[0].sub);
    subscribe(l.state, &l.feed, &l.watcher[1].sub);
    for (int i = 0; i < 8; i++)
        add_entry(&l);
    (void)tell(&l, &l.watcher[0], UINT32_MAX);
    while (l.live_count > 2)
        remove_entry(&l, 0);
    ck_assert_uint_eq(l.state->occupants.live, 8);
    (void)tell(&l, &l.watcher[0], 3);
    unsubscribe(l.state, &l.feed, &l.watcher[1].sub); /* has been told nothing */
    ck_assert_uint_eq(l.state->occupants.live, 5);    /* the other has still to be told of three */
    unsubscribe(l.state, &l.feed, &l.watcher[0].sub);
    ck_assert_uint_eq(l.state->occupants.live, 2);
    remove_entry(&l, 0); /* nobody to tell: freed at once */
    ck_assert_uint_eq(l.state->occupants.live, 1);
    free(l.state);
}

TEST(hashes_and_lists, a_newcomer_is_not_told_of_those_who_left_before)
{
    static struct lists l;
    lists_open(&l);
    subscribe(l.state, &l.feed, &l.watcher[0].sub);
    for (int i = 0; i < 6; i++)
        add_entry(&l);
    (void)tell(&l, &l.watcher[0], UINT32_MAX);
    for (int i = 0; i < 3; i++)
        remove_entry(&l, 0);
    subscribe(l.state, &l.feed, &l.watcher[1].sub);
    ck_assert_uint_eq(tell(&l, &l.watcher[1], UINT32_MAX), 3);
    expect_truth(&l, &l.watcher[1]);
    ck_assert_uint_eq(tell(&l, &l.watcher[0], UINT32_MAX), 3);
    expect_truth(&l, &l.watcher[0]);
    ck_assert_uint_eq(l.state->occupants.live, 3);
    free(l.state);
}
