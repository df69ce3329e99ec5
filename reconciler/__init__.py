"""Chat-bot webhooks as code: YAML in git, a plan in review, and a daemon that delivers what it acknowledged."""

__all__ = ["__version__"]

__version__ = "0.1.0"
