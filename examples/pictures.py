"""A task with a dependency of its own, from `requirements.txt`."""

import hashlib
import io
from typing import Any

from crossfade import task


@task(id="thumbnail", machine="small-2x")
def thumbnail(payload: dict[str, Any] | None) -> dict[str, Any]:
    """Draw a picture and shrink it: `{"width": 640, "height": 480, "size": 128}`.

    Pillow is imported here: deploying needs no more than this file.
    """
    from PIL import Image  # noqa: PLC0415

    asked = {"width": 640, "height": 480, "size": 128, **(payload or {})}
    picture = Image.radial_gradient("L").resize((asked["width"], asked["height"]))
    picture.thumbnail((asked["size"], asked["size"]))
    file = io.BytesIO()
    picture.save(file, format="PNG")
    data = file.getvalue()
    return {
        "width": picture.width,
        "height": picture.height,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
