"""A stage's module is imported quickly: what takes seconds waits until there is work."""

import json
import subprocess
import sys

import pytest

from stages.__main__ import STAGES
from tests.support import ROOT

HEAVY = {"accelerate", "diffusers", "faiss", "matplotlib", "mlflow", "nltk", "open_clip", "pandas", "peft", "ray", "torch"}
HEAVY |= {"torchvision", "transformers", "webdataset"}


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport json, sys\nprint(json.dumps([name for name in sys.modules if '.' not in name]))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


# Whether an evaluation is done is found out before its module is imported.
@pytest.mark.parametrize("module", ["__main__", "comparison.seal", *(stage for stage in STAGES if stage != "evaluate")])
def test_import_of_a_stage_imports_nothing_heavy(module):
    assert modules_after(f"import stages.{module}") & HEAVY == set()


def test_heavy_modules_are_recognised():
    assert "torch" in modules_after("import stages.models.tensors") & HEAVY
