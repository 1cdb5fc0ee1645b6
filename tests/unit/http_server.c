#include "http_server.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONNECTION_LIMIT = 64 };

struct connection {
    struct http_server *server;
    pthread_t thread;
    int socket;
    unsigned number;
};

struct http_server {
    char folder[32];
    struct sockaddr_un address;
    int listener;
    pthread_t thread;
    atomic_bool stop;
    atomic_uint count;
    struct connection connections[CONNECTION_LIMIT];
    http_server_talk talk;
    void *user;
};

static void *converse(void *argument)
{
    struct connection *connection = argument;
    connection->server->talk(connection->socket, connection->number, connection->server->user);
    close(connection->socket);
    return NULL;
}

static void *serve(void *argument)
{
    struct http_server *server = argument;
    while (!atomic_load(&server->stop)) {
        struct pollfd wait = {.fd = server->listener, .events = POLLIN};
        if (poll(&wait, 1, 20) <= 0)
            continue;
        unsigned number = atomic_load(&server->count);
        if (number == CONNECTION_LIMIT)
            abort();
        struct connection *connection = &server->connections[number];
        *connection =
            (struct connection){.server = server, .socket = accept(server->listener, NULL, NULL), .number = number};
        /* Counted first: who has the answer may ask for the number at once. */
        atomic_store(&server->count, number + 1);
        if (connection->socket < 0 || pthread_create(&connection->thread, NULL, converse, connection) != 0)
            abort();
    }
    return NULL;
}

struct http_server *http_server_start(http_server_talk talk, void *user)
{
    struct http_server *server = calloc(1, sizeof *server);
    if (!server)
        abort();
    snprintf(server->folder, sizeof server->folder, "/tmp/tt-http-XXXXXX");
    server->talk = talk;
    server->user = user;
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    server->address.sun_family = AF_UNIX;
    if (!mkdtemp(server->folder))
        abort();
    snprintf(server->address.sun_path, sizeof server->address.sun_path, "%s/socket", server->folder);
    if (bind(server->listener, (struct sockaddr *)&server->address, sizeof server->address) != 0 ||
        listen(server->listener, 8) != 0 || pthread_create(&server->thread, NULL, serve, server) != 0)
        abort();
    return server;
}

const char *http_server_socket(const struct http_server *server)
{
    return server->address.sun_path;
}

unsigned http_server_count(const struct http_server *server)
{
    return atomic_load(&server->count);
}

void http_server_stop(struct http_server *server)
{
    atomic_store(&server->stop, 1);
    pthread_join(server->thread, NULL);
    for (unsigned i = 0; i < atomic_load(&server->count); i++)
        pthread_join(server->connections[i].thread, NULL);
    close(server->listener);
    unlink(server->address.sun_path);
    rmdir(server->folder);
    free(server);
}

int http_server_read_head(int connection, char *head, size_t size)
{
    size_t length = 0;
    head[0] = '\0';
    while (length + 1 < size) {
        ssize_t count = recv(connection, head + length, 1, 0);
        if (count <= 0)
            return 0;
        head[++length] = '\0';
        if (length >= 4 && strcmp(head + length - 4, "\r\n\r\n") == 0)
            return 1;
    }
    return 0;
}

void http_server_send(int connection, const char *text)
{
    size_t length = strlen(text);
    while (length > 0) {
        ssize_t count = send(connection, text, length, MSG_NOSIGNAL);
        if (count <= 0)
            return;
        text += count;
        length -= (size_t)count;
    }
}

static int read_line(int connection, char *line, size_t size)
{
    size_t length = 0;
    while (length + 1 < size && recv(connection, line + length, 1, 0) == 1) {
        length++;
        if (length >= 2 && line[length - 2] == '\r' && line[length - 1] == '\n') {
            line[length - 2] = '\0';
            return 1;
        }
    }
    return 0;
}

long http_server_read_chunks(int connection, unsigned long *ret_sum)
{
    unsigned char data[16384];
    char line[32];
    long total = 0;
    *ret_sum = 0;
    while (read_line(connection, line, sizeof line)) {
        size_t left = strtoul(line, NULL, 16);
        if (left == 0)
            return read_line(connection, line, sizeof line) && line[0] == '\0' ? total : -1;
        while (left > 0) {
            ssize_t count = recv(connection, data, left < sizeof data ? left : sizeof data, 0);
            if (count <= 0)
                return -1;
            for (ssize_t i = 0; i < count; i++)
                *ret_sum += data[i];
            left -= (size_t)count;
            total += count;
        }
        if (!read_line(connection, line, sizeof line))
            return -1;
    }
    return -1;
}
