"""Publishing to other places: no part of a version is ever served, whenever it stops, and nothing is sent twice."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
import tensorflow as tf
from fsspec.callbacks import Callback
from fsspec.implementations.memory import MemoryFileSystem
from object_store import Killed, ObjectStore
from support import call_cli

from pipelines import checksums, publish, releases
from pipelines.errors import PublishFailed, ReleaseRefused
from pipelines.sources.location import Location
from serving.errors import NotFound
from serving.server import completeness

VARIABLES = "variables/variables.data-00000-of-00001"
TARGET = "bucket/models/patterns/1"


@pytest.fixture
def version(workplace, tmp_path):
    """An exported version, in a models folder of its own."""
    return shutil.copytree(workplace / "models" / "patterns" / "1", tmp_path / "models" / "patterns" / "1")


@pytest.fixture
def store():
    """The object store of objects://, empty."""
    fsspec.register_implementation("objects", ObjectStore, clobber=True)
    ObjectStore.clear_instance_cache()
    yield fsspec.filesystem("objects")
    ObjectStore.clear_instance_cache()


def publish_to(place, version, **options):
    return publish.publish(version, "patterns", Location.parse(str(place)), **options)


def assert_none_or_whole(folder):
    """No server loads what is there, or it is whole; returns which."""
    if (folder / publish.MARKER).exists():
        completeness.check(folder)
        assert checksums.findings(folder) == []
        return True
    with pytest.raises(NotFound):
        completeness.check(folder)
    with pytest.raises(OSError, match="does not exist"):
        tf.saved_model.load(str(folder))
    return False


def test_killed_at_any_change_of_an_object_store_no_part_of_a_version_is_served_and_the_next_run_goes_on(
    version, store, tmp_path
):
    whole = []
    for changes in itertools.count():
        store.keys, store.changes, store.killed_after = {}, [], changes
        try:
            publish_to("objects://bucket/models", version)
        except Killed:
            whole.append(assert_none_or_whole(store.download(TARGET, tmp_path / f"killed{changes}")))
        else:
            break
        assert {key.split("/")[3] for key in store.keys} <= {"1", f".publishing-1-{digest(version)}"}
        store.killed_after = None
        publish_to("objects://bucket/models", version)
        assert {key for key in store.keys if not key.startswith(TARGET)} == set()
        assert checksums.findings(store.download(TARGET, tmp_path / f"after{changes}")) == []
        made = [change for change in store.changes if change[0] != "remove"]
        assert len(made) == len(set(made)), "something was sent twice"
    files = len(publish.in_order(version))
    # Sent, copied, and the copy on its way removed: it is there from the last copy on.
    assert whole == [False] * (2 * files) + [True] * files
    assert tf.saved_model.load(str(tmp_path / f"killed{3 * files - 1}")).signatures


def digest(version):
    return checksums.sha256(version / checksums.MANIFEST)[:12]


def test_the_manifest_appears_first_and_the_graph_last(version, store):
    publish_to("objects://bucket/models", version)
    appeared = [key.removeprefix(f"{TARGET}/") for kind, key in store.changes if kind == "copy"]
    assert (appeared[0], appeared[-1]) == ("assets.extra/manifest.json", "saved_model.pb")
    assert VARIABLES in appeared


# Killed by SIGKILL before the n-th time that it opens, makes or renames something in the destination, for every n.
KILLS = """
import os, pathlib, signal, sys
from pipelines.publish import publish
from pipelines.sources.location import Location

version, out = pathlib.Path(sys.argv[1]), sys.argv[2]
left = -1

def watch(event, arguments):
    global left
    if event in ("open", "os.mkdir", "os.rename", "os.remove") and out in str(arguments):
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

sys.addaudithook(watch)
for number in range(1000):
    if not (child := os.fork()):
        left = number
        publish(version, "patterns", Location.parse(f"{out}/{number}"))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_killed_at_any_moment_no_part_of_a_version_is_in_a_folder_and_the_next_run_goes_on(version, tmp_path):
    out = tmp_path / "out"
    subprocess.run([sys.executable, "-c", KILLS, version, out], check=True, timeout=100)
    states = []
    for place in sorted(out.iterdir(), key=lambda entry: int(entry.name)):
        base_path = place / "patterns"
        states.append((base_path / "1").exists() and assert_none_or_whole(base_path / "1"))
        publish_to(place, version)
        assert [entry.name for entry in base_path.iterdir()] == ["1"]
        assert checksums.findings(base_path / "1") == []
    assert len(states) > 2 * len(publish.in_order(version))
    assert states == sorted(states)
    assert states[-1]


class Renaming(MemoryFileSystem):
    """One that is not local."""

    protocol = "sftp"
    store, pseudo_dirs = {}, [""]

    def mv(self, old, new, **_):
        for path in [path for path in self.store if path.startswith(f"{old}/")]:
            self.store[new + path.removeprefix(old)] = self.store.pop(path)

    def cp_file(self, path1, path2, **_):
        raise NotImplementedError


def test_where_folders_can_be_renamed_they_are_and_never_into_another_one(version):
    fs = Renaming()
    place = Location("sftp://host/models", fs, "/models")
    fs.mkdir("/models/patterns/1")
    with pytest.raises(PublishFailed, match="1 cannot be written: FileExistsError: an empty folder is there"):
        publish.publish(version, "patterns", place)
    fs.rmdir("/models/patterns/1")
    publish.publish(version, "patterns", place)
    assert set(fs.store) == {f"/models/patterns/1/{file.path}" for file in publish.in_order(version)}


def test_what_is_there_is_told_and_nothing_is_sent(version, store):
    first = publish_to("objects://bucket/models", version)
    changes = list(store.changes)
    again = publish_to("objects://bucket/models", version)
    assert (first.url, first.files, first.missing) == (f"objects://{TARGET}", len(store.keys), len(store.keys))
    assert first.size == sum(map(len, store.keys.values()))
    assert again.missing == 0
    assert store.changes == changes


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("more.txt", lambda content: b""),
        ("saved_model.pb", lambda content: b"123"),
        ("assets.extra/manifest.json", lambda content: content[::-1]),  # as long
    ],
)
def test_other_content_is_refused_and_stays(version, store, verify, key, change):
    publish_to("objects://bucket/models", version)
    path = f"{TARGET}/{key}"
    store.keys[path] = change(store.keys.get(path))
    before = dict(store.keys)
    with pytest.raises(ReleaseRefused, match=rf"there with other content \({key}\): versions are never overwritten"):
        publish_to("objects://bucket/models", version, verify=verify)
    assert store.keys == before


def test_only_reading_back_finds_other_content_of_the_same_size(version, store):
    publish_to("objects://bucket/models", version)
    store.keys[f"{TARGET}/{VARIABLES}"] = bytes(len(store.keys[f"{TARGET}/{VARIABLES}"]))
    assert publish_to("objects://bucket/models", version, verify=False).missing == 0
    with pytest.raises(ReleaseRefused, match=VARIABLES):
        publish_to("objects://bucket/models", version)


def test_what_does_not_arrive_as_it_was_sent_never_appears(version, store, monkeypatch):
    monkeypatch.setattr(ObjectStore, "put_file", lambda self, source, key, **_: self._change("put", key, b"?"))
    for verify, message in ((True, "its SHA-256 differs"), (False, "does not hold what was sent")):
        with pytest.raises(PublishFailed, match=message):
            publish_to("objects://bucket/models", version, verify=verify)
        assert not [key for key in store.keys if key.startswith(TARGET)]


def test_a_version_that_comes_from_elsewhere_meanwhile_is_not_mixed_with_this_one(version, store, monkeypatch):
    def put_file(self, source, key, **_):
        self._change("put", key, Path(source).read_bytes())
        self.keys[f"{TARGET}/assets.extra/manifest.json"] = b"of another one"

    monkeypatch.setattr(ObjectStore, "put_file", put_file)
    with pytest.raises(ReleaseRefused, match="there with other content"):
        publish_to("objects://bucket/models", version)
    assert [key for key in store.keys if key.startswith(TARGET)] == [f"{TARGET}/assets.extra/manifest.json"]


def test_what_a_crash_of_the_machine_left_is_sent_again(version, tmp_path):
    aside = tmp_path / "out" / "patterns" / f".publishing-1-{digest(version)}"
    shutil.copytree(version, aside)
    (aside / "saved_model.pb").write_bytes(b"cut")
    (aside / VARIABLES).write_bytes(bytes((version / VARIABLES).stat().st_size))
    publish_to(tmp_path / "out", version)
    assert checksums.findings(tmp_path / "out" / "patterns" / "1") == []


def test_a_folder_takes_no_version_that_somebody_began_to_copy(version, tmp_path):
    begun = tmp_path / "out" / "patterns" / "1"
    shutil.copytree(version, begun)
    (begun / "saved_model.pb").unlink()
    with pytest.raises(ReleaseRefused, match=r"1 lacks saved_model\.pb\. Remove it"):
        publish_to(tmp_path / "out", version)


def test_bytes_are_counted_as_they_are_sent_and_read(version, store):
    seen = []
    callback = Callback(hooks={"seen": lambda size, value, **_: seen.append((size, value))})
    published = publish_to("objects://bucket/models", version, callback=callback)
    assert seen[-1][0] == seen[-1][1] == 2 * published.size
    assert [value for _, value in seen] == sorted(value for _, value in seen)


def test_the_command_publishes_the_stable_version_or_the_newest(version, store):
    shutil.copytree(version, version.parent / "2")
    folder = version.parent.parent.parent

    def command(*options):
        answer = call_cli("release", "publish", "patterns", "objects://bucket/models", *options, cwd=folder)
        return answer.returncode, answer.stdout, answer.stderr

    code, out, err = command("--dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("would publish objects://bucket/models/patterns/2: 8 files, ")
    assert not store.keys
    releases.promote(version.parent, 1, force=True)
    assert command()[1].startswith(f"published objects://{TARGET}: 8 files, ")
    code, out, err = command("--version", "1")
    assert (code, out) == (0, "")
    assert err.startswith(f"objects://{TARGET} is there already, as it was exported: 8 files, ")
    assert "there already, by the sizes of its files" in command("--version", "1", "--no-verify")[2]
    (version / "more").touch()
    code, _, err = command()
    assert code == 1
    assert "1 is not as it was exported: more is not in the manifest" in err


@pytest.mark.parametrize(
    ("place", "code", "message"),
    [
        ("", 2, 'Expected a path or a URL. Received: nothing; "." is this folder.'),
        ("nothing://bucket", 2, "Protocol not known: nothing"),
        ("s3://bucket", 2, "needs a package that is not installed: pip install s3fs"),
        ("memory://models/file", 1, "cannot be written"),
        ("data:,x", 2, "Expected a place that can be written to, such as gs://bucket/models. Received: data:,x."),
    ],
)
def test_what_cannot_be_is_told_in_a_line(version, monkeypatch, place, code, message):
    monkeypatch.setitem(sys.modules, "s3fs", None)  # installed or not
    fsspec.filesystem("memory").pipe("/models/file", b"no folder")
    answer = call_cli("release", "publish", "patterns", place, cwd=version.parent.parent.parent)
    fsspec.filesystem("memory").rm("/models", recursive=True)
    assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (code, "", 1)
    assert message in answer.stderr
