"""Deployments: moving hosts to their plan, wave by wave, each wave one run of ansible-playbook."""
