import pytest
import torch

from stages.studies.true_size import networks
from stages.studies.true_size.networks import NETWORKS, count_parameters, parameter_lines


def test_networks_have_the_published_numbers_of_parameters():
    counts = count_parameters()
    published = {name: figure for name, (_, figure) in NETWORKS.items() if figure is not None}
    assert {name: count / 1e6 for name, count in counts.items() if name in published} == pytest.approx(published, abs=0.06)
    assert parameter_lines(counts)[2] == "| U-Net | 859.5 M | 859.5 M |"


def test_networks_of_xl_have_the_published_numbers_of_parameters():
    """Podell et al. 2023, table 1: a U-Net of 2.6 billion, and text encoders of 817 million together."""
    with torch.device("meta"):
        counts = [
            sum(weights.numel() for weights in make().parameters())
            for make in (networks.unet_xl, networks.text_encoder, networks.second_text_encoder_xl)
        ]
    assert round(counts[0] / 1e9, 1) == 2.6
    assert (counts[1] + counts[2]) // 10**6 == 817
