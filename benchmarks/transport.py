"""What a gRPC call costs in the server's process: our HTTP/2 transport against grpcio's, both echoing raw bytes.

Needs h2load (Debian: nghttp2-client), a load generator in C, so that the client does not take the server's share of the CPU.
`python -m benchmarks.transport`; with a kind of server as argument it is such a server.
"""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import tempfile
from concurrent import futures

from benchmarks import report

PATH = "/benchmark.Echo/Echo"
# Bytes of a request, connections, calls at once on each, requests for our transport and for grpcio.
LOADS = [(3_000, 4, 8, 40_000, 6_000), (3_000, 32, 1, 20_000, 6_000), (602_112, 4, 2, 600, 600)]


def start_http2() -> str:
    from serving.server import calls, memory
    from serving.server.transports import Options
    from serving.server.transports.http2 import Http2Transport

    with memory.loading():
        pass  # afterwards freed blocks are kept for the next request, as in a server with models
    echo = calls.Unary(PATH, lambda request, call, reply: reply(request))
    transport = Http2Transport(calls.by_path([echo]), ["127.0.0.1:0"], Options())
    transport.start()
    return transport.addresses[0]


def start_grpcio() -> str:
    import grpc

    from serving.server import memory

    with memory.loading():
        pass  # afterwards freed blocks are kept for the next request, as in a server with models
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(lambda request, context: request)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmark.Echo", handlers),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    globals()["kept"] = server
    return address


def serve(kind: str) -> None:
    """Tells its address, then its CPU seconds for each line that it reads."""
    print({"http2": start_http2, "grpcio": start_grpcio}[kind](), flush=True)
    for _ in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_utime + used.ru_stime, flush=True)
    os._exit(0)


class Process:
    """A server of a kind."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, "-m", "benchmarks.transport", kind]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = self.ask("")

    def ask(self, line: str) -> str:
        print(line, end="", file=self.process.stdin, flush=True)
        return next(iter(self.process.stdout or [])).strip()

    def cost(self, body: str, connections: int, streams: int, requests: int) -> float:
        """CPU seconds of the server for a request; a tenth of the load comes before, to warm up."""
        load(self.address, body, connections, streams, requests // 10)
        before = float(self.ask("\n"))
        load(self.address, body, connections, streams, requests)
        return (float(self.ask("\n")) - before) / requests

    def stop(self) -> None:
        self.process.communicate()


def load(address: str, body: str, connections: int, streams: int, requests: int) -> None:
    command = ["h2load", "-n", requests, "-c", connections, "-m", streams, "-w", 24, "-W", 26, "-d", body]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{address}{PATH}"]
    told = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout
    if f" {requests} succeeded, 0 failed" not in told:
        sys.exit(f"h2load did not get its answers:\n{told}")


def main() -> None:
    rows: list[dict[str, object]] = []
    for size, connections, streams, *requests in LOADS:
        with tempfile.NamedTemporaryFile() as body:
            body.write(struct.pack(">BI", 0, size) + os.urandom(size))
            body.flush()
            costs = []
            for kind, count in zip(("http2", "grpcio"), requests, strict=True):
                server = Process(kind)
                costs.append(server.cost(body.name, connections, streams, count) * 1e6)
                server.stop()
        rows.append(
            {
                "request bytes": size,
                "connections": connections,
                "calls at once on each": streams,
                "http2, CPU us": round(costs[0], 1),
                "grpcio, CPU us": round(costs[1], 1),
                "grpcio / http2": round(costs[1] / costs[0], 1),
            }
        )
    print(report.write("transport", "Server CPU of an echoed gRPC call", rows))


if __name__ == "__main__":
    serve(sys.argv[1]) if len(sys.argv) > 1 else main()
