from __future__ import annotations

import logging

import pytest

from serving.errors import InvalidArgument, Unauthenticated
from serving.server.security.tokens import Tokens

FIRST, SECOND = "a1b2c3d4e5f6a7b8", "secret-two_~+/=="


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# of the front end\n{FIRST}\n\n  {SECOND}  \n")
    return path


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_who_carries_a_token_has_a_name_of_their_own(file):
    tokens = Tokens(file)
    names = {tokens.client(f"Bearer {FIRST}"), tokens.client(f"bearer  {SECOND}")}
    assert len(names) == 2
    assert not any(token in name for name in names for token in (FIRST, SECOND))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        FIRST,
        f"Basic {FIRST}",
        f"Bearer {FIRST}x",
        f"Bearer {FIRST} x",
        "Bearer #",
        "Bearer \udcff",
    ],
)
def test_others_are_refused(file, header):
    with pytest.raises(Unauthenticated) as refused:
        Tokens(file).client(header)
    assert FIRST not in refused.value.message


def test_a_changed_file_is_read_again(file):
    clock = Clock()
    tokens = Tokens(file, clock)
    file.write_text("brand-new-token\n")
    assert tokens.client(f"Bearer {FIRST}")  # the file is looked at once a second
    clock.now = 1.0
    assert tokens.client("Bearer brand-new-token")
    with pytest.raises(Unauthenticated):
        tokens.client(f"Bearer {FIRST}")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("two words\n")])
def test_a_damaged_file_leaves_the_former_tokens(file, damage, caplog):
    clock = Clock()
    tokens = Tokens(file, clock)
    damage(file)
    clock.now = 1.0
    with caplog.at_level(logging.ERROR):
        assert tokens.client(f"Bearer {FIRST}")
        clock.now = 2.0
        assert tokens.client(f"Bearer {FIRST}")
    assert [record.message.startswith("The former tokens stay valid") for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("text", "told"), [("", "holds none"), ("# nothing\n", "holds none"), ("ok\nmy secret\n", ":2: a token must be")]
)
def test_a_file_without_usable_tokens_is_refused(tmp_path, text, told):
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=told) as refused:
        Tokens(path)
    assert "secret" not in refused.value.message


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="No such file"):
        Tokens(tmp_path / "none")
