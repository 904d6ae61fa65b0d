"""One module for each part: `rows(setting)` yields a row as soon as it knows it."""
