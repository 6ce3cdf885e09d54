"""A strict reader of Prometheus's text format: what it does not understand, it refuses."""

from __future__ import annotations

import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram)")
SAMPLE = re.compile(rf"({NAME})\{{((?:{LABEL}(?:,(?=\w))?)*)\}} (\S+)")

Labels = tuple[tuple[str, str], ...]


class Family:
    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self.samples: dict[tuple[str, Labels], float] = {}

    def value(self, suffix: str = "", **labels: str) -> float:
        return self.samples[self.name + suffix, tuple(labels.items())]

    def total(self, suffix: str = "", **labels: str) -> float:
        """The sum of all samples that have these labels among theirs."""
        chosen = [key for key in self.samples if key[0] == self.name + suffix and labels.items() <= set(key[1])]
        return sum(self.samples[key] for key in chosen)

    def labels(self) -> list[dict[str, str]]:
        return [dict(labels) for _, labels in self.samples]


def parse(page: str) -> dict[str, Family]:
    """Families by name. Raises ValueError at the first thing that Prometheus would not accept, or that is inconsistent."""
    families: dict[str, Family] = {}
    if not page.endswith("\n"):
        raise ValueError("The last line has no end")
    for line in page[:-1].split("\n"):
        if declared := TYPE.fullmatch(line):
            if declared[1] in families:
                raise ValueError(f"{declared[1]} comes twice")
            family = families[declared[1]] = Family(declared[1], declared[2])
        else:
            _add(family, line)
    for family in families.values():
        if family.kind == "histogram":
            _check(family)
    if list(families) != sorted(families):
        raise ValueError("Families are not sorted")
    return families


def _add(family: Family, line: str) -> None:
    sample = SAMPLE.fullmatch(line)
    if not sample:
        raise ValueError(f"Not a sample: {line!r}")
    suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
    labels = tuple((name, _unescape(value)) for name, value in re.findall(LABEL, sample[2]))
    key = (sample[1], labels)
    if sample[1] not in {family.name + suffix for suffix in suffixes} or key in family.samples:
        raise ValueError(f"Out of place: {line!r}")
    family.samples[key] = float(sample[5])


def _unescape(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), value)


def _check(family: Family) -> None:
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (name, labels), value in family.samples.items():
        if name == f"{family.name}_bucket":
            series.setdefault(labels[:-1], []).append((float(labels[-1][1]), value))
    for labels, buckets in series.items():
        if buckets != sorted(buckets) or [v for _, v in buckets] != sorted(v for _, v in buckets):
            raise ValueError(f"Not cumulative: {family.name}{labels}")
        if buckets[-1] != (math.inf, family.samples[f"{family.name}_count", labels]):
            raise ValueError(f"Count and last bucket differ: {family.name}{labels}")
        family.samples[f"{family.name}_sum", labels]
