"""The page as its users meet it: a real browser, a real deployment with sleeping workers."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import open_browser
from tests.e2e.node import node_is_installed, run_node_client
from tests.e2e.stack import Stack, running_stack

CATALOG = Path(__file__).with_name("slow.toml")
LIGHT_S = 0.10
"""Of a light image in the catalog; a heavy one takes 0.4 s more."""
HEAVY_S = 0.40
TIMEOUT_MS = 20_000
PNG = b"\x89PNG"
WATCH = """
window.shown = [];
new MutationObserver(() => {
  const picture = document.getElementById("picture");
  const sharp = !picture.classList.contains("preview");
  const now = { at: performance.now(), src: picture.src, sharp };
  const last = window.shown.at(-1);
  if (now.src && last?.src + last?.sharp !== now.src + now.sharp) window.shown.push(now);
}).observe(document.getElementById("picture"), { attributes: true });
document.getElementById("draw").onclick = () => { window.clicked = performance.now(); };
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("web")
    with running_stack(directory, f"--catalog={CATALOG}", "--workers=3") as running:
        yield running


@pytest.fixture(scope="module")
def browser(stack: Stack) -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """The page, loaded; a script that fails on it fails the test."""
    opened = browser.new_page()
    opened.set_default_timeout(TIMEOUT_MS)
    failures: list[str] = []
    opened.on("pageerror", lambda error: failures.append(str(error)))
    opened.goto(stack.http)
    yield opened
    opened.close()
    assert not failures


def draw(page: Page, prompt: str, **fields: str) -> None:
    """Fill in the form as labelled, draw and wait for the answer."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    for label, text in fields.items():
        page.get_by_label(label).fill(text)
    before = page.locator("#history li").count()
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#history li")).to_have_count(before + 1, timeout=TIMEOUT_MS)


def test_the_preview_comes_after_the_light_models_time_and_sharpens(page: Page) -> None:
    page.evaluate(WATCH)
    draw(page, "an owl", Seed="7")
    preview, final = page.evaluate("window.shown")
    assert not preview["sharp"]
    assert final["sharp"]
    assert final["at"] - preview["at"] >= 1000 * 0.9 * HEAVY_S
    story = page.locator("#story").inner_text()
    told = re.search(r"first image\s+after (\d+) ms, whole answer after", story)
    assert told is not None, story
    first_image_s = int(told[1]) / 1000
    assert first_image_s >= LIGHT_S
    waited_s = (preview["at"] - page.evaluate("window.clicked")) / 1000
    assert first_image_s <= waited_s, "the server tells of its part of what the user waits"
    assert "mock-heavy (heavy), cascade mock" in story
    expect(page.locator("#told")).to_contain_text("Drawn by mock-heavy")
    expect(page.locator("#picture")).to_have_attribute("alt", "an owl")


def test_a_seed_from_history_draws_the_same_image(page: Page) -> None:
    draw(page, "a red ball", Seed="11")
    first = page.locator("#picture").get_attribute("src")
    draw(page, "a black cat", Seed="12")
    assert page.locator("#picture").get_attribute("src") != first
    page.get_by_role("button", name="seed 11: a red ball").click()
    expect(page.locator("#picture")).to_have_attribute("src", first or "")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red ball")
    draw(page, "a red ball")
    assert page.locator("#picture").get_attribute("src") == first


def test_errors_are_told_in_words(page: Page) -> None:
    page.evaluate("document.getElementById('model').add(new Option('nobody', 'nobody'))")
    page.locator("#model").select_option("nobody")
    page.get_by_label("Prompt", exact=True).fill("an owl")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#told.error")).to_contain_text("nobody")
    expect(page.get_by_role("button", name="Draw")).to_be_enabled()
    page.route("**/api/generate", lambda route: route.abort())
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#told.error")).to_contain_text("fetch")


def test_stopping_tells_so(page: Page) -> None:
    page.get_by_label("Prompt", exact=True).fill("an owl")
    page.get_by_role("button", name="Draw").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#told")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_operations_show_workers_and_plans(page: Page, stack: Stack) -> None:
    page.get_by_role("tab", name="Playground").focus()
    page.keyboard.press("ArrowRight")  # tabs are used with arrow keys
    expect(page.get_by_role("tab", selected=True)).to_have_text("Operations")
    expect(page.locator("#workers li")).to_have_count(3)
    cards = page.locator("#workers li").all_inner_texts()
    plan = stack.cli("plan", "show", "--address", stack.controller)
    placed = {row["worker_id"]: row["variant_id"] for row in plan["placements"]}
    for card in cards:
        assert placed[card.split("\n")[0]] in card
    newest = page.locator("#plans li").first
    expect(newest).to_contain_text("deferred")
    expect(newest).to_contain_text("held")
    for name in ("demand", "SLO attained", "waiting", "solver"):
        expect(page.locator("#tiles")).to_contain_text(name)
    for title in ("Demand", "Share answered", "SLO attainment", "Queries waiting"):
        expect(page.get_by_role("img", name=re.compile(title))).to_be_visible()
    expect(page.locator("#confidence")).to_contain_text("images")
    expect(page.locator("#alarm")).to_be_hidden()


def test_a_drift_alarm_is_shown(page: Page, stack: Stack) -> None:
    def drifted(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        status = answer.json()
        status["cascades"][0]["calibration"] = {
            "discriminator": "mock",
            "variant_id": "mock-light",
            "num_scores": "600",
            "fractions": [0.0, 0.5, 1.0],
            "thresholds": [0.0, 0.2, 1.0],
            "drift": {"psi": 0.41, "is_alarm": True},
        }
        route.fulfill(response=answer, json=status)  # type: ignore[attr-defined]

    page.route("**/api/status", drifted)
    page.get_by_role("tab", name="Operations").click()
    expect(page.get_by_role("alert")).to_contain_text("PSI 0.41")
    expect(page.locator("#confidence rect")).to_have_count(20)
    page.unroute_all(behavior="wait")


def test_a_class_is_shown_as_the_plan_uses_it(page: Page) -> None:
    """The middle variant is light in one cascade and heavy in the other, which gets no queries."""

    def chained(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        status = answer.json()
        (seen,), (planned,) = status["cascades"], status["plan"]["cascades"]
        lengths = {"small": 0, "middle": 3, "large": 2}
        pairs = {"fast": ("small", "middle"), "fine": ("middle", "large")}
        status["cascades"] = [
            {
                **seen,
                "cascade_id": name,
                "light": light,
                "light_queue_length": lengths[light],
                "heavy": heavy,
                "heavy_queue_length": lengths[heavy],
            }
            for name, (light, heavy) in pairs.items()
        ]
        fast = {"cascade_id": "fast", "demand_qps": 0.0, "deferral_target": 0.0}
        fine = {"cascade_id": "fine", "demand_qps": 2.0, "deferral_target": 0.6}
        status["plan"]["cascades"] = [{**planned, **fast}, {**planned, **fine}]
        for worker, assigned in zip(status["workers"], ("middle", "large", "small"), strict=True):
            worker["assigned"] = assigned
        route.fulfill(response=answer, json=status)  # type: ignore[attr-defined]

    page.route("**/api/status", chained)
    page.get_by_role("tab", name="Operations").click()
    cards = page.locator("#workers li")
    expect(cards.nth(0)).to_contain_text("middle")
    for index, stage in enumerate(("light stage", "heavy stage", "light stage")):
        expect(cards.nth(index)).to_contain_text(stage)
        expect(cards.nth(index)).not_to_contain_text("and")
    expect(page.locator("#tiles")).to_contain_text("3 light, 2 heavy")
    chart = page.get_by_role("img", name=re.compile("Share answered"))
    expect(chart).to_have_attribute("aria-label", re.compile("aimed at 0.60"))
    page.unroute_all(behavior="wait")


@pytest.mark.parametrize("view", ["playground", "operations"])
def test_narrow_screens_need_no_sideways_scrolling(
    browser: Browser, stack: Stack, view: str
) -> None:
    with browser.new_context(viewport={"width": 360, "height": 740}) as context:
        page = context.new_page()
        page.goto(f"{stack.http}/#{view}")
        expect(page.locator(f"#{view}")).to_be_visible()
        page.wait_for_timeout(1500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_curl_openai_node_and_the_page_each_get_an_image(
    page: Page, stack: Stack, tmp_path: Path
) -> None:
    url = f"{stack.http}/v1/images/generations"
    if shutil.which("curl"):
        path = tmp_path / "owl.png"
        headers = ("-H", "Content-Type: application/json", "-H", "Accept: image/png")
        body = json.dumps({"prompt": "an owl"})
        command = ["curl", "-sSf", url, *headers, "-d", body, "-o", str(path)]
        subprocess.run(command, check=True, timeout=30)
        assert path.read_bytes().startswith(PNG)
    with openai.OpenAI(base_url=f"{stack.http}/v1", api_key="none", max_retries=0) as client:
        answer = client.images.generate(model="mock", prompt="an owl", n=2)
    assert answer.data is not None
    assert all(base64.b64decode(one.b64_json or "").startswith(PNG) for one in answer.data)
    if node_is_installed():
        assert run_node_client(stack)["is_png"]
    draw(page, "an owl")
    assert (page.locator("#picture").get_attribute("src") or "").startswith("data:image/png;")
