"""The page of the gallery: pictures inside, captions, commands; it loads nothing."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from string import Template

from .exhibits import Exhibit

KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
STYLE = """
:root { color-scheme: light; }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a;
  background: #ffffff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 0 0 .3rem; }
nav { columns: 3 14rem; margin: 1rem 0 2rem; } nav a { display: block; }
a { color: #0b4f9e; }
figure { margin: 0 0 3rem; break-inside: avoid; } figcaption { max-width: 48rem; margin-bottom: .8rem; }
img, iframe { max-width: 100%; max-height: 60rem; border: 1px solid #d9dce1; border-radius: 4px; background: #fff; }
iframe { width: 100%; height: 42rem; }
code { font-size: .85rem; background: #f3f4f6; padding: .1rem .3rem; border-radius: 3px; overflow-wrap: anywhere; }
@media print { iframe { display: none; } }
"""
PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pictures of backpropagation through time</title>
<style>$style</style>
</head>
<body>
<h1>Pictures of backpropagation through time</h1>
<p>Each was drawn by the command under it. A click opens a picture alone, where lines and nodes tell more about
themselves under the pointer.</p>
<nav aria-label="Pictures">$index</nav>
$figures
</body>
</html>
""")
FIGURE = Template("""\
<figure id="$name">
<figcaption><h2>$title</h2>
$caption<br>$command</figcaption>
$picture
</figure>
""")


def page(drawn: Sequence[tuple[Exhibit, Path]]) -> str:
    """The gallery as one HTML text; files beside it are linked, and needed only to look at one alone."""
    index = "\n".join(f'<a href="#{each.name}">{html.escape(each.title)}</a>' for each, _ in drawn)
    return PAGE.substitute(style=STYLE, index=index, figures="".join(_figure(each, path) for each, path in drawn))


def _figure(each: Exhibit, path: Path) -> str:
    command = f"<code>python -m viz {html.escape(each.command)}</code>" if each.command else ""
    return FIGURE.substitute(
        name=each.name, title=html.escape(each.title), caption=html.escape(each.caption), command=command,
        picture=_inside(each, path),
    )  # fmt: skip


def _inside(each: Exhibit, path: Path) -> str:
    content = path.read_bytes()
    title = html.escape(f"{each.title}: {each.caption}", quote=True)
    if path.suffix == ".html":
        frame = f'<iframe title="{title}" srcdoc="{html.escape(content.decode(), quote=True)}"></iframe>'
        return f'{frame}\n<p><a href="{path.name}">{path.name}, in a window of its own</a></p>'
    if path.suffix not in KINDS:
        return f'<p>Not drawn, for want of Graphviz: <a href="{path.name}">{path.name}</a>.</p>'
    data = base64.b64encode(content).decode()
    return f'<a href="{path.name}"><img alt="{title}" src="data:{KINDS[path.suffix]};base64,{data}"></a>'
