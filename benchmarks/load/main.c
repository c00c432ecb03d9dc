/* load MODE --port N [options]: see the table below; benchmarks/README.md explains the modes. */
#define _GNU_SOURCE
#include "load.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

options opt = {
    .path = "/", .pull_path = "/", .publish_path = "/", .channel = "bench", .connections = 10,
    .rounds = 3, .window = 64, .await_frames = 1, .publishers = 64, .depth = 1, .preload = 3,
    .seconds = 1, .timeout = 60, .round_timeout = 10, .settle = 0.2,
};

enum kind { INT, REAL, TEXT, LINE, FLAG };
static const struct {
    const char *name;
    enum kind kind;
    void *to;
} table[] = {
    {"port", INT, &opt.port},
    {"publish-port", INT, &opt.publish_port}, /* default: the same */
    {"path", TEXT, &opt.path},                /* of the WebSocket */
    {"pull-path", TEXT, &opt.pull_path},
    {"publish-path", TEXT, &opt.publish_path},
    {"header", LINE, &opt.headers},           /* may be repeated */
    {"publish-header", LINE, &opt.publish_headers},
    {"channel", TEXT, &opt.channel},
    {"protocol", TEXT, &opt.protocol},        /* WebSocket subprotocol */
    {"connections", INT, &opt.connections},
    {"rounds", INT, &opt.rounds},
    {"window", INT, &opt.window},             /* connections opened at a time */
    {"await", INT, &opt.await_frames},        /* frames before a WebSocket counts as ready */
    {"muted", INT, &opt.muted},               /* storm: of the connections, never read */
    {"publishers", INT, &opt.publishers},     /* storm */
    {"batch", INT, &opt.batch},               /* storm: NDJSON lines a request; 0 = one POST each */
    {"depth", INT, &opt.depth},               /* pull: requests under way on one connection */
    {"preload", INT, &opt.preload},           /* pull: messages in the answer */
    {"warm", INT, &opt.warm},                 /* idle: connections before the count starts */
    {"rate", REAL, &opt.rate},                /* publish, storm: messages a second in all */
    {"seconds", REAL, &opt.seconds},
    {"timeout", REAL, &opt.timeout},          /* of the whole run */
    {"round-timeout", REAL, &opt.round_timeout},
    {"settle", REAL, &opt.settle},
    {"pid", INT, &opt.pid},                   /* the server's, for its CPU and memory */
    {"hold", FLAG, &opt.hold},                /* idle: until stdin speaks or ends */
};
#define OPTIONS (sizeof table / sizeof *table)

static const struct {
    const char *name;
    int (*run)(void);
} modes[] = {
    {"fanout", mode_fanout}, {"polls", mode_polls}, {"pull", mode_pull},
    {"publish", mode_publish}, {"idle", mode_idle}, {"storm", mode_storm},
};
#define MODES (sizeof modes / sizeof *modes)

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static void add_line(char **lines, const char *line)
{
    size_t had = *lines ? strlen(*lines) : 0;
    *lines = realloc(*lines, had + strlen(line) + 3);
    if (!*lines)
        die("out of memory");
    sprintf(*lines + had, "%s\r\n", line);
}

static double number(const char *name, const char *text)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || v < 0 || v > 1e9)
        die("--%s: not a number in range: %s", name, text);
    return v;
}

static void set_option(int i, const char *text)
{
    switch (table[i].kind) {
    case INT: *(int *)table[i].to = (int)number(table[i].name, text); break;
    case REAL: *(double *)table[i].to = number(table[i].name, text); break;
    case TEXT: *(const char **)table[i].to = text; break;
    case LINE: add_line(table[i].to, text); break;
    case FLAG: *(bool *)table[i].to = true; break;
    }
}

static void check(void)
{
    if (!opt.port || opt.port > 65535)
        die("--port is needed");
    if (!opt.publish_port)
        opt.publish_port = opt.port;
    if (!opt.headers)
        opt.headers = calloc(1, 1);
    if (!opt.publish_headers)
        opt.publish_headers = calloc(1, 1);
    if (opt.connections < 1 || opt.connections > 100000)
        die("--connections: 1 to 100000");
    if (opt.window < 1 || opt.publishers < 1 || opt.depth < 1 || opt.depth > 16)
        die("--window, --publishers: at least 1; --depth: 1 to 16");
    if (opt.muted >= opt.connections || strlen(opt.channel) > 100)
        die("--muted: fewer than --connections; --channel: at most 100 bytes");
}

int main(int argc, char **argv)
{
    struct option longs[OPTIONS + 1] = {0};
    int index;
    for (size_t i = 0; i < OPTIONS; i++)
        longs[i] = (struct option){table[i].name, table[i].kind == FLAG ? 0 : 1, NULL, 'o'};
    if (argc < 2)
        die("usage: load fanout|polls|pull|publish|idle|storm --port N [options]");
    for (int got; (got = getopt_long(argc - 1, argv + 1, "", longs, &index)) != -1; ) {
        if (got != 'o')
            return 2;
        set_option(index, optarg);
    }
    check();
    time_left();                            /* starts the clock of --timeout */
    alarm((unsigned)opt.timeout + 10);      /* should a mode not look at it */
    net_init();
    for (size_t i = 0; i < MODES; i++)
        if (!strcmp(argv[1], modes[i].name))
            return modes[i].run();
    die("no such mode: %s", argv[1]);
}
