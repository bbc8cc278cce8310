"""Where a training starts: a real registry, a champion with its record, and DVC's cache."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from dvc.repo import Repo
from safetensors.torch import load_file, save_file

from stages.core.files import folder_digest, read_json, remove, write_json
from stages.core.params import Params
from stages.core.params_file import read_params
from stages.core.paths import START, TRAINING_SET
from stages.core.sidecars import Sidecar, read_sidecar, sidecar_of
from stages.models.copying import copy_model
from stages.models.hub import describe_model, identity
from stages.models.latent_diffusion import load_unet
from stages.models.layout import LORA
from stages.pairing.training_set import SUFFIX
from stages.tracking import record, registry, store
from stages.tracking.start import FILE, UNET, Start
from stages.training.model_folder import save_unet
from stages.training.start import changed_share, differing_file, start
from tests.support import tiny
from tests.support.checkpoints import halve, shard_unet, split_half
from tests.support.recorded_project import PIPELINE, git
from tests.support.registered import make_registered_project
from tests.support.training import pair_row, params_for, write_training_set
from tests.support.versions import register_foreign

SEGMENT = {"segment": {"cmd": "true", "outs": [str(TRAINING_SET)]}}
MODEL = Path("models/iedit")
BEFORE = {"00000": [0, 1, 2, 3], "00001": [4, 5, 6, 7]}  # the pairs of the champion's training
AFTER = {"00000": [0, 1, 2, 3], "00001": [4, 5, 6, pair_row(7, target=6)]}  # one of eight has another target


@pytest.fixture(scope="module")
def registered(tmp_path_factory) -> Path:
    """The folder of a project whose champion has a record, and whose cache has the champion's training set."""
    folder = tmp_path_factory.mktemp("project") / "iedit"
    folder.mkdir()
    make_registered_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_training_set(TRAINING_SET, BEFORE)
        git("init", "-q")
        with Repo.init() as repo:
            (added,) = repo.add(str(TRAINING_SET))
            md5 = added.outs[0].hash_info.value
        Path(f"{TRAINING_SET}.dvc").unlink()
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": PIPELINE["stages"] | SEGMENT}))
        made = {"cmd": "true", "outs": [{"path": str(TRAINING_SET), "hash": "md5", "md5": md5}]}
        Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"segment": made}}))
        champion = registry.current_champion()
        assert champion is not None
        record.save_record(store.connect(), champion, read_params(), {})
    return folder


@pytest.fixture
def params(registered, monkeypatch) -> Params:
    """The current folder is the project's, where the next training set is in place and nothing is chosen yet."""
    monkeypatch.chdir(registered)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for folder in (START, TRAINING_SET, Path("base")):
        remove(folder)
    write_training_set(TRAINING_SET, AFTER)
    shutil.copytree(MODEL, "base", ignore=shutil.ignore_patterns("iedit.json"))
    return params_for(registered, continue_from="champion", continuation={"steps_share": 0.5, "max_changed": 0.2})


def tables_of(folder: Path) -> dict[Path, Sidecar]:
    return {path: read_sidecar(sidecar_of(path, SUFFIX)) for path in sorted(folder.glob(f"*{SUFFIX}"))}


def chosen() -> Start:
    return Start.model_validate_json((START / FILE).read_bytes())


def test_the_champion_is_continued_if_few_pairs_changed(params, capsys):
    start(params)
    assert (chosen().version, chosen().model) == ("1", folder_digest(MODEL))
    assert folder_digest(START / "unet") == folder_digest(MODEL / "unet")
    why = "12.50% of the pairs came or went since version 1"
    assert chosen().why == why
    assert capsys.readouterr().out == f"  training starts from version 1: {why}\n"


def test_more_changed_pairs_than_the_bound_start_from_the_base(params, capsys):
    start(params.model_copy(update={"train": params_for(Path.cwd(), continue_from="champion").train}))
    assert (chosen().version, chosen().model) == (None, None)
    why = "12.50% of the pairs came or went since version 1, more than train.continuation.max_changed = 0.1"
    assert capsys.readouterr().out == f"  training starts from the base: {why}\n"
    assert not (START / "unet").exists()


def test_a_champion_of_another_base_is_not_continued(params):
    with Path("base/vae/config.json").open("a") as file:
        file.write("\n")
    start(params)
    assert chosen().version is None
    assert chosen().why == f"version 1 has another vae/config.json than {Path('base').absolute()}"


def test_a_champion_from_other_weights_is_not_continued(params):
    (place,) = Path.cwd().rglob(f"*/{record.RECORD}")
    kept = place.read_text()
    place.write_text(json.dumps(json.loads(kept) | {"weights": {"train.base": describe_model(params.train.base)}}))
    try:
        start(params)
        assert chosen().version == "1"
        remove(START)
        path = Path("base/unet/diffusion_pytorch_model.safetensors")
        weights = load_file(path)
        weights["conv_in.bias"] += 1
        save_file(weights, path, {"format": "pt"})
        identity.cache_clear()
        start(params)
    finally:
        place.write_text(kept)
    assert chosen().version is None
    assert chosen().why == f"version 1 was trained from other weights than those of {params.train.base.name}"


def test_a_champion_of_others_is_not_continued(params):
    client = store.connect()
    client.set_registered_model_alias("iedit", "champion", register_foreign(client))
    try:
        start(params)
    finally:
        client.set_registered_model_alias("iedit", "champion", "1")
    assert chosen().why == "the champion models:/iedit/2: was not registered by the stage evaluate"


@pytest.fixture
def lora_params(params) -> Params:
    return params.model_copy(update={"train": params.train.model_copy(update={"parameters": "lora", "lora_rank": 3})})


@pytest.mark.parametrize(
    ("rank", "base", "why"),
    [
        (3, None, "12.50% of the pairs came or went since version 1"),
        (8, None, "version 1 has a LoRA of rank 8, not train.lora_rank = 3"),
        (3, "another", "version 1 has a LoRA for another base than {base}"),
        (None, None, "version 1 was trained without a LoRA"),
    ],
)
def test_a_lora_continues_one_of_its_rank_and_base(lora_params, rank, base, why):
    model = registry.fetch_trained(store.connect(), "models:/iedit/1")
    if rank is not None:
        metadata = {"iedit.base": base or identity(lora_params.train.base)}
        save_file({"lora_unet_a.lora_down.weight": torch.ones(rank, 2)}, model / LORA, metadata)
    try:
        start(lora_params)
    finally:
        remove(model / LORA)
    assert chosen().why == why.format(base=lora_params.train.base.name)
    is_continued = (rank, base) == (3, None)
    assert (chosen().version is not None, (START / UNET / LORA).exists()) == (is_continued, is_continued)


def test_another_lora_is_another_choice(params, lora_params):
    start(params)
    assert chosen().version == "1"
    start(lora_params)
    assert chosen().why == "version 1 was trained without a LoRA"


def test_a_training_set_that_is_gone_starts_from_the_base(params):
    shutil.move(".dvc/cache", "elsewhere")
    try:
        start(params)
    finally:
        shutil.move("elsewhere", ".dvc/cache")
    assert chosen().why == "the training set of version 1 is not in DVC's cache"


def test_a_choice_holds_for_its_training_set(params):
    """A night that is repeated continues the same training, though it may have made another champion meanwhile."""
    client = store.connect()
    client.delete_registered_model_alias(registry.NAME, registry.CHAMPION)
    try:
        start(params)
        first = chosen()
    finally:
        registry.set_alias(client, registry.CHAMPION, "1")
    assert first.why == "there is no champion"
    start(params)
    assert chosen() == first
    write_training_set(TRAINING_SET, BEFORE)
    start(params)
    assert chosen().why == "0.00% of the pairs came or went since version 1"


def test_another_bound_or_base_is_another_choice(params):
    start(params)
    assert chosen().version == "1"
    less = params.train.continuation.model_copy(update={"max_changed": 0.1})
    start(params.model_copy(update={"train": params.train.model_copy(update={"continuation": less})}))
    assert chosen().why.endswith("more than train.continuation.max_changed = 0.1")
    shutil.copytree("base", "another")
    with Path("another/vae/config.json").open("a") as file:
        file.write("\n")
    base = params.train.base.model_copy(update={"name": "another"})
    start(params.model_copy(update={"train": params.train.model_copy(update={"base": base})}))
    assert chosen().why == "version 1 has another vae/config.json than another"


def test_with_base_nothing_is_chosen(params, capsys):
    start(params_for(Path.cwd()))
    assert capsys.readouterr().out == "train.continue_from = 'base': there is nothing to choose\n"
    assert not START.exists()


def test_changed_share_is_of_what_came_or_went(tmp_path):
    sets = {"none": [], "four": [0, 1, 2, 3], "two": [1, 2], "six": [0, 1, 2, 3, 4, 5]}
    for name, pairs in sets.items():
        write_training_set(tmp_path / name, {"00000": pairs})
    tables = {name: tables_of(tmp_path / name) for name in sets}
    assert changed_share(tables["four"], tables["four"]) == 0
    assert changed_share(tables["four"], tables["six"]) == pytest.approx(2 / 6)
    assert changed_share(tables["four"], tables["two"]) == 0.5
    assert changed_share(tables["four"], tables["none"]) == changed_share({}, tables["four"]) == 1
    assert changed_share({}, {}) == 0


def test_tables_that_both_have_are_not_read(tmp_path):
    """A table that is known by its digest may be damaged; one from before there were digests is read."""
    for name, last in (("before", [4, 5]), ("now", [4, 6])):
        write_training_set(tmp_path / name, {"00000": [0, 1, 2, 3], "00001": last})
    before, now = tables_of(tmp_path / "before"), tables_of(tmp_path / "now")
    without = {path: sidecar.model_copy(update={"notes": []}) for path, sidecar in before.items()}
    assert changed_share(before, now) == changed_share(without, now) == pytest.approx(1 / 6)
    (tmp_path / "before/00000.parquet").write_bytes(b"damaged")
    assert changed_share(before, now) == pytest.approx(1 / 6)


def test_only_weights_of_the_unet_may_differ(tmp_path):
    base = Path(tiny.tiny_diffusion(tmp_path / "base").name)
    model = Path(shutil.copytree(base, tmp_path / "model"))
    for name in ("safety_checker/model.safetensors", "vae/diffusion_pytorch_model.bin"):  # are not copied
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text("large")
    index = read_json(base / "model_index.json")
    write_json(base / "model_index.json", index | {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]})
    (model / "unet/diffusion_pytorch_model.safetensors").write_text("trained")
    assert differing_file(base, model) is None
    weights = "vae/diffusion_pytorch_model.safetensors"
    (model / weights).write_text("other")
    assert differing_file(base, model) == weights
    shutil.copy(base / weights, model / weights)
    write_json(model / "model_index.json", index | {"scheduler": ["diffusers", "PNDMScheduler"]})
    assert differing_file(base, model) == "model_index.json"
    write_json(model / "model_index.json", index)
    config = read_json(base / "unet/config.json")
    for changes, differing in (({"sample_size": 8}, None), ({"sample_size": 8, "norm_num_groups": 4}, "unet/config.json")):
        write_json(model / "unet/config.json", config | changes)
        assert differing_file(base, model) == differing
    (model / "unet/config.json").unlink()
    assert differing_file(base, model) == "unet/config.json"


def split_in_half_precision(base: Path) -> None:
    halve(base, keep=False)
    for part in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"):
        split_half(base / part)


@pytest.mark.parametrize("rearrange", [shard_unet, split_in_half_precision])
def test_a_base_in_parts_differs_in_nothing_else(tmp_path, rearrange):
    base, model = Path(tiny.tiny_diffusion(tmp_path / "base").name), tmp_path / "model"
    unet = load_unet(base)
    rearrange(base)
    copy_model(base, model, without="unet")
    save_unet(unet, base, model)
    assert differing_file(base, model) is None
    with (model / "vae/config.json").open("a") as file:
        file.write("\n")
    assert differing_file(base, model) == "vae/config.json"
