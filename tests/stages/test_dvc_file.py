"""dvc.yaml agrees with the code about modules, models and losses."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro

from stages.__main__ import STAGES
from stages.core.params import named_models
from stages.core.params_file import read_params
from stages.core.paths import MODELS, WORDNET
from stages.models.digests import OPTIONAL
from tests.support import ROOT
from tests.support.flow_project import make_dvc_project

FILE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PIPELINE = FILE["stages"]


def test_every_stage_depends_on_its_own_code():
    assert tuple(name for name in PIPELINE if name not in ("code", "models", "source", "wordnet")) == STAGES
    assert PIPELINE["code"]["cmd"].split()[3:] == [f"stages.{name}" for name in STAGES]
    for name in STAGES:
        assert PIPELINE[name]["cmd"] == f"python -m stages {name}"
        code = [dep for dep in PIPELINE[name]["deps"] if dep.startswith(("data/code", "stages"))]
        assert code == [f"data/code/{name}.json"]


def test_every_stage_depends_on_the_digests_of_its_models():
    params = read_params(ROOT / "params.yaml")
    keys = {model.key for model in named_models(params)}
    for name in STAGES:
        named = PIPELINE[name].get("params", [])
        loaded = {key for key in keys if any(f"{key}.".startswith(f"{part}.") for part in named)}
        found = {Path(dep).name.removesuffix(".json") for dep in PIPELINE[name]["deps"] if Path(dep).parent == MODELS}
        assert found - {*OPTIONAL} == loaded, name
    wanted = {f"data/models/{key}.json" for key in OPTIONAL}
    assert wanted <= {*PIPELINE["evaluate"]["deps"]}  # whether params.yaml names such models or not


def work_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter a project whose commands run the stages of this one."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(project)


def test_other_bytes_of_a_model_remake_what_depends_on_it(tmp_path, monkeypatch):
    """Under the same name: a folder that params.yaml names is no dependency of DVC's own."""
    models = tmp_path / "own"
    for name in ("captioner", "clip", "segmenter", "vgg", "diffusion", "judge", "referee"):
        (models / name).mkdir(parents=True)
        (models / name / "model.safetensors").write_bytes(name.encode())
    stages = {"models": PIPELINE["models"], "caption": {"cmd": "true", "deps": ["data/models/caption.model.json"]}}
    stages["train"] = {"cmd": "true", "deps": ["data/models/train.vgg.json"]}
    make_dvc_project(tmp_path, yaml.safe_dump({"stages": stages}))
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace("nano/models", "own"))
    work_in(tmp_path, monkeypatch)
    with Repo() as repo:
        assert {stage.name for stage in repo.reproduce()} == {"models", "caption", "train"}
        assert [stage.name for stage in repo.reproduce()] == ["models"]
        (models / "vgg" / "model.safetensors").write_bytes(b"other")
        assert [stage.name for stage in repo.reproduce()] == ["models", "train"]


def test_no_output_is_removed_before_its_stage_runs():
    """So that a stage can reuse it, and one that fails leaves what it had."""
    outs = [out for name in STAGES for kind in ("outs", "metrics") for out in PIPELINE[name].get(kind, [])]
    assert [out for out in outs if not isinstance(out, dict) or not all(each.get("persist") for each in out.values())] == []


def test_every_stage_names_the_parameters_that_it_reads():
    """As its own module reads them; those that decide no output are `execution` and `threads`."""
    for name in STAGES[: STAGES.index("train")]:  # the stages that make the training set
        named = [key.split(".") for key in PIPELINE[name].get("params", [])]
        tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
        read = {tuple(ast.unparse(node).split(".")[1:]) for node in ast.walk(tree) if is_parameter(node)}
        unnamed = {keys for keys in read if not any(keys[: len(key)] == tuple(key[: len(keys)]) for key in named)}
        assert {keys[0] for keys in unnamed} <= {"execution", "threads"}, (name, unnamed)


def is_parameter(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node).startswith("params.")


def test_the_dataset_is_described_before_anything_is_trained():
    """A training that finds too few pairs names the page that shows why."""
    with Repo(ROOT) as repo:
        order = [stage.addressing for stage in plan_repro(repo.index.graph)]
    assert order.index("describe") < min(order.index("train"), order.index("instruct"))


def test_who_makes_the_shards_remakes_nothing():
    """No stage has the section `execution` among its parameters, so DVC does not compare it."""
    keys = [key for stage in PIPELINE.values() for key in stage.get("params", [])]
    assert "seed" in keys
    assert not [key for key in keys if key.partition(".")[0] == "execution"]


def test_dvc_fetches_the_dictionary_or_says_what_helps(tmp_path):
    """Without a network and without Debian's commands: the last lines are the stage's own and DVC's name of the stage."""
    make_dvc_project(tmp_path, yaml.safe_dump({"stages": {"wordnet": PIPELINE["wordnet"]}}))
    module = tmp_path / PIPELINE["wordnet"]["deps"][0]
    module.parent.mkdir(parents=True)
    shutil.copy(ROOT / PIPELINE["wordnet"]["deps"][0], module)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = os.environ | nowhere | {"PATH": str(tmp_path / "bin"), "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}

    def repro() -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "dvc", "repro", "wordnet"]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    failed = repro()
    assert failed.returncode != 0
    cause, stage = [line for line in failed.stderr.splitlines() if line][-2:]
    assert cause.startswith("error: WordNet: no NLTK server and no apt-get; put NLTK's corpus wordnet (3.0) at data/nltk")
    assert stage.startswith("ERROR: failed to reproduce 'wordnet': ")
    shutil.copytree(ROOT / WORDNET, tmp_path / WORDNET)
    assert repro().returncode == 0
    assert "data/nltk/corpora/wordnet" in (tmp_path / "dvc.lock").read_text()


SOURCES = {
    "folder": ({"kind": "folder", "path": "photos", "text": None}, "png"),
    "tars": ({"kind": "webdataset", "path": "photos/*.tar"}, "tar"),
}
"""Kind of source → the source, and what its files are called."""


@pytest.mark.parametrize(("source", "suffix"), SOURCES.values(), ids=SOURCES)
def test_dvc_sees_every_file_that_comes_changes_or_goes(source, suffix, tmp_path, monkeypatch):
    """Without --force, and what depends on the listing rests where nothing did; a source that has gone is as it was."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["ingest"]["source"] = source
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    later = {"cmd": "true", "deps": ["data/source.json"]}
    make_dvc_project(tmp_path, yaml.safe_dump({"stages": {"source": PIPELINE["source"], "later": later}}))
    photos = tmp_path / "photos"
    photos.mkdir()
    work_in(tmp_path, monkeypatch)

    def put(**files: bytes | None) -> None:
        """Write files, or remove those without content, and the table that lists what is there."""
        for name, content in files.items():
            path = photos / f"{name}.{suffix}"
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
        names = sorted(path.name for path in photos.glob(f"*.{suffix}"))
        (photos / "metadata.csv").write_text("file_name,text\n" + "".join(f"{name},a dog\n" for name in names))

    with Repo() as repo:
        changes: list[dict[str, bytes | None]] = [{"a": b"a", "b": b"b"}, {"c": b"c"}, {"c": b"changed"}, {"b": None}]
        for files in changes:
            put(**files)
            assert {stage.name for stage in repo.reproduce()} == {"source", "later"}, files
        assert [stage.name for stage in repo.reproduce()] == ["source"]
        photos.rename(tmp_path / "elsewhere")
        assert [stage.name for stage in repo.reproduce()] == ["source"]


def test_compiled_files_are_no_code():
    """They appear as modules are imported, so the stage `code` would never be up to date."""
    with Repo(ROOT) as repo:
        assert repo.dvcignore.is_ignored_dir(str(ROOT / "stages/corpus/__pycache__"))
        assert not repo.dvcignore.is_ignored_dir(str(ROOT / "stages/corpus"))
