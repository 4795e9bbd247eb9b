# The decision core: simulation and the proof of its purity. The simulator's own files are compiled for
# the speed of this machine; what it examines is the archive that ships.
SIM_CFLAGS := $(filter-out $(HARDEN) -D_FORTIFY_SOURCE=2,$(CFLAGS)) -fPIE -mtune=native
# Which core a tally tells of: what one core has passed says nothing of the next.
CORE_ID = $(shell cat $(sort $(wildcard src/core/*.[ch] include/core/*.h)) | sha256sum | cut -c1-12)
$(B)/sim: $(sort $(wildcard test/sim/*.c)) test/sim/world.h test/sim/plan.h $(call lib,core)
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(CPPFLAGS) -DCORE_ID='"$(CORE_ID)"' $(SIM_CFLAGS) $(LDFLAGS) -o $@ $(filter-out %.h,$^)

# One to seven members, each mode of replication: what a seed means is drawn from the seed.
TALLY    ?= build/sim/tally-$(CORE_ID)
SIM_JOBS  = $(or $(patsubst -j%,%,$(JOBS)),1)
SIM_RANGE = $(if $(SEEDS),--seeds $(SEEDS),--seeds 1-1000000000 --seconds 120)
# The tally of the long campaign, for every clone to read. A run of one's own keeps another one.
PUBLISHED := test/sim/campaign.tally
.PHONY: sim sim-report sim-publish sim-again sim-shrink
sim: $(B)/sim ## simulate clusters under faults for two minutes, or SEEDS=n|A-B JOBS=m; SEED=n TRACE=1 shows one
ifdef SEED
	@$(B)/sim --mix --seeds $(SEED)-$(SEED) $(if $(TRACE),--trace)
else
	@mkdir -p $(dir $(TALLY))
	$(B)/sim --mix $(SIM_RANGE) --jobs $(SIM_JOBS) --tally $(TALLY)
endif

sim-report: $(B)/sim ## what the campaign and the runs of make sim have covered: episodes, faults, rules, pairs of both
	@for t in $(PUBLISHED) $(wildcard $(TALLY)); do echo "== $$t"; $(B)/sim --report $$t || exit 1; done

sim-publish: $(B)/sim ## keep the tally of a campaign in the tree, its failures too: TALLY=file
	@$(B)/sim --report $(TALLY) | tail -1
	@cp $(TALLY) $(PUBLISHED)

sim-again: $(B)/sim ## run what failed in TALLY=file once more; what passes now, after the model was mended, no longer counts
	@$(B)/sim --mix --again --tally $(TALLY)

sim-shrink: $(B)/sim ## reduce a failing episode to few faults and tell its story: SEED=n
	@$(B)/sim --mix --shrink $(SEED)

$(B)/check-rules: test/exhaustive/check_rules.c $(call lib,core)
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $^

# Whole decisions, held against the promises that the fuzzing of decide() is held against, too.
VIEWS := test/exhaustive/check_views.c test/fuzz/fuzz_decide.c test/fuzz/decide_view.c
$(B)/check-views: $(VIEWS) test/fuzz/decide_view.h test/fuzz/fuzz.h $(call lib,core)
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(CPPFLAGS) -Itest/fuzz $(CFLAGS) $(LDFLAGS) -o $@ $(VIEWS) $(call lib,core)

# Undefined symbols of the core that are not the core's own: what a compiler may emit, nothing else.
CORE_MAY := memcpy memset memcmp memmove __stack_chk_fail __asan_.* __ubsan_.*

.PHONY: check-core check-layers
check-core: $(B)/check-rules $(B)/check-views $(B)/sim $(B)/libcore.a $(B)/pghad-agent ## prove the core: purity, every set of facts, small views, golden table, short simulation
	@nm -u $(B)/libcore.a | awk 'NF == 2 { print $$2 }' | sort -u > $(B)/core.undefined
	@nm --defined-only $(B)/libcore.a | awk 'NF == 3 { print $$3 }' | sort -u > $(B)/core.defined
	@impure=$$(comm -23 $(B)/core.undefined $(B)/core.defined | grep -vxE '$(subst $() ,|,$(strip $(CORE_MAY)))' || true); \
	if [ -n "$$impure" ]; then echo "the core is not pure, it needs: $$impure"; exit 1; fi
	@bad=$$(grep -hE '^#include <' src/core/*.[ch] include/core/*.h | grep -vE '<(stdbool|stddef|stdint)\.h>' || true); \
	if [ -n "$$bad" ]; then echo "the core includes $$bad"; exit 1; fi
	@if nm -f sysv $(B)/libcore.a | grep -E '\| *(\.t?(data|bss)[^|]*|\*COM\*)$$' | grep -vE '\.data\.rel\.ro|ubsan' ; then echo "the core has writable static state"; exit 1; fi
	@echo "pure: no system call, no clock, no allocation, no static state"
	@$(B)/check-rules
	@$(B)/check-views
	@$(B)/pghad-agent --rules | diff -u test/golden/rules.txt - || { echo "the rule table changed: review the difference, then make golden"; exit 1; }
	@$(B)/pghad-agent --rules=mermaid | diff -u test/golden/rules.mmd - || { echo "the diagram changed: make golden"; exit 1; }
	@echo "rule table equals the golden file"
	@$(B)/sim --seeds 1-1000 && $(B)/sim --seeds 1-500 --members 2 && $(B)/sim --seeds 1-300 --members 1 && \
	 $(B)/sim --seeds 1-300 --members 5 && $(B)/sim --seeds 1-300 --strict && $(B)/sim --seeds 1-300 --mode async
	@$(PYTHON) test/sim/check.py $(B)/sim
	@echo "23 passed, 0 failed" # three of purity, the rules, the views, two golden files, six simulations, ten of check.py

.PHONY: golden
golden: $(B)/pghad-agent ## write the golden files anew, to be reviewed with git diff
	$(B)/pghad-agent --rules > test/golden/rules.txt
	$(B)/pghad-agent --rules=mermaid > test/golden/rules.mmd

# Which area may include which: core nothing, base core's nothing, and so on (ARCHITECTURE.md).
may_core   := core
may_base   := base
may_flight := flight base core
may_loop   := loop base
may_guard  := guard base
may_http   := http loop base core
may_kube   := kube http loop base core
may_pg     := pg loop base core
may_config := config base core
may_agent  := agent config pg kube http loop flight base core
may_hactl  := hactl config kube http loop flight base core
check-layers: ## prove that no area includes what it must not
	@$(foreach a,$(AREAS) gate,tools/check-layers $(a) $(may_$(a)) &&) echo "layers: every include is allowed"
