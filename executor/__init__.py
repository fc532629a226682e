"""The on-host daemon: the plugin half of an Open-Falcon agent, plus manifest plugins, in the
standard library alone.
"""

__version__ = "0.1.0"
