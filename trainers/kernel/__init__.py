"""The neural tangent kernel: the function, products, descent on it, the four error terms."""
