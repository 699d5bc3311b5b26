/* Strict readers of the log's two forms, for every line that a suite comes by. They
 * know the forms from README alone, and take nothing else.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LOGS_H
#define LOGS_H

#include <stdbool.h>
#include <stddef.h>

struct log_pair {
    char key[32];
    char value[2048]; /* without quotes, each \xNN and \u00NN undone */
    size_t size;      /* of the value, which may have a NUL then */
    bool number;      /* it is to be a number in JSON */
};

struct log_pairs {
    struct log_pair pair[32];
    size_t count;
};

/* Both take a line without its end, and return NULL or what is wrong with it. */
const char *log_read_text(const char *line, size_t size, struct log_pairs *pairs);
const char *log_read_json(const char *line, size_t size, struct log_pairs *pairs);
/* Have both the same keys with the same values, in the same order? */
bool log_same(const struct log_pairs *a, const struct log_pairs *b);
/* The value of a key; NULL if it is not there. */
const char *log_value(const struct log_pairs *pairs, const char *key);

#endif
