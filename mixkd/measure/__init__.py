"""Measures of predictions: arrays in, numbers or small frozen dataclasses out; pure functions that know no record, file or spec."""
