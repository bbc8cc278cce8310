from pathlib import Path

import pytest
import yaml

from flows.support.corpus import grow_corpus
from stages.core.choices import flat
from stages.core.composition import apply_choices, check_composed
from stages.core.errors import InputError
from stages.core.params_file import read_params
from tests.support.composed import composed, copy_conf


@pytest.fixture(autouse=True)
def params(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    copy_conf(tmp_path)
    return Path("params.yaml")


def test_only_the_number_changes(params):
    before = flat(yaml.safe_load(params.read_text()))
    grow_corpus(6500)
    assert flat(yaml.safe_load(params.read_text())) == before | {"ingest.source.images": 6500}
    assert read_params().ingest.source.images == 6500


def test_experiments_are_composed_with_the_same_number(tmp_path):
    apply_choices(["train.steps=800"])
    grow_corpus(6500)
    row = composed("ablation=guided", conf=tmp_path / "conf")
    assert (row["ingest"]["source"]["images"], row["train"]["steps"]) == (6500, 800)
    check_composed()


def test_fewer_images_and_other_sources_are_refused(params):
    before = params.read_text()
    with pytest.raises(InputError, match="images = 5: the corpus has 6000, a refresh only adds to it"):
        grow_corpus(5)
    assert params.read_text() == before
    apply_choices(["source=folder"])
    with pytest.raises(InputError, match="images = 7000: only for the source openmoji, this is folder; add to 'photos'"):
        grow_corpus(7000)
