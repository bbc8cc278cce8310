"""Prompts and what a text encoder makes of them: it cuts what is longer than its context, and spells words it does not know."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LETTERS = 3


def unread(tokenizer: "PreTrainedTokenizerBase", text: str, context: int) -> str:
    """Return the end of a text that an encoder does not read; empty if it reads all of it.

    Args:
        tokenizer: the encoder's tokenizer, which puts one token before the text and one behind it.
        text: the prompt.
        context: the number of tokens that the encoder reads, these two included.
    """
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return "" if len(offsets) <= context else text[offsets[context - 1][0] :]


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """Return the tokenizer in a model's folder without loading the model; None if it has no tokenizer.json."""
    path = folder / "tokenizer.json"
    return Tokenizer.from_file(str(path)) if path.is_file() else None


def unknown_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """Return the words of a text that an encoder's vocabulary lacks, if these are half of its words or more; else none.

    Such a word is split into several tokens. Only words of LETTERS letters or more count: shorter ones are mostly grammar, and
    single letters are in every vocabulary.

    Args:
        tokenizer: the encoder's tokenizer.
        text: a caption or a prompt.
    """
    tokens = tokenizer.encode(text, add_special_tokens=False)
    places = [(word, span) for word, span in zip(tokens.word_ids, tokens.offsets, strict=True) if word is not None]
    spans = [[span for _, span in group] for _, group in groupby(places, lambda place: place[0])]
    words = [(text[parts[0][0] : parts[-1][1]], len(parts) > 1) for parts in spans]
    counted = [(word, is_split) for word, is_split in words if len(word) >= LETTERS and word.isalpha()]
    unknown = [word for word, is_split in counted if is_split]
    return unknown if 2 * len(unknown) >= len(counted) else []
