/* The console model; console.h says what it is for. Written from PROTOCOL.md's
 * [con], [cap] and [sib] facts alone. Section numbers are PROTOCOL.md's.
 *
 * SPDX-License-Identifier: MIT */
#include "console.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Small things ------------------------------------------------------- */

/* Makes place for one more element. */
static void *grow(void *at, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return at;
    *room = *room == 0 ? 8 : *room * 2;
    void *more = realloc(at, *room * size);
    if (more == NULL)
        abort();
    return more;
}

/* A fresh, zeroed element at the end of a CONSOLE_LIST. */
#define LIST_ADD(list) \
    ((list).at = grow((list).at, (list).count, &(list).room, sizeof *(list).at), \
     memset(&(list).at[(list).count], 0, sizeof *(list).at), &(list).at[(list).count++])

#define LIST_REMOVE(list, index) \
    (memmove(&(list).at[index], &(list).at[(index) + 1], ((list).count - (index)-1) * sizeof *(list).at), \
     (list).count--)

static unsigned char lower(char letter)
{
    unsigned char byte = (unsigned char)letter;
    return byte >= 'A' && byte <= 'Z' ? (unsigned char)(byte + 32) : byte;
}

static bool same_name(const char *a, const char *b)
{
    while (*a != '\0' && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return lower(*a) == lower(*b);
}

static void copy_text(char *out, size_t size, const char *text)
{
    size_t length = strlen(text);
    if (length >= size)
        length = size - 1;
    memcpy(out, text, length);
    out[length] = '\0';
}

static uint32_t big_endian(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put_big_endian(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static void put_little_endian(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)(value >> 16);
    at[3] = (uint8_t)(value >> 24);
}

/* Two's complement, whatever the host does with a conversion out of range. */
static int32_t as_signed(uint32_t value)
{
    return value <= INT32_MAX ? (int32_t)value : (int32_t)(value - 0x80000000u) + INT32_MIN;
}

static uint32_t chance(struct console *c)
{
    c->chance = c->chance * 1664525u + 1013904223u;
    return c->chance >> 8;
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
mislead(struct console *c, const char *format, ...)
{
    if (c->misled[0] != '\0')
        return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(c->misled, sizeof c->misled, format, arguments);
    va_end(arguments);
}

/* ---- Reading tags (2) --------------------------------------------------- */

const char *console_find(const char *payload, const char *key)
{
    size_t key_size = strlen(key);
    for (const char *at = payload; *at != '\0'; at++) {
        if (*at != '=' && *at != ':')
            continue;
        size_t before = (size_t)(at - payload);
        if (before < key_size)
            continue;
        size_t left = key_size;
        while (left > 0 && lower(payload[before - key_size + left - 1]) == lower(key[left - 1]))
            left--;
        /* Quotes do not protect: only what stands before the key is looked at. */
        if (left == 0 && (before == key_size || (unsigned char)payload[before - key_size - 1] < 0x21))
            return at + 1;
    }
    return NULL;
}

static const char *skip_space(const char *value)
{
    return value != NULL && *value == ' ' ? value + 1 : value;
}

static int hex_digit(char letter)
{
    unsigned char byte = lower(letter);
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

size_t console_read_text(const char *value, char *out, size_t size)
{
    size_t length = 0;
    char quote = '\0';
    value = skip_space(value);
    if (value != NULL && (*value == '"' || *value == '\''))
        quote = *value++;
    while (value != NULL && *value != '\0') {
        char letter = *value;
        if (quote != '\0' ? letter == quote : (unsigned char)letter < 0x20)
            break;
        value++;
        if (letter == '%' && *value == '%') {
            value++;
        } else if (letter == '%' && hex_digit(value[0]) >= 0 && hex_digit(value[1]) >= 0) {
            letter = (char)(unsigned char)(hex_digit(value[0]) * 16 + hex_digit(value[1]));
            value += 2;
        }
        if (length + 1 < size)
            out[length] = letter;
        length++;
    }
    if (size > 0)
        out[length < size ? length : size - 1] = '\0';
    return length;
}

/* Digits with a sign, wrapping at 32 bits; moves `value` behind them. */
static uint32_t number_at(const char **value)
{
    uint32_t number = 0;
    bool minus = **value == '-';
    if (**value == '-' || **value == '+')
        (*value)++;
    while (**value >= '0' && **value <= '9') {
        number = number * 10u + (uint32_t)(**value - '0');
        (*value)++;
    }
    return minus ? 0u - number : number;
}

int32_t console_read_number(const char *value)
{
    value = skip_space(value);
    return value == NULL ? 0 : as_signed(number_at(&value));
}

/* The last octet grows in place and spills into the one before it, so that
 * 3232236155 reads as 0.0.15.123 (2). */
uint32_t console_read_address(const char *value)
{
    uint32_t address = 0;
    value = skip_space(value);
    for (; value != NULL && ((*value >= '0' && *value <= '9') || *value == '.'); value++) {
        if (*value == '.') {
            address <<= 8;
        } else {
            uint32_t octet = (address & 0xFFu) * 10u + (uint32_t)(*value - '0');
            address = (address & 0xFFFFFF00u) | octet;
        }
    }
    return address;
}

uint32_t console_flag_bit(char letter)
{
    if (letter >= '@' && letter <= 'Z')
        return 1u << (letter - '@');
    return letter >= '0' && letter <= '3' ? 1u << (27 + letter - '0') : 0u;
}

uint32_t console_read_flags(const char *value)
{
    uint32_t flags = 0;
    value = skip_space(value);
    for (; value != NULL && console_flag_bit(*value) != 0; value++)
        flags |= console_flag_bit(*value);
    return flags;
}

/* Days from 1970-01-01 to a civil date. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    static const int16_t before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t past = year - 1;
    int64_t leaps = past / 4 - past / 100 + past / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return (year - 1970) * 365 + leaps + before[month - 1] + (leap && month > 2 ? 1 : 0) + day - 1;
}

int64_t console_read_epoch(const char *value)
{
    value = skip_space(value);
    if (value == NULL)
        return 0;
    if (*value == '$') {
        int64_t epoch = 0;
        for (value++; hex_digit(*value) >= 0 && epoch < INT64_C(1) << 40; value++)
            epoch = epoch * 16 + hex_digit(*value);
        return epoch;
    }
    int64_t part[6] = {0, 1, 1, 0, 0, 0};
    size_t parts = 0;
    while (parts < 6 && *value >= '0' && *value <= '9') {
        part[parts++] = number_at(&value);
        if (*value != '-' && *value != '.' && *value != ' ' && *value != ':')
            break;
        value++;
    }
    if (parts <= 1)
        return parts == 0 ? 0 : part[0];
    if (part[0] < 1970 || part[0] > 2099 || part[1] < 1 || part[1] > 12 || part[2] < 1 || part[2] > 31 ||
        part[3] > 23 || part[4] > 59 || part[5] > 60)
        return 0;
    return ((days_of(part[0], part[1], part[2]) * 24 + part[3]) * 60 + part[4]) * 60 + part[5];
}

size_t console_read_binary(const char *value, uint8_t *out, size_t size)
{
    size_t length = 0;
    value = skip_space(value);
    if (value == NULL || *value != '$')
        return 0;
    for (value++; length < size && hex_digit(value[0]) >= 0 && hex_digit(value[1]) >= 0; value += 2)
        out[length++] = (uint8_t)(hex_digit(value[0]) * 16 + hex_digit(value[1]));
    return length;
}

size_t console_read_longs(const char *value, int32_t *out, size_t count)
{
    size_t found = 0;
    value = skip_space(value);
    while (value != NULL && hex_digit(*value) >= 0) {
        uint32_t number = 0;
        for (; hex_digit(*value) >= 0; value++)
            number = number * 16u + (uint32_t)hex_digit(*value);
        if (found < count)
            out[found] = as_signed(number);
        found++;
        if (*value != ',')
            break;
        value++;
    }
    return found;
}

/* ---- Writing tags (2) --------------------------------------------------- */

static void put_bytes(struct console_tags *tags, const char *bytes, size_t size)
{
    if (size >= sizeof tags->text - tags->size)
        abort(); /* a test asked for a request that no console could make */
    memcpy(tags->text + tags->size, bytes, size);
    tags->size += size;
    tags->text[tags->size] = '\0';
}

void console_put_raw(struct console_tags *tags, const char *key, const char *value)
{
    put_bytes(tags, key, strlen(key));
    put_bytes(tags, "=", 1);
    put_bytes(tags, value, strlen(value));
    put_bytes(tags, "\n", 1);
}

void console_put_number(struct console_tags *tags, const char *key, int64_t value)
{
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%lld", (long long)value);
    console_put_raw(tags, key, digits);
}

void console_put_text(struct console_tags *tags, const char *key, const char *value)
{
    static const char hex[] = "0123456789abcdef";
    bool quoted = strchr(value, ' ') != NULL;
    put_bytes(tags, key, strlen(key));
    put_bytes(tags, quoted ? "=\"" : "=", quoted ? 2 : 1);
    for (const char *at = value; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte < 0x20 || byte > 0x7E || strchr("=\":%", *at) != NULL || (*at == '\'' && at == value)) {
            char escape[3] = {'%', hex[byte >> 4], hex[byte & 15]};
            put_bytes(tags, escape, sizeof escape);
        } else {
            put_bytes(tags, at, 1);
        }
    }
    put_bytes(tags, quoted ? "\"\n" : "\n", quoted ? 2 : 1);
}

size_t console_frame(uint8_t *out, size_t size, const char *kind, uint32_t code, const void *payload,
                     size_t payload_bytes)
{
    if (size < CONSOLE_HEADER_BYTES || payload_bytes > size - CONSOLE_HEADER_BYTES)
        return 0;
    memcpy(out, kind, 4);
    put_big_endian(out + 4, code);
    put_big_endian(out + 8, (uint32_t)(CONSOLE_HEADER_BYTES + payload_bytes));
    if (payload_bytes > 0)
        memcpy(out + CONSOLE_HEADER_BYTES, payload, payload_bytes);
    return CONSOLE_HEADER_BYTES + payload_bytes;
}

/* ---- Passwords (4) ------------------------------------------------------ */

static uint32_t cipher_push(uint32_t reg, uint8_t byte)
{
    uint32_t entry = (reg ^ byte) & 0xFFu;
    for (int bit = 0; bit < 8; bit++)
        entry = (entry >> 1) ^ ((entry & 1u) != 0 ? 0xEDB88320u : 0u);
    return (reg >> 8) ^ entry;
}

static void cipher_start(struct console_cipher *cipher)
{
    for (size_t i = 0; i < 256; i++)
        cipher->box[i] = (uint8_t)i;
    cipher->cur = 0;
    cipher->reg = 0;
}

static void cipher_swap(struct console_cipher *cipher, size_t a, size_t b)
{
    uint8_t kept = cipher->box[a];
    cipher->box[a] = cipher->box[b];
    cipher->box[b] = kept;
}

static void cipher_absorb(struct console_cipher *cipher, const uint8_t *key, size_t key_bytes, size_t rounds)
{
    uint32_t reg = 0;
    for (size_t turn = 0; key_bytes > 0 && turn < rounds * 256; turn++) {
        reg = cipher_push(reg, key[turn % key_bytes]);
        reg = cipher_push(reg, cipher->box[turn % 256]);
        cipher_swap(cipher, turn % 256, reg & 0xFFu);
    }
}

static uint8_t cipher_next(struct console_cipher *cipher)
{
    cipher->reg = cipher_push(cipher->reg, cipher->box[cipher->cur]);
    cipher->cur++;
    size_t other = cipher->reg & 0xFFu;
    uint8_t a = cipher->box[cipher->cur], b = cipher->box[other];
    cipher_swap(cipher, cipher->cur, other);
    return cipher->box[(uint8_t)(a - b)];
}

void console_encode(struct console_pad *pad, const uint8_t *key, size_t key_bytes, const char *password,
                    char out[CONSOLE_CIPHER_BYTES + 1])
{
    static const char once[] = "hello world", each[] = "ru paranoid?";
    if (!pad->started) {
        cipher_start(&pad->cipher);
        cipher_absorb(&pad->cipher, (const uint8_t *)once, sizeof once - 1, 10);
        pad->started = true;
    }
    cipher_absorb(&pad->cipher, key, key_bytes, 16);
    cipher_absorb(&pad->cipher, (const uint8_t *)each, sizeof each - 1, 1);

    struct console_cipher stream;
    cipher_start(&stream);
    cipher_absorb(&stream, key, key_bytes, 16);
    unsigned run = 0;
    unsigned letter = 0;
    bool ended = false;
    for (size_t i = 0; i < CONSOLE_CIPHER_BYTES; i++) {
        if (ended) {
            letter = ((letter ^ cipher_next(&pad->cipher)) & 0x3Fu) + 0x20u;
        } else {
            letter = (unsigned char)password[i];
            ended = letter == 0;
            if (letter < 0x20 || letter > 0x7E)
                letter = 0x7F; /* the end mark, and what a byte without a letter becomes */
        }
        run = (run ^ cipher_next(&stream)) & 0xFFu;
        out[i] = (char)(0x20u + (letter - 0x20u + run % 96u) % 96u);
    }
    out[CONSOLE_CIPHER_BYTES] = '\0';
}

void console_mask(const char *mask, const char *password, char *out, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    if (*mask == '\0')
        mask = "GS";
    size_t mask_bytes = strlen(mask), length = strlen(password);
    if (size < length * 2 + 2)
        abort();
    uint8_t last = 0;
    *out++ = '$';
    for (size_t i = 0; i < length; i++) {
        /* the reader does p = ror8(c ^ mask, 3) ^ last; this is its inverse */
        uint8_t turned = (uint8_t)((uint8_t)password[i] ^ last);
        turned = (uint8_t)((turned << 3 | turned >> 5) & 0xFF);
        last = (uint8_t)(turned ^ (uint8_t)mask[i % mask_bytes]);
        *out++ = hex[last >> 4];
        *out++ = hex[last & 15];
    }
    *out = '\0';
}

/* ---- Links and requests ------------------------------------------------- */

static void send_frame(struct console *c, enum console_link link, const char *kind, uint32_t code, const void *payload,
                       size_t size)
{
    struct console_link_state *l = &c->link[link];
    if (!l->open || l->hang_up)
        return;
    uint8_t frame[CONSOLE_FRAME_BYTES];
    size_t bytes = console_frame(frame, sizeof frame, kind, code, payload, size);
    if (bytes == 0)
        abort();
    while (l->out_room - l->out_bytes < bytes)
        l->out = grow(l->out, l->out_room, &l->out_room, 1);
    memcpy(l->out + l->out_bytes, frame, bytes);
    l->out_bytes += bytes;
}

/* A request whose reply is awaited; `about` is what the reply will be about. */
static void ask(struct console *c, enum console_link link, const char *kind, const char *payload, const char *about)
{
    struct console_link_state *l = &c->link[link];
    if (!l->open || l->hang_up)
        return;
    struct console_pending *pending = LIST_ADD(l->pending);
    copy_text(pending->kind, sizeof pending->kind, kind);
    copy_text(pending->about, sizeof pending->about, about);
    send_frame(c, link, kind, 0, payload, strlen(payload) + 1);
}

static void ask_tags(struct console *c, const char *kind, const struct console_tags *tags, const char *about)
{
    ask(c, CONSOLE_LOBBY, kind, tags->text, about);
}

void console_request(struct console *c, enum console_link link, const char *kind, const char *payload)
{
    ask(c, link, kind, payload, "");
}

/* One tag, as many requests have it. */
static void ask_one(struct console *c, const char *kind, const char *key, const char *value)
{
    struct console_tags tags = {.size = 0};
    console_put_text(&tags, key, value);
    ask_tags(c, kind, &tags, value);
}

static void put_product(struct console_tags *tags)
{
    console_put_raw(tags, "PROD", "NASCAR-PS2-2004");
    console_put_text(tags, "VERS", "PS2/XXX-Jul  2 2003");
    console_put_raw(tags, "LANG", "en");
    console_put_raw(tags, "SLUS", "BASLUS-20824");
}

/* MASK goes along with the `$` form only (3.2). */
static bool put_password(struct console *c, struct console_tags *tags)
{
    memcpy(c->sent_password, c->password, sizeof c->sent_password);
    if (c->key[0] != 0) {
        char letters[CONSOLE_CIPHER_BYTES + 2];
        letters[0] = '~';
        console_encode(&c->pad, c->key, sizeof c->key, c->password, letters + 1);
        console_put_text(tags, "PASS", letters);
        return false;
    }
    char letters[sizeof c->password * 2 + 2];
    console_mask(c->mask, c->password, letters, sizeof letters);
    console_put_raw(tags, "PASS", letters);
    return true;
}

static void send_pers(struct console *c, const char *persona, bool saved)
{
    struct console_tags tags = {.size = 0};
    console_put_text(&tags, "PERS", persona);
    ask_tags(c, "pers", &tags, saved ? "*saved" : persona);
}

static void send_login(struct console *c)
{
    struct console_tags tags = {.size = 0};
    console_put_text(&tags, "NAME", c->name);
    console_put_number(&tags, "TOS", 1);
    bool masked = put_password(c, &tags);
    console_put_raw(&tags, "MID", "$00041f82bee5");
    console_put_number(&tags, "HWFLAG", 4);
    console_put_number(&tags, "HWMASK", 65828);
    put_product(&tags);
    if (masked)
        console_put_number(&tags, "MASK", c->session);
    ask_tags(c, "auth", &tags, c->name);
    c->stage = CONSOLE_AUTH;
    if (c->habits.saved_login && c->refused == 0)
        send_pers(c, c->wanted_persona, true);
}

static void send_signup(struct console *c)
{
    struct console_tags tags = {.size = 0};
    console_put_text(&tags, "NAME", c->name);
    (void)put_password(c, &tags);
    console_put_text(&tags, "MAIL", c->mail);
    console_put_raw(&tags, "SPAM", "NN");
    console_put_raw(&tags, "GEND", "M");
    console_put_raw(&tags, "BORN", "19800229");
    console_put_number(&tags, "TOS", 1);
    console_put_raw(&tags, "CPAT", "1");
    console_put_number(&tags, "ALTS", 4);
    ask_tags(c, "acct", &tags, c->name);
    c->stage = CONSOLE_AUTH;
}

static void typed(struct console *c)
{
    c->typing_until_ms = 0;
    if (c->stage == CONSOLE_LOGIN) {
        if (c->new_account)
            send_signup(c);
        else
            send_login(c);
        c->refused = 0;
    } else if (c->stage == CONSOLE_PERSONAS) {
        ask_one(c, "cper", "PERS", c->wanted_persona);
        c->stage = CONSOLE_ENTERING;
        c->refused = 0;
    }
}

static void start_typing(struct console *c)
{
    if (c->habits.pad_ms == 0)
        typed(c);
    else
        c->typing_until_ms = c->now_ms + c->habits.pad_ms;
}

static void take_persona(struct console *c)
{
    for (size_t i = 0; i < c->persona_count; i++) {
        if (same_name(c->personas[i], c->wanted_persona)) {
            send_pers(c, c->personas[i], false);
            c->stage = CONSOLE_ENTERING;
            c->refused = 0;
            return;
        }
    }
    c->stage = CONSOLE_PERSONAS;
    start_typing(c);
}

static void refuse(struct console *c, enum console_stage stage, const char *kind, uint32_t code)
{
    c->stage = stage;
    c->refused = code;
    copy_text(c->refused_kind, sizeof c->refused_kind, kind);
}

/* What the game sends as it enters the lobby [cap]; the first sele has spaces
 * and no last newline. */
static void enter_lobby(struct console *c)
{
    c->stage = CONSOLE_INSIDE;
    c->rooms_muted = false;
    ask(c, CONSOLE_LOBBY, "sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1", "");
    ask(c, CONSOLE_LOBBY, "sele", "RANKS=50\n", "");
    ask(c, CONSOLE_LOBBY, "news", "NAME=0\n", "0");
    if (!c->habits.no_chal_star)
        ask(c, CONSOLE_LOBBY, "chal", "PERS=*\n", "*");
}

/* ---- Lists (3.3) -------------------------------------------------------- */

const struct console_room *console_room(const struct console *c, int32_t ident)
{
    for (size_t i = 0; i < c->rooms.count; i++)
        if (c->rooms.at[i].ident == ident)
            return &c->rooms.at[i];
    return NULL;
}

const struct console_room *console_room_named(const struct console *c, const char *name)
{
    for (size_t i = 0; i < c->rooms.count; i++)
        if (same_name(c->rooms.at[i].name, name))
            return &c->rooms.at[i];
    return NULL;
}

const struct console_user *console_user(const struct console *c, const char *name)
{
    for (size_t i = 0; i < c->users.count; i++)
        if (strcmp(c->users.at[i].name, name) == 0)
            return &c->users.at[i];
    return NULL;
}

static void set_population(struct console *c, int32_t ident, int32_t population)
{
    for (size_t i = 0; i < c->rooms.count; i++)
        if (c->rooms.at[i].ident == ident)
            c->rooms.at[i].population = population;
}

/* A key of one letter for each letter of `letters`; says which one is missing. */
static void require(struct console *c, const char *kind, const char *payload, const char *letters)
{
    for (; *letters != '\0'; letters++) {
        char key[2] = {*letters, '\0'};
        if (console_find(payload, key) == NULL)
            mislead(c, "%s without %s", kind, key);
    }
}

static void read_short(struct console *c, const char *payload, const char *key, char *out, size_t size,
                       const char *what)
{
    if (console_read_text(console_find(payload, key), out, size) >= size)
        mislead(c, "%s is cut to %s", what, out);
}

static void on_room(struct console *c, const char *payload)
{
    int32_t ident = console_read_number(console_find(payload, "I"));
    if (console_find(payload, "I") == NULL || ident < 0) {
        mislead(c, "+rom with a bad I");
        return;
    }
    size_t index = 0;
    while (index < c->rooms.count && c->rooms.at[index].ident != ident)
        index++;
    if (console_find(payload, "N") == NULL) {
        if (ident == c->room)
            mislead(c, "the room it is in was deleted: %d", (int)ident);
        if (index < c->rooms.count)
            LIST_REMOVE(c->rooms, index);
        return;
    }
    require(c, "+rom", payload, "HATLF"); /* without F it reads as locked */
    struct console_room *room = index < c->rooms.count ? &c->rooms.at[index] : LIST_ADD(c->rooms);
    memset(room, 0, sizeof *room);
    room->ident = ident;
    read_short(c, payload, "N", room->name, sizeof room->name, "a room's name");
    (void)console_read_text(console_find(payload, "H"), room->about, sizeof room->about);
    room->population = console_read_number(console_find(payload, "T"));
    room->limit = console_read_number(console_find(payload, "L"));
    room->address = console_read_address(console_find(payload, "A"));
    room->flags = console_read_flags(console_find(payload, "F"));
    if (room->name[0] == '\0')
        mislead(c, "room %d has no name", (int)ident);
    for (size_t i = 0; i < c->rooms.count; i++)
        if (c->rooms.at[i].ident != ident && same_name(c->rooms.at[i].name, room->name))
            mislead(c, "two rooms are called %s", room->name);
}

static void on_user(struct console *c, const char *payload)
{
    int32_t ident = console_read_number(console_find(payload, "I"));
    /* An absent T sets the current room's population to 0, in deletes too. */
    c->room_population = console_read_number(console_find(payload, "T"));
    require(c, "+usr", payload, "IT");
    if (ident <= 0) {
        mislead(c, "+usr with a bad I");
        return;
    }
    size_t index = 0;
    while (index < c->users.count && c->users.at[index].ident != ident)
        index++;
    if (console_find(payload, "N") == NULL) {
        if (index < c->users.count) {
            if (strcmp(c->users.at[index].name, c->persona) == 0)
                mislead(c, "its own record was deleted");
            LIST_REMOVE(c->users, index);
        }
        return;
    }
    require(c, "+usr", payload, "INFATSRX"); /* an update replaces the whole record */
    struct console_user *user = index < c->users.count ? &c->users.at[index] : LIST_ADD(c->users);
    memset(user, 0, sizeof *user);
    user->ident = ident;
    read_short(c, payload, "N", user->name, sizeof user->name, "a user's name");
    user->flags = console_read_flags(console_find(payload, "F"));
    user->address = console_read_address(console_find(payload, "A"));
    user->rank = console_read_number(console_find(payload, "R"));
    (void)console_read_text(console_find(payload, "S"), user->stats, sizeof user->stats);
    (void)console_read_text(console_find(payload, "X"), user->extra, sizeof user->extra);
    bool own = strcmp(user->name, c->persona) == 0;
    bool marked = (user->flags & CONSOLE_FLAG('U')) != 0;
    if (marked && !own)
        mislead(c, "%s is marked as itself", user->name);
    if (own && !marked)
        mislead(c, "its own record lacks U");
    for (size_t i = 0; i < c->users.count; i++) {
        if (c->users.at[i].ident != ident && strcmp(c->users.at[i].name, user->name) == 0) {
            mislead(c, "%s stands twice in the user list", user->name);
            break;
        }
    }
}

static void on_populations(struct console *c, const char *payload)
{
    char text[512];
    if (console_read_text(console_find(payload, "Z"), text, sizeof text) >= sizeof text)
        mislead(c, "+pop is cut");
    if (console_find(payload, "Z") == NULL)
        mislead(c, "+pop without Z");
    const char *at = text;
    while (*at != '\0') {
        int32_t ident = as_signed(number_at(&at));
        if (*at != ':') {
            mislead(c, "+pop does not read: %s", text);
            return;
        }
        at++;
        int32_t population = as_signed(number_at(&at));
        while (*at == ' ')
            at++;
        if (ident == 0) {
            if (*at != '\0')
                mislead(c, "+pop goes on behind room 0");
            return;
        }
        if (ident != c->room)
            set_population(c, ident, population);
    }
}

/* Another room: what was known of the old one's users is void. */
static void change_room(struct console *c, int32_t ident)
{
    if (ident != c->room) {
        c->users.count = 0;
        c->room = ident;
        c->room_population = 0;
    }
}

static void on_who(struct console *c, const char *payload)
{
    char name[32], room_name[32];
    read_short(c, payload, "N", name, sizeof name, "its own name");
    if (strcmp(name, c->persona) != 0) {
        mislead(c, "+who renames %s to %s", c->persona, name);
        copy_text(c->persona, sizeof c->persona, name);
    }
    if (console_find(payload, "RI") == NULL || console_find(payload, "RT") == NULL ||
        console_find(payload, "R") == NULL || console_find(payload, "RF") == NULL)
        mislead(c, "+who lacks one of RI RT R RF");
    int32_t ident = console_read_number(console_find(payload, "RI"));
    read_short(c, payload, "R", room_name, sizeof room_name, "the current room's name");
    if (ident != c->room) {
        change_room(c, ident);
        copy_text(c->room_name, sizeof c->room_name, room_name);
        const struct console_room *room = console_room(c, ident);
        if (room == NULL && !c->rooms_muted)
            mislead(c, "it is in room %d, which it does not know", (int)ident);
        else if (room != NULL && strcmp(room->name, room_name) != 0)
            mislead(c, "+who calls room %s %s", room->name, room_name);
    }
    c->room_population = console_read_number(console_find(payload, "RT"));
    c->room_flags = console_read_flags(console_find(payload, "RF"));
    if (c->entered && !c->greeted) {
        c->greeted = true;
        enter_lobby(c);
    }
}

static void on_rank(struct console *c, const char *payload)
{
    const char *clear = console_find(payload, "D");
    if (clear != NULL && console_read_number(clear) == -2) {
        c->ranks.count = 0;
        return;
    }
    require(c, "+rnk", payload, "AN");
    char name[32];
    read_short(c, payload, "N", name, sizeof name, "a ranked name");
    int32_t rank = console_read_number(console_find(payload, "A"));
    size_t index = 0;
    while (index < c->ranks.count && strcmp(c->ranks.at[index].name, name) != 0)
        index++;
    if (rank < 1) {
        if (index < c->ranks.count)
            LIST_REMOVE(c->ranks, index);
        return;
    }
    require(c, "+rnk", payload, "S");
    struct console_rank *row = index < c->ranks.count ? &c->ranks.at[index] : LIST_ADD(c->ranks);
    row->rank = rank;
    copy_text(row->name, sizeof row->name, name);
    (void)console_read_text(console_find(payload, "S"), row->stats, sizeof row->stats);
}

static void on_row(struct console *c, const char *payload)
{
    if (console_reply(c, "snap") == NULL)
        mislead(c, "+snp before the reply to snap");
    require(c, "+snp", payload, "NRPS");
    struct console_row *row = LIST_ADD(c->rows);
    read_short(c, payload, "N", row->name, sizeof row->name, "a name on the leaderboard");
    row->rank = console_read_number(console_find(payload, "R"));
    row->points = console_read_number(console_find(payload, "P"));
    (void)console_read_text(console_find(payload, "S"), row->stats, sizeof row->stats);
    if (row->rank < 0 || row->rank >= 8192 || row->points < 0 || row->points >= 8192)
        mislead(c, "+snp with R %d and P %d, over 13 bits", (int)row->rank, (int)row->points);
}

/* ---- Chat and challenges (3.4, 5) --------------------------------------- */

static void send_mark(struct console *c, const char *persona, const char *text)
{
    struct console_tags tags = {.size = 0};
    console_put_text(&tags, "PRIV", persona);
    console_put_text(&tags, "TEXT", text);
    console_put_raw(&tags, "ATTR", "3");
    ask_tags(c, "mesg", &tags, persona);
}

static bool begins(const char *text, const char *word)
{
    return strncmp(text, word, 4) == 0; /* the first four letters count */
}

/* A request of this kind about this is not answered yet. */
static bool awaits(const struct console *c, const char *kind, const char *about)
{
    const struct console_link_state *lobby = &c->link[CONSOLE_LOBBY];
    for (size_t i = 0; i < lobby->pending.count; i++)
        if (strcmp(lobby->pending.at[i].kind, kind) == 0 && strcmp(lobby->pending.at[i].about, about) == 0)
            return true;
    return false;
}

/* The server may not have read yet what we have told that player. Words have no
 * numbers: it may be taken for one about another offer, and so may his. */
static bool is_telling(const struct console *c, const char *player)
{
    bool offers = c->habits.peeks && strcmp(c->opponent, player) == 0 && awaits(c, "auxi", c->token);
    return offers || awaits(c, "mesg", player);
}

static void on_challenge_text(struct console *c, const char *from, const char *text)
{
    bool accept = begins(text, "ACPT");
    bool refusal = begins(text, "DECL") || begins(text, "BLOC");
    bool theirs = strcmp(from, c->opponent) == 0;
    if (strcmp(from, c->persona) == 0) {
        mislead(c, "its own challenge text came back: %s", text);
        return;
    }
    switch (c->challenge) {
    case CONSOLE_IDLE: break;
    case CONSOLE_OFFERED:
        if (theirs && accept) {
            c->challenge = CONSOLE_ACCEPTED;
            if (is_telling(c, from)) /* it may be of an offer that we have taken back, and another comes then */
                copy_text(c->confused, sizeof c->confused, from);
            if (!c->habits.slow_chal)
                console_say_ready(c, true);
            return;
        }
        if (theirs && refusal) {
            c->challenge = CONSOLE_IDLE;
            if (is_telling(c, from)) /* sent before the server had read ours */
                copy_text(c->confused, sizeof c->confused, from);
            return;
        }
        break;
    case CONSOLE_RECEIVED:
        if (theirs && refusal) {
            c->challenge = CONSOLE_IDLE;
            return;
        }
        if (theirs && accept) {
            mislead(c, "%s accepted its own challenge", from);
            return;
        }
        if (theirs) /* a new offer of the same player takes the old one's place */
            c->challenge = CONSOLE_IDLE;
        break;
    case CONSOLE_ACCEPTED:
        /* Whatever comes now cancels. That is the end wanted only of a refusal. */
        if (!refusal && strcmp(c->confused, c->opponent) != 0)
            mislead(c, "a text after the acceptance cancels it: %s", text);
        if (refusal && is_telling(c, from)) /* our ACPT may hold, of his next offer or as another has refused ours */
            copy_text(c->confused, sizeof c->confused, c->opponent);
        c->challenge = CONSOLE_IDLE;
        return;
    case CONSOLE_RACING:
        if (theirs && accept)
            mislead(c, "ACPT came again");
        break;
    }
    if (accept || refusal)
        return; /* a word too late */
    if (c->challenge != CONSOLE_IDLE) {
        c->crossed++;
        return;
    }
    if (console_user(c, from) == NULL) {
        c->blocked++;
        send_mark(c, from, "BLOC");
        return;
    }
    c->challenge = CONSOLE_RECEIVED;
    c->challenger = false;
    c->walks_before = 0;
    if (is_telling(c, from)) /* our word about another offer may reach him as one about this */
        copy_text(c->confused, sizeof c->confused, from);
    else if (strcmp(c->confused, from) == 0)
        c->confused[0] = '\0';
    copy_text(c->opponent, sizeof c->opponent, from);
    copy_text(c->token, sizeof c->token, text);
}

static void on_message(struct console *c, const char *payload)
{
    char from[256], text[256];
    require(c, "+msg", payload, "NT");
    uint32_t flags = console_read_flags(console_find(payload, "F"));
    (void)console_read_text(console_find(payload, "N"), from, sizeof from);
    (void)console_read_text(console_find(payload, "T"), text, sizeof text);
    if ((flags & CONSOLE_FLAG('3')) != 0) {
        on_challenge_text(c, from, text);
        return;
    }
    struct console_line *line = LIST_ADD(c->chat);
    line->flags = flags;
    copy_text(line->from, sizeof line->from, from);
    copy_text(line->text, sizeof line->text, text);
}

static void race_text(struct console *c, const char *payload, const char *key, size_t offset, size_t size)
{
    char text[64];
    assert(size <= sizeof text && offset + size <= sizeof c->race);
    if (console_find(payload, key) == NULL)
        mislead(c, "+ses without %s", key);
    if (console_read_text(console_find(payload, key), text, size) >= size)
        mislead(c, "%s of +ses is cut", key);
    memcpy(c->race + offset, text, strlen(text));
}

/* It does not race `other`: it has said so, and the server has not read it yet, or it
 * takes its offer for refused, which the server has taken up since. */
static bool has_given_up(const struct console *c, const char *other)
{
    return awaits(c, "chal", "*") || is_telling(c, other) || strcmp(c->confused, other) == 0;
}

static void on_session(struct console *c, const char *payload)
{
    static const char players[4][3] = {"P1", "P2", "P3", "P4"};
    memset(c->race, 0, sizeof c->race);
    race_text(c, payload, "NAME", 0x00, 32);
    race_text(c, payload, "SELF", 0x20, 32);
    race_text(c, payload, "HOST", 0x40, 32);
    race_text(c, payload, "OPPO", 0x60, 32);
    for (size_t i = 0; i < 4; i++)
        if (i < 2 || console_find(payload, players[i]) != NULL)
            race_text(c, payload, players[i], 0x80 + 16 * i, 16);
    uint32_t address = console_read_address(console_find(payload, "ADDR"));
    uint32_t from = console_read_address(console_find(payload, "FROM"));
    const char *seed = console_find(payload, "SEED");
    c->seed = console_read_number(seed);
    if (seed != NULL && strtoll(seed, NULL, 10) != c->seed)
        mislead(c, "SEED of +ses is no signed number of 32 bits");
    int64_t when = console_read_epoch(console_find(payload, "WHEN"));
    put_little_endian(c->race + 0xC0, address);
    put_little_endian(c->race + 0xC4, from);
    put_little_endian(c->race + 0xC8, (uint32_t)c->seed);
    put_little_endian(c->race + 0xCC, (uint32_t)(uint64_t)when);
    race_text(c, payload, "AUTH", 0xD0, 64);
    memcpy(c->race_ticket, c->race + 0xD0, sizeof c->race_ticket);

    const char *self = (const char *)c->race + 0x20, *host = (const char *)c->race + 0x40;
    const char *other = (const char *)c->race + 0x60, *first = (const char *)c->race + 0x80;
    if (strcmp(self, c->persona) != 0)
        mislead(c, "+ses is for %s", self);
    bool crossed = c->challenge != CONSOLE_ACCEPTED && has_given_up(c, other);
    if (c->challenge != CONSOLE_ACCEPTED && !crossed)
        mislead(c, "+ses without an accepted challenge");
    if (!crossed && strcmp(other, c->opponent) != 0)
        mislead(c, "+ses names %s as the opponent, not %s", other, c->opponent);
    if (strcmp(host, c->persona) != 0 && strcmp(host, other) != 0)
        mislead(c, "+ses names %s as the host", host);
    if (strcmp(first, host) != 0)
        mislead(c, "P1 of +ses is not the host");
    /* Which of the two it dials, and when it takes the list's instead, is not known. */
    const struct console_user *listed = console_user(c, other);
    if (from != address || (listed != NULL && listed->address != address))
        mislead(c, "+ses finds %s at ADDR %08lx, FROM %08lx, and +usr at %08lx", other, (unsigned long)address,
                (unsigned long)from, (unsigned long)(listed != NULL ? listed->address : address));
    if (c->seed == 0 || address == 0 || when == 0 || c->race_ticket[0] == '\0')
        mislead(c, "+ses has an empty SEED, ADDR, FROM, WHEN or AUTH");
    c->play_due = true;
    c->confused[0] = '\0';
    if (!crossed) {
        c->challenge = CONSOLE_RACING;
        c->races++;
    }
}

static void on_play(struct console *c, const uint8_t *payload, size_t size)
{
    c->plays++;
    if (!c->play_due)
        mislead(c, "play without its +ses");
    else if (size != sizeof c->race || memcmp(payload, c->race, size) != 0)
        mislead(c, "play differs from what +ses says");
    c->play_due = false;
}

static void on_ping(struct console *c, enum console_link link, const char *kind, uint32_t code, const char *payload)
{
    c->link[link].pings++;
    if (code != 0) {
        mislead(c, "an echo was answered");
        return;
    }
    if (c->habits.answers_nothing)
        return;
    /* The same tags with its own TIME, and code 0x10 or 0x11 [cap]. */
    char echo[CONSOLE_FRAME_BYTES + 16];
    size_t size = 0;
    const char *time = console_find(payload, "TIME");
    const char *rest = payload;
    if (time != NULL) {
        size = (size_t)(time - payload);
        memcpy(echo, payload, size);
        size += (size_t)snprintf(echo + size, 8, "%u", (unsigned)(chance(c) % 9 + 1));
        rest = time;
        while ((unsigned char)*rest >= 0x20)
            rest++;
    }
    memcpy(echo + size, rest, strlen(rest) + 1);
    size += strlen(rest) + 1;
    send_frame(c, link, kind, 0x10u + (chance(c) & 1u), echo, size);
}

/* ---- Replies ------------------------------------------------------------ */

static struct console_reply *reply_of(struct console *c, const char *kind)
{
    for (size_t i = 0; i < c->replies.count; i++)
        if (strcmp(c->replies.at[i].kind, kind) == 0)
            return &c->replies.at[i];
    struct console_reply *reply = LIST_ADD(c->replies);
    copy_text(reply->kind, sizeof reply->kind, kind);
    return reply;
}

const struct console_reply *console_reply(const struct console *c, const char *kind)
{
    for (size_t i = 0; i < c->replies.count; i++)
        if (strcmp(c->replies.at[i].kind, kind) == 0)
            return &c->replies.at[i];
    return NULL;
}

static void want(struct console *c, enum console_link link, uint32_t address, uint16_t port)
{
    c->link[link].wanted = true;
    c->link[link].address = address;
    c->link[link].port = port;
}

static void on_directory(struct console *c, const char *payload)
{
    c->link[CONSOLE_DIRECTORY].hang_up = true;
    c->direct = console_find(payload, "DIRECT") != NULL;
    c->server_ip = console_read_address(console_find(payload, "ADDR"));
    uint32_t port = (uint32_t)console_read_number(console_find(payload, "PORT"));
    c->server_port = (uint16_t)(port & 0xFFFFu);
    (void)console_read_text(console_find(payload, "DOWN"), c->down, sizeof c->down);
    if (c->down[0] != '\0' && c->server_ip == 0) {
        c->stage = CONSOLE_OFF;
        return;
    }
    c->session = console_read_number(console_find(payload, "SESS"));
    read_short(c, payload, "MASK", c->mask, sizeof c->mask, "MASK");
    if (console_find(payload, "SESS") == NULL || console_find(payload, "MASK") == NULL)
        mislead(c, "@dir without SESS or MASK");
    if (c->direct) { /* ADDR and PORT are ignored: the same place again, if at all (3.1) */
        if (!c->habits.takes_direct)
            mislead(c, "DIRECT keeps it from the lobby");
        want(c, CONSOLE_LOBBY, 0, 0);
        return;
    }
    if (c->server_ip == 0 || port == 0 || port > 65535)
        mislead(c, "@dir names no lobby");
    want(c, CONSOLE_LOBBY, c->server_ip, c->server_port);
}

static void on_session_key(struct console *c, uint32_t code, const char *payload)
{
    memset(c->key, 0, sizeof c->key);
    if (code == 0)
        (void)console_read_binary(console_find(payload, "SKEY"), c->key, sizeof c->key);
    else
        mislead(c, "skey failed");
    c->stage = CONSOLE_LOGIN;
    if (c->habits.saved_login && !c->new_account) {
        c->refused = 0;
        send_login(c);
    } else {
        start_typing(c);
    }
}

static void read_personas(struct console *c, const char *payload)
{
    char list[256];
    (void)console_read_text(console_find(payload, "PERSONAS"), list, sizeof list);
    c->persona_count = 0;
    for (char *at = list; *at != '\0';) {
        size_t size = strcspn(at, ",");
        if (c->persona_count == 4 || size > 12) {
            mislead(c, "PERSONAS does not fit: %s", list);
            return;
        }
        if (size > 0) {
            memcpy(c->personas[c->persona_count], at, size);
            c->personas[c->persona_count++][size] = '\0';
        }
        at += size + (at[size] == ',');
    }
}

static void on_auth(struct console *c, const char *kind, uint32_t code, const char *payload)
{
    if (code != 0) {
        refuse(c, CONSOLE_LOGIN, kind, code);
        return;
    }
    if (console_find(payload, "CPAT") != NULL)
        mislead(c, "CPAT came back");
    read_personas(c, payload);
    c->last_login_s = console_read_epoch(console_find(payload, "LAST"));
    c->stage = CONSOLE_PERSONAS;
    const struct console_link_state *lobby = &c->link[CONSOLE_LOBBY];
    for (size_t i = 0; i < lobby->pending.count; i++) {
        if (strcmp(lobby->pending.at[i].kind, "pers") == 0) {
            c->stage = CONSOLE_ENTERING; /* the saved persona went out behind auth */
            return;
        }
    }
    take_persona(c);
}

static void on_persona_made(struct console *c, uint32_t code, const char *payload)
{
    if (code != 0) {
        refuse(c, CONSOLE_PERSONAS, "cper", code);
        return;
    }
    if (c->persona_count == 4) {
        mislead(c, "a fifth persona was made");
        return;
    }
    char *name = c->personas[c->persona_count++];
    read_short(c, payload, "PERS", name, sizeof c->personas[0], "a persona's name");
    send_pers(c, name, false);
    c->stage = CONSOLE_ENTERING;
}

static void on_persona(struct console *c, const char *about, uint32_t code, const char *payload)
{
    if (code != 0) {
        if (c->stage == CONSOLE_ENTERING)
            refuse(c, CONSOLE_PERSONAS, "pers", code);
        return;
    }
    if (c->stage != CONSOLE_ENTERING)
        mislead(c, "pers succeeded behind a failed auth: %s", about);
    read_short(c, payload, "PERS", c->persona, sizeof c->persona, "its own name");
    read_short(c, payload, "LKEY", c->ticket, sizeof c->ticket, "LKEY");
    if (c->persona[0] == '\0' || c->ticket[0] == '\0')
        mislead(c, "pers without PERS or LKEY");
    c->entered = true;
    c->greeted = false;
    c->challenge = CONSOLE_IDLE; /* as another player, or back from the persona screen */
}

static void on_news(struct console *c, const char *about, uint32_t code, const char *payload, size_t size)
{
    const uint8_t letters[4] = {'n', 'e', 'w', (uint8_t)about[0]};
    if (size > CONSOLE_NEWS_BYTES + 1)
        mislead(c, "the reply to news has %zu bytes", size);
    if (code != big_endian(letters))
        return; /* only new0 + n is a success */
    if (about[0] != '0') {
        copy_text(c->news_page, sizeof c->news_page, payload);
        return;
    }
    copy_text(c->news, sizeof c->news, payload);
    uint32_t address = console_read_address(console_find(payload, "BUDDY_URL"));
    uint32_t port = (uint32_t)console_read_number(console_find(payload, "BUDDY_PORT"));
    if (address == 0 || port == 0 || port > 65535)
        mislead(c, "news names no buddy service");
    else if (!c->habits.no_buddy && !c->link[CONSOLE_BUDDY].open)
        want(c, CONSOLE_BUDDY, address, (uint16_t)(port & 0xFFFFu));
}

/* The replies to move and room. */
static void on_moved(struct console *c, const char *kind, const char *about, uint32_t code, const char *payload)
{
    const char *ident = console_find(payload, "IDENT");
    bool before_the_offer = c->walks_before > 0;
    c->walks_before -= before_the_offer ? 1 : 0;
    if (code != 0) {
        if (strcmp(kind, "move") == 0) {
            if (ident == NULL)
                mislead(c, "a failed move without IDENT drops it to room 0");
            else if (console_read_number(ident) != c->room)
                mislead(c, "a failed move says that it is in room %d", (int)console_read_number(ident));
            change_room(c, console_read_number(ident));
        }
        return;
    }
    char name[32];
    read_short(c, payload, "NAME", name, sizeof name, "the new room's name");
    if (ident == NULL || console_find(payload, "COUNT") == NULL || name[0] == '\0')
        mislead(c, "%s without IDENT, COUNT or NAME", kind);
    if (about[0] != '\0' && !same_name(about, name))
        mislead(c, "it wanted room %s and got %s", about, name);
    set_population(c, console_read_number(ident), console_read_number(console_find(payload, "COUNT")));
    const char *left = console_find(payload, "LIDENT");
    if (left != NULL) {
        /* Who walks away from a challenge knows it: only the other is told (5). */
        c->challenge = before_the_offer ? c->challenge : CONSOLE_IDLE;
        if (console_find(payload, "LCOUNT") == NULL)
            mislead(c, "%s with LIDENT and without LCOUNT", kind);
        set_population(c, console_read_number(left), console_read_number(console_find(payload, "LCOUNT")));
    }
}

static void on_profile(struct console *c, const char *about, uint32_t code, const char *payload)
{
    if (code != 0)
        return;
    struct console_profile *p = &c->profile;
    memset(p, 0, sizeof *p);
    read_short(c, payload, "PERS", p->persona, sizeof p->persona, "a profile's name");
    (void)console_read_text(console_find(payload, "ROOM"), p->room, sizeof p->room);
    p->address = console_read_address(console_find(payload, "ADDR"));
    p->rank = console_read_number(console_find(payload, "RANK"));
    size_t stats = console_read_longs(console_find(payload, "STAT"), p->stats, 21);
    size_t info = console_read_longs(console_find(payload, "INFO"), p->info, 2);
    if (stats != 21 || info != 2)
        mislead(c, "a profile with %zu STAT and %zu INFO", stats, info);
    if (!same_name(p->persona, about))
        mislead(c, "it looked at %s and sees %s", about, p->persona);
}

static void on_lobby_reply(struct console *c, const char *kind, const char *about, uint32_t code, const char *payload,
                           size_t size)
{
    if (strcmp(kind, "addr") == 0) {
        ask(c, CONSOLE_LOBBY, "skey", "SKEY=$5075626c6963204b6579\n", "");
    } else if (strcmp(kind, "skey") == 0) {
        on_session_key(c, code, payload);
    } else if (strcmp(kind, "auth") == 0 || strcmp(kind, "acct") == 0) {
        on_auth(c, kind, code, payload);
    } else if (strcmp(kind, "cper") == 0) {
        on_persona_made(c, code, payload);
    } else if (strcmp(kind, "pers") == 0) {
        on_persona(c, about, code, payload);
    } else if (strcmp(kind, "news") == 0) {
        on_news(c, about, code, payload, size);
    } else if (strcmp(kind, "move") == 0 || strcmp(kind, "room") == 0) {
        on_moved(c, kind, about, code, payload);
    } else if (strcmp(kind, "user") == 0) {
        on_profile(c, about, code, payload);
    } else if (strcmp(kind, "snap") == 0 && code == 0) {
        c->rows.count = 0;
    } else if (strcmp(kind, "auxi") == 0 && code != 0 && c->challenge == CONSOLE_OFFERED && c->habits.peeks) {
        c->challenge = CONSOLE_IDLE; /* the code of mesg is ignored, not auxi's */
    } else if (strcmp(kind, "dper") == 0 && code == 0) {
        for (size_t i = 0; i < c->persona_count; i++) {
            if (same_name(c->personas[i], about)) {
                memmove(c->personas[i], c->personas[i + 1], (c->persona_count - i - 1) * sizeof c->personas[0]);
                c->persona_count--;
                break;
            }
        }
    }
}

/* ---- Buddy service (9) -------------------------------------------------- */

const struct console_friend *console_friend(const struct console *c, const char *name)
{
    for (size_t i = 0; i < c->friends.count; i++)
        if (same_name(c->friends.at[i].name, name))
            return &c->friends.at[i];
    return NULL;
}

static struct console_friend *add_friend(struct console *c, const char *name)
{
    for (size_t i = 0; i < c->friends.count; i++)
        if (same_name(c->friends.at[i].name, name))
            return &c->friends.at[i];
    struct console_friend *friend = LIST_ADD(c->friends);
    copy_text(friend->name, sizeof friend->name, name);
    return friend;
}

static void on_roster_row(struct console *c, const char *payload)
{
    int32_t id = console_read_number(console_find(payload, "ID"));
    char name[32];
    read_short(c, payload, "USER", name, sizeof name, "a buddy's name");
    if (id < 1 || id > 2 || c->roster_left[id] <= 0) {
        mislead(c, "ROST of %s that SIZE does not count", name);
        return;
    }
    c->roster_left[id]--;
    struct console_friend *friend = add_friend(c, name);
    (void)console_read_text(console_find(payload, "GROUP"), friend->group, sizeof friend->group);
    friend->ignored = friend->ignored || id == 2;
}

static void on_presence(struct console *c, const char *payload)
{
    char name[32];
    read_short(c, payload, "USER", name, sizeof name, "a buddy's name");
    for (size_t i = 0; i < c->friends.count; i++)
        if (same_name(c->friends.at[i].name, name))
            (void)console_read_text(console_find(payload, "SHOW"), c->friends.at[i].show, sizeof c->friends.at[i].show);
}

static void on_letter(struct console *c, const char *payload)
{
    struct console_letter *letter = LIST_ADD(c->letters);
    read_short(c, payload, "USER", letter->from, sizeof letter->from, "a letter's sender");
    (void)console_read_text(console_find(payload, "BODY"), letter->body, sizeof letter->body);
    if (console_find(payload, "TYPE") == NULL || console_find(payload, "TIME") == NULL)
        mislead(c, "RECV without TYPE or TIME");
}

static void on_buddy_reply(struct console *c, const char *kind, const char *about, uint32_t code, const char *payload)
{
    if (code != 0)
        return;
    if (strcmp(kind, "AUTH") == 0) {
        struct console_tags tags = {.size = 0};
        c->buddy_in = true;
        console_put_raw(&tags, "SHOW", "CHAT");
        console_put_text(&tags, "STAT", "en=\"is playing NASCAR Thunder%e2%84%a2 2004\"\nP=mad4\n");
        console_put_text(&tags, "PROD", "is online");
        ask(c, CONSOLE_BUDDY, "PSET", tags.text, "");
    } else if (strcmp(kind, "PSET") == 0 && c->roster_left[1] < 0) {
        c->friends.count = 0;
        ask(c, CONSOLE_BUDDY, "RGET", "LRSC=cso\nLIST=B\nPRES=Y\nID=1\n", "1");
        ask(c, CONSOLE_BUDDY, "RGET", "LRSC=cso\nLIST=I\nPRES=Y\nID=2\n", "2");
    } else if (strcmp(kind, "RGET") == 0) {
        int32_t id = about[0] - '0';
        const char *count = console_find(payload, "SIZE");
        if (count == NULL || console_read_number(console_find(payload, "ID")) != id)
            mislead(c, "RGET without SIZE or with another ID");
        c->roster_left[id] = console_read_number(count);
    } else if (strcmp(kind, "RADD") == 0) {
        char name[32];
        read_short(c, payload, "FUSR", name, sizeof name, "a buddy's name");
        if (name[0] == '\0')
            mislead(c, "RADD without FUSR");
        struct console_friend *friend = add_friend(c, name);
        friend->ignored = friend->ignored || about[0] == 'I';
    } else if (strcmp(kind, "RDEL") == 0) {
        for (size_t i = 0; i < c->friends.count; i++) {
            if (same_name(c->friends.at[i].name, about)) {
                LIST_REMOVE(c->friends, i);
                break;
            }
        }
    }
}

/* ---- Frames (1) --------------------------------------------------------- */

static void on_reply(struct console *c, enum console_link link, const char *kind, uint32_t code, const char *payload,
                     size_t size)
{
    struct console_link_state *l = &c->link[link];
    size_t index = 0;
    while (index < l->pending.count && strcmp(l->pending.at[index].kind, kind) != 0)
        index++;
    if (index == l->pending.count) {
        mislead(c, "a reply that nobody asked for: %s", kind);
        return;
    }
    struct console_pending pending = l->pending.at[index];
    LIST_REMOVE(l->pending, index);
    struct console_reply *reply = reply_of(c, kind);
    reply->code = code;
    reply->count++;
    copy_text(reply->payload, sizeof reply->payload, payload);
    if (link == CONSOLE_DIRECTORY)
        on_directory(c, payload);
    else if (link == CONSOLE_LOBBY)
        on_lobby_reply(c, kind, pending.about, code, payload, size);
    else
        on_buddy_reply(c, kind, pending.about, code, payload);
}

static bool on_lobby_push(struct console *c, const char *kind, uint32_t code, const char *payload, size_t size)
{
    static const struct {
        char kind[5];
        void (*handler)(struct console *, const char *);
    } pushes[] = {
        {"+rom", on_room}, {"+usr", on_user},    {"+pop", on_populations}, {"+who", on_who},
        {"+rnk", on_rank}, {"+msg", on_message}, {"+ses", on_session},     {"+snp", on_row},
    };
    if (strcmp(kind, "~png") == 0) {
        on_ping(c, CONSOLE_LOBBY, kind, code, payload);
        return true;
    }
    for (size_t i = 0; i < sizeof pushes / sizeof pushes[0]; i++) {
        if (strcmp(kind, pushes[i].kind) == 0) {
            if (code != 0)
                mislead(c, "%s has a code", kind);
            if (size == 0)
                mislead(c, "%s is empty", kind);
            pushes[i].handler(c, payload);
            return true;
        }
    }
    return false;
}

static bool on_buddy_push(struct console *c, const char *kind, uint32_t code, const char *payload)
{
    if (strcmp(kind, "PING") == 0)
        on_ping(c, CONSOLE_BUDDY, kind, code, payload);
    else if (strcmp(kind, "ROST") == 0)
        on_roster_row(c, payload);
    else if (strcmp(kind, "PGET") == 0)
        on_presence(c, payload);
    else if (strcmp(kind, "RECV") == 0)
        on_letter(c, payload);
    else
        return strcmp(kind, "USER") == 0; /* a row of USCH */
    return true;
}

static void on_frame(struct console *c, enum console_link link, uint8_t *frame, size_t size)
{
    uint8_t *payload = frame + CONSOLE_HEADER_BYTES;
    size_t payload_bytes = size - CONSOLE_HEADER_BYTES;
    uint32_t code = big_endian(frame + 4);
    char kind[5] = {0};
    char text[CONSOLE_FRAME_BYTES];
    static const uint8_t disconnect[4] = {'a', 'u', 't', 'h'};

    memcpy(kind, frame, 4);
    c->link[link].frames++;
    c->link[link].heard_ms = c->now_ms;
    if (big_endian(frame) == 0xFFFFFFFFu) {
        mislead(c, "kind FFFFFFFF");
        return;
    }
    if (code == big_endian(disconnect)) {
        mislead(c, "code auth in %s disconnects it", kind);
        return;
    }
    if (link == CONSOLE_LOBBY && strcmp(kind, "play") == 0) {
        on_play(c, payload, payload_bytes);
        return;
    }
    /* The last payload byte gives way to a NUL, whatever it was. */
    if (payload_bytes > 0 && payload[payload_bytes - 1] != '\0') {
        mislead(c, "the last byte of %s is lost", kind);
        payload[payload_bytes - 1] = '\0';
    }
    memcpy(text, payload, payload_bytes);
    text[payload_bytes] = '\0';
    if (payload_bytes > 0 && strlen(text) != payload_bytes - 1)
        mislead(c, "%s has a NUL inside", kind);
    if (link == CONSOLE_LOBBY && on_lobby_push(c, kind, code, text, payload_bytes))
        return;
    if (link == CONSOLE_BUDDY && on_buddy_push(c, kind, code, text))
        return;
    on_reply(c, link, kind, code, text, payload_bytes);
}

void console_feed(struct console *c, enum console_link link, const uint8_t *bytes, size_t size)
{
    struct console_link_state *l = &c->link[link];
    while (size > 0 && l->open && !l->hang_up && !l->jammed) {
        size_t part = sizeof l->in - l->in_bytes;
        part = part < size ? part : size;
        memcpy(l->in + l->in_bytes, bytes, part);
        l->in_bytes += part;
        bytes += part;
        size -= part;
        while (l->in_bytes >= CONSOLE_HEADER_BYTES && !l->jammed && !l->hang_up) {
            uint32_t length = big_endian(l->in + 8);
            if (length < CONSOLE_HEADER_BYTES || length > CONSOLE_FRAME_BYTES) {
                mislead(c, "a frame of %.4s with length %lu", (const char *)l->in, (unsigned long)length);
                l->jammed = true;
                break;
            }
            if (l->in_bytes < length)
                break;
            uint8_t frame[CONSOLE_FRAME_BYTES];
            memcpy(frame, l->in, length);
            l->in_bytes -= length;
            memmove(l->in, l->in + length, l->in_bytes);
            on_frame(c, link, frame, length);
        }
    }
}

/* ---- The driver's side -------------------------------------------------- */

struct console *console_new(uint32_t seed)
{
    struct console *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->chance = seed;
    c->habits.local_ip = 0xC0000264u; /* 192.0.2.100, which emulators report (8) */
    return c;
}

static void clear_link(struct console_link_state *l)
{
    l->open = l->hang_up = l->jammed = false;
    l->out_bytes = l->in_bytes = 0;
    l->pending.count = 0;
}

void console_free(struct console *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < CONSOLE_LINKS; i++) {
        free(c->link[i].out);
        free(c->link[i].pending.at);
    }
    free(c->rooms.at);
    free(c->users.at);
    free(c->ranks.at);
    free(c->rows.at);
    free(c->chat.at);
    free(c->friends.at);
    free(c->letters.at);
    free(c->replies.at);
    free(c);
}

bool console_wants(const struct console *c, enum console_link link, uint32_t *address, uint16_t *port)
{
    const struct console_link_state *l = &c->link[link];
    if (!l->wanted || l->open)
        return false;
    *address = l->address;
    *port = l->port;
    return true;
}

bool console_hangs_up(const struct console *c, enum console_link link)
{
    return c->link[link].open && c->link[link].hang_up;
}

void console_link_opened(struct console *c, enum console_link link)
{
    struct console_link_state *l = &c->link[link];
    clear_link(l);
    l->wanted = false;
    l->open = true;
    l->heard_ms = c->now_ms;
    struct console_tags tags = {.size = 0};
    char address[16];
    switch (link) {
    case CONSOLE_DIRECTORY:
        put_product(&tags);
        ask(c, link, "@dir", tags.text, "");
        break;
    case CONSOLE_LOBBY:
        (void)snprintf(address, sizeof address, "%u.%u.%u.%u", (unsigned)(c->habits.local_ip >> 24),
                       (unsigned)(c->habits.local_ip >> 16 & 0xFFu), (unsigned)(c->habits.local_ip >> 8 & 0xFFu),
                       (unsigned)(c->habits.local_ip & 0xFFu));
        console_put_raw(&tags, "ADDR", address);
        console_put_number(&tags, "PORT", 49152 + (int)(chance(c) % 16384));
        ask(c, link, "addr", tags.text, "");
        break;
    case CONSOLE_BUDDY: {
        char user[64];
        c->buddy_in = false;
        c->roster_left[1] = c->roster_left[2] = -1;
        (void)snprintf(user, sizeof user, "%s/cso/nascar-ps2-2004", c->persona);
        console_put_raw(&tags, "PROD", "NASCAR");
        console_put_raw(&tags, "VERS", "XXX");
        console_put_raw(&tags, "PRES", "NASCAR2004");
        console_put_text(&tags, "USER", user);
        console_put_raw(&tags, "LKEY", c->ticket);
        ask(c, link, "AUTH", tags.text, "");
        break;
    }
    case CONSOLE_LINKS: break;
    }
}

/* Back to the main menu: what the lobby told is void, what the player saw stays. */
static void forget_lobby(struct console *c)
{
    c->stage = CONSOLE_OFF;
    c->rooms.count = c->users.count = c->ranks.count = 0;
    c->room = 0;
    c->room_population = 0;
    c->room_name[0] = '\0';
    c->persona[0] = '\0';
    c->persona_count = 0;
    c->entered = c->greeted = false;
    c->typing_until_ms = 0;
    c->challenge = CONSOLE_IDLE;
    c->walks_before = 0;
    c->play_due = false;
}

static void hang_up(struct console *c, enum console_link link)
{
    c->link[link].wanted = false;
    if (c->link[link].open)
        c->link[link].hang_up = true;
}

void console_link_closed(struct console *c, enum console_link link)
{
    struct console_link_state *l = &c->link[link];
    bool lost = !l->hang_up;
    clear_link(l);
    if (!lost)
        return; /* and if it is wanted again by now, it stays so */
    l->wanted = false;
    l->lost++;
    if (link == CONSOLE_LOBBY) {
        forget_lobby(c);
        hang_up(c, CONSOLE_BUDDY);
    } else if (link == CONSOLE_DIRECTORY) {
        c->stage = CONSOLE_OFF;
    } else {
        c->buddy_in = false;
    }
}

size_t console_waiting(const struct console *c, enum console_link link)
{
    return c->link[link].out_bytes;
}

size_t console_take(struct console *c, enum console_link link, uint8_t *bytes, size_t size)
{
    struct console_link_state *l = &c->link[link];
    size = size < l->out_bytes ? size : l->out_bytes;
    if (size > 0) {
        memcpy(bytes, l->out, size);
        l->out_bytes -= size;
        memmove(l->out, l->out + size, l->out_bytes);
    }
    return size;
}

#define SILENCE_MS 60000u /* without a frame from the server [con] (7) */

void console_tick(struct console *c, uint64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->typing_until_ms != 0 && now_ms >= c->typing_until_ms)
        typed(c);
    struct console_link_state *lobby = &c->link[CONSOLE_LOBBY];
    if (lobby->open && !lobby->hang_up && now_ms - lobby->heard_ms > SILENCE_MS) {
        if (!c->habits.endures)
            mislead(c, "60 s without a frame from the lobby");
        console_leave(c);
        lobby->lost++;
    }
}

uint64_t console_deadline_ms(const struct console *c)
{
    uint64_t due = UINT64_MAX;
    const struct console_link_state *lobby = &c->link[CONSOLE_LOBBY];
    if (lobby->open && !lobby->hang_up)
        due = lobby->heard_ms + SILENCE_MS + 1;
    if (c->typing_until_ms != 0 && c->typing_until_ms < due)
        due = c->typing_until_ms;
    return due;
}

/* ---- The player's side -------------------------------------------------- */

static void begin(struct console *c, const char *name, const char *password, const char *persona, bool new_account)
{
    copy_text(c->name, sizeof c->name, name);
    copy_text(c->password, sizeof c->password, password);
    copy_text(c->wanted_persona, sizeof c->wanted_persona, persona);
    c->new_account = new_account;
    if (c->stage == CONSOLE_LOGIN) {
        start_typing(c);
    } else if (c->stage == CONSOLE_OFF) {
        c->stage = CONSOLE_CONNECTING;
        c->refused = 0;
        c->down[0] = '\0';
        want(c, CONSOLE_DIRECTORY, 0, 0);
    }
}

void console_login(struct console *c, const char *name, const char *password, const char *persona)
{
    begin(c, name, password, persona, false);
}

void console_signup(struct console *c, const char *name, const char *password, const char *mail, const char *persona)
{
    copy_text(c->mail, sizeof c->mail, mail);
    begin(c, name, password, persona, true);
}

void console_choose_persona(struct console *c, const char *persona)
{
    copy_text(c->wanted_persona, sizeof c->wanted_persona, persona);
    if (c->stage == CONSOLE_PERSONAS)
        take_persona(c);
}

void console_delete_persona(struct console *c, const char *persona)
{
    ask_one(c, "dper", "PERS", persona);
}

void console_move(struct console *c, const char *room, const char *password)
{
    struct console_tags tags = {.size = 0};
    console_put_text(&tags, "NAME", room);
    console_put_text(&tags, "PASS", password);
    ask_tags(c, "move", &tags, room);
}

void console_create_room(struct console *c, const char *name, const char *password, const char *about, int32_t limit)
{
    struct console_tags tags = {.size = 0};
    console_put_text(&tags, "NAME", name);
    console_put_text(&tags, "PASS", password);
    console_put_text(&tags, "DESC", about);
    console_put_number(&tags, "MAX", limit);
    ask_tags(c, "room", &tags, name);
}

void console_chat(struct console *c, const char *text)
{
    ask_one(c, "mesg", "TEXT", text);
}

void console_tell(struct console *c, const char *persona, const char *text)
{
    struct console_tags tags = {.size = 0};
    console_put_text(&tags, "TEXT", text);
    console_put_text(&tags, "PRIV", persona);
    ask_tags(c, "mesg", &tags, persona);
}

void console_look(struct console *c, const char *persona)
{
    ask_one(c, "user", "PERS", persona);
}

void console_peek(struct console *c, const char *name)
{
    ask_one(c, "peek", "NAME", name);
}

void console_select(struct console *c, const char *tags)
{
    c->rooms_muted = c->rooms_muted || strstr(tags, "ROOMS=0") != NULL;
    ask(c, CONSOLE_LOBBY, "sele", tags, "");
}

void console_status(struct console *c, const char *text)
{
    ask_one(c, "auxi", "TEXT", text);
}

void console_read_news(struct console *c)
{
    ask(c, CONSOLE_LOBBY, "news", "NAME=1\n", "1");
}

void console_leaderboard(struct console *c, int32_t channel, const char *find, int32_t range)
{
    struct console_tags tags = {.size = 0};
    console_put_number(&tags, "INDEX", 0);
    console_put_number(&tags, "CHAN", channel);
    console_put_text(&tags, "FIND", find);
    console_put_number(&tags, "RANGE", range);
    ask_tags(c, "snap", &tags, find);
}

void console_report_abuse(struct console *c, const char *persona)
{
    ask_one(c, "rept", "PERS", persona);
}

/* A word in base 36, as the game's tokens are made of. */
static void base36(char *out, size_t letters, uint32_t number)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (size_t i = 0; i < letters; i++, number /= 36)
        out[i] = digits[number % 36];
}

static size_t walks_under_way(const struct console *c)
{
    const struct console_link_state *lobby = &c->link[CONSOLE_LOBBY];
    size_t walks = 0;
    for (size_t i = 0; i < lobby->pending.count; i++) {
        const char *kind = lobby->pending.at[i].kind;
        walks += strcmp(kind, "move") == 0 || strcmp(kind, "room") == 0 ? 1 : 0;
    }
    return walks;
}

bool console_challenge_player(struct console *c, const char *persona, const char *token)
{
    char made[] = "00000_00000_g";
    if (c->challenge != CONSOLE_IDLE)
        return false;
    if (token == NULL) {
        base36(made, 5, chance(c));
        base36(made + 6, 5, chance(c));
        token = made;
    }
    c->challenge = CONSOLE_OFFERED;
    c->challenger = true;
    c->walks_before = walks_under_way(c);
    if (strcmp(c->confused, persona) == 0)
        c->confused[0] = '\0';
    copy_text(c->opponent, sizeof c->opponent, persona);
    copy_text(c->token, sizeof c->token, token);
    if (c->habits.peeks) {
        console_peek(c, persona);
        console_status(c, token);
    } else {
        console_look(c, persona);
        send_mark(c, persona, token);
    }
    return true;
}

void console_answer(struct console *c, const char *answer)
{
    if (c->challenge != CONSOLE_RECEIVED)
        return;
    bool accept = begins(answer, "ACPT");
    c->challenge = accept ? CONSOLE_ACCEPTED : CONSOLE_IDLE;
    send_mark(c, c->opponent, answer);
    if (accept && !c->habits.slow_chal)
        console_say_ready(c, false);
}

void console_cancel(struct console *c)
{
    if (c->challenge == CONSOLE_OFFERED || c->challenge == CONSOLE_ACCEPTED || c->challenge == CONSOLE_RECEIVED) {
        c->challenge = CONSOLE_IDLE;
        send_mark(c, c->opponent, "DECL");
    }
}

void console_say_ready(struct console *c, bool host)
{
    struct console_tags tags = {.size = 0};
    console_put_text(&tags, "PERS", c->opponent);
    console_put_number(&tags, "HOST", host ? 1 : 0);
    ask_tags(c, "chal", &tags, c->opponent);
}

void console_back_in_lobby(struct console *c)
{
    c->challenge = CONSOLE_IDLE;
    ask(c, CONSOLE_LOBBY, "chal", "PERS=*\n", "*");
}

void console_report_race(struct console *c, const struct console_result *result)
{
    struct console_tags tags = {.size = 0};
    uint32_t when = (uint32_t)c->race[0xCC] | (uint32_t)c->race[0xCD] << 8 | (uint32_t)c->race[0xCE] << 16 |
                    (uint32_t)c->race[0xCF] << 24;
    console_put_raw(&tags, "AUTH", c->race_ticket);
    console_put_number(&tags, "WHEN", when);
    console_put_text(&tags, "NAME0", (const char *)c->race + 0x80);
    console_put_text(&tags, "NAME1", (const char *)c->race + 0x90);
    for (size_t i = 0; i < 2; i++) {
        const struct {
            const char *key[2];
            int32_t value;
        } part[] = {
            {{"STARTPOS0", "STARTPOS1"}, result->start[i]},
            {{"FINISPOS0", "FINISPOS1"}, result->finish[i]},
            {{"LAPSCOMP0", "LAPSCOMP1"}, result->laps[i]},
            {{"LAPSLED0", "LAPSLED1"}, result->led[i]},
            {{"DISCTIME0", "DISCTIME1"}, result->disconnected[i]},
            {{"DISQTIME0", "DISQTIME1"}, result->disqualified[i]},
        };
        for (size_t k = 0; k < sizeof part / sizeof part[0]; k++)
            console_put_number(&tags, part[k].key[i], part[k].value);
    }
    console_put_number(&tags, "RACETIME", result->race_time);
    console_put_number(&tags, "SET_TRACKID", result->track);
    console_put_number(&tags, "SET_NUMAI", result->cars);
    console_put_number(&tags, "SET_RACELEN", result->length);
    ask_tags(c, "rank", &tags, c->race_ticket);
}

static void send_roster(struct console *c, const char *kind, const char *persona, bool ignore)
{
    struct console_tags tags = {.size = 0};
    bool add = strcmp(kind, "RADD") == 0;
    if (add)
        console_put_raw(&tags, "LRSC", "cso");
    console_put_number(&tags, "ID", 101);
    if (add) {
        console_put_raw(&tags, "LIST", ignore ? "I" : "B");
        console_put_raw(&tags, "PRES", "Y");
    }
    console_put_text(&tags, "USER", persona);
    console_put_raw(&tags, add ? "GROUP" : "LIST", add ? "" : ignore ? "I" : "B");
    ask(c, CONSOLE_BUDDY, kind, tags.text, add ? (ignore ? "I" : "B") : persona);
}

void console_add_friend(struct console *c, const char *persona, bool ignore)
{
    send_roster(c, "RADD", persona, false);
    if (ignore) /* to block, both lists with one ID [con] (9) */
        send_roster(c, "RADD", persona, true);
}

void console_drop_friend(struct console *c, const char *persona, bool ignore)
{
    send_roster(c, "RDEL", persona, ignore);
}

void console_write_letter(struct console *c, const char *persona, const char *body)
{
    struct console_tags tags = {.size = 0};
    console_put_raw(&tags, "TYPE", "C");
    console_put_text(&tags, "USER", persona);
    console_put_text(&tags, "BODY", body);
    console_put_number(&tags, "SECS", 259200);
    ask(c, CONSOLE_BUDDY, "SEND", tags.text, persona);
}

void console_leave(struct console *c)
{
    for (size_t i = 0; i < CONSOLE_LINKS; i++)
        hang_up(c, (enum console_link)i);
    forget_lobby(c);
    c->buddy_in = false;
}

/* ---- Looking at it ------------------------------------------------------ */

size_t console_awaits(const struct console *c, enum console_link link)
{
    return c->link[link].pending.count;
}

size_t console_saw(const struct console *c, const char *from, const char *text)
{
    size_t times = 0;
    for (size_t i = 0; i < c->chat.count; i++) {
        const struct console_line *line = &c->chat.at[i];
        times += strcmp(line->text, text) == 0 && (from == NULL || strcmp(line->from, from) == 0);
    }
    return times;
}
