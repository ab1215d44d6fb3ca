"""Terms of a critic that tells labelled from unlabelled patches, and of who fools it.

A verdict is ``[B, 2]``: scores of "unlabelled" (0) and "labelled" (1).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as nnf

from simcvd.losses.precision import float32


@float32
def fooling(verdict: Tensor) -> Tensor:
    """Cross-entropy of the verdicts ``[U, 2]`` on unlabelled patches against "labelled".

    Examples:
        >>> fooling(torch.zeros(3, 2))  # the critic cannot tell: log 2
        tensor(0.6931)
    """
    return nnf.cross_entropy(verdict, torch.ones_like(verdict[:, 0], dtype=torch.int64))


@float32
def discrimination(verdict: Tensor, labeled: int) -> Tensor:
    """Cross-entropy of the verdicts ``[B, 2]`` against the truth: the first ``labeled`` are.

    Examples:
        >>> discrimination(torch.tensor([[0.0, 9.0], [9.0, 0.0]]), labeled=1)  # sure, and right
        tensor(0.0001)
    """
    truth = torch.arange(len(verdict), device=verdict.device) < labeled
    return nnf.cross_entropy(verdict, truth.long())
