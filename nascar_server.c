/* nascar_server: the online service of NASCAR Thunder 2004 (PlayStation 2).
 *
 * One file in two halves. The core, first, is a deterministic state machine:
 * no system call, no clock, no randomness, no allocation, no variable outside
 * the caller's arena. The shell, below the double line, is everything that
 * touches the operating system; NASCAR_NO_SHELL leaves it out.
 *
 * To see the whole machine start at nascar_step() and at the table of commands
 * above it. "PROTOCOL n" in a comment names the section of the protocol
 * reference that a fact comes from.
 *
 * SPDX-License-Identifier: MIT */
#ifndef NASCAR_NO_SHELL
#define _GNU_SOURCE 1 /* accept4, pipe2, crypt_r */
#endif

#include "nascar_server.h"

#undef NDEBUG /* assertions stay on in release builds */
#include <assert.h>
#include <string.h>

/* ---- Limits ------------------------------------------------------------- */

/* PROTOCOL 1 and 2: what the console keeps, in bytes without the NUL. */
#define ACCOUNT_CHARS 16u
#define PASSWORD_CHARS 16u
#define PERSONA_CHARS 12u
#define ROOM_CHARS 31u
#define DESCRIPTION_CHARS 31u
#define CHAT_CHARS 255u
#define TOKEN_CHARS 127u      /* a challenge, and +usr X */
#define POP_CHARS 511u        /* +pop Z */
#define NEWS_REPLY_BYTES 255u /* the whole reply to `news` */
#define DOWN_CHARS 255u
#define PERSONAS_PER_ACCOUNT 4u
#define PERSONA_LIST_CHARS (PERSONAS_PER_ACCOUNT * (PERSONA_CHARS + 1u))
#define ROSTER_PER_PERSONA 25u
#define MESSAGES_PER_PERSONA 50u /* PROTOCOL 9 */
#define SEARCH_ROWS 20u
#define LEADERBOARD_CHARS 64u /* S: seven numbers in hex */

/* Ours. */
#define MAIL_CHARS 63u
#define HASH_CHARS 95u                                   /* bcrypt has 60, sha512crypt up to 123 is not used */
#define ANY_NAME_CHARS 31u                               /* longest name looked up: a room's */
#define NEWS_CHARS (NEWS_REPLY_BYTES - HEADER_BYTES - 1) /* the news screen, with the ends of its lines */
#define CONFIG_ROOMS 32u
#define PRODUCT_CHARS 63u /* PSET PROD; its STAT is cut to CHAT_CHARS */
#define WATCHES_ASKED 25u /* PADDs of a buddy link */
#define ROWS_ASKED 100u   /* most rows of a leaderboard at once */
#define REPORTS_PER_PERSONA 16u
#define REPORT_LINES_A_STEP 32u
#define UNKNOWN_KINDS 10u /* PROTOCOL 6: ten unknown kinds close */

/* Sizes of tables that no option changes; whoever compiles this may. */
#ifndef CHAT_LINES
#define CHAT_LINES 200u /* PROTOCOL 5: kept for an abuse report */
#endif
#ifndef REPORTS
#define REPORTS 256u
#endif
#ifndef REPORT_LINES
#define REPORT_LINES 8192u /* of all reports */
#endif
#ifndef RACES_PER_CLIENT
#define RACES_PER_CLIENT 16u /* open tickets: a day of racing */
#endif
#ifndef ADDRESSES_KEPT
#define ADDRESSES_KEPT 1024u /* without a connection, for what they did lately */
#endif
#ifndef CONNECTIONS_SPARE
#define CONNECTIONS_SPARE 64u /* for those who come and go */
#endif
#ifndef PRESENCES_SPARE
#define PRESENCES_SPARE 64u /* for those who have left a room and are not told yet */
#endif
#ifndef PING_SLOTS
#define PING_SLOTS 60u /* PROTOCOL 7: pings are spread over the period */
#endif

#define HEADER_BYTES 12u
#define INBOX_BYTES 2048u     /* PROTOCOL 1: one frame of up to 2 KiB */
#define FRAME_OUT_BYTES 2048u /* PROTOCOL 1: under 4 KiB */
#define OUTBOX_BYTES 8188u    /* with its link, two pages */
#define REPLY_BYTES 3072u     /* most that one request writes to its sender's own outbox */
#define CHAT_BYTES 1792u      /* the largest +msg: N, FROM, T and TEXT with every byte escaped */
#define ROW_BYTES 768u        /* the largest generated row: a full +pop */
#define RECORD_BYTES NASCAR_RECORD_BYTES
#define RECORDS 64u /* a step may leave, and hash jobs likewise */
#define LOG_BYTES 16384u

static_assert(NEWS_CHARS == 242, "as config_set says");
static_assert(PING_SLOTS >= 2, "a wheel has two halves");
static_assert(OUTBOX_BYTES >= REPLY_BYTES + CHAT_BYTES + ROW_BYTES, "an empty outbox takes chat and rows");
static_assert(REPLY_BYTES >= FRAME_OUT_BYTES + 1024, "a reply, and what follows it");
static_assert(CHAT_BYTES >= HEADER_BYTES + 6 * CHAT_CHARS + 200, "an escaped byte takes three");
static_assert(ROW_BYTES >= HEADER_BYTES + POP_CHARS + 8, "+pop fits a row");
static_assert(ROW_BYTES >= HEADER_BYTES + 3 * TOKEN_CHARS + 200, "+usr fits a row");

/* A step starts only with this much entropy: the most that one frame draws
 * (@dir: four tries for SESS, and MASK; ACPT: SEED and AUTH), and the key. */
#define STEP_ENTROPY 64u

#define PING_BATCH_MS 500u    /* at most two batches a second */
#define THROTTLE_MS 250u      /* how often input over its rate is tried again */
#define SLOW_MS 30000u        /* a reader stuck for so long is closed */
#define SESSIONS_PER_PEER 64u /* more than one household's consoles */
#define DIRECTORY_MS 1800000u /* PROTOCOL 3.1: SESS and MASK are kept 30 minutes */
#define ADDRESS_MS 600000u    /* so long is remembered what an address did; its limits are for this time */
#define FREE_FAILURES 5u      /* so many before an address has to wait */
#define REMATCH_MS 30000u     /* PROTOCOL 5: a new challenge ends a race after 30 s */
#define TICKET_S 43200        /* PROTOCOL 9: LKEY lives 12 hours */
#define RACE_S 86400          /* PROTOCOL 5: AUTH lives 24 hours */
#define MESSAGE_S 259200      /* PROTOCOL 9: SECS as the console sends it */
#define MESSAGE_MAX_S 2592000 /* 30 days */
#define SWEEP_MS 60000u       /* a full table is searched for what has expired so often at most */
#define RACES_PER_PERSONA 32u /* ... and nobody takes all of them */
#define BURST_MS 6000u        /* the token bucket holds what its rate gives in this time */

#define FIRST_CREATED_ROOM 1001u /* PROTOCOL 3.3 */

/* ---- Protocol vocabulary ------------------------------------------------ */

/* Every tag that the server reads or writes; tag_names[tag_X] is "X". */
/* clang-format off */
#define TAGS(X) \
    X(A) X(ADDR) X(AGE) X(ALTS) X(ATTR) X(AUTH) X(BAN) X(BODY) X(BORN) X(BUDDY_PORT) X(BUDDY_URL) X(CHAN) \
    X(CHNG) X(COUNT) X(CREATED) X(D) X(DESC) X(DIRECT) X(DISCTIME0) X(DISCTIME1) X(DISQTIME0) \
    X(DISQTIME1) X(DOWN) X(F) X(FIND) X(FINISPOS0) X(FINISPOS1) X(FLAGS) X(FROM) X(FUSR) X(GROUP) X(H) \
    X(HASH) X(HOST) X(I) X(ID) X(IDENT) X(INDEX) X(INFO) X(L) X(LAPSCOMP0) X(LAPSCOMP1) X(LAPSLED0) \
    X(LAPSLED1) X(LAST) X(LCOUNT) X(LIDENT) X(LIST) X(LKEY) X(MAIL) X(MASK) X(MAX) X(MESGS) X(MINAGE) \
    X(MODE) X(MORE) X(N) X(NAME) X(NEWS0) X(NEWS1) X(NEWS2) X(NEWS3) X(OPPO) X(OPTS) X(P) X(P1) X(P2) \
    X(P3) X(P4) X(PASS) X(PERS) X(PERSONAS) X(PORT) X(PRIV) X(PROD) X(R) X(RACETIME) X(RANGE) X(RANK) \
    X(RANKS) X(REF) X(RF) X(RI) X(ROOM) X(ROOMS) X(RT) X(S) X(SECS) X(SEED) X(SELF) X(SEQN) X(SESS) \
    X(SET_NUMAI) X(SET_RACELEN) X(SET_TRACKID) X(SHOW) X(SIZE) X(SKEY) X(SLOTS) X(SPAM) X(START) \
    X(STARTPOS0) X(STARTPOS1) X(STAT) X(STATUS) X(T) X(TEXT) X(TIME) X(TITLE) X(TOS) X(TYPE) X(USER) \
    X(USERS) X(WHEN) X(X) X(Z)

enum tag {
#define X(name) tag_##name,
    TAGS(X)
#undef X
    TAG_COUNT
};
/* clang-format on */

static const char *const tag_names[TAG_COUNT] = {
#define X(name) #name,
    TAGS(X)
#undef X
};

/* PROTOCOL 6: what a request can fail with: the letters of the header's code
 * word, which the console tests, and STATUS for clients that read the body. */
enum failure {
    OK,
    MISSING, /* malformed or missing tags, state not allowed */
    NO_ACCOUNT,
    WRONG_PASSWORD,
    BANNED,
    TOO_MANY_TRIES,
    NO_SESSION,
    NO_USER,
    ROOM_FULL,
    NO_ROOM,
    EXPIRED,
    BUSY,
    BAD_TOKEN,
    TAKEN,
    BAD_NAME,
    TOO_MANY_PERSONAS,
    ROSTER_FULL,
    BAD_TICKET,  /* buddy AUTH, PROTOCOL 9 */
    SERVER_FULL, /* a table of ours */
    NOT_KEPT,    /* the record could not be made durable */
    FAILURE_COUNT
};

static const struct {
    char code[5];
    uint8_t status;
} failures[FAILURE_COUNT] = {
    [OK] = {"", 1},
    [MISSING] = {"miss", 0},
    [NO_ACCOUNT] = {"imst", 100},
    [WRONG_PASSWORD] = {"pass", 100},
    [BANNED] = {"blak", 100},
    [TOO_MANY_TRIES] = {"hack", 100},
    [NO_SESSION] = {"sess", 101},
    [NO_USER] = {"user", 102},
    [ROOM_FULL] = {"full", 103},
    [NO_ROOM] = {"nrom", 0},
    [EXPIRED] = {"time", 104},
    [BUSY] = {"ingm", 105},
    [BAD_TOKEN] = {"tokn", 106},
    [TAKEN] = {"dupl", 0},
    [BAD_NAME] = {"inam", 0},
    [TOO_MANY_PERSONAS] = {"maxp", 0},
    [ROSTER_FULL] = {"full", 0},
    [BAD_TICKET] = {"user", 101},
    [SERVER_FULL] = {"full", 0},
    [NOT_KEPT] = {"fail", 0},
};

/* ---- Bytes -------------------------------------------------------------- */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/*@ requires \valid_read(p + (0 .. 3));
    assigns \nothing; */
static uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static void store_le32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

static inline uint64_t load_le64(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

/* Two's complement without implementation-defined conversion. */
static int32_t to_signed(uint32_t v)
{
    return v <= INT32_MAX ? (int32_t)v : (int32_t)(v - 0x80000000u) + INT32_MIN;
}

/* Clears what held a password; the compiler may not leave it out. */
static void wipe(void *memory, size_t size)
{
    volatile uint8_t *p = memory;
    while (size--)
        *p++ = 0;
}

/* Takes the same time wherever the difference is. */
static bool equal_secret(const uint8_t *a, const uint8_t *b, size_t size)
{
    uint8_t difference = 0;
    for (size_t i = 0; i < size; i++)
        difference |= (uint8_t)(a[i] ^ b[i]);
    return difference == 0;
}

static inline uint64_t rotate(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

/* SipHash-2-4, so that nobody who chooses names chooses collisions. */
static uint64_t siphash(const uint64_t key[2], const uint8_t *data, size_t size)
{
    uint64_t a = key[0] ^ 0x736f6d6570736575u, b = key[1] ^ 0x646f72616e646f6du, c = key[0] ^ 0x6c7967656e657261u,
             d = key[1] ^ 0x7465646279746573u;
    uint64_t last = (uint64_t)size << 56;
    size_t whole = size - size % 8;
    for (size_t i = whole; i < size; i++)
        last |= (uint64_t)data[i] << 8 * (i - whole);
    for (size_t i = 0; i <= whole + 8; i += 8) { /* the words, the last of them, and the end */
        bool ends = i > whole;
        uint64_t m = i < whole ? load_le64(data + i) : ends ? 0 : last;
        d ^= m;
        c ^= ends ? 0xff : 0;
        for (int rounds = ends ? 4 : 2; rounds > 0; rounds--) {
            /* clang-format off */
            a += b; b = rotate(b, 13) ^ a; a = rotate(a, 32);
            c += d; d = rotate(d, 16) ^ c;
            a += d; d = rotate(d, 21) ^ a;
            c += b; b = rotate(b, 17) ^ c; c = rotate(c, 32);
            /* clang-format on */
        }
        a ^= m;
    }
    return a ^ b ^ c ^ d;
}

static uint32_t rotate_right(uint32_t v, unsigned bits)
{
    return v >> bits | v << (32 - bits);
}

/* SHA-256 of a short message, at most 55 bytes: so the journal holds no ticket
 * that anybody could use (FIPS 180-4). */
static void sha256(const uint8_t *message, size_t size, uint8_t out[32])
{
    /* clang-format off */
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    /* clang-format on */
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint32_t v[8], w[64];
    uint8_t block[64] = {0};
    assert(size <= 55);
    memcpy(block, message, size);
    block[size] = 0x80;
    store_be32(block + 60, (uint32_t)size * 8);
    for (int i = 0; i < 16; i++)
        w[i] = load_be32(block + (ptrdiff_t)4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotate_right(a, 7) ^ rotate_right(a, 18) ^ a >> 3) +
               (rotate_right(b, 17) ^ rotate_right(b, 19) ^ b >> 10);
    }
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t t = v[7] + (rotate_right(v[4], 6) ^ rotate_right(v[4], 11) ^ rotate_right(v[4], 25)) +
                     ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t u = (rotate_right(v[0], 2) ^ rotate_right(v[0], 13) ^ rotate_right(v[0], 22)) +
                     ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t;
        v[0] = t + u;
    }
    for (int i = 0; i < 8; i++)
        store_be32(out + (ptrdiff_t)4 * i, h[i] + v[i]);
}

/* ---- Characters and names ----------------------------------------------- */

/* Not <ctype.h>: the same in every locale, and any byte is allowed. */
/*@ logic integer lowered(integer c) = 'A' <= c <= 'Z' ? c + 32 : c; */
/*@ assigns \nothing;
    ensures \result == lowered(c); */
static inline uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/*@ assigns \nothing;
    ensures \result <==> '0' <= c <= '9'; */
static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(uint8_t c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

/* The value of a hex digit, or -1. */
/*@ assigns \nothing;
    ensures -1 <= \result <= 15 && (c == 0 ==> \result < 0); */
static int hex_value(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char hex_digits[] = "0123456789abcdef";

/* Writes 2 * size hex digits and a NUL. */
static void write_hex(char *out, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        *out++ = hex_digits[bytes[i] >> 4];
        *out++ = hex_digits[bytes[i] & 15];
    }
    *out = 0;
}

/* Names differ neither by case nor in their order. */
static int compare_names(const char *a, const char *b)
{
    while (*a && lower((uint8_t)*a) == lower((uint8_t)*b))
        a++, b++;
    return lower((uint8_t)*a) - lower((uint8_t)*b);
}

static bool same_name(const char *a, const char *b)
{
    return compare_names(a, b) == 0;
}

/* Copies as much as fits, always with a NUL. */
static void copy_text(char *out, size_t out_bytes, const char *text)
{
    size_t n = strlen(text);
    if (n >= out_bytes)
        n = out_bytes - 1;
    memcpy(out, text, n);
    out[n] = 0;
}

/* PROTOCOL 6: accounts and personas, 2..max of letters, digits and _-{}[].
 * The console's roster cuts at @ and / and skips a name with a dot. */
static bool valid_name(const char *name, size_t max)
{
    size_t n = 0;
    for (; name[n]; n++) {
        uint8_t c = (uint8_t)name[n];
        if (!is_letter(c) && !is_digit(c) && !strchr("_-{}[]", c))
            return false;
    }
    return n >= 2 && n <= max;
}

/* Rooms: printable, no space at either end, no control byte to confuse a log. */
static bool valid_room_name(const char *name)
{
    size_t n = strlen(name);
    if (n < 1 || n > ROOM_CHARS || name[0] == ' ' || name[n - 1] == ' ')
        return false;
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)name[i] < 0x20 || (uint8_t)name[i] > 0x7e)
            return false;
    return true;
}

/* PROTOCOL 4: 4..16 characters of 0x20..0x7F. */
static bool valid_password(const char *password)
{
    size_t n = strlen(password);
    if (n < 4 || n > PASSWORD_CHARS)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)password[i] < 0x20 || (uint8_t)password[i] > 0x7f)
            return false;
    return true;
}

/* PROTOCOL 5: 1..127 bytes of 0x21..0x7E. `size` is the length before any cut. */
static bool valid_token(const char *text, uint32_t size)
{
    if (size < 1 || size > TOKEN_CHARS || strlen(text) != size)
        return false;
    for (uint32_t i = 0; i < size; i++)
        if ((uint8_t)text[i] < 0x21 || (uint8_t)text[i] > 0x7e)
            return false;
    return true;
}

/* ---- Tags: reading (PROTOCOL 2) ----------------------------------------- */

/* A payload is bytes and a size; a value is its offset. NOT_THERE: no such tag. */
#define NOT_THERE UINT32_MAX

/* Finds a tag as the console does: at each `=` or `:` the key is matched
 * backwards, any case; before it stands the start or a byte below 0x21. The
 * first match wins. Returns the offset of the value, past one leading space. */
/*@ predicate payload(uint8_t *bytes, integer size) = size < NOT_THERE && \valid_read(bytes + (0 .. size - 1)); */
/*@ predicate tag_at(uint8_t *payload, char *key, integer n, integer end) =
        (payload[end] == '=' || payload[end] == ':') && (end == n || payload[end - n - 1] < 0x21) &&
        \forall integer k; 0 <= k < n ==> lowered(payload[end - n + k]) == lowered((uint8_t)key[k]); */
/*@ requires payload(payload, size) && valid_read_string(key) && strlen(key) <= UINT32_MAX;
    assigns \nothing;
    ensures \result == NOT_THERE || \result <= size;
    ensures \result == NOT_THERE ==> \forall integer i; strlen(key) <= i < size ==> !tag_at(payload, key, strlen(key), i);
    ensures \result != NOT_THERE ==> \exists integer end; strlen(key) <= end < size &&
            tag_at(payload, key, strlen(key), end) &&
            (\forall integer i; strlen(key) <= i < end ==> !tag_at(payload, key, strlen(key), i)) &&
            \result == (end + 1 < size && payload[end + 1] == ' ' ? end + 2 : end + 1); */
static uint32_t find_tag(const uint8_t *payload, uint32_t size, const char *key)
{
    uint32_t n = (uint32_t)strlen(key);
    /*@ loop invariant n <= i && (i <= size || i == n);
        loop invariant \forall integer end; n <= end < i ==> !tag_at(payload, key, n, end);
        loop assigns i;
        loop variant size - i; */
    for (uint32_t i = n; i < size; i++) {
        if (payload[i] != '=' && payload[i] != ':')
            continue;
        uint32_t start = i - n, k = 0;
        if (start > 0 && payload[start - 1] >= 0x21)
            continue;
        /*@ loop invariant 0 <= k <= n;
            loop invariant \forall integer j; 0 <= j < k ==> lowered(payload[start + j]) == lowered((uint8_t)key[j]);
            loop assigns k;
            loop variant n - k; */
        while (k < n && lower(payload[start + k]) == lower((uint8_t)key[k]))
            k++;
        if (k < n)
            continue;
        /*@ assert tag_at(payload, key, n, i); */
        i++;
        return i < size && payload[i] == ' ' ? i + 1 : i;
    }
    return NOT_THERE;
}

/* Reads a string: an optional quote opens and the same closes it, else it runs
 * to a byte below 0x20; %% is %, %xx a byte. A NUL ends it, escaped or not.
 * Stores at most out_bytes - 1 bytes and a NUL; returns the length before the cut. */
/*@ requires payload(payload, size) && \valid(out + (0 .. out_bytes - 1));
    requires \separated(payload + (0 .. size - 1), out + (0 .. out_bytes - 1));
    assigns out[0 .. out_bytes - 1];
    ensures \result <= (at < size ? size - at : 0);
    ensures out_bytes > 0 ==> out[\min(\result, out_bytes - 1)] == 0;
    ensures \forall integer i; 0 <= i < \result && i < out_bytes - 1 ==> out[i] != 0; */
static uint32_t read_string(const uint8_t *payload, uint32_t size, uint32_t at, char *out, uint32_t out_bytes)
{
    uint32_t length = 0, stored = 0;
    uint8_t quote = 0;
    if (at < size && (payload[at] == '"' || payload[at] == '\''))
        quote = payload[at++];
    /*@ loop invariant \at(at, Pre) <= at && (at <= size || at == \at(at, Pre));
        loop invariant length <= at - \at(at, Pre);
        loop invariant stored == (out_bytes == 0 ? 0 : \min(length, out_bytes - 1));
        loop invariant \forall integer i; 0 <= i < stored ==> out[i] != 0;
        loop assigns at, length, stored, out[0 .. out_bytes - 1];
        loop variant size - at; */
    while (at < size) {
        uint8_t c = payload[at++];
        if (quote ? c == quote : c < 0x20)
            break;
        if (c == '%' && at < size && payload[at] == '%') {
            at++;
        } else if (c == '%' && at + 1 < size) {
            int high = hex_value(payload[at]), low = hex_value(payload[at + 1]);
            if (high >= 0 && low >= 0) {
                c = (uint8_t)(high * 16 + low);
                at += 2;
            }
        }
        if ((char)c == 0)
            break;
        length++;
        if (stored + 1 < out_bytes)
            out[stored++] = (char)c;
    }
    if (out_bytes > 0)
        out[stored] = 0;
    return length;
}

/* Reads a number: optional sign, decimal digits, wrapping at 32 bits. */
/*@ requires payload(payload, size);
    assigns \nothing;
    ensures at >= size ==> \result == 0; */
static uint32_t read_number(const uint8_t *payload, uint32_t size, uint32_t at)
{
    uint32_t value = 0;
    bool negative = at < size && payload[at] == '-';
    if (at < size && (payload[at] == '-' || payload[at] == '+'))
        at++;
    /*@ loop invariant \at(at, Pre) <= at && (\at(at, Pre) >= size ==> value == 0);
        loop assigns at, value;
        loop variant size - at; */
    for (; at < size && is_digit(payload[at]); at++)
        value = value * 10 + (uint32_t)(payload[at] - '0');
    return negative ? 0 - value : value;
}

/* Reads a dotted quad, and nothing else, up to a byte below 0x21. */
/*@ requires payload(payload, size) && \valid(address);
    requires \separated(payload + (0 .. size - 1), address);
    assigns *address;
    ensures !\result ==> *address == \old(*address); */
static bool read_address(const uint8_t *payload, uint32_t size, uint32_t at, uint32_t *address)
{
    uint32_t value = 0;
    /*@ loop invariant 0 <= part <= 4;
        loop assigns part, at, value;
        loop variant 4 - part; */
    for (int part = 0; part < 4; part++) {
        uint32_t n = 0, digits = 0;
        if (part > 0 && (at >= size || payload[at++] != '.'))
            return false;
        /*@ loop invariant digits <= 3;
            loop assigns at, n, digits;
            loop variant 3 - digits; */
        for (; at < size && digits < 3 && is_digit(payload[at]); digits++)
            n = n * 10 + (uint32_t)(payload[at++] - '0');
        if (digits == 0 || n > 255)
            return false;
        value = value << 8 | n;
    }
    if (at < size && payload[at] >= 0x21)
        return false;
    *address = value;
    return true;
}

#define FLAG_B (1u << 2)
#define FLAG_P (1u << 16)
#define FLAG_U (1u << 21)
#define FLAG_0 (1u << 27)
#define FLAG_3 (1u << 30)

/* Reads flags: @ is bit 0, A-Z bits 1-26, 0-3 bits 27-30; any other byte ends them. */
/*@ requires payload(payload, size);
    assigns \nothing;
    ensures at >= size ==> \result == 0;
    ensures \result >> 31 == 0; */
static uint32_t read_flags(const uint8_t *payload, uint32_t size, uint32_t at)
{
    uint32_t flags = 0;
    /*@ loop invariant \at(at, Pre) <= at && (\at(at, Pre) >= size ==> flags == 0);
        loop invariant flags >> 31 == 0;
        loop assigns at, flags;
        loop variant size - at; */
    for (; at < size; at++) {
        uint8_t c = payload[at];
        if (c >= '@' && c <= 'Z')
            flags |= 1u << (c - '@');
        else if (c >= '0' && c <= '3')
            flags |= 1u << (c - '0' + 27);
        else
            break;
    }
    return flags;
}

/* Writes the letters of flags, at most 31, and a NUL. */
static void write_flags(char out[32], uint32_t flags)
{
    for (uint32_t bit = 0; bit < 31; bit++)
        if (flags >> bit & 1)
            *out++ = (char)(bit < 27 ? '@' + bit : '0' + (bit - 27));
    *out = 0;
}

/* ---- Dates -------------------------------------------------------------- */

struct date {
    int32_t year, month, day;
};

/* The civil date of a day counted from 1970-01-01, any that int32_t holds
 * within some thousand years of it. Years begin in March here, so that the
 * leap day is the last. */
static struct date date_of_day(int64_t days)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day = z - era * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= 365 * year + year / 4 - year / 100;
    int64_t month = (5 * day + 2) / 153;
    struct date d;
    d.day = (int32_t)(day - (153 * month + 2) / 5 + 1);
    d.month = (int32_t)(month < 10 ? month + 3 : month - 9);
    d.year = (int32_t)(year + era * 400 + (d.month <= 2));
    return d;
}

static char *write_digits(char *out, uint32_t value, int width)
{
    for (int i = width - 1; i >= 0; i--, value /= 10)
        out[i] = (char)('0' + value % 10);
    return out + width;
}

/* PROTOCOL 2: the console reads dates from 1970 to 2099. */
#define LATEST_DATE_S 4102444799

/* Writes "Y-M-D h:m:s" UTC, 19 characters and a NUL. */
static void write_date(char out[20], int64_t wall_s)
{
    if (wall_s < 0)
        wall_s = 0;
    if (wall_s > LATEST_DATE_S)
        wall_s = LATEST_DATE_S;
    struct date d = date_of_day(wall_s / 86400);
    uint32_t second = (uint32_t)(wall_s % 86400);
    out = write_digits(out, (uint32_t)d.year, 4);
    *out++ = '-';
    out = write_digits(out, (uint32_t)d.month, 2);
    *out++ = '-';
    out = write_digits(out, (uint32_t)d.day, 2);
    *out++ = ' ';
    out = write_digits(out, second / 3600, 2);
    *out++ = ':';
    out = write_digits(out, second / 60 % 60, 2);
    *out++ = ':';
    out = write_digits(out, second % 60, 2);
    *out = 0;
}

/* Whole years from a date of birth (Y-M-D with any separator, or YYYYMMDD) to
 * now; -1 if it is not one. */
static int32_t age_at(const char *born, int64_t wall_s)
{
    uint32_t part[3] = {0};
    const char *p = born;
    for (int i = 0; i < 3; i++) {
        int width = i == 0 ? 4 : 2, n = 0;
        for (; n < width && is_digit((uint8_t)*p); n++)
            part[i] = part[i] * 10 + (uint32_t)(*p++ - '0');
        if (n == 0)
            return -1;
        if (*p && !is_digit((uint8_t)*p))
            p++;
    }
    struct date now = date_of_day(wall_s / 86400);
    int32_t age = now.year - (int32_t)part[0];
    if (part[1] * 100 + part[2] > (uint32_t)(now.month * 100 + now.day))
        age--;
    return age >= 0 && age <= 150 ? age : -1;
}

/* ---- Frames: reading (PROTOCOL 1) --------------------------------------- */

struct frame {
    uint8_t kind[4];
    uint32_t size; /* the whole frame */
};

enum frame_state { FRAME_WHOLE, FRAME_PART, FRAME_BROKEN };

/* Looks at what a stream begins with. FRAME_BROKEN: no kind of four printable
 * characters, or a length below 12 or above the limit; told as early as it can be. */
/*@ requires \valid_read(bytes + (0 .. size - 1)) && \valid(frame);
    requires \separated(bytes + (0 .. size - 1), frame);
    assigns *frame;
    ensures \result == FRAME_WHOLE || \result == FRAME_PART || \result == FRAME_BROKEN;
    ensures \result == FRAME_WHOLE ==> HEADER_BYTES <= frame->size <= INBOX_BYTES && frame->size <= size;
    ensures \result == FRAME_PART ==> size < INBOX_BYTES;
    ensures \result != FRAME_BROKEN ==> \forall integer i; 0 <= i < 4 && i < size ==> 0x21 <= bytes[i] <= 0x7e; */
static enum frame_state read_frame(const uint8_t *bytes, uint32_t size, struct frame *frame)
{
    /*@ loop invariant i <= 4 && i <= size && \forall integer j; 0 <= j < i ==> 0x21 <= bytes[j] <= 0x7e;
        loop assigns i, frame->kind[0 .. 3];
        loop variant 4 - i; */
    for (uint32_t i = 0; i < 4 && i < size; i++) {
        if (bytes[i] < 0x21 || bytes[i] > 0x7e)
            return FRAME_BROKEN;
        frame->kind[i] = bytes[i];
    }
    if (size < HEADER_BYTES)
        return FRAME_PART;
    frame->size = load_be32(bytes + 8);
    if (frame->size < HEADER_BYTES || frame->size > INBOX_BYTES)
        return FRAME_BROKEN;
    return size >= frame->size ? FRAME_WHOLE : FRAME_PART;
}

/* The payload's text ends at its first NUL, or where the frame ends. */
/*@ requires payload(payload, size);
    assigns \nothing;
    ensures \result <= size && (\result < size ==> payload[\result] == 0);
    ensures \forall integer i; 0 <= i < \result ==> payload[i] != 0; */
static uint32_t payload_size(const uint8_t *payload, uint32_t size)
{
    uint32_t n = 0;
    /*@ loop invariant n <= size && \forall integer i; 0 <= i < n ==> payload[i] != 0;
        loop assigns n;
        loop variant size - n; */
    while (n < size && payload[n] != 0)
        n++;
    return n;
}

/* ---- Frames: writing (PROTOCOL 1, 2) ------------------------------------ */

struct outgoing {
    uint32_t size;
    uint8_t bytes[FRAME_OUT_BYTES];
};

/* Starts a frame; code is 0 or four letters. */
static void frame_begin(struct outgoing *f, const char *kind, const char *code)
{
    memset(f->bytes, 0, HEADER_BYTES);
    memcpy(f->bytes, kind, 4);
    if (code[0])
        memcpy(f->bytes + 4, code, 4);
    f->size = HEADER_BYTES;
}

/* The limits on every text that goes into a frame keep it within its size. */
static void put_byte(struct outgoing *f, uint8_t c)
{
    assert(f->size < FRAME_OUT_BYTES);
    f->bytes[f->size++] = c;
}

static void put_chars(struct outgoing *f, const char *text)
{
    while (*text)
        put_byte(f, (uint8_t)*text++);
}

static void put_name(struct outgoing *f, const char *name)
{
    put_chars(f, name);
    put_byte(f, '=');
}

static void put_key(struct outgoing *f, enum tag tag)
{
    put_name(f, tag_names[tag]);
}

/* A value that its reader does not unescape: digits, letters, dates, hex. */
static void put_raw(struct outgoing *f, enum tag tag, const char *value)
{
    put_key(f, tag);
    put_chars(f, value);
    put_byte(f, '\n');
}

static bool needs_escape(uint8_t c, bool first)
{
    return c < 0x20 || c > 0x7e || c == '=' || c == '"' || c == ':' || c == '%' || (first && c == '\'');
}

/* Text from a person: escaped so that it can never pass for a tag, and quoted
 * when it contains a space. */
static void put_quoted(struct outgoing *f, const char *text)
{
    bool quoted = strchr(text, ' ') != NULL;
    if (quoted)
        put_byte(f, '"');
    for (const char *p = text; *p; p++) {
        uint8_t c = (uint8_t)*p;
        if (needs_escape(c, p == text)) {
            put_byte(f, '%');
            put_byte(f, (uint8_t)hex_digits[c >> 4]);
            put_byte(f, (uint8_t)hex_digits[c & 15]);
        } else {
            put_byte(f, c);
        }
    }
    if (quoted)
        put_byte(f, '"');
    put_byte(f, '\n');
}

static void put_text(struct outgoing *f, enum tag tag, const char *text)
{
    put_key(f, tag);
    put_quoted(f, text);
}

/* Writes a number in decimal and a NUL: at most 20 digits, a sign and the NUL. */
static void write_number(char out[24], int64_t value)
{
    char digits[24];
    int n = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        digits[n++] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *out++ = '-';
    while (n > 0)
        *out++ = digits[--n];
    *out = 0;
}

static void put_number(struct outgoing *f, enum tag tag, int64_t value)
{
    char text[24];
    write_number(text, value);
    put_raw(f, tag, text);
}

/* Writes a dotted quad and a NUL. */
static void write_address(char out[16], uint32_t address)
{
    char part[24];
    for (int shift = 24; shift >= 0; shift -= 8) {
        write_number(part, address >> shift & 255);
        size_t n = strlen(part);
        memcpy(out, part, n);
        out += n;
        *out++ = '.';
    }
    out[-1] = 0;
}

static void put_address(struct outgoing *f, enum tag tag, uint32_t address)
{
    char text[16];
    write_address(text, address);
    put_raw(f, tag, text);
}

static void put_date(struct outgoing *f, enum tag tag, int64_t wall_s)
{
    char text[20];
    write_date(text, wall_s);
    put_raw(f, tag, text);
}

/* Ends a frame: the NUL, and the length. */
static void frame_end(struct outgoing *f)
{
    if (f->size > HEADER_BYTES)
        put_byte(f, 0);
    store_be32(f->bytes + 8, f->size);
}

/* ---- Passwords on the wire (PROTOCOL 4) --------------------------------- */

struct ssc2 {
    uint32_t table[256]; /* reflected CRC-32 */
    uint8_t box[256];
    uint8_t current;
    uint32_t reg;
};

/*@ requires \valid(x);
    assigns *x; */
static void ssc2_init(struct ssc2 *x)
{
    /*@ loop invariant i <= 256;
        loop assigns i, x->table[0 .. 255], x->box[0 .. 255];
        loop variant 256 - i; */
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t r = i;
        /*@ loop invariant 0 <= bit <= 8;
            loop assigns bit, r;
            loop variant 8 - bit; */
        for (int bit = 0; bit < 8; bit++)
            r = r >> 1 ^ (r & 1 ? 0xedb88320u : 0);
        x->table[i] = r;
        x->box[i] = (uint8_t)i;
    }
    x->current = 0;
    x->reg = 0;
}

/*@ requires \valid_read(x);
    assigns \nothing; */
static uint32_t ssc2_push(const struct ssc2 *x, uint32_t r, uint8_t byte)
{
    return r >> 8 ^ x->table[(uint8_t)(r ^ byte)];
}

/*@ requires \valid(x);
    assigns x->box[a], x->box[b];
    ensures x->box[a] == \old(x->box[b]) && x->box[b] == \old(x->box[a]); */
static void ssc2_swap(struct ssc2 *x, uint8_t a, uint8_t b)
{
    uint8_t t = x->box[a];
    x->box[a] = x->box[b];
    x->box[b] = t;
}

/*@ requires \valid(x) && \valid_read(key + (0 .. size - 1)) && \separated(x, key + (0 .. size - 1));
    assigns x->box[0 .. 255]; */
static void ssc2_absorb(struct ssc2 *x, const uint8_t *key, uint32_t size, uint32_t rounds)
{
    uint32_t r = 0;
    /*@ loop assigns t, r, x->box[0 .. 255];
        loop variant (uint32_t)(rounds * 256) - t; */
    for (uint32_t t = 0; size > 0 && t < rounds * 256; t++) {
        uint8_t h = (uint8_t)t;
        r = ssc2_push(x, r, key[t % size]);
        r = ssc2_push(x, r, x->box[h]);
        ssc2_swap(x, h, (uint8_t)r);
    }
}

/*@ requires \valid(x);
    assigns x->reg, x->current, x->box[0 .. 255]; */
static uint8_t ssc2_next(struct ssc2 *x)
{
    x->reg = ssc2_push(x, x->reg, x->box[x->current]);
    x->current++;
    uint8_t w = (uint8_t)x->reg;
    uint8_t difference = (uint8_t)(x->box[x->current] - x->box[w]);
    ssc2_swap(x, x->current, w);
    return x->box[difference];
}

#define SSC2_CHARS 30u

/* Undoes the first form; text is what follows the one leading `~`. Returns the
 * password's length, or NOT_THERE for a byte outside 0x20..0x7F. */
/*@ requires \valid_read(key + (0 .. key_size - 1)) && valid_read_string(text) && \valid(out + (0 .. SSC2_CHARS));
    requires \separated(text + (0 .. strlen(text)), out + (0 .. SSC2_CHARS));
    assigns out[0 .. SSC2_CHARS];
    ensures \result == NOT_THERE || (\result <= SSC2_CHARS && out[\result] == 0);
    ensures \result != NOT_THERE ==> \forall integer i; 0 <= i < \result ==> 0x20 <= out[i] <= 0x7e; */
static uint32_t ssc2_decode(const uint8_t *key, uint32_t key_size, const char *text, char out[SSC2_CHARS + 1])
{
    struct ssc2 x;
    uint8_t run = 0;
    uint32_t n = 0;
    ssc2_init(&x);
    ssc2_absorb(&x, key, key_size, 16);
    /*@ loop invariant n <= SSC2_CHARS && n <= \at(strlen(text), Pre);
        loop invariant \forall integer i; 0 <= i <= \at(strlen(text), Pre) ==> text[i] == \at(text[i], Pre);
        loop invariant \forall integer i; 0 <= i < n ==> 0x20 <= out[i] <= 0x7e;
        loop assigns n, run, x.reg, x.current, x.box[0 .. 255], out[0 .. SSC2_CHARS - 1];
        loop variant SSC2_CHARS - n; */
    for (; n < SSC2_CHARS && text[n]; n++) {
        uint8_t c = (uint8_t)text[n];
        if (c < 0x20 || c > 0x7f)
            return NOT_THERE;
        run ^= ssc2_next(&x); /* it accumulates */
        uint8_t p = (uint8_t)(0x20 + (c - 0x20 + 96 - run % 96) % 96);
        if (p == 0x7f)
            break;
        out[n] = (char)p;
    }
    out[n] = 0;
    return n;
}

/* The mask repeats; an empty one is "GS". */
/*@ requires \valid_read(mask + (0 .. mask_size - 1));
    assigns \nothing; */
static uint8_t mask_byte(const char *mask, size_t mask_size, uint32_t i)
{
    return (uint8_t)(mask_size > 0 ? mask[i % mask_size] : i % 2 ? 'S' : 'G');
}

/* Undoes the second form; text is what follows the `$`. Returns the length, or
 * NOT_THERE if it is not pairs of hex digits, is too long, or holds a NUL. */
/*@ requires valid_read_string(mask) && valid_read_string(text) && \valid(out + (0 .. SSC2_CHARS));
    requires \separated(text + (0 .. strlen(text)), out + (0 .. SSC2_CHARS));
    requires \separated(mask + (0 .. strlen(mask)), out + (0 .. SSC2_CHARS));
    assigns out[0 .. SSC2_CHARS];
    ensures \result == NOT_THERE || (\result <= SSC2_CHARS && out[\result] == 0);
    ensures \result != NOT_THERE ==> 2 * \result == \old(strlen(text));
    ensures \result != NOT_THERE ==> \forall integer i; 0 <= i < \result ==> out[i] != 0; */
static uint32_t mask_decode(const char *mask, const char *text, char out[SSC2_CHARS + 1])
{
    size_t mask_size = strlen(mask);
    size_t n = 0;
    uint8_t last = 0;
    /*@ loop invariant n <= SSC2_CHARS && 2 * n <= \at(strlen(text), Pre);
        loop invariant \forall integer i; 0 <= i <= \at(strlen(text), Pre) ==> text[i] == \at(text[i], Pre);
        loop invariant \forall integer i; 0 <= i < n ==> out[i] != 0;
        loop assigns n, last, out[0 .. SSC2_CHARS - 1];
        loop variant SSC2_CHARS - n; */
    for (; text[2 * n]; n++) {
        int high = hex_value((uint8_t)text[2 * n]), low = hex_value((uint8_t)text[2 * n + 1]);
        if (high < 0 || low < 0 || n == SSC2_CHARS)
            return NOT_THERE;
        uint8_t c = (uint8_t)(high * 16 + low);
        uint8_t v = c ^ mask_byte(mask, mask_size, (uint32_t)n);
        out[n] = (char)(uint8_t)((v >> 3 | (uint32_t)v << 5) ^ last);
        if (!out[n])
            return NOT_THERE;
        last = c;
    }
    out[n] = 0;
    return (uint32_t)n;
}

/* ---- Addresses (PROTOCOL 8) --------------------------------------------- */

static bool in_network(uint32_t address, uint32_t network, unsigned bits)
{
    return (address ^ network) >> (32 - bits) == 0;
}

static bool is_loopback(uint32_t address)
{
    return in_network(address, 0x7f000000u, 8);
}

/* Private in the sense of "not reachable from the internet": RFC 1918, the
 * carriers' shared range, link-local. */
static bool is_private(uint32_t address)
{
    return in_network(address, 0x0a000000u, 8) || in_network(address, 0xac100000u, 12) ||
           in_network(address, 0xc0a80000u, 16) || in_network(address, 0x64400000u, 10) ||
           in_network(address, 0xa9fe0000u, 16);
}

static bool is_local(uint32_t address)
{
    return is_private(address) || is_loopback(address);
}

/* Where one end of a race is, as the server sees it. */
struct endpoint {
    uint32_t source;   /* its lobby connection's source address */
    uint32_t reported; /* what its `addr` said; 0 if nothing */
    uint32_t reached;  /* the server's address that it connected to */
};

/* The address at which `viewer` reaches `player`. public_address is the
 * server's, 0 if none is configured. */
static uint32_t visible_address(struct endpoint viewer, struct endpoint player, uint32_t public_address)
{
    bool same = viewer.source == player.source;
    if (same && !is_local(player.source) && is_private(player.reported))
        return player.reported; /* both behind one public address: their own network's */
    if (!same && is_local(player.source) && !is_local(viewer.source) && public_address != 0)
        return public_address; /* a player at the server's side, seen from outside */
    if (is_loopback(player.source) && !is_loopback(viewer.source))
        return viewer.reached; /* [own] a player on the server's machine is where the server is */
    return player.source;
}

/* ---- Configuration ------------------------------------------------------ */

enum account_mode { ACCOUNTS_OPEN, ACCOUNTS_REGISTER, ACCOUNTS_CLOSED };

struct config_room {
    char name[ROOM_CHARS + 1];
    char description[DESCRIPTION_CHARS + 1];
    uint32_t limit;
};

struct config {
    uint32_t public_address;
    uint32_t lobby_port, buddy_port;
    uint32_t accounts; /* enum account_mode */
    uint32_t skey, directory_direct;
    uint32_t ping_ms, idle_ms, login_ms, challenge_ms, race_start_ms;
    uint32_t first_frame_ms, linger_ms, buddy_login_ms;
    uint32_t rate; /* tokens a second for each connection; 0: no limit */
    uint32_t per_address, logins_per_address, accounts_per_address;
    uint32_t room_count;
    struct config_room room[CONFIG_ROOMS];
    char down[DOWN_CHARS + 1];
    char news[NEWS_CHARS + 1]; /* lines, each ended by \n */
};

enum setting_type { SET_NUMBER, SET_SECONDS, SET_ADDRESS, SET_WORD, SET_ROOM, SET_NEWS, SET_DOWN };

/* Every key of the core: how its value reads, and where it goes. */
static const struct setting {
    const char *key;
    enum setting_type type;
    size_t offset;
    uint32_t min, max;
    const char *words; /* SET_WORD: the values 0, 1, ... */
    const char *fallback;
    const char *help;
} settings[] = {
#define AT(field) offsetof(struct config, field)
    {"public-address", SET_ADDRESS, AT(public_address), 0, 0, NULL, NULL,
     "what consoles are told to connect to; by default, the address they reached"},
    {"lobby-port", SET_NUMBER, AT(lobby_port), 0, 65535, NULL, "11000", NULL},
    {"buddy-port", SET_NUMBER, AT(buddy_port), 0, 65535, NULL, "10899", NULL},
    {"accounts", SET_WORD, AT(accounts), 0, 0, "open register closed", "open",
     "open: a first login makes the account; register: only a sign-up; closed: only ctl passwd"},
    {"skey", SET_WORD, AT(skey), 0, 0, "off on", "on", "off: passwords in the console's second form"},
    {"directory-direct", SET_WORD, AT(directory_direct), 0, 0, "no yes", "no",
     "yes: send DIRECT, for clients other than the console"},
    {"ping-s", SET_SECONDS, AT(ping_ms), 1, 3600, NULL, "30", "seconds between two pings"},
    {"idle-s", SET_SECONDS, AT(idle_ms), 1, 86400, NULL, "60", "a console silent for so long is dropped"},
    {"login-s", SET_SECONDS, AT(login_ms), 1, 86400, NULL, "900", "so long may a lobby connection take to log in"},
    {"challenge-s", SET_SECONDS, AT(challenge_ms), 1, 3600, NULL, "60", "so long is a challenge open"},
    {"race-start-s", SET_SECONDS, AT(race_start_ms), 1, 3600, NULL, "10",
     "a race starts so long after it was accepted, ready or not"},
    {"first-frame-s", SET_SECONDS, AT(first_frame_ms), 1, 3600, NULL, "10",
     "a connection says what it wants within this time"},
    {"linger-s", SET_SECONDS, AT(linger_ms), 1, 3600, NULL, "5",
     "a directory connection is closed so long after its answer"},
    {"buddy-login-s", SET_SECONDS, AT(buddy_login_ms), 1, 3600, NULL, "30",
     "so long may a buddy connection take to log in"},
    {"rate", SET_NUMBER, AT(rate), 0, 1000000, NULL, "10",
     "requests a second that a connection may send, on average; 0: no limit"},
    {"per-address", SET_NUMBER, AT(per_address), 1, 1000000, NULL, "64", "connections from one address"},
    {"logins-per-address", SET_NUMBER, AT(logins_per_address), 1, 1000000, NULL, "300",
     "tries to log in from one address in ten minutes"},
    {"accounts-per-address", SET_NUMBER, AT(accounts_per_address), 1, 1000000, NULL, "50",
     "new accounts from one address in ten minutes"},
    {"room", SET_ROOM, AT(room), 0, 0, NULL, NULL, "a room in place of the three default ones; repeat for more"},
    {"news-line", SET_NEWS, AT(news), 0, 0, NULL, NULL, NULL},
    {"down", SET_DOWN, AT(down), 0, 0, NULL, NULL,
     "tell consoles at the directory that the service is down, with this text"},
#undef AT
};

#define SETTINGS (sizeof settings / sizeof settings[0])

/* PROTOCOL 3.3 */
static const struct config_room default_rooms[] = {
    {"East", "East Coast Racers", 50},
    {"West", "West Coast Racers", 50},
    {"Beginner", "New Drivers Welcome", 50},
};

/* Reads a whole decimal number of at most nine digits. */
static bool parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *value)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (!is_digit((uint8_t)text[i]))
            return false;
    if (n == 0 || n > 9)
        return false;
    *value = read_number((const uint8_t *)text, (uint32_t)n, 0);
    return *value >= min && *value <= max;
}

/* Reads a dotted quad and nothing else. */
static bool parse_address(const char *text, uint32_t *address)
{
    return !strpbrk(text, " \t") && read_address((const uint8_t *)text, (uint32_t)strlen(text), 0, address);
}

/* The position of `word` in a list with single spaces, or -1. */
static int word_index(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (int i = 0; *words; i++) {
        size_t m = strcspn(words, " ");
        if (m == n && memcmp(words, word, n) == 0)
            return i;
        words += m;
        words += *words == ' ';
    }
    return -1;
}

/* Copies text[0..n) without the spaces around it; false if it is too long. */
static bool copy_trimmed(char *out, size_t out_bytes, const char *text, size_t n)
{
    while (n > 0 && (*text == ' ' || *text == '\t'))
        text++, n--;
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'))
        n--;
    if (n >= out_bytes)
        return false;
    memcpy(out, text, n);
    out[n] = 0;
    return true;
}

/* "Name: Description: Limit", in quotes or not; the last two may be left out. */
static bool parse_room(const char *text, struct config_room *room)
{
    const char *part[3] = {text, NULL, NULL};
    size_t size[3] = {strlen(text), 0, 0};
    char limit[16];
    memset(room, 0, sizeof *room); /* no stray byte in the arena */
    if (size[0] >= 2 && text[0] == '"' && text[size[0] - 1] == '"') {
        part[0]++;
        size[0] -= 2;
    }
    for (int i = 1; i < 3; i++) {
        const char *colon = memchr(part[i - 1], ':', size[i - 1]);
        if (!colon)
            break;
        part[i] = colon + 1;
        size[i] = size[i - 1] - (size_t)(part[i] - part[i - 1]);
        size[i - 1] = (size_t)(colon - part[i - 1]);
    }
    room->limit = 50;
    if (!copy_trimmed(room->name, sizeof room->name, part[0], size[0]) || !valid_room_name(room->name))
        return false;
    if (part[1] && !copy_trimmed(room->description, sizeof room->description, part[1], size[1]))
        return false;
    if (part[2])
        return copy_trimmed(limit, sizeof limit, part[2], size[2]) && parse_number(limit, 2, 65536, &room->limit);
    return true;
}

/* Sets one value. Returns what was expected, in words, or NULL if it was that. */
static const char *config_set(struct config *config, const struct setting *setting, const char *value)
{
    uint32_t *field = (uint32_t *)(void *)((char *)config + setting->offset);
    size_t used, n = strlen(value);
    struct config_room room;
    int word;
    switch (setting->type) { /* never: a setting has a type */
    case SET_NUMBER: return parse_number(value, setting->min, setting->max, field) ? NULL : "a number";
    case SET_SECONDS:
        if (!parse_number(value, setting->min, setting->max, field))
            return "seconds";
        *field *= 1000;
        return NULL;
    case SET_ADDRESS: return parse_address(value, field) ? NULL : "an IPv4 address, as 192.0.2.1";
    case SET_WORD:
        word = word_index(setting->words, value);
        if (word < 0)
            return "one of:";
        *field = (uint32_t)word;
        return NULL;
    case SET_ROOM:
        if (!parse_room(value, &room))
            return "\"Name: Description: Limit\", a name and description of up to 31 characters, a limit of 2 to 65536";
        for (uint32_t i = 0; i < config->room_count; i++)
            if (same_name(config->room[i].name, room.name))
                return "a room that is not there yet";
        if (config->room_count == CONFIG_ROOMS || same_name(room.name, "Lobby"))
            return "at most 32 rooms, and none called Lobby";
        config->room[config->room_count++] = room;
        return NULL;
    case SET_NEWS:
        used = strlen(config->news);
        if (used + n + 1 > NEWS_CHARS)
            return "at most 242 characters of news in all, an end of line being one";
        memcpy(config->news + used, value, n);
        config->news[used + n] = '\n';
        config->news[used + n + 1] = 0;
        return NULL;
    case SET_DOWN:
        if (n > DOWN_CHARS)
            return "at most 255 characters";
        copy_text(config->down, sizeof config->down, value);
        return NULL;
    }
    return "a key of the core"; /* never: see above */
}

static const struct setting *find_setting(const char *key)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (strcmp(settings[i].key, key) == 0)
            return &settings[i];
    return NULL;
}

static void config_defaults(struct config *config)
{
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < SETTINGS; i++)
        if (settings[i].fallback)
            (void)config_set(config, &settings[i], settings[i].fallback);
}

/* Reads a whole configuration: lines `key = value`. What is not given has its
 * default; a line that cannot be read is left out (the shell has checked them). */
static void config_read(struct config *config, const uint8_t *bytes, uint32_t size)
{
    char line[512], key[64];
    config_defaults(config);
    for (uint32_t at = 0; at < size;) {
        uint32_t n = 0;
        while (at + n < size && bytes[at + n] != '\n' && bytes[at + n] != 0)
            n++;
        const char *equals = memchr(bytes + at, '=', n);
        if (equals) {
            size_t key_chars = (size_t)(equals - (const char *)(bytes + at));
            if (copy_trimmed(key, sizeof key, (const char *)(bytes + at), key_chars) &&
                copy_trimmed(line, sizeof line, equals + 1, n - key_chars - 1)) {
                const struct setting *setting = find_setting(key);
                if (setting)
                    (void)config_set(config, setting, line);
            }
        }
        at += n + 1;
    }
    if (config->room_count == 0) {
        memcpy(config->room, default_rooms, sizeof default_rooms);
        config->room_count = sizeof default_rooms / sizeof default_rooms[0];
    }
}

/* Appends as much as fits. */
static void append_text(char *out, size_t out_bytes, const char *text)
{
    size_t n = out_bytes > 0 ? strlen(out) : 0;
    if (out_bytes > n)
        copy_text(out + n, out_bytes - n, text);
}

/* Sets one value by its key; false, with what was expected in `why`, if it cannot be. */
static bool config_change(struct config *config, const char *key, const char *value, char *why, size_t why_bytes)
{
    char number[24];
    const struct setting *setting = find_setting(key);
    if (why_bytes > 0)
        why[0] = 0;
    if (!setting) {
        append_text(why, why_bytes, "unknown key");
        return false;
    }
    const char *expected = config_set(config, setting, value);
    if (!expected)
        return true;
    append_text(why, why_bytes, "expected ");
    append_text(why, why_bytes, expected);
    if (setting->type == SET_WORD) {
        append_text(why, why_bytes, " ");
        append_text(why, why_bytes, setting->words);
    }
    if (setting->type == SET_NUMBER || setting->type == SET_SECONDS) {
        append_text(why, why_bytes, " from ");
        write_number(number, setting->min);
        append_text(why, why_bytes, number);
        append_text(why, why_bytes, " to ");
        write_number(number, setting->max);
        append_text(why, why_bytes, number);
    }
    return false;
}

bool nascar_config_check(const char *key, const char *value, char *why, size_t why_bytes)
{
    struct config config;
    memset(&config, 0, sizeof config);
    return config_change(&config, key, value, why, why_bytes);
}

/* ---- State -------------------------------------------------------------- */

#define NONE NASCAR_NONE
#define LIVE (UINT32_MAX - 1) /* the link of a pool item that is in use */

/* A table of items with a high-water mark and a free list threaded through
 * their first word. What lies above the mark has never been touched. */
struct pool {
    size_t offset;
    uint32_t stride, capacity;
    uint32_t cleared; /* bytes of an item that are zeroed when it is taken */
    uint32_t high, free, live;
};

/* Chained hash table over the items of one pool: buckets and chains hold item
 * number + 1, so that zero memory is an empty table. */
struct index {
    size_t buckets, chains;
    uint32_t mask;
};

/* Deadlines. One queue for each length of time, so that a new deadline is the
 * last of its queue; a timer's number tells whose it is (timer_base). */
enum queue {
    Q_NONE,
    Q_FIRST_FRAME,
    Q_LINGER,
    Q_BUDDY_LOGIN,
    Q_LOGIN,
    Q_IDLE,
    Q_THROTTLE,
    Q_SLOW,
    Q_CHALLENGE,
    Q_RACE_START,
    Q_DIRECTORY,
    Q_ADDRESS,
    QUEUES
};

struct timer {
    uint64_t due_ms;
    uint32_t prev, next;
    uint16_t queue;
    uint16_t paused; /* the queue it goes back to */
};

/* A connection has these four timers. */
enum conn_timer { T_PHASE, T_IDLE, T_THROTTLE, T_SLOW, CONN_TIMERS };

struct queue_ends {
    uint32_t head, tail;
};

/* A feed is what a console sees as a list: its entries in the order of their
 * last change. `seq` is unique in the whole state. An entry that goes away
 * stays as a tombstone until each subscription of that time has passed it. */
struct node {
    uint64_t seq;
    uint32_t prev, next;
    uint32_t waiting; /* tombstone: subscriptions still to pass it */
    uint8_t linked, tombstone;
};

struct feed {
    uint32_t head, tail;
    uint32_t subscribers;
};

/* How far one console has been told of one feed. */
struct subscription {
    uint64_t cursor; /* the last change told */
    uint64_t since;  /* tombstones up to this one are none of ours */
    uint32_t at;     /* the node of cursor, if it still has that seq */
    uint32_t on;
};

enum conn_state {
    CONN_FREE,
    CONN_NEW, /* no frame yet: any service */
    CONN_DIRECTORY,
    CONN_LOBBY,     /* no login yet */
    CONN_ACCOUNT,   /* after auth or acct */
    CONN_PERSONA,   /* after pers */
    CONN_BUDDY_NEW, /* no AUTH yet */
    CONN_BUDDY,
    CONN_CONTROL /* the operator's */
};

enum wait { WAIT_NONE, WAIT_VERDICT, WAIT_RECORD };

/* What `sele` asked for; before `pers` it is only noted. */
struct wants {
    uint32_t rooms, users, ranks, mesgs;
};

struct conn {
    uint8_t state, wait;
    bool closing; /* no input any more; flush, close */
    bool ready;   /* in the queue of outputs */
    bool slow;    /* its last write did not complete */
    bool behind;  /* its lists have news, made into rows when its outbox is drained */
    bool crowded; /* keeps up, but has no room for one more chat line */
    bool stalled; /* in the queue of those whose next frame waits */
    bool doomed;  /* in the queue of those to take out of the game */
    uint8_t unknown_kinds;
    uint32_t peer, local, reported;
    uint32_t address; /* in addresses */
    struct wants wants;
    uint32_t inbox, outbox; /* blocks, while there is something in them */
    uint32_t in_size;
    uint32_t out_start, out_end;
    uint32_t next_ready, next_stalled, next_doomed;
    uint32_t wheel_slot, wheel_prev, wheel_next; /* pings; slot NONE: not pinged */
    uint32_t sess;     /* of the peer's newest directory session when it asked for its key; 0: none */
    uint32_t ticket;   /* of the verdict or record it waits for */
    uint32_t checking; /* the account whose password is being compared */
    uint32_t player;
    uint32_t buddy;  /* in buddies: whose link this is */
    uint8_t lkey[8]; /* the ticket that it is about to get */
    uint32_t listed; /* control: the next player of the list being told */
    uint32_t missed_lines;
    uint32_t ping_ref, round_trip_ms;
    uint64_t wait_since_ms, ping_sent_ms;
    uint64_t tokens_milli, tokens_at_ms;
    uint8_t skey[16];
};

struct inbox {
    uint32_t link;
    uint8_t bytes[INBOX_BYTES];
};

struct outbox {
    uint32_t link;
    uint8_t bytes[OUTBOX_BYTES];
};

struct account {
    uint32_t link;
    uint32_t player;
    uint32_t persona[PERSONAS_PER_ACCOUNT]; /* in the order they were made, then NONE */
    int64_t created_s, last_login_s;
    char name[ACCOUNT_CHARS + 1];
    char spam[3];
    char mail[MAIL_CHARS + 1];
    char hash[HASH_CHARS + 1];
    bool banned;
};

/* What races have come to (PROTOCOL 5). */
struct figures {
    uint32_t races, wins, losses, disconnects, laps_led;
    uint16_t rating, best_finish;
};

struct persona {
    uint32_t link;
    uint32_t account;
    uint32_t player;
    uint32_t buddy;              /* its buddy link, in buddies */
    uint32_t edges;              /* first of its roster */
    uint32_t ignored_by;         /* how many have it on their ignore list */
    uint32_t watchers;           /* first of those who are told of its presence */
    uint32_t messages;           /* first of those kept for it, the oldest */
    uint32_t left, right, below; /* in the tree of ranks; below: how many, with itself */
    struct figures figures;
    uint8_t ticket_hash[16]; /* of LKEY */
    char name[PERSONA_CHARS + 1];
    uint8_t edge_count, message_count, race_count;
    bool absent;  /* it races, and has left the lobby for that */
    bool pending; /* figures of it are on their way to the disk */
    int64_t ticket_until_s;
};

static_assert(sizeof(struct persona) <= 112, "128 bytes with its places in the tables");

#define LIST_BUDDY 1u
#define LIST_IGNORE 2u

/* What a buddy link shows of its persona (PROTOCOL 9). */
enum show { SHOW_DISC, SHOW_CHAT, SHOW_AWAY, SHOW_XA, SHOW_DND, SHOW_PASS, SHOWS };

static const char *const show_names[SHOWS] = {"DISC", "CHAT", "AWAY", "XA", "DND", "PASS"};

struct buddy {
    uint32_t link;
    uint32_t conn, persona;
    uint32_t watches; /* whom it is told of */
    uint32_t asked;   /* those of them that PADD asked for */
    uint32_t show;    /* what PSET said: enum show, and two texts */
    bool delivers;    /* messages that were kept come next */
    uint32_t telling; /* so many bytes are still to be written until one of them is told */
    char product[PRODUCT_CHARS + 1];
    char status[CHAT_CHARS + 1];
};

#define WATCH_ROSTER 1u
#define WATCH_ASKED 2u

/* One buddy link is told of one persona's presence. */
struct watch {
    uint32_t link;
    uint32_t buddy, persona;
    uint32_t prev, next; /* of the persona */
    uint32_t next_own;   /* of the link */
    uint32_t why;
    bool due; /* a PGET is */
};

/* A message for somebody who was offline. */
struct message {
    uint32_t link;
    uint32_t to, next; /* a persona, and its next message */
    uint32_t id;
    int64_t sent_s, until_s;
    bool told; /* its RECV is in the outbox */
    bool over; /* ... and written; the record that ends it is on its way */
    char type[5];
    char from[PERSONA_CHARS + 1];
    char body[CHAT_CHARS + 1];
};

/* The ticket of a race whose results are not all in. */
struct open_race {
    uint32_t link;
    uint32_t persona[2]; /* the host first; NONE: deleted */
    uint32_t reported;   /* a bit for each who has */
    uint32_t told;       /* a sum over what the first one said */
    uint32_t number;     /* in the order they came */
    int64_t when_s;
    uint8_t ticket[16]; /* AUTH */
};

/* A line of chat that the server saw; no room: a private one. */
struct chat_line {
    int64_t at_s;
    char from[PERSONA_CHARS + 1], to[PERSONA_CHARS + 1];
    char room[ROOM_CHARS + 1];
    char text[CHAT_CHARS + 1];
};

struct report {
    uint32_t link;
    uint32_t id;
    uint32_t lines;               /* the first of them */
    uint32_t written;             /* how many have been on their way to the disk */
    uint32_t waits_for;           /* the record that it goes on with, ... */
    uint32_t conn, conn_ticket;   /* ... and who is told of its end */
    bool draft;                   /* not on the disk yet */
    uint64_t chat_next, chat_end; /* while it is written: lines of chat to look at */
    int64_t at_s;
    char by[PERSONA_CHARS + 1], about[PERSONA_CHARS + 1];
};

struct report_line {
    uint32_t link;
    uint32_t report, index, next;
    struct chat_line line;
};

/* One persona on another's roster. 16 bytes, so the lists share a word. */
struct edge {
    uint32_t link; /* LIVE or the free list */
    uint32_t owner;
    uint32_t next;            /* in the owner's roster */
    uint32_t other_and_lists; /* other << 2 | lists */
};

struct player {
    uint32_t link;
    uint32_t account, persona, conn;
    uint32_t room, room_prev, room_next;
    uint32_t presence;               /* its entry in the room's list; none in the hub */
    uint32_t lobby_prev, lobby_next; /* subscribers of rooms and populations */
    uint32_t pair, side;             /* its challenge or race */
    bool self_due;                   /* its own record is to be sent */
    bool ranks_due;                  /* the ranking is to be cleared, ... */
    uint32_t ranks_next, ranks_left; /* ... and these places of it told */
    uint32_t rows_next, rows_left;   /* of the leaderboard, by `snap` */
    struct subscription rooms, populations, users;
    int64_t last_login_s;           /* the one before this */
    char peeked[PERSONA_CHARS + 1]; /* by `peek`: whom the next `auxi` challenges */
    char text[TOKEN_CHARS + 1];     /* X, by `auxi` */
};

struct presence {
    uint32_t link;
    uint32_t room, persona;
    uint32_t player; /* NONE: a tombstone */
};

struct room {
    uint32_t link;
    uint32_t ident;
    uint32_t limit, count;
    uint32_t members; /* first player */
    uint32_t crowded; /* members whose outbox has no room for one more line */
    uint32_t next_dirty;
    bool created, gone, dirty;
    struct feed users;
    char name[ROOM_CHARS + 1];
    char description[DESCRIPTION_CHARS + 1];
    char password[PASSWORD_CHARS + 1];
};

#define HUB 0u

enum pair_state { PAIR_OFFERED, PAIR_ACCEPTED, PAIR_RACING };

/* A challenge, from the offer on, and the race it becomes. Side 0 challenged. */
struct pair {
    uint32_t link;
    uint32_t state;
    uint32_t player[2]; /* NONE: has left the race */
    uint32_t seed;
    uint64_t started_ms;
    bool guest;    /* side 1 was shown a challenger who is not on its list */
    bool ready[2]; /* has sent `chal` */
    bool hosts[2]; /* ... with HOST=1 */
    bool starting; /* waits for the record of its ticket */
    uint32_t waits_for;
    uint8_t ticket[16]; /* AUTH */
};

/* One source address: its connections, and what it did lately. */
struct address {
    uint32_t link;
    uint32_t ipv4;
    uint32_t connections;
    uint32_t failed;          /* passwords, until ten minutes pass without one */
    uint32_t logins, created; /* tries and new accounts, since window_ms */
    uint64_t failed_at_ms, window_ms;
};

struct directory_session {
    uint32_t link;
    uint32_t sess, peer;
    char mask[33];
};

/* The last row encoded for many, and what it depends on. */
struct row {
    uint64_t from, to;
    uint32_t count, address;
    uint32_t size;
    uint8_t bytes[ROW_BYTES];
};

struct record_slot {
    uint32_t conn, ticket, size;
    bool lazy;
    uint8_t bytes[RECORD_BYTES];
};

struct nascar {
    struct nascar_limits limits;
    struct config config;
    size_t arena_bytes;
    bool keyed; /* hash_key is drawn, the hub is there */
    bool retry; /* what a stalled connection waits for may be there */
    uint64_t hash_key[2];
    uint32_t entropy_size;
    uint8_t entropy[NASCAR_ENTROPY_BYTES];

    uint64_t now_ms;
    int64_t wall_s;
    int64_t newest_record_s; /* a router boots in 1970: dates never go back behind this */
    uint64_t seq;            /* of the newest change in any feed */
    uint32_t next_ticket, next_room, next_created_room, next_message, next_report, next_race;
    uint32_t ranked;   /* the root of the tree of ranks */
    uint64_t swept_ms; /* when expired races and messages were last searched for */
    uint64_t chat_count;
    struct chat_line chat[CHAT_LINES];

    struct pool conns, inboxes, outboxes, accounts, personas, edges, players, presences, rooms, pairs, addresses,
        directory, buddies, watches, messages, races, reports, report_lines;
    struct index account_names, persona_names, persona_prefixes, race_tickets, room_names, presence_pairs,
        address_numbers, session_numbers, session_peers;
    size_t timers, nodes;
    uint32_t timer_count, pair_timers, directory_timers, address_timers;

    struct queue_ends queue[QUEUES];
    struct queue_ends ready, stalled, doomed;
    uint32_t dirty_rooms;
    bool lobby_dirty;
    uint32_t lobby_players; /* first subscriber of rooms and populations */
    struct feed room_feed, population_feed;
    uint32_t conn_count;

    uint32_t wheel[PING_SLOTS];
    uint32_t wheel_at, wheel_next_slot, wheel_count;
    uint64_t wheel_due_ms, wheel_batch_ms;

    struct row user_row, room_row, population_row;
    struct outgoing frame;     /* the one being written */
    struct outgoing row_frame; /* the same for rows, which may be made between two others */

    uint32_t record_count, record_taken;
    struct record_slot record[RECORDS];
    uint32_t job_count, job_taken;
    struct nascar_hash_job job[RECORDS];
    uint32_t log_size, log_taken, log_lost;
    char log[LOG_BYTES];
};

/* ---- Arena -------------------------------------------------------------- */

uint32_t nascar_connections(const struct nascar_limits *limits)
{
    return 2 * limits->clients + CONNECTIONS_SPARE + NASCAR_CONTROL_CONNECTIONS;
}

static bool in_range(uint32_t value, uint32_t min, uint32_t max)
{
    return value >= min && value <= max;
}

/* Places count items and returns where; *at moves behind them. 64 bits, so
 * that no product of limits overflows on a 32-bit machine. */
static size_t place(uint64_t *at, uint64_t count, uint64_t stride)
{
    uint64_t offset = (*at + 15) / 16 * 16;
    *at = offset + count * stride;
    return (size_t)offset;
}

static void place_pool(struct pool *pool, uint64_t *at, uint32_t capacity, size_t stride)
{
    pool->offset = place(at, capacity, stride);
    pool->stride = (uint32_t)stride;
    pool->capacity = capacity;
    pool->cleared = (uint32_t)stride;
    pool->free = NONE;
}

static void place_index(struct index *index, uint64_t *at, uint32_t capacity, uint32_t wanted)
{
    uint32_t buckets = 4;
    while (buckets < wanted)
        buckets *= 2;
    index->buckets = place(at, buckets, sizeof(uint32_t));
    index->chains = place(at, capacity, sizeof(uint32_t));
    index->mask = buckets - 1;
}

/* Lays the arena out; returns its size, 0 if a limit is out of range or the
 * machine cannot address it. */
static size_t lay_out(struct nascar *s, const struct nascar_limits *limits)
{
    uint64_t at = sizeof *s;
    if (!in_range(limits->clients, 1, 65536) || !in_range(limits->accounts, 1, 1048576) ||
        !in_range(limits->rooms, 8, 4096) || !in_range(limits->directory_sessions, 1, 65536) ||
        !in_range(limits->roster_edges, 1, 1u << 26) || !in_range(limits->messages, 1, 1u << 20))
        return 0;
    uint32_t conns = nascar_connections(limits), clients = limits->clients;
    place_pool(&s->conns, &at, conns, sizeof(struct conn));
    place_pool(&s->inboxes, &at, conns, sizeof(struct inbox));
    place_pool(&s->outboxes, &at, conns, sizeof(struct outbox));
    /* A connection knows how much of its boxes is filled. */
    s->inboxes.cleared = s->outboxes.cleared = sizeof(uint32_t);
    place_pool(&s->accounts, &at, limits->accounts, sizeof(struct account));
    place_pool(&s->personas, &at, limits->accounts * PERSONAS_PER_ACCOUNT, sizeof(struct persona));
    place_pool(&s->edges, &at, limits->roster_edges, sizeof(struct edge));
    place_pool(&s->players, &at, clients, sizeof(struct player));
    /* Each player has one, the rest is for tombstones; entering a room is
     * refused while a slow reader, closed within 30 s, keeps all of those. */
    place_pool(&s->presences, &at, clients * 4 + PRESENCES_SPARE, sizeof(struct presence));
    place_pool(&s->rooms, &at, limits->rooms, sizeof(struct room));
    place_pool(&s->pairs, &at, clients, sizeof(struct pair));
    /* Each connection has one; some more remember who was here. */
    place_pool(&s->addresses, &at, conns + ADDRESSES_KEPT, sizeof(struct address));
    place_pool(&s->directory, &at, limits->directory_sessions, sizeof(struct directory_session));
    place_pool(&s->buddies, &at, conns, sizeof(struct buddy));
    place_pool(&s->watches, &at, conns * (ROSTER_PER_PERSONA + WATCHES_ASKED), sizeof(struct watch));
    place_pool(&s->messages, &at, limits->messages, sizeof(struct message));
    place_pool(&s->races, &at, clients * RACES_PER_CLIENT, sizeof(struct open_race));
    place_pool(&s->reports, &at, REPORTS, sizeof(struct report));
    place_pool(&s->report_lines, &at, REPORT_LINES, sizeof(struct report_line));
    place_index(&s->account_names, &at, s->accounts.capacity, s->accounts.capacity);
    /* Few accounts have four personas: fewer buckets, which are all in use. */
    place_index(&s->persona_names, &at, s->personas.capacity, s->accounts.capacity);
    place_index(&s->persona_prefixes, &at, s->personas.capacity, min_u32(s->accounts.capacity, 1024));
    place_index(&s->race_tickets, &at, s->races.capacity, s->races.capacity);
    place_index(&s->room_names, &at, s->rooms.capacity, s->rooms.capacity);
    place_index(&s->presence_pairs, &at, s->presences.capacity, s->presences.capacity);
    place_index(&s->address_numbers, &at, s->addresses.capacity, s->addresses.capacity);
    place_index(&s->session_numbers, &at, s->directory.capacity, s->directory.capacity);
    place_index(&s->session_peers, &at, s->directory.capacity, s->directory.capacity);
    s->pair_timers = conns * CONN_TIMERS;
    s->directory_timers = s->pair_timers + s->pairs.capacity;
    s->address_timers = s->directory_timers + s->directory.capacity;
    s->timer_count = s->address_timers + s->addresses.capacity;
    s->timers = place(&at, s->timer_count, sizeof(struct timer));
    /* A room has two nodes (list, population), a presence one. */
    s->nodes = place(&at, 2ull * s->rooms.capacity + s->presences.capacity, sizeof(struct node));
    return at <= SIZE_MAX / 2 ? (size_t)at : 0; /* never: not where tests run, with 64 bits */
}

size_t nascar_arena_size(const struct nascar_limits *limits)
{
    struct nascar s;
    memset(&s, 0, sizeof s);
    return lay_out(&s, limits);
}

static inline void *in_arena(const struct nascar *s, size_t offset, size_t index, size_t stride)
{
    return (void *)((uintptr_t)s + offset + index * stride);
}

static inline void *item(const struct nascar *s, const struct pool *pool, uint32_t i)
{
    assert(i < pool->high);
    return in_arena(s, pool->offset, i, pool->stride);
}

/* Connections are numbered by the shell, so their pool has no free list. */
static inline struct conn *conn_at(const struct nascar *s, uint32_t i)
{
    assert(i < s->conns.capacity);
    return in_arena(s, s->conns.offset, i, sizeof(struct conn));
}

#define ITEM(type, name, pool) \
    static inline struct type *name(const struct nascar *s, uint32_t i) \
    { \
        return item(s, &s->pool, i); \
    }
ITEM(inbox, inbox_at, inboxes)
ITEM(outbox, outbox_at, outboxes)
ITEM(account, account_at, accounts)
ITEM(persona, persona_at, personas)
ITEM(edge, edge_at, edges)
ITEM(player, player_at, players)
ITEM(presence, presence_at, presences)
ITEM(room, room_at, rooms)
ITEM(pair, pair_at, pairs)
ITEM(address, address_at, addresses)
ITEM(directory_session, session_at, directory)
ITEM(buddy, buddy_at, buddies)
ITEM(watch, watch_at, watches)
ITEM(message, message_at, messages)
ITEM(open_race, race_at, races)
ITEM(report, report_at, reports)
ITEM(report_line, report_line_at, report_lines)
#undef ITEM

static inline struct timer *timer_at(const struct nascar *s, uint32_t i)
{
    assert(i < s->timer_count);
    return in_arena(s, s->timers, i, sizeof(struct timer));
}

/* Returns the number of an item, zeroed as far as its pool says, or NONE if the
 * pool is full. */
static uint32_t pool_take(struct nascar *s, struct pool *pool)
{
    uint32_t i = pool->free;
    if (i == NONE && pool->high == pool->capacity)
        return NONE;
    if (i == NONE)
        i = pool->high++;
    uint32_t *link = item(s, pool, i);
    if (i == pool->free)
        pool->free = *link;
    memset(link, 0, pool->cleared);
    *link = LIVE;
    pool->live++;
    return i;
}

static void pool_give(struct nascar *s, struct pool *pool, uint32_t i)
{
    uint32_t *link = item(s, pool, i);
    assert(*link == LIVE);
    *link = pool->free;
    pool->free = i;
    pool->live--;
}

static inline bool is_live(const struct nascar *s, const struct pool *pool, uint32_t i)
{
    return i < pool->high && *(uint32_t *)item(s, pool, i) == LIVE;
}

static bool pool_full(const struct pool *pool)
{
    return pool->live == pool->capacity;
}

/* ---- Look-up ------------------------------------------------------------ */

static inline uint32_t *bucket_at(const struct nascar *s, const struct index *index, uint64_t hash)
{
    return in_arena(s, index->buckets, (size_t)(hash & index->mask), sizeof(uint32_t));
}

static inline uint32_t *chain_at(const struct nascar *s, const struct index *index, uint32_t i)
{
    return in_arena(s, index->chains, i, sizeof(uint32_t));
}

/* The newest entry of a bucket comes first. */
static inline uint32_t index_first(const struct nascar *s, const struct index *index, uint64_t hash)
{
    return *bucket_at(s, index, hash) - 1;
}

static inline uint32_t index_next(const struct nascar *s, const struct index *index, uint32_t i)
{
    return *chain_at(s, index, i) - 1;
}

static void index_add(struct nascar *s, const struct index *index, uint64_t hash, uint32_t i)
{
    uint32_t *bucket = bucket_at(s, index, hash);
    *chain_at(s, index, i) = *bucket;
    *bucket = i + 1;
}

static void index_remove(struct nascar *s, const struct index *index, uint64_t hash, uint32_t i)
{
    uint32_t *link = bucket_at(s, index, hash);
    while (*link != i + 1) {
        assert(*link != 0);
        link = chain_at(s, index, *link - 1);
    }
    *link = *chain_at(s, index, i);
    *chain_at(s, index, i) = 0;
}

static uint64_t hash_name(const struct nascar *s, const char *name)
{
    uint8_t folded[ANY_NAME_CHARS];
    size_t n = 0;
    for (; n < sizeof folded && name[n]; n++)
        folded[n] = lower((uint8_t)name[n]);
    return siphash(s->hash_key, folded, n);
}

static uint64_t hash_numbers(const struct nascar *s, uint32_t a, uint32_t b)
{
    uint8_t bytes[8];
    store_be32(bytes, a);
    store_be32(bytes + 4, b);
    return siphash(s->hash_key, bytes, sizeof bytes);
}

static uint32_t find_account(const struct nascar *s, const char *name)
{
    uint32_t i = index_first(s, &s->account_names, hash_name(s, name));
    while (i != NONE && !same_name(account_at(s, i)->name, name))
        i = index_next(s, &s->account_names, i);
    return i;
}

static uint32_t find_persona(const struct nascar *s, const char *name)
{
    uint32_t i = index_first(s, &s->persona_names, hash_name(s, name));
    while (i != NONE && !same_name(persona_at(s, i)->name, name))
        i = index_next(s, &s->persona_names, i);
    return i;
}

static uint32_t find_room(const struct nascar *s, const char *name)
{
    uint32_t i = index_first(s, &s->room_names, hash_name(s, name));
    while (i != NONE && !same_name(room_at(s, i)->name, name))
        i = index_next(s, &s->room_names, i);
    return i;
}

/* A roster is short: no look-up table, which would be as large as the entries. */
static uint32_t find_edge(const struct nascar *s, uint32_t owner, uint32_t other)
{
    uint32_t i = persona_at(s, owner)->edges;
    while (i != NONE && edge_at(s, i)->other_and_lists >> 2 != other)
        i = edge_at(s, i)->next;
    return i;
}

static uint32_t find_race(const struct nascar *s, const uint8_t ticket[16])
{
    uint32_t i = index_first(s, &s->race_tickets, siphash(s->hash_key, ticket, 16));
    while (i != NONE && !equal_secret(race_at(s, i)->ticket, ticket, 16))
        i = index_next(s, &s->race_tickets, i);
    return i;
}

/* Personas by the first two characters of their names, for USCH. */
static uint64_t hash_prefix(const struct nascar *s, const char *name)
{
    assert(name[0] && name[1]);
    return hash_numbers(s, lower((uint8_t)name[0]), lower((uint8_t)name[1]));
}

/* A persona's presence in a room: its player's, or the tombstone of a former one. */
static uint32_t find_presence(const struct nascar *s, uint32_t room, uint32_t persona)
{
    uint32_t i = index_first(s, &s->presence_pairs, hash_numbers(s, room, persona));
    while (i != NONE && (presence_at(s, i)->room != room || presence_at(s, i)->persona != persona))
        i = index_next(s, &s->presence_pairs, i);
    return i;
}

static uint32_t find_address(const struct nascar *s, uint32_t ipv4)
{
    uint32_t i = index_first(s, &s->address_numbers, hash_numbers(s, ipv4, 0));
    while (i != NONE && address_at(s, i)->ipv4 != ipv4)
        i = index_next(s, &s->address_numbers, i);
    return i;
}

static uint32_t find_session(const struct nascar *s, uint32_t sess)
{
    uint32_t i = index_first(s, &s->session_numbers, hash_numbers(s, sess, 0));
    while (i != NONE && session_at(s, i)->sess != sess)
        i = index_next(s, &s->session_numbers, i);
    return i;
}

/* The newest of that peer: buckets hold the newest first. */
static uint32_t find_session_of_peer(const struct nascar *s, uint32_t peer)
{
    uint32_t i = index_first(s, &s->session_peers, hash_numbers(s, peer, 0));
    while (i != NONE && session_at(s, i)->peer != peer)
        i = index_next(s, &s->session_peers, i);
    return i;
}

/* ---- Entropy ------------------------------------------------------------ */

uint32_t nascar_entropy_wanted(const struct nascar *s)
{
    return NASCAR_ENTROPY_BYTES - s->entropy_size;
}

/* Takes unpredictable bytes out of the pool: each is used once. */
static void draw(struct nascar *s, uint8_t *out, uint32_t size)
{
    assert(size <= s->entropy_size);
    s->entropy_size -= size;
    memcpy(out, s->entropy + s->entropy_size, size);
    wipe(s->entropy + s->entropy_size, size);
}

static uint32_t draw_u32(struct nascar *s)
{
    uint8_t bytes[4];
    draw(s, bytes, sizeof bytes);
    return load_be32(bytes);
}

/* ---- Timers ------------------------------------------------------------- */

static void timer_stop(struct nascar *s, uint32_t i)
{
    struct timer *t = timer_at(s, i);
    t->paused = Q_NONE;
    if (t->queue == Q_NONE)
        return;
    struct queue_ends *q = &s->queue[t->queue];
    if (t->prev != NONE)
        timer_at(s, t->prev)->next = t->next;
    else
        q->head = t->next;
    if (t->next != NONE)
        timer_at(s, t->next)->prev = t->prev;
    else
        q->tail = t->prev;
    t->queue = Q_NONE;
}

/* A queue is kept in order of time. As all of its timers are equally long, the
 * new one is the last, but for a wait that stood still or a new configuration. */
static void timer_start_at(struct nascar *s, uint32_t i, enum queue queue, uint64_t due_ms)
{
    struct timer *t = timer_at(s, i);
    struct queue_ends *q = &s->queue[queue];
    timer_stop(s, i);
    uint32_t after = q->tail;
    while (after != NONE && timer_at(s, after)->due_ms > due_ms)
        after = timer_at(s, after)->prev;
    t->queue = (uint16_t)queue;
    t->due_ms = due_ms;
    t->prev = after;
    t->next = after == NONE ? q->head : timer_at(s, after)->next;
    if (t->next != NONE)
        timer_at(s, t->next)->prev = i;
    else
        q->tail = i;
    if (after != NONE)
        timer_at(s, after)->next = i;
    else
        q->head = i;
}

static uint32_t queue_ms(const struct nascar *s, enum queue queue)
{
    switch (queue) { /* never: it is one of these */
    case Q_FIRST_FRAME: return s->config.first_frame_ms;
    case Q_LINGER: return s->config.linger_ms;
    case Q_BUDDY_LOGIN: return s->config.buddy_login_ms;
    case Q_LOGIN: return s->config.login_ms;
    case Q_IDLE: return s->config.idle_ms;
    case Q_THROTTLE: return THROTTLE_MS;
    case Q_SLOW: return SLOW_MS;
    case Q_CHALLENGE: return s->config.challenge_ms;
    case Q_RACE_START: return s->config.race_start_ms;
    case Q_DIRECTORY: return DIRECTORY_MS;
    case Q_ADDRESS: return ADDRESS_MS;
    case Q_NONE: /* never: timers are not started there */
    case QUEUES: break;
    }
    assert(false);
    return 0; /* never: see above */
}

static void timer_start(struct nascar *s, uint32_t i, enum queue queue)
{
    timer_start_at(s, i, queue, s->now_ms + queue_ms(s, queue));
}

/* A timer stands still, and goes on later with what it had left. */
static void timer_pause(struct nascar *s, uint32_t i)
{
    uint16_t queue = timer_at(s, i)->queue;
    timer_stop(s, i);
    timer_at(s, i)->paused = queue;
}

static void timer_resume(struct nascar *s, uint32_t i, uint64_t paused_ms)
{
    const struct timer *t = timer_at(s, i);
    if (t->paused != Q_NONE)
        timer_start_at(s, i, (enum queue)t->paused, t->due_ms + paused_ms);
}

static uint32_t conn_timer(uint32_t c, enum conn_timer which)
{
    return c * CONN_TIMERS + which;
}

/* ---- Log ---------------------------------------------------------------- */

/* A line is begun, gets its key=value pairs, and is ended. It is built at the
 * end of the log buffer: level, text, NUL. */
static void log_byte(struct nascar *s, char c)
{
    if (s->log_size < LOG_BYTES)
        s->log[s->log_size] = c;
    s->log_size++; /* past the end: log_end takes the line back */
}

static void log_chars(struct nascar *s, const char *text)
{
    while (*text)
        log_byte(s, *text++);
}

static void log_number(struct nascar *s, const char *key, int64_t value)
{
    char text[24];
    write_number(text, value);
    log_byte(s, ' ');
    log_chars(s, key);
    log_byte(s, '=');
    log_chars(s, text);
}

/* Quoted, and every byte that could end the line, the quotes or a terminal's
 * patience is \xNN. */
static void log_text(struct nascar *s, const char *key, const char *value)
{
    log_byte(s, ' ');
    log_chars(s, key);
    log_chars(s, "=\"");
    for (; *value; value++) {
        uint8_t c = (uint8_t)*value;
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') {
            log_chars(s, "\\x");
            log_byte(s, hex_digits[c >> 4]);
            log_byte(s, hex_digits[c & 15]);
        } else {
            log_byte(s, *value);
        }
    }
    log_byte(s, '"');
}

static void log_address(struct nascar *s, const char *key, uint32_t address)
{
    char text[16];
    write_address(text, address);
    log_byte(s, ' ');
    log_chars(s, key);
    log_byte(s, '=');
    log_chars(s, text);
}

/* Returns where the line starts, for log_end. */
static uint32_t log_begin(struct nascar *s, enum nascar_log_level level, const char *name)
{
    uint32_t start = s->log_size;
    log_byte(s, (char)level);
    log_chars(s, "event=");
    log_chars(s, name);
    if (s->log_lost > 0)
        log_number(s, "lines_lost", s->log_lost);
    return start;
}

static void log_end(struct nascar *s, uint32_t start)
{
    log_byte(s, 0);
    if (s->log_size <= LOG_BYTES) {
        s->log_lost = 0;
    } else {
        s->log_size = start;
        s->log_lost++;
    }
}

bool nascar_next_log(struct nascar *s, struct nascar_log *log)
{
    if (s->log_taken == s->log_size)
        return false;
    log->level = (enum nascar_log_level)s->log[s->log_taken];
    log->text = s->log + s->log_taken + 1;
    s->log_taken += (uint32_t)strlen(log->text) + 2;
    return true;
}

/* The start of a line about one connection. */
static uint32_t log_conn(struct nascar *s, enum nascar_log_level level, const char *name, uint32_t c)
{
    const struct conn *conn = conn_at(s, c);
    uint32_t start = log_begin(s, level, name);
    log_number(s, "conn", c);
    log_address(s, "peer", conn->peer);
    if (conn->player != NONE) {
        const struct player *p = player_at(s, conn->player);
        log_text(s, "account", account_at(s, p->account)->name);
        if (p->persona != NONE)
            log_text(s, "persona", persona_at(s, p->persona)->name);
    } else if (conn->buddy != NONE) {
        log_text(s, "persona", persona_at(s, buddy_at(s, conn->buddy)->persona)->name);
    }
    return start;
}

/* ---- Connections: queues ------------------------------------------------ */

/* Three queues of connections, each threaded through a word of its own:
 * those with output, those whose next frame waits, those to take out. */
static void enqueue(struct nascar *s, struct queue_ends *q, uint32_t c, size_t link)
{
    uint32_t *next = (uint32_t *)(void *)((char *)conn_at(s, c) + link);
    *next = NONE;
    if (q->tail == NONE)
        q->head = c;
    else
        *(uint32_t *)(void *)((char *)conn_at(s, q->tail) + link) = c;
    q->tail = c;
}

static uint32_t dequeue(struct nascar *s, struct queue_ends *q, size_t link)
{
    uint32_t c = q->head;
    if (c == NONE)
        return NONE;
    q->head = *(uint32_t *)(void *)((char *)conn_at(s, c) + link);
    if (q->head == NONE)
        q->tail = NONE;
    return c;
}

static void mark_ready(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    if (!conn->ready)
        enqueue(s, &s->ready, c, offsetof(struct conn, next_ready));
    conn->ready = true;
}

static void mark_stalled(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    if (!conn->stalled) /* never: who waits in that queue does not run */
        enqueue(s, &s->stalled, c, offsetof(struct conn, next_stalled));
    conn->stalled = true;
}

/* ---- Outboxes ----------------------------------------------------------- */

static uint32_t outbox_free(const struct conn *conn)
{
    return OUTBOX_BYTES - (conn->out_end - conn->out_start);
}

/* Keeps the count of a room's members who could not take one more chat line,
 * though they do read. While it is not 0, who talks there waits. */
static void count_crowded(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    bool in_room = conn->player != NONE && player_at(s, conn->player)->room != NONE;
    bool crowded = in_room && !conn->closing && !conn->slow && outbox_free(conn) < REPLY_BYTES + CHAT_BYTES;
    if (crowded == conn->crowded)
        return;
    conn->crowded = crowded;
    struct room *room = room_at(s, player_at(s, conn->player)->room);
    room->crowded += crowded ? 1u : 0u - 1u;
    if (!crowded)
        s->retry = true;
}

/* Ends a connection: no input from now on, what is in its outbox is flushed.
 * Its player leaves the game when the present frame is done (settle), so that
 * nobody walks a list that changes under his feet. */
static void conn_doom(struct nascar *s, uint32_t c, const char *reason)
{
    struct conn *conn = conn_at(s, c);
    if (conn->closing)
        return;
    if (conn->state != CONN_CONTROL) {
        uint32_t line = log_conn(s, NASCAR_LOG_INFO, "close", c);
        log_text(s, "reason", reason);
        if (conn->unknown_kinds > 0)
            log_number(s, "unknown_kinds", conn->unknown_kinds);
        log_end(s, line);
    }
    conn->closing = true;
    conn->doomed = true;
    enqueue(s, &s->doomed, c, offsetof(struct conn, next_doomed));
    count_crowded(s, c);
    mark_ready(s, c);
}

/* Queues one whole frame. A connection that has no room for it has left its
 * answers unread for many requests of others: it is closed. */
static void conn_write(struct nascar *s, uint32_t c, const uint8_t *bytes, uint32_t size)
{
    struct conn *conn = conn_at(s, c);
    if (conn->closing)
        return;
    if (outbox_free(conn) < size) {
        conn_doom(s, c, "outbox full");
        return;
    }
    if (conn->outbox == NONE) {
        conn->outbox = pool_take(s, &s->outboxes); /* one for each connection: never fails */
        conn->out_start = conn->out_end = 0;
    }
    struct outbox *box = outbox_at(s, conn->outbox);
    if (OUTBOX_BYTES - conn->out_end < size) {
        memmove(box->bytes, box->bytes + conn->out_start, conn->out_end - conn->out_start);
        conn->out_end -= conn->out_start;
        conn->out_start = 0;
    }
    memcpy(box->bytes + conn->out_end, bytes, size);
    conn->out_end += size;
    mark_ready(s, c);
    count_crowded(s, c);
}

/* Ends the frame that is being written and queues it. */
static void send_frame(struct nascar *s, uint32_t c)
{
    frame_end(&s->frame);
    conn_write(s, c, s->frame.bytes, s->frame.size);
}

static void outbox_release(struct nascar *s, struct conn *conn)
{
    if (conn->outbox != NONE)
        pool_give(s, &s->outboxes, conn->outbox);
    conn->outbox = NONE;
    conn->out_start = conn->out_end = 0;
}

uint32_t nascar_next_output(struct nascar *s)
{
    uint32_t c;
    do {
        c = dequeue(s, &s->ready, offsetof(struct conn, next_ready));
        if (c != NONE)
            conn_at(s, c)->ready = false;
    } while (c != NONE && conn_at(s, c)->state == CONN_FREE);
    return c;
}

const uint8_t *nascar_outbox(const struct nascar *s, uint32_t c, uint32_t *size)
{
    *size = 0;
    if (c >= s->conns.capacity || conn_at(s, c)->state == CONN_FREE || conn_at(s, c)->outbox == NONE)
        return NULL;
    const struct conn *conn = conn_at(s, c);
    *size = conn->out_end - conn->out_start;
    return outbox_at(s, conn->outbox)->bytes + conn->out_start;
}

bool nascar_closing(const struct nascar *s, uint32_t c)
{
    return c < s->conns.capacity && conn_at(s, c)->state != CONN_FREE && conn_at(s, c)->closing;
}

uint32_t nascar_inbox_room(const struct nascar *s, uint32_t c)
{
    if (c >= s->conns.capacity || conn_at(s, c)->state == CONN_FREE || conn_at(s, c)->closing)
        return 0;
    return INBOX_BYTES - conn_at(s, c)->in_size;
}

/* ---- Records and hash jobs ---------------------------------------------- */

/* The connection waits, its deadlines stand still, and its frame stays in the
 * inbox: when the answer comes the command goes on with it. */
static void conn_wait(struct nascar *s, uint32_t c, enum wait wait)
{
    struct conn *conn = conn_at(s, c);
    conn->wait = (uint8_t)wait;
    conn->ticket = ++s->next_ticket;
    conn->wait_since_ms = s->now_ms;
    timer_pause(s, conn_timer(c, T_PHASE));
    timer_pause(s, conn_timer(c, T_IDLE));
}

static void conn_wait_over(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    uint64_t waited_ms = s->now_ms - conn->wait_since_ms;
    conn->wait = WAIT_NONE;
    timer_resume(s, conn_timer(c, T_PHASE), waited_ms);
    timer_resume(s, conn_timer(c, T_IDLE), waited_ms);
}

/* The numbers of those who wait for a record: connections, then challenges
 * that become races, then reports. */
static uint32_t pair_waiter(const struct nascar *s, uint32_t pair)
{
    return s->conns.capacity + pair;
}

static uint32_t report_waiter(const struct nascar *s, uint32_t report)
{
    return s->conns.capacity + s->pairs.capacity + report;
}

/* Hands out the frame that is being written as a durable record. Whoever
 * writes one has made sure of a slot. */
static void queue_record(struct nascar *s, uint32_t who, uint32_t ticket, bool lazy)
{
    assert(s->record_count < RECORDS);
    struct record_slot *slot = &s->record[s->record_count++];
    frame_end(&s->frame);
    assert(s->frame.size <= RECORD_BYTES);
    slot->conn = who;
    slot->ticket = ticket;
    slot->lazy = lazy;
    slot->size = s->frame.size;
    memcpy(slot->bytes, s->frame.bytes, s->frame.size);
}

/* The same, and connection c waits for it: frames start only when there is a
 * slot for this one. */
static void send_record(struct nascar *s, uint32_t c)
{
    conn_wait(s, c, WAIT_RECORD);
    queue_record(s, c, conn_at(s, c)->ticket, false);
}

/* Asks for a comparison with `stored` (none if empty) and a fresh hash (none
 * if `fresh` is empty); connection c waits for the verdict. */
static void send_hash_job(struct nascar *s, uint32_t c, const char *password, const char *stored, const char *fresh)
{
    assert(s->job_count < RECORDS);
    struct nascar_hash_job *job = &s->job[s->job_count++];
    conn_wait(s, c, WAIT_VERDICT);
    memset(job, 0, sizeof *job);
    job->conn = c;
    job->ticket = conn_at(s, c)->ticket;
    copy_text(job->password, sizeof job->password, password);
    copy_text(job->stored, sizeof job->stored, stored);
    copy_text(job->fresh, sizeof job->fresh, fresh);
    draw(s, job->salt, sizeof job->salt);
}

bool nascar_next_record(struct nascar *s, struct nascar_record *record)
{
    if (s->record_taken == s->record_count)
        return false;
    const struct record_slot *slot = &s->record[s->record_taken++];
    record->conn = slot->conn;
    record->ticket = slot->ticket;
    record->size = slot->size;
    record->lazy = slot->lazy;
    record->bytes = slot->bytes;
    return true;
}

bool nascar_next_hash_job(struct nascar *s, struct nascar_hash_job *job)
{
    if (s->job_taken == s->job_count)
        return false;
    *job = s->job[s->job_taken];
    wipe(&s->job[s->job_taken++], sizeof *job);
    return true;
}

/* Frees what the shell has taken since the last step. */
static void free_taken(struct nascar *s)
{
    if (s->record_taken == s->record_count) {
        s->retry = s->record_count == RECORDS; /* nothing is left of the last step */
        s->record_taken = s->record_count = 0;
    }
    if (s->job_taken == s->job_count) {
        s->retry = s->retry || s->job_count == RECORDS;
        s->job_taken = s->job_count = 0;
    }
    if (s->log_taken == s->log_size)
        s->log_taken = s->log_size = 0;
}

/* ---- Feeds: lists that each console follows at its own pace -------------- */

/* Nodes: a room's entry in the list of rooms, its population, a presence. */
static inline struct node *node_at(const struct nascar *s, uint32_t i)
{
    return in_arena(s, s->nodes, i, sizeof(struct node));
}

static uint32_t room_node(uint32_t room)
{
    return 2 * room;
}

static uint32_t population_node(uint32_t room)
{
    return 2 * room + 1;
}

static uint32_t presence_node(const struct nascar *s, uint32_t presence)
{
    return 2 * s->rooms.capacity + presence;
}

static void feed_unlink(struct nascar *s, struct feed *feed, uint32_t i)
{
    struct node *node = node_at(s, i);
    assert(node->linked);
    if (node->prev != NONE)
        node_at(s, node->prev)->next = node->next;
    else
        feed->head = node->next;
    if (node->next != NONE)
        node_at(s, node->next)->prev = node->prev;
    else
        feed->tail = node->prev;
    memset(node, 0, sizeof *node);
}

/* Makes an entry the newest of its feed, whether it is new or changed. */
static void feed_touch(struct nascar *s, struct feed *feed, uint32_t i)
{
    struct node *node = node_at(s, i);
    if (node->linked)
        feed_unlink(s, feed, i);
    node->linked = 1;
    node->seq = ++s->seq;
    node->prev = feed->tail;
    node->next = NONE;
    if (feed->tail != NONE)
        node_at(s, feed->tail)->next = i;
    else
        feed->head = i;
    feed->tail = i;
}

/* Frees what a node belonged to. */
static void node_free(struct nascar *s, struct feed *feed, uint32_t i)
{
    feed_unlink(s, feed, i);
    if (i < 2 * s->rooms.capacity) {
        pool_give(s, &s->rooms, i / 2);
        return;
    }
    i -= 2 * s->rooms.capacity;
    const struct presence *presence = presence_at(s, i);
    index_remove(s, &s->presence_pairs, hash_numbers(s, presence->room, presence->persona), i);
    pool_give(s, &s->presences, i);
}

static void tombstone_passed(struct nascar *s, struct feed *feed, uint32_t i)
{
    struct node *node = node_at(s, i);
    assert(node->tombstone && node->waiting > 0);
    if (--node->waiting == 0)
        node_free(s, feed, i);
}

/* Turns an entry into a tombstone, or frees it if nobody follows the feed. */
static void feed_bury(struct nascar *s, struct feed *feed, uint32_t i)
{
    feed_touch(s, feed, i);
    if (feed->subscribers == 0) {
        node_free(s, feed, i);
        return;
    }
    node_at(s, i)->tombstone = 1;
    node_at(s, i)->waiting = feed->subscribers;
}

/* The first entry that the subscription has not been told of, or NONE. */
static uint32_t feed_next(const struct nascar *s, const struct feed *feed, const struct subscription *sub)
{
    uint32_t i = feed->tail;
    if (!sub->on || i == NONE || node_at(s, i)->seq <= sub->cursor)
        return NONE;
    if (sub->cursor == 0) {
        i = feed->head;
    } else if (node_at(s, sub->at)->linked && node_at(s, sub->at)->seq == sub->cursor) {
        i = node_at(s, sub->at)->next;
    } else {
        while (node_at(s, i)->prev != NONE && node_at(s, node_at(s, i)->prev)->seq > sub->cursor)
            i = node_at(s, i)->prev;
    }
    while (i != NONE && node_at(s, i)->tombstone && node_at(s, i)->seq <= sub->since)
        i = node_at(s, i)->next;
    return i;
}

/* The subscription has been told of entry i. */
static void feed_advance(struct nascar *s, struct feed *feed, struct subscription *sub, uint32_t i)
{
    sub->cursor = node_at(s, i)->seq;
    sub->at = i;
    if (node_at(s, i)->tombstone)
        tombstone_passed(s, feed, i);
}

static void unsubscribe(struct nascar *s, struct feed *feed, struct subscription *sub)
{
    if (!sub->on)
        return;
    uint64_t passed = sub->cursor > sub->since ? sub->cursor : sub->since;
    for (uint32_t i = feed->tail; i != NONE && node_at(s, i)->seq > passed;) {
        uint32_t prev = node_at(s, i)->prev;
        if (node_at(s, i)->tombstone)
            tombstone_passed(s, feed, i);
        i = prev;
    }
    feed->subscribers--;
    memset(sub, 0, sizeof *sub);
}

/* Starts, or starts again, with the whole list. */
static void subscribe(struct nascar *s, struct feed *feed, struct subscription *sub)
{
    unsubscribe(s, feed, sub);
    sub->on = 1;
    sub->since = s->seq;
    sub->at = NONE;
    feed->subscribers++;
}

/* The whole list once more, without missing the end of an entry that the
 * console was told of. */
static void relist(struct subscription *sub)
{
    sub->since = sub->cursor > sub->since ? sub->cursor : sub->since;
    sub->cursor = 0;
    sub->at = NONE;
}

/* ---- Figures and ranks (PROTOCOL 5) ---------------------------------------- */

#define FIRST_RATING 1500u
#define LAST_RATING 8191u /* the console's leaderboard has 13 bits */
#define ELO_K UINT64_C(32)

/* Whoever has raced is in a search tree, best rating first and then by name,
 * balanced by chance (a treap): a place's persona and a persona's place are
 * found in a few steps. */
static bool ranks_before(const struct nascar *s, uint32_t a, uint32_t b)
{
    uint32_t x = persona_at(s, a)->figures.rating, y = persona_at(s, b)->figures.rating;
    return x != y ? x > y : compare_names(persona_at(s, a)->name, persona_at(s, b)->name) < 0;
}

static uint32_t tree_priority(uint32_t i)
{
    uint32_t v = (i ^ i >> 16) * 0x7feb352du;
    v = (v ^ v >> 15) * 0x846ca68bu;
    return v ^ v >> 16;
}

static uint32_t tree_size(const struct nascar *s, uint32_t i)
{
    return i == NONE ? 0 : persona_at(s, i)->below;
}

static void tree_count(const struct nascar *s, uint32_t i)
{
    struct persona *p = persona_at(s, i);
    p->below = tree_size(s, p->left) + tree_size(s, p->right) + 1;
}

/* Cuts a tree into those who rank before persona i, and the others. */
static void tree_split(const struct nascar *s, uint32_t root, uint32_t i, uint32_t *before, uint32_t *after)
{
    if (root == NONE) {
        *before = *after = NONE;
        return;
    }
    struct persona *p = persona_at(s, root);
    if (ranks_before(s, root, i)) {
        tree_split(s, p->right, i, &p->right, after);
        *before = root;
    } else {
        tree_split(s, p->left, i, before, &p->left);
        *after = root;
    }
    tree_count(s, root);
}

static uint32_t tree_join(const struct nascar *s, uint32_t before, uint32_t after)
{
    if (before == NONE || after == NONE)
        return before == NONE ? after : before;
    uint32_t root = tree_priority(before) > tree_priority(after) ? before : after;
    struct persona *p = persona_at(s, root);
    if (root == before)
        p->right = tree_join(s, p->right, after);
    else
        p->left = tree_join(s, before, p->left);
    tree_count(s, root);
    return root;
}

static bool is_ranked(const struct nascar *s, uint32_t persona)
{
    return persona_at(s, persona)->figures.races > 0;
}

static void rank_add(struct nascar *s, uint32_t persona)
{
    uint32_t before, after;
    struct persona *p = persona_at(s, persona);
    p->left = p->right = NONE;
    p->below = 1;
    tree_split(s, s->ranked, persona, &before, &after);
    s->ranked = tree_join(s, tree_join(s, before, persona), after);
}

static void rank_remove(struct nascar *s, uint32_t persona)
{
    uint32_t *link = &s->ranked;
    while (*link != persona) {
        struct persona *p = persona_at(s, *link);
        p->below--;
        link = ranks_before(s, *link, persona) ? &p->right : &p->left;
    }
    *link = tree_join(s, persona_at(s, persona)->left, persona_at(s, persona)->right);
}

/* The place of a persona, the best being 1; 0 for who has not raced. */
static uint32_t rank_of(const struct nascar *s, uint32_t persona)
{
    uint32_t place = 0, i = s->ranked;
    if (!is_ranked(s, persona))
        return 0;
    while (i != persona) {
        const struct persona *p = persona_at(s, i);
        bool before = ranks_before(s, i, persona);
        place += before ? tree_size(s, p->left) + 1 : 0;
        i = before ? p->right : p->left;
    }
    return place + tree_size(s, persona_at(s, i)->left) + 1;
}

/* Who is at a place; NONE past the last. */
static uint32_t persona_at_rank(const struct nascar *s, uint32_t place)
{
    uint32_t i = s->ranked;
    if (place < 1 || place > tree_size(s, i))
        return NONE;
    for (;;) {
        const struct persona *p = persona_at(s, i);
        uint32_t before = tree_size(s, p->left);
        if (place == before + 1)
            return i;
        i = place <= before ? p->left : p->right;
        place -= place <= before ? 0 : before + 1;
    }
}

static void set_figures(struct nascar *s, uint32_t persona, const struct figures *figures)
{
    if (is_ranked(s, persona))
        rank_remove(s, persona);
    persona_at(s, persona)->figures = *figures;
    if (is_ranked(s, persona))
        rank_add(s, persona);
}

/* The points that go from the loser to the winner: K / (1 + 10 ^ (ahead / 400)),
 * rounded, `ahead` being what the winner had more. In whole numbers, the same
 * on every machine. */
static uint32_t elo_points(uint32_t winner, uint32_t loser)
{
    /* 10 ^ (2 ^ k / 400), as all powers here with 24 bits of fraction */
    static const uint32_t steps[10] = {16874072, 16971487, 17168008, 17567902, 18395852,
                                       20170650, 24250455, 35052572, 73235204, 319683260};
    const uint64_t one = 1u << 24;
    uint64_t power = one;
    uint32_t ahead = min_u32(winner > loser ? winner - loser : loser - winner, 1023);
    for (int k = 0; k < 10; k++)
        if (ahead >> k & 1)
            power = power * steps[k] >> 24;
    uint64_t share = winner >= loser ? one : power;
    return (uint32_t)((2 * ELO_K * share + one + power) / (2 * (one + power)));
}

/* Figures as the console has them, hexadecimal, or as records have them. */
static void write_figures(char *out, size_t out_bytes, const struct figures *f, bool hex)
{
    const uint32_t values[7] = {f->races, f->wins, f->losses, f->disconnects, f->rating, f->laps_led, f->best_finish};
    char number[24];
    out[0] = 0;
    for (int i = 0; i < 7; i++) {
        write_number(number, values[i]);
        if (hex) {
            uint8_t bytes[4];
            char digits[9];
            store_be32(bytes, values[i]);
            write_hex(digits, bytes, sizeof bytes);
            copy_text(number, sizeof number, digits + min_u32((uint32_t)strspn(digits, "0"), 7));
        }
        append_text(out, out_bytes, i > 0 ? "," : "");
        append_text(out, out_bytes, number);
    }
}

/* R of a persona: the console's has 13 bits, and 0 is none. */
static uint32_t shown_rank(const struct nascar *s, uint32_t persona)
{
    uint32_t rank = rank_of(s, persona);
    return rank <= LAST_RATING ? rank : 0;
}

/* S of a persona: "" for who has not raced. */
static void write_standing(const struct nascar *s, uint32_t persona, char out[LEADERBOARD_CHARS + 1])
{
    out[0] = 0;
    if (is_ranked(s, persona))
        write_figures(out, LEADERBOARD_CHARS + 1, &persona_at(s, persona)->figures, true);
}

/* ---- Rows: what the lists say (PROTOCOL 3.3) ----------------------------- */

static struct persona *player_persona(const struct nascar *s, const struct player *p)
{
    return persona_at(s, p->persona);
}

static const char *player_name(const struct nascar *s, uint32_t player)
{
    return player_persona(s, player_at(s, player))->name;
}

/* PROTOCOL 5: a challenger is busy from its offer on, who is challenged from ACPT on. */
static bool player_busy(const struct nascar *s, const struct player *p)
{
    return p->pair != NONE && (p->side == 0 || pair_at(s, p->pair)->state != PAIR_OFFERED);
}

static struct endpoint endpoint_of(const struct conn *conn)
{
    struct endpoint end = {conn->peer, conn->reported, conn->local};
    return end;
}

/* The address of a player for the console at connection `viewer`. */
static uint32_t address_for(const struct nascar *s, uint32_t viewer, const struct player *p)
{
    return visible_address(endpoint_of(conn_at(s, viewer)), endpoint_of(conn_at(s, p->conn)), s->config.public_address);
}

/* PROTOCOL 3.1: the address that the console reached, unless one is configured. */
static uint32_t server_address(const struct nascar *s, uint32_t c)
{
    return s->config.public_address ? s->config.public_address : conn_at(s, c)->local;
}

static const char *room_flags(const struct room *room)
{
    return room->password[0] ? "P" : "0";
}

/* `+usr` of a player. PROTOCOL 3.3: T is the receiver's room population, in
 * deletes too; U only on one's own record. I is a number for each persona. */
static void write_user(struct nascar *s, struct outgoing *f, const struct player *p, uint32_t address,
                       uint32_t population, bool own)
{
    bool busy = player_busy(s, p);
    char standing[LEADERBOARD_CHARS + 1];
    write_standing(s, p->persona, standing);
    frame_begin(f, "+usr", "");
    put_number(f, tag_I, (int64_t)p->persona + 1);
    put_raw(f, tag_F, own ? (busy ? "U1" : "U0") : (busy ? "1" : "0"));
    put_address(f, tag_A, address);
    put_number(f, tag_T, population);
    put_number(f, tag_R, shown_rank(s, p->persona));
    put_raw(f, tag_S, standing);
    put_text(f, tag_N, player_persona(s, p)->name);
    put_text(f, tag_X, p->text);
}

static void write_user_gone(struct outgoing *f, uint32_t persona, uint32_t population)
{
    frame_begin(f, "+usr", "");
    put_number(f, tag_I, (int64_t)persona + 1);
    put_number(f, tag_T, population);
}

static void write_room(struct outgoing *f, const struct room *room, uint32_t address)
{
    frame_begin(f, "+rom", "");
    put_number(f, tag_I, room->ident);
    if (room->gone)
        return;
    put_address(f, tag_A, address);
    put_number(f, tag_T, room->count);
    put_number(f, tag_L, room->limit);
    put_raw(f, tag_F, room_flags(room));
    put_text(f, tag_N, room->name);
    put_text(f, tag_H, room->description);
}

/* `+who` tells a console about itself; `name` is R. */
static void send_who(struct nascar *s, uint32_t player, const char *name, const char *flags)
{
    const struct player *p = player_at(s, player);
    const struct room *room = room_at(s, p->room);
    frame_begin(&s->frame, "+who", "");
    put_raw(&s->frame, tag_F, "U");
    put_text(&s->frame, tag_N, player_persona(s, p)->name);
    put_number(&s->frame, tag_RI, room->ident);
    put_number(&s->frame, tag_RT, room->count);
    put_raw(&s->frame, tag_RF, flags);
    put_text(&s->frame, tag_R, name);
    send_frame(s, p->conn);
}

/* Ends the row being written and keeps it for the next console. */
static void keep_row(struct nascar *s, struct row *row)
{
    frame_end(&s->row_frame);
    assert(s->row_frame.size <= ROW_BYTES);
    row->size = s->row_frame.size;
    memcpy(row->bytes, s->row_frame.bytes, s->row_frame.size);
}

/* Ends the row being written, which is for one console only. */
static void send_row(struct nascar *s, uint32_t c)
{
    frame_end(&s->row_frame);
    conn_write(s, c, s->row_frame.bytes, s->row_frame.size);
}

/* One row of the list of rooms; false if the console knows them all. */
static bool send_room_row(struct nascar *s, struct player *p)
{
    uint32_t i = feed_next(s, &s->room_feed, &p->rooms);
    if (i == NONE)
        return false;
    const struct room *room = room_at(s, i / 2);
    struct row *row = &s->room_row;
    uint32_t address = server_address(s, p->conn);
    uint64_t seq = node_at(s, i)->seq;
    if (row->to != seq || row->count != room->count || row->address != address) {
        write_room(&s->row_frame, room, address);
        keep_row(s, row);
        row->to = seq;
        row->count = room->count;
        row->address = address;
    }
    conn_write(s, p->conn, row->bytes, row->size);
    feed_advance(s, &s->room_feed, &p->rooms, i);
    return true;
}

/* One row of the room's users, the console's own last; false if it knows them all. */
static bool send_user_row(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    struct room *room = room_at(s, p->room);
    uint32_t i = feed_next(s, &room->users, &p->users);
    if (i == NONE) {
        if (!p->self_due)
            return false;
        p->self_due = false;
        write_user(s, &s->row_frame, p, conn_at(s, p->conn)->peer, room->count, true);
        send_row(s, p->conn);
        return true;
    }
    const struct presence *presence = presence_at(s, i - 2 * s->rooms.capacity);
    uint64_t seq = node_at(s, i)->seq;
    struct row *row = &s->user_row;
    if (presence->player != player) {
        bool gone = presence->player == NONE;
        uint32_t address = gone ? 0 : address_for(s, p->conn, player_at(s, presence->player));
        if (row->to != seq || row->count != room->count || row->address != address) {
            if (gone)
                write_user_gone(&s->row_frame, presence->persona, room->count);
            else
                write_user(s, &s->row_frame, player_at(s, presence->player), address, room->count, false);
            keep_row(s, row);
            row->to = seq;
            row->count = room->count;
            row->address = address;
        }
        conn_write(s, p->conn, row->bytes, row->size);
    }
    feed_advance(s, &room->users, &p->users, i);
    return true;
}

/* One `+pop` with all that fits; false if the console knows them all. Room 0
 * goes last, as a console stops reading there. */
static bool send_population_row(struct nascar *s, struct player *p)
{
    struct row *row = &s->population_row;
    uint64_t newest = node_at(s, s->population_feed.tail)->seq; /* the hub is always there */
    uint32_t i = feed_next(s, &s->population_feed, &p->populations);
    if (i == NONE)
        return false;
    uint64_t from = p->populations.cursor;
    if (row->size > 0 && row->from == from && row->to == newest) {
        p->populations.cursor = newest;
        p->populations.at = s->population_feed.tail;
        conn_write(s, p->conn, row->bytes, row->size);
        return true;
    }
    char text[POP_CHARS + 1] = "", entry[64], number[24];
    bool hub = false, more = true;
    for (; i != NONE && more; i = feed_next(s, &s->population_feed, &p->populations)) {
        const struct room *room = room_at(s, i / 2);
        if (i == population_node(HUB)) {
            hub = true;
        } else {
            write_number(number, room->ident);
            copy_text(entry, sizeof entry, number);
            append_text(entry, sizeof entry, ":");
            write_number(number, room->count);
            append_text(entry, sizeof entry, number);
            if (text[0])
                append_text(text, sizeof text, " ");
            append_text(text, sizeof text, entry);
            more = strlen(text) + 48 < POP_CHARS; /* one more, and the hub */
        }
        feed_advance(s, &s->population_feed, &p->populations, i);
    }
    if (hub) {
        write_number(number, room_at(s, HUB)->count);
        append_text(text, sizeof text, text[0] ? " 0:" : "0:");
        append_text(text, sizeof text, number);
    }
    frame_begin(&s->row_frame, "+pop", "");
    put_raw(&s->row_frame, tag_Z, text);
    keep_row(s, row);
    row->from = from;
    row->to = p->populations.cursor;
    conn_write(s, p->conn, row->bytes, row->size);
    return true;
}

/* The ranking: cleared, then its rows; false if all is told. */
static bool send_rank_row(struct nascar *s, struct player *p)
{
    char standing[LEADERBOARD_CHARS + 1];
    if (p->ranks_due) {
        p->ranks_due = false;
        p->ranks_next = 1;
        p->ranks_left = min_u32(conn_at(s, p->conn)->wants.ranks, ROWS_ASKED);
        frame_begin(&s->row_frame, "+rnk", "");
        put_raw(&s->row_frame, tag_D, "-2");
        send_row(s, p->conn);
        return true;
    }
    uint32_t persona = p->ranks_left == 0 ? NONE : persona_at_rank(s, p->ranks_next);
    if (persona == NONE) {
        p->ranks_left = 0;
        return false;
    }
    write_standing(s, persona, standing);
    frame_begin(&s->row_frame, "+rnk", "");
    put_number(&s->row_frame, tag_A, p->ranks_next++);
    put_raw(&s->row_frame, tag_S, standing);
    put_text(&s->row_frame, tag_N, persona_at(s, persona)->name);
    send_row(s, p->conn);
    p->ranks_left--;
    return true;
}

/* One row of the leaderboard that `snap` asked for; false if all is told. */
static bool send_leaderboard_row(struct nascar *s, struct player *p)
{
    char standing[LEADERBOARD_CHARS + 1];
    if (p->rows_left == 0)
        return false;
    uint32_t persona = persona_at_rank(s, p->rows_next);
    if (--p->rows_left == 0)
        s->retry = true; /* the next one may wait for this one's end */
    if (persona == NONE)
        return true; /* it has grown shorter meanwhile */
    write_standing(s, persona, standing);
    frame_begin(&s->row_frame, "+snp", "");
    put_number(&s->row_frame, tag_R, p->rows_next++);
    put_number(&s->row_frame, tag_P, persona_at(s, persona)->figures.rating);
    put_raw(&s->row_frame, tag_S, standing);
    put_text(&s->row_frame, tag_N, persona_at(s, persona)->name);
    send_row(s, p->conn);
    return true;
}

/* A player's lists have news: rows are made when the outbox is drained, so that
 * news for a thousand does not wait in a thousand outboxes. */
static void mark_behind(struct nascar *s, uint32_t player)
{
    uint32_t c = player_at(s, player)->conn;
    conn_at(s, c)->behind = true;
    mark_ready(s, c);
}

/* Makes rows of what the console has not been told yet, as far as replies keep
 * their room in the outbox; goes on when it has drained. */
static void pump_control(struct nascar *s, uint32_t c);
static void pump_buddy(struct nascar *s, uint32_t c);

static void pump(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    if (!conn->behind || conn->closing)
        return;
    if (conn->state == CONN_CONTROL)
        pump_control(s, c);
    if (conn->state == CONN_BUDDY)
        pump_buddy(s, c);
    if (conn->state != CONN_PERSONA)
        return;
    struct player *p = player_at(s, conn->player);
    while (outbox_free(conn) >= REPLY_BYTES + ROW_BYTES) {
        if (!send_leaderboard_row(s, p) && !send_room_row(s, p) && !send_user_row(s, conn->player) &&
            !send_rank_row(s, p) && !send_population_row(s, p)) {
            conn->behind = false;
            return;
        }
    }
}

/* ---- Rooms -------------------------------------------------------------- */

static void room_dirty(struct nascar *s, uint32_t r)
{
    struct room *room = room_at(s, r);
    if (room->dirty)
        return;
    room->dirty = true;
    room->next_dirty = s->dirty_rooms;
    s->dirty_rooms = r;
}

static void population_changed(struct nascar *s, uint32_t r)
{
    feed_touch(s, &s->population_feed, population_node(r));
    s->lobby_dirty = true;
}

/* Returns the new room, or NONE if there are too many. */
static uint32_t room_create(struct nascar *s, const char *name, const char *description, const char *password,
                            uint32_t limit, uint32_t ident)
{
    uint32_t r = pool_take(s, &s->rooms);
    if (r == NONE)
        return NONE;
    struct room *room = room_at(s, r);
    room->ident = ident;
    room->limit = limit;
    room->members = NONE;
    room->users.head = room->users.tail = NONE;
    copy_text(room->name, sizeof room->name, name);
    copy_text(room->description, sizeof room->description, description);
    copy_text(room->password, sizeof room->password, password);
    index_add(s, &s->room_names, hash_name(s, room->name), r);
    feed_touch(s, &s->room_feed, room_node(r));
    population_changed(s, r);
    return r;
}

/* A created room that is empty vanishes; its slot is free when all know it. */
static void room_delete(struct nascar *s, uint32_t r)
{
    struct room *room = room_at(s, r);
    uint32_t *link = &s->dirty_rooms;
    assert(room->created && room->count == 0 && room->users.head == NONE);
    assert(room->dirty); /* somebody has just left it */
    index_remove(s, &s->room_names, hash_name(s, room->name), r);
    while (*link != r)
        link = &room_at(s, *link)->next_dirty;
    *link = room->next_dirty;
    room->dirty = false;
    room->gone = true;
    feed_unlink(s, &s->population_feed, population_node(r));
    s->population_row.size = 0; /* a +pop with this room in it may be of its last moment */
    feed_bury(s, &s->room_feed, room_node(r));
    s->lobby_dirty = true;
}

/* The rooms of the configuration: new ones appear, others take its text. A
 * room that it no longer names stays until the next start. */
static void apply_rooms(struct nascar *s)
{
    for (uint32_t i = 0; i < s->config.room_count; i++) {
        const struct config_room *wanted = &s->config.room[i];
        uint32_t r = find_room(s, wanted->name);
        if (r == NONE) {
            if (s->next_room < FIRST_CREATED_ROOM && find_persona(s, wanted->name) == NONE &&
                room_create(s, wanted->name, wanted->description, "", wanted->limit, s->next_room) != NONE) {
                s->next_room++;
                continue;
            }
            uint32_t line = log_begin(s, NASCAR_LOG_WARN, "room_left_out");
            log_text(s, "name", wanted->name);
            log_end(s, line);
            continue;
        }
        struct room *room = room_at(s, r);
        room->created = false; /* a player's room of that name stays from now on, open to all */
        room->password[0] = 0;
        copy_text(room->description, sizeof room->description, wanted->description);
        room->limit = wanted->limit;
        feed_touch(s, &s->room_feed, room_node(r));
    }
    s->lobby_dirty = true;
}

/* A player's record has changed: its room is told, and its own console. */
static void user_changed(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    p->self_due = p->self_due || conn_at(s, p->conn)->wants.users != 0;
    if (p->presence == NONE) {
        mark_behind(s, player); /* in the hub there is nobody else to tell */
        return;
    }
    feed_touch(s, &room_at(s, p->room)->users, presence_node(s, p->presence));
    room_dirty(s, p->room);
}

/* Subscribes to the users of the room that the player is in. In the hub
 * nobody is listed but oneself (PROTOCOL 3.3). */
static void follow_users(struct nascar *s, struct player *p)
{
    if (p->room != HUB)
        subscribe(s, &room_at(s, p->room)->users, &p->users);
    p->self_due = true;
}

/* A tombstone of the same persona comes to life again, so that a reader who is
 * behind is told its latest state once, however often it came and went. */
static uint32_t presence_take(struct nascar *s, uint32_t room, uint32_t persona)
{
    uint32_t i = find_presence(s, room, persona);
    if (i != NONE)
        return i;
    i = pool_take(s, &s->presences);
    assert(i != NONE);
    presence_at(s, i)->room = room;
    presence_at(s, i)->persona = persona;
    index_add(s, &s->presence_pairs, hash_numbers(s, room, persona), i);
    return i;
}

/* Puts a player into a room; the caller has made sure of a free presence. */
static void room_enter(struct nascar *s, uint32_t player, uint32_t r)
{
    struct player *p = player_at(s, player);
    struct room *room = room_at(s, r);
    p->room = r;
    p->room_prev = NONE;
    p->room_next = room->members;
    if (room->members != NONE)
        player_at(s, room->members)->room_prev = player;
    room->members = player;
    room->count++;
    p->presence = NONE;
    if (r != HUB) {
        p->presence = presence_take(s, r, p->persona);
        presence_at(s, p->presence)->player = player;
        feed_touch(s, &room->users, presence_node(s, p->presence));
    }
    if (conn_at(s, p->conn)->wants.users)
        follow_users(s, p);
    population_changed(s, r);
    if (r != HUB)
        room_dirty(s, r);
    count_crowded(s, p->conn);
}

/* Takes a player out of its room; a created room that is empty then goes. */
static void room_leave(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    uint32_t r = p->room;
    struct room *room = room_at(s, r);
    struct conn *conn = conn_at(s, p->conn);
    if (conn->crowded) {
        room->crowded--;
        conn->crowded = false;
        s->retry = true;
    }
    if (p->room_prev != NONE)
        player_at(s, p->room_prev)->room_next = p->room_next;
    else
        room->members = p->room_next;
    if (p->room_next != NONE)
        player_at(s, p->room_next)->room_prev = p->room_prev;
    room->count--;
    unsubscribe(s, &room->users, &p->users);
    p->self_due = false;
    if (p->presence != NONE) {
        presence_at(s, p->presence)->player = NONE;
        feed_bury(s, &room->users, presence_node(s, p->presence));
    }
    p->presence = NONE;
    p->room = NONE;
    if (r != HUB)
        room_dirty(s, r);
    if (room->created && room->count == 0)
        room_delete(s, r);
    else
        population_changed(s, r);
}

/* ---- Settling: everybody is to be told ----------------------------------------- */

static void player_remove(struct nascar *s, uint32_t player);
static void buddy_remove(struct nascar *s, uint32_t buddy);

/* Called after each frame and deadline: takes out those whose connection has
 * ended and marks whose lists have news, until nothing is left to do. */
static void settle(struct nascar *s)
{
    for (;;) {
        uint32_t c = dequeue(s, &s->doomed, offsetof(struct conn, next_doomed));
        if (c != NONE) {
            conn_at(s, c)->doomed = false;
            if (conn_at(s, c)->player != NONE)
                player_remove(s, conn_at(s, c)->player);
            if (conn_at(s, c)->buddy != NONE)
                buddy_remove(s, conn_at(s, c)->buddy);
            continue;
        }
        if (s->dirty_rooms != NONE) {
            struct room *room = room_at(s, s->dirty_rooms);
            s->dirty_rooms = room->next_dirty;
            room->dirty = false;
            for (uint32_t p = room->members; p != NONE; p = player_at(s, p)->room_next)
                mark_behind(s, p);
            continue;
        }
        if (!s->lobby_dirty)
            return;
        s->lobby_dirty = false;
        for (uint32_t p = s->lobby_players; p != NONE; p = player_at(s, p)->lobby_next)
            mark_behind(s, p);
    }
}

/* ---- Presence: who is told that whom is here (PROTOCOL 9) ------------------ */

static bool is_racing(const struct nascar *s, const struct player *p)
{
    return p->pair != NONE && pair_at(s, p->pair)->state == PAIR_RACING;
}

/* Presence follows the lobby; what the console says of itself comes by PSET. */
static enum show presence_of(const struct nascar *s, uint32_t persona)
{
    const struct persona *p = persona_at(s, persona);
    if (p->player == NONE)
        return p->absent ? SHOW_PASS : SHOW_DISC;
    if (is_racing(s, player_at(s, p->player)))
        return SHOW_PASS;
    return p->buddy == NONE ? SHOW_CHAT : (enum show)buddy_at(s, p->buddy)->show;
}

static void buddy_behind(struct nascar *s, uint32_t buddy)
{
    uint32_t c = buddy_at(s, buddy)->conn;
    conn_at(s, c)->behind = true;
    mark_ready(s, c);
}

static void watch_due(struct nascar *s, uint32_t i)
{
    watch_at(s, i)->due = true;
    buddy_behind(s, watch_at(s, i)->buddy);
}

/* Whoever watches is told of what it has come to when its outbox drains. */
static void presence_changed(struct nascar *s, uint32_t persona)
{
    for (uint32_t i = persona_at(s, persona)->watchers; i != NONE; i = watch_at(s, i)->next)
        watch_due(s, i);
}

/* The watch of a link on a persona, or NONE. */
static uint32_t find_watch(const struct nascar *s, uint32_t buddy, uint32_t persona)
{
    uint32_t i = buddy_at(s, buddy)->watches;
    while (i != NONE && watch_at(s, i)->persona != persona)
        i = watch_at(s, i)->next_own;
    return i;
}

/* Returns the watch; there is one for each entry of a roster and each PADD. */
static uint32_t watch_add(struct nascar *s, uint32_t buddy, uint32_t persona, uint32_t why)
{
    struct buddy *b = buddy_at(s, buddy);
    struct persona *p = persona_at(s, persona);
    uint32_t i = find_watch(s, buddy, persona);
    if (i == NONE) {
        i = pool_take(s, &s->watches);
        assert(i != NONE);
        struct watch *w = watch_at(s, i);
        w->buddy = buddy;
        w->persona = persona;
        w->prev = NONE;
        w->next = p->watchers;
        if (p->watchers != NONE)
            watch_at(s, p->watchers)->prev = i;
        p->watchers = i;
        w->next_own = b->watches;
        b->watches = i;
    }
    b->asked += why == WATCH_ASKED && !(watch_at(s, i)->why & WATCH_ASKED);
    watch_at(s, i)->why |= why;
    return i;
}

static void watch_drop(struct nascar *s, uint32_t buddy, uint32_t persona, uint32_t why)
{
    struct buddy *b = buddy_at(s, buddy);
    uint32_t i = find_watch(s, buddy, persona), *link = &b->watches;
    if (i == NONE)
        return;
    struct watch *w = watch_at(s, i);
    b->asked -= (w->why & why & WATCH_ASKED) != 0;
    w->why &= ~why;
    if (w->why)
        return;
    if (w->prev != NONE)
        watch_at(s, w->prev)->next = w->next;
    else
        persona_at(s, persona)->watchers = w->next;
    if (w->next != NONE)
        watch_at(s, w->next)->prev = w->prev;
    while (*link != i)
        link = &watch_at(s, *link)->next_own;
    *link = w->next_own;
    pool_give(s, &s->watches, i);
}

static void buddy_remove(struct nascar *s, uint32_t buddy)
{
    struct buddy *b = buddy_at(s, buddy);
    struct persona *p = persona_at(s, b->persona);
    uint32_t persona = b->persona;
    while (b->watches != NONE)
        watch_drop(s, buddy, watch_at(s, b->watches)->persona, WATCH_ROSTER | WATCH_ASKED);
    for (uint32_t i = p->messages; i != NONE; i = message_at(s, i)->next)
        message_at(s, i)->told = message_at(s, i)->over; /* the next link is told what this one was not */
    enum show old = presence_of(s, persona);
    conn_at(s, b->conn)->buddy = NONE;
    p->buddy = NONE;
    p->absent = false;
    pool_give(s, &s->buddies, buddy);
    if (presence_of(s, persona) != old)
        presence_changed(s, persona);
}

/* Makes connection c the buddy link of a persona; an older one is closed. */
static void buddy_add(struct nascar *s, uint32_t c, uint32_t persona)
{
    struct persona *p = persona_at(s, persona);
    bool absent = p->absent;
    if (p->buddy != NONE) {
        conn_doom(s, buddy_at(s, p->buddy)->conn, "buddy link elsewhere");
        buddy_remove(s, p->buddy);
    }
    uint32_t buddy = pool_take(s, &s->buddies); /* one for each connection: never fails */
    struct buddy *b = buddy_at(s, buddy);
    b->conn = c;
    b->persona = persona;
    b->watches = NONE;
    b->show = SHOW_CHAT;
    p->buddy = buddy;
    p->absent = absent;
    conn_at(s, c)->buddy = buddy;
    for (uint32_t i = p->edges; i != NONE; i = edge_at(s, i)->next)
        if (edge_at(s, i)->other_and_lists & LIST_BUDDY)
            (void)watch_add(s, buddy, edge_at(s, i)->other_and_lists >> 2, WATCH_ROSTER);
}

/* `PGET`: SHOW first, as the texts are a player's. */
static void write_presence(const struct nascar *s, struct outgoing *f, uint32_t persona)
{
    const struct persona *p = persona_at(s, persona);
    enum show show = presence_of(s, persona);
    const struct buddy *b = p->buddy == NONE || show == SHOW_DISC ? NULL : buddy_at(s, p->buddy);
    frame_begin(f, "PGET", "");
    put_raw(f, tag_SHOW, show_names[show]);
    put_text(f, tag_USER, p->name);
    put_text(f, tag_PROD, b ? b->product : "");
    put_text(f, tag_STAT, b ? b->status : "");
}

/* What was said to a persona while it was away. */
static bool send_kept_message(struct nascar *s, uint32_t buddy);

/* Presences that have changed, then messages. A link that is behind gets each
 * persona's latest state once. */
static void pump_buddy(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    struct buddy *b = buddy_at(s, conn->buddy);
    for (uint32_t i = b->watches; i != NONE; i = watch_at(s, i)->next_own) {
        if (!watch_at(s, i)->due)
            continue;
        if (outbox_free(conn) < REPLY_BYTES + CHAT_BYTES)
            return;
        watch_at(s, i)->due = false;
        write_presence(s, &s->row_frame, watch_at(s, i)->persona);
        send_row(s, c);
    }
    while (b->delivers) {
        if (b->telling > 0 || outbox_free(conn) < REPLY_BYTES + CHAT_BYTES)
            return;
        if (s->record_count == RECORDS) { /* each ends with a record of its own */
            mark_ready(s, c);
            return;
        }
        b->delivers = send_kept_message(s, conn->buddy);
    }
    conn->behind = false;
}

/* ---- Players ------------------------------------------------------------ */

static bool is_online(const struct nascar *s, uint32_t persona)
{
    return persona_at(s, persona)->player != NONE;
}

/* The player who wears this persona, by name; NONE if there is none. */
static uint32_t find_online(const struct nascar *s, const char *name)
{
    uint32_t persona = find_persona(s, name);
    return persona == NONE ? NONE : persona_at(s, persona)->player;
}

static bool ignores(const struct nascar *s, uint32_t persona, uint32_t other)
{
    if (persona_at(s, other)->ignored_by == 0)
        return false;
    uint32_t i = find_edge(s, persona, other);
    return i != NONE && (edge_at(s, i)->other_and_lists & LIST_IGNORE);
}

static void lobby_subscribe(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    if (!p->populations.on) {
        p->lobby_prev = NONE;
        p->lobby_next = s->lobby_players;
        if (s->lobby_players != NONE)
            player_at(s, s->lobby_players)->lobby_prev = player;
        s->lobby_players = player;
    }
    subscribe(s, &s->population_feed, &p->populations);
}

static void lobby_unsubscribe(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    if (!p->populations.on)
        return;
    if (p->lobby_prev != NONE)
        player_at(s, p->lobby_prev)->lobby_next = p->lobby_next;
    else
        s->lobby_players = p->lobby_next;
    if (p->lobby_next != NONE)
        player_at(s, p->lobby_next)->lobby_prev = p->lobby_prev;
    unsubscribe(s, &s->population_feed, &p->populations);
}

/* Starts lists anew; `+pop` follows them, as it does the list of users. */
static void start_lists(struct nascar *s, uint32_t player, bool rooms, bool users, bool ranks)
{
    struct player *p = player_at(s, player);
    if (rooms && p->rooms.on)
        relist(&p->rooms);
    else if (rooms)
        subscribe(s, &s->room_feed, &p->rooms);
    p->ranks_due = p->ranks_due || ranks;
    if (rooms || users || ranks)
        lobby_subscribe(s, player);
}

static void challenge_leave(struct nascar *s, uint32_t player);
static void race_leave(struct nascar *s, uint32_t player);

/* Takes off the persona: out of the room, and what it was playing. */
static void persona_off(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    if (p->persona == NONE)
        return;
    challenge_leave(s, player);
    race_leave(s, player);
    room_leave(s, player);
    uint32_t persona = p->persona;
    persona_at(s, persona)->player = NONE;
    p->persona = NONE;
    p->peeked[0] = 0;
    p->text[0] = 0;
    p->ranks_due = false;
    p->ranks_left = p->rows_left = 0;
    conn_at(s, p->conn)->state = CONN_ACCOUNT;
    presence_changed(s, persona);
}

/* Puts a persona on: into the hub, and what `sele` asked for is sent. */
static void persona_on(struct nascar *s, uint32_t player, uint32_t persona)
{
    struct player *p = player_at(s, player);
    p->persona = persona;
    persona_at(s, persona)->player = player;
    persona_at(s, persona)->absent = false;
    conn_at(s, p->conn)->state = CONN_PERSONA;
    presence_changed(s, persona);
    room_enter(s, player, HUB);
    const struct wants *wants = &conn_at(s, p->conn)->wants;
    start_lists(s, player, wants->rooms, wants->users, wants->ranks);
}

static void player_remove(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    uint32_t persona = p->persona;
    bool just_racing = is_racing(s, p) && s->now_ms < pair_at(s, p->pair)->started_ms + REMATCH_MS;
    persona_off(s, player);
    /* PROTOCOL 5: consoles may leave the lobby for the time of a race. */
    if (just_racing && persona_at(s, persona)->buddy != NONE)
        persona_at(s, persona)->absent = true;
    unsubscribe(s, &s->room_feed, &p->rooms);
    lobby_unsubscribe(s, player);
    account_at(s, p->account)->player = NONE;
    conn_at(s, p->conn)->player = NONE;
    pool_give(s, &s->players, player);
    s->retry = true;
}

/* Makes connection c the one player of an account. An older connection of it
 * is closed (PROTOCOL 6). Returns false if there is no room for a player. */
static bool player_add(struct nascar *s, uint32_t c, uint32_t account)
{
    uint32_t older = account_at(s, account)->player;
    struct conn *conn = conn_at(s, c);
    if (older != NONE) {
        uint32_t older_conn = player_at(s, older)->conn;
        conn_doom(s, older_conn, "logged in elsewhere");
        player_remove(s, older);
    }
    uint32_t player = pool_take(s, &s->players);
    if (player == NONE)
        return false;
    struct player *p = player_at(s, player);
    p->account = account;
    p->conn = c;
    p->persona = p->room = p->presence = p->pair = NONE;
    struct account *a = account_at(s, account);
    p->last_login_s = a->last_login_s ? a->last_login_s : a->created_s;
    a->player = player;
    conn->player = player;
    conn->state = CONN_ACCOUNT;
    return true;
}

/* ---- Messages (PROTOCOL 3.4) --------------------------------------------- */

/* `+msg`: the console shows N and T. flags "" means no F at all. */
static void write_message(struct nascar *s, const char *flags, const char *from, int attr, uint32_t room,
                          const char *text)
{
    frame_begin(&s->frame, "+msg", "");
    if (flags[0])
        put_raw(&s->frame, tag_F, flags);
    put_number(&s->frame, tag_ATTR, attr);
    put_number(&s->frame, tag_RI, room);
    put_text(&s->frame, tag_N, from);
    put_text(&s->frame, tag_FROM, from);
    put_text(&s->frame, tag_T, text);
    put_text(&s->frame, tag_TEXT, text);
    frame_end(&s->frame);
}

/* Gives the written line to one reader; a slow one misses it, counted. */
static void deliver_line(struct nascar *s, uint32_t player)
{
    uint32_t c = player_at(s, player)->conn;
    pump(s, c); /* whoever speaks is listed first */
    if (conn_at(s, c)->slow)
        conn_at(s, c)->missed_lines++;
    else
        conn_write(s, c, s->frame.bytes, s->frame.size);
}

/* ---- Challenges and races (PROTOCOL 5) ----------------------------------- */

/* A word of a challenge, to one player's console. */
static void send_challenge(struct nascar *s, uint32_t to, const char *from, const char *text)
{
    const struct player *p = player_at(s, to);
    pump(s, p->conn);
    write_message(s, "P3", from, 3, room_at(s, p->room)->ident, text);
    conn_write(s, p->conn, s->frame.bytes, s->frame.size);
}

/* Is `other` in the list of users that the console of `p` shows? */
static bool is_listed(const struct player *p, const struct player *other)
{
    return p->users.on && p->room == other->room;
}

/* The target's console answers BLOC by itself unless it knows the challenger:
 * told of it here, ahead of the room's list if that is behind. */
static void introduce(struct nascar *s, struct pair *pair)
{
    const struct player *challenger = player_at(s, pair->player[0]), *target = player_at(s, pair->player[1]);
    bool listed = is_listed(target, challenger);
    pump(s, target->conn);
    if (listed && node_at(s, presence_node(s, challenger->presence))->seq <= target->users.cursor)
        return;
    write_user(s, &s->frame, challenger, address_for(s, target->conn, challenger), room_at(s, target->room)->count,
               false);
    send_frame(s, target->conn);
    pair->guest = !listed;
}

/* Takes a challenger who was shown as a guest off the target's list, unless it
 * is listed there by now. */
static void dismiss_guest(struct nascar *s, struct pair *pair)
{
    const struct player *challenger = player_at(s, pair->player[0]), *target = player_at(s, pair->player[1]);
    pair->guest = false;
    if (is_listed(target, challenger))
        return;
    write_user_gone(&s->frame, challenger->persona, room_at(s, target->room)->count);
    send_frame(s, target->conn);
}

/* One player is in the pair no more; the last one out frees it. */
static void pair_leave(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    uint32_t number = p->pair;
    struct pair *pair = pair_at(s, number);
    bool was_busy = player_busy(s, p), was_racing = is_racing(s, p);
    if (pair->guest)
        dismiss_guest(s, pair);
    pair->player[p->side] = NONE;
    p->pair = NONE;
    if (was_busy)
        user_changed(s, player);
    if (was_racing)
        presence_changed(s, p->persona);
    if (pair->player[0] == NONE && pair->player[1] == NONE) {
        timer_stop(s, s->pair_timers + number);
        pool_give(s, &s->pairs, number);
    }
}

/* Ends a challenge that has not become a race. */
static void challenge_end(struct nascar *s, uint32_t pair)
{
    uint32_t challenger = pair_at(s, pair)->player[0], target = pair_at(s, pair)->player[1];
    pair_leave(s, challenger);
    pair_leave(s, target);
}

/* A player leaves its challenge: the other's console is told DECL from it. */
static void challenge_leave(struct nascar *s, uint32_t player)
{
    struct player *p = player_at(s, player);
    if (p->pair == NONE || pair_at(s, p->pair)->state == PAIR_RACING)
        return;
    uint32_t other = pair_at(s, p->pair)->player[1 - p->side];
    send_challenge(s, other, player_name(s, player), "DECL");
    challenge_end(s, p->pair);
}

/* A player is back from its race; the race lives on without it. */
static void race_leave(struct nascar *s, uint32_t player)
{
    const struct player *p = player_at(s, player);
    if (p->pair != NONE && pair_at(s, p->pair)->state == PAIR_RACING)
        pair_leave(s, player);
}

/* Nobody answered in time: both consoles get DECL from the other. */
static void challenge_expire(struct nascar *s, uint32_t number)
{
    const struct pair *pair = pair_at(s, number);
    uint32_t challenger = pair->player[0], target = pair->player[1];
    send_challenge(s, challenger, player_name(s, target), "DECL");
    send_challenge(s, target, player_name(s, challenger), "DECL");
    challenge_end(s, number);
}

static void copy_field(uint8_t *out, size_t size, const char *text)
{
    copy_text((char *)out, size, text);
}

/* The console's structure of a race: 272 bytes, little-endian. */
#define PLAY_BYTES 272u

struct race {
    char name[32];
    const char *self, *host, *opponent, *second;
    uint32_t address, from;
    uint32_t seed;
    int64_t when_s;
    const char *ticket;
};

static void write_play(uint8_t out[PLAY_BYTES], const struct race *race)
{
    memset(out, 0, PLAY_BYTES);
    copy_field(out + 0x00, 32, race->name);
    copy_field(out + 0x20, 32, race->self);
    copy_field(out + 0x40, 32, race->host);
    copy_field(out + 0x60, 32, race->opponent);
    copy_field(out + 0x80, 16, race->host);
    copy_field(out + 0x90, 16, race->second);
    store_le32(out + 0xc0, race->address);
    store_le32(out + 0xc4, race->from);
    store_le32(out + 0xc8, race->seed);
    store_le32(out + 0xcc, (uint32_t)race->when_s);
    copy_field(out + 0xd0, 64, race->ticket);
}

static void write_ses(struct outgoing *f, const struct race *race)
{
    frame_begin(f, "+ses", "");
    put_address(f, tag_ADDR, race->address);
    put_address(f, tag_FROM, race->from);
    put_number(f, tag_SEED, to_signed(race->seed));
    put_date(f, tag_WHEN, race->when_s);
    put_raw(f, tag_AUTH, race->ticket);
    put_text(f, tag_NAME, race->name);
    put_text(f, tag_SELF, race->self);
    put_text(f, tag_HOST, race->host);
    put_text(f, tag_OPPO, race->opponent);
    put_text(f, tag_P1, race->host);
    put_text(f, tag_P2, race->second);
    put_text(f, tag_P3, "");
    put_text(f, tag_P4, "");
}

/* The ticket of a race, and who has reported what. */
static void write_race_record(struct outgoing *f, const char *ticket, int64_t when_s, const char *host,
                              const char *opponent, uint32_t reported, uint32_t told)
{
    frame_begin(f, "race", "");
    put_raw(f, tag_AUTH, ticket);
    put_number(f, tag_WHEN, when_s);
    put_number(f, tag_FLAGS, reported);
    put_number(f, tag_SEQN, told);
    put_text(f, tag_HOST, host);
    put_text(f, tag_OPPO, opponent);
}

/* Both are ready, or time is up: the ticket for the results becomes durable
 * before anybody is told of it. The challenger hosts, unless only the other
 * said so. */
static void race_prepare(struct nascar *s, uint32_t number)
{
    struct pair *pair = pair_at(s, number);
    char ticket[2 * sizeof pair->ticket + 1];
    uint32_t host = pair->hosts[1] && !pair->hosts[0] ? 1 : 0;
    timer_stop(s, s->pair_timers + number);
    pair->starting = true;
    pair->waits_for = ++s->next_ticket;
    write_hex(ticket, pair->ticket, sizeof pair->ticket);
    write_race_record(&s->frame, ticket, s->wall_s, player_name(s, pair->player[host]),
                      player_name(s, pair->player[1 - host]), 0, 0);
    queue_record(s, pair_waiter(s, number), pair->waits_for, false);
}

/* `+ses` and `play` to both, with one seed. */
static void race_start(struct nascar *s, uint32_t number)
{
    struct pair *pair = pair_at(s, number);
    uint32_t host = pair->hosts[1] && !pair->hosts[0] ? 1 : 0;
    struct race race;
    char seed[24], ticket[2 * sizeof pair->ticket + 1];
    memset(&race, 0, sizeof race);
    write_hex(ticket, pair->ticket, sizeof pair->ticket);
    race.host = player_name(s, pair->player[host]);
    race.second = player_name(s, pair->player[1 - host]);
    race.seed = pair->seed;
    race.when_s = s->wall_s;
    race.ticket = ticket;
    write_number(seed, to_signed(pair->seed));
    copy_text(race.name, sizeof race.name, race.host);
    append_text(race.name, sizeof race.name, ".");
    append_text(race.name, sizeof race.name, seed);
    for (uint32_t side = 0; side < 2; side++) {
        const struct player *p = player_at(s, pair->player[side]), *other = player_at(s, pair->player[1 - side]);
        race.self = player_persona(s, p)->name;
        race.opponent = player_persona(s, other)->name;
        race.address = address_for(s, p->conn, other);
        race.from = conn_at(s, p->conn)->peer;
        write_ses(&s->frame, &race);
        send_frame(s, p->conn);
        frame_begin(&s->frame, "play", "");
        write_play(s->frame.bytes + HEADER_BYTES, &race);
        s->frame.size = HEADER_BYTES + PLAY_BYTES;
        store_be32(s->frame.bytes + 8, s->frame.size);
        conn_write(s, p->conn, s->frame.bytes, s->frame.size);
    }
    pair->starting = false;
    pair->state = PAIR_RACING;
    pair->started_ms = s->now_ms;
    for (uint32_t side = 0; side < 2; side++)
        presence_changed(s, player_at(s, pair->player[side])->persona);
    uint32_t line = log_begin(s, NASCAR_LOG_INFO, "race");
    log_text(s, "host", race.host);
    log_text(s, "guest", race.second);
    log_end(s, line);
}

/* Offers a challenge, after the reply has been sent. */
static void challenge_offer(struct nascar *s, uint32_t challenger, uint32_t target, const char *token)
{
    uint32_t number = pool_take(s, &s->pairs); /* one for each client: never fails */
    assert(number != NONE);
    struct pair *pair = pair_at(s, number);
    pair->player[0] = challenger;
    pair->player[1] = target;
    draw(s, pair->ticket, sizeof pair->ticket);
    pair->seed = draw_u32(s);
    if (pair->seed == 0)
        pair->seed = 1;
    for (uint32_t side = 0; side < 2; side++) {
        player_at(s, pair->player[side])->pair = number;
        player_at(s, pair->player[side])->side = side;
    }
    timer_start(s, s->pair_timers + number, Q_CHALLENGE);
    user_changed(s, challenger);
    introduce(s, pair);
    send_challenge(s, target, player_name(s, challenger), token);
}

/* May `player` challenge `target` now? Its own open offer and a race that it
 * has plainly left are given up for the new one. */
static enum failure challenge_check(struct nascar *s, uint32_t player, uint32_t target)
{
    struct player *p = player_at(s, player);
    if (p->pair != NONE) {
        const struct pair *pair = pair_at(s, p->pair);
        if (pair->state == PAIR_RACING && s->now_ms >= pair->started_ms + REMATCH_MS)
            race_leave(s, player);
        else if (pair->state == PAIR_OFFERED && p->side == 0)
            challenge_leave(s, player);
        else
            return BUSY;
    }
    if (target == NONE)
        return NO_USER;
    const struct conn *conn = conn_at(s, player_at(s, target)->conn);
    bool unreachable = conn->slow && outbox_free(conn) < REPLY_BYTES + CHAT_BYTES;
    return unreachable || player_at(s, target)->pair != NONE ? BUSY : OK;
}

/* ACPT, DECL or BLOC: its first four letters count. */
static bool is_answer(const char *text)
{
    return strncmp(text, "ACPT", 4) == 0 || strncmp(text, "DECL", 4) == 0 || strncmp(text, "BLOC", 4) == 0;
}

/* An answer is relayed as it is. ACPT comes once, and from the challenged. */
static enum failure challenge_answer_check(const struct nascar *s, uint32_t player, uint32_t other, const char *text)
{
    const struct player *p = player_at(s, player);
    if (other == NONE || p->pair == NONE)
        return EXPIRED;
    const struct pair *pair = pair_at(s, p->pair);
    if (pair->player[1 - p->side] != other || pair->state == PAIR_RACING)
        return EXPIRED;
    if (text[0] == 'A' && (p->side == 0 || pair->state != PAIR_OFFERED))
        return EXPIRED;
    return OK;
}

static void challenge_answer(struct nascar *s, uint32_t player, uint32_t other, const char *text)
{
    uint32_t number = player_at(s, player)->pair;
    send_challenge(s, other, player_name(s, player), text);
    if (text[0] != 'A') {
        challenge_end(s, number);
        return;
    }
    pair_at(s, number)->state = PAIR_ACCEPTED;
    timer_start(s, s->pair_timers + number, Q_RACE_START);
    user_changed(s, player);
}

/* ---- Requests: reading and answering ------------------------------------- */

struct command;

/* What a frame asks for, and who asks: all that a handler needs is reached
 * from here. The bytes stay in the inbox until the request is done. */
struct request {
    struct nascar *s;
    uint32_t c;                    /* the connection that it came on, ... */
    struct conn *conn;             /* ... and its state */
    uint32_t player;               /* who plays there, NONE before the login, ... */
    struct player *p;              /* ... and its state, or NULL */
    const struct command *command; /* NULL: an unknown kind */
    char kind[5];
    const uint8_t *payload;
    uint32_t size;
};

static bool has_tag(const struct request *q, enum tag tag)
{
    return find_tag(q->payload, q->size, tag_names[tag]) != NOT_THERE;
}

/* Reads a text, "" if it is not there; returns its length before any cut. */
static uint32_t get_text(const struct request *q, enum tag tag, char *out, uint32_t out_bytes)
{
    uint32_t at = find_tag(q->payload, q->size, tag_names[tag]);
    out[0] = 0;
    return at == NOT_THERE ? 0 : read_string(q->payload, q->size, at, out, out_bytes);
}

static uint32_t get_number(const struct request *q, enum tag tag, uint32_t fallback)
{
    uint32_t at = find_tag(q->payload, q->size, tag_names[tag]);
    return at == NOT_THERE ? fallback : read_number(q->payload, q->size, at);
}

static uint32_t get_flags(const struct request *q, enum tag tag)
{
    uint32_t at = find_tag(q->payload, q->size, tag_names[tag]);
    return at == NOT_THERE ? 0 : read_flags(q->payload, q->size, at);
}

/* A name longer than any that exists is read as "", which none is. */
static void get_name(const struct request *q, enum tag tag, char out[ANY_NAME_CHARS + 1])
{
    if (get_text(q, tag, out, ANY_NAME_CHARS + 1) > ANY_NAME_CHARS)
        out[0] = 0;
}

/* Starts the reply to a request: the caller adds tags to what is returned, and
 * ends it by send_back(). On a failure the code and STATUS both say so. */
static struct outgoing *reply_begin(const struct request *q, enum failure failure)
{
    struct outgoing *f = &q->s->frame;
    frame_begin(f, q->kind, failures[failure].code);
    put_number(f, tag_STATUS, failures[failure].status);
    return f;
}

/* Ends the frame that is being written and sends it to whoever asked. */
static void send_back(const struct request *q)
{
    send_frame(q->s, q->c);
}

/* The whole reply, when there is nothing to add. */
static void reply(const struct request *q, enum failure failure)
{
    (void)reply_begin(q, failure);
    send_back(q);
}

/* Says who plays on the request's connection by now. */
static void request_player(struct request *q)
{
    q->player = q->conn->player;
    q->p = q->player == NONE ? NULL : player_at(q->s, q->player);
}

/* ---- Commands: the directory (PROTOCOL 3.1) ------------------------------ */

/* A handler reads tags, checks, changes state, queues output. It returns OK if
 * the request is answered or waits, a failure to be answered, or STALL: not
 * now, the same frame again when somebody has read. */
#define STALL FAILURE_COUNT

static void session_remove(struct nascar *s, uint32_t i)
{
    const struct directory_session *session = session_at(s, i);
    index_remove(s, &s->session_numbers, hash_numbers(s, session->sess, 0), i);
    index_remove(s, &s->session_peers, hash_numbers(s, session->peer, 0), i);
    timer_stop(s, s->directory_timers + i);
    pool_give(s, &s->directory, i);
}

/* A SESS of 1..2147483647 that no live session has. */
static uint32_t fresh_session_number(struct nascar *s)
{
    uint32_t sess = 0;
    for (int tries = 0; tries < 4 && (sess == 0 || find_session(s, sess) != NONE); tries++)
        sess = draw_u32(s) & INT32_MAX;
    return sess == 0 ? 1 : sess;
}

/* The oldest session of a peer that has as many as it may, else NONE. */
static uint32_t surplus_session(const struct nascar *s, uint32_t peer)
{
    uint32_t count = 0, i = find_session_of_peer(s, peer);
    for (; i != NONE; i = index_next(s, &s->session_peers, i))
        if (session_at(s, i)->peer == peer && ++count == SESSIONS_PER_PEER)
            return i;
    return NONE;
}

/* Remembers a session for 30 minutes; the peer's oldest, or the oldest of all,
 * makes room for it. */
static const struct directory_session *session_add(struct nascar *s, uint32_t peer)
{
    uint32_t surplus = surplus_session(s, peer);
    if (surplus != NONE)
        session_remove(s, surplus);
    if (pool_full(&s->directory))
        session_remove(s, s->queue[Q_DIRECTORY].head - s->directory_timers);
    uint32_t sess = fresh_session_number(s), i = find_session(s, sess);
    if (i != NONE)
        session_remove(s, i);
    i = pool_take(s, &s->directory);
    assert(i != NONE);
    struct directory_session *session = session_at(s, i);
    uint8_t mask[16];
    session->sess = sess;
    session->peer = peer;
    draw(s, mask, sizeof mask);
    write_hex(session->mask, mask, sizeof mask);
    index_add(s, &s->session_numbers, hash_numbers(s, sess, 0), i);
    index_add(s, &s->session_peers, hash_numbers(s, peer, 0), i);
    timer_start(s, s->directory_timers + i, Q_DIRECTORY);
    return session;
}

static enum failure do_directory(struct request *q)
{
    struct nascar *s = q->s;
    const char *down = s->config.down;
    if (!down[0] && pool_full(&s->players))
        down = "The server is full. Please try again later.";
    q->conn->state = CONN_DIRECTORY;
    timer_start(s, conn_timer(q->c, T_PHASE), Q_LINGER);
    if (down[0]) {
        frame_begin(&s->frame, q->kind, "");
        put_raw(&s->frame, tag_ADDR, "0.0.0.0");
        put_raw(&s->frame, tag_PORT, "0");
        put_text(&s->frame, tag_DOWN, down);
        send_back(q);
        return OK;
    }
    const struct directory_session *session = session_add(s, q->conn->peer);
    frame_begin(&s->frame, q->kind, "");
    put_address(&s->frame, tag_ADDR, server_address(s, q->c));
    put_number(&s->frame, tag_PORT, s->config.lobby_port);
    put_number(&s->frame, tag_SESS, session->sess);
    put_raw(&s->frame, tag_MASK, session->mask);
    if (s->config.directory_direct)
        put_raw(&s->frame, tag_DIRECT, "1");
    send_back(q);
    return OK;
}

/* ---- Commands: accounts (PROTOCOL 3.2, 4, 6) ----------------------------- */

/* Pings go round a wheel: each connection has a slot, a period is once round. */
static void ping_start(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    if (conn->wheel_slot != NONE)
        return;
    if (s->wheel_count++ == 0)
        s->wheel_due_ms = s->wheel_batch_ms = s->now_ms;
    /* The slot behind the hand is the farthest from its first ping. */
    uint32_t slot = (s->wheel_at + PING_SLOTS - 1 - s->wheel_next_slot++ % (PING_SLOTS / 2)) % PING_SLOTS;
    conn->wheel_slot = slot;
    conn->wheel_prev = NONE;
    conn->wheel_next = s->wheel[slot];
    if (conn->wheel_next != NONE)
        conn_at(s, conn->wheel_next)->wheel_prev = c;
    s->wheel[slot] = c;
}

static void ping_stop(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    if (conn->wheel_slot == NONE)
        return;
    if (conn->wheel_prev != NONE)
        conn_at(s, conn->wheel_prev)->wheel_next = conn->wheel_next;
    else
        s->wheel[conn->wheel_slot] = conn->wheel_next;
    if (conn->wheel_next != NONE)
        conn_at(s, conn->wheel_next)->wheel_prev = conn->wheel_prev;
    conn->wheel_slot = NONE;
    s->wheel_count--;
}

static enum failure do_ping(struct request *q)
{
    if (q->conn->ping_sent_ms != 0) /* never answered: it is an echo */
        q->conn->round_trip_ms = (uint32_t)(q->s->now_ms - q->conn->ping_sent_ms);
    q->conn->ping_sent_ms = 0;
    return OK;
}

static enum failure do_addr(struct request *q)
{
    uint32_t at = find_tag(q->payload, q->size, tag_names[tag_ADDR]);
    if (at == NOT_THERE || !read_address(q->payload, q->size, at, &q->conn->reported))
        return MISSING;
    ping_start(q->s, q->c);
    reply(q, OK);
    return OK;
}

static enum failure do_skey(struct request *q)
{
    struct nascar *s = q->s;
    char text[2 + 2 * sizeof q->conn->skey] = "$";
    uint32_t i = find_session_of_peer(s, q->conn->peer);
    q->conn->sess = i != NONE ? session_at(s, i)->sess : 0;
    struct outgoing *f = reply_begin(q, OK);
    if (s->config.skey) {
        draw(s, q->conn->skey, sizeof q->conn->skey);
        if (q->conn->skey[0] == 0) /* the console would use the mask form */
            q->conn->skey[0] = 1;
        write_hex(text + 1, q->conn->skey, sizeof q->conn->skey);
        put_raw(f, tag_SKEY, text);
    } else {
        put_raw(f, tag_SKEY, "0");
    }
    send_back(q);
    return OK;
}

/* The directory session that a MASK tag names; without one (a sign-up has none)
 * the one that the console came with. If it is gone, the newest of the peer's. */
static uint32_t request_session(const struct request *q)
{
    const struct nascar *s = q->s;
    uint32_t i = find_session(s, get_number(q, tag_MASK, q->conn->sess));
    return i != NONE ? i : find_session_of_peer(s, q->conn->peer);
}

/* PROTOCOL 4: which form it is shows in the first character. */
static enum failure get_password(const struct request *q, char out[SSC2_CHARS + 1])
{
    char text[2 * SSC2_CHARS + 4];
    uint32_t size = get_text(q, tag_PASS, text, sizeof text), length = NOT_THERE;
    if (size == 0)
        return MISSING;
    if (text[0] == '~') {
        length = ssc2_decode(q->conn->skey, sizeof q->conn->skey, text + 1, out);
    } else if (text[0] == '$' && size < sizeof text) {
        uint32_t i = request_session(q);
        if (i == NONE)
            return NO_SESSION;
        length = mask_decode(session_at(q->s, i)->mask, text + 1, out);
    }
    wipe(text, sizeof text);
    if (length == NOT_THERE)
        return WRONG_PASSWORD;
    return OK;
}

/* What an address did lately, with what is too old forgotten. The entry is kept
 * for ten minutes from now. */
static struct address *address_used(const struct request *q)
{
    struct nascar *s = q->s;
    uint32_t i = q->conn->address;
    struct address *a = address_at(s, i);
    if (s->now_ms - a->failed_at_ms >= ADDRESS_MS)
        a->failed = 0;
    if (s->now_ms - a->window_ms >= ADDRESS_MS) {
        a->logins = a->created = 0;
        a->window_ms = s->now_ms;
    }
    timer_start(s, s->address_timers + i, Q_ADDRESS);
    return a;
}

/* PROTOCOL 6, "too many tries": after some failures an address waits, longer
 * each time, at most a minute; friends behind one address are not shut out. */
static bool may_try_password(const struct request *q)
{
    struct nascar *s = q->s;
    struct address *a = address_used(q);
    if (a->failed >= FREE_FAILURES) {
        uint64_t wait_ms = UINT64_C(1000) << min_u32(a->failed - FREE_FAILURES, 6);
        if (s->now_ms < a->failed_at_ms + (wait_ms < 60000 ? wait_ms : 60000))
            return false;
    }
    if (a->logins >= s->config.logins_per_address)
        return false;
    a->logins++;
    return true;
}

static enum failure password_failed(const struct request *q, const char *name, enum failure failure)
{
    struct nascar *s = q->s;
    struct address *a = address_used(q);
    uint32_t line = log_conn(s, NASCAR_LOG_WARN, "login_refused", q->c);
    log_text(s, "name", name);
    log_text(s, "reason", failures[failure].code);
    log_end(s, line);
    a->failed++;
    a->failed_at_ms = s->now_ms;
    return failure;
}

static bool is_name_free(const struct nascar *s, const char *name)
{
    return find_persona(s, name) == NONE && find_room(s, name) == NONE;
}

/* An account as a record. */
static void write_account(struct outgoing *f, const struct account *a)
{
    frame_begin(f, "acct", "");
    put_number(f, tag_CREATED, a->created_s);
    put_number(f, tag_LAST, a->last_login_s);
    put_number(f, tag_BAN, a->banned);
    put_text(f, tag_NAME, a->name);
    put_text(f, tag_HASH, a->hash);
    put_text(f, tag_MAIL, a->mail);
    put_text(f, tag_SPAM, a->spam);
}

/* What a request changes of an account, and nothing else: another change of it
 * may be on its way to the disk. */
static void write_edit(struct outgoing *f, const struct account *a, const struct request *q, const char *hash)
{
    frame_begin(f, "edit", "");
    put_text(f, tag_NAME, a->name);
    if (hash[0])
        put_text(f, tag_HASH, hash);
    if (has_tag(q, tag_MAIL))
        put_text(f, tag_MAIL, a->mail);
    if (has_tag(q, tag_SPAM))
        put_text(f, tag_SPAM, a->spam);
}

/* Reads a text that stays as it is if it is not there. */
static void get_change(const struct request *q, enum tag tag, char *out, uint32_t out_bytes)
{
    uint32_t at = find_tag(q->payload, q->size, tag_names[tag]);
    if (at != NOT_THERE)
        (void)read_string(q->payload, q->size, at, out, out_bytes);
}

/* Takes what a sign-up or an edit says about an account. */
static void get_account_fields(const struct request *q, struct account *a)
{
    get_change(q, tag_MAIL, a->mail, sizeof a->mail);
    get_change(q, tag_SPAM, a->spam, sizeof a->spam);
}

/* Hands out the record of a new account; connection c waits for it. */
static enum failure create_account(struct request *q, const char *name, const char *hash, bool with_persona)
{
    struct nascar *s = q->s;
    struct account a;
    char persona[PERSONA_CHARS + 1];
    struct address *address = address_used(q);
    if (!hash[0])
        return NOT_KEPT;
    if (pool_full(&s->accounts))
        return SERVER_FULL;
    if (q->conn->state != CONN_CONTROL && address->created++ >= s->config.accounts_per_address)
        return TOO_MANY_TRIES;
    memset(&a, 0, sizeof a);
    copy_text(a.name, sizeof a.name, name);
    copy_text(a.hash, sizeof a.hash, hash);
    copy_text(a.spam, sizeof a.spam, "NN");
    a.created_s = s->wall_s;
    get_account_fields(q, &a);
    write_account(&s->frame, &a);
    copy_text(persona, sizeof persona, name);
    if (with_persona && is_name_free(s, persona))
        put_text(&s->frame, tag_PERSONAS, persona);
    send_record(s, q->c);
    return OK;
}

static void put_personas(const struct nascar *s, struct outgoing *f, const struct account *a)
{
    char list[PERSONA_LIST_CHARS + 1] = "";
    for (uint32_t i = 0; i < PERSONAS_PER_ACCOUNT && a->persona[i] != NONE; i++) {
        if (i > 0)
            append_text(list, sizeof list, ",");
        append_text(list, sizeof list, persona_at(s, a->persona[i])->name);
    }
    put_text(f, tag_PERSONAS, list);
}

/* A new `auth` or `acct` on a connection: whoever was logged in on it is out. */
static void log_out(struct request *q)
{
    struct nascar *s = q->s;
    if (q->player == NONE)
        return;
    log_end(s, log_conn(s, NASCAR_LOG_INFO, "logout", q->c));
    player_remove(s, q->player);
    request_player(q);
    q->conn->state = CONN_LOBBY;
    timer_start(s, conn_timer(q->c, T_PHASE), Q_LOGIN);
}

/* The password was right, or the account is new: the connection is its. */
static enum failure log_in(struct request *q, uint32_t account)
{
    struct nascar *s = q->s;
    if (account_at(s, account)->banned)
        return BANNED;
    if (!player_add(s, q->c, account))
        return SERVER_FULL;
    request_player(q);
    timer_stop(s, conn_timer(q->c, T_PHASE));
    ping_start(s, q->c); /* it may have left out `addr` */
    log_end(s, log_conn(s, NASCAR_LOG_INFO, "login", q->c));
    frame_begin(&s->frame, "seen", "");
    put_number(&s->frame, tag_LAST, s->wall_s);
    put_text(&s->frame, tag_NAME, account_at(s, account)->name);
    queue_record(s, NONE, 0, true);
    return OK;
}

static enum failure finish_auth(struct request *q, uint32_t account)
{
    struct nascar *s = q->s;
    const struct account *a = account_at(s, account);
    enum failure failure = log_in(q, account);
    if (failure)
        return failure;
    uint32_t i = find_session(s, get_number(q, tag_MASK, 0));
    uint32_t sess = i != NONE ? session_at(s, i)->sess : fresh_session_number(s);
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_SESS, sess);
    put_raw(f, tag_TOS, "1");
    put_address(f, tag_ADDR, q->conn->peer);
    put_date(f, tag_LAST, q->p->last_login_s);
    put_text(f, tag_SPAM, a->spam);
    put_text(f, tag_NAME, a->name);
    put_personas(s, f, a);
    put_text(f, tag_MAIL, a->mail);
    send_back(q);
    return OK;
}

/* Every try costs one hash, so that an unknown name takes as long as a wrong
 * password: nobody learns names by the clock. */
static enum failure do_auth(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], password[SSC2_CHARS + 1];
    log_out(q);
    get_name(q, tag_NAME, name);
    if (!name[0])
        return MISSING;
    if (!may_try_password(q))
        return TOO_MANY_TRIES;
    enum failure failure = get_password(q, password);
    if (failure == WRONG_PASSWORD)
        return password_failed(q, name, failure);
    if (failure)
        return failure;
    uint32_t account = find_account(s, name);
    q->conn->checking = account;
    if (account != NONE)
        send_hash_job(s, q->c, password, account_at(s, account)->hash, "");
    else
        send_hash_job(s, q->c, "", "", password);
    wipe(password, sizeof password);
    return OK;
}

static enum failure verdict_auth(struct request *q, bool accepted, const char *hash)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], password[SSC2_CHARS + 1];
    uint32_t checked = q->conn->checking;
    get_name(q, tag_NAME, name);
    if (checked != NONE)
        return accepted ? finish_auth(q, checked) : password_failed(q, name, WRONG_PASSWORD);
    if (find_account(s, name) != NONE) /* made meanwhile: now there is a password to check */
        return do_auth(q);
    if (s->config.accounts != ACCOUNTS_OPEN || !valid_name(name, ACCOUNT_CHARS) || find_room(s, name) != NONE)
        return password_failed(q, name, NO_ACCOUNT);
    bool valid = get_password(q, password) == OK && valid_password(password);
    wipe(password, sizeof password);
    if (!valid)
        return password_failed(q, name, WRONG_PASSWORD);
    return create_account(q, name, hash, true);
}

static enum failure applied_auth(struct request *q, enum failure failure)
{
    char name[ANY_NAME_CHARS + 1];
    if (failure == TAKEN)
        return do_auth(q);
    if (failure)
        return failure;
    get_name(q, tag_NAME, name);
    uint32_t account = find_account(q->s, name);
    return account == NONE ? NOT_KEPT : finish_auth(q, account);
}

/* `dupl`, with free variants of the name when ALTS asks for some. */
static enum failure refuse_taken(struct request *q, const char *name, uint32_t max_chars,
                                 bool is_free(const struct nascar *, const char *))
{
    char list[4 * (ACCOUNT_CHARS + 1) + 1] = "", variant[ACCOUNT_CHARS + 1], digits[24];
    uint32_t wanted = min_u32(get_number(q, tag_ALTS, 0), 4);
    for (uint32_t i = 1; i < 100 && wanted > 0; i++) {
        write_number(digits, i);
        copy_text(variant, min_u32(max_chars + 1 - (uint32_t)strlen(digits), sizeof variant), name);
        append_text(variant, sizeof variant, digits);
        if (!is_free(q->s, variant))
            continue;
        append_text(list, sizeof list, list[0] ? "," : "");
        append_text(list, sizeof list, variant);
        wanted--;
    }
    struct outgoing *f = reply_begin(q, TAKEN);
    if (list[0])
        put_text(f, tag_OPTS, list);
    send_back(q);
    return OK;
}

static bool is_account_free(const struct nascar *s, const char *name)
{
    return find_account(s, name) == NONE && find_room(s, name) == NONE;
}

static enum failure do_acct(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], password[SSC2_CHARS + 1];
    log_out(q);
    if (s->config.accounts == ACCOUNTS_CLOSED || !has_tag(q, tag_NAME))
        return MISSING;
    get_name(q, tag_NAME, name);
    if (!valid_name(name, ACCOUNT_CHARS))
        return BAD_NAME;
    enum failure failure = get_password(q, password);
    if (failure)
        return failure;
    if (!valid_password(password))
        return BAD_NAME;
    if (!is_account_free(s, name))
        return refuse_taken(q, name, ACCOUNT_CHARS, is_account_free);
    if (pool_full(&s->accounts))
        return SERVER_FULL;
    if (!may_try_password(q)) /* none to try, but a hash to make all the same */
        return TOO_MANY_TRIES;
    send_hash_job(s, q->c, "", "", password);
    wipe(password, sizeof password);
    return OK;
}

static enum failure verdict_acct(struct request *q, bool accepted, const char *hash)
{
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    return create_account(q, name, accepted ? hash : "", false);
}

static enum failure applied_acct(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], born[16];
    get_name(q, tag_NAME, name);
    if (failure == TAKEN)
        return refuse_taken(q, name, ACCOUNT_CHARS, is_account_free);
    uint32_t account = find_account(s, name);
    if (failure == OK)
        failure = account == NONE ? NOT_KEPT : log_in(q, account);
    if (failure)
        return failure;
    (void)get_text(q, tag_BORN, born, sizeof born);
    int32_t age = age_at(born, s->wall_s);
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_AGE, age >= 0 ? age : (int32_t)min_u32(get_number(q, tag_MINAGE, 18), 150));
    put_text(f, tag_NAME, account_at(s, account)->name);
    put_text(f, tag_PERSONAS, "");
    send_back(q);
    return OK;
}

/* CHNG needs the present password; other fields do not, as the player is in. */
static enum failure do_edit(struct request *q)
{
    struct nascar *s = q->s;
    const struct account *a = account_at(s, q->p->account);
    char name[ANY_NAME_CHARS + 1], password[SSC2_CHARS + 1], fresh[SSC2_CHARS + 1];
    get_name(q, tag_NAME, name);
    if (has_tag(q, tag_NAME) && !same_name(name, a->name))
        return NO_ACCOUNT;
    uint32_t fresh_chars = get_text(q, tag_CHNG, fresh, sizeof fresh);
    uint32_t chars = get_text(q, tag_PASS, password, sizeof password);
    if (fresh_chars > 0 && (fresh_chars > PASSWORD_CHARS || !valid_password(fresh)))
        return BAD_NAME;
    if (chars > PASSWORD_CHARS || (fresh_chars > 0 && chars == 0))
        return WRONG_PASSWORD;
    if (chars > 0) {
        if (!may_try_password(q))
            return TOO_MANY_TRIES;
        send_hash_job(s, q->c, password, a->hash, fresh);
        return OK;
    }
    struct account changed = *a;
    get_account_fields(q, &changed);
    write_edit(&s->frame, &changed, q, "");
    send_record(s, q->c);
    return OK;
}

static enum failure verdict_edit(struct request *q, bool accepted, const char *hash)
{
    struct nascar *s = q->s;
    struct account changed = *account_at(s, q->p->account);
    char fresh[SSC2_CHARS + 1];
    if (!accepted)
        return password_failed(q, changed.name, WRONG_PASSWORD);
    bool renew = get_text(q, tag_CHNG, fresh, sizeof fresh) > 0;
    wipe(fresh, sizeof fresh);
    if (renew && !hash[0])
        return NOT_KEPT;
    get_account_fields(q, &changed);
    write_edit(&s->frame, &changed, q, renew ? hash : "");
    send_record(s, q->c);
    return OK;
}

static enum failure applied_plain(struct request *q, enum failure failure)
{
    if (failure == OK)
        reply(q, OK);
    return failure;
}

/* ---- Commands: personas (PROTOCOL 3.2) ----------------------------------- */

static void write_persona_record(struct outgoing *f, const char *kind, const char *persona, const char *account)
{
    frame_begin(f, kind, "");
    put_text(f, tag_PERS, persona);
    put_text(f, tag_NAME, account);
}

static enum failure do_cper(struct request *q)
{
    struct nascar *s = q->s;
    const struct account *a = account_at(s, q->p->account);
    char name[ANY_NAME_CHARS + 1];
    if (!has_tag(q, tag_PERS))
        return MISSING;
    get_name(q, tag_PERS, name);
    if (!valid_name(name, PERSONA_CHARS))
        return BAD_NAME;
    if (a->persona[PERSONAS_PER_ACCOUNT - 1] != NONE)
        return TOO_MANY_PERSONAS;
    if (!is_name_free(s, name))
        return refuse_taken(q, name, PERSONA_CHARS, is_name_free);
    write_persona_record(&s->frame, "cper", name, a->name);
    send_record(s, q->c);
    return OK;
}

static enum failure applied_cper(struct request *q, enum failure failure)
{
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_PERS, name);
    if (failure == TAKEN)
        return refuse_taken(q, name, PERSONA_CHARS, is_name_free);
    if (failure)
        return failure;
    struct outgoing *f = reply_begin(q, OK);
    put_text(f, tag_PERS, name);
    send_back(q);
    return OK;
}

/* The persona that PERS names, if it is this account's; else NONE. */
static uint32_t own_persona(const struct request *q)
{
    const struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_PERS, name);
    uint32_t persona = find_persona(s, name);
    return persona != NONE && persona_at(s, persona)->account == q->p->account ? persona : NONE;
}

static enum failure do_dper(struct request *q)
{
    struct nascar *s = q->s;
    if (!has_tag(q, tag_PERS))
        return MISSING;
    uint32_t persona = own_persona(q);
    if (persona == NONE)
        return NO_ACCOUNT;
    if (is_online(s, persona)) /* it is the one being played */
        return MISSING;
    write_persona_record(&s->frame, "dper", persona_at(s, persona)->name, account_at(s, q->p->account)->name);
    send_record(s, q->c);
    return OK;
}

static enum failure applied_dper(struct request *q, enum failure failure)
{
    char name[ANY_NAME_CHARS + 1];
    if (failure)
        return failure;
    get_name(q, tag_PERS, name);
    struct outgoing *f = reply_begin(q, OK);
    put_text(f, tag_PERS, name);
    send_back(q);
    return OK;
}

/* The hash of a buddy ticket is all that is kept of it. */
static void write_ticket_record(struct outgoing *f, const char *persona, const uint8_t hash[16], int64_t until_s)
{
    char text[33];
    write_hex(text, hash, 16);
    frame_begin(f, "tick", "");
    put_raw(f, tag_HASH, text);
    put_number(f, tag_WHEN, until_s);
    put_text(f, tag_PERS, persona);
}

static void hash_ticket(const uint8_t ticket[8], uint8_t out[16])
{
    uint8_t hash[32];
    sha256(ticket, 8, hash);
    memcpy(out, hash, 16);
}

/* A new ticket for the buddy service is kept first. */
static enum failure do_pers(struct request *q)
{
    struct nascar *s = q->s;
    uint8_t hash[16];
    if (!has_tag(q, tag_PERS))
        return MISSING;
    uint32_t number = own_persona(q);
    if (number == NONE)
        return NO_ACCOUNT;
    draw(s, q->conn->lkey, sizeof q->conn->lkey);
    hash_ticket(q->conn->lkey, hash);
    write_ticket_record(&s->frame, persona_at(s, number)->name, hash, s->wall_s + TICKET_S);
    send_record(s, q->c);
    return OK;
}

/* Kept or not, the ticket is good (nascar_takes_unkept). */
static enum failure applied_pers(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    uint32_t number = own_persona(q), player = q->player;
    if (number == NONE)
        return NO_ACCOUNT;
    struct persona *persona = persona_at(s, number);
    char ticket[2 + 2 * sizeof q->conn->lkey] = "$";
    (void)failure;
    uint32_t old = player_at(s, player)->persona;
    bool again = old != NONE, from_hub = again && player_at(s, player)->room == HUB;
    persona_off(s, player);
    persona_on(s, player, number);
    write_hex(ticket + 1, q->conn->lkey, sizeof q->conn->lkey);
    wipe(q->conn->lkey, sizeof q->conn->lkey);
    struct outgoing *f = reply_begin(q, OK);
    put_raw(f, tag_LKEY, ticket);
    put_date(f, tag_LAST, player_at(s, player)->last_login_s);
    put_text(f, tag_PERS, persona->name);
    send_back(q);
    if (again) /* from a room, whose name the console shows, back to the hub */
        send_who(s, player, room_at(s, HUB)->name, room_flags(room_at(s, HUB)));
    else
        send_who(s, player, "0", "1");                       /* [spec], to the letter: the first one */
    if (from_hub && old != number && q->conn->wants.users) { /* its list is not cleared then */
        write_user_gone(&s->frame, old, room_at(s, HUB)->count);
        send_back(q);
    }
    log_end(s, log_conn(s, NASCAR_LOG_INFO, "enter", q->c));
    return OK;
}

/* ---- Commands: what the lobby shows (PROTOCOL 3.2) ----------------------- */

static enum failure do_sele(struct request *q)
{
    struct nascar *s = q->s;
    struct wants old = q->conn->wants, *now = &q->conn->wants;
    now->rooms = get_number(q, tag_ROOMS, old.rooms);
    now->users = get_number(q, tag_USERS, old.users);
    now->ranks = get_number(q, tag_RANKS, old.ranks);
    now->mesgs = get_number(q, tag_MESGS, old.mesgs);
    struct outgoing *f = reply_begin(q, OK);
    put_raw(f, tag_MORE, "0");
    put_raw(f, tag_SLOTS, "4");
    send_back(q);
    if (q->conn->state != CONN_PERSONA)
        return OK;
    struct player *p = q->p;
    if (!now->rooms)
        unsubscribe(s, &s->room_feed, &p->rooms);
    if (!now->users) {
        unsubscribe(s, &room_at(s, p->room)->users, &p->users);
        p->self_due = false;
    } else if (!old.users) {
        follow_users(s, p);
    }
    if (!now->rooms && !now->users && !now->ranks)
        lobby_unsubscribe(s, q->player);
    start_lists(s, q->player, now->rooms && !old.rooms, now->users && !old.users,
                now->ranks && now->ranks != old.ranks);
    mark_behind(s, q->player);
    return OK;
}

/* Line number `line` of the news, cut to max characters; "" past the last. */
static void news_line(const struct config *config, uint32_t line, char *out, size_t max)
{
    const char *p = config->news;
    for (; line > 0 && *p; line--) {
        p += strcspn(p, "\n");
        p += *p == '\n';
    }
    size_t n = strcspn(p, "\n");
    if (n > max)
        n = max;
    memcpy(out, p, n);
    out[n] = 0;
}

/* The address of the buddy service, and four lines of news in what is left. */
static void news_short(struct request *q)
{
    struct nascar *s = q->s;
    static const enum tag tags[4] = {tag_NEWS0, tag_NEWS1, tag_NEWS2, tag_NEWS3};
    struct outgoing *f = &s->frame;
    char line[NEWS_REPLY_BYTES + 1];
    frame_begin(f, q->kind, "new0");
    put_address(f, tag_BUDDY_URL, server_address(s, q->c));
    put_number(f, tag_BUDDY_PORT, s->config.buddy_port);
    put_raw(f, tag_COUNT, "4");
    put_number(f, tag_STATUS, failures[OK].status);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t start = f->size, rest = 7 * (3 - i) + 1; /* "NEWSn=\n" of the others, and the NUL */
        size_t max = NEWS_REPLY_BYTES;
        do { /* escapes make a line longer: cut until it fits */
            news_line(&s->config, i, line, max);
            max = strlen(line) - (line[0] != 0);
            f->size = start;
            put_text(f, tags[i], line);
        } while (f->size + rest > NEWS_REPLY_BYTES);
    }
    send_back(q);
}

static enum failure do_news(struct request *q)
{
    struct nascar *s = q->s;
    uint32_t number = get_number(q, tag_NAME, 0);
    char code[5] = "new0";
    if (number > 9)
        return MISSING;
    if (number == 0) {
        news_short(q);
        return OK;
    }
    code[3] = (char)('0' + number);
    frame_begin(&s->frame, q->kind, code);
    put_chars(&s->frame, s->config.news[0] ? s->config.news : "No news.\n");
    send_back(q);
    return OK;
}

static enum failure do_user(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], standing[LEADERBOARD_CHARS + 32];
    get_name(q, tag_PERS, name);
    if (!has_tag(q, tag_PERS))
        return MISSING;
    uint32_t persona = find_persona(s, name);
    if (persona == NONE)
        return NO_USER;
    uint32_t player = persona_at(s, persona)->player;
    struct outgoing *f = reply_begin(q, OK);
    /* 21 longs; what the console calls them is unknown: ours come first [own]. */
    write_figures(standing, sizeof standing, &persona_at(s, persona)->figures, true);
    append_text(standing, sizeof standing, ",0,0,0,0,0,0,0,0,0,0,0,0,0,0");
    put_raw(f, tag_STAT, standing);
    put_raw(f, tag_INFO, "0,0");
    put_address(f, tag_ADDR, player == NONE ? 0 : address_for(s, q->c, player_at(s, player)));
    put_number(f, tag_RANK, shown_rank(s, persona));
    put_raw(f, tag_TITLE, "1");
    put_text(f, tag_PERS, persona_at(s, persona)->name);
    put_text(f, tag_ROOM, player == NONE ? "" : room_at(s, player_at(s, player)->room)->name);
    send_back(q);
    return OK;
}

/* A reply without N is dropped by the console, so a failure has it too. */
static enum failure do_onln(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], standing[LEADERBOARD_CHARS + 1] = "";
    if (!has_tag(q, tag_PERS))
        return MISSING;
    get_name(q, tag_PERS, name);
    uint32_t player = find_online(s, name), persona = player == NONE ? NONE : player_at(s, player)->persona;
    const char *shown = player == NONE ? name : player_name(s, player);
    struct outgoing *f = reply_begin(q, player == NONE ? NO_USER : OK);
    if (player != NONE)
        write_standing(s, persona, standing);
    put_number(f, tag_R, player == NONE ? 0 : shown_rank(s, persona));
    put_number(f, tag_P, standing[0] ? persona_at(s, persona)->figures.rating : 0);
    put_raw(f, tag_S, standing);
    put_text(f, tag_N, shown);
    put_text(f, tag_PERS, shown);
    send_back(q);
    return OK;
}

/* ---- Commands: rooms (PROTOCOL 3.3) -------------------------------------- */

/* Rooms and users that are gone are kept for readers who are behind. When that
 * fills a table, those readers are let go: no reader keeps others out. */
static void drop_laggards(struct nascar *s, uint32_t c)
{
    for (uint32_t i = 0; i < s->players.high; i++) {
        uint32_t other = player_at(s, i)->conn;
        if (player_at(s, i)->link == LIVE && other != c && conn_at(s, other)->slow)
            conn_doom(s, other, "too far behind");
    }
    settle(s);
}

/* On a failure IDENT must still be there, or the console drops to room 0. */
static enum failure refuse_move(struct request *q, enum failure failure)
{
    struct outgoing *f = reply_begin(q, failure);
    put_number(f, tag_IDENT, room_at(q->s, q->p->room)->ident);
    send_back(q);
    return OK;
}

static void put_room(struct outgoing *f, const struct room *room)
{
    put_number(f, tag_IDENT, room->ident);
    put_number(f, tag_COUNT, room->count);
    put_raw(f, tag_FLAGS, room_flags(room));
    put_text(f, tag_NAME, room->name);
}

/* Moves a player, answers, and says who is there; the others, and the counts,
 * follow as their lists are brought up to date. */
static void enter_room(struct request *q, uint32_t r)
{
    struct nascar *s = q->s;
    struct player *p = q->p;
    const struct room *room = room_at(s, r);
    uint32_t old_ident = room_at(s, p->room)->ident, old_count = room_at(s, p->room)->count - 1;
    challenge_leave(s, q->player);
    room_leave(s, q->player);
    room_enter(s, q->player, r);
    p->peeked[0] = 0;
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_LIDENT, old_ident);
    put_number(f, tag_LCOUNT, old_count);
    put_room(f, room);
    send_back(q);
    send_who(s, q->player, room->name, room_flags(room));
    uint32_t line = log_conn(s, NASCAR_LOG_INFO, "move", q->c);
    log_text(s, "room", room->name);
    log_end(s, line);
}

static enum failure do_move(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], password[PASSWORD_CHARS + 1];
    struct player *p = q->p;
    if (pool_full(&s->presences))
        drop_laggards(s, q->c);
    uint32_t chars = get_text(q, tag_NAME, name, sizeof name);
    uint32_t r = chars == 0 ? HUB : chars > ANY_NAME_CHARS ? NONE : find_room(s, name);
    race_leave(s, q->player);
    if (r == NONE)
        return refuse_move(q, NO_ROOM);
    const struct room *room = room_at(s, r);
    if (r == p->room) {
        put_room(reply_begin(q, OK), room);
        send_back(q);
        return OK;
    }
    (void)get_text(q, tag_PASS, password, sizeof password);
    if (room->password[0] && strcmp(password, room->password) != 0)
        return refuse_move(q, WRONG_PASSWORD);
    if (r != HUB && (room->count >= room->limit || pool_full(&s->presences)))
        return refuse_move(q, ROOM_FULL);
    enter_room(q, r);
    return OK;
}

/* Is there a room that is gone, but not all have been told? */
static bool is_room_kept(const struct nascar *s)
{
    for (uint32_t i = s->room_feed.head; i != NONE; i = node_at(s, i)->next)
        if (node_at(s, i)->tombstone)
            return true;
    return false;
}

static enum failure do_room(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], description[DESCRIPTION_CHARS + 1], password[PASSWORD_CHARS + 1];
    struct player *p = q->p;
    uint32_t chars = get_text(q, tag_NAME, name, sizeof name);
    race_leave(s, q->player);
    if (chars == 0)
        return refuse_move(q, MISSING);
    if (chars > ANY_NAME_CHARS || !valid_room_name(name) ||
        get_text(q, tag_PASS, password, sizeof password) > PASSWORD_CHARS)
        return refuse_move(q, BAD_NAME);
    if (!is_name_free(s, name))
        return refuse_move(q, TAKEN);
    if (pool_full(&s->presences) || (pool_full(&s->rooms) && is_room_kept(s)))
        drop_laggards(s, q->c);
    if (pool_full(&s->rooms) || pool_full(&s->presences))
        return refuse_move(q, ROOM_FULL);
    (void)get_text(q, tag_DESC, description, sizeof description);
    int32_t max = to_signed(get_number(q, tag_MAX, 50));
    uint32_t limit = max < 2 ? 2 : min_u32((uint32_t)max, 100);
    uint32_t r = room_create(s, name, description, password, limit, s->next_created_room++);
    room_at(s, r)->created = true;
    /* Its maker, too, is told of it before the reply that names it. */
    while (outbox_free(q->conn) >= REPLY_BYTES && send_room_row(s, p))
        continue;
    enter_room(q, r);
    return OK;
}

static enum failure do_peek(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1];
    struct player *p = q->p;
    if (!has_tag(q, tag_NAME))
        return MISSING;
    get_name(q, tag_NAME, name);
    p->peeked[0] = 0; /* whoever it was before: this one may not be there */
    uint32_t r = find_room(s, name);
    if (r != NONE) {
        struct outgoing *f = reply_begin(q, OK);
        put_number(f, tag_COUNT, room_at(s, r)->count);
        put_text(f, tag_NAME, room_at(s, r)->name);
        send_back(q);
        return OK;
    }
    uint32_t player = find_online(s, name);
    if (player == NONE)
        return NO_USER;
    copy_text(p->peeked, sizeof p->peeked, player_name(s, player));
    struct outgoing *f = reply_begin(q, OK);
    put_text(f, tag_NAME, player_name(s, player));
    send_back(q);
    return OK;
}

/* ---- Commands: chat and challenges (PROTOCOL 3.4, 5) --------------------- */

/* The reply to `mesg` or `auxi`: TEXT comes back only in the latter's. */
static void reply_text(struct request *q, const char *text)
{
    struct outgoing *f = reply_begin(q, OK);
    if (memcmp(q->kind, "auxi", 4) == 0)
        put_text(f, tag_TEXT, text);
    send_back(q);
}

/* The console ignores the code of this reply and stays pending: DECL frees it. */
static enum failure refuse_challenge(struct request *q, const char *target, enum failure failure)
{
    reply(q, failure);
    send_challenge(q->s, q->player, target, "DECL");
    return OK;
}

/* Would a challenge come faster than its target, or the one it takes back,
 * reads? Then it waits, like chat: nobody is talked off the server. */
static bool must_stall(const struct nascar *s, uint32_t player, uint32_t target)
{
    const struct player *p = player_at(s, player);
    uint32_t other = p->pair == NONE ? NONE : pair_at(s, p->pair)->player[1 - p->side];
    return (target != NONE && conn_at(s, player_at(s, target)->conn)->crowded) ||
           (other != NONE && conn_at(s, player_at(s, other)->conn)->crowded);
}

/* A word of a challenge to `name`, by `mesg ... ATTR=3` or by `auxi`: an
 * answer, or else a token. `size` is the text's length before any cut. */
static enum failure challenge_message(struct request *q, const char *name, const char *text, uint32_t size)
{
    struct nascar *s = q->s;
    uint32_t target = find_online(s, name);
    if (target == q->player)
        return refuse_challenge(q, name, NO_USER);
    if (is_answer(text)) {
        enum failure failure = challenge_answer_check(s, q->player, target, text);
        if (failure == OK && !valid_token(text, size))
            failure = BAD_TOKEN;
        if (failure == OK) {
            reply_text(q, text);
            challenge_answer(s, q->player, target, text);
        }
        return failure;
    }
    if (must_stall(s, q->player, target))
        return STALL;
    enum failure failure = valid_token(text, size) ? challenge_check(s, q->player, target) : BAD_TOKEN;
    if (failure)
        return refuse_challenge(q, target == NONE ? name : player_name(s, target), failure);
    reply_text(q, text);
    if (ignores(s, player_at(s, target)->persona, q->p->persona))
        send_challenge(s, q->player, player_name(s, target), "BLOC");
    else
        challenge_offer(s, q->player, target, text);
    return OK;
}

/* Keeps a line for those who report abuse; `to` "": said in a room. */
static void note_line(struct nascar *s, const char *from, const char *to, const char *room, const char *text)
{
    struct chat_line *line = &s->chat[s->chat_count++ % CHAT_LINES];
    memset(line, 0, sizeof *line);
    line->at_s = s->wall_s;
    copy_text(line->from, sizeof line->from, from);
    copy_text(line->to, sizeof line->to, to);
    copy_text(line->room, sizeof line->room, room);
    copy_text(line->text, sizeof line->text, text);
}

/* Room chat, to everyone in the room, the sender too. */
static enum failure say_in_room(struct request *q, const char *flags, const char *text)
{
    struct nascar *s = q->s;
    struct player *p = q->p;
    const struct room *room = room_at(s, p->room);
    bool shunned = player_persona(s, p)->ignored_by > 0;
    if (room->crowded > 0)
        return STALL;
    reply(q, OK);
    note_line(s, player_persona(s, p)->name, "", room->name, text);
    write_message(s, flags, player_persona(s, p)->name, 0, room->ident, text);
    for (uint32_t i = room->members; i != NONE; i = player_at(s, i)->room_next)
        if (!shunned || !ignores(s, player_at(s, i)->persona, p->persona))
            deliver_line(s, i);
    return OK;
}

static enum failure say_in_private(struct request *q, uint32_t target, const char *flags, const char *text)
{
    struct nascar *s = q->s;
    struct player *p = q->p, *to = player_at(s, target);
    if (conn_at(s, to->conn)->crowded)
        return STALL;
    reply(q, OK);
    note_line(s, player_persona(s, p)->name, player_persona(s, to)->name, "", text);
    if (ignores(s, to->persona, p->persona))
        return OK;
    write_message(s, flags, player_persona(s, p)->name, 0, room_at(s, to->room)->ident, text);
    deliver_line(s, target);
    return OK;
}

static enum failure do_mesg(struct request *q)
{
    char text[CHAT_CHARS + 1], name[ANY_NAME_CHARS + 1], letters[32];
    enum tag to = has_tag(q, tag_PRIV) ? tag_PRIV : tag_N;
    uint32_t size = get_text(q, tag_TEXT, text, sizeof text);
    uint32_t flags = get_flags(q, tag_ATTR);
    bool challenge = (flags & FLAG_3) != 0, private = get_text(q, to, name, sizeof name) > 0;
    get_name(q, to, name);
    if (private && challenge)
        return challenge_message(q, name, text, size);
    if (size == 0)
        return MISSING;
    /* Nobody forges an announcement, a private line or an own record. */
    flags &= ~(FLAG_B | FLAG_P | FLAG_U | FLAG_3);
    if (flags == FLAG_0)
        flags = 0;
    if (!private) {
        write_flags(letters, flags);
        return say_in_room(q, letters, text);
    }
    uint32_t target = find_online(q->s, name);
    if (target == NONE || target == q->player)
        return NO_USER;
    letters[0] = 'P';
    char rest[32];
    write_flags(rest, flags);
    copy_text(letters + 1, sizeof letters - 1, rest);
    return say_in_private(q, target, letters, text);
}

/* The online persona B of a text that ends in _<A>_<B>, A being `name`; NONE
 * if there is none. Names may hold an underscore themselves. */
static uint32_t target_of_token(const struct nascar *s, const char *text, const char *name)
{
    size_t n = strlen(text), m = strlen(name);
    char a[PERSONA_CHARS + 1];
    assert(m <= PERSONA_CHARS);
    for (size_t i = n; i-- > m + 1;) {
        if (text[i] != '_' || text[i - m - 1] != '_')
            continue;
        memcpy(a, text + i - m, m);
        a[m] = 0;
        uint32_t target = same_name(a, name) ? find_online(s, text + i + 1) : NONE;
        if (target != NONE)
            return target;
    }
    return NONE;
}

static enum failure do_auxi(struct request *q)
{
    struct nascar *s = q->s;
    char text[CHAT_CHARS + 1];
    uint32_t target = NONE;
    struct player *p = q->p;
    if (!has_tag(q, tag_TEXT))
        return MISSING;
    uint32_t size = get_text(q, tag_TEXT, text, sizeof text);
    if (size > 0 && p->peeked[0])
        target = find_online(s, p->peeked);
    if (size > 0 && target == NONE)
        target = target_of_token(s, text, player_name(s, q->player));
    if (target != NONE && target != q->player) {
        enum failure failure = challenge_message(q, player_name(s, target), text, size);
        if (p->pair != NONE && pair_at(s, p->pair)->player[1] == target)
            p->peeked[0] = 0; /* it has challenged: the next one is the player's own X again */
        return failure;
    }
    copy_text(p->text, sizeof p->text, text);
    reply_text(q, p->text);
    user_changed(s, q->player);
    return OK;
}

/* `chal PERS=*`: I can be challenged, or I am back. Else: ready to race. */
static enum failure do_chal(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1];
    struct player *p = q->p;
    if (!has_tag(q, tag_PERS))
        return MISSING;
    get_name(q, tag_PERS, name);
    if (strcmp(name, "*") == 0) {
        struct outgoing *f = reply_begin(q, OK);
        put_raw(f, tag_MODE, "chal");
        send_back(q);
        race_leave(s, q->player);
        if (player_busy(s, p))
            challenge_leave(s, q->player);
        return OK;
    }
    if (q->conn->state != CONN_PERSONA)
        return NO_SESSION;
    uint32_t other = find_online(s, name);
    if (other == NONE)
        return NO_USER;
    if (p->pair == NONE || pair_at(s, p->pair)->state == PAIR_OFFERED ||
        pair_at(s, p->pair)->player[1 - p->side] != other)
        return EXPIRED;
    struct pair *pair = pair_at(s, p->pair);
    pair->ready[p->side] = true;
    pair->hosts[p->side] = get_number(q, tag_HOST, 0) == 1;
    struct outgoing *f = reply_begin(q, OK);
    put_raw(f, tag_MODE, "play");
    send_back(q);
    if (pair->state == PAIR_ACCEPTED && !pair->starting && pair->ready[0] && pair->ready[1])
        race_prepare(s, p->pair); /* else it has begun without */
    return OK;
}

/* ---- Commands: results (PROTOCOL 5) --------------------------------------- */

/* What a `rank` says of its race: the numbers of both sides, 0 the host's. */
struct result {
    int32_t start[2], finish[2], laps[2], led[2], disconnected[2], disqualified[2];
};

#define MAX_PLACE 64
#define MAX_LAPS 1000
#define MAX_TIME 86400000 /* a day in ms */

/* A number that must be one, within its range; 0 if it is not there. */
static bool get_ranged(const struct request *q, enum tag tag, int32_t min, int32_t max, int32_t *value)
{
    char text[16];
    uint32_t size = get_text(q, tag, text, sizeof text), sign = text[0] == '-' || text[0] == '+';
    *value = 0;
    if (!has_tag(q, tag))
        return true;
    if (size <= sign || size > 10 || strspn(text + sign, "0123456789") != size - sign)
        return false;
    int64_t n = 0;
    for (const char *p = text + sign; *p; p++)
        n = n * 10 + (*p - '0');
    n = text[0] == '-' ? -n : n;
    *value = n >= min && n <= max ? (int32_t)n : 0;
    return n >= min && n <= max;
}

/* Reads and checks every number of a `rank`. */
static bool get_result(const struct request *q, struct result *r)
{
    int32_t other;
    bool good = get_ranged(q, tag_RACETIME, -1, MAX_TIME, &other) && get_ranged(q, tag_SET_TRACKID, 0, 255, &other) &&
                get_ranged(q, tag_SET_NUMAI, 0, MAX_PLACE, &other) &&
                get_ranged(q, tag_SET_RACELEN, 0, MAX_LAPS, &other);
    for (uint32_t side = 0; side < 2; side++) {
        /* each pair of tags stands side by side in the list of all tags */
        good = good && get_ranged(q, tag_STARTPOS0 + side, 0, MAX_PLACE, &r->start[side]) &&
               get_ranged(q, tag_FINISPOS0 + side, 0, MAX_PLACE, &r->finish[side]) &&
               get_ranged(q, tag_LAPSCOMP0 + side, 0, MAX_LAPS, &r->laps[side]) &&
               get_ranged(q, tag_LAPSLED0 + side, 0, MAX_LAPS, &r->led[side]) &&
               get_ranged(q, tag_DISCTIME0 + side, -1, MAX_TIME, &r->disconnected[side]) &&
               get_ranged(q, tag_DISQTIME0 + side, -1, MAX_TIME, &r->disqualified[side]);
        bool out = good && (r->disconnected[side] > 0 || r->disqualified[side] > 0);
        good = good && has_tag(q, tag_FINISPOS0 + side) && (r->finish[side] > 0 || out);
    }
    return good && (r->finish[0] != r->finish[1] || r->finish[0] == 0);
}

/* The side that won; 2 if nobody did. */
static uint32_t winner_of(const struct result *r)
{
    bool out[2];
    for (uint32_t side = 0; side < 2; side++)
        out[side] = r->disconnected[side] > 0 || r->disqualified[side] > 0;
    if (out[0] || out[1])
        return out[0] && out[1] ? 2 : out[0];
    return r->finish[1] < r->finish[0];
}

/* What a race makes of the figures of both, the host's first. */
static void count_result(struct figures figures[2], const struct result *r)
{
    uint32_t winner = winner_of(r);
    for (uint32_t side = 0; side < 2; side++) {
        struct figures *f = &figures[side];
        if (f->races++ == 0)
            f->rating = FIRST_RATING;
        f->wins += winner == side;
        f->losses += winner == 1 - side;
        f->disconnects += r->disconnected[side] > 0;
        f->laps_led += (uint32_t)r->led[side];
        if (r->finish[side] > 0 && (f->best_finish == 0 || (uint32_t)r->finish[side] < f->best_finish))
            f->best_finish = (uint16_t)r->finish[side];
    }
    if (winner > 1)
        return;
    uint32_t won = figures[winner].rating, lost = figures[1 - winner].rating, points = elo_points(won, lost);
    figures[winner].rating = (uint16_t)min_u32(won + points, LAST_RATING);
    figures[1 - winner].rating = (uint16_t)(lost - min_u32(points, lost));
}

/* A sum over a result, to see whether two are the same. */
static uint32_t result_sum(const struct result *r)
{
    const int32_t *const parts[] = {r->start, r->finish, r->laps, r->led, r->disconnected, r->disqualified};
    uint32_t sum = 2166136261u; /* FNV-1a, by numbers */
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        for (uint32_t side = 0; side < 2; side++)
            sum = (sum ^ (uint32_t)parts[i][side]) * 16777619u;
    return sum;
}

static bool read_ticket(const char *hex, uint8_t *out, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        int high = hex_value((uint8_t)hex[2 * i]), low = high < 0 ? -1 : hex_value((uint8_t)hex[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return hex[2 * size] == 0;
}

static void put_figures(struct outgoing *f, enum tag tag, const struct figures *figures)
{
    char text[7 * 11 + 1];
    write_figures(text, sizeof text, figures, false);
    put_raw(f, tag, text);
}

/* Whoever has the ticket of a race that it was in says how it ended. The first
 * report counts, the other one is compared. Figures are kept as they have come
 * to be, so a persona's next result waits until its last one is kept. */
static enum failure do_rank(struct request *q)
{
    struct nascar *s = q->s;
    char ticket[64];
    uint8_t bytes[16];
    struct result result;
    uint32_t persona = q->p->persona;
    uint32_t chars = get_text(q, tag_AUTH, ticket, sizeof ticket);
    if (chars == 0)
        return MISSING;
    uint32_t i = read_ticket(ticket, bytes, sizeof bytes) ? find_race(s, bytes) : NONE;
    if (i == NONE || race_at(s, i)->when_s + RACE_S <= s->wall_s)
        return NO_SESSION;
    const struct open_race *race = race_at(s, i);
    uint32_t side = race->persona[0] == persona ? 0 : 1;
    if (race->persona[side] != persona || race->reported & 1u << side)
        return NO_SESSION;
    if (!get_result(q, &result))
        return MISSING;
    uint32_t sum = result_sum(&result);
    struct persona *racer[2] = {NULL, NULL};
    for (uint32_t k = 0; k < 2; k++)
        if (race->persona[k] != NONE)
            racer[k] = persona_at(s, race->persona[k]);
    bool first = race->reported == 0, pending = (racer[0] && racer[0]->pending) || (racer[1] && racer[1]->pending);
    if (pending)
        return STALL;
    frame_begin(&s->frame, "rank", "");
    write_hex(ticket, race->ticket, sizeof race->ticket);
    put_raw(&s->frame, tag_AUTH, ticket);
    put_number(&s->frame, tag_FLAGS, race->reported | 1u << side);
    put_number(&s->frame, tag_SEQN, first ? sum : race->told);
    struct figures figures[2] = {{.rating = FIRST_RATING}, {.rating = FIRST_RATING}};
    for (uint32_t k = 0; k < 2; k++)
        if (racer[k] && racer[k]->figures.races > 0)
            figures[k] = racer[k]->figures;
    if (first)
        count_result(figures, &result);
    for (uint32_t k = 0; first && k < 2; k++) {
        if (!racer[k])
            continue;
        racer[k]->pending = true;
        put_figures(&s->frame, k == 0 ? tag_P1 : tag_P2, &figures[k]);
        put_text(&s->frame, k == 0 ? tag_HOST : tag_OPPO, racer[k]->name);
    }
    uint32_t line = log_conn(s, first || sum == race->told ? NASCAR_LOG_INFO : NASCAR_LOG_WARN,
                             first               ? "result"
                             : sum == race->told ? "result_confirmed"
                                                 : "result_differs",
                             q->c);
    log_text(s, "host", racer[0] ? racer[0]->name : "");
    log_text(s, "guest", racer[1] ? racer[1]->name : "");
    log_number(s, "host_finish", result.finish[0]);
    log_number(s, "guest_finish", result.finish[1]);
    log_end(s, line);
    send_record(s, q->c);
    return OK;
}

static enum failure applied_rank(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    char ticket[64];
    uint8_t bytes[16];
    const struct player *p = q->p;
    if (failure)
        return failure;
    reply(q, OK);
    /* Back from that race, or from one before the present one? */
    (void)get_text(q, tag_AUTH, ticket, sizeof ticket);
    (void)read_ticket(ticket, bytes, sizeof bytes); /* do_rank has read it */
    if (p->pair != NONE && memcmp(bytes, pair_at(s, p->pair)->ticket, sizeof bytes) == 0)
        race_leave(s, q->player);
    return OK;
}

/* The leaderboard: the reply, then its rows as the outbox drains. */
static enum failure do_snap(struct request *q)
{
    struct nascar *s = q->s;
    struct player *p = q->p;
    char name[ANY_NAME_CHARS + 1];
    uint32_t index = get_number(q, tag_INDEX, get_number(q, tag_START, 0)), range = get_number(q, tag_RANGE, 10);
    if (p->rows_left > 0)
        return STALL; /* those of the last one are not all told */
    uint32_t start = index, find = get_text(q, tag_FIND, name, sizeof name);
    get_name(q, tag_FIND, name);
    uint32_t all = min_u32(tree_size(s, s->ranked), LAST_RATING); /* ranks have 13 bits, too */
    if (find > 0) { /* who has not raced has no row: not a failure, the game asks for its own */
        uint32_t persona = find_persona(s, name);
        start = persona == NONE || !is_ranked(s, persona) ? all : rank_of(s, persona) - 1;
    }
    uint32_t rest = start < all ? all - start : 0;
    p->rows_next = start + 1;
    p->rows_left = min_u32(rest, min_u32(to_signed(range) < 0 ? 0 : range, ROWS_ASKED));
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_CHAN, to_signed(get_number(q, tag_CHAN, 0)));
    put_number(f, tag_INDEX, to_signed(index));
    put_number(f, tag_RANGE, to_signed(range));
    put_number(f, tag_START, to_signed(start));
    put_number(f, tag_SEQN, p->rows_left);
    send_back(q);
    mark_behind(s, q->player);
    return OK;
}

static void write_report_record(struct outgoing *f, const struct report *r)
{
    frame_begin(f, "rept", "");
    put_number(f, tag_ID, r->id);
    put_number(f, tag_TIME, r->at_s);
    put_text(f, tag_NAME, r->by);
    put_text(f, tag_PERS, r->about);
}

static void write_line_record(struct outgoing *f, uint32_t id, uint32_t index, const struct chat_line *line)
{
    frame_begin(f, "line", "");
    put_number(f, tag_ID, id);
    put_number(f, tag_INDEX, index);
    put_number(f, tag_TIME, line->at_s);
    put_text(f, tag_NAME, line->from);
    put_text(f, tag_PERS, line->to);
    put_text(f, tag_ROOM, line->room);
    put_text(f, tag_TEXT, line->text);
}

/* Hands out the record being written; the report goes on when it is back,
 * whether or not its author is still there. */
static void send_report_record(struct nascar *s, uint32_t i)
{
    report_at(s, i)->waits_for = ++s->next_ticket;
    queue_record(s, report_waiter(s, i), report_at(s, i)->waits_for, false);
}

/* An abuse report, with what the server saw of the two, for the operator. */
static enum failure do_rept(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1];
    const struct player *p = q->p;
    uint32_t own = 0;
    struct report report;
    if (!has_tag(q, tag_PERS))
        return MISSING;
    get_name(q, tag_PERS, name);
    uint32_t persona = find_persona(s, name);
    if (persona == NONE || persona == p->persona)
        return NO_USER;
    memset(&report, 0, sizeof report);
    copy_text(report.by, sizeof report.by, player_persona(s, p)->name);
    copy_text(report.about, sizeof report.about, persona_at(s, persona)->name);
    for (uint32_t i = 0; i < s->reports.high; i++)
        own += report_at(s, i)->link == LIVE && same_name(report_at(s, i)->by, report.by);
    if (pool_full(&s->reports) || own >= REPORTS_PER_PERSONA ||
        s->report_lines.capacity - s->report_lines.live < CHAT_LINES)
        return SERVER_FULL;
    report.id = ++s->next_report;
    report.at_s = s->wall_s;
    report.lines = NONE;
    report.draft = true;
    report.chat_end = s->chat_count;
    report.conn = q->c;
    conn_wait(s, q->c, WAIT_RECORD);
    report.conn_ticket = q->conn->ticket;
    uint32_t i = pool_take(s, &s->reports);
    report.link = LIVE;
    *report_at(s, i) = report;
    write_report_record(&s->frame, &report);
    send_report_record(s, i);
    return OK;
}

static uint32_t find_report(const struct nascar *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->reports.high; i++)
        if (report_at(s, i)->link == LIVE && report_at(s, i)->id == id)
            return i;
    return NONE;
}

/* Is the persona of this name in the room of that one? */
static bool is_in_room(const struct nascar *s, const char *name, const char *room)
{
    uint32_t player = find_online(s, name);
    return player != NONE && strcmp(room_at(s, player_at(s, player)->room)->name, room) == 0;
}

/* Does a line belong to a report? A private one if it went between the two; one
 * said in a room if one of the two said it, is there, or has spoken there. */
static bool belongs_to(const struct nascar *s, const struct report *r, const struct chat_line *line)
{
    bool by_one = same_name(line->from, r->by) || same_name(line->from, r->about);
    if (!line->room[0])
        return by_one && (same_name(line->to, r->by) || same_name(line->to, r->about));
    by_one = by_one || is_in_room(s, r->by, line->room) || is_in_room(s, r->about, line->room);
    uint64_t i = s->chat_count > CHAT_LINES ? s->chat_count - CHAT_LINES : 0;
    for (; !by_one && i < s->chat_count; i++) {
        const struct chat_line *other = &s->chat[i % CHAT_LINES];
        by_one =
            strcmp(other->room, line->room) == 0 && (same_name(other->from, r->by) || same_name(other->from, r->about));
    }
    return by_one;
}

/* Writes the next lines of a report, as many at a time as leave slots for
 * others; false if there are no more. */
static bool report_lines(struct nascar *s, uint32_t i)
{
    struct report *r = report_at(s, i);
    uint64_t oldest = s->chat_count > CHAT_LINES ? s->chat_count - CHAT_LINES : 0;
    uint32_t lines = 0;
    if (r->chat_next < oldest)
        r->chat_next = oldest;
    while (r->chat_next < r->chat_end && lines < REPORT_LINES_A_STEP && s->record_count + (lines > 0) < RECORDS) {
        const struct chat_line *line = &s->chat[r->chat_next++ % CHAT_LINES];
        if (!belongs_to(s, r, line))
            continue;
        if (lines++ > 0) /* the report waits for the last one */
            queue_record(s, NONE, 0, false);
        write_line_record(&s->frame, r->id, r->written++, line);
    }
    if (lines > 0)
        send_report_record(s, i);
    return lines > 0;
}

static enum failure applied_rept(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    if (failure)
        return failure;
    log_end(s, log_conn(s, NASCAR_LOG_WARN, "report", q->c));
    reply(q, OK);
    return OK;
}

/* ---- Commands: buddies (PROTOCOL 9) --------------------------------------- */

/* The persona of USER=<persona>/cso/<product>: what stands before / or @. */
static void get_user(const struct request *q, char out[ANY_NAME_CHARS + 1])
{
    char user[128];
    (void)get_text(q, tag_USER, user, sizeof user);
    user[strcspn(user, "/@")] = 0;
    copy_text(out, ANY_NAME_CHARS + 1, strlen(user) <= ANY_NAME_CHARS ? user : "");
}

/* A buddy connection shows the ticket that `pers` gave, with or without its $. */
static enum failure do_buddy_auth(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], text[32];
    uint8_t ticket[8], hash[16];
    if (q->conn->state == CONN_NEW) {
        q->conn->state = CONN_BUDDY_NEW;
        timer_start(s, conn_timer(q->c, T_PHASE), Q_BUDDY_LOGIN);
        timer_start(s, conn_timer(q->c, T_IDLE), Q_IDLE);
    }
    get_user(q, name);
    (void)get_text(q, tag_LKEY, text, sizeof text);
    uint32_t number = find_persona(s, name);
    if (number == NONE || !read_ticket(text[0] == '$' ? text + 1 : text, ticket, sizeof ticket))
        return BAD_TICKET;
    const struct persona *persona = persona_at(s, number);
    hash_ticket(ticket, hash);
    if (!equal_secret(persona->ticket_hash, hash, sizeof hash) || persona->ticket_until_s <= s->wall_s)
        return BAD_TICKET;
    q->conn->state = CONN_BUDDY;
    buddy_add(s, q->c, number);
    timer_stop(s, conn_timer(q->c, T_PHASE));
    ping_start(s, q->c);
    struct outgoing *f = reply_begin(q, OK);
    put_text(f, tag_NAME, persona->name);
    send_back(q);
    return OK;
}

static struct buddy *asking_buddy(const struct request *q)
{
    return buddy_at(q->s, q->conn->buddy);
}

/* What the console says of its player; its friends are told. */
static enum failure do_presence(struct request *q)
{
    struct nascar *s = q->s;
    struct buddy *b = asking_buddy(q);
    char show[8];
    (void)get_text(q, tag_SHOW, show, sizeof show);
    int word = word_index("DISC CHAT AWAY XA DND PASS", show[0] ? show : "CHAT");
    if (word < 0)
        return MISSING;
    b->show = (uint32_t)word;
    (void)get_text(q, tag_PROD, b->product, sizeof b->product);
    (void)get_text(q, tag_STAT, b->status, sizeof b->status);
    presence_changed(s, b->persona);
    reply(q, OK);
    return OK;
}

/* The persona that USER names, or NONE. */
static uint32_t get_persona(const struct request *q)
{
    char name[ANY_NAME_CHARS + 1];
    get_user(q, name);
    return find_persona(q->s, name);
}

static enum failure do_watch(struct request *q)
{
    struct nascar *s = q->s;
    uint32_t persona = get_persona(q), buddy = q->conn->buddy;
    if (persona == NONE)
        return NO_USER;
    uint32_t i = find_watch(s, buddy, persona);
    if (buddy_at(s, buddy)->asked == WATCHES_ASKED && (i == NONE || !(watch_at(s, i)->why & WATCH_ASKED)))
        return ROSTER_FULL;
    watch_due(s, watch_add(s, buddy, persona, WATCH_ASKED));
    reply(q, OK);
    return OK;
}

static enum failure do_unwatch(struct request *q)
{
    uint32_t persona = get_persona(q);
    if (persona != NONE)
        watch_drop(q->s, q->conn->buddy, persona, WATCH_ASKED);
    reply(q, OK);
    return OK;
}

/* The answer is the push itself. */
static enum failure do_ask_presence(struct request *q)
{
    struct nascar *s = q->s;
    uint32_t persona = get_persona(q);
    if (persona == NONE)
        return NO_USER;
    write_presence(s, &s->frame, persona);
    send_back(q);
    return OK;
}

/* LIST=B or LIST=I, as a bit; 0 for anything else. */
static uint32_t get_list(const struct request *q)
{
    char list[4];
    (void)get_text(q, tag_LIST, list, sizeof list);
    return strcmp(list, "B") == 0 ? LIST_BUDDY : strcmp(list, "I") == 0 ? LIST_IGNORE : 0;
}

/* SIZE says how many ROST follow; 0 is what ends an empty roster. */
static enum failure do_roster(struct request *q)
{
    struct nascar *s = q->s;
    struct buddy *b = asking_buddy(q);
    uint32_t owner = b->persona, list = get_list(q), id = get_number(q, tag_ID, 0), rows = 0;
    if (!list)
        return MISSING;
    for (uint32_t i = persona_at(s, owner)->edges; i != NONE; i = edge_at(s, i)->next)
        rows += (edge_at(s, i)->other_and_lists & list) != 0;
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_ID, id);
    put_number(f, tag_SIZE, rows);
    send_back(q);
    for (uint32_t i = persona_at(s, owner)->edges; i != NONE; i = edge_at(s, i)->next) {
        if (!(edge_at(s, i)->other_and_lists & list))
            continue;
        frame_begin(&s->frame, "ROST", "");
        put_number(f, tag_ID, id);
        put_text(f, tag_USER, persona_at(s, edge_at(s, i)->other_and_lists >> 2)->name);
        put_text(f, tag_GROUP, "");
        send_back(q);
    }
    for (uint32_t i = b->watches; list == LIST_BUDDY && i != NONE; i = watch_at(s, i)->next_own)
        if ((watch_at(s, i)->why & WATCH_ROSTER) && presence_of(s, watch_at(s, i)->persona) != SHOW_DISC)
            watch_at(s, i)->due = true;
    b->delivers = true;
    buddy_behind(s, q->conn->buddy);
    return OK;
}

static enum failure answer_roster(struct request *q, enum failure failure)
{
    struct outgoing *f = reply_begin(q, failure);
    put_number(f, tag_ID, get_number(q, tag_ID, 0));
    send_back(q);
    return OK;
}

static void write_roster_record(struct outgoing *f, const char *owner, const char *other, uint32_t lists)
{
    char letters[3] = "";
    append_text(letters, sizeof letters, lists & LIST_BUDDY ? "B" : "");
    append_text(letters, sizeof letters, lists & LIST_IGNORE ? "I" : "");
    frame_begin(f, "rost", "");
    put_raw(f, tag_LIST, letters);
    put_text(f, tag_PERS, owner);
    put_text(f, tag_USER, other);
}

/* RADD and RDEL: what the lists of one persona will say about another. */
static enum failure change_roster(struct request *q, bool add)
{
    struct nascar *s = q->s;
    uint32_t owner = asking_buddy(q)->persona, list = get_list(q), other = get_persona(q);
    if (!list)
        return answer_roster(q, MISSING);
    if (!add && other == NONE) /* deleted meanwhile: gone from the roster, too */
        return answer_roster(q, OK);
    if (other == NONE || other == owner)
        return answer_roster(q, NO_USER);
    uint32_t edge = find_edge(s, owner, other);
    if (add && edge == NONE && (persona_at(s, owner)->edge_count == ROSTER_PER_PERSONA || pool_full(&s->edges)))
        return answer_roster(q, ROSTER_FULL);
    uint32_t lists = edge == NONE ? 0 : edge_at(s, edge)->other_and_lists & 3;
    lists = add ? lists | list : lists & ~list;
    write_roster_record(&s->frame, persona_at(s, owner)->name, persona_at(s, other)->name, lists);
    send_record(s, q->c);
    return OK;
}

static enum failure do_roster_add(struct request *q)
{
    return change_roster(q, true);
}

static enum failure do_roster_delete(struct request *q)
{
    return change_roster(q, false);
}

static enum failure applied_roster(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    if (failure)
        return answer_roster(q, failure);
    uint32_t other = get_persona(q);
    bool added = other != NONE && memcmp(q->kind, "RADD", 4) == 0;
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_ID, get_number(q, tag_ID, 0));
    if (added)
        put_text(f, tag_FUSR, persona_at(s, other)->name);
    send_back(q);
    uint32_t i = added ? find_watch(s, q->conn->buddy, other) : NONE;
    if (i != NONE && get_list(q) == LIST_BUDDY)
        watch_due(s, i);
    return OK;
}

/* ---- Commands: messages (PROTOCOL 9) --------------------------------------- */

static void write_recv(struct outgoing *f, const char *from, const char *type, int64_t sent_s, const char *body)
{
    frame_begin(f, "RECV", "");
    put_number(f, tag_TIME, sent_s);
    put_text(f, tag_TYPE, type);
    put_text(f, tag_USER, from);
    put_text(f, tag_BODY, body);
}

static void write_message_record(struct outgoing *f, const struct message *m, const char *to)
{
    frame_begin(f, "mesg", "");
    put_number(f, tag_ID, m->id);
    put_number(f, tag_TIME, m->sent_s);
    put_number(f, tag_WHEN, m->until_s);
    put_text(f, tag_TYPE, m->type);
    put_text(f, tag_PERS, to);
    put_text(f, tag_USER, m->from);
    put_text(f, tag_BODY, m->body);
}

/* A message is gone when it has been written to its reader, not before. It may
 * come twice if the link breaks or the power fails in that moment, but it is not
 * lost. */
static bool send_kept_message(struct nascar *s, uint32_t buddy)
{
    struct buddy *b = buddy_at(s, buddy);
    const struct conn *conn = conn_at(s, b->conn);
    uint32_t i = persona_at(s, b->persona)->messages;
    while (i != NONE && message_at(s, i)->over)
        i = message_at(s, i)->next;
    if (i == NONE)
        return false;
    struct message *m = message_at(s, i);
    uint32_t from = find_persona(s, m->from);
    bool dropped = m->until_s <= s->wall_s || (from != NONE && ignores(s, b->persona, from));
    if (!m->told && !dropped) {
        m->told = true;
        write_recv(&s->row_frame, m->from, m->type, m->sent_s, m->body);
        send_row(s, b->conn);
        b->telling = conn->out_end - conn->out_start;
        return true;
    }
    m->told = m->over = true;
    frame_begin(&s->frame, "dmsg", "");
    put_number(&s->frame, tag_ID, m->id);
    put_text(&s->frame, tag_PERS, persona_at(s, b->persona)->name);
    queue_record(s, NONE, 0, false);
    return true;
}

/* Says whose an open race is. */
static void race_sides(struct nascar *s, uint32_t i, uint32_t host, uint32_t opponent)
{
    const uint32_t sides[2] = {host, opponent};
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t *persona = &race_at(s, i)->persona[side];
        if (*persona != NONE)
            persona_at(s, *persona)->race_count--;
        *persona = sides[side];
        if (*persona != NONE)
            persona_at(s, *persona)->race_count++;
    }
}

static void message_remove(struct nascar *s, uint32_t i)
{
    struct persona *p = persona_at(s, message_at(s, i)->to);
    uint32_t *link = &p->messages;
    while (*link != i)
        link = &message_at(s, *link)->next;
    *link = message_at(s, i)->next;
    p->message_count--;
    pool_give(s, &s->messages, i);
}

static void race_remove(struct nascar *s, uint32_t i)
{
    race_sides(s, i, NONE, NONE);
    index_remove(s, &s->race_tickets, siphash(s->hash_key, race_at(s, i)->ticket, 16), i);
    pool_give(s, &s->races, i);
}

/* Makes room in a full table by what has expired; not all the time. */
static void sweep_expired(struct nascar *s)
{
    if (s->swept_ms != 0 && s->now_ms < s->swept_ms + SWEEP_MS)
        return;
    s->swept_ms = s->now_ms;
    for (uint32_t i = 0; i < s->messages.high; i++)
        if (message_at(s, i)->link == LIVE && message_at(s, i)->until_s <= s->wall_s)
            message_remove(s, i);
    for (uint32_t i = 0; i < s->races.high; i++)
        if (race_at(s, i)->link == LIVE && race_at(s, i)->when_s + RACE_S <= s->wall_s)
            race_remove(s, i);
}

/* A persona's expired messages make room for one that was sent at that time. */
static void drop_expired(struct nascar *s, uint32_t persona, int64_t sent_s)
{
    for (uint32_t i = persona_at(s, persona)->messages, next; i != NONE; i = next) {
        next = message_at(s, i)->next;
        if (message_at(s, i)->until_s <= sent_s)
            message_remove(s, i);
    }
}

/* To whoever is there at once; else it is kept for SECS. */
static enum failure do_send(struct request *q)
{
    struct nascar *s = q->s;
    uint32_t from = asking_buddy(q)->persona, to = get_persona(q);
    struct message m;
    memset(&m, 0, sizeof m);
    (void)get_text(q, tag_TYPE, m.type, sizeof m.type);
    if (get_text(q, tag_BODY, m.body, sizeof m.body) == 0)
        return MISSING;
    if (to == NONE || to == from)
        return NO_USER;
    if (ignores(s, to, from)) {
        reply(q, OK);
        return OK;
    }
    copy_text(m.from, sizeof m.from, persona_at(s, from)->name);
    copy_text(m.type, sizeof m.type, m.type[0] ? m.type : "C");
    m.sent_s = s->wall_s;
    uint32_t buddy = persona_at(s, to)->buddy;
    if (buddy != NONE && outbox_free(conn_at(s, buddy_at(s, buddy)->conn)) >= REPLY_BYTES + CHAT_BYTES) {
        reply(q, OK);
        write_recv(&s->frame, m.from, m.type, m.sent_s, m.body);
        send_frame(s, buddy_at(s, buddy)->conn);
        return OK;
    }
    int32_t seconds = to_signed(get_number(q, tag_SECS, MESSAGE_S));
    if (seconds <= 0)
        return NO_USER;
    drop_expired(s, to, m.sent_s);
    if (pool_full(&s->messages))
        sweep_expired(s);
    if (persona_at(s, to)->message_count >= MESSAGES_PER_PERSONA || pool_full(&s->messages))
        return SERVER_FULL;
    m.id = ++s->next_message;
    m.until_s = m.sent_s + (seconds < MESSAGE_MAX_S ? seconds : MESSAGE_MAX_S);
    write_message_record(&s->frame, &m, persona_at(s, to)->name);
    send_record(s, q->c);
    return OK;
}

/* Personas whose names begin with some letters. */
static enum failure do_search(struct request *q)
{
    struct nascar *s = q->s;
    char prefix[ANY_NAME_CHARS + 1];
    uint32_t found[SEARCH_ROWS], count = 0;
    get_user(q, prefix);
    if (!prefix[0])
        get_name(q, tag_NAME, prefix);
    size_t n = strlen(prefix);
    if (n < 2)
        return MISSING;
    uint32_t i = index_first(s, &s->persona_prefixes, hash_prefix(s, prefix));
    for (; i != NONE && count < SEARCH_ROWS; i = index_next(s, &s->persona_prefixes, i)) {
        char name[PERSONA_CHARS + 1];
        copy_text(name, n < sizeof name ? n + 1 : sizeof name, persona_at(s, i)->name);
        if (same_name(name, prefix))
            found[count++] = i;
    }
    struct outgoing *f = reply_begin(q, OK);
    put_number(f, tag_SIZE, count);
    send_back(q);
    for (uint32_t k = 0; k < count; k++) {
        frame_begin(&s->frame, "USER", "");
        put_text(f, tag_USER, persona_at(s, found[k])->name);
        send_back(q);
    }
    return OK;
}

static enum failure do_goodbye(struct request *q)
{
    reply(q, OK);
    conn_doom(q->s, q->c, "goodbye");
    return OK;
}

/* ---- Commands: the operator's (NASCAR_CONTROL) ------------------------------ */

/* Answers are any number of `line` frames, each key=value texts, and then a
 * frame of the request's kind. */
static void put_field(struct nascar *s, const char *name, const char *text)
{
    put_name(&s->frame, name);
    put_quoted(&s->frame, text);
}

static void send_figure(struct nascar *s, uint32_t c, const char *name, uint32_t value)
{
    char number[24];
    write_number(number, value);
    frame_begin(&s->frame, "line", "");
    put_field(s, name, number);
    send_frame(s, c);
}

static enum failure do_control_stats(struct request *q)
{
    struct nascar *s = q->s;
    send_figure(s, q->c, "players", s->players.live);
    send_figure(s, q->c, "connections", s->conn_count);
    send_figure(s, q->c, "rooms", s->rooms.live);
    send_figure(s, q->c, "challenges_and_races", s->pairs.live);
    send_figure(s, q->c, "accounts", s->accounts.live);
    send_figure(s, q->c, "personas", s->personas.live);
    send_figure(s, q->c, "roster_entries", s->edges.live);
    reply(q, OK);
    return OK;
}

/* Who is on: a line for each player, as many at a time as the outbox takes. */
static enum failure do_control_who(struct request *q)
{
    q->conn->listed = 0;
    q->conn->behind = true;
    mark_ready(q->s, q->c);
    return OK;
}

static void send_who_line(struct nascar *s, uint32_t c, const struct player *p)
{
    char address[16];
    frame_begin(&s->frame, "line", "");
    put_field(s, "persona", p->persona == NONE ? "" : player_persona(s, p)->name);
    put_field(s, "account", account_at(s, p->account)->name);
    put_field(s, "room", p->room == NONE ? "" : room_at(s, p->room)->name);
    write_address(address, conn_at(s, p->conn)->peer);
    put_field(s, "address", address);
    put_field(s, "busy", player_busy(s, p) ? "yes" : "no");
    send_frame(s, c);
}

static void pump_control(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    for (; conn->listed < s->players.high && outbox_free(conn) >= REPLY_BYTES; conn->listed++)
        if (player_at(s, conn->listed)->link == LIVE)
            send_who_line(s, c, player_at(s, conn->listed));
    if (outbox_free(conn) < REPLY_BYTES)
        return; /* the rest, and the end, when it has drained */
    conn->behind = false;
    frame_begin(&s->frame, "cwho", "");
    put_number(&s->frame, tag_STATUS, failures[OK].status);
    send_frame(s, c);
}

static enum failure refuse_control(struct request *q, enum failure failure, const char *why)
{
    struct outgoing *f = reply_begin(q, failure);
    put_text(f, tag_TEXT, why);
    send_back(q);
    return OK;
}

/* A new password for an account, or an account with its first persona. */
static enum failure do_control_password(struct request *q)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1], password[PASSWORD_CHARS + 1];
    get_name(q, tag_NAME, name);
    if (!valid_name(name, ACCOUNT_CHARS))
        return refuse_control(q, BAD_NAME, "expected a name of 2 to 16 letters, digits and _-{}[]");
    if (find_room(s, name) != NONE)
        return refuse_control(q, TAKEN, "there is a room of that name");
    if (get_text(q, tag_PASS, password, sizeof password) > PASSWORD_CHARS || !valid_password(password))
        return refuse_control(q, BAD_NAME, "expected a password of 4 to 16 characters");
    send_hash_job(s, q->c, "", "", password);
    wipe(password, sizeof password);
    return OK;
}

static enum failure verdict_control_password(struct request *q, bool accepted, const char *hash)
{
    struct nascar *s = q->s;
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    uint32_t account = find_account(s, name);
    if (!accepted || !hash[0])
        return refuse_control(q, NOT_KEPT, "the password could not be hashed");
    if (account == NONE)
        return create_account(q, name, hash, true);
    write_edit(&s->frame, account_at(s, account), q, hash);
    send_record(s, q->c);
    return OK;
}

static enum failure applied_control_password(struct request *q, enum failure failure)
{
    struct nascar *s = q->s;
    if (failure)
        return refuse_control(q, failure,
                              failure == SERVER_FULL ? "there are as many accounts as max-accounts allows"
                                                     : "it could not be kept on disk");
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    uint32_t line = log_begin(s, NASCAR_LOG_INFO, "password_set");
    log_text(s, "name", name);
    log_end(s, line);
    reply(q, OK);
    return OK;
}

/* ---- The table of commands ----------------------------------------------- */

/* A set of states, for the rows below (PROTOCOL 3.2: who may send what). */
#define IN(state) (1u << (state))
#define FIRST IN(CONN_NEW)
#define LOGGED_IN (IN(CONN_ACCOUNT) | IN(CONN_PERSONA))
#define PLAYING IN(CONN_PERSONA)
#define LOBBY (FIRST | IN(CONN_LOBBY) | LOGGED_IN)
#define BUDDY IN(CONN_BUDDY)
#define CONTROL IN(CONN_CONTROL)

/* `start` gets the request; `verdict` goes on when its hash job is answered,
 * `applied` when its record has been. */
struct command {
    char kind[5];
    uint32_t states;
    uint32_t cost; /* tokens of the connection's bucket */
    enum failure (*start)(struct request *);
    enum failure (*verdict)(struct request *, bool, const char *);
    enum failure (*applied)(struct request *, enum failure);
};

/* clang-format off */
static const struct command commands[] = {
    /* kind   states                              cost  start             verdict       applied */
    {"@dir", FIRST | IN(CONN_DIRECTORY),           4, do_directory,     NULL,         NULL},
    {"addr", LOBBY,                                1, do_addr,          NULL,         NULL},
    {"skey", LOBBY,                                1, do_skey,          NULL,         NULL},
    {"~png", LOBBY,                                1, do_ping,          NULL,         NULL},
    {"sele", LOBBY,                                2, do_sele,          NULL,         NULL},
    {"auth", LOBBY,                                5, do_auth,          verdict_auth, applied_auth},
    {"acct", LOBBY,                               10, do_acct,          verdict_acct, applied_acct},
    {"edit", LOGGED_IN,                            5, do_edit,          verdict_edit, applied_plain},
    {"cper", LOGGED_IN,                            5, do_cper,          NULL,         applied_cper},
    {"dper", LOGGED_IN,                            5, do_dper,          NULL,         applied_dper},
    {"pers", LOGGED_IN,                            2, do_pers,          NULL,         applied_pers},
    {"news", LOGGED_IN,                            1, do_news,          NULL,         NULL},
    {"chal", LOGGED_IN,                            1, do_chal,          NULL,         NULL},
    {"user", PLAYING,                              1, do_user,          NULL,         NULL},
    {"onln", PLAYING,                              1, do_onln,          NULL,         NULL},
    {"room", PLAYING,                              5, do_room,          NULL,         NULL},
    {"move", PLAYING,                              2, do_move,          NULL,         NULL},
    {"peek", PLAYING,                              1, do_peek,          NULL,         NULL},
    {"mesg", PLAYING,                              2, do_mesg,          NULL,         NULL},
    {"auxi", PLAYING,                              2, do_auxi,          NULL,         NULL},
    {"rank", PLAYING,                              2, do_rank,          NULL,         applied_rank},
    {"snap", PLAYING,                              2, do_snap,          NULL,         NULL},
    {"rept", PLAYING,                             10, do_rept,          NULL,         applied_rept},
    {"AUTH", FIRST | IN(CONN_BUDDY_NEW),           5, do_buddy_auth,    NULL,         NULL},
    {"PSET", BUDDY,                                1, do_presence,      NULL,         NULL},
    {"RGET", BUDDY,                                2, do_roster,        NULL,         NULL},
    {"RADD", BUDDY,                                2, do_roster_add,    NULL,         applied_roster},
    {"RDEL", BUDDY,                                2, do_roster_delete, NULL,         applied_roster},
    {"PADD", BUDDY,                                1, do_watch,         NULL,         NULL},
    {"PDEL", BUDDY,                                1, do_unwatch,       NULL,         NULL},
    {"PGET", BUDDY,                                1, do_ask_presence,  NULL,         NULL},
    {"SEND", BUDDY,                                2, do_send,          NULL,         applied_plain},
    {"USCH", BUDDY,                                5, do_search,        NULL,         NULL},
    {"PING", BUDDY | IN(CONN_BUDDY_NEW),           1, do_ping,          NULL,         NULL},
    {"DISC", BUDDY | IN(CONN_BUDDY_NEW),           1, do_goodbye,       NULL,         NULL},
    {"cwho", CONTROL,                              0, do_control_who,   NULL,         NULL},
    {"csta", CONTROL,                              0, do_control_stats, NULL,         NULL},
    {"cpwd", CONTROL,                              0, do_control_password, verdict_control_password,
     applied_control_password},
};
/* clang-format on */

#define COMMANDS (sizeof commands / sizeof commands[0])
#define UNKNOWN_COST 2u

static const struct command *find_command(const uint8_t kind[4])
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (memcmp(commands[i].kind, kind, 4) == 0)
            return &commands[i];
    return NULL;
}

/* ---- Input: from bytes to commands --------------------------------------- */

/* What a full bucket holds, in thousandths of a token. */
static uint64_t bucket_milli(const struct nascar *s)
{
    return (uint64_t)s->config.rate * BURST_MS;
}

/* What a command costs, in thousandths; never more than a second's rate. */
static uint64_t price_milli(const struct nascar *s, uint32_t cost)
{
    return min_u32(cost, s->config.rate) * UINT64_C(1000);
}

static void refill_bucket(const struct nascar *s, struct conn *conn)
{
    uint64_t full = bucket_milli(s), elapsed_ms = s->now_ms - conn->tokens_at_ms;
    conn->tokens_at_ms = s->now_ms;
    conn->tokens_milli += (elapsed_ms < BURST_MS ? elapsed_ms : BURST_MS) * s->config.rate;
    if (conn->tokens_milli > full)
        conn->tokens_milli = full;
}

static void refuse_unknown(struct request *q)
{
    if (q->conn->unknown_kinds == 0) { /* once: a flood of them is none in the log */
        uint32_t line = log_conn(q->s, NASCAR_LOG_WARN, "unknown_kind", q->c);
        log_text(q->s, "kind", q->kind);
        log_end(q->s, line);
    }
    reply(q, MISSING);
    if (++q->conn->unknown_kinds >= UNKNOWN_KINDS)
        conn_doom(q->s, q->c, "unknown kinds");
}

/* The first whole frame decides which service the connection wants; what is
 * neither the directory's nor the buddies' is the lobby's. */
static void become_lobby(struct nascar *s, uint32_t c)
{
    conn_at(s, c)->state = CONN_LOBBY;
    timer_start(s, conn_timer(c, T_PHASE), Q_LOGIN);
    timer_start(s, conn_timer(c, T_IDLE), Q_IDLE);
}

/* Handles one request. Returns false if it has to wait. */
static bool dispatch(struct request *q)
{
    const struct command *command = q->command;
    enum failure failure;
    bool other_service = command && (command->states & FIRST) && !(command->states & IN(CONN_LOBBY));
    if (q->conn->state == CONN_NEW && !other_service)
        become_lobby(q->s, q->c);
    if (!command) {
        refuse_unknown(q);
        return true;
    }
    failure = (command->states & IN(q->conn->state)) ? command->start(q) : NO_SESSION;
    if (failure == STALL)
        return false;
    if (failure)
        reply(q, failure);
    return true;
}

/* The request that stands first in the inbox, of which `frame` is the frame. */
static struct request inbox_request(struct nascar *s, uint32_t c, const struct frame *frame)
{
    struct conn *conn = conn_at(s, c);
    const struct inbox *box = inbox_at(s, conn->inbox);
    struct request q = {.s = s, .c = c, .conn = conn, .command = find_command(frame->kind)};
    memcpy(q.kind, frame->kind, 4);
    q.payload = box->bytes + HEADER_BYTES;
    q.size = payload_size(q.payload, frame->size - HEADER_BYTES);
    request_player(&q);
    return q;
}

/* Drops the first frame of the inbox; it may have held a password. */
static void consume(struct nascar *s, uint32_t c, uint32_t size)
{
    struct conn *conn = conn_at(s, c);
    struct inbox *box = inbox_at(s, conn->inbox);
    conn->in_size -= size;
    memmove(box->bytes, box->bytes + size, conn->in_size);
    wipe(box->bytes + conn->in_size, size);
    if (conn->in_size == 0) {
        pool_give(s, &s->inboxes, conn->inbox);
        conn->inbox = NONE;
    }
    if (timer_at(s, conn_timer(c, T_IDLE))->queue != Q_NONE)
        timer_start(s, conn_timer(c, T_IDLE), Q_IDLE);
}

static void log_broken(struct nascar *s, uint32_t c, const uint8_t *bytes, uint32_t size)
{
    char hex[2 * HEADER_BYTES + 1];
    uint32_t line = log_conn(s, NASCAR_LOG_WARN, "broken_frame", c);
    write_hex(hex, bytes, min_u32(size, HEADER_BYTES));
    log_text(s, "starts", hex);
    log_end(s, line);
}

/* Handles the frames of a connection until there is none, or it must wait. */
static void conn_run(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    while (!conn->closing && conn->wait == WAIT_NONE && conn->inbox != NONE) {
        struct frame frame;
        const struct inbox *box = inbox_at(s, conn->inbox);
        /* What came before this request is told before its answer; but of two
         * RGETs in one segment both are answered before what they bring. */
        if (conn->state != CONN_BUDDY)
            pump(s, c);
        enum frame_state state = read_frame(box->bytes, conn->in_size, &frame);
        if (state == FRAME_BROKEN) {
            log_broken(s, c, box->bytes, conn->in_size);
            conn_doom(s, c, "broken frame");
            settle(s);
        }
        if (state != FRAME_WHOLE || outbox_free(conn) < REPLY_BYTES)
            return; /* goes on with more input, or when its outbox has drained */
        if (s->entropy_size < STEP_ENTROPY || s->record_count == RECORDS || s->job_count == RECORDS) {
            mark_stalled(s, c);
            return;
        }
        struct request q = inbox_request(s, c, &frame);
        uint64_t price = price_milli(s, q.command ? q.command->cost : UNKNOWN_COST);
        refill_bucket(s, conn);
        if (conn->tokens_milli < price) {
            timer_start(s, conn_timer(c, T_THROTTLE), Q_THROTTLE);
            return;
        }
        if (conn->state == CONN_NEW)
            timer_stop(s, conn_timer(c, T_PHASE));
        bool done = dispatch(&q);
        settle(s);
        if (!done) {
            mark_stalled(s, c);
            return;
        }
        conn->tokens_milli -= price;
        if (conn->wait == WAIT_NONE)
            consume(s, c, frame.size);
    }
}

/* Those whose frame had to wait try again, once each. */
static void retry_stalled(struct nascar *s)
{
    uint32_t last = s->stalled.tail, c;
    s->retry = false;
    if (last == NONE)
        return;
    do {
        c = dequeue(s, &s->stalled, offsetof(struct conn, next_stalled));
        conn_at(s, c)->stalled = false;
        conn_run(s, c);
    } while (c != last);
}

/* Is this event what the connection waits for? */
static bool is_awaited(const struct nascar *s, const struct nascar_event *e, enum wait wait)
{
    if (e->conn >= s->conns.capacity)
        return false;
    const struct conn *conn = conn_at(s, e->conn);
    return conn->state != CONN_FREE && !conn->closing && conn->wait == wait && conn->ticket == e->ticket;
}

/* The request that a connection waited with, which stands in its inbox still. */
static struct request resume_begin(struct nascar *s, uint32_t c, struct frame *frame)
{
    const struct conn *conn = conn_at(s, c);
    conn_wait_over(s, c);
    (void)read_frame(inbox_at(s, conn->inbox)->bytes, conn->in_size, frame);
    return inbox_request(s, c, frame);
}

/* Its command has gone on, and may wait again; else the frames behind it follow. */
static void resume_end(struct request *q, const struct frame *frame, enum failure failure)
{
    if (failure)
        reply(q, failure);
    settle(q->s);
    if (q->conn->wait == WAIT_NONE)
        consume(q->s, q->c, frame->size);
    conn_run(q->s, q->c);
}

/* ---- Durable records ------------------------------------------------------ */

/* What a record changes is changed here and nowhere else, whether it comes
 * back from the disk or from the journal at the start. All is checked again:
 * of two sign-ups for one name in one turn the second finds it taken. */

static enum failure add_persona(struct nascar *s, uint32_t account, const char *name)
{
    struct account *a = account_at(s, account);
    uint32_t slot = 0;
    if (!valid_name(name, PERSONA_CHARS))
        return BAD_NAME;
    while (slot < PERSONAS_PER_ACCOUNT && a->persona[slot] != NONE)
        slot++;
    if (slot == PERSONAS_PER_ACCOUNT)
        return TOO_MANY_PERSONAS;
    if (find_persona(s, name) != NONE)
        return TAKEN;
    uint32_t i = pool_take(s, &s->personas); /* four for each account: never fails */
    struct persona *persona = persona_at(s, i);
    persona->account = account;
    persona->player = persona->buddy = persona->edges = persona->watchers = persona->messages = NONE;
    copy_text(persona->name, sizeof persona->name, name);
    index_add(s, &s->persona_names, hash_name(s, name), i);
    index_add(s, &s->persona_prefixes, hash_prefix(s, name), i);
    a->persona[slot] = i;
    return OK;
}

/* Dates never go back behind the newest that is kept. */
static void note_date(struct nascar *s, int64_t date_s)
{
    if (date_s > s->newest_record_s)
        s->newest_record_s = date_s;
}

/* An account without a hash would take any password. */
static bool get_hash(const struct request *q, char hash[HASH_CHARS + 1])
{
    uint32_t size = get_text(q, tag_HASH, hash, HASH_CHARS + 1);
    return size > 0 && size <= HASH_CHARS;
}

static enum failure apply_acct(struct nascar *s, const struct request *q)
{
    char name[ANY_NAME_CHARS + 1], hash[HASH_CHARS + 1];
    char list[PERSONA_LIST_CHARS + 1], persona[PERSONA_CHARS + 2];
    get_name(q, tag_NAME, name);
    if (!valid_name(name, ACCOUNT_CHARS))
        return BAD_NAME;
    if (!get_hash(q, hash))
        return MISSING;
    if (find_account(s, name) != NONE)
        return TAKEN;
    uint32_t i = pool_take(s, &s->accounts);
    if (i == NONE)
        return SERVER_FULL;
    struct account *a = account_at(s, i);
    copy_text(a->name, sizeof a->name, name);
    copy_text(a->hash, sizeof a->hash, hash);
    get_account_fields(q, a);
    a->banned = get_number(q, tag_BAN, 0) != 0;
    a->created_s = get_number(q, tag_CREATED, 0);
    note_date(s, a->created_s);
    a->last_login_s = get_number(q, tag_LAST, 0);
    note_date(s, a->last_login_s);
    a->player = NONE;
    for (uint32_t k = 0; k < PERSONAS_PER_ACCOUNT; k++)
        a->persona[k] = NONE;
    index_add(s, &s->account_names, hash_name(s, name), i);
    (void)get_text(q, tag_PERSONAS, list, sizeof list);
    for (const char *p = list; *p; p += *p == ',') {
        size_t n = strcspn(p, ",");
        copy_text(persona, n < sizeof persona ? n + 1 : sizeof persona, p);
        (void)add_persona(s, i, persona); /* taken meanwhile: the game asks for one */
        p += n;
    }
    return OK;
}

static enum failure apply_edit(struct nascar *s, const struct request *q)
{
    char name[ANY_NAME_CHARS + 1], hash[HASH_CHARS + 1];
    get_name(q, tag_NAME, name);
    uint32_t i = find_account(s, name);
    if (i == NONE)
        return NO_ACCOUNT;
    struct account *a = account_at(s, i);
    if (has_tag(q, tag_HASH)) { /* else it stays */
        if (!get_hash(q, hash))
            return MISSING;
        copy_text(a->hash, sizeof a->hash, hash);
    }
    get_account_fields(q, a);
    a->banned = get_number(q, tag_BAN, a->banned) != 0;
    return OK;
}

static enum failure apply_cper(struct nascar *s, const struct request *q)
{
    char name[ANY_NAME_CHARS + 1], account[ANY_NAME_CHARS + 1];
    get_name(q, tag_PERS, name);
    get_name(q, tag_NAME, account);
    uint32_t i = find_account(s, account);
    return i == NONE ? NO_ACCOUNT : add_persona(s, i, name);
}

/* Puts one persona on another's lists, and off those not named. */
static enum failure set_lists(struct nascar *s, uint32_t owner, uint32_t other, uint32_t lists)
{
    struct persona *p = persona_at(s, owner);
    uint32_t i = find_edge(s, owner, other);
    if (!lists && i == NONE)
        return OK;
    if (i == NONE) {
        if (p->edge_count == ROSTER_PER_PERSONA || pool_full(&s->edges))
            return ROSTER_FULL;
        i = pool_take(s, &s->edges);
        edge_at(s, i)->owner = owner;
        edge_at(s, i)->other_and_lists = other << 2;
        edge_at(s, i)->next = p->edges;
        p->edges = i;
        p->edge_count++;
    }
    struct edge *edge = edge_at(s, i);
    uint32_t changed = lists ^ (edge->other_and_lists & 3);
    edge->other_and_lists = other << 2 | lists;
    if (changed & LIST_IGNORE)
        persona_at(s, other)->ignored_by += lists & LIST_IGNORE ? 1u : 0u - 1u;
    if ((changed & LIST_BUDDY) && p->buddy != NONE) {
        if (lists & LIST_BUDDY)
            (void)watch_add(s, p->buddy, other, WATCH_ROSTER);
        else
            watch_drop(s, p->buddy, other, WATCH_ROSTER);
    }
    if (lists)
        return OK;
    uint32_t *link = &p->edges;
    while (*link != i)
        link = &edge_at(s, *link)->next;
    *link = edge->next;
    p->edge_count--;
    pool_give(s, &s->edges, i);
    return OK;
}

/* Rare, and the one walk over a whole table: whoever had the persona on a
 * roster has it no more. */
static void remove_from_rosters(struct nascar *s, uint32_t persona)
{
    uint32_t i;
    while ((i = persona_at(s, persona)->edges) != NONE)
        (void)set_lists(s, persona, edge_at(s, i)->other_and_lists >> 2, 0);
    for (i = 0; i < s->edges.high; i++)
        if (edge_at(s, i)->link == LIVE && edge_at(s, i)->other_and_lists >> 2 == persona)
            (void)set_lists(s, edge_at(s, i)->owner, persona, 0);
}

static enum failure apply_dper(struct nascar *s, const struct request *q)
{
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_PERS, name);
    uint32_t i = find_persona(s, name), slot = 0;
    if (i == NONE)
        return NO_ACCOUNT;
    struct persona *persona = persona_at(s, i);
    struct account *a = account_at(s, persona->account);
    if (persona->player != NONE) { /* put on while the record was on its way */
        conn_doom(s, player_at(s, persona->player)->conn, "persona deleted");
        player_remove(s, persona->player);
    }
    while (a->persona[slot] != i)
        slot++;
    for (; slot + 1 < PERSONAS_PER_ACCOUNT; slot++)
        a->persona[slot] = a->persona[slot + 1];
    a->persona[slot] = NONE;
    remove_from_rosters(s, i);
    if (persona->buddy != NONE) {
        conn_doom(s, buddy_at(s, persona->buddy)->conn, "persona deleted");
        buddy_remove(s, persona->buddy);
    }
    while (persona->watchers != NONE)
        watch_drop(s, watch_at(s, persona->watchers)->buddy, i, WATCH_ROSTER | WATCH_ASKED);
    while (persona->messages != NONE)
        message_remove(s, persona->messages);
    for (uint32_t k = 0; k < s->races.high; k++)
        for (uint32_t side = 0; side < 2; side++)
            if (race_at(s, k)->link == LIVE && race_at(s, k)->persona[side] == i)
                race_sides(s, k, side == 0 ? NONE : race_at(s, k)->persona[0],
                           side == 1 ? NONE : race_at(s, k)->persona[1]);
    if (is_ranked(s, i))
        rank_remove(s, i);
    index_remove(s, &s->persona_names, hash_name(s, persona->name), i);
    index_remove(s, &s->persona_prefixes, hash_prefix(s, persona->name), i);
    pool_give(s, &s->personas, i);
    return OK;
}

/* LIST says which lists of PERS hold USER now; none: it is off the roster. */
static enum failure apply_rost(struct nascar *s, const struct request *q)
{
    char name[ANY_NAME_CHARS + 1];
    uint32_t flags = get_flags(q, tag_LIST), lists = 0;
    get_name(q, tag_PERS, name);
    uint32_t owner = find_persona(s, name);
    get_name(q, tag_USER, name);
    uint32_t other = find_persona(s, name);
    if (owner == NONE || other == NONE || owner == other)
        return NO_USER;
    if (flags & FLAG_B)
        lists |= LIST_BUDDY;
    if (flags & 1u << ('I' - '@'))
        lists |= LIST_IGNORE;
    return set_lists(s, owner, other, lists);
}

static uint32_t record_persona(const struct nascar *s, const struct request *q, enum tag tag)
{
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag, name);
    return find_persona(s, name);
}

static enum failure apply_seen(struct nascar *s, const struct request *q)
{
    char name[ANY_NAME_CHARS + 1];
    get_name(q, tag_NAME, name);
    uint32_t i = find_account(s, name);
    if (i == NONE)
        return NO_ACCOUNT;
    account_at(s, i)->last_login_s = get_number(q, tag_LAST, 0);
    note_date(s, account_at(s, i)->last_login_s);
    return OK;
}

static enum failure apply_tick(struct nascar *s, const struct request *q)
{
    char hash[33];
    uint32_t i = record_persona(s, q, tag_PERS);
    if (i == NONE)
        return NO_USER;
    struct persona *p = persona_at(s, i);
    (void)get_text(q, tag_HASH, hash, sizeof hash);
    p->ticket_until_s = 0;
    if (read_ticket(hash, p->ticket_hash, sizeof p->ticket_hash))
        p->ticket_until_s = get_number(q, tag_WHEN, 0);
    if (p->ticket_until_s > 0)
        note_date(s, p->ticket_until_s - TICKET_S);
    return OK;
}

static enum failure apply_mesg(struct nascar *s, const struct request *q)
{
    uint32_t to = record_persona(s, q, tag_PERS), id = get_number(q, tag_ID, 0);
    if (id > s->next_message)
        s->next_message = id;
    if (to == NONE)
        return NO_USER;
    drop_expired(s, to, get_number(q, tag_TIME, 0)); /* at a start, too: no record says that they are gone */
    struct persona *p = persona_at(s, to);
    uint32_t *link = &p->messages;
    while (*link != NONE && message_at(s, *link)->id < id)
        link = &message_at(s, *link)->next;
    if (*link != NONE && message_at(s, *link)->id == id)
        return OK; /* it is here */
    if (p->message_count >= MESSAGES_PER_PERSONA || pool_full(&s->messages))
        return SERVER_FULL;
    uint32_t i = pool_take(s, &s->messages);
    struct message *m = message_at(s, i);
    m->to = to;
    m->next = *link;
    m->id = id;
    m->sent_s = get_number(q, tag_TIME, 0);
    m->until_s = get_number(q, tag_WHEN, 0);
    (void)get_text(q, tag_TYPE, m->type, sizeof m->type);
    (void)get_text(q, tag_USER, m->from, sizeof m->from);
    (void)get_text(q, tag_BODY, m->body, sizeof m->body);
    note_date(s, m->sent_s);
    *link = i;
    p->message_count++;
    if (p->buddy != NONE) { /* come back meanwhile */
        buddy_at(s, p->buddy)->delivers = true;
        buddy_behind(s, p->buddy);
    }
    return OK;
}

/* One message is gone, having been told. */
static enum failure apply_dmsg(struct nascar *s, const struct request *q)
{
    uint32_t persona = record_persona(s, q, tag_PERS), id = get_number(q, tag_ID, 0);
    uint32_t i = persona == NONE ? NONE : persona_at(s, persona)->messages;
    while (i != NONE && message_at(s, i)->id != id)
        i = message_at(s, i)->next;
    if (i != NONE)
        message_remove(s, i);
    return OK;
}

static bool get_ticket(const struct request *q, uint8_t ticket[16])
{
    char text[64];
    (void)get_text(q, tag_AUTH, text, sizeof text);
    return read_ticket(text, ticket, 16);
}

/* Whoever races and never reports loses its oldest tickets. */
static void race_remove_oldest(struct nascar *s, uint32_t persona)
{
    uint32_t oldest = NONE;
    for (uint32_t i = 0; i < s->races.high; i++) {
        const struct open_race *race = race_at(s, i);
        if (race->link == LIVE && (race->persona[0] == persona || race->persona[1] == persona) &&
            (oldest == NONE || race->number < race_at(s, oldest)->number))
            oldest = i;
    }
    race_remove(s, oldest);
}

static enum failure apply_race(struct nascar *s, const struct request *q)
{
    uint8_t ticket[16];
    if (!get_ticket(q, ticket))
        return MISSING;
    uint32_t i = find_race(s, ticket);
    if (i == NONE && pool_full(&s->races))
        sweep_expired(s);
    if (i == NONE) {
        i = pool_take(s, &s->races);
        if (i == NONE)
            return SERVER_FULL;
        memcpy(race_at(s, i)->ticket, ticket, sizeof ticket);
        race_at(s, i)->persona[0] = race_at(s, i)->persona[1] = NONE;
        race_at(s, i)->number = s->next_race++;
        index_add(s, &s->race_tickets, siphash(s->hash_key, ticket, sizeof ticket), i);
    }
    struct open_race *race = race_at(s, i);
    race_sides(s, i, record_persona(s, q, tag_HOST), record_persona(s, q, tag_OPPO));
    race->when_s = get_number(q, tag_WHEN, 0);
    race->reported = get_number(q, tag_FLAGS, 0) & 3;
    race->told = get_number(q, tag_SEQN, 0);
    note_date(s, race->when_s);
    for (uint32_t side = 0; side < 2; side++)
        if (race->persona[side] != NONE && persona_at(s, race->persona[side])->race_count > RACES_PER_PERSONA)
            race_remove_oldest(s, race->persona[side]);
    return OK;
}

/* Seven numbers, as write_figures() writes them. */
static bool get_figures(const struct request *q, enum tag tag, struct figures *f)
{
    char text[7 * 11 + 1];
    uint32_t values[7], at = 0, size = get_text(q, tag, text, sizeof text);
    if (size >= sizeof text) /* cut: no figures that were written */
        return false;
    for (int i = 0; i < 7; i++) {
        if (at >= size || !is_digit((uint8_t)text[at]))
            return false;
        values[i] = read_number((const uint8_t *)text, size, at);
        at += (uint32_t)strcspn(text + at, ",") + 1;
    }
    *f = (struct figures){values[0],
                          values[1],
                          values[2],
                          values[3],
                          values[5],
                          (uint16_t)min_u32(values[4], LAST_RATING),
                          (uint16_t)min_u32(values[6], MAX_PLACE)};
    return true;
}

/* The figures of the persona that `who` names, if they are there. */
static void apply_figures(struct nascar *s, const struct request *q, enum tag who, enum tag tag)
{
    struct figures figures;
    uint32_t persona = record_persona(s, q, who);
    if (persona == NONE || !get_figures(q, tag, &figures))
        return;
    set_figures(s, persona, &figures);
    persona_at(s, persona)->pending = false;
    s->retry = true;
    if (persona_at(s, persona)->player != NONE)
        user_changed(s, persona_at(s, persona)->player);
}

/* A result: who has reported, and what the first report has made of both. The
 * figures count even where the race is not known any more. */
static enum failure apply_rank(struct nascar *s, const struct request *q)
{
    uint8_t ticket[16];
    if (!get_ticket(q, ticket))
        return MISSING;
    apply_figures(s, q, tag_HOST, tag_P1);
    apply_figures(s, q, tag_OPPO, tag_P2);
    uint32_t i = find_race(s, ticket);
    if (i == NONE)
        return OK;
    race_at(s, i)->reported |= get_number(q, tag_FLAGS, 0) & 3;
    race_at(s, i)->told = get_number(q, tag_SEQN, 0);
    if (race_at(s, i)->reported == 3)
        race_remove(s, i);
    return OK;
}

static enum failure apply_stat(struct nascar *s, const struct request *q)
{
    apply_figures(s, q, tag_PERS, tag_P1);
    return OK;
}

static enum failure apply_rept(struct nascar *s, const struct request *q)
{
    uint32_t id = get_number(q, tag_ID, 0), i = find_report(s, id);
    if (id > s->next_report)
        s->next_report = id;
    if (i == NONE) {
        i = pool_take(s, &s->reports);
        if (i == NONE)
            return SERVER_FULL;
        report_at(s, i)->lines = NONE;
    }
    struct report *r = report_at(s, i);
    r->draft = false;
    r->id = id;
    r->at_s = get_number(q, tag_TIME, 0);
    (void)get_text(q, tag_NAME, r->by, sizeof r->by);
    (void)get_text(q, tag_PERS, r->about, sizeof r->about);
    note_date(s, r->at_s);
    return OK;
}

static enum failure apply_line(struct nascar *s, const struct request *q)
{
    uint32_t r = find_report(s, get_number(q, tag_ID, 0)), index = get_number(q, tag_INDEX, 0);
    if (r == NONE)
        return NO_USER;
    uint32_t *link = &report_at(s, r)->lines;
    while (*link != NONE && report_line_at(s, *link)->index < index)
        link = &report_line_at(s, *link)->next;
    if (*link != NONE && report_line_at(s, *link)->index == index)
        return OK; /* it is here */
    uint32_t i = pool_take(s, &s->report_lines);
    if (i == NONE)
        return SERVER_FULL;
    struct report_line *entry = report_line_at(s, i);
    struct chat_line *line = &entry->line;
    entry->report = r;
    entry->index = index;
    entry->next = *link;
    *link = i;
    line->at_s = get_number(q, tag_TIME, 0);
    (void)get_text(q, tag_NAME, line->from, sizeof line->from);
    (void)get_text(q, tag_PERS, line->to, sizeof line->to);
    (void)get_text(q, tag_ROOM, line->room, sizeof line->room);
    (void)get_text(q, tag_TEXT, line->text, sizeof line->text);
    return OK;
}

static const struct {
    char kind[5];
    enum failure (*apply)(struct nascar *, const struct request *);
} records[] = {
    {"acct", apply_acct}, {"edit", apply_edit}, {"seen", apply_seen}, {"cper", apply_cper}, {"dper", apply_dper},
    {"rost", apply_rost}, {"tick", apply_tick}, {"mesg", apply_mesg}, {"dmsg", apply_dmsg}, {"race", apply_race},
    {"rank", apply_rank}, {"stat", apply_stat}, {"rept", apply_rept}, {"line", apply_line},
};

static bool read_record(const uint8_t *bytes, uint32_t size, struct request *q)
{
    struct frame frame;
    if (read_frame(bytes, size, &frame) != FRAME_WHOLE || frame.size != size)
        return false;
    memset(q, 0, sizeof *q);
    memcpy(q->kind, frame.kind, 4);
    q->payload = bytes + HEADER_BYTES;
    q->size = payload_size(q->payload, size - HEADER_BYTES);
    return true;
}

static enum failure apply_record(struct nascar *s, const uint8_t *bytes, uint32_t size)
{
    struct request q;
    if (!read_record(bytes, size, &q))
        return MISSING;
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++)
        if (memcmp(records[i].kind, q.kind, 4) == 0)
            return records[i].apply(s, &q);
    return MISSING;
}

/* Nobody is refused for a full disk what he cannot do without: a ticket for the
 * buddies, a race. And a letter that was read is gone. */
bool nascar_takes_unkept(const uint8_t *bytes, uint32_t size)
{
    struct request q;
    return read_record(bytes, size, &q) &&
           (strcmp(q.kind, "tick") == 0 || strcmp(q.kind, "race") == 0 || strcmp(q.kind, "dmsg") == 0);
}

/* Such a change is made in memory alone. Figures that could not be kept make way
 * for the next result. */
static void record_failed(struct nascar *s, const uint8_t *bytes, uint32_t size)
{
    struct request q;
    if (nascar_takes_unkept(bytes, size))
        (void)apply_record(s, bytes, size);
    if (!read_record(bytes, size, &q) || strcmp(q.kind, "rank") != 0)
        return;
    for (int side = 0; side < 2; side++) {
        uint32_t persona = record_persona(s, &q, side == 0 ? tag_HOST : tag_OPPO);
        if (persona != NONE)
            persona_at(s, persona)->pending = false;
    }
    s->retry = true;
}

/* ---- The whole of it, as records ------------------------------------------ */

#define KEPT_LOOKS 64u /* items that one call goes through at most */

/* One record for each thing that is kept; false if this one need not be. */

static bool write_kept_account(const struct nascar *s, uint32_t i, struct outgoing *f)
{
    write_account(f, account_at(s, i));
    put_personas(s, f, account_at(s, i));
    return true;
}

static bool write_kept_ticket(const struct nascar *s, uint32_t i, struct outgoing *f)
{
    const struct persona *p = persona_at(s, i);
    if (p->ticket_until_s <= s->wall_s)
        return false;
    write_ticket_record(f, p->name, p->ticket_hash, p->ticket_until_s);
    return true;
}

static bool write_kept_figures(const struct nascar *s, uint32_t i, struct outgoing *f)
{
    if (!is_ranked(s, i))
        return false;
    frame_begin(f, "stat", "");
    put_figures(f, tag_P1, &persona_at(s, i)->figures);
    put_text(f, tag_PERS, persona_at(s, i)->name);
    return true;
}

static bool write_kept_edge(const struct nascar *s, uint32_t i, struct outgoing *f)
{
    const struct edge *edge = edge_at(s, i);
    write_roster_record(f, persona_at(s, edge->owner)->name, persona_at(s, edge->other_and_lists >> 2)->name,
                        edge->other_and_lists & 3);
    return true;
}

static bool write_kept_race(const struct nascar *s, uint32_t i, struct outgoing *f)
{
    const struct open_race *race = race_at(s, i);
    const char *name[2] = {"", ""};
    char ticket[33];
    if (race->when_s + RACE_S <= s->wall_s)
        return false;
    for (uint32_t side = 0; side < 2; side++)
        if (race->persona[side] != NONE)
            name[side] = persona_at(s, race->persona[side])->name;
    write_hex(ticket, race->ticket, sizeof race->ticket);
    write_race_record(f, ticket, race->when_s, name[0], name[1], race->reported, race->told);
    return true;
}

static bool write_kept_message(const struct nascar *s, uint32_t i, struct outgoing *f)
{
    const struct message *m = message_at(s, i);
    if (m->over || m->until_s <= s->wall_s)
        return false;
    write_message_record(f, m, persona_at(s, m->to)->name);
    return true;
}

static bool write_kept_report(const struct nascar *s, uint32_t i, struct outgoing *f)
{
    if (report_at(s, i)->draft)
        return false;
    write_report_record(f, report_at(s, i));
    return true;
}

static bool write_kept_line(const struct nascar *s, uint32_t i, struct outgoing *f)
{
    const struct report_line *line = report_line_at(s, i);
    write_line_record(f, report_at(s, line->report)->id, line->index, &line->line);
    return true;
}

/* Names come first, then what refers to them: a change that is kept while the
 * tables are gone through finds what it changes, or is told by the table later. */
bool nascar_next_kept(const struct nascar *s, struct nascar_cursor *cursor, struct nascar_record *record)
{
    const struct {
        const struct pool *pool;
        bool (*write)(const struct nascar *, uint32_t, struct outgoing *);
    } tables[] = {{&s->accounts, write_kept_account}, {&s->personas, write_kept_ticket},
                  {&s->personas, write_kept_figures}, {&s->edges, write_kept_edge},
                  {&s->races, write_kept_race},       {&s->messages, write_kept_message},
                  {&s->reports, write_kept_report},   {&s->report_lines, write_kept_line}};
    struct outgoing f;
    uint32_t looked_at = 0;
    memset(record, 0, sizeof *record);
    record->conn = NONE;
    for (; cursor->table < sizeof tables / sizeof tables[0]; cursor->table++, cursor->item = 0) {
        const struct pool *pool = tables[cursor->table].pool;
        while (cursor->item < pool->high) {
            uint32_t i = cursor->item++;
            if (++looked_at > KEPT_LOOKS) { /* what need not be kept takes time, too */
                cursor->item--;
                return true;
            }
            if (!is_live(s, pool, i) || !tables[cursor->table].write(s, i, &f))
                continue;
            frame_end(&f);
            assert(f.size <= RECORD_BYTES);
            memcpy(cursor->bytes, f.bytes, f.size);
            record->size = f.size;
            record->bytes = cursor->bytes;
            return true;
        }
    }
    return false;
}

/* ---- Events --------------------------------------------------------------- */

/* The entry of an address, made if need be; NONE if there are too many. */
static uint32_t address_take(struct nascar *s, uint32_t ipv4)
{
    uint32_t i = find_address(s, ipv4);
    if (i != NONE)
        return i;
    i = pool_take(s, &s->addresses);
    if (i == NONE)
        return NONE;
    address_at(s, i)->ipv4 = ipv4;
    address_at(s, i)->window_ms = s->now_ms;
    index_add(s, &s->address_numbers, hash_numbers(s, ipv4, 0), i);
    return i;
}

/* An entry without connections or a memory is not kept. */
static void address_release(struct nascar *s, uint32_t i)
{
    const struct address *a = address_at(s, i);
    if (a->connections > 0 || timer_at(s, s->address_timers + i)->queue != Q_NONE)
        return;
    index_remove(s, &s->address_numbers, hash_numbers(s, a->ipv4, 0), i);
    pool_give(s, &s->addresses, i);
}

static void address_forget(struct nascar *s, uint32_t i)
{
    struct address *a = address_at(s, i);
    timer_stop(s, s->address_timers + i);
    a->failed = a->logins = a->created = 0;
    address_release(s, i);
}

/* Addresses that were here make room for one that is. */
static uint32_t address_for_conn(struct nascar *s, uint32_t ipv4)
{
    uint32_t i = address_take(s, ipv4);
    while (i == NONE) { /* there are more entries than connections: one is not in use */
        address_forget(s, s->queue[Q_ADDRESS].head - s->address_timers);
        i = address_take(s, ipv4);
    }
    return i;
}

/* Empties a connection, but for its place in the queues of outputs and of
 * those who wait: these are threaded through it and pass it by in their time. */
static void conn_reset(struct conn *conn)
{
    struct conn empty = {.ready = conn->ready,
                         .stalled = conn->stalled,
                         .next_ready = conn->next_ready,
                         .next_stalled = conn->next_stalled};
    memcpy(conn, &empty, sizeof *conn);
    conn->inbox = conn->outbox = conn->player = conn->buddy = conn->wheel_slot = conn->checking = NONE;
}

static void conn_opened(struct nascar *s, const struct nascar_event *e)
{
    uint32_t c = e->conn;
    struct conn *conn = conn_at(s, c);
    if (conn->state != CONN_FREE)
        return;
    if (c >= s->conns.high)
        s->conns.high = c + 1;
    conn_reset(conn);
    conn->state = CONN_NEW;
    conn->peer = e->peer;
    conn->local = e->local;
    conn->tokens_milli = bucket_milli(s);
    conn->tokens_at_ms = s->now_ms;
    conn->address = address_for_conn(s, e->peer);
    s->conn_count++;
    address_at(s, conn->address)->connections++;
    if (e->type == NASCAR_CONTROL) {
        conn->state = CONN_CONTROL;
        return;
    }
    log_end(s, log_conn(s, NASCAR_LOG_INFO, "connect", c));
    if (address_at(s, conn->address)->connections > s->config.per_address) {
        conn_doom(s, c, "too many from this address");
        return;
    }
    timer_start(s, conn_timer(c, T_PHASE), Q_FIRST_FRAME);
}

static void conn_bytes(struct nascar *s, uint32_t c, const uint8_t *bytes, uint32_t size)
{
    struct conn *conn = conn_at(s, c);
    if (timer_at(s, conn_timer(c, T_IDLE))->queue != Q_NONE) /* not while it waits */
        timer_start(s, conn_timer(c, T_IDLE), Q_IDLE);
    while (size > 0 && !conn->closing) {
        uint32_t n = min_u32(size, INBOX_BYTES - conn->in_size);
        if (n == 0) {
            conn_doom(s, c, "more input than there is room for");
            return;
        }
        if (conn->inbox == NONE)
            conn->inbox = pool_take(s, &s->inboxes); /* one for each connection: never fails */
        memcpy(inbox_at(s, conn->inbox)->bytes + conn->in_size, bytes, n);
        conn->in_size += n;
        bytes += n;
        size -= n;
        if (!conn->stalled)
            conn_run(s, c);
    }
}

/* A slow reader that has caught up is told what it missed. */
static void caught_up(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    char text[80];
    conn->slow = false;
    timer_stop(s, conn_timer(c, T_SLOW));
    if (conn->missed_lines == 0 || conn->player == NONE || player_at(s, conn->player)->room == NONE)
        return;
    uint32_t line = log_conn(s, NASCAR_LOG_WARN, "slow_reader", c);
    log_number(s, "missed_lines", conn->missed_lines);
    log_end(s, line);
    write_number(text, conn->missed_lines);
    append_text(text, sizeof text, conn->missed_lines == 1 ? " line of chat was missed" : " lines of chat were missed");
    conn->missed_lines = 0;
    write_message(s, "B", "Server", 0, room_at(s, player_at(s, conn->player)->room)->ident, text);
    conn_write(s, c, s->frame.bytes, s->frame.size);
}

static void conn_drained(struct nascar *s, uint32_t c, uint32_t size)
{
    struct conn *conn = conn_at(s, c);
    uint32_t queued = conn->out_end - conn->out_start;
    conn->out_start += min_u32(size, queued);
    if (conn->buddy != NONE)
        buddy_at(s, conn->buddy)->telling -= min_u32(size, buddy_at(s, conn->buddy)->telling);
    if (size < queued && !conn->slow) {
        conn->slow = true;
        timer_start(s, conn_timer(c, T_SLOW), Q_SLOW);
    }
    if (size >= queued) {
        outbox_release(s, conn);
        if (conn->slow)
            caught_up(s, c);
    }
    count_crowded(s, c);
    if (conn->state != CONN_BUDDY)
        pump(s, c);
    if (!conn->stalled)
        conn_run(s, c);
    if (conn->state == CONN_BUDDY)
        pump(s, c);
}

static void conn_closed(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    conn_doom(s, c, "disconnected");
    settle(s);
    for (enum conn_timer which = T_PHASE; which < CONN_TIMERS; which++)
        timer_stop(s, conn_timer(c, which));
    ping_stop(s, c);
    if (conn->inbox != NONE) {
        wipe(inbox_at(s, conn->inbox)->bytes, conn->in_size);
        pool_give(s, &s->inboxes, conn->inbox);
    }
    outbox_release(s, conn);
    address_at(s, conn->address)->connections--;
    address_release(s, conn->address);
    conn_reset(conn);
    s->conn_count--;
}

/* ---- Time ----------------------------------------------------------------- */

static void send_ping(struct nascar *s, uint32_t c)
{
    struct conn *conn = conn_at(s, c);
    /* A reader that is behind is pinged when it has caught up: it has bytes to read. */
    if (conn->closing || outbox_free(conn) < REPLY_BYTES)
        return;
    frame_begin(&s->frame, conn->state == CONN_BUDDY ? "PING" : "~png", "");
    put_number(&s->frame, tag_REF, ++conn->ping_ref);
    put_number(&s->frame, tag_TIME, conn->round_trip_ms);
    conn->ping_sent_ms = s->now_ms;
    send_frame(s, c);
}

/* When the hand of the wheel comes to the next slot with somebody in it, not
 * before the next batch. */
static uint64_t next_ping_ms(const struct nascar *s)
{
    if (s->wheel_count == 0)
        return UINT64_MAX;
    uint64_t due_ms = s->wheel_due_ms;
    for (uint32_t i = 0; s->wheel[(s->wheel_at + i) % PING_SLOTS] == NONE; i++)
        due_ms += s->config.ping_ms / PING_SLOTS;
    return due_ms > s->wheel_batch_ms ? due_ms : s->wheel_batch_ms;
}

/* Moves the hand to where it belongs now; a clock that leapt costs one round. */
static void turn_wheel(struct nascar *s)
{
    if (s->wheel_count == 0 || s->now_ms < s->wheel_batch_ms || s->now_ms < next_ping_ms(s))
        return;
    s->wheel_batch_ms = s->now_ms + PING_BATCH_MS;
    for (uint32_t turned = 0; turned < PING_SLOTS && s->wheel_due_ms <= s->now_ms; turned++) {
        for (uint32_t c = s->wheel[s->wheel_at]; c != NONE; c = conn_at(s, c)->wheel_next)
            send_ping(s, c);
        s->wheel_at = (s->wheel_at + 1) % PING_SLOTS;
        s->wheel_due_ms += s->config.ping_ms / PING_SLOTS;
    }
    if (s->wheel_due_ms <= s->now_ms)
        s->wheel_due_ms = s->now_ms + 1;
}

static void timer_fired(struct nascar *s, uint32_t i, enum queue queue)
{
    uint32_t c = i / CONN_TIMERS;
    switch (queue) { /* never: it is one of these */
    case Q_FIRST_FRAME: conn_doom(s, c, "no frame in time"); break;
    case Q_LINGER: conn_doom(s, c, "directory done"); break;
    case Q_BUDDY_LOGIN: conn_doom(s, c, "no buddy login in time"); break;
    case Q_LOGIN: conn_doom(s, c, "no login in time"); break;
    case Q_IDLE: conn_doom(s, c, "silent"); break;
    case Q_SLOW: conn_doom(s, c, "stuck"); break;
    case Q_THROTTLE:
        if (!conn_at(s, c)->stalled)
            conn_run(s, c);
        break;
    case Q_CHALLENGE: challenge_expire(s, i - s->pair_timers); break;
    case Q_RACE_START:
        if (s->record_count < RECORDS)
            race_prepare(s, i - s->pair_timers);
        else /* in the next step */
            timer_start_at(s, i, Q_RACE_START, s->now_ms + 1);
        break;
    case Q_DIRECTORY: session_remove(s, i - s->directory_timers); break;
    case Q_ADDRESS: address_forget(s, i - s->address_timers); break;
    case Q_NONE: /* never: nothing is due there */
    case QUEUES: assert(false); break;
    }
    settle(s);
}

static void clock_passed(struct nascar *s)
{
    for (uint32_t queue = Q_NONE + 1; queue < QUEUES; queue++) {
        uint32_t i;
        while ((i = s->queue[queue].head) != NONE && timer_at(s, i)->due_ms <= s->now_ms) {
            timer_stop(s, i);
            timer_fired(s, i, (enum queue)queue);
        }
    }
    turn_wheel(s);
    settle(s);
}

uint64_t nascar_deadline_ms(const struct nascar *s)
{
    uint64_t due_ms = next_ping_ms(s);
    for (uint32_t queue = Q_NONE + 1; queue < QUEUES; queue++) {
        uint32_t i = s->queue[queue].head;
        if (i != NONE && timer_at(s, i)->due_ms < due_ms)
            due_ms = timer_at(s, i)->due_ms;
    }
    return due_ms;
}

/* ---- The machine ----------------------------------------------------------- */

struct nascar *nascar_init(void *arena, size_t arena_bytes, const struct nascar_limits *limits)
{
    struct nascar *s = arena;
    size_t needed = nascar_arena_size(limits);
    if (needed == 0 || arena_bytes < needed)
        return NULL;
    assert((uintptr_t)arena % sizeof(uint64_t) == 0);
    (void)lay_out(s, limits);
    s->limits = *limits;
    s->arena_bytes = needed;
    config_read(&s->config, NULL, 0);
    for (uint32_t i = 0; i < QUEUES; i++)
        s->queue[i].head = s->queue[i].tail = NONE;
    s->ready.head = s->ready.tail = s->stalled.head = s->stalled.tail = s->doomed.head = s->doomed.tail = NONE;
    s->room_feed.head = s->room_feed.tail = s->population_feed.head = s->population_feed.tail = NONE;
    s->dirty_rooms = s->lobby_players = s->ranked = NONE;
    for (uint32_t i = 0; i < PING_SLOTS; i++)
        s->wheel[i] = NONE;
    s->next_created_room = FIRST_CREATED_ROOM;
    return s;
}

/* Entropy goes into the pool as far as it fits. The first of it becomes the
 * key of the look-up tables, and then there can be a hub. */
static void entropy_came(struct nascar *s, const uint8_t *bytes, uint32_t size)
{
    uint32_t n = min_u32(size, nascar_entropy_wanted(s));
    if (n > 0)
        memcpy(s->entropy + s->entropy_size, bytes, n);
    s->entropy_size += n;
    s->retry = true;
    if (s->keyed || s->entropy_size < STEP_ENTROPY)
        return;
    s->keyed = true;
    uint8_t key[sizeof s->hash_key];
    draw(s, key, sizeof key);
    s->hash_key[0] = load_le64(key);
    s->hash_key[1] = load_le64(key + 8);
    wipe(key, sizeof key);
    (void)room_create(s, "Lobby", "Main Lobby Hub", "", 100, s->next_room++); /* PROTOCOL 3.3 */
}

/* A race that waits for its ticket starts now, kept or not (nascar_takes_unkept). */
static void race_record_came(struct nascar *s, const struct nascar_event *e)
{
    uint32_t number = e->conn - pair_waiter(s, 0);
    if (number >= s->pairs.high || pair_at(s, number)->link != LIVE || !pair_at(s, number)->starting ||
        pair_at(s, number)->waits_for != e->ticket)
        return;
    race_start(s, number);
}

static void record_came(struct nascar *s, const struct nascar_event *e, enum failure failure);

static void report_record_came(struct nascar *s, const struct nascar_event *e, enum failure failure)
{
    uint32_t i = e->conn - report_waiter(s, 0);
    if (i >= s->reports.high || report_at(s, i)->link != LIVE || report_at(s, i)->waits_for != e->ticket)
        return;
    struct report *r = report_at(s, i);
    struct nascar_event told = {.type = e->type, .conn = r->conn, .ticket = r->conn_ticket};
    if (!failure && report_lines(s, i))
        return;
    r->waits_for = 0;
    if (r->draft)
        pool_give(s, &s->reports, i);
    record_came(s, &told, failure);
}

/* Whoever waits for a record goes on. */
static void record_came(struct nascar *s, const struct nascar_event *e, enum failure failure)
{
    struct frame frame;
    if (e->conn != NONE && e->conn >= report_waiter(s, 0))
        report_record_came(s, e, failure);
    else if (e->conn != NONE && e->conn >= pair_waiter(s, 0))
        race_record_came(s, e);
    if (!is_awaited(s, e, WAIT_RECORD))
        return;
    struct request q = resume_begin(s, e->conn, &frame);
    resume_end(&q, &frame, q.command->applied(&q, failure));
}

static void verdict_came(struct nascar *s, const struct nascar_event *e)
{
    struct frame frame;
    char hash[HASH_CHARS + 1];
    uint32_t size = min_u32(e->size, HASH_CHARS);
    if (!is_awaited(s, e, WAIT_VERDICT))
        return;
    if (size > 0)
        memcpy(hash, e->bytes, size);
    hash[size] = 0;
    struct request q = resume_begin(s, e->conn, &frame);
    resume_end(&q, &frame, q.command->verdict(&q, e->accepted, hash));
}

/* One event on one connection that is there. */
static void conn_event(struct nascar *s, const struct nascar_event *e)
{
    if (e->conn >= s->conns.capacity)
        return;
    if (e->type == NASCAR_OPENED || e->type == NASCAR_CONTROL)
        conn_opened(s, e);
    else if (conn_at(s, e->conn)->state == CONN_FREE)
        return;
    else if (e->type == NASCAR_BYTES)
        conn_bytes(s, e->conn, e->bytes, e->size);
    else if (e->type == NASCAR_DRAINED)
        conn_drained(s, e->conn, e->size);
    else
        conn_closed(s, e->conn);
}

bool nascar_step(struct nascar *s, const struct nascar_event *e)
{
    if (e->type != NASCAR_ENTROPY && (!s->keyed || s->entropy_size < STEP_ENTROPY))
        return false;
    free_taken(s);
    if ((e->type == NASCAR_VERDICT || e->type == NASCAR_RECORD || e->type == NASCAR_RECORD_FAILED) &&
        (s->record_count == RECORDS || s->job_count == RECORDS))
        return false;
    if (e->mono_ms > s->now_ms)
        s->now_ms = e->mono_ms < UINT64_MAX / 2 ? e->mono_ms : UINT64_MAX / 2;
    s->wall_s = e->wall_s > s->newest_record_s ? e->wall_s : s->newest_record_s;
    s->wall_s = s->wall_s < LATEST_DATE_S ? s->wall_s : LATEST_DATE_S;
    switch (e->type) {
    case NASCAR_OPENED:
    case NASCAR_CONTROL:
    case NASCAR_BYTES:
    case NASCAR_DRAINED:
    case NASCAR_CLOSED: conn_event(s, e); break;
    case NASCAR_CLOCK: clock_passed(s); break;
    case NASCAR_ENTROPY: entropy_came(s, e->bytes, e->size); break;
    case NASCAR_CONFIG:
        config_read(&s->config, e->bytes, e->size);
        apply_rooms(s);
        break;
    case NASCAR_RECORD: record_came(s, e, apply_record(s, e->bytes, e->size)); break;
    case NASCAR_RECORD_FAILED:
        record_failed(s, e->bytes, e->size);
        record_came(s, e, NOT_KEPT);
        break;
    case NASCAR_VERDICT: verdict_came(s, e); break;
    }
    settle(s);
    while (s->retry)
        retry_stalled(s);
    return true;
}

/* ---- Invariants ------------------------------------------------------------ */

/* Each returns what does not hold, or NULL. */
#define HOLDS(condition, text) \
    do { \
        if (!(condition)) \
            return text; \
    } while (0)

static const char *check_pool(const struct nascar *s, const struct pool *pool)
{
    uint32_t live = 0, free = 0;
    HOLDS(pool->high <= pool->capacity, "a pool's mark is past its end");
    for (uint32_t i = 0; i < pool->high; i++)
        live += *(uint32_t *)item(s, pool, i) == LIVE;
    for (uint32_t i = pool->free; i != NONE; i = *(uint32_t *)item(s, pool, i)) {
        HOLDS(i < pool->high && *(uint32_t *)item(s, pool, i) != LIVE, "a free list holds a live item");
        HOLDS(++free <= pool->high, "a free list goes in a circle");
    }
    HOLDS(live == pool->live, "a pool's count is not its recount");
    HOLDS(live + free == pool->high, "a pool's item is neither live nor free");
    return NULL;
}

static const char *check_index(const struct nascar *s, const struct index *index, const struct pool *pool,
                               uint32_t expected)
{
    uint32_t entries = 0;
    for (uint64_t bucket = 0; bucket <= index->mask; bucket++) {
        for (uint32_t i = index_first(s, index, bucket); i != NONE; i = index_next(s, index, i)) {
            HOLDS(is_live(s, pool, i), "a look-up table holds a free item");
            HOLDS(++entries <= expected, "a look-up table holds too many items");
        }
    }
    HOLDS(entries == expected, "a look-up table holds too few items");
    return NULL;
}

/* How many of a pool's timers say that they are queued. Those of what was never
 * in use have never been touched. */
static uint32_t timers_queued(const struct nascar *s, uint32_t first, uint32_t count)
{
    uint32_t queued = 0;
    for (uint32_t i = first; i < first + count; i++)
        queued += timer_at(s, i)->queue != Q_NONE;
    return queued;
}

static const char *check_timers(const struct nascar *s)
{
    uint32_t queued = 0;
    for (uint32_t queue = Q_NONE + 1; queue < QUEUES; queue++) {
        uint32_t prev = NONE;
        for (uint32_t i = s->queue[queue].head; i != NONE; i = timer_at(s, i)->next) {
            const struct timer *t = timer_at(s, i);
            HOLDS(t->queue == queue && t->prev == prev, "a timer stands in another's queue");
            HOLDS(prev == NONE || timer_at(s, prev)->due_ms <= t->due_ms, "a queue of timers is out of order");
            HOLDS(++queued <= s->timer_count, "a queue of timers goes in a circle");
            prev = i;
        }
        HOLDS(s->queue[queue].tail == prev, "a queue of timers does not end at its end");
    }
    uint32_t marked = timers_queued(s, 0, s->conns.high * CONN_TIMERS) +
                      timers_queued(s, s->pair_timers, s->pairs.high) +
                      timers_queued(s, s->directory_timers, s->directory.high) +
                      timers_queued(s, s->address_timers, s->addresses.high);
    HOLDS(queued == marked, "a timer says that it is queued and is not");
    return NULL;
}

/* How many connections are in a queue; UINT32_MAX if it is broken. */
static uint32_t queue_length(const struct nascar *s, const struct queue_ends *q, size_t link)
{
    uint32_t n = 0, last = NONE;
    for (uint32_t c = q->head; c != NONE; c = *(uint32_t *)(void *)((char *)conn_at(s, c) + link)) {
        last = c;
        if (++n > s->conns.capacity) /* never: a fault of the server */
            return UINT32_MAX;
    }
    return last == q->tail ? n : UINT32_MAX; /* never: a fault of the server */
}

static const char *check_conn(const struct nascar *s, uint32_t c)
{
    const struct conn *conn = conn_at(s, c);
    bool in_room = false;
    HOLDS(!conn->doomed, "a connection is still to be taken out");
    HOLDS((conn->inbox == NONE) == (conn->in_size == 0), "an inbox is kept for nothing");
    HOLDS(conn->inbox == NONE || is_live(s, &s->inboxes, conn->inbox), "a connection's inbox is free");
    HOLDS(conn->in_size <= INBOX_BYTES, "an inbox holds more than its size");
    HOLDS((conn->outbox == NONE) == (conn->out_end == 0), "an outbox is kept for nothing");
    HOLDS(conn->outbox == NONE || is_live(s, &s->outboxes, conn->outbox), "a connection's outbox is free");
    HOLDS(conn->out_start <= conn->out_end && conn->out_end <= OUTBOX_BYTES, "an outbox ends outside of itself");
    HOLDS(!conn->closing || conn->player == NONE, "a player plays on a closed connection");
    HOLDS(conn->wait == WAIT_NONE || conn->inbox != NONE, "a connection waits without a request");
    HOLDS((conn->state == CONN_ACCOUNT || conn->state == CONN_PERSONA) == (conn->player != NONE) || conn->closing,
          "a connection's state is not its player's");
    if (conn->player != NONE) {
        HOLDS(is_live(s, &s->players, conn->player), "a connection's player is free");
        const struct player *p = player_at(s, conn->player);
        HOLDS(p->conn == c, "a player is on another connection");
        in_room = p->room != NONE;
        HOLDS((conn->state == CONN_PERSONA) == (p->persona != NONE), "a player without a persona plays");
    }
    HOLDS(conn->crowded == (in_room && !conn->closing && !conn->slow && outbox_free(conn) < REPLY_BYTES + CHAT_BYTES),
          "a connection's outbox is not as full as it says");
    HOLDS((conn->state == CONN_BUDDY) == (conn->buddy != NONE) || conn->closing, "a buddy link is nobody's");
    HOLDS(conn->buddy == NONE || (is_live(s, &s->buddies, conn->buddy) && buddy_at(s, conn->buddy)->conn == c),
          "a buddy link is another's");
    return NULL;
}

static const char *check_conns(const struct nascar *s)
{
    uint32_t count = 0, inboxes = 0, outboxes = 0, ready = 0, stalled = 0, pinged = 0;
    for (uint32_t c = 0; c < s->conns.high; c++) {
        const struct conn *conn = conn_at(s, c);
        ready += conn->ready;
        stalled += conn->stalled;
        if (conn->state == CONN_FREE)
            continue;
        count++;
        inboxes += conn->inbox != NONE;
        outboxes += conn->outbox != NONE;
        pinged += conn->wheel_slot != NONE;
        const char *broken = check_conn(s, c);
        HOLDS(!broken, broken);
    }
    HOLDS(count == s->conn_count, "the count of connections is not its recount");
    HOLDS(inboxes == s->inboxes.live && outboxes == s->outboxes.live, "a box is nobody's");
    HOLDS(queue_length(s, &s->ready, offsetof(struct conn, next_ready)) == ready, "the queue of outputs is broken");
    HOLDS(queue_length(s, &s->stalled, offsetof(struct conn, next_stalled)) == stalled,
          "the queue of those who wait is broken");
    for (uint32_t slot = 0; slot < PING_SLOTS; slot++) {
        for (uint32_t c = s->wheel[slot], prev = NONE; c != NONE; prev = c, c = conn_at(s, c)->wheel_next) {
            HOLDS(conn_at(s, c)->wheel_slot == slot && conn_at(s, c)->wheel_prev == prev, "the wheel is broken");
            HOLDS(pinged-- > 0, "the wheel holds too many");
        }
    }
    HOLDS(pinged == 0, "the wheel holds too few");
    HOLDS(s->doomed.head == NONE && s->dirty_rooms == NONE && !s->lobby_dirty, "a step left something unsettled");
    return NULL;
}

static const char *check_feed(const struct nascar *s, const struct feed *feed, uint32_t subscribers)
{
    uint32_t prev = NONE;
    HOLDS(feed->subscribers == subscribers, "a list's count of subscribers is not its recount");
    for (uint32_t i = feed->head; i != NONE; prev = i, i = node_at(s, i)->next) {
        const struct node *node = node_at(s, i);
        HOLDS(node->linked && node->prev == prev, "a list's entry is not linked");
        HOLDS(node->seq <= s->seq && (prev == NONE || node_at(s, prev)->seq < node->seq),
              "a list is not in the order of its changes");
        HOLDS(!node->tombstone || (node->waiting > 0 && node->waiting <= subscribers), "a tombstone waits for nobody");
    }
    HOLDS(feed->tail == prev, "a list does not end at its end");
    return NULL;
}

/* Does this tombstone still wait for the subscription? */
static bool waits_for(const struct nascar *s, uint32_t i, const struct subscription *sub)
{
    return sub->on && node_at(s, i)->seq > sub->since && node_at(s, i)->seq > sub->cursor;
}

static const char *check_room(const struct nascar *s, uint32_t r)
{
    const struct room *room = room_at(s, r);
    uint32_t count = 0, crowded = 0, subscribers = 0, prev = NONE;
    for (uint32_t p = room->members; p != NONE; prev = p, p = player_at(s, p)->room_next) {
        const struct player *player = player_at(s, p);
        HOLDS(player->room == r && player->room_prev == prev, "a room's member is elsewhere");
        HOLDS(++count <= s->players.live, "a room's members go in a circle");
        crowded += conn_at(s, player->conn)->crowded;
        subscribers += player->users.on;
        HOLDS((player->presence == NONE) == (r == HUB), "a player is not listed in its room");
    }
    HOLDS(count == room->count && crowded == room->crowded, "a room's counts are not their recounts");
    const char *broken = check_feed(s, &room->users, subscribers);
    HOLDS(!broken, broken);
    for (uint32_t i = room->users.head; i != NONE; i = node_at(s, i)->next) {
        const struct presence *presence = presence_at(s, i - 2 * s->rooms.capacity);
        uint32_t waiting = 0;
        HOLDS(presence->room == r, "a list holds another room's user");
        HOLDS((presence->player == NONE) == node_at(s, i)->tombstone, "a leaver is listed");
        for (uint32_t p = room->members; p != NONE; p = player_at(s, p)->room_next)
            waiting += waits_for(s, i, &player_at(s, p)->users);
        HOLDS(waiting == node_at(s, i)->waiting || !node_at(s, i)->tombstone, "a leaver waits for the wrong number");
    }
    HOLDS(node_at(s, room_node(r))->linked, "a room is not in the list of rooms");
    HOLDS(node_at(s, room_node(r))->tombstone == room->gone, "a room that is gone is listed");
    HOLDS(node_at(s, population_node(r))->linked == !room->gone, "a room's population is not listed");
    HOLDS(!room->gone || count == 0, "a room that is gone has members");
    HOLDS(!room->created || count > 0 || room->gone, "an empty created room stays");
    HOLDS(room->gone || find_room(s, room->name) == r, "a room is not found by its name");
    return NULL;
}

static const char *check_rooms(const struct nascar *s)
{
    uint32_t members = 0, gone = 0, playing = 0, followers = 0, lobby = 0, prev = NONE;
    for (uint32_t r = 0; r < s->rooms.high; r++) {
        if (!is_live(s, &s->rooms, r))
            continue;
        members += room_at(s, r)->count;
        gone += room_at(s, r)->gone;
        const char *broken = check_room(s, r);
        HOLDS(!broken, broken);
    }
    for (uint32_t p = 0; p < s->players.high; p++) {
        if (!is_live(s, &s->players, p))
            continue;
        playing += player_at(s, p)->persona != NONE;
        followers += player_at(s, p)->rooms.on;
        lobby += player_at(s, p)->populations.on;
    }
    HOLDS(members == playing, "a player is in no room, or in two");
    for (uint32_t p = s->lobby_players; p != NONE; prev = p, p = player_at(s, p)->lobby_next)
        HOLDS(player_at(s, p)->lobby_prev == prev && player_at(s, p)->populations.on && lobby-- > 0,
              "the list of subscribers is broken");
    HOLDS(lobby == 0, "a subscriber is not in the list of them");
    const char *broken = check_feed(s, &s->room_feed, followers);
    HOLDS(!broken, broken);
    broken = check_feed(s, &s->population_feed, s->population_feed.subscribers);
    HOLDS(!broken, broken);
    return check_index(s, &s->room_names, &s->rooms, s->rooms.live - gone);
}

static const char *check_players(const struct nascar *s)
{
    uint32_t sides = 0, paired = 0;
    for (uint32_t i = 0; i < s->players.high; i++) {
        if (!is_live(s, &s->players, i))
            continue;
        const struct player *p = player_at(s, i);
        HOLDS(conn_at(s, p->conn)->player == i, "a player's connection is another's");
        HOLDS(account_at(s, p->account)->player == i, "a player's account is another's");
        HOLDS(p->persona == NONE || player_persona(s, p)->player == i, "a player's persona is another's");
        HOLDS(p->persona == NONE || player_persona(s, p)->account == p->account, "a player wears a strange persona");
        HOLDS((p->persona == NONE) == (p->room == NONE), "a player without a persona is in a room");
        HOLDS(p->presence == NONE || presence_at(s, p->presence)->player == i, "a player's presence is another's");
        if (p->pair == NONE)
            continue;
        paired++;
        HOLDS(is_live(s, &s->pairs, p->pair) && pair_at(s, p->pair)->player[p->side] == i,
              "a player is not in its own pair");
    }
    for (uint32_t i = 0; i < s->pairs.high; i++) {
        if (!is_live(s, &s->pairs, i))
            continue;
        const struct pair *pair = pair_at(s, i);
        uint32_t here = (pair->player[0] != NONE ? 1u : 0u) + (pair->player[1] != NONE ? 1u : 0u);
        sides += here;
        HOLDS(here == 2 || (here == 1 && pair->state == PAIR_RACING), "a challenge lacks a player");
        HOLDS(pair->seed != 0, "a race has no seed");
        HOLDS((timer_at(s, s->pair_timers + i)->queue == Q_NONE) == (pair->starting || pair->state == PAIR_RACING),
              "a challenge has no deadline");
        HOLDS(!pair->starting || pair->state == PAIR_ACCEPTED, "a race starts that nobody has accepted");
    }
    HOLDS(sides == paired, "a pair's player does not know of it");
    return NULL;
}

static const char *check_persona(const struct nascar *s, uint32_t i)
{
    const struct persona *p = persona_at(s, i);
    uint32_t messages = 0, prev = NONE, ignoring = 0;
    for (uint32_t w = p->watchers; w != NONE; prev = w, w = watch_at(s, w)->next)
        HOLDS(is_live(s, &s->watches, w) && watch_at(s, w)->persona == i && watch_at(s, w)->prev == prev &&
                  watch_at(s, w)->why != 0 && find_watch(s, watch_at(s, w)->buddy, i) == w,
              "a persona's watcher is another's");
    prev = NONE;
    for (uint32_t m = p->messages; m != NONE; prev = m, m = message_at(s, m)->next) {
        HOLDS(is_live(s, &s->messages, m) && message_at(s, m)->to == i, "a message is for another");
        HOLDS(prev == NONE || message_at(s, prev)->id < message_at(s, m)->id, "messages are out of order");
        HOLDS(++messages <= MESSAGES_PER_PERSONA, "a persona has too many messages");
    }
    HOLDS(messages == p->message_count, "a count of messages is not its recount");
    for (uint32_t e = 0; p->ignored_by > 0 && e < s->edges.high; e++)
        ignoring += edge_at(s, e)->link == LIVE && edge_at(s, e)->other_and_lists >> 2 == i &&
                    (edge_at(s, e)->other_and_lists & LIST_IGNORE) != 0;
    HOLDS(ignoring == p->ignored_by, "a count of those who ignore a persona is not its recount");
    if (!is_ranked(s, i))
        return NULL;
    HOLDS(persona_at_rank(s, rank_of(s, i)) == i, "a persona is not at its rank");
    HOLDS(p->left == NONE || ranks_before(s, p->left, i), "a better one ranks behind");
    HOLDS(p->right == NONE || ranks_before(s, i, p->right), "a worse one ranks before");
    return NULL;
}

static const char *check_accounts(const struct nascar *s)
{
    uint32_t named = 0, edges = 0, messages = 0, ranked = 0, racing = 0;
    for (uint32_t i = 0; i < s->accounts.high; i++) {
        const struct account *a = account_at(s, i);
        HOLDS(find_account(s, a->name) == i, "an account is not found by its name");
        HOLDS(a->player == NONE || player_at(s, a->player)->account == i, "an account's player is another's");
        for (uint32_t k = 0; k < PERSONAS_PER_ACCOUNT; k++) {
            if (a->persona[k] == NONE)
                continue;
            named++;
            HOLDS(is_live(s, &s->personas, a->persona[k]) && persona_at(s, a->persona[k])->account == i,
                  "an account's persona is another's");
        }
    }
    HOLDS(named == s->personas.live, "a persona is nobody's");
    for (uint32_t i = 0; i < s->personas.high; i++) {
        if (!is_live(s, &s->personas, i))
            continue;
        const struct persona *p = persona_at(s, i);
        uint32_t count = 0;
        HOLDS(find_persona(s, p->name) == i, "a persona is not found by its name");
        HOLDS(p->buddy == NONE || (is_live(s, &s->buddies, p->buddy) && buddy_at(s, p->buddy)->persona == i),
              "a persona's buddy link is another's");
        HOLDS(!p->absent || (p->buddy != NONE && p->player == NONE), "a persona is absent without reason");
        for (uint32_t e = p->edges; e != NONE; e = edge_at(s, e)->next) {
            uint32_t other = edge_at(s, e)->other_and_lists >> 2;
            HOLDS(is_live(s, &s->edges, e) && edge_at(s, e)->owner == i, "a roster holds another's entry");
            HOLDS(find_edge(s, i, other) == e && other != i, "a roster's entry is not found");
            HOLDS(is_live(s, &s->personas, other), "a roster holds a persona that is not there");
            HOLDS(++count <= ROSTER_PER_PERSONA, "a roster is too long");
            uint32_t w = p->buddy == NONE ? NONE : find_watch(s, p->buddy, other);
            HOLDS(p->buddy == NONE || ((edge_at(s, e)->other_and_lists & LIST_BUDDY) != 0) ==
                                          (w != NONE && (watch_at(s, w)->why & WATCH_ROSTER)),
                  "a buddy is not watched, or somebody else is");
        }
        edges += count;
        HOLDS(count == p->edge_count, "a roster's count is not its recount");
        const char *broken = check_persona(s, i);
        HOLDS(!broken, broken);
        messages += p->message_count;
        racing += p->race_count;
        ranked += is_ranked(s, i);
    }
    for (uint32_t i = 0; i < s->races.high; i++)
        for (uint32_t side = 0; side < 2; side++)
            racing -= is_live(s, &s->races, i) && race_at(s, i)->persona[side] != NONE;
    HOLDS(racing == 0, "counts of open races are not their recounts");
    HOLDS(messages == s->messages.live, "a message is for nobody");
    HOLDS(ranked == tree_size(s, s->ranked), "somebody has raced and has no rank, or the other way");
    HOLDS(edges == s->edges.live, "a roster's entry is nobody's");
    return NULL;
}

static const char *check_addresses(const struct nascar *s)
{
    uint32_t connections = 0;
    for (uint32_t i = 0; i < s->addresses.high; i++) {
        if (!is_live(s, &s->addresses, i))
            continue;
        connections += address_at(s, i)->connections;
        HOLDS(find_address(s, address_at(s, i)->ipv4) == i, "an address is not found");
        HOLDS(address_at(s, i)->failed + address_at(s, i)->logins + address_at(s, i)->created == 0 ||
                  timer_at(s, s->address_timers + i)->queue == Q_ADDRESS,
              "what an address did is never forgotten");
    }
    HOLDS(connections == s->conn_count, "a connection is of no address");
    for (uint32_t i = 0; i < s->directory.high; i++)
        HOLDS(!is_live(s, &s->directory, i) || find_session(s, session_at(s, i)->sess) == i,
              "a directory session is not found");
    return NULL;
}

static const char *check_kept(const struct nascar *s)
{
    uint32_t watches = 0, lines = 0;
    for (uint32_t i = 0; i < s->buddies.high; i++) {
        if (!is_live(s, &s->buddies, i))
            continue;
        const struct buddy *b = buddy_at(s, i);
        uint32_t asked = 0, due = 0;
        HOLDS(conn_at(s, b->conn)->buddy == i && persona_at(s, b->persona)->buddy == i, "a buddy link is half");
        for (uint32_t w = b->watches; w != NONE; w = watch_at(s, w)->next_own) {
            HOLDS(is_live(s, &s->watches, w) && watch_at(s, w)->buddy == i, "a buddy link watches for another");
            HOLDS(++watches <= s->watches.live, "a buddy link's watches go in a circle");
            asked += (watch_at(s, w)->why & WATCH_ASKED) != 0;
            due += watch_at(s, w)->due;
        }
        HOLDS(asked == b->asked && asked <= WATCHES_ASKED, "a count of watches is not its recount");
        HOLDS(due == 0 || conn_at(s, b->conn)->behind || conn_at(s, b->conn)->closing, "news wait for nothing");
    }
    HOLDS(watches == s->watches.live, "a watch is nobody's");
    for (uint32_t i = 0; i < s->races.high; i++)
        HOLDS(!is_live(s, &s->races, i) || (find_race(s, race_at(s, i)->ticket) == i && race_at(s, i)->reported < 3),
              "a race is not found by its ticket");
    for (uint32_t i = 0; i < s->reports.high; i++)
        for (uint32_t k = is_live(s, &s->reports, i) ? report_at(s, i)->lines : NONE; k != NONE;
             k = report_line_at(s, k)->next, lines++)
            HOLDS(is_live(s, &s->report_lines, k) && report_line_at(s, k)->report == i,
                  "a report holds another's line");
    HOLDS(lines == s->report_lines.live, "a line is of no report");
    return NULL;
}

const char *nascar_check(const struct nascar *s)
{
    const struct pool *pools[] = {&s->inboxes,   &s->outboxes,    &s->accounts, &s->personas, &s->edges,
                                  &s->players,   &s->presences,   &s->rooms,    &s->pairs,    &s->addresses,
                                  &s->directory, &s->buddies,     &s->watches,  &s->messages, &s->races,
                                  &s->reports,   &s->report_lines};
    const struct {
        const struct index *index;
        const struct pool *pool;
    } tables[] = {{&s->account_names, &s->accounts},    {&s->persona_names, &s->personas},
                  {&s->persona_prefixes, &s->personas}, {&s->presence_pairs, &s->presences},
                  {&s->race_tickets, &s->races},        {&s->address_numbers, &s->addresses},
                  {&s->session_numbers, &s->directory}, {&s->session_peers, &s->directory}};
    const char *(*const checks[])(const struct nascar *) = {check_timers,   check_conns,     check_rooms, check_players,
                                                            check_accounts, check_addresses, check_kept};
    const char *broken = NULL;
    HOLDS(s->entropy_size <= NASCAR_ENTROPY_BYTES, "there is more entropy than fits");
    HOLDS(s->record_taken <= s->record_count && s->record_count <= RECORDS, "records are counted wrongly");
    HOLDS(s->job_taken <= s->job_count && s->job_count <= RECORDS, "hash jobs are counted wrongly");
    HOLDS(s->log_taken <= s->log_size && s->log_size <= LOG_BYTES, "log lines are counted wrongly");
    for (size_t i = 0; !broken && i < sizeof pools / sizeof pools[0]; i++) { /* never: a fault of the server */
        broken = check_pool(s, pools[i]);
    }
    for (size_t i = 0; !broken && i < sizeof tables / sizeof tables[0]; i++) { /* never: a fault of the server */
        broken = check_index(s, tables[i].index, tables[i].pool, tables[i].pool->live);
    }
    for (size_t i = 0; !broken && i < sizeof checks / sizeof checks[0]; i++) { /* never: a fault of the server */
        broken = checks[i](s);
    }
    return broken;
}

/* ============================================================================
 * The shell: everything below touches the operating system.
 * ========================================================================== */
#ifndef NASCAR_NO_SHELL

#include <arpa/inet.h>
#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* ---- The operating system, as a table --------------------------------------- */

/* All that the loop asks of the system, so that a simulator can stand in its
 * place. Each is as the call of that name: -1 and errno on failure. */
struct nascar_sys {
    int (*poll)(void *world, struct pollfd *fds, uint32_t count, int timeout_ms);
    int (*accept)(void *world, int listener, uint32_t *peer, uint32_t *local);
    ssize_t (*read)(void *world, int fd, void *bytes, size_t size);
    ssize_t (*write)(void *world, int fd, const void *bytes, size_t size);
    void (*close)(void *world, int fd); /* with a FIN, not a reset, if it can be had */
    void (*log)(void *world, const char *text, size_t size);
    bool (*append)(void *world, int fd, const void *bytes, size_t size); /* all of it, or false */
    bool (*entropy)(void *world, void *bytes, size_t size);
    uint64_t (*mono_ms)(void *world);
    int64_t (*wall_s)(void *world);
    /* Files of the data folder, by their names in it. */
    int (*open)(void *world, int folder, const char *name, bool fresh); /* to append; fresh: made anew, empty */
    uint8_t *(*load)(void *world, int fd, size_t *size);                /* all of it; NULL: it cannot be read */
    void (*unload)(void *world, uint8_t *bytes, size_t size);
    bool (*truncate)(void *world, int fd, uint64_t size);
    bool (*sync)(void *world, int fd);
    bool (*rename)(void *world, int folder, const char *from, const char *to);
    bool (*sync_folder)(void *world, int folder);
    void (*remove)(void *world, int folder, const char *name);
    int (*helper)(void *world); /* starts the hashing helper: a socket to it */
};

/* Memory that costs nothing until it is used. NULL if there is no room for it. */
static void *reserve(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static int system_poll(void *world, struct pollfd *fds, uint32_t count, int timeout_ms)
{
    (void)world;
    return poll(fds, count, timeout_ms);
}

/* 0 for what is no IPv4 socket: the operator's. */
static uint32_t socket_ipv4(const struct sockaddr_in *address)
{
    return address->sin_family == AF_INET ? ntohl(address->sin_addr.s_addr) : 0;
}

static int system_accept(void *world, int listener, uint32_t *peer, uint32_t *local)
{
    struct sockaddr_in from, to;
    socklen_t from_size = sizeof from, to_size = sizeof to;
    int on = 1;
    (void)world;
    memset(&from, 0, sizeof from);
    memset(&to, 0, sizeof to);
    int fd = accept4(listener, (struct sockaddr *)&from, &from_size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -1;
    (void)getsockname(fd, (struct sockaddr *)&to, &to_size);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *peer = socket_ipv4(&from);
    *local = socket_ipv4(&to);
    return fd;
}

static ssize_t system_read(void *world, int fd, void *bytes, size_t size)
{
    (void)world;
    return recv(fd, bytes, size, 0);
}

static ssize_t system_write(void *world, int fd, const void *bytes, size_t size)
{
    (void)world;
    return send(fd, bytes, size, MSG_NOSIGNAL);
}

/* Unread input would turn the close into a reset, which can take our last
 * answer away from the console: some of it is read first. */
static void system_close(void *world, int fd)
{
    char waste[4096];
    (void)world;
    (void)shutdown(fd, SHUT_WR);
    for (int i = 0; i < 4 && recv(fd, waste, sizeof waste, MSG_DONTWAIT) > 0; i++)
        continue;
    (void)close(fd);
}

static bool system_append(void *world, int fd, const void *bytes, size_t size)
{
    const char *p = bytes;
    (void)world;
    while (size > 0) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        }
    }
    return true;
}

static void system_log(void *world, const char *text, size_t size)
{
    (void)system_append(world, STDERR_FILENO, text, size);
}

static bool system_entropy(void *world, void *bytes, size_t size)
{
    uint8_t *p = bytes;
    (void)world;
    while (size > 0) { /* a signal or an old kernel may cut it short */
        ssize_t n = getrandom(p, size, 0);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        }
    }
    return true;
}

static uint64_t system_mono_ms(void *world)
{
    struct timespec now;
    (void)world;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int64_t system_wall_s(void *world)
{
    struct timespec now;
    (void)world;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

/* ---- Files of the data folder -------------------------------------------------- */

static int system_open(void *world, int folder, const char *name, bool fresh)
{
    (void)world;
    return openat(folder, name, O_RDWR | O_APPEND | O_CLOEXEC | (fresh ? O_CREAT | O_TRUNC : 0), 0600);
}

/* Reads, and does not map: a failing disk is an error then, and no signal. */
static uint8_t *system_load(void *world, int fd, size_t *size)
{
    struct stat status;
    (void)world;
    if (fstat(fd, &status) != 0)
        return NULL;
    if ((uintmax_t)status.st_size >= SIZE_MAX / 2) {
        errno = EFBIG;
        return NULL;
    }
    size_t room = (size_t)status.st_size + 1, done = 0; /* one more, as an empty file is none to mmap */
    uint8_t *bytes = reserve(room);
    while (bytes && done < room - 1) {
        ssize_t n = pread(fd, bytes + done, room - 1 - done, (off_t)done);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            (void)munmap(bytes, room);
            return NULL;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    *size = done;
    return bytes;
}

static void system_unload(void *world, uint8_t *bytes, size_t size)
{
    (void)world;
    (void)munmap(bytes, size + 1);
}

static bool system_truncate(void *world, int fd, uint64_t size)
{
    (void)world;
    return ftruncate(fd, (off_t)size) == 0;
}

static bool system_sync(void *world, int fd)
{
    (void)world;
    return fdatasync(fd) == 0;
}

static bool system_rename(void *world, int folder, const char *from, const char *to)
{
    (void)world;
    return renameat(folder, from, folder, to) == 0;
}

/* EINVAL: a file system whose folders need none. */
static bool system_sync_folder(void *world, int folder)
{
    (void)world;
    return fsync(folder) == 0 || errno == EINVAL;
}

static void system_remove(void *world, int folder, const char *name)
{
    (void)world;
    (void)unlinkat(folder, name, 0);
}

/* ---- The hashing helper: a process of its own, as one hash takes so long ------- */

/* What goes to it and comes back, a message each. */
struct hash_question {
    uint32_t number, cost;
    struct nascar_hash_job job;
};

struct hash_answer {
    uint32_t number;
    bool accepted;
    char fresh[HASH_CHARS + 1]; /* empty: none was asked for, or it failed */
};

typedef bool hash_function(const char *password, const char *setting, char *out, size_t out_bytes);

/* A trap: crypt falls back to DES for a setting that it does not know. */
static bool system_hash(const char *password, const char *setting, char *out, size_t out_bytes)
{
    struct crypt_data data;
    memset(&data, 0, sizeof data);
    const char *hash = crypt_r(password, setting, &data);
    bool good = hash && strncmp(setting, "$2b$", 4) == 0 && strncmp(hash, setting, 7) == 0 && strlen(hash) < out_bytes;
    if (good)
        copy_text(out, out_bytes, hash);
    wipe(&data, sizeof data);
    return good;
}

/* bcrypt's own alphabet and order of bits, for the salt in a setting. */
static void write_setting(char out[32], uint32_t cost, const uint8_t salt[16])
{
    static const char digits[] = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (void)snprintf(out, 32, "$2b$%02u$", cost);
    char *p = out + 7;
    for (uint32_t bit = 0; bit < 128; bit += 6) {
        uint32_t two = (uint32_t)salt[bit / 8] << 8 | (bit / 8 + 1 < 16 ? salt[bit / 8 + 1] : 0u);
        *p++ = digits[two >> (10 - bit % 8) & 63];
    }
    *p = 0;
}

/* Compares with the hash that is stored, and makes a fresh one. */
static void answer_question(const struct hash_question *q, struct hash_answer *answer, hash_function *hash)
{
    char made[HASH_CHARS + 1], setting[32];
    size_t n = strlen(q->job.stored);
    memset(answer, 0, sizeof *answer);
    answer->number = q->number;
    answer->accepted = n == 0 || (hash(q->job.password, q->job.stored, made, sizeof made) && strlen(made) == n &&
                                  equal_secret((const uint8_t *)made, (const uint8_t *)q->job.stored, n));
    if (!answer->accepted || !q->job.fresh[0])
        return;
    write_setting(setting, q->cost, q->job.salt);
    if (!hash(q->job.fresh, setting, answer->fresh, sizeof answer->fresh))
        answer->fresh[0] = 0;
}

/* Keeps nothing of the server's: its end must be all that ends us, and no port
 * or lock may outlive it because of us. */
static void helper_isolate(int fd)
{
    sigset_t none;
    struct rlimit files;
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)dup2(fd, STDIN_FILENO);
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 1u, ~0u, 0u) == 0)
        return;
#endif
    int last = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 1u << 20 ? (int)files.rlim_cur : 1 << 20;
    for (int other = 1; other < last; other++)
        (void)close(other);
}

_Noreturn static void helper_run(int fd)
{
    struct hash_question question;
    struct hash_answer answer;
    ssize_t n;
    helper_isolate(fd);
    while ((n = recv(STDIN_FILENO, &question, sizeof question, 0)) == sizeof question || (n < 0 && errno == EINTR)) {
        if (n < 0)
            continue;
        answer_question(&question, &answer, system_hash);
        wipe(&question, sizeof question);
        if (send(STDIN_FILENO, &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer)
            break;
    }
    _exit(0);
}

/* It ends when our end of the socket does, even by SIGKILL. */
static int system_helper(void *world)
{
    int pair[2];
    (void)world;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0)
        helper_run(pair[1]);
    (void)close(pair[1]);
    if (child < 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK) != 0) {
        (void)close(pair[0]);
        return -1;
    }
    return pair[0];
}

static const struct nascar_sys system_calls = {
    system_poll,    system_accept,  system_read,        system_write,  system_close,  system_log,    system_append,
    system_entropy, system_mono_ms, system_wall_s,      system_open,   system_load,   system_unload, system_truncate,
    system_sync,    system_rename,  system_sync_folder, system_remove, system_helper,
};

/* ---- The journal's bytes (DESIGN 5) --------------------------------------------- */

/* A header, and a batch for each sync: frames whose code word is a CRC-32C over
 * all the rest of them. A batch holds its number, one more than the last one's,
 * and records, which are frames themselves; one without any says that all before
 * it is a compacted state. */
#define JOURNAL_FORMAT 1u
#define BATCH_BYTES 262144u /* the most that a batch takes */
#define BATCH_HEAD_BYTES (HEADER_BYTES + 8)

static uint64_t load_be64(const uint8_t *p)
{
    return (uint64_t)load_be32(p) << 32 | load_be32(p + 4);
}

static void store_be64(uint8_t *p, uint64_t v)
{
    store_be32(p, (uint32_t)(v >> 32));
    store_be32(p + 4, (uint32_t)v);
}

/* Goes on with a CRC-32C; the first one is 0. Four bytes a turn: row k is what
 * the k-th half byte of the word comes to when all four have passed. */
static uint32_t crc32c(uint32_t crc, const uint8_t *bytes, size_t size)
{
    /* clang-format off */
    static const uint32_t table[8][16] = {
        {0x00000000, 0xdd45aab8, 0xbf672381, 0x62228939, 0x7b2231f3, 0xa6679b4b, 0xc4451272, 0x1900b8ca,
         0xf64463e6, 0x2b01c95e, 0x49234067, 0x9466eadf, 0x8d665215, 0x5023f8ad, 0x32017194, 0xef44db2c},
        {0x00000000, 0xe964b13d, 0xd725148b, 0x3e41a5b6, 0xaba65fe7, 0x42c2eeda, 0x7c834b6c, 0x95e7fa51,
         0x52a0c93f, 0xbbc47802, 0x8585ddb4, 0x6ce16c89, 0xf90696d8, 0x106227e5, 0x2e238253, 0xc747336e},
        {0x00000000, 0xa541927e, 0x4f6f520d, 0xea2ec073, 0x9edea41a, 0x3b9f3664, 0xd1b1f617, 0x74f06469,
         0x38513ec5, 0x9d10acbb, 0x773e6cc8, 0xd27ffeb6, 0xa68f9adf, 0x03ce08a1, 0xe9e0c8d2, 0x4ca15aac},
        {0x00000000, 0x70a27d8a, 0xe144fb14, 0x91e6869e, 0xc76580d9, 0xb7c7fd53, 0x26217bcd, 0x56830647,
         0x8b277743, 0xfb850ac9, 0x6a638c57, 0x1ac1f1dd, 0x4c42f79a, 0x3ce08a10, 0xad060c8e, 0xdda47104},
        {0x00000000, 0x13a29877, 0x274530ee, 0x34e7a899, 0x4e8a61dc, 0x5d28f9ab, 0x69cf5132, 0x7a6dc945,
         0x9d14c3b8, 0x8eb65bcf, 0xba51f356, 0xa9f36b21, 0xd39ea264, 0xc03c3a13, 0xf4db928a, 0xe7790afd},
        {0x00000000, 0x3fc5f181, 0x7f8be302, 0x404e1283, 0xff17c604, 0xc0d23785, 0x809c2506, 0xbf59d487,
         0xfbc3faf9, 0xc4060b78, 0x844819fb, 0xbb8de87a, 0x04d43cfd, 0x3b11cd7c, 0x7b5fdfff, 0x449a2e7e},
        {0x00000000, 0xf26b8303, 0xe13b70f7, 0x1350f3f4, 0xc79a971f, 0x35f1141c, 0x26a1e7e8, 0xd4ca64eb,
         0x8ad958cf, 0x78b2dbcc, 0x6be22838, 0x9989ab3b, 0x4d43cfd0, 0xbf284cd3, 0xac78bf27, 0x5e133c24},
        {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
         0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75},
    };
    /* clang-format on */
    size_t i = 0;
    crc = ~crc;
    for (; i + 4 <= size; i += 4) {
        uint32_t word = crc ^ ((uint32_t)bytes[i] | (uint32_t)bytes[i + 1] << 8 | (uint32_t)bytes[i + 2] << 16 |
                               (uint32_t)bytes[i + 3] << 24);
        crc = table[0][word & 15] ^ table[1][word >> 4 & 15] ^ table[2][word >> 8 & 15] ^ table[3][word >> 12 & 15] ^
              table[4][word >> 16 & 15] ^ table[5][word >> 20 & 15] ^ table[6][word >> 24 & 15] ^ table[7][word >> 28];
    }
    for (; i < size; i++) { /* the last byte of a word has only its own way to go */
        uint32_t byte = (crc ^ bytes[i]) & 255;
        crc = crc >> 8 ^ table[6][byte & 15] ^ table[7][byte >> 4];
    }
    return ~crc;
}

static uint32_t frame_crc(const uint8_t *frame, uint32_t size)
{
    return crc32c(crc32c(0, frame, 4), frame + 8, size - 8);
}

static uint32_t write_journal_head(uint8_t out[64], uint32_t format)
{
    struct outgoing f;
    char number[24];
    write_number(number, format);
    frame_begin(&f, "nsrj", "");
    put_name(&f, "FORMAT");
    put_chars(&f, number);
    put_byte(&f, '\n');
    frame_end(&f);
    memcpy(out, f.bytes, f.size);
    store_be32(out + 4, frame_crc(out, f.size));
    return f.size;
}

/* A batch that is being made. */
struct batch {
    uint32_t size, records;
    uint8_t *bytes; /* BATCH_BYTES */
};

static void batch_begin(struct batch *b)
{
    b->size = BATCH_HEAD_BYTES;
    b->records = 0;
}

/* False if it is full. */
static bool batch_add(struct batch *b, const uint8_t *record, uint32_t size)
{
    if (size > BATCH_BYTES - b->size)
        return false;
    memcpy(b->bytes + b->size, record, size);
    b->size += size;
    b->records++;
    return true;
}

static void batch_seal(struct batch *b, uint64_t number)
{
    memcpy(b->bytes, "btch", 4);
    store_be32(b->bytes + 8, b->size);
    store_be64(b->bytes + HEADER_BYTES, number);
    store_be32(b->bytes + 4, frame_crc(b->bytes, b->size));
}

struct span {
    const uint8_t *bytes;
    size_t size;
};

/* Takes the next frame off the front; false at the end, or if it is none. */
static bool take_record(struct span *frames, struct span *record)
{
    struct frame frame;
    if (read_frame(frames->bytes, (uint32_t)frames->size, &frame) != FRAME_WHOLE)
        return false;
    record->bytes = frames->bytes;
    record->size = frame.size;
    frames->bytes += frame.size;
    frames->size -= frame.size;
    return true;
}

/* The size of the sound batch that begins here, and its number; 0: none does. */
static uint32_t sound_batch(const uint8_t *p, size_t size, uint64_t *number)
{
    struct span frames, record;
    if (size < BATCH_HEAD_BYTES || memcmp(p, "btch", 4) != 0)
        return 0;
    uint32_t n = load_be32(p + 8);
    if (n < BATCH_HEAD_BYTES || n > BATCH_BYTES || n > size || load_be32(p + 4) != frame_crc(p, n))
        return 0;
    frames.bytes = p + BATCH_HEAD_BYTES;
    frames.size = n - BATCH_HEAD_BYTES;
    while (take_record(&frames, &record))
        continue;
    *number = load_be64(p + HEADER_BYTES);
    return frames.size == 0 ? n : 0;
}

enum journal_end {
    JOURNAL_WHOLE,
    JOURNAL_TORN,    /* what follows `at` was never written out: cut it */
    JOURNAL_DAMAGED, /* a later batch stands behind it: what is between is lost */
    JOURNAL_HEADLESS,
    JOURNAL_NEWER /* a format that only a later version knows */
};

struct journal_reader {
    const uint8_t *bytes;
    size_t size, at;  /* all that stands before `at` is sound */
    size_t checked;   /* ... and before this it has been seen to be */
    size_t compacted; /* ... and up to here it is a compacted state */
    uint64_t number;  /* of the last batch */
    uint32_t format;
    enum journal_end end;
    size_t later; /* JOURNAL_DAMAGED: where a later batch begins */
};

/* Any bytes are a journal, sound up to some point; `end` says how it ends there. */
static void journal_open(struct journal_reader *r, const uint8_t *bytes, size_t size)
{
    struct frame head;
    memset(r, 0, sizeof *r);
    r->bytes = bytes;
    r->size = size;
    r->end = JOURNAL_HEADLESS;
    uint32_t looked_at = size < INBOX_BYTES ? (uint32_t)size : INBOX_BYTES;
    if (read_frame(bytes, looked_at, &head) != FRAME_WHOLE || memcmp(head.kind, "nsrj", 4) != 0 ||
        load_be32(bytes + 4) != frame_crc(bytes, head.size))
        return;
    uint32_t at = find_tag(bytes + HEADER_BYTES, head.size - HEADER_BYTES, "FORMAT");
    if (at == NOT_THERE)
        return;
    r->format = read_number(bytes + HEADER_BYTES, head.size - HEADER_BYTES, at);
    r->end = r->format > JOURNAL_FORMAT ? JOURNAL_NEWER : JOURNAL_WHOLE;
    r->at = head.size;
}

/* What is not sound is torn, if nothing later stands behind it. */
static void journal_look_behind(struct journal_reader *r)
{
    uint64_t number;
    r->end = JOURNAL_TORN;
    for (size_t at = r->at; at + BATCH_HEAD_BYTES <= r->size; at++) {
        if (sound_batch(r->bytes + at, r->size - at, &number) > 0 && number > r->number) {
            r->end = JOURNAL_DAMAGED;
            r->later = at;
            return;
        }
    }
}

/* The records of the next batch; false at the end of what is sound. */
static bool journal_next(struct journal_reader *r, struct span *frames)
{
    uint64_t number = r->number + 1;
    const uint8_t *p = r->bytes + r->at;
    if (r->end != JOURNAL_WHOLE || r->at == r->size)
        return false;
    uint32_t n = r->at < r->checked ? load_be32(p + 8) : sound_batch(p, r->size - r->at, &number);
    if (n == 0 || number != r->number + 1) {
        journal_look_behind(r);
        return false;
    }
    frames->bytes = p + BATCH_HEAD_BYTES;
    frames->size = n - BATCH_HEAD_BYTES;
    r->at += n;
    r->number++;
    if (frames->size == 0)
        r->compacted = r->at;
    return true;
}

/* ---- Event scripts: recordings and what is replayed (DESIGN 6) -------------- */

/* A script is a header (magic, limits as varints) and events: type, connection
 * + 1 as a varint (0: none), milliseconds since the last one, length, bytes.
 * Any bytes are a script: what is cut off or out of range has a meaning too. */
#define SCRIPT_WALL 11u       /* the wall clock is now: 8 bytes */
#define SCRIPT_CHECKPOINT 12u /* all that was put out so far: 8 bytes */
#define SCRIPT_TYPES 13u
#define SCRIPT_HEAD_BYTES 32u /* the most that stands before an event's bytes */

static const uint8_t script_magic[4] = {'N', 'S', 'R', '2'};

static_assert(NASCAR_VERDICT + 1 == SCRIPT_WALL, "event types come first");

struct script {
    const uint8_t *bytes;
    size_t size, at;
    uint64_t mono_ms;
    int64_t wall_s;
};

static uint32_t write_varint(uint8_t *out, uint64_t value)
{
    uint32_t n = 0;
    for (; value > 127; value >>= 7)
        out[n++] = (uint8_t)(value | 128);
    out[n++] = (uint8_t)value;
    return n;
}

static uint64_t read_varint(struct script *x)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; x->at < x->size && shift < 63; shift += 7) {
        uint8_t byte = x->bytes[x->at++];
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            break;
    }
    return value;
}

/* Starts a script; without a header the limits stay as they are. */
static void script_open(struct script *x, const uint8_t *bytes, size_t size, struct nascar_limits *limits)
{
    memset(x, 0, sizeof *x);
    x->bytes = bytes;
    x->size = size;
    if (size < sizeof script_magic || memcmp(bytes, script_magic, sizeof script_magic) != 0)
        return;
    x->at = sizeof script_magic;
    limits->clients = (uint32_t)read_varint(x);
    limits->accounts = (uint32_t)read_varint(x);
    limits->rooms = (uint32_t)read_varint(x);
    limits->directory_sessions = (uint32_t)read_varint(x);
    limits->roster_edges = (uint32_t)read_varint(x);
    limits->messages = (uint32_t)read_varint(x);
}

static uint32_t script_write_header(uint8_t out[64], const struct nascar_limits *limits)
{
    uint32_t n = sizeof script_magic;
    memcpy(out, script_magic, n);
    n += write_varint(out + n, limits->clients);
    n += write_varint(out + n, limits->accounts);
    n += write_varint(out + n, limits->rooms);
    n += write_varint(out + n, limits->directory_sessions);
    n += write_varint(out + n, limits->roster_edges);
    n += write_varint(out + n, limits->messages);
    return n;
}

/* Writes what stands before an event's bytes, their length included; the
 * numbers that an event carries are the first of its bytes. */
static uint32_t script_write_head(uint8_t out[SCRIPT_HEAD_BYTES], uint32_t type, const struct nascar_event *e,
                                  uint64_t step_ms)
{
    uint8_t numbers[9];
    uint32_t n = 0, count = 0;
    switch (type) {
    case NASCAR_OPENED:
        store_be32(numbers, e->peer);
        store_be32(numbers + 4, e->local);
        count = 8;
        break;
    case NASCAR_DRAINED:
        store_be32(numbers, e->size);
        count = 4;
        break;
    case NASCAR_VERDICT:
        numbers[4] = e->accepted;
        count = 1;
        /* fall through */
    case NASCAR_RECORD:
    case NASCAR_RECORD_FAILED:
        store_be32(numbers, e->ticket);
        count += 4;
        break;
    default: break;
    }
    out[n++] = (uint8_t)type;
    n += write_varint(out + n, e->conn == NONE ? 0 : (uint64_t)e->conn + 1);
    n += write_varint(out + n, step_ms);
    n += write_varint(out + n, (type == NASCAR_DRAINED ? 0 : e->size) + (uint64_t)count);
    memcpy(out + n, numbers, count);
    return n + count;
}

/* Takes the numbers off the front of an event's bytes; missing ones are 0. */
static void script_read_numbers(struct nascar_event *e)
{
    uint8_t numbers[9] = {0};
    uint32_t count = e->type == NASCAR_OPENED ? 8 : e->type == NASCAR_VERDICT ? 5 : 4;
    if (e->type == NASCAR_BYTES || e->type == NASCAR_CONFIG || e->type == NASCAR_ENTROPY)
        return;
    count = min_u32(count, e->size);
    if (count > 0)
        memcpy(numbers, e->bytes, count);
    e->bytes += count;
    e->size -= count;
    e->peer = load_be32(numbers);
    e->local = load_be32(numbers + 4);
    e->ticket = load_be32(numbers);
    e->accepted = numbers[4] & 1;
    if (e->type == NASCAR_DRAINED)
        e->size = load_be32(numbers);
}

/* Gives the next event; false at the end. A checkpoint comes as CLOCK with
 * 8 bytes, and with *checkpoint set. */
static bool script_next(struct script *x, struct nascar_event *e, bool *checkpoint)
{
    while (x->at < x->size) {
        uint32_t type = x->bytes[x->at++] % SCRIPT_TYPES;
        memset(e, 0, sizeof *e);
        e->conn = (uint32_t)read_varint(x) - 1;
        x->mono_ms += read_varint(x) & UINT32_MAX;
        uint64_t size = read_varint(x);
        if (size > x->size - x->at)
            size = x->size - x->at;
        if (size > UINT32_MAX)
            size = UINT32_MAX;
        e->bytes = x->bytes + x->at;
        e->size = (uint32_t)size;
        x->at += (size_t)size;
        if (type == SCRIPT_WALL) {
            x->wall_s = size == 8 ? (int64_t)(load_be64(e->bytes) & INT64_MAX) : x->wall_s;
            continue;
        }
        *checkpoint = type == SCRIPT_CHECKPOINT;
        if (*checkpoint && size != 8)
            continue;
        e->type = *checkpoint ? NASCAR_CLOCK : (enum nascar_event_type)type;
        e->mono_ms = x->mono_ms;
        e->wall_s = x->wall_s;
        if (!*checkpoint)
            script_read_numbers(e);
        return true;
    }
    return false;
}

/* Running hashes over what the core has put out. */
struct output_hash {
    uint64_t written, records, log;
};

static void hash_bytes(uint64_t *hash, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++)
        *hash = (*hash ^ p[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
}

/* Before a step: what it takes off an outbox has been put out. */
static void hash_written(struct output_hash *hash, const struct nascar *s, const struct nascar_event *e)
{
    uint8_t number[4];
    uint32_t size = 0;
    if (e->type != NASCAR_DRAINED)
        return;
    const uint8_t *bytes = nascar_outbox(s, e->conn, &size);
    store_be32(number, e->conn);
    hash_bytes(&hash->written, number, sizeof number);
    if (size > 0)
        hash_bytes(&hash->written, bytes, min_u32(size, e->size));
}

static uint64_t output_hash_value(const struct output_hash *hash)
{
    return hash->written ^ rotate(hash->records, 21) ^ rotate(hash->log, 42);
}

/* ---- Stand-ins: no password in a recording ----------------------------------- */

#define STAND_IN "stand-in" /* for a password that could be one */
#define STAND_IN_BAD "x"    /* ... that is too short */
#define STAND_IN_LONG "too-long-a-stand-in"

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

/* For a transformed password: one that the core takes the same way. */
static void stand_in_transformed(const struct request *q, char out[2 * SSC2_CHARS + 2])
{
    char text[2 * SSC2_CHARS + 4], password[SSC2_CHARS + 1];
    uint32_t size = get_text(q, tag_PASS, text, sizeof text);
    enum failure failure = get_password(q, password);
    const char *plain = failure == OK && valid_password(password) ? STAND_IN : STAND_IN_BAD;
    if (text[0] == '~' && failure == OK)
        ssc2_encode(q->conn->skey, sizeof q->conn->skey, plain, out);
    else if (text[0] == '$' && failure == OK)
        mask_encode(session_at(q->s, request_session(q))->mask, plain, out);
    else if (text[0] == '$' && size < sizeof text)
        copy_text(out, 3, "$!");
    else
        copy_text(out, 2, size > 0 ? "!" : "");
    wipe(text, sizeof text);
    wipe(password, sizeof password);
}

/* For a plain password of `edit`, `room`, `move` or `cpwd`. */
static const char *stand_in_plain(const struct nascar *s, const struct request *q, enum tag tag)
{
    char text[PASSWORD_CHARS + 1], name[ANY_NAME_CHARS + 1];
    uint32_t size = get_text(q, tag, text, sizeof text);
    const char *stand_in = size > PASSWORD_CHARS ? STAND_IN_LONG : size > 0 ? STAND_IN : "";
    bool becomes_one = tag == tag_CHNG || memcmp(q->kind, "cpwd", 4) == 0;
    if (becomes_one && size > 0 && size <= PASSWORD_CHARS && !valid_password(text))
        stand_in = STAND_IN_BAD;
    if (memcmp(q->kind, "move", 4) == 0) {
        get_name(q, tag_NAME, name);
        uint32_t r = find_room(s, name);
        if (r != NONE && strcmp(text, room_at(s, r)->password) != 0)
            stand_in = STAND_IN_BAD;
    }
    wipe(text, sizeof text);
    return stand_in;
}

/* Replaces the value of `tag` where it stands in the frame that `f` holds, the
 * first time with `value`, further ones (which no reader finds) with nothing. */
static void replace_value(struct outgoing *f, enum tag tag, const char *value)
{
    uint32_t from = HEADER_BYTES;
    for (;;) {
        uint32_t at = find_tag(f->bytes + from, f->size - from, tag_names[tag]);
        if (at == NOT_THERE)
            break;
        uint32_t start = from + at, end = start;
        uint8_t quote = start < f->size && (f->bytes[start] == '"' || f->bytes[start] == '\'') ? f->bytes[start] : 0;
        end += quote != 0;
        while (end < f->size && f->bytes[end] != 0 && (quote ? f->bytes[end] != quote : f->bytes[end] >= 0x20))
            end++;
        end += quote != 0 && end < f->size;
        struct outgoing text; /* "TAG=value\n", escaped */
        text.size = 0;
        put_text(&text, tag, value);
        const uint8_t *escaped = text.bytes + strlen(tag_names[tag]) + 1;
        uint32_t size = text.size - (uint32_t)strlen(tag_names[tag]) - 2;
        if (f->size - (end - start) + size > sizeof f->bytes)
            size = 0;
        memmove(f->bytes + start + size, f->bytes + end, f->size - end);
        memcpy(f->bytes + start, escaped, size);
        f->size = f->size - (end - start) + size;
        from = start + size;
        value = "";
    }
    store_be32(f->bytes + 8, f->size);
}

/* Puts a frame into `f` as it may be recorded: the same to the core, without
 * what a player wants to keep secret. */
static void scrub_frame(struct nascar *s, uint32_t c, const uint8_t *bytes, uint32_t size, struct outgoing *f)
{
    char transformed[2 * SSC2_CHARS + 2];
    memcpy(f->bytes, bytes, size);
    f->size = size;
    struct request q = {.s = s, .c = c, .conn = conn_at(s, c), .payload = bytes + HEADER_BYTES};
    memcpy(q.kind, bytes, 4);
    q.size = payload_size(q.payload, size - HEADER_BYTES);
    if (strcmp(q.kind, "auth") == 0 || strcmp(q.kind, "acct") == 0) {
        stand_in_transformed(&q, transformed);
        replace_value(f, tag_PASS, transformed);
    } else if (strcmp(q.kind, "edit") == 0) {
        replace_value(f, tag_CHNG, stand_in_plain(s, &q, tag_CHNG));
        replace_value(f, tag_PASS, stand_in_plain(s, &q, tag_PASS));
    } else if (strcmp(q.kind, "room") == 0 || strcmp(q.kind, "move") == 0 || strcmp(q.kind, "cpwd") == 0) {
        replace_value(f, tag_PASS, stand_in_plain(s, &q, tag_PASS));
    }
}

/* The same for a durable record: an account's hash stays secret. */
static void scrub_record(const uint8_t *bytes, uint32_t size, struct outgoing *f)
{
    f->size = min_u32(size, sizeof f->bytes);
    memcpy(f->bytes, bytes, f->size);
    if (f->size >= HEADER_BYTES && (memcmp(bytes, "acct", 4) == 0 || memcmp(bytes, "edit", 4) == 0))
        replace_value(f, tag_HASH, "*");
}

/* ---- Options ----------------------------------------------------------------- */

#define CONFIG_BYTES 16384u
#define LINE_CHARS 1022u /* of a configuration or news file */

struct options {
    uint32_t bind_address;
    uint32_t port[3]; /* directory, lobby, buddy */
    uint32_t max_clients, max_accounts;
    uint32_t hash_cost;
    uint32_t log_level;
    const char *config_file;
    char news_file[LINE_CHARS + 1], record_file[LINE_CHARS + 1], data[LINE_CHARS + 1];
    char news_where[512];     /* who named it, for the error */
    struct config checked;    /* what the core's keys came to, for their errors */
    char core[CONFIG_BYTES];  /* the core's keys as they were given */
    char rooms[CONFIG_BYTES]; /* its rooms: those of the command line replace the file's */
    bool rooms_typed;
};

static const char *const port_names[3] = {"directory", "lobby", "buddy"};

/* The shell's own keys; the core's are in `settings`. */
static const struct option {
    const char *key;
    enum { OPTION_NUMBER, OPTION_ADDRESS, OPTION_LEVEL, OPTION_FILE, OPTION_PATH } type;
    size_t offset;
    uint32_t min, max;
    const char *help;
} options_table[] = {
#define AT(field) offsetof(struct options, field)
    {"config", OPTION_FILE, AT(config_file), 0, 0, "read `key = value` lines from this file; options come after it"},
    {"data", OPTION_PATH, AT(data), 0, 0, "the folder where all is kept (./nascar-data); made if it is missing"},
    {"bind", OPTION_ADDRESS, AT(bind_address), 0, 0, "listen on this address only"},
    {"directory-port", OPTION_NUMBER, AT(port[0]), 0, 65535, "10600; 0 takes any free port"},
    {"lobby-port", OPTION_NUMBER, AT(port[1]), 0, 65535, "11000; 0 takes any free port"},
    {"buddy-port", OPTION_NUMBER, AT(port[2]), 0, 65535, "10899; 0 takes any free port"},
    {"max-clients", OPTION_NUMBER, AT(max_clients), 1, 65536, "players logged in at once"},
    {"max-accounts", OPTION_NUMBER, AT(max_accounts), 1, 1048576, "accounts in all"},
    {"hash-cost", OPTION_NUMBER, AT(hash_cost), 4, 15, "each step more doubles the time that a password takes"},
    {"news", OPTION_PATH, AT(news_file), 0, 0, "show the lines of this file as the news"},
    {"record", OPTION_PATH, AT(record_file), 0, 0, "write all that happens to this file, for `nascar_server replay`"},
    {"log-level", OPTION_LEVEL, AT(log_level), 0, 0, "error, warn, info or debug"},
#undef AT
};

#define OPTIONS (sizeof options_table / sizeof options_table[0])

static const char log_levels[] = "error warn info debug";

static void options_defaults(struct options *o)
{
    memset(o, 0, sizeof *o);
    o->port[0] = 10600;
    o->port[1] = 11000;
    o->port[2] = 10899;
    o->max_clients = 1024;
    o->max_accounts = 16384;
    o->hash_cost = 10;
    o->log_level = NASCAR_LOG_INFO;
    copy_text(o->data, sizeof o->data, "nascar-data");
    config_defaults(&o->checked);
}

/* One line on standard error; what is wrong and what was expected. */
static bool complain(const char *where, const char *key, const char *format, ...)
{
    va_list arguments;
    (void)fprintf(stderr, "nascar_server: %s%s%s", where, key, key[0] ? ": " : "");
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    return false;
}

#define COMMAND_LINE "--" /* where an option stands, so that it is shown as it was typed */

/* Sets a key of the core: checked now, handed over as text later. */
static bool set_core(struct options *o, const char *where, const char *key, const char *value)
{
    char why[256], *text = o->core;
    if (strpbrk(value, "\r\n"))
        return complain(where, key, "expected a value in one line");
    if (strcmp(key, "room") == 0) {
        text = o->rooms;
        if (strcmp(where, COMMAND_LINE) == 0 && !o->rooms_typed) {
            o->rooms_typed = true;
            o->checked.room_count = 0;
            text[0] = 0;
        }
    }
    if (!config_change(&o->checked, key, value, why, sizeof why))
        return strcmp(why, "unknown key") == 0 ? complain(where, key, "unknown option; --help lists them")
                                               : complain(where, key, "%s, not '%s'", why, value);
    if (strlen(text) + strlen(key) + strlen(value) + 8 > CONFIG_BYTES)
        return complain(where, key, "the configuration is longer than %u bytes", CONFIG_BYTES);
    append_text(text, CONFIG_BYTES, key);
    append_text(text, CONFIG_BYTES, " = ");
    append_text(text, CONFIG_BYTES, value);
    append_text(text, CONFIG_BYTES, "\n");
    return true;
}

/* Gives each line of a file, without its end, to `take`, and where it stands
 * as "FILE:LINE: "; until one is refused. `where` and `key` name the file's own
 * option if it cannot be read. */
static bool read_lines(struct options *o, const char *where, const char *key, const char *path,
                       bool take(struct options *, const char *, const char *))
{
    char line[LINE_CHARS + 2], place[512];
    FILE *file = fopen(path, "r");
    bool good = file != NULL;
    for (uint32_t number = 1; good && fgets(line, sizeof line, file); number++) {
        size_t size = strcspn(line, "\n");
        (void)snprintf(place, sizeof place, "%s:%u: ", path, number);
        if (line[size] != '\n' && !feof(file)) {
            good = complain(place, "", "expected at most %u characters in a line", LINE_CHARS);
        } else {
            line[size > 0 && line[size - 1] == '\r' ? size - 1 : size] = 0;
            good = take(o, place, line);
        }
    }
    if (!file || ferror(file))
        good = complain(where, key, "%s: %s", path, strerror(errno));
    if (file)
        (void)fclose(file);
    return good;
}

static bool take_news_line(struct options *o, const char *place, const char *line)
{
    return set_core(o, place, "news-line", line);
}

/* Sets one option. `where` is COMMAND_LINE or "FILE:LINE: ". */
static bool set_option(struct options *o, const char *where, const char *key, const char *value)
{
    const struct option *option = NULL;
    for (size_t i = 0; i < OPTIONS; i++)
        if (strcmp(options_table[i].key, key) == 0)
            option = &options_table[i];
    if (!option)
        return set_core(o, where, key, value);
    uint32_t *field = (uint32_t *)(void *)((char *)o + option->offset);
    int word;
    switch (option->type) {
    case OPTION_NUMBER:
        if (parse_number(value, option->min, option->max, field))
            return true;
        return complain(where, key, "expected a number from %u to %u, not '%s'", option->min, option->max, value);
    case OPTION_ADDRESS:
        if (parse_address(value, field))
            return true;
        return complain(where, key, "expected an IPv4 address, as 192.0.2.1, not '%s'", value);
    case OPTION_LEVEL:
        word = word_index(log_levels, value);
        if (word < 0)
            return complain(where, key, "expected one of: %s, not '%s'", log_levels, value);
        *field = (uint32_t)word;
        return true;
    case OPTION_PATH: /* the last one counts: it is opened when all is known */
        if (option->offset == offsetof(struct options, data) && !value[0])
            return complain(where, key, "expected the name of a folder");
        copy_text((char *)o + option->offset, sizeof o->news_file, value);
        if (option->offset == offsetof(struct options, news_file))
            copy_text(o->news_where, sizeof o->news_where, where);
        return true;
    case OPTION_FILE:
        if (strcmp(where, COMMAND_LINE) != 0)
            return complain(where, key, "only on the command line");
        return true; /* it was read before the other options */
    }
    return false;
}

static bool take_config_line(struct options *o, const char *place, const char *line)
{
    char key[64], value[LINE_CHARS + 1];
    const char *text = line + strspn(line, " \t"), *equals = strchr(text, '=');
    if (text[0] == 0 || text[0] == '#')
        return true;
    if (!equals || !copy_trimmed(key, sizeof key, text, (size_t)(equals - text)) ||
        !copy_trimmed(value, sizeof value, equals + 1, strlen(equals + 1)))
        return complain(place, "", "expected `key = value`, not '%s'", text);
    return set_option(o, place, key, value);
}

/* The value of an option at argument *i: `--key value` or `--key=value`. */
static bool split_argument(char **arguments, int *i, char key[64], const char **value)
{
    const char *text = arguments[*i];
    const char *equals = strchr(text, '=');
    size_t chars = equals ? (size_t)(equals - text) : strlen(text);
    if (strncmp(text, "--", 2) != 0 || chars < 3)
        return complain("", "", "unknown argument '%s'; --help lists the options", text);
    if (!copy_trimmed(key, 64, text + 2, chars - 2))
        return complain("", text, "unknown option; --help lists them");
    *value = equals ? equals + 1 : arguments[*i + 1];
    if (!*value)
        return complain("", text, "expected a value after it");
    *i += equals ? 0 : 1;
    return true;
}

/* Reads the file of --config first, then every option, which so has the last word. */
static bool read_options(struct options *o, char **arguments)
{
    char key[64];
    const char *value = NULL;
    options_defaults(o);
    for (int i = 0; arguments[i]; i++) {
        if (!split_argument(arguments, &i, key, &value))
            return false;
        if (strcmp(key, "config") == 0)
            o->config_file = value;
    }
    if (o->config_file && !read_lines(o, COMMAND_LINE, "config", o->config_file, take_config_line))
        return false;
    for (int i = 0; arguments[i]; i++)
        if (!split_argument(arguments, &i, key, &value) || !set_option(o, COMMAND_LINE, key, value))
            return false;
    if (o->checked.ping_ms >= o->checked.idle_ms)
        return complain("", "", "expected a ping-s below idle-s: a console is heard when it answers pings");
    return !o->news_file[0] || read_lines(o, o->news_where, "news", o->news_file, take_news_line);
}

static void print_help(void)
{
    (void)printf("usage: nascar_server [serve] [--option value] ...\n"
                 "       nascar_server ctl [--data DIR] COMMAND    ask the one that runs: who, stats, passwd NAME\n"
                 "       nascar_server dump [DATA]    print what is kept\n"
                 "       nascar_server replay FILE    run a recording again and compare\n"
                 "The online service of NASCAR Thunder 2004 for the PlayStation 2. No option is needed.\n\n"
                 "options, each also a line `key = value` in the file of --config:\n");
    for (size_t i = 0; i < OPTIONS; i++)
        (void)printf("  --%-17s %s\n", options_table[i].key, options_table[i].help);
    for (size_t i = 0; i < SETTINGS; i++) {
        if (!settings[i].help)
            continue;
        (void)printf("  --%-17s %s", settings[i].key, settings[i].help);
        if (settings[i].fallback)
            (void)printf(" (%s)", settings[i].fallback);
        (void)printf("\n");
    }
    (void)printf("  --%-17s\n  --%-17s\n", "version", "help");
}

/* ---- The shell's state --------------------------------------------------------- */

#define LISTENERS 3u
/* The poll set: signals, the helper, listeners, the operator's, connections. */
#define SIGNALS 0u
#define HELPER 1u
#define FIRST_LISTENER 2u
#define CONTROL_LISTENER (FIRST_LISTENER + LISTENERS)
#define FIRST_SOCKET (CONTROL_LISTENER + 1u)
#define ACCEPTS_PER_TURN 64u
#define OUTPUT_BATCH 64u
#define ACCEPT_PAUSE_MS 1000u /* after EMFILE and the like */
#define STOP_MS 2000u         /* to flush outboxes at the end */
#define LOG_BATCH_BYTES 8192u
#define LAZY_MS 60000u             /* so long may a lazy record wait for others */
#define HELPER_JOBS 4u             /* that the helper is given at once, so that it never waits */
#define HELPER_PAUSE_MS 1000u      /* between two starts of it */
#define HELPER_DEATHS 2u           /* of which a job is taken to be the cause */
#define COMPACT_BYTES 1048576u     /* a smaller journal is left alone */
#define COMPACT_SLICE_MS 5u        /* a slice ends after that; its last write comes on top */
#define COMPACT_BATCH_BYTES 65536u /* of a batch in a slice: a write of milliseconds */
#define COMPACT_RETRY_MS 60000u    /* the old journal is sound, so there is time */
#define RECOVER_RETRY_MS 5000u     /* there is none, and nothing can be kept */
#ifndef COMPACT_ITEMS
#define COMPACT_ITEMS 32u /* that a slice takes between two looks at the clock */
#endif

/* Items in the order they came: a buffer that grows, and how far it is done. */
struct queue_of {
    size_t stride, count, done, room;
    void *items;
};

/* Input of a connection that is no whole frame yet, while recording. */
struct partial {
    uint32_t size;
    uint8_t bytes[INBOX_BYTES];
};

/* A journal that is written to. */
struct journal {
    int fd;          /* -1: there is none, or it has failed */
    uint64_t size;   /* where its last sound batch ends */
    uint64_t number; /* of that batch */
    bool unsynced;   /* it may be torn yet */
};

/* A fresh journal that is to replace it. */
struct compaction {
    struct journal file; /* fd -1: none is being made */
    struct nascar_cursor cursor;
    struct batch batch;
    uint64_t began_ms, longest_ms, again_ms;
    bool failing; /* it has been said */
};

/* What the helper works on, the first one now. */
struct helper {
    int fd; /* -1: it is not there */
    struct {
        struct hash_question question;
        bool sent;
        uint32_t deaths;
    } job[HELPER_JOBS];
    uint32_t jobs, next_number;
    uint64_t again_ms;
    bool failing;
};

/* Connection numbers that are free: a stack. */
struct numbers {
    uint32_t *free, count;
};

struct shell {
    const struct nascar_sys *sys;
    void *world;
    struct options options;
    struct nascar *state;
    uint32_t conns;                          /* numbers that the core has */
    struct pollfd *polled;                   /* FIRST_SOCKET + those open */
    uint32_t *number_of;                     /* place in polled, less FIRST_SOCKET -> connection */
    uint32_t *place_of;                      /* connection -> its place, NONE when free */
    struct numbers numbers, control_numbers; /* players', the operator's */
    uint32_t open, paused;                   /* connections; those of them that are not read now */
    bool accept_paused, stopping;
    uint64_t accept_again_ms;
    uint64_t now_ms;
    int64_t wall_s;
    char **arguments;              /* for the configuration to be read again */
    struct queue_of records, jobs; /* what the steps have asked for */
    uint32_t urgent;               /* records among them that are not lazy */
    uint64_t lazy_due_ms;          /* when the others have waited long enough */
    int folder;                    /* of the data; locked */
    struct journal journal;
    struct compaction compaction;
    bool journal_lost;   /* the last one has failed */
    uint64_t live_bytes; /* the journal's size when it was last compacted */
    struct batch batch;
    struct {
        uint32_t accounts, roster, messages;
    } kept; /* records of the journal, at least */
    struct helper helper;
    struct nascar_limits limits;
    struct partial *partial; /* of each connection; NULL: not recording */
    int record_fd;
    uint64_t recorded_ms, recorded_events;
    int64_t recorded_wall_s;
    struct output_hash put_out;
    uint32_t log_size;
    char log[LOG_BATCH_BYTES];
};

static void shell_time(struct shell *sh)
{
    sh->now_ms = sh->sys->mono_ms(sh->world);
    sh->wall_s = sh->sys->wall_s(sh->world);
}

static void log_flush(struct shell *sh)
{
    sh->sys->log(sh->world, sh->log, sh->log_size);
    sh->log_size = 0;
}

/* One line: time, level, and the key=value pairs of `text`. */
static void shell_log(struct shell *sh, enum nascar_log_level level, const char *text)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char date[20], line[1024];
    if ((uint32_t)level > sh->options.log_level)
        return;
    write_date(date, sh->wall_s);
    date[10] = 'T';
    int n = snprintf(line, sizeof line, "time=%sZ level=%s %s\n", date, names[level], text);
    size_t size = n < (int)sizeof line ? (size_t)n : sizeof line - 1;
    line[size - 1] = '\n';
    if (sh->log_size + size > sizeof sh->log)
        log_flush(sh);
    memcpy(sh->log + sh->log_size, line, size);
    sh->log_size += (uint32_t)size;
}

/* ---- Recording ------------------------------------------------------------------- */

#define CHECKPOINT_EVENTS 1000u

static bool is_recording(const struct shell *sh)
{
    return sh->partial != NULL;
}

static void record_write(struct shell *sh, uint32_t type, const struct nascar_event *e)
{
    uint8_t head[SCRIPT_HEAD_BYTES];
    uint32_t n = script_write_head(head, type, e, e->mono_ms - sh->recorded_ms);
    sh->recorded_ms = e->mono_ms;
    bool good = sh->sys->append(sh->world, sh->record_fd, head, n) &&
                (type == NASCAR_DRAINED || sh->sys->append(sh->world, sh->record_fd, e->bytes, e->size));
    if (!good && sh->record_fd >= 0) {
        shell_log(sh, NASCAR_LOG_ERROR, "event=recording_ended reason=\"it cannot be written\"");
        sh->sys->close(sh->world, sh->record_fd);
        sh->record_fd = -1;
    }
}

static void record_numbers(struct shell *sh, uint32_t type, uint64_t mono_ms, uint64_t value)
{
    uint8_t bytes[8];
    store_be64(bytes, value);
    struct nascar_event e = {.conn = NONE, .mono_ms = mono_ms, .bytes = bytes, .size = sizeof bytes};
    record_write(sh, type, &e);
}

/* Writes an event before it is taken, without what must stay secret. */
static void record_event(struct shell *sh, const struct nascar_event *e)
{
    struct outgoing scrubbed;
    struct nascar_event copy = *e;
    if (++sh->recorded_events % CHECKPOINT_EVENTS == 0)
        record_numbers(sh, SCRIPT_CHECKPOINT, e->mono_ms, output_hash_value(&sh->put_out));
    if (e->wall_s != sh->recorded_wall_s)
        record_numbers(sh, SCRIPT_WALL, e->mono_ms, (uint64_t)e->wall_s);
    sh->recorded_wall_s = e->wall_s;
    scrubbed.size = 0;
    if (e->type == NASCAR_BYTES && e->size >= HEADER_BYTES && load_be32(e->bytes + 8) == e->size)
        scrub_frame(sh->state, e->conn, e->bytes, e->size, &scrubbed);
    else if (e->type == NASCAR_RECORD || e->type == NASCAR_RECORD_FAILED)
        scrub_record(e->bytes, e->size, &scrubbed);
    if (scrubbed.size > 0) {
        copy.bytes = scrubbed.bytes;
        copy.size = scrubbed.size;
    }
    if (e->type == NASCAR_VERDICT && e->size > 0) {
        copy.bytes = (const uint8_t *)"*";
        copy.size = 1;
    }
    record_write(sh, e->type, &copy);
    hash_written(&sh->put_out, sh->state, e);
}

static void hash_record(struct output_hash *hash, const uint8_t *bytes, uint32_t size)
{
    struct outgoing scrubbed;
    scrub_record(bytes, size, &scrubbed);
    hash_bytes(&hash->records, scrubbed.bytes, scrubbed.size);
}

/* Starts a recording in record_fd. */
static bool record_begin(struct shell *sh)
{
    uint8_t header[64];
    sh->recorded_ms = 0;
    sh->partial = reserve(sh->conns * sizeof *sh->partial);
    return sh->partial && sh->sys->append(sh->world, sh->record_fd, header, script_write_header(header, &sh->limits));
}

/* The recording of an earlier run is kept as FILE.old. */
static bool record_open(struct shell *sh)
{
    const char *path = sh->options.record_file;
    char old[LINE_CHARS + 8];
    sh->record_fd = -1;
    if (!path[0])
        return true;
    (void)snprintf(old, sizeof old, "%s.old", path);
    (void)rename(path, old);
    sh->record_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (sh->record_fd < 0 || !record_begin(sh))
        return complain(COMMAND_LINE, "record", "%s: %s", path, strerror(errno));
    return true;
}

/* The last checkpoint holds all that was put out. */
static void record_close(struct shell *sh)
{
    if (!is_recording(sh) || sh->record_fd < 0)
        return;
    record_numbers(sh, SCRIPT_CHECKPOINT, sh->now_ms, output_hash_value(&sh->put_out));
    sh->sys->close(sh->world, sh->record_fd);
}

/* ---- Steps ----------------------------------------------------------------------- */

static void core_step(struct shell *sh, const struct nascar_event *event)
{
    if (is_recording(sh) && sh->record_fd >= 0)
        record_event(sh, event);
    (void)nascar_step(sh->state, event);
}

/* Tops the pool up. Without entropy nothing that follows can be trusted. */
static void feed_entropy(struct shell *sh)
{
    uint8_t bytes[NASCAR_ENTROPY_BYTES];
    struct nascar_event event = {.type = NASCAR_ENTROPY, .conn = NONE, .mono_ms = sh->now_ms, .wall_s = sh->wall_s};
    event.bytes = bytes;
    event.size = nascar_entropy_wanted(sh->state);
    if (event.size <= NASCAR_ENTROPY_BYTES / 2)
        return;
    if (!sh->sys->entropy(sh->world, bytes, event.size))
        abort();
    core_step(sh, &event);
    wipe(bytes, sizeof bytes);
}

static void *queue_add(struct queue_of *q)
{
    if (q->count == q->room && q->done > q->room / 2) { /* the front is free again */
        q->count -= q->done;
        memmove(q->items, (char *)q->items + q->done * q->stride, q->count * q->stride);
        wipe((char *)q->items + q->count * q->stride, q->done * q->stride);
        q->done = 0;
    }
    if (q->count == q->room) {
        size_t room = q->room ? 2 * q->room : 16;
        void *items = malloc(room * q->stride);
        if (!items)
            abort();        /* what a player is about to be told has nowhere to go */
        if (q->count > 0) { /* not realloc: it would leave passwords behind */
            memcpy(items, q->items, q->count * q->stride);
            wipe(q->items, q->count * q->stride);
        }
        free(q->items);
        q->items = items;
        q->room = room;
    }
    return (char *)q->items + q->count++ * q->stride;
}

/* Takes the next item out of the queue; false if there is none. */
static bool queue_take(struct queue_of *q, void *item)
{
    if (q->done == q->count) {
        q->done = q->count = 0;
        return false;
    }
    void *next = (char *)q->items + q->done++ * q->stride;
    memcpy(item, next, q->stride);
    wipe(next, q->stride);
    return true;
}

static bool queue_is_empty(const struct queue_of *q)
{
    return q->done == q->count;
}

static void keep_record(struct shell *sh, const struct nascar_record *record)
{
    if (is_recording(sh))
        hash_record(&sh->put_out, record->bytes, record->size);
    if (queue_is_empty(&sh->records))
        sh->lazy_due_ms = sh->now_ms + LAZY_MS;
    struct record_slot *slot = queue_add(&sh->records);
    slot->conn = record->conn;
    slot->ticket = record->ticket;
    slot->lazy = record->lazy;
    slot->size = record->size;
    memcpy(slot->bytes, record->bytes, record->size);
    sh->urgent += !record->lazy;
}

/* One event, and its log lines; records and hash jobs are kept for the turn. */
static void shell_step(struct shell *sh, const struct nascar_event *event)
{
    struct nascar_event stamped = *event;
    struct nascar_log log;
    struct nascar_record record;
    struct nascar_hash_job job;
    stamped.mono_ms = sh->now_ms;
    stamped.wall_s = sh->wall_s;
    feed_entropy(sh);
    core_step(sh, &stamped);
    while (nascar_next_log(sh->state, &log)) {
        shell_log(sh, log.level, log.text);
        if (is_recording(sh))
            hash_bytes(&sh->put_out.log, log.text, strlen(log.text));
    }
    while (nascar_next_record(sh->state, &record))
        keep_record(sh, &record);
    while (nascar_next_hash_job(sh->state, &job)) {
        *(struct nascar_hash_job *)queue_add(&sh->jobs) = job;
        wipe(&job, sizeof job);
    }
}

/* ---- The journal ----------------------------------------------------------------- */

/* Records are kept in the turn after they came: one batch, one sync, and then
 * each goes back to the core, which acts on it. Whatever fails ends the file
 * for good, as a second try could report success and have lost the data; a
 * fresh one takes its place as soon as it can be made. */

static void journal_close(struct shell *sh, struct journal *j)
{
    if (j->fd >= 0)
        sh->sys->close(sh->world, j->fd);
    j->fd = -1;
}

static bool journal_sync(struct shell *sh, struct journal *j)
{
    if (j->unsynced && !sh->sys->sync(sh->world, j->fd))
        return false;
    j->unsynced = false;
    return true;
}

static bool journal_append(struct shell *sh, struct journal *j, struct batch *batch)
{
    batch_seal(batch, j->number + 1);
    j->unsynced = true;
    if (!sh->sys->append(sh->world, j->fd, batch->bytes, batch->size))
        return false;
    j->number++;
    j->size += batch->size;
    return true;
}

/* What was not kept is cut off, as far as that is possible. */
static void journal_failed(struct shell *sh, uint64_t end)
{
    char text[160];
    (void)snprintf(text, sizeof text, "event=journal_failed offset=%llu reason=\"%s\"", (unsigned long long)end,
                   strerror(errno));
    shell_log(sh, NASCAR_LOG_ERROR, text);
    (void)sh->sys->truncate(sh->world, sh->journal.fd, end);
    journal_close(sh, &sh->journal);
    sh->journal_lost = true;
    sh->compaction.again_ms = sh->compaction.began_ms + RECOVER_RETRY_MS; /* not again and again on a full disk */
}

/* A fresh journal could not be made; another try comes later. */
static void compaction_failed(struct shell *sh)
{
    struct compaction *x = &sh->compaction;
    char text[128];
    (void)snprintf(text, sizeof text, "event=compaction_failed reason=\"%s\"", strerror(errno));
    if (!x->failing)
        shell_log(sh, NASCAR_LOG_ERROR, text);
    x->failing = true;
    journal_close(sh, &x->file);
    sh->sys->remove(sh->world, sh->folder, "journal.new");
    x->again_ms = sh->now_ms + (sh->journal.fd >= 0 ? COMPACT_RETRY_MS : RECOVER_RETRY_MS);
}

/* `end`: it marks the end of the state, too. */
static bool compaction_write(struct shell *sh, bool end)
{
    struct compaction *x = &sh->compaction;
    if (x->batch.records > 0 && !journal_append(sh, &x->file, &x->batch))
        return false;
    batch_begin(&x->batch);
    return !end || journal_append(sh, &x->file, &x->batch);
}

/* One more record of the state goes into the fresh journal. */
static bool compaction_add(struct shell *sh, const uint8_t *bytes, uint32_t size)
{
    struct compaction *x = &sh->compaction;
    (void)batch_add(&x->batch, bytes, size); /* what it holds is written long before it is full */
    return x->batch.size < COMPACT_BATCH_BYTES || compaction_write(sh, false);
}

/* Keeps the batch, in both files while there are two: behind what the fresh one
 * has of the state so far. One that may be torn must be the last of its file. */
static bool journal_keep(struct shell *sh, bool urgent)
{
    struct compaction *x = &sh->compaction;
    uint64_t end = sh->journal.size;
    if (sh->journal.fd < 0)
        return false;
    if (!journal_sync(sh, &sh->journal) || !journal_append(sh, &sh->journal, &sh->batch) ||
        (urgent && !journal_sync(sh, &sh->journal))) {
        journal_failed(sh, end);
        return false;
    }
    if (x->file.fd >= 0 && !(compaction_write(sh, false) && journal_append(sh, &x->file, &sh->batch)))
        compaction_failed(sh);
    return true;
}

/* The core has a change in memory alone, and its player has been told: it goes
 * into the fresh journal, behind what that has of the state so far, and before
 * any later change of the same thing. If none is being made, or this one fails,
 * the next has it with the state. So, whenever there is a sound journal again,
 * INVARIANT: all that was ever acknowledged is in it. */
static void catch_up(struct shell *sh, const uint8_t *bytes, uint32_t size)
{
    if (sh->compaction.file.fd >= 0 && nascar_takes_unkept(bytes, size) && !compaction_add(sh, bytes, size))
        compaction_failed(sh);
}

/* Keeps what is due, and gives it back to the core. What comes of that waits
 * for the next turn. */
static void journal_commit(struct shell *sh)
{
    struct record_slot record;
    if (queue_is_empty(&sh->records) || (sh->urgent == 0 && !sh->stopping && sh->now_ms < sh->lazy_due_ms))
        return;
    bool urgent = sh->urgent > 0;
    batch_begin(&sh->batch);
    for (size_t i = sh->records.done; i < sh->records.count; i++) {
        const struct record_slot *slot = (const struct record_slot *)sh->records.items + i;
        if (!batch_add(&sh->batch, slot->bytes, slot->size))
            break;
    }
    bool kept = journal_keep(sh, urgent);
    shell_time(sh); /* it took a while */
    for (uint32_t left = sh->batch.records; left > 0 && queue_take(&sh->records, &record); left--) {
        sh->urgent -= !record.lazy;
        struct nascar_event event = {.type = kept ? NASCAR_RECORD : NASCAR_RECORD_FAILED,
                                     .conn = record.conn,
                                     .ticket = record.ticket,
                                     .bytes = record.bytes,
                                     .size = record.size};
        shell_step(sh, &event);
        if (!kept)
            catch_up(sh, record.bytes, record.size);
    }
}

static uint64_t commit_due_ms(const struct shell *sh)
{
    return sh->urgent > 0 ? 0 : queue_is_empty(&sh->records) ? UINT64_MAX : sh->lazy_due_ms;
}

/* ---- Compaction ------------------------------------------------------------------- */

static void compaction_begin(struct shell *sh)
{
    struct compaction *x = &sh->compaction;
    uint8_t head[64];
    uint32_t size = write_journal_head(head, JOURNAL_FORMAT);
    memset(&x->cursor, 0, sizeof x->cursor);
    batch_begin(&x->batch);
    x->began_ms = sh->sys->mono_ms(sh->world);
    x->longest_ms = 0;
    x->file.fd = sh->sys->open(sh->world, sh->folder, "journal.new", true);
    x->file.size = size;
    x->file.number = 0;
    x->file.unsynced = true;
    if (x->file.fd < 0 || !sh->sys->append(sh->world, x->file.fd, head, size))
        compaction_failed(sh);
}

/* All is in it: from here on it is the journal. Until its name is on the disk
 * it is not to be relied on, and the old one is not the journal any more. */
static void compaction_finish(struct shell *sh)
{
    struct compaction *x = &sh->compaction;
    char text[192];
    uint64_t was = sh->journal.size, before_ms = sh->sys->mono_ms(sh->world);
    if (!compaction_write(sh, true) || !journal_sync(sh, &x->file) ||
        !sh->sys->rename(sh->world, sh->folder, "journal.new", "journal")) {
        compaction_failed(sh);
        return;
    }
    journal_close(sh, &sh->journal);
    sh->journal = x->file;
    x->file.fd = -1;
    sh->live_bytes = sh->journal.size;
    if (!sh->sys->sync_folder(sh->world, sh->folder)) {
        if (!sh->journal_lost)
            journal_failed(sh, sh->journal.size);
        journal_close(sh, &sh->journal);
        x->again_ms = sh->now_ms + RECOVER_RETRY_MS;
        return;
    }
    uint64_t now_ms = sh->sys->mono_ms(sh->world);
    (void)snprintf(text, sizeof text, "event=compacted bytes=%llu was=%llu ms=%llu longest_turn_ms=%llu sync_ms=%llu",
                   (unsigned long long)sh->journal.size, (unsigned long long)was,
                   (unsigned long long)(now_ms - x->began_ms), (unsigned long long)x->longest_ms,
                   (unsigned long long)(now_ms - before_ms));
    if (was > 0) /* else it is the first one */
        shell_log(sh, NASCAR_LOG_INFO, text);
    if (sh->journal_lost)
        shell_log(sh, NASCAR_LOG_INFO, "event=journal_recovered");
    sh->journal_lost = x->failing = false;
}

/* Writes as much of the state as there is time for. */
static void compaction_slice(struct shell *sh)
{
    struct compaction *x = &sh->compaction;
    struct nascar_record record;
    uint64_t began_ms = sh->sys->mono_ms(sh->world), spent_ms = 0;
    bool more = true;
    for (uint32_t n = 1; more && spent_ms < COMPACT_SLICE_MS; n++) {
        more = nascar_next_kept(sh->state, &x->cursor, &record);
        /* size 0: it has looked at enough that is not kept */
        if (more && record.size > 0 && !compaction_add(sh, record.bytes, record.size)) {
            compaction_failed(sh);
            return;
        }
        if (n % COMPACT_ITEMS == 0)
            spent_ms = sh->sys->mono_ms(sh->world) - began_ms;
    }
    spent_ms = sh->sys->mono_ms(sh->world) - began_ms;
    x->longest_ms = spent_ms > x->longest_ms ? spent_ms : x->longest_ms;
    if (!more)
        compaction_finish(sh);
}

static uint64_t compaction_due_ms(const struct shell *sh)
{
    const struct compaction *x = &sh->compaction;
    bool wanted = sh->journal.fd < 0 || (sh->journal.size > COMPACT_BYTES && sh->journal.size > 2 * sh->live_bytes);
    return x->file.fd >= 0 ? 0 : wanted ? x->again_ms : UINT64_MAX;
}

static void compaction_work(struct shell *sh)
{
    if (compaction_due_ms(sh) > sh->now_ms)
        return;
    if (sh->compaction.file.fd < 0)
        compaction_begin(sh);
    if (sh->compaction.file.fd >= 0)
        compaction_slice(sh);
}

/* ---- Loading the journal ------------------------------------------------------------ */

/* Says why a journal is not to be started from, and what to do. */
static bool journal_refuse(const char *path, const struct journal_reader *r)
{
    unsigned long long at = r->at, later = r->later;
    if (r->end == JOURNAL_NEWER)
        return complain("", path, "its format is %u and this version knows %u: start the newer version that wrote it",
                        r->format, JOURNAL_FORMAT);
    if (r->end == JOURNAL_HEADLESS)
        return complain("", path,
                        "damaged at byte 0, where it says what it is: take a copy of it from a backup, or "
                        "move it away to start with nothing");
    return complain("", path,
                    "damaged at byte %llu; what was kept later goes on at byte %llu: take a copy of it from "
                    "a backup, or give up all from there on with `truncate -s %llu` on it",
                    at, later, at);
}

static void journal_path(const char *folder, char out[LINE_CHARS + 16])
{
    (void)snprintf(out, LINE_CHARS + 16, "%s/journal", folder);
}

/* Reads the journal, sees how much of it is sound, and counts what must find
 * room. There may be none yet: then nothing is sound. */
static bool journal_find(struct shell *sh, struct journal_reader *r)
{
    char path[LINE_CHARS + 16];
    struct span frames, record;
    size_t size = 0;
    memset(r, 0, sizeof *r);
    journal_path(sh->options.data, path);
    sh->compaction.file.fd = -1;
    sh->batch.bytes = reserve(BATCH_BYTES);
    sh->compaction.batch.bytes = reserve(BATCH_BYTES);
    if (!sh->batch.bytes || !sh->compaction.batch.bytes)
        return complain("", "", "no memory");
    sh->sys->remove(sh->world, sh->folder, "journal.new");
    sh->journal.fd = sh->sys->open(sh->world, sh->folder, "journal", false);
    if (sh->journal.fd < 0 && errno == ENOENT)
        return true;
    uint8_t *bytes = sh->journal.fd >= 0 ? sh->sys->load(sh->world, sh->journal.fd, &size) : NULL;
    if (!bytes)
        return complain("", path, "%s", strerror(errno));
    journal_open(r, bytes, size);
    while (journal_next(r, &frames)) {
        while (take_record(&frames, &record)) {
            sh->kept.accounts += memcmp(record.bytes, "acct", 4) == 0;
            sh->kept.roster += memcmp(record.bytes, "rost", 4) == 0;
            sh->kept.messages += memcmp(record.bytes, "mesg", 4) == 0;
        }
    }
    r->checked = r->at;
    return r->end == JOURNAL_WHOLE || r->end == JOURNAL_TORN || journal_refuse(path, r);
}

/* Gives all its records to the core. */
static void journal_replay(struct shell *sh, struct journal_reader *r)
{
    struct span frames, record;
    struct nascar_event event = {.type = NASCAR_RECORD, .conn = NONE};
    struct journal_reader again;
    journal_open(&again, r->bytes, r->size);
    again.checked = r->checked;
    while (again.at < again.checked && journal_next(&again, &frames)) {
        while (take_record(&frames, &record)) {
            event.bytes = record.bytes;
            event.size = (uint32_t)record.size;
            shell_step(sh, &event);
        }
    }
    sh->journal.size = r->at;
    sh->journal.number = r->number;
    sh->journal.unsynced = true; /* who knows what the last run came to: its name may be new, too */
}

/* Makes the state what it was, and the journal one that can be written to. A
 * first one, or one of an older format, is written anew. */
static bool journal_load(struct shell *sh, struct journal_reader *r)
{
    char text[128];
    if (sh->journal.fd >= 0) {
        journal_replay(sh, r);
        sh->sys->unload(sh->world, (uint8_t *)(uintptr_t)r->bytes, r->size);
        sh->live_bytes = r->compacted;
        if (r->end == JOURNAL_TORN) {
            (void)snprintf(text, sizeof text, "event=journal_cut bytes=%llu offset=%llu",
                           (unsigned long long)(r->size - r->at), (unsigned long long)r->at);
            shell_log(sh, NASCAR_LOG_WARN, text);
        }
        if ((r->end == JOURNAL_TORN && !sh->sys->truncate(sh->world, sh->journal.fd, r->at)) ||
            !journal_sync(sh, &sh->journal) || !sh->sys->sync_folder(sh->world, sh->folder))
            journal_failed(sh, r->at);
    }
    if (sh->journal.fd < 0 || r->format < JOURNAL_FORMAT) {
        compaction_begin(sh);
        while (sh->compaction.file.fd >= 0)
            compaction_slice(sh);
        if (sh->compaction.failing || sh->journal.fd < 0) {
            log_flush(sh);
            return complain("", sh->options.data, "a journal could not be written there: see above");
        }
    }
    return true;
}

/* What still waits is kept, and nothing is left that says a server runs. */
static void journal_end(struct shell *sh)
{
    for (int i = 0; i < 100 && !queue_is_empty(&sh->records); i++)
        journal_commit(sh);
    if (sh->journal.fd >= 0 && !journal_sync(sh, &sh->journal))
        journal_failed(sh, sh->journal.size);
    journal_close(sh, &sh->journal);
    if (sh->compaction.file.fd >= 0)
        sh->sys->remove(sh->world, sh->folder, "journal.new");
    journal_close(sh, &sh->compaction.file);
    sh->sys->remove(sh->world, sh->folder, "control");
    sh->sys->remove(sh->world, sh->folder, "pid");
}

/* ---- The hashing helper -------------------------------------------------------------- */

static void helper_start(struct shell *sh)
{
    struct helper *h = &sh->helper;
    h->again_ms = sh->now_ms + HELPER_PAUSE_MS;
    h->fd = sh->sys->helper(sh->world);
    if (h->fd < 0 && !h->failing)
        shell_log(sh, NASCAR_LOG_ERROR, "event=helper_failed advice=\"nobody can log in until it starts\"");
    h->failing = h->fd < 0;
}

/* The first job is answered; the next ones move up. */
static void helper_verdict(struct shell *sh, const struct hash_answer *answer)
{
    struct helper *h = &sh->helper;
    const struct nascar_hash_job *job = &h->job[0].question.job;
    struct nascar_event event = {.type = NASCAR_VERDICT,
                                 .conn = job->conn,
                                 .ticket = job->ticket,
                                 .accepted = answer->accepted,
                                 .bytes = (const uint8_t *)answer->fresh,
                                 .size = (uint32_t)strlen(answer->fresh)};
    h->jobs--;
    memmove(&h->job[0], &h->job[1], h->jobs * sizeof h->job[0]);
    wipe(&h->job[h->jobs], sizeof h->job[0]);
    shell_step(sh, &event);
}

/* The next one gets its jobs, unless the first is what it dies of. */
static void helper_died(struct shell *sh)
{
    struct helper *h = &sh->helper;
    const struct hash_answer no = {0, false, ""};
    shell_log(sh, NASCAR_LOG_ERROR, "event=helper_died advice=\"it is started again\"");
    sh->sys->close(sh->world, h->fd);
    h->fd = -1;
    for (uint32_t i = 0; i < h->jobs; i++)
        h->job[i].sent = false;
    if (h->jobs > 0 && ++h->job[0].deaths == HELPER_DEATHS)
        helper_verdict(sh, &no);
}

/* Takes the answers that are there. */
static void helper_read(struct shell *sh)
{
    struct helper *h = &sh->helper;
    struct hash_answer answer;
    ssize_t n;
    while ((n = sh->sys->read(sh->world, h->fd, &answer, sizeof answer)) == sizeof answer ||
           (n < 0 && errno == EINTR)) {
        answer.fresh[sizeof answer.fresh - 1] = 0;
        if (n > 0 && h->jobs > 0 && h->job[0].sent && answer.number == h->job[0].question.number)
            helper_verdict(sh, &answer);
    }
    if (n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
        helper_died(sh);
}

/* Takes jobs from the queue; whoever has hung up meanwhile is not hashed for. */
static void helper_fill(struct shell *sh)
{
    struct helper *h = &sh->helper;
    struct nascar_hash_job job;
    while (h->jobs < HELPER_JOBS && queue_take(&sh->jobs, &job)) {
        struct nascar_event event = {.conn = job.conn, .ticket = job.ticket};
        if (is_awaited(sh->state, &event, WAIT_VERDICT)) {
            memset(&h->job[h->jobs], 0, sizeof h->job[0]);
            h->job[h->jobs].question.number = h->next_number++;
            h->job[h->jobs].question.cost = sh->options.hash_cost;
            h->job[h->jobs++].question.job = job;
        }
        wipe(&job, sizeof job);
    }
}

static void helper_work(struct shell *sh)
{
    struct helper *h = &sh->helper;
    if (h->fd < 0 && sh->now_ms >= h->again_ms)
        helper_start(sh);
    helper_fill(sh);
    for (uint32_t i = 0; i < h->jobs && h->fd >= 0; i++) {
        const struct hash_question *q = &h->job[i].question;
        if (!h->job[i].sent && sh->sys->write(sh->world, h->fd, q, sizeof *q) != sizeof *q)
            return; /* its end shows when it is read */
        h->job[i].sent = true;
    }
}

static uint64_t helper_due_ms(const struct shell *sh)
{
    return sh->helper.fd < 0 ? sh->helper.again_ms : UINT64_MAX;
}

/* ---- Connections --------------------------------------------------------------- */

static struct pollfd *polled_conn(const struct shell *sh, uint32_t c)
{
    return &sh->polled[FIRST_SOCKET + sh->place_of[c]];
}

/* The last numbers are the operator's, who gets in when all others are taken. */
static struct numbers *numbers_of(struct shell *sh, bool control)
{
    return control ? &sh->control_numbers : &sh->numbers;
}

static void shell_open(struct shell *sh, int fd, bool control, uint32_t peer, uint32_t local)
{
    struct numbers *numbers = numbers_of(sh, control);
    uint32_t c = numbers->free[--numbers->count];
    sh->place_of[c] = sh->open;
    sh->number_of[sh->open] = c;
    struct pollfd *polled = &sh->polled[FIRST_SOCKET + sh->open++];
    polled->fd = fd;
    polled->events = POLLIN;
    polled->revents = 0;
    struct nascar_event event = {.type = control ? NASCAR_CONTROL : NASCAR_OPENED,
                                 .conn = c,
                                 .peer = peer,
                                 .local = local};
    shell_step(sh, &event);
}

/* The last connection takes the place of the one that goes. */
static void shell_close(struct shell *sh, uint32_t c)
{
    struct pollfd *polled = polled_conn(sh, c);
    uint32_t place = sh->place_of[c], last = --sh->open;
    if (!(polled->events & POLLIN))
        sh->paused--;
    sh->sys->close(sh->world, polled->fd);
    *polled = sh->polled[FIRST_SOCKET + last];
    sh->number_of[place] = sh->number_of[last];
    sh->place_of[sh->number_of[place]] = place;
    sh->place_of[c] = NONE;
    struct numbers *numbers = numbers_of(sh, c >= sh->conns - NASCAR_CONTROL_CONNECTIONS);
    numbers->free[numbers->count++] = c;
    if (is_recording(sh))
        sh->partial[c].size = 0;
    struct nascar_event event = {.type = NASCAR_CLOSED, .conn = c};
    shell_step(sh, &event);
}

/* While recording the core gets whole frames, so that what must not be written
 * down can be found in them. Broken input ends the connection by its header. */
static void shell_whole_frames(struct shell *sh, uint32_t c)
{
    struct partial *partial = &sh->partial[c];
    struct frame frame;
    enum frame_state state;
    while (partial->size > 0 && (state = read_frame(partial->bytes, partial->size, &frame)) != FRAME_PART) {
        uint32_t size = state == FRAME_WHOLE ? frame.size : min_u32(partial->size, HEADER_BYTES);
        if (nascar_inbox_room(sh->state, c) < size)
            return;
        struct nascar_event event = {.type = NASCAR_BYTES, .conn = c, .bytes = partial->bytes, .size = size};
        shell_step(sh, &event);
        partial->size = state == FRAME_WHOLE ? partial->size - size : 0;
        memmove(partial->bytes, partial->bytes + size, partial->size);
        wipe(partial->bytes + partial->size, size);
    }
}

static uint32_t input_room(const struct shell *sh, uint32_t c)
{
    uint32_t room = nascar_inbox_room(sh->state, c);
    return is_recording(sh) && room > 0 ? INBOX_BYTES - sh->partial[c].size : room;
}

/* Reads from a connection only what can be taken. */
static void shell_read_wanted(struct shell *sh, uint32_t c)
{
    struct pollfd *polled = polled_conn(sh, c);
    if (is_recording(sh))
        shell_whole_frames(sh, c);
    bool wanted = input_room(sh, c) > 0, was = (polled->events & POLLIN) != 0;
    if (wanted == was)
        return;
    polled->events = (short)(wanted ? polled->events | POLLIN : polled->events & ~POLLIN);
    sh->paused += wanted ? 0u - 1u : 1u;
}

/* Writes once what the outbox has; returns false if it is closed by now, or
 * cannot be written to at present. */
static bool shell_write_some(struct shell *sh, uint32_t c)
{
    struct pollfd *polled = polled_conn(sh, c);
    uint32_t size = 0;
    const uint8_t *bytes = nascar_outbox(sh->state, c, &size);
    ssize_t n = 0;
    if (size > 0) {
        do
            n = sh->sys->write(sh->world, polled->fd, bytes, size);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS) {
            shell_close(sh, c);
            return false;
        }
        n = n < 0 ? 0 : n;
    }
    if (nascar_closing(sh->state, c)) {
        shell_close(sh, c);
        return false;
    }
    bool whole = (size_t)n == size;
    polled->events = (short)(whole ? polled->events & ~POLLOUT : polled->events | POLLOUT);
    struct nascar_event event = {.type = NASCAR_DRAINED, .conn = c, .size = (uint32_t)n};
    shell_step(sh, &event);
    return whole;
}

/* Writes, and reports it, which may make more, until there is none. */
static void shell_write(struct shell *sh, uint32_t c)
{
    uint32_t size;
    while (shell_write_some(sh, c) && nascar_outbox(sh->state, c, &size) != NULL)
        continue;
}

/* Writes until nobody has anything more to say, or cannot be written to.
 * Returns whether anybody had. */
static bool shell_output(struct shell *sh)
{
    uint32_t c;
    bool any = false;
    for (; (c = nascar_next_output(sh->state)) != NONE; any = true)
        if (sh->place_of[c] != NONE && (!(polled_conn(sh, c)->events & POLLOUT) || nascar_closing(sh->state, c)))
            shell_write(sh, c);
    return any;
}

/* Keeps what is to be kept, and then writes until there is nothing left to say.
 * Whoever waited for a reader in this turn goes on in it, too. */
static void shell_flush(struct shell *sh)
{
    journal_commit(sh);
    do
        helper_work(sh);
    while (shell_output(sh));
}

static void shell_read(struct shell *sh, uint32_t c)
{
    uint8_t bytes[INBOX_BYTES];
    struct pollfd *polled = polled_conn(sh, c);
    uint32_t room = input_room(sh, c);
    if (room == 0) { /* it has hung up, and we would not read to see it */
        if (polled->revents & (POLLHUP | POLLERR))
            shell_close(sh, c);
        return;
    }
    ssize_t n;
    do
        n = sh->sys->read(sh->world, polled->fd, bytes, room);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (n <= 0) {
        shell_close(sh, c);
        return;
    }
    if (is_recording(sh)) {
        memcpy(sh->partial[c].bytes + sh->partial[c].size, bytes, (size_t)n);
        sh->partial[c].size += (uint32_t)n;
    } else {
        struct nascar_event event = {.type = NASCAR_BYTES, .conn = c, .bytes = bytes, .size = (uint32_t)n};
        shell_step(sh, &event);
    }
    wipe(bytes, (size_t)n);
    shell_read_wanted(sh, c);
}

static void shell_accept(struct shell *sh, int listener, bool control)
{
    for (uint32_t i = 0; i < ACCEPTS_PER_TURN && numbers_of(sh, control)->count > 0; i++) {
        uint32_t peer = 0, local = 0;
        int fd = sh->sys->accept(sh->world, listener, &peer, &local);
        if (fd >= 0) {
            shell_open(sh, fd, control, peer, local);
            continue;
        }
        int error = errno;
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
            char text[128];
            (void)snprintf(text, sizeof text, "event=accept_paused connections=%u reason=\"%s\"", sh->open,
                           strerror(error));
            shell_log(sh, NASCAR_LOG_WARN, text);
            sh->accept_paused = true;
            sh->accept_again_ms = sh->now_ms + ACCEPT_PAUSE_MS;
        }
        if (error != EINTR && error != ECONNABORTED)
            return;
    }
}

/* ---- The loop -------------------------------------------------------------------- */

/* Milliseconds until the next deadline, at most a minute, as poll takes them. */
static int shell_timeout(const struct shell *sh, uint64_t until_ms)
{
    const uint64_t others_ms[] = {sh->accept_paused ? sh->accept_again_ms : UINT64_MAX, commit_due_ms(sh),
                                  compaction_due_ms(sh), helper_due_ms(sh), until_ms};
    uint64_t due_ms = nascar_deadline_ms(sh->state);
    for (size_t i = 0; i < sizeof others_ms / sizeof others_ms[0]; i++)
        due_ms = others_ms[i] < due_ms ? others_ms[i] : due_ms;
    if (due_ms == UINT64_MAX)
        return -1;
    if (due_ms <= sh->now_ms)
        return 0;
    return due_ms - sh->now_ms > 60000 ? 60000 : (int)(due_ms - sh->now_ms);
}

/* Listeners are polled while a connection can be taken. */
static void shell_listen_wanted(struct shell *sh)
{
    if (sh->accept_paused && sh->now_ms >= sh->accept_again_ms)
        sh->accept_paused = false;
    bool wanted = !sh->stopping && !sh->accept_paused;
    for (uint32_t i = FIRST_LISTENER; i < FIRST_SOCKET; i++)
        sh->polled[i].events = wanted && numbers_of(sh, i == CONTROL_LISTENER)->count > 0 ? POLLIN : 0;
    sh->polled[HELPER].fd = sh->helper.fd;
    sh->polled[HELPER].events = POLLIN;
}

/* The core's part of the options, with the ports as they came to be. */
static void shell_configure(struct shell *sh)
{
    char text[2 * CONFIG_BYTES + 64];
    int n = snprintf(text, sizeof text, "%s%slobby-port = %u\nbuddy-port = %u\n", sh->options.core, sh->options.rooms,
                     sh->options.port[1], sh->options.port[2]);
    struct nascar_event event = {.type = NASCAR_CONFIG,
                                 .conn = NONE,
                                 .bytes = (const uint8_t *)text,
                                 .size = (uint32_t)n};
    shell_step(sh, &event);
}

/* SIGHUP: what can change while it runs does; ports and sizes stay. */
static void shell_reload(struct shell *sh)
{
    struct options *fresh = malloc(sizeof *fresh);
    if (fresh && read_options(fresh, sh->arguments)) {
        memcpy(fresh->port, sh->options.port, sizeof fresh->port);
        sh->options = *fresh;
        shell_configure(sh);
        shell_log(sh, NASCAR_LOG_INFO, "event=reloaded");
    } else {
        shell_log(sh, NASCAR_LOG_ERROR, "event=reload_refused reason=\"see the line above; nothing has changed\"");
    }
    free(fresh);
}

/* SIGHUP reads the configuration again, SIGTERM and SIGINT end the loop. */
static void shell_signal(struct shell *sh)
{
    struct signalfd_siginfo info;
    if (!(sh->polled[SIGNALS].revents & POLLIN) || read(sh->polled[SIGNALS].fd, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGHUP)
        shell_reload(sh);
    else
        sh->stopping = true;
}

/* One turn: write all that came of the last one, wait, read all that is ready.
 * Returns false if polling fails, which it does not. */
static bool shell_turn(struct shell *sh, uint64_t until_ms)
{
    shell_flush(sh);
    compaction_work(sh);
    for (uint32_t place = 0; sh->paused > 0 && place < sh->open; place++)
        shell_read_wanted(sh, sh->number_of[place]);
    log_flush(sh);
    shell_listen_wanted(sh);
    int n = sh->sys->poll(sh->world, sh->polled, FIRST_SOCKET + sh->open, shell_timeout(sh, until_ms));
    if (n < 0)
        return errno == EINTR;
    shell_time(sh);
    if (nascar_deadline_ms(sh->state) <= sh->now_ms) {
        struct nascar_event event = {.type = NASCAR_CLOCK, .conn = NONE};
        shell_step(sh, &event);
    }
    if (n == 0)
        return true;
    shell_signal(sh);
    if (sh->polled[HELPER].revents != 0)
        helper_read(sh);
    /* From the end: whoever closes is replaced by one that has been served. */
    for (uint32_t place = sh->open; place-- > 0;) {
        if (place >= sh->open)
            continue;
        short revents = sh->polled[FIRST_SOCKET + place].revents;
        uint32_t c = sh->number_of[place];
        if (revents & POLLOUT)
            shell_write(sh, c);
        if ((revents & (POLLIN | POLLHUP | POLLERR)) && sh->place_of[c] == place)
            shell_read(sh, c);
        if (place % OUTPUT_BATCH == 0) /* so that few outboxes are in use at once */
            (void)shell_output(sh);
    }
    for (uint32_t i = FIRST_LISTENER; i < FIRST_SOCKET; i++)
        if (sh->polled[i].revents & POLLIN)
            shell_accept(sh, sh->polled[i].fd, i == CONTROL_LISTENER);
    return true;
}

static bool has_output(const struct shell *sh)
{
    for (uint32_t place = 0; place < sh->open; place++)
        if (sh->polled[FIRST_SOCKET + place].events & POLLOUT)
            return true;
    return false;
}

/* Runs until it is told to stop, then flushes outboxes, two seconds at most. */
static int shell_loop(struct shell *sh)
{
    char text[64];
    while (!sh->stopping)
        if (!shell_turn(sh, UINT64_MAX))
            return 1;
    uint64_t until_ms = sh->now_ms + STOP_MS;
    shell_flush(sh);
    while ((has_output(sh) || sh->urgent > 0) && sh->now_ms < until_ms)
        if (!shell_turn(sh, until_ms))
            return 1;
    (void)snprintf(text, sizeof text, "event=stop connections=%u", sh->open);
    for (uint32_t place = 0; place < sh->open; place++)
        sh->sys->close(sh->world, sh->polled[FIRST_SOCKET + place].fd);
    journal_end(sh);
    shell_log(sh, NASCAR_LOG_INFO, text);
    log_flush(sh);
    record_close(sh);
    return 0;
}

/* ---- Start ------------------------------------------------------------------------- */

static void explain_listen(const struct options *o, uint32_t which)
{
    char address[16];
    write_address(address, o->bind_address);
    (void)complain("", "", "%s port %u on %s: %s", port_names[which], o->port[which], address, strerror(errno));
}

/* Opens one listener; its port becomes the one that it has. -1 and a line on
 * standard error if it cannot be. */
static int open_listener(struct options *o, uint32_t which)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(o->bind_address);
    address.sin_port = htons((uint16_t)o->port[which]);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)&address, size) != 0 || listen(fd, 512) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        explain_listen(o, which);
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    o->port[which] = ntohs(address.sin_port);
    return fd;
}

/* Signals arrive as bytes to read; SIGPIPE does not arrive at all. */
static int open_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file that grows no more is an error of its write */
    (void)signal(SIGCHLD, SIG_IGN); /* the helper leaves no zombie */
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Each connection takes a file: asks for as many as the limits allow. */
static void raise_file_limit(struct shell *sh)
{
    struct rlimit limit;
    rlim_t wanted = sh->conns + 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        shell_log(sh, NASCAR_LOG_WARN, "event=few_files advice=\"raise the limit of open files (ulimit -n)\"");
}

static void raise_limit(uint32_t *limit, uint32_t kept, uint32_t most)
{
    if (kept > *limit)
        *limit = min_u32(kept, most);
}

/* Nothing that is kept is dropped because an option was lowered. */
static void raise_limits(struct shell *sh, struct nascar_limits *limits)
{
    char text[96];
    raise_limit(&limits->accounts, sh->kept.accounts, 1u << 20);
    raise_limit(&limits->roster_edges, sh->kept.roster, 1u << 26);
    raise_limit(&limits->messages, sh->kept.messages, 1u << 20);
    (void)snprintf(text, sizeof text, "event=accounts_over_limit max_accounts=%u room_for=%u", sh->options.max_accounts,
                   limits->accounts);
    if (limits->accounts > sh->options.max_accounts)
        shell_log(sh, NASCAR_LOG_WARN, text);
}

/* Makes the state and the tables for as many connections as it has. */
static bool make_state(struct shell *sh)
{
    struct nascar_limits limits = NASCAR_LIMITS_DEFAULT;
    limits.clients = sh->options.max_clients;
    limits.accounts = sh->options.max_accounts;
    limits.roster_edges = min_u32(limits.accounts, (1u << 26) / ROSTER_PER_PERSONA) * ROSTER_PER_PERSONA;
    raise_limits(sh, &limits);
    sh->limits = limits;
    sh->conns = nascar_connections(&limits);
    size_t arena_bytes = nascar_arena_size(&limits);
    void *arena = arena_bytes ? reserve(arena_bytes) : NULL;
    if (!arena)
        return complain("", "", "no memory for %u clients and %u accounts", limits.clients, limits.accounts);
    sh->state = nascar_init(arena, arena_bytes, &limits);
    sh->polled = reserve((FIRST_SOCKET + sh->conns) * sizeof *sh->polled);
    sh->number_of = reserve(sh->conns * sizeof *sh->number_of);
    sh->place_of = reserve(sh->conns * sizeof *sh->place_of);
    sh->numbers.free = reserve(sh->conns * sizeof *sh->numbers.free);
    if (!sh->state || !sh->polled || !sh->number_of || !sh->place_of || !sh->numbers.free)
        return complain("", "", "no memory for %u connections", sh->conns);
    sh->numbers.count = sh->conns - NASCAR_CONTROL_CONNECTIONS;
    sh->control_numbers.count = NASCAR_CONTROL_CONNECTIONS;
    sh->control_numbers.free = sh->numbers.free + sh->numbers.count;
    for (uint32_t c = 0; c < sh->conns; c++) {
        bool control = c >= sh->numbers.count;
        sh->place_of[c] = NONE; /* the lowest number is taken first */
        sh->numbers.free[c] = control ? sh->conns - 1 - (c - sh->numbers.count) : sh->numbers.count - 1 - c;
    }
    return true;
}

static void announce(const struct shell *sh)
{
    char address[16];
    write_address(address, sh->options.bind_address);
    (void)printf("ready");
    for (uint32_t i = 0; i < LISTENERS; i++)
        (void)printf(" %s=%s:%u", port_names[i], address, sh->options.port[i]);
    (void)printf("\n");
    (void)fflush(stdout);
}

/* Who holds the folder, as its file says. */
static void explain_lock(const struct shell *sh, int error)
{
    char pid[16] = "?";
    int fd = openat(sh->folder, "pid", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, pid, sizeof pid - 1) : -1;
    if (n > 0)
        pid[n] = 0;
    pid[strcspn(pid, "\n")] = 0;
    if (fd >= 0)
        (void)close(fd);
    if (error == EWOULDBLOCK)
        (void)complain(COMMAND_LINE, "data", "%s: a server uses it, process %s", sh->options.data, pid);
    else
        (void)complain(COMMAND_LINE, "data", "%s: it cannot be locked: %s", sh->options.data, strerror(error));
}

/* The folder is ours as long as it is open. */
static bool open_data(struct shell *sh)
{
    const char *path = sh->options.data;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return complain(COMMAND_LINE, "data", "%s: it cannot be made: %s", path, strerror(errno));
    sh->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sh->folder < 0)
        return complain(COMMAND_LINE, "data", "%s: %s", path, strerror(errno));
    if (flock(sh->folder, LOCK_EX | LOCK_NB) != 0) {
        explain_lock(sh, errno);
        return false;
    }
    char pid[16];
    int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    int fd = system_open(NULL, sh->folder, "pid", true);
    bool good = fd >= 0 && system_append(NULL, fd, pid, (size_t)n);
    if (!good)
        (void)complain(COMMAND_LINE, "data", "%s: it cannot be written to: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return good;
}

static const struct sockaddr_un control_address = {.sun_family = AF_UNIX, .sun_path = "control"};

/* By its name in the folder, as a socket's path must be short. Without it the
 * server runs on: some file systems have no sockets. */
static int open_control(struct shell *sh)
{
    int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mode_t mask = umask(0177);
    system_remove(NULL, sh->folder, "control");
    bool good = here >= 0 && fd >= 0 && fchdir(sh->folder) == 0;
    good =
        good && bind(fd, (const struct sockaddr *)&control_address, sizeof control_address) == 0 && listen(fd, 4) == 0;
    int error = errno;
    (void)umask(mask);
    if (here < 0 || fchdir(here) != 0)
        good = false;
    if (here >= 0)
        (void)close(here);
    if (!good) {
        char text[128];
        (void)snprintf(text, sizeof text, "event=no_control reason=\"%s\"", strerror(error));
        shell_log(sh, NASCAR_LOG_WARN, text);
        if (fd >= 0)
            (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* Up to the loop: the helper before there is anything that it should not have,
 * then what is kept, and then whoever wants to connect. */
static int serve_start(struct shell *sh)
{
    struct journal_reader reader;
    int signals = open_signals();
    if (signals < 0) {
        (void)complain("", "", "signals: %s", strerror(errno));
        return 1;
    }
    shell_time(sh);
    helper_start(sh);
    if (!open_data(sh) || !journal_find(sh, &reader) || !make_state(sh))
        return 1;
    (void)madvise(sh->state, nascar_arena_size(&sh->limits), MADV_DONTFORK);
    raise_file_limit(sh);
    sh->polled[SIGNALS].fd = signals;
    sh->polled[SIGNALS].events = POLLIN;
    if (!record_open(sh))
        return 1;
    feed_entropy(sh);
    if (!journal_load(sh, &reader))
        return 1;
    for (uint32_t i = 0; i < LISTENERS; i++) {
        sh->polled[FIRST_LISTENER + i].fd = open_listener(&sh->options, i);
        if (sh->polled[FIRST_LISTENER + i].fd < 0)
            return 1;
    }
    sh->polled[CONTROL_LISTENER].fd = open_control(sh);
    shell_configure(sh);
    return 0;
}

static int serve(char **arguments)
{
    struct shell *sh = calloc(1, sizeof *sh);
    if (!sh)
        return 1;
    sh->sys = &system_calls;
    sh->arguments = arguments;
    sh->records.stride = sizeof(struct record_slot);
    sh->jobs.stride = sizeof(struct nascar_hash_job);
    if (!read_options(&sh->options, arguments))
        return 2;
    int status = serve_start(sh);
    if (status == 0) {
        log_flush(sh); /* what the start had to say comes first */
        announce(sh);
        status = shell_loop(sh);
    }
    log_flush(sh);
    return status;
}

/* Reads a whole file; NULL and a line on standard error if it cannot be. */
static uint8_t *read_file(const char *path, size_t *size)
{
    uint8_t *bytes = NULL;
    FILE *file = fopen(path, "rb");
    size_t room = 0, n = 1;
    *size = 0;
    while (file && n > 0) {
        if (*size == room) {
            room = room ? 2 * room : 65536;
            uint8_t *more = realloc(bytes, room);
            if (!more)
                break;
            bytes = more;
        }
        n = fread(bytes + *size, 1, room - *size, file);
        *size += n;
    }
    if (!file || ferror(file) || n > 0) {
        (void)complain("", path, "%s", strerror(errno));
        free(bytes);
        bytes = NULL;
    }
    if (file)
        (void)fclose(file);
    return bytes;
}

/* ---- Dump: what is kept, as text -------------------------------------------------------- */

/* One line: the kind and the tags, with all that is no plain character escaped. */
static void dump_record(const struct span *record)
{
    struct outgoing f;
    scrub_record(record->bytes, (uint32_t)record->size, &f);
    uint32_t end = HEADER_BYTES + payload_size(f.bytes + HEADER_BYTES, f.size - HEADER_BYTES);
    (void)printf("  %.4s", (const char *)f.bytes);
    for (uint32_t i = HEADER_BYTES; i < end; i++) {
        if (i == HEADER_BYTES || f.bytes[i - 1] == '\n')
            (void)putchar(' ');
        if (f.bytes[i] >= 0x20 && f.bytes[i] <= 0x7e)
            (void)putchar(f.bytes[i]);
        else if (f.bytes[i] != '\n')
            (void)printf("\\x%02x", (unsigned)f.bytes[i]);
    }
    (void)putchar('\n');
}

static int dump(const char *folder)
{
    char path[LINE_CHARS + 16];
    struct journal_reader r;
    struct span frames, record;
    size_t size;
    journal_path(folder, path);
    uint8_t *bytes = read_file(path, &size);
    if (!bytes)
        return 1;
    journal_open(&r, bytes, size);
    (void)printf("journal format %u, %llu bytes\n", r.format, (unsigned long long)size);
    for (size_t at = r.at; journal_next(&r, &frames); at = r.at) {
        uint32_t count = 0;
        for (struct span left = frames; take_record(&left, &record);)
            count++;
        (void)printf("batch %llu at %llu: %u records\n", (unsigned long long)r.number, (unsigned long long)at, count);
        while (take_record(&frames, &record))
            dump_record(&record);
    }
    if (r.end == JOURNAL_TORN)
        (void)printf("torn at %llu: the last %llu bytes were not written out\n", (unsigned long long)r.at,
                     (unsigned long long)(size - r.at));
    bool good = r.end == JOURNAL_WHOLE || r.end == JOURNAL_TORN;
    (void)fflush(stdout);
    if (!good)
        (void)journal_refuse(path, &r);
    free(bytes);
    return good ? 0 : 1;
}

/* ---- Control: asking the server that runs ------------------------------------------------ */

static const struct {
    const char *name;
    char kind[5];
    bool sets_password;
} control_commands[] = {{"who", "cwho", false}, {"stats", "csta", false}, {"passwd", "cpwd", true}};

#define CONTROL_COMMANDS (sizeof control_commands / sizeof control_commands[0])

static void on_interrupt(int number)
{
    (void)number; /* the read ends, and the terminal is put right */
}

/* One line of standard input; false at its end, or if it is too long. */
static bool read_secret(char *out, size_t out_bytes)
{
    size_t n = 0;
    char c = 0;
    while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n' && n + 1 < out_bytes)
        out[n++] = c;
    n -= n > 0 && out[n - 1] == '\r';
    out[n] = 0;
    return c == '\n' || n > 0;
}

/* From the terminal, unseen. */
static bool ask_secret(const char *prompt, char *out, size_t out_bytes)
{
    struct termios shown, hidden;
    if (tcgetattr(STDIN_FILENO, &shown) != 0)
        return read_secret(out, out_bytes);
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    (void)fputs(prompt, stderr);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    bool good = read_secret(out, out_bytes);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    (void)fputc('\n', stderr);
    return good;
}

static bool ask_password(char *out, size_t out_bytes)
{
    char again[128];
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    (void)sigaction(SIGINT, &action, NULL);
    if (!ask_secret("New password: ", out, out_bytes))
        return complain("ctl ", "passwd", "expected a password on standard input");
    if (!isatty(STDIN_FILENO))
        return true;
    bool same = ask_secret("Once more: ", again, sizeof again) && strcmp(again, out) == 0;
    wipe(again, sizeof again);
    return same || complain("ctl ", "passwd", "the two are not the same; nothing has changed");
}

/* -1 and a line if nobody answers there. */
static int control_connect(const char *folder)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && chdir(folder) == 0 &&
        connect(fd, (const struct sockaddr *)&control_address, sizeof control_address) == 0)
        return fd;
    int error = errno;
    if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR)
        (void)complain("", "ctl", "no server runs on the folder %s: start one, or name its folder with --data", folder);
    else
        (void)complain("", "ctl", "%s: %s", folder, strerror(error));
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

/* A frame of the answer, as one line; true if it is the last one, and then the
 * status to exit with. */
static bool control_answer(const uint8_t *bytes, uint32_t size, int *status)
{
    struct request q = {.payload = bytes + HEADER_BYTES,
                        .size = payload_size(bytes + HEADER_BYTES, size - HEADER_BYTES)};
    char text[512];
    if (memcmp(bytes, "line", 4) == 0) {
        for (uint32_t i = 0; i < q.size; i++)
            if (q.payload[i] != '\n' || i + 1 < q.size)
                (void)putchar(q.payload[i] == '\n' ? ' ' : q.payload[i]);
        (void)putchar('\n');
        return false;
    }
    *status = load_be32(bytes + 4) == 0 ? 0 : 1;
    if (*status != 0 && get_text(&q, tag_TEXT, text, sizeof text) == 0)
        (void)snprintf(text, sizeof text, "refused (%.4s)", (const char *)bytes + 4);
    if (*status != 0)
        (void)complain("", "ctl", "%s", text);
    return true;
}

/* Sends a request and prints what comes. */
static int control_talk(int fd, const struct outgoing *request)
{
    uint8_t bytes[INBOX_BYTES];
    uint32_t size = 0;
    struct frame frame;
    int status = 1;
    ssize_t n = send(fd, request->bytes, request->size, MSG_NOSIGNAL) == (ssize_t)request->size;
    while (n > 0 && (n = recv(fd, bytes + size, sizeof bytes - size, 0)) > 0) {
        size += (uint32_t)n;
        while (read_frame(bytes, size, &frame) == FRAME_WHOLE) {
            if (control_answer(bytes, frame.size, &status))
                return status;
            size -= frame.size;
            memmove(bytes, bytes + frame.size, size);
        }
    }
    (void)complain("", "ctl", "the server has hung up");
    return 1;
}

static int control_usage(const char *why, const char *word)
{
    (void)complain("", "ctl", "%s%s; the commands are:", why, word);
    (void)fprintf(stderr, "  who            who is on\n  stats          how many of what there are\n"
                          "  passwd NAME    a new password for an account, which is made if it is not there;\n"
                          "                 from the terminal, or one line from standard input\n");
    return 2;
}

static int control(char **arguments)
{
    const char *folder = "nascar-data", *value = NULL;
    char key[64], password[128];
    struct outgoing request;
    int i = 0;
    for (; arguments[i] && strncmp(arguments[i], "--", 2) == 0; i++) {
        if (!split_argument(arguments, &i, key, &value))
            return 2;
        if (strcmp(key, "data") != 0)
            return control_usage("unknown option --", key);
        folder = value;
    }
    if (!arguments[i])
        return control_usage("expected a command", "");
    size_t command = 0;
    while (command < CONTROL_COMMANDS && strcmp(control_commands[command].name, arguments[i]) != 0)
        command++;
    if (command == CONTROL_COMMANDS)
        return control_usage("unknown command ", arguments[i]);
    const char *name = arguments[++i];
    if (control_commands[command].sets_password ? !name || arguments[i + 1] || strlen(name) > 64 : name != NULL)
        return control_usage(control_commands[command].sets_password ? "expected one name after "
                                                                     : "expected nothing after ",
                             control_commands[command].name);
    int fd = control_connect(folder);
    if (fd < 0)
        return 1;
    frame_begin(&request, control_commands[command].kind, "");
    if (control_commands[command].sets_password) {
        if (!ask_password(password, sizeof password))
            return 1;
        put_text(&request, tag_NAME, name);
        put_text(&request, tag_PASS, password);
        wipe(password, sizeof password);
    }
    frame_end(&request);
    int status = control_talk(fd, &request);
    wipe(&request, sizeof request);
    return status;
}

/* ---- Replay ------------------------------------------------------------------------ */

/* One event, and all that it put out into the hash. */
static void replay_step(struct nascar *state, const struct nascar_event *e, struct output_hash *hash)
{
    struct nascar_log log;
    struct nascar_record record;
    struct nascar_hash_job job;
    hash_written(hash, state, e);
    (void)nascar_step(state, e);
    while (nascar_next_log(state, &log))
        hash_bytes(&hash->log, log.text, strlen(log.text));
    while (nascar_next_record(state, &record))
        hash_record(hash, record.bytes, record.size);
    while (nascar_next_hash_job(state, &job))
        continue; /* its verdict is in the recording */
}

/* Runs a recording again. Returns what broke, or NULL if each checkpoint was met
 * and every invariant held there. */
static const char *replay_bytes(const uint8_t *bytes, size_t size, unsigned long *events, unsigned long *checkpoints)
{
    struct nascar_limits limits = NASCAR_LIMITS_DEFAULT;
    struct script script;
    struct nascar_event e;
    struct output_hash hash = {0, 0, 0};
    bool checkpoint = false;
    const char *broken = NULL;
    script_open(&script, bytes, size, &limits);
    size_t arena_bytes = nascar_arena_size(&limits);
    void *arena = arena_bytes ? reserve(arena_bytes) : NULL;
    if (!arena)
        return "its limits are none that a server can have, or there is no memory for them";
    struct nascar *state = nascar_init(arena, arena_bytes, &limits);
    while (!broken && script_next(&script, &e, &checkpoint)) {
        if (!checkpoint) {
            replay_step(state, &e, &hash);
            ++*events;
            continue;
        }
        ++*checkpoints;
        broken = load_be64(e.bytes) == output_hash_value(&hash) ? nascar_check(state)
                                                                : "the output differs from the recorded one";
    }
    if (!broken)
        broken = nascar_check(state);
    (void)munmap(arena, arena_bytes);
    return broken;
}

/* Status 0 if it ran as recorded, 1 if not. */
static int replay(const char *path)
{
    unsigned long events = 0, checkpoints = 0;
    size_t size;
    uint8_t *bytes = read_file(path, &size);
    if (!bytes)
        return 1;
    const char *broken = replay_bytes(bytes, size, &events, &checkpoints);
    free(bytes);
    if (broken) {
        (void)complain("", path, "after %lu events: %s", events, broken);
        return 1;
    }
    (void)printf("replay: %lu events, %lu checkpoints, all as recorded\n", events, checkpoints);
    return 0;
}

int main(int argc, char **argv)
{
    (void)argc;
    char **arguments = argv + (argv[0] != NULL);
    for (char **a = arguments; *a; a++) {
        if (strcmp(*a, "--help") == 0) {
            print_help();
            return 0;
        }
        if (strcmp(*a, "--version") == 0) {
            (void)printf("nascar_server %s\n", NASCAR_VERSION);
            return 0;
        }
    }
    if (*arguments && strcmp(*arguments, "replay") == 0) {
        if (arguments[1] && !arguments[2])
            return replay(arguments[1]);
        (void)complain("", "replay", "expected one file");
        return 2;
    }
    if (*arguments && strcmp(*arguments, "dump") == 0) {
        if (!arguments[1] || (!arguments[2] && strncmp(arguments[1], "-", 1) != 0))
            return dump(arguments[1] ? arguments[1] : "nascar-data");
        (void)complain("", "dump", "expected one folder");
        return 2;
    }
    if (*arguments && strcmp(*arguments, "ctl") == 0)
        return control(arguments + 1);
    if (*arguments && strcmp(*arguments, "serve") == 0)
        arguments++;
    return serve(arguments);
}

#endif /* NASCAR_NO_SHELL */
