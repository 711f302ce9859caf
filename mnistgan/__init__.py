"""Train, sample, plot, animate and score GANs on MNIST."""

__version__ = "0.1.0"
