"""From a folder of scans, some of them labelled, to a trained model and segmentations of all."""

from simcvd.pipeline.command import Outcome, dry_run, run
from simcvd.pipeline.presets import PRESETS, Preset

__all__ = ["PRESETS", "Outcome", "Preset", "dry_run", "run"]
