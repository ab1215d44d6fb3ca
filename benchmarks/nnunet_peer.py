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
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import machine

from simcvd.benchmark.catalogue import find_protocol
from simcvd.benchmark.protocols import Protocol, changed
from simcvd.data.cache import Cache
from simcvd.files import read_object, write_json, write_text
from simcvd.formats import read_label, write_image, write_label
from simcvd.methods.registry import find
from simcvd.scoring.record import Report, scores_folder, write_report
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
        affine = np.array(case.info["affine"])
        _write_channels(data / "imagesTr", name, case.image, affine)
        write_label(data / "labelsTr" / f"{name}.nii.gz", np.array(case.label), affine)
    for name in scored:
        case = cache.case(name)
        _write_channels(folder / "scored", name, case.image, np.array(case.info["affine"]))
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


def entry(
    system: str,
    cache: Cache,
    names: Sequence[str],
    predictions: Path,
    out: Path,
    *,
    values: Mapping[int, int],
    seconds: float,
    steps: int,
    patches: int,
) -> Entry:
    """Score the label maps ``predictions/NAME.nii.gz`` on the prepared grid; the report is ``out``.

    values: those of the classes in the label maps, by class index.
    """
    scores = []
    for name in names:
        case = cache.case(name)
        found = read_label(predictions / f"{name}.nii.gz").array
        classes = np.searchsorted(sorted(values.values()), found)
        known = cache.manifest.class_names
        scores += score_case(
            classes, np.asarray(case.label), known, tuple(case.info["spacing"]), name
        )
    write_report(Report(scores=scores, info={"grid": "prepared", "system": system}), out)
    total = summarise(scores)[-1]
    by_scan = [np.nanmean([s.values["dice"] for s in scores if s.case == name]) for name in names]
    return Entry(
        system=system,
        dice=100 * total.means["dice"].mean,
        worst=100 * float(min(by_scan)),
        hd95=total.means["hd95_pooled_mm"].mean,
        missed=total.missed,
        seconds=seconds,
        steps=steps,
        patches=patches,
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

    def train(self, name: str, *budget: str) -> dict[str, Any]:
        """Train and predict within a budget; what it spent. name: of the folder."""
        out = self.folder / name
        if not (out / "spent.json").exists():
            where = (DATASET, str(self.folder / "scored"), str(out))
            seed = ("--seed", str(self.seed))
            self._run(self._bin("python"), str(DRIVER), *where, *budget, *seed)
        return read_object(out / "spent.json", "Remove its folder to train again")

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
) -> tuple[float, int, int]:
    """Train and score in ``out``; seconds, steps and patches of the run and its bases."""
    train(
        cache.root,
        out,
        method=run.method,
        labeled=len(run.labeled),
        settings=settings,
        recipe=find_recipe(protocol.recipe),
    )
    if not (scores_folder(out, protocol.split_scored) / "metrics.json").exists():
        score_run(out, split=protocol.split_scored, stride=protocol.stride, cache=cache.root)
    folders = dict.fromkeys(sorted(out.glob(f"{BASE}*")), CONTROL) | {out: run.method}
    seconds, steps, patches = 0.0, 0, 0
    for place, method in folders.items():
        last = read_log(place)[-1]
        a_step = sum(run.train.patches(uses_unlabeled=find(method).uses_unlabeled))
        seconds += last["seconds"]
        steps += int(last["step"])
        patches += int(last["step"]) * a_step
    return seconds, steps, patches


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
    names = run.holdout or cache.test

    seconds, steps, patches = train_ours(cache, run, settings, protocol, out / "ours")
    made = scores_folder(out / "ours", protocol.split_scored) / "predictions"
    ours = {"seconds": seconds, "steps": steps, "patches": patches}
    title = f"simcvd {given.method}, base included"
    values = cache.manifest.label_values
    entries = [entry(title, cache, names, made, out / "scores" / "ours", values=values, **ours)]

    folder = out / "nnunet"
    if not (folder / "raw" / DATASET / "dataset.json").exists():
        export(cache, run.labeled, names, folder)
    peer = Peer(env=given.env or out / "env", folder=folder, seed=given.seed)
    peer.make_environment()
    peer.plan()
    budgets = {
        "same time": ("--seconds", str(given.seconds or seconds)),
        "same patches": ("--patches", str(given.patches or patches)),
    }
    for title, budget in budgets.items():
        place = title.replace(" ", "-")
        spent = peer.train(place, *budget)
        entries.append(
            entry(
                f"nnU-Net {VERSION}, {title}",
                cache,
                names,
                folder / place / "predictions",
                out / "scores" / place,
                values={index: index for index in cache.manifest.class_names},
                seconds=spent["seconds"],
                steps=spent["iterations"],
                patches=spent["patches"],
            )
        )
    sides = " x ".join(map(str, run.task.patch))
    setting = (
        f"{protocol.name}, hash {protocol.hash()}, seed {given.seed}: {given.labeled} labelled "
        f"scans, {len(names)} scored; patches of {sides} voxels here, of "
        f"{' x '.join(map(str, spent['patch']))} in nnU-Net. One core, one thread. nnU-Net's "
        "planning and preprocessing are not counted."
    )
    record = {"setting": setting, "machine": machine(), "entries": [asdict(e) for e in entries]}
    write_json(out / "peer.json", record)
    write_text(out / "peer.md", markdown(entries, setting))
    print(markdown(entries, setting))


if __name__ == "__main__":
    sys.exit(main())
