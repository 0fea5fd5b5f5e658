"""What becomes of a net that learns one task after another."""
