# The commit gate: a library for each PostgreSQL of this machine whose headers are here. What is built
# for which one is asked of its pg_config; the flags are ours (docs/decisions/0033).

GATE_FOUND   := $(shell tools/gate-versions)
GATE_MAJORS  := $(foreach v,$(GATE_FOUND),$(if $(filter %:-,$(v)),,$(firstword $(subst :, ,$(v)))))
GATE_LACKING := $(patsubst %:-,%,$(filter %:-,$(GATE_FOUND)))
GATE_LIBS    := $(GATE_MAJORS:%=$(B)/pghad_gate-%.so)
# PostgreSQL's headers rely on the two last ones. It runs in the server: no sanitizer, no coverage.
GATE_CFLAGS  := -std=gnu17 -g -O2 -D_FORTIFY_SOURCE=2 $(WARN) $(filter-out -fPIE,$(HARDEN)) -fPIC \
                -fno-strict-aliasing -fwrapv
gate_include  = $(word 2,$(subst :, ,$(filter $(1):%,$(GATE_FOUND))))

PROGRAMS += $(GATE_LIBS)
may_gate := gate base
.PHONY: gate need-gate
all: gate
gate: $(GATE_LIBS) ## the commit gate, for each PostgreSQL that is here with its headers
	$(Q)for v in $(GATE_LACKING); do echo "  gate: none for PostgreSQL $$v, whose server headers are" \
	    "missing (Debian: postgresql-server-dev-$$v); members run without it"; done

# Tests need it for the server that they run: without it they must fail, not vanish.
need-gate: $(GATE_LIBS)
	@test -n "$(GATE_LIBS)" || { echo 'no commit gate: no PostgreSQL with its server headers; run make deps' >&2; exit 1; }

$(B)/pghad_gate-%.so: src/gate/gate.c include/base/page.h include/base/err.h
	@mkdir -p $(@D)
	@echo '  GATE  PostgreSQL $*'
	$(Q)$(CC) $(CPPFLAGS) -isystem $(call gate_include,$*) $(GATE_CFLAGS) -shared \
	    -Wl,-z,relro,-z,now -o $@.new $< && mv $@.new $@

.PHONY: bench-gate bench-gate-cost
bench-gate: $(B)/pghad $(B)/fake-agent need-gate need-python ## whole members frozen past the deadline, N=200 times with and without the gate
	$(Q)PGHA_BUILD=$(abspath $(B)) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) test/bench/gate.py -n $(if $(filter command,$(firstword $(origin N))),$(N),200) $(X)

PAIRS ?= 40
bench-gate-cost: need-gate need-python ## pgbench with the gate and without, in turns: PAIRS=40 of reads and of simple updates
	$(Q)PGHA_BUILD=$(abspath $(B)) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) test/bench/gate_cost.py -n $(PAIRS) $(X)
