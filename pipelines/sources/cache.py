"""Where downloads are kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """For all projects of this user; the environment variable CNN_TF_CACHE moves it."""
    return Path(os.environ.get("CNN_TF_CACHE") or platformdirs.user_cache_path("cnn-tf"))
