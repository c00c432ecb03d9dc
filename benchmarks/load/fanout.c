/* One publish to N WebSockets: how long until it is acked, until the first frame, the last. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    ws w;
    bool ready;
    int round; /* the last round that was heard of */
} sub;

static sub *subs;
static opener door;
static struct {
    int number, got;
    int64_t seq, first, last, later; /* later: frames beyond one to each */
} now_round;

static void maybe_ready(sub *s)
{
    if (s->ready || !s->w.up || s->w.frames < opt.await_frames)
        return;
    s->ready = true;
    door.ready++;
}

static void on_up(ws *w) { maybe_ready((sub *)w); }

static void on_frame(ws *w, const char *data, size_t len)
{
    sub *s = (sub *)w;
    int64_t seq;
    maybe_ready(s);
    if (!now_round.number || !find_number(data, len, "\"seq\":", &seq) || seq < now_round.seq)
        return;
    if (s->round == now_round.number) {
        now_round.later++;
        return;
    }
    s->round = now_round.number;
    now_round.last = now_ns();
    if (!now_round.got++)
        now_round.first = now_round.last;
}

static void on_down(ws *w)
{
    if (!((sub *)w)->ready)
        door.failed++;
}

static void start(int i)
{
    subs[i].w.on_up = on_up;
    subs[i].w.on_frame = on_frame;
    subs[i].w.on_down = on_down;
    ws_start(&subs[i].w);
}

static void report_round(const poster *p, int64_t sent, const meter *m, int missing)
{
    report_item();
    report_seconds("acked_s", p->acked_at - sent);
    report_seconds("first_s", now_round.got ? now_round.first - sent : 0);
    report_seconds("last_s", now_round.got ? now_round.last - sent : 0);
    report_int("got", now_round.got);
    report_int("missing", missing);
    report_int("later", now_round.later);
    if (now_round.got)
        report_number("frames_per_s", now_round.got * (double)NS / (double)(now_round.last - sent));
    report_meter("", m);
    report_item_end();
}

/* The body names the seq too, so that servers that pass it on as it is are counted the same way. */
static void one_round(poster *p, int total, heartbeat *beat)
{
    char body[96];
    meter m = {0};
    now_round.seq = p->seq + 1;
    now_round.got = 0;
    now_round.first = now_round.last = now_round.later = 0;
    now_round.number++;
    snprintf(body, sizeof body, "{\"data\":{\"seq\":%lld}}", (long long)now_round.seq);
    meter_go(&m);
    int64_t end = now_ns() + (int64_t)(opt.round_timeout * NS);
    bool acked = publish_and_wait(p, body);
    while (now_round.got < total && time_left() && now_ns() < end) {
        heartbeat_due(beat);
        net_poll(0.05);
    }
    meter_halt(&m);
    if (!acked)
        die("the publish was answered with %d", p->status);
    report_round(p, p->sent_at, &m, total - now_round.got);
    wait_until_server_rests(opt.settle);
}

int mode_fanout(void)
{
    static poster p;
    poster_start(&p);
    if (!publish_and_wait(&p, "{\"data\":{\"seq\":0}}"))
        die("the first publish was answered with %d", p.status);
    subs = calloc((size_t)opt.connections, sizeof *subs);
    door = (opener){.total = opt.connections, .start = start};
    meter open = {0};
    meter_go(&open);
    open_all(&door);
    meter_halt(&open);
    wait_until_server_rests(opt.settle);
    heartbeat beat = {.head = (char *)subs, .count = door.started, .size = sizeof *subs};
    report_begin("fanout");
    report_int("connections", door.ready);
    report_int("failed", opt.connections - door.ready);
    report_meter("open_", &open);
    report_list("rounds");
    for (int i = 0; i < opt.rounds && door.ready && time_left(); i++)
        one_round(&p, door.ready, &beat);
    report_list_end();
    report_int("faults", ws_faults);
    report_int("rss_kb", rss_server_kb());
    return report_end();
}
