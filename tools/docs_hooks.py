"""What mkdocs does for this project's documentation beside its usual work.

Pages may link to files that live elsewhere in the repository: these are copied into the site. A line
``[modules of hkdsr/methods]`` stands for the API of every module in that folder. The build fails if a page would ask
another host for a font, a script, a style sheet or an image.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
FOLDERS = {
    "studies": ("*.toml", "*/*.md", "*/*.svg", "*/*.json"),
    "hkdsr/weights": ("*.md",),
    "examples": ("*.ipynb", "slurm/*"),
}
MODULES = re.compile(r"^\[modules of (\S+)\]$", re.MULTILINE)
REQUESTS = re.compile(
    r"""<(?:script|img|iframe|source|link)\b(?![^>]*\brel=["']?canonical)[^>]*\b(?:src|href)=["']?(?:https?:)?//[^\s>]*"""
    r"""|(?:@import|url\()\s*["']?(?:https?:)?//[^\s)]*"""
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's pages and what results and cards link to."""
    for target, source in PAGES.items():
        files.append(File.generated(config, target, abs_src_path=str(REPOSITORY / source)))
    for folder, patterns in FOLDERS.items():
        for path in sorted(found for pattern in patterns for found in (REPOSITORY / folder).glob(pattern)):
            files.append(
                File.generated(config, path.relative_to(REPOSITORY).as_posix(), abs_src_path=str(path)),
            )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are on the site: docs/ is its root, and the repository's pages are in it. Modules are listed."""
    source = page.file.src_uri
    markdown = MODULES.sub(lambda found: _modules(found.group(1)), markdown)
    if source in PAGES:
        return markdown.replace("](docs/", "](")
    if "/" not in source:
        return markdown.replace("](../", "](")
    return markdown.replace("](../../", "](../")


def _modules(folder: str) -> str:
    names = [path.stem for path in sorted((REPOSITORY / folder).glob("*.py")) if not path.stem.startswith("_")]
    return "\n".join(f"::: {folder.replace('/', '.')}.{name}" for name in names)


def on_post_build(config: MkDocsConfig) -> None:
    """Raise PluginError for a page or style sheet that asks another host."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css") and (found := REQUESTS.search(path.read_text(encoding="utf-8"))):
            name = path.relative_to(config.site_dir)
            raise PluginError(f"{name} asks another host ({found.group()}): keep the file in docs/assets")
