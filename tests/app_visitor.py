"""What the tests of the page share: they skip where the extra is missing."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio", reason="the page is an extra: pip install 'hkdsr[app]'")

from benchmarks.page_visitor import API, RefusedError, Visitor, downloads, files, page

__all__ = ["API", "RefusedError", "Visitor", "downloads", "files", "page"]
