/* pghad_gate: the commit gate, a library that PostgreSQL preloads; one build per major version.
 *
 * Guard's fence page is mapped read-only in the postmaster, so every backend has it. At each commit
 * event, with or without an xid, a backend compares the page's deadline with CLOCK_BOOTTIME:
 *
 *   before the record   the session ends (FATAL), nothing was committed
 *   after the record    the process ends without a word, for the client must not hear of a commit
 *                       that nobody else may ever see; PostgreSQL takes that for a crash, and all
 *                       backends go with it, which is due anyway
 *
 * COMMIT PREPARED writes its record before any event of its own transaction, so it is looked at in
 * ProcessUtility. Workers of a parallel query write no commit record and answer no client, although
 * transactions set them up: their leader is looked at. Autovacuum is left alone: it answers nobody.
 *
 * The page counts only while its writable mark is set, which the agent does before it promotes and
 * guard undoes after the last server process: a standby, a server without right (outside of
 * Kubernetes) and one that was started by hand, without a page, run as if the library were absent. */
#include <postgres.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <access/parallel.h>
#include <access/transam.h>
#include <access/xact.h>
#include <access/xlog.h>
#include <fmgr.h>
#include <miscadmin.h>
#include <nodes/parsenodes.h>
#include <postmaster/autovacuum.h>
#include <tcop/utility.h>
#include <utils/guc.h>

#include "base/page.h"

PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);

/* Neither 0 nor 1: those are clean ends to the postmaster, and shared memory would keep the traces of
 * a process that has released nothing. */
#define EXIT_UNTOLD 2

static const struct fence_page *page; /* NULL: no guard */
static ProcessUtility_hook_type next_utility;
static bool page_found; /* pghad_gate.active */
static bool strict;     /* pghad_gate.strict */
static bool second_phase; /* this transaction runs or has run COMMIT or ROLLBACK PREPARED */

static bool is_autovacuum(void)
{
#if PG_VERSION_NUM >= 170000
    return AmAutoVacuumWorkerProcess() || AmAutoVacuumLauncherProcess();
#else
    return IsAutoVacuumWorkerProcess() || IsAutoVacuumLauncherProcess();
#endif
}

/* The deadline is read before the clock: a process that is stopped between the two sees it as passed. */
static bool is_overdue(void)
{
    struct timespec now;
    if (page == NULL || atomic_load(&page->writable) == 0)
        return false;
    int64_t deadline_ms = atomic_load(&page->deadline_ms);
    if (clock_gettime(CLOCK_BOOTTIME, &now) == 0 &&
        (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 < deadline_ms)
        return false;
    return !is_autovacuum() && !IsParallelWorker() && !RecoveryInProgress();
}

pg_attribute_noreturn() static void refuse(void)
{
    ereport(FATAL, (errcode(ERRCODE_ADMIN_SHUTDOWN),
                    errmsg("this server has no right to commit any more: its lease has run out"),
                    errdetail("This transaction was not committed."),
                    errhint("Another server may be the primary by now; connect anew.")));
    pg_unreachable();
}

pg_attribute_noreturn() static void leave(void)
{
    ereport(LOG_SERVER_ONLY,
            (errmsg("the lease ran out before a finished transaction was answered"),
             errdetail("The client is not told, and the server ends as after a crash.")));
    _exit(EXIT_UNTOLD);
}

/* Waiting for the standbys may be given up by whoever commits; in strict mode it must not be. */
static void insist_on_waiting(void)
{
    if (!strict || synchronous_commit >= SYNCHRONOUS_COMMIT_ON || is_autovacuum())
        return;
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("a commit that does not wait for the standbys is refused in strict mode"),
                    errhint("SET synchronous_commit TO on; replication.strict of the cluster asks for "
                            "it.")));
}

static void on_xact(XactEvent event, void *arg)
{
    (void)arg;
    switch (event) {
    case XACT_EVENT_PRE_COMMIT:
    case XACT_EVENT_PRE_PREPARE:
        if (is_overdue()) {
            if (second_phase)
                leave(); /* what it finished is on disk already */
            refuse();
        }
        if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
            insist_on_waiting();
        break;
    case XACT_EVENT_COMMIT:
    case XACT_EVENT_PREPARE:
        second_phase = false;
        if (is_overdue())
            leave();
        break;
    case XACT_EVENT_ABORT:
        second_phase = false;
        break;
    case XACT_EVENT_PARALLEL_PRE_COMMIT:
    case XACT_EVENT_PARALLEL_COMMIT:
    case XACT_EVENT_PARALLEL_ABORT:
        break;
    }
}

static bool finishes_prepared(const Node *n)
{
    if (n == NULL || !IsA(n, TransactionStmt))
        return false;
    TransactionStmtKind kind = ((const TransactionStmt *)n)->kind;
    return kind == TRANS_STMT_COMMIT_PREPARED || kind == TRANS_STMT_ROLLBACK_PREPARED;
}

static void on_utility(PlannedStmt *stmt, const char *text, bool read_only_tree,
                       ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *env,
                       DestReceiver *dest, QueryCompletion *done)
{
    bool finishes = finishes_prepared(stmt->utilityStmt);
    if (finishes) {
        if (is_overdue())
            refuse();
        insist_on_waiting();
        second_phase = true;
    }
    if (next_utility != NULL)
        next_utility(stmt, text, read_only_tree, context, params, env, dest, done);
    else
        standard_ProcessUtility(stmt, text, read_only_tree, context, params, env, dest, done);
    if (finishes && is_overdue())
        leave();
}

/* The page of guard, whose descriptor came with the environment; NULL when there is none. Both end
 * here: nobody below the server has any use for them. */
static const struct fence_page *find_page(void)
{
    const char *text = getenv(PAGE_ENV_SERVER_FD);
    struct stat st;
    if (text == NULL)
        return NULL;
    int fd = (int)strtol(text, NULL, 10);
    (void)unsetenv(PAGE_ENV_SERVER_FD);
    if (fd <= STDERR_FILENO || fstat(fd, &st) != 0 || st.st_size != PAGE_BYTES) {
        ereport(WARNING, (errmsg("the commit gate is not active: descriptor %d is no fence page", fd)));
        return NULL;
    }
    void *at = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    const char *why = at == MAP_FAILED ? strerror(errno) : "";
    (void)close(fd);
    if (at == MAP_FAILED) {
        ereport(WARNING, (errmsg("the commit gate is not active: fence page: %s", why)));
        return NULL;
    }
    const struct fence_page *p = at;
    if (p->magic == PAGE_MAGIC && p->version == PAGE_VERSION)
        return p;
    ereport(WARNING, (errmsg("the commit gate is not active: the fence page is of another version")));
    (void)munmap(at, PAGE_BYTES);
    return NULL;
}

void _PG_init(void)
{
    /* Later, in one session alone, it would hold nobody else. */
    if (!process_shared_preload_libraries_in_progress)
        return;
    page = find_page();
    page_found = page != NULL;
    DefineCustomBoolVariable("pghad_gate.active", "Whether commits end with the lease.", NULL,
                             &page_found, page_found, PGC_INTERNAL, GUC_NOT_IN_SAMPLE, NULL, NULL,
                             NULL);
    DefineCustomBoolVariable("pghad_gate.strict",
                             "Refuses commits with synchronous_commit below on.", NULL, &strict,
                             false, PGC_SUSET, 0, NULL, NULL, NULL);
    MarkGUCPrefixReserved("pghad_gate");
    RegisterXactCallback(on_xact, NULL);
    next_utility = ProcessUtility_hook;
    ProcessUtility_hook = on_utility;
}
