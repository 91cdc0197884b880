"""What a file that is not a WAV looks like, so that the error can say it."""

from __future__ import annotations

__all__ = ["looks_like"]

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"OggS", "an Ogg file (Vorbis or Opus)"),
    (0, b"fLaC", "a FLAC file"),
    (0, b"ID3", "an MP3 file"),
    (0, b".snd", "an AU file"),
    (0, b"caff", "a CAF file"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"RIFX", "a big-endian WAV file (RIFX)"),
    (0, b"riff", "a Sony Wave64 file"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
    (0, b"0&\xb2u", "a Windows Media file"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (4, b"ftyp", "an MP4 or M4A file"),
    (8, b"AIFF", "an AIFF file"),
    (8, b"AIFC", "an AIFF-C file"),
    (8, b"AVI ", "an AVI file"),
)


def looks_like(head: bytes) -> str:
    """A name for what begins with these bytes (12 or more where the file has them)."""
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "an MP3 or AAC file"
    if _is_text(head):
        return "a text file"
    return f"unknown data that begins with {head[:8].hex(' ')}"


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")
    cut = len(head) - len(text.encode())  # the head may end inside a character
    return bool(text) and cut < 4 and all(c.isprintable() or c in "\t\r\n\ufeff" for c in text)
