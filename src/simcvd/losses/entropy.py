"""Entropy of class probabilities, and what is done with it."""

from __future__ import annotations

from math import log

from torch import Tensor

from simcvd.losses.precision import float32


@float32
def entropy(probabilities: Tensor) -> Tensor:
    """-sum_k p_k log p_k at each voxel, ``[B, K, X, Y, Z]`` -> ``[B, X, Y, Z]``, 0 to log K.

    The logarithm stops at 1e-30, so that a probability of 0 counts 0 and its gradient is finite.

    Examples:
        >>> entropy(torch.full((1, 4, 1, 1, 1), 0.25)).flatten()  # log 4
        tensor([1.3863])
    """
    return -(probabilities * probabilities.clamp_min(1e-30).log()).sum(1)


@float32
def mean_entropy(logits: Tensor) -> Tensor:
    """Entropy as a share of its maximum log K, mean over voxels (Vu et al. 2019, "direct").

    Examples:
        >>> mean_entropy(torch.zeros(1, 4, 1, 1, 1))  # equal logits, whatever the number of classes
        tensor(1.)
    """
    return entropy(logits.softmax(1)).mean() / log(logits.shape[1])


@float32
def certain_consistency(
    student: Tensor, teacher: Tensor, uncertainty: Tensor, threshold: float
) -> Tensor:
    """Squared error of the probabilities where the teacher is certain (Yu et al. 2019, Eq. 2).

    sum(mask * error) / (K * sum(mask)), with mask = uncertainty < threshold: for two classes the
    2 of the published formula. 0 where no voxel is certain.

    Args:
        student, teacher: class probabilities ``[U, K, X, Y, Z]``; no gradient reaches teacher.
        uncertainty: entropy ``[U, X, Y, Z]`` in nats.
        threshold: nats.

    Examples:
        Both voxels err by 0.5, and the teacher is certain of the first alone, which gives 0.5**2.

        >>> student = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).view(1, 2, 2, 1, 1)
        >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 2, 1, 1)
        >>> uncertainty = torch.tensor([0.1, 0.6]).view(1, 2, 1, 1)
        >>> certain_consistency(student, teacher, uncertainty, threshold=0.5)
        tensor(0.2500)
    """
    mask = (uncertainty < threshold).unsqueeze(1)
    error = (student - teacher.detach()).square() * mask
    return error.sum() / (student.shape[1] * mask.sum()).clamp_min(1)
