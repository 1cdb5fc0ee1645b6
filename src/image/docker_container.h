/*
 * Containers that this program makes in an engine, and who they belong to. Their names (and the comments of the images
 * that come of them) say which process made them, so that what a killed process left can be told from what a living
 * one works with:
 *
 *   traintoken.BOOT.PIDS.PID.START.HOST.NUMBER
 *
 * BOOT: first 8 hex digits of the kernel's boot id; PIDS: inode of the pid namespace; START: the process's start time
 * in clock ticks; HOST: the container's id in a container, else "h" and the start of the host name's hash.
 */
#ifndef TT_IMAGE_DOCKER_CONTAINER_H
#define TT_IMAGE_DOCKER_CONTAINER_H

#include "image/docker_engine.h"

#define TT_DOCKER_LABEL "traintoken"

/* A new name that is this process's, in new memory. */
TT_MUST_USE enum tt_status tt_docker_owner_name(char **ret_name, struct tt_error *err);

/* Whether `text` starts with such a name (of any process). */
bool tt_docker_owner_is_ours(const char *text);

/* Whether it is a name of this very process. */
TT_MUST_USE enum tt_status tt_docker_owner_is_self(const char *text, bool *ret_is_self, struct tt_error *err);

/* Whether the process that made it may still be at work; asks the engine where that process was in a container. `age`
 * is how many seconds ago the thing that has the name was made: a process that cannot be looked for (of another
 * machine) is given a day. */
TT_MUST_USE enum tt_status tt_docker_owner_lives(struct tt_docker_engine *engine, const char *text, int64_t age,
                                                 bool *ret_lives, struct tt_error *err);

enum tt_docker_purpose {
    TT_DOCKER_READ,   /* files are taken out of it; never started */
    TT_DOCKER_CHANGE, /* files are put in and it is committed; never started. Has no label: a commit would hand it on.
                       */
    TT_DOCKER_EXECUTE /* the train runs in it */
};

/* Creates a container of `config` (the body of POST /containers/create, with Image; stays the caller's), adding what
 * the purpose needs: name, label "traintoken=PURPOSE", and where it is never started no network, and a command if the
 * image has none. */
TT_MUST_USE enum tt_status tt_docker_container_create(struct tt_docker_engine *engine, enum tt_docker_purpose purpose,
                                                      const cJSON *config, char **ret_id, struct tt_error *err);

/* Kills and removes it with its anonymous volumes, and frees the text. Takes NULL. A failure is a warning: the next
 * start finds it. */
void tt_docker_container_remove(struct tt_docker_engine *engine, char *id);

#endif
