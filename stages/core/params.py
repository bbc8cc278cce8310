"""The sections of params.yaml as typed, range-checked values; one class for each stage, in the order of the pipeline."""

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

PARAMS_FILE = Path("params.yaml")
Share = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Count = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(min_length=1)]
Relu = Literal[1, 3, 6, 8, 11, 13, 15, 18, 20, 22, 25, 27, 29]  # index into VGG-16's features
CaseSplit = Literal["evaluation", "validation"]  # cases that are reported, and those by which settings are chosen
SHOWN = 100  # characters of a wrong value in a message


class ParameterError(ValueError):
    """A parameter is missing, unknown or out of range; the message names it, its value and what is allowed."""


class Section(BaseModel):
    """A part of params.yaml: immutable, with no room for a misspelt key, and with values of the type that is written."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _has_no_other_key(cls, values: Any) -> Any:
        # Ahead of all other checks: one misspelt key is also one that is missing, and the misspelling is what helps.
        for key in values if isinstance(values, Mapping) else ():
            if key not in cls.model_fields:
                shown = key if isinstance(key, str) and key.isprintable() else repr(key)
                told = {"key": shown, "value": _shown(values[key]), "known": ", ".join(cls.model_fields)}
                raise PydanticCustomError("unknown_key", "no such key; there are {known}", told)
        return values


class ModelName(Section):
    """A pretrained model: a hub id with the commit to take, or a local folder in the hub's layout."""

    name: Name
    revision: Name | None = None  # a commit, tag or branch of the hub; a local folder is known by the digest of its files
    _key: str = PrivateAttr("")

    @property
    def key(self) -> str:
        """Where params.yaml names the model: ``train.clip``; empty for a model that it does not name."""
        return self._key


class OpenMojiSource(Section):
    """The embedded world, drawn from OpenMoji artwork."""

    kind: Literal["openmoji"]
    images: Count  # for training
    cases: Count  # held-out edits with true masks


class FolderSource(Section):
    """A folder of images with metadata.csv or metadata.jsonl, as the Hugging Face imagefolder has it."""

    kind: Literal["folder"]
    path: Name


class WebDatasetSource(Section):
    """Tar files as img2dataset writes them: a local glob, or any glob that fsspec knows (s3://bucket/*.tar)."""

    kind: Literal["webdataset"]
    path: Name


class Ingest(Section):
    """Corpus: where images come from and what is let in."""

    source: OpenMojiSource | FolderSource | WebDatasetSource = Field(discriminator="kind")
    size: Annotated[int, Field(ge=16, le=2048, multiple_of=8)]  # pixels of a side; images are cropped to a square
    shard_size: Annotated[int, Field(gt=0, le=10_000)]  # samples of one shard; a key has four digits for them
    min_side: Count  # pixels; a smaller image is refused
    max_pixels: Count  # of an image before decoding; a larger one is refused
    max_refused: Share  # of the source; above it the stage fails


class Caption(Section):
    """BLIP."""

    model: ModelName
    batch: Count
    max_tokens: Count


class Mutate(Section):
    """WordNet."""

    vocabulary: str | None  # a file of the words that an edit may bring in, one a line; null: any common word
    levels: Annotated[int, Field(ge=1, le=6)]  # how far up the hypernyms co-hyponyms are looked for
    adjective_share: Share  # of the captions with both, those whose adjective is changed and not their noun


class Retrieve(Section):
    """CLIP and FAISS."""

    clip: ModelName
    batch: Count
    text_weight: Share  # of the edit prompt in the query, the rest is the image's; 0.5 is the paper's mean
    neighbours: Count  # candidates for each pair, best first
    max_uses: Count  # how often one image may be a target
    near_duplicate: Cosine  # image-image cosine at and above which a candidate is the same picture
    min_image_image: Cosine
    min_text_image: Cosine
    min_directional: Cosine
    text_gain: bool  # require cos(edit prompt, target) > cos(edit prompt, source)
    held_out: Share  # of the pairs, by whole connected components


class Segment(Section):
    """CLIPSeg."""

    model: ModelName
    batch: Count
    targets: Literal["retrieved", "rendered"]  # pairs as they were found; or with true targets, of the embedded world alone
    threshold: Share
    min_area: Share  # of the picture; below it a mask is dropped, and always an empty one
    max_area: Share  # above it a mask is dropped, and always a full one

    @field_validator("max_area")
    @classmethod
    def _is_not_below_min_area(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("min_area", 0):
            raise PydanticCustomError("order", "must not be below min_area = {least}", {"least": info.data["min_area"]})
        return value


class Losses(Section):
    """Which terms are on; the rows of Table 2 are settings of these."""

    noise: Literal["ldm", "paired", "mask", "guided"]  # Eq 1, Eq 4 or Eq 8; or Eq 8 with the base model as its own teacher
    guidance_scale: Annotated[float, Field(ge=1)]  # of the teacher of ``guided`` at t = T
    global_clip: bool  # Eq 5
    local_clip: bool  # Eq 11
    perceptual: bool  # Eq 10
    perceptual_weight: Annotated[float, Field(ge=0)]  # lambda_perc of Eq 12, where the perceptual loss is on
    perceptual_layers: Annotated[tuple[Relu, ...], Field(strict=False)]  # YAML has lists only
    picture_share: Annotated[float, Field(gt=0, le=1)]  # of the samples, whose picture the other losses are taken of

    @field_validator("perceptual_layers")
    @classmethod
    def _are_some(cls, layers: tuple[Relu, ...], info: ValidationInfo) -> tuple[Relu, ...]:
        if not layers and info.data.get("perceptual", False):
            raise PydanticCustomError("no_layers", "with perceptual: true at least one layer must be named")
        return layers


class Train(Section):
    """Fine-tuning with Eq 2-12."""

    base: ModelName
    clip: ModelName
    vgg: ModelName
    prompts: Literal["edit", "alt"]  # condition on the edit prompts, or on the corpus's own captions
    losses: Losses
    seed: Annotated[int, Field(ge=0)]  # of the training's own draws, which the data do not depend on
    steps: Count  # optimiser steps
    batch: Count  # samples of one forward pass on one device
    accumulation: Count  # forward passes of one optimiser step
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warm_up: Annotated[int, Field(ge=0)]  # steps
    max_gradient_norm: Annotated[float, Field(gt=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    unconditional: Share  # of the samples, trained without prompt on Eq 1, for classifier-free guidance
    precision: Literal["no", "bf16"]  # mixed precision; fp16 would need its gradients unscaled before they are clipped
    gradient_checkpointing: bool
    log_every: Count  # steps between two readings of the losses; the log has every step
    checkpoint_every: Count
    keep_checkpoints: Count


class Instruct(Section):
    """Training of InstructPix2Pix, the competitor: in all that is not here, as ``train`` says, for equal data and compute."""

    learning_rate: Annotated[float, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, le=0.33)]  # share of the samples without prompt, without source, without both: each


Solver = Literal["ddim", "dpmsolver++"]
"""DDIM (Song et al. 2021), or DPM-Solver++ of second order (Lu et al. 2022), which needs fewer steps."""


class Sampling(Section):
    """How an edit is sampled; the trained model keeps these as its defaults."""

    solver: Solver
    steps: Annotated[int, Field(gt=0, le=999)]  # of the schedule's 1000, whose last is offset by one
    strength: Annotated[float, Field(gt=0, le=1)]
    guidance_scale: Annotated[float, Field(ge=1)]
    mask_threshold: Share
    mask_margin: Annotated[float, Field(ge=0, le=0.5)]  # of the shorter side: how far around a thing its edit may reach
    mask_draft: bool  # whether a predicted mask also holds what a first edit of the whole picture shows

    @field_validator("strength")
    @classmethod
    def _leaves_a_step(cls, strength: float, info: ValidationInfo) -> float:
        steps = info.data.get("steps")
        if steps is not None and int(steps * strength) == 0:
            raise PydanticCustomError(
                "no_step", "with steps = {steps} no step is left, the result would be the source", {"steps": steps}
            )
        return strength


class Gate(Section):
    """When a new version becomes champion: by the 95 % intervals of its mean differences to the champion, case by case.

    CLIPScore must not be worse: its interval reaches zero or lies above. SSIM-M̄ must not be worse by more than the
    tolerance: its interval lies above minus that. And one of the two must be better: its interval lies above zero.
    """

    ssim_m_bar_tolerance: Annotated[float, Field(ge=0)]  # points of 100


class Noised(Section):
    """How much of the source is made anew, and how closely the prompt is followed."""

    strength: Annotated[float, Field(gt=0, le=1)]
    guidance_scale: Annotated[float, Field(ge=1)]


class Inpainting(Section):
    """What is made inside the mask from noise alone, so that no strength is to be chosen."""

    guidance_scale: Annotated[float, Field(ge=1)]


class Instructed(Section):
    """The two scales of InstructPix2Pix: how closely prompt and source are followed."""

    guidance_scale: Annotated[float, Field(gt=1)]  # at 1 diffusers' pipeline heeds neither scale
    image_guidance_scale: Annotated[float, Field(ge=1)]


class Systems(Section):
    """How the systems of Table 1 sample, chosen on the validation cases; iEdit-M does as ``sampling`` says, as it is served."""

    sdedit: Noised
    inpainting: Inpainting
    instruct_pix2pix: Instructed
    iedit: Noised


class Evaluate(Section):
    """Tables 1 and 2."""

    cases: Name  # folder of shards: data/evaluation (the embedded world's) or data/heldout (pairs put aside)
    validation: Name  # likewise, of the cases by which settings are chosen; where it is the same, its pairs are shared out
    max_cases: Count
    systems: Systems
    judge: ModelName  # a CLIP that nothing was trained against
    segmenter: ModelName
    base: ModelName
    vgg: ModelName
    batch: Count
    gallery: Count  # cases shown in the report
    bootstrap: Count  # resamples of an interval
    gate: Gate


class Generated(Section):
    """Table 1 on sources that the base model generated; a study, and no stage of DVC."""

    referee: ModelName  # a CLIPSeg that no system predicts its masks with


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    threads: Annotated[int, Field(gt=0, le=1024)]  # of the processor, in each stage
    ingest: Ingest
    caption: Caption
    mutate: Mutate
    retrieve: Retrieve
    segment: Segment
    train: Train
    instruct: Instruct
    sampling: Sampling
    evaluate: Evaluate
    generated: Generated

    @model_validator(mode="after")
    def _models_know_their_keys(self) -> Self:
        _tell_keys(self, "")
        return self


class _Loader(yaml.SafeLoader):
    """YAML as it is defined: no key stands twice in a section; PyYAML alone takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[object]()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {_shown(name)} was there before")
            seen.add(name)
        return super().construct_mapping(node, deep)


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Return params.yaml, checked.

    Raises:
        ParameterError: one line for the first thing that is wrong: the key, its value, and what is allowed.
    """
    if not path.is_file():
        raise ParameterError(f"{path}: no such file; run from the folder of the project")
    try:
        values = yaml.load(path.read_bytes(), _Loader)  # noqa: S506 - a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or a number that is none
        raise ParameterError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ParameterError(f"{path}: must hold the sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ParameterError(f"{path}: {describe_error(error.errors()[0], values)}{more}") from error


def named_models(section: Section) -> Iterator[ModelName]:
    """Yield every pretrained model that a section names, in its order; each knows its key."""
    for _, value in section:
        if isinstance(value, ModelName):
            yield value
        elif isinstance(value, Section):
            yield from named_models(value)


def describe_error(error: ErrorDetails, values: Any) -> str:
    """Return what is wrong with ``values`` in one line: the key, its value where it has one, and what is allowed."""
    keys = []
    for part in error["loc"]:
        is_missing = error["type"] == "missing" and part == error["loc"][-1]
        if isinstance(values, dict) and part not in values and not is_missing:
            continue  # between a source and its keys pydantic puts the kind, which is no key
        keys.append(str(part))
        values = values[part] if isinstance(values, dict) and part in values else None
    value, message, told = _shown(error["input"]), error["msg"], error.get("ctx", {})
    match error["type"]:
        case "missing":
            return f"{'.'.join(keys)}: is missing"
        case "union_tag_not_found":
            return f"{'.'.join([*keys, 'kind'])}: is missing"
        case "union_tag_invalid":
            keys, value, message = [*keys, "kind"], _shown(told["tag"]), f"allowed are {told['expected_tags']}"
        case "unknown_key":
            keys, value = [*keys, told["key"]], told["value"]
    return f"{'.'.join(keys)} = {value}: {message}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _tell_keys(section: Section, prefix: str) -> None:
    for name, value in section:
        if isinstance(value, ModelName):
            value._key = f"{prefix}{name}"
        elif isinstance(value, Section):
            _tell_keys(value, f"{prefix}{name}.")
