"""What the documents say is there, and what is there they say."""
import os
import subprocess

import pytest

from conftest import ROOT


@pytest.mark.parametrize("tool", ["lint-docs", "lint-links"])
def test_documents(tool):
    r = subprocess.run([os.path.join(ROOT, "tools", tool), ROOT], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stdout + r.stderr
