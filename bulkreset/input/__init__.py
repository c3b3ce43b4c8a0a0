"""What is asked: the input read row by row, and every row screened before anything is sent."""
