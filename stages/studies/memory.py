"""The most GPU memory that each stage takes with the networks of preset=paper, computed without weights and without a GPU.

The project's own code runs on tensors without numbers, and what it allocates is followed. Not counted are what CUDA and its
libraries take for themselves, and gaps between allocations: RESERVE is left for them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import DDIMScheduler
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image
from torch import Tensor, nn

from stages.comparison.systems import instructed_by
from stages.core.params import Params, Train
from stages.core.section import Precision
from stages.editing.batch_editor import BatchEditor
from stages.models.clip import Clip
from stages.models.conditioning import PromptEncoder
from stages.models.families import STABLE_DIFFUSION, STABLE_DIFFUSION_XL, Family
from stages.models.latent_diffusion import Diffusion, PictureEncoder
from stages.models.loading import TYPES
from stages.models.segmenter import Segmenter
from stages.models.stable_diffusion import OneTextEncoder
from stages.models.stable_diffusion_xl import TwoTextEncoders
from stages.models.vgg import Vgg
from stages.studies.allocations import peak_of, without_numbers
from stages.studies.true_size import networks
from stages.studies.true_size.checkpoints import CLIP, JUDGE, SCHEDULE, clip_tokenizer
from stages.training.dataset import Batch
from stages.training.iedit import IEdit
from stages.training.instruct_pix2pix import InstructPix2Pix, widen
from stages.training.loop import autocast
from stages.training.method import Method
from stages.training.preview import SHOWN

GPUS = {"T4": 16e9, "A10": 24e9, "V100": 32e9, "H100": 80e9}
"""GPU → its memory in bytes, by NVIDIA's data sheets."""
RESERVE = 1e9  # bytes for the context of CUDA, the workspaces of its libraries, and gaps
EMBEDDING = 512  # numbers of an embedding by CLIP ViT-B/32
SEGMENTED = 352  # side of the pictures that CLIPSeg sees
EDITED = {STABLE_DIFFUSION: 512, STABLE_DIFFUSION_XL: 1024}
"""Family → side of the pictures that its base itself edits."""
FEWEST_8BIT, BLOCK_8BIT = 4096, 256  # numbers of a weight that bitsandbytes keeps in 8 bits, and of a block that has one scale
FEW = {"steps": 2, "strength": 1.0}  # more steps of an edit take no more memory


def peaks(params: Params, family: Family = STABLE_DIFFUSION) -> Iterator[tuple[str, int]]:
    """Yield every stage that uses a GPU, and the edit, with its peak in bytes; the bases are of a family."""
    return ((name, peak(params, family)) for name, peak in PEAKS.items())


def fits(peak: float) -> list[str]:
    """Return the GPUS that have room for a peak, in bytes, and RESERVE."""
    return [name for name, memory in GPUS.items() if peak + RESERVE <= memory]


def _caption(params: Params, _: Family) -> int:
    """Return the peak of a batch, with the captions' tokens all at once."""
    batch, precision = params.caption.batch, params.caption.model.precision
    with without_numbers():
        captioner: Any = _frozen(networks.blip(), precision)
        side = captioner.config.vision_config.image_size
        pictures = torch.zeros(batch, 3, side, side, dtype=TYPES[precision])
        tokens = torch.ones(batch, params.caption.max_tokens, dtype=torch.long)

    @torch.no_grad()
    def describe() -> None:
        seen = captioner.vision_model(pictures).last_hidden_state
        captioner.text_decoder(input_ids=tokens, encoder_hidden_states=seen, use_cache=True)

    return peak_of(describe, captioner, pictures)


def _retrieve(params: Params, _: Family) -> int:
    """Return the peak of a batch of pictures, which take more than prompts."""
    size = params.ingest.size
    with without_numbers():
        clip = _clip(params.retrieve.clip.precision)
        pixels = torch.zeros(params.retrieve.batch, size, size, 3, dtype=torch.uint8)
    return peak_of(partial(clip.embed_bytes, pixels), clip.model)


def _segment(params: Params, _: Family) -> int:
    """Return the peak of a batch."""
    batch, size = params.segment.batch, params.ingest.size
    with without_numbers():
        segmenter = _segmenter(params.segment.model.precision)
        tokens = torch.ones(batch, segmenter.model.config.text_config.max_position_embeddings, dtype=torch.long)
        inputs = {"input_ids": tokens, "attention_mask": tokens, "pixel_values": torch.zeros(batch, 3, SEGMENTED, SEGMENTED)}
    return peak_of(partial(segmenter.predict, inputs, (size, size)), segmenter.model)


def _train(params: Params, family: Family) -> int:
    """Return the peak of steps whose samples are all decoded, and of the sheet of edits that is made at a checkpoint."""
    config = params.train
    losses = config.losses.model_copy(update={"picture_share": 1.0})
    with without_numbers():
        diffusion = _diffusion(family, config.base.precision)
        clip, vgg = _clip(config.clip.precision), _vgg(config.vgg.precision)
    # Outside, since peft moves the layers of a LoRA, which only those with numbers can be.
    method = IEdit(diffusion, clip, vgg, losses, dropout=0.0, parameters=config.parameters, lora_rank=config.lora_rank)
    held = [*_networks(diffusion), clip.model, vgg, method.networks.teacher]
    size = params.ingest.size
    return _training(method, config, _batch(diffusion, config.batch, size), held, _edits(diffusion, params, SHOWN, size))


def _instruct(params: Params, family: Family) -> int:
    """Return the peak of a step of the whole U-Net; the rest of its base waits in the memory of the host."""
    config = params.train.model_copy(update={"average_on_host": params.instruct.average_on_host})
    with without_numbers():
        diffusion = _diffusion(family, config.base.precision)
        method = InstructPix2Pix(diffusion, dropout=0.0)
    return _training(method, config, _batch(diffusion, config.batch, params.ingest.size), [method.unet])


def _training(
    method: Method[Any],
    config: Train,
    batch: Batch,
    held: Sequence[nn.Module | None],
    preview: Callable[[], object] = lambda: None,
) -> int:
    """Return the peak of a step of each block, when all weights have their moments, and of a preview.

    The optimiser and the moving average update their tensors in place, so that they take nothing else.
    """
    if config.gradient_checkpointing:
        method.enable_gradient_checkpointing()
    blocks = method.blocks()
    trained = [weight for block in blocks.values() for weight in block.parameters()]
    moments = [each for weight in trained for each in _moments(weight, config.optimizer)]
    average = [] if config.average_on_host else [torch.zeros_like(weight) for weight in trained]
    passes = min(config.accumulation, 2)  # the second meets the gradient of the first, as do all that follow

    def work() -> None:
        for active in blocks.values():
            for block in blocks.values():
                block.requires_grad_(block is active)
            for _ in range(passes):
                draws = method.draw(batch.z1.shape[1:], config.seed, list(range(config.batch)))
                with autocast(config.precision, "cpu"):
                    loss = method.losses(method.unet, batch, draws)["total"].mean()
                loss.backward()
            nn.utils.clip_grad_norm_(active.parameters(), config.max_gradient_norm)
            active.zero_grad()
        preview()

    return peak_of(work, *held, *moments, *average)


def _moments(weight: Tensor, optimizer: str) -> list[Tensor]:
    """Return what AdamW keeps of a weight; moments of 8 bits have a scale a block, and those of few numbers stay in fp32."""
    if optimizer != "adamw8bit" or weight.numel() < FEWEST_8BIT:
        return [torch.zeros_like(weight) for _ in ("first", "second")]
    rounded = [torch.zeros_like(weight, dtype=torch.uint8) for _ in ("first", "second")]
    return [*rounded, *(weight.new_zeros(math.ceil(weight.numel() / BLOCK_8BIT)) for _ in rounded)]


def _evaluate(params: Params, family: Family) -> int:
    """Return the peak of a batch of edits by InstructPix2Pix; scores are taken when no model that edits is on the GPU."""
    config, size = params.evaluate, params.ingest.size
    with without_numbers():
        diffusion = _diffusion(family, config.base.precision, pictures=2)
        judge, vgg = _frozen(networks.clip(JUDGE), config.judge.precision), _vgg(config.vgg.precision)
        segmenter = _segmenter(config.segmenter.precision)
    scales = config.systems.instruct_pix2pix
    sampling = params.sampling.model_copy(update={**FEW, "guidance_scale": scales.guidance_scale})
    system = instructed_by(diffusion, "", sampling, scales.image_guidance_scale)
    cases: Any = [SimpleNamespace(key="", source=Image.new("RGB", (size, size)), edit_prompt="")] * config.batch
    return peak_of(lambda: system.edit(cases, None, 0).pictures, *_networks(diffusion), judge, vgg, segmenter.model)


def _edit(params: Params, family: Family) -> int:
    """Return the peak of one edit with guidance, by the editor of a trained model."""
    with without_numbers():
        diffusion, segmenter = _diffusion(family, params.precision), _segmenter(params.precision)
    return peak_of(_edits(diffusion, params, 1, EDITED[family]), *_networks(diffusion), segmenter.model)


PEAKS: dict[str, Callable[[Params, Family], int]] = {
    "caption": _caption,
    "retrieve": _retrieve,
    "segment": _segment,
    "train": _train,
    "instruct": _instruct,
    "evaluate": _evaluate,
    "edit": _edit,
}


def _edits(diffusion: Diffusion, params: Params, count: int, size: int) -> Callable[[], Tensor]:
    """Return what makes some edits in a batch."""
    names = [""] * count
    return partial(
        BatchEditor(diffusion).edit_batch,
        torch.zeros(count, 3, size, size),
        names,
        masks=torch.ones(count, 1, size, size),
        sampling=params.sampling.model_copy(update=FEW),
        seed=0,
        keys=names,
    )


def _diffusion(family: Family, precision: Precision, *, pictures: int = 1) -> Diffusion:
    """Return a base of a family; its U-Net takes the latents of one picture, or of two as that of InstructPix2Pix."""
    is_xl = family is STABLE_DIFFUSION_XL
    unet: Any = networks.unet_xl() if is_xl else networks.unet()
    return Diffusion(
        family=family,
        vae=_frozen(networks.vae(), "fp32" if family.decodes_in_fp32 else precision),
        prompts=_prompts(precision, is_xl=is_xl),
        unet=_frozen(unet if pictures == 1 else widen(unet), precision),
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    )


def _prompts(precision: Precision, *, is_xl: bool) -> PromptEncoder:
    tokenizer, encoder = clip_tokenizer(), _frozen(networks.text_encoder(), precision)
    if not is_xl:
        return OneTextEncoder(encoder, tokenizer)
    second = _frozen(networks.second_text_encoder_xl(), precision)
    return TwoTextEncoders(encoder, tokenizer, second, tokenizer, has_zeros_for_empty=True)


def _clip(precision: Precision) -> Clip:
    model: Any = _frozen(networks.clip(CLIP), precision)
    return Clip(model, None, model.visual.image_size[0], OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)


def _segmenter(precision: Precision) -> Segmenter:
    return Segmenter(_frozen(networks.clipseg(), precision), processor=None)


def _vgg(precision: Precision) -> Vgg:
    network: Any = networks.vgg16()
    vgg: Vgg = _frozen(Vgg(network.features.state_dict()), precision)
    return vgg.eval()


def _frozen(network: Any, precision: Precision) -> Any:
    """Return a network in a precision, as it is loaded; its own method ``to`` refuses tensors without numbers."""
    # Weights that a network has in two places stay one.
    cast = {each: nn.Parameter(each.detach().to(TYPES[precision]), requires_grad=False) for each in network.parameters()}
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            setattr(module, name, cast[weight])
    return network


def _networks(diffusion: Diffusion) -> list[nn.Module]:
    return [part for part in diffusion.components.values() if isinstance(part, nn.Module)]


def _batch(diffusion: Diffusion, count: int, size: int) -> Batch:
    """Return samples of a training on pictures of ``size`` pixels a side."""
    shape = PictureEncoder(diffusion.vae).shape(size, size)
    latents, cells = torch.zeros(count, *shape), torch.zeros(count, 1, *shape[1:])
    mask, embedding = torch.zeros(count, 1, size, size), torch.zeros(count, EMBEDDING)
    return Batch(
        z1=latents,
        z2=latents,
        m1=cells,
        m2=cells,
        source_mask=mask,
        target_mask=mask,
        target=torch.zeros(count, 3, size, size),
        prompt=diffusion.embed_prompts([""] * count),
        clip_prompt=embedding,
        clip_diff=embedding,
    )
