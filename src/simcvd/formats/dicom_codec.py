"""Compressed DICOM voxels, decoded by ITK or by pydicom's codecs; run in a child process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from simcvd.types import SimcvdError

COMPRESSIONS = {
    "1.2.840.10008.1.2.4.5": "JPEG",
    "1.2.840.10008.1.2.4.7": "lossless JPEG",
    "1.2.840.10008.1.2.4.8": "JPEG-LS",
    "1.2.840.10008.1.2.4.9": "JPEG 2000",
    "1.2.840.10008.1.2.4.1": "MPEG video or JPEG XL",
    "1.2.840.10008.1.2.4.20": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE",
}


def plane(path: str) -> np.ndarray:
    """Float32 ``[X, Y]`` of one file, rescaled to the units that it declares."""
    import SimpleITK

    try:
        with _as_monochrome2(path) as file:
            image = SimpleITK.ReadImage(file, imageIO="GDCMImageIO")
        array: np.ndarray = SimpleITK.GetArrayFromImage(image)[0].T.astype(np.float32)
        return array
    except RuntimeError:
        return _by_pydicom(path)


def frames(path: str) -> np.ndarray:
    """``[N, rows, columns]`` of a multi-frame file, as stored."""
    import pydicom

    array: np.ndarray = pydicom.dcmread(path).pixel_array
    return array.reshape(-1, *array.shape[-2:])


@contextmanager
def _as_monochrome2(path: str) -> Iterator[str]:
    """The file, or a copy that is shown the other way: ITK would invert MONOCHROME1's numbers."""
    import pydicom

    data: Any = pydicom.dcmread(path)
    if data.get("PhotometricInterpretation") != "MONOCHROME1":
        yield path
        return
    data.PhotometricInterpretation = "MONOCHROME2"
    with TemporaryDirectory() as folder:
        copy = Path(folder, "slice.dcm")
        data.save_as(copy)
        yield str(copy)


def _by_pydicom(path: str) -> np.ndarray:
    """For codecs that ITK lacks; pydicom takes them from whatever package is installed."""
    import pydicom

    data: Any = pydicom.dcmread(path)
    try:
        scale, shift = data.get("RescaleSlope", 1), data.get("RescaleIntercept", 0)
        array: np.ndarray = data.pixel_array.T * float(scale) + float(shift)
    except Exception as error:  # pydicom and its codecs raise what they like
        raise SimcvdError(_no_codec(path, str(data.file_meta.TransferSyntaxUID), error)) from error
    return array.astype(np.float32)


def _no_codec(path: str, syntax: str, error: Exception) -> str:
    fitting = [uid for uid in COMPRESSIONS if syntax.startswith(uid)]
    name = COMPRESSIONS[max(fitting, key=len)] if fitting else "an encoding"
    reason = " ".join(str(error).split())[:200]
    return (
        f"{path}: its voxels are compressed as {name} (transfer syntax {syntax}) and "
        f"cannot be decoded ({reason}). If the file is whole, install codecs with `pip install "
        "simcvd[dicom]`, or decompress the series first, for example with `gdcmconv --raw`."
    )
