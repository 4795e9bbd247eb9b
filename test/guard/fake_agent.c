/* An agent that does what a test tells it: the other end of guard's link, without a mind.
 *
 * It connects to the unix socket $FAKE_SOCKET, says hello, then answers each command line with one
 * line. It uses the agent's own loop and link code. Anything unexpected ends it with code 99. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "loop/guardlink.h"
#include "loop/loop.h"

#define WORDS_MAX 24

static struct guard_link *guard;
static struct loop *turns;
static int control = -1;
static char line[8192];
static size_t line_len;
static bool want_status;
static uint32_t status_seq;

_Noreturn static void die(const char *why)
{
    fprintf(stderr, "fake-agent: %s\n", why);
    exit(99);
}

static int connect_control(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *path = getenv("FAKE_SOCKET");
    if (!path || !str_copy(at.sun_path, sizeof(at.sun_path), path))
        die("FAKE_SOCKET");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
        die("connect");
    return fd;
}

static void answer(const char *text)
{
    if (!fd_write_all(control, text, strlen(text), NULL) || !fd_write_all(control, "\n", 1, NULL))
        exit(0); /* the test has gone */
}

static void answer_number(int64_t n)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)n);
    answer(text);
}

static void answer_status(void)
{
    const struct link_status *s = guard_link_status(guard);
    const struct fence_page *p = guard_link_page(guard);
    char text[1024];
    snprintf(text, sizeof(text),
             "{\"task_seq\":%u,\"task_result\":\"%s\",\"postgres_pid\":%d,\"last_exit\":%d,\"starts\":%u,"
             "\"lock\":\"%s\",\"sweeping\":%u,\"fenced\":%u,\"terminate\":%u,\"agent_starts\":%u,"
             "\"boot_id\":\"%s\",\"deadline\":%lld,\"writable\":%d,\"page_fenced\":%u,"
             "\"page_boot_id\":\"%s\",\"pid\":%d,\"uid\":%u}",
             (unsigned)s->task_seq, link_result_name(s->task_result), s->postgres_pid,
             s->last_exit, (unsigned)s->starts, link_lock_name(s->server_lock),
             (unsigned)s->sweeping, (unsigned)s->fenced, (unsigned)s->terminate,
             (unsigned)s->agent_starts, s->boot_id, (long long)page_deadline_ms(p),
             (int)page_writable(p), (unsigned)page_fenced(p), p->boot_id, (int)getpid(),
             (unsigned)getuid());
    answer(text);
}

/* A grandchild that outlives its parent: guard has to reap it. */
static void make_orphan(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            poll(NULL, 0, 50);
            _exit(7);
        }
        _exit(0);
    }
    siginfo_t info;
    waitid(P_PID, (id_t)pid, &info, WEXITED);
    answer("ok");
}

/* As an agent that has lost its mind: it allocates, touches and gives back, and does nothing else. */
_Noreturn static void hog(void)
{
    enum { CHUNK = 1 << 20, CHUNKS = 128 };
    static char *chunk[CHUNKS];
    for (;;) {
        for (int i = 0; i < CHUNKS; i++) {
            chunk[i] = malloc(CHUNK);
            if (chunk[i])
                memset(chunk[i], i, CHUNK);
        }
        for (int i = 0; i < CHUNKS; i++)
            free(chunk[i]);
    }
}

/* Looks without a pause: what guard has told by the moment in which it has cleared the mark. */
static void see_cleared(void)
{
    struct loop_source link = guard_link_source(guard);
    int64_t until = clock_boot_ms() + 10000;
    while (page_writable(guard_link_page(guard)) && clock_boot_ms() < until) {
    }
    link.dispatch(link.ctx, turns);
    answer_number(guard_link_writable(guard) ? -1 : guard_link_status(guard)->postgres_pid);
}

static void command(char **word, int n)
{
    const char *name = word[0];
    const char *arg = n > 1 ? word[1] : "0";
    int64_t num = 0;
    bool is_num = str_to_i64(arg, INT64_MIN, INT64_MAX, &num);
    if (str_eq(name, "start") && n >= 3) {
        answer_number(guard_link_start(guard, word[1], word[2], (const char *const *)(word + 3), NULL));
    } else if (str_eq(name, "signal") && is_num) {
        answer_number(guard_link_signal(guard, (int)num, NULL));
    } else if (str_eq(name, "kill") && is_num) {
        answer_number(guard_link_kill_servers(guard, (uint32_t)num, NULL));
    } else if (str_eq(name, "exit") && is_num) {
        answer_number(guard_link_exit(guard, (int)num, NULL));
    } else if (str_eq(name, "grant") && is_num) {
        int64_t at = clock_boot_ms() + num;
        page_grant(guard_link_page(guard), at);
        answer_number(at);
    } else if (str_eq(name, "extend") && is_num) {
        answer_number(page_extend(guard_link_page(guard), clock_boot_ms() + num));
    } else if (str_eq(name, "forfeit")) {
        page_forfeit(guard_link_page(guard));
        answer_number(guard_link_watch(guard, NULL));
    } else if (str_eq(name, "forfeit-silently")) { /* as if stopped before the message */
        page_forfeit(guard_link_page(guard));
        answer("ok");
    } else if (str_eq(name, "arm")) {
        answer_number(guard_link_arm(guard, NULL));
    } else if (str_eq(name, "mark")) { /* as arm, but frozen before the message: guard must see it */
        page_set_writable(guard_link_page(guard));
        answer("ok");
    } else if (str_eq(name, "see-cleared")) {
        see_cleared();
    } else if (str_eq(name, "status")) {
        status_seq = guard_link_request_status(guard, NULL);
        want_status = true;
    } else if (str_eq(name, "env")) {
        const char *value = getenv(arg);
        answer(value ? value : "(unset)");
    } else if (str_eq(name, "orphan")) {
        make_orphan();
    } else if (str_eq(name, "freeze")) {
        answer("ok");
        raise(SIGSTOP);
    } else if (str_eq(name, "hog")) {
        answer("ok");
        hog();
    } else if (str_eq(name, "crash")) {
        answer("ok");
        abort();
    } else if (str_eq(name, "refuse-config")) {
        answer("ok");
        _exit(LINK_EXIT_CONFIG);
    } else if (str_eq(name, "garbage")) {
        int fd = atoi(getenv("PGHA_GUARD_FD"));
        answer_number(send(fd, "garbage", 7, MSG_NOSIGNAL));
    } else {
        die("unknown command");
    }
}

static void run_line(char *text)
{
    char *word[WORDS_MAX + 1];
    int n = 0;
    char *save = NULL;
    for (char *w = strtok_r(text, " ", &save); w && n < WORDS_MAX; w = strtok_r(NULL, " ", &save))
        word[n++] = w;
    word[n] = NULL;
    if (n > 0)
        command(word, n);
}

static void control_prepare(void *ctx, struct loop *l)
{
    (void)ctx;
    loop_want(l, control, POLLIN);
}

static void control_dispatch(void *ctx, struct loop *l)
{
    (void)ctx;
    if (!loop_revents(l, control))
        return;
    ssize_t got = recv(control, line + line_len, sizeof(line) - 1 - line_len, MSG_DONTWAIT);
    if (got <= 0)
        exit(0);
    line_len += (size_t)got;
    line[line_len] = '\0';
    char *end;
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        run_line(line);
        line_len -= (size_t)(end + 1 - line);
        memmove(line, end + 1, line_len + 1);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && str_eq(argv[1], "--rules")) {
        printf("rules pid=%d\n", (int)getpid());
        return 0;
    }
    if (argc > 2 && str_eq(argv[1], "quit"))
        return atoi(argv[2]);
    struct err e;
    guard = guard_link_new(&e);
    if (!guard)
        die(e.msg);
    struct loop *l = turns = loop_new();
    must(l != NULL);
    struct loop_source link = guard_link_source(guard);
    struct loop_source ctl = {
        .name = "control", .prepare = control_prepare, .dispatch = control_dispatch};
    loop_add(l, &link);
    loop_add(l, &ctl);
    control = connect_control();
    answer("hello");
    for (;;) {
        loop_turn(l, want_status ? 20 : 1000);
        page_beat(guard_link_page(guard), loop_now(l));
        if (guard_link_lost(guard))
            die("guard is gone");
        const struct link_status *s = guard_link_status(guard);
        if (want_status && s && s->done_seq == status_seq) {
            want_status = false;
            answer_status();
        } else if (want_status && s && s->done_seq != status_seq) {
            /* A task that ended meanwhile took the place of the answer. */
            status_seq = guard_link_request_status(guard, NULL);
        }
    }
}
