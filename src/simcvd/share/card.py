"""The page that travels with a model: what it is, what it was measured to do, what it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simcvd.benchmark.results import RunResult, read_result
from simcvd.escape import markdown
from simcvd.inference.known import Known
from simcvd.inference.model import Model, ModelSpec
from simcvd.inference.table import removed
from simcvd.networks.build import network_title
from simcvd.scoring.record import Split, is_scored, read_report, scores_folder, section
from simcvd.scoring.scores import LEVEL, summarise
from simcvd.wording import by, counted

SPLITS: dict[Split, str] = {
    "test": "Test scans, which training never saw.",
    "holdout": "Scans held out from training, on which settings may have been chosen.",
}


def model_card(run: Path, model: Model, config: dict[str, Any]) -> str:
    """Markdown, the same for the same run. Raises SimcvdError for scores of another run."""
    spec = model.spec
    foreground = [markdown(name) for index, name in sorted(spec.class_names.items()) if index]
    lines = [
        f"# Model card: {spec.method} for {', '.join(foreground)}",
        "",
        "A network for 3D medical scans, trained with simcvd "
        f"{config['run']['simcvd']}. It is not a medical device.",
        *("", "## Use", "", "    simcvd predict THIS-FILE.zip SCANS --out DIR", ""),
        f"Every scan has {spec.channels} channel(s). A segmentation lies in its scan's own grid.",
        *("", *_classes(spec)),
        *("", "## Training", "", *_training(model, config)),
        *("", "## Preparation of a scan", "", *_preparation(spec)),
        *("", "## Measured", "", *(_expected(spec.known) if spec.known else _measured(run))),
        *("", "## Limits", "", *_limits(spec)),
    ]
    return "\n".join(lines) + "\n"


def _classes(spec: ModelSpec) -> list[str]:
    rows = [
        f"| {index} | {markdown(name)} | {spec.label_values[index]} |"
        for index, name in sorted(spec.class_names.items())
    ]
    return ["| class | name | value in files |", "|---|---|---|", *rows]


def _training(model: Model, config: dict[str, Any]) -> list[str]:
    run, spec = config["run"], model.spec
    weights = sum(value.numel() for value in model.network.parameters())
    held = f", {len(run['holdout'])} held out" if run.get("holdout") else ""
    return [
        f"- Method: `{spec.method}`, {run['train']['iterations']} iterations, "
        f"seed {run['train']['seed']}.",
        f"- Scans: {len(run['labeled'])} with a label used, {len(run['unlabeled'])} without{held}.",
        f"- Data: hash `{config['data']}`.",
        f"- Network: {network_title(spec.network)} with {weights:,} parameters, "
        f"patch {by(spec.patch)} voxels.",
        "- All settings: `config.json`. Weights: `model.safetensors`, described by `model.json`.",
    ]


def _preparation(spec: ModelSpec) -> list[str]:
    done = spec.preprocessing
    spacing = "its own spacing" if done.spacing is None else f"{by(done.spacing)} mm"
    window = f", window {by(done.window, ' to ')} HU" if done.window else ""
    only = f"- Pieces: {removed(spec)}." if spec.largest_only else ""
    return [
        f"- Brought to {spacing}, axes closest to RAS+.",
        f"- Normalisation: {done.normalization}{window}. Crop: {done.crop}.",
        f"- Windows of {by(spec.patch)} voxels, {by(spec.stride)} apart, averaged, each weighing "
        "less towards its border.",
        *([markdown(only)] if only else []),
    ]


def _measured(run: Path) -> list[str]:
    """The scores of every split that was scored, with all that says how."""
    lines: list[str] = []
    for split, meaning in SPLITS.items():
        if is_scored(run, split):
            result = read_result(run, split=split)
            report = read_report(scores_folder(run, split))
            lines += [f"### Split: {split}", "", meaning, "", *_protocol(result), ""]
            lines += [f"**{markdown(note)}**\n" for note in report.notes]
            for summary in summarise(report.scores):
                title, *table = section(summary)
                lines += [f"##{title}", *table, ""]
    return lines[:-1] or ["**Not scored**: nothing is known of how well this model segments."]


def _expected(known: Known) -> list[str]:
    """What cross-validation measured of trainings of the model's kind."""
    rows = [
        f"| {markdown(name)} | {_percent(mean)} | {_percent(low)} to {_percent(high)} |"
        for name, (mean, low, high) in known.expected.items()
    ]
    return [
        f"### Expected, by cross-validation over {counted(known.scans, 'labelled scan')}",
        "",
        "Of trainings like this one on fewer labels, each scored on scans held out from it; this "
        "model itself has seen all labels and was not scored.",
        *("", f"| class | mean Dice [%] | {LEVEL} % interval over scans |", "|---|---|---|"),
        *rows,
    ]


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f}"


def _protocol(result: RunResult) -> list[str]:
    how, named = result.conditions["scoring"], result.protocol
    protocol = f"`{named['name']}`, hash `{named['hash']}`" if named else "none named"
    return [
        f"- Protocol: {protocol}.",
        f"- Scored on the {how['grid']} grid, {by(how['spacing_mm'])} mm, windows "
        f"{by(how['stride'])} voxels apart{', tapered' if how['tapered'] else ''}.",
        f"- {counted(len(result.cases), 'scan')}, one training seed. Intervals ({LEVEL} %) are "
        "over scans and do not contain the spread over seeds.",
        "- P: prediction, R: reference.",
    ]


def _limits(spec: ModelSpec) -> list[str]:
    crop = (
        ["- Trained on scans cropped by their labels; a new scan is not cropped, and looks other."]
        if spec.preprocessing.crop == "label"
        else []
    )
    return [
        *crop,
        "- Scans of another scanner, protocol, body part or patient group than those of training "
        "may be segmented worse than measured, or wrongly. Look at the results.",
        "- Nothing was measured beyond what stands above.",
    ]
