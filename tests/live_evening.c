/* The live test, of a community's bad evening: an operator, a script that watches, two who
 * want to play, and one who will not behave, all of them behind a proxy.
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "proxies.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define CTL(s, ...) RUN("ctl", "--data", (s)->data, __VA_ARGS__)

/* Done, and the answer holds this. */
#define DONE(run, part) \
    do { \
        const struct outcome *o_ = (run); \
        if (o_->status != 0 || o_->err[0] != '\0' || strstr(o_->out, part) == NULL) \
            fail("line %d: status %d, `%s`, `%s`", __LINE__, o_->status, o_->out, o_->err); \
    } while (0)

/* Not done, and it says why. */
#define NOT_DONE(run, part) \
    do { \
        const struct outcome *o_ = (run); \
        if (o_->status != 1 || strstr(o_->err, part) == NULL) \
            fail("line %d: status %d, `%s`, `%s`", __LINE__, o_->status, o_->out, o_->err); \
    } while (0)

#define PEST_IP (LOCALHOST + 20)
#define PEST_ELSEWHERE (LOCALHOST + 21)
#define HOME_IP 0xC0000209u       /* 192.0.2.9 */
#define HOME_LATER_IP 0xC000024Du /* 192.0.2.77 */

static struct server *s;
static struct console *ann, *bob;

/* Whatever else goes on, those who came to play do. */
static void play_on(void)
{
    static unsigned lines;
    char text[40];
    (void)snprintf(text, sizeof text, "lap %u", ++lines);
    talk(ann, bob, text);
    (void)snprintf(text, sizeof text, "lap %u, too", lines);
    talk(bob, ann, text);
    EXPECT(ann->misled[0] == '\0' && bob->misled[0] == '\0');
}

static struct console *pest_comes(const char *account, const char *persona, uint32_t ip)
{
    struct seat *seat = seat_new(s, ip);
    console_login(seat->console, account, PASSWORD, persona);
    UNTIL(5000, settled(seat->console));
    enter(seat->console, "East");
    return seat->console;
}

/* Somebody who logs in from there is refused, and his console says so. */
static void is_kept_out(const char *account, uint32_t ip)
{
    struct seat *seat = seat_new(s, ip);
    console_login(seat->console, account, PASSWORD, account);
    UNTIL(5000, seat->console->refused != 0 || seat->console->down[0] != '\0');
    EXPECT(seat->console->stage != CONSOLE_INSIDE);
}

static void the_pest_is_muted_and_banned(void)
{
    struct console *pest = pest_comes("Pest", "Loud", PEST_IP);
    for (int i = 0; i < 20; i++)
        console_chat(pest, "spam spam spam");
    talk(pest, ann, "you all drive like snails");
    console_report_abuse(ann, "Loud");
    UNTIL(3000, logged(s, "\"event\":\"report\""));
    DONE(CTL(s, "reports"), "Loud");
    DONE(CTL(s, "reports", "--json"), "\"about\":\"Loud\"");
    DONE(CTL(s, "reports", "1"), "you all drive like snails");
    DONE(CTL(s, "mute", "Loud", "--for", "1h"), "Pest");
    size_t before = console_saw(ann, "Loud", "and you?");
    console_chat(pest, "and you?");
    UNTIL(3000, console_saw(pest, "Loud", "and you?") == 1); /* he cannot know */
    play_on();
    EXPECT(console_saw(ann, "Loud", "and you?") == before);
    DONE(CTL(s, "kick", "Loud", "mind your words"), "Pest");
    UNTIL(3000, pest->stage != CONSOLE_INSIDE);
    EXPECT(console_saw(pest, "Server", "You have been put out by the operator: mind your words") == 1);
    pest = pest_comes("Pest", "Louder", PEST_ELSEWHERE); /* another persona, another address */
    before = console_saw(bob, "Louder", "me again");
    console_chat(pest, "me again");
    play_on();
    EXPECT(console_saw(bob, "Louder", "me again") == before); /* muted still */
    DONE(CTL(s, "ban", "Louder", "--for", "7d", "--reason", "enough"), "Pest");
    UNTIL(3000, pest->stage != CONSOLE_INSIDE);
    is_kept_out("Pest", PEST_IP);
    is_kept_out("Pest", PEST_ELSEWHERE);
    play_on();
}

static void he_comes_back_with_new_accounts(void)
{
    struct console *pest = pest_comes("Pest2", "Pest2", PEST_ELSEWHERE);
    DONE(CTL(s, "ban", "127.0.0.22", "--reason", "you know why"), "127.0.0.22"); /* PEST_ELSEWHERE */
    UNTIL(3000, pest->stage != CONSOLE_INSIDE);
    struct seat *seat = seat_new(s, PEST_ELSEWHERE);
    console_login(seat->console, "Pest3", PASSWORD, "Pest3");
    UNTIL(5000, seat->console->down[0] != '\0');
    EXPECT(strstr(seat->console->down, "you know why") != NULL);
    DONE(CTL(s, "bans"), "127.0.0.22");
    DONE(CTL(s, "bans", "--json"), "\"reason\":\"enough\"");
    DONE(CTL(s, "delete", "Pest"), "Pest"); /* a ban outlives the account */
    is_kept_out("Pest", PEST_IP);
    play_on();
}

static const char *hosts; /* the server's own /etc/hosts */

/* Only the server sees that, in a name space of mounts. */
static void see_own_hosts(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(hosts, "/etc/hosts", NULL, MS_BIND, NULL) != 0)
        _exit(126);
}

/* Can it? Where it cannot, the operator types in the addresses that it would have found. */
static bool names_can_change(void)
{
    hosts = write_file(NULL, "192.0.2.9 home.example.net\n");
    before_exec = see_own_hosts;
    bool can = RUN("--version")->status == 0;
    before_exec = NULL;
    return can;
}

/* Writes the configuration, with this public address and these lines at its end. */
static void configure(const char *config, const char *address, const char *more)
{
    char text[320];
    (void)snprintf(text, sizeof text,
                   "proxy-from = 127.0.0.99/32\nlan = off\nroom = East: East Coast Racers: 50\n"
                   "public-address = %s\n%s",
                   address, more);
    (void)write_file(config, text);
}

/* The address of the operator's home changes; his router says `ctl reload`. Who is in stays
 * in, and who comes now is sent to the new one. */
static const char *the_address_changes(const char *config, bool names_change)
{
    const char *address = names_change ? "home.example.net" : "192.0.2.77";
    if (names_change)
        (void)write_file(hosts, "192.0.2.77 home.example.net\n");
    else
        configure(config, address, "");
    DONE(CTL(s, "reload"), names_change ? "as it was" : "public-address");
    if (names_change)
        UNTIL(5000, logged(s, "\"from\":\"192.0.2.9\",\"to\":\"192.0.2.77\""));
    s->public_ip = HOME_LATER_IP;
    play_on();
    enter(player_from(s, "Late", LOCALHOST + 13)->console, "East");
    play_on();
    return address;
}

CASE(a_community_has_a_bad_evening, 60)
{
    bool names_change = names_can_change();
    const char *address = names_change ? "home.example.net" : "192.0.2.9";
    const char *config = write_file(NULL, "");
    const char *const arguments[] = {CHEAP,          "--bind", "127.0.0.3", "--config", config,
                                     "--log-format", "json",   "--rate",    "1000",     NULL};
    configure(config, address, "");
    before_exec = names_change ? see_own_hosts : NULL;
    s = start_behind_proxies(arguments, 2);
    before_exec = NULL;
    if (names_change)
        UNTIL(5000, logged(s, "\"event\":\"public_address\""));
    s->public_ip = HOME_IP;
    ann = player_from(s, "Ann", LOCALHOST + 10)->console;
    bob = player_from(s, "Bob", LOCALHOST + 11)->console;
    enter(ann, "East");
    enter(bob, "East");
    play_on();
    the_pest_is_muted_and_banned();
    address = the_address_changes(config, names_change);
    he_comes_back_with_new_accounts();
    configure(config, address, "news = /nowhere\nrate = fast\n");
    NOT_DONE(CTL(s, "reload"), "rate: expected a number");
    play_on();
    configure(config, address, "down = Back at eight.\n");
    DONE(CTL(s, "reload"), "down");
    is_kept_out("Dan", LOCALHOST + 12);
    play_on(); /* whoever is in stays in */
    configure(config, address, "");
    DONE(CTL(s, "reload", "--json"), "\"key\":\"down\"");
    DONE(CTL(s, "unban", "Pest"), "Pest");
    DONE(CTL(s, "unban", "127.0.0.22"), "127.0.0.22");
    NOT_DONE(CTL(s, "unban", "Pest"), "Pest is not banned");
    DONE(CTL(s, "reports", "--close", "1"), "");
    DONE(CTL(s, "say", "sorry for the noise"), "Told to 3");
    UNTIL(3000, console_saw(ann, "Server", "sorry for the noise") == 1);
    DONE(CTL(s, "stats", "--json"), "\"sandbox_seccomp\":");
    (void)pest_comes("Pest", "Meek", PEST_IP); /* he may come again */
    play_on();
    (void)stop(s, SIGTERM);
}
