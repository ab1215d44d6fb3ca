"""The scans of a report: what is to be drawn of each, and the numbers beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from simcvd.data.cache import Cache
from simcvd.data.crop import stored_like
from simcvd.data.preprocess import canonical
from simcvd.data.reading import label_on_scan, read_case_label, read_channels
from simcvd.data.record import Manifest
from simcvd.escape import cell
from simcvd.formats import read_label, spacing_of
from simcvd.inference.table import MILLILITRES, PIECES, read_table
from simcvd.layouts.records import SourceCase
from simcvd.naming import inside
from simcvd.report.results import Result, case_dice
from simcvd.report.sprites import Picture, Sprites, draw
from simcvd.types import SimcvdError
from simcvd.workers.processes import in_parallel

LABEL, SEGMENTATION = "label", "segmentation"


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One scan on the page.

    what: how it stands to the trainings, in words. read: what is drawn of it. facts: (what,
    number) as they stand beside it. flags: what is unusual. rank: the lowest comes first.
    """

    name: str
    what: str
    read: Callable[[], Picture]
    facts: tuple[tuple[str, str], ...] = ()
    flags: str = ""
    rank: float = math.inf


def held_out(cache: Cache, results: Sequence[Result], what: str) -> list[Scan]:
    """The scans that all of the results were scored on, in order of the first one's Dice."""
    dice = {
        result.name: dict(zip(result.cases, case_dice(result), strict=True)) for result in results
    }
    folders = {result.name: result.predictions for result in results}
    return [
        Scan(
            name=name,
            what=what,
            read=partial(_held_out, cache.root, name, folders),
            facts=tuple((f"Dice, {arm}", _percent(found[name])) for arm, found in dice.items()),
            rank=float(np.nan_to_num(dice[results[0].name][name], nan=-1)),
        )
        for name in results[0].cases
    ]


def segmented(
    cases: Mapping[Path, SourceCase], manifest: Manifest, what: Callable[[SourceCase], str]
) -> list[Scan]:
    """Scans by the files of their segmentations."""
    return [
        Scan(name=case.name, what=what(case), read=partial(_segmented, case, target, manifest))
        for target, case in cases.items()
    ]


def with_numbers(scans: Sequence[Scan], table: Path) -> list[Scan]:
    """The scans with what a predictions.csv says of them, the least confident first."""
    _, lines = read_table(table)
    by_name = {line["case"]: line for line in lines}
    return [_numbered(scan, by_name.get(str(cell(scan.name)))) for scan in scans]


def _numbered(scan: Scan, line: dict[str, str] | None) -> Scan:
    if line is None:
        return scan
    ours = [n for n in line if n == "confidence" or n.endswith((MILLILITRES, PIECES))]
    facts = tuple((name, line[name]) for name in ours if line[name])
    confidence = line["confidence"]
    # No confidence: nothing was found in the scan, and that is worse than any.
    rank = float(confidence) if confidence else -1.0
    return replace(scan, facts=(*scan.facts, *facts), flags=line.get("flags", ""), rank=rank)


def draw_all(scans: Sequence[Scan], jobs: int | None) -> list[tuple[Scan, Sprites | str]]:
    """Worst first, each with its pictures, or why it cannot be shown."""
    drawn = dict(in_parallel(_drawn, list(enumerate(scans)), jobs, "drawing", len(scans) < 20))
    places = sorted(drawn, key=lambda place: (scans[place].rank, scans[place].name))
    return [(scans[place], drawn[place]) for place in places]


def _drawn(item: tuple[int, Scan]) -> tuple[int, Sprites | str]:
    place, scan = item
    try:
        return place, draw(scan.read())
    except (SimcvdError, OSError, MemoryError) as error:
        return place, f"{error or type(error).__name__}"


def _held_out(root: Path, name: str, folders: Mapping[str, Path]) -> Picture:
    """A prepared scan, its label, and what each arm made of it."""
    cache = Cache(root)
    case, values = cache.case(name), cache.manifest.label_values
    maps = {
        arm: indices_of(read_label(inside(folder, name, ".nii.gz")).array, values)
        for arm, folder in folders.items()
    }
    x, y, z = case.info.spacing
    label = np.asarray(case.label)
    maps = {LABEL: label, **maps}
    return Picture(image=case.image[0], maps=maps, spacing=(x, y, z), dotted=(LABEL,))


def _segmented(case: SourceCase, target: Path, manifest: Manifest) -> Picture:
    """A scan's first channel as its files have it, its segmentation and its label, if any."""
    scan = read_channels(case.images, len(manifest.channel_names))
    grid = replace(scan, array=scan.array[0])
    maps = {SEGMENTATION: label_on_scan(replace(case, label=target), grid, read_label(target))}
    if case.label is not None:
        maps[LABEL] = label_on_scan(case, grid, read_case_label(case))
    turned = {layer: canonical(stored_like(one, grid)).array for layer, one in maps.items()}
    x, y, z = spacing_of(canonical(grid).affine)
    return Picture(
        image=canonical(grid).array,
        maps={layer: indices_of(one, manifest.label_values) for layer, one in turned.items()},
        spacing=(x, y, z),
        dotted=(LABEL,),
    )


def indices_of(values: np.ndarray, label_values: Mapping[int, int]) -> np.ndarray:
    """Class indices of the label values of the user's files."""
    indices = np.zeros(values.shape, dtype=np.uint8)
    for index, value in label_values.items():
        indices[values == value] = index
    return indices


def _percent(dice: float) -> str:
    return f"{dice:.1f} %" if math.isfinite(dice) else "undefined"
