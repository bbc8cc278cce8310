"""The tests; asserts in shared helpers are rewritten, so that their failures show values as those of tests do."""

import pytest

pytest.register_assert_rewrite("tests.support.harness", "tests.support.tiny_corpus")
