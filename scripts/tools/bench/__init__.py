"""Side-by-side measurements of MLHub and its yardstick; run by scripts/bench."""
