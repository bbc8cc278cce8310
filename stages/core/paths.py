"""Where everything lies, relative to the project's folder; dvc.yaml names the same paths, and a test compares the two."""

from pathlib import Path

CODE = Path("data/code")  # the digests of each stage's code, which DVC compares instead of the text

# Data, in the order in which the stages write them.
CORPUS = Path("data/corpus")
EVALUATION = Path("data/evaluation")  # held-out edits of the embedded world, by which systems are compared
VALIDATION = Path("data/validation")  # likewise, by which settings are chosen
CAPTIONS = Path("data/captions")
EDITS = Path("data/edits")
PAIRS = Path("data/pairs")
TRAINING_SET = Path("data/training")
HELD_OUT = Path("data/heldout")  # pairs that no training sees

# Models, and the losses of every step that led to them.
IEDIT = Path("models/iedit")
IEDIT_LOSSES = Path("models/losses.csv")
INSTRUCT_PIX2PIX = Path("models/instruct_pix2pix")
INSTRUCT_PIX2PIX_LOSSES = Path("models/instruct_losses.csv")

# Results.
REFERENCE = Path("reports")  # committed: what README shows
REPORTS = REFERENCE / "latest"  # what the last run on this machine wrote; ignored by git

# Not tracked by DVC: made again when missing.
ENCODED = Path("data/cache")  # the training set as the frozen encoders see it
EDITED = Path("data/evaluated")  # every system's edits of the held-out cases, batch by batch
EDITED_REGISTERED = Path("data/registered")  # those of a registered version that is evaluated again
IEDIT_UNFINISHED = Path("models/unfinished")  # checkpoints; removed when the model is whole and its run finished
INSTRUCT_PIX2PIX_UNFINISHED = Path("models/instruct_unfinished")
LOGS = Path("logs")  # what a run did and how long it took: read by flows, never hashed
LOCK = LOGS / "lock"  # held by the stage that is at work in this folder
TEMPORARY = LOGS / "tmp"  # where libraries put their temporary files, so that those of a killed stage can be found

DVC_FILE, LOCK_FILE, PARAMS_FILE = Path("dvc.yaml"), Path("dvc.lock"), Path("params.yaml")
