"""What Hydra itself composes from conf/."""

import shutil
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.support import ROOT


def composed(*overrides: str, conf: Path = ROOT / "conf") -> dict:
    with initialize_config_dir(str(conf), version_base=None):
        return OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)


def group(name: str) -> list[str]:
    """Return the files of a group."""
    return sorted(path.stem for path in (ROOT / "conf" / name).glob("*.yaml"))


def copy_conf(folder: Path) -> None:
    """Copy what params.yaml is composed from, and params.yaml, to a folder."""
    shutil.copytree(ROOT / "conf", folder / "conf")
    shutil.copy(ROOT / "params.yaml", folder)
