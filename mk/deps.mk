.PHONY: deps
deps: ## install what Debian 12 or Ubuntu 24.04 lacks (as root or through sudo)
	$(Q)tools/deps
