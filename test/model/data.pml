/* The data: who acknowledged what, and who may promote.
 *
 * Nothing is fenced here: a deposed primary runs on for ever, a deposed candidate that was recorded
 * as writer may still promote. What protects the data is vote, order, record and barrier alone.
 *
 * Timeline numbers are unique (checked), so a record is known by its place and its timeline, and two
 * logs that agree in one place agree in all before it. A log is the timelines of its records.
 *
 * Invariant 2: every record that was acknowledged, or that clients could read, is on the latest
 * writer. 6: the timeline is new and the greatest of the sufficient reports promotes; with all of
 * them in, somebody may. 8: after a loss that the promise covers, a usable copy is left.
 *
 * Bounds: -DM members, -DSPARES new volumes, -DL records per log, -DEPOCHS, -DW0 acknowledgements,
 * -DCRASHES, -DLOSSES, -DSETS changes of V and W, -DREWINDS, -DRELEASES. */

#ifndef M
#define M 3
#endif
#ifndef SPARES
#define SPARES 0
#endif
#define NV (M + SPARES)
#ifndef L
#define L 2
#endif
#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef TLS
#define TLS 4
#endif
#ifndef W0
#define W0 1
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef LOSSES
#define LOSSES 0
#endif
#ifndef SETS
#define SETS 0
#endif
#ifndef REWINDS
#define REWINDS 0
#endif
#ifndef RELEASES
#define RELEASES 0
#endif

#define NONE 7
#define bit(j) (1 << (j))
#define has(m, j) (((m) >> (j)) & 1)
#define ALL ((1 << M) - 1)
#define at(i, p) log[(i) * L + (p)]

/* phases of the Lease */
#define WRITER 0
#define ELECTING 1
#define RELEASED 2

/* the Lease and its record */
byte E = 1, phase = WRITER, holder = 0, writer = 0, TL = 1;
byte V = ALL, W = W0, sealed = NONE;
byte rep;            /* who has reported to the holder */
bool better, bypass; /* a report is greater; the holder is the named successor, or the last writer */
byte succ = NONE, relepoch, reltl, rellen;

/* volumes */
bool alive[NV], role[NV], adm[NV], froz[NV], reb[NV], mixed[NV];
byte log[NV * L], size[NV];
byte dur[NV];               /* durable epoch, which is that of the credentials, too */
byte fol[NV] = NONE;
byte ptl[NV], pe[NV];       /* allocated timeline and its epoch: primary, or about to be */
byte plen[NV];              /* its log when it promoted */
byte sm[NV], sw[NV], om[NV], ow[NV]; /* the setting; while mixed some walsender uses the old one */
#ifdef STORY9
byte ftl[NV];
#endif
#if defined(BY_NAME) || defined(LATE_EPOCH)
bool voided[NV];
#endif
byte acked[L];       /* bit tl: the record of that timeline at this place counts as told */

byte crashes, losses, sets, rewinds, releases;
hidden byte p, q, n, a, b, c;

#define last(i) (size[i] == 0 -> 0 : at(i, (size[i] == 0 -> 0 : size[i] - 1)))
#ifdef STORY9
#define reported(i) (last(i) > ftl[i] -> last(i) : ftl[i])
#else
#define reported(i) last(i)
#endif
#ifdef BY_LSN
#define greater(i, j) (size[i] > size[j])
#else
#define greater(i, j) (reported(i) > reported(j) || (reported(i) == reported(j) && size[i] > size[j]))
#endif
/* i's log is part of u's */
#define part(i, u) (size[i] <= size[u] && \
                    (size[i] == 0 || at(i, (size[i] == 0 -> 0 : size[i] - 1)) == at(u, (size[i] == 0 -> 0 : size[i] - 1))))
/* i holds all that u has */
#define whole(i, u) (alive[i] && !reb[i] && size[i] >= size[u] && \
                     (size[u] == 0 || at(i, (size[u] == 0 -> 0 : size[u] - 1)) == last(u)))
#define holds(i, p, t) (alive[i] && size[i] > (p) && at(i, p) == (t))
#define current(u) (alive[u] && role[u] && phase == WRITER && writer == u && pe[u] == E)

inline votes(mask, res)
{
    res = 0;
    for (q : 0 .. NV - 1) { if :: has(mask, q) -> res++ :: else fi };
    q = 0
}

/* invariant 2: the latest writer holds all that was told */
inline covered(w)
{
    for (p : 0 .. L - 1) {
        for (q : 1 .. TLS) {
            assert(!has(acked[p], q) || (size[w] > p && at(w, p) == q))
        }
    };
    p = 0; q = 0
}

/* invariant 8: all that was told is somewhere usable */
inline copies()
{
    for (p : 0 .. L - 1) {
        for (q : 1 .. TLS) {
            if
            :: has(acked[p], q) ->
                n = 0;
                for (a : 0 .. NV - 1) { if :: holds(a, p, q) && !reb[a] -> n++ :: else fi };
                assert(n > 0)
            :: else
            fi
        }
    };
    p = 0; q = 0; n = 0; a = 0
}

/* n := members of the mask that hold record p of u */
inline confirmed(u, mask, place)
{
    n = 0;
    for (q : 0 .. NV - 1) {
        if :: q != u && has(mask, q) && holds(q, place, at(u, place)) -> n++ :: else fi
    };
    q = 0
}

inline told(u, place)
{
    acked[place] = acked[place] | bit(at(u, place));
    if
    :: phase == WRITER && writer != u && role[writer] && pe[writer] > pe[u] ->
        assert(size[writer] > place && at(writer, place) == at(u, place))
    :: else
    fi
}

inline told_if_confirmed(u, place)
{
    confirmed(u, sm[u], place);
    if
    :: n >= sw[u] -> told(u, place)
    :: else ->
        if
        :: mixed[u] ->
            confirmed(u, om[u], place);
            if :: n >= ow[u] -> told(u, place) :: else fi
        :: else
        fi
    fi;
    n = 0
}

inline setting_of_record(u)
{
    mixed[u] = 0; om[u] = 0; ow[u] = 0;
    sm[u] = V & ~bit(u); sw[u] = W
}

inline change_setting(u, mask, w)
{
    om[u] = sm[u]; ow[u] = sw[u]; mixed[u] = 1;
    sm[u] = mask; sw[u] = w
}

inline server_ends(u)
{
    role[u] = 0; adm[u] = 0; ptl[u] = 0; pe[u] = 0; plen[u] = 0; mixed[u] = 0;
    sm[u] = 0; sw[u] = 0; om[u] = 0; ow[u] = 0
}

/* n := members of the new setting that have flushed all of u's log */
inline barrier(u)
{
    n = 0;
    for (q : 0 .. NV - 1) { if :: has(sm[u], q) && whole(q, u) -> n++ :: else fi };
    q = 0;
#ifdef NO_BARRIER
    n = NV;
#endif
}
#ifdef NO_BARRIER_A
#define effective(u) 1
#else
#define effective(u) (!mixed[u])
#endif

#if defined(BY_NAME) || defined(LATE_EPOCH)
#define may_report(m) (!voided[m])
#else
#define may_report(m) 1
#endif

inline report(m)
{
    if :: greater(m, holder) -> better = 1 :: else fi;
#ifndef NO_EPOCH
    dur[m] = E;
#endif
#ifndef NO_DETACH
    froz[m] = 1; fol[m] = NONE;
#endif
    ptl[m] = 0; pe[m] = 0;
    rep = rep | bit(m)
}

#ifdef KEEP_RELEASE
#define BYPASS_EPOCH 1
#else
#define BYPASS_EPOCH (relepoch == E)
#endif

/* The last writer that the record names needs nobody. The code lets it go on so only where too few others can
 * report and none is silent, which this leaves out. */
#ifdef LAST_PRIMARY
#define LAST(u) (waswriter[u])
bool waswriter[NV];
#else
#define LAST(u) (writer == u)
#endif

inline acquire(u)
{
    bypass = ((succ == u && BYPASS_EPOCH) || LAST(u));
#ifndef KEEP_RELEASE
    succ = NONE; relepoch = 0; reltl = 0; rellen = 0;
#endif
    E++; holder = u; phase = ELECTING; better = 0; rep = bit(u);
    server_ends(u);
    dur[u] = E; froz[u] = 1; fol[u] = NONE
}

/* the second compare-and-swap, and the setting that the promotion will find */
inline second(u)
{
    phase = WRITER; writer = u; bypass = 0; better = 0;
#ifdef LAST_PRIMARY
    waswriter[u] = 1;
#endif
#ifdef SHRINK_V
    V = V & rep;
    if :: W >= NV -> skip :: else fi;
#endif
    rep = 0;
    TL++; assert(TL <= TLS);
    ptl[u] = TL; pe[u] = E;
    setting_of_record(u)
}

#define lost() losses
#define lineage_ok(u) (!LINEAGE || last(u) >= TL)
#ifndef LINEAGE
#define LINEAGE 0
#endif

/* What of the sufficient reports is asked. */
inline try_second(u)
{
    votes(V & rep, a);
    votes(V, b);
#ifdef W_REPORTS
    c = (W > 0 -> W : 1);
#else
    c = (sealed == u -> 1 : b - W);
#endif
    if
    :: bypass && (last(u) > reltl || (last(u) == reltl && size[u] >= rellen)) -> second(u)
    :: !(bypass && (last(u) > reltl || (last(u) == reltl && size[u] >= rellen))) && a >= c && !better ->
        /* invariant 6: with every member in that lives, the greatest is free to go */
        assert(lineage_ok(u) || b != a + lost());
        if :: lineage_ok(u) -> second(u) :: else fi
    :: else
    fi;
    a = 0; b = 0; c = 0
}

/* The end of recovery is a record of the new timeline, and nobody is admitted before W others hold it. */
inline promote(u)
{
    role[u] = 1; adm[u] = 0; froz[u] = 0; fol[u] = NONE;
    if
    :: phase == WRITER && writer == u && pe[u] == E -> covered(u)
    :: else
    fi;
    at(u, size[u]) = ptl[u]; size[u]++; plen[u] = size[u]
}

inline admit(u)
{
    confirmed(u, sm[u], plen[u] - 1);
#ifdef ADMIT_AT_ONCE
    n = NV;
#endif
    if
    :: n >= sw[u] ->
        adm[u] = 1;
        for (p : 0 .. L - 1) { if :: p < plen[u] -> told(u, p) :: else fi };
        p = 0
    :: else
    fi;
    n = 0
}

inline loses(u)
{
    server_ends(u);
    for (p : 0 .. L - 1) { at(u, p) = 0 };
    p = 0;
    size[u] = 0; dur[u] = 0; froz[u] = 0; fol[u] = NONE; reb[u] = 0;
#if defined(BY_NAME) || defined(LATE_EPOCH)
#ifdef LATE_EPOCH
    voided[u] = 1;
#endif
#else
    alive[u] = 0;
#endif
    copies()
}

inline copy_of(u, w)
{
    for (p : 0 .. L - 1) { at(u, p) = at(w, p) };
    p = 0;
    size[u] = size[w]
}

inline rewound(u, w)
{
    p = 0;
    for (q : 0 .. L - 1) {
        if :: p == q && q < size[u] && q < size[w] && at(u, q) == at(w, q) -> p++ :: else fi
    };
    for (q : 0 .. L - 1) { if :: q >= p -> at(u, q) = 0 :: else fi };
    size[u] = p; reb[u] = 0; p = 0; q = 0
}

/* n := others of V that stream from the writer and hold its promotion */
inline keepers(u)
{
    n = 0;
    for (q : 0 .. NV - 1) {
        if
        :: q != u && q != writer && has(V, q) && alive[q] && !reb[q] && fol[q] == writer &&
           dur[q] == E && part(q, writer) && size[q] >= plen[writer] -> n++
        :: else
        fi
    };
    q = 0
}
#ifdef REWIND_AT_ONCE
#define may_rewind(u) 1
#else
#define may_rewind(u) ((has(V, u) && W >= 1 && n >= W) || (!has(V, u) && W >= 1 && sealed == NONE))
#endif

#ifdef RESUME_NEW_EPOCH
#define RESUMES(u) \
    :: d_step { alive[u] && role[u] && writer == u && phase == WRITER && pe[u] < E -> skip } \
    :: d_step { phase == ELECTING && holder == u && alive[u] && !role[u] && oldtl[u] != 0 -> \
        votes(V & rep, a); votes(V, b); \
        if :: a >= b - W -> \
            phase = WRITER; writer = u; rep = 0; better = 0; bypass = 0; ptl[u] = oldtl[u]; pe[u] = E; \
            setting_of_record(u) \
        :: else fi; a = 0; b = 0 }
byte oldtl[NV];
#define REMEMBER(u) oldtl[u] = ptl[u];
#else
#define RESUMES(u)
#define REMEMBER(u)
#endif

#define VOLUME(u) \
    :: d_step { alive[u] && role[u] && size[u] < L -> at(u, size[u]) = ptl[u]; size[u]++ } \
    :: d_step { alive[u] && role[u] && adm[u] && size[u] > 0 && !has(acked[0], at(u, 0)) -> \
        told_if_confirmed(u, 0) } \
    :: d_step { alive[u] && role[u] && adm[u] && size[u] > 1 && !has(acked[1], at(u, 1)) -> \
        told_if_confirmed(u, 1) } \
    THIRD(u) \
    :: d_step { alive[u] && !role[u] && !reb[u] && has(V, u) && E < EPOCHS && \
        !(phase == ELECTING && holder == u) && (sealed == NONE || sealed == u) && may_report(u) -> acquire(u) } \
    :: d_step { phase == ELECTING && holder != u && has(V, u) && alive[u] && !role[u] && !reb[u] && \
        !has(rep, u) && may_report(u) -> report(u) } \
    :: d_step { phase == ELECTING && holder == u && alive[u] && !role[u] && TL < TLS -> try_second(u) } \
    :: d_step { alive[u] && !role[u] && !reb[u] && ptl[u] != 0 && size[u] < L -> promote(u) } \
    :: d_step { alive[u] && role[u] && !adm[u] -> admit(u) } \
    :: d_step { alive[u] && role[u] && mixed[u] -> mixed[u] = 0; om[u] = 0; ow[u] = 0 } \
    /* crash, restart in place at the same epoch, permanent loss */ \
    :: d_step { crashes < CRASHES && alive[u] && role[u] -> crashes++; REMEMBER(u) server_ends(u) } \
    :: d_step { alive[u] && !role[u] && !reb[u] && phase == WRITER && writer == u && ptl[u] == 0 && \
        dur[u] == E && TL < TLS -> \
        TL++; ptl[u] = TL; pe[u] = E; setting_of_record(u) } \
    RESUMES(u) \
    :: d_step { losses < LOSSES && alive[u] && has(V, u) && W > losses && sealed == NONE -> losses++; loses(u) } \
    /* the record: smaller W and the seal first, larger W after the barrier */ \
    :: d_step { sets < SETS && current(u) && W > 0 -> \
        sets++; W--; if :: W == 0 -> sealed = u :: else fi } \
    :: d_step { current(u) && !mixed[u] && sw[u] > W -> change_setting(u, sm[u], W) } \
    :: d_step { sets < SETS && current(u) && !mixed[u] && sw[u] == W && W + 1 < M -> \
        RAISE(u) } \
    :: d_step { current(u) && sw[u] > W && effective(u) && RAISING -> \
        barrier(u); if :: n >= sw[u] -> W = sw[u]; sealed = NONE :: else fi; n = 0 } \
    :: d_step { current(u) && !mixed[u] && sm[u] != (V & ~bit(u)) -> change_setting(u, V & ~bit(u), sw[u]) } \
    /* planned hand-over */ \
    :: d_step { reb[u] && role[writer] && alive[writer] && phase == WRITER && writer != u -> \
        rewound(u, writer); dur[u] = E; fol[u] = writer; froz[u] = 0 }

#ifdef RAISE_FIRST
#define RAISE(u) sets++; W++; sealed = NONE
#define RAISING 0
#else
#define RAISE(u) sets++; change_setting(u, sm[u], W + 1)
#define RAISING 1
#endif

#if L > 3
#define THIRD(u) \
    :: d_step { alive[u] && role[u] && adm[u] && size[u] > 2 && !has(acked[2], at(u, 2)) -> \
        told_if_confirmed(u, 2) } \
    :: d_step { alive[u] && role[u] && adm[u] && size[u] > 3 && !has(acked[3], at(u, 3)) -> \
        told_if_confirmed(u, 3) }
#elif L > 2
#define THIRD(u) \
    :: d_step { alive[u] && role[u] && adm[u] && size[u] > 2 && !has(acked[2], at(u, 2)) -> \
        told_if_confirmed(u, 2) }
#else
#define THIRD(u)
#endif

#ifdef LEAVE_FIRST
#define LEAVES(u, m) \
    :: d_step { sets < SETS && current(u) && !mixed[u] && has(V, m) && sm[u] == (V & ~bit(u)) -> \
        votes(sm[u] & ~bit(m), a); \
        if :: a >= W && W > 0 -> sets++; V = V & ~bit(m) :: else fi; a = 0 }
#else
#define LEAVES(u, m) \
    :: d_step { sets < SETS && current(u) && !mixed[u] && has(V, m) && sm[u] == (V & ~bit(u)) -> \
        votes(sm[u] & ~bit(m), a); \
        if :: a >= W && W > 0 && sw[u] == W -> sets++; change_setting(u, sm[u] & ~bit(m), W) :: else fi; a = 0 } \
    :: d_step { current(u) && has(V, m) && !has(sm[u], m) && sw[u] == W && W > 0 && effective(u) -> \
        barrier(u); if :: n >= W -> V = V & ~bit(m) :: else fi; n = 0 }
#endif

#ifdef LATE_EPOCH
#define CREDENTIALS(u, m) (voided[m] || pe[u] == dur[m])
#define ATTACH(u, m) \
    :: d_step { voided[m] && alive[u] && role[u] && fol[m] == NONE -> fol[m] = u } \
    :: d_step { voided[m] && current(u) && whole(m, u) -> voided[m] = 0; dur[m] = E; fol[m] = u }
#elif defined(BY_NAME)
#define CREDENTIALS(u, m) (pe[u] == dur[m])
#define ATTACH(u, m) \
    :: d_step { losses > 0 && alive[u] && alive[m] && size[m] == 0 && dur[m] == 0 -> copy_of(m, u); dur[m] = E }
#else
#define CREDENTIALS(u, m) (pe[u] == dur[m])
#define ATTACH(u, m)
#endif

/* u and another volume m */
#define PAIR(u, m) \
    /* m streams from u */ \
    :: d_step { alive[u] && alive[m] && role[u] && !role[m] && !reb[m] && fol[m] == u && \
        CREDENTIALS(u, m) && !FROZEN(m) && size[m] < size[u] && part(m, u) -> \
        at(m, size[m]) = at(u, size[m]); size[m]++ } \
    /* it follows whom it takes for the writer, by a view of any age */ \
    :: d_step { alive[u] && alive[m] && !role[m] && !reb[m] && role[u] && dur[m] <= pe[u] && \
        !(phase == ELECTING && holder == m) && ptl[m] == 0 && \
        fol[m] != u && part(m, u) -> dur[m] = pe[u]; fol[m] = u; froz[m] = 0; FOLLOWS(m, u) } \
    :: d_step { rewinds < REWINDS && current(u) && alive[m] && !role[m] && !reb[m] && !part(m, u) -> \
        keepers(m); \
        if :: may_rewind(m) -> rewinds++; reb[m] = 1; dur[m] = E; fol[m] = NONE; froz[m] = 0; ptl[m] = 0; pe[m] = 0 \
        :: else fi; n = 0 } \
    :: d_step { releases < RELEASES && current(u) && adm[u] && whole(m, u) && has(V, m) && !role[m] && sealed == NONE -> \
        releases++; succ = m; relepoch = E; reltl = last(u); rellen = size[u]; \
        phase = RELEASED; holder = NONE; server_ends(u) } \
    /* a volume that has caught up enters V: recorded first */ \
    :: d_step { sets < SETS && current(u) && !has(V, m) && alive[m] && fol[m] == u && dur[m] == E && whole(m, u) -> \
        sets++; V = V | bit(m) } \
    /* a new volume copies the writer's */ \
    :: d_step { SPARES && m >= M && losses > 0 && !alive[m] && current(u) -> \
        alive[m] = 1; copy_of(m, u); dur[m] = E; fol[m] = u } \
    LEAVES(u, m) \
    ATTACH(u, m)

#ifdef NO_DETACH
#define FROZEN(m) 0
#else
#define FROZEN(m) froz[m]
#endif
#ifdef STORY9
#define FOLLOWS(m, u) ftl[m] = ptl[u]
#else
#define FOLLOWS(m, u) skip
#endif

init {
    d_step {
        for (p : 0 .. M - 1) {
            alive[p] = 1; dur[p] = 1;
            if :: p > 0 -> fol[p] = 0 :: else fi
        };
        p = 0;
        fol[0] = NONE;
#if SPARES
        fol[M] = NONE;
#endif
        role[0] = 1; adm[0] = 1; ptl[0] = 1; pe[0] = 1; sm[0] = ALL & ~bit(0); sw[0] = W0;
        if :: W0 == 0 -> sealed = 0 :: else fi
    };
    do
    VOLUME(0)
    VOLUME(1)
    PAIR(0, 1)
    PAIR(1, 0)
#if NV > 2
    VOLUME(2)
    PAIR(0, 2)
    PAIR(1, 2)
    PAIR(2, 0)
    PAIR(2, 1)
#endif
#if NV > 3
    VOLUME(3)
    PAIR(0, 3)
    PAIR(1, 3)
    PAIR(2, 3)
    PAIR(3, 0)
    PAIR(3, 1)
    PAIR(3, 2)
#endif
#ifdef PROBE
    :: PROBE -> assert(0)
#endif
    od
}
