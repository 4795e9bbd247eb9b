# The catalogue of faults, random episodes of them, and the fence under load.

# Faults that take long or are no matter of CI, beside the others; results for make faults.
.PHONY: scenarios-long scenarios-seldom faults chaos chaos-report bench-fence

faults: need-python ## write docs/faults.md from test/faults and the results of scenarios since the last time
	$(Q)$(PYTHON) test/faults/page.py write

scenarios-long: system need-python ## every scenario on the embedded API server, also those marked long; K=WORD selects
	$(Q)$(SCENARIOS) --kube devkube --long

# Then make faults; again until make chaos-report names no fault any more.
scenarios-seldom: system need-python $(if $(filter real,$(KUBE)),kube-bins kubectl-bin) ## a scenario for each fault that was made less than five times; KUBE=real
	$(Q)$(SCENARIOS) --kube $(or $(KUBE),devkube) --long --seldom

# Either spelling: SEED=n N=k, or SEEDS=FIRST-LAST. FAULTS='A;B' these and no others. KUBE=real for a real
# kube-apiserver. RARE=1 draws most what the kept episodes have least.
SEED ?= 1
CHAOS = $(if $(filter command,$(firstword $(origin SEEDS))),$(SEEDS),$(SEED)-$(shell echo $$(($(SEED) + $(N) - 1))))
chaos: system need-python $(if $(filter real,$(KUBE)),kube-bins) ## random episodes of one to three faults: make chaos SEED=1 N=10
	$(Q)env PGHA_CHAOS=$(CHAOS) PGHA_FAULTS='$(FAULTS)' PGHA_RARE='$(RARE)' $(SANDBOX) -- $(PYTEST) -q -rfE --tb=short $(X) \
	    test/scenarios/test_random.py --kube $(or $(KUBE),devkube)

chaos-report: need-python ## all kept episodes added up: faults by kind, violations, gaps
	$(Q)$(PYTHON) test/bench/chaos_report.py

FENCES ?= 25
bench-fence: $(PROGRAMS) $(B)/fake-agent need-gate need-python ## how late the fence is, FENCES=25 of each condition; test/bench/results
	$(Q)$(SANDBOX) -- $(PYTHON) test/bench/fence.py -n $(FENCES) $(X)
