# Deliberate defects of the core and of what the simulator plays for it: each must be noticed.
# ONLY=name,name examines some; LAYERS=sim shows what the simulator finds by itself.
.PHONY: mutants
mutants: ## each deliberate defect of the core is noticed by rule check, unit tests or simulator; two are shrunk
	$(Q)$(PYTHON) test/mutants/run.py --cc $(CC) --build $(B)/mutants $(if $(ONLY),--only $(ONLY)) \
	    $(if $(LAYERS),--layers $(LAYERS))
	$(Q)$(if $(ONLY)$(LAYERS),,$(PYTHON) test/mutants/run.py --cc $(CC) --build $(B)/mutants --shrink w-reports,resume-any-epoch)
