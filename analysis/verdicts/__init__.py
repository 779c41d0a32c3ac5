"""Predictions judged on fits."""
