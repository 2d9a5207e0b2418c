"""N ranks train as one process does on the joined batch.

For one way to synchronise gradients (argument 1), even and uneven micro-batches, accumulation 1 and
3: the loss falls, every rank ends with the same bits, and each step's loss is that of one process
whose batch is the ranks' batches together, to float tolerance.

Why the batches are the same: with micro-batches of b on each of two ranks, the sampler deals
sample i of the epoch's order to rank i mod 2, so step k holds samples 2bk ... 2b(k+1)-1 of the
order: those of one process with micro-batch 2b. With accumulation a it holds 2ba of them; the
process alone then takes a micro-batches of 2b. Uneven ranks share the same order too: a step holds
the next (b0 + b1)a samples of it.
"""

import sys

from training import Workplace, experiment, require

SYNC = sys.argv[1]

with Workplace() as place:
    for batches in (6, [8, 4]):
        for accumulation in (1, 3):
            name = f"{'even' if batches == 6 else 'uneven'}-{accumulation}"
            settings = {
                "gradient_accumulation_steps": accumulation,
                "epochs": 3,
                "gradient_sync": SYNC,
            }
            out, _ = place.run(experiment(batches, 2, **settings), name, "--check-replicas")
            place.run(experiment(12, 1, **settings), name + "-alone")
            two, one = place.losses(name), place.losses(name + "-alone")
            steps = 3 * (10 if accumulation == 1 else 4)  # 120 samples in steps of 12 or 36
            require(len(two) == steps and len(one) == steps, f"{name}: {len(two)} and {len(one)} steps, not {steps}")
            # One rounding in the order of a sum grows through AdamW's division by sqrt(v); after 30
            # steps losses still agree to about 3e-5.
            for step, (a, b) in enumerate(zip(two, one)):
                require(abs(a - b) <= 2e-6 if step == 0 else abs(a - b) <= 1e-4,
                        f"{name}: step {step}: two ranks {a}, one process {b}")
            require(two[-1] < 0.9 * two[0], f"{name}: loss {two[0]} -> {two[-1]} does not fall")
            require("replicas are equal" in out, f"{name}: {out}")
            print(name, "largest difference", max(abs(a - b) for a, b in zip(two, one)), two[0], two[-1])
