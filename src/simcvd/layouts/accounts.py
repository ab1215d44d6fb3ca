"""What became of every file below the folders of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from simcvd.formats import files_of, suffix_of
from simcvd.layouts.pairing import label_files
from simcvd.layouts.records import FileUse, Source, Use
from simcvd.layouts.scans import no_format
from simcvd.layouts.tree import Tree
from simcvd.types import SimcvdError

ELSEWHERE = "this layout keeps neither scans nor labels there"


def account(source: Source, trees: Iterable[Tree]) -> tuple[FileUse, ...]:
    """The use of every file of some trees, in the order of their paths; none is left out."""
    used = _used(source)
    uses: dict[Path, FileUse] = {}
    for tree in trees:
        for path in (*tree.files, *tree.passed):
            use, what = used.get(path) or (
                "passed over",
                source.passed.get(path) or tree.passed.get(path) or _elsewhere(path),
            )
            uses[path] = FileUse(path=path, use=use, what=what)
    for path, (use, what) in used.items():
        uses.setdefault(path, FileUse(path=path, use=use, what=what))
    return tuple(uses[path] for path in sorted(uses))


def _elsewhere(path: Path) -> str:
    return ELSEWHERE if suffix_of(path) else no_format(path)


def _used(source: Source) -> dict[Path, tuple[Use, str]]:
    used: dict[Path, tuple[Use, str]] = dict.fromkeys(source.lists, ("list", ""))
    listed = {*source.train, *source.test}
    for name, case in source.cases.items():
        for use, files in (("scan", case.files or case.images), ("label", label_files(case))):
            for path in (part for file in files for part in _behind(file)):
                taken: Use = "scan" if use == "scan" else "label"
                if name not in listed:
                    used[path] = ("passed over", f"{taken} of {name}, which is in no list")
                elif path not in used:
                    used[path] = (taken, name)
    return used


def _behind(path: Path) -> list[Path]:
    """The file itself, and those that keep its voxels, where it says so much."""
    try:
        return [path] if path.is_dir() else [path, *files_of(path)]
    except SimcvdError:
        return [path]


def summary(files: Sequence[FileUse]) -> str:
    """How many files are used as what, and why others are not, in one line."""
    uses = Counter(file.use for file in files)
    used = [f"{uses[u]} of {u}s" for u in ("scan", "label", "list") if uses[u]]
    reasons = Counter(_kind(file.what) for file in files if file.use == "passed over")
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    left = f"; {uses['passed over']} passed over ({why})" if why else "; none passed over"
    return f"files: {', '.join(used) or 'none used'}{left}"


def _kind(reason: str) -> str:
    """A reason without what is particular to one file."""
    return "in no list" if reason.endswith("in no list") else reason.partition(", ")[0]
