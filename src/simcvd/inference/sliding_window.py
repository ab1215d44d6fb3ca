"""Sliding-window prediction with exact strides and bounded memory.

A scan is covered by overlapping windows and the class probabilities of the windows are
averaged voxel by voxel. The sums of a voxel are finished, handed out and forgotten as soon
as no later window touches it: windows run along columns, columns make rows, rows make slabs,
and only what the next row and the next slab overlap is kept. So memory grows with a
cross-section of the scan, not with the scan times its classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from simcvd.inference.windows import Grid, Group
from simcvd.networks.autocast import autocast
from simcvd.networks.frozen import evaluating
from simcvd.types import IntTriple, Prediction, SimcvdError

Slices = tuple[slice, slice, slice]
Advance = Callable[[int], None]
Network = Callable[[Tensor], Tensor | Prediction]
BATCH_VOXELS = 2**20


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How a scan is cut into windows and how these are run.

    patch, stride: voxels along X, Y, Z. classes: K.
    windows_per_batch: None takes as many as make up a million voxels on a CPU, where more gave
    no more speed, and eight times that on a GPU; at least two, unless they have many classes,
    because torch gives a volume that comes alone to slower kernels. Twice as many in half
    precision, which take the same memory.
    autocast: precision of the network, None for float32; softmax is always float32.
    tapered: windows at equal distances, at most the stride, that weigh less towards their border.
    spared: only windows go to the device; the scan and its sums stay in the host's memory.
    """

    patch: IntTriple
    stride: IntTriple
    classes: int
    windows_per_batch: int | None = None
    device: torch.device | str = "cpu"
    autocast: torch.dtype | None = None
    tapered: bool = False
    spared: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= 256:
            raise SimcvdError(f"{self.classes} classes; labels are bytes, so give 2 to 256 of them")
        if self.windows_per_batch is not None and self.windows_per_batch < 1:
            raise SimcvdError(f"{self.windows_per_batch} windows a batch; give 1 or more")

    @property
    def home(self) -> torch.device:
        """Where the scan and the sums of its windows are held."""
        return torch.device("cpu" if self.spared else self.device)

    @property
    def batch(self) -> int:
        """Windows that go through the network together."""
        if self.windows_per_batch is not None:
            return self.windows_per_batch
        voxels = prod(self.patch)
        budget = BATCH_VOXELS * (1 if torch.device(self.device).type == "cpu" else 8)
        least = 2 if self.classes * voxels <= 8 * BATCH_VOXELS else 1
        return max(least, budget // voxels) * (1 if self.autocast is None else 2)


def _padding(shape: IntTriple, patch: IntTriple) -> list[tuple[int, int]]:
    """Voxels to add before and after each axis so that one patch fits."""
    missing = [max(p - n, 0) for n, p in zip(shape, patch, strict=True)]
    return [(m // 2, m - m // 2) for m in missing]


def _pad(image: Tensor, padding: list[tuple[int, int]]) -> Tensor:
    """``image`` with zeros around it, itself if there is nothing to add."""
    flat = [n for axis in reversed(padding) for n in axis]
    return functional.pad(image, flat) if any(flat) else image


def _run(network: Network, patches: Tensor, how: Windows, weights: Tensor | None) -> Tensor:
    """Class probabilities times ``weights``, ``[B, K, X, Y, Z]`` float32.

    patches: ``[B, C, X, Y, Z]``. weights: ``[*patch]``, None for 1.
    """
    device = torch.device(how.device)
    patches = patches.to(device, torch.float32)
    with torch.inference_mode():
        with autocast(how.autocast, device):
            answer = network(patches)
        logits: Tensor = answer if isinstance(answer, Tensor) else answer.logits
        if logits.shape[1] != how.classes:
            raise SimcvdError(
                f"the network gives {logits.shape[1]} classes but {how.classes} were declared; "
                "use the class count the network was built with"
            )
        shares = logits.float().softmax(dim=1)
        return shares if weights is None else shares.mul_(weights)


def _taper(grid: Grid) -> Tensor:
    """Weight of each voxel of a window, ``[*patch]``."""
    x, y, z = (torch.tensor(grid.weights(axis)) for axis in range(3))
    return x[:, None, None] * y[:, None] * z


def _window_probabilities(
    network: Network, image: Tensor, grid: Grid, how: Windows, advance: Advance | None
) -> Iterator[Tensor]:
    """``[K, *patch]``, weighted, of every window in the order of `Grid.walk`, batched."""
    px, py, pz = grid.patch
    weights = _taper(grid).to(how.device) if grid.tapered else None
    walk, left = grid.walk(), grid.count
    while left:
        # Batches of about one size: a last window on its own would be slow.
        starts = list(islice(walk, ceil(left / ceil(left / how.batch))))
        left -= len(starts)
        patches = [image[:, x : x + px, y : y + py, z : z + pz] for x, y, z in starts]
        yield from _run(network, torch.stack(patches), how, weights).to(how.home)
        if advance is not None:
            advance(len(starts))


def _rows(
    grid: Grid, slab: Group, windows: Iterator[Tensor], buffer: Tensor
) -> Iterator[tuple[Group, Tensor]]:
    """Finished sums ``[K, slab, row, column]`` of each row of one slab.

    The sums are finished with respect to this slab only; the next slab may add to them.
    ``buffer`` is zero at the start and at the end, and holds one row of windows in between.
    """
    a, b, c = grid.order
    pa, pb, pc = (grid.patch[axis] for axis in grid.order)
    for row in grid.groups[b]:
        for at in grid.walk_row(slab, row):
            i, j, k = at[a] - slab.start, at[b] - row.start, at[c]
            window = next(windows).permute(0, a + 1, b + 1, c + 1)
            buffer[:, i : i + pa, j : j + pb, k : k + pc] += window
        done = row.done - row.start
        yield row, buffer[:, : slab.stop - slab.start, :done]
        _shift(buffer, done)


def _shift(buffer: Tensor, done: int) -> None:
    """Move the sums behind ``done`` to the front, zeros after them; one class at a time."""
    kept = buffer.shape[2] - done
    for sums in buffer:
        sums[:, :kept] = sums[:, done:].clone()
        sums[:, kept:] = 0


def _finished_sums(
    grid: Grid, windows: Iterator[Tensor], how: Windows
) -> Iterator[tuple[Slices, Tensor]]:
    """Sums no later window touches, ``[K, slab, row, column]``, with their place in that order."""
    a, b, c = grid.order
    columns = slice(0, grid.shape[c])
    size = how.classes, grid.overlap(a), grid.shape[b], grid.shape[c]
    waiting = torch.zeros(size, device=how.home)
    size = how.classes, grid.thickness(a), grid.thickness(b), grid.shape[c]
    buffer = torch.zeros(size, device=how.home)
    shared = 0
    for slab in grid.groups[a]:
        done = slab.done - slab.start
        for row, sums in _rows(grid, slab, windows, buffer):
            here = waiting[:, :, row.start : row.done]
            sums[:, :shared] += here[:, :shared]
            here[:, : slab.stop - slab.done] = sums[:, done:]
            place = slice(slab.start, slab.done), slice(row.start, row.done), columns
            yield place, sums[:, :done]
        shared = slab.stop - slab.done


def _mean(sums: Tensor, place: Slices, coverage: list[Tensor]) -> Tensor:
    """``sums`` divided by the weight of the windows over each voxel, in place."""
    a, b, c = (count[part] for count, part in zip(coverage, place, strict=True))
    mean = sums.div_(a[:, None, None] * b[:, None] * c)
    if not torch.isfinite(mean.sum()):
        raise SimcvdError(
            "the network gave probabilities that are not finite numbers; look for NaN or extreme "
            "values in the scan, or use a model whose training stayed finite"
        )
    return mean


def finished_blocks(
    network: Network, image: Tensor, how: Windows, advance: Advance | None = None
) -> Iterator[tuple[Slices, Tensor]]:
    """Mean class probabilities of a scan, block by block as they are finished.

    Args:
        network: any callable that answers ``[B, C, X, Y, Z]`` on ``how.device`` with logits
            ``[B, K, X, Y, Z]``, as a tensor or a `Prediction`; a module is in evaluation mode.
        image: ``[C, X, Y, Z]`` on any device; it goes to ``how.home`` once, to be cut there.
        advance: called with the number of windows after each batch.

    Yields the block's place in the scan and ``[K, *place]`` float32 on ``how.home``, valid
    until the next block. The blocks tile the scan; a scan smaller than the patch is padded
    with zeros and cut back.
    """
    padding = _padding((image.shape[1], image.shape[2], image.shape[3]), how.patch)
    padded = _pad(image.to(how.home), padding)
    grid = grid_of((image.shape[1], image.shape[2], image.shape[3]), how)
    coverage = [torch.tensor(grid.coverage(axis), device=how.home) for axis in grid.order]
    with evaluating(network) if isinstance(network, nn.Module) else nullcontext():
        windows = _window_probabilities(network, padded, grid, how, advance)
        for place, sums in _finished_sums(grid, windows, how):
            block = _mean(sums, place, coverage)
            back = [grid.order.index(axis) for axis in range(3)]
            block = block.permute(0, *(axis + 1 for axis in back))
            yield from _cut_back([place[axis] for axis in back], block, padding, image)


def _cut_back(
    place: list[slice], block: Tensor, padding: list[tuple[int, int]], image: Tensor
) -> Iterator[tuple[Slices, Tensor]]:
    """The block without padded voxels, placed in the unpadded scan; nothing if none is left."""
    kept, inside = [], []
    for part, (before, _), size in zip(place, padding, image.shape[1:], strict=True):
        start, stop = max(part.start - before, 0), min(part.stop - before, size)
        if start >= stop:
            return
        kept.append(slice(start, stop))
        inside.append(slice(start + before - part.start, stop + before - part.start))
    yield (kept[0], kept[1], kept[2]), block[(slice(None), *inside)]


def most_probable(probabilities: Tensor) -> Tensor:
    """Index of the largest of ``[K, ...]``, as ``[...]`` uint8; of equals always the first."""
    best = probabilities[0].clone()
    labels = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for index in range(1, len(probabilities)):
        labels[probabilities[index] > best] = index
        torch.maximum(best, probabilities[index], out=best)
    return labels


def predict_labels(network: Network, image: Tensor, how: Windows) -> Tensor:
    """Most probable class of every voxel, ``[X, Y, Z]`` uint8.

    Never holds the probabilities of the whole scan. Arguments as in `finished_blocks`. Raises
    SimcvdError if the network's class count differs from ``how.classes`` or its output is not
    finite.

    Examples:
        Any callable will do; this one takes for foreground what is brighter than 0.5:

        >>> scan = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0]).view(1, 5, 1, 1)
        >>> how = Windows(patch=(2, 1, 1), stride=(1, 1, 1), classes=2)
        >>> predict_labels(lambda x: torch.cat([0.5 - x, x - 0.5], 1), scan, how).flatten()
        tensor([0, 1, 1, 0, 0], dtype=torch.uint8)
    """
    labels = torch.empty(image.shape[1:], dtype=torch.uint8)
    for place, block in finished_blocks(network, image, how):
        labels[place] = most_probable(block).cpu()
    return labels


def grid_of(shape: IntTriple, how: Windows) -> Grid:
    """The windows over a scan of ``shape``, padded to the patch where it is smaller."""
    x, y, z = (max(n, p) for n, p in zip(shape, how.patch, strict=True))
    return Grid((x, y, z), how.patch, how.stride, how.tapered)


def sums_needed(shape: IntTriple, how: Windows) -> int:
    """Bytes in ``how.home`` that the sums of the windows take."""
    grid = grid_of(shape, how)
    return 4 * how.classes * grid.kept_voxels(grid.order)
