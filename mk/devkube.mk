# devkube: the Kubernetes API server of tests and the demo (test/devkube). No product code links it.

DEVKUBE_SRCS := $(sort $(wildcard test/devkube/*.c))
DEVKUBE_OBJS := $(patsubst test/devkube/%.c,$(B)/devkube-obj/%.o,$(DEVKUBE_SRCS))

$(B)/devkube-obj/%.o: test/devkube/%.c
	@mkdir -p $(@D)
	@$(if $(filter 1,$(V)),,echo '  CC    $<')
	$(Q)$(CC) $(CPPFLAGS) -Itest $(call pkg,libmicrohttpd json-c) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/devkube: $(DEVKUBE_OBJS) $(call lib,base)
	@echo '  LD    $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(call pkgl,libmicrohttpd json-c)

.PHONY: devkube check-devkube
devkube: $(B)/devkube ## the API server for tests and the demo

check-devkube: $(B)/devkube ## its own tests: bodies, watches, faults, load
	$(Q)tools/run-pytest env DEVKUBE=$(abspath $(B)/devkube) $(PYTHON) -m pytest -q -p no:cacheprovider test/devkube
