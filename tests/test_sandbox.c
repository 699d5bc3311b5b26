/* What the server may still ask of the system once it runs: the tables of calls, as
 * the kernel keeps them; the folders that Landlock leaves; how root is given up; and
 * whom --user means. Each try is made by a child, which cannot take it back.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "suite.h"

#include <sched.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

GROUP(sandbox, NULL, NULL, 60);

#ifdef __has_feature
#define HAS_SANITIZER __has_feature(address_sanitizer)
#else
#define HAS_SANITIZER 0
#endif

/* valgrind and sanitizers make calls of their own. */
static bool makes_other_calls(void)
{
    const char *loaded = getenv("LD_PRELOAD");
    return HAS_SANITIZER || (loaded && strstr(loaded, "valgrind"));
}

/* In the child: says what is wrong, and where, and ends it. */
#define NEED(condition) \
    do { \
        if (!(condition)) { \
            char wrong[256]; \
            int chars = snprintf(wrong, sizeof wrong, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); \
            (void)!write(STDERR_FILENO, wrong, (size_t)chars); \
            _exit(1); \
        } \
    } while (0)
#define NOT_HERE 77

/* Runs it in a child; returns how that has ended, as wait() says. */
static int ended(void run(void))
{
    int status = -1;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        run();
        _exit(0);
    }
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE)
        (void)fprintf(stderr, "not tried: this kernel or emulator does not have it\n");
    return status;
}

static void runs_well(void run(void))
{
    int status = makes_other_calls() ? 0 : ended(run);
    ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == NOT_HERE),
                  "it ended with %#x", (unsigned)status);
}

static void filter_calls_of_server(size_t count)
{
    struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO};
    NEED(sigaction(SIGSYS, &action, NULL) == 0);
    NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (strcmp(filter_calls(server_calls, count), "on") != 0)
        _exit(NOT_HERE);
}

#define ALL_CALLS (sizeof server_calls / sizeof server_calls[0])

static void filter_the_server(void)
{
    filter_calls_of_server(ALL_CALLS - DNS_CALLS);
}

/* ---- Calls ---------------------------------------------------------------------- */

/* It is refused, and noticed, and the process goes on. */
#define REFUSED(number, ...) \
    do { \
        refused_call = -1; \
        errno = 0; \
        NEED(syscall(number, __VA_ARGS__) == -1 && errno == EPERM && refused_call == (int)(number)); \
    } while (0)

static void try_what_takes_over(void)
{
    char *const nothing[] = {NULL};
    filter_the_server();
    REFUSED(SYS_execve, "/bin/true", nothing, nothing);
    REFUSED(SYS_execveat, AT_FDCWD, "/bin/true", nothing, nothing, 0);
    REFUSED(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
    REFUSED(SYS_process_vm_writev, getpid(), NULL, 0L, NULL, 0L, 0L);
    REFUSED(SYS_mprotect, NULL, 4096L, (long)(PROT_READ | PROT_EXEC));
#ifdef SYS_mmap2
    REFUSED(SYS_mmap2, NULL, 4096L, (long)(PROT_WRITE | PROT_EXEC), (long)(MAP_PRIVATE | MAP_ANONYMOUS), -1L, 0L);
#else
    REFUSED(SYS_mmap, NULL, 4096L, (long)(PROT_WRITE | PROT_EXEC), (long)(MAP_PRIVATE | MAP_ANONYMOUS), -1L, 0L);
#endif
    REFUSED(SYS_clone, (long)(CLONE_VM | CLONE_FS | SIGCHLD), 0L, 0L, 0L, 0L);
    REFUSED(SYS_clone, (long)(CLONE_NEWUSER | SIGCHLD), 0L, 0L, 0L, 0L);
    REFUSED(SYS_unshare, (long)CLONE_NEWUSER);
    REFUSED(SYS_prctl, (long)PR_SET_DUMPABLE, 1L, 0L, 0L, 0L);
    REFUSED(SYS_prlimit64, (long)getppid(), (long)RLIMIT_NOFILE, NULL, NULL);
}

static void try_what_reaches_out(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), local = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9)};
    NEED(fd >= 0 && local >= 0);
    filter_the_server();
    REFUSED(SYS_socket, (long)AF_INET, (long)SOCK_STREAM, 0L);
    REFUSED(SYS_socket, (long)AF_INET6, (long)SOCK_DGRAM, 0L);
    REFUSED(SYS_socket, 16L /* netlink */, (long)SOCK_RAW, 0L);
    REFUSED(SYS_connect, fd, &address, sizeof address);
    REFUSED(SYS_connect, local, &control_address, sizeof control_address);
    REFUSED(SYS_sendmsg, fd, NULL, 0L);
    REFUSED(SYS_recvmsg, fd, NULL, 0L);
#ifdef SYS_socketcall
    REFUSED(SYS_socketcall, 1L, NULL); /* socket */
    REFUSED(SYS_socketcall, 3L, NULL); /* connect */
#endif
}

/* With --dns, a question comes and is answered, on a socket that was there before; there is no other. */
static void try_dns(void)
{
    struct options o;
    uint32_t port = 0;
    uint8_t bytes[16];
    options_defaults(&o);
    o.bind_address = 0x7F000001;
    int fd = open_port(&o, LISTENERS, &port);
    NEED(fd >= 0);
    filter_calls_of_server(ALL_CALLS);
    struct nascar_datagram to = {.peer = 0x7F000001, .port = port, .local = 0x7F000009, .bytes = bytes, .size = 3};
    struct nascar_datagram from = {.bytes = bytes, .size = sizeof bytes};
    NEED(system_exchange(NULL, fd, true, &to) == 3);
    NEED(system_exchange(NULL, fd, false, &from) == 3);
    NEED(from.peer == 0x7F000009 && from.local == 0x7F000001);
    REFUSED(SYS_socket, (long)AF_INET, (long)SOCK_DGRAM, 0L);
    REFUSED(SYS_connect, fd, NULL, 0L);
}

TEST(sandbox, with_dns_there_are_two_calls_more)
{
    runs_well(try_dns);
}

static void try_what_changes_the_system(void)
{
    filter_the_server();
    REFUSED(SYS_setuid, 0L);
    REFUSED(SYS_chroot, "/");
    REFUSED(SYS_mount, NULL, "/", NULL, 0L, NULL);
    REFUSED(SYS_reboot, 0L, 0L, 0L, NULL);
    REFUSED(SYS_init_module, NULL, 0L, "");
    REFUSED(SYS_bpf, 0L, NULL, 0L);
    REFUSED(SYS_symlinkat, "x", (long)AT_FDCWD, "/tmp/x");
    REFUSED(SYS_ioctl, 0L, 0L, 0L);
    REFUSED(400000L, 0L); /* no such call */
}

TEST(sandbox, calls_that_run_another_program_or_code_are_refused)
{
    runs_well(try_what_takes_over);
}

TEST(sandbox, calls_that_reach_out_are_refused)
{
    runs_well(try_what_reaches_out);
}

TEST(sandbox, calls_that_change_the_system_are_refused)
{
    runs_well(try_what_changes_the_system);
}

#ifdef __x86_64__
/* The call by the door of 32 bits, where the numbers mean other things: 20 is getpid there, writev here. */
static long getpid_of_32_bits(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static void try_32_bits(void)
{
    NEED(getpid_of_32_bits() == getpid());
}

static void try_other_numbers(void)
{
    filter_the_server();
    REFUSED(0x40000000L | SYS_getpid, 0L); /* x32 */
    REFUSED(0x40000000L | SYS_read, -1L, NULL, 0L);
}

static void try_32_bits_filtered(void)
{
    filter_the_server();
    NEED(getpid_of_32_bits() == -EPERM && refused_call == 20);
}

TEST(sandbox, no_other_door_leads_in)
{
    runs_well(try_other_numbers);
    if (!makes_other_calls() && ended(try_32_bits) == 0)
        runs_well(try_32_bits_filtered);
}
#endif

/* All that the loop asks of the system, and the libc calls beside it. */
static void try_the_servers_own(void)
{
    char folder[] = "/tmp/nascar-sandbox-XXXXXX", bytes[64], path[64];
    size_t size = 0;
    uint32_t peer, local;
    bool hang_up;
    int process = 0;
    struct folder_lock lock = {-1, 0, 0, 0};
    struct hash_answer answer;
    struct hash_question question = {.number = 7, .cost = 4};
    struct sandbox confined = {.wanted = true, .control_gid = NONE};
    struct tail tail = {0, 0, {0}};
    const struct nascar_sys *sys = &system_calls;
    int signals = open_signals(), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    copy_text(question.job.fresh, sizeof question.job.fresh, "secret");
    NEED(mkdtemp(folder) && listen(listener, 1) == 0);
    (void)snprintf(path, sizeof path, "%s/data", folder);
    NEED(mkdir(path, 0700) == 0);
    int at = open(path, O_RDONLY | O_DIRECTORY);
    filter_the_server();
    NEED(sys->poll(NULL, NULL, 0, 1) == 0 && sys->signal(NULL, signals, &hang_up) == 0);
    NEED(raise(SIGHUP) == 0 && sys->signal(NULL, signals, &hang_up) == SIGHUP);
    NEED(sys->accept(NULL, listener, &peer, &local) == -1 && errno == EAGAIN);
    NEED(sys->entropy(NULL, bytes, sizeof bytes) && sys->mono_ms(NULL) > 0 && sys->wall_s(NULL) > 0);
    NEED(rmdir(path) == 0 || refused_call != -1); /* not asked: folders stay */
    refused_call = -1;
    NEED(sys->control(NULL, at, NONE) >= 0 && sys->sign(NULL, at, &lock.pid_file));
    int fd = sys->open(NULL, at, "journal", true), spare = sys->spare(NULL, fd);
    NEED(fd >= 0 && spare >= 0 && sys->append(NULL, fd, "word", 4) && sys->truncate(NULL, fd, 3));
    uint8_t *loaded = sys->load(NULL, fd, &size);
    NEED(loaded && size == 3 && sys->sync(NULL, fd) && sys->sync_folder(NULL, at));
    sys->unload(NULL, loaded, size);
    NEED(sys->rename(NULL, at, "journal", "other") && sys->set_aside(NULL, at, "other") == 1);
    (void)snprintf(path, sizeof path, "%s/data/journal", folder);
    NEED(sys->changed(NULL, path, fd, 3, &tail) != NULL);
    (void)snprintf(path, sizeof path, "%s/more", folder);
    NEED((at = sys->folder(NULL, path, at, &lock)) >= 0); /* which it makes */
    (void)snprintf(path, sizeof path, "%s/log", folder);
    int log = sys->log_open(NULL, path);
    NEED(log >= 0 && sys->log(NULL, log, "line\n", 5) == 5);
    sys->close(NULL, log);
    FILE *file = fopen(path, "re");
    NEED(file && fgets(bytes, sizeof bytes, file) && fclose(file) == 0);
    void *grown = malloc(1 << 20);
    NEED(grown && (grown = realloc(grown, 8 << 20)) != NULL);
    free(grown);
    int helper = sys->helper(&confined, &process);
    NEED(helper >= 0 && fcntl(helper, F_SETFL, 0) == 0 && sys->write(NULL, helper, &question, sizeof question) > 0);
    NEED(sys->read(NULL, helper, &answer, sizeof answer) == sizeof answer && answer.number == 7);
    NEED(strncmp(answer.fresh, "$2b$04$", 7) == 0);
    sys->kill(NULL, process);
    NEED(sys->read(NULL, helper, &answer, sizeof answer) == 0);
    NEED(sys->remove != NULL && unlinkat(AT_FDCWD, path, 0) == 0);
    NEED(sys->room(NULL, at) > 0 && sys->stands(NULL, at, ".") && !sys->stands(NULL, at, "nothing"));
    NEED(refused_call == -1);
}

static void remove_folders(void)
{
    (void)!system("rm -rf /tmp/nascar-sandbox-??????");
}

TEST(sandbox, the_servers_own_calls_are_allowed)
{
    runs_well(try_the_servers_own);
    remove_folders();
}

/* ---- The helper ------------------------------------------------------------------ */

static void confine_the_helper(void)
{
    const struct sandbox confined = {.wanted = true, .control_gid = NONE};
    NEED(confine_child(&confined, CALLS_OF(helper_calls)));
    if (prctl(PR_GET_SECCOMP) != 2)
        _exit(NOT_HERE);
}

static void helper_opens_a_file(void)
{
    confine_the_helper();
    (void)open("/dev/null", O_RDONLY);
}

static void helper_forks(void)
{
    confine_the_helper();
    (void)fork();
}

static void helper_makes_a_socket(void)
{
    confine_the_helper();
    (void)socket(AF_UNIX, SOCK_STREAM, 0);
}

static void helper_asks_who_it_is(void)
{
    confine_the_helper();
    (void)getppid();
}

TEST(sandbox, the_helper_is_ended_by_any_call_but_its_own)
{
    void (*const tries[])(void) = {helper_opens_a_file, helper_forks, helper_makes_a_socket, helper_asks_who_it_is};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0] && !makes_other_calls(); i++) {
        int status = ended(tries[i]);
        ck_assert_msg((WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) ||
                          (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE),
                      "try %zu ended with %#x", i, (unsigned)status);
    }
}

/* ---- What is noticed ---------------------------------------------------------------- */

TEST(sandbox, a_refused_call_is_in_the_log_once)
{
    static struct shell sh;
    sh.options.log_level = NASCAR_LOG_INFO;
    sh.sys = &system_calls;
    tell_refused(&sh);
    ck_assert_uint_eq(sh.log_size, 0);
    refused_call = 0; /* a number, too */
    for (int i = 0; i < 3; i++)
        tell_refused(&sh);
    ck_assert_ptr_nonnull(strstr(sh.log, "level=error event=call_refused call=0 advice="));
    uint32_t size = sh.log_size;
    ck_assert_ptr_eq(memchr(sh.log, '\n', size), sh.log + size - 1);
    refused_call = 59;
    tell_refused(&sh);
    ck_assert_uint_gt(sh.log_size, size);
    refused_call = -1;
}

/* ---- Files --------------------------------------------------------------------------- */

static void write_words(const char *path)
{
    FILE *file = fopen(path, "w");
    NEED(file && fputs("words\n", file) >= 0 && fclose(file) == 0);
}

/* Whether it can be opened so, from now. */
static bool opens(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

static void try_folders(void)
{
    static struct shell sh;
    char folder[] = "/tmp/nascar-sandbox-XXXXXX";
    struct options *o = &sh.options;
    const char *const made[] = {"home", "home/data", "log", "etc", "etc/more", "elsewhere", "text"};
    const char *const files[] = {"log/a", "etc/conf", "text/news", "elsewhere/file", "home/beside"};
    NEED(mkdtemp(folder) && chdir(folder) == 0);
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
        NEED(mkdir(made[i], 0700) == 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        write_words(files[i]);
    NEED(symlink("../text/news", "etc/news") == 0 && symlink("x", "home/data/link") == 0);
    NEED(mkfifo("home/data/fifo", 0600) == 0 && mkdir("home/data/folder", 0700) == 0);
    copy_text(sh.data, sizeof sh.data, "home/data");
    copy_text(o->log_file, sizeof o->log_file, "log/a");
    copy_text(o->news_file, sizeof o->news_file, "etc/news");
    o->config_file = "etc/conf";
    sh.folder = open("home/data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (strcmp(restrict_files(&sh), "on") != 0)
        _exit(NOT_HERE);
    /* the data */
    NEED(opens("home/data/journal", O_RDWR | O_CREAT | O_TRUNC) && unlink("home/data/journal") == 0);
    NEED(rename("home/data", "home/moved") == 0 || errno == EACCES || errno == EXDEV);
    NEED(opens("home/data", O_RDONLY | O_DIRECTORY));
    NEED(mkdir("home/again", 0700) == 0 && opens("home/again/journal", O_RDWR | O_CREAT));
    NEED(system_control(NULL, sh.folder, NONE) >= 0);
    NEED(system_set_aside(NULL, sh.folder, "link") == 1 && system_set_aside(NULL, sh.folder, "fifo") == 1);
    NEED(system_set_aside(NULL, sh.folder, "folder") == 1); /* as somebody may put them in the journal's place */
    /* the log */
    NEED(opens("log/a", O_WRONLY | O_APPEND) && opens("log/b", O_WRONLY | O_APPEND | O_CREAT));
    NEED(!opens("log/a", O_RDONLY) && errno == EACCES && unlink("log/a") == -1);
    /* what a reload reads */
    NEED(opens("etc/conf", O_RDONLY) && opens("etc/news", O_RDONLY) && opens("text/news", O_RDONLY));
    NEED(!opens("etc/conf", O_WRONLY) && errno == EACCES && !opens("etc/new", O_WRONLY | O_CREAT));
    /* all else */
    NEED(!opens("elsewhere/file", O_RDONLY) && errno == EACCES && !opens("elsewhere", O_RDONLY));
    NEED(!opens("elsewhere/new", O_WRONLY | O_CREAT) && mkdir("elsewhere/new", 0700) == -1);
    NEED(!opens("/etc/passwd", O_RDONLY) && errno == EACCES && !opens("/tmp/nascar-x", O_WRONLY | O_CREAT));
    NEED(unlink("elsewhere/file") == -1 && errno == EACCES);
    NEED(symlink("x", "elsewhere/link") == -1 && errno == EACCES && mkfifo("elsewhere/fifo", 0600) == -1);
    NEED(execl("/bin/true", "true", (char *)NULL) == -1 && errno == EACCES);
    NEED(opens("/dev/urandom", O_RDONLY) && try_terminal() != EACCES);
}

TEST(sandbox, only_folders_that_it_needs_are_left_to_it)
{
    runs_well(try_folders);
    remove_folders();
}

static void try_tcp(void)
{
    struct rules rules;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (syscall(LANDLOCK_CREATE, NULL, (size_t)0, ASK_VERSION) < 4)
        _exit(NOT_HERE);
    NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    NEED(rules_begin(&rules, false) && strcmp(rules_end(&rules), "on") == 0);
    NEED(bind(fd, (struct sockaddr *)&address, sizeof address) == -1 && errno == EACCES);
    address.sin_port = htons(9);
    NEED(connect(fd, (struct sockaddr *)&address, sizeof address) == -1 && errno == EACCES);
}

TEST(sandbox, no_port_is_opened_any_more)
{
    runs_well(try_tcp);
}

static void try_the_root_folder(void)
{
    struct rules rules;
    if (!rules_begin(&rules, false))
        _exit(NOT_HERE);
    NEED(!allow_beneath(&rules, AT_FDCWD, "/", MAY_USE_DATA));
    NEED(!allow_beneath(&rules, AT_FDCWD, "/tmp/..", MAY_USE_DATA));
    NEED(!allow_beneath(&rules, AT_FDCWD, "/nowhere", MAY_READ_FILE));
    NEED(allow_beneath(&rules, AT_FDCWD, "/tmp", MAY_READ_FILE));
    rules.whole = true;
    NEED(allow_beneath(&rules, AT_FDCWD, "/", MAY_USE_DATA));
}

TEST(sandbox, the_root_folder_is_never_left_to_it_as_a_whole)
{
    runs_well(try_the_root_folder);
}

/* ---- Root ------------------------------------------------------------------------------- */

static void try_to_take_root_back(void)
{
    char folder[] = "/tmp/nascar-sandbox-XXXXXX";
    struct sandbox x = {.gives_up = true, .uid = 65534, .gid = 65533, .control_gid = NONE};
    gid_t groups[8];
    const gid_t before[] = {0, 4, 27};
    if (geteuid() != 0 || setgroups(3, before) != 0)
        _exit(NOT_HERE);
    NEED(mkdtemp(folder) && chmod(folder, 0777) == 0 && chdir(folder) == 0);
    NEED(act_as_user(&x, true) && geteuid() == 65534 && getegid() == 65533 && getgroups(8, groups) == 0);
    NEED(!opens("/etc/shadow", O_RDONLY));
    struct stat status;
    NEED(opens("his", O_WRONLY | O_CREAT) && stat("his", &status) == 0 && status.st_uid == 65534 &&
         status.st_gid == 65533);
    NEED(act_as_user(&x, false) && geteuid() == 0 && getegid() == 0);
    NEED(act_as_user(&x, true));
    NEED(give_up_root(&x) == NULL);
    NEED(getuid() == 65534 && geteuid() == 65534 && getgid() == 65533 && getegid() == 65533);
    NEED(setuid(0) == -1 && seteuid(0) == -1 && setgid(0) == -1 && setgroups(0, NULL) == -1);
    NEED(strstr(give_up_root(&x), "may not") != NULL); /* nor is it given up twice without a word */
    x.has_given = true;
    NEED(give_up_root(&x) == NULL && confine_child(&x, CALLS_OF(helper_calls)));
}

TEST(sandbox, root_is_given_up_for_good)
{
    if (geteuid() != 0)
        (void)fprintf(stderr, "not tried: this is not root, who could give it up\n");
    runs_well(try_to_take_root_back);
    remove_folders();
}

/* ---- Whom --user means -------------------------------------------------------------------- */

static char ids_path[64];

static void write_ids(void)
{
    (void)snprintf(ids_path, sizeof ids_path, "/tmp/nascar-sandbox-%d", (int)getpid());
    FILE *file = fopen(ids_path, "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs(
        "root:x:0:0:root:/root:/bin/sh\n\nbroken\nhalf:x:5\nletters:x:six:7::\n"
        "ann:x:1001:2001:Ann:/home/ann:/bin/sh\nannette:x:1002:2002::\n:x:1003:2003::\n1001:x:1004:2004::\nlong:x:3:",
        file);
    for (int i = 0; i < 500; i++)
        (void)fprintf(file, "member%d,", i);
    (void)fputs("\nlast:x:1005:2005", file);
    (void)fclose(file);
}

static void remove_ids(void)
{
    (void)unlink(ids_path);
}

GROUP(ids, write_ids, remove_ids, 0);

TEST(ids, are_found_by_name_and_by_number)
{
    const struct {
        const char *name;
        uint32_t id, group;
    } known[] = {{"root", 0, 0},       {"ann", 1001, 2001},  {"annette", 1002, 2002},
                 {"1002", 1002, 2002}, {"last", 1005, 2005}, {"1001", 1001, 2001}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint32_t id = 9, group = 9;
        ck_assert_msg(find_id(ids_path, known[i].name, &id, &group), "%s", known[i].name);
        ck_assert_uint_eq(id, known[i].id);
        ck_assert_uint_eq(group, known[i].group);
    }
}

TEST(ids, of_others_are_not_found)
{
    const char *const unknown[] = {"an",     "nn",      "Ann",      "ann:x", "half", "letters",
                                   "broken", "member7", "member7,", "99",    "x"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        uint32_t id, group;
        ck_assert_msg(!find_id(ids_path, unknown[i], &id, &group), "%s", unknown[i]);
    }
    uint32_t id, group;
    ck_assert(!find_id("/nowhere", "root", &id, &group));
    ck_assert(!find_id(ids_path, "long", &id, &group));
    ck_assert(find_id(ids_path, "long", &id, NULL)); /* a group, with members */
    ck_assert_uint_eq(id, 3);
}

TEST(ids, a_path_reads_as_it_does_in_the_folder_of_chroot)
{
    jail.path = "/srv/nascar/";
    jail.chars = 11;
    ck_assert_str_eq(path_now("/srv/nascar/data"), "/srv/nascar/data");
    jail.entered = true;
    ck_assert_str_eq(path_now("/srv/nascar/data"), "/data");
    ck_assert_ptr_null(path_now("data")); /* relative to where it was */
    ck_assert_ptr_null(path_now("/srv/nascars/data"));
    ck_assert_ptr_null(path_now("/srv/nascar"));
    ck_assert_ptr_null(path_now("/etc/passwd"));
    jail.path = "/"; /* which changes nothing */
    jail.chars = 0;
    ck_assert_str_eq(path_now("/etc/passwd"), "/etc/passwd");
    memset(&jail, 0, sizeof jail);
}
