"""The catalog slice: sources are fetched, composed into one plugin tree, linted and published.

Plain git and the standard library: `ansible-playbook` uses it on the control node with no
controller running, and the controller uses the same functions.
"""
