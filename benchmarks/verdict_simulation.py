"""How often a table of equal systems has a false verdict, and what gain a table finds.

    python benchmarks/verdict_simulation.py --out benchmarks/results/statistics

Draws tables of ten systems, the first of which is the control: a score is the scan's own worth
(which cancels), plus what the system does to that scan, plus the training's luck, plus what the
training does to that scan, all normal. Where trainings begin with the same weights, most of what a
training does is common to all systems of its seed or fold. The rules are computed for all tables
at once and held against `simcvd.scoring.comparison` on the first of each row; beside them stand
others that were tried. What the drawn worlds and `SHARE` rest on is estimated from the archives.
Under a minute of processor time; the same tables every time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

from simcvd.benchmark.results import RunResult, read_results
from simcvd.files import write_text
from simcvd.scoring.comparison import SHARE, compare_folds, gap_of, holm
from simcvd.scoring.gap import ALPHA, Gap, mean_of_defined
from simcvd.training.run import CONTROL

SYSTEMS, SEED_SD = 10, 0.8
SHARED = 0.9  # of a training's variance, that of the weights it begins with; see "The archives"
GAINS = (1.0, 2.0)
CHECKED = 20  # tables of a row that are computed by the tool, too
ARCHIVES = Path(__file__).parent / "results"
STUDIES = (
    ("hippocampus", "test"),
    ("hippocampus-labels", "test"),
    ("la-quarter", "test"),
    ("la-quarter-holdout", "holdout"),
    ("la-quarter-strong-holdout", "holdout"),
)


@dataclass(frozen=True)
class World:
    """Deviations in Dice points of what a system, and a training, does to single scans."""

    name: str
    system_sd: float
    training_sd: float


# As found in benchmarks/results, but for the second, which lies between.
WORLDS = (
    World("as hippocampus, 10 labels", 0.6, 1.0),
    World("between", 2.0, 3.0),
    World("as left atrium at 2.5 mm, 8 labels", 6.0, 4.0),
)

Reach = Callable[[float], np.ndarray]  # half the interval of each difference at level 1 - alpha


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Differences ``[tables, systems - 1]`` of equal systems, and their intervals by rule."""

    gaps: np.ndarray
    rules: dict[str, Reach]

    def false(self, rule: str, tests: int = SYSTEMS - 1) -> float:
        """How many tables have a verdict: the smallest p below that of Holm's first step."""
        beyond = np.abs(self.gaps[:, :tests]) > self.rules[rule](ALPHA / tests)[:, :tests]
        return float(beyond.any(axis=1).mean())

    def found(self, rule: str, gain: float, tests: int) -> float:
        """How often the first system, were it better by ``gain``, is found as one of so many."""
        return float((self.gaps[:, 0] + gain > self.rules[rule](ALPHA / tests)[:, 0]).mean())

    def power(self, rule: str) -> list[str]:
        """A cell for each gain: alone, in a table."""
        found = [[self.found(rule, gain, tests) for tests in (1, SYSTEMS - 1)] for gain in GAINS]
        return [f"{100 * alone:.0f} %, {100 * among:.0f} %" for alone, among in found]


def draw(
    rng: np.random.Generator,
    world: World,
    scans: int,
    seeds: int,
    shared: float,
    tables: int,
    *,
    folds: bool = False,
) -> np.ndarray:
    """Scores of tables of equal systems, ``[tables, SYSTEMS, seeds, scans]``.

    shared: of the variance of trainings, what those of one seed have in common. folds: in place of
    seeds, each with scans of its own.
    """
    luck, single = (
        np.sqrt(part) * normal
        for part, normal in zip(
            (shared, 1 - shared),
            (_training(rng, world, scans, seeds, tables, count) for count in (1, SYSTEMS)),
            strict=True,
        )
    )
    own = world.system_sd * rng.standard_normal((tables, SYSTEMS, seeds if folds else 1, scans))
    return own + luck + single


def _training(
    rng: np.random.Generator, world: World, scans: int, seeds: int, tables: int, systems: int
) -> np.ndarray:
    """What trainings do, to all scans alike and to single ones."""
    luck = SEED_SD * rng.standard_normal((tables, systems, seeds, 1))
    return luck + world.training_sd * rng.standard_normal((tables, systems, seeds, scans))


def over_seeds(table: np.ndarray) -> Drawn:
    """The rules of `compare`, and others, for ``[tables, systems, seeds, scans]``."""
    seeds, scans = table.shape[2:]
    means = table.mean(axis=3)
    arms = means.var(axis=2, ddof=1) / seeds
    pair = (means[:, 1:] - means[:, :1]).var(axis=2, ddof=1) / seeds
    by_scan = table.mean(axis=2)
    scan = (by_scan[:, 1:] - by_scan[:, :1]).var(axis=2, ddof=1) / scans
    unpaired = [(arms[:, :1], seeds - 1), (arms[:, 1:], seeds - 1), (scan, scans - 1)]
    pairs = [(pair, seeds - 1), (scan, scans - 1)]
    bound = seeds * (seeds - 1)
    gaps = means[:, 1:].mean(axis=2) - means[:, :1].mean(axis=2)
    return Drawn(
        gaps=gaps,
        rules={
            "independent": _one_freedom(unpaired, bound),
            "pairs": lambda alpha: np.sqrt(sum(v * t_of(df, alpha) ** 2 for v, df in pairs)),
            "pairs, one freedom": _one_freedom(pairs, bound),
            "unbounded": _one_freedom(unpaired, np.inf),
        },
    )


def t_of(freedom: np.ndarray | float, alpha: float) -> np.ndarray:
    """Student's t that is exceeded on either side with chance alpha."""
    return -np.asarray(special.stdtrit(freedom, alpha / 2))


def _one_freedom(parts: Sequence[tuple[np.ndarray, float]], most: float) -> Reach:
    """Satterthwaite's rule."""
    variance = sum(v for v, _ in parts)
    freedom = np.minimum(variance**2 / sum(v**2 / df for v, df in parts), most)
    return lambda alpha: np.sqrt(variance) * t_of(freedom, alpha)


def over_folds(table: np.ndarray) -> Drawn:
    """The rule of `compare_folds`, and Student's t whatever their number, for the same shape."""
    folds, scans = table.shape[2:]
    difference = table[:, 1:] - table[:, :1]
    means = difference.mean(axis=3)
    between = means.var(axis=2, ddof=1) / folds
    rules = {"t": _one_freedom([(between, folds - 1)], np.inf)}
    rules["folds"] = rules["t"]
    if folds == 2:
        within = difference.var(axis=3, ddof=1) / scans / 4
        allowed = within.sum(axis=2) * (1 + SHARE * scans)
        freedom = within.sum(axis=2) ** 2 / (within**2).sum(axis=2) * (scans - 1)
        beyond = between > allowed * t_of(freedom, ALPHA) ** 2
        freedom = np.where(beyond, 1.0, freedom)
        error = np.sqrt(np.maximum(allowed, between))
        rules["folds"] = lambda alpha: error * t_of(freedom, alpha)
    return Drawn(gaps=means.mean(axis=2), rules=rules)


def check(table: np.ndarray, drawn: Drawn, rule: str, by_tool: Callable[..., Gap]) -> list[Gap]:
    """Hold the first tables against the tool's own; returns the gaps of the first system there."""
    reach, first_step = (drawn.rules[rule](ALPHA / tests) for tests in (1, SYSTEMS - 1))
    first = []
    for number, systems in enumerate(table[:CHECKED]):
        arms = [[scores[:, None] for scores in system] for system in systems]
        gaps = [by_tool(arms[0], arm) for arm in arms[1:]]
        np.testing.assert_allclose([gap.high - gap.mean for gap in gaps], reach[number])
        said = min(holm([gap.p for gap in gaps])) < ALPHA
        assert said == (np.abs(drawn.gaps[number]) > first_step[number]).any()
        first.append(gaps[0])
    return first


def mixed_and_bootstrap(table: np.ndarray, rng: np.random.Generator) -> Iterator[float]:
    """False verdicts of a mixed model's variance, and of a crossed bootstrap in a few tables."""
    seeds, scans = table.shape[2:]
    parts = table.mean(axis=3).var(axis=2, ddof=1) / seeds
    gaps = table[:, 1:].mean(axis=2) - table[:, :1].mean(axis=2)
    scan = gaps.var(axis=2, ddof=1) / scans
    total = parts[:, 1:] + parts[:, :1] + scan
    rest = table - table.mean(axis=2, keepdims=True) - table.mean(axis=3, keepdims=True)
    rest = ((rest + table.mean(axis=(2, 3), keepdims=True)) ** 2).sum(axis=(2, 3))
    twice = rest / ((seeds - 1) * (scans - 1)) / (scans * seeds)
    once = np.maximum(total - twice[:, 1:] - twice[:, :1], np.maximum(scan, total - scan))
    squares = (parts[:, 1:] ** 2 + parts[:, :1] ** 2) / (seeds - 1) + scan**2 / (scans - 1)
    reach = np.sqrt(once) * t_of(once**2 / squares, ALPHA / (SYSTEMS - 1))
    yield float((np.abs(gaps.mean(axis=2)) > reach).any(axis=1).mean())
    yield float(np.mean([_bootstrap(one, rng) for one in table[:100]]))


def _bootstrap(table: np.ndarray, rng: np.random.Generator, resamples: int = 1000) -> bool:
    """Percentiles over resampled trainings and scans."""
    systems, seeds, scans = table.shape
    by_scan = rng.multinomial(scans, np.full(scans, 1 / scans), size=resamples) / scans
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=(resamples, systems)) / seeds
    per_seed = np.einsum("mki,bi->bmk", table, by_scan, optimize=True)
    means = (per_seed * by_seed).sum(axis=2)
    gaps = means[:, 1:] - means[:, :1]
    p = 2 * np.minimum((gaps <= 0).mean(axis=0), (gaps >= 0).mean(axis=0))
    return bool(p.min() * len(p) < ALPHA)


def seed_lines(tables: int, shared: float) -> list[str]:
    """Tables over seeds: the rule in force for such trainings first, then the others."""
    others = ("unbounded", "pairs, one freedom") if not shared else ("pairs, one freedom",)
    mine, old = ("pairs", "independent") if shared else ("independent", "pairs")
    head = ["scans", "trainings"]
    for rule in (mine, old):
        head += [f"false, {rule}", *(f"+{gain:.0f}" for gain in GAINS)]
    head += [f"found in 80 %, {mine}", *(f"false, {rule}" for rule in others)]
    head += [] if shared else ["false, mixed model", "false, crossed bootstrap"]
    lines = _head(head)
    for world in WORLDS:
        lines.append(f"| **{world.name}** |" + " |" * (len(head) - 1))
        for scans in (20, 60):
            for seeds in (2, 3, 5):
                rng = np.random.default_rng([scans, seeds, round(10 * shared)])
                table = draw(rng, world, scans, seeds, shared, tables)
                drawn = over_seeds(table)
                for rule in (old, mine):
                    first = check(table, drawn, rule, _tool(paired=rule == "pairs"))
                cells = [str(scans), str(seeds)]
                for rule in (mine, old):
                    cells += [_percent(drawn.false(rule)), *drawn.power(rule)]
                seen = [np.median([g.detectable(n) for g in first]) for n in (1, SYSTEMS - 1)]
                cells += [f"{seen[0]:.1f}, {seen[1]:.1f}"]
                cells += [_percent(drawn.false(rule)) for rule in others]
                cells += [] if shared else map(_percent, mixed_and_bootstrap(table, rng))
                lines.append(_row(cells))
    return lines


def _tool(*, paired: bool) -> Callable[..., Gap]:
    return lambda control, other: gap_of(control, other, paired=paired)


def fold_lines(tables: int) -> list[str]:
    """Tables over folds, for trainings of a fold that share nothing and that share their start."""
    head = ["scans", "folds", "in common", "false alone", "false in a table"]
    head += [f"+{gain:.0f}" for gain in GAINS] + ["t: false in a table"]
    head += [f"t: +{gain:.0f}" for gain in GAINS]
    lines = _head(head)
    for world in WORLDS:
        lines.append(f"| **{world.name}** |" + " |" * (len(head) - 1))
        for scans in (12, 60):
            for folds in (2, 3, 5):
                for shared in (0.0, SHARED):
                    rng = np.random.default_rng([scans, folds, round(10 * shared), 1])
                    table = draw(rng, world, scans // folds, folds, shared, tables, folds=True)
                    drawn = over_folds(table)
                    check(table, drawn, "folds", lambda a, b: compare_folds(a, b).gap)
                    cells = [str(scans), str(folds), f"{shared:.1f}"]
                    cells += [_percent(drawn.false("folds", n)) for n in (1, SYSTEMS - 1)]
                    cells += [*drawn.power("folds"), _percent(drawn.false("t")), *drawn.power("t")]
                    lines.append(_row(cells))
    return lines


def share_lines(tables: int) -> list[str]:
    """Two folds where trainings vary less and more than is assumed; scans of variance 1."""
    shares = (0.0, 0.1, 0.25, SHARE, 1.0, 2.0, 100.0)
    lines = _head(["scans in a fold", *(f"share {share:g}" for share in shares)])
    for scans in (3, 6, 30):
        cells = [str(scans)]
        for share in shares:
            rng = np.random.default_rng([scans, round(100 * share), 2])
            luck = np.sqrt(share / 2) * rng.standard_normal((tables, SYSTEMS, 2, 1))
            single = np.sqrt(1 / 2) * rng.standard_normal((tables, SYSTEMS, 2, scans))
            drawn = over_folds(luck + single)
            rates = [_percent(drawn.false("folds", tests)) for tests in (1, SYSTEMS - 1)]
            cells.append(", ".join(rates))
        lines.append(_row(cells))
    return lines


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Estimates of one comparison: variances of the mean over one seed, arm by arm and paired.

    share: what trainings do to all scans alike, as a part of the variance over scans.
    """

    arms: float
    pair: float
    share: float
    alike: bool


def archive_lines() -> list[str]:
    """What pairs have in common, and what trainings add, in the studies of several seeds."""
    head = ["study", "labels", "same weights", "comparisons", "in common"]
    lines = _head([*head, "share: mean", "largest"])
    for study, split in STUDIES:
        groups: dict[tuple[int, str], list[RunResult]] = {}
        for run in read_results(ARCHIVES / study, split=split).results:
            groups.setdefault((run.labeled, run.row), []).append(run)
        for count in sorted({labeled for labeled, _ in groups}):
            rows = [g for (labeled, _), g in groups.items() if labeled == count and len(g) > 1]
            control = groups.get((count, CONTROL), [])
            found = [_pairing(control, row) for row in rows if row[0].row not in (CONTROL, "base")]
            if len(control) > 1 and found:
                common = 1 - np.sum([p.pair for p in found]) / np.sum([p.arms for p in found])
                shares = [p.share for p in found]
                cells = [study, str(count), "yes" if found[0].alike else "no", str(len(found))]
                cells += [f"{x:.2f}" for x in (common, np.mean(shares), np.max(shares))]
                lines.append(_row(cells))
    return lines


def _pairing(control: Sequence[RunResult], other: Sequence[RunResult]) -> Pairing:
    arms = [
        np.array([mean_of_defined(100 * run.values["dice"], axis=1) for run in arm])
        for arm in (control, other)
    ]
    difference = arms[1] - arms[0]
    seeds, scans = difference.shape
    rest = difference - difference.mean(axis=0) - difference.mean(axis=1, keepdims=True)
    rest = ((rest + difference.mean()) ** 2).sum() / ((seeds - 1) * (scans - 1))
    pair = difference.mean(axis=1).var(ddof=1)
    # Over one training's scans: what systems do to single scans, and what this training does.
    single = difference.mean(axis=0).var(ddof=1) + rest * (1 - 1 / seeds)
    return Pairing(
        arms=sum(arm.mean(axis=1).var(ddof=1) for arm in arms),
        pair=pair,
        share=(pair - rest / scans) / single,
        alike=all(a.starts & b.starts for a, b in zip(control, other, strict=True)),
    )


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), "|" + "---|" * len(cells)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def main() -> None:
    """Write ``verdicts.md``."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tables", type=int, default=1000, help="of folds ten times that")
    asked = parser.parse_args()
    text = [
        "# False verdicts and what is found",
        "",
        f"Made by `benchmarks/verdict_simulation.py`, {asked.tables} tables a row of {SYSTEMS} "
        f"systems, of folds {10 * asked.tables}; trainings of one system deviate by {SEED_SD} "
        "Dice. False: tables in which any of nine equal systems is called better or worse than the "
        "control. +1, +2: how often a system better by so much Dice is found by the rule to the "
        "left, compared alone, in its table of nine. Found in 80 %: what a report prints beside an "
        "inconclusive comparison, alone and in a table, the median.",
        "",
        "## Trainings that share nothing",
        "",
        "The rule in force is that of independent trainings; pairs would be by number of seed. "
        "Then other rules: no bound on the freedom, pairs with Satterthwaite's freedom in place "
        "of an interval of two parts, a mixed model's variance, a crossed bootstrap (100 tables).",
        "",
        *seed_lines(asked.tables, 0.0),
        "",
        "## Trainings that begin with the same weights",
        "",
        f"Those of one seed have {SHARED:.0%} of their variance in common. The rule in force is "
        "that of pairs; that of independent trainings is the old one.",
        "",
        *seed_lines(asked.tables, SHARED),
        "",
        "## Folds",
        "",
        "As `simcvd run` compares. t: Student's over the folds' means, which is in force from "
        "three folds on and was the rule for two. In common: of a training's variance, by fold.",
        "",
        *fold_lines(10 * asked.tables),
        "",
        "What two folds cannot show is assumed: that what trainings do to all scans alike has at "
        f"most {SHARE:g} of the variance between scans. False verdicts, alone and in a table, "
        "where it has another share:",
        "",
        *share_lines(10 * asked.tables),
        "",
        "## The archives",
        "",
        "Comparisons with the V-Net of the same seeds in this repository's studies. In common: by "
        "how much the variance of the pairs' differences is less than the sum of both arms'. "
        "Share: as above, less what trainings do to single scans; below 0 by chance.",
        "",
        *archive_lines(),
    ]
    write_text(asked.out / "verdicts.md", "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
