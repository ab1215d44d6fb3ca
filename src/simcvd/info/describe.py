"""Recognise what a path holds by the file that its maker writes there, and describe it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from simcvd.benchmark.catalogue import PROTOCOLS
from simcvd.benchmark.protocols import OPENED
from simcvd.benchmark.results import PROTOCOL
from simcvd.data.cache import Cache
from simcvd.files import parse_object, read_object
from simcvd.inference.model import DESCRIPTION, SETTINGS, WORK_RECORD, load_model, model_files
from simcvd.info import outputs
from simcvd.info.record import Info
from simcvd.info.training import describe_run
from simcvd.pipeline.request import ASKED
from simcvd.planning import read_plan
from simcvd.planning.text import CHOICES
from simcvd.records import as_json
from simcvd.scoring.record import is_scored
from simcvd.training.run import read_config
from simcvd.types import SimcvdError
from simcvd.wording import counted

RESTORE = "Put the file back as it was."


def describe(path: Path | str) -> Info:
    """What lies at ``path``: anything of `record.KINDS`, as a folder or as the file that tells it.

    Raises SimcvdError for anything else, and for one of these that is damaged.
    """
    path = Path(path)
    found = next((make for fits, make in _kinds() if fits(path)), None)
    if found is None:
        what = "nothing is there" if not path.exists() else "this is nothing that simcvd makes"
        raise SimcvdError(
            f"{path}: {what}. Give a run, a cache, a plan, a model, segmentations, scores, a "
            "report or the results of a benchmark; of a folder of scans `simcvd check` tells more"
        )
    try:
        return found(path)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise SimcvdError(
            f"{path}: damaged, or made by another version of simcvd "
            f"({type(error).__name__}: {error})"
        ) from error


Kind = tuple[Callable[[Path], bool], Callable[[Path], Info]]


def _kinds() -> tuple[Kind, ...]:
    """A run is asked for before a model and a benchmark: it may hold the files of both."""
    return (
        (lambda path: (path / "config.json").is_file(), describe_run),
        (lambda path: (path / WORK_RECORD).is_file(), describe_work),
        (lambda path: (path / PROTOCOL).is_file(), describe_benchmark),
        (lambda path: (path / "manifest.json").is_file(), describe_cache),
        (lambda path: (path / "cases").is_dir(), describe_unfinished_cache),
        (lambda path: (path / DESCRIPTION).is_file(), describe_model),
        (lambda path: path.is_file() and path.suffix == ".zip", describe_model),
        (lambda path: path.is_file() and path.suffix == ".toml", describe_plan),
        (outputs.is_predictions, outputs.describe_predictions),
        (outputs.is_scores, outputs.describe_scores),
        (outputs.is_page, outputs.describe_page),
        (outputs.is_demo, outputs.describe_demo),
    )


def describe_cache(path: Path) -> Info:
    """Scans, classes and how they were prepared."""
    cache = Cache(path)
    manifest = cache.manifest
    have = [name for name in cache.train if manifest.cases[name].has_label]
    facts = {
        "made from": f"{manifest.source} ({manifest.source_kind})",
        "training scans": len(cache.train),
        "with a label": len(have),
        "test scans": len(cache.test),
        "channels": list(manifest.channel_names),
        "classes": _named(manifest.class_names),
        "spacing, mm": list(manifest.spacing),
        "preparation": as_json(manifest.preprocessing),
        "data": manifest.data_hash,
    }
    train = ["simcvd", "train", str(path), "--labeled", str(len(have)), "--out", "RUN"]
    missing = [name for name in manifest.cases if not (path / "cases" / name).is_dir()]
    state = f"damaged: lacks {counted(len(missing), 'scan')}, {missing[0]} first" if missing else ""
    again = f"simcvd prepare {shlex.quote(manifest.source)} --out {shlex.quote(str(path))}"
    command = again if missing or not have else shlex.join(train)
    return Info(kind="cache", path=path, facts=facts, state=state or "finished", next=command)


def describe_unfinished_cache(path: Path) -> Info:
    """Cases without the manifest, which is written last."""
    facts = {"scans so far": sum(1 for _ in (path / "cases").iterdir())}
    command = f"simcvd prepare SCANS --out {shlex.quote(str(path))}"
    return Info(kind="cache", path=path, facts=facts, state="not finished", next=command)


def describe_plan(path: Path) -> Info:
    """Every choice, without its reason."""
    plan = read_plan(path)
    facts = {name: getattr(plan, name) for name in CHOICES}
    facts["memory of a step, GB"] = round(plan.memory_bytes / 2**30, 2)
    return Info(
        kind="plan",
        path=path,
        facts=facts,
        state="complete",
        next=f"simcvd prepare SCANS --out CACHE --plan {shlex.quote(str(path))}",
        warnings=plan.warnings,
    )


def describe_model(path: Path) -> Info:
    """A model in a folder or a zip, its weights held against their hash."""
    model, files = load_model(path), model_files(path)
    spec = model.spec
    settings = parse_object(files[SETTINGS])["run"] if SETTINGS in files else {}
    trained = {name: settings[name] for name in ("labeled", "unlabeled") if name in settings}
    facts = {
        "method": spec.method,
        "channels": spec.channels,
        "classes": _named(spec.class_names),
        "values in files": _named(spec.label_values),
        "parameters": sum(value.numel() for value in model.network.parameters()),
        "patch": list(spec.patch),
        "preparation": as_json(spec.preprocessing),
        "trained on": {**spec.trained_on, **trained},
        "bytes": {name: len(data) for name, data in sorted(files.items())},
    }
    command = f"simcvd predict {shlex.quote(str(path))} SCANS --out DIR"
    state = "finished; the weights are those that it describes"
    return Info(kind="model", path=path, facts=facts, state=state, next=command)


def describe_benchmark(path: Path) -> Info:
    """The protocol and how far each run is; which runs were asked for is recorded nowhere."""
    record = OPENED.load(path / PROTOCOL)
    protocol = record.protocol
    runs = [read_object(file, RESTORE) for file in sorted((path / "runs").glob("*.json"))]
    done = [run for run in runs if "seconds" in run]
    facts = {
        "protocol": protocol["name"],
        "hash": record.hash,
        "data": record.data,
        "iterations": protocol["iterations"],
        "patch": protocol["patch"],
        "runs done": _rows(done),
        "runs begun": [run["name"] for run in runs if "seconds" not in run],
        "findings": list(record.findings),
    }
    state = f"{counted(len(done), 'run')} done, {len(runs) - len(done)} begun; re-run to resume"
    cache = _cache_of(path)
    words = ["simcvd", "benchmark", cache or "CACHE", "--protocol", protocol["name"]]
    command = shlex.join([*words, "--out", str(path), "--dry-run"])
    changed = protocol["name"] not in PROTOCOLS
    return Info(
        kind="benchmark", path=path, facts=facts, state=state, next=None if changed else command
    )


def describe_work(path: Path) -> Info:
    """A folder of `simcvd run`: which of its stages are done."""
    asked = ASKED.load(path / WORK_RECORD)
    stages = {
        "checked": (path / "check.json").exists(),
        "planned": (path / "plan.toml").exists(),
        "prepared": (path / "cache" / "manifest.json").exists(),
        "control scored": is_scored(path / "supervised"),
        f"{asked.method} scored": is_scored(path / asked.method),
        "report written": (path / "report.html").exists(),
        "final model trained": (path / "model" / DESCRIPTION).exists(),
        "all scans segmented": _all_segmented(path),
    }
    facts = {**as_json(asked), **{name: "yes" if done else "no" for name, done in stages.items()}}
    missing = [name for name, done in stages.items() if not done]
    again = shlex.join(["simcvd", "run", "--out", str(path)])
    state = f"not finished: not yet {missing[0]}; resumable" if missing else "finished"
    use = f"simcvd review {shlex.quote(str(path))}"
    return Info(kind="work", path=path, facts=facts, state=state, next=again if missing else use)


def _all_segmented(work: Path) -> bool:
    if not (work / "cache" / "manifest.json").exists() or not (work / "predictions").is_dir():
        return False
    there = [file.name for file in (work / "predictions").iterdir()]
    names = Cache(work / "cache").manifest.cases
    return all(any(file.startswith(f"{name}.") for file in there) for name in names)


def _cache_of(results: Path) -> str | None:
    """Where the runs of a benchmark found their scans."""
    configs = sorted((results / "runs").glob("*/config.json"))
    return str(read_config(configs[0].parent)["cache"]) if configs else None


def _rows(runs: Iterable[dict[str, Any]]) -> dict[str, int]:
    """{"row, N labelled": number of seeds}."""
    return dict(Counter(f"{run['row']}, {run['labeled']} labelled" for run in runs))


def _named(table: dict[int, Any]) -> dict[str, Any]:
    return {str(index): value for index, value in sorted(table.items())}
