/* The durable test: what hands do to the files of the data folder while the
 * server runs, and what else stands there under their names (DESIGN 5).
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1

#include "durable.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* `NAME` in the server's folder; the next of a few buffers. */
static const char *in_data(const struct server *s, const char *name)
{
    static char paths[4][192];
    static size_t next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", s->data, name);
    return path;
}

static size_t size_of_file(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (size_t)status.st_size : 0;
}

/* ---- Cases: under the running server -------------------------------------- */

/* `cp` of these bytes over a file that is there. */
static void overwrite(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    EXPECT(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* What was signed up before and after is there at the next start. */
static void expect_start_with_all(struct server *s, const char *const *names, size_t count)
{
    START_AGAIN(s, CROWD);
    for (size_t i = 0; i < count; i++)
        if (log_in(s, names[i]) != 0)
            fail("the account %s is lost", names[i]);
}

static const char *const drivers[] = {"Alice", "Bob", "Carol", "Dave"};

static void sign_up_recovered(struct server *s, const char *name)
{
    UNTIL(8000, sign_up(s, name) == 0 || log_in(s, name) == 0);
}

CASE(a_backup_copied_over_the_journal_loses_nothing, 30)
{
    struct server *s = START(CROWD);
    uint8_t *backup = NULL;
    size_t size = 0;
    EXPECT(sign_up(s, "Alice") == 0);
    read_whole(in_data(s, "journal"), &backup, &size);
    EXPECT(sign_up(s, "Bob") == 0);
    overwrite(in_data(s, "journal"), backup, size); /* in place */
    sign_up_recovered(s, "Carol");
    EXPECT(logged(s, "event=journal_failed") && logged(s, "event=journal_recovered"));
    EXPECT(size_of_file(in_data(s, "journal.found-1")) == size); /* and nothing was written to it */
    EXPECT(rename(in_data(s, "journal.found-1"), in_data(s, "journal")) == 0); /* over it */
    EXPECT(sign_up(s, "Dave") != 0 || logged(s, "another file"));
    sign_up_recovered(s, "Dave");
    EXPECT(logged(s, "reason=\"another file has taken its place\""));
    kill_server(s);
    expect_start_with_all(s, drivers, 4);
    free(backup);
}

CASE(a_journal_removed_or_cut_before_a_stop_is_there_after_it, 30)
{
    struct server *s = START(CROWD);
    EXPECT(sign_up(s, "Alice") == 0);
    EXPECT(unlink(in_data(s, "journal")) == 0);
    (void)stop(s, SIGTERM);
    START_AGAIN(s, CROWD);
    EXPECT(sign_up(s, "Bob") == 0);
    EXPECT(truncate(in_data(s, "journal"), 0) == 0);
    (void)stop(s, SIGTERM);
    expect_start_with_all(s, drivers, 2);
}

CASE(a_data_folder_that_is_removed_or_moved_is_made_again, 30)
{
    struct server *s = START(CROWD);
    char moved[160];
    (void)snprintf(moved, sizeof moved, "%s.moved", s->data);
    EXPECT(sign_up(s, "Alice") == 0);
    EXPECT(rename(s->data, moved) == 0);
    sign_up_recovered(s, "Bob");
    EXPECT(BINARY("ctl", "--data", s->data, "stats")->status == 0);
    EXPECT(strstr(BINARY(SERVER_ARGUMENTS, "--data", s->data)->err, "a server uses it, process ") != NULL);
    static const char *const files[] = {"journal", "pid", "control"};
    for (size_t i = 0; i < 3; i++)
        EXPECT(unlink(in_data(s, files[i])) == 0);
    EXPECT(rmdir(s->data) == 0);
    sign_up_recovered(s, "Carol");
    EXPECT(BINARY("ctl", "--data", s->data, "stats")->status == 0);
    kill_server(s);
    expect_start_with_all(s, drivers, 3);
}
