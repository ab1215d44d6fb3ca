"""Records as plain values and back: what is refused, in which words, and formats of the past."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest

from simcvd.ranges import Range, Settings
from simcvd.records import Kind, as_json, typed, younger
from simcvd.types import SimcvdError


@dataclass(frozen=True, kw_only=True)
class Part(Settings):
    group: ClassVar[str] = "part"
    size: Annotated[tuple[int, int], Range(least=1)]
    colour: Literal["red", "blue"] = "red"


@dataclass(frozen=True, kw_only=True)
class Whole:
    names: dict[int, str]
    parts: tuple[Part, ...] = ()
    best: Part | None = None
    scale: float = 1.0
    by_name: Mapping[str, Part] = field(default_factory=dict)
    crop: str = younger("none")
    margin: int = younger(0, beside="crop")
    more: Any = None


WHOLE = Whole(
    names={9: "liver", 10: "spleen"},
    parts=(Part(size=(1, 2)), Part(size=(3, 4), colour="blue")),
    best=Part(size=(5, 6)),
    by_name={"a.b": Part(size=(7, 8))},
    more={"deep": [[1], None]},
)
PLAIN = as_json(WHOLE)


@pytest.mark.parametrize("record", [WHOLE, replace(WHOLE, best=None, crop="box", margin=0)])
def test_a_record_is_what_json_gives_back_and_is_read_as_it_was(record: Whole) -> None:
    assert as_json(record) == json.loads(json.dumps(as_json(record)))
    assert typed(Whole, as_json(record)) == record


def test_what_came_later_is_left_out_where_nothing_is_new() -> None:
    assert not {"crop", "margin"} & PLAIN.keys()
    assert as_json(replace(WHOLE, crop="box"))["margin"] == 0  # beside a crop it says something
    assert typed(Whole, {**PLAIN, "crop": "box"}) == replace(WHOLE, crop="box")
    assert typed(Whole, {**PLAIN, "margin": 0}) == WHOLE


def test_a_stranger_s_million_names_take_no_time() -> None:
    names = {f"n{i}": 0 for i in range(300_000)}
    started = time.monotonic()
    with pytest.raises(SimcvdError) as caught:
        typed(Whole, {**PLAIN, **names})
    assert time.monotonic() - started < 5
    assert len(str(caught.value)) < 2000


def test_a_path_is_text() -> None:
    assert as_json({"at": [Path("a/b")], 1: ()}) == {"at": ["a/b"], "1": []}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"scale": True}, "scale is True: expected float, got bool"),
    ({"scale": "1"}, "scale is '1': expected float, got str"),
    ({"scale": 10**400}, "scale is 10000"),
    ({"names": ["x"]}, r"names is \['x'\]: expected object, got array"),
    ({"names": {"x": "y"}}, "a name in names: expected int, got str"),
    ({"names": {"01": "y"}}, "a name in names: expected int"),
    ({"names": {"1": 2}}, r"names\[\.\.\.\]: expected str, got int"),
    ({"parts": [{"size": [1, 2.0], "colour": "red"}]}, r"parts\[0\]\.size\[1\] is 2\.0: expected"),
    ({"parts": [{"size": [1], "colour": "red"}]}, r"parts\[0\]\.size is \[1\]: expected array of"),
    (
        {"best": {"size": [1, 2], "colour": "green"}},
        "is 'green': expected one of red, blue",
    ),
    ({"best": {"size": [0, 2], "colour": "red"}}, r"part\.size is \(0, 2\); it must be at least 1"),
    (
        {"best": {"colour": "red", "sise": 1}},
        "no 'sise' in best; did you mean size.*; size miss",
    ),
    ({"best": {"size": [1, 2]}}, "^colour missing in best$"),
    ({"best": {"size": [1, 2], "colour": "red", "x": 1}}, "no 'x' in best; did you mean"),
    ({"parts": [{"size": [1, 2], "colour": "red", "x": 1}]}, r"no 'x' in parts\[0\]; did you"),
    ({"by_name": {"k": {"size": [1, 2], "colour": "red", "x": 1}}}, "no 'x' in by_name.k; did"),
    ({"by_name": {"k": {"colour": "red"}}}, r"by_name\[\.\.\.\]: object missing required field"),
    ({"by_name": {"k": {"size": [1, 2], "colour": "red "}}}, "expected one of red, blue"),
    ({"nams": {}}, "^there is no 'nams'; did you mean names"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_is_no_record_is_refused_where_it_is_wrong(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SimcvdError, match=message):
        typed(Whole, {**PLAIN, **change})


def test_a_type_that_cannot_be_read_is_named() -> None:
    with pytest.raises(SimcvdError, match=r"nothing can be read as tuple\[int\] \| tuple\[str\]"):
        typed(tuple[int] | tuple[str], [1])


def test_all_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(SimcvdError, match=r"^names, parts, best, scale, by_name, more missing$"):
        typed(Whole, {})
    with pytest.raises(SimcvdError, match=r"^names missing$"):
        typed(Whole, {}, whole=False)
    assert typed(Whole, {"names": {}}, whole=False) == Whole(names={})


@pytest.mark.parametrize("values", [None, [], "x", 1, [PLAIN]])
def test_anything_else_is_refused(values: object) -> None:
    with pytest.raises(SimcvdError, match=r"^(is .*: )?expected object, got"):
        typed(Whole, values)


NOW = Kind(
    name="a whole",
    record=Whole,
    advice="Make it again.",
    migrations=(
        lambda old: {"names": old["titles"], "parts": [], "best": None, **old["rest"]},
        lambda old: {**old, "scale": old["scale"] / 1000},
    ),
)


def test_files_of_earlier_formats_are_read() -> None:
    rest = {"by_name": {}, "more": None, "scale": 2000.0}
    first = {"titles": {"0": "x"}, "rest": rest}
    second = {"format": 2, "names": {"0": "x"}, "parts": [], "best": None, **rest}
    third = {**second, "format": 3, "scale": 2.0}
    wanted = Whole(names={0: "x"}, scale=2.0)
    for content in (first, {"format": 1, **first}, second, third, {**third, "digest": "a seal"}):
        assert NOW.read(content, "x.json") == wanted
    assert NOW.content(wanted) == third


@pytest.mark.parametrize("found", [4, 0, -1, True, 1.0, "1", None, [1]])
def test_a_format_of_the_future_or_of_nobody_is_refused(found: object) -> None:
    with pytest.raises(SimcvdError, match=r"^x\.json: has format .* reads 3\. Make it again\.$"):
        NOW.read({**NOW.content(WHOLE), "format": found}, "x.json")


@pytest.mark.parametrize(
    "content",
    [{}, {"titles": {}, "rest": None}, {"format": 2, "scale": "x"}, {"format": 2, "scale": None}],
)
def test_what_no_migration_can_make_anything_of_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(SimcvdError, match=r"^x\.json: is not a whole \(.+\)\. Make it again\.$"):
        NOW.read(content, "x.json")


def test_the_file_is_named_with_what_is_wrong() -> None:
    with pytest.raises(SimcvdError, match=r"^x\.json: is not a whole \(scale is 'x': .*\)\. Make"):
        NOW.read({**NOW.content(WHOLE), "scale": "x"}, "x.json")
