"""How weights move, and how fast."""
