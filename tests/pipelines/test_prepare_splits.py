from __future__ import annotations

import collections

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UsageError
from pipelines.prepare.splits import Member, assign, by_share, position, require_whole_groups

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
UNITS = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=40)


@st.composite
def members(draw) -> list[Member]:
    """Pictures of up to three classes, each unit of one or a few, some with a split."""
    made = []
    for unit in draw(UNITS):
        split = draw(st.sampled_from([None, None, None, "train", "test"]))
        labels = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
        made += [Member(unit, label, split if number == 0 else None) for number, label in enumerate(labels)]
    return draw(st.permutations(made))


def test_position_is_the_beginning_of_the_sha_256():
    assert position("") == 0xE3B0C44298FC1C14 / 2**64


@given(units=UNITS, others=UNITS)
def test_a_split_depends_on_the_content_alone(units, others):
    alone = {unit: assign([Member(unit, "a")], SHARES)[0] for unit in units}
    together = [Member(unit, "b") for unit in others] + [Member(unit, "a") for unit in units]
    assert dict(zip(units, assign(together, SHARES)[len(others) :], strict=True)) == alone


@given(members=members(), stratify=st.booleans())
def test_units_are_never_divided_and_known_splits_never_change(members, stratify):
    chosen = assign(members, SHARES, stratify=stratify)
    splits = collections.defaultdict(set)
    for member, split in zip(members, chosen, strict=True):
        assert split in SHARES
        assert member.split in (None, split)
        splits[member.unit].add(split)
    assert all(len(found) == 1 for found in splits.values())


@given(members=members(), stratify=st.booleans(), data=st.data())
def test_the_order_of_pictures_changes_nothing(members, stratify, data):
    chosen = dict(zip(members, assign(members, SHARES, stratify=stratify), strict=True))
    shuffled = data.draw(st.permutations(members))
    assert dict(zip(shuffled, assign(shuffled, SHARES, stratify=stratify), strict=True)) == chosen


@given(seed=st.integers(0, 10**9), train=st.integers(0, 10), test=st.integers(0, 10))
@settings(max_examples=20)
def test_shares_are_met_within_five_standard_deviations(seed, train, test):
    if train + test > 10:
        train, test = 10 - train, 10 - test
    shares = {"train": train / 10, "validation": (10 - train - test) / 10, "test": test / 10}
    count = 2000
    found = collections.Counter(by_share(f"{seed} {number}", shares) for number in range(count))
    for split, share in shares.items():
        assert abs(found[split] - count * share) <= 5 * (count * share * (1 - share)) ** 0.5 + 1e-9


@given(counts=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 200), min_size=1), seed=st.integers(0, 10**9))
@settings(max_examples=40)
def test_stratified_each_class_has_its_shares_to_a_picture(counts, seed):
    made = [Member(f"{seed} {name} {number}", name) for name, count in counts.items() for number in range(count)]
    chosen = assign(made, SHARES, stratify=True)
    found = collections.Counter((member.label, split) for member, split in zip(made, chosen, strict=True))
    for name, count in counts.items():
        for split, share in SHARES.items():
            assert abs(found[name, split] - share * count) < 1
        assert (found[name, "test"] > 0) == (count >= 4)


def test_stratified_additions_fill_what_is_lacking():
    before = [Member(f"old {number}", "a", "train") for number in range(80)]
    chosen = assign([*before, *(Member(f"new {number}", "a") for number in range(20))], SHARES, stratify=True)
    assert collections.Counter(chosen[80:]) == {"validation": 10, "test": 10}


def test_a_group_that_the_source_divides_is_refused():
    with pytest.raises(UsageError, match="group 'p7' is put both in train and in test"):
        require_whole_groups([Member("p7", "a", "train"), Member("p7", "a"), Member("p7", "b", "test")])
