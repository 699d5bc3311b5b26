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
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
#endif

#define MOST_EVENTS 128u /* of a script; an input is long before that */

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
