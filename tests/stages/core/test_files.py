"""Files and folders appear whole or not at all, and a full disk is reported with the file's name."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from stages.core.files import NoRoomError, written_aside


class TestWrittenAside:
    def write(self, folder: Path, text: str, error: type[BaseException] | None = None) -> None:
        with written_aside(folder) as aside:
            aside.mkdir()
            (aside / "text").write_text(text)
            if error is not None:
                raise error

    def test_new_folder_replaces_the_old_one(self, tmp_path):
        for text in ("one", "two"):
            self.write(tmp_path / "a", text)
            assert {path.relative_to(tmp_path).as_posix(): path.is_dir() for path in tmp_path.rglob("*")} == {
                "a": True,
                "a/text": False,
            }
            assert (tmp_path / "a/text").read_text() == text

    def test_error_leaves_the_old_folder(self, tmp_path):
        self.write(tmp_path / "a", "one")
        with pytest.raises(KeyboardInterrupt):
            self.write(tmp_path / "a", "half of it", KeyboardInterrupt)
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        assert (tmp_path / "a/text").read_text() == "one"

    @pytest.mark.parametrize("left", ["a.partial/a/text", "a.partial/.tmp1234", "a.partial/old/text", "a.partial"])
    def test_leftovers_of_a_kill_are_removed(self, tmp_path, left):
        (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / left).touch()
        self.write(tmp_path / "a", "one")
        assert [path.name for path in tmp_path.rglob("*")] == ["a", "text"]


class TestNoRoom:
    # The words of the system, pyarrow, FAISS and safetensors; the last error is another one.
    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
            (OSError("[Errno 27] Error writing bytes to file. Detail: [errno 27] File too large"), "File too large"),
            (RuntimeError("write error in a.faiss: 1 != 2 (No space left on device)"), "No space left on device"),
            (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), "File too large"),
            (RuntimeError("shapes do not fit"), None),
        ],
    )
    def test_full_disk_error_names_the_file(self, tmp_path, error, words):
        def write() -> None:
            with written_aside(tmp_path / "a") as path:
                path.touch()
                raise error

        kind = type(error) if words is None else NoRoomError
        with pytest.raises(kind, match="shapes" if words is None else f"a: {words}$"):
            write()
        assert not list(tmp_path.iterdir())
