"""Alt texts: none is a clean caption, and things, places and errors are named as often as documented."""

import re

import pytest

from stages.corpus import world
from stages.corpus.alt_texts import TEMPLATES, alt_text, alt_text_of
from tests.support import ROOT

TEXTS = 4000


def share_of(*fields: str) -> int:
    """Return how many of a hundred texts name any of ``fields``, for example ``share_of("noun", "subject")``."""
    return sum(template.share for template in TEMPLATES if any("{" + field + "}" in template.text for field in fields))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [alt_text("carrot", "red carrot", "forest", seed) for seed in range(TEXTS)]


def test_shares_are_of_a_hundred():
    assert sum(template.share for template in TEMPLATES) == 100


@pytest.mark.parametrize(
    ("fields", "named"),
    [(("noun", "subject"), "carrot"), (("subject",), "red carrot"), (("place",), "forest"), (("other",), None)],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_texts_name_things_as_often_as_documented(texts, fields, named):
    others = "|".join(noun for noun in world.nouns() if noun != "carrot")
    pattern = named or rf"\b({others})\b"
    found = sum(re.search(pattern, text) is not None for text in texts) / TEXTS
    assert found == pytest.approx(share_of(*fields) / 100, abs=0.025)
    documented = (ROOT / "docs/nano.md").read_text()
    assert re.search(rf"\| {share_of(*fields)} % \|", documented)


def test_no_text_is_a_clean_caption():
    for index in range(TEXTS):
        scene = world.draw_scene(0, "train", index)
        assert scene.caption not in alt_text_of(scene, 0, str(index))


def test_wrong_things_are_not_in_the_picture(texts):
    wrong = [text for text in texts if text.startswith("Buy ") and "free" not in text]
    assert wrong
    assert not any("carrot" in text for text in wrong)
    clipart = [text for text in texts if "clipart" in text]
    assert all(len(set(re.findall(r"\w+", text)[:2])) == 2 for text in clipart)


def test_text_depends_on_seed_and_key_alone():
    scene = world.draw_scene(0, "train", 0)
    texts = [alt_text_of(scene, 0, str(key)) for key in range(20)]
    assert texts == [alt_text_of(scene, 0, str(key)) for key in range(20)]
    assert len(set(texts)) > 10
    assert texts != [alt_text_of(scene, 1, str(key)) for key in range(20)]
