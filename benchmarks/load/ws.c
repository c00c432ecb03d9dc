/* A WebSocket client (RFC 6455): handshake, whole frames out of partial reads, heartbeats. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The sample key of RFC 6455 and its answer: no need for SHA-1 here. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define HEARTBEAT "{\"type\":\"ping\"}"
#define HEARTBEAT_S 20

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
int64_t ws_faults;

/* Client frames must be masked; a mask of zeros is as good as any towards ourselves. */
static void send_frame(ws *w, int opcode, const char *data, size_t len)
{
    char frame[6 + 125];
    if (len > 125)
        die("a client frame is too long");
    frame[0] = (char)(0x80 | opcode);
    frame[1] = (char)(0x80 | len);
    memset(frame + 2, 0, 4);
    memcpy(frame + 6, data, len);
    conn_send(&w->c, frame, 6 + len);
}

void ws_text(ws *w, const char *text) { send_frame(w, TEXT, text, strlen(text)); }

/* Length of head and payload once both are known, else 0. */
static size_t frame_size(const unsigned char *p, size_t len, size_t *payload)
{
    size_t head = 2;
    if (len < 2)
        return 0;
    *payload = p[1] & 127;
    if (*payload == 126)
        head = 4;
    else if (*payload == 127)
        head = 10;
    if (len < head)
        return 0;
    if (head > 2) {
        *payload = 0;
        for (size_t i = 2; i < head; i++)
            *payload = *payload << 8 | p[i];
    }
    return head;
}

static void take_frame(ws *w, int first, const char *data, size_t len)
{
    int opcode = first & 15;
    if ((first & 0x70) || !(first & 0x80)) /* reserved bits; pieces, which no server here sends */
        ws_faults++;
    if (opcode == PING) {
        send_frame(w, PONG, data, len > 125 ? 125 : len);
    } else if (opcode == CLOSE) {
        conn_close(&w->c);
    } else if (opcode == TEXT || opcode == BINARY) {
        w->frames++;
        w->on_frame(w, data, len);
    } else if (opcode != PONG) {
        ws_faults++;
    }
}

static size_t take_handshake(ws *w, const char *data, size_t len)
{
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end - data) + 4;
    if (len < 12 || memcmp(data, "HTTP/1.1 101", 12) || !memmem(data, head, ACCEPT, 28)) {
        static int told;
        if (told++ < 3)
            fprintf(stderr, "load: handshake refused: %.*s\n", (int)(len < 300 ? len : 300), data);
        conn_close(&w->c);
        return head;
    }
    w->up = true;
    if (w->on_up)
        w->on_up(w);
    return head;
}

static size_t ws_bytes(conn *c, const char *data, size_t len)
{
    ws *w = (ws *)c;
    size_t payload;
    if (!w->up)
        return take_handshake(w, data, len);
    size_t head = frame_size((const unsigned char *)data, len, &payload);
    if (!head)
        return 0;
    if (data[1] & 0x80 || payload > (16 << 20)) { /* masked, or beyond reason */
        ws_faults++;
        conn_close(c);
        return len;
    }
    c->need = head + payload;
    if (len < c->need)
        return 0;
    c->need = 0;
    take_frame(w, (unsigned char)data[0], data + head, payload);
    return head + payload;
}

static void ws_opened(conn *c)
{
    static char request[8192];
    static int len;
    if (!len) {
        len = snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\n"
                       "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: " KEY "\r\n%s%s%s%s\r\n",
                       opt.path, opt.port, opt.protocol ? "Sec-WebSocket-Protocol: " : "",
                       opt.protocol ? opt.protocol : "", opt.protocol ? "\r\n" : "", opt.headers);
        if (len >= (int)sizeof request)
            die("the handshake is too long");
    }
    conn_send(c, request, (size_t)len);
}

static void ws_closed(conn *c)
{
    ws *w = (ws *)c;
    w->up = false;
    if (w->on_down)
        w->on_down(w);
}

void ws_start(ws *w)
{
    w->up = false;
    w->frames = 0;
    w->c.on_open = ws_opened;
    w->c.on_bytes = ws_bytes;
    w->c.on_closed = ws_closed;
    conn_start(&w->c, opt.port);
}

void heartbeat_due(heartbeat *h)
{
    int64_t now = now_ns();
    if (!h->next)
        h->next = now + HEARTBEAT_S * NS;
    if (now < h->next)
        return;
    h->next = now + HEARTBEAT_S * NS;
    for (int i = 0; i < h->count; i++) {
        ws *w = (ws *)(h->head + (size_t)i * h->size);
        if (w->up)
            ws_text(w, HEARTBEAT);
    }
}
