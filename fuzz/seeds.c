/* Writes seeds: scripts out of the captures, recordings and examples, the frames
 * of them, and journals of the scenes.
 *
 * usage: seeds FOLDER FILE...    files are captures (.jsonl) or event scripts;
 *                                FOLDER/fuzz_{frame,step,journal,dns} must be there
 *
 * SPDX-License-Identifier: MIT */
#include "fuzz_step.h"
#include "examples.h"

bool fuzz_wants_hash;

/* What is longer is cut: a replay is to be short, and fuzz_step takes no more. */
enum { SEED_EVENTS = 64, SEED_BYTES = 800, CONNS = 11 };

static const char *folder;
static uint8_t seed[1u << 20];
static uint32_t seed_bytes, seed_events, seeds_written;

static void write_seed(const char *harness, const void *bytes, size_t size)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s/seed-%05u", folder, harness, seeds_written++);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

static void script_begin(uint32_t scene, uint32_t mood)
{
    struct nascar_limits limits = {scene, mood, 0, 0, 0, 0, 0};
    seed_bytes = script_write_header(seed, limits);
    seed_events = 0;
}

static void add_event(uint32_t type, const struct nascar_event *e, uint64_t step_ms)
{
    uint32_t size = type == NASCAR_DRAINED ? 0 : e->size;
    if (seed_bytes + size + SCRIPT_HEAD_BYTES > sizeof seed)
        return;
    seed_bytes += script_write_event(seed + seed_bytes, type, e, step_ms);
    if (size > 0)
        memcpy(seed + seed_bytes, e->bytes, size);
    seed_bytes += size;
    seed_events++;
    if (type == NASCAR_BYTES && size > 0)
        write_seed("fuzz_frame", e->bytes, size);
}

/* Windows of a recording, its beginning first. What the core asked for there,
 * fuzz_step knows. A window opens the connections that it speaks of. */
static void take_script(const uint8_t *bytes, size_t size)
{
    struct nascar_limits limits;
    struct script script;
    struct nascar_event e;
    bool checkpoint, open[CONNS] = {false};
    uint64_t last_ms = 0;
    script_open(&script, bytes, size, &limits);
    script_begin(0, 0);
    while (script_next(&script, &e, &checkpoint)) {
        if (checkpoint || e.type == NASCAR_ENTROPY)
            continue;
        bool answers = e.type == NASCAR_RECORD || e.type == NASCAR_RECORD_FAILED || e.type == NASCAR_VERDICT;
        if (answers && e.conn != NONE)
            e.size = 0;
        uint32_t more = e.type == NASCAR_DRAINED ? 0 : e.size;
        if (seed_events + 2 > SEED_EVENTS || seed_bytes + more + 2 * SCRIPT_HEAD_BYTES > SEED_BYTES) {
            write_seed("fuzz_step", seed, seed_bytes);
            script_begin(0, 0);
            memset(open, 0, sizeof open);
        }
        if (e.conn != NONE) {
            e.conn %= CONNS;
            if (e.type == NASCAR_BYTES && !open[e.conn])
                add_event(NASCAR_OPENED, &(struct nascar_event){.conn = e.conn, .peer = 0xC6336401u + e.conn}, 0);
            open[e.conn] = e.type != NASCAR_CLOSED;
        }
        add_event(e.type, &e, e.mono_ms - last_ms);
        last_ms = e.mono_ms;
    }
    write_seed("fuzz_step", seed, seed_bytes);
}

/* The client's frames, each connection of the capture one of the core's. */
static void take_capture(const char *text)
{
    static uint8_t frame[INBOX_BYTES * 4];
    char conns[CONNS][48];
    uint32_t count = 0;
    script_begin(0, MOOD_RECORDS | MOOD_VERDICTS);
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        char name[48] = "", dir = 0;
        const char *hex = strstr(line, "\"hex\": \"");
        const char *end = strchr(line, '\n');
        uint32_t c = 0, n = 0;
        if (sscanf(line, "{\"conn\": \"%47[^\"]\", \"dir\": \"%c\"", name, &dir) != 2 || dir != 'C' || !hex ||
            (end && hex > end))
            continue;
        while (c < count && strcmp(conns[c], name) != 0)
            c++;
        if (c == count && count < CONNS) {
            memcpy(conns[count++], name, sizeof name);
            add_event(NASCAR_OPENED, &(struct nascar_event){.conn = c, .peer = 0xC6336401u}, 10);
        }
        for (hex += 8; hex_value((uint8_t)hex[0]) >= 0 && hex_value((uint8_t)hex[1]) >= 0 && n < sizeof frame; hex += 2)
            frame[n++] = (uint8_t)(hex_value((uint8_t)hex[0]) << 4 | hex_value((uint8_t)hex[1]));
        add_event(NASCAR_BYTES, &(struct nascar_event){.conn = c, .bytes = frame, .size = n}, 100);
        if (seed_events >= SEED_EVENTS) {
            write_seed("fuzz_step", seed, seed_bytes);
            script_begin(0, MOOD_RECORDS | MOOD_VERDICTS);
        }
    }
    write_seed("fuzz_step", seed, seed_bytes);
}

/* Every request by everyone, in each scene: five to a script, and the time that
 * passes. */
static void take_examples(void)
{
    for (uint32_t scene = 0; scene < SCENES; scene++) {
        for (uint32_t i = 0; i < EXAMPLES; i += 5) {
            script_begin(scene, MOOD_RECORDS | MOOD_VERDICTS);
            add_event(NASCAR_CONTROL, &(struct nascar_event){.conn = OPERATOR}, 0);
            for (uint32_t k = i; k < i + 5 && k < EXAMPLES; k++) {
                for (uint32_t c = 0; c < 4; c++) {
                    static struct outgoing f;
                    bool buddy = examples[k].kind[0] >= 'A' && examples[k].kind[0] <= 'Z';
                    write_example(&f, k, c);
                    uint32_t on = is_operators(k) ? OPERATOR : buddy ? PLAYERS + c : c;
                    struct nascar_event e = {.conn = on, .bytes = f.bytes, .size = f.size};
                    add_event(NASCAR_BYTES, &e, 0);
                }
            }
            for (uint32_t c = 0; c < 4; c++)
                add_event(NASCAR_DRAINED, &(struct nascar_event){.conn = c, .size = OUTBOX_BYTES}, 0);
            add_event(NASCAR_DRAINED, &(struct nascar_event){.conn = OPERATOR, .size = OUTBOX_BYTES}, 0);
            for (uint32_t k = 0; k < 2; k++)
                add_event(NASCAR_CLOCK, &(struct nascar_event){.conn = NONE}, 20000);
            write_seed("fuzz_step", seed, seed_bytes);
        }
    }
}

/* Each header of a proxy, alone and in front of a request, in one piece and in two. */
static void take_proxies(void)
{
    static struct outgoing f;
    uint8_t bytes[INBOX_BYTES];
    for (uint32_t i = 0; i < PROXY_HEADERS; i++) {
        uint32_t size = proxy_headers[i].size;
        memcpy(bytes, proxy_headers[i].bytes, size);
        write_seed("fuzz_frame", bytes, size);
        write_example(&f, i, 0);
        memcpy(bytes + size, f.bytes, f.size);
        script_begin(1, MOOD_RECORDS | MOOD_VERDICTS);
        for (uint32_t c = 0; c < 2; c++) {
            uint32_t cut = c == 0 ? size + f.size : size - 2;
            add_event(NASCAR_OPENED, &(struct nascar_event){.conn = 9 + c, .peer = PROXY_PEER}, 0);
            add_event(NASCAR_BYTES, &(struct nascar_event){.conn = 9 + c, .bytes = bytes, .size = cut}, 0);
            add_event(NASCAR_BYTES,
                      &(struct nascar_event){.conn = 9 + c, .bytes = bytes + cut, .size = size + f.size - cut}, 0);
        }
        add_event(NASCAR_CLOCK, &(struct nascar_event){.conn = NONE}, 20000);
        write_seed("fuzz_step", seed, seed_bytes);
    }
}

/* Each question by DNS, whole and cut, and with all the others in one script. */
static void take_questions(void)
{
    script_begin(0, 0);
    for (uint32_t i = 0; i < DNS_QUESTIONS; i++) {
        struct nascar_event e = {.conn = NONE,
                                 .service = NASCAR_SERVICE_DNS,
                                 .peer = 0xC6336401u,
                                 .port = 53,
                                 .local = 0xCB00710A,
                                 .bytes = (const uint8_t *)dns_questions[i].bytes,
                                 .size = dns_questions[i].size};
        write_seed("fuzz_dns", e.bytes, e.size);
        write_seed("fuzz_dns", e.bytes, e.size - 1);
        add_event(NASCAR_DATAGRAM, &e, 100);
    }
    write_seed("fuzz_step", seed, seed_bytes);
    script_begin(0, 0);
    for (uint32_t i = 0; i < DNS_ANSWERS + 2; i++)
        add_event(NASCAR_DATAGRAM,
                  &(struct nascar_event){.conn = NONE,
                                         .service = NASCAR_SERVICE_DNS,
                                         .bytes = (const uint8_t *)dns_questions[4].bytes,
                                         .size = dns_questions[4].size},
                  i == DNS_ANSWERS + 1 ? 1000 : 0);
    write_seed("fuzz_step", seed, seed_bytes);
}

/* What is kept in a scene, a record a batch, and all in one. */
static void take_journals(void)
{
    static uint8_t bytes[BATCH_BYTES], journal[1u << 20];
    struct nascar_cursor cursor;
    struct nascar_record record;
    for (uint32_t i = 0; i < 2 * SCENES; i++) {
        struct batch batch = {.bytes = bytes};
        uint64_t number = 0;
        uint32_t size = write_journal_head(journal, JOURNAL_FORMAT);
        scene_begin(i / 2, 0);
        memset(&cursor, 0, sizeof cursor);
        batch_begin(&batch);
        for (bool more = true; more;) {
            more = nascar_next_kept(core.state, &cursor, &record);
            if (more)
                (void)batch_add(&batch, record.bytes, record.size);
            if (more && i % 2 == 0)
                continue;
            batch_seal(&batch, ++number);
            memcpy(journal + size, batch.bytes, batch.size);
            size += batch.size;
            batch_begin(&batch);
        }
        write_seed("fuzz_journal", journal, size);
        write_seed("fuzz_journal", journal, size - 9);
        journal[size / 2] ^= 1;
        write_seed("fuzz_journal", journal, size);
    }
    write_seed("fuzz_journal", journal, write_journal_head(journal, 0));
    write_seed("fuzz_journal", journal, write_journal_head(journal, JOURNAL_FORMAT + 1));
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: seeds FOLDER FILE...\n");
        return 2;
    }
    folder = argv[1];
    scene_begin(0, 0);
    take_examples();
    take_journals();
    take_proxies();
    take_questions();
    for (int i = 2; i < argc; i++) {
        size_t size;
        uint8_t *bytes = read_file(argv[i], &size);
        if (!bytes)
            return 1;
        if (size > sizeof script_magic && memcmp(bytes, script_magic, 3) == 0) { /* of either version */
            take_script(bytes, size);
        } else {
            char *text = malloc(size + 1);
            DEMAND(text != NULL);
            memcpy(text, bytes, size);
            text[size] = 0;
            take_capture(text);
            free(text);
        }
        free(bytes);
    }
    (void)printf("%u seeds\n", seeds_written);
    return 0;
}
