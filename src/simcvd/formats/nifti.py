"""NIfTI-1 and -2: ``.nii``, plain or packed by gzip or bzip2, and ``.hdr`` with its ``.img``.

sform, else qform, gives the geometry; lengths in metres or microns become millimetres.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.files import replace_into
from simcvd.formats.geometry import spacing_of
from simcvd.formats.packed import Block, Coding, beginning
from simcvd.formats.plain import array_of
from simcvd.formats.record import Format, Header, Remark, Voxels, What, Write
from simcvd.types import SimcvdError

MAGIC = {b"n+1\0": 348, b"ni1\0": 348, b"n+2\0": 540, b"ni2\0": 540}
MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by the unit of length; 0 states none
CODINGS: dict[str, Coding] = {".gz": "gzip", ".bz2": "bz2"}
# Quaternions longer than 1 by more than this are no rounding.
ROUNDING = 1e-3


def read_header(path: Path, what: What = "image") -> Header:
    """The header of a NIfTI file; a ``.img`` is read by its ``.hdr``."""
    header, notes = _loaded(path)
    shape = _shape(path, header)
    paired = bytes(header["magic"].item()).startswith(b"ni")
    data = _image_of(path) if paired else path
    coding = CODINGS.get(data.suffix.lower(), "raw")
    offset = int(header["vox_offset"]) if paired else max(int(header["vox_offset"]), _size(header))
    dtype = header.get_data_dtype()
    slope, inter = header.get_slope_inter()
    scaled = slope is not None and (slope, inter or 0.0) != (1.0, 0.0)
    scale = MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    affine = np.array(header.get_best_affine(), np.float64)
    if scale != 1:
        affine[:3] = np.vectorize(lambda v: float(f"{v:.7g}"))(affine[:3] * scale)  # as float32
        notes += (f"{path}: its lengths are in units of {scale:g} mm; they were converted to mm.",)
    return Header(
        shape=shape,
        dtype=dtype,
        affine=affine,
        block=Block(files=(data,), offset=offset, coding=coding, packed_header=coding != "raw"),
        floats=dtype.kind == "f" or scaled,
        colour=dtype.fields is not None,
        remarks=_remarks(path, header, shape),
        notes=notes,
        source=(slope, inter or 0.0) if scaled else None,
    )


def read_voxels(path: Path, header: Header) -> Voxels:
    """The voxels with slope and intercept applied; integers without either stay as stored."""
    array = array_of(header)
    if header.source is not None:
        from nibabel.volumeutils import apply_read_scaling

        array = apply_read_scaling(array, *map(np.float64, header.source)).astype(np.float32)
    return Voxels(array=array, affine=header.affine)


def _loaded(path: Path) -> tuple[Any, tuple[str, ...]]:
    """nibabel's header, its quaternion made one, and notes."""
    import nibabel

    path = _header_of(path)
    start = beginning(path, CODINGS.get(path.suffix.lower(), "raw"), 540)
    magics = [m for m, size in MAGIC.items() if start[344 if size == 348 else 4 :][:4] == m]
    if not magics:
        raise SimcvdError(
            f"{path}: is not a NIfTI file (its header lacks the mark); it may be of another "
            "format, ANALYZE 7.5 for example, which does not say where a scan lies. Convert the "
            "original."
        )
    size = MAGIC[magics[0]]
    kind: Any = nibabel.Nifti1Header if size == 348 else nibabel.Nifti2Header
    with _quiet():
        header = kind(start[:size])
    return header, _repaired(path, header)


@contextmanager
def _quiet() -> Iterator[None]:
    """nibabel prints what it corrects in a header; what matters of it is said by simcvd."""
    logger = logging.getLogger("nibabel.global")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _repaired(path: Path, header: Any) -> tuple[str, ...]:
    """Shortens a quaternion whose three numbers are, by rounding, longer than 1."""
    numbers = np.array([header[f"quatern_{x}"] for x in "bcd"], np.float64)
    length = float(np.linalg.norm(numbers))
    if not length > 1 or int(header["qform_code"]) == 0:
        return ()
    note = f"{path}: the quaternion of its qform is {length:.8g} long, more than 1"
    if length > 1 + ROUNDING:
        header["qform_code"] = 0
        if int(header["sform_code"]) == 0:
            raise SimcvdError(f"{note}, and there is no sform. Repair the header's geometry.")
        return (f"{note}; the qform was left out, the sform is read.",)
    # A little less than 1, so that rounding to float32 does not make it longer again.
    numbers *= (1 - 1e-7) / length
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = numbers
    return (f"{note}; it was shortened to 1.",)


def _shape(path: Path, header: Any) -> tuple[int, ...]:
    """The sizes of all axes; those after the third that are given as 0 count as 1."""
    count, *sizes = (int(n) for n in header["dim"])
    if not 1 <= count <= 7:
        raise SimcvdError(f"{path}: its header claims {count} dimensions; it is damaged.")
    return tuple(n or 1 if axis > 2 else n for axis, n in enumerate(sizes[:count]))


def _size(header: Any) -> int:
    return 352 if header["sizeof_hdr"] == 348 else 544


def _renamed(path: Path, endings: tuple[str, str]) -> Path:
    """``a.img.gz`` for ``a.hdr.gz`` and the like, in the case of letters that is there."""
    old, new = endings
    lower = path.name.lower()
    at = lower.rfind(old)
    names = [path.name[:at] + text + path.name[at + 4 :] for text in (new, new.upper())]
    names += [name.removesuffix(".gz") for name in names] + [f"{name}.gz" for name in names]
    found = [path.with_name(name) for name in names if path.with_name(name).is_file()]
    if not found:
        raise SimcvdError(f"{path}: its other half, {names[0]}, is not there. Copy both files.")
    return found[0]


def _is(path: Path, ending: str) -> bool:
    return path.name.lower().endswith((ending, f"{ending}.gz"))


def _image_of(path: Path) -> Path:
    return path if _is(path, ".img") else _renamed(path, (".hdr", ".img"))


def _header_of(path: Path) -> Path:
    return _renamed(path, (".img", ".hdr")) if _is(path, ".img") else path


def files_of(path: Path) -> list[Path]:
    """The file, and the other half of a pair."""
    if _is(path, ".img"):
        return [path, _header_of(path)]
    return [path, _image_of(path)] if _is(path, ".hdr") else [path]


def is_other_half(path: Path) -> bool:
    """Whether a file is the ``.img`` of a ``.hdr`` beside it."""
    try:
        return _is(path, ".img") and _header_of(path) != path
    except SimcvdError:
        return False


def _remarks(path: Path, header: Any, shape: tuple[int, ...]) -> tuple[Remark, ...]:
    """NIfTI keeps its geometry twice; programs differ in which of the two they read."""
    sform, qform = (int(header[name]) for name in ("sform_code", "qform_code"))
    if sform == 0 and qform == 0:
        return (
            (
                "warning",
                "orientation",
                f"{path}: declares no orientation (sform and qform code are 0), so left and "
                "right are a guess.",
            ),
        )
    if sform == 0 or qform == 0:
        return ()
    return _forms_compared(path, header.get_sform(), header.get_qform(), shape)


def _forms_compared(
    path: Path, sform: np.ndarray, qform: np.ndarray, shape: tuple[int, ...]
) -> tuple[Remark, ...]:
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        return (
            (
                "warning",
                "left-right",
                f"{path}: sform and qform are mirror images of each other, so programs show it "
                "with left and right exchanged. simcvd reads the sform.",
            ),
        )
    corner = np.array([*(*shape, 1, 1)[:3], 1.0])
    ends = np.stack([np.eye(4)[3], *(corner * [*axis, 1] for axis in np.eye(3))])
    apart = np.abs((ends @ (sform - qform).T)[:, :3]).max()
    if apart <= 0.5 * min(spacing_of(sform)):
        return ()
    return (
        (
            "warning",
            "orientation",
            f"{path}: sform and qform place its voxels up to {apart:.3g} mm apart. simcvd reads "
            "the sform; other programs read the qform.",
        ),
    )


def image_like(array: np.ndarray, affine: np.ndarray, like: Path | None) -> Any:
    """A nibabel image ``[X, Y, Z, ...]``; of a NIfTI scan it keeps both forms, codes and units.

    affine: RAS+ mm. like: the scan, of whatever format, or None.
    """
    import nibabel

    header: Any = None
    kind: Any = nibabel.Nifti1Image
    if like is not None and is_nifti(like):
        header = _loaded(like)[0]
        kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else kind
        scale = MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
        own = np.array(header.get_best_affine(), np.float64)
        given = np.diag([1 / scale] * 3 + [1.0]) @ affine
        affine = own if np.allclose(own, given, rtol=1e-6, atol=1e-9) else given
        header["vox_offset"] = 0
        header.set_data_dtype(array.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0  # the scan's display window hides labels
    image = kind(array, affine, header)
    if header is None:
        image.header.set_xyzt_units("mm")
    return image


def is_nifti(path: Path) -> bool:
    """Whether a path is that of a NIfTI file, by its name."""
    return path.name.lower().endswith(NIFTI.suffixes) or is_other_half(path)


def save(path: Path, image: Any) -> None:
    """Write an image, whole or not at all; raises SimcvdError where that cannot be done."""
    import nibabel

    with replace_into(path) as temporary:
        nibabel.save(image, temporary)


def writer(like: Path | None) -> Write:
    """Writes labels with the geometry of ``like`` as it stands there, if that is NIfTI."""

    def write(path: Path, labels: np.ndarray, affine: np.ndarray, names: Mapping[int, str]) -> None:
        save(path, image_like(labels, affine, like))

    return write


NIFTI = Format(
    key="nifti",
    suffixes=(".nii", ".nii.gz", ".nii.bz2", ".hdr", ".hdr.gz"),
    header=read_header,
    voxels=read_voxels,
    recognises=is_other_half,
    files=files_of,
    endings=(".nii.gz", ".nii", ".nii.bz2"),
    writer=writer,
)
