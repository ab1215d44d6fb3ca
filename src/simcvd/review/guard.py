"""Which requests are let in, decided before anything of them is read.

One reader's token opens the page: it stands in the address of the first visit, which sets a cookie
and leads to the address without it. All else is refused: another site's page (Origin,
Sec-Fetch-Site), another name for this machine (Host), paths that climb, bodies that are too large.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_HEADERS = 32 * 1024
MAX_BODY = 512 * 2**20
# The viewer's shaders, fonts and colour maps are in its file, some as data: addresses.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' data: blob:; font-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Stands before the application. host: what the server listens on."""

    def __init__(self, app: App, token: str, host: str, cookie: str) -> None:
        self.app, self.token, self.cookie = app, token, cookie
        self.local = is_local(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer why not."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await answer(send, *refusal)
        elif (given := self._token_in(scope)) is not None:
            await self._enter(given, send)
        elif not self._has_cookie(headers):
            text = "This page needs the address that `simcvd review` printed, with its token."
            await answer(send, 403, text)
        else:
            await self.app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and reason for what no reader's page sends."""
        if sum(len(k) + len(v) for k, v in scope["headers"]) > MAX_HEADERS:
            return 431, "The headers are too large."
        path, raw = scope["path"], scope.get("raw_path", b"").decode("latin-1").lower()
        climbs = any(part in (".", "..") for part in path.split("/"))
        odd = any(c in path for c in "\\\0") or "//" in path or not path.startswith("/")
        if climbs or odd or "%2f" in raw or "%00" in scope["query_string"].decode("latin-1"):
            return 400, "There is no such address."
        if self.local and _host_name(headers.get("host", "")) not in LOOPBACK:
            return 421, "This server answers to localhost alone."
        if self._foreign(scope, headers):
            return 403, "This page answers to itself alone."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            return 413, "The body is too large."
        return None

    def _foreign(self, scope: Scope, headers: dict[str, str]) -> bool:
        """Whether another site's page sent it; what changes something must say where it is from."""
        origin = headers.get("origin")
        if origin is not None:
            parts = urlsplit(origin)
            return parts.scheme != scope["scheme"] or parts.netloc != headers.get("host")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return True
        return scope["method"] not in ("GET", "HEAD")

    def _token_in(self, scope: Scope) -> str | None:
        if scope["path"] != "/" or scope["method"] not in ("GET", "HEAD"):
            return None
        found = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        return found[0] if found else None

    def _has_cookie(self, headers: dict[str, str]) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return found is not None and self._is_token(found.value)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self.token.encode())

    async def _enter(self, given: str, send: Send) -> None:
        if not self._is_token(given):
            await answer(send, 403, "The token is not this server's; it may have been restarted.")
            return
        kept = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        await answer(send, 303, "", {"location": "/", "set-cookie": kept})


def is_local(host: str) -> bool:
    """Whether a server that listens on ``host`` is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name.strip("[]").lower()


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_encoded(HEADERS)]
        await send(message)

    return sending


async def answer(send: Send, status: int, text: str, more: dict[str, str] | None = None) -> None:
    """A short plain answer."""
    body = text.encode()
    headers = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "connection": "close",
        **HEADERS,
        **(more or {}),
    }
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
