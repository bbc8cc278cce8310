"""``iedit edit``: results, models and refusals."""

import os
import resource
import signal
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.cli import main as cli
from stages.cli.edit import load_model
from stages.core.files import write_json
from stages.core.params import Sampling
from stages.core.params_file import read_params
from stages.editing.request import CONTEXT
from stages.models.segmenter import Segmenter

NOT_AS_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


def edit(*arguments: object) -> int:
    return cli.main(["edit", "photo.png", "a dog", *map(str, arguments)])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"photo.png", "params.yaml", "model"}


class TestOutput:
    @pytest.fixture(autouse=True)
    def folder(self, photo_folder) -> Path:
        return photo_folder

    @pytest.mark.parametrize("name", ["new.png", "new.JPG", "new.webp"])
    def test_output_is_a_picture_without_leftovers(self, folder, name):
        assert edit("--model", "model", "--output", name) == 0
        assert Image.open(name).size == (64, 64)
        assert names(folder) == {name}

    def test_words_that_the_model_does_not_know_are_named(self, capsys):
        assert cli.main(["edit", "photo.png", "a woman on a surfboard", "--model", "model"]) == 0
        line = "warning: the model's vocabulary lacks half or more of the words of the prompt: woman, surfboard"
        assert line in capsys.readouterr().err.splitlines()

    def test_full_disk_is_one_line_and_keeps_the_old_file(self, folder, capsys):
        (folder / "new.png").write_bytes(b"before")
        limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))  # bytes, enforced by the kernel
            assert edit("--model", "model", "--output", "new.png") == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, handler)
        assert capsys.readouterr().err.splitlines()[-1] == "error: output new.png: File too large"
        assert (folder / "new.png").read_bytes() == b"before"
        assert names(folder) == {"new.png"}

    def test_refusal_of_the_system_is_one_line(self, folder, capsys):
        name = "n" * 250 + ".png"  # the temporary file beside it would have too long a name
        assert edit("--model", "model", "--output", name) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"error: output {name}: File name too long"
        assert names(folder) == set()

    @NOT_AS_ROOT
    def test_read_only_folder_is_one_line(self, folder, capsys):
        (folder / "closed").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
        assert edit("--model", "model", "--output", "closed/new.png") == 2
        assert capsys.readouterr().err.splitlines()[-1] == "error: output closed/new.png: Permission denied"

    def test_folder_of_the_same_name_stays(self, folder, capsys):
        (folder / "new-2.png").mkdir()
        (folder / "new-2.png" / "kept").touch()
        assert edit("--model", "model", "--output", "new.png", "--images", "2") == 2
        assert capsys.readouterr().err == "error: output new-2.png: is a folder\n"
        assert (folder / "new-2.png" / "kept").exists()


class TestSampling:
    @pytest.fixture(autouse=True)
    def folder(self, photo_folder) -> Path:
        return photo_folder

    def test_folder_without_settings_samples_as_params_yaml(self, capsys):
        assert load_model("model")[1] == read_params().sampling
        assert capsys.readouterr().err == "model model: has no iedit.json, so it samples as params.yaml says\n"

    def test_folder_with_settings_has_its_own(self, folder, capsys):
        sampling = Sampling(
            solver="ddim", steps=7, strength=0.5, guidance_scale=2.0, mask_threshold=0.1, mask_margin=0.0, mask_draft=False
        )
        write_json(folder / "model/iedit.json", {"sampling": sampling.model_dump()})
        assert load_model("model")[1] == sampling
        assert capsys.readouterr().err == ""


class TestRegisteredModel:
    def test_edit_with_the_champion(self, champion, tmp_path, capsys):
        assert edit("--output", tmp_path / "new.png", "--images", 2) == 0
        assert capsys.readouterr().out.split() == [str(tmp_path / "new-1.png"), str(tmp_path / "new-2.png")]
        assert Image.open(tmp_path / "new-2.png").size == (48, 40)

    def test_a_folder_is_the_same_model(self, champion, tmp_path):
        for name, model in (("a", "models:/iedit@champion"), ("b", "models/iedit")):
            assert edit("--no-mask", "--steps", 3, "--model", model, "--output", tmp_path / f"{name}.png") == 0
        registered, plain = (Image.open(tmp_path / f"{name}.png") for name in "ab")
        assert registered.tobytes() == plain.tobytes()
        assert "<Iptc4xmpExt:AISystemVersionUsed>models:/iedit/1</" in registered.info["xmp"].decode()
        assert "<Iptc4xmpExt:AISystemVersionUsed>iedit</" in plain.info["xmp"].decode()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["none.png", "p"], "image none.png: no such file"),
            (["segmenter", "p"], "image segmenter: not a file"),
            (["photo.png", "p", "--mask", "models"], "mask models: not a file"),
            (["photo.png", ""], "prompt: must not be blank"),
            (["photo.png", " \t\x1b\u200b"], "prompt: must not be blank"),
            (["params.yaml", "p"], "image params.yaml: not an image"),
            (["photo.png", "p", "--output", "a.txt"], "output a.txt: its name must end in one of .png"),
            (["photo.png", "p", "--output", "no/a.png"], "output no/a.png: no such folder: no"),
            (["photo.png", "p", "--images", "99"], "number of images = 99"),
            (["photo.png", "p", "--strength", "2"], "strength = 2.0: must be a number, above 0 and at most 1"),
            (["photo.png", "p", "--mask", "photo.png", "--context", "0"], "context = 0: must be at least 0.25 and at most 8"),
            (["photo.png", "p", "--steps", "0"], "steps = 0: must be a whole number, above 0 and at most 999"),
            (
                ["photo.png", "p", "--guidance-scale", "1e308"],
                "guidance_scale = 1e+308: must be a number, at least 1",
            ),
            (["photo.png", "p", "--negative-prompt", "q", "--guidance-scale", "1"], "a negative prompt needs guidance"),
            (["photo.png", "p " * 200], "prompt: longer than the model reads; it would not see the end, 'p p p"),
            (["photo.png", "p", "--mask", "black.png"], "the mask is black everywhere"),
            (["photo.png", "p", "--model", "models:/iedit@none"], "models:/iedit@none: "),
            (["photo.png", "p", "--model", "models:/iedit/77"], "models:/iedit/77: "),
            (
                ["photo.png", "p", "--model", "nowhere"],
                "model nowhere: neither a folder nor models:/NAME@ALIAS nor",
            ),
        ],
    )
    def test_refusals(self, champion, capsys, monkeypatch, tmp_path, arguments, message):
        Image.new("L", (48, 40)).save(tmp_path / "black.png")
        arguments = [str(tmp_path / each) if each == "black.png" else each for each in arguments]
        assert cli.main(["edit", *arguments]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(f"error: {message}")

    def test_the_context_is_the_editors_own(self):
        assert cli._parser().parse_args(["edit", "photo.png", "a dog"]).context == CONTEXT

    def test_where_nothing_is_found_the_options_are_named(self, champion, capsys, monkeypatch):
        monkeypatch.setattr(Segmenter, "probabilities", lambda _, images, prompts: torch.zeros(len(images), 1, 32, 32))
        assert edit("--term", "cow", "--source-term", "sheep") == 2
        wanted = "error: nothing in the picture looks like 'cow' nor 'sheep': --source-term names what stands there now, --mask"
        assert capsys.readouterr().err.splitlines()[-1].startswith(wanted)

    def test_transparent_and_deep_pictures_are_edited_as_ingested(self, champion, tmp_path):
        """The same model, seed and prompt: so equal results mean equal inputs."""
        disc = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
        disc.paste((200, 30, 30, 255), (10, 10, 30, 30))
        white = Image.new("RGB", (40, 40), "white")
        white.paste((200, 30, 30), (10, 10, 30, 30))
        ramp = np.linspace(0, 65535, 40).astype(np.uint16)[None].repeat(40, axis=0)
        flat = Image.fromarray((ramp >> 8).astype(np.uint8))
        pictures = {"disc": disc, "white": white, "deep": Image.fromarray(ramp), "flat": flat}
        results = {}
        for name, picture in pictures.items():
            picture.save(tmp_path / f"{name}.png")
            output = tmp_path / f"{name}-edited.png"
            arguments = ["edit", tmp_path / f"{name}.png", "a dog", "--no-mask", "--output", output]
            assert cli.main(list(map(str, arguments))) == 0
            results[name] = output.read_bytes()
        assert results["disc"] == results["white"]
        assert results["deep"] == results["flat"]
