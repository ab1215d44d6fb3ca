"""simcvd beside nnU-Net v2 on the same labelled scans: for the same time, and for as many patches.

    taskset -c 0 python benchmarks/nnunet_peer.py CACHE --protocol NAME --labeled N --out FOLDER

    hippocampus:   --protocol hippocampus-strong --labeled 10
    LA, 1.25 mm:   --protocol la-half-strong --labeled 8

Trains a method under the protocol, its base included, then nnU-Net once for the seconds and once
for the patches that this took; scans held out with --holdout are scored in place of the test scans.
nnU-Net gets the prepared scans, so that both start from the same voxels, and its own plan,
augmentation, schedule and mirrored windows (nnunet_driver.py). All of it on one core, with one
thread. Both are scored on the prepared grid by simcvd. Typed again, it goes on where it stopped.

Writes FOLDER/peer.json and FOLDER/peer.md. nnU-Net is no dependency of simcvd: a virtual
environment of its own is made in --env, FOLDER/env by default.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import venv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rows import machine

from simcvd.benchmark.catalogue import find_protocol
from simcvd.benchmark.protocols import Protocol, changed
from simcvd.data.cache import Cache
from simcvd.files import read_object, write_json, write_text
from simcvd.formats import read_label, write_image, write_label
from simcvd.methods.registry import find
from simcvd.scoring.record import Report, is_scored, scores_folder, write_report
from simcvd.scoring.scores import score_case, summarise
from simcvd.training.log import read_log
from simcvd.training.loop import BASE, train
from simcvd.training.recipes import find_recipe
from simcvd.training.run import CONTROL, Run, resolve
from simcvd.training.score_run import score_run

VERSION = "2.8.1"
DATASET = "Dataset001_peer"
DRIVER = Path(__file__).with_name("nnunet_driver.py")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One training: Dice in %, 95HD pooled in mm, mean of the classes; wall seconds of training."""

    system: str
    dice: float
    worst: float
    hd95: float
    missed: int
    seconds: float
    steps: int
    patches: int


def export(cache: Cache, labeled: Sequence[str], scored: Sequence[str], folder: Path) -> None:
    """The labelled scans as ``folder/raw/Dataset001_peer``, and the images of those to be scored.

    One file a channel, ``NAME_0000.nii.gz``, as nnU-Net names them; labels are class indices.
    """
    data, manifest = folder / "raw" / DATASET, cache.manifest
    for name in labeled:
        case = cache.case(name)
        affine = np.array(case.info.affine)
        _write_channels(data / "imagesTr", name, case.image, affine)
        write_label(data / "labelsTr" / f"{name}.nii.gz", np.array(case.label), affine)
    for name in scored:
        case = cache.case(name)
        _write_channels(folder / "scored", name, case.image, np.array(case.info.affine))
    about = {
        "channel_names": {str(i): name for i, name in enumerate(manifest.channel_names)},
        "labels": {name: index for index, name in manifest.class_names.items()},
        "numTraining": len(labeled),
        "file_ending": ".nii.gz",
    }
    write_json(data / "dataset.json", about)


def _write_channels(folder: Path, name: str, image: np.ndarray, affine: np.ndarray) -> None:
    for channel in range(len(image)):
        write_image(folder / f"{name}_{channel:04d}.nii.gz", image[channel : channel + 1], affine)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Of one training: wall seconds, steps, and patches seen."""

    seconds: float
    steps: int
    patches: int


def entry(
    system: str,
    cache: Cache,
    names: Sequence[str],
    predictions: Path,
    out: Path,
    values: Sequence[int],
    spent: Spent,
) -> Entry:
    """Score the label maps ``predictions/NAME.nii.gz`` on the prepared grid; the report is ``out``.

    values: those of the classes in the label maps, by class index.
    """
    scores = []
    for name in names:
        case = cache.case(name)
        found = np.searchsorted(values, read_label(predictions / f"{name}.nii.gz").array)
        known, spacing = cache.manifest.class_names, case.info.spacing
        scores += score_case(found, np.asarray(case.label), known, spacing, name)
    report = Report(scores=scores, info={"grid": "prepared", "system": system})
    write_report(report, out)
    total = summarise(scores)[-1]
    return Entry(
        system=system,
        dice=100 * total.means["dice"].mean,
        worst=100 * float(np.nan_to_num(report.table("dice")).mean(1).min()),
        hd95=total.means["hd95_pooled_mm"].mean,
        missed=total.missed,
        **asdict(spent),
    )


def markdown(entries: Sequence[Entry], setting: str) -> str:
    """The table, with simcvd's training first."""
    lines = [
        "| | Dice [%] | worst scan | 95HD [mm] | missed | train s | steps | patches |",
        "|---|" + "---:|" * 7,
    ]
    for e in entries:
        cells = (f"{e.dice:.2f}", f"{e.worst:.1f}", f"{e.hd95:.2f}", e.missed, f"{e.seconds:.0f}")
        lines.append(f"| {e.system} | {' | '.join(map(str, (*cells, e.steps, e.patches)))} |")
    return "\n".join(["# Beside nnU-Net", "", setting, "", *lines]) + "\n"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """nnU-Net in its environment, over the scans of `export` in ``folder``."""

    env: Path
    folder: Path
    seed: int

    def make_environment(self) -> None:
        """Install it, unless it is there."""
        done = self.env / ".installed"
        if done.exists():
            return
        venv.create(self.env, with_pip=True)
        own = torch.__version__.partition("+")[0]
        wanted = (f"nnunetv2=={VERSION}", f"torch=={own}")
        subprocess.run([self._bin("python"), "-m", "pip", "install", "-q", *wanted], check=True)
        done.touch()

    def plan(self) -> None:
        """Its fingerprint, plan and preprocessing, from the labelled scans alone."""
        done = self.folder / ".planned"
        if not done.exists():
            flags = ("-d", "1", "-c", "3d_fullres", "-npfp", "1", "-np", "1")
            self._run(self._bin("nnUNetv2_plan_and_preprocess"), *flags, augmenting=1)
            done.touch()

    def train(self, name: str, *budget: str) -> Spent:
        """Train and predict within a budget, in the folder of that name."""
        out = self.folder / name
        if not (out / "spent.json").exists():
            where = (DATASET, str(self.folder / "scored"), str(out))
            seed = ("--seed", str(self.seed))
            self._run(self._bin("python"), str(DRIVER), *where, *budget, *seed)
        return Spent(**read_object(out / "spent.json", "Remove its folder to train again"))

    def _bin(self, name: str) -> str:
        return str(self.env.absolute() / "bin" / name)

    def _run(self, *command: str, augmenting: int = 0) -> None:
        places = {
            f"nnUNet_{name}": str(self.folder / name) for name in ("raw", "preprocessed", "results")
        }
        # No process beside the one that trains: the core is its alone. The planner refuses 0.
        one = {"OMP_NUM_THREADS": "1", "nnUNet_n_proc_DA": str(augmenting)}
        one["nnUNet_def_n_proc"] = "1"
        subprocess.run(command, check=True, env={**os.environ, **places, **one})


def train_ours(
    cache: Cache, run: Run, settings: Sequence[str], protocol: Protocol, out: Path
) -> Spent:
    """Train and score in ``out``; what the run and its bases took."""
    train(
        cache.root,
        out,
        method=run.method,
        labeled=len(run.labeled),
        settings=settings,
        recipe=find_recipe(protocol.recipe),
    )
    if not is_scored(out, protocol.split_scored):
        score_run(out, split=protocol.split_scored, stride=protocol.stride, cache=cache.root)
    methods = dict.fromkeys(sorted(out.glob(f"{BASE}*")), CONTROL) | {out: run.method}
    ends = {place: read_log(place)[-1] for place in methods}
    a_step = {
        place: sum(run.train.patches(uses_unlabeled=find(method).uses_unlabeled))
        for place, method in methods.items()
    }
    return Spent(
        seconds=sum(row["seconds"] for row in ends.values()),
        steps=sum(int(row["step"]) for row in ends.values()),
        patches=sum(int(row["step"]) * a_step[place] for place, row in ends.items()),
    )


def compared(
    peer: Peer, cache: Cache, run: Run, settings: Sequence[str], protocol: Protocol, out: Path,
    seconds: float | None, patches: int | None,
) -> list[Entry]:  # fmt: skip
    """Both systems trained and scored, simcvd first; seconds, patches: see the options."""
    names = run.holdout or cache.test
    ours = train_ours(cache, run, settings, protocol, out / "ours")
    made = scores_folder(out / "ours", protocol.split_scored) / "predictions"
    values = list(cache.manifest.label_values.values())
    title = f"simcvd {run.method}, base included"
    entries = [entry(title, cache, names, made, out / "scores" / "ours", values, ours)]
    if not (peer.folder / "raw" / DATASET / "dataset.json").exists():
        export(cache, run.labeled, names, peer.folder)
    peer.make_environment()
    peer.plan()
    for title, budget in {
        "same time": ("--seconds", seconds or ours.seconds),
        "same patches": ("--patches", patches or ours.patches),
    }.items():
        place = title.replace(" ", "-")
        spent = peer.train(place, *map(str, budget))
        found, report = peer.folder / place / "predictions", out / "scores" / place
        classes = list(cache.manifest.class_names)
        system = f"nnU-Net {VERSION}, {title}"
        entries.append(entry(system, cache, names, found, report, classes, spent))
    return entries


def main() -> None:
    """Train both, score both, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--protocol", required=True)
    parser.add_argument("--labeled", type=int, required=True)
    parser.add_argument("--method", default="cutmix")
    parser.add_argument("--holdout", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--seconds", type=float, help="of nnU-Net, in place of simcvd's")
    parser.add_argument("--patches", type=int, help="of nnU-Net, in place of simcvd's")
    parser.add_argument("--env", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cache, out = Cache(given.cache.resolve()), given.out.resolve()
    protocol = changed(find_protocol(given.protocol), holdout=given.holdout)
    settings = (*protocol.settings(), f"train.seed={given.seed}", *given.settings)
    run = resolve(
        cache,
        method=given.method,
        labeled=given.labeled,
        settings=settings,
        recipe=find_recipe(protocol.recipe),
    )
    peer = Peer(env=given.env or out / "env", folder=out / "nnunet", seed=given.seed)
    budget = given.seconds, given.patches
    entries = compared(peer, cache, run, settings, protocol, out, *budget)
    scored, sides = len(run.holdout or cache.test), " x ".join(map(str, run.task.patch))
    setting = (
        f"{protocol.name}, hash {protocol.hash()}, seed {given.seed}: {given.labeled} labelled "
        f"scans, {scored} scored; patches of {sides} voxels, and of nnU-Net's own size in nnU-Net. "
        "One core, one thread. nnU-Net's planning and preprocessing are not counted."
    )
    record = {"setting": setting, "machine": machine(), "entries": [asdict(e) for e in entries]}
    write_json(out / "peer.json", record)
    write_text(out / "peer.md", markdown(entries, setting))
    print(markdown(entries, setting))


if __name__ == "__main__":
    main()
