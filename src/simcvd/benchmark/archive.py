"""The runs of a finished study as one compressed file, so that a repository keeps little.

``STUDY/runs.tar.xz`` holds the runs' folders as they lay in the study's; its SHA-256 stands in
``runs.tar.xz.sha256`` beside it, as ``sha256sum --check`` reads it.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from simcvd.files import remove, write_bytes, write_text
from simcvd.types import SimcvdError

ARCHIVE, CHECKSUM = "runs.tar.xz", "runs.tar.xz.sha256"


def pack(study: Path, names: Iterable[str]) -> Path:
    """Move these folders of ``study`` into its archive, over what it holds of the same names.

    The same files always give the same bytes: names are sorted, owners and times left out.
    """
    names = list(names)
    with unpacked(study) as kept:
        for name in names:
            shutil.copytree(study / name, kept / name, dirs_exist_ok=True)
        content = lzma.compress(_tar(kept), preset=9 | lzma.PRESET_EXTREME)
    write_bytes(study / ARCHIVE, content)
    write_text(study / CHECKSUM, f"{hashlib.sha256(content).hexdigest()}  {ARCHIVE}\n")
    for name in names:
        remove(study / name)
    return study / ARCHIVE


@contextmanager
def unpacked(study: Path) -> Iterator[Path]:
    """A temporary folder with what the study's archive holds; an empty one where there is none.

    Raises SimcvdError for an archive that is not the one its checksum was made of.
    """
    with TemporaryDirectory(prefix="simcvd-runs-") as place:
        if (study / ARCHIVE).exists():
            content = _verified(study)
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:xz") as archive:
                archive.extractall(place, filter="data")
        yield Path(place)


def _verified(study: Path) -> bytes:
    content = (study / ARCHIVE).read_bytes()
    beside = study / CHECKSUM
    wanted = beside.read_text(encoding="utf-8").split() if beside.exists() else []
    if wanted[:1] != [hashlib.sha256(content).hexdigest()]:
        raise SimcvdError(
            f"{study / ARCHIVE} is not the file that {CHECKSUM} was made of; fetch both again"
        )
    return content


def _tar(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return buffer.getvalue()
