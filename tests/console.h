/* The console model: what a PlayStation 2 running NASCAR Thunder 2004 does on
 * the wire, written from the [con], [cap] and [sib] facts of PROTOCOL.md and
 * sharing no code with the server. It reads as the console reads, mistakes
 * included: a server that sends what a console would misread misleads this
 * model too, and then `misled` says how. A test ends by asserting that it is
 * still empty.
 *
 * The model knows no sockets and no clock. A driver
 *   - opens the links that console_wants() names, and says so by
 *     console_link_opened();
 *   - moves bytes by console_take() and console_feed();
 *   - closes the links that console_hangs_up() names, and says
 *     console_link_closed() whoever closed them;
 *   - calls console_tick() as time passes.
 *
 * SPDX-License-Identifier: MIT */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Reading and writing as the console does (PROTOCOL 1, 2) ------------ */

#define CONSOLE_HEADER_BYTES 12u
#define CONSOLE_FRAME_BYTES 4096u   /* frames to the console stay under this */
#define CONSOLE_REQUEST_BYTES 1024u /* its own are at most about 512 */
#define CONSOLE_NEWS_BYTES 255u
#define CONSOLE_RACE_BYTES 272u

/* Where the value of `key` starts in a NUL-terminated payload, or NULL. */
const char *console_find(const char *payload, const char *key);

/* A value, as console_find() gives it (NULL reads as empty or zero). `size`
 * counts the NUL; console_read_text() returns the length before the cut. */
size_t console_read_text(const char *value, char *out, size_t size);
int32_t console_read_number(const char *value);
uint32_t console_read_address(const char *value);
uint32_t console_read_flags(const char *value);
int64_t console_read_epoch(const char *value);
size_t console_read_binary(const char *value, uint8_t *out, size_t size);
/* Comma-separated hexadecimal longs, as in STAT; returns how many stand there. */
size_t console_read_longs(const char *value, int32_t *out, size_t count);

#define CONSOLE_FLAG(letter) console_flag_bit(letter)
uint32_t console_flag_bit(char letter);

/* A payload in the making: KEY=VALUE lines as the console's writer makes them. */
struct console_tags {
    char text[CONSOLE_REQUEST_BYTES];
    size_t size; /* without the NUL, which is always there */
};
void console_put_text(struct console_tags *tags, const char *key, const char *value);
void console_put_number(struct console_tags *tags, const char *key, int64_t value);
void console_put_raw(struct console_tags *tags, const char *key, const char *value);

/* A frame with this payload (its bytes as they are); returns its size, or 0 if
 * `size` is too small. */
size_t console_frame(uint8_t *out, size_t size, const char *kind, uint32_t code, const void *payload,
                     size_t payload_bytes);

/* ---- Passwords (PROTOCOL 4) --------------------------------------------- */

struct console_cipher {
    uint8_t box[256];
    uint8_t cur;
    uint32_t reg;
};

/* The filler generator lives as long as the game runs, and is never reset. */
struct console_pad {
    struct console_cipher cipher;
    bool started;
};

#define CONSOLE_CIPHER_BYTES 30u

/* `out` takes the 30 characters without the leading `~`, and a NUL. */
void console_encode(struct console_pad *pad, const uint8_t *key, size_t key_bytes, const char *password,
                    char out[CONSOLE_CIPHER_BYTES + 1]);
/* `out` takes `$` and two digits for each character, and a NUL. */
void console_mask(const char *mask, const char *password, char *out, size_t size);

/* ---- What the console holds --------------------------------------------- */

enum console_link { CONSOLE_DIRECTORY, CONSOLE_LOBBY, CONSOLE_BUDDY, CONSOLE_LINKS };

enum console_stage {
    CONSOLE_OFF,        /* at the main menu */
    CONSOLE_CONNECTING, /* directory, addr, skey */
    CONSOLE_LOGIN,      /* the login screen; after a refusal again, see `refused` */
    CONSOLE_AUTH,       /* auth or acct is under way */
    CONSOLE_PERSONAS,   /* the persona screen; after a refusal again */
    CONSOLE_ENTERING,   /* pers or cper is under way, or +who is awaited */
    CONSOLE_INSIDE      /* in the lobby: `room` says where */
};

enum console_challenge {
    CONSOLE_IDLE,
    CONSOLE_OFFERED,  /* we challenged `opponent` */
    CONSOLE_RECEIVED, /* `opponent` challenged us */
    CONSOLE_ACCEPTED, /* waiting for +ses */
    CONSOLE_RACING
};

struct console_room {
    int32_t ident;
    char name[32], about[32];
    int32_t population, limit;
    uint32_t address, flags;
};

struct console_user {
    int32_t ident;
    char name[32];
    uint32_t flags, address;
    int32_t rank;
    char stats[128], extra[128]; /* S and X */
};

struct console_rank {
    int32_t rank;
    char name[32], stats[128];
};

struct console_row { /* +snp: a line of the leaderboard */
    int32_t rank, points;
    char name[32], stats[128];
};

struct console_line { /* +msg that is shown */
    uint32_t flags;
    char from[256], text[256];
};

struct console_friend {
    char name[32], group[32];
    char show[8]; /* from PGET; empty if none came */
    bool ignored; /* stands on LIST=I */
};

struct console_letter { /* RECV */
    char from[16], body[64];
};

struct console_profile { /* the reply to user */
    char persona[32], room[32];
    uint32_t address;
    int32_t rank;
    int32_t stats[21], info[2];
};

struct console_reply { /* the last reply of each kind */
    char kind[5];
    uint32_t code;
    uint32_t count; /* how many came */
    char payload[CONSOLE_FRAME_BYTES];
};

#define CONSOLE_LIST(type) \
    struct { \
        type *at; \
        size_t count, room; \
    }

struct console_pending {
    char kind[5];
    char about[64]; /* whom or what it asked for */
};

struct console_link_state {
    bool wanted, open, hang_up;
    bool jammed; /* a length below 12 came: it never reads again */
    uint32_t address;
    uint16_t port;
    uint8_t *out;
    size_t out_bytes, out_room;
    uint8_t in[CONSOLE_FRAME_BYTES * 2];
    size_t in_bytes;
    uint64_t heard_ms; /* when the last frame came */
    CONSOLE_LIST(struct console_pending) pending;
    uint32_t frames, pings, lost; /* lost: closed by the other side */
};

/* What the player and the memory card bring along. */
struct console_habits {
    uint32_t local_ip;    /* what `addr` says; emulators say 192.0.2.100 */
    uint32_t pad_ms;      /* how long each thing typed takes; a sign-up 180,000 */
    bool saved_login;     /* auth and pers go out together */
    bool no_buddy;        /* ignores BUDDY_URL */
    bool no_chal_star;    /* does not say `chal PERS=*` at lobby entry */
    bool slow_chal;       /* does not say `chal PERS= HOST=` after ACPT by itself */
    bool peeks;           /* challenges by `peek` and `auxi`, as [spec] has it */
    bool answers_nothing; /* never echoes a ping */
    bool endures;         /* 60 s of silence end the link without `misled` */
    bool takes_direct;    /* DIRECT in @dir is expected */
};

struct console {
    struct console_habits habits;
    char misled[192]; /* the first thing that a console would suffer from; empty if none */

    enum console_stage stage;
    uint32_t refused;     /* the code of the last refusal at LOGIN or PERSONAS, else 0 */
    char refused_kind[5]; /* of which request */
    char down[256];       /* maintenance text of @dir */
    uint64_t now_ms;
    uint64_t typing_until_ms; /* 0: nothing is being typed */
    bool new_account;         /* the next login is a sign-up */

    /* typed by the player */
    char name[17], password[17], mail[64], wanted_persona[13];
    char sent_password[17]; /* with the last auth or acct */

    /* from the services */
    uint32_t server_ip;
    uint16_t server_port;
    int32_t session; /* SESS, wrapped at 32 bits */
    char mask[64];
    uint8_t key[16];
    bool direct;
    char persona[32]; /* our own name; a +who overwrites it */
    char ticket[64];  /* LKEY, as text */
    char personas[4][13];
    size_t persona_count;
    int64_t last_login_s;
    bool entered; /* pers has succeeded */
    bool greeted; /* +who has come since */
    char news[CONSOLE_NEWS_BYTES + 1], news_page[CONSOLE_NEWS_BYTES + 1];

    /* lists */
    CONSOLE_LIST(struct console_room) rooms;
    CONSOLE_LIST(struct console_user) users;
    CONSOLE_LIST(struct console_rank) ranks;
    CONSOLE_LIST(struct console_row) rows;
    CONSOLE_LIST(struct console_line) chat;
    CONSOLE_LIST(struct console_friend) friends;
    CONSOLE_LIST(struct console_letter) letters;
    CONSOLE_LIST(struct console_reply) replies;

    /* where we are */
    int32_t room; /* 0: in the hub, that is in no room */
    int32_t room_population;
    char room_name[32];
    uint32_t room_flags;

    struct console_profile profile;

    /* races */
    enum console_challenge challenge;
    char opponent[32], token[128];
    bool challenger;     /* we made the offer */
    size_t walks_before; /* moves under way when it was made: they do not end it */
    char confused[32];   /* whose answer to us, or ours to him, may have been about another offer than that of now */
    uint32_t crossed;    /* offers that came while we could not take one */
    uint32_t blocked;    /* offers that the console answered BLOC by itself */
    uint8_t race[CONSOLE_RACE_BYTES]; /* from the tags of the last +ses */
    int32_t seed;
    char race_ticket[64];
    uint32_t races, plays; /* +ses and play frames that came */
    bool play_due;         /* a +ses came whose play did not yet */

    /* buddy service */
    bool rooms_muted; /* it has asked for no rooms, and need not know the one that it is in */
    bool buddy_in;
    int32_t roster_left[3]; /* ROST frames still to come for ID=1 and 2; -1: not begun */

    struct console_link_state link[CONSOLE_LINKS];
    struct console_pad pad;
    uint32_t chance; /* its own small variations: ping codes and times, tokens */
};

/* ---- The driver's side -------------------------------------------------- */

struct console *console_new(uint32_t seed);
void console_free(struct console *c);

/* Whether `link` is to be opened now; where, in host order (0: the directory,
 * whose place only the driver knows). */
bool console_wants(const struct console *c, enum console_link link, uint32_t *address, uint16_t *port);
/* Whether the console closes its side of `link` now. */
bool console_hangs_up(const struct console *c, enum console_link link);
void console_link_opened(struct console *c, enum console_link link);
void console_link_closed(struct console *c, enum console_link link);

void console_feed(struct console *c, enum console_link link, const uint8_t *bytes, size_t size);
size_t console_take(struct console *c, enum console_link link, uint8_t *bytes, size_t size);
size_t console_waiting(const struct console *c, enum console_link link); /* bytes to take */
void console_tick(struct console *c, uint64_t now_ms);
/* When it next does something by itself; UINT64_MAX if never. */
uint64_t console_deadline_ms(const struct console *c);

/* ---- The player's side -------------------------------------------------- */

/* From the main menu, from the login screen after a refusal, or with a lobby
 * link that stands there. The persona is made (`cper`) if the account lacks it. */
void console_login(struct console *c, const char *name, const char *password, const char *persona);
void console_signup(struct console *c, const char *name, const char *password, const char *mail, const char *persona);
void console_choose_persona(struct console *c, const char *persona); /* on that screen */
void console_delete_persona(struct console *c, const char *persona);

void console_move(struct console *c, const char *room, const char *password); /* "": the hub */
void console_create_room(struct console *c, const char *name, const char *password, const char *about, int32_t limit);
void console_chat(struct console *c, const char *text);
void console_tell(struct console *c, const char *persona, const char *text);
void console_look(struct console *c, const char *persona); /* user */
void console_peek(struct console *c, const char *name);
/* Mutes lists, or wants them again: `sele`. */
void console_select(struct console *c, const char *tags);
void console_status(struct console *c, const char *text); /* auxi */
void console_read_news(struct console *c);                /* news NAME=1 */
void console_leaderboard(struct console *c, int32_t channel, const char *find, int32_t range);
void console_report_abuse(struct console *c, const char *persona);

/* Looks at the player, then offers a race. With `token` NULL the console makes
 * one. Returns false if a challenge is under way. */
bool console_challenge_player(struct console *c, const char *persona, const char *token);
void console_answer(struct console *c, const char *answer); /* ACPT, DECL or BLOC */
void console_cancel(struct console *c);                     /* the challenger's DECL */
void console_say_ready(struct console *c, bool host);       /* chal PERS= HOST= */
void console_back_in_lobby(struct console *c);              /* chal PERS=* */

struct console_result { /* suffix 0 is the host */
    int32_t start[2], finish[2], laps[2], led[2], disconnected[2], disqualified[2];
    int32_t race_time, track, cars, length;
};
void console_report_race(struct console *c, const struct console_result *result);

void console_add_friend(struct console *c, const char *persona, bool ignore);
void console_drop_friend(struct console *c, const char *persona, bool ignore);
void console_write_letter(struct console *c, const char *persona, const char *body);

/* Any other request, as a text payload; its reply is matched like the rest. */
void console_request(struct console *c, enum console_link link, const char *kind, const char *payload);

void console_leave(struct console *c); /* hangs up every link; back to the main menu */

/* ---- Looking at it ------------------------------------------------------ */

const struct console_room *console_room(const struct console *c, int32_t ident);
const struct console_room *console_room_named(const struct console *c, const char *name);
const struct console_user *console_user(const struct console *c, const char *name);
const struct console_friend *console_friend(const struct console *c, const char *name);
/* The last reply of that kind, or NULL. */
const struct console_reply *console_reply(const struct console *c, const char *kind);
/* Requests without a reply on a link. */
size_t console_awaits(const struct console *c, enum console_link link);
/* How often this text, from this name (NULL: anyone), was shown. */
size_t console_saw(const struct console *c, const char *from, const char *text);

#endif
