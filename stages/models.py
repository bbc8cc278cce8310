"""Every pretrained model is found and loaded here: a local folder or a snapshot of the hub, safetensors only."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import open_clip
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
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

from stages.files import folder_digest
from stages.params import ModelName
from stages.run import InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class ModelError(InputError):
    """A model cannot be loaded; the message names its folder and what is wrong with it."""


@cache
def locate(model: ModelName) -> Path:
    """Return the folder of a model: the local one that is named, or a snapshot of the hub at its revision.

    Raises:
        ModelError: the folder is missing or holds no safetensors.
    """
    folder = Path(model.name)
    if not folder.is_dir():
        if model.name.count("/") != 1 or model.revision is None:
            raise ModelError(f"{model.name}: neither a folder nor a hub id (owner/name) with a revision")
        from huggingface_hub import snapshot_download

        patterns = ["*.safetensors", "*.json", "*.txt"]
        folder = Path(snapshot_download(model.name, revision=model.revision, allow_patterns=patterns))
    if not any(folder.rglob("*.safetensors")):
        found = [path.name for path in folder.rglob("*") if path.suffix in PICKLED]
        reason = f"only pickled weights ({found[0]}), which are never loaded" if found else "no .safetensors file"
        raise ModelError(f"{folder}: {reason}")
    return folder


@cache
def identity(model: ModelName) -> str:
    """Return what pins the weights: the commit of the hub's snapshot, or the digest of a local folder's files."""
    folder = locate(model)
    return folder_digest(folder) if Path(model.name).is_dir() else folder.name


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
    folder = locate(model)
    weights = BlipForConditionalGeneration.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    return Captioner(_frozen(weights), BlipProcessor.from_pretrained(folder))


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
    name = f"local-dir:{locate(model)}"
    network = _frozen(open_clip.create_model(name, require_pretrained=True))
    size = network.visual.image_size
    size = size if isinstance(size, int) else size[0]
    return Clip(network, open_clip.get_tokenizer(name), size, tuple(network.visual.image_mean), tuple(network.visual.image_std))


@dataclass(frozen=True)
class Segmenter:
    """CLIPSeg with its processor."""

    model: CLIPSegForImageSegmentation
    processor: CLIPSegProcessor

    @torch.no_grad()
    def probabilities(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """Return (n, 1, height, width): how probably each pixel belongs to what the image's prompt names.

        Images are RGB and of one size, to which CLIPSeg's map is resized (bilinear, antialiased).
        """
        text = self.processor.tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
        pixels = self.processor.image_processor(list(images), return_tensors="pt")
        logits = self.model(**{name: value.to(device()) for name, value in {**text, **pixels}.items()}).logits
        logits = logits.view(len(images), 1, *logits.shape[-2:])
        size = [images[0].height, images[0].width]
        return transforms.resize(logits.sigmoid(), size, antialias=True)


def load_segmenter(model: ModelName) -> Segmenter:
    """Load CLIPSeg (Lüddecke and Ecker 2022)."""
    folder = locate(model)
    weights = CLIPSegForImageSegmentation.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    return Segmenter(_frozen(weights), CLIPSegProcessor.from_pretrained(folder))


class Vgg(nn.Module):
    """The convolutional part of VGG-16 (Simonyan and Zisserman 2015), of any width."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        widths = [weights[key].shape[0] for key in sorted(weights, key=_layer_number) if key.endswith(".weight")]
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
    weights = load_file(locate(model) / "model.safetensors")
    prefix = "features."
    return _frozen(Vgg({key.removeprefix(prefix): value.float() for key, value in weights.items() if key.startswith(prefix)}))


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
        length = self.tokenizer.model_max_length
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
    pipeline = StableDiffusionPipeline.from_pretrained(
        locate(model), use_safetensors=True, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    return Diffusion(
        vae=_frozen(pipeline.vae),
        text_encoder=_frozen(pipeline.text_encoder),
        tokenizer=pipeline.tokenizer,
        unet=_frozen(pipeline.unet),
        scheduler=DDIMScheduler.from_config(
            pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
    )
