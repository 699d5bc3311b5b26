/* Any bytes as an event script (DESIGN 6) to a small core, with nascar_check()
 * after each step.
 *
 * The harness is the core's shell. What the core asks for waits here until the
 * script says otherwise, so that the order is the input's choice:
 *   RECORD, RECORD_FAILED on a connection   the oldest record that waits is kept,
 *                                           or is not; without one, as it stands
 *   VERDICT                                 answers the job of that ticket, else
 *                                           the (ticket mod n)-th that waits
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
    struct nascar_limits choice = {0, 0, 0, 0, 0, 0};
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

/* Where the events begin; the last place is the end. */
static uint32_t find_places(const uint8_t *data, size_t size, size_t place[MOST_PLACES])
{
    struct nascar_limits limits;
    struct script script;
    struct nascar_event e;
    bool checkpoint;
    uint32_t n = 0;
    script_open(&script, data, size, &limits);
    place[n++] = script.at;
    while (n < MOST_PLACES && script_next(&script, &e, &checkpoint))
        place[n++] = script.at;
    return n;
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
    uint32_t type = some(random, 24);
    struct nascar_event e = {.conn = some(random, 2 * PLAYERS), .bytes = number};
    uint64_t step_ms = steps_ms[some(random, sizeof steps_ms / sizeof steps_ms[0])];
    switch (type) {
    case 0: e.type = NASCAR_OPENED; e.conn = some(random, 12); e.peer = 0xC6336401u + some(random, 6); break;
    case 1: e.type = NASCAR_CLOSED; break;
    case 2: e.type = NASCAR_CLOCK; break;
    case 3: case 4: e.type = NASCAR_DRAINED; e.size = some(random, 4) ? OUTBOX_BYTES : some(random, 100); break;
    case 5: case 6: case 7: e.type = NASCAR_RECORD; break;
    case 8: e.type = NASCAR_RECORD_FAILED; break;
    case 9: case 10: e.type = NASCAR_VERDICT; e.accepted = some(random, 4) != 0; break;
    case 11: e.type = NASCAR_CONTROL; e.conn = nascar_connections(&small_limits) - 1 - some(random, 2); break;
    case 12:
        number[0] = (uint8_t)some(random, 128);
        e.size = 8;
        memcpy(out, (uint8_t[]){SCRIPT_CHECKPOINT, 0, 0, 8}, 4);
        memcpy(out + 4, number, 8);
        return 12;
    default:
        e.type = NASCAR_BYTES;
        write_example(&f, some(random, EXAMPLES), some(random, PLAYERS));
        e.bytes = f.bytes;
        e.size = f.size;
    }
    uint32_t n = script_write_head(out, e.type, &e, step_ms);
    if (e.type == NASCAR_BYTES) {
        memcpy(out + n, e.bytes, e.size);
        n += e.size;
    }
    return n;
}

/* Puts `n` bytes in place of data[from..to). */
static size_t put_in_place(uint8_t *data, size_t size, size_t max_size, size_t from, size_t to, const uint8_t *bytes, size_t n)
{
    if (size - (to - from) + n > max_size)
        return size;
    memmove(data + from + n, data + to, size - to);
    memcpy(data + from, bytes, n);
    return size - (to - from) + n;
}

/* The text of one frame, with its length and the event's put right. */
static size_t change_text(uint8_t *data, size_t size, size_t max_size, size_t from, size_t to)
{
    uint8_t out[INBOX_BYTES + SCRIPT_HEAD_BYTES], frame[INBOX_BYTES];
    struct nascar_limits limits;
    struct script script = {.bytes = data, .size = to, .at = from};
    struct nascar_event e;
    bool checkpoint;
    (void)limits;
    if (!script_next(&script, &e, &checkpoint) || e.type != NASCAR_BYTES || e.size < HEADER_BYTES ||
        e.size > INBOX_BYTES)
        return size;
    memcpy(frame, e.bytes, e.size);
    e.size = HEADER_BYTES + (uint32_t)LLVMFuzzerMutate(frame + HEADER_BYTES, e.size - HEADER_BYTES, 512);
    store_be32(frame + 8, e.size);
    uint32_t n = script_write_head(out, NASCAR_BYTES, &e, e.mono_ms);
    memcpy(out + n, frame, e.size);
    return put_in_place(data, size, max_size, from, to, out, n + e.size);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    size_t place[MOST_PLACES];
    uint8_t event[INBOX_BYTES + SCRIPT_HEAD_BYTES], header[10] = "NSR2";
    uint32_t random = seed;
    if (!core.state)
        scenes_make();
    if (some(&random, 8) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (max_size < sizeof header)
        return size;
    if (size < sizeof header || memcmp(data, header, 4) != 0 || some(&random, 64) == 0) {
        header[4] = (uint8_t)some(&random, SCENES);
        header[5] = (uint8_t)(some(&random, 8) ? MOOD_RECORDS | MOOD_VERDICTS : some(&random, 128));
        size_t old = size < sizeof header || memcmp(data, header, 4) != 0 ? 0 : sizeof header;
        size = put_in_place(data, size, max_size, 0, old, header, sizeof header);
    }
    for (uint32_t turns = 1 + some(&random, 4); turns > 0; turns--) {
        uint32_t n = find_places(data, size, place), i = some(&random, n), k = some(&random, n);
        bool last = i + 1 == n;
        switch (some(&random, 8)) {
        case 0: /* leave one out */
            if (!last && n > 20)
                size = put_in_place(data, size, max_size, place[i], place[i + 1], event, 0);
            break;
        case 1: /* once more, elsewhere */
            if (!last && place[i + 1] - place[i] <= sizeof event) {
                size_t bytes = place[i + 1] - place[i];
                memcpy(event, data + place[i], bytes);
                size = put_in_place(data, size, max_size, place[k], place[k], event, bytes);
            }
            break;
        case 2:
        case 3:
            if (!last)
                size = change_text(data, size, max_size, place[i], place[i + 1]);
            break;
        case 4: /* on another connection; its number is one byte in nearly all scripts */
            if (!last && place[i + 1] - place[i] > 1)
                data[place[i] + 1] = (uint8_t)(1 + some(&random, 2 * PLAYERS));
            break;
        default:
            size = put_in_place(data, size, max_size, place[i], place[i], event, some_event(event, &random));
        }
    }
    return size;
}

#endif
