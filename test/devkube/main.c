/* devkube: a Kubernetes API server for tests and the demo. It keeps everything in memory, serves
 * what a cluster of PostgreSQL members uses, and misbehaves on request. Not for production. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "devkube/server.h"

#define PEM_MAX ((size_t)1 << 20)

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
    (void)sig;
    stop = 1;
}

static const char usage[] =
    "usage: devkube [options]\n"
    "  --listen ADDR:PORT     the API (default 127.0.0.1:0: any free port)\n"
    "  --control ADDR:PORT    plain HTTP listener that an outage does not touch\n"
    "  --port-file F          write the API's port there\n"
    "  --control-port-file F  write the control listener's port there\n"
    "  --token-file F         lines \"token user namespace\", namespace * for all; without it a\n"
    "                         token is the user's name and everybody may do everything\n"
    "  --tls-cert F, --tls-key F  PEM files: serve HTTPS\n"
    "  --history N            changes kept per resource for watches (default 1000)\n"
    "  --log N                lease writes kept for /devkube/log (default 20000)\n"
    "  --bookmark-ms N        interval of bookmarks (default 60000)\n";

struct flags {
    struct server_options so;
    const char *port_file;
    const char *control_port_file;
    const char *token_file;
    const char *cert_file;
    const char *key_file;
};

static bool parse_count(const char *text, int64_t max, int64_t *ret)
{
    if (str_to_i64(text, 1, max, ret))
        return true;
    fprintf(stderr, "devkube: \"%s\" is not a number from 1 to %lld\n", text, (long long)max);
    return false;
}

static bool parse_flags(int argc, char **argv, struct flags *f)
{
    static const struct option longs[] = {
        {"listen", required_argument, NULL, 'l'},
        {"control", required_argument, NULL, 'c'},
        {"port-file", required_argument, NULL, 'p'},
        {"control-port-file", required_argument, NULL, 'P'},
        {"token-file", required_argument, NULL, 't'},
        {"tls-cert", required_argument, NULL, 'C'},
        {"tls-key", required_argument, NULL, 'K'},
        {"history", required_argument, NULL, 'h'},
        {"log", required_argument, NULL, 'L'},
        {"bookmark-ms", required_argument, NULL, 'b'},
        {NULL, 0, NULL, 0},
    };
    int c;
    int64_t n = 1;
    bool ok = true;
    while (ok && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'l':
            f->so.listen = optarg;
            break;
        case 'c':
            f->so.control = optarg;
            break;
        case 'p':
            f->port_file = optarg;
            break;
        case 'P':
            f->control_port_file = optarg;
            break;
        case 't':
            f->token_file = optarg;
            break;
        case 'C':
            f->cert_file = optarg;
            break;
        case 'K':
            f->key_file = optarg;
            break;
        case 'h':
            ok = parse_count(optarg, 1000000, &n);
            f->so.history = (size_t)n;
            break;
        case 'L':
            ok = parse_count(optarg, 10000000, &n);
            f->so.log_max = (size_t)n;
            break;
        case 'b':
            ok = parse_count(optarg, INT32_MAX, &f->so.bookmark_ms);
            break;
        default:
            ok = false;
            break;
        }
    }
    return ok && optind == argc && !f->cert_file == !f->key_file;
}

static bool write_port(const char *path, int port, struct err *e)
{
    char text[16];
    if (!path)
        return true;
    str_format(text, sizeof(text), "%d\n", port);
    return fd_replace_file(path, text, strlen(text), 0644, e);
}

static bool announce(const struct server *sv, const struct flags *f, struct err *e)
{
    const char *colon = strrchr(f->so.listen, ':');
    if (!write_port(f->port_file, server_port(sv, false), e) ||
        !write_port(f->control_port_file, server_port(sv, true), e))
        return false;
    printf("listening on %s://%.*s:%d\n", f->so.tls_cert ? "https" : "http",
           (int)(colon - f->so.listen), f->so.listen, server_port(sv, false));
    if (f->so.control) {
        colon = strrchr(f->so.control, ':');
        printf("control on http://%.*s:%d\n", (int)(colon - f->so.control), f->so.control,
               server_port(sv, true));
    }
    fflush(stdout);
    return true;
}

static bool run(struct flags *f, struct err *e)
{
    bool ok = false;
    struct buf cert, key;
    struct server *sv = NULL;
    struct users *users = NULL;
    buf_init(&cert, PEM_MAX);
    buf_init(&key, PEM_MAX);
    if (f->cert_file &&
        (!fd_read_file(f->cert_file, &cert, e) || !fd_read_file(f->key_file, &key, e)))
        goto out;
    if (f->cert_file) {
        f->so.tls_cert = buf_str(&cert);
        f->so.tls_key = buf_str(&key);
    }
    if (!(users = users_new(f->token_file, e)))
        goto out;
    f->so.users = users;
    sv = server_new(&f->so, e);
    ok = sv && announce(sv, f, e);
    if (ok)
        server_run(sv, &stop);
out:
    server_free(sv);
    users_free(users);
    buf_done(&cert);
    buf_done(&key);
    return ok;
}

int main(int argc, char **argv)
{
    struct err e;
    struct flags f = {.so = {.listen = "127.0.0.1:0",
                             .history = 1000,
                             .log_max = 20000,
                             .bookmark_ms = 60000}};
    if (!parse_flags(argc, argv, &f)) {
        fputs(usage, stderr);
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    sa.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &sa, NULL);
    if (run(&f, &e))
        return 0;
    fprintf(stderr, "devkube: %s\n", e.msg);
    return 1;
}
