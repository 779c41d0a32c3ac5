"""Training over Ray Tune."""
