"""A zip from a stranger: one model comes out of it, or nothing does, and nothing is ever run."""

from __future__ import annotations

import hashlib
import json
import pickle
import stat
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from tests.inference.test_model import Bomb
from tests.inference.tools import small_vnet, spec

from simcvd.inference.archive import read_archive, write_archive
from simcvd.inference.model import DESCRIPTION, WEIGHTS, load_model, model_files, save_model
from simcvd.types import SimcvdError

LIMITS = {"a.json": 100, "b.bytes": 1 << 27}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    save_model(tmp_path / "run", small_vnet(), spec())
    return model_files(tmp_path / "run")


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # zipfile's own, of a name that is there already
        for name, data in members:
            archive.writestr(name, data)
    return path


def test_a_model_comes_out_as_it_went_in(files: dict[str, bytes], tmp_path: Path) -> None:
    write_archive(tmp_path / "m.zip", files)
    loaded = load_model(tmp_path / "m.zip")
    assert loaded.spec == spec()
    saved = small_vnet().state_dict()
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, saved[name]), name


def test_the_same_files_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    files = {"a.json": b"{}", "b.bytes": bytes(range(256))}
    write_archive(tmp_path / "one.zip", files)
    write_archive(tmp_path / "two.zip", files)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert read_archive(tmp_path / "one.zip", LIMITS) == files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.pkl", "may be a pickle"),
        ("archive/data.pkl", "may be a pickle"),  # how torch.save packs one
        ("checkpoint.pt", "may be a pickle"),
        ("/etc/cron.d/job", "an absolute path"),
        ("C:\\Windows\\job.exe", "an absolute path"),
        ("../model.json", "leads out of its folder"),
        ("..\\model.json", "leads out of its folder"),
        ("sub/../../model.json", "leads out of its folder"),
        ("setup.py", "not part of a model"),
        ("model/", "not part of a model"),
        ("MODEL.JSON", "not part of a model"),
        ("./model.json", "not part of a model"),
    ],
)
def test_anything_else_in_the_zip_refuses_all_of_it(
    files: dict[str, bytes], tmp_path: Path, name: str, message: str
) -> None:
    path = zipped(tmp_path / "m.zip", *files.items(), (name, b"x"))
    with pytest.raises(SimcvdError, match=message):
        load_model(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.zip", "run"]


def test_a_pickle_by_the_name_of_the_weights_is_never_run(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    write_archive(tmp_path / "m.zip", {**files, WEIGHTS: bomb})
    with pytest.raises(SimcvdError, match=r"not the file that model\.json describes"):
        load_model(tmp_path / "m.zip")
    told = {**json.loads(files[DESCRIPTION]), "weights_sha256": hashlib.sha256(bomb).hexdigest()}
    write_archive(tmp_path / "m.zip", {DESCRIPTION: json.dumps(told).encode(), WEIGHTS: bomb})
    with pytest.raises(SimcvdError, match=r"model\.safetensors cannot be read"):
        load_model(tmp_path / "m.zip")
    torch.save({"w": torch.zeros(3)}, tmp_path / "torch.pt")
    with pytest.raises(SimcvdError, match=r"may be a pickle|not part of a model"):
        load_model(tmp_path / "torch.pt")
    assert not (tmp_path / "ran").exists()


def test_a_network_larger_than_its_weights_is_never_built(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    told = json.loads(files[DESCRIPTION])
    told["network"]["widths"] = [4, 100_000]  # one convolution of a terabyte
    write_archive(tmp_path / "m.zip", {**files, DESCRIPTION: json.dumps(told).encode()})
    with pytest.raises(SimcvdError, match=r"(?s)is not a model that.*size mismatch"):
        load_model(tmp_path / "m.zip")


def test_brackets_without_end_are_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    write_archive(tmp_path / "m.zip", {**files, DESCRIPTION: b"[" * 100_000})
    with pytest.raises(SimcvdError, match=r"model\.json: cannot be read"):
        load_model(tmp_path / "m.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_compression_is_refused(
    files: dict[str, bytes], tmp_path: Path, method: int
) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(SimcvdError, match="another method than deflate"):
        load_model(tmp_path / "m.zip")


def test_a_link_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    link = zipfile.ZipInfo(WEIGHTS)
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    path = zipped(tmp_path / "m.zip", (DESCRIPTION, files[DESCRIPTION]), (link, b"/etc/passwd"))
    with pytest.raises(SimcvdError, match="a link or a special file"):
        load_model(path)


def test_a_name_twice_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    path = zipped(tmp_path / "m.zip", *files.items(), (DESCRIPTION, b"{}"))
    with pytest.raises(SimcvdError, match=r"model.json more than once"):
        load_model(path)


def test_a_name_cut_off_by_a_zero_byte_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "m.zip", ("a.jsonX.exe", b"{}"))
    path.write_bytes(path.read_bytes().replace(b"a.jsonX.exe", b"a.json\0.exe"))
    with pytest.raises(SimcvdError, match="not part of a model"):
        read_archive(path, LIMITS)


def test_sizes_that_are_made_to_fill_the_memory_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "m.zip", ("a.json", b"x" * 101))
    with pytest.raises(SimcvdError, match="101 bytes, more than 100"):
        read_archive(path, LIMITS)
    path = zipped(tmp_path / "bomb.zip", ("b.bytes", bytes(1 << 23)))
    assert path.stat().st_size < 1 << 14
    with pytest.raises(SimcvdError, match=r"would grow from .* to 8388608 bytes"):
        read_archive(path, LIMITS)


def test_a_size_that_lies_is_refused(tmp_path: Path) -> None:
    """8 MB that say they are 50 bytes, in both places where a zip says so."""
    path = zipped(tmp_path / "m.zip", ("a.json", bytes(1 << 23)))
    size = struct.pack("<L", 1 << 23)
    assert path.read_bytes().count(size) == 2
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<L", 50)))
    with pytest.raises(SimcvdError, match="cannot be read as a zip"):
        read_archive(path, LIMITS)


@pytest.mark.parametrize("damage", ["cut", "flip", "none", "text"])
def test_what_is_damaged_or_no_zip_is_refused(
    files: dict[str, bytes], tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "m.zip"
    write_archive(path, files)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    content = {"cut": data[: len(data) // 2], "flip": data, "none": b"", "text": b"a model"}
    path.write_bytes(content[damage])
    with pytest.raises(SimcvdError, match=r"m\.zip: cannot be read as a zip"):
        load_model(path)


def test_a_zip_without_a_model_says_so(files: dict[str, bytes], tmp_path: Path) -> None:
    write_archive(tmp_path / "m.zip", {DESCRIPTION: files[DESCRIPTION]})
    with pytest.raises(SimcvdError, match=r"holds no model\.safetensors"):
        load_model(tmp_path / "m.zip")
