/* Non-blocking connections to 127.0.0.1 on one epoll. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SCRATCH (256 * 1024)
#define PORTS_PER_ADDRESS 20000 /* Linux hands out 28,000 to one address and target */

static int epoll_fd = -1;
static char scratch[SCRATCH];

void buf_reserve(buf *b, size_t more)
{
    if (b->cap - b->len >= more)
        return;
    size_t cap = b->cap ? b->cap : 256;
    while (cap - b->len < more)
        cap *= 2;
    b->p = realloc(b->p, cap);
    if (!b->p)
        die("out of memory");
    b->cap = cap;
}

void buf_add(buf *b, const void *data, size_t len)
{
    buf_reserve(b, len);
    memcpy(b->p + b->len, data, len);
    b->len += len;
}

void net_init(void)
{
    struct rlimit r;
    rlim_t want = (rlim_t)opt.connections * 2 + (rlim_t)opt.publishers + 256;
    getrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_cur < want) {
        r.rlim_cur = want;
        if (r.rlim_max < want)
            r.rlim_max = want; /* root may */
        if (setrlimit(RLIMIT_NOFILE, &r))
            die("cannot raise the limit of open files to %ld: ulimit -Hn", (long)want);
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
}

static void watch(conn *c, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (c->events == events)
        return;
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    c->events = events;
}

static void choose_source(int fd)
{
    static int opened;
    int host = 1 + opened++ / PORTS_PER_ADDRESS, on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u + host)};
    if (host == 1)
        return;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, sizeof a))
        die("cannot bind to 127.0.0.%d: %s", host, strerror(errno));
}

void conn_start(conn *c, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    int on = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (c->rcvbuf)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &c->rcvbuf, sizeof c->rcvbuf);
    choose_source(c->fd);
    c->state = CONN_CONNECTING;
    c->events = EPOLLOUT;
    c->need = c->in.len = c->out.len = 0;
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) && errno != EINPROGRESS)
        die("connect to port %d: %s", port, strerror(errno));
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

void conn_close(conn *c)
{
    if (c->state == CONN_CLOSED || c->state == CONN_NEW)
        return;
    close(c->fd);
    c->state = CONN_CLOSED;
    c->in.len = c->out.len = 0;
    if (c->on_closed)
        c->on_closed(c);
}

static void flush(conn *c)
{
    while (c->out.len) {
        ssize_t n = send(c->fd, c->out.p, c->out.len, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) {
            conn_close(c);
            return;
        }
        c->out.len -= (size_t)n;
        memmove(c->out.p, c->out.p + n, c->out.len);
    }
    watch(c, (c->events & EPOLLIN) | (c->out.len ? EPOLLOUT : 0));
}

void conn_send(conn *c, const void *data, size_t len)
{
    if (c->state != CONN_OPEN && c->state != CONN_CONNECTING)
        return;
    ssize_t n = 0;
    if (c->state == CONN_OPEN && !c->out.len) {
        n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n == (ssize_t)len)
            return;
        n = n < 0 ? 0 : n; /* an error shows again when the rest is flushed */
    }
    buf_add(&c->out, (const char *)data + n, len - (size_t)n);
    if (c->state == CONN_OPEN)
        watch(c, c->events | EPOLLOUT);
}

void conn_mute(conn *c) { watch(c, c->events & ~(uint32_t)EPOLLIN); }

bool conn_left_by_peer(const conn *c)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    if (c->state != CONN_OPEN || getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len))
        return true;
    return info.tcpi_state != TCP_ESTABLISHED;
}

/* Hands complete things on; returns how many bytes were used. */
static size_t deliver(conn *c, const char *data, size_t len)
{
    size_t used = 0;
    while (used < len && c->state == CONN_OPEN) {
        size_t n = c->on_bytes(c, data + used, len - used);
        if (!n)
            break;
        used += n;
    }
    return used;
}

static ssize_t receive(conn *c)
{
    if (!c->in.len) { /* the usual case: nothing is half received, no buffer is needed */
        ssize_t n = recv(c->fd, scratch, SCRATCH, 0);
        if (n > 0) {
            size_t used = deliver(c, scratch, (size_t)n);
            if (c->state == CONN_OPEN && used < (size_t)n)
                buf_add(&c->in, scratch + used, (size_t)n - used);
        }
        return n;
    }
    size_t room = c->need > c->in.len ? c->need - c->in.len : 4096;
    buf_reserve(&c->in, room);
    ssize_t n = recv(c->fd, c->in.p + c->in.len, c->in.cap - c->in.len, 0);
    if (n > 0) {
        c->in.len += (size_t)n;
        size_t used = deliver(c, c->in.p, c->in.len);
        if (c->state == CONN_OPEN && used) {
            c->in.len -= used;
            memmove(c->in.p, c->in.p + used, c->in.len);
        }
    }
    return n;
}

static void opened(conn *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        conn_close(c);
        return;
    }
    c->state = CONN_OPEN;
    watch(c, EPOLLIN);
    flush(c);
    if (c->on_open && c->state == CONN_OPEN)
        c->on_open(c);
}

static void handle(conn *c, uint32_t events)
{
    if (c->state == CONN_CONNECTING) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            opened(c);
        return;
    }
    if (c->state == CONN_OPEN && (events & EPOLLOUT))
        flush(c);
    if (c->state != CONN_OPEN)
        return;
    if (!(c->events & EPOLLIN)) { /* muted: only its death is of interest */
        if (events & (EPOLLERR | EPOLLHUP))
            conn_close(c);
        return;
    }
    if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
        return;
    ssize_t n = receive(c);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        conn_close(c);
}

void net_poll(double seconds)
{
    struct epoll_event events[512];
    int n = epoll_wait(epoll_fd, events, 512, (int)(seconds * 1000));
    for (int i = 0; i < n; i++)
        handle(events[i].data.ptr, events[i].events);
}

bool open_all(opener *o)
{
    while (o->ready + o->failed < o->total && time_left()) {
        while (o->started < o->total && o->started - o->ready - o->failed < opt.window)
            o->start(o->started++);
        net_poll(0.05);
    }
    return o->ready == o->total;
}
