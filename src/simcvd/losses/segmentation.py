"""Supervised terms, Eq. (1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as nnf

from simcvd.losses.precision import float32
from simcvd.types import UNKNOWN, Prediction


@float32
def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy of ``logits`` ``[L, K, X, Y, Z]`` against ``label`` ``[L, X, Y, Z]``.

    Examples:
        Equal logits of two classes are as good as a coin, log 2:

        >>> cross_entropy(torch.zeros(1, 2, 1, 1, 1), torch.zeros(1, 1, 1, 1, dtype=torch.int64))
        tensor(0.6931)
    """
    return nnf.cross_entropy(logits, label)


@float32
def dice(
    probabilities: Tensor, label: Tensor, smooth: float = 1e-5, *, per_volume: bool = False
) -> Tensor:
    """Soft Dice loss, 1 - 2 |p y| / (|p|^2 + |y|^2), mean over the foreground classes.

    Sums run over the whole batch, with squares in the denominator (Milletari et al. 2016, as
    in Yu et al. 2019); with ``per_volume`` over each volume, and the mean is of these losses too.
    ``probabilities`` ``[L, K, X, Y, Z]``, ``label`` ``[L, X, Y, Z]``.

    Examples:
        Two of four voxels predicted, one of them rightly: 1 - 2 * 1 / (2 + 1).

        >>> foreground = torch.tensor([1.0, 1, 0, 0]).view(1, 1, 4, 1, 1)
        >>> label = torch.tensor([1, 0, 0, 0]).view(1, 4, 1, 1)
        >>> dice(torch.cat([1 - foreground, foreground], 1), label)
        tensor(0.3333)
    """
    if per_volume:
        volumes = zip(probabilities.split(1), label.split(1), strict=True)
        return torch.stack([dice(p, y, smooth) for p, y in volumes]).mean()
    losses = []
    for k in range(1, probabilities.shape[1]):
        p, y = probabilities[:, k], (label == k).to(probabilities.dtype)
        overlap = 2.0 * torch.sum(p * y) + smooth
        losses.append(1.0 - overlap / (torch.sum(p * p) + torch.sum(y) + smooth))
    return torch.stack(losses).mean()


@float32
def segmentation(
    logits: Tensor,
    label: Tensor,
    cross_entropy_weight: float = 0.5,
    *,
    per_volume: bool = False,
) -> Tensor:
    """Eq. (1), L_seg: half cross-entropy, half Dice by default.

    ``logits`` ``[L, K, X, Y, Z]``, ``label`` ``[L, X, Y, Z]`` int64; ``per_volume``: see `dice`.
    The paper names L_seg without a formula; this is the one of the work it cites (Yu et al. 2019).

    Examples:
        Logits that know nothing of a label that is half foreground: the cross-entropy is log 2,
        the Dice loss 1 - 2 * (2 * 0.5) / (4 * 0.5**2 + 2) = 1/3, and L_seg the mean of the two.

        >>> segmentation(torch.zeros(1, 2, 4, 1, 1), torch.tensor([1, 1, 0, 0]).view(1, 4, 1, 1))
        tensor(0.5132)
    """
    dice_loss = dice(logits.softmax(1), label, per_volume=per_volume)
    return (
        cross_entropy_weight * cross_entropy(logits, label) + (1 - cross_entropy_weight) * dice_loss
    )


@float32
def partial_segmentation(
    logits: Tensor, label: Tensor, cross_entropy_weight: float = 0.5
) -> Tensor:
    """L_seg over the voxels whose label is known; the others are ``UNKNOWN`` in ``label``.

    Equals `segmentation` where every voxel is known, and 0, with a gradient of 0, where none is.
    Arguments as there.

    Examples:
        >>> label = torch.tensor([1, 0, UNKNOWN, UNKNOWN]).view(1, 4, 1, 1)
        >>> logits = torch.zeros(1, 2, 4, 1, 1)
        >>> partial_segmentation(logits, label) == segmentation(logits[:, :, :2], label[:, :2])
        tensor(True)
    """
    known = label != UNKNOWN
    total = nnf.cross_entropy(logits, label, ignore_index=UNKNOWN, reduction="sum")
    dice_loss = dice(logits.softmax(1) * known.unsqueeze(1), label)
    mean = total / known.sum().clamp_min(1)
    return cross_entropy_weight * mean + (1 - cross_entropy_weight) * dice_loss


def supervised(
    prediction: Prediction,
    label: Tensor,
    cross_entropy_weight: float = 0.5,
    *,
    per_volume: bool = False,
    loss: Callable[..., Tensor] = segmentation,
) -> Tensor:
    """L_seg of a prediction ``[L, ...]`` on all its maps that learn the labels ``[L, X, Y, Z]``.

    That of `Prediction.auxiliary` (deep supervision, Lee et al. 2015) is held against every label's
    nearest voxel. The finest map weighs 1, the next 1/2, 1/4 and so on, divided by their sum so
    that the term stays comparable to others. Without auxiliary maps it is ``loss`` of the logits.

    Examples:
        A loss of 3 on the finest map and of 0 on the next one: (3 + 0 / 2) / (1 + 1 / 2).

        >>> fine, coarse = torch.full((1, 2, 2, 2, 2), 3.0), torch.zeros(1, 2, 1, 1, 1)
        >>> label = torch.zeros(1, 2, 2, 2, dtype=torch.int64)
        >>> prediction = Prediction(logits=fine, auxiliary=(coarse,))
        >>> supervised(prediction, label, loss=lambda logits, label, weight: logits.mean())
        tensor(2.)
    """
    options = {"per_volume": True} if per_volume else {}
    total = loss(prediction.logits, label, cross_entropy_weight, **options)
    if not prediction.auxiliary:
        return total
    weights = [0.5**level for level in range(len(prediction.auxiliary) + 1)]
    for weight, logits in zip(weights[1:], prediction.auxiliary, strict=True):
        coarse = nnf.interpolate(label[:, None].float(), logits.shape[2:], mode="nearest-exact")
        coarse = coarse[:, 0].to(label.dtype)
        total = total + weight * loss(logits, coarse, cross_entropy_weight, **options)
    return total / sum(weights)


@float32
def distance_regression(q_sdm: Tensor, y_sdm: Tensor) -> Tensor:
    """Eq. (1), L_mse: mean squared error of the signed distance maps ``[L, F, X, Y, Z]``.

    Examples:
        >>> distance_regression(torch.tensor([-0.5, 0.5]), torch.tensor([-0.5, 1.0]))  # 0.5**2 / 2
        tensor(0.1250)
    """
    return nnf.mse_loss(q_sdm, y_sdm)
