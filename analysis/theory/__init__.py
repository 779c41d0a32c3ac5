"""What theory predicts: the registry of predictions."""

from analysis.data.quantity import Quantity
from analysis.theory.registry import MARGIN, MARGIN_OF_ZERO, MINIMAX, Kind, Prediction, predictions

__all__ = [
    "MARGIN",
    "MARGIN_OF_ZERO",
    "MINIMAX",
    "Kind",
    "Prediction",
    "Quantity",
    "predictions",
]
