/* A home folder for one test, and an environment that names nothing else. */
#ifndef TT_TESTS_UNIT_PRIVATE_HOME_H
#define TT_TESTS_UNIT_PRIVATE_HOME_H

/* Makes a folder, sets HOME to it and takes away every variable that leads to an engine or a login. */
void private_home_enter(void);
/* Removes the folder and all in it. */
void private_home_leave(void);

const char *private_home(void);
/* Writes a file of the folder, with the folders that lead to it. `mode` as for chmod. */
void private_home_write(const char *path, const char *text, unsigned mode);
/* The path of a file there; good until the fourth call after this one. */
const char *private_home_path(const char *path);

#endif
