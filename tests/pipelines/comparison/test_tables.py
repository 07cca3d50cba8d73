"""Tables of comparisons, as a terminal shows them."""

from fulcrum.pipelines.comparison import tables
from fulcrum.pipelines.comparison.balance import Balance
from fulcrum.pipelines.comparison.gains import Gain
from fulcrum.pipelines.comparison.order import Order
from fulcrum.pipelines.comparison.seesaw import Seesaw
from tests.pipelines.comparison.test_affinity import GROUPING
from tests.pipelines.comparison.test_page import DOWN, FLAT, UP, seesaw, standing
from tests.pipelines.runs.test_tables import lines

ORDER = Order({"upgrad": Gain(1.25, None, None)}, {"upgrad": (1, 1), "static": (2, 2)}, ("click",))


def test_networks_stand_by_their_mean_gain_with_the_interval_below():
    rows = lines(tables.gains(seesaw(ple=(DOWN, DOWN), mmoe=(UP, FLAT))))
    networks = [row[0] for row in rows if row[0] in ("mmoe", "ple", "alone")]
    assert networks == ["mmoe", "alone", "ple"]
    place = next(i for i, row in enumerate(rows) if row[0] == "mmoe")
    assert rows[place][-2:] == ["0.8100", "0.8010"]
    assert " ".join(rows[place + 1]) == "+0.0100 [+0.0050, +0.0150] +0.0010 [-0.0010, +0.0030]"


def test_weightings_stand_below_their_control_with_the_time_of_a_step():
    key = ("click", "auc")
    standings = {"static": {key: standing(0.8)}, "upgrad": {key: standing(0.81, UP)}}
    whole = Seesaw("static", (0, 1), {"click": "binary"}, standings, {}, ORDER, {})
    rows = lines(tables.balance(Balance("mmoe", whole, {"static": 1.0, "upgrad": None})))
    assert ["static", "control", "1.00", "x", "0.8000"] in rows
    assert ["upgrad", "+1.25", "%", "-", "0.8100"] in rows
    sentence = "upgrad: click rises and no task clearly pays; it was not timed."
    assert " ".join(rows[-1]) == sentence


def test_groups_have_their_mean_cosines_and_a_dash_where_there_is_none():
    rows = lines(tables.groups(GROUPING))
    assert ["1", "a,", "c", "+0.90", "-0.50"] in rows
    assert ["2", "b", "-", "-0.50"] in rows


def test_a_gain_has_its_sign_and_its_interval_where_there_is_one():
    assert tables.signed(UP, "auc") == "+0.0100 [+0.0050, +0.0150]"
    assert tables.signed(Gain(-0.5, None, None), "rmse") == "-0.500"
