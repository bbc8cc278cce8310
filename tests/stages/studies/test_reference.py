"""Publishing the results of a run as the reference."""

import subprocess
from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.core.paths import REFERENCE, REPORTS, SCALE, TRUE_SIZE_REPORT
from stages.studies.reference import publish
from tests.support import ROOT

WRITTEN = (
    "ablation.csv", "ablation.md", "benchmark.md", "benchmarks/made/cases.csv", "benchmarks/made/sheet.png",
    "benchmarks/made/table.csv", "benchmarks/made/table.md", "cases.csv", "claims.md", "generated/claims.md",
    "generated/metrics.json", "generated/pairs.csv", "generated/pairs.md", "generated/sheet.png", "generated/table.csv",
    "generated/table.md", "metrics.json", "pairs.csv", "pairs.md", "samples/edit.json", "samples/source.png", "serving.json",
    "serving.md", "sheet.png", "table.csv", "table.md",
    "tradeoff/curves.svg", "tradeoff/iedit.csv", "tradeoff/iedit_m.csv", "tradeoff/inpainting.csv",
    "tradeoff/instruct_pix2pix.csv", "tradeoff/sdedit.csv", "tuning.csv", "tuning.md",
)  # fmt: skip


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{folder}/{name}")


def test_results_replace_the_reference_except_the_page(workplace):
    write(REPORTS, *WRITTEN, "report.html", "table.md.partial/table.md")
    write(REFERENCE, "table.md", "README.md")
    assert [path.relative_to(REFERENCE).as_posix() for path in publish()] == sorted(WRITTEN)
    assert (REFERENCE / "table.md").read_text() == "reports/latest/table.md"
    assert (REFERENCE / "README.md").read_text() == "reports/README.md"
    assert not (REFERENCE / "report.html").exists()


def test_a_study_that_did_not_run_keeps_its_reference(workplace):
    write(REPORTS, "table.md")
    write(REFERENCE, "tuning.md")
    assert publish() == [REFERENCE / "table.md"]
    assert (REFERENCE / "tuning.md").read_text() == "reports/tuning.md"


def test_without_results_there_is_nothing_to_publish(workplace):
    with pytest.raises(InputError, match=r"^reports/latest: nothing to publish; run the stage evaluate$"):
        publish()


def test_every_committed_result_is_published():
    listed = subprocess.run(["git", "ls-files", "reports"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    by_hand = {".gitignore", "README.md"}
    in_place = {*(SCALE.with_suffix(suffix).name for suffix in (".json", ".md", ".svg")), TRUE_SIZE_REPORT.name}
    committed = {Path(path).relative_to(REFERENCE).as_posix() for path in listed}
    assert committed <= {*WRITTEN, *by_hand, *in_place}
