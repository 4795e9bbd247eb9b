# The manifests in k8s/ against a real API server: test/manifests.

.PHONY: kubectl-bin helm-bin test-manifests
KUBECTL_TO_BUILD := $(if $(call kube_asset,kubectl),,$(KUBE_BIN)/kubectl)
kubectl-bin: $(KUBECTL_TO_BUILD) ## build kubectl for the tests

$(KUBE_BIN)/kubectl: test/kubernetes/build $(KUBE_MODULES)
	$(Q)test/kubernetes/build $(KUBE_BIN) kubectl

HELM_TO_BUILD := $(if $(call kube_asset,helm),,$(KUBE_BIN)/helm)
helm-bin: $(HELM_TO_BUILD) ## build helm for the tests of the chart

$(KUBE_BIN)/helm: test/kubernetes/build $(wildcard test/kubernetes/helm/go.*)
	$(Q)test/kubernetes/build $(KUBE_BIN) helm

test-manifests: kube-bins kubectl-bin helm-bin $(B)/pghad-agent need-python ## the manifests in k8s/ against a real API server
	$(Q)tools/run-pytest env $(SANDBOX) -- $(PYTEST) -q -rfEs --tb=short --durations=5 $(if $(K),-k '$(K)') $(X) test/manifests
