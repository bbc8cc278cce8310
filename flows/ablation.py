"""Table 2: every row of ``conf/ablation`` as a DVC experiment, with several seeds. ``python -m flows.ablation``.

An experiment is run in a sandbox, so params.yaml, dvc.lock and the outs stay as they are. Its scores are kept in
logs/ablation, so that after an interruption those that are done are not done again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from flows.support.artifacts import Progress
from flows.support.command import exit_code_of, run
from flows.support.dag import stages_in_order
from flows.support.sandbox import Sandbox, open_sandbox
from flows.support.tasks import RETRIED, may_pass
from stages.core.errors import InputError
from stages.core.files import file_digest, folder_digest, read_json, value_digest, write_json, write_text
from stages.core.params import Losses, OpenMojiSource, Params
from stages.core.params_file import read_params
from stages.core.paths import PARAMS_FILE, REPORTS
from stages.core.provenance import PACKAGE, ROOT, source_digest
from stages.report.ablation_table import ROWS, SEEDS, TRUE_TARGETS, Found, Scores, ablation_csv, ablation_markdown
from stages.tracking.lineage import pipeline_digest

LIMIT_SECONDS = 6 * 24 * 3600
DONE = Path("logs/ablation")
COMPOSED_FROM = Path("conf")  # what each experiment composes its params.yaml from
TARGET, MODEL = "train", Path("models/iedit")  # the stage that is run, and what it makes
CONFIGURATIONS = sorted({row.configuration for row in ROWS.values()})

SeedCount = Annotated[int, Field(ge=2, le=10)]
"""How many trainings a row has; the table tells their standard deviation, so one is too few."""


@dataclass(frozen=True)
class Start:
    """Digests of all that decides the scores, but for configuration and seed."""

    training: str
    scoring: str


@flow(timeout_seconds=LIMIT_SECONDS)
def ablation(seeds: SeedCount = SEEDS) -> None:
    """Run what is not done of the experiments, and publish Table 2.

    Args:
        seeds: how many trainings each row has.
    """
    names = configurations()
    losses = losses_of(names)
    with open_sandbox(DONE / "project") as sandbox:
        start = Start(training_digest(sandbox), scoring_digest())
        found = {
            (name, seed): try_configuration.with_options(name=f"{name}, seed {seed}")(name, seed, start, sandbox)
            for name in names
            for seed in range(seeds)
        }
    publish_ablation(found, losses)


def configurations() -> list[str]:
    """Return the configurations that the source of the corpus allows."""
    is_made = isinstance(read_params().ingest.source, OpenMojiSource)
    return [name for name in CONFIGURATIONS if is_made or name != TRUE_TARGETS]


def losses_of(names: Sequence[str]) -> dict[str, Losses]:
    """Return the losses that each configuration trains with: configuration → losses."""
    with initialize_config_dir(str(COMPOSED_FROM.absolute()), version_base=None):
        composed = {name: compose("config", overrides=[f"ablation={name}"]) for name in names}
    return {
        name: Params.model_validate(OmegaConf.to_container(values, resolve=True)).train.losses
        for name, values in composed.items()
    }


@task(retry_condition_fn=may_pass, **RETRIED)
def try_configuration(name: str, seed: int, start: Start, sandbox: Sandbox) -> Mapping[str, Scores]:
    """Return the scores of a configuration's model, which is trained now unless it was before.

    Args:
        name: of a file in ``conf/ablation``.
        seed: of the training.
        start: what the flow started from.
        sandbox: where it is trained.

    Raises:
        CommandError: the training or the scoring failed.
        InputError: what the scoring reads has changed since the start, so that rows could not be compared.
    """
    systems = [row.system for row in ROWS.values() if row.configuration == name]
    kept, key = DONE / f"{name}-{seed}.json", value_digest([name, seed, systems, start.training, start.scoring])
    if (known := _read_scores(kept, key)) is not None:
        get_run_logger().info("done before")
        return known
    experiment = f"ablation-{name}-{seed}"
    chosen = (f"ablation={name}", f"train.seed={seed}")
    sandbox.run_experiment(experiment, TARGET, chosen, Progress(experiment).follow)
    scored = DONE / "scores.json"
    sandbox.run("stages.studies.ablation", "--model", str(sandbox.folder / MODEL), str(scored), *systems)
    if scoring_digest() != start.scoring:
        raise InputError(f"{PARAMS_FILE}, or the code that scores, was changed while models were trained; run again")
    scores: Mapping[str, Scores] = read_json(scored)
    write_json(kept, {"key": key, "scores": scores})
    return scores


def _read_scores(kept: Path, key: str) -> Mapping[str, Scores] | None:
    """Return the scores that were kept, if they are of the same configuration, seed and start."""
    if not kept.exists():
        return None
    try:
        record = read_json(kept)
        scores: Mapping[str, Scores] = record["scores"]
        return scores if record["key"] == key else None
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{kept}: damaged; remove it") from error


@task(retry_condition_fn=may_pass, **RETRIED)
def publish_ablation(found: Found, losses: Mapping[str, Losses]) -> None:
    """Write reports/latest/ablation.md and .csv, log the runs to MLflow, and publish the table."""
    from stages.tracking.ablation_runs import log_ablation

    table = ablation_markdown(found, losses)
    write_text(REPORTS / "ablation.csv", ablation_csv(found))
    write_text(REPORTS / "ablation.md", table)
    log_ablation(found, [REPORTS / "ablation.md", REPORTS / "ablation.csv"])
    create_markdown_artifact(key="ablation", markdown=table, description="Table 2")
    get_run_logger().info("%s\n\n%s", REPORTS / "ablation.md", table)


def training_digest(sandbox: Sandbox) -> str:
    """Return a digest of what an experiment of the sandbox composes its parameters from, of the data, and of the code.

    The data are what DVC recorded upstream of the training; the code is that of all stages up to it.
    """
    code = [source_digest(str(ROOT / PACKAGE / f"{name}.py")) for name in stages_in_order([TARGET])]
    return value_digest([folder_digest(sandbox.folder / COMPOSED_FROM), pipeline_digest(TARGET), code])


def scoring_digest() -> str:
    """Return a digest of the parameters and of the code by which models are scored."""
    return value_digest([file_digest(PARAMS_FILE), source_digest(str(ROOT / PACKAGE / "studies" / "ablation.py"))])


def main() -> int:
    """Run the flow, and return the exit code."""
    return exit_code_of(ablation, check=stages_in_order)


if __name__ == "__main__":
    run(main)
