"""The prepared data set on disk: a manifest, and one folder of memory-mapped arrays a case.

::

    CACHE/manifest.json               what `Manifest` holds; written last
    CACHE/cases/<name>/image.npy      [C, X, Y, Z] float16
    CACHE/cases/<name>/label.npy      [X, Y, Z] uint8, only of labelled scans
    CACHE/cases/<name>/distance.npy   [F, X, Y, Z] float16, only of labelled scans
    CACHE/cases/<name>/case.json      sources and their hashes, geometry, recipe, checksums

Whatever changes on the disk afterwards is noticed when it is read: case.json is sealed, each array
has a checksum in it, and the manifest is held against its ``data_hash``. A cache of before there
were checksums is read without them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.data.record import CASE, MANIFEST, CaseRecord, Manifest
from simcvd.files import checksum, stat_of
from simcvd.naming import inside
from simcvd.types import IntTriple, SimcvdError, Triple

_VERIFIED: dict[tuple[str, int, int, int, int], str] = {}


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """What a task is made of: channels C, classes K, their names, spacing in mm."""

    channels: int
    classes: int
    class_names: dict[int, str]
    spacing: Triple


@dataclass(frozen=True)
class Case:
    """One prepared scan. An array is opened when its property is read, and not before.

    info: what it was made of, and where it lay there.
    """

    name: str
    folder: Path
    info: CaseRecord = field(compare=False, repr=False)

    @property
    def has_label(self) -> bool:
        """Whether it was prepared with one."""
        return self.info.sources.label is not None

    @property
    def shape(self) -> IntTriple:
        """Voxels along each axis."""
        return self.info.shape

    @property
    def image(self) -> np.memmap[Any, Any]:
        """``[C, X, Y, Z]`` float16, memory-mapped. Raises SimcvdError if it is not as prepared."""
        return self._opened("image.npy")

    @property
    def label(self) -> np.memmap[Any, Any]:
        """``[X, Y, Z]`` uint8, memory-mapped. Raises SimcvdError for an unlabelled scan."""
        self._need_label()
        return self._opened("label.npy")

    @property
    def distance(self) -> np.memmap[Any, Any]:
        """``[F, X, Y, Z]`` float16 signed distance maps. Raises SimcvdError without a label."""
        self._need_label()
        return self._opened("distance.npy")

    def _opened(self, name: str) -> np.memmap[Any, Any]:
        array = _mapped(self.folder / name, (self.info.checksums or {}).get(name))
        if array.shape[-3:] != self.shape:
            raise SimcvdError(
                f"{self.folder / name}: has {array.shape[-3:]} voxels, and {self.shape} when it "
                "was prepared. Run `simcvd prepare` again."
            )
        return array

    def _need_label(self) -> None:
        if not self.has_label:
            raise SimcvdError(f"scan '{self.name}' has no label in {self.folder.parent.parent}.")


class Cache:
    """A prepared data set, opened for reading.

    Raises SimcvdError if `root` holds no manifest, or one of another version.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.manifest = _read_manifest(self.root)
        self._sound = False  # not looked at yet

    def __repr__(self) -> str:
        return f"Cache({str(self.root)!r}, train={len(self.train)}, test={len(self.test)})"

    @property
    def train(self) -> tuple[str, ...]:
        """Names of the training scans, labelled or not, in the order of the list."""
        return self.manifest.train

    @property
    def test(self) -> tuple[str, ...]:
        """Names of the test scans."""
        return self.manifest.test

    @property
    def task_info(self) -> TaskInfo:
        """Channels, classes, class names and spacing."""
        m = self.manifest
        return TaskInfo(
            channels=len(m.channel_names),
            classes=len(m.class_names),
            class_names=m.class_names,
            spacing=m.spacing,
        )

    def labeled(self, n: int) -> tuple[str, ...]:
        """The first `n` training scans that have a label. Raises SimcvdError if there are fewer."""
        names = [name for name in self.train if self.manifest.cases[name].has_label]
        if n > len(names) or n < 1:
            raise SimcvdError(
                f"{n} labelled training scans were asked for, but {self.root} has {len(names)} "
                f"(of {len(self.train)} training scans). Ask for 1 to {len(names)}."
                if names
                else f"{self.root}: none of the {len(self.train)} training scans has a label. "
                "Label at least one and run `simcvd prepare` again."
            )
        return tuple(names[:n])

    def case(self, name: str) -> Case:
        """The case called `name`. Raises SimcvdError if there is none, or its folder is gone."""
        entry = self.manifest.cases.get(name)
        if entry is None:
            raise SimcvdError(f"{self.root}: there is no scan '{name}' in the manifest.")
        self._check_manifest()
        folder = inside(self.root / "cases", name)
        info = read_case(folder)
        if info.hash != entry.hash:
            raise SimcvdError(
                f"{folder}: changed since the manifest was written. Run `simcvd prepare` again."
            )
        return Case(name, folder, info)

    def _check_manifest(self) -> None:
        """Refuse, before the first case, a manifest that was damaged or edited."""
        if not self._sound and self.manifest.content_hash() != self.manifest.data_hash:
            raise SimcvdError(
                f"{self.root / 'manifest.json'}: its content is not what `simcvd prepare` wrote "
                "(damaged or edited). Prepare again."
            )
        self._sound = True


def read_case(folder: Path) -> CaseRecord:
    """The ``case.json`` in a case's folder; raises SimcvdError as `Kind.load`."""
    return CASE.load(folder / "case.json")


def _read_manifest(root: Path) -> Manifest:
    path = root / "manifest.json"
    if not path.is_file():
        raise SimcvdError(
            f"{root}: is not a prepared data set (it has no manifest.json). "
            "Make one with `simcvd prepare SOURCE --out CACHE`."
        )
    return MANIFEST.load(path)


def _mapped(path: Path, wanted: str | None) -> np.memmap[Any, Any]:
    """The array of a file, its bytes held against their checksum once while nobody touches it."""
    try:
        key = stat_of(path)
        if wanted is not None and _VERIFIED.get(key) != wanted:
            if checksum(path) != wanted:
                raise ValueError("its bytes are not those that were written")
            _VERIFIED[key] = wanted
        array: np.memmap[Any, Any] = np.load(path, mmap_mode="c")
    except (OSError, ValueError) as error:
        raise SimcvdError(
            f"{path}: cannot be opened ({error}). Run `simcvd prepare` again."
        ) from error
    return array
