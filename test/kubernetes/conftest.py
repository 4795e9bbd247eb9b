import os


def pytest_configure(config):
    # Temporary directories of the tests go with the sandbox; those of pytest's own choice in /tmp
    # may belong to another user of the same name.
    if "PGHA_SANDBOX" in os.environ and not config.option.basetemp:
        config.option.basetemp = os.path.join(os.environ["PGHA_SANDBOX"], "pytest")
