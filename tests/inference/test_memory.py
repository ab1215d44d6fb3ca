"""What runs out of memory is done again with less of it, and comes out the same."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from tests.inference.tools import OBLIQUE, blob, small_vnet, spec
from tests.whole import predict_probabilities

from simcvd import machine
from simcvd.formats.table import format_of
from simcvd.inference import memory, sliding_window
from simcvd.inference.inputs import Job
from simcvd.inference.maps import SourceMaps
from simcvd.inference.memory import fitted, refuse_full_disk, sparer, sparing
from simcvd.inference.model import Model, save_model
from simcvd.inference.predict import predict_files
from simcvd.inference.sliding_window import Windows
from simcvd.types import SimcvdError, Volume

PATCH = (8, 8, 8)


def windows(device: str = "cpu", **changes: object) -> Windows:
    return Windows(
        **{"patch": PATCH, "stride": (4, 4, 4), "classes": 3, "device": device, **changes}  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("device", "steps"),
    [
        ("cpu", [(4, False), (2, False), (1, False)]),
        ("cuda", [(4, False), (2, False), (1, False), (1, True)]),
    ],
)
def test_batches_shrink_and_then_the_gpu_holds_windows_alone(
    device: str, steps: list[tuple[int, bool]]
) -> None:
    seen = []

    def work(how: Windows) -> None:
        seen.append((how.batch, how.spared))
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        sparing(windows(device, windows_per_batch=4), work)
    assert seen == steps


def test_the_first_that_fits_is_the_result() -> None:
    def work(how: Windows) -> int:
        if how.batch > 2:
            raise torch.OutOfMemoryError("full")
        return how.batch

    assert sparing(windows(windows_per_batch=16), work) == 2


def test_scan_and_sums_stay_in_the_host_s_memory_where_the_gpu_has_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan = Volume(array=np.zeros((1, 64, 64, 64), np.float32), affine=np.eye(4))
    model = Model(network=small_vnet(), spec=spec())
    _, one = memory._of_windows(model, scan, windows(windows_per_batch=1))
    free = {"cuda": one, "cpu": 10**12}
    monkeypatch.setattr(memory, "free_memory", free.__getitem__)
    how = fitted(model, scan, (64, 64, 64), windows("cuda", windows_per_batch=4))
    assert (how.batch, how.spared, how.home.type) == (1, True, "cpu")
    free["cuda"] = 10**9
    assert not fitted(model, scan, (64, 64, 64), windows("cuda")).spared
    assert fitted(model, scan, (64, 64, 64), windows("cuda"), processes=2000).spared
    assert sparer(how) is None


def test_sums_in_the_host_s_memory_are_the_same() -> None:
    image = torch.from_numpy(blob())
    one, other = (
        predict_probabilities(small_vnet(), image, windows(spared=spared))
        for spared in (False, True)
    )
    assert torch.equal(one, other)


def test_a_scan_that_runs_out_of_memory_is_segmented_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "run", small_vnet(), spec())
    nibabel.save(nibabel.Nifti1Image(blob()[0], OBLIQUE), tmp_path / "a.nii.gz")
    run, batches = sliding_window._run, []

    def short(network: object, patches: torch.Tensor, *rest: object) -> torch.Tensor:
        batches.append(len(patches))
        if len(batches) > 2 and len(patches) > 4:  # in the middle of the scan
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(network, patches, *rest)  # type: ignore[arg-type]

    made = []
    for out in ("one", "two"):
        made += predict_files(
            *(tmp_path / "run", [tmp_path / "a.nii.gz"], tmp_path / out),
            device="cpu",
            windows_per_batch=8,
        )
        monkeypatch.setattr(sliding_window, "_run", short)
    assert max(batches[:3]) > 4 >= max(batches[3:])
    one, two = (np.asarray(nibabel.load(path).dataobj) for path in made)
    np.testing.assert_array_equal(one, two)
    assert (tmp_path / "one" / "predictions.csv").read_bytes() == (
        tmp_path / "two" / "predictions.csv"
    ).read_bytes()


def test_blocks_that_torch_has_emptied_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3_000, 80_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 50_000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 20_000)
    assert machine.free_memory("cuda:1") == 33_000


def test_maps_on_a_gpu_come_to_what_arrays_come_to() -> None:
    """Tensors are worked on by torch, wherever they lie."""
    shape, box = (9, 8, 7), (slice(1, 9), slice(0, 8), slice(2, 7))
    share = torch.randn(4, 8, 8, 5, generator=torch.Generator().manual_seed(0)).softmax(0)
    share[1, :2] = share[2, :2]  # of equals the first
    place = (slice(0, 8), slice(0, 8), slice(0, 5))
    made = []
    for maps in (list(share.numpy()), list(share)):
        bytes_of = np.zeros((*shape, 4), np.uint8), np.zeros(shape, np.uint8)
        one = SourceMaps(shape, box, *bytes_of)
        one.fill([(place, maps)])
        made.append((one.labels, *bytes_of, one.confidence))
    (labels, shares, entropy, sure), others = made[0], made[1]
    np.testing.assert_array_equal(labels, others[0])
    np.testing.assert_array_equal(shares, others[1])
    assert np.abs(entropy.astype(int) - others[2]).max() <= 1  # two libraries' logarithms
    assert sure == pytest.approx(others[3], rel=1e-12)
    np.testing.assert_array_equal(labels[box], share.argmax(0).numpy())


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(count))


def test_a_disk_that_the_masks_and_a_scan_s_maps_would_fill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,320 and 1,000 voxels, 0.002 bytes of mask each: 11; three maps of the larger: 12,960."""
    noise, jobs = np.random.default_rng(0), []
    for name, shape in (("large", (20, 18, 12)), ("small", (10, 10, 10)), ("broken", (2, 2, 2))):
        path = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(noise.normal(size=shape), OBLIQUE), path)
        target = tmp_path / "out" / path.name
        jobs.append(Job(name=name, images=(path,), target=target, format=format_of(path)))
    jobs[2].path.write_bytes(b"no scan")  # which reading it will say
    (tmp_path / "out").mkdir()
    free(monkeypatch, 12_971)
    refuse_full_disk(tmp_path / "out", jobs, 3)
    free(monkeypatch, 12_970)
    with pytest.raises(SimcvdError, match=r"segment 3 scans takes at least .* another --out"):
        refuse_full_disk(tmp_path / "out", jobs, 3)
    jobs[0].target.write_bytes(b"done by an earlier call")
    free(monkeypatch, 3_002)
    refuse_full_disk(tmp_path / "out", jobs, 3)


def test_a_full_disk_is_told_before_the_first_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "model", small_vnet(), spec())
    nibabel.save(nibabel.Nifti1Image(blob()[0], OBLIQUE), tmp_path / "a.nii.gz")
    free(monkeypatch, 0)
    with pytest.raises(SimcvdError, match=r"0\.0 MB are free on this disk"):
        predict_files(tmp_path / "model", [tmp_path / "a.nii.gz"], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
