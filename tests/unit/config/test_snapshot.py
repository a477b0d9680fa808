"""The whole configuration: strict for people, tolerant for services."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.config import Source, parse_gateway
from crossdock.config.snapshot import parse_object, usable_gateway
from crossdock.errors import ConfigError


NODE = {"name": "main", "ae_title": "CROSSDOCK", "port": 11112, "accept": "any"}
FOLDER = {"name": "research", "type": "folder", "path": "/data/research"}
DICOM = {
    "name": "archive",
    "type": "dicom",
    "host": "127.0.0.1",
    "port": 104,
    "called_ae_title": "ARCHIVE",
}


def problems(document):
    with pytest.raises(ConfigError) as caught:
        parse_gateway(document)
    return {problem.field: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("document", "field", "said"),
    [
        ({"targets": [FOLDER, DICOM | {"port": 0}]}, "targets[1].port", "greater"),
        ({"targets": [{"name": "x"}]}, "targets[0].type", "is missing"),
        ({"targets": [{"name": "x", "type": "fax"}]}, "targets[0].type", "dicom"),
        ({"targets": [DICOM | {"folder": 1}]}, "targets[0].folder", "no such field"),
        ({"folder": {}}, "folder", "no such field"),
        ({"targets": [DICOM, DICOM]}, "targets[1].name", "there twice"),
        ({"store_nodes": [NODE, NODE | {"name": "b"}]}, "store_nodes[1].port", "'main'"),
        ({"store_nodes": [NODE | {"ae_title": "A\\B"}]}, "store_nodes[0].ae_title", "backslash"),
        ({"store_nodes": [{**NODE, "accept": None}]}, "store_nodes[0]", "who may send"),
        (
            {"store_nodes": [NODE | {"accept": None, "sources": [{"address": "10.0.0.300"}]}]},
            "store_nodes[0].sources[0].address",
            "not an address",
        ),
        ({"rules": [{"name": "r", "targets": ["x"]}]}, "rules[0].targets[0]", "no target 'x'"),
        (
            {"targets": [FOLDER], "rules": [{"name": "r", "targets": ["research"] * 2}]},
            "rules[0].targets",
            "named twice",
        ),
        ({"targets": [FOLDER | {"fallback": "x"}]}, "targets[0].fallback", "no target 'x'"),
        (
            {"targets": [FOLDER | {"fallback": "research"}]},
            "targets[0].fallback",
            "research → research",
        ),
        (
            {"targets": [FOLDER | {"fallback": "archive"}, DICOM | {"fallback": "research"}]},
            "targets[1].fallback",
            "archive → research → archive",
        ),
        (
            {
                "targets": [FOLDER | {"fallback": "archive"}, DICOM | {"direction": "query"}],
            },
            "targets[0].fallback",
            "queries only",
        ),
        (
            {
                "targets": [FOLDER],
                "rules": [{"name": "r", "targets": ["research"], "fallback": "research"}],
            },
            "rules[0].fallback",
            "one of the rule's targets",
        ),
        (None, "(document)", ""),
        ([], "(document)", ""),
    ],
)
def test_a_mistake_is_named_by_its_field(document, field, said):
    found = problems(document)
    assert said in found[field]


def test_every_mistake_is_named_at_once():
    found = problems({"targets": [DICOM | {"port": 0, "host": "a b"}], "rules": [{}]})
    assert {"targets[0].port", "targets[0].host", "rules[0].name", "rules[0].targets"} <= set(found)


@pytest.mark.parametrize("field", ["port", "host", "type"])
def test_an_object_by_itself_has_short_field_names(field):
    wrong = {key: value for key, value in DICOM.items() if key != field}
    with pytest.raises(ConfigError) as caught:
        parse_object("targets", wrong)
    assert caught.value.problems[0].field == field


def test_disabled_store_nodes_may_share_a_port():
    parse_gateway({"store_nodes": [NODE, NODE | {"name": "b", "enabled": False}]})


def test_a_service_uses_what_it_can_of_a_configuration():
    document = {
        "targets": [FOLDER, {"name": "new", "type": "carrier-pigeon"}],
        "store_nodes": None,
        "rules": [{"name": "r", "targets": ["new"]}],
        "profiles": [],
    }
    gateway = usable_gateway(document)
    assert [target.name for target in gateway.targets] == ["research"]
    assert [rule.name for rule in gateway.rules] == ["r"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*NODE, *DICOM, *FOLDER, "when", "targets", "rules", "sources", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    document=st.fixed_dictionaries(
        {},
        optional={
            "targets": st.lists(_JSON, max_size=2),
            "store_nodes": st.lists(_JSON, max_size=2),
            "rules": st.lists(_JSON, max_size=2) | _JSON,
        },
    )
    | _JSON
)
def test_anything_is_a_configuration_or_a_config_error(document):
    try:
        gateway = parse_gateway(document)
    except ConfigError as error:
        found = error.problems
    else:
        found = []
        assert parse_gateway(gateway.document()) == gateway
    assert all(problem.field and problem.message for problem in found)


_NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)


@settings(max_examples=100, deadline=None)
@given(
    names=st.lists(_NAME, min_size=1, max_size=4, unique=True),
    ports=st.lists(st.integers(1, 65535), min_size=4, max_size=4, unique=True),
    enabled=st.booleans(),
    text=st.text(max_size=20),
)
def test_a_configuration_survives_its_own_document(names, ports, enabled, text):
    whole = {
        "store_nodes": [
            NODE | {"name": name, "port": port, "enabled": enabled}
            for name, port in zip(names, ports, strict=False)
        ],
        "targets": [DICOM | {"name": name, "description": text} for name in names],
        "rules": [{"name": name, "targets": names} for name in names],
    }
    try:
        gateway = parse_gateway(whole)
    except ConfigError:
        assert any("\ud800" <= character <= "\udfff" for character in text)
        return
    assert parse_gateway(gateway.document()) == gateway
    assert usable_gateway(gateway.document()) == gateway


@pytest.mark.parametrize(
    ("network", "address", "matches"),
    [
        ("10.0.0.0/24", "10.0.0.7", True),
        ("10.0.0.0/24", "10.0.1.7", False),
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.7/24", "10.0.0.9", True),
        ("10.0.0.0/24", "::ffff:10.0.0.7", True),
        ("10.0.0.0/24", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        (None, "192.0.2.1", True),
    ],
)
def test_a_source_matches_its_network(network, address, matches):
    source = Source(ae_title="CT1", address=network)
    assert source.matches_address(address) is matches


@given(address=st.ip_addresses())
def test_any_address_can_be_asked_about(address):
    source = Source(address="10.0.0.0/8")
    inside = address.version == 4 and address in ipaddress.ip_network("10.0.0.0/8")
    mapped = address.version == 6 and address.ipv4_mapped is not None
    assert source.matches_address(str(address)) is inside or mapped


@pytest.mark.parametrize("host", ["pacs", "pacs_1.local", "10.0.0.1", "::1", "[::1]", "a.b.c."])
def test_hosts_of_every_kind_are_taken(host):
    assert parse_object("targets", DICOM | {"host": host})


@pytest.mark.parametrize("host", ["", " ", "a b", "-x", "http://x", "a:1", "x" * 300, "a/b"])
def test_what_is_no_host_is_refused(host):
    with pytest.raises(ConfigError):
        parse_object("targets", DICOM | {"host": host})


def test_deliveries_of_a_target_have_the_priorities_of_its_rules_and_of_whose_fallback_it_is():
    names = ("archive", "vault", "attic", "desk")
    following = {"archive": "vault", "vault": "attic"}
    targets = [FOLDER | {"name": name, "fallback": following.get(name)} for name in names]
    rules = [
        {"name": "a", "targets": ["archive"], "priority": "urgent", "fallback": "desk"},
        {"name": "b", "targets": ["vault"], "priority": "off-peak"},
        {"name": "c", "targets": ["desk"], "priority": "off-peak", "enabled": False},
    ]
    found = parse_gateway({"targets": targets, "rules": rules}).priorities()
    assert found == {
        "archive": {"normal", "urgent"},
        "vault": {"normal", "urgent", "off-peak"},
        "attic": {"normal", "urgent", "off-peak"},
        "desk": {"normal", "urgent"},
    }
