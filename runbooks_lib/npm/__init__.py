"""Node.js and npm: which ones, how a program of theirs is run, and packages installed once for each lock file."""
