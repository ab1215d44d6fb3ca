"""From the facts of all scans to a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from simcvd.checking.check import examine_all
from simcvd.checking.compare import small_objects
from simcvd.checking.facts import CaseFacts
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import Source
from simcvd.networks.build import architecture, networks
from simcvd.networks.vnet import VNetConfig
from simcvd.planning.geometry import MAX_VOXELS, fitted_patch, sizes_at, target_spacing
from simcvd.planning.intensity import crop_of, normalization_of
from simcvd.planning.memory import SHARE, free_bytes
from simcvd.planning.mirror import mirror_axes
from simcvd.planning.record import Plan
from simcvd.planning.shift import compare_labeled
from simcvd.training.recipes import STRONG
from simcvd.types import IntTriple, SimcvdError
from simcvd.wording import by, few

LONG = 3000  # iterations of a base, and of what follows it
SHOWN = 5  # errors named in one message


def make_plan(
    source: Path | str,
    labels: Path | str | None = None,
    *,
    resample_labels: bool = False,
    names: str | None = None,
    patient: str | None = None,
    network: str = VNetConfig.name,
    memory: int | None = None,
    jobs: int | None = None,
    quiet: bool = True,
) -> Plan:
    """Read every training scan of `source`, labelled or not, and plan from what they are.

    labels: folder of label maps when `source` is a plain folder of scans. resample_labels, names,
    patient: as `simcvd.prepare` takes them. network: name of an architecture. memory: bytes that
    training may take; None takes 70 % of what is free now, on the GPU if there is one. jobs:
    processes. Test scans are not looked at.
    Raises SimcvdError for scans that `simcvd.prepare` would refuse.
    """
    found = recognise(source, labels, resample_labels=resample_labels, names=names, patient=patient)
    train = {name: case for name, case in found.cases.items() if name in set(found.train)}
    found = replace(found, cases=train)
    return plan_from(found, examine_all(found, jobs, "planning", quiet), memory, network)


def plan_from(
    found: Source,
    facts: Sequence[CaseFacts],
    memory: int | None = None,
    network: str = VNetConfig.name,
) -> Plan:
    """The plan for a data set whose scans have been read already; see `make_plan`."""
    facts = [one for one in facts if one.case.name in set(found.train)]
    chosen = architecture(network)()
    _refuse_errors(found, facts)
    images = [one.image for one in facts if one.image]
    memory = int(SHARE * free_bytes()) if memory is None else memory
    spacings = np.array([image.spacing for image in images])
    spacing, why_spacing = target_spacing(spacings)
    normalization, window, why_normal, why_window = normalization_of(found, facts)
    crop, why_crop = crop_of(images)
    shapes = np.array([image.content if crop == "nonzero" else image.shape for image in images])
    size = sizes_at(shapes, spacings, spacing)
    channels, classes = len(images[0].percentiles), _classes(found, facts)
    places = [one.label.places for one in facts if one.label]
    values = sorted({value for scan in places for value in scan})
    names = {value: (found.labels or {}).get(value, f"class {value}") for value in values}
    mirroring = mirror_axes(names, places)

    def candidate(patch: IntTriple, strides: tuple[IntTriple, ...]) -> Plan:
        stages = len(strides) + 1
        return Plan(
            channels=channels,
            classes=classes,
            spacing=spacing,
            normalization=normalization,
            window=window,
            crop=crop,
            patch=patch,
            network=network,
            widths=chosen.widths[:stages],
            blocks=chosen.blocks[:stages],
            dropout=chosen.dropout,
            strides=strides,
            recipe=STRONG.name,
            batch=sum(STRONG.train.patches(uses_unlabeled=True)),
            labeled_batch=STRONG.train.labeled_batch,
            base=LONG,
            iterations=LONG,
            lr=STRONG.train.lr,
            augmentation="none",
            mirror=mirroring.axes,
        )

    patch, strides = fitted_patch(
        size, spacing, lambda p, s: candidate(p, s).memory_bytes <= memory
    )
    reasons = {
        "channels": "Images of a scan. Only the estimate of memory uses this.",
        "classes": "Background and the labels there are. Only the estimate of memory uses this.",
        "spacing": why_spacing,
        "normalization": why_normal,
        "window": why_window,
        "crop": why_crop,
        "patch": _why_patch(patch, size, memory),
        "strides": _why_strides(strides),
        "network": f"One of {', '.join(networks())}; docs/networks.md.",
        "widths": f"{len(strides) + 1} of the {len(chosen.widths)} stages that the "
        f"{chosen.title} has by default.",
        "blocks": "Convolutions a stage, or residual blocks, as there.",
        "recipe": 'docs/recipes.md; the other one is "paper".',
        "batch": "4 labelled patches, and 2 unlabelled ones beside them where a method takes them.",
        "base": "Supervised iterations, whose weights control and method go on from.",
        "lr": "The recipe's.",
        "dropout": "The default; a short training of a narrow network wants less.",
        "augmentation": "Scans as they lie, slightly turned and scaled; fixed adds quarter turns.",
        "mirror": mirroring.reason,
        "iterations": "The learning rate falls along half a cosine, in the base and again here.",
    }
    reasons = {name: why for name, why in reasons.items() if why}
    warnings = (*compare_labeled(facts), *_lost(found, facts, float(prod(spacing))))
    return replace(candidate(patch, strides), reasons=reasons, warnings=warnings)


def _lost(found: Source, facts: Sequence[CaseFacts], voxel: float) -> list[str]:
    """That labelled objects are too small for the plan's grid."""
    small = small_objects(facts, voxel)
    names = found.labels or {}
    each = [f"class '{names.get(v, v)}' in {f.case.name} ({mm3:.3g} mm3)" for f, v, mm3 in small]
    if not each:
        return []
    return [
        f"Objects smaller than half a voxel of this spacing ({voxel:.3g} mm3) are lost by "
        f"resampling: {few(each)}. A smaller spacing keeps them."
    ]


def _refuse_errors(found: Source, facts: Sequence[CaseFacts]) -> None:
    """What `prepare` would refuse is refused now: a plan made without it might be another."""
    wrong = list(found.problems)
    wrong += [f.message for one in facts for f in one.findings if f.severity == "error"]
    if not facts:
        wrong.append("there is no scan to train on")
    if wrong:
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        raise SimcvdError(
            f"{found.description}: to be fixed before planning; `simcvd check` lists everything\n  "
            + "\n  ".join([*wrong[:SHOWN], *more])
        )


def _classes(found: Source, facts: Sequence[CaseFacts]) -> int:
    """Declared classes, else the label values there are; two when nothing is labelled."""
    if found.labels:
        return len(found.labels)
    values = {0}.union(*(one.label.counts for one in facts if one.label))
    return max(2, len(values))


def _why_patch(patch: IntTriple, size: IntTriple, memory: int) -> str:
    shown = by(size)
    if all(p >= n for p, n in zip(patch, size, strict=True)):
        return f"Holds the whole median scan of {shown} voxels."
    return (
        f"Of the median scan of {shown} voxels, as near to a cube in mm as {MAX_VOXELS:,} voxels "
        f"(the paper's patch) and {memory / 2**30:.1f} GB allow."
    )


def _why_strides(strides: tuple[IntTriple, ...]) -> str:
    uneven = [stride for stride in strides if prod(stride) not in (1, 8)]
    if uneven:
        return "Coarse axes are halved later, once voxels are alike; none below 4 voxels."
    return "Every axis is halved while 4 voxels are left."
