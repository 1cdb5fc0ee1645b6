#include "protocol/blob_check.h"

#include <pthread.h>

struct blob_check {
    pthread_t thread;
    struct tt_image *images[2];
    enum tt_status status;
    struct tt_error failure;
};

static void *run_check(void *argument)
{
    struct blob_check *check = argument;
    for (size_t i = 0; i < 2 && check->status == TT_OK; i++)
        if (check->images[i])
            check->status = tt_image_verify_blobs(check->images[i], &check->failure);
    return NULL;
}

enum tt_status blob_check_start(struct tt_image *one, struct tt_image *other, struct blob_check **ret_check,
                                struct tt_error *err)
{
    struct blob_check *check = calloc(1, sizeof *check);
    if (!check)
        return tt_error_memory(err);
    check->images[0] = one;
    check->images[1] = other;
    if (pthread_create(&check->thread, NULL, run_check, check) != 0) {
        free(check);
        return tt_error_memory(err);
    }
    *ret_check = check;
    return TT_OK;
}

enum tt_status blob_check_finish(struct blob_check *check, struct tt_error *err)
{
    pthread_join(check->thread, NULL);
    enum tt_status status = check->status;
    if (status != TT_OK && err)
        *err = check->failure;
    free(check);
    return status;
}

/* Another failure is being reported already. */
void blob_check_free(struct blob_check *check)
{
    if (!check)
        return;
    pthread_join(check->thread, NULL);
    free(check);
}
