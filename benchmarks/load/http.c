/* HTTP/1.1: requests out, answers in; and a connection that publishes one message at a time. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The value of a header in head[0 … len), or NULL. */
static const char *header(const char *head, size_t len, const char *name)
{
    size_t n = strlen(name);
    const char *end = head + len;
    for (const char *p = head; (p = memchr(p, '\n', (size_t)(end - p))); ) {
        p++;
        if ((size_t)(end - p) > n && p[n] == ':' && !strncasecmp(p, name, n)) {
            for (p += n + 1; p < end && *p == ' '; p++) {}
            return p;
        }
    }
    return NULL;
}

size_t http_answer(conn *c, const char *data, size_t len, answer *a)
{
    if (c->need > len)
        return 0;
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end) {
        if (len > 65536)
            die("an answer's head is longer than 64 KiB");
        return 0;
    }
    size_t head = (size_t)(end - data) + 4;
    if (len < 12 || memcmp(data, "HTTP/1.1 ", 9))
        die("not an HTTP/1.1 answer: %.40s", data);
    a->status = atoi(data + 9);
    const char *length = header(data, head, "content-length");
    bool bare = a->status == 204 || a->status == 304 || a->status < 200;
    if (!length && !bare)
        die("an answer (%d) without Content-Length", a->status);
    a->len = bare ? 0 : strtoul(length, NULL, 10);
    a->body = data + head;
    c->need = head + a->len;
    if (c->need > len)
        return 0;
    size_t whole = c->need;
    c->need = 0;
    return whole;
}

size_t http_get(char *to, size_t cap, const char *query)
{
    int n = snprintf(to, cap, "GET %s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", opt.pull_path,
                     query, opt.port, opt.headers);
    if (n < 0 || (size_t)n >= cap)
        die("a request is too long");
    return (size_t)n;
}

void http_post(buf *to, const char *body, size_t len)
{
    char head[512];
    bool typed = strcasestr(opt.publish_headers, "content-type:") != NULL;
    int n = snprintf(head, sizeof head,
                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%sContent-Length: %zu\r\n",
                     opt.publish_path, opt.publish_port,
                     typed ? "" : "Content-Type: application/json\r\n", len);
    if (n < 0 || (size_t)n >= sizeof head)
        die("--publish-path is too long");
    buf_add(to, head, (size_t)n);
    buf_add(to, opt.publish_headers, strlen(opt.publish_headers));
    buf_add(to, "\r\n", 2);
    buf_add(to, body, len);
}

/* The digits after the first `key`, for example "\"seq\":". */
bool find_number(const char *data, size_t len, const char *key, int64_t *value)
{
    size_t n = strlen(key);
    const char *end = data + len, *p = memmem(data, len, key, n);
    if (!p)
        return false;
    for (p += n; p < end && *p == ' '; p++) {}
    if (p == end || *p < '0' || *p > '9')
        return false;
    int64_t v = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        v = v * 10 + (*p - '0');
    *value = v;
    return true;
}

/* The string after the first `key`, for example "\"next\":"; no escapes. */
bool find_text(const char *data, size_t len, const char *key, char *to, size_t cap)
{
    size_t n = strlen(key);
    const char *end = data + len, *p = memmem(data, len, key, n);
    if (!p)
        return false;
    for (p += n; p < end && *p == ' '; p++) {}
    if (p == end || *p != '"')
        return false;
    p++;
    const char *q = memchr(p, '"', (size_t)(end - p));
    if (!q || (size_t)(q - p) >= cap)
        return false;
    memcpy(to, p, (size_t)(q - p));
    to[q - p] = 0;
    return true;
}

int count_of(const char *data, size_t len, const char *key)
{
    int count = 0;
    size_t n = strlen(key);
    const char *end = data + len;
    for (const char *p = data; (p = memmem(p, (size_t)(end - p), key, n)); p += n)
        count++;
    return count;
}

/* ---- the poster ---- */

static void remember_ack(poster *p, const answer *a)
{
    char epoch[48];
    p->acks++;
    if (!find_number(a->body, a->len, "\"seq\":", &p->seq))
        p->seq++; /* a server that does not number: we count */
    if (find_text(a->body, a->len, "\"epoch\":", epoch, sizeof epoch))
        snprintf(p->cursor, sizeof p->cursor, "%s.%lld", epoch, (long long)p->seq);
}

static size_t poster_bytes(conn *c, const char *data, size_t len)
{
    poster *p = (poster *)c;
    answer a;
    size_t used = http_answer(c, data, len, &a);
    if (!used)
        return 0;
    p->acked_at = now_ns();
    p->status = a.status;
    p->busy = false;
    if (a.status / 100 == 2)
        remember_ack(p, &a);
    else
        p->refused++;
    if (p->on_ack)
        p->on_ack(p, &a);
    return used;
}

static void poster_closed(conn *c)
{
    poster *p = (poster *)c;
    if (p->busy)
        p->refused++;
    p->busy = false;
    p->status = 0;
}

void poster_start(poster *p)
{
    p->c.on_bytes = poster_bytes;
    p->c.on_closed = poster_closed;
    conn_start(&p->c, opt.publish_port);
}

void poster_send(poster *p, const char *body, size_t len)
{
    static buf request;
    request.len = 0;
    http_post(&request, body, len);
    p->busy = true;
    p->sent_at = now_ns();
    conn_send(&p->c, request.p, request.len);
}

bool poster_wait(poster *p)
{
    while (p->busy && time_left())
        net_poll(0.05);
    return !p->busy && p->status / 100 == 2;
}

bool publish_and_wait(poster *p, const char *body)
{
    if (p->c.state == CONN_CLOSED) /* the server let it go while nothing was to be sent */
        poster_start(p);
    poster_send(p, body, strlen(body));
    return poster_wait(p);
}
