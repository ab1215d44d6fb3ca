"""What is particular to Chaitanya et al.: the phases, and the parts that are contrasted."""

from __future__ import annotations

import pytest
import torch
from tests.methods.stubs import TASK, batch, build, trained_by

from simcvd.losses.regions import cut_partitions, draw_others, pool_regions
from simcvd.methods.chaitanya import Config, GlobalLocalContrast
from simcvd.types import Progress, SimcvdError


def _at(step: int) -> Progress:
    return Progress(step=step, total=100)


@pytest.fixture
def method() -> GlobalLocalContrast:
    torch.manual_seed(0)
    return GlobalLocalContrast(Config(), TASK, build)


def test_three_phases_share_the_run(method: GlobalLocalContrast) -> None:
    phases = [next(iter(method.weights(_at(step)))) for step in range(100)]
    assert phases == 15 * ["global"] + 15 * ["local"] + 70 * ["seg"]


def test_phases_that_leave_no_time_for_the_labels_are_refused() -> None:
    assert Config(global_share=0.9, local_share=0.05).global_share == 0.9
    with pytest.raises(SimcvdError, match=r"global_share 0\.5 .*local_share 0\.5 .*below 1"):
        Config(global_share=0.5, local_share=0.5)


def test_each_phase_trains_its_part(method: GlobalLocalContrast) -> None:
    parts = {}
    for phase, step in (("global", 0), ("local", 20), ("seg", 50)):
        trained = trained_by(method(batch(), _at(step))[phase], method)
        parts[phase] = {".".join(name.split(".")[:2]) for name in trained}
    assert {"network.encoder", "network.down", "global_head.0"} <= parts["global"]
    assert not parts["global"] & {"network.decoder", "network.up", "network.class_head"}
    assert {"network.decoder", "network.up", "local_head.0"} <= parts["local"]
    assert not parts["local"] & {"network.encoder", "network.down", "network.class_head"}
    assert {"network.encoder", "network.decoder", "network.class_head"} <= parts["seg"]
    assert not any("head." in part for part in parts["seg"])


def test_partitions_are_equal_parts_padded_by_their_last_slice() -> None:
    x = torch.arange(8.0).expand(2, 1, 1, 1, 8)
    parts = cut_partitions(x, 4, 4)
    assert parts.shape == (8, 1, 1, 1, 4)
    expected = [[0, 1, 1, 1], [2, 3, 3, 3], [4, 5, 5, 5], [6, 7, 7, 7]]
    assert parts.flatten(1).tolist() == expected + expected


def test_partitions_of_the_left_atrium_are_twenty_slices_in_thirty_two() -> None:
    parts = cut_partitions(torch.arange(80.0).view(1, 1, 1, 1, 80), 4, 16)
    assert parts.shape == (4, 1, 1, 1, 32)
    assert parts[2].flatten().unique().tolist() == list(range(40, 60))


def test_regions_are_means_of_three_by_three_in_one_slice() -> None:
    x = torch.zeros(1, 1, 7, 6, 2)  # the seventh row has no full region
    x[0, 0, 0:3, 3:6, 1] = torch.arange(9.0).view(3, 3)
    x[0, 0, 6] = 100.0
    regions = pool_regions(x)
    assert regions.shape == (1, 2 * 2 * 2, 1)
    assert regions.flatten().tolist() == [0, 0, 0, 4, 0, 0, 0, 0]


@pytest.mark.parametrize(("regions", "count", "drawn"), [(13, 5, 5), (4, 5, 3), (1, 5, 0)])
def test_negatives_are_different_and_never_the_region_itself(
    regions: int, count: int, drawn: int
) -> None:
    others = draw_others(regions, count, torch.device("cpu"))
    assert others.shape == (regions, drawn)
    for region, row in enumerate(others.tolist()):
        assert len({region, *row}) == drawn + 1
        assert all(0 <= other < regions for other in row)


def test_the_local_contrast_is_learnt(method: GlobalLocalContrast) -> None:
    # The contract test sees that the global one is.
    patches, losses = batch(), []
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    for _ in range(25):
        loss = method(patches, _at(20))["local"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
