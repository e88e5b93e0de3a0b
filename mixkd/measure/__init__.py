"""Pure measures of predictions: tensors in, numbers or small frozen dataclasses out.
They refuse to know records, files or specs, and never print."""
