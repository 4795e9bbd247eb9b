# The flight recorder: its description of the core's structures, records of incidents as regression cases.

.PHONY: fields check-flight
fields: ## describe the core's structures anew for the flight recorder, after a field was added
	tools/flight-fields

GOLDEN_FLIGHTS := $(sort $(wildcard test/golden/flight/*.txt))
check-flight: $(B)/pghad-agent ## replay the recorded incidents in test/golden/flight: every verdict as then
	$(Q)tools/flight-fields --check
	$(Q)for f in $(GOLDEN_FLIGHTS); do $(B)/pghad-agent --replay $$f || \
	    { echo "$$f: decided otherwise than recorded: review the differences, then make golden" >&2; exit 1; }; done

check-core: check-flight

golden: golden-flight
.PHONY: golden-flight
golden-flight: $(B)/pghad-agent
	$(Q)for f in $(GOLDEN_FLIGHTS); do \
	    $(B)/pghad-agent --record-text=anew $$f > $$f.new && mv $$f.new $$f || exit 1; done
