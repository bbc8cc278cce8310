"""Who a client is: addresses that one client can choose among have one name."""

import pytest

from stages.serving.clients import LOCAL, client_at


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", LOCAL),
        ("127.9.8.7", LOCAL),
        ("::1", LOCAL),
        ("::ffff:127.0.0.2", LOCAL),
        ("unknown", "unknown"),
    ],
)
def test_addresses_of_one_client_have_one_name(address, name):
    assert client_at(address) == name
