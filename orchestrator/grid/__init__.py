"""From a grid file to the points it describes.

``load`` reads and checks a file, ``expand`` validates and numbers every point, ``json_schema`` serves editors.
"""

from orchestrator.grid.expand import Point, expand, points
from orchestrator.grid.load import Grid, load
from orchestrator.grid.model import ExportSpec, FigureSpec, Resources, SummarySpec
from orchestrator.grid.schema import json_schema

__all__ = [
    "ExportSpec",
    "FigureSpec",
    "Grid",
    "Point",
    "Resources",
    "SummarySpec",
    "expand",
    "json_schema",
    "load",
    "points",
]
