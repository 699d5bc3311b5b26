/* See resolver.h.
 *
 * SPDX-License-Identifier: MIT */
#include "resolver.h"

#include <string.h>

static void put(struct question *q, unsigned value, unsigned bytes)
{
    while (bytes-- > 0)
        q->bytes[q->size++] = (uint8_t)(value >> 8 * bytes);
}

void ask_for(struct question *q, uint16_t id, const char *name, unsigned type, unsigned class)
{
    memset(q, 0, sizeof *q);
    put(q, id, 2);
    put(q, 0x0100, 2);
    put(q, 1, 2);
    put(q, 0, 4);
    put(q, 0, 2);
    while (*name != '\0') {
        size_t n = strcspn(name, ".");
        put(q, (unsigned)n, 1);
        memcpy(q->bytes + q->size, name, n);
        q->size += n;
        name += n + (name[n] == '.' ? 1u : 0u);
    }
    put(q, 0, 1);
    put(q, type, 2);
    put(q, class, 2);
}

void ask_with_edns(struct question *q, unsigned version, unsigned flags, unsigned option_bytes)
{
    q->bytes[11]++;
    put(q, 0, 1);
    put(q, TYPE_OPT, 2);
    put(q, 4096, 2);
    put(q, version << 16 | flags, 4);
    put(q, option_bytes, 2);
    if (option_bytes >= 4) {
        put(q, 10, 2); /* a cookie */
        put(q, option_bytes - 4, 2);
        option_bytes -= 4;
    }
    for (; option_bytes > 0; option_bytes--)
        put(q, 0xC0, 1);
}

struct reader {
    const uint8_t *bytes;
    size_t size, at;
    const char *wrong;
};

static unsigned take(struct reader *x, unsigned bytes)
{
    unsigned value = 0;
    if (x->size - x->at < bytes) {
        x->wrong = "it is cut off";
        x->at = x->size;
        return 0;
    }
    while (bytes-- > 0)
        value = value << 8 | x->bytes[x->at++];
    return value;
}

/* A name without pointers. */
static void take_name(struct reader *x, struct reply *r)
{
    size_t begin = x->at;
    for (unsigned n = 1; n > 0 && !x->wrong;) {
        n = take(x, 1);
        if (n > 63)
            x->wrong = "a name with a pointer in the question";
        else if (x->size - x->at < n)
            x->wrong = "a name is cut off";
        else
            x->at += n;
    }
    r->name_bytes = x->at - begin;
    if (!x->wrong && r->name_bytes > 255)
        x->wrong = "a name is too long";
    if (!x->wrong)
        memcpy(r->name, x->bytes + begin, r->name_bytes);
}

static void take_answer(struct reader *x, struct reply *r)
{
    if (take(x, 2) != 0xC00C)
        x->wrong = "an answer to another name";
    if (take(x, 2) != TYPE_A || take(x, 2) != CLASS_IN)
        x->wrong = "an answer that is no address";
    r->ttl = take(x, 4);
    if (take(x, 2) != 4)
        x->wrong = "an address that has not four bytes";
    r->address = take(x, 4);
}

static void take_opt(struct reader *x, struct reply *r)
{
    if (take(x, 1) != 0 || take(x, 2) != TYPE_OPT)
        x->wrong = "another record than OPT behind the answers";
    r->edns = true;
    r->takes = take(x, 2);
    r->code |= take(x, 1) << 4;
    r->version = take(x, 1);
    unsigned flags = take(x, 2);
    r->dnssec = (flags & 0x8000) != 0;
    if ((flags & 0x7FFF) != 0)
        x->wrong = "a flag of EDNS that nobody knows";
    if (take(x, 2) != 0)
        x->wrong = "options of EDNS";
}

const char *read_reply(const uint8_t *bytes, size_t size, struct reply *r)
{
    struct reader x = {bytes, size, 0, NULL};
    memset(r, 0, sizeof *r);
    r->id = (uint16_t)take(&x, 2);
    unsigned flags = take(&x, 2);
    r->is_reply = (flags & 0x8000) != 0;
    r->opcode = flags >> 11 & 15;
    r->authoritative = (flags & 0x0400) != 0;
    r->truncated = (flags & 0x0200) != 0;
    r->recursion_wanted = (flags & 0x0100) != 0;
    r->recursion_offered = (flags & 0x0080) != 0;
    r->code = flags & 15;
    if ((flags & 0x0070) != 0)
        x.wrong = "a flag in the head that is to be 0";
    r->questions = take(&x, 2);
    r->answers = take(&x, 2);
    unsigned authorities = take(&x, 2), others = take(&x, 2);
    if (r->questions > 1 || r->answers > 1 || authorities > 0 || others > 1)
        x.wrong = "more records than there are to be";
    if (!x.wrong && r->questions > 0) {
        take_name(&x, r);
        r->type = take(&x, 2);
        r->class = take(&x, 2);
    }
    if (!x.wrong && r->answers > 0)
        take_answer(&x, r);
    if (!x.wrong && others > 0)
        take_opt(&x, r);
    if (!x.wrong && x.at != size)
        x.wrong = "bytes behind its end";
    return x.wrong;
}
