"""The page of a comparison, as a browser would take it apart."""

from html.parser import HTMLParser

import pytest

from fulcrum.features.errors import listed
from fulcrum.pipelines.comparison.cost import Cost
from fulcrum.pipelines.comparison.fairness.selection import UNTUNED
from fulcrum.pipelines.comparison.gains import Gain
from fulcrum.pipelines.comparison.order import Order
from fulcrum.pipelines.comparison.page import Facts, amount, render
from fulcrum.pipelines.comparison.seesaw import Seesaw, Standing
from fulcrum.pipelines.comparison.sentences import sentences
from fulcrum.pipelines.figures.run import save
from fulcrum.pipelines.figures.run import seesaw as seesaw_figure

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Parsed(HTMLParser):
    """Text, links and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.loaded: list[str] = []
        self.classes: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attributes)
        self.loaded += [values[name] for name in ("src",) if name in values]
        self.classes += (values.get("class") or "").split()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words += data.split()


def standing(value: float, gain: Gain | None = None, single: float = 0.8) -> Standing:
    gain = gain or Gain(0.0, 0.0, 0.0)
    return Standing((value, value), (single, single), (gain.value, gain.value), gain)


FAR_UP = Gain(0.02, 0.01, 0.03)
UP, DOWN, FLAT = Gain(0.01, 0.005, 0.015), Gain(-0.01, -0.02, -0.005), Gain(0.001, -0.001, 0.003)


def seesaw(**networks: tuple[Gain, Gain]) -> Seesaw:
    """Two tasks; a network's gains on them are given."""
    standings = {
        name: {
            ("click", "auc"): standing(0.8 + a.value, a),
            ("like", "auc"): standing(0.8 + b.value, b),
        }
        for name, (a, b) in networks.items()
    }
    alone = {("click", "auc"): standing(0.8), ("like", "auc"): standing(0.8)}
    undefined = {(task, "grouped_auc"): "no groups" for task in ("click", "like")}
    tasks = {"click": "binary", "like": "binary"}
    gains = {
        n: Gain(100 * (a.value + b.value) / 2 / 0.8, None, None) for n, (a, b) in networks.items()
    }
    gains["alone"] = Gain(0.0, 0.0, 0.0)
    by_gain = sorted(gains, key=lambda name: -gains[name].value)
    ranks = {name: (place, place) for place, name in enumerate(by_gain, 1)}
    order = Order({name: gains[name] for name in by_gain}, ranks, ("click", "like"))
    everyone = {"alone": alone, **standings}
    return Seesaw("alone", (0, 1), tasks, everyone, undefined, order, {"like": 12})


@pytest.mark.parametrize(
    ("networks", "told"),
    [
        ({"mmoe": (UP, UP)}, "No task clearly falls in any network."),
        ({"mmoe": (FAR_UP, DOWN)}, "In mmoe, like paid for click."),
        (
            {"mmoe": (FLAT, FLAT)},
            "No task clearly rises or falls in any network against single-task.",
        ),
        (
            {"ple": (DOWN, FLAT), "mmoe": (DOWN, DOWN)},
            "In ple, click fell and none rose; in mmoe, click and like fell and none rose.",
        ),
        (
            {"a": (FAR_UP, DOWN), "b": (UP, DOWN), "c": (FLAT, DOWN), "d": (DOWN, DOWN)},
            "In a, like paid for click; in b, like paid for click; in c, like fell and none rose. "
            "Some task falls in 4 of 4 networks, most often like (4 times).",
        ),
    ],
)
def test_who_paid_is_told_in_words(networks, told):
    assert sentences(seesaw(**networks), {}, UNTUNED)[-3] == told


def test_the_first_is_named_and_what_is_not_fair():
    told = sentences(seesaw(mmoe=(UP, FLAT)), {"mmoe": "not annealed"}, UNTUNED)
    first, *_, unfair, trials, chance = told
    assert first == "mmoe is first: its mean gain, +0.69 %, is clearly above all others."
    assert unfair.startswith("mmoe was judged before its learning rates had run down")
    assert trials == UNTUNED
    assert chance.startswith("1 of 2 gains are marked.") and chance.endswith("mean gain: like.")


@pytest.fixture
def html(tmp_path):
    networks = seesaw(mmoe=(UP, DOWN), odd=(FLAT, Gain(0.0, None, None)))
    picture = save(seesaw_figure(["click"], {"mmoe": {}}, 0.1), tmp_path / "a.svg")
    cost = Cost(tables=1200, dense=34, flops=1.5e6, scored=9e4, pace=0.5)
    facts = Facts(
        title="a & b",
        split="test",
        protocol={"rows": "test 12", "budget": "<b>"},
        settings=dict.fromkeys(networks.networks, "mmoe, static"),
        trained=dict.fromkeys(networks.networks, 1234.0),
        fronts=(["mmoe"], ["mmoe", "odd"]),
        runs={name: [("id-" + name, "http://server/#/" + name)] * 2 for name in networks.networks},
        notes={"mmoe": "not annealed"},
        trials=UNTUNED,
    )
    costs = dict.fromkeys(networks.networks, cost)
    return render(networks, [], costs, facts, {"seesaw": picture, "front": picture})


def test_the_page_is_whole_and_needs_nothing_else(html):
    page = Parsed(html)
    assert page.open == []
    assert page.loaded and all(source.startswith("data:") for source in page.loaded)
    assert "<b>" not in html and "&lt;b&gt;" in html
    assert {"nan", "None", "inf"}.isdisjoint(page.words)
    for word in ("0.8100", "[+0.0050,", "1.2", "k", "1.5", "M", "0.50", "id-mmoe"):
        assert word in page.words


def test_falls_are_red_and_the_best_is_bold(html):
    classes = Parsed(html).classes
    assert classes.count("rise") == classes.count("fall") == 1
    assert html.count("▲") == html.count("▼") == 1


def test_what_has_no_meaning_says_why(html):
    """Second metric of two tasks, three networks."""
    assert html.count("no groups") == 3 * 2


def test_numbers_as_people_read_them():
    assert [amount(v) for v in (0.5, 999, 1500, 2.34e6, 5e9)] == [
        "0.5",
        "999",
        "1.5 k",
        "2.34 M",
        "5 G",
    ]
    assert [listed(w) for w in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
