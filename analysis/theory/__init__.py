"""What theory predicts: the registry of predictions."""

from analysis.data.quantity import Quantity
from analysis.theory.registry import (
    MARGIN,
    MARGIN_OF_ZERO,
    MINIMAX,
    Assumption,
    Kind,
    Prediction,
    predictions,
)

__all__ = [
    "MARGIN",
    "MARGIN_OF_ZERO",
    "MINIMAX",
    "Assumption",
    "Kind",
    "Prediction",
    "Quantity",
    "predictions",
]
