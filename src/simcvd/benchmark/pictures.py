"""`simcvd benchmark --figure`: the same scans by every row, out of their runs' folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simcvd.benchmark.alike import check_alike
from simcvd.benchmark.results import RunResult
from simcvd.data.cache import Cache
from simcvd.experiments import Row
from simcvd.files import replace_into
from simcvd.formats import read_label
from simcvd.report.gallery import Shown, gallery
from simcvd.scoring.record import Split, scores_folder
from simcvd.types import SimcvdError

SHARES = (0.0, 0.5, 1.0)  # of the scans in order of the control's Dice: hardest, middle, easiest


def draw_scans(
    cache: Cache,
    control: str,
    rows: Sequence[Row],
    results: Sequence[RunResult],
    path: Path,
    split: Split,
) -> list[Path]:
    """One picture for each number of labels, ``PATH-N.png``; what was written.

    A row is shown by its training of the lowest seed. The scans are the control's hardest, middle
    and easiest, by its mean over seeds; of the first row there is where the control was not run.
    Raises SimcvdError for runs on other data than the cache's, or that were not scored alike, and
    for predictions that are gone.
    """
    order = {row.id: row.title for row in rows}
    written = []
    for labeled in sorted({result.labeled for result in results if result.row in order}):
        used = [r for r in results if r.row in order and r.labeled == labeled]
        check_alike(used)
        known = [row for row in order if any(r.row == row for r in used)]
        base = [r for r in used if r.row == (control if control in known else known[0])]
        of_row = {row: [r for r in used if r.row == row] for row in known}
        lowest = {row: min(own, key=lambda r: r.seed) for row, own in of_row.items()}
        shown = [_shown(cache, lowest, order, name, split) for name in _chosen(base)]
        figure = gallery(shown, [order[row] for row in known])
        target = path.with_name(f"{path.name}-{labeled}.png")
        with replace_into(target) as temporary:
            figure.savefig(temporary, format="png")
        written.append(target)
    return written


def _chosen(control: Sequence[RunResult]) -> list[str]:
    """Scans at `SHARES` of their order by the control's Dice; what it missed counts as 0."""
    tables = [np.nan_to_num(result.values["dice"]).mean(1) for result in control]
    order = np.argsort(np.mean(tables, axis=0), kind="stable")
    places = dict.fromkeys(round(share * (len(order) - 1)) for share in SHARES)
    return [control[0].cases[order[place]] for place in places]


def _shown(
    cache: Cache, runs: dict[str, RunResult], titles: dict[str, str], name: str, split: Split
) -> Shown:
    case = cache.case(name)
    values = sorted(cache.manifest.label_values.values())
    predictions, dice = {}, {}
    for row, result in runs.items():
        if result.conditions["data"] != cache.manifest.data_hash:
            raise SimcvdError(
                f"{result.folder} was trained on other data than {cache.root} holds; give the "
                "cache that the benchmark ran on, or prepare it again"
            )
        path = scores_folder(result.folder, split) / "predictions" / f"{name}.nii.gz"
        if not path.exists():
            raise SimcvdError(
                f"{path} is missing, so {name} cannot be drawn; score the run again: "
                f"simcvd evaluate {result.folder}" + (f" --split {split}" * (split != "test"))
            )
        predictions[titles[row]] = np.searchsorted(values, read_label(path).array)
        scores = result.values["dice"][result.cases.index(name)]
        dice[titles[row]] = 100 * float(np.nan_to_num(scores).mean())
    return Shown(
        name=name,
        image=np.asarray(case.image[0], np.float32),
        reference=np.asarray(case.label),
        spacing=case.info.spacing,
        predictions=predictions,
        dice=dice,
    )
