"""Scores that are kept with a version."""

from pathlib import Path

import numpy as np

from stages.tracking import evaluations
from tests.support.versions import KEYS, register, scores


def test_damaged_scores_count_as_missing(client):
    first = register(client)
    values = scores()
    values["clip_score"][3] = np.nan
    evaluations.save_scores(client, first.model_id, "a" * 64, KEYS, values)
    kept = evaluations.load_scores(client, first.model_id, "a" * 64, KEYS)
    np.testing.assert_array_equal(kept["clip_score"], values["clip_score"])
    location = client.get_logged_model(first.model_id).artifact_location.removeprefix("file://")
    (path,) = Path(location).rglob("*.json")
    path.write_text(path.read_text()[:99])
    assert evaluations.load_scores(client, first.model_id, "a" * 64, KEYS) is None
