"""Rounds: scans or labels came, went or changed, and the work in a folder begins again.

::

    WORK/round.json            number of the round, and of the one whose weights it starts from
    WORK/rounds/1/             the first round's result, moved there whole
    WORK/rounds/closing.json   only while a result is being moved: what ``round.json`` will be
    WORK/labels/               labels drawn in review; no command of this package removes any

In every fold a round's trainings start from the control of that fold in the round before, and a
scan is never held out from weights that descend from its label: scans stay in their folds. The
control has seen no unlabelled scan, so the question whether these help starts anew each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simcvd.data.cache import Cache, read_case
from simcvd.data.cases import source_records
from simcvd.data.record import SourceFile
from simcvd.files import LOCK, copy, move, read_object, write_json
from simcvd.inference.model import DESCRIPTION, WORK_RECORD
from simcvd.inference.results import corrected
from simcvd.layouts.patients import ALWAYS, folds_by_patient
from simcvd.layouts.records import Source
from simcvd.locks import locked
from simcvd.naming import checked
from simcvd.pipeline.compare import MEAN
from simcvd.pipeline.presets import Folds
from simcvd.planning import Plan
from simcvd.report.html import PAGE
from simcvd.report.pictures import FOLDER
from simcvd.scoring.record import is_scored
from simcvd.training.loop import BASE, LOCK_SECONDS
from simcvd.training.run import CONTROL, folds_in, read_config
from simcvd.types import SimcvdError
from simcvd.wording import counted, few

ROUND, ROUNDS, CLOSING = "round.json", "rounds", "closing.json"
NEXT = "next"  # what `simcvd next` found with the round's models
# Of a round alone, besides the folders of the arms; the rest is of all rounds.
RESULT = (
    *("check.json", BASE, CONTROL, MEAN, PAGE, FOLDER, "final", "model", "predictions", NEXT),
)
COPIED = (WORK_RECORD, "plan.toml", ROUND, "cache/manifest.json")
MOST_ROUNDS = 10_000
RESTORE = "Put the file back as it was, or start `simcvd run` in another folder."
# How many times shorter trainings are that start from trained weights, which reach what they had
# learnt in a sixth of the steps (docs/recipes.md).
SHORTER = {"base": 4, "iterations": 3, "control_iterations": 3}


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a folder. start: the round whose weights it begins with, None for fresh ones."""

    work: Path
    number: int = 1
    start: int | None = None

    def folder(self, number: int) -> Path:
        """Where the result of a round lies: this one's in ``work``, a former one's apart."""
        moved = self.work / ROUNDS / str(number)
        return moved if moved.is_dir() or number < self.number - 1 else self.work

    @property
    def former(self) -> Path | None:
        """The result that this round starts from."""
        return None if self.start is None else self.folder(self.start)

    def planned(self, plan: Plan) -> Plan:
        """The plan as this round follows it."""
        if self.start is None:
            return plan
        steps: dict[str, Any] = {name: -(-getattr(plan, name) // n) for name, n in SHORTER.items()}
        return replace(plan, **steps)

    def folds(self, source: Source, fresh: Folds) -> tuple[Round, Folds]:
        """The folds that the round it starts from prescribes, else the ``fresh`` ones.

        Where too few scans are left in a fold, all start from fresh weights in new folds.
        """
        lineage = list(self._lineage())
        if not lineage:
            return self, fresh
        try:
            count = len(folds_in(lineage[0] / CONTROL))
            return self, Folds.of(folds_by_patient(source, count, _dealt(lineage)))
        except SimcvdError:
            return replace(self, start=None), fresh

    def _lineage(self) -> Iterator[Path]:
        """The results that the weights of this round descend from, the last one first."""
        start = self.start
        while start is not None:
            yield self.folder(start)
            _, start = _numbers(self.folder(start) / ROUND, before=start)

    def next(self, *, fresh: bool) -> Round:
        """The round after this one; it starts from the last that was finished."""
        numbers = [] if fresh else range(self.number, 0, -1)
        start = next((n for n in numbers if _finished(self.folder(n))), None)
        return Round(work=self.work, number=self.number + 1, start=start)


def current(work: Path) -> Round:
    """The round that a folder is in; the move of a former result that was cut short is ended."""
    if (work / ROUNDS / CLOSING).exists():
        with working(work):
            _move_result(work)
    number, start = _numbers(work / ROUND)
    return Round(work=work, number=number, start=start)


def working(work: Path) -> AbstractContextManager[None]:
    """Hold the folder alone; raises SimcvdError where another run works in it."""
    busy = f"{work}: another `simcvd run` works here; let it end, or give another --out."
    return locked(work / LOCK, busy)


def begin(following: Round) -> None:
    """Move the result in the folder below ``rounds/`` and begin the next round.

    Killed at any moment, `current` ends what was begun. What was corrected by hand in
    ``predictions`` stays there, too. Raises SimcvdError where another run began a round since this
    one looked at the folder: its result would take the place of the former one.
    """
    number, _ = _numbers(following.work / ROUND)
    if number != following.number - 1:
        raise SimcvdError(
            f"{following.work}: another `simcvd run` began round {number} meanwhile; re-run the "
            "same command to resume it"
        )
    record = {"number": following.number, "start": following.start}
    write_json(following.work / ROUNDS / CLOSING, record)
    _move_result(following.work)


def changes(work: Path, found: Source) -> list[str]:
    """How scans and labels differ from those that the round in ``work`` was trained on, in words.

    Nothing before the first training: until then scans may come and go. Files are compared by
    their contents, unless nobody touched them.
    """
    manifest = work / "cache" / "manifest.json"
    if not manifest.exists() or not any(work.glob("*/fold_*/config.json")):
        return []
    then = Cache(manifest.parent).manifest
    have = {name: entry.has_label for name, entry in then.cases.items()}
    names = [name for name in (*found.train, *found.test) if name in found.cases]
    now = {name: found.cases[name].label is not None for name in names}
    both = [name for name in now if name in have]
    same = [name for name in both if now[name] == have[name]]
    other = {name: _changed(manifest.parent / "cases" / name, found, name) for name in same}
    told = {
        "new scan": [name for name in now if name not in have],
        "removed scan": [name for name in have if name not in now],
        "new label": [name for name in both if now[name] and not have[name]],
        "removed label": [name for name in both if have[name] and not now[name]],
        "changed scan": [name for name in same if "images" in other[name]],
        "changed label": [name for name in same if other[name] == ["label"]],
        "regrouped scan": [n for n in both if (n in then.train) != (n in found.train)],
    }
    said = [f"{counted(len(n), what)}: {few(sorted(n))}" for what, n in told.items() if n]
    classes = {then.label_values[k]: name for k, name in then.class_names.items()}
    if found.labels is not None and found.labels != classes:
        said.append(f"other classes: {few(list(found.labels.values()))}")
    return said


def _changed(folder: Path, found: Source, name: str) -> list[str]:
    """Whether the images or the label of a scan have other contents than when it was prepared."""
    try:
        known = read_case(folder).sources
        now = source_records(found.cases[name], known)
    except (OSError, SimcvdError):
        return []  # a damaged cache is made again by preparing, which changes nothing
    pairs = {"images": (known.images, now.images), "label": ((known.label,), (now.label,))}
    return [part for part, (a, b) in pairs.items() if _hashes(a) != _hashes(b)]


def _hashes(files: Iterable[SourceFile | None]) -> list[str]:
    return [file.sha256 for file in files if file]


def _move_result(work: Path) -> None:
    closing = work / ROUNDS / CLOSING
    target = work / ROUNDS / str(_numbers(closing)[0] - 1)
    for name in COPIED:
        kept = target / Path(name).name
        if (work / name).exists() and not kept.exists():
            copy(work / name, kept)
    method = read_object(target / WORK_RECORD, RESTORE).get("method", "simcvd")
    names = (*RESULT, checked(method, f"{target / WORK_RECORD}: a method"))
    _let_end(work / name for name in names)
    for name in names:
        if (work / name).exists():
            move(work / name, target / name)
    for path in corrected(target / "predictions"):
        kept = work / "predictions" / path.name
        if not kept.exists():
            copy(path, kept)
    move(closing, work / ROUND)


def _let_end(folders: Iterable[Path]) -> None:
    """Wait for trainings below that a killed command left, which end after their step.

    They would write into the next round. Raises SimcvdError for one that does not end.
    """
    for folder in folders:
        for held in sorted(folder.rglob(f"{LOCK}*")):
            busy = f"{held.parent}: a training of the former round still works here; let it end."
            with locked(held.parent / LOCK, busy, wait=LOCK_SECONDS):
                pass


def _finished(folder: Path) -> bool:
    return is_scored(folder / CONTROL) and (folder / "model" / DESCRIPTION).exists()


def _dealt(lineage: list[Path]) -> dict[str, int]:
    """The fold that each scan was held out in; `ALWAYS` for one that all trainings have seen."""
    held: dict[str, int] = {}
    seen: dict[str, int] = {}
    for folder in lineage:
        for fold, path in enumerate(folds_in(folder / CONTROL)):
            run = read_config(path)["run"]
            held = dict.fromkeys(run["holdout"], fold) | held
            seen |= dict.fromkeys(run["labeled"], ALWAYS)
    return seen | held


def _numbers(path: Path, before: int | None = None) -> tuple[int, int | None]:
    """The number of a round and of the one it starts from, which is earlier; also than `before`.

    Raises SimcvdError for a record of anything else, which might have no end or lead anywhere.
    """
    record = read_object(path, RESTORE) if path.exists() else {}
    number, start = record.get("number", 1), record.get("start")
    latest = number if before is None else before
    known = type(number) is int and 1 <= number <= MOST_ROUNDS
    if known and (start is None or (type(start) is int and 1 <= start < latest)):
        return number, start
    raise SimcvdError(
        f"{path}: a round {number!r} that starts from round {start!r} is none. {RESTORE}"
    )
