"""Figures of rates: a quantity against an axis, with its fit and theory, and what says why."""
