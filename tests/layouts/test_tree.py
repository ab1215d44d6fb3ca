"""Walking a folder: every entry is a file to read, or has a reason why it is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from simcvd.layouts.tree import walk


def made(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return root


def below(root: Path, **settings: object) -> tuple[list[str], dict[str, str]]:
    tree = walk(root, **settings)  # type: ignore[arg-type]
    files = [str(path.relative_to(root)) for path in tree.files]
    return files, {str(path.relative_to(root)): why for path, why in tree.passed.items()}


def test_hidden_and_system_files_pipes_and_broken_links(tmp_path: Path) -> None:
    root = made(tmp_path / "d", "a.nii", ".b.nii", ".git/x/y", "Thumbs.db", "__MACOSX/a.nii")
    (root / "gone.nii").symlink_to(root / "nowhere.nii")
    (root / "self.nii").symlink_to(root / "self.nii")
    os.mkfifo(root / "pipe.nii")
    files, passed = below(root)
    assert files == ["a.nii"]
    assert passed == {
        ".b.nii": "hidden",
        ".git": "hidden, 1 file",
        "Thumbs.db": "of the operating system",
        "__MACOSX": "of the operating system, 1 file",
        "gone.nii": "a link that leads nowhere (No such file or directory)",
        "self.nii": "a link that leads nowhere (Too many levels of symbolic links)",
        "pipe.nii": "no file but a pipe or device",
    }


def test_links_to_their_own_folders_end(tmp_path: Path) -> None:
    root = made(tmp_path / "d", "images/a.nii", "images/deep/b.nii")
    for name in ("one", "two"):
        (root / "images" / "deep" / name).symlink_to(root / "images" / "deep")
    (root / "images" / "up").symlink_to(tmp_path)  # a folder that holds this one
    (root / "images" / "again").symlink_to(root / "images" / "deep")
    files, passed = below(root)
    assert files == ["images/a.nii", "images/deep/b.nii"]
    assert set(passed) == {"images/deep/one", "images/deep/two", "images/up", "images/again"}
    assert {why.partition(" that")[0] for why in passed.values()} == {"a link to a folder"}


def test_a_link_to_another_place_is_followed_and_called_by_its_own_name(tmp_path: Path) -> None:
    elsewhere = made(tmp_path / "store", "p1/a.nii")
    root = made(tmp_path / "d", "b.nii")
    (root / "p1").symlink_to(elsewhere / "p1")
    assert below(root) == (["b.nii", "p1/a.nii"], {})


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"new\nline.nii", "its name holds a control character: rename it"),
        (b"\xff.nii", "its name is not UTF-8: rename it"),
        (b"x" * 190 + b".nii", "its name has 190 bytes, and 180 are the most: rename it"),
        (b"back\\slash.nii", "its name holds a / or a \\: rename it"),
    ],
)
def test_names_that_are_none(tmp_path: Path, name: bytes, why: str) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_text("x")
    assert list(walk(tmp_path).passed.values()) == [why]


def test_what_simcvd_made_is_no_scan_but_may_be_a_label(tmp_path: Path) -> None:
    table = "case,file,confidence,organ (ml)\na,a.nii.gz,0.9,1.0\n"
    root = made(tmp_path / "d", "b.nii.gz", "out/a.nii.gz", "out/c.nii.gz", "out/entropy/a.nii.gz")
    (root / "out" / "predictions.csv").write_text(table)
    made(root, "run/config.json", "run/checkpoints/x", "run/predictions/a.nii.gz")
    made(root, "cache/manifest.json", "cache/cases/a.nii.gz")
    files, passed = below(root)
    assert files == ["b.nii.gz", "cache/cases/a.nii.gz", "cache/manifest.json", "out/c.nii.gz"]
    assert passed == {
        "out/a.nii.gz": "made by simcvd predict",
        "out/entropy": "made by simcvd predict, 1 file",
        "out/predictions.csv": "made by simcvd predict",
        "run": "a training of simcvd, 3 files",
    }
    (root / "cache" / "manifest.json").write_text('{"data_hash": ""}')
    assert below(root)[1]["cache"] == "a cache of simcvd prepare, 2 files"
    (root / "out" / "predictions.csv").write_text("id,score\n1,2\n")  # somebody else's
    assert "out/a.nii.gz" in below(root)[0]
    (root / "out" / "predictions.csv").write_text(table, encoding="utf-8-sig")  # as Excel saves it
    assert "out/a.nii.gz" not in below(root)[0]
    assert "out/a.nii.gz" in below(root, own=True)[0]


def test_a_folder_of_run_is_neither_scans_nor_labels(tmp_path: Path) -> None:
    """Whatever of it is there yet, and wherever it lies."""
    root = made(tmp_path / "d", "b.nii", "work/labels/b.nii", "work/x/b.nii", "other/run.json")
    (root / "work" / "run.json").write_text('{"images": "d", "preset": "quick"}')
    for own in (False, True):
        files, passed = below(root, own=own)
        assert files == ["b.nii", "other/run.json"]
        assert passed == {"work": "a folder of simcvd run, 3 files"}
    assert below(root / "work", own=True)[0] == ["labels/b.nii", "run.json", "x/b.nii"]
