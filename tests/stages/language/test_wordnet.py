"""WordNet: where it comes from, and the errors of a missing or damaged one."""

import io
import zipfile
from pathlib import Path
from shutil import copytree

import nltk
import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.corpus.util import LazyCorpusLoader

from stages.core.errors import InputError
from stages.core.files import file_digest
from stages.language import wordnet
from tests.support import ROOT


def test_lexnames_are_numbered_as_in_wordnet():
    assert len(wordnet.LEXNAMES) == 45
    assert wordnet.LEXNAMES.index("noun.animal") == 5
    assert wordnet.LEXNAMES.index("adj.ppl") == 44


def test_wordnet_is_provided_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    calls = []

    def from_debian(folder):
        calls.append(folder)
        (found := folder / "found").mkdir()
        for name in wordnet.FILES if len(calls) > 1 else wordnet.FILES[:-1]:
            (found / name).write_text(name)
        return found

    monkeypatch.setattr(wordnet, "_from_nltk", lambda _: None)
    monkeypatch.setattr(wordnet, "_from_debian", from_debian)
    with pytest.raises(InputError, match="lacks lexnames"):
        wordnet.provide_wordnet()
    assert not wordnet.WORDNET.exists()
    wordnet.provide_wordnet()
    assert {path.name for path in wordnet.WORDNET.iterdir()} == set(wordnet.FILES)
    assert [path.name for path in wordnet.NLTK_DATA.iterdir()] == ["corpora"]
    capsys.readouterr()
    wordnet.provide_wordnet()
    assert len(calls) == 2
    assert capsys.readouterr().out == ""


def put(folder: Path, name: str, script: str) -> None:
    """Put a command into a folder for PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


class TestDebian:
    """Stand-ins for Debian's commands, which write Debian's dictionary."""

    @pytest.fixture(autouse=True)
    def commands(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(wordnet, "_from_nltk", lambda _: None)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        put(tmp_path / "bin", "apt-get", f'echo "$@" >> {tmp_path}/calls; touch wordnet.deb')
        copy = f"cp {ROOT / wordnet.WORDNET}/* unpacked/usr/share/wordnet && rm unpacked/usr/share/wordnet/lexnames"
        put(tmp_path / "bin", "dpkg", f"mkdir -p unpacked/usr/share/wordnet && {copy}")
        return tmp_path / "bin"

    def calls(self) -> list[str]:
        return [line.split()[0] for line in Path("calls").read_text().splitlines()]

    def test_the_dictionary_is_there_and_nothing_beside_it(self, tmp_path):
        wordnet.provide_wordnet()
        found = {path.name: file_digest(path) for path in wordnet.WORDNET.iterdir()}
        assert found == {name: file_digest(ROOT / wordnet.WORDNET / name) for name in wordnet.FILES}
        assert [path.name for path in wordnet.WORDNET.parent.iterdir()] == ["wordnet"]
        assert self.calls() == ["download"]

    def test_files_of_a_killed_attempt_are_removed(self):
        left = wordnet.WORDNET.with_name("wordnet.partial") / "fetched" / "wordnet.deb"
        left.parent.mkdir(parents=True)
        left.touch()
        wordnet.provide_wordnet()
        assert [path.name for path in wordnet.WORDNET.parent.iterdir()] == ["wordnet"]

    def test_an_incomplete_dictionary_is_fetched_again(self):
        wordnet.provide_wordnet()
        (wordnet.WORDNET / "noun.exc").unlink()
        with pytest.raises(InputError, match=r"the dictionary lacks noun\.exc; run `make wordnet`$"):
            wordnet.wordnet_digest()
        wordnet.provide_wordnet()
        assert wordnet.wordnet_digest()

    @pytest.mark.parametrize(("user", "calls"), [(0, ["download", "update", "download"]), (1000, ["download"])])
    def test_a_failure_is_an_error_and_root_updates_once(self, commands, monkeypatch, tmp_path, user, calls):
        monkeypatch.setattr(wordnet.os, "geteuid", lambda: user)
        put(commands, "apt-get", f'echo "$@" >> {tmp_path}/calls; echo "E: one" >&2; echo "E: no such package" >&2; exit 100')
        with pytest.raises(InputError, match=r"failed \(E: no such package\); as root run `apt-get update`, then"):
            wordnet.provide_wordnet()
        assert self.calls() == calls
        assert not wordnet.WORDNET.exists()

    def test_a_failure_without_output_is_an_error(self, commands):
        put(commands, "apt-get", "exit 100")
        with pytest.raises(InputError, match=r"failed \(no reason given\)"):
            wordnet.provide_wordnet()

    def test_a_package_that_cannot_be_unpacked_is_an_error(self, commands):
        put(commands, "dpkg", "echo no space >&2; exit 2")
        with pytest.raises(InputError, match=r"wordnet\.deb cannot be unpacked: no space$"):
            wordnet.provide_wordnet()

    def test_another_system_gets_instructions(self, commands, monkeypatch):
        (commands / "dpkg").unlink()
        monkeypatch.setenv("PATH", str(commands))
        with pytest.raises(InputError, match="no NLTK server and no apt-get; put NLTK's corpus"):
            wordnet.provide_wordnet()


class TestNltk:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(wordnet, "_from_debian", lambda _: pytest.fail("Debian comes second"))

    def serve(self, monkeypatch, content: bytes) -> None:
        def download(_: object, name: str, *, download_dir: str, **__: object) -> bool:
            corpora = Path(download_dir) / "corpora"
            corpora.mkdir()
            (corpora / f"{name}.zip").write_bytes(content)
            return True

        monkeypatch.setattr(nltk.downloader.Downloader, "download", download)

    def zipped(self) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in (*wordnet.FILES, "README"):
                archive.write(ROOT / wordnet.WORDNET / (name if name != "README" else "lexnames"), f"wordnet/{name}")
        return buffer.getvalue()

    def test_it_is_the_dictionary(self, monkeypatch):
        self.serve(monkeypatch, self.zipped())
        wordnet.provide_wordnet()
        assert {path.name for path in wordnet.WORDNET.iterdir()} == set(wordnet.FILES)

    def test_a_damaged_zip_is_an_error(self, monkeypatch):
        zipped = self.zipped()
        middle = len(zipped) // 2
        for content in (b"", b"<html>", zipped[:middle], zipped[:middle] + bytes(2000) + zipped[middle + 2000 :]):
            self.serve(monkeypatch, content)
            with pytest.raises(InputError, match=r"NLTK's server gave a damaged zip \(.*\); run `make wordnet` again$"):
                wordnet.provide_wordnet()
            assert not wordnet.WORDNET.exists()

    def test_an_unreachable_server_gives_none(self, monkeypatch, tmp_path):
        monkeypatch.setattr(nltk.downloader.Downloader, "download", lambda *_, **__: False)
        assert wordnet._from_nltk(tmp_path) is None


def test_a_damaged_dictionary_is_an_error(tmp_path, monkeypatch):
    """With an NLTK reader of its own, because a reader loads the dictionary only once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nltk.data, "path", [])
    copytree(ROOT / wordnet.WORDNET, wordnet.WORDNET)
    monkeypatch.setattr(nltk.corpus, "wordnet", LazyCorpusLoader("wordnet", WordNetCorpusReader, None))
    read = wordnet.wordnet.__wrapped__  # without the cache
    for name, content in (("lexnames", b"0"), ("index.noun", b"dog n\n")):
        path, whole = wordnet.WORDNET / name, (wordnet.WORDNET / name).read_bytes()
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"^{wordnet.WORDNET}: damaged \([^\n]*\); remove it and run `make wordnet`$"):
            read()
        path.write_bytes(whole)
    assert len(read().synsets("dog")) == 8
