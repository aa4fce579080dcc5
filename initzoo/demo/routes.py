"""The addresses of the page: each answers one request, with a page, a picture or a file."""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from initzoo.demo.cards import card, credits_html
from initzoo.demo.pictures import FORMATS
from initzoo.demo.requests import Look, read_look, read_text
from initzoo.demo.service import N_AT_ONCE, N_WAITING
from initzoo.demo.turns import RETRY_SECONDS, Busy
from initzoo.demo.views import STATIC, Views
from initzoo.errors import InitzooError, InvalidRequest
from initzoo.generator import Request as LookRequest

__all__ = ["PHOTO_PATH", "page_routes"]

PHOTO_PATH = "/photo"
"""The address that photos are sent to."""

_HOUR, _YEAR = "private, max-age=3600", "public, max-age=31536000, immutable"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; object-src 'none'; "
    "form-action 'self'; frame-ancestors 'self' https://huggingface.co",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9a-f:]+\](:[0-9]+)?")
_N_QUICK = 16

Answer = Callable[[Request], Awaitable[Response]]


def page_routes(views: Views) -> list[Route]:
    """The routes of the page and of all that it shows.

    Args:
        views: the pages and pictures of the open zoo.
    """
    # Threads of their own: refusals, lists and files do not wait behind pictures.
    slow = anyio.CapacityLimiter(2 * (N_AT_ONCE + N_WAITING))
    quick = anyio.CapacityLimiter(_N_QUICK)

    def route(
        path: str, answer: Callable[[Views, Request], Response], limiter: anyio.CapacityLimiter
    ) -> Route:
        return Route(path, _in_thread(partial(answer, views), limiter), methods=["GET"])

    return [
        route("/", _page, slow),
        route("/look", _look, slow),
        route("/picture.{kind}", _picture, slow),
        route("/before.webp", _before, slow),
        route("/photo.png", _photo_file, quick),
        route("/weights", _weights, slow),
        route("/thumbnail.webp", _thumbnail, slow),
        route("/card.jpg", _card, slow),
        route("/zoo", _zoo, quick),
        route("/example/{name}.webp", _example, quick),
        route("/wheel/{name}", _wheel, quick),
        route("/page.js", _script, quick),
        route("/favicon.svg", _favicon, quick),
        route("/credits", _credits, quick),
        Route(PHOTO_PATH, _taking(views, slow), methods=["POST"]),
    ]


def _page(views: Views, request: Request) -> Response:
    query, origin, problem = request.query_params, _origin(request), ""
    look = Look(LookRequest(views.studio.first))
    try:
        view = views.look(read_look(query) if "words" in query else look, views.first_photo, origin)
    except InitzooError as error:  # said above a look that works
        view, problem = views.look(look, views.first_photo, origin), str(error)
    page = views.page_html(view, origin=origin, problem=problem, theme=query.get("__theme", ""))
    return _text(request, page, "text/html", _HEADERS | {"Cache-Control": "no-cache"})


def _look(views: Views, request: Request) -> Response:
    view = views.look(read_look(request.query_params), _photo_of(views, request), _origin(request))
    return _text(request, views.result_html(view), "text/html", {"Cache-Control": "no-store"})


def _picture(views: Views, request: Request) -> Response:
    kind = request.path_params["kind"]
    if kind not in FORMATS:
        raise InvalidRequest(f"pictures are {' or '.join(FORMATS)} files, found {kind[:20]!r}")
    is_small = bool(request.query_params.get("small"))
    data = views.picture(
        read_look(request.query_params), _photo_of(views, request), kind=kind, is_small=is_small
    )
    return Response(data, media_type=FORMATS[kind], headers={"Cache-Control": _HOUR})


def _before(views: Views, request: Request) -> Response:
    data = views.before(_given_look(request), _photo_of(views, request))
    return Response(data, media_type=FORMATS["webp"], headers={"Cache-Control": _HOUR})


def _photo_file(views: Views, request: Request) -> Response:
    """The photo that a look was given, lossless, for commands that edit it elsewhere."""
    from initzoo.demo.pictures import encode

    pixels = views.given(_given_look(request), _photo_of(views, request), is_small=False)
    return Response(encode(pixels, "png"), media_type=FORMATS["png"], headers={"Cache-Control": _HOUR})


def _weights(views: Views, request: Request) -> Response:
    name, data = views.weights(read_look(request.query_params), request.query_params.get("form", "merged"))
    return _file(name, data)


def _thumbnail(views: Views, request: Request) -> Response:
    data = views.thumbnail(request.query_params.get("concept", ""))
    return Response(data, media_type=FORMATS["webp"], headers={"Cache-Control": _HOUR})


def _card(views: Views, request: Request) -> Response:
    look = read_look(request.query_params)
    return Response(card(views, look), media_type="image/jpeg", headers={"Cache-Control": _HOUR})


def _zoo(views: Views, request: Request) -> Response:
    query = request.query_params
    words = read_text(query.get("words", ""), name="words")
    page = query.get("page", "1")
    if not page.isdecimal() or len(page) > 6:
        raise InvalidRequest(f"page must be a number, found {page[:20]!r}")
    return _text(request, views.zoo_html(words, query.get("family", ""), int(page)), "text/html", {})


def _example(views: Views, request: Request) -> Response:
    data = views.example(request.path_params["name"])
    return Response(data, media_type=FORMATS["webp"], headers={"Cache-Control": _HOUR})


def _wheel(views: Views, request: Request) -> Response:
    if views.wheel is None or request.path_params["name"] != views.wheel.name:
        return JSONResponse({"detail": "there is no such package here"}, 404)
    return _file(views.wheel.name, views.wheel.read_bytes())


def _script(views: Views, request: Request) -> Response:
    is_named = request.query_params.get("v") == views.script_version
    script = (STATIC / "page.js").read_text("utf-8")
    return _text(request, script, "text/javascript", {"Cache-Control": _YEAR if is_named else "no-cache"})


def _favicon(_: Views, __: Request) -> Response:
    data = (STATIC / "favicon.svg").read_bytes()
    return Response(data, media_type="image/svg+xml", headers={"Cache-Control": _HOUR})


def _credits(_: Views, __: Request) -> Response:
    return HTMLResponse(credits_html(), headers=_HEADERS)


def _text(request: Request, text: str, kind: str, headers: Mapping[str, str]) -> Response:
    """A text, compressed for browsers that can read that."""
    data, headers = text.encode(), {**headers, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        data, headers = gzip.compress(data, 5), headers | {"Content-Encoding": "gzip"}
    return Response(data, media_type=kind, headers=headers)


def _file(name: str, data: bytes) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-cache"}
    return Response(data, media_type="application/octet-stream", headers=headers)


def _taking(views: Views, limiter: anyio.CapacityLimiter) -> Answer:
    """Take a photo: the body of the request is the file. The guard limits its size."""

    @_refused_in_one_line
    async def take(request: Request) -> Response:
        name = Path(read_text(request.query_params.get("name", "photo"), name="name").replace("\\", "/")).name
        with tempfile.NamedTemporaryFile(dir=views.kept.folder, prefix="upload-") as file:
            async for part in request.stream():
                file.write(part)
            file.flush()
            keep = partial(views.keep_photo, Path(file.name), name or "photo")
            return JSONResponse(await anyio.to_thread.run_sync(keep, limiter=limiter))

    return take


def _in_thread(answer: Callable[[Request], Response], limiter: anyio.CapacityLimiter) -> Answer:
    @_refused_in_one_line
    async def run(request: Request) -> Response:
        return await anyio.to_thread.run_sync(answer, request, limiter=limiter)

    return run


def _refused_in_one_line(answer: Answer) -> Answer:
    """Turn an `InitzooError` into a line of JSON with a status that fits."""

    @wraps(answer)
    async def answer_politely(request: Request) -> Response:
        try:
            return await answer(request)
        except Busy as error:
            return JSONResponse({"detail": str(error)}, 503, headers={"Retry-After": str(RETRY_SECONDS)})
        except InitzooError as error:
            return JSONResponse({"detail": str(error)}, 400)

    return answer_politely


def _photo_of(views: Views, request: Request) -> str:
    return request.query_params.get("photo") or views.first_photo


def _given_look(request: Request) -> Look | None:
    words: Mapping[str, Any] = request.query_params
    return read_look({"words": words["words"]}) if words.get("words") else None


def _origin(request: Request) -> str:
    """Scheme and host as the visitor sees them; a Space is behind a proxy that speaks HTTPS."""
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):  # it goes into commands
        host = "127.0.0.1"
    return f"{'https' if os.environ.get('SPACE_HOST') == host else request.url.scheme}://{host}"
