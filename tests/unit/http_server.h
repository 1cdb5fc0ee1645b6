/* A server on a unix socket for tests: each connection is handed to the test's own function, on a thread. */
#ifndef TT_TESTS_UNIT_HTTP_SERVER_H
#define TT_TESTS_UNIT_HTTP_SERVER_H

#include <stddef.h>

struct http_server;

/* Talks on one connection; the server closes it afterwards. `number` counts connections from 0. */
typedef void (*http_server_talk)(int connection, unsigned number, void *user);

struct http_server *http_server_start(http_server_talk talk, void *user);
const char *http_server_socket(const struct http_server *server);
/* How many connections there were. */
unsigned http_server_count(const struct http_server *server);
/* Waits for the conversations to end, and removes the socket. */
void http_server_stop(struct http_server *server);

/* Reads up to the empty line that ends a request's head, which is left in `head` with a NUL. What came after it is
 * lost. False at the end of the connection. */
int http_server_read_head(int connection, char *head, size_t size);
void http_server_send(int connection, const char *text);
/* Reads a chunked body to its end. The number of its bytes, or -1 when it was cut; *ret_sum their sum. */
long http_server_read_chunks(int connection, unsigned long *ret_sum);

#endif
