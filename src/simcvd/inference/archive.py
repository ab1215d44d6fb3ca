"""Files as one zip: the same bytes for the same content, and read without trusting its maker.

Nothing is unpacked to the disk. A zip that holds anything but the plain files it is asked for is
refused as a whole.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath

from simcvd.files import write_bytes
from simcvd.types import SimcvdError

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip: the day of the export changes nothing
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".npy", ".npz")
# `export` compresses nothing. Packed again, weights shrink by a tenth or so, the small files more;
# what shrinks more than that is made to explode.
LARGEST_RATIO, SMALL = 2, 1 << 22


def write_archive(path: Path | str, files: Mapping[str, bytes]) -> None:
    """Write ``{name: content}`` as a zip, whole or not at all. Raises CannotWrite."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # Unix, on every system
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)
    write_bytes(path, content.getvalue())


def read_archive(path: Path | str, limits: Mapping[str, int]) -> dict[str, bytes]:
    """The files of a zip, ``{name: content}``; ``limits``: the names it may hold, bytes of each.

    Raises SimcvdError for what is no zip or is damaged, any other name, a name twice, a link or
    folder, an encrypted file, and a size beyond its limit or out of proportion.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for info in members:
                if problem := _problem(info, limits):
                    raise SimcvdError(f"{path}: {problem}; take a zip that `simcvd export` wrote")
            names = [info.filename for info in members]
            if doubled := sorted({name for name in names if names.count(name) > 1}):
                raise SimcvdError(f"{path}: holds {doubled[0]} more than once; export again")
            return {info.filename: _read(archive, info) for info in members}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise SimcvdError(
            f"{path}: cannot be read as a zip ({error}); give a zip that `simcvd export` wrote, "
            "or copy it again"
        ) from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as file:
        data = file.read(info.file_size)  # never more than was declared, whatever follows
    if len(data) != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} is shorter than it says")
    return data


def _problem(info: zipfile.ZipInfo, limits: Mapping[str, int]) -> str | None:
    """Why a member is refused, or None."""
    name = info.orig_filename  # zipfile cuts the other one off at a zero byte
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name not in limits:
        return f"holds {name!r}, {_what_else(name)}"
    if kind not in (0, stat.S_IFREG):
        return f"{name} is a link or a special file"
    if info.flag_bits & 1:
        return f"{name} is encrypted"
    if info.compress_type not in PLAIN:
        return f"{name} is compressed by another method than deflate"
    if info.file_size > limits[name]:
        return f"{name} says it has {info.file_size} bytes, more than {limits[name]}"
    if info.file_size > LARGEST_RATIO * info.compress_size + SMALL:
        return f"{name} would grow from {info.compress_size} to {info.file_size} bytes"
    return None


def _what_else(name: str) -> str:
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        return "an absolute path"
    if ".." in PurePosixPath(name.replace("\\", "/")).parts:
        return "a path that leads out of its folder"
    if name.lower().endswith(PICKLES):
        return "which may be a pickle, and loading one would run code of its maker"
    return "which is not part of a model"
