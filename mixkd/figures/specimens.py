"""A few test images as networks see them, each row one fixed transform. Shows pixels, loads nothing."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image

from mixkd.data import Dataset
from mixkd.figures.markup import Html

SHOWN = 12
_GAP = 1


def specimens(data: Dataset) -> Html:
    """Return the first test images side by side; under several fixed transforms, one row for each.

    Args:
        data: images; a sentence stands in their place for vectors and for images that are streamed.
    """
    images = data.splits["test"].images
    if not isinstance(images, torch.Tensor) or images.ndim != 4:
        words = "The inputs of this data set are no images that lie at hand."
        return Html(f"<p><em>{words}</em></p>", words)
    count = data.test_images
    shown = np.stack([images[view * count : view * count + SHOWN].numpy() for view in range(data.views)])  # (V, S, C, H, W)
    views, number, channels, tall, wide = shown.shape
    apart = np.pad(shown, [(0, 0)] * 3 + [(0, _GAP)] * 2).transpose(0, 3, 1, 4, 2)
    sheet = apart.reshape(views * (tall + _GAP), number * (wide + _GAP), channels)[:-_GAP, :-_GAP]
    packed = io.BytesIO()
    Image.fromarray(sheet[..., 0] if channels == 1 else sheet).save(packed, format="PNG", optimize=True)
    source = base64.b64encode(packed.getvalue()).decode()
    how = f", each under its {views} fixed transforms" if views > 1 else ""
    label = f"The first {number} test images{how}"
    markup = (
        f'<img class="dark-light" alt="{label}" src="data:image/png;base64,{source}" '
        'style="width:100%;max-width:44rem;image-rendering:pixelated;border-radius:4px">'
    )
    return Html(f"<figure>{markup}<figcaption>{label}.</figcaption></figure>", label)
