"""The tests; the asserts of their harness are told as fully as their own."""

import pytest

pytest.register_assert_rewrite("tests.support.harness")
