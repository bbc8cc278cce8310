"""The choices in conf/config.yaml: what can be chosen and forgotten, and how the file looks afterwards."""

from pathlib import Path

import pytest

from stages.core.choices import Choices
from stages.core.composition import apply_choices
from stages.core.errors import InputError
from stages.core.params_file import read_params
from tests.support.composed import copy_conf


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    """The current folder, with conf/ and params.yaml alone."""
    copy_conf(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_comments_stay_and_texts_are_quoted():
    comment = Path("conf/config.yaml").read_text().partition("defaults:")[0]
    apply_choices(["train.precision=no"])
    apply_choices(["ingest.source.images=9"])
    text = Path("conf/config.yaml").read_text()
    assert text.startswith(comment)
    assert 'precision: "no"' in text
    assert read_params().train.precision == "no"


def test_a_value_can_be_forgotten():
    before = Path("conf/config.yaml").read_text(), Path("params.yaml").read_text()
    assert apply_choices(["train.losses.perceptual_weight=0.1"]) == ["train.losses.perceptual_weight: 0.5 → 0.1"]
    assert apply_choices(["~train.losses.perceptual_weight"]) == ["train.losses.perceptual_weight: 0.1 → 0.5"]
    assert (Path("conf/config.yaml").read_text(), Path("params.yaml").read_text()) == before


def test_another_source_forgets_the_values_of_the_last():
    apply_choices(["source=folder", "ingest.source.path=photos"])
    apply_choices(["source=openmoji"])
    assert read_params().ingest.source.kind == "openmoji"


def test_another_model_forgets_the_revision_of_the_last():
    pin = f'"{"0" * 40}"'
    apply_choices(["preset=paper", f"train.base.revision={pin}", f"train.vgg.revision={pin}"])
    apply_choices([f"train.clip.revision={pin}", "train.clip.name=a/clip", "train.base.name=a/model"])
    params = read_params()
    assert (params.train.base.revision, params.train.clip.revision, params.train.vgg.revision) == ("main", "0" * 40, "0" * 40)
    apply_choices(["preset=embedded"])
    params = read_params()
    assert params.train.vgg.revision is None  # the preset's
    assert (params.train.clip.name, params.train.clip.revision) == ("a/clip", "0" * 40)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("train.losses.perceptual_layers=[3,8]", "train.losses.perceptual_layers=[3,8]"),
        ("mutate.vocabulary=null", "mutate.vocabulary=null"),
        ("train.learning_rate=1e-5", "train.learning_rate=1e-05"),
        ("retrieve.text_gain=false", "retrieve.text_gain=false"),
        ('mutate.vocabulary="my words.txt"', "mutate.vocabulary=my words.txt"),
        ("ablation=paper", "ablation=paper"),
    ],
)
def test_values_of_every_kind_are_read_back(word, shown):
    apply_choices([word])
    assert shown in Choices.read().words()


@pytest.mark.parametrize("content", ["defaults: [", "- base\n", "seed: 1\n", "defaults: base\n"])
def test_a_damaged_file_is_named(content):
    Path("conf/config.yaml").write_text(content)
    with pytest.raises(InputError, match=r"^conf/config\.yaml: (not YAML|must hold the list defaults)"):
        apply_choices(["train.batch=4"])
