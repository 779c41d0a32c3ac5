"""What searches found, beside one another and beside theory's choice."""
