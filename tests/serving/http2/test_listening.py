"""Addresses, TLS, and gRPC's channel arguments."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import grpc
import pytest
from http2_support import Services, answers, channel, running

from serving import errors
from serving.server.transports import Options, Tls
from serving.server.transports.http2 import Http2Transport, frames
from serving.server.transports.http2.frames import Setting
from serving.server.transports.http2.listening import peer_name, split


def test_a_unix_socket_answers_and_leaves_no_file(tmp_path):
    path = tmp_path / "grpc.sock"
    with running(addresses=(f"unix:{path}",)) as server:
        assert server.address == f"unix:{path}"
        assert answers(server.address)
        assert answers(f"unix://{path}")
        assert server.services.calls[0].peer == "unix:"
    assert not path.exists()


def test_the_file_of_a_killed_server_is_taken_over(tmp_path):
    path = tmp_path / "grpc.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with running(addresses=(f"unix://{path}",)) as server:
        assert answers(server.address)


@pytest.mark.parametrize("unix", [True, False])
def test_a_taken_address_is_told_at_once(tmp_path, unix):
    with running(addresses=(f"unix:{tmp_path}/s" if unix else "127.0.0.1:0",)) as server:
        with pytest.raises(errors.Unavailable) as caught:
            Http2Transport({}, [server.address], Options())
        assert caught.value.message == (
            f"Cannot listen on {server.address} for gRPC: the port is taken or not allowed."
        )
        assert answers(server.address)


def test_a_port_is_given_back_when_a_later_address_fails():
    with running() as server:
        free = Http2Transport({}, ["127.0.0.1:0"], Options())
        free.stop(0)
        with pytest.raises(errors.Unavailable):
            Http2Transport({}, [free.addresses[0], server.address], Options())
        Http2Transport({}, [free.addresses[0]], Options()).stop(0)


def test_a_port_that_was_just_used_is_free_again():
    with running() as server:
        assert answers(server.address)
    with running(addresses=(server.address,)) as again:
        assert answers(again.address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::]", "0.0.0.0"])
def test_hosts_are_understood(host):
    with running(addresses=(f"{host}:0",)) as server:
        name, _, port = server.address.rpartition(":")
        assert name == host
        assert answers(f"{host}:{port}")


def test_all_interfaces_means_both_families():
    with running(addresses=("0.0.0.0:0",)) as server:
        port = server.address.rpartition(":")[2]
        assert answers(f"127.0.0.1:{port}")
        assert answers(f"[::1]:{port}")
        assert server.services.calls[0].peer.startswith("127.0.0.1:")


@pytest.mark.parametrize("address", ["8500", "host:", "host:http", "host:70000", "host:-1"])
def test_a_wrong_address_is_told(address):
    with pytest.raises(errors.InvalidArgument, match="expected HOST:PORT"):
        split(address)


def test_an_address_of_another_machine_is_told():
    with pytest.raises(errors.Unavailable, match="Cannot listen on 192.0.2.1:0 for gRPC"):
        Http2Transport({}, ["192.0.2.1:0"], Options())


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 1), "127.0.0.1:1"),
        (("::1", 2, 0, 0), "[::1]:2"),
        (("::ffff:10.0.0.1", 3, 0, 0), "10.0.0.1:3"),
        ("", "unix:"),
    ],
)
def test_peers_are_named_as_grpc_does(address, name):
    assert peer_name(address) == name


def test_clients_may_connect_before_the_start():
    services = Services()
    transport = Http2Transport(services.methods(), ["127.0.0.1:0"], Options())
    with channel(transport.addresses[0]) as connected:
        future = connected.unary_unary("/test.S/Echo").future(b"early", wait_for_ready=True)
        transport.start()
        assert future.result(timeout=20) == b"early"
    transport.stop(0)


def test_channel_arguments_are_understood_or_warned_of(caplog):
    arguments = [
        ("grpc.max_concurrent_streams", 7),
        ("grpc.max_receive_message_length", 1000),
        ("grpc.so_reuseport", 1),
        ("grpc.colour", 3),
        ("grpc.max_metadata_size", "much"),
    ]
    with running(Options(channel_arguments=arguments)) as server:
        assert [record.args[0] for record in caplog.records] == ["grpc.colour", "grpc.max_metadata_size"]
        with running(Options(channel_arguments=[("grpc.so_reuseport", 1)]), addresses=(server.address,)):
            pass
        with server.client() as raw:
            settings = dict(frames.SETTING.iter_unpack(raw.until(frames.SETTINGS)[3]))
            assert settings[Setting.MAX_CONCURRENT_STREAMS] == 7
            raw.call(1, bytes(1001))
            assert raw.answer(1)[0]["grpc-status"] == "8"


# TLS.


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """A certificate authority, and what it signed for the server and for a client."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for name in ("server", "client"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    return folder


def encrypted(keys: Path, *, client_verify: bool = False) -> Options:
    read = {name: (keys / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem")}
    return Options(tls=Tls(read["server.key"], read["server.pem"], read["ca.pem"], client_verify))


def secure(address: str, keys: Path, *, own: bool) -> grpc.Channel:
    files = [(keys / name).read_bytes() for name in (("ca.pem", "client.key", "client.pem") if own else ("ca.pem",))]
    return grpc.secure_channel(
        address, grpc.ssl_channel_credentials(*files), options=[("grpc.max_receive_message_length", -1)]
    )


@pytest.mark.parametrize("size", [0, 3000, 5_000_000])
def test_an_encrypted_port_answers(keys, size):
    options = encrypted(keys)
    with running(options, addresses=("localhost:0",)) as server, secure(server.address, keys, own=False) as connected:
        assert connected.unary_unary("/test.S/Echo")(bytes(size), timeout=30) == bytes(size)


def test_clients_must_show_a_certificate_where_asked(keys):
    with running(encrypted(keys, client_verify=True), addresses=("localhost:0",)) as server:
        with secure(server.address, keys, own=False) as stranger, pytest.raises(grpc.RpcError) as caught:
            stranger.unary_unary("/test.S/Echo")(b"x", timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        with secure(server.address, keys, own=True) as known:
            assert known.unary_unary("/test.S/Echo")(b"x", timeout=20) == b"x"


@pytest.mark.parametrize("protocols", [[], ["http/1.1"]])
def test_clients_must_want_http_2(keys, protocols):
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    if protocols:
        context.set_alpn_protocols(protocols)
    with running(encrypted(keys), addresses=("localhost:0",)) as server:
        plain = socket.create_connection(server.place, timeout=20)
        with plain, context.wrap_socket(plain, server_hostname="localhost") as connection:
            try:
                received = connection.recv(100)
            except (ssl.SSLError, ConnectionError):
                received = b""
            assert received == b""


def test_plain_text_on_an_encrypted_port_is_hung_up_on(keys):
    with running(encrypted(keys), addresses=("localhost:0",)) as server:
        with server.client() as raw:
            while raw.socket.recv(100):
                pass
        with secure(server.address, keys, own=False) as connected:
            assert connected.unary_unary("/test.S/Echo")(b"x", timeout=20) == b"x"


@pytest.mark.parametrize(("key", "cert"), [(b"", b""), (b"no key", b"no certificate")])
def test_useless_keys_are_told(key, cert):
    with pytest.raises(errors.InvalidArgument, match="TLS: server_cert is damaged"):
        Http2Transport({}, ["127.0.0.1:0"], Options(tls=Tls(key, cert)))
