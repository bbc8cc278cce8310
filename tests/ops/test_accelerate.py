"""Training on several processes, started by ``accelerate launch`` itself."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.harness import BATCH, ROOT


def test_two_processes_train_like_one_with_twice_the_batch(project):
    done = train(project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\ntrain\n") == 1  # only the first process prints the counts
    assert project.left_over() == []
    project.check_trained_alike()


def test_the_first_process_names_a_loss_that_is_not_finite(project):
    done = train(project, learning_rate=1e30)
    assert done.returncode != 0
    assert done.stderr.count("error: train: the loss of step 1 is nan") == 1


def train(project, **changes: object) -> subprocess.CompletedProcess[str]:
    """Run the stage in two processes with half the batch each."""
    project.prepare("train")
    launcher = [Path(sys.executable).with_name("accelerate"), "launch"]
    # Not --cpu: with it, accelerate starts one process. Without a GPU the stage runs on the CPU anyway.
    options = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with project.params_changed("train", batch=BATCH // 2, **changes):
        command = [*launcher, *options, "-m", "stages", "train"]
        return subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False)
