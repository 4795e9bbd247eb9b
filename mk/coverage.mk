# Lines and branches that unit tests, core checks, simulation, corpora and tests with real processes execute:
# gcc and gcov in a build of its own, build/gcc-cov.

COV_MAKE     := CC=gcc COV=1 WARN= HARDEN=-fPIE
COV_PROGRAMS := $(B)/pghad $(B)/pghad-agent $(B)/hactl $(B)/fake-agent

ifeq ($(COV),1)
# The programs write their counters before they wait and before _exit() (test/coverage/flush.c).
COV_WRAP     := -Wl,--wrap=poll,--wrap=_exit
$(B)/flush.o: test/coverage/flush.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O1 -g -Wall -Wextra -fPIE -DBUILD_DIR='"$(abspath $(B))"' -c -o $@ $<
$(COV_PROGRAMS): $(B)/flush.o
$(B)/pghad: private LD_guard += $(COV_WRAP)
$(B)/pghad-agent $(B)/hactl: private LDFLAGS += $(COV_WRAP)
$(B)/fake-agent: private LDFLAGS += $(COV_WRAP) $(B)/flush.o
$(B)/fake-agent: private CFLAGS := $(filter-out --coverage,$(CFLAGS))
endif

# Of the scenarios on the embedded API server a kernel: each operation, each way to lose a member, its
# volume, its configuration or its API.
COV_SCENARIOS = $(REAL_CORE) or test_pause_and or test_failover_by_hand or test_bad_data_directory or \
                test_bad_configuration or test_a_secret_that_arrives_late or test_retained_volumes or \
                test_the_only_volume_left or test_lease_given_to_a_stranger or test_configmap_deleted or \
                test_a_diverged_standby or test_contexts or test_reload_takes or test_reload_reads or \
                test_passwords_that_changed

.PHONY: coverage coverage-run coverage-servers coverage-scenarios build-processes
coverage: ## lines and branches covered by the tests, per area, with thresholds
	$(Q)tools/deps lint
	$(Q)$(ANEW) $(JOBS) $(COV_MAKE) build/gcc-cov/sim build/gcc-cov/check-rules build/gcc-cov/check-views fuzz-build build-processes $(UNIT:$(B)/%=build/gcc-cov/%)
	$(Q)$(ANEW) $(COV_MAKE) coverage-run
	$(Q)$(ANEW) $(COV_MAKE) coverage-servers
	$(Q)$(ANEW) $(COV_MAKE) coverage-scenarios
	$(Q)tools/coverage build/gcc-cov

# The counters of an earlier run are not added to.
coverage-run: $(UNIT) build-processes $(B)/sim $(B)/check-rules $(B)/check-views fuzz-build $(B)/against-devkube $(B)/devkube
	$(Q)find $(B) -name '*.gcda' -delete
	$(Q)tools/run-units $(filter-out %/test_pg_server,$(UNIT))
	$(Q)DEVKUBE=$(abspath $(B)/devkube) $(B)/against-devkube >/dev/null
	$(Q)tools/fuzz-corpus $(FUZZ_BIN)
	$(Q)$(B)/check-rules >/dev/null
	$(Q)$(B)/check-views >/dev/null
	$(Q)for a in --rules --rules=mermaid $(GOLDEN_FLIGHTS:%='--replay %') $(GOLDEN_FLIGHTS:%='--record-text %'); do \
	    $(B)/pghad-agent $$a >/dev/null || exit 1; done
	$(Q)for a in '' '--members 2' '--members 1' '--members 5' '--mode async' --strict; do \
	    $(B)/sim --seeds 1-60 $$a >/dev/null || exit 1; done
	$(Q)$(B)/sim --mix --seeds 1-400 >/dev/null

# What runs as another user sees the programs where the sandbox shows them: there it may write counters.
COV_LAYER = tools/coverage-layer $(B)
# A recipe knows the lists of the files that are read after this one.
build-processes:
	$(Q)$(ANEW) $(SYSTEM) $(B)/fake-agent need-gate
coverage-servers: build-processes $(B)/unit/test_pg_server need-python
	$(Q)$(COV_LAYER) postgres env $(SANDBOX) -- sh -c 'GCOV_PREFIX=$$PGHA_SANDBOX_PROGRAMS \
	    GCOV_PREFIX_STRIP=$(words $(subst /, ,$(abspath $(B)))) \
	    tools/run-units $$PGHA_SANDBOX_PROGRAMS/unit/test_pg_server'
	$(Q)$(COV_LAYER) guard env $(SANDBOX) -- sh -c 'PGHA_BUILD=$$PGHA_SANDBOX_PROGRAMS exec $(PYTEST) -q test/guard'
	$(Q)$(COV_LAYER) standalone env $(SANDBOX) -- $(PYTEST) -q test/standalone

coverage-scenarios: build-processes need-python
	$(Q)$(COV_LAYER) scenarios env $(SANDBOX) -- $(PYTEST) -q --tb=short -k '$(COV_SCENARIOS)' test/scenarios
