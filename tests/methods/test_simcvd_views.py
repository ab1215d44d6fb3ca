"""The rows of Table V: a view changes what student and teacher see of unlabelled patches."""

from __future__ import annotations

import pytest
import torch
from tests.methods.stubs import START, TASK, Fixed, batch, build

from simcvd.methods.simcvd import Config, SimCVD
from simcvd.transforms.painting import View


@pytest.mark.parametrize("view", ["shuffle", "nonlinear", "inpainting", "outpainting"])
def test_views_change_the_unlabelled_inputs_of_both_networks(view: View) -> None:
    torch.manual_seed(0)
    patches, seen = batch(), {}
    for name in ("none", view):
        method = SimCVD(Config(views=name, pool=4, hidden=8, out=4, beta=0.0), TASK, build)
        method.network, method.teacher = Fixed([0.0, 0.0]), Fixed([0.0, 0.0])
        method(patches, START)
        seen[name] = method.network.seen[0], method.teacher.seen[0]
    student, teacher = seen[view]
    assert torch.equal(student[:2], patches.image[:2])
    # Noise alone moves no voxel by more than 0.2.
    assert (seen["none"][0][2:] - patches.image[2:]).abs().max() <= 0.2 + 1e-6
    assert (student[2:] - patches.image[2:]).abs().max() > 0.5
    assert (teacher - patches.image[2:]).abs().max() > 0.5
    assert not torch.equal(student[2:], teacher)
