"""The segmenter trains the function that transformers computes, with gradients for all of it."""

import torch
from transformers import CLIPSegForImageSegmentation

from nano.segmenter import segment
from nano.settings import MODELS
from nano.tokenization import clip_tokenizer


def test_segmenter_equals_transformers_and_has_gradients_everywhere():
    model = CLIPSegForImageSegmentation.from_pretrained(MODELS / "segmenter").eval()
    tokens = clip_tokenizer()(["a red dog", "a hat"], padding=True, return_tensors="pt")
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    logits, embedded, patches = segment(model, pictures, tokens.input_ids, tokens.attention_mask)
    assert (len(embedded), patches.shape[:2]) == (2, (2, 64))
    assert torch.equal(logits, model(pixel_values=pictures, **tokens).logits)
    logits.sum().backward()
    assert model.clip.vision_model.embeddings.patch_embedding.weight.grad.abs().sum() > 0
    assert model.clip.text_model.embeddings.token_embedding.weight.grad.abs().sum() > 0
