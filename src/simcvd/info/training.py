"""A training's folder, and the command that goes on with it."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any, get_args

from simcvd.inference.model import DESCRIPTION
from simcvd.info.record import Info
from simcvd.methods.registry import default_config
from simcvd.networks.build import architecture
from simcvd.networks.vnet import VNetConfig as NetworkConfig
from simcvd.records import as_json
from simcvd.scoring.record import Split, is_scored, read_report, scores_folder
from simcvd.scoring.scores import summarise
from simcvd.training.checkpoint import latest_step
from simcvd.training.recipes import find_recipe
from simcvd.training.run import completed, read_config
from simcvd.types import SimcvdError


def describe_run(path: Path) -> Info:
    """What was trained on what, how far it is, and what its scores are."""
    config = read_config(path)
    run, cache = config["run"], config.get("cache", "")
    scores = {split: found for split in get_args(Split) if (found := _dice(path, split))}
    facts = {
        "method": run["method"],
        "iterations": run["train"]["iterations"],
        "seed": run["train"]["seed"],
        "scans with a label": len(run["labeled"]),
        "scans without": len(run["unlabeled"]),
        "scans held out": len(run["holdout"]),
        "patch": run["task"]["patch"],
        "cache": cache,
        "data": config["data"],
        "made with": {"simcvd": run["simcvd"], **config.get("made_with", {})},
        **{f"mean Dice in %, {split}": dice for split, dice in scores.items()},
    }
    gone = () if Path(cache).is_dir() else (f"its cache {cache} is not there now",)
    state, command = _state(path, config, bool(scores))
    return Info(kind="run", path=path, facts=facts, state=state, next=command, warnings=gone)


def train_command(path: Path, config: dict[str, Any]) -> str:
    """The `simcvd train` that this run was begun with, or one that means the same."""
    run = completed(config["run"])
    recipe = find_recipe(run["recipe"])
    groups = {
        "method": (default_config(run["method"]), run["config"]),
        "train": (recipe.train, run["train"]),
        "augment": (recipe.augment, run["augment"]),
        "network": (_network(run["network"]), run["network"]),
    }
    settings = [
        f"{group}.{name.rstrip('_')}={value}"
        for group, (default, chosen) in groups.items()
        for name, value in chosen.items()
        if value != as_json(default).get(name)
    ]
    words = ["simcvd", "train", config["cache"], "--method", run["method"]]
    words += ["--recipe", recipe.name, "--labeled", str(len(run["labeled"])), "--out", str(path)]
    words += [word for setting in settings for word in ("--set", setting)]
    return shlex.join(words)


def _network(record: dict[str, Any]) -> Any:
    """The settings that a run of this network begins with."""
    return NetworkConfig() if "factory" in record else architecture(record.get("name", "vnet"))()


def _state(path: Path, config: dict[str, Any], scored: bool) -> tuple[str, str]:
    total = config["run"]["train"]["iterations"]
    if (path / DESCRIPTION).exists():
        place = shlex.quote(str(path))
        if scored:
            return "finished and scored", f"simcvd predict {place} SCANS --out DIR"
        return "finished, not scored", f"simcvd evaluate {place}"
    step = latest_step(path / "checkpoints")
    try:
        command = train_command(path, config)
    except SimcvdError as error:  # a method that is not installed here
        command = str(error)
    if step is None:
        return f"begun, without a checkpoint yet: starts at step 0 of {total}", command
    return f"not finished, resumable at step {step} of {total}", command


def _dice(run: Path, split: Split) -> dict[str, float | None]:
    """{class: mean Dice in %} of a split that was scored."""
    if not is_scored(run, split):
        return {}
    summaries = summarise(read_report(scores_folder(run, split)).scores)
    means = {summary.name: summary.means["dice"].mean for summary in summaries}
    return {name: None if math.isnan(mean) else 100 * mean for name, mean in means.items()}
