/* The rules that a value must meet, one by one: at which address a player is
 * shown to be (PROTOCOL 8), what is a name, a room's name, a password, a token,
 * and each line of the configuration.
 *
 * SPDX-License-Identifier: MIT */
#define NASCAR_NO_SHELL
#include "../nascar_server.c"

#include "suite.h"
#include "console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t *bytes_of(const char *text)
{
    return (const uint8_t *)text;
}

static uint32_t size_of(const char *text)
{
    return (uint32_t)strlen(text);
}

/* ---- Addresses of players (PROTOCOL 8) ---------------------------------- */

GROUP(rules, NULL, NULL, 0);

#define HOME_A 0xC6336401u /* 198.51.100.1 */
#define HOME_B 0xCB007107u /* 203.0.113.7 */
#define SERVER 0xC0A80105u /* 192.168.1.5: the server in its own network */
#define PUBLIC 0x08080404u /* 8.8.4.4: what is configured */
#define LAN_A 0xC0A80114u  /* 192.168.1.20 */
#define LAN_B 0xC0A80115u
#define EMULATOR 0xC0000264u /* 192.0.2.100 */
#define LOCALHOST 0x7F000001u

static const struct {
    const char *what;
    struct endpoint viewer, player;
    uint32_t public_address, seen;
} views[] = {
    {"two homes: the source address", {HOME_A, 0, SERVER}, {HOME_B, 0, SERVER}, 0, HOME_B},
    {"two homes: not what `addr` says", {HOME_A, LAN_A, SERVER}, {HOME_B, LAN_B, SERVER}, 0, HOME_B},
    {"two homes: nor an emulator's", {HOME_A, 0, SERVER}, {HOME_B, EMULATOR, SERVER}, 0, HOME_B},
    {"two homes: nor the server's public one", {HOME_A, 0, SERVER}, {HOME_B, 0, SERVER}, PUBLIC, HOME_B},
    {"one home: the private address", {HOME_A, LAN_A, SERVER}, {HOME_A, LAN_B, SERVER}, 0, LAN_B},
    {"one home, public address set", {HOME_A, LAN_A, SERVER}, {HOME_A, LAN_B, SERVER}, PUBLIC, LAN_B},
    {"one home: 10/8", {HOME_A, 0, SERVER}, {HOME_A, 0x0A010203u, SERVER}, 0, 0x0A010203u},
    {"one home: 172.16/12", {HOME_A, 0, SERVER}, {HOME_A, 0xAC1FFFFFu, SERVER}, 0, 0xAC1FFFFFu},
    {"one home: 172.32 is public", {HOME_A, 0, SERVER}, {HOME_A, 0xAC200001u, SERVER}, 0, HOME_A},
    {"one home: 11/8 is public", {HOME_A, 0, SERVER}, {HOME_A, 0x0B000001u, SERVER}, 0, HOME_A},
    {"one home: 192.169 is public", {HOME_A, 0, SERVER}, {HOME_A, 0xC0A90001u, SERVER}, 0, HOME_A},
    {"one home: an emulator's 192.0.2.100", {HOME_A, 0, SERVER}, {HOME_A, EMULATOR, SERVER}, 0, HOME_A},
    {"one home: no `addr`", {HOME_A, LAN_A, SERVER}, {HOME_A, 0, SERVER}, 0, HOME_A},
    {"one home: loopback in `addr`", {HOME_A, 0, SERVER}, {HOME_A, LOCALHOST, SERVER}, 0, HOME_A},
    {"the server's network, seen from it", {LAN_A, LAN_A, SERVER}, {LAN_B, LAN_B, SERVER}, PUBLIC, LAN_B},
    {"the server's network, from outside", {HOME_A, 0, PUBLIC}, {LAN_B, LAN_B, SERVER}, PUBLIC, PUBLIC},
    {"the same without a public address", {HOME_A, 0, SERVER}, {LAN_B, LAN_B, SERVER}, 0, LAN_B},
    {"an outsider, seen from the server's network", {LAN_A, 0, SERVER}, {HOME_B, LAN_B, SERVER}, PUBLIC, HOME_B},
    {"loopback, from outside", {HOME_A, 0, PUBLIC}, {LOCALHOST, 0, LOCALHOST}, PUBLIC, PUBLIC},
    {"loopback, from the server's network", {LAN_A, 0, SERVER}, {LOCALHOST, 0, LOCALHOST}, PUBLIC, SERVER},
    {"loopback, from itself", {LOCALHOST, 0, LOCALHOST}, {LOCALHOST, EMULATOR, LOCALHOST}, PUBLIC, LOCALHOST},
    {"one machine of the server's network", {LAN_A, 0, SERVER}, {LAN_A, 0x0A000001u, SERVER}, PUBLIC, LAN_A},
    {"behind a second router", {LAN_A, 0x0A000001u, SERVER}, {LAN_A, 0x0A000002u, SERVER}, 0, 0x0A000002u},
    {"the same, public address set", {LAN_A, 0x0A000001u, SERVER}, {LAN_A, 0x0A000002u, SERVER}, PUBLIC, 0x0A000002u},
    {"the same, one `addr` twice", {LAN_A, 0x0A000002u, SERVER}, {LAN_A, 0x0A000002u, SERVER}, 0, LAN_A},
    {"the same, the viewer an emulator", {LAN_A, EMULATOR, SERVER}, {LAN_A, 0x0A000002u, SERVER}, 0, LAN_A},
    {"the same, the player an emulator", {LAN_A, 0x0A000001u, SERVER}, {LAN_A, EMULATOR, SERVER}, 0, LAN_A},
    {"two on loopback", {LOCALHOST, 0x0A000001u, LOCALHOST}, {LOCALHOST, 0x0A000002u, LOCALHOST}, 0, LOCALHOST},
};

TEST_LOOP(rules, a_player_is_shown_where_it_can_be_reached, 0, COUNT(views))
{
    uint32_t seen = visible_address(views[_i].viewer, views[_i].player, views[_i].public_address);
    ck_assert_msg(seen == views[_i].seen, "%s: %08lx", views[_i].what, (unsigned long)seen);
}

TEST(rules, a_neighbour_comes_from_the_private_24_bits_that_it_has_reached)
{
    static const struct {
        uint32_t source, reached;
        bool neighbour;
    } cases[] = {
        {LAN_A, SERVER, true},        {0xC0A80101u, SERVER, true},
        {0xC0A801FFu, SERVER, true},  {0xC0A80201u, SERVER, false}, /* private, but not next door */
        {0xC0A80014u, SERVER, false}, {0x0A000001u, 0x0A0000FEu, true},
        {LOCALHOST, LOCALHOST, true}, {0x7F000101u, LOCALHOST, false},
        {LAN_A, PUBLIC, false},       {0xCB007107u, 0xCB00710Au, false}, /* the same 24 bits, but public */
        {HOME_A, SERVER, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        ck_assert_msg(is_neighbour((struct endpoint){cases[i].source, LAN_B, cases[i].reached}) == cases[i].neighbour,
                      "case %zu", i);
}

/* ---- Names -------------------------------------------------------------- */

TEST(rules, a_name_is_letters_digits_and_six_signs)
{
    for (int byte = 1; byte < 256; byte++) {
        char name[] = "a_b";
        name[1] = (char)(unsigned char)byte;
        bool good = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                    byte == '_' || byte == '-' || byte == '{' || byte == '}' || byte == '[' || byte == ']';
        ck_assert_msg(valid_name(name, 12) == good, "byte %d", byte);
    }
    ck_assert(!valid_name("", 12));
    ck_assert(!valid_name("a", 12));
    ck_assert(valid_name("ab", 12));
    ck_assert(valid_name("abcdefghijkl", 12));
    ck_assert(!valid_name("abcdefghijklm", 12));
    ck_assert(valid_name("abcdefghijklmnop", 16));
    ck_assert(!valid_name("abcdefghijklmnopq", 16));
    ck_assert(valid_name("{is}", 12)); /* [cap] */
}

TEST(rules, names_are_the_same_whatever_their_case)
{
    ck_assert(same_name("Bob", "bOB"));
    ck_assert(same_name("", ""));
    ck_assert(!same_name("Bob", "Bobby"));
    ck_assert(!same_name("Bobby", "Bob"));
    ck_assert(!same_name("a[", "a{")); /* only letters have a case */
    ck_assert(!same_name("a]", "a}"));
    ck_assert(!same_name("a_", "a\x7f"));
    ck_assert(!same_name("a@", "a`"));
}

TEST(rules, a_room_name_is_printable_and_short_enough)
{
    ck_assert(valid_room_name("C.Test"));
    ck_assert(valid_room_name("East Coast"));
    ck_assert(valid_room_name("x"));
    ck_assert(valid_room_name("1234567890123456789012345678901"));
    ck_assert(!valid_room_name("12345678901234567890123456789012"));
    ck_assert(!valid_room_name(""));
    ck_assert(!valid_room_name(" East"));
    ck_assert(!valid_room_name("East "));
    ck_assert(!valid_room_name("Ea\nst"));
    ck_assert(!valid_room_name("Ea\x7fst"));
    ck_assert(!valid_room_name("Ea\xe9st"));
}

TEST(rules, a_password_has_4_to_16_characters)
{
    ck_assert(!valid_password(""));
    ck_assert(!valid_password("abc"));
    ck_assert(valid_password("abcd"));
    ck_assert(valid_password("    "));
    ck_assert(valid_password("1234567890123456"));
    ck_assert(!valid_password("12345678901234567"));
    ck_assert(valid_password("pass=%\"'"));
    ck_assert(!valid_password("pass\n"));
    ck_assert(!valid_password("pass\x80"));
}

TEST(rules, a_token_has_1_to_127_visible_characters)
{
    char text[130];
    memset(text, 'a', sizeof text);
    text[127] = '\0';
    ck_assert(valid_token(text, 127));
    ck_assert(!valid_token(text, 128)); /* longer before it was cut */
    text[127] = 'a';
    text[128] = '\0';
    ck_assert(!valid_token(text, 128));
    ck_assert(!valid_token("", 0));
    ck_assert(valid_token("w893m_a017l_g", 13));
    for (int byte = 1; byte < 256; byte++) {
        char token[] = "a_b";
        token[1] = (char)(unsigned char)byte;
        ck_assert_msg(valid_token(token, 3) == (byte >= 0x21 && byte <= 0x7e), "byte %d", byte);
    }
}

/* ---- Configuration ------------------------------------------------------ */

#define HOST_EXPECTED "expected an IPv4 address, as 192.0.2.1, or the name of a host"
#define LABEL_61 "a23456789012345678901234567890123456789012345678901234567890a"
#define LABEL_63 LABEL_61 "bc"
#define NETWORK_EXPECTED "expected NETWORK/BITS, as 192.168.1.0/24, with 0 to 32 bits"

static const struct {
    const char *key, *value, *why; /* why: NULL if the value is good */
} configured[] = {
    {"public-address", "192.0.2.1", NULL},
    {"public-address", "server.example", NULL},
    {"public-address", "localhost", NULL},
    {"public-address", "My-Home.dyn-1.2ab.example.a1", NULL},
    {"public-address", LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_61, NULL},
    {"public-address", LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_61 "b", HOST_EXPECTED},
    {"public-address", LABEL_63 "b.example", HOST_EXPECTED},
    {"public-address", "example." LABEL_63 "b", HOST_EXPECTED},
    {"public-address", "192.0.2", HOST_EXPECTED},
    {"public-address", "192.0.2.999", HOST_EXPECTED},
    {"public-address", "192.0.2.1.", HOST_EXPECTED},
    {"public-address", "0xC0000201", HOST_EXPECTED},
    {"public-address", "192.0.2.1 192.0.2.2", HOST_EXPECTED},
    {"public-address", "server.example.", HOST_EXPECTED},
    {"public-address", ".example", HOST_EXPECTED},
    {"public-address", "server..example", HOST_EXPECTED},
    {"public-address", ".", HOST_EXPECTED},
    {"public-address", "-server.example", HOST_EXPECTED},
    {"public-address", "server-.example", HOST_EXPECTED},
    {"public-address", "server.example-", HOST_EXPECTED},
    {"public-address", "my_server.example", HOST_EXPECTED},
    {"public-address", "server.example:11000", HOST_EXPECTED},
    {"public-address", "server example", HOST_EXPECTED},
    {"public-address", "serv\xC3\xA9r.example", HOST_EXPECTED},
    {"public-address", "2001:db8::1", HOST_EXPECTED},
    {"public-address", "", HOST_EXPECTED},
    {"lan", "auto", NULL},
    {"lan", "off", NULL},
    {"lan", "on", "expected one of: off auto"},
    {"directory-port", "65535", NULL},
    {"directory-port", "65536", "expected a number from 0 to 65535"},
    {"dns-on", "yes", NULL},
    {"dns-on", "maybe", "expected one of: no yes"},
    {"lobby-port", "0", NULL},
    {"lobby-port", "65535", NULL},
    {"lobby-port", "65536", "expected a number from 0 to 65535"},
    {"lobby-port", "-1", "expected a number from 0 to 65535"},
    {"lobby-port", "11000x", "expected a number from 0 to 65535"},
    {"lobby-port", "", "expected a number from 0 to 65535"},
    {"lobby-port", "4294978296", "expected a number from 0 to 65535"},
    {"buddy-port", "10899", NULL},
    {"buddy-port", "x", "expected a number from 0 to 65535"},
    {"accounts", "open", NULL},
    {"accounts", "register", NULL},
    {"accounts", "closed", NULL},
    {"accounts", "close", "expected one of: open register closed"},
    {"accounts", "open register", "expected one of: open register closed"},
    {"accounts", "", "expected one of: open register closed"},
    {"accounts", "Open", "expected one of: open register closed"},
    {"skey", "on", NULL},
    {"skey", "off", NULL},
    {"skey", "yes", "expected one of: off on"},
    {"directory-direct", "yes", NULL},
    {"directory-direct", "no", NULL},
    {"directory-direct", "on", "expected one of: no yes"},
    {"ping-s", "1", NULL},
    {"ping-s", "3600", NULL},
    {"ping-s", "0", "expected seconds from 1 to 3600"},
    {"ping-s", "3601", "expected seconds from 1 to 3600"},
    {"ping-s", "30s", "expected seconds from 1 to 3600"},
    {"idle-s", "86400", NULL},
    {"idle-s", "86401", "expected seconds from 1 to 86400"},
    {"login-s", "900", NULL},
    {"login-s", "0", "expected seconds from 1 to 86400"},
    {"challenge-s", "60", NULL},
    {"challenge-s", "3601", "expected seconds from 1 to 3600"},
    {"race-start-s", "10", NULL},
    {"race-start-s", "", "expected seconds from 1 to 3600"},
    {"first-frame-s", "10", NULL},
    {"first-frame-s", "ten", "expected seconds from 1 to 3600"},
    {"linger-s", "5", NULL},
    {"linger-s", "0", "expected seconds from 1 to 3600"},
    {"buddy-login-s", "30", NULL},
    {"buddy-login-s", "99999", "expected seconds from 1 to 3600"},
    {"segment-bytes", "0", NULL},
    {"segment-bytes", "65535", NULL},
    {"segment-bytes", "65536", "expected a number from 0 to 65535"},
    {"segment-bytes", "1400 bytes", "expected a number from 0 to 65535"},
    {"rate", "0", NULL},
    {"rate", "1000000", NULL},
    {"rate", "1000001", "expected a number from 0 to 1000000"},
    {"per-address", "1", NULL},
    {"per-address", "0", "expected a number from 1 to 1000000"},
    {"logins-per-address", "300", NULL},
    {"logins-per-address", "0", "expected a number from 1 to 1000000"},
    {"accounts-per-address", "50", NULL},
    {"accounts-per-address", "many", "expected a number from 1 to 1000000"},
    {"trusted", "192.168.1.0/24", NULL},
    {"trusted", "0.0.0.0/0", NULL},
    {"trusted", "192.0.2.7/32", NULL},
    {"trusted", "192.0.2.6/31", NULL},
    {"trusted", "128.0.0.0/1", NULL},
    {"trusted", "192.168.1.0/33", NETWORK_EXPECTED},
    {"trusted", "192.168.1.0/-1", NETWORK_EXPECTED},
    {"trusted", "192.168.1.0/", NETWORK_EXPECTED},
    {"trusted", "192.168.1.0/24x", NETWORK_EXPECTED},
    {"trusted", "192.168.1.0/24/24", NETWORK_EXPECTED},
    {"trusted", "192.168.1.0/255.255.255.0", NETWORK_EXPECTED},
    {"trusted", "192.168.1.0/ 24", NETWORK_EXPECTED},
    {"trusted", "192.168.1.0 /24", NETWORK_EXPECTED},
    {"trusted", "192.168.1.0", NETWORK_EXPECTED},
    {"trusted", "192.168.1/24", NETWORK_EXPECTED},
    {"trusted", "192.168.256.0/24", NETWORK_EXPECTED},
    {"trusted", "192.168.1.0/24,10.0.0.0/8", NETWORK_EXPECTED},
    {"trusted", "/24", NETWORK_EXPECTED},
    {"trusted", "", NETWORK_EXPECTED},
    {"trusted", "yes", NETWORK_EXPECTED},
    {"trusted", "fe80::/10", NETWORK_EXPECTED},
    {"trusted", "192.168.1.7/24", "expected a network whose address is 0 behind its bits, as 192.168.1.0/24"},
    {"trusted", "192.0.2.7/31", "expected a network whose address is 0 behind its bits, as 192.168.1.0/24"},
    {"trusted", "0.0.0.1/0", "expected a network whose address is 0 behind its bits, as 192.168.1.0/24"},
    {"proxy-from", "10.0.0.1/32", NULL},
    {"proxy-from", "10.0.0.1/8", "expected a network whose address is 0 behind its bits, as 192.168.1.0/24"},
    {"proxy-from", "10.0.0.1", NETWORK_EXPECTED},
    {"dns-name", "gate1.us.dnas.playstation.org=192.0.2.1", NULL},
    {"dns-name", "one", NULL},
    {"dns-name",
     "two=", "expected the name of a host, or with an IPv4 address that is its own, as example.org=192.0.2.1"},
    {"room", "East", NULL},
    {"room", "East: East Coast Racers", NULL},
    {"room", "\"East: East Coast Racers: 50\"", NULL},
    {"room", "East: East Coast Racers: 1",
     "expected \"Name: Description: Limit\", a name and description of up to 31 characters, a limit of 2 to 65536"},
    {"room", "East: East Coast Racers: many",
     "expected \"Name: Description: Limit\", a name and description of up to 31 characters, a limit of 2 to 65536"},
    {"room", "12345678901234567890123456789012",
     "expected \"Name: Description: Limit\", a name and description of up to 31 characters, a limit of 2 to 65536"},
    {"room", "East: 12345678901234567890123456789012",
     "expected \"Name: Description: Limit\", a name and description of up to 31 characters, a limit of 2 to 65536"},
    {"room", "",
     "expected \"Name: Description: Limit\", a name and description of up to 31 characters, a limit of 2 to 65536"},
    {"room", "lobby: a second hub: 50", "expected at most 32 rooms, and none called Lobby"},
    {"news-line", "Welcome", NULL},
    {"news-line", "", NULL},
    {"down", "Back at noon", NULL},
    {"down", "", NULL},
    {"down",
     "Zur\xC3\xBC"
     "ck um acht",
     "expected ASCII characters only"},
    {"news-line", "caf\xE9", "expected ASCII characters only"},
    {"welcome", "Say /help", NULL},
    {"welcome", "caf\xE9", "expected ASCII characters only"},
    {"chat-commands", "off", NULL},
    {"chat-commands", "no", "expected one of: off on"},
    {"announce-results", "on", NULL},
    {"announce-results", "", "expected one of: off on"},
    {"room", "Oval: M\xC3\xBCnchen: 8", "expected ASCII characters only"},
    {"rooms", "East", "unknown key"},
    {"hash-cost", "10", "unknown key"}, /* the shell's */
    {"record", "file", "unknown key"},
    {"Accounts", "open", "unknown key"},
    {"", "x", "unknown key"},
};

TEST_LOOP(rules, a_configured_value_is_good_or_the_reason_says_why, 0, COUNT(configured))
{
    char why[160];
    memset(why, '#', sizeof why);
    bool good = nascar_config_check(configured[_i].key, configured[_i].value, why, sizeof why);
    ck_assert_msg(good == (configured[_i].why == NULL), "%s = %s: %s", configured[_i].key, configured[_i].value,
                  good ? "good" : why);
    ck_assert_str_eq(why, good ? "" : configured[_i].why);
}

TEST(rules, there_are_so_many_trusted_networks_and_no_more)
{
    static struct config config;
    char text[64 * 40] = "per-address = 3\ntrusted = nonsense\n";
    config_read(&config, bytes_of(text), size_of(text));
    ck_assert_uint_eq(config.trusted.count, 0);
    for (uint32_t i = 0; i < 40; i++)
        (void)snprintf(text + strlen(text), 64, "trusted = 10.0.%u.0/24\n", (unsigned)i);
    config_read(&config, bytes_of(text), size_of(text));
    ck_assert_uint_eq(config.trusted.count, CONFIG_NETWORKS);
    ck_assert(in_networks(&config.trusted, 0x0A0000FFu));
    ck_assert(in_networks(&config.trusted, 0x0A001F00u));
    ck_assert(!in_networks(&config.trusted, 0x0A002000u));
    ck_assert_str_eq(add_network(&config.trusted, "192.0.2.0/24"), "at most 32 networks");
    config.dns_name_count = CONFIG_DNS_NAMES;
    ck_assert_str_eq(add_dns_name(&config, "one.more"), "at most 16 names");
    config_read(&config, bytes_of(""), 0);
    ck_assert_uint_eq(config.trusted.count, 0);
    ck_assert_uint_eq(config.per_address, 256);
    ck_assert(!in_networks(&config.trusted, 0));
}

TEST(rules, the_reason_is_cut_to_its_place)
{
    char why[8];
    ck_assert(!nascar_config_check("lobby-port", "x", why, sizeof why));
    ck_assert_str_eq(why, "expecte");
    memset(why, '#', sizeof why);
    ck_assert(!nascar_config_check("lobby-port", "x", why, 0));
    ck_assert_int_eq(why[0], '#');
}

TEST(rules, every_key_of_the_core_is_checked_here)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        bool seen = settings[i].of_shell;
        for (size_t k = 0; k < sizeof configured / sizeof configured[0]; k++)
            seen = seen || strcmp(configured[k].key, settings[i].key) == 0;
        ck_assert_msg(seen, "%s", settings[i].key);
    }
}

TEST(rules, long_texts_of_the_configuration_are_refused)
{
    char text[DOWN_CHARS + 2], why[100];
    memset(text, 'x', sizeof text);
    text[DOWN_CHARS] = '\0';
    ck_assert(nascar_config_check("down", text, why, sizeof why));
    ck_assert(nascar_config_check("welcome", text, why, sizeof why));
    text[DOWN_CHARS] = 'x';
    text[DOWN_CHARS + 1] = '\0';
    ck_assert(!nascar_config_check("down", text, why, sizeof why));
    ck_assert_str_eq(why, "expected at most 255 characters");
    ck_assert(!nascar_config_check("welcome", text, why, sizeof why));
    /* Its end of line counts too: PROTOCOL 1 keeps the reply under 256 bytes. */
    text[NEWS_CHARS] = '\0';
    ck_assert(!nascar_config_check("news-line", text, why, sizeof why));
    text[NEWS_CHARS - 1] = '\0';
    ck_assert(nascar_config_check("news-line", text, why, sizeof why));
}

/* What config_read() leaves out, the check refuses: also what is long by its spaces. */
TEST(rules, a_value_too_long_to_be_read_is_refused)
{
    char text[VALUE_CHARS + 2], why[100] = "";
    memset(text, ' ', sizeof text);
    memcpy(text, "East", 4);
    text[VALUE_CHARS] = '\0';
    ck_assert(nascar_config_check("room", text, why, sizeof why));
    ck_assert_str_eq(why, "");
    text[VALUE_CHARS] = ' ';
    text[VALUE_CHARS + 1] = '\0';
    ck_assert(!nascar_config_check("room", text, why, sizeof why));
    ck_assert_str_eq(why, "expected at most 511 characters");
}

TEST(rules, a_line_that_passes_its_check_is_in_the_configuration)
{
    static struct config config;
    char text[16 + NEWS_CHARS], why[100];
    for (uint32_t n = 1; n < NEWS_CHARS; n += 83) {
        memcpy(text, "news-line = ", 12);
        memset(text + 12, 'x', n);
        text[12 + n] = '\0';
        if (!nascar_config_check("news-line", text + 12, why, sizeof why))
            continue;
        config_read(&config, bytes_of(text), size_of(text));
        ck_assert_msg(strlen(config.news) == n + 1, "a line of %lu characters is left out", (unsigned long)n);
    }
}

TEST(rules, a_configuration_is_read_line_by_line)
{
    static struct config config;
    const char *text = "# a remark\n"
                       "public-address = 192.0.2.1\n"
                       "\taccounts=closed \n"
                       "ping-s   =   7\n"
                       "idle-s = zero\n"
                       "unknown = 1\n"
                       "max-clients = 1\n"
                       "nothing\n"
                       "room = Oval: Fast: 8\n"
                       "room = \"Road: Slow\"\n"
                       "room = OVAL: again: 9\n"
                       "news-line = first = best\n"
                       "news-line = second\n"
                       "down = Back at noon";
    config_read(&config, bytes_of(text), size_of(text));
    ck_assert_uint_eq(config.public_address, 0xC0000201u);
    ck_assert_uint_eq(config.accounts, ACCOUNTS_CLOSED);
    ck_assert_uint_eq(config.ping_ms, 7000);
    ck_assert_uint_eq(config.idle_ms, 60000);
    ck_assert_uint_eq(config.room_count, 2);
    ck_assert_str_eq(config.room[0].name, "Oval");
    ck_assert_str_eq(config.room[0].description, "Fast");
    ck_assert_uint_eq(config.room[0].limit, 8);
    ck_assert_str_eq(config.room[1].name, "Road");
    ck_assert_uint_eq(config.room[1].limit, 50);
    ck_assert_str_eq(config.news, "first = best\nsecond\n");
    ck_assert_str_eq(config.down, "Back at noon");
}

TEST(rules, without_a_configuration_the_defaults_hold)
{
    static struct config config;
    config_read(&config, NULL, 0);
    ck_assert_uint_eq(config.public_address, 0);
    ck_assert_uint_eq(config.lobby_port, 11000); /* PROTOCOL 3 */
    ck_assert_uint_eq(config.buddy_port, 10899);
    ck_assert_uint_eq(config.accounts, ACCOUNTS_OPEN);
    ck_assert_uint_eq(config.skey, 1);
    ck_assert_uint_eq(config.directory_direct, 0);
    ck_assert_uint_eq(config.ping_ms, 30000); /* PROTOCOL 7 */
    ck_assert_uint_eq(config.idle_ms, 60000);
    ck_assert_uint_eq(config.login_ms, 900000);
    ck_assert_uint_eq(config.challenge_ms, 60000);
    ck_assert_uint_eq(config.race_start_ms, 10000); /* PROTOCOL 5 */
    ck_assert_uint_eq(config.first_frame_ms, 10000);
    ck_assert_uint_eq(config.linger_ms, 5000);
    ck_assert_uint_eq(config.buddy_login_ms, 30000);
    ck_assert_uint_eq(config.room_count, 3); /* PROTOCOL 3.3 */
    ck_assert_str_eq(config.room[0].name, "East");
    ck_assert_str_eq(config.room[0].description, "East Coast Racers");
    ck_assert_str_eq(config.room[1].name, "West");
    ck_assert_str_eq(config.room[2].name, "Beginner");
    ck_assert_uint_eq(config.room[2].limit, 50);
    ck_assert_str_eq(config.down, "");
}

TEST(rules, there_are_at_most_32_configured_rooms)
{
    static struct config config;
    char text[64 * 20] = "";
    for (int i = 0; i < 40; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "room = Room%d\n", i);
    config_read(&config, bytes_of(text), size_of(text));
    ck_assert_uint_eq(config.room_count, CONFIG_ROOMS);
    ck_assert_str_eq(config.room[31].name, "Room31");
}
