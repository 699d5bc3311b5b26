/* The durable test: what hands do to the files of the data folder while the
 * server runs, and what else stands there under their names (DESIGN 5).
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1

#include "durable.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

CASE_BESIDE(a_backup_copied_over_the_journal_loses_nothing, 30)
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
    EXPECT(size_of_file(in_data(s, "journal.found-1")) == size);               /* and nothing was written to it */
    EXPECT(rename(in_data(s, "journal.found-1"), in_data(s, "journal")) == 0); /* over it */
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

/* As before somebody puts a backup back: everything in it is removed. */
CASE_BESIDE(a_data_folder_that_is_emptied_is_filled_again, 30)
{
    struct server *s = START(CROWD);
    EXPECT(sign_up(s, "Alice") == 0);
    EXPECT(unlink(in_data(s, "journal")) == 0 && unlink(in_data(s, "pid")) == 0 && unlink(in_data(s, "control")) == 0);
    sign_up_recovered(s, "Bob");
    EXPECT(BINARY("ctl", "--data", s->data, "stats")->status == 0);
    const struct finished *f = BINARY(SERVER_ARGUMENTS, "--data", s->data);
    char process[32];
    (void)snprintf(process, sizeof process, "process %d", (int)s->pid);
    EXPECT(f->status == 1 && strstr(f->err, process) != NULL);
    EXPECT(unlink(in_data(s, "control")) == 0); /* alone, which nobody sees */
    f = BINARY("ctl", "--data", s->data, "stats");
    EXPECT(f->status == 1 && strstr(f->err, "`control` is not there") != NULL);
    (void)stop(s, SIGTERM);
    EXPECT(!logged(s, "event=no_"));
    expect_start_with_all(s, drivers, 2);
}

CASE_BESIDE(a_data_folder_that_is_removed_or_moved_is_made_again, 30)
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

/* ---- Cases: what is none of our files --------------------------------------- */

static const char *const kinds[] = {"a symbolic link", "a folder", "a FIFO", "a symbolic link"};

/* The last kind is a link that leads nowhere. */
static void make_kind(size_t kind, const char *path, const char *real)
{
    EXPECT(kind == 1   ? mkdir(path, 0700) == 0
           : kind == 2 ? mkfifo(path, 0600) == 0
                       : symlink(kind == 0 ? real : "/nowhere/journal", path) == 0);
}

CASE(a_link_or_another_thing_under_a_name_of_ours_is_refused, 30)
{
    static const char *const names[] = {"journal", "journal.new", "pid", "control"};
    char path[192], real[160], expected[256];
    struct stat status;
    for (size_t i = 0; i < 16; i++) {
        struct server *s = new_server();
        server_count = 0;
        (void)snprintf(path, sizeof path, "%s/%s", s->data, names[i / 4]);
        (void)snprintf(real, sizeof real, "%s", write_file(NULL, ""));
        EXPECT(mkdir(s->data, 0700) == 0 || errno == EEXIST);
        make_kind(i % 4, path, real);
        const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", s->data);
        (void)snprintf(expected, sizeof expected, "--data: %s is %s, and not a ", path, kinds[i % 4]);
        if (o->status != 1 || strstr(o->err, expected) == NULL || strstr(o->err, "which --data names") == NULL)
            fail("%s: status %d, %s", expected, o->status, o->err);
        EXPECT(lstat(path, &status) == 0); /* and it is as it was */
        EXPECT(remove(path) == 0);
    }
}

CASE(the_data_folder_may_be_a_link_but_not_one_that_leads_nowhere, 15)
{
    char real[128];
    struct server *s = new_server();
    fresh_folder(real);
    EXPECT(symlink(real, s->data) == 0);
    const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", s->data);
    EXPECT(o->status == 1 && strstr(o->err, "it is a symbolic link that leads nowhere: is its disk mounted?") != NULL);
    EXPECT(mkdir(real, 0700) == 0);
    START_AGAIN(s, CROWD);
    EXPECT(sign_up(s, "Alice") == 0);
    EXPECT(BINARY("dump", real)->status == 0 && size_of_file(in_data(s, "journal")) > 100);
    (void)stop(s, SIGTERM);
    o = RUN(SERVER_ARGUMENTS, "--data", s->data, "--record", real); /* it would be renamed */
    EXPECT(o->status == 1 && strstr(o->err, "--record: ") != NULL && strstr(o->err, "is a folder") != NULL);
    EXPECT(size_of_file(in_data(s, "journal")) > 100);
    expect_start_with_all(s, drivers, 1);
}

/* ---- Cases: output ------------------------------------------------------------ */

/* Runs a command of the binary with its output to where nothing can be written. */
static void expect_no_room(const char *command)
{
    char line[512], path[128], *text = NULL;
    (void)snprintf(path, sizeof path, "%s", write_file(NULL, ""));
    (void)snprintf(line, sizeof line, "%s %s >/dev/full 2>%s", binary, command, path);
    int status = system(line);
    size_t size = 0;
    read_whole(path, (uint8_t **)&text, &size);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1 || size == 0 ||
        memmem(text, size, "standard output cannot be written: ", 35) == NULL || memmem(text, size, "disk", 4) == NULL)
        fail("%s: status %d, %.*s", command, status, (int)size, text ? text : "");
    free(text);
}

CASE(output_that_cannot_be_written_is_an_error, 20)
{
    char recording[160], command[400];
    if (access("/dev/full", W_OK) != 0)
        skip("there is no /dev/full");
    (void)snprintf(recording, sizeof recording, "%s", write_file(NULL, ""));
    struct server *s = START(CROWD, "--record", recording);
    EXPECT(sign_up(s, "Alice") == 0);
    expect_no_room("--help");
    expect_no_room("--version");
    static const char *const commands[] = {"dump %s", "ctl --data %s stats"};
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(command, sizeof command, commands[i], s->data);
        expect_no_room(command);
    }
    for (int i = 0; i < 60; i++) { /* more than a buffer takes */
        char name[13];
        (void)snprintf(name, sizeof name, "driver%d", i);
        EXPECT(sign_up(s, name) == 0);
    }
    (void)snprintf(command, sizeof command, "dump %s", s->data);
    expect_no_room(command);
    (void)stop(s, SIGTERM);
    (void)snprintf(command, sizeof command, "replay %s", recording);
    expect_no_room(command);
    EXPECT(BINARY("replay", recording)->status == 0);
    /* And a path that is too long is not cut. */
    char longer[1100];
    (void)snprintf(longer, sizeof longer, "%s", s->data);
    while (strlen(longer) < 1010)
        strcat(longer, "/.");
    strcat(longer, "/nowhere/at/all");
    const struct finished *f = BINARY("dump", longer);
    EXPECT(f->status == 2 && strstr(f->err, "at most 1022 characters") != NULL);
    EXPECT(BINARY("dump", "")->status == 2);
    EXPECT(BINARY_READS("abc\n", "ctl", "--data", longer, "stats")->status == 1);
}
