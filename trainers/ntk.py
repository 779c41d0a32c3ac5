"""The neural tangent kernel under the name that users import."""

from trainers.kernel.ntk import relu_ntk

__all__ = ["relu_ntk"]
