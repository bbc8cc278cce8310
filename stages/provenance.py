"""The code behind an out: a module and all that it imports, as far as that decides bytes.

It is told from the text of the files, so that nothing is imported for it, and an import inside a function counts too.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions, version
from importlib.util import resolve_name
from pathlib import Path

from stages.files import file_digest, value_digest

PACKAGE = "stages"
ROOT = Path(__file__).parents[1]
INFRASTRUCTURE = (
    "stages.errors",
    "stages.files",
    "stages.interrupt",
    "stages.params",
    "stages.provenance",
    "stages.run",
    "stages.shards",
    "stages.tracking",
    "fsspec",
    "huggingface_hub",
    "pydantic",
    "pydantic_core",
    "tqdm",
)
"""What decides no sample: how a stage starts and ends, reads its settings (they are in every fingerprint), fetches and
puts away files, and keeps records. A change there must not cost a corpus its captions."""


@dataclass(frozen=True)
class Code:
    """Files of this project, and the distributions of others that they import; both in order."""

    files: tuple[Path, ...]
    libraries: tuple[str, ...]


def source_digest(file: str) -> str:
    """Return a digest of the code behind a module, so that what other code or another library made is made again.

    Args:
        file: the module's ``__file__``.
    """
    code = code_behind(Path(file).resolve())
    files = {path.relative_to(ROOT).as_posix(): file_digest(path) for path in code.files}
    return value_digest({"files": files, "libraries": {name: version(name) for name in code.libraries}})


def code_behind(*files: Path) -> Code:
    """Return the code behind modules of this package that lie in ``files``, these included, without INFRASTRUCTURE."""
    found: dict[str, Path] = {}
    foreign: set[str] = set()
    waiting = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    while waiting:
        name = waiting.pop()
        if name in found or name == PACKAGE or f"{name}.".startswith(tuple(f"{each}." for each in INFRASTRUCTURE)):
            continue
        if not name.startswith(f"{PACKAGE}."):
            foreign.add(name.partition(".")[0])
            continue
        path = _file(name)
        if path is not None:  # else it is a name within a module
            found[name] = path
            waiting += [name.rpartition(".")[0], *_imports(name, path)]
    libraries = {library for name in foreign - sys.stdlib_module_names for library in _distributions()[name]}
    return Code(tuple(sorted(found.values())), tuple(sorted(libraries)))


def _file(name: str) -> Path | None:
    place = ROOT.joinpath(*name.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _imports(name: str, path: Path) -> Iterator[str]:
    """Yield what a module imports: modules, and of each ``from`` also the names, which may be modules."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


_distributions = cache(packages_distributions)
