"""Records that every part shares, and the axis legend of the whole project.

====  =====================================================================
B     patches in a batch, the labelled ones first
L, U  labelled and unlabelled patches of a batch, B = L + U
C     image channels
K     classes, background first (class 0)
F     foreground classes, F = K - 1
X Y Z voxels along the three array axes (the paper's H, W, D); slices are
      taken across Z
N     slices, voxels or vectors that a loss treats as rows
====  =====================================================================

Arrays are indexed in voxels; an affine maps voxel indices to millimetres in
RAS+ world coordinates, as NIfTI does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

IntTriple = tuple[int, int, int]
Triple = tuple[float, float, float]
UNKNOWN = -1  # class of a voxel that has no label, or none that is trusted


class SimcvdError(Exception):
    """A problem the user can mend: says what was found, where, and what to do.

    exit_code: of a command that ends with it.
    """

    exit_code: ClassVar[int] = 1


class DoneInPart(SimcvdError):
    """Some scans failed, which the message names; the others are done."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What a label file itself calls one of its values.

    code: scheme and value of its meaning, such as "SCT 82471001", or "".
    """

    value: int
    name: str
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One scan in memory.

    array: ``[C, X, Y, Z]`` for an image, ``[X, Y, Z]`` for a label map.
    affine: ``[4, 4]`` float64, voxel index -> millimetres, RAS+.
    notes: what had to be put right while reading, one sentence each.
    segments: of a label map, the names that its file gives to values; () where it gives none.
    partial: of a label map, whether it covers only the box that it needs, background around it.
    """

    array: np.ndarray
    affine: np.ndarray
    notes: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    partial: bool = False

    @property
    def size(self) -> IntTriple:
        """Voxels along each axis of space."""
        x, y, z = self.array.shape[-3:]
        return x, y, z


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every method must know of the data: channels in, classes out, patch size in voxels."""

    channels: int
    classes: int
    patch: IntTriple


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands: ``step`` of ``total`` iterations, step counted from 0.

    now: the step again, as a scalar of the device, while a CUDA graph is recorded: ``step`` is then
        that of the recording, and only what is computed from ``fraction`` follows the run.
    """

    step: int
    total: int
    now: Tensor | None = None

    @property
    def fraction(self) -> float:
        """step / total, in [0, 1]; a scalar of the device where there is a ``now``."""
        step: Any = self.step if self.now is None else self.now
        fraction: float = step / self.total
        return fraction


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Patches of one iteration; the first ``len(label)`` of them are labelled.

    image: ``[B, C, X, Y, Z]`` float32.
    label: ``[L, X, Y, Z]`` int64, values 0..K-1.
    distance: ``[L, F, X, Y, Z]`` float32 signed distance maps in [-1, 1], inside negative;
        F is 0 for a method whose networks have no distance head.
    cases: the B case names, for messages.
    strong: ``[U, C, X, Y, Z]``, the unlabelled patches with other intensities, for a method
        with ``strong_views``; the plain patches where the recipe changes no intensities.
    target: ``[U, X, Y, Z]`` int64 pseudo-labels of the unlabelled patches, -1 where none is
        trusted, for a method with ``pseudo_labels``.
    """

    image: Tensor
    label: Tensor
    distance: Tensor
    cases: tuple[str, ...]
    strong: Tensor | None = None
    target: Tensor | None = None

    @property
    def labeled(self) -> int:
        """L, the number of labelled patches."""
        return len(self.label)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a network returns for ``[B, C, X, Y, Z]``.

    logits: ``[B, K, X, Y, Z]``.
    distance: ``[B, F, X, Y, Z]`` in [-1, 1], or None without a distance head.
    features: ``[B, E, X', Y', Z']``, the deepest encoder map; only some methods ask for it.
    dropped: the same after the dropout with which it enters the decoder, or None.
    auxiliary: in training, logits ``[B, K, X', Y', Z']`` of coarser maps that learn the labels,
        too, the finest of them first.
    """

    logits: Tensor
    distance: Tensor | None = None
    features: Tensor | None = None
    dropped: Tensor | None = None
    auxiliary: tuple[Tensor, ...] = ()

    @property
    def probabilities(self) -> Tensor:
        """Class probabilities ``[B, K, X, Y, Z]``, float32 whatever the network ran in."""
        return self.logits.float().softmax(1)

    def split(self, labeled: int) -> tuple[Prediction, Prediction]:
        """The predictions for the labelled patches and for the unlabelled ones."""
        first, rest = slice(labeled), slice(labeled, None)
        return self._at(first), self._at(rest)

    def _at(self, patches: slice) -> Prediction:
        return Prediction(
            logits=self.logits[patches],
            distance=None if self.distance is None else self.distance[patches],
            features=None if self.features is None else self.features[patches],
            dropped=None if self.dropped is None else self.dropped[patches],
            auxiliary=tuple(logits[patches] for logits in self.auxiliary),
        )
