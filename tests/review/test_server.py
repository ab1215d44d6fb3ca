"""The server of the review page: who is let in, what is answered, what is never reached."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import uvicorn
from matplotlib.image import imread
from starlette.testclient import TestClient
from tests.review.work import SHAPE, make_work

from simcvd.review.command import listen, settings
from simcvd.review.guard import Guard
from simcvd.review.server import application

TOKEN, TAB = "a-token", "0123456789ab"
HOME = "http://127.0.0.1:8417"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_work(tmp_path_factory.mktemp("round"))


@pytest.fixture(scope="module")
def app(work: Path) -> Guard:
    return application(work, TOKEN, "127.0.0.1", 8417)


def visitor(app: Guard, host: str = "127.0.0.1") -> TestClient:
    """Without a cookie. host: where the visitor sits."""
    return TestClient(app, base_url=HOME, follow_redirects=False, client=(host, 50000))


@pytest.fixture(scope="module")
def reader(app: Guard) -> TestClient:
    client = visitor(app)
    assert client.get(f"/?token={TOKEN}").status_code == 303
    return client


def test_the_first_visit_sets_a_cookie_and_leads_to_the_page(app: Guard) -> None:
    client = visitor(app)
    entered = client.get(f"/?token={TOKEN}")
    assert entered.status_code == 303
    assert entered.headers["location"] == "/"
    assert "HttpOnly; SameSite=Strict" in entered.headers["set-cookie"]
    page = client.get("/")
    assert page.status_code == 200
    assert "<title>simcvd review</title>" in page.text
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for name in ("app.js", "style.css", "niivue.js", "niivue-LICENSE.txt"):
        assert client.get(f"/page/{name}").status_code == 200


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/api/scans", "/volume/x.nii?case=a"])
def test_nothing_without_the_token(app: Guard, path: str) -> None:
    assert visitor(app).get(path).status_code == 403
    stranger = visitor(app)
    stranger.cookies.set("simcvd-8417", "another-token")
    assert stranger.get(path).status_code == 403


def test_a_wrong_token_does_not_enter(app: Guard) -> None:
    refused = visitor(app).get("/?token=guess")
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"origin": "http://evil.example"}, 403),
        ("GET", {"origin": "null"}, 403),
        ("GET", {"origin": "http://127.0.0.1:9999"}, 403),
        ("GET", {"origin": "https://127.0.0.1:8417"}, 403),
        ("GET", {"sec-fetch-site": "cross-site"}, 403),
        ("GET", {"host": "evil.example:8417"}, 421),
        ("GET", {"host": "localhost:9000"}, 200),  # at the end of `ssh -L 9000:localhost:8417`
        ("POST", {}, 403),  # says not where it is from
        ("POST", {"origin": "http://evil.example"}, 403),
        ("POST", {"origin": HOME}, 200),
        ("POST", {"origin": HOME, "content-length": "99999999999"}, 413),
    ],
)
def test_only_the_page_itself_may_ask(
    reader: TestClient, method: str, headers: dict[str, str], status: int
) -> None:
    path = "/api/scans" if method == "GET" else f"/api/hold?case=a&tab={TAB}"
    assert reader.request(method, path, headers=headers).status_code == status


HOSTILE = [
    "/page/../run.json",
    "/page/..%2f..%2frun.json",
    "/page/%2e%2e/server.py",
    "/page//etc/passwd",
    "/page/%2fetc%2fpasswd",
    "/page/server.py",
    "/page/app.js%00.css",
    "/page/..\\server.py",
    "//etc/passwd",
    "/volume/x.nii?case=..%2Frun",
    "/volume/x.nii?case=/etc/passwd",
    "/volume/x.nii?case=a%00",
    "/volume/x.nii?case=a&channel=-1",
    "/volume/x.nii?case=a&channel=9999999999999999999999",
    "/layer/x.nii.gz?case=a&layer=../../run.json",
    "/layer/x.nii.gz?case=a&layer=heldout-..",
    "/drawing?case=a&base=/etc/passwd",
    "/slice.png?case=a&plane=../x",
    "/slice.png?case=a&plane=axial&at=nan&layer=/etc/passwd",
    "/api/scan?case=<script>alert(1)</script>",
    "/api/scan",
    "/api/nothing",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_addresses_lead_to_nothing_but_the_round(reader: TestClient, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code in (307, 400, 404, 422)
    assert answer.status_code != 307 or answer.headers["location"].startswith(HOME)
    assert "root:" not in answer.text
    assert "SimcvdError" not in answer.text


def test_a_layer_that_leads_out_of_the_round_is_not_there(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"])
    (work / "predictions" / "a.nii.gz").unlink()
    (work / "predictions" / "a.nii.gz").symlink_to(tmp_path / "images" / "a.nii.gz")
    client = visitor(application(work, TOKEN, "127.0.0.1", 8417))
    client.get(f"/?token={TOKEN}")
    assert [layer["id"] for layer in client.get("/api/scan?case=a").json()["layers"]] == ["given"]
    assert client.get("/layer/x.nii.gz?case=a&layer=prediction").status_code == 422


def test_what_each_arm_predicted_for_a_scan_it_was_not_trained_on(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a", "b"])
    for arm in ("base", "supervised", "cutmix", "mean"):
        (work / arm / "fold_0" / "checkpoints").mkdir(parents=True)
    guess = work / "predictions" / "a.nii.gz"
    for arm in ("supervised", "cutmix", "mean"):
        (work / arm / "predictions").mkdir()
        (work / arm / "predictions" / "a.nii.gz").write_bytes(guess.read_bytes())
    client = visitor(application(work, TOKEN, "127.0.0.1", 8417))
    client.get(f"/?token={TOKEN}")
    layers = client.get("/api/scan?case=a").json()["layers"]
    assert {layer["id"]: (layer["title"], layer["base"]) for layer in layers} == {
        "given": ("Label (as given)", True),
        "prediction": ("Prediction", True),
        "heldout-cutmix": ("Held out: CutMix", False),
        "heldout-mean": ("Held out: mean", False),
        "heldout-supervised": ("Held out: Supervised V-Net", False),
    }
    body = client.get("/layer/layer.nii.gz?case=a&layer=heldout-mean").content
    shown = nibabel.Nifti1Image.from_bytes(gzip.decompress(body))
    np.testing.assert_array_equal(shown.dataobj, nibabel.load(guess).dataobj)
    assert len(client.get("/api/scan?case=b").json()["layers"]) == 1


def test_labels_are_not_written_out_of_the_round(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"])
    (tmp_path / "elsewhere").mkdir()
    (work / "labels").symlink_to(tmp_path / "elsewhere")
    client = visitor(application(work, TOKEN, "127.0.0.1", 8417))
    client.get(f"/?token={TOKEN}")
    refused = client.get("/api/scan?case=a")
    assert refused.status_code == 422
    assert "leads out of" in refused.json()["error"]


def test_the_scan_is_served_as_it_lies_there_whole_and_in_ranges(
    reader: TestClient, work: Path
) -> None:
    file = (work.parent / "images" / "a.nii.gz").read_bytes()
    whole = reader.get("/volume/scan.nii.gz?case=a")
    assert whole.content == file
    assert "content-encoding" not in whole.headers
    part = reader.get("/volume/scan.nii.gz?case=a", headers={"range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == file[100:200]
    assert part.headers["content-range"] == f"bytes 100-199/{len(file)}"
    beyond = {"range": f"bytes={len(file)}-"}
    assert reader.get("/volume/scan.nii.gz?case=a", headers=beyond).status_code == 416


def test_an_uncompressed_scan_is_gzipped_for_another_machine_alone(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], ending=".nii")
    file = (tmp_path / "images" / "a.nii").read_bytes()
    for host, encoding in (("192.0.2.7", "gzip"), ("127.0.0.1", None)):
        client = visitor(application(work, TOKEN, "0.0.0.0", 8417), host)
        client.get(f"/?token={TOKEN}")
        answer = client.get("/volume/scan.nii?case=a")
        assert answer.headers.get("content-encoding") == encoding
        assert answer.content == file
        part = client.get("/volume/scan.nii?case=a", headers={"range": "bytes=0-3"})
        assert part.content == file[:4]


def test_a_layer_has_the_geometry_of_its_scan(reader: TestClient, work: Path) -> None:
    body = reader.get("/layer/layer.nii.gz?case=a&layer=given").content
    shown = nibabel.Nifti1Image.from_bytes(gzip.decompress(body))
    scan = nibabel.load(work.parent / "images" / "a.nii.gz")
    given = nibabel.load(work.parent / "labels" / "a.nii.gz")
    np.testing.assert_array_equal(shown.dataobj, given.dataobj)
    np.testing.assert_array_equal(shown.affine, scan.affine)
    assert shown.header["sform_code"] == scan.header["sform_code"]


def test_what_a_drawing_begins_from_is_a_byte_a_voxel(reader: TestClient, work: Path) -> None:
    classes = np.frombuffer(reader.get("/drawing?case=b&base=prediction").content, np.uint8)
    guess = nibabel.load(work / "predictions" / "b.nii.gz")
    np.testing.assert_array_equal(classes.reshape(SHAPE, order="F"), np.asarray(guess.dataobj))


def test_worst_first_with_what_the_table_says(reader: TestClient) -> None:
    rows = reader.get("/api/scans").json()
    assert [row["name"] for row in rows] == ["c", "b", "a"]  # confidence 0.69, 0.82, 0.95
    assert [row["state"] for row in rows] == ["unlabelled", "unlabelled", "labelled"]
    assert rows[1]["flags"] == "small volume"
    assert rows[1]["volumes"].keys() == {"chamber (ml)", "veins (ml)"}


def test_a_slice_is_a_picture(reader: TestClient) -> None:
    answer = reader.get("/slice.png?case=a&plane=coronal&at=0.5&layer=prediction")
    assert answer.headers["content-type"] == "image/png"
    picture = imread(io.BytesIO(answer.content))
    assert picture.shape[:2] == (SHAPE[2], SHAPE[0])  # upwards, from left to right
    assert np.ptp(picture[..., :3], axis=-1).max() > 0.1  # coloured where a class lies


@pytest.fixture
def running(work: Path) -> Iterator[int]:
    """The port of a real server in a thread."""
    listening = listen("127.0.0.1", None)
    port = listening.getsockname()[1]
    server = uvicorn.Server(settings(application(work, TOKEN, "127.0.0.1", port)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join(timeout=20)


def ask(port: int, raw: bytes) -> bytes:
    """What a socket answers to raw bytes, if anything; a half request is hung up on at once."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        try:
            connection.sendall(raw)
            return connection.recv(4096) if b"\r\n" in raw else b""
        except (ConnectionError, TimeoutError):
            return b""


def test_ten_megabytes_of_headers_are_refused(running: int) -> None:
    answer = ask(running, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 10_000_000)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    many = b"".join(b"X%d: y\r\n" % k for k in range(1_000_000))
    answer = ask(running, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + many)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


def test_it_stands_after_a_thousand_hostile_requests(running: int) -> None:
    raw = [
        b"GET /page/../../run.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"POST /api/save?case=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/save HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET " + b"/a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /?token=%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b'GET / HTTP/1.1\r\nHost: localhost\r\nCookie: simcvd="\\\r\n\r\n',
        b"GET /api/scans HTTP",
    ]
    refused = 0
    for number in range(1000):
        answer = ask(running, raw[number % len(raw)])
        refused += answer == b"" or answer.split(b" ", 2)[1][:1] in b"4"
    assert refused == 1000
    connection = http.client.HTTPConnection("127.0.0.1", running, timeout=10)
    cookie = {"Cookie": f"simcvd-{running}={TOKEN}"}
    connection.request("GET", "/api/scans", headers={**cookie, "Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert len(json.loads(gzip.decompress(answer.read()))) == 3
