/* The dictionary of one harness, from the server's own tables.
 *
 * usage: dictionary frame | step | journal | dns | http
 *
 * SPDX-License-Identifier: MIT */
#include "fuzz_step.h"

bool fuzz_wants_hash;

static void word(const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    (void)putchar('"');
    for (size_t i = 0; i < size; i++)
        (void)printf("\\x%02x", (unsigned)p[i]);
    (void)printf("\"\n");
}

/* A frame of this kind with nothing in it. */
static void empty_frame(const char *kind)
{
    struct outgoing f;
    frame_begin(&f, kind, "");
    frame_end(&f);
    word(f.bytes, f.size);
}

static void key(const char *name, const char *between)
{
    char text[96];
    word(text, (size_t)snprintf(text, sizeof text, "%s%s", name, between));
}

/* An event of each type, on the first connections. */
static void events(void)
{
    uint8_t head[SCRIPT_HEAD_BYTES];
    for (uint32_t type = 0; type < SCRIPT_TYPES; type++) {
        for (uint32_t c = 0; c < PLAYERS; c++) {
            struct nascar_event e = {.conn = c};
            word(head, script_write_event(head, type, &e, 0));
        }
    }
    word(script_magic, sizeof script_magic);
}

/* What a question by DNS is made of: its head, without and with other records, names, types, and records of EDNS. */
static void question_parts(void)
{
    word("\1\0\0\1\0\0\0\0\0\0", 10);
    word("\1\0\0\1\0\0\0\0\0\1", 10);
    for (size_t i = 0; i < DNS_QUESTIONS; i++) {
        const char *name = dns_questions[i].bytes + DNS_HEAD;
        uint32_t chars = (uint32_t)strlen(name) + 1;
        word(name, chars);
        word(name + chars, min_u32(4, dns_questions[i].size - DNS_HEAD - chars));
    }
    word("\0\0\x29\4\xD0\0\0\0\0\0\0", DNS_OPT_BYTES);
    word("\0\0\x29\4\xD0\0\1\x80\0\0\4\0\x0A\0\0", DNS_OPT_BYTES + 4);
    word("\xC0\x0C", 2);
    word("\x3F", 1);
    word("\0\0\xFA\0\xFF\0\0\0\0\0\0", 11);
}

/* What a request by HTTP is made of. */
static void http_words(void)
{
    static const char *const words[] = {"GET ",
                                        "HEAD ",
                                        "POST ",
                                        " HTTP/1.1\r\nHost: x\r\n",
                                        " HTTP/1.0\r\n",
                                        "\r\n\r\n",
                                        "close",
                                        "Cookie: ",
                                        "Content-Length: 0",
                                        "?start=1&count=2",
                                        "%41",
                                        "Ann",
                                        "Bob",
                                        "\"*\""};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        key(words[i], "");
    for (uint32_t page = 0; page < PAGES; page++)
        key(http_pages[page].path, "");
    for (const char *at = http_fields; *at; at += strcspn(at, " "), at += *at == ' ') {
        char field[32];
        copy_text(field, strcspn(at, " ") + 1, at);
        key(field, ": ");
    }
}

int main(int argc, char **argv)
{
    const char *which = argc == 2 ? argv[1] : "";
    bool frame = strcmp(which, "frame") == 0, script = strcmp(which, "step") == 0,
         journal = strcmp(which, "journal") == 0, dns = strcmp(which, "dns") == 0;
    if (strcmp(which, "http") == 0) {
        http_words();
        return 0;
    }
    if (!frame && !script && !journal && !dns) {
        (void)fprintf(stderr, "usage: dictionary frame | step | journal | dns | http\n");
        return 2;
    }
    for (size_t i = 0; i < DNS_QUESTIONS && (dns || script); i++)
        word(dns_questions[i].bytes, dns_questions[i].size);
    if (dns) {
        question_parts();
        return 0;
    }
    for (size_t i = 0; i < COMMANDS && !journal; i++)
        empty_frame(commands[i].kind);
    for (size_t i = 0; i < PROXY_HEADERS && !journal; i++)
        word(proxy_headers[i].bytes, proxy_headers[i].size);
    for (size_t i = 0; i < RECORD_KINDS && !frame; i++)
        empty_frame(durables[i].kind);
    for (uint32_t t = 0; t < TAG_COUNT; t++)
        key(tag_names[t], "=");
    for (size_t i = 0; i < SETTINGS && script; i++)
        if (!settings[i].of_shell)
            key(settings[i].key, " = ");
    for (uint32_t i = 0; i < SHOWS && script; i++)
        key(show_names[i], "");
    for (uint32_t p = 0; p < PLAYERS && script; p++)
        key(player_names[p], "");
    if (script)
        events();
    if (journal) {
        empty_frame("btch");
        empty_frame("nsrj");
    }
    return 0;
}
