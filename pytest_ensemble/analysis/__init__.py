"""What answers mean: agreement points, scores, gates, and the selection of members."""
