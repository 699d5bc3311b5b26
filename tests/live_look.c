/* What an operator of the real binary sees: figures that agree with the system's,
 * a log in JSON, and a log that a flood does not fill.
 *
 * SPDX-License-Identifier: MIT */
#include "logs.h"
#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int control_of(const struct server *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT(snprintf(address.sun_path, sizeof address.sun_path, "%s/control", s->data) < (int)sizeof address.sun_path);
    EXPECT(connect(fd, (const struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

/* All that `stats` says, asked for by a frame. */
struct told {
    size_t count;
    char name[128][32];
    unsigned long long value[128];
};

static void ask_stats(int fd, struct told *told)
{
    char kind[5], payload[CONSOLE_FRAME_BYTES];
    told->count = 0;
    raw_send(fd, "csta", "");
    while (raw_frame(fd, kind, payload, 3000) && strcmp(kind, "line") == 0) {
        EXPECT(told->count < 128);
        EXPECT(sscanf(payload, "name=%31s\nvalue=%llu\n", told->name[told->count], &told->value[told->count]) == 2);
        told->count++;
    }
    EXPECT(strcmp(kind, "csta") == 0 && strstr(payload, "STATUS=1") != NULL);
}

static unsigned long long told_of(const struct told *told, const char *name)
{
    for (size_t i = 0; i < told->count; i++)
        if (strcmp(told->name[i], name) == 0)
            return told->value[i];
    fail("stats do not tell %s", name);
    return 0;
}

static unsigned count_descriptors(pid_t pid)
{
    char path[64];
    unsigned count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder_of = opendir(path);
    EXPECT(folder_of != NULL);
    while (folder_of && readdir(folder_of))
        count++;
    (void)closedir(folder_of);
    return count - 2; /* . and .. */
}

CASE_BESIDE(stats_agree_with_the_system, 10)
{
    struct server *s = START(CHEAP);
    struct console *a = player(s, "Alice"), *b = player(s, "Bob");
    static struct told first, told;
    struct stat journal;
    char path[160];
    enter(a, "East");
    enter(b, "East");
    int fd = control_of(s);
    ask_stats(fd, &first);
    talk(a, b, "how fast am I");
    (void)raw_open(s, LOBBY, LOCALHOST);
    run_for(1100);
    ask_stats(fd, &told);
    (void)snprintf(path, sizeof path, "%s/journal", s->data);
    EXPECT(stat(path, &journal) == 0);
    EXPECT(told_of(&told, "journal_bytes") == (unsigned long long)journal.st_size);
    EXPECT(told_of(&told, "journal_syncs") >= 2 && told_of(&told, "journal_batches") >= 2);
    EXPECT(told_of(&told, "descriptors") == count_descriptors(s->pid));
    EXPECT(told_of(&told, "uptime_s") >= 1 && told_of(&told, "uptime_s") < 10);
    EXPECT(told_of(&told, "players") == 2 && told_of(&told, "logins") == 2 && told_of(&told, "logins_buddy") == 2);
    EXPECT(told_of(&told, "connections_persona") == 2 && told_of(&told, "connections_buddy") == 2);
    EXPECT(told_of(&told, "connections_new") == 1 && told_of(&told, "connections_control") == 1);
    EXPECT(told_of(&told, "connections") == 6 && told_of(&told, "accounts_made") == 2);
    EXPECT(told_of(&told, "chat_lines") == told_of(&first, "chat_lines") + 1);
    EXPECT(told_of(&told, "bytes_in") > told_of(&first, "bytes_in") + 20);
    EXPECT(told_of(&told, "bytes_out") > told_of(&first, "bytes_out") + first.count * 30);
    EXPECT(told_of(&told, "hashes") == 2 && told_of(&told, "hashes_waiting") == 0);
    (void)close(fd);
}

/* From its first line to its last, but for what is said before it runs. */
CASE_BESIDE(the_log_is_json_where_it_is_asked_to_be, 10)
{
    static struct log_pairs pairs;
    struct server *s = START(CHEAP, "--log-format", "json", "--log-level", "debug");
    struct console *a = player(s, "Alice");
    enter(a, "East");
    EXPECT(!raw_asks(raw_open(s, LOBBY, LOCALHOST), "a\"\\~", "N=\"%22\"\n", "STATUS=1", 2000));
    EXPECT(kill(s->pid, SIGHUP) == 0);
    UNTIL(2000, logged(s, "\"event\":\"reloaded\""));
    (void)stop(s, SIGTERM);
    size_t lines = 0, stops = 0;
    for (const char *line = contents(s->log); *line != '\0'; line += strcspn(line, "\n") + 1, lines++) {
        const char *wrong = log_read_json(line, strcspn(line, "\n"), &pairs);
        if (wrong || strcmp(pairs.pair[0].key, "time") != 0 || strcmp(pairs.pair[1].key, "level") != 0)
            fail("a line with %s: %.*s", wrong ? wrong : "no time and level", (int)strcspn(line, "\n"), line);
        stops += strcmp(log_value(&pairs, "event"), "stop") == 0;
    }
    EXPECT(lines > 10 && stops == 1 && logged(s, "\"account\":\"Alice\",\"persona\":\"Alice\""));
}

/* So many connect and hang up as this machine can make in two seconds. */
CASE_BESIDE(a_flood_of_connections_does_not_fill_the_log, 15)
{
    struct server *s = START(CHEAP);
    struct console *a = player(s, "Alice");
    run_for(1100);
    size_t before = log_lines(s, "time=", NULL), tries = 0;
    uint64_t began_ms = now_ms();
    while (now_ms() - began_ms < 2000) {
        int fd = raw_open(s, LOBBY, LOCALHOST + 1 + (uint32_t)(tries++ % 200));
        (void)close(fd);
        if (tries % 100 == 0)
            run_for(1);
    }
    enter(a, "East");
    run_for(1500);
    size_t lines = log_lines(s, "time=", NULL) - before;
    unsigned long left_out = 0;
    for (const char *at = contents(s->log); (at = strstr(at, "lines_left_out n=")) != NULL; at++)
        left_out += strtoul(at + 17, NULL, 10);
    note("%zu connections in 2 s: %zu lines in the log, %lu left out\n", tries, lines, left_out);
    EXPECT(tries > 200 && lines < 60 && left_out + lines > 2 * tries - 20);
    EXPECT(log_lines(s, "event=move", "persona=\"Alice\"") == 1);
}
