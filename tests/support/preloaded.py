"""What a stage needs in many seconds, imported and read once by a server that then forks a process for every run."""

import os

import tests.support.harness
import tests.support.tiny  # noqa: F401
from stages.core.params_file import read_params
from stages.language.mutation import mutate_caption
from stages.language.rules import read_rules
from tests.support import ROOT

os.chdir(ROOT)
mutate_caption("a red dog on the beach", read_rules(read_params().mutate), 0)  # reads WordNet
