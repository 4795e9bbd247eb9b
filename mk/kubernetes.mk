# The real control plane for the tests: built by Go from the module proxy, in test/kubernetes/bin,
# which `make clean` leaves alone. Programs that TEST_ASSET_* or KUBEBUILDER_ASSETS provide are used
# as they are and not built; test/lib/kubereal.py looks in the same order.

KUBE_BIN      := test/kubernetes/bin
KUBE_NAMES    := kube-apiserver kube-controller-manager etcd
kube_asset     = $(or $(TEST_ASSET_$(subst -,_,$(shell echo $(1) | tr a-z A-Z))),$(if $(KUBEBUILDER_ASSETS),$(wildcard $(KUBEBUILDER_ASSETS)/$(1))))
KUBE_TO_BUILD := $(foreach n,$(KUBE_NAMES),$(if $(call kube_asset,$(n)),,$(n)))
KUBE_MODULES  := $(wildcard test/kubernetes/go.* test/kubernetes/etcd/go.*)

.PHONY: kube-bins test-kubeapi kube-up kube-bins-clean
kube-bins: $(addprefix $(KUBE_BIN)/,$(KUBE_TO_BUILD)) ## build the real API server for the tests (minutes, once)

# One recipe for all that is missing: two builds side by side would only fight for the processors.
ifneq ($(KUBE_TO_BUILD),)
$(addprefix $(KUBE_BIN)/,$(KUBE_TO_BUILD)) &: test/kubernetes/build $(KUBE_MODULES)
	$(Q)test/kubernetes/build $(KUBE_BIN) $(KUBE_TO_BUILD)
endif

kube-bins-clean: ## remove the built control plane
	rm -rf $(KUBE_BIN)

test-kubeapi: kube-bins $(B)/devkube ## the harness's API servers keep the promises the scenarios build on
	$(Q)tools/run-pytest env PGHA_BUILD=$(B) $(SANDBOX) -- $(PYTHON) -m pytest -q -s -p no:cacheprovider test/kubernetes

kube-up: kube-bins ## run the real API server by hand until interrupted; prints a kubeconfig
	$(Q)$(PYTHON) test/kubernetes/up
