/* A planted bug, as one might be made in a handler: a line of chat is copied to
 * where there is no room for its NUL. Whoever fuzzes must find it within a
 * minute (make fuzz, make afl): else the fuzzing itself is broken.
 *
 * SPDX-License-Identifier: MIT */
#include "fuzz.h"

bool fuzz_wants_hash;

/* Somebody may look: else the compiler leaves the copy out. */
extern char *volatile canary_line;
char *volatile canary_line;

uint64_t fuzz_hash(void)
{
    return 0;
}

void fuzz_statistics(void)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame frame;
    char text[CHAT_CHARS + 1];
    uint8_t *bytes = exact_copy(data, size);
    if (size <= INBOX_BYTES && read_frame(bytes, (uint32_t)size, &frame) == FRAME_WHOLE &&
        memcmp(frame.kind, "mesg", 4) == 0) {
        uint32_t n = payload_size(bytes + HEADER_BYTES, frame.size - HEADER_BYTES);
        uint32_t at = find_tag(bytes + HEADER_BYTES, n, "TEXT");
        if (at != NOT_THERE) {
            uint32_t chars = read_string(bytes + HEADER_BYTES, n, at, text, sizeof text);
            char *kept = malloc(16);
            DEMAND(kept != NULL);
            canary_line = kept;
            if (chars <= 16) /* the bug: there are 16 with the NUL */
                memcpy(kept, text, chars + 1);
            free(kept);
        }
    }
    free(bytes);
    return 0;
}
