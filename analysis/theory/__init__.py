"""What theory predicts: the registry of predictions."""

from analysis.theory.registry import (
    MARGIN,
    MARGIN_OF_ZERO,
    MINIMAX,
    Kind,
    Prediction,
    Quantity,
    predictions,
)

__all__ = [
    "MARGIN",
    "MARGIN_OF_ZERO",
    "MINIMAX",
    "Kind",
    "Prediction",
    "Quantity",
    "predictions",
]
