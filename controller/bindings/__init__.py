"""The bindings slice: which hostgroup runs which plugins."""
