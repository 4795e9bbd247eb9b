# The benchmark beside peers. `make bench-quick` (mk/test.mk) is the small one without them.

METRIC   ?= P1,P2,P3,P4,REST
PEER_N   ?= 20
RUN      ?= latest
SUBJECTS ?= pghad,pghad-early,patroni-3-default,patroni-3-tuned,patroni-4-default,patroni-4-tuned
# N has another default elsewhere.
bench_n   = $(if $(filter command,$(firstword $(origin N))),$(N),$(1))
BENCH     = $(SANDBOX) --disk -- $(PYTHON) test/bench/bench.py --metric $(METRIC) \
            $(if $(MINUTES),--minutes $(MINUTES)) $(X)

# The members' networks lead nowhere: peers are fetched before. What cannot be had its column says.
.PHONY: bench bench-report bench-check bench-peers
bench-peers:
	$(Q)for major in 3 4; do \
	    case "$(SUBJECTS)" in *patroni-$$major-*) tools/patroni $$major >/dev/null || true ;; esac; done
	$(Q)for peer in repmgr autofailover; do \
	    case "$(SUBJECTS)" in *$$peer-*) tools/peer $$peer >/dev/null || true ;; esac; done

bench: system need-gate kube-bins need-python bench-peers ## gaps in writes beside peers; METRIC=P1 N=100 PEER_N=20 MINUTES=10 RUN=latest
	$(Q)$(BENCH) -n $(call bench_n,100) --peer-n $(PEER_N) --subjects $(SUBJECTS) --run $(RUN)
	$(if $(filter latest,$(RUN)),$(Q)$(PYTHON) test/bench/report.py)

bench-report: need-python ## write the generated parts of docs/performance.md from test/bench/results/bench-RUN.jsonl
	$(Q)$(PYTHON) test/bench/report.py --run $(RUN)

# How cost grows with members and clusters: up to 150 servers at once, some 6 GB of memory.
SIZES    ?= 1,3,5,9,16
CLUSTERS ?= 1,10,25,50
.PHONY: bench-scale
bench-scale: system need-gate kube-bins need-python ## start, failover and cost at rest by SIZES of a cluster and number of CLUSTERS, N=5 episodes
	$(Q)$(SANDBOX) --disk -- $(PYTHON) test/bench/scale.py --sizes=$(SIZES) --clusters=$(CLUSTERS) -n $(call bench_n,5) \
	    $(if $(REST_S),--rest $(REST_S)) --out test/bench/results/scale-$(RUN).jsonl

CASES ?= plain,connections,tables,unreplayed,long,large
.PHONY: bench-load
bench-load: system need-gate kube-bins need-python ## failovers under load: connections, tables, WAL to replay, long transactions, a large directory; N=5
	$(Q)$(SANDBOX) --disk -- $(PYTHON) test/bench/load.py --cases $(CASES) -n $(call bench_n,5) \
	    --out test/bench/results/load-$(RUN).jsonl

# The other commit's programs stand beside the present ones; the harness is the present one for both.
REF ?= $(shell git describe --tags --abbrev=0 2>/dev/null || echo HEAD)
CHECKED = build/bench-check.jsonl
bench-check: METRIC = P1,P2
bench-check: system need-gate kube-bins need-python ## this tree against REF=commit, N=20 interleaved episodes: what moved beyond noise
	$(Q)rm -rf build/ref $(B)/ref $(CHECKED) && mkdir -p build/ref $(B)/ref
	$(Q)git archive $(REF) | tar -x -C build/ref
	$(Q)$(MAKE) --no-print-directory -C build/ref CC=$(CC) >build/ref/make.log 2>&1 || \
	    { tail -5 build/ref/make.log; exit 1; }
	$(Q)cd build/ref/$(B) && cp pghad pghad-agent hactl pghad_gate-*.so $(abspath $(B))/ref/
	$(Q)rm -rf build/ref
	$(Q)$(BENCH) -n $(call bench_n,20) --subjects pghad,ref --out $(CHECKED)
	$(Q)$(PYTHON) test/bench/check.py $(CHECKED)

.PHONY: bench-health need-wrk
need-wrk:
	$(Q)command -v wrk >/dev/null || tools/deps bench

bench-health: SUBJECTS = pghad,patroni-4-tuned
bench-health: system need-gate kube-bins need-python need-wrk bench-peers ## health requests that a member answers, at rest and in failovers; N=5
	$(Q)$(SANDBOX) --disk -- $(PYTHON) test/bench/health.py --subjects $(SUBJECTS) -n $(call bench_n,5) \
	    --out test/bench/results/health-$(RUN).jsonl

FAILOVERS ?= 1000
bench-growth: PROBES = 1000000
.PHONY: bench-growth
bench-growth: system need-gate kube-bins need-python ## memory over FAILOVERS=1000 and PROBES=1000000 health requests
	$(Q)$(SANDBOX) --disk -- $(PYTHON) test/bench/growth.py --failovers $(FAILOVERS) --probes $(PROBES) \
	    --out test/bench/results/growth-$(RUN).jsonl

.PHONY: bench-start
bench-start: system need-gate kube-bins need-python ## from the start of containers to the first commit, sizes, build time; N=20
	$(Q)$(SANDBOX) --disk -- $(PYTHON) test/bench/start.py -n $(call bench_n,20) --out test/bench/results/start-$(RUN).jsonl
