/* The live test, of what the system does to the process: a log that nobody reads,
 * streams that are closed, signals, limits that are lowered, faults.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem, pipe2, posix_openpt, prlimit */

#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>

/* ---- A log that nobody reads, or that cannot be written ------------------------ */

/* Both ends of what is to be a standard error. */
static void open_pipe(int ends[2])
{
    EXPECT(pipe2(ends, O_CLOEXEC) == 0);
}

static void open_socket(int ends[2])
{
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
}

static void open_terminal(int ends[2])
{
    struct termios mode;
    ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    EXPECT(ends[0] >= 0 && grantpt(ends[0]) == 0 && unlockpt(ends[0]) == 0);
    ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY | O_CLOEXEC);
    EXPECT(ends[1] >= 0 && tcgetattr(ends[1], &mode) == 0);
    mode.c_oflag &= ~(tcflag_t)OPOST; /* what comes out is what was written */
    EXPECT(tcsetattr(ends[1], TCSANOW, &mode) == 0);
}

static const struct unread {
    const char *name;
    void (*open)(int ends[2]);
} unread[] = {{"a pipe", open_pipe}, {"a socket", open_socket}, {"a terminal", open_terminal}};

/* Reads what is there, until nothing more comes for a while. */
static size_t read_all(int fd, char *text, size_t room)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    size_t size = 0;
    while (size + 1 < room && poll(&readable, 1, 150) == 1) {
        ssize_t n = read(fd, text + size, room - 1 - size);
        if (n <= 0)
            break;
        size += (size_t)n;
    }
    text[size] = '\0';
    return size;
}

/* Every line is whole, and stands for itself. Returns how many are missing, as they say. */
static unsigned long expect_whole_lines(const char *name, const char *text)
{
    unsigned long lost = 0;
    for (const char *line = text; *line != '\0';) {
        size_t size = strcspn(line, "\n");
        const char *number = memmem(line, size, " lost=", 6);
        if (line[size] != '\n' || strncmp(line, "time=2", 6) != 0 || !memmem(line, size, " event=", 7) ||
            memmem(line + 1, size - 1, "time=", 5) != NULL)
            fail("%s: no whole line: `%.*s`", name, (int)size, line);
        lost += number != NULL ? strtoul(number + 6, NULL, 10) : 0;
        line += size + 1;
    }
    return lost;
}

/* So many lines of chat, which at level debug are three times as many in the log. */
static void chatter(struct console *a, struct console *b, unsigned lines)
{
    for (unsigned i = 0; i < lines; i++) {
        console_chat(a, "is anybody there");
        if (i % 20 == 19)
            UNTIL(3000, console_awaits(a, CONSOLE_LOBBY) == 0);
    }
    talk(b, a, "yes");
}

CASE(a_log_that_nobody_reads_stops_nobody, 30)
{
    static char text[1 << 20];
    for (size_t i = 0; i < sizeof unread / sizeof unread[0]; i++) {
        int ends[2], flags;
        seat_count = 0;
        struct server *s = new_server();
        unread[i].open(ends);
        s->err = ends[1];
        launch(s, (const char *const[]){CHEAP, "--rate", "0", "--log-level", "debug", NULL}, 0);
        struct console *a = player(s, "Alice"), *b = player(s, "Bob");
        enter(a, "East");
        enter(b, "East");
        chatter(a, b, 2000); /* far more than it takes */
        flags = fcntl(ends[1], F_GETFL);
        EXPECT(flags >= 0 && !(flags & O_NONBLOCK)); /* others have it open, too */
        struct trace trace = TRACE(s, "-e", "trace=fcntl");
        EXPECT(kill(s->pid, SIGHUP) == 0); /* which says something as well */
        chatter(a, b, 20);
        EXPECT(strstr(trace_end(trace), "F_SETFL") == NULL); /* not even for a moment */
        size_t size = read_all(ends[0], text, sizeof text);
        talk(a, b, "now somebody reads");
        size += read_all(ends[0], text + size, sizeof text - size);
        unsigned long lost = expect_whole_lines(unread[i].name, text);
        note("a log that is %s: %zu bytes of it, then %lu lines lost\n", unread[i].name, size, lost);
        EXPECT(size > 2000 && lost > 1000 && strstr(text, "event=connect") != NULL);
        (void)kill(s->pid, SIGTERM);
        EXPECT(wait_exit(s->pid, 3000) == 0);
        s->pid = 0;
        size = read_all(ends[0], text, sizeof text);
        EXPECT(expect_whole_lines(unread[i].name, text) == 0 && strstr(text, "event=stop ") != NULL);
        (void)close(ends[0]);
        (void)close(ends[1]);
    }
}

CASE(a_reader_of_the_log_that_goes_away_ends_nothing, 10)
{
    int ends[2];
    struct server *s = new_server();
    open_pipe(ends);
    s->err = ends[1];
    launch(s, (const char *const[]){CHEAP, NULL}, 0);
    (void)close(ends[1]);
    (void)close(ends[0]);
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    talk(a, b, "who needs a log");
    (void)kill(s->pid, SIGTERM);
    EXPECT(wait_exit(s->pid, 3000) == 0);
    s->pid = 0;
}

/* The lines of a file that have this in them. */
static size_t lines_of(const char *path, const char *part)
{
    size_t count = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    for (const char *at = contents(file); (at = strstr(at, part)) != NULL; at++)
        count++;
    (void)fclose(file);
    return count;
}

CASE(a_log_file_is_opened_again_on_sigusr1, 10)
{
    char path[128], old[136];
    struct stat about;
    (void)snprintf(path, sizeof path, "%s/nascar.log", folder);
    (void)snprintf(old, sizeof old, "%s.1", path);
    struct server *s = START(CHEAP, "--log-file", path);
    struct console *a = player(s, "Alice");
    UNTIL(1000, lines_of(path, "event=enter") == 1);
    EXPECT(stat(path, &about) == 0 && (about.st_mode & 0777) == 0600);
    EXPECT(contents(s->log)[0] == '\0');

    EXPECT(rename(path, old) == 0 && kill(s->pid, SIGUSR1) == 0);
    UNTIL(1000, lines_of(path, "event=log_reopened") == 1);
    (void)player(s, "Bob");
    UNTIL(1000, lines_of(path, "event=enter") == 1);
    EXPECT(lines_of(old, "event=enter") == 1 && lines_of(old, "log_reopened") == 0);

    /* It cannot be opened: the old one is kept, and says so. */
    EXPECT(rename(path, old) == 0 && mkdir(path, 0700) == 0 && kill(s->pid, SIGUSR1) == 0);
    UNTIL(1000, lines_of(old, "level=error event=log_kept reason=\"Is a directory") == 1);
    console_leave(a);
    UNTIL(1000, lines_of(old, "event=close") >= 1);
    EXPECT(rmdir(path) == 0 && kill(s->pid, SIGUSR1) == 0);
    UNTIL(1000, lines_of(path, "event=log_reopened") == 1);

    (void)kill(s->pid, SIGTERM);
    EXPECT(wait_exit(s->pid, 3000) == 0);
    s->pid = 0;
    EXPECT(lines_of(path, "event=stop signal=SIGTERM") == 1 && contents(s->log)[0] == '\0');
    const struct outcome *o = RUN(SERVER_ARGUMENTS, "--data", s->data, "--log-file", "/nowhere/nascar.log");
    EXPECT(o->status == 1 && strstr(o->err, "--log-file: /nowhere/nascar.log: ") != NULL && o->out[0] == '\0');
}

CASE(a_reload_complains_where_the_log_is, 10)
{
    char path[128];
    const char *config = write_file(NULL, "hash-cost = 4\n");
    (void)snprintf(path, sizeof path, "%s/nascar.log", folder);
    struct server *s = START("--config", config, "--log-file", path);
    (void)write_file(config, "hash-cost = 4\ntyres = soft\n");
    EXPECT(kill(s->pid, SIGHUP) == 0);
    UNTIL(1000, lines_of(path, "event=reload_refused") == 1);
    EXPECT(lines_of(path, ":2: tyres: unknown option") == 1);
    (void)kill(s->pid, SIGTERM);
    EXPECT(wait_exit(s->pid, 3000) == 0);
    s->pid = 0;
}

CASE(a_full_disk_under_the_log_file_stops_nobody, 10)
{
    static const char *const sinks[] = {"--log-file", "/dev/full", NULL};
    struct server *s = START(CHEAP, sinks[0], sinks[1]);
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    talk(a, b, "no room for words");
    uint64_t cpu = cpu_ms(s);
    run_for(1000);
    EXPECT(cpu_ms(s) - cpu < (instrumented ? 500 : 50)); /* nor is it tried again and again */
    (void)kill(s->pid, SIGTERM);
    EXPECT(wait_exit(s->pid, 3000) == 0);
    s->pid = 0;
}

/* ---- Signals --------------------------------------------------------------------- */

/* What `killall` does: the helper gets them, too. */
static void send_signal(pid_t pid, void *number)
{
    (void)kill(pid, *(int *)number);
}

static void count_process(pid_t pid, void *sum)
{
    *(size_t *)sum += pid > 0;
}

CASE(signals_that_mean_nothing_end_nothing, 10)
{
    static const int meaningless[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF,   SIGWINCH, SIGPIPE, SIGTTIN,
                                      SIGTTOU, SIGIO,   SIGPWR,  SIGURG,    SIGSTKFLT, SIGXFSZ,  SIGCHLD, SIGCONT};
    struct server *s = START(CHEAP);
    struct console *a = player(s, "Alice");
    for (size_t i = 0; i < sizeof meaningless / sizeof meaningless[0]; i++)
        for_tree(s->pid, send_signal, &(int){meaningless[i]});
    /* From 32 to 34 are the C library's, which a sanitizer's keeps; and QEMU takes others, too. */
    int first = !instrumented ? 32 : narrow ? SIGRTMAX + 1 : 35;
    for (int i = first; i <= SIGRTMAX; i++)
        for_tree(s->pid, send_signal, &(int){i});
    run_for(100);
    size_t processes = 0;
    for_tree(s->pid, count_process, &processes);
    if (!alive(s) || !settled(a) || processes != 2)
        fail("%salive, %zu processes", alive(s) ? "" : "not ", processes);
    (void)player(s, "Bob"); /* with the helper */
    EXPECT(!logged(s, "event=helper_died") && !logged(s, "event=log_"));
    talk(a, seats[1].console, "still here");
}

CASE(every_end_has_a_line_that_says_why, 20)
{
    static const struct {
        int number;
        const char *said;
    } ends[] = {{SIGTERM, "event=stop signal=SIGTERM"},
                {SIGINT, "event=stop signal=SIGINT"},
                {SIGQUIT, "event=stop signal=SIGQUIT"},
                {SIGXCPU, "event=stop signal=SIGXCPU"},
                {SIGSEGV, "level=error event=died signal=SIGSEGV "},
                {SIGBUS, "level=error event=died signal=SIGBUS "},
                {SIGABRT, "level=error event=died signal=SIGABRT "}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        bool fault = i >= 4;
        if (fault && (narrow || instrumented))
            break; /* those have handlers of their own */
        struct server *s = START(CHEAP);
        struct rlimit none = {0, 0};
        EXPECT(prlimit(s->pid, RLIMIT_CORE, &none, NULL) == 0);
        EXPECT(kill(s->pid, ends[i].number) == 0);
        int status = wait_exit(s->pid, 3000);
        s->pid = 0;
        if (status != (fault ? -1 : 0) || log_lines(s, ends[i].said, NULL) != 1)
            fail("signal %d: status %d, and no line with `%s`", ends[i].number, status, ends[i].said);
    }
}

/* ---- Streams that are closed ------------------------------------------------------- */

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(LOCALHOST);
    EXPECT(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    EXPECT(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

/* Becomes the binary with these of the first three streams closed: 1, 2 and 4 for them. */
__attribute__((noreturn)) static void become_closed(const char *const *arguments, unsigned closed, const char *root)
{
    char *copy[ARGUMENTS] = {NULL};
    for (size_t i = 0; arguments[i] != NULL; i++)
        copy[i] = strdup(arguments[i]);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int fd = 3; fd < 1024; fd++)
        (void)close(fd);
    if (root != NULL && (chroot(root) != 0 || chdir("/") != 0))
        _exit(126);
    for (int fd = 0; fd < 3; fd++)
        if (closed >> fd & 1)
            (void)close(fd);
    (void)execv(copy[0], copy);
    _exit(127);
}

/* A server without some of its streams; root: and with nothing but this folder. */
static struct server *start_closed(unsigned closed, const char *program, const char *root)
{
    struct server *s = new_server();
    char port[PORTS][8];
    for (int i = 0; i < PORTS; i++) {
        s->port[i] = free_port();
        (void)snprintf(port[i], sizeof port[i], "%u", (unsigned)s->port[i]);
    }
    const char *arguments[] = {program,
                               "--bind",
                               "127.0.0.1",
                               "--directory-port",
                               port[0],
                               "--lobby-port",
                               port[1],
                               "--buddy-port",
                               port[2],
                               "--data",
                               root != NULL ? "data" : s->data,
                               CHEAP,
                               "--log-level",
                               "debug",
                               NULL};
    s->pid = fork();
    EXPECT(s->pid >= 0);
    if (s->pid == 0) {
        (void)dup2(s->err, STDOUT_FILENO);
        (void)dup2(s->err, STDERR_FILENO);
        become_closed(arguments, closed, root);
    }
    int fd = -1;
    for (uint64_t end = now_ms() + 3000; fd < 0; sleep_ms(5)) {
        fd = connect_to(s->port[BUDDY], 0, 0); /* the last one that it opens */
        EXPECT(now_ms() < end);
    }
    (void)close(fd);
    return s;
}

static void expect_play(struct server *s)
{
    seat_count = 0;
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    enter(a, "East");
    enter(b, "East");
    talk(a, b, "nobody sees the log");
    EXPECT(directory_answers(s, LOBBY, LOCALHOST));
    (void)kill(s->pid, SIGTERM);
    EXPECT(wait_exit(s->pid, 3000) == 0);
    s->pid = 0;
}

CASE(streams_that_are_closed_are_nobody_elses, 20)
{
    static const unsigned closed[] = {1, 2, 4, 5, 6, 7};
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        struct server *s = start_closed(closed[i], binary, NULL);
        expect_play(s);
        const struct outcome *o = RUN("dump", s->data);
        if (o->status != 0 || strstr(o->out, "NAME=Bob") == NULL || strstr(o->out, "torn") != NULL)
            fail("streams %u closed: the journal has something else in it: %s", closed[i], o->err);
    }
}

CASE(streams_are_taken_where_there_is_no_dev, 10)
{
    char root[128], program[160], command[512];
    if (geteuid() != 0 || narrow || instrumented)
        skip("no chroot, as this is not root, or the binary is not static");
    (void)snprintf(root, sizeof root, "%s/root", folder);
    (void)snprintf(program, sizeof program, "%s/nascar_server", root);
    (void)snprintf(command, sizeof command, "mkdir '%s' && cp '%s' '%s'", root, binary, program);
    EXPECT(system(command) == 0);
    for (unsigned closed = 4; closed < 8; closed++)
        expect_play(start_closed(closed, "/nascar_server", root));
    (void)snprintf(program, sizeof program, "%s/data", root);
    EXPECT(RUN("dump", program)->status == 0);
}

/* The first file that a subcommand opens is a socket to the server, or the journal. */
CASE(subcommands_take_the_streams_as_well, 10)
{
    struct server *s = START(CHEAP);
    char journal[160];
    (void)player(s, "Alice");
    (void)snprintf(journal, sizeof journal, "%s/journal", s->data);
    const struct {
        const char *arguments[7];
        unsigned closed;
        int status;
    } runs[] = {
        {{binary, "ctl", "--data", s->data, "who", NULL}, 6, -1},
        {{binary, "ctl", "--data", s->data, "who", NULL}, 7, -1},
        {{binary, "ctl", "--data", s->data, "fly", NULL}, 4, 2},
        {{binary, "ctl", "--data", s->data, "passwd", "Alice", NULL}, 1, 1}, /* there is nothing to read */
        {{binary, "dump", s->data, NULL}, 7, -1},
        {{binary, "replay", journal, NULL}, 7, -1},
        {{binary, "--data", journal, NULL}, 7, 2},
        {{binary, "--data", s->data, NULL}, 4, 1}, /* a server uses it */
    };
    FILE *file = fopen(journal, "r"), *said = tmpfile();
    EXPECT(file != NULL && said != NULL);
    char *before = strdup(contents(file));
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        pid_t pid = fork();
        EXPECT(pid >= 0);
        if (pid == 0) {
            (void)dup2(fileno(said), STDOUT_FILENO);
            (void)dup2(fileno(said), STDERR_FILENO);
            become_closed(runs[i].arguments, runs[i].closed, NULL);
        }
        int status = wait_exit(pid, 2000);
        if (status == -2)
            (void)kill(pid, SIGKILL);
        if (status < 0 || (runs[i].status >= 0 && status != runs[i].status))
            fail("run %zu: status %d", i, status);
    }
    EXPECT(strcmp(before, contents(file)) == 0);
    (void)fclose(file);
    run_for(50);
    EXPECT(!logged(s, "broken frame") && settled(seats[0].console));
}

/* ---- Limits that are lowered, and what the kernel does not give -------------------- */

CASE(fewer_files_than_are_open_end_nothing, 20)
{
    struct server *s = START(CHEAP);
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    struct rlimit before, few[] = {{8, 8}, {3, 3}, {0, 0}};
    EXPECT(prlimit(s->pid, RLIMIT_NOFILE, NULL, &before) == 0);
    for (size_t i = 0; i < sizeof few / sizeof few[0]; i++) {
        few[i].rlim_max = before.rlim_max;
        EXPECT(prlimit(s->pid, RLIMIT_NOFILE, &few[i], NULL) == 0);
        enter(a, i % 2 == 0 ? "East" : "West");
        enter(b, i % 2 == 0 ? "East" : "West");
        for (int k = 0; k < 5; k++)
            talk(a, b, "who needs more files");
        uint64_t cpu = cpu_ms(s);
        run_for(500);
        EXPECT(cpu_ms(s) - cpu < (instrumented ? 300 : 100));
    }
    UNTIL(1000, log_lines(s, "level=error event=poll_failed", "ulimit -n") == 1);
    int fd = connect_to(s->port[DIRECTORY], LOCALHOST, 0);
    EXPECT(fd >= 0);
    raw_send(fd, "@dir", "PROD=NASCAR-PS2-2004\n");
    UNTIL(3000, log_lines(s, "event=accept_paused", "ulimit -n") >= 1);
    EXPECT(prlimit(s->pid, RLIMIT_NOFILE, &before, NULL) == 0);
    char kind[5], payload[CONSOLE_FRAME_BYTES];
    EXPECT(raw_frame(fd, kind, payload, 3000) && strcmp(kind, "@dir") == 0); /* it waited */
    (void)close(fd);
    (void)player(s, "Cid");
    EXPECT(log_lines(s, "event=poll_failed", NULL) == 1);
    EXPECT(prlimit(s->pid, RLIMIT_NOFILE, &few[2], NULL) == 0);
    talk(a, b, "again");
    (void)stop(s, SIGTERM);
}

/* With so few files, it starts or says that these have run out. */
CASE(a_start_without_files_says_so, 20)
{
    bool started = false;
    if (narrow)
        skip("the emulator needs files itself");
    for (rlim_t files = 3; files < 20; files++) {
        struct server *s = new_server();
        const char *arguments[] = {binary, SERVER_ARGUMENTS, "--data", s->data, CHEAP, NULL};
        int out[2], status = -2;
        char ready[256] = "";
        FILE *log = s->log;
        EXPECT(pipe2(out, O_CLOEXEC) == 0);
        s->pid = fork();
        EXPECT(s->pid >= 0);
        if (s->pid == 0)
            become_server(arguments, -1, out[1], s->err, files);
        (void)close(out[1]);
        bool is_ready = read(out[0], ready, sizeof ready - 1) > 0;
        (void)close(out[0]);
        if (is_ready)
            (void)kill(s->pid, SIGTERM);
        status = wait_exit(s->pid, 3000);
        s->pid = 0;
        bool said = logged(s, "ulimit -n");
        if (status != (is_ready ? 0 : 1) || (!is_ready && !said) || logged(s, "No such file"))
            fail("%u files: status %d, and it says: %s", (unsigned)files, status, contents(log));
        static const char *const ours[] = {"pid", "control"};
        for (size_t i = 0; i < 2; i++) {
            char path[192];
            (void)snprintf(path, sizeof path, "%s/%s", s->data, ours[i]);
            if (access(path, F_OK) == 0)
                fail("%u files: it leaves its %s", (unsigned)files, ours[i]);
        }
        started = is_ready;
        (void)fclose(log);
        server_count--;
    }
    EXPECT(started);
}

/* The kernel refuses this system call, with this error. */
static void forbid(long call, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(125);
}

#ifdef SYS_socket
static void forbid_sockets(void)
{
    forbid(SYS_socket, EMFILE);
}

CASE(ctl_that_has_no_files_says_so, 10)
{
    if (narrow)
        skip("an emulator needs sockets itself, and i686 may have another call for them");
    before_exec = forbid_sockets;
    const struct outcome *o = RUN("ctl", "--data", folder, "who");
    before_exec = NULL;
    if (o->status == 125)
        skip("no filter of system calls");
    if (o->status != 1 || strstr(o->err, "ulimit -n") == NULL)
        fail("status %d, and it says: %s", o->status, o->err);
}
#endif

/* Its exit status; what it says goes to the log of `s`. root: there is no /dev. */
static int run_without_getrandom(struct server *s, const char *program, const char *root)
{
    const char *arguments[] = {program, SERVER_ARGUMENTS, "--data", root != NULL ? "data" : s->data, CHEAP, NULL};
    s->pid = fork();
    EXPECT(s->pid >= 0);
    if (s->pid == 0) {
        (void)dup2(s->err, STDERR_FILENO);
        (void)dup2(s->err, STDOUT_FILENO);
        forbid(SYS_getrandom, ENOSYS); /* as an old one does, or one behind a filter */
        become_closed(arguments, 0, root);
    }
    int status = -2;
    for (uint64_t end = now_ms() + 3000; status == -2 && now_ms() < end; status = wait_exit(s->pid, 10))
        if (logged(s, "ready directory="))
            (void)kill(s->pid, SIGTERM);
    s->pid = 0;
    return status;
}

CASE(without_getrandom_it_starts_or_says_why_not, 10)
{
    char root[128], program[160], command[512];
    if (narrow || instrumented)
        skip("an emulator asks for it itself");
    struct server *s = new_server();
    int status = run_without_getrandom(s, binary, NULL);
    if (status == 125)
        skip("no filter of system calls");
    if (status != 0 || !logged(s, "ready directory=")) /* with /dev/urandom */
        fail("status %d", status);
    if (geteuid() != 0)
        skip("no chroot, as this is not root");
    (void)snprintf(root, sizeof root, "%s/root", folder);
    (void)snprintf(program, sizeof program, "%s/nascar_server", root);
    (void)snprintf(command, sizeof command, "mkdir '%s' && cp '%s' '%s'", root, binary, program);
    EXPECT(system(command) == 0);
    s = new_server();
    EXPECT(run_without_getrandom(s, "/nascar_server", root) == 1);
    EXPECT(logged(s, "no random numbers") && logged(s, "/dev/urandom"));
}
