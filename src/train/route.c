#include <string.h>

#include "train/train.h"

/* Enough to recognize a misspelt id by; longer routes are cut. */
enum { LISTED_STATIONS = 20 };

static enum tt_status list_stations(const struct tt_train *train, struct tt_buffer *list, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    size_t listed = train->stop_count < LISTED_STATIONS ? train->stop_count : LISTED_STATIONS;
    for (size_t i = 0; i < listed && status == TT_OK; i++)
        status = tt_buffer_printf(list, err, "%s'%s'", i > 0 ? ", " : "", train->stops[i].station);
    if (status == TT_OK && listed < train->stop_count)
        status = tt_buffer_printf(list, err, " and %zu more", train->stop_count - listed);
    return status;
}

enum tt_status tt_route_find(const struct tt_train *train, const char *station, const struct tt_stop **ret_stop,
                             struct tt_error *err)
{
    for (size_t i = 0; i < train->stop_count; i++) {
        if (strcmp(train->stops[i].station, station) == 0) {
            *ret_stop = &train->stops[i];
            return TT_OK;
        }
    }
    struct tt_buffer list TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    enum tt_status status = list_stations(train, &list, err);
    if (status != TT_OK)
        return status;
    return tt_error_set(err, TT_WRONG_STOP, "station '%s' is not on the train's route, which is: %s", station,
                        (const char *)list.data);
}

enum tt_status tt_route_position(const struct tt_train *train, size_t *ret_position, struct tt_error *err)
{
    size_t position = 0;
    while (position < train->stop_count && train->stops[position].is_signed)
        position++;
    for (size_t i = position; i < train->stop_count; i++)
        if (train->stops[i].is_signed)
            return tt_error_set(err, TT_TAMPERED, "stop %zu ('%s') is signed, but stop %zu ('%s') before it is not", i,
                                train->stops[i].station, position, train->stops[position].station);
    bool has_signature = train->result_signature.data != NULL;
    if (position == 0 && (train->has_result_hash || has_signature))
        return tt_error_set(err, TT_TAMPERED, "the train has a %s, but no stop of it is signed",
                            train->has_result_hash ? "result_hash" : "result_signature");
    if (position > 0 && !(train->has_result_hash && has_signature))
        return tt_error_set(err, TT_TAMPERED, "stop %zu ('%s') is signed, but the train has no %s", position - 1,
                            train->stops[position - 1].station,
                            train->has_result_hash ? "result_signature" : "result_hash");
    *ret_position = position;
    return TT_OK;
}
