"""Rules of the house: which way imports go, who may use a framework, and how long a function and a file may be."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest

from stages.__main__ import STAGES
from tests.support import ROOT

# Each room with the rooms that it may import, all of which stand above it; so no import goes upward or in a circle.
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "common": {"core"},
    "language": {"core", "common"},
    "models": {"core", "common"},
    "corpus": {"core", "common"},
    "diffusion": {"core", "common", "models"},
    "metrics": {"core", "common", "models", "corpus"},
    "pairing": {"core", "common", "models", "corpus"},
    "editing": {"core", "common", "models", "corpus", "diffusion"},
    "tracking": {"core", "common", "models", "corpus", "metrics", "editing"},
    "serving": {"core", "common", "language", "models", "corpus", "editing", "tracking"},
    "training": {"core", "common", "models", "corpus", "diffusion", "pairing", "editing", "tracking"},
    "comparison": {"core", "common", "models", "corpus", "diffusion", "metrics", "pairing", "editing", "tracking"},
    "report": {"core", "common", "models", "corpus", "language", "diffusion", "metrics", "pairing", "comparison"},
    "benchmarks": {"core", "common", "models", "corpus", "metrics", "editing", "comparison", "report"},
    "review": {
        *("core", "common", "language", "models", "corpus", "metrics", "pairing", "editing", "tracking", "comparison"),
    },
    "stage": {
        *("core", "common", "language", "models", "corpus", "diffusion", "metrics", "pairing", "editing", "tracking"),
        *("training", "comparison", "report"),
    },
    "studies": {
        *("core", "common", "language", "models", "corpus", "diffusion", "metrics", "pairing", "editing", "training"),
        *("comparison", "report", "benchmarks", "stage"),
    },
    "cli": {
        *("core", "common", "models", "corpus", "metrics", "editing", "tracking", "serving", "comparison", "report"),
        *("benchmarks", "review", "studies"),
    },
    "flows/support": {"core", "tracking", "report"},
    "flows": {"core", "tracking", "report", "flows/support"},
}
ROOMS = list(ALLOWED)
FRAMEWORKS = {"prefect": ("flows", "flows/support"), "mlflow": ("tracking",), "ray": ("core",)}
LOADERS = {"from_pretrained", "from_single_file", "create_model", "create_model_and_transforms", "hf_hub_download"} | {
    "snapshot_download",
    "load_state_dict_from_file",
}
LONGEST_FUNCTION, LONGEST_FILE, LONGEST_TEST_FILE = 60, 300, 400  # lines

MODULES = [path for folder in ("stages", "flows") for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def room_of(module: str) -> str | None:
    """The room that a dotted module name, or a name in it, belongs to; None for a foreign one or a bare package."""
    package, *parts = module.split(".")
    if package == "flows" and parts:
        return "flows/support" if parts[0] == "support" else "flows"
    if package != "stages" or not parts:
        return None
    return "stage" if parts[0] in STAGES else parts[0] if parts[0] in ALLOWED else None


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports at run time, and the names imported from it, which may be modules too."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    package = module.removesuffix(".__init__") if path.name == "__init__.py" else module.rpartition(".")[0]
    waiting: list[ast.AST] = [tree_of(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
        waiting += ast.iter_child_nodes(node)


def test_every_room_is_in_the_table():
    folders = {path.name for path in (ROOT / "stages").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS) - {"stage", "flows", "flows/support"}
    modules = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert modules == {*STAGES, "__init__", "__main__"}


def test_rooms_import_only_rooms_above_them():
    for number, room in enumerate(ROOMS):
        assert ALLOWED[room] <= set(ROOMS[:number]), room


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_what_it_may(room):
    found = []
    for path in MODULES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if room_of(module) == room:
            for imported in imports_of(path):
                other = room_of(imported)
                if other not in (None, room, *ALLOWED[room]) or (room == "stage" == other and imported != module):
                    found.append(f"{name_of(path)} imports {imported}")
    assert found == []


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_framework_is_imported_only_in_its_rooms(framework):
    using = {path: list(imports_of(path)) for path in MODULES}
    using = {path for path, names in using.items() if any(name.partition(".")[0] == framework for name in names)}
    assert using
    rooms = {name_of(path): room_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in using}
    assert {name: room for name, room in rooms.items() if room not in FRAMEWORKS[framework]} == {}


def test_weights_are_loaded_only_in_models():
    found = set()
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                is_torch_load = ast.unparse(node.func) == "torch.load"
                if called in LOADERS or is_torch_load:
                    found.add(path.parent.relative_to(ROOT).as_posix())
    assert found == {"stages/models"}


def test_no_function_is_too_long():
    found = {}
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    found[f"{name_of(path)}: {node.name}"] = lines
    assert found == {}


@pytest.mark.parametrize(
    ("folders", "longest"),
    [(("stages", "flows", "nano"), LONGEST_FILE), (("tests",), LONGEST_TEST_FILE)],
    ids=["code", "tests"],
)
def test_no_file_is_too_long(folders, longest):
    lengths = {
        name_of(path): len(path.read_text().splitlines()) for folder in folders for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > longest} == {}


def test_no_test_imports_a_test():
    found = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        found += [f"{name_of(path)}: {name}" for name in imports_of(path) if name.rpartition(".")[2].startswith("test_")]
    assert [each for each in found if ": tests." in each] == []


def test_no_test_name_is_longer_than_ten_words():
    found = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        names = [node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)]
        found += [f"{name_of(path)}: {name}" for name in names if name.startswith("test_") and name.count("_") > 10]
    assert found == []
