"""Names for versions, such as "stable", that requests may use instead of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serving.errors import FailedPrecondition

Labels = Mapping[str, int]
"""Label -> version number."""


def require_assignable(
    name: str, wanted: Labels, current: Labels, is_available: Callable[[int], bool], *, allow_unavailable: bool
) -> None:
    """Raises FailedPrecondition unless every label may point where `wanted` says.

    A label may point at a version that is available. With `allow_unavailable` a new label may also point at one that is
    not, and one that stays may stay; but no label may be moved away from where requests find it.
    """
    for label, version in wanted.items():
        may_wait = allow_unavailable and current.get(label, version) == version
        if not may_wait and not is_available(version):
            raise FailedPrecondition(
                f"Request to assign label to version {version} of model {name}, "
                "which is not currently available for inference"
            )


def effective(wanted: Labels, current: Labels, is_available: Callable[[int], bool]) -> dict[str, int]:
    """Where the labels point for now: one that moves stays where it is until its new version is available."""
    return {
        label: version if is_available(version) else current.get(label, version) for label, version in wanted.items()
    }
