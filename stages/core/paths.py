"""Every path of the pipeline, relative to the project's folder. A test holds dvc.yaml against this list."""

from pathlib import Path

CODE = Path("data/code")  # digests of each stage's code, which DVC compares instead of the text
MODELS = Path("data/models")  # digests of each model that params.yaml names, for the same purpose

# Data, in the order in which the stages write them.
WORDNET = Path("data/nltk/corpora/wordnet")
SOURCE = Path("data/source.json")  # digests of what the source of images holds
CORPUS = Path("data/corpus")
EVALUATION = Path("data/evaluation")  # held-out edits of the embedded world, to compare systems on
VALIDATION = Path("data/validation")  # held-out edits of the embedded world, to choose settings on
CAPTIONS = Path("data/captions")
EDITS = Path("data/edits")
PAIRS = Path("data/pairs")
EMBEDDINGS = PAIRS / "embeddings"
INDEXES = PAIRS / "indexes"
MASKS = Path("data/masks")  # of all pairs, usable or not
TRAINING_SET = Path("data/training")
HELD_OUT = Path("data/heldout")  # pairs that no training sees

# Models, and the losses of each training step.
IEDIT = Path("models/iedit")
IEDIT_LOSSES = Path("models/losses.csv")
INSTRUCT_PIX2PIX = Path("models/instruct_pix2pix")
INSTRUCT_PIX2PIX_LOSSES = Path("models/instruct_losses.csv")

# Results.
REFERENCE = Path("reports")  # committed; README quotes it
REPORTS = REFERENCE / "latest"  # written by the last run on this machine; ignored by git
METRICS_FILE = REPORTS / "metrics.json"
DATASET = REPORTS / "dataset.json"  # figures of the dataset
DATASET_BEFORE = REPORTS / "dataset_before.json"  # of its last version here; not tracked by DVC, as the page that compares both
DATASET_PAGE = REPORTS / "dataset.html"
SCALE = REFERENCE / "scale"  # what `make scale` measured: .json, .md, .svg
TRUE_SIZE_REPORT = REFERENCE / "true_size.md"  # what `make true-size` measured

# Not tracked by DVC; rebuilt when missing.
ENCODED = Path("data/cache")  # the training set, encoded by the frozen models
ENCODED_HELD_OUT = Path("data/cache/heldout")  # the held-out pairs on which a training measures its loss, encoded alike
PROPOSALS = Path("data/proposals")  # what language models have answered, by the digest of the question
EDITED = Path("data/evaluated")  # every system's edits of the held-out cases, batch by batch
EDITED_REGISTERED = Path("data/registered")  # edits by registered versions that are evaluated again
EDITED_COMPARED = Path("data/compared")  # edits by registered versions that people compare
PREFERENCES = Path("data/preferences")  # people's answers; MLflow keeps them with the versions
GENERATED_CASES = Path("data/generated")  # cases whose sources the base model drew
EDITED_GENERATED = Path("data/generated_edits")  # every system's edits of those cases
EDITED_TRIALS = Path("data/tuned")  # edits with the settings that were tried for each system
EDITED_TRADEOFF = Path("data/tradeoff")  # edits over a range of settings
EDITED_BENCHMARKS = Path("data/benchmarked")  # edits of the cases of benchmarks
MADE_BENCHMARK = Path("data/benchmark")  # the embedded world's, in PIE-Bench's format
EDITED_ABLATION = Path("data/ablated")  # edits by the last model of the ablation
MEASURED = Path("data/scale")  # where `make scale` measures
TRUE_SIZE = Path("data/true_size")  # where `make true-size` runs
IEDIT_UNFINISHED = Path("models/unfinished")  # checkpoints; removed when the model is whole and its run finished
START = Path("models/start")  # the U-Net of the version that a training continues from, or why it starts from the base
INSTRUCT_PIX2PIX_UNFINISHED = Path("models/instruct_unfinished")
LOGS = Path("logs")  # counts and times of the last run: read by flows, never digested
THRESHOLDS_PAGE = LOGS / "thresholds.html"  # what each threshold drops; `iedit thresholds` writes it
ABLATION = LOGS / "ablation"  # scores of the finished trainings of Table 2
EXPERIMENTS = ABLATION / "project"  # the copy of the project in which those trainings run
SNAPSHOT = LOGS / "snapshot"  # the copy of the project from which the tables are made
SANDBOXES = (EXPERIMENTS, SNAPSHOT)  # DVC's cache is the project's own
DIGESTS = LOGS / "digests"  # of files, by size, times and inode; a cache
EVALUATION_SEAL = LOGS / "evaluate.done"  # of the last evaluation, so that it is not repeated
LAST_STORE = LOGS / "store.json"  # in which a version was registered last
SEEN = LOGS / "seen.json"  # the pictures that earlier nights had; the others of a night are new
LOCK = LOGS / "lock"  # held by the stage that works in this folder
TEMPORARY = LOGS / "tmp"  # temporary files of libraries, kept here so that a killed stage's can be removed
NEW_REPORTS = LOGS / "reports"  # of an evaluation that writes them; they replace those of the last one together
NLTK_DATA = Path("data/nltk")  # where NLTK looks for WORDNET

IMG2DATASET = Path(".venv/img2dataset")  # an environment of its own: it needs other versions of the same libraries

CONF = Path("conf")  # what params.yaml is composed from
DECISIONS = CONF / "review.jsonl"  # reviewers' decisions about pairs; tracked by git, read by retrieve
DVC_FILE, LOCK_FILE, PARAMS_FILE = Path("dvc.yaml"), Path("dvc.lock"), Path("params.yaml")
DVC_CONFIG = Path(".dvc/config")  # names the remotes; tracked by git
DEPLOYMENTS = Path("prefect.yaml")
