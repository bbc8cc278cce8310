"""``iedit configure`` from the command line."""

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.cli.main import main
from stages.core.params_file import read_params
from stages.core.params_ingest import Filter, FolderSource, WebDatasetSource
from stages.core.paths import LOCK
from tests.support import ROOT
from tests.support.composed import copy_conf


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """The current folder, with conf/ and params.yaml alone."""
    copy_conf(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_prints_choices_and_changed_values(project, capsys):
    assert main(["configure", "preset=paper", "source=folder", "ingest.source.path=photos", "train.steps=800"]) == 0
    assert "params.yaml: train.steps: 400 → 800" in capsys.readouterr().out
    assert main(["configure"]) == 0
    printed = capsys.readouterr().out.split()
    assert printed == ["preset=paper", "source=folder", "ablation=null", "ingest.source.path=photos", "train.steps=800"]
    assert main(["configure", "train.steps=800"]) == 0
    assert capsys.readouterr().out.endswith("params.yaml: nothing changed\n")


def test_both_sources_of_own_images_are_chosen(project):
    assert main(["configure", "preset=paper", "source=folder", "ingest.source.path=photos"]) == 0
    assert read_params().ingest.source == FolderSource(kind="folder", path="photos", text=None)
    assert main(["configure", "preset=paper", "source=webdataset", 'ingest.source.path="corpus/*.tar"']) == 0
    assert read_params().ingest.source == WebDatasetSource(kind="webdataset", path="corpus/*.tar")
    assert read_params().ingest.size == 384


def test_filters_and_captions_are_chosen_and_forgotten(project, capsys):
    numbers = ["configure", "ingest.filters.similarity.min=0.3", "ingest.filters.punsafe.max=0.1"]
    assert main([*numbers, "ingest.filters.language.any=[en,de]"]) == 0
    assert read_params().ingest.filters == {
        "similarity": Filter(min=0.3),
        "punsafe": Filter(max=0.1),
        "language": Filter(any=["en", "de"]),
    }
    assert main(["configure", "~ingest.filters.punsafe", "~ingest.filters.language"]) == 0
    assert read_params().ingest.filters == {"similarity": Filter(min=0.3)}
    for nothing in ("~ingest.filters", "ingest.filters={}"):
        assert main([*numbers, nothing]) == 0
        assert read_params().ingest.filters == {}
    assert main(["configure", "~ingest.filters"]) == 2
    assert "~ingest.filters: nothing is chosen there; chosen are preset=embedded, " in capsys.readouterr().err
    assert main(["configure", "caption.use=given"]) == 0
    assert read_params().caption.use == "given"


def test_columns_and_lists_of_urls_are_chosen(project):
    assert main(["configure", "source=folder", "ingest.source.path=photos", "ingest.source.text=title"]) == 0
    assert read_params().ingest.source == FolderSource(kind="folder", path="photos", text="title")
    words = ["configure", "source=webdataset", 'ingest.source.path="downloads/*/*.tar"', 'download.metadata="laion/*.parquet"']
    assert main(words) == 0
    assert read_params().download.metadata == "laion/*.parquet"


def test_a_cluster_is_chosen(project):
    assert main(["configure", "execution.engine=ray", "execution.address=10.0.0.1:6379"]) == 0
    assert read_params().execution.address == "10.0.0.1:6379"


def test_a_language_model_is_chosen(project, capsys):
    assert main(["configure", "mutate.mutator=llm", "mutate.llm.url=http://127.0.0.1:8000/v1", "mutate.llm.model=NAME"]) == 0
    assert read_params().mutate.llm.model == "NAME"
    assert main(["configure", "mutate.llm.model=null"]) == 2
    assert "mutator: llm needs mutate.llm.url and mutate.llm.model" in capsys.readouterr().err


def test_without_choices_it_reports_a_value_in_params_alone(project, capsys):
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("steps: 400", "steps: 700"))
    assert main(["configure"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: params.yaml: train.steps = 700, but conf composes to 400")
    assert "iedit configure preset=embedded" in error
    assert main(["configure", "preset=embedded"]) == 0
    assert main(["configure"]) == 0


def test_a_lost_params_file_is_composed_again(project, capsys):
    before = Path("params.yaml").read_bytes()
    Path("params.yaml").unlink()
    assert main(["configure"]) == 2
    assert capsys.readouterr().err.startswith("error: params.yaml: seed = (missing), but conf composes to 0 (and ")
    assert main(["configure", "preset=embedded"]) == 0
    assert Path("params.yaml").read_bytes() == before


def test_choices_that_a_release_removes_can_be_forgotten(project, capsys):
    """Whatever the order; without a choice, the command says what helps too."""
    keys = ("upkeep.champion_days", "upkeep.min_free")
    assert main(["configure", *(f"{key}=5" for key in keys)]) == 0
    declared = Path("conf/config.yaml")
    chosen = (
        declared.read_text().replace("champion_days", "gone_days").replace("min_free", "gone_free")
    )  # as if named so before
    declared.write_text(chosen)
    shutil.copy(ROOT / "params.yaml", "params.yaml")  # the release's
    capsys.readouterr()
    forgotten: list[str] = []
    for given in ([], ["--compose"]):
        assert main(["configure", *given]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: upkeep.gone_days = 5: no such key; there are ")
        assert error.endswith("is forgotten by iedit configure '~upkeep.gone_days'\n")
    while main(["configure", *(forgotten or ["--compose"])]) != 0:
        command = capsys.readouterr().err.rpartition(" is forgotten by ")[2]
        forgotten = shlex.split(command)[2:]
        assert len(forgotten) <= len(keys)
    assert forgotten == ["~upkeep.gone_days", "~upkeep.gone_free"]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (["preset=papr"], "preset = papr: allowed are embedded, paper"),
        (["preset=null"], "preset = null: allowed are embedded, paper"),
        (["train.steps=0"], "train.steps = 0: must be a whole number, above 0"),
        (["train.stepz=3"], "train.stepz = 3: no such key; there are base, "),
        (["source=folder", "ingest.source.images=3"], "ingest.source.images = 3: no such key"),
        (["train.steps"], "train.steps: must be KEY=VALUE, such as train.steps=800, or ~KEY"),
        (["train.steps=1,2"], "train.steps=1,2: must be one value; a text with a comma needs quotes, a list brackets"),
        (["train.steps=choice(1,2)"], "train.steps=choice(1,2): must be one value"),
        *(
            ([word], f"{word}: must be KEY=VALUE, such as train.steps=800, or ~KEY")
            for word in ("+train.steps=1", "=3", "~", ".steps=3", "train..steps=3", "train@x=3", "a b=3", "~train.steps=3")
        ),
        ([""], "'': must be KEY=VALUE"),
        (["train.steps=\n3"], "'train.steps=\\n3': must be KEY=VALUE"),
        (
            ["ingest.source.path=a(1)"],
            "ingest.source.path=a(1): cannot be read; a text with signs needs quotes within quotes",
        ),
        *(
            (
                [f"ingest.source.path={word}", "source=folder"],
                f"ingest.source.path = {value}: must be text; in quotes within quotes it is one: 'ingest.source.path=",
            )
            for word, value in (("1_000", "1000"), ("2.50", "2.5"), ("true", "True"))
        ),
        (["train=3"], "train = 3: must be a section with the keys base, "),
        (["ingest.source=folder"], "ingest.source = 'folder': must be a section of keys"),
        (["train.clip=nano/models/clip"], "train.clip = 'nano/models/clip': must be a section with the keys name, revision"),
        (["preset.x=3"], "preset = {'x': 3}: no such key"),
        (["train.steps=08"], "train.steps = '08': must be a whole number"),
        (["train.steps=0o10"], "train.steps = 0o10: would become 8; choose the value itself"),
        (["evaluate.batch=${threads}"], "evaluate.batch = ${threads}: would become 2; choose the value itself"),
        (["train=[1]"], "conf: In 'config': ConfigTypeError raised while composing config: "),
        (["~preset"], "~preset: only single values can be forgotten; a group needs a file: preset=embedded"),
        (["defaults=[]"], "defaults=[]: only single values can be forgotten"),
        (["~train.steps"], "~train.steps: nothing is chosen there; chosen are preset=embedded, source=openmoji, ablation=null"),
        (["ablation=guided", "train.losses.noise=mask"], "train.losses.noise = mask: ablation=guided makes it guided"),
    ],
)
def test_errors_are_one_line_and_write_nothing(project, capsys, choices, message):
    before = {path: path.read_bytes() for path in project.rglob("*.yaml")}
    assert main(["configure", "train.batch=4", *choices]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in project.rglob("*.yaml")} == before


def test_the_source_comes_first_whatever_the_order(project):
    assert main(["configure", "ingest.source.path=pictures", "source=folder", "preset=paper"]) == 0
    assert read_params().ingest.source == FolderSource(kind="folder", path="pictures", text=None)


@pytest.mark.parametrize("path", ["a (1)/b=c", "it's, here", "010", "yes", "1e-4", "2001-01-01", "é"])
def test_a_text_in_quotes_is_kept(project, path):
    assert main(["configure", "source=folder", f'ingest.source.path="{path}"']) == 0
    assert read_params().ingest.source.path == path
    assert main(["configure"]) == 0


def test_a_section_adds_to_what_was_chosen_in_it(project):
    assert main(["configure", "train.steps=800", "train.losses.noise=mask"]) == 0
    assert main(["configure", "train.losses={perceptual_weight: 0.1}"]) == 0
    assert (read_params().train.steps, read_params().train.losses.noise) == (800, "mask")
    assert read_params().train.losses.perceptual_weight == 0.1


def test_it_waits_for_a_running_stage(project, capsys):
    """The stage, a process that holds its lock, ends when it sees the wait."""
    LOCK.parent.mkdir(parents=True)
    before = Path("params.yaml").read_bytes()
    with LOCK.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("train (process 7)")
        lock.flush()
        code = "import sys; from stages.cli.main import main; sys.exit(main(['configure', 'train.steps=800']))"
        words = [sys.executable, "-c", code]
        with subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True) as waiting:
            assert waiting.stderr.readline() == "waiting for train (process 7) to end: one at a time in a folder\n"
            assert Path("params.yaml").read_bytes() == before
            fcntl.flock(lock, fcntl.LOCK_UN)
    assert waiting.returncode == 0
    assert read_params().train.steps == 800


def test_outside_of_a_project_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["configure"]) == 2
    assert capsys.readouterr().err == "error: conf/config.yaml: no such file; run from the folder of the project\n"
    assert main(["configure", "train.steps=800"]) == 2
    assert list(tmp_path.iterdir()) == []
