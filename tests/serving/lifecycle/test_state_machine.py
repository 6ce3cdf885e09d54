"""Whatever happens to the disk, the configuration and requests, in whatever order, some things hold."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from fake_models import ON_DEMAND, Loader, publish
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serving.errors import FailedPrecondition, NotFound, ServingError
from serving.server import retries, storage
from serving.server.config import ModelConfig
from serving.server.manager import Manager
from serving.server.policies import All, Latest, Specific

NUMBERS = st.integers(1, 4)
POLICIES = st.sampled_from([Latest(1), Latest(2), All(), Specific(frozenset({1, 3})), None])


class Life(RuleBasedStateMachine):
    """One model, whose steps are rules like all else that happens."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.base = self.folder / "m"
        self.base.mkdir()
        self.loader = Loader()
        self.config = ModelConfig("m", self.base)
        self.manager = Manager([self.config], self.loader, ON_DEMAND)
        self.model = self.manager._models["m"]
        self.loader.before_load = self.check_room
        self.wanted = set()  # at the last look
        self.held = []
        self.crowded = []

    @initialize(numbers=st.sets(NUMBERS))
    def begin(self, numbers):
        for number in numbers:
            publish(self.base, number)
        self.rest()

    def teardown(self):
        for lent in self.held:
            lent.release()
        shutil.rmtree(self.folder)

    def check_room(self, name, version):
        """What is loaded is wanted, but for one that waits to be relieved."""
        unwanted = {servable.version for servable in self.loader.alive} - self.wanted
        if len(unwanted) > 1:
            self.crowded.append(unwanted)

    @rule(number=NUMBERS, content=st.sampled_from(["good", "good", "bad", None]))
    def write_a_version(self, number, content):
        """Adds one, or corrupts or repairs it."""
        version = self.base / str(number)
        if version.exists():
            version.joinpath("saved_model.pb").write_text(content or "bad")
        else:
            publish(self.base, number, content)

    @rule(number=NUMBERS)
    def remove_a_version(self, number):
        shutil.rmtree(self.base / str(number), ignore_errors=True)

    @rule()
    def step_without_the_base_path(self):
        away = self.base.rename(self.folder / "away")
        self.take_step()
        away.rename(self.base)

    @rule(policy=POLICIES, label=st.none() | NUMBERS)
    def reload(self, policy, label):
        """No policy: without the model."""
        labels = {"label": label} if label and policy else {}
        config = policy and ModelConfig("m", self.base, policy, labels)
        is_assignable = not labels or self.model.is_available(label)
        try:
            self.manager.reload([config] if config else [], timeout=0)
        except FailedPrecondition:
            assert not is_assignable
            return
        except ServingError:  # it is new, and not available yet
            pass
        assert is_assignable
        self.config = config

    @rule(version=st.none() | NUMBERS, keep=st.booleans())
    def request(self, version, keep):
        try:
            lent = self.manager.borrow("m", version)
        except NotFound:
            assert not self.available() if version is None else version not in self.available()
            return
        assert lent.version == (version or max(self.available()))
        self.held.append(lent)
        if not keep:
            self.held.pop(0).release()

    @rule()
    def request_by_label(self):
        version = self.model.labels.get("label")
        try:
            with self.manager.borrow("m", label="label") as lent:
                assert lent.version == version
        except ServingError:
            assert version not in self.available()

    @rule(count=st.integers(1, 3))
    def step(self, count):
        for _ in range(count):
            self.take_step()

    def take_step(self):
        """Requests that hold it up are answered."""
        before = self.available()
        if self.config is None:
            self.wanted = set()
        elif self.base.exists():
            self.wanted = self.config.policy.wanted(storage.scan(self.base).versions)
        self.model.apply(self.model.config)
        thread = threading.Thread(target=self.model.step)
        thread.start()
        while thread.is_alive():
            thread.join(0.001)
            for lent in [lent for lent in self.held if lent.version in self.unloading()]:
                assert not lent.servable.closed
                lent.release()
                self.held.remove(lent)
        if before and self.wanted:
            assert self.available()

    @rule()
    def rest(self):
        """After enough steps every good wanted version is served, and nothing else beside it."""
        for _ in range(10):
            self.take_step()
        contents = {number: self.base / str(number) / "saved_model.pb" for number in self.wanted}
        good = {number for number, file in contents.items() if file.exists() and file.read_text() == "good"}
        assert good <= set(self.available())
        if good:
            assert set(self.available()) <= self.wanted

    def available(self):
        return [number for number in range(1, 5) if self.model.is_available(number)]

    def unloading(self):
        return [status.version for status in self.model.statuses() if status.state.name == "UNLOADING"]

    @invariant()
    def no_request_has_a_closed_version(self):
        assert not any(lent.servable.closed for lent in self.held)

    @invariant()
    def never_more_than_one_waits_to_be_relieved_while_another_loads(self):
        assert self.crowded == []

    @invariant()
    def statuses_tell_what_is_loaded(self):
        assert sorted(servable.version for servable in self.loader.alive) == self.available()


@pytest.mark.usefixtures("quick")
class TestLife(Life.TestCase):
    settings = settings(
        max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )


def test_the_machine_is_quick(quick):
    assert storage.SETTLE_SECONDS == retries.FIRST_BACK_OFF_SECONDS == 0
