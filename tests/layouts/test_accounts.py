"""Every file under the given folders is accounted for, in one table."""

from __future__ import annotations

import gzip
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from rich.console import Console
from tests.data.conftest import ball, noise, save
from tests.data.dicom_series import write_series

from simcvd.checking.check import check
from simcvd.checking.findings import show
from simcvd.layouts.accounts import summary
from simcvd.layouts.recognise import recognise

STRAIGHT = np.diag([-1.0, -1.0, 2.0, 1.0])


@pytest.fixture
def forty(tmp_path: Path) -> Path:
    """Forty files of twenty kinds."""
    root = tmp_path / "data"
    images, labels = root / "images", root / "labels"
    for seed, name in enumerate(("a", "b", "c")):
        save(images / f"{name}.nii.gz", noise(seed))  # 1: compressed NIfTI
    save(images / "d.nii", noise(3))  # 2: plain NIfTI
    for ending in ("nrrd", "mha"):  # 3, 4
        scan = SimpleITK.GetImageFromArray(noise(4).T.copy())
        SimpleITK.WriteImage(scan, str(images / f"e_{ending}.{ending}"))
    write_series(images / "f", noise(5), STRAIGHT)  # 5: eight slices of DICOM
    for name in ("a", "b"):
        save(labels / f"{name}.nii.gz", ball())  # 6: label maps
    save(labels / "zz.nii.gz", ball())  # 7: a label of no scan
    write_series(labels / "c", ball().astype(np.int16), STRAIGHT)  # 8: a series for a label
    (root / "train.list").write_text("a\nb\nc\ne_nrrd\ne_mha\nf\n")  # 9
    (root / "test.list").write_text("")  # 10
    (images / "readme.txt").write_text("x")  # 11: of no format
    (images / "g.nii.gz.part").write_bytes(gzip.compress(b"x"))  # 12: half a download
    (images / ".a.nii.gz").write_bytes(b"x")  # 13: hidden
    (images / "Thumbs.db").write_bytes(b"x")  # 14: of a system
    (images / "gone.nii.gz").symlink_to(root / "nowhere")  # 15: a broken link
    (images / "loop").symlink_to(images)  # 16: a link to its own folder
    os.mkfifo(images / "pipe.nii.gz")  # 17
    shutil.copy(images / "readme.txt", images / "new\nline.nii.gz")  # 18: no name
    (root / "notes.pdf").write_bytes(b"x")  # 19: beside the folders
    (root / "LICENSE").write_bytes(b"x")
    (labels / "b.json").write_text("{}")
    (images / "out").mkdir()  # 20: made by simcvd
    shutil.copy(labels / "a.nii.gz", images / "out" / "a.nii.gz")
    (images / "out" / "predictions.csv").write_text("case,file,confidence\na,a.nii.gz,1\n")
    return root


def names(root: Path) -> list[Path]:
    """Every file, link, pipe below a folder; links to folders are not followed."""
    return sorted(
        Path(place, name)
        for place, folders, files in os.walk(root)
        for name in [*files, *(f for f in folders if Path(place, f).is_symlink())]
    )


def test_every_file_of_forty_is_accounted_for(forty: Path) -> None:
    every = names(forty)
    assert len(every) == 40
    found = recognise(forty)
    assert [file.path for file in found.files] == every
    uses = Counter(file.use for file in found.files)
    # d is in no list; of c's label there are the eight slices that are none.
    assert uses == {"scan": 13, "label": 2, "list": 2, "passed over": 23}
    why = {str(f.path.relative_to(forty)): f.what for f in found.files if f.use == "passed over"}
    slices = {name: text for name, text in why.items() if name.startswith("labels/c/")}
    assert len(slices) == 8
    assert set(slices.values()) == {"slices of images, no label map"}
    assert {name: text for name, text in why.items() if name not in slices} == {
        "LICENSE": "of no known format",
        "images/.a.nii.gz": "hidden",
        "images/Thumbs.db": "of the operating system",
        "images/d.nii": "scan of d, which is in no list",
        "images/g.nii.gz.part": "of no known format (.part)",
        "images/gone.nii.gz": "a link that leads nowhere (No such file or directory)",
        "images/loop": "a link to a folder that is looked at already, or holds this one",
        "images/new\nline.nii.gz": "its name holds a control character: rename it",
        "images/out/a.nii.gz": "made by simcvd predict",
        "images/out/predictions.csv": "made by simcvd predict",
        "images/pipe.nii.gz": "no file but a pipe or device",
        "images/readme.txt": "of no known format (.txt)",
        "labels/b.json": "of no known format (.json)",
        "labels/zz.nii.gz": "a label of no scan",
        "notes.pdf": "of no known format (.pdf)",
    }


def test_the_table_of_check_names_them_all(forty: Path) -> None:
    report = check(forty, jobs=1, quiet=True)
    console = Console(width=200, record=True, file=(forty.parent / "screen").open("w"))
    show(report, console, files=True)
    shown = console.export_text()
    assert "13 of scans, 2 of labels, 2 of lists; 23 passed over (8 slices of images" in shown
    for path in names(forty):
        if path.parent.name in ("c", "f"):  # series are counted
            assert f"{path.parent.name}/ (8 files)" in shown
        else:
            assert path.name.replace("\n", r"\x0a") in shown, path
    messages = " ".join(finding.message for finding in report.findings)
    assert "c counts as unlabelled, but there is" in messages
    assert "1 labels have no scan and are left out: zz" in messages


def test_the_summary_counts_reasons(forty: Path) -> None:
    text = summary(recognise(forty).files)
    assert text.startswith("files: 13 of scans, 2 of labels, 2 of lists; 23 passed over (8 slices")
    assert summary(()) == "files: none used; none passed over"
