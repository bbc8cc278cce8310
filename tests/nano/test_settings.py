"""A training's inputs are the deps of its DVC stage."""

import nano.settings
from nano.settings import inputs_digest


def test_inputs_of_a_training_are_its_deps(tmp_path, monkeypatch):
    monkeypatch.setattr(nano.settings, "NANO", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {toy: {cmd: x, deps: [toy.py, parts]}}")
    (tmp_path / "parts").mkdir()
    made_from = set()
    for path in ("toy.py", "parts/a", "parts/b", "toy.py"):
        (tmp_path / path).write_text(f"{path}, version {len(made_from)}")
        if (tmp_path / "toy.py").exists():
            made_from.add(inputs_digest("toy"))
    assert len(made_from) == 4
