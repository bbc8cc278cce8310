"""Addresses of MLflow's web pages."""

import pytest

from stages.tracking import pages, store


def test_own_file_has_no_pages(client):
    assert pages.run_page("r") is None


@pytest.mark.parametrize("address", ["https://mlflow.here", "https://mlflow.here/"])
def test_pages_may_have_another_address(client, monkeypatch, address):
    monkeypatch.setenv("IEDIT_MLFLOW_PAGES", address)
    assert pages.run_page("r") == f"https://mlflow.here/#/experiments/{store.experiment_id(client)}/runs/r"


def test_credentials_are_not_shown(client, monkeypatch):
    monkeypatch.setattr(pages, "connect", lambda **_: client)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@mlflow.here:5000")
    assert pages.run_page("r") == f"http://mlflow.here:5000/#/experiments/{store.experiment_id(client)}/runs/r"
