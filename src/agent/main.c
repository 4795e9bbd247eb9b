/* pghad-agent: started by guard; also prints what people and the build want to know. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "agent/flight.h"
#include "agent/rules.h"
#include "base/link.h"
#include "base/log.h"

extern char **environ;

static volatile sig_atomic_t hangup;

static void on_hangup(int sig)
{
    (void)sig;
    hangup = 1;
}

static int usage(FILE *f, int code)
{
    fputs("usage: pghad [--config FILE]\n"
          "       pghad --check-config [--config FILE] | --rules[=text|mermaid] | --print-config-sample\n"
          "             | --print-config-reference | --version | --help\n"
          "       pghad --replay RECORD | --record-text[=anew] RECORD\n",
          f);
    return code;
}

static int check_config(const char *file)
{
    struct config c = {0};
    struct err e = {0};
    struct config_sources s = {.file = file, .env = environ, .check_only = true};
    if (!config_load(&c, &s, &e)) {
        fprintf(stderr, "pghad: %s\n", e.msg);
        return 2;
    }
    config_done(&c);
    puts("the configuration is valid");
    return 0;
}

/* Without Kubernetes a pod's name is not insisted on; any setting of a cluster brings that back. */
static bool load(struct agent *a, const char *file, struct err *e)
{
    a->standalone = standalone_wanted();
    a->sources = (struct config_sources){
        .file = file, .env = environ, .check_only = a->standalone};
    if (!config_load(&a->cfg, &a->sources, e))
        return false;
    if (!a->standalone || standalone_possible(&a->cfg))
        return true;
    a->standalone = a->sources.check_only = false;
    return config_load(&a->cfg, &a->sources, e);
}

static void turn(struct agent *a)
{
    if (hangup) {
        struct err why = {0};
        hangup = 0;
        if (a->standalone)
            standalone_reload(a);
        else
            (void)agent_reload(a, &why);
    }
    if (a->standalone)
        standalone_turn(a);
    else
        agent_turn(a);
}

static int run(const char *file)
{
    static struct agent a;
    struct err e = {0};
    signal(SIGPIPE, SIG_IGN);
    if (!agent_base(&a, &e)) {
        log_event(LOG_ERROR, "agent-start-failed", e.msg);
        return 1;
    }
    if (!load(&a, file, &e)) {
        if (!a.standalone)
            return waiting_room(&a, file, &e);
        log_event(LOG_ERROR, "config-invalid", e.msg);
        return LINK_EXIT_CONFIG;
    }
    log_set_level((enum log_level)a.cfg.log.level);
    struct sigaction sa = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
    sigaction(SIGHUP, &sa, NULL);
    if (!(a.standalone ? agent_setup_standalone(&a, &e) : agent_setup(&a, &e))) {
        if (!a.standalone)
            return waiting_room(&a, file, &e);
        log_event(LOG_ERROR, "agent-start-failed", e.msg);
        return 1;
    }
    if (a.standalone)
        log_event(LOG_WARNING, "standalone", "there is no Kubernetes here: this is a plain single "
                  "server, without failover", LOG_S("version", PGHAD_VERSION));
    else
        log_event(LOG_INFO, "agent-start", "agent started", LOG_S("version", PGHAD_VERSION),
                  LOG_S("cluster", a.cfg.cluster.name), LOG_I("epoch", a.state.epoch));
    while (!guard_link_lost(a.link)) {
        loop_turn(a.loop, 1000);
        turn(&a);
    }
    return 1; /* nobody fences any more */
}

int main(int argc, char **argv)
{
    const char *file = NULL;
    log_setup("agent", LOG_INFO);
    bool check = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            file = argv[++i];
        else if (strcmp(argv[i], "--check-config") == 0)
            check = true;
        else if (strcmp(argv[i], "--rules") == 0 || strcmp(argv[i], "--rules=text") == 0)
            return rules_print_text(stdout);
        else if (strcmp(argv[i], "--rules=mermaid") == 0)
            return rules_print_mermaid(stdout);
        else if (strcmp(argv[i], "--print-config-sample") == 0)
            return config_print_sample(stdout), 0;
        else if (strcmp(argv[i], "--print-config-reference") == 0)
            return config_print_reference(stdout), 0;
        else if (strcmp(argv[i], "--replay") == 0 && i + 1 < argc)
            return flight_command_replay(argv[i + 1]);
        else if (strcmp(argv[i], "--record-text") == 0 && i + 1 < argc)
            return flight_command_text(argv[i + 1], false);
        else if (strcmp(argv[i], "--record-text=anew") == 0 && i + 1 < argc)
            return flight_command_text(argv[i + 1], true);
        else if (strcmp(argv[i], "--version") == 0)
            return puts("pghad " PGHAD_VERSION) < 0;
        else if (strcmp(argv[i], "--help") == 0)
            return usage(stdout, 0);
        else
            return usage(stderr, 2);
    }
    return check ? check_config(file) : run(file);
}
