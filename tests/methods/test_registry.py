"""Methods of other packages and of the caller: trained, resumed, compared; or refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tests.methods.dropped_in import install
from tests.small import LABELED, NETWORK, TRAIN

import simcvd
from simcvd import plugins
from simcvd.data.cache import Cache
from simcvd.methods import registry
from simcvd.methods.base import Method
from simcvd.methods.mean_teacher import MeanTeacher
from simcvd.methods.registry import find, named, names, origin
from simcvd.ranges import Settings
from simcvd.types import SimcvdError

SMALL = {"train.iterations": 4, "train.patch": TRAIN.patch, "train.precision": "float32"}
TINY = {
    "train_scans": 6,
    "test_scans": 2,
    "spacing": (1.0, 1.0, 2.0),
    "patch": (16, 16, 8),
    "stride": (8, 8, 4),
    "widths": (4, 8, 8),
    "blocks": (1, 1, 1),
    "strides": ((2, 2, 2), (2, 2, 2)),
    "labeled": (3,),
    "seeds": (0,),
    "iterations": 2,
}
# Stops after its second step as if a person had asked, and is called again.
STOPPED_AND_RESUMED = """
import sys
from pathlib import Path
from simcvd.training import loop, stop
from simcvd.training.settings import NetworkConfig
import simcvd
asked = stop.StopRequest.asked
loop.StopRequest.asked = lambda self, fabric: True
network = NetworkConfig(widths=(4, 8, 8), blocks=(1, 1, 1), strides=((2, 2, 2),) * 2)
settings = {"train.iterations": 4, "train.patch": (16, 16, 8), "train.precision": "float32"}
def go_on(out):
    simcvd.train(Path(sys.argv[1]), out, labeled=3, method="shares", recipe="paper",
                 network=network, settings=settings)
out = Path(sys.argv[2])
for expected in (1, 2):
    try:
        go_on(out)
    except stop.Interrupted as error:
        assert f"step {expected} of 4" in str(error), error
loop.StopRequest.asked = asked
go_on(out)
go_on(out.with_name("whole"))
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages on this process's path, forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    plugins.offered.cache_clear()
    yield tmp_path / "site"
    plugins.offered.cache_clear()
    sys.modules.pop("sharing", None)


def python(site: Path, *command: str) -> str:
    places = [site, Path(simcvd.__file__).parents[1], Path(__file__).parents[2]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, encoding="utf-8", env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_one_of_another_package_trains_resumes_and_stands_in_a_table(
    small_cache: Cache, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install(site)
    python(site, "-c", STOPPED_AND_RESUMED, str(small_cache.root), str(tmp_path / "run"))
    config = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert config["run"]["method"] == "shares"
    assert config["run"]["package"] == "sharing"
    assert config["made_with"]["method"] == "sharing:Shares of sharing 2.5"
    whole, resumed = (tmp_path / name / "model.safetensors" for name in ("whole", "run"))
    assert whole.read_bytes() == resumed.read_bytes()

    changes = [f"--change={name}={value}" for name, value in TINY.items()]
    grid = [str(small_cache.root), "--protocol=hippocampus", f"--out={tmp_path / 'results'}"]
    rows = ["--row=supervised", "--row=shares"]
    said = python(site, "-m", "simcvd.cli", "benchmark", *grid, *changes, *rows)
    assert "0 of 2 runs done" in said
    table = (tmp_path / "results" / "tables" / "methods.md").read_text(encoding="utf-8")
    assert "| Shares of foreground |" in table


def test_it_has_its_own_optimiser_whose_rate_stays(small_cache: Cache, site: Path) -> None:
    from simcvd.training.optim import build_optimizers, rate_at, set_learning_rates
    from simcvd.training.run import resolve
    from simcvd.training.setup import build_method

    install(site)
    run = resolve(small_cache, method="shares", labeled=LABELED, train=TRAIN, network=NETWORK)
    method = build_method(run)
    optimizers = build_optimizers(method, run.train)
    assert isinstance(optimizers["level"], torch.optim.RMSprop)
    assert isinstance(optimizers["network"], torch.optim.SGD)
    last = run.train.iterations - 1
    set_learning_rates(optimizers, rate_at(run.train, last), method.optimizers())
    assert [o.param_groups[0]["lr"] for o in optimizers.values()] == [0.001, 0.125]


def test_it_is_named_without_being_imported(site: Path) -> None:
    install(site, text="raise RuntimeError('broken')")
    assert "shares" in names()
    assert "sharing" not in sys.modules
    with pytest.raises(
        SimcvdError, match=r"'shares' of sharing 2.5 cannot be .*RuntimeError: broken"
    ):
        find("shares")


def test_two_packages_of_one_name_are_refused(site: Path) -> None:
    install(site)
    install(site, package="maybe")
    with pytest.raises(SimcvdError, match=r"sharing 2\.5.*uninstall all but one"):
        find("shares")


def test_a_built_in_name_stays_built_in(site: Path) -> None:
    install(site, name="mean_teacher")
    assert find("mean_teacher") is MeanTeacher
    assert origin("mean_teacher").startswith("simcvd.methods.mean_teacher:MeanTeacher of simcvd")


def test_what_is_no_method_is_refused(site: Path) -> None:
    install(site, text="class Shares: pass")
    with pytest.raises(SimcvdError, match=r"shares: is not a class derived from .*Method"):
        find("shares")


class WithoutSettings(MeanTeacher):
    """Its module has no Config."""


class Own(MeanTeacher):
    """A caller's, its settings inside."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        consistency: float = 0.25


def test_a_class_needs_settings() -> None:
    with pytest.raises(SimcvdError, match="WithoutSettings has no Config"):
        named(WithoutSettings)


def test_a_class_is_known_by_its_name_once_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_given", {})
    reference = f"{__name__}:Own"
    with pytest.raises(SimcvdError, match=r"give the class again, with method= or --method"):
        find(reference)
    assert named(Own) == named(reference) == reference
    assert find(reference) is Own
    assert registry.default_config(reference).consistency == 0.25
    assert named(MeanTeacher) == "mean_teacher"


NOTHING = ("no.such.module:Thing", f"{__name__}:Thing", ":", "os:path")


@pytest.mark.parametrize("reference", NOTHING)
def test_a_reference_to_nothing_is_refused(reference: str) -> None:
    with pytest.raises(SimcvdError, match=r"cannot be imported|not a class derived"):
        named(reference)


@pytest.mark.parametrize("text", ["1 / 0", "def (:", "raise SystemExit(0)", "import no.such"])
def test_a_module_that_fails_is_named_with_its_reason(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_one.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SimcvdError, match=r"'failing_one:Thing' cannot be imported \(\w+: .*write"):
        named("failing_one:Thing")


def test_a_class_of_another_package_has_its_entry_points_name(site: Path) -> None:
    install(site)
    assert named("sharing:Shares") == "shares"
    assert issubclass(find("shares"), Method)
