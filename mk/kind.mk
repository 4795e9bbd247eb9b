# A cluster of real kubelets for tests and for trying out: nodes that are containers, by kind. Where a
# registry can be reached kind's own node image is used; without one, kind-node-image makes it first.

KIND_IMAGE    := pghad:dev
KIND_ARCHIVE  := build/image/pghad-dev.tar
KIND_NEEDS    := kind kubectl
NODE_NEEDS    := kind kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubeadm kubectl \
                 kubelet etcd coredns nodeagent

.PHONY: kind-node-image kind-up kind-load kind-test kind-down

# What KUBEBUILDER_ASSETS has is taken from there; one recipe for all that is missing or, of the programs
# whose sources are here, out of date.
define kind_programs
	$(Q)mkdir -p $(KUBE_BIN)
	$(Q)missing=; for n in $(1); do p=$(KUBE_BIN)/$$n; \
	    if [ -x $$p ] && [ -z "$$(find test/kind/$$n -newer $$p -type f 2>/dev/null)" ]; then :; \
	    elif [ -n "$$KUBEBUILDER_ASSETS" ] && [ -x "$$KUBEBUILDER_ASSETS/$$n" ]; then \
	        ln -sf "$$KUBEBUILDER_ASSETS/$$n" $$p; \
	    else missing="$$missing $$n"; fi; \
	done; [ -z "$$missing" ] || test/kubernetes/build $(KUBE_BIN) $$missing
endef

kind-node-image: ## build the node image for kind without a registry (root; minutes, once)
	$(call kind_programs,$(NODE_NEEDS))
	$(Q)test/kind/node-image

kind-up: ## a cluster of one control plane and three workers; context kind-pghad
	$(call kind_programs,$(KIND_NEEDS))
	$(Q)test/kind/up

kind-load: $(PROGRAMS) ## build the image pghad:dev and load it into the nodes
	$(Q)tools/image-offline $(B) $(KIND_IMAGE) $(KIND_ARCHIVE)
	$(Q)test/kind/load $(KIND_ARCHIVE)

kind-test: $(PROGRAMS) need-python ## tests on that cluster; K=WORD selects
	$(Q)PGHA_BUILD=$(abspath $(B)) PYTHONDONTWRITEBYTECODE=1 $(PYTEST) -q -s -rfEs --tb=short --durations=5 \
	    $(if $(K),-k '$(K)') $(X) test/kind

kind-down: ## remove the cluster, and the docker that kind-up started
	$(Q)test/kind/down
