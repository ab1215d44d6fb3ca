"""A new format is one `Format` in the table: it is checked, prepared, predicted and answered in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.data.conftest import AFFINE, ball, noise
from tests.inference.tools import small_vnet, spec

from simcvd.checking.check import check
from simcvd.data.prepare import prepare
from simcvd.formats import FORMATS, read_label
from simcvd.formats.packed import Block
from simcvd.formats.plain import array_of
from simcvd.formats.record import Format, Header, Voxels, What, Write
from simcvd.inference.model import save_model
from simcvd.inference.predict import predict_files
from simcvd.types import SimcvdError


def read_header(path: Path, what: What) -> Header:
    """Three sizes and three spacings as float32, then int16 voxels."""
    numbers = np.fromfile(path, "<f4", 6)
    shape = tuple(int(n) for n in numbers[:3])
    affine = np.diag([*numbers[3:].astype(float), 1.0])
    block = Block(files=(path,), offset=24)
    return Header(shape=shape, dtype=np.dtype("<i2"), affine=affine, block=block)


def read_voxels(path: Path, header: Header) -> Voxels:
    return Voxels(array=array_of(header), affine=header.affine)


def writer(like: Path | None) -> Write:
    def write(path: Path, labels: np.ndarray, affine: np.ndarray, names: Mapping[int, str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        start = np.array([*labels.shape, *np.diag(affine)[:3]], "<f4")
        path.write_bytes(start.tobytes() + labels.astype("<i2").tobytes("F"))

    return write


TOY = Format(
    key="toy",
    suffixes=(".toy",),
    header=read_header,
    voxels=read_voxels,
    endings=(".toy",),
    writer=writer,
)


def test_a_format_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simcvd.formats.table.FORMATS", [*FORMATS, TOY])
    write = writer(None)
    for seed, name in enumerate("abc"):
        write(tmp_path / "data" / "images" / f"{name}.toy", noise(seed), AFFINE, {})
        write(tmp_path / "data" / "labels" / f"{name}.toy", ball(), AFFINE, {})
    assert check(tmp_path / "data", jobs=1, quiet=True).errors == 0
    cache = prepare(tmp_path / "data", tmp_path / "cache", jobs=1, quiet=True)
    np.testing.assert_array_equal(cache.case("b").label, ball())
    save_model(tmp_path / "run", small_vnet(), spec())
    scan = tmp_path / "data" / "images" / "a.toy"
    (written,) = predict_files(tmp_path / "run", [scan], tmp_path / "out", device="cpu")
    assert written.name == "a.toy"
    label = read_label(written)
    assert label.array.shape == ball().shape
    np.testing.assert_array_equal(label.affine, AFFINE)
    scan.write_bytes(scan.read_bytes()[:-100])
    with pytest.raises(SimcvdError, match="can hold"):
        read_label(scan)
