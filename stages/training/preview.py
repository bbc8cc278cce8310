"""A sheet of edits by the model as it would be if its training ended now."""

from itertools import islice

from PIL import Image

from stages.core.params import Params
from stages.core.paths import TRAINING_SET
from stages.core.shards import list_shards
from stages.corpus.corpus import Corpus
from stages.editing.batch_editor import BatchEditor
from stages.models.latent_diffusion import Diffusion
from stages.models.tensors import mask_to_tensor, to_images, to_tensor
from stages.pairing.training_set import SUFFIX, edit_sample, read_pairs

SHOWN = 4  # training pairs


def preview_edits(diffusion: Diffusion, params: Params) -> Image.Image:
    """Return source, pseudo-target and edit of the first training pairs, one pair a row."""
    rows = islice((row for table in list_shards(TRAINING_SET, SUFFIX) for row in read_pairs(table)), SHOWN)
    corpus = Corpus()
    samples = [edit_sample(row, corpus) for row in rows]
    edits = BatchEditor(diffusion).edit_batch(
        to_tensor([sample.source for sample in samples]),
        [sample.edit_prompt for sample in samples],
        masks=mask_to_tensor([sample.source_mask for sample in samples]),
        sampling=params.sampling,
        seed=params.seed,
        keys=[sample.key for sample in samples],
    )
    side = samples[0].source.width
    sheet = Image.new("RGB", (3 * side, len(samples) * side))
    for row, (sample, edit) in enumerate(zip(samples, to_images(edits), strict=True)):
        for column, picture in enumerate((sample.source, sample.target, edit)):
            sheet.paste(picture, (column * side, row * side))
    return sheet
