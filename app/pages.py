"""The page at ``/``: what a person sees first. Its files are small, and kept in memory."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from app.browsers import PAGE_POLICY
from app.conditional import FOREVER, answer_early, entity_tag

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}

INDEX = "index.html"
PLACE = "page/0/"
"""Where the page looks for its files; the 0 stands for their version."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Page:
    """The files of the page, by name."""

    version: str
    """Changes with any of them."""
    files: dict[str, bytes]


def read_page() -> Page:
    """Reads the files of the page."""
    folder = files("app") / "page"
    read = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    version = hashlib.sha256(b"".join(read[name] for name in sorted(read))).hexdigest()[:12]
    read[INDEX] = read[INDEX].replace(PLACE.encode(), f"page/{version}/".encode())
    return Page(version, read)


@router.head("/")
@router.get("/")
async def index(request: Request) -> Response:
    """Show the page."""
    return _answer(request, INDEX, "no-cache")


@router.head("/page/{version}/{name}")
@router.get("/page/{version}/{name}")
async def part(request: Request, version: str, name: str) -> Response:
    """Serve a file of the page, at an address that changes with the files."""
    page: Page = request.app.state.page
    if name not in page.files or name == INDEX or version != page.version:
        raise HTTPException(404, f"the page has no file {name!r} of version {version!r}")
    return _answer(request, name, FOREVER)


def _answer(request: Request, name: str, cache_control: str) -> Response:
    page: Page = request.app.state.page
    headers = {
        "etag": entity_tag(page.version, name),
        "cache-control": cache_control,
        "content-type": MEDIA_TYPES[name.rpartition(".")[2]],
        "content-security-policy": PAGE_POLICY,
    }
    return answer_early(request, headers) or Response(page.files[name], headers=headers)
