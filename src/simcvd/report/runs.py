"""The page of any scored runs: `simcvd report`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simcvd.data.cache import Cache
from simcvd.report.html import Words, write_page
from simcvd.report.results import Result, compare_all, load_result
from simcvd.scoring.record import Split
from simcvd.scoring.titles import method_title
from simcvd.training.run import read_config
from simcvd.training.settings import differences
from simcvd.types import SimcvdError


def report_runs(
    runs: Sequence[Path], out: Path, *, split: Split = "test", cache: Path | None = None
) -> Path:
    """Write ``out/report.html`` on runs that were scored on one split; returns it.

    runs: the control first. cache: where the prepared scans lie now, if not where they lay in
    training. Raises SimcvdError for a run that was not scored, and for runs of different data or
    scored on different scans.
    """
    configs = [read_config(run) for run in runs]
    data = Cache(cache or Path(configs[0]["cache"]))
    for run, config in zip(runs, configs, strict=True):
        if config["data"] != data.manifest.data_hash:
            raise SimcvdError(
                f"{run} was trained on other data than {data.root} holds; a page compares runs of "
                "one prepared data set. Give its own with --cache, or leave the run out"
            )
    results = [
        load_result(run, name, split) for run, name in zip(runs, _names(runs, configs), strict=True)
    ]
    return write_page(
        out,
        data,
        results,
        Words(
            title=f"Scores on {data.root.name}",
            notes=_notes(results, configs),
            scored="test scans" if split == "test" else "held-out scans",
        ),
        gaps=compare_all(results[0], results[1:], _again(results, configs)),
    )


def _names(runs: Sequence[Path], configs: Sequence[dict[str, Any]]) -> list[str]:
    """The method's title; with the folder's name where a method comes twice."""
    methods = [config["run"]["method"] for config in configs]
    count = Counter(methods)
    return [
        method_title(method) + (f" ({run.name})" if count[method] > 1 else "")
        for run, method in zip(runs, methods, strict=True)
    ]


def _again(results: Sequence[Result], configs: Sequence[dict[str, Any]]) -> list[Result]:
    """Trainings of the first one's system from other seeds, which tell what scans are hard."""
    first, *rest = (
        {**config["run"], "train": {**config["run"]["train"], "seed": None}} for config in configs
    )
    return [result for result, run in zip(results[1:], rest, strict=True) if run == first]


def _notes(results: Sequence[Result], configs: Sequence[dict[str, Any]]) -> list[str]:
    """How each was trained, and in what its settings differ from the first one's."""
    notes = []
    for result, config in zip(results, configs, strict=True):
        run, commit = config["run"], config.get("made_with", {}).get("commit")
        made = f" Trained at commit {commit[:7]}." if commit else ""
        changed = differences(configs[0]["run"], run) if result is not results[0] else []
        # A method has settings of its own; what the two share is worth a word.
        shared = [line for line in changed if line.startswith(("train.", "network."))]
        other = f" Unlike the first: {'; '.join(shared)}." if shared else ""
        notes.append(
            f"{result.name}: {len(run['labeled'])} labelled and {len(run['unlabeled'])} unlabelled "
            f"scans, {run['train']['iterations']} iterations, seed {run['train']['seed']}."
            f"{made}{other}"
        )
    return notes
