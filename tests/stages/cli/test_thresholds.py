"""``iedit thresholds`` prints what thresholds drop, and writes a page; without pairs it says what to run."""

import shutil
from pathlib import Path

import yaml

from stages.cli import main as cli
from stages.core.paths import THRESHOLDS_PAGE
from tests.support import ROOT
from tests.support.tiny_corpus import write_training_pairs


def test_tables_are_printed_and_a_page_is_written(models, workplace, capsys):
    params = write_training_pairs(models)
    Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    capsys.readouterr()
    assert cli.main(["thresholds"]) == 0
    words = capsys.readouterr().out.split()
    assert {"retrieve.min_text_image", "retrieve.min_directional", "segment.min_area"} <= set(words)
    assert words[-1] == str(THRESHOLDS_PAGE)
    assert "retrieve.min_text_image" in THRESHOLDS_PAGE.read_text()


def test_without_pairs_it_is_refused(workplace, capsys):
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    assert cli.main(["thresholds"]) == 2
    assert capsys.readouterr().err == "error: data/pairs/indexes: no .faiss shards; run the stage that writes them\n"
    assert not THRESHOLDS_PAGE.exists()
