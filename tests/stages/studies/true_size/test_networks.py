import pytest

from stages.studies.true_size.networks import NETWORKS, count_parameters, parameter_lines


def test_networks_have_the_published_numbers_of_parameters():
    counts = count_parameters()
    published = {name: figure for name, (_, figure) in NETWORKS.items() if figure is not None}
    assert {name: count / 1e6 for name, count in counts.items() if name in published} == pytest.approx(published, abs=0.06)
    assert parameter_lines(counts)[2] == "| U-Net | 859.5 M | 859.5 M |"
