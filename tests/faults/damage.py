"""A damaged scan beside a sound one, through `check`, `prepare` and `predict`."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from tests.faults.kills import typed
from tests.faults.samples import COMPRESSED, LABEL, PLAIN, VOXELS, Mutant, Sample

HANG_SECONDS = 30.0
LIMIT_BYTES = 10**9
VERBS = ("check", "prepare", "predict")


@dataclass
class Outcome:
    """What became of one damaged scan. problems: one sentence each; accepted: by `prepare`."""

    name: str
    accepted: bool = False
    problems: list[str] = field(default_factory=list)


def reference(sample: Sample, model: Path, scratch: Path) -> bytes | None:
    """The prepared image of a sound sample; None where this version does not read the format."""
    scan, cache = laid_out(Mutant(sample, 0, length=None), scratch / "sound"), scratch / "cache"
    code, _, _ = typed(_commands(scan, cache, model, scratch)["prepare"], {})
    image = _image(cache) if code == 0 else None
    shutil.rmtree(scratch)
    return image


def try_mutant(mutant: Mutant, model: Path, scratch: Path, sound: bytes | None) -> Outcome:
    """Send a damaged scan through all three verbs and note what must not happen."""
    return try_scan(
        str(mutant),
        laid_out(mutant, scratch / "data"),
        model,
        scratch,
        (sound if mutant.sample.format in COMPRESSED else None),
    )


def try_scan(
    name: str, scan: Path, model: Path, scratch: Path, sound: bytes | None = None
) -> Outcome:
    """As `try_mutant`, of any scan that lies in ``scratch/data``. sound: what it must come to."""
    outcome, cache = Outcome(name), scratch / "cache"
    for verb, command in _commands(scan, cache, model, scratch).items():
        started = time.monotonic()
        code, said, peak = typed(command, {}, limit=2 * HANG_SECONDS)
        seconds, taken = time.monotonic() - started, peak - _held()
        if seconds > HANG_SECONDS:
            outcome.problems.append(f"{verb} took {seconds:.0f} s")
        if code not in (0, 1, 3):
            outcome.problems.append(f"{verb} ended with {code}: {said[-300:]}")
        if "Traceback" in said:
            outcome.problems.append(f"{verb}: {said[-600:]}")
        if taken > LIMIT_BYTES:
            outcome.problems.append(f"{verb} took {taken / 1e9:.1f} GB")
        if verb == "prepare":
            outcome.accepted = code == 0
    if outcome.accepted and sound is not None and _image(cache) != sound:
        outcome.problems.append("was accepted, and its voxels are others")
    shutil.rmtree(scratch)
    return outcome


def laid_out(mutant: Mutant, folder: Path) -> Path:
    """images/ and labels/ with the damaged scan ``a`` and a sound one, ``b``, which is labelled.

    Formats and damages may place ``a`` anywhere, so that no label would lie on its grid.
    """
    for place in ("images", "labels"):
        (folder / place).mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(LABEL, PLAIN), folder / "labels" / "b.nii.gz")
    other = nibabel.Nifti1Image(np.flip(VOXELS).copy(), PLAIN)
    nibabel.save(other, folder / "images" / "b.nii.gz")
    return mutant.write(folder / "images")


def _commands(scan: Path, cache: Path, model: Path, scratch: Path) -> dict[str, list[str]]:
    data = str(scan.parents[1])
    return {
        "check": ["check", data, "--workers", "1"],
        "prepare": [
            "prepare",
            data,
            "--out",
            str(cache),
            "--normalization",
            "none",
            "--workers",
            "1",
        ],
        "predict": ["predict", str(model), str(scan), "--out", str(scratch / "out")],
    }


def _image(cache: Path) -> bytes:
    """Of the scan beside ``b``, by whatever name it goes."""
    (case,) = (p for p in (cache / "cases").iterdir() if p.name != "b")
    return (case / "image.npy").read_bytes()


def _held() -> int:
    """The memory of this process, with which each fork begins."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
