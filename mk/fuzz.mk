# Fuzzing: test/fuzz/fuzz_<target>.c, its corpus in test/fuzz/corpus/<target>, what once failed in
# test/fuzz/crashers/<target>. `make fuzz` builds everything anew with clang and libFuzzer in
# build/fuzz; `make fuzz-corpus` feeds the same files to the product as any compiler builds it.

FUZZ_TARGETS := $(patsubst test/fuzz/fuzz_%.c,%,$(sort $(wildcard test/fuzz/fuzz_*.c)))
FUZZ_BIN     := $(addprefix $(B)/fuzz/,$(FUZZ_TARGETS))
FUZZ_LIBS    := $(call lib,hactl) $(TEST_LIBS)
FUZZ_HEADERS := $(wildcard test/fuzz/*.h)
FUZZ_MAIN    := $(if $(filter 1,$(LIBFUZZER)),,test/fuzz/corpus_main.c)
FUZZ_MORE    := test/fuzz/decide_view.c

$(B)/fuzz/%: test/fuzz/fuzz_%.c $(FUZZ_MAIN) $(FUZZ_MORE) $(FUZZ_HEADERS) $(FUZZ_LIBS)
	@mkdir -p $(@D)
	@echo '  FUZZ  $<'
	$(Q)$(CC) $(CPPFLAGS) -Itest/fuzz -Itest/lib $(call pkg,libpq libcurl json-c libmicrohttpd yaml-0.1 smartcols) \
	    $(CFLAGS) $(LDFLAGS) -o $@ $< $(FUZZ_MAIN) $(if $(filter decide,$*),$(FUZZ_MORE)) \
	    -Wl,--start-group $(FUZZ_LIBS) -Wl,--end-group $(LIBS_test)

.PHONY: fuzz fuzz-build fuzz-corpus fuzz-long fuzz-report fuzz-keep
fuzz-build: $(FUZZ_BIN)

fuzz-corpus: $(FUZZ_BIN) ## every file of the fuzzing corpora, once
	$(Q)tools/fuzz-corpus $(FUZZ_BIN)

FUZZ_SAN   := -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_BUILD := CC=clang B=build/fuzz LIBFUZZER=1 \
              OPT='-O1 $(FUZZ_SAN) -fsanitize=fuzzer-no-link' \
              LDSAN='-fsanitize=fuzzer,address,undefined'

TIME ?= 60
MINUTES ?= 20
T    ?= $(FUZZ_TARGETS)
fuzz: ## fuzz each target for TIME=60 seconds with sanitizers; T='a b' selects; crashes are kept
	$(Q)$(ANEW) $(JOBS) $(FUZZ_BUILD) $(addprefix build/fuzz/fuzz/,$(T))
	$(Q)tools/fuzz-run --seconds $(TIME) $(T)

fuzz-long: ## fuzz until each target has had MINUTES=20 of the processor, over any number of runs
	$(Q)$(ANEW) $(JOBS) $(FUZZ_BUILD) $(addprefix build/fuzz/fuzz/,$(T))
	$(Q)tools/fuzz-run --minutes $(MINUTES) --seconds $(if $(filter file,$(origin TIME)),300,$(TIME)) $(T)

fuzz-report: ## what the runs of make fuzz-long have come to, target by target
	$(Q)tools/fuzz-run --report

fuzz-keep: ## take what fuzzing found into the corpora: the fewest small files that reach as much
	$(Q)$(ANEW) $(JOBS) $(FUZZ_BUILD) $(addprefix build/fuzz/fuzz/,$(T))
	$(Q)tools/fuzz-run --keep $(T)
