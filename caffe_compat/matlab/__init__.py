"""Files that MATLAB wrote: .mat v4 to v7 and v7.3, and the data lists in them."""
