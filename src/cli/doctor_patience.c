#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/doctor.h"

enum { PATIENCE_SECONDS = 10 };

/* Which check it is that takes so long, on standard error. Not by way of stdio: the check may hold its locks. */
static void complain(const char *name)
{
    char *words TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("traintoken: the check '%s' has had no answer for %d seconds, and waits on; press Ctrl-C twice "
                       "to give it up\n",
                       name, PATIENCE_SECONDS);
    if (words && write(STDERR_FILENO, words, strlen(words)) < 0)
        return;
}

static void *watch(void *user)
{
    struct doctor_patience *patience = user;
    pthread_mutex_lock(&patience->lock);
    while (!patience->has_ended) {
        unsigned check = patience->check;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += PATIENCE_SECONDS;
        int number = patience->name[0] ? 0 : EAGAIN;
        while (!patience->has_ended && check == patience->check && number == 0)
            number = pthread_cond_timedwait(&patience->changed, &patience->lock, &until);
        if (number == ETIMEDOUT && !patience->has_ended && check == patience->check)
            complain(patience->name);
        while (!patience->has_ended && check == patience->check)
            pthread_cond_wait(&patience->changed, &patience->lock);
    }
    pthread_mutex_unlock(&patience->lock);
    return NULL;
}

void doctor_patience_start(struct doctor_patience *patience)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&patience->lock, NULL);
    pthread_cond_init(&patience->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    patience->is_watched = pthread_create(&patience->thread, NULL, watch, patience) == 0;
}

void doctor_patience_next(struct doctor_patience *patience, const char *name)
{
    if (!patience->is_watched)
        return;
    pthread_mutex_lock(&patience->lock);
    snprintf(patience->name, sizeof patience->name, "%s", name);
    patience->check++;
    pthread_cond_signal(&patience->changed);
    pthread_mutex_unlock(&patience->lock);
}

void doctor_patience_end(struct doctor_patience *patience)
{
    if (!patience->is_watched)
        return;
    pthread_mutex_lock(&patience->lock);
    patience->has_ended = true;
    pthread_cond_signal(&patience->changed);
    pthread_mutex_unlock(&patience->lock);
    pthread_join(patience->thread, NULL);
    patience->is_watched = false;
}
