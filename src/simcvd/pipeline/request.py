"""What `simcvd run` is asked for, and what its folder says of that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcvd.files import stats_of
from simcvd.inference.model import WORK_RECORD
from simcvd.layouts.lists import visible
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import Source
from simcvd.layouts.tree import walk
from simcvd.layouts.words import names_labels
from simcvd.methods.registry import find
from simcvd.pipeline.presets import PRESETS, QUICK, Preset, PresetName
from simcvd.records import Kind, as_json, younger
from simcvd.training.settings import differences as changes
from simcvd.types import SimcvdError
from simcvd.wording import few
from simcvd.workers.processes import processes_of

METHOD = "cutmix"
NOT_SAID = ""
OWN = ("plan.toml", "labels")  # what may lie in a folder before the first run


@dataclass(frozen=True, kw_only=True)
class Asked:
    """``run.json``: what holds for all rounds in a folder, by the names of `simcvd run`.

    The defaults are what earlier versions did, which did not say it.
    """

    images: str
    labels: str | None
    preset: str
    method: str = "simcvd"
    resample_labels: bool = False
    names: str | None = None
    patient_pattern: str | None = younger(NOT_SAID)

    def reading(self) -> dict[str, Any]:
        """How `recognise` and `prepare` are to read the folders."""
        return {
            "resample_labels": self.resample_labels,
            "names": self.names,
            "patient": self.patient_pattern or None,
        }


ASKED = Kind(
    name="a record of `simcvd run`",
    record=Asked,
    advice="Put the file back as it was, or give another --out.",
    whole=False,
)


def asked_in(work: Path) -> Asked:
    """The record in a folder of `simcvd run`; raises SimcvdError for any other folder."""
    path = work / WORK_RECORD
    if not path.is_file():
        raise SimcvdError(
            f"{work}: holds no {WORK_RECORD}, so `simcvd run` did not make it. Give the folder "
            "that was its --out."
        )
    return ASKED.load(path)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for. labels: None where the layout of ``images`` has them.

    names, patient: as `prepare` takes them. fresh: a new round starts from fresh weights.
    hours: that all is to take, as far as steps of training decide it.
    by_patient: whether the first round's folds keep patients apart; those of a folder that an
    earlier version began do not.
    """

    images: Path
    labels: Path | None
    work: Path
    preset: Preset
    method: str = METHOD
    resample_labels: bool = False
    names: str | None = None
    patient: str | None = None
    workers: str | int | None = None
    fresh: bool = False
    hours: float | None = None
    by_patient: bool = True

    @classmethod
    def of(
        cls,
        work: Path | str,
        *,
        images: Path | str | None = None,
        labels: Path | str | None = None,
        preset: PresetName | None = None,
        method: str | None = None,
        resample_labels: bool = False,
        names: str | None = None,
        patient_pattern: str | None = None,
        workers: str | int | None = None,
        fresh: bool = False,
        hours: float | None = None,
    ) -> Request:
        """What is given, and what is not, as the folder was begun.

        Raises SimcvdError for an unknown preset or method, for a method without unlabelled scans,
        and without images where nothing was begun.
        """
        given = {
            "images": images and str(images),
            "labels": labels and str(labels),
            "preset": preset,
            "method": method,
            "resample_labels": resample_labels or None,
            "names": names,
            "patient_pattern": patient_pattern,
        }
        path = Path(work) / WORK_RECORD
        begun = as_json(ASKED.load(path)) if path.exists() else {}
        asked = {**begun, **{name: value for name, value in given.items() if value is not None}}
        learns, size = asked.get("method", METHOD), asked.get("preset", QUICK.name)
        if not asked.get("images"):
            raise SimcvdError(f"{work} holds no run to resume; name the scans with --images")
        if not find(learns).uses_unlabeled:
            raise SimcvdError(f"{learns} is the control; give a method that uses unlabelled scans")
        if size not in PRESETS:
            raise SimcvdError(f"there is no preset {size!r}; choose {', '.join(PRESETS)}")
        return cls(
            images=Path(asked["images"]),
            labels=Path(asked["labels"]) if asked.get("labels") else None,
            work=Path(work),
            preset=PRESETS[size],
            method=learns,
            resample_labels=bool(asked.get("resample_labels")),
            names=asked.get("names"),
            patient=asked.get("patient_pattern"),
            workers=workers,
            fresh=fresh,
            hours=hours,
            by_patient=not begun or "patient_pattern" in begun,
        )

    @property
    def jobs(self) -> int | None:
        """Processes on this machine; None for the default, and on a cluster."""
        return processes_of(self.workers)

    @property
    def drawn(self) -> Path:
        """Where labels lie that were drawn in review; they win over those of ``labels``."""
        return self.work / "labels"

    @property
    def folders(self) -> list[Path]:
        """Where scans and labels lie."""
        return [self.images, *([self.labels] if self.labels else [])]

    def recognised(self) -> Source:
        """The data set as it is now."""
        return recognise(self.images, self.labels, **self.reading())

    def reading(self) -> dict[str, Any]:
        """As of `Asked`, with the labels that were drawn since."""
        return {**self.record().reading(), "drawn": self.drawn}

    def record(self) -> Asked:
        """What holds for all rounds in the folder."""
        # A folder that an earlier version began goes on without, and so with its folds by count.
        known = self.by_patient or self.patient is not None
        return Asked(
            images=str(self.images.resolve()),
            labels=str(self.labels.resolve()) if self.labels else None,
            preset=self.preset.name,
            method=self.method,
            resample_labels=self.resample_labels,
            names=self.names,
            patient_pattern=self.patient if known else NOT_SAID,
        )

    def files(self) -> str:
        """Changes when any file in the folders is touched, swapped or renamed."""
        folders = [*self.folders, self.drawn]
        trees = [walk(folder, apart_from=[self.work], own=True) for folder in folders]
        return stats_of(sorted(path for tree in trees for path in tree.files))

    def refuse_folder(self) -> None:
        """Refuse a folder that was begun with something else, or holds something else."""
        place = next(p for p in (self.work, *self.work.absolute().parents) if p.exists())
        if not place.is_dir():
            raise SimcvdError(f"{self.work}: {place} is a file; give --out a folder of its own")
        within = next((f for f in self.folders if _below(self.work, f)), None)
        if within and _says_data(self.work.name):
            raise SimcvdError(
                f"{self.work} lies in {within} and is called like a folder of scans or labels, for "
                "which it would be taken; give an --out of another name, or elsewhere"
            )
        path = self.work / WORK_RECORD
        if path.exists():
            if changed := changes(as_json(ASKED.load(path)), as_json(self.record())):
                raise SimcvdError(
                    f"{self.work} was begun with something else:\n  "
                    + "\n  ".join(changed)
                    + f"\nTo resume it, `simcvd run --out {self.work}` is enough; for "
                    "something else give another --out"
                )
            return
        there = visible(self.work.iterdir()) if self.work.is_dir() else []
        mine = OWN[:1] if within else OWN  # labels there would be among those of the data
        if others := [path.name for path in there if path.name not in mine]:
            raise SimcvdError(
                f"{self.work} holds other files ({few(others)}) and no run; give another --out"
            )


def _below(work: Path, folder: Path) -> bool:
    return work.resolve().is_relative_to(folder.resolve())


def _says_data(name: str) -> bool:
    return names_labels(name) or name.lower() == "images"
