"""``iedit review``: which page opens, and what is printed and logged."""

import shutil
import socket
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from stages.cli import main as cli
from stages.comparison import standard
from stages.core.errors import InputError
from stages.core.paths import EDITED
from stages.pairing.scores import QUALITY
from stages.review import compare_page, look
from stages.review.comparing import Comparing
from stages.review.contenders import answers_file, find_contender, in_order
from stages.tracking import registry
from stages.tracking.preferences import Preference, read_preferences
from tests.support import ROOT
from tests.support.samples import noise
from tests.support.versions import register


@pytest.fixture
def versions(client, tmp_path):
    """Three registered versions, the first of which is champion, and params.yaml."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    made = [register(client) for _ in range(3)]
    registry.set_alias(client, "champion", "1")
    return made


@pytest.fixture
def served(monkeypatch) -> list[tuple]:
    """The pages that were served, with their ports."""
    pages: list[tuple] = []
    monkeypatch.setattr(look, "serve", lambda page, port: pages.append((page, port)))
    return pages


def test_the_options_name_every_score():
    assert [score.name for score in QUALITY] == list(cli.QUALITY)


def test_a_folder_without_pairs_is_reported(tmp_path, monkeypatch, served, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "nano"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nltk").symlink_to(ROOT / "data" / "nltk")
    assert cli.main(["review", "--reviewer", "Ann", "--port", "0"]) == 2
    assert capsys.readouterr().err == "error: data/training: no .parquet shards; run the stage that writes them\n"
    assert served == []


@pytest.mark.parametrize("arguments", [[], ["--compare", "1", "2"]])
def test_a_port_in_use_is_reported_before_anything_else(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)  # without params.yaml
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["review", "--port", str(port), *arguments]) == 2
    assert capsys.readouterr().err == f"error: --port {port}: Address already in use; choose another one\n"
    assert cli.main(["review", "--port", "65536", *arguments]) == 2
    assert capsys.readouterr().err == "error: --port 65536: must be at least 0 and at most 65535\n"


def test_the_table_says_what_it_lacks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "nano"):
        (tmp_path / name).symlink_to(ROOT / name)
    assert cli.main(["review", "--table"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing is shown below 20 kept and 20 dropped pairs"


def test_a_comparison_opens_its_page_and_logs_the_result(client, versions, served, monkeypatch, capsys):
    def open_page(params, contenders, file, tester):
        """A page on which version 3 gets an answer."""
        cases, pictures = [type("Case", (), {"key": "1"})], [noise(0)]
        page = Comparing(cases, (pictures, pictures), file, tester=tester, seed=0)
        names = [each.name for each in contenders]
        wanted = "first" if names[0] == "models:/iedit/3" else "second"
        page.answer(page.next_turn(), "left" if page.left(0) == wanted else "right")
        return sorted(names, reverse=True)

    monkeypatch.setattr(compare_page, "open_compare_page", open_page)
    monkeypatch.setattr(standard, "current_standard", lambda _: SimpleNamespace(evaluation_set="a" * 64))
    assert cli.main(["review", "--compare", "3", "models:/iedit@champion", "--reviewer", "Ann", "--port", "0"]) == 0
    assert served == [(["models:/iedit/3", "models:/iedit/1"], 0)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("models:/iedit/3 over models:/iedit/1: 100% [3%, 100%] of 1 with a preference; cases seen: 1")
    found = read_preferences(client, "1", "3", "a" * 64)
    assert found["follows"] == Preference(preferred=0, decided=1, cases=1)
    assert cli.main(["review", "--result", "3", "models:/iedit@champion"]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert cli.main(["review", "--result", "1", "3"]) == 0  # the same answers, seen from the other side
    assert "models:/iedit/1 over models:/iedit/3: 0% [0%, 98%] of 1 with a preference" in capsys.readouterr().out
    assert read_preferences(client, "1", "3", "a" * 64) == found
    monkeypatch.setattr(standard, "current_standard", lambda _: SimpleNamespace(evaluation_set="b" * 64))
    assert cli.main(["review", "--result", "3", "1"]) == 0
    assert "no preference; cases seen: 0" in capsys.readouterr().out.splitlines()[0]  # nobody saw edits of these cases


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--compare", "1", "models:/iedit@champion"], "models:/iedit/1 and models:/iedit/1 are the same"),
        (["--compare", "1", "2", "--reviewer", "x" * 501], "--reviewer: has 501 characters, allowed are 500"),
        (["--result", "9", "1"], "models:/iedit/9: "),
        (["--result", "nonsense", "1"], "nonsense: names no version, "),
    ],
)
def test_refusals_are_one_line(versions, served, capsys, arguments, said):
    assert cli.main(["review", "--port", "0", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}")
    assert len(error.splitlines()) == 1
    assert served == []


def test_edits_of_a_system_are_those_that_evaluate_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    system = find_contender("sdedit")
    folder = EDITED / "sdedit"
    folder.mkdir(parents=True)
    pictures = np.random.default_rng(0).uniform(-0.1, 1.1, size=(3, 3, 4, 5)).astype(np.float32)
    save_file({"pictures": pictures[:2]}, folder / "00000000.safetensors")
    save_file({"pictures": pictures[2:]}, folder / "00000002.safetensors")
    found = system.edits([None] * 3)
    wanted = np.rint(np.clip(pictures, 0, 1) * 255).transpose(0, 2, 3, 1)
    assert np.array_equal(np.stack([np.asarray(each) for each in found]), wanted)
    with pytest.raises(InputError, match="3 edits of 4 cases; run the stage evaluate"):
        system.edits([None] * 4)
    other = find_contender("iedit_m")
    assert in_order(system, other) == in_order(other, system) == (other, system)
    assert answers_file(other, system, "a" * 64).parts[-2:] == ("a" * 16, "iedit_m-sdedit.jsonl")
