"""Small tokenizers in the hub's layouts: CLIP's byte-pair encoding and BERT's word pieces.

The CLIP vocabulary holds every byte, every byte at a word's end, and only those of CLIP's merges that the world's words
need. Other words fall into smaller pieces and still round-trip.
"""

import gzip
import itertools
import string
from functools import cache
from pathlib import Path

import open_clip
from open_clip.tokenizer import bytes_to_unicode
from transformers import BertTokenizer, CLIPTokenizer

from stages.corpus import world
from stages.corpus.scenery import SCENERIES

CONTEXT = 32  # tokens, including the special ones
CLIP_MERGES = 49152 - 256 - 2  # lines of the merges file that CLIP uses, after its header
END = "</w>"


@cache
def world_words() -> tuple[str, ...]:
    """Return every word of the world's captions, and common words about pictures."""
    words = {"a", "an", "the", "of", "and", "with", "photo", "photograph", "picture", "image", "background"}
    words |= {word for noun in world.nouns() for word in noun.split()}
    words |= {word for adjective in [*world.COLOURS, *world.SIZES] for word in adjective.split()}
    words |= {word for place, _ in SCENERIES.values() for word in place.split()}
    words |= set(SCENERIES)
    return tuple(sorted(words))


def _merges_of(word: str, ranks: dict[tuple[str, str], int]) -> list[tuple[str, str]]:
    """Return the merges that byte-pair encoding applies to ``word``, in order."""
    pieces = [*word[:-1], word[-1] + END]
    applied = []
    while len(pieces) > 1:
        pairs = [pair for pair in itertools.pairwise(pieces) if pair in ranks]
        if not pairs:
            break
        first = min(pairs, key=ranks.__getitem__)
        applied.append(first)
        merged, index = [], 0
        while index < len(pieces):
            if tuple(pieces[index : index + 2]) == first:
                merged.append("".join(first))
                index += 2
            else:
                merged.append(pieces[index])
                index += 1
        pieces = merged
    return applied


def clip_tokenizer() -> CLIPTokenizer:
    """Return the small CLIP tokenizer; its end-of-text token has the highest id, as CLIP's pooling needs."""
    path = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : CLIP_MERGES + 1]
    ranks: dict[tuple[str, str], int] = {}
    for rank, line in enumerate(lines):
        left, right = line.split()
        ranks[left, right] = rank
    merges = sorted({merge for word in world_words() for merge in _merges_of(word, ranks)}, key=ranks.__getitem__)
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(letter + END for letter in letters), *("".join(merge) for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token="<|endoftext|>", model_max_length=CONTEXT)


def bert_tokenizer(folder: Path) -> BertTokenizer:
    """Write BLIP's kind of tokenizer (letters, endings and the world's words) to ``folder``, and return it."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokens += [word for word in world_words() if len(word) > 1]
    tokens += ["[DEC]", "[ENC]"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = BertTokenizer(vocab=vocabulary, bos_token="[DEC]", model_max_length=CONTEXT)
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write the small CLIP tokenizer to ``folder`` in the hub's layout and return it."""
    tokenizer = clip_tokenizer()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    return tokenizer
