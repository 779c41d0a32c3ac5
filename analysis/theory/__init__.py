"""What theories predict: a file a theory, and the registry of them all."""

from analysis.data.curves.quantity import Quantity
from analysis.theory.hrx import MINIMAX, minimax_exponent
from analysis.theory.prediction import (
    MARGIN,
    MARGIN_OF_ZERO,
    Assumption,
    Kind,
    Prediction,
    Theory,
)
from analysis.theory.registry import KEYS, THEORIES, check_theories, predictions

__all__ = [
    "KEYS",
    "MARGIN",
    "MARGIN_OF_ZERO",
    "MINIMAX",
    "THEORIES",
    "Assumption",
    "Kind",
    "Prediction",
    "Quantity",
    "Theory",
    "check_theories",
    "minimax_exponent",
    "predictions",
]
