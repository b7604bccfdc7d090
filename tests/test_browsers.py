"""What browsers are told: headers on every answer, policies that fit the pages, who else may ask."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from conftest import StartService
from playwright.sync_api import Browser, Page, expect

from app.browsers import HEADERS

FRIEND = "https://friend.example"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/images/1.png", 200),
        ("HEAD", "/images/1.png", 200),
        ("GET", "/interpolate?from=1&to=2", 200),
        ("GET", "/images/1.png?size=0", 422),
        ("GET", "/nothing", 404),
        ("PUT", "/generate", 405),
        ("POST", "/generate", 200),
        ("GET", "/", 200),
        ("GET", "/docs", 200),
        ("GET", "/livez", 200),
        ("GET", "/static-offline-docs/swagger-ui.css", 200),
    ],
)
def test_every_answer_has_the_headers_once(
    service: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = service.request(method, path)
    assert answer.status_code == status
    for name, value in HEADERS.items():
        assert answer.headers.get_list(name) == [value]


def test_even_one_to_what_is_no_request_has_them(service: httpx.Client) -> None:
    with socket.create_connection((service.base_url.host, service.base_url.port), timeout=10) as link:
        link.sendall(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
        answer = link.recv(10_000).decode()
    assert answer.startswith("HTTP/1.1 400")
    for name, value in HEADERS.items():
        assert f"{name}: {value}\r\n" in answer


def test_other_sites_may_not_ask_unless_told(service: httpx.Client) -> None:
    answer = service.get("/images/1.png", headers={"Origin": FRIEND})
    assert [name for name in answer.headers if name.startswith("access-control")] == []
    wish = {"Origin": FRIEND, "Access-Control-Request-Method": "POST"}
    assert service.options("/generate", headers=wish).status_code == 405


def test_a_site_that_is_told_may_ask_with_a_key_and_read_the_headers(
    toy_model: Path, start: StartService, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("")
    with start(model=toy_model, cors_origins=FRIEND, keys=tmp_path / "keys") as client:
        wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        allowed = client.options("/generate", headers=wish | {"Origin": FRIEND})
        assert allowed.status_code == 200  # a browser asks this without a key
        assert allowed.headers["access-control-allow-origin"] == FRIEND
        assert "Authorization" in allowed.headers["access-control-allow-headers"]
        refused = client.get("/images/1.png", headers={"Origin": FRIEND})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == FRIEND
        assert "ETag" in refused.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in refused.headers
        foe = client.get("/images/1.png", headers={"Origin": "https://foe.example"})
        assert "access-control-allow-origin" not in foe.headers


# --- In a browser ------------------------------------------------------------------------------------


@pytest.fixture
def watched(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page, and what its console complains of."""
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda it: complaints.append(it.text) if it.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page, complaints
    page.close()


def _open(page: Page) -> None:
    expect(page.get_by_text("Grow one picture", exact=False).first).to_be_visible()


def _try_swagger(page: Page) -> None:
    page.get_by_role("button", name="GET /livez").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table").get_by_text("200").first).to_be_visible()


def _look_at_wall(page: Page) -> None:
    expect(page.locator("#tiles img").first).to_be_visible()


@pytest.mark.parametrize(
    ("path", "use"),
    [("/", _look_at_wall), ("/docs", _try_swagger), ("/redoc", _open)],
    ids=["page", "docs", "redoc"],
)
def test_a_page_s_policy_lets_it_do_all_it_does(
    service: httpx.Client, watched: tuple[Page, list[str]], path: str, use: Callable[[Page], None]
) -> None:
    page, complaints = watched
    answer = page.goto(f"{str(service.base_url).rstrip('/')}{path}")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    use(page)
    # ReDoc would show its maker's logo, from its maker's host.
    assert [it for it in complaints if "https://cdn.redoc.ly/redoc/logo-mini.svg" not in it] == []


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
def test_a_page_s_policy_refuses_a_script_that_is_slipped_in(
    service: httpx.Client, watched: tuple[Page, list[str]], path: str
) -> None:
    page, complaints = watched
    page.goto(f"{str(service.base_url).rstrip('/')}{path}")
    done = page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.slipped = true";
            document.head.append(script);
            return window.slipped === true;
        }"""
    )
    assert done is False
    assert "Content Security Policy" in complaints[0]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """Another site, which takes nothing from others that does not say that it may be taken."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, directory=str(tmp_path), **options)  # type: ignore[arg-type]

        def end_headers(self) -> None:
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "index.html").write_text("<!doctype html><link rel=icon href=data:,><title>x</title>")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with contextlib.closing(server.socket):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}/"  # another site than 127.0.0.1
        server.shutdown()


def test_other_sites_can_show_pictures_and_not_read_them(
    service: httpx.Client, browser: Browser, elsewhere: str
) -> None:
    page = browser.new_page()
    page.goto(elsewhere)
    address = f"{str(service.base_url).rstrip('/')}/images/alice.png"
    shown = page.evaluate(
        """async (address) => {
            const img = new Image();
            img.src = address;
            await img.decode();
            return img.naturalWidth;
        }""",
        address,
    )
    read = page.evaluate("address => fetch(address).then(() => true, () => false)", address)
    page.close()
    assert shown == 16
    assert read is False
