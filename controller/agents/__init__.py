"""Agents: the heartbeat server that unmodified Open-Falcon agents and our executor take their plugins from."""
