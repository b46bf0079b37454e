"""A growing photo collection, made searchable and countable: what workers, the triggerer and the web server import."""
