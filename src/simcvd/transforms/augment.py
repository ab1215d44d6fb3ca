"""How strongly patches are augmented: chances and strengths; the defaults leave patches alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from simcvd.ranges import BelowOne, Range, Settings, Share, Weight
from simcvd.types import IntTriple, SimcvdError, Triple

COARSE = 3  # times the finest spacing, or as many times fewer voxels than the longest side


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Settings):
    """Every effect has a chance, per patch, of 0 by default; strengths count only above that.

    affine_chance: of a rotation and a scaling together, in millimetres: up to ``rotation`` degrees
        in plane and ``tilt`` out of plane, scaled by a factor in 1 -+ ``scale``.
    elastic_chance: of a smooth deformation: displacements in mm with standard deviation
        ``elastic`` at the control points of a cubic spline (:mod:`simcvd.transforms.affine`).
    mirror: axes, among 0 (X), 1 (Y) and 2 (Z), each reversed with chance 0.5, besides the pose.
    contrast_chance: of a gain in 1 -+ ``gain`` and an offset within -+ ``offset``; offsets are in
        the image's units, standard deviations as prepared.
    gamma_chance: of a power exp(-+ ``gamma``), on the patch's own range.
    noise_chance: of Gaussian noise with a standard deviation of up to ``noise``.
    blur_chance: of a Gaussian blur with a standard deviation in ``blur``, in voxels of the finest
        axis.
    low_resolution_chance: of simulated voxels up to ``low_resolution`` times as long.
    """

    group: ClassVar[str] = "augment"
    affine_chance: Share = 0.0
    rotation: Annotated[float, Range(least=0, most=180)] = 15.0
    tilt: Annotated[float, Range(least=0, most=180)] = 8.0
    scale: BelowOne = 0.15
    elastic_chance: Share = 0.0
    elastic: Weight = 3.0
    mirror: Annotated[tuple[int, ...], Range(least=0, most=2)] = ()
    contrast_chance: Share = 0.0
    gain: BelowOne = 0.3
    offset: Weight = 0.3
    gamma_chance: Share = 0.0
    gamma: Weight = 0.5
    noise_chance: Share = 0.0
    noise: Weight = 0.2
    blur_chance: Share = 0.0
    blur: Annotated[tuple[float, float], Range(least=0)] = (0.5, 1.0)
    low_resolution_chance: Share = 0.0
    low_resolution: Annotated[float, Range(least=1)] = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blur[0] > self.blur[1]:
            raise SimcvdError(
                f"augment.blur is {self.blur}; give the weakest blur first, then the strongest"
            )

    @property
    def spatial(self) -> bool:
        """Whether any effect moves voxels."""
        return bool(self.affine_chance or self.elastic_chance or self.mirror)

    @property
    def intensity(self) -> bool:
        """Whether any effect changes intensities."""
        return any(
            (
                self.contrast_chance,
                self.gamma_chance,
                self.noise_chance,
                self.blur_chance,
                self.low_resolution_chance,
            )
        )


STRONG = AugmentConfig(
    affine_chance=0.5, contrast_chance=0.8, gamma_chance=0.5, noise_chance=0.5, blur_chance=0.3
)


def fine_axes(patch: IntTriple, spacing: Triple) -> tuple[int, ...]:
    """The axes that are turned, scaled, blurred: not those with coarse voxels or few of them.

    Left out is an axis whose spacing is 3 times the finest or more, or that has at most a third
    of the longest side's voxels: turning it would smear one slice over its neighbours.
    """
    finest, longest = min(spacing), max(patch)
    return tuple(
        axis
        for axis, (mm, voxels) in enumerate(zip(spacing, patch, strict=True))
        if mm < COARSE * finest and voxels * COARSE > longest
    )


def check_augment(config: AugmentConfig, patch: IntTriple, spacing: Triple) -> None:
    """Refuse what a patch is too thin for.

    Raises:
        SimcvdError: where a rotation or deformation finds fewer than two axes to act in, or an
            axis is mirrored along which the patch has one voxel.
    """
    axes = fine_axes(patch, spacing)
    place = f"a patch of {' x '.join(map(str, patch))} voxels of "
    place += f"{' x '.join(f'{mm:g}' for mm in spacing)} mm"
    for name in ("affine_chance", "elastic_chance"):
        if getattr(config, name) and len(axes) < 2:
            raise SimcvdError(
                f"augment.{name} is {getattr(config, name)}, but {place} is too thin to be turned "
                f"or bent: fewer than two axes are alike. Set it to 0 or take a larger patch."
            )
    thin = [axis for axis in config.mirror if patch[axis] == 1]
    if thin:
        raise SimcvdError(
            f"augment.mirror is {config.mirror}, but {place} has one voxel along axis {thin[0]}. "
            "Leave that axis out."
        )
