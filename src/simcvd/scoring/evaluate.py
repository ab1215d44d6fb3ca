"""Scores of two label maps, in memory or in files, and of two folders of them.

Neither torch nor anything else that is slow to import is needed for arrays and NIfTI files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from simcvd.data.preprocess import canonical
from simcvd.data.reading import grid_difference
from simcvd.formats import read_label, spacing_of, stem_of
from simcvd.layouts.lists import doubled, scans
from simcvd.scoring.record import Report
from simcvd.scoring.scores import Score, absent_score, score_case
from simcvd.types import SimcvdError, Triple, Volume
from simcvd.wording import few
from simcvd.workers.processes import in_parallel


def evaluate(
    prediction: np.ndarray | Path | str,
    reference: np.ndarray | Path | str,
    *,
    spacing: Triple | None = None,
    class_names: Mapping[int, str] | None = None,
) -> list[Score]:
    """Every metric of every foreground class: of two label maps or of two folders of them.

    prediction, reference: arrays ``[X, Y, Z]`` of integers, files, or folders in which files of
    one name belong together. spacing: of arrays, in mm; files have their own. class_names: label
    value -> name; by default every value found but 0. `summarise` makes means of the scores.
    Raises SimcvdError for maps of different shape or geometry, and as the readers do.

    Examples:
        Two voxels predicted, of which the reference has the first; the other is a slice of 2 mm
        off, so that their distances to the reference are 0 and 2 mm.

        >>> prediction, reference = np.array([[[1, 1, 0]]]), np.array([[[1, 0, 0]]])
        >>> (score,) = evaluate(prediction, reference, spacing=(1.0, 1.0, 2.0))
        >>> score.name, round(score.values["dice"], 3)
        ('label 1', 0.667)
        >>> score.values["asd_prediction_to_reference_mm"]
        1.0
    """
    if isinstance(prediction, Path | str) and isinstance(reference, Path | str):
        if spacing is not None:
            raise SimcvdError("spacing is for arrays; files have their own, leave it out")
        if Path(prediction).is_dir():
            report = evaluate_folders(prediction, reference, class_names=class_names, quiet=True)
            return list(report.scores)
        return score_files(Path(prediction), Path(reference), class_names=class_names)
    if isinstance(prediction, Path | str) or isinstance(reference, Path | str):
        raise SimcvdError("one is an array and the other a path; give two arrays or two paths")
    if spacing is None:
        raise SimcvdError("arrays have no voxel size; give spacing=(x, y, z) in mm")
    found, wanted = label_map(prediction, "the prediction"), label_map(reference, "the reference")
    return score_case(found, wanted, class_names or classes_of(found, wanted), spacing)


def evaluate_folders(
    predictions: Path | str,
    references: Path | str,
    *,
    class_names: Mapping[int, str] | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> Report:
    """Score every label map that has the same name, its ending apart, in both folders.

    NIfTI, NRRD and MHA in any mixture. class_names: label value -> name; by default every value
    found in any file, 0 apart. Names in one folder only are not scored but reported in the notes.
    Raises SimcvdError for no common name, two files of one name, an unreadable file, a pair of
    different geometry, of which it prints both, and label maps that are all background.
    """
    found, wanted = _by_name(Path(predictions)), _by_name(Path(references))
    common = sorted(found.keys() & wanted.keys())
    if not common:
        raise SimcvdError(
            f"No file in {predictions} ({few(sorted(found))}) has the name of one in {references} "
            f"({few(sorted(wanted))}). Name each prediction as its reference."
        )
    pairs = [(name, found[name], wanted[name], class_names) for name in common]
    scored = list(in_parallel(_score_pair, pairs, jobs, "Scoring", quiet))
    if not any(scored):
        raise SimcvdError(
            f"All {len(common)} pairs of {predictions} and {references} hold nothing but "
            "background, label 0: there is nothing to score. Look at the label maps."
        )
    notes = (
        *_unmatched("predictions without a reference", found.keys() - wanted.keys()),
        *_unmatched("references without a prediction", wanted.keys() - found.keys()),
    )
    info = {"predictions": str(predictions), "references": str(references)}
    return Report(scores=_with_absent(scored), notes=notes, info=info)


def score_files(
    prediction: Path,
    reference: Path,
    *,
    class_names: Mapping[int, str] | None = None,
    case: str = "",
) -> list[Score]:
    """Scores of one pair of label maps; without class names, of the classes found in either.

    Raises SimcvdError for an unreadable file and for two grids, of which it prints both.
    """
    found, wanted = canonical(read_label(prediction)), canonical(read_label(reference))
    _check_geometry(prediction, found, reference, wanted)
    names = class_names or classes_of(found.array, wanted.array)
    return score_case(found.array, wanted.array, names, spacing_of(wanted.affine), case)


def classes_of(prediction: np.ndarray, reference: np.ndarray) -> dict[int, str]:
    """Every value found in either label map, 0 apart, with a name."""
    values = np.union1d(np.unique(prediction), np.unique(reference))
    return {int(value): f"label {value}" for value in values if value != 0}


def label_map(array: np.ndarray, name: str) -> np.ndarray:
    """``[X, Y, Z]`` int32. Raises SimcvdError, which calls it by its name, for anything else."""
    array = np.asarray(array)
    if array.ndim != 3 or not np.array_equal(array, np.rint(array)):
        raise SimcvdError(f"{name}: a label map is [X, Y, Z] of whole numbers, not {array.shape}")
    return array.astype(np.int32)


def _by_name(folder: Path) -> dict[str, Path]:
    files = scans(folder)
    if not files:
        raise SimcvdError(f"{folder}: holds no label map. Give a folder of NIfTI, NRRD or MHA.")
    if problems := doubled(files):
        raise SimcvdError(" ".join(problems))
    return {stem_of(path): path for path in files}


def _score_pair(pair: tuple[str, Path, Path, Mapping[int, str] | None]) -> list[Score]:
    name, predicted, wanted, class_names = pair
    return score_files(predicted, wanted, class_names=class_names, case=name)


def _check_geometry(predicted: Path, prediction: Volume, wanted: Path, reference: Volume) -> None:
    """Refuse grids that do not cover the same voxels of the world, in whatever axis order."""
    if found := grid_difference(prediction, reference, ("prediction", "reference")):
        raise SimcvdError(
            f"{predicted} and its reference {wanted} lie on different grids. {found} "
            "Resample the prediction to the reference."
        )


def _with_absent(scored: Sequence[Sequence[Score]]) -> list[Score]:
    """All scores by case and class; a class that other cases have is absent, not overlooked."""
    classes = sorted({(score.label, score.name) for case in scored for score in case})
    table = {(score.case, score.label): score for case in scored for score in case}
    names = sorted({score.case for case in scored for score in case})
    return [
        table.get((case, label)) or absent_score(case, label, name)
        for case in names
        for label, name in classes
    ]


def _unmatched(what: str, names: set[str]) -> tuple[str, ...]:
    return (f"Not scored: {len(names)} {what}: {few(sorted(names))}.",) if names else ()
