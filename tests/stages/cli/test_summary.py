"""``iedit summary``: the last run, the reference, and the registered model."""

import copy
import json
import shutil
import unicodedata
from pathlib import Path

import pytest

from stages.cli import main as cli
from stages.cli.summary import REFERENCE_METRICS, SAMPLE, SAMPLE_EDIT
from stages.core.files import write_json
from stages.core.paths import METRICS_FILE
from stages.tracking import registry
from tests.support import ROOT
from tests.support.registered import EXAMPLE


@pytest.fixture
def no_model(tmp_path, monkeypatch) -> Path:
    """The current folder, with results and no registered model."""
    monkeypatch.chdir(tmp_path)
    METRICS_FILE.parent.mkdir(parents=True)
    shutil.copy(ROOT / REFERENCE_METRICS, METRICS_FILE)
    monkeypatch.setattr(registry, "latest_version", lambda: None)
    return tmp_path


def test_without_a_model_it_says_so(no_model, capsys):
    assert cli.main(["summary"]) == 0
    assert capsys.readouterr().out.endswith("model     none is registered\n")


def test_without_a_run_it_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["summary"]) == 2
    assert capsys.readouterr().err.startswith("error: reports/latest/metrics.json: no such file")


def test_its_table_fits_in_80_columns(no_model, capsys):
    assert cli.main(["summary"]) == 0
    table, _, rest = capsys.readouterr().out.partition("\n\n")
    lines = [unicodedata.normalize("NFC", line) for line in table.splitlines()]
    assert max(sum(not unicodedata.combining(letter) for letter in line) for line in lines) <= 80
    assert lines[0].split() == ["SDEdit", "Inpainting", "InstructPix2Pix", "iEdit", "iEdit-M"]
    scores = {label: values for label, *values in (line.rsplit(maxsplit=5) for line in lines[2:-1])}
    metrics = json.loads(METRICS_FILE.read_text())["systems"]
    wanted = [metrics[name]["clip_score"] for name in ("sdedit", "inpainting", "instruct_pix2pix", "iedit", "iedit_m")]
    assert [float(score.strip("*")) for score in scores["CLIPScore (%) ↑"]] == pytest.approx(wanted, abs=0.005)
    assert scores["CLIPScore (%) ↑"][-1].endswith("*")
    assert "reports/latest/table.md" in rest


def test_failed_edits_are_counted_in_80_columns(no_model, capsys):
    cli.main(["summary"])
    assert "ailed edit" not in capsys.readouterr().out
    write_json(METRICS_FILE, json.loads(METRICS_FILE.read_text()) | {"failed": {"sdedit": 0, "iedit_m": 12}})
    assert cli.main(["summary"]) == 0
    table, _, _ = capsys.readouterr().out.partition("\n\n")
    (first, *others) = table[table.index("Failed edits") :].splitlines()
    assert first.startswith("Failed edits, of 300: iEdit-M 12. A failed edit has an empty mask")
    assert others
    assert all(len(line) <= 80 for line in (first, *others))


class TestReference:
    """The last run compared with the committed reference."""

    def compare(self, capsys, change) -> list[str]:
        reference = json.loads((ROOT / REFERENCE_METRICS).read_text())
        latest = copy.deepcopy(reference)
        change(latest)
        write_json(REFERENCE_METRICS, reference)
        write_json(METRICS_FILE, latest)
        assert cli.main(["summary"]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("compared")]

    def test_identical(self, no_model, capsys):
        assert self.compare(capsys, lambda _: None) == ["compared  identical to the committed reference"]

    def test_within_tolerance(self, no_model, capsys):
        def change(metrics):
            metrics["systems"]["iedit_m"]["ssim_m_bar_frame"] += 0.25
            metrics["systems"]["sdedit"]["edit_success"] -= 0.5  # more, but less of what is allowed
            metrics["models"]["iedit"]["identity"] = "trained elsewhere"

        (line,) = self.compare(capsys, change)
        assert line.startswith("compared  equal within tolerance to the committed reference: ")
        assert line.endswith("the largest difference of a score is 0.25 (SSIM-M̄ (frame, %) of iEdit-M; allowed 1)")

    def test_beyond_tolerance(self, no_model, capsys):
        def change(metrics):
            metrics["systems"]["iedit"]["kid_judge_features"] += 0.376

        (line,) = self.compare(capsys, change)
        assert line.startswith("compared  differs from the committed reference: the largest difference of a score is 0.38 (KID")

    def test_without_a_reference_nothing_is_compared(self, no_model, capsys):
        self.compare(capsys, lambda _: None)
        REFERENCE_METRICS.unlink()
        assert cli.main(["summary"]) == 0
        assert "compared" not in capsys.readouterr().out

    def test_other_cases_are_not_compared(self, no_model, capsys):
        (line,) = self.compare(capsys, lambda metrics: metrics.update(cases_digest="other"))
        assert line == "compared  not with the committed reference: other systems, cases or models"

    @pytest.mark.parametrize("content", ['{"systems":', "[]", '{"systems": {}}'])
    def test_damaged_metrics_are_reported(self, no_model, capsys, content):
        self.compare(capsys, lambda _: None)
        METRICS_FILE.write_text(content)
        assert cli.main(["summary"]) == 2
        expected = "error: reports/latest/metrics.json: missing or damaged; run the stage evaluate again\n"
        assert capsys.readouterr().err == expected


@pytest.fixture
def sample(champion, registered_project):
    """The project of the champion, with a table and a sample to edit, which are removed again."""
    SAMPLE.parent.mkdir(parents=True)
    shutil.copy(ROOT / REFERENCE_METRICS, METRICS_FILE)
    EXAMPLE.image.save(SAMPLE)
    yield registered_project
    for path in (METRICS_FILE, SAMPLE, SAMPLE_EDIT):
        path.unlink()
    SAMPLE.parent.rmdir()


def test_it_shows_a_command_to_try(champion, sample, capsys):
    write_json(SAMPLE_EDIT, {"prompt": "a dog on the beach", "term": "dog", "source_term": "cat"})
    assert cli.main(["summary"]) == 0
    printed = capsys.readouterr().out
    assert "CLIPScore (%) ↑" in printed
    assert f"models:/iedit/{champion.version}, the champion" in printed
    assert "iedit edit reports/latest/samples/source.png 'a dog on the beach'" in printed


@pytest.mark.parametrize("content", ['{"prompt":', '{"prompt": "a dog"}', "[]", "7"])
def test_damaged_sample_is_reported(sample, capsys, content):
    SAMPLE_EDIT.write_text(content)
    assert cli.main(["summary"]) == 2
    expected = "error: reports/latest/samples/edit.json: damaged; run the stage evaluate again\n"
    assert capsys.readouterr().err == expected
