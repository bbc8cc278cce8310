"""``iedit models`` lists the models of params.yaml, fetches those of the hub, and pins their commits."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from stages.cli import main as cli
from stages.core.composition import apply_choices
from stages.core.params_file import read_params
from stages.models.hub import identity, locate
from tests.support import ROOT
from tests.support.composed import copy_conf
from tests.support.hub import Hub, Repository, hub

HUB_MODELS = ("captioner", "diffusion")


@pytest.fixture(autouse=True)
def served(tmp_path, monkeypatch):
    """The current folder, a project whose captioner and diffusion model are the hub's; and the hub."""
    locate.cache_clear()
    identity.cache_clear()
    copy_conf(tmp_path)
    (tmp_path / "nano").symlink_to(ROOT / "nano")
    monkeypatch.chdir(tmp_path)
    with hub(tmp_path / "hub") as server:
        for name in HUB_MODELS:
            server.repositories[f"owner/{name}"] = Repository({"main": ROOT / "nano/models" / name}, licence="openrail++")
        choices = {"caption.model": "captioner", "train.base": "diffusion", "evaluate.base": "diffusion"}
        apply_choices([f"{key}={{name: owner/{name}, revision: main}}" for key, name in choices.items()])
        yield server


def test_models_are_listed_with_where_they_are_named(capsys, served):
    assert cli.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = dict(zip(lines[::2], lines[1::2], strict=True))
    assert listed["nano/models/vgg  (train.vgg, evaluate.vgg)"].startswith("  a folder, 0.")
    found = listed["owner/diffusion  (train.base, evaluate.base)"]
    assert found.startswith("  revision main, 0.0")
    assert found.endswith("licence openrail++, not on this machine; iedit models --fetch downloads it")
    assert served.sent == []


def test_fetched_models_are_pinned_and_read_offline(capsys, served, monkeypatch):
    assert cli.main(["models", "--fetch"]) == 0
    commits = {name: served.repositories[f"owner/{name}"].commit("main") for name in HUB_MODELS}
    params = read_params()
    assert params.caption.model.revision == commits["captioner"]
    assert params.train.base.revision == params.evaluate.base.revision == commits["diffusion"]
    printed = capsys.readouterr().out
    assert f"params.yaml: caption.model.revision: main → {commits['captioner']}" in printed

    served.shutdown()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = Path("conf/config.yaml").read_text()
    assert cli.main(["models", "--fetch"]) == 0
    assert "not on this machine" not in capsys.readouterr().out
    assert Path("conf/config.yaml").read_text() == before


def test_what_cannot_be_fetched_is_not_pinned(capsys, served: Hub, tmp_path):
    folder = Path(shutil.copytree(ROOT / "nano/models/diffusion", tmp_path / "pickled"))
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    served.repositories["owner/diffusion"].revisions["main"] = folder
    assert cli.main(["models", "--fetch"]) == 2
    assert "no unet/diffusion_pytorch_model.safetensors, only unet/diffusion_pytorch_model.bin" in capsys.readouterr().err
    assert read_params().train.base.revision == "main"
    assert read_params().caption.model.revision != "main"  # fetched before
    assert cli.main(["models"]) == 2
    assert "only unet/diffusion_pytorch_model.bin" in capsys.readouterr().out


def test_another_revision_is_chosen_by_hand(served: Hub):
    served.repositories["owner/captioner"].revisions["refs/pr/7"] = ROOT / "nano/models/captioner"
    assert cli.main(["configure", "caption.model.revision=refs/pr/7"]) == 0
    assert cli.main(["models", "--fetch"]) == 0
    assert read_params().caption.model.revision == served.repositories["owner/captioner"].commit("refs/pr/7")
