/* Recordings: whatever a player sends, no password is in them, and yet they run
 * again to the same end.
 *
 * SPDX-License-Identifier: MIT */
#define main nascar_main
#include "../nascar_server.c"
#undef main

#include "suite.h"
#include "machine.c"

GROUP(again, NULL, NULL, 30);

/* A server that records; `mode` is for --accounts. */
static struct machine *recorder(const char *mode)
{
    struct machine *m = machine_make(NULL);
    m->records = true;
    ck_assert(machine_start(m, ARGUMENTS("--hash-cost", "4", "--accounts", mode, "--per-address", "1000",
                                         "--logins-per-address", "1000", "--accounts-per-address", "1000")));
    return m;
}

/* It ends, and its recording runs again. */
static void expect_same_again(struct machine *m, const char *what)
{
    unsigned long events = 0, checkpoints = 0;
    settle_machine(m);
    recording_close(&m->shell);
    const char *broken = replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints);
    if (broken)
        ck_abort_msg("%s: after %lu events: %s", what, events, broken);
    ck_assert_uint_ge(checkpoints, 1);
}

/* Version 2 had no limit of open races, and the corpora are of that version. */
TEST(again, the_header_of_an_older_recording_is_read_too)
{
    static const struct {
        const char *bytes;
        uint32_t messages, races, at;
    } headers[] = {{"NSR2\1\2\3\4\5\6\7\7", 6, 77, 10},
                   {"NSR3\1\2\3\4\5\6\7\7", 6, 7, 11},
                   {"NSR1\1\2\3\4\5\6\7\7", 66, 77, 0},
                   {"NSR4\1\2\3\4\5\6\7\7", 66, 77, 0}};
    for (size_t i = 0; i < COUNT(headers); i++) {
        struct script script;
        struct nascar_limits limits = {.messages = 66, .races = 77};
        script_open(&script, (const uint8_t *)headers[i].bytes, 12, &limits);
        ck_assert_uint_eq(limits.messages, headers[i].messages);
        ck_assert_uint_eq(limits.races, headers[i].races);
        ck_assert_uint_eq(script.at, headers[i].at);
    }
    uint8_t header[64];
    struct script script;
    struct nascar_limits limits = NASCAR_LIMITS_DEFAULT, read = {0, 0, 0, 0, 0, 0, 0};
    limits.races = 12345;
    uint32_t size = script_write_header(header, limits);
    script_open(&script, header, size, &read);
    ck_assert_mem_eq(&read, &limits, sizeof limits);
    ck_assert_uint_eq(script.at, size);
}

static void expect_absent(const struct machine *m, const char *secret)
{
    if (memmem(m->recording.bytes, m->recording.size, secret, strlen(secret)))
        ck_abort_msg("`%s` is in the recording", secret);
}

static uint32_t conn_of(struct machine *m, const struct peer *p)
{
    for (uint32_t c = 0; c < m->shell.conns; c++)
        if (m->shell.place_of[c] != NONE && peer_of(m, polled_conn(&m->shell, c)->fd) == p)
            return c;
    ck_abort_msg("no such connection");
    return NONE;
}

/* A connection that has its key, and whose address has been at the directory or not. */
static struct peer *caller(struct machine *m, bool with_session)
{
    uint32_t ip = 0x0A000001u + (uint32_t)m->accepted; /* its own: nobody waits for another's failures */
    if (with_session) {
        struct peer *directory = peer_new(m);
        directory->ip = ip;
        peer_send(directory, "@dir", "PROD=NASCAR-PS2-2004\n");
        settle_machine(m);
        directory->hung_up = true;
        settle_machine(m);
        directory->forgotten = true;
    }
    struct peer *p = peer_new(m);
    p->ip = ip;
    peer_send(p, "skey", "SKEY=$5075626c6963\n");
    settle_machine(m);
    return p;
}

static void hang_up(struct machine *m, struct peer *p)
{
    p->hung_up = true;
    settle_machine(m);
    p->forgotten = true;
}

/* A password as it goes over the wire: ~ and $ are its two forms, else it is as it is. */
static void transform(struct machine *m, const struct peer *p, char form, const char *password, char out[160])
{
    struct console_pad pad = {.started = false};
    const struct nascar *s = m->shell.state;
    uint32_t c = conn_of(m, p), session = find_session_of_peer(s, conn_at(s, c)->peer);
    if (form == '~') {
        out[0] = '~';
        console_encode(&pad, conn_at(s, c)->skey, sizeof conn_at(s, c)->skey, password, out + 1);
    } else if (form == '$') {
        console_mask(session == NONE ? "GS" : session_at(s, session)->mask, password, out, 160);
    } else {
        (void)snprintf(out, 160, "%s", password);
    }
}

/* A frame whose only secret is the value of one tag, escaped as the console does. */
static void send_secret(struct machine *m, struct peer *p, const char *kind, const char *before, const char *tag,
                        const char *value, const char *after)
{
    struct console_tags tags = {.size = 0};
    char payload[2048];
    if (tag[0])
        console_put_text(&tags, tag, value);
    else
        tags.text[0] = '\0';
    (void)snprintf(payload, sizeof payload, "%s%s%s", before, tags.text, after);
    peer_send(p, kind, payload);
    settle_machine(m);
}

static const char *const passwords[] = {"",
                                        "abc",
                                        "four",
                                        "secret99",
                                        "with space 1:\"%",
                                        "16 letters it is",
                                        "17 letters, alas!",
                                        "\"quoted\"",
                                        "thirty characters, not one more",
                                        "good",
                                        "x"};
static const char *const modes[] = {"open", "register", "closed"};
static const char *const strange[] = {"~",    "$",     "!",      "~good", "$good",   "good", "x",    "$zz",
                                      "$3ec", "~\x01", "$$3ec9", "~~~~",  "$!",      "~!",   "\xff", "~\xff\xfe",
                                      "$00",  "~ ",    "$ ",     "'",     "'~good'", "%",    "%41",  "~%7f"};

/* Each form of each password, at sign-up and login, of those who are there and those who are not. */
TEST_LOOP(again, a_login_of_any_kind_runs_again, 0, COUNT(modes))
{
    struct machine *m = recorder(modes[_i]);
    char tags[96], wire[160];
    unsigned names = 0;
    for (size_t i = 0; i < COUNT(passwords) + COUNT(strange); i++) {
        for (unsigned how = 0; how < 16; how++) {
            const char *kind = how & 1 ? "acct" : "auth";
            bool is_strange = i >= COUNT(passwords);
            if (is_strange && how & 8)
                continue;
            struct peer *p = caller(m, (how & 2) != 0);
            if (is_strange)
                (void)snprintf(wire, sizeof wire, "%s", strange[i - COUNT(passwords)]);
            else
                transform(m, p, "~$-~"[how >> 2], passwords[i], wire);
            (void)snprintf(tags, sizeof tags, "NAME=N%u\n", how >> 2 == 3 ? names : ++names);
            send_secret(m, p, kind, tags, "PASS", wire, "MAIL=a@b.c\nBORN=19700101\n");
            send_secret(m, p, kind, tags, "PASS", wire, "TOS=1\n"); /* and once more, on the same link */
            send_secret(m, p, "pers", "PERS=x\n", "", "", "");
            hang_up(m, p);
            if (wire[0] && strlen(wire) > 8)
                expect_absent(m, wire + 1);
        }
    }
    ck_assert(_i == 2 || m->shell.state->accounts.live > 10);
    expect_same_again(m, modes[_i]);
    machine_free(m);
}

/* A player who is in, with the password "secret". */
static struct peer *member(struct machine *m, const char *name)
{
    char wire[160], tags[96];
    struct peer *p = caller(m, false);
    transform(m, p, '~', "secret", wire);
    (void)snprintf(tags, sizeof tags, "NAME=%s\nTOS=1\n", name);
    send_secret(m, p, "auth", tags, "PASS", wire, "");
    (void)snprintf(tags, sizeof tags, "PERS=%s\n", name);
    send_secret(m, p, "pers", tags, "", "", "");
    send_secret(m, p, "sele", "ROOMS=1 USERS=1 MESGS=1\n", "", "", "");
    ck_assert_uint_eq(peer_got(p, "pers"), 1);
    return p;
}

TEST(again, a_change_of_password_runs_again)
{
    struct machine *m = recorder("open");
    struct peer *p = member(m, "Alice");
    const char *now[] = {"secret", "", "wrong one", "17 letters, alas!", "x"};
    char before[1200];
    for (size_t i = 0; i < COUNT(passwords); i++)
        for (size_t k = 0; k < COUNT(now); k++) {
            struct console_tags tags = {.size = 0};
            console_put_text(&tags, "PASS", now[k]);
            (void)snprintf(before, sizeof before, "NAME=Alice\nMAIL=a%zu@b.c\n%s", i, tags.text);
            send_secret(m, p, "edit", before, "CHNG", passwords[i], "SPAM=YN\n");
            send_secret(m, p, "edit", "", "PASS", now[k], "MAIL=c@d.e\n");
        }
    ck_assert_uint_eq(peer_got(p, "edit"), 2 * COUNT(passwords) * COUNT(now));
    expect_absent(m, "secret99");
    expect_absent(m, "wrong one");
    expect_absent(m, "16 letters");
    expect_same_again(m, "edit");
    machine_free(m);
}

/* Rooms with each password, and everybody tries each of them there. */
TEST(again, a_room_with_a_password_runs_again)
{
    struct machine *m = recorder("open");
    struct peer *host = member(m, "Alice"), *guest = member(m, "Bobby");
    char name[64];
    unsigned in = 0;
    for (size_t i = 0; i < COUNT(passwords); i++) {
        (void)snprintf(name, sizeof name, "NAME=Room%zu\n", i);
        send_secret(m, host, "room", name, "PASS", passwords[i], "DESC=\"a room\"\nMAX=5\n");
        for (size_t k = 0; k < COUNT(passwords); k++) {
            send_secret(m, guest, "move", name, "PASS", passwords[k], "");
            in += player_at(m->shell.state, conn_at(m->shell.state, conn_of(m, guest))->player)->room != HUB;
            send_secret(m, guest, "move", "NAME=\n", "PASS", passwords[k], "");
        }
        /* Longer than any: it opens nothing, though its first 16 characters would. */
        send_secret(m, guest, "move", name, "PASS", "16 letters it is, and more", "");
        send_secret(m, guest, "move", "NAME=\n", "", "", "");
    }
    send_secret(m, guest, "move", "NAME=Nowhere\n", "PASS", "secret99", "");
    ck_assert_uint_gt(in, COUNT(passwords)); /* each its own, and the open one */
    expect_absent(m, "secret99");
    expect_absent(m, "16 letters");
    expect_same_again(m, "rooms");
    machine_free(m);
}

/* Whether it is right shows when a request is taken up: by then the room may be
 * another one of the same name. */
TEST(again, a_password_that_waits_meets_another_room)
{
    struct machine *m = recorder("open");
    struct peer *host = member(m, "Alice"), *guest = member(m, "Bobby");
    send_secret(m, host, "room", "NAME=C.pit\n", "PASS", "first", "");
    m->helper.lazy = true;
    send_secret(m, guest, "edit", "", "PASS", "secret", "MAIL=c@d.e\n"); /* waits for its hash, ... */
    send_secret(m, guest, "move", "NAME=C.pit\n", "PASS", "second", ""); /* ... and this behind it */
    send_secret(m, host, "move", "NAME=\n", "", "", "");
    send_secret(m, host, "room", "NAME=C.pit\n", "PASS", "second", "");
    m->helper.lazy = false;
    settle_machine(m);
    const struct nascar *s = m->shell.state;
    ck_assert_uint_ne(player_at(s, conn_at(s, conn_of(m, guest))->player)->room, HUB);
    expect_same_again(m, "another room");
    machine_free(m);
}

TEST(again, the_operator_sets_a_password_that_is_not_written_down)
{
    struct machine *m = recorder("closed");
    struct peer *p = peer_new(m);
    char name[64];
    p->control = true;
    for (size_t i = 0; i < COUNT(passwords); i++) {
        (void)snprintf(name, sizeof name, "NAME=Alice%zu\n", i % 9);
        send_secret(m, p, "cpwd", name, "PASS", passwords[i], "");
        send_secret(m, p, "cpwd", name, "PASS", passwords[i], "");
        ck_assert_uint_eq(peer_got(p, "cpwd"), 2 * i + 2);
    }
    ck_assert_uint_ne(find_account(m->shell.state, "Alice3"), NONE);
    expect_absent(m, "secret99");
    expect_absent(m, "letters");
    expect_same_again(m, "cpwd");
    machine_free(m);
}

/* What a client could write by mistake or on purpose. Some of these the core reads
 * as a password and some it does not; the recorder takes all of them for one. */
static const struct {
    const char *kind, *payload;
    size_t size; /* 0: up to its NUL */
} slips[] = {
#define BYTES(text) text, sizeof text
    {"auth", "NAME=Ann\nPASS=hidden99\n", 0},
    {"auth", "PASS=hidden99", 0},
    {"auth", "TOS=1 PASS=hidden99", 0},
    {"auth", "NAME=Ann\nPASS:hidden99\n", 0},
    {"auth", "NAME=Ann\npass=hidden99\n", 0},
    {"auth", "NAME=Ann\nPaSs: hidden99\n", 0},
    {"auth", "NAME=Ann\nPASS=\"hidden99\"\n", 0},
    {"auth", "NAME=Ann\nPASS='hidden99'TOS=1\n", 0},
    {"auth", "NAME=Ann\nPASS=\"hidden99\"and so on\n", 0},
    {"auth", "PASS=\"hidden99\" NAME=Ann\n", 0},
    {"edit", "PASS=\"hidden99\" CHNG='hidden99' MAIL=a@b.c", 0},
    {"auth", "NAME=Ann\nPASS=\"hidden99", 0},
    {"auth", "NAME=Ann\nPASS=\nPASS=hidden99\n", 0},
    {"auth", "NAME=Ann\nPASS=~1\nPASS=hidden99\npass=hidden99\nPASS: hidden99", 0},
    {"auth", "NAME=Ann\nCHNG=hidden99\n", 0},
    {"auth", BYTES("NAME=Ann\nPASS=~a\0hidden99")},
    {"auth", BYTES("NAME=Ann\nPASS=\0hidden99\nPASS=hidden99\n")},
    {"auth", BYTES("\0PASS=hidden99\n")},
    {"acct", "NAME=Ann\nPASS=hidden99\nMAIL=a@b.c\n", 0},
    {"edit", "PASS=hidden99\nCHNG=hidden99\nCHNG=hidden99\n", 0},
    {"edit", "CHNG=\nCHNG=hidden99\nchng:hidden99\n", 0},
    {"move", "NAME=East\nPASS=hidden99\n", 0},
    {"room", "NAME=Mine\nPASS=hidden99\n", 0},
    {"cpwd", "NAME=Ann\nPASS=hidden99\n", 0},
    {"pers", "PERS=Ann\nPASS=hidden99\n", 0},
    {"cper", "PERS=Ann\nPASS=hidden99\n", 0},
    {"dper", "PERS=Ann\npass=hidden99\n", 0},
    {"addr", "ADDR=1.2.3.4\nPASS=hidden99\n", 0},
    {"sele", "ROOMS=1 PASS=hidden99", 0},
    {"logn", "NAME=Ann\nPASS=hidden99\n", 0},
    {"Auth", "NAME=Ann\nPASS=hidden99\n", 0},
    {"@dir", "PROD=NASCAR\nPASS=hidden99\n", 0},
    {"AUTH", "USER=Ann\nPASS=hidden99\n", 0},
    {"mesg", BYTES("TEXT=hello\n\0PASS=hidden99\n")},
#undef BYTES
};

TEST_LOOP(again, a_password_that_stands_in_an_odd_place_is_not_written_down, 0, COUNT(slips))
{
    struct machine *m = recorder("open");
    uint8_t frame[CONSOLE_REQUEST_BYTES];
    size_t size = slips[_i].size ? slips[_i].size : strlen(slips[_i].payload) + 1;
    size = console_frame(frame, sizeof frame, slips[_i].kind, 0, slips[_i].payload, size);
    struct peer *stranger = caller(m, true), *in = member(m, "Alice"), *fresh = peer_new(m);
    for (unsigned i = 0; i < 2; i++) { /* as it comes, and in two parts */
        peer_send_bytes(stranger, frame, size);
        peer_send_bytes(in, frame, size);
        peer_send_bytes(fresh, frame, i == 0 ? size : size - 5);
        settle_machine(m);
    }
    expect_absent(m, "hidden");
    expect_absent(m, "n99");
    expect_same_again(m, slips[_i].payload);
    machine_free(m);
}

/* What players say to one another is no secret, and stays as it is. */
TEST(again, what_is_said_is_recorded_as_it_was_said)
{
    static const char said[] = "TEXT=\"my dog's name is PASS=hidden99 ha\"\n";
    struct machine *m = recorder("open");
    struct peer *p = member(m, "Alice");
    send_secret(m, p, "mesg", said, "", "", "");
    ck_assert_uint_eq(peer_got(p, "+msg"), 1);
    ck_assert_ptr_nonnull(memmem(m->recording.bytes, m->recording.size, said, sizeof said));
    expect_same_again(m, "mesg");
    machine_free(m);
}

/* The same life with another password. */
static struct machine *life_with(const char *password, const char *wrong)
{
    struct machine *m = recorder("open");
    char wire[160];
    for (unsigned i = 0; i < 4; i++) {
        struct peer *p = caller(m, true);
        transform(m, p, i & 1 ? '~' : '$', i < 3 ? password : wrong, wire);
        send_secret(m, p, "auth", "NAME=Ann\n", "PASS", wire, "TOS=1\n");
        send_secret(m, p, "pers", "PERS=Ann\n", "", "", "");
        send_secret(m, p, "room", "NAME=Mine\n", "PASS", password, "");
        send_secret(m, p, "move", "NAME=\n", "", "", "");
        send_secret(m, p, "move", "NAME=Mine\n", "PASS", wrong, "");
        send_secret(m, p, "edit", "PASS=secret\n", "CHNG", password, "");
        hang_up(m, p);
    }
    expect_same_again(m, password);
    return m;
}

TEST(again, a_recording_tells_nothing_of_a_password)
{
    struct machine *a = life_with("four", "nope"), *b = life_with("\"sixteen \'%: it\"", "no, no, no!!");
    ck_assert_uint_eq(a->recording.size, b->recording.size);
    ck_assert_int_eq(memcmp(a->recording.bytes, b->recording.bytes, a->recording.size), 0);
    machine_free(a);
    machine_free(b);
}

/* Nor of the hash, if the disk fails with it. */
TEST(again, a_recording_tells_nothing_of_a_hash_that_could_not_be_kept)
{
    struct machine *m = recorder("open");
    struct peer *ann = member(m, "Alice"), *p = caller(m, false);
    char form[160];
    m->disk->fail_from = m->disk->calls + 1;
    m->disk->fail_until = UINT32_MAX;
    send_secret(m, ann, "edit", "NAME=Alice\nPASS=four\n", "CHNG", "secret99", "");
    transform(m, p, '~', "secret99", form);
    send_secret(m, p, "auth", "NAME=Bobby\n", "PASS", form, "");
    shell_log_flush(&m->shell);
    ck_assert(in_log(m, "journal_failed"));
    ck_assert_uint_eq(find_account(m->shell.state, "Bobby"), NONE);
    expect_absent(m, "secret99");
    expect_absent(m, "7365637265743939"); /* as the hash of a machine says it */
    machine_free(m);
}

/* A recorder looks at whole frames: what one has begun is not another's. */
TEST(again, half_a_frame_of_who_has_gone_is_nobodys)
{
    struct machine *m = recorder("open");
    struct peer *gone = peer_new(m);
    peer_send_bytes(gone, "skey\0\0\0", 7);
    settle_machine(m);
    uint32_t c = conn_of(m, gone);
    hang_up(m, gone);
    struct peer *p = peer_new(m);
    peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    settle_machine(m);
    ck_assert_uint_eq(conn_of(m, p), c); /* it has the same number */
    ck_assert_uint_eq(peer_got(p, "skey"), 1);
    expect_same_again(m, "half a frame");
    machine_free(m);
}

TEST(again, what_comes_while_a_password_is_tried_waits_its_turn)
{
    struct machine *m = recorder("open");
    struct peer *p = caller(m, false);
    char wire[160], payload[256];
    transform(m, p, '~', "secret", wire);
    m->helper.lazy = true;
    (void)snprintf(payload, sizeof payload, "NAME=Alice\nPASS=%s\n", wire);
    peer_send(p, "auth", payload);
    for (int i = 0; i < 200; i++)
        peer_send(p, "skey", "SKEY=$5075626c6963204b6579\n");
    settle_machine(m);
    ck_assert_uint_eq(peer_got(p, "auth"), 0);
    m->helper.lazy = false;
    settle_machine(m);
    ck_assert_uint_eq(peer_got(p, "auth"), 1);
    ck_assert_uint_eq(peer_got(p, "skey"), 201);
    expect_same_again(m, "frames that waited");
    machine_free(m);
}

static int replay_status(const struct inode *recording)
{
    char path[] = "/tmp/nascar-replay-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, recording->bytes, recording->size), (ssize_t)recording->size);
    (void)close(fd);
    FILE *words = tmpfile();
    (void)fflush(stdout);
    int kept = dup(STDOUT_FILENO), kept_err = dup(STDERR_FILENO);
    ck_assert(words && dup2(fileno(words), STDOUT_FILENO) >= 0 && dup2(fileno(words), STDERR_FILENO) >= 0);
    int status = printed(replay(path));
    (void)dup2(kept, STDOUT_FILENO);
    (void)dup2(kept_err, STDERR_FILENO);
    (void)close(kept);
    (void)close(kept_err);
    (void)fclose(words);
    (void)unlink(path);
    return status;
}

/* A server that answers otherwise than it did is noticed, and by a script, too. */
TEST(again, a_replay_that_ends_otherwise_is_told_and_has_status_1)
{
    unsigned long events = 0, checkpoints = 0;
    struct machine *m = recorder("open");
    struct peer *p = member(m, "Alice");
    send_secret(m, p, "mesg", "TEXT=\"good morning\"\n", "", "", "");
    expect_same_again(m, "mesg");
    ck_assert_int_eq(replay_status(&m->recording), 0);
    uint8_t *at = memmem(m->recording.bytes, m->recording.size, "good morning", 12);
    ck_assert_ptr_nonnull(at);
    memcpy(at, "good evening", 12);
    ck_assert_ptr_nonnull(replay_bytes(m->recording.bytes, m->recording.size, &events, &checkpoints));
    ck_assert_int_eq(replay_status(&m->recording), 1);
    machine_free(m);
}

TEST(again, numbers_of_every_length_are_read_as_they_were_written)
{
    for (unsigned bits = 0; bits < 63; bits++)
        for (int by = -1; by <= 1; by++) {
            uint64_t value = (UINT64_C(1) << bits) + (uint64_t)(int64_t)by;
            uint8_t bytes[16] = {0};
            struct script script = {.bytes = bytes, .size = write_varint(bytes, value)};
            ck_assert_uint_eq(read_varint(&script), value);
        }
}

TEST(again, the_recording_of_an_earlier_run_is_kept_beside)
{
    static struct shell sh;
    char folder[] = "/tmp/nascar-record-XXXXXX", old[96];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    sh.sys = &system_calls;
    sh.conns = 4;
    (void)snprintf(sh.options.record_file, sizeof sh.options.record_file, "%s/a.rec", folder);
    (void)snprintf(old, sizeof old, "%s/a.rec.old", folder);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(access(old, F_OK), -1);
        ck_assert(recording_open(&sh));
        ck_assert_int_eq(access(sh.options.record_file, F_OK), i - 1); /* it has no name before the service has begun */
        ck_assert(recording_takes_place(&sh));
        ck_assert_int_eq(access(sh.options.record_file, F_OK), 0);
        (void)close(sh.record_fd);
    }
    ck_assert_int_eq(access(old, F_OK), 0);
    (void)unlink(old);
    (void)unlink(sh.options.record_file);
    (void)rmdir(folder);
}
