"""The JSON Schema of grid files."""


def json_schema(experiments):
    return {}
