/* A client of DNS for the tests, which shares no code with the server: it writes questions,
 * good and bad, and reads answers strictly (RFC 1035, RFC 6891).
 *
 * SPDX-License-Identifier: MIT */
#ifndef RESOLVER_H
#define RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESOLVER_BYTES 600

enum { TYPE_A = 1, TYPE_NS = 2, TYPE_SOA = 6, TYPE_TXT = 16, TYPE_AAAA = 28, TYPE_OPT = 41, TYPE_ANY = 255 };
enum { CLASS_IN = 1, CLASS_CHAOS = 3 };
enum { NOERROR = 0, FORMERR = 1, NOTIMP = 4, REFUSED = 5, BADVERS = 16 };

struct question {
    size_t size;
    uint8_t bytes[RESOLVER_BYTES];
};

/* Begins one, for a name with dots, with recursion wanted. */
void ask_for(struct question *q, uint16_t id, const char *name, unsigned type, unsigned class);
/* Adds an OPT record, with so many bytes of options. */
void ask_with_edns(struct question *q, unsigned version, unsigned flags, unsigned option_bytes);

struct reply {
    uint16_t id;
    unsigned opcode, code; /* the code with the upper bits of EDNS */
    bool is_reply, authoritative, truncated, recursion_wanted, recursion_offered;
    unsigned questions, answers;
    uint8_t name[256]; /* as it came, in the form of the wire */
    size_t name_bytes;
    unsigned type, class;
    uint32_t address, ttl; /* of the answer, if there is one */
    bool edns, dnssec;
    unsigned version, takes;
};

/* Returns NULL, or what is wrong with it. */
const char *read_reply(const uint8_t *bytes, size_t size, struct reply *r);

#endif
