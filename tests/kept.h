/* What is kept (DESIGN 5), for the suites that lose the server and start it
 * again: from the journal as it is, and from one that has been compacted.
 *
 * Include it below world.h. SPDX-License-Identifier: MIT */
#ifndef KEPT_H
#define KEPT_H

#include "world.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The journal as compaction leaves it: what is kept now, and nothing else. */
static inline void kept_compact(struct world *w)
{
    struct nascar_cursor cursor;
    struct nascar_record record;
    memset(&cursor, 0, sizeof cursor);
    for (size_t i = 0; i < w->record_count; i++)
        free(w->records[i].bytes);
    w->record_count = 0;
    while (nascar_next_kept(w->state, &cursor, &record)) {
        if (record.size == 0)
            continue; /* nothing of what was looked at */
        if (w->record_count == w->record_room) {
            w->record_room = w->record_room * 2 + 16;
            w->records = realloc(w->records, w->record_room * sizeof *w->records);
            ck_assert_ptr_nonnull(w->records);
        }
        struct world_record *kept = &w->records[w->record_count++];
        kept->size = record.size;
        kept->bytes = malloc(record.size);
        ck_assert_ptr_nonnull(kept->bytes);
        memcpy(kept->bytes, record.bytes, record.size);
    }
}

/* Every link is lost, and the server starts again, twice. */
static inline void kept_restart(struct world *w)
{
    world_restart(w);
    kept_compact(w);
    world_restart(w);
}

/* How many durable records of this kind hold this text. */
static inline size_t kept_count(const struct world *w, const char *kind, const char *part)
{
    size_t count = 0;
    for (size_t i = 0; i < w->record_count; i++) {
        const struct world_record *record = &w->records[i];
        char text[NASCAR_RECORD_BYTES + 1] = "";
        ck_assert_uint_lt(record->size, sizeof text);
        for (uint32_t k = CONSOLE_HEADER_BYTES; k < record->size; k++)
            text[k - CONSOLE_HEADER_BYTES] = record->bytes[k] == '\0' ? ' ' : (char)record->bytes[k];
        count += memcmp(record->bytes, kind, 4) == 0 && strstr(text, part) != NULL;
    }
    return count;
}

#endif
