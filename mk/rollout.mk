# The agent of a release to come, as far as the peer protocol is concerned: a higher version and a field
# that the present one does not know. For rollouts with mixed versions; beside the others, where a
# test's sandbox shows it.

NEXT := $(B)/next
$(NEXT)/peer_codec.c: src/http/peer_codec.c
	@mkdir -p $(@D)
	$(Q)sed -e 's/^#define VERSION 1$$/#define VERSION 2/' \
	    -e 's/^    jw_int(&j, "v", VERSION);$$/& jw_bool(\&j, "later", true);/' $< > $@
	$(Q)test "$$(grep -c '#define VERSION 2\|"later"' $@)" = 3 || { echo 'mk/rollout.mk no longer fits $<' >&2; rm $@; exit 1; }

$(NEXT)/peer_codec.o: $(NEXT)/peer_codec.c
	@echo '  CC    $<'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(NEXT)/pghad-agent: $(NEXT)/peer_codec.o $(AGENT_LIBS) $(B)/pghad
	@echo '  LD    $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(AGENT_LIBS) -Wl,--end-group $(LIBS_agent)
	$(Q)cp $(B)/pghad $(@D)/pghad
