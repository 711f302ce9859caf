"""Colors of plots and animations."""

BLUE, ORANGE = "#2563eb", "#ea580c"
"""Colors of D and G"""
GRAY = "#4b5563"
RUN_COLORS = (
    BLUE,
    ORANGE,
    "#059669",
    "#9333ea",
    "#dc2626",
    "#0891b2",
    "#ca8a04",
    GRAY,
)
"""Colors of several runs in one plot"""
