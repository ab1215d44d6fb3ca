"""What is particular to interpolation consistency training."""

from __future__ import annotations

import pytest
import torch
from tests.methods.stubs import END, START, TASK, Fixed, batch, build
from torch import Tensor, nn

from simcvd.methods.ict import Config, InterpolationConsistency, draw_shares, mix
from simcvd.types import Prediction

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """The probability of class 1 is the voxel's value, kept within 0.01 and 0.99."""

    def forward(self, x: Tensor) -> Prediction:
        p = x.clamp(0.01, 0.99)
        logits = torch.cat([(1 - p).log(), p.log()], 1)
        return Prediction(logits=logits, distance=None, features=x)


def test_mix_of_two_patches() -> None:
    x = torch.tensor([10.0, 20.0, 40.0, 80.0, 7.0]).view(5, 1, 1, 1, 1)
    share = torch.tensor([0.9, 0.25]).view(2, 1, 1, 1, 1)
    # 0.9 * 10 + 0.1 * 20 = 11; 0.25 * 40 + 0.75 * 80 = 70; the fifth has no partner
    assert mix(x, share).flatten().tolist() == pytest.approx([11.0, 70.0])


def test_shares_follow_beta_and_the_seed() -> None:
    torch.manual_seed(0)
    shares = draw_shares(20_000, 0.2, CPU)
    assert shares.shape == (20_000, 1, 1, 1, 1)
    assert shares.isfinite().all()
    # Mean 1/2; variance 1 / (4 (2 a + 1)) = 0.178571; both errors are below 0.004 at 20,000.
    assert shares.mean().item() == pytest.approx(0.5, abs=0.012)
    assert shares.var().item() == pytest.approx(0.178571, abs=0.006)
    torch.manual_seed(0)
    assert torch.equal(shares, draw_shares(20_000, 0.2, CPU))


def test_the_student_sees_one_mix_and_the_teacher_each_patch_alone() -> None:
    torch.manual_seed(0)
    method, patches = InterpolationConsistency(Config(), TASK, build), batch()
    method.network, method.teacher = Fixed([0.0, 0.0]), Fixed([0.0, 0.0])
    torch.manual_seed(1)
    method(patches, START)
    torch.manual_seed(1)
    share = draw_shares(1, 0.2, CPU).float()
    mixed = share * patches.image[2] + (1 - share) * patches.image[3]
    assert torch.equal(method.network.seen[0], torch.cat([patches.image[:2], mixed]))
    assert [len(x) for x in method.teacher.seen] == [1, 1]
    assert torch.equal(torch.cat(method.teacher.seen), patches.image[2:])


def test_a_student_linear_in_its_input_has_nothing_to_learn() -> None:
    method, patches = InterpolationConsistency(Config(), TASK, build), batch()
    method.network = method.teacher = Brightness()
    patches.image.copy_(torch.rand_like(patches.image) * 0.9 + 0.05)
    assert method(patches, START)["con"].item() == pytest.approx(0.0, abs=1e-10)


def test_weights_at_the_end() -> None:
    assert InterpolationConsistency(Config(), TASK, build).weights(END) == {"seg": 1.0, "con": 0.1}
