/*
 * The station at a glance: findings, and who looks at what. Each check says what it finds and goes on; a check that
 * cannot be made because of another's outcome says so.
 */
#ifndef TT_CLI_DOCTOR_H
#define TT_CLI_DOCTOR_H

#include <pthread.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

#include "cli/audit_options.h"
#include "cli/command.h"
#include "provisioning/key_check.h"

/* In the order in which they are shown; they are looked at the other way round. */
enum doctor_part { DOCTOR_TOKEN, DOCTOR_IMAGES, DOCTOR_MACHINE, DOCTOR_PARTS };

struct doctor_finding {
    enum doctor_part part;
    char name[32];
    enum tt_verdict verdict;
    enum tt_status status; /* TT_OK unless it is wrong */
    char *says;
};

/* doctor_patience.c: says which check it is that has had no answer for a while. A module may hang, and nothing can make
 * it answer; only its user can tell whether that is a token that is slow. */
struct doctor_patience {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char name[32]; /* of the check; "" before the first */
    unsigned check;
    bool is_watched, has_ended;
};

struct doctor {
    struct doctor_finding *findings;
    size_t count;
    bool is_incomplete; /* out of memory */
    enum doctor_part part;
    char name[32];
    bool has_other_clock;
    time_t other_clock; /* the container engine's */
    const struct output *output;
    struct doctor_patience patience;
};

struct doctor_options {
    const char *station, *state, *image, *policy_file;
    struct tt_key_policy policy;
    struct key_options key;
    struct audit_options audit;
};

/* What is said from now on, by a check or as a library's warning, is about this. */
void doctor_begin(struct doctor *doctor, enum doctor_part part, const char *name);

void doctor_say(struct doctor *doctor, enum tt_verdict verdict, const char *format, ...) TT_PRINTF(3, 4);
void doctor_wrong(struct doctor *doctor, enum tt_status status, const char *format, ...) TT_PRINTF(3, 4);
/* A failure as a finding: its words, its code, and what to do where that is not said yet (may be NULL). */
void doctor_fail(struct doctor *doctor, const struct tt_error *failure, const char *advice);
void doctor_fail_as(struct doctor *doctor, enum tt_verdict verdict, const struct tt_error *failure, const char *advice);

/* Where no thread can be had, nobody watches. */
void doctor_patience_start(struct doctor_patience *patience);
void doctor_patience_next(struct doctor_patience *patience, const char *name);
void doctor_patience_end(struct doctor_patience *patience);

/* doctor_machine.c: versions, limits, memory, folders, clock (after the images, for the engine's clock). */
void doctor_machine(struct doctor *doctor, const struct doctor_options *options);
void doctor_clock(struct doctor *doctor);

/* doctor_image.c: the container engine or the layout, the image, and what killed runs left. *ret_engine is NULL when
 * there is none to ask. */
struct tt_docker_engine;
void doctor_images(struct doctor *doctor, const char *image, struct tt_docker_engine **ret_engine);

/* doctor_registry.c: the registry that the image's name begins with, asked by the engine (may be NULL). */
void doctor_registry(struct doctor *doctor, const char *image, struct tt_docker_engine *engine);

/* doctor_token.c: module, token, PIN, key and loader. After everything that may start a program. */
void doctor_token(struct doctor *doctor, const struct doctor_options *options);

/*
 * doctor_loader.c: which loader opens the key. That takes libp11 or what stands in for it, so it is done in a child,
 * which is made before this process loads the module, and waits until this process has let go of it.
 */
struct doctor_loader {
    pid_t child; /* 0: none */
    int order;   /* to the child */
    int answer;  /* from it */
};
#define DOCTOR_LOADER_INIT                                                                                             \
    {                                                                                                                  \
        .order = -1, .answer = -1                                                                                      \
    }

/* `uri` without a PIN, and the module's path. */
TT_MUST_USE enum tt_status doctor_loader_prepare(const char *uri, const char *module, const struct key_options *options,
                                                 struct doctor_loader *loader, struct tt_error *err);
/* Lets it open the key, with a PIN that the token took just before (NULL: none was needed). */
void doctor_loader_try(struct doctor *doctor, struct doctor_loader *loader, const struct key_options *options,
                       const struct tt_secret *pin);
void doctor_loader_clear(struct doctor_loader *loader);

#endif
