"""The two-layer network: its fused passes, neurons grouped by output signs, gradient descent."""
