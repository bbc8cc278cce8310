"""Measure every model of the family on held-out combinations; write metrics.json and a sheet of samples."""

from functools import partial
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from nano.scenes import Scenes, load_scenes
from nano.settings import MODELS, NANO, read_settings
from nano.vgg import Classifier
from stages.core.files import write_json, written_aside
from stages.core.params import ModelName
from stages.corpus import world
from stages.corpus.scenery import SCENERIES
from stages.diffusion.sampling import draw_noise, edit_latents
from stages.diffusion.unet import predict_noise
from stages.models.captioner import load_captioner
from stages.models.clip import Clip, load_clip
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.models.segmenter import load_segmenter
from stages.models.tensors import to_images

Figures = dict[str, float | int]
BATCH = 50
SHEET = (8, 8)  # samples across and down


def _model(name: str) -> ModelName:
    return ModelName(name=str(MODELS / name))


def measure_vae(scenes: Scenes) -> Figures:
    """Return the mean peak signal-to-noise ratio of reconstructions, in dB."""
    diffusion = load_diffusion(_model("diffusion"))
    values = []
    with torch.no_grad():
        for rows in _parts(scenes):
            pictures = scenes.pictures(rows)
            restored = diffusion.decode(diffusion.encode(pictures)).clamp(0, 1)
            values.append(-10 * torch.log10((restored - pictures).square().mean(dim=(1, 2, 3))))
    return {"psnr_db": torch.cat(values).mean().item(), "n": len(scenes.captions)}


def measure_captioner(scenes: Scenes) -> Figures:
    """Return the share of captions with the right noun, and the share that equal the true caption."""
    captioner = load_captioner(_model("captioner"))
    noun, whole = 0, 0
    for rows in _parts(scenes):
        for row, text in zip(rows.tolist(), captioner.caption(to_images(scenes.pictures(rows)), 20), strict=True):
            noun += scenes.nouns[row] in text.split()
            whole += scenes.captions[row] == text
    count = len(scenes.captions)
    return {"noun": noun / count, "caption": whole / count, "n": count}


def measure_clip(name: str, scenes: Scenes) -> Figures:
    """Return the zero-shot accuracies of naming the noun and the scenery among all."""
    clip = load_clip(_model(name))
    nouns, places = _right(clip, torch.cat([scenes.pictures(rows) for rows in _parts(scenes)]), scenes)
    return {"noun": nouns, "scenery": places, "n": len(scenes.captions)}


def _right(clip: Clip, pictures: Tensor, scenes: Scenes) -> tuple[float, float]:
    """Return the accuracies of CLIP in naming the noun (given the true scenery) and the scenery (given the true noun).

    The pictures belong to the first scenes.
    """
    true_nouns, true_places = scenes.nouns[: len(pictures)], scenes.sceneries[: len(pictures)]
    names = list(world.nouns())
    with torch.no_grad():
        embedded = torch.cat([clip.embed_pictures(part) for part in pictures.split(BATCH)])
    by_place = {place: clip.embed_texts([_phrase(noun, place) for noun in names]) for place in SCENERIES}
    found_nouns = [names[int((by_place[place] @ one).argmax())] for one, place in zip(embedded, true_places, strict=True)]
    by_noun = {noun: torch.stack([by_place[place][row] for place in SCENERIES]) for row, noun in enumerate(names)}
    places = list(SCENERIES)
    found_places = [places[int((by_noun[noun] @ one).argmax())] for one, noun in zip(embedded, true_nouns, strict=True)]
    return _share(found_nouns, true_nouns), _share(found_places, true_places)


def _phrase(noun: str, place: str) -> str:
    return f"{world.with_article(noun)} {SCENERIES[place][0]}"


def _share(found: list[str], true: list[str]) -> float:
    return sum(one == other for one, other in zip(found, true, strict=True)) / len(found)


def measure_segmenter(name: str, scenes: Scenes) -> Figures:
    """Return the mean IoU with the true mask, and the mean area of masks for a noun that is not in the picture."""
    segmenter = load_segmenter(_model(name))
    overlaps, absent = [], []
    for rows in _parts(scenes):
        images = to_images(scenes.pictures(rows))
        found = segmenter.probabilities(images, [scenes.nouns[row] for row in rows])[:, 0] >= 0.5
        true = scenes.masks(rows) > 0.5
        overlaps.append((found & true).flatten(1).sum(1) / (found | true).flatten(1).sum(1))
        others = [_another(scenes, int(row)) for row in rows]
        absent.append((segmenter.probabilities(images, others)[:, 0] >= 0.5).flatten(1).float().mean(1))
    return {
        "miou": torch.cat(overlaps).mean().item(),
        "absent_area": torch.cat(absent).mean().item(),
        "n": len(scenes.captions),
    }


def _another(scenes: Scenes, row: int) -> str:
    """Return the noun of the next scene with another noun."""
    following = (scenes.nouns[(row + step) % len(scenes.nouns)] for step in range(1, len(scenes.nouns)))
    return next(noun for noun in following if noun != scenes.nouns[row])


def measure_vgg(scenes: Scenes) -> Figures:
    """Return the classifier's accuracy in naming the noun."""
    names = list(world.nouns())
    model = Classifier(len(names))
    model.load_state_dict({key: value.float() for key, value in load_file(MODELS / "vgg" / "model.safetensors").items()})
    model.eval()
    with torch.no_grad():
        found = [names[int(row)] for rows in _parts(scenes) for row in model(scenes.pictures(rows)).argmax(dim=1)]
    return {"noun": _share(found, scenes.nouns), "n": len(scenes.captions)}


def measure_diffusion(
    training: Scenes, held_out: Scenes, settings: dict[str, Any], seed: int
) -> tuple[Figures, list[Image.Image]]:
    """Sample held-out captions from noise; return the judge's accuracies on the samples, and the first samples.

    The guidance scale is the one of ``settings["guidance_scales"]`` that does best on training captions.
    """
    diffusion, judge = load_diffusion(_model("diffusion")), load_clip(_model("judge"))
    tried: dict[float, float] = {}
    for scale in settings["guidance_scales"]:
        captions = training.captions[: settings["guidance_samples"]]
        sampled = _sample(diffusion, captions, settings["steps"], scale, seed + 1)
        tried[scale] = sum(_right(judge, sampled, training)) / 2
    best = max(tried, key=tried.__getitem__)
    sampled = _sample(diffusion, held_out.captions[: settings["samples"]], settings["steps"], best, seed)
    nouns, places = _right(judge, sampled, held_out)
    figures: Figures = {"noun": nouns, "scenery": places, "n": len(sampled), "guidance_scale": best}
    figures |= {f"training_at_guidance_{scale:g}": share for scale, share in tried.items()}
    return figures, to_images(sampled[: SHEET[0] * SHEET[1]])


@torch.no_grad()
def _sample(diffusion: Diffusion, captions: list[str], steps: int, guidance_scale: float, seed: int) -> Tensor:
    """Return a picture sampled from noise for each caption, (n, 3, size, size) in [0, 1]."""
    shape = torch.Size([diffusion.unet.config.in_channels, *2 * [diffusion.unet.config.sample_size]])
    pictures = []
    for start in tqdm(range(0, len(captions), BATCH), desc=f"samples at guidance {guidance_scale:g}", unit="batch"):
        part = captions[start : start + BATCH]
        noise = torch.stack([draw_noise(shape, seed, start + row) for row in range(len(part))])
        # At strength 1 nothing of the source is left, so this is text to image.
        latents = edit_latents(
            partial(predict_noise, diffusion, diffusion.unet),
            diffusion.scheduler,
            torch.zeros_like(noise),
            noise,
            diffusion.embed_prompts(part),
            diffusion.embed_prompts([""]),
            steps=steps,
            strength=1.0,
            guidance_scale=guidance_scale,
        )
        pictures.append(diffusion.decode(latents).clamp(0, 1))
    return torch.cat(pictures)


def _parts(scenes: Scenes) -> tuple[Tensor, ...]:
    return torch.arange(len(scenes.captions)).split(BATCH)


def main() -> None:
    """Measure everything."""
    settings = read_settings()
    torch.set_num_threads(settings["measure"]["threads"])
    scenes = load_scenes("held_out")
    figures = {
        "vae": measure_vae(scenes),
        "captioner": measure_captioner(scenes),
        "clip": measure_clip("clip", scenes),
        "judge": measure_clip("judge", scenes),
        "segmenter": measure_segmenter("segmenter", scenes),
        "referee": measure_segmenter("referee", scenes),
        "vgg": measure_vgg(scenes),
    }
    figures["diffusion"], samples = measure_diffusion(load_scenes("train"), scenes, settings["measure"], settings["seed"])
    write_json(NANO / "metrics.json", figures)
    side = samples[0].width
    sheet = Image.new("RGB", (SHEET[0] * side, SHEET[1] * side))
    for place, sample in enumerate(samples):
        sheet.paste(sample, (place % SHEET[0] * side, place // SHEET[0] * side))
    with written_aside(NANO / "samples.png") as temporary:
        sheet.save(temporary, "png")
    for name, row in figures.items():
        print(
            f"{name:<10}",
            "  ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()),
        )


if __name__ == "__main__":
    main()
