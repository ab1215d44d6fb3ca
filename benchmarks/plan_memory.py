"""Peak memory of SimCVD's training step beside what a plan expects of it.

    python benchmarks/plan_memory.py

Each size is a process of its own: its peak resident memory over two steps in float32, less what
the process held before it built the network.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from math import prod
from pathlib import Path

import torch

from simcvd.methods.simcvd import Config, SimCVD
from simcvd.networks.vnet import VNet
from simcvd.planning import Plan
from simcvd.training.optim import build_optimizers
from simcvd.training.settings import TrainConfig
from simcvd.types import Batch, Progress, Task

CASES = {
    "hippocampus": Plan(
        channels=1, classes=3, spacing=(1, 1, 1), normalization="zscore", patch=(40, 56, 40),
        widths=(16, 32, 64, 128), blocks=(1, 2, 3, 3), strides=((2, 2, 2),) * 3,
    ),
    "hippocampus, quick": Plan(
        channels=1, classes=3, spacing=(1, 1, 1), normalization="zscore", patch=(40, 56, 40),
        widths=(8, 16, 32, 64), blocks=(1, 1, 2, 2), strides=((2, 2, 2),) * 3,
    ),
    "64 cube, 20 classes, 4 channels": Plan(
        channels=4, classes=20, spacing=(1, 1, 1), normalization="zscore", patch=(64, 64, 64),
        widths=(16, 32, 64, 128), blocks=(1, 2, 3, 3), strides=((2, 2, 2),) * 3,
    ),
    "thick slices": Plan(
        channels=1, classes=2, spacing=(1, 1, 1), normalization="zscore", patch=(96, 96, 32),
        widths=(16, 32, 64, 128, 256), blocks=(1, 2, 3, 3, 3),
        strides=((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)),
    ),
    "flat, 8 classes, 2 channels": Plan(
        channels=2, classes=8, spacing=(1, 1, 1), normalization="zscore", patch=(64, 48, 32),
        widths=(16, 32, 64), blocks=(1, 2, 3), strides=((2, 2, 1), (2, 2, 2)),
    ),
    "left atrium": Plan(
        channels=1, classes=2, spacing=(1, 1, 1), normalization="none", patch=(112, 112, 80),
        widths=(16, 32, 64, 128, 256), blocks=(1, 2, 3, 3, 3), strides=((2, 2, 2),) * 4,
    ),
}  # fmt: skip


def measure(plan: Plan) -> int:
    """Bytes by which this process grows at most during two steps."""
    # A first convolution loads what all of them share.
    torch.nn.Conv3d(1, 1, 3)(torch.zeros(1, 1, 8, 8, 8)).sum().backward()
    before = _resident()
    task = Task(channels=plan.channels, classes=plan.classes, patch=plan.patch)

    def build(*, distance: bool = False) -> VNet:
        return VNet(
            plan.channels, plan.classes, distance=distance,
            widths=plan.widths, blocks=plan.blocks, strides=plan.strides,
        )  # fmt: skip

    settings = dict(setting.split("=") for setting in SimCVD.planned(plan.patch))
    pool = int(settings["method.pool"])
    method = SimCVD(Config(pool=pool), task, build).train()
    optimizers = build_optimizers(method, TrainConfig())
    batch = _batch(plan)
    for step in range(2):
        progress = Progress(step=step, total=2)
        weights = method.weights(progress)
        loss = sum(weights[name] * term for name, term in method(batch, progress).items())
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[union-attr]
        for optimizer in optimizers.values():
            optimizer.step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize()


def _batch(plan: Plan) -> Batch:
    labeled, patch = plan.labeled_batch, plan.patch
    image = torch.randn(plan.batch, plan.channels, *patch)
    return Batch(
        image=image.contiguous(memory_format=torch.channels_last_3d),
        label=torch.randint(plan.classes, (labeled, *patch)),
        distance=torch.rand(labeled, plan.classes - 1, *patch),
        cases=("random",) * plan.batch,
    )


def main() -> None:
    """A line a size: voxels of the batch, expected and measured GB, their ratio."""
    names = sys.argv[1:] or CASES
    print("| | voxels | expected [GB] | measured [GB] | expected / measured |")
    print("|---|---|---|---|---|")
    for name in names:
        plan = CASES[name]
        child = subprocess.run(
            [sys.executable, __file__, "--measure", name],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        measured, expected = json.loads(child.stdout), plan.memory_bytes
        print(
            f"| {name} | {plan.batch * prod(plan.patch):,} | {expected / 1e9:.2f} | "
            f"{measured / 1e9:.2f} | {expected / measured:.2f} |", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(measure(CASES[sys.argv[2]]))
    else:
        main()
