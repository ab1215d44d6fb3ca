"""The four views of Table V, after Models Genesis (Zhou et al., MICCAI 2019).

Batched, on the image's device. Each has a function that draws and one that applies what was
drawn, so that a view can be replayed. Intensities are used within a window of the patch's mean
+- two standard deviations, where Models Genesis scales its scans to [0, 1].
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from simcvd.transforms.mixing import draw_box
from simcvd.types import IntTriple

View = Literal["none", "shuffle", "nonlinear", "inpainting", "outpainting"]

WINDOW = 0.1  # longest side of a shuffled window, as a share of the patch
HOLES = (1 / 6, 1 / 3)  # side of a painted box, as a share of the patch
KEPT = (3 / 7, 4 / 7)  # side of a box that out-painting keeps
BOXES, ONE_MORE = 5, 0.95  # at most so many boxes; chance of each after the first


def change_view(image: Tensor, view: View) -> Tensor:
    """Draw ``view`` for each patch of ``image`` ``[B, C, X, Y, Z]`` and apply it."""
    size = _size(image)
    if view == "shuffle":
        return apply_order(image, draw_order(len(image), size, image.device))
    if view == "nonlinear":
        return apply_curve(image, draw_curve(len(image), image.device))
    if view == "inpainting":
        return apply_paint(image, draw_boxes(image, HOLES), draw_paint(image))
    if view == "outpainting":
        return apply_paint(image, ~draw_boxes(image, KEPT), draw_paint(image))
    return image


def draw_order(batch: int, size: IntTriple, device: torch.device) -> Tensor:
    """Local pixel shuffling: for each voxel the one it is taken from, ``[B, X * Y * Z]``.

    Each patch is tiled, from a random corner on, by windows of one random size, and voxels
    change places within their window. Models Genesis shuffles ten thousand overlapping windows
    one after the other; tiles do so at once and touch every voxel as those nearly do.
    """
    window = torch.zeros(batch, *size, dtype=torch.int64, device=device)
    for axis, length in enumerate(size):
        longest = max(int(WINDOW * length), 2)
        side = torch.randint(1, longest + 1, (batch, 1), device=device)
        corner = torch.randint(longest, (batch, 1), device=device)
        tile = (torch.arange(length, device=device) + corner) // side
        shape = [batch, 1, 1, 1]
        shape[axis + 1] = length
        window = window * (length + longest) + tile.view(shape)
    window = window.flatten(1)
    shuffled = torch.rand(window.shape, device=device).argsort(1)
    taken = shuffled.gather(1, window.gather(1, shuffled).argsort(dim=1, stable=True))
    placed = window.argsort(dim=1, stable=True)
    return torch.empty_like(window).scatter_(1, placed, taken)


def apply_order(image: Tensor, order: Tensor) -> Tensor:
    """Take each voxel of ``[B, C, X, Y, Z]`` from where ``order`` says, in all channels alike."""
    flat = image.flatten(2)
    return flat.gather(2, order[:, None].expand_as(flat)).view(image.shape)


def draw_curve(batch: int, device: torch.device, points: int = 256) -> Tensor:
    """Cubic Bezier curves through the unit square, ``[B, 2, points]``: abscissae, ordinates.

    From (0, 0) to (1, 1), or as often from (0, 1) to (1, 0), by two random control points;
    monotonic, since these lie in the unit square.
    """
    first, second = torch.rand(2, batch, 2, 1, device=device)
    t = torch.linspace(0, 1, points, device=device)
    curve = 3 * (1 - t) ** 2 * t * first + 3 * (1 - t) * t**2 * second + t**3
    falling = torch.rand(batch, 1, device=device) < 0.5
    ordinates = torch.where(falling, 1 - curve[:, 1], curve[:, 1])
    return torch.stack([curve[:, 0], ordinates], 1)


def apply_curve(image: Tensor, curve: Tensor) -> Tensor:
    """Map the intensities within the window by ``curve``; what lies beyond keeps its excess."""
    low, high = _window(image)
    inside = torch.minimum(torch.maximum(image, low), high)
    share = ((inside - low) / (high - low).clamp_min(1e-6)).flatten(1)
    x, y = (part.contiguous() for part in curve.unbind(1))
    right = torch.searchsorted(x, share).clamp(1, x.shape[1] - 1)
    x0, x1, y0, y1 = (part.gather(1, right - i) for part, i in ((x, 1), (x, 0), (y, 1), (y, 0)))
    mapped = y0 + (y1 - y0) * (share - x0) / (x1 - x0).clamp_min(1e-12)
    return low + mapped.view(image.shape) * (high - low) + (image - inside)


def draw_boxes(image: Tensor, sides: tuple[float, float]) -> Tensor:
    """The union of one to five boxes in each patch, ``[B, 1, X, Y, Z]``.

    ``sides``: shortest and longest side as a share of the patch's; drawn for each axis apart.
    """
    batch, device = len(image), image.device
    drawn = torch.rand(batch, BOXES, device=device) < ONE_MORE
    drawn[:, 0] = True
    boxes = draw_box((batch, BOXES), _size(image), sides, device)
    return (boxes & drawn.cumprod(1).bool()[:, :, None, None, None]).any(1, keepdim=True)


def draw_paint(image: Tensor) -> Tensor:
    """Noise shaped like ``image``, uniform over the window of each patch and channel."""
    low, high = _window(image)
    return low + torch.rand_like(image) * (high - low)


def apply_paint(image: Tensor, where: Tensor, paint: Tensor) -> Tensor:
    """``paint`` in the voxels ``where`` ``[B, 1, X, Y, Z]``, ``image`` elsewhere."""
    return torch.where(where, paint, image)


def _window(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean -+ two standard deviations of each patch and channel, ``[B, C, 1, 1, 1]``."""
    mean = image.mean((2, 3, 4), keepdim=True)
    spread = 2 * image.std((2, 3, 4), keepdim=True)
    return mean - spread, mean + spread


def _size(image: Tensor) -> IntTriple:
    x, y, z = image.shape[2:]
    return x, y, z
