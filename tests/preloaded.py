"""What a stage needs in many seconds, imported and read once by a server that then forks a process for every run."""

import os
from pathlib import Path

import stages.caption
import stages.evaluate
import stages.ingest
import stages.mutate
import stages.retrieve
import stages.segment
import stages.train
import tests.harness
import tests.tiny  # noqa: F401
from stages.language.mutation import mutate_caption
from stages.params import read_params

os.chdir(Path(__file__).parents[1])
mutate_caption("a red dog on the beach", stages.mutate.read_rules(read_params().mutate), 0)  # reads WordNet
