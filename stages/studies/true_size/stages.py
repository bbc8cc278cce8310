"""Every stage of the paper preset on sixteen photographs, with the time and memory of each."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

from stages.core.errors import InputError
from stages.core.paths import IEDIT
from stages.studies.scale.project import Project
from stages.studies.true_size.photographs import write_photographs
from stages.studies.usage import Usage, run_module

PHOTOS = "photos"
PROMPT = "a dog"
EDITED = f"{PHOTOS}/chelsea.png"
SETTINGS = (
    "preset=paper",
    "source=folder",
    f"ingest.source.path={PHOTOS}",
    "ingest.shard_size=4",
    "ingest.min_side=256",  # three photographs are smaller than the preset asks for
    "ingest.near_duplicates=null",
    "execution.engine=serial",
    "caption.batch=4",
    "retrieve.batch=16",
    "retrieve.near_duplicate=1.0",  # random weights find all pictures alike, and no score means anything
    "retrieve.min_image_image=-1.0",
    "retrieve.min_text_image=-1.0",
    "retrieve.min_directional=-1.0",
    "retrieve.text_gain=false",
    "retrieve.pool_shards=1",  # pairs within a shard, so that a quarter of them can be held out
    "retrieve.held_out=0.4",
    "segment.batch=4",
    "segment.threshold=0.5",
    "segment.min_area=0.0",
    "segment.max_area=1.0",
    "sampling.mask_threshold=0.5",
    "train.accumulation=1",
    "train.warm_up=0",
    "train.ema_decay=0.9",
    "train.loader_workers=0",
    "train.log_every=1",
    "train.checkpoint_every=2",
    "evaluate.max_cases=1",
    "evaluate.batch=1",
    "evaluate.gallery=1",
    "evaluate.systems.instruct_pix2pix.model=null",  # the one of the stage instruct
    "evaluate.bootstrap=10",
)
ON_CPU = ("train.precision=no", "sampling.steps=4")  # most processors only emulate half precision
Run = tuple[str, tuple[str, ...], tuple[str, ...]]
BY_BLIP, AS_GIVEN = "caption by BLIP", "caption as given"
STAGES: Sequence[Run] = (
    ("ingest", ("stages", "ingest"), ()),
    (BY_BLIP, ("stages", "caption"), ()),
    (AS_GIVEN, ("stages", "caption"), ("caption.use=given",)),  # random captions have no edits
    ("mutate", ("stages", "mutate"), ("caption.use=given",)),
    ("retrieve", ("stages", "retrieve"), ("caption.use=given",)),
    ("segment", ("stages", "segment"), ("caption.use=given",)),
    ("train, two steps", ("stages", "train"), ("caption.use=given", "train.steps=2")),
    ("instruct, one step", ("stages", "instruct"), ("caption.use=given", "train.steps=1")),
    ("evaluate, one case", ("stages", "evaluate"), ("caption.use=given", "train.steps=2")),
    (
        "an edit",
        ("stages.cli.main", "edit", EDITED, PROMPT, "--model", str(IEDIT), "--no-mask", "--output", "edit.png"),
        ("caption.use=given", "train.steps=2"),
    ),
)
"""What is run → the module with its arguments, the part first, and what its parameters change."""


def runs_for(parts: Collection[str]) -> Sequence[Run]:
    """Return the STAGES that some parts need, and their own; all, if no part is named.

    Raises:
        InputError: there is no such part.
    """
    names = [words[1] for _, words, _ in STAGES]
    if unknown := [part for part in parts if part not in names]:
        raise InputError(f"{unknown[0]}: no such part; there are {', '.join(dict.fromkeys(names))}")
    if not parts:
        return STAGES
    last = max(place for place, name in enumerate(names) if name in parts)
    return [run for run in STAGES[: last + 1] if run[0] != BY_BLIP or "caption" in parts]  # nothing reads its captions


def models_for(runs: Sequence[Run]) -> set[str]:
    """Return the sections of params.yaml whose models some runs load."""
    return {words[1] for name, words, _ in runs if name != AS_GIVEN}


def new_project(folder: Path, models: Mapping[str, Path], *changes: str) -> tuple[Project, tuple[str, ...]]:
    """Return a project on the photographs, and the choices that its parameters are composed from.

    Args:
        folder: where the project is made; it must not exist.
        models: parameter → the model's folder.
        changes: further choices.
    """
    write_photographs(folder / PHOTOS)
    places = {name: os.path.relpath(path, folder) for name, path in models.items()}
    named = [choice for name, place in places.items() for choice in (f"{name}.name={place}", f"{name}.revision=null")]
    on_device = () if torch.cuda.is_available() else ON_CPU
    choices = (*SETTINGS, *on_device, "benchmark.structure=null", "benchmark.dino=null", *named, *changes)
    return Project(folder, *choices), choices


def run_stages(
    folder: Path, models: Mapping[str, Path], threads: int, *changes: str, parts: Collection[str] = ()
) -> dict[str, Usage]:
    """Run stages and an edit in a new project, and return the time and memory of some parts, or of all.

    Raises:
        InputError: one of them fails, or there is no such part.
    """
    project, choices = new_project(folder, models, *changes)
    used: dict[str, Usage] = {}
    for name, words, own in runs_for(parts):
        project.choose(*choices, *own, f"threads={threads}")
        usage = run_module(words, folder, threads)
        if not parts or words[1] in parts:
            used[name] = usage
            print(_line(name, usage), flush=True)
    return used


def stage_lines(used: Mapping[str, Usage]) -> list[str]:
    """Return a Markdown table of what each stage took."""
    lines = ["| Run | Time | CPU time | Memory of the largest process |", "|---|---:|---:|---:|"]
    return [*lines, *(_line(name, usage) for name, usage in used.items())]


def renewed(report: str, lines: Sequence[str]) -> str:
    """Return a report with the rows of its tables that are measured anew, known by their first cell and number of cells."""
    rows = {_row(line): line for line in lines}
    return "".join(f"{rows.get(_row(line), line)}\n" for line in report.splitlines())


def rows_lacking(report: str, lines: Sequence[str], parts: Collection[str]) -> list[str]:
    """Return the names of the rows that a report lacks, of some lines of tables and of the runs of some parts."""
    names = [_row(line)[0].strip() for line in lines] + [name for name, words, _ in STAGES if words[1] in parts]
    there = {_row(line)[0].strip() for line in report.splitlines()}
    return [name for name in names if name not in there]


def _row(line: str) -> tuple[str, int]:
    cells = line.split("|")
    return (cells[1], len(cells)) if len(cells) > 1 else (line, 0)


def _line(name: str, usage: Usage) -> str:
    return f"| {name} | {usage.wall:.0f} s | {usage.cpu:.0f} s | {usage.peak / 1e9:.1f} GB |"
