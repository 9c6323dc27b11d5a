"""A steward's last act: the tables and the figures."""

from __future__ import annotations

from orchestrator.errors import UserError
from orchestrator.study.study import Study
from orchestrator.worker.log import LOG


def finish(study: Study) -> None:
    """Export the tables and draw the figures. What goes wrong is told and changes no result."""
    try:
        generation = study.generation()
        history = study.history()
        if generation is None or not any(record.outcome for record in history.runs.values()):
            return
        from export.figures import draw
        from export.tables import export_study

        export_study(study)
        LOG.info("tables are in %s", study.tables)
        if generation.info.get("figures"):
            for path in draw(study):
                LOG.info("figure %s", path)
    except (UserError, OSError) as error:
        LOG.error("tables or figures are missing: %s", error)
    except Exception:  # noqa: BLE001  (it is logged with its traceback)
        LOG.exception("the export failed; `orch export %s` tries again", study.name)
