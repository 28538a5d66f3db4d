"""Pages load each script once, and none of Thebe."""

from __future__ import annotations

import re

from mpbook.layout import Book


def test_a_real_page_loads_each_script_once(rendered: Book) -> None:
    page = (rendered.root / "_build" / "html" / "book" / "one.html").read_text()
    files = re.findall(r'<script[^>]* src="([^"]+)"', page)
    bodies = [body for body in re.findall(r"<script>(.*?)</script>", page, re.DOTALL) if "DOCUMENTATION" not in body]
    assert len(files) > 5
    assert len(set(files)) == len(files)
    assert len(set(bodies)) == len(bodies)
    assert "THEBE_JS_URL" not in page
    assert 'data-default-mode="auto"' in page
