"""What the agent, the trainers and the remote control say to each other.

Pure data: message types, their JSON encoding and the names of the trainer contract. No file, socket or clock is touched
here, so that `rlctl` (on a laptop) and `rltrain` (beside torch) can import it without the rest of the agent.
"""
