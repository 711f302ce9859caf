"""An installed chromium, for tests of the JavaScript of the report."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
Result = TypeVar("Result")


class Chromium:
    """A running chromium.

    playwright's event loop runs in its thread as long as the browser does, and no other event loop
    can run there. So it has a thread of its own, and the main thread stays free for other tests.
    """

    def __init__(self, browser: "Browser", thread: ThreadPoolExecutor) -> None:
        self._browser = browser
        self._thread = thread

    def run(self, use: "Callable[[Page], Result]") -> Result:
        """Call `use` with a new page in the browser's thread, and return its result.

        Fails if the page has an uncaught JavaScript error.
        """
        return self._thread.submit(self._run, use).result()

    def _run(self, use: "Callable[[Page], Result]") -> Result:
        page = self._browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            result = use(page)
        finally:
            page.close()
        assert not errors, errors
        return result


@contextmanager
def started_chromium() -> Iterator[Chromium]:
    """Start chromium without a window. Skips the test if chromium or playwright is missing."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("needs chromium. Try: apt-get install chromium")
    if find_spec("playwright") is None:
        pytest.skip("needs playwright. Try: pip install playwright")
    from playwright.sync_api import sync_playwright

    with ThreadPoolExecutor(1) as thread:
        playwright = thread.submit(sync_playwright().start).result()
        try:
            browser = thread.submit(
                lambda: playwright.chromium.launch(
                    executable_path=executable, args=["--no-sandbox"]
                )
            ).result()
            yield Chromium(browser, thread)
            thread.submit(browser.close).result()
        finally:
            thread.submit(playwright.stop).result()


def open_page(
    chromium: Chromium,
    path: Path,
    use: "Callable[[Page], Result]",
    *,
    width: int = 1400,
    color_scheme: Literal["light", "dark"] = "light",
) -> Result:
    """Open a page from the disk, call `use` with it, and return its result.

    Fails if the page makes a request or reports an error.
    """
    address = path.absolute().as_uri()
    problems: list[str] = []

    def opened(page: "Page") -> Result:
        page.on(
            "console",
            lambda message: problems.append(message.text) if message.type == "error" else None,
        )
        page.on("request", lambda request: problems.append(request.url))
        page.emulate_media(color_scheme=color_scheme)
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(address)
        return use(page)

    result = chromium.run(opened)
    assert [url for url in problems if not url.startswith(("data:", address))] == []
    return result
