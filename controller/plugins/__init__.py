"""The plugins slice: what a release offers, who runs it, and how each host says that it fares."""
