"""What is allowed, in words, for every kind of declaration that params.yaml has."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from stages.core.allowed import describe_allowed
from stages.core.section import Section


class Cat(Section):
    """A kind of animal."""

    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=1, lt=10)]


class Dog(Section):
    """Another one, with a key of the same name and another range."""

    kind: Literal["dog"]
    lives: Annotated[int, Field(gt=0, le=1000, multiple_of=5)]


class Home(Section):
    """A section with everything."""

    pet: Cat | Dog = Field(discriminator="kind")
    name: Annotated[str, Field(min_length=1)] = "home"
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    open: bool = True
    floors: Annotated[int, Field(gt=0)] | None = None
    rooms: Annotated[tuple[Literal[1, 2], ...], Field(strict=False)] = ()


CAT, DOG = {"kind": "cat", "lives": 9}, {"kind": "dog", "lives": 5}


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"pet": CAT | {"lives": 0}}, "must be a whole number, at least 1 and below 10"),
        ({"pet": CAT | {"lives": 10}}, "must be a whole number, at least 1 and below 10"),
        ({"pet": DOG | {"lives": 7}}, "must be a whole number, above 0 and at most 1,000 and a multiple of 5"),
        ({"pet": DOG | {"lives": 7.5}}, "must be a whole number, above 0 and at most 1,000 and a multiple of 5"),
        ({"pet": CAT, "share": 2}, "must be a number, at least 0 and at most 1"),
        ({"pet": CAT, "share": "half"}, "must be a number, at least 0 and at most 1"),
        ({"pet": CAT, "share": float("inf")}, "must be a finite number"),
        ({"pet": CAT, "name": ""}, "must not be empty"),
        ({"pet": CAT, "name": 3}, "must be text"),
        ({"pet": CAT, "floors": 0}, "must be a whole number, above 0, or null"),
        ({"pet": CAT, "floors": "two"}, "must be a whole number, above 0, or null"),
        ({"pet": CAT, "open": 1}, "must be true or false"),
        ({"pet": CAT, "rooms": 1}, "must be a list"),
        ({"pet": CAT, "rooms": [3]}, "must be 1 or 2"),
        ({"pet": "cat"}, "must be a section of keys with values"),
    ],
)
def test_the_kind_and_the_whole_range_are_named(values, allowed):
    with pytest.raises(ValidationError) as caught:
        Home.model_validate(values)
    assert describe_allowed(caught.value.errors()[0], Home) == allowed
