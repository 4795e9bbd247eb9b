# Static checks. Each C file has a stamp per tool, so that the second run looks only at what changed.

LINT_SRCS    := $(foreach a,$(AREAS),$(call srcs_of,$(a))) $(if $(GATE_MAJORS),src/gate/gate.c)
LINT_HEADERS := $(wildcard include/*/*.h src/*/*.h)
LINT_CPP     := $(CPPFLAGS) $(call pkg,libcurl json-c libmicrohttpd libpq yaml-0.1 smartcols) -std=gnu17
LINT_GATE     = $(if $(findstring src/gate/,$<),-isystem $(call gate_include,$(lastword $(GATE_MAJORS))))
LINT_STAMPS  := $(patsubst src/%.c,$(B)/lint/%,$(LINT_SRCS))

.PHONY: lint lint-all lint-headers lint-cppcheck lint-source lint-symbols lint-shell lint-links lint-docs lint-make
lint: ## static checks: clang-tidy, gcc -fanalyzer, cppcheck, headers, symbols, scripts, documents
	$(Q)tools/deps lint
	$(Q)$(ANEW) $(JOBS) lint-all
	@echo 'lint: clean'

lint-all: check-layers lint-make lint-source lint-symbols lint-shell lint-links lint-docs lint-cppcheck lint-headers \
          $(LINT_STAMPS:=.tidy) $(LINT_STAMPS:=.analyzed)

$(B)/lint/%.tidy: src/%.c $(LINT_HEADERS) .clang-tidy
	@mkdir -p $(@D)
	@echo '  TIDY  $<'
	$(Q)clang-tidy --quiet $< -- $(LINT_CPP) $(LINT_GATE) $(if $(findstring src/core/,$<),-ffreestanding) 2>$@.log || \
	    { cat $@.log; exit 1; }
	@touch $@

# malloc-leak: what a called function returns is lost to it; leaks are the sanitizer's to find.
# null-argument: it forgets what was checked in a loop or in another function.
$(B)/lint/%.analyzed: src/%.c $(LINT_HEADERS)
	@mkdir -p $(@D)
	@echo '  ANLZ  $<'
	$(Q)gcc $(LINT_CPP) $(LINT_GATE) $(if $(findstring src/core/,$<),-ffreestanding) -O1 -fanalyzer -Werror \
	    -Wno-analyzer-malloc-leak -Wno-analyzer-null-argument -c -o /dev/null $<
	@touch $@

# varFuncNullUB: NULL is a pointer in C. internalAstError: it cannot parse all of C11.
lint-cppcheck:
	$(Q)cppcheck -q -j2 --std=c11 --enable=warning,portability,performance --inline-suppr \
	    --error-exitcode=1 --suppress=missingIncludeSystem --suppress=varFuncNullUB \
	    --suppress=internalAstError $(CPPFLAGS) src
	@echo 'cppcheck: clean'

# A header brings all that it needs, with either compiler.
lint-headers:
	$(Q)for h in $(LINT_HEADERS); do for cc in gcc clang; do \
	    echo "#include \"$$h\"" | $$cc $(LINT_CPP) -I. -Wall -Wextra -Werror -fsyntax-only -x c - || \
	        { echo "$$h does not compile alone with $$cc"; exit 1; }; done; done
	@echo 'headers: $(words $(LINT_HEADERS)) compile alone with gcc and clang'

# What a target needs is expanded where it is read: a variable that is set later is empty there. These may be unset.
MAKE_MAY = KUBEBUILDER_ASSETS|TEST_ASSET_[A-Z_]*|LIBFUZZER|KUBE|COV|LDSAN
lint-make:
	$(Q)! $(MAKE) --no-print-directory --warn-undefined-variables -n help 2>&1 | grep 'undefined variable' | \
	    grep -vE "'($(MAKE_MAY))'"
	@echo 'make: no variable is used before it is set'

lint-source:
	$(Q)tools/lint-source .

lint-symbols: $(PROGRAMS) $(foreach a,$(AREAS),$(call lib,$(a)))
	$(Q)tools/lint-symbols $(B)

lint-shell:
	$(Q)tools/lint-shell .

lint-links:
	$(Q)tools/lint-links .

# Reference pages and runbooks against the source, in both directions.
lint-docs:
	$(Q)tools/lint-docs .
