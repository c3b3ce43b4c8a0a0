"""Histories: runs that are broken off and gone on with in any order, and what must hold after every step."""
