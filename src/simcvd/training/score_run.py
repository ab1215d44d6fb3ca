"""A run's network on the scans it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simcvd import __version__
from simcvd.data.cache import Cache, Case
from simcvd.data.crop import grid_of_box
from simcvd.data.record import CaseRecord
from simcvd.files import checksum, json_hash, read_object, write_json
from simcvd.formats import spacing_of, write_label
from simcvd.inference.compute import Compute, pick_device
from simcvd.inference.geometry import parts_in_source
from simcvd.inference.maps import SourceMaps
from simcvd.inference.memory import fitted, sparing
from simcvd.inference.model import Model, digest_of, load_model
from simcvd.inference.scan import restore_values
from simcvd.inference.sliding_window import (
    Slices,
    Windows,
    finished_blocks,
    grid_of,
    most_probable,
    predict_labels,
)
from simcvd.machine import reuse_memory
from simcvd.naming import inside
from simcvd.networks.build import Factory
from simcvd.records import as_json, typed
from simcvd.scoring.record import Report, Split, scores_folder, write_report
from simcvd.scoring.reference import label_of_file, own_grid, was_resampled
from simcvd.scoring.scores import Score, score_case
from simcvd.torch_state import left_as_found
from simcvd.training.run import cases_of, read_config
from simcvd.types import IntTriple, SimcvdError, Volume
from simcvd.wording import few
from simcvd.workers.processes import in_parallel, one_at_a_time, own_device

NOT_RESAMPLED = "was not resampled"
NOTED = ".scores"  # a file a scan, by which the same call goes on


@left_as_found()
def score_run(
    run: Path | str,
    *,
    split: Split = "test",
    stride: IntTriple | None = None,
    fast: bool = False,
    cache: Path | None = None,
    out: Path | None = None,
    quiet: bool = False,
    network: Factory | None = None,
    processes: int | None = None,
) -> Path:
    """Predict and score every labelled scan of ``split``.

    Typed again after a kill it goes on: a scan that was scored is not scored again, unless model,
    scan or windows are others, or its label map there was touched.
    Scans that were resampled are scored on their own grid, against the label in its file.

    Args:
        run: the folder of a finished training.
        split: "test", which is to be scored once, or "holdout", the scans that
            ``train.holdout`` kept out of training, to choose settings on.
        stride, fast: how windows stand, by default half a patch apart and tapered; see `Compute`.
        cache: where the prepared scans lie now, if not where they lay in training.
        out: where to write; by default ``run`` itself, or ``run/holdout``.
        network: the factory it was trained with, where that was the caller's own.
        processes: None for this one alone, unless the call is in a block of `on_workers`.

    Writes ``predictions/<case>.nii.gz`` and ``metrics.{csv,json,md}``; returns their folder.
    Raises SimcvdError for an unfinished run, another cache, or a split without labels.
    """
    run = Path(run)
    config = read_config(run)
    if cache is None and not config.get("cache"):
        raise SimcvdError(f"{run}: does not say where its prepared scans lie; give --cache")
    compute = Compute(stride=stride, fast=fast, processes=processes or 1)
    data = _open(cache or Path(config["cache"]), config["data"])
    held = cases_of(config["run"]).get("holdout", [])
    names = data.test if split == "test" else tuple(held)
    if strangers := [name for name in names if name not in data.manifest.cases]:
        raise SimcvdError(f"{run}: held out {few(strangers)}, which {data.root} does not hold")
    names = tuple(name for name in names if data.manifest.cases[name].has_label)
    windows = compute.windows(
        load_model(run, network=network)
    )  # that it can be loaded is seen here
    if not names:
        raise SimcvdError(
            f"{run}: its {split} split has no labelled scan. For holdout, train with "
            "--set train.holdout=N; for test, give the data a test.list"
        )
    out = out or scores_folder(run, split)
    each = Scoring(*(run, digest_of(run), data.root, config["data"], out, compute, network))
    try:
        found = dict(in_parallel(each, names, processes or 1, f"scoring {split}", quiet))
    finally:
        _loaded.cache_clear()
    scored = {name: found[name] for name in names}
    info = {
        "split": split,
        "grid": "own" if any(one.own_grid for one in scored.values()) else "prepared",
        "spacing_mm": data.manifest.spacing,
        "stride": windows.stride,
        "tapered": windows.tapered,
        "config": config,
    }
    scores = [score for one in scored.values() for score in one.scores]
    write_report(Report(scores=scores, notes=_notes(scored), info=info), out)
    return out


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One scan's scores; own_grid: on the grid of its file, or why not though it was resampled."""

    scores: list[Score]
    own_grid: bool
    why: str = ""


@dataclass(frozen=True)
class Scoring:
    """What a process needs to score any scan of a run; as a function it scores one.

    digest, data: hashes of the model and of the cache's data.
    """

    run: Path
    digest: str
    cache: Path
    data: str
    out: Path
    compute: Compute
    network: Factory | None

    def __call__(self, name: str) -> tuple[str, Scored]:
        """The scan's name again, and its scores; those that are noted, if they are of this call."""
        cache, device = _opened(self.cache, self.data), pick_device(own_device("auto"))
        compute = replace(self.compute, device=device)
        case = cache.case(name)
        path = inside(self.out / NOTED, name, ".json")
        label_map = inside(self.out / "predictions", name, ".nii.gz")
        with one_at_a_time:
            model = _loaded(self.run, self.digest, device, self.network)  # type: ignore[arg-type]
            how = compute.windows(model)
            own = label_of_file(case.info) if was_resampled(case.info) else NOT_RESAMPLED
            made = self._made(case, how, own)
            if scored := _known(path, made, label_map):
                return name, scored
            if device.type == "cpu":
                reuse_memory()
            scored = _score(model, how, case, own, name, label_map, compute.processes)
        write_json(path, {"made": made, "checksum": checksum(label_map), **as_json(scored)})
        return name, scored

    def _made(self, case: Case, how: Windows, own: Volume | str) -> str:
        """A hash of what the scores depend on."""
        windows = [how.patch, how.stride, how.tapered, str(how.autocast)]
        label = own if isinstance(own, str) else ""
        return json_hash([__version__, self.digest, case.info.hash, windows, label])


def _known(path: Path, made: str, label_map: Path) -> Scored | None:
    """What was noted of a scan, if it was made so and its label map is as it was written."""
    try:
        record = read_object(path, "")
        if record.pop("made") != made or record.pop("checksum") != checksum(label_map):
            return None
        found: Scored = typed(Scored, record)
    except (SimcvdError, OSError, KeyError):
        return None
    return found


@lru_cache(1)
def _loaded(run: Path, digest: str, device: torch.device, network: Factory | None) -> Model:
    """A process loads it once, and again where ``digest`` is another."""
    return load_model(run, device=device, network=network)


@lru_cache(1)
def _opened(cache: Path, data: str) -> Cache:
    return _open(cache, data)


def _notes(scored: Mapping[str, Scored]) -> tuple[str, ...]:
    """That scans were scored against resampled labels, because their files are not as they were."""
    coarse = [f"{name} ({one.why})" for name, one in scored.items() if one.why]
    if not coarse:
        return ()
    return (f"Scored against the label on the prepared grid, not in its file: {few(coarse)}.",)


def _open(root: Path, data_hash: str) -> Cache:
    cache = Cache(root)
    if cache.manifest.data_hash != data_hash:
        raise SimcvdError(
            f"{root} holds other data than the run was trained on (hash "
            f"{cache.manifest.data_hash[:12]}, the run's is {data_hash[:12]}); "
            "prepare the run's data again, or train again"
        )
    return cache


def _score(
    model: Model,
    how: Windows,
    case: Case,
    own: Volume | str,
    name: str,
    label_map: Path,
    processes: int,
) -> Scored:
    """Predict one prepared scan, write the label map, score it against the label of its file.

    A label that was resampled has lost what the grid is too coarse for; the scan is scored on its
    ``own`` grid then, where the label's file is still as it was.
    """
    spec, info = model.spec, case.info
    scan = Volume(array=case.image.astype(np.float32), affine=np.array(info.affine))
    x, y, z = scan.array.shape[1:]
    labels, on_own = sparing(
        fitted(model, scan, (x, y, z), how, processes=processes),
        lambda how: _predicted(model, how, scan, info if isinstance(own, Volume) else None),
    )
    values = restore_values(labels, spec.label_values)
    write_label(label_map, values, scan.affine)
    names = spec.class_names
    if on_own is None or isinstance(own, str):
        x, y, z = info.spacing
        why = own if isinstance(own, str) and own != NOT_RESAMPLED else ""
        scores = score_case(labels, np.asarray(case.label), names, (x, y, z), name)
        return Scored(scores=scores, own_grid=False, why=why)
    wanted = np.searchsorted(list(spec.label_values.values()), own.array)
    scores = score_case(on_own, wanted, names, spacing_of(own.affine), name)
    return Scored(scores=scores, own_grid=True)


def _predicted(
    model: Model, how: Windows, scan: Volume, info: CaseRecord | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Classes ``[X, Y, Z]`` on the prepared grid and, given a case.json, on the scan's own."""
    image = torch.from_numpy(scan.array)
    x, y, z = image.shape[1:]
    if info is None:
        return predict_labels(model.folded, image, how).numpy(), None
    labels = torch.empty((x, y, z), dtype=torch.uint8)

    def noted() -> Iterator[tuple[Slices, Tensor]]:
        for place, block in finished_blocks(model.folded, image, how):
            labels[place] = most_probable(block).cpu()
            yield place, block

    shape, affine, box = own_grid(info)
    maps = SourceMaps(shape, box)
    axis = grid_of((x, y, z), how).order[0]
    maps.fill(parts_in_source(noted(), axis, scan, *grid_of_box(box, affine)))
    return labels.numpy(), maps.labels
