"""WordNet: where it comes from, and what is said of one that is missing or damaged."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copytree

import pytest

from stages.core.errors import InputError
from stages.core.files import file_digest
from stages.language import wordnet as dictionary
from tests.support import ROOT as PROJECT


@pytest.fixture(scope="module", autouse=True)
def _dictionary():
    before = Path.cwd()
    os.chdir(PROJECT)
    try:
        dictionary.provide_wordnet()
    finally:
        os.chdir(before)


def test_lexnames_are_numbered_as_in_wordnet():
    assert len(dictionary.LEXNAMES) == 45
    assert dictionary.LEXNAMES.index("noun.animal") == 5
    assert dictionary.LEXNAMES.index("adj.ppl") == 44


def test_wordnet_is_provided_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    calls = []

    def from_debian(folder):
        calls.append(folder)
        (found := folder / "found").mkdir()
        for name in dictionary.FILES if len(calls) > 1 else dictionary.FILES[:-1]:
            (found / name).write_text(name)
        return found

    monkeypatch.setattr(dictionary, "_from_nltk", lambda _: None)
    monkeypatch.setattr(dictionary, "_from_debian", from_debian)
    with pytest.raises(InputError, match="lacks lexnames"):
        dictionary.provide_wordnet()
    assert not dictionary.DICTIONARY.exists()
    dictionary.provide_wordnet()
    assert {path.name for path in dictionary.DICTIONARY.iterdir()} == set(dictionary.FILES)
    assert [path.name for path in dictionary.NLTK_DATA.iterdir()] == ["corpora"]
    capsys.readouterr()
    dictionary.provide_wordnet()
    assert len(calls) == 2
    assert capsys.readouterr().out == ""


def put(folder: Path, name: str, script: str) -> None:
    """Put a command of that name into a folder for PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


class TestProvidedByDebian:
    """With commands that stand in for Debian's; what they write is Debian's dictionary."""

    @pytest.fixture(autouse=True)
    def commands(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(dictionary, "_from_nltk", lambda _: None)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        put(tmp_path / "bin", "apt-get", f'echo "$@" >> {tmp_path}/calls; touch wordnet.deb')
        copy = f"cp {PROJECT / dictionary.DICTIONARY}/* unpacked/usr/share/wordnet && rm unpacked/usr/share/wordnet/lexnames"
        put(tmp_path / "bin", "dpkg", f"mkdir -p unpacked/usr/share/wordnet && {copy}")
        return tmp_path / "bin"

    def calls(self) -> list[str]:
        return [line.split()[0] for line in Path("calls").read_text().splitlines()]

    def test_it_is_the_dictionary_and_nothing_is_beside_it(self, tmp_path):
        dictionary.provide_wordnet()
        found = {path.name: file_digest(path) for path in dictionary.DICTIONARY.iterdir()}
        assert found == {name: file_digest(PROJECT / dictionary.DICTIONARY / name) for name in dictionary.FILES}
        assert [path.name for path in dictionary.DICTIONARY.parent.iterdir()] == ["wordnet"]
        assert self.calls() == ["download"]

    def test_what_a_kill_left_goes(self):
        left = dictionary.DICTIONARY.with_name("wordnet.partial") / "fetched" / "wordnet.deb"
        left.parent.mkdir(parents=True)
        left.touch()
        dictionary.provide_wordnet()
        assert [path.name for path in dictionary.DICTIONARY.parent.iterdir()] == ["wordnet"]

    def test_one_that_lacks_a_file_is_provided_anew(self):
        dictionary.provide_wordnet()
        (dictionary.DICTIONARY / "noun.exc").unlink()
        with pytest.raises(InputError, match=r"the dictionary lacks noun\.exc; run `make wordnet`$"):
            dictionary.wordnet_digest()
        dictionary.provide_wordnet()
        assert dictionary.wordnet_digest()

    @pytest.mark.parametrize(("user", "calls"), [(0, ["download", "update", "download"]), (1000, ["download"])])
    def test_a_failure_is_told_and_root_renews_the_lists_once(self, commands, monkeypatch, tmp_path, user, calls):
        monkeypatch.setattr(dictionary.os, "geteuid", lambda: user)
        put(commands, "apt-get", f'echo "$@" >> {tmp_path}/calls; echo "E: one" >&2; echo "E: no such package" >&2; exit 100')
        with pytest.raises(InputError, match=r"failed \(E: no such package\); as root run `apt-get update`, then"):
            dictionary.provide_wordnet()
        assert self.calls() == calls
        assert not dictionary.DICTIONARY.exists()

    def test_a_failure_without_a_word_is_told(self, commands):
        put(commands, "apt-get", "exit 100")
        with pytest.raises(InputError, match=r"failed \(no reason given\)"):
            dictionary.provide_wordnet()

    def test_a_package_that_cannot_be_unpacked_is_told(self, commands):
        put(commands, "dpkg", "echo no space >&2; exit 2")
        with pytest.raises(InputError, match=r"wordnet\.deb cannot be unpacked: no space$"):
            dictionary.provide_wordnet()

    def test_another_system_is_told_what_to_do(self, commands, monkeypatch):
        (commands / "dpkg").unlink()
        monkeypatch.setenv("PATH", str(commands))
        with pytest.raises(InputError, match="no NLTK server and no apt-get; put NLTK's corpus"):
            dictionary.provide_wordnet()


class TestProvidedByNltk:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(dictionary, "_from_debian", lambda _: pytest.fail("Debian is asked second"))

    def serve(self, monkeypatch, content: bytes) -> None:
        def download(_: object, name: str, *, download_dir: str, **__: object) -> bool:
            corpora = Path(download_dir) / "corpora"
            corpora.mkdir()
            (corpora / f"{name}.zip").write_bytes(content)
            return True

        monkeypatch.setattr(dictionary.nltk.downloader.Downloader, "download", download)

    def zipped(self) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in (*dictionary.FILES, "README"):
                archive.write(PROJECT / dictionary.DICTIONARY / (name if name != "README" else "lexnames"), f"wordnet/{name}")
        return buffer.getvalue()

    def test_it_is_the_dictionary(self, monkeypatch):
        self.serve(monkeypatch, self.zipped())
        dictionary.provide_wordnet()
        assert {path.name for path in dictionary.DICTIONARY.iterdir()} == set(dictionary.FILES)

    def test_a_damaged_zip_is_told(self, monkeypatch):
        zipped = self.zipped()
        middle = len(zipped) // 2
        for content in (b"", b"<html>", zipped[:middle], zipped[:middle] + bytes(2000) + zipped[middle + 2000 :]):
            self.serve(monkeypatch, content)
            with pytest.raises(InputError, match=r"NLTK's server gave a damaged zip \(.*\); run `make wordnet` again$"):
                dictionary.provide_wordnet()
            assert not dictionary.DICTIONARY.exists()

    def test_where_its_server_is_not_reached_there_is_none(self, monkeypatch, tmp_path):
        monkeypatch.setattr(dictionary.nltk.downloader.Downloader, "download", lambda *_, **__: False)
        assert dictionary._from_nltk(tmp_path) is None


DAMAGE = """
import os, shutil, sys
from pathlib import Path
from stages.language.wordnet import DICTIONARY, wordnet
from stages.core.errors import InputError
for name, content in (("lexnames", b"0"), ("index.noun", b"dog n\\n")):
    path, whole = DICTIONARY / name, (DICTIONARY / name).read_bytes()
    path.write_bytes(content)
    try:
        wordnet()
    except InputError as error:
        print(error)
    path.write_bytes(whole)
print(len(wordnet().synsets("dog")))
"""


def test_a_damaged_dictionary_is_told_in_one_line(tmp_path):
    """In a process of its own: NLTK reads the dictionary once."""
    copytree(PROJECT / dictionary.DICTIONARY, tmp_path / dictionary.DICTIONARY)
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", DAMAGE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    *told, senses = done.stdout.splitlines()
    assert int(senses) == 8
    assert len(told) == 2
    assert all(line.startswith(f"{dictionary.DICTIONARY}: damaged (") for line in told)
    assert all(line.endswith("); remove it and run `make wordnet`") for line in told)
