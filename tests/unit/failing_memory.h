/* Memory that runs out on demand: the allocations of this project's own code are counted, and the one asked for fails.
 * The program is linked with --wrap for each of them (tt_failing_memory in cmake/House.cmake). */
#ifndef TT_TESTS_UNIT_FAILING_MEMORY_H
#define TT_TESTS_UNIT_FAILING_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* From here on the nth allocation (from 1) of any thread fails, and none after it. */
void failing_memory_arm(unsigned long nth);
/* Nothing fails any more. True when that allocation came. */
bool failing_memory_disarm(void);
/* How many allocations there were since ULONG_MAX was armed. */
unsigned long failing_memory_count(void);

/* From here on allocations are watched. */
void failing_memory_watch(void);
/* Nothing is watched any more. How many places there were that allocations came from: a place is all the functions that
 * were being called, so what a loop does again and again is one. */
size_t failing_memory_places(void);
/* From here on the next allocation from that place fails, whatever order threads come in, and none after it. */
void failing_memory_arm_place(size_t index);

#endif
