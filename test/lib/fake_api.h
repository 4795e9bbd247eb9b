/* Whole hactl commands against a small API server in a child process: the test gives the answers, this
 * file the server, its kubeconfig and the run of a command line. One server at a time. */
#ifndef PGHAD_TEST_FAKE_API_H
#define PGHAD_TEST_FAKE_API_H

#include <arpa/inet.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "hactl/session.h"
#include "kube/record.h"

#define FAKE_CONNECTIONS 16
#define FAKE_BODY_MAX 16384
#define FAKE_WORDS_MAX 24

static struct {
    pid_t pid;
    int port;
    char dir[64], kubeconfig[96];
    char socket[96]; /* serves the same, as an agent's */
} fake;

/* Answers one request; false: the connection is closed without an answer. In the child. */
typedef bool fake_serve(int fd, const char *method, const char *path, const char *body);

static inline void answer(int fd, int status, const char *body)
{
    char head[160];
    int n = snprintf(head, sizeof(head),
                     "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                     status, strlen(body));

    if (write(fd, head, (size_t)n) < 0 || write(fd, body, strlen(body)) < 0)
        return;
}

static inline void answer_status(int fd, int code, const char *reason, const char *message)
{
    char body[256];

    snprintf(body, sizeof(body),
             "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"%s\","
             "\"reason\":\"%s\",\"code\":%d}",
             message, reason, code);
    answer(fd, code, body);
}

/* Three members pg-0 to pg-2, of which holder writes: the annotation of the Lease, as a string. */
static inline struct json_object *fake_record(int holder, bool sealed)
{
    struct record r = {.epoch = 4, .rev = 2, .w = 1, .timeline = 3, .n = 3};
    struct json_object *o;
    struct buf b;

    r.writer = (uint64_t)holder + 1;
    r.writer_epoch = 4;
    for (uint8_t i = 0; i < 3; i++) {
        r.m[i] = (struct record_member){.volume = i + 1U, .in_v = true, .flushed = {3, 0x5000000}};
        snprintf(r.m[i].name.s, sizeof(r.m[i].name.s), "pg-%d", i);
    }
    if (sealed) {
        r.w = 0;
        r.sealed = r.writer;
    }
    buf_init(&b, RECORD_JSON_MAX);
    if (!record_encode(&r, &b))
        _exit(1);
    o = json_object_new_string(buf_str(&b));
    buf_done(&b);
    return o;
}

/* --- the server, in the child --- */

struct fake_connection {
    int fd; /* -1 = free */
    char in[FAKE_BODY_MAX];
    size_t len;
};

/* Serves one complete request if there is one; false when the connection is to be closed. */
static inline bool fake_feed(struct fake_connection *c, fake_serve *serve)
{
    char method[8], path[512];
    ssize_t n = read(c->fd, c->in + c->len, sizeof(c->in) - 1 - c->len);

    if (n <= 0)
        return false;
    c->len += (size_t)n;
    c->in[c->len] = '\0';
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end)
        return true;
    char *cl = strcasestr(c->in, "content-length:");
    size_t want = cl && cl < end ? (size_t)strtoul(cl + 15, NULL, 10) : 0;
    if (c->len < (size_t)(end + 4 - c->in) + want)
        return true;
    if (sscanf(c->in, "%7s %511s", method, path) != 2)
        return false;
    c->len = 0;
    return serve(c->fd, method, path, end + 4);
}

static inline void fake_accept(struct fake_connection *conns, int listener)
{
    int fd = accept(listener, NULL, NULL);
    int slot = 0;

    while (slot < FAKE_CONNECTIONS && conns[slot].fd >= 0)
        slot++;
    if (slot == FAKE_CONNECTIONS) {
        close(fd);
    } else {
        conns[slot].fd = fd;
        conns[slot].len = 0;
    }
}

_Noreturn static inline void fake_server(const int listeners[2], fake_serve *serve)
{
    static struct fake_connection conns[FAKE_CONNECTIONS];
    struct pollfd p[FAKE_CONNECTIONS + 2];

    for (int i = 0; i < FAKE_CONNECTIONS; i++)
        conns[i].fd = -1;
    for (;;) {
        for (int i = 0; i < FAKE_CONNECTIONS; i++)
            p[i] = (struct pollfd){.fd = conns[i].fd, .events = POLLIN};
        for (int i = 0; i < 2; i++)
            p[FAKE_CONNECTIONS + i] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
        if (poll(p, FAKE_CONNECTIONS + 2, -1) < 0)
            _exit(1);
        for (int i = 0; i < FAKE_CONNECTIONS; i++) {
            if (conns[i].fd >= 0 && p[i].revents && !fake_feed(&conns[i], serve)) {
                close(conns[i].fd);
                conns[i].fd = -1;
            }
        }
        for (int i = 0; i < 2; i++)
            if (p[FAKE_CONNECTIONS + i].revents & POLLIN)
                fake_accept(conns, listeners[i]);
    }
}

/* --- the test's side --- */

static inline void fake_listen(int listeners[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(a);
    int fd = listeners[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 16) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    fake.port = ntohs(a.sin_port);
    snprintf(fake.socket, sizeof(fake.socket), "%s/agent.sock", fake.dir);
    snprintf(u.sun_path, sizeof(u.sun_path), "%.90s", fake.socket);
    fd = listeners[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&u, sizeof(u)) == 0 && listen(fd, 4) == 0);
}

static inline void fake_write_kubeconfig(void)
{
    FILE *f;

    snprintf(fake.kubeconfig, sizeof(fake.kubeconfig), "%s/config", fake.dir);
    assert_non_null(f = fopen(fake.kubeconfig, "w"));
    fprintf(f,
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
            "clusters:\n- name: k\n  cluster:\n    server: http://127.0.0.1:%d\n"
            "users:\n- name: u\n  user:\n    token: secret-token\n"
            "contexts:\n- name: c\n  context:\n    cluster: k\n    user: u\n    namespace: db\n",
            fake.port);
    fclose(f);
}

/* init, in the child before the first request; NULL = nothing to do. */
static inline void fake_start(void (*init)(int script), int script, fake_serve *serve)
{
    int listeners[2];
    pid_t parent = getpid();

    snprintf(fake.dir, sizeof(fake.dir), "/tmp/hactl-test-XXXXXX");
    assert_non_null(mkdtemp(fake.dir));
    fake_listen(listeners);
    fake_write_kubeconfig();
    fake.pid = fork();
    if (fake.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        if (init)
            init(script);
        fake_server(listeners, serve);
    }
    assert_true(fake.pid > 0);
    close(listeners[0]);
    close(listeners[1]);
}

static inline void fake_stop(void)
{
    if (fake.pid > 0) {
        kill(fake.pid, SIGKILL);
        waitpid(fake.pid, NULL, 0);
    }
    unlink(fake.kubeconfig);
    unlink(fake.socket);
    rmdir(fake.dir);
    fake.pid = 0;
}

static char *out, *err; /* what the last command said; freed by the next one and hactl_forget() */

static inline void hactl_forget(void)
{
    free(out);
    free(err);
    out = err = NULL;
}

/* Words are separated by blanks. kubeconfig: NULL = none is given. Input is empty. */
static inline int hactl_line(const char *kubeconfig, const char *line)
{
    char copy[256], file[96], program[] = "hactl", option[] = "--kubeconfig";
    char *argv[FAKE_WORDS_MAX] = {program, option, file};
    int argc = kubeconfig ? 3 : 1, rc;
    size_t n;
    FILE *in = fopen("/dev/null", "r"), *o, *e;

    hactl_forget();
    o = open_memstream(&out, &n);
    e = open_memstream(&err, &n);
    assert_true(in && o && e && strlen(line) < sizeof(copy));
    snprintf(file, sizeof(file), "%s", kubeconfig ? kubeconfig : "");
    memcpy(copy, line, strlen(line) + 1);
    for (char *p = copy; *p && argc < FAKE_WORDS_MAX - 1;) {
        argv[argc++] = p;
        p += strcspn(p, " ");
        if (*p)
            *p++ = '\0';
    }
    argv[argc] = NULL;
    rc = hactl_run(argc, argv, in, o, e);
    fclose(in);
    fclose(o);
    fclose(e);
    return rc;
}

#define EXPECT(line, code)                                                                         \
    do {                                                                                           \
        int rc_ = hactl_line(fake.kubeconfig, line);                                               \
        if (rc_ != (code))                                                                         \
            fail_msg("%s: exit %d instead of %d\n%s%s", line, rc_, (int)(code), out, err);         \
    } while (0)
#define SAYS(stream, text)                                                                         \
    do {                                                                                           \
        if (!strstr(stream, text))                                                                 \
            fail_msg("not said: %s\n%s%s", text, out, err);                                        \
    } while (0)

#endif
