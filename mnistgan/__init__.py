"""Train, sample, draw and animate GANs on MNIST."""

__version__ = "0.1.0"
