"""The report of a data set: whole, small, safe and the same each time, whatever the files are called and hold."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from pipelines import manifest
from pipelines.problems import EXPLANATIONS, Problem, ProblemKind
from pipelines.reports import data as data_report
from pipelines.reports import gallery, page, thumbnails

LIMIT = 3_000_000
VOID = {"meta", "img", "source", "wbr", "br", "link"}
UGLY = (
    "<script>alert(1)</script>",
    "a\"b'c",
    "line\nbreak",
    "\udcff\udcfe",
    "\u202egnp.exe",
    "犬 👩‍🚀",
    "{{ 7 * 7 }}",
    "x" * 3000,
)


def encoded(height: int = 40, width: int = 60, form: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture whose colours change evenly."""
    rows, columns = np.mgrid[0 : 255 : height * 1j, 0 : 255 : width * 1j]
    return saved(np.stack([rows, columns, 255 - rows], axis=-1).astype(np.uint8), form, mode)


def noise(height: int, width: int) -> bytes:
    """The picture that is hardest to make small."""
    return saved(np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8))


def saved(image: np.ndarray, form: str = "PNG", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, format=form)
    return file.getvalue()


def row(path: str, label: str, split: str = "train", width: int = 60, height: int = 40, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(path.encode()).hexdigest()
    values = {"id": digest[:16], "path": path, "label": label, "split": split, "width": width, "height": height}
    values |= {"mode": "RGB", "format": "PNG", "bytes": 1000, "sha256": digest, "group": "", "weight": 1.0}
    return values | {"shard": "", "offset": 0} | more


def rows(classes: int = 3, each: int = 10) -> list[dict[str, Any]]:
    """A tidy data set: every class as large as the others, and in every split."""
    splits = (*["train"] * (each - 2), "validation", "test")
    names = [f"class {number:03d}" for number in range(classes)]
    return [row(f"{name}/{i}.png", name, split) for name in names for i, split in enumerate(splits)]


def describe(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not examples:
        return {key: {} for key in ("splits", "classes", "modes", "formats", "sizes", "problems")} | {
            "pictures": 0,
            "bytes": 0,
            "mean": [],
            "std": [],
        }
    counts: dict[str, Counter[str]] = {}
    for example in examples:
        counts.setdefault(example["label"], Counter())[example["split"]] += 1
    sides = {side: [example[side] for example in examples] for side in ("width", "height")}
    ranges = {side: {"min": min(of), "median": float(np.median(of)), "max": max(of)} for side, of in sides.items()}
    longest = int(max(sides["width"] + sides["height"]))
    return {
        "pictures": len(examples),
        "bytes": sum(example["bytes"] for example in examples),
        "splits": dict(Counter(example["split"] for example in examples)),
        "classes": {name: dict(count) for name, count in counts.items()},
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "modes": dict(Counter(example["mode"] for example in examples)),
        "formats": dict(Counter(example["format"] for example in examples)),
        "sizes": {**ranges, "histogram": [[0, longest, 0], [longest, longest + 1, len(examples)]]},
        "problems": {},
    }


def render(
    examples: Sequence[dict[str, Any]],
    problems: Sequence[Problem] = (),
    read: Callable[[str], bytes] = lambda path: encoded(),
    name: str = "animals",
    class_names: Sequence[str] = (),
) -> str:
    table = pa.Table.from_pylist(list(examples), schema=manifest.SCHEMA)
    facts = {"class_names": list(class_names) or sorted({example["label"] for example in examples}), "root": "/photos"}
    return data_report.render(name, table, facts, describe(examples), problems, read)


class Checker(HTMLParser):
    """Collects what a browser would see; fails where tags are not balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        assert not [key for key, _ in attrs if key.startswith("on")]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)
        self.text += " " * (tag != "wbr")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data if self.open[-1:] != ["style"] else ""


def text_of(text: str) -> str:
    return " ".join(Checker(text).text.split())


@pytest.fixture(scope="module")
def tidy() -> str:
    return render(rows())


def test_page_needs_no_other_file(tidy: str) -> None:
    sources = re.findall(r"""(?:src|srcset|href)\s*=\s*["']([^"']*)""", tidy)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"https?://|<script|<link|@import|url\(", tidy)


def test_a_tidy_set_needs_no_attention(tidy: str) -> None:
    text = text_of(tidy)
    for part in ("animals 30 pictures in 3 classes", "Source /photos", "Train 24 (80.0 %)", "Size 30.0 kB", "Nothing:"):
        assert part in text
    assert "Every picture is 60 × 40 pixels" in text
    assert "--set data.source=animals" in text
    assert not re.search("Duplicates|Broken|Other faults|Label conflicts", text)


def test_the_same_input_gives_the_same_page() -> None:
    examples = [*rows(), row("a", "class 000", width=500, height=33)]
    assert render(examples, [Problem("duplicate", "z", "same as a")]) == render(
        examples, [Problem("duplicate", "z", "same as a")]
    )


@pytest.mark.parametrize("kind", EXPLANATIONS)
def test_every_kind_of_problem_is_counted_and_explained(kind: str) -> None:
    text = text_of(render(rows(), [Problem(kind, f"file {number}", "why") for number in range(1234)]))
    assert f"1,234 {kind.replace('_', ' ')} {EXPLANATIONS[kind]}" in text
    assert "file 0" in text


def test_tells_of_imbalance_missing_classes_and_grey() -> None:
    examples = [*rows(2, 200), row("tiny/0.png", "tiny", mode="L"), row("tiny/1.png", "tiny", "test")]
    text = text_of(render(examples, class_names=["class 000", "class 001", "tiny", "never"]))
    assert (
        "198 : 1 between the largest and the smallest class “class 000” has 198 pictures in train, “tiny” has 1" in text
    )
    assert "1 of 4 classes missing in train Without a picture there, they cannot be learned: never." in text
    assert "2 of 4 classes missing in validation Without a picture there, they are not measured: tiny, never." in text
    assert "1 of 402 pictures are grey among coloured ones (0.2 %)" in text


def test_ten_to_one_is_no_imbalance() -> None:
    examples = [row(f"{name}{number}", name) for name, count in (("a", 10), ("b", 1)) for number in range(count)]
    assert "smallest class" not in text_of(render(examples))
    assert "11 : 1 between the largest and the smallest class" in text_of(render([*examples, row("a10", "a")]))


def test_tells_of_small_and_very_different_sizes() -> None:
    sizes = [(60, 40), (20, 31), (900, 200)]
    examples = [row(f"{width}.png", "a", width=width, height=height) for width, height in sizes]
    text = text_of(render(examples))
    assert "1 of 3 pictures have a side under 32 pixels The smallest is 20 × 31." in text
    assert "29 : 1 between the largest and the smallest picture The longer sides go from 31 to 900 pixels" in text
    assert "1 of 3 pictures have a side over 3 times the other" in text
    assert "Widths from 20 to 900 pixels, median 60" in text
    assert "900 to 901 3" in text  # the histogram without its empty bins


def test_small_pictures_alone_are_no_fault() -> None:
    text = text_of(render([row(f"{i}", "a", width=28, height=28, mode="L") for i in range(3)]))
    assert "Nothing:" in text


def test_samples_say_how_many_there_are(tidy: str) -> None:
    assert "class 000 8 of 10 pictures" in text_of(tidy)
    assert len(Checker(tidy).images) == 3 * 8


def test_more_than_forty_classes() -> None:
    text = render(rows(300, 3))
    assert "40 of 300 classes, up to 8 pictures each" in text_of(text)
    assert len(Checker(text).images) == 40 * 3
    assert "260 classes between" in text_of(text)
    assert {f"class {number:03d}" for number in range(300)} <= set(re.findall(r'<th scope="row">(.+?)</th>', text))


def test_the_largest_data_sets_give_a_small_page() -> None:
    contents = [noise(144, 144 + number) for number in range(5)]
    names = [f"{number:04d} {'n' * 200}" for number in range(1200)]
    examples = [row(f"{name}/{i}.png", name, manifest.SPLITS[i % 3], 100 + i, 99) for name in names for i in range(8)]
    paths = [example["path"] for example in examples]
    details = {
        "duplicate": "same as {}",
        "label_conflict": "also in x: {}",
        "near_duplicate": "in train, nearly {} in test",
    }
    problems = [
        Problem(kind, path, details.get(kind, "d" * 500).format(paths[1000 + number // 8]))
        for kind in EXPLANATIONS
        for number, path in enumerate(paths[:1000])
    ]
    text = render(examples, problems, lambda path: contents[int(path[:4]) % 5], class_names=names)
    assert len(text.encode()) < LIMIT
    seen = Checker(text)
    assert len(seen.images) > 400
    assert "1,000 of 1,200 classes" in seen.text
    assert "Drawn are 5,000 of 9,600 pictures" in seen.text


@pytest.mark.parametrize("ugly", UGLY)
def test_names_are_text_not_markup(ugly: str) -> None:
    stored = ugly.encode(errors="replace").decode()  # a manifest is UTF-8; only problems name files that are not
    examples = [row(f"{stored}/1.png", stored), row(f"{stored}/2.png", stored, width=99)]
    problems = [Problem(kind, f"{ugly}/{kind}", f"same as {ugly}") for kind in EXPLANATIONS]
    seen = Checker(render(examples, problems, name=stored))
    assert not seen.tags["script"]
    assert page.plain(ugly)[:12] in seen.text
    assert not set(seen.text) & set("\u202e\udcff")


@given(st.text(st.characters(categories=None), max_size=60))
def test_any_text_can_be_shown(text: str) -> None:
    shown = page.plain(text)
    assert all(letter.isprintable() or letter in page.JOINERS for letter in shown)
    shown.encode()
    assert len(page.shorten(text, 20)) <= 20
    assert html.unescape(str(page.breakable(text)).replace("<wbr>", "")) == shown


def test_shows_duplicates_side_by_side() -> None:
    kept = row("cat/a.png", "cat")
    problems = [Problem(ProblemKind.DUPLICATE, f"cat/{number}.png", "same as cat/a.png") for number in range(9)]
    text = text_of(render([kept, row("dog/b.png", "dog")], [*problems, Problem("duplicate", "x.png", "?")]))
    assert "Files with the same bytes in one class: 2 groups" in text
    assert "6 of 10 files cat/a.png cat kept cat/0.png left out" in text


def test_shows_label_conflicts_with_their_classes() -> None:
    problems = [
        Problem(ProblemKind.LABEL_CONFLICT, "cat: wild/a.png", "also in dog: tame: dog: tame/a.png"),
        Problem(ProblemKind.LABEL_CONFLICT, "dog: tame/a.png", "also in cat: wild: cat: wild/a.png"),
    ]
    text = text_of(render(rows(), problems))
    assert "1 group. A network cannot learn both. cat: wild cat: wild/a.png left out dog: tame dog: tame/a.png" in text


def test_shows_near_duplicates_with_their_splits() -> None:
    examples = [*rows(), row("kept one.png", "class 000", "test")]
    problems = [Problem(ProblemKind.NEAR_DUPLICATE, "out.png", "in train, nearly kept one.png in test")]
    text = text_of(render(examples, problems))
    assert "1 pair. train out.png left out test kept one.png class 000 kept" in text


def test_shows_what_there_is_of_broken_files() -> None:
    whole = encoded(400, 400, "JPEG")
    contents = {"cut.jpg": whole[: len(whole) // 2], "bad.png": b"\x89PNG\r\n\x1a\n", "named.png": whole}
    kinds = {"cut.jpg": "truncated", "bad.png": "undecodable", "named.png": "wrong_extension", "bomb.png": "bomb"}
    seen: list[str] = []

    def read(path: str) -> bytes:
        seen.append(path)
        return contents.get(path, whole)

    problems = [Problem(kind, path, f"detail of {path}") for path, kind in kinds.items()]
    text = render(rows(1), problems, read)
    assert {image["alt"] for image in Checker(text).images} >= {"cut.jpg", "named.png"}
    assert text.count('class="blank"') == 2
    assert "detail of bomb.png" in text_of(text)
    assert "bomb.png" not in seen


def test_some_of_each_kind_of_broken_file_is_shown() -> None:
    problems = [Problem("empty_file", f"{number}", "0 bytes") for number in range(100)]
    text = text_of(render(rows(1), [*problems, Problem("truncated", "the only one", "cut")]))
    assert "24 of 101 files, with what can be seen of them" in text
    assert "the only one" in text


def test_a_source_that_is_gone_leaves_the_reason() -> None:
    def read(path: str) -> bytes:
        raise FileNotFoundError(2, "No such file or directory", path)

    text = render(rows(1), read=read)
    assert text.count("No such file or directory") == 8


def test_without_any_picture() -> None:
    text = text_of(render([], [Problem("empty_file", "a", "0 bytes")], class_names=["cat"]))
    assert "0 pictures in 1 class" in text
    assert "There is no picture to show." in text
    assert "cnn-tf train" not in text


def thumbnail(content: bytes) -> thumbnails.Thumbnail:
    return thumbnails.make(["a"], lambda path: content)["a"]


def opened(small: thumbnails.Thumbnail) -> Image.Image:
    return Image.open(io.BytesIO(small.content))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16"])
def test_thumbnails_of_every_mode(mode: str) -> None:
    small = thumbnail(encoded(300, 200, "TIFF" if mode == "CMYK" else "PNG", mode))
    assert (small.size, opened(small).size) == ((96, 144), (96, 144))
    assert len(small.content) <= thumbnails.MAX_BYTES


def test_thumbnails_keep_small_pictures_exactly() -> None:
    content = noise(28, 20)
    np.testing.assert_array_equal(np.asarray(opened(thumbnail(content))), np.asarray(Image.open(io.BytesIO(content))))


def test_thumbnails_of_noise_become_smaller_rather_than_larger() -> None:
    small = thumbnail(noise(144, 144))
    assert len(small.content) <= thumbnails.MAX_BYTES
    assert max(small.size) < thumbnails.SIDE


def test_thumbnails_are_upright_and_transparent_parts_white() -> None:
    picture = Image.new("RGBA", (50, 30), (255, 0, 0, 0))
    picture.putpixel((0, 0), (0, 0, 0, 255))
    file = io.BytesIO()
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned clockwise
    picture.save(file, format="PNG", exif=exif)
    small = opened(thumbnail(file.getvalue()))
    assert small.size == (30, 50)
    assert small.getpixel((29, 0)) == (0, 0, 0)
    assert small.getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_keep_their_upper_eight() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((5, 5), 0x80FF, np.uint16)).save(file, format="PNG")
    assert opened(thumbnail(file.getvalue())).convert("L").getpixel((2, 2)) == 0x80


def test_pictures_of_too_many_pixels_are_not_decoded() -> None:
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, format="PNG")
    assert thumbnail(file.getvalue()).reason == "It has too many pixels to be shown."


@pytest.mark.parametrize("content", [b"", b"text", encoded()[:20], b"GIF89a", b"\xff\xd8\xff\xe0"])
def test_thumbnails_of_nonsense_have_a_reason(content: bytes) -> None:
    small = thumbnail(content)
    assert not small.content
    assert small.reason


def test_pillow_is_as_strict_afterwards(tidy: str) -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda pair: (str(pair[0]), str(pair[1])))))
def test_connected_paths_are_one_group(edges: list[tuple[str, str]]) -> None:
    groups = gallery.connected(edges)
    members = [path for group in groups for path in group]
    assert sorted(members) == sorted({path for edge in edges for path in edge})
    for one, other in edges:
        assert any(one in group and other in group for group in groups)
    for group in groups:
        assert set(group) == set(reachable(group[0], edges))


def reachable(start: str, edges: Sequence[tuple[str, str]]) -> Iterator[str]:
    seen, waiting = {start}, [start]
    while waiting:
        path = waiting.pop()
        yield path
        near = {one if other == path else other for one, other in edges if path in (one, other)} - seen
        seen |= near
        waiting += near


def test_images_hold_pictures(tidy: str) -> None:
    source = Checker(tidy).images[0]["src"] or ""
    assert Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).size == (60, 40)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (1234567, "1.2 MB"), (10**18, "1,000,000.0 TB")],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert page.readable_bytes(count) == text.replace(" ", "\N{NO-BREAK SPACE}", 1)
