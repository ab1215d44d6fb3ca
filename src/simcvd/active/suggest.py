"""`simcvd next`: which scans of a round to label next, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from simcvd.active.kept import Kept
from simcvd.active.looking import Seen, look
from simcvd.active.picking import STRATEGIES, TAKES, By, Needs, Pick, listed, needs_of, pick, usable
from simcvd.data.cache import Cache
from simcvd.escape import csv_text, one_line
from simcvd.files import LOCK, write_text
from simcvd.inference.average import load_members
from simcvd.inference.compute import Compute, pick_device
from simcvd.inference.model import Model
from simcvd.locks import locked
from simcvd.pipeline.request import Request, asked_in
from simcvd.types import DoneInPart, SimcvdError
from simcvd.wording import counted, few

TABLE = "next.csv"
WORDS = {
    "uncertainty": "unsure of it",
    "disagreement": "the folds differ",
    "distance": "unlike the labelled",
}
ABOUT = (
    "unsure: mean entropy in and around what was found, 0 to 1; folds: 1 minus Dice between the "
    "models of the folds; far: distance to the nearest labelled scan, 1 is the median."
)
TOLD = 0.25  # a reason is told where no more than this share of the scans needs it more


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A scan to label. reason: in words.

    uncertainty: mean entropy in and around what the model found, 0..1. disagreement: 1 minus Dice
    between the folds' models, None where there are no two. distance: to the nearest labelled scan
    in feature space, 1 being the median of the unlabelled scans; None for a network without.
    """

    name: str
    reason: str
    uncertainty: float
    disagreement: float | None
    distance: float | None


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What `suggest` found. choices: the most needed first. unlabeled: scans without a label.

    failed: why, of each scan that could not be read. table: a CSV of all unlabelled scans.
    """

    by: By
    choices: tuple[Choice, ...]
    unlabeled: int
    notes: tuple[str, ...] = ()
    failed: Mapping[str, str]
    table: Path

    def refuse_failed(self) -> None:
        """Raise DoneInPart, which names them, if scans could not be read."""
        if self.failed:
            raise DoneInPart(
                f"{counted(len(self.failed), 'scan')} could not be read; the others were compared"
                f"\n  {_told(self.failed)}"
            )


@dataclass(frozen=True, kw_only=True)
class Scans:
    """The training scans of a round by what is known of them now. new: not prepared yet."""

    cache: Cache
    unlabeled: tuple[str, ...]
    labeled: tuple[str, ...]
    new: tuple[str, ...]

    @classmethod
    def of(cls, work: Path) -> Scans:
        """Labels that came since the round count. Raises SimcvdError where the scans are gone."""
        source, cache = Request.of(work).recognised(), Cache(work / "cache")
        names = [name for name in source.train if name in source.cases]
        known = [name for name in names if name in cache.manifest.cases]
        have = {name for name in known if source.cases[name].label is not None}
        return cls(
            cache=cache,
            unlabeled=tuple(name for name in known if name not in have),
            labeled=tuple(name for name in known if name in have),
            new=tuple(name for name in names if name not in cache.manifest.cases),
        )


def suggest(
    work: Path | str, n: int = 5, by: By | None = None, *, console: Console | None = None
) -> Advice:
    """Which ``n`` unlabelled scans of the newest round in ``work`` to label next.

    by: one of `STRATEGIES`, by default as docs/next.md has it. What is found in a scan is kept in
    ``WORK/next`` until the models change, so that the same call goes on where it stopped, and is
    instant once it was through. console: shows a bar while scans are looked at.

    Raises SimcvdError for a folder that is none of `simcvd run`, in which one works or whose model
    is not finished; for ``by`` what is not known of this round; and if no scan could be read. A
    scan that cannot be read does not stop the others: see `Advice.failed`.
    """
    work = Path(work)
    _refuse(work, n, by)
    busy = f"{work}: `simcvd run` or `simcvd next` works here; let it end, then ask again."
    with locked(work / LOCK, busy):
        kept, scans = Kept.of(work), Scans.of(work)
        failed: dict[str, str] = {}
        seen = dict(_seen(scans, kept, failed, console)) if scans.unlabeled else {}
    if failed and not any(name in seen for name in scans.unlabeled):
        raise SimcvdError(
            f"{counted(len(failed), 'scan')} could not be read, so that there is none to choose "
            f"from\n  {_told(failed)}"
        )
    return _advice(scans, kept, seen, by, n, failed)


def _told(failed: Mapping[str, str]) -> str:
    return "\n  ".join(f"{name}: {why}" for name, why in failed.items())


def _refuse(work: Path, n: int, by: str | None) -> None:
    asked_in(work)
    if n < 1:
        raise SimcvdError(f"{n} scans were asked for; ask for 1 or more")
    if by not in (None, *STRATEGIES):
        raise SimcvdError(f"there is no strategy {by!r}; choose one of {', '.join(STRATEGIES)}")


def _seen(
    scans: Scans, kept: Kept, failed: dict[str, str], console: Console | None
) -> Iterator[tuple[str, Seen]]:
    """What is seen of each scan; models are loaded only where something is not known yet."""
    todo: list[tuple[str, bool]] = []
    for names, labeled in ((scans.unlabeled, False), (scans.labeled, True)):
        for name in names:
            scan = scans.cache.manifest.cases[name].hash
            if known := kept.get(name, labeled=labeled, scan=scan):
                yield name, known
            else:
                todo.append((name, labeled))
    if not todo:
        return
    compute = Compute(device=pick_device(), fast=True)
    model, *members = load_members([kept.model, *kept.members], device=compute.device)
    bar = track(todo, "looking", console=console, transient=True, disable=console is None)
    for name, labeled in bar:
        seen = _tried(scans.cache, name, compute, model, () if labeled else members)
        if isinstance(seen, str):
            failed[name] = seen
            continue
        kept.put(name, seen, labeled=labeled, scan=scans.cache.manifest.cases[name].hash)
        yield name, seen


def _tried(
    cache: Cache, name: str, compute: Compute, model: Model, members: Sequence[Model]
) -> Seen | str:
    """What is seen of a scan, or why it could not be read."""
    try:
        return look(model, cache.case(name).image, compute, members)
    except SimcvdError as error:
        return str(error)
    except Exception as error:  # nothing in one scan, foreseen or not, may stop the others
        return f"{type(error).__name__}: {error}"


def _advice(
    scans: Scans,
    kept: Kept,
    seen: Mapping[str, Seen],
    asked: By | None,
    n: int,
    failed: Mapping[str, str],
) -> Advice:
    names = [name for name in scans.unlabeled if name in seen]
    there, here = ([seen[m] for m in k if m in seen] for k in (names, scans.labeled))
    needs = needs_of(there, here)
    by = asked or usable(needs)
    picks = pick(there, here, by, n)
    told = {p.index: _reason(p, there) for p in picks}
    rows = [_choice(names[i], told.get(i, ""), needs, i) for i in listed(needs, picks, by)]
    table = kept.folder / TABLE
    write_text(table, _csv(rows, len(picks)))
    return Advice(
        by=by,
        choices=tuple(rows[: len(picks)]),
        unlabeled=len(scans.unlabeled),
        notes=_notes(scans.new, needs, by),
        failed=failed,
        table=table,
    )


def _choice(name: str, reason: str, needs: Needs, i: int) -> Choice:
    return Choice(
        name=name,
        reason=reason,
        uncertainty=float(needs.uncertainty[i]),
        disagreement=None if needs.disagreement is None else float(needs.disagreement[i]),
        distance=None if needs.distance is None else _by_median(needs.distance, i),
    )


def _by_median(values: np.ndarray, i: int) -> float:
    """A value as a multiple of the median, as it is where that is no unit."""
    usual = float(np.median(values))
    return float(values[i]) / (usual if 0 < usual < np.inf else 1.0)


def _reason(picked: Pick, unlabeled: Sequence[Seen]) -> str:
    """What speaks for a scan more than for most others, else what speaks for it most."""
    words = dict(WORDS)
    if not unlabeled[picked.index].found:
        words["uncertainty"] = "nothing was found in it"
    count, places = len(unlabeled), sorted(picked.places.items(), key=lambda item: item[1])
    told = [item for item in places if item[1] <= TOLD * count] or places[:1]
    return ", ".join(f"{words[name]} ({place} of {count})" for name, place in told)


def _csv(rows: Sequence[Choice], picked: int) -> str:
    head = ("case", "place", "reason", "uncertainty", "disagreement", "distance")
    cells = [
        (
            one.name,
            place if place <= picked else "",
            one.reason,
            *(_number(v) for v in (one.uncertainty, one.disagreement, one.distance)),
        )
        for place, one in enumerate(rows, start=1)
    ]
    return csv_text([head, *cells])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _notes(new: Sequence[str], needs: Needs, by: By) -> tuple[str, ...]:
    notes = []
    if new:
        notes.append(
            f"{counted(len(new), 'new scan')} not prepared yet and not compared: {few(new)}; "
            "`simcvd run` prepares them"
        )
    rest = "; the mix goes without" if by == "mix" else ""
    unknown = [name for name in TAKES if name not in needs.known]
    notes += [f"no {name}: it takes {TAKES[name]}{rest}" for name in unknown]
    return tuple(notes)


def show(advice: Advice, work: Path, console: Console) -> None:
    """The choices as a table, what its numbers are, and what to do then."""
    for note in advice.notes:
        console.print(f"note: {one_line(note)}", markup=False)
    if not advice.choices:
        console.print("Every scan has a label; there is none to label next.")
        return
    table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("scan", "why"):
        table.add_column(name, overflow="fold")
    for name in ("unsure", "folds", "far"):
        table.add_column(name, justify="right", no_wrap=True)
    for place, one in enumerate(advice.choices, start=1):
        numbers = (one.uncertainty, one.disagreement, one.distance)
        cells = [str(place), one_line(one.name), one.reason, *map(_short, numbers)]
        table.add_row(*map(Text, cells))
    console.print(table)
    console.print(ABOUT, highlight=False)
    console.print(
        f"All {counted(advice.unlabeled, 'unlabelled scan')}: {advice.table}\n"
        f"then: simcvd review {work}, and simcvd run --out {work}",
        markup=False,
        soft_wrap=True,
    )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
