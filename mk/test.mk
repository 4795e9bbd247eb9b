# Tests, demo, benchmark. Everything that needs a network runs inside test/lib/sandbox.py.

# The interpreter that has the test libraries: Debian's, where another one comes first in PATH.
PYTHON  ?= $(shell for p in python3 /usr/bin/python3; do \
               $$p -c 'import pytest, psycopg2, yaml' 2>/dev/null && { echo $$p; break; }; done)
SANDBOX := $(PYTHON) test/lib/sandbox.py

$(B)/ha-writer: test/lib/writer.c $(call lib,base)
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC) $(CPPFLAGS) $(call pkg,libpq) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(call lib,base) \
	    $(call pkgl,libpq)
