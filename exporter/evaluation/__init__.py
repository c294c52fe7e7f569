"""How well an exported model does on data with targets, scored through the decoders that servers answer with.

`headgate.exporter.evaluation.models.evaluate_model` is the way in; scikit-learn computes most of the metrics.
"""
