# The decision core: simulation and the proof of its purity.
$(B)/sim: test/sim/sim.c $(call lib,core)
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $^

SEEDS ?= 1-400
.PHONY: sim
sim: $(B)/sim ## simulate clusters under faults: SEEDS=A-B, or one seed with SEED=n TRACE=1
ifdef SEED
	$(B)/sim --seeds $(SEED)-$(SEED) $(if $(TRACE),--trace)
else
	$(B)/sim --seeds $(SEEDS)
	$(B)/sim --seeds $(SEEDS) --members 2
	$(B)/sim --seeds $(SEEDS) --members 1
	$(B)/sim --seeds $(SEEDS) --members 5
	$(B)/sim --seeds $(SEEDS) --mode async
	$(B)/sim --seeds $(SEEDS) --strict
endif
