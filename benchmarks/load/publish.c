/* C connections that publish, each its next message as soon as the last is acked (or paced). */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>

static poster *posters;
static opener door;
static bool going;
static int64_t sent, refused, lost;
static hist latency;

static void send_one(poster *p)
{
    char body[96];
    int n = snprintf(body, sizeof body, "{\"data\":{\"text\":\"hello\",\"n\":%lld}}",
                     (long long)sent++);
    poster_send(p, body, (size_t)n);
}

static void on_ack(poster *p, const answer *a)
{
    if (a->status / 100 == 2)
        hist_add(&latency, p->acked_at - p->sent_at);
    else
        refused++;
    if (going && opt.rate <= 0)
        send_one(p);
}

static void on_open(conn *c)
{
    (void)c;
    door.ready++;
}

static void start(int i)
{
    posters[i].c.on_open = on_open;
    posters[i].on_ack = on_ack;
    poster_start(&posters[i]);
}

/* Sends what is due at --rate over the connections that are free. */
static void send_due(int64_t since)
{
    static int turn;
    int64_t due = (int64_t)((double)(now_ns() - since) / NS * opt.rate) - sent;
    for (int i = 0; i < opt.connections && due > 0; i++) {
        poster *p = &posters[turn++ % opt.connections];
        if (p->busy || p->c.state != CONN_OPEN)
            continue;
        send_one(p);
        due--;
    }
}

static bool any_busy(void)
{
    for (int i = 0; i < opt.connections; i++)
        if (posters[i].busy)
            return true;
    return false;
}

int mode_publish(void)
{
    meter m = {0};
    posters = calloc((size_t)opt.connections, sizeof *posters);
    door = (opener){.total = opt.connections, .start = start};
    open_all(&door);
    wait_until_server_rests(opt.settle);
    going = true;
    meter_go(&m);
    int64_t begin = now_ns(), end = begin + (int64_t)(opt.seconds * NS);
    for (int i = 0; i < opt.connections && opt.rate <= 0; i++)
        send_one(&posters[i]);
    while (now_ns() < end && time_left()) {
        if (opt.rate > 0)
            send_due(begin);
        net_poll(opt.rate > 0 ? 0.001 : 0.02);
    }
    going = false;
    int64_t acked = latency.count; /* later acks are waited for, not counted */
    meter_halt(&m);
    while (any_busy() && time_left())
        net_poll(0.05);
    for (int i = 0; i < opt.connections; i++)
        lost += posters[i].c.state == CONN_CLOSED;
    report_begin("publish");
    report_int("connections", door.ready);
    report_int("sent", sent);
    report_int("acked", acked);
    report_int("acked_late", latency.count - acked);
    report_number("acked_per_s", (double)acked * NS / (double)m.wall);
    report_hist("ack", &latency);
    report_int("refused", refused);
    report_int("lost", lost);
    report_meter("", &m);
    report_int("rss_kb", rss_server_kb());
    return report_end();
}
