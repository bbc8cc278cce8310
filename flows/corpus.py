"""More images of the embedded world, by params.yaml, which is the one place that the stages read their number from."""

import shutil

from dvc.utils.serialize import modify_yaml
from prefect import get_run_logger

from stages.errors import InputError
from stages.files import written_aside
from stages.params import PARAMS_FILE, OpenMojiSource, read_params


def grow_corpus(images: int) -> None:
    """Set how many images of the embedded world the corpus has.

    Raises:
        InputError: the source is another, or has more images already.
        ParameterError: params.yaml is not as it must be.
    """
    source = read_params().ingest.source
    if not isinstance(source, OpenMojiSource):
        raise InputError(f"images = {images}: only for the source openmoji, this is {source.kind}; add to {source.path!r}")
    if images < source.images:
        raise InputError(f"images = {images}: the corpus has {source.images}, a refresh only adds to it")
    if images > source.images:
        with written_aside(PARAMS_FILE) as temporary:
            shutil.copyfile(PARAMS_FILE, temporary)
            with modify_yaml(temporary) as params:  # comments and order stay
                params["ingest"]["source"]["images"] = images
        get_run_logger().info("%s: ingest.source.images was %d, is now %d", PARAMS_FILE, source.images, images)
