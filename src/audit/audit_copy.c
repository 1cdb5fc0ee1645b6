#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <syslog.h>

#include "audit/audit_inside.h"

enum { PATIENCE = 5 /* seconds that the journal may take */ };

/* syslog: the C library's, which does not say whether anybody listened. */

static enum tt_status open_syslog(struct tt_error *err)
{
    struct stat facts;
    if (stat("/dev/log", &facts) != 0 || !S_ISSOCK(facts.st_mode))
        return tt_error_set(err, TT_STORE, "--audit-log syslog: there is no syslog here (no socket /dev/log)");
    openlog("traintoken", LOG_PID | LOG_NDELAY, LOG_AUTHPRIV);
    return TT_OK;
}

/* journald: a datagram of NAME=VALUE lines (systemd's "Native Journal Protocol"). Records have no line ends. */

static enum tt_status open_journal(int *ret_socket, struct tt_error *err)
{
    const char *named = getenv("TRAINTOKEN_JOURNAL");
    const char *path = named && *named ? named : "/run/systemd/journal/socket";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = PATIENCE};
    if (strlen(path) >= sizeof address.sun_path)
        return tt_error_set(err, TT_USAGE, "TRAINTOKEN_JOURNAL is too long for a socket's path");
    memcpy(address.sun_path, path, strlen(path));
    int descriptor TT_CLEANUP(tt_close_cleanup) = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0 || setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
        connect(descriptor, (const struct sockaddr *)&address, sizeof address) != 0)
        return tt_error_errno(err, TT_STORE, "--audit-log journald: cannot reach the journal at %s", path);
    *ret_socket = descriptor;
    descriptor = -1;
    return TT_OK;
}

static enum tt_status send_to_journal(int descriptor, const char *event, const char *line, size_t length,
                                      struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    enum tt_status status = tt_buffer_printf(&text, err,
                                             "PRIORITY=%d\nSYSLOG_IDENTIFIER=traintoken\nSYSLOG_FACILITY=%d\n"
                                             "TRAINTOKEN_EVENT=%s\nMESSAGE=",
                                             LOG_NOTICE, LOG_FAC(LOG_AUTHPRIV), event);
    if (status == TT_OK)
        status = tt_buffer_append(&text, line, length, err);
    if (status == TT_OK)
        status = tt_buffer_append(&text, "\n", 1, err);
    if (status != TT_OK)
        return status;
    ssize_t sent;
    do
        sent = send(descriptor, text.data, text.length, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent != (ssize_t)text.length)
        return tt_error_errno(err, TT_STORE, "--audit-log journald: the journal does not take the record");
    return TT_OK;
}

enum tt_status audit_channel_open(struct audit_channel *channel, struct tt_error *err)
{
    if (channel->kind == TT_AUDIT_SYSLOG)
        return open_syslog(err);
    if (channel->kind == TT_AUDIT_JOURNALD && channel->socket < 0)
        return open_journal(&channel->socket, err);
    return TT_OK;
}

enum tt_status audit_channel_send(struct audit_channel *channel, const char *event, const char *line, size_t length,
                                  struct tt_error *err)
{
    if (channel->kind == TT_AUDIT_SYSLOG)
        syslog(LOG_NOTICE, "%.*s", (int)length, line);
    if (channel->kind == TT_AUDIT_JOURNALD)
        return send_to_journal(channel->socket, event, line, length, err);
    return TT_OK;
}

void audit_channel_close(struct audit_channel *channel)
{
    if (channel->kind == TT_AUDIT_SYSLOG)
        closelog();
    if (channel->socket >= 0)
        close(channel->socket);
    channel->socket = -1;
}
