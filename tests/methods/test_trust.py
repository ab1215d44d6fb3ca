"""Which pseudo-labels are believed, on probabilities worked by hand."""

from __future__ import annotations

import pytest
import torch

from simcvd.methods.trust import MEMORY, PATIENCE, Trust


def _voxels(*probabilities: tuple[float, ...]) -> torch.Tensor:
    """``[1, K, N, 1, 1]`` from one tuple a voxel."""
    return torch.tensor(probabilities).T[None, :, :, None, None].clone()


# Background at 0.9 and 1.0, class 1 at 0.9 and 0.7, class 2, of which the teacher is unsure, at
# 0.6 and 0.4.
SIX = _voxels(
    (0.9, 0.1, 0.0),
    (1.0, 0.0, 0.0),
    (0.1, 0.9, 0.0),
    (0.3, 0.7, 0.0),
    (0.2, 0.2, 0.6),
    (0.3, 0.3, 0.4),
)


def test_a_fixed_threshold_holds_all_classes_alike_and_silences_the_unsure_one() -> None:
    trust = Trust(3, 0.8)
    for _ in range(500):
        target = trust(SIX)
    assert target.flatten().tolist() == [0, 0, 1, -1, -1, -1]
    assert trust.thresholds().tolist() == pytest.approx([0.8, 0.8, 0.8])


def test_a_threshold_of_zero_believes_everything() -> None:
    assert Trust(3, 0.0)(SIX).flatten().tolist() == [0, 0, 1, 1, 2, 2]


def test_by_class_the_unsure_class_has_a_lower_threshold() -> None:
    trust = Trust(3, 0.8, "class")
    for _ in range(500):  # 0.98^500 of the start is left, 4e-5
        target = trust(SIX)
    # Means of the chosen class: 0.95, 0.8 and 0.5; 0.8 times their share of 0.95 is 0.8, 0.674
    # and 0.421, but no class is believed at less than even odds.
    assert trust.sureness.tolist() == pytest.approx([0.95, 0.8, 0.5], abs=1e-4)
    assert trust.thresholds().tolist() == pytest.approx([0.8, 0.8 * 0.8 / 0.95, 0.5], abs=1e-4)
    assert target.flatten().tolist() == [0, 0, 1, 1, 2, -1]


def test_a_class_that_is_not_there_keeps_its_mean() -> None:
    trust = Trust(3, 0.8, "class")
    trust(SIX[:, :, 2:4])
    assert trust.sureness.tolist() == pytest.approx([1.0, MEMORY + (1 - MEMORY) * 0.8, 1.0])


def test_agreement_asks_for_the_same_class_in_the_second_view() -> None:
    trust = Trust(3, 0.8, "agreement")
    second = SIX.flip(1)  # classes 0 and 2 change places, class 1 stays
    assert trust(SIX, second).flatten().tolist() == [-1, -1, 1, -1, -1, -1]
    assert trust(SIX, SIX).flatten().tolist() == [0, 0, 1, -1, -1, -1]


def test_what_is_logged() -> None:
    trust = Trust(3, 0.8)
    trust(SIX)  # three of six are believed, one of them foreground
    logged = {name: value.item() for name, value in trust.logged().items()}
    assert logged == pytest.approx({"trusted": 1 / 2, "trusted_foreground": 1 / 3})


def test_nothing_believed_is_logged_without_nan() -> None:
    trust = Trust(3, 0.8)
    trust(_voxels((0.4, 0.3, 0.3)))
    assert [value.item() for value in trust.logged().values()] == [0.0, 0.0]


def test_classes_missing_for_long_are_noted_once_they_are() -> None:
    trust = Trust(3, 0.8)
    for _ in range(PATIENCE - 1):
        trust(SIX)
    assert trust.notes() == []
    trust(SIX)
    (note,) = trust.notes()
    assert "pseudo-label of class 2: these scans teach that it is absent" in note
    trust(_voxels((0.0, 0.1, 0.9)))
    assert trust.notes() == []


def test_all_background_for_long_is_noted() -> None:
    trust = Trust(3, 0.8)
    for _ in range(PATIENCE):
        trust(SIX[:, :, :2])
    (note,) = trust.notes()
    assert "nothing but background" in note


def test_the_memory_is_saved_with_the_weights() -> None:
    first, second = Trust(3, 0.8, "class"), Trust(3, 0.8, "class")
    first(SIX)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(SIX), second(SIX))
    assert torch.equal(first.sureness, second.sureness)
    assert torch.equal(first.silent, second.silent)
