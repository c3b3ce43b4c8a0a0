"""Interrupt and resume runs in any order, and check the rules after every step."""
