# The Kubernetes client against devkube, over TLS: test/kube.

$(B)/against-devkube: test/kube/against_devkube.c $(foreach a,kube http loop core base,$(call lib,$(a)))
	@mkdir -p $(@D)
	@echo '  TEST  $<'
	$(Q)$(CC) $(CPPFLAGS) $(call pkg,cmocka libcurl json-c) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< \
	    -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call pkgl,cmocka libcurl json-c yaml-0.1)

.PHONY: check-kube
check-kube: $(B)/against-devkube $(B)/devkube ## Kubernetes client against devkube over TLS
	DEVKUBE=$(abspath $(B)/devkube) $(B)/against-devkube
