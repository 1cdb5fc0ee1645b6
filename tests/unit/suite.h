/* The frame of every unit-test program: a table of named tests, run by CUnit, exit status by the outcome. */
#ifndef TT_TESTS_UNIT_SUITE_H
#define TT_TESTS_UNIT_SUITE_H

#include <CUnit/Basic.h>
#include <stddef.h>

struct suite_test {
    const char *name;
    void (*run)(void);
};

static inline int suite_run(const char *name, const struct suite_test *tests, size_t count)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite(name, NULL, NULL);
    for (size_t i = 0; suite && i < count; i++)
        if (!CU_add_test(suite, tests[i].name, tests[i].run))
            suite = NULL;
    if (!suite)
        return 1;
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}

#define SUITE_RUN(name, tests) suite_run(name, tests, sizeof(tests) / sizeof(tests)[0])

#endif
