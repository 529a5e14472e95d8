/* The reference of the echo benchmarks: the simplest epoll echo server in C that is still correct.
 *
 *     c_echo_server [HOST [PORT]]        (defaults: 127.0.0.1 and 0, any free port)
 *
 * One thread, level-triggered, non-blocking. What a peer cannot take at once is kept with its
 * connection, and nothing more is read from that peer until it is gone: the buffer is bounded by
 * one read, and the end of the peer's stream is seen only when everything has been answered, so a
 * peer may half-close and still receive all of its bytes. SIGINT and SIGTERM end it with status 0.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { k_read_size = 64 * 1024, k_events = 256 };

struct connection {
    int fd;
    char* pending; /* what could not be sent yet; NULL when there is nothing */
    size_t begin;  /* first byte of pending that is still to be sent */
    size_t end;
};

struct server {
    int epoll;
    int listener;
    size_t connections;
    bool accepting; /* false after the descriptors ran out, until a connection closes */
};

static void die(const char* call) {
    perror(call);
    exit(EXIT_FAILURE);
}

static void watch(int epoll, int operation, int fd, uint32_t events, void* subject) {
    struct epoll_event event = {.events = events, .data.ptr = subject};
    if (epoll_ctl(epoll, operation, fd, &event) < 0) {
        die("epoll_ctl");
    }
}

static bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

static ssize_t send_some(int fd, const char* bytes, size_t count) {
    ssize_t sent;
    do {
        sent = send(fd, bytes, count, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

static void close_connection(struct server* server, struct connection* connection) {
    if (epoll_ctl(server->epoll, EPOLL_CTL_DEL, connection->fd, NULL) < 0) {
        die("epoll_ctl");
    }
    close(connection->fd);
    free(connection->pending);
    free(connection);
    --server->connections;
    if (!server->accepting) {
        server->accepting = true;
        watch(server->epoll, EPOLL_CTL_MOD, server->listener, EPOLLIN, &server->listener);
    }
}

/* Keeps the rest of a message and waits until the peer can take it, reading nothing meanwhile. */
static bool keep_rest(struct server* server, struct connection* connection, const char* rest,
                      size_t count) {
    connection->pending = malloc(count);
    if (connection->pending == NULL) {
        return false;
    }
    memcpy(connection->pending, rest, count);
    connection->begin = 0;
    connection->end = count;
    watch(server->epoll, EPOLL_CTL_MOD, connection->fd, EPOLLOUT, connection);
    return true;
}

/* Answers one read. False: the connection is finished. */
static bool echo(struct server* server, struct connection* connection) {
    static char bytes[k_read_size];
    ssize_t received;
    do {
        received = recv(connection->fd, bytes, sizeof bytes, 0);
    } while (received < 0 && errno == EINTR);
    if (received <= 0) {
        return received < 0 && would_block(errno);
    }
    const size_t count = (size_t)received;
    ssize_t sent = send_some(connection->fd, bytes, count);
    if (sent < 0) {
        if (!would_block(errno)) {
            return false;
        }
        sent = 0;
    }
    const size_t done = (size_t)sent;
    return done == count || keep_rest(server, connection, bytes + done, count - done);
}

/* Sends what was kept; returns to reading when all of it is gone. False: finished. */
static bool flush(struct server* server, struct connection* connection) {
    const ssize_t sent = send_some(connection->fd, connection->pending + connection->begin,
                                   connection->end - connection->begin);
    if (sent < 0) {
        return would_block(errno);
    }
    connection->begin += (size_t)sent;
    if (connection->begin == connection->end) {
        free(connection->pending);
        connection->pending = NULL;
        watch(server->epoll, EPOLL_CTL_MOD, connection->fd, EPOLLIN, connection);
    }
    return true;
}

static void accept_one(struct server* server) {
    const int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (server->connections == 0) {
                die("accept4"); /* no connection can close and give a descriptor back */
            }
            server->accepting = false;
            watch(server->epoll, EPOLL_CTL_MOD, server->listener, 0, &server->listener);
        }
        return; /* anything else concerns one peer, which has already gone */
    }
    const int on = 1;
    struct connection* connection = calloc(1, sizeof *connection);
    if (connection == NULL || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) {
        free(connection);
        close(fd);
        return;
    }
    connection->fd = fd;
    ++server->connections;
    watch(server->epoll, EPOLL_CTL_ADD, fd, EPOLLIN, connection);
}

static int listen_on(const char* host, const char* port) {
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo* address = NULL;
    const int failure = getaddrinfo(host, port, &hints, &address);
    if (failure != 0) {
        fprintf(stderr, "%s:%s: %s\n", host, port, gai_strerror(failure));
        exit(EXIT_FAILURE);
    }
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0) {
        die("listen");
    }
    freeaddrinfo(address);
    return fd;
}

static void announce(int listener) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    if (getsockname(listener, (struct sockaddr*)&address, &size) < 0 ||
        getnameinfo((struct sockaddr*)&address, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        die("getsockname");
    }
    printf("listening on %s:%s\n", host, port);
    fflush(stdout);
}

static int open_signals(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    const int fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        die("signalfd");
    }
    return fd;
}

static void on_ready(struct server* server, struct connection* connection) {
    const bool goes_on =
        connection->pending != NULL ? flush(server, connection) : echo(server, connection);
    if (!goes_on) {
        close_connection(server, connection);
    }
}

static void serve(struct server* server, const int* signals) {
    struct epoll_event events[k_events];
    for (;;) {
        const int ready = epoll_wait(server->epoll, events, k_events, -1);
        if (ready < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < ready; ++i) {
            if (events[i].data.ptr == signals) {
                return;
            }
            if (events[i].data.ptr == &server->listener) {
                accept_one(server);
            } else {
                on_ready(server, events[i].data.ptr);
            }
        }
    }
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int count, char** arguments) {
    raise_descriptor_limit();
    const int signals = open_signals();
    struct server server = {.epoll = epoll_create1(EPOLL_CLOEXEC), .accepting = true};
    if (server.epoll < 0) {
        die("epoll_create1");
    }
    server.listener = listen_on(count > 1 ? arguments[1] : "127.0.0.1",  //
                                count > 2 ? arguments[2] : "0");
    watch(server.epoll, EPOLL_CTL_ADD, signals, EPOLLIN, (void*)&signals);
    watch(server.epoll, EPOLL_CTL_ADD, server.listener, EPOLLIN, &server.listener);
    announce(server.listener);
    serve(&server, &signals);
    close(server.listener);
    close(server.epoll);
    close(signals);
    return EXIT_SUCCESS;
}
