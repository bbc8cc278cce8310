"""Table 2: every row of ``conf/ablation`` as a DVC experiment, with several seeds. ``python -m flows.ablation``.

An experiment trains in this folder; its scores are kept in logs/ablation, so that after an interruption those that are
done are not done again. At the end params.yaml, dvc.lock and the outs are put back to what they were; after a kill, the
next run does so first.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from flows.artifacts import Progress
from flows.command import exit_code_of, run
from flows.dag import stages_in_order
from flows.tasks import RETRIED, may_pass, run_dvc, run_logged
from stages.errors import InputError
from stages.files import file_digest, read_json, remove, value_digest, write_json, written_aside
from stages.params import PARAMS_FILE
from stages.report.ablation import ROWS, SEEDS, Found, Scores, ablation_csv, ablation_markdown
from stages.report.tables import write_text
from stages.tracking.lineage import COMMIT, LOCK_FILE, git_tags, pipeline_digest

LIMIT_SECONDS = 6 * 24 * 3600
DONE, REPORTS = Path("logs/ablation"), Path("reports")
BEFORE = DONE / "before"  # what is put back at the end
CONFIGURATIONS = sorted({row.configuration for row in ROWS})

SeedCount = Annotated[int, Field(ge=2, le=10)]
"""How many trainings a row has; the table tells their standard deviation, so one is too few."""


@flow(timeout_seconds=LIMIT_SECONDS)
def ablation(seeds: SeedCount = SEEDS) -> None:
    """Run what is not done of the experiments, and publish Table 2.

    Args:
        seeds: how many trainings each row has.
    """
    with _put_back():
        start = _state()
        found = {
            (name, seed): try_configuration.with_options(name=f"{name}, seed {seed}")(name, seed, start)
            for name in CONFIGURATIONS
            for seed in range(seeds)
        }
    publish_ablation(found)


@task(retry_condition_fn=may_pass, **RETRIED)
def try_configuration(name: str, seed: int, start: str) -> Mapping[str, Scores]:
    """Return the scores of a configuration's model, which is trained now unless it was before.

    Args:
        name: of a file in ``conf/ablation``.
        seed: of the training.
        start: a digest of all that the experiment starts from.
    """
    kept, key = DONE / f"{name}-{seed}.json", value_digest([name, seed, start])
    if (known := _read_scores(kept, key)) is not None:
        get_run_logger().info("done before")
        return known
    experiment = f"ablation-{name}-{seed}"
    chosen = ("-S", f"ablation={name}", "-S", f"train.seed={seed}")
    run_dvc("exp", "run", "--force", "--name", experiment, *chosen, "train", on_line=Progress(experiment).follow)
    scored = DONE / "scores.json"
    run_logged([sys.executable, "-m", "stages.ablation", str(scored)])
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
def publish_ablation(found: Found) -> None:
    """Write reports/ablation.md and .csv, log the runs to MLflow, and publish the table."""
    from stages.tracking.ablation import log_ablation

    table = ablation_markdown(found)
    write_text(REPORTS / "ablation.csv", ablation_csv(found))
    write_text(REPORTS / "ablation.md", table)
    log_ablation(found, [REPORTS / "ablation.md", REPORTS / "ablation.csv"])
    create_markdown_artifact(key="ablation", markdown=table, description="Table 2")
    get_run_logger().info("%s\n\n%s", REPORTS / "ablation.md", table)


def _state() -> str:
    """Return a digest of what all experiments start from: code, parameters, and data upstream of the training."""
    return value_digest([git_tags()[COMMIT], file_digest(PARAMS_FILE), pipeline_digest("train")])


@contextmanager
def _put_back() -> Iterator[None]:
    """Put params.yaml, dvc.lock and the outs back at the end of the block, and first what a kill has kept from it."""
    if BEFORE.exists():
        _restore()
    with written_aside(BEFORE) as temporary:
        temporary.mkdir()
        for path in (PARAMS_FILE, LOCK_FILE):
            if path.exists():
                shutil.copyfile(path, temporary / path.name)
    try:
        yield
    finally:
        _restore()


def _restore() -> None:
    for path in (PARAMS_FILE, LOCK_FILE):
        kept = BEFORE / path.name
        if kept.exists():
            with written_aside(path) as temporary:
                shutil.copyfile(kept, temporary)
        else:
            path.unlink(missing_ok=True)
    run_logged(["git", "reset", "--quiet", "--", str(PARAMS_FILE), str(LOCK_FILE)])  # staged by an experiment that was ended
    run_dvc("checkout", "--quiet", "--force")
    remove(BEFORE)


def main() -> int:
    """Run the flow, and return the exit code."""
    return exit_code_of(ablation, check=stages_in_order)


if __name__ == "__main__":
    run(main)
