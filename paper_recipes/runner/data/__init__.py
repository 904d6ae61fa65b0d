"""What a run trains and tests on: its scale, its splits, its batches, and the letters that stand in."""
