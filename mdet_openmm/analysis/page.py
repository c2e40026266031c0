"""The report as one HTML page that refers to nothing outside itself."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

GOOD, WARN, BAD, NEUTRAL = "good", "warn", "bad", "neutral"
WORST_FIRST = (BAD, WARN, NEUTRAL, GOOD)


@dataclass(frozen=True)
class Card:
    """One key number."""

    label: str
    value: str
    unit: str = ""
    detail: str = ""
    state: str = NEUTRAL


@dataclass(frozen=True)
class Verdict:
    """One judgement in a line."""

    state: str
    text: str


@dataclass(frozen=True)
class Plot:
    """One figure with what there is to see in it; `drawing` is HTML, None where there is nothing to draw."""

    title: str
    caption: str
    drawing: str | None
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table; `folded` hides it until the reader opens it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """Everything on the page, in its order."""

    title: str
    subtitle: str
    depiction: str | None
    facts: Sequence[tuple[str, str]]
    verdicts: Sequence[Verdict]
    cards: Sequence[Card]
    plots: Sequence[Plot]
    tables: Sequence[Table]
    notes: Sequence[str]
    footer: str


_STYLE = """
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--ink:#1d2330;--muted:#68707f;--grid:#e2e5ea;--blue:#2a6fdb;
--orange:#dd6220;--green:#12866a;--red:#c4343f;--amber:#a36a00}
@media(prefers-color-scheme:dark){:root{--page:#12151b;--card:#1b2029;--ink:#e6e9ef;--muted:#98a1b0;--grid:#303744;
--blue:#6ea3f7;--orange:#f28f52;--green:#3fbf9b;--red:#f0727b;--amber:#e0aa45}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 48px}
header{display:flex;gap:24px;align-items:center;margin-bottom:16px;background:var(--card);border:1px solid var(--grid);
border-left:8px solid var(--state);border-radius:12px;padding:14px 18px}
header .mol{flex:none;line-height:0}
header .mol svg{width:150px;height:auto}
header .state{display:flex;gap:10px;align-items:baseline;margin:8px 0 0;font-weight:600;color:var(--state)}
header.good,li.good{--state:var(--green)}header.warn,li.warn{--state:var(--amber)}
header.bad,li.bad{--state:var(--red)}header.neutral,li.neutral{--state:var(--muted)}
h1{font-size:30px;line-height:1.15;margin:0 0 2px;letter-spacing:-.01em}
h2{font-size:17px;margin:0 0 8px}
.sub{color:var(--muted);margin:0 0 8px}
.facts{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0;padding:0;list-style:none;font-size:13.5px}
.facts b{font-weight:500;color:var(--muted);margin-right:5px}
.verdicts{background:var(--card);border:1px solid var(--grid);border-radius:12px;padding:12px 18px;margin:0 0 16px;
list-style:none}
.verdicts li{display:flex;gap:10px;padding:3px 0;align-items:baseline}
.tag{flex:none;font-size:11px;font-weight:650;letter-spacing:.04em;text-transform:uppercase;border:1px solid;
border-radius:99px;padding:0 9px;min-width:82px;text-align:center;color:var(--state)}
.bad .tag{background:var(--red);border-color:var(--red);color:var(--card)}
.flag{white-space:nowrap}
.cards{display:flex;flex-wrap:wrap;gap:12px;margin:0 0 16px}
.card{background:var(--card);border:1px solid var(--grid);border-radius:12px;padding:12px 14px;
flex:1 1 calc(100%/var(--columns) - 12px);min-width:0}
.card .l{color:var(--muted);font-size:12.5px}
.card .v{display:flex;flex-wrap:wrap;align-items:baseline;column-gap:5px;font-size:23px;font-weight:600;
line-height:1.25;font-variant-numeric:tabular-nums}
.card .v small{font-size:14px;font-weight:400;color:var(--muted)}
.card .d{color:var(--muted);font-size:12.5px}
.card.good .v{color:var(--green)}.card.bad .v{color:var(--red)}.card.warn .v{color:var(--amber)}
.plots{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}
figure,.table{background:var(--card);border:1px solid var(--grid);border-radius:12px;padding:16px 18px;margin:0;
min-width:0}
figure.wide{grid-column:1/-1}
.movie{position:relative;height:270px}
.player{display:flex;gap:12px;align-items:center;color:var(--muted);font-size:13px}
.player input{flex:1}.player span{min-width:70px;text-align:right;font-variant-numeric:tabular-nums}
figure svg{display:block;width:100%;height:auto;overflow:visible}
figure svg text{font-family:inherit!important}
figcaption{color:var(--muted);font-size:13px;margin-top:8px}
.none{color:var(--muted);padding:18px 0}
.table{margin-top:16px;overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th{text-align:right;color:var(--muted);font-weight:500;padding:4px 10px;border-bottom:1px solid var(--grid)}
td{text-align:right;padding:4px 10px;border-bottom:1px solid var(--grid)}
th:first-child,td:first-child{text-align:left;padding-left:0}
tr:last-child td{border-bottom:0}
summary{cursor:pointer;font-weight:600;font-size:17px}
details table{margin-top:8px}
.notes{color:var(--muted);font-size:13.5px;margin:16px 0 0;padding-left:18px}
footer{color:var(--muted);font-size:12.5px;margin-top:22px}
@media(max-width:760px){.plots{grid-template-columns:minmax(0,1fr)}header{align-items:flex-start}
.card{flex-basis:150px}
header .mol svg{width:96px}.scroll{overflow-x:auto}.wide .scroll svg{min-width:700px}
h1{font-size:24px}}
@media print{body{background:#fff}figure,.card,.table{break-inside:avoid}}
"""

_TAGS = {GOOD: "good", WARN: "note", BAD: "problem", NEUTRAL: "open"}


def render(page: Page) -> str:
    """The page as HTML text; all strings are escaped except drawings. What is bad stands in the header, and first."""
    verdicts = sorted(page.verdicts, key=lambda verdict: WORST_FIRST.index(verdict.state))
    state = verdicts[0].state if verdicts else NEUTRAL
    alarm = "⚠ " if state == BAD else ""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{alarm}{escape(page.title)} – mdet-openmm</title><style>{_STYLE}</style></head><body><main>",
        f'<header class="{state}">',
        f'<div class="mol">{page.depiction}</div>' if page.depiction else "",
        f'<div><h1>{escape(page.title)}</h1><p class="sub">{escape(page.subtitle)}</p><ul class="facts">',
        *(f"<li><b>{escape(name)}</b>{escape(value)}</li>" for name, value in page.facts),
        f'</ul><p class="state">{escape(summary_of(verdicts))}</p></div></header>',
        '<ul class="verdicts">',
        *map(_line, verdicts),
        f'</ul><section class="cards" style="--columns:{_columns(len(page.cards))}">',
        *map(_card, page.cards),
        '</section><section class="plots">',
        *map(_plot, page.plots, layout([plot.wide for plot in page.plots])),
        "</section>",
        *map(_table, page.tables),
    ]
    if page.notes:
        parts += ['<ul class="notes">', *(f"<li>{_prose(note)}</li>" for note in page.notes), "</ul>"]
    parts += [f"<footer>{escape(page.footer)}</footer>", "</main></body></html>"]
    return "\n".join(part for part in parts if part) + "\n"


def _line(verdict: Verdict) -> str:
    tag = f'<span class="tag">{_TAGS[verdict.state]}</span>'
    return f'<li class="{verdict.state}">{tag}<span>{_prose(verdict.text)}</span></li>'


def summary_of(verdicts: Sequence[Verdict]) -> str:
    """The verdicts in a few words: how many of them are bad, to be noted, or open."""
    counts = {state: sum(verdict.state == state for verdict in verdicts) for state in WORST_FIRST}
    words = {BAD: "problem", WARN: "note", NEUTRAL: "open question"}
    found = [f"{n} {words[state]}{'s' * (n > 1)}" for state, n in counts.items() if n and state in words]
    if counts[BAD] or not counts[GOOD]:
        return ", ".join(found)
    return ", ".join(["no problem", *found])


def _prose(text: str) -> str:
    """Escaped, and no line broken within a flag such as --precision."""
    return re.sub(r"--[a-z-]+(?: [\w.]+\b)?", r'<span class="flag">\g<0></span>', escape(text))


def _columns(cards: int) -> int:
    """Tiles of a row: at most five, so that a value and its unit have room, and rows of much the same length."""
    rows = max(1, -(-cards // 5))
    return -(-cards // rows) or 1


def _card(card: Card) -> str:
    unit = f"<small>{escape(card.unit)}</small>" if card.unit else ""
    detail = f'<div class="d">{escape(card.detail)}</div>' if card.detail else ""
    return (
        f'<div class="card {card.state}"><div class="l">{escape(card.label)}</div>'
        f'<div class="v">{escape(card.value)}{unit}</div>{detail}</div>'
    )


def layout(wide: Sequence[bool]) -> list[bool]:
    """Whether each figure takes the whole width: halves stand in pairs, and one that is left over has it to itself."""
    whole: list[bool] = []
    waiting = False
    for i, own in enumerate(wide):
        last = i + 1 == len(wide) or wide[i + 1]
        whole.append(own or (last and not waiting))
        waiting = not whole[-1] and not waiting
    return whole


def _plot(plot: Plot, wide: bool) -> str:
    body = f'<div class="scroll">{plot.drawing}</div>' if plot.drawing else '<div class="none">Nothing to draw.</div>'
    caption = f"<figcaption>{_prose(plot.caption)}</figcaption>"
    return f'<figure class="{"wide" if wide else "half"}"><h2>{escape(plot.title)}</h2>{body}{caption}</figure>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    caption = f"<figcaption>{escape(table.caption)}</figcaption>" if table.caption else ""
    content = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{caption}"
    if table.folded:
        return f'<section class="table"><details><summary>{escape(table.title)}</summary>{content}</details></section>'
    return f'<section class="table"><h2>{escape(table.title)}</h2>{content}</section>'
