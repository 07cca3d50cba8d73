"""The page of an analysis: one HTML file that needs nothing else."""

import base64
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from fulcrum.pipelines.ab.analysis import sentences
from fulcrum.pipelines.ab.analysis.facts import Facts

CAPTIONS = {
    "effects": "Difference to control by metric and arm; the numbers are in the table above",
    "over_time": "The effect as units came, with the band that holds at all looks together",
    "days": "The effect of each day with its interval, and the trend",
    "segments": "The effect by segment; the numbers are in the table below",
    "propensity": "Rows by the probability of their arm, and predicted against observed shares",
}


def render(facts: Facts, pictures: Mapping[str, Path]) -> str:
    """The whole page. `pictures` are PNG files by the names in `CAPTIONS`."""
    environment = Environment(
        loader=PackageLoader("fulcrum.pipelines", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": sentences.percent,
        "p": sentences.p,
        "said": sentences.said,
    }
    return environment.get_template("ab/analysis/page.html").render(
        facts=facts,
        number=sentences.number,
        level=sentences.level,
        captions=CAPTIONS,
        pictures={name: _inline(file) for name, file in pictures.items()},
    )


def _inline(picture: Path) -> str:
    """A PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
