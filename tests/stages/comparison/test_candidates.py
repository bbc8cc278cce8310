"""What edit success ranks: all that could stand there, however many cases there are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.comparison.candidates import candidates_of
from stages.comparison.edited import Edited
from stages.comparison.scoring import score_edits
from stages.core.errors import InputError
from stages.corpus.samples import EditSample
from stages.models.tensors import to_tensor
from tests.support.editing_inputs import case
from tests.support.metric_inputs import JUDGE, narrow_vgg
from tests.support.samples import HOSTILE

COLOURS = ["red thing", "green thing", "blue thing"]


def coloured(number: int, colour: str, candidates: object = COLOURS) -> EditSample:
    """A case that asks for a colour."""
    metadata = {"relation": "colour"} | ({} if candidates is None else {"candidates": candidates})
    return replace(
        case(), key=str(number), source_diff="white thing", target_diff=f"{colour} thing", edit_prompt=colour, metadata=metadata
    )


def success(cases: list[EditSample], paint: tuple[float, float, float]) -> np.ndarray:
    """The edit success of pictures of one colour."""
    pictures = torch.tensor(paint)[:, None, None].expand(len(cases), 3, *to_tensor([cases[0].source]).shape[-2:])
    scores = score_edits(cases, {"one": Edited.everywhere(pictures)}, JUDGE, narrow_vgg(), 4)
    return scores["one"].per_case["edit_success"]


def test_a_case_alone_scores_as_among_many():
    """The picture is blue; a case that asks for red succeeds only where nothing blue is among its candidates."""
    asked = coloured(0, "red")
    many = [asked, coloured(1, "green"), coloured(2, "blue")]
    assert success([asked], (0, 0, 1)).tolist() == [0]
    assert success(many, (0, 0, 1)).tolist() == [0, 0, 100]
    assert success(many[:2], (0, 0, 1)).tolist() == [0, 0]


def test_without_a_closed_world_the_company_decides():
    open_cases = [coloured(number, colour, None) for number, colour in enumerate(("red", "green", "blue"))]
    elsewhere = replace(coloured(3, "pink", None), metadata={"relation": "noun"})
    assert candidates_of([*open_cases, elsewhere])[0] == ["blue thing", "green thing", "red thing", "white thing"]
    assert candidates_of([open_cases[0]]) == [["red thing", "white thing"]]
    assert candidates_of([elsewhere])[0] == ["pink thing", "white thing"]


@pytest.mark.parametrize(
    "candidates",
    [
        *(None, "red thing", 7, {"red thing": 1}, [], ["red thing"], ["blue thing", "green thing"]),
        *(
            ["red thing", ""],
            ["red thing", 7],
            ["red thing", None],
            [["red thing", "blue thing"]],
            ["red thing", " red  thing"],
        ),
    ],
)
def test_damaged_candidates_are_refused(candidates):
    damaged = replace(coloured(0, "red"), metadata={"relation": "colour", "candidates": candidates})
    with pytest.raises(InputError, match=r"^sample 0: metadata: candidates = .*: must be a list of terms, among them") as error:
        candidates_of([damaged])
    assert "the target term 'red thing' and another" in str(error.value)


def test_hostile_candidates_stay_one_short_line():
    hostile = replace(coloured(0, "red"), metadata={"relation": "colour", "candidates": [HOSTILE * 1000]})
    with pytest.raises(InputError) as error:
        candidates_of([hostile])
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400
    (found,) = candidates_of([replace(hostile, metadata={"relation": "colour", "candidates": ["red thing", HOSTILE]})])
    assert all(term.isprintable() for term in found)
