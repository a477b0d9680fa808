"""Rules decide per instance, several at once, each target once."""

from hypothesis import given
from hypothesis import strategies as st

from crossdock.config import parse_gateway
from receiver.routing import Rules


TARGETS = ("a", "b", "c")


def _rules(*rules: dict[str, object]) -> Rules:
    targets = [{"name": name, "type": "folder", "path": "/x"} for name in TARGETS]
    nodes = [
        {"name": "n1", "ae_title": "X", "port": 1104, "accept": "any"},
        {"name": "n2", "ae_title": "Y", "port": 1105, "accept": "any"},
    ]
    named = [{"name": f"r{index}", **rule} for index, rule in enumerate(rules)]
    return Rules(parse_gateway({"store_nodes": nodes, "targets": targets, "rules": named}))


def test_several_rules_and_targets_give_each_target_each_instance_once() -> None:
    rules = _rules({"targets": ["a", "b"]}, {"targets": ["b"]}, {"targets": ["b", "c"]})
    routing = rules.route("n1", [(1, {}), (2, {})])
    assert {name: wanted.numbers for name, wanted in routing.wanted.items()} == {
        "a": [1, 2],
        "b": [1, 2],
        "c": [1, 2],
    }
    assert routing.wanted["b"].rules == ["r0", "r1", "r2"]
    assert routing.unwanted == []


def test_a_condition_chooses_among_the_instances_of_one_parcel() -> None:
    rules = _rules({"when": '"LOCALIZER" not in ImageType', "targets": ["a"]})
    routing = rules.route(
        "n1", [(1, {"ImageType": "ORIGINAL\\PRIMARY\\LOCALIZER"}), (2, {"ImageType": "ORIGINAL"})]
    )
    assert routing.wanted["a"].numbers == [2]
    assert routing.unwanted == [1]


def test_a_rule_for_one_store_node_says_nothing_of_others() -> None:
    rules = _rules({"store_nodes": ["n2"], "targets": ["a"]})
    assert rules.route("n1", [(1, {})]).unwanted == [1]
    assert rules.route("n2", [(1, {})]).wanted["a"].numbers == [1]
    assert "no enabled rule applies" in rules.explain("n1")
    assert "r0" in rules.explain("n2")


def test_a_disabled_rule_wants_nothing() -> None:
    assert _rules({"enabled": False, "targets": ["a"]}).route("n1", [(1, {})]).wanted == {}


def test_only_the_keywords_that_rules_look_at_are_asked_for() -> None:
    rules = _rules(
        {"when": 'Modality == "CT" and calling_ae_title == "CT1"', "targets": ["a"]},
        {"when": 'StationName == "X"', "store_nodes": ["n2"], "targets": ["b"]},
    )
    assert rules.keywords("n1") == {"Modality"}
    assert rules.keywords("n2") == {"Modality", "StationName"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["CT", "MR", "OT"]), st.sets(st.sampled_from(TARGETS), min_size=1)
        ),
        max_size=5,
    ),
    st.lists(st.sampled_from(["CT", "MR", "SR", ""]), max_size=8),
)
def test_every_instance_goes_to_the_union_of_its_rules_or_is_unwanted(
    rules: list[tuple[str, set[str]]], modalities: list[str]
) -> None:
    compiled = _rules(
        *({"when": f'Modality == "{m}"', "targets": sorted(targets)} for m, targets in rules)
    )
    routing = compiled.route("n1", [(n, {"Modality": m}) for n, m in enumerate(modalities, 1)])
    for number, modality in enumerate(modalities, 1):
        expected = set().union(*(targets for m, targets in rules if m == modality))
        got = {name for name, wanted in routing.wanted.items() if number in wanted.numbers}
        assert got == expected
        assert (number in routing.unwanted) == (not expected)
    assert all(len(set(w.numbers)) == len(w.numbers) for w in routing.wanted.values())


def test_of_the_rules_that_want_something_for_a_target_the_most_urgent_says_how_urgent_it_is() -> (
    None
):
    rules = _rules(
        {"targets": ["a", "b", "c"], "priority": "off-peak"},
        {"targets": ["b", "a"], "when": 'Modality == "CT"'},
        {"targets": ["a"], "when": 'StudyDescription == "STROKE"', "priority": "urgent"},
    )
    stroke = {"Modality": "CT", "StudyDescription": "STROKE"}
    wanted = rules.route("n1", [(1, stroke), (2, {"Modality": "MR"})]).wanted
    assert {name: each.priority for name, each in wanted.items()} == {
        "a": "urgent",
        "b": "normal",
        "c": "off-peak",
    }
    calm = rules.route("n1", [(1, {"Modality": "MR", "StudyDescription": "KNEE"})]).wanted
    assert {each.priority for each in calm.values()} == {"off-peak"}


def test_the_fallback_of_the_first_rule_with_one_counts() -> None:
    rules = _rules(
        {"targets": ["a"]},
        {"targets": ["a"], "fallback": "b", "when": 'Modality == "CT"'},
        {"targets": ["a"], "fallback": "c"},
    )
    assert rules.route("n1", [(1, {"Modality": "CT"})]).wanted["a"].fallback == "b"
    assert rules.route("n1", [(1, {"Modality": "MR"})]).wanted["a"].fallback == "c"
