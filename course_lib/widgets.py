"""Sliders and pickers over the functions below; the only place that imports ipywidgets."""
