"""The model card: what a version was trained on and from, how it scores, and what it is for; in the hub's own form."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from stages.core.params import Params, loaded_models
from stages.core.params_ingest import OpenMojiSource
from stages.core.paths import CAPTIONS, CORPUS, EDITS, PAIRS, TRAINING_SET
from stages.core.shards import shard_totals
from stages.corpus.licences import count_licences
from stages.models.fetching import licence_keys_of, licence_of
from stages.models.hub import identity, is_local, locate
from stages.models.layout import LORA
from stages.report.captions import wording_of
from stages.report.claims import RULE, ClaimTable, markdown_claims
from stages.report.formats import markdown_table

MADE = {
    CORPUS: "images accepted",
    CAPTIONS: "captions",
    EDITS: "edit prompts",
    PAIRS: "pairs found",
    TRAINING_SET: "pairs trained on",
}
"""The folders of the stages, in their order, and what each holds."""
USED_IN_TRAINING = ("caption", "retrieve", "segment", "train")  # sections of params.yaml
BLIP, GIVEN = "Captions, pairs and masks were made", "Captions are those of the source; pairs and masks were made"
CORPUS_LICENCE = "OpenMoji artwork, CC BY-SA 4.0."  # of the embedded world
LORA_TEXT = f"`{LORA}` is what was trained, a LoRA that adds to the base model; the U-Net has it in its weights."
OWNERS = "The rights in the images are those of their owners."
UNKNOWN_LICENCE = f"the source states none. {OWNERS}"
TEXT = """\
{head}
# iEdit

An editor of pictures by text: Stable Diffusion's U-Net, fine-tuned on pairs of images and edit prompts that were found without
labelled edits, by the method of *iEdit: Localised Text-guided Image Editing with Weak Supervision* (Bodur et al., 2023).

## Data

Source: {source}. Licence: {corpus_licence}

| | count |
|---|---:|
{counts}

## Models

| used for | model | exact weights | licence |
|---|---|---|---|
{models}

A licence is as the model's own card states it. That of the base model binds this model too.

## Scores

{scores}

The judge is `{judge}`. Scores of another judge, or of other cases, do not compare with these.

## Claims

{claims}

{rule}

## Use

To edit pictures by text where a person looks at the results: what the prompt names replaces what stands in the mask.
`iedit.json` holds the settings that were chosen for it.{lora}

## Limits

- Edit prompts change one word of a caption: other edits (several at once, moving or counting things, writing) were not trained.
- {made} by the models above, whose errors and leanings about people this model repeats.
- Outputs are not filtered: no safety checker is part of this model, and it can make offensive or misleading pictures.
- Not for decisions about people, and not to pass edited pictures off as photographs.
"""


def model_card(params: Params, metrics: Mapping[str, Any], claims: Sequence[ClaimTable]) -> str:
    """Return the model card of the trained model, in Markdown with a head of YAML.

    Args:
        params: all of params.yaml.
        metrics: the value of metrics.json.
        claims: the claims that these scores were tested against.

    Raises:
        InputError: a model, or a record of the stages, is missing or damaged.
    """
    base = params.train.base
    head: dict[str, Any] = {"library_name": "diffusers", "pipeline_tag": "image-to-image", **licence_keys_of(locate(base))}
    if not is_local(base):
        head["base_model"] = base.name
    source = params.ingest.source
    is_embedded = isinstance(source, OpenMojiSource)
    wording = wording_of(metrics)
    return TEXT.format(
        head=f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---",
        source=_cell(", ".join(f"{name} {value}" for name, value in source)),
        corpus_licence=CORPUS_LICENCE if is_embedded else _licences(),
        counts="\n".join(f"| {name} | {shard_totals(folder)[0]:,} |" for folder, name in MADE.items() if folder.is_dir()),
        models="\n".join(_model_rows(params)),
        scores=markdown_table(metrics, wording.names, wording.note).strip(),
        claims=markdown_claims(claims).strip(),
        rule=RULE,
        judge=metrics["models"]["judge"]["name"],
        lora=f" {LORA_TEXT}" if params.train.parameters == "lora" else "",
        made=GIVEN if params.caption.use == "given" else BLIP,
    )


def _licences() -> str:
    """Return the licences of a corpus of one's own, with how many of its images have each."""
    counts = count_licences()
    if not counts:
        return UNKNOWN_LICENCE
    stated = "; ".join(f"{_code(licence)} (images: {count:,})" for licence, count in counts.items())
    return f"as the source states it, {stated}. {OWNERS}"


def _model_rows(params: Params) -> list[str]:
    used = [model for model in loaded_models(params) if model.key.partition(".")[0] in USED_IN_TRAINING]
    rows = [(model.key, model.name, identity(model), licence_of(locate(model))) for model in used]
    return [f"| {' | '.join(map(_cell, row))} |" for row in rows]


def _code(text: str) -> str:
    """Return a text from outside so that no reader of Markdown takes it for markup or HTML."""
    return f"`{' '.join(text.replace('`', '').split())}`"


def _cell(text: str) -> str:
    """Return a text from outside so that it stays one cell of a table."""
    return " ".join(text.replace("|", "\\|").split())
