"""The page of a comparison, as a browser would take it apart."""

from html.parser import HTMLParser

import pytest

from fulcrum.features.errors import listed
from fulcrum.pipelines.comparison.cost import Cost
from fulcrum.pipelines.comparison.page import Facts, amount, render, sentences
from fulcrum.pipelines.comparison.seesaw import Gain, Seesaw, Standing
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
    return Standing((value,), (single,), (gain,), gain)


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
    return Seesaw("alone", (0,), tasks, {"alone": alone, **standings}, undefined)


@pytest.mark.parametrize(
    ("networks", "winner", "payers"),
    [
        (
            {"mmoe": (UP, UP)},
            "mmoe is the best on 2 of 2 tasks, most of all: click and like. It is clearly above "
            "single-task on click and like, clearly below on none, and gains +1.25 % on average "
            "over all tasks.",
            "No task paid for another: none falls clearly below its single-task network.",
        ),
        (
            {"mmoe": (FAR_UP, DOWN)},
            "mmoe is the best on 1 of 2 tasks, as many as alone but with a higher mean gain: click."
            " It is clearly above single-task on click, clearly below on like, and gains +0.62 %"
            " on average over all tasks.",
            "In mmoe, like paid for click.",
        ),
        (
            {"mmoe": (DOWN, DOWN), "ple": (DOWN, FLAT)},
            "alone is the best on 1 of 2 tasks, as many as ple but with a higher mean gain: click. "
            "No network that shares serves more.",
            "In ple, click fell and none rose; in mmoe, click and like fell and none rose.",
        ),
        (
            {"mmoe": (FLAT, FLAT)},
            "mmoe is the best on 2 of 2 tasks, most of all: click and like. It is clearly above "
            "single-task on none, clearly below on none, and gains +0.12 % on average over all "
            "tasks.",
            "No task paid for another: none falls clearly below its single-task network.",
        ),
    ],
)
def test_what_came_out_is_told_in_words(networks, winner, payers):
    assert sentences(seesaw(**networks))[:2] == [winner, payers]


def test_many_seesaws_are_counted():
    networks = seesaw(a=(FAR_UP, DOWN), b=(UP, DOWN), c=(FLAT, DOWN), d=(DOWN, DOWN), e=(UP, UP))
    assert sentences(networks)[1] == (
        "In a, like paid for click; in b, like paid for click; in c, like fell and none rose. "
        "Some task falls in 4 of 5 networks, most often like (4 times)."
    )


def test_chance_is_told():
    assert sentences(seesaw(mmoe=(UP, FLAT), ple=(DOWN, UP)))[2].startswith(
        "3 of 4 gains are clear"
    )


@pytest.fixture
def html(tmp_path):
    networks = seesaw(mmoe=(UP, DOWN), odd=(FLAT, Gain(0.0, None, None)))
    picture = save(seesaw_figure(["click"], {"mmoe": {}}), tmp_path / "a.svg")
    cost = Cost(tables=1200, dense=34, flops=1.5e6, scored=9e4, pace=0.5)
    facts = Facts(
        title="a & b",
        split="test",
        protocol={"rows": "test 12", "budget": "<b>"},
        settings=dict.fromkeys(networks.networks, "mmoe, static"),
        trained=dict.fromkeys(networks.networks, 1234.0),
        fronts=(["mmoe"], ["mmoe", "odd"]),
        runs={name: [("id-" + name, "http://server/#/" + name)] for name in networks.networks},
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
