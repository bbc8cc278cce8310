"""What a stranger must touch to find an equation or to add a loss, a stage, an executor, a metric or a model family.

The loss and the metric are really added, to a copy of the project, in the files that are counted here; a test of its own is
one file more, and params.yaml is recomposed. The other additions are counted by the files that name an existing one.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.support import ROOT

# What is added: file → (the text before which it goes, the text).
LOSS = {
    "stages/diffusion/losses.py": [
        (
            "@dataclass(frozen=True, kw_only=True)\nclass Term:",
            (
                "def absolute_error(predicted: Tensor, wanted: Tensor) -> Tensor:\n"
                "    return (predicted - wanted).abs().flatten(1).mean(dim=1)\n\n\n"
            ),
        ),
        (
            ')\n"""The terms of Eq 12',
            (
                '    Term(name="absolute", symbol="L_abs", equation="none",\n'
                "         loss=lambda edit: absolute_error(edit.noise, edit.source_noise),\n"
                "         weight=lambda time, *_: time, needs_picture=False, is_on=lambda config: config.absolute),\n"
            ),
        ),
    ],
    "stages/core/params_training.py": [("    picture_share:", "    absolute: bool\n")],
    "conf/base.yaml": [("    picture_share:", "    absolute: true # an added loss; true or false\n")],
}
METRIC = {
    "stages/metrics/similarity.py": [
        (
            "def ssim_frame(",
            (
                "def squared_difference(first: Tensor, second: Tensor) -> Tensor:\n"
                "    return (first - second).square().flatten(1).mean(dim=1)\n\n\n"
            ),
        ),
    ],
    "stages/metrics/table.py": [
        (
            ")\nCASE_METRICS",
            (
                '    CaseMetric(key="added", label="Added", better="lower", decimals=3, tolerance=0.1, definition="Added.",\n'
                "               measure=lambda found: similarity.squared_difference(found.cases.sources, found.edits)),\n"
            ),
        ),
    ],
}
USED = """
import json
from pathlib import Path

from stages.core.composition import apply_choices

apply_choices(["threads=1"])  # recomposes params.yaml

from stages.core.params_file import read_params
from stages.diffusion.losses import active_terms
from stages.metrics.scores import score_system
from stages.metrics.summary import summarise
from stages.report.formats import markdown_table
from stages.report.story import PANELS
from tests.support.metric_inputs import JUDGE, NONE_FAILED, colour_cases, narrow_vgg, painted
from tests.support.training import make_tools, place, tune

logged = []
tune(make_tools(Path("tools")), place(Path("place")), on_step=lambda step, log, unet: logged.append(log), steps=1)
cases = colour_cases()
scores = {"editor": score_system(cases, painted(cases), NONE_FAILED, JUDGE, narrow_vgg(), batch=4)}
metrics = summarise(scores, resamples=10, seed=0, models={})
print(json.dumps({
    "logged": logged[0],
    "panels": [column for columns in PANELS.values() for column in columns],
    "symbols": [term.symbol for term in active_terms(read_params().train.losses)],
    "table": markdown_table(metrics, {"editor": "An editor"}),
    "metrics": metrics["systems"]["editor"],
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, Any]:
    """What a copy of the project with one loss and one metric more logs and shows."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("stages", "conf", "tests/support"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "tests/__init__.py"):
        shutil.copy(ROOT / name, folder / name)
    for file, changes in [*LOSS.items(), *METRIC.items()]:
        path = folder / file
        for place, text in changes:
            content = path.read_text()
            assert content.count(place) == 1, f"{file}: {place}"
            path.write_text(content.replace(place, text + place))
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", USED]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_loss_is_added_in_three_files_and_a_test(found):
    assert len(LOSS) == 3
    assert found["logged"]["raw/absolute"] > 0
    assert found["logged"]["weighted/absolute"] > 0
    assert {"raw/absolute", "weighted/absolute"} <= set(found["panels"])
    assert "L_abs" in found["symbols"]  # the labels of Table 2


def test_a_metric_is_added_in_two_files_and_a_test(found):
    assert len(METRIC) == 2
    assert found["metrics"]["added"] > 0
    assert "Added ↓" in found["table"]


@pytest.mark.parametrize("number", range(1, 14))
def test_an_equation_is_found_in_one_hop(number):
    """The table names a function, and the docstring of that function names the equation."""
    row = re.search(rf"^Eq {number} .*``([\w.]+)``", (ROOT / "stages/diffusion/__init__.py").read_text(), flags=re.MULTILINE)
    module, *names = row[1].removeprefix("models.").split(".")
    folder = "models" if row[1].startswith("models.") else "diffusion"
    tree = ast.parse((ROOT / "stages" / folder / f"{module}.py").read_text())
    defined = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert re.search(rf"Eq (\d+(, | and |–))*{number}\b", ast.get_docstring(defined[names[-1]]))


def naming(words: str, *folders: str) -> set[str]:
    """Return the files that name something."""
    paths = [ROOT / "dvc.yaml", *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    texts = {path: path.read_text() for path in paths if path.suffix in (".py", ".yaml")}
    return {path.relative_to(ROOT).as_posix() for path, text in texts.items() if re.search(words, text)}


def test_a_stage_is_added_in_six_files():
    """The files that name the stage mutate. Not counted: what reads or measures its output, and presets that differ."""
    known = naming(r"\bmutate:|\bEDITS\b|\bSTAGES = ", "stages", "conf")
    readers = {
        "stages/retrieve.py",
        "stages/report/card.py",
        "stages/report/night.py",
        "stages/report/examples.py",
        *(f"stages/studies/scale/{name}.py" for name in ("project", "bare_models", "training")),
    }
    presets = {"conf/preset/embedded.yaml", "conf/preset/paper.yaml"}
    wanted = {"stages/mutate.py", "stages/__main__.py", "stages/core/params.py", "stages/core/paths.py", "conf/base.yaml"}
    assert known - readers - presets == wanted | {"dvc.yaml"}


def test_an_executor_is_added_in_one_file():
    """Only one place runs a stage's tasks."""
    calls = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "stages").rglob("*.py")
        if re.search(r"= work\(job.task", path.read_text())
    }
    assert calls == {"stages/core/making.py"}


def test_a_model_family_is_added_in_two_files():
    """Its module, and the stage that uses it; nothing else names it, but for a study that measures all models."""
    assert naming(r"models\.captioner", "stages") == {"stages/caption.py", "stages/studies/true_size/throughput.py"}
    assert (ROOT / "stages/models/captioner.py").is_file()
