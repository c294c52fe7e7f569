import fnmatch

from tests.conformance.catalog import CLIENTS, SCRIPTS, SECTIONS
from tests.conformance.limits import LIMITS


def test_scripts_are_there():
    assert [client.name for client in CLIENTS.values() if not (SCRIPTS / client.script).is_file()] == []


def test_each_client_stands_in_one_table():
    shown = [name for _, names in SECTIONS for name in names]
    assert sorted(shown) == sorted(CLIENTS)


def test_limits_are_of_clients_that_there_are():
    assert [limit for limit in LIMITS if not fnmatch.filter(CLIENTS, limit.clients)] == []
