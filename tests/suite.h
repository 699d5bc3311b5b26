/* Tests that register themselves, on top of Check: a suite is one file of
 * groups and tests, without a list of their names and without a main().
 *
 *     GROUP(moving, open_world, close_world, 30);
 *
 *     TEST(moving, a_leaver_frees_the_room)
 *     {
 *         ...
 *     }
 *
 * They run in the order of the file, groups by where GROUP() stands. For Check,
 * a group is a case, and the program's name is the suite's: CK_RUN_CASE=moving
 * runs that group alone.
 *
 * SPDX-License-Identifier: MIT */
#ifndef SUITE_H
#define SUITE_H

#include <check.h>
#include <stdbool.h>

/* Check notes in a file each assertion that held, by a system call, so that it
 * can say where a crash was. Some suites make ten millions of them, and spent
 * most of their time so. */
#define _mark_point(file, line) ((void)0)

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

struct suite_test {
    TTest check;
    int from, to; /* _i goes from `from` to `to` - 1 */
    struct suite_test *next;
};

struct suite_group {
    const char *name;
    int line; /* where GROUP() stands */
    void (*set_up)(void), (*tear_down)(void);
    double timeout_s;
    bool once;
    struct suite_test *tests;
    struct suite_group *next;
};

/* Before and after each test of the group comes set_up() and tear_down(), in the
 * test's own process; NULL is nothing. timeout_s is for each test; 0 is Check's
 * default. */
#define GROUP(group, set_up, tear_down, timeout_s) \
    static struct suite_group group_##group = {#group, __LINE__, set_up, tear_down, timeout_s, false, NULL, NULL}

/* The same, but set_up() and tear_down() are called once for all tests of the
 * group: each test changes a copy of what set_up() has made. */
#define GROUP_SET_UP_ONCE(group, set_up, tear_down, timeout_s) \
    static struct suite_group group_##group = {#group, __LINE__, set_up, tear_down, timeout_s, true, NULL, NULL}

#define TEST(group, name) TEST_LOOP(group, name, 0, 1)

/* With SUITE_EVERY=N it is N: only each Nth case of a loop is tried, and after each Nth event
 * nascar_check() called. That is for whoever does all of it in another way, and takes his time in
 * this one. Else it is 1. */
int suite_step(void);

/* A test for each _i from `from` to `to` - 1, in such steps. */
#define TEST_LOOP(group, name, from, to) \
    static void name(int _i); \
    __attribute__((constructor)) static void add_##name(void) \
    { \
        static struct suite_test test = {{#name, name, __FILE__, __LINE__}, 0, 0, NULL}; \
        suite_add(&group_##group, &test, from, to); \
    } \
    static void name(int _i CK_ATTRIBUTE_UNUSED)

/* What TEST() calls before main(). */
void suite_add(struct suite_group *group, struct suite_test *test, int from, int to);

#endif
