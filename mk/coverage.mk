# Lines and branches that unit tests, core checks, simulation and corpora execute: gcc and gcov in a
# build of its own, build/gcc-cov.

.PHONY: coverage coverage-run
coverage: ## lines and branches covered by the tests without processes, per area, with thresholds
	$(Q)tools/deps lint
	$(Q)$(ANEW) $(JOBS) CC=gcc COV=1 WARN= HARDEN=-fPIE build/gcc-cov/sim build/gcc-cov/check-rules fuzz-build $(UNIT:$(B)/%=build/gcc-cov/%)
	$(Q)$(ANEW) CC=gcc COV=1 WARN= HARDEN=-fPIE coverage-run

# The counters of an earlier run are not added to.
coverage-run: $(UNIT) $(B)/sim $(B)/check-rules $(FUZZ_BIN)
	$(Q)find $(B) -name '*.gcda' -delete
	$(Q)tools/run-units $(UNIT)
	$(Q)tools/fuzz-corpus $(FUZZ_BIN)
	$(Q)$(B)/check-rules >/dev/null
	$(Q)for a in '' '--members 2' '--members 1' '--members 5' '--mode async' --strict; do \
	    $(B)/sim --seeds 1-60 $$a >/dev/null || exit 1; done
	$(Q)$(B)/sim --mix --seeds 1-400 >/dev/null
	$(Q)tools/coverage $(B)
