# The manifests in k8s/ against a real API server: test/manifests.

.PHONY: kubectl-bin test-manifests
KUBECTL_TO_BUILD := $(if $(call kube_asset,kubectl),,$(KUBE_BIN)/kubectl)
kubectl-bin: $(KUBECTL_TO_BUILD) ## build kubectl for the tests

$(KUBE_BIN)/kubectl: test/kubernetes/build $(KUBE_MODULES)
	$(Q)test/kubernetes/build $(KUBE_BIN) kubectl

test-manifests: kube-bins kubectl-bin $(B)/pghad-agent need-python ## the manifests in k8s/ against a real API server
	$(Q)$(SANDBOX) -- $(PYTEST) -q -rfEs --tb=short --durations=5 $(if $(K),-k '$(K)') $(X) test/manifests
