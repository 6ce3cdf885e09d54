"""What can be wrong with the files of a data set. `cnn-tf prepare` names each fault in problems.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


class ProblemKind:
    """Names of the kinds, as they stand in problems.csv."""

    EMPTY_FILE = "empty_file"
    NOT_A_PICTURE = "not_a_picture"
    UNREADABLE = "unreadable"
    UNDECODABLE = "undecodable"
    TRUNCATED = "truncated"
    UNSUPPORTED = "unsupported"
    WRONG_EXTENSION = "wrong_extension"
    BOMB = "bomb"
    OUTSIDE_LINK = "outside_link"
    DUPLICATE = "duplicate"
    LABEL_CONFLICT = "label_conflict"
    NEAR_DUPLICATE = "near_duplicate"
    EMPTY_CLASS = "empty_class"
    SINGLE_CLASS = "single_class"
    NO_CLASS = "no_class"
    MISSING = "missing"
    BAD_ROW = "bad_row"


# Kind -> what it means, for people.
EXPLANATIONS: Mapping[str, str] = {
    ProblemKind.EMPTY_FILE: "The file has no bytes.",
    ProblemKind.NOT_A_PICTURE: "The file is of another kind: text, an archive, a program.",
    ProblemKind.UNREADABLE: "The file cannot be opened or read.",
    ProblemKind.UNDECODABLE: "It begins as a picture, and its content is damaged.",
    ProblemKind.TRUNCATED: "It begins as a picture, and its end is missing.",
    ProblemKind.UNSUPPORTED: "A picture of a kind that TensorFlow, and so a served model, does not decode.",
    ProblemKind.WRONG_EXTENSION: "Its name says one format and its content is another.",
    ProblemKind.BOMB: "Its header announces more pixels than are allowed; it was not decoded.",
    ProblemKind.OUTSIDE_LINK: "A link to a file or folder outside of the data set.",
    ProblemKind.DUPLICATE: "The same bytes as another file of its class, which is kept.",
    ProblemKind.LABEL_CONFLICT: "The same bytes are in several classes; none of them is kept.",
    ProblemKind.NEAR_DUPLICATE: "Nearly the same picture as one in another split, which is kept.",
    ProblemKind.EMPTY_CLASS: "A class without a picture that can be used.",
    ProblemKind.SINGLE_CLASS: "A split in which all pictures are of one class.",
    ProblemKind.NO_CLASS: "A picture that lies in no class folder.",
    ProblemKind.MISSING: "The table names a file that is not there.",
    ProblemKind.BAD_ROW: "A line of the table that cannot be understood.",
}

COLUMNS = ("kind", "path", "detail")


@dataclass(frozen=True, order=True)
class Problem:
    """A fault: its kind, the file, folder or split that has it, and what exactly is wrong."""

    kind: str
    path: str
    detail: str


def to_csv(problems: Iterable[Problem]) -> str:
    """As text, sorted by kind and path, with a line of headings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((problem.kind, problem.path, problem.detail) for problem in sorted(problems))
    return text.getvalue()


def from_csv(text: str) -> list[Problem]:
    """The problems in a text that `to_csv` wrote."""
    return [Problem(*row) for row in list(csv.reader(io.StringIO(text)))[1:]]
