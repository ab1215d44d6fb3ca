"""From a folder of scans, some of them labelled, to a trained model and segmentations of all."""

from simcvd.run.command import dry_run, run
from simcvd.run.presets import PRESETS, Preset

__all__ = ["PRESETS", "Preset", "dry_run", "run"]
