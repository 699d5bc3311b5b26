/* What players type is never taken for a tag (PROTOCOL 2): each request with a
 * text, once with plain words in it and once with words that look like tags, has
 * the same outcome for everybody, and the text arrives as it was typed.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"
#include "people.h"

static const char *const typed[] = {
    "on lap N: 5",
    "dont tell priv: Cal",
    "to PRIV=Cal ATTR=3",
    "ATTR: B3 N=Cal",
    "LIST: I LIST=I USER: Cal USER=Cal",
    "SHOW: DISC SHOW=DISC",
    "PASS: secret MAX=2 PASS=secret",
    "CHNG: mine2 CHNG=mine2 PASS: pit stop",
    "NAME: Cal NAME=Cal PERS: * PERS=Cal",
    "HOST: 1 AUTH=00 SECS: 1 SECS=1",
    "MAIL: x SPAM=YY TOS: 0 MASK=1",
    "ID: 9 TYPE=X BODY: y STAT=z PROD: w TEXT=v",
    "TEXT: DECL TEXT=ACPT",
};

/* `%s` is what is typed; who is asked for stands before it or behind it. */
static const struct {
    const char *kind, *payload, *told, *tag; /* told: the push that has the text, in its tag */
    bool buddy;
} requests[] = {
    {"mesg", "TEXT=\"%s\"\n", "+msg", "T", false},
    {"mesg", "TEXT=%s\nPRIV=Bob\n", "+msg", "T", false},
    {"mesg", "PRIV=Bob\nTEXT=\"%s\"\n", "+msg", "T", false},
    {"mesg", "N=Bob\nATTR=A\nTEXT=%s\n", "+msg", "T", false},
    {"auxi", "TEXT=\"%s\"\n", "+usr", "X", false},
    {"room", "NAME=C.New\nPASS=\nDESC=\"%.31s\"\n", "+rom", "H", false},
    {"room", "NAME=C.New\nDESC=%.31s\nPASS=\nMAX=9\n", "+rom", "H", false},
    {"edit", "MAIL=\"%s\"\n", NULL, NULL, false},
    {"edit", "MAIL=%s\nSPAM=NN\n", NULL, NULL, false},
    {"edit", "PASS=\"pit stop\"\nCHNG=\"%.16s\"\n", NULL, NULL, false},
    {"move", "NAME=\"%s\"\nPASS=\n", NULL, NULL, false},
    {"move", "NAME=West\nPASS=\"%s\"\n", NULL, NULL, false},
    {"user", "PERS=\"%s\"\n", NULL, NULL, false},
    {"onln", "PERS=\"%s\"\n", NULL, NULL, false},
    {"peek", "NAME=\"%s\"\n", NULL, NULL, false},
    {"cper", "PERS=\"%s\"\n", NULL, NULL, false},
    {"snap", "INDEX=0\nRANGE=5\nFIND=\"%s\"\n", NULL, NULL, false},
    {"rept", "PERS=\"%s\"\n", NULL, NULL, false},
    {"PSET", "SHOW=AWAY\nPROD=\"is online\"\nSTAT=\"%s\"\n", "PGET", "STAT", true},
    {"PSET", "STAT=%s\nSHOW=AWAY\n", "PGET", "STAT", true},
    {"PSET", "SHOW=AWAY\nPROD=\"%s\"\n", "PGET", "PROD", true},
    {"SEND", "TYPE=C\nUSER=Bob\nSECS=259200\nBODY=\"%s\"\n", "RECV", "BODY", true},
    {"SEND", "BODY=%s\nTYPE=C\nUSER=Bob\nSECS=259200\n", "RECV", "BODY", true},
    {"RADD", "LRSC=cso\nID=101\nLIST=B\nPRES=Y\nUSER=\"%s\"\n", NULL, NULL, true},
    {"USCH", "USER=\"%s\"\n", NULL, NULL, true},
};

/* All kinds and codes that Ann, Bob and Cal get, and what Bob, or else Cal, reads. */
static const char *outcome(int request, const char *text, char read[300])
{
    char *all = page(), payload[600];
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cal = linked("Cal");
    struct raw *links[] = {ann->lobby, bob->lobby, cal->lobby, ann->buddy, bob->buddy, cal->buddy};
    put_on_list(bob, "B", "Ann");
    go(ann->lobby, "East");
    go(bob->lobby, "East");
    go(cal->lobby, "East");
    for (size_t i = 0; i < 6; i++)
        raw_forget(links[i]);
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#endif
    (void)snprintf(payload, sizeof payload, requests[request].payload, text);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
    say(requests[request].buddy ? ann->buddy : ann->lobby, requests[request].kind, payload);
    world_run(w, 100);
    read[0] = all[0] = 0;
    for (size_t i = 0; i < 6; i++) {
        (void)snprintf(all + strlen(all), 16, "| ");
        for (size_t k = 0; k < links[i]->count; k++) {
            const struct got *g = links[i]->frames[k];
            (void)snprintf(all + strlen(all), 64, "%s%s.%d ", g->kind, got_code(g), (int)got_status(g));
            if (i % 3 == 1 && requests[request].told && strcmp(g->kind, requests[request].told) == 0)
                (void)snprintf(read, 300, "%s", got_text(g, requests[request].tag));
        }
    }
    return all;
}

GROUP(words, open_people, close_world, 0);

TEST_LOOP(words, whatever_is_typed_is_no_tag, 0, COUNT(requests) * COUNT(typed))
{
    int request = _i / COUNT(typed);
    const char *text = typed[_i % COUNT(typed)];
    char plain[64], wanted[8192], read[300];
    size_t n = strlen(text);
    memset(plain, 'w', sizeof plain); /* words of the same length, with the same spaces */
    plain[n] = 0;
    for (size_t i = 0; i < n; i++)
        plain[i] = text[i] == ' ' ? ' ' : 'w';
    (void)snprintf(wanted, sizeof wanted, "%s", outcome(request, plain, read));
    reopen_people(NULL);
    const char *is = outcome(request, text, read);
    ck_assert_msg(strcmp(is, wanted) == 0, "%s \"%s\": %s, not %s", requests[request].kind, text, is, wanted);
    if (requests[request].told)
        ck_assert_msg(read[0] && strncmp(read, text, strlen(read)) == 0 && strlen(read) >= (n < 31 ? n : 31),
                      "%s \"%s\": read as \"%s\"", requests[request].kind, text, read);
}

/* The same for who has not logged in yet: what stands in MAIL is not the name, nor
 * the password. */
TEST_LOOP(words, mail_of_a_sign_up_is_no_tag, 0, COUNT(typed))
{
    struct raw *r = guest();
    char payload[600];
    (void)snprintf(payload, sizeof payload, "MAIL=%s\n%s", typed[_i], sign_up_tags(r, "Zoe", "pit stop", ""));
    const struct got *g = raw_ask(r, "acct", payload);
    SUCCEEDS(g);
    ck_assert_str_eq(got_text(g, "NAME"), "Zoe");
    can_log_in("Zoe", "pit stop");
}

/* An empty PRIV names nobody: what is for N is not said to the room. */
TEST(words, an_empty_recipient_makes_no_private_line_public)
{
    struct person *ann = linked("Ann"), *bob = linked("Bob"), *cal = linked("Cal");
    go(ann->lobby, "East");
    go(bob->lobby, "East");
    go(cal->lobby, "East");
    raw_forget(bob->lobby);
    raw_forget(cal->lobby);
    SUCCEEDS(raw_ask(ann->lobby, "mesg", "PRIV=\nN=Bob\nTEXT=psst\n"));
    world_settle(w);
    ck_assert_uint_eq(frames_of(bob->lobby, "+msg", NULL), 1);
    ck_assert_uint_eq(frames_of(cal->lobby, "+msg", NULL), 0);
}
