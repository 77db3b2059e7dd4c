"""Content hashes, atomic writes, the cache of earlier results, and the versions of packages that affect results."""

from tflq.cache.content import contents, digest, identity, sha256, tree_bytes
from tflq.cache.files import clear_workspaces, link, uninterrupted, workspace, write
from tflq.cache.installation import install, is_unfinished
from tflq.cache.store import Entry, Store, default_store
from tflq.cache.versions import versions

__all__ = [
    "Entry",
    "Store",
    "clear_workspaces",
    "contents",
    "default_store",
    "digest",
    "identity",
    "install",
    "is_unfinished",
    "link",
    "sha256",
    "tree_bytes",
    "uninterrupted",
    "versions",
    "workspace",
    "write",
]
