"""Settings hold Python's own numbers, whatever they were given."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from simcvd.ranges import plain
from simcvd.training.settings import NetworkConfig, TrainConfig
from simcvd.types import SimcvdError


def test_numbers_of_numpy_are_taken() -> None:
    patch = np.array([32, 32, 16])
    config = TrainConfig(iterations=np.int64(40), lr=np.float32(0.5), patch=patch)  # type: ignore[arg-type]
    assert (config.iterations, config.lr, config.patch) == (40, 0.5, (32, 32, 16))
    assert json.loads(json.dumps(asdict(config)))["patch"] == [32, 32, 16]
    strides = tuple(np.array([[2, 2, 1]]))
    network = NetworkConfig(widths=[8, 16], blocks=(np.uint8(1), 1), strides=strides)  # type: ignore[arg-type]
    assert network == NetworkConfig(widths=(8, 16), blocks=(1, 1), strides=((2, 2, 1),))


def test_they_are_refused_out_of_range_as_others_are() -> None:
    with pytest.raises(SimcvdError, match=r"train\.lr is -1\.0; it must be above 0"):
        TrainConfig(lr=np.float64(-1.0))


def test_what_is_no_number_stays() -> None:
    assert plain({"a": 1}) == {"a": 1}
    assert plain("fixed") == "fixed"
    assert plain([np.int8(1), [np.bool_(True)]]) == (1, (True,))
