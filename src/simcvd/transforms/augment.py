"""How strongly patches are augmented: chances and strengths; the defaults leave patches alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from simcvd.ranges import BelowOne, Range, Settings, Share, Weight
from simcvd.types import IntTriple, SimcvdError, Triple
from simcvd.wording import by

COARSE = 3  # times the finest spacing, or as many times fewer voxels than the longest side


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Settings):
    """Chances and strengths of every effect; the default chances of 0 leave patches alone."""

    group: ClassVar[str] = "augment"
    affine_chance: Share = 0.0
    """Chance, per patch, of a rotation and a scaling together."""
    rotation: Annotated[float, Range(least=0, most=180)] = 15.0
    """Largest rotation in plane, degrees."""
    tilt: Annotated[float, Range(least=0, most=180)] = 8.0
    """Largest rotation out of plane, degrees."""
    scale: BelowOne = 0.15
    """The factor of the scaling lies in 1 -+ this."""
    elastic_chance: Share = 0.0
    """Chance, per patch, of a smooth deformation."""
    elastic: Weight = 3.0
    """Standard deviation of the displacements at the control points of a cubic spline, mm; see
    transforms/affine.py."""
    mirror: Annotated[tuple[int, ...], Range(least=0, most=2)] = ()
    """Axes, among 0 (X), 1 (Y) and 2 (Z), each reversed with chance 0.5, besides the pose."""
    contrast_chance: Share = 0.0
    """Chance, per patch, of a gain and an offset."""
    gain: BelowOne = 0.3
    """The gain lies in 1 -+ this."""
    offset: Weight = 0.3
    """The offset lies within -+ this, in standard deviations of the prepared image."""
    gamma_chance: Share = 0.0
    """Chance, per patch, of a power of the intensities, on the patch's own range."""
    gamma: Weight = 0.5
    """The exponent lies in exp(-+ this)."""
    noise_chance: Share = 0.0
    """Chance, per patch, of Gaussian noise."""
    noise: Weight = 0.2
    """Largest standard deviation of the noise."""
    blur_chance: Share = 0.0
    """Chance, per patch, of a Gaussian blur."""
    blur: Annotated[tuple[float, float], Range(least=0)] = (0.5, 1.0)
    """Range of the blur's standard deviation, in voxels of the finest axis."""
    low_resolution_chance: Share = 0.0
    """Chance, per patch, of simulated coarse voxels."""
    low_resolution: Annotated[float, Range(least=1)] = 2.0
    """How many times as long these are at most."""

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

    Examples:
        >>> fine_axes((64, 64, 48), (1.0, 1.0, 5.0))  # slices five pixels thick
        (0, 1)
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

    Examples:
        >>> check_augment(AugmentConfig(mirror=(2,)), (16, 16, 1), (1.0, 1.0, 5.0))
        Traceback (most recent call last):
            ...
        simcvd.types.SimcvdError: augment.mirror is (2,), but a patch of 16 x 16 x 1 voxels of ...
    """
    axes = fine_axes(patch, spacing)
    place = f"a patch of {by(patch)} voxels of {by(spacing)} mm"
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
