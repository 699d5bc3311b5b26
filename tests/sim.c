/* The simulator: the real shell and core on a machine that is all faked, with 2
 * to 64 consoles, and everything going wrong that a text seed comes to: the
 * network, the disk, the clocks, the helper, the power. Some ask by DNS meanwhile, and
 * browsers look at the page. Same seed, same run.
 *
 * What must hold: nascar_check() after every turn (in a long life, which would
 * take the more time the more it has piled up, after some); no console is ever misled;
 * what was acknowledged is there after every crash; once quiet, each console's
 * lists are the server's truth; and when the faults end, everyone gets in,
 * chats and races within bounded time. What a browser has read whole is well-formed, and
 * says what was so.
 *
 * usage: sim [--kept FILE] [--seconds S] [--events] [--recordings FOLDER] [SEED [STEPS]]
 *
 * With STEPS it runs that seed alone, else SEED.0, SEED.1, ... until the time
 * is up, after those of FILE (a seed and its steps a line). A seed behind a - is run
 * without browsers, so that it draws as it did before there were any. FOLDER gets the
 * recording of each life of a server; the fuzzers begin with those.
 *
 * SPDX-License-Identifier: MIT */
static unsigned compact_items; /* in a long life few, so that compaction takes long, too, and much comes in between */
#define COMPACT_ITEMS compact_items
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
_Noreturn static void
sim_fail(const char *format, ...);
#define FAIL(...) sim_fail(__VA_ARGS__)
#define PEERS 1024
#include "machine.c"
#include "resolver.h"

#define ACTORS 64u
#define ACCOUNTS (2 * ACTORS)
#define PERSONAS (3 * ACTORS)
#define LETTERS 8192u
#define LINES 8192u
#define NETWORKS 8u /* of 8 actors each */
#define CLOSING 4096u
#define TARGETS (2 * ACCOUNTS + ACTORS + NETWORKS) /* bans of accounts, mutes of them, bans of addresses, of networks */
#define RACES 4096u
#define EVENTS 40u
#define ASKED 32u
#define DNS_ASKED 4096u
#define DNS_IPS 5u
#define DNS_IP(i) (0xC6336501u + (i)) /* 198.51.101.1 and so on */
#define BROWSERS 4u
#define LOOKS 6u                          /* that a browser asks for at once, at most */
#define BROWSER_IP(i) (0xC6336601u + (i)) /* 198.51.102.1 and so on */
#define MAYBES 64u
#define USUAL_STEPS 1500u
#define LONG_STEPS 10000u
#define WALL_S 2398377600 /* 2046: the right date when a seed begins */
#define YEAR_S 31536000
#define SLACK_S 60            /* of a date: seconds are cut off, and a clock may drift */
#define CALLS_A_STEP 2000000u /* of the system: more, and the server spins */

/* ---- What is simulated ------------------------------------------------------ */

/* What a player does, and what goes wrong: each seed has its own weights. */
enum deed {
    DO_LOGIN,
    DO_SIGNUP,
    DO_OTHERS_ACCOUNT,
    DO_WRONG_PASSWORD,
    DO_MOVE,
    DO_CREATE,
    DO_CHAT,
    DO_TELL,
    DO_CHALLENGE,
    DO_ANSWER,
    DO_CANCEL,
    DO_READY,
    DO_BACK,
    DO_RESULT,
    DO_FRIEND,
    DO_IGNORE,
    DO_UNFRIEND,
    DO_LETTER,
    DO_STATUS,
    DO_LOOK,
    DO_SELECT,
    DO_LEADERBOARD,
    DO_NEWS,
    DO_ABUSE,
    DO_PASSWORD,
    DO_MAIL,
    DO_NEW_PERSONA,
    DO_DELETE_PERSONA,
    DO_OTHER_PERSONA,
    DO_SEARCH,
    DO_WATCH,
    DO_PRESENCE,
    DO_BUDDY_LEAVES,
    DO_LEAVE,
    DO_OPERATOR,
    NET_RESET,
    NET_VANISH,
    NET_STALL,
    NET_EMFILE,
    HELPER_LAZY,
    HELPER_DIES,
    HELPER_GONE,
    DISK_BAD,
    DISK_ONCE,
    CRASH,
    CRASH_AT_CALL,
    STOP,
    RELOAD,
    COMPACT,
    HANDS,
    WALL_JUMPS,
    MONO_JUMPS,
    STANDS_STILL,
    HELPER_HANGS,
    WAIT,
    QUIET,
    DEEDS
};

static const char *const deed_names[DEEDS] = {
    "login",         "signup",     "others_account", "wrong_password", "move",         "create",      "chat",
    "tell",          "challenge",  "answer",         "cancel",         "ready",        "back",        "result",
    "friend",        "ignore",     "unfriend",       "letter",         "status",       "look",        "select",
    "leaderboard",   "news",       "abuse",          "password",       "mail",         "new_persona", "delete_persona",
    "other_persona", "search",     "watch",          "presence",       "buddy_leaves", "leave",       "operator",
    "reset",         "vanish",     "stall",          "emfile",         "helper_lazy",  "helper_dies", "helper_gone",
    "disk_bad",      "disk_once",  "crash",          "crash_at_call",  "stop",         "reload",      "compact",
    "hands",         "wall_jumps", "mono_jumps",     "stands_still",   "helper_hangs", "wait",        "quiet",
};

struct bytes {
    uint8_t *at;
    size_t size, room;
};

struct actor {
    struct console *console;
    struct peer *link[CONSOLE_LINKS];
    struct bytes up[CONSOLE_LINKS]; /* on its way to the server */
    uint32_t ip;
    uint64_t stalled_until_ms, idle_until_ms;
    char said[32];
    uint32_t target;
};

/* A request that the server has read and not answered. */
struct asked {
    char kind[5];
    uint32_t account, persona, other, bit, letter, race, target;
    bool unheard;              /* its sender is muted for sure */
    bool banned, maybe_banned; /* ... or banned; of a letter: muted */
    bool held, unsure;         /* the ban or mute that it is about, as that was */
    uint32_t sanctions;        /* how often any ban or mute was to be changed, then */
    uint32_t fleeting;         /* which of those accounts it is about */
    char password[17];
    uint32_t troubles; /* the count of what could go wrong, then */
    uint32_t step;
    bool firm; /* it must not be refused for the name or password */
};

/* What passes on a connection, as the ledger sees it. */
struct wire {
    uint32_t actor; /* NONE: the operator's, or nobody looks at it any more */
    uint8_t in[4096], out[8192];
    size_t in_bytes, out_bytes, fed;
    uint32_t account, persona, ip;
    uint32_t sanctions; /* as sim.sanctions was when it asked the directory */
    bool maybe_banned;  /* ... and whether it may be banned */
    char password[17];  /* what its console has sent last */
    struct asked asked[ASKED];
    size_t asked_count;
    bool closed;    /* by the server */
    bool looked_at; /* by a browser */
};

/* What a browser has asked for, and what was so then. */
struct look {
    uint32_t page; /* enum http_page, or above those what is wrong */
    uint32_t persona, count;
    bool head;
    uint32_t status;           /* that it has to get; 0: any of what it may be */
    bool failing, well;        /* the disk or the helper has been seen so since */
    uint64_t asked_at;         /* sim.turn */
    uint32_t there;            /* the persona, in the server; NONE - 1: it may be made or deleted */
    uint32_t results, races;   /* that were acknowledged: all, and of the persona */
    uint32_t online[PERSONAS]; /* the connections */
};

struct browser {
    struct peer *peer;
    char up[LOOKS * 256]; /* on its way to the server */
    size_t size, sent, read;
    struct look look[LOOKS];
    uint32_t looks;
    bool slow;
};

/* ---- The ledger: what was acknowledged --------------------------------------- */

struct kept_account {
    bool known;
    char password[17];
    char maybe[MAYBES][17]; /* asked for, and neither done nor given up for sure */
    size_t maybes;
    uint32_t set_step; /* when one was last acknowledged */
};

enum kept_state { NEVER, THERE, DELETED };

struct kept_persona {
    enum kept_state state;
    bool unsure;
    uint32_t account;
    struct figures figures;
    uint32_t results; /* that were read, and may count or not */
    bool any_figures;
    bool several; /* results were on their way at once: what the server has counts some that are not answered yet */
    uint8_t ticket[16];
    bool ticket_known, ticket_unkept; /* unkept: taken from memory alone so far */
    int64_t ticket_until_s;           /* as sim.lived_s */
    uint32_t tickets;                 /* that were asked for */
    int32_t reports;
    uint32_t buddy_step; /* when it was last seen to have a buddy link */
    uint64_t moved_at;   /* sim.turn, when somebody last asked to make it, to delete it, or to enter as it */
};

enum letter_state { ASKED_FOR, KEPT, DIRECT };

/* An account that the operator alone makes and deletes: nobody plays with it. */
#define FLEETING 3u

struct fleeting {
    bool there;
    bool unsure;    /* a change of it was asked for, and not acknowledged */
    uint32_t asked; /* how often, without an answer yet */
    bool overlaps;  /* ... and acknowledged while another was on its way: which came last, nobody knows */
};

struct kept_letter {
    enum letter_state state;
    uint32_t from, to;
    uint64_t asked_at, kept_at;                 /* sim.turn, when the server read it, and when it said that it has it */
    uint32_t told, told_in, told_on, told_step; /* times; when, in which life of the server, on which wire */
    bool broke;                                 /* the link, in that moment: it may come again */
    int64_t until_s;                            /* as sim.lived_s */
    bool excused;                               /* its reader was deleted, or ignores its writer */
    bool unheard;                               /* its writer is muted: nobody gets it */
    bool over;                                  /* read, and gone for good */
};

struct kept_race {
    char ticket[40];
    uint32_t persona[2];
    int64_t until_s; /* as sim.lived_s */
    uint32_t asked, acknowledged;
    bool excused;
    bool unkept; /* taken from memory alone so far */
};

/* A ban or a mute, or none, of one target. */
struct kept_sanction {
    bool held;
    bool unsure;     /* another state was asked for, and is neither so nor given up for sure */
    int64_t until_s; /* as sim.lived_s; 0: for good */
    uint32_t asked;  /* times that it was to be changed */
    bool overlaps;   /* two were on their way at once: which came last, nobody knows */
};

/* A line of chat: who said it, and whether that was told to others. */
struct kept_line {
    uint32_t from, asked; /* from: the account; asked: as the account's mute had it then */
    bool unheard;
};

static struct {
    char seed[128];
    uint64_t chance;
    uint32_t step, steps;
    uint64_t ms, offset_ms; /* the consoles' clock, and what it is ahead of the machine's */
    int64_t lived_s;        /* what the server must hold to have passed, however its clock was set */
    uint64_t turn;          /* counts what is asked and answered, in this order, where that matters */
    uint64_t counted_ms;    /* the machine's clock when that was counted */
    int64_t last_date_s;    /* of the last life, as what it kept is dated */
    bool closing[CLOSING];  /* the reports that are to be closed in this life, by their numbers */
    bool reports_make_room; /* there were so many that the oldest may have gone */
    bool clock_unsure;      /* it ended before the disk had it that the clock was set, or is not */
    bool clock_unset;       /* its clock was never set, or not believed, and the disk has that */
    bool never_set;         /* the machine's clock has said 1970 since it booted */
    uint32_t actors;
    struct actor actor[ACTORS];
    struct machine *machine;
    struct disk disk;
    struct wire wire[PEERS];
    char option[40][64];
    const char *arguments[80];
    bool open_accounts, small_times, records, shares; /* shares: two consoles behind one address */
    uint32_t weight[DEEDS], weights;
    uint32_t lives;    /* of the server */
    uint32_t troubles; /* with disk and helper, so far */
    uint32_t disk_bad_until, disk_one_in, helper_lazy_until, helper_gone_until, emfile_until;
    bool disk_once, quiet, starting;
    bool handled;            /* hands were laid on the journal, and the server has yet to stop */
    bool all_speak;          /* since the server stood still: whoever is there answers in time */
    uint32_t peer_of[PEERS]; /* the peer behind each connection, and ... */
    bool waits[PEERS];       /* ... whether something of it waited to be read, when the turn began */
    uint32_t crash_in;       /* calls; 0: not */
    jmp_buf *crashed;        /* where it goes on then: in a step, or in the start that is under way */
    uint32_t calls;
    uint64_t hash;
    uint32_t dns_random, dns_next;
    struct {
        size_t size;
        bool waits; /* it may still be answered */
    } dns_asked[DNS_ASKED];
    uint64_t dns_answered_ms[DNS_IPS][20]; /* when each has got the last ones, in this life of the server */
    uint32_t dns_answers[DNS_IPS];
    uint32_t page_random;
    struct browser browser[BROWSERS];
    char event[EVENTS][200];
    uint32_t events;

    struct kept_account account[ACCOUNTS];
    struct kept_persona persona[PERSONAS];
    uint8_t lists[PERSONAS][PERSONAS], lists_unsure[PERSONAS][PERSONAS], ever_ignored[PERSONAS][PERSONAS];
    struct kept_letter letter[LETTERS];
    uint32_t letters;
    struct fleeting fleeting[FLEETING];
    struct kept_race race[RACES];
    uint32_t races;
    uint32_t results;         /* races of which a report was acknowledged */
    uint32_t raced[RACES][2]; /* by whom; NONE: its name may be gone */
    struct kept_sanction sanction[TARGETS];
    uint32_t sanctions; /* times that any was to be changed */
    struct kept_line line[LINES];
    uint32_t lines;
} sim;

/* Of all seeds. */
static struct {
    uint64_t turns, steps, crashes, dns; /* dns: answers by it */
    uint64_t pages;                      /* that were read whole */
    uint64_t checkpoints;                /* of recordings that ran again */
    uint64_t seconds;                    /* times that a second state read the journal */
} tally;

static bool tells_all;         /* each event, not only the last ones */
static int complaints;         /* a file that takes what a start complains of */
static const char *recordings; /* a folder for them, or NULL */

/* ---- Chance, events, failure --------------------------------------------------- */

static uint64_t any64(void)
{
    uint64_t z = sim.chance += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static uint32_t any(uint32_t limit)
{
    return (uint32_t)((any64() >> 32) * limit >> 32);
}

static bool one_in(uint32_t n)
{
    return any(n) == 0;
}

static uint64_t hash_more(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001B3u;
    return hash;
}

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
static void
event(const char *format, ...)
{
    char *text = sim.event[sim.events++ % EVENTS];
    int n = snprintf(text, sizeof sim.event[0], "%5u %9llu ", sim.step, (unsigned long long)sim.ms);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text + n, sizeof sim.event[0] - (size_t)n, format, arguments);
    va_end(arguments);
    sim.hash = hash_more(sim.hash, text, strlen(text));
    if (tells_all)
        printf("  %s\n", text);
}

static void tell_events(void)
{
    for (uint32_t i = sim.events > EVENTS ? sim.events - EVENTS : 0; i < sim.events; i++)
        printf("  %s\n", sim.event[i % EVENTS]);
    printf("sim: seed %s failed at step %u of %u: make sim SEED=%s STEPS=%u\n", sim.seed, sim.step, sim.steps, sim.seed,
           sim.steps);
    (void)fflush(stdout);
}

_Noreturn static void sim_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("FAILED: ");
    (void)vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    tell_events();
    _exit(1);
}

/* An assertion of the server's, or worse. */
static void on_fatal(int number)
{
    printf("FAILED: signal %d\n", number);
    tell_events();
    _exit(1);
}

/* ---- Names ------------------------------------------------------------------------ */

/* Accounts are d00.. and e00.., an actor's own and a second one; personas are
 * of these names, and x00... */
static const char *name_of(uint32_t i)
{
    static char name[4][8];
    static uint32_t turn_of;
    char *out = name[turn_of++ % 4];
    (void)snprintf(out, sizeof name[0], "%c%02u", "dex"[i / ACTORS], i % ACTORS);
    return out;
}

static uint32_t number_of(const char *name)
{
    const char *kind = name[0] ? strchr("dex", name[0]) : NULL;
    if (!kind || strlen(name) != 3 || !is_digit((uint8_t)name[1]) || !is_digit((uint8_t)name[2]))
        return NONE;
    uint32_t n = (uint32_t)(name[1] - '0') * 10 + (uint32_t)(name[2] - '0');
    return n < ACTORS ? (uint32_t)(kind - "dex") * ACTORS + n : NONE;
}

static uint32_t number_in(const char *payload, const char *key)
{
    char name[64];
    (void)console_read_text(console_find(payload, key), name, sizeof name);
    name[strcspn(name, "/@")] = 0;
    return number_of(name);
}

static uint32_t any_persona(void)
{
    return any(3) * (one_in(3) ? ACTORS : 0) % PERSONAS + any(sim.actors);
}

/* ---- The ledger: requests and answers --------------------------------------------- */

static struct nascar *server(void)
{
    return sim.machine->shell.state;
}

static bool is_maybe(const struct kept_account *a, const char *password)
{
    for (size_t i = 0; i < a->maybes; i++)
        if (strcmp(a->maybe[i], password) == 0)
            return true;
    return a->maybes == MAYBES || (a->known && strcmp(a->password, password) == 0);
}

static void add_maybe(struct kept_account *a, const char *password)
{
    if (a->maybes < MAYBES && !is_maybe(a, password))
        (void)snprintf(a->maybe[a->maybes++], sizeof a->maybe[0], "%s", password);
}

static bool verifies(const struct account *a, const char *password)
{
    char made[HASH_CHARS + 1];
    return password[0] && fake_hash(password, a->hash, made, sizeof made) && strcmp(made, a->hash) == 0;
}

/* An account of this name may be made, and has a first persona of its name then. */
static bool account_is_asked_for(uint32_t account)
{
    for (size_t i = 0; i < PEERS; i++)
        for (size_t k = 0; k < sim.wire[i].asked_count; k++)
            if (sim.wire[i].asked[k].account == account && strstr("auth acct cpwd", sim.wire[i].asked[k].kind))
                return true;
    return false;
}

/* A persona is new, or gone: nothing that was kept of the name is its. */
static void persona_anew(uint32_t i, enum kept_state state, uint32_t account)
{
    struct kept_persona *p = &sim.persona[i];
    int32_t reports = p->reports;
    uint64_t moved_at = p->moved_at;
    memset(p, 0, sizeof *p);
    p->moved_at = moved_at;
    p->state = state;
    p->account = account;
    p->reports = reports;
    p->unsure = account_is_asked_for(i);
    memset(sim.lists[i], 0, sizeof sim.lists[i]);
    memset(sim.lists_unsure[i], 0, sizeof sim.lists_unsure[i]);
    for (uint32_t k = 0; k < PERSONAS; k++)
        sim.lists[k][i] = sim.lists_unsure[k][i] = 0;
    for (uint32_t k = 0; k < sim.races; k++) {
        struct kept_race *r = &sim.race[k];
        for (int side = 0; side < 2; side++)
            r->persona[side] = r->persona[side] == i ? NONE : r->persona[side];
        r->excused = r->excused || (r->persona[0] == NONE && r->persona[1] == NONE);
    }
}

static void persona_is_there(uint32_t i, uint32_t account)
{
    sim.persona[i].state = THERE;
    sim.persona[i].unsure = false;
    sim.persona[i].account = account;
}

/* It may be gone by now, and be made again. */
static void persona_unsure(uint32_t i)
{
    struct kept_persona *p = &sim.persona[i];
    p->unsure = p->any_figures = true;
    p->tickets++;
    for (uint32_t k = 0; k < PERSONAS; k++)
        sim.lists_unsure[i][k] = sim.lists_unsure[k][i] = 3;
    for (uint32_t k = 0; k < sim.letters; k++)
        sim.letter[k].excused = sim.letter[k].excused || sim.letter[k].to == i;
}

static bool helper_shaky(void)
{
    return sim.machine->helper.dies_of > 0 || sim.machine->helper.hangs || sim.machine->helper.hangs_of > 0 ||
           sim.machine->helper.dead || !sim.machine->helper.running;
}

/* A start forgets the masks; then the newest one of the address is tried. */
static bool mask_is_known(const char *payload)
{
    const char *mask = console_find(payload, "MASK");
    return !mask || find_session(server(), (uint32_t)console_read_number(mask)) != NONE;
}

static uint32_t race_with(const char *ticket)
{
    for (uint32_t i = sim.races; i-- > 0;)
        if (strcmp(sim.race[i].ticket, ticket) == 0)
            return i;
    return NONE;
}

static const char *const ledger_kinds =
    "auth acct edit cper dper pers rank rept AUTH RADD RDEL SEND mesg cpwd cdel cban cunb cmut cunm";

static bool is_code(uint32_t code, const char *letters);
static int64_t time_left_s(int64_t until_s);
static bool journal_is_sound(void);

/* ---- The ledger: bans and mutes ----------------------------------------------------- */

/* sim.lived_s, and what has passed since that was counted. */
static int64_t lived_now_s(void)
{
    return sim.lived_s + (int64_t)(sim.machine->now_ms / 1000 - sim.counted_ms / 1000);
}

static bool is_mute_target(uint32_t target)
{
    return target >= ACCOUNTS && target < 2 * ACCOUNTS;
}

static uint32_t ip_of(uint32_t actor)
{
    return 0xC6336401u + (sim.shares ? actor / 2 : actor);
}

static const char *target_text(uint32_t target)
{
    static char text[NETWORK_CHARS + 1];
    if (target < 2 * ACCOUNTS)
        return name_of(target % ACCOUNTS);
    target -= 2 * ACCOUNTS;
    if (target < ACTORS)
        write_network(text, 0xC6336401u + target, 32);
    else
        write_network(text, 0xC6336400u + 8 * (target - ACTORS), 29);
    return text;
}

static uint32_t target_of(const char *text, bool mute)
{
    uint32_t i = number_of(text);
    if (i < ACCOUNTS)
        return i + (mute ? ACCOUNTS : 0);
    for (i = 2 * ACCOUNTS; i < TARGETS && strcmp(target_text(i), text) != 0;)
        i++;
    return i < TARGETS ? i : NONE;
}

static bool is_sanction(const char *kind)
{
    return strstr("cban cunb cmut cunm", kind) != NULL;
}

/* Is it in force, for sure? Not if it is about to end. */
static bool surely_held(uint32_t target)
{
    const struct kept_sanction *k = &sim.sanction[target];
    return k->held && !k->unsure && (k->until_s == 0 || k->until_s > lived_now_s() + SLACK_S);
}

static bool maybe_held(uint32_t target)
{
    return sim.sanction[target].held || sim.sanction[target].unsure;
}

static bool is_banned(uint32_t account, uint32_t ip, bool (*held)(uint32_t))
{
    bool banned = account != NONE && held(account);
    for (uint32_t i = 2 * ACCOUNTS; i < TARGETS && !banned; i++) {
        uint32_t n = i - 2 * ACCOUNTS;
        banned = n < ACTORS ? ip == 0xC6336401u + n && held(i)
                            : in_network(ip, 0xC6336400u + 8 * (n - ACTORS), 29) && held(i);
    }
    return banned;
}

/* Is another request for it on its way? */
static bool target_is_asked_for(uint32_t target)
{
    for (size_t i = 0; i < PEERS; i++)
        for (size_t k = 0; !sim.machine->peer[i].closed && k < sim.wire[i].asked_count; k++)
            if (sim.wire[i].asked[k].kind[0] == 'c' && sim.wire[i].asked[k].target == target)
                return true;
    return false;
}

static void sanction_asked(struct asked *q, const char *payload)
{
    char name[32];
    (void)console_read_text(console_find(payload, "NAME"), name, sizeof name);
    q->target = target_of(name, q->kind[1] == 'm' || strcmp(q->kind, "cunm") == 0);
    EXPECT(q->target != NONE);
    uint32_t persona = find_account(server(), name) == NONE ? find_persona(server(), name) : NONE;
    bool typed = q->kind[1] == 'u' && find_held(server(), is_mute_target(q->target), name) != NONE;
    if (persona != NONE && !typed) /* it is of another account */
        q->target =
            target_of(account_at(server(), persona_at(server(), persona)->account)->name, is_mute_target(q->target));
    q->held = surely_held(q->target);
    q->unsure = sim.sanction[q->target].unsure;
    sim.sanction[q->target].unsure = true;
    q->bit = ++sim.sanction[q->target].asked;
    sim.sanctions++;
}

/* What was acknowledged is so at once: nobody is there who is banned. */
static void sanction_acknowledged(const struct asked *q)
{
    const struct nascar *s = server();
    struct kept_sanction *k = &sim.sanction[q->target];
    bool sets = q->kind[1] != 'u';
    uint32_t i = find_sanction(s, is_mute_target(q->target), target_text(q->target));
    if (target_is_asked_for(q->target)) {
        k->overlaps = true; /* the answer to the other one settles it */
        return;
    }
    if (k->overlaps || q->bit != k->asked) /* or the link of a later one has gone */
        sets = i != NONE;
    if (sets && i == NONE)
        FAIL("%s %s is acknowledged, and not there", q->kind, target_text(q->target));
    if (!sets && i != NONE)
        FAIL("%s %s is acknowledged, and still there", q->kind, target_text(q->target));
    k->unsure = k->overlaps = false;
    k->held = sets;
    if (!sets)
        return;
    int64_t until_s = sanction_at(s, i)->until_s;
    k->until_s = until_s == 0 ? 0 : lived_now_s() + time_left_s(until_s);
    for (uint32_t p = live_from(s, &s->players, 0); p != NONE; p = live_from(s, &s->players, p + 1))
        if (is_banned(number_of(account_at(s, player_at(s, p)->account)->name), conn_at(s, player_at(s, p)->conn)->peer,
                      surely_held))
            FAIL("%s is banned, and online", account_at(s, player_at(s, p)->account)->name);
}

/* It is not in force, and was not lifted for sure. One that has ended is kept still: a
 * machine that boots with an older date may bring it back. */
static void sanction_ended(struct kept_sanction *k)
{
    k->held = true;
    k->unsure = false;
    if (k->until_s == 0 || k->until_s > lived_now_s())
        k->until_s = lived_now_s() > 0 ? lived_now_s() : 1;
}

/* There was nothing to be lifted. */
static void sanction_refused(const struct asked *q)
{
    struct kept_sanction *k = &sim.sanction[q->target];
    if (q->kind[1] != 'u' || target_is_asked_for(q->target))
        return;
    if (q->held && q->bit == k->asked && (k->until_s == 0 || k->until_s > lived_now_s() + SLACK_S))
        FAIL("%s %s is refused, and it is there", q->kind, target_text(q->target));
    if (k->overlaps) { /* the other one was acknowledged before */
        sanction_acknowledged(q);
        return;
    }
    if (k->held || q->unsure)
        sanction_ended(k);
    k->unsure = false;
}

/* A banned console is refused for that, and no other is. */
static void judge_login(const struct wire *w, const struct asked *q, uint32_t code)
{
    if (is_code(code, "blak") && !q->maybe_banned && q->sanctions == sim.sanctions &&
        !is_banned(q->account, w->ip, maybe_held))
        FAIL("%s is refused as banned, and is not", name_of(q->account));
    if (code == 0 && q->banned && q->sanctions == sim.sanctions && is_banned(q->account, w->ip, surely_held))
        FAIL("%s is banned, and gets in", name_of(q->account));
}

/* The mute that a persona's letters are under, or NONE. */
static uint32_t mute_of(uint32_t persona)
{
    uint32_t there = find_persona(server(), name_of(persona));
    return there == NONE ? NONE
                         : ACCOUNTS + number_of(account_at(server(), persona_at(server(), there)->account)->name);
}

/* A line of chat: "line N" or "psst N". The last ones are known. */
static uint32_t line_in(const char *payload, const char *tag)
{
    char text[64];
    (void)console_read_text(console_find(payload, tag), text, sizeof text);
    bool is_line = strncmp(text, "line ", 5) == 0 || strncmp(text, "psst ", 5) == 0;
    uint32_t i = is_line ? (uint32_t)strtoul(text + 5, NULL, 10) : NONE;
    return i < sim.lines && sim.lines - i <= LINES ? i : NONE;
}

static void line_asked(const struct wire *w, const char *payload)
{
    uint32_t i = line_in(payload, "TEXT");
    if (i == NONE || w->account == NONE)
        return;
    struct kept_line *l = &sim.line[i % LINES];
    l->from = w->account;
    l->unheard = surely_held(ACCOUNTS + w->account);
    l->asked = sim.sanction[ACCOUNTS + w->account].asked;
}

/* Who is muted is heard by itself alone; and a word to the server by nobody. What the server
 * says has the flags of that, and its answers fit on a screen. */
static void line_told(const struct wire *w, const char *payload)
{
    char from[64], text[300];
    uint32_t flags = console_read_flags(console_find(payload, "F"));
    (void)console_read_text(console_find(payload, "N"), from, sizeof from);
    (void)console_read_text(console_find(payload, "T"), text, sizeof text);
    bool good = text[0] != '/';
    if (strcmp(from, SYSTEM_NAME) == 0)
        good = flags == CONSOLE_FLAG('B') || (flags == CONSOLE_FLAG('P') && text[0] && strlen(text) <= ANSWER_CHARS);
    if (!good)
        FAIL("%s is told: %s", w->account == NONE ? "-" : name_of(w->account), payload);
    uint32_t i = line_in(payload, "T");
    const struct kept_line *l = i == NONE ? NULL : &sim.line[i % LINES];
    if (l && l->unheard && w->account != l->from && surely_held(ACCOUNTS + l->from) &&
        sim.sanction[ACCOUNTS + l->from].asked == l->asked)
        FAIL("%s is muted, and %s reads line %u", name_of(l->from), w->account == NONE ? "-" : name_of(w->account), i);
}

/* The directory turns somebody away. */
static void judge_directory(const struct wire *w, const char *payload)
{
    char text[300];
    if (!console_find(payload, "DOWN"))
        return;
    (void)console_read_text(console_find(payload, "DOWN"), text, sizeof text);
    if (strstr(text, "banned") && !w->maybe_banned && w->sanctions == sim.sanctions)
        FAIL("%s is shown a ban, and has none", w->actor == NONE ? "-" : name_of(w->actor));
}

static void compare_sanctions(void)
{
    const struct nascar *s = server();
    for (uint32_t i = 0; i < TARGETS; i++) {
        struct kept_sanction *k = &sim.sanction[i];
        uint32_t there = find_held(s, is_mute_target(i), target_text(i));
        int64_t until_s = there == NONE ? 0 : sanction_at(s, there)->until_s;
        if (surely_held(i) && there == NONE)
            FAIL("the %s of %s is lost", is_mute_target(i) ? "mute" : "ban", target_text(i));
        if (!k->held && !k->unsure && there != NONE)
            FAIL("the %s of %s is lifted, and is back", is_mute_target(i) ? "mute" : "ban", target_text(i));
        if (surely_held(i) && until_s != 0 &&
            (k->until_s == 0 || time_left_s(until_s) < k->until_s - lived_now_s() - SLACK_S))
            FAIL("the ban or mute of %s is shorter than it was", target_text(i));
        if (target_is_asked_for(i) || (k->unsure && !journal_is_sound()))
            continue;
        if (there == NONE && (k->held || k->unsure))
            sanction_ended(k);
        if (there == NONE)
            continue;
        k->held = true;
        k->unsure = false;
        k->until_s = until_s == 0 ? 0 : lived_now_s() + time_left_s(until_s);
    }
}

/* ---- The ledger: requests --------------------------------------------------------------- */
/* ---- Who asks by DNS ----------------------------------------------------------------------------------- */

/* Not by chance as everything else comes by, so that seeds mean what they have meant. */
static uint32_t dns_chance(uint32_t below)
{
    sim.dns_random = sim.dns_random * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)sim.dns_random * below >> 32);
}

/* One in leaves at most one out, which is an answer to it, no longer than it may be; and there
 * are no more than twenty in any second. */
static void at_answer(struct machine *m)
{
    const struct fake_datagram *a = &m->answer;
    struct reply r;
    const char *wrong = read_reply(a->bytes, a->size, &r);
    uint32_t who = a->peer - DNS_IP(0), id = r.id % DNS_ASKED;
    if (wrong)
        FAIL("an answer by DNS with %s", wrong);
    EXPECT(who < DNS_IPS && a->port == 40000 && a->local == 0xC0000201);
    EXPECT(sim.dns_asked[id].waits && a->size <= sim.dns_asked[id].size + 16 * r.answers);
    sim.dns_asked[id].waits = false;
    EXPECT(r.answers == 0 || r.address == 0xC0000201 || r.address == 0xC0000209);
    uint64_t *at_ms = &sim.dns_answered_ms[who][sim.dns_answers[who]++ % 20];
    EXPECT(sim.dns_answers[who] <= 20 || m->shell.now_ms - *at_ms >= 1000);
    *at_ms = m->shell.now_ms; /* of the turn in which it came */
    sim.hash = hash_more(sim.hash, a->bytes, a->size);
    tally.dns++;
}

/* Mostly good questions, in bursts. */
static void ask_by_dns(void)
{
    static const char *const names[] = {GAME_HOST, "dnas.example.org", "www.example.org", ""};
    static const unsigned types[] = {TYPE_A, TYPE_A, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_TXT};
    if (sim.machine->shell.port[LISTENERS] == NONE || dns_chance(5) > 0)
        return;
    for (uint32_t n = dns_chance(8) ? 1 + dns_chance(3) : dns_chance(60); n > 0; n--) {
        struct question q;
        uint16_t id = (uint16_t)(sim.dns_next++ % DNS_ASKED);
        ask_for(&q, id, names[dns_chance(4)], types[dns_chance(6)], CLASS_IN);
        if (dns_chance(2))
            ask_with_edns(&q, dns_chance(8) == 0, dns_chance(2) << 15, dns_chance(3) * 6);
        while (dns_chance(3) == 0)
            q.bytes[2 + dns_chance((uint32_t)q.size - 2)] ^= (uint8_t)(1u << dns_chance(8));
        if (dns_chance(10) == 0)
            q.size = 2 + dns_chance((uint32_t)q.size);
        sim.dns_asked[id].size = q.size;
        sim.dns_asked[id].waits = datagram_send(sim.machine, DNS_IP(dns_chance(DNS_IPS)), q.bytes, q.size);
    }
}

/* ---- The ledger: accounts that come and go --------------------------------------------- */

static const char *const fleeting_names[FLEETING] = {"fly0", "fly1", "fly2"};

static uint32_t fleeting_in(const char *payload)
{
    char name[64];
    uint32_t i = 0;
    (void)console_read_text(console_find(payload, "NAME"), name, sizeof name);
    while (i < FLEETING && strcmp(fleeting_names[i], name) != 0)
        i++;
    return i;
}

/* What was asked for last is so, unless another change is on its way. */
static void fleeting_acknowledged(const struct asked *q)
{
    struct fleeting *f = &sim.fleeting[q->fleeting];
    bool there = find_account(server(), fleeting_names[q->fleeting]) != NONE;
    f->asked -= f->asked > 0;
    if (f->asked > 0) { /* or its connection ended before that */
        f->overlaps = true;
        return;
    }
    f->there = f->overlaps ? there : q->kind[1] == 'p';
    f->unsure = f->overlaps = false;
    if (there != f->there)
        FAIL("%s of %s is acknowledged, and not done", q->kind, fleeting_names[q->fleeting]);
}

static void compare_fleeting(void)
{
    for (uint32_t i = 0; i < FLEETING; i++) {
        bool there = find_account(server(), fleeting_names[i]) != NONE;
        if (!sim.fleeting[i].unsure && there != sim.fleeting[i].there)
            FAIL("the account %s is %s", fleeting_names[i], there ? "back" : "lost");
        sim.fleeting[i].there = there;
        sim.fleeting[i].unsure = sim.fleeting[i].unsure && !journal_is_sound();
        sim.fleeting[i].asked = 0;
    }
}

/* Which side has won by a report, as act_result() makes them: 2 if neither. */
static uint32_t reported_winner(const char *payload)
{
    bool out[2] = {console_read_number(console_find(payload, "DISCTIME0")) > 0,
                   console_read_number(console_find(payload, "DISCTIME1")) > 0};
    if (out[0] || out[1])
        return out[0] && out[1] ? 2 : out[0];
    return console_read_number(console_find(payload, "FINISPOS1")) <
           console_read_number(console_find(payload, "FINISPOS0"));
}

/* The server has read this request. */
static void on_request(struct wire *w, const char *kind, const char *payload)
{
    struct asked q;
    w->sanctions = sim.sanctions;
    w->maybe_banned = is_banned(NONE, w->ip, maybe_held);
    if (!strstr(ledger_kinds, kind))
        return;
    memset(&q, 0, sizeof q);
    (void)snprintf(q.kind, sizeof q.kind, "%s", kind);
    q.account = w->account;
    q.persona = w->persona;
    q.other = q.letter = q.race = q.target = NONE;
    q.sanctions = sim.sanctions;
    q.fleeting = strcmp(kind, "cpwd") == 0 ? fleeting_in(payload) : FLEETING;
    q.troubles = sim.troubles;
    q.step = sim.step;
    if (is_sanction(kind)) {
        sanction_asked(&q, payload);
    } else if (strcmp(kind, "mesg") == 0) {
        line_asked(w, payload);
        return;
    } else if (strcmp(kind, "auth") == 0 || strcmp(kind, "acct") == 0 || strcmp(kind, "cpwd") == 0) {
        q.account = number_in(payload, "NAME");
        (void)snprintf(q.password, sizeof q.password, "%s", w->password);
        q.banned = is_banned(q.account, w->ip, surely_held);
        q.maybe_banned = is_banned(q.account, w->ip, maybe_held);
        if (q.account != NONE) {
            struct kept_account *a = &sim.account[q.account];
            q.firm = a->known && a->maybes == 0 && strcmp(a->password, q.password) == 0 && !helper_shaky() &&
                     mask_is_known(payload);
            if (!a->known || strcmp(kind, "cpwd") == 0)
                add_maybe(a, q.password);
            if (sim.persona[q.account].state != THERE)
                sim.persona[q.account].unsure = true;
            sim.persona[q.account].moved_at = ++sim.turn;
        }
    } else if (strcmp(kind, "edit") == 0) {
        (void)console_read_text(console_find(payload, "CHNG"), q.password, sizeof q.password);
        if (w->account != NONE && q.password[0])
            add_maybe(&sim.account[w->account], q.password);
    } else if (strcmp(kind, "cper") == 0 || strcmp(kind, "dper") == 0) {
        q.persona = number_in(payload, "PERS");
        if (q.persona != NONE && kind[0] == 'd')
            persona_unsure(q.persona);
        if (q.persona != NONE) {
            sim.persona[q.persona].unsure = true;
            sim.persona[q.persona].moved_at = ++sim.turn;
        }
    } else if (strcmp(kind, "pers") == 0) {
        q.persona = number_in(payload, "PERS");
        if (q.persona != NONE) {
            sim.persona[q.persona].tickets++;
            sim.persona[q.persona].moved_at = ++sim.turn;
        }
    } else if (strcmp(kind, "rank") == 0) {
        char ticket[40];
        (void)console_read_text(console_find(payload, "AUTH"), ticket, sizeof ticket);
        q.race = race_with(ticket);
        for (int k = 0; q.race != NONE && k < 2; k++)
            if (sim.race[q.race].persona[k] != NONE)
                sim.persona[sim.race[q.race].persona[k]].results++;
        if (q.race != NONE)
            sim.race[q.race].asked++;
        q.bit = reported_winner(payload);
    } else if (strcmp(kind, "AUTH") == 0) {
        q.persona = number_in(payload, "USER");
    } else if (kind[0] == 'R') {
        char list[4];
        (void)console_read_text(console_find(payload, "LIST"), list, sizeof list);
        q.other = number_in(payload, "USER");
        q.bit = list[0] == 'I' ? LIST_IGNORE : LIST_BUDDY;
        if (q.persona != NONE && q.other != NONE) {
            sim.lists_unsure[q.persona][q.other] |= (uint8_t)q.bit;
            if (q.bit == LIST_IGNORE)
                sim.ever_ignored[q.persona][q.other] = 1;
        }
    } else if (strcmp(kind, "SEND") == 0) {
        char body[64];
        (void)console_read_text(console_find(payload, "BODY"), body, sizeof body);
        q.letter = body[0] == 'L' ? (uint32_t)strtoul(body + 1, NULL, 10) : NONE;
        EXPECT(q.letter < sim.letters);
        sim.letter[q.letter].asked_at = ++sim.turn;
        if (w->persona != NONE)
            sim.letter[q.letter].from = w->persona; /* the lobby may know it by another by now */
        uint32_t mute = mute_of(sim.letter[q.letter].from);
        q.target = mute;
        q.unheard = mute != NONE && surely_held(mute);
        q.maybe_banned = mute != NONE && maybe_held(mute); /* while it is being lifted it is in force still */
        q.bit = mute != NONE ? sim.sanction[mute].asked : 0;
        uint32_t to = find_persona(server(), name_of(sim.letter[q.letter].to));
        if (to != NONE && persona_at(server(), to)->buddy != NONE)
            sim.persona[sim.letter[q.letter].to].buddy_step = sim.step;
    }
    if (strcmp(kind, "cdel") == 0)
        q.fleeting = fleeting_in(payload);
    if (q.fleeting < FLEETING) {
        sim.fleeting[q.fleeting].unsure = true;
        sim.fleeting[q.fleeting].asked++;
    }
    event("asked: %s account %s persona %s other %s %s", kind, q.account == NONE ? "-" : name_of(q.account),
          q.persona == NONE ? "-" : name_of(q.persona), q.other == NONE ? "-" : name_of(q.other), q.password);
    EXPECT(w->asked_count < ASKED);
    w->asked[w->asked_count++] = q;
}

static bool letter_is_there(uint32_t i)
{
    const struct nascar *s = server();
    char body[16];
    (void)snprintf(body, sizeof body, "L%u", i);
    for (uint32_t k = live_from(s, &s->messages, 0); k != NONE; k = live_from(s, &s->messages, k + 1))
        if (strcmp(message_at(s, k)->body, body) == 0)
            return true;
    return false;
}

/* Is there another request, not answered yet, that may set the same entry? Its
 * link may go before its answer. */
static bool roster_is_asked_for(const struct asked *q)
{
    for (size_t i = 0; i < PEERS; i++)
        for (size_t k = 0; !sim.machine->peer[i].closed && k < sim.wire[i].asked_count; k++) {
            const struct asked *other = &sim.wire[i].asked[k];
            if ((strcmp(other->kind, "RADD") == 0 || strcmp(other->kind, "RDEL") == 0) &&
                other->persona == q->persona && other->other == q->other && other->bit == q->bit)
                return true;
        }
    return false;
}

/* A `dper` may wait behind what its link asked for before. */
static bool deletion_is_asked_for(uint32_t persona)
{
    for (size_t i = 0; i < PEERS; i++)
        for (size_t k = 0; !sim.machine->peer[i].closed && k < sim.wire[i].asked_count; k++)
            if (strcmp(sim.wire[i].asked[k].kind, "dper") == 0 && sim.wire[i].asked[k].persona == persona)
                return true;
    return false;
}

/* It is kept until it is told. Where it cannot be, and somebody is there, it goes at
 * once, and may be lost with the link. */
static void letter_acknowledged(struct kept_letter *l, const struct asked *q)
{
    const struct nascar *s = server();
    uint32_t i = q->letter, asked_step = q->step;
    bool same = q->target != NONE && sim.sanction[q->target].asked == q->bit;
    l->unheard = q->unheard && same && surely_held(q->target) && mute_of(l->to) != q->target; /* to himself he writes */
    l->excused = l->excused || (q->target != NONE && (q->unheard || q->maybe_banned || !same || maybe_held(q->target)));
    uint32_t to = find_persona(s, name_of(l->to));
    l->excused = l->excused || deletion_is_asked_for(l->to);
    if (l->told > 0 || to == NONE || sim.ever_ignored[l->to][l->from] || l->excused)
        l->state = DIRECT;
    else if (letter_is_there(i)) {
        l->state = KEPT;
        l->kept_at = ++sim.turn;
    } else if ((sim.troubles != q->troubles || sim.handled || !journal_is_sound() || pool_full(&s->messages)) &&
               (persona_at(s, to)->buddy != NONE || sim.persona[l->to].buddy_step >= asked_step))
        l->state = DIRECT;
    else
        FAIL("letter %u from %s is acknowledged, and nowhere", i, name_of(l->from));
}

/* Whatever was acknowledged is in it, be it that it was kept at once or, when
 * nothing could be, that the server took it from memory until now. */
static bool journal_is_sound(void)
{
    const struct shell *sh = &sim.machine->shell;
    return sh->journal.fd >= 0 && !sh->journal_lost && !sh->journal_full && sh->owed.size == 0;
}

/* The server's own date. That stands still between its steps, time does not. */
static int64_t date_s(void)
{
    return kept_now_s(server()) + (int64_t)((sim.machine->now_ms - server()->mono_ms) / 1000);
}

/* How long something still lives by that. */
static int64_t time_left_s(int64_t until_s)
{
    return until_s - date_s();
}

static void ticket_acknowledged(struct kept_persona *p, uint32_t i, const char *payload)
{
    uint8_t ticket[8];
    char text[40];
    uint32_t there = find_persona(server(), name_of(i));
    (void)console_read_text(console_find(payload, "LKEY"), text, sizeof text);
    EXPECT(text[0] == '$' && read_hex(text + 1, ticket, sizeof ticket));
    p->tickets -= p->tickets > 0;
    p->ticket_known = there != NONE && journal_is_sound();
    p->ticket_unkept = there != NONE && !journal_is_sound();
    hash_lkey(ticket, p->ticket);
    if (there == NONE)
        return;
    p->ticket_until_s = sim.lived_s + time_left_s(persona_at(server(), there)->lkey_until_s);
    if (p->tickets == 0)
        EXPECT(memcmp(persona_at(server(), there)->lkey_hash, p->ticket, 16) == 0);
}

/* The journal has recovered: what was taken from memory alone is a promise. */
static void promises_hold(void)
{
    if (!journal_is_sound())
        return;
    for (uint32_t i = 0; i < PERSONAS; i++) {
        struct kept_persona *p = &sim.persona[i];
        p->ticket_known = p->ticket_known || p->ticket_unkept;
        p->ticket_unkept = false;
    }
    for (uint32_t i = 0; i < sim.races; i++)
        sim.race[i].unkept = false;
}

/* The figures as the server has them now must count what it says it has kept. */
static void result_acknowledged(struct kept_race *race, uint32_t winner)
{
    for (int k = 0; k < 2; k++) {
        uint32_t i = race->persona[k], there = i == NONE ? NONE : find_persona(server(), name_of(i));
        if (there == NONE)
            continue;
        struct kept_persona *p = &sim.persona[i];
        const struct figures *f = &persona_at(server(), there)->figures;
        bool first = race->acknowledged == 0 && race->asked == 1 && !p->several;
        p->several = p->several || p->results > 1;
        if (!p->any_figures && f->races < p->figures.races + first)
            FAIL("a result of %s is acknowledged, and does not count", name_of(i));
        bool alone = first && !p->any_figures && p->results == 1 && f->races == p->figures.races + 1;
        if (alone && (f->wins != p->figures.wins + (winner == (uint32_t)k) ||
                      f->losses != p->figures.losses + (winner == 1 - (uint32_t)k)))
            FAIL("%s has raced as number %d, and number %u has won: now it has %u wins and %u losses", name_of(i), k,
                 winner, f->wins, f->losses);
        p->figures = *f;
        p->results -= p->results > 0;
        p->several = p->several && p->results > 0;
    }
    for (int k = 0; k < 2 && race->acknowledged == 0; k++) {
        uint32_t i = race->persona[k];
        sim.raced[sim.results][k] = i == NONE || sim.persona[i].unsure ? NONE : i;
    }
    sim.results += race->acknowledged == 0;
    race->acknowledged++;
}

static void account_acknowledged(struct wire *w, const struct asked *q, const char *payload)
{
    struct kept_account *a = &sim.account[q->account];
    uint32_t there = find_account(server(), name_of(q->account));
    if (there == NONE)
        FAIL("account %s is acknowledged, and not there", name_of(q->account));
    bool set = q->kind[0] == 'c' || q->kind[1] == 'c' || q->kind[0] == 'e';
    if (!set && !is_maybe(a, q->password))
        FAIL("%s got in with a password that nobody set: %s", name_of(q->account), q->password);
    if (set || !a->known) {
        size_t open = 0; /* others that may set or use another one */
        for (uint32_t i = 0; i < sim.machine->peers; i++)
            for (size_t k = 0; k < sim.wire[i].asked_count; k++)
                open += sim.wire[i].asked[k].account == q->account && sim.wire[i].asked[k].password[0];
        bool good = verifies(account_at(server(), there), q->password);
        /* Of two that were open at once, the answer to the first may be told last. */
        if (!good && open == 0 && a->maybes < 2 && a->set_step < q->step)
            FAIL("the password of %s is acknowledged, and is another", name_of(q->account));
        char old[17];
        (void)snprintf(old, sizeof old, "%s", a->password);
        (void)snprintf(a->password, sizeof a->password, "%s", q->password);
        if (a->known)
            add_maybe(a, old); /* another request with it may be on its way */
        a->known = true;
        a->set_step = sim.step;
        if (good && open == 0)
            a->maybes = 0; /* what is not asked for any more is settled */
    }
    if (strcmp(q->kind, "auth") != 0 && strcmp(q->kind, "acct") != 0)
        return;
    w->account = q->account;
    char list[128];
    (void)console_read_text(console_find(payload, "PERSONAS"), list, sizeof list);
    for (uint32_t i = 0; i < PERSONAS; i++) {
        bool listed = strstr(list, name_of(i)) != NULL;
        struct kept_persona *p = &sim.persona[i];
        if (!listed && p->state == THERE && p->account == q->account && !p->unsure)
            FAIL("%s has lost its persona %s", name_of(q->account), name_of(i));
        if (listed && p->state != THERE)
            persona_is_there(i, q->account);
    }
}

static bool is_code(uint32_t code, const char *letters)
{
    return code == load_be32((const uint8_t *)letters);
}

/* The server has answered. `code` 0: it is done, and kept. */
static void on_answer(struct wire *w, const char *kind, uint32_t code, const char *payload)
{
    size_t at = 0;
    if (!strstr(ledger_kinds, kind))
        return;
    while (at < w->asked_count && strcmp(w->asked[at].kind, kind) != 0)
        at++;
    EXPECT(at < w->asked_count);
    struct asked q = w->asked[at];
    w->asked_count--;
    memmove(&w->asked[at], &w->asked[at + 1], (w->asked_count - at) * sizeof q);
    event("answered: %s account %s persona %s %s: %08x", kind, q.account == NONE ? "-" : name_of(q.account),
          q.persona == NONE ? "-" : name_of(q.persona), q.password, (unsigned)code);
    bool refused = code != 0 && !is_code(code, "fail"); /* for good */
    if (is_sanction(kind) && code == 0)
        sanction_acknowledged(&q);
    else if (is_sanction(kind) && refused)
        sanction_refused(&q);
    if (kind[0] == 'a' && q.account != NONE)
        judge_login(w, &q, code);
    if (code != 0 && q.firm && q.troubles == sim.troubles && !helper_shaky() && strcmp(kind, "auth") == 0 &&
        sim.account[q.account].maybes == 0 && strcmp(sim.account[q.account].password, q.password) == 0 &&
        (is_code(code, "pass") || is_code(code, "imst")))
        FAIL("%s is refused with its own password", name_of(q.account));
    if (code == 0 && q.account != NONE &&
        (strcmp(kind, "auth") == 0 || strcmp(kind, "acct") == 0 || strcmp(kind, "cpwd") == 0 ||
         (strcmp(kind, "edit") == 0 && q.password[0])))
        account_acknowledged(w, &q, payload);
    if (strcmp(kind, "auth") == 0 && code != 0)
        w->account = NONE;
    if (q.fleeting < FLEETING && code == 0)
        fleeting_acknowledged(&q);
    else if (q.fleeting < FLEETING)
        sim.fleeting[q.fleeting].asked -= sim.fleeting[q.fleeting].asked > 0;
    struct kept_persona *p = q.persona == NONE ? NULL : &sim.persona[q.persona];
    if (strcmp(kind, "cper") == 0 && p && code == 0) {
        if (find_persona(server(), name_of(q.persona)) == NONE)
            FAIL("persona %s is acknowledged, and not there", name_of(q.persona));
        persona_is_there(q.persona, w->account);
    } else if (strcmp(kind, "dper") == 0 && p && code == 0) {
        if (find_persona(server(), name_of(q.persona)) == NONE)
            persona_anew(q.persona, DELETED, NONE); /* else it has been made again meanwhile */
    } else if (strcmp(kind, "pers") == 0 && p && code == 0) {
        ticket_acknowledged(p, q.persona, payload);
        w->persona = q.persona;
    } else if (strcmp(kind, "pers") == 0 && p && refused) {
        p->tickets -= p->tickets > 0;
    } else if (strcmp(kind, "rank") == 0 && q.race != NONE && code == 0) {
        result_acknowledged(&sim.race[q.race], q.bit);
    } else if (strcmp(kind, "rank") == 0 && q.race != NONE && refused) {
        sim.race[q.race].asked--;
        for (int k = 0; k < 2; k++)
            if (sim.race[q.race].persona[k] != NONE)
                sim.persona[sim.race[q.race].persona[k]].results -=
                    sim.persona[sim.race[q.race].persona[k]].results > 0;
    } else if (strcmp(kind, "rept") == 0 && p && code == 0) {
        p->reports++;
        sim.reports_make_room = sim.reports_make_room || server()->reports.live > REPORTS - 16 ||
                                server()->report_lines.capacity - server()->report_lines.live < 3 * CHAT_LINES;
    } else if (strcmp(kind, "AUTH") == 0 && p && code == 0) {
        w->persona = q.persona;
        p->buddy_step = sim.step;
    } else if (kind[0] == 'R' && p && q.other != NONE && code == 0) {
        uint8_t *lists = &sim.lists[q.persona][q.other];
        bool there = find_persona(server(), name_of(q.other)) != NONE;
        *lists = (uint8_t)(kind[1] == 'A' && there ? *lists | q.bit : *lists & ~q.bit);
        if (sim.persona[q.persona].unsure || sim.persona[q.other].unsure || roster_is_asked_for(&q))
            return;
        sim.lists_unsure[q.persona][q.other] &= (uint8_t)~q.bit;
    } else if (strcmp(kind, "SEND") == 0 && code == 0) {
        letter_acknowledged(&sim.letter[q.letter], &q);
    }
}

/* A letter that was acknowledged before this one was asked for comes before it. */
static void expect_no_older(uint32_t i)
{
    const struct kept_letter *l = &sim.letter[i];
    for (uint32_t k = 0; k < sim.letters; k++) {
        const struct kept_letter *older = &sim.letter[k];
        if (older->to == l->to && older->kept_at > 0 && older->kept_at < l->asked_at && older->told == 0 &&
            !older->excused && !older->unheard && !sim.ever_ignored[older->to][older->from] &&
            older->until_s > lived_now_s() + SLACK_S && letter_is_there(k))
            FAIL("letter %u comes before letter %u", i, k);
    }
}

/* A letter has been written to somebody. */
static void on_letter_told(const struct wire *w, const char *payload)
{
    char body[64];
    (void)console_read_text(console_find(payload, "BODY"), body, sizeof body);
    uint32_t i = body[0] == 'L' ? (uint32_t)strtoul(body + 1, NULL, 10) : NONE;
    EXPECT(i < sim.letters);
    struct kept_letter *l = &sim.letter[i];
    if (w->persona != l->to)
        FAIL("letter %u for %s went to somebody else", i, name_of(l->to));
    if (l->unheard && mute_of(l->to) != mute_of(l->from))
        FAIL("letter %u is told, and %s is muted", i, name_of(l->from));
    event("letter %u is told to %s", i, name_of(l->to));
    uint32_t on = (uint32_t)(w - sim.wire);
    if (l->told == 0)
        expect_no_older(i);
    if (l->told++ > 0 && (l->over || (l->told_in == sim.lives && !l->broke)))
        FAIL("letter %u came twice", i);
    l->broke = false;
    l->told_in = sim.lives;
    l->told_on = on;
    l->told_step = sim.step;
}

static void wire_broke(uint32_t on)
{
    sim.wire[on].closed = true;
    for (uint32_t i = 0; i < sim.letters; i++) {
        struct kept_letter *l = &sim.letter[i];
        l->broke =
            l->broke || (l->told > 0 && l->told_in == sim.lives && l->told_on == on && sim.step <= l->told_step + 2);
    }
}

static void on_race_told(const char *payload)
{
    char ticket[40];
    uint8_t bytes[16];
    (void)console_read_text(console_find(payload, "AUTH"), ticket, sizeof ticket);
    EXPECT(read_hex(ticket, bytes, sizeof bytes));
    if (race_with(ticket) != NONE || sim.races == RACES)
        return;
    uint32_t there = find_race_ticket(server(), bytes);
    if (there == NONE)
        FAIL("a race starts, and its ticket is nowhere");
    struct kept_race *r = &sim.race[sim.races++];
    memset(r, 0, sizeof *r);
    (void)snprintf(r->ticket, sizeof r->ticket, "%s", ticket);
    r->persona[0] = number_in(payload, "P1");
    r->persona[1] = number_in(payload, "P2");
    for (int k = 0; k < 2; k++) { /* who is told to host is who is booked as the host */
        uint32_t booked = race_ticket_at(server(), there)->persona[k];
        if (booked != NONE && number_of(persona_at(server(), booked)->name) != r->persona[k])
            FAIL("%s is told as number %d of a race, and the ticket has %s", name_of(r->persona[k]), k,
                 persona_at(server(), booked)->name);
    }
    r->until_s = sim.lived_s + time_left_s(race_ticket_at(server(), there)->when_s + RACE_S);
    r->unkept = !journal_is_sound(); /* better a race that is not kept than none */
}

static void on_frame_out(struct wire *w, const char *kind, uint32_t code, const char *payload)
{
    if (strcmp(kind, "RECV") == 0)
        on_letter_told(w, payload);
    else if (strcmp(kind, "+ses") == 0)
        on_race_told(payload);
    else if (strcmp(kind, "+msg") == 0)
        line_told(w, payload);
    else if (strcmp(kind, "@dir") == 0)
        judge_directory(w, payload);
    else if (strcmp(kind, "mesg") != 0)
        on_answer(w, kind, code, payload);
}

/* Takes one whole frame off the front of what has passed; false: there is none. */
static bool take_frame(uint8_t *bytes, size_t *size, char kind[5], uint32_t *code, char *payload, size_t room)
{
    if (*size < HEADER_BYTES || *size < load_be32(bytes + 8))
        return false;
    size_t n = load_be32(bytes + 8);
    EXPECT(n >= HEADER_BYTES && n - HEADER_BYTES < room);
    memcpy(kind, bytes, 4);
    kind[4] = 0;
    *code = load_be32(bytes + 4);
    memcpy(payload, bytes + HEADER_BYTES, n - HEADER_BYTES);
    payload[n - HEADER_BYTES] = 0;
    *size -= n;
    memmove(bytes, bytes + n, *size);
    return true;
}

static void count_call(void)
{
    if (++sim.calls > CALLS_A_STEP)
        FAIL("the server spins");
}

/* What the core is told with what a browser or the operator sends. */
static void notice_health(void)
{
    const struct shell *sh = &sim.machine->shell;
    bool failing = sh->journal.fd < 0 || sh->helper.fd < 0 || (sh->helper.jobs > 0 && sh->helper.job[0].tries > 0);
    for (uint32_t i = 0; i < BROWSERS; i++)
        for (uint32_t k = 0; k < sim.browser[i].looks; k++) {
            sim.browser[i].look[k].failing |= failing || sh->journal_full; /* unless it has room again */
            sim.browser[i].look[k].well |= !failing;
        }
}

static void at_read(struct machine *m, struct peer *p, const uint8_t *bytes, size_t size)
{
    struct wire *w = &sim.wire[p - m->peer];
    char kind[5], payload[4096];
    uint32_t code;
    count_call();
    if (p->http || p->control)
        notice_health();
    if (p->http)
        return;
    EXPECT(w->in_bytes + size <= sizeof w->in);
    memcpy(w->in + w->in_bytes, bytes, size);
    w->in_bytes += size;
    while (take_frame(w->in, &w->in_bytes, kind, &code, payload, sizeof payload))
        on_request(w, kind, payload);
}

static void at_write(struct machine *m, struct peer *p, const uint8_t *bytes, size_t size)
{
    struct wire *w = &sim.wire[p - m->peer];
    char kind[5], payload[4096];
    uint32_t code;
    count_call();
    sim.hash = hash_more(sim.hash, bytes, size);
    while (size > 0 && !p->http) {
        size_t part = sizeof w->out - w->out_bytes < size ? sizeof w->out - w->out_bytes : size;
        EXPECT(part > 0);
        memcpy(w->out + w->out_bytes, bytes, part);
        w->out_bytes += part;
        bytes += part;
        size -= part;
        while (take_frame(w->out, &w->out_bytes, kind, &code, payload, sizeof payload))
            on_frame_out(w, kind, code, payload);
    }
}

/* ---- The ledger: comparing --------------------------------------------------------- */

/* All that was acknowledged is there. What was not is found to be so or so; but if the journal
 * has failed, what was cut off behind its sound part may be there again after a power cut. */
static void compare_accounts(void)
{
    const struct nascar *s = server();
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        struct kept_account *a = &sim.account[i];
        uint32_t there = find_account(s, name_of(i));
        if (there == NONE && a->known)
            FAIL("account %s is lost", name_of(i));
        if (there != NONE && !a->known && a->maybes == 0)
            FAIL("account %s comes from nowhere", name_of(i));
        if (there != NONE) {
            const struct account *account = account_at(s, there);
            bool good = a->known && verifies(account, a->password);
            for (size_t k = 0; !good && k < a->maybes; k++) {
                good = verifies(account, a->maybe[k]);
                if (good)
                    memcpy(a->password, a->maybe[k], sizeof a->password);
            }
            if (!good && a->maybes < MAYBES)
                FAIL("the password of %s is lost: %s, not %s nor one of %zu", name_of(i), account->hash, a->password,
                     a->maybes);
            a->known = good;
        }
        if (journal_is_sound())
            a->maybes = 0;
    }
}

static void compare_personas(void)
{
    const struct nascar *s = server();
    for (uint32_t i = 0; i < PERSONAS; i++) {
        struct kept_persona *p = &sim.persona[i];
        uint32_t there = find_persona(s, name_of(i));
        if (there == NONE && p->state == THERE && !p->unsure)
            FAIL("persona %s is lost", name_of(i));
        if (there != NONE && p->state == DELETED && !p->unsure)
            FAIL("persona %s was deleted, and is back", name_of(i));
        uint32_t account = there == NONE ? NONE : number_of(account_at(s, persona_at(s, there)->account)->name);
        if (there != NONE && p->state == THERE && !p->unsure && p->account != account)
            FAIL("persona %s is of another account", name_of(i));
        if (there == NONE && p->state == THERE)
            persona_anew(i, NEVER, NONE);
        p->unsure = account_is_asked_for(i) || (p->unsure && !journal_is_sound());
        if (there == NONE)
            continue;
        p->state = THERE;
        p->account = account;
        const struct persona *persona = persona_at(s, there);
        const struct figures *f = &persona->figures;
        if (!p->any_figures && f->races != p->figures.races && p->results == 0)
            FAIL("%s has raced %u times, not %u", name_of(i), f->races, p->figures.races);
        if (!p->any_figures && f->races < p->figures.races)
            FAIL("%s has lost races", name_of(i));
        if (!p->any_figures && f->races == p->figures.races && memcmp(f, &p->figures, sizeof *f) != 0)
            FAIL("%s has other figures", name_of(i));
        int64_t left_s = time_left_s(persona->lkey_until_s), promised_s = p->ticket_until_s - sim.lived_s;
        bool same = memcmp(persona->lkey_hash, p->ticket, 16) == 0;
        if (p->ticket_known && p->tickets == 0 && promised_s > SLACK_S && (!same || left_s < promised_s - SLACK_S))
            FAIL("the ticket of %s is lost: it has %lld s left, not %lld", name_of(i), (long long)left_s,
                 (long long)promised_s);
        p->figures = *f;
        p->any_figures = false;
        p->results = p->tickets = 0;
        p->ticket_known = journal_is_sound(); /* else what was cut off may be there again after a power cut */
        p->ticket_unkept = false;
        memcpy(p->ticket, persona->lkey_hash, 16);
        p->ticket_until_s = sim.lived_s + left_s;
    }
}

static void compare_rosters(void)
{
    const struct nascar *s = server();
    uint8_t truth[PERSONAS];
    for (uint32_t i = 0; i < PERSONAS; i++) {
        uint32_t there = find_persona(s, name_of(i));
        memset(truth, 0, sizeof truth);
        for (uint32_t e = there == NONE ? NONE : persona_at(s, there)->edges; e != NONE; e = edge_at(s, e)->next) {
            uint32_t other = number_of(persona_at(s, edge_at(s, e)->other_and_lists >> 2)->name);
            EXPECT(other != NONE);
            truth[other] = edge_at(s, e)->other_and_lists & 3;
        }
        for (uint32_t k = 0; k < PERSONAS; k++)
            if ((truth[k] ^ sim.lists[i][k]) & ~sim.lists_unsure[i][k])
                FAIL("%s has %s on lists %u, not %u", name_of(i), name_of(k), truth[k], sim.lists[i][k]);
        memcpy(sim.lists[i], truth, sizeof truth);
        if (journal_is_sound())
            memset(sim.lists_unsure[i], 0, sizeof sim.lists_unsure[i]);
    }
}

static void compare_letters(void)
{
    const struct nascar *s = server();
    uint8_t there[LETTERS / 8];
    memset(there, 0, sizeof there);
    for (uint32_t k = live_from(s, &s->messages, 0); k != NONE; k = live_from(s, &s->messages, k + 1)) {
        const struct message *m = message_at(s, k);
        uint32_t i = m->body[0] == 'L' ? (uint32_t)strtoul(m->body + 1, NULL, 10) : NONE;
        if (i < sim.letters)
            there[i / 8] = (uint8_t)(there[i / 8] | 1u << i % 8);
    }
    for (uint32_t i = 0; i < sim.letters; i++) {
        struct kept_letter *l = &sim.letter[i];
        bool is_there = there[i / 8] >> i % 8 & 1;
        if (is_there && l->over)
            FAIL("letter %u to %s was read, and is back", i, name_of(l->to));
        l->over = l->over || (l->state == KEPT && l->told > 0 && !is_there && journal_is_sound());
        if (l->state == KEPT && l->told == 0 && !is_there && !l->excused && !sim.ever_ignored[l->to][l->from] &&
            l->until_s > sim.lived_s + SLACK_S)
            FAIL("letter %u from %s to %s is lost", i, name_of(l->from), name_of(l->to));
    }
}

static void compare_races(void)
{
    const struct nascar *s = server();
    uint32_t open[PERSONAS] = {0};
    int32_t reports[PERSONAS] = {0};
    for (uint32_t i = sim.races; i-- > 0;) {
        struct kept_race *r = &sim.race[i];
        uint8_t bytes[16];
        for (int k = 0; k < 2; k++) /* the oldest make way */
            if (r->persona[k] != NONE && ++open[r->persona[k]] > RACES_PER_PERSONA - 2)
                r->excused = true;
        EXPECT(read_hex(r->ticket, bytes, sizeof bytes));
        bool there = find_race_ticket(s, bytes) != NONE;
        if (!there && r->asked < 2 && !r->excused && !r->unkept && r->until_s > sim.lived_s + SLACK_S)
            FAIL("the race %s is lost", r->ticket);
        r->excused = r->excused || !there;
    }
    if (s->results.live < sim.results && s->results.live < RESULTS)
        FAIL("of %u results %u are kept", sim.results, s->results.live);
    for (uint32_t k = live_from(s, &s->reports, 0); k != NONE; k = live_from(s, &s->reports, k + 1)) {
        uint32_t by = number_of(report_at(s, k)->by);
        if (by != NONE && !sim.closing[report_at(s, k)->id % CLOSING])
            reports[by]++;
    }
    for (uint32_t i = 0; i < PERSONAS; i++) {
        if (reports[i] < sim.persona[i].reports && !sim.reports_make_room)
            FAIL("an abuse report by %s is lost", name_of(i));
        sim.persona[i].reports = reports[i];
    }
}

static void compare_ledger(void)
{
    compare_accounts();
    compare_personas();
    compare_rosters();
    compare_letters();
    compare_races();
    compare_sanctions();
    compare_fleeting();
}

/* ---- A second state, which reads the journal so far -------------------------------------- */

/* What is kept, a record each, in an order that does not depend on how it came. */
struct kept {
    size_t count, room;
    uint8_t **bytes;
};

static int compare_records(const void *a, const void *b)
{
    const uint8_t *x = *(uint8_t *const *)a, *y = *(uint8_t *const *)b;
    uint32_t m = load_be32(x + 8), n = load_be32(y + 8);
    int order = memcmp(x, y, m < n ? m : n);
    return order ? order : m < n ? -1 : m > n;
}

/* Not what the records of a clock say: their FROM and TO are what is newest. */
static void list_kept(const struct nascar *s, struct kept *k)
{
    struct nascar_cursor cursor = {0};
    struct nascar_record record;
    memset(k, 0, sizeof *k);
    while (nascar_next_kept(s, &cursor, &record)) {
        if (record.size == 0 || memcmp(record.bytes, "clck", 4) == 0)
            continue;
        if (k->count == k->room)
            k->bytes = realloc(k->bytes, (k->room = 2 * k->room + 64) * sizeof *k->bytes);
        EXPECT(k->bytes && (k->bytes[k->count] = malloc(record.size + 1)) != NULL);
        memcpy(k->bytes[k->count], record.bytes, record.size);
        k->bytes[k->count++][record.size] = 0;
    }
    if (k->count > 0)
        qsort(k->bytes, k->count, sizeof *k->bytes, compare_records);
}

static void forget_kept(struct kept *k)
{
    while (k->count > 0)
        free(k->bytes[--k->count]);
    free(k->bytes);
}

/* A state as a start makes it, which has read the journal all at one moment. */
static struct nascar *second_state(void)
{
    struct shell reader = {.options = sim.machine->shell.options};
    const struct inode *journal = &sim.disk.inode[sim.disk.journal - 1];
    struct journal_reader r;
    struct span frames, record;
    uint8_t pool[NASCAR_ENTROPY_BYTES] = {1};
    struct nascar_event e = {.type = NASCAR_ENTROPY, .conn = NONE, .bytes = pool, .size = sizeof pool};
    for (journal_open(&r, journal->bytes, journal->size); journal_next(&r, &frames);)
        while (take_record(&frames, &record)) {
            const struct durable *durable = find_durable(record.bytes);
            if (durable && durable->limit)
                ++*(uint32_t *)(void *)((uint8_t *)&reader.kept + durable->limit);
        }
    struct nascar_limits limits = wanted_limits(&reader.options);
    reader.options.max_accounts = UINT32_MAX; /* so it does not log that there are more */
    raise_limits(&reader, &limits);
    size_t size = nascar_arena_size(&limits);
    struct nascar *s = nascar_init(calloc(1, size), size, &limits);
    EXPECT(s != NULL && nascar_step(s, &e));
    e.type = NASCAR_RECORD;
    for (journal_open(&r, journal->bytes, journal->size); journal_next(&r, &frames);)
        while (take_record(&frames, &record)) {
            e.bytes = record.bytes;
            e.size = (uint32_t)record.size;
            EXPECT(nascar_step(s, &e));
        }
    return s;
}

/* DESIGN 5: whatever passed between the records, a start that reads them all at once
 * decides as was decided then. What has expired may be there or not. */
static void compare_second(void)
{
    const struct shell *sh = &sim.machine->shell;
    const struct nascar *s = server();
    struct kept first, second;
    if (!journal_is_sound() || sh->urgent > 0 || s->record_count != s->record_taken || sim.disk.removed)
        return;
    struct nascar *again = second_state();
    const char *broken = nascar_check(again);
    if (broken)
        FAIL("the journal so far: %s", broken);
    again->newest_record_s = kept_now_s(s);
    list_kept(s, &first);
    list_kept(again, &second);
    for (size_t i = 0; i < first.count || i < second.count; i++)
        if (i >= first.count || i >= second.count || compare_records(&first.bytes[i], &second.bytes[i]) != 0)
            FAIL("the journal so far gives another state, of %zu and not %zu records:\n%s%sand not\n%s%s", second.count,
                 first.count, i < second.count ? (char *)second.bytes[i] : "",
                 i < second.count ? (char *)second.bytes[i] + HEADER_BYTES : "nothing\n",
                 i < first.count ? (char *)first.bytes[i] : "",
                 i < first.count ? (char *)first.bytes[i] + HEADER_BYTES : "nothing\n");
    uint32_t unset = live_from(s, &s->unset_runs, 0);
    if (s->unset_runs.live != again->unset_runs.live ||
        (unset != NONE &&
         unset_run_at(s, unset)->since_s != unset_run_at(again, live_from(again, &again->unset_runs, 0))->since_s))
        FAIL("the journal so far says something else of the clock");
    forget_kept(&first);
    forget_kept(&second);
    free(again);
    tally.seconds++;
}

/* ---- The disk ------------------------------------------------------------------------ */

static bool disk_call_fails(struct machine *m, const char *call)
{
    (void)m;
    count_call();
    if (sim.crash_in > 0 && --sim.crash_in == 0) {
        event("the server dies at %s", call);
        longjmp(*sim.crashed, 1);
    }
    bool fails = sim.disk_once || (sim.step < sim.disk_bad_until && one_in(sim.disk_one_in));
    sim.disk_once = false;
    if (!fails || sim.quiet)
        return false;
    sim.troubles++;
    event("disk: %s fails", call);
    errno = one_in(2) ? ENOSPC : EIO;
    return true;
}

/* What the power cut leaves of a file: behind what was synced, any part of what
 * stood there, in any order, up to any byte; the rest is zeros. */
static void tear(struct inode *inode)
{
    size_t from = inode->synced, to = inode->peak > inode->size ? inode->peak : inode->size;
    if (to <= from) {
        inode->size = from;
        return;
    }
    size_t end = one_in(3) ? from : one_in(2) ? to : from + any((uint32_t)(to - from) + 1);
    bool holes = one_in(2);
    for (size_t at = from; at < end;) {
        size_t n = one_in(2) ? 1 + any(64) : 512 - at % 512;
        n = n < end - at ? n : end - at;
        if (holes && one_in(3))
            memset(inode->bytes + at, one_in(4) ? 0xA5 : 0, n);
        at += n;
    }
    inode->size = inode->synced = inode->peak = end;
}

/* The machine stops; `power`: what was not synced may be lost. */
static void disk_crash(bool power)
{
    struct disk *d = &sim.disk;
    for (uint32_t i = 0; power && i < d->inodes; i++)
        tear(&d->inode[i]);
    if (power && d->journal != d->kept_journal && one_in(2))
        d->journal = d->kept_journal; /* the renaming was not on the disk yet */
    if (power && one_in(2))
        d->fresh = 0;
    for (uint32_t i = 0; i < d->inodes; i++) {
        d->inode[i].opened = false;
        d->inode[i].broken = false;
        d->inode[i].torn = 0; /* a start reads what is there */
    }
}

/* ---- The network ---------------------------------------------------------------------- */

static struct wire *wire_of(const struct peer *p)
{
    return &sim.wire[p - sim.machine->peer];
}

static void bytes_add(struct bytes *b, const uint8_t *bytes, size_t size)
{
    if (b->size + size > b->room) {
        b->room = 2 * (b->size + size);
        b->at = realloc(b->at, b->room);
        EXPECT(b->at);
    }
    if (size > 0)
        memcpy(b->at + b->size, bytes, size);
    b->size += size;
}

/* Nobody looks at the other end any more. */
static void let_go(struct actor *a, int link, bool reset)
{
    struct peer *p = a->link[link];
    wire_of(p)->actor = NONE;
    p->reset = p->reset || reset;
    p->window = 0;
    a->link[link] = NULL;
    a->up[link].size = 0;
}

static void link_pump(struct actor *a, int i, bool all)
{
    struct console *c = a->console;
    enum console_link link = (enum console_link)i;
    uint8_t bytes[1024];
    uint32_t address;
    uint16_t port;
    size_t size;
    if (!a->link[i]) {
        if (!console_wants(c, link, &address, &port))
            return;
        struct peer *p = a->link[i] = peer_new(sim.machine);
        p->ip = a->ip;
        struct wire *w = wire_of(p);
        memset(w, 0, sizeof *w);
        w->actor = (uint32_t)(a - sim.actor);
        w->account = w->persona = NONE;
        w->ip = a->ip;
        p->out_bytes = p->in_bytes = 0;
        console_link_opened(c, link);
    }
    struct peer *p = a->link[i];
    struct wire *w = wire_of(p);
    while ((size = console_take(c, link, bytes, sizeof bytes)) > 0) {
        bytes_add(&a->up[i], bytes, size);
        memcpy(w->password, c->sent_password, sizeof w->password);
    }
    struct bytes *up = &a->up[i];
    size = all || one_in(2) ? up->size : any((uint32_t)up->size + 1);
    peer_send_bytes(p, up->at, size);
    up->size -= size;
    if (up->size > 0)
        memmove(up->at, up->at + size, up->size);
    size = all || one_in(2) ? p->out_bytes : any((uint32_t)p->out_bytes + 1);
    if (size > 0) {
        console_feed(c, link, p->out, size);
        p->out_bytes -= size;
        memmove(p->out, p->out + size, p->out_bytes);
    }
    p->hung_up = p->hung_up || (console_hangs_up(c, link) && up->size == 0);
    if (p->closed && p->out_bytes == 0) {
        console_link_closed(c, link);
        w->actor = NONE;
        a->link[i] = NULL;
        up->size = 0;
    }
}

static void actor_pump(struct actor *a, bool all)
{
    struct console *c = a->console;
    console_tick(c, sim.ms);
    if (sim.ms < a->stalled_until_ms)
        return;
    if (a->stalled_until_ms > 0) {
        for (int i = 0; i < CONSOLE_LINKS; i++)
            if (a->link[i])
                a->link[i]->window = SIZE_MAX;
        a->stalled_until_ms = 0;
    }
    for (int i = 0; i < CONSOLE_LINKS; i++)
        link_pump(a, i, all);
    if (c->misled[0])
        FAIL("%s is misled: %s", c->name, c->misled);
    if (c->chat.count > 256)
        c->chat.count = 0;
    if (c->letters.count > 64)
        c->letters.count = 0;
}

static void move_bytes(bool all)
{
    struct machine *m = sim.machine;
    uint32_t from = any(sim.actors);
    for (uint32_t i = 0; i < sim.actors; i++)
        if (all || !one_in(3))
            actor_pump(&sim.actor[(i + from) % sim.actors], all);
    for (size_t i = 0; i < m->peers; i++) {
        struct peer *p = &m->peer[i];
        if (p->closed && !sim.wire[i].closed)
            wire_broke((uint32_t)i);
        if (sim.wire[i].looked_at)
            continue;
        if (p->closed && sim.wire[i].actor == NONE && !p->forgotten) {
            p->forgotten = true;
            p->out_bytes = 0;
        } else if (sim.wire[i].actor == NONE) {
            p->hung_up = p->hung_up || (p->control && p->out_bytes > 0); /* the operator has his answer */
            p->out_bytes = 0;
        }
    }
}

/* ---- The machine's life ------------------------------------------------------------------ */

static void note_peers(const struct machine *m)
{
    const struct shell *sh = &m->shell;
    EXPECT(sh->conns <= PEERS);
    memset(sim.waits, 0, sizeof sim.waits);
    for (uint32_t place = 0; place < sh->open; place++) {
        const struct pollfd *polled = &sh->polled[FIRST_SOCKET + place];
        uint32_t c = sh->number_of[place];
        sim.peer_of[c] = (uint32_t)(polled->fd - FIRST_FD);
        sim.waits[c] = m->peer[sim.peer_of[c]].in_bytes > 0 && (polled->events & POLLIN);
    }
}

/* What has arrived is read before a deadline passes; and nobody was silent while the
 * server stood still, as it asked nobody. */
static void judge_close(const struct machine *m, const char *line)
{
    const char *conn = strstr(line, "event=close conn=");
    bool silent = strstr(line, "reason=\"silent\"") != NULL;
    if (!conn || m->hide_one_in > 0 || m->one_in > 0 || !(silent || strstr(line, "reason=\"no frame in time\"")))
        return;
    uint32_t c = (uint32_t)strtoul(conn + strlen("event=close conn="), NULL, 10), i = sim.peer_of[c];
    if (i >= m->peers || sim.wire[i].actor == NONE || m->peer[i].hung_up || m->peer[i].reset)
        return;
    const struct actor *a = &sim.actor[sim.wire[i].actor];
    bool whole = silent || !m->ragged;
    for (int link = 0; link < CONSOLE_LINKS; link++)
        whole = whole && (silent || a->link[link] != &m->peer[i] || a->up[link].size == 0);
    if ((sim.waits[c] && whole) || (silent && sim.all_speak && a->stalled_until_ms == 0))
        FAIL("%s is dropped, though it was heard: %s", a->console->name, line);
}

static void log_events(struct machine *m)
{
    for (char *line = m->log, *end; line && (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = 0;
        judge_close(m, line);
        event("log %s", strlen(line) > 26 ? line + 26 : line);
    }
    m->log_bytes = m->log_checked = 0;
    if (m->log)
        m->log[0] = 0;
}

/* Time passes by the clock that nobody sets. */
static void count_time(void)
{
    sim.lived_s += (int64_t)(sim.machine->now_ms / 1000 - sim.counted_ms / 1000);
    sim.counted_ms = sim.machine->now_ms;
}

/* Turns until so much time has passed, or once. */
static void run(uint64_t ms)
{
    struct machine *m = sim.machine;
    m->hurried = 0;
    note_peers(m);
    turn(m, m->now_ms + ms);
    shell_log_flush(&m->shell);
    sim.ms = m->now_ms + sim.offset_ms;
    count_time();
    log_events(m);
    sim.troubles += m->shell.journal.fd < 0;
    promises_hold();
    tally.turns++;
}

static void write_recording(const struct inode *recording)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s-%u.rec", recordings, sim.seed, sim.lives);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(recording->bytes, 1, recording->size, file) != recording->size || fclose(file) != 0) {
        printf("sim: %s cannot be written\n", path);
        exit(1);
    }
}

/* What was recorded runs again to the same end. */
static void replay_life(struct machine *m)
{
    unsigned long events = 0, checkpoints = 0;
    if (m->recording.size == 0)
        return;
    if (m->recording.opened)
        recording_close(&m->shell);
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    if (broken)
        FAIL("the recording, after %lu events: %s", events, broken);
    tally.checkpoints += checkpoints;
    if (recordings)
        write_recording(&m->recording);
}

static void machine_gone(bool power)
{
    struct machine *m = sim.machine;
    for (uint32_t i = 0; i < sim.actors; i++) {
        struct actor *a = &sim.actor[i];
        for (int k = 0; k < CONSOLE_LINKS; k++) {
            struct peer *p = a->link[k];
            if (!p)
                continue;
            if (!power && p->out_bytes > 0)
                console_feed(a->console, (enum console_link)k, p->out, p->out_bytes);
            console_link_closed(a->console, (enum console_link)k);
            a->link[k] = NULL;
            a->up[k].size = 0;
        }
        a->stalled_until_ms = 0;
    }
    sim.offset_ms += m->now_ms;
    count_time();
    sim.last_date_s = date_s();
    sim.clock_unsure = server()->setting || !journal_is_sound();
    sim.clock_unset = server()->unset && !sim.clock_unsure;
    if (sim.never_set && !server()->unset)
        FAIL("the server knows the date by a clock that nobody has set");
    replay_life(m);
    for (uint32_t i = 0; i < PEERS; i++)
        sim.wire[i].asked_count = 0;
    memset(sim.closing, 0, sizeof sim.closing);
    machine_free(m);
    sim.machine = NULL;
    memset(sim.wire, 0, sizeof sim.wire);
    memset(sim.browser, 0, sizeof sim.browser);
    tally.crashes++;
}

/* The machine's wall clock is right but for some seconds. */
static void put_wall_right(struct machine *m)
{
    m->wall_offset_s = WALL_S + (int64_t)(sim.ms / 1000) - 1767225600 - (int64_t)(m->now_ms / 1000) + any(10) - 5;
}

/* Up to 25 years, either way. */
static int64_t any_years_s(void)
{
    return (int64_t)(any64() % (50LL * YEAR_S)) - 25LL * YEAR_S;
}

/* What a machine's wall clock says when it boots. */
static void set_wall(struct machine *m)
{
    put_wall_right(m);
    sim.never_set = one_in(8);
    if (sim.never_set)
        m->wall_offset_s = -1767225600 - (int64_t)(m->now_ms / 1000); /* a clock that nobody has set */
    else if (one_in(12))
        m->wall_offset_s += any_years_s();
    else if (one_in(12))
        m->wall_offset_s -= any(90 * 86400); /* the date of its newest file */
}

/* The server has started: how long does it take itself to have been away? It cannot
 * know if its clock was not set before. */
static void count_absence(void)
{
    struct machine *m = sim.machine;
    int64_t from_s = sim.clock_unsure ? server()->newest_record_s : sim.last_date_s;
    struct nascar_event now = {.type = NASCAR_CLOCK, .conn = NONE};
    shell_step(&m->shell, &now);
    int64_t absent_s = date_s() - from_s;
    sim.lived_s += sim.lives > 1 && absent_s > 0 && !sim.clock_unset ? absent_s : 0;
    sim.counted_ms = m->now_ms;
}

/* Starts on what is there. A disk that fails may stop it; one that does not must not. */
static void boot(void)
{
    jmp_buf here, *const before = sim.crashed;
    for (volatile int attempt = 0;; attempt++) {
        sim.crashed = &here;
        if (setjmp(here) != 0) {
            bool power = !one_in(3);
            event("while it started%s", power ? ", and the power goes" : "");
            disk_crash(power);
            machine_free(sim.machine);
            sim.machine = NULL;
        }
        sim.all_speak = false;
        struct machine *m = sim.machine = machine_make(&sim.disk);
        uint32_t troubles = sim.troubles;
        if (attempt > 2) {
            sim.disk_bad_until = 0;
            sim.crash_in = 0;
            sim.disk_once = false;
        }
        sim.lives++;
        sim.calls = 0;
        sim.disk.fails = disk_call_fails;
        m->now_ms = 1 + (one_in(2) ? any(5000) : any64() % 10000000000u);
        set_wall(m);
        m->chance = (uint32_t)any64();
        m->at_read = at_read;
        m->at_write = at_write;
        m->at_answer = at_answer;
        memset(sim.dns_answers, 0, sizeof sim.dns_answers);
        m->records = sim.records;
        m->check_one_in = sim.steps > LONG_STEPS ? 16 : 0;
        m->tick_us = one_in(3) ? any(4000) : 0;
        m->ragged = !sim.quiet && one_in(2);
        m->one_in = !sim.quiet && one_in(3) ? 4 + any(30) : 0;
        m->hide_one_in = !sim.quiet && one_in(2) ? 2 + any(6) : 0;
        (void)lseek(complaints, 0, SEEK_SET);
        int usual = dup(STDERR_FILENO);
        (void)dup2(complaints, STDERR_FILENO);
        bool good = machine_start(m, sim.arguments);
        (void)dup2(usual, STDERR_FILENO);
        (void)close(usual);
        log_events(m);
        if (good)
            break;
        char text[256] = "";
        (void)lseek(complaints, 0, SEEK_SET);
        ssize_t n = read(complaints, text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
        text[strcspn(text, "\n")] = 0;
        if (troubles == sim.troubles)
            FAIL("it does not start on a sound disk: %s", text);
        event("it does not start: %s", text);
        disk_crash(false);
        machine_free(m);
    }
    sim.crashed = before;
    sim.offset_ms = sim.ms - sim.machine->now_ms;
    event("life %u begins, journal of %llu bytes", sim.lives, (unsigned long long)sim.machine->shell.journal.size);
    count_absence();
    check_shell(sim.machine);
    compare_ledger();
}

static void crash(void)
{
    bool power = !one_in(3);
    log_events(sim.machine);
    event(power ? "the power goes" : "the server is killed");
    machine_gone(power);
    disk_crash(power);
    sim.ms += any(one_in(4) ? 100000 : 3000);
    boot();
}

/* SIGTERM, and a start. */
static void stop(void)
{
    event("it is told to stop");
    sim.machine->shell.stopping = true;
    sim.machine->shell.stop_signal = SIGTERM;
    shell_loop(&sim.machine->shell);
    log_events(sim.machine);
    machine_gone(false);
    disk_crash(false);
    boot();
}

/* Somebody removes the journal or its folder, cuts it, or writes to it; then the
 * server is told to stop, before anybody has changed anything. */
static void lay_hands_on(struct disk *d)
{
    sim.disk_bad_until = 0;
    sim.disk_once = false;
    sim.crash_in = 0;
    d->founds = 0;
    uint32_t what = any(4);
    struct inode *inode = d->journal > 0 ? &d->inode[d->journal - 1] : NULL;
    event("hands on the journal: %u", what);
    sim.troubles++;
    if (what == 0 && inode)
        inode->size = any((uint32_t)inode->size);
    else if (what == 1 && inode)
        inode_append(inode, "nonsense", 8);
    else
        d->journal = 0;
    if (what == 3)
        d->removed = true;
    sim.handled = true;
    stop();
    sim.handled = false;
}

/* ---- What players do ------------------------------------------------------------------------ */

static const char *const passwords[] = {"open wheel", "pass word", "drafting", "sesame", "mad4"};

static const char *password_for(uint32_t account)
{
    const struct kept_account *a = &sim.account[account];
    return a->known ? a->password : a->maybes > 0 && one_in(2) ? a->maybe[0] : passwords[account % 5];
}

static void act_login(struct actor *a, uint32_t own, enum deed deed)
{
    struct console *c = a->console;
    uint32_t account = own + (one_in(6) ? ACTORS : 0);
    if (deed == DO_OTHERS_ACCOUNT)
        account = any(sim.actors) + (one_in(4) ? ACTORS : 0);
    char password[17];
    (void)snprintf(password, sizeof password, "%s",
                   deed == DO_WRONG_PASSWORD ? passwords[any(5)] : password_for(account));
    uint32_t persona = one_in(5) ? any_persona() : account;
    if (c->stage == CONSOLE_PERSONAS) {
        console_choose_persona(c, name_of(persona));
        return;
    }
    if (c->stage != CONSOLE_OFF && c->stage != CONSOLE_LOGIN)
        return;
    c->habits.saved_login = one_in(4);
    c->habits.pad_ms = one_in(6) ? any(20000) : 0;
    c->habits.slow_chal = one_in(5);
    c->habits.peeks = one_in(5);
    c->habits.no_chal_star = one_in(6);
    c->habits.no_buddy = one_in(8);
    if (deed == DO_SIGNUP)
        console_signup(c, name_of(account), password, "a@example.org", name_of(persona));
    else
        console_login(c, name_of(account), password, name_of(persona));
}

static const char *any_room(void)
{
    static char room[32];
    static const char *const lasting[] = {"East", "West", "Beginner", ""};
    uint32_t n = any(8);
    (void)snprintf(room, sizeof room, "C.r%u", any(4));
    return n < 4 ? lasting[n] : n < 6 ? "East" : room;
}

static void act_result(struct console *c)
{
    struct console_result r;
    memset(&r, 0, sizeof r);
    for (int k = 0; k < 2; k++) {
        r.start[k] = (int32_t)any(10) + 1;
        r.finish[k] = (int32_t)any(20) * 2 + 1 + k;
        r.laps[k] = (int32_t)any(50);
        r.led[k] = (int32_t)any(20);
        r.disconnected[k] = one_in(8) ? 1000 : -1;
        r.disqualified[k] = -1;
    }
    r.length = 50;
    if (c->race_ticket[0])
        console_report_race(c, &r);
}

static void act_letter(struct console *c)
{
    char body[32];
    uint32_t to = any_persona(), from = number_of(c->persona);
    if (sim.letters == LETTERS || from == NONE || !c->buddy_in)
        return;
    struct kept_letter *l = &sim.letter[sim.letters];
    memset(l, 0, sizeof *l);
    l->from = from;
    l->to = to;
    l->until_s = sim.lived_s + MESSAGE_S;
    (void)snprintf(body, sizeof body, "L%u", sim.letters++);
    console_write_letter(c, name_of(to), body);
}

/* At most so many requests wait for an answer: players are no machines. */
static bool is_patient(const struct console *c)
{
    return console_awaits(c, CONSOLE_LOBBY) < 12 && console_awaits(c, CONSOLE_BUDDY) < 8;
}

static const char *a_neighbour(const struct console *c)
{
    static char name[32];
    (void)snprintf(name, sizeof name, "%s", name_of(any(sim.actors)));
    if (c->users.count > 0 && !one_in(4))
        (void)snprintf(name, sizeof name, "%s", c->users.at[any((uint32_t)c->users.count)].name);
    if (strcmp(name, c->persona) == 0) /* no console offers that */
        (void)snprintf(name, sizeof name, "nobody");
    return name;
}

/* The number of a new line of chat. */
static uint32_t a_line(void)
{
    memset(&sim.line[sim.lines % LINES], 0, sizeof sim.line[0]);
    return sim.lines++;
}

/* Says that it hosts, which arrives just when the server has waited long enough for that,
 * if it has within so many ms. */
static void say_ready_late(struct console *c, uint64_t within_ms)
{
    const struct nascar *s = server();
    uint32_t persona = find_persona(s, c->persona), player = persona == NONE ? NONE : persona_at(s, persona)->player;
    if (player == NONE || player_at(s, player)->match == NONE)
        return;
    const struct timer *start = timer_at(s, s->match_timers + player_at(s, player)->match);
    uint64_t passed_ms = sim.machine->now_ms - s->mono_ms, due_ms = start->due_ms - s->now_ms;
    if (start->queue != Q_RACE_START || start->due_ms < s->now_ms || due_ms <= passed_ms ||
        due_ms - passed_ms > within_ms)
        return;
    event("%s says late that it hosts", c->name);
    console_say_ready(c, true);
    sim.machine->now_ms += due_ms - passed_ms;
}

/* A word to the server. */
static const char *a_word(const struct console *c)
{
    static char text[64];
    static const char *const words[] = {"/who",  "/rooms", "/stats", "/stats %s", "/top",       "/last", "/seen %s",
                                        "/ping", "/news",  "/help",  "/nonsense", "/report %s", "/"};
    const char *word = words[any(sizeof words / sizeof words[0])], *name = strstr(word, "%s");
    (void)snprintf(text, sizeof text, "%.*s%s", name ? (int)(name - word) : 20, word, name ? a_neighbour(c) : "");
    return text;
}

static void act_inside(struct actor *a, uint32_t own, enum deed deed)
{
    struct console *c = a->console;
    char text[160], name[16];
    uint32_t account = number_of(c->name);
    bool buddy = c->buddy_in && c->link[CONSOLE_BUDDY].open;
    switch (deed) {
    case DO_MOVE: console_move(c, any_room(), one_in(3) ? "sesame" : ""); break;
    case DO_CREATE:
        (void)snprintf(text, sizeof text, "C.r%u", any(4));
        console_create_room(c, text, one_in(3) ? "sesame" : "", "None", one_in(3) ? 2 : 50);
        break;
    case DO_CHAT:
        if (one_in(8)) {
            console_chat(c, a_word(c));
            break;
        }
        (void)snprintf(text, sizeof text, one_in(4) ? "a=b:c \"quoted\" 100%% N=x %u" : "line %u", a_line());
        console_chat(c, text);
        break;
    case DO_TELL:
        (void)snprintf(text, sizeof text, "psst %u", a_line());
        console_tell(c, a_neighbour(c), text);
        break;
    case DO_CHALLENGE: (void)console_challenge_player(c, a_neighbour(c), NULL); break;
    case DO_ANSWER: console_answer(c, one_in(4) ? "DECL" : one_in(8) ? "BLOC" : "ACPT"); break;
    case DO_CANCEL: /* behind ACPT a +ses may be on its way */
        if (c->challenge == CONSOLE_RECEIVED || c->challenge == CONSOLE_OFFERED)
            console_cancel(c);
        break;
    case DO_READY:
        if (c->challenge == CONSOLE_ACCEPTED && c->habits.slow_chal && one_in(2))
            say_ready_late(c, 900);
        else if (c->challenge == CONSOLE_ACCEPTED && c->habits.slow_chal)
            console_say_ready(c, one_in(2));
        break;
    case DO_BACK:
        if (c->challenge == CONSOLE_RACING)
            console_back_in_lobby(c);
        break;
    case DO_RESULT: act_result(c); break;
    case DO_FRIEND:
    case DO_IGNORE:
        if (buddy)
            console_add_friend(c, name_of(any_persona()), deed == DO_IGNORE);
        break;
    case DO_UNFRIEND:
        if (buddy && c->friends.count > 0)
            console_drop_friend(c, c->friends.at[any((uint32_t)c->friends.count)].name, one_in(3));
        break;
    case DO_LETTER: act_letter(c); break;
    case DO_STATUS:
        (void)snprintf(text, sizeof text, "car %u \"%%=:\"", any(100));
        if (one_in(4))
            text[0] = 0;
        if (!c->habits.peeks)
            console_status(c, text);
        break;
    case DO_LOOK: console_look(c, a_neighbour(c)); break;
    case DO_SELECT:
        (void)snprintf(text, sizeof text, "%s=%u\n", one_in(3) ? "ROOMS" : one_in(2) ? "USERS" : "MESGS", any(2));
        console_select(c, text);
        break;
    case DO_LEADERBOARD: console_leaderboard(c, 0, one_in(2) ? "" : c->persona, (int32_t)any(20)); break;
    case DO_NEWS: console_read_news(c); break;
    case DO_ABUSE: console_report_abuse(c, a_neighbour(c)); break;
    case DO_PASSWORD:
        (void)snprintf(text, sizeof text, "PASS=\"%s\"\nCHNG=\"new %u\"\n", one_in(5) ? "wrong" : c->password,
                       any(1000));
        if (account != NONE)
            console_request(c, CONSOLE_LOBBY, "edit", text);
        break;
    case DO_MAIL: console_request(c, CONSOLE_LOBBY, "edit", "MAIL=b%40example.org\nSPAM=YN\n"); break;
    case DO_NEW_PERSONA:
        (void)snprintf(text, sizeof text, "PERS=%s\n", name_of(one_in(2) ? 2 * ACTORS + own : any_persona()));
        if (console_awaits(c, CONSOLE_LOBBY) == 0) /* it goes on with pers */
            console_request(c, CONSOLE_LOBBY, "cper", text);
        break;
    case DO_DELETE_PERSONA:
        (void)snprintf(name, sizeof name, "%s", name_of(any_persona()));
        if (c->persona_count > 0)
            (void)snprintf(name, sizeof name, "%s", c->personas[any((uint32_t)c->persona_count)]);
        console_delete_persona(c, name);
        break;
    case DO_SEARCH:
        if (buddy)
            console_request(c, CONSOLE_BUDDY, "USCH", "USER=d0\n");
        break;
    case DO_WATCH:
        (void)snprintf(text, sizeof text, "USER=%s\n", name_of(any_persona()));
        if (buddy)
            console_request(c, CONSOLE_BUDDY, one_in(3) ? "PDEL" : "PADD", text);
        break;
    case DO_PRESENCE:
        if (buddy)
            console_request(c, CONSOLE_BUDDY, "PSET",
                            one_in(2) ? "SHOW=AWAY\nSTAT=x\nPROD=y\n" : "SHOW=CHAT\nSTAT=\nPROD=z\n");
        break;
    case DO_BUDDY_LEAVES:
        if (buddy && one_in(3)) {
            console_request(c, CONSOLE_BUDDY, "DISC", ""); /* the server hangs up */
        } else if (buddy && a->link[CONSOLE_BUDDY]) {
            let_go(a, CONSOLE_BUDDY, one_in(2));
            console_link_closed(c, CONSOLE_BUDDY);
        }
        break;
    default: break;
    }
}

/* The operator says one thing on a connection of his own. */
static struct wire *operator_says(const char *kind, const char *payload)
{
    struct peer *p = peer_new(sim.machine);
    struct wire *w = wire_of(p);
    memset(w, 0, sizeof *w);
    w->actor = w->account = w->persona = NONE;
    p->in_bytes = p->out_bytes = 0;
    p->ip = 0; /* as a socket of the machine's own has it */
    p->control = true;
    p->hung_up = false;
    peer_send(p, kind, payload);
    event("operator: %s %s", kind, payload);
    return w;
}

/* A ban or mute of somebody who may be there, or the end of one. A brief ban is a kick. */
static void act_sanction(void)
{
    char text[120];
    uint32_t actor = any(sim.actors), first = any(TARGETS), target = actor + (one_in(4) ? ACTORS : 0);
    bool lifts = !one_in(3);
    if (one_in(2))
        target += ACCOUNTS;
    else if (one_in(3))
        target = 2 * ACCOUNTS +
                 (one_in(3) ? ACTORS + (ip_of(actor) - 0xC6336400u) / 8 % NETWORKS : ip_of(actor) - 0xC6336401u);
    for (uint32_t i = 0; lifts && i < TARGETS; i++)
        if (sim.sanction[(first + i) % TARGETS].held) {
            target = (first + i) % TARGETS;
            break;
        }
    lifts = lifts && sim.sanction[target].held;
    static const char *const kinds[2][2] = {{"cban", "cunb"}, {"cmut", "cunm"}};
    (void)snprintf(text, sizeof text, "NAME=%s\nREASON=\"%%22be%%22 nice %%25\"\n", target_text(target));
    if (!one_in(6))
        (void)snprintf(text + strlen(text), 20, "FOR=%u\n", 1 + any(one_in(3) ? 1000 : 20));
    (void)operator_says(kinds[is_mute_target(target)][lifts], text);
}

/* Whatever becomes of that, the ledger does not miss this one. */
static void close_report(void)
{
    char text[40];
    uint32_t reports = server()->reports.live, i = live_from(server(), &server()->reports, 0);
    for (uint32_t n = reports > 0 ? any(reports) : 0; n > 0; n--)
        i = live_from(server(), &server()->reports, i + 1);
    if (i == NONE)
        return;
    uint32_t by = number_of(report_at(server(), i)->by);
    if (by != NONE)
        sim.persona[by].reports--; /* below 0 if its answer is yet to be read */
    sim.closing[report_at(server(), i)->id % CLOSING] = true;
    (void)snprintf(text, sizeof text, "ID=%u\n", report_at(server(), i)->id);
    (void)operator_says("crcl", text);
}

/* The operator bans or mutes, sets a password, makes or deletes an account, puts somebody out, or has
 * something to say. */
static void act_operator(void)
{
    char text[80], password[17];
    const char *name = name_of(any(sim.actors));
    (void)snprintf(password, sizeof password, "set %u", any(1000));
    if (one_in(2)) {
        act_sanction();
    } else if (one_in(3)) {
        (void)snprintf(text, sizeof text, "NAME=%s\nPASS=fleeting\n", fleeting_names[any(FLEETING)]);
        (void)operator_says(one_in(2) ? "cpwd" : "cdel", text);
    } else if (one_in(3)) {
        (void)snprintf(text, sizeof text, "NAME=%s\nREASON=enough\n", name);
        (void)operator_says("ckik", text);
    } else if (one_in(3)) {
        (void)operator_says("csay", one_in(2) ? "TEXT=\"be nice\"\n" : "ROOM=East\nTEXT=\"be nice here\"\n");
    } else if (one_in(6)) {
        (void)operator_says(one_in(3) ? "cbns" : one_in(2) ? "cwho" : "crom", "");
    } else if (one_in(4)) {
        (void)operator_says("cnew", one_in(4) ? "TEXT=\n" : one_in(2) ? "TEXT=\"a race%0aat nine%0a\"\n" : "");
    } else if (one_in(3)) {
        close_report();
    } else {
        (void)snprintf(text, sizeof text, "NAME=%s\nPASS=\"%s\"\n", name, password);
        struct wire *w = operator_says("cpwd", text);
        (void)snprintf(w->password, sizeof w->password, "%s", password);
    }
}

static void act(struct actor *a, enum deed deed)
{
    struct console *c = a->console;
    uint32_t own = (uint32_t)(a - sim.actor);
    if (sim.ms < a->stalled_until_ms)
        return;
    event("%s in %d %s", c->name[0] ? c->name : "-", (int)c->stage, deed_names[deed]);
    if (deed <= DO_WRONG_PASSWORD)
        act_login(a, own, deed);
    else if (deed == DO_LEAVE)
        console_leave(c);
    else if (deed == DO_OPERATOR)
        act_operator();
    else if (c->stage == CONSOLE_INSIDE && is_patient(c))
        act_inside(a, own, deed);
    else if (one_in(2))
        act_login(a, own, DO_LOGIN);
}

/* ---- What goes wrong --------------------------------------------------------------------------- */

static void lose_links(struct actor *a, bool reset)
{
    bool had[CONSOLE_LINKS] = {a->link[0], a->link[1], a->link[2]};
    for (int i = 0; i < CONSOLE_LINKS; i++)
        if (had[i])
            let_go(a, i, reset);
    for (int i = 0; i < CONSOLE_LINKS; i++)
        if (had[i])
            console_link_closed(a->console, (enum console_link)i);
}

static void jump_wall(void)
{
    struct machine *m = sim.machine;
    int64_t before_s = m->wall_offset_s;
    if (one_in(3))
        put_wall_right(m);
    else if (one_in(2))
        m->wall_offset_s += any_years_s();
    else
        m->wall_offset_s += (int64_t)any(14400) - 7200;
    int64_t jump_s = m->wall_offset_s - before_s;
    sim.never_set = sim.never_set && m->wall_offset_s + (int64_t)(m->now_ms / 1000) < 0;
    event("the wall clock jumps by %lld s", (long long)jump_s);
    if (jump_s > 0 && jump_s <= CLOCK_SET_S)
        sim.lived_s += jump_s; /* that is followed */
}

/* The machine slept: its connections' other ends did not. */
static void jump_mono(void)
{
    uint64_t jump_ms = one_in(3) ? any(20000000) : any(100000);
    sim.machine->now_ms += jump_ms;
    sim.offset_ms -= jump_ms;
    event("the clock jumps by %llu ms", (unsigned long long)jump_ms);
}

/* The process is stopped, and goes on: all clocks go on meanwhile, and so do the
 * consoles, whose bytes wait in the sockets. */
static void stand_still(void)
{
    struct machine *m = sim.machine;
    uint64_t end_ms = m->now_ms + any(one_in(2) ? 10000 : 200000);
    event("the server stands still");
    while (m->now_ms < end_ms) {
        m->now_ms += 1 + any(2000);
        sim.ms = m->now_ms + sim.offset_ms;
        move_bytes(one_in(2));
    }
    event("the server goes on");
    sim.all_speak = true;
    for (end_ms = sim.ms + 3000; sim.ms < end_ms;) {
        move_bytes(true);
        run(250);
        sim.calls = 0;
    }
    sim.all_speak = false;
}

static void go_wrong(enum deed deed)
{
    struct machine *m = sim.machine;
    struct actor *a = &sim.actor[any(sim.actors)];
    if (deed != QUIET && deed != WAIT)
        event("%s", deed_names[deed]);
    switch (deed) {
    case NET_RESET:
    case NET_VANISH: lose_links(a, deed == NET_RESET); break;
    case NET_STALL:
        a->stalled_until_ms = sim.ms + any(one_in(4) ? 50000 : 3000);
        for (int i = 0; i < CONSOLE_LINKS; i++)
            if (a->link[i])
                a->link[i]->window = any(3000);
        break;
    case NET_EMFILE: sim.emfile_until = sim.step + any(30); break;
    case HELPER_LAZY: sim.helper_lazy_until = sim.step + any(60); break;
    case HELPER_DIES:
        m->helper.dies_of = 1 + any(4);
        sim.troubles++;
        break;
    case HELPER_GONE: sim.helper_gone_until = sim.step + any(40); break;
    case DISK_BAD:
        sim.disk_bad_until = sim.step + any(60);
        sim.disk_one_in = 1 + any(6);
        break;
    case DISK_ONCE: sim.disk_once = true; break;
    case CRASH: longjmp(*sim.crashed, 1);
    case CRASH_AT_CALL: sim.crash_in = 1 + any(8); break;
    case STOP: stop(); break;
    case RELOAD: signal_machine(m, SIGHUP); break;
    case COMPACT: /* as if the journal had grown too large */
        if (m->shell.compaction.file.fd < 0 && m->shell.journal.fd >= 0)
            compaction_begin(&m->shell);
        break;
    case HANDS: lay_hands_on(&sim.disk); break;
    case WALL_JUMPS: jump_wall(); break;
    case MONO_JUMPS: jump_mono(); break;
    case STANDS_STILL: stand_still(); break;
    case HELPER_HANGS:
        m->helper.hangs = m->helper.running;
        m->helper.hangs_of = any(3);
        sim.troubles++;
        break;
    default: break;
    }
}

static void set_faults(void)
{
    struct machine *m = sim.machine;
    m->accept_error = sim.step < sim.emfile_until ? EMFILE : 0;
    m->helper.lazy = sim.step < sim.helper_lazy_until;
    m->helper.cannot_start = sim.step < sim.helper_gone_until;
}

static void end_faults(void)
{
    struct machine *m = sim.machine;
    sim.quiet = true;
    sim.disk_once = false;
    sim.disk_bad_until = sim.emfile_until = sim.helper_lazy_until = sim.helper_gone_until = 0;
    sim.crash_in = 0;
    set_faults();
    m->helper.dies_of = m->helper.hangs_of = 0;
    m->helper.hangs = false;
    m->ragged = false;
    m->one_in = m->hide_one_in = 0;
    m->tick_us = 0;
    for (uint32_t i = 0; i < sim.actors; i++)
        if (sim.actor[i].stalled_until_ms > 0)
            sim.actor[i].stalled_until_ms = 1;
}

/* ---- When it is quiet: what consoles see is so --------------------------------------------------- */

#define SEES(c, condition) \
    do { \
        if (!(condition)) \
            FAIL("%s (%s) does not see the truth: line %d: %s", (c)->name, (c)->persona, __LINE__, #condition); \
    } while (0)

static void compare_room_list(const struct console *c, const struct player *p)
{
    const struct nascar *s = server();
    size_t rooms = 0;
    for (uint32_t i = live_from(s, &s->rooms, 0); i != NONE; i = live_from(s, &s->rooms, i + 1)) {
        const struct room *room = room_at(s, i);
        if (room->gone)
            continue;
        rooms++;
        const struct console_room *seen = console_room(c, (int32_t)room->ident);
        if (!seen)
            FAIL("%s does not see room %s", c->persona, room->name);
        SEES(c, strcmp(seen->name, room->name) == 0);
        SEES(c, strcmp(seen->about, room->description) == 0);
        SEES(c, seen->limit == (int32_t)room->limit);
        SEES(c, seen->flags == CONSOLE_FLAG(room->password[0] ? 'P' : '0'));
        if (i != HUB && i != p->room && seen->population != (int32_t)room->count)
            FAIL("%s sees %d in %s, where %u are", c->persona, (int)seen->population, room->name, room->count);
    }
    SEES(c, c->rooms.count == rooms);
}

static void compare_user_list(const struct console *c, const struct player *p)
{
    const struct nascar *s = server();
    const struct room *room = room_at(s, p->room);
    size_t users = 0;
    for (uint32_t i = live_from(s, &s->players, 0); i != NONE; i = live_from(s, &s->players, i + 1)) {
        const struct player *other = player_at(s, i);
        if (other->persona == NONE)
            continue;
        const char *name = persona_at(s, other->persona)->name;
        bool own = other == p, listed = own || (other->room == p->room && p->room != HUB);
        bool guest = other->match != NONE && other->match == p->match && p->side == 1 && match_at(s, p->match)->guest;
        const struct console_user *seen = console_user(c, name);
        users += seen != NULL;
        if (!seen && listed)
            FAIL("%s does not see %s", c->persona, name);
        if (seen && !listed && !guest)
            FAIL("%s still sees %s", c->persona, name);
        if (!seen || !listed)
            continue;
        bool busy = other->match != NONE && (other->side == 0 || match_at(s, other->match)->state != MATCH_OFFERED);
        char standing[LEADERBOARD_CHARS + 1];
        write_standing(s, other->persona, standing);
        SEES(c, seen->rank == (int32_t)shown_rank(s, other->persona));
        SEES(c, strcmp(seen->stats, standing) == 0);
        SEES(c, seen->ident == (int32_t)other->persona + 1);
        SEES(c, seen->flags == (CONSOLE_FLAG(busy ? '1' : '0') | (own ? CONSOLE_FLAG('U') : 0)));
        SEES(c, strcmp(seen->extra, other->hushed && !own ? "" : other->text) == 0);
        SEES(c, seen->address == conn_at(s, other->conn)->peer);
    }
    SEES(c, c->users.count == users);
    SEES(c, p->room == HUB || c->room_population == (int32_t)room->count);
}

static void compare_friends(const struct console *c, const struct player *p)
{
    const struct nascar *s = server();
    for (uint32_t e = persona_at(s, p->persona)->edges; e != NONE; e = edge_at(s, e)->next) {
        uint32_t other = edge_at(s, e)->other_and_lists >> 2;
        const struct console_friend *f = console_friend(c, persona_at(s, other)->name);
        if (!(edge_at(s, e)->other_and_lists & LIST_BUDDY) || !f)
            continue;
        const char *show = show_names[presence_of(s, other)];
        if (strcmp(f->show[0] ? f->show : "DISC", show) != 0)
            FAIL("%s sees its friend %s as %s, not %s", c->persona, f->name, f->show, show);
    }
}

static void compare_console(const struct actor *a)
{
    const struct nascar *s = server();
    const struct console *c = a->console;
    const struct peer *peer = a->link[CONSOLE_LOBBY];
    SEES(c, console_awaits(c, CONSOLE_LOBBY) == 0);
    SEES(c, console_awaits(c, CONSOLE_BUDDY) == 0);
    if (c->stage != CONSOLE_INSIDE || !peer)
        return;
    uint32_t conn = NONE;
    for (uint32_t i = 0; i < sim.machine->shell.open; i++)
        if (sim.machine->shell.polled[FIRST_SOCKET + i].fd == FIRST_FD + (int)(peer - sim.machine->peer))
            conn = sim.machine->shell.number_of[i];
    SEES(c, conn != NONE && conn_at(s, conn)->player != NONE);
    const struct player *p = player_at(s, conn_at(s, conn)->player);
    SEES(c, p->persona != NONE && strcmp(persona_at(s, p->persona)->name, c->persona) == 0);
    const struct room *room = room_at(s, p->room);
    SEES(c, c->room == (int32_t)room->ident);
    SEES(c, p->room == HUB || strcmp(c->room_name, room->name) == 0);
    SEES(c, p->match != NONE || c->challenge == CONSOLE_IDLE || c->challenge == CONSOLE_RACING || /* left pending */
                c->habits.peeks);      /* whose `peek` failed: then `auxi` is no challenge */
    if (conn_at(s, conn)->wants.rooms) /* else the list is muted */
        compare_room_list(c, p);
    if (conn_at(s, conn)->wants.users)
        compare_user_list(c, p);
    if (c->buddy_in && c->link[CONSOLE_BUDDY].open && persona_at(s, p->persona)->buddy != NONE)
        compare_friends(c, p);
}

/* Without time passing, until nothing moves any more. */
static void settle_all(void)
{
    for (int i = 0; i < 12; i++) {
        move_bytes(true);
        settle_machine(sim.machine);
        log_events(sim.machine);
    }
    move_bytes(true);
}

static void quiet(uint64_t ms)
{
    uint64_t end_ms = sim.ms + ms;
    event("quiet");
    end_faults();
    while (sim.ms < end_ms) {
        move_bytes(true);
        run(250);
        sim.calls = 0;
    }
    settle_all();
    for (uint32_t i = 0; i < sim.actors; i++)
        compare_console(&sim.actor[i]);
    if (sim.machine->shell.urgent == 0)
        compare_ledger();
    sim.quiet = false;
}

/* ---- Who looks at the page ------------------------------------------------------------------- */

/* By a chance of their own, as those who ask by DNS. */
static uint32_t page_chance(uint32_t below)
{
    sim.page_random = sim.page_random * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)sim.page_random * below >> 32);
}

static const struct {
    const char *line;
    uint32_t status;
} wrong_requests[] = {
    {"GET /nothing HTTP/1.1", 404}, {"POST / HTTP/1.1", 405},   {"BREW / HTTP/1.1", 501},
    {"GET / HTTP/2.0", 505},        {"GET /%zz HTTP/1.1", 400}, {"GET /api/leaderboard?start=0 HTTP/1.1", 400},
};

/* The body of the answer that was read last, as a text. */
static char page[1u << 18];
static size_t page_bytes;

static void page_add(const char *bytes, size_t size)
{
    EXPECT(page_bytes + size < sizeof page && !memchr(bytes, 0, size));
    memcpy(page + page_bytes, bytes, size);
    page_bytes += size;
    page[page_bytes] = 0;
}

/* Takes the answer that stands first in what a browser has got: how much of that it is, or 0
 * if it is not whole. Nothing is let pass that RFC 9112 does not allow, or that we never write. */
static size_t take_answer(const struct look *l, const char *text, size_t size, uint32_t *status, bool *closes)
{
    char head[2048];
    const char *end = memmem(text, size, "\r\n\r\n", 4), *limit = text + size, *at = end + 4, *digits;
    size_t n = end ? (size_t)(end + 2 - text) : size;
    EXPECT(n < sizeof head && !memchr(text, 0, n));
    memcpy(head, text, n);
    head[n] = 0;
    if (!end)
        return 0;
    *status = (uint32_t)strtoul(head + 9, NULL, 10);
    EXPECT(strncmp(head, "HTTP/1.1 ", 9) == 0 && *status >= 100 && *status <= 999 && head[12] == ' ');
    for (char *line = strstr(head, "\r\n") + 2, *stop; *line; line = stop + 2) {
        size_t name = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-");
        EXPECT(name > 0 && line[name] == ':' && line[name + 1] == ' ' && (stop = strstr(line, "\r\n")) != NULL);
        for (const char *c = line; c < stop; c++)
            EXPECT(*c >= 0x20 && *c < 0x7f);
    }
    const char *length = strstr(head, "\r\nContent-Length: ");
    bool chunked = strstr(head, "\r\nTransfer-Encoding: chunked\r\n") != NULL;
    *closes = strstr(head, "\r\nConnection: close\r\n") != NULL;
    page_bytes = 0;
    page_add("", 0);
    EXPECT(chunked == !length && (length || *status == 200 || *status == 503));
    if (l->head)
        return (size_t)(at - text);
    while (chunked) {
        digits = at;
        at = memmem(at, (size_t)(limit - at), "\r\n", 2);
        EXPECT(at ? at > digits && at <= digits + 8 : limit <= digits + 8);
        if (!at)
            return 0;
        for (n = 0; digits < at; digits++) {
            EXPECT(hex_value((uint8_t)*digits) >= 0);
            n = n << 4 | (size_t)hex_value((uint8_t)*digits);
        }
        at += 2;
        if ((size_t)(limit - at) < n + 2)
            return 0;
        page_add(at, n);
        at += n + 2;
        EXPECT(at[-2] == '\r' && at[-1] == '\n');
        if (n == 0)
            return (size_t)(at - text);
    }
    n = strtoul(length + strlen("\r\nContent-Length: "), NULL, 10);
    if ((size_t)(limit - at) < n)
        return 0;
    page_add(at, n);
    return (size_t)(at + n - text);
}

/* Behind a value of JSON, and the white space after it; NULL: there is none. */
static const char *after_json(const char *at)
{
    static const char *const words[] = {"true", "false", "null"};
    char end = *at == '{' ? '}' : ']';
    if (*at == '"') {
        for (at++; *at != '"'; at++)
            if ((uint8_t)*at < 0x20 || *at == 0x7f || (*at == '\\' && !*++at))
                return NULL;
        at++;
    } else if (*at == '{' || *at == '[') {
        at++;
        at += strspn(at, " \n");
        for (bool first = true; *at != end; first = false) {
            if (!first && *at++ != ',')
                return NULL;
            at += strspn(at, " \n");
            if (end == '}' && (*at != '"' || !(at = after_json(at)) || *at++ != ':'))
                return NULL;
            if (!(at = after_json(at)))
                return NULL;
        }
        at++;
    } else {
        const char *from = at;
        at += strspn(at, "0123456789");
        for (size_t i = 0; i < 3 && at == from; i++)
            at += strncmp(at, words[i], strlen(words[i])) == 0 ? strlen(words[i]) : 0;
        if (at == from)
            return NULL;
    }
    return at + strspn(at, " \n");
}

/* The connection of each persona that is online. */
static void note_online(uint32_t online[PERSONAS])
{
    const struct nascar *s = server();
    memset(online, 0xFF, PERSONAS * sizeof *online);
    for (uint32_t i = live_from(s, &s->players, 0); i != NONE; i = live_from(s, &s->players, i + 1)) {
        const struct player *p = player_at(s, i);
        uint32_t persona = p->persona == NONE ? NONE : number_of(persona_at(s, p->persona)->name);
        if (persona != NONE)
            online[persona] = p->conn;
    }
}

/* What was acknowledged is among the latest results, unless these are too many. */
static void judge_results(const struct look *l)
{
    static uint16_t count[PERSONAS][PERSONAS];
    uint32_t rows = 0;
    memset(count, 0, sizeof count);
    for (const char *at = page; (at = strstr(at, "\"names\":[\"")) != NULL; rows++) {
        char name[2][32];
        EXPECT(sscanf(at, "\"names\":[\"%31[^\"]\",\"%31[^\"]\"]", name[0], name[1]) >= 0);
        at += strlen("\"names\":[\"");
        uint32_t host = number_of(name[0]), guest = number_of(name[1]);
        if (host != NONE && guest != NONE)
            count[host][guest]++;
    }
    if (rows > server()->results.live)
        FAIL("%u results are shown, and %u kept", rows, server()->results.live);
    if (server()->results.live == RESULTS)
        return;
    if (rows < l->results)
        FAIL("of %u results %u are shown", l->results, rows);
    for (uint32_t i = 0; i < l->results; i++)
        if (sim.raced[i][0] != NONE && sim.raced[i][1] != NONE && count[sim.raced[i][0]][sim.raced[i][1]]-- == 0)
            FAIL("a result of %s and %s is not shown", name_of(sim.raced[i][0]), name_of(sim.raced[i][1]));
}

/* Each metric has what Prometheus wants of it. */
static void judge_metrics(void)
{
    uint32_t lines = 0;
    for (char *line = page, *end; *line; line = end + 1, lines++) {
        static const char *const starts[] = {"# HELP nascar_", "# TYPE nascar_", "nascar_"};
        EXPECT((end = strchr(line, '\n')) != NULL && strncmp(line, starts[lines % 3], strlen(starts[lines % 3])) == 0);
        const char *value = memchr(line, ' ', (size_t)(end - line));
        EXPECT(value && (lines % 3 < 2 || value + 1 + strspn(value + 1, ".0123456789") == end));
    }
    EXPECT(lines == 3 * METRIC_COUNT);
}

/* Whoever has been online all the time is shown to be. */
static void judge_online(const struct look *l)
{
    uint32_t online[PERSONAS];
    char text[120];
    note_online(online);
    for (uint32_t i = 0; i < PERSONAS; i++) {
        const char *name = name_of(i);
        if (l->online[i] == NONE || online[i] != l->online[i] || sim.persona[i].moved_at > l->asked_at)
            continue;
        if (l->page == PAGE_API_PLAYER && i != l->persona)
            continue;
        (void)snprintf(text, sizeof text,
                       l->page == PAGE_MAIN     ? "<tr><th scope=row><a href=/player/%s>%s</a><td>"
                       : l->page == PAGE_STATUS ? "{\"name\":\"%s\",\"room\":\""
                                                : "{\"name\":\"%s\",\"online\":true,",
                       name, name);
        if (!strstr(page, text))
            FAIL("%s is online, and not shown: %s", name, page);
    }
}

static void judge_player(const struct look *l, uint32_t status)
{
    const struct kept_persona *p = &sim.persona[l->persona];
    uint32_t there = find_persona(server(), name_of(l->persona));
    if (there != l->there || p->moved_at > l->asked_at)
        return;
    if (status != (there == NONE ? 404 : 200))
        FAIL("%s is %s, and its page is %u", name_of(l->persona), there == NONE ? "nobody" : "there", status);
    const char *races = strstr(page, "\"races\":");
    if (l->page == PAGE_API_PLAYER && status == 200 && !l->head && !p->any_figures &&
        (!races || strtoul(races + 8, NULL, 10) < l->races))
        FAIL("%s has raced %u times: %s", name_of(l->persona), l->races, page);
}

/* An answer was read whole. */
static void judge_answer(const struct look *l, uint32_t status)
{
    bool named = l->page == PAGE_PLAYER || l->page == PAGE_API_PLAYER;
    bool fits = l->page == PAGE_HEALTH ? (status == 200 && l->well) || (status == 503 && l->failing)
                : named                ? status == 200 || status == 404
                                       : status == l->status;
    event("page %u of %s: %u, %zu bytes", l->page, name_of(l->persona), status, page_bytes);
    tally.pages++;
    if (!fits)
        FAIL("a browser gets %u for page %u", status, l->page);
    if (named)
        judge_player(l, status);
    if (l->head || l->page >= PAGES || status == 404)
        return;
    if (http_pages[l->page].type == AS_JSON) {
        const char *end = after_json(page);
        if (!end || *end)
            FAIL("this is no JSON: %s", page);
    }
    if (l->page == PAGE_MAIN || l->page == PAGE_PLAYER) {
        const char *end = l->page == PAGE_MAIN ? "</footer>\n" : "</main>\n";
        EXPECT(page_bytes > strlen(end) && strcmp(page + page_bytes - strlen(end), end) == 0);
    }
    if (l->page == PAGE_MAIN || l->page == PAGE_STATUS || l->page == PAGE_API_PLAYER)
        judge_online(l);
    if (l->page == PAGE_PAST)
        judge_results(l);
    if (l->page == PAGE_METRICS)
        judge_metrics();
    if (l->page == PAGE_HEALTH)
        EXPECT((strcmp(page, "ok\n") == 0) == (status == 200));
    uint32_t rows = 0;
    for (const char *at = page; l->page == PAGE_LEADERBOARD && (at = strstr(at, "{\"name\"")) != NULL; at++)
        rows++;
    EXPECT(rows <= l->count);
}

static void ask_for_page(struct browser *b, uint32_t what)
{
    struct look *l = &b->look[b->looks++];
    char more[64] = "", *out = b->up + b->size;
    memset(l, 0, sizeof *l);
    l->page = what;
    l->persona = page_chance(page_chance(3) ? sim.actors : PERSONAS);
    l->head = page_chance(8) == 0;
    l->status = 200;
    l->count = 1 + page_chance(100);
    l->asked_at = sim.turn;
    l->results = sim.results;
    const struct kept_persona *p = &sim.persona[l->persona];
    l->there = p->unsure ? NONE - 1 : find_persona(server(), name_of(l->persona));
    l->races = p->any_figures ? 0 : p->figures.races;
    note_online(l->online);
    if (what == PAGE_PLAYER || what == PAGE_API_PLAYER)
        (void)snprintf(more, sizeof more, "%s", name_of(l->persona));
    if (what == PAGE_LEADERBOARD)
        (void)snprintf(more, sizeof more, "?start=%u&count=%u", 1 + page_chance(10), l->count);
    if (what < PAGES) {
        (void)snprintf(out, 200, "%s %s%s HTTP/1.1", l->head ? "HEAD" : "GET", http_pages[what].path, more);
    } else {
        l->head = false;
        l->status = wrong_requests[what - PAGES].status;
        (void)snprintf(out, 200, "%s", wrong_requests[what - PAGES].line);
    }
    (void)snprintf(out + strlen(out), 200, "\r\nHost: x\r\nUser-Agent: sim\r\n%s\r\n",
                   page_chance(4) ? "" : "Connection: close\r\n");
    b->size += strlen(out);
}

static bool has_page(void)
{
    return sim.machine->shell.port[HTTP_LISTENER - FIRST_LISTENER] != NONE;
}

static void come_to_page(struct browser *b)
{
    memset(b, 0, sizeof *b);
    b->peer = peer_new(sim.machine);
    b->peer->http = true;
    b->peer->ip = BROWSER_IP((uint32_t)(b - sim.browser));
    b->peer->in_bytes = b->peer->out_bytes = 0;
    struct wire *w = wire_of(b->peer);
    memset(w, 0, sizeof *w);
    w->actor = w->account = w->persona = NONE;
    w->looked_at = true;
}

static void leave_page(struct browser *b)
{
    wire_of(b->peer)->looked_at = false;
    b->peer->hung_up = true;
    b->peer->reset = page_chance(4) == 0;
    b->peer = NULL;
}

/* Reads what has come. */
static void read_pages(struct browser *b)
{
    struct peer *p = b->peer;
    uint32_t status;
    bool closes, last = false;
    size_t n;
    while (p->out_bytes != b->read && !last) {
        if (b->looks == 0)
            FAIL("a browser gets what it has not asked for: %.*s", (int)p->out_bytes, (const char *)p->out);
        n = take_answer(&b->look[0], (const char *)p->out, p->out_bytes, &status, &closes);
        b->read = n == 0 ? p->out_bytes : 0;
        if (n == 0)
            break;
        judge_answer(&b->look[0], status);
        memmove(&b->look[0], &b->look[1], --b->looks * sizeof b->look[0]);
        p->out_bytes -= n;
        memmove(p->out, p->out + n, p->out_bytes);
        last = closes;
    }
    if (last && p->out_bytes > 0)
        FAIL("a browser gets more than its last answer: %.*s", (int)p->out_bytes, (const char *)p->out);
    if (last || p->closed)
        leave_page(b);
}

static void browse(void)
{
    if (!has_page())
        return;
    notice_health();
    for (uint32_t i = 0; i < BROWSERS; i++) {
        struct browser *b = &sim.browser[i];
        bool comes = !b->peer && page_chance(30) == 0;
        if (comes) {
            come_to_page(b);
            b->slow = page_chance(4) == 0;
        }
        if (!b->peer)
            continue;
        read_pages(b);
        if (b->peer && b->looks == 0 && (comes || page_chance(6) == 0)) {
            b->size = b->sent = 0;
            for (uint32_t n = b->slow ? LOOKS : page_chance(3) ? 1 : 2; n > 0; n--)
                ask_for_page(b, b->slow && page_chance(2) ? PAGE_STATUS
                                : page_chance(6)          ? page_chance(PAGES)
                                                          : PAGES + page_chance(COUNT(wrong_requests)));
        }
        if (!b->peer || page_chance(60) == 0) {
            if (b->peer)
                leave_page(b);
            continue;
        }
        size_t size = b->size - b->sent;
        size = page_chance(3) ? size : page_chance((uint32_t)size + 1);
        peer_send_bytes(b->peer, b->up + b->sent, size);
        b->sent += size;
        if (b->slow)
            b->peer->window = page_chance(8) ? 0 : page_chance(4000);
    }
}

/* All is well: each page is read whole within seconds, and says that it is. */
static void look_at_all(void)
{
    struct browser *b = &sim.browser[0];
    for (uint32_t i = 0; i < PAGES; i++) {
        uint64_t end_ms = sim.ms + 10000;
        if (b->peer)
            leave_page(b);
        come_to_page(b);
        ask_for_page(b, i);
        for (peer_send_bytes(b->peer, b->up, b->size); b->looks > 0; read_pages(b)) {
            if (sim.ms > end_ms || !b->peer)
                FAIL("page %u is not shown, though all is well", i);
            move_bytes(true);
            run(250);
        }
        sim.calls = 0;
    }
}

/* ---- The last phase: everyone must get through ---------------------------------------------------- */

#define PATIENCE_MS 1800000u /* of simulated time, for all of them to get in */

static void come_back(struct actor *a)
{
    struct console *c = a->console;
    const struct nascar *s = server();
    uint32_t own = (uint32_t)(a - sim.actor), account = find_account(s, name_of(own));
    char persona[16];
    (void)snprintf(persona, sizeof persona, "%s", name_of(own));
    if (account != NONE && account_at(s, account)->persona[0] != NONE)
        (void)snprintf(persona, sizeof persona, "%s", persona_at(s, account_at(s, account)->persona[0])->name);
    else if (find_persona(s, persona) != NONE)
        (void)snprintf(persona, sizeof persona, "y%02u", own);
    memset(&c->habits, 0, sizeof c->habits);
    c->habits.local_ip = 0xC0000264u;
    c->habits.slow_chal = (own / 2 + sim.actors) % 2 != 0; /* each second pair */
    if (c->stage == CONSOLE_PERSONAS)
        console_choose_persona(c, persona);
    else if (c->stage != CONSOLE_OFF && c->stage != CONSOLE_LOGIN)
        return;
    else if (account == NONE && !sim.open_accounts)
        console_signup(c, name_of(own), password_for(own), "a@example.org", persona);
    else
        console_login(c, name_of(own), password_for(own), persona);
}

static void wait_all(uint64_t patience_ms, bool (*there)(const struct actor *), void (*insist)(struct actor *),
                     uint32_t every_ms, const char *what)
{
    uint64_t end_ms = sim.ms + patience_ms, again_ms = sim.ms;
    for (uint32_t missing = 1; missing > 0;) {
        missing = 0;
        for (uint32_t i = 0; i < sim.actors; i++) {
            struct actor *a = &sim.actor[i];
            if (there(a))
                continue;
            missing++;
            if (sim.ms >= end_ms)
                FAIL("%s did not %s, though all is well (stage %d, refused %08x by %s)", name_of(i), what,
                     (int)a->console->stage, (unsigned)a->console->refused, a->console->refused_kind);
            if (insist && sim.ms >= again_ms)
                insist(a);
        }
        if (sim.ms >= again_ms)
            again_ms = sim.ms + every_ms;
        move_bytes(true);
        run(250);
        sim.calls = 0;
    }
}

static bool is_in(const struct actor *a)
{
    return a->console->stage == CONSOLE_INSIDE && a->console->buddy_in && a->console->roster_left[2] == 0 &&
           strcmp(a->console->name, name_of((uint32_t)(a - sim.actor))) == 0;
}

static bool has_moved(const struct actor *a)
{
    return strcmp(a->console->room_name, (a - sim.actor) / 2 % 2 ? "West" : "East") == 0;
}

static bool ignored_by(const struct actor *a, const struct actor *b)
{
    uint32_t from = find_persona(server(), a->console->persona), by = find_persona(server(), b->console->persona);
    return from != NONE && by != NONE && ignores(server(), by, from);
}

static bool has_read_all(const struct actor *a)
{
    for (uint32_t i = 0; i < sim.actors; i++)
        if (strcmp(sim.actor[i].console->room_name, a->console->room_name) == 0 && !ignored_by(&sim.actor[i], a) &&
            console_saw(a->console, sim.actor[i].console->persona, sim.actor[i].said) != 1)
            return false;
    return true;
}

static bool has_pair(const struct actor *a)
{
    uint32_t other = (uint32_t)(a - sim.actor) ^ 1u;
    return other < sim.actors && !ignored_by(a, &sim.actor[other]) && !ignored_by(&sim.actor[other], a);
}

static bool is_racing_now(const struct actor *a)
{
    return !has_pair(a) || a->console->challenge == CONSOLE_RACING;
}

static void challenge_or_answer(struct actor *a)
{
    uint32_t own = (uint32_t)(a - sim.actor);
    console_answer(a->console, "ACPT");
    if (own % 2 == 0 && a->console->challenge == CONSOLE_IDLE)
        (void)console_challenge_player(a->console, sim.actor[own + 1].console->persona, NULL);
    if (own % 2 == 1 && a->console->challenge == CONSOLE_ACCEPTED && a->console->habits.slow_chal)
        say_ready_late(a->console, 250); /* too late, as the ticket is on its way to the disk */
}

/* The operator lifts all bans and mutes. */
static void lift_all(void)
{
    char text[40];
    uint64_t end_ms = sim.ms + PATIENCE_MS, again_ms = sim.ms;
    for (uint32_t left = 1; left > 0;) {
        bool asks = sim.ms >= again_ms;
        again_ms = asks ? sim.ms + 1000 : again_ms;
        left = 0;
        for (uint32_t i = 0; i < TARGETS; i++) {
            if (find_held(server(), is_mute_target(i), target_text(i)) == NONE)
                continue;
            if (sim.ms >= end_ms)
                FAIL("the ban or mute of %s cannot be lifted", target_text(i));
            (void)snprintf(text, sizeof text, "NAME=%s\n", target_text(i));
            if (left++ < NASCAR_CONTROL_CONNECTIONS && asks)
                (void)operator_says(is_mute_target(i) ? "cunm" : "cunb", text);
        }
        move_bytes(true);
        run(250);
        sim.calls = 0;
    }
}

static void everyone_gets_through(void)
{
    event("the faults end");
    end_faults();
    for (uint32_t i = 0; i < sim.actors; i++)
        console_leave(sim.actor[i].console);
    for (int i = 0; i < 8; i++) {
        move_bytes(true);
        run(500);
    }
    settle_all();
    compare_ledger();
    lift_all();
    settle_all();
    compare_ledger();
    compare_second();
    wait_all(PATIENCE_MS, is_in, come_back, 5000, "get in");
    for (uint32_t i = 0; i < sim.actors; i++) {
        struct actor *a = &sim.actor[i];
        a->console->chat.count = 0;
        console_move(a->console, i / 2 % 2 ? "West" : "East", "");
    }
    wait_all(60000, has_moved, NULL, 0, "enter its room");
    settle_all();
    for (uint32_t i = 0; i < sim.actors; i++) {
        struct actor *a = &sim.actor[i];
        a->console->chat.count = 0;
        (void)snprintf(a->said, sizeof a->said, "I am %u", i);
        console_chat(a->console, a->said);
    }
    wait_all(60000, has_read_all, NULL, 0, "read what all have said");
    wait_all(60000, is_racing_now, challenge_or_answer, 0, "race");
    quiet(3000);
    for (uint32_t i = 0; i < sim.actors; i++)
        act_result(sim.actor[i].console);
    quiet(3000); /* and all see who has passed whom */
    if (!has_page())
        return;
    look_at_all();
    end_faults();
    crash();
    look_at_all(); /* it is all there */
}

/* ---- A seed ------------------------------------------------------------------------------------------ */

static void option(const char *key, const char *format, uint32_t value)
{
    size_t n = 0;
    while (sim.arguments[2 * n])
        n++;
    EXPECT(n < 39);
    (void)snprintf(sim.option[n], sizeof sim.option[n], format, value);
    sim.arguments[2 * n] = key;
    sim.arguments[2 * n + 1] = sim.option[n];
    sim.arguments[2 * n + 2] = NULL;
}

static void choose_options(void)
{
    sim.open_accounts = !one_in(4);
    sim.small_times = !one_in(3);
    option("--max-clients", "%u", sim.actors + 6 + (one_in(2) ? 20 : 0));
    option("--max-accounts", "%u", ACCOUNTS + 1 + FLEETING);
    option("--rate", "%u", one_in(2) ? 0 : 10 + any(20));
    option("--hash-cost", "%u", 4);
    option("--accounts", sim.open_accounts ? "open" : "register", 0);
    bool masks = one_in(4);
    option("--skey", masks ? "off" : "on", 0);
    sim.shares = sim.shares && !masks; /* a sign-up does not say which mask it used */
    option("--per-address", "%u", 100000);
    option("--logins-per-address", "%u", 100000);
    option("--accounts-per-address", "%u", 100000);
    option("--log-level", one_in(2) ? "info" : "warn", 0);
    if (sim.dns_random % 4 != 0) {
        option("--dns", "%u", 53);
        option("--dns-name", "dnas.example.org=192.0.2.%u", 9);
    }
    if (sim.seed[0] != '-' && sim.page_random % 4 != 0)
        option("--http", "%u", 80);
    if (one_in(3))
        option("--welcome", "Welcome to the lobby. Type /help.", 0);
    if (!sim.small_times)
        return;
    option("--challenge-s", "%u", 2 + any(10));
    option("--race-start-s", "%u", 1 + any(5));
    option("--ping-s", "%u", 3 + any(10));
    option("--first-frame-s", "%u", 2 + any(9));
    option("--buddy-login-s", "%u", 5 + any(20));
    option("--login-s", "%u", 40 + any(100));
}

/* Some things happen often, some never: what is rare together is found so. */
static void choose_weights(void)
{
    static const uint32_t usual[] = {0, 0, 1, 2, 4, 8, 20};
    uint32_t calm = one_in(8), season = one_in(4); /* season: many races, and their results */
    sim.weights = 0;
    for (uint32_t i = 0; i < DEEDS; i++) {
        uint32_t w = usual[any(7)] * 16;
        if (i >= NET_RESET)
            w = calm ? 0 : w / 16;
        if (i == DO_LEAVE || i == DO_BUDDY_LEAVES || i == DO_OTHERS_ACCOUNT || i == DO_WRONG_PASSWORD ||
            i == DO_DELETE_PERSONA)
            w /= 8;
        if (season && (i == DO_CHALLENGE || i == DO_ANSWER || i == DO_READY || i == DO_RESULT || i == DO_BACK))
            w += 200;
        if (i == DO_LOGIN)
            w += 100;
        if (i == DO_MOVE || i == DO_ANSWER)
            w += 30;
        if (i == WAIT)
            w = 8;
        if (i == QUIET)
            w = 4;
        sim.weight[i] = w;
        sim.weights += w;
    }
}

static enum deed choose_deed(void)
{
    uint32_t at = any(sim.weights), i = 0;
    while (at >= sim.weight[i])
        at -= sim.weight[i++];
    return (enum deed)i;
}

/* Anybody, or often somebody for whom the deed is something to do. */
static struct actor *actor_for(enum deed deed)
{
    uint32_t from = any(sim.actors);
    for (uint32_t i = 0; i < sim.actors && !one_in(4); i++) {
        struct actor *a = &sim.actor[(from + i) % sim.actors];
        const struct console *c = a->console;
        bool fits = c->stage == CONSOLE_INSIDE;
        switch (deed) {
        case DO_CHALLENGE: fits = fits && c->challenge == CONSOLE_IDLE && c->users.count > 1; break;
        case DO_ANSWER: fits = fits && c->challenge == CONSOLE_RECEIVED; break;
        case DO_READY: fits = fits && c->challenge == CONSOLE_ACCEPTED && c->habits.slow_chal; break;
        case DO_BACK: fits = fits && c->challenge == CONSOLE_RACING; break;
        case DO_RESULT: fits = fits && c->challenge == CONSOLE_RACING && c->race_ticket[0]; break;
        default: fits = true; break;
        }
        if (fits)
            return a;
    }
    return &sim.actor[from];
}

static void one_step(void)
{
    enum deed deed = choose_deed();
    sim.calls = 0;
    if (deed == QUIET)
        quiet(sim.small_times ? 18000 : 75000);
    else if (deed >= NET_RESET)
        go_wrong(deed);
    else
        act(actor_for(deed), deed);
    ask_by_dns();
    browse();
    set_faults();
    move_bytes(false);
    run(deed == WAIT ? any(one_in(4) ? 60000 : 5000) : one_in(8) ? any(400) : any(20));
    if (hash_more(sim.chance, "second", 6) % (sim.steps > LONG_STEPS ? 4096 : 32) == 0)
        compare_second();
}

static void run_seed(const char *seed, uint32_t steps)
{
    jmp_buf here;
    memset(&sim, 0, sizeof sim);
    (void)snprintf(sim.seed, sizeof sim.seed, "%s", seed);
    seed += seed[0] == '-';
    sim.chance = hash_more(0xCBF29CE484222325u, seed, strlen(seed));
    sim.hash = 0xCBF29CE484222325u;
    sim.dns_random = (uint32_t)(sim.chance >> 32);
    sim.page_random = (uint32_t)hash_more(sim.chance, "page", 4);
    sim.steps = steps;
    compact_items = steps > LONG_STEPS ? 1 : 32;
    sim.ms = 1000;
    sim.records = recordings || sim.chance % 4 == 0;
    sim.shares = sim.chance % 5 == 0;
    sim.actors = 2 + any(one_in(3) ? ACTORS - 1 : one_in(2) ? 15 : 5);
    choose_options();
    choose_weights();
    for (uint32_t i = 0; i < PERSONAS; i++)
        sim.persona[i].account = NONE;
    boot();
    for (uint32_t i = 0; i < sim.actors; i++) {
        sim.actor[i].console = console_new((uint32_t)any64());
        sim.actor[i].console->habits.endures = true;
        sim.actor[i].ip = 0xC6336401u + (sim.shares ? i / 2 : i);
    }
    for (sim.step = 1; sim.step <= steps; sim.step++)
        if (sim.crashed = &here, setjmp(here) != 0)
            crash();
        else
            one_step();
    everyone_gets_through();
    tally.steps += steps;
    machine_gone(false);
    tally.crashes--;
    for (uint32_t i = 0; i < sim.actors; i++) {
        console_free(sim.actor[i].console);
        for (int k = 0; k < CONSOLE_LINKS; k++)
            free(sim.actor[i].up[k].at);
    }
    disk_free(&sim.disk);
}

/* ---- The program ---------------------------------------------------------------------------------------- */

static double seconds_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t run_kept(const char *path)
{
    char line[256], seed[128];
    unsigned steps;
    uint32_t count = 0;
    FILE *file = fopen(path, "r");
    if (!file) {
        printf("sim: %s cannot be read\n", path);
        exit(1);
    }
    while (fgets(line, sizeof line, file)) {
        if (line[0] == '#' || sscanf(line, "%127s %u", seed, &steps) != 2)
            continue;
        run_seed(seed, steps);
        count++;
    }
    (void)fclose(file);
    return count;
}

int main(int count, char **arguments)
{
    const char *kept = NULL, *seed = NULL, *steps = NULL;
    double began = seconds_now(), seconds = 60;
    uint32_t seeds = 0;
    for (int i = 1; i < count; i++)
        if (strcmp(arguments[i], "--kept") == 0 && i + 1 < count)
            kept = arguments[++i];
        else if (strcmp(arguments[i], "--seconds") == 0 && i + 1 < count)
            seconds = strtod(arguments[++i], NULL);
        else if (strcmp(arguments[i], "--events") == 0)
            tells_all = true;
        else if (strcmp(arguments[i], "--recordings") == 0 && i + 1 < count)
            recordings = arguments[++i];
        else if (!seed)
            seed = arguments[i];
        else
            steps = arguments[i];
    (void)signal(SIGABRT, on_fatal);
    (void)signal(SIGSEGV, on_fatal);
    (void)signal(SIGFPE, on_fatal);
    complaints = memfd_create("complaints", MFD_CLOEXEC);
    if (kept)
        seeds += run_kept(kept);
    if (seed && steps) {
        run_seed(seed, (uint32_t)strtoul(steps, NULL, 10));
        printf("sim: seed %s: %u consoles, %u lives, hash %016llx\n", seed, sim.actors, sim.lives,
               (unsigned long long)sim.hash);
        seeds++;
    }
    for (uint32_t i = 0; seed && !steps && seconds_now() - began < seconds; i++, seeds++) {
        char text[128];
        (void)snprintf(text, sizeof text, "%.100s.%u", seed, i);
        run_seed(text, USUAL_STEPS);
    }
    double spent = seconds_now() - began;
    printf("sim: %u seeds, %llu steps, %llu turns, %llu crashes and stops, %llu checkpoints replayed, journal "
           "read %llu times by a second state, %llu DNS answers, %llu pages read whole, %.0f steps/s, 0 failed\n",
           seeds, (unsigned long long)tally.steps, (unsigned long long)tally.turns, (unsigned long long)tally.crashes,
           (unsigned long long)tally.checkpoints, (unsigned long long)tally.seconds, (unsigned long long)tally.dns,
           (unsigned long long)tally.pages, spent > 0 ? (double)tally.steps / spent : 0.0);
    return 0;
}
