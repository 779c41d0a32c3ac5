"""Figures: numbers first, then drawing."""
