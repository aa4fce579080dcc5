"""Blend two looks and vary the strength of one, as a contact sheet.

python examples/blend_and_strength.py "pencil sketch" "sepia" photo.jpg --out blends.png
"""

from __future__ import annotations

import argparse

import numpy as np

from initzoo import Zoo, blend_inits
from initzoo.files import read_image, write_image
from initzoo.pairs import fit_short_side

parser = argparse.ArgumentParser(description="Blend two looks on a photo.")
parser.add_argument("first")
parser.add_argument("second")
parser.add_argument("photo")
parser.add_argument("--out", default="blends.png")
parser.add_argument("--side", type=int, default=256, help="shorter side of each picture, pixels")
options = parser.parse_args()

zoo = Zoo.from_pretrained("starter")
photo = fit_short_side(read_image(options.photo), options.side)
first, second = zoo.pull(options.first), zoo.pull(options.second)
shares = (0.0, 0.25, 0.5, 0.75, 1.0)
blends = [blend_inits(first, second, share).to_network().edit(photo) for share in shares]
network = first.to_network()
strengths = [network.edit(photo, strength=strength) for strength in (0.0, 0.5, 1.0, 1.25, 1.5)]
write_image(options.out, np.vstack([np.hstack(blends), np.hstack(strengths)]), force=True)
print(
    f"upper row: {options.first} to {options.second}; lower row: {options.first}, 0 to 150% -> {options.out}"
)
