"""A layer as the NIfTI file that the viewer lays over the scan."""

from __future__ import annotations

from typing import Any

import numpy as np

from simcvd.review.labels import classes_of, gzipped, integers, values_of
from simcvd.review.round import Layer, Round
from simcvd.review.scans import View


def layer_file(round_: Round, view: View, name: str, layer: Layer) -> bytes:
    """A ``.nii.gz``. Held-out predictions lie in the prepared grid, which the viewer resamples."""
    if layer.kind == "entropy":
        return layer.path.read_bytes()
    if layer.id.startswith("heldout-"):
        volume = integers(layer.path)
        return _nifti(classes_of(round_, volume.array), volume.affine, None)
    return _nifti(classes_of(round_, values_of(round_, view, name, layer.id)), view.affine, view)


def _nifti(classes: np.ndarray, affine: np.ndarray, like: View | None) -> bytes:
    """Classes with the geometry of the view's header, so that both are placed alike."""
    import nibabel

    header: Any = None
    if like is not None:
        header = nibabel.Nifti1Image.from_filename(str(like.path)).header.copy()
        header.set_data_dtype(np.uint8)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
    made: Any = nibabel.Nifti1Image(classes, affine, header, dtype=np.uint8).header
    made["magic"], made["vox_offset"] = b"n+1", 352
    made["intent_code"] = 1002  # a label: only those are outlined
    extensions = b"\0\0\0\0"
    return gzipped(made.binaryblock, extensions, classes.ravel(order="F").data)
