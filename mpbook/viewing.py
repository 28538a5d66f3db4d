"""Every page as a reader sees it: in a browser, on a wide and a narrow screen, light and dark.

What only a browser knows is asked here: whether something sticks out at the side, whether the letters stand out from
what is behind them, whether a script fails, whether the page asks the network for anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mpbook import browser, htmlcheck

VIEWS = {"1280 pixels": (1280, False), "390 pixels": (390, False), "390 pixels, dark": (390, True)}
"""Width, and whether the reader prefers dark pages. Nothing is laid out differently in a wide dark page."""

STICKS_OUT = """(() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const scrolls = element => { for (let e = element.parentElement; e && e !== document.body; e = e.parentElement)
    if (getComputedStyle(e).overflowX !== "visible") return true; return false; };
  return [...document.querySelectorAll("main *")]
    .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e))
    .map(e => `${e.tagName.toLowerCase()} ${e.className} ${e.textContent.trim()}`.slice(0, 80))
    .slice(0, 2).concat(`the page is ${document.documentElement.scrollWidth} wide`).slice(0, 2);
})()"""

TOO_PALE = """(() => {
  const parse = text => { const m = text.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const over = (top, under) => [0, 1, 2].map(k => top[k] * top[3] + under[k] * (1 - top[3]));
  const ground = element => { const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor); layers.push(colour); if (colour[3] === 1) break; }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]); };
  const light = colour => colour.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const found = new Map();
  for (const e of document.querySelectorAll("main article *")) {
    if (e.closest("mjx-container, svg, .headerlink, script, style, button")) continue;
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), under = ground(e), text = over(parse(style.color), under);
    const [a, b] = [light(text), light(under)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      const key = `${e.tagName.toLowerCase()}.${[...e.classList].join(".")}`;
      if (!found.has(key)) found.set(key, `${key} ${ratio.toFixed(1)}:1, '${e.textContent.trim().slice(0, 30)}'`); }
  }
  return [...found.values()];
})()"""


def report(folder: Path, say: Callable[[str], None]) -> int:
    """Look at every page of a built book, and say what is wrong.

    Returns:
        0 if all is well or there is no browser here, 1 if something is wrong.
    """
    program = browser.find()
    if not program:
        say(f"the pages were not looked at: there is no browser here, looked for {', '.join(browser.NAMES)}")
        return 0
    pages = htmlcheck.pages(folder)
    found = list(problems(program, folder, pages))
    for problem in found:
        say(problem)
    say(f"looked at {len(pages)} pages in {len(VIEWS)} views: {len(found)} problems")
    return 1 if found else 0


def problems(program: str, folder: Path, pages: list[Path]) -> Iterator[str]:
    """What is wrong with pages, one line each, starting with the page.

    Args:
        program: the path of a Chromium.
        folder: the root of the built pages.
        pages: files below it.
    """
    with browser.Browser(program) as view:
        for page in pages:
            name = page.relative_to(folder)
            for number, (words, (width, dark)) in enumerate(VIEWS.items()):
                if number == 0:
                    view.open(page, width, dark=dark)
                else:
                    view.view(width, dark=dark)
                for what in view.ask(STICKS_OUT):
                    yield f"{name}, {words}: sticks out at the side: {' '.join(what.split())}"
                # The colours of the first two views are the same.
                for what in view.ask(TOO_PALE) if number != 1 else []:
                    yield f"{name}, {words}: too pale to read: {what}"
            yield from (f"{name}: {what}" for what in _complaints(view))


def _complaints(view: browser.Browser) -> Iterator[str]:
    """What the browser reported while the page was open."""
    for event in view.events:
        given = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            details = given["exceptionDetails"]
            yield f"a script fails: {details.get('exception', {}).get('description', details['text'])[:200]}"
        elif event["method"] == "Log.entryAdded" and given["entry"]["level"] == "error":
            yield f"an error: {given['entry']['text'][:200]} {given['entry'].get('url', '')}"
        elif event["method"] == "Runtime.consoleAPICalled" and given["type"] == "error":
            yield f"a script complains: {given['args'][0].get('value', given['args'][0].get('description', ''))}"
        elif event["method"] == "Network.requestWillBeSent" and given["request"]["url"].startswith("http"):
            yield f"asks the network for {given['request']['url']}"
