/* Clocks, the server's CPU and memory as the kernel counts them, a histogram of times. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    if (clock_gettime(id, &t))
        return 0;
    return t.tv_sec * NS + t.tv_nsec;
}

int64_t now_ns(void) { return read_clock(CLOCK_MONOTONIC); }

int64_t cpu_own(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

/* All threads of the server, user and system, in ns: finer than the ticks of /proc/PID/stat. */
int64_t cpu_server(void)
{
    clockid_t id;
    if (!opt.pid || clock_getcpuclockid(opt.pid, &id))
        return 0;
    return read_clock(id);
}

long rss_server_kb(void)
{
    char name[64], line[256];
    long kb = 0;
    if (!opt.pid)
        return 0;
    snprintf(name, sizeof name, "/proc/%d/status", (int)opt.pid);
    FILE *f = fopen(name, "r");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    fclose(f);
    return kb;
}

bool time_left(void)
{
    static int64_t end;
    if (!end)
        end = now_ns() + (int64_t)(opt.timeout * NS);
    return now_ns() < end;
}

/* What was sent has been taken in when the server uses no more CPU: under 5 ms in 50 ms. */
void wait_until_server_rests(double at_least)
{
    int64_t start = now_ns(), since = start, used = cpu_server();
    while (time_left()) {
        net_poll(0.01);
        int64_t now = now_ns();
        if (now - since < NS / 20)
            continue;
        int64_t then = used;
        used = cpu_server();
        since = now;
        if (used - then < NS / 200 && now - start >= (int64_t)(at_least * NS))
            return;
    }
}

void meter_go(meter *m)
{
    m->server0 = cpu_server();
    m->own0 = cpu_own();
    m->wall0 = now_ns();
}

void meter_halt(meter *m)
{
    m->wall += now_ns() - m->wall0;
    m->own += cpu_own() - m->own0;
    m->server += cpu_server() - m->server0;
}

/* 32 slots to each doubling: exact below 32 ns, then within 1/32. */
void hist_add(hist *h, int64_t ns)
{
    uint64_t v = ns < 0 ? 0 : (uint64_t)ns;
    int slot = (int)v;
    if (v >= 32) {
        int shift = 63 - __builtin_clzll(v) - 5;
        slot = (shift + 1) * 32 + (int)((v >> shift) & 31);
    }
    h->slot[slot]++;
    h->count++;
    if (ns > h->max)
        h->max = ns;
}

/* Upper edge of the slot that holds this share of all values. */
int64_t hist_at(const hist *h, double share)
{
    int64_t want = (int64_t)(share * (double)h->count), seen = 0;
    for (int i = 0; i < HIST_SLOTS; i++) {
        seen += h->slot[i];
        if (seen > want || (seen == h->count && seen)) {
            int shift = i < 32 ? 0 : i / 32 - 1;
            int64_t top = i < 32 ? i : ((int64_t)(32 + i % 32 + 1) << shift) - 1;
            return top < h->max ? top : h->max;
        }
    }
    return 0;
}
