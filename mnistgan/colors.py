"""Colors of the losses in plots and animations."""

BLUE, ORANGE = "#2563eb", "#ea580c"
"""Colors of D and G"""
