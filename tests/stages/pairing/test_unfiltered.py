"""Possible targets of edits, against every pair of the stored embeddings in float64."""

import numpy as np

from stages.common.arrays import read_arrays
from stages.core.paths import EMBEDDINGS, INDEXES
from stages.core.shards import list_shards
from stages.pairing.embeddings import IMAGES, TEXTS
from stages.pairing.unfiltered import sample_targets
from stages.retrieve import retrieve
from tests.support.embedded import unit
from tests.support.tiny_corpus import params_for, write_world


def test_scores_are_those_of_every_pair(models, workplace):
    """Strict thresholds change nothing."""
    write_world(2)
    params = params_for(models)
    retrieve(params)
    strict = {"neighbours": 100, "near_duplicate": -1.0, "min_directional": 0.9, "min_text_image": 0.9, "text_gain": True}
    found = sample_targets(EMBEDDINGS, INDEXES, params.retrieve.model_copy(update=strict), 0)

    images = [read_arrays(path)["embeddings"].astype(np.float64) for path in list_shards(EMBEDDINGS, IMAGES)]
    pictures, first, edits = np.concatenate(images), 0, 0
    for path, part in zip(list_shards(EMBEDDINGS, TEXTS), images, strict=True):
        texts = read_arrays(path)
        words = texts["embeddings"].astype(np.float64)
        for source, caption, prompt in zip(texts["sources"], texts["captions"], texts["prompts"], strict=True):
            own, others = part[source], np.delete(pictures, first + source, axis=0)
            wanted = {
                "image_image": others @ own,
                "text_image": others @ words[prompt],
                "text_source": np.full(len(others), own @ words[prompt]),
                "directional": unit(others - own) @ unit(words[prompt] - words[caption]),
            }
            for name, values in wanted.items():
                judged = found.scores[name][found.edit_of == edits]
                np.testing.assert_allclose(np.sort(judged), np.sort(values), atol=1e-4, err_msg=name)
            edits += 1
        first += len(part)
    assert found.edits == edits > 0
