"""SECURITY.md names the tests that enforce it."""

import re

from tests.support import ROOT


def test_named_tests_exist():
    named = re.findall(r"`(tests/[^`]+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []
