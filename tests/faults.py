"""Plants faults into a folder of class folders of pictures. By hand, into a copy: python tests/faults.py FOLDER."""

from __future__ import annotations

import hashlib
import io
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageEnhance

from pipelines.prepare.settings import Settings
from pipelines.prepare.splits import by_share
from pipelines.problems import ProblemKind

SUFFIXES = (".jpg", ".jpeg", ".png")


def plant(folder: Path) -> dict[str, list[str]]:
    """ProblemKind -> paths, relative to `folder`, of the files (and class folders) that have it from now on."""
    victims = _pictures(folder)
    planted: dict[str, list[str]] = {}

    def put(kind: str, path: Path, content: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        planted.setdefault(kind, []).append(path.relative_to(folder).as_posix())

    place = next(victims).parent
    put(ProblemKind.EMPTY_FILE, place / "fault_empty.jpg", b"")
    put(ProblemKind.NOT_A_PICTURE, place / "fault_page.jpg", b"<!DOCTYPE html><title>404 Not Found</title>")
    put(ProblemKind.NOT_A_PICTURE, place / "fault_zeros.jpg", bytes(5000))
    put(ProblemKind.NOT_A_PICTURE, place / "fault_notes.txt", b"BMW and other cars, see the list\n" * 9)
    put(ProblemKind.UNSUPPORTED, place / "fault_scan.tif", _encoded(next(victims), "TIFF"))
    put(ProblemKind.UNSUPPORTED, place / "fault_phone.heic", struct.pack(">I", 24) + b"ftypheic" + bytes(600))
    put(ProblemKind.UNSUPPORTED, place / "fault_animated.webp", _animated_webp())
    put(ProblemKind.WRONG_EXTENSION, place / "fault_png.jpg", _encoded(next(victims), "PNG", brighter=1.5))
    put(ProblemKind.BOMB, place / "fault_bomb.png", _huge_png())
    put(ProblemKind.BOMB, place / "fault_frames.gif", _gif_of_many_frames())
    for form, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("BMP", "bmp"), ("WEBP", "webp")):
        content = _encoded(next(victims), form)
        put(ProblemKind.TRUNCATED, place / f"fault_half.{suffix}", content[: len(content) // 2])
    put(ProblemKind.TRUNCATED, place / "fault_no_end.jpg", _encoded(next(victims), "JPEG")[:-2])
    put(ProblemKind.UNDECODABLE, place / "fault_broken.png", _with_noise(_encoded(next(victims), "PNG")))
    put(ProblemKind.UNDECODABLE, place / "fault_broken.jpg", _with_noise(_encoded(next(victims), "JPEG")))
    loop = place / "fault_loop.jpg"
    loop.symlink_to(loop.name)
    planted[ProblemKind.UNREADABLE] = [loop.relative_to(folder).as_posix()]

    outside = place / "fault_outside.jpg"
    outside.symlink_to(__file__)
    planted[ProblemKind.OUTSIDE_LINK] = [outside.relative_to(folder).as_posix()]

    original = next(victims)
    put(ProblemKind.DUPLICATE, original.with_name(f"{original.stem}_again{original.suffix}"), original.read_bytes())
    original = next(victims)
    own_class = folder / original.relative_to(folder).parts[0]
    other = next(path for path in sorted(folder.iterdir()) if path.is_dir() and path != own_class)
    put(ProblemKind.LABEL_CONFLICT, other / f"fault_conflict{original.suffix}", original.read_bytes())
    planted[ProblemKind.LABEL_CONFLICT].append(original.relative_to(folder).as_posix())
    original = next(path for path in victims if _split(path.read_bytes()) == "test")
    put(ProblemKind.NEAR_DUPLICATE, original.with_name("fault_near.jpg"), _nearly(original))
    put(ProblemKind.NO_CLASS, folder / "fault_cover.jpg", _encoded(original, "JPEG", brighter=1.3))
    put(ProblemKind.EMPTY_FILE, folder / "fault_class" / "empty.png", b"")
    planted[ProblemKind.EMPTY_CLASS] = ["fault_class"]
    return planted


def _pictures(folder: Path) -> Iterator[Path]:
    return iter([path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES])


def _split(content: bytes) -> str:
    return by_share(hashlib.sha256(content).hexdigest(), Settings().shares)


def _encoded(path: Path, form: str, brighter: float = 1.1, **options: int) -> bytes:
    with Image.open(path) as image:
        # Not the pixels of any other file: nothing but the fault is to be found.
        changed = ImageEnhance.Brightness(image.convert("RGB")).enhance(brighter)
    stream = io.BytesIO()
    changed.save(stream, form, **options)
    return stream.getvalue()


def _nearly(path: Path) -> bytes:
    """The picture encoded anew, and so that it comes into the training split."""
    made = (_encoded(path, "JPEG", brighter=1.05, quality=quality) for quality in range(70, 95))
    return next(content for content in made if _split(content) == "train")


def _with_noise(content: bytes) -> bytes:
    """Its beginning and end are right, and nothing in between."""
    return content[:24] + bytes(255 - byte for byte in content[24:-12]) + content[-12:]


def _huge_png() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _animated_webp() -> bytes:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (90, 60), colour) for colour in ("red", "green")]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def _gif_of_many_frames() -> bytes:
    """The same frame 200 times: 200 times the memory when it is decoded."""
    stream = io.BytesIO()
    Image.new("L", (1000, 1000)).save(stream, "GIF")
    content = stream.getvalue()
    begin = 13 + 3 * 2 ** ((content[10] & 7) + 1)  # behind the header and the table of colours
    return content[:begin] + content[begin:-1] * 200 + content[-1:]


if __name__ == "__main__":
    for kind, paths in plant(Path(sys.argv[1])).items():
        sys.stdout.writelines(f"{kind},{path}\n" for path in paths)
