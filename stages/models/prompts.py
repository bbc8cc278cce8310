"""Prompts and the context of a text encoder, which cuts what is longer."""

from transformers import PreTrainedTokenizerBase


def unread(tokenizer: PreTrainedTokenizerBase, text: str, context: int) -> str:
    """Return the end of a text that an encoder does not read; empty if it reads all of it.

    Args:
        tokenizer: the encoder's, which puts one token before the text and one behind it.
        text: the prompt.
        context: the number of tokens that the encoder reads, these two included.
    """
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return "" if len(offsets) <= context else text[offsets[context - 1][0] :]
