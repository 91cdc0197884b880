"""What report.html looks like: report.css and report.js beside this file, which the page carries in itself."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SCRIPT", "STYLE"]

_HERE = Path(__file__).parent
STYLE: str = (_HERE / "report.css").read_text(encoding="utf-8")
SCRIPT: str = (_HERE / "report.js").read_text(encoding="utf-8")
