"""Checkpoints of diffusion models as they lie on the hub: other schedulers, older names, half precision, several files."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from stages.core.files import read_json, write_json
from stages.core.params import ModelName
from tests.support.tiny import split_tokenizer, tiny_diffusion

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
PNDM = {  # as Stable Diffusion 1.4 has it, which names no prediction_type
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.7.0.dev0",
    **SCHEDULE,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
EULER = {  # as Stable Diffusion XL has it
    "_class_name": "EulerDiscreteScheduler",
    "_diffusers_version": "0.19.0.dev0",
    **SCHEDULE,
    "clip_sample": False,
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def change_config(folder: Path, name: str, **changes: Any) -> None:
    """Change keys of a configuration."""
    write_json(folder / name, read_json(folder / name) | changes)


def put_scheduler(folder: Path, config: dict[str, Any]) -> None:
    """Give a checkpoint another scheduler."""
    write_json(folder / "scheduler" / "scheduler_config.json", config)
    change_config(folder, "model_index.json", scheduler=["diffusers", config["_class_name"]])


def split_tokenizers(folder: Path) -> None:
    """Give every tokenizer the files that the hub's repositories have instead of tokenizer.json."""
    for tokenizer in folder.glob("tokenizer*"):
        split_tokenizer(tokenizer)


def rename_old_attention(folder: Path) -> None:
    """Give the attention of the autoencoder the names that it had before diffusers 0.17."""
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    for new, old in OLD_NAMES.items():
        weights = {name.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): value for name, value in weights.items()}
    save_file(weights, path, {"format": "pt"})


def halve(folder: Path, *, keep: bool) -> None:
    """Write all weights in half precision too, as the variant fp16; ``keep`` says whether the others stay."""
    for path in list(folder.rglob("*.safetensors")):
        weights = {name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()}
        save_file(weights, path.with_name(f"{path.stem}.fp16.safetensors"), {"format": "pt"})
        if not keep:
            path.unlink()


def shard_unet(folder: Path) -> None:
    """Spread the weights of the U-Net over two files, with an index."""
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    names, places = sorted(weights), {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"diffusion_pytorch_model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, path.with_name(shard), {"format": "pt"})
        places |= dict.fromkeys(part, shard)
    size = sum(torch.numel(value) * value.element_size() for value in weights.values())
    write_json(path.with_name(f"{path.name}.index.json"), {"metadata": {"total_size": size}, "weight_map": places})
    path.unlink()


def split_half(start: Path) -> None:
    """Give weights in half precision the names that they have where they are split, here into one file.

    Args:
        start: the path of the weights, without endings.
    """
    shard = f"{start.name}.fp16-00001-of-00001.safetensors"
    path = start.with_name(f"{start.name}.fp16.safetensors").rename(start.with_name(shard))
    weights = load_file(path)
    size = sum(torch.numel(value) * value.element_size() for value in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict.fromkeys(weights, shard)}
    write_json(start.with_name(f"{start.name}.safetensors.index.fp16.json"), index)


def tiny_diffusion_v(folder: Path) -> ModelName:
    """Stable Diffusion 2.1's way to predict, in the hub's layout and in half precision alone."""
    model = tiny_diffusion(folder)
    change_config(folder, "scheduler/scheduler_config.json", prediction_type="v_prediction")
    split_tokenizers(folder)
    halve(folder, keep=False)
    return model
