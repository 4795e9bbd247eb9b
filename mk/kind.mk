# A cluster of real kubelets for tests and for trying out: nodes that are containers, by kind. Where a
# registry can be reached kind's own node image is used; without one, kind-node-image makes it first.

KIND_IMAGE    := pghad:dev
KIND_NEXT     := pghad:next
KIND_ARCHIVE  := build/image/pghad-dev.tar
KIND_NEEDS    := kind kubectl
NODE_NEEDS    := kind kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubeadm kubectl \
                 kubelet etcd coredns nodeagent

.PHONY: kind-programs kind-node-image kind-up kind-load kind-dockerfile kind-deploy kind-overlays kind-scenarios \
        kind-chaos kind-report kind-test kind-short kind-down

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

kind-programs: ## what the nodes run, built by Go; part of kind-node-image
	$(call kind_programs,$(NODE_NEEDS))

kind-node-image: ## build the node image for kind without a registry (root; minutes, once)
	$(call kind_programs,$(NODE_NEEDS))
	$(Q)test/kind/node-image

kind-up: ## a cluster of one control plane and three workers; context kind-pghad
	$(call kind_programs,$(KIND_NEEDS))
	$(Q)test/kind/up

# pghad:next is for rollouts: members of it and of pghad:dev must understand each other.
kind-load: $(PROGRAMS) $(B)/next/pghad-agent ## build the images pghad:dev and pghad:next and load them into the nodes
	$(Q)cp $(B)/hactl $(B)/next/hactl
	$(Q)tools/image-offline $(KIND_ARCHIVE) $(B) $(KIND_IMAGE) $(B)/next $(KIND_NEXT)
	$(Q)test/kind/load $(KIND_ARCHIVE)

KIND_PYTEST = env PGHA_BUILD=$(abspath $(B)) PYTHONDONTWRITEBYTECODE=1 $(PYTEST) -q -s -rfEs --tb=short --durations=5
# Inside the cluster's network, as its clients.
KIND_INSIDE = test/kind/inside $(KIND_PYTEST)

kind-dockerfile: need-python ## kind: build the Dockerfile on a base from Debian packages, and run that image alone
	$(Q)test/kind/dockerfile
	$(Q)env PGHA_IMAGE=pghad:dockerfile $(KIND_PYTEST) test/kind/test_image.py

kind-deploy: $(PROGRAMS) need-python ## kind: the image alone; the overlay comes up, is reached and operated; K=WORD selects
	$(Q)$(KIND_PYTEST) $(if $(K),-k '$(K)') $(X) test/kind/test_image.py test/kind/test_deploy.py

kind-overlays: $(PROGRAMS) need-python ## kind: the overlays of docs/deployments.md as their users reach them; K=WORD selects
	$(Q)$(KIND_PYTEST) $(if $(K),-k '$(K)') $(X) test/kind/test_overlays.py

kind-scenarios: $(PROGRAMS) $(B)/ha-writer need-python ## kind: the scenarios marked so, on a deployment; K=WORD selects
	$(Q)$(KIND_INSIDE) $(if $(K),-k '$(K)') $(X) test/scenarios --kube kind

# One JSON line per episode in build/kind-chaos.jsonl. SEEDS=none leaves the random sequences out, N=0 the
# catalogue; FAULTS='A;B' takes these faults of it and not those of objects.
kind-chaos: $(PROGRAMS) $(B)/ha-writer need-python ## kind: each fault N=1 times, random sequences SEEDS=1-10; build/kind-report.md
	$(Q)rm -f build/kind-chaos.jsonl
	$(Q)rc=0; PGHA_EPISODES=$(if $(filter command,$(firstword $(origin N))),$(N),1) PGHA_FAULTS='$(FAULTS)' \
	    PGHA_CHAOS=$(if $(filter command,$(firstword $(origin SEEDS))),$(SEEDS),1-10) \
	    $(KIND_INSIDE) $(if $(K),-k '$(K)') $(X) test/kind/chaos || rc=$$?; \
	    $(PYTHON) test/kind/kind_report.py build/kind-chaos.jsonl build/kind-report.md; exit $$rc

kind-report: need-python ## the table of all kept results, or of RESULTS=FILES: build/kind-report.md
	$(Q)mkdir -p build
	$(Q)$(PYTHON) test/kind/kind_report.py $(or $(RESULTS),$(sort $(wildcard test/kind/results/*.jsonl))) build/kind-report.md

kind-test: ## all tests on that cluster: kind-dockerfile, kind-deploy, kind-overlays, kind-scenarios, kind-chaos
	$(Q)rc=0; for t in kind-dockerfile kind-deploy kind-overlays kind-scenarios kind-chaos; do $(ANEW) $$t || rc=1; done; exit $$rc

kind-short: ## from nothing to a deployment and five faults on kind, and down again; times of the phases
	$(Q)MAKE='$(MAKE)' test/kind/short

kind-down: ## remove the cluster, and the docker that kind-up started
	$(Q)test/kind/down
