"""The pictures of docs/lecture-note.md, drawn by the project's own code: `python -m docs.drawings`."""
