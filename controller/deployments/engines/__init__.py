"""What carries out the playbook of a wave: this machine, AWX, or another machine over SSH.

The wave's process keeps events, results, orders and the lease; an engine plays, and ends when it is told to.
"""
