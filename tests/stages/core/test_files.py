"""Files and folders appear whole or not at all, and a full disk is reported with the file's name."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from safetensors import SafetensorError

from stages.core.files import NoRoomError, move_entries, written_aside


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


class TestMoveEntries:
    @pytest.fixture
    def new(self, tmp_path) -> Path:
        """A folder with new results, beside one with old results and what another has put there."""
        for name in ("new/a.md", "new/b/b.md", "new/c.md", "to/a.md", "to/b/old.md", "to/other.md"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        return tmp_path / "new"

    def files(self, new: Path) -> dict[str, str]:
        found = [path for path in new.parent.rglob("*") if path.is_file()]
        return {path.relative_to(new.parent).as_posix(): path.read_text() for path in found}

    def test_each_replaces_what_has_its_name(self, new):
        move_entries(new, new.with_name("to"))
        moved = {"to/a.md": "new/a.md", "to/b/b.md": "new/b/b.md", "to/c.md": "new/c.md", "to/other.md": "to/other.md"}
        assert self.files(new) == moved
        assert [path.name for path in new.parent.iterdir()] == ["to"]
        assert {path.name for path in new.with_name("to").iterdir()} == {"a.md", "b", "c.md", "other.md"}

    def test_the_folders_may_lie_on_different_disks(self, new):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
            if Path(elsewhere).stat().st_dev == new.stat().st_dev:
                pytest.skip("there is only one disk")
            shutil.move(new, Path(elsewhere, "new"))
            move_entries(Path(elsewhere, "new"), new.with_name("to"))
            assert not Path(elsewhere, "new").exists()
        assert self.files(new)["to/b/b.md"] == "new/b/b.md"

    def test_a_copy_to_a_full_disk_changes_nothing(self, new, monkeypatch):
        before = self.files(new)

        def fill(source: Path, target: Path) -> None:
            target.mkdir()
            shutil.copy(source / "a.md", target)
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(shutil, "move", fill)
        with pytest.raises(OSError, match="full"):
            move_entries(new, new.with_name("to"))
        assert self.files(new) == before

    @pytest.mark.parametrize("allowed", range(5))
    def test_an_error_leaves_the_old_ones(self, new, monkeypatch, allowed):
        before = {name: text for name, text in self.files(new).items() if name.startswith("to/")}
        rename, renamed = Path.rename, []

        def fail_once(path: Path, target: Path) -> Path:
            renamed.append(path)
            if len(renamed) == allowed + 1:
                raise OSError(errno.EIO, "broken")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", fail_once)
        with pytest.raises(OSError, match="broken"):
            move_entries(new, new.with_name("to"))
        assert self.files(new) == before
