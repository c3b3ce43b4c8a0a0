"""Read the input row by row and validate every row before anything is sent."""
