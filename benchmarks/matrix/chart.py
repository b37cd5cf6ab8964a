"""The results as SVG: for each workload a panel of bars, requests a second in relation to aiohttpd."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, COLUMNS, MARGIN, GAP = 880, 3, 16, 22
LABEL, NUMBER = 86, 40  # pixels left of the bars, and right of them
TITLE, BAR, STEP = 28, 11, 16
FOOT = 34
OTHERS = ("nginx", "floor")  # no asynchronous servers of Python: shown hollow
NOTE = (
    "Requests a second, aiohttpd = 1. Hollow: nginx runs no programs; floor parses nothing.",
    "A server that is not in a panel has no figure there; the table says why.",
)


ALT = "Bars: requests a second of servers in relation to aiohttpd, for each workload"
# The colors for light and for dark, by the reader's system.
LIGHT = "--ground: #ffffff; --text: #1f2328; --faint: #59636e; --ours: #0969da; --peer: #9aa7b4"
DARK = "--ground: #0d1117; --text: #f0f6fc; --faint: #9198a1; --ours: #4493f8; --peer: #656f7c"


@dataclass(frozen=True)
class Panel:
    """One workload: its title, and the rate of each server that can do it, the fastest first."""

    title: str
    rates: list[tuple[str, float]]

    @property
    def height(self) -> int:
        """Pixels."""
        return TITLE + STEP * len(self.rates) + 8


def panel_of(title: str, servers: dict[str, Any]) -> Panel:
    """The panel of a workload."""
    rates = [(name, found["rate"]) for name, found in servers.items() if "rate" in found]
    return Panel(title, sorted(rates, key=lambda item: -item[1]))


def text(x: float, y: float, content: str, *classes: str) -> str:
    """A text at a place."""
    kind = f' class="{" ".join(filter(None, classes))}"' if classes else ""
    return f'<text x="{x:g}" y="{y:g}"{kind}>{escape(content)}</text>'


def figure(number: float) -> str:
    """A ratio with the digits that it is worth."""
    return f"{number:.2f}" if number < 9.95 else f"{number:.1f}" if number < 99.5 else f"{number:,.0f}"


def draw(panel: Panel, left: float, top: float, width: float) -> Iterator[str]:
    """The elements of a panel."""
    ours = dict(panel.rates)["aiohttpd"]
    start, room = left + LABEL, width - LABEL - NUMBER
    scale = room / max(rate for _, rate in panel.rates)
    yield text(left, top + 14, panel.title, "title")
    for number, (name, rate) in enumerate(panel.rates):
        y = top + TITLE + STEP * number
        kind = "ours" if name == "aiohttpd" else "other" if name in OTHERS else "peer"
        yield text(start - 6, y + 9.5, name, "name", "strong" if kind == "ours" else "")
        length = max(rate * scale, 1)
        yield f'<rect class="{kind}" x="{start:g}" y="{y:g}" width="{length:.1f}" height="{BAR}" rx="2"/>'
        yield text(left + width, y + 9.5, figure(rate / ours), "number", "strong" if kind == "ours" else "")
    x = start + ours * scale
    yield f'<path class="one" d="M{x:.1f} {top + TITLE - 4:g}V{top + panel.height - 8:g}"/>'


def svg(panels: list[Panel]) -> str:
    """All panels in rows, but those without a figure of ours."""
    panels = [panel for panel in panels if "aiohttpd" in dict(panel.rates)]
    width = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    elements: list[str] = []
    top = float(MARGIN)
    for at in range(0, len(panels), COLUMNS):
        row = panels[at : at + COLUMNS]
        for number, panel in enumerate(row):
            elements += draw(panel, MARGIN + number * (width + GAP), top, width)
        top += max(panel.height for panel in row) + 10
    elements += [text(MARGIN, top + 8 + 16 * number, line, "note") for number, line in enumerate(NOTE)]
    height = top + FOOT
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}"
 viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{ALT}">
<style>
svg {{ {LIGHT} }}
@media (prefers-color-scheme: dark) {{ svg {{ {DARK} }} }}
text {{ font: 11px system-ui, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif; fill: var(--text) }}
.title {{ font-size: 13px; font-weight: 600 }}
.name, .number {{ text-anchor: end }}
.number, .note {{ fill: var(--faint) }}
.strong {{ font-weight: 600; fill: var(--text) }}
.ground {{ fill: var(--ground) }}
.ours {{ fill: var(--ours) }}
.peer {{ fill: var(--peer) }}
.other {{ fill: var(--ground); stroke: var(--peer) }}
.one {{ stroke: var(--ours); stroke-dasharray: 2 3; fill: none }}
</style>
<rect class="ground" width="{WIDTH}" height="{height:g}"/>
{chr(10).join(elements)}
</svg>
"""
