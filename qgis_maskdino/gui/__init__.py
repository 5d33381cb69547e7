"""The pages and widgets of the dock. What they start is known to the core, which knows no widget."""
