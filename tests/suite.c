/* The main() of every suite; suite.h says how tests get here.
 *
 * SPDX-License-Identifier: MIT */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static struct suite_group *groups;

/* Compilers may call constructors in any order, so lines decide. */
void suite_add(struct suite_group *group, struct suite_test *test, int from, int to)
{
    test->from = from;
    test->to = to;
    if (group->tests == NULL) { /* its first */
        struct suite_group **place = &groups;
        while (*place != NULL && (*place)->line < group->line)
            place = &(*place)->next;
        group->next = *place;
        *place = group;
    }
    struct suite_test **place = &group->tests;
    while (*place != NULL && (*place)->check.line < test->check.line)
        place = &(*place)->next;
    test->next = *place;
    *place = test;
}

int suite_step(void)
{
    const char *every = getenv("SUITE_EVERY");
    long step = every ? strtol(every, NULL, 10) : 1;
    return step > 1 ? (int)step : 1;
}

static TCase *case_of(const struct suite_group *group)
{
    const int step = suite_step();
    TCase *tcase = tcase_create(group->name);
    if (group->timeout_s > 0)
        tcase_set_timeout(tcase, group->timeout_s);
    if (group->once)
        tcase_add_unchecked_fixture(tcase, group->set_up, group->tear_down);
    else
        tcase_add_checked_fixture(tcase, group->set_up, group->tear_down);
    for (const struct suite_test *test = group->tests; test != NULL; test = test->next)
        for (int i = test->from; i < test->to; i += step)
            tcase_add_loop_test(tcase, &test->check, i, i + 1);
    return tcase;
}

int main(int argc, char **argv)
{
    const char *path = argc > 0 ? argv[0] : "tests", *slash = strrchr(path, '/');
    Suite *suite = suite_create(slash != NULL ? slash + 1 : path);
    for (const struct suite_group *group = groups; group != NULL; group = group->next)
        suite_add_tcase(suite, case_of(group));
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
