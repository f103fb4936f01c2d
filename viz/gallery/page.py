"""The page of the gallery: pictures inside, what there is to see, how they are made; it loads nothing."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple

from .exhibits import BEGIN, SECTIONS, Exhibit

INDEX = re.compile(r"_(?:\{(.*?)\}|(\w))")  # of an equation: m_k, Σ_{t ≤ k}
WIDTH = re.compile(rb"max-width:\s*([\d.]+p[tx])")
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
STYLE = """
:root { color-scheme: light; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a;
  background: #ffffff; }
h1 { font-size: 1.7rem; line-height: 1.2; } h3 { font-size: 1.1rem; margin: 0 0 .3rem; }
h2 { font-size: 1.35rem; margin: 3.5rem 0 1.5rem; padding-bottom: .3rem; border-bottom: 2px solid #1a1a1a; }
nav { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .8rem 1.5rem;
  margin: 1.5rem 0; }
nav ul { list-style: none; margin: 0; padding: 0; } nav b { display: block; }
a { color: #0b4f9e; }
figure { margin: 0 0 3rem; break-inside: avoid; } figcaption { max-width: 48rem; margin-bottom: .8rem; }
figcaption p { margin: .3rem 0; }
.equation { font-family: "STIX Two Math", "Cambria Math", "DejaVu Serif", Georgia, serif; white-space: pre-wrap;
  padding-left: 1.5rem; }
sub { line-height: 1; }
img, iframe { max-width: 100%; max-height: 80rem; border: 1px solid #d9dce1; border-radius: 4px; background: #fff;
  box-sizing: border-box; }
iframe { width: 100%; height: 42rem; }
.from { display: grid; grid-template-columns: auto 1fr; gap: .2rem .8rem; font-size: .85rem; margin: .4rem 0; }
.from dt { color: #5f5f5f; } .from dd { margin: 0; min-width: 0; }
code, pre { font: .82rem/1.5 ui-monospace, monospace; background: #f3f4f6; border-radius: 3px; }
code { padding: .1rem .3rem; overflow-wrap: anywhere; } pre { padding: .6rem .8rem; overflow-x: auto; }
@media print { iframe { display: none; } a { color: inherit; text-decoration: none; } h2 { break-after: avoid; } }
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
<p>A recurrent net takes the same step again and again, zₜ, ℓₜ = step(θ, zₜ₋₁, xₜ). Its gradient is found by messages
that travel back through all of these steps. Here they can be seen, from one step to a whole run; every number is the
engine's.</p>
<p>Each picture was drawn by the command above it; the line of Python draws one like it of any run, such as this:</p>
<pre>$begin</pre>
<p>A click opens a picture alone, where lines, nodes and cells tell more about themselves under the pointer.</p>
<nav aria-label="Pictures">$index</nav>
<main>
$figures
</main>
</body>
</html>
""")
FIGURE = Template("""\
<figure id="$name">
<figcaption><h3>$title</h3>
<p>$caption</p>
<p class="equation">$equation</p>
<dl class="from">$made</dl></figcaption>
$picture
</figure>
""")


class Shown(NamedTuple):
    """An exhibit, its file (None where there is none), and why it is not drawn, where it is not."""

    exhibit: Exhibit
    path: Path | None
    missing: str = ""


def page(shown: Sequence[Shown], sections: Mapping[str, Sequence[Exhibit]] = SECTIONS) -> str:
    """The gallery as one HTML text; files beside it are linked, and needed only to look at one alone."""
    parts = {title: [one for one in shown if one.exhibit in section] for title, section in sections.items()}
    parts = {title: those for title, those in parts.items() if those}
    index = "\n".join(f"<div><b>{title}</b><ul>{_links(those)}</ul></div>" for title, those in parts.items())
    figures = "\n".join(f"<h2>{title}</h2>\n{''.join(map(_figure, those))}" for title, those in parts.items())
    return PAGE.substitute(style=STYLE, begin=html.escape(BEGIN), index=index, figures=figures)


def _links(those: Sequence[Shown]) -> str:
    return "".join(f'<li><a href="#{one.exhibit.name}">{html.escape(one.exhibit.title)}</a></li>' for one in those)


def _figure(one: Shown) -> str:
    each = one.exhibit
    made = {"command": f"python -m viz {each.command}" if each.command else "", "Python": each.code}
    return FIGURE.substitute(
        name=each.name, title=html.escape(each.title), caption=html.escape(each.caption),
        equation=INDEX.sub(r"<sub>\1\2</sub>", html.escape(each.equation)), picture=_inside(one),
        made="".join(f"<dt>{how}</dt><dd><code>{html.escape(code)}</code></dd>" for how, code in made.items() if code),
    )  # fmt: skip


def _inside(one: Shown) -> str:
    each, path = one.exhibit, one.path
    if one.missing or path is None:
        text = f': <a href="{path.name}">{path.name}</a> is its text' if path else ""
        return f"<p><strong>Not drawn.</strong> {html.escape(one.missing)}{text}.</p>"
    content = path.read_bytes()
    title = html.escape(f"{each.title}: {each.caption}", quote=True)
    if path.suffix == ".html":
        frame = f'<iframe title="{title}" srcdoc="{html.escape(content.decode(), quote=True)}"></iframe>'
        return f'{frame}\n<p><a href="{path.name}">{path.name}, in a window of its own</a></p>'
    wide = WIDTH.search(content[:2000])  # a drawing as an image would grow to the width of the page
    size = f' style="width:{wide[1].decode()}"' if wide else ""
    data = base64.b64encode(content).decode()
    return f'<a href="{path.name}"><img{size} alt="{title}" src="data:{KINDS[path.suffix]};base64,{data}"></a>'
