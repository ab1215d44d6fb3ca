"""A finished run as one zip, which holds all that predicting with it takes, and no path or name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcvd.inference.archive import write_archive
from simcvd.inference.model import CARD, SETTINGS, load_model, model_files, model_place
from simcvd.networks.build import Factory
from simcvd.share.card import model_card
from simcvd.training.run import cases_of, read_config
from simcvd.types import SimcvdError


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote.

    path, bytes, sha256: the zip. onnx: the file beside it, if one was asked for, and
    onnx_difference: the largest difference between its outputs and torch's.
    """

    path: Path
    bytes: int
    sha256: str
    onnx: Path | None = None
    onnx_difference: float | None = None


def export_run(
    run: Path, out: Path, *, onnx: bool = False, network: Factory | str | None = None
) -> Exported:
    """Write the model of a finished run to the zip ``out``; the same run gives the same bytes.

    Args:
        run: the folder of a finished training, or of `simcvd run`, whose final model it is then.
        out: a file that ends in ``.zip``; one that is there is replaced.
        network: of a run with a network of the caller's own, as `load_model` takes it; the zip
            holds its name and weights, and whoever predicts with it gives it again.
        onnx: write the network as ONNX too, beside the zip, after holding it against torch.

    Raises SimcvdError for a run that is not finished or is damaged, scores that are not the run's
    own, and an ONNX network that does not compute the same.
    """
    run, out = model_place(run), Path(out)
    if out.suffix != ".zip":
        raise SimcvdError(f"{out}: call it NAME.zip; that is what `simcvd predict` reads")
    model, config = load_model(run, network=network), read_config(run)
    settings = json.dumps(shareable(config), indent=1) + "\n"
    card = model_card(run, model, config)
    beside, difference = None, None
    if onnx:
        from simcvd.share.onnx_file import write_onnx

        beside = out.with_suffix(".onnx")
        difference = write_onnx(model, beside)
    write_archive(out, {CARD: card.encode(), SETTINGS: settings.encode(), **model_files(run)})
    data = out.read_bytes()
    return Exported(
        path=out,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        onnx=beside,
        onnx_difference=difference,
    )


def shareable(config: dict[str, Any]) -> dict[str, Any]:
    """A run's ``config.json`` for others: no path, and how many scans instead of their names."""
    counts = {name: len(cases) for name, cases in cases_of(config["run"]).items()}
    return {
        "run": {**config["run"], **counts},
        "data": config["data"],
        "made_with": config.get("made_with", {}),
    }
