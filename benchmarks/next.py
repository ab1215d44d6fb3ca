"""Does it pay to choose which scan to label next? Labelling simulated against random choice.

    python benchmarks/next.py CACHE --out FOLDER [--seeds 5] [--jobs 1] [--patch X Y Z]
        [--steps N] [--quick]

A seed deals the labelled training scans of a prepared cache into some that are held out and a
pool of which 4 are labelled, the same for every strategy. Each strategy then chooses 4 more, three
times, by what models trained on its own labels make of the rest; test scans are never touched.
Every training is supervised, starts from fresh weights and has the same steps. Disagreement is that
of two members, each trained half as long on half of the labels, as folds are in `simcvd run`.

Written as it goes, and the same call goes on where it stopped: FOLDER/units/*.json, then
FOLDER/next.md, next.json and next.png of the seeds that are done. --quick tests the script.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from joblib import Parallel, delayed
from rows import machine
from segmenting import segmented

from simcvd.active.looking import Seen, look
from simcvd.active.picking import STRATEGIES, By, pick
from simcvd.data.cache import Cache
from simcvd.files import read_object, remove, replace_into, write_json, write_text
from simcvd.inference.compute import Compute
from simcvd.inference.model import load_model
from simcvd.planning.record import QUICK_SHARE
from simcvd.scoring.comparison import Comparison, compare_folds, correct
from simcvd.training.loop import train
from simcvd.training.recipes import STRONG
from simcvd.training.run import CONTROL, default_patch
from simcvd.training.settings import NetworkConfig
from simcvd.types import IntTriple, SimcvdError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANDOM = "random"
ARMS: tuple[str, ...] = (RANDOM, *STRATEGIES)
BY_MEMBERS = ("disagreement", "mix")
COMPUTE = Compute(fast=True)
NETWORK = NetworkConfig(widths=(8, 16, 32), blocks=(1, 1, 2), strides=((2, 2, 2),) * 2, dropout=0.1)
SETTINGS = (
    *("train.base=0", "train.average=0.0", "train.lr=0.01", "train.foreground=0.5"),
    # Few steps do not teach poses; what is left are the changes of intensity, which cost little.
    *("train.augmentation=none", "augment.affine_chance=0.0"),
)


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is simulated. steps: of a training; a member has half. labels: after each choice."""

    data: str
    patch: IntTriple
    steps: int = 200
    pool: int = 64
    held: int = 32
    labels: tuple[int, ...] = (4, 8, 12, 16)

    @classmethod
    def of(cls, cache: Cache, *, quick: bool = False, **given: Any) -> Design:
        """Patches as `simcvd run --preset quick` has them; a small cache has a smaller pool.

        given: what is to be otherwise; None counts as not given.
        """
        x, y, z = (
            max(1, round(QUICK_SHARE * n / d)) * d
            for n, d in zip(default_patch(cache, NETWORK), NETWORK.divisor, strict=True)
        )
        held = min(32, len(_usable(cache)) // 3)
        pool = min(64, len(_usable(cache)) - held)
        whole = cls(data=cache.manifest.data_hash, patch=(x, y, z), held=held, pool=pool)
        small = {"steps": 4, "pool": 5, "held": 1, "labels": (2, 3, 4)}
        chosen = {name: value for name, value in given.items() if value is not None}
        return replace(whole, **(small if quick else {}), **chosen)

    def dealt(self, cache: Cache, seed: int) -> tuple[list[str], list[str]]:
        """The held-out scans and the pool; its first are the ones that are labelled."""
        names = _usable(cache)
        order = np.random.default_rng(seed).permutation(len(names))[: self.held + self.pool]
        dealt = [names[i] for i in order]
        return dealt[: self.held], dealt[self.held :]


def _usable(cache: Cache) -> list[str]:
    return [name for name in cache.train if cache.manifest.cases[name].has_label]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One set of labels: trained on, scored, and the next ones chosen."""

    cache: Cache
    design: Design
    out: Path
    seed: int

    def done(self, arm: str, labeled: Sequence[str]) -> dict[str, Any]:
        """Its record: labeled, dice of each held-out scan in %, next by strategy."""
        first = len(labeled) == self.design.labels[0]
        name = f"seed_{self.seed}-{'all' if first else arm}-{len(labeled):02d}"
        path = self.out / "units" / f"{name}.json"
        if path.exists():
            return read_object(path, "Remove it.")
        work = self.out / "trainings" / name
        held, pool = self.design.dealt(self.cache, self.seed)
        network = load_model(self.trained(work / "main", labeled, self.design.steps))
        how = COMPUTE.windows(network)
        dice = [found for _, found in segmented(network.folded, self.cache, held, how)]
        arms = ARMS if first else (arm,)
        chosen = {}
        if len(labeled) < self.design.labels[-1]:
            chosen = self.chosen(work, arms, labeled, pool)
        record = {"labeled": list(labeled), "dice": dict(zip(held, dice, strict=True))}
        write_json(path, {**record, "next": chosen})
        remove(work)
        return record | {"next": chosen}

    def trained(self, folder: Path, labeled: Sequence[str], steps: int) -> Path:
        """Train from fresh weights, of the same seed for every strategy."""
        size = [f"network.{name}={value}" for name, value in asdict(NETWORK).items()]
        more = (f"train.patch={self.design.patch}", f"train.iterations={steps}")
        return train(
            self.cache.root,
            folder,
            method=CONTROL,
            labeled=len(labeled),
            settings=(*SETTINGS, *size, *more, f"train.seed={self.seed}"),
            recipe=STRONG,
            scans=(tuple(labeled), (), ()),
        )

    def chosen(
        self, work: Path, arms: Sequence[str], labeled: Sequence[str], pool: Sequence[str]
    ) -> dict[str, list[str]]:
        """The scans that each arm takes next from the rest of the pool."""
        rest = [name for name in pool if name not in set(labeled)]
        sizes = dict(pairwise(self.design.labels))
        count = sizes[len(labeled)] - len(labeled)
        picked: dict[str, list[str]] = {}
        if RANDOM in arms:
            drawn = np.random.default_rng([self.seed, len(labeled)]).permutation(len(rest))
            picked[RANDOM] = [rest[i] for i in drawn[:count]]
        wanted: list[By] = [arm for arm in STRATEGIES if arm in arms]
        if wanted:
            seen = self.seen(work, any(arm in BY_MEMBERS for arm in arms), labeled, rest)
            there, here = ([seen[n] for n in names] for names in (rest, labeled))
            for arm in wanted:
                picked[arm] = [rest[p.index] for p in pick(there, here, arm, count)]
        return picked

    def seen(
        self, work: Path, by_members: bool, labeled: Sequence[str], rest: Sequence[str]
    ) -> dict[str, Seen]:
        """What the training, and where needed its members, make of each scan."""
        halves = (labeled[::2], labeled[1::2]) if by_members else ()
        steps = max(1, self.design.steps // 2)
        members = [
            load_model(self.trained(work / f"member_{k}", half, steps))
            for k, half in enumerate(halves)
        ]
        model, image = load_model(work / "main"), lambda name: self.cache.case(name).image
        found = {name: look(model, image(name), COMPUTE, members) for name in rest}
        return found | {name: look(model, image(name), COMPUTE) for name in labeled}


def simulate(root: Path, design: Design, out: Path, seed: int) -> None:
    """All strategies of one seed, each on with the labels it chose."""
    torch.set_num_threads(1)
    cache = Cache(root)
    unit = Unit(cache=cache, design=design, out=out, seed=seed)
    first = design.dealt(cache, seed)[1][: design.labels[0]]
    for arm in ARMS:
        labeled = list(first)
        for count in design.labels:
            record = unit.done(arm, labeled)
            print(f"seed {seed}, {arm}, {count} labels: {_mean(record):.1f} %", flush=True)
            labeled += record["next"].get(arm, [])


def _mean(record: Mapping[str, Any]) -> float:
    return float(np.mean(list(record["dice"].values())))


Scores = dict[str, dict[int, list[np.ndarray]]]
"""By arm and labels, an array ``[scans, 1]`` of Dice in % for each seed."""


def collected(out: Path, design: Design, seeds: Sequence[int]) -> tuple[Scores, list[int]]:
    """What is there of the seeds that are done, and these."""
    units = out / "units"
    last = [f"{arm}-{design.labels[-1]:02d}.json" for arm in ARMS]
    done = [s for s in seeds if all((units / f"seed_{s}-{name}").exists() for name in last)]
    scores: Scores = {arm: {} for arm in ARMS}
    for arm in ARMS:
        for count in design.labels:
            which = "all" if count == design.labels[0] else arm
            files = [units / f"seed_{s}-{which}-{count:02d}.json" for s in done]
            records = [read_object(file, "Remove it.") for file in files]
            tables = [np.array([list(r["dice"].values())]).T for r in records]
            scores[arm][count] = tables
    return scores, done


def against_random(scores: Scores, counts: Sequence[int]) -> dict[str, Comparison]:
    """Each strategy minus random, seed by seed, over the mean of the counts; corrected by Holm."""

    def table(arm: str) -> list[np.ndarray]:
        return [
            np.mean(tables, axis=0) for tables in zip(*map(scores[arm].get, counts), strict=True)
        ]

    others = [compare_folds(table(RANDOM), table(arm)) for arm in STRATEGIES]
    return dict(zip(STRATEGIES, correct(others), strict=True))


def markdown(scores: Scores, design: Design, done: Sequence[int], root: Path) -> str:
    """Mean Dice by labels, and differences to random choice with their intervals."""
    later = design.labels[1:]
    lines = [
        f"# Choosing what to label next: {root.name}",
        "",
        f"Made by `benchmarks/next.py`: {len(done)} seeds, a pool of {design.pool} scans, Dice in "
        f"% on {design.held} held-out training scans of each seed. Supervised trainings of "
        f"{design.steps} steps from fresh weights. Differences are paired by seed, with intervals "
        "at 95 % (Student's t over seeds); p of the last column is corrected by Holm for the "
        "four strategies.",
        "",
        "| | " + " | ".join(f"{count} labels" for count in design.labels) + " |",
        "|---|" + "---|" * len(design.labels),
    ]
    for arm in ARMS:
        cells = [f"{np.mean(scores[arm][count]):.1f}" for count in design.labels]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    columns = [*(f"{count} labels" for count in later), "mean of these", "p"]
    lines += ["", "| minus random | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    single = {count: against_random(scores, [count]) for count in later}
    overall = against_random(scores, later)
    for arm in STRATEGIES:
        gaps = [single[count][arm].gap for count in later] + [overall[arm].gap]
        cells = [f"{gap.mean:+.1f} ({gap.low:+.1f} to {gap.high:+.1f})" for gap in gaps]
        lines.append(f"| {arm} | " + " | ".join(cells) + f" | {overall[arm].p_holm:.2f} |")
    return "\n".join(lines) + "\n"


def draw(scores: Scores, design: Design, path: Path) -> None:
    """Labels against Dice, and the differences to random choice with their intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4), layout="constrained", dpi=110)
    left, right = figure.subplots(1, 2)
    place = partial(_beside, arms=len(ARMS))
    for k, arm in enumerate(ARMS):
        means = np.array([[t.mean() for t in scores[arm][count]] for count in design.labels])
        errors = [_reach(row) for row in means]
        x = [place(count, k) for count in design.labels]
        left.errorbar(x, means.mean(1), errors, fmt="o-", color=f"C{k}", capsize=2, label=arm)
    for k, arm in enumerate(STRATEGIES, start=1):
        gaps = [against_random(scores, [count])[arm].gap for count in design.labels[1:]]
        x = [place(count, k) for count in design.labels[1:]]
        reach = [gap.high - gap.mean for gap in gaps]
        right.errorbar(x, [g.mean for g in gaps], reach, fmt="o", color=f"C{k}", capsize=2)
    right.axhline(0, color="C0", linewidth=1)
    _name(left, design.labels, "Dice on held-out scans, %")
    _name(right, design.labels[1:], "Dice minus that of random choice, points")
    left.legend()
    with replace_into(path) as temporary:
        figure.savefig(temporary)


def _reach(values: np.ndarray) -> float:
    """Half the interval at 95 % of the mean over seeds, by Student's t."""
    nothing = [np.zeros((1, 1)) for _ in values]
    gap = compare_folds(nothing, [np.array([[v]]) for v in values]).gap
    return gap.high - gap.mean


def _beside(count: int, k: int, arms: int) -> float:
    return count + 0.3 * (k - (arms - 1) / 2)


def _name(axes: Axes, ticks: Sequence[int], label: str) -> None:
    axes.set_xticks(ticks)
    axes.set_xlabel("labelled scans")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)


def write_results(out: Path, root: Path, design: Design, seeds: Sequence[int]) -> None:
    """Table, figure and numbers of the seeds that are done, where these are two or more."""
    scores, done = collected(out, design, seeds)
    if len(done) < 2:
        return
    write_text(out / "next.md", markdown(scores, design, done, root))
    draw(scores, design, out / "next.png")
    means = {
        arm: {str(n): [round(float(t.mean()), 3) for t in tables] for n, tables in by.items()}
        for arm, by in scores.items()
    }
    numbers = {"design": asdict(design), "seeds": list(done), "dice": means, "machine": machine()}
    write_json(out / "next.json", numbers)


def open_folder(out: Path, design: Design) -> None:
    """Note the design, or refuse a folder that was begun with another."""
    path, now = out / "design.json", json.loads(json.dumps(asdict(design)))
    if path.exists() and (begun := read_object(path, "Remove it.")) != now:
        raise SimcvdError(f"{out} was begun with {begun}; give another --out")
    write_json(path, now)


def main() -> None:
    """Simulate every seed, then compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    parser.add_argument(
        "--patch", type=int, nargs=3, help="voxels; by default as of --preset quick"
    )
    parser.add_argument("--steps", type=int, help="of a training; by default 200")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    patch = tuple(asked.patch) if asked.patch else None
    design = Design.of(Cache(asked.cache), quick=asked.quick, patch=patch, steps=asked.steps)
    open_folder(asked.out, design)
    seeds = range(asked.seeds)
    each = Parallel(n_jobs=asked.jobs, return_as="generator")(
        delayed(simulate)(asked.cache, design, asked.out, seed) for seed in seeds
    )
    for _ in each:
        write_results(asked.out, asked.cache, design, seeds)
    shutil.rmtree(asked.out / "trainings", ignore_errors=True)


if __name__ == "__main__":
    main()
