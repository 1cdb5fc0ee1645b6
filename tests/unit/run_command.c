#include "run_command.h"

#include <CUnit/CUnit.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void run_command(const char *format, ...)
{
    char command[2048];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(command, sizeof command, format, values);
    va_end(values);
    CU_ASSERT_FATAL(length >= 0 && (size_t)length < sizeof command);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
}
