"""The page as a reader uses it, in Chromium: looked at, drawn on, saved, and read from the disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from tests.review.browser import SOFTWARE, chromium, served
from tests.review.work import make_work

from simcvd.files import CannotWrite
from simcvd.review import server

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
SLOW = 180_000  # ms; software drawing on a busy machine
# As `simcvd run`, it can be interrupted where whoever started the tests ignores that.
WAITS = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
print('training 1 of 5, 4 min left in all', flush=True)
time.sleep(600)
"""


# A voxel in the lowest of five slices, a square of five in the highest, class 2 in the middle.
VOXELS = """async () => {
    const voxels = await import("/page/voxels.js");
    const dims = [7, 7, 5];
    const at = (x, y, z) => x + 7 * (y + 7 * z);
    const drawing = new Uint8Array(245);
    for (let y = 1; y < 6; y++) for (let x = 1; x < 6; x++) drawing[at(x, y, 4)] = 1;
    drawing[at(3, 3, 0)] = 1;
    drawing[at(3, 3, 2)] = 2;
    const changed = voxels.interpolate(drawing, dims, 2, 1);
    const count = (z) => drawing.slice(49 * z, 49 * z + 49).filter((v) => v === 1).length;
    const grown = voxels.connected([3, 3, 4], dims, (index) => drawing[index] === 1).length;
    const order = { dims: [2, 3, 1], start: [1, 0, 0], step: [-1, 2, 6] };
    const view = voxels.toViewer(Uint8Array.from([1, 2, 3, 4, 5, 6]), order);
    const back = voxels.toFile(view, order);
    const slices = [0, 1, 2, 3, 4].map(count);
    return { changed, slices, grown, view: Array.from(view), back: Array.from(back) };
}"""


class Page:
    """A tab, with what it asked for and what it complained of."""

    def __init__(self, tab: Any, address: str) -> None:
        self.tab, self.asked, self.errors = tab, [], []
        tab.set_default_timeout(SLOW)
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.on("console", lambda said: said.type == "error" and self.errors.append(said.text))
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.goto(address)

    def opened(self, name: str) -> None:
        """Wait until a scan is shown."""
        self.tab.locator(f'#stage[data-open="{name}"]').wait_for()

    def choose(self, name: str) -> None:
        self.tab.locator(f'#scans li[data-name="{name}"]').click()
        self.opened(name)

    def at(self, across: float, down: float) -> tuple[float, float]:
        """A point of the picture by its shares of width and height."""
        box = self.tab.locator("#canvas").bounding_box()
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def click(self, across: float, down: float) -> None:
        self.tab.mouse.click(*self.at(across, down))

    def stroke(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """One straight line."""
        self.tab.mouse.move(*self.at(*start))
        self.tab.mouse.down()
        self.tab.mouse.move(*self.at(*end))
        self.tab.mouse.up()

    def place(self) -> tuple[np.ndarray, np.ndarray, str]:
        """Voxel of the file and mm under the crosshair, and the class drawn there, as shown."""
        voxel, mm, _, *drawn = self.text("#place").split(" · ")
        index = [int(n) for n in voxel.removeprefix("voxel ").split(", ")]
        place = [float(n) for n in mm.removesuffix(" mm").split(", ")]
        return np.array(index), np.array(place), "".join(drawn)

    def text(self, selector: str) -> str:
        return str(self.tab.locator(selector).inner_text())

    def says(self, selector: str, text: str) -> None:
        """Wait until an element holds a text."""
        sync_api.expect(self.tab.locator(selector)).to_contain_text(text, timeout=SLOW)

    def picture(self) -> bytes:
        return bytes(self.tab.locator("#canvas").screenshot())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    with sync_api.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=[*SOFTWARE, "--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    made = browser.new_context(viewport={"width": 1100, "height": 640})
    yield made
    made.close()


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_voxels_are_grown_and_interpolated(context: Any, tmp_path: Path) -> None:
    with served(make_work(tmp_path, ["a"])) as address:
        tab = context.new_page()
        tab.goto(address, wait_until="commit")
        tab.goto(address.partition("?")[0] + "page/niivue-LICENSE.txt")
        found = tab.evaluate(VOXELS)
    # Signed city-block distances, c away from the middle, m away along the farther axis. To the
    # lone voxel: -0.5 in it, else c - 0.5. To the square of five: m - 2.5 inside. A quarter of the
    # way: -1 in the middle, 0 beside it: 1 voxel. Half: -0.5 beside it, 0 at the diagonals: 5, of
    # which the other class keeps one. Three quarters: -0.75 at the diagonals, 0 for c = m = 2: 9.
    assert found["slices"] == [1, 1, 4, 9, 25]
    assert found["changed"] == 14
    assert found["grown"] == 38  # the other class cuts off the two below it
    assert found["view"] == [2, 1, 4, 3, 6, 5]  # the first axis the other way round
    assert found["back"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_stroke_on_an_oblique_scan_is_what_the_file_has(context: Any, tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a", "b"], labelled=0, codes="SPL", values=(0, 7, 300))
    before = voxels(work / "predictions" / "b.nii.gz")
    affine = nibabel.load(tmp_path / "images" / "b.nii.gz").affine
    with served(work) as address:
        page = Page(context.new_page(), address)
        page.opened("b")  # the less certain one
        assert "Radiological: the patient's right is on the left" in page.text("#convention")

        # Scrolling asks the server for nothing; the crosshair's mm are the file's own.
        page.tab.locator("[data-view=axial]").click()
        page.click(0.5, 0.5)
        first, mm, _ = page.place()
        np.testing.assert_allclose((affine @ [*first, 1])[:3], mm, atol=0.051)
        asked = len(page.asked)
        page.tab.mouse.wheel(0, 100)
        page.tab.wait_for_timeout(300)
        then, mm, _ = page.place()
        assert np.abs(then - first).sum() == 1
        assert np.abs(then - first)[0] == 1  # the first axis of "SPL" goes upwards
        np.testing.assert_allclose((affine @ [*then, 1])[:3], mm, atol=0.051)
        assert [url for url in page.asked[asked:] if "/api/" not in url] == []

        # Overlays change the picture, there and back.
        bare = page.picture()
        page.tab.locator("[data-layer=prediction]").check()
        page.tab.wait_for_timeout(500)
        assert page.picture() != bare
        page.tab.locator("[data-layer=prediction]").uncheck()
        page.tab.locator("[data-style=outline]").click()
        page.tab.wait_for_timeout(500)
        assert page.picture() != bare

        # A line of one voxel's width has as many voxels as its longest side.
        page.tab.keyboard.press("p")
        page.tab.keyboard.press("2")
        page.tab.locator("#pen-size").fill("1")
        page.stroke((0.44, 0.2), (0.54, 0.28))
        page.says("#saved", "Unsaved strokes")
        end, _, drawn = page.place()
        assert drawn == "veins"
        page.tab.keyboard.press("Control+s")
        page.says("#saved", "Saved")
        after = voxels(work / "labels" / "b.nii.gz")
        changed = np.argwhere(after != before)
        assert len(changed) == np.ptp(changed, axis=0).max() + 1 > 3
        assert (after[tuple(changed.T)] == 300).all()
        assert set(changed[:, 0]) == {end[0]}  # in one axial slice
        assert end.tolist() in changed.tolist()
        np.testing.assert_array_equal(nibabel.load(work / "labels" / "b.nii.gz").affine, affine)
        page.says('#scans li[data-name="b"]', "corrected")

        # Loaded again, it is there; another stroke is undone.
        page.tab.reload()
        page.opened("b")
        assert page.tab.locator("#base").input_value() == "label"
        page.tab.locator("[data-view=axial]").click()
        page.tab.mouse.move(*page.at(0.54, 0.28))
        page.click(0.54, 0.28)
        page.tab.mouse.wheel(0, 100)
        page.tab.mouse.wheel(0, -100)
        found, _, drawn = page.place()
        page.tab.keyboard.press("p")
        page.stroke((0.4, 0.7), (0.6, 0.75))
        page.says("#saved", "Unsaved strokes")
        page.tab.keyboard.press("Control+z")
        page.tab.keyboard.press("Control+s")
        page.says("#saved", "Saved")
        np.testing.assert_array_equal(voxels(work / "labels" / "b.nii.gz"), after)
        assert after[tuple(found)] == {"": 0, "chamber": 7, "veins": 300}[drawn]

        assert page.errors == []
        sent = [url for url in page.asked if not url.startswith(("data:", "blob:"))]
        assert {url.split("/")[2] for url in sent} == {address.split("/")[2]}


@pytest.mark.slow
def test_accepted_held_and_learned_again(
    context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "run_command", lambda *_: [sys.executable, "-c", WAITS])
    name = "a<img src=x onerror=alert(1)>"
    work = make_work(tmp_path, ["b", name], labelled=0)
    with served(work) as address:
        page = Page(context.new_page(), address)
        page.opened(name)
        assert page.text("#scan-name") == name

        other = Page(context.new_page(), address)
        other.opened(name)
        other.says("#banner", "Held open by")
        assert other.tab.locator("#accept").is_disabled()
        assert other.tab.locator("[data-tool=pen]").is_disabled()
        other.tab.keyboard.press("p")
        other.stroke((0.2, 0.2), (0.3, 0.3))
        assert other.text("#saved") == ""
        other.tab.get_by_role("button", name="Take over").click()
        sync_api.expect(other.tab.locator("#accept")).to_be_enabled(timeout=SLOW)
        other.tab.close()

        page.tab.keyboard.press("j")
        page.opened("b")
        page.tab.keyboard.press("a")
        page.says("#saved", "Accepted")
        page.says('#scans li[data-name="b"]', "accepted")
        made, guess = (voxels(work / part / "b.nii.gz") for part in ("labels", "predictions"))
        np.testing.assert_array_equal(made, guess)
        page.tab.locator("#filter-state").select_option("accepted")
        assert page.tab.locator("#scans li").count() == 1

        page.tab.locator("#learn").click()
        page.says("#learning", "The next round is running")
        page.says("#learning-line", "training 1 of 5, 4 min left in all")
        page.tab.locator("#learning-stop").click()
        page.says("#learning-state", "was stopped")
        assert page.errors == []


@pytest.mark.slow
def test_strokes_outlive_a_full_disk_and_a_changed_scan(
    context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_work(tmp_path, ["a", "b"], labelled=0)
    broken = tmp_path / "images" / "a.nii.gz"
    broken.write_bytes(broken.read_bytes()[:3000])
    save = server.save

    def full(*_: object, **__: object) -> None:
        raise CannotWrite("cannot write b.nii.gz: No space left on device.")

    with served(work) as address:
        page = Page(context.new_page(), address)
        page.opened("b")
        monkeypatch.setattr(server, "save", full)
        page.tab.keyboard.press("p")
        page.stroke((0.3, 0.2), (0.4, 0.3))
        page.says("#saved", "Unsaved strokes")
        page.tab.keyboard.press("Control+s")
        page.says("#banner", "No space left on device")
        page.says("#saved", "the strokes are still here")
        page.tab.locator('#scans li[data-name="a"]').click()  # is asked about the strokes first
        page.says("#leave", "has not been saved")
        page.tab.locator("#leave button[value=stay]").click()
        monkeypatch.setattr(server, "save", save)
        page.tab.keyboard.press("Control+s")
        page.says("#saved", "Saved")
        assert (voxels(work / "labels/b.nii.gz") != voxels(work / "predictions/b.nii.gz")).any()

        # One scan cannot be shown; that is said, and the next one is shown.
        page.tab.locator('#scans li[data-name="a"]').click()
        page.says("#banner", "a.nii.gz: cannot be read")
        page.choose("b")
        assert page.tab.locator("#banner").is_hidden()


@pytest.mark.slow
def test_without_webgl2_slices_are_images_and_drawing_is_off(browser: Any, tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    with served(work) as address:
        running = browser.browser_type.launch(
            executable_path=chromium(), args=["--disable-3d-apis", "--no-sandbox"]
        )
        page = Page(running.new_page(), address)
        page.opened("a")
        page.says("#convention", "no WebGL2")
        assert page.tab.locator("[data-tool=pen]").is_disabled()
        image = page.tab.locator("#flat img").first
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        shown = image.get_attribute("src")
        image.hover()
        page.tab.mouse.wheel(0, 100)
        sync_api.expect(image).not_to_have_attribute("src", shown)
        page.tab.locator("#accept").click()
        page.says("#saved", "Accepted")
        running.close()
