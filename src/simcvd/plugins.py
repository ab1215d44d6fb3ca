"""What other packages offer: by entry points, by ``package.module:Name``, and as our extras.

Only what an installed package declares, or what the caller names, is imported: a name that stands
in a file of results or of a model is looked up among these and is never imported by itself.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from simcvd.types import SimcvdError


@cache
def offered(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of a group by name, more than one where packages choose the same."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=group):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def load(group: str, name: str) -> Any:
    """What an entry point stands for.

    Raises SimcvdError if two packages offer the name, and for one that cannot be imported.
    """
    entries = offered(group)[name]
    packages = [package_of(entry) for entry in entries]
    if len(entries) > 1:
        raise SimcvdError(
            f"{name!r} is offered by {' and by '.join(packages)}; uninstall all but one of them"
        )
    try:
        return entries[0].load()
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything
        raise SimcvdError(
            f"{name!r} of {packages[0]} cannot be imported ({type(error).__name__}: {error}); "
            "fix or uninstall that package"
        ) from error


def optional(module: str, extra: str, use: str) -> Any:
    """A module that only one of our extras brings.

    use: what needs it. Raises SimcvdError, which says what to install, where it is not there.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise SimcvdError(
            f"{use} needs the package {error.name or module}: pip install 'simcvd[{extra}]'"
        ) from error


def package_of(entry: EntryPoint) -> str:
    """Name and version of the package that an entry point is of."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def by_reference(reference: str) -> Any:
    """What ``package.module:Name`` names. Raises SimcvdError where there is no such thing."""
    module, _, name = reference.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # a caller's module may raise anything
        raise SimcvdError(
            f"{reference!r} cannot be imported ({type(error).__name__}: {error}); write "
            "package.module:Name of what is installed, or set PYTHONPATH to where it lies"
        ) from error
    return found


def reference_of(thing: Any) -> str:
    """``package.module:Name`` of a class or function; a script's are named as when imported."""
    module = str(thing.__module__)
    script = getattr(sys.modules.get(module), "__file__", None) if module == "__main__" else None
    return f"{Path(script).stem if script else module}:{thing.__qualname__}"
