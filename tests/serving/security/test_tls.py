"""Keys of an encrypted port: what is read, and what is refused before a port opens."""

from __future__ import annotations

import contextlib
import ssl
import time
from datetime import timedelta

import pytest
from certificates import dates, self_signed, ssl_config, with_passphrase

from serving.errors import InvalidArgument
from serving.server.security import tls


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return [self_signed(folder, name) for name in ("localhost", "client")]


@pytest.fixture
def config(tmp_path, pairs):
    """Writes a config of the first pair with some fields changed, and reads it."""

    def read(**fields):
        fields = {"server_key": pairs[0].key, "server_cert": pairs[0].cert, **fields}
        return tls.read(ssl_config(tmp_path / "ssl.config", **fields))

    return read


def shake_hands(server, client):
    """Both sides of a TLS handshake, in memory; returns the client's side. Raises SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return sides[0]


def trusting(pair):
    return ssl.create_default_context(cadata=pair.cert)


def test_what_is_read_encrypts(config, pairs):
    keys = config()
    assert (keys.server_key, keys.client_verify) == (pairs[0].key.encode(), False)
    assert shake_hands(tls.context(keys), trusting(pairs[0])).version() == "TLSv1.3"


def test_clients_must_show_a_certificate_if_asked_to(config, pairs):
    context = tls.context(config(custom_ca=pairs[1].cert, client_verify=True))
    client = trusting(pairs[0])
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(context, client)
    client.load_cert_chain(pairs[1].cert_file, pairs[1].key_file)
    assert shake_hands(context, client).version() == "TLSv1.3"


def test_remarks_between_certificates_may_be_in_any_language(config, pairs):
    tls.context(config(custom_ca=f"# für Gäste\n{pairs[1].cert}"))


def test_what_cannot_be_used_is_told(config, pairs):
    cut = pairs[0].cert[:200] + pairs[0].cert[300:]
    for fields, text in [
        ({"server_key": pairs[1].key}, "server_key is not the key of server_cert"),
        ({"server_cert": pairs[1].cert}, "server_key is not the key of server_cert"),
        ({"server_cert": cut}, "server_cert is damaged"),
        ({"server_key": pairs[0].key[:60] + pairs[0].key[90:]}, "server_key is damaged"),
        ({"server_key": with_passphrase(pairs[0], "secret")}, "under a passphrase"),
        ({"server_key": "/etc/ssl/server.key"}, "not the name of a file. Received: '/etc/ssl/server.key'"),
        ({"server_cert": ""}, "server_cert must be PEM text itself"),
        ({"server_cert": pairs[0].key}, "server_cert must be PEM text itself"),
        ({"client_verify": True}, "custom_ca must be PEM text itself"),
        ({"custom_ca": cut}, "custom_ca is damaged"),
        ({"server_keys": "x"}, "Error parsing text-format tensorflow.serving.SSLConfig"),
        ({"server_keys": "x"}, '"tensorflow.serving.SSLConfig" has no field named "server_keys"'),
    ]:
        with pytest.raises(InvalidArgument) as caught:
            config(**fields)
        assert text in caught.value.message
        assert "\n" not in caught.value.message


def test_a_file_that_is_not_there_or_not_text_is_told(tmp_path):
    (tmp_path / "der").write_bytes(b"\x30\x82\xff")
    for name, text in (("none", "No such file"), ("der", "Error parsing text-format")):
        with pytest.raises(InvalidArgument, match=text):
            tls.read(tmp_path / name)


def test_dates_are_those_that_openssl_tells(pairs):
    told = dict(line.split("=") for line in dates(pairs[0]).splitlines())
    begin, end = tls.validity(pairs[0].cert)
    assert begin.timestamp() == ssl.cert_time_to_seconds(told["notBefore"])
    assert end.timestamp() == ssl.cert_time_to_seconds(told["notAfter"])
    assert begin.timestamp() <= time.time() < end.timestamp()


def test_dates_after_2049_are_read(tmp_path):
    assert tls.validity(self_signed(tmp_path, days=365 * 40).cert)[1].year >= 2065


def test_a_certificate_out_of_date_is_told(pairs):
    begin, end = tls.validity(pairs[0].cert)
    day = timedelta(days=1)
    assert tls.date_problem(pairs[0].cert, begin + day) == ""
    assert "expired" in tls.date_problem(pairs[0].cert, end + day)
    assert "valid from" in tls.date_problem(pairs[0].cert, begin - day)
