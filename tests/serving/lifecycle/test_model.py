"""Which versions of one model are loaded and unloaded, and when."""

from __future__ import annotations

import logging
import threading
import weakref

import pytest
from fake_models import ON_DEMAND, check, look, publish, remove, served, states
from support import until

from serving.errors import DataLoss, NotFound
from serving.server import model as model_module
from serving.server.model import Settings
from serving.server.policies import All, Latest, Specific
from serving.server.retries import RetryPolicy

pytestmark = pytest.mark.usefixtures("quick")


def available(model):
    return sorted(version for version, state in states(model).items() if state == "AVAILABLE")


def test_the_highest_version_is_served(tmp_path, loader):
    for version in (1, "00000123", "7", "not-a-version"):
        publish(tmp_path, version)
    model = served(tmp_path, loader)
    look(model)
    assert states(model) == {123: "AVAILABLE"}
    assert model.borrow(None).version == 123
    assert model.borrow(1) is None


def test_a_new_version_is_loaded_before_the_old_one_is_unloaded(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    look(model)
    publish(tmp_path, 2)
    seen = []
    loader.before_load = lambda name, version: seen.append(dict(states(model)))
    look(model)
    assert seen == [{2: "LOADING", 1: "AVAILABLE"}]
    assert states(model) == {2: "AVAILABLE", 1: "END"}
    assert [servable.version for servable in loader.alive] == [2]


def test_new_versions_are_loaded_from_the_highest(tmp_path, loader):
    for version in (1, 2, 3):
        publish(tmp_path, version)
    look(served(tmp_path, loader, policy=All()))
    assert loader.loads == [3, 2, 1]


def test_what_is_unloaded_goes_before_further_loads(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader, policy=Latest(2))
    look(model)
    for version in (5, 6):
        publish(tmp_path, version)
    counts = []
    loader.before_load = lambda name, version: counts.append(len(loader.alive))
    look(model)
    assert counts == [1, 1]
    assert states(model) == {6: "AVAILABLE", 5: "AVAILABLE", 1: "END"}


def test_a_lower_version_comes_back_when_the_highest_is_removed(tmp_path, loader):
    publish(tmp_path, 1)
    publish(tmp_path, 2)
    model = served(tmp_path, loader)
    look(model)
    remove(tmp_path, 2)
    look(model)
    assert states(model) == {2: "END", 1: "AVAILABLE"}


def test_an_empty_base_path_unloads_all(tmp_path, loader, caplog):
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    look(model)
    remove(tmp_path, 1)
    look(model)
    assert states(model) == {1: "END"}
    assert loader.alive == []
    warning = (
        f"No versions of servable m found under base path {tmp_path}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )
    look(model)
    assert caplog.messages.count(warning) == 1


def test_a_missing_base_path_changes_nothing(tmp_path, loader, caplog):
    publish(tmp_path / "m", 1)
    model = served(tmp_path / "m", loader)
    look(model)
    (tmp_path / "m").rename(tmp_path / "elsewhere")
    look(model)
    assert states(model) == {1: "AVAILABLE"}
    assert f"Could not find base path {tmp_path / 'm'} for servable m" in caplog.text


def test_a_specific_policy_warns_of_what_is_missing(tmp_path, loader, caplog):
    publish(tmp_path, 1)
    publish(tmp_path, 3)
    model = served(tmp_path, loader, policy=Specific(frozenset({1, 2})))
    look(model)
    look(model)
    assert states(model) == {1: "AVAILABLE"}
    assert caplog.messages == ["Version 2 of servable m is wanted, but not found"]


def test_a_failing_version_leaves_the_old_one_serving_and_is_tried_when_its_files_change(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    look(model)
    bad = publish(tmp_path, 2, "bad")
    look(model)
    look(model)
    assert states(model) == {2: "END", 1: "AVAILABLE"}
    assert model.statuses()[0].error.message == "this version is bad"
    assert loader.loads == [1, 2]  # the same files are not tried again
    (bad / "saved_model.pb").write_text("good")
    look(model)
    assert states(model) == {2: "AVAILABLE", 1: "END"}
    assert model.statuses()[0].error is None


def test_a_failing_version_is_tried_again_so_many_times(tmp_path, loader, monkeypatch):
    publish(tmp_path, 1, "bad")
    model = served(tmp_path, loader, Settings(poll_seconds=0, retries=RetryPolicy(3, interval_seconds=0), check=check))
    look(model)
    assert loader.loads == [1] * 4


def test_removing_a_failing_version_cancels_retries_and_re_adding_it_starts_anew(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    look(model)
    publish(tmp_path, 2, "bad")
    look(model)
    remove(tmp_path, 2)
    look(model)
    assert loader.loads == [1, 2]
    publish(tmp_path, 2)
    look(model)
    assert states(model) == {2: "AVAILABLE", 1: "END"}


def test_an_unloaded_number_may_come_back(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    for _ in range(3):
        look(model)
        assert states(model) == {1: "AVAILABLE"}
        remove(tmp_path, 1)
        look(model)
        assert states(model) == {1: "END"}
        publish(tmp_path, 1)
    assert loader.loads == [1, 1, 1]


def test_an_incomplete_version_waits_in_start(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    look(model)
    version = publish(tmp_path, 2, None)
    look(model)
    assert states(model) == {2: "START", 1: "AVAILABLE"}
    (version / "saved_model.pb").write_text("good")
    look(model)
    assert states(model) == {2: "AVAILABLE", 1: "END"}


def test_an_incomplete_version_that_goes_away_is_forgotten(tmp_path, loader):
    publish(tmp_path, 1)
    publish(tmp_path, 2, None)
    model = served(tmp_path, loader)
    look(model)
    remove(tmp_path, 2)
    look(model)
    assert states(model) == {1: "AVAILABLE"}


def test_files_that_still_change_are_looked_at_again_soon(tmp_path, loader, monkeypatch):
    monkeypatch.setattr("serving.server.storage.SETTLE_SECONDS", 1000.0)
    version = publish(tmp_path, 1)
    model = served(tmp_path, loader)
    assert model.step() == model_module.PENDING_SECONDS
    (version / "more").touch()
    assert model.step() == model_module.PENDING_SECONDS
    assert model.step() == model_module.PENDING_SECONDS
    assert not model.settled.is_set()
    monkeypatch.setattr(model_module, "PENDING_SECONDS", 0.0)  # so long nothing changed
    assert model.step() == 0.0
    model.step()
    assert states(model) == {1: "AVAILABLE"}
    assert model.settled.is_set()


def test_the_start_waits_for_changing_files_only_so_long(tmp_path, loader, monkeypatch):
    monkeypatch.setattr("serving.server.storage.SETTLE_SECONDS", 1000.0)
    monkeypatch.setattr(model_module, "PATIENCE_SECONDS", -1.0)
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    model.step()
    assert model.settled.is_set()
    assert model.unavailability()[1].message == "Its files still change"


def test_files_that_vanish_meanwhile_are_no_failure(tmp_path, loader):
    publish(tmp_path, 1)
    vanishing = iter([FileNotFoundError("gone"), None])

    def check(path):
        if (error := next(vanishing)) is not None:
            raise error

    model = served(tmp_path, loader, Settings(poll_seconds=0, check=check))
    assert model.step() == model_module.PENDING_SECONDS
    assert model.step() == 0.0
    assert states(model) == {1: "AVAILABLE"}


def test_files_that_cannot_be_read_are_told_and_not_tried_at_every_look(tmp_path, loader, caplog):
    publish(tmp_path, 1)

    def check(path):
        raise PermissionError(13, "Permission denied", str(path / "saved_model.pb"))

    model = served(tmp_path, loader, Settings(poll_seconds=0, check=check))
    look(model)
    look(model)
    expected = f"Cannot read {tmp_path / '1' / 'saved_model.pb'}: Permission denied"
    assert model.statuses()[0].error.message == expected
    assert caplog.text.count(expected) == 1


def test_any_exception_of_a_load_is_its_error(tmp_path, loader):
    publish(tmp_path, 1)

    def burst(name, version):
        raise MemoryError("no room")

    loader.before_load = burst
    model = served(tmp_path, loader)
    look(model)
    (status,) = model.statuses()
    assert (status.state.name, status.error.message) == ("END", "MemoryError: no room")


def test_a_damaged_version_is_not_loaded(tmp_path, loader):
    publish(tmp_path, 1)

    def check(path):
        raise DataLoss("cut off")

    model = served(tmp_path, loader, Settings(poll_seconds=0, check=check))
    look(model)
    assert model.unavailability()[1].message == "cut off"
    assert loader.loads == []


def test_finished_versions_are_forgotten_but_the_last(tmp_path, loader, monkeypatch):
    monkeypatch.setattr(model_module, "MAX_ENDED", 3)
    model = served(tmp_path, loader)
    for version in range(1, 8):
        publish(tmp_path, version)
        look(model)
    assert states(model) == {7: "AVAILABLE", 6: "END", 5: "END", 4: "END"}


def test_a_policy_and_a_base_path_may_change(tmp_path, loader):
    from serving.server.config import ModelConfig

    for version in (1, 2):
        publish(tmp_path / "a", version)
    publish(tmp_path / "b", 9)
    model = served(tmp_path / "a", loader)
    look(model)
    for config, expected in [
        (ModelConfig("m", tmp_path / "a", All()), [1, 2]),
        (ModelConfig("m", tmp_path / "b"), [9]),
        (None, []),
        (ModelConfig("m", tmp_path / "a", Specific(frozenset({1}))), [1]),
    ]:
        model.apply(config)
        look(model)
        assert available(model) == expected


def test_polling_once_finds_what_is_there_at_the_start_only(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader, Settings(poll_seconds=0, check=check))
    while model.step() == 0.0:
        pass
    publish(tmp_path, 2)
    assert model.step() == float("inf")
    assert states(model) == {1: "AVAILABLE"}
    model.apply(model.config)  # a reload looks in any case
    while model.step() == 0.0:
        pass
    assert states(model) == {2: "AVAILABLE", 1: "END"}


def test_unloading_waits_for_the_requests_under_way(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    look(model)
    lent = model.borrow(None)
    publish(tmp_path, 2)
    thread = threading.Thread(target=look, args=(model,))
    thread.start()
    until(lambda: states(model) == {2: "AVAILABLE", 1: "UNLOADING"})
    assert model.borrow(1) is None
    assert model.borrow(None).version == 2
    assert not lent.servable.closed
    lent.release()
    thread.join()
    assert lent.servable.closed
    assert states(model) == {2: "AVAILABLE", 1: "END"}


def test_a_version_that_cannot_be_closed_is_unloaded_all_the_same(tmp_path, loader, monkeypatch):
    monkeypatch.setattr("fake_models.FakeServable.close", lambda self: 1 / 0)
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    look(model)
    remove(tmp_path, 1)
    look(model)
    assert states(model) == {1: "END"}


def test_requests_in_many_threads_never_get_a_closed_version(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    look(model)
    stop, wrong = threading.Event(), []

    def ask():
        while not stop.is_set():
            with model.borrow(None) as lent:
                if lent.servable.closed:
                    wrong.append(lent.version)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for version in range(2, 10):
        publish(tmp_path, version)
        look(model)
        remove(tmp_path, version - 1)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(loader.alive) == 1


def test_the_thread_looks_by_itself_and_unloads_when_stopped(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader, Settings(poll_seconds=0.01, check=check))
    model.start()
    model.settled.wait()
    publish(tmp_path, 2)
    until(lambda: states(model) == {2: "AVAILABLE", 1: "END"})
    assert model.stop(10)
    assert loader.alive == []


def test_the_thread_survives_whatever_happens(tmp_path, loader, monkeypatch):
    publish(tmp_path, 1)
    scan = model_module.storage.scan
    results = iter([ZeroDivisionError("odd")])

    def scan_badly_once(path):
        for error in results:
            raise error
        return scan(path)

    monkeypatch.setattr(model_module.storage, "scan", scan_badly_once)
    logging.getLogger("serving.server.model").disabled = True
    model = served(tmp_path, loader, Settings(poll_seconds=0.01, check=check))
    model.start()
    until(lambda: states(model) == {1: "AVAILABLE"})
    logging.getLogger("serving.server.model").disabled = False
    assert model.stop(10)


def test_a_wanted_version_that_is_not_there_is_why_a_model_is_not_available(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader, ON_DEMAND, policy=Specific(frozenset({8, 9})))
    look(model)
    assert model.unavailability()[1].message == (
        "Version 8 of servable m is wanted, but not found; Version 9 of servable m is wanted, but not found"
    )


def test_why_a_model_is_not_available(tmp_path, loader):
    model = served(tmp_path / "none", loader, ON_DEMAND)
    assert "looked" in model.unavailability()[1].message
    look(model)
    version, error = model.unavailability()
    assert version is None
    assert isinstance(error, NotFound)
    assert "Could not find base path" in error.message
    publish(tmp_path / "none", 4, None)
    look(model)
    assert (model.unavailability()[0], model.unavailability()[1].message) == (4, "saved_model.pb is missing")
    publish(tmp_path / "none", 5)
    loader.before_load = lambda *_: seen.append(model.unavailability()[1].message)
    seen = []
    look(model)
    assert seen == ["It is being loaded"]
    assert model.unavailability() is None


def test_nothing_is_left_of_an_unloaded_version(tmp_path, loader):
    publish(tmp_path, 1)
    model = served(tmp_path, loader)
    look(model)
    loader.alive[0].itself = loader.alive[0]  # as sessions sit in cycles
    left = weakref.ref(loader.alive[0])
    remove(tmp_path, 1)
    look(model)
    assert left() is None
