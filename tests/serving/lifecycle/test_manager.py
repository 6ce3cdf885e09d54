"""Several models, labels, and other configurations while the server runs."""

from __future__ import annotations

import dataclasses
import shutil
import threading

import pytest
from fake_models import check, publish, remove
from support import until

from serving.errors import FailedPrecondition, InvalidArgument, NotFound, ServingError
from serving.server import config
from serving.server import model as model_module
from serving.server.config import ModelConfig
from serving.server.config_polling import FilePoller, FolderPoller
from serving.server.manager import Manager, Settings
from serving.server.policies import All, Specific

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def serve(loader):
    """Makes a running manager of (name, base path, ...) rows."""
    managers = []

    def make(*configs, poll_seconds=0.01, **options):
        manager = Manager(configs, loader, Settings(poll_seconds=poll_seconds, check=check), **options)
        managers.append(manager)
        manager.start()
        return manager

    yield make
    stopped = [manager.stop(10) for manager in managers]
    assert all(stopped)
    assert loader.alive == []


def both(tmp_path, **config):
    """A model with versions 1 and 2, both served."""
    publish(tmp_path / "m", 1)
    publish(tmp_path / "m", 2)
    return ModelConfig("m", tmp_path / "m", All(), **config)


def refused(code, text, call, *arguments, **options):
    with pytest.raises(ServingError) as error:
        call(*arguments, **options)
    assert (type(error.value), error.value.message) == (code, text)


def test_lookups(tmp_path, serve):
    manager = serve(both(tmp_path), ModelConfig("empty", tmp_path / "empty"))
    with manager.borrow("m") as lent:
        assert (lent.name, lent.version, lent.servable.version) == ("m", 2, 2)
    with manager.lend("m", 1) as lent:
        assert lent.version == 1
    refused(InvalidArgument, "ModelSpec has no name specified.", manager.borrow, "")
    refused(NotFound, "Servable not found for request: Latest(x)", manager.borrow, "x")
    refused(NotFound, "Servable not found for request: Latest(empty)", manager.borrow, "empty")
    refused(NotFound, "Servable not found for request: Specific(m, 3)", manager.borrow, "m", 3)
    for name in ("m", "x"):
        refused(InvalidArgument, "Unrecognized servable version label: l", manager.borrow, name, None, "l")


def test_a_bad_path_and_a_slow_load_delay_no_other_model(tmp_path, serve, loader):
    publish(tmp_path / "slow", 1)
    publish(tmp_path / "m", 1)
    go_on = threading.Event()
    loader.before_load = lambda name, version: name == "slow" and go_on.wait()
    manager = serve(ModelConfig("bad", tmp_path / "none"))
    threading.Thread(
        target=manager.reload, args=([ModelConfig(n, tmp_path / n) for n in ("bad", "slow", "m")],)
    ).start()
    until(lambda: manager.readiness().get("m") is True)
    publish(tmp_path / "m", 2)
    until(lambda: manager.statuses("m", 2)[0].state.name == "AVAILABLE" if len(manager.statuses("m")) > 1 else False)
    assert manager.readiness()["slow"] == "version 1: It is being loaded"
    assert manager.readiness()["bad"].startswith("Could not find base path")
    go_on.set()
    until(lambda: manager.readiness()["slow"] is True)


def test_a_reload_replaces_all_models(tmp_path, serve):
    publish(tmp_path / "a", 1)
    publish(tmp_path / "b", 1)
    manager = serve(ModelConfig("a", tmp_path / "a"))
    manager.reload([ModelConfig("b", tmp_path / "b")])
    assert manager.names == ["b"]
    assert manager.borrow("b").release() is None
    until(lambda: [status.state.name for status in manager.statuses("a")] == ["END"])
    refused(NotFound, "Servable not found for request: Latest(a)", manager.borrow, "a")
    manager.reload([ModelConfig("a", tmp_path / "a")])
    assert manager.borrow("a").release() is None
    manager.reload([])
    assert manager.names == []


def test_a_removed_model_is_unloaded_after_its_requests(tmp_path, serve):
    publish(tmp_path / "a", 1)
    manager = serve(ModelConfig("a", tmp_path / "a"))
    lent = manager.borrow("a")
    manager.reload([])
    until(lambda: manager.statuses("a")[0].state.name == "UNLOADING")
    assert not lent.servable.closed
    lent.release()
    until(lambda: lent.servable.closed)


@pytest.mark.parametrize("poll_seconds", [0.01, 0, -1])
def test_a_reload_finds_new_models_however_the_disk_is_polled(tmp_path, serve, poll_seconds):
    manager = serve(poll_seconds=poll_seconds)
    publish(tmp_path / "m", 1)
    manager.reload([ModelConfig("m", tmp_path / "m")])
    assert manager.readiness() == {"m": True}


def test_polling_never_serves_nothing_until_a_reload(tmp_path, serve):
    publish(tmp_path / "m", 1)
    manager = serve(ModelConfig("m", tmp_path / "m"), poll_seconds=-1)
    assert manager.readiness() == {"m": "No version was looked for yet"}
    manager.reload([ModelConfig("m", tmp_path / "m")])
    until(lambda: manager.readiness() == {"m": True})


def test_a_reload_tells_which_new_models_failed(tmp_path, serve):
    publish(tmp_path / "bad", 3, "bad")
    publish(tmp_path / "half", 4, None)
    publish(tmp_path / "good", 1)
    (tmp_path / "empty").mkdir()
    manager = serve()
    configs = [ModelConfig(name, tmp_path / name) for name in ("bad", "half", "good")]
    refused(
        ServingError,
        "2 model(s) did not become available: {{{name: bad version: 3} due to error: DATA_LOSS: this version is bad}, "
        "{{name: half version: 4} due to error: NOT_FOUND: saved_model.pb is missing}, }",
        manager.reload,
        configs,
    )
    assert manager.readiness()["good"] is True
    manager.reload(configs)  # models that are served already are not awaited
    with pytest.raises(ServingError) as error:
        manager.reload([ModelConfig("empty", tmp_path / "empty")])
    assert "{{{name: empty} due to error: NOT_FOUND: No versions of servable empty found" in error.value.message


def test_a_reload_waits_only_so_long(tmp_path, serve, loader):
    publish(tmp_path / "m", 1)
    go_on = threading.Event()
    loader.before_load = lambda *_: go_on.wait()
    manager = serve()
    with pytest.raises(ServingError, match="version: 1} due to error: UNAVAILABLE"):
        manager.reload([ModelConfig("m", tmp_path / "m")], timeout=0.05)
    go_on.set()
    until(lambda: manager.readiness()["m"] is True)


def test_a_reload_waits_for_files_that_change_only_so_long(tmp_path, serve, monkeypatch):
    monkeypatch.setattr("serving.server.storage.SETTLE_SECONDS", 1000.0)
    monkeypatch.setattr(model_module, "PATIENCE_SECONDS", 0.0)
    publish(tmp_path / "m", 1)
    with pytest.raises(ServingError, match="Its files still change"):
        serve().reload([ModelConfig("m", tmp_path / "m")])


class TestLabels:
    def test_requests_may_use_labels(self, tmp_path, serve):
        manager = serve(both(tmp_path, labels={"stable": 1, "canary": 2}))
        for label, version in {"stable": 1, "canary": 2}.items():
            with manager.borrow("m", label=label) as lent:
                assert lent.version == version

    def test_labels_are_replaced_as_a_whole(self, tmp_path, serve):
        config = both(tmp_path, labels={"old": 1})
        manager = serve(config)
        manager.reload([ModelConfig("m", config.base_path, All(), {"new": 1})])
        assert manager.borrow("m", label="new").release() is None
        refused(InvalidArgument, "Unrecognized servable version label: old", manager.borrow, "m", None, "old")

    def test_a_reload_may_point_labels_only_at_available_versions(self, tmp_path, serve):
        config = both(tmp_path)
        manager = serve(config)
        refused(
            FailedPrecondition,
            "Request to assign label to version 3 of model m, which is not currently available for inference",
            manager.reload,
            [ModelConfig("m", config.base_path, All(), {"ok": 1, "bad": 3}), ModelConfig("n", config.base_path)],
        )
        assert manager.names == ["m"]  # nothing changed at all
        refused(InvalidArgument, "Unrecognized servable version label: ok", manager.borrow, "m", None, "ok")

    def test_a_label_of_an_unloaded_version_is_not_found(self, tmp_path, serve):
        manager = serve(both(tmp_path, labels={"l": 1}))
        remove(tmp_path / "m", 1)
        until(lambda: manager.statuses("m", 1)[0].state.name == "END")
        refused(NotFound, "Servable not found for request: Specific(m, 1)", manager.borrow, "m", None, "l")

    def test_at_the_start_labels_wait_for_their_versions(self, tmp_path, serve):
        manager = serve(both(tmp_path, labels={"next": 3}))
        refused(NotFound, "Servable not found for request: Specific(m, 3)", manager.borrow, "m", None, "next")
        publish(tmp_path / "m", 3)
        until(lambda: manager.statuses("m")[0].version == 3 and manager.statuses("m")[0].state.name == "AVAILABLE")
        assert lend_version(manager, "next") == 3

    def test_new_labels_may_wait_if_that_is_allowed_but_live_ones_never_move_away(self, tmp_path, serve):
        config = both(tmp_path, labels={"live": 1})
        manager = serve(config, allow_labels_for_unavailable=True)
        manager.reload([ModelConfig("m", config.base_path, All(), {"live": 1, "new": 3})])
        refused(NotFound, "Servable not found for request: Specific(m, 3)", manager.borrow, "m", None, "new")
        manager.reload([ModelConfig("m", config.base_path, All(), {"live": 1, "new": 3})])  # unchanged
        with pytest.raises(FailedPrecondition, match="label to version 4 of model m"):
            manager.reload([ModelConfig("m", config.base_path, All(), {"live": 4})])
        manager.reload([ModelConfig("m", config.base_path, All(), {"live": 2})])
        assert lend_version(manager, "live") == 2

    def test_a_label_that_is_deferred_moves_when_its_version_is_available(self, tmp_path, serve):
        config = both(tmp_path, labels={"live": 1})
        manager = serve(config)
        manager.reload([ModelConfig("m", config.base_path, All(), {"live": 3})], defer_labels=True)
        with manager.borrow("m", label="live") as lent:
            assert lent.version == 1
        publish(tmp_path / "m", 3)
        until(lambda: lend_version(manager, "live") == 3)

    def test_a_label_has_a_version_while_another_is_loaded_for_it(self, tmp_path, serve, loader):
        config = both(tmp_path, labels={"live": 1})
        publish(tmp_path / "m", 3)
        wanted = dataclasses.replace(config, policy=Specific(frozenset({1, 3})))
        manager = serve(wanted)
        until(lambda: manager.readiness() == {"m": True} and lend_version(manager, "live") == 1)
        versions = []
        loader.before_load = lambda name, version: versions.append(lend_version(manager, "live"))
        moved = dataclasses.replace(config, policy=Specific(frozenset({2, 3})), labels={"live": 2})
        manager.reload([moved], defer_labels=True)
        until(lambda: lend_version(manager, "live") == 2)
        assert versions == [1]
        until(lambda: manager.statuses("m", 1)[0].state.name == "END")

    def test_what_a_label_has_left_is_unloaded(self, tmp_path, serve):
        config = both(tmp_path, labels={"live": 1})
        manager = serve(config)
        manager.reload([dataclasses.replace(config, policy=Specific(frozenset({2})))], defer_labels=True)
        until(lambda: manager.statuses("m", 1)[0].state.name == "END")

    def test_a_request_by_label_finds_a_version_though_that_moves_meanwhile(self, tmp_path, serve, monkeypatch):
        config = both(tmp_path, labels={"live": 1})
        manager = serve(config)
        borrow = model_module.ServedModel.borrow

        def borrow_late(model, version):
            monkeypatch.undo()  # the next one is an ordinary one
            manager.reload(
                [dataclasses.replace(config, policy=Specific(frozenset({2})), labels={"live": 2})], defer_labels=True
            )
            until(lambda: manager.statuses("m", 1)[0].state.name == "END")
            return borrow(model, version)

        monkeypatch.setattr(model_module.ServedModel, "borrow", borrow_late)
        assert lend_version(manager, "live") == 2


def lend_version(manager, label):
    with manager.borrow("m", label=label) as lent:
        return lent.version


class TestConfigFile:
    def write(self, tmp_path, *names):
        rows = "".join(
            f'config {{ name: "{n}" base_path: "{tmp_path / n}" model_platform: "tensorflow" }}' for n in names
        )
        (tmp_path / "models.config").write_text(f"model_config_list {{ {rows} }}")

    def test_the_file_is_read_again_and_errors_are_only_logged(self, tmp_path, serve, caplog):
        manager = serve()
        publish(tmp_path / "a", 1)
        publish(tmp_path / "b", 1)
        self.write(tmp_path, "a")
        poller = FilePoller(manager, tmp_path / "models.config", 0.01)
        poller.start()
        until(lambda: manager.readiness() == {"a": True})
        self.write(tmp_path, "a", "a")
        until(lambda: "Illegal to list model a multiple times" in caplog.text)
        self.write(tmp_path, "a", "b")
        until(lambda: manager.readiness() == {"a": True, "b": True})
        poller.stop()
        assert caplog.text.count("Illegal to list model a multiple times") == 1

    def test_an_empty_file_is_one_that_is_being_written(self, tmp_path, serve, caplog):
        manager = serve()
        publish(tmp_path / "a", 1)
        self.write(tmp_path, "a")
        poller = FilePoller(manager, tmp_path / "models.config", 1000)
        poller.apply()
        until(lambda: manager.readiness() == {"a": True})
        (tmp_path / "models.config").write_text("")
        poller.apply()
        assert "Cannot transition to requested config." in caplog.text
        assert manager.readiness() == {"a": True}
        self.write(tmp_path)  # a list without models is meant so
        poller.apply()
        assert manager.readiness() == {}

    def test_the_file_wins_over_a_reload_also_if_it_is_unchanged(self, tmp_path, serve):
        manager = serve()
        publish(tmp_path / "a", 1)
        self.write(tmp_path, "a")
        poller = FilePoller(manager, tmp_path / "models.config", 1000)
        poller.apply()
        manager.reload([])
        poller.apply()
        assert manager.readiness() == {"a": True}


class TestModelsFolder:
    def write(self, tmp_path, **labels):
        told = "".join(f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items())
        numbers = " ".join(f"versions: {version}" for version in {*labels.values(), 3})
        row = f'name: "m" base_path: "/models/m" model_platform: "tensorflow" {told}'
        policy = f"model_version_policy {{ specific {{ {numbers} }} }}"
        (tmp_path / "models.config").write_text(f"model_config_list {{ config {{ {row} {policy} }} }}")

    def test_versions_and_labels_are_those_of_the_file_beside_the_models(self, tmp_path):
        for version in (1, 2, 3):
            publish(tmp_path / "m", version)
        publish(tmp_path / "other", 7)
        self.write(tmp_path, stable=1)
        models = {model.name: model for model in config.from_folder(tmp_path)}
        assert (models["m"].base_path, models["m"].labels) == (tmp_path / "m", {"stable": 1})
        assert models["m"].policy.wanted([1, 2, 3]) == {1, 3}
        assert models["other"] == ModelConfig("other", tmp_path / "other")

    def test_labels_move_new_models_come_and_nothing_goes_with_its_folder(self, tmp_path, serve, caplog):
        for version in (1, 2, 3):
            publish(tmp_path / "m", version)
        self.write(tmp_path, stable=1)
        manager = serve(*config.from_folder(tmp_path))
        poller = FolderPoller(manager, tmp_path, 0.01)
        poller.start()
        until(lambda: lend_version(manager, "stable") == 1)
        publish(tmp_path / "other", 7)
        self.write(tmp_path, stable=2)
        until(lambda: manager.readiness() == {"m": True, "other": True} and lend_version(manager, "stable") == 2)
        for half, told in (("half", 'no field named "half"'), ("", "Received: none")):
            (tmp_path / "models.config").write_text(half)
            until(lambda told=told: told in caplog.text)
            assert lend_version(manager, "stable") == 2
        shutil.rmtree(tmp_path / "other")
        self.write(tmp_path, stable=3)
        until(lambda: lend_version(manager, "stable") == 3)
        poller.stop()
        assert set(manager.names) == {"m", "other"}

    def test_what_a_client_asked_for_stays_until_the_folder_changes(self, tmp_path, serve):
        publish(tmp_path / "m", 1)
        publish(tmp_path / "other", 7)
        manager = serve(*config.from_folder(tmp_path))
        poller = FolderPoller(manager, tmp_path, 1000)
        manager.reload([ModelConfig("m", tmp_path / "m")])
        poller.apply()
        assert manager.names == ["m"]
        publish(tmp_path / "third", 1)
        poller.apply()
        assert manager.names == ["m", "other", "third"]


def test_a_stop_in_time(tmp_path, loader):
    publish(tmp_path / "m", 1)
    manager = Manager([ModelConfig("m", tmp_path / "m")], loader, Settings(check=check))
    manager.start()
    lent = manager.borrow("m")
    assert not manager.stop(0.01)
    lent.release()
    assert manager.stop(10)
    assert Manager([ModelConfig("m", tmp_path / "m")], loader).stop(0)  # never started
