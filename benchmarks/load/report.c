/* The result: one JSON object on stdout, written name by name. */
#include "load.h"

#include <stdio.h>

static bool first = true;

static void name_it(const char *name)
{
    printf("%s\"%s\":", first ? "" : ",", name);
    first = false;
}

void report_begin(const char *mode)
{
    printf("{\"mode\":\"%s\"", mode);
    first = false;
}

void report_int(const char *name, int64_t value)
{
    name_it(name);
    printf("%lld", (long long)value);
}

void report_number(const char *name, double value)
{
    name_it(name);
    printf("%.6g", value);
}

void report_seconds(const char *name, int64_t ns)
{
    name_it(name);
    printf("%.9f", (double)ns / NS);
}

void report_hist(const char *prefix, const hist *h)
{
    char name[64];
    struct {
        const char *tail;
        double share;
    } rows[] = {{"p50_s", 0.5}, {"p90_s", 0.9}, {"p99_s", 0.99}, {"p999_s", 0.999}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(name, sizeof name, "%s_%s", prefix, rows[i].tail);
        report_seconds(name, hist_at(h, rows[i].share));
    }
    snprintf(name, sizeof name, "%s_max_s", prefix);
    report_seconds(name, h->max);
}

void report_meter(const char *prefix, const meter *m)
{
    char name[64];
    snprintf(name, sizeof name, "%swall_s", prefix);
    report_seconds(name, m->wall);
    snprintf(name, sizeof name, "%sown_cpu_s", prefix);
    report_seconds(name, m->own);
    snprintf(name, sizeof name, "%sserver_cpu_s", prefix);
    report_seconds(name, m->server);
}

void report_list(const char *name)
{
    name_it(name);
    printf("[");
    first = true;
}

void report_item(void)
{
    printf("%s{", first ? "" : ",");
    first = true;
}

void report_item_end(void)
{
    printf("}");
    first = false;
}

void report_list_end(void)
{
    printf("]");
    first = false;
}

int report_end(void)
{
    bool late = !time_left();
    printf(",\"timed_out\":%s}\n", late ? "true" : "false");
    fflush(stdout);
    return late ? 3 : 0;
}
