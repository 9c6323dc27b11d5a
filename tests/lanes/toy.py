"""An experiment whose numbers can be reckoned by hand: w grows by ``rate`` at each update."""

import torch

from orchestrator.experiment import Experiment, ExperimentParams, Lane, StopWhen


class Toy(ExperimentParams):
    rate: Lane[float] = 1.0
    explodes_at: Lane[int] = -1
    max_iterations: int = 10
    log_interval: int = 5
    notes: bool = False
    stop_when: StopWhen | None = None


TOY = Experiment("tests.toy", params=Toy, train="tests.lanes.toy:train", cadence="log_interval", steps="max_iterations")


def train(lanes):
    s, p = lanes.static, lanes.values

    def update(state, step):
        grown = state["w"] + p.rate
        exploded = torch.where(step == p.explodes_at, torch.inf, grown)
        return {**state, "w": exploded, "drawn": state["drawn"] + 1}, {"grown": grown + state.get("noted", 0)}

    def log(state, step):
        return {"w": state["w"], "drawn": state["drawn"], "step": step}

    lanes.run(
        init=lambda: {
            "w": torch.zeros(lanes.width, device=lanes.device),
            "drawn": torch.zeros(2, lanes.width, dtype=torch.int32, device=lanes.device),
            **({"noted": torch.zeros(lanes.width, device=lanes.device)} if s.notes else {}),
        },
        step=update,
        log=lambda state, step: {**log(state, step), "drawn": state["drawn"][0]},
        every=s.log_interval,
        note=(lambda state, _, logged: {**state, "noted": 100 * logged["w"]}) if s.notes else None,
        steps=s.max_iterations + 1,
    )
