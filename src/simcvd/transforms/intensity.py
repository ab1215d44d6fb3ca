"""Perturbations of intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from torch import Tensor

from simcvd.transforms.augment import AugmentConfig, fine_axes
from simcvd.types import Triple

REACH = 4  # standard deviations of a blur; what lies beyond weighs less than 0.0004


def draw_noise(image: Tensor, deviation: float = 0.1, limit: float = 0.2) -> Tensor:
    """eta of Eq. (5): clamp(deviation * N(0, 1), -limit, limit), shaped like ``image``.

    Examples:
        >>> noise = draw_noise(torch.ones(1, 1, 8, 8, 8))
        >>> noise.shape, bool(noise.abs().max() <= 0.2)
        (torch.Size([1, 1, 8, 8, 8]), True)
    """
    return (torch.randn_like(image) * deviation).clamp_(-limit, limit)


def draw_contrast(image: Tensor, gain: float = 0.3, shift: float = 0.3) -> tuple[Tensor, Tensor]:
    """Per patch of ``image``, a factor in 1 +- ``gain`` and an offset in +- ``shift``.

    Each ``[B, 1, 1, 1, 1]``; offsets are in the image's units, standard deviations as prepared.

    Examples:
        >>> gain, shift = draw_contrast(torch.zeros(16, 1, 4, 4, 4), gain=0.5)
        >>> gain.shape, bool((gain - 1).abs().max() <= 0.5)
        (torch.Size([16, 1, 1, 1, 1]), True)
    """
    drawn = torch.rand(2, len(image), 1, 1, 1, 1, device=image.device) * 2 - 1
    return 1 + gain * drawn[0], shift * drawn[1]


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """What is done to one patch's intensities, in this order; the defaults do nothing.

    gain, offset: image * gain + offset. gamma: the power on the patch's own range, channel by
    channel. noise: added, ``[C, X, Y, Z]``, or None. blur: standard deviation along X, Y and Z, in
    voxels. coarser: how many times as long as they are voxels seem to be, along X, Y and Z.
    """

    gain: float = 1.0
    offset: float = 0.0
    gamma: float = 1.0
    noise: Tensor | None = None
    blur: Triple = (0.0, 0.0, 0.0)
    coarser: Triple = (1.0, 1.0, 1.0)


def draw_intensity(
    image: Tensor, config: AugmentConfig, spacing: Triple = (1.0, 1.0, 1.0)
) -> list[Jitter]:
    """One jitter for each patch of ``image`` ``[B, C, X, Y, Z]``, from torch's own generators.

    spacing: mm along X, Y and Z; a blur is as wide in mm along all `fine_axes` and spares others.
    Chances and strengths are drawn on the CPU, so that nothing waits for the device; noise is
    drawn there.

    Examples:
        Chances of 0, the default, draw jitters that do nothing:

        >>> draw_intensity(torch.zeros(2, 1, 4, 4, 4), AugmentConfig()) == [Jitter(), Jitter()]
        True
    """
    return [_draw_jitter(patch, config, spacing) for patch in image]


def _draw_jitter(patch: Tensor, config: AugmentConfig, spacing: Triple) -> Jitter:
    x, y, z = patch.shape[1:]
    axes = fine_axes((x, y, z), spacing)
    contrast, gamma, noise, blur, coarser = torch.rand(5).tolist()  # each below its chance or not
    gains, offsets, gammas, noises, blurs, factors = torch.rand(6).tolist()
    jitter: dict[str, Any] = {}
    if contrast < config.contrast_chance:
        jitter["gain"] = 1 + config.gain * (2 * gains - 1)
        jitter["offset"] = config.offset * (2 * offsets - 1)
    if gamma < config.gamma_chance:
        jitter["gamma"] = exp(config.gamma * (2 * gammas - 1))
    if noise < config.noise_chance:
        jitter["noise"] = torch.randn_like(patch).mul_(config.noise * noises)
    if blur < config.blur_chance:
        weakest, strongest = config.blur
        mm = (weakest + blurs * (strongest - weakest)) * min(spacing)
        jitter["blur"] = _on_axes([mm / size for size in spacing], axes, otherwise=0.0)
    if coarser < config.low_resolution_chance:
        factor = 1 + factors * (config.low_resolution - 1)
        jitter["coarser"] = _on_axes([factor] * 3, axes, otherwise=1.0)
    return Jitter(**jitter)


def _on_axes(values: Sequence[float], axes: tuple[int, ...], otherwise: float) -> Triple:
    x, y, z = (value if axis in axes else otherwise for axis, value in enumerate(values))
    return x, y, z


def apply_intensity(image: Tensor, jitters: Sequence[Jitter]) -> Tensor:
    """A new ``[B, C, X, Y, Z]`` with each patch's jitter applied.

    Examples:
        >>> patch = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1, 1)
        >>> apply_intensity(patch, [Jitter(gain=2.0, offset=1.0)]).flatten()
        tensor([3., 5.])
    """
    out = torch.empty_like(image)
    for patch, jitter, place in zip(image, jitters, out, strict=True):
        place.copy_(_jittered(patch, jitter))
    return out


def _jittered(patch: Tensor, jitter: Jitter) -> Tensor:
    if (jitter.gain, jitter.offset) != (1.0, 0.0):
        patch = patch * jitter.gain + jitter.offset
    if jitter.gamma != 1:
        patch = apply_gamma(patch, jitter.gamma)
    if jitter.noise is not None:
        patch = patch + jitter.noise
    for axis, (sigma, factor) in enumerate(zip(jitter.blur, jitter.coarser, strict=True)):
        length = patch.shape[axis + 1]
        if sigma > 0:
            patch = weigh(patch, blurring(length, sigma, patch.device), axis)
        if factor > 1:
            patch = weigh(patch, coarsening(length, factor, patch.device), axis)
    return patch


def apply_gamma(patch: Tensor, gamma: float) -> Tensor:
    """``low + range * ((x - low) / range) ** gamma`` for each channel of ``[C, X, Y, Z]``.

    Examples:
        Lowest and highest stay; the middle of the range goes to a quarter of it:

        >>> apply_gamma(torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1), 2.0).flatten()
        tensor([10., 15., 30.])
    """
    low, high = patch.amin((1, 2, 3), keepdim=True), patch.amax((1, 2, 3), keepdim=True)
    extent = (high - low).clamp_min(1e-6)
    return ((patch - low) / extent).clamp_(0, 1).pow_(gamma).mul_(extent).add_(low)


def weigh(patch: Tensor, weights: Tensor, axis: int) -> Tensor:
    """``[C, X, Y, Z]``, along ``axis`` weighted sums by ``weights`` ``[n, n]``."""
    if axis == 2:
        return patch @ weights.T
    shape = patch.shape
    rows = patch.reshape(shape[: axis + 1].numel(), shape[axis + 1], -1)
    return torch.matmul(weights, rows).view(shape)


def blurring(length: int, sigma: float, device: torch.device) -> Tensor:
    """Weights ``[length, length]`` of a Gaussian, ``sigma`` in voxels; at edges what there is.

    Examples:
        A neighbour two standard deviations away weighs e**-2 = 0.135 of the voxel itself:

        >>> blurring(3, 0.5, torch.device("cpu"))[1]
        tensor([0.1065, 0.7870, 0.1065])
    """
    place = torch.arange(length, device=device)
    far = (place[:, None] - place).abs() / sigma
    weights = torch.exp(far**2 / -2) * (far <= REACH)
    return weights / weights.sum(1, keepdim=True)


def coarsening(length: int, factor: float, device: torch.device) -> Tensor:
    """Weights ``[length, length]``: averaged to voxels ``factor`` times as long, read linearly.

    The number of long voxels is rounded, one at least.

    Examples:
        Four voxels become two of 2 and 6, whose middles lie at 0.5 and 2.5:

        >>> patch = torch.tensor([1.0, 3.0, 5.0, 7.0]).view(1, 4, 1, 1)
        >>> weigh(patch, coarsening(4, 2.0, torch.device("cpu")), axis=0).flatten()
        tensor([2., 3., 5., 6.])
    """
    few = max(1, round(length / factor))
    edges = torch.arange(few + 1, device=device) * (length / few)
    place = torch.arange(length, device=device)
    start, end = edges[:-1, None], edges[1:, None]
    overlap = torch.minimum(end, place + 1) - torch.maximum(start, place)
    mean = overlap.clamp_min(0) * (few / length)
    where = ((place + 0.5) * (few / length) - 0.5).clamp(0, few - 1)
    read = (1 - (where[:, None] - torch.arange(few, device=device)).abs()).clamp_min(0)
    return read @ mean
