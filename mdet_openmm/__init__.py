"""MD-ET in OpenMM: train, export, run and measure an unconstrained Edge Transformer force field."""

__version__ = "0.1.0"
