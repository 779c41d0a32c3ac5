"""Who asks for trials: designs, searches, the theory-guided choice."""
