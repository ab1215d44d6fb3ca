"""What each address of the review page answers. Only `Guard` stands before it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from simcvd.data.preprocess import canonical_grid
from simcvd.data.reading import read_channels
from simcvd.files import CannotWrite
from simcvd.formats import spacing_of, suffix_of
from simcvd.review.guard import MAX_BODY, Guard, is_local
from simcvd.review.labels import (
    ONE_AT_A_TIME,
    Conflict,
    Unpacker,
    gzipped,
    overlays,
    packed,
    save,
)
from simcvd.review.layers import layer_file
from simcvd.review.learning import Learning, run_command
from simcvd.review.locks import Locks
from simcvd.review.round import Round
from simcvd.review.scans import View, view_of
from simcvd.review.slices import Slices
from simcvd.types import SimcvdError

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
STEP = 1 << 20


class LargeFile(FileResponse):
    """Sent in larger steps: each takes a turn of the event loop."""

    chunk_size = STEP


class Held(SimcvdError):
    """Another page holds the scan open."""


STATUS = {Conflict: 409, Held: 423, CannotWrite: 507}


class Server:
    """The round, its locks and its process; one method an address."""

    def __init__(self, work: Path) -> None:
        self.round = Round.read(work)
        self.locks, self.learning, self.slices = Locks(work), Learning(work), Slices()
        self._page = _page_files()

    def routes(self) -> list[Route]:
        """Every address there is."""
        get: dict[str, Callable[[Request], Any]] = {
            "/": self.index,
            "/page/{name}": self.static,
            "/api/round": self.about,
            "/api/scans": self.scans,
            "/api/scan": self.scan,
            "/api/check": self.check,
            "/api/learning": self.progress,
            "/volume/{name}": self.volume,
            "/layer/{name}": self.layer,
            "/drawing": self.drawing,
            "/slice.png": self.slice,
        }
        post: dict[str, Callable[[Request], Any]] = {
            "/api/hold": self.hold,
            "/api/release": self.release,
            "/api/save": self.save,
            "/api/accept": self.accept,
            "/api/learn": self.learn,
            "/api/stop": self.stop,
        }
        return [
            *(Route(path, _guarded(do), methods=["GET"]) for path, do in get.items()),
            *(Route(path, _guarded(do), methods=["POST"]) for path, do in post.items()),
        ]

    def index(self, request: Request) -> Response:
        """The page."""
        return self._file(request, "index.html")

    def static(self, request: Request) -> Response:
        """One of the page's files; their names are known, no path is made of the address."""
        return self._file(request, request.path_params["name"])

    def about(self, request: Request) -> Response:
        """The classes, and what the round is called."""
        classes = [vars(c) for c in self.round.classes]
        about = {"work": self.round.work.resolve().name, "classes": classes}
        return _json({**about, "channels": self.round.source.channel_names})

    def scans(self, request: Request) -> Response:
        """Every scan, worst first, and who holds it open."""
        rows = self.round.scans()
        held = {row["name"]: self.locks.holder(row["name"]) for row in rows}
        return _json([{**row, "held": held[row["name"]]} for row in rows])

    def scan(self, request: Request) -> Response:
        """Grid and layers of one scan, made ready to be shown."""
        name, view = self._viewed(request)
        shape, affine = canonical_grid(view.shape, view.affine)
        layers = overlays(self.round, view, name, self.round.layers(name))
        return _json(
            {
                "name": name,
                "file": f"scan{suffix_of(view.path)}",
                "stamp": view.stamp,
                "shape": view.shape,
                "ras": {"shape": shape, "spacing": spacing_of(affine)},
                "notes": view.notes,
                "layers": layers,
            }
        )

    def check(self, request: Request) -> Response:
        """Read the scan to the end, to say what is wrong with one that the viewer did not read."""
        case = self.round.case(request.query_params.get("case", ""))
        with ONE_AT_A_TIME:
            read_channels(case.images, len(self.round.source.channel_names))
        return _json({})

    def volume(self, request: Request) -> Response:
        """The scan as NIfTI, in ranges where they are asked for.

        An uncompressed file is gzipped on its way to another machine; on this one that takes
        longer than it spares.
        """
        _, view = self._viewed(request)
        kind, headers = "application/octet-stream", {"cache-control": "no-store"}
        here = request.client is None or is_local(request.client.host)
        if not view.packed and not here and "range" not in request.headers and _takes_gzip(request):
            headers |= {"content-encoding": "gzip", "vary": "accept-encoding"}
            return StreamingResponse(_gzipped_file(view.path), media_type=kind, headers=headers)
        return LargeFile(view.path, media_type=kind, headers=headers)

    def layer(self, request: Request) -> Response:
        """A layer as NIfTI: classes in the scan's grid, or the entropy."""
        name, view = self._viewed(request)
        layer = self.round.layer(name, request.query_params.get("layer", ""))
        with ONE_AT_A_TIME:
            body = layer_file(self.round, view, name, layer)
        headers = {"cache-control": "no-store"}
        return Response(body, media_type="application/octet-stream", headers=headers)

    def drawing(self, request: Request) -> Response:
        """The classes a drawing begins from, one byte a voxel in the scan's own order."""
        name, view = self._viewed(request)
        body = packed(self.round, view, name, request.query_params.get("base", ""))
        headers = {"content-encoding": "gzip", "cache-control": "no-store"}
        return Response(body, media_type="application/octet-stream", headers=headers)

    def slice(self, request: Request) -> Response:
        """One slice as an image."""
        name, view = self._viewed(request)
        asked = request.query_params
        at = _share(asked.get("at", "0.5"))
        plane, layer = asked.get("plane", ""), asked.get("layer") or None
        picture = self.slices.png(self.round, view, name, plane, at, layer)
        return Response(picture, media_type="image/png", headers={"cache-control": "no-store"})

    def hold(self, request: Request) -> Response:
        """Take or renew the lock of a scan; ``take=1`` takes it from whoever holds it."""
        take = request.query_params.get("take") == "1"
        held = self.locks.hold(self._name(request), _tab(request), take=take)
        return _json({"held": held})

    def release(self, request: Request) -> Response:
        """Give the lock up."""
        self.locks.release(self._name(request), _tab(request))
        return _json({})

    async def save(self, request: Request) -> Response:
        """Take the drawing, gzipped classes of all voxels, and write the label."""
        name, view = await run_in_threadpool(self._viewed, request)
        await run_in_threadpool(self._need_lock, request, name)
        x, y, z = view.shape
        unpacker, arrived = Unpacker(x * y * z), 0
        async for chunk in request.stream():
            arrived += len(chunk)
            if arrived > MAX_BODY:
                raise SimcvdError("the drawing is too large")
            unpacker.take(chunk)
        return await run_in_threadpool(self._save, request, name, unpacker.whole())

    def accept(self, request: Request) -> Response:
        """The map as it is becomes the label."""
        name = self._name(request)
        self._need_lock(request, name)
        return self._save(request, name, None)

    def _save(self, request: Request, name: str, drawn: Any) -> Response:
        asked = request.query_params
        save(
            self.round,
            name,
            base=asked.get("base", ""),
            scan_stamp=asked.get("scan", ""),
            map_stamp=asked.get("map", ""),
            drawn=drawn,
        )
        return self.scan(request)

    def learn(self, request: Request) -> Response:
        """Start the next round."""
        self.learning.start(run_command(self.round.work))
        return _json(self.learning.state())

    def stop(self, request: Request) -> Response:
        """Stop it; the same command resumes."""
        self.learning.stop()
        return _json(self.learning.state())

    def progress(self, request: Request) -> Response:
        """How far it is. Once it has ended, the folder is read anew."""
        state = self.learning.state()
        if request.query_params.get("ended") == "1":
            self.round = Round.read(self.round.work)
        return _json(state)

    def _name(self, request: Request) -> str:
        return self.round.case(request.query_params.get("case", "")).name

    def _viewed(self, request: Request) -> tuple[str, View]:
        name = self._name(request)
        channel = request.query_params.get("channel", "0")
        number = int(channel) if channel.isascii() and channel.isdigit() else -1
        with ONE_AT_A_TIME:
            return name, view_of(self.round, name, number)

    def _need_lock(self, request: Request, name: str) -> None:
        """Also taken where nobody holds it: a lock runs out while a machine sleeps."""
        if held := self.locks.hold(name, _tab(request)):
            raise Held(f"'{name}' is held open by {held['who']}; take it over to save here")

    def _file(self, request: Request, name: str) -> Response:
        if name not in self._page:
            return _json({"error": "there is no such file"}, 404)
        body, kind = self._page[name], KINDS[Path(name).suffix]
        headers = {"cache-control": "no-cache", "vary": "accept-encoding"}
        if _takes_gzip(request):
            return Response(body, media_type=kind, headers={**headers, "content-encoding": "gzip"})
        return Response(zlib.decompress(body, wbits=31), media_type=kind, headers=headers)


def application(work: Path, token: str, host: str, port: int) -> Guard:
    """The whole page for one WORK folder. Raises SimcvdError as `Round.read` does."""
    app = Starlette(routes=Server(work).routes())
    return Guard(app, token, host, cookie=f"simcvd-{port}")


def _guarded(do: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """An address whose SimcvdError becomes an answer; what is not async runs in a thread."""
    import inspect

    async def endpoint(request: Request) -> Response:
        try:
            if inspect.iscoroutinefunction(do):
                return await do(request)
            return await run_in_threadpool(do, request)
        except (SimcvdError, MemoryError) as error:
            status = next((s for kind, s in STATUS.items() if isinstance(error, kind)), 422)
            return _json({"error": str(error) or "there is not enough memory for this"}, status)
        except FileNotFoundError as error:
            return _json({"error": f"{error.filename}: is gone; reload the page"}, 422)

    return endpoint


def _json(content: Any, status: int = 200) -> Response:
    headers = {"cache-control": "no-store", "content-encoding": "gzip"}
    body = gzipped(json.dumps(content).encode())
    return Response(body, status, media_type="application/json", headers=headers)


def _page_files() -> dict[str, bytes]:
    """The page's files by name, gzipped once."""
    found = (entry for entry in files("simcvd.review").joinpath("page").iterdir())
    return {
        entry.name: gzipped(entry.read_bytes())
        for entry in found
        if Path(entry.name).suffix in KINDS
    }


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def _gzipped_file(path: Path) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=31)
    with path.open("rb") as file:
        while chunk := file.read(STEP):
            yield packer.compress(chunk)
    yield packer.flush()


def _share(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        raise SimcvdError(f"{text!r} is not a position within a scan (0 to 1)") from None


def _tab(request: Request) -> str:
    tab = request.query_params.get("tab", "")
    if not (tab.isascii() and tab.isalnum() and 8 <= len(tab) <= 64):
        raise SimcvdError("the page did not say which tab it is; reload it")
    return tab
