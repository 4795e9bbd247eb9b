# Files generated from the option table. The unit test fails when they differ from it.

.PHONY: config-docs
config-docs: $(B)/unit/test_config ## write config/pghad.yaml and docs/reference/configuration.md anew
	$(Q)PGHAD_WRITE_GENERATED=1 $< >/dev/null
