.PHONY: deps deps-kind
deps: ## install what Debian 12 or Ubuntu 24.04 lacks (as root or through sudo)
	$(Q)tools/deps

deps-kind: ## also what kind-up needs where no registry can be reached: docker, debootstrap
	$(Q)tools/deps kind
