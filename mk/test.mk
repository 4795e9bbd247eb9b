# Tests, demo, benchmark, installation. What needs a network runs inside test/lib/sandbox.py.

# The interpreter that has the test libraries: Debian's, where another one comes first in PATH.
ifeq ($(origin PYTHON),undefined)
PYTHON  := $(shell for p in python3 /usr/bin/python3; do \
               $$p -c 'import pytest, psycopg2, yaml' 2>/dev/null && { echo $$p; break; }; done)
endif
SANDBOX := PGHA_BUILD=$(abspath $(B)) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) test/lib/sandbox.py
PYTEST  := $(PYTHON) -m pytest -p no:cacheprovider

# Of the scenarios on the real API server, in make test.
PARTS := 1 2

.PHONY: check check-san check-demo test run-test integration test-harness scenarios scenarios-devkube scenarios-real \
        $(PARTS:%=scenarios-real-%) scenarios-real-proof scenarios-devkube-core scenarios-real-core e2e demo run-demo build-demo build-test \
        bench-quick bench-resources install need-python

# For targets that install what is missing: only a make that starts afterwards sees the libraries.
# All processors, unless the caller has said how many.
JOBS  = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
ANEW  = $(MAKE) --no-print-directory

need-python:
	@test -n "$(PYTHON)" || { echo 'no python3 with pytest, psycopg2 and yaml: run make deps' >&2; exit 1; }

$(B)/ha-writer: test/lib/writer.c $(call lib,base)
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC) $(CPPFLAGS) $(call pkg,libpq) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(call lib,base) \
	    $(call pkgl,libpq)

# Preloaded into servers under test: failing I/O, a wrong wall clock.
$(B)/faultlib.so: test/lib/faultlib.c
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC) -std=gnu17 -O1 -Wall -Wextra -Werror -shared -fPIC -o $@ $<

check: $(UNIT) ## unit tests (cmocka), with the number of tests
	$(Q)tools/run-units $(UNIT)

check-san: ## the same with the address and undefined-behaviour sanitizers
	$(Q)$(ANEW) SAN=1 check

SYSTEM := $(PROGRAMS) $(NEXT)/pghad-agent $(B)/devkube $(B)/ha-writer $(B)/faultlib.so
# For files that are read before this one: what a target needs is expanded at once.
.PHONY: system
system: $(SYSTEM)

check-demo: build-demo need-python ## the demo at a terminal: its printed commands, every way to end it
	$(Q)tools/run-pytest env PGHA_BUILD=$(abspath $(B)) $(PYTEST) -q test/demo

test-harness: $(B)/ha-writer $(B)/judge need-python ## the harness sees what it is there to see
	$(Q)tools/run-pytest env $(SANDBOX) -- $(PYTEST) -q test/harness

# K=WORD selects scenarios by name; X=-x and the like are passed on to pytest.
SCENARIOS = tools/run-pytest env $(SANDBOX) -- $(PYTEST) -q -rfEs --tb=short --durations=8 $(if $(K),-k '$(K)') $(X) test/scenarios

scenarios-devkube: $(SYSTEM) need-python ## scenarios of three members on the embedded API server
	$(Q)$(SCENARIOS) --kube devkube

# One of each kind: failover, switchover, member and volume lost, partition, outage, bootstrap, rights.
REAL_CORE := test_bootstrap[3] or test_switchover_to_a_named_member or test_postmaster_sigkill or \
             test_member_killed or test_agent_sig or test_restart_of or test_reinit_of or \
             test_members_stay or test_switchover_right_after or test_sigterm or lost_volume or \
             test_failover_is_recorded

scenarios-real-core: $(SYSTEM) kube-bins need-python ## the kernel of the scenarios on a real kube-apiserver
	$(Q)$(SCENARIOS) --kube real -k '$(REAL_CORE)'

# Ends with the RBAC proof: every request against the Roles in k8s/base (test/lib/rbac.py).
scenarios-real: $(SYSTEM) kube-bins kubectl-bin need-python ## the same scenarios on a real kube-apiserver
	$(Q)$(SCENARIOS) --kube real

# The same in parts side by side, and the proof of them together.
$(PARTS:%=scenarios-real-%): scenarios-real-%: $(SYSTEM) kube-bins kubectl-bin need-python
	$(Q)$(SCENARIOS) --kube real --part $*/$(words $(PARTS))

scenarios-real-proof: need-python
	$(Q)$(PYTHON) test/lib/rbac.py $(PARTS:%=build/rbac/part-%-of-$(words $(PARTS)).json)

# What is no matter of the API server, and the kernel: all others run on the real one.
scenarios-devkube-core: $(SYSTEM) need-python ## what runs on the embedded API server alone, and the kernel of the scenarios
	$(Q)$(SCENARIOS) --kube devkube --kernel '$(REAL_CORE)'

e2e: scenarios-real ## all scenarios on a real kube-apiserver, and the proof that the Roles are minimal

integration: ## everything with real processes: guard, devkube, harness, scenarios on both API servers
	$(Q)tools/run-layers guard=test-guard devkube=check-devkube \
	    kubeapi=test-kubeapi harness=test-harness \
	    scenarios-devkube=scenarios-devkube scenarios-real=scenarios-real

# What the layers would build one after the other.
build-test: need-gate $(SYSTEM) $(B)/judge $(UNIT) $(B)/fake-agent $(B)/against-devkube $(B)/sim $(B)/check-rules $(B)/check-views $(FUZZ_BIN)

test: ## all tests, after make deps; the last lines give the counts per layer
	$(Q)tools/deps
	$(Q)$(ANEW) $(JOBS) build-test
	$(Q)$(ANEW) run-test

run-test: build-test need-python
	$(Q)tools/run-layers \
	    unit=check,core=check-core \
	    sanitizers=check-san \
	    fuzz=fuzz-corpus \
	    guard=test-guard \
	    devkube=check-devkube \
	    kubeapi=test-kubeapi \
	    harness=test-harness \
	    standalone=test-standalone \
	    demo=check-demo \
	    scenarios-devkube=scenarios-devkube-core,manifests=test-manifests \
	    scenarios-real-1=scenarios-real-1,scenarios-real-2=scenarios-real-2 \
	    rights=scenarios-real-proof

demo: ## three members, four faults, write gaps; KEEP=1 leaves it running; installs what is missing
	$(Q)tools/deps demo
	$(Q)$(ANEW) $(JOBS) build-demo
	$(Q)$(ANEW) run-demo

build-demo: $(SYSTEM)

run-demo: $(SYSTEM) need-python
	$(Q)PGHA_BUILD=$(abspath $(B)) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) test/demo/demo.py $(if $(filter 1,$(KEEP)),--keep)

N ?= 10
bench-quick: $(SYSTEM) need-python ## speed and memory, N=10 episodes each; raw data in test/bench/results
	$(Q)$(SANDBOX) --disk -- $(PYTHON) test/bench/quick.py -n $(N)

PROBES ?= 100000
REST_S ?= 60
bench-resources: $(SYSTEM) need-python ## memory, processor at rest, growth under PROBES=100000 health probes
	$(Q)$(SANDBOX) -- $(PYTHON) test/bench/resources.py --probes $(PROBES) --rest $(REST_S) $(X)

COMPLETIONS := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
install: $(PROGRAMS) ## install to DESTDIR PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pghad $(DESTDIR)/etc/pghad $(COMPLETIONS)
	install -m 755 $(B)/pghad $(B)/hactl $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(B)/pghad-agent $(DESTDIR)$(PREFIX)/lib/pghad
	$(if $(GATE_LIBS),install -m 644 $(GATE_LIBS) $(DESTDIR)$(PREFIX)/lib/pghad)
	ln -sf hactl $(DESTDIR)$(PREFIX)/bin/kubectl-hactl
	$(B)/hactl completion bash > $(COMPLETIONS)/hactl
	test -e $(DESTDIR)/etc/pghad/pghad.yaml || \
	    install -m 644 config/pghad.yaml $(DESTDIR)/etc/pghad/pghad.yaml
