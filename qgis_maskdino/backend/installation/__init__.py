"""The engine's own Python environment: which Python it takes, what is installed into it, and what went wrong."""
