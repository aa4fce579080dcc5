"""The names of classical initialization schemes: known before torch is loaded, which draws their weights."""

from __future__ import annotations

__all__ = ["CLASSICAL"]

CLASSICAL = {
    "zeros": "all weights zero",
    "constant": "all weights 0.02",
    "uniform": "uniform from -0.05 to 0.05",
    "normal": "normal with standard deviation 0.02, as pix2pix does (Isola et al. 2017)",
    "truncated_normal": "the same, cut off at two standard deviations",
    "xavier_uniform": "uniform, by fan-in and fan-out (Glorot, Bengio 2010)",
    "xavier_normal": "normal, by fan-in and fan-out (Glorot, Bengio 2010)",
    "he_uniform": "uniform, by fan-in, gain of a ReLU (He et al. 2015)",
    "he_normal": "normal, by fan-in, gain of a ReLU (He et al. 2015)",
    "orthogonal": "orthogonal rows (Saxe et al. 2014)",
    "dirac": "every layer passes its first channels on (torch.nn.init.dirac_)",
    "eye": "identity where a layer is a plain matrix, PyTorch's default elsewhere",
    "sparse": "normal with standard deviation 0.1, nine in ten weights of a unit zero (Martens 2010)",
    "pytorch": "PyTorch's default of a convolution",
    "he_residual": "He normal, last layers small: what the zoo's own base was trained from",
}
"""Classical schemes with a description each. They need nothing but the network."""
