"""The page in a real Chromium: chosen by mouse and by keyboard, copied, and the copied command run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytorch_offline.mirror.store import Mirror
from pytorch_offline.server.people.kept import KeptHoldings
from pytorch_offline.server.people.page import PeoplePage
from pytorch_offline.server.routed import Routed
from pytorch_offline.server.tree.following import FollowedMirror
from tests.mirror.wheels import craft_wheel
from tests.server.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

    from pytorch_offline.server.resources import Resource, Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium with its chromedriver on this machine"),
]
pytest.importorskip("selenium", reason="selenium is not installed")

# A name that the browser finds on loopback: over plain HTTP it is no secure context, as a mirror on a LAN is none.
LAN_NAME = "mirror.lan.example"
HERE = f"cp{sys.version_info.major}{sys.version_info.minor}"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BUILDS = (("2.9.0", "0.24.0", "cu130"), ("2.4.0", "0.19.0", "cu121"), ("2.4.0", "0.19.0", "cpu"))
OTHER = "cp39"  # older than any that runs this


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people")
    mirror = Mirror(root)
    for torch, vision, backend in (
        ("2.9.0", "0.24.0", "cu130"),
        ("2.4.0", "0.19.0", "cu121"),
        ("2.4.0", "0.19.0", "cpu"),
    ):
        for python in (HERE, OTHER) if backend != "cu130" else (HERE,):
            tags = f"{python}-{python}-linux_x86_64"
            for project, version, needs in (("torch", torch, "filelock"), ("torchvision", vision, f"torch=={torch}")):
                path = f"whl/{backend}/{project}-{version}+{backend}-{tags}.whl"
                craft_wheel(path, requires=(needs,)).admit(mirror)
    craft_wheel("whl/filelock-3.16.1-py3-none-any.whl").admit(mirror)
    mirror.write_locks({"requirements.node.txt": b"# empty\n"})
    mirror.publish()
    return root


class Below:
    """A site as a proxy shows it that keeps it below ``/ml`` and tells it nothing of that."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def find(self, path: str) -> Resource | None:
        return self._site.find(path.removeprefix("/ml"))

    async def bring(self, path: str) -> Resource | None:
        return await self._site.bring(path.removeprefix("/ml"))


@contextmanager
def served(root: Path, *, below: bool = False) -> Iterator[str]:
    mirror = FollowedMirror(root, tell=lambda _: None)
    mirror.load()
    held = KeptHoldings(root, lambda: mirror.snapshot)
    held.refresh()
    site = Routed(mirror, PeoplePage(lambda: held.current, lambda: None).routes())
    with Serving(Below(site) if below else site) as serving:
        yield f"{serving.url}/ml/" if below else f"{serving.url}/"


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with served(root) as url:
        yield url


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",  # as root there is none
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        "--hide-scrollbars",  # as on a phone: they take no room
        f"--host-resolver-rules=MAP {LAN_NAME} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture
def browser(chrome: Chrome) -> Iterator[Chrome]:
    """The browser on a desktop; afterwards nothing may have been complained of, and nothing asked of anyone else."""
    emulate(chrome)
    logged(chrome, "browser")
    logged(chrome, "performance")
    yield chrome
    emulate(chrome)
    assert logged(chrome, "browser") == []
    events = [json.loads(entry["message"])["message"] for entry in logged(chrome, "performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked
    assert [one for one in asked if not one.startswith(("http://127.0.0.1:", f"http://{LAN_NAME}:"))] == []


def emulate(
    chrome: Chrome, *, width: int = 1280, dark: bool = False, script: bool = True, language: str = "en"
) -> None:
    command = chrome.execute_cdp_cmd
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    command("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    command("Emulation.setEmulatedMedia", {"features": features})
    command("Emulation.setScriptExecutionDisabled", {"value": not script})
    command("Network.enable", {})
    command("Network.setExtraHTTPHeaders", {"headers": {"Accept-Language": language}})


def logged(chrome: Chrome, kind: str) -> list[dict[str, Any]]:
    """Give what was logged since this was asked last."""
    return list(chrome.get_log(kind))  # type: ignore[no-untyped-call]


def element(browser: Chrome, selector: str) -> Any:  # noqa: ANN401  (selenium's own type is not exported)
    return browser.find_element("css selector", selector)


def text(browser: Chrome, selector: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def command_of(browser: Chrome) -> str:
    return text(browser, "#command-text")


def wait_for(browser: Chrome, selector: str, part: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10).until(lambda shown: part in text(shown, selector))


def pick(browser: Chrome, question: str, answer: str) -> None:
    element(browser, f'label:has(input[name="{question}"][value="{answer}"])').click()


def pasted(browser: Chrome) -> str:
    """Paste what was copied where a user can."""
    from selenium.webdriver.common.keys import Keys

    browser.execute_script(
        "const field = document.createElement('textarea'); field.id = 'paste'; document.body.append(field)"
    )
    field = element(browser, "#paste")
    field.send_keys(Keys.CONTROL, "v")
    return str(field.get_attribute("value"))


def run_in_new_environment(directory: Path, command: str, question: str) -> str:
    """Run a copied line with this Python's pip on a new environment, then ask the environment's Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    python = str(directory / "bin" / "python")
    program, *arguments = shlex.split(command)
    assert program == "pip"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1"}
    line = [sys.executable, "-m", "pip", "--python", python, *arguments]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return subprocess.run([python, "-I", "-c", question], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="the mirror of this test holds wheels for Linux")
def test_what_is_chosen_by_mouse_is_copied_run_and_imported(browser: Chrome, url: str, tmp_path: Path) -> None:
    browser.get(url)
    assert command_of(browser).startswith("pip install torch==2.9.0+cu130 torchvision==0.24.0+cu130 ")
    pick(browser, "backend", "cpu")
    wait_for(browser, "#command-text", "+cpu")
    assert "PyTorch → 2.4.0" in text(browser, ".changed")
    element(browser, "#result .copy").click()
    wait_for(browser, "#result .copy", "Copied")
    copied = pasted(browser)
    assert copied == command_of(browser)
    assert copied == f"pip install torch==2.4.0+cpu torchvision==0.19.0+cpu --index-url {url}whl/cpu"
    question = "import torch, torchvision; print(torch.__version__, torchvision.__version__)"
    assert run_in_new_environment(tmp_path / "venv", copied, question).split() == ["2.4.0+cpu", "0.19.0+cpu"]


def test_by_keyboard_alone(browser: Chrome, url: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(url)
    focused = browser.switch_to.active_element
    focused.send_keys(Keys.TAB)
    assert "result" in str(browser.switch_to.active_element.get_attribute("href"))  # straight to the command
    for _ in range(2):
        browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("name") == "torch"
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    wait_for(browser, "#command-text", "torch==2.4.0+cu121")
    assert browser.switch_to.active_element.get_attribute("value") == "2.4.0"
    face = "getComputedStyle(document.activeElement.nextElementSibling)"
    assert browser.execute_script(f"return {face}.outlineStyle") == "solid"
    for name in ("system", "python", "backend", "tool"):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        assert browser.switch_to.active_element.get_attribute("name") == name
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    wait_for(browser, "#command-text", "uv pip install")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.accessible_name == "Copy"
    browser.switch_to.active_element.send_keys(Keys.SPACE)
    wait_for(browser, "#result .copy", "Copied")
    assert pasted(browser) == command_of(browser)


def test_a_choice_is_kept_in_the_address_that_can_be_shared(browser: Chrome, url: str) -> None:
    browser.get(url)
    pick(browser, "torch", "2.4.0")
    wait_for(browser, "#command-text", "2.4.0")
    pick(browser, "tool", "requirements")
    wait_for(browser, "#command-text", "--index-url")
    chosen = command_of(browser)
    address = browser.current_url
    assert "was" not in address
    browser.get("about:blank")
    browser.get(address)
    assert command_of(browser) == chosen
    element(browser, "a.language").click()
    assert command_of(browser) == chosen
    assert element(browser, "html").get_attribute("lang") == "zh-Hans"
    pick(browser, "tool", "conda")
    wait_for(browser, "#command-text", "conda create")
    assert "运行以下命令" in text(browser, "#result")  # the language is kept, too


def test_without_script_the_form_does_the_same(browser: Chrome, url: str) -> None:
    emulate(browser, script=False)
    browser.get(url)
    assert not any(one.is_displayed() for one in browser.find_elements("css selector", ".copy"))
    pick(browser, "backend", "cu121")
    element(browser, "#picker button").click()
    wait_for(browser, "#command-text", f"torch==2.4.0+cu121 torchvision==0.19.0+cu121 --index-url {url}whl/cu121")
    assert "PyTorch → 2.4.0" in text(browser, ".changed")
    element(browser, "#q").send_keys("lock")
    element(browser, "#filter button").click()
    wait_for(browser, "#list [role=status]", "1 project")
    assert [one.text for one in browser.find_elements("css selector", "tbody th a")] == ["filelock"]
    assert "2.4.0+cu121" in command_of(browser)


def test_a_proxy_that_tells_another_name_is_corrected_everywhere(browser: Chrome, url: str) -> None:
    browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"X-Forwarded-Prefix": "/elsewhere"}})
    browser.get(url)
    wait_for(browser, "#command-text", f"{url}whl/cu130")
    assert "/elsewhere" not in browser.execute_script("return document.body.innerText")
    assert text(browser, ".name p") in browser.title


def test_over_plain_http_a_copy_is_made_the_old_way_and_pip_is_told_to_trust(browser: Chrome, url: str) -> None:
    browser.get(url.replace("127.0.0.1", LAN_NAME))
    assert browser.execute_script("return window.isSecureContext") is False
    assert command_of(browser).endswith(f"--trusted-host {LAN_NAME}")
    element(browser, "#result .copy").click()
    wait_for(browser, "#result .copy", "Copied")
    assert pasted(browser) == command_of(browser)


def test_behind_a_proxy_that_tells_nothing_the_browser_knows_the_address(browser: Chrome, root: Path) -> None:
    with served(root, below=True) as address:
        browser.get(address)
        wait_for(browser, "#command-text", f"--index-url {address}whl/cu130")
        pick(browser, "torch", "2.4.0")
        wait_for(browser, "#command-text", f"--index-url {address}whl/cu121")
        wait_for(browser, "#settings-0", f"index-url = {address}whl/cu121")
        assert f"{address}locks/requirements.node.txt" in text(browser, "#lock-0")
        element(browser, "tbody th a").click()
        assert browser.current_url == f"{address}simple/torch/"


def test_the_list_is_filtered_while_typing(browser: Chrome, url: str) -> None:
    browser.get(url)
    element(browser, "#q").send_keys("vis")
    wait_for(browser, "#list [role=status]", "1 project")
    assert [one.text for one in browser.find_elements("css selector", "tbody th a")] == ["torchvision"]
    assert browser.switch_to.active_element.get_attribute("id") == "q"
    element(browser, "#q").send_keys("xyz")
    wait_for(browser, "#list [role=status]", "No project")
    assert "q=visxyz" in browser.current_url


# Texts whose contrast with what they stand on is below WCAG 2.2's 4.5 (success criterion 1.4.3).
FAINT = """
const parse = (colour) => (colour.match(/[0-9.]+/g) || []).map(Number);
const light = ([red, green, blue]) => {
  const [r, g, b] = [red, green, blue].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (one) => {
  for (; one; one = one.parentElement) {
    const colour = parse(getComputedStyle(one).backgroundColor);
    if (colour.length && colour[3] !== 0) return colour;
  }
  return [255, 255, 255];
};
const faint = [];
for (const one of document.querySelectorAll("body *")) {
  const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !one.getClientRects().length) continue;
  const [a, b] = [light(parse(getComputedStyle(one).color)), light(ground(one))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) faint.push(`${one.tagName} ${one.className} ${one.textContent.slice(0, 40)} ${contrast}`);
}
return faint;
"""
SMALL = """
return [...document.querySelectorAll("a:not(.skip), button, summary, label.answer, input[type=search]")]
  .filter((one) => one.getClientRects().length)
  .filter((one) => { const box = one.getBoundingClientRect(); return box.width < 43.9 || box.height < 43.9; })
  .map((one) => one.outerHTML.slice(0, 120));
"""
UNNAMED = """
return [...document.querySelectorAll("input:not([type=hidden]), button, a, summary")]
  .filter((one) => ![one, ...(one.labels || [])].some((named) => named.textContent.trim()))
  .map((one) => one.outerHTML);
"""


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_nothing_is_too_wide_too_small_or_too_faint(
    browser: Chrome, url: str, width: int, *, dark: bool, language: str
) -> None:
    emulate(browser, width=width, dark=dark, language=language)
    browser.get(f"{url}?torch=2.9.0&backend=cpu&was=x&tool=conda")
    assert element(browser, "html").get_attribute("lang") == ("en" if language == "en" else "zh-Hans")
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert browser.execute_script(SMALL) == []
    assert browser.execute_script(FAINT) == []
    assert browser.execute_script(UNNAMED) == []
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(20, 20, 22)") is dark


def test_a_mirror_that_changes_under_an_open_page_is_followed(browser: Chrome, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mirror"
    shutil.copytree(root, copy)
    mirror = FollowedMirror(copy, tell=lambda _: None)
    mirror.load()
    held = KeptHoldings(copy, lambda: mirror.snapshot)
    held.refresh()
    site = Routed(mirror, PeoplePage(lambda: held.current, lambda: None).routes())
    with Serving(site) as serving:
        browser.get(f"{serving.url}/")
        wheel = craft_wheel(f"whl/cu130/torch-2.9.1+cu130-{HERE}-{HERE}-linux_x86_64.whl")
        grown = Mirror(copy)
        wheel.admit(grown)
        grown.publish()
        mirror.load()
        held.refresh()
        pick(browser, "tool", "uv")
        wait_for(browser, "#picker", "2.9.1")
        assert command_of(browser).startswith("uv pip install torch==2.9.0+cu130")  # what was chosen stays chosen
