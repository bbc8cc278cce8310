"""The sources of images: the embedded world, a folder, or tar files, all behind one interface."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

from stages.core.errors import InputError
from stages.core.params import Params
from stages.core.params_ingest import FolderSource, OpenMojiSource, WebDatasetSource
from stages.corpus import world
from stages.corpus.alt_texts import alt_text_of
from stages.corpus.drawing import render
from stages.corpus.filters import columns_of
from stages.corpus.folder import folder_parts
from stages.corpus.parts import Part, RawSample
from stages.corpus.webdataset import tar_parts


def list_parts(params: Params) -> list[Part]:
    """Return the parts of the source in ``params``, sorted by the names of their shards.

    Raises:
        InputError: the source is missing or malformed, or two of its parts have one name.
    """
    parts = sorted(_parts(params), key=lambda part: part.shard)
    for part, other in pairwise(parts):
        if part.shard == other.shard:
            raise InputError(f"ingest.source: {part.name} and {other.name} would be one shard, {part.shard}; rename one")
    return parts


def _parts(params: Params) -> list[Part]:
    section = params.ingest
    match section.source:
        case OpenMojiSource(images=images):
            return _world_parts(images, section.shard_size, params.seed, section.size)
        case FolderSource() as source:
            return folder_parts(source, section.shard_size, columns_of(section.filters))
        case WebDatasetSource() as source:
            return tar_parts(source, section.shard_size)


def _world_parts(images: int, shard_size: int, seed: int, size: int) -> list[Part]:
    return [
        Part(
            shard=f"{number:05d}",
            name=f"openmoji {scenes.start}-{scenes.stop - 1}",
            samples=len(scenes),
            read=partial(_read_world, scenes, seed, size),
            settings={"scenes": [scenes.start, scenes.stop], "seed": seed},
        )
        for number, start in enumerate(range(0, images, shard_size))
        for scenes in [range(start, min(start + shard_size, images))]
    ]


def _read_world(scenes: range, seed: int, size: int) -> Iterator[RawSample]:
    for index in scenes:
        scene = world.draw_scene(seed, "train", index)
        yield RawSample(
            origin=f"openmoji/train/{index}",
            picture=render(scene, size)[0],
            alt_text=alt_text_of(scene, seed, str(index)),
            # Ground truth for measuring the pipeline, which never reads it itself.
            facts={
                "caption": scene.caption,
                "noun": scene.noun,
                "adjective": scene.adjective,
                "scenery": scene.scenery,
            },
        )
