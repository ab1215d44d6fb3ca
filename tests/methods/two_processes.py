"""Run by torchrun from test_contract.py: a few steps of every method in each process.

Prints the name of each method whose processes saw different scans and yet end with equal
parameters.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import distributed

from simcvd.data.cache import Cache
from simcvd.methods.registry import names
from simcvd.training.loop import Trainer
from simcvd.training.run import resolve
from simcvd.training.setup import launch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.small import LABELED, NETWORK, TRAIN, with_pseudo_labels


def main(cache: Path, out: Path) -> None:
    fabric, data = launch(), Cache(cache)
    for name in names():
        run = resolve(data, method=name, labeled=LABELED, train=TRAIN, network=NETWORK)
        trainer = with_pseudo_labels(Trainer(fabric, run, data, out / name))
        for _ in range(3):
            trainer.train_step()
        mine = torch.cat([p.detach().flatten() for p in trainer.method.parameters()])
        cases = trainer.patches.batch(0).cases
        both = [None, None]
        distributed.all_gather_object(both, (mine, cases))
        (first, seen), (second, also_seen) = both
        assert torch.equal(first, second), f"{name}: parameters differ between processes"
        assert seen != also_seen, f"{name}: both processes drew {seen}"
        if fabric.is_global_zero:
            print(name, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
