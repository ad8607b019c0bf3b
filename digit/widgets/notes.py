"""Tags and notes on frames."""

import json
from pathlib import Path

from digit.files import write_json
from digit.widgets.frame_view import sentence


class Marks:
    """Tags and notes by frame, in a JSON file that is replaced whole at each change.

    Each change reads the file first: two kernels may write to one. Without a path they live as long
    as the object. ValueError for a file that cannot be read; it is never written over.
    """

    def __init__(self, path: Path | None):
        self.path, self.all, self.undone = path, {}, []

    def read(self) -> None:
        """Take what the file says now."""
        try:
            if self.path is not None and self.path.exists():
                found = json.loads(self.path.read_text())
                self.all = {
                    k: {"tags": [*v["tags"]], "note": v["note"]}
                    for k, v in found.items()
                }
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            fault = f"{self.path}: cannot be read as tags and notes ({sentence(error)})"
            raise ValueError(
                f"{fault}; mend it or move it away, nothing is saved"
            ) from None

    def of(self, key: str) -> dict:
        """{"tags": […], "note": "…"} of a frame."""
        return self.all.get(key, {"tags": [], "note": ""})

    def put(self, key: str, mark: dict, undoing: bool = False) -> None:
        """Set and save a frame's tags and note."""
        self.read()
        if not undoing:
            self.undone.append((key, self.of(key)))
        self.all = {
            k: v for k, v in (self.all | {key: mark}).items() if v["tags"] or v["note"]
        }
        if self.path is not None:
            write_json(self.path, self.all)
