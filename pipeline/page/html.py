"""The page: figures into a template that escapes, charts drawn by Vega-Lite, its runtime inside.

One file that needs no network. Its policy lets nothing run but our two scripts, named by digest.
"""

import base64
import hashlib
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from pipeline.config import BAND_DAYS, Config
from pipeline.page.figures import Rows
from pipeline.storage.sql import statements

HERE = Path(__file__).parent
LONGEST_TEXT = 160
NUMBERS = ("count", "share", "probability", "fine", "seconds", "bytes")  # set to the right
SECTIONS = (
    ("days", "By day"),
    ("popularity", "By popularity"),
    ("probabilities", "Probabilities"),
    ("calibration", "Calibration"),
    ("worth", "The model"),
    ("removals", "Removals"),
    ("keeps", "Keeps"),
    ("quarantine", "Quarantine"),
    ("times", "Times"),
)


def render(figures: dict[str, Rows], config: Config, first: date, last: date) -> bytes:
    """The page on the dates from `first` to `last`, as UTF-8; of equal figures, equal bytes."""
    demands = {name: _demand(text) for name, text in statements("gates").items()}
    gates = [{**row, "demand": demands[row["gate"]]} for row in figures["gates"]]
    runtime = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub lacks a default
    scripts = [runtime, (HERE / "page.js").read_text()]
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            **{**figures, "gates": gates},
            title=_title(first, last),
            sections=SECTIONS,
            gate=config.gate,
            band_days=BAND_DAYS,
            charts=_charts(figures),
            style=Markup((HERE / "page.css").read_text()),  # noqa: S704 - our own files
            scripts=[_inline(script) for script in scripts],
            script_hashes=Markup(" ".join(_digest(script) for script in scripts)),  # noqa: S704
        )
    )
    return page.encode()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"day": _day, "short": _short, "span": _span}
    environment.globals["numbers"] = NUMBERS
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "default": _plain}
    return environment


def _charts(figures: dict[str, Rows]) -> dict[str, Any]:
    """Name -> Vega-Lite specification with its data; those without data are left out."""
    specs = {}
    for file in sorted((HERE / "charts").glob("*.json")):
        spec = json.loads(file.read_text())
        rows = figures[file.stem]
        spec["datasets"] = {name: figures[name] for name in spec["datasets"]}
        if isinstance(spec["height"], dict):  # of each row; Vega-Lite itself fits no such width
            spec["height"] = spec["height"]["step"] * len(rows)
        if rows:
            specs[file.stem] = spec
    return specs


def _inline(script: str) -> Markup:
    """Our own script, to stand in the page as it is."""
    assert "</script" not in script.lower()
    assert "<!--" not in script
    return Markup(script)  # noqa: S704


def _digest(script: str) -> str:
    """Name of a script in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _demand(gate: str) -> str:
    return gate.splitlines()[0].removeprefix("--").strip()


def _title(first: date, last: date) -> str:
    return f"Night of {_day(last)}" if first == last else f"{_day(first)} to {_day(last)}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _short(text: Any) -> str:
    """At most `LONGEST_TEXT` characters, those that do not print replaced."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return printable if len(printable) <= LONGEST_TEXT else printable[: LONGEST_TEXT - 1] + "…"


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _plain(value: Any) -> str:
    assert isinstance(value, date | datetime)
    return value.isoformat()
