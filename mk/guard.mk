# Guard against real processes and a real PostgreSQL: test/guard.

$(B)/fake-agent: test/guard/fake_agent.c $(call lib,loop) $(call lib,base)
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(call lib,loop) $(call lib,base)

.PHONY: test-guard
test-guard: $(B)/pghad $(B)/fake-agent need-gate ## guard with real processes: fence, locks, namespaces; the commit gate
	$(Q)PGHA_BUILD=$(abspath $(B)) $(PYTHON) -m pytest -q -rs -p no:cacheprovider test/guard
