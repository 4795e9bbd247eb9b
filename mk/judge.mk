# An outside judge of what clients saw: porcupine, in Go (test/judge).

JUDGE_SRCS := $(wildcard test/judge/*.go) test/judge/go.mod test/judge/go.sum
$(B)/judge: test/kubernetes/build $(JUDGE_SRCS)
	$(Q)test/kubernetes/build $(B) judge

# ONLY=sound, or the names of mutants.
EPISODES ?= 12
.PHONY: judge build-judge run-judge
judge: ## porcupine finds what clients saw under faults linearizable, and not with a deliberate defect; EPISODES=12 SEED=1
	$(Q)tools/deps
	$(Q)$(ANEW) $(JOBS) build-judge
	$(Q)$(ANEW) run-judge

build-judge: need-gate $(PROGRAMS) $(B)/devkube $(B)/ha-writer $(B)/judge

run-judge: build-judge need-python
	$(Q)PGHA_BUILD=$(abspath $(B)) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) test/judge/verdicts.py --build $(B) \
	    --make '$(MAKE) CC=$(CC) SAN=$(SAN)' --seed $(SEED) --episodes $(EPISODES) $(if $(ONLY),--only $(ONLY))
