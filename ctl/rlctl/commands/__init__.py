"""The verbs, one group a file. A command reads top-down: which hosts, ask them, show, exit code."""
