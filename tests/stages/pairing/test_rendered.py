"""True targets of edits, which the embedded world can draw, and edits that have none."""

from dataclasses import replace

import numpy as np

from stages.corpus import world
from stages.corpus.drawing import render
from stages.pairing.rendered import render_target


def scenes(wanted):
    """(origin, scene) of the training scenes that are as wanted."""
    drawn = ((index, world.draw_scene(0, "train", index)) for index in range(500))
    return [({"name": f"openmoji/train/{index}"}, scene) for index, scene in drawn if wanted(scene)]


def edit(before, after):
    return {"key": "000000001", "source_term": before, "target_term": after}


def test_true_target_is_the_scene_with_the_edit_done():
    origin, scene = scenes(lambda scene: scene.adjective == "red")[0]
    trained = set(world.combinations(held_out=False))
    noun = next(name for name in world.nouns() if name != scene.noun and (name, scene.scenery) in trained)
    for change, asked in (({"noun": noun}, edit(scene.noun, noun)), ({"adjective": "blue"}, edit("red", "blue"))):
        picture, words = render_target(origin, asked, 0, 64)
        wanted, mask = render(replace(scene, **change), 64)
        source, source_mask = render(scene, 64)
        assert picture.tobytes() == wanted.tobytes() != source.tobytes()
        outside = ~np.asarray(mask).astype(bool) & ~np.asarray(source_mask).astype(bool)
        same = (np.asarray(picture) == np.asarray(source)).all(axis=2)
        assert same[outside].mean() > 0.8  # all but soft edges and the shadow
        assert words
    assert render_target(origin, edit("red", "blue"), 0, 64) == render_target(origin, edit("red", "blue"), 0, 64)


def test_some_edits_have_no_true_target():
    """Edits of something else than the scene, to something unknown to the world, or to a held-out combination."""
    origin, scene = scenes(lambda scene: scene.adjective == "small")[0]
    other = next(name for name in world.nouns() if name != scene.noun)
    held_out = next(name for name, scenery in world.combinations(held_out=True) if scenery == scene.scenery)
    wrong = [edit(other, scene.noun), edit(scene.noun, "zeppelin"), edit("small", "red"), edit("large", "small")]
    assert [render_target(origin, asked, 0, 64) for asked in [*wrong, edit(scene.noun, held_out)]] == [None] * 5
    assert render_target(origin, edit("small", "large"), 0, 64) is not None
