/* The messages of a pull answer: millions a second, so only seq and send time are read.
 *
 * Each message starts with {"seq":N and its data is {"t":"16 hex digits"}, the send time in ns.
 * The distance from one to the other is tried first where the last message had it. */
#define _GNU_SOURCE
#include "load.h"

#include <string.h>

#define LIST "\"messages\":["
#define SEQ "{\"seq\":"
#define STAMP "\"t\":\""
#define SEQ_LEN (sizeof SEQ - 1)
#define STAMP_LEN (sizeof STAMP - 1)

static size_t usual_distance;

static const char *find_stamp(const char *p, const char *end)
{
    if ((size_t)(end - p) >= usual_distance + STAMP_LEN + 16) {
        const char *q = p + usual_distance;
        if (!memcmp(q, STAMP, STAMP_LEN))
            return q + STAMP_LEN;
    }
    const char *q = memmem(p, (size_t)(end - p), STAMP, STAMP_LEN);
    if (!q || end - q < (ptrdiff_t)STAMP_LEN + 16)
        return NULL;
    usual_distance = (size_t)(q - p);
    return q + STAMP_LEN;
}

static int64_t hex16(const char *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 16; i++) {
        unsigned ch = (unsigned char)p[i];
        v = v << 4 | ((ch & 15) + 9 * (ch >> 6));
    }
    return (int64_t)v;
}

/* One message at p: returns what follows it, or NULL when it has another form. */
static const char *scan_one(const char *p, const char *end, int64_t *seq, int64_t *sent)
{
    if ((size_t)(end - p) < SEQ_LEN || memcmp(p, SEQ, SEQ_LEN))
        return NULL;
    int64_t v = 0;
    const char *q = p + SEQ_LEN;
    for (; q < end && *q >= '0' && *q <= '9'; q++)
        v = v * 10 + (*q - '0');
    const char *stamp = find_stamp(p, end);
    if (!stamp)
        return NULL;
    *seq = v;
    *sent = hex16(stamp);
    for (q = stamp + 16; q < end && (*q == '"' || *q == '}'); q++) {}
    return q < end && *q == ',' ? q + 1 : q;
}

/* Counts what follows seq `after` without a hole; returns the newest seq seen. */
int64_t scan_messages(const answer *a, int64_t after, int64_t now, hist *latency, tally *t)
{
    const char *end = a->body + a->len, *p = memmem(a->body, a->len, LIST, sizeof LIST - 1);
    if (!p) {
        t->malformed++;
        return after;
    }
    p += sizeof LIST - 1;
    while (p < end && *p != ']') {
        int64_t seq, sent;
        p = scan_one(p, end, &seq, &sent);
        if (!p) {
            t->malformed++;
            break;
        }
        t->records++;
        if (seq > after + 1)
            t->gaps++;
        else if (seq <= after)
            t->repeats++;
        if (seq > after)
            after = seq;
        hist_add(latency, now - sent);
    }
    return after;
}
