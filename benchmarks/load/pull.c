/* C connections that pull the same few messages again and again: answers a second. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 16

typedef struct {
    conn c;
    int64_t sent[MAX_DEPTH]; /* a ring: answers come in the order of the requests */
    int oldest, under_way;
} puller;

static puller *pullers;
static opener door;
static char request[4096];
static size_t request_len;
static bool going;
static int64_t answers, messages, refused, lost;
static hist latency;

static void send_one(puller *p)
{
    p->sent[(p->oldest + p->under_way++) % MAX_DEPTH] = now_ns();
    conn_send(&p->c, request, request_len);
}

static size_t on_bytes(conn *c, const char *data, size_t len)
{
    puller *p = (puller *)c;
    answer a;
    size_t used = http_answer(c, data, len, &a);
    if (!used)
        return 0;
    int64_t sent = p->sent[p->oldest];
    p->oldest = (p->oldest + 1) % MAX_DEPTH;
    p->under_way--;
    if (!going)
        return used;
    if (a.status == 200) {
        answers++;
        hist_add(&latency, now_ns() - sent);
        if (!messages)
            messages = count_of(a.body, a.len, "{\"seq\":");
    } else {
        refused++;
    }
    send_one(p);
    return used;
}

static void on_open(conn *c)
{
    (void)c;
    door.ready++;
}

static void on_closed(conn *c)
{
    (void)c;
    lost++;
}

static void start(int i)
{
    pullers[i].c.on_open = on_open;
    pullers[i].c.on_bytes = on_bytes;
    pullers[i].c.on_closed = on_closed;
    conn_start(&pullers[i].c, opt.port);
}

/* What is pulled: `preload` messages after the cursor of the first one. */
static void prepare(void)
{
    static poster p;
    char query[160], body[96];
    poster_start(&p);
    if (!publish_and_wait(&p, "{\"data\":{\"text\":\"first\"}}"))
        die("the first publish was answered with %d", p.status);
    snprintf(query, sizeof query, "?after=%s&limit=100", p.cursor);
    request_len = http_get(request, sizeof request, query);
    for (int i = 0; i < opt.preload; i++) {
        snprintf(body, sizeof body, "{\"data\":{\"text\":\"hello number %d\"}}", i);
        if (!publish_and_wait(&p, body))
            die("a publish was answered with %d", p.status);
    }
}

int mode_pull(void)
{
    meter m = {0};
    prepare();
    pullers = calloc((size_t)opt.connections, sizeof *pullers);
    door = (opener){.total = opt.connections, .start = start};
    open_all(&door);
    wait_until_server_rests(opt.settle);
    going = true;
    meter_go(&m);
    int64_t end = now_ns() + (int64_t)(opt.seconds * NS);
    for (int i = 0; i < opt.connections; i++)
        for (int k = 0; k < opt.depth && pullers[i].c.state == CONN_OPEN; k++)
            send_one(&pullers[i]);
    while (now_ns() < end && time_left())
        net_poll(0.02);
    meter_halt(&m);
    going = false;
    report_begin("pull");
    report_int("connections", door.ready);
    report_int("answers", answers);
    report_int("messages_each", messages);
    report_number("answers_per_s", (double)answers * NS / (double)m.wall);
    report_hist("latency", &latency);
    report_int("refused", refused);
    report_int("lost", lost);
    report_meter("", &m);
    report_int("rss_kb", rss_server_kb());
    return report_end();
}
