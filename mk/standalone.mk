# The image without Kubernetes: test/standalone.

.PHONY: test-standalone
test-standalone: $(PROGRAMS) need-python ## pghad outside Kubernetes: a plain single server
	$(Q)tools/run-pytest env $(SANDBOX) -- $(PYTEST) -q -rfEs --tb=short --durations=5 $(if $(K),-k '$(K)') $(X) test/standalone
