"""Train the two CLIPs: ``python -m nano.clip clip`` for the losses and retrieval, ``judge`` for the evaluation.

They differ in seed, width, order of training and training pictures, so that an edit that pleases one by accident does
not please the other. Both have a ResNet as vision tower (to open_clip, a list of layers means that): in so small a
world it learns in minutes what takes a transformer hours.
"""

import sys
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nano.fit import draw_rows, fit, halve
from nano.scenes import Scenes, load_scenes
from nano.settings import MODELS, read_settings, read_training
from nano.tokenization import CONTEXT, save_clip_tokenizer
from stages.core.files import write_json, written_aside
from stages.corpus import world
from stages.corpus.scenery import SCENERIES
from stages.metrics.clip import crop_regions

VISION: dict[str, dict[str, Any]] = {
    "clip": {"layers": [2, 2, 2, 2], "width": 20},
    "judge": {"layers": [1, 2, 2, 1], "width": 24},
}
TEXT_WIDTH = {"clip": 96, "judge": 64}
ALIKE = 4  # scenes in a batch with the same noun
CUT_OUT_SHARE = 0.25  # share of pictures that show the object on black, described by its subject
CLOSE_UP_SHARE = {"clip": 0.0, "judge": 0.25}  # only the judge scores edited regions on their own


def configuration(name: str, size: int, vocabulary: int) -> dict[str, Any]:
    """Return an open_clip configuration in the hub's layout."""
    width = TEXT_WIDTH[name]
    text = {"context_length": CONTEXT, "vocab_size": vocabulary, "width": width, "heads": width // 32, "layers": 2}
    vision = {"image_size": size, **VISION[name]}
    return {
        "model_cfg": {"embed_dim": 128, "vision_cfg": vision, "text_cfg": text | {"hf_tokenizer_name": "local"}},
        "preprocess_cfg": {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)},
    }


def draw_alike(scenes: Scenes, batch: int, generator: torch.Generator) -> Tensor:
    """Return row numbers: ALIKE scenes of each drawn noun, which differ in adjective and place only."""
    drawn = torch.randint(len(scenes.by_noun), (batch // ALIKE,), generator=generator)
    groups = [scenes.by_noun[noun] for noun in drawn]
    return torch.cat([group[draw_rows(len(group), ALIKE, generator)] for group in groups])


def draw_batch(
    scenes: Scenes, batch: int, crop_share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, list[str], Tensor]:
    """Return row numbers, their pictures in [0, 1], a matching text each, and which of them are whole scenes.

    Most are whole scenes with their caption or subject. Some show the object cut out on black, and a share of
    ``crop_share`` a close-up of the object; it hides the object's size, so its text leaves the size out.
    """
    rows = draw_alike(scenes, batch, generator)
    pictures, masks = scenes.pictures(rows), scenes.masks(rows).unsqueeze(1)
    kinds = torch.rand(batch, generator=generator)
    cut_out = kinds < CUT_OUT_SHARE
    close_up = ~cut_out & (kinds < CUT_OUT_SHARE + crop_share)
    pictures = torch.where(cut_out.view(-1, 1, 1, 1), pictures * masks, pictures)
    if close_up.any():
        margin = 0.5 * torch.rand((), generator=generator).item()
        pictures[close_up] = crop_regions(pictures[close_up], masks[close_up], pictures.shape[-1], margin)
    texts = []
    for row, kind, close in zip(rows.tolist(), kinds.tolist(), close_up.tolist(), strict=True):
        if close:
            texts.append(scenes.subjects[row].removeprefix("small ").removeprefix("large "))
        elif kind < CUT_OUT_SHARE or kind > 0.9:
            texts.append(scenes.subjects[row])
        else:
            texts.append(scenes.captions[row])
    return rows, pictures, texts, ~cut_out & ~close_up


def main() -> None:
    """Train and write one of the two models."""
    name = sys.argv[1]
    settings, training = read_settings(), read_training(name)
    scenes = load_scenes("train")
    folder = MODELS / name
    tokenizer = save_clip_tokenizer(folder)
    config = configuration(name, settings["size"], len(tokenizer))
    write_json(folder / "open_clip_config.json", config)
    torch.manual_seed(settings["seed"] + (name == "judge"))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    mean, std = (torch.tensor(config["preprocess_cfg"][key]).view(1, 3, 1, 1) for key in ("mean", "std"))

    noun_words = tokenize([world.with_article(noun) for noun in world.nouns()])
    place_words = tokenize([words for words, _ in SCENERIES.values()])

    def loss_of(generator: torch.Generator) -> Tensor:
        rows, pictures, texts, whole = draw_batch(scenes, training.batch, CLOSE_UP_SHARE[name], generator)
        images, words, scale = model((pictures - mean) / std, torch.cat([tokenize(texts), noun_words, place_words]))
        words, nouns, places = words.split([len(texts), len(noun_words), len(place_words)])
        logits = scale * images @ words.T
        # Equal texts are all correct answers.
        same = torch.tensor([[float(one == other) for other in texts] for one in texts])
        targets = same / same.sum(dim=1, keepdim=True)
        contrast = (nn.functional.cross_entropy(logits, targets) + nn.functional.cross_entropy(logits.T, targets)) / 2
        # A small batch holds few of a picture's likely confusions, so every picture is also compared with every noun, and
        # every whole scene with every place.
        named = nn.functional.cross_entropy(scale * images @ nouns.T, scenes.labels[rows])
        placed = nn.functional.cross_entropy(scale * images[whole] @ places.T, scenes.places[rows[whole]])
        return contrast + named + placed

    fit(name, model, loss_of, training, settings["seed"])
    with written_aside(folder / "open_clip_model.safetensors") as temporary:
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, temporary, metadata={"format": "pt"})
    halve(folder / "open_clip_model.safetensors")


if __name__ == "__main__":
    main()
