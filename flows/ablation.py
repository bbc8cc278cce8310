"""Table 2: every row of ``conf/ablation`` as a DVC experiment, three seeds each. Run as ``python -m flows.ablation``.

An experiment trains in this folder; its scores are kept in logs/ablation, so that after an interruption those that are
done are not done again. At the end params.yaml, dvc.lock and the outs are put back to what they were.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from stages.errors import InputError
from stages.files import read_json, value_digest, write_json
from stages.interrupt import EXIT_CODE, MESSAGE
from stages.params import PARAMS_FILE
from stages.report.ablation import ROWS, SEEDS, Scores, ablation_csv, ablation_markdown
from stages.report.tables import write_text
from stages.tracking.ablation import log_ablation

DONE, REPORTS = Path("logs/ablation"), Path("reports")
CONFIGURATIONS = sorted({row.configuration for row in ROWS})
TRACKED = (PARAMS_FILE, Path("dvc.lock"))


def ablation() -> None:
    """Run what is not done of the experiments, and write reports/ablation.md and .csv and the runs in MLflow.

    Raises:
        InputError: params.yaml or dvc.lock has changes that are not committed: they would be lost.
    """
    if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *TRACKED], check=False).returncode:
        raise InputError("params.yaml or dvc.lock: has changes that are not committed; commit or undo them first")
    try:
        found = {(name, seed): _experiment(name, seed) for name in CONFIGURATIONS for seed in SEEDS}
    finally:
        _run("git", "checkout", "--quiet", "HEAD", "--", *map(str, TRACKED))
        _run("dvc", "checkout", "--quiet", "--force")
    write_text(REPORTS / "ablation.csv", ablation_csv(found))
    table = ablation_markdown(found)
    write_text(REPORTS / "ablation.md", table)
    print(table)
    log_ablation(found, [REPORTS / "ablation.md", REPORTS / "ablation.csv"])


def _experiment(name: str, seed: int) -> Mapping[str, Scores]:
    """Return the scores of a configuration's model, which is trained now unless it was before."""
    kept = DONE / f"{name}-{seed}.json"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    key = value_digest([name, seed, commit])
    if (known := _read_scores(kept, key)) is not None:
        print(f"{name}, seed {seed}: done before")
        return known
    number = CONFIGURATIONS.index(name) * len(SEEDS) + SEEDS.index(seed) + 1
    print(f"{name}, seed {seed}: {number} of {len(CONFIGURATIONS) * len(SEEDS)}", flush=True)
    named = ("--force", "--name", f"ablation-{name}-{seed}")
    _run("dvc", "exp", "run", *named, "-S", f"ablation={name}", "-S", f"train.seed={seed}", "train")
    scored = DONE / "scores.json"
    _run(sys.executable, "-m", "stages.ablation", str(scored))
    scores: Mapping[str, Scores] = read_json(scored)
    write_json(kept, {"key": key, "scores": scores})
    return scores


def _read_scores(kept: Path, key: str) -> Mapping[str, Scores] | None:
    """Return the scores that were kept, if they are of the same configuration, seed and commit."""
    if not kept.exists():
        return None
    try:
        record = read_json(kept)
        scores: Mapping[str, Scores] = record["scores"]
        return scores if record["key"] == key else None
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{kept}: damaged; remove it") from error


def _run(*command: str) -> None:
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"{' '.join(command)}: failed; what is done is kept, run again")


def main() -> None:
    """Run the ablation and exit: 0; 2 after one line about what is wrong; 130 interrupted."""
    try:
        ablation()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(MESSAGE, file=sys.stderr)
        sys.exit(EXIT_CODE)


if __name__ == "__main__":
    main()
