/* What the shell has in place of <stdio.h>: texts of values, files that are read by
 * bytes, and what is printed.
 *
 * SPDX-License-Identifier: MIT */
#define NASCAR_ASSERT_LINES 1 /* as in the release */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "suite.h"

#include <ctype.h>
#include <sys/wait.h>

/* ---- Texts of values ------------------------------------------------------------ */

GROUP(texts, NULL, NULL, 0);

/* The C library says what is right. */
#define SAME(...) \
    do { \
        char ours[64], theirs[64]; \
        for (size_t room = 0; room <= sizeof ours; room++) { \
            memset(ours, 'x', sizeof ours); \
            memset(theirs, 'x', sizeof theirs); \
            ck_assert_int_eq(write_as(ours, room, __VA_ARGS__), snprintf(theirs, room, __VA_ARGS__)); \
            ck_assert_mem_eq(ours, theirs, sizeof ours); \
        } \
    } while (0)

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wformat-truncation" /* it is cut on purpose */
#endif

TEST(texts, read_as_those_of_the_c_library)
{
    SAME("plain");
    SAME("100 %% of it");
    SAME("%s", "");
    SAME("%s and %s", "one", "the other");
    SAME("%.4s|%.0s|%.9s", "kindred", "gone", "short");
    SAME("%.*s|", 3, "letters");
    SAME("%-17s|%5s|%2s", "key", "abc", "longer");
    SAME("%*s|", 6, "x");
    SAME("%*s|", 0, "");
    SAME("%c%c", 'a', '\\');
    SAME("%5c|%-3c|", 'a', 'b');
}

TEST(texts, of_numbers_too)
{
    SAME("%d %d %d %d", 0, -1, INT_MAX, INT_MIN);
    SAME("%4d|%-4d|%2d", 7, -7, 1234);
    SAME("%u %u", 0u, UINT_MAX);
    SAME("%02u %02u %02u %04u", 0u, 7u, 123u, 42u);
    SAME("%x %x %02x %04x", 0u, UINT_MAX, 0xau, 0xbeefu);
    SAME("%lu %lu", 0ul, ULONG_MAX);
    SAME("%llu %llu %20llu|", 0ull, ULLONG_MAX, ULLONG_MAX);
    SAME("%zu %zu", (size_t)0, SIZE_MAX);
    SAME("%llx", 0x123456789abcdefull);
    SAME("%o %04o %04o", 0u, 07u, 01777u);
}

/* One that write_as() does not know would end the server: so each that stands in its source
 * is of those that were tried above. */
TEST(texts, the_server_uses_no_others)
{
    char *text = NULL;
    size_t room = 0, found = 0;
    FILE *file = fopen("nascar_server.c", "r");
    ck_assert_ptr_nonnull(file);
    while (getline(&text, &room, file) > 0)
        for (const char *at = strchr(text, '%'); at; at = strchr(at, '%')) {
            size_t options = strspn(++at, "-.*0123456789"), longs = strspn(at + options, "lz");
            char of = at[options + longs];
            at += *at == '%';
            if (!isalpha((unsigned char)of))
                continue; /* a remainder, or what the page is made of */
            ck_assert_msg(strchr(longs > 0 ? "ux" : "scduxo", of) != NULL, "%s", text);
            found++;
        }
    ck_assert_uint_gt(found, 200);
    free(text);
    (void)fclose(file);
}

/* ---- Files that are read -------------------------------------------------------- */

static int ends[2];

static void open_pipe(void)
{
    ck_assert_int_eq(pipe(ends), 0);
}

GROUP(reading, open_pipe, NULL, 0);

static void feed(const char *text, size_t size)
{
    ck_assert_int_eq(write(ends[1], text, size), (ssize_t)size);
}

TEST(reading, lines_go_over_the_ends_of_portions)
{
    struct input in;
    char line[LINE_CHARS + 2], want[1001];
    const char *expected;
    memset(want, 'a', 1000);
    want[1000] = 0;
    for (int i = 0; i < 5; i++) {
        want[0] = (char)('0' + i);
        feed(want, 1000);
        feed(i % 2 ? "\n" : "\r\n", i % 2 ? 1 : 2);
    }
    feed("the last", 8);
    (void)close(ends[1]);
    input_open(&in, ends[0]);
    for (int i = 0; i < 5; i++) {
        want[0] = (char)('0' + i);
        ck_assert(read_line(&in, line, &expected) && !expected);
        ck_assert_str_eq(line, want);
    }
    ck_assert(read_line(&in, line, &expected) && !expected);
    ck_assert_str_eq(line, "the last");
    ck_assert(!read_line(&in, line, &expected));
    ck_assert(!read_line(&in, line, &expected));
    ck_assert_int_eq(in.error, 0);
    input_close(&in);
    ck_assert_int_eq(fcntl(ends[0], F_GETFD), -1);
}

TEST(reading, a_word_may_end_where_a_portion_does)
{
    struct input in;
    char text[1030], word[HOST_CHARS + 1];
    uint32_t place = 0;
    memset(text, ' ', sizeof text);
    memcpy(text + 1020, "four\ntwo#\n", 10); /* 1024 bytes are one portion */
    feed(text, 1030);
    (void)close(ends[1]);
    input_open(&in, ends[0]);
    ck_assert(read_word(&in, word, &place));
    ck_assert_str_eq(word, "four");
    ck_assert_uint_eq(place, 1);
    ck_assert(read_word(&in, word, &place));
    ck_assert_str_eq(word, "two");
    ck_assert_uint_eq(place, 1);
    ck_assert(!read_word(&in, word, &place));
    input_close(&in);
}

TEST(reading, a_failure_is_kept)
{
    struct input in;
    char line[LINE_CHARS + 2];
    const char *expected;
    input_open(&in, open("/nowhere/file", O_RDONLY));
    ck_assert_int_eq(in.error, ENOENT);
    ck_assert(!read_line(&in, line, &expected));
    ck_assert_int_eq(in.error, ENOENT);
    input_close(&in);
    input_open(&in, open("/", O_RDONLY));
    ck_assert(!read_line(&in, line, &expected));
    ck_assert(!read_line(&in, line, &expected));
    ck_assert_int_eq(in.error, EISDIR);
    input_close(&in);
}

/* Standard input stays open, so that no other file takes its place. */
TEST(reading, standard_input_is_not_closed)
{
    struct input in;
    input_open(&in, STDIN_FILENO);
    input_close(&in);
    ck_assert_int_ge(fcntl(STDIN_FILENO, F_GETFD), 0);
}

TEST(reading, a_whole_file_is_read_though_its_size_is_not_known)
{
    struct buffer file;
    char path[32];
    uint8_t bytes[4096];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    (void)write_as(path, sizeof path, "/dev/fd/%d", ends[0]);
    pid_t writer = fork();
    if (writer == 0) {
        for (int i = 0; i < 50; i++)
            (void)!write(ends[1], bytes, sizeof bytes);
        _exit(0);
    }
    (void)close(ends[1]);
    ck_assert(read_file(path, &file));
    ck_assert_uint_eq(file.size, 50 * sizeof bytes);
    ck_assert_uint_ge(file.room, file.size);
    for (size_t i = 0; i < file.size; i += sizeof bytes)
        ck_assert_mem_eq(file.bytes + i, bytes, sizeof bytes);
    release(file.bytes, file.room);
    ck_assert_int_eq(waitpid(writer, NULL, 0), writer);
}

TEST(reading, a_folder_is_no_file)
{
    struct buffer file;
    ck_assert(!read_file("/", &file));
    ck_assert(!read_file("/nowhere/file", &file));
}

/* ---- What is printed ------------------------------------------------------------ */

GROUP(printing, open_pipe, NULL, 0);

/* All that is in the pipe. */
static const char *heard(void)
{
    static char text[65536];
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    return text;
}

TEST(printing, output_comes_at_the_end_and_errors_by_lines)
{
    int kept[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    (void)dup2(ends[1], STDOUT_FILENO);
    (void)dup2(ends[1], STDERR_FILENO);
    print(OUT, "out\n");
    print(ERR, "a");
    print_as(ERR, "%s %u", " line", 1u);
    char early[32];
    copy_text(early, sizeof early, heard());
    print_char(ERR, '\n');
    char lines[32];
    copy_text(lines, sizeof lines, heard());
    bool good = print_rest(OUT) && print_rest(ERR);
    char all[32];
    copy_text(all, sizeof all, heard());
    (void)dup2(kept[0], STDOUT_FILENO);
    (void)dup2(kept[1], STDERR_FILENO);
    ck_assert(good);
    ck_assert_str_eq(early, "");
    ck_assert_str_eq(lines, "a line 1\n");
    ck_assert_str_eq(all, "out\n");
}

TEST(printing, a_long_text_is_whole)
{
    char text[5001];
    memset(text, 'l', 5000);
    text[5000] = 0;
    int kept = dup(STDOUT_FILENO);
    (void)dup2(ends[1], STDOUT_FILENO);
    print(OUT, text);
    bool good = print_rest(OUT);
    (void)dup2(kept, STDOUT_FILENO);
    ck_assert(good);
    ck_assert_str_eq(heard(), text);
}

TEST(printing, what_could_not_be_written_is_not_forgotten)
{
    int kept = dup(STDOUT_FILENO), full = open("/dev/full", O_WRONLY);
    (void)dup2(full, STDOUT_FILENO);
    print(OUT, "lost");
    bool good = print_rest(OUT);
    (void)dup2(ends[1], STDOUT_FILENO);
    print(OUT, "not lost");
    bool again = print_rest(OUT);
    (void)dup2(kept, STDOUT_FILENO);
    ck_assert(!good && !again);
    ck_assert_str_eq(heard(), "not lost");
}

/* ---- Assertions ------------------------------------------------------------------ */

TEST(printing, an_assertion_that_does_not_hold_tells_its_line)
{
    char want[80];
    int line = __LINE__ + 4; /* of the assertion */
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        assert(ends[0] < 0);
    }
    (void)write_as(want, sizeof want, "nascar_server " NASCAR_VERSION ": the assertion of line %d does not hold\n",
                   line);
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    const char *said = heard(); /* an emulator has a line of its own about that, which follows */
    ck_assert_msg(strncmp(said, want, strlen(want)) == 0, "%s", said);
}
