"""A version is lent to requests, and closed only when none uses it."""

from __future__ import annotations

import threading

from fake_models import FakeServable, Loader
from support import until

from serving.server.lending import Loaded


def loaded():
    return Loaded("m", 1, FakeServable(Loader(), 1))


def test_retiring_waits_for_requests():
    version = loaded()
    first, second = version.borrow(), version.borrow()
    thread = threading.Thread(target=version.retire)
    thread.start()
    until(lambda: version.borrow() is None)
    first.release()
    first.release()  # once is enough, twice is not two
    assert thread.is_alive()
    with second:
        pass
    thread.join()


def test_retiring_an_unused_version_does_not_wait():
    version = loaded()
    version.borrow().release()
    version.retire()
    assert version.borrow() is None


def test_a_released_loan_may_be_released_from_many_threads():
    version = loaded()
    kept, lent = version.borrow(), version.borrow()
    threads = [threading.Thread(target=lent.release) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    retiring = threading.Thread(target=version.retire)
    retiring.start()
    until(lambda: version.borrow() is None)
    assert retiring.is_alive()  # `kept` still counts
    kept.release()
    retiring.join()
