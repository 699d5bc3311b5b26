/* The DNS service: who asks for what, and what is answered, refused, and left alone.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"
#include "resolver.h"

GROUP(dns, open_world, close_world, 30);

#define GAME "ps2nascar04.ea.com"
#define ASKER 0xC6336407u     /* 198.51.100.7 */
#define REACHED 0xCB00710Au   /* 203.0.113.10 */
#define PUBLIC 0xC000024Du    /* 192.0.2.77 */
#define NEIGHBOUR 0xC0A80105u /* 192.168.1.5 */
#define INSIDE 0xC0A80102u    /* 192.168.1.2 */
#define DNAS "gate1.us.dnas.playstation.org"

static struct nascar_datagram out; /* the last answer, ... */
static struct reply reply;         /* ... and what it says */

/* One datagram in, from `peer` to `local`. Returns whether there is an answer, which must be
 * one to this, no longer than it may be, and the only one. */
static bool send_from(uint32_t peer, uint32_t local, const void *bytes, size_t size)
{
    uint8_t *exact = malloc(size); /* so that a sanitizer sees what is read behind it */
    ck_assert(size == 0 || exact != NULL);
    if (size > 0)
        memcpy(exact, bytes, size);
    struct nascar_event event = {.type = NASCAR_DATAGRAM,
                                 .conn = NASCAR_NONE,
                                 .service = NASCAR_SERVICE_DNS,
                                 .peer = peer,
                                 .port = 40000,
                                 .local = local,
                                 .bytes = exact,
                                 .size = (uint32_t)size};
    ck_assert(world_step(w, &event));
    free(exact);
    memset(&reply, 0, sizeof reply);
    if (!nascar_next_datagram(w->state, &out))
        return false;
    ck_assert_int_eq(out.service, NASCAR_SERVICE_DNS);
    ck_assert_uint_eq(out.peer, peer);
    ck_assert_uint_eq(out.port, 40000);
    ck_assert_uint_eq(out.local, local);
    const char *wrong = read_reply(out.bytes, out.size, &reply);
    ck_assert_msg(wrong == NULL, "an answer with %s", wrong ? wrong : "");
    ck_assert_uint_le(out.size, size + 16 * reply.answers);
    ck_assert_mem_eq(out.bytes, bytes, 2);
    ck_assert(reply.is_reply && !reply.recursion_offered && !reply.truncated);
    ck_assert_int_eq(reply.recursion_wanted, ((const uint8_t *)bytes)[2] & 1);
    ck_assert_int_eq(reply.authoritative, reply.code == NOERROR);
    if (reply.questions > 0)
        ck_assert_mem_eq(out.bytes + 12, (const uint8_t *)bytes + 12, reply.name_bytes + 4);
    struct nascar_datagram second = out;
    ck_assert(!nascar_next_datagram(w->state, &second));
    return true;
}

static bool send_bytes(const void *bytes, size_t size)
{
    return send_from(ASKER, REACHED, bytes, size);
}

/* Sends it; the code of the answer, -1 if there is none. */
static int said_to(const struct question *q)
{
    world_run(w, 100); /* nobody asks too often */
    return send_bytes(q->bytes, q->size) ? (int)reply.code : -1;
}

static int ask(const char *name, unsigned type)
{
    struct question q;
    ask_for(&q, 0x1234, name, type, CLASS_IN);
    int code = said_to(&q);
    if (code == NOERROR || code == REFUSED)
        ck_assert(reply.questions == 1 && reply.type == type && reply.class == CLASS_IN);
    return code;
}

/* ---- What is answered ------------------------------------------------------- */

TEST(dns, a_console_finds_the_server)
{
    ck_assert_int_eq(ask(GAME, TYPE_A), NOERROR);
    ck_assert_uint_eq(reply.answers, 1);
    ck_assert_uint_eq(reply.address, REACHED);
    ck_assert_uint_eq(reply.ttl, 60);
    ck_assert(!reply.edns);
    ck_assert_uint_eq(out.size, 12 + 20 + 4 + 16);
    ck_assert(world_logged(w, "event=dns peer=198.51.100.7 name=\"ps2nascar04.ea.com\" type=1 code=0 "
                              "address=203.0.113.10"));
}

/* As the directory: DESIGN, "the address that the asker can reach". */
TEST(dns, each_is_told_the_address_that_he_can_reach)
{
    static const struct {
        const char *config;
        uint32_t peer, local, told;
    } rows[] = {
        {"", ASKER, REACHED, REACHED},
        {"", NEIGHBOUR, INSIDE, INSIDE},
        {"public-address = 192.0.2.77\n", ASKER, REACHED, PUBLIC},
        {"public-address = 192.0.2.77\n", ASKER, INSIDE, PUBLIC}, /* a router forwards it */
        {"public-address = 192.0.2.77\n", NEIGHBOUR, INSIDE, INSIDE},
        {"public-address = 192.0.2.77\n", 0x7F000001u, 0x7F000001u, 0x7F000001u},
        {"public-address = 192.0.2.77\n", 0xC0A80205u, INSIDE, PUBLIC}, /* another /24 */
        {"public-address = 192.0.2.77\nlan = off\n", NEIGHBOUR, INSIDE, PUBLIC},
        {"public-address = 127.0.0.1\n", ASKER, REACHED, 0x7F000001u},
        {"public-address = home.example.org\n", ASKER, REACHED, REACHED}, /* not known yet */
    };
    struct question q;
    ask_for(&q, 7, GAME, TYPE_A, CLASS_IN);
    for (int i = 0; i < COUNT(rows); i++) {
        world_configure(w, rows[i].config);
        ck_assert(send_from(rows[i].peer, rows[i].local, q.bytes, q.size));
        ck_assert_msg(reply.address == rows[i].told, "row %d: told %08x", i, (unsigned)reply.address);
    }
    struct nascar_event found = {.type = NASCAR_ADDRESS, .conn = NASCAR_NONE, .peer = PUBLIC};
    ck_assert(world_step(w, &found));
    ck_assert_int_eq(ask(GAME, TYPE_A), NOERROR);
    ck_assert_uint_eq(reply.address, PUBLIC);
}

/* What it tells is what the directory tells to the same console. */
TEST_LOOP(dns, it_tells_what_the_directory_tells, 0, 3)
{
    static const char *const configs[] = {"", "public-address = 192.0.2.77\n",
                                          "public-address = 192.0.2.77\nlan = off\n"};
    static const uint32_t peers[] = {ASKER, 0xCB007109u, NEIGHBOUR, 0x7F000005u};
    struct question q;
    ask_for(&q, 7, GAME, TYPE_A, CLASS_IN);
    world_configure(w, configs[_i]);
    for (int i = 0; i < 2 * COUNT(peers); i++) {
        w->server_ip = i < COUNT(peers) ? REACHED : INSIDE;
        const struct got *g = raw_ask(raw_open(w, peers[i % COUNT(peers)]), "@dir", DIR_REQUEST);
        ck_assert(send_from(peers[i % COUNT(peers)], w->server_ip, q.bytes, q.size));
        ck_assert_uint_eq(reply.address, got_address(g, "ADDR"));
    }
}

TEST(dns, other_names_have_the_servers_address_or_their_own)
{
    reopen_with("dns-name = " DNAS "=192.0.2.9\ndns-name = Other.Example\n");
    ck_assert_int_eq(ask(DNAS, TYPE_A), NOERROR);
    ck_assert_uint_eq(reply.address, 0xC0000209u);
    ck_assert_int_eq(ask("other.example", TYPE_A), NOERROR);
    ck_assert_uint_eq(reply.address, REACHED);
    ck_assert_int_eq(ask(GAME, TYPE_A), NOERROR);
    ck_assert_uint_eq(reply.address, REACHED);
    world_configure(w, "dns-name = " GAME "=192.0.2.10\n"); /* the operator knows it better */
    ck_assert_int_eq(ask(GAME, TYPE_A), NOERROR);
    ck_assert_uint_eq(reply.address, 0xC000020Au);
    ck_assert_int_eq(ask(DNAS, TYPE_A), REFUSED);
}

/* Whoever asks may mix upper and lower case, to know the answer again. */
TEST(dns, the_case_of_a_name_does_not_matter_and_comes_back)
{
    ck_assert_int_eq(ask("pS2nAsCaR04.eA.cOm", TYPE_A), NOERROR);
    ck_assert_uint_eq(reply.address, REACHED);
    ck_assert_mem_eq(reply.name, "\013pS2nAsCaR04\2eA\3cOm", 20);
}

TEST(dns, other_types_of_a_known_name_are_empty)
{
    static const unsigned types[] = {TYPE_NS, TYPE_SOA, TYPE_TXT, TYPE_AAAA, TYPE_OPT, 5,   12,
                                     15,      33,       64,       65,        0,        251, 252};
    for (int i = 0; i < COUNT(types); i++) {
        ck_assert_int_eq(ask(GAME, types[i]), NOERROR);
        ck_assert_uint_eq(reply.answers, 0);
        ck_assert_uint_eq(out.size, 12 + 20 + 4); /* a SOA record would take more than 16 bytes */
    }
    ck_assert_int_eq(ask(GAME, TYPE_ANY), NOERROR); /* RFC 8482: one of what there is */
    ck_assert_uint_eq(reply.address, REACHED);
}

/* ---- What is refused --------------------------------------------------------- */

TEST(dns, other_names_are_refused)
{
    static const char *const names[] = {"",
                                        "com",
                                        "ea.com",
                                        "x." GAME,
                                        GAME ".x",
                                        "ps2nascar",
                                        "ps2nascar04",
                                        "example.org",
                                        "ps2nascar04.eaXcom",
                                        DNAS,
                                        "ps2nascar05.ea.com",
                                        "ps2nascar04.ea.co",
                                        "ps2nascar04.ea.comm",
                                        "1.0.0.127.in-addr.arpa"};
    for (int i = 0; i < COUNT(names); i++) {
        ck_assert_msg(ask(names[i], TYPE_A) == REFUSED, "%s", names[i]);
        ck_assert_uint_eq(reply.answers, 0);
    }
    ck_assert(world_logged(w, "event=dns peer=198.51.100.7 name=\"" DNAS "\" type=1 code=5 address=0.0.0.0"));
}

/* A dot in a label, or what no name has, makes no other name of it, and no other line of the log. */
TEST(dns, a_label_is_no_more_than_a_label)
{
    static const char *const names[] = {"\022ps2nascar04.ea.com", "\016ps2nascar04.ea\3com",
                                        "\2\"\n\013ps2nascar04\2ea\3com", "\013ps2nascar04\2e\xE1\3com"};
    for (int i = 0; i < COUNT(names); i++) {
        struct question q;
        ask_for(&q, 9, "", TYPE_A, CLASS_IN);
        size_t n = strlen(names[i]);
        memmove(q.bytes + 12 + n, q.bytes + 12, 5);
        memcpy(q.bytes + 12, names[i], n);
        q.size += n;
        ck_assert_int_eq(said_to(&q), REFUSED);
    }
    ck_assert(world_logged(w, "name=\"ps2nascar04?ea?com\""));
    ck_assert(world_logged(w, "name=\"\\x22?.ps2nascar04.ea.com\""));
}

/* A caller that takes no lines of the log gets answers all the same. */
TEST(dns, a_full_log_keeps_no_answer_back)
{
    struct question q;
    ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
    struct nascar_event event = {.type = NASCAR_DATAGRAM,
                                 .conn = NASCAR_NONE,
                                 .service = NASCAR_SERVICE_DNS,
                                 .bytes = q.bytes,
                                 .size = (uint32_t)q.size};
    for (int i = 0; i < 250; i++) {
        event.mono_ms = w->mono_ms += 100;
        ck_assert(nascar_step(w->state, &event));
        ck_assert(nascar_next_datagram(w->state, &out));
    }
    struct nascar_log log;
    unsigned lines = 0;
    while (nascar_next_log(w->state, &log))
        lines++;
    ck_assert(lines > 100 && lines < 250);
}

TEST(dns, other_classes_are_refused)
{
    static const unsigned classes[] = {CLASS_CHAOS, 4, 254, 255, 0};
    struct question q;
    for (int i = 0; i < COUNT(classes); i++) {
        ask_for(&q, 3, GAME, TYPE_A, classes[i]);
        ck_assert_int_eq(said_to(&q), REFUSED);
        ck_assert_uint_eq(reply.answers, 0);
    }
}

TEST(dns, other_opcodes_are_not_known)
{
    for (unsigned opcode = 1; opcode < 16; opcode++) {
        struct question q;
        ask_for(&q, 5, GAME, TYPE_A, CLASS_IN);
        q.bytes[2] = (uint8_t)(opcode << 3 | (opcode & 1));
        q.bytes[7] = (uint8_t)(opcode & 2); /* whatever stands there in another one */
        ck_assert_int_eq(said_to(&q), NOTIMP);
        ck_assert_uint_eq(reply.opcode, opcode);
        ck_assert_uint_eq(out.size, 12);
    }
}

/* What is wrong with a question, as a change of bytes of a good one with EDNS. */
static const struct {
    const char *what;
    size_t size; /* 0: all of it */
    size_t at;
    uint8_t byte;
} malformed[] = {
    {"no question", 0, 5, 0},
    {"two questions", 0, 5, 2},
    {"257 questions", 0, 4, 1},
    {"an answer", 0, 7, 1},
    {"256 answers", 0, 6, 1},
    {"an authority", 0, 9, 1},
    {"256 authorities", 0, 8, 1},
    {"fewer other records", 0, 11, 0},
    {"more other records", 0, 11, 2},
    {"many more other records", 0, 10, 0xFF},
    {"a pointer in the name", 0, 24, 0xC0},
    {"a label of an unknown sort", 0, 24, 0x40},
    {"another one", 0, 24, 0x80},
    {"a label to behind the end", 0, 27, 63},
    {"a name without an end", 0, 31, 63},
    {"a head alone", 12, 0, 0},
    {"half a name", 20, 0, 0},
    {"a name without a type", 32, 0, 0},
    {"... without a class", 34, 0, 0},
    {"... with half a class", 35, 0, 0},
    {"no other record", 36, 0, 0},
    {"half a record", 42, 0, 0},
    {"a record without its last byte", 46, 0, 0},
    {"one whose bytes are missing", 0, 46, 1},
    {"one with too many bytes", 0, 45, 0xFF},
    {"OPT with a name", 0, 36, 1},
    {"OPT with a pointer as its name", 0, 36, 0xC0},
};

TEST_LOOP(dns, what_is_no_question_is_malformed, 0, COUNT(malformed))
{
    struct question q;
    ask_for(&q, 0xBEEF, GAME, TYPE_A, CLASS_IN);
    ask_with_edns(&q, 0, 0, 0);
    ck_assert_uint_eq(q.size, 47);
    ck_assert_int_eq(said_to(&q), NOERROR);
    if (malformed[_i].at > 0)
        q.bytes[malformed[_i].at] = malformed[_i].byte;
    q.size = malformed[_i].size > 0 ? malformed[_i].size : q.size;
    ck_assert_msg(said_to(&q) == FORMERR, "%s", malformed[_i].what);
    ck_assert_uint_eq(out.size, 12);
}

/* A label has 63 bytes at most, however many follow; from 64 on its length means something else, as 192 a pointer. */
TEST(dns, a_label_has_63_bytes_at_most)
{
    for (size_t chars = 62; chars < 256; chars++) {
        struct question q;
        ask_for(&q, 1, "", TYPE_A, CLASS_IN);
        memmove(q.bytes + 13 + chars, q.bytes + 12, 5);
        memset(q.bytes + 12, 'x', chars + 1);
        q.bytes[12] = (uint8_t)chars;
        q.size += chars + 1;
        ck_assert_int_eq(said_to(&q), chars < 64 ? REFUSED : FORMERR);
    }
}

TEST(dns, an_opt_has_no_name)
{
    struct question q;
    for (size_t chars = 0; chars < 4; chars++) {
        size_t more = chars > 0 ? chars + 1 : 0;
        ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
        uint8_t *opt = q.bytes + q.size;
        ask_with_edns(&q, 0, 0, 0);
        memmove(opt + more, opt, 11);
        memset(opt, 'x', more);
        opt[0] = (uint8_t)chars;
        q.size += more;
        ck_assert_int_eq(said_to(&q), chars == 0 ? NOERROR : FORMERR);
    }
}

TEST(dns, bytes_behind_a_question_are_malformed)
{
    struct question q;
    ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
    q.size++;
    ck_assert_int_eq(said_to(&q), FORMERR);
    ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
    ask_with_edns(&q, 0, 0, 0);
    q.size++;
    ck_assert_int_eq(said_to(&q), FORMERR);
}

/* The longest name has 255 bytes on the wire; one more is malformed. */
TEST_LOOP(dns, a_name_has_255_bytes_at_most, 0, 5)
{
    char name[400] = "";
    struct question q;
    size_t chars = _i == 4 ? 390 : 252 + (size_t)_i; /* in text, so two more on the wire */
    for (size_t i = 0; i < chars; i++)
        name[i] = i % 50 == 49 ? '.' : 'x';
    ask_for(&q, 1, name, TYPE_A, CLASS_IN);
    ck_assert_uint_eq(q.size, 12 + chars + 2 + 4);
    ck_assert_int_eq(said_to(&q), chars <= 253 ? REFUSED : FORMERR);
    ck_assert_uint_eq(out.size, chars <= 253 ? q.size : 12);
    ask_with_edns(&q, 0, 0, 8);
    ck_assert_int_eq(said_to(&q), chars <= 253 ? REFUSED : FORMERR);
}

/* As an answer to an answer would go round for ever, and one to less than a head would be longer than that. */
TEST(dns, answers_and_scraps_are_left_alone)
{
    struct question q;
    ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
    ck_assert_int_eq(said_to(&q), NOERROR);
    struct question own = {.size = out.size};
    memcpy(own.bytes, out.bytes, out.size);
    ck_assert_int_eq(said_to(&own), -1);
    for (size_t size = 0; size < 12; size++)
        ck_assert(!send_bytes(q.bytes, size));
    q.bytes[2] = 0x81;
    ck_assert_int_eq(said_to(&q), -1);
    q.bytes[2] = 0xF9;
    ck_assert_int_eq(said_to(&q), -1);
    static const uint8_t zeros[70000];
    ck_assert(!send_bytes(zeros, sizeof zeros)); /* nor can this come by UDP */
    ck_assert(send_bytes(zeros, 65535));
    ck_assert_uint_eq(reply.code, FORMERR);
}

TEST(dns, what_is_for_another_service_is_left_alone)
{
    struct question q;
    ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
    for (int service = NASCAR_SERVICE_GAME; service < NASCAR_SERVICE_DNS; service++) {
        struct nascar_event event = {.type = NASCAR_DATAGRAM, .conn = NASCAR_NONE, .bytes = q.bytes};
        event.service = (enum nascar_service)service;
        event.size = (uint32_t)q.size;
        ck_assert(world_step(w, &event));
        ck_assert(!nascar_next_datagram(w->state, &out));
    }
}

/* One that nobody takes is gone with the next step, as datagrams may be. */
TEST(dns, an_answer_waits_for_no_longer_than_a_step)
{
    struct question q;
    ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
    struct nascar_event event = {.type = NASCAR_DATAGRAM,
                                 .conn = NASCAR_NONE,
                                 .service = NASCAR_SERVICE_DNS,
                                 .bytes = q.bytes,
                                 .size = (uint32_t)q.size};
    ck_assert(world_step(w, &event));
    world_run(w, 10);
    struct nascar_event clock = {.type = NASCAR_CLOCK, .conn = NASCAR_NONE};
    ck_assert(world_step(w, &clock));
    ck_assert(!nascar_next_datagram(w->state, &out));
}

/* ---- EDNS (RFC 6891) ----------------------------------------------------------- */

TEST(dns, edns_is_answered_with_edns)
{
    static const struct {
        unsigned flags, options;
    } rows[] = {{0, 0}, {0x8000, 0}, {0x7FFF, 0}, {0xFFFF, 12}, {0, 12}, {0, 400}};
    for (int i = 0; i < COUNT(rows); i++) {
        for (int other = 0; other < 2; other++) {
            struct question q;
            ask_for(&q, 1, other ? DNAS : GAME, TYPE_A, CLASS_IN);
            ask_with_edns(&q, 0, rows[i].flags, rows[i].options);
            ck_assert_int_eq(said_to(&q), other ? REFUSED : NOERROR);
            ck_assert(reply.edns && reply.version == 0 && reply.takes == 1232);
            ck_assert_int_eq(reply.dnssec, rows[i].flags >> 15);
            ck_assert_uint_eq(reply.address, other ? 0 : REACHED);
        }
    }
}

TEST(dns, another_version_of_edns_is_not_known)
{
    for (unsigned version = 1; version < 256; version += 127) {
        struct question q;
        ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
        ask_with_edns(&q, version, 0x8000, 0);
        ck_assert_int_eq(said_to(&q), BADVERS);
        ck_assert(reply.edns && reply.version == 0 && reply.questions == 1 && reply.answers == 0);
    }
}

TEST(dns, two_opts_are_malformed_and_other_records_are_passed_over)
{
    static const uint8_t other[] = {3, 'k', 'e', 'y', 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 2, 9, 9};
    struct question q;
    ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
    ask_with_edns(&q, 0, 0, 0);
    memcpy(q.bytes + q.size, other, sizeof other);
    q.size += sizeof other;
    q.bytes[11]++;
    ck_assert_int_eq(said_to(&q), NOERROR);
    ck_assert(reply.edns && reply.address == REACHED);
    ask_with_edns(&q, 0, 0, 0);
    ck_assert_int_eq(said_to(&q), FORMERR);
    ck_assert(!reply.edns);
    ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
    memcpy(q.bytes + q.size, other, sizeof other);
    q.size += sizeof other;
    q.bytes[11]++;
    ck_assert_int_eq(said_to(&q), NOERROR);
    ck_assert(!reply.edns && reply.address == REACHED);
}

/* ---- No more than twenty a second ------------------------------------------------ */

static unsigned answers_of(uint32_t peer, unsigned times)
{
    struct question q;
    unsigned answers = 0;
    ask_for(&q, 1, GAME, TYPE_A, CLASS_IN);
    while (times-- > 0)
        answers += send_from(peer, REACHED, q.bytes, q.size);
    return answers;
}

static int64_t stat(const char *name)
{
    struct raw *o = raw_operator(w);
    raw_send(o, "csta", "");
    for (const struct got *g; (g = raw_look(o, "line")) != NULL;)
        if (strcmp(got_text(g, "name"), name) == 0)
            return got_number(g, "value");
    ck_abort_msg("stats do not have %s", name);
}

TEST(dns, an_address_gets_twenty_answers_a_second)
{
    ck_assert_uint_eq(answers_of(ASKER, 50), 20);
    ck_assert_uint_eq(answers_of(ASKER + 1, 50), 20); /* the others go on */
    world_run(w, 999);
    ck_assert_uint_eq(answers_of(ASKER, 1), 0);
    world_run(w, 1);
    ck_assert_uint_eq(answers_of(ASKER, 50), 20);
    ck_assert_int_eq(stat("dns_queries"), 151);
    ck_assert_int_eq(stat("dns_answers"), 60);
    ck_assert_int_eq(stat("dns_dropped"), 91);
}

/* However it asks, in no second are there more, and whoever asks slowly is never refused. */
TEST(dns, there_is_no_second_with_more_than_twenty)
{
    uint64_t at[400];
    unsigned answers = 0, asked = 0;
    uint64_t begin = w->mono_ms;
    while (answers < 400) {
        unsigned times = 1 + world_below(w, 9), got = answers_of(ASKER, times);
        asked += times;
        for (; got > 0 && answers < 400; got--)
            at[answers++] = w->mono_ms;
        world_run(w, 1 + world_below(w, 200));
    }
    ck_assert_uint_gt(asked, 500);
    for (unsigned i = 20; i < answers; i++)
        ck_assert_uint_ge(at[i] - at[i - 20], 1000);
    ck_assert_uint_le(w->mono_ms - begin, 22000); /* they get what they may, too */
    for (unsigned i = 0; i < 200; i++) {
        world_run(w, 50);
        ck_assert_uint_eq(answers_of(ASKER + 2, 1), 1);
    }
}

/* Refusals count as well, and what gets no answer does not. */
TEST(dns, refusals_count_and_silence_does_not)
{
    struct question q;
    ask_for(&q, 1, DNAS, TYPE_A, CLASS_IN);
    for (int i = 0; i < 100; i++)
        ck_assert(!send_bytes(q.bytes, 11));
    for (int i = 0; i < 10; i++)
        ck_assert(send_bytes(q.bytes, q.size));
    for (int i = 0; i < 5; i++)
        ck_assert(send_bytes(q.bytes, 13)); /* malformed */
    ck_assert_uint_eq(answers_of(ASKER, 50), 5);
}

/* A flood from forged addresses takes no memory. Those who share a place with somebody else get less, and never more. */
TEST(dns, a_flood_from_everywhere_takes_no_memory)
{
    unsigned answers = 0;
    w->options.no_check = true;
    for (uint32_t i = 0; i < 20000; i++)
        answers += answers_of(0x01000000u + 77 * i, 1);
    w->options.no_check = false;
    ck_assert_uint_gt(answers, 4000);
    ck_assert_uint_le(answers, 20 * 256);
    world_run(w, 1000);
    ck_assert_uint_eq(answers_of(ASKER, 50), 20);
}

/* The lower half of the clock wraps every 49 days. */
TEST(dns, the_clock_may_wrap)
{
    for (int i = 0; i < 45; i++) {
        ck_assert_uint_eq(answers_of(ASKER, 21), 20);
        world_pass(w, 40000);
    }
    world_pass(w, 4294966 - 45 * 40000 - (int64_t)(w->mono_ms / 1000 % 40000));
    for (int i = 0; i < 5; i++) {
        ck_assert_uint_eq(answers_of(ASKER, 21), 20);
        world_run(w, 1000);
    }
}

/* ---- The configuration ------------------------------------------------------------ */

TEST(dns, a_name_is_a_hosts_name)
{
    static const char *const good[] = {"a", "example.org", "Example.Org=192.0.2.1", "a=223.255.255.255"};
    static const char *const bad[] = {"",
                                      "=192.0.2.1",
                                      "a.b.",
                                      ".a",
                                      "a..b",
                                      "a b",
                                      "a_b",
                                      "192.0.2.1",
                                      "a=",
                                      "a=b",
                                      "a=192.0.2",
                                      "a=0.0.0.0",
                                      "a=0.1.2.3",
                                      "a=224.0.0.1",
                                      "a=255.255.255.255",
                                      "a=192.0.2.1=192.0.2.2",
                                      "a=192.0.2.1x",
                                      "a = 192.0.2.1",
                                      "*.example.org"};
    char why[200];
    for (int i = 0; i < COUNT(good); i++)
        ck_assert_msg(nascar_config_check("dns-name", good[i], why, sizeof why), "%s: %s", good[i], why);
    for (int i = 0; i < COUNT(bad); i++) {
        ck_assert_msg(!nascar_config_check("dns-name", bad[i], why, sizeof why), "%s", bad[i]);
        ck_assert_str_eq(why, "expected the name of a host, or with an IPv4 address that is its own, as "
                              "example.org=192.0.2.1");
    }
}

TEST(dns, there_are_sixteen_names_at_most)
{
    char config[1024] = "";
    for (int i = 0; i < 17; i++)
        (void)snprintf(config + strlen(config), 48, "dns-name = n%d.example=192.0.2.%d\n", i, i + 1);
    reopen_with(config);
    for (int i = 0; i < 17; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "n%d.example", i);
        ck_assert_int_eq(ask(name, TYPE_A), i < 16 ? NOERROR : REFUSED);
        ck_assert_uint_eq(reply.address, i < 16 ? 0xC0000201u + (uint32_t)i : 0);
    }
}
