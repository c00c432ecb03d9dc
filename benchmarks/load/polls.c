/* N held long-polls answered by one publish: how long until the last answer. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    conn c;
    bool waiting, done;
    char next[80];
} poll_conn;

static poll_conn *polls;
static opener door;
static int answered, empty, refused, lost;
static int64_t last_answer, first_answer, wanted;

static void send_poll(poll_conn *p)
{
    char request[4096], query[160];
    snprintf(query, sizeof query, "?after=%s&limit=100&wait=30", p->next);
    p->waiting = true;
    conn_send(&p->c, request, http_get(request, sizeof request, query));
}

static size_t on_bytes(conn *c, const char *data, size_t len)
{
    poll_conn *p = (poll_conn *)c;
    answer a;
    int64_t seq = 0;
    size_t used = http_answer(c, data, len, &a);
    if (!used)
        return 0;
    p->waiting = false;
    if (a.status != 200) {
        refused++;
        return used;
    }
    find_text(a.body, a.len, "\"next\":", p->next, sizeof p->next);
    if (!find_number(a.body, a.len, "\"seq\":", &seq) || seq < wanted) {
        empty++; /* its time was up: ask again at once */
        send_poll(p);
        return used;
    }
    p->done = true;
    last_answer = now_ns();
    if (!answered++)
        first_answer = last_answer;
    return used;
}

static void on_open(conn *c)
{
    (void)c;
    door.ready++;
}

static void on_closed(conn *c)
{
    poll_conn *p = (poll_conn *)c;
    p->waiting = false;
    lost++;
}

static void start(int i)
{
    polls[i].c.on_open = on_open;
    polls[i].c.on_bytes = on_bytes;
    polls[i].c.on_closed = on_closed;
    conn_start(&polls[i].c, opt.port);
}

static int send_all(void)
{
    int held = 0;
    for (int i = 0; i < opt.connections; i++) {
        poll_conn *p = &polls[i];
        p->done = false;
        if (p->c.state != CONN_OPEN)
            continue;
        if (!p->waiting)
            send_poll(p);
        held++;
        if (i % opt.window == 0)
            net_poll(0);
    }
    return held;
}

static void report_round(const poster *p, int held, const meter *ask, const meter *tell)
{
    report_item();
    report_int("held", held);
    report_int("answered", answered);
    report_seconds("acked_s", p->acked_at - p->sent_at);
    report_seconds("first_s", answered ? first_answer - p->sent_at : 0);
    report_seconds("last_s", answered ? last_answer - p->sent_at : 0);
    if (answered)
        report_number("answers_per_s", answered * (double)NS / (double)(last_answer - p->sent_at));
    report_meter("ask_", ask);
    report_meter("", tell);
    report_item_end();
}

static void one_round(poster *p)
{
    char body[96];
    meter ask = {0}, tell = {0};
    answered = 0;
    wanted = p->seq + 1;
    meter_go(&ask);
    int held = send_all();
    wait_until_server_rests(opt.settle);
    meter_halt(&ask);
    snprintf(body, sizeof body, "{\"data\":{\"text\":\"hello\"}}");
    meter_go(&tell);
    int64_t end = now_ns() + (int64_t)(opt.round_timeout * NS);
    bool acked = publish_and_wait(p, body);
    while (answered < held && time_left() && now_ns() < end)
        net_poll(0.05);
    meter_halt(&tell);
    if (!acked)
        die("the publish was answered with %d", p->status);
    report_round(p, held, &ask, &tell);
}

int mode_polls(void)
{
    static poster p;
    poster_start(&p);
    if (!publish_and_wait(&p, "{\"data\":{\"text\":\"first\"}}"))
        die("the first publish was answered with %d", p.status);
    polls = calloc((size_t)opt.connections, sizeof *polls);
    for (int i = 0; i < opt.connections; i++)
        snprintf(polls[i].next, sizeof polls[i].next, "%s", p.cursor);
    door = (opener){.total = opt.connections, .start = start};
    open_all(&door);
    report_begin("polls");
    report_int("connections", door.ready);
    report_list("rounds");
    for (int i = 0; i < opt.rounds && time_left(); i++)
        one_round(&p);
    report_list_end();
    report_int("empty", empty);
    report_int("refused", refused);
    report_int("lost", lost);
    report_int("rss_kb", rss_server_kb());
    return report_end();
}
