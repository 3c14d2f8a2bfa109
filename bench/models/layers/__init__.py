"""Building blocks that networks of several families share: packed sequences, random-feature attention."""
