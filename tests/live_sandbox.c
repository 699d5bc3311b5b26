/* The live test, of what the running server has given up: root, system calls,
 * folders. And that it does all that it has to without them.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1

#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define USER 65534u
#define GROUP 65533u
#define AS_USER "--user", "65534:65533"

/* A line of /proc/PID/status, without its name; "" if there is none. */
static const char *status_of(pid_t pid, const char *name)
{
    static char line[256];
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    EXPECT(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        size_t n = strlen(name);
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            (void)fclose(file);
            line[strcspn(line, "\n")] = '\0';
            return line + n + 1 + strspn(line + n + 1, "\t ");
        }
    }
    (void)fclose(file);
    return "";
}

static void expect_status(pid_t pid, const char *name, const char *value)
{
    char got[256];
    (void)snprintf(got, sizeof got, "%s", status_of(pid, name));
    for (size_t n = strlen(got); n > 0 && got[n - 1] == ' '; n--)
        got[n - 1] = '\0';
    if (strcmp(got, value) != 0)
        fail("process %d has %s: `%s` and not `%s`", (int)pid, name, got, value);
}

static void expect_ids(pid_t pid, const char *user, const char *group)
{
    expect_status(pid, "Uid", user);
    expect_status(pid, "Gid", group);
    expect_status(pid, "Groups", "");
    expect_status(pid, "CapEff", "0000000000000000");
    expect_status(pid, "CapPrm", "0000000000000000");
}

static void note_child(pid_t pid, void *found)
{
    pid_t *pids = found;
    if (pid != pids[0])
        pids[1] = pid;
}

/* The helper, once it is another one than `but`, and has confined itself. */
static pid_t helper_of(const struct server *s, pid_t but)
{
    pid_t pids[2] = {s->pid, 0};
    for (uint64_t end_ms = now_ms() + 5000;; sleep_ms(10)) {
        pids[1] = 0;
        for_tree(s->pid, note_child, pids);
        if (pids[1] != 0 && pids[1] != but && strcmp(status_of(pids[1], "State"), "Z (zombie)") != 0)
            break;
        if (now_ms() > end_ms)
            fail("there is no helper");
    }
    sleep_ms(50);
    return pids[1];
}

static bool has_filters(const struct server *s)
{
    return logged(s, "event=sandbox seccomp=on ");
}

static void needs_root(void)
{
    if (geteuid() != 0 || instrumented)
        skip("no change of user, as this is not root, or an emulator's process");
    EXPECT(chmod(folder, 0711) == 0);
}

static const char *in_folder(const char *name)
{
    static char paths[8][128];
    static size_t next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void expect_owner(const char *path, unsigned user, unsigned group)
{
    struct stat status;
    if (lstat(path, &status) != 0 || status.st_uid != user || status.st_gid != group)
        fail("%s is not of user %u and group %u", path, user, group);
}

/* Two play, and an operator asks. */
static void expect_all_works(struct server *s, const char *one, const char *other)
{
    struct console *a = player(s, one), *b = player(s, other);
    enter(a, "East");
    enter(b, "East");
    talk(a, b, "under way");
    const struct outcome *o = RUN("ctl", "--data", s->data, "who");
    EXPECT(o->status == 0 && strstr(o->out, one) != NULL);
}

CASE(the_server_and_its_helper_have_filters_and_no_way_to_privileges, 20)
{
    struct server *s = START(CHEAP);
    pid_t helper = helper_of(s, 0);
    EXPECT(log_lines(s, "event=sandbox ", NULL) == 1);
    if (!has_filters(s))
        skip("the kernel, or the emulator, has no system-call filters");
    for (int i = 0; i < 2; i++) {
        expect_status(s->pid, "NoNewPrivs", "1");
        expect_status(s->pid, "Seccomp", "2");
        expect_status(helper, "NoNewPrivs", "1");
        expect_status(helper, "Seccomp", "2");
        expect_all_works(s, i == 0 ? "Alice" : "Carol", i == 0 ? "Bob" : "Dave");
        if (i == 0) {
            (void)kill(helper, SIGKILL); /* the next one is made under the filter */
            helper = helper_of(s, helper);
        }
    }
    EXPECT(log_lines(s, "event=helper_died", NULL) == 1);
}

CASE(without_the_sandbox_there_is_none, 20)
{
    struct server *s = START(CHEAP, "--sandbox", "off");
    EXPECT(logged(s, "event=sandbox seccomp=off landlock=off "));
    expect_status(s->pid, "NoNewPrivs", "0");
    expect_status(s->pid, "Seccomp", "0");
    expect_status(helper_of(s, 0), "Seccomp", "0");
    expect_all_works(s, "Alice", "Bob");
}

CASE(as_root_it_says_once_that_a_user_is_missing, 10)
{
    struct server *s = START(CHEAP);
    EXPECT(log_lines(s, "level=warn event=runs_as_root advice=", NULL) == (geteuid() == 0 ? 1 : 0));
    EXPECT(kill(s->pid, SIGHUP) == 0);
    UNTIL(2000, logged(s, "event=reloaded"));
    EXPECT(log_lines(s, "event=runs_as_root", NULL) == (geteuid() == 0 ? 1 : 0));
}

/* A port that only root may open, and that is free. */
static const char *low_port(void)
{
    static char text[8];
    for (unsigned port = 1023; port > 900; port--) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(LOCALHOST)}};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        address.sin_port = htons((uint16_t)port);
        bool is_free = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
        (void)close(fd);
        (void)snprintf(text, sizeof text, "%u", port);
        if (is_free)
            return text;
    }
    skip("no free port below 1024");
}

CASE(root_is_given_up_for_the_user_and_all_goes_on, 30)
{
    needs_root();
    const char *log = in_folder("logs/his.log");
    EXPECT(mkdir(in_folder("logs"), 0700) == 0 && chown(in_folder("logs"), USER, GROUP) == 0);
    struct server *s = new_server();
    launch(s,
           (const char *const[]){CHEAP, AS_USER, "--directory-port", low_port(), "--log-file", log, "--record",
                                 in_folder("logs/his.rec"), NULL},
           0);
    pid_t helper = helper_of(s, 0);
    for (int i = 0; i < 2; i++) {
        expect_ids(s->pid, "65534\t65534\t65534\t65534", "65533\t65533\t65533\t65533");
        expect_ids(helper, "65534\t65534\t65534\t65534", "65533\t65533\t65533\t65533");
        expect_all_works(s, i == 0 ? "Alice" : "Carol", i == 0 ? "Bob" : "Dave");
        if (i == 0) {
            (void)kill(helper, SIGKILL);
            helper = helper_of(s, helper);
        }
    }
    static const char *const files[] = {"", "/journal", "/pid", "/control"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[160];
        (void)snprintf(path, sizeof path, "%s%s", s->data, files[i]);
        expect_owner(path, USER, GROUP);
    }
    expect_owner(log, USER, GROUP);
    expect_owner(in_folder("logs/his.rec"), USER, GROUP);
    FILE *file = fopen(log, "r");
    EXPECT(file != NULL && strstr(contents(file), " user=65534 group=65533 chroot=no\n") != NULL);
    EXPECT(strstr(contents(file), "event=runs_as_root") == NULL);
    (void)kill(s->pid, SIGTERM);
    EXPECT(wait_exit(s->pid, 5000) == 0);
    s->pid = 0;
    EXPECT(RUN("dump", s->data)->status == 0);
    EXPECT(RUN("replay", in_folder("logs/his.rec"))->status == 0);
    START_AGAIN(s, CHEAP, AS_USER); /* what was made is there */
    expect_all_works(s, "Alice", "Bob");
}

CASE(a_user_may_be_a_name_of_the_machine, 10)
{
    needs_root();
    FILE *users = fopen("/etc/passwd", "r");
    if (users == NULL || strstr(contents(users), "\nnobody:x:65534:") == NULL)
        skip("there is no user `nobody` here");
    struct server *s = START(CHEAP, "--user", "nobody");
    EXPECT(logged(s, " user=65534 "));
    (void)stop(s, SIGTERM);
    START_AGAIN(s, CHEAP, "--user", "nobody:65533");
    EXPECT(logged(s, " user=65534 group=65533 "));
}

/* Each says what is wrong, and is not ready before. */
CASE(what_the_user_may_not_use_is_refused_at_the_start, 20)
{
    needs_root();
    const char *data = in_folder("roots");
    EXPECT(mkdir(data, 0700) == 0);
    const struct outcome *o = RUN(SERVER_ARGUMENTS, AS_USER, "--data", data);
    EXPECT(o->status == 1 && o->out[0] == '\0' && strstr(o->err, "--data: ") != NULL && strstr(o->err, data) != NULL);
    EXPECT(strstr(o->err, "Permission denied") != NULL);
    EXPECT(chmod(data, 0755) == 0);
    o = RUN(SERVER_ARGUMENTS, AS_USER, "--data", data);
    if (o->status != 1 || o->out[0] != '\0' ||
        strstr(o->err, "it belongs to user 0: make it the server's alone") == NULL)
        fail("a folder of root's: status %d, %s", o->status, o->err);
    struct server *s = START(CHEAP); /* as root, whose files these are then */
    expect_all_works(s, "Alice", "Bob");
    (void)stop(s, SIGTERM);
    o = RUN(SERVER_ARGUMENTS, AS_USER, "--data", s->data);
    EXPECT(o->status == 1 && o->out[0] == '\0' && strstr(o->err, "Permission denied") != NULL);
    EXPECT(chown(s->data, USER, GROUP) == 0);
    const char *files[] = {"--log-file", "--record"};
    for (size_t i = 0; i < 2; i++) {
        o = RUN(SERVER_ARGUMENTS, AS_USER, "--data", in_folder("data"), files[i], in_folder("roots/file"));
        EXPECT(o->status == 1 && strstr(o->err, files[i]) != NULL && strstr(o->err, "Permission denied") != NULL);
    }
    o = RUN(SERVER_ARGUMENTS, AS_USER, "--data", s->data);
    if (o->status != 1 || o->out[0] != '\0' || strstr(o->err, "Permission denied") == NULL)
        fail("a journal of root's: status %d, %s", o->status, o->err);
}

static void become_the_user(void)
{
    if (setgroups(0, NULL) != 0 || setgid(GROUP) != 0 || setuid(USER) != 0)
        _exit(126);
}

CASE(only_root_can_become_another, 10)
{
    needs_root();
    const char *data = in_folder("his");
    EXPECT(mkdir(data, 0700) == 0 && chown(data, USER, GROUP) == 0);
    before_exec = become_the_user;
    const struct outcome *o = RUN("--version");
    if (o->status == 126 || o->status == 127)
        skip("another user cannot start the binary here");
    o = RUN("--user", "1:1", "--data", data);
    EXPECT(o->status == 2 && strstr(o->err, "--user: only root can become 1:1, and this is user 65534"));
    o = RUN("--user", "65534:1", "--data", data);
    EXPECT(o->status == 2);
    o = RUN("--chroot", "/tmp", "--data", data);
    EXPECT(o->status == 2 && strstr(o->err, "--chroot: only root can go to") != NULL);
    struct server *s = new_server();
    (void)snprintf(s->data, sizeof s->data, "%s", data);
    launch(s, (const char *const[]){CHEAP, AS_USER, NULL}, 0); /* who runs it anyway */
    before_exec = NULL;
    EXPECT(!logged(s, "event=runs_as_root"));
    expect_all_works(s, "Alice", "Bob");
}

/* As in a container that has root in name only. */
static void lose_capabilities(void)
{
    if (prctl(PR_CAPBSET_DROP, 6 /* CAP_SETGID */, 0, 0, 0) != 0 ||
        prctl(PR_CAPBSET_DROP, 7 /* CAP_SETUID */, 0, 0, 0) != 0)
        _exit(126);
}

CASE(root_that_cannot_be_given_up_is_not_kept_instead, 10)
{
    needs_root();
    before_exec = lose_capabilities;
    const struct outcome *o = RUN(SERVER_ARGUMENTS, AS_USER, "--data", in_folder("data"));
    EXPECT(o->status == 1 && o->out[0] == '\0' && strstr(o->err, "--user: 65534:65533: ") != NULL);
}

CASE(in_the_folder_of_chroot_all_works_and_what_is_outside_is_refused, 30)
{
    needs_root();
    char data[160], config[160], link[64], where[128] = "";
    const char *root = in_folder("root"), *outside = in_folder("logs/outside.log");
    EXPECT(mkdir(in_folder("logs"), 0700) == 0 && chown(in_folder("logs"), USER, GROUP) == 0);
    EXPECT(mkdir(root, 0755) == 0);
    const struct outcome *o = RUN("--chroot", root, "--data", in_folder("data"));
    EXPECT(o->status == 2 && strstr(o->err, "--data: ") != NULL && strstr(o->err, "with --chroot") != NULL);
    struct server *s = new_server();
    (void)snprintf(s->data, sizeof s->data, "%s/data", root);
    (void)snprintf(config, sizeof config, "%s/nascar.conf", root);
    (void)snprintf(data, sizeof data, "%s/log", root);
    (void)write_file(config, "room = East: the first: 5\n");
    EXPECT(chmod(config, 0644) == 0 && mkdir(data, 0755) == 0 && chown(data, USER, GROUP) == 0);
    (void)snprintf(data, sizeof data, "%s/log/a", root);
    launch(s, (const char *const[]){CHEAP, AS_USER, "--chroot", root, "--config", config, "--log-file", data, NULL}, 0);
    (void)snprintf(link, sizeof link, "/proc/%d/root", (int)s->pid);
    EXPECT(readlink(link, where, sizeof where - 1) > 0 && strcmp(where, root) == 0);
    expect_all_works(s, "Alice", "Bob");
    (void)write_file(config, "room = East: the second: 5\n");
    EXPECT(kill(s->pid, SIGHUP) == 0);
    FILE *log = fopen(data, "r");
    UNTIL(3000, strstr(contents(log), "event=reloaded") != NULL);
    EXPECT(unlink(data) == 0 && kill(s->pid, SIGUSR1) == 0);
    UNTIL(3000, access(data, F_OK) == 0);
    (void)fclose(log);
    log = fopen(data, "r");
    UNTIL(3000, strstr(contents(log), "event=log_reopened") != NULL);
    expect_all_works(s, "Carol", "Dave");
    EXPECT(strstr(contents(log), "journal_failed") == NULL);
    (void)kill(s->pid, SIGTERM);
    EXPECT(wait_exit(s->pid, 5000) == 0);
    s->pid = 0;
    const char *other = write_file(NULL, "room = East: the first: 5\n");
    EXPECT(chmod(other, 0644) == 0);
    START_AGAIN(s, CHEAP, AS_USER, "--chroot", root, "--config", other, "--log-file", outside);
    log = fopen(outside, "r");
    EXPECT(log != NULL && kill(s->pid, SIGHUP) == 0 && kill(s->pid, SIGUSR1) == 0);
    UNTIL(3000, strstr(contents(log), "event=log_kept reason=\"it is not in the folder of --chroot") != NULL);
    EXPECT(strstr(contents(log), "--config: ") != NULL && strstr(contents(log), "event=reload_refused") != NULL);
    expect_all_works(s, "Alice", "Bob");
    (void)kill(s->pid, SIGTERM);
    EXPECT(wait_exit(s->pid, 5000) == 0);
    s->pid = 0;
}

/* Whatever somebody has put in the journal's place: it is kept under another name, and a new
 * journal is made, also by a server that may not make such things itself. */
CASE(what_is_put_in_the_journals_place_is_set_aside, 60)
{
    struct server *s = START(CHEAP);
    char journal[160], old[160];
    for (int i = 0; i < 3; i++) {
        char name[16], found[32], kept[160];
        struct stat status;
        (void)snprintf(journal, sizeof journal, "%s/journal", s->data);
        (void)snprintf(old, sizeof old, "%s/journal.old", s->data);
        (void)snprintf(kept, sizeof kept, "%s/journal.found-%d", s->data, i + 1);
        (void)snprintf(name, sizeof name, "Pest%d", i);
        (void)snprintf(found, sizeof found, "journal.found-%d", i + 1);
        EXPECT(RUN("ctl", "--data", s->data, "ban", name)->status == 0);
        EXPECT(rename(journal, old) == 0);
        EXPECT((i == 0 ? symlink(old, journal) : i == 1 ? mkdir(journal, 0700) : mkfifo(journal, 0600)) == 0);
        (void)RUN("ctl", "--data", s->data, "ban", "Whoever"); /* it looks */
        UNTIL(9000, log_lines(s, "event=journal_set_aside", found) == 1);
        EXPECT(lstat(kept, &status) == 0 && (status.st_mode & S_IFMT) == (i == 0   ? S_IFLNK
                                                                          : i == 1 ? S_IFDIR
                                                                                   : S_IFIFO));
        EXPECT(lstat(journal, &status) == 0 && S_ISREG(status.st_mode));
        (void)snprintf(name, sizeof name, "Late%d", i);
        EXPECT(RUN("ctl", "--data", s->data, "ban", name)->status == 0);
    }
    (void)stop(s, SIGTERM);
    START_AGAIN(s, CHEAP);
    const struct outcome *o = RUN("ctl", "--data", s->data, "bans");
    EXPECT(strstr(o->out, "Pest0") && strstr(o->out, "Late0") && strstr(o->out, "Late1") && strstr(o->out, "Late2"));
}

/* A reload reads files anew, also when an editor has made new ones, but in their folders only. */
CASE(a_reload_reads_in_the_folders_of_the_start_only, 20)
{
    const char *etc = in_folder("etc"), *away = in_folder("away");
    char config[160], fresh[160], news[160], text[400];
    EXPECT(mkdir(etc, 0700) == 0 && mkdir(away, 0700) == 0);
    (void)snprintf(config, sizeof config, "%s/conf", etc);
    (void)snprintf(fresh, sizeof fresh, "%s/conf.new", etc);
    (void)snprintf(news, sizeof news, "%s/news", away);
    (void)write_file(config, "room = East: the first: 5\n");
    (void)write_file(news, "Daytona\n");
    struct server *s = new_server();
    EXPECT(mkdir(in_folder("home"), 0700) == 0);
    (void)snprintf(s->data, sizeof s->data, "%s/home/data", folder);
    START_AGAIN(s, CHEAP, "--config", config);
    (void)write_file(fresh, "room = East: the second: 5\n");
    EXPECT(rename(fresh, config) == 0 && kill(s->pid, SIGHUP) == 0);
    UNTIL(3000, logged(s, "event=reloaded"));
    (void)snprintf(text, sizeof text, "room = East: the second: 5\nnews = %s\n", news);
    (void)write_file(config, text);
    EXPECT(kill(s->pid, SIGHUP) == 0);
    if (!logged(s, " landlock=on ")) {
        UNTIL(3000, log_lines(s, "event=reloaded", NULL) == 2);
        skip("the kernel, or the emulator, has no Landlock");
    }
    UNTIL(3000, logged(s, "event=reload_refused"));
    EXPECT(log_lines(s, "news: ", "it was in another folder at the start") == 1);
    (void)stop(s, SIGTERM);
    START_AGAIN(s, CHEAP, "--config", config);
    EXPECT(kill(s->pid, SIGHUP) == 0);
    UNTIL(3000, log_lines(s, "event=reloaded", NULL) == 2);
}
