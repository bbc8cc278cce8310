"""The committed nano family is complete, small and free of pickles, and DVC knows the code of every training."""

import ast
import sys
from importlib.metadata import packages_distributions

import pytest
import yaml

from nano.settings import MODELS
from stages.core.params_file import read_params
from stages.core.provenance import code_behind
from tests.support import ROOT

MEGABYTE = 1_000_000
STAGES = yaml.safe_load((ROOT / "nano/dvc.yaml").read_text())["stages"]
TRAININGS = [name for name in STAGES if name != "code"]


def test_models_that_params_name_are_committed_as_safetensors():
    params = read_params(ROOT / "params.yaml")
    named = {params.caption.model, params.retrieve.clip, params.segment.model, params.train.base, params.train.vgg}
    for model in named | {params.evaluate.judge}:
        assert any((ROOT / model.name).rglob("*.safetensors")), model.name


def test_family_is_small_and_has_no_pickles():
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}
    assert sum(path.stat().st_size for path in files) <= 40 * MEGABYTE


def test_no_module_hides_a_library():
    """Trainings run in nano/, where Python looks for libraries first."""
    modules = {path.stem for path in (ROOT / "nano").glob("*.py")} - {"__init__"}
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    libraries = {name for name, owners in packages_distributions().items() if not locked.isdisjoint(owners)}
    assert "tokenizers" in libraries
    assert modules & (libraries | sys.stdlib_module_names) == set()


@pytest.mark.parametrize("stage", TRAININGS)
def test_dvc_knows_the_code_of_a_training(stage):
    module = STAGES[stage]["cmd"].split()[2]
    waiting, found = [module.partition(".")[2]], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            tree = ast.parse((ROOT / f"nano/{name}.py").read_bytes())
            imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            waiting += [module.removeprefix("nano.") for module in imported if module.startswith("nano.")]
    code = code_behind(ROOT / f"{module.replace('.', '/')}.py").digests()
    assert {f"nano/{name}.py" for name in found} == {name for name in code if name.startswith("nano/")}
    assert f"data/code/{module.partition('.')[2]}.json" in STAGES[stage]["deps"]
    assert module in STAGES["code"]["cmd"].split()


def test_lock_names_every_input_and_output_of_the_file():
    locked = yaml.safe_load((ROOT / "nano/dvc.lock").read_text())["stages"]
    for name in TRAININGS:
        for kind in ("deps", "outs"):
            entries = [*STAGES[name].get(kind, []), *(STAGES[name].get("metrics", []) if kind == "outs" else [])]
            paths = {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}
            assert {entry["path"] for entry in locked[name][kind]} == paths, (name, kind)
        assert locked[name]["cmd"] == STAGES[name]["cmd"]
