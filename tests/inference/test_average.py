"""Several models and flipped windows averaged: the mean of what each says by itself."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from tests.inference.tools import blob, small_vnet, spec

from simcvd.inference.average import Averaged, load_models
from simcvd.inference.model import save_model
from simcvd.inference.predict import predict_files
from simcvd.inference.scan import Wanted
from simcvd.preprocessing import Preprocessing
from simcvd.types import SimcvdError


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_models_give_the_mean_of_their_probabilities() -> None:
    first, second, x = small_vnet(0), small_vnet(1), noise(2, 1, 8, 8, 8)
    found = Averaged([first, second])(x).probabilities
    expected = (first(x).probabilities + second(x).probabilities) / 2
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert (first(x).probabilities - expected).abs().max() > 0.05


def test_flips_are_taken_back_before_the_mean() -> None:
    network, x = small_vnet(), noise(1, 1, 8, 8, 8)
    found = Averaged([network], axes=(0, 2))(x).probabilities
    views = [[], [2], [4], [2, 4]]
    each = [network(x.flip(v)).probabilities.flip(v) for v in views]
    torch.testing.assert_close(found, torch.stack(each).mean(0), atol=1e-6, rtol=0)
    mirrored = Averaged([network], axes=(0, 2))(x.flip([2])).probabilities
    torch.testing.assert_close(mirrored, found.flip([2]), atol=1e-6, rtol=0)


def test_a_class_that_is_impossible_stays_so_and_is_no_nan() -> None:
    class Certain(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            prediction = small_vnet()(x)
            logits = torch.full_like(prediction.logits, -1e4)
            logits[:, 1] = 1e4
            return type(prediction)(logits=logits, distance=None, features=x)

    found = Averaged([Certain()])(noise(1, 1, 8, 8, 8)).probabilities
    assert torch.equal(found[:, 1], torch.ones(1, 8, 8, 8))


def test_several_runs_on_request(tmp_path: Path) -> None:
    for seed in (0, 1):
        save_model(tmp_path / f"run{seed}", small_vnet(seed), spec())
    nibabel.save(nibabel.Nifti1Image(blob()[0], np.eye(4)), tmp_path / "a.nii.gz")
    shares = {}
    for name, runs in {"0": [0], "1": [1], "both": [0, 1]}.items():
        paths = [tmp_path / f"run{seed}" for seed in runs]
        out = tmp_path / name
        predict_files(
            paths, [tmp_path / "a.nii.gz"], out, wanted=Wanted(probabilities=True), device="cpu",
            precision="float32",
        )  # fmt: skip
        shares[name] = nibabel.load(out / "probabilities" / "a.nii.gz").get_fdata()
    mean = (shares["0"] + shares["1"]) / 2
    np.testing.assert_allclose(shares["both"], mean, atol=1.01 / 255)
    assert np.abs(shares["0"] - mean).max() > 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": {0: "background", 1: "wall", 2: "fat"}}, "its class names"),
        ({"label_values": {0: 0, 1: 1, 2: 2}}, "its label values"),
        ({"preprocessing": Preprocessing(spacing=(1, 1, 1))}, "its preprocessing"),
        ({"patch": (16, 16, 16)}, "its patch"),
    ],
)
def test_models_that_differ_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    save_model(tmp_path / "a", small_vnet(), spec())
    save_model(tmp_path / "b", small_vnet(), spec(**changes))
    with pytest.raises(SimcvdError, match=message):
        load_models([tmp_path / "a", tmp_path / "b"])


def test_mistakes_are_named(tmp_path: Path) -> None:
    save_model(tmp_path / "a", small_vnet(), spec())
    for flip in ("w", "xx"):
        with pytest.raises(SimcvdError, match=f"--flip {flip}: give one or more of the letters"):
            load_models([tmp_path / "a"], flip=flip)
    with pytest.raises(SimcvdError, match="no model was given"):
        load_models([])
