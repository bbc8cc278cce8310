"""Fetching models from a server that answers as the hub does: what is downloaded, checked, pinned and refused."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from stages.core.files import read_json, write_json
from stages.core.params import ModelName
from stages.models import captioner, clip, latent_diffusion, segmenter, vgg
from stages.models.fetching import facts_of, fetch, licence_of
from stages.models.hub import ModelError, identity, is_local, locate
from tests.support.hub import Hub, Repository, hub, names
from tests.support.tiny import split_tokenizer

LOADERS = {
    "captioner": captioner.load_captioner,
    "clip": clip.load_clip,
    "segmenter": segmenter.load_segmenter,
    "vgg": vgg.load_vgg,
    "diffusion": latent_diffusion.load_diffusion,
}
UNREAD = {  # beside the files of a model: what the hub's repositories have too
    "captioner": ["pytorch_model.bin", "tf_model.h5"],
    "clip": ["open_clip_pytorch_model.bin", "model.safetensors", "pytorch_model.bin"],
    "segmenter": ["pytorch_model.bin"],
    "vgg": ["pytorch_model.bin"],
    "diffusion": [
        *("v1-5-pruned.safetensors", "v1-5-pruned-emaonly.ckpt", "feature_extractor/preprocessor_config.json"),
        *("safety_checker/config.json", "safety_checker/model.safetensors"),
        *(f"unet/diffusion_pytorch_model.{ending}" for ending in ("fp16.safetensors", "non_ema.safetensors", "bin")),
    ],
}
CARD = "---\nlicense: creativeml-openrail-m\n---\n# A model\n"


@pytest.fixture
def served(tmp_path):
    """The server, with an empty cache on this side."""
    locate.cache_clear()
    identity.cache_clear()
    with hub(tmp_path / "hub") as server:
        yield server
    locate.cache_clear()
    identity.cache_clear()


def publish(server: Hub, folder: Path, name: str = "owner/model", **revisions: Path) -> ModelName:
    """Let the hub have a folder as the branch main of a repository, and return it as params.yaml would name it."""
    server.repositories[name] = Repository({"main": folder, **revisions}, licence="mit")
    return in_params(name, "main")


def in_params(name: str, revision: str) -> ModelName:
    model = ModelName(name=name, revision=revision)
    model._key = "train.base"
    return model


@pytest.fixture
def repository(kind, models, tmp_path) -> Path:
    """A tiny model in the layout of the hub's repositories, with what else they hold."""
    folder = Path(shutil.copytree(getattr(models, kind).name, tmp_path / "repository"))
    if kind == "diffusion":
        split_tokenizer(folder / "tokenizer")
    for name in UNREAD[kind]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"{}")
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.mark.parametrize("kind", LOADERS)
def test_only_what_is_loaded_is_fetched_then_read_offline(kind, repository, served, monkeypatch):
    model = publish(served, repository)
    wanted = sorted(set(names(repository)) - set(UNREAD[kind]) - {"README.md"})
    asked = facts_of(model)
    assert (list(asked.files), asked.licence, asked.is_here) == (wanted, "mit", False)
    assert asked.bytes == sum((repository / name).stat().st_size for name in wanted)

    pinned = fetch(model)
    assert sorted(served.sent) == sorted([*wanted, "README.md"])
    assert pinned.revision == served.repositories["owner/model"].commit("main") == identity(pinned)
    assert pinned.key == "train.base"

    served.shutdown()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert LOADERS[kind](pinned)
    here = facts_of(pinned)
    assert (here.files, here.bytes, here.is_here) == (asked.files, asked.bytes, True)
    assert here.licence == "creativeml-openrail-m"


@pytest.mark.parametrize("revision", ["main", "v1", "0123abc"])
def test_a_stage_refuses_a_revision_that_may_move(revision, served, models):
    publish(served, Path(models.vgg.name))
    with pytest.raises(ModelError, match=rf"^train\.base\.name = 'owner/model': revision '{revision}' is no commit, .*--fetch"):
        locate(in_params("owner/model", revision))
    assert served.sent == []


def test_a_stage_downloads_nothing(served, models):
    publish(served, Path(models.vgg.name))
    commit = served.repositories["owner/model"].commit("main")
    with pytest.raises(ModelError, match=r"is not on this machine, or not whole; iedit models --fetch downloads it$"):
        locate(in_params("owner/model", commit))
    assert served.sent == []


@pytest.mark.parametrize("kind", ["diffusion"])
def test_a_snapshot_that_lacks_a_file_is_not_whole(kind, repository, served):
    pinned = fetch(publish(served, repository))
    (locate(pinned) / "tokenizer" / "merges.txt").unlink()
    locate.cache_clear()
    with pytest.raises(ModelError, match="not whole"):
        locate(pinned)
    fetch(pinned)
    assert latent_diffusion.load_diffusion(pinned)


@pytest.mark.parametrize("kind", ["diffusion"])
def test_another_family_is_refused_before_its_weights_are_fetched(kind, repository, served):
    path = repository / "model_index.json"
    write_json(path, read_json(path) | {"_class_name": "FluxPipeline"})
    shutil.rmtree(repository / "unet")  # it has a transformer instead
    with pytest.raises(ModelError, match=r"^train\.base\.name = 'owner/model': is a FluxPipeline; supported are "):
        fetch(publish(served, repository))
    assert not any(name.endswith(".safetensors") for name in served.sent)


@pytest.mark.parametrize("name", ["model.safetensors", "README.md"])
@pytest.mark.parametrize("kind", ["vgg"])
def test_a_file_that_the_hub_describes_otherwise_is_removed(kind, repository, served, name):
    model = publish(served, repository)
    lies = served.repositories[model.name].lies
    lies[name] = "0" * 64
    with pytest.raises(ModelError, match=rf"^train\.base\.name = 'owner/model': {name} is damaged \(.* the hub says 0{{64}}\)"):
        fetch(model)
    lies.clear()
    assert vgg.load_vgg(fetch(model))


@pytest.mark.parametrize("kind", ["captioner"])
class TestWithoutSafetensors:
    """A repository whose branch main has pickled weights only, as BLIP's."""

    @pytest.fixture
    def pickled(self, kind, repository, tmp_path) -> Path:
        folder = Path(shutil.copytree(repository, tmp_path / "pickled"))
        (folder / "model.safetensors").unlink()
        return folder

    @pytest.mark.parametrize(
        ("revision", "said"), [("refs/pr/7", ", a proposal that its owner has not accepted"), ("safetensors", "")]
    )
    def test_a_revision_that_has_them_is_named(self, kind, repository, pickled, served, revision, said):
        model = publish(served, pickled, **{"refs/pr/6": pickled, revision: repository})
        with pytest.raises(ModelError) as error:
            fetch(model)
        assert str(error.value) == (
            "train.base.name = 'owner/model': no model.safetensors, only pytorch_model.bin;"
            f" revision '{revision}' has them{said}: iedit configure train.base.revision={revision}"
        )
        assert served.sent == []
        assert captioner.load_captioner(fetch(in_params("owner/model", revision)))

    def test_a_repository_of_the_same_name_is_named(self, kind, repository, pickled, served):
        publish(served, repository, "other/model")
        publish(served, repository, "other/model-large")
        with pytest.raises(ModelError, match=r"; other/model, a repository of another owner, has them: iedit configure"):
            facts_of(publish(served, pickled))

    def test_nothing_is_named_where_the_hub_lists_none(self, kind, pickled, served):
        with pytest.raises(ModelError, match=r"no model\.safetensors, only pytorch_model\.bin$"):
            fetch(publish(served, pickled))


@pytest.mark.parametrize("kind", ["captioner"])
def test_a_model_that_asks_for_code_is_not_pinned(kind, repository, served):
    path = repository / "config.json"
    write_json(path, read_json(path) | {"auto_map": {"AutoModel": "mine.Model"}})
    with pytest.raises(ModelError, match=r"config\.json asks for code to be run \(auto_map\)"):
        fetch(publish(served, repository))


@pytest.mark.parametrize(
    ("name", "revision", "what"), [("nobody/model", "main", "RepositoryNotFound"), ("owner/model", "v9", "RevisionNotFound")]
)
def test_what_the_hub_does_not_have_is_one_line(served, models, name, revision, what):
    publish(served, Path(models.vgg.name))
    with pytest.raises(ModelError) as error:
        fetch(in_params(name, revision))
    assert str(error.value).startswith(f"train.base.name = '{name}': the hub did not deliver it: {what}Error: 404")
    assert str(error.value).isprintable()


def test_an_unreachable_hub_is_one_line(served):
    served.shutdown()
    served.server_close()
    with pytest.raises(ModelError, match=r"the hub did not deliver it: ConnectError: .*refused$"):
        facts_of(in_params("owner/model", "main"))


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: other\nlicense_name: openrail++\n---\n", "openrail++"),
        ("---\nlicense: [\n---\n", "not stated"),
        ("# No head\n", "not stated"),
        (None, "not stated"),
    ],
)
def test_licence_is_read_from_the_model_card(card, licence, tmp_path):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == licence


def test_a_folder_is_local_whatever_its_revision(models):
    model = ModelName(name=models.vgg.name, revision="main")
    assert is_local(model)
    assert facts_of(model).commit is None
