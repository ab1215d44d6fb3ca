"""Reading a folder of runs: nothing is lost in silence, and nothing unlike is put together."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.made_up import CASES, HALF, write_run
from tests.faults.records import exchanged
from tests.small import LABELED, NETWORK, TRAIN

from simcvd.benchmark.alike import check_alike
from simcvd.benchmark.catalogue import find_protocol
from simcvd.benchmark.protocols import changed
from simcvd.benchmark.results import read_result, read_results
from simcvd.data.cache import Cache
from simcvd.training.loop import train
from simcvd.training.score_run import score_run
from simcvd.types import SimcvdError

DICE = [0.9, 0.8, 0.7, 0.0, 0.5, 0.6, 0.7, 0.8]


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_run_of_the_engine_is_read(small_cache: Cache, tmp_path: Path) -> None:
    train(
        small_cache.root,
        tmp_path / "a" / "b",
        method="supervised",
        labeled=LABELED,
        settings=["train.seed=3"],
        train=TRAIN,
        network=NETWORK,
    )
    score_run(tmp_path / "a" / "b", quiet=True)
    reading = read_results(tmp_path)
    (result,) = reading.results
    assert (reading.missing, reading.foreign) == ((), ())
    assert (result.row, result.labeled, result.seed) == ("supervised", LABELED, 3)
    assert result.cases == small_cache.test
    content = json.loads((tmp_path / "a" / "b" / "metrics.json").read_text())
    mean = content["summary"][-1]["means"]["dice"]["mean"]
    assert np.nanmean(np.nanmean(result.values["dice"], axis=0)) == pytest.approx(mean)
    assert result.protocol is None


def test_values_misses_and_protocol(tmp_path: Path) -> None:
    write_run(tmp_path / "x", DICE, row="my-row", seed=2)
    result = read_result(tmp_path / "x")
    assert result.values["dice"][:, 0].tolist() == DICE
    assert np.isnan(result.values["assd_mm"][3, 0])
    assert result.values["assd_mm"][0, 0] == pytest.approx(1.0)
    assert (result.row, result.seed, result.missed) == ("my-row", 2, 1)
    assert result.protocol is not None
    assert result.protocol["hash"] == HALF.hash()


def test_the_record_beside_the_folder_names_row_and_protocol(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "simcvd-p0.1-8-seed0", DICE, protocol=None)
    record = {"row": "simcvd-p0.1", "protocol": HALF.record(), "protocol_hash": HALF.hash()}
    run.with_name(f"{run.name}.json").write_text(json.dumps(record))
    run.with_name(f"{run.name}.log").write_text("printed")
    info = json.loads((run / "metrics.json").read_text())["info"]
    edit(run / "metrics.json", info={**info, "stride": HALF.stride})
    reading = read_results(tmp_path)
    assert reading.foreign == ()
    assert reading.results[0].row == "simcvd-p0.1"
    assert reading.results[0].protocol is not None


def test_order_does_not_depend_on_folders(tmp_path: Path) -> None:
    write_run(tmp_path / "1", DICE, seed=1)
    write_run(tmp_path / "2", DICE, seed=0)
    write_run(tmp_path / "3", DICE, method="dtc")
    found = [(r.row, r.seed) for r in read_results(tmp_path).results]
    assert found == [("dtc", 0), ("supervised", 0), ("supervised", 1)]


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    for name in ("good", "unscored", "bare", "half", "extra", "other"):
        write_run(tmp_path / name, DICE, seed=len(name))
    (tmp_path / "unscored" / "metrics.json").unlink()
    (tmp_path / "bare" / "config.json").unlink()
    (tmp_path / "half" / "metrics.json").write_text('{"info": ')
    (tmp_path / "extra" / "holiday.jpg").write_bytes(b"")
    edit(tmp_path / "other" / "metrics.json", info={"predictions": "p", "references": "r"})
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "simcvd.txt").write_text("")
    (tmp_path / "papers" / "dtc-8-seed0.json").write_text("{}")  # of a grid, not begun
    (tmp_path / "table.md").write_text("the caller's own")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "table-i.md").write_text("of an earlier time")
    reading = read_results(tmp_path)
    assert [r.folder.name for r in reading.results] == ["good", "extra"]
    missing, foreign = " ".join(reading.missing), " ".join(reading.foreign)
    assert len(reading.missing) == 2
    assert "bare/config.json is missing" in missing
    assert "unscored/metrics.json is missing: not scored; run: simcvd evaluate" in missing
    assert len(reading.foreign) == 4
    assert "half/metrics.json is broken" in foreign
    assert "extra/holiday.jpg is not a file of a run" in foreign
    assert "other: its files are not those of a scored run" in foreign
    assert "papers/simcvd.txt belongs to no run" in foreign


@pytest.mark.parametrize("name", ["metrics.json", "config.json", "protocol.json"])
def test_a_value_of_another_kind_is_read_over_or_named(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path / "x", DICE[:2], cases=CASES[:2])
    damaged = list(exchanged(run / name))
    refused = 0
    for _, data in damaged[:: max(len(damaged) // 200, 1)]:
        (run / name).write_bytes(data)
        try:
            reading = read_results(tmp_path)
        except SimcvdError:
            refused += 1
        else:
            refused += bool(reading.foreign or reading.missing)
    assert refused > 20


def test_scores_of_another_run_are_foreign(tmp_path: Path) -> None:
    write_run(tmp_path / "a", DICE)
    write_run(tmp_path / "b", DICE, train={"iterations": 5})
    shutil.copy(tmp_path / "b" / "metrics.json", tmp_path / "a" / "metrics.json")
    with pytest.raises(SimcvdError, match=r"another run: train\.iterations: 5 -> 3000"):
        read_result(tmp_path / "a")


def test_an_edited_protocol_is_foreign(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", DICE)
    edit(run / "protocol.json", settings={**HALF.record(), "iterations": 1})
    with pytest.raises(SimcvdError, match="not that of its settings"):
        read_result(run)


def test_scored_at_another_stride_than_the_protocols(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", DICE)
    info = json.loads((run / "metrics.json").read_text())["info"]
    edit(run / "metrics.json", info={**info, "stride": [64, 64, 48]})
    with pytest.raises(SimcvdError, match=r"stride \[64, 64, 48\], not \[16, 16, 8\]"):
        read_result(run)


@pytest.mark.parametrize("name", ["tapered", "fast"])  # "fast": how older scores say it
def test_tapered_windows_are_not_the_protocols(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path / "a", DICE)
    info = json.loads((run / "metrics.json").read_text())["info"]
    edit(run / "metrics.json", info={**info, name: True})
    with pytest.raises(SimcvdError, match="tapered True, not False"):
        read_result(run)


def test_a_test_scan_in_the_training_list_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", DICE, trained_on=[CASES[2]])
    with pytest.raises(SimcvdError, match="scans of its own training list: case2"):
        read_results(tmp_path)


def test_held_out_scans_are_for_the_holdout_alone(tmp_path: Path) -> None:
    protocol = changed(HALF, holdout=8)
    run = write_run(tmp_path / "a", DICE, holdout=CASES, split="holdout", protocol=protocol)
    assert read_result(run, split="holdout").cases == CASES
    write_run(tmp_path / "b", DICE, holdout=CASES[:1])
    with pytest.raises(SimcvdError, match="training list: case0"):
        read_result(tmp_path / "b")


def test_other_protocols_are_refused_with_the_difference(tmp_path: Path) -> None:
    write_run(tmp_path / "a", DICE)
    longer = replace(HALF, iterations=6000, name="la-half-long")
    write_run(tmp_path / "b", DICE, method="dtc", protocol=longer)
    with pytest.raises(SimcvdError, match=r"settings\.iterations: 3000 -> 6000") as error:
        check_alike(read_results(tmp_path).results[::-1])
    assert "protocol.name: 'la-half' -> 'la-half-long'" in str(error.value)


def test_a_run_without_a_protocol_is_not_put_beside_one_with(tmp_path: Path) -> None:
    write_run(tmp_path / "a", DICE)
    write_run(tmp_path / "b", DICE, method="dtc", protocol=None)
    with pytest.raises(SimcvdError, match=r"protocol\.name: 'la-half' -> None"):
        check_alike(read_results(tmp_path).results[::-1])


def test_one_row_is_one_system(tmp_path: Path) -> None:
    write_run(tmp_path / "a", DICE, seed=0)
    write_run(tmp_path / "b", DICE, seed=1)
    check_alike(read_results(tmp_path).results)
    write_run(tmp_path / "c", DICE, seed=2, train={"lr": 0.1})
    with pytest.raises(SimcvdError, match=r"different systems:\n  train\.lr: None -> 0.1"):
        check_alike(read_results(tmp_path).results)


def test_each_seed_begins_from_a_base_of_its_own(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / f"run{seed}", DICE, seed=seed, init=f"{seed}" * 64)
    check_alike(read_results(tmp_path).results)
    write_run(tmp_path / "fresh", DICE, seed=2)
    with pytest.raises(SimcvdError, match=r"different systems:\n  init: "):
        check_alike(read_results(tmp_path).results)


def test_the_same_seed_twice_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", DICE)
    write_run(tmp_path / "b", DICE)
    with pytest.raises(SimcvdError, match="are the same training"):
        check_alike(read_results(tmp_path).results)


def test_other_scans_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a", DICE)
    write_run(tmp_path / "b", DICE[:7], method="dtc", cases=CASES[:7])
    with pytest.raises(SimcvdError, match="different scans: case7 in one only"):
        check_alike(read_results(tmp_path).results)


def test_no_folder_and_no_runs(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="is not a folder"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(SimcvdError, match="no scored runs"):
        check_alike(read_results(tmp_path).results)


def test_published_protocol_is_another_one(tmp_path: Path) -> None:
    write_run(tmp_path / "a", DICE)
    write_run(tmp_path / "b", DICE, seed=1, protocol=find_protocol("la-published"))
    with pytest.raises(SimcvdError, match="were not measured alike"):
        check_alike(read_results(tmp_path).results)
