"""Atari PPO loops that are compared: each is a program that says after each piece of work how far it is."""
