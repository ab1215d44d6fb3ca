"""What a training is made of before its first step: processes, method, patches, random seeds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch import nn

from simcvd.data.cache import Cache
from simcvd.data.sampler import Patches, TwoStreams, Views
from simcvd.machine import reuse_memory
from simcvd.methods.base import Method
from simcvd.methods.registry import find
from simcvd.networks.autocast import Precision
from simcvd.networks.build import CustomNetwork, Factory, build_network, check_network
from simcvd.networks.fast import is_accelerated
from simcvd.training.run import Run, network_arguments
from simcvd.types import SimcvdError
from simcvd.wording import by, few

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def build_method(run: Run) -> Method:
    """The run's method with its initial weights, which depend on the seed alone."""
    torch.manual_seed(run.train.seed)
    own = network_of(run)
    asked: list[bool] = []
    built: list[nn.Module] = []

    def build(*, distance: bool = False, features: bool = False) -> nn.Module:
        asked.append(distance)
        network = build_network({**network_arguments(run), "distance": distance}, own)
        built.append(network)
        if own is not None:
            task = run.task
            check_network(
                network,
                channels=task.channels,
                classes=task.classes,
                distance=distance,
                features=features,
                patch=task.patch,
            )
        return network

    method = find(run.method)(run.config, run.task, build).train()
    method.distance, method.built = any(asked), tuple(built)
    return method


def network_of(run: Run) -> Factory | None:
    """The caller's own factory of the run's network, if it is not the V-Net."""
    return run.network.factory if isinstance(run.network, CustomNetwork) else None


def launch(*, leaves_unused: bool = True) -> Fabric:
    """One process, or those that torchrun started.

    leaves_unused: whether a step may leave parameters without a gradient, as some methods do:
    processes that wait for each other's gradients then look which came, each step. Raises
    SimcvdError for tasks of Slurm without torchrun, which know nothing of each other.
    """
    _refuse_bare_tasks()
    # Seconds of importing, which only a training is worth.
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // processes
    several = processes * nodes > 1
    strategy = DDPStrategy(find_unused_parameters=leaves_unused) if several else "auto"
    fabric = Fabric(devices=processes, num_nodes=nodes, strategy=strategy)
    fabric.launch()
    if fabric.device.type == "cpu":
        reuse_memory()
    return fabric


def _refuse_bare_tasks() -> None:
    tasks = os.environ.get("SLURM_NTASKS", "1")
    if tasks.isdecimal() and int(tasks) > 1 and not {"WORLD_SIZE", "RANK"} & os.environ.keys():
        raise SimcvdError(
            f"Slurm has {tasks} tasks here (SLURM_NTASKS), and each would be a training by itself, "
            "all in one folder. For one training on all GPUs let one task a node start torchrun: "
            "srun --ntasks-per-node=1 torchrun --nnodes=$SLURM_NNODES --nproc-per-node=GPUS "
            "--rdzv-backend=c10d --rdzv-endpoint=FIRST_NODE:29500 -m simcvd.cli train ...; for a "
            "training on one GPU ask for --ntasks=1"
        )


def precision_of(run: Run, method: Method, device: torch.device) -> Precision:
    """The run's; on a CPU "auto" is float32 where a network has convolutions of its own kinds.

    Torch errs on small maps in bfloat16 (`networks.autocast`), and only its own are exchanged.
    """
    unsure = device.type == "cpu" and not all(map(is_accelerated, method.built))
    return "float32" if unsure and run.train.precision == "auto" else run.train.precision


def patches_of(fabric: Fabric, run: Run, cache: Cache, method: Method) -> Patches:
    batch = run.train.patches(uses_unlabeled=method.uses_unlabeled)
    if method.uses_unlabeled:
        _check_unlabeled(run, batch, method.least_unlabeled)
    streams = TwoStreams(
        labeled=run.labeled,
        unlabeled=run.unlabeled,
        batch=batch,
        seed=run.train.seed,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    views = Views(
        patch=run.task.patch,
        poses=run.train.augmentation,
        augment=run.augment,
        foreground=run.train.foreground,
        distance=method.distance,
        strong=method.strong_views,
    )
    return Patches(cache, streams, views, fabric.device)


def _check_unlabeled(run: Run, batch: tuple[int, int], least: int) -> None:
    """Refuse a batch or a training list that a semi-supervised method cannot learn from."""
    _, unlabeled = batch
    if unlabeled and not run.unlabeled:
        raise SimcvdError(
            f"{run.method} needs unlabelled scans and the training list has none beyond the "
            f"{len(run.labeled)} labelled; lower --labeled, or train --method supervised"
        )
    if unlabeled < least:
        raise SimcvdError(
            f"{run.method} needs {least} unlabelled patches or more a step and gets "
            f"{unlabeled}, beside {run.train.labeled_batch} labelled; raise train.unlabeled_batch, "
            "or train --method supervised"
        )


def say_padded(patches: Patches) -> None:
    """Name the scans that are smaller than the patch."""
    if padded := patches.padded():
        size = by(patches.views.patch)
        print(
            f"{len(padded)} scans are smaller than the patch of {size} voxels and are filled up "
            f"with 0 around them: {few(padded)}",
            flush=True,
        )


def mix(seed: int, step: int, rank: int) -> int:
    """Distinct 63-bit seeds for (seed, step, process), by odd multipliers."""
    mixed = seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB
    mixed &= (1 << 64) - 1
    mixed = ((mixed ^ (mixed >> 31)) * 0xD6E8FEB86659FD93) & ((1 << 64) - 1)
    return (mixed ^ (mixed >> 32)) >> 1
