"""Table 2: every row of ``conf/ablation`` as a DVC experiment, with several seeds. ``python -m flows.ablation``.

Experiments run in a sandbox, so params.yaml, dvc.lock and the outs of the project stay as they are. They are scored by the
code, parameters and cases of a snapshot, because a nightly run may change the project's meanwhile. Scores are kept in
logs/ablation, so an interrupted run resumes with the experiments that are missing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from flows.support.artifacts import Progress
from flows.support.cancellation import cancellable
from flows.support.command import exit_code_of, run
from flows.support.dag import stages_in_order
from flows.support.sandbox import Sandbox, open_sandbox, remove_experiments
from flows.support.tasks import RETRIED, is_transient
from stages.core.composition import check_composed, compose_params
from stages.core.errors import InputError
from stages.core.files import read_json, value_digest, write_json, write_text
from stages.core.params import Params
from stages.core.params_file import read_params
from stages.core.params_ingest import OpenMojiSource
from stages.core.params_training import Losses
from stages.core.paths import ABLATION, EXPERIMENTS, IEDIT, REPORTS, SNAPSHOT
from stages.core.provenance import ROOT, source_digest
from stages.report.ablation_table import ROWS, SEEDS, TRUE_TARGETS, Found, Scores, ablation_csv, ablation_markdown
from stages.tracking.lineage import pipeline_digest

LIMIT_SECONDS = 6 * 24 * 3600
TARGET, SCORER = "train", "stages.studies.ablation"  # the stage that trains a row's model, and the command that scores it
CONFIGURATIONS = sorted({row.configuration for row in ROWS.values()})

SeedCount = Annotated[int, Field(ge=2, le=10)]
"""How many trainings a row has; the table shows their standard deviation, so one is too few."""


@dataclass(frozen=True)
class Start:
    """Digests of everything that decides the scores, besides configuration and seed."""

    training: str
    scoring: str


@flow(timeout_seconds=LIMIT_SECONDS)
def ablation(seeds: SeedCount = SEEDS) -> None:
    """Run the experiments that are missing, and publish Table 2.

    Args:
        seeds: how many trainings each row has.

    Raises:
        InputError: params.yaml is not what conf/ composes to, and the experiments are composed from conf/.
    """
    with cancellable():
        check_project()
        names = configurations()
        rows = {name: compose_params(*choices_of(name)) for name in names}
        with open_sandbox(EXPERIMENTS) as sandbox, open_sandbox(SNAPSHOT) as snapshot:
            snapshot.check_out()
            start = Start(training_digest(), scoring_digest())
            found = {
                (name, seed): try_configuration.with_options(name=f"{name}, seed {seed}")(
                    name, seed, rows[name], start, sandbox, snapshot
                )
                for name in names
                for seed in range(seeds)
            }
        publish_ablation(found, {name: row.train.losses for name, row in rows.items()})
        forget_former_rows()


def check_project() -> None:
    """Check everything that can be checked before hours of training.

    Raises:
        PipelineError: dvc.yaml cannot be read.
        InputError: params.yaml is not what conf/ composes to.
    """
    stages_in_order()
    check_composed()


def choices_of(name: str) -> tuple[str, ...]:
    """Return the choices that make a configuration; all rows start from the base, so that they differ in their losses alone."""
    return f"ablation={name}", "train.continue_from=base"


def configurations() -> list[str]:
    """Return the configurations that the source of the corpus allows."""
    has_true_targets = isinstance(read_params().ingest.source, OpenMojiSource)
    return [name for name in CONFIGURATIONS if has_true_targets or name != TRUE_TARGETS]


@task(retry_condition_fn=is_transient, **RETRIED)
def try_configuration(
    name: str, seed: int, row: Params, start: Start, sandbox: Sandbox, snapshot: Sandbox
) -> Mapping[str, Scores]:
    """Return the scores of a configuration's model, after training it unless its scores are kept.

    Args:
        name: a file of ``conf/ablation``.
        seed: the seed of the training.
        row: the parameters that the configuration composes to.
        start: what the flow started from.
        sandbox: where to train.
        snapshot: where to score.

    Raises:
        CommandError: the training or the scoring failed.
    """
    systems = [row.system for row in ROWS.values() if row.configuration == name]
    kept, key = ABLATION / f"{name}-{seed}.json", value_digest([params_digest(row), seed, systems, asdict(start)])
    if (known := _read_scores(kept, key)) is not None:
        get_run_logger().info("done before")
        return known
    experiment = f"ablation-{name}-{seed}"
    chosen = (*choices_of(name), f"train.seed={seed}")
    sandbox.run_experiment(experiment, TARGET, chosen, Progress(experiment).follow)
    scored = (ABLATION / "scores.json").absolute()
    snapshot.run(SCORER, "--model", str((sandbox.folder / IEDIT).absolute()), str(scored), *systems)
    scores: Mapping[str, Scores] = read_json(scored)
    write_json(kept, {"key": key, "scores": scores})
    return scores


def _read_scores(kept: Path, key: str) -> Mapping[str, Scores] | None:
    """Return the kept scores if configuration, seed and start are the same."""
    if not kept.exists():
        return None
    try:
        record = read_json(kept)
        scores: Mapping[str, Scores] = record["scores"]
        return scores if record["key"] == key else None
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{kept}: damaged; remove it") from error


@task(retry_condition_fn=is_transient, **RETRIED)
def publish_ablation(found: Found, losses: Mapping[str, Losses]) -> None:
    """Write ablation.md and ablation.csv, log the runs to MLflow, and publish the table.

    Args:
        found: the scores of every model.
        losses: the losses that each configuration trains with.
    """
    from stages.tracking.ablation_runs import log_ablation

    table = ablation_markdown(found, losses)
    write_text(REPORTS / "ablation.csv", ablation_csv(found))
    write_text(REPORTS / "ablation.md", table)
    log_ablation(found, [REPORTS / "ablation.md", REPORTS / "ablation.csv"])
    create_markdown_artifact(key="ablation", markdown=table, description="Table 2")
    get_run_logger().info("%s\n\n%s", REPORTS / "ablation.md", table)


def forget_former_rows() -> None:
    """Remove scores and experiments of rows that Table 2 had in an earlier release, whose models DVC's cache would keep.

    Only experiments go whose scores are kept, which are those of this flow.
    """
    for kept in ABLATION.glob("*-*.json"):
        if kept.stem.rpartition("-")[0] not in CONFIGURATIONS:
            remove_experiments(f"ablation-{kept.stem}")
            kept.unlink()


def training_digest() -> str:
    """Return a digest of what a training depends on besides its parameters.

    These are the data as DVC recorded them upstream of the training, and the code of all stages up to it.
    """
    modules = (ROOT / "stages" / f"{name}.py" for name in stages_in_order([TARGET]))
    return value_digest([pipeline_digest(TARGET), [source_digest(str(path)) for path in modules if path.is_file()]])


def scoring_digest() -> str:
    """Return a digest of the parameters and the code that score a model."""
    code = source_digest(str(ROOT.joinpath(*SCORER.split(".")).with_suffix(".py")))
    return value_digest([params_digest(read_params()), code])


def params_digest(params: Params) -> str:
    """Return a digest of the parameters but for those that change no byte: who makes shards, and the bounds of a night."""
    return value_digest(params.model_dump(mode="json", exclude={"execution", "drift", "upkeep"}))


def main() -> int:
    """Run the flow, and return the exit code."""
    return exit_code_of(ablation, check=check_project)


if __name__ == "__main__":
    run(main)
