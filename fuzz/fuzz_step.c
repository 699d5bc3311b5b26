/* Any bytes as an event script (DESIGN 6) to a small core, with nascar_check()
 * after each step.
 *
 * The harness is the core's shell. What the core asks for waits here until the
 * script says otherwise, so that the order is the input's choice:
 *   RECORD, RECORD_FAILED on a connection   the oldest record that waits is kept,
 *                                           or is not; without one, as it stands
 *   VERDICT                                 answers the job of that receipt, else
 *                                           the (receipt mod n)-th that waits
 *   a checkpoint's first byte               enum mood, from here on
 * All else is taken as it stands: DRAINED drains, CONFIG configures, RECORD on no
 * connection is the journal's. The header's first number chooses the scene that
 * the script begins in, its second the mood; the rest of the limits are ours.
 *
 * SPDX-License-Identifier: MIT */
#include "fuzz_step.h"

#ifdef FUZZ_MUTATOR
#include "examples.h"
#endif

#define MOST_EVENTS 64u /* of a script: a long one takes the time of many */

bool fuzz_wants_hash;

static uint64_t runs, events;

uint64_t fuzz_hash(void)
{
    return output_hash_value(&core.put_out);
}

void fuzz_statistics(void)
{
    double n = (double)(runs + !runs);
    (void)fprintf(stderr, "%llu runs, events a run %.1f, steps a run %.1f\n", (unsigned long long)runs,
                  (double)events / n, (double)core.steps / n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nascar_limits choice = {0, 0, 0, 0, 0, 0, 0};
    struct script script;
    struct nascar_event e;
    bool checkpoint = false;
    uint8_t *bytes = exact_copy(data, size);
    script_open(&script, bytes, size, &choice);
    scene_begin(choice.clients % SCENES, choice.accounts);
    memset(&e, 0x55, sizeof e);
    for (uint32_t n = 0; n < MOST_EVENTS && script_next(&script, &e, &checkpoint); n++) {
        core_event(&e, checkpoint);
        events++;
    }
    runs++;
    free(bytes);
    return 0;
}

#ifdef FUZZ_MUTATOR

/* ---- Mutations that know what a script is ------------------------------------ */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

#define MOST_PLACES 256u

/* What is made here has so many events: a shorter script comes to less, and a
 * longer one takes the time of many. */
#define FEWEST_MADE 20u
#define MOST_MADE 22u

/* A script that is being changed: where its events begin, and its end. */
struct draft {
    uint8_t *bytes;
    size_t most_bytes;
    uint32_t events;
    size_t place[MOST_PLACES];
};

static void find_places(struct draft *d, size_t size)
{
    struct nascar_limits limits;
    struct script script;
    struct nascar_event e;
    bool checkpoint;
    script_open(&script, d->bytes, size, &limits);
    d->events = 0;
    d->place[0] = script.at;
    while (d->events + 1 < MOST_PLACES && script_next(&script, &e, &checkpoint))
        d->place[++d->events] = script.at;
}

static uint32_t some(uint32_t *random, uint32_t below)
{
    *random = *random * 1664525u + 1013904223u;
    return (*random >> 8) % below;
}

/* An event as a recording has it. */
static uint32_t some_event(uint8_t out[INBOX_BYTES + SCRIPT_HEAD_BYTES], uint32_t *random)
{
    static const uint16_t steps_ms[] = {0, 0, 0, 0, 250, 1000, 10000, 30000, 60000};
    struct outgoing f;
    uint8_t number[8] = {0};
    uint32_t type = some(random, 24), example;
    struct nascar_event e = {.conn = some(random, 2 * PLAYERS), .bytes = number};
    uint64_t step_ms = steps_ms[some(random, sizeof steps_ms / sizeof steps_ms[0])];
    switch (type) {
    case 0:
        e.type = NASCAR_OPENED;
        e.conn = some(random, 12);
        e.peer = 0xC6336401u + some(random, 6); /* the last of them is PROXY_PEER */
        e.service = some(random, 8) ? NASCAR_SERVICE_GAME : NASCAR_SERVICE_HTTP;
        break;
    case 1: e.type = NASCAR_CLOSED; break;
    case 2: e.type = NASCAR_CLOCK; break;
    case 3:
    case 4:
        e.type = NASCAR_DRAINED;
        e.size = some(random, 4) ? OUTBOX_BYTES : some(random, 100);
        break;
    case 5:
    case 6:
    case 7: e.type = NASCAR_RECORD; break;
    case 8: e.type = NASCAR_RECORD_FAILED; break;
    case 9:
    case 10:
        e.type = NASCAR_VERDICT;
        e.accepted = some(random, 4) != 0;
        break;
    case 11:
        e.type = NASCAR_CONTROL;
        e.conn = OPERATOR - some(random, 2);
        break;
    case 12:
        number[0] = (uint8_t)some(random, 128);
        e.size = 8;
        memcpy(out, (uint8_t[]){SCRIPT_CHECKPOINT, 0, 0, 8}, 4);
        memcpy(out + 4, number, 8);
        return 12;
    case 13:
        e.type = NASCAR_BYTES;
        e.size = some(random, PROXY_HEADERS);
        e.bytes = (const uint8_t *)proxy_headers[e.size].bytes;
        e.size = proxy_headers[e.size].size;
        break;
    case 15:
        e.type = NASCAR_DATAGRAM;
        e.service = some(random, 8) ? NASCAR_SERVICE_DNS : NASCAR_SERVICE_HTTP;
        e.peer = 0xC6336401u + some(random, 6);
        e.local = 0xCB00710A;
        e.size = some(random, DNS_QUESTIONS);
        e.bytes = (const uint8_t *)dns_questions[e.size].bytes;
        e.size = dns_questions[e.size].size;
        break;
    case 14:
        e.type = NASCAR_RELOADED;
        e.accepted = some(random, 2) != 0;
        break;
    default:
        e.type = NASCAR_BYTES;
        example = some(random, EXAMPLES);
        if (is_operators(example) && some(random, 4))
            e.conn = OPERATOR;
        write_example(&f, example, some(random, PLAYERS));
        e.bytes = f.bytes;
        e.size = f.size;
    }
    uint32_t n = script_write_event(out, e.type, &e, step_ms);
    if (e.type == NASCAR_BYTES || e.type == NASCAR_DATAGRAM) {
        memcpy(out + n, e.bytes, e.size);
        n += e.size;
    }
    return n;
}

/* Puts `n` bytes in place of data[from..to). */
static size_t put_in_place(uint8_t *data, size_t size, size_t max_size, size_t from, size_t to, const uint8_t *bytes,
                           size_t n)
{
    if (size - (to - from) + n > max_size)
        return size;
    memmove(data + from + n, data + to, size - to);
    memcpy(data + from, bytes, n);
    return size - (to - from) + n;
}

/* Puts one event, or none if `n` is 0, in place of the `old` ones from the i-th
 * on: one or none. What does not fit changes nothing. */
static void put_event(struct draft *d, uint32_t i, uint32_t old, const uint8_t *bytes, size_t n)
{
    uint32_t fresh = n > 0, left = d->events + 1 - i - old; /* places behind it */
    size_t size = d->place[d->events], was = d->place[i + old] - d->place[i];
    if (size - was + n > d->most_bytes || d->events + fresh - old >= MOST_PLACES)
        return;
    (void)put_in_place(d->bytes, size, d->most_bytes, d->place[i], d->place[i + old], bytes, n);
    memmove(&d->place[i + fresh], &d->place[i + old], left * sizeof d->place[0]);
    for (uint32_t k = i + fresh; k < i + fresh + left; k++)
        d->place[k] = d->place[k] - was + n;
    d->events += fresh - old;
}

/* The text of one frame, with its length and the event's put right. */
static void change_text(struct draft *d, uint32_t i)
{
    uint8_t out[INBOX_BYTES + SCRIPT_HEAD_BYTES], frame[INBOX_BYTES];
    struct script script = {.bytes = d->bytes, .size = d->place[i + 1], .at = d->place[i]};
    struct nascar_event e;
    bool checkpoint;
    if (!script_next(&script, &e, &checkpoint) || e.type != NASCAR_BYTES || e.size < HEADER_BYTES ||
        e.size > INBOX_BYTES)
        return;
    memcpy(frame, e.bytes, e.size);
    e.size = HEADER_BYTES + (uint32_t)LLVMFuzzerMutate(frame + HEADER_BYTES, e.size - HEADER_BYTES, 512);
    store_be32(frame + 8, e.size);
    uint32_t n = script_write_event(out, NASCAR_BYTES, &e, e.mono_ms);
    memcpy(out + n, frame, e.size);
    put_event(d, i, 1, out, n + e.size);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct draft d = {.bytes = data, .most_bytes = max_size};
    uint8_t event[INBOX_BYTES + SCRIPT_HEAD_BYTES], header[11] = "NSR3";
    uint32_t random = seed;
    if (!core.state)
        scenes_make();
    if (some(&random, 8) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (max_size < sizeof header)
        return size;
    size_t old = 0; /* bytes of the header that it has: six limits, or the seven that there are now */
    if (size >= sizeof header && memcmp(data, header, 3) == 0 && (data[3] == '2' || data[3] == '3'))
        old = data[3] == '2' ? 10 : 11;
    if (old == 0 || some(&random, 64) == 0) {
        header[4] = (uint8_t)some(&random, SCENES);
        header[5] = (uint8_t)(some(&random, 8) ? MOOD_RECORDS | MOOD_VERDICTS : some(&random, 128));
        size = put_in_place(data, size, max_size, 0, old, header, sizeof header);
    }
    find_places(&d, size);
    uint32_t changes = 1 + some(&random, 4);
    for (uint32_t turn = 0; turn < MOST_PLACES; turn++) {
        uint32_t i = some(&random, d.events + 1), k = some(&random, d.events + 1), what = some(&random, 8);
        bool last = i == d.events;
        if (turn >= changes && d.events >= FEWEST_MADE && d.events <= MOST_MADE)
            break;
        if (turn >= changes)
            what = d.events > MOST_MADE ? 0 : 1 + what % 2 * 4;
        switch (what) {
        case 0: /* leave one out */
            if (!last && d.events > FEWEST_MADE)
                put_event(&d, i, 1, event, 0);
            break;
        case 1: /* once more, elsewhere */
            if (!last && d.place[i + 1] - d.place[i] <= sizeof event) {
                size_t bytes = d.place[i + 1] - d.place[i];
                memcpy(event, data + d.place[i], bytes);
                put_event(&d, k, 0, event, bytes);
            }
            break;
        case 2:
        case 3:
            if (!last)
                change_text(&d, i);
            break;
        case 4: /* on another connection; its number is one byte in nearly all scripts */
            if (!last && d.place[i + 1] - d.place[i] > 1)
                data[d.place[i] + 1] = (uint8_t)(1 + some(&random, 2 * PLAYERS));
            break;
        default: put_event(&d, i, 0, event, some_event(event, &random));
        }
    }
    return d.place[d.events];
}

#endif
