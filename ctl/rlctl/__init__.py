"""The remote control: looks after many agents from a laptop, over SSH, by their protocol alone.

Nothing heavy is imported at start-up: ansible, fabric, rich and msgspec are loaded by the command that needs them.
"""
