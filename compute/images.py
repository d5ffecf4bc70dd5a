"""Names of images. Pure."""

from __future__ import annotations


def strip_digest(image: str) -> str:
    """Give an image's name without its digest; tags never change what they name.

    >>> strip_digest("repo:tag@sha256:x"), strip_digest("repo@sha256:x"), strip_digest("repo:tag")
    ('repo:tag', 'repo', 'repo:tag')
    """
    return image.partition("@")[0]
