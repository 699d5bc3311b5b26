/* Strict readers of the log's two forms; logs.h says what they are for.
 *
 * SPDX-License-Identifier: MIT */
#include "logs.h"

#include <string.h>

struct reader {
    const char *at, *end;
};

static bool takes(struct reader *r, char c)
{
    bool there = r->at < r->end && *r->at == c;
    r->at += there;
    return there;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_plain(char c)
{
    return c >= 0x20 && c <= 0x7e && c != '"' && c != '\\';
}

/* A key: a letter, then letters, digits and _. It is not there yet. */
static const char *read_key(struct reader *r, struct log_pairs *pairs)
{
    struct log_pair *pair = &pairs->pair[pairs->count];
    size_t n = 0;
    if (pairs->count == sizeof pairs->pair / sizeof pairs->pair[0])
        return "more keys than any line has";
    memset(pair, 0, sizeof *pair);
    while (r->at < r->end &&
           ((*r->at >= 'a' && *r->at <= 'z') || (n > 0 && (*r->at == '_' || (*r->at >= '0' && *r->at <= '9'))))) {
        if (n + 1 == sizeof pair->key)
            return "a key that is too long";
        pair->key[n++] = *r->at++;
    }
    if (n == 0)
        return "no key";
    if (log_value(pairs, pair->key))
        return "a key for the second time";
    return NULL;
}

static bool keep(struct log_pair *pair, int c)
{
    if (c < 0 || pair->size + 1 >= sizeof pair->value)
        return false;
    pair->value[pair->size++] = (char)c;
    return true;
}

/* In quotes: plain characters, and the others as `escape`, which ends in two digits
 * of hex: these only, and in no other way. */
static const char *read_quoted(struct reader *r, struct log_pair *pair, const char *escape)
{
    size_t n = strlen(escape);
    while (r->at < r->end && *r->at != '"') {
        int c = (unsigned char)*r->at;
        if (is_plain(*r->at)) {
            r->at++;
        } else {
            if ((size_t)(r->end - r->at) < n + 2 || memcmp(r->at, escape, n) != 0 || hex(r->at[n]) < 0)
                return "a character that must be escaped, or an escape that is none";
            c = hex(r->at[n]) * 16 + hex(r->at[n + 1]);
            if (hex(r->at[n + 1]) < 0 || (c < 0x80 && is_plain((char)c)))
                return "an escape of nothing that needs it";
            r->at += n + 2;
        }
        if (!keep(pair, c))
            return "a value that is too long";
    }
    return takes(r, '"') ? NULL : "no end of the quotes";
}

static bool is_number(const struct log_pair *pair)
{
    return pair->size > 0 && strspn(pair->value, "0123456789") == pair->size &&
           (pair->size == 1 || pair->value[0] != '0');
}

const char *log_read_text(const char *line, size_t size, struct log_pairs *pairs)
{
    struct reader r = {line, line + size};
    const char *wrong;
    pairs->count = 0;
    do {
        struct log_pair *pair = &pairs->pair[pairs->count];
        if ((wrong = read_key(&r, pairs)) != NULL)
            return wrong;
        if (!takes(&r, '='))
            return "no = behind a key";
        if (takes(&r, '"')) {
            if ((wrong = read_quoted(&r, pair, "\\x")) != NULL)
                return wrong;
        } else {
            while (r.at < r.end && *r.at != ' ') {
                if (!is_plain(*r.at) || *r.at == '=')
                    return "a value that should be in quotes";
                if (!keep(pair, *r.at++))
                    return "a value that is too long";
            }
            if (pair->size == 0)
                return "no value";
            pair->number = is_number(pair);
        }
        pairs->count++;
    } while (takes(&r, ' '));
    return r.at == r.end ? NULL : "something behind a value";
}

const char *log_read_json(const char *line, size_t size, struct log_pairs *pairs)
{
    struct reader r = {line, line + size};
    const char *wrong;
    pairs->count = 0;
    if (!takes(&r, '{'))
        return "no object";
    do {
        struct log_pair *pair = &pairs->pair[pairs->count];
        if (!takes(&r, '"'))
            return "no quotes round a key";
        if ((wrong = read_key(&r, pairs)) != NULL)
            return wrong;
        if (!takes(&r, '"') || !takes(&r, ':'))
            return "no : behind a key";
        if (takes(&r, '"')) {
            if ((wrong = read_quoted(&r, pair, "\\u00")) != NULL)
                return wrong;
        } else {
            while (r.at < r.end && *r.at >= '0' && *r.at <= '9')
                if (!keep(pair, *r.at++))
                    return "a value that is too long";
            pair->number = true;
            if (!is_number(pair))
                return "a value that is no number and no string";
        }
        pairs->count++;
    } while (takes(&r, ','));
    if (!takes(&r, '}'))
        return "no end of the object";
    return r.at == r.end ? NULL : "something behind the object";
}

bool log_same(const struct log_pairs *a, const struct log_pairs *b)
{
    for (size_t i = 0; i < a->count && a->count == b->count; i++) {
        const struct log_pair *x = &a->pair[i], *y = &b->pair[i];
        if (strcmp(x->key, y->key) != 0 || x->number != y->number || x->size != y->size ||
            memcmp(x->value, y->value, x->size) != 0)
            return false;
    }
    return a->count == b->count;
}

const char *log_value(const struct log_pairs *pairs, const char *key)
{
    for (size_t i = 0; i < pairs->count; i++)
        if (strcmp(pairs->pair[i].key, key) == 0)
            return pairs->pair[i].value;
    return NULL;
}
