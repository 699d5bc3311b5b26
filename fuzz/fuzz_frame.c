/* Any bytes to the reader of a proxy's header, and then to the frame decoder and the
 * readers of tags. What was read is written by the server's own writers, and must read
 * the same again.
 *
 * SPDX-License-Identifier: MIT */
#include "fuzz.h"

#define MOST_TAGS 24u /* of one frame; the rest is as the first ones */

bool fuzz_wants_hash;
static uint64_t hash, runs, frames, tags;

uint64_t fuzz_hash(void)
{
    return hash;
}

void fuzz_statistics(void)
{
    (void)fprintf(stderr, "%llu runs, frames a run %.2f, tags a frame %.2f\n", (unsigned long long)runs,
                  (double)frames / (double)(runs + !runs), (double)tags / (double)(frames + !frames));
}

/* What find_tag() says, in a word of its own: the first of all places. */
static bool is_tag_at(const uint8_t *payload, uint32_t equals, const char *key, bool lines)
{
    uint32_t n = (uint32_t)strlen(key);
    if (equals < n || (equals > n && (payload[equals - n - 1] >= 0x21 || (lines && payload[equals - n - 1] != '\n'))))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (lower(payload[equals - n + i]) != lower((uint8_t)key[i]))
            return false;
    return true;
}

/* Tags by their first letter, so that a key is looked up without all of them. */
static uint8_t first_of[27], next_of[TAG_COUNT];

static void sort_tags(void)
{
    memset(first_of, 0xff, sizeof first_of);
    for (uint32_t t = TAG_COUNT; t-- > 0;) {
        uint8_t *first = &first_of[tag_names[t][0] - 'A'];
        next_of[t] = *first;
        *first = (uint8_t)t;
    }
}

_Static_assert(TAG_COUNT < 0xff, "a tag is one byte here");

/* The server's tag whose `=` or `:` stands here; TAG_COUNT if it is none. */
static uint32_t tag_at(const uint8_t *payload, uint32_t equals, bool lines)
{
    uint32_t start = equals;
    while (start > 0 && payload[start - 1] >= 0x21 && equals - start < 16)
        start--;
    if (start == equals || !is_letter(payload[start]))
        return TAG_COUNT;
    for (uint32_t t = first_of[lower(payload[start]) - 'a']; t < TAG_COUNT; t = next_of[t])
        if (is_tag_at(payload, equals, tag_names[t], lines))
            return t;
    return TAG_COUNT;
}

/* Writes one value in each way that the server has, and reads it again. */
static void write_and_read(enum tag tag, const char *text, uint32_t number, uint32_t flags, const uint32_t *address)
{
    static struct outgoing f;
    struct frame frame;
    char again[CHAT_CHARS + 1], letters[32];
    const uint8_t *payload = f.bytes + HEADER_BYTES;
    const enum tag other[3] = {tag == tag_N ? tag_S : tag_N, tag == tag_F ? tag_S : tag_F,
                               tag == tag_A ? tag_S : tag_A};
    memset(&f, 0x55, sizeof f);
    frame_begin(&f, "+msg", "");
    put_number(&f, other[0], to_signed(number));
    write_flags(letters, flags);
    put_raw(&f, other[1], letters);
    if (address)
        put_address(&f, other[2], *address);
    put_text(&f, tag, text);
    frame_end(&f);
    DEMAND(read_frame(f.bytes, f.size, &frame) == FRAME_WHOLE && frame.size == f.size);
    DEMAND(read_frame(f.bytes, f.size - 1, &frame) == FRAME_PART);
    uint32_t size = payload_size(payload, f.size - HEADER_BYTES), wanted = (uint32_t)strlen(text), got = 0;
    DEMAND(size == f.size - HEADER_BYTES - 1);
    uint32_t at = find_tag(payload, size, tag_names[tag]);
    DEMAND(at != NOT_THERE);
    memset(again, 0x55, sizeof again);
    DEMAND(read_string(payload, size, at, again, sizeof again) == wanted && strcmp(again, text) == 0);
    DEMAND(read_number(payload, size, find_tag(payload, size, tag_names[other[0]])) == number);
    DEMAND(read_flags(payload, size, find_tag(payload, size, tag_names[other[1]])) == flags);
    DEMAND(!address ||
           (read_address(payload, size, find_tag(payload, size, tag_names[other[2]]), &got) && got == *address));
    hash_in(&hash, f.bytes, f.size);
}

/* What the console does to a password, in its two forms. */
static void ssc2_encode(const uint8_t *key, uint32_t key_size, const char *password, char out[SSC2_CHARS + 2])
{
    struct ssc2 x;
    uint8_t run = 0;
    size_t length = strlen(password);
    ssc2_init(&x);
    ssc2_absorb(&x, key, key_size, 16);
    *out++ = '~';
    for (size_t i = 0; i < SSC2_CHARS; i++) {
        uint8_t p = i < length ? (uint8_t)password[i] : 0x7f;
        run ^= ssc2_next(&x);
        *out++ = (char)(0x20 + (p - 0x20 + run % 96) % 96);
    }
    *out = 0;
}

static void mask_encode(const char *mask, const char *password, char out[2 * SSC2_CHARS + 2])
{
    size_t mask_size = strlen(mask);
    uint8_t last = 0;
    *out++ = '$';
    for (size_t i = 0; password[i]; i++) {
        uint8_t v = (uint8_t)((uint8_t)password[i] ^ last);
        last = (uint8_t)((uint8_t)(v << 3 | v >> 5) ^ (uint8_t)mask[i % mask_size]);
        write_hex(out, &last, 1);
        out += 2;
    }
    *out = 0;
}

/* A password in its second form comes back; the first one takes 8000 turns of a
 * CRC, so only some are tried. */
static void read_password(const char *text, uint32_t size)
{
    char plain[SSC2_CHARS + 1], form[2 * SSC2_CHARS + 2], again[SSC2_CHARS + 1];
    uint8_t key[16];
    uint32_t n = NOT_THERE;
    memset(plain, 0x55, sizeof plain);
    if (text[0] == '$')
        n = mask_decode("12ab", text + 1, plain);
    if (text[0] == '$' && n != NOT_THERE) {
        DEMAND(n == strlen(plain) && n <= SSC2_CHARS);
        mask_encode("12ab", plain, form);
        DEMAND(mask_decode("12ab", form + 1, again) == n && strcmp(again, plain) == 0);
    }
    if (text[0] != '~' || size % 8 != 7)
        return;
    memset(key, text[1], sizeof key);
    n = ssc2_decode(key, sizeof key, text + 1, plain);
    if (n == NOT_THERE)
        return;
    DEMAND(n == strlen(plain) && n <= SSC2_CHARS);
    ssc2_encode(key, sizeof key, plain, form);
    DEMAND(ssc2_decode(key, sizeof key, form + 1, again) == n && strcmp(again, plain) == 0);
}

static void read_tag(const uint8_t *payload, uint32_t size, enum tag tag, uint32_t equals)
{
    char text[CHAT_CHARS + 1], cut[5];
    uint32_t address, at = find_tag(payload, size, tag_names[tag]);
    DEMAND(at != NOT_THERE && at <= size);
    DEMAND(at == equals + 1 || (at == equals + 2 && payload[equals + 1] == ' '));
    memset(text, 0x55, sizeof text);
    uint32_t length = read_string(payload, size, at, text, sizeof text), stored = (uint32_t)strlen(text);
    DEMAND(stored == (length < sizeof text ? length : sizeof text - 1));
    DEMAND(read_string(payload, size, at, cut, sizeof cut) == length && strncmp(cut, text, 4) == 0);
    DEMAND(read_string(payload, size, at, NULL, 0) == length);
    DEMAND(!valid_name(text, PERSONA_CHARS) || (stored >= 2 && stored <= PERSONA_CHARS));
    DEMAND(!valid_token(text, length) || length <= TOKEN_CHARS);
    DEMAND(!valid_room_name(text) || stored <= ROOM_CHARS);
    int32_t age = age_at(text, 1767225600);
    DEMAND(age >= -1 && age <= 150);
    uint32_t number = read_number(payload, size, at), flags = read_flags(payload, size, at);
    bool quad = read_address(payload, size, at, &address);
    write_and_read(tag, text, number, flags, quad ? &address : NULL);
    read_password(text, length);
    hash_in(&hash, &age, sizeof age);
}

static void read_payload(const uint8_t *payload, uint32_t size)
{
    uint32_t seen[(TAG_COUNT + 31) / 32] = {0}, found = 0;
    bool lines = size > 0 && memchr(payload, '\n', size) != NULL;
    for (uint32_t i = 0; i < size && found < MOST_TAGS; i++) {
        if (payload[i] != '=' && payload[i] != ':')
            continue;
        uint32_t t = tag_at(payload, i, lines);
        if (t == TAG_COUNT || seen[t / 32] >> t % 32 & 1)
            continue;
        seen[t / 32] |= 1u << t % 32;
        read_tag(payload, size, (enum tag)t, i);
        found++;
    }
    tags += found;
    /* A tag that is not there is not found: the first three of those. */
    for (uint32_t t = 0, missing = 0; t < TAG_COUNT && missing < 3 && found < MOST_TAGS; t++) {
        if (seen[t / 32] >> t % 32 & 1)
            continue;
        DEMAND(find_tag(payload, size, tag_names[t]) == NOT_THERE);
        missing++;
    }
}

/* The tags that have a text of a player's in some request, the last of its fields. */
static const enum tag words[] = {tag_TEXT, tag_NAME, tag_DESC, tag_MAIL, tag_STAT, tag_PROD, tag_BODY,
                                 tag_PASS, tag_CHNG, tag_PERS, tag_FIND, tag_USER, tag_N,    tag_PRIV};

#define MOST_WORDS 384u /* bytes: longer ones are as these */

/* `cut`: where the last field begins. An earlier one whose quote is never closed goes on into it. */
static bool same_value(const uint8_t *a, uint32_t a_size, const uint8_t *b, uint32_t b_size, uint32_t cut,
                       const char *key)
{
    char text[2][CHAT_CHARS + 1];
    uint32_t at = find_tag(a, a_size, key), other = find_tag(b, b_size, key), quad[2] = {0, 0};
    if (at != other || at == NOT_THERE)
        return at == other;
    if (read_string(b, cut, at, text[0], sizeof text[0]) != read_string(b, b_size, at, text[1], sizeof text[1]))
        return true;
    return read_string(a, a_size, at, text[0], sizeof text[0]) == read_string(b, b_size, at, text[1], sizeof text[1]) &&
           strcmp(text[0], text[1]) == 0 && read_number(a, a_size, at) == read_number(b, b_size, at) &&
           read_flags(a, a_size, at) == read_flags(b, b_size, at) &&
           read_address(a, a_size, at, &quad[0]) == read_address(b, b_size, at, &quad[1]) && quad[0] == quad[1];
}

/* Whatever a player types into the last field, all others read as if he had typed
 * nothing. The payload's last line is what he types, those before it are the others. */
static void read_words(const uint8_t *payload, uint32_t size)
{
    static uint8_t typed[2 * INBOX_BYTES], plain[2 * INBOX_BYTES];
    uint32_t cut = size;
    while (cut > 0 && payload[cut - 1] != '\n')
        cut--;
    if (size > MOST_WORDS)
        return;
    enum tag tag = words[(size + cut) % (sizeof words / sizeof words[0])];
    uint32_t n = (uint32_t)strlen(tag_names[tag]), head = cut + n + 1;
    memcpy(typed, payload, cut);
    memcpy(typed + cut, tag_names[tag], n);
    typed[cut + n] = '=';
    memcpy(plain, typed, head);
    memcpy(typed + head, payload + cut, size - cut);
    typed[head + size - cut] = plain[head] = '\n';
    for (uint32_t t = 0; t < TAG_COUNT; t++)
        DEMAND(t == (uint32_t)tag || same_value(typed, head + size - cut + 1, plain, head + 1, cut, tag_names[t]));
}

/* A PROXY header is the same however it is cut: with fewer bytes than show what it is
 * it is a part, with more nothing changes. Returns its size, 0 if there is none. */
static uint32_t read_proxy(const uint8_t *bytes, uint32_t size)
{
    struct proxy_header header, again;
    enum frame_state state = read_proxy_header(bytes, size, &header);
    hash_in(&hash, &state, sizeof state);
    DEMAND((state == FRAME_BROKEN) == (header.broken != NULL));
    DEMAND(state == FRAME_PART ? size < PROXY_HEADER_BYTES : header.size > 0 && header.size <= size);
    DEMAND(state == FRAME_WHOLE || (header.source == 0 && header.destination == 0));
    DEMAND(header.source != 0 || header.destination == 0);
    uint32_t shown = state == FRAME_PART ? size : header.size;
    for (uint32_t n = shown > 128 ? shown - 128 : 0; n <= shown && n <= size; n++) {
        uint8_t *part = exact_copy(bytes, n);
        enum frame_state said = read_proxy_header(part, n, &again);
        DEMAND(said == (n < shown ? FRAME_PART : state));
        DEMAND(n < shown || state == FRAME_PART || memcmp(&header, &again, sizeof header) == 0);
        free(part);
    }
    hash_in(&hash, &header.source, sizeof header.source);
    return state == FRAME_WHOLE ? header.size : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame frame;
    uint32_t at = 0;
    if (!next_of[0] && !next_of[1])
        sort_tags();
    if (size > 2 * INBOX_BYTES)
        size = 2 * INBOX_BYTES;
    hash = size;
    runs++;
    uint8_t *bytes = exact_copy(data, size);
    at = read_proxy(bytes, (uint32_t)size);
    while (at < size) {
        memset(&frame, 0x55, sizeof frame);
        enum frame_state state = read_frame(bytes + at, (uint32_t)size - at, &frame);
        hash_in(&hash, &state, sizeof state);
        if (state != FRAME_WHOLE)
            break;
        DEMAND(frame.size >= HEADER_BYTES && frame.size <= size - at);
        uint32_t room = frame.size - HEADER_BYTES, n = payload_size(bytes + at + HEADER_BYTES, room);
        DEMAND(n <= room);
        frames++;
        read_payload(bytes + at + HEADER_BYTES, n);
        read_words(bytes + at + HEADER_BYTES, n);
        at += frame.size;
    }
    free(bytes);
    return 0;
}
