"""Hooks of mkdocs: pages from files beside docs/, and links to what is no page.

In the repository pages link to configs, code and folders; on the site these are names.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

#: Files of the checkout that become pages.
PAGES = {
    'README.md': 'index.md',
    'CONTRIBUTING.md': 'contributing.md',
    'CHANGELOG.md': 'changelog.md',
}
LINK = re.compile(r'(?<!!)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)')
ROOT = Path(__file__).parents[1]


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside of docs/."""
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding='utf-8')
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Any) -> str:
    """Let links to pages stay, and make names of the others."""
    uri = page.file.src_uri
    # Where page and targets lie in the checkout, which is what links are relative to.
    sources = {page: source for source, page in PAGES.items()}
    folder = posixpath.dirname(sources.get(uri, f'docs/{uri}'))
    known = {
        sources.get(file.src_uri, f'docs/{file.src_uri}'): file.src_uri
        for file in files
        if file.is_documentation_page()
    }

    def link(found: re.Match) -> str:
        words, target, anchor = found.group(1), found.group(2), found.group(3) or ''
        if '://' in target or not target:
            return found.group(0)
        place = known.get(posixpath.normpath(posixpath.join(folder, target)))
        if place is None:
            return words
        return f'[{words}]({posixpath.relpath(place, posixpath.dirname(uri) or ".")}{anchor})'

    return LINK.sub(link, text)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Drop the roles of docstrings, which markdown does not know: ``:class:`` before a name."""
    return re.sub(r':(?:attr|class|data|exc|func|meth|mod):(<code>)~?', r'\1', html)
