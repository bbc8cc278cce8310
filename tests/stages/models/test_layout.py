"""Which files are read, of the repositories as the hub lists them and of folders that diffusers and transformers wrote."""

from pathlib import Path

import pytest

from stages.models.layout import LayoutError, needed_files
from tests.support import ROOT
from tests.support.hub import names


def words(text: str) -> list[str]:
    return text.split()


# As printed in diffusers' documentation of DiffusionPipeline, and the root checkpoints that its README names.
STABLE_DIFFUSION = words("""
    .gitattributes README.md feature_extractor/preprocessor_config.json model_index.json safety_checker/config.json
    safety_checker/model.fp16.safetensors safety_checker/model.safetensors safety_checker/pytorch_model.bin
    safety_checker/pytorch_model.fp16.bin scheduler/scheduler_config.json text_encoder/config.json
    text_encoder/model.fp16.safetensors text_encoder/model.safetensors text_encoder/pytorch_model.bin
    text_encoder/pytorch_model.fp16.bin tokenizer/merges.txt tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json
    tokenizer/vocab.json unet/config.json unet/diffusion_pytorch_model.bin unet/diffusion_pytorch_model.fp16.bin
    unet/diffusion_pytorch_model.fp16.safetensors unet/diffusion_pytorch_model.non_ema.bin
    unet/diffusion_pytorch_model.non_ema.safetensors unet/diffusion_pytorch_model.safetensors v1-5-pruned-emaonly.ckpt
    v1-5-pruned-emaonly.safetensors v1-5-pruned.ckpt v1-5-pruned.safetensors v1-inference.yaml vae/config.json
    vae/diffusion_pytorch_model.bin vae/diffusion_pytorch_model.fp16.bin vae/diffusion_pytorch_model.fp16.safetensors
    vae/diffusion_pytorch_model.safetensors
""")
READ = words("""
    model_index.json scheduler/scheduler_config.json text_encoder/config.json text_encoder/model.safetensors
    tokenizer/merges.txt tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json
    unet/config.json unet/diffusion_pytorch_model.safetensors vae/config.json vae/diffusion_pytorch_model.safetensors
""")
XL = words("""
    text_encoder_2/config.json text_encoder_2/model.safetensors tokenizer_2/merges.txt tokenizer_2/special_tokens_map.json
    tokenizer_2/tokenizer_config.json tokenizer_2/vocab.json
""")
XL_UNREAD = words("""
    01.png LICENSE.md comparison.png sd_xl_base_1.0.safetensors sd_xl_base_1.0_0.9vae.safetensors
    sd_xl_offset_example-lora_1.0.safetensors text_encoder/flax_model.msgpack text_encoder/model.fp16.safetensors
    text_encoder/model.onnx text_encoder/openvino_model.bin text_encoder/openvino_model.xml
    text_encoder_2/model.fp16.safetensors text_encoder_2/model.onnx text_encoder_2/model.onnx_data
    unet/diffusion_flax_model.msgpack unet/diffusion_pytorch_model.fp16.safetensors unet/openvino_model.bin
    vae/diffusion_pytorch_model.fp16.safetensors vae_1_0/config.json vae_1_0/diffusion_pytorch_model.fp16.safetensors
    vae_1_0/diffusion_pytorch_model.safetensors vae_decoder/config.json vae_decoder/model.onnx vae_encoder/config.json
""")
CLIP_READ = words("""
    config.json merges.txt open_clip_config.json open_clip_model.safetensors special_tokens_map.json tokenizer.json
    tokenizer_config.json vocab.json
""")
CLIP_UNREAD = words(".gitattributes README.md model.safetensors open_clip_pytorch_model.bin pytorch_model.bin")
BLIP_TEXTS = words("""
    config.json preprocessor_config.json special_tokens_map.json tokenizer.json tokenizer_config.json vocab.txt
""")
UNET = "unet/diffusion_pytorch_model"
WITHOUT_UNET = [name for name in READ if not name.startswith(UNET)]
HALF_A_UNET = f"{UNET}.safetensors is in 2 parts, and 1 of them here"
NO_TOKENIZER = "no tokenizer/tokenizer.json, nor tokenizer/vocab.json with merges.txt"
BLIP_UNREAD = words(".gitattributes README.md pytorch_model.bin tf_model.h5")


@pytest.mark.parametrize(
    ("listed", "read"),
    [
        (STABLE_DIFFUSION, READ),
        ([*READ, "feature_extractor/preprocessor_config.json", "v2-1_768-nonema-pruned.safetensors"], READ),  # 2.1
        ([*READ, *XL, *XL_UNREAD], READ + XL),
        ([*CLIP_READ, *CLIP_UNREAD], CLIP_READ),
        ([*BLIP_TEXTS, *BLIP_UNREAD, "model.safetensors"], [*BLIP_TEXTS, "model.safetensors"]),
        (["config.json", "model.safetensors", "pytorch_model.bin"], ["config.json", "model.safetensors"]),
    ],
)
def test_of_a_repository_one_variant_of_each_part_is_read(listed, read):
    assert needed_files(listed) == sorted(read)


def test_half_precision_is_read_where_there_is_no_other():
    start = "vae/diffusion_pytorch_model"
    half = [name.replace(f"{start}.", f"{start}.fp16.") for name in READ]
    assert needed_files(half) == sorted(half)
    split = [f"{start}.safetensors.index.fp16.json", f"{start}.fp16-00001-of-00001.safetensors"]
    kept = [name for name in READ if not name.startswith(start)]
    assert needed_files([*kept, *split]) == sorted([*kept, *split])


def test_weights_in_parts_are_read_with_their_index():
    start = "unet/diffusion_pytorch_model"
    parts = [f"{start}-00001-of-00002.safetensors", f"{start}-00002-of-00002.safetensors"]
    others = [f"{start}.fp16-00001-of-00001.safetensors", f"{start}.safetensors.index.fp16.json", f"{start}.bin.index.json"]
    kept = [name for name in READ if name != f"{start}.safetensors"]
    assert needed_files([*kept, *parts, *others, f"{start}.safetensors.index.json"]) == sorted(
        [*kept, *parts, f"{start}.safetensors.index.json"]
    )


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ([*BLIP_TEXTS, *BLIP_UNREAD], "no model.safetensors, only pytorch_model.bin"),
        ([name for name in READ if not name.startswith("unet/diff")], "no unet/diffusion_pytorch_model.safetensors"),
        (["config.json", "model.fp16.safetensors"], "no model.safetensors, only model.fp16.safetensors"),
        ([*READ, "text_encoder_2/config.json"], "no text_encoder_2/model.safetensors"),
        ([name for name in READ if name != "tokenizer/merges.txt"], NO_TOKENIZER),
        ([*WITHOUT_UNET, f"{UNET}.safetensors.index.json", f"{UNET}-00001-of-00002.safetensors"], HALF_A_UNET),
        ([], "no model.safetensors"),
    ],
)
def test_what_has_no_full_safetensors_is_refused(listed, reason):
    with pytest.raises(LayoutError) as error:
        needed_files(listed)
    assert str(error.value) == reason


@pytest.mark.parametrize("folder", sorted((ROOT / "nano/models").iterdir()), ids=lambda folder: folder.name)
def test_of_the_nano_models_every_file_is_read(folder: Path):
    assert needed_files(names(folder)) == names(folder)
