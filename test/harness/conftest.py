import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))


def pytest_configure(config):
    # Inside the sandbox, so that it vanishes with it and belongs to nobody else.
    if "PGHA_SANDBOX" in os.environ and not config.option.basetemp:
        config.option.basetemp = os.path.join(os.environ["PGHA_SANDBOX"], "pytest")
