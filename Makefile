# pghad: build, tests, demo. `make help` lists the targets.
#
# One object tree per set of flags under build/<flavour>/, so that `make`, `make CC=clang` and
# `make SAN=1` live side by side. Each area of src/ becomes one archive; the layering between
# them is checked by `make check-layers`.

CC      ?= gcc
ifeq ($(origin CC),default)
CC      := gcc
endif
PREFIX  ?= /usr/local
DESTDIR ?=
V       ?= 0
SAN     ?= 0
VERSION := 0.1.0

flavour := $(notdir $(CC))$(if $(filter 1,$(SAN)),-san)$(if $(filter 1,$(COV)),-cov)
B       := build/$(flavour)
Q       := $(if $(filter 1,$(V)),,@)

AREAS   := base core flight loop guard http kube pg config agent hactl

WARN    := -Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wformat=2 \
           -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wswitch-enum \
           -Wimplicit-fallthrough -Wundef -Wvla -Wwrite-strings -Wcast-qual -Wnull-dereference
ifeq ($(findstring clang,$(CC)),)
WARN    += -Wformat-signedness -Wlogical-op -Wduplicated-cond
endif

HARDEN  := -fstack-protector-strong -fstack-clash-protection -ftrivial-auto-var-init=zero -fPIE
ifneq ($(findstring clang,$(CC)),)
# clang before 16 wants to be told twice; later ones do not know the second word.
TWICE   := -enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang
HARDEN  += $(shell $(CC) -ftrivial-auto-var-init=zero $(TWICE) -fsyntax-only -x c /dev/null 2>/dev/null && echo $(TWICE))
endif
ifeq ($(SAN),1)
OPT     := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LDSAN   := -fsanitize=address,undefined
else
OPT     := -O2 -D_FORTIFY_SOURCE=2
endif
ifeq ($(COV),1)
OPT     := -O0 --coverage
LDSAN   := --coverage
endif

pkg      = $(shell pkg-config --cflags $(1) 2>/dev/null)
pkgl     = $(shell pkg-config --libs $(1) 2>/dev/null)

CPPFLAGS := -Iinclude -D_GNU_SOURCE -DPGHAD_VERSION='"$(VERSION)"'
CFLAGS   := -std=gnu17 -g $(OPT) $(WARN) $(HARDEN)
LDFLAGS  := -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDSAN)

# Third-party headers are visible only to the areas that may use them.
CPP_kube   := $(call pkg,libcurl json-c)
CPP_http   := $(call pkg,libmicrohttpd libcurl json-c)
CPP_pg     := $(call pkg,libpq json-c)
CPP_config := $(call pkg,yaml-0.1)
CPP_hactl  := $(call pkg,libcurl json-c smartcols libpq yaml-0.1)
CPP_core   := -ffreestanding

LIBS_agent := $(call pkgl,libpq libcurl json-c libmicrohttpd yaml-0.1)
LIBS_hactl := $(call pkgl,libpq libcurl json-c smartcols yaml-0.1)
LIBS_test  := $(call pkgl,cmocka libpq libcurl json-c libmicrohttpd yaml-0.1 smartcols)

srcs_of  = $(sort $(wildcard src/$(1)/*.c))
objs_of  = $(patsubst src/%.c,$(B)/obj/%.o,$(call srcs_of,$(1)))
lib      = $(B)/lib$(1).a

PROGRAMS := $(B)/pghad $(B)/pghad-agent $(B)/hactl

.PHONY: all help clean
all: $(PROGRAMS) ## build everything

help: ## this list
	@grep -hE '^[a-z][a-zA-Z0-9_-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 24

define area_rules
$(call lib,$(1)): $(call objs_of,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(Q)ar rcs $$@ $$^
$(B)/obj/$(1)/%.o: src/$(1)/%.c
	@mkdir -p $$(@D)
	@$$(if $$(filter 1,$(V)),,echo '  CC    $$<')
	$$(Q)$$(CC) $$(CPPFLAGS) $$(CPP_$(1)) $$(CFLAGS) -MMD -MP -c -o $$@ $$<
endef
$(foreach a,$(AREAS),$(eval $(call area_rules,$(a))))

# guard is PID 1: libc only and static, so it is a program of its own (docs/decisions/0001, 0011).
# The sanitizers need a dynamic program.
LD_guard := $(if $(LDSAN),-pie,-static-pie) $(filter-out -pie,$(LDFLAGS))
$(B)/pghad: $(call lib,guard) $(call lib,base)
	@echo '  LD    $@'
	$(Q)$(CC) $(CFLAGS) $(LD_guard) -o $@ -Wl,--start-group $^ -Wl,--end-group

AGENT_LIBS := $(foreach a,agent config pg kube http loop flight core base,$(call lib,$(a)))
$(B)/pghad-agent: $(AGENT_LIBS)
	@echo '  LD    $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ -Wl,--start-group $^ -Wl,--end-group $(LIBS_agent)

HACTL_LIBS := $(foreach a,hactl config kube http loop flight core base,$(call lib,$(a)))
$(B)/hactl: $(HACTL_LIBS)
	@echo '  LD    $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ -Wl,--start-group $^ -Wl,--end-group $(LIBS_hactl) $(call pkgl,libmicrohttpd)

# Unit tests: test/unit/test_<module>.c, one cmocka program each.
TEST_LIBS  := $(foreach a,agent config pg kube http loop guard flight core base,$(call lib,$(a)))
UNIT       := $(patsubst test/unit/%.c,$(B)/unit/%,$(sort $(wildcard test/unit/test_*.c)))
$(B)/unit/%: test/unit/%.c $(TEST_LIBS)
	@mkdir -p $(@D)
	@echo '  TEST  $<'
	$(Q)$(CC) $(CPPFLAGS) -Itest/lib $(call pkg,cmocka libpq libcurl json-c libmicrohttpd yaml-0.1) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< \
	    -Wl,--start-group $(TEST_LIBS) -Wl,--end-group $(LIBS_test)

include $(sort $(wildcard mk/*.mk))

clean: ## remove build/
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
