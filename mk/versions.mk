# The same system with PostgreSQL 15 to 18: tools/postgresql gets what the machine has not.

PG       ?= 15
MAJORS   := 15 16 17 18
other_pg  = $(if $(filter 15,$(1)),17,15)

.PHONY: test-pg test-matrix remove-postgresql $(MAJORS:%=test-pg-%)
test-pg: test-pg-$(PG) ## what depends on the version of PostgreSQL, with PG=15, 16, 17 or 18

# One shell with the directories of both versions, then the tests against real servers.
$(MAJORS:%=test-pg-%): test-pg-%: $(SYSTEM) $(B)/unit/test_pg_server need-python
	$(Q)bin=$$(tools/postgresql $*) && other=$$(tools/postgresql $(call other_pg,$*)) && \
	export PG_BIN=$$bin PGHA_OTHER_PG_BIN=$$other && $$bin/postgres --version && \
	tools/run-units $(B)/unit/test_pg_server && \
	tools/run-pytest env $(SANDBOX) -- $(PYTEST) -q -rfEs --tb=short --durations=40 -m versions \
	    $(if $(K),-k '$(K)') $(X) test/scenarios --kube devkube

test-matrix: ## the same with all of them, after make deps
	$(Q)tools/deps
	$(Q)$(ANEW) $(JOBS) build-test
	$(Q)for major in $(MAJORS); do tools/postgresql $$major >/dev/null || exit 1; done
	$(Q)tools/run-layers $(foreach v,$(MAJORS),postgresql-$(v)=test-pg-$(v))

remove-postgresql: ## remove what tools/postgresql has got
	$(Q)tools/postgresql --remove
