"""`make campaign`: every verb killed at its file operations, thousands of damaged files.

Within 60 minutes on two cores. It prints its figures and what went wrong, and ends with 1 if
anything did.
"""

from __future__ import annotations

import argparse
import errno
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.scenarios import Base

KILLS, MUTANTS, HEADERS, RECORDS = 240, 2000, 60, 60
# These take five to ten seconds of a processor, others less than one: fewer operations are killed.
SHARES = {"run": 0.1, "round": 0.1, "benchmark": 0.1}


def main() -> int:
    """Run all parts, or fewer trials of each."""
    import torch
    from tests.faults.kills import preload
    from tests.faults.scenarios import make_base

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, epilog="0 leaves a part out.")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--only", action="append", help="kill this scenario; may be repeated")
    parser.add_argument("--mutants", type=int, default=MUTANTS)
    parser.add_argument("--headers", type=int, default=HEADERS, help="examples a format")
    parser.add_argument("--records", type=int, default=RECORDS, help="values exchanged in each")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    os.environ |= {"SIMCVD_CHECKPOINT_SECONDS": "0", "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    preload()
    with tempfile.TemporaryDirectory(prefix="simcvd-campaign-") as scratch:
        base = make_base(Path(scratch) / "base") if chosen.kills or chosen.records else None
        wrong: list[str] = []
        if base and chosen.kills:
            wrong += _killed(base, Path(scratch) / "kills", chosen.kills, chosen.jobs, chosen.only)
        if base and chosen.records:
            wrong += _exchanged(base, Path(scratch) / "records", chosen.records, chosen.jobs)
        if chosen.mutants:
            wrong += _damaged(Path(scratch) / "damage", chosen.mutants, chosen.jobs)
    if chosen.headers:
        wrong += _hostile(chosen.headers, chosen.jobs)
    print(f"{(time.monotonic() - started) / 60:.0f} minutes; {len(wrong)} problems")
    print("\n".join(wrong))
    return 1 if wrong else 0


def _killed(base: Base, scratch: Path, count: int, jobs: int, only: list[str] | None) -> list[str]:
    """Kills, and full disks at a fifth as many operations; what was wrong."""
    from tests.faults.kills import summary, undisturbed
    from tests.faults.scenarios import scenarios

    every, wanted = scenarios(base), {}
    for name in only or every:
        wanted[name] = undisturbed(every[name], scratch / name)
        print(f"{name}: {wanted[name][0]} file operations", flush=True)
    rng, tasks = random.Random(0), []
    whole = {name: total for name, (total, _) in wanted.items() if name not in SHARES}
    left = count - sum(count * s for name, s in SHARES.items() if name in wanted)
    share = min(left / max(sum(whole.values()), 1), 1.0)
    for name, (total, tree) in wanted.items():
        few = round(count * SHARES[name]) if name in SHARES else round(share * total)
        numbers = rng.sample(range(1, total + 1), min(max(few, 1), total))
        tasks += [(base, name, scratch, number, "kill", tree) for number in numbers]
        if name not in SHARES:
            full = numbers[: max(len(numbers) // 5, 1)]
            tasks += [(base, name, scratch, number, str(errno.ENOSPC), tree) for number in full]
    rng.shuffle(tasks)
    done = list(_each(_kill_task, tasks, jobs))
    for kind, title in (("kill", "Kills"), (str(errno.ENOSPC), "Full disks")):
        mine = [trial for which, trial in done if which == kind]
        print(f"{title}: {len(mine)}\n{summary(mine)}", flush=True)
    return [f"{t.scenario} {which} at {t.operation}: {t.problem}" for which, t in done if t.problem]


def _kill_task(task: Any) -> Any:
    from tests.faults.kills import one_trial
    from tests.faults.scenarios import scenarios

    base, name, scratch, number, kind, tree = task
    folder = scratch / f"{name}_{number}_{kind}"
    return kind, one_trial(scenarios(base)[name], folder, number, kind, tree)


def _exchanged(base: Base, scratch: Path, each: int, jobs: int) -> list[str]:
    """Records of a stranger's with values of other kinds; what was wrong."""
    from tests.faults.records import exchanges

    tasks = [(one, scratch) for one in exchanges(base, each)]
    wrong = [problem for problem in _each(_exchange_task, tasks, jobs) if problem]
    print(f"Damaged records: {len(tasks)}, {len(wrong)} not read and not refused", flush=True)
    return wrong


def _exchange_task(task: Any) -> str:
    exchange, scratch = task
    return exchange.tried(scratch)


def _damaged(scratch: Path, count: int, jobs: int) -> list[str]:
    """Flipped bits and cut ends in every format; what was wrong."""
    from tests.faults.damage import reference
    from tests.faults.samples import mutants, write_samples
    from tests.inference.tools import small_vnet, spec

    from simcvd.inference.model import save_model

    model = scratch / "model"
    save_model(model, small_vnet(), spec())
    samples = write_samples(scratch / "samples")
    sound = {name: reference(s, model, scratch / "sound") for name, s in samples.items()}
    if unread := [name for name, image in sound.items() if image is None]:
        print(f"not prepared from such a folder even when sound: {', '.join(unread)}")
    each = -(-count // len(samples))
    tasks = [
        (mutant, model, scratch / f"{name}_{number}", sound[name])
        for name, sample in samples.items()
        for number, mutant in enumerate(mutants(sample, each, seed=0))
    ]
    outcomes = list(_each(_damage_task, tasks, jobs))
    taken = Counter(o.name.partition(":")[0] for o in outcomes if o.accepted)
    print(f"Damaged scans: {len(outcomes)} in {len(samples)} formats")
    for name in samples:
        print(f"  {name:<10} {each} damaged, {taken[name]} prepared all the same")
    return [f"{o.name}: {problem}" for o in outcomes for problem in o.problems]


def _damage_task(task: Any) -> Any:
    from tests.faults.damage import try_mutant

    return try_mutant(*task)


def _hostile(examples: int, jobs: int) -> list[str]:
    """Headers that Hypothesis draws, by the tests that draw a few each time."""
    from tests.faults.headers import BINARIES, TEXTS

    os.environ["FAULT_EXAMPLES"] = str(examples)
    tasks = [f"binary_headers[{name}]" for name in BINARIES]
    tasks += [f"text_headers[{name}]" for name in TEXTS]
    wrong = [name for name, code in _each(_hostile_task, tasks, jobs) if code]
    print(f"Hostile headers: {examples} in each of {len(tasks)} formats, {len(wrong)} failed")
    return [f"hostile {name}: see pytest's report above" for name in wrong]


def _hostile_task(name: str) -> tuple[str, int]:
    import pytest

    test = f"{Path(__file__).with_name('test_damage.py')}::test_hostile_{name}"
    return name, int(pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", test]))


def _each(work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(work, tasks)


if __name__ == "__main__":
    sys.exit(main())
