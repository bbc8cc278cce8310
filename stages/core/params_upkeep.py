"""The parameters of what nightly runs and ``iedit prune`` keep and report; they decide no byte, so no stage reads them."""

from typing import Annotated

from pydantic import Field

from stages.core.section import Count, Name, Section

Gigabytes = Annotated[float, Field(gt=0)]


class Upkeep(Section):
    """What stays on the disk, and what is reported."""

    keep: Count  # newest versions that stay, besides those in use
    keep_checkpoints_of: Annotated[int, Field(ge=0)]  # newest ended trainings that keep their checkpoints in MLflow
    max_used: Gigabytes | None  # of the project's folder and DVC's cache; above it fewer versions stay; null: any number
    own_cache: bool  # whether a cache of DVC outside of the project's folder is this project's alone; if not, it is not pruned
    prune_remote: Name | None  # a remote of DVC to prune too, which only this project pushes to; null: none
    min_free: Gigabytes  # on every disk that a night writes to; less is reported
    champion_days: Count  # an older champion is reported
