"""The link between a signed distance map and class probabilities (Luo et al. 2021)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as nnf

from simcvd.losses.precision import float32


@float32
def distance_to_probability(distance: Tensor, steepness: float = 1500.0) -> Tensor:
    """sigmoid(-steepness * distance): a smooth step, 1 inside, 1/2 where the distance is 0.

    ``distance`` ``[B, F, X, Y, Z]``, inside negative.

    Examples:
        >>> distance_to_probability(torch.tensor([-0.1, 0.0, 0.1]))
        tensor([1.0000, 0.5000, 0.0000])
    """
    return (-steepness * distance).sigmoid()


@float32
def dual_task_consistency(
    probabilities: Tensor, distance: Tensor, steepness: float = 1500.0
) -> Tensor:
    """Mean squared error of the foreground probabilities and those the distances imply.

    ``probabilities`` ``[B, K, X, Y, Z]``, ``distance`` ``[B, F, X, Y, Z]``; both heads learn.

    Examples:
        The class head is undecided, the distance head sees the inside: (1 - 0.5)**2.

        >>> undecided = torch.full((1, 2, 1, 1, 1), 0.5)
        >>> dual_task_consistency(undecided, torch.full((1, 1, 1, 1, 1), -0.1))
        tensor(0.2500)
    """
    return nnf.mse_loss(distance_to_probability(distance, steepness), probabilities[:, 1:])
