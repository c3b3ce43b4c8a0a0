"""What is due next: the rows, the made passwords and the sign-outs that the lanes take."""
