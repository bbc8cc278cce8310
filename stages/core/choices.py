"""The choices in conf/config.yaml: which file of each group of conf/, and single values."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import InputError, shorten
from stages.core.paths import CONF

if TYPE_CHECKING:  # slow to import
    from ruamel.yaml import YAML

KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
CONFIG = CONF / "config.yaml"
DEFAULTS = "defaults"  # Hydra's list of the files to compose
OPTIONAL = "ablation"  # the only group that may be left out; composed last
BELONGING = {"source": "ingest.source"}  # group → the section that only makes sense with the file chosen before
PRESET = "preset"  # names models, to which the revisions belong that were chosen before
NAME, REVISION = ".name", ".revision"  # how the keys of a model end


class Choices:
    """The content of conf/config.yaml, with its comments."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    @classmethod
    def read(cls) -> "Choices":
        """Read conf/config.yaml of the project in the current folder.

        Raises:
            InputError: there is no such file, or it is not YAML with Hydra's list of defaults.
        """
        from ruamel.yaml.error import YAMLError

        if not CONFIG.is_file():
            raise InputError(f"{CONFIG}: no such file; run from the folder of the project")
        try:
            content = _yaml().load(CONFIG)
        except (YAMLError, ValueError) as error:
            raise InputError(f"{CONFIG}: not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict) or not isinstance(content.get(DEFAULTS), list):
            raise InputError(f"{CONFIG}: must hold the list {DEFAULTS}")
        return cls(content)

    def write(self, path: Path) -> None:
        """Write the content to a file."""
        _yaml().dump(self._content, path)

    def files(self) -> dict[str, str | None]:
        """Return the groups of conf/, each with the file that is chosen."""
        entries = [entry for entry in self._content[DEFAULTS] if isinstance(entry, dict)]
        return {group: name for entry in entries for group, name in entry.items()}

    def values(self) -> dict[str, Any]:
        """Return the single values by their dotted keys."""
        return flat({key: value for key, value in self._content.items() if key != DEFAULTS})

    def words(self) -> list[str]:
        """Return all choices as ``choose`` takes them."""
        return [f"{key}={shown(value)}" for key, value in [*self.files().items(), *self.values().items()]]

    def choose(self, choice: str) -> None:
        """Add one choice: ``GROUP=FILE``, ``KEY=VALUE`` or, to forget a value or section, ``~KEY``; in Hydra's grammar.

        A section adds to what was chosen in it; an empty one, ``KEY={}``, forgets all of it.

        Raises:
            InputError: the choice cannot be read, there is no such file, or no such value to forget.
        """
        key, equals, _ = choice.removeprefix("~").partition("=")
        if not KEY.fullmatch(key) or choice.startswith("~") == bool(equals) or not choice.isprintable():
            given = choice if choice and choice.isprintable() else shorten(choice)
            raise InputError(f"{given}: must be KEY=VALUE, such as train.steps=800, or ~KEY")
        if key.partition(".")[0] == DEFAULTS or (not equals and key in self.files()):
            raise InputError(f"{choice}: only single values can be forgotten; a group needs a file: {', '.join(self.words())}")
        if not equals:
            if not _forget(self._content, key):
                raise InputError(f"{choice}: nothing is chosen there; chosen are {', '.join(self.words())}")
        elif key in self.files():
            self._choose_file(key, _value(choice))
        else:
            self._choose_values(key, _value(choice))

    def _choose_values(self, key: str, value: Any) -> None:
        if value == {}:
            _forget(self._content, key)
        for each, chosen in flat({key: value}).items():
            if each.endswith(NAME):
                _forget(self._content, each.removesuffix(NAME) + REVISION)
            self._put(each, chosen)

    def _choose_file(self, group: str, name: Any) -> None:
        allowed = sorted(path.stem for path in (CONF / group).glob("*.yaml")) + ["null"] * (group == OPTIONAL)
        if shown(name) not in allowed:
            raise InputError(f"{group} = {shown(name)}: allowed are {', '.join(allowed)}")
        entry = next(entry for entry in self._content[DEFAULTS] if isinstance(entry, dict) and group in entry)
        if entry[group] != name and group in BELONGING:
            _forget(self._content, BELONGING[group])
        if entry[group] != name and group == PRESET:
            chosen = self.values()
            for key in chosen:
                if key.endswith(REVISION) and key.removesuffix(REVISION) + NAME not in chosen:
                    _forget(self._content, key)
        entry[group] = name

    def _put(self, key: str, value: Any) -> None:
        *sections, name = key.split(".")
        place = self._content
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        place[name] = _quoted(value)


def in_quotes(choice: str) -> str:
    """Return how ``KEY=VALUE`` is written on the command line so that the value is a text."""
    key, _, text = choice.partition("=")
    return f"'{key}=\"{text}\"'"


def _value(choice: str) -> Any:
    """Return the value of ``KEY=VALUE`` by Hydra's grammar, in which ``dvc exp run -S`` reads it too."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(choice)
    except HydraException as error:
        raise InputError(
            f"{choice}: cannot be read; a text with signs needs quotes within quotes: {in_quotes(choice)}"
        ) from error
    if override.is_sweep_override():
        raise InputError(f"{choice}: must be one value; a text with a comma needs quotes, a list brackets: [1,2]")
    return override.value()


def _yaml() -> "YAML":
    """Return a YAML reader and writer that keeps comments and quotes."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 128
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null"))
    return yaml


def flat(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of nested sections by their dotted keys."""
    return dict(_leaves(section, ""))


def _leaves(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def shown(value: Any) -> str:
    """Return a value as it is written on the command line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return f"[{','.join(shown(each) for each in value)}]"
        case _:
            return str(value)


def _quoted(value: Any) -> Any:
    """Return a value with its texts in quotes, because Hydra reads a plain ``no`` in a file as false."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    match value:
        case str():
            return DoubleQuotedScalarString(value)
        case dict():
            return {str(key): _quoted(each) for key, each in value.items()}
        case list():
            return [_quoted(each) for each in value]
        case _:
            return value


def _forget(section: dict[str, Any], key: str) -> bool:
    """Remove a value or section, and sections that are empty afterwards; return whether it was there."""
    first, _, rest = key.partition(".")
    if first not in section:
        return False
    found = not rest or (isinstance(section[first], dict) and _forget(section[first], rest))
    if found and (not rest or not section[first]):
        del section[first]
    return found
