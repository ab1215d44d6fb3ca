"""Consistency terms, Eq. (5)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as nnf

from simcvd.losses.precision import float32


@float32
def consistency(student: Tensor, teacher: Tensor) -> Tensor:
    """Eq. (5), L_con: mean squared error of two maps of one shape.

    Called for the probabilities ``[U, K, X, Y, Z]`` and for the signed distance maps
    ``[U, F, X, Y, Z]``; no gradient reaches ``teacher``.

    Examples:
        >>> student, teacher = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
        >>> consistency(student.view(1, 2, 1, 1, 1), teacher.view(1, 2, 1, 1, 1))  # 0.5**2
        tensor(0.2500)
    """
    return nnf.mse_loss(student, teacher.detach())
