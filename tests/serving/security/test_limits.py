from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ResourceExhausted
from serving.server.security import limits
from serving.server.security.limits import ConcurrencyLimit, RateLimit

SECOND = 1_000_000_000


class Clock:
    now = 0

    def __call__(self):
        return self.now


def passes(limit, client):
    try:
        limit.take(client)
    except ResourceExhausted:
        return False
    return True


steps = st.lists(st.tuples(st.integers(0, 3 * SECOND), st.sampled_from("abcdef")), max_size=200)


@given(rate=st.floats(0.01, 1e6), burst=st.integers(1, 50), steps=steps, known=st.sampled_from([2, limits.MAX_CLIENTS]))
def test_never_more_than_the_rate_and_the_burst(rate, burst, steps, known):
    # In every span of time, for every client, even if the table is too small for all of them.
    clock, taken = Clock(), {}
    limit = RateLimit(rate, burst, clock)
    limit.max_clients = known
    for pause, client in steps:
        clock.now += pause
        if passes(limit, client):
            taken.setdefault(client, []).append(clock.now)
        assert len(limit) <= known + 1
    for times in taken.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= burst + rate * (times[last] - times[first]) / SECOND * (1 + 1e-9)


@given(rate=st.floats(0.1, 1000), burst=st.integers(1, 20))
def test_who_keeps_to_the_rate_is_never_refused(rate, burst):
    clock = Clock()
    limit = RateLimit(rate, burst, clock)
    assert all(passes(limit, "a") for _ in range(burst))
    for _ in range(50):
        clock.now += int(SECOND / rate) + 1
        assert passes(limit, "a")


@given(rate=st.floats(0.1, 1000), burst=st.integers(1, 20))
def test_who_waits_as_told_is_served(rate, burst):
    clock = Clock()
    limit = RateLimit(rate, burst, clock)
    for _ in range(burst):
        limit.take("a")
    with pytest.raises(ResourceExhausted, match="Try again in") as refused:
        limit.take("a")
    assert refused.value.retry_seconds > 0
    clock.now += int(refused.value.retry_seconds * SECOND) + 1
    limit.take("a")


def test_clients_do_not_take_from_each_other():
    limit = RateLimit(1, 1, Clock())
    assert [passes(limit, client) for client in "abab"] == [True, True, False, False]


def test_the_burst_is_a_second_of_the_rate_unless_told():
    limit = RateLimit(2.5, clock=Clock())
    assert sum(passes(limit, "a") for _ in range(10)) == 3


def test_a_million_clients_take_bounded_memory():
    clock = Clock()
    limit = RateLimit(1, 1, clock)
    for number in range(1_000_000):
        clock.now += 10_000  # all of them within 10 s: 100,000 in any second
        passes(limit, str(number))
    assert len(limit) <= limits.MAX_CLIENTS + 1


def test_a_flood_of_clients_leaves_those_that_are_known_their_allowance():
    limit = RateLimit(10, 2, Clock())
    limit.max_clients = 100
    assert passes(limit, "known")
    assert sum(passes(limit, str(number)) for number in range(1000)) == 99 + 2
    assert passes(limit, "known")


def test_threads_together_get_no_more_than_one():
    limit, taken = RateLimit(1, 100, Clock()), []

    def ask():
        taken.extend([passes(limit, "a") for _ in range(200)])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 100


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab")), max_size=100))
def test_never_more_under_way_than_the_limit(steps):
    limit, under_way = ConcurrencyLimit(3), Counter()
    for comes, client in steps:
        if comes:
            assert passes(limit, client) == (under_way[client] < 3)
            under_way[client] = min(under_way[client] + 1, 3)
        elif under_way[client]:
            limit.give_back(client)
            under_way[client] -= 1
    assert len(limit) == sum(count > 0 for count in under_way.values())
