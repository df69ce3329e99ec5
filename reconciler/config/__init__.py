"""Text to Desired, or problems that point at the character.

The law of this floor: pure but for reading the files it is told to. No store, no clock, no network.
"""

from reconciler.config.files import default_paths, digest_files, find_files
from reconciler.config.loader import load, load_texts
from reconciler.config.schema import schema_text

__all__ = ["default_paths", "digest_files", "find_files", "load", "load_texts", "schema_text"]
