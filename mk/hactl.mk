# hactl: reference page, completions, unit tests that link the command line.

HACTL_DOC   := docs/reference/hactl.md
HACTL_UNIT  := $(filter $(B)/unit/test_hactl_%,$(UNIT))

.PHONY: docs-hactl check-hactl
docs-hactl: $(B)/hactl ## regenerate docs/reference/hactl.md from the command table
	$(Q)$(B)/hactl help reference > $(HACTL_DOC).new && mv $(HACTL_DOC).new $(HACTL_DOC)

check-hactl: $(B)/hactl $(HACTL_UNIT) ## hactl's unit tests; reference page and completion
	$(Q)for t in $(HACTL_UNIT); do $$t || exit 1; done
	$(Q)$(B)/hactl completion bash | bash -n
	$(Q)! command -v zsh > /dev/null || $(B)/hactl completion zsh | zsh -n
	$(Q)! command -v fish > /dev/null || $(B)/hactl completion fish | fish -n
	$(Q)$(B)/hactl help reference | diff -u $(HACTL_DOC) - || \
	    { echo 'run: make docs-hactl' >&2; exit 1; }

HACTL_TEST_LIBS := $(call lib,hactl) $(HACTL_LIBS)
$(B)/unit/test_hactl_%: test/unit/test_hactl_%.c $(HACTL_TEST_LIBS)
	@mkdir -p $(@D)
	@echo '  TEST  $<'
	$(Q)$(CC) $(CPPFLAGS) -Itest/lib $(call pkg,cmocka) $(CPP_hactl) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< \
	    -Wl,--start-group $(HACTL_TEST_LIBS) -Wl,--end-group $(call pkgl,cmocka) $(LIBS_hactl) \
	    $(call pkgl,libmicrohttpd)
