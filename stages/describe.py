"""Stage describe: the figures of the dataset, and its page with samples, for whoever decides whether to train on it."""

from collections.abc import Sequence
from pathlib import Path

from stages.core.errors import InputError
from stages.core.files import read_written, write_json, write_text
from stages.core.params import Params
from stages.core.paths import DATASET, DATASET_BEFORE, DATASET_PAGE
from stages.core.shards import StageCounts
from stages.corpus.corpus import Corpus
from stages.corpus.licences import count_licences
from stages.models.hub import locate
from stages.models.prompts import read_tokenizer, unknown_words
from stages.report.dataset import Figures, measure_dataset

MANY = 0.1  # share of the sampled texts; the small CLIP spells four words of its own world, such as "briefcase"


def describe(params: Params) -> None:
    """Write ``reports/latest/dataset.json``, the figures, and ``dataset.html``, the page.

    The page says what changed since the last version that was described in this folder; its figures are kept beside those of
    the present one. A folder without an earlier version, or with figures that cannot be read, has the same page but for that.

    Raises:
        InputError: a stage has not run to its end, or what it wrote is damaged.
    """
    from stages.corpus.fetched import read_downloads
    from stages.report.dataset_page import dataset_page  # with it come NLTK and matplotlib
    from stages.report.examples import dropped_samples, pairs_by_relation, sampled_texts

    corpus, now = Corpus(), measure_dataset()
    pairs, dropped = pairs_by_relation(corpus, params.seed), dropped_samples(corpus, params)
    if (last := _earlier(DATASET)) is not None and last != now:
        write_json(DATASET_BEFORE, last.model_dump(mode="json"))
    before = _earlier(DATASET_BEFORE)
    warning = _unknown_words(params, sampled_texts(params.seed))
    downloads = read_downloads(params.ingest.source, params.download.folder)
    licences = count_licences()
    page = dataset_page(now, before, pairs, dropped, params, downloads=downloads, licences=licences, warning=warning)
    write_text(DATASET_PAGE, page)
    write_json(DATASET, now.model_dump(mode="json"))
    shown = sum(map(len, pairs.values()))
    shown += sum(len(samples) for reasons in dropped.values() for samples in reasons.values())
    StageCounts(stage="describe", done=shown).report()
    print(f"  samples on {DATASET_PAGE}")
    if warning:
        print(f"  {warning}")


def _earlier(path: Path) -> Figures | None:
    """Return the figures of an earlier version, which this stage wrote itself, or None if there are none that can be read."""
    if not path.is_file():
        return None
    try:
        return read_written(path, Figures.model_validate_json)
    except InputError:
        print(f"  {path}: damaged, or of another release, so the page does not say what changed since")
        return None


def _unknown_words(params: Params, texts: Sequence[str]) -> str:
    """Return a sentence if CLIP does not know the words of MANY of the texts; empty if it does, or brings no vocabulary."""
    tokenizer = read_tokenizer(locate(params.retrieve.clip))
    if tokenizer is None:
        return ""
    unknown = [text for text in texts if unknown_words(tokenizer, text)]
    if len(unknown) < MANY * len(texts) or not unknown:
        return ""
    return (
        f"{len(unknown):,} of {len(texts):,} sampled captions and prompts have half or more of their words outside of the"
        f" vocabulary of retrieve.clip, such as {unknown[0]!r}"
    )
