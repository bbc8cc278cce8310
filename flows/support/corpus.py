"""A larger embedded world, for the next refresh."""

from stages.core.composition import apply_choices
from stages.core.errors import InputError
from stages.core.params_file import read_params
from stages.core.params_ingest import OpenMojiSource


def grow_corpus(images: int) -> None:
    """Choose how many images of the embedded world the corpus has, for the stages and for experiments.

    Raises:
        InputError: the source is not the embedded world or has more images already.
        ParameterError: params.yaml is invalid.
    """
    source = read_params().ingest.source
    if not isinstance(source, OpenMojiSource):
        raise InputError(f"images = {images}: only for the source openmoji, this is {source.kind}; add to {source.path!r}")
    if images < source.images:
        raise InputError(f"images = {images}: the corpus has {source.images}, a refresh only adds to it")
    if images > source.images:
        apply_choices([f"ingest.source.images={images}"])
