"""What is usual among labelled scans, what is unusual about another, and pieces removed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from rich.console import Console
from tests.inference.tools import OBLIQUE, small_vnet, spec

from simcvd.files import sealed
from simcvd.formats.nifti import NIFTI
from simcvd.inference.inputs import Job
from simcvd.inference.known import Known, Usual, percentiles_of
from simcvd.inference.model import add_known, load_model, save_model
from simcvd.inference.predict import predict_files
from simcvd.inference.table import Row, cells, join_rows
from simcvd.types import SimcvdError

# Five labelled scans: wall of 8 to 12.5 ml, blood missing in one, one or two pieces.
VOLUMES = np.array([[8.0, 1], [9, 2], [10, 0], [11, 2], [12.5, 3]])
PIECES = np.array([[1, 1], [1, 1], [1, 0], [2, 1], [1, 1]])
# 1st, 50th and 99th percentile of one channel; the usual range is 2.
PERCENTILES = np.array([[[-1.0, 0.0, 1.0 + shift]] for shift in (0, 0.02, 0, -0.02, 0)])
USUAL = Usual.of(VOLUMES, PIECES, PERCENTILES)


def test_what_is_usual() -> None:
    assert USUAL.volumes == ((8, 10, 12.5), None)  # blood is not in every scan
    # Logarithms from that of 10: 0.223, 0.105, 0, 0.095, 0.223; the median is 0.105.
    assert USUAL.spread[0] == pytest.approx(1.4826 * np.log(10 / 9))
    assert USUAL.pieces == (2, 1)
    assert USUAL.shift == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("ml", "said"),
    [
        (10.0, ""),
        (12.5, ""),
        (15.0, ""),  # beyond the labelled ones, but 2.6 deviations off
        (16.5, "large, 8 to 12.5 ml are usual"),  # log 1.65 / 0.156 = 3.2
        (6.0, "small, 8 to 12.5 ml are usual"),
    ],
)
def test_a_volume_is_unusual_beyond_three_deviations(ml: float, said: str) -> None:
    assert USUAL.unusual_volume(1, ml) == said
    assert USUAL.unusual_volume(2, ml) == ""


def test_three_labelled_scans_make_nothing_unusual() -> None:
    few = Usual.of(VOLUMES[:3], PIECES[:3], PERCENTILES[:3])
    assert (few.unusual_volume(1, 1000), few.is_shifted(5.0)) == ("", False)


def test_a_shift_is_a_share_of_the_usual_range() -> None:
    values = np.linspace(-1, 1, 10001)[None, :, None, None]
    usual = Usual.of(VOLUMES, PIECES, np.array([percentiles_of(values)] * 5))
    assert usual.shift_of(values) == pytest.approx(0)
    assert usual.shift_of(values + 0.49) == pytest.approx(0.25, abs=0.001)  # of 1.96
    assert usual.is_shifted(0.25)
    assert not usual.is_shifted(0.09)


def _job(name: str) -> Job:
    return Job(name=name, images=(Path(name),), target=Path(f"{name}.nii.gz"), format=NIFTI)


def _row(name: str, wall: float, pieces: int, shift: float) -> Row:
    volumes, parts = (0.0, wall, 2.0), (pieces, 1)
    return Row(job=_job(name), confidence=0.9, volumes=volumes, pieces=parts, shift=shift)


def test_the_table_tells_numbers_and_what_is_unusual(tmp_path: Path) -> None:
    model, path = spec(known=Known(usual=USUAL)), tmp_path / "predictions.csv"
    rows = (_row("a", 10, 1, 0.02), _row("b", 30, 4, 0.6), _row("c", 0, 0, 0.02))
    join_rows(path, [cells(model, row) for row in rows])
    usual, odd, empty = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    assert (usual["wall (ml)"], usual["wall (pieces)"], usual["intensity shift"]) == (
        *("10.000", "1", "0.020"),
    )
    assert (usual["volume deviation"], usual["flags"]) == ("+0.0", "")
    assert odd["volume deviation"] == "+7.0"  # log 3 / 0.156
    assert odd["flags"] == (
        "wall large, 8 to 12.5 ml are usual; wall in 4 pieces; "
        "intensities unlike those of the labelled scans"
    )
    assert empty["flags"] == "no wall"
    content = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + content)  # as Excel saves it
    join_rows(path, [])
    assert path.read_bytes() == content


def test_a_model_keeps_what_is_known_and_refuses_nonsense(tmp_path: Path) -> None:
    save_model(tmp_path, small_vnet(), spec())
    weights, before = (tmp_path / "model.safetensors").read_bytes(), load_model(tmp_path).spec
    known = Known(
        usual=USUAL,
        expected={"wall": (0.8, 0.7, 0.9), "blood": (0.5, None, None)},
        scans=5,
        largest_only=[1],
    )
    add_known(tmp_path, known)
    assert (before.known, load_model(tmp_path).spec.known) == (None, known)
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    save_model(tmp_path, small_vnet(), spec())
    description = tmp_path / "model.json"
    description.write_text(
        description.read_text().replace('"method"', '"known": {"a": 1}, "method"')
    )
    with pytest.raises(
        SimcvdError, match=r"no 'a' in known; .*; usual, expected, scans, .* missing"
    ):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("volumes", [[8, 10, 12.5]]),
        ("volumes", [[8, 10], None]),
        ("volumes", [[0, 0, 0], None]),
        ("spread", [0, 0]),
        ("pieces", [1]),
        ("percentiles", []),
        ("percentiles", [[0, float("nan"), 1]]),
        ("shift", float("inf")),
        ("largest_only", [0]),
        ("largest_only", [3]),
        ("expected", {"wall": [0.5]}),
    ],
)
def test_what_is_known_of_another_model_is_refused(
    tmp_path: Path, name: str, value: object
) -> None:
    save_model(tmp_path, small_vnet(), spec(known=Known(usual=USUAL)))
    path = tmp_path / "model.json"
    content = json.loads(path.read_bytes())
    known = content["known"]
    (known["usual"] if name in known["usual"] else known)[name] = value
    path.write_text(json.dumps(sealed(content)))
    with pytest.raises(SimcvdError, match=r"model\.json: is not a model"):
        load_model(tmp_path)


def test_two_classes_of_one_value_are_refused() -> None:
    with pytest.raises(SimcvdError, match="has one value twice"):
        spec(label_values={0: 0, 1: 5, 2: 5})


def test_predict_keeps_the_largest_piece_where_the_model_says_so(tmp_path: Path) -> None:
    """The same network with and without: what is left is one piece of each class named."""
    rng, said = np.random.default_rng(0), io.StringIO()
    nibabel.save(nibabel.Nifti1Image(rng.normal(size=(18, 15, 12)), OBLIQUE), tmp_path / "a.nii.gz")
    tables = []
    for name, only in (("plain", []), ("cleaned", [1])):
        model = spec(known=Known(usual=USUAL, largest_only=only))
        save_model(tmp_path / name, small_vnet(seed=2), model)
        console = Console(file=said, width=300)
        out = tmp_path / f"{name}-out"
        predict_files(tmp_path / name, [tmp_path / "a.nii.gz"], out, device="cpu", console=console)
        text = (out / "predictions.csv").read_text(encoding="utf-8")
        tables += list(csv.DictReader(io.StringIO(text)))
    plain, cleaned = tables
    assert int(plain["wall (pieces)"]) > 1
    assert cleaned["wall (pieces)"] == "1"
    assert 0 < float(cleaned["wall (ml)"]) < float(plain["wall (ml)"])
    assert cleaned["blood (ml)"] == plain["blood (ml)"]
    assert said.getvalue().count("of wall only the largest piece is kept") == 1
