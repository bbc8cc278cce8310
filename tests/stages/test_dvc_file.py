"""dvc.yaml agrees with the code about modules, models and losses."""

from functools import reduce
from operator import getitem

import yaml
from dvc.repo import Repo

from stages.__main__ import STAGES
from tests.support import ROOT

FILE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PIPELINE = FILE["stages"]


def test_every_stage_depends_on_its_own_code():
    assert tuple(name for name in PIPELINE if name != "code") == STAGES
    assert PIPELINE["code"]["cmd"].split()[3:] == [f"stages.{name}" for name in STAGES]
    for name in STAGES:
        assert PIPELINE[name]["cmd"] == f"python -m stages {name}"
        code = [dep for dep in PIPELINE[name]["deps"] if dep.startswith(("data/code", "stages"))]
        assert code == [f"data/code/{name}.json"]


def test_every_stage_depends_on_every_file_of_its_models():
    """File by file, because DVC does not look into folders of nano/, a DVC project of its own."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name in STAGES:
        sections = [reduce(getitem, key.split("."), params) for key in PIPELINE[name].get("params", [])]
        loaded = [model for section in sections for model in models_named(section)]
        files = {path for model in loaded for path in (ROOT / model).rglob("*") if path.is_file()}
        assert {dep for dep in PIPELINE[name]["deps"] if dep.startswith("nano/models/")} == {
            path.relative_to(ROOT).as_posix() for path in files
        }, name


def test_compiled_files_are_no_code():
    """They appear as modules are imported, so the stage `code` would never be up to date."""
    with Repo(ROOT) as repo:
        assert repo.dvcignore.is_ignored_dir(str(ROOT / "stages/corpus/__pycache__"))
        assert not repo.dvcignore.is_ignored_dir(str(ROOT / "stages/corpus"))


def models_named(value) -> list[str]:
    """The models that a part of params.yaml is, or holds."""
    if not isinstance(value, dict):
        return []
    return [value["name"]] if "name" in value else [name for part in value.values() for name in models_named(part)]
