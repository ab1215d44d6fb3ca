"""The five tables: complete, as printed in the paper, and every row one that can be trained."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from simcvd.experiments import (
    TABLES,
    Numbers,
    listing,
    paper_numbers,
    sections,
    select,
)
from simcvd.methods.registry import default_config, find, names
from simcvd.training.settings import NetworkConfig, TrainConfig, override
from simcvd.types import SimcvdError

ALL = select(TABLES)
ABLATIONS = [row for row in ALL if row.method == "simcvd" and row.id != "simcvd"]


def test_every_method_has_a_title_and_a_cost() -> None:
    found = [find(name) for name in names()]
    assert all(method.title and method.cost > 0 for method in found)
    assert len({method.title for method in found}) == len(found)


def test_the_papers_eleven_methods_are_all_there() -> None:
    for number in ("I", "II"):
        methods = {row.method for row in TABLES[number].rows}
        assert len(methods) == 11
        assert methods == set(names()) - {"cutmix", "copy_paste", "self_training"}


def test_tables_have_the_papers_number_of_rows() -> None:
    lines = {number: sum(len(row.paper) for row in t.rows) for number, t in TABLES.items()}
    assert lines == {"I": 23, "II": 12, "III": 7, "IV": 12, "V": 5}


@pytest.mark.parametrize(
    ("data", "row", "labeled", "numbers"),
    [  # copied from the paper by eye, not from the module
        ("la", "supervised", 80, (91.14, 83.82, 1.52, 5.75)),
        ("la", "ict", 16, (89.02, 80.34, 1.97, 10.38)),
        ("la", "dtc", 8, (87.49, 78.03, 2.37, 9.06)),
        ("pancreas", "ua_mt", 12, (72.43, 57.91, 4.25, 11.01)),
        ("pancreas", "simcvd", 12, (75.39, 61.56, 2.33, 9.84)),
        ("la", "simcvd-no-contrast", 8, (85.13, 74.57, 5.97, 16.61)),
        ("la", "simcvd-pool256", 8, (87.99, 78.71, 2.82, 9.97)),
        ("la", "simcvd-shuffle", 8, (88.15, 78.97, 1.96, 8.66)),
    ],
)
def test_numbers_are_the_papers(
    data: str, row: str, labeled: int, numbers: tuple[float, ...]
) -> None:
    assert paper_numbers(data, row, labeled) == numbers


def test_what_the_paper_did_not_measure_has_no_numbers() -> None:
    assert paper_numbers(None, "simcvd", 8) is None
    assert paper_numbers("la", "simcvd", 10) is None
    assert paper_numbers("pancreas", "simcvd-no-pd", 12) is None


def test_dice_and_jaccard_of_a_row_fit_each_other() -> None:
    """J = D / (2 - D) for one scan; the mean of J lies at or above J of the mean (J is convex)."""
    for table in TABLES.values():
        for row in table.rows:
            for numbers in row.paper.values():
                dice = numbers.dice / 100
                assert -0.3 < numbers.jaccard - 100 * dice / (2 - dice) < 4
                assert math.isnan(numbers.hd95) or numbers.hd95 > numbers.asd


@pytest.mark.parametrize("row", ABLATIONS, ids=lambda row: row.id)
def test_an_ablation_changes_one_field(row: object) -> None:
    configs = {"method": default_config("simcvd"), "train": TrainConfig()}
    changed = override(configs, row.settings)  # type: ignore[attr-defined]
    before, after = (asdict(c["method"]) for c in (configs, changed))
    assert changed["train"] == configs["train"]
    assert sum(before[name] != after[name] for name in before) == 1


def test_every_row_can_be_resolved() -> None:
    for row in ALL:
        groups = {"method": default_config(row.method), "network": NetworkConfig()}
        for labeled in row.paper:
            override(groups, row.settings_for(labeled))


def test_one_id_is_one_training() -> None:
    by_id: dict[str, tuple[object, ...]] = {}
    for table in TABLES.values():
        for row in table.rows:
            assert by_id.setdefault(row.id, (row.method, row.settings)) == (
                row.method,
                row.settings,
            )


def test_sassnet_has_its_own_weight_for_16_labels() -> None:
    [row] = select(["sassnet"])
    assert row.settings_for(16) == ("method.weight=0.01",)
    assert row.settings_for(8) == ()


def test_selection_keeps_order_and_runs_nothing_twice() -> None:
    ids = [row.id for row in select(["dtc", "III", "V"])]
    assert ids[:2] == ["dtc", "mean_teacher"]
    assert len(ids) == len(set(ids))
    assert {row.id for row in select(["methods"])} == set(names())
    titles = [title for title, _, _ in sections(["dtc", "III", "simcvd"])]
    assert titles == ["Table III: SimCVD's components and losses", "Methods"]


def test_a_row_of_ones_own() -> None:
    [row] = select(["simcvd-no-pd+method.lambda=0.02+method.gamma=1.0"])
    assert row.settings == ("method.beta=0", "method.lambda=0.02", "method.gamma=1.0")
    assert row.id == "simcvd-no-pd+method.lambda=0.02+method.gamma=1.0"
    assert row.paper == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("simcvd-no-pdd", "did you mean simcvd-no-pd"),
        ("ua-mt", "did you mean ua_mt"),
        ("VI", "did you mean"),
        ("dtc+weight", r"row\+method"),
    ],
)
def test_unknown_rows_are_refused_with_the_near_misses(name: str, message: str) -> None:
    with pytest.raises(SimcvdError, match=message):
        select([name])


def test_the_listing_names_everything() -> None:
    text = listing()
    assert all(name in text for name in names())
    for table in TABLES.values():
        assert f"Table {table.number}" in text
        assert all(row.id in text and row.title in text for row in table.rows)


def test_numbers_lost_in_the_transcription_are_not_invented() -> None:
    lost = [
        row.id
        for table in TABLES.values()
        for row in table.rows
        for numbers in row.paper.values()
        if any(map(math.isnan, numbers))
    ]
    assert lost == ["simcvd-pool16"]
    assert Numbers._fields == ("dice", "jaccard", "asd", "hd95")
