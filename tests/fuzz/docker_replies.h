/* An engine that answers what the input says, in place of the connection to one (image/http.h, by way of --wrap).
 *
 * The input is one reply after the other, parted by lines "--". A reply's first line is its three digits, a "!" where
 * the body is cut off, and after a space what the headers hold; the rest is the body. What has no such line is a
 * connection that failed, as is everything after the last reply. */
#ifndef TT_TESTS_FUZZ_DOCKER_REPLIES_H
#define TT_TESTS_FUZZ_DOCKER_REPLIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void docker_replies_start(const uint8_t *data, size_t size);
/* How many bytes of a stream's body come at once, at most; 0: all that fit. */
void docker_replies_in_pieces(size_t most);
/* The status of the last reply since this was asked last; 0 when none came. */
int docker_replies_code(void);

#endif
