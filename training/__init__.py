"""The school: data, losses and evaluation for the models of the engine, which never imports this package."""
