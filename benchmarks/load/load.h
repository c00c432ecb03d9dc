/* A load generator for push servers: one thread, epoll, no dependencies, 127.0.0.1 only. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- options (main.c): set once from the command line, then read only ---- */
typedef struct {
    int port, publish_port;
    const char *path, *pull_path, *publish_path; /* WebSocket; the latter two without a query */
    char *headers, *publish_headers;        /* lines, each with its CRLF */
    const char *channel, *protocol;         /* NDJSON lines name the channel; WebSocket subprotocol */
    int connections, rounds, window, await_frames, muted, publishers, batch, depth, preload, warm;
    double seconds, timeout, round_timeout, settle, rate;
    pid_t pid;                              /* the server, to read its CPU and memory; 0 = unknown */
    bool hold;
} options;
extern options opt;

/* ---- measure.c: clocks, the server's CPU and memory, a histogram ---- */
#define NS 1000000000LL
#define HIST_SLOTS 2048
typedef struct {
    int64_t count, max, slot[HIST_SLOTS];
} hist;                                     /* of ns, each slot 3 % wide */
typedef struct {
    int64_t wall, own, server, wall0, own0, server0;
} meter;                                    /* sums over every go … halt */

int64_t now_ns(void);
int64_t cpu_own(void);
int64_t cpu_server(void);
long rss_server_kb(void);
bool time_left(void);                       /* false once --timeout has passed */
void wait_until_server_rests(double at_least);
void meter_go(meter *m);
void meter_halt(meter *m);
void hist_add(hist *h, int64_t ns);
int64_t hist_at(const hist *h, double share);

/* ---- report.c: one JSON object on stdout ---- */
void report_begin(const char *mode);
void report_int(const char *name, int64_t value);
void report_seconds(const char *name, int64_t ns);
void report_number(const char *name, double value);
void report_hist(const char *prefix, const hist *h);
void report_meter(const char *prefix, const meter *m);
void report_list(const char *name);         /* then report_item … report_list_end */
void report_item(void);
void report_item_end(void);
void report_list_end(void);
int report_end(void);                       /* the exit status: 0, or 3 after a time-out */

/* ---- net.c: non-blocking connections on one epoll ---- */
typedef struct {
    char *p;
    size_t len, cap;
} buf;
void buf_reserve(buf *b, size_t more);
void buf_add(buf *b, const void *data, size_t len);

enum { CONN_NEW, CONN_CONNECTING, CONN_OPEN, CONN_CLOSED };
typedef struct conn conn;
struct conn {
    int fd, state, rcvbuf;                  /* rcvbuf: bytes, 0 = the kernel's choice */
    uint32_t events;
    buf in, out;                            /* what is half received, what is not yet sent */
    size_t need;                            /* http.c: length of the answer under way, 0 = not known */
    void *owner;
    void (*on_open)(conn *c);
    size_t (*on_bytes)(conn *c, const char *data, size_t len); /* bytes used, 0 = wants more */
    void (*on_closed)(conn *c);
};
void net_init(void);
void conn_start(conn *c, int port);
void conn_send(conn *c, const void *data, size_t len);
void conn_mute(conn *c);                    /* never read from it again */
bool conn_left_by_peer(const conn *c);
void conn_close(conn *c);
void net_poll(double seconds);              /* one round of events */

/* Opens `total` things with at most `window` of them under way. */
typedef struct {
    int total, started, ready, failed;
    void (*start)(int index);
} opener;
bool open_all(opener *o);                   /* pumps until all are ready or have failed */

/* ---- http.c: requests out, answers in ---- */
typedef struct {
    int status;
    const char *body;
    size_t len;
} answer;
size_t http_answer(conn *c, const char *data, size_t len, answer *a); /* whole length, or 0 */
size_t http_get(char *to, size_t cap, const char *query);
void http_post(buf *to, const char *body, size_t len);
bool find_number(const char *data, size_t len, const char *key, int64_t *value);
bool find_text(const char *data, size_t len, const char *key, char *to, size_t cap);
int count_of(const char *data, size_t len, const char *key);

/* One connection that publishes one message at a time and remembers the ack. */
typedef struct poster poster;
struct poster {
    conn c;
    bool busy;
    int64_t sent_at, acked_at, seq;         /* seq of the last ack; own count where it names none */
    int status, acks, refused;
    char cursor[80];                        /* EPOCH.SEQ of the last ack */
    void (*on_ack)(poster *p, const answer *a);
};
void poster_start(poster *p);
void poster_send(poster *p, const char *body, size_t len);
bool poster_wait(poster *p);                /* pumps until the ack is there */
bool publish_and_wait(poster *p, const char *body);

/* ---- ws.c: a WebSocket client ---- */
typedef struct ws ws;
struct ws {
    conn c;
    bool up;
    int frames;
    void (*on_up)(ws *w);
    void (*on_frame)(ws *w, const char *data, size_t len);
    void (*on_down)(ws *w);
};
typedef struct {
    char *head;                             /* first bytes of each ws, `size` apart */
    int count;
    size_t size;
    int64_t next;
} heartbeat;
extern int64_t ws_faults;                   /* frames that no server may send */
void ws_start(ws *w);
void ws_text(ws *w, const char *text);
void heartbeat_due(heartbeat *h);           /* a ping frame to each every 20 s */

/* ---- scan.c: the messages of a pull answer ---- */
typedef struct {
    int64_t records, gaps, repeats, malformed;
} tally;
int64_t scan_messages(const answer *a, int64_t after, int64_t now, hist *latency, tally *t);

/* ---- storm_sub.c: the subscribers of the storm ---- */
extern struct storm_sums {
    int64_t hints, pulls, empty, refused;
    hist latency;
    tally tally;
} storm_sums;
int storm_open(const char *cursor, int64_t seq); /* how many are up */
void storm_heartbeat(void);
int storm_behind(int64_t seq);              /* readers whose cursor is lower */
int storm_stuck(int64_t seq);               /* of these, the ones that are not pulling: told nothing */
void storm_pull_all(int64_t seq);
int storm_muted_left(void);                 /* never-readers that the server has closed */
int storm_readers_left(void);

/* ---- the modes ---- */
int mode_fanout(void);
int mode_polls(void);
int mode_pull(void);
int mode_publish(void);
int mode_idle(void);
int mode_storm(void);

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

#endif
