"""The site knows every page, pages name only files and commands that are there, and blocks run."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from tests.data.dicom_series import write_series
from tests.pages import (
    PAGES,
    READ_FIRST,
    ROOT,
    Block,
    blocks,
    commands,
    of_simcvd,
    parse,
)
from tests.review.work import DICOM_TAGS
from tests.small import NETWORK
from typer.main import get_command
from typer.testing import CliRunner

from simcvd.cli import app
from simcvd.demo.command import DemoSize
from simcvd.demo.phantom import PhantomSettings, write_phantoms
from simcvd.methods.registry import built_in
from simcvd.networks.build import BUILT_IN
from simcvd.planning import make_plan, write_plan

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
ALL = [*PAGES, *READ_FIRST]
BLOCKS = [block for page in ALL for block in blocks(page)]
RUN = ("sh", "bash", "python")  # the languages whose blocks run, or say why not
TINY = [
    *("--set", f"network.widths={NETWORK.widths}", "--set", f"network.blocks={NETWORK.blocks}"),
    *("--set", f"network.strides={NETWORK.strides}", "--set", "train.patch=(16,16,8)"),
]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", ALL, ids=name_of)


def named(nav: object) -> set[str]:
    """Every page that a navigation names, however deep."""
    if isinstance(nav, str):
        return {nav}
    children = nav.values() if isinstance(nav, dict) else nav
    return set().union(*map(named, children))


def test_every_page_is_in_the_navigation() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES}
    assert named(site["nav"]) == pages


@every_page
def test_links_lead_to_files(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [p for p in ALL if any(b.page == p for b in BLOCKS)], ids=name_of)
def test_blocks_can_be_read(page: Path) -> None:
    """Commands have verbs and options that there are; Python compiles; TOML and JSON are such."""
    for block in (block for block in BLOCKS if block.page == page):
        if block.language == "python":
            compile(block.text, str(block), "exec")
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language in ("", "sh", "bash"):
            for words in commands(block.text) if block.language else _bare(block.text):
                if (ours := of_simcvd(words)) is not None:
                    parse(ours)


def _bare(text: str) -> Iterator[list[str]]:
    """Commands in a block of no language, which may be a listing instead."""
    yield from commands(text) if text.lstrip().startswith("simcvd ") else ()


def test_the_reference_has_every_setting_and_command() -> None:
    """With what stands below it in the code; a setting without a docstring is an error."""
    hook = runpy.run_path(str(ROOT / "docs/hooks/reference.py"))
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    named = {".".join(filter(None, found)) for found in hook["MARK"].findall(page)}
    methods = {f"method.{name}" for name in built_in()}
    assert named == {"train", "augment", *(f"network.{kind.name}" for kind in BUILT_IN)} | methods
    tables = hook["on_page_markdown"](page)
    assert "| `method.lambda` | `float`, at least 0 | `0.5` | Weight of the contrast" in tables
    assert (
        "| `train.patch` | `tuple[int, int, int] \\| None`, at least 1 | `None` | Voxels" in tables
    )
    with pytest.raises(ValueError, match=r"DemoSize: no docstring below \['cases'"):
        hook["docstrings"](DemoSize)
    listed = hook["on_page_markdown"]("\n[commands]\n")
    assert [line for line in listed.splitlines() if line.startswith("## ")] == [
        f"## simcvd {verb}"
        for verb in get_command(app).commands  # type: ignore[attr-defined]
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages call by name: SCANS, LABELS, DATA, DICOM, BIDS, CACHE, CONTROL, RUN and WORK."""
    folder = tmp_path_factory.mktemp("home")
    settings = PhantomSettings(shape=(20, 18, 16), spacing=(5.0, 5.0, 6.0))
    write_phantoms(folder / "DATA", 8, 0, test=2, labeled=4, settings=settings)
    shutil.copytree(folder / "DATA/images", folder / "SCANS")
    shutil.copytree(folder / "DATA/labels", folder / "LABELS")
    for series in (0, 5):
        name = f"phantom_00{series}"
        scan = nibabel.load(folder / f"SCANS/{name}.nii.gz")
        voxels = np.round(1000 * scan.get_fdata()).astype(np.int16)
        tags = {**DICOM_TAGS, "t0020x000e": f"1.2.3.4.{series}"}
        write_series(folder / "DICOM" / name, voxels, scan.affine, **tags)
    _arrange_bids(folder)
    plan = make_plan(folder / "DATA", jobs=1).smaller(widths_factor=0.25)
    write_plan(plan.shorter(iterations=2, base=2), folder / "WORK/plan.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        invoke(["prepare", "DATA", "--out", "CACHE", "--workers", "1"])
        for run in ("CONTROL", "RUN"):
            seed = ["--seed", str(len(run))]
            train = ["train", "CACHE", "--labeled", "4", "--out", run, "--iterations", "2", *seed]
            invoke([*train, "--method", "supervised", "--recipe", "paper", *TINY])
            invoke(["evaluate", run])
        invoke(["run", "--images", "SCANS", "--labels", "LABELS", "--out", "WORK"])
    return folder


def _arrange_bids(folder: Path) -> None:
    """Some of the scans by subject; the first two have a label."""
    bids = folder / "BIDS"
    for subject in range(4):
        scan, name = f"phantom_00{subject}.nii.gz", f"sub-0{subject}"
        (bids / name / "anat").mkdir(parents=True)
        shutil.copy(folder / "SCANS" / scan, bids / name / "anat" / f"{name}_T1w.nii.gz")
        if subject < 2:
            manual = bids / "derivatives/manual" / name / "anat"
            manual.mkdir(parents=True)
            shutil.copy(folder / "LABELS" / scan, manual / f"{name}_dseg.nii.gz")
    (bids / "dataset_description.json").write_text('{"Name": "docs", "BIDSVersion": "1.8.0"}')
    (bids / "derivatives/manual/desc-manual_dseg.tsv").write_text("index\tname\n1\tchamber\n")


def invoke(arguments: list[str]) -> str:
    """A command in this process; what it printed."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


RUNNABLE = [block for block in BLOCKS if block.language in RUN and not block.why]


@pytest.mark.slow
@pytest.mark.parametrize("block", RUNNABLE, ids=str)
def test_a_block_runs(
    block: Block, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of its own; what is not to run says why in a comment before it."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    if block.language == "python":
        (tmp_path / "block.py").write_text(block.text, encoding="utf-8")
        runpy.run_path("block.py", run_name="block")
        return
    for words in commands(block.text):
        ours = of_simcvd(words)
        assert ours is not None, (
            f"{block}: {words[0]} is not run here; say why not before the block"
        )
        invoke(ours)
