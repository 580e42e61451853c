"""What was found, as one plain document, and the ways to write it down."""
