"""An experiment as compiled programs that yield records."""
