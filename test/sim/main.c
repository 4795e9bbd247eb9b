/* Simulation of clusters: the product's core, a model Kubernetes API, a model PostgreSQL, a model
 * network, one seed, virtual time. Each episode (episode.c) injects faults for a while, heals, and
 * demands a primary and full replication, and then that nothing moves any more.
 *
 *   sim --seeds A-B|N [--mix | --members N --mode quorum|sync|async --strict --k K] [--trace]
 *       [--jobs M] [--seconds S] [--tally FILE] [--coverage]
 *   sim --shrink SEED [--mix ...]
 *   sim --report FILE
 *   sim --again --tally FILE [--mix ...]
 *
 * Checked all the time: at most one server acknowledges; nothing that was acknowledged or could be
 * read is missing from a server that admits clients; no last copy is given up; no timeline number
 * is used twice; nothing is acknowledged after the fence. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"

#define BLOCK 200 /* seeds between two looks at clock, tally and signals */
#define JOBS_MAX 64
#define SAVE_S 5

struct job {
    struct options o;
    char config[64];
    uint64_t from, to, shrink;
    int jobs;
    int64_t seconds;
    const char *tally, *report;
    bool again;
};

struct message {
    uint64_t from, to;
    struct tally t;
};

static struct tally total;
static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
    (void)sig;
    stopped = 1;
}

static int64_t now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

static void run_block(const struct job *j, uint64_t from, uint64_t to, bool print)
{
    for (uint64_t seed = from; seed <= to; seed++) {
        static struct plan p;
        plan_draw(&p, seed, &j->o);
        if (episode(&p, j->o.trace))
            continue;
        tally_failure(seed, j->config);
        if (print)
            printf("seed %" PRIu64 ": %s %s\n", seed, W.violation, W.detail);
        fflush(stdout);
    }
}

static bool write_all(int fd, const void *data, size_t size)
{
    for (const char *p = data; size > 0;) {
        ssize_t n = write(fd, p, size);
        if (n < 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

static bool read_all(int fd, void *data, size_t size)
{
    for (char *p = data; size > 0;) {
        ssize_t n = read(fd, p, size);
        if (n < 0 && errno == EINTR && stopped == 0)
            continue;
        if (n <= 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

static uint64_t block_end(const struct job *j, uint64_t from)
{
    return j->to - from < BLOCK ? j->to : from + BLOCK - 1;
}

static void work(const struct job *j, int number, int fd)
{
    static struct message m;
    int64_t end = now_s() + j->seconds;
    uint64_t block = 0;
    for (uint64_t from = j->from; from <= j->to; from += BLOCK, block++) {
        uint64_t to = block_end(j, from);
        if (block % (uint64_t)j->jobs != (uint64_t)number || tally_has(j->config, from, to))
            continue;
        T = (struct tally){0};
        run_block(j, from, to, false);
        m = (struct message){.from = from, .to = to, .t = T};
        if (!write_all(fd, &m, sizeof m) || (j->seconds > 0 && now_s() >= end))
            return;
    }
}

static void save_now_and_then(const struct job *j, bool last)
{
    static int64_t next_s;
    if (j->tally == NULL || (!last && now_s() < next_s))
        return;
    next_s = now_s() + SAVE_S;
    tally_save(j->tally, &total);
}

static void take(const struct job *j, const struct message *m)
{
    tally_add(&total, &m->t);
    tally_done(j->config, m->from, m->to);
    fputs(m->t.failures, stdout);
    fflush(stdout);
    save_now_and_then(j, false);
}

static bool collect(const struct job *j, struct pollfd *p)
{
    static struct message m;
    for (int open = j->jobs; open > 0 && stopped == 0;) {
        if (poll(p, (nfds_t)j->jobs, -1) < 0)
            continue;
        for (int i = 0; i < j->jobs; i++) {
            if (p[i].fd < 0 || p[i].revents == 0)
                continue;
            if (read_all(p[i].fd, &m, sizeof m)) {
                take(j, &m);
            } else {
                close(p[i].fd);
                p[i].fd = -1;
                open--;
            }
        }
    }
    return stopped == 0;
}

/* One process for each job; each takes every M-th block and sends what came of it. */
static bool run_jobs(const struct job *j)
{
    struct pollfd p[JOBS_MAX];
    pid_t pid[JOBS_MAX];
    bool good = true;
    for (int i = 0; i < j->jobs; i++) {
        int fd[2];
        if (pipe(fd) != 0 || (pid[i] = fork()) < 0) {
            perror("sim");
            exit(1);
        }
        if (pid[i] == 0) {
            signal(SIGINT, SIG_DFL);
            signal(SIGTERM, SIG_DFL);
            close(fd[0]);
            work(j, i, fd[1]);
            _exit(0);
        }
        close(fd[1]);
        p[i] = (struct pollfd){.fd = fd[0], .events = POLLIN};
    }
    good = collect(j, p);
    for (int i = 0; i < j->jobs; i++) {
        int status = 0;
        if (stopped != 0)
            kill(pid[i], SIGTERM);
        while (waitpid(pid[i], &status, 0) < 0 && errno == EINTR)
            ;
        if (status != 0 && stopped == 0) {
            fprintf(stderr, "sim: a job ended with status %d\n", status);
            good = false;
        }
    }
    return good;
}

static bool run_here(const struct job *j)
{
    int64_t end = now_s() + j->seconds;
    for (uint64_t from = j->from; from <= j->to && stopped == 0; from += BLOCK) {
        uint64_t to = block_end(j, from);
        if (tally_has(j->config, from, to))
            continue;
        T = (struct tally){0};
        run_block(j, from, to, true);
        tally_add(&total, &T);
        tally_done(j->config, from, to);
        save_now_and_then(j, false);
        if (j->seconds > 0 && now_s() >= end)
            break;
    }
    return stopped == 0;
}

static bool load(const struct job *j)
{
    if (j->tally != NULL && !tally_load(j->tally, &total))
        return false;
    if (tally_of_this_core(&total))
        return true;
    fprintf(stderr, "%s tells of core %s, this is %s: begin another file\n", j->tally,
            total.core[0] != '\0' ? total.core : "(not told)", CORE_ID);
    return false;
}

static bool passes(uint64_t seed, void *ctx)
{
    const struct job *j = ctx;
    static struct plan p;
    plan_draw(&p, seed, &j->o);
    bool good = episode(&p, false);
    printf("seed %" PRIu64 ": %s %s\n", seed, good ? "passes" : W.violation, good ? "" : W.detail);
    return good;
}

static int run_again(struct job *j)
{
    if (!load(j))
        return 2;
    tally_again(&total, j->config, passes, j);
    tally_save(j->tally, &total);
    return total.failed == 0 ? 0 : 1;
}

static int run(const struct job *j)
{
    if (!load(j))
        return 2;
    uint64_t before = total.episodes, failed = total.failed, unreached = 0;
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    bool good = j->jobs > 1 ? run_jobs(j) : run_here(j);
    save_now_and_then(j, true);
    for (size_t i = 0; i < core_rule_count && j->o.coverage; i++)
        printf("%12" PRIu64 " turns of %s\n", total.rule[i], core_rules[i].id);
    for (size_t i = 0; i < core_rule_count && total.episodes > 1; i++)
        if (total.rule[i] == 0)
            printf("%s%s", unreached++ == 0 ? "rules never reached: " : " ", core_rules[i].id);
    printf("%s%" PRIu64 " episodes, %" PRIu64 " failed", unreached > 0 ? "\n" : "",
           total.episodes - before, total.failed - failed);
    if (before > 0)
        printf("; %" PRIu64 " and %" PRIu64 " in all", total.episodes, total.failed);
    printf("%s\n", stopped != 0 ? " (interrupted)" : "");
    return good && total.failed == failed ? 0 : 1;
}

static int run_shrink(const struct job *j)
{
    static struct plan p;
    plan_draw(&p, j->shrink, &j->o);
    if (shrink(&p))
        return 0;
    printf("seed %" PRIu64 " passes: there is nothing to reduce\n", j->shrink);
    return 1;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: sim --seeds A-B|N [--mix] [--members 1-%d] [--mode quorum|sync|async] [--strict]\n"
            "           [--k K] [--trace] [--jobs M] [--seconds S] [--tally FILE] [--coverage]\n"
            "       sim --shrink SEED [--mix ...]\n"
            "       sim --report FILE\n"
            "       sim --again --tally FILE [--mix ...]\n", N_MAX);
    return 2;
}

static bool number(const char *s, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(s, &end, 10);
    return errno == 0 && end != s && *end == '\0' && *s != '-';
}

static bool seeds(const char *s, struct job *j)
{
    const char *dash = strchr(s, '-');
    char first[32] = "1";
    if (dash != NULL)
        snprintf(first, sizeof first, "%.*s", (int)(dash - s), s);
    return number(first, &j->from) && number(dash != NULL ? dash + 1 : s, &j->to) && j->from <= j->to &&
           j->to < UINT64_MAX - 2 * BLOCK;
}

static bool mode(const char *s, enum repl_mode *ret)
{
    static const char *const names[] = {"async", "sync", "quorum"};
    for (int i = 0; i < 3; i++)
        if (strcmp(s, names[i]) == 0) {
            *ret = (enum repl_mode)i;
            return true;
        }
    return false;
}

static bool flag(const char *s, struct job *j)
{
    static const char *const names[] = {"--mix", "--strict", "--trace", "--coverage", "--again"};
    bool *const set[] = {&j->o.mix, &j->o.strict, &j->o.trace, &j->o.coverage, &j->again};
    for (int i = 0; i < 5; i++)
        if (strcmp(s, names[i]) == 0)
            return *set[i] = true;
    return false;
}

static bool value(const char *s, const char *v, struct job *j)
{
    uint64_t n = 0;
    bool is = number(v, &n);
    if (strcmp(s, "--seeds") == 0)
        return seeds(v, j);
    if (strcmp(s, "--mode") == 0)
        return mode(v, &j->o.mode);
    if (strcmp(s, "--tally") == 0)
        return (j->tally = v)[0] != '\0';
    if (strcmp(s, "--report") == 0)
        return (j->report = v)[0] != '\0';
    if (strcmp(s, "--shrink") == 0)
        return is && (j->shrink = n) > 0;
    if (strcmp(s, "--members") == 0)
        return is && n >= 1 && n <= N_MAX && (j->o.members = (int)n) > 0;
    if (strcmp(s, "--k") == 0)
        return is && n >= 1 && n < N_MAX && (j->o.k = (uint8_t)n) > 0;
    if (strcmp(s, "--jobs") == 0)
        return is && n >= 1 && n <= JOBS_MAX && (j->jobs = (int)n) > 0;
    if (strcmp(s, "--seconds") == 0)
        return is && n >= 1 && n < 1u << 30 && (j->seconds = (int64_t)n) > 0;
    return false;
}

static bool parse(int argc, char **argv, struct job *j)
{
    for (int i = 1; i < argc; i++) {
        if (flag(argv[i], j))
            continue;
        if (i + 1 >= argc || !value(argv[i], argv[i + 1], j))
            return false;
        i++;
    }
    static const char *const modes[] = {"async", "sync", "quorum"};
    if (j->o.mix)
        snprintf(j->config, sizeof j->config, "mix");
    else
        snprintf(j->config, sizeof j->config, "%s-members%d-k%d%s", modes[j->o.mode], j->o.members,
                 j->o.k, j->o.strict ? "-strict" : "");
    return !(j->o.trace && j->jobs > 1) && (!j->again || j->tally != NULL);
}

int main(int argc, char **argv)
{
    struct job j = {.from = 1, .to = 1000, .jobs = 1,
                    .o = {.members = 3, .mode = REPL_QUORUM, .k = 1}};
    if (!parse(argc, argv, &j))
        return usage();
    if (j.report != NULL) {
        if (access(j.report, R_OK) != 0) {
            perror(j.report);
            return 2;
        }
        if (!tally_load(j.report, &total))
            return 2;
        tally_report(&total);
        return total.failed == 0 ? 0 : 1;
    }
    if (j.again)
        return run_again(&j);
    return j.shrink != 0 ? run_shrink(&j) : run(&j);
}
