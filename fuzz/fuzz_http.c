/* Any bytes to the page of a core in which there are players, whole and byte by byte: both
 * are answered alike, each answer is one that RFC 9112 allows, and nothing that was sent
 * comes back as markup.
 *
 * SPDX-License-Identifier: MIT */
#include "fuzz_step.h"

#define ROOM_BYTES 400000u /* for all answers to one input */

bool fuzz_wants_hash;
static uint64_t hash, runs, answers, good;

uint64_t fuzz_hash(void)
{
    return hash;
}

void fuzz_statistics(void)
{
    double n = (double)(runs + !runs);
    (void)fprintf(stderr, "%llu runs, answers a run %.2f, pages a run %.2f\n", (unsigned long long)runs,
                  (double)answers / n, (double)good / n);
}

static struct got {
    uint8_t bytes[ROOM_BYTES + 1];
    size_t size;
    bool closing;
} whole, parts;

/* Takes all that a connection puts out. */
static void take(uint32_t c, struct got *got)
{
    struct nascar_event e = {.type = NASCAR_DRAINED, .conn = c};
    const uint8_t *bytes;
    while ((bytes = nascar_outbox(core.state, c, &e.size)) != NULL) {
        DEMAND(got->size + e.size <= ROOM_BYTES);
        memcpy(got->bytes + got->size, bytes, e.size);
        got->size += e.size;
        DEMAND(step(&e));
    }
    got->closing = nascar_closing(core.state, c);
    got->bytes[got->size] = 0;
}

/* Sends as the shell does: never more than there is room for. */
static void hand_in(uint32_t c, const uint8_t *bytes, size_t size, uint32_t most, struct got *got)
{
    struct nascar_event e = {.type = NASCAR_BYTES, .conn = c};
    for (size_t at = 0; at < size; at += e.size) {
        e.size = min_u32(min_u32(most, nascar_inbox_room(core.state, c)), (uint32_t)(size - at));
        if (e.size == 0)
            return;
        e.bytes = bytes + at;
        DEMAND(step(&e));
        take(c, got);
    }
}

/* Where the chunks of a body end. */
static const uint8_t *past_chunks(const uint8_t *at, const uint8_t *end)
{
    for (size_t n = 1; n > 0; at += n + 2) {
        n = 0;
        for (int i = 0; i < 4 || hex_value(*at) >= 0; i++, at++) {
            if (hex_value(*at) < 0)
                break;
            n = n * 16 + (size_t)hex_value(*at);
        }
        DEMAND(at[0] == '\r' && at[1] == '\n' && n < 65536);
        at += 2;
        DEMAND((size_t)(end - at) >= n + 2 && at[n] == '\r' && at[n + 1] == '\n');
    }
    return at;
}

/* Goes through all answers. One to HEAD looks like the begin of another: so only if none was asked for. */
static void check_answers(const struct got *got, bool heads)
{
    const uint8_t *at = got->bytes, *end = at + got->size;
    while (at < end && !heads) {
        const char *head = (const char *)at, *stop = strstr(head, "\r\n\r\n");
        DEMAND(strncmp(head, "HTTP/1.1 ", 9) == 0 && stop != NULL);
        const char *length = strstr(head, "\r\nContent-Length: "),
                   *chunked = strstr(head, "\r\nTransfer-Encoding: chunked");
        const char *policy = strstr(head, "\r\nContent-Security-Policy: default-src 'none'; script-src 'self';");
        DEMAND(policy != NULL && policy < stop);
        at = (const uint8_t *)stop + 4;
        answers++;
        good += head[9] == '2';
        if (length && length < stop) {
            at += strtoul(length + 18, NULL, 10);
        } else if (chunked && chunked < stop) {
            at = past_chunks(at, end);
        } else if (strncmp(head + 9, "304", 3) != 0) {
            DEMAND(got->closing);
            at = end;
        }
        DEMAND(at <= end);
    }
}

static uint32_t open_browser(uint32_t c)
{
    struct nascar_event e = {
        .type = NASCAR_OPENED, .conn = c, .service = NASCAR_SERVICE_HTTP, .peer = 0xC6336409u, .local = 0xCB00710A};
    whole.size = parts.size = 0;
    DEMAND(step(&e));
    return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t none[1];
    uint32_t last = nascar_connections(&small_limits) - NASCAR_CONTROL_CONNECTIONS;
    scene_begin(SCENES - 1, 0);
    data = size ? data : none;
    uint8_t *bytes = exact_copy(data, size);
    hash = size;
    uint32_t one = open_browser(last - 1), two = open_browser(last - 2);
    hand_in(one, bytes, size, INBOX_BYTES, &whole);
    hand_in(two, bytes, size, 1, &parts);
    DEMAND(nascar_check(core.state) == NULL);
    bool counts = memmem(bytes, size, "metrics", 7) != NULL || memchr(bytes, '%', size) != NULL;
    DEMAND(counts || (whole.size == parts.size && memcmp(whole.bytes, parts.bytes, whole.size) == 0));
    DEMAND(whole.closing == parts.closing);
    check_answers(&whole, memmem(bytes, size, "HEAD", 4) != NULL);
    hash_in(&hash, whole.bytes, whole.size);
    runs++;
    free(bytes);
    return 0;
}
