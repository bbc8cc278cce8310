"""The parameters of params.yaml, typed and range-checked, a class per stage in the pipeline's order; see conf/base.yaml."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from stages.core.params_download import Download
from stages.core.params_drift import Drift
from stages.core.params_evaluation import Gate, Inpainting, Noised, PromptToPrompt
from stages.core.params_ingest import Ingest
from stages.core.params_training import Continuation, Losses, Trainable
from stages.core.params_upkeep import Upkeep
from stages.core.paths import HELD_OUT
from stages.core.section import Cosine, Count, Guidance, Name, Precision, Section, Share

CaseSplit = Literal["evaluation", "validation"]  # cases to report on, and cases to choose settings on
Solver = Literal["ddim", "dpmsolver++"]  # Song et al. 2021; or Lu et al. 2022, second order, which needs fewer steps
IN_FP32 = ("train.", *(f"evaluate.{name}" for name in ("judge", "vgg", "inception", "referee")), "benchmark.")  # train or score


class ModelName(Section):
    """A pretrained model: a hub id with the commit to take, or a local folder in the hub's layout."""

    name: Name
    revision: Name | None = None  # of the hub: a commit, or a branch until it is fetched; null for a local folder
    _key: str = PrivateAttr("")
    _precision: Precision = PrivateAttr("fp32")

    @classmethod
    def in_folder(cls, folder: Path, precision: Precision) -> Self:
        """Return the model in a local folder, to be loaded in a precision."""
        model = cls(name=str(folder))
        model._precision = precision
        return model

    @property
    def key(self) -> str:
        """The parameter that names the model, such as ``train.clip``; empty if params.yaml does not name it."""
        return self._key

    @property
    def precision(self) -> Precision:
        """The precision of its weights once it is loaded, and of its work."""
        return self._precision


class Execution(Section):
    """Who makes the shards of a stage. It decides no byte, so it is in no fingerprint."""

    engine: Literal["auto", "serial", "processes", "ray"]
    workers: Count | None  # null: as many as are of use
    gpus_per_worker: Annotated[float, Field(gt=0, le=1)]  # of workers with a model, where there are GPUs
    address: Name | None  # of a Ray cluster; null: that of RAY_ADDRESS or, without it, a cluster of this machine


class Caption(Section):
    """Captioning with BLIP, or the corpus's own captions."""

    use: Literal["blip", "given"]  # given: an image without a caption of its own is dropped, and the model is not loaded
    model: ModelName
    batch: Count
    max_tokens: Count


class LanguageModel(Section):
    """A model behind an OpenAI-compatible endpoint; :mod:`stages.language.language_model` names the variable with its key."""

    url: Annotated[str, Field(pattern="^https?://[^\\s@?#]+$")] | None  # without a password
    model: Name | None
    timeout: Annotated[float, Field(gt=0, le=3600)]  # seconds for an answer


class Mutate(Section):
    """Edit prompts by WordNet's rules; chance or a language model chooses among the edits that they allow."""

    vocabulary: str | None  # a file of the words that an edit may bring in, one per line; null: those of families.txt
    levels: Annotated[int, Field(ge=1, le=6)]  # hypernym levels to climb in search of co-hyponyms
    adjective_share: Share  # share of captions with both whose adjective changes instead of the noun
    mutator: Literal["wordnet", "llm"] = "wordnet"
    llm: LanguageModel = LanguageModel(url=None, model=None, timeout=60.0)

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if self.mutator == "llm" and None in (self.llm.url, self.llm.model):
            raise PydanticCustomError("no_llm", "mutator: llm needs mutate.llm.url and mutate.llm.model")
        return self


class Retrieve(Section):
    """Pairs by CLIP and FAISS."""

    clip: ModelName
    batch: Count
    text_weight: Share  # the edit prompt's share of the query, the image has the rest; the paper's mean is 0.5
    neighbours: Count  # candidates for each pair, best first
    max_uses: Count  # how often one image may be a target
    near_duplicate: Cosine  # a candidate with this image-image cosine or a higher one is the same picture
    min_image_image: Cosine
    min_text_image: Cosine
    min_directional: Cosine
    text_gain: bool  # require cos(edit prompt, target) > cos(edit prompt, source)
    held_out: Share  # share of the pairs put aside, in whole connected components
    index: Name  # auto, or a string for FAISS's index factory
    memory: Annotated[float, Field(gt=0)]  # GB that an index may take
    pool_shards: Count | None  # an edit's target is sought in about so many shards around its own; null: in all


class Segment(Section):
    """Masks by CLIPSeg."""

    model: ModelName
    batch: Count
    targets: Literal["retrieved", "rendered"]  # the retrieved pictures, or (embedded world only) the true targets
    threshold: Share
    min_area: Share  # share of the picture; a smaller mask is dropped, and an empty one always
    max_area: Share  # share of the picture; a larger mask is dropped, and a full one always

    @field_validator("max_area")
    @classmethod
    def _is_not_below_min_area(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("min_area", 0):
            raise PydanticCustomError("order", "must not be below min_area = {least}", {"least": info.data["min_area"]})
        return value


class Train(Section):
    """Fine-tuning with Eq 2-12."""

    base: ModelName
    clip: ModelName
    vgg: ModelName
    continue_from: Literal["base", "champion"]  # the champion: where the training set has changed little
    continuation: Continuation
    prompts: Literal["edit", "alt"]  # condition on the edit prompts, or on the corpus's own captions
    parameters: Trainable
    lora_rank: Count  # of the LoRA, where one is trained
    losses: Losses
    seed: Annotated[int, Field(ge=0)]  # for the training's own draws; the data do not depend on it
    steps: Count  # optimiser steps
    batch: Count  # samples per forward pass on one device
    accumulation: Count  # forward passes per optimiser step
    learning_rate: Annotated[float, Field(gt=0)]
    learning_rate_schedule: Literal["constant", "linear", "cosine"]  # after the warm-up
    optimizer: Literal["adamw", "adamw8bit"]
    weight_decay: Annotated[float, Field(ge=0)]
    warm_up: Annotated[int, Field(ge=0)]  # steps
    max_gradient_norm: Annotated[float, Field(gt=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    average_on_host: bool  # whether the moving average lies in the memory of the host
    unconditional: Share  # share of samples trained without prompt, on Eq 1, for classifier-free guidance
    precision: Literal["no", "tf32", "fp16", "bf16"]  # of the products in a step; weights, moments and average are in fp32
    compile: bool  # whether torch compiles the U-Net
    gradient_checkpointing: bool
    loader_workers: Annotated[int, Field(ge=0)]  # processes that read batches ahead of the training; 0: it reads them itself
    log_every: Count  # steps between two readings of the losses; the log has every step
    validation_pairs: Annotated[int, Field(ge=0)]  # held-out pairs on which the loss is measured at every checkpoint
    checkpoint_every: Count
    keep_checkpoints: Count
    save_half: bool  # whether the trained U-Net is written in fp16


class Instruct(Section):
    """Training of InstructPix2Pix, the competitor; all other settings are ``train``'s, for equal data and compute."""

    learning_rate: Annotated[float, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, le=0.33)]  # share without prompt, without source, and without both, each
    average_on_host: bool  # as that of ``train``; the whole U-Net is trained here, so that more is to be kept


class Sampling(Section):
    """How an edit is sampled; a trained model keeps these as its defaults."""

    solver: Solver
    steps: Annotated[int, Field(gt=0, le=999)]  # out of the schedule's 1000, the last of which is offset by one
    strength: Annotated[float, Field(gt=0, le=1)]
    guidance_scale: Guidance
    mask_threshold: Share
    mask_margin: Annotated[float, Field(ge=0, le=0.5)]  # how far around an object its edit may reach; share of the shorter side
    mask_draft: bool  # whether a predicted mask also covers what a first edit of the whole picture changes

    @field_validator("strength")
    @classmethod
    def _leaves_a_step(cls, strength: float, info: ValidationInfo) -> float:
        steps = info.data.get("steps")
        if steps is not None and int(steps * strength) == 0:
            message = "with steps = {steps} no step is left, so the result would be the source"
            raise PydanticCustomError("no_step", message, {"steps": steps})
        return strength


class Instructed(Section):
    """InstructPix2Pix: a released checkpoint or the one trained here, and how closely prompt and source are followed."""

    model: ModelName | None = None  # null: the model of the stage instruct, which is not run otherwise
    guidance_scale: Annotated[float, Field(gt=1, le=100)]  # at 1 diffusers' pipeline ignores both scales
    image_guidance_scale: Guidance


class Systems(Section):
    """How the systems of Table 1 sample, chosen on the validation cases; iEdit-M uses ``sampling``, as it is served."""

    sdedit: Noised
    inpainting: Inpainting
    instruct_pix2pix: Instructed
    iedit: Noised


class Evaluate(Section):
    """Tables 1 and 2."""

    cases: Name  # folder of shards: edits with masks of their own (data/evaluation), or pairs put aside (data/heldout)
    validation: Name  # cases to choose settings on; if it equals ``cases``, its pairs are divided between the two
    max_cases: Count
    systems: Systems
    judge: ModelName  # a CLIP that nothing was trained against
    segmenter: ModelName
    referee: ModelName  # a CLIPSeg that predicts masks for no system
    base: ModelName
    vgg: ModelName
    inception: ModelName | None  # the network of FID; null: there is no FID
    batch: Count
    gallery: Count  # cases shown in the report
    bootstrap: Count  # resamples per interval
    gate: Gate


class Benchmark(Section):
    """The systems that only benchmarks have, and the models that measure; a column whose model is null is left empty."""

    diffedit: Noised
    prompt_to_prompt: PromptToPrompt
    clip: ModelName | None  # null: the judge of the evaluation
    structure: ModelName | None  # the DINO of PIE-Bench
    dino: ModelName | None  # the DINO of MagicBrush
    lpips: ModelName | None


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    threads: Annotated[int, Field(gt=0, le=1024)] | None  # of a training and of an evaluation; null: one a core
    precision: Precision  # of pretrained networks and of edits, but not within training steps and scores
    execution: Execution
    ingest: Ingest
    caption: Caption
    mutate: Mutate
    retrieve: Retrieve
    segment: Segment
    train: Train
    instruct: Instruct
    sampling: Sampling
    evaluate: Evaluate
    benchmark: Benchmark
    drift: Drift
    upkeep: Upkeep
    download: Download

    @model_validator(mode="after")
    def _complete_models(self) -> Self:
        for key, model in _models_by_key(self, ""):
            model._key = key
            model._precision = "fp32" if key.startswith(IN_FP32) else self.precision
        return self

    @model_validator(mode="after")
    def _check_held_out(self) -> Self:
        if self.evaluate.cases == str(HELD_OUT) and not self.retrieve.held_out:
            context = {"key": "retrieve.held_out", "value": str(self.retrieve.held_out), "cases": self.evaluate.cases}
            raise PydanticCustomError("no_held_out", "must be above 0, because evaluate.cases = '{cases}'", context)
        return self


def named_models(section: Section) -> Iterator[ModelName]:
    """Yield every pretrained model that a section names, in its order; each knows its key."""
    return (model for _, model in _models_by_key(section, ""))


def loaded_models(params: Params) -> Iterator[ModelName]:
    """Yield the pretrained models that the stages load, in the order of the stages; each knows its key."""
    captioner = [params.caption] if params.caption.use == "blip" else []
    for section in (*captioner, params.retrieve, params.segment, params.train, params.evaluate):
        yield from named_models(section)


def _models_by_key(section: Section, prefix: str) -> Iterator[tuple[str, ModelName]]:
    for name, value in section:
        if isinstance(value, ModelName):
            yield f"{prefix}{name}", value
        elif isinstance(value, Section):
            yield from _models_by_key(value, f"{prefix}{name}.")
