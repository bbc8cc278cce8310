"""Every command of README.md, reports/README.md, docs/ and SECURITY.md is run by CI or a test; every path in them exists."""

import ast
import json
import re
import shlex
import subprocess
import tomllib
from itertools import pairwise

import pytest
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor

from stages.cli.main import _parser
from stages.core.params import Params
from stages.report.captions import NAMES
from stages.studies.load import describe
from tests.support import ROOT
from tests.support.composed import composed

DOCUMENTS = [ROOT / "README.md", ROOT / "reports" / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "SECURITY.md"]
README = DOCUMENTS[0].read_text()
CI = (ROOT / ".ci" / "run").read_text().splitlines()
# The start of a command → the test file that runs it, and the words by which it does.
RUN_BY = {
    "iedit edit reports/samples/source.png": ("test_end_to_end.py", "-m stages.cli.main edit reports/samples/source.png"),
    "dvc repro": ("test_end_to_end.py", "dvc repro"),
    "dvc metrics show": ("test_end_to_end.py", "dvc metrics show"),
    "dvc plots show": ("test_end_to_end.py", "dvc plots show"),
    "make flow": ("test_end_to_end.py", "-m flows.pipeline"),
    "make reference": ("test_end_to_end.py", "-m stages.studies.reference"),
    "mlflow ui": ("test_end_to_end.py", "mlflow ui"),
    "iedit configure preset=paper source=folder": (
        "stages/cli/test_configure.py",
        "configure preset=paper source=folder ingest.source.path=photos",
    ),
    "iedit configure preset=paper source=webdataset": (
        "stages/cli/test_configure.py",
        'configure preset=paper source=webdataset ingest.source.path="corpus/*.tar"',
    ),
    "iedit configure source=folder": (
        "stages/cli/test_configure.py",
        "configure source=folder ingest.source.path=photos ingest.source.text=title",
    ),
    "iedit configure ingest.filters.similarity.min=0.3": (
        "stages/cli/test_configure.py",
        "configure ingest.filters.similarity.min=0.3 ingest.filters.punsafe.max=0.1 ingest.filters.language.any=[en,de]",
    ),
    "iedit configure caption.use=given": ("stages/cli/test_configure.py", "configure caption.use=given"),
    "iedit configure source=webdataset": (
        "stages/cli/test_configure.py",
        'configure source=webdataset ingest.source.path="downloads/*/*.tar" download.metadata="laion/*.parquet"',
    ),
    "iedit download": ("stages/cli/test_download.py", "download"),
    "iedit configure execution.engine=ray": (
        "stages/cli/test_configure.py",
        "configure execution.engine=ray execution.address=10.0.0.1:6379",
    ),
    "iedit configure mutate.mutator=llm": (
        "stages/cli/test_configure.py",
        "configure mutate.mutator=llm mutate.llm.url=http://127.0.0.1:8000/v1 mutate.llm.model=NAME",
    ),
    "iedit configure caption.model.revision": ("stages/cli/test_models.py", "configure caption.model.revision=refs/pr/7"),
    "iedit export exported --model": ("stages/cli/test_export.py", "--model 3 --half"),
    "iedit export": ("stages/cli/test_export.py", "export"),
    "iedit models": ("stages/cli/test_models.py", "models --fetch"),
    "iedit thresholds": ("stages/cli/test_thresholds.py", "thresholds"),
    "ray get-auth-token": ("stages/core/executors/test_ray_actors.py", "get-auth-token --generate"),
    "ray start --head": ("stages/core/executors/test_ray_actors.py", "start --head --port"),
    "ray start --address": ("stages/core/executors/test_ray_actors.py", "start --address"),
    "iedit benchmark pie-bench": (
        "stages/cli/test_benchmark.py",
        "benchmark pie-bench --data PIE-Bench --system sdedit iedit_m",
    ),
    "iedit benchmark made": ("stages/cli/test_benchmark.py", "benchmark made"),
    "iedit prune --dry-run": ("stages/cli/test_prune.py", "prune --dry-run"),
    "iedit prune --keep": ("stages/cli/test_prune.py", "prune --keep"),
    "iedit backup": ("stages/cli/test_backup.py", "backup ../kept.tar"),
    "iedit restore": ("stages/cli/test_backup.py", "restore ../kept.tar"),
    "iedit plan": ("stages/cli/test_plan.py", "plan --images 5e9 --machines 64 --gpu h100 --gpus-per-worker 0.0625"),
    "iedit memory": ("stages/cli/test_memory.py", "memory precision=fp32 train.precision=no"),
    "iedit promote": ("stages/cli/test_registry.py", "promote 3"),
    "iedit rollback": ("stages/cli/test_registry.py", "rollback"),
    "iedit history": ("ops/test_mlflow.py", "history"),
    "iedit lineage": ("ops/test_mlflow.py", "lineage models:/iedit@champion"),
    "iedit reproduce": ("ops/test_rebuilding.py", "reproduce models:/iedit@champion"),
    "iedit review --reviewer": ("stages/cli/test_review.py", "review --reviewer Ann"),
    "iedit review --table": ("stages/cli/test_review.py", "review --table"),
    "iedit review --compare": ("stages/cli/test_review.py", "review --compare 3 models:/iedit@champion --reviewer Ann"),
    "iedit review --result": ("stages/cli/test_review.py", "review --result 3 models:/iedit@champion"),
    "iedit serve": ("ops/test_mlflow.py", "iedit serve"),
    "make serve": ("ops/test_mlflow.py", "iedit serve"),
    "IEDIT_API_KEY=… iedit serve --host 0.0.0.0": ("stages/cli/test_serve.py", "serve --host 0.0.0.0"),
    "curl http://127.0.0.1:5001/v1/images/edits": ("stages/serving/test_app.py", "/v1/images/edits"),
    "curl http://127.0.0.1:5001/invocations": ("ops/test_mlflow.py", "dataframe_records"),
    "make server": ("ops/platform.py", "server"),
    "make deploy": ("ops/platform.py", "deploy"),
    "make worker": ("ops/platform.py", "worker"),
    "PREFECT_API_URL=http://127.0.0.1:4200/api prefect deployment run refresh/nightly": (
        "ops/test_prefect.py",
        "prefect deployment run refresh/nightly --param images=5000",
    ),
    "dvc pull": ("ops/test_rebuilding.py", "dvc pull"),
    "make upgrade": ("ops/test_upgrade.py", "make upgrade RELEASE=v2"),
    "dvc push": ("ops/test_rebuilding.py", "dvc push"),
    "dvc exp run --queue": ("ops/test_rebuilding.py", "dvc exp run --queue -C data/nltk"),
    "dvc queue start": ("ops/test_rebuilding.py", "dvc queue start"),
    "dvc exp show": ("ops/test_rebuilding.py", "dvc exp show"),
}
# They take hours; tests run their parts on tiny models.
NOT_RUN = ("make nano", "make scale", "make tune", "make tables", "make ablation")


COLUMNS = ("clip_score", "clip_directional", "edit_success", "frechet_judge_features", "ssim_m", "ssim_m_bar")


def commands(start: str = "") -> list[str]:
    """Return the commands of all documents that begin so, without their comments."""
    blocks = [block for path in DOCUMENTS for block in re.findall(r"```sh\n(.*?)```", path.read_text(), flags=re.DOTALL)]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]
    return [line for line in lines if line.startswith(start)]


def texts(file: str) -> list[str]:
    """Return the string literals of a test file in the order of the text."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [node.value for node in sorted(found, key=lambda node: (node.lineno, node.col_offset))]


@pytest.mark.parametrize("command", commands())
def test_command_is_run_somewhere(command):
    start = next((start for start in RUN_BY if command.startswith(start)), None)
    if start is None:
        assert command in CI or command.startswith(NOT_RUN), f"{command}: nothing runs it"
        return
    file, words = RUN_BY[start]
    found, wanted = texts(file), words.split()
    assert any(found[place : place + len(wanted)] == wanted for place in range(len(found))), f"{file} does not run {words}"


def test_commands_that_tests_run_by_another_name():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["iedit"] == "stages.cli.main:main"
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^serve:.*\n\tiedit serve --port \$\(EDITOR_PORT\)$", makefile, flags=re.MULTILINE)
    assert re.search(r"^flow:.*\n\tpython -m flows\.pipeline$", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("command", commands("make "))
def test_make_knows_its_targets(command):
    subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("command", commands("iedit "))
def test_command_line_knows_its_options(command):
    assert _parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("command", commands("dvc exp run "))
def test_experiment_is_composed_to_allowed_parameters(command):
    words = shlex.split(command)
    assert Params.model_validate(composed(*(value for option, value in pairwise(words) if option == "-S")))


def test_results_are_those_of_the_committed_evaluation():
    metrics = json.loads((ROOT / "reports" / "metrics.json").read_text())
    assert f"{metrics['cases']} held-out" in README
    for system, name in NAMES.items():
        scores = metrics["systems"][system]
        row = next(line for line in README.splitlines() if line.startswith(f"| {name} |"))
        shown = [float(cell) for cell in row.split("|")[2:-1]]
        digits = [len(cell.strip().partition(".")[2]) for cell in row.split("|")[2:-1]]
        assert shown == [round(scores[column], places) for column, places in zip(COLUMNS, digits, strict=True)]


def test_load_table_is_that_of_the_committed_study():
    reported = (ROOT / "reports" / "serving.md").read_text()
    assert reported == describe(json.loads((ROOT / "reports" / "serving.json").read_text()))
    assert reported.partition("\n\n")[0] in (ROOT / "docs" / "serving.md").read_text()


def test_python_example_is_valid():
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        compile(block, "README.md", "exec")


def test_filter_in_the_documents_judges_a_picture(tmp_path, monkeypatch):
    """On a checker with random weights whose thresholds lie above, and then below, every cosine."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "models.md").read_text(), flags=re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    tower = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision = {**tower, "image_size": 32, "patch_size": 16}
    checker = StableDiffusionSafetyChecker(CLIPConfig(text_config=tower, vision_config=vision, projection_dim=8))
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained("feature_extractor")
    for threshold, refused in ((2, False), (-2, True)):
        checker.concept_embeds_weights.data.fill_(threshold)
        checker.save_pretrained("safety_checker")
        names: dict = {}
        exec(code, names)
        assert names["is_refused"](Image.new("RGB", (48, 40), "green")) is refused


DEPLOYMENTS = re.findall(r"entrypoint: flows/\w+\.py:(\w+)", (ROOT / "prefect.yaml").read_text())
ELSEWHERE = (
    "data/",
    "downloads/",
    "models/",
    "logs/",
    "reports/latest/",
    ".dvc/config.local",
    ".venv/",
    "metadata.csv",
    *(f"{flow}/" for flow in DEPLOYMENTS),
)
"""Paths that a run or a user makes, and names of deployments, which look like paths."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_paths_exist(document):
    text = document.read_text()
    named = re.findall(r"`((?:\.?[\w-]+/)+[\w.-]*|[\w-]+\.(?:yaml|json|csv|md))`", text)
    named += re.findall(r"(?<![\w/])stages/\w+\.py", text)
    for path in named:
        if not path.startswith(ELSEWHERE):
            places = [ROOT / path, document.parent / path, ROOT / "stages" / path]
            assert any(place.exists() for place in places), path
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (document.parent / link).exists(), link


def test_readme_is_short():
    assert len(README.split()) <= 1500
