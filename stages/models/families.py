"""The families of latent diffusion models, and which of them a checkpoint's folder is. Reads its configurations only.

What is not supported is refused here, before anything is loaded, and by every stage before it does any work.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from stages.core.errors import cut, first_line, shorten
from stages.core.params import ModelName, Params, named_models
from stages.models.hub import ModelError, find, locate
from stages.models.layout import INDEX, SAFETENSORS, LayoutError, needed_files

SCHEDULER, UNET, VAE = "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json"
CONFIGURATIONS = [INDEX, SCHEDULER, UNET, VAE, "text_encoder*/config.json"]  # patterns of all files that are read here
ZEROS_FOR_EMPTY = "force_zeros_for_empty_prompt"  # in the index of Stable Diffusion XL
PREDICTIONS = ("epsilon", "v_prediction")
MOST_TIMESTEPS = 10_000
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")  # of the solvers that edit
BETAS = {"beta_start": 0.0001, "beta_end": 0.02}  # of noise schedules, with the libraries' defaults
SHIFTS = ("shift_factor", "latents_mean", "latents_std")  # of autoencoders whose latents are not scaled by one number alone
UNKNOWN_INPUTS = ("class_embed_type", "num_class_embeds", "encoder_hid_dim", "time_cond_proj_dim")  # of U-Nets


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """A kind of checkpoint. :mod:`stages.models.latent_diffusion` has the function that reads its text encoders."""

    name: str
    pipelines: tuple[str, str, str]  # classes of diffusers: text to image, img2img, InstructPix2Pix; model_index.json names one
    pipeline_options: Mapping[str, Any]  # of all three, so that nothing filters or marks their pictures
    index: Mapping[str, Any]  # what model_index.json says beside class and parts, for the same reason
    suffixes: tuple[str, ...]  # with which the folders of its text encoders and tokenizers end
    additions: tuple[str | None, ...]  # what the U-Net takes beside the embeddings of the prompt's tokens, or makes of them
    decodes_in_fp32: bool  # whether the autoencoder overflows in half precision

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The folders of its text encoders."""
        return tuple(f"text_encoder{suffix}" for suffix in self.suffixes)

    @property
    def untrained(self) -> tuple[str, ...]:
        """The folders of the parts that no training changes."""
        return ("vae", "scheduler", *self.text_encoders, *(f"tokenizer{suffix}" for suffix in self.suffixes))


STABLE_DIFFUSION = Family(
    name="Stable Diffusion 1.x and 2.x",
    pipelines=("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInstructPix2PixPipeline"),
    pipeline_options={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    index={
        "requires_safety_checker": False,
        **dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"), (None, None)),
    },
    suffixes=("",),
    additions=(None, "text"),
    decodes_in_fp32=False,
)
STABLE_DIFFUSION_XL = Family(
    name="Stable Diffusion XL base",
    pipelines=("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInstructPix2PixPipeline"),
    pipeline_options={"add_watermarker": False},
    index={},
    suffixes=("", "_2"),
    additions=("text_time",),
    decodes_in_fp32=True,
)
FAMILIES = (STABLE_DIFFUSION, STABLE_DIFFUSION_XL)
INSTRUCTED = "evaluate.systems.instruct_pix2pix.model"
"""The parameter that names a released InstructPix2Pix, whose U-Net also sees the source."""
BASES = ("train.base", "evaluate.base", INSTRUCTED)
"""The parameters that name models to edit with."""
SUPPORTED = " and ".join(f"{family.name} ({family.pipelines[0]})" for family in FAMILIES)


def check_bases(params: Params) -> None:
    """Refuse models to edit with that params.yaml names and that are of no supported family, or whose weights are not whole.

    One that is not on this machine is reported by the stage that loads it.

    Raises:
        ModelError: a model is not supported, or a configuration or weights are missing, pickled or damaged.
    """
    for model in (each for each in named_models(params) if each.key in BASES):
        if Path(model.name).is_file() or find(model) is not None:  # a file has a line of its own
            check_base(model)


def check_base(model: ModelName) -> None:
    """Refuse a model to edit with that is on this machine, see :func:`check_bases`."""
    folder = locate(model)
    family_of(model, folder, pictures=pictures_of(model))
    _check_weights(model, folder)


def _check_weights(model: ModelName, folder: Path) -> None:
    """Refuse weights that no loader could read: by their names and headers, so that none is read whole."""
    try:
        names = needed_files(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    except LayoutError as error:
        raise ModelError(model, str(error)) from error
    for name in names:
        if name.endswith(SAFETENSORS):
            try:
                safe_open(folder / name, "numpy")
            except (OSError, SafetensorError) as error:
                raise ModelError(model, f"{name} is damaged: {first_line(error)}") from error


def pictures_of(model: ModelName) -> int:
    """Return how many pictures' latents the U-Net of a model takes, by the parameter that names it."""
    return 2 if model.key == INSTRUCTED else 1


def family_of(model: ModelName, folder: Path, *, pictures: int = 1) -> Family:
    """Return the family of a checkpoint.

    Args:
        model: the model to name in errors.
        folder: the checkpoint's folder, in the hub's layout.
        pictures: how many pictures' latents its U-Net takes: 2 for InstructPix2Pix, which also sees the source.

    Raises:
        ModelError: it is of no supported family, or a configuration is missing or damaged.
    """
    index = _read(model, folder, INDEX)
    kind = _class_of(index)
    family = next((family for family in FAMILIES if kind in family.pipelines), None)
    if family is None:
        raise _unsupported(model, f"is a {kind}")
    missing = [part for part in family.text_encoders if index.get(part) in (None, [None, None])]
    if missing:
        raise _unsupported(model, f"is a {kind} without {missing[0]}")
    unet, vae, schedule = (_read(model, folder, name) for name in (UNET, VAE, SCHEDULER))
    latents = _number(model, VAE, vae, "latent_channels", 4)
    texts = [_read(model, folder, f"{part}/config.json") for part in family.text_encoders]
    objection = (
        _objection_to_unet(model, unet, family, pictures * latents, texts)
        or _objection_to_shape(unet)
        or _objection_to_autoencoder(vae)
        or _objection_to_schedule(schedule)
    )
    if objection is not None:
        raise _unsupported(model, objection)
    return family


def _objection_to_unet(
    model: ModelName, unet: Mapping[str, Any], family: Family, channels: int, texts: list[dict[str, Any]]
) -> str | None:
    """Return why a U-Net cannot be used, if it cannot.

    Args:
        model: the model to name in errors.
        unet: its configuration.
        family: the family that the index names.
        channels: the input channels that it should have.
        texts: the configurations of the text encoders.
    """
    if unet.get("_class_name") != "UNet2DConditionModel":
        return f"has a {_class_of(unet)} for a U-Net"
    found = _number(model, UNET, unet, "in_channels", 4)
    if found != channels:
        kind = " (an inpainting model)" if found == 9 else " (as InstructPix2Pix)" if found == 2 * channels else ""
        return f"has a U-Net with {found} input channels{kind}, not {channels}"
    if unet.get("addition_embed_type") not in family.additions:
        return f"has a U-Net with addition_embed_type = {shorten(unet.get('addition_embed_type'))}"
    unknown = next((key for key in UNKNOWN_INPUTS if unet.get(key) is not None), None)
    if unknown is not None:
        return f"has a U-Net with {unknown} = {shorten(unet[unknown])}"
    width = sum(_number(model, "text_encoder/config.json", text, "hidden_size", 512) for text in texts)
    read = unet.get("cross_attention_dim", 1280)
    if any(each != width for each in (read if isinstance(read, list) else [read])):
        return f"has a U-Net that reads text embeddings of {shorten(read)} numbers, and {width} of them from its text encoders"
    return _objection_to_added(model, unet, texts[-1]) if unet.get("addition_embed_type") == "text_time" else None


def _objection_to_shape(unet: Mapping[str, Any]) -> str | None:
    """Return why a U-Net lacks what a training changes or an editor asks for, if it does."""
    if unet.get("mid_block_type", "") is None:
        return "has a U-Net without a middle block, which the training changes"
    size = unet.get("sample_size")
    return None if type(size) is int else f"has a U-Net with sample_size = {shorten(size)}, not one whole number"


def _objection_to_added(model: ModelName, unet: Mapping[str, Any], text: Mapping[str, Any]) -> str | None:
    """Return why a U-Net of Stable Diffusion XL does not fit the second text encoder; the refiner of XL, for example."""
    pooled = _number(model, "text_encoder_2/config.json", text, "projection_dim", 512)
    sizes = 6 * _number(model, UNET, unet, "addition_time_embed_dim", 256)
    read = unet.get("projection_class_embeddings_input_dim")
    if read == pooled + sizes:
        return None
    return f"has a U-Net that reads {shorten(read)} numbers of a prompt as a whole and of six lengths, not {pooled} + {sizes}"


def _objection_to_autoencoder(vae: Mapping[str, Any]) -> str | None:
    """Return why latents cannot be scaled as Rombach et al. (2022) do: by one number, and without a shift."""
    if vae.get("_class_name") != "AutoencoderKL":
        return f"has a {_class_of(vae)} for an autoencoder"
    shift = next((key for key in SHIFTS if vae.get(key) is not None), None)
    if shift is not None:
        return f"has an autoencoder with {shift} = {shorten(vae[shift])}"
    scale = vae.get("scaling_factor", 1)
    if type(scale) in (int, float) and 0 < scale < math.inf:
        return None
    return f"has an autoencoder with scaling_factor = {shorten(scale)}, no number above 0"


def _objection_to_schedule(schedule: Mapping[str, Any]) -> str | None:
    if "beta_schedule" not in schedule:
        return f"has a {_class_of(schedule)} without beta_schedule, so no noise schedule of diffusion"
    if (objection := _objection_to_betas(schedule)) is not None:
        return f"has a noise schedule {objection}"
    prediction = schedule.get("prediction_type", PREDICTIONS[0])
    if prediction not in PREDICTIONS:
        return f"predicts {shorten(prediction)}; allowed are {' and '.join(PREDICTIONS)}"
    if schedule.get("rescale_betas_zero_snr"):
        return "has a noise schedule that ends in pure noise (rescale_betas_zero_snr), from which Eq 7 cannot be computed"
    return None


def _objection_to_betas(schedule: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the noise that a schedule adds at each timestep, if anything is."""
    if schedule["beta_schedule"] not in SCHEDULES:
        return f"with beta_schedule = {shorten(schedule['beta_schedule'])}, allowed are {', '.join(SCHEDULES)}"
    betas, steps = schedule.get("trained_betas"), schedule.get("num_train_timesteps", 1000)
    if betas is not None and (not isinstance(betas, list) or len(betas) != steps):
        return f"of {shorten(steps)} timesteps whose trained_betas are {shorten(betas)}"
    if type(steps) is not int or not 1 <= steps <= MOST_TIMESTEPS:
        return f"with num_train_timesteps = {shorten(steps)}, allowed is 1 to {MOST_TIMESTEPS}"
    for name, default in BETAS.items():
        beta = schedule.get(name, default)
        if type(beta) not in (int, float) or not 0 < beta < 1:
            return f"with {name} = {shorten(beta)}, allowed is above 0 and below 1"
    return None


def _class_of(config: Mapping[str, Any]) -> str:
    return cut(first_line(config.get("_class_name", "configuration that names no class")))


def _unsupported(model: ModelName, what: str) -> ModelError:
    return ModelError(model, f"{what}; supported are {SUPPORTED}")


def _read(model: ModelName, folder: Path, name: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / name).read_bytes())
    except FileNotFoundError:
        raise ModelError(model, f"incomplete: no {name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(model, f"{name} is damaged: {first_line(error)}") from error
    if not isinstance(config, dict):
        raise ModelError(model, f"{name} is damaged: no JSON object")
    return config


def _number(model: ModelName, name: str, config: Mapping[str, Any], key: str, default: int) -> int:
    """Return a whole number of a configuration, which the libraries leave out where it has their default."""
    value = config.get(key, default)
    if type(value) is not int:
        raise ModelError(model, f"{name} is damaged: {key} = {shorten(value)}")
    return value
