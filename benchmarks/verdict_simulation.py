"""How often a table of equal systems has a false verdict, and what gain a table finds.

    python benchmarks/verdict_simulation.py --out benchmarks/results/statistics

Draws tables of ten systems, the first of which is the control: a score is the scan's own worth
(which cancels), plus what the system does to that scan, plus the training's luck, plus what the
training does to that scan, all normal. Beside the rule of `simcvd.scoring.comparison` stand others
that were tried. About four minutes of processor time; the same tables every time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from simcvd.files import write_text
from simcvd.scoring.comparison import Comparison, compare, compare_folds, correct
from simcvd.scoring.gap import ALPHA, Gap

SYSTEMS, SEED_SD = 10, 0.8
GAINS = (1.0, 2.0)


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


def draw(rng: np.random.Generator, world: World, scans: int, seeds: int) -> np.ndarray:
    """Scores of one table of equal systems, ``[SYSTEMS, seeds, scans]``."""
    own = world.system_sd * rng.standard_normal((SYSTEMS, 1, scans))
    luck = SEED_SD * rng.standard_normal((SYSTEMS, seeds, 1))
    return own + luck + world.training_sd * rng.standard_normal((SYSTEMS, seeds, scans))


def compared(table: np.ndarray) -> list[Comparison]:
    """Every system against the first, by the rule that tables follow."""
    control, *others = [[scores[:, None] for scores in system] for system in table]
    return correct([compare(control, other) for other in others])


def has_verdict(comparisons: list[Comparison]) -> bool:
    """Whether any is called better or worse."""
    return any(c.verdict in ("better", "worse") for c in comparisons)


def found(comparisons: list[Comparison], gain: float) -> tuple[bool, bool]:
    """Whether the first system, were it better by ``gain``, is found alone, and in its table."""
    first = comparisons[0]
    gap = replace(first.gap, mean=first.gap.mean + gain)
    table = correct([replace(first, gap=gap, p_holm=gap.p), *comparisons[1:]])
    return gap.p < ALPHA and gap.mean > 0, table[0].verdict == "better"


def other_rules(table: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, bool]]:
    """What else was tried: whether each has a false verdict in this table after Holm."""
    _, seeds, scans = table.shape
    seed_parts = table.mean(axis=2).var(axis=1, ddof=1) / seeds
    gaps = table.mean(axis=1)[1:] - table.mean(axis=1)[0]
    scan_part = gaps.var(axis=1, ddof=1) / scans
    parts = seed_parts[1:] + seed_parts[0] + scan_part
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=2, keepdims=True)
    rest = ((rest + table.mean(axis=(1, 2), keepdims=True)) ** 2).sum(axis=(1, 2))
    twice = rest / ((seeds - 1) * (scans - 1)) / (scans * seeds)
    once = np.maximum(parts - twice[1:] - twice[0], np.maximum(scan_part, parts - scan_part))
    for name, variance in (("sum, freedom unbounded", parts), ("mixed model", once)):
        squares = (seed_parts[1:] ** 2 + seed_parts[0] ** 2) / (seeds - 1)
        freedom = variance**2 / (squares + scan_part**2 / (scans - 1))
        p = 2 * stats.t.sf(np.abs(gaps.mean(axis=1)) / np.sqrt(variance), freedom)
        yield name, bool(p.min() * len(p) < ALPHA)
    yield "crossed bootstrap", _bootstrap(table, rng)


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


def table_lines(tables: int, alternatives: int) -> list[str]:
    """False verdicts, what is found, and the other rules, as rows of a Markdown table."""
    lines = [
        "| scans | trainings | tables with a false verdict | +1 alone, in a table | +2 alone, in a "
        "table | found in 80 %: alone, in a table | sum, freedom unbounded | mixed model | crossed "
        "bootstrap |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for world in WORLDS:
        lines.append(f"| **{world.name}** | | | | | | | | |")
        for scans in (20, 60):
            for seeds in (2, 3, 5):
                rng = np.random.default_rng([scans, seeds])
                drawn = [draw(rng, world, scans, seeds) for _ in range(tables)]
                lines.append(_line(drawn, scans, seeds, alternatives, rng))
    return lines


def _line(
    drawn: list[np.ndarray], scans: int, seeds: int, alternatives: int, rng: np.random.Generator
) -> str:
    done = [compared(table) for table in drawn]
    wrong = np.mean([has_verdict(comparisons) for comparisons in done])
    power = [np.mean([found(c, gain) for c in done], axis=0) for gain in GAINS]
    gaps = [c[0].gap for c in done[:200]]
    seen = [np.median([gap.detectable(tests) for gap in gaps]) for tests in (1, SYSTEMS - 1)]
    tried: dict[str, list[bool]] = {}
    for table in drawn[:alternatives]:
        for name, verdict in other_rules(table, rng):
            tried.setdefault(name, []).append(verdict)
    cells = [str(scans), str(seeds), f"{100 * wrong:.1f} %"]
    cells += [f"{100 * alone:.0f} %, {100 * among:.0f} %" for alone, among in power]
    cells += [f"{seen[0]:.1f}, {seen[1]:.1f}"]
    cells += [f"{100 * np.mean(verdicts):.1f} %" for verdicts in tried.values()]
    return "| " + " | ".join(cells) + " |"


def fold_lines(repetitions: int) -> list[str]:
    """The same of `compare_folds`, which `simcvd run` goes by."""
    lines = [
        "| scans | folds | false verdicts | +1 found | +2 found | +4 found |",
        "|---|---|---|---|---|---|",
    ]
    for world in WORLDS:
        lines.append(f"| **{world.name}** | | | | | |")
        for scans, folds in ((12, 2), (12, 3), (30, 3), (30, 5)):
            rng = np.random.default_rng([scans, folds])
            gaps = [_folds(rng, world, scans // folds, folds) for _ in range(repetitions)]
            cells = [np.mean([_better(gap, gain) for gap in gaps]) for gain in (*GAINS, 4.0)]
            wrong = np.mean([gap.p < ALPHA for gap in gaps])
            rates = " | ".join(f"{100 * rate:.1f} %" for rate in (wrong, *cells))
            lines.append(f"| {scans} | {folds} | {rates} |")
    return lines


def _folds(rng: np.random.Generator, world: World, scans: int, folds: int) -> Gap:
    """Both arms of a cross-validation of equal systems; what scans are worth cancels."""
    sd = np.hypot(world.system_sd, world.training_sd)
    luck = SEED_SD * rng.standard_normal((2, folds, 1, 1))
    control, other = luck + sd * rng.standard_normal((2, folds, scans, 1))
    return compare_folds(list(control), list(other)).gap


def _better(gap: Gap, gain: float) -> bool:
    moved = replace(gap, mean=gap.mean + gain)
    return moved.p < ALPHA and moved.mean > 0


def main() -> None:
    """Write ``verdicts.md``."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--alternatives", type=int, default=200, help="tables for other rules")
    asked = parser.parse_args()
    text = [
        "# False verdicts and what is found",
        "",
        f"Made by `benchmarks/verdict_simulation.py`, {asked.tables} tables a row of {SYSTEMS} "
        f"systems; trainings of one system deviate by {SEED_SD} Dice. A table has a false verdict "
        "where any of nine equal systems is called better or worse than the control. +1, +2: how "
        "often a system better by so much Dice is found, compared alone or in its table of nine. "
        "Found in 80 %: what a report prints beside an inconclusive comparison, the median. The "
        f"last three columns: false verdicts of other rules over {asked.alternatives} tables.",
        "",
        *table_lines(asked.tables, asked.alternatives),
        "",
        "## Folds",
        "",
        "One comparison by cross-validation, as `simcvd run` makes it.",
        "",
        *fold_lines(asked.tables),
    ]
    write_text(asked.out / "verdicts.md", "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
