import fnmatch

from tests.conformance.catalog import CLIENTS, SCRIPTS, SECTIONS, WAYS
from tests.conformance.limits import LIMITS


def test_scripts_are_there():
    assert [client.name for client in CLIENTS.values() if not (SCRIPTS / client.script).is_file()] == []


def test_each_client_and_each_way_stands_in_one_table():
    shown = [name for section in SECTIONS for name in section.runs]
    assert sorted(shown) == sorted([*CLIENTS, *(way.name for way in WAYS)])


def test_ways_are_those_of_clients_that_there_are():
    assert [way.name for way in WAYS if not set(way.clients) <= set(CLIENTS)] == []


def test_limits_are_of_clients_that_there_are():
    assert [limit for limit in LIMITS if not fnmatch.filter(CLIENTS, limit.clients)] == []
