/* Any bytes as a datagram to the DNS service of a core. What is answered is compared with
 * what a second reader, which shares no code with the server, takes the question for: so a
 * byte that changes nothing there must change nothing here. A second run sees the same with
 * its head put right, so that what follows is looked at, too.
 *
 * SPDX-License-Identifier: MIT */
#include "fuzz_step.h"

#define ASKER 0xC6336401u
#define REACHED 0xCB00710Au

bool fuzz_wants_hash;
static uint64_t hash, runs, questions, found;

uint64_t fuzz_hash(void)
{
    return hash;
}

void fuzz_statistics(void)
{
    double n = (double)(runs + !runs);
    (void)fprintf(stderr, "%llu runs, questions a run %.2f, found a run %.2f\n", (unsigned long long)runs,
                  (double)questions / n, (double)found / n);
}

/* ---- The second reader ---------------------------------------------------------- */

struct asked {
    const uint8_t *bytes;
    size_t size, at;
    bool broken;
    char name[2048]; /* with dots, in lower case; a byte that no host has in its name: as its number */
    unsigned type, class;
    int opts, version;
    bool dnssec;
};

static unsigned next_byte(struct asked *x)
{
    x->broken = x->broken || x->at >= x->size;
    return x->broken ? 0 : x->bytes[x->at++];
}

static unsigned next_two(struct asked *x)
{
    unsigned high = next_byte(x);
    return high * 256 + next_byte(x);
}

/* Returns how many bytes the name takes. */
static size_t next_name(struct asked *x, char *out)
{
    size_t begin = x->at;
    for (unsigned n; (n = next_byte(x)) > 0 && !x->broken;) {
        x->broken = n >= 64;
        while (n-- > 0 && !x->broken) {
            unsigned c = next_byte(x);
            if (out && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
                *out++ = (char)c;
            else if (out && c >= 'A' && c <= 'Z')
                *out++ = (char)(c - 'A' + 'a');
            else if (out)
                out += sprintf(out, "(%u)", c);
        }
        x->broken = x->broken || x->at - begin > 254;
        if (out)
            *out++ = '.';
    }
    if (out)
        *out = 0;
    return x->at - begin;
}

static void next_record(struct asked *x)
{
    size_t name_bytes = next_name(x, NULL);
    unsigned type = next_two(x);
    (void)next_two(x);
    (void)next_byte(x); /* the upper bits of a code, which a question has not */
    unsigned version = next_byte(x), flags = next_two(x), bytes = next_two(x);
    while (bytes-- > 0 && !x->broken)
        (void)next_byte(x);
    if (type != 41 || x->broken)
        return;
    x->opts++;
    x->version = (int)version;
    x->dnssec = flags >= 0x8000;
    x->broken = x->opts > 1 || name_bytes != 1;
}

/* The code that is expected; -1: silence. */
static int read_asked(struct asked *x)
{
    if (x->size < 12 || x->bytes[2] >= 128)
        return -1;
    if (x->bytes[2] / 8 % 16 > 0)
        return 4;
    x->at = 4;
    unsigned count = next_two(x), answers = next_two(x), authorities = next_two(x), others = next_two(x);
    if (count != 1 || answers > 0 || authorities > 0)
        return 1;
    (void)next_name(x, x->name);
    x->type = next_two(x);
    x->class = next_two(x);
    while (others-- > 0 && !x->broken)
        next_record(x);
    if (x->broken || x->at != x->size)
        return 1;
    if (x->version > 0)
        return 16;
    bool known = strcmp(x->name, "ps2nascar04.ea.com.") == 0 || strcmp(x->name, "a.example.") == 0 ||
                 strcmp(x->name, "another.b.example.") == 0;
    return known && x->class == 1 ? 0 : 5;
}

/* ---- The answer ------------------------------------------------------------------ */

static void check_answer(const struct asked *x, int code, const uint8_t *a, uint32_t size)
{
    bool echo = code == 0 || code == 5 || code == 16, opt = echo && x->opts > 0;
    bool address = code == 0 && (x->type == 1 || x->type == 255);
    size_t n = 12;
    DEMAND(memcmp(a, x->bytes, 2) == 0);
    DEMAND(a[2] == (x->bytes[2] & 0x79) + 0x80 + (code == 0 ? 4 : 0) && a[3] == code % 16);
    DEMAND(memcmp(a + 4, (uint8_t[]){0, echo, 0, address, 0, 0, 0, opt}, 8) == 0);
    while (echo && x->bytes[n] != 0)
        n += x->bytes[n] + 1u;
    n += echo ? 5 : 0;
    DEMAND(size >= n && memcmp(a + 12, x->bytes + 12, n - 12) == 0);
    if (address) {
        static const uint8_t head[] = {0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4};
        uint8_t own = x->name[1] == '.';
        const uint8_t told[2][4] = {{203, 0, 113, 10}, {192, 0, 2, 1}};
        DEMAND(size >= n + 16 && memcmp(a + n, head, 12) == 0 && memcmp(a + n + 12, told[own], 4) == 0);
        n += 16;
    }
    if (opt) {
        const uint8_t record[] = {0, 0, 41, 4, 0xD0, (uint8_t)(code / 16), 0, x->dnssec ? 0x80 : 0, 0, 0, 0};
        DEMAND(size >= n + 11 && memcmp(a + n, record, 11) == 0);
        n += 11;
    }
    DEMAND(size == n && n <= x->size + (address ? 16 : 0));
}

static void begin(void)
{
    static const struct nascar_event config = {.type = NASCAR_CONFIG,
                                               .conn = NASCAR_NONE,
                                               .bytes = (const uint8_t *)DNS_CONFIG,
                                               .size = sizeof DNS_CONFIG - 1};
    scene_begin(0, 0);
    (void)step(&config);
}

static void ask(const uint8_t *bytes, size_t size)
{
    static struct asked x;
    struct nascar_datagram d;
    core.mono_ms += DNS_ANSWERS_MS; /* so that none is one too many */
    memset(&x, 0, sizeof x);
    x.bytes = bytes;
    x.size = size;
    int code = size > UINT16_MAX ? -1 : read_asked(&x);
    struct nascar_event e = {.type = NASCAR_DATAGRAM,
                             .conn = NASCAR_NONE,
                             .service = NASCAR_SERVICE_DNS,
                             .peer = ASKER,
                             .port = 53,
                             .local = REACHED,
                             .mono_ms = core.mono_ms,
                             .bytes = bytes,
                             .size = (uint32_t)size};
    DEMAND(nascar_step(core.state, &e));
    take_logs();
    bool answered = nascar_next_datagram(core.state, &d);
    DEMAND(answered == (code >= 0));
    if (answered) {
        check_answer(&x, code, d.bytes, d.size);
        hash_in(&hash, d.bytes, d.size);
    }
    DEMAND(!nascar_next_datagram(core.state, &d));
    DEMAND(nascar_check(core.state) == NULL);
    questions += code == 0 || code == 5;
    found += code == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t head[] = {0, 1, 0, 0, 0, 0, 0};
    if (!core.state)
        begin();
    uint8_t *bytes = exact_copy(data, size);
    hash = size;
    ask(bytes, size);
    if (size >= DNS_HEAD) {
        bytes[2] &= 1;
        memcpy(bytes + 4, head, sizeof head);
        ask(bytes, size);
    }
    runs++;
    free(bytes);
    return 0;
}
