"""How good a model, or a layer of detections, is."""
