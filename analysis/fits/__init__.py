"""Power laws and their intervals."""
