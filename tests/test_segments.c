/* Segments (PROTOCOL 1): what the core offers at once is whole frames, as many as
 * fit, and goes into one TCP segment. Every suite looks at each segment that its
 * clients get (world.c, crowd.c); here are those that they do not come to: a frame
 * that was cut, other sizes, and the end of a connection.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"

/* Ends of the frames in what waits for a client, of which `left` bytes end a frame
 * that was cut. */
static size_t frame_ends(const uint8_t *bytes, size_t size, size_t left, size_t ends[256])
{
    size_t count = 0, at = left;
    if (left > 0)
        ends[count++] = left;
    while (at < size) {
        ck_assert_uint_le(at + 12, size);
        at += (size_t)bytes[at + 10] << 8 | bytes[at + 11];
        ck_assert_uint_lt(count, 256);
        ends[count++] = at;
    }
    ck_assert_uint_eq(at, size);
    return count;
}

static const uint8_t *offered(const struct raw *r, uint32_t *size)
{
    return nascar_outbox(w->state, r->conn, size);
}

static uint32_t offered_bytes(const struct raw *r)
{
    uint32_t size = 0;
    (void)offered(r, &size);
    return size;
}

/* So many of the bytes that are offered have been written. The client gets none of
 * them here, so this is for the last that is asked of it. */
static void written(const struct raw *r, uint32_t size)
{
    struct nascar_event event = {.type = NASCAR_DRAINED, .conn = r->conn, .size = size};
    ck_assert(world_step(w, &event));
}

#define QUESTIONS 12

/* A player who reads nothing, but asks: two kinds of questions in turn, with long
 * answers and short ones. What waits for it is three segments or so. */
static struct raw *reader_who_waits(const char *config)
{
    reopen_with(config);
    struct raw *ann = player(w, "Ann", "East");
    raw_forget(ann);
    raw_window(ann, 0);
    for (int i = 0; i < QUESTIONS; i++) {
        raw_send(ann, "user", "PERS=Ann\n");
        say(ann, "onln", "PERS=Ann\n");
    }
    return ann;
}

/* Every answer has come, once and in its turn. */
static void expect_answers(struct raw *ann)
{
    size_t count = 0;
    raw_window(ann, SIZE_MAX);
    world_settle(w);
    OPEN(ann);
    for (size_t i = 0; i < ann->count; i++)
        if (ann->frames[i]->kind[0] != '+')
            ck_assert_str_eq(ann->frames[i]->kind, count++ % 2 == 0 ? "user" : "onln");
    ck_assert_uint_eq(count, 2 * QUESTIONS);
}

/* The same bytes, all at once, by a copy of the world that has no limit. */
static size_t all_that_waits(uint8_t all[8192], const struct raw *r, const char *config)
{
    uint32_t size = 0;
    world_configure(w, "segment-bytes = 0\n");
    const uint8_t *bytes = offered(r, &size);
    ck_assert_uint_le(size, 8192);
    memcpy(all, bytes, size);
    world_configure(w, config);
    return size;
}

GROUP(segments, open_world, close_world, 60);

TEST(segments, thirty_who_join_a_room_are_told_in_segments_of_whole_frames)
{
    struct raw *ann = player(w, "Ann", "East"), *others[30];
    size_t ends[256], segments = 0, rows = 0, most = 0;
    uint32_t size;
    char name[16];
    raw_forget(ann);
    raw_window(ann, 0);
    for (int i = 0; i < 30; i++) {
        (void)snprintf(name, sizeof name, "Racer%d", i);
        others[i] = player(w, name, "East");
    }
    for (const uint8_t *bytes; (bytes = offered(ann, &size)) != NULL; segments++) {
        ck_assert_uint_le(size, 1400);
        size_t count = frame_ends(bytes, size, 0, ends);
        for (size_t i = 0; i < count; i++)
            rows += memcmp(bytes + (i == 0 ? 0 : ends[i - 1]), "+usr", 4) == 0;
        most = size > most ? size : most;
        written(ann, size);
    }
    ck_assert_uint_ge(segments, 2);
    ck_assert_uint_gt(most, 1200); /* a row more would have been too much */
    ck_assert_uint_ge(rows, 30);
    for (int i = 0; i < 30; i++) /* and who comes last is told of all, in the same way */
        ck_assert_uint_ge(raw_count(others[29], NULL) + 1, 1);
}

/* As many as fit, and one at least. */
TEST_LOOP(segments, a_segment_is_as_full_as_whole_frames_make_it, 0, 8)
{
    static const char *const sizes[] = {"1400", "1", "12", "300", "1000", "2048", "4000", "65535"};
    char config[64];
    uint8_t all[8192];
    size_t ends[256], limit = strtoul(sizes[_i], NULL, 10);
    (void)snprintf(config, sizeof config, "segment-bytes = %s\n", sizes[_i]);
    struct raw *ann = reader_who_waits(config);
    ck_assert_uint_gt(all_that_waits(all, ann, config), 2048);
    for (int segment = 0; segment < 10; segment++) { /* a new configuration is news, so there is always more */
        uint32_t is = 0;
        size_t count = frame_ends(all, all_that_waits(all, ann, config), 0, ends), fits = 1;
        const uint8_t *bytes = offered(ann, &is);
        while (fits < count && ends[fits] <= limit)
            fits++;
        ck_assert_uint_eq(is, ends[fits - 1]);
        ck_assert_mem_eq(bytes, all, is);
        written(ann, is);
    }
}

TEST(segments, without_a_limit_all_is_offered_at_once)
{
    struct raw *ann = reader_who_waits("segment-bytes = 0\n");
    ck_assert_uint_gt(offered_bytes(ann), 2048);
    expect_answers(ann);
}

/* A write that took only a part: what is left of the cut frame comes first, and
 * counts as one, wherever the cut was and whether anything could be written then. */
TEST_LOOP(segments, after_a_cut_the_rest_of_the_frame_comes_first, 0, 150)
{
    static const char config[] = "segment-bytes = 1400\n";
    uint8_t all[8192];
    size_t ends[256], first = 0, cut = (size_t)(_i < 60 ? _i + 1 : 60 + 15 * (_i - 60));
    struct raw *ann = reader_who_waits(config);
    (void)frame_ends(all, all_that_waits(all, ann, config), 0, ends);
    if (cut > offered_bytes(ann))
        return;
    written(ann, (uint32_t)cut);
    while (ends[first] < cut)
        first++;
    size_t left = ends[first] - cut;
    for (int turn = 0; turn < 2; turn++) { /* more has come behind it, maybe */
        uint32_t is = 0;
        size_t size = all_that_waits(all, ann, config), count = frame_ends(all, size, left, ends), fits = 0;
        const uint8_t *bytes = offered(ann, &is);
        while (fits + 1 < count && ends[fits + 1] <= 1400)
            fits++;
        ck_assert_uint_eq(is, ends[fits]);
        ck_assert_mem_eq(bytes, all, is);
        written(ann, 0); /* the socket takes nothing, and the cut is where it was */
    }
}

/* The same for a client: what it reads, a few bytes at a time, is what was said. */
TEST_LOOP(segments, a_reader_of_a_few_bytes_at_a_time_gets_every_frame, 0, 40)
{
    static const size_t steps[] = {1, 2, 3, 5, 11, 12, 13, 200, 263, 1399};
    static const char *const configs[] = {"segment-bytes = 1400\n", "segment-bytes = 1\n", "segment-bytes = 500\n",
                                          "segment-bytes = 0\n"};
    struct raw *ann = reader_who_waits(configs[_i / 10]), *cid = player(w, "Cid", "East");
    for (int turn = 0; raw_count(ann, "onln") < QUESTIONS && turn < 10000; turn++) {
        raw_window(ann, steps[_i % 10]);
        if (turn % 50 == 0)
            say(cid, "auxi", turn % 100 == 0 ? "TEXT=even\n" : "TEXT=odd\n"); /* news, while a frame is cut */
        world_settle(w);
    }
    expect_answers(ann);
}

TEST(segments, another_configuration_counts_at_once_also_for_a_cut_frame)
{
    uint8_t all[8192];
    size_t ends[256];
    uint32_t is = 0;
    struct raw *ann = reader_who_waits("segment-bytes = 1400\n");
    (void)frame_ends(all, all_that_waits(all, ann, "segment-bytes = 1400\n"), 0, ends);
    written(ann, 20);
    world_configure(w, "segment-bytes = 1\n");
    const uint8_t *bytes = offered(ann, &is);
    ck_assert_uint_eq(is, ends[0] - 20);
    ck_assert_mem_eq(bytes, all + 20, is);
    written(ann, is);
    ck_assert_uint_eq(offered_bytes(ann), ends[1] - ends[0]);
}

/* Whoever is shown the door is told all that was to be told first. */
TEST(segments, all_segments_are_read_before_a_connection_is_closed)
{
    reopen_with("segment-bytes = 40\n");
    struct raw *r = raw_open(w, 0);
    for (int i = 0; i < 10; i++)
        raw_send(r, "what", "N=1\n");
    world_settle(w);
    CLOSED(r);
    ck_assert_uint_eq(frames_of(r, "what", NULL), 10);
}
