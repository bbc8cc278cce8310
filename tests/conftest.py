"""What holds for all tests."""

import os

import pytest


def forget_store():
    # MLflow writes the store that it was told into the environment, where the next test would find it.
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True, scope="module")
def module_finds_its_own_store():
    forget_store()


@pytest.fixture(autouse=True)
def test_finds_its_own_store():
    forget_store()
