"""Pictures that a task makes of its runs, as PNG files and in the report."""

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from nowcast.types import UserError

SHOWN = "What the weights of each arm make after the last step of the run with the first seed."


def encoded(task: Any, image: Any) -> bytes:
    """The PNG file of an image that a task made.

    Args:
        task: The task; its name is for the message.
        image: Numbers from 0, black, to 1: ``(height, width, 3)``, or ``(height, width, 1)`` for
            grey. Values beyond are clipped; those that are not finite are black.

    Raises:
        UserError: The image has another shape, or holds no numbers.

    Examples:
        >>> import numpy as np
        >>> from evaluate.task_pictures import encoded
        >>> encoded(None, np.zeros((8, 6, 1)))[1:4]
        b'PNG'
    """
    from PIL import Image

    try:
        values: Float[np.ndarray, "height width C"] = np.asarray(image, np.float32)
    except (TypeError, ValueError):
        values = np.empty(0, np.float32)
    if values.ndim != 3 or values.shape[-1] not in (1, 3) or not values.size:
        raise UserError(
            f"{task.name}: picture(params, extra) gives {np.shape(values)}; give numbers"
            " from 0 to 1, as an array of the shape (height, width, 1) or (height, width, 3)"
        )
    finite = np.where(np.isfinite(values), values, 0)
    pixels = np.round(255 * np.clip(finite, 0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def section(images: Mapping[str, bytes]) -> list[str]:
    """The section of a page with the picture of each arm; empty where there are none.

    Args:
        images: PNG files by the names of the arms.

    Examples:
        >>> from evaluate.task_pictures import section
        >>> section({}), len(section({"constant": b"..."}))
        ([], 3)
    """
    if not images:
        return []
    figures = (
        f"<figure><figcaption>{html.escape(name)}</figcaption><img alt="
        f'"{html.escape(name)}" src="data:image/png;base64,{base64.b64encode(file).decode()}">'
        "</figure>"
        for name, file in images.items()
    )
    return [
        "<h2>What the runs make</h2>",
        f"<p>{html.escape(SHOWN)}</p>",
        f'<div class="made">{"".join(figures)}</div>',
    ]
