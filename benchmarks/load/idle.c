/* N WebSockets that do nothing: handshakes a second, and what the server holds for each. */
#define _GNU_SOURCE
#include "load.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct {
    ws w;
    bool ready;
} idler;

static idler *idlers;
static opener door;

static void maybe_ready(ws *w)
{
    idler *i = (idler *)w;
    if (i->ready || !w->up || w->frames < opt.await_frames)
        return;
    i->ready = true;
    door.ready++;
}

static void on_frame(ws *w, const char *data, size_t len)
{
    (void)data;
    (void)len;
    maybe_ready(w);
}

static void on_down(ws *w)
{
    if (!((idler *)w)->ready)
        door.failed++;
}

static void start(int i)
{
    idlers[i].w.on_up = maybe_ready;
    idlers[i].w.on_frame = on_frame;
    idlers[i].w.on_down = on_down;
    ws_start(&idlers[i].w);
}

/* Until stdin is closed or says anything, or --seconds have passed. */
static void hold(heartbeat *beat)
{
    int64_t end = now_ns() + (int64_t)(opt.seconds * NS);
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    while (time_left() && (opt.hold ? poll(&in, 1, 0) == 0 : now_ns() < end)) {
        heartbeat_due(beat);
        net_poll(0.05);
    }
}

static int still_up(void)
{
    int up = 0;
    for (int i = 0; i < door.started; i++)
        up += idlers[i].w.up;
    return up;
}

/* The first `warm` connections pay for what the server allocates once; they are not counted. */
int mode_idle(void)
{
    meter m = {0};
    idlers = calloc((size_t)(opt.warm + opt.connections), sizeof *idlers);
    door = (opener){.total = opt.warm, .start = start};
    open_all(&door);
    wait_until_server_rests(opt.settle);
    int warm = door.ready;
    long before = rss_server_kb();
    door.total += opt.connections;
    meter_go(&m);
    open_all(&door);
    meter_halt(&m);
    wait_until_server_rests(opt.settle);
    long after = rss_server_kb();
    int ready = door.ready - warm;
    report_begin("idle");
    report_int("connections", ready);
    report_int("failed", door.failed);
    report_number("handshakes_per_s", (double)ready * NS / (double)m.wall);
    report_int("rss_before_kb", before);
    report_int("rss_after_kb", after);
    report_number("kb_each", ready ? (double)(after - before) / ready : 0);
    report_meter("", &m);
    heartbeat beat = {.head = (char *)idlers, .count = door.started, .size = sizeof *idlers};
    hold(&beat);
    report_int("still_up", still_up());
    report_int("rss_held_kb", rss_server_kb());
    report_int("faults", ws_faults);
    return report_end();
}
