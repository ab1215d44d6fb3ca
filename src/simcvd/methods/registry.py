"""Methods by name: files of this folder, entry points of other packages, classes of the caller.

The built-in ones need no list: ``find("mean_teacher")`` imports ``simcvd.methods.mean_teacher``.
Another package offers its own as entry points of the group ``simcvd.methods``; a built-in name
stays the built-in method.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from typing import Any

from simcvd import __version__
from simcvd.methods.base import Method
from simcvd.plugins import by_reference, load, offered, package_of, reference_of
from simcvd.types import SimcvdError
from simcvd.wording import did_you_mean

GROUP = "simcvd.methods"
_given: dict[str, type[Method]] = {}  # classes of the caller's, by reference


def names() -> list[str]:
    """Every method that is installed, by name; those of other packages are not imported."""
    return sorted({*built_in(), *offered(GROUP)})


def built_in() -> list[str]:
    """The methods of this folder, by file name."""
    package = importlib.import_module("simcvd.methods")
    return [m.name for m in pkgutil.iter_modules(package.__path__) if _defined(m.name)]


def find(name: str) -> type[Method]:
    """The method of a name; an unknown name is refused with the near misses."""
    if name in _given:
        return _given[name]
    if name.isidentifier() and importlib.util.find_spec(f"simcvd.methods.{name}"):
        defined = _defined(name)
        if len(defined) == 1:
            return defined[0]
    if name in offered(GROUP):
        return _checked(load(GROUP, name), name)
    if ":" in name:
        raise SimcvdError(
            f"the method {name!r} is not of an installed package's entry points; "
            f"give the class again, with method= or --method {name}"
        )
    raise SimcvdError(f"there is no method {name!r}; {did_you_mean(name, names())}")


def named(method: str | type[Method]) -> str:
    """The name by which `find` has what the caller gives: a name, a class, ``package.module:Name``.

    Raises SimcvdError for what is no method.
    """
    if isinstance(method, str) and ":" not in method:
        return method
    what = str(method)
    found = _checked(by_reference(method) if isinstance(method, str) else method, what)
    module, reference = found.__module__, reference_of(found)
    if module.startswith("simcvd.methods."):
        return module.rpartition(".")[2]
    for name, entries in offered(GROUP).items():
        if reference in [entry.value for entry in entries]:
            return name
    _given[reference] = found
    return reference


def config_of(method: type[Method]) -> Any:
    """The class of a method's settings: its own ``Config``, or that of its module."""
    config = getattr(method, "Config", None) or getattr(
        sys.modules[method.__module__], "Config", None
    )
    if not (inspect.isclass(config) and dataclasses.is_dataclass(config)):
        raise SimcvdError(
            f"{method.__qualname__} has no Config; put a frozen dataclass of that name beside it "
            "or into it, derived from simcvd.ranges.Settings"
        )
    return config


def default_config(name: str) -> Any:
    """A method's settings with nothing changed."""
    return config_of(find(name))()


def package(name: str) -> str | None:
    """The package whose entry point a method is, without its version; None for all others."""
    entries = () if name in built_in() else offered(GROUP).get(name, ())
    return package_of(entries[0]).partition(" ")[0] if entries else None


def origin(name: str) -> str:
    """Where a method comes from, for records: its class, and the package with its version."""
    entries = offered(GROUP).get(name, ()) if package(name) else ()
    own = f"simcvd {__version__}" if name in built_in() else "the caller"
    return f"{reference_of(find(name))} of {package_of(entries[0]) if entries else own}"


def _checked(found: Any, what: str) -> type[Method]:
    if not (inspect.isclass(found) and issubclass(found, Method)):
        raise SimcvdError(
            f"{what}: is not a class derived from simcvd.methods.base.Method; docs/methods/own.md "
            "shows how one is written"
        )
    config_of(found)
    return found


def _defined(name: str) -> list[type[Method]]:
    module = importlib.import_module(f"simcvd.methods.{name}")
    return [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Method) and cls is not Method and cls.__module__ == module.__name__
    ]
