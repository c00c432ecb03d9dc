/* A busy channel: paced publishes, many subscribers that pull, some that never read.
 *
 * Every message carries its send time; every subscriber's every message is timed and counted. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SAMPLES 1024
#define SEQ "\"seq\":"

static poster *posters;
static opener door;
static int64_t sent, acked, refused, newest;
static hist ack_latency;
static struct {
    int64_t next;
    int count;
    long rss_kb[MAX_SAMPLES];
} memory;

/* Only a line's own result acks it: each names its seq. */
static void on_ack(poster *p, const answer *a)
{
    int unit = opt.batch ? opt.batch : 1, lines = 0;
    const char *at = a->body, *end = a->body + a->len;
    int64_t seq;
    while (a->status / 100 == 2 && find_number(at, (size_t)(end - at), SEQ, &seq)) {
        at = (const char *)memmem(at, (size_t)(end - at), SEQ, sizeof SEQ - 1) + 1;
        newest = seq > newest ? seq : newest;
        lines++;
    }
    acked += lines;
    refused += unit - lines;
    hist_add(&ack_latency, p->acked_at - p->sent_at);
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

static int64_t send_single(poster *p)
{
    char body[64];
    int n = snprintf(body, sizeof body, "{\"data\":{\"t\":\"%016llx\"}}",
                     (unsigned long long)now_ns());
    poster_send(p, body, (size_t)n);
    return 1;
}

static int64_t send_batch(poster *p)
{
    static buf body;
    char line[256];
    int64_t now = now_ns();
    body.len = 0;
    for (int i = 0; i < opt.batch; i++) {
        int n = snprintf(line, sizeof line, "{\"channel\":\"%s\",\"data\":{\"t\":\"%016llx\"}}\n",
                         opt.channel, (unsigned long long)now);
        buf_add(&body, line, (size_t)n);
    }
    poster_send(p, body.p, body.len);
    return opt.batch;
}

/* What is due goes to the connections that are free; when none is, the rate is not reached. */
static void send_due(int64_t since)
{
    static int turn;
    int64_t due = (int64_t)((double)(now_ns() - since) / NS * opt.rate) - sent;
    int64_t unit = opt.batch ? opt.batch : 1;
    for (int i = 0; i < opt.publishers && due >= unit; i++) {
        poster *p = &posters[turn++ % opt.publishers];
        if (p->busy || p->c.state != CONN_OPEN)
            continue;
        int64_t n = opt.batch ? send_batch(p) : send_single(p);
        sent += n;
        due -= n;
    }
}

static void sample_memory(void)
{
    int64_t now = now_ns();
    if (now < memory.next || memory.count == MAX_SAMPLES)
        return;
    memory.next = now + NS / 4;
    memory.rss_kb[memory.count++] = rss_server_kb();
}

static void publish_for(double seconds)
{
    int64_t begin = now_ns(), end = begin + (int64_t)(seconds * NS);
    while (now_ns() < end && time_left()) {
        send_due(begin);
        net_poll(0.001);
        sample_memory();
        storm_heartbeat();
    }
}

static bool any_busy(void)
{
    for (int i = 0; i < opt.publishers; i++)
        if (posters[i].busy)
            return true;
    return false;
}

/* After the last ack everybody must get there by hints alone; a last pull shows who would have. */
static void wait_for_all(void)
{
    int64_t end = now_ns() + (int64_t)(opt.round_timeout * NS);
    while (any_busy() && time_left())
        net_poll(0.01);
    while (storm_behind(newest) && now_ns() < end && time_left())
        net_poll(0.01);
    report_int("never_told", storm_stuck(newest));
    storm_pull_all(newest);
    end = now_ns() + (int64_t)(opt.round_timeout * NS);
    while (storm_behind(newest) && now_ns() < end && time_left())
        net_poll(0.01);
    report_int("incomplete", storm_behind(newest));
}

static void report_memory(void)
{
    char name[32];
    long peak = 0;
    for (int i = 0; i < memory.count; i++)
        peak = memory.rss_kb[i] > peak ? memory.rss_kb[i] : peak;
    for (int k = 0; k <= 4 && memory.count; k++) {
        snprintf(name, sizeof name, "rss_%d_4_kb", k);
        report_int(name, memory.rss_kb[(memory.count - 1) * k / 4]);
    }
    report_int("rss_peak_kb", peak);
}

static void report_sums(int64_t first)
{
    const struct storm_sums *s = &storm_sums;
    int64_t readers = opt.connections - opt.muted;
    report_int("sent", sent);
    report_int("acked", acked);
    report_int("refused", refused + s->refused);
    report_hist("ack", &ack_latency);
    report_int("expected", (newest - first) * readers);
    report_int("records", s->tally.records);
    report_int("gaps", s->tally.gaps);
    report_int("repeats", s->tally.repeats);
    report_int("malformed", s->tally.malformed);
    report_hist("pulled", &s->latency);
    report_int("hints", s->hints);
    report_int("pulls", s->pulls);
    report_int("empty_pulls", s->empty);
    report_int("readers_left", storm_readers_left());
    report_int("muted_left", storm_muted_left());
    report_int("faults", ws_faults);
    report_memory();
}

/* The cursor to start from: behind one message that makes the channel exist. */
static int64_t first_message(char *cursor, size_t cap)
{
    static poster p;
    char line[256];
    poster_start(&p);
    if (opt.batch)
        snprintf(line, sizeof line, "{\"channel\":\"%s\",\"data\":0}\n", opt.channel);
    else
        snprintf(line, sizeof line, "{\"data\":0}");
    if (!publish_and_wait(&p, line))
        die("the first publish was answered with %d", p.status);
    snprintf(cursor, cap, "%s", p.cursor);
    return p.seq;
}

int mode_storm(void)
{
    char cursor[80];
    meter m = {0};
    int64_t first = newest = first_message(cursor, sizeof cursor);
    int up = storm_open(cursor, first);
    if (up < opt.connections)
        die("only %d of %d subscribers got in", up, opt.connections);
    posters = calloc((size_t)opt.publishers, sizeof *posters);
    door = (opener){.total = opt.publishers, .start = start};
    open_all(&door);
    wait_until_server_rests(opt.settle);
    report_begin("storm");
    report_int("connections", up);
    meter_go(&m);
    publish_for(opt.seconds);
    meter_halt(&m);
    report_meter("", &m);
    report_number("acked_per_s", (double)acked * NS / (double)m.wall);
    report_number("records_per_s", (double)storm_sums.tally.records * NS / (double)m.wall);
    wait_for_all();
    report_sums(first);
    return report_end();
}
