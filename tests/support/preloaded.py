"""What stages need in many seconds, imported and read once by a server that then forks a process for every run."""

import os
import tempfile
from importlib import import_module
from pathlib import Path

import tests.support.tiny  # noqa: F401
from stages.__main__ import STAGES
from stages.core.params_file import read_params
from stages.core.provenance import code_behind
from stages.language.mutation import mutate_caption
from stages.language.rules import read_rules
from tests.support import ROOT, harness

code = code_behind(*(ROOT / f"stages/{name}.py" for name in STAGES))
code.digests()  # remembered, because every fingerprint holds some of them
for path in code.files:
    if path.suffix == ".py":
        import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
with tempfile.TemporaryDirectory() as folder:
    harness.make_store(Path(folder))  # MLflow and its database library prepare themselves for seconds
    os.chdir(ROOT)
os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow's own, where a run would find the address of that store
mutate_caption("a red dog on the beach", read_rules(read_params().mutate), 0)  # reads WordNet
