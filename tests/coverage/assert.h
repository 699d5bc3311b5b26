/* <assert.h> for `make coverage`. After the usual assertion, which ends in a
 * function that does not return, clang 14 counts nothing up to the next branch.
 *
 * SPDX-License-Identifier: MIT */
#undef assert
#define assert(condition) ((condition) ? (void)0 : coverage_broken(__FILE__, __LINE__, #condition))

#ifndef TESTS_COVERAGE_ASSERT_H
#define TESTS_COVERAGE_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

static inline void coverage_broken(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: %s does not hold\n", file, line, condition);
    abort();
}

#endif
