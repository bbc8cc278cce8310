"""The command ``iedit``, where the models and the registry do not matter."""

import os
import resource
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from stages.cli import main as cli
from stages.core.errors import InputError
from stages.core.files import write_json
from stages.core.params import Sampling
from stages.core.params_file import read_params
from stages.editing import pictures
from stages.editing.editor import Editor
from stages.editing.pictures import read_picture
from stages.editing.settings import read_sampling
from stages.tracking import registry
from tests.support import ROOT

NOT_AS_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


@dataclass(frozen=True)
class Painter:
    """An editor that paints everything in noise, which no format makes small."""

    def edit(self, request, *, images: int, **_: object) -> list[Image.Image]:
        return [Image.effect_noise(request.image.size, 90).convert("RGB") for _ in range(images)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("photo.png")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "model").mkdir()
    monkeypatch.setattr(Editor, "load", lambda *_: Painter())
    return tmp_path


def edit(*arguments: str) -> int:
    return cli.main(["edit", "photo.png", "a dog", "--model", "model", *arguments])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"photo.png", "params.yaml", "model"}


class TestOutput:
    @pytest.mark.parametrize("name", ["new.png", "new.JPG", "new.webp"])
    def test_it_is_a_picture_and_nothing_is_beside_it(self, folder, name):
        assert edit("--output", name) == 0
        assert Image.open(name).size == (64, 64)
        assert names(folder) == {name}

    def test_a_full_disk_is_told_in_one_line_and_what_was_there_stays(self, folder, capsys):
        (folder / "new.png").write_bytes(b"before")
        limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))  # bytes, as the kernel sees to it
            assert edit("--output", "new.png") == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, handler)
        assert capsys.readouterr().err.splitlines()[-1] == "error: output new.png: File too large"
        assert (folder / "new.png").read_bytes() == b"before"
        assert names(folder) == {"new.png"}

    def test_what_the_system_forbids_is_told_in_one_line(self, folder, capsys):
        name = "n" * 250 + ".png"  # what is set aside beside it would have too long a name
        assert edit("--output", name) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"error: output {name}: File name too long"
        assert names(folder) == set()

    @NOT_AS_ROOT
    def test_a_folder_that_may_not_be_written_to_is_told_in_one_line(self, folder, capsys):
        (folder / "closed").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
        assert edit("--output", "closed/new.png") == 2
        assert capsys.readouterr().err.splitlines()[-1] == "error: output closed/new.png: Permission denied"

    def test_a_folder_in_its_place_stays(self, folder, capsys):
        (folder / "new-2.png").mkdir()
        (folder / "new-2.png" / "kept").touch()
        assert edit("--output", "new.png", "--images", "2") == 2
        assert capsys.readouterr().err == "error: output new-2.png: is a folder\n"
        assert (folder / "new-2.png" / "kept").exists()


class TestSampling:
    def test_a_folder_without_settings_says_whose_it_takes(self, capsys):
        assert cli._load("model")[1] == read_params().sampling
        assert capsys.readouterr().err == "model model: has no iedit.json, so it samples as params.yaml says\n"

    def test_a_folder_with_settings_has_its_own(self, folder, capsys):
        sampling = Sampling(
            solver="ddim", steps=7, strength=0.5, guidance_scale=2.0, mask_threshold=0.1, mask_margin=0.0, mask_draft=False
        )
        write_json(folder / "model/iedit.json", {"sampling": sampling.model_dump()})
        assert cli._load("model")[1] == sampling
        assert capsys.readouterr().err == ""

    def test_a_model_from_before_has_what_was_then_without_a_name(self, folder):
        sampling = {"steps": 7, "strength": 0.5, "guidance_scale": 2.0, "mask_threshold": 0.1}
        write_json(folder / "model/iedit.json", {"sampling": sampling})
        assert read_sampling(folder / "model") == Sampling(**sampling, solver="ddim", mask_margin=0.0, mask_draft=False)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (None, "no such file; the folder is not a model"),
            ("{", "damaged: has no sampling"),
            ("[]", "damaged: has no sampling"),
            ("{}", "damaged: has no sampling"),
            ('{"sampling": {"steps": 0}}', r"steps = 0: Input should be greater than 0|strength: is missing"),
        ],
    )
    def test_settings_that_are_not_as_they_must_be_are_told_with_their_file(self, folder, content, told):
        if content is not None:
            (folder / "model/iedit.json").write_text(content)
        with pytest.raises(InputError, match=rf"^model/iedit\.json: ({told})"):
            read_sampling(Path("model"))


class TestPicture:
    def test_one_that_is_too_large_is_not_read(self, monkeypatch):
        monkeypatch.setattr(pictures, "MAX_BYTES", 10)
        with pytest.raises(InputError, match=r"^image photo\.png: larger than 10 bytes$"):
            read_picture(Path("photo.png"))

    def test_one_that_the_system_does_not_give_is_told(self, monkeypatch):
        def fail(_: Path) -> bytes:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Path, "read_bytes", fail)
        with pytest.raises(InputError, match=r"^mask photo\.png: Input/output error$"):
            read_picture(Path("photo.png"), "mask")


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Editor, "load", interrupt)
    assert edit() == 130
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"


def test_summary_says_when_no_model_is_registered(folder, monkeypatch, capsys):
    (folder / "reports").mkdir()
    (folder / "reports/table.md").write_text("| method |\n")
    monkeypatch.setattr(registry, "latest_version", lambda: None)
    assert cli.main(["summary"]) == 0
    assert capsys.readouterr().out.endswith("model     none is registered\n")


def test_a_reader_that_has_read_enough_ends_it_silently(folder):
    (folder / "reports").mkdir()
    (folder / "reports/table.md").write_text("| method |\n" * 100_000)
    command = [sys.executable, "-m", "stages.cli.main", "summary"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdout.read(1) == b"|"
        reading.stdout.close()
        assert reading.stderr.read() == b""
    assert reading.returncode == 141


def test_a_store_that_goes_away_is_one_line(folder, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise MlflowException("the server\nis gone")

    (folder / "reports").mkdir()
    (folder / "reports/table.md").write_text("| method |\n")
    monkeypatch.setattr(registry, "latest_version", fail)
    monkeypatch.setattr(registry, "load_editor", fail)
    for arguments in (["summary"], ["edit", "photo.png", "a dog", "--model", "models:/iedit/1"]):
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err == "error: tracking store: the server\n"
