"""core/paths.py and dvc.yaml name the same paths, and no other module spells one out."""

import ast
from pathlib import Path

import pytest
import yaml

from stages.core import paths
from tests.support import ROOT

FILE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PATHS = {name: value for name, value in vars(paths).items() if isinstance(value, Path)}
UNTRACKED = {  # not tracked by DVC, or only folders of tracked paths
    *(
        "REFERENCE",
        "REPORTS",
        "ENCODED",
        "ENCODED_HELD_OUT",
        "PROPOSALS",
        "IEDIT_UNFINISHED",
        "INSTRUCT_PIX2PIX_UNFINISHED",
        "LOGS",
        "LAST_STORE",
        "SEEN",
        "LOCK",
        "TEMPORARY",
    ),
    *("START", "ABLATION", "EXPERIMENTS", "SNAPSHOT", "DIGESTS", "EVALUATION_SEAL", "MEASURED", "NEW_REPORTS", "SCALE"),
    *("DATASET_BEFORE", "DATASET_PAGE", "THRESHOLDS_PAGE", "EMBEDDINGS", "INDEXES"),
    *("EDITED_COMPARED", "PREFERENCES"),
    *("EDITED", "EDITED_REGISTERED", "GENERATED_CASES", "EDITED_GENERATED", "EDITED_TRIALS", "EDITED_TRADEOFF"),
    *("EDITED_BENCHMARKS", "MADE_BENCHMARK", "TRUE_SIZE", "TRUE_SIZE_REPORT"),
    *("EDITED_ABLATION", "NLTK_DATA", "CONF", "DECISIONS", "DVC_FILE", "LOCK_FILE", "PARAMS_FILE", "DVC_CONFIG"),
    "DEPLOYMENTS",
    "IMG2DATASET",
}
TRACKED = {value for name, value in PATHS.items() if name not in UNTRACKED}
FOLDERS = {Path("data"), Path("models"), Path("reports"), Path("logs")}


def paths_of(entry: dict, *kinds: str) -> set[Path]:
    listed = [each for kind in kinds for each in entry.get(kind, [])]
    return {Path(each if isinstance(each, str) else next(iter(each))) for each in listed}


OUTS = set().union(*(paths_of(entry, "outs", "metrics", "plots") for entry in FILE["stages"].values()))
DEPS = set().union(*(paths_of(entry, "deps") for entry in FILE["stages"].values()))


def test_every_output_of_dvc_is_a_known_path():
    assert {path for path in OUTS if path not in TRACKED and paths.REPORTS not in path.parents} == set()


def test_every_tracked_path_is_an_output_of_dvc():
    assert set() == TRACKED - OUTS
    assert any(paths.REPORTS in path.parents for path in OUTS)


def test_every_dependency_on_data_is_a_known_path():
    made = {path for path in DEPS if path.parts[0] in ("data", "models")}
    known = {*TRACKED, paths.NLTK_DATA}
    assert {path for path in made if not known.intersection([path, *path.parents])} == set()
    assert {path for path in made if paths.NLTK_DATA not in path.parents} <= {
        *OUTS,
        *(folder / path.name for folder in (paths.CODE, paths.MODELS) for path in made),
    }


def test_retrieve_depends_on_the_decisions_of_reviewers():
    assert paths.DECISIONS in paths_of(FILE["stages"]["retrieve"], "deps")
    assert (ROOT / paths.DECISIONS).is_file()  # DVC stops at a missing dependency, so an empty one is committed


def test_every_plot_is_of_a_known_path():
    plotted = {Path(plot) for plot in FILE["plots"] if isinstance(plot, str)}
    plotted |= {
        Path(path) for plot in FILE["plots"] if isinstance(plot, dict) for entry in plot.values() for path in entry["y"]
    }
    known = {*TRACKED, paths.REPORTS, paths.REFERENCE}
    assert {path for path in plotted if not known.intersection([path, *path.parents])} == set()


def test_no_path_is_listed_twice():
    assert len(set(PATHS.values())) == len(PATHS)


@pytest.mark.parametrize("folder", ["stages", "flows"])
def test_no_other_module_spells_out_a_path(folder):
    found = []
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_path = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Path" and node.args
            if is_path and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                named = Path(node.args[0].value)
                if named in PATHS.values() or (named.parts and Path(named.parts[0]) in FOLDERS):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {named}")
    assert [each for each in found if not each.startswith("stages/core/paths.py:")] == []
