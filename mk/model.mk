# Models of the protocol for Spin: explored within their bounds, and each broken variant rejected.
# ONLY=WORD explores those whose name contains it.
.PHONY: model
model: ## explore the models of lease and data (Spin); each broken variant must be rejected
	$(Q)$(PYTHON) test/model/run.py --build $(B)/model $(if $(ONLY),--only $(ONLY))
