/* The storm's subscribers: told over a WebSocket, each pulls over a connection of its own. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    ws w;            /* first: a heartbeat walks the array by it */
    conn pull;
    bool muted, ready, pulling;
    int64_t hinted;  /* newest seq that a hint named */
    int64_t seq;     /* newest seq pulled: our cursor */
    char next[80];   /* the same as the server wrote it */
} sub;

struct storm_sums storm_sums;
static sub *subs;
static opener door;

static void send_pull(sub *s)
{
    char request[4096], query[160];
    snprintf(query, sizeof query, "?after=%s&limit=1000", s->next);
    s->pulling = true;
    storm_sums.pulls++;
    conn_send(&s->pull, request, http_get(request, sizeof request, query));
}

static void pull_if_behind(sub *s)
{
    if (s->hinted > s->seq && !s->pulling && s->pull.state == CONN_OPEN)
        send_pull(s);
}

static size_t on_answer(conn *c, const char *data, size_t len)
{
    sub *s = c->owner;
    answer a;
    size_t used = http_answer(c, data, len, &a);
    if (!used)
        return 0;
    s->pulling = false;
    if (a.status != 200) {
        storm_sums.refused++;
        return used;
    }
    int64_t before = s->seq;
    s->seq = scan_messages(&a, s->seq, now_ns(), &storm_sums.latency, &storm_sums.tally);
    find_text(a.body, a.len, "\"next\":", s->next, sizeof s->next);
    if (s->seq == before)
        storm_sums.empty++; /* and no more until the next hint: it would only spin */
    else
        pull_if_behind(s);
    return used;
}

static void maybe_ready(ws *w)
{
    sub *s = (sub *)w;
    if (s->ready || !w->up || w->frames < opt.await_frames)
        return;
    s->ready = true;
    door.ready++;
    if (s->muted)
        conn_mute(&w->c);
}

static void on_frame(ws *w, const char *data, size_t len)
{
    sub *s = (sub *)w;
    int64_t seq;
    maybe_ready(w);
    if (!find_number(data, len, "\"seq\":", &seq))
        return;
    storm_sums.hints++;
    if (seq > s->hinted)
        s->hinted = seq;
    pull_if_behind(s);
}

static void on_down(ws *w)
{
    if (!((sub *)w)->ready)
        door.failed++;
}

static void pull_lost(conn *c)
{
    ((sub *)c->owner)->pulling = false;
    storm_sums.refused++;
}

/* Never-readers are spread among the others, as they would be. */
static void start(int i)
{
    sub *s = &subs[i];
    s->muted = opt.muted && i % (opt.connections / opt.muted) == 0 &&
               i / (opt.connections / opt.muted) < opt.muted;
    s->w.on_up = maybe_ready;
    s->w.on_frame = on_frame;
    s->w.on_down = on_down;
    if (s->muted) {
        s->w.c.rcvbuf = 1; /* the kernel makes its least of it, about 2 KiB */
    } else {
        s->pull.owner = s;
        s->pull.on_bytes = on_answer;
        s->pull.on_closed = pull_lost;
        conn_start(&s->pull, opt.port);
    }
    ws_start(&s->w);
}

int storm_open(const char *cursor, int64_t seq)
{
    subs = calloc((size_t)opt.connections, sizeof *subs);
    for (int i = 0; i < opt.connections; i++) {
        subs[i].seq = seq;
        snprintf(subs[i].next, sizeof subs[i].next, "%s", cursor);
    }
    door = (opener){.total = opt.connections, .start = start};
    open_all(&door);
    return door.ready;
}

void storm_heartbeat(void)
{
    static heartbeat beat;
    beat.head = (char *)subs;
    beat.count = door.started;
    beat.size = sizeof *subs;
    heartbeat_due(&beat);
}

int storm_behind(int64_t seq)
{
    int count = 0;
    for (int i = 0; i < opt.connections; i++)
        count += !subs[i].muted && subs[i].seq < seq;
    return count;
}

int storm_stuck(int64_t seq)
{
    int count = 0;
    for (int i = 0; i < opt.connections; i++)
        count += !subs[i].muted && subs[i].seq < seq && !subs[i].pulling;
    return count;
}

void storm_pull_all(int64_t seq)
{
    for (int i = 0; i < opt.connections; i++) {
        sub *s = &subs[i];
        if (!s->muted && s->hinted < seq)
            s->hinted = seq;
        pull_if_behind(s);
    }
}

int storm_muted_left(void)
{
    int count = 0;
    for (int i = 0; i < opt.connections; i++)
        count += subs[i].muted && conn_left_by_peer(&subs[i].w.c);
    return count;
}

int storm_readers_left(void)
{
    int count = 0;
    for (int i = 0; i < opt.connections; i++)
        count += !subs[i].muted && !subs[i].w.up;
    return count;
}
