"""Damaged files of every format: refused with one sentence, or harmless; never anything else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tests.formats.made import VOXELS, WRITERS, make, stored

from simcvd.formats import read_image
from simcvd.types import SimcvdError

COMPRESSED = [
    *("a.nii.gz", "a.nii.bz2", "two.nii.gz", "packed.mha", "packed.mhd", "packed.nrrd"),
    *("packed.nhdr", "bz2.nrrd"),
]


def outcome(path: Path, sound: np.ndarray) -> str:
    """What reading comes to; any exception but SimcvdError fails the test by itself."""
    try:
        volume = read_image(path)
    except SimcvdError:
        return "refused"
    return "same" if np.array_equal(volume.array, sound) else "changed"


def packed_part(path: Path) -> tuple[Path, int]:
    """The file that holds compressed voxels, and where in it they begin."""
    data = max(stored(path), key=lambda file: file.suffix in (".zraw", ".gz"))
    text = data.read_bytes()
    if path.suffix == ".mha":
        return data, text.index(b"LOCAL\n") + 6
    return data, text.index(b"\n\n") + 2 if path.suffix == ".nrrd" else 0


@pytest.mark.parametrize("name", COMPRESSED)
def test_no_bit_of_a_compressed_file_can_flip_unseen(tmp_path: Path, name: str) -> None:
    """Every byte, one of its bits: refused, or in a place that says nothing (gzip's date)."""
    path = make(tmp_path, name)
    sound = read_image(path).array
    np.testing.assert_array_equal(sound[0], VOXELS)
    data, start = packed_part(path)
    whole = data.read_bytes()
    found = []
    for at in range(start, len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        data.write_bytes(flipped)
        found.append(outcome(path, sound))
    assert "changed" not in found
    # Date and system in gzip's ten bytes; the codes that bzip2 lists and does not use.
    assert found.count("same") <= (20 if "bz2" in name else 9)


@pytest.mark.parametrize("name", list(WRITERS))
def test_no_truncated_file_is_accepted(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name)
    sound = read_image(path).array
    for data in stored(path):
        whole = data.read_bytes()
        for share in (0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
            data.write_bytes(whole[: int(share * len(whole))])
            assert outcome(path, sound) == "refused", (data.name, share)
        data.write_bytes(whole[:-1])
        if data.suffix not in (".hdr", ".nhdr", ".mhd"):  # which end in a line's end, or in zeros
            assert outcome(path, sound) == "refused", data.name
        data.write_bytes(whole)
    assert outcome(path, sound) == "same"


@pytest.mark.parametrize("name", list(WRITERS))
def test_flips_anywhere_end_in_a_sentence(tmp_path: Path, name: str) -> None:
    """Two hundred places each, headers among them: read or refused, in no other way."""
    path = make(tmp_path, name)
    sound = read_image(path).array
    random = np.random.default_rng(1)
    for data in stored(path):
        whole = data.read_bytes()
        places = random.integers(0, min(len(whole), 700), 100 if name != "dicom" else 40)
        for at in places:
            flipped = bytearray(whole)
            flipped[at] ^= 1 << int(random.integers(8))
            data.write_bytes(flipped)
            outcome(path, sound)
        data.write_bytes(whole)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii.bz2"])
def test_files_of_several_compressed_parts_are_whole(tmp_path: Path, name: str) -> None:
    """As ``cat a.gz b.gz`` and parallel compressors make them."""
    import bz2
    import gzip

    path = make(tmp_path, name)
    module = gzip if name.endswith("gz") else bz2
    plain = module.decompress(path.read_bytes())
    path.write_bytes(module.compress(plain[:500]) + module.compress(plain[500:]))
    np.testing.assert_array_equal(read_image(path).array[0], VOXELS)
    path.write_bytes(module.compress(plain) + b"garbage")
    with pytest.raises(SimcvdError, match="cannot be read"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.nii", "a.mha", "packed.mha", "packed.nrrd", "a.nii.gz"])
def test_much_more_than_the_voxels_is_no_sound_file(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name)
    data = bytearray(path.read_bytes())
    if name == "a.nii.gz":
        import gzip

        path.write_bytes(gzip.compress(gzip.decompress(bytes(data)) + bytes(10_000)))
    elif "packed" in name:
        text = bytes(data).replace(b"DimSize = 7 6 5", b"DimSize = 7 6 4")
        path.write_bytes(text.replace(b"sizes: 7 6 5", b"sizes: 7 6 4"))
    else:
        path.write_bytes(data + bytes(10_000))
    with pytest.raises(SimcvdError, match="more than the voxels that its header announces"):
        read_image(path)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = make(tmp_path, "a.nii.gz")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.nii.gz"))
    path.rename(odd)
    np.testing.assert_array_equal(read_image(odd).array[0], VOXELS)
