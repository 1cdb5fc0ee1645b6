/* A folder for targets whose parsers read files: made once, gone when the program ends. */
#ifndef TT_TESTS_FUZZ_FUZZ_FOLDER_H
#define TT_TESTS_FUZZ_FUZZ_FOLDER_H

#include <stddef.h>

const char *fuzz_folder(void);
/* FOLDER/NAME, the caller's to free; folders on the way are made. */
char *fuzz_path(const char *name);
/* What was there is written over. */
void fuzz_write(const char *name, const void *data, size_t size);
/* The files of a folder in it, not what lies deeper. */
void fuzz_empty(const char *name);

#endif
