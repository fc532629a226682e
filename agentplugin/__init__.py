"""What a plugin is: names, bindings, manifests and output, one definition for the whole project."""
