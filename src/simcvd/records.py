"""What the project's files hold: records (dataclasses) as plain values, and read back strictly.

A record is read by its annotations: True is no number, 1.5 no whole one, and a name too many or
too few is refused, as is what the record itself refuses when it is made. A `Kind` adds the format
that a file says it is of, and how an older one becomes today's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from msgspec import ValidationError, convert

from simcvd.files import SEAL, read_object, seal_holds
from simcvd.naming import shown
from simcvd.types import SimcvdError
from simcvd.wording import did_you_mean

FORMAT = "format"
MOST_TOLD = 5  # of what is wrong with the names in a file
Record = TypeVar("Record")
Migration = Callable[[dict[str, Any]], dict[str, Any]]
_BARE = (str, int, float, bool, NoneType)
_YOUNGER = "younger than its files"


def younger(default: Any, *, beside: str = "") -> Any:
    """A field that its files have not had from the beginning; default: what was done before.

    Where it is that, or the field that it came ``beside`` is, it is left out of a file, whose hash
    is then what it always was.
    """
    return field(default=default, metadata={_YOUNGER: beside})


def as_json(value: Any) -> Any:
    """A record, or anything made of records, as JSON gives it back: lists, and text for names."""
    if is_dataclass(value):
        return {
            f.name: as_json(getattr(value, f.name))
            for f in fields(value)
            if not _as_before(value, f)
        }
    if isinstance(value, Mapping):
        return {str(name): as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def typed(kind: Any, values: Any, *, whole: bool = True) -> Any:
    """Plain values as one of an annotated type: records for objects, tuples for lists.

    whole: every field must be there that `as_json` writes, those with a default, too.
    Raises SimcvdError, which says where it is wrong, what is there and what may be.
    """
    try:
        found = convert(values, kind, str_keys=True)
    except ValidationError as error:
        raise SimcvdError(_told(str(error), kind, values, whole)) from None
    except UnicodeError as error:  # half of a pair of UTF-16, which JSON can spell
        raise SimcvdError(f"holds text that is no Unicode ({error})") from error
    except TypeError as error:  # another package's field: of two kinds of tuple, for example
        raise SimcvdError(f"nothing can be read as {kind}: {error}") from error
    if problems := "; ".join(islice(_strange(found, values, whole), MOST_TOLD)):
        raise SimcvdError(problems)
    return found


def describe(kind: Any) -> str:
    """An annotated type in words."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[Record]):
    """A kind of file: the record that it holds, and how those of earlier formats become it.

    name: what such a file is, for messages. advice: what to do about one that is not.
    migrations: the first makes format 2 of format 1, and so on; a file that names no format is of
    the first. whole: as `typed` has it; what people edit may leave out defaults.
    """

    name: str
    record: type[Record]
    advice: str
    migrations: tuple[Migration, ...] = ()
    whole: bool = True

    @property
    def format(self) -> int:
        """That of the files which this version writes."""
        return len(self.migrations) + 1

    def content(self, record: Record) -> dict[str, Any]:
        """The object of its file."""
        return {FORMAT: self.format, **as_json(record)}

    def load(self, path: Path) -> Record:
        """The record in a file of its own.

        Raises SimcvdError as `read`, and for one that is missing, broken or not as it was sealed.
        """
        content = read_object(path, self.advice)
        if not seal_holds(content):
            raise SimcvdError(f"{path}: its content is not what was written. {self.advice}")
        return self.read(content, path)

    def read(self, content: Mapping[str, Any], where: object) -> Record:
        """The record in a file's object. where: the file, for messages.

        Raises SimcvdError for a format of the future, and for anything that is no such record.
        """
        found = content.get(FORMAT, 1)
        if type(found) is not int or not 1 <= found <= self.format:
            raise SimcvdError(
                f"{where}: has format {shown(found)}, this version of simcvd reads {self.format}. "
                f"{self.advice}"
            )
        values = {name: value for name, value in content.items() if name not in (FORMAT, SEAL)}
        try:
            for migrate in self.migrations[found - 1 :]:
                values = migrate(values)
            record: Record = typed(self.record, values, whole=self.whole)
        except (SimcvdError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
            reason = str(error).removesuffix(".")
            raise SimcvdError(f"{where}: is not {self.name} ({reason}). {self.advice}") from error
        return record


def _as_before(record: Any, one: Field[Any]) -> bool:
    """Whether a field is `younger` and says what was done before."""
    if _YOUNGER not in one.metadata:
        return False
    name = one.metadata[_YOUNGER] or one.name
    (default,) = (f.default for f in fields(record) if f.name == name)
    return bool(getattr(record, name) == default)


def _told(refused: str, kind: Any, values: Any, whole: bool) -> str:
    """In this project's words what msgspec says, ``Expected `int`, got `str` - at `$.a.b[2]```."""
    reason, _, place = refused.replace("`", "").partition(" - at ")
    path = place.rpartition("$")[2].lstrip(".")
    kind, value = _followed(kind, values, path)
    where = f"a name in {path}" if place.startswith("key") else path
    if reason.startswith("Object missing") and is_dataclass(kind) and isinstance(value, Mapping):
        return "; ".join(islice(_names(kind, value, whole, where), MOST_TOLD))
    if get_origin(kind) is Literal:
        reason = f"expected {describe(kind)}"
    found = "" if value is None or place.startswith("key") else f" is {shown(value)}"
    return f"{where}{found}: {reason[0].lower()}{reason[1:]}".lstrip(": ")


def _followed(kind: Any, value: Any, path: str) -> tuple[Any, Any]:
    """Type and value at msgspec's path; of a value in an object that is no record, ``[...]``,
    only the type is known.
    """
    kind = _some(kind)
    for step in re.findall(r"\w+|\.{3}", path):
        if step == "...":
            kind, value = get_args(kind)[-1], None
        elif step.isdigit():
            kind, value = get_args(kind)[0], value and value[int(step)]
        else:
            kind, value = get_type_hints(kind)[step], value and value[step]
        kind = _some(kind)
    return kind, value


def _some(kind: Any) -> Any:
    """The type in ``kind | None``; any other as it is."""
    inner = get_args(kind)
    return next(one for one in inner if one is not NoneType) if NoneType in inner else kind


def _strange(found: Any, values: Any, whole: bool, path: str = "") -> Iterator[str]:
    """Names too many or too few in the plain values that records were made of, at every depth."""
    if is_dataclass(found):
        yield from _names(type(found), values, whole, path)
    for value, plain, place in _parts(found, values):
        if type(value) not in _BARE:
            yield from _strange(value, plain, whole, f"{path}{place}".lstrip("."))


def _parts(found: Any, values: Any) -> Iterator[tuple[Any, Any, str]]:
    """What stands right within a value, what it was made of, and its place."""
    if is_dataclass(found):
        for f in fields(found):
            if f.name in values:
                yield getattr(found, f.name), values[f.name], f".{f.name}"
    elif isinstance(found, Mapping):
        for (name, value), plain in zip(found.items(), values.values(), strict=False):
            yield value, plain, f".{name}"
    elif isinstance(found, list | tuple):
        for place, (value, plain) in enumerate(zip(found, values, strict=False)):
            yield value, plain, f"[{place}]"


def _names(kind: Any, values: Mapping[str, Any], whole: bool, path: str) -> Iterator[str]:
    """What is wrong with the names in an object that is to be a record."""
    within = f" in {path}" if path else ""
    known = [f.name for f in fields(kind)]
    for name in values:
        if name not in known:
            yield f"there is no {shown(name)}{within}; {did_you_mean(name, known)}"
    needed = (f.name for f in fields(kind) if _is_needed(f, whole))
    if missing := [name for name in needed if name not in values]:
        yield f"{', '.join(missing)} missing{within}"


def _is_needed(one: Field[Any], whole: bool) -> bool:
    has_default = one.default is not MISSING or one.default_factory is not MISSING
    return _YOUNGER not in one.metadata if whole else not has_default
