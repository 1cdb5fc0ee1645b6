/* Docker's and podman's configuration files, which may hold passwords: what was read is wiped. */
#ifndef TT_IMAGE_DOCKER_CONFIG_H
#define TT_IMAGE_DOCKER_CONFIG_H

#include <cjson/cJSON.h>

#include "base/error.h"

/* The folder of docker's configuration (DOCKER_CONFIG, else ~/.docker), in new memory; NULL where there is no home. */
char *tt_docker_config_folder(void);

/* The file as JSON; *ret_root is NULL where there is no file. TT_STORE names the file. Freed by
 * tt_docker_config_free. */
TT_MUST_USE enum tt_status tt_docker_config_read(const char *path, cJSON **ret_root, struct tt_error *err);

/* Wipes every text in it. Takes NULL. */
void tt_docker_config_free(cJSON *root);
TT_DEFINE_CLEANUP(cJSON *, tt_docker_config_free)

#endif
