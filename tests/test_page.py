"""The page in a real browser: Debian's Chromium, led by Playwright."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import StartService
from live import eventually, make_model
from playwright.sync_api import Browser, Page, expect

Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, service: httpx.Client) -> Iterator[Visit]:
    """Opens the page; no test may leave an error on its console, or ask anybody but the service."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_page(view: str = "", *, base: str = str(service.base_url), **options: object) -> Page:
        context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], **options)
        page = context.new_page()
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((base, "blob:")) else complaints.append(request.url)
            ),
        )
        page.goto(f"{base}/{view}")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert complaints == []


def test_the_wall_grows_as_one_scrolls(visit: Visit) -> None:
    page = visit()
    tiles = page.locator("#tiles > li")
    expect(page.get_by_role("button", name="0", exact=True).locator("img")).to_be_visible()
    before = tiles.count()
    page.mouse.wheel(0, 100_000)
    expect(page.locator(f"#tiles > li:nth-child({before + 1})")).to_be_attached()


def test_only_what_is_near_is_asked_for(visit: Visit) -> None:
    page = visit()
    expect(page.locator("#tiles img").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert page.locator("#tiles img").count() < page.locator("#tiles > li").count()


def test_a_name_shows_its_face_and_address(visit: Visit, service: httpx.Client) -> None:
    page = visit()
    page.keyboard.press("/")
    page.keyboard.type("Zoë & co")
    expect(page.locator("#face img:last-child")).to_have_attribute("src", "images/Zo%C3%AB%20%26%20co.webp")
    address = page.locator("#name-address code").inner_text()
    assert address == f"{service.base_url}/images/Zo%C3%AB%20%26%20co.png"
    assert service.get(address).status_code == 200
    page.reload()
    expect(page.locator("#name")).to_have_value("Zoë & co")


def test_a_picture_opens_with_what_one_can_paste(visit: Visit, service: httpx.Client) -> None:
    page = visit()
    page.get_by_role("button", name="7", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("7")
    dialog.get_by_label("Circle").check()
    dialog.get_by_role("button", name="Copy Address").click()
    address = page.evaluate("navigator.clipboard.readText()")
    assert address == f"{service.base_url}/images/7.png?shape=circle"
    lasting = page.locator("#snippets dd", has_text="/models/").inner_text()
    assert service.get(lasting).content == service.get(address).content
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_arrow_keys_go_from_picture_to_picture(visit: Visit) -> None:
    page = visit("#wall?open=7")
    page.get_by_role("dialog").get_by_role("button", name="Close").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("8")


def test_the_look_that_is_shown_is_the_one_that_is_chosen(visit: Visit) -> None:
    page = visit("#wall?open=7")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("radio", name="Square")).to_be_checked()
    dialog.get_by_role("radio", name="Circle").check()
    expect(dialog.locator("code").first).to_have_text(re.compile(r"images/7\.png\?shape=circle$"))
    page.reload()
    expect(dialog.get_by_role("radio", name="Circle")).to_be_checked()
    dialog.get_by_role("radio", name="Square").check()
    expect(dialog.locator("code").first).to_have_text(re.compile(r"images/7\.png$"))


def test_one_drags_from_one_picture_to_another(visit: Visit) -> None:
    page = visit("#between?a=alice&b=bob")
    share = page.get_by_label("Share of the way")
    share.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#between-caption code")).to_contain_text("images/alice.png?to=bob&t=0.53125")
    stage = page.locator("#stage")
    expect(stage.locator("img")).to_have_count(33)
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 2 * box["width"], box["y"] + 10)
    page.mouse.up()
    expect(page.locator("#between-caption code")).to_have_text(re.compile(r"images/bob\.png$"))


def test_one_walks_from_neighbour_to_neighbour_and_back(visit: Visit) -> None:
    page = visit("#around?at=alice")
    page.get_by_role("button", name="Step towards").first.click()
    caption = page.locator("#around-caption code")
    expect(caption).to_contain_text("images/alice.png?with=")
    page.get_by_role("button", name="A step back").click()
    expect(caption).to_have_text(re.compile(r"images/alice\.png$"))


def test_a_child_has_the_weights_of_its_parents(visit: Visit, service: httpx.Client) -> None:
    page = visit("#mix?of=alice;bob")
    page.get_by_label("How much of parent 1").fill("10")
    caption = page.locator("#mix-caption code")
    expect(caption).to_contain_text("with=bob&weights=1,0.5")
    page.get_by_role("button", name="Another mutation").click()
    expect(caption).to_contain_text("with=bob&with=2")
    assert service.get(caption.inner_text()).status_code == 200


def test_what_is_kept_survives_a_reload_and_travels_in_the_address(visit: Visit) -> None:
    page = visit()
    page.get_by_role("button", name="3", exact=True).focus()
    page.keyboard.press("k")
    kept = page.locator("#kept").get_by_role("button")
    expect(kept).to_have_count(1)
    page.reload()
    expect(kept).to_have_count(1)
    other = visit(page.url.split("/")[-1])
    expect(other.locator("#kept").get_by_role("button")).to_have_accessible_name("3")


def test_a_link_adds_to_what_is_kept_and_takes_nothing_away(visit: Visit) -> None:
    own = [str(seed) for seed in range(31)]
    page = visit(f"#wall?keep={';'.join(own)}")
    kept = page.locator("#kept > li")
    expect(kept).to_have_count(31)
    page.evaluate("location.hash = '#wall?keep=a;b;c'")
    expect(kept).to_have_count(32)
    assert kept.evaluate_all("items => items.map((item) => item.dataset.point)") == [*own, "a"]
    expect(page.locator("#said")).to_contain_text("The tray is full")


def test_who_goes_through_the_tray_by_keyboard_stays_in_it(visit: Visit) -> None:
    page = visit("#between?keep=1;2;3")
    first = page.locator("#kept button").first
    first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#between-caption code")).to_contain_text("images/1.png")
    expect(first).to_be_focused()
    page.keyboard.press("Delete")
    expect(page.locator("#kept > li")).to_have_count(2)
    expect(first).to_be_focused()


def test_hearts_of_tiles_that_come_by_scrolling_are_marked(visit: Visit) -> None:
    page = visit("#wall?keep=5;130")
    expect(page.get_by_role("button", name="Keep 5", exact=True)).to_have_attribute("aria-pressed", "true")
    far = page.get_by_role("button", name="Keep 130", exact=True)
    for _ in range(20):
        page.mouse.wheel(0, 100_000)
        if far.count():
            break
        page.wait_for_timeout(100)
    expect(far).to_have_attribute("aria-pressed", "true")


def test_a_link_that_was_cut_still_shows_pictures(visit: Visit) -> None:
    page = visit("#wall?name=100%&model=%E0%A4%A")
    expect(page.locator("#tiles img").first).to_be_visible()
    expect(page.locator("#name")).to_have_value("")


def test_ends_of_too_many_seeds_are_told(visit: Visit) -> None:
    many = ",".join(f"{seed}:0.4" for seed in range(1, 16))
    page = visit(f"#between?a=alice,{many}&b=bob")
    expect(page.locator("#stage.failed")).to_have_attribute("title", re.compile("more than 16 seeds"))
    expect(page.locator("#said")).to_contain_text("more than 16 seeds")


def test_a_telephone_is_enough(visit: Visit) -> None:
    page = visit("#wall", is_mobile=True, has_touch=True, viewport={"width": 390, "height": 844})
    page.get_by_role("button", name="3", exact=True).tap()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Next picture").tap()
    expect(dialog.get_by_role("heading")).to_have_text("4")
    dialog.get_by_role("button", name="Keep").tap()
    dialog.get_by_role("button", name="Between").tap()
    stage = page.locator("#stage")
    expect(stage).to_be_visible()
    box = stage.bounding_box()
    assert box is not None
    finger = page.context.new_cdp_session(page)
    y = box["y"] + 50
    for kind, x in (("touchStart", box["width"] / 2), ("touchMove", box["width"] * 0.75), ("touchEnd", None)):
        points = [] if x is None else [{"x": box["x"] + x, "y": y}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(page.locator("#between-caption code")).to_have_text(re.compile(r"images/4\.png\?to=.*&t=0\.[5-9]"))
    expect(page.locator("#kept").get_by_role("button")).to_have_count(1)


def test_the_wall_is_walked_by_keyboard(visit: Visit) -> None:
    page = visit()
    page.get_by_role("button", name="0", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("button", name="1", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("1")


def test_one_chooses_among_models(visit: Visit, start: StartService, toy_model: Path, tmp_path: Path) -> None:
    for name in ("moss", "fern"):
        make_model(toy_model, tmp_path / f"{name}.onnx", name, 1.0 if name == "moss" else 0.5)
    with start(model=tmp_path, default="moss") as client:
        models = lambda: client.get("/v1/models").json()["data"]  # noqa: E731
        eventually(lambda: {model["status"] for model in models()} == {"ready"})
        page = visit(base=str(client.base_url))
        page.get_by_label("Model", exact=True).select_option("fern")
        expect(page.locator("#face img:last-child")).to_have_attribute("src", re.compile(r"\?model=fern$"))
        page.close()  # it goes on asking for the wall, and the service is about to end


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nobody_is_shut_out(visit: Visit, scheme: str, width: int) -> None:
    page = visit(color_scheme=scheme, viewport={"width": width, "height": 844})
    for view in ("wall?keep=1;alice,bob:0.5", "between", "around", "mix", "wall?open=alice"):
        page.evaluate("view => { location.hash = view }", view)
        expect(page.locator("main img").first).to_be_attached()
        found = Axe().run(page).response["violations"]
        assert [(view, one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


def test_the_theme_can_be_chosen_and_is_remembered(visit: Visit) -> None:
    page = visit(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Dark or light").click()
    dark = page.evaluate(ground)
    page.reload()
    assert page.evaluate(ground) == dark != light


# --- Without a browser --------------------------------------------------------------------------------


def test_the_page_allows_nothing_from_elsewhere(service: httpx.Client) -> None:
    answer = service.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"https?://", answer.text) == []


def test_files_of_the_page_are_for_ever_and_the_page_is_asked_for_again(service: httpx.Client) -> None:
    page = service.get("/")
    assert page.headers["cache-control"] == "no-cache"
    assert service.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    [style] = re.findall(r'href="(page/\w+/style\.css)"', page.text)
    file = service.get(f"/{style}")
    assert file.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in file.headers["cache-control"]


@pytest.mark.parametrize("path", ["/page/0/style.css", "/page/0/..%2Fmain.py"])
def test_a_file_that_the_page_has_not_is_not_found(service: httpx.Client, path: str) -> None:
    assert service.get(path).status_code == 404
