"""What a corpus costs, against arithmetic."""

import pytest

from stages.studies.scale.plan import GPUS, UTILISATION, Cluster, StageRate, duration, plan, size

ONE_CORE = Cluster(machines=1, cores=1, gpus=0, gpu="none")


def rate(**changes) -> StageRate:
    return StageRate(**({"stage": "caption", "items": 1, "cpu_seconds": 0.01, "bytes": 100, "memory": 1e9} | changes))


def test_a_stage_takes_the_longer_of_cores_and_gpus():
    busy = rate(operations=0.3 * GPUS["a100"] * UTILISATION)  # 0.3 s of an A100
    (gpu_bound,) = plan([busy], 1000, Cluster(machines=2, cores=10, gpus=1, gpu="a100"))
    slow = rate(cpu_seconds=5.0, operations=busy.operations)
    (cpu_bound,) = plan([slow], 1000, Cluster(machines=2, cores=10, gpus=1, gpu="a100", workers_per_gpu=5))
    (alone,) = plan([slow], 1000, Cluster(machines=2, cores=10, gpus=1, gpu="a100"))
    assert gpu_bound.hours * 3600 == pytest.approx(1000 * 0.3 / 2)
    assert gpu_bound.machine_hours == pytest.approx(2 * gpu_bound.hours)
    assert cpu_bound.hours * 3600 == pytest.approx(1000 * 5.0 / 10)
    assert alone.hours * 3600 == pytest.approx(1000 * 5.0 / 2)
    assert (cpu_bound.memory, alone.memory) == (5e9, 1e9)


def test_more_machines_do_not_shorten_what_one_does():
    (one, many) = (
        plan([rate(serial_seconds=0.002)], 1000, Cluster(machines=n, cores=1, gpus=0, gpu="none"))[0] for n in (1, 10)
    )
    assert one.hours * 3600 == pytest.approx(12)
    assert many.hours * 3600 == pytest.approx(3)


def test_networks_run_on_cores_without_a_gpu():
    (each,) = plan([rate(network_seconds=1.0, operations=1e12)], 1000, ONE_CORE)
    assert each.hours * 3600 == pytest.approx(1010)


def test_items_are_bounded_by_what_training_draws():
    (each,) = plan([rate(items=0.5, most_items=20_000)], 1e6, ONE_CORE)
    assert each.items == 20_000
    assert each.disk == 2e6


def test_an_exponent_counts_from_where_it_was_measured():
    (each,) = plan([rate(exponent=1.1, measured_at=1e6)], 1e8, ONE_CORE)
    assert each.hours * 3600 == pytest.approx(0.01 * 1e8 * 100**0.1)


@pytest.mark.parametrize(("hours", "text"), [(0.01, "36 s"), (0.5, "30 min"), (10, "10.0 h"), (72, "3.0 days")])
def test_duration_is_readable(hours, text):
    assert duration(hours) == text


@pytest.mark.parametrize(("amount", "text"), [(12, "12 B"), (1500, "1.5 kB"), (2e15, "2 PB"), (3.21e12, "3.21 TB")])
def test_size_is_readable(amount, text):
    assert size(amount) == text
