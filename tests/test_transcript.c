/* One fixed life, and everything that the core says in it, byte for byte:
 * frames, records, hash jobs, log lines, deadlines. It must not depend on how
 * the input lies in memory; nor on the processor or the compiler, which the
 * Makefile compares (build/log/same.*): with the file's name in TRANSCRIPT in
 * the environment, the suite leaves the transcript there.
 *
 * SPDX-License-Identifier: MIT */

#include "world.h"

/* A world that calls the recorder below, which calls the core. */
static bool heard_step(struct nascar *state, const struct nascar_event *event);
static bool heard_record(struct nascar *state, struct nascar_record *record);
static bool heard_hash_job(struct nascar *state, struct nascar_hash_job *job);
static bool heard_log(struct nascar *state, struct nascar_log *log);
#define nascar_step heard_step
#define nascar_next_record heard_record
#define nascar_next_hash_job heard_hash_job
#define nascar_next_log heard_log
#include "world.c"
#undef nascar_step
#undef nascar_next_record
#undef nascar_next_hash_job
#undef nascar_next_log

#include "suite.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The recorder ------------------------------------------------------- */

struct transcript {
    char *text;
    size_t size, room;
};

static struct transcript *heard; /* where to write */
static size_t misaligned_by;     /* bytes past an address that suits any type */

static void put_bytes(const void *bytes, size_t size)
{
    if (heard->room - heard->size < size) {
        heard->room = (heard->room + size) * 2;
        heard->text = realloc(heard->text, heard->room);
        if (heard->text == NULL)
            abort();
    }
    memcpy(heard->text + heard->size, bytes, size);
    heard->size += size;
}

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
static void
put(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ck_assert(size >= 0 && (size_t)size < sizeof text);
    put_bytes(text, (size_t)size);
}

/* A line of text, so that a difference can be read. */
static void put_escaped(const char *what, uint32_t conn, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    put("%s %lu ", what, (unsigned long)conn);
    for (size_t i = 0; i < size; i++)
        if (at[i] >= 0x20 && at[i] <= 0x7E && at[i] != '\\')
            put_bytes(at + i, 1);
        else
            put("\\%02x", (unsigned)at[i]);
    put_bytes("\n", 1);
}

static bool heard_step(struct nascar *state, const struct nascar_event *event)
{
    struct nascar_event moved = *event;
    uint8_t *memory = malloc(event->size + misaligned_by + 1); /* no more than that: sanitizers watch its end */
    if (memory == NULL)
        abort();
    if (event->type == NASCAR_DRAINED) {
        uint32_t size = 0;
        const uint8_t *bytes = nascar_outbox(state, event->conn, &size);
        put_escaped("said", event->conn, bytes, event->size < size ? event->size : size);
    } else if (event->bytes != NULL) {
        memcpy(memory + misaligned_by, event->bytes, event->size);
        moved.bytes = memory + misaligned_by;
    }
    bool done = nascar_step(state, &moved);
    free(memory);
    put("step %d on %lu at %llu: %d, then %llu, %lu\n", (int)event->type, (unsigned long)event->conn,
        (unsigned long long)event->mono_ms, (int)done, (unsigned long long)nascar_deadline_ms(state),
        (unsigned long)nascar_entropy_wanted(state));
    return done;
}

static bool heard_record(struct nascar *state, struct nascar_record *record)
{
    bool found = nascar_next_record(state, record);
    if (found)
        put_escaped("record", record->conn, record->bytes, record->size);
    return found;
}

static bool heard_hash_job(struct nascar *state, struct nascar_hash_job *job)
{
    bool found = nascar_next_hash_job(state, job);
    if (found) {
        put_escaped("password", job->conn, job->password, sizeof job->password);
        put_escaped("fresh", job->conn, job->fresh, sizeof job->fresh);
        put_escaped("stored", job->conn, job->stored, sizeof job->stored);
        put_escaped("salt", job->conn, job->salt, sizeof job->salt);
    }
    return found;
}

static bool heard_log(struct nascar *state, struct nascar_log *log)
{
    bool found = nascar_next_log(state, log);
    if (found)
        put("log %d %s\n", (int)log->level, log->text);
    return found;
}

/* ---- The life ----------------------------------------------------------- */

static void race(struct world *w, struct console *a, struct console *b, const char *persona)
{
    static const struct console_result result = {{3, 1}, {1, 2}, {20, 20}, {15, 5}, {0, 0}, {0, 1}, 123456, 7, 43, 20};
    ck_assert(console_challenge_player(a, persona, NULL));
    world_settle(w);
    console_answer(b, "ACPT");
    world_run(w, 15000);
    ck_assert_uint_eq(a->plays, a->races);
    ck_assert_uint_ge(a->plays, 1);
    console_report_race(a, &result);
    console_report_race(b, &result);
    world_run(w, 1000);
    console_back_in_lobby(a);
    console_back_in_lobby(b);
    world_run(w, 1000);
}

/* Consoles that do all that consoles do, in and out of turn. */
static void consoles(struct world *w)
{
    struct console *ann = world_console(w, 0);
    console_signup(ann, "Ann", "secret", "ann@example.org", "Ann");
    world_run(w, 200000);
    ck_assert_int_eq(ann->stage, CONSOLE_INSIDE);
    struct console *bob = world_player(w, "Bob"), *cat = world_player(w, "Cat");
    console_read_news(ann);
    console_create_room(ann, "C.Racers", "door", "For friends", 8);
    world_run(w, 500);
    console_move(bob, "C.Racers", "wrong");
    world_run(w, 500);
    console_move(bob, "C.Racers", "door");
    console_move(cat, "East", "");
    world_run(w, 500);
    console_chat(ann, "hello \\ \"you\" = 100%");
    console_chat(bob, "gr\xFC\xDF\x80\xFF");
    console_tell(cat, "Ann", "psst");
    console_tell(cat, "Nobody", "psst");
    console_status(bob, "ready $0123");
    console_look(cat, "Bob");
    console_peek(cat, "C.Racers");
    world_run(w, 500);
    console_leaderboard(cat, 1, "Bob", 10);
    console_add_friend(ann, "Bob", false);
    console_add_friend(ann, "Cat", true);
    console_write_letter(bob, "Ann", "a letter");
    world_run(w, 500);
    console_report_abuse(cat, "Bob");
    race(w, ann, bob, "Bob");
    race(w, cat, bob, "Bob");
    ck_assert(console_challenge_player(bob, "Ann", NULL));
    world_settle(w);
    console_answer(ann, "DECL");
    ck_assert(console_challenge_player(cat, "Bob", NULL));
    world_run(w, 65000); /* nobody answers */
    console_drop_friend(ann, "Bob", false);
    world_cut(w, bob, CONSOLE_LOBBY);
    console_leave(cat);
    world_run(w, 35000);
}

/* Clients that say what consoles do not. */
static void others(struct world *w)
{
    static const char *const kinds[] = {
        "addr", "skey", "~png", "sele", "auth", "acct", "edit", "cper", "dper", "dacc",
        "pers", "news", "chal", "user", "onln", "room", "move", "peek", "mesg", "auxi",
        "rank", "snap", "PSET", "RGET", "RADD", "RDEL", "PING", "@dir", "zzzz",
    };
    static const char *const payloads[] = {
        "",
        "NAME=\"Dan\" PERS=\"Ann\" PASS=\"~x\" TEXT=\"%41%zz\x80\xFE\" LIST=B USER=Ann ID=7",
        "NAME=East\nPASS=\nPERS=$44616e\nTEXT=a\xE9\x80z\nROOMS=1\nUSERS=-1\nRANKS=4294967296\nCHAN=-2147483648\n",
        "=\n==\nNAME\n\xFF=\xFF\nNAME=\n",
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct raw *r = raw_login(w, "Dan", "secret");
        r->keeps_pings = true; /* or both sides echo for ever */
        for (size_t j = 0; j < sizeof payloads / sizeof payloads[0]; j++) {
            raw_send_frame(r, kinds[i], 0x80FF7F01u, payloads[j], strlen(payloads[j]) + (i & 1));
            world_run(w, 100);
        }
        raw_close(r);
    }
    struct raw *garbage = raw_open(w, 0);
    for (int i = 0; i < 64; i++) {
        uint64_t bytes = world_random(w);
        for (int shift = 0; shift < 64; shift += 8) {
            uint8_t byte = (uint8_t)(bytes >> shift & 0xFFu);
            raw_send_bytes(garbage, &byte, 1);
        }
    }
    world_run(w, 5000);
}

static void live(struct transcript *transcript, size_t offset, enum world_split split)
{
    struct world_options options = {
        .split = split,
        .seed = 2004,
        .no_check = true, /* other suites do that */
        .config = "news-line = Welcome\nnews-line = to the races\nroom = East: East Coast: 5\nping-s = 20\n",
    };
    heard = transcript;
    misaligned_by = offset;
    struct world *w = world_new(&options);
    consoles(w);
    world_restart(w);
    struct console *ann = world_player(w, "Ann"); /* from the records */
    console_look(ann, "Ann");
    world_run(w, 1000);
    world_configure(w, "skey = off\n");
    others(w);
    world_configure(w, "down = Closed: back at 8\n");
    console_login(world_console(w, 0), "Eve", "secret", "Eve");
    world_run(w, 1000);
    world_all_well(w);
    world_free(w);
}

/* ---- What holds --------------------------------------------------------- */

GROUP(byte_for_byte, NULL, NULL, 30);

#define SPLITS 3 /* enum world_split */

TEST_LOOP(byte_for_byte, input_at_any_address_is_the_same, 0, SPLITS)
{
    struct transcript even = {NULL, 0, 0};
    enum world_split split = (enum world_split)_i;
    live(&even, 0, split);
    for (size_t offset = 1 + (size_t)_i; offset < 8; offset += SPLITS) {
        struct transcript odd = {NULL, 0, 0};
        live(&odd, offset, split);
        ck_assert_uint_eq(odd.size, even.size);
        ck_assert_mem_eq(odd.text, even.text, even.size);
        free(odd.text);
    }
    free(even.text);
}

TEST(byte_for_byte, the_transcript_is_left_for_comparison)
{
    const char *name = getenv("TRANSCRIPT");
    struct transcript all = {NULL, 0, 0};
    for (int split = 0; split < SPLITS; split++)
        live(&all, 0, (enum world_split)split);
    /* It holds what it is for. */
    static const char *const parts[] = {"play\\00\\00\\00\\00", "+ses", "+msg", "ROST", "record ", "salt ", "log "};
    put_bytes("", 1);
    all.size--;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        ck_assert_msg(strstr(all.text, parts[i]) != NULL, "no %s", parts[i]);
    if (name != NULL) {
        FILE *file = fopen(name, "wb");
        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fwrite(all.text, 1, all.size, file), all.size);
        ck_assert_int_eq(fclose(file), 0);
    }
    free(all.text);
}
