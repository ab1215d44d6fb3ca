"""Headers that claim what no scan, no such file or no machine can hold, or lead elsewhere."""

from __future__ import annotations

import gzip
import os
import socket
import time
import tracemalloc
import zlib
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from tests.data.dicom_series import write_series
from tests.formats.made import OBLIQUE, VOXELS, make, regzipped

from simcvd.formats import guard, read_image, read_label
from simcvd.formats.dicom_files import files_below
from simcvd.types import SimcvdError

PLAIN = np.diag([-1.0, -1.0, 2.0, 1.0])


def refused(path: Path, why: str) -> None:
    """Reading ends in that sentence, and takes no memory to speak of."""
    tracemalloc.start()
    with pytest.raises(SimcvdError, match=why) as caught:
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.name.partition("#")[0] in str(caught.value)
    assert peak < 50e6


def nifti_claiming(path: Path, shape: tuple[int, ...]) -> Path:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return regzipped(path, header.binaryblock + bytes(4))


def test_a_small_file_that_claims_gigabytes(tmp_path: Path) -> None:
    path = nifti_claiming(tmp_path / "a.nii.gz", (1100, 1100, 1100))
    assert path.stat().st_size < 150
    refused(path, r"claims 2662000000 bytes of voxels, more than its \d+ bytes can hold")
    for name in ("a.mha", "a.nrrd", "packed.mha", "packed.nrrd"):
        whole = make(tmp_path, name).read_bytes()
        whole = whole.replace(b"DimSize = 7 6 5", b"DimSize = 7000 6000 5000")
        (tmp_path / name).write_bytes(whole.replace(b"sizes: 7 6 5", b"sizes: 7000 6000 5000"))
        refused(tmp_path / name, "more than its .* bytes can hold")


def test_what_the_memory_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((100, 100, 100), np.int16), PLAIN), path)
    monkeypatch.setattr(guard, "free_memory", lambda: 5_999_999)  # 2 stored and 4 as float32
    refused(path, r"needs 0\.0 GB of memory")
    monkeypatch.setattr(guard, "free_memory", lambda: 6_000_000)
    read_image(path)


def test_more_voxels_than_the_header_says_are_not_unpacked(tmp_path: Path) -> None:
    """A sound header before 200 MB of zeros in 200 kB."""
    header = gzip.decompress(make(tmp_path, "a.nii.gz").read_bytes())
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = packer.compress(header) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(200))
    (tmp_path / "a.nii.gz").write_bytes(data + packer.flush())
    refused(tmp_path / "a.nii.gz", "more than the voxels")


@pytest.mark.parametrize("dims", ["-1", "0", "8", "100", "3.5", "nan", "x", "1e300"])
def test_dimensions_that_crash_itk(tmp_path: Path, dims: str) -> None:
    path = make(tmp_path, "a.mha")
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", f"NDims = {dims}".encode()))
    refused(path, "dimensions|NDims")
    path = make(tmp_path, "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"dimension: 3", f"dimension: {dims}".encode()))
    refused(path, "dimension|sizes")


@pytest.mark.parametrize("sizes", ["7 6", "7 6 5 4", "7 6 -5", "7 6 0", "7 6 x", "7 6 5e9"])
def test_sizes_that_fit_nothing(tmp_path: Path, sizes: str) -> None:
    for name in ("a.mha", "a.nrrd"):
        path = make(tmp_path, name)
        text = path.read_bytes().replace(b"DimSize = 7 6 5", f"DimSize = {sizes}".encode())
        path.write_bytes(text.replace(b"sizes: 7 6 5", f"sizes: {sizes}".encode()))
        refused(path, "DimSize|sizes|shape|can hold")


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_fields_that_are_damaged_are_not_lost(tmp_path: Path, name: str) -> None:
    """One bit in a field's name would silently drop the geometry that it holds."""
    path = make(tmp_path, name)
    text = path.read_bytes()
    for field in (b"Offset", b"TransformMatrix", b"ElementSpacing", b"space origin"):
        if field in text:
            path.write_bytes(text.replace(field, field[:-1] + bytes([field[-1] ^ 1])))
            refused(path, "damaged")


def test_a_header_of_very_many_lines_is_read_at_once(tmp_path: Path) -> None:
    """Copying what is left of the header for every line would take hours."""
    lines = b"".join(b"k%x=\n" % n for n in range(100_000))
    (tmp_path / "a.mha").write_bytes(lines)
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + lines.replace(b"=", b":="))
    began = time.process_time()
    with pytest.raises(SimcvdError, match="is not a MetaImage file, or its header is damaged"):
        read_image(tmp_path / "a.mha")
    with pytest.raises(SimcvdError, match="has no field 'dimension'"):
        read_image(tmp_path / "a.nrrd")
    assert time.process_time() - began < 10


def test_a_field_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    for name, field in (("a.mha", b"Offset = 0 0 0\n"), ("a.nrrd", b"space origin: (0,0,0)\n")):
        path = make(tmp_path, name)
        head, newline, rest = path.read_bytes().partition(b"\n")
        path.write_bytes(head + newline + field + rest)
        refused(path, "twice")


@pytest.mark.parametrize("size", [1e-6, 1e6, 0.0])
def test_voxels_of_no_sensible_size(tmp_path: Path, size: float) -> None:
    affine = np.diag([1.0, 1.0, size, 1.0])
    nibabel.save(nibabel.Nifti1Image(VOXELS, None), tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    image.set_sform(affine, code=1)
    nibabel.save(image, tmp_path / "b.nii")
    refused(tmp_path / "b.nii", "which no scan has|has no inverse")


def test_an_affine_that_is_not_finite(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS, None)
    affine = np.eye(4)
    affine[1, 3] = np.nan
    image.set_sform(affine, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "has no inverse")


def test_axes_in_one_plane_are_no_volume(tmp_path: Path) -> None:
    """The third axis leans over the first: 0.05 of its length stands up, then 0.15."""
    for share in (0.05, 0.15):
        affine = np.eye(4)
        affine[:3, 2] = [np.sqrt(1 - share**2), 0, share]
        image = nibabel.Nifti1Image(VOXELS, None)
        image.set_sform(affine, code=1)
        nibabel.save(image, tmp_path / "a.nii")
        if share < 0.1:
            refused(tmp_path / "a.nii", "nearly in one plane")
    read_image(tmp_path / "a.nii")  # which `check` calls sheared


def test_spacing_at_the_bounds_is_read(tmp_path: Path) -> None:
    for size in (1e-3, 1e3):
        affine = np.diag([size, size, size, 1.0])
        nibabel.save(nibabel.Nifti1Image(VOXELS, affine), tmp_path / "a.nii")
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("elsewhere", ["/etc/passwd", "../secret", "sub/../../secret", "link"])
def test_voxels_are_not_taken_from_outside_the_folder(tmp_path: Path, elsewhere: str) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(VOXELS.tobytes("F"))
    (folder / "link").symlink_to(tmp_path / "secret")
    for name, old in (("a.mhd", b"a.raw"), ("a.nhdr", b"a.raw")):
        path = make(folder, name)
        text = path.read_bytes()
        assert old in text
        path.write_bytes(text.replace(old, elsewhere.encode()))
        refused(path, "outside its own folder")


def test_lists_of_data_files_are_named_as_not_read(tmp_path: Path) -> None:
    for name in ("a.mhd", "a.nhdr"):
        path = make(tmp_path, name)
        path.write_bytes(path.read_bytes().replace(b"a.raw", b"slice%03d.raw 1 5 1"))
        refused(path, "in a list of files")
        path.write_bytes(path.read_bytes().replace(b"slice%03d.raw 1 5 1", b"LIST"))
        refused(path, "in a list of files")


def test_h5_that_leads_elsewhere(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = VOXELS
    (tmp_path / "secret").write_bytes(VOXELS.tobytes())
    path = tmp_path / "a" / "mri_norm2.h5"
    path.parent.mkdir()
    for kind in ("link", "external", "virtual", "soft"):
        with h5py.File(path, "w") as file:
            if kind == "link":
                file["image"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "image")
            elif kind == "external":
                there = [(str(tmp_path / "secret"), 0, VOXELS.nbytes)]
                file.create_dataset("image", VOXELS.shape, "i2", external=there)
            elif kind == "virtual":
                layout = h5py.VirtualLayout(VOXELS.shape, "i2")
                layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "image", VOXELS.shape)
                file.create_virtual_dataset("image", layout)
            else:
                file["label"] = VOXELS
                file["image"] = h5py.SoftLink("/label")
        refused(path, "not followed|not opened")


def test_h5_that_claims_more_than_it_stores(tmp_path: Path) -> None:
    path = tmp_path / "mri_norm2.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("image", (2000, 2000, 2000), "f4", chunks=(20, 20, 20))
    assert path.stat().st_size < 5000
    refused(path, "claims 32000000000 bytes")


def test_h5_without_a_voxel_size(tmp_path: Path) -> None:
    make(tmp_path, "mri_norm2.h5").rename(tmp_path / "image0001_norm.h5")
    refused(tmp_path / "image0001_norm.h5", "does not say how large its voxels are")


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.dcm"])
def test_pipes_sockets_and_devices_are_not_opened(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(path))
    else:
        path.symlink_to("/dev/zero")
    refused(path, "which is not opened")


def test_slices_shifted_by_kilometres_are_no_gantry_tilt(tmp_path: Path) -> None:
    shifts = [(0, 4e7 * z, 0) for z in range(5)]
    write_series(tmp_path / "ct", VOXELS, PLAIN, shifts=shifts)
    refused(tmp_path / "ct", r"gantry were tilted by 90\.0 degrees")
    steep = [(0, 2.1 * z, 0) for z in range(5)]  # 46.4 degrees at 2 mm a slice
    write_series(tmp_path / "b", VOXELS, PLAIN, shifts=steep)
    refused(tmp_path / "b", r"tilted by 46\.4 degrees")


def test_links_to_their_own_folder_end(tmp_path: Path) -> None:
    make(tmp_path / "scans", "a.nii")
    for name in ("one", "two"):
        (tmp_path / "scans" / name).symlink_to(tmp_path / "scans")
    (tmp_path / "scans" / "gone").symlink_to(tmp_path / "nowhere")
    found = [path.name for path in files_below(tmp_path / "scans")]
    assert found == ["a.nii", "gone"]


def test_what_is_not_there_and_what_is_unknown(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.txt", "a"):
        refused(tmp_path / name, "there is no such file")
    (tmp_path / "a.txt").write_text("text")
    refused(tmp_path / "a.txt", r"unknown format; simcvd reads \.nii, ")
    (tmp_path / "b.nii").write_bytes(b"")
    refused(tmp_path / "b.nii", r"the file is empty \(0 bytes\)")


def test_complex_numbers_are_no_intensities(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS.astype(np.complex64), OBLIQUE)
    nibabel.save(image, tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "real numbers are needed")
    with pytest.raises(SimcvdError, match="real numbers are needed"):
        read_label(tmp_path / "a.nii")
