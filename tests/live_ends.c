/* The live test, of ends and of what is there before: starts that fail, a recording and its
 * time, a prompt for a password, folders that are not the server's alone, and what a helper
 * that is started again knows.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem, posix_openpt, ptsname_r */

#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

static const char *file_in(const char *where, const char *name)
{
    static char path[4][256];
    static unsigned turn;
    (void)snprintf(path[++turn % 4], sizeof path[0], "%s/%s", where, name);
    return path[turn % 4];
}

/* ---- A recorder and the time ------------------------------------------------------ */

/* How long a burst of 4.8 KB takes, and a login with 2.6 KB behind it. */
static uint64_t time_of_bursts(const struct server *s)
{
    char kind[5], payload[CONSOLE_FRAME_BYTES];
    uint64_t began = now_ms();
    for (int login = 0; login < 2; login++) {
        int fd = raw_open(s, LOBBY, LOCALHOST);
        size_t answers = 0, asked = login ? 65 : 120;
        if (login)
            raw_send(fd, "auth", "NAME=Nobody\nPASS=~1234567890abcdef\n");
        for (size_t i = 0; i < asked; i++)
            raw_send(fd, "skey", "SKEY=$5075626c6963204b6579\n");
        while (answers < asked && raw_frame(fd, kind, payload, 5000))
            answers += strcmp(kind, "skey") == 0;
        EXPECT(answers == asked);
        (void)close(fd);
    }
    return now_ms() - began;
}

CASE(a_recorder_costs_no_time_that_a_player_sees, 60)
{
    char recording[256];
    (void)snprintf(recording, sizeof recording, "%s", file_in(folder, "a.rec"));
    uint64_t without = time_of_bursts(START(CHEAP, "--rate", "0"));
    struct server *s = START(CHEAP, "--rate", "0", "--record", recording);
    uint64_t with = time_of_bursts(s);
    note("two bursts take %llu ms, and %llu ms with a recorder\n", (unsigned long long)without,
         (unsigned long long)with);
    EXPECT(with <= 2 * without + 300);
    (void)stop(s, SIGTERM);
    const struct outcome *o = RUN("replay", recording);
    EXPECT(o->status == 0);
}

/* ---- Starts that fail -------------------------------------------------------------- */

/* A port that another program has, with a recording of the crash before: nothing is left
 * that says that a server runs, and the recording is where it was. */
CASE(a_start_that_fails_leaves_nothing_behind, 20)
{
    struct server *s = START(CHEAP), *other = new_server();
    char port[8], recording[256];
    struct stat status;
    (void)snprintf(port, sizeof port, "%u", (unsigned)s->port[LOBBY]);
    (void)snprintf(recording, sizeof recording, "%s", file_in(folder, "crash.rec"));
    (void)write_file(recording, "NSR3 of the crash");
    for (int i = 0; i < 2; i++) {
        const struct outcome *o = RUN("--bind", "127.0.0.1", "--data", other->data, "--lobby-port", port, "--record",
                                      recording, "--directory-port", "0", "--buddy-port", "0");
        EXPECT(o->status == 1 && strstr(o->err, "lobby port ") != NULL && o->out[0] == '\0');
        EXPECT(access(file_in(other->data, "pid"), F_OK) != 0 && access(file_in(other->data, "control"), F_OK) != 0);
        EXPECT(access(file_in(other->data, "journal"), F_OK) == 0);
        EXPECT(stat(recording, &status) == 0 && status.st_size == 17);
        EXPECT(access(file_in(folder, "crash.rec.new"), F_OK) != 0);
        EXPECT(access(file_in(folder, "crash.rec.old"), F_OK) != 0);
    }
    /* Who fails because the folder is another's leaves that one's files alone. */
    const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", s->data);
    EXPECT(o->status == 1 && strstr(o->err, "a server uses it") != NULL);
    EXPECT(access(file_in(s->data, "pid"), F_OK) == 0 && access(file_in(s->data, "control"), F_OK) == 0);
    EXPECT(RUN("ctl", "--data", s->data, "who")->status == 0);
    (void)player(s, "Alice");
}

/* A recording whose place is a device, also under the sandbox, as root. */
CASE(a_device_is_no_place_for_a_recording, 20)
{
    struct stat before, after;
    EXPECT(stat("/dev/null", &before) == 0);
    const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", file_in(folder, "data"), "--record", "/dev/null");
    EXPECT(o->status == 1 && strstr(o->err, "/dev/null: null is a device, and not a recording") != NULL);
    EXPECT(stat("/dev/null", &after) == 0 && before.st_rdev == after.st_rdev && S_ISCHR(after.st_mode));
    EXPECT(access("/dev/null.old", F_OK) != 0 && access("/dev/null.new", F_OK) != 0);
}

/* ---- Folders ------------------------------------------------------------------------ */

CASE(a_folder_that_others_may_write_to_is_refused_to_root_and_told_to_others, 20)
{
    static const mode_t modes[] = {0777, 0722, 0770, 01777, 0702};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        struct server *s = new_server();
        EXPECT(mkdir(s->data, 0700) == 0 && chmod(s->data, modes[i]) == 0);
        if (geteuid() == 0) {
            const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", s->data);
            if (o->status != 1 || strstr(o->err, "others may write to it") == NULL ||
                strstr(o->err, "chmod go-w") == NULL)
                fail("mode %04o: status %d, %s", (unsigned)modes[i], o->status, o->err);
            EXPECT(rmdir(s->data) == 0); /* nothing was made in it */
            EXPECT(mkdir(s->data, 0700) == 0);
        }
        EXPECT(chmod(s->data, 0755) == 0);
        START_AGAIN(s, CHEAP);
        EXPECT(!logged(s, "event=folder_not_ours"));
        (void)stop(s, SIGTERM);
    }
    if (geteuid() != 0)
        return;
    struct server *s = new_server(); /* another user's */
    EXPECT(mkdir(s->data, 0700) == 0 && chown(s->data, 65534, 65533) == 0);
    const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", s->data);
    EXPECT(o->status == 1 && strstr(o->err, "it belongs to user 65534") != NULL);
}

/* The name of a folder that was made is on the disk before anything is told. */
CASE(the_folder_above_a_new_one_is_synced, 20)
{
    struct server *s = new_server();
    char command[1024], path[256], above[256], line[512];
    bool made = false, synced = false;
    if (system("strace -V >/dev/null 2>&1") != 0)
        skip("there is no strace");
    (void)snprintf(path, sizeof path, "%s", file_in(folder, "trace"));
    (void)snprintf(above, sizeof above, "<%s>)", folder);
    (void)snprintf(command, sizeof command,
                   "timeout 1 strace -y -o %s -e trace=mkdir,mkdirat,fsync %s --bind 127.0.0.1 --directory-port 0 "
                   "--lobby-port 0 --buddy-port 0 --sandbox off --data %s >/dev/null 2>&1",
                   path, binary, s->data);
    (void)!system(command);
    FILE *file = fopen(path, "r");
    EXPECT(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        made = made || (strncmp(line, "mkdir", 5) == 0 && strstr(line, s->data) != NULL);
        synced = synced || (made && strncmp(line, "fsync", 5) == 0 && strstr(line, above) != NULL);
    }
    (void)fclose(file);
    if (!made)
        skip("strace does not work here");
    EXPECT(synced);
}

/* ---- A prompt for a password ---------------------------------------------------------- */

/* `ctl passwd` on a terminal of its own. */
struct prompt {
    pid_t pid;
    int master;
};

static struct prompt prompt_on(const char *data)
{
    char name[64];
    struct prompt p = {.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    if (p.master < 0 || grantpt(p.master) != 0 || unlockpt(p.master) != 0 ||
        ptsname_r(p.master, name, sizeof name) != 0)
        skip("no terminal");
    p.pid = fork();
    EXPECT(p.pid >= 0);
    if (p.pid == 0) {
        (void)setsid();
        int fd = open(name, O_RDWR);
        (void)dup2(fd, 0);
        (void)dup2(fd, 1);
        (void)dup2(fd, 2);
        (void)execl(binary, binary, "ctl", "--data", data, "passwd", "Alice", (char *)NULL);
        _exit(127);
    }
    return p;
}

static bool shows(const struct prompt *p)
{
    struct termios mode;
    EXPECT(tcgetattr(p->master, &mode) == 0);
    return (mode.c_lflag & ECHO) != 0;
}

CASE(a_signal_at_the_prompt_leaves_the_terminal_as_it_was, 20)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP};
    struct server *s = START(CHEAP);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct prompt p = prompt_on(s->data);
        int status = 0;
        UNTIL(3000, !shows(&p));
        EXPECT(kill(p.pid, SIGTSTP) == 0); /* it does not stop with the terminal in this state */
        sleep_ms(30);
        EXPECT(waitpid(p.pid, &status, WNOHANG | WUNTRACED) == 0);
        EXPECT(kill(p.pid, signals[i]) == 0 && waitpid(p.pid, &status, 0) == p.pid);
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == signals[i]);
        EXPECT(shows(&p));
        (void)close(p.master);
    }
}

/* Operators who were asked and went away for lunch hold no place. */
CASE(forgotten_prompts_keep_no_operator_out, 20)
{
    struct server *s = START(CHEAP);
    struct prompt prompts[6];
    for (size_t i = 0; i < 6; i++) {
        prompts[i] = prompt_on(s->data);
        UNTIL(3000, !shows(&prompts[i]));
    }
    EXPECT(RUN("ctl", "--data", s->data, "who")->status == 0);
    static const char typed[] = "open wheel\n";
    int status = 0;
    EXPECT(write(prompts[0].master, typed, sizeof typed - 1) > 0);
    sleep_ms(100);
    EXPECT(write(prompts[0].master, typed, sizeof typed - 1) > 0);
    EXPECT(waitpid(prompts[0].pid, &status, 0) == prompts[0].pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    UNTIL(3000, logged(s, "event=password_set"));
    for (size_t i = 1; i < 6; i++) {
        (void)kill(prompts[i].pid, SIGKILL);
        (void)waitpid(prompts[i].pid, &status, 0);
    }
}

/* ---- A helper that is started again ----------------------------------------------------- */

static pid_t child_of;

static void keep_child(pid_t pid, void *at)
{
    if (pid != child_of)
        *(pid_t *)at = pid;
}

static pid_t helper_of(const struct server *s)
{
    pid_t helper = 0;
    child_of = s->pid;
    for_tree(s->pid, keep_child, &helper);
    return helper;
}

/* Does the memory of a process hold the text? */
static bool memory_holds(pid_t pid, const char *text)
{
    char path[64], line[256];
    static char bytes[1 << 20];
    bool found = false;
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "r");
    (void)snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    if (maps == NULL || mem < 0)
        skip("the memory of another process cannot be read here");
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long from = 0, to = 0;
        if (sscanf(line, "%lx-%lx rw", &from, &to) != 2)
            continue;
        for (unsigned long at = from; at < to && !found; at += sizeof bytes / 2) {
            size_t size = to - at < sizeof bytes ? to - at : sizeof bytes;
            ssize_t n = pread(mem, bytes, size, (off_t)at);
            found = n > 0 && memmem(bytes, (size_t)n, text, strlen(text)) != NULL;
        }
    }
    (void)fclose(maps);
    (void)close(mem);
    return found;
}

/* Twelve logins wait; the helper dies, and the next one has the passwords of four at most. */
CASE(a_helper_that_is_started_again_inherits_no_queue, 30)
{
    struct server *s = START("--hash-cost", "13");
    struct console *c[12];
    char name[16], password[24];
    for (int i = 0; i < 12; i++) {
        (void)snprintf(name, sizeof name, "Driver%d", i);
        (void)snprintf(password, sizeof password, "wheel-%d-open", i);
        c[i] = seat_new(s, LOCALHOST)->console;
        console_login(c[i], name, password, name);
    }
    pid_t first = helper_of(s);
    EXPECT(first > 0);
    run_for(250);
    bool waits = memory_holds(s->pid, "wheel-11-open"); /* else this shows nothing */
    EXPECT(kill(first, SIGSTOP) == 0);
    run_for(50);
    EXPECT(kill(first, SIGKILL) == 0);
    pid_t second = 0;
    UNTIL(3000, (second = helper_of(s)) > 0 && second != first);
    sleep_ms(100);
    bool knows = memory_holds(second, "wheel-11-open");
    if (!waits)
        skip("all were hashed too soon");
    EXPECT(!knows);
}

/* Nor does root go on in a folder that somebody has put in the place of its own. */
CASE_BESIDE(a_folder_of_others_that_takes_its_place_is_not_used, 30)
{
    if (geteuid() != 0)
        skip("this is not root");
    struct server *s = START(CHEAP);
    char away[160];
    (void)player(s, "Alice");
    (void)snprintf(away, sizeof away, "%s-away", s->data);
    EXPECT(rename(s->data, away) == 0 && mkdir(s->data, 0700) == 0 && chmod(s->data, 0777) == 0);
    struct console *bob = seat_new(s, LOCALHOST)->console;
    console_login(bob, "Bob", PASSWORD, "Bob");
    UNTIL(8000, logged(s, "event=journal_failed") && logged(s, "event=compaction_failed"));
    EXPECT(access(file_in(s->data, "journal"), F_OK) != 0 && access(file_in(s->data, "pid"), F_OK) != 0);
    EXPECT(chmod(s->data, 0700) == 0);
    UNTIL(8000, logged(s, "event=journal_recovered"));
    EXPECT(access(file_in(s->data, "journal"), F_OK) == 0);
}
