/* Checks of what was measured: answers of the API server, clocks of the members. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "hactl/doctor.h"
#include "hactl/jget.h"

#define CLOCKS_APART_MS 1000 /* histories of two members would read in the wrong order */

static int by_size(const void *a, const void *b)
{
    int64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

void doctor_latency(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "api-latency";
    static const char *const profiles[] = {"fast", "default", "calm"};
    int64_t us[DOCTOR_SAMPLES_MAX], limit_ms;
    struct doctor_row *row;

    if (!f->own || !f->own->cfg_ok)
        return;
    limit_ms = f->own->cfg.lease.request_ms;
    const char *profile = profiles[f->own->cfg.lease.profile];
    if (f->samples == 0) {
        row = doctor_add(r, DOCTOR_UNKNOWN, check, "the Lease could not be read");
        doctor_remedy(row, "kubectl get lease %s -n %s", f->cluster, f->ns);
        return;
    }
    memcpy(us, f->latency_us, sizeof(us));
    qsort(us, f->samples, sizeof(us[0]), by_size);
    int64_t middle_us = us[f->samples / 2], longest_us = us[f->samples - 1];
    double p50 = (double)middle_us / 1000, max = (double)longest_us / 1000;
    if (f->lost > 0 || max >= (double)limit_ms || p50 * 4 >= (double)limit_ms) {
        row = doctor_add(r, DOCTOR_WARNING, check,
                         "from here p50 %.1f ms, max %.1f ms, %zu of %zu lost; lease.request is "
                         "%lld ms (%s)", p50, max, f->lost, f->lost + f->samples,
                         (long long)limit_ms, profile);
        doctor_why(row, "if the members see the same, renewals are late and the primary is fenced");
        doctor_remedy(row, "measure in a pod; lease.profile: calm, or a larger lease.request");
    } else {
        doctor_add(r, DOCTOR_OK, check,
                   "from here p50 %.1f ms, max %.1f ms; lease.request is %lld ms (%s)",
                   p50, max, (long long)limit_ms, profile);
    }
}

static bool digits(const char **s, size_t n, int *ret)
{
    *ret = 0;
    for (size_t i = 0; i < n; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        *ret = *ret * 10 + (**s - '0');
    }
    return true;
}

/* The stamp of str_microtime, and nothing else. */
static bool stamp_ms(const char *s, int64_t *ret)
{
    struct tm t = {0};
    int us;

    if (!digits(&s, 4, &t.tm_year) || *s++ != '-' || !digits(&s, 2, &t.tm_mon) || *s++ != '-' ||
        !digits(&s, 2, &t.tm_mday) || *s++ != 'T' || !digits(&s, 2, &t.tm_hour) || *s++ != ':' ||
        !digits(&s, 2, &t.tm_min) || *s++ != ':' || !digits(&s, 2, &t.tm_sec) || *s++ != '.' ||
        !digits(&s, 6, &us) || !str_eq(s, "Z"))
        return false;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    *ret = (int64_t)timegm(&t) * 1000 + us / 1000;
    return true;
}

bool doctor_clock_read(struct json_object *status, int64_t sent_us, int64_t done_us,
                       struct doctor_clock *ret)
{
    int64_t at_ms, age_ms = jint(jget(status, "age_ms", NULL), -1);
    const char *name = jtext(jget(status, "name", NULL));

    if (!*name || age_ms < 0 || age_ms > 3600000 || done_us < sent_us ||
        !stamp_ms(jtext(jget(status, "time", NULL)), &at_ms) ||
        !str_copy(ret->name, sizeof(ret->name), name))
        return false;
    ret->offset_ms = at_ms + age_ms - (sent_us + done_us) / 2000;
    ret->uncertainty_ms = (done_us - sent_us) / 2000 + 1;
    return true;
}

void doctor_clocks(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "clocks";
    const struct doctor_clock *first, *last;
    struct doctor_row *row;

    if (f->clocks < 2) {
        if (doctor_items(f->pods.o) < 2)
            return;
        row = doctor_add(r, DOCTOR_UNKNOWN, check, "%zu of %zu members answered with their time",
                         f->clocks, doctor_items(f->pods.o));
        doctor_remedy(row, "run hactl doctor where the pods' REST port %lld can be reached",
                      (long long)(f->own ? doctor_rest_port(f->own) : 8008));
        return;
    }
    first = last = &f->clock[0];
    for (size_t i = 1; i < f->clocks; i++) {
        first = f->clock[i].offset_ms < first->offset_ms ? &f->clock[i] : first;
        last = f->clock[i].offset_ms > last->offset_ms ? &f->clock[i] : last;
    }
    int64_t apart_ms = last->offset_ms - first->offset_ms;
    int64_t slack_ms = last->uncertainty_ms + first->uncertainty_ms;
    if (apart_ms - slack_ms > CLOCKS_APART_MS) {
        row = doctor_add(r, DOCTOR_WARNING, check, "%s is %lld ms ahead of %s", last->name,
                         (long long)apart_ms, first->name);
        doctor_why(row, "no decision uses these clocks, but logs, history and now() contradict");
        doctor_remedy(row, "synchronise the clocks of the nodes (chronyc tracking)");
    } else {
        doctor_add(r, DOCTOR_OK, check, "%zu members at most %lld ms apart, give or take %lld ms",
                   f->clocks, (long long)apart_ms, (long long)slack_ms);
    }
}
