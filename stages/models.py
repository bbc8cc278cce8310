"""Every pretrained model is found and loaded here: a local folder or a snapshot of the hub, safetensors only.

A model's folder is data from outside. Each part is loaded by a class that is named here, whatever the folder names; a
folder that wants code of its own to be run is refused; weights that do not fill the model are an error.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import open_clip
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.vgg import make_layers
from torchvision.transforms.v2 import functional as transforms
from transformers import (
    BlipForConditionalGeneration,
    BlipProcessor,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    CLIPTextModel,
    CLIPTokenizer,
)

from stages.errors import InputError, first_line
from stages.files import folder_digest
from stages.params import ModelName

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
WEIGHTS: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
DIFFUSION = ("scheduler/scheduler_config.json", "text_encoder/config.json", "unet/config.json", "vae/config.json")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
RUNS_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")  # keys by which a configuration asks for it
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
"""What the libraries raise of a folder that lacks a file, or whose files are cut, damaged or of another model."""


class ModelError(InputError):
    """A model cannot be loaded; the message names its folder, the parameter that names it, and what is wrong with it."""

    def __init__(self, model: ModelName, reason: str) -> None:
        super().__init__(f"{model.key}.name = {model.name!r}: {reason}" if model.key else f"{model.name}: {reason}")


@cache
def locate(model: ModelName) -> Path:
    """Return the folder of a model: the local one that is named, or a snapshot of the hub at its revision.

    Raises:
        ModelError: the folder is missing, holds no safetensors, or asks for code to be run.
    """
    folder = Path(model.name)
    if not folder.is_dir():
        if model.name.count("/") != 1 or model.revision is None:
            raise ModelError(model, "neither a folder nor a hub id (owner/name) with a revision")
        from huggingface_hub import snapshot_download

        patterns = ["*.safetensors", "*.json", "*.txt"]
        try:
            folder = Path(snapshot_download(model.name, revision=model.revision, allow_patterns=patterns))
        except (OSError, ValueError) as error:
            raise ModelError(model, f"no such folder, and the hub gives none: {first_line(error)}") from error
    if not any(folder.rglob("*.safetensors")):
        found = [path.name for path in sorted(folder.rglob("*")) if path.suffix in PICKLED]
        reason = f"only pickled weights ({found[0]}), which are never loaded" if found else "no .safetensors file"
        raise ModelError(model, reason)
    for path in sorted(folder.rglob("*.json")):
        _refuse_code(model, path, path.relative_to(folder).as_posix())
    return folder


def _refuse_code(model: ModelName, path: Path, name: str) -> None:
    """Read a configuration for keys by which libraries run Python files that lie beside it or on the hub."""

    def check(record: dict[str, Any]) -> dict[str, Any]:
        asked = next((key for key in RUNS_CODE if record.get(key)), None)
        if asked is not None:
            raise ModelError(model, f"{name} asks for code to be run ({asked}), which is never done")
        return record

    try:
        json.loads(path.read_bytes(), object_hook=check)
    except ModelError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(model, f"{name} is damaged: {first_line(error)}") from error


@contextmanager
def _loading(model: ModelName, *files: str) -> Iterator[Path]:
    """Give the folder of a model to load it from; without one of the ``files`` the libraries would take defaults.

    Raises:
        ModelError: also when the block finds that the folder is incomplete or damaged.
    """
    folder = locate(model)
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise ModelError(model, f"incomplete: no {missing[0]}")
    try:
        yield folder
    except (ModelError, torch.OutOfMemoryError):
        raise
    except DAMAGE as error:
        raise ModelError(model, f"incomplete or damaged: {type(error).__name__}: {first_line(error)}") from error


def _filled(loaded: tuple[Any, dict[str, Any]]) -> Any:
    """Return a model that was loaded with ``output_loading_info``, if it has no weight that is left to chance.

    Raises:
        ValueError: the file lacks weights; the libraries only warn of it.
    """
    network, info = loaded
    if info["missing_keys"]:
        raise ValueError(f"no weights for {min(info['missing_keys'])}")
    return network


def _check_words(tokenizer: Any, vocabulary: int) -> None:
    """Raise ValueError for a tokenizer without its words: where their file is missing, the libraries make one of two."""
    if len(tokenizer) < 0.9 * vocabulary:  # a model may have a few rows that no word uses
        raise ValueError(f"a tokenizer of {len(tokenizer)} words for a model of {vocabulary}: their file is missing")


@cache
def identity(model: ModelName) -> str:
    """Return what pins the weights: the commit of the hub's snapshot, or the digest of a local folder's files."""
    folder = locate(model)
    return folder_digest(folder) if Path(model.name).is_dir() else folder.name


def known_identity(model: ModelName) -> str:
    """Return :func:`identity` as far as this machine knows it: of a model of the hub that is not here, its revision."""
    if Path(model.name).is_dir():
        return identity(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model.name, revision=model.revision, local_files_only=True)).name
    except (OSError, ValueError):
        return str(model.revision)


def device() -> torch.device:
    """Return the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _frozen(module: Any) -> Any:
    return module.to(device()).requires_grad_(False).eval()


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Return RGB images of one size as a float tensor (n, 3, height, width) in [0, 1]."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float().to(device()) / 255


def mask_to_tensor(masks: Sequence[Image.Image]) -> Tensor:
    """Return "L" masks of one size as a float tensor (n, 1, height, width) in [0, 1]."""
    return torch.from_numpy(np.stack([np.asarray(mask) for mask in masks])).unsqueeze(1).float().to(device()) / 255


def to_images(pictures: Tensor) -> list[Image.Image]:
    """Return (n, 3, height, width) in [0, 1] as RGB images, values clamped and rounded."""
    levels = (pictures.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(level) for level in levels]


@dataclass(frozen=True)
class Captioner:
    """BLIP with its processor."""

    model: BlipForConditionalGeneration
    processor: BlipProcessor

    @torch.no_grad()
    def caption(self, images: Sequence[Image.Image], max_tokens: int) -> list[str]:
        """Return a caption for each image, decoded greedily."""
        inputs = self.processor(images=list(images), return_tensors="pt").to(device())
        tokens = self.model.generate(**inputs, max_new_tokens=max_tokens, num_beams=1, do_sample=False)
        return [text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]


def load_captioner(model: ModelName) -> Captioner:
    """Load BLIP (Li et al. 2022)."""
    with _loading(model, "config.json") as folder:
        network = _filled(BlipForConditionalGeneration.from_pretrained(folder, **WEIGHTS))
        processor = BlipProcessor.from_pretrained(folder)
        _check_words(processor.tokenizer, network.config.text_config.vocab_size)
        return Captioner(_frozen(network), processor)


@dataclass(frozen=True)
class Clip:
    """CLIP with its tokenizer; all embeddings are of unit length."""

    model: Any  # open_clip.CLIP or CustomTextCLIP
    tokenizer: Any
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def embed_pictures(self, pictures: Tensor) -> Tensor:
        """Return embeddings (n, d) of pictures (n, 3, h, w) in [0, 1]; gradients flow to the pictures.

        The picture is resized to the model's input with antialiased bicubic interpolation.
        """
        if pictures.shape[-2:] != (self.size, self.size):
            size = [self.size, self.size]
            pictures = transforms.resize(pictures, size, interpolation=transforms.InterpolationMode.BICUBIC, antialias=True)
        features = self.model.encode_image(transforms.normalize(pictures, list(self.mean), list(self.std)))
        return nn.functional.normalize(features.float(), dim=-1)

    @property
    def width(self) -> int:
        """The length of an embedding."""
        return int(self.model.encode_text(self.tokenizer([""]).to(device())).shape[1])

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Return embeddings (n, d) of RGB images of one size."""
        return self.embed_pictures(to_tensor(images))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings (n, d) of texts; what is beyond the model's context is cut off."""
        features = self.model.encode_text(self.tokenizer(list(texts)).to(device()))
        return nn.functional.normalize(features.float(), dim=-1)


def load_clip(model: ModelName) -> Clip:
    """Load a CLIP in open_clip's layout; its configuration says whether it has QuickGELU, as OpenAI's weights need."""
    # Where these weights are missing open_clip would go on to look for pickled ones.
    with _loading(model, "open_clip_config.json", "open_clip_model.safetensors") as folder:
        name = f"local-dir:{folder}"
        network = _frozen(open_clip.create_model(name, require_pretrained=True))
        size = network.visual.image_size
        size = size if isinstance(size, int) else size[0]
        tokenizer = open_clip.get_tokenizer(name)
        if isinstance(tokenizer, open_clip.tokenizer.HFTokenizer):  # the other kind has its words with it
            _check_words(tokenizer.tokenizer, network.vocab_size)
        return Clip(network, tokenizer, size, tuple(network.visual.image_mean), tuple(network.visual.image_std))


@dataclass(frozen=True)
class Segmenter:
    """CLIPSeg with its processor."""

    model: CLIPSegForImageSegmentation
    processor: CLIPSegProcessor

    @torch.no_grad()
    def probabilities(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """Return (n, 1, height, width): how probably each pixel belongs to what the image's prompt names.

        Images are RGB and of one size, to which CLIPSeg's map is resized (bilinear, antialiased). What of a prompt is
        beyond the model's context is cut off.
        """
        context = self.model.config.text_config.max_position_embeddings
        text = self.processor.tokenizer(list(prompts), padding=True, truncation=True, max_length=context, return_tensors="pt")
        pixels = self.processor.image_processor(list(images), return_tensors="pt")
        logits = self.model(**{name: value.to(device()) for name, value in {**text, **pixels}.items()}).logits
        logits = logits.view(len(images), 1, *logits.shape[-2:])
        size = [images[0].height, images[0].width]
        return transforms.resize(logits.sigmoid(), size, antialias=True)


def load_segmenter(model: ModelName) -> Segmenter:
    """Load CLIPSeg (Lüddecke and Ecker 2022)."""
    with _loading(model, "config.json") as folder:
        network = _filled(CLIPSegForImageSegmentation.from_pretrained(folder, **WEIGHTS))
        processor = CLIPSegProcessor.from_pretrained(folder)
        _check_words(processor.tokenizer, network.config.text_config.vocab_size)
        return Segmenter(_frozen(network), processor)


class Vgg(nn.Module):
    """The convolutional part of VGG-16 (Simonyan and Zisserman 2015), of any width."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        widths = [weights[key].shape[0] for key in sorted(weights, key=_layer_number) if key.endswith(".weight")]
        if len(widths) != 13:
            raise ValueError(f"{len(widths)} convolutions; VGG-16 has 13")
        blocks = [widths[0:2], widths[2:4], widths[4:7], widths[7:10], widths[10:13]]
        self.features = make_layers([layer for block in blocks for layer in [*block, "M"]], batch_norm=False)
        self.features.load_state_dict(weights)
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # features are kept, and what comes after must not overwrite them

    def forward(self, pictures: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Return the outputs of ``layers`` (indices into torchvision's ``features``) for pictures in [0, 1]."""
        hidden = transforms.normalize(pictures, list(IMAGENET_MEAN), list(IMAGENET_STD))
        outputs = []
        for index, layer in enumerate(self.features[: max(layers) + 1]):
            hidden = layer(hidden)
            if index in layers:
                outputs.append(hidden)
        return outputs


def _layer_number(key: str) -> int:
    return int(key.split(".")[0])


def load_vgg(model: ModelName) -> Vgg:
    """Load VGG-16 from a ``model.safetensors`` with torchvision's names."""
    prefix = "features."
    with _loading(model, "model.safetensors") as folder:
        weights = load_file(folder / "model.safetensors")
        features = {key.removeprefix(prefix): value.float() for key, value in weights.items() if key.startswith(prefix)}
        return _frozen(Vgg(features))


@dataclass(frozen=True)
class Diffusion:
    """The parts of a latent diffusion model (Rombach et al. 2022), all in fp32."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    scheduler: DDIMScheduler

    @torch.no_grad()
    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Return (n, context, d) text embeddings; what is beyond the context is cut off."""
        length = self.text_encoder.config.max_position_embeddings  # a tokenizer need not know it
        tokens = self.tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        embeddings: Tensor = self.text_encoder(tokens.input_ids.to(device())).last_hidden_state
        return embeddings

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Return scaled latents (n, c, h, w) of pictures in [0, 1]: the mode of the posterior, without noise."""
        latents: Tensor = self.vae.encode(pictures * 2 - 1).latent_dist.mode() * self.vae.config.scaling_factor
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures (n, 3, H, W), nominally in [0, 1] but not clamped; gradients flow to the latents."""
        pictures: Tensor = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return (pictures + 1) / 2


def load_diffusion(model: ModelName) -> Diffusion:
    """Load a Stable Diffusion folder; whatever sampler it ships with, its noise schedule is sampled with DDIM."""
    with _loading(model, *DIFFUSION) as folder:
        text_encoder = _filled(CLIPTextModel.from_pretrained(folder / "text_encoder", **WEIGHTS))
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        _check_words(tokenizer, text_encoder.config.vocab_size)
        return Diffusion(
            vae=_frozen(_filled(AutoencoderKL.from_pretrained(folder / "vae", **WEIGHTS))),
            text_encoder=_frozen(text_encoder),
            tokenizer=tokenizer,
            unet=_frozen(_filled(UNet2DConditionModel.from_pretrained(folder / "unet", **WEIGHTS))),
            scheduler=DDIMScheduler.from_pretrained(
                folder / "scheduler", clip_sample=False, set_alpha_to_one=False, steps_offset=1
            ),
        )
