"""The report as a reader opens it: from the disk, offline, on a screen, a phone and paper."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.report.phantoms import scored
from tests.review.browser import SOFTWARE, chromium

from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.demo.phantom import PhantomSettings, write_phantoms
from simcvd.report import pictures
from simcvd.report.html import Words, write_page
from simcvd.report.results import Result

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
SLOW = 180_000  # ms
WORDS = Words(
    title="Did the unlabelled scans help?",
    answer="Inconclusive.",
    detail="Some numbers.",
    todo=[("Look:", "simcvd review WORK")],
    expected="Expected: 80 %.",
    notes=["A note & <one> more"],
)
AXE = """async () => (await axe.run()).violations.filter(
    (v) => ["serious", "critical"].includes(v.impact)
).map((v) => `${v.id}: ${v.nodes[0].html}`)"""
SEEN = """async () => {
    const images = [...document.images];
    images.forEach((image) => { image.loading = "eager"; });
    await Promise.all(images.map((image) => image.decode()));
    return images.length;
}"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, list[Result]]:
    """Forty phantoms of the size of a hippocampus, and two arms scored on them."""
    folder = tmp_path_factory.mktemp("forty")
    settings = PhantomSettings(shape=(36, 50, 36), spacing=(1.0, 1.0, 1.0))
    write_phantoms(folder / "scans", 40, 0, test=0, labeled=40, settings=settings)
    cache = prepare(folder / "scans", folder / "cache", jobs=1)
    return cache, scored(cache, folder, cache.train, {"V-Net": 2, "CutMix": 1})


@pytest.fixture(scope="module")
def page(data: tuple[Cache, list[Result]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("page"), *data, WORDS, hidden=["V-Net"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium(), args=SOFTWARE)


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab that fails where anything is fetched or complained of."""
    opened, wrong = browser.new_page(viewport={"width": 1280, "height": 900}), []
    opened.set_default_timeout(SLOW)
    opened.on("console", lambda said: wrong.append(said.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda asked: asked.url.startswith("http") and wrong.append(asked.url))
    yield opened
    opened.close()
    assert wrong == []


def test_forty_small_scans_are_one_file_without_a_serious_finding(page: Path, tab: Any) -> None:
    assert page.stat().st_size < 8e6
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]
    tab.goto(page.as_uri())
    assert tab.evaluate(SEEN) == 40 * 4 + 2
    tab.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        assert tab.evaluate(AXE) == []


def test_the_slider_moves_through_the_slices(page: Path, tab: Any) -> None:
    tab.goto(page.as_uri())
    scan = tab.locator("#scan-1")
    before = scan.locator(".view").screenshot()
    scan.locator("input").fill("1")
    assert scan.locator("output").inner_text() == "1"
    assert scan.locator(".view").screenshot() != before
    scan.locator("input").press("ArrowRight")
    assert scan.locator("output").inner_text() == "2"


def test_the_worst_comes_first_and_outlines_can_be_hidden(page: Path, tab: Any) -> None:
    tab.goto(page.as_uri())
    first = tab.locator(".scan dd").evaluate_all("all => all.map((d) => parseFloat(d.innerText))")
    assert first[::2] == sorted(first[::2])
    shown = [tab.locator("#scan-1 img").nth(k).is_visible() for k in range(4)]
    assert shown == [True, True, False, True]  # the scan, its label, V-Net, CutMix
    tab.get_by_label("label", exact=True).uncheck()
    assert not tab.locator("#scan-1 img").nth(1).is_visible()


def test_a_phone_needs_no_sideways_scrolling_and_paper_shows_every_scan(
    page: Path, tab: Any
) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto(page.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.emulate_media(media="print")
    assert tab.locator(".scan .view:visible").count() == 40
    assert tab.locator("input:visible").count() == 0


def test_pictures_too_large_for_a_page_lie_beside_it(
    data: tuple[Cache, list[Result]], tmp_path: Path, tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST", 1000)
    page = write_page(tmp_path, *data, WORDS)
    beside = tmp_path / "report_files"
    assert "data:image/webp" not in page.read_text()
    tab.goto(page.as_uri())
    assert tab.evaluate(SEEN) == 40 * 4 + 2
    (beside / "0123456789abcdef.png").write_bytes(b"of an earlier page")
    write_page(tmp_path, *data, WORDS)
    assert not (beside / "0123456789abcdef.png").exists()
    monkeypatch.undo()
    write_page(tmp_path, *data, WORDS)
    assert not beside.exists()
