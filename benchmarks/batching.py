"""What batching costs a request, and how long requests wait for it at 70 % load.

python -m benchmarks.batching
"""

from __future__ import annotations

import hashlib
import random
import statistics
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np

from benchmarks import report
from serving.server.batching import ADAPTIVE, ALONE, Batcher, Parameters
from serving.server.calls import Call

ROUNDS = 7
CALL = Call()
PICTURE = np.zeros((1, 28, 28, 1), np.float32)
SLOTS = 2
SECONDS = 0.002  # of a simulated call
LOAD = 0.7

Submit = Callable[[Callable[[object], None]], None]


def small_model(images):
    """About 0.2 ms, as a LeNet's call at batch 1, without the interpreter's lock and without memory to wait for."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 180)
    return [images]


def identity(images):
    return [images]


def hand_over(function) -> tuple[Submit, Callable[[], None]]:
    """The least that a server does to keep its event loop free: another thread calls the function."""
    queue: SimpleQueue = SimpleQueue()

    def work() -> None:
        while done := queue.get():
            done(function(PICTURE))

    thread = threading.Thread(target=work)
    thread.start()
    return queue.put, lambda: (queue.put(None), thread.join())


def batched(function) -> tuple[Submit, Callable[[], None]]:
    batcher = Batcher(1, ADAPTIVE, lambda *observed: None)
    return lambda done: batcher.submit(function, [PICTURE], CALL, done), batcher.close


def compare_alone(function, requests: int) -> dict[str, object]:
    """Both ways in turn, request by request, so that what else the machine does meets both alike."""
    answers: SimpleQueue = SimpleQueue()
    ways = hand_over(function), batched(function)
    seconds: list[list[float]] = [[], []]
    cpu: list[list[float]] = [[], []]
    for _ in range(requests):
        for way, (submit, _) in enumerate(ways):
            begin, begin_cpu = time.perf_counter(), time.process_time()
            submit(answers.put)
            answers.get()
            cpu[way].append(time.process_time() - begin_cpu)
            seconds[way].append(time.perf_counter() - begin)
    for _, stop in ways:
        stop()
    direct, joined = (statistics.median(way) for way in seconds)
    return {
        "what": f"{function.__name__}, alone",
        "call + hand-over, us": f"{1e6 * direct:.0f}",
        "ratio through the queue": f"{joined / direct:.2f}",
        "us more": f"{1e6 * (joined - direct):.1f}",
        "CPU us more": f"{1e6 * (statistics.median(cpu[1]) - statistics.median(cpu[0])):.1f}",
    }


def cost_joined(size: int, batches: int) -> float:
    """CPU seconds that a request costs in batches of `size`, joining the arrays included."""
    batcher = Batcher(1, ADAPTIVE, lambda *observed: None)
    gate, answers = threading.Semaphore(0), SimpleQueue()
    spent = 0.0
    for _ in range(batches):
        batcher.submit(lambda: [gate.acquire()], [], CALL, answers.put)
        while batcher.running == 0:
            time.sleep(0)
        begin = time.process_time()
        for _ in range(size):
            batcher.submit(identity, [PICTURE], CALL, answers.put)
        gate.release()
        for _ in range(size + 1):
            answers.get()
        spent += time.process_time() - begin
    batcher.close()
    return spent / batches / size


def open_loop(function, parameters: Parameters, seconds: float) -> tuple[float, float, float]:
    """Median and 99th percentile of a request's seconds, and examples per batch, at random arrivals."""
    observed, took, answered = [], [], threading.Semaphore(0)
    batcher = Batcher(SLOTS, parameters, lambda *observation: observed.append(observation))
    rate, random_ = LOAD * SLOTS / SECONDS, random.Random(0)
    due = time.perf_counter()
    requests = int(rate * seconds)
    for _ in range(requests):
        due += random_.expovariate(rate)
        time.sleep(max(due - time.perf_counter(), 0))

        def done(answer, since=due):
            took.append(time.perf_counter() - since)
            answered.release()

        batcher.submit(function, [PICTURE], CALL, done)
    for _ in range(requests):
        answered.acquire()
    batcher.close()
    took.sort()
    return took[requests // 2], took[requests * 99 // 100], requests / len(observed)


def constant(images):
    time.sleep(SECONDS)
    return [images]


def per_picture(images):
    time.sleep(SECONDS * len(images))
    return [images]


def main() -> None:
    alone = [compare_alone(identity, 5000), compare_alone(small_model, 5000)]
    print(report.write("batching_alone", "A lone request: through the queue against a call in another thread", alone))
    cost = statistics.median(cost_joined(32, 200) for _ in range(ROUNDS))
    joined: list[dict[str, object]] = [{"what": "CPU us a request in a batch of 32", "figure": f"{1e6 * cost:.1f}"}]
    for call, function in (("2 ms a call", constant), ("2 ms a picture", per_picture)):
        for policy, parameters in (("joined", ADAPTIVE), ("one by one", ALONE)):
            median, slow, size = open_loop(function, parameters, 5)
            what = f"{call}, 70 % load, {policy}: "
            joined.append({"what": what + "p50 / 2 ms", "figure": f"{median / SECONDS:.2f}"})
            joined.append({"what": what + "p99 / p50", "figure": f"{slow / median:.2f}"})
            joined.append({"what": what + "pictures a batch", "figure": f"{size:.2f}"})
    print(report.write("batching", "Requests that are joined", joined))


if __name__ == "__main__":
    main()
