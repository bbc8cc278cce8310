"""params.yaml: composed from conf/, checked before anything else happens."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stages.params import ParameterError, Params, read_params

ROOT = Path(__file__).parent.parent


def composed(*overrides: str) -> dict:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)


def test_params_file_is_the_embedded_preset():
    assert yaml.safe_load((ROOT / "params.yaml").read_text()) == composed()


def test_every_preset_goes_with_every_source():
    presets, sources = (sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")) for group in ("preset", "source"))
    assert presets == ["embedded", "paper"]
    for preset in presets:
        for source in sources:
            params = Params.model_validate(composed(f"preset={preset}", f"source={source}"))
            assert params.ingest.source.kind == source


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("train.stepz", 3, "train.stepz: Extra inputs are not permitted"),
        ("train.steps", 0, "train.steps = 0: Input should be greater than 0"),
        ("sampling.strength", 0.0, "sampling.strength = 0.0: Input should be greater than 0"),
        ("segment.threshold", 1.5, "segment.threshold = 1.5: Input should be less than or equal to 1"),
        ("train.losses.noise", "both", "train.losses.noise = 'both': Input should be 'ldm', 'paired' or 'mask'"),
        ("ingest.size", 65, "ingest.size = 65: Input should be a multiple of 8"),
    ],
)
def test_wrong_value_is_told_in_one_line(tmp_path, key, value, told):
    params = composed()
    *sections, name = key.split(".")
    section = params
    for part in sections:
        section = section[part]
    section[name] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(ParameterError) as error:
        read_params(path)
    assert str(error.value) == f"{path}: {told}"


def test_missing_key_is_told(tmp_path):
    params = composed()
    del params["train"]["steps"]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(ParameterError, match=r"train.steps: Field required"):
        read_params(path)


def test_stage_stops_with_exit_code_2_and_one_line(tmp_path):
    params = composed()
    params["seed"] = -1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    done = subprocess.run([sys.executable, "-m", "stages.mutate"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: params.yaml: seed = -1: Input should be greater than or equal to 0\n"
