"""Results that were made with other tools, through the same protocol as all."""
