"""What a run is: its settings resolved against a cache, and the record of them on disk."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import torch

from simcvd import __version__
from simcvd.data.cache import Cache
from simcvd.files import contents, read_object, write_json
from simcvd.inference.model import ModelSpec
from simcvd.methods.registry import default_config, find, origin, package
from simcvd.naming import check_all
from simcvd.networks.base import Architecture
from simcvd.networks.build import CustomNetwork, name_of
from simcvd.records import Kind, as_json
from simcvd.training.recipes import PAPER, Recipe
from simcvd.training.settings import (
    NetworkConfig,
    TrainConfig,
    choose_network,
    differences,
    override,
)
from simcvd.transforms.augment import AugmentConfig, check_augment
from simcvd.types import IntTriple, SimcvdError, Task

RUN = Kind(name="a run", record=dict, advice="Use the simcvd that it was begun with.")
CASE_LISTS = ("labeled", "unlabeled", "holdout")  # of which an exported model keeps the lengths
GROUPS = ("train", "augment", "config", "network")  # of settings, in its record
CONTROL = "supervised"  # the method that others are held against, and start from
BENCHMARK_PATCH_MM = (70.0, 70.0, 50.0)  # 112 x 112 x 80 voxels of 0.625 mm

Split = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Names of the training scans that count as labelled, as unlabelled, and those held out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A method, its data and every setting, nothing left open.

    labeled, unlabeled, holdout: case names. config: the method's own Config. recipe: the name of
    the one its settings began with. init: SHA-256 of the weights it starts from, of several joined
    by "+", "" for fresh ones.
    """

    method: str
    recipe: str = PAPER.name
    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    holdout: tuple[str, ...]
    task: Task
    config: Any
    train: TrainConfig
    augment: AugmentConfig = PAPER.augment
    network: Architecture | CustomNetwork
    init: str = ""

    def record(self) -> dict[str, Any]:
        """As JSON: what must be the same for a run to be resumed."""
        record = {**as_json(self), "network": as_json(_sizes(self.network))}
        revision = find(self.method).revision
        known = {"format": RUN.format, "simcvd": __version__, "revision": revision}
        offered = package(self.method)
        return {**known, **({"package": offered} if offered else {}), **record}


def completed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A run's record as this version writes it: fields that are younger get what was done before.

    What names a version and nothing else is left out, so that records of two can be compared.
    """
    plain = {name: value for name, value in record.items() if name not in ("format", "simcvd")}
    younger = {
        "train": as_json(TrainConfig()),
        "augment": as_json(PAPER.augment),
        "config": _before(plain["method"]),
    }
    for group, defaults in younger.items():
        plain[group] = {**defaults, **plain.get(group, {})}
    return {"recipe": PAPER.name, "init": "", "revision": 1, **plain}


def _before(method: str) -> dict[str, Any]:
    """What a method did before it had the settings it has now."""
    return {**as_json(default_config(method)), **find(method).before}


def resolve(
    cache: Cache,
    *,
    method: str,
    labeled: int,
    settings: Iterable[str] = (),
    train: TrainConfig | None = None,
    network: Architecture | CustomNetwork | None = None,
    recipe: Recipe = PAPER,
    scans: Split | None = None,
) -> Run:
    """Fill in all defaults.

    ``settings`` are ``group.field=value`` over what the recipe says; the groups are method, train,
    augment and network. ``scans``: in place of those that the counts choose.

    Raises:
        SimcvdError: settings out of range, or that fit neither each other nor the data.
    """
    settings = tuple(settings)
    if not isinstance(network, CustomNetwork):
        network, settings = choose_network(settings, network)
    if length := [s for s in settings if s.partition("=")[0].strip() == "train.iterations"]:
        asked: TrainConfig = override({"train": PAPER.train}, length)["train"]
        recipe = recipe.of_length(asked.iterations)
    configs = {
        "method": default_config(method),
        "train": train or recipe.train,
        "augment": recipe.augment,
        "network": network,
    }
    configs = override(configs, settings)
    schedule: TrainConfig = configs["train"]
    if schedule.patch is None:
        patch = default_patch(cache, configs["network"])
        schedule = dataclasses.replace(schedule, patch=patch)
    assert schedule.patch is not None
    _check_patch(schedule.patch, configs["network"])
    check_augment(configs["augment"], schedule.patch, cache.manifest.spacing)
    info = cache.task_info
    names, rest, held = scans or split(cache, labeled, schedule.holdout, schedule.fold)
    return Run(
        method=method,
        recipe=recipe.name,
        labeled=names,
        unlabeled=rest,
        holdout=held,
        task=Task(channels=info.channels, classes=info.classes, patch=schedule.patch),
        config=configs["method"],
        train=schedule,
        augment=configs["augment"],
        network=configs["network"],
    )


def split(cache: Cache, labeled: int, holdout: int, fold: int = 0) -> Split:
    """Training cases that count as labelled, as unlabelled, and those held out.

    Held out are the last ``holdout`` cases that have a label, or in fold 1 those before, and so
    on; labelled are the first ``labeled`` of the others that have one. What is held out is not
    among the unlabelled either.
    """
    cache.labeled(labeled)
    cache.labeled(labeled + holdout)  # refuses more than there are
    have = tuple(name for name in cache.train if cache.manifest.cases[name].has_label)
    last = len(have) - fold * holdout
    if last < holdout:
        raise SimcvdError(
            f"train.fold is {fold}, but {len(have)} labelled scans, {holdout} held out at a time, "
            f"make the folds 0 to {len(have) // holdout - 1}"
        )
    held = have[last - holdout : last]
    names = tuple(name for name in have if name not in held)[:labeled]
    rest = tuple(name for name in cache.train if name not in {*names, *held})
    return names, rest, held


def default_patch(cache: Cache, network: Architecture | CustomNetwork) -> IntTriple:
    """The benchmark's 70 x 70 x 50 mm, rounded up to what the network halves evenly.

    No axis is longer than the median scan, rounded to the nearest such size. A custom network is
    taken to halve as often as the benchmark's V-Net.
    """
    divisor = (NetworkConfig() if isinstance(network, CustomNetwork) else network).divisor
    sizes = torch.tensor(
        [cache.manifest.cases[name].shape for name in cache.train], dtype=torch.float32
    )
    median = sizes.median(0).values.tolist()
    patch = []
    for axis, step in enumerate(divisor):
        wanted = -(-BENCHMARK_PATCH_MM[axis] / cache.manifest.spacing[axis] // step) * step
        reach = int(median[axis] / step + 0.5) * step
        patch.append(max(min(int(wanted), reach), step))
    return (patch[0], patch[1], patch[2])


def _check_patch(patch: IntTriple, network: Architecture | CustomNetwork) -> None:
    """Refuse what the network cannot halve; a custom network is asked with an empty patch."""
    if not isinstance(network, CustomNetwork) and (reason := network.misfit(patch)):
        raise SimcvdError(f"train.patch is {patch} voxels; {reason}")


def default_stride(patch: IntTriple) -> IntTriple:
    """Voxels between windows of this size when nobody says otherwise: half of it."""
    x, y, z = (max(n // 2, 1) for n in patch)
    return x, y, z


def network_arguments(run: Run) -> dict[str, Any]:
    """What `build_network` needs to know, but for the distance head."""
    return {"channels": run.task.channels, "classes": run.task.classes, **_sizes(run.network)}


def _sizes(network: Architecture | CustomNetwork) -> dict[str, Any]:
    if isinstance(network, CustomNetwork):
        return {"factory": name_of(network.factory)}
    return network.record()


def base_of(run: Run, number: int = 0) -> Run:
    """The supervised run whose weights ``run`` starts from, or another that its method needs."""
    schedule = dataclasses.replace(
        run.train, iterations=run.train.base, base=0, seed=base_seed(run.train.seed, number)
    )
    return dataclasses.replace(run, method=CONTROL, config=default_config(CONTROL), train=schedule)


def base_seed(seed: int, number: int) -> int:
    """The seed of base ``number``: so far apart that trainings of several seeds share none."""
    return seed + 1000 * number


def model_spec(run: Run, cache: Cache, *, distance: bool) -> ModelSpec:
    """What travels with the trained network, to predict with it."""
    manifest = cache.manifest
    return ModelSpec(
        network={**network_arguments(run), "distance": distance},
        class_names=manifest.class_names,
        label_values=manifest.label_values,
        preprocessing=manifest.preprocessing,
        patch=run.task.patch,
        stride=default_stride(run.task.patch),
        method=run.method,
        trained_on={"data": manifest.data_hash, "labeled": len(run.labeled)},
    )


def open_folder(out: Path, run: Run, cache: Cache) -> None:
    """Write ``config.json``, or check that the one there is of this very run."""
    path = out / "config.json"
    record: dict[str, Any] = {"run": run.record(), "data": cache.manifest.data_hash}
    if path.exists():
        old = read_config(out)
        changed = differences(
            {"run": completed(old["run"]), "data": old.get("data")},
            {"run": completed(record["run"]), "data": record["data"]},
        )
        if changed:
            again = _way_back(run, old, cache)
            raise SimcvdError(
                f"{out} holds a run with other settings:\n  "
                + "\n  ".join(changed)
                + f"\n{again}, or give another --out"
            )
        if (begun := old["run"].get("simcvd")) != __version__:
            print(f"{out} was begun with simcvd {begun} and goes on with {__version__}", flush=True)
        return
    if contents(out):
        raise SimcvdError(f"{out} is not empty and holds no run; give another --out")
    made_with = {"method": origin(run.method), **_versions()}
    write_json(path, {**record, "cache": str(cache.root), "made_with": made_with})


def _way_back(run: Run, old: Mapping[str, Any], cache: Cache) -> str:
    """How a run could be resumed that is another now."""
    if old.get("data") != cache.manifest.data_hash:
        return (
            f"Since it began, {cache.root} was prepared from other scans or with other settings: "
            "prepare it as it was to resume the run"
        )
    before = completed(old["run"])
    if before["method"] == run.method and before["revision"] != find(run.method).revision:
        return (
            f"The equations of {run.method} have changed since: resume it with the commit of "
            "simcvd that its config.json names"
        )
    return "Re-run with the original settings to resume it"


def read_config(out: Path) -> dict[str, Any]:
    """The record of a run's folder. Raises SimcvdError for what no run wrote."""
    path = out / "config.json"
    if not path.exists():
        raise SimcvdError(f"{out} is no run: it has no config.json; give the --out of a training")
    record = read_object(path, "Restore it, or give another --out")
    if not _is_record(record):
        raise SimcvdError(f"{path} is no record of a run of simcvd; give another --out")
    record["run"] = RUN.content(RUN.read(record["run"], path))
    for cases in cases_of(record["run"]).values():
        check_all(cases, f"{path}: a scan")
    return record


def folds_in(arm: Path) -> list[Path]:
    """The runs of a cross-validation, ``fold_0`` and on; what a user put beside them is none."""
    return list(takewhile(Path.is_dir, (arm / f"fold_{fold}" for fold in count())))


def cases_of(run: dict[str, Any]) -> dict[str, list[str]]:
    """The names of scans in a run's record, by what they were for; an exported model's has none."""
    return {part: run[part] for part in CASE_LISTS if isinstance(run.get(part), list)}


def _is_record(record: dict[str, Any]) -> bool:
    """Whether what others look into has the types that it was written with."""
    run, made = record.get("run"), record.get("made_with", {})
    if not (isinstance(run, dict) and "train" in run and isinstance(made, dict)):
        return False
    if not all(isinstance(run.get(group, {}), dict) for group in GROUPS):
        return False
    texts = (run.get("method"), run.get("recipe", ""), record.get("data"), record.get("cache", ""))
    numbers = [run["train"].get(name) for name in ("iterations", "seed")]
    return (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int for number in numbers)
        and all(isinstance(run.get(part), list | int) for part in CASE_LISTS)
        and isinstance(made.get("commit"), str | None)
    )


def _versions() -> dict[str, str | int | None]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of the source tree, where the package runs from one.

    An environment inside a repository of the user's is none: this file is not in its commit.
    """
    folder, file = os.path.split(__file__)
    command = ["git", "-C", folder, "rev-parse", "HEAD", f"HEAD:./{file}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError):
        return None
