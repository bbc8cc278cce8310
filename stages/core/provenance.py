"""Digests of the code behind an output: of a module and everything it imports that can change bytes.

Imports are found in the source text, so nothing needs importing, and imports inside functions count too. The digest is
taken of the syntax tree without docstrings, so a change of prose remakes nothing.
``python -m stages.core.provenance MODULE…`` writes the digests that DVC compares, here and in nano/.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions, version
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from stages.core.files import file_digest, value_digest, write_json
from stages.core.paths import CODE

PACKAGE = "stages"
PACKAGES = (PACKAGE, "nano")  # whose imports are followed; their __init__ decides nothing
ROOT = Path(__file__).parents[2]
INFRASTRUCTURE = (
    "stages.core",
    "stages.tracking",
    "fsspec",
    "huggingface_hub",
    "pydantic",
    "pydantic_core",
    "tqdm",
)
"""Code that decides no sample: it starts and ends stages, reads parameters (which every fingerprint holds), fetches and
stores files, and keeps records. A change there must not cost a corpus its captions."""


@dataclass(frozen=True)
class Code:
    """Files of this project and the distributions that they import, both sorted."""

    files: tuple[Path, ...]
    libraries: tuple[str, ...]

    def digests(self) -> dict[str, str]:
        """Return file → digest; paths are relative to the project."""
        return {path.relative_to(ROOT).as_posix(): code_digest(path) for path in self.files}


def source_digest(file: str) -> str:
    """Return a digest of the code behind a module and of its libraries' versions, for fingerprints.

    Args:
        file: the module's ``__file__``.
    """
    code = code_behind(Path(file).resolve())
    return value_digest({"files": code.digests(), "libraries": {name: version(name) for name in code.libraries}})


def code_digest(path: Path) -> str:
    """Return the digest of a Python file's syntax tree without docstrings, or of another file's bytes.

    It does not depend on the Python version.
    """
    if path.suffix != ".py":
        return file_digest(path)
    return _digest(path.read_bytes())


def code_behind(*files: Path) -> Code:
    """Return the given modules of this project with everything they import, except INFRASTRUCTURE.

    A data file of ``stages`` that a module names, such as a word list or a template, counts as code.
    """
    found: dict[str, Path] = {}
    foreign: set[str] = set()
    texts: set[str] = set()
    waiting = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    while waiting:
        name = waiting.pop()
        if name in found or name in PACKAGES or f"{name}.".startswith(tuple(f"{each}." for each in INFRASTRUCTURE)):
            continue
        if not name.startswith(tuple(f"{package}." for package in PACKAGES)):
            foreign.add(name.partition(".")[0])
            continue
        path = _file(name)
        if path is not None:  # otherwise a name inside a module
            found[name] = path
            imports, named = _content(path.read_bytes())
            parent = name.rpartition(".")[0]
            waiting += [parent, *_imports(imports, name if path.name == "__init__.py" else parent)]
            texts |= named
    data = (path for path in ROOT.joinpath(PACKAGE).rglob("*.*") if path.name in texts and path.suffix != ".py")
    # An extra that is not installed decides nothing.
    libraries = {library for name in foreign - sys.stdlib_module_names for library in _distributions().get(name, ())}
    return Code(tuple(sorted([*found.values(), *data])), tuple(sorted(libraries)))


def write_code(modules: Sequence[str], folder: Path = CODE) -> None:
    """Write ``folder/NAME.json`` for each module ``PACKAGE.NAME``: file → digest of the code behind it."""
    for module in modules:
        code = code_behind(ROOT.joinpath(*module.split(".")).with_suffix(".py"))
        write_json(folder / f"{module.rpartition('.')[2]}.json", code.digests())


def _file(name: str) -> Path | None:
    place = ROOT.joinpath(*name.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@cache  # a stage asks for the code behind several modules, which share most of their files
def _content(source: bytes) -> tuple[list[ast.Import | ast.ImportFrom], set[str]]:
    """Return the import statements of a module, and its texts."""
    nodes = list(ast.walk(ast.parse(source)))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)], texts


@cache
def _digest(source: bytes) -> str:
    return value_digest(_canonical(ast.parse(source)))


def _imports(statements: Iterable[ast.Import | ast.ImportFrom], package: str) -> Iterator[str]:
    """Yield the modules that a module of ``package`` imports, and the names after ``from … import``, perhaps modules too."""
    for node in statements:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _canonical(node: Any) -> Any:
    """Return a syntax tree as nested lists, without docstrings and without empty fields.

    ``ast.dump`` would be shorter, but its output differs between Python versions.
    """
    if isinstance(node, ast.AST):
        fields = ((name, _canonical(value)) for name, value in ast.iter_fields(node))
        return [type(node).__name__, *([name, value] for name, value in fields if value not in (None, []))]
    if isinstance(node, list):
        return [_canonical(each) for each in node if not _is_prose(each)]
    return node if node is None else repr(node)


def _is_prose(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


_distributions = cache(packages_distributions)


if __name__ == "__main__":
    write_code(sys.argv[1:])
