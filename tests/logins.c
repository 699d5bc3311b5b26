/* Clients on their way in; logins.h says what each word is for.
 *
 * SPDX-License-Identifier: MIT */
#include "logins.h"

void greet(struct raw *r)
{
    SUCCEEDS(raw_ask(r, "addr", ADDR_REQUEST));
    const struct got *g = raw_ask(r, "skey", SKEY_REQUEST);
    (void)console_read_binary(console_find(got_payload(g), "SKEY"), r->key, sizeof r->key);
    r->has_key = true;
}

struct raw *guest(void)
{
    struct raw *r = raw_open(w, 0);
    greet(r);
    return r;
}

const char *enciphered(struct raw *r, const char *password)
{
    char *text = lobby_text();
    text[0] = '~';
    console_encode(&r->pad, r->key, sizeof r->key, password, text + 1);
    return text;
}

const char *masked(const char *mask, const char *password)
{
    char *text = lobby_text();
    console_mask(mask, password, text, 128);
    return text;
}

const char *credentials(const char *name, const char *pass, const char *more)
{
    static struct console_tags tags;
    char *text = lobby_text();
    memset(&tags, 0, sizeof tags);
    console_put_text(&tags, "NAME", name);
    console_put_text(&tags, "PASS", pass);
    (void)snprintf(text, 2048, "%s%s", tags.text, more);
    return text;
}

void say_auth(struct raw *r, const char *name, const char *password)
{
    raw_send(r, "auth", credentials(name, enciphered(r, password), "TOS=1\n"));
}

const char *sign_up_tags(struct raw *r, const char *name, const char *password, const char *more)
{
    return credentials(name, enciphered(r, password), more);
}

const struct got *sign_up(struct raw *r, const char *name, const char *password)
{
    return raw_ask(r, "acct",
                   sign_up_tags(r, name, password,
                                "MAIL=a@example.org\nSPAM=YN\nGEND=M\nBORN=19800115\nTOS=1\n"
                                "CPAT=1\nMINAGE=13\nPMAIL=\n"));
}

const char *login_code(const char *name, const char *password)
{
    char *code = lobby_text();
    struct raw *r = raw_open(w, 0);
    const struct got *g = raw_auth(r, name, password);
    (void)snprintf(code, 8, "%s", got_code(g));
    ck_assert((code[0] == '\0') == (got_status(g) == 1));
    raw_close(r);
    return code;
}

void can_log_in(const char *name, const char *password)
{
    ck_assert_str_eq(login_code(name, password), "");
}

const char *personas_of(const char *name, const char *password)
{
    char *list = lobby_text();
    struct raw *r = raw_open(w, 0);
    const struct got *g = raw_auth(r, name, password);
    SUCCEEDS(g);
    (void)snprintf(list, 128, "%s", got_text(g, "PERSONAS"));
    raw_close(r);
    return list;
}

bool is_hex(const char *text, size_t digits)
{
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

bool is_past_date(const char *text)
{
    int part[6], used = 0;
    int64_t now = (int64_t)(w->mono_ms / 1000) + w->wall_offset_s;
    return sscanf(text, "%d-%d-%d %d:%d:%d%n", &part[0], &part[1], &part[2], &part[3], &part[4], &part[5], &used) ==
               6 &&
           text[used] == '\0' && part[0] >= 2026 && console_read_epoch(text) <= now;
}
