/* The live test, of who may steer the server: the rights of the operator's socket, with real users and groups,
 * and what the binary says of a configuration.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* setgroups */

#include "server.h"

#include <dirent.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPERATORS 47011 /* a group, by its number: it needs no entry */
#define OPERATORS_TEXT "47011"
#define OPERATOR 47012 /* a user in it */
#define STRANGER 47013 /* and one who is not */

/* What `ctl stats` of this user ends with; -1: it could not be run. */
static int asks_as(const struct server *s, uid_t user, gid_t group)
{
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        FILE *waste = fopen("/dev/null", "w");
        (void)dup2(fileno(waste), STDOUT_FILENO);
        (void)dup2(fileno(waste), STDERR_FILENO);
        if (setgroups(0, NULL) != 0 || setgid(group) != 0 || setuid(user) != 0)
            _exit(126);
        (void)execl(binary, binary, "ctl", "--data", s->data, "stats", (char *)NULL);
        _exit(127);
    }
    return wait_exit(pid, 3000);
}

/* Others have to reach the folder and the binary at all. */
static void let_all_through(void)
{
    EXPECT(chmod(folder, 0711) == 0);
}

CASE(only_the_owner_steers_unless_a_group_is_named, 10)
{
    struct stat about;
    char path[160];
    if (geteuid() != 0)
        skip("this is not root, who may become others");
    let_all_through();
    mode_t mask = umask(0);
    struct server *s = START(CHEAP);
    (void)umask(mask);
    (void)snprintf(path, sizeof path, "%s/control", s->data);
    EXPECT(stat(path, &about) == 0 && (about.st_mode & 07777) == 0600 && S_ISSOCK(about.st_mode));
    EXPECT(stat(s->data, &about) == 0 && (about.st_mode & 07777) == 0700);
    int own = asks_as(s, 0, 0), operator= asks_as(s, OPERATOR, OPERATORS);
    if (own == 127)
        skip("the binary cannot be run by a child of ours");
    EXPECT(own == 0 && operator!= 0);
    (void)stop(s, SIGTERM);

    START_AGAIN(s, CHEAP, "--control-group", OPERATORS_TEXT);
    EXPECT(stat(path, &about) == 0 && (about.st_mode & 07777) == 0660 && about.st_gid == OPERATORS);
    EXPECT(stat(s->data, &about) == 0 && (about.st_mode & 07777) == 0710 && about.st_gid == OPERATORS);
    (void)snprintf(path, sizeof path, "%s/journal", s->data);
    EXPECT(stat(path, &about) == 0 && (about.st_mode & 07777) == 0600);
    EXPECT(asks_as(s, 0, 0) == 0);
    operator= asks_as(s, OPERATOR, OPERATORS);
    if (operator== 127 || operator== 126)
        skip("the binary cannot be run by others");
    EXPECT(operator== 0 && asks_as(s, STRANGER, STRANGER) == 1);
    (void)stop(s, SIGTERM);

    START_AGAIN(s, CHEAP); /* without it, nobody else again */
    EXPECT(asks_as(s, OPERATOR, OPERATORS) == 1 && asks_as(s, 0, 0) == 0);
}

/* Runs the binary as somebody without rights. */
CASE(whoever_is_no_member_of_the_group_is_told_so, 10)
{
    char text[4096] = "";
    int said[2], status;
    if (geteuid() != 0)
        skip("this is not root, who may become others");
    EXPECT(pipe(said) == 0);
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        (void)dup2(said[1], STDERR_FILENO);
        if (setgroups(0, NULL) != 0 || setgid(STRANGER) != 0 || setuid(STRANGER) != 0)
            _exit(126);
        (void)execl(binary, binary, SERVER_ARGUMENTS, "--control-group", OPERATORS_TEXT, (char *)NULL);
        _exit(127);
    }
    (void)close(said[1]);
    status = wait_exit(pid, 3000);
    (void)!read(said[0], text, sizeof text - 1);
    (void)close(said[0]);
    if (status == 127)
        skip("the binary cannot be run by others");
    if (status != 2 || strstr(text, "--control-group: this user is no member of group '" OPERATORS_TEXT "'") == NULL)
        fail("status %d: %s", status, text);
}

/* ---- What is wrong with a configuration ------------------------------------------------- */

static size_t files_in(const char *path)
{
    size_t count = 0;
    DIR *at = opendir(path);
    while (at != NULL && readdir(at) != NULL)
        count++;
    if (at != NULL)
        (void)closedir(at);
    return count;
}

CASE(check_config_tells_all_faults_and_touches_nothing, 10)
{
    struct server *s = START(CHEAP);
    char place[96], port[8];
    const char *good = write_file(NULL, "hash-cost = 4\nroom = East: here: 20\n");
    (void)snprintf(port, sizeof port, "%u", (unsigned)s->port[LOBBY]);
    size_t before = files_in(s->data), here = files_in(folder);
    /* While a server runs on the folder, and has the port. */
    const struct outcome *o =
        RUN("--check-config", "--config", good, "--data", s->data, "--lobby-port", port, "--bind", "127.0.0.1");
    EXPECT(o->status == 0 && strcmp(o->out, "The configuration is good.\n") == 0 && o->err[0] == '\0');
    static const char *const places[][3] = {
        {"--data", "/nowhere/at/all", "--data: /nowhere/at/all: there is no folder '/nowhere/at/'"},
        {"--log-file", "/nowhere/x.log", "--log-file: /nowhere/x.log: there is no folder '/nowhere/'"},
        {"--log-file", "/tmp", "--log-file: /tmp: expected a file, and this is a folder"},
        {"--record", "/nowhere/x.rec", "--record: /nowhere/x.rec: there is no folder '/nowhere/'"},
        {"--record", "/tmp", "--record: /tmp: /tmp is a folder, and not a recording: move it away"},
        {"--record", "/etc/passwd", "--record: /etc/passwd: /etc/passwd is another file, and not a recording"},
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        o = RUN("--check-config", places[i][0], places[i][1]);
        EXPECT(o->status == 2 && o->out[0] == '\0' && strstr(o->err, places[i][2]) != NULL);
    }

    const char *bad = write_file(NULL, "hash-cost = 99\r\n\r\nroom = East: here: 1\r\ndown = a\r\ndown = b\r\n");
    here++;
    for (int i = 0; i < 2; i++) { /* a start says the same */
        o = i == 0 ? RUN("--check-config", "--config", bad, "--control-group", "no-such-group", "--buddy-port", "11000")
                   : RUN("--config", bad, "--control-group", "no-such-group", "--buddy-port", "11000");
        EXPECT(o->status == 2 && o->out[0] == '\0');
        static const char *const rest[] = {":1: hash-cost: expected a number from 4 to 15, not '99'\n",
                                           ":3: room: expected ", ":5: down: it stands in line 4, too"};
        for (size_t k = 0; k < 3; k++) {
            (void)snprintf(place, sizeof place, "nascar_server: %s%s", bad, rest[k]);
            if (strstr(o->err, place) == NULL)
                fail("no `%s` in `%s`", place, o->err);
        }
        EXPECT(strstr(o->err, "nascar_server: --control-group: there is no group 'no-such-group'") != NULL);
        EXPECT(strstr(o->err, "nascar_server: --buddy-port: expected another port than 11000") != NULL);
    }
    EXPECT(alive(s) && files_in(s->data) == before && files_in(folder) == here);
}
