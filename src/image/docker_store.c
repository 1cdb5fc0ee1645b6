#include "image/store.h"

const struct tt_image_store tt_docker_store = {0};
