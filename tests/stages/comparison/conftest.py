"""Cases to compare systems on."""

from dataclasses import replace

import pytest

from stages.comparison.cases import Case
from stages.core.params import Params
from tests.support.editing_inputs import case, photo
from tests.support.tiny_corpus import params_for


@pytest.fixture
def params(models, workplace) -> Params:
    return params_for(models)


@pytest.fixture
def cases(workplace) -> list[Case]:
    """Four cases, of which a batch holds three."""
    shard = workplace / "00000.tar"
    shard.write_bytes(b"the shard of all cases")
    samples = [replace(case(), key=str(number), source=photo(seed=number)) for number in range(4)]
    return [Case(shard=shard, sample=sample, digest="the shard of all cases") for sample in samples]
