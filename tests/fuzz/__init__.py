"""Damaged input for everything that reads bytes from the network: ``make fuzz``."""
