"""Pictures of the report and of the review page, as README and tutorial show them.

    python benchmarks/screenshots.py WORK --scan NAME --out docs/images

WORK is a folder of `simcvd run` over made-up scans (`simcvd demo` makes some); NAME is the scan
that the review page has open. Needs Chromium and the packages of ``pip install -e .[dev]``.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from simcvd.files import replace_into

SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
SIZE: Any = {"width": 1280, "height": 800}
PORT = 8431
COLOURS = 256  # of a picture: thin outlines must keep theirs beside many greys
WAIT = 180_000  # ms


@contextmanager
def review(work: Path) -> Iterator[str]:
    """The address of the review page while it is served."""
    command = [sys.executable, "-m", "simcvd.cli", "review", str(work), "--no-browser"]
    served = subprocess.Popen([*command, "--port", str(PORT)], stdout=subprocess.PIPE, text=True)
    try:
        assert served.stdout is not None
        said = next(line for line in served.stdout if "http://" in line)
        yield said[said.index("http://") :].strip()
    finally:
        served.terminate()
        served.wait()


def keep(tab: Page, path: Path) -> None:
    """What the tab shows as a small PNG."""
    shown = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    with replace_into(path) as temporary:
        few = shown.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
        few.save(temporary, format="PNG", optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--scan", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*SOFTWARE, "--no-sandbox"]
        )
        tab = browser.new_page(viewport=SIZE)
        tab.set_default_timeout(WAIT)
        tab.goto((given.work / "report.html").resolve().as_uri())
        keep(tab, given.out / "report.png")
        tab.evaluate("document.getElementById('scans').scrollIntoView()")
        keep(tab, given.out / "report-scans.png")
        with review(given.work) as address:
            tab.goto(address)
            tab.locator(f'#scans li[data-name="{given.scan}"]').click()
            tab.locator(f'#stage[data-open="{given.scan}"]').wait_for()
            keep(tab, given.out / "review.png")
        browser.close()


if __name__ == "__main__":
    main()
