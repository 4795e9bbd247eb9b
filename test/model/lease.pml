/* The lease: who may write, and when that ends.
 *
 * Time is an order. A right, a round of promises and a write on its way begin at the instant before
 * their request was sent; a count and a promise begin when something was received. All the timing
 * that the protocol relies on is: a right that began before a count or a promise began has ended when
 * that ends (T_S / (1 - rho) + T_K < T_L / (1 + rho)). For each such pair one bit says which began
 * first, and a count or promise may end at any time once no older right lives. That covers every
 * drift within rho and every delay. A right may end at any time, too.
 *
 * One atomic step is one thing that happens at one place. A view that is not current can do no harm
 * (every write but a POST names the version that it was made from), so of a view only this is kept:
 * whether it is current, whom it showed as holder, and which list.
 *
 * Invariant 1 of the design: at most one right lives. Further checks: creation and reading give no
 * right (by construction of reply), a lapse is final.
 *
 * Bounds: -DN -DEPOCHS -DCRASHES -DRESTARTS -DRELEASES -DDELETES -DLISTS -DRESTORES -DFAILSAFE. */

#ifndef N
#define N 2
#endif
#ifndef EPOCHS
#define EPOCHS 2
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef RESTARTS
#define RESTARTS 0
#endif
#ifndef RELEASES
#define RELEASES 0
#endif
#ifndef DELETES
#define DELETES 0
#endif
#ifndef LISTS
#define LISTS 0
#endif
#ifndef RESTORES
#define RESTORES 0
#endif
#ifndef FAILSAFE
#define FAILSAFE 0
#endif

#define NOBODY 6
#define UNKNOWN 7
#define bit(j) (1 << (j))
#define has(m, j) (((m) >> (j)) & 1)
#define ALL ((1 << N) - 1)
#define BEGIN_LIST (LISTS > 0 -> 1 : ALL)

/* kinds of write */
#define RENEW 1
#define WIDEN 2   /* a renewal that adds a member to the list */
#define ACQUIRE 3
#define TAKEOVER 4
#define RELEASE 5
#define POST 6
#define ADOPT 7

/* the Lease, and what the ConfigMap remembers of it */
bool exists = 1;
byte holder = 0;
bool hnow = 1;      /* holder is the present incarnation of that pod */
byte epoch = 1;
byte list;
bool rel;           /* released, by: */
byte relby;
byte cmepoch = 1;
byte cmlist;
/* an old copy, for a restore */
bool kept;
byte kholder, kepoch, klist;
bool khnow;

/* members */
bool vnow[N];       /* the view is current */
byte vh[N] = UNKNOWN;
byte vlist[N];
bool counted[N];
byte prom[N] = UNKNOWN;
bool right[N], proven[N], zombie[N], stopped[N];
bool round[N];
byte given[N];      /* promises of this round */
byte wider[N];      /* lists in writes whose outcome is open */
byte put[N];
bool pnow[N], pok[N], pno[N], pdead[N];
byte late[N];
bool lnow[N], lold[N], lbefore[N];
/* orders: bit j of XY[i] = X of i began before Y of j began */
byte RC[N], RP[N], SC[N], SP[N], QC[N], QP[N];

byte crashes, restarts, releases, deletes, lists, restores;
hidden byte k, tmp, tmp2, tmp3;

#define foreign (exists && epoch < cmepoch)
#ifdef RESTORED_BELIEVED
#define sane 1
#else
#define sane (!foreign)
#endif
#define mine(i) (vnow[i] && exists && holder == i && hnow && sane)

inline nothing_current()
{
    for (k : 0 .. N - 1) {
        vnow[k] = 0;
        pnow[k] = 0;
        lnow[k] = 0;
        if
        :: late[k] != 0 && late[k] != POST -> late[k] = 0; lold[k] = 0; lbefore[k] = 0
        :: else
        fi
    };
    k = 0
}

inline count_begins(j)
{
    counted[j] = 0;
    for (k : 0 .. N - 1) {
        if :: right[k] -> RC[k] = RC[k] | bit(j) :: else fi;
        if :: put[k] != 0 -> SC[k] = SC[k] | bit(j) :: else fi;
        if :: round[k] -> QC[k] = QC[k] | bit(j) :: else fi
    };
    k = 0
}

inline promise_begins(j)
{
    for (k : 0 .. N - 1) {
        if :: right[k] -> RP[k] = RP[k] | bit(j) :: else fi;
        if :: put[k] != 0 -> SP[k] = SP[k] | bit(j) :: else fi;
        if :: round[k] -> QP[k] = QP[k] | bit(j) :: else fi
    };
    k = 0
}

inline right_ends(i)
{
    right[i] = 0;
    zombie[i] = 0;
    stopped[i] = 0;
    RC[i] = 0;
    RP[i] = 0
}

inline round_ends(i)
{
    round[i] = 0;
    given[i] = 0;
    QC[i] = 0;
    QP[i] = 0
}

inline one_writer()
{
    tmp = 0;
    for (k : 0 .. N - 1) {
        if :: right[k] && !stopped[k] -> tmp++ :: else fi
    }
    assert(tmp <= 1) /* invariant 1: one writer */
}

inline send(i, kind)
{
    put[i] = kind;
    pnow[i] = 1;
    pok[i] = 0;
    pno[i] = 0;
    pdead[i] = 0;
    SC[i] = 0;
    SP[i] = 0;
    if
    :: kind == WIDEN -> wider[i] = ALL
    :: else
    fi
}

inline put_ends(i)
{
    put[i] = 0;
    pnow[i] = 0;
    pok[i] = 0;
    pno[i] = 0;
    pdead[i] = 0;
    SC[i] = 0;
    SP[i] = 0
}

/* What a write of this kind makes of the Lease that it was based on. */
inline write(i, kind, old)
{
    nothing_current();
    if
    :: kind == RENEW || kind == TAKEOVER || kind == ADOPT ->
        holder = i; hnow = !old; rel = 0; relby = 0;
        if
        :: kind == ADOPT -> list = vlist[i] | wider[i]; if :: epoch < cmepoch -> epoch = cmepoch :: else fi
        :: else
        fi
    :: kind == WIDEN -> holder = i; hnow = !old; list = ALL
    :: kind == ACQUIRE ->
        holder = i; hnow = !old; rel = 0; relby = 0;
        epoch = (epoch > cmepoch -> epoch : cmepoch) + 1;
        if :: list == 0 -> list = cmlist :: else fi
    :: kind == RELEASE -> holder = NOBODY; hnow = 0; rel = 1; relby = i
    :: kind == POST ->
        exists = 1; rel = 0; relby = 0; list = 0; epoch = 0;
#ifdef CREATE_HOLDS
        holder = i; hnow = !old; epoch = cmepoch + 1; list = cmlist
#else
        holder = NOBODY; hnow = 0
#endif
    fi
}

inline see(j)
{
#ifdef PERSISTED_COUNT
    tmp = vh[j];
#endif
    vnow[j] = 1;
    vh[j] = (exists -> holder : NOBODY);
    if :: list != 0 -> vlist[j] = list :: else fi; /* each keeps a durable copy */
#if defined(KEEP_COUNT)
    if :: counted[j] :: else -> count_begins(j) fi;
#elif defined(PERSISTED_COUNT)
    if :: counted[j] && tmp == UNKNOWN :: else -> count_begins(j) fi;
#else
    count_begins(j);
#endif
    if
    :: exists && rel && holder == NOBODY && (prom[j] == relby) -> prom[j] = UNKNOWN
    :: else
    fi
}

/* The process forgets; what it sent stays on its way. */
inline forget(i, dies)
{
    if
    :: put[i] != 0 && !pok[i] && !pno[i] && late[i] == 0 && (put[i] == POST || pnow[i]) ->
        late[i] = put[i]; lnow[i] = pnow[i]; lold[i] = dies; lbefore[i] = 1
    :: else -> if :: late[i] != 0 -> lbefore[i] = 1; lold[i] = (lold[i] | dies) :: else fi
    fi;
    put_ends(i);
    round_ends(i);
    vnow[i] = 0;
    vh[i] = UNKNOWN;
    wider[i] = 0;
    prom[i] = UNKNOWN;
    proven[i] = 0;
#ifndef PERSISTED_COUNT
    counted[i] = 0;
#endif
    for (k : 0 .. N - 1) {
        RC[k] = RC[k] & ~bit(i); RP[k] = RP[k] & ~bit(i); SC[k] = SC[k] & ~bit(i);
        SP[k] = SP[k] & ~bit(i); QC[k] = QC[k] & ~bit(i); QP[k] = QP[k] & ~bit(i)
    };
    k = 0
}

#ifdef UNLISTED
#define listed(j) 1
#else
#define listed(j) has(list == 0 -> cmlist : list, j)
#endif
#ifdef PROMISE_IGNORED
#define unpromised(j) 1
#else
#define unpromised(j) (prom[j] == UNKNOWN)
#endif
#ifdef GONE_IS_FREE
#define absent_counts(j) (counted[j] || holder == NOBODY)
#else
#define absent_counts(j) counted[j]
#endif
#ifdef NO_LOCK
#define locked(j) 1
#else
#define locked(j) (!zombie[j])
#endif
#ifdef PROMISE_WHILE_ACQUIRING
#define may_promise(j) 1
#else
#define may_promise(j) (put[j] != ACQUIRE && put[j] != TAKEOVER && \
                        !(late[j] == ACQUIRE && !lbefore[j]) && !(late[j] == TAKEOVER && !lbefore[j]))
#endif
#ifdef LAPSE_REVIVED
#define unlapsed(i) 1
#else
#define unlapsed(i) right[i]
#endif
#ifdef NO_UNION
#define asked(i) vlist[i]
#else
#define asked(i) (vlist[i] | wider[i])
#endif
#ifdef UNPROVEN
#define may_ask(i) (vh[i] == i)
#else
#define may_ask(i) proven[i]
#endif

#if defined(USE_AFTER_PROMISE) || defined(PROMISE_IGNORED)
#define PROMISED(i)
#else
#define PROMISED(i) && prom[i] == UNKNOWN
#endif

/* Each member can do this. */
#define MEMBER(i) \
    :: d_step { !vnow[i] && put[i] == 0 -> see(i) } \
    :: d_step { mine(i) && epoch > cmepoch -> cmepoch = epoch } \
    :: d_step { mine(i) && epoch <= cmepoch && put[i] == 0 && !zombie[i] -> send(i, RENEW) } \
    :: d_step { LISTS && mine(i) && put[i] == 0 && !zombie[i] && list != ALL && lists < LISTS -> \
        lists++; send(i, WIDEN) } \
    :: d_step { vnow[i] && exists && put[i] == 0 && locked(i) && listed(i) && unpromised(i) && \
        epoch < EPOCHS && cmepoch < EPOCHS && !(holder == i && hnow && sane) && \
        ((rel && holder == NOBODY && sane) || absent_counts(i)) -> \
        right_check(i); send(i, ACQUIRE) } \
    :: d_step { vnow[i] && exists && holder == i && !hnow && sane && put[i] == 0 && locked(i) && \
        epoch <= cmepoch -> \
        send(i, TAKEOVER) } \
    :: d_step { releases < RELEASES && mine(i) && put[i] == 0 && !zombie[i] -> \
        releases++; forfeit(i); send(i, RELEASE) } \
    :: d_step { right[i] && !zombie[i] && !stopped[i] && vnow[i] && exists && put[i] == 0 && \
        (holder == NOBODY) -> send(i, ADOPT) } \
    :: d_step { DELETES && vnow[i] && !exists && put[i] == 0 && has(cmlist, i) -> send(i, POST) } \
    :: d_step { right[i] -> right_ends(i) } \
    :: d_step { !counted[i] && vnow[i] && no_older(i) -> count_ends(i) } \
    /* the API server: applies, refuses */ \
    :: d_step { put[i] != 0 && !pok[i] && !pno[i] -> \
        if \
        :: (put[i] == POST && !exists) || (put[i] != POST && exists && pnow[i]) -> \
            write(i, put[i], 0); pok[i] = 1; pnow[i] = 1 \
        :: else -> pno[i] = 1; pnow[i] = 0 \
        fi } \
    :: d_step { late[i] != 0 && ((late[i] == POST && !exists) || (late[i] != POST && lnow[i])) -> \
        tmp2 = late[i]; tmp3 = lold[i]; late[i] = 0; lnow[i] = 0; lold[i] = 0; lbefore[i] = 0; \
        write(i, tmp2, tmp3) } \
    :: d_step { late[i] != 0 -> late[i] = 0; lnow[i] = 0; lold[i] = 0; lbefore[i] = 0 } \
    /* the reply arrives, or the request is given up */ \
    :: d_step { put[i] != 0 && pok[i] -> reply(i) } \
    :: d_step { put[i] != 0 && pno[i] -> put_ends(i) } \
    :: d_step { put[i] != 0 && (pok[i] || pno[i] || late[i] == 0) -> \
        if \
        :: !pok[i] && !pno[i] && (put[i] == POST || pnow[i]) -> \
            late[i] = put[i]; lnow[i] = pnow[i]; lold[i] = 0; lbefore[i] = 0 \
        :: else \
        fi; \
        stopped[i] = 0; one_writer(); put_ends(i) } \
    /* faults of this member */ \
    :: d_step { crashes < CRASHES -> crashes++; forget(i, 1); right_ends(i); gone(i) } \
    :: d_step { ZOMBIES && crashes < CRASHES && right[i] && !zombie[i] -> \
        crashes++; forget(i, 1); zombie[i] = 1; gone(i) } \
    :: d_step { restarts < RESTARTS -> restarts++; forget(i, 0) } \
    GETS(i) FAILS(i)

#ifndef ZOMBIES
#define ZOMBIES 1
#endif

#ifdef GET_RIGHT
#define GETS(i) :: d_step { mine(i) && !right[i] -> right[i] = 1; RC[i] = 0; RP[i] = 0; one_writer() }
#else
#define GETS(i)
#endif

#if FAILSAFE
#define FAILS(i) \
    :: d_step { right[i] && !zombie[i] && !round[i] && may_ask(i) -> \
        round[i] = 1; given[i] = 0; QC[i] = 0; QP[i] = 0 } \
    :: d_step { round[i] && unlapsed(i) && ((asked(i) & ~(given[i] | bit(i))) == 0) -> \
        right[i] = 1; RC[i] = QC[i]; RP[i] = QP[i]; round_ends(i); one_writer() } \
    :: d_step { round[i] && (!right[i] KEEP_ROUND) -> round_ends(i) } \
    :: d_step { prom[i] != UNKNOWN && no_older_promise(i) -> promise_over(i) }
#else
#define FAILS(i)
#endif
#ifdef LAPSE_REVIVED
#define KEEP_ROUND && 0
#else
#define KEEP_ROUND
#endif

#define PAIR(i, j) \
    :: d_step { FAILSAFE && round[i] && !has(given[i], j) && !(right[j]) && may_promise(j) && \
        (prom[j] == UNKNOWN || prom[j] == i) && (vh[j] == i || vh[j] == UNKNOWN) -> \
        prom[j] = i; promise_begins(j); given[i] = given[i] | bit(j) }

#if N == 2
#define older_right(Z, j) ((right[0] && has(Z[0], j)) || (right[1] && has(Z[1], j)))
#else
#define older_right(Z, j) ((right[0] && has(Z[0], j)) || (right[1] && has(Z[1], j)) || \
                           (right[2] && has(Z[2], j)))
#endif
#ifdef OWN_DURATION /* member 1 counts a T_L that is shorter than the holder's */
#define no_older(j) (j == 1 || !older_right(RC, j))
#else
#define no_older(j) (!older_right(RC, j))
#endif
#define no_older_promise(j) (!older_right(RP, j))

/* What began earlier has ended: a reply or a full round that is still on its way comes too late. */
inline count_ends(j)
{
    counted[j] = 1;
    for (k : 0 .. N - 1) {
        if :: has(SC[k], j) -> pdead[k] = 1 :: else fi;
#ifndef LAPSE_REVIVED
        if :: has(QC[k], j) -> round_ends(k) :: else fi;
#endif
        RC[k] = RC[k] & ~bit(j); SC[k] = SC[k] & ~bit(j); QC[k] = QC[k] & ~bit(j)
    };
    k = 0
}

inline promise_over(j)
{
    prom[j] = UNKNOWN;
    for (k : 0 .. N - 1) {
        if :: has(SP[k], j) -> pdead[k] = 1 :: else fi;
#ifndef LAPSE_REVIVED
        if :: has(QP[k], j) -> round_ends(k) :: else fi;
#endif
        RP[k] = RP[k] & ~bit(j); SP[k] = SP[k] & ~bit(j); QP[k] = QP[k] & ~bit(j)
    };
    k = 0
}

inline forfeit(i)
{
#ifdef NO_FORFEIT
    stopped[i] = right[i];
#else
    right_ends(i);
#endif
    round_ends(i)
}

inline right_check(i)
{
    right_ends(i); /* a new epoch ends the right of an older one */
    round_ends(i)
}

inline gone(i)
{
    stopped[i] = 0;
    if
    :: holder == i -> hnow = 0
    :: else
    fi;
    if
    :: kholder == i -> khnow = 0
    :: else
    fi
}

inline reply(i)
{
    if
    :: pnow[i] -> see(i)
    :: else
    fi;
    if
    :: put[i] == RELEASE -> right_ends(i); round_ends(i)
    :: put[i] == POST -> skip
    /* The first compare-and-swap of an election makes no writer: the second does, as a renewal
     * that is sent once the ConfigMap has the epoch. */
    :: put[i] == ACQUIRE -> if :: pnow[i] -> wider[i] = 0 :: else fi; proven[i] = 1
    :: else ->
        if
        :: pnow[i] || holder == i -> wider[i] = 0
        :: else
        fi;
        if
        :: list != 0 && pnow[i] -> cmlist = list; vlist[i] = list
        :: else
        fi;
#ifdef FROM_RECEIPT
        if
        :: 1 -> right[i] = 1; proven[i] = 1; RC[i] = 0; RP[i] = 0
#else
        if
        :: !pdead[i] PROMISED(i) ->
            assert(!zombie[i]); /* invariant 10: the older incarnation's server is gone */
            right[i] = 1; proven[i] = 1; RC[i] = SC[i]; RP[i] = SP[i]
#endif
        :: else
        fi
    fi;
#ifdef CREATE_HOLDS
    if
    :: put[i] == POST -> right[i] = 1; RC[i] = SC[i]; RP[i] = SP[i]
    :: else
    fi;
#endif
    put_ends(i);
    one_writer()
}

init {
    d_step {
        list = BEGIN_LIST;
        cmlist = BEGIN_LIST;
        right[0] = 1;
        proven[0] = 1;
        for (k : 0 .. N - 1) {
            vnow[k] = 1;
            vh[k] = 0;
            vlist[k] = BEGIN_LIST;
            prom[k] = UNKNOWN
        }
        RC[0] = ALL;
        kholder = UNKNOWN
    };
    do
    MEMBER(0)
    MEMBER(1)
    PAIR(0, 1)
    PAIR(1, 0)
#if N == 3
    MEMBER(2)
    PAIR(0, 2)
    PAIR(1, 2)
    PAIR(2, 0)
    PAIR(2, 1)
#endif
    /* somebody deletes the Lease, empties it, or puts an old copy back */
    :: d_step { exists && deletes < DELETES ->
        deletes++; nothing_current(); exists = 0; holder = NOBODY; hnow = 0; rel = 0; relby = 0;
        list = 0; epoch = 0 }
    :: d_step { exists && deletes < DELETES && holder != NOBODY ->
        deletes++; nothing_current(); holder = NOBODY; hnow = 0; rel = 0; relby = 0 }
    :: d_step { RESTORES && !kept && exists && holder < N ->
        kept = 1; kholder = holder; khnow = hnow; kepoch = epoch; klist = list }
    :: d_step { kept && restores < RESTORES ->
        restores++; nothing_current(); exists = 1; holder = kholder; hnow = khnow; epoch = kepoch;
        list = klist; rel = 0; relby = 0; kept = 0; kholder = UNKNOWN; khnow = 0; kepoch = 0;
        klist = 0 }
    od
}
